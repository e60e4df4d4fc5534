package version

// Semver returns the order of semver.org 2.0.0, section 11, for the ecosystems
// whose advisories speak it: npm, crates.io, Hex, Julia, SwiftURL, and every
// range of type SEMVER.
//
// Published versions are sloppier than the specification, and so are their
// tools (npm's "loose" mode): a leading v, missing components (1.2 is 1.2.0),
// more than three components, leading zeros, a pre-release without its hyphen
// (1.0.0rc1, 1.0.0.Beta) are ordered. Build metadata does not count.
func Semver() Scheme { return semver{} }

type semver struct{}

func (semver) Name() string { return "semver" }

func (semver) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, ok := parseSemver(a)
	if !ok {
		return 0, invalid("semver", a, semverWant)
	}
	vb, ok := parseSemver(b)
	if !ok {
		return 0, invalid("semver", b, semverWant)
	}
	if c := compareNumbers(va.core, vb.core); c != 0 {
		return c, nil
	}
	return comparePre(va.pre, vb.pre, false), nil
}

const semverWant = "want numbers separated by dots, then perhaps -pre-release and +build"

// Valid asks for the specification's grammar, but for a leading v and missing
// components, which npm, Go, Swift and GitHub tags all use.
func (semver) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	p, ok := parseSemver(v)
	if !ok || p.loose || components(p.core) > 3 || !strictIdentifiers(p.pre) || !strictIdentifiers(p.build) {
		return invalid("semver", v, semverWant)
	}
	if p.hasBuild && p.build == "" {
		return invalid("semver", v, "nothing follows the +")
	}
	return nil
}

// semverVersion is a version cut into its parts; all are substrings.
type semverVersion struct {
	core             string // 1.2.3
	pre              string // behind the hyphen; releasePre when there is none
	build            string // behind the plus
	hasPre, hasBuild bool
	loose            bool // the pre-release has no hyphen
}

// parseSemver cuts s; false when it does not begin with a number or holds a
// blank or control character.
func parseSemver(s string) (semverVersion, bool) {
	var v semverVersion
	if s != "" && (s[0] == 'v' || s[0] == 'V') {
		s = s[1:]
	}
	n := digits(s)
	if n == 0 {
		return v, false
	}
	for n+1 < len(s) && s[n] == '.' && isDigit(s[n+1]) {
		n += 1 + digits(s[n+1:])
	}
	v.core = s[:n]
	if n == len(s) {
		return v, true
	}
	s = s[n:]
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] == 0x7f {
			return v, false
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '+' {
			v.build, v.hasBuild = s[i+1:], true
			s = s[:i]
			break
		}
	}
	if s == "" {
		return v, true
	}
	v.hasPre = true
	switch s[0] {
	case '-':
		// A hyphen at the end: Julia's lowest pre-release, to npm the
		// identifier "-".
		v.pre = s[1:]
		if v.pre == "" {
			v.pre, v.loose = "-", true
		}
	case '.', '_':
		v.pre, v.loose = s[1:], true
	default:
		v.pre, v.loose = s, true
	}
	// With nothing but a dot at its end a version is a release.
	if v.pre == "" {
		v.hasPre, v.loose = false, true
	}
	return v, true
}

// comparePre compares two pre-releases, section 11.3 and 11.4: none is newer
// than any; identifiers one by one, numbers as numbers and before words, fewer
// identifiers before more.
func comparePre(a, b string, fold bool) int {
	switch {
	case a == "" && b == "":
		return 0
	case a == "":
		return 1
	case b == "":
		return -1
	}
	return compareIdentifiers(a, b, fold)
}

func compareIdentifiers(a, b string, fold bool) int {
	for {
		i, j := identifier(a), identifier(b)
		if c := compareIdentifier(a[:i], b[:j], fold); c != 0 {
			return c
		}
		switch {
		case i == len(a) && j == len(b):
			return 0
		case i == len(a):
			return -1
		case j == len(b):
			return 1
		}
		a, b = a[i+1:], b[j+1:]
	}
}

// identifier returns the length of s up to its first dot.
func identifier(s string) int {
	i := 0
	for i < len(s) && s[i] != '.' {
		i++
	}
	return i
}

func compareIdentifier(a, b string, fold bool) int {
	x, y := allDigits(a), allDigits(b)
	switch {
	case x && y:
		return compareDigits(a, b)
	case x:
		return -1
	case y:
		return 1
	case fold:
		return compareFold(a, b)
	}
	return compareBytes(a, b)
}

func components(core string) int {
	n := 1
	for i := 0; i < len(core); i++ {
		if core[i] == '.' {
			n++
		}
	}
	return n
}

// strictIdentifiers reports whether s is empty or dot-separated non-empty
// identifiers of letters, digits and hyphens.
func strictIdentifiers(s string) bool {
	if s == "" {
		return true
	}
	for {
		n := identifier(s)
		if n == 0 {
			return false
		}
		for i := 0; i < n; i++ {
			if !isAlnum(s[i]) && s[i] != '-' {
				return false
			}
		}
		if n == len(s) {
			return true
		}
		s = s[n+1:]
	}
}

// NuGet returns the order of NuGet: semver with up to four numbers, identifiers
// compared without regard to case, build metadata ignored
// (https://learn.microsoft.com/nuget/concepts/package-versioning).
func NuGet() Scheme { return nuget{} }

type nuget struct{}

func (nuget) Name() string { return "nuget" }

func (nuget) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, ok := parseSemver(a)
	if !ok {
		return 0, invalid("nuget", a, nugetWant)
	}
	vb, ok := parseSemver(b)
	if !ok {
		return 0, invalid("nuget", b, nugetWant)
	}
	if c := compareNumbers(va.core, vb.core); c != 0 {
		return c, nil
	}
	return comparePre(va.pre, vb.pre, true), nil
}

const nugetWant = "want up to four numbers separated by dots, then perhaps -pre-release and +build"

func (nuget) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	p, ok := parseSemver(v)
	if !ok || p.loose || v[0] == 'v' || v[0] == 'V' || components(p.core) > 4 ||
		!strictIdentifiers(p.pre) || !strictIdentifiers(p.build) || p.hasBuild && p.build == "" {
		return invalid("nuget", v, nugetWant)
	}
	return nil
}

// Pub returns the order of Dart's pub: semver, except that build metadata counts
// and makes a version newer (pub_semver's Version.compareTo).
func Pub() Scheme { return pub{} }

type pub struct{}

func (pub) Name() string { return "pub" }

func (pub) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, ok := parseSemver(a)
	if !ok {
		return 0, invalid("pub", a, semverWant)
	}
	vb, ok := parseSemver(b)
	if !ok {
		return 0, invalid("pub", b, semverWant)
	}
	if c := compareNumbers(va.core, vb.core); c != 0 {
		return c, nil
	}
	if c := comparePre(va.pre, vb.pre, false); c != 0 {
		return c, nil
	}
	// The other way round than a pre-release: no build is older than any.
	switch {
	case va.build == "" && vb.build == "":
		return 0, nil
	case va.build == "":
		return -1, nil
	case vb.build == "":
		return 1, nil
	}
	return compareIdentifiers(va.build, vb.build, false), nil
}

func (pub) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	p, ok := parseSemver(v)
	if !ok || p.loose || components(p.core) != 3 || !strictIdentifiers(p.pre) || !strictIdentifiers(p.build) {
		return invalid("pub", v, semverWant)
	}
	return nil
}

// Bitnami returns the order of Bitnami's images: semver, except that a
// pre-release of one number is a revision and newer than the bare version, which
// is revision 0 (https://github.com/bitnami/go-version).
func Bitnami() Scheme { return bitnami{} }

type bitnami struct{}

func (bitnami) Name() string { return "bitnami" }

func (bitnami) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, ok := parseSemver(a)
	if !ok {
		return 0, invalid("bitnami", a, semverWant)
	}
	vb, ok := parseSemver(b)
	if !ok {
		return 0, invalid("bitnami", b, semverWant)
	}
	if c := compareNumbers(va.core, vb.core); c != 0 {
		return c, nil
	}
	ra, rb := "", ""
	if allDigits(va.pre) {
		ra, va.pre = va.pre, ""
	}
	if allDigits(vb.pre) {
		rb, vb.pre = vb.pre, ""
	}
	if c := comparePre(va.pre, vb.pre, false); c != 0 {
		return c, nil
	}
	return compareDigits(ra, rb), nil
}

func (bitnami) Valid(v string) error { return semver{}.Valid(v) }
