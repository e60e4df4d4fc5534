package finding

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

func pkg(eco bollwerk.Ecosystem, name, version string, paths ...string) *bollwerk.FindingPackage {
	return &bollwerk.FindingPackage{PURL: bollwerk.PURL("pkg:" + strings.ToLower(eco.Name()) + "/" + name + "@" + version), Name: name, Version: version, Ecosystem: eco, Paths: paths}
}

func vuln(id string, s bollwerk.Severity, p *bollwerk.FindingPackage, fixed ...string) bollwerk.Finding {
	return bollwerk.Finding{Kind: bollwerk.KindVulnerability, ID: id, Severity: s, Package: p, FixedIn: fixed, Verdict: bollwerk.Fail, Reason: "because"}
}

func with(f bollwerk.Finding, change func(*bollwerk.Finding)) bollwerk.Finding { change(&f); return f }

func withEPSS(f bollwerk.Finding, score float64) bollwerk.Finding {
	f.EPSS = &bollwerk.EPSS{Score: score, Percentile: score}
	return f
}

func withKEV(f bollwerk.Finding, ransomware bool) bollwerk.Finding {
	f.KEV = &bollwerk.KEV{DateAdded: "2024-01-02", Ransomware: ransomware}
	return f
}

func reach(f bollwerk.Finding, yes bool) bollwerk.Finding { f.Reachable = &yes; return f }

const (
	low, medium, high, critical = bollwerk.SeverityLow, bollwerk.SeverityMedium, bollwerk.SeverityHigh, bollwerk.SeverityCritical
	unknown                     = bollwerk.SeverityUnknown
)

func secret(path string, s bollwerk.Severity) bollwerk.Finding {
	return bollwerk.Finding{Kind: bollwerk.KindSecret, ID: "aws-key", Title: "AWS key", Severity: s, Path: path, Verdict: bollwerk.Fail}
}

func standard(id, mode string, s bollwerk.Severity) bollwerk.Finding {
	return bollwerk.Finding{Kind: bollwerk.KindStandard, ID: id, Policy: id, Mode: mode, Severity: s, Verdict: bollwerk.Fail, Fix: "Do " + id + "."}
}

// Each story is a list of findings in the order in which a person has to meet them.
func TestRankStories(t *testing.T) {
	p := func(name string) *bollwerk.FindingPackage { return pkg("npm", name, "1.0.0", "package-lock.json") }
	base := func(f bollwerk.Finding) bollwerk.Finding {
		f.Layer = &bollwerk.LayerRef{FromBase: true}
		return f
	}
	for _, story := range []struct {
		name string
		want []bollwerk.Finding
	}{
		{"malware before a key before ransomware before other exploitation before everything else", []bollwerk.Finding{
			with(vuln("MAL-1", unknown, p("evil")), func(f *bollwerk.Finding) { f.Kind = bollwerk.KindMalware }),
			secret("app/.env", high),
			withKEV(vuln("CVE-2024-1", medium, p("a"), "2"), true),
			withKEV(vuln("CVE-2024-2", critical, p("b"), "2"), false),
			withEPSS(vuln("CVE-2024-3", critical, p("c"), "2"), 0.9),
			vuln("CVE-2024-4", critical, p("d"), "2"),
		}},
		{"a medium issue that will be exploited comes before a critical one that will not", []bollwerk.Finding{
			withEPSS(vuln("CVE-2024-1", medium, p("a"), "2"), 0.6),
			withEPSS(vuln("CVE-2024-2", critical, p("b"), "2"), 0.001),
		}},
		{"a thousandth of a chance more does not outweigh the severity", []bollwerk.Finding{
			withEPSS(vuln("CVE-2024-1", critical, p("a"), "2"), 0.0020),
			withEPSS(vuln("CVE-2024-2", high, p("b"), "2"), 0.0021),
			withEPSS(vuln("CVE-2024-3", medium, p("c"), "2"), 0.0099),
		}},
		{"what can be fixed comes before what cannot, even when it is less grave", []bollwerk.Finding{
			vuln("CVE-2024-1", medium, p("a"), "2"),
			vuln("CVE-2024-2", critical, p("b")),
		}},
		{"exploitation without a fix is still first", []bollwerk.Finding{
			withKEV(vuln("CVE-2024-1", medium, p("a")), false),
			vuln("CVE-2024-2", critical, p("b"), "2"),
		}},
		{"code that is used before code nobody knows about before code that is not used", []bollwerk.Finding{
			reach(vuln("CVE-2024-1", critical, p("a"), "2"), true),
			vuln("CVE-2024-2", critical, p("b"), "2"),
			reach(vuln("CVE-2024-3", critical, p("c"), "2"), false),
		}},
		{"the own layers before the base image, all else being equal", []bollwerk.Finding{
			vuln("CVE-2024-1", high, p("z"), "2"),
			base(vuln("CVE-2024-2", high, p("a"), "2")),
		}},
		{"unknown severity lies between medium and low", []bollwerk.Finding{
			vuln("CVE-2024-1", medium, p("c"), "2"),
			vuln("CVE-2024-2", unknown, p("b"), "2"),
			vuln("CVE-2024-3", low, p("a"), "2"),
		}},
		{"an enforced policy before one that warns before one in rehearsal", []bollwerk.Finding{
			standard("p1", "enforce", high), standard("p2", "warn", high), standard("p3", "observe", critical),
		}},
		{"not evaluated, then suppressed, at the very end", []bollwerk.Finding{
			vuln("CVE-2024-1", low, p("a")),
			with(vuln("CVE-2024-2", critical, p("b"), "2"), func(f *bollwerk.Finding) { f.Verdict = bollwerk.NotEvaluated }),
			with(withKEV(vuln("CVE-2024-3", critical, p("c"), "2"), true), func(f *bollwerk.Finding) {
				f.Suppressed = &bollwerk.Suppression{By: "vex", Status: "not_affected", Reason: "code is not there"}
			}),
		}},
		{"equal in everything: the newer issue, then by name", []bollwerk.Finding{
			vuln("CVE-2024-9", high, p("a"), "2"), vuln("CVE-2024-1", high, p("a"), "2"), vuln("CVE-2024-5", high, p("b"), "2"),
		}},
	} {
		t.Run(story.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			for range 20 {
				got := slices.Clone(story.want)
				r.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
				Rank(got, RankContext{})
				for i := range got {
					if got[i].ID != story.want[i].ID || got[i].Rank != i+1 {
						var ids []string
						for _, f := range got {
							ids = append(ids, fmt.Sprintf("%d %s (%s)", f.Rank, f.ID, f.Priority))
						}
						t.Fatalf("got %s", strings.Join(ids, ", "))
					}
				}
			}
		})
	}
}

func TestPriorities(t *testing.T) {
	p := pkg("npm", "a", "1.0.0")
	dev := pkg("npm", "dev", "1.0.0")
	for _, c := range []struct {
		name string
		f    bollwerk.Finding
		want bollwerk.Priority
	}{
		{"exploited", withKEV(vuln("1", low, p), false), "now"},
		{"exploited, but not used", reach(withKEV(vuln("1", low, p, "2"), false), false), "soon"},
		{"exploited, but for development only", withKEV(vuln("1", low, dev, "2"), false), "soon"},
		{"malware for development only runs on every laptop", with(vuln("1", unknown, dev), func(f *bollwerk.Finding) { f.Kind = bollwerk.KindMalware }), "now"},
		{"likely, no fix", withEPSS(vuln("1", low, p), 0.1), "soon"},
		{"critical with a fix", vuln("1", critical, p, "2"), "soon"},
		{"critical without a fix", vuln("1", critical, p), "watch"},
		{"high, nobody has estimated it", vuln("1", high, p, "2"), "soon"},
		{"high, unlikely", withEPSS(vuln("1", high, p, "2"), 0.002), "later"},
		{"high, unlikely, but used", reach(withEPSS(vuln("1", high, p, "2"), 0.002), true), "soon"},
		{"medium", vuln("1", medium, p, "2"), "later"},
		{"a weak credential", secret("x", low), "soon"},
		{"a credential nobody has rated", secret("x", unknown), "now"},
		{"enforced and grave", standard("p", "enforce", high), "soon"},
		{"enforced and small", standard("p", "enforce", low), "later"},
		{"rehearsal", standard("p", "observe", critical), "watch"},
		{"notice without a way out", with(vuln("1", unknown, p), func(f *bollwerk.Finding) { f.Kind = bollwerk.KindNotice }), "watch"},
		{"not evaluated", with(withKEV(vuln("1", critical, p, "2"), true), func(f *bollwerk.Finding) { f.Verdict = bollwerk.NotEvaluated }), "watch"},
	} {
		fs := []bollwerk.Finding{c.f}
		Rank(fs, RankContext{Packages: []bollwerk.Package{{PURL: dev.PURL, Dev: true}}})
		if fs[0].Priority != c.want {
			t.Errorf("%s: %s, want %s (%v)", c.name, fs[0].Priority, c.want, fs[0].Factors)
		}
		if len(fs[0].Factors) == 0 {
			t.Errorf("%s: no factors", c.name)
		}
	}
}

// A package that is needed for development in one place and shipped in another is
// shipped.
func TestDevOnlyMeansEverywhere(t *testing.T) {
	p := pkg("npm", "a", "1.0.0")
	fs := []bollwerk.Finding{vuln("1", critical, p, "2")}
	Rank(fs, RankContext{Packages: []bollwerk.Package{{PURL: p.PURL, Dev: true}, {PURL: p.PURL}}})
	if fs[0].Priority != bollwerk.PrioritySoon {
		t.Errorf("priority %s", fs[0].Priority)
	}
}

// randomFindings makes n findings of every kind, many of them alike.
func randomFindings(n int, seed uint64) []bollwerk.Finding {
	r := rand.New(rand.NewPCG(seed, 7))
	out := make([]bollwerk.Finding, n)
	for i := range out {
		p := pkg([]bollwerk.Ecosystem{"npm", "Debian:12", "Go", "Maven", "PyPI"}[r.IntN(5)], fmt.Sprint("p", r.IntN(n/4+1)), fmt.Sprintf("1.%d.%d", r.IntN(4), r.IntN(9)), fmt.Sprintf("dir%d/package-lock.json", r.IntN(3)))
		f := vuln(fmt.Sprintf("CVE-2024-%d", r.IntN(n/2+1)), bollwerk.Severity(r.IntN(6)), p)
		for range r.IntN(3) {
			f.FixedIn = append(f.FixedIn, fmt.Sprintf("%d.%d.%d", 1+r.IntN(2), r.IntN(6), r.IntN(12)))
		}
		switch r.IntN(20) {
		case 0:
			f = withKEV(f, r.IntN(2) == 0)
		case 1:
			f.Verdict = bollwerk.NotEvaluated
		case 2:
			f.Suppressed = &bollwerk.Suppression{By: "exception"}
		case 3:
			f = secret(fmt.Sprint("f", r.IntN(9)), bollwerk.Severity(r.IntN(6)))
			f.Line = r.IntN(5)
		case 4:
			f = standard(fmt.Sprint("policy", r.IntN(6)), []string{"observe", "warn", "enforce"}[r.IntN(3)], bollwerk.Severity(r.IntN(6)))
			f.Path = fmt.Sprint("f", r.IntN(9))
		case 5:
			f.Kind = bollwerk.KindMalware
		}
		if r.IntN(2) == 0 && f.Kind == bollwerk.KindVulnerability {
			f = withEPSS(f, r.Float64()*r.Float64()*r.Float64())
		}
		out[i] = f
	}
	return out
}

// The order does not depend on the order of the scan, fingerprints are unique, and
// a lower rank never has a more urgent priority.
func TestRankIsTotal(t *testing.T) {
	for seed := range uint64(20) {
		a := randomFindings(300, seed)
		b := slices.Clone(a)
		rand.New(rand.NewPCG(seed, 99)).Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
		Rank(a, RankContext{})
		Rank(b, RankContext{})
		seen := map[bollwerk.FindingID]bool{}
		for i := range a {
			if !reflect.DeepEqual(a[i], b[i]) {
				t.Fatalf("seed %d, rank %d: %+v against %+v", seed, i+1, a[i], b[i])
			}
			if seen[a[i].Fingerprint] {
				t.Fatalf("seed %d: fingerprint %s twice", seed, a[i].Fingerprint)
			}
			seen[a[i].Fingerprint] = true
			if i > 0 && judged(&a[i]) && priorityStep(a[i].Priority) < priorityStep(a[i-1].Priority) {
				t.Fatalf("seed %d: %s behind %s", seed, a[i].Priority, a[i-1].Priority)
			}
		}
	}
}

func TestFingerprintSurvives(t *testing.T) {
	p := pkg("PyPI", "requests", "2.31.0", "usr/lib/python3/dist-packages/requests-2.31.0.dist-info/METADATA")
	f := vuln("CVE-2024-1", high, p, "2.32.0")
	id := Fingerprint(&f)
	later := pkg("PyPI", "requests", "2.31.1", "usr/lib/python3/dist-packages/requests-2.31.1.dist-info/METADATA")
	for name, g := range map[string]bollwerk.Finding{
		"another rank, score, severity and layer": with(f, func(f *bollwerk.Finding) {
			f.Rank, f.Score, f.Severity, f.Layer, f.Aliases = 7, 9, critical, &bollwerk.LayerRef{Index: 3}, []string{"GHSA-x"}
		}),
		"another vulnerable version":   vuln("CVE-2024-1", high, later, "2.32.0"),
		"found in a second place also": with(f, func(f *bollwerk.Finding) { f.Package = pkg("PyPI", "requests", "2.31.0", "z/x", p.Paths[0]) }),
	} {
		if Fingerprint(&g) != id {
			t.Errorf("%s gives another fingerprint", name)
		}
	}
	for name, g := range map[string]bollwerk.Finding{
		"another issue":   vuln("CVE-2024-2", high, p),
		"another package": vuln("CVE-2024-1", high, pkg("PyPI", "requestz", "2.31.0", p.Paths...)),
		"another place":   vuln("CVE-2024-1", high, pkg("PyPI", "requests", "2.31.0", "opt/venv/requests-2.31.0.dist-info/METADATA")),
		"another kind":    with(f, func(f *bollwerk.Finding) { f.Kind = bollwerk.KindMalware }),
	} {
		if Fingerprint(&g) == id {
			t.Errorf("%s gives the same fingerprint", name)
		}
	}
}

func TestSummaryAndVerdict(t *testing.T) {
	p := pkg("npm", "a", "1.0.0")
	ok := []bollwerk.Coverage{{Area: "files", Verdict: bollwerk.Pass, Checked: 10, Total: 10}}
	degraded := append(slices.Clone(ok), bollwerk.Coverage{Area: "database", Verdict: bollwerk.Degraded, Cause: "old"})
	skipped := append(slices.Clone(ok), bollwerk.Coverage{Area: "advisories:Conda", Verdict: bollwerk.NotEvaluated, Cause: "none", Total: 4})
	bad := vuln("CVE-2024-1", low, p)
	for _, c := range []struct {
		name     string
		coverage []bollwerk.Coverage
		findings []bollwerk.Finding
		want     bollwerk.Verdict
		causes   int
		complete float64
	}{
		{"clean", ok, nil, bollwerk.Pass, 0, 1},
		{"something is wrong", ok, []bollwerk.Finding{bad}, bollwerk.Fail, 0, 1},
		{"nothing says what was checked", nil, nil, bollwerk.NotEvaluated, 1, 0},
		{"an old database is no pass", degraded, nil, bollwerk.Degraded, 1, 0.75},
		{"nor is an ecosystem nobody knows", skipped, nil, bollwerk.NotEvaluated, 1, 0.5},
		{"a failure keeps its causes", degraded, []bollwerk.Finding{bad}, bollwerk.Fail, 1, 0.75},
		{"a row without a verdict is no pass", []bollwerk.Coverage{{Area: "x"}}, nil, bollwerk.NotEvaluated, 1, 0},
		{"a finding nobody could judge", ok, []bollwerk.Finding{with(bad, func(f *bollwerk.Finding) { f.Verdict = bollwerk.NotEvaluated })}, bollwerk.NotEvaluated, 1, 1},
		{"suppressed, noticed, rehearsed: nothing counts", ok, []bollwerk.Finding{
			with(bad, func(f *bollwerk.Finding) { f.Suppressed = &bollwerk.Suppression{By: "vex"} }),
			with(bad, func(f *bollwerk.Finding) { f.Kind = bollwerk.KindNotice }),
			standard("p", "observe", critical),
		}, bollwerk.Pass, 0, 1},
		{"a policy that warns counts", ok, []bollwerk.Finding{standard("p", "warn", low)}, bollwerk.Fail, 0, 1},
	} {
		r := &bollwerk.Result{Coverage: c.coverage, Findings: c.findings}
		Judge(r, nil)
		if r.Verdict != c.want || len(r.Causes) != c.causes || r.Summary.Completeness != c.complete {
			t.Errorf("%s: %s, causes %q, %v complete", c.name, r.Verdict, r.Causes, r.Summary.Completeness)
		}
	}
	r := &bollwerk.Result{Coverage: ok, Findings: []bollwerk.Finding{
		withKEV(vuln("CVE-2024-1", high, p, "2"), false), vuln("CVE-2024-2", high, p), secret("x", high),
		with(bad, func(f *bollwerk.Finding) { f.Suppressed = &bollwerk.Suppression{By: "vex"} }),
		with(bad, func(f *bollwerk.Finding) { f.ID, f.Verdict = "CVE-2024-3", bollwerk.NotEvaluated }),
	}}
	Judge(r, nil)
	s := r.Summary
	if s.Findings != 3 || s.Fixable != 1 || s.KEV != 1 || s.Suppressed != 1 || s.NotEvaluated != 1 || s.BySeverity["high"] != 3 ||
		s.ByKind["secret"] != 1 || s.ByPriority["now"] != 2 || s.ByPriority["watch"] != 1 {
		t.Errorf("summary %+v", s)
	}
}

// Judge is idempotent: a result read back and judged again is the same.
func TestJudgeTwice(t *testing.T) {
	r := &bollwerk.Result{Started: time.Now(), Findings: randomFindings(200, 3), Coverage: []bollwerk.Coverage{{Area: "x", Verdict: bollwerk.Degraded, Cause: "y"}}}
	Judge(r, nil)
	a := *r
	a.Findings = slices.Clone(r.Findings)
	Judge(r, nil)
	if !reflect.DeepEqual(a, *r) {
		t.Error("the second judgement differs")
	}
}

func BenchmarkJudge20000(b *testing.B) {
	fs := randomFindings(20000, 1)
	packages := make([]bollwerk.Package, 20000)
	for i := range packages {
		packages[i] = bollwerk.Package{PURL: purlOf(&fs[i]), Name: fmt.Sprint("p", i)}
		if i > 0 {
			packages[i].DependsOn = []bollwerk.PURL{packages[i/2].PURL, packages[i/3].PURL}
		}
	}
	r := &bollwerk.Result{Findings: make([]bollwerk.Finding, len(fs)), Packages: packages, Coverage: []bollwerk.Coverage{{Area: "x", Verdict: bollwerk.Pass}}}
	b.ReportAllocs()
	for range b.N {
		b.StopTimer()
		copy(r.Findings, fs)
		b.StartTimer()
		Judge(r, nil)
	}
}

func purlOf(f *bollwerk.Finding) bollwerk.PURL {
	if f.Package == nil {
		return "pkg:generic/none"
	}
	return f.Package.PURL
}
