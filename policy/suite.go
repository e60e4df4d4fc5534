package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/glob"
)

// TestsName is the file beside policy.yaml that holds the policy's tests.
const TestsName = "tests.yaml"

// NotApplicable is what a test wants when the policy's `when` must not hold. The
// other wishes are the four verdicts.
const NotApplicable = "not_applicable"

// defaultDay is the day a test is judged on when it names none: any fixed one.
var defaultDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Suite is the tests of one policy.
type Suite struct {
	Policy *Policy
	File   string
	Cases  []Case
}

// Case is one test: a subject and what the policy must say of it.
type Case struct {
	Name       string
	Line       int
	Subject    any // nil: there is no such subject
	Parameters map[string]any
	Now        time.Time
	Coverage   []bollwerk.Coverage
	Want       string
	// Message, Fix and Cause are globs on the texts of the first decision that has
	// the wanted verdict; "" accepts any.
	Message, Fix, Cause string
	// Paths, when set, must be the paths of all failing decisions, in order.
	Paths []string
	// Findings, when not nil, is the number of failing decisions.
	Findings *int
}

// Outcome is how a case ended.
type Outcome struct {
	Suite *Suite
	Case  *Case
	// Problem is empty when the test passed.
	Problem   string
	Decisions []Decision
}

// LoadSuite reads the tests of a policy that was loaded from fsys. A policy
// without a tests file has a suite without cases.
func LoadSuite(fsys fs.FS, p *Policy) (*Suite, error) {
	s := &Suite{Policy: p, File: path.Join(p.Folder, TestsName)}
	b, err := readBounded(fsys, s.File)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.Cases, err = ParseCases(s.File, b)
	return s, err
}

// ParseCases reads a tests file, as strictly as Parse reads a policy.
func ParseCases(name string, b []byte) ([]Case, error) {
	d := &document{name: name}
	root, err := d.root(b)
	if err != nil {
		return nil, err
	}
	var cases []Case
	d.fields(root, "tests", map[string]func(*yaml.Node){
		"tests": func(n *yaml.Node) {
			d.items(n, "tests", func(n *yaml.Node) { cases = append(cases, d.testCase(n)) })
		},
	})
	seen := map[string]bool{}
	for _, c := range cases {
		if seen[c.Name] {
			d.failf(c.Line, "two tests are named %q", c.Name)
		}
		seen[c.Name] = true
	}
	return cases, d.err()
}

func (d *document) testCase(n *yaml.Node) Case {
	c := Case{Line: n.Line, Now: defaultDay}
	hasSubject := false
	value := func(what string, to *any) func(*yaml.Node) {
		return func(n *yaml.Node) {
			v, err := d.value(n)
			if err != nil {
				d.problems = append(d.problems, err)
			}
			*to = v
		}
	}
	var params any
	d.fields(n, "test", map[string]func(*yaml.Node){
		"name":       d.text("name", &c.Name),
		"subject":    func(n *yaml.Node) { hasSubject = true; value("subject", &c.Subject)(n) },
		"parameters": value("parameters", &params),
		"now": func(n *yaml.Node) {
			var s string
			d.text("now", &s)(n)
			t, err := parseTime(s)
			if err != nil {
				d.failf(n.Line, "now: %v", err)
			}
			c.Now = t
		},
		"coverage": func(n *yaml.Node) {
			d.items(n, "coverage", func(n *yaml.Node) {
				var row bollwerk.Coverage
				var verdict string
				d.fields(n, "coverage", map[string]func(*yaml.Node){
					"area": d.text("area", &row.Area), "verdict": d.text("verdict", &verdict), "cause": d.text("cause", &row.Cause),
				})
				var err error
				if row.Verdict, err = bollwerk.ParseVerdict(verdict); err != nil {
					d.failf(n.Line, "coverage: %v", err)
				}
				c.Coverage = append(c.Coverage, row)
			})
		},
		"want":    d.text("want", &c.Want),
		"message": d.text("message", &c.Message),
		"fix":     d.text("fix", &c.Fix),
		"cause":   d.text("cause", &c.Cause),
		"paths":   d.texts("paths", &c.Paths),
		"findings": func(n *yaml.Node) {
			var k int
			if err := n.Decode(&k); err != nil || k < 0 {
				d.failf(n.Line, "findings: want a number")
				return
			}
			c.Findings = &k
		},
	})
	if c.Name == "" {
		d.failf(n.Line, "test: name is missing")
	}
	if !hasSubject {
		d.failf(n.Line, "test %q: subject is missing; write `subject: null` for a subject that does not exist", c.Name)
	}
	if _, err := bollwerk.ParseVerdict(c.Want); err != nil && c.Want != NotApplicable {
		d.failf(n.Line, "test %q: want %q: it must be pass, fail, not_evaluated, degraded or not_applicable", c.Name, c.Want)
	}
	if params != nil {
		m, ok := params.(map[string]any)
		if !ok {
			d.failf(n.Line, "test %q: parameters: want a mapping", c.Name)
		}
		c.Parameters = m
	}
	return c
}

// Run judges every case. subjects nil means Subjects(). An error means that a
// case could not be judged at all (the context ended).
func (s *Suite) Run(ctx context.Context, subjects []*Subject) ([]Outcome, error) {
	var out []Outcome
	engines := map[string]*Engine{}
	for i := range s.Cases {
		c := &s.Cases[i]
		o := Outcome{Suite: s, Case: c}
		// Cases without parameters of their own share an engine, so that the policy
		// is compiled once for them.
		key := c.Now.String()
		e := engines[key]
		if e == nil || len(c.Parameters) > 0 {
			var err error
			if e, err = New(Options{Now: c.Now, Subjects: subjects, Parameters: map[string]map[string]any{s.Policy.ID: c.Parameters}}); err != nil {
				return nil, err
			}
			if len(c.Parameters) == 0 {
				engines[key] = e
			}
		}
		ds, err := e.Evaluate(ctx, s.Policy.Subject, Input{Value: c.Subject, Coverage: c.Coverage}, []*Policy{s.Policy})
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		o.Decisions = ds
		if err != nil {
			o.Problem = err.Error()
		} else {
			o.Problem = c.compare(ds)
		}
		out = append(out, o)
	}
	return out, nil
}

// compare says what is wrong with the decisions, or "".
func (c *Case) compare(ds []Decision) string {
	var match *Decision
	got := ""
	failing := 0
	var paths []string
	for i := range ds {
		d := &ds[i]
		word := string(d.Verdict)
		if !d.Applies {
			word = NotApplicable
		}
		got = word
		if word == c.Want && match == nil {
			match = d
		}
		if d.Verdict == bollwerk.Fail {
			failing++
			paths = append(paths, d.Path)
		}
	}
	if match == nil {
		detail := ""
		if len(ds) > 0 {
			detail = ds[0].Cause + ds[0].Message
		}
		return strings.TrimSuffix(fmt.Sprintf("want %s, got %s: %s", c.Want, got, detail), ": ")
	}
	for _, t := range []struct{ what, pattern, text string }{
		{"message", c.Message, match.Message}, {"fix", c.Fix, match.Fix}, {"cause", c.Cause, match.Cause},
	} {
		if t.pattern != "" && !glob.Match(t.pattern, t.text) {
			return fmt.Sprintf("the %s does not match %q: %q", t.what, t.pattern, t.text)
		}
	}
	if strings.Contains(match.Message, "(the message could not be made") {
		return match.Message
	}
	if c.Paths != nil && strings.Join(paths, "\n") != strings.Join(c.Paths, "\n") {
		return fmt.Sprintf("want findings for %q, got %q", c.Paths, paths)
	}
	if c.Findings != nil && failing != *c.Findings {
		return fmt.Sprintf("want %d findings, got %d", *c.Findings, failing)
	}
	return ""
}
