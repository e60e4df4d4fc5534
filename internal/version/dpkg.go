package version

import "strings"

// Dpkg returns the order of Debian and its children: deb-version(7), as
// implemented in dpkg's lib/dpkg/version.c and parsehelp.c.
func Dpkg() Scheme { return dpkg{} }

type dpkg struct{}

func (dpkg) Name() string { return "dpkg" }

func (dpkg) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, why := parseDpkg(a)
	if why != "" {
		return 0, invalid("dpkg", a, why)
	}
	vb, why := parseDpkg(b)
	if why != "" {
		return 0, invalid("dpkg", b, why)
	}
	if c := compareDigits(va.epoch, vb.epoch); c != 0 {
		return c, nil
	}
	if c := verrevcmp(va.upstream, vb.upstream); c != 0 {
		return c, nil
	}
	return verrevcmp(va.revision, vb.revision), nil
}

// Valid is stricter than Compare: dpkg orders a version that begins with a
// letter or holds a foreign character, but warns that it is none.
func (dpkg) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	p, why := parseDpkg(v)
	if why != "" {
		return invalid("dpkg", v, why)
	}
	if !isDigit(p.upstream[0]) {
		return invalid("dpkg", v, "the upstream version must begin with a digit")
	}
	for i := 0; i < len(p.upstream); i++ {
		if c := p.upstream[i]; !isAlnum(c) && !strings.ContainsRune(".-+~:", rune(c)) {
			return invalid("dpkg", v, "a character is not allowed in the upstream version")
		}
	}
	for i := 0; i < len(p.revision); i++ {
		if c := p.revision[i]; !isAlnum(c) && !strings.ContainsRune(".+~", rune(c)) {
			return invalid("dpkg", v, "a character is not allowed in the revision")
		}
	}
	return nil
}

type dpkgVersion struct{ epoch, upstream, revision string }

// parseDpkg splits as parseversion() of dpkg does: the epoch ends at the first
// colon, the revision begins after the last hyphen. The second result is the
// reason why dpkg refuses the version, or "".
func parseDpkg(s string) (dpkgVersion, string) {
	var v dpkgVersion
	if s == "" || isSpace(s[0]) || isSpace(s[len(s)-1]) {
		if s = trimSpace(s); s == "" {
			return v, "it is empty"
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' && isSpace(s[i]) {
			return v, "it has a blank inside"
		}
	}
	colon, hyphen := strings.IndexByte(s, ':'), strings.LastIndexByte(s, '-')
	if colon >= 0 {
		v.epoch = s[:colon]
		if v.epoch == "" {
			return v, "the epoch is empty"
		}
		if !allDigits(v.epoch) {
			return v, "the epoch is not a number"
		}
		// dpkg keeps the epoch in an int.
		if compareDigits(v.epoch, "2147483647") > 0 {
			return v, "the epoch is too big"
		}
	}
	if hyphen > colon {
		v.upstream, v.revision = s[colon+1:hyphen], s[hyphen+1:]
		if v.revision == "" {
			return v, "the revision behind the hyphen is empty"
		}
	} else {
		v.upstream = s[colon+1:]
	}
	if v.upstream == "" {
		return v, "the upstream version is empty"
	}
	return v, ""
}

// dpkgOrder is order() of dpkg: '~' sorts before everything, even the end; then
// the end and digits, then letters, then the rest.
func dpkgOrder(c byte) int {
	switch {
	case isDigit(c):
		return 0
	case isAlpha(c):
		return int(c)
	case c == '~':
		return -1
	}
	return int(c) + 256
}

// verrevcmp compares alternating runs of non-digits and digits, as the function
// of that name in dpkg. The absence of a character weighs as a digit does: 0.
//
// Versions that are compared mostly begin alike, so it starts where they differ,
// or where the number they differ in begins.
func verrevcmp(a, b string) int {
	i := commonPrefix(a, b)
	if i == len(a) && i == len(b) {
		return 0
	}
	for i > 0 && isDigit(a[i-1]) {
		i--
	}
	j := i
	for i < len(a) || j < len(b) {
		for (i < len(a) && !isDigit(a[i])) || (j < len(b) && !isDigit(b[j])) {
			x, y := 0, 0
			if i < len(a) {
				x = dpkgOrder(a[i])
			}
			if j < len(b) {
				y = dpkgOrder(b[j])
			}
			if x != y {
				return compareInts(x, y)
			}
			// Equal weights are equal bytes here: a digit or the end (0) on
			// one side faces a non-digit of weight other than 0.
			i++
			j++
		}
		m, n := i, j
		for i < len(a) && isDigit(a[i]) {
			i++
		}
		for j < len(b) && isDigit(b[j]) {
			j++
		}
		if c := compareDigits(a[m:i], b[n:j]); c != 0 {
			return c
		}
	}
	return 0
}

// trimSpace cuts ASCII white space at both ends.
func trimSpace(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// Opam returns the order of OCaml's opam: Debian's comparison of runs over the
// whole string, without epoch and revision
// (https://opam.ocaml.org/doc/Manual.html#version-ordering).
func Opam() Scheme { return opam{} }

type opam struct{}

func (opam) Name() string { return "opam" }

func (o opam) Compare(a, b string) (int, error) {
	if err := o.orderable(a); err != nil {
		return 0, err
	}
	if err := o.orderable(b); err != nil {
		return 0, err
	}
	return verrevcmp(a, b), nil
}

func (opam) orderable(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	if v == "" {
		return invalid("opam", v, "it is empty")
	}
	return nil
}

func (o opam) Valid(v string) error {
	if err := o.orderable(v); err != nil {
		return err
	}
	for i := 0; i < len(v); i++ {
		if c := v[i]; !isAlnum(c) && !strings.ContainsRune("-_+.~", rune(c)) {
			return invalid("opam", v, "only letters, digits and - _ + . ~ are allowed")
		}
	}
	return nil
}
