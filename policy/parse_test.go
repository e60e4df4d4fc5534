package policy_test

import (
	"bytes"
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

const whole = `id: whole
title: All keys
severity: high
mode: enforce
subject: image
description: d
why: w
when: image.name != ""
parameters:
  allowed:
    type: list(string)
    default: [a, b]
    description: which
  age: {type: duration, default: 7d, description: how old}
variables:
  n: size(image.files)
violations: |
  image.files.filter(f,
    !f.path.globAny(params.allowed))
report: each
message: "{{ it.path }} of {{ n }}"
fix: remove {{ it.path }}
mappings:
  CIS: ["4.1", "4.2"]
  BSI: SYS.1.6
references: [https://example.org]
`

func TestParseWhole(t *testing.T) {
	p, err := policy.Parse("whole.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != "whole" || p.Severity != bollwerk.SeverityHigh || p.Mode != policy.Enforce || p.Report != policy.Each || p.Violations.Line != 18 ||
		len(p.Mappings) != 3 || p.Mappings[2] != (policy.Mapping{Standard: "BSI", Requirement: "SYS.1.6"}) || len(p.Parameters) != 2 || len(p.Variables) != 1 {
		t.Errorf("%+v", p)
	}
	if err := engine(t, policy.Options{}).Compile(p); err != nil {
		t.Error(err)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"a misspelt key", "severity: high", "severty: high", `whole.yaml:3: policy: unknown key "severty"; did you mean "severity"?`},
		{"an unknown key", "why: w", "rationale: w", `whole.yaml:7: policy: unknown key "rationale"; known keys: description, fix`},
		{"a repeated key", "why: w", "title: again", `whole.yaml:7: policy: "title" is set a second time (first in line 2)`},
		{"a missing title", "title: All keys\n", "", "title is missing"},
		{"a bad severity", "high", "grave", `whole.yaml:3: severity "grave"`},
		{"severity none", "severity: high", "severity: none", `want low, medium, high or critical`},
		{"a bad mode", "enforce", "enforced", `whole.yaml:4: mode "enforced": want observe, warn or enforce; did you mean "enforce"?`},
		{"a bad id", "id: whole", "id: Whole", "lower-case words with hyphens"},
		{"a list for a text", "why: w", "why: [w]", "whole.yaml:7: why: want text, got a list"},
		{"true for a text", "why: w", "why: true", "whole.yaml:7: why: want text"},
		{"two rules", "report: each", "pass: 'true'", "exactly one of pass"},
		{"no rule", "violations", "pass", "report is for policies with violations"},
		{"a bad report", "report: each", "report: all", "want once or each"},
		{"a bad type", "list(string)", "strings", `whole.yaml:11: parameters: allowed: type "strings": want string`},
		{"a default of the wrong type", "[a, b]", "[a, 1]", "parameters.allowed.default[1]: want string, got the number 1"},
		{"no default", "default: [a, b]\n", "\n", "default is missing"},
		{"a bad duration", "7d", "a week", `duration "a week"`},
		{"a taken variable", "n: size", "now: size", `variables: "now" is taken`},
		{"the subject's name as a variable", "n: size", "image: size", `variables: "image" is taken`},
		{"an anchor", "why: w", "why: &x w", "anchors and aliases are not allowed"},
		{"a second document", "references:", "---\nreferences:", "a second YAML document"},
		{"broken YAML", "why: w", "why: 'w", "whole.yaml:"},
		{"a tag", "default: [a, b]", "default: [!!binary aGk=]", "not allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := strings.Replace(whole, c.from, c.to, 1)
			if doc == whole {
				t.Fatal("the case changes nothing")
			}
			_, err := policy.Parse("whole.yaml", []byte(doc))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := policy.Parse("x", nil); err == nil {
		t.Error("an empty file was accepted")
	}
	if _, err := policy.Parse("x", bytes.Repeat([]byte("["), 1<<19)); err == nil || !strings.Contains(err.Error(), "nested deeper") {
		t.Errorf("deep: %v", err)
	}
	if _, err := policy.Parse("x", bytes.Repeat([]byte("a: b\n"), 1<<19)); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("large: %v", err)
	}
	if _, err := policy.Parse("x", []byte("a: "+strings.Repeat("\n- ", 60000))); err == nil {
		t.Error("deep indentation was accepted")
	}
}

// What does not compile is said with its line, its column and, where there is
// one, the word that was meant.
func TestCompileRefuses(t *testing.T) {
	for _, c := range []struct{ name, body, want string }{
		{"a misspelt field", "pass: image.config.usr == 'x'", `p.yaml:1: pass: column 13: Config has no field "usr"; did you mean "user"?`},
		{"a field far from any", "pass: image.config.zzzzzz == 'x'", `Config has no field "zzzzzz"; it has cmd, entrypoint, env`},
		{"in the second line of a block", "pass: |\n  image.name == ''\n    && image.cofnig.user == ''", `p.yaml:3: pass: column 11: Image has no field "cofnig"; did you mean "config"?`},
		{"a misspelt subject", "pass: imge.name == 'x'", `"imge" is not known; did you mean "image"?`},
		{"a misspelt function", "pass: image.name.globbAny(['x'])", `"globbAny" is not known; did you mean "globAny"?`},
		{"a misspelt parameter", "parameters:\n  allowed: {type: string, default: a}\npass: image.name == params.alowed", `params has no field "alowed"; did you mean "allowed"?`},
		{"a misspelt variable", "variables:\n  user: image.config.user\npass: usr == 'x'", `"usr" is not known; did you mean "user"?`},
		{"a variable used before it is declared", "variables:\n  a: b\n  b: image.name\npass: a == 'x'", `"b" is not known`},
		{"types that do not fit", "pass: image.name == 3", "wrong types for _==_"},
		{"not a condition", "pass: image.name", "p.yaml:1: pass: want bool, the expression gives string"},
		{"not a list", "violations: image.name", "violations: want list(dyn), the expression gives string"},
		{"a broken expression", "pass: image.name ==", "p.yaml:1: pass: column"},
		{"a field in a filter", "violations: image.files.filter(f, f.knd == 'x')", `File has no field "knd"; did you mean "kind"?`},
		{"an unknown subject", "subject: imag\npass: 1 == 1", `subject "imag" is not known; did you mean "image"?`},
		{"a message that is a list", "violations: image.files\nmessage: '{{ items }}'", "is a list(File), not text"},
		{"a message with a typo", "violations: image.files\nreport: each\nmessage: '{{ it.pth }}'", `File has no field "pth"; did you mean "path"?`},
		{"an open message", "pass: image.name == ''\nmessage: '{{ image.name'", "{{ without }}"},
		{"an empty expression", "pass: image.name == ''\nmessage: '{{ }}'", "is empty"},
		{"it is for each", "violations: image.files\nmessage: '{{ it.path }}'", `"it" is not known`},
		{"making a subject", "pass: |\n  Image{name: 'x'}.name == 'x' || Image{nmae: 'x'}.name == ''", "Image"},
		{"too deep", "pass: " + strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300), "p.yaml:1: pass"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := engine(t, policy.Options{}).Compile(parse(t, c.body))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	good := document("pass: image.name == 'x'")
	ps, err := policy.Load(fstest.MapFS{"a/p/policy.yaml": file(good), "a/p/tests.yaml": file("tests: []"), ".git/policy.yaml": file("nonsense"), "x/notes.yaml": file("nonsense")})
	if err != nil || len(ps) != 1 || ps[0].Folder != "a/p" {
		t.Errorf("%v %v", err, ps)
	}
	for _, c := range []struct {
		fs   fstest.MapFS
		want string
	}{
		{fstest.MapFS{"a/policy.yaml": file(good), "b/policy.yaml": file(good)}, "b/policy.yaml: the id p is taken by a/policy.yaml"},
		{fstest.MapFS{"a/policy.yaml": file("id: x")}, "a/policy.yaml:1: title is missing"},
		{fstest.MapFS{"a/policy.yaml": {Mode: fs.ModeDevice | 0o644, Data: []byte("/etc/passwd")}}, "a/policy.yaml: not a regular file"},
	} {
		if _, err := policy.Load(c.fs); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("id: [\n"))
	f.Add([]byte("parameters:\n  a: {type: map(list(int)), default: {x: [1, .5, ~]}}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := policy.Parse("f.yaml", b)
		if err != nil {
			if p != nil && !strings.HasPrefix(err.Error(), "f.yaml") {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if p.ID == "" || p.Title == "" || p.Subject == "" || p.Severity < bollwerk.SeverityLow || (p.Pass.Text == "") == (p.Violations.Text == "") {
			t.Fatalf("accepted %+v", p)
		}
		_ = engine(t, policy.Options{}).Compile(p)
	})
}

// FuzzExpression compiles anything and evaluates what compiles: no panic, one of
// the four verdicts, and a cause wherever one is due.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{
		`image.config.user == "" || now > date(image.tag)`, `size(image.files) == 0`, `image.files.all(f, f.path.glob("*?a*"))`,
		`image.name.matches("(a+)+$")`, `[1, 2][size(image.name)] == 1`, `image.config.labels["x"].split("").size() > 2`, `unknown(image.name)`,
		`image.files.map(f, f.path).enumerate(-1) == ""`, `math.greatest([1.0, 2.0]) > 3.0`, `days(9223372036854775807) > days(1)`,
		`image.name.replace("", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx").replace("", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyy") == ""`, `lists.range(100000).size() > 3`,
	} {
		f.Add(s, "name", "user")
	}
	for _, p := range []string{"a", "b"} {
		f.Add(`image.name == "`+p+`"`, p, p)
	}
	f.Fuzz(func(t *testing.T, expr, name, user string) {
		p := &policy.Policy{ID: "f", Title: "t", Subject: "image", File: "f", Pass: policy.Expression{Text: expr, Line: 1},
			Message: policy.Expression{Text: "{{ image.name }}", Line: 1}, Report: policy.Once, Severity: bollwerk.SeverityLow}
		subject := m{"name": name, "files": []any{m{"kind": user, "path": name}}, "config": m{"user": user, "labels": m{name: user}}}
		ds, err := engine(t, policy.Options{}).Evaluate(context.Background(), "image", subject, []*policy.Policy{p})
		if err != nil || len(ds) != 1 {
			t.Fatal(err, len(ds))
		}
		d := ds[0]
		if _, err := bollwerk.ParseVerdict(string(d.Verdict)); err != nil || d.Verdict.NeedsCause() != (d.Cause != "") {
			t.Fatalf("%+v", d)
		}
		if d.Verdict == bollwerk.Fail && strings.ContainsAny(d.Message, "\n\x1b") {
			t.Fatalf("a message with control characters: %q", d.Message)
		}
	})
}
