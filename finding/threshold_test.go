package finding

import (
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// zoo is one finding of every sort, by name.
func zoo() map[string]bollwerk.Finding {
	p := pkg("npm", "a", "1.0.0")
	z := map[string]bollwerk.Finding{
		"critical-fix":   vuln("1", critical, p, "2"),
		"critical-nofix": vuln("2", critical, p),
		"high-fix":       withEPSS(vuln("3", high, p, "2"), 0.05),
		"medium-fix":     vuln("4", medium, p, "2"),
		"low-kev":        withKEV(vuln("5", low, p), false),
		"low-ransom":     withKEV(vuln("6", low, p), true),
		"low-epss":       withEPSS(vuln("7", low, p), 0.5),
		"malware":        with(vuln("MAL-1", unknown, p), func(f *bollwerk.Finding) { f.Kind = bollwerk.KindMalware }),
		"secret":         secret("x", medium),
		"enforce":        standard("p-enforce", "enforce", low),
		"warn":           standard("p-warn", "warn", critical),
		"observe":        standard("p-observe", "observe", critical),
		"notice":         with(vuln("N", high, p), func(f *bollwerk.Finding) { f.Kind = bollwerk.KindNotice }),
		"suppressed":     with(withKEV(vuln("8", critical, p, "2"), true), func(f *bollwerk.Finding) { f.Suppressed = &bollwerk.Suppression{By: "vex"} }),
		"unjudged":       with(withKEV(vuln("9", critical, p, "2"), true), func(f *bollwerk.Finding) { f.Verdict = bollwerk.NotEvaluated }),
		"new-low":        with(vuln("10", low, p), func(f *bollwerk.Finding) { f.New = true }),
		"new-high":       with(vuln("11", high, p, "2"), func(f *bollwerk.Finding) { f.New = true }),
		"new-enforce":    with(standard("p-new", "enforce", low), func(f *bollwerk.Finding) { f.New = true }),
		"used":           reach(vuln("12", low, p), true),
		"cvss8":          with(vuln("13", medium, p), func(f *bollwerk.Finding) { f.Score = 8 }),
	}
	for k, f := range z {
		fs := []bollwerk.Finding{f}
		isNew := f.New
		Rank(fs, RankContext{})
		fs[0].New = isNew
		z[k] = fs[0]
	}
	return z
}

func TestThresholds(t *testing.T) {
	always := []string{"malware", "enforce", "new-enforce"}
	for _, c := range []struct {
		exprs []string
		want  string // beside what always counts
	}{
		{nil, "critical-fix high-fix low-kev low-ransom secret new-high"},
		{[]string{"none"}, ""},
		{[]string{"critical"}, "critical-fix critical-nofix"},
		{[]string{"high"}, "critical-fix critical-nofix high-fix new-high"},
		{[]string{" HIGH "}, "critical-fix critical-nofix high-fix new-high"},
		{[]string{"severity>=high"}, "critical-fix critical-nofix high-fix new-high"},
		{[]string{"severity>high"}, "critical-fix critical-nofix"},
		{[]string{"severity=medium"}, "medium-fix cvss8 secret"},
		{[]string{"high+fixable"}, "critical-fix high-fix new-high"},
		{[]string{"high and fixable"}, "critical-fix high-fix new-high"},
		{[]string{"high && unfixed"}, "critical-nofix"},
		{[]string{"kev"}, "low-kev low-ransom"},
		{[]string{"ransomware"}, "low-ransom"},
		{[]string{"kev,secret"}, "low-kev low-ransom secret"},
		{[]string{"kev", "secret"}, "low-kev low-ransom secret"},
		{[]string{"epss>=0.05"}, "high-fix low-epss"},
		{[]string{"epss>0.05"}, "low-epss"},
		{[]string{"epss>=5%"}, "high-fix low-epss"},
		{[]string{"cvss>=7"}, "cvss8"},
		{[]string{"now"}, "low-kev low-ransom secret"},
		{[]string{"priority=soon"}, "critical-fix high-fix low-epss new-high"},
		{[]string{"priority>=soon"}, "low-kev low-ransom secret critical-fix high-fix low-epss new-high"},
		{[]string{"standard"}, "warn observe"},
		{[]string{"policy"}, ""},
		{[]string{"policy=p-warn"}, "warn"},
		{[]string{"notice"}, "notice"},
		{[]string{"reachable"}, "used"},
		{[]string{"malware"}, ""},
	} {
		th, err := ParseThresholds(c.exprs)
		if err != nil {
			t.Errorf("%q: %v", c.exprs, err)
			continue
		}
		want := strings.Fields(c.want)
		if !slices.Equal(c.exprs, []string{"none"}) {
			want = append(want, always...)
		}
		slices.Sort(want)
		var got []string
		for name, f := range zoo() {
			if th.Match(&f) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%q:\n got %v\nwant %v", c.exprs, got, want)
		}
		again, err := ParseThreshold(th.String())
		if err != nil || again.String() != th.String() {
			t.Errorf("%q: %q does not read back: %v", c.exprs, th, err)
		}
	}
}

// With "new" everywhere old violations of enforced policies are known; malware never is.
func TestThresholdNew(t *testing.T) {
	th, err := ParseThreshold("new")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for name, f := range zoo() {
		if th.Match(&f) {
			got = append(got, name)
		}
	}
	slices.Sort(got)
	if want := []string{"malware", "new-enforce", "new-high", "new-low"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !th.NeedsBaseline() {
		t.Error("new needs a baseline")
	}
	if d, _ := ParseThresholds(nil); d.NeedsBaseline() {
		t.Error("the default needs no baseline")
	}
	if mixed, _ := ParseThreshold("new+high,kev"); !mixed.NeedsBaseline() || mixed.onlyNew() {
		t.Error("one alternative without new: old violations count")
	}
}

func TestThresholdErrors(t *testing.T) {
	for expr, want := range map[string]string{
		"hihg": "is not a condition", "": "empty", "high,,kev": "empty", "high+": "empty", "none,high": "alone", "high+none": "alone",
		"epss>=2": "from 0 to 1", "epss>=x": "from 0 to 1", "epss>=NaN": "from 0 to 1", "cvss>=11": "from 0 to 10", "severity>=worst": "want none, low",
		"severity<high": "severity>=high", "priority>=never": "want now, soon or later", "priority<now": "priority>=soon", "size>=3": "nothing is called",
		"policy=": "policy=ID", "severity=": "want none, low", ">=3": "is not a condition", strings.Repeat("high,", 100) + "low": "more than 64", strings.Repeat("x", 5000): "at most 4096",
	} {
		if _, err := ParseThreshold(expr); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", expr, err, want)
		}
	}
}

// The zero Threshold lets everything pass: a forgotten one must not fail builds.
func TestZeroThreshold(t *testing.T) {
	for name, f := range zoo() {
		if (Threshold{}).Match(&f) {
			t.Errorf("%s matches", name)
		}
	}
}

func FuzzParseThreshold(f *testing.F) {
	for _, s := range []string{DefaultThreshold, "none", "epss>=10%", "high and fixable && new,kev", "severity==high", "policy=a=b", "priority>=soon", "<=>", "+,+"} {
		f.Add(s)
	}
	z := zoo()
	f.Fuzz(func(t *testing.T, s string) {
		th, err := ParseThreshold(s)
		if err != nil {
			return
		}
		again, err := ParseThreshold(th.String())
		if err != nil {
			t.Fatalf("%q is written as %q, which is refused: %v", s, th, err)
		}
		for name, x := range z {
			if th.Match(&x) != again.Match(&x) {
				t.Fatalf("%q and %q differ over %s", s, again, name)
			}
			if th.Match(&x) && !judged(&x) {
				t.Fatalf("%q matches %s", s, name)
			}
		}
	})
}
