package finding

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func explained(t *testing.T, r *bollwerk.Result, name string) string {
	t.Helper()
	var b bytes.Buffer
	if err := Explain(&b, r, name, ExplainOptions{}); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b.String()
}

func TestExplainTellsTheWholeStory(t *testing.T) {
	no, yes := false, true
	p := pkg("npm", "minimist", "0.0.8", "app/package-lock.json")
	p.Source = nil
	f := withKEV(withEPSS(vuln("CVE-2021-44906", critical, p, "1.2.6"), 0.4), false)
	f.Aliases, f.Score, f.Title = []string{"GHSA-xvch-5gv4-984h"}, 9.8, "Prototype pollution"
	f.Reason = "minimist 0.0.8 lies in the range from 0 to 1.2.6 of GHSA-xvch-5gv4-984h"
	f.Layer = &bollwerk.LayerRef{Index: 2, DiffID: "sha256:" + bollwerk.Digest(strings.Repeat("a", 64)), CreatedBy: "RUN npm ci"}
	f.References = []string{"https://osv.dev/vulnerability/GHSA-xvch-5gv4-984h"}
	g := vuln("CVE-2", high, pkg("npm", "other", "1.0.0"), "2")
	g.Suppressed = &bollwerk.Suppression{By: "exception", Status: "excepted", Reason: "not reachable from outside", Owner: "team-a", Expires: "2027-01-01", Source: ".bollwerk.yaml:3"}
	r := judgedResult(bollwerk.KindImage, []bollwerk.Package{
		{PURL: "pkg:npm/mkdirp@0.5.1", Name: "mkdirp", Version: "0.5.1", Direct: &yes, DependsOn: []bollwerk.PURL{p.PURL}},
		{PURL: p.PURL, Name: "minimist", Version: "0.0.8", Direct: &no}, {PURL: "pkg:npm/fine@1", Name: "fine", Version: "1"},
	}, f, g)
	r.Target.Layers = make([]bollwerk.Layer, 5)
	id := string(r.Findings[0].Fingerprint)
	for _, name := range []string{id, strings.ToUpper(id), id[:4], "CVE-2021-44906", "cve-2021-44906", "GHSA-xvch-5gv4-984h", "minimist", "minimist@0.0.8", string(p.PURL)} {
		out := explained(t, r, name)
		for _, want := range []string{
			"Prototype pollution", "lies in the range from 0 to 1.2.6", "app/package-lock.json", "layer 3 of 5", "RUN npm ci", "mkdirp 0.5.1 > minimist 0.0.8",
			"Why it ranks 1 of 2 (now)", "CISA KEV since 2024-01-02", "EPSS 40 %", "severity critical (CVSS 9.8)", "fixed in 1.2.6", "npm update minimist", "https://osv.dev/",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing in\n%s", name, want, out)
			}
		}
		for _, line := range strings.Split(out, "\n") {
			if len([]rune(line)) > 80 && !strings.Contains(line, "https://") && !strings.Contains(line, "run: ") {
				t.Errorf("%d columns: %s", len([]rune(line)), line)
			}
		}
	}
	out := explained(t, r, "CVE-2")
	for _, want := range []string{"Who decided it does not count", "exception: excepted", "not reachable from outside", "owner team-a", "until 2027-01-01", ".bollwerk.yaml:3"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "Why it ranks") {
		t.Errorf("a suppressed finding has no rank to explain:\n%s", out)
	}
	if out := explained(t, r, "fine"); out != "package fine 1 has no findings\n" {
		t.Errorf("clean package: %q", out)
	}
}

func TestExplainUnknownName(t *testing.T) {
	r := judgedResult(bollwerk.KindImage, nil, vuln("CVE-1", high, pkg("npm", "a", "1.0.0")))
	for _, name := range []string{"CVE-9", "", "zz", "\x1b[2Jx"} {
		err := Explain(&bytes.Buffer{}, r, name, ExplainOptions{})
		if !errors.Is(err, ErrNoFinding) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestExplainManyAndHostile(t *testing.T) {
	var fs []bollwerk.Finding
	for _, id := range []string{"CVE-1", "CVE-2", "CVE-3", "CVE-4", "CVE-5", "CVE-6", "CVE-7"} {
		f := vuln(id, high, pkg("npm", "e\x1b[31mvil", "1.0.0", "a\u202eb/package-lock.json"), "2\x07")
		f.Title, f.Reason, f.Fix = "t\x1b]0;x\x07", "r\r\nr", strings.Repeat("f", 9000)
		fs = append(fs, f)
	}
	r := judgedResult(bollwerk.KindImage, nil, fs...)
	out := explained(t, r, "e\x1b[31mvil")
	if !strings.Contains(out, "7 findings match") || !strings.Contains(out, "2 more: name one by its fingerprint") {
		t.Errorf("the number is not said:\n%.600s", out)
	}
	for _, c := range out {
		if c < 0x20 && c != '\n' || c == 0x202e || c == 0x7f {
			t.Fatalf("%U gets through", c)
		}
	}
}
