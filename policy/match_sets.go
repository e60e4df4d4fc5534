package policy

// textSet answers whether a text is one of many. Nearly always it is not, and
// most of those answers come from the length and two letters, without hashing.
type textSet struct {
	lengths uint64 // bit: min(length, 63)
	letters uint64 // bit: mix of the first and the last letter
	few     []string
	many    map[string]struct{}
}

func letterBit(t string) uint64 {
	return 1 << ((t[0] ^ t[len(t)-1]<<3 ^ t[len(t)-1]>>2) & 63)
}

func newTextSet(texts []string) *textSet {
	s := &textSet{}
	for _, t := range texts {
		s.lengths |= 1 << min(len(t), 63)
		if t != "" {
			s.letters |= letterBit(t)
		}
	}
	if len(texts) <= 4 {
		s.few = texts
		return s
	}
	s.many = make(map[string]struct{}, len(texts))
	for _, t := range texts {
		s.many[t] = struct{}{}
	}
	return s
}

func (s *textSet) has(t string) bool {
	if s.lengths&(1<<min(len(t), 63)) == 0 || t != "" && s.letters&letterBit(t) == 0 {
		return false
	}
	if s.many != nil {
		_, ok := s.many[t]
		return ok
	}
	for _, f := range s.few {
		if f == t {
			return true
		}
	}
	return false
}

// prefixes says quickly that a text begins with none of many: by what they all
// begin with, and by the letter that follows.
type prefixes struct {
	common string
	next   [4]uint64 // letters that follow
	any    bool      // one of them is the common beginning itself
}

func newPrefixes(texts []string) *prefixes {
	p := &prefixes{common: texts[0]}
	for _, t := range texts[1:] {
		n := 0
		for n < len(t) && n < len(p.common) && t[n] == p.common[n] {
			n++
		}
		p.common = p.common[:n]
	}
	for _, t := range texts {
		if len(t) == len(p.common) {
			p.any = true
			continue
		}
		c := t[len(p.common)]
		p.next[c>>6] |= 1 << (c & 63)
	}
	return p
}

func (p *prefixes) may(t string) bool {
	n := len(p.common)
	if len(t) < n || t[:n] != p.common {
		return false
	}
	if p.any {
		return true
	}
	if len(t) == n {
		return false
	}
	c := t[n]
	return p.next[c>>6]&(1<<(c&63)) != 0
}
