package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/bollwerk/bollwerk"
)

// Lint checks one policy and its tests: expressions that do not compile (with
// suggestions) are errors; what would surprise or leave a reader alone is a
// warning. The suite may be nil. Problems are sorted by file and line.
func (e *Engine) Lint(p *Policy, s *Suite) []Problem {
	var out []Problem
	add := func(line int, isError bool, rule, format string, args ...any) {
		out = append(out, Problem{File: p.File, Line: line, Rule: rule, Message: fmt.Sprintf(format, args...), Error: isError})
	}
	if err := e.Compile(p); err != nil {
		out = append(out, problemsOf(err, p.File)...)
	} else if c, err := e.compile1(p); err == nil {
		c.lint(add)
		if p.Subject == EventKind {
			out = append(out, problemsOf(e.matchable(p), p.File)...)
		}
	}
	if p.Why == "" {
		add(0, false, "why", "why is missing: say what an attacker gains")
	}
	if p.Fix.Text == "" {
		add(0, false, "fix", "fix is missing: say what to change, with a line to copy")
	}
	if len(p.Mappings) == 0 {
		add(0, false, "mappings", "mappings are missing: name the requirement of a standard this serves")
	}
	for _, q := range p.Parameters {
		if q.Description == "" {
			add(q.Line, false, "parameters", "parameter %s has no description", q.Name)
		}
	}
	if base := p.Folder[strings.LastIndex(p.Folder, "/")+1:]; p.Folder != "" && p.Folder != "." && base != p.ID {
		add(0, false, "folder", "the folder is named %s, the policy %s", base, p.ID)
	}
	if s != nil {
		lintSuite(s, add)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Line < out[j].Line })
	return out
}

func lintSuite(s *Suite, add func(int, bool, string, string, ...any)) {
	have := map[string]bool{}
	for _, c := range s.Cases {
		have[c.Want] = true
	}
	wants := []bollwerk.Verdict{bollwerk.Pass, bollwerk.Fail, bollwerk.NotEvaluated}
	if s.Policy.Subject == EventKind {
		wants = wants[:2] // every field of an event has a value
	}
	for _, want := range wants {
		if !have[string(want)] {
			add(0, false, "tests", "%s has no case that wants %s", s.File, want)
		}
	}
	if s.Policy.When.Text != "" && !have[NotApplicable] {
		add(0, false, "tests", "%s has no case that wants not_applicable, although the policy has a when", s.File)
	}
}

// lint looks for expressions that compile and still cannot be meant.
func (c *compiled) lint(add func(int, bool, string, string, ...any)) {
	used := map[string]bool{}
	params := map[string]bool{}
	note := func(p *program) {
		if p == nil {
			return
		}
		tree := p.ast.NativeRep()
		ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
			switch x.Kind() {
			case ast.IdentKind:
				used[x.AsIdent()] = true
			case ast.SelectKind:
				if op := x.AsSelect().Operand(); op.Kind() == ast.IdentKind && op.AsIdent() == "params" {
					params[x.AsSelect().FieldName()] = true
				}
			}
		}))
	}
	note(c.when)
	note(c.rule)
	texts := append(append([]compiledPart{}, c.message...), c.fix...)
	for _, part := range texts {
		note(part.prog)
	}
	// A variable counts as used when something that is used reads it; they can only
	// read earlier ones, so one pass backwards suffices.
	for i := len(c.policy.Variables) - 1; i >= 0; i-- {
		v := c.policy.Variables[i]
		if !used[v.Name] {
			add(v.Expression.Line, false, "unused", "variable %s is never used", v.Name)
			continue
		}
		note(c.vars[v.Name])
	}
	for _, q := range c.policy.Parameters {
		if !params[q.Name] {
			add(q.Line, false, "unused", "parameter %s is never used", q.Name)
		}
	}
	if !used[c.subject.Kind] {
		add(c.rule.source.Line, true, "unreachable", "the policy never looks at its subject %s", c.subject.Kind)
	}
	if v, ok := constant(c.rule); ok {
		add(c.rule.source.Line, true, "unreachable", "%s is always %v", c.rule.what, v)
	}
	if c.when != nil {
		if v, ok := constant(c.when); ok {
			if v == false {
				add(c.when.source.Line, true, "unreachable", "when is always false: the policy never applies")
			} else {
				add(c.when.source.Line, false, "unreachable", "when is always true: leave it out")
			}
		}
	}
	if mentions := regexp.MustCompile(`\bitems\b|\bit\b`); c.policy.Report == Each && !slices.ContainsFunc(texts, func(p compiledPart) bool {
		return p.prog != nil && mentions.MatchString(p.prog.source.Text)
	}) {
		add(c.policy.Message.Line, false, "message", "the policy reports each violation, but its message does not say which (use {{ it }})")
	}
}

// constant evaluates a rule that depends on nothing.
func constant(p *program) (any, bool) {
	depends := false
	ast.PostOrderVisit(p.ast.NativeRep().Expr(), ast.NewExprVisitor(func(x ast.Expr) {
		if x.Kind() == ast.IdentKind {
			depends = true
		}
	}))
	if depends {
		return nil, false
	}
	v, _, err := p.prg.Eval(map[string]any{})
	if err != nil || types.IsUnknownOrError(v) {
		return nil, false
	}
	return v.Value(), true
}

var position = regexp.MustCompile(`^(.*?):(\d+): (.*)$`)

// Problems splits an error of Parse, Load, LoadConfig or Compile into problems
// with file and line.
func Problems(err error, file string) []Problem { return problemsOf(err, file) }

func problemsOf(err error, file string) []Problem {
	if err == nil {
		return nil
	}
	var list *ParseError
	errs := []error{err}
	if errors.As(err, &list) {
		errs = list.Problems
	}
	out := make([]Problem, 0, len(errs))
	for _, e := range errs {
		p := Problem{File: file, Rule: "compile", Message: e.Error(), Error: true}
		if m := position.FindStringSubmatch(e.Error()); m != nil {
			p.File, p.Message = m[1], m[3]
			if n, err := strconv.Atoi(m[2]); err == nil {
				p.Line = n
			}
		}
		out = append(out, p)
	}
	return out
}
