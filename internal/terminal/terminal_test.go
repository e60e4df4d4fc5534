package terminal

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"plain", 0, "plain"},
		{"plain", 3, "pl…"},
		{"a\x1b[31mb", 0, `a\x1b[31mb`},
		{"a\nb\tc\r", 0, "a b c "},
		{"a\u202eb\u2066\u200bc", 0, `a\u202eb\u2066\u200bc`},
		{"\U000e0041", 0, `\U000e0041`},
		{"bad\xff", 0, `bad\xff`},
		{"\u009b31m", 0, `\x9b31m`},
		{"Grüße", 0, "Grüße"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"e\u0301\u0301\u0301\u0301", 0, "e\u0301\u0301"},
		{"\u3164hidden", 0, `\u3164hidden`},
		{strings.Repeat("x", 1<<20), 10, "xxxxxxxxx…"},
		{"x", -1, "x"},
	} {
		if got := Clean(c.in, c.max); got != c.want {
			t.Errorf("Clean(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
}

func TestTruncateMiddle(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{"app/config/prod.json", 30, "app/config/prod.json"},
		{"app/config/prod.json", 14, "app/c…rod.json"},
		{"abc", 2, "a…"},
		{"日本語日本語日本語", 9, "日本…本語"},
	} {
		if got := TruncateMiddle(c.in, c.max); got != c.want || Width(got) > c.max {
			t.Errorf("%q at %d: %q", c.in, c.max, got)
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in   string
		w    int
		want string
	}{
		{"", 10, ""},
		{"one two three", 7, "one two|three"},
		{"averyverylongword x", 5, "avery|veryl|ongwo|rd x"},
		{"日本語日本語", 4, "日本|語日|本語"},
		{"日", 1, "日"},
	} {
		if got := strings.Join(Wrap(c.in, c.w), "|"); got != c.want {
			t.Errorf("Wrap(%q, %d) = %q, want %q", c.in, c.w, got, c.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[31m\u202eb\xff日e\u0301", 5)
	f.Add(strings.Repeat("\u0301", 300), 3)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max > 10000 || len(s) > 10000 {
			return
		}
		out := Clean(s, max)
		if !utf8.ValidString(out) {
			t.Fatalf("%q is not UTF-8", out)
		}
		if max > 0 && Width(out) > max {
			t.Fatalf("%q has %d columns, want %d", out, Width(out), max)
		}
		for _, r := range out {
			if r < 0x20 || r >= 0x7f && r < 0xa0 || hidden(r) {
				t.Fatalf("%U gets through", r)
			}
		}
		if again := Clean(out, max); again != out {
			t.Fatalf("not stable: %q, then %q", out, again)
		}
		for _, l := range Wrap(out, 10) {
			if Width(l) > 10 {
				t.Fatalf("line %q is wider than 10", l)
			}
		}
		if m := TruncateMiddle(out, 12); Width(m) > 12 {
			t.Fatalf("%q is wider than 12", m)
		}
	})
}
