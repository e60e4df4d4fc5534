package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
	"github.com/bollwerk/bollwerk/internal/terminal"
)

func TestFormatsAreNamedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Formats() {
		if f.Name == "" || f.MediaType == "" || f.Extension == "" || f.Summary == "" || f.Write == nil || seen[f.Name] {
			t.Errorf("format %+v is incomplete or named twice", f)
		}
		seen[f.Name] = true
	}
	if _, err := Find("tabel"); err == nil || !strings.Contains(err.Error(), "table") {
		t.Errorf("an unknown format must name the known ones: %v", err)
	}
}

// Writing changes nothing in the result, and twice gives the same bytes.
func TestWritersLeaveTheResultAlone(t *testing.T) {
	for _, f := range fixtures(t) {
		before := render(t, f, "json", f.o)
		for _, x := range Formats() {
			a, b := render(t, f, x.Name, f.o), render(t, f, x.Name, f.o)
			if !bytes.Equal(a, b) {
				t.Errorf("%s as %s differs from one writing to the next", f.name, x.Name)
			}
		}
		if !bytes.Equal(before, render(t, f, "json", f.o)) {
			t.Errorf("%s was changed by a writer", f.name)
		}
	}
}

type full struct{ left int }

func (w *full) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, fmt.Errorf("no space left on device")
	}
	return len(p), nil
}

// A report that could not be written is an error, never half a report taken for whole.
func TestWritersReportFailure(t *testing.T) {
	f := fixtures(t)[2]
	for _, x := range Formats() {
		n := len(render(t, f, x.Name, f.o))
		for _, room := range []int{0, n / 2, n - 1} {
			if err := x.Write(&full{room}, f.result, f.o); err == nil {
				t.Errorf("%s: %d of %d bytes written and no error", x.Name, room, n)
			}
		}
	}
}

func TestSARIFFollowsItsSchema(t *testing.T) {
	s := compileSchema(t, "testdata/sarif/sarif-2.1.0-rtm.5.json")
	for _, f := range fixtures(t) {
		for _, all := range []bool{false, true} {
			o := f.o
			o.All = all
			if err := validate(t, s, f.name, render(t, f, "sarif", o)); err != nil {
				t.Errorf("%s: %v", f.name, err)
			}
		}
	}
	if validate(t, s, "wrong", []byte(`{"version":"2.1.0","runs":[{"results":[]}]}`)) == nil {
		t.Error("the schema accepts a run without a tool")
	}
}

// What GitHub asks beyond the schema: each result has a rule, a place that is a
// relative URI, a fingerprint that no other result has.
func TestSARIFForCodeScanning(t *testing.T) {
	for _, f := range fixtures(t) {
		var log sarifLog
		if err := json.Unmarshal(render(t, f, "sarif", f.o), &log); err != nil {
			t.Fatal(err)
		}
		run := log.Runs[0]
		prints := map[string]bool{}
		for _, r := range run.Results {
			if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
				t.Errorf("%s: rule index %d is not %s", f.name, r.RuleIndex, r.RuleID)
			}
			p := r.PartialFingerprints["primaryLocationLineHash"]
			if p == "" || prints[p] {
				t.Errorf("%s: %s has no fingerprint of its own: %q", f.name, r.RuleID, p)
			}
			prints[p] = true
			if len(r.Locations) == 0 {
				t.Errorf("%s: %s has no place", f.name, r.RuleID)
			}
			for _, l := range r.Locations {
				u, err := url.Parse(l.Physical.Artifact.URI)
				if err != nil || u.IsAbs() || u.Host != "" || strings.HasPrefix(u.Path, "/") || strings.HasPrefix(l.Physical.Artifact.URI, "..") {
					t.Errorf("%s: %q is no relative URI below the root (%v)", f.name, l.Physical.Artifact.URI, err)
				}
			}
		}
		v := newView(f.result)
		if got := len(run.Invocations[0].Notifications); got < len(v.gaps) {
			t.Errorf("%s: %d gaps in the coverage, %d notifications", f.name, len(v.gaps), got)
		}
	}
}

func TestSARIFLeavesNothingOutSilently(t *testing.T) {
	if testing.Short() {
		t.Skip("writes all findings that a report may have")
	}
	r := blank(bollwerk.Artifact{Name: "x", Kind: bollwerk.KindDirectory})
	for i := range sarifMaxResults + 3 {
		r.Findings = append(r.Findings, bollwerk.Finding{Kind: bollwerk.KindVulnerability, ID: fmt.Sprint("CVE-", i), Verdict: bollwerk.Fail})
	}
	var b bytes.Buffer
	if err := SARIF(&b, r, Options{}); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	if err := json.Unmarshal(b.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	n := log.Runs[0].Invocations[0].Notifications
	if len(log.Runs[0].Results) != sarifMaxResults || len(n) != 1 || n[0].Level != "error" || !strings.HasPrefix(n[0].Message.Text, "3 findings") {
		t.Errorf("%d results, notifications %+v", len(log.Runs[0].Results), n)
	}
}

func TestGitLabFollowsItsRules(t *testing.T) {
	s := compileSchema(t, "testdata/gitlab-15.json")
	for _, f := range fixtures(t) {
		doc := render(t, f, "gitlab", f.o)
		if err := validate(t, s, f.name, doc); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		var g gitlabReport
		if err := json.Unmarshal(doc, &g); err != nil {
			t.Fatal(err)
		}
		ids := map[string]bool{}
		for _, v := range g.Vulnerabilities {
			if ids[v.ID] {
				t.Errorf("%s: two vulnerabilities have the id %s", f.name, v.ID)
			}
			ids[v.ID] = true
			for _, l := range v.Links {
				if !strings.HasPrefix(l.URL, "https://example.org/") && !strings.HasPrefix(l.URL, "https://osv.dev/") {
					t.Errorf("%s: link %q", f.name, l.URL)
				}
			}
		}
	}
}

// Every finding is in the JUnit report once, and the numbers in the attributes are
// those of the cases.
func TestJUnitCountsAreTrue(t *testing.T) {
	for _, f := range fixtures(t) {
		for _, withGate := range []bool{true, false} {
			o := f.o
			if !withGate {
				o.Gate = nil
			}
			doc := render(t, f, "junit", o)
			var s junitSuites
			if err := xml.Unmarshal(doc, &s); err != nil {
				t.Fatalf("%s: %v", f.name, err)
			}
			cases, failures := 0, 0
			for _, g := range s.Suites {
				n, bad, skipped := len(g.Cases), 0, 0
				for _, c := range g.Cases {
					if c.Failure != nil {
						bad++
					}
					if c.Skipped != nil {
						skipped++
					}
					if c.Failure != nil && c.Skipped != nil {
						t.Errorf("%s: %s is both failed and skipped", f.name, c.Name)
					}
				}
				if g.Tests != n || g.Failures != bad || g.Skipped != skipped {
					t.Errorf("%s: %s says %d/%d/%d, has %d/%d/%d", f.name, g.Name, g.Tests, g.Failures, g.Skipped, n, bad, skipped)
				}
				cases, failures = cases+n, failures+bad
			}
			if s.Tests != cases || s.Failures != failures {
				t.Errorf("%s: %d tests, %d failures; counted %d, %d", f.name, s.Tests, s.Failures, cases, failures)
			}
			want := 0
			for i := range f.result.Findings {
				if finding.Counts(&f.result.Findings[i]) {
					want++
				}
			}
			if withGate {
				want = len(f.o.Gate.Matches)
			}
			if failures != want {
				t.Errorf("%s: %d failures, want %d", f.name, failures, want)
			}
			if cases != len(f.result.Findings)+max(1, len(f.result.Coverage)) {
				t.Errorf("%s: %d cases for %d findings and %d coverage rows", f.name, cases, len(f.result.Findings), len(f.result.Coverage))
			}
		}
	}
}

// The structure that Jenkins' and GitLab's readers agree on: element names, their
// nesting and attributes.
func TestJUnitStructure(t *testing.T) {
	children := map[string][]string{"": {"testsuites"}, "testsuites": {"testsuite"}, "testsuite": {"testcase"}, "testcase": {"failure", "skipped"}}
	required := map[string][]string{"testsuite": {"name", "tests", "failures", "errors", "skipped"}, "testcase": {"name", "classname", "time"}, "failure": {"message", "type"}, "skipped": {"message"}}
	for _, f := range fixtures(t) {
		dec := xml.NewDecoder(bytes.NewReader(render(t, f, "junit", f.o)))
		dec.Strict = true
		stack := []string{""}
		for {
			tok, err := dec.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f.name, err)
			}
			switch x := tok.(type) {
			case xml.StartElement:
				if !slices.Contains(children[stack[len(stack)-1]], x.Name.Local) {
					t.Fatalf("%s: <%s> in <%s>", f.name, x.Name.Local, stack[len(stack)-1])
				}
				for _, a := range required[x.Name.Local] {
					if !slices.ContainsFunc(x.Attr, func(y xml.Attr) bool { return y.Name.Local == a }) {
						t.Errorf("%s: <%s> has no %s", f.name, x.Name.Local, a)
					}
				}
				stack = append(stack, x.Name.Local)
			case xml.EndElement:
				stack = stack[:len(stack)-1]
			}
		}
	}
}

// No writer for terminals or Markdown lets a control character, a bidi override or
// broken UTF-8 through.
func TestHostileNamesAreTamed(t *testing.T) {
	for _, f := range fixtures(t) {
		for _, format := range []string{"table", "markdown", "junit"} {
			for _, all := range []bool{false, true} {
				o := f.o
				o.All = all
				out := string(render(t, f, format, o))
				if !utf8.ValidString(out) {
					t.Errorf("%s as %s is not UTF-8", f.name, format)
				}
				for _, r := range out {
					if r < 0x20 && r != '\n' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200b {
						t.Errorf("%s as %s lets %U through", f.name, format, r)
					}
				}
			}
		}
	}
}

// In Markdown nothing from outside is markup: no tag, no image, no link, no
// mention outside of a code span.
func TestMarkdownIsInert(t *testing.T) {
	for _, f := range fixtures(t) {
		out := string(render(t, f, "markdown", f.o))
		for _, line := range strings.Split(out, "\n") {
			text := escaped.ReplaceAllString(withoutCode(line), "")
			for _, own := range []string{markdownMarker, "<details open>", "<details>", "</details>", "<summary>", "</summary>", "<!-- -->"} {
				text = strings.ReplaceAll(text, own, "\x00")
			}
			for _, bad := range []string{"<", "](", "![", "://", "@o", "@e", "#1"} {
				if strings.Contains(text, bad) {
					t.Errorf("%s: %q stands in %q", f.name, bad, line)
				}
			}
		}
		if len(out) > 65536 {
			t.Errorf("%s: %d bytes do not fit a comment", f.name, len(out))
		}
	}
}

// escaped is a backslash with the character that it makes literal.
var escaped = regexp.MustCompile(`\\[[:punct:]]`)

// withoutCode removes code spans. A bar inside one is escaped, a backtick cannot
// occur.
func withoutCode(line string) string {
	parts := strings.Split(strings.ReplaceAll(line, "\\`", ""), "`")
	out := ""
	for i := 0; i < len(parts); i += 2 {
		out += parts[i]
	}
	return out
}

func TestMarkdownStaysWithinAComment(t *testing.T) {
	r := blank(bollwerk.Artifact{Name: "x", Kind: bollwerk.KindDirectory})
	none := bollwerk.Artifact{}
	for i := range 3000 {
		p := npmPackage(&none, strings.Repeat("n", 100)+fmt.Sprint(i), "1.0.0", true)
		r.Findings = append(r.Findings, vulnerable(p, fmt.Sprint("CVE-2024-", i), strings.Repeat("t", 200), bollwerk.SeverityHigh, 8, "1.0.1"))
	}
	finding.Judge(r, nil)
	for _, all := range []bool{false, true} {
		var b bytes.Buffer
		if err := Markdown(&b, r, Options{All: all, Baseline: "b"}); err != nil {
			t.Fatal(err)
		}
		if b.Len() > 65536 || strings.Count(b.String(), "<details") != strings.Count(b.String(), "</details>") {
			t.Errorf("all=%v: %d bytes", all, b.Len())
		}
		if !strings.Contains(b.String(), "more in the full report") {
			t.Error("what was cut is not said")
		}
	}
}

// The table fits the terminal: no line wider than it but commands, and no more
// lines than it has, the prompt included.
func TestTableFitsTheScreen(t *testing.T) {
	for _, f := range fixtures(t) {
		for _, width := range []int{40, 60, 80, 120, 200} {
			for _, height := range []int{24, 30, 50} {
				o := f.o
				o.Width, o.Height = width, height
				out := strings.TrimSuffix(string(render(t, f, "table", o)), "\n")
				rows := 0
				for _, line := range strings.Split(out, "\n") {
					w := terminal.Width(line)
					rows += max(1, (w+width-1)/width)
					if w > width && !strings.HasPrefix(strings.TrimSpace(line), "$ ") {
						t.Errorf("%s at %d: %d columns: %s", f.name, width, w, line)
					}
				}
				if width >= 80 && rows > height-1 {
					t.Errorf("%s at %dx%d takes %d lines:\n%s", f.name, width, height, rows, out)
				}
			}
		}
	}
}

// Colour never carries meaning alone: without it the same words stand there.
func TestColourAddsNothing(t *testing.T) {
	for _, f := range fixtures(t) {
		o := f.o
		plain := string(render(t, f, "table", o))
		o.Colour = true
		coloured := string(render(t, f, "table", o))
		if coloured == plain {
			t.Errorf("%s: no colour", f.name)
		}
		var stripped strings.Builder
		for i, part := range strings.Split(coloured, "\x1b[") {
			if i > 0 {
				_, part, _ = strings.Cut(part, "m")
			}
			stripped.WriteString(part)
		}
		if norm(stripped.String()) != norm(plain) {
			t.Errorf("%s: coloured text differs:\n%s\n%s", f.name, stripped.String(), plain)
		}
	}
}

// norm removes blanks at the ends of lines: colour codes keep them there.
func norm(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// Whatever happens, a gap in the coverage, the age of the advisories and an expired
// exception are on the first screen.
func TestTableNeverHidesGaps(t *testing.T) {
	f := bigFixture()
	f.result.Coverage = append(f.result.Coverage, bollwerk.Coverage{Area: "layers", Verdict: bollwerk.Degraded, Cause: "layer 3 is truncated"})
	f.result.ExpiredExceptions = []bollwerk.Exception{{ID: "old-one", Expires: "2026-01-01"}}
	f.result.Database.Starter = true
	finding.Judge(f.result, nil)
	out := string(render(t, f, "table", Options{}))
	for _, want := range []string{"layer 3 is truncated", "old-one", "starter snapshot", "FAIL"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not on the screen:\n%s", want, out)
		}
	}
}

func BenchmarkJSON(b *testing.B)  { benchmark(b, JSON) }
func BenchmarkTable(b *testing.B) { benchmark(b, Table) }

// benchmark writes 20,000 findings and as many packages.
func benchmark(b *testing.B, write Writer) {
	r := blank(image("big"))
	for i := range 20000 {
		p := debPackage(&r.Target, fmt.Sprint("lib", i), fmt.Sprint("src", i/3), "1.0", i%4)
		r.Packages = append(r.Packages, p)
		r.Findings = append(r.Findings, epss(vulnerable(p, fmt.Sprint("CVE-2024-", i), "title", bollwerk.Severity(i%6), 5, "1.1"), float64(i%1000)/1000, 0.5))
	}
	finding.Judge(r, nil)
	w := buffered(write)
	b.ResetTimer()
	b.ReportAllocs()
	for range b.N {
		if err := w(io.Discard, r, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
