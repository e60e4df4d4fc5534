package glob_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk/internal/glob"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "a/b/c", true},
		{"?", "", false},
		{"?", "é", true},
		{"??", "é", false},
		{"*??", "日", false},
		{"*??", "日本", true},
		{"debian:*", "debian:12-slim", true},
		{"debian:*", "evil/debian:12", false},
		{"*/debian:*", "docker.io/library/debian:12", true},
		{"CVE-2021-*", "CVE-2021-44228", true},
		{"cve-2021-*", "CVE-2021-44228", false},
		{"usr/*/su", "usr/bin/su", true},
		{"usr/*/su", "usr/local/bin/su", true},
		{"usr/*/su", "usr/su", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"*ab*ab", "ab", false},
		{"*ab*ab", "abab", true},
		{"*ab*ab*", "xabyabz", true},
		{"*a?c*", "xxabaabc", true},
		{"*a?c*", "xxabac", false},
		{"pages/[id].js", "pages/[id].js", true},
		{"pages/[id].js", "pages/i.js", false},
		{`a\*`, `a\bc`, true},
		{"pkg:deb/*?arch=amd64", "pkg:deb/debian/a@1?arch=amd64", true},
		{"**", "x", true},
	} {
		if got := glob.Match(c.pattern, c.s); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
	if glob.MatchAny(nil, "") || !glob.MatchAny([]string{"x", "a*"}, "ab") {
		t.Error("MatchAny")
	}
}

// naive is the definition, written down as simply as possible and exponential.
func naive(p, s []string) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0] == "*":
		return naive(p[1:], s) || len(s) > 0 && naive(p, s[1:])
	case len(s) == 0:
		return false
	}
	return (p[0] == "?" || p[0] == s[0]) && naive(p[1:], s[1:])
}

func characters(s string) (cs []string) {
	for s != "" {
		_, w := utf8.DecodeRuneInString(s)
		cs, s = append(cs, s[:w]), s[w:]
	}
	return cs
}

func FuzzMatch(f *testing.F) {
	f.Add("*a?c*", "xxabac")
	f.Add("*\x97\xa5", "日")
	f.Add("*?\xe6*", "\xe6\x97")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 24 {
			glob.Match(pattern, s)
			return
		}
		if got, want := glob.Match(pattern, s), naive(characters(pattern), characters(s)); got != want {
			t.Errorf("Match(%q, %q) = %v", pattern, s, got)
		}
	})
}

// The pattern that makes backtracking matchers explode. The ratio says how much
// dearer a text of twice the length is; 2 is linear.
func BenchmarkHostile(b *testing.B) {
	pattern := strings.Repeat("*a", 50) + "*b"
	for _, n := range []int{1 << 12, 1 << 16} {
		s := strings.Repeat("a", n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				glob.Match(pattern, s)
			}
		})
	}
}
