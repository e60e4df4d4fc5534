package policy

import (
	"math/rand/v2"
	"regexp"
	"testing"
)

// Expressions with everything that tables have to get right.
var tableExpressions = []string{
	``, `a`, `^a`, `a$`, `^$`, `^a$`, `\ba\b`, `\Ba`, `a\B`, `(?m)^a$`, `(?m)a$\nb`, `(?i)aK`, `a|^b|c$`, `(a|ab)(c|bcd)*$`, `[^a]`, `[^a]$`, `.`, `(?s).b`, `a.b`,
	`a{2,4}b`, `(ab){2}`, `(a*)*b`, `(a?){3}a{3}`, `é`, `[^\x00-\x7f]`, `a.é`, `^é|ab`, `\x{FFFD}b`, `(?i)ſ`, `a\z`, `\Aa|b\z`, `$^`, `\b`, `^\b`, `\b$`, `a*$`, `(^a|b)+c`,
	`(^|[ /])(ba|da|z)?sh\b`, `^(-[a-z]+ )*(a|b/)`, `a[^b]*c[^a]*b$`, `x*`, `(|a)b`, `a\nb`, `(?m)(^|a)b`, `^^a`, `(?:^a|^b)c`, `[[:word:]]+ `, `\w\W\s`, `a||b`,
}

func agrees(t *testing.T, re *regexp.Regexp, p *pattern, text string) {
	t.Helper()
	var f pairs
	f.fill(text)
	want := re.MatchString(text)
	if got := p.match(text, nil); got != want {
		t.Fatalf("%s on %q: %v, want %v", re, text, got, want)
	}
	if got := p.match(text, &f); got != want {
		t.Fatalf("%s on %q with its filter: %v, want %v", re, text, got, want)
	}
}

// A table says what the regexp package says, about every short text and about many
// longer ones.
func TestTablesAreRegexp(t *testing.T) {
	t.Parallel()
	letters := []string{"a", "b", "c", " ", "\n", "-", "é", "\xff", "K", "K", "sh", "/", "0"}
	var texts []string
	level := []string{""}
	for range 3 {
		texts = append(texts, level...)
		var next []string
		for _, t := range level {
			for _, l := range letters {
				next = append(next, t+l)
			}
		}
		level = next
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		s := ""
		for range 5 + r.IntN(20) {
			s += letters[r.IntN(len(letters))]
		}
		texts = append(texts, s)
	}
	for _, x := range tableExpressions {
		re := regexp.MustCompile(x)
		p := newPattern(re)
		for i := range p.parts {
			if p.parts[i].table == nil {
				t.Errorf("%s: alternative %d has no table", x, i)
			}
		}
		for _, text := range texts {
			agrees(t, re, p, text)
		}
	}
}

// What would need too large a table is still answered.
func TestTableTooLarge(t *testing.T) {
	re := regexp.MustCompile(`a[ab]{13}$|c`)
	p := newPattern(re)
	if p.parts[0].table != nil || p.parts[1].table == nil {
		t.Fatalf("%+v", p.parts)
	}
	if newPattern(regexp.MustCompile(`a.{30}b`)).parts[0].table != nil {
		t.Error("2^30 states")
	}
	for _, text := range []string{"abbbbbbbbbbbbb", "aabbbbbbbbbbbbba", "bbbbbbbbbbbbbb", "c", ""} {
		agrees(t, re, p, text)
	}
}

func FuzzTables(f *testing.F) {
	for _, x := range tableExpressions {
		f.Add(x, "ab c\nsh -é")
	}
	f.Fuzz(func(t *testing.T, expression, text string) {
		if len(expression) > 200 {
			return
		}
		re, err := regexp.Compile(expression)
		if err != nil {
			return
		}
		agrees(t, re, newPattern(re), text)
	})
}
