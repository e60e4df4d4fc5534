package policy_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

var day = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

func engine(t testing.TB, o policy.Options) *policy.Engine {
	t.Helper()
	if o.Now.IsZero() {
		o.Now = day
	}
	e, err := policy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// shipped are the policies of this repository, read once for all tests. Nobody
// changes one.
func shipped(t testing.TB) []*policy.Policy {
	t.Helper()
	ps, err := readShipped()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(ps)
}

var readShipped = sync.OnceValues(func() ([]*policy.Policy, error) { return policy.Load(os.DirFS("../policies")) })

// suites are the tests of the shipped policies.
func suites(t testing.TB) map[*policy.Policy]*policy.Suite {
	t.Helper()
	m, err := readSuites()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var readSuites = sync.OnceValues(func() (map[*policy.Policy]*policy.Suite, error) {
	ps, err := readShipped()
	if err != nil {
		return nil, err
	}
	m := map[*policy.Policy]*policy.Suite{}
	for _, p := range ps {
		if m[p], err = policy.LoadSuite(os.DirFS("../policies"), p); err != nil {
			return nil, err
		}
	}
	return m, nil
})

// parse makes a policy from its rule; lines are those of the rule.
func parse(t testing.TB, body string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("p.yaml", []byte(document(body)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func document(body string) string {
	d := body
	for _, l := range []string{"id: p", "title: T", "severity: low", "subject: image", "description: D", "message: M"} {
		key, _, _ := strings.Cut(l, ":")
		if !strings.HasPrefix(d, key+":") && !strings.Contains(d, "\n"+key+":") {
			d += "\n" + l
		}
	}
	return d
}

// judge evaluates one policy over one image subject.
func judge(t testing.TB, body string, subject any) policy.Decision {
	t.Helper()
	e := engine(t, policy.Options{Limits: policy.Limits{Steps: 200_000}})
	ds, err := e.Evaluate(context.Background(), "image", subject, []*policy.Policy{parse(t, body)})
	if err != nil {
		t.Fatal(err)
	}
	if len(ds) != 1 {
		t.Fatalf("%d decisions, want 1: %+v", len(ds), ds)
	}
	return ds[0]
}

type m = map[string]any

func TestVerdicts(t *testing.T) {
	user := func(s string) m { return m{"config": m{"user": s}} }
	for _, c := range []struct {
		name, body string
		subject    any
		want       bollwerk.Verdict
		cause      string // or the message of a failure
	}{
		{"holds", `pass: image.config.user == "app"`, user("app"), bollwerk.Pass, ""},
		{"does not hold", `pass: image.config.user == "app"`, user("root"), bollwerk.Fail, "M"},
		{"a missing field", `pass: image.config.user == "app"`, m{"config": m{}}, bollwerk.NotEvaluated, "image.config.user is not known"},
		{"a missing object", `pass: image.config.user == "app"`, m{}, bollwerk.NotEvaluated, "image.config is not known: the image has no readable configuration"},
		{"a null is missing", `pass: image.config.user == "app"`, m{"config": m{"user": nil}}, bollwerk.NotEvaluated, "image.config.user is not known"},
		{"has asks", `pass: '!has(image.config.user)'`, m{"config": m{}}, bollwerk.Pass, ""},
		{"has of a missing parent", `pass: '!has(image.config.user)'`, m{}, bollwerk.NotEvaluated, "image.config is not known: the image has no readable configuration"},
		{"the empty text is known", `pass: image.config.user != ""`, user(""), bollwerk.Fail, "M"},
		{"true needs no more", `pass: image.config.user == "app" || image.tag == "x"`, user("app"), bollwerk.Pass, ""},
		{"false with a gap is not a failure", `pass: image.config.user == "app" || image.tag == "x"`, user("root"), bollwerk.NotEvaluated,
			"image.tag is not known: the image was not named by a tag"},
		{"a missing map key", `pass: image.config.labels["a"] == "b"`, m{"config": m{"labels": m{}}}, bollwerk.NotEvaluated, `image.config.labels["a"] is not known`},
		{"inside a list", `violations: 'image.files.filter(f, f.detail == "x")'`, m{"files": []any{m{"kind": "setuid", "path": "a"}}}, bollwerk.NotEvaluated, "f.detail is not known"},
		{"through a variable", "variables:\n  u: image.config.user\npass: u == 'x'", m{"config": m{}}, bollwerk.NotEvaluated, "image.config.user is not known"},
		{"an unused variable harms nobody", "variables:\n  u: image.config.user\npass: image.name == 'n' || u == 'x'", m{"name": "n"}, bollwerk.Pass, ""},
		{"division by zero", `pass: 1 / size(image.name) == 1`, m{"name": ""}, bollwerk.NotEvaluated, "1 / size(image.name): division by zero"},
		{"an index too far", `pass: image.config.cmd[3] == "x"`, m{"config": m{"cmd": []any{"a"}}}, bollwerk.NotEvaluated, "index out of bounds"},
		{"unknown() says why", `pass: 'unknown("no table for " + image.name)'`, m{"name": "n"}, bollwerk.NotEvaluated, "no table for n"},
		{"semver of no version", `pass: semver(image.tag, "1.2") >= 0`, m{"tag": "latest"}, bollwerk.NotEvaluated, `version "latest" is not a semantic version`},
		{"semver", `pass: semver(image.tag, "1.10") < 0`, m{"tag": "v1.9.3"}, bollwerk.Pass, ""},
		{"when holds", "when: image.tag == 'x'\npass: image.name == 'n'", m{"tag": "x", "name": "o"}, bollwerk.Fail, "M"},
		{"when is not known", "when: image.tag == 'x'\npass: image.name == 'n'", m{"name": "o"}, bollwerk.NotEvaluated, "image.tag is not known: the image was not named by a tag"},
		{"no subject", `pass: image.name == "n"`, nil, bollwerk.NotEvaluated, "the target is not an image"},
		{"no subject, for a reason", `pass: image.name == "n"`, policy.Input{Cause: "the registry was silent"}, bollwerk.NotEvaluated, "the registry was silent"},
		{"a wrong type in the subject", `pass: image.name == "n"`, m{"name": 7}, bollwerk.NotEvaluated, "image.name: want string, got the number 7"},
		{"an unknown field in the subject", `pass: image.name == "n"`, m{"nmae": "n"}, bollwerk.NotEvaluated, `Image has no field "nmae"; did you mean "name"?`},
		{"a policy that does not compile", `pass: image.nmae == "n"`, m{"name": "n"}, bollwerk.NotEvaluated, `Image has no field "nmae"; did you mean "name"?`},
		{"too expensive", `pass: image.layers.all(a, image.layers.all(b, image.layers.all(c, image.layers.all(d, a.index + b.index + c.index + d.index >= 0))))`,
			m{"layers": layers(200)}, bollwerk.NotEvaluated, "pass needs more than 200000 steps and was stopped"},
		{"the day", `pass: now == timestamp("2026-03-01T00:00:00Z")`, m{}, bollwerk.Pass, ""},
		{"dates in a subject", `pass: now - image.created == days(59)`, m{"created": "2026-01-01"}, bollwerk.Pass, ""},
		{"an empty list of violations", `violations: image.files`, m{"files": []any{}}, bollwerk.Pass, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := judge(t, c.body, c.subject)
			if d.Verdict != c.want || !d.Applies {
				t.Fatalf("verdict %s (applies: %v), want %s; cause %q", d.Verdict, d.Applies, c.want, d.Cause)
			}
			said := d.Cause
			if c.want == bollwerk.Fail {
				said = d.Message
			}
			if !strings.Contains(said, c.cause) {
				t.Errorf("says %q, want %q", said, c.cause)
			}
			if c.want.NeedsCause() != (d.Cause != "") {
				t.Errorf("verdict %s with cause %q", c.want, d.Cause)
			}
		})
	}
}

func layers(n int) []any {
	out := make([]any, 0, n)
	for i := range n {
		out = append(out, m{"index": i})
	}
	return out
}

func TestWhenDoesNotHold(t *testing.T) {
	d := judge(t, "when: image.tag == 'x'\npass: image.name == 'n'", m{"tag": "y"})
	if d.Applies || d.Verdict != bollwerk.Pass {
		t.Fatalf("%+v", d)
	}
	if fs := policy.Findings([]policy.Decision{d}); len(fs) != 0 {
		t.Errorf("a policy that does not apply made findings: %v", fs)
	}
	if row := policy.CoverageOf([]policy.Decision{d}); row.Total != 0 {
		t.Errorf("a policy that does not apply was counted: %+v", row)
	}
}

// What a policy read decides which gaps in the coverage it has to mention.
func TestCoverageBoundsAPass(t *testing.T) {
	files := []any{}
	row := func(area string, v bollwerk.Verdict) []bollwerk.Coverage {
		return []bollwerk.Coverage{{Area: "database", Verdict: bollwerk.Degraded, Cause: "old"}, {Area: area, Verdict: v, Cause: "because"}}
	}
	for _, c := range []struct {
		name     string
		coverage []bollwerk.Coverage
		want     bollwerk.Verdict
		cause    string
	}{
		{"nothing missing", nil, bollwerk.Pass, ""},
		{"something else is missing", row("secrets", bollwerk.NotEvaluated), bollwerk.Pass, ""},
		{"a part of the files", row("files", bollwerk.Degraded), bollwerk.Degraded, "files: because"},
		{"all files", row("files", bollwerk.NotEvaluated), bollwerk.NotEvaluated, "files: because"},
		{"one layer", row("layers:3", bollwerk.NotEvaluated), bollwerk.Degraded, "layers:3: because"},
		{"not files", row("files-of-another-kind", bollwerk.NotEvaluated), bollwerk.Pass, ""},
		{"both", append(row("files", bollwerk.Degraded), row("layers", bollwerk.NotEvaluated)...), bollwerk.NotEvaluated, "layers: because"},
	} {
		for _, body := range []string{
			`violations: image.files.filter(f, f.kind == "setuid")`,
			"variables:\n  bad: image.files.filter(f, f.kind == 'setuid')\npass: size(bad) == 0",
			"when: size(image.files) == 0\npass: 'true || image.name == \"x\"'",
		} {
			d := judge(t, body, policy.Input{Value: m{"files": files, "name": "x"}, Coverage: c.coverage})
			if d.Verdict != c.want || d.Cause != c.cause {
				t.Errorf("%s: %s: %s %q, want %s %q", c.name, body, d.Verdict, d.Cause, c.want, c.cause)
			}
		}
	}
}

func TestMessages(t *testing.T) {
	subject := m{"name": "evil\x1b[31m\u202eeman\nsecond", "tag": "1", "files": []any{m{"kind": "k", "path": "a"}, m{"kind": "k", "path": "b"}}}
	for _, c := range []struct{ body, want string }{
		{"pass: image.name == ''\nmessage: \"name {{ image.name }}!\"", "name evil\uFFFD[31m\uFFFDeman second!"},
		{"pass: image.name == ''\nmessage: '{{ size(image.files) }} files, {{ size(image.files) > 1 }}'", "2 files, true"},
		{"pass: image.name == ''\nmessage: '{{ {\"a\": \"}}\"}[\"a\"] }}'", "}}"},
		{"pass: image.name == ''\nmessage: 'on {{ now }}'", "on 2026-03-01"},
		{"pass: image.name == ''\nmessage: '{{ image.config.user }}'", "T (the message could not be made: image.config is not known: the image has no readable configuration)"},
		{"violations: image.files\nmessage: '{{ items.map(f, f.path).enumerate(1) }}'", "a and 1 more"},
		{"violations: image.files\nmessage: '{{ items.map(f, f.path).enumerate(5) }}'", "a and b"},
	} {
		d := judge(t, c.body, subject)
		if d.Verdict != bollwerk.Fail || d.Message != c.want {
			t.Errorf("%s\n got %s %q\nwant %q", c.body, d.Verdict, d.Message, c.want)
		}
	}
}

func TestReportEach(t *testing.T) {
	facts := []bollwerk.FileFact{}
	for i := range 150 {
		facts = append(facts, bollwerk.FileFact{Kind: bollwerk.FactSetUID, Path: fmt.Sprintf("bin/f%03d", i), Detail: "4755",
			Layer: &bollwerk.LayerRef{Index: 2, DiffID: "sha256:ab", CreatedBy: "RUN x"}})
	}
	r := &bollwerk.Result{Target: bollwerk.Artifact{Kind: bollwerk.KindImage}, Facts: facts}
	e := engine(t, policy.Options{})
	p := parse(t, "violations: image.files\nreport: each\nmessage: 'file {{ it.path }}'\nfix: 'chmod a-s /{{ it.path }}'")
	ds, err := e.Evaluate(context.Background(), "image", policy.ImageSubject(r, nil), []*policy.Policy{p})
	if err != nil {
		t.Fatal(err)
	}
	fs := policy.Findings(ds)
	if len(fs) != 101 {
		t.Fatalf("%d findings, want 100 and one that counts the rest", len(fs))
	}
	seen := map[bollwerk.FindingID]bool{}
	for _, f := range fs {
		if seen[f.Fingerprint] {
			t.Errorf("fingerprint %s twice", f.Fingerprint)
		}
		seen[f.Fingerprint] = true
	}
	f := fs[1]
	if f.Path != "bin/f001" || f.Reason != "file bin/f001" || f.Fix != "chmod a-s /bin/f001" || f.Kind != bollwerk.KindStandard || f.Policy != "p" || f.Mode != "warn" {
		t.Errorf("%+v", f)
	}
	if f.Layer == nil || *f.Layer != (bollwerk.LayerRef{Index: 2, DiffID: "sha256:ab", CreatedBy: "RUN x"}) {
		t.Errorf("layer %+v", f.Layer)
	}
	if !strings.Contains(fs[100].Reason, "50 more") {
		t.Errorf("the last says %q", fs[100].Reason)
	}
}

// A fingerprint must survive a change of verdict, message, mode and order, and
// tell subjects apart.
func TestFingerprints(t *testing.T) {
	e := engine(t, policy.Options{})
	fp := func(kind string, in any, body string) bollwerk.FindingID {
		t.Helper()
		ds, err := e.Evaluate(context.Background(), kind, in, []*policy.Policy{parse(t, body)})
		if err != nil || len(ds) != 1 {
			t.Fatal(err, ds)
		}
		return ds[0].Fingerprint()
	}
	a := fp("image", m{"name": "x"}, `pass: image.name == "n"`)
	for _, same := range []bollwerk.FindingID{
		fp("image", m{"name": "y"}, `pass: image.name == "n"`),
		fp("image", m{}, `pass: image.name == "n"`),
		fp("image", nil, `pass: image.name == "n"`),
		fp("image", m{"name": "x"}, "pass: image.name == 'n'\nmessage: other\nmode: enforce\nseverity: high"),
	} {
		if same != a {
			t.Errorf("%s, want %s", same, a)
		}
	}
	rule := "subject: package\npass: package.version != '1'"
	p1 := fp("package", policy.PackageSubject(&bollwerk.Package{PURL: "pkg:npm/a@1", Name: "a", Version: "1"}), rule)
	p2 := fp("package", policy.PackageSubject(&bollwerk.Package{PURL: "pkg:npm/b@1", Name: "b", Version: "1"}), rule)
	if p1 == p2 {
		t.Error("two packages share a fingerprint")
	}
	if known := bollwerk.FindingID("bynamkycp4p6"); fp("image", m{}, `pass: image.name == "n"`) != known {
		t.Errorf("the fingerprint of policy p became %s; it was %s, and people's exceptions name it", a, known)
	}
}

func TestParametersOverride(t *testing.T) {
	body := "parameters:\n  most: {type: int, default: 3, description: d}\npass: size(image.files) <= params.most"
	subject := m{"files": []any{m{"kind": "k", "path": "a"}, m{"kind": "k", "path": "b"}}}
	for _, c := range []struct {
		params m
		want   bollwerk.Verdict
		cause  string
	}{
		{nil, bollwerk.Pass, ""},
		{m{"most": 1}, bollwerk.Fail, ""},
		{m{"most": "1"}, bollwerk.NotEvaluated, `policies.p.parameters.most: want int, got the text "1"`},
		{m{"mots": 1}, bollwerk.NotEvaluated, `policy p has no parameter "mots"; did you mean "most"?`},
	} {
		e := engine(t, policy.Options{Parameters: map[string]map[string]any{"p": c.params}})
		ds, err := e.Evaluate(context.Background(), "image", subject, []*policy.Policy{parse(t, body)})
		if err != nil || ds[0].Verdict != c.want || ds[0].Cause != c.cause {
			t.Errorf("%v: %v %+v", c.params, err, ds)
		}
	}
}

func TestCoverageOf(t *testing.T) {
	p := func(id string) *policy.Policy { return &policy.Policy{ID: id} }
	row := policy.CoverageOf([]policy.Decision{
		{Policy: p("a"), Applies: true, Verdict: bollwerk.Pass},
		{Policy: p("b"), Applies: true, Verdict: bollwerk.Fail},
		{Policy: p("c"), Applies: true, Verdict: bollwerk.NotEvaluated, Cause: "no data"},
		{Policy: p("d"), Applies: true, Verdict: bollwerk.Degraded, Cause: "half the data"},
		{Policy: p("e"), Applies: false, Verdict: bollwerk.Pass},
	})
	if row.Area != "standards" || row.Verdict != bollwerk.Degraded || row.Checked != 2 || row.Total != 4 ||
		len(row.Examples) != 2 || row.Examples[0] != "c: no data" || row.Cause != "2 of 4 policies were not fully judged: c and d" {
		t.Errorf("%+v", row)
	}
	if row := policy.CoverageOf([]policy.Decision{{Policy: p("c"), Applies: true, Verdict: bollwerk.NotEvaluated, Cause: "x"}}); row.Verdict != bollwerk.NotEvaluated {
		t.Errorf("%+v", row)
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := engine(t, policy.Options{}).Evaluate(ctx, "image", m{}, []*policy.Policy{parse(t, "pass: image.name == 'x'")})
	if err != context.Canceled {
		t.Fatalf("got %v, want context.Canceled", err)
	}
}

// What the steps do not bound the time does.
func TestTimeLimit(t *testing.T) {
	e := engine(t, policy.Options{Limits: policy.Limits{Time: time.Nanosecond}})
	ds, err := e.Evaluate(context.Background(), "image", m{"layers": layers(2000)}, []*policy.Policy{parse(t, "pass: image.layers.all(a, a.index >= 0)")})
	if err != nil || ds[0].Verdict != bollwerk.NotEvaluated || ds[0].Cause != "pass took longer than 1ns and was stopped" {
		t.Fatal(err, ds)
	}
}

// A cancelled evaluation stops in the middle of a long one.
func TestContextEndsInTheMiddle(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	p := parse(t, "pass: image.layers.all(a, image.layers.all(b, image.layers.all(c, a.index + b.index + c.index >= 0)))")
	e := engine(t, policy.Options{})
	if err := e.Compile(p); err != nil {
		t.Fatal(err)
	}
	_, err := e.Evaluate(ctx, "image", m{"layers": layers(2000)}, []*policy.Policy{p})
	if err != context.DeadlineExceeded {
		t.Fatalf("got %v, want context.DeadlineExceeded", err)
	}
}

func TestEvaluateUnknownKind(t *testing.T) {
	_, err := engine(t, policy.Options{}).Evaluate(context.Background(), "imgae", m{}, nil)
	if err == nil || !strings.Contains(err.Error(), `did you mean "image"?`) {
		t.Fatal(err)
	}
}

func TestNewRefuses(t *testing.T) {
	o := &policy.Object{Name: "O"}
	for _, c := range []struct {
		o    policy.Options
		want string
	}{
		{policy.Options{}, "time is not set"},
		{policy.Options{Now: day, Subjects: []*policy.Subject{{Kind: "Pod", Type: o}}}, "lower-case identifier"},
		{policy.Options{Now: day, Subjects: []*policy.Subject{{Kind: "now", Type: o}}}, "taken"},
		{policy.Options{Now: day, Subjects: []*policy.Subject{{Kind: "pod"}}}, "no type"},
		{policy.Options{Now: day, Subjects: []*policy.Subject{{Kind: "pod", Type: o}, {Kind: "pod", Type: o}}}, "declared twice"},
		{policy.Options{Now: day, Subjects: []*policy.Subject{{Kind: "pod", Type: &policy.Object{Name: "P", Fields: []policy.Field{
			{Name: "a", Type: policy.Of(&policy.Object{Name: "P"})}}}}}}, "two objects are named P"},
	} {
		if _, err := policy.New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// The same input gives the same output, however many goroutines ask.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	ps := shipped(t)
	results := imageResults(8)
	say := func(e *policy.Engine, r *bollwerk.Result) string {
		ds, err := e.Evaluate(context.Background(), "image", policy.ImageSubject(r, nil), ps)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%+v", policy.Findings(ds)) + fmt.Sprintf("%+v", policy.CoverageOf(ds))
	}
	want := make([]string, len(results))
	for i, r := range results {
		want[i] = say(engine(t, policy.Options{}), r)
	}
	e := engine(t, policy.Options{})
	got := make(chan string)
	for i, r := range results {
		go func() {
			if s := say(e, r); s != want[i] {
				got <- fmt.Sprintf("image %d:\n got %s\nwant %s", i, s, want[i])
				return
			}
			got <- ""
		}()
	}
	for range results {
		if s := <-got; s != "" {
			t.Error(s)
		}
	}
}

// The limits leave room for the greatest honest image: 50,000 packages.
func TestLimitsLeaveRoom(t *testing.T) {
	r := &bollwerk.Result{Target: bollwerk.Artifact{Kind: bollwerk.KindImage, Name: "big:1", Config: &bollwerk.ImageConfig{}}}
	for i := range 50_000 {
		if testing.Short() && i == 5_000 {
			break
		}
		r.Packages = append(r.Packages, bollwerk.Package{PURL: bollwerk.PURL(fmt.Sprintf("pkg:deb/debian/lib%d@1", i)), Name: fmt.Sprintf("lib%d", i), Version: "1"})
		r.Facts = append(r.Facts, bollwerk.FileFact{Kind: bollwerk.FactWorldWritable, Path: fmt.Sprintf("opt/app/%d", i), Detail: "0666"})
	}
	ds, err := engine(t, policy.Options{}).Evaluate(context.Background(), "image", policy.ImageSubject(r, []bollwerk.Secret{}), shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		if d.Verdict == bollwerk.NotEvaluated && !strings.Contains(d.Cause, "is not known") {
			t.Errorf("%s: %s", d.Policy.ID, d.Cause)
		}
	}
}
