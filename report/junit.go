package report

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
)

// The JUnit format as Jenkins' junit plug-in and GitLab read it: test suites with
// test cases that hold a failure or are skipped.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Errors   int          `xml:"errors,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitGroup `xml:"testsuite"`
}

type junitGroup struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Stamp    string      `xml:"timestamp,attr,omitempty"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Skipped *junitSkipped `xml:"skipped,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

// JUnit writes one suite per kind of finding and one for the coverage. A finding
// fails when the gate matches it; without a gate when it counts. Everything else,
// also what was not evaluated or not covered, is skipped with its reason: a test
// report knows no third colour, and a pass would be a lie.
func JUnit(w io.Writer, r *bollwerk.Result, o Options) error {
	matched := map[bollwerk.FindingID]bool{}
	if o.Gate != nil {
		for _, id := range o.Gate.Matches {
			matched[id] = true
		}
	}
	target := clean(cmp.Or(r.Target.Name, r.Target.Ref), 200)
	seconds := strconv.FormatFloat(r.Duration, 'f', 3, 64)
	stamp := ""
	if !r.Started.IsZero() {
		stamp = r.Started.UTC().Format("2006-01-02T15:04:05")
	}
	doc := junitSuites{Name: "bollwerk " + target, Time: seconds}
	kinds := []bollwerk.FindingKind{bollwerk.KindMalware, bollwerk.KindSecret, bollwerk.KindVulnerability, bollwerk.KindStandard, bollwerk.KindNotice}
	for _, kind := range kinds {
		g := junitGroup{Name: fmt.Sprintf(junitSuite, kind), Time: seconds, Stamp: stamp}
		for i := range r.Findings {
			f := &r.Findings[i]
			if f.Kind != kind || f.Verdict == bollwerk.Pass && f.Suppressed == nil {
				continue
			}
			c := junitCase{Name: clean(strings.TrimSpace(f.ID+" "+what(f)), 300), Class: "bollwerk." + string(kind) + "." + junitClass(f), Time: "0"}
			fails := finding.Counts(f)
			if o.Gate != nil {
				fails = matched[f.Fingerprint]
			}
			switch {
			case f.Suppressed != nil:
				c.Skipped = &junitSkipped{clean(fmt.Sprintf(junitSuppressed, f.Suppressed.By, cmp.Or(f.Suppressed.Reason, f.Suppressed.Status)), 500)}
			case f.Verdict != bollwerk.Fail && f.Verdict != bollwerk.Degraded:
				c.Skipped = &junitSkipped{clean(fmt.Sprintf(junitUnjudged, f.Reason), 500)}
			case fails:
				c.Failure = &junitFailure{Message: clean(sentence(f), 500), Type: f.Severity.String(), Text: junitText(f)}
				g.Failures++
			case o.Gate != nil:
				c.Skipped = &junitSkipped{clean(fmt.Sprintf(junitBelow, o.Gate.Threshold), 500)}
			default:
				c.Skipped = &junitSkipped{clean(sentence(f), 500)}
			}
			if c.Skipped != nil {
				g.Skipped++
			}
			g.Cases = append(g.Cases, c)
		}
		if g.Tests = len(g.Cases); g.Tests > 0 {
			doc.Suites = append(doc.Suites, g)
		}
	}
	cov := junitGroup{Name: junitCoverage, Time: "0", Stamp: stamp}
	for _, row := range r.Coverage {
		c := junitCase{Name: clean(row.Area, 200), Class: "bollwerk.coverage", Time: "0"}
		if row.Verdict != bollwerk.Pass {
			c.Skipped = &junitSkipped{clean(strings.ToLower(verdictWord(row.Verdict))+": "+cmp.Or(row.Cause, noteNoCause), 500)}
			cov.Skipped++
		}
		cov.Cases = append(cov.Cases, c)
	}
	if len(cov.Cases) == 0 {
		// An empty report is read as "the job made none".
		cov.Cases = append(cov.Cases, junitCase{Name: junitNone, Class: "bollwerk.coverage", Time: "0",
			Skipped: &junitSkipped{strings.ToLower(verdictWord(r.Verdict))}})
		cov.Skipped++
	}
	cov.Tests = len(cov.Cases)
	doc.Suites = append(doc.Suites, cov)
	for _, g := range doc.Suites {
		doc.Tests += g.Tests
		doc.Failures += g.Failures
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// junitClass groups cases by package or file in readers that show a tree. Dots
// would make levels.
func junitClass(f *bollwerk.Finding) string {
	name := f.Path
	if f.Package != nil {
		name = f.Package.Name
	}
	return clean(strings.ReplaceAll(cmp.Or(name, "configuration"), ".", "_"), 200)
}

func junitText(f *bollwerk.Finding) string {
	lines := []string{f.Reason}
	if f.Fix != "" {
		lines = append(lines, f.Fix)
	}
	lines = append(lines, f.Factors...)
	if f.Package != nil {
		lines = append(lines, string(f.Package.PURL))
		lines = append(lines, f.Package.Paths[:min(5, len(f.Package.Paths))]...)
	}
	var b strings.Builder
	for _, l := range lines {
		if l != "" {
			b.WriteString("\n" + clean(l, 1000))
		}
	}
	return b.String() + "\n"
}
