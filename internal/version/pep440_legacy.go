package version

// legacyPart is one element of setuptools' comparison key, as a span of the
// string. Kinds are in the order of their first byte in the original, where
// every word is marked with '*' and numbers are padded with zeros to eight.
type legacyPart struct {
	from, to uint16
	kind     uint8
}

const (
	legacyWord   = iota // compared as text
	legacyFinal         // the end: "*final"
	legacyHyphen        // "*final-"
	legacyNumber
)

// compareLegacy is the order of packaging's LegacyVersion (_legacy_cmpkey), which
// was that of setuptools' parse_version before PEP 440.
func compareLegacy(a, b string) int {
	// 48 parts are enough for every legacy version ever published; a longer one
	// moves to the heap, bounded by MaxLength.
	var bufA, bufB [48]legacyPart
	x, y := legacyParts(bufA[:0], a), legacyParts(bufB[:0], b)
	for i := range min(len(x), len(y)) {
		if c := compareLegacyPart(a, x[i], b, y[i]); c != 0 {
			return c
		}
	}
	return compareInts(len(x), len(y))
}

func legacyParts(parts []legacyPart, s string) []legacyPart {
	for i := 0; i < len(s); {
		p := legacyPart{from: uint16(i), kind: legacyWord}
		switch c := s[i]; {
		case isDigit(c):
			p.kind = legacyNumber
			i += digits(s[i:])
		case isAlpha(c):
			for i < len(s) && isAlpha(s[i]) {
				i++
			}
		case c == '.':
			i++
			continue
		case c == '-':
			p.kind = legacyHyphen
			i++
		default:
			for i < len(s) && !isAlnum(s[i]) && s[i] != '.' && s[i] != '-' {
				i++
			}
		}
		p.to = uint16(i)
		parts = appendLegacy(parts, s, p)
	}
	return appendLegacy(parts, s, legacyPart{kind: legacyFinal})
}

// appendLegacy appends p after removing what p makes meaningless: hyphens before
// a pre-release, zeros before any word.
func appendLegacy(parts []legacyPart, s string, p legacyPart) []legacyPart {
	if p.kind == legacyNumber {
		return append(parts, p)
	}
	if p.kind == legacyWord && compareFold(legacyText(s, p), "final") < 0 {
		for len(parts) > 0 && parts[len(parts)-1].kind == legacyHyphen {
			parts = parts[:len(parts)-1]
		}
	}
	for len(parts) > 0 {
		last := parts[len(parts)-1]
		// Only zeros of up to eight digits become the "00000000" that is removed.
		if last.kind != legacyNumber || last.to-last.from > 8 || trimZeros(s[last.from:last.to]) != "" {
			break
		}
		parts = parts[:len(parts)-1]
	}
	return append(parts, p)
}

// legacyText is a word as it is compared: pre, preview and rc read c, dev reads
// "@", which sorts before every letter. Case is folded by the comparison, so the
// result may hold capital letters.
func legacyText(s string, p legacyPart) string {
	switch p.kind {
	case legacyFinal:
		return "final"
	case legacyHyphen:
		return "final-"
	}
	w := s[p.from:p.to]
	switch {
	case equalFold(w, "pre"), equalFold(w, "preview"), equalFold(w, "rc"):
		return "c"
	case equalFold(w, "dev"):
		return "@"
	}
	return w
}

func equalFold(s, lowered string) bool {
	return len(s) == len(lowered) && hasFoldPrefix(s, lowered)
}

func compareLegacyPart(a string, p legacyPart, b string, q legacyPart) int {
	switch {
	case p.kind == legacyNumber && q.kind == legacyNumber:
		return comparePadded(a[p.from:p.to], b[q.from:q.to])
	case p.kind == legacyNumber:
		return 1
	case q.kind == legacyNumber:
		return -1
	}
	return compareFold(legacyText(a, p), legacyText(b, q))
}

// comparePadded compares digits as text after padding each to eight with zeros.
func comparePadded(a, b string) int {
	const width = 8
	for i := 0; ; i++ {
		x, okX := padded(a, i, width)
		y, okY := padded(b, i, width)
		switch {
		case !okX && !okY:
			return 0
		case !okX:
			return -1
		case !okY:
			return 1
		case x != y:
			return compareInts(int(x), int(y))
		}
	}
}

func padded(s string, i, width int) (byte, bool) {
	if pad := width - len(s); pad > 0 {
		if i < pad {
			return '0', true
		}
		i -= pad
	}
	if i < len(s) {
		return s[i], true
	}
	return 0, false
}
