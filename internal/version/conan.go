package version

// Conan returns the order of Conan 2 (conans/model/version.py): items between
// dots, numbers before words; a letter behind a number is newer, as OpenSSL's
// 1.1.1k is newer than 1.1.1; a pre-release behind a hyphen is older; what
// follows a plus sign makes a version newer.
//
// Conan compares an item that mixes digits and letters as text, even with a
// number, which is no order: 2 < 10 < 1k < 2. Here the digits it begins with
// count as a number first, so 1.1.1k comes between 1.1.1 and 1.1.10.
func Conan() Scheme { return conan{} }

type conan struct{}

func (conan) Name() string { return "conan" }

func (conan) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, vb := parseConan(a), parseConan(b)
	if va.core == "" {
		return 0, invalid("conan", a, conanWant)
	}
	if vb.core == "" {
		return 0, invalid("conan", b, conanWant)
	}
	if c := compareConan(va.core, vb.core); c != 0 {
		return c, nil
	}
	switch {
	case va.pre == vb.pre:
	case va.pre == "":
		return 1, nil
	case vb.pre == "":
		return -1, nil
	default:
		if c := compareConan(va.pre, vb.pre); c != 0 {
			return c, nil
		}
	}
	switch {
	case va.build == vb.build:
		return 0, nil
	case va.build == "":
		return -1, nil
	case vb.build == "":
		return 1, nil
	}
	return compareConan(va.build, vb.build), nil
}

const conanWant = "want items separated by dots, then perhaps -pre-release and +build"

func (conan) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	if parseConan(v).core == "" {
		return invalid("conan", v, conanWant)
	}
	// Conan's own check of a reference: [a-zA-Z0-9_][a-zA-Z0-9_+.-]{0,100}
	for i := 0; i < len(v); i++ {
		if c := v[i]; !isAlnum(c) && c != '_' && c != '+' && c != '.' && c != '-' {
			return invalid("conan", v, "only letters, digits and _ + . - are allowed")
		}
	}
	return nil
}

type conanVersion struct{ core, pre, build string }

func parseConan(s string) conanVersion {
	var v conanVersion
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '+' {
			v.build, s = s[i+1:], s[:i]
			break
		}
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '-' {
			v.pre, s = s[i+1:], s[:i]
			break
		}
	}
	v.core = s
	return v
}

// compareConan compares item by item; zeros at the end do not count.
func compareConan(a, b string) int {
	a, b = trimConan(a), trimConan(b)
	for {
		if a == "" || b == "" {
			return compareInts(len(a), len(b))
		}
		i, j := identifier(a), identifier(b)
		x, y := a[:i], b[:j]
		if c := compareConanItem(x, y); c != 0 {
			return c
		}
		a, b = afterDot(a[i:]), afterDot(b[j:])
	}
}

func compareConanItem(a, b string) int {
	i, j := digits(a), digits(b)
	if i == 0 || j == 0 {
		return compareFold(a, b)
	}
	if c := compareDigits(a[:i], b[:j]); c != 0 {
		return c
	}
	return compareFold(a[i:], b[j:])
}

func trimConan(s string) string {
	for {
		i := len(s)
		for i > 0 && s[i-1] == '0' {
			i--
		}
		if i == len(s) || i == 0 || s[i-1] != '.' {
			return s
		}
		s = s[:i-1]
	}
}
