package version

// APK returns the order of Alpine's apk and of the distributions that use it:
//
//	digit{.digit}…{letter}{_suffix{number}}…{~hash}{-r#}
//
// after apk-tools' src/version.c. Where the versions of apk differ on malformed
// strings, the order is that of apk 2.14 as recorded in the test corpus.
func APK() Scheme { return apk{} }

type apk struct{}

func (apk) Name() string { return "apk" }

// Compare orders any two strings, malformed ones too, as `apk version -t` does.
func (apk) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	if a == b {
		return 0, nil
	}
	x, y := apkFirst(a), apkFirst(b)
	for {
		if x.kind != y.kind {
			return compareInts(y.weight(), x.weight()), nil
		}
		if x.kind == apkEnd {
			return 0, nil
		}
		if c := x.compare(y); c != 0 || x.kind == apkInvalid {
			return c, nil
		}
		x.next()
		y.next()
	}
}

func (apk) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	t := apkFirst(v)
	for t.kind < apkEnd {
		if t.kind == apkRevision && t.value == "" {
			return invalid("apk", v, "the number behind -r is missing")
		}
		t.next()
	}
	if t.kind == apkInvalid {
		return invalid("apk", v, "want digit{.digit}{letter}{_suffix{number}}{~hash}{-r#}")
	}
	return nil
}

// The kinds of token in the order of apk-tools: of two versions that are equal
// so far, the one whose next token has the smaller kind is newer.
const (
	apkInitial = iota
	apkDigit
	apkLetter
	apkSuffix
	apkSuffixNumber
	apkHash
	apkRevision
	apkEnd
	apkInvalid
)

// The suffixes, older than the bare version below apkNone and newer above.
const (
	apkNoSuffix = iota
	apkAlpha
	apkBeta
	apkPre
	apkRC
	apkNone
	apkCVS
	apkSVN
	apkGit
	apkHg
	apkP
)

func apkSuffixRank(s string) int {
	switch s {
	case "alpha":
		return apkAlpha
	case "beta":
		return apkBeta
	case "pre":
		return apkPre
	case "rc":
		return apkRC
	case "cvs":
		return apkCVS
	case "svn":
		return apkSVN
	case "git":
		return apkGit
	case "hg":
		return apkHg
	case "p":
		return apkP
	}
	return apkNoSuffix
}

// apkToken is the current token and what follows it.
type apkToken struct {
	kind   int
	suffix int
	value  string
	rest   string
}

func apkFirst(s string) apkToken {
	t := apkToken{kind: apkInitial, rest: s}
	if n := digits(s); n > 0 {
		t.value, t.rest = s[:n], s[n:]
	} else {
		t.kind = apkInvalid
	}
	return t
}

// weight extends the order of kinds by the one exception: a suffix that marks a
// pre-release is older than anything else in its place.
func (t *apkToken) weight() int {
	if t.kind == apkSuffix && t.suffix < apkNone {
		return apkInvalid + 1
	}
	return t.kind
}

// compare compares two tokens of one kind.
func (t *apkToken) compare(o apkToken) int {
	switch t.kind {
	case apkDigit:
		// Gentoo's rule: with a leading zero on either side the digits are
		// compared as a fraction, that is as text.
		if t.value[0] == '0' || o.value[0] == '0' {
			return compareBytes(t.value, o.value)
		}
		return compareDigits(t.value, o.value)
	case apkInitial, apkSuffixNumber, apkRevision:
		return compareDigits(t.value, o.value)
	case apkSuffix:
		return compareInts(t.suffix, o.suffix)
	case apkInvalid:
		// apk gives up here. Its releases differ in what they say then; junk
		// behind a hyphen was always equal, other junk is ordered as text.
		return compareBytes(apkJunk(t.rest), apkJunk(o.rest))
	}
	return compareBytes(t.value, o.value)
}

func apkJunk(s string) string {
	if s != "" && s[0] == '-' {
		return "-"
	}
	return s
}

func (t *apkToken) next() {
	s := t.rest
	if s == "" {
		t.kind, t.value = apkEnd, ""
		return
	}
	switch c := s[0]; {
	case isLower(c):
		if t.kind <= apkDigit {
			t.kind, t.value, t.rest = apkLetter, s[:1], s[1:]
			return
		}
	case c == '.':
		if n := digits(s[1:]); n > 0 && t.kind <= apkDigit {
			t.kind, t.value, t.rest = apkDigit, s[1:1+n], s[1+n:]
			return
		}
	case isDigit(c):
		// Digits follow digits only behind a dot; here they number a suffix.
		if t.kind == apkSuffix {
			n := digits(s)
			t.kind, t.value, t.rest = apkSuffixNumber, s[:n], s[n:]
			return
		}
	case c == '_':
		if t.kind <= apkSuffixNumber {
			n := 1
			for n < len(s) && isLower(s[n]) {
				n++
			}
			if r := apkSuffixRank(s[1:n]); r != apkNoSuffix {
				t.kind, t.suffix, t.value, t.rest = apkSuffix, r, s[1:n], s[n:]
				return
			}
		}
	case c == '~':
		if t.kind < apkHash {
			n := 1
			for n < len(s) && (isDigit(s[n]) || 'a' <= s[n] && s[n] <= 'f') {
				n++
			}
			if n > 1 {
				t.kind, t.value, t.rest = apkHash, s[1:n], s[n:]
				return
			}
		}
	case c == '-':
		// "-r" without a number is revision 0, unless a word follows.
		if t.kind < apkRevision && len(s) > 1 && s[1] == 'r' && (len(s) == 2 || !isLower(s[2])) {
			n := 2 + digits(s[2:])
			t.kind, t.value, t.rest = apkRevision, s[2:n], s[n:]
			return
		}
	}
	t.kind, t.value = apkInvalid, ""
}
