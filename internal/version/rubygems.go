package version

// RubyGems returns the order of Gem::Version (rubygems/version.rb): runs of
// digits and runs of letters; a word makes a pre-release and is older than any
// number in its place; zeros at the end of the numbers and at the end of the
// whole do not count; a hyphen reads ".pre.".
func RubyGems() Scheme { return rubygems{} }

type rubygems struct{}

func (rubygems) Name() string { return "rubygems" }

func (rubygems) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	if !gemOrderable(a) {
		return 0, invalid("rubygems", a, gemWant)
	}
	if !gemOrderable(b) {
		return 0, invalid("rubygems", b, gemWant)
	}
	return compareGems(a, b), nil
}

const gemWant = "want numbers, then numbers and words, separated by dots"

func (rubygems) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	if !gemGrammar(trimSpace(v)) {
		return invalid("rubygems", v, gemWant)
	}
	return nil
}

// gemOrderable: there is a digit or letter to compare, and nothing that would
// make the string something else than a version. Gem::Version compares the empty
// string as 0 and cuts white space.
func gemOrderable(s string) bool {
	s = trimSpace(s)
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// gemGrammar is VERSION_PATTERN:
// [0-9]+(\.[0-9a-zA-Z]+)*(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?
func gemGrammar(s string) bool {
	n := digits(s)
	if n == 0 {
		return s == ""
	}
	s = s[n:]
	for s != "" && s[0] == '.' {
		n = 1
		for n < len(s) && isAlnum(s[n]) {
			n++
		}
		if n == 1 {
			return false
		}
		s = s[n:]
	}
	if s == "" {
		return true
	}
	if s[0] != '-' {
		return false
	}
	return strictIdentifiers(s[1:]) && len(s) > 1
}

// gemSegments walks over the canonical segments of a version: zeros at the end
// of the leading numbers are skipped where a word follows. Zeros at the very end
// are left to compareGems, which treats them as missing.
type gemSegments struct {
	s       string
	pos     int
	numbers int  // where the leading numbers end, trailing zeros left out
	word    int  // where the first word begins
	pre     bool // the next segment is the "pre" of a hyphen
}

func newGemSegments(s string) gemSegments {
	g := gemSegments{s: s}
	i, zero := 0, true
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case '1' <= c && c <= '9':
			zero = false
			g.numbers = i + 1
		case c == '0':
			if !zero {
				g.numbers = i + 1
			}
		case isAlpha(c), c == '-':
			g.word = i
			return g
		default:
			zero = true
		}
	}
	g.numbers, g.word = len(s), len(s)
	return g
}

// next returns the next segment; false at the end.
func (g *gemSegments) next() (segment string, ok bool) {
	if g.pos >= g.numbers && g.pos < g.word {
		g.pos = g.word
	}
	return g.raw()
}

func (g *gemSegments) raw() (string, bool) {
	if g.pre {
		g.pre = false
		return "pre", true
	}
	for g.pos < len(g.s) && !isAlnum(g.s[g.pos]) {
		g.pos++
		if g.s[g.pos-1] == '-' {
			return "pre", true
		}
	}
	if g.pos == len(g.s) {
		return "", false
	}
	i := g.pos
	if isDigit(g.s[i]) {
		for g.pos < len(g.s) && isDigit(g.s[g.pos]) {
			g.pos++
		}
	} else {
		for g.pos < len(g.s) && isAlpha(g.s[g.pos]) {
			g.pos++
		}
	}
	return g.s[i:g.pos], true
}

func compareGems(a, b string) int {
	x, y := newGemSegments(a), newGemSegments(b)
	for {
		l, okL := x.next()
		r, okR := y.next()
		switch {
		case !okL && !okR:
			return 0
		case !okL:
			return -gemTail(r, &y)
		case !okR:
			return gemTail(l, &x)
		}
		dl, dr := isDigit(l[0]), isDigit(r[0])
		switch {
		case dl && dr:
			if c := compareDigits(l, r); c != 0 {
				return c
			}
		case dl:
			return 1
		case dr:
			return -1
		default:
			if c := compareBytes(l, r); c != 0 {
				return c
			}
		}
	}
}

// gemTail weighs what one version has beyond the end of the other: a word makes
// it older, a number other than zero newer.
func gemTail(s string, g *gemSegments) int {
	for ok := true; ok; s, ok = g.next() {
		if !isDigit(s[0]) {
			return -1
		}
		if trimZeros(s) != "" {
			return 1
		}
	}
	return 0
}

// CocoaPods returns the order of Pod::Version: a Gem::Version whose numbers are
// compared first and whose pre-release comes behind a hyphen or begins with a
// word; build metadata does not count (cocoapods-core, version.rb).
func CocoaPods() Scheme { return cocoapods{} }

type cocoapods struct{}

func (cocoapods) Name() string { return "cocoapods" }

func (cocoapods) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, ok := parseSemver(a)
	if !ok {
		return 0, invalid("cocoapods", a, gemWant)
	}
	vb, ok := parseSemver(b)
	if !ok {
		return 0, invalid("cocoapods", b, gemWant)
	}
	if c := compareNumbers(va.core, vb.core); c != 0 {
		return c, nil
	}
	switch {
	case va.pre == "" && vb.pre == "":
		return 0, nil
	case va.pre == "":
		return 1, nil
	case vb.pre == "":
		return -1, nil
	}
	return compareGems(va.pre, vb.pre), nil
}

func (cocoapods) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	p, ok := parseSemver(v)
	if !ok || !isDigit(v[0]) || !strictIdentifiers(p.pre) || !strictIdentifiers(p.build) {
		return invalid("cocoapods", v, gemWant)
	}
	return nil
}
