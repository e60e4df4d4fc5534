package policy

// Asked counts what matching took, in steps that are the same on every machine.
type Asked struct {
	Conditions  int // that were evaluated
	Letters     int // that tables read, at most
	Expressions int // that the regexp package was asked
}

// NewCountingMatcher makes a matcher that counts.
func NewCountingMatcher(ps []*Policy, a *Asked) (*Matcher, []Problem) {
	g := newGenerator(nil)
	patterns := map[*node]*pattern{}
	return newMatcher(ps, MatcherOptions{}, func(s *Scratch, n *node) {
		a.Conditions++
		if n.op != opMatches {
			return
		}
		p := patterns[n]
		if p == nil {
			p = newPattern(n.re)
			patterns[n] = p
		}
		t := g.text(n.kids[0])(s)
		var f pairs
		f.fill(t)
		for i := range p.parts {
			switch part := &p.parts[i]; {
			case !part.may(&f):
			case part.table == nil || part.table.run(t) == otherState:
				a.Expressions++
			default:
				a.Letters += len(t)
			}
		}
	})
}
