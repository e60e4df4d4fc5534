package version

// RPM returns the order of rpm: rpmVersionCompare() of lib/rpmver and
// rpmvercmp() of rpmio/rpmvercmp.c, tildes and carets included
// (https://rpm.org/docs/latest/manual/dependencies).
func RPM() Scheme { return rpm{} }

type rpm struct{}

func (rpm) Name() string { return "rpm" }

// Compare orders any two strings, as rpm does. A version without a release is
// older than the same version with one.
func (rpm) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	if a == b {
		return 0, nil
	}
	va, vb := parseRPM(a), parseRPM(b)
	if c := compareDigits(va.epoch, vb.epoch); c != 0 {
		return c, nil
	}
	if c := rpmvercmp(va.version, vb.version); c != 0 {
		return c, nil
	}
	switch {
	case va.hasRelease && vb.hasRelease:
		return rpmvercmp(va.release, vb.release), nil
	case va.hasRelease:
		return 1, nil
	case vb.hasRelease:
		return -1, nil
	}
	return 0, nil
}

// Valid refuses what rpmbuild refuses in Version and Release: characters outside
// letters, digits and ._+~^, and a missing version.
func (rpm) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	p := parseRPM(v)
	if p.version == "" {
		return invalid("rpm", v, "it is empty")
	}
	if p.hasRelease && p.release == "" {
		return invalid("rpm", v, "the release behind the hyphen is empty")
	}
	for _, part := range [...]string{p.version, p.release} {
		for i := 0; i < len(part); i++ {
			switch c := part[i]; {
			case isAlnum(c):
			case c == '.', c == '_', c == '+', c == '~', c == '^':
			default:
				return invalid("rpm", v, "only letters, digits and . _ + ~ ^ are allowed in version and release")
			}
		}
	}
	return nil
}

type rpmVersion struct {
	epoch, version, release string
	hasRelease              bool
}

// parseRPM splits as rpm's parseEVR(): an epoch is a run of digits before a
// colon (else the colon belongs to the version), the release begins after the
// last hyphen. No epoch is epoch 0.
func parseRPM(s string) rpmVersion {
	var v rpmVersion
	if i := digits(s); i < len(s) && s[i] == ':' {
		v.epoch, s = s[:i], s[i+1:]
	}
	v.version = s
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '-' {
			v.version, v.release, v.hasRelease = s[:i], s[i+1:], true
			break
		}
	}
	return v
}

// rpmvercmp compares runs of digits and runs of ASCII letters; everything else
// only separates, but for '~', which sorts before the end, and '^', which sorts
// after the end and before anything that goes on.
func rpmvercmp(a, b string) int {
	i := commonPrefix(a, b)
	if i == len(a) && i == len(b) {
		return 0
	}
	// Back to the start of the run they differ in.
	for i > 0 && isAlnum(a[i-1]) {
		i--
	}
	j := i
	for i < len(a) || j < len(b) {
		for i < len(a) && !isAlnum(a[i]) && a[i] != '~' && a[i] != '^' {
			i++
		}
		for j < len(b) && !isAlnum(b[j]) && b[j] != '~' && b[j] != '^' {
			j++
		}
		ta, tb := i < len(a) && a[i] == '~', j < len(b) && b[j] == '~'
		if ta || tb {
			if !ta {
				return 1
			}
			if !tb {
				return -1
			}
			i++
			j++
			continue
		}
		ca, cb := i < len(a) && a[i] == '^', j < len(b) && b[j] == '^'
		if ca || cb {
			switch {
			case i == len(a):
				return -1
			case j == len(b):
				return 1
			case !ca:
				return 1
			case !cb:
				return -1
			}
			i++
			j++
			continue
		}
		if i == len(a) || j == len(b) {
			break
		}
		m, n := i, j
		if isDigit(a[i]) {
			for i < len(a) && isDigit(a[i]) {
				i++
			}
			for j < len(b) && isDigit(b[j]) {
				j++
			}
			// A number is newer than a word in the same place.
			if n == j {
				return 1
			}
			if c := compareDigits(a[m:i], b[n:j]); c != 0 {
				return c
			}
			continue
		}
		for i < len(a) && isAlpha(a[i]) {
			i++
		}
		for j < len(b) && isAlpha(b[j]) {
			j++
		}
		if n == j {
			return -1
		}
		if c := compareBytes(a[m:i], b[n:j]); c != 0 {
			return c
		}
	}
	// One of them has ended; whatever the other still has makes it newer.
	switch {
	case i < len(a):
		return 1
	case j < len(b):
		return -1
	}
	return 0
}
