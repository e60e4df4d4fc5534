// Package version owns the order of package versions: for every ecosystem, the
// order its own tools use. It does not know ranges, advisories or package names.
//
// A scan compares one version with many others, millions of times in a large
// one. So a Scheme compares two strings in place: nothing is parsed into the
// heap, nothing is cached, and numbers of any length are compared as digits.
package version

import (
	"errors"
	"fmt"

	"github.com/bollwerk/bollwerk"
)

// MaxLength is the longest version that is looked at, in bytes. The longest
// versions in public advisories have about 120; a longer string is an attempt to
// waste time, and is an error.
const MaxLength = 1024

// Errors that callers may tell apart; the error of a Scheme wraps one of them.
var (
	// ErrInvalid: the string has no place in the order of the scheme.
	ErrInvalid = errors.New("not a version")
	// ErrTooLong: the string is longer than MaxLength.
	ErrTooLong = errors.New("version is too long")
)

// Scheme compares versions as one ecosystem's own tools do. A Scheme has no
// state: it is safe for concurrent use and its zero-size values compare equal.
type Scheme interface {
	// Name is the scheme's own name in lower case: "dpkg", "semver", "pep440".
	Name() string

	// Compare returns -1 when a is older than b, 0 when the tools treat them as
	// the same version, 1 when a is newer. The error is one of two kinds:
	// ErrTooLong, or ErrInvalid for a string that the ecosystem's tools refuse to
	// order. Strings that tools order although they no longer accept them (PyPI's
	// legacy versions, apk's malformed ones) are ordered. It never panics.
	Compare(a, b string) (int, error)

	// Valid reports whether the ecosystem's tools accept v as a version today,
	// with the reason as ErrInvalid or ErrTooLong. Two valid versions always
	// compare without an error.
	Valid(v string) error
}

// For returns the scheme of an ecosystem, whatever its release. It reports false
// when the ecosystem is unknown or has no order of versions at all, as with
// commits; whoever asks has to say "not evaluated" then.
//
// The table follows the OSV schema's list of ecosystems
// (https://ossf.github.io/osv-schema/#defined-ecosystems).
func For(e bollwerk.Ecosystem) (Scheme, bool) {
	switch e.Name() {
	case "npm", "crates.io", "Hex", "Julia", "SwiftURL", "GitHub Actions", "GHC",
		"OSS-Fuzz", "VSCode", "Linux", "Kubernetes", "Docker Hardened Images":
		return Semver(), true
	case "Go":
		return Go(), true
	case "PyPI":
		return PEP440(), true
	case "Maven":
		return Maven(), true
	case "NuGet":
		return NuGet(), true
	case "RubyGems":
		return RubyGems(), true
	case "CocoaPods":
		return CocoaPods(), true
	case "Packagist":
		return Packagist(), true
	case "Pub":
		return Pub(), true
	case "Debian", "Ubuntu", "Echo":
		return Dpkg(), true
	case "Alpine", "Alpaquita", "BellSoft", "BellSoft Hardened Containers", "Wolfi",
		"Chainguard", "MinimOS", "CleanStart":
		return APK(), true
	case "AlmaLinux", "Rocky Linux", "Red Hat", "SUSE", "openSUSE", "Mageia",
		"Photon", "Photon OS", "openEuler", "Azure Linux", "CBL-Mariner",
		"Oracle Linux", "Amazon Linux", "CentOS", "Fedora", "TuxCare":
		return RPM(), true
	case "Hackage":
		return Hackage(), true
	case "CRAN", "Bioconductor":
		return CRAN(), true
	case "opam":
		return Opam(), true
	case "ConanCenter":
		return Conan(), true
	case "Conda":
		return Conda(), true
	case "Bitnami":
		return Bitnami(), true
	case "Root":
		// Root rebuilds packages of other ecosystems and names them behind its
		// own name: "Root:Alpine:3.18", "Root:PyPI".
		if r := bollwerk.Ecosystem(e.Release()); r != "" && r.Name() != "Root" {
			return For(r)
		}
	}
	return nil, false
}

// tooLong guards every Compare and Valid.
func tooLong(a, b string) error {
	if len(a) > MaxLength {
		return lengthError(a)
	}
	if len(b) > MaxLength {
		return lengthError(b)
	}
	return nil
}

func lengthError(v string) error {
	return fmt.Errorf("version %q…: %d bytes, want at most %d: %w", v[:40], len(v), MaxLength, ErrTooLong)
}

// invalid is the error of one version in one scheme. why completes the sentence
// "version "x" is not a version of dpkg: …".
func invalid(scheme, v, why string) error {
	const show = 80
	dots := ""
	if len(v) > show {
		v, dots = v[:show], "…"
	}
	return fmt.Errorf("version %q%s: %w of %s: %s", v, dots, ErrInvalid, scheme, why)
}

func isDigit(c byte) bool { return c-'0' < 10 }
func isLower(c byte) bool { return c-'a' < 26 }
func isAlpha(c byte) bool { return (c|0x20)-'a' < 26 }
func isAlnum(c byte) bool { return isDigit(c) || isAlpha(c) }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// digits returns the length of the run of ASCII digits at the start of s.
func digits(s string) int {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}

// allDigits reports whether s is a non-empty run of ASCII digits.
func allDigits(s string) bool { return s != "" && digits(s) == len(s) }

// compareDigits compares two runs of digits as numbers of any size; the empty
// run is zero.
func compareDigits(a, b string) int {
	if len(a) == 1 && len(b) == 1 {
		return compareInts(int(a[0]), int(b[0]))
	}
	a, b = trimZeros(a), trimZeros(b)
	if len(a) != len(b) {
		if len(a) < len(b) {
			return -1
		}
		return 1
	}
	return compareBytes(a, b)
}

// commonPrefix returns the length of what a and b begin with alike.
func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	i := 0
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

func trimZeros(s string) string {
	for len(s) > 0 && s[0] == '0' {
		s = s[1:]
	}
	return s
}

// compareBytes is strings.Compare without the call for short strings.
func compareBytes(a, b string) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		if a[i] != b[i] {
			if a[i] < b[i] {
				return -1
			}
			return 1
		}
	}
	return compareInts(len(a), len(b))
}

// compareFold compares as compareBytes does after lower-casing ASCII letters.
func compareFold(a, b string) int {
	n := min(len(a), len(b))
	for i := 0; i < n; i++ {
		if x, y := lower(a[i]), lower(b[i]); x != y {
			if x < y {
				return -1
			}
			return 1
		}
	}
	return compareInts(len(a), len(b))
}

// hasFoldPrefix reports whether s begins with the lower-case ASCII prefix p,
// whatever the case of s.
func hasFoldPrefix(s, p string) bool {
	if len(s) < len(p) {
		return false
	}
	for i := 0; i < len(p); i++ {
		if lower(s[i]) != p[i] {
			return false
		}
	}
	return true
}

func compareInts(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// compareNumbers compares two dot-separated runs of digits ("1.2.3"); a missing
// component counts as zero, so 1.2 and 1.2.0 are equal.
func compareNumbers(a, b string) int {
	for a != "" || b != "" {
		i, j := digits(a), digits(b)
		if c := compareDigits(a[:i], b[:j]); c != 0 {
			return c
		}
		a, b = afterDot(a[i:]), afterDot(b[j:])
	}
	return 0
}

func afterDot(s string) string {
	if s != "" && s[0] == '.' {
		return s[1:]
	}
	return ""
}
