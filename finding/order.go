package finding

import (
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/version"
)

// order compares the versions of one ecosystem for the choice of an upgrade. It
// always has an answer: where the ecosystem has no order (or refuses a string) runs
// of digits are compared as numbers. That is good enough to prefer one fix over
// another; whether something is affected was decided before, strictly.
type order struct{ scheme version.Scheme }

func orderOf(e bollwerk.Ecosystem) order {
	s, _ := version.For(e)
	return order{s}
}

// compare returns -1, 0 or 1.
func (o order) compare(a, b string) int {
	if a == b {
		return 0
	}
	if o.scheme != nil {
		if c, err := o.scheme.Compare(a, b); err == nil {
			return c
		}
	}
	return natural(a, b)
}

// natural compares runs of digits as numbers and everything else as bytes.
func natural(a, b string) int {
	for a != "" && b != "" {
		ad, bd := digits(a), digits(b)
		if ad > 0 && bd > 0 {
			x, y := strings.TrimLeft(a[:ad], "0"), strings.TrimLeft(b[:bd], "0")
			if len(x) != len(y) {
				if len(x) < len(y) {
					return -1
				}
				return 1
			}
			if c := strings.Compare(x, y); c != 0 {
				return c
			}
			a, b = a[ad:], b[bd:]
			continue
		}
		if a[0] != b[0] {
			if a[0] < b[0] {
				return -1
			}
			return 1
		}
		a, b = a[1:], b[1:]
	}
	return strings.Compare(a, b)
}

func digits(s string) int {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	return i
}
