package policy

import (
	"math"
	"net/netip"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// A node is a part of a condition in the matcher's own form. Nodes are made by a
// nodeSet, which gives equal ones out once: that is how a condition that forty
// policies share is found, and evaluated once for them all.
type node struct {
	op     nodeOp
	typ    nodeType
	kids   []*node
	member *member
	text   string
	number int64
	texts  []string // sorted where the order says nothing
	nums   []int64
	nets   []netip.Prefix
	re     *regexp.Regexp

	id int
	// loops is how many of the enclosing loops it depends on: 0 means that it has one
	// value for an event.
	loops int
	// kinds says that a test of the kind of the event is in it.
	kinds bool
	// cost is a rough measure of the time it takes, in nanoseconds.
	cost int
	// likely is how often it holds, a rough guess between 0 and 1.
	likely float64
	uses   int
	// searches is how many words a text is searched for, by all conditions.
	searches int
	// sets is how many sets a text is looked for in.
	sets int
}

type nodeType uint8

const (
	flagType nodeType = iota
	textType
	numberType
	listType
	labelsType
	processType // a process, or the place of one
	chainType   // the ancestors of a process
	partType    // another object of the event
	numbersType // a constant list of numbers
)

type nodeOp uint8

const (
	opConst   nodeOp = iota
	opField          // member, kid: the process or nothing
	opHas            // of a member
	opProcess        // a part of the event: number 0 is the process, 1 the target, 2 another object
	opParent         // kid: a process
	opEntry          // the entry of loop number: a text or a process
	opLabel          // kids: labels, key
	opKind           // the kind of the event is one of those in the mask `number`

	opNot
	opAnd
	opOr
	opIf // kids: condition, then, else; any type
	opEqual
	opLess // kids: numbers or texts
	opInSet
	opInNumbers
	opInList
	opInLabels
	opContains
	opStarts
	opEnds
	opContainsAny
	opStartsAny
	opEndsAny
	opIContains
	opGlob
	opGlobAny
	opUnder
	opMatches
	opInNetworks
	opExists // kids: range, body; number: loop; text: exists, all, one
	opCount  // the same, how many
	opList   // a list of texts that are not all constant

	opSize
	opAdd
	opSubtract
	opMultiply
	opDivide
	opModulo
	opBitAnd
	opBitOr
	opLower
	opJoin      // texts one after another
	opText      // a number or flag as text
	opEnumerate // list, most
	opPlural
)

// nodeSet makes nodes and knows each by what it says.
type nodeSet struct {
	byKey map[string]*node
}

func newNodeSet() *nodeSet { return &nodeSet{byKey: map[string]*node{}} }

func (ns *nodeSet) intern(n *node) *node {
	var key strings.Builder
	for _, v := range [...]int64{int64(n.op), int64(n.typ), n.number} {
		key.WriteString(strconv.FormatInt(v, 36))
		key.WriteByte(',')
	}
	if n.member != nil {
		key.WriteString(n.member.name)
		key.WriteByte('@')
		key.WriteString(strconv.Itoa(n.member.id))
	}
	for _, k := range n.kids {
		key.WriteByte('(')
		key.WriteString(strconv.Itoa(k.id))
	}
	key.WriteString(strconv.Quote(n.text))
	for _, t := range n.texts {
		key.WriteString(strconv.Quote(t))
	}
	for _, v := range n.nums {
		key.WriteByte('#')
		key.WriteString(strconv.FormatInt(v, 36))
	}
	if known, ok := ns.byKey[key.String()]; ok {
		return known
	}
	n.id = len(ns.byKey)
	for _, k := range n.kids {
		n.loops = max(n.loops, k.loops)
		n.kinds = n.kinds || k.kinds
	}
	switch n.op {
	case opEntry:
		n.loops = int(n.number) + 1
	case opExists, opCount:
		// The body's own loop ends here.
		n.loops = n.kids[0].loops
		if inner := n.kids[1].loops; inner <= int(n.number) {
			n.loops = max(n.loops, inner)
		} else {
			n.loops = max(n.loops, int(n.number))
		}
	case opKind:
		n.kinds = true
	case opField:
		n.kinds = n.kinds || n.isKind()
	}
	n.cost, n.likely = n.estimate(), n.guess()
	ns.byKey[key.String()] = n
	return n
}

func (n *node) estimate() int {
	c := 1
	if n.op == opAnd || n.op == opOr {
		// Most chains end before their last part.
		cost, reached := 1.0, 1.0
		for _, k := range n.kids {
			cost += reached * float64(k.cost)
			if n.op == opAnd {
				reached *= k.likely
			} else {
				reached *= 1 - k.likely
			}
		}
		return min(int(cost), 1<<20)
	}
	for _, k := range n.kids {
		c += k.cost
	}
	switch n.op {
	case opConst, opProcess, opEntry, opKind:
		return 0
	case opField, opHas:
		if n.member.dear {
			c += 60
		}
	case opEqual, opLess:
		c += 2
	case opInSet:
		c += 4
	case opInList, opInLabels, opLabel:
		c += 20
	case opContains, opGlob, opIContains, opLower, opJoin:
		c += 20
	case opContainsAny, opGlobAny:
		c += 15 * len(n.texts)
	case opStartsAny, opEndsAny, opUnder:
		c += 4 + len(n.texts)
	case opInNetworks:
		c += 5 * len(n.nets)
	case opMatches:
		c += 300
	case opExists, opCount:
		c += 6 * n.kids[1].cost
	}
	return min(c, 1<<20)
}

// guess says how often a condition holds for the events of an ordinary machine.
func (n *node) guess() float64 {
	p := 0.5
	switch n.op {
	case opConst:
		p = float64(n.number & 1)
	case opEqual, opInSet, opInNumbers, opInList:
		p = 0.1
		if n.op == opEqual && n.kids[1].constant() && n.kids[1].typ == textType && n.kids[1].text == "" {
			p = 0.5
		}
	case opContains, opStarts, opEnds, opContainsAny, opStartsAny, opEndsAny, opIContains, opGlob, opGlobAny, opUnder, opMatches:
		p = 0.1
	case opExists:
		p = 0.2
	case opNot:
		p = 1 - n.kids[0].likely
	case opAnd:
		p = 1
		for _, k := range n.kids {
			p *= k.likely
		}
	case opOr:
		p = 1
		for _, k := range n.kids {
			p *= 1 - k.likely
		}
		p = 1 - p
	}
	return min(max(p, 0.01), 0.99)
}

// isKind reports the field event.kind itself.
func (n *node) isKind() bool { return n.op == opField && n.member.ofKind }

func (n *node) constant() bool { return n.op == opConst }

func (ns *nodeSet) flag(b bool) *node {
	v := int64(0)
	if b {
		v = 1
	}
	return ns.intern(&node{op: opConst, typ: flagType, number: v})
}
func (ns *nodeSet) textOf(s string) *node {
	return ns.intern(&node{op: opConst, typ: textType, text: s})
}
func (ns *nodeSet) numberOf(n int64) *node {
	return ns.intern(&node{op: opConst, typ: numberType, number: n})
}
func (ns *nodeSet) textsOf(ss []string) *node {
	return ns.intern(&node{op: opConst, typ: listType, texts: ss, number: int64(len(ss))})
}
func (ns *nodeSet) numbersOf(v []int64) *node {
	return ns.intern(&node{op: opConst, typ: numbersType, nums: v, number: int64(len(v))})
}

func (n *node) isTrue() bool  { return n.constant() && n.typ == flagType && n.number == 1 }
func (n *node) isFalse() bool { return n.constant() && n.typ == flagType && n.number == 0 }

func (ns *nodeSet) not(n *node) *node {
	switch {
	case n.constant():
		return ns.flag(n.number == 0)
	case n.op == opNot:
		return n.kids[0]
	case n.op == opKind:
		return ns.kind(^uint64(n.number) & allKinds)
	case n.op == opAnd || n.op == opOr && n.kinds:
		// So that a test of the kind is seen wherever it stands.
		kids := make([]*node, len(n.kids))
		for i, k := range n.kids {
			kids[i] = ns.not(k)
		}
		if n.op == opAnd {
			return ns.or(kids...)
		}
		return ns.and(kids...)
	}
	return ns.intern(&node{op: opNot, typ: flagType, kids: []*node{n}})
}

const allKinds = 1<<bollwerk.EventKinds - 1

func (ns *nodeSet) kind(mask uint64) *node {
	switch mask {
	case 0:
		return ns.flag(false)
	case allKinds:
		return ns.flag(true)
	}
	return ns.intern(&node{op: opKind, typ: flagType, number: int64(mask)})
}

// and and or need not keep the order of their parts: no part can fail, so that
// which one is looked at first changes the time and not the answer.
func (ns *nodeSet) and(kids ...*node) *node { return ns.chain(opAnd, kids) }
func (ns *nodeSet) or(kids ...*node) *node  { return ns.chain(opOr, kids) }

func (ns *nodeSet) chain(op nodeOp, in []*node) *node {
	isAnd := op == opAnd
	var flat []*node
	mask := uint64(0)
	if isAnd {
		mask = allKinds
	}
	tests := map[*node][]string{} // text → constants it is compared with: one set for a long chain
	var order []*node
	seen := map[*node]bool{}
	var add func(n *node) bool
	add = func(n *node) bool {
		switch {
		case n.op == op:
			for _, k := range n.kids {
				if !add(k) {
					return false
				}
			}
			return true
		case n.isTrue():
			return isAnd
		case n.isFalse():
			return !isAnd
		case n.op == opKind && isAnd:
			mask &= uint64(n.number)
			return true
		case n.op == opKind:
			mask |= uint64(n.number)
			return true
		}
		test := n
		if isAnd && n.op == opNot {
			test = n.kids[0] // a != x && a != y
		}
		if isAnd == (test != n) && (test.op == opInSet || test.op == opEqual && test.kids[0].typ == textType && test.kids[1].constant()) {
			subject := test.kids[0]
			if _, ok := tests[subject]; !ok {
				order = append(order, subject)
			}
			if test.op == opInSet {
				tests[subject] = append(tests[subject], test.texts...)
			} else {
				tests[subject] = append(tests[subject], test.kids[1].text)
			}
			return true
		}
		if !seen[n] {
			seen[n] = true
			flat = append(flat, n)
		}
		return true
	}
	for _, n := range in {
		if !add(n) {
			return ns.flag(!isAnd)
		}
	}
	if isAnd && mask == 0 || !isAnd && mask == allKinds {
		return ns.flag(!isAnd)
	}
	for _, subject := range order {
		n := ns.inSet(subject, tests[subject])
		if isAnd {
			n = ns.not(n)
		}
		if !seen[n] {
			seen[n] = true
			flat = append(flat, n)
		}
	}
	for _, n := range flat {
		if n.op == opNot && seen[n.kids[0]] {
			return ns.flag(!isAnd) // a || !a
		}
	}
	if isAnd && mask != allKinds || !isAnd && mask != 0 {
		flat = append(flat, ns.kind(mask))
	}
	switch len(flat) {
	case 0:
		return ns.flag(isAnd)
	case 1:
		return flat[0]
	}
	// What ends the chain soonest for its price comes first: "the file is one of these"
	// is hardly ever true, "the program is none of those" nearly always.
	ends := func(n *node) float64 {
		if isAnd {
			return float64(n.cost+1) / (1 - n.likely)
		}
		return float64(n.cost+1) / n.likely
	}
	sort.SliceStable(flat, func(i, j int) bool {
		if a, b := ends(flat[i]), ends(flat[j]); a != b {
			return a < b
		}
		return flat[i].id < flat[j].id
	})
	return ns.intern(&node{op: op, typ: flagType, kids: flat})
}

func (ns *nodeSet) inSet(subject *node, texts []string) *node {
	texts = slices.Clone(texts)
	sort.Strings(texts)
	texts = slices.Compact(texts)
	if subject.constant() {
		return ns.flag(slices.Contains(texts, subject.text))
	}
	switch len(texts) {
	case 0:
		return ns.flag(false)
	case 1:
		return ns.intern(&node{op: opEqual, typ: flagType, kids: []*node{subject, ns.textOf(texts[0])}})
	}
	return ns.intern(&node{op: opInSet, typ: flagType, kids: []*node{subject}, texts: texts})
}

// make interns a node of an operation, or its value when all it needs is constant.
func (ns *nodeSet) make(n *node) *node {
	for _, k := range n.kids {
		if !k.constant() {
			return ns.intern(n)
		}
	}
	n = ns.intern(n)
	g := newGenerator(nil)
	s := &Scratch{}
	s.load(&bollwerk.Event{})
	switch n.typ {
	case flagType:
		return ns.flag(g.flag(n)(s))
	case textType:
		return ns.textOf(strings.Clone(g.text(n)(s)))
	case numberType:
		return ns.numberOf(g.number(n)(s))
	}
	return n
}

// forKind is the node with the kind of the event known.
func (ns *nodeSet) forKind(n *node, kind bollwerk.EventKind) *node {
	if !n.kinds {
		return n
	}
	if n.op == opKind {
		return ns.flag(uint64(n.number)&(1<<kind) != 0)
	}
	if n.isKind() {
		return ns.textOf(kind.String())
	}
	kids := make([]*node, len(n.kids))
	for i, k := range n.kids {
		kids[i] = ns.forKind(k, kind)
	}
	switch n.op {
	case opAnd:
		return ns.and(kids...)
	case opOr:
		return ns.or(kids...)
	case opNot:
		return ns.not(kids[0])
	case opIf:
		return ns.choose(kids[0], kids[1], kids[2])
	case opExists, opCount:
		return ns.loop(n.op, n.text, kids[0], kids[1], int(n.number))
	}
	c := *n
	c.kids = kids
	c.kinds, c.loops, c.uses = false, 0, 0
	return ns.make(&c)
}

func (ns *nodeSet) choose(condition, then, otherwise *node) *node {
	switch {
	case condition.isTrue():
		return then
	case condition.isFalse():
		return otherwise
	case then == otherwise:
		return then
	case then.typ == flagType && then.constant() && otherwise.constant():
		if then.isTrue() {
			return condition
		}
		return ns.not(condition)
	}
	return ns.intern(&node{op: opIf, typ: then.typ, kids: []*node{condition, then, otherwise}})
}

// loop makes exists, all, exists_one and the count of a filter.
func (ns *nodeSet) loop(op nodeOp, word string, over, body *node, level int) *node {
	typ := flagType
	if op == opCount {
		typ = numberType
	}
	if op == opExists && body.constant() {
		switch {
		case word == "exists" && body.isFalse(), word == "one" && body.isFalse():
			return ns.flag(false)
		case word == "all" && body.isTrue():
			return ns.flag(true)
		}
	}
	if op == opCount && body.isFalse() {
		return ns.numberOf(0)
	}
	return ns.intern(&node{op: op, typ: typ, kids: []*node{over, body}, number: int64(level), text: word})
}

// Arithmetic stops at the ends of the range instead of failing, as CEL would: a
// counter that is too large stays large, and the condition keeps its meaning.
func saturatingAdd(a, b int64) int64 {
	c := a + b
	if (c > a) == (b > 0) {
		return c
	}
	if b > 0 {
		return math.MaxInt64
	}
	return math.MinInt64
}

func saturatingSubtract(a, b int64) int64 {
	c := a - b
	if (c < a) == (b > 0) {
		return c
	}
	if b > 0 {
		return math.MinInt64
	}
	return math.MaxInt64
}

func saturatingMultiply(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	c := a * b
	if c/b == a && !(a == -1 && b == math.MinInt64) && !(b == -1 && a == math.MinInt64) {
		return c
	}
	if (a > 0) == (b > 0) {
		return math.MaxInt64
	}
	return math.MinInt64
}
