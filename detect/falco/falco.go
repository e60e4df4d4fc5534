package falco

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// Verdict says how much of a rule's meaning survives the translation.
type Verdict string

const (
	// Exact: it holds of an event exactly when Falco's would.
	Exact Verdict = "exact"
	// Partly: some of what it asks is not told by the events. Reasons say what, and
	// whether it reports less or more for it.
	Partly Verdict = "partly"
	// Not: it is not asked, for the given reasons.
	Not Verdict = "not"
)

// Rule is a rule of the files with what became of it.
type Rule struct {
	Name     string   `json:"name"`
	ID       string   `json:"id"`
	File     string   `json:"file"`
	Line     int      `json:"line"`
	Enabled  bool     `json:"enabled"`
	Priority string   `json:"priority,omitempty"`
	Source   string   `json:"source"`
	Tags     []string `json:"tags,omitempty"`
	Verdict  Verdict  `json:"verdict"`
	// Reasons are sentences: what is not told, and what follows from it.
	Reasons []string `json:"reasons,omitempty"`
	// Limits are what the agent's events do not show of the calls that the rule
	// names, whatever it asks of them.
	Limits []string             `json:"limits,omitempty"`
	Kinds  []bollwerk.EventKind `json:"kinds,omitempty"`
	// Policy is what the matcher is given; nil where the verdict is Not, and for a rule
	// that can never hold.
	Policy *policy.Policy `json:"-"`
	// broken: it is not well formed, in Falco either.
	broken bool
}

// Set is all rules of the files, in their order.
type Set struct {
	Rules []*Rule `json:"rules"`
	// Warnings are what was passed over in the files.
	Warnings []string `json:"warnings,omitempty"`
}

// Load reads files in their order, later ones overriding earlier ones, and translates
// every rule. The error is about files that are not well formed, with every mistake and
// its line; a rule that is understood and cannot be asked is none: its verdict says so.
func Load(files []File, o Options) (*Set, error) {
	d := newDocument()
	if len(files) > maxFiles {
		return nil, fmt.Errorf("more than %d rule files", maxFiles)
	}
	for _, f := range files {
		d.read(f)
	}
	s := &Set{Warnings: d.warnings}
	calls := map[string]bool{}
	for _, v := range views() {
		for _, n := range slices.Concat(v.core, v.more) {
			calls[n] = true
		}
	}
	macros := map[string]*expr{}
	ids := map[string]int{}
	for _, r := range d.rules {
		t := &translator{d: d, options: o, calls: calls, macros: macros, unseenCalls: map[string]bool{}, positive: true, at: r.at}
		out := t.rule(r, ids)
		if out.broken && len(d.problems) < maxProblems {
			d.problems = append(d.problems, t.err)
		}
		s.Rules = append(s.Rules, out)
	}
	return s, errors.Join(d.problems...)
}

// Policies are those of the rules that are switched on and can be asked.
func (s *Set) Policies() []*policy.Policy {
	var out []*policy.Policy
	for _, r := range s.Rules {
		if r.Enabled && r.Policy != nil {
			out = append(out, r.Policy)
		}
	}
	return out
}

// All are the policies of every rule that can be asked, also of those switched off.
func (s *Set) All() []*policy.Policy {
	var out []*policy.Policy
	for _, r := range s.Rules {
		if r.Policy != nil {
			out = append(out, r.Policy)
		}
	}
	return out
}

// Count is how many rules have the verdict.
func (s *Set) Count(v Verdict) int {
	n := 0
	for _, r := range s.Rules {
		if r.Verdict == v {
			n++
		}
	}
	return n
}

// Refuse notes which policies the matcher did not take: what it says of them becomes
// the reason.
func (s *Set) Refuse(m *policy.Matcher, problems []policy.Problem) {
	for _, r := range s.Rules {
		if r.Policy == nil || len(m.Kinds(r.Policy)) > 0 {
			continue
		}
		why := "the matcher does not take the translation"
		for _, p := range problems {
			if p.File == r.File && p.Line == r.Policy.Match.Line {
				why = p.Message
			}
		}
		r.Verdict, r.Policy = Not, nil
		r.Reasons = append(r.Reasons, why)
	}
}

func (t *translator) rule(r *rawRule, ids map[string]int) *Rule {
	out := &Rule{Name: r.name, ID: uniqueID(r.name, ids), File: r.at.file, Line: r.at.line, Enabled: r.enabled, Priority: r.priority.value, Source: r.source, Tags: r.tags}
	refuse := func(format string, args ...any) *Rule {
		out.Verdict = Not
		out.Reasons = append(out.Reasons, fmt.Sprintf(format, args...))
		return out
	}
	severity, ok := severityOf(r.priority.value)
	if !ok {
		t.err = fmt.Errorf("%s: rule %q: priority %q: want emergency, alert, critical, error, warning, notice, informational or debug", r.priority.at, clip(r.name), clip(r.priority.value))
		out.broken = true
		return refuse("%v", t.err)
	}
	if r.source != "" && r.source != "syscall" {
		return refuse("its source is %s: the agent sees what happens on the host, not what plug-ins deliver", clip(r.source))
	}
	condition, err := t.condition(r)
	if err != nil {
		t.err, out.broken = err, true
		return refuse("%v", err)
	}
	cases, gaps, limits := t.cases(condition)
	if t.err != nil {
		out.broken = true
		return refuse("%v", t.err)
	}
	var parts []*node
	var used []*view
	for _, c := range cases {
		parts = append(parts, c.node)
		used = append(used, c.view)
		if !slices.Contains(out.Kinds, c.view.kind) {
			out.Kinds = append(out.Kinds, c.view.kind)
		}
	}
	missing := t.missingCalls()
	out.Reasons = sentences(gaps, len(parts) == 0)
	if len(missing) > 0 {
		out.Reasons = append(out.Reasons, fmt.Sprintf("%s: the agent has no events of %s", strings.Join(missing, ", "), plural(len(missing), "this call", "these calls")))
	}
	out.Limits = limits
	switch {
	case len(parts) == 0 && len(out.Reasons) > 0:
		out.Verdict = Not
		return out
	case len(out.Reasons) > 0:
		out.Verdict = Partly
	default:
		out.Verdict = Exact
	}
	if len(parts) == 0 {
		out.Reasons = append(out.Reasons, "as it is written it never holds: a list or macro waits to be filled in, or its parts exclude each other")
		return out
	}
	text := merge(cases)
	if len(text) > maxCEL {
		return refuse("with its macros laid open the condition is longer than %d KiB", maxCEL>>10)
	}
	out.Policy = &policy.Policy{
		ID: out.ID, Title: clip(r.name), Severity: severity, Mode: policy.Warn, Subject: policy.EventKind, Report: policy.Once,
		Description: description(r), Match: policy.Expression{Text: text, Line: r.at.line}, File: r.at.file,
		Message: policy.Expression{Text: t.message(r.output.value, used), Line: r.output.at.line}, Mappings: mappings(r.tags),
	}
	return out
}

func description(r *rawRule) string {
	s := strings.Join(strings.Fields(r.desc), " ")
	if len(s) > 2000 {
		s = strings.ToValidUTF8(s[:2000], "") + "…"
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// sentences tell the gaps; those with one cause are told together.
func sentences(gaps []*gap, all bool) []string {
	type cause struct {
		why   string
		wider bool
	}
	var order []cause
	what := map[cause][]string{}
	for _, g := range gaps {
		c := cause{g.why, g.wider}
		if what[c] == nil {
			order = append(order, c)
		}
		what[c] = append(what[c], g.what)
	}
	var out []string
	for _, c := range order {
		effect := "so it reports less"
		switch {
		case c.wider:
			effect = "so it reports more"
		case all:
			effect = "and nothing of the rule is left without it"
		}
		list := what[c]
		names := strings.Join(list[:min(2, len(list))], ", ")
		if n := len(list) - 2; n > 0 {
			names += fmt.Sprintf(" and %d more", n)
		}
		out = append(out, fmt.Sprintf("%s: %s, %s", names, c.why, effect))
	}
	return out
}

// condition is that of the rule, with its exceptions.
func (t *translator) condition(r *rawRule) (*expr, error) {
	e, serr := parseCondition(joined(r.condition))
	at := r.at
	if len(r.condition) > 0 {
		at = r.condition[0].at
	}
	if serr != nil {
		return nil, fmt.Errorf("%s: rule %q: %s", place{at.file, at.line + serr.line}, clip(r.name), serr.msg)
	}
	t.at = at
	kids := []*expr{e}
	for _, x := range r.exceptions {
		n, err := t.exception(x)
		if err != nil {
			return nil, fmt.Errorf("%s: rule %q: exception %s: %w", x.at, clip(r.name), clip(x.name), err)
		}
		if n != nil {
			kids = append(kids, &expr{op: opNot, kids: []*expr{n}})
		}
	}
	if len(kids) == 1 {
		return e, nil
	}
	return &expr{op: opAnd, kids: kids}, nil
}

// viewCase is what is asked of one view.
type viewCase struct {
	view *view
	node *node
}

// cases asks the condition of every view. Gaps of the same words are told once.
func (t *translator) cases(e *expr) (cases []viewCase, gaps []*gap, limits []string) {
	seen := map[string]bool{}
	for _, v := range views() {
		x := t.truth(e, v)
		if t.err != nil {
			return nil, nil, nil
		}
		for _, g := range x.gaps {
			if key := fmt.Sprint(g.what, g.why, g.wider); !seen[key] {
				seen[key] = true
				gaps = append(gaps, g)
			}
		}
		if x.lo.op == isFalse {
			continue
		}
		if v.limit != "" && !slices.Contains(limits, v.limit) {
			limits = append(limits, v.limit)
		}
		cases = append(cases, viewCase{v, x.lo})
	}
	return cases, gaps, limits
}

// merge writes the condition: for each kind what is asked of it, and once what is asked
// of all. Compiling costs by the length of the text, and opens and creations are asked
// nearly the same.
func merge(cases []viewCase) string {
	common, rest := factor(cases)
	var parts []string
	for i := 0; i < len(cases); {
		v, text := cases[i].view, bracketed(rest[i])
		kinds := []string{v.kind.String()}
		if i++; v.when == nil {
			for i < len(cases) && cases[i].view.when == nil && bracketed(rest[i]) == text {
				kinds = append(kinds, cases[i].view.kind.String())
				i++
			}
		} else {
			text = bracketed(both(v.when, rest[i-1]))
		}
		part := "event.kind in " + quoteAll(kinds)
		if text != "true" {
			part += " && " + text
		}
		parts = append(parts, part)
	}
	text := strings.Join(parts, " || ")
	if common.op == isTrue {
		return text
	}
	return "(" + text + ") && " + bracketed(common)
}

// factor takes out what every case asks.
func factor(cases []viewCase) (common *node, rest []*node) {
	conjuncts := func(n *node) []*node {
		if n.op == isAnd {
			return n.kids
		}
		return []*node{n}
	}
	count := map[string]int{}
	texts := map[*node]string{}
	for _, c := range cases {
		seen := map[string]bool{}
		for _, k := range conjuncts(c.node) {
			text := k.String()
			texts[k] = text
			if !seen[text] {
				seen[text] = true
				count[text]++
			}
		}
	}
	var all []*node
	for i, c := range cases {
		var own []*node
		for _, k := range conjuncts(c.node) {
			switch {
			case count[texts[k]] < len(cases) || len(cases) == 1:
				own = append(own, k)
			case i == 0:
				all = append(all, k)
			}
		}
		rest = append(rest, both(own...))
	}
	return both(all...), rest
}

func bracketed(n *node) string {
	if n.op == isOr {
		return "(" + n.String() + ")"
	}
	return n.String()
}

var nonWord = regexp.MustCompile(`[^a-z0-9]+`)

// uniqueID makes an id of a name: falco-read-ssh-information.
func uniqueID(name string, ids map[string]int) string {
	s := strings.Trim(nonWord.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if s == "" {
		s = "rule"
	}
	if s = "falco-" + s; len(s) > 72 {
		s = strings.TrimRight(s[:72], "-")
	}
	ids[s]++
	if n := ids[s]; n > 1 {
		s = fmt.Sprintf("%s-%d", s, n)
	}
	return s
}

func severityOf(priority string) (bollwerk.Severity, bool) {
	switch strings.ToUpper(priority) {
	case "EMERGENCY", "ALERT", "CRITICAL":
		return bollwerk.SeverityCritical, true
	case "ERROR":
		return bollwerk.SeverityHigh, true
	case "WARNING":
		return bollwerk.SeverityMedium, true
	case "NOTICE", "INFO", "INFORMATIONAL", "DEBUG":
		return bollwerk.SeverityLow, true
	}
	return bollwerk.SeverityUnknown, false
}

var technique = regexp.MustCompile(`^T[0-9]{4}(\.[0-9]{3})?$`)

func mappings(tags []string) []policy.Mapping {
	var out []policy.Mapping
	for _, t := range tags {
		if technique.MatchString(t) {
			out = append(out, policy.Mapping{Standard: policy.AttackStandard, Requirement: t})
		}
	}
	return out
}
