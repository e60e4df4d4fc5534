package version

// PEP440 returns the order of Python's packaging.version
// (https://packaging.python.org/specifications/version-specifiers/), for PyPI.
//
// Strings that are no PEP 440 version are ordered before all that are, and among
// themselves as setuptools once ordered them: the order packaging called
// LegacyVersion until it was removed in release 22.
func PEP440() Scheme { return pep440{} }

type pep440 struct{}

func (pep440) Name() string { return "pep440" }

func (pep440) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	va, okA := parsePEP440(a)
	vb, okB := parsePEP440(b)
	switch {
	case okA && okB:
		return va.compare(&vb), nil
	case okA:
		return 1, nil
	case okB:
		return -1, nil
	}
	return compareLegacy(a, b), nil
}

func (pep440) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	if _, ok := parsePEP440(v); !ok {
		return invalid("pep440", v, "want [N!]N(.N)*[{a|b|rc}N][.postN][.devN][+local]")
	}
	return nil
}

// pep440Version holds the parts as substrings; a missing number reads as zero.
type pep440Version struct {
	epoch, release   string
	pre              byte // 'a', 'b', 'r' (release candidate), or 0
	preN             string
	post             bool
	postN            string
	dev              bool
	devN             string
	local            string
	preRank, devRank int8
}

// The places of a pre-release in the order, after packaging's _cmpkey: 1.0.dev1
// without pre- or post-release comes before 1.0a1; a version without pre-release
// comes after its release candidates.
const (
	rankDevOnly = iota
	rankAlpha
	rankBeta
	rankCandidate
	rankNoPre
)

// parsePEP440 reads the grammar of PEP 440 appendix B.
func parsePEP440(s string) (v pep440Version, ok bool) {
	s = trimSpace(s)
	if s != "" && lower(s[0]) == 'v' {
		s = s[1:]
	}
	n := digits(s)
	if n == 0 {
		return v, false
	}
	if n < len(s) && s[n] == '!' {
		v.epoch, s = s[:n], s[n+1:]
		if n = digits(s); n == 0 {
			return v, false
		}
	}
	for n+1 < len(s) && s[n] == '.' && isDigit(s[n+1]) {
		n += 1 + digits(s[n+1:])
	}
	v.release, s = s[:n], s[n:]
	v.preRank, v.devRank = rankNoPre, 1
	if s == "" {
		return v, true
	}
	s = v.parsePre(s)
	s = v.parsePost(s)
	if w, rest := pepWord(s, "dev"); w {
		v.dev, v.devRank = true, 0
		v.devN, s = pepNumber(rest)
	}
	switch {
	case v.pre == 'a':
		v.preRank = rankAlpha
	case v.pre == 'b':
		v.preRank = rankBeta
	case v.pre == 'r':
		v.preRank = rankCandidate
	case v.dev && !v.post:
		v.preRank = rankDevOnly
	}
	if s == "" {
		return v, true
	}
	if s[0] != '+' || !pepLocal(s[1:]) {
		return v, false
	}
	v.local = s[1:]
	return v, true
}

func (v *pep440Version) parsePre(s string) string {
	var words []string
	var kind byte
	switch pepLetter(s) {
	case 'a':
		words, kind = []string{"alpha", "a"}, 'a'
	case 'b':
		words, kind = []string{"beta", "b"}, 'b'
	case 'c':
		words, kind = []string{"c"}, 'r'
	case 'p':
		words, kind = []string{"preview", "pre"}, 'r'
	case 'r':
		words, kind = []string{"rc"}, 'r'
	}
	for _, w := range words {
		if ok, rest := pepWord(s, w); ok {
			v.pre = kind
			v.preN, rest = pepNumber(rest)
			return rest
		}
	}
	return s
}

// pepLetter returns the first letter of s in lower case, one separator before it
// allowed; 0 when there is none.
func pepLetter(s string) byte {
	if s != "" && pepSeparator(s[0]) {
		s = s[1:]
	}
	if s != "" && isAlpha(s[0]) {
		return lower(s[0])
	}
	return 0
}

func (v *pep440Version) parsePost(s string) string {
	// The implicit spelling: 1.0-1.
	if len(s) > 1 && s[0] == '-' && isDigit(s[1]) {
		n := 1 + digits(s[1:])
		v.post, v.postN = true, s[1:n]
		return s[n:]
	}
	var words []string
	switch pepLetter(s) {
	case 'p':
		words = []string{"post"}
	case 'r':
		words = []string{"rev", "r"}
	}
	for _, word := range words {
		if ok, rest := pepWord(s, word); ok {
			v.post = true
			v.postN, rest = pepNumber(rest)
			return rest
		}
	}
	return s
}

// pepWord reports whether s begins with the word, one separator before it
// allowed, and returns what follows.
func pepWord(s, word string) (bool, string) {
	if s != "" && pepSeparator(s[0]) {
		s = s[1:]
	}
	if !hasFoldPrefix(s, word) {
		return false, ""
	}
	return true, s[len(word):]
}

// pepNumber reads the number of a pre-, post- or development release, one
// separator before it allowed. The number may be missing, the separator of the
// missing number is still its own: 1.0a- is 1.0a0.
func pepNumber(s string) (number, rest string) {
	if s != "" && pepSeparator(s[0]) {
		s = s[1:]
	}
	n := digits(s)
	return s[:n], s[n:]
}

func pepSeparator(c byte) bool { return c == '.' || c == '-' || c == '_' }

// pepLocal: letters and digits in runs with single separators between them.
func pepLocal(s string) bool {
	for i := 0; i < len(s); i++ {
		if isAlnum(s[i]) {
			continue
		}
		if !pepSeparator(s[i]) || i == 0 || i == len(s)-1 || !isAlnum(s[i-1]) {
			return false
		}
	}
	return s != ""
}

func (v *pep440Version) compare(w *pep440Version) int {
	if c := compareDigits(v.epoch, w.epoch); c != 0 {
		return c
	}
	if c := compareNumbers(v.release, w.release); c != 0 {
		return c
	}
	if c := compareInts(int(v.preRank), int(w.preRank)); c != 0 {
		return c
	}
	if c := compareDigits(v.preN, w.preN); c != 0 {
		return c
	}
	if v.post != w.post {
		if w.post {
			return -1
		}
		return 1
	}
	if c := compareDigits(v.postN, w.postN); c != 0 {
		return c
	}
	if c := compareInts(int(v.devRank), int(w.devRank)); c != 0 {
		return c
	}
	if c := compareDigits(v.devN, w.devN); c != 0 {
		return c
	}
	return compareLocal(v.local, w.local)
}

// compareLocal compares local versions: none is oldest, numbers are newer than
// words, and of two that agree the longer is newer.
func compareLocal(a, b string) int {
	switch {
	case a == "" && b == "":
		return 0
	case a == "":
		return -1
	case b == "":
		return 1
	}
	for {
		i, j := localSegment(a), localSegment(b)
		x, y := allDigits(a[:i]), allDigits(b[:j])
		c := 0
		switch {
		case x && y:
			c = compareDigits(a[:i], b[:j])
		case x:
			return 1
		case y:
			return -1
		default:
			c = compareFold(a[:i], b[:j])
		}
		if c != 0 {
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

func localSegment(s string) int {
	i := 0
	for i < len(s) && !pepSeparator(s[i]) {
		i++
	}
	return i
}
