package version

import (
	"errors"
	"testing"
)

// fuzzScheme feeds three strings and holds what every scheme promises: no panic,
// an error of one of two kinds, a version equals itself, the order reads the same
// both ways round, valid versions compare, and where the ecosystem's own rule is
// an order, it is transitive.
func fuzzScheme(f *testing.F, s Scheme, corpora []string, transitive func(v string) bool) {
	for _, name := range corpora {
		list := readCorpus(f, name)
		for i := 0; i < len(list); i += 1 + len(list)/200 {
			f.Add(list[i].a, list[i].b, list[(i+7)%len(list)].a)
		}
	}
	for _, v := range []string{"", "0", "-", ".", "1.", "~", "^", "1:", "1!2+3", "v", "é", "\x00", "1-r0", "1.0-ga-1", "go1.2rc3", "#", "1_"} {
		f.Add(v, "1", "1.0")
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, errAB := s.Compare(a, b)
		ba, errBA := s.Compare(b, a)
		aa, errAA := s.Compare(a, a)
		for _, err := range []error{errAB, errBA, errAA, s.Valid(a)} {
			if err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLong) {
				t.Fatalf("%q, %q: %v", a, b, err)
			}
		}
		if (errAB == nil) != (errBA == nil) {
			t.Fatalf("%q against %q: %v, the other way round %v", a, b, errAB, errBA)
		}
		if errAB != nil && s.Valid(a) == nil && s.Valid(b) == nil {
			t.Fatalf("%q and %q are valid: %v", a, b, errAB)
		}
		if (len(a) > MaxLength || len(b) > MaxLength) && errAB == nil {
			t.Fatalf("%d and %d bytes are compared", len(a), len(b))
		}
		if errAA == nil && aa != 0 {
			t.Fatalf("%q against itself: %d", a, aa)
		}
		if errAB != nil {
			return
		}
		if ab < -1 || ab > 1 || ab != -ba {
			t.Fatalf("%q against %q: %d, the other way round %d", a, b, ab, ba)
		}
		bc, err1 := s.Compare(b, c)
		ac, err2 := s.Compare(a, c)
		if err1 != nil || err2 != nil || !transitive(a) || !transitive(b) || !transitive(c) {
			return
		}
		if ab <= 0 && bc <= 0 && ac != min(ab, bc) {
			t.Fatalf("%q against %q: %d, %q against %q: %d, but %q against %q: %d", a, b, ab, b, c, bc, a, c, ac)
		}
		if ab >= 0 && bc >= 0 && ac != max(ab, bc) {
			t.Fatalf("%q against %q: %d, %q against %q: %d, but %q against %q: %d", a, b, ab, b, c, bc, a, c, ac)
		}
	})
}

func always(string) bool { return true }

func FuzzAPK(f *testing.F) {
	fuzzScheme(f, APK(), []string{"alpine-versions", "alpine-versions-generated"}, always)
}
func FuzzBitnami(f *testing.F)   { fuzzScheme(f, Bitnami(), []string{"semver-versions"}, always) }
func FuzzCocoaPods(f *testing.F) { fuzzScheme(f, CocoaPods(), []string{"semver-versions"}, always) }
func FuzzConan(f *testing.F)     { fuzzScheme(f, Conan(), []string{"semver-versions"}, always) }
func FuzzConda(f *testing.F)     { fuzzScheme(f, Conda(), []string{"pypi-versions"}, always) }
func FuzzCRAN(f *testing.F)      { fuzzScheme(f, CRAN(), []string{"cran-versions"}, always) }
func FuzzDpkg(f *testing.F) {
	fuzzScheme(f, Dpkg(), []string{"debian-versions", "debian-versions-generated"}, always)
}
func FuzzGo(f *testing.F)      { fuzzScheme(f, Go(), []string{"semver-versions"}, always) }
func FuzzHackage(f *testing.F) { fuzzScheme(f, Hackage(), []string{"hackage-versions"}, always) }
func FuzzMaven(f *testing.F) {
	fuzzScheme(f, Maven(), []string{"maven-versions", "maven-versions-generated"}, func(v string) bool { return !dotWord.MatchString(v) })
}
func FuzzNuGet(f *testing.F) { fuzzScheme(f, NuGet(), []string{"nuget-versions"}, always) }
func FuzzOpam(f *testing.F)  { fuzzScheme(f, Opam(), []string{"debian-versions"}, always) }
func FuzzPackagist(f *testing.F) {
	fuzzScheme(f, Packagist(), []string{"packagist-versions"}, func(v string) bool { return !hash.MatchString(v) })
}
func FuzzPEP440(f *testing.F)   { fuzzScheme(f, PEP440(), []string{"pypi-versions"}, always) }
func FuzzPub(f *testing.F)      { fuzzScheme(f, Pub(), []string{"pub-versions"}, always) }
func FuzzRPM(f *testing.F)      { fuzzScheme(f, RPM(), []string{"redhat-versions"}, always) }
func FuzzRubyGems(f *testing.F) { fuzzScheme(f, RubyGems(), []string{"rubygems-versions"}, always) }
func FuzzSemver(f *testing.F)   { fuzzScheme(f, Semver(), []string{"semver-versions"}, always) }
