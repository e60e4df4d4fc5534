package version

// CRAN returns the order of R's package_version, for CRAN and Bioconductor:
// numbers separated by dots or hyphens, compared one by one; of two versions
// with equal numbers the longer is newer, so 1.0 is older than 1.0.0
// (R's base::numeric_version).
func CRAN() Scheme { return cran{} }

type cran struct{}

func (cran) Name() string { return "cran" }

func (c cran) Compare(a, b string) (int, error) {
	if err := c.Valid(a); err != nil {
		return 0, err
	}
	if err := c.Valid(b); err != nil {
		return 0, err
	}
	return compareLists(a, b), nil
}

func (cran) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	if !numberList(v, '.', '-') {
		return invalid("cran", v, "want numbers separated by dots or hyphens")
	}
	return nil
}

// Hackage returns the order of Haskell's package versions: lists of numbers in
// lexicographic order, so 1.0 is older than 1.0.0 (Distribution.Version,
// https://pvp.haskell.org).
func Hackage() Scheme { return hackage{} }

type hackage struct{}

func (hackage) Name() string { return "hackage" }

func (h hackage) Compare(a, b string) (int, error) {
	if err := h.Valid(a); err != nil {
		return 0, err
	}
	if err := h.Valid(b); err != nil {
		return 0, err
	}
	return compareLists(a, b), nil
}

func (hackage) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	if !numberList(v, '.', '.') {
		return invalid("hackage", v, "want numbers separated by dots")
	}
	return nil
}

// numberList reports whether s is one or more numbers with one of two
// separators between them.
func numberList(s string, sep1, sep2 byte) bool {
	for {
		n := digits(s)
		if n == 0 {
			return false
		}
		if n == len(s) {
			return true
		}
		if s[n] != sep1 && s[n] != sep2 {
			return false
		}
		s = s[n+1:]
	}
}

// compareLists compares two strings that numberList accepts.
func compareLists(a, b string) int {
	for {
		i, j := digits(a), digits(b)
		if c := compareDigits(a[:i], b[:j]); c != 0 {
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
