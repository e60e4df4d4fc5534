package policy

import (
	"hash/maphash"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/glob"
)

// The machine: a tree of functions, each specialised for its node. A function per
// node is faster than a loop over instructions here: conditions are short, most
// end at their first test, and the types are fixed when the tree is built.
type (
	flagCode    = func(*Scratch) bool
	textCode    = func(*Scratch) string
	numberCode  = func(*Scratch) int64
	listCode    = func(*Scratch) []string
	processCode = func(*Scratch) *bollwerk.Process
)

// memoCost is the cost from which a shared part is worth remembering: looking into
// a slot takes about as long as two tests of a field.
const memoCost = 10

// generator makes the functions. Nodes that several conditions share get a slot in
// the Scratch, unless they depend on the entry of a loop.
type generator struct {
	memo    *memory
	flags   map[*node]flagCode
	texts   map[*node]textCode
	filters map[*node]pairCode
	indexes map[*node]*textIndex
	// wholes are texts that others are a part of, see member.partOf.
	wholes map[*node]*node
	seed   maphash.Seed
	// asked is told of each condition that is evaluated: tests count them, what they
	// find does not depend on the machine. Usually nil.
	asked func(s *Scratch, n *node)
}

// memory counts slots.
type memory struct{ flags, texts, lists, filters, rows int }

func newGenerator(m *memory) *generator {
	return &generator{memo: m, flags: map[*node]flagCode{}, texts: map[*node]textCode{}, filters: map[*node]pairCode{},
		indexes: map[*node]*textIndex{}, seed: maphash.MakeSeed()}
}

func (g *generator) shared(n *node) bool {
	return g.memo != nil && n.loops == 0 && n.uses > 1 && n.cost >= memoCost
}

// flag makes the function of a condition.
func (g *generator) flag(n *node) flagCode {
	if code, ok := g.flags[n]; ok {
		return code
	}
	code := g.flagOnce(n)
	if g.asked != nil {
		inner := code
		code = func(s *Scratch) bool { g.asked(s, n); return inner(s) }
	}
	if g.shared(n) {
		slot, inner := g.memo.flags, code
		g.memo.flags++
		code = func(s *Scratch) bool {
			m := &s.flags[slot]
			if m.gen != s.gen {
				v := inner(s)
				*m = flagSlot{gen: s.gen, value: v}
				return v
			}
			return m.value
		}
	}
	g.flags[n] = code
	return code
}

func (g *generator) flagOnce(n *node) flagCode {
	switch n.op {
	case opConst:
		v := n.number == 1
		return func(*Scratch) bool { return v }
	case opField:
		get := n.member.flag
		if len(n.kids) == 0 {
			return func(s *Scratch) bool { return get(s, nil) }
		}
		p := g.process(n.kids[0])
		return func(s *Scratch) bool { return get(s, p(s)) }
	case opHas:
		is := n.member.isSet
		if len(n.kids) == 0 {
			return func(s *Scratch) bool { return is(s, nil) }
		}
		p := g.process(n.kids[0])
		return func(s *Scratch) bool { return is(s, p(s)) }
	case opKind:
		mask := uint64(n.number)
		return func(s *Scratch) bool {
			k := s.e.Kind
			if int(k) >= bollwerk.EventKinds {
				k = bollwerk.EventUnknown
			}
			return mask&(1<<k) != 0
		}
	case opNot:
		a := g.flag(n.kids[0])
		return func(s *Scratch) bool { return !a(s) }
	case opAnd:
		return g.and(n.kids)
	case opOr:
		return g.or(n.kids)
	case opIf:
		c, a, b := g.flag(n.kids[0]), g.flag(n.kids[1]), g.flag(n.kids[2])
		return func(s *Scratch) bool {
			if c(s) {
				return a(s)
			}
			return b(s)
		}
	case opEqual:
		return g.equal(n)
	case opLess:
		if n.kids[0].typ == textType {
			a, b := g.text(n.kids[0]), g.text(n.kids[1])
			return func(s *Scratch) bool { return a(s) < b(s) }
		}
		a, b := g.number(n.kids[0]), g.number(n.kids[1])
		return func(s *Scratch) bool { return a(s) < b(s) }
	case opInNumbers:
		a, nums := g.number(n.kids[0]), n.nums
		if len(nums) > 8 {
			return func(s *Scratch) bool { _, ok := slices.BinarySearch(nums, a(s)); return ok }
		}
		return func(s *Scratch) bool { return slices.Contains(nums, a(s)) }
	case opInList:
		a, list := g.text(n.kids[0]), g.list(n.kids[1])
		return func(s *Scratch) bool { return slices.Contains(list(s), a(s)) }
	case opInLabels:
		key, labels := g.text(n.kids[0]), n.kids[1].member.labels
		return func(s *Scratch) bool { _, ok := labels(s)[key(s)]; return ok }
	case opExists:
		return g.exists(n)
	}
	return g.textTest(n)
}

// and and or are written out for the usual lengths: a loop over a list of
// functions costs as much as a test.
func (g *generator) and(kids []*node) flagCode {
	c := make([]flagCode, len(kids))
	for i, k := range kids {
		c[i] = g.flag(k)
	}
	switch len(c) {
	case 2:
		a, b := c[0], c[1]
		return func(s *Scratch) bool { return a(s) && b(s) }
	case 3:
		a, b, d := c[0], c[1], c[2]
		return func(s *Scratch) bool { return a(s) && b(s) && d(s) }
	}
	return func(s *Scratch) bool {
		for _, code := range c {
			if !code(s) {
				return false
			}
		}
		return true
	}
}

func (g *generator) or(kids []*node) flagCode {
	c := make([]flagCode, len(kids))
	for i, k := range kids {
		c[i] = g.flag(k)
	}
	switch len(c) {
	case 2:
		a, b := c[0], c[1]
		return func(s *Scratch) bool { return a(s) || b(s) }
	case 3:
		a, b, d := c[0], c[1], c[2]
		return func(s *Scratch) bool { return a(s) || b(s) || d(s) }
	}
	return func(s *Scratch) bool {
		for _, code := range c {
			if code(s) {
				return true
			}
		}
		return false
	}
}

func (g *generator) equal(n *node) flagCode {
	a, b := n.kids[0], n.kids[1]
	switch a.typ {
	case flagType:
		x, y := g.flag(a), g.flag(b)
		return func(s *Scratch) bool { return x(s) == y(s) }
	case numberType:
		x := g.number(a)
		if b.constant() {
			v := b.number
			return func(s *Scratch) bool { return x(s) == v }
		}
		y := g.number(b)
		return func(s *Scratch) bool { return x(s) == y(s) }
	}
	x := g.text(a)
	if b.constant() {
		v := b.text
		if g.memo != nil && a.loops == 0 && a.sets > 1 && !a.constant() {
			return g.inSet(n, []string{v}, x)
		}
		return func(s *Scratch) bool { return x(s) == v }
	}
	y := g.text(b)
	return func(s *Scratch) bool { return x(s) == y(s) }
}

// textTest makes the questions about one text.
func (g *generator) textTest(n *node) flagCode {
	a := g.text(n.kids[0])
	if code := g.search(n, a); code != nil {
		return code
	}
	if len(n.kids) == 2 {
		b := g.text(n.kids[1])
		if n.kids[1].constant() {
			if code := constantTest(n.op, a, n.kids[1].text); code != nil {
				return code
			}
		}
		switch n.op {
		case opContains:
			return func(s *Scratch) bool { return strings.Contains(a(s), b(s)) }
		case opStarts:
			return func(s *Scratch) bool { return strings.HasPrefix(a(s), b(s)) }
		case opEnds:
			return func(s *Scratch) bool { return strings.HasSuffix(a(s), b(s)) }
		case opIContains:
			return func(s *Scratch) bool { return containsFold(a(s), b(s)) }
		case opGlob:
			return func(s *Scratch) bool { return glob.Match(b(s), a(s)) }
		}
	}
	texts := n.texts
	switch n.op {
	case opInSet:
		return g.inSet(n, n.texts, a)
	case opContainsAny:
		return func(s *Scratch) bool { return containsAny(a(s), texts) }
	case opStartsAny:
		set := newPrefixes(texts)
		return func(s *Scratch) bool { t := a(s); return set.may(t) && startsWithAny(t, texts) }
	case opUnder:
		set := newPrefixes(texts)
		return func(s *Scratch) bool { t := a(s); return set.may(t) && under(t, texts) }
	case opEndsAny:
		last := newLastBytes(texts)
		return func(s *Scratch) bool { t := a(s); return last.may(t) && endsWithAny(t, texts) }
	case opGlobAny:
		return func(s *Scratch) bool { return glob.MatchAny(texts, a(s)) }
	case opMatches:
		p := g.pattern(n)
		return func(s *Scratch) bool { return p.match(a(s), nil) }
	case opInNetworks:
		return g.inNetworks(n, a)
	}
	panic("policy: no code for condition " + strconv.Itoa(int(n.op)))
}

// inSet looks a text up once for all sets and words it is compared with.
func (g *generator) inSet(n *node, texts []string, a textCode) flagCode {
	k := n.kids[0]
	if g.memo == nil || k.loops > 0 || k.sets < 2 {
		seed := g.seed
		set := newTextSet(seed, texts)
		return func(s *Scratch) bool { t := a(s); return set.has(setHash(seed, t), t) }
	}
	x, ok := g.indexes[k]
	if !ok {
		x = &textIndex{seed: g.seed, slot: g.memo.rows, of: map[string][]int{}}
		g.memo.rows++
		g.indexes[k] = x
	}
	bit := x.add(texts)
	slot, word, mask := x.slot, bit/64, uint64(1)<<(bit%64)
	return func(s *Scratch) bool {
		r := &s.rows[slot]
		if r.gen != s.gen {
			r.row, r.gen = x.find(a(s)), s.gen
		}
		return r.row[word]&mask != 0
	}
}

func constantTest(op nodeOp, a textCode, v string) flagCode {
	switch op {
	case opContains:
		return func(s *Scratch) bool { return strings.Contains(a(s), v) }
	case opStarts:
		return func(s *Scratch) bool { return strings.HasPrefix(a(s), v) }
	case opEnds:
		return func(s *Scratch) bool { return strings.HasSuffix(a(s), v) }
	}
	return nil
}

func (g *generator) inNetworks(n *node, a textCode) flagCode {
	nets := n.nets
	if k := n.kids[0]; k.op == opField && k.member.address != nil {
		get := k.member.address
		if len(k.kids) == 0 {
			return func(s *Scratch) bool { return inNetworks(get(s, nil), nets) }
		}
		p := g.process(k.kids[0])
		return func(s *Scratch) bool { return inNetworks(get(s, p(s)), nets) }
	}
	return func(s *Scratch) bool {
		t := a(s)
		if len(t) > 45 || strings.IndexByte(t, '%') >= 0 {
			return false // longer than any address; a zone would be remembered for ever
		}
		addr, err := netip.ParseAddr(t)
		return err == nil && inNetworks(addr.Unmap(), nets)
	}
}

// text makes the function of a text.
func (g *generator) text(n *node) textCode {
	if code, ok := g.texts[n]; ok {
		return code
	}
	code := g.textOnce(n)
	if g.shared(n) {
		slot, inner := g.memo.texts, code
		g.memo.texts++
		code = func(s *Scratch) string {
			m := &s.texts[slot]
			if m.gen != s.gen {
				m.value, m.gen = inner(s), s.gen
			}
			return m.value
		}
	}
	g.texts[n] = code
	return code
}

func (g *generator) textOnce(n *node) textCode {
	switch n.op {
	case opConst:
		v := n.text
		return func(*Scratch) string { return v }
	case opField:
		get := n.member.text
		if len(n.kids) == 0 {
			return func(s *Scratch) string { return get(s, nil) }
		}
		if k := n.kids[0]; k.op == opProcess && k.number == 0 {
			return func(s *Scratch) string { return get(s, s.process) }
		}
		p := g.process(n.kids[0])
		return func(s *Scratch) string { return get(s, p(s)) }
	case opEntry:
		level := n.number
		return func(s *Scratch) string { return s.strings[level] }
	case opLabel:
		labels, key := n.kids[0].member.labels, g.text(n.kids[1])
		return func(s *Scratch) string { return labels(s)[key(s)] }
	case opIf:
		c, a, b := g.flag(n.kids[0]), g.text(n.kids[1]), g.text(n.kids[2])
		return func(s *Scratch) string {
			if c(s) {
				return a(s)
			}
			return b(s)
		}
	case opLower:
		a := g.text(n.kids[0])
		return func(s *Scratch) string { return s.lower(a(s)) }
	case opJoin:
		return g.join(n)
	case opText:
		if n.kids[0].typ == flagType {
			a := g.flag(n.kids[0])
			return func(s *Scratch) string { return strconv.FormatBool(a(s)) }
		}
		a := g.number(n.kids[0])
		return func(s *Scratch) string {
			v := a(s)
			start := len(s.buf)
			s.buf = strconv.AppendInt(s.buf, v, 10)
			return s.made(start)
		}
	case opEnumerate:
		list, most := g.list(n.kids[0]), g.number(n.kids[1])
		return func(s *Scratch) string { return enumerate(list(s), int(most(s))) }
	case opPlural:
		k, one, many := g.number(n.kids[0]), g.text(n.kids[1]), g.text(n.kids[2])
		return func(s *Scratch) string {
			v, word := k(s), many(s)
			if v == 1 {
				word = one(s)
			}
			return strconv.FormatInt(v, 10) + " " + word
		}
	}
	panic("policy: no code for text " + strconv.Itoa(int(n.op)))
}

func (g *generator) join(n *node) textCode {
	if n.kids[0].typ == listType {
		list, between := g.list(n.kids[0]), n.kids[1].text
		return func(s *Scratch) string {
			texts := list(s)
			start := len(s.buf)
			for i, t := range texts {
				if i > 0 {
					s.buf = append(s.buf, between...)
				}
				s.buf = append(s.buf, t...)
			}
			return s.made(start)
		}
	}
	a, b := g.text(n.kids[0]), g.text(n.kids[1])
	return func(s *Scratch) string {
		x, y := a(s), b(s) // these may make texts, too: ask before beginning one
		start := len(s.buf)
		s.buf = append(append(s.buf, x...), y...)
		return s.made(start)
	}
}

// number makes the function of a whole number.
func (g *generator) number(n *node) numberCode {
	switch n.op {
	case opConst:
		v := n.number
		return func(*Scratch) int64 { return v }
	case opField:
		get := n.member.number
		if len(n.kids) == 0 {
			return func(s *Scratch) int64 { return get(s, nil) }
		}
		p := g.process(n.kids[0])
		return func(s *Scratch) int64 { return get(s, p(s)) }
	case opIf:
		c, a, b := g.flag(n.kids[0]), g.number(n.kids[1]), g.number(n.kids[2])
		return func(s *Scratch) int64 {
			if c(s) {
				return a(s)
			}
			return b(s)
		}
	case opSize:
		return g.size(n.kids[0])
	case opCount:
		return g.count(n)
	}
	a, b := g.number(n.kids[0]), g.number(n.kids[1])
	switch n.op {
	case opAdd:
		return func(s *Scratch) int64 { return saturatingAdd(a(s), b(s)) }
	case opSubtract:
		return func(s *Scratch) int64 { return saturatingSubtract(a(s), b(s)) }
	case opMultiply:
		return func(s *Scratch) int64 { return saturatingMultiply(a(s), b(s)) }
	case opDivide:
		by := n.kids[1].number
		if by == -1 {
			return func(s *Scratch) int64 { return saturatingSubtract(0, a(s)) }
		}
		return func(s *Scratch) int64 { return a(s) / by }
	case opModulo:
		by := n.kids[1].number
		if by == -1 {
			return func(*Scratch) int64 { return 0 }
		}
		return func(s *Scratch) int64 { return a(s) % by }
	case opBitAnd:
		return func(s *Scratch) int64 { return a(s) & b(s) }
	case opBitOr:
		return func(s *Scratch) int64 { return a(s) | b(s) }
	}
	panic("policy: no code for number " + strconv.Itoa(int(n.op)))
}

func (g *generator) size(k *node) numberCode {
	switch k.typ {
	case textType:
		a := g.text(k)
		return func(s *Scratch) int64 { return int64(utf8.RuneCountInString(a(s))) }
	case labelsType:
		labels := k.member.labels
		return func(s *Scratch) int64 { return int64(len(labels(s))) }
	case chainType:
		p := g.process(k.kids[0])
		return func(s *Scratch) int64 {
			n := int64(0)
			for a := p(s).Inside(); a != nil && n < bollwerk.ProcessDepth; a = a.Inside() {
				n++
			}
			return n
		}
	}
	a := g.list(k)
	return func(s *Scratch) int64 { return int64(len(a(s))) }
}
