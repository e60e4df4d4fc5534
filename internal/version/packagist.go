package version

// Packagist returns the order of PHP's version_compare()
// (ext/standard/versioning.c), which Composer uses, after a leading v: dev <
// alpha < beta < RC < a number < pl. Other words are older than dev.
//
// Composer pads versions to four numbers before it compares, version_compare
// does not: 1.0 is older than 1.0.0 here, as in the test corpus.
func Packagist() Scheme { return packagist{} }

type packagist struct{}

func (packagist) Name() string { return "packagist" }

func (packagist) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	x, y := phpTrim(a), phpTrim(b)
	if x == "" {
		return 0, invalid("packagist", a, "it is empty")
	}
	if y == "" {
		return 0, invalid("packagist", b, "it is empty")
	}
	return comparePHP(x, y), nil
}

func (packagist) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	s := phpTrim(v)
	if s == "" {
		return invalid("packagist", v, "it is empty")
	}
	if !isAlnum(s[0]) {
		return invalid("packagist", v, "want a number or a branch first")
	}
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return invalid("packagist", v, "want printable ASCII without blanks")
		}
	}
	return nil
}

func phpTrim(s string) string {
	if s != "" && (s[0] == 'v' || s[0] == 'V') {
		return s[1:]
	}
	return s
}

// phpPart returns the first part of s and the rest: a run of digits or a run of
// other characters; separators (. - _ +) end it and are skipped. Where separators
// begin or end a version, version_compare() compares an empty part, and so finds
// 1.0. older than itself; here they do not count.
func phpPart(s string) (part, rest string) {
	for s != "" && phpSeparator(s[0]) {
		s = s[1:]
	}
	if s == "" {
		return "", ""
	}
	n, d := 1, isDigit(s[0])
	for n < len(s) && !phpSeparator(s[n]) && isDigit(s[n]) == d {
		n++
	}
	return s[:n], s[n:]
}

func phpSeparator(c byte) bool { return c == '.' || c == '-' || c == '_' || c == '+' }

func comparePHP(a, b string) int {
	for {
		var x, y string
		x, a = phpPart(a)
		y, b = phpPart(b)
		switch {
		case x == "" && y == "":
			return 0
		case x == "":
			if isDigit(y[0]) {
				return -1
			}
		case y == "":
			if isDigit(x[0]) {
				return 1
			}
		case isDigit(x[0]) && isDigit(y[0]):
			if c := compareDigits(x, y); c != 0 {
				return c
			}
			continue
		}
		if c := compareInts(phpRank(x), phpRank(y)); c != 0 {
			return c
		}
	}
}

// phpRank is the table of version_compare(); a number, and the end where a word
// faces it, rank as "#".
func phpRank(s string) int {
	switch {
	case s == "" || isDigit(s[0]) || s[0] == '#':
		return 4
	case hasPrefix(s, "dev"):
		return 0
	case s[0] == 'a':
		return 1
	case s[0] == 'b':
		return 2
	case hasPrefix(s, "RC"), hasPrefix(s, "rc"):
		return 3
	case s[0] == 'p':
		return 5
	}
	return -1
}

func hasPrefix(s, p string) bool { return len(s) >= len(p) && s[:len(p)] == p }
