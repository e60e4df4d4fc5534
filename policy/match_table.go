package policy

import (
	"encoding/binary"
	"regexp"
	"regexp/syntax"
	"slices"
)

// A pattern is a regular expression that looks at each byte of a text once, with
// one step through a table for each. The regexp package follows every way through
// the expression at the same time, which takes ten to thirty times as long, and needs
// memory for it. Alternatives get a table each: together they would need the
// product of their states, apart they need the sum.
type pattern struct {
	// whole decides about texts with letters that are not ASCII, and about
	// alternatives whose table would be too large.
	whole *regexp.Regexp
	parts []patternPart
}

// patternPart is one of the alternatives.
type patternPart struct {
	table *table // nil: too large
	// needed are groups of words: every text that matches has a word of each group.
	needed [][]word
}

func newPattern(re *regexp.Regexp) *pattern {
	p := &pattern{whole: re}
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		p.parts = []patternPart{{}}
		return p
	}
	alternatives := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpAlternate {
		alternatives = tree.Sub
	}
	for _, a := range alternatives {
		a = a.Simplify()
		part := patternPart{table: newTable(a)}
		for _, words := range required(a) {
			part.needed = append(part.needed, newWords(words))
		}
		p.parts = append(p.parts, part)
	}
	return p
}

// match answers for a text; f is its filter, nil when there is none.
func (p *pattern) match(t string, f *pairs) bool {
	for i := range p.parts {
		part := &p.parts[i]
		if f != nil && !part.may(f) {
			continue
		}
		if part.table == nil {
			return p.whole.MatchString(t)
		}
		switch part.table.run(t) {
		case foundState:
			return true
		case otherState:
			return p.whole.MatchString(t)
		}
	}
	return false
}

// may reports whether a text with this filter can have a word of each group.
func (p *patternPart) may(f *pairs) bool {
next:
	for _, words := range p.needed {
		for i := range words {
			if words[i].may(f) {
				continue next
			}
		}
		return false
	}
	return true
}

// table is a deterministic automaton over ASCII that looks for a match anywhere in
// a text. A state is the place of its row in next.
type table struct {
	class [256]uint8
	end   uint16 // the class of the end of the text
	start uint16
	next  []uint16
}

// The first rows are never read: these states end the search.
const (
	noState    = 0 // nothing can match any more
	foundState = 1
	otherState = 2 // a byte that is not ASCII: somebody else has to look
)

// maxTable bounds a table (its entries, two bytes each). The largest of the shipped
// policies has 9,000.
const maxTable = 1 << 15

// maxTableWork bounds the time it takes to make one (some milliseconds).
const maxTableWork = 1 << 19

func (a *table) run(t string) uint16 {
	s, next := uint(a.start), a.next
	for i := 0; i < len(t); i++ {
		at := s + uint(a.class[t[i]])
		if at >= uint(len(next)) {
			return otherState // it never is; the compiler needs no second look then
		}
		if s = uint(next[at]); s <= otherState {
			return uint16(s)
		}
	}
	if next[s+uint(a.end)] == foundState {
		return foundState
	}
	return noState
}

// tableMaker makes the states of a table from the sets of places in a program that
// the regexp package would follow at once.
type tableMaker struct {
	prog *syntax.Prog
	// anchored: a match begins at the beginning of the text or nowhere.
	anchored bool
	byKey    map[string]uint16
	states   []tableState
	// reads says of a place and a class of letters whether it goes on with them.
	reads []bool
	// places of the closure being made, whether one is in it, and the key being made.
	places []uint32
	in     []bool
	key    []byte
}

// tableState is a set of places before the next letter, and what kind of letter was
// the last, for \b, ^ and $.
type tableState struct {
	places []uint32
	last   rune
}

// newTable returns nil when the table would be too large.
func newTable(re *syntax.Regexp) *table {
	prog, err := syntax.Compile(re)
	if err != nil {
		return nil
	}
	m := &tableMaker{prog: prog, anchored: prog.StartCond()&syntax.EmptyBeginText != 0, byKey: map[string]uint16{}, in: make([]bool, len(prog.Inst))}
	a := &table{}
	letters := m.classes(a)
	width := len(letters) + 2 // others, and the end
	a.end = uint16(len(letters) + 1)
	for b := 128; b < 256; b++ {
		a.class[b] = uint8(len(letters))
	}
	rows := 3/width + 1 // that are not states
	a.next = make([]uint16, rows*width)
	state := func(s tableState) uint16 {
		if len(s.places) == 0 && m.anchored && s.last >= 0 {
			return noState
		}
		m.key = s.appendKey(m.key[:0])
		at, ok := m.byKey[string(m.key)]
		if !ok {
			at = uint16((rows + len(m.states)) * width)
			m.byKey[string(m.key)] = at
			m.states = append(m.states, tableState{slices.Clone(s.places), s.last})
		}
		return at
	}
	a.start = state(tableState{last: -1})
	work := 0
	var room []uint32
	for i := 0; i < len(m.states); i++ {
		s := m.states[i]
		if work += len(m.prog.Inst) + len(s.places)*width; (rows+len(m.states))*width > maxTable || work > maxTableWork {
			return nil
		}
		row := make([]uint16, width)
		// What the next letter is only matters to \b and $ by its kind.
		known := map[syntax.EmptyOp][]uint32{}
		follow := func(r rune) (places []uint32, found bool) {
			flags := syntax.EmptyOpContext(s.last, r)
			places, ok := known[flags]
			if !ok {
				places = m.closure(s, flags)
				known[flags] = places
			}
			return places, len(places) > 0 && places[0] == matched
		}
		for class, r := range letters {
			places, found := follow(r)
			if found {
				row[class] = foundState
				continue
			}
			to := tableState{last: lastOf(r)}
			for _, pc := range places {
				if m.reads[int(pc)*len(letters)+class] {
					room = append(room, m.prog.Inst[pc].Out)
				}
			}
			slices.Sort(room)
			to.places = slices.Compact(room)
			row[class] = state(to)
			room = to.places[:0]
		}
		row[len(letters)] = otherState
		if _, found := follow(-1); found {
			row[a.end] = foundState
		}
		a.next = append(a.next, row...)
	}
	return a
}

const matched = ^uint32(0)

// closure is where a program stands before it reads the next letter: places that
// read one, or only matched.
func (m *tableMaker) closure(s tableState, flags syntax.EmptyOp) []uint32 {
	clear(m.in)
	m.places = m.places[:0]
	found := false
	var visit func(pc uint32)
	visit = func(pc uint32) {
		if m.in[pc] || found {
			return
		}
		m.in[pc] = true
		switch inst := &m.prog.Inst[pc]; inst.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			visit(inst.Out)
			visit(inst.Arg)
		case syntax.InstCapture, syntax.InstNop:
			visit(inst.Out)
		case syntax.InstEmptyWidth:
			if syntax.EmptyOp(inst.Arg)&^flags == 0 {
				visit(inst.Out)
			}
		case syntax.InstMatch:
			found = true
		case syntax.InstFail:
		default:
			m.places = append(m.places, pc)
		}
	}
	for _, pc := range s.places {
		visit(pc)
	}
	visit(uint32(m.prog.Start)) // a match may begin anywhere
	if found {
		return []uint32{matched}
	}
	return slices.Clone(m.places)
}

// classes sorts the letters of ASCII into those that the program cannot tell apart
// and returns one of each.
func (m *tableMaker) classes(a *table) (letters []rune) {
	var readers []int
	for i := range m.prog.Inst {
		switch m.prog.Inst[i].Op {
		case syntax.InstRune, syntax.InstRune1, syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			readers = append(readers, i)
		}
	}
	byKey := map[string]uint8{}
	var keys [][]byte
	for r := rune(0); r < 128; r++ {
		key := make([]byte, 0, len(readers)+1)
		for _, i := range readers {
			bit := byte(0)
			if m.prog.Inst[i].MatchRune(r) {
				bit = 1
			}
			key = append(key, bit)
		}
		key = append(key, byte(lastOf(r)))
		class, ok := byKey[string(key)]
		if !ok {
			class = uint8(len(letters))
			byKey[string(key)] = class
			letters, keys = append(letters, r), append(keys, key)
		}
		a.class[r] = class
	}
	m.reads = make([]bool, len(m.prog.Inst)*len(letters))
	for class, key := range keys {
		for j, i := range readers {
			m.reads[i*len(letters)+class] = key[j] == 1
		}
	}
	return letters
}

// lastOf is a letter of the same kind.
func lastOf(r rune) rune {
	switch {
	case r == '\n':
		return '\n'
	case syntax.IsWordChar(r):
		return 'a'
	}
	return ' '
}

func (s tableState) appendKey(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(s.last))
	for _, pc := range s.places {
		b = binary.LittleEndian.AppendUint32(b, pc)
	}
	return b
}

// pattern makes the expression of a node. What is asked once in its life needs no
// tables.
func (g *generator) pattern(n *node) *pattern {
	if g.memo == nil {
		return &pattern{whole: n.re, parts: []patternPart{{}}}
	}
	return newPattern(n.re)
}
