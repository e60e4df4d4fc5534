package policy

import (
	"fmt"
	"regexp"
	"sort"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// compiled is a policy whose expressions were checked against its subject.
type compiled struct {
	policy  *Policy
	subject *Subject
	params  map[string]any
	limits  Limits
	// unplanned: the expressions are checked and never evaluated by CEL.
	unplanned bool

	env  *cel.Env
	prov *provider
	when *program // nil: always applies
	rule *program
	// each variable knows how to evaluate itself.
	vars map[string]*program
	// areas are the parts of the coverage that the rule was found to depend on.
	areas []string

	// The texts are compiled when first needed: most policies pass.
	textOnce     sync.Once
	message, fix []compiledPart
	textErr      error
}

// program is one compiled expression.
type program struct {
	what   string // "when", "pass", "variables: user"
	source Expression
	ast    *cel.Ast
	prg    cel.Program
}

type compiledPart struct {
	text string
	prog *program
}

// baseEnv has the standard library, the extensions and our functions; subjects
// are added per policy.
func baseEnv() (*cel.Env, error) {
	opts := []cel.EnvOption{
		ext.Strings(ext.StringsVersion(4)),
		ext.Lists(ext.ListsVersion(3)),
		ext.Sets(),
		ext.Math(),
		ext.Bindings(),
		cel.EnableMacroCallTracking(),
		cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxSourceBytes),
		cel.ParserRecursionLimit(maxSourceDepth),
		cel.ExpressionNodeLimit(maxSourceNodes),
	}
	return cel.NewEnv(append(opts, functions()...)...)
}

// compile checks a policy's `when`, variables and rule.
func (e *Engine) compile(p *Policy) (*compiled, error) {
	s, ok := e.subjects[p.Subject]
	if !ok {
		return nil, fmt.Errorf("%s: subject %q is not known%s", p.File, p.Subject, didYouMean(nearest(p.Subject, sortedKeys(e.subjects))))
	}
	c := &compiled{policy: p, subject: s, limits: e.limits, vars: map[string]*program{}, unplanned: e.unplanned}
	var err error
	if c.params, err = parameterValues(p, e.parameters[p.ID]); err != nil {
		return nil, err
	}
	base, err := e.base()
	if err != nil {
		return nil, err
	}
	objects, err := s.objects()
	if err != nil {
		return nil, err
	}
	params := &Object{Name: "params"}
	for _, q := range p.Parameters {
		params.Fields = append(params.Fields, Field{Name: q.Name, Type: q.Type})
	}
	objects["params"] = params
	c.prov = newProvider(base.CELTypeProvider(), objects)
	c.env, err = base.Extend(
		cel.CustomTypeProvider(c.prov),
		cel.Variable("now", cel.TimestampType),
		cel.Variable("params", cel.ObjectType("params")),
		cel.Variable(s.Kind, cel.ObjectType(s.Type.Name)),
	)
	if err != nil {
		return nil, err
	}
	for _, v := range p.Variables {
		prog, err := c.program("variables: "+v.Name, v.Expression, nil)
		if err != nil {
			return nil, err
		}
		c.vars[v.Name] = prog
		if c.env, err = c.env.Extend(cel.Variable(v.Name, prog.ast.OutputType())); err != nil {
			return nil, err
		}
	}
	if p.When.Text != "" {
		if c.when, err = c.program("when", p.When, cel.BoolType); err != nil {
			return nil, err
		}
	}
	switch {
	case p.Pass.Text != "":
		c.rule, err = c.program("pass", p.Pass, cel.BoolType)
	case p.Match.Text != "":
		c.rule, err = c.program("match", p.Match, cel.BoolType)
	default:
		c.rule, err = c.program("violations", p.Violations, cel.ListType(cel.DynType))
	}
	if err != nil {
		return nil, err
	}
	c.areas = c.findAreas()
	return c, nil
}

// parameterValues merges the defaults with overrides.
func parameterValues(p *Policy, overrides map[string]any) (map[string]any, error) {
	out := make(map[string]any, len(p.Parameters))
	for _, q := range p.Parameters {
		out[q.Name] = q.Default
	}
	for _, name := range sortedKeys(overrides) {
		q, ok := p.parameter(name)
		if !ok {
			names := make([]string, 0, len(p.Parameters))
			for _, q := range p.Parameters {
				names = append(names, q.Name)
			}
			return nil, fmt.Errorf("policy %s has no parameter %q%s", p.ID, name, didYouMean(nearest(name, names)))
		}
		v, err := new(conformer).conform(overrides[name], q.Type, "policies."+p.ID+".parameters."+name, 0)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

// program compiles one expression. want nil accepts any type.
func (c *compiled) program(what string, e Expression, want *cel.Type) (*program, error) {
	tree, iss := c.env.Compile(e.Text)
	if iss.Err() != nil {
		return nil, c.explainIssues(what, e, iss)
	}
	if got := tree.OutputType(); want != nil && !want.IsAssignableType(got) && got.Kind() != types.DynKind {
		return nil, fmt.Errorf("%s:%d: %s: want %s, the expression gives %s", c.policy.File, e.Line, what, cel.FormatCELType(want), cel.FormatCELType(got))
	}
	if c.unplanned {
		return &program{what: what, source: e, ast: tree}, nil
	}
	prg, err := c.env.Program(tree, c.limits.programOptions(cel.EvalOptions(cel.OptOptimize))...)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %s: %w", c.policy.File, e.Line, what, err)
	}
	return &program{what: what, source: e, ast: tree, prg: prg}, nil
}

// texts compiles the message and the fix.
func (c *compiled) texts() error {
	c.textOnce.Do(func() { c.textErr = c.compileTexts() })
	return c.textErr
}

func (c *compiled) compileTexts() error {
	env := c.env
	if c.policy.Violations.Text != "" {
		items := c.rule.ast.OutputType()
		it := types.DynType
		if items.Kind() == types.ListKind && len(items.Parameters()) == 1 {
			it = items.Parameters()[0]
		}
		opts := []cel.EnvOption{cel.Variable("items", items)}
		if c.policy.Report == Each {
			opts = append(opts, cel.Variable("it", it))
		}
		var err error
		if env, err = env.Extend(opts...); err != nil {
			return err
		}
	}
	withItems := &compiled{policy: c.policy, limits: c.limits, env: env, prov: c.prov, unplanned: c.unplanned}
	for _, t := range []struct {
		what string
		e    Expression
		to   *[]compiledPart
	}{{"message", c.policy.Message, &c.message}, {"fix", c.policy.Fix, &c.fix}} {
		parts, err := splitTemplate(t.e)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", c.policy.File, t.what, err)
		}
		for _, part := range parts {
			cp := compiledPart{text: part.text}
			if part.expr.Text != "" {
				if cp.prog, err = withItems.program(t.what, part.expr, nil); err != nil {
					return err
				}
				switch k := cp.prog.ast.OutputType().Kind(); k {
				case types.ListKind, types.MapKind, types.StructKind:
					return fmt.Errorf("%s:%d: %s: {{ %s }} is a %s, not text; try .enumerate(5) or a field of it",
						c.policy.File, part.expr.Line, t.what, part.expr.Text, cel.FormatCELType(cp.prog.ast.OutputType()))
				}
			}
			*t.to = append(*t.to, cp)
		}
	}
	return nil
}

var (
	undefinedField = regexp.MustCompile(`^undefined field '([^']*)'`)
	undeclared     = regexp.MustCompile(`^undeclared reference to '\.?([^']*)'`)
	noOverload     = regexp.MustCompile(`^found no matching overload for '([^']*)'`)
)

// explainIssues turns the checker's complaints into lines a person can act on.
func (c *compiled) explainIssues(what string, e Expression, iss *cel.Issues) error {
	d := &document{name: c.policy.File}
	for _, i := range iss.Errors() {
		line, column := e.Line, 1
		if i.Location != nil && i.Location.Line() > 0 {
			line, column = e.Line+i.Location.Line()-1, i.Location.Column()+1
		}
		message := i.Message
		switch {
		case undefinedField.MatchString(message):
			field := undefinedField.FindStringSubmatch(message)[1]
			object, hint := c.prov.suggestField(field)
			message = fmt.Sprintf("undefined field %q", field)
			if object != "" {
				message = fmt.Sprintf("%s has no field %q", object, field)
				if hint == "" {
					names, _ := c.prov.FindStructFieldNames(object)
					message += "; it has " + strings.Join(names, ", ")
				}
			}
			message += didYouMean(hint)
		case undeclared.MatchString(message):
			name := undeclared.FindStringSubmatch(message)[1]
			message = fmt.Sprintf("%q is not known%s", name, didYouMean(nearest(name, c.names())))
		case noOverload.MatchString(message):
			name := noOverload.FindStringSubmatch(message)[1]
			message = "wrong types for " + name + ": " + strings.TrimPrefix(message, noOverload.FindString(message)+" applied to ")
		}
		d.failf(line, "%s: column %d: %s", what, column, clip(message, 500))
	}
	return d.err()
}

// names lists variables and functions an expression may use.
func (c *compiled) names() []string {
	var names []string
	for _, v := range c.env.Variables() {
		names = append(names, v.Name())
	}
	for name := range c.env.Functions() {
		if identifier.MatchString(strings.ToLower(name)) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// findAreas returns the coverage areas of every declared field the policy reads.
// They are found in the checked expressions, because an author who had to list
// them would forget one, and the forgotten one would be a pass nobody earned.
func (c *compiled) findAreas() []string {
	found := map[string]bool{}
	c.selections(func(o *Object, f Field) {
		for _, a := range f.Areas {
			found[a] = true
		}
	})
	return sortedKeys(found)
}

// reads lists the declared fields the policy reads: "Config.user".
func (c *compiled) reads() []string {
	found := map[string]bool{}
	c.selections(func(o *Object, f Field) { found[o.Name+"."+f.Name] = true })
	return sortedKeys(found)
}

// selections calls fn for every declared field of the subject that `when`, the
// variables or the rule select.
func (c *compiled) selections(fn func(*Object, Field)) {
	for _, p := range c.programs() {
		tree := p.ast.NativeRep()
		ast.PostOrderVisit(tree.Expr(), ast.NewExprVisitor(func(x ast.Expr) {
			if x.Kind() != ast.SelectKind {
				return
			}
			t := tree.GetType(x.AsSelect().Operand().ID())
			if t == nil || t.TypeName() == "params" {
				return
			}
			if o, ok := c.prov.objects[t.TypeName()]; ok {
				if f, ok := o.field(x.AsSelect().FieldName()); ok {
					fn(o, f)
				}
			}
		}))
	}
}
