package cvss

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// Scores as FIRST's and NVD's calculators give them; the vectors are those of the
// CVE records named.
func TestParse(t *testing.T) {
	for _, c := range []struct {
		vector, version string
		score           float64
		clean           string
	}{
		// CVE-2021-44228 (Log4Shell)
		{"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", "3.1", 10.0, ""},
		// CVSS v3.1 examples, https://www.first.org/cvss/v3.1/examples
		{"CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", "3.1", 6.4, ""}, // CVE-2013-0375
		{"CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", "3.1", 3.1, ""}, // CVE-2014-3566
		{"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", "3.1", 7.5, ""}, // CVE-2014-0160
		{"CVSS:3.1/AV:P/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", "3.1", 0.0, ""},
		{"CVSS:3.0/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N", "3.0", 3.1, ""},
		{"CVSS:3.0/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H", "3.0", 7.8, ""}, // CVE-2016-5195
		// CVSS v2 guide, section 3.3
		{"AV:N/AC:L/Au:N/C:N/I:N/A:C", "2.0", 7.8, ""},  // CVE-2002-0392
		{"AV:N/AC:L/Au:N/C:C/I:C/A:C", "2.0", 10.0, ""}, // CVE-2003-0818
		{"AV:L/AC:H/Au:N/C:C/I:C/A:C", "2.0", 6.2, ""},  // CVE-2003-0062
		{"(AV:N/AC:L/Au:N/C:P/I:P/A:P)", "2.0", 7.5, "AV:N/AC:L/Au:N/C:P/I:P/A:P"},
		{"CVSS:2.0/AV:N/AC:L/Au:N/C:P/I:P/A:P", "2.0", 7.5, ""},
		{"AV:L/AC:H/Au:M/C:N/I:N/A:N", "2.0", 0.0, ""},
		// CVSS v4.0 examples, https://www.first.org/cvss/v4.0/examples
		{"CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", "4.0", 7.3, ""},
		{"CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", "4.0", 7.7, ""},
		{"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H", "4.0", 10.0, ""},
		// Threat and environment do not change the base score.
		{"CVSS:4.0/AV:L/AC:L/AT:P/PR:L/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N/E:U/MAV:P", "4.0", 7.3, ""},
		{"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N/E:U/RL:O/RC:C/MAV:P", "3.1", 7.5, ""},
		{"AV:N/AC:L/Au:N/C:N/I:N/A:C/E:F/RL:OF/RC:C", "2.0", 7.8, ""},
		// Order, blanks, slash at the end.
		{" CVSS:3.1/C:H/I:H/A:H/S:C/AV:N/AC:L/PR:N/UI:N/ ", "3.1", 10.0, "CVSS:3.1/C:H/I:H/A:H/S:C/AV:N/AC:L/PR:N/UI:N"},
		{"CVSS:4.0/SA:H/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H", "4.0", 10.0, ""},
	} {
		got, err := Parse(c.vector)
		if err != nil {
			t.Errorf("%s: %v", c.vector, err)
			continue
		}
		if c.clean == "" {
			c.clean = c.vector
		}
		if got.Version != c.version || got.Score != c.score || got.Vector != c.clean {
			t.Errorf("%s: got %+v, want version %s, score %.1f, vector %s", c.vector, got, c.version, c.score, c.clean)
		}
		if math.Signbit(got.Score) {
			t.Errorf("%s: score is negative zero", c.vector)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for vector, want := range map[string]string{
		"":                       "base metric AV is missing",
		"HIGH":                   "want NAME:VALUE",
		"7.5":                    "want NAME:VALUE",
		"CVSS:5.0/AV:N":          "want version",
		"CVSS:3.1":               "base metric AV is missing",
		"cvss:3.1/AV:N":          `metric "cvss" is unknown`,
		"CVSS:3.1/AV:N/AC:L":     "base metric PR is missing",
		"CVSS:3.1/AV:N/AV:N":     "metric AV is given twice",
		"CVSS:3.1/E:U/E:U":       "metric E is given twice",
		"CVSS:3.1/AV:":           "want NAME:VALUE",
		"CVSS:3.1//AV:N":         "want NAME:VALUE",
		"AV:N/AC:L/Au:N/C:C/I:C": "base metric A is missing",
		"CVSS:3.1/AV:X/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H":                       "invalid metric value",
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H/XX:Y":                  `metric "XX" is unknown`,
		"CVSS:4.0/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H":                       "is unknown",
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H" + longTail(MaxLength): "want at most 512",
	} {
		got, err := Parse(vector)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %+v, %v; want an error with %q", vector, got, err, want)
		}
		if got != (bollwerk.CVSS{}) {
			t.Errorf("%.60q: an error with a value: %+v", vector, got)
		}
	}
}

func longTail(n int) string { return strings.Repeat("/E:U", n/4) }

func TestBest(t *testing.T) {
	v := func(version string, score float64) bollwerk.CVSS {
		return bollwerk.CVSS{Version: version, Score: score}
	}
	for _, c := range []struct {
		name string
		list []bollwerk.CVSS
		want bollwerk.CVSS
		ok   bool
	}{
		{"none", nil, bollwerk.CVSS{}, false},
		{"unknown version", []bollwerk.CVSS{v("5.0", 9)}, bollwerk.CVSS{}, false},
		{"newest", []bollwerk.CVSS{v("2.0", 10), v("3.0", 9.8), v("4.0", 6.9), v("3.1", 9.9)}, v("4.0", 6.9), true},
		{"3.1 before 3.0", []bollwerk.CVSS{v("3.0", 9.8), v("3.1", 5)}, v("3.1", 5), true},
		{"3.0 before 2.0", []bollwerk.CVSS{v("2.0", 10), v("3.0", 5)}, v("3.0", 5), true},
		{"highest of one version", []bollwerk.CVSS{v("3.1", 5), v("3.1", 7.5), v("3.1", 6)}, v("3.1", 7.5), true},
		{"a score of zero is a score", []bollwerk.CVSS{v("3.1", 0)}, v("3.1", 0), true},
	} {
		if got, ok := Best(c.list); got != c.want || ok != c.ok {
			t.Errorf("%s: got %+v, %v; want %+v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H",
		"CVSS:3.0/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H/E:U",
		"(AV:N/AC:L/Au:N/C:P/I:P/A:P)",
		"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H/U:Red",
		"CVSS:4.0/", "CVSS:", "//", "()", "(",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) || c != (bollwerk.CVSS{}) {
				t.Fatalf("%q: %+v, %v", s, c, err)
			}
			return
		}
		if !(c.Score >= 0 && c.Score <= 10) || math.Signbit(c.Score) {
			t.Fatalf("%q: score %v", s, c.Score)
		}
		if tenths := c.Score * 10; math.Abs(tenths-math.Round(tenths)) > 1e-9 {
			t.Fatalf("%q: score %v has more than one decimal", s, c.Score)
		}
		if again, err := Parse(c.Vector); err != nil || again != c {
			t.Fatalf("%q: read again as %+v, %v; want %+v", c.Vector, again, err, c)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"); err != nil {
			b.Fatal(err)
		}
	}
}
