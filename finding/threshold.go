package finding

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// DefaultThreshold is what --fail-on means when nobody sets it: what has a fix and
// is grave, what is being exploited, what is malicious, what is a credential, and
// what a policy in enforce mode forbids. A pipeline that fails on things without a
// fix is switched off within a week.
const DefaultThreshold = "high+fixable,kev,malware,secret,policy"

// maxThreshold bounds an expression: it comes from a command line or a file.
const (
	maxThresholdLen   = 4096
	maxThresholdTerms = 64
)

// Threshold decides which findings make a command exit with 1. It is any of its
// alternatives, each of which is all of its conditions. The zero value matches nothing.
type Threshold struct {
	alternatives [][]condition
	off          bool
}

type condition struct {
	text  string
	match func(*bollwerk.Finding) bool
}

// ParseThreshold reads an expression: alternatives separated by commas, conditions
// within one joined by "+" (or "and", "&&"). Conditions are
//
//	critical high medium low         severity at least this
//	severity>=high  severity=high    the same, written out
//	cvss>=7.5  epss>=0.1  epss>=10%  base score, exploitation estimate
//	now soon later                   priority at least this
//	kev ransomware                   known to be exploited
//	malware secret vulnerability standard notice
//	policy  policy=ID                a policy in enforce mode
//	fixable unfixed new reachable    properties
//	any                              everything that counts
//	none                             nothing; only on its own
//
// Malware and policies in enforce mode match every threshold but "none": enforcing
// is what the policy's author asked for. When every alternative asks for "new",
// a known policy violation does not match either.
func ParseThreshold(expr string) (Threshold, error) { return ParseThresholds([]string{expr}) }

// ParseThresholds reads several expressions (--fail-on is repeatable): a finding
// matches when it matches any. No expression: DefaultThreshold.
func ParseThresholds(exprs []string) (Threshold, error) {
	if len(exprs) == 0 {
		exprs = []string{DefaultThreshold}
	}
	var t Threshold
	n := 0
	for _, expr := range exprs {
		if len(expr) > maxThresholdLen {
			return Threshold{}, fmt.Errorf("threshold: %d characters, want at most %d", len(expr), maxThresholdLen)
		}
		for _, alt := range strings.Split(expr, ",") {
			word := strings.ToLower(strings.TrimSpace(alt))
			if word == "" {
				return Threshold{}, fmt.Errorf("threshold %q: an alternative is empty; want for example %q, or none", expr, DefaultThreshold)
			}
			if n++; n > maxThresholdTerms {
				return Threshold{}, fmt.Errorf("threshold: more than %d alternatives", maxThresholdTerms)
			}
			if word == "none" {
				t.off = true
				continue
			}
			conds, err := parseAlternative(word)
			if err != nil {
				return Threshold{}, fmt.Errorf("threshold %q: %w", expr, err)
			}
			t.alternatives = append(t.alternatives, conds)
		}
	}
	if t.off && len(t.alternatives) > 0 {
		return Threshold{}, fmt.Errorf("threshold %q: none stands alone", strings.Join(exprs, ","))
	}
	return t, nil
}

func parseAlternative(s string) ([]condition, error) {
	s = strings.ReplaceAll(s, "&&", "+")
	s = strings.ReplaceAll(s, " and ", "+")
	words := strings.Split(s, "+")
	if len(words) > maxThresholdTerms {
		return nil, fmt.Errorf("more than %d conditions in one alternative", maxThresholdTerms)
	}
	conds := make([]condition, 0, len(words))
	for _, w := range words {
		c, err := parseCondition(strings.TrimSpace(w))
		if err != nil {
			return nil, err
		}
		conds = append(conds, c)
	}
	return conds, nil
}

func parseCondition(w string) (condition, error) {
	c := condition{text: w}
	kind := func(k bollwerk.FindingKind) (condition, error) {
		c.match = func(f *bollwerk.Finding) bool { return f.Kind == k }
		return c, nil
	}
	switch w {
	case "critical", "high", "medium", "low":
		return severityCondition(w, ">=", w)
	case "now", "soon", "later":
		return priorityCondition(w, bollwerk.Priority(w))
	case "vulnerability", "vuln":
		return kind(bollwerk.KindVulnerability)
	case "malware":
		return kind(bollwerk.KindMalware)
	case "secret":
		return kind(bollwerk.KindSecret)
	case "standard":
		return kind(bollwerk.KindStandard)
	case "notice":
		return kind(bollwerk.KindNotice)
	case "policy":
		c.match = enforced
	case "kev":
		c.match = func(f *bollwerk.Finding) bool { return f.KEV != nil }
	case "ransomware":
		c.match = func(f *bollwerk.Finding) bool { return f.KEV != nil && f.KEV.Ransomware }
	case "fixable":
		c.match = fixable
	case "unfixed":
		c.match = func(f *bollwerk.Finding) bool { return !fixable(f) }
	case "new":
		c.match = func(f *bollwerk.Finding) bool { return f.New }
	case "reachable":
		c.match = func(f *bollwerk.Finding) bool { return f.Reachable != nil && *f.Reachable }
	case "any":
		c.match = Counts
	case "none":
		return c, fmt.Errorf("none stands alone")
	case "":
		return c, fmt.Errorf("a condition is empty; write for example high+fixable")
	}
	if c.match != nil {
		return c, nil
	}
	name, op, value, ok := splitComparison(w)
	if !ok {
		return c, fmt.Errorf("%q is not a condition; want a severity (high), a kind (malware, secret, vulnerability), a property (kev, fixable, new, policy, reachable) or a comparison (epss>=0.1, cvss>=7); see docs/ranking.md", w)
	}
	switch name {
	case "severity":
		return severityCondition(w, op, value)
	case "priority":
		if op != ">=" && op != "=" {
			return c, fmt.Errorf("%q: want priority>=soon", w)
		}
		p := bollwerk.Priority(value)
		if op == ">=" {
			return priorityCondition(w, p)
		}
		if priorityStep(p) == 3 && p != bollwerk.PriorityWatch {
			return c, fmt.Errorf("%q: want now, soon, later or watch", w)
		}
		c.match = func(f *bollwerk.Finding) bool { return f.Priority == p }
		return c, nil
	case "epss":
		x, err := parseNumber(w, value, 1, true)
		if err != nil {
			return c, err
		}
		c.match = compareNumber(op, x, func(f *bollwerk.Finding) (float64, bool) { return epssOf(f), f.EPSS != nil })
		return c, nil
	case "cvss", "score":
		x, err := parseNumber(w, value, 10, false)
		if err != nil {
			return c, err
		}
		c.match = compareNumber(op, x, func(f *bollwerk.Finding) (float64, bool) { return f.Score, f.Score > 0 })
		return c, nil
	case "policy":
		if op != "=" || value == "" {
			return c, fmt.Errorf("%q: want policy=ID", w)
		}
		c.match = func(f *bollwerk.Finding) bool {
			return f.Kind == bollwerk.KindStandard && strings.EqualFold(f.Policy, value)
		}
		return c, nil
	}
	return c, fmt.Errorf("%q: nothing is called %q here; want severity, priority, epss, cvss or policy", w, name)
}

func enforced(f *bollwerk.Finding) bool {
	return f.Kind == bollwerk.KindStandard && f.Mode == modeEnforce
}

func fixable(f *bollwerk.Finding) bool { return len(f.FixedIn) > 0 }

// severityCondition leaves out standards and notices: a policy in warn mode is
// meant to warn, whatever its severity; the conditions standard and policy name them.
func severityCondition(text, op, word string) (condition, error) {
	s, err := bollwerk.ParseSeverity(word)
	if err != nil || s == bollwerk.SeverityUnknown && word != "unknown" {
		return condition{}, fmt.Errorf("%q: want none, low, medium, high or critical", text)
	}
	c := condition{text: text}
	grave := func(f *bollwerk.Finding) bool {
		return f.Kind != bollwerk.KindStandard && f.Kind != bollwerk.KindNotice
	}
	switch op {
	case ">=":
		c.match = func(f *bollwerk.Finding) bool { return grave(f) && f.Severity >= s }
	case ">":
		c.match = func(f *bollwerk.Finding) bool { return grave(f) && f.Severity > s }
	case "=":
		c.match = func(f *bollwerk.Finding) bool { return grave(f) && f.Severity == s }
	default:
		return c, fmt.Errorf("%q: want severity>=high", text)
	}
	return c, nil
}

func priorityCondition(text string, p bollwerk.Priority) (condition, error) {
	step := priorityStep(p)
	if step == 3 {
		return condition{}, fmt.Errorf("%q: want now, soon or later", text)
	}
	return condition{text: text, match: func(f *bollwerk.Finding) bool { return priorityStep(f.Priority) <= step }}, nil
}

func splitComparison(w string) (name, op, value string, ok bool) {
	i := strings.IndexAny(w, "<>=")
	if i <= 0 {
		return "", "", "", false
	}
	name, op = strings.TrimSpace(w[:i]), w[i:i+1]
	rest := w[i+1:]
	if strings.HasPrefix(rest, "=") {
		rest = rest[1:]
		if op != "=" { // "==" means "="
			op += "="
		}
	}
	return name, op, strings.TrimSpace(rest), true
}

func parseNumber(text, value string, limit float64, percent bool) (float64, error) {
	scale := 1.0
	if v, ok := strings.CutSuffix(value, "%"); ok && percent {
		value, scale = strings.TrimSpace(v), 100
	}
	x, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(x) || x < 0 || x/scale > limit {
		return 0, fmt.Errorf("%q: want a number from 0 to %g", text, limit)
	}
	return x / scale, nil
}

func compareNumber(op string, x float64, get func(*bollwerk.Finding) (float64, bool)) func(*bollwerk.Finding) bool {
	return func(f *bollwerk.Finding) bool {
		v, ok := get(f)
		if !ok { // not known: neither above nor below
			return false
		}
		switch op {
		case ">=":
			return v >= x
		case ">":
			return v > x
		case "<=":
			return v <= x
		case "<":
			return v < x
		}
		return v == x
	}
}

// Match reports whether a finding makes the command fail. Suppressed findings and
// those that were not evaluated never do.
func (t Threshold) Match(f *bollwerk.Finding) bool {
	if t.off || len(t.alternatives) == 0 || !judged(f) {
		return false
	}
	if f.Kind == bollwerk.KindMalware {
		return true
	}
	if enforced(f) && (f.New || !t.onlyNew()) {
		return true
	}
	for _, alt := range t.alternatives {
		all := true
		for _, c := range alt {
			if !c.match(f) {
				all = false
				break
			}
		}
		if all {
			return true
		}
	}
	return false
}

// NeedsBaseline reports whether the expression speaks of "new", which means
// nothing without a baseline.
func (t Threshold) NeedsBaseline() bool {
	for _, alt := range t.alternatives {
		if hasNew(alt) {
			return true
		}
	}
	return false
}

func (t Threshold) onlyNew() bool {
	for _, alt := range t.alternatives {
		if !hasNew(alt) {
			return false
		}
	}
	return len(t.alternatives) > 0
}

func hasNew(alt []condition) bool {
	for _, c := range alt {
		if c.text == "new" {
			return true
		}
	}
	return false
}

// String writes the expression in its canonical form; ParseThreshold reads it back.
func (t Threshold) String() string {
	if t.off || len(t.alternatives) == 0 {
		return "none"
	}
	var b strings.Builder
	for i, alt := range t.alternatives {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, c := range alt {
			if j > 0 {
				b.WriteByte('+')
			}
			b.WriteString(c.text)
		}
	}
	return b.String()
}

// Gate is how a result stands against a threshold.
type Gate struct {
	Threshold string
	Matches   []bollwerk.FindingID // in the order of rank
}

// Failed reports whether the command exits with 1.
func (g Gate) Failed() bool { return len(g.Matches) > 0 }

// Check holds every finding of a result against the threshold.
func (t Threshold) Check(r *bollwerk.Result) Gate {
	g := Gate{Threshold: t.String()}
	for i := range r.Findings {
		if t.Match(&r.Findings[i]) {
			g.Matches = append(g.Matches, r.Findings[i].Fingerprint)
		}
	}
	return g
}
