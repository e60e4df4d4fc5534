package falco

import (
	"fmt"
	"strings"
)

// node is a piece of CEL that is true or false.
type node struct {
	op   nodeOp
	text string // of an atom
	kids []*node
}

type nodeOp uint8

const (
	isFalse nodeOp = iota
	isTrue
	isAtom
	isAnd
	isOr
	isNot
)

var yes, no = &node{op: isTrue}, &node{op: isFalse}

func constant(b bool) *node {
	if b {
		return yes
	}
	return no
}

func atom(format string, args ...any) *node {
	return &node{op: isAtom, text: fmt.Sprintf(format, args...)}
}

func negate(n *node) *node {
	switch n.op {
	case isFalse:
		return yes
	case isTrue:
		return no
	case isNot:
		return n.kids[0]
	}
	return &node{op: isNot, kids: []*node{n}}
}

func both(kids ...*node) *node   { return combine(isAnd, yes, no, kids) }
func either(kids ...*node) *node { return combine(isOr, no, yes, kids) }

// combine folds constants: neutral ones are left out, a winning one wins.
func combine(op nodeOp, neutral, winner *node, kids []*node) *node {
	var out []*node
	for _, k := range kids {
		switch {
		case k.op == winner.op:
			return winner
		case k.op == neutral.op:
		case k.op == op:
			out = append(out, k.kids...)
		default:
			out = append(out, k)
		}
	}
	switch len(out) {
	case 0:
		return neutral
	case 1:
		return out[0]
	}
	return &node{op: op, kids: out}
}

// write prints CEL. It stops when the text is longer than any matcher would read.
func (n *node) write(b *strings.Builder) {
	if b.Len() > maxCEL {
		return
	}
	switch n.op {
	case isFalse:
		b.WriteString("false")
	case isTrue:
		b.WriteString("true")
	case isAtom:
		b.WriteString(n.text)
	case isNot:
		b.WriteString("!(")
		n.kids[0].write(b)
		b.WriteByte(')')
	default:
		sign := " && "
		if n.op == isOr {
			sign = " || "
		}
		for i, k := range n.kids {
			if i > 0 {
				b.WriteString(sign)
			}
			// Atoms come in parentheses of their own where they need them.
			paren := k.op == isAnd || k.op == isOr
			if paren {
				b.WriteByte('(')
			}
			k.write(b)
			if paren {
				b.WriteByte(')')
			}
		}
	}
}

// maxCEL is what the matcher accepts of one condition.
const maxCEL = 250 << 10

func (n *node) String() string {
	var b strings.Builder
	n.write(&b)
	return b.String()
}

// quote writes a CEL string (https://github.com/google/cel-spec, "String and Bytes Values").
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteAll(texts []string) string {
	q := make([]string, len(texts))
	for i, t := range texts {
		q[i] = quote(t)
	}
	return "[" + strings.Join(q, ", ") + "]"
}

// truth is what is known of a condition: it surely holds where lo does, and surely
// does not where hi does not. For what this agent sees all of, both are the same.
type truth struct {
	lo, hi *node
	// seen: a part of it asks something that the events tell.
	seen bool
	gaps []*gap
}

// gap is something a rule asks that the events do not tell.
type gap struct {
	what string // as written: proc.pgid = 1
	why  string
	line int
	// wider: the gap stands in an exception that is not honoured, so that the rule
	// reports more than it should; otherwise it reports less.
	wider bool
}

func exactly(n *node) truth {
	return truth{lo: n, hi: n, seen: n.op != isTrue && n.op != isFalse}
}

func (t truth) exact() bool { return len(t.gaps) == 0 }

func (t truth) not() truth {
	return truth{lo: negate(t.hi), hi: negate(t.lo), seen: t.seen, gaps: t.gaps}
}

func join(op exprOp, ts []truth) truth {
	out := truth{}
	var lo, hi []*node
	for _, t := range ts {
		// What is settled by a part that is known leaves no room for doubt.
		if t.exact() && (op == opAnd && t.lo.op == isFalse || op == opOr && t.lo.op == isTrue) {
			return t
		}
		lo, hi = append(lo, t.lo), append(hi, t.hi)
		out.seen = out.seen || t.seen
		out.gaps = append(out.gaps, t.gaps...)
	}
	if op == opAnd {
		out.lo, out.hi = both(lo...), both(hi...)
	} else {
		out.lo, out.hi = either(lo...), either(hi...)
	}
	if len(out.gaps) == 0 {
		out.hi = out.lo
	}
	return out
}
