package policy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// Every shipped policy passes its own tests, and has all it should have.
func TestShippedPolicies(t *testing.T) {
	t.Parallel()
	e := engine(t, policy.Options{})
	for _, p := range shipped(t) {
		t.Run(p.ID, func(t *testing.T) {
			t.Parallel()
			s := suites(t)[p]
			for _, problem := range e.Lint(p, s) {
				t.Error(problem)
			}
			outcomes, err := s.Run(context.Background(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range outcomes {
				if o.Problem != "" {
					t.Errorf("%s:%d: %s: %s", s.File, o.Case.Line, o.Case.Name, o.Problem)
				}
			}
		})
	}
}

// A test that passes whatever the policy says is no test: for every shipped policy
// the suite must object when the rule is replaced by one that always passes, by
// one that always fails, and by one that is never evaluated.
func TestSuitesAreNotBlind(t *testing.T) {
	t.Parallel()
	for _, p := range shipped(t) {
		t.Run(p.ID, func(t *testing.T) {
			t.Parallel()
			s := suites(t)[p]
			rules := []string{"true", "false", `unknown("x")`}
			if p.Violations.Text != "" {
				rules = []string{"[]", "['x']", `unknown("x")`}
			}
			for _, rule := range rules {
				mutant := *p
				mutant.Message, mutant.Fix = policy.Expression{Text: "m", Line: 1}, policy.Expression{}
				if p.Violations.Text != "" {
					mutant.Violations.Text = rule
				} else {
					mutant.Pass.Text = rule
				}
				ms := *s
				ms.Policy = &mutant
				outcomes, err := ms.Run(context.Background(), nil)
				if err != nil {
					t.Fatal(err)
				}
				noticed := 0
				for _, o := range outcomes {
					// A case that only objects to the text does not count.
					if strings.HasPrefix(o.Problem, "want ") {
						noticed++
					}
				}
				if noticed == 0 {
					t.Errorf("%s: no case notices the rule %s", p.ID, rule)
				}
			}
		})
	}
}

func TestSuiteSays(t *testing.T) {
	p := parse(t, "violations: image.files\nreport: each\nmessage: 'file {{ it.path }}'")
	for _, c := range []struct{ test, want string }{
		{"{name: a, subject: {files: []}, want: pass}", ""},
		{"{name: a, subject: {files: []}, want: fail}", "want fail, got pass"},
		{"{name: a, subject: {files: [{path: x}]}, want: pass}", "want pass, got fail: file x"},
		{"{name: a, subject: {}, want: pass}", "want pass, got not_evaluated: image.files is not known"},
		{"{name: a, subject: {files: [{path: x}]}, want: fail, message: '*y'}", `the message does not match "*y": "file x"`},
		{"{name: a, subject: {files: [{path: x}, {path: y}]}, want: fail, paths: [x]}", `want findings for ["x"], got ["x" "y"]`},
		{"{name: a, subject: {files: [{path: x}, {path: y}]}, want: fail, findings: 1}", "want 1 findings, got 2"},
		{"{name: a, subject: {flies: []}, want: pass}", `Image has no field "flies"; did you mean "files"?`},
		{"{name: a, subject: null, want: pass}", "want pass, got not_evaluated: the target is not an image"},
	} {
		cases, err := policy.ParseCases("tests.yaml", []byte("tests:\n- "+c.test))
		if err != nil {
			t.Fatal(err)
		}
		out, err := (&policy.Suite{Policy: p, Cases: cases}).Run(context.Background(), nil)
		if err != nil || len(out) != 1 || !strings.Contains(out[0].Problem, c.want) || (c.want == "") != (out[0].Problem == "") {
			t.Errorf("%s\n got %v %q\nwant %q", c.test, err, out[0].Problem, c.want)
		}
	}
	for _, c := range []struct{ doc, want string }{
		{"tests:\n- {name: a, want: pass}", "tests.yaml:2: test \"a\": subject is missing"},
		{"tests:\n- {name: a, subject: {}, want: passes}", `want "passes"`},
		{"tests:\n- {subject: {}, want: pass}", "name is missing"},
		{"tests:\n- {name: a, subject: {}, want: pass}\n- {name: a, subject: {}, want: pass}", `two tests are named "a"`},
		{"tests:\n- {name: a, subjct: {}, want: pass}", `did you mean "subject"?`},
		{"test: []", `did you mean "tests"?`},
	} {
		if _, err := policy.ParseCases("tests.yaml", []byte(c.doc)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.doc, err)
		}
	}
}

func TestLint(t *testing.T) {
	for _, c := range []struct {
		body string
		want []string // rules, errors with a !
	}{
		{"pass: image.name != ''\nwhy: w\nfix: f\nmappings: {A: '1'}", nil},
		{"pass: image.name != ''", []string{"why", "fix", "mappings"}},
		{"pass: 'true'\nwhy: w\nfix: f\nmappings: {A: '1'}", []string{"!unreachable", "!unreachable"}},
		{"pass: now > date('2000-01-01')\nwhy: w\nfix: f\nmappings: {A: '1'}", []string{"!unreachable"}},
		{"when: 1 == 2\npass: image.name != ''\nwhy: w\nfix: f\nmappings: {A: '1'}", []string{"!unreachable"}},
		{"when: 1 == 1\npass: image.name != ''\nwhy: w\nfix: f\nmappings: {A: '1'}", []string{"unreachable"}},
		{"variables:\n  a: image.name\n  b: a\npass: image.name != ''\nwhy: w\nfix: f\nmappings: {A: '1'}", []string{"unused", "unused"}},
		{"variables:\n  a: image.name\n  b: a\npass: b != ''\nwhy: w\nfix: f\nmappings: {A: '1'}", nil},
		{"parameters:\n  a: {type: int, default: 1}\npass: image.name != ''\nwhy: w\nfix: f\nmappings: {A: '1'}", []string{"parameters", "unused"}},
		{"violations: image.files\nreport: each\nwhy: w\nfix: f\nmappings: {A: '1'}", []string{"message"}},
		{"pass: image.nam != ''\nwhy: w\nfix: f\nmappings: {A: '1'}", []string{"!compile"}},
	} {
		p := parse(t, c.body)
		got := map[string]int{}
		for _, x := range engine(t, policy.Options{}).Lint(p, nil) {
			rule := x.Rule
			if x.Error {
				rule = "!" + rule
			}
			got[rule]++
		}
		want := map[string]int{}
		for _, r := range c.want {
			want[r]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s\n got %v\nwant %v", c.body, got, want)
		}
	}
	p := parse(t, "when: image.tag == ''\npass: image.name != ''\nwhy: w\nfix: f\nmappings: {A: '1'}")
	if ps := engine(t, policy.Options{}).Lint(p, &policy.Suite{Policy: p}); len(ps) != 4 {
		t.Errorf("a policy without tests: %v", ps)
	}
}

func TestExplain(t *testing.T) {
	p := parse(t, "when: image.name == 'n'\nvariables:\n  u: image.config.user.split(':')[0]\npass: u in ['a', 'b'] && image.tag == 'x' || image.files.all(f, f.path == 'p')")
	e := engine(t, policy.Options{})
	subject := m{"name": "n", "config": m{"user": "c:d"}, "files": []any{m{"kind": "k", "path": "p"}, m{"kind": "k", "path": "q"}}}
	ds, err := e.Explain(context.Background(), subject, p)
	if err != nil || len(ds) != 1 || ds[0].Verdict != bollwerk.Fail {
		t.Fatal(err, ds)
	}
	var b strings.Builder
	if err := policy.WriteExplanation(&b, ds); err != nil {
		t.Fatal(err)
	}
	const want = `p: fail: M

when
  image.name == "n" = true
    image.name = "n"

variables: u
  image.config.user.split(":")[0] = "c"
    image.config.user.split(":") = ["c", "d"]
      image.config.user = "c:d"

pass
  u in ["a", "b"] && image.tag == "x" || image.files.all(f, f.path == "p") = false
    u in ["a", "b"] && image.tag == "x" = false
      u in ["a", "b"] = false
        u = "c"
      image.tag == "x" = (not evaluated)
    image.files.all(f, f.path == "p") = false
      image.files = [{path: "p", …}, {path: "q", …}]
      f.path == "p" = false  (for the last element)
        f.path = "q"  (for the last element)
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	// What Explain decides is what Evaluate decides, for every shipped policy.
	for _, r := range imageResults(6) {
		for _, p := range shipped(t) {
			if p.Subject != "image" {
				continue
			}
			in := policy.ImageSubject(r, nil)
			a, err := e.Explain(context.Background(), in, p)
			if err != nil {
				t.Fatal(err)
			}
			b, err := e.Evaluate(context.Background(), "image", in, []*policy.Policy{p})
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%+v", policy.Findings(a)) != fmt.Sprintf("%+v", policy.Findings(b)) {
				t.Errorf("%s: explained as %+v, evaluated as %+v", p.ID, a, b)
			}
		}
	}
	ds, err = e.Explain(context.Background(), m{"name": "n"}, p)
	if err != nil || ds[0].Verdict != bollwerk.NotEvaluated || len(ds[0].Trace) == 0 {
		t.Errorf("%v %+v", err, ds)
	}
}
