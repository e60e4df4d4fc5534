// Package glob owns the one pattern syntax of the product: in exceptions, in
// policies, on the command line.
package glob

import (
	"strings"
	"unicode/utf8"
)

// Match reports whether the whole of s matches the pattern: * stands for any run
// of characters, slashes included and possibly none, ? for exactly one, anything
// else for itself. There is no escape and no bracket: paths with brackets
// (Next.js has "[id].js") are far more frequent than a wish for character classes,
// and a pattern that cannot be malformed needs no error. Matching is case-sensitive.
//
// A character is a UTF-8 sequence; a byte that is not part of one is a character
// of its own.
//
// Patterns and texts both come from strangers, hence no recursion and no
// backtracking over more than the last star: the work is linear in len(s) for
// patterns without ?, and at most len(pattern)·len(s) with it.
func Match(pattern, s string) bool {
	seg, rest, star := strings.Cut(pattern, "*")
	n, ok := prefix(seg, s)
	if !ok {
		return false
	}
	s = s[n:]
	if !star {
		return s == ""
	}
	// Every part between two stars may take the first place where it fits: a later
	// one would only leave less for the parts that follow.
	for {
		seg, rest, star = strings.Cut(rest, "*")
		if !star {
			return suffix(seg, s)
		}
		end, ok := find(seg, s)
		if !ok {
			return false
		}
		s = s[end:]
	}
}

// MatchAny reports whether s matches one of the patterns.
func MatchAny(patterns []string, s string) bool {
	for _, p := range patterns {
		if Match(p, s) {
			return true
		}
	}
	return false
}

// prefix matches seg, which has no star, at the beginning of s and returns how
// many bytes of s it took.
func prefix(seg, s string) (n int, ok bool) {
	for seg != "" {
		if n == len(s) {
			return 0, false
		}
		_, sw := utf8.DecodeRuneInString(s[n:])
		_, pw := utf8.DecodeRuneInString(seg)
		if seg[0] != '?' && (pw != sw || seg[:pw] != s[n:n+sw]) {
			return 0, false
		}
		seg, n = seg[pw:], n+sw
	}
	return n, true
}

// suffix matches seg, which has no star, at the end of s.
func suffix(seg, s string) bool {
	at := len(s)
	for range utf8.RuneCountInString(seg) {
		if at == 0 {
			return false
		}
		_, w := utf8.DecodeLastRuneInString(s[:at])
		at -= w
	}
	n, ok := prefix(seg, s[at:])
	return ok && at+n == len(s)
}

// find returns the end of the first place in s where seg fits.
func find(seg, s string) (end int, ok bool) {
	if !strings.Contains(seg, "?") && utf8.ValidString(seg) {
		// In UTF-8 a valid sequence is never found in the middle of another.
		i := strings.Index(s, seg)
		return i + len(seg), i >= 0
	}
	for at := 0; ; {
		if n, ok := prefix(seg, s[at:]); ok {
			return at + n, true
		}
		if at == len(s) {
			return 0, false
		}
		_, w := utf8.DecodeRuneInString(s[at:])
		at += w
	}
}
