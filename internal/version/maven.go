package version

// Maven returns the order of Maven's ComparableVersion
// (https://maven.apache.org/pom.html#version-order-specification, and the class
// of that name in maven-artifact 3.8).
//
// A version is a list of numbers and words; every hyphen and every change
// between digits and letters opens a list inside the list, as its last element.
// So a version is a chain of levels, and here it is kept as that: one flat run
// of items and marks where a level begins.
//
// A word behind a dot stays in the list of the numbers. With that the class makes
// no order where zeros stand before such a word: 1 < 1-x < 1.0.alpha < 1. Maven
// 3.9 repaired it by reading ".alpha" as "-alpha", and so reordered published
// versions (1.5.9.RC1 is older than 1.5.9-RC0 before, newer since). The recorded
// comparisons are those of 3.8, and so are these.
func Maven() Scheme { return maven{} }

type maven struct{}

func (maven) Name() string { return "maven" }

// Compare orders any two strings, as Maven does.
func (maven) Compare(a, b string) (int, error) {
	if err := tooLong(a, b); err != nil {
		return 0, err
	}
	if a == b {
		return 0, nil
	}
	// 32 items are enough for every version in the corpus; a longer one moves to
	// the heap, bounded by MaxLength.
	var bufA, bufB [32]mavenItem
	return compareMaven(a, parseMaven(bufA[:0], a), b, parseMaven(bufB[:0], b)), nil
}

// Valid asks only for what a repository path needs; to Maven any string is a
// version.
func (maven) Valid(v string) error {
	if err := tooLong(v, ""); err != nil {
		return err
	}
	if v == "" {
		return invalid("maven", v, "it is empty")
	}
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c <= ' ', c == 0x7f:
			return invalid("maven", v, "a blank or control character is not allowed")
		case c == '/', c == '\\', c == ':', c == '"', c == '<', c == '>', c == '|', c == '?', c == '*':
			return invalid("maven", v, `none of \ / : " < > | ? * is allowed`)
		case c == '$' && i+1 < len(v) && v[i+1] == '{':
			return invalid("maven", v, "a property is not resolved")
		}
	}
	return nil
}

// mavenItem is a number or a word of a version, or the start of a level.
type mavenItem struct {
	from, to uint16
	kind     uint8
	rank     uint8 // of a word
}

const (
	mavenNumber = iota
	mavenWord
	mavenLevel // a list begins; the rest of the version is in it
)

// The words Maven knows, oldest first. The release is the empty word.
const (
	mavenAlpha = iota
	mavenBeta
	mavenMilestone
	mavenCandidate
	mavenSnapshot
	mavenRelease
	mavenServicePack
	mavenUnknown // compared as text
)

func parseMaven(items []mavenItem, s string) []mavenItem {
	start, digit := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '.' || c == '-':
			items = appendMaven(items, s, start, i, digit, false)
			start = i + 1
			if c == '-' {
				items = openMaven(items)
			}
		case isDigit(c):
			if !digit && i > start {
				items = appendMaven(items, s, start, i, false, true)
				start = i
				items = openMaven(items)
			}
			digit = true
		default:
			if digit && i > start {
				items = appendMaven(items, s, start, i, true, false)
				start = i
				items = openMaven(items)
			}
			digit = false
		}
	}
	if start < len(s) {
		items = appendMaven(items, s, start, len(s), digit, false)
	}
	return trimMaven(items)
}

func appendMaven(items []mavenItem, s string, from, to int, digit, beforeDigit bool) []mavenItem {
	it := mavenItem{from: uint16(from), to: uint16(to)}
	if from < to {
		if digit {
			for from < to && s[from] == '0' {
				from++
			}
			it.from = uint16(from)
		} else {
			it.kind, it.rank = mavenWord, mavenRank(s[from:to], beforeDigit)
		}
	}
	return append(items, it)
}

// openMaven begins a level. The level before has ended, but for the level that
// is its last element: zeros and empty words at its end do not count, even
// though another level follows (ListItem.normalize).
//
// A level that has nothing but such items is the same level still: 1-ga-1 is
// 1-1, as the specification trims it. (Maven 3.8 nests one list deeper then, and
// makes 1-ga-1 older than 1-1.)
func openMaven(items []mavenItem) []mavenItem {
	items = trimLevel(items)
	if n := len(items); n > 0 && items[n-1].kind == mavenLevel {
		return items
	}
	return append(items, mavenItem{kind: mavenLevel})
}

func trimLevel(items []mavenItem) []mavenItem {
	for len(items) > 0 && items[len(items)-1].null() {
		items = items[:len(items)-1]
	}
	return items
}

// trimMaven removes what is null at the end of the version: a level that is
// empty makes the one before it end earlier.
func trimMaven(items []mavenItem) []mavenItem {
	for {
		items = trimLevel(items)
		if len(items) == 0 || items[len(items)-1].kind != mavenLevel {
			return items
		}
		items = items[:len(items)-1]
	}
}

// null: the item equals nothing. A number has lost its leading zeros.
func (it mavenItem) null() bool {
	switch it.kind {
	case mavenNumber:
		return it.from == it.to
	case mavenWord:
		return it.rank == mavenRelease
	}
	return false
}

func mavenRank(s string, beforeDigit bool) uint8 {
	if len(s) == 1 && beforeDigit {
		switch lower(s[0]) {
		case 'a':
			return mavenAlpha
		case 'b':
			return mavenBeta
		case 'm':
			return mavenMilestone
		}
		return mavenUnknown
	}
	switch lower(s[0]) {
	case 'a':
		if equalFold(s, "alpha") {
			return mavenAlpha
		}
	case 'b':
		if equalFold(s, "beta") {
			return mavenBeta
		}
	case 'm':
		if equalFold(s, "milestone") {
			return mavenMilestone
		}
	case 'c':
		if equalFold(s, "cr") {
			return mavenCandidate
		}
	case 'r':
		if equalFold(s, "rc") {
			return mavenCandidate
		}
		if equalFold(s, "release") {
			return mavenRelease
		}
	case 's':
		if equalFold(s, "snapshot") {
			return mavenSnapshot
		}
		if equalFold(s, "sp") {
			return mavenServicePack
		}
	case 'g':
		if equalFold(s, "ga") {
			return mavenRelease
		}
	case 'f':
		if equalFold(s, "final") {
			return mavenRelease
		}
	}
	return mavenUnknown
}

// compareMaven compares level by level. A level is the last element of the one
// before, so wherever both sides open one, what came before was equal.
func compareMaven(a string, x []mavenItem, b string, y []mavenItem) int {
	for i := 0; ; i++ {
		switch {
		case i == len(x) && i == len(y):
			return 0
		case i == len(x):
			return -mavenTail(y[i:])
		case i == len(y):
			return mavenTail(x[i:])
		}
		p, q := x[i], y[i]
		if p.kind != q.kind {
			// A number is newer than a list, a list newer than a word.
			return compareInts(mavenKindOrder(p.kind), mavenKindOrder(q.kind))
		}
		c := 0
		switch p.kind {
		case mavenNumber:
			c = compareDigits(a[p.from:p.to], b[q.from:q.to])
		case mavenWord:
			c = compareInts(int(p.rank), int(q.rank))
			if c == 0 && p.rank == mavenUnknown {
				c = compareFold(a[p.from:p.to], b[q.from:q.to])
			}
		}
		if c != 0 {
			return c
		}
	}
}

func mavenKindOrder(k uint8) int {
	switch k {
	case mavenNumber:
		return 2
	case mavenLevel:
		return 1
	}
	return 0
}

// mavenTail compares the rest of a version with nothing, item by item.
func mavenTail(rest []mavenItem) int {
	for _, it := range rest {
		switch it.kind {
		case mavenNumber:
			if it.from != it.to {
				return 1
			}
		case mavenWord:
			if c := compareInts(int(it.rank), mavenRelease); c != 0 {
				return c
			}
		}
	}
	return 0
}
