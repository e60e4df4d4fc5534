// Package terminal owns how text from outside is made fit to be shown to people:
// what may reach a terminal, how wide it is there, where it is cut and wrapped.
//
// Package names, paths and advisory titles are written by strangers. Printed as
// they are they can move the cursor, recolour a verdict, hide a line (ECMA-48
// control functions), or reverse the reading order of a name (Unicode bidi
// controls, "Trojan Source", CVE-2021-42574).
package terminal

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// Clean returns s on one line with everything that could act on a terminal made
// visible: control characters and invisible format characters (bidi controls,
// zero-width spaces, tags) become \x1b or \u202e, bytes that are not UTF-8 become
// \xff, line breaks and tabs become one space. The result is at most max columns
// wide and ends in … when something was cut; max <= 0 sets no limit.
//
// Characters are made visible rather than dropped: a name with an escape sequence
// in it is itself a finding, and two names must not become one.
func Clean(s string, max int) string {
	if plain(s) && (max <= 0 || len(s) <= max) {
		return s
	}
	// A name of a gigabyte costs no more than what can be shown of it. Escapes only
	// lengthen text, but combining marks have no width; stop at a fixed multiple.
	if max > 0 && len(s) > 16*max+64 {
		cut := 16*max + 64
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		return Truncate(Clean(s[:cut], 0)+"…", max)
	}
	var b strings.Builder
	b.Grow(len(s))
	marks := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[i])
			i++
			continue
		}
		i += n
		switch {
		case r == '\n' || r == '\r' || r == '\t' || r == '\v' || r == '\f' || r == 0x85 || r == 0x2028 || r == 0x2029:
			b.WriteByte(' ')
		case r < 0x20 || (r >= 0x7f && r < 0xa0):
			fmt.Fprintf(&b, `\x%02x`, r)
		case hidden(r):
			if r > 0xffff {
				fmt.Fprintf(&b, `\U%08x`, r)
			} else {
				fmt.Fprintf(&b, `\u%04x`, r)
			}
		case unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r):
			// A pile of combining marks ("zalgo") draws over neighbouring lines.
			if marks++; marks <= 2 {
				b.WriteRune(r)
			}
			continue
		default:
			b.WriteRune(r)
		}
		marks = 0
	}
	if max <= 0 {
		return b.String()
	}
	return Truncate(b.String(), max)
}

// hidden reports characters that are not seen but change what is read.
func hidden(r rune) bool {
	return unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Co, r) || unicode.Is(unicode.Cs, r) ||
		r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0 || // Hangul fillers
		(r >= 0xfe00 && r <= 0xfe0f) || (r >= 0xe0000 && r <= 0xe0fff) // variation selectors, tags
}

// plain reports printable ASCII, the common case.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// Width is the number of columns s takes, for text that Clean has seen: wide East
// Asian characters take two (Unicode UAX #11), combining marks none.
func Width(s string) int {
	if plain(s) {
		return len(s)
	}
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	if r < 0x7f {
		return 1
	}
	if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Me, r) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// Truncate cuts s to at most max columns; the last of them is … when it cut.
func Truncate(s string, max int) string {
	if max <= 0 {
		return ""
	}
	if len(s) <= max || Width(s) <= max {
		return s
	}
	n := 0
	for i, r := range s {
		w := runeWidth(r)
		if n+w > max-1 {
			return s[:i] + "…"
		}
		n += w
	}
	return s
}

// TruncateMiddle cuts s to at most max columns and keeps both ends, for paths: the
// file name says more than the folders.
func TruncateMiddle(s string, max int) string {
	if max < 5 || Width(s) <= max {
		return Truncate(s, max)
	}
	rs := []rune(s)
	tail, w := len(rs), 0
	for tail > 0 && w+runeWidth(rs[tail-1]) <= (max-1)*2/3 {
		tail--
		w += runeWidth(rs[tail])
	}
	head, h := 0, 0
	for head < tail && h+runeWidth(rs[head]) <= max-1-w {
		h += runeWidth(rs[head])
		head++
	}
	return string(rs[:head]) + "…" + string(rs[tail:])
}

// Pad fills s with spaces up to w columns.
func Pad(s string, w int) string {
	if n := w - Width(s); n > 0 {
		return s + strings.Repeat(" ", n)
	}
	return s
}

// Wrap breaks s at spaces into lines of at most w columns; a longer word is cut
// apart. Empty text gives no line.
func Wrap(s string, w int) []string {
	if w < 1 {
		w = 1
	}
	var lines []string
	line, n := "", 0
	flush := func() {
		if line != "" {
			lines = append(lines, line)
		}
		line, n = "", 0
	}
	for _, word := range strings.Fields(s) {
		ww := Width(word)
		if n > 0 && n+1+ww > w {
			flush()
		}
		for ww > w {
			head, cut := 0, len(word)
			for i, r := range word {
				if head+runeWidth(r) > w {
					cut = i
					break
				}
				head += runeWidth(r)
			}
			if cut == 0 { // one character wider than the line
				_, cut = utf8.DecodeRuneInString(word)
			}
			if cut >= len(word) {
				break
			}
			lines = append(lines, word[:cut])
			word = word[cut:]
			ww = Width(word)
		}
		if n > 0 {
			line += " " + word
			n += 1 + ww
		} else {
			line, n = word, ww
		}
	}
	flush()
	return lines
}
