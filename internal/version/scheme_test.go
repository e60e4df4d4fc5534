package version

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// everyScheme lists each scheme once, with the corpora whose versions it is
// tried on.
var everyScheme = []struct {
	scheme  Scheme
	corpora []string
}{
	{APK(), []string{"alpine-versions", "alpine-versions-generated"}},
	{Bitnami(), []string{"semver-versions", "pub-versions"}},
	{CocoaPods(), []string{"rubygems-versions-generated", "semver-versions"}},
	{Conan(), []string{"semver-versions", "alpine-versions"}},
	{Conda(), []string{"pypi-versions-generated", "semver-versions"}},
	{CRAN(), []string{"cran-versions", "cran-versions-generated", "hackage-versions"}},
	{Dpkg(), []string{"debian-versions", "debian-versions-generated"}},
	{Go(), []string{"semver-versions", "pub-versions"}},
	{Hackage(), []string{"hackage-versions", "cran-versions"}},
	{Maven(), []string{"maven-versions", "maven-versions-generated"}},
	{NuGet(), []string{"nuget-versions", "semver-versions"}},
	{Opam(), []string{"debian-versions", "debian-versions-generated", "semver-versions"}},
	{Packagist(), []string{"packagist-versions", "packagist-versions-generated"}},
	{PEP440(), []string{"pypi-versions", "pypi-versions-generated"}},
	{Pub(), []string{"pub-versions", "semver-versions"}},
	{RPM(), []string{"redhat-versions", "debian-versions-generated"}},
	{RubyGems(), []string{"rubygems-versions", "rubygems-versions-generated"}},
	{Semver(), []string{"semver-versions", "pub-versions", "nuget-versions"}},
}

// dotWord finds a word that stands in one list with numbers, for Maven.
var dotWord = regexp.MustCompile(`[.]([^0-9]|$)`)

// hash finds a part that version_compare() treats as any number at once.
var hash = regexp.MustCompile(`#`)

// versionsOf returns the distinct versions of corpora, sorted as text.
func versionsOf(t testing.TB, corpora []string) []string {
	var list []string
	for _, name := range corpora {
		for _, c := range readCorpus(t, name) {
			list = append(list, c.a, c.b)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// TestOrder shows that each scheme is a total preorder on real versions: sorted
// once, no version may be newer than any that comes later. All pairs are tried,
// which covers antisymmetry and transitivity together.
func TestOrder(t *testing.T) {
	for _, e := range everyScheme {
		t.Run(e.scheme.Name(), func(t *testing.T) {
			s := e.scheme
			list := versionsOf(t, e.corpora)
			// version_compare() itself is no order where a part is "#": the corpus
			// has 1.2.3.# equal to 1.2.3 and to 1.2.3.1, and 1.2.3 older than 1.2.3.1.
			// Maven's is none where zeros stand before a word behind a dot.
			// CRAN refuses what another ecosystem's corpus holds.
			list = slices.DeleteFunc(list, func(v string) bool {
				_, err := s.Compare(v, v)
				return err != nil ||
					s == Packagist() && strings.Contains(v, "#") ||
					s == Maven() && dotWord.MatchString(v)
			})
			rng := rand.New(rand.NewPCG(1, 2))
			rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			most := 900
			if testing.Short() {
				most = 200
			}
			list = list[:min(len(list), most)]
			if len(list) < 20 {
				t.Fatalf("only %d versions", len(list))
			}
			slices.SortStableFunc(list, func(a, b string) int { return must(t, s, a, b) })
			for i, a := range list {
				for _, b := range list[i:] {
					x, y := must(t, s, a, b), must(t, s, b, a)
					if x > 0 {
						t.Fatalf("%s sorts before %s but compares %d", a, b, x)
					}
					if x != -y {
						t.Fatalf("%s against %s: %d, and %d the other way round", a, b, x, y)
					}
				}
			}
		})
	}
}

func must(t testing.TB, s Scheme, a, b string) int {
	c, err := s.Compare(a, b)
	if err != nil {
		t.Fatalf("%s: %q against %q: %v", s.Name(), a, b, err)
	}
	return c
}

// chain is a list of versions, oldest first; a line holds versions that are
// equal, separated by blanks.
func checkChain(t *testing.T, s Scheme, chain ...string) {
	t.Helper()
	type entry struct {
		v    string
		rank int
	}
	var list []entry
	for rank, line := range chain {
		for _, v := range strings.Split(line, " ") {
			list = append(list, entry{v, rank})
		}
	}
	for _, x := range list {
		for _, y := range list {
			got, err := s.Compare(x.v, y.v)
			if want := compareInts(x.rank, y.rank); err != nil || got != want {
				t.Errorf("%s: %q against %q: %d, %v; want %d", s.Name(), x.v, y.v, got, err, want)
			}
		}
	}
}

func checkRefused(t *testing.T, s Scheme, versions ...string) {
	t.Helper()
	for _, v := range versions {
		for _, err := range []error{s.Valid(v), second(s.Compare(v, "1")), second(s.Compare("1", v))} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %q: %v, want ErrInvalid", s.Name(), v, err)
			}
		}
	}
}

func checkValid(t *testing.T, s Scheme, want bool, versions ...string) {
	t.Helper()
	for _, v := range versions {
		if err := s.Valid(v); (err == nil) != want {
			t.Errorf("%s: Valid(%q) = %v, want valid %v", s.Name(), v, err, want)
		}
	}
}

func second(_ int, err error) error { return err }

func TestFor(t *testing.T) {
	for e, want := range map[bollwerk.Ecosystem]string{
		bollwerk.EcosystemAlma: "rpm", "AlmaLinux:9": "rpm", "Rocky Linux:8": "rpm",
		"Red Hat:enterprise_linux:9::appstream": "rpm", "SUSE:Linux Enterprise Server 15 SP5": "rpm",
		"openSUSE:Leap 15.5": "rpm", "Mageia:9": "rpm", "Photon OS:4.0": "rpm", "openEuler:22.03": "rpm", "Azure Linux:3": "rpm",
		"Debian:12": "dpkg", "Ubuntu:22.04:LTS": "dpkg", "Ubuntu:Pro:18.04:LTS": "dpkg",
		"Alpine:v3.19": "apk", "Alpaquita:stream": "apk", bollwerk.EcosystemBellSoft: "apk", "BellSoft": "apk",
		"Wolfi": "apk", "Chainguard": "apk", "MinimOS": "apk",
		"npm": "semver", "crates.io": "semver", "Hex": "semver", "Julia": "semver", "SwiftURL": "semver",
		"GitHub Actions": "semver", "GHC": "semver", "OSS-Fuzz": "semver", "Go": "go",
		"PyPI": "pep440", "Maven": "maven", "Maven:https://repo1.maven.org/maven2/": "maven", "NuGet": "nuget",
		"RubyGems": "rubygems", "CocoaPods": "cocoapods", "Packagist": "packagist", "Pub": "pub",
		"Hackage": "hackage", "CRAN": "cran", "Bioconductor:3.18": "cran", "opam": "opam",
		"ConanCenter": "conan", "Conda": "conda", "Bitnami": "bitnami",
		"Root:Alpine:3.18": "apk", "Root:PyPI": "pep440",
		"": "", "NPM": "", "Android": "", "Root": "", "Root:Root:Root": "", "Root:nothing": "", bollwerk.EcosystemBinary: "",
	} {
		got := ""
		s, ok := For(e)
		if ok {
			got = s.Name()
		}
		if got != want || ok != (want != "") {
			t.Errorf("%s: got %q, want %q", e, got, want)
		}
	}
	// A chain of Root: must not recurse without end.
	if _, ok := For(bollwerk.Ecosystem(strings.Repeat("Root:", 1<<16) + "PyPI")); ok {
		t.Error("Root inside Root is accepted")
	}
}

// TestNames holds that a name stands for one scheme, as callers may keep it.
func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range everyScheme {
		n := e.scheme.Name()
		if seen[n] || n != strings.ToLower(n) || n == "" {
			t.Errorf("name %q is used twice, empty or not in lower case", n)
		}
		seen[n] = true
	}
}

func TestTooLong(t *testing.T) {
	fits := strings.Repeat("1", MaxLength)
	long := fits + "1"
	for _, e := range everyScheme {
		s := e.scheme
		for _, err := range []error{s.Valid(long), second(s.Compare(long, "1")), second(s.Compare("1", long))} {
			if !errors.Is(err, ErrTooLong) {
				t.Errorf("%s: %v, want ErrTooLong", s.Name(), err)
			} else if len(err.Error()) > 200 {
				t.Errorf("%s: the message has %d bytes", s.Name(), len(err.Error()))
			}
		}
		if c, err := s.Compare(fits, "1"); c != 1 || err != nil {
			t.Errorf("%s: %d digits against 1: %d, %v", s.Name(), MaxLength, c, err)
		}
	}
}

// TestBounded gives every scheme the longest permitted strings of repeated
// shapes, where a rule that looked ahead from each part would show as a test that
// takes seconds, and holds that their order reads the same both ways round.
func TestBounded(t *testing.T) {
	shapes := []string{"0", "0.", "1.", "a", "0a", "a0", "-", "1-", "~", "^", ".", "0.a.", "1a-", "_p1", "#.", "é", "0-0.", "+", "1!", "-r"}
	for _, e := range everyScheme {
		s := e.scheme
		for _, shape := range shapes {
			v := strings.Repeat(shape, MaxLength/len(shape))
			for _, w := range []string{v, v[:len(v)-1] + "z", "1" + v[1:]} {
				c, err := s.Compare(v, w)
				back, err2 := s.Compare(w, v)
				if (err == nil) != (err2 == nil) || err == nil && c != -back {
					t.Errorf("%s: %q…: %d (%v) and %d (%v)", s.Name(), shape, c, err, back, err2)
				}
				if err != nil && !errors.Is(err, ErrInvalid) {
					t.Errorf("%s: %q…: %v", s.Name(), shape, err)
				}
			}
		}
	}
}

func ExampleScheme() {
	s, _ := For("Debian:12")
	c, err := s.Compare("3.0.11-1~deb12u2", "3.0.11-1")
	fmt.Println(s.Name(), c, err)
	_, err = s.Compare("3.0.11-1~deb12u2", "a:1")
	fmt.Println(err)
	// Output:
	// dpkg -1 <nil>
	// version "a:1": not a version of dpkg: the epoch is not a number
}
