package version

// Go returns the order of Go modules and of Go's own releases.
//
// Modules are semver (golang.org/ref/mod#versions): pseudo-versions are
// pre-releases, "+incompatible" is build metadata, the leading v may be missing
// as it is in the Go vulnerability database.
//
// The standard library and the toolchain appear there as semver too
// ("1.21.0-0", "1.22.0-rc.1"), in binaries as "go1.21.3", "go1.22rc1" or
// "go1.21.3-bigcorp". Both spellings are ordered together: 1.21rc1 is
// 1.21.0-rc.1. Unlike cmd/go's language versions, 1.21 is 1.21.0 here.
func Go() Scheme { return golang{} }

type golang struct{}

func (golang) Name() string { return "go" }

func (golang) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, ok := parseGo(a)
	if !ok {
		return 0, invalid("go", a, goWant)
	}
	vb, ok := parseGo(b)
	if !ok {
		return 0, invalid("go", b, goWant)
	}
	if c := compareNumbers(va.core, vb.core); c != 0 {
		return c, nil
	}
	if !va.loose && !vb.loose {
		return comparePre(va.pre, vb.pre, false), nil
	}
	return compareGoPre(va, vb), nil
}

const goWant = "want v1.2.3, a pseudo-version, or a release like go1.21.3; use the release a development version was built from"

func (golang) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	p, ok := parseGo(v)
	if !ok || components(p.core) > 3 || !strictIdentifiers(p.pre) || !strictIdentifiers(p.build) {
		return invalid("go", v, goWant)
	}
	return nil
}

func parseGo(s string) (semverVersion, bool) {
	if len(s) > 2 && s[0] == 'g' && s[1] == 'o' {
		s = s[2:]
		if !isDigit(s[0]) {
			return semverVersion{}, false
		}
		// What a vendor or an experiment adds does not take part in the order
		// (go/version.Compare): "go1.21.3-bigcorp", "go1.21.3 X:boringcrypto".
		for i := 0; i < len(s); i++ {
			if s[i] == '-' || s[i] == ' ' || s[i] == '+' {
				s = s[:i]
				break
			}
		}
	}
	v, ok := parseSemver(s)
	// The only pre-release without a hyphen is that of a Go release: a word and
	// a number.
	if ok && v.loose && v.hasPre {
		n := 0
		for n < len(v.pre) && isLower(v.pre[n]) {
			n++
		}
		if n == 0 || !allDigits(v.pre[n:]) {
			return v, false
		}
	}
	return v, ok
}

// compareGoPre compares when at least one side is spelled "rc1": the word and
// the number are two identifiers.
func compareGoPre(a, b semverVersion) int {
	switch {
	case a.pre == "" && b.pre == "":
		return 0
	case a.pre == "":
		return 1
	case b.pre == "":
		return -1
	}
	x, y := a.pre, b.pre
	for {
		i, restX := goIdentifier(x, a.loose)
		j, restY := goIdentifier(y, b.loose)
		if c := compareIdentifier(x[:i], y[:j], false); c != 0 {
			return c
		}
		switch {
		case restX < 0 && restY < 0:
			return 0
		case restX < 0:
			return -1
		case restY < 0:
			return 1
		}
		x, y = x[restX:], y[restY:]
	}
}

// goIdentifier returns the length of the first identifier and where the next
// one begins, -1 when there is none.
func goIdentifier(s string, loose bool) (length, next int) {
	if loose {
		n := 0
		for n < len(s) && isLower(s[n]) {
			n++
		}
		if n > 0 && n < len(s) {
			return n, n
		}
		return len(s), -1
	}
	n := identifier(s)
	if n == len(s) {
		return n, -1
	}
	return n, n + 1
}
