package policy

import (
	"strconv"

	"github.com/bollwerk/bollwerk"
)

// list makes the function of a list of texts.
func (g *generator) list(n *node) listCode {
	switch n.op {
	case opConst:
		v := n.texts
		return func(*Scratch) []string { return v }
	case opField:
		get := n.member.list
		var code listCode
		if len(n.kids) == 0 {
			code = func(s *Scratch) []string { return get(s, nil) }
		} else {
			p := g.process(n.kids[0])
			code = func(s *Scratch) []string { return get(s, p(s)) }
		}
		if !n.member.dear || g.memo == nil || n.loops > 0 {
			return code
		}
		slot := g.memo.lists
		g.memo.lists++
		return func(s *Scratch) []string {
			m := &s.lists[slot]
			if m.gen != s.gen {
				m.value, m.gen = code(s), s.gen
			}
			return m.value
		}
	case opIf:
		c, a, b := g.flag(n.kids[0]), g.list(n.kids[1]), g.list(n.kids[2])
		return func(s *Scratch) []string {
			if c(s) {
				return a(s)
			}
			return b(s)
		}
	case opList:
		codes := make([]textCode, len(n.kids))
		for i, k := range n.kids {
			codes[i] = g.text(k)
		}
		return func(s *Scratch) []string {
			start := len(s.list)
			for _, c := range codes {
				t := c(s)
				s.list = append(s.list, t)
			}
			return s.list[start:len(s.list):len(s.list)]
		}
	}
	panic("policy: no code for list " + strconv.Itoa(int(n.op)))
}

// process makes the function of the place of a process.
func (g *generator) process(n *node) processCode {
	switch n.op {
	case opParent:
		k := n.kids[0]
		if k.op == opProcess && k.number == 0 {
			return func(s *Scratch) *bollwerk.Process { return s.parent(s.process) }
		}
		p := g.process(k)
		return func(s *Scratch) *bollwerk.Process { return s.parent(p(s)) }
	case opEntry:
		level := n.number
		return func(s *Scratch) *bollwerk.Process { return s.procs[level] }
	}
	if n.number == 1 {
		return func(s *Scratch) *bollwerk.Process { return s.target }
	}
	return func(s *Scratch) *bollwerk.Process { return s.process }
}

// exists makes a loop that ends in true or false. "exists" ends at the first entry
// that holds, "all" at the first that does not, "one" at the second that holds.
func (g *generator) exists(n *node) flagCode {
	each := g.each(n)
	switch n.text {
	case "exists":
		return func(s *Scratch) bool { return each(s, true, 1) == 1 }
	case "all":
		return func(s *Scratch) bool { return each(s, false, 1) == 0 }
	}
	return func(s *Scratch) bool { return each(s, true, 2) == 1 }
}

func (g *generator) count(n *node) numberCode {
	each := g.each(n)
	return func(s *Scratch) int64 { return each(s, true, 1<<30) }
}

// each counts the entries for which the body gives want, up to most.
func (g *generator) each(n *node) func(s *Scratch, want bool, most int64) int64 {
	over, level := n.kids[0], n.number
	body := g.flag(n.kids[1])
	if over.typ == chainType {
		p := g.process(over.kids[0])
		return func(s *Scratch, want bool, most int64) (found int64) {
			i := 0
			for a := p(s).Inside(); a != nil && i < bollwerk.ProcessDepth; a = a.Inside() {
				s.procs[level] = a
				if body(s) == want {
					if found++; found == most {
						return found
					}
				}
				i++
			}
			return found
		}
	}
	list := g.list(over)
	return func(s *Scratch, want bool, most int64) (found int64) {
		for _, t := range list(s) {
			s.strings[level] = t
			if body(s) == want {
				if found++; found == most {
					return found
				}
			}
		}
		return found
	}
}
