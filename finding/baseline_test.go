package finding

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func baselineOf(t testing.TB, fs ...bollwerk.Finding) *Baseline {
	t.Helper()
	r := &bollwerk.Result{Schema: bollwerk.ResultSchema, Target: bollwerk.Artifact{Name: "app"}, Findings: slices.Clone(fs)}
	Judge(r, nil)
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBaselineStories(t *testing.T) {
	p := pkg("npm", "lodash", "4.17.4", "app/package-lock.json")
	known := with(vuln("GHSA-1", high, p, "4.17.21"), func(f *bollwerk.Finding) { f.Aliases = []string{"CVE-2024-1", "DSA-1"} })
	key := with(secret("app/.env", high), func(f *bollwerk.Finding) { f.SecretHash = "aaaa"; f.Line = 3 })
	for _, c := range []struct {
		name   string
		before []bollwerk.Finding
		now    bollwerk.Finding
		isNew  bool
	}{
		{"the same", []bollwerk.Finding{known}, known, false},
		{"another rank, newer database", []bollwerk.Finding{known}, withEPSS(with(known, func(f *bollwerk.Finding) { f.Severity = critical }), 0.9), false},
		{"the GHSA got its CVE number", []bollwerk.Finding{known}, with(vuln("CVE-2024-1", high, p), func(f *bollwerk.Finding) { f.Aliases = []string{"GHSA-1"} }), false},
		{"the baseline did not know the alias yet", []bollwerk.Finding{vuln("GHSA-1", high, p)}, with(vuln("CVE-2024-1", high, p), func(f *bollwerk.Finding) { f.Aliases = []string{"GHSA-1"} }), false},
		{"another issue of the same bulletin", []bollwerk.Finding{known}, with(vuln("CVE-2024-2", high, p), func(f *bollwerk.Finding) { f.Aliases = []string{"DSA-1"} }), true},
		{"upgraded to a version that is still affected", []bollwerk.Finding{known}, with(known, func(f *bollwerk.Finding) { f.Package = pkg("npm", "lodash", "4.17.5", "app/package-lock.json") }), false},
		{"the same issue in another service", []bollwerk.Finding{known}, with(known, func(f *bollwerk.Finding) { f.Package = pkg("npm", "lodash", "4.17.4", "other/package-lock.json") }), true},
		{"a second vulnerable version beside the first", []bollwerk.Finding{known, with(known, func(f *bollwerk.Finding) { f.Package = pkg("npm", "lodash", "3.0.0", "app/package-lock.json") })}, known, false},
		{"another package with the same issue", []bollwerk.Finding{known}, with(known, func(f *bollwerk.Finding) { f.Package = pkg("npm", "lodash-es", "4.17.4", "app/package-lock.json") }), true},
		{"its exception has run out", []bollwerk.Finding{with(known, func(f *bollwerk.Finding) { f.Suppressed = &bollwerk.Suppression{By: "exception"} })}, known, true},
		{"it could not be judged then", []bollwerk.Finding{with(known, func(f *bollwerk.Finding) { f.Verdict = bollwerk.NotEvaluated })}, known, true},
		{"the key moved down two lines", []bollwerk.Finding{key}, with(key, func(f *bollwerk.Finding) { f.Line = 5 }), false},
		{"another key in its place", []bollwerk.Finding{key}, with(key, func(f *bollwerk.Finding) { f.SecretHash = "bbbb" }), true},
		{"a key without a hash, in its place", []bollwerk.Finding{secret("a", high)}, secret("a", high), false},
		{"a policy violation", []bollwerk.Finding{standard("p", "warn", low)}, standard("p", "enforce", low), false},
		{"suppressed findings are never new", nil, with(known, func(f *bollwerk.Finding) { f.Suppressed = &bollwerk.Suppression{By: "vex"} }), false},
	} {
		fs := []bollwerk.Finding{c.now}
		r := &bollwerk.Result{Findings: fs}
		Judge(r, baselineOf(t, c.before...))
		if r.Findings[0].New != c.isNew {
			t.Errorf("%s: new=%v", c.name, r.Findings[0].New)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for doc, want := range map[string]string{
		"":                                    "not a bollwerk JSON result",
		"[]":                                  "not a bollwerk JSON result",
		"null":                                "not a bollwerk JSON result",
		`{"schema":"1.0"}`:                    "not a bollwerk JSON result",
		`{"findings":[]}`:                     "not a bollwerk JSON result",
		`{"schema":"2.0","findings":[]}`:      "this program reads 1.x",
		`{"schema":"1.0","findings":{}}`:      "not a bollwerk JSON result",
		`{"schema":"1.0","findings":[{"fi`:    "finding 1",
		`{"schema":"1.0","findings":[{"id":3`: "finding 1",
		`{"schema":"1.0","findings":[]`:       "not a bollwerk JSON result",
		`{"version":"2.1.0","runs":[]}`:       "not a bollwerk JSON result",
		strings.Repeat("[", 100000):           "not a bollwerk JSON result",
		`{"x":` + strings.Repeat("[", 100000): "",
	} {
		if _, err := Load(strings.NewReader(doc)); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "baseline: ") {
			t.Errorf("%.40q: %v, want %q", doc, err, want)
		}
	}
	if _, err := Load(strings.NewReader("{}")); !errors.Is(err, ErrNotResult) {
		t.Errorf("an empty object: %v", err)
	}
	b, err := Load(strings.NewReader(`{"schema":"1.7","unknown":[{"deep":[1,{}]}],"target":{"name":"x","more":1},"findings":null}`))
	if err != nil || b.Len() != 0 || b.Target != "x" {
		t.Errorf("a later minor version must be read: %v", err)
	}
}

// endless is a JSON result that never ends.
type endless struct {
	started bool
	next    int
}

func (e *endless) Read(p []byte) (int, error) {
	if !e.started {
		e.started = true
		return copy(p, `{"schema":"1.0","packages":[`), nil
	}
	for i := range p {
		p[i] = "1,"[e.next%2]
		e.next++
	}
	return len(p), nil
}

func TestLoadIsBounded(t *testing.T) {
	_, err := load(io.Reader(&endless{}), 1<<20)
	if err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("got %v", err)
	}
}

func FuzzLoad(f *testing.F) {
	r := &bollwerk.Result{Schema: bollwerk.ResultSchema, Findings: randomFindings(5, 1)}
	Judge(r, nil)
	raw, err := json.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"schema":"1.0","findings":[{"package":{"name":"a","paths":["1.0.0"],"version":"1.0.0"},"verdict":"fail"}]}`))
	f.Add([]byte(`{"findings":null,"schema":"1"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		b, err := Load(bytes.NewReader(doc))
		if err != nil {
			return
		}
		// Whatever was loaded knows all that it holds.
		var back struct {
			Findings []bollwerk.Finding `json:"findings"`
		}
		if json.Unmarshal(doc, &back) != nil {
			return
		}
		for i := range back.Findings {
			if x := &back.Findings[i]; judged(x) && x.Fingerprint != "" && !b.Knows(x) {
				t.Fatalf("finding %d is in the baseline and not known", i)
			}
		}
	})
}
