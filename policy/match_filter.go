package policy

import (
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk/internal/glob"
)

// Many policies search the same few texts (a command line, a path) for words that
// are hardly ever there. A pairs filter is made of a text once per event: which
// pairs of neighbouring bytes it has, folded into 512 bits. A word whose pairs are
// not all in it is not in the text; the search itself is needed for the rest only.
type pairs [8]uint64

// anyPairs rules nothing out.
var anyPairs = pairs{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// pairSlot is the filter of one text of one event.
type pairSlot struct {
	gen  uint32
	bits pairs
}

type pairCode = func(*Scratch) *pairs

func pairBit(a, b byte) uint16 { return (uint16(a)*0x9e5 ^ uint16(b)*0x3b) & 511 }

func (p *pairs) fill(t string) {
	*p = pairs{}
	for i := 1; i < len(t); i++ {
		b := pairBit(t[i-1], t[i])
		p[b>>6] |= 1 << (b & 63)
	}
}

// word is something to be found, with three of its pairs.
type word struct {
	text string
	bits [3]uint16
	n    int
}

func newWord(t string) word {
	w := word{text: t}
	for _, at := range [...]int{len(t) - 2, 0, (len(t) - 2) / 2} {
		if at >= 0 && w.n <= len(t)-2 {
			w.bits[w.n] = pairBit(t[at], t[at+1])
			w.n++
		}
	}
	return w
}

func newWords(texts []string) []word {
	out := make([]word, len(texts))
	for i, t := range texts {
		out[i] = newWord(t)
	}
	return out
}

func (w *word) may(p *pairs) bool {
	for _, b := range w.bits[:w.n] {
		if p[b>>6]&(1<<(b&63)) == 0 {
			return false
		}
	}
	return true
}

// patternWords is what a glob needs to be tried at all.
type patternWords struct {
	pattern, before, after string
	inside                 word
}

func newPatternWords(pattern string) patternWords {
	p := patternWords{pattern: pattern}
	parts := strings.FieldsFunc(pattern, func(c rune) bool { return c == '*' || c == '?' })
	if len(parts) == 0 || !utf8.ValidString(pattern) {
		return p
	}
	longest := ""
	for _, part := range parts {
		if len(part) > len(longest) {
			longest = part
		}
	}
	p.inside = newWord(longest)
	if strings.HasPrefix(pattern, parts[0]) {
		p.before = parts[0]
	}
	if last := parts[len(parts)-1]; strings.HasSuffix(pattern, last) {
		p.after = last
	}
	return p
}

func (p *patternWords) match(t string, filter *pairs) bool {
	return strings.HasPrefix(t, p.before) && strings.HasSuffix(t, p.after) && p.inside.may(filter) && glob.Match(p.pattern, t)
}

// required returns groups of words: a text that the expression matches has a word of
// each group in it. None when nothing can be said.
func required(re *syntax.Regexp) [][]string {
	var groups [][]string
	var visit func(re *syntax.Regexp, depth int)
	visit = func(re *syntax.Regexp, depth int) {
		switch {
		case depth > 100:
		case re.Op == syntax.OpConcat:
			for _, sub := range re.Sub {
				visit(sub, depth+1)
			}
		case re.Op == syntax.OpCapture, re.Op == syntax.OpPlus, re.Op == syntax.OpRepeat && re.Min > 0:
			visit(re.Sub[0], depth+1)
		default:
			if words := requiredOf(re, depth+1); len(words) > 0 && len(words) <= 64 {
				groups = append(groups, words)
			}
		}
	}
	visit(re, 0)
	// Long words are the rare ones.
	slices.SortStableFunc(groups, func(a, b []string) int {
		switch {
		case better(a, b):
			return -1
		case better(b, a):
			return 1
		}
		return 0
	})
	return groups[:min(len(groups), 3)]
}

func requiredOf(re *syntax.Regexp, depth int) []string {
	if depth > 100 {
		return nil
	}
	switch re.Op {
	case syntax.OpLiteral:
		// U+FFFD matches every byte that is no UTF-8.
		if re.Flags&syntax.FoldCase != 0 || len(re.Rune) < 2 || slices.Contains(re.Rune, utf8.RuneError) {
			return nil
		}
		return []string{string(re.Rune)}
	case syntax.OpCapture, syntax.OpPlus:
		return requiredOf(re.Sub[0], depth+1)
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredOf(re.Sub[0], depth+1)
		}
	case syntax.OpConcat:
		var best []string
		for _, sub := range re.Sub {
			if words := requiredOf(sub, depth+1); better(words, best) {
				best = words
			}
		}
		return best
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			words := requiredOf(sub, depth+1)
			if words == nil || len(all)+len(words) > 64 {
				return nil
			}
			all = append(all, words...)
		}
		return all
	}
	return nil
}

// better prefers words whose shortest is long, and few of them.
func better(a, b []string) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) > 0
	}
	if x, y := shortest(a), shortest(b); x != y {
		return x > y
	}
	return len(a) < len(b)
}

func shortest(words []string) int {
	n := len(words[0])
	for _, w := range words {
		n = min(n, len(w))
	}
	return n
}

// pairs returns the filter of a text, or nil where making it does not pay.
func (g *generator) pairs(n *node) pairCode {
	if g.memo == nil || n.loops > 0 || n.searches < minSearches {
		return nil
	}
	if code, ok := g.filters[n]; ok {
		return code
	}
	if whole := g.wholes[n]; whole != nil {
		// What is not in the whole is not in the part.
		code := g.pairs(whole)
		g.filters[n] = code
		return code
	}
	text, slot := g.text(n), g.memo.filters
	g.memo.filters++
	code := func(s *Scratch) *pairs {
		f := &s.filters[slot]
		if f.gen != s.gen {
			if t := text(s); len(t) < maxLine {
				f.bits.fill(t)
			} else {
				f.bits = anyPairs // it may have been cut
			}
			f.gen = s.gen
		}
		return &f.bits
	}
	g.filters[n] = code
	return code
}

// minSearches is how many words must be searched for in a text for a filter to pay.
const minSearches = 4

// wordsOf counts the words that a node searches its first kid for.
func (n *node) wordsOf() int {
	switch n.op {
	case opContains, opGlob:
		return 1
	case opContainsAny, opGlobAny:
		return len(n.texts)
	case opMatches:
		return 8
	}
	return 0
}

// search makes the tests that profit from a filter; nil for others.
func (g *generator) search(n *node, a textCode) flagCode {
	filter := g.pairs(n.kids[0])
	if filter == nil {
		return nil
	}
	switch n.op {
	case opContains:
		if !n.kids[1].constant() {
			return nil
		}
		w := newWord(n.kids[1].text)
		return func(s *Scratch) bool { return w.may(filter(s)) && strings.Contains(a(s), w.text) }
	case opGlob:
		if !n.kids[1].constant() {
			return nil
		}
		p := newPatternWords(n.kids[1].text)
		return func(s *Scratch) bool { return p.match(a(s), filter(s)) }
	case opContainsAny:
		words := newWords(n.texts)
		return func(s *Scratch) bool {
			f := filter(s)
			for i := range words {
				if words[i].may(f) && strings.Contains(a(s), words[i].text) {
					return true
				}
			}
			return false
		}
	case opGlobAny:
		ps := make([]patternWords, len(n.texts))
		for i, t := range n.texts {
			ps[i] = newPatternWords(t)
		}
		return func(s *Scratch) bool {
			f, t := filter(s), a(s)
			for i := range ps {
				if ps[i].match(t, f) {
					return true
				}
			}
			return false
		}
	case opMatches:
		p := g.pattern(n)
		return func(s *Scratch) bool { return p.match(a(s), filter(s)) }
	}
	return nil
}
