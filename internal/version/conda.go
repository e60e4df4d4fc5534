package version

// Conda returns the order of conda's VersionOrder (conda/models/version.py):
// [epoch!]version[+local], components separated by dots and underscores, each a
// run of numbers and words. "dev" is older than any other word, a word older
// than a number, "post" newer than any number; a missing part is zero.
func Conda() Scheme { return conda{} }

type conda struct{}

func (conda) Name() string { return "conda" }

func (conda) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, why := parseConda(a)
	if why != "" {
		return 0, invalid("conda", a, why)
	}
	vb, why := parseConda(b)
	if why != "" {
		return 0, invalid("conda", b, why)
	}
	if c := compareDigits(va.epoch, vb.epoch); c != 0 {
		return c, nil
	}
	if c := compareConda(va.version, vb.version); c != 0 {
		return c, nil
	}
	return compareConda(va.local, vb.local), nil
}

func (conda) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	if _, why := parseConda(v); why != "" {
		return invalid("conda", v, why)
	}
	return nil
}

type condaVersion struct{ epoch, version, local string }

func parseConda(s string) (condaVersion, string) {
	var v condaVersion
	s = trimSpace(s)
	if s == "" {
		return v, "it is empty"
	}
	hyphen, underscore := false, false
	bang, plus := -1, -1
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isAlnum(c), c == '.':
		case c == '_':
			underscore = true
		case c == '-':
			hyphen = true
		case c == '!':
			if bang >= 0 {
				return v, "it has two epochs"
			}
			bang = i
		case c == '+':
			if plus >= 0 {
				return v, "it has two local versions"
			}
			plus = i
		default:
			return v, "want letters, digits and . _ + !"
		}
	}
	// conda reads a hyphen as an underscore where there is no underscore.
	if hyphen && underscore {
		return v, "it has hyphens and underscores"
	}
	if plus >= 0 {
		v.local = s[plus+1:]
		if v.local == "" {
			return v, "nothing follows the +"
		}
		if bang > plus {
			return v, "the epoch must come first"
		}
		s = s[:plus]
	}
	if bang >= 0 {
		v.epoch, s = s[:bang], s[bang+1:]
		if !allDigits(v.epoch) {
			return v, "the epoch is not a number"
		}
	}
	// One underscore at the end belongs to the last word (openssl's 1.0.2_).
	if s == "" || condaEmptyComponent(s) {
		return v, "a component is empty"
	}
	if v.local != "" && (condaEmptyComponent(v.local) || !isAlnum(v.local[len(v.local)-1])) {
		return v, "a component of the local version is empty"
	}
	v.version = s
	return v, ""
}

func condaSeparator(s string, i int) bool {
	switch s[i] {
	case '.':
		return true
	case '_', '-':
		return i != len(s)-1
	}
	return false
}

func condaEmptyComponent(s string) bool {
	empty := true
	for i := 0; i < len(s); i++ {
		if condaSeparator(s, i) {
			if empty {
				return true
			}
			empty = true
			continue
		}
		empty = false
	}
	return empty
}

// condaComponent walks over one component.
type condaComponent struct {
	s     string
	first bool
}

// next returns the next run of digits or of other characters; a component that
// begins with a word has a zero before it. "" when it has ended.
func (c *condaComponent) next() string {
	if c.s == "" {
		return ""
	}
	d := isDigit(c.s[0])
	if c.first {
		c.first = false
		if !d {
			return "0"
		}
	}
	n := 1
	for n < len(c.s) && isDigit(c.s[n]) == d {
		n++
	}
	run := c.s[:n]
	c.s = c.s[n:]
	return run
}

func compareConda(a, b string) int {
	for a != "" || b != "" {
		var x, y condaComponent
		x, a = condaCut(a)
		y, b = condaCut(b)
		for {
			p, q := x.next(), y.next()
			if p == "" && q == "" {
				break
			}
			if c := compareCondaRun(p, q); c != 0 {
				return c
			}
		}
	}
	return 0
}

func condaCut(s string) (condaComponent, string) {
	for i := range len(s) {
		if condaSeparator(s, i) {
			return condaComponent{s: s[:i], first: true}, s[i+1:]
		}
	}
	return condaComponent{s: s, first: true}, ""
}

func compareCondaRun(a, b string) int {
	ra, rb := condaRank(a), condaRank(b)
	switch {
	case ra != rb:
		return compareInts(ra, rb)
	case ra == condaNumber:
		return compareDigits(a, b)
	case ra == condaWord:
		return compareFold(a, b)
	}
	return 0
}

const (
	condaDev = iota
	condaWord
	condaNumber
	condaPost
)

func condaRank(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return condaNumber
	case equalFold(s, "dev"):
		return condaDev
	case equalFold(s, "post"):
		return condaPost
	}
	return condaWord
}
