package version

import (
	"bufio"
	"compress/gzip"
	"os"
	"strings"
	"testing"
)

// corpus lists every file of testdata with the schemes that must hold it and
// the number of comparisons it has.
var corpus = []struct {
	file    string
	lines   int
	schemes []Scheme
}{
	{"alpine-versions", 778, []Scheme{APK()}},
	{"alpine-versions-generated", 13979, []Scheme{APK()}},
	{"cran-versions", 21, []Scheme{CRAN()}},
	{"cran-versions-generated", 57, []Scheme{CRAN()}},
	{"debian-versions", 30, []Scheme{Dpkg()}},
	{"debian-versions-generated", 14442, []Scheme{Dpkg()}},
	{"hackage-versions", 11, []Scheme{Hackage()}},
	{"maven-versions", 102, []Scheme{Maven()}},
	{"maven-versions-generated", 14752, []Scheme{Maven()}},
	{"nuget-versions", 35, []Scheme{NuGet()}},
	{"packagist-versions", 95, []Scheme{Packagist()}},
	{"packagist-versions-generated", 10630, []Scheme{Packagist()}},
	{"pub-versions", 100, []Scheme{Pub()}},
	{"pypi-versions", 37, []Scheme{PEP440()}},
	{"pypi-versions-generated", 12375, []Scheme{PEP440()}},
	{"redhat-versions", 165, []Scheme{RPM()}},
	{"rubygems-versions", 25, []Scheme{RubyGems()}},
	{"rubygems-versions-generated", 4098, []Scheme{RubyGems()}},
	{"semver-versions", 86, []Scheme{Semver(), Go()}},
}

type comparison struct {
	line string
	a, b string
	want int
}

func readCorpus(t testing.TB, name string) []comparison {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".txt.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var list []comparison
	in := bufio.NewScanner(z)
	for in.Scan() {
		line := in.Text()
		if line == "" || strings.HasPrefix(line, "# ") || strings.HasPrefix(line, "// ") {
			continue
		}
		words := strings.Split(line, " ")
		if len(words) != 3 {
			t.Fatalf("%s: line %q: want three words", name, line)
		}
		want, ok := map[string]int{"<": -1, "=": 0, ">": 1}[words[1]]
		if !ok {
			t.Fatalf("%s: line %q: unknown sign", name, line)
		}
		list = append(list, comparison{line, words[0], words[2], want})
	}
	if err := in.Err(); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return list
}

// TestCorpus checks every recorded comparison, both ways round.
func TestCorpus(t *testing.T) {
	total := 0
	for _, c := range corpus {
		list := readCorpus(t, c.file)
		if len(list) != c.lines {
			t.Errorf("%s: %d comparisons, want %d", c.file, len(list), c.lines)
		}
		total += len(list)
		for _, s := range c.schemes {
			t.Run(c.file+"/"+s.Name(), func(t *testing.T) {
				failed := 0
				for _, c := range list {
					got, err := s.Compare(c.a, c.b)
					back, err2 := s.Compare(c.b, c.a)
					if err != nil || err2 != nil || got != c.want || back != -c.want {
						if failed++; failed <= 20 {
							t.Errorf("%s: got %d (%v), reversed %d (%v)", c.line, got, err, back, err2)
						}
					}
				}
				if failed > 0 {
					t.Errorf("%d of %d failed", failed, len(list))
				}
			})
		}
	}
	if total != 71818 {
		t.Errorf("%d comparisons in all, want 71818", total)
	}
}
