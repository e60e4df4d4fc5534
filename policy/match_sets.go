package policy

import "hash/maphash"

// textSet answers whether a text is one of many. Policies ask a dozen sets about
// the same name, so that its hash is made once and each set is one look into a
// table, which nearly always finds an empty place.
type textSet struct {
	mask  uint32
	table []setEntry
}

type setEntry struct {
	hash uint32 // 0: nothing
	text string
}

// setHash is never 0.
func setHash(seed maphash.Seed, t string) uint32 {
	h := maphash.String(seed, t)
	return uint32(h>>32) | 1
}

func newTextSet(seed maphash.Seed, texts []string) *textSet {
	size := uint32(4)
	for size < 4*uint32(len(texts)) {
		size *= 2
	}
	s := &textSet{mask: size - 1, table: make([]setEntry, size)}
	for _, t := range texts {
		h := setHash(seed, t)
		i := h >> 1 & s.mask
		for s.table[i].hash != 0 {
			i = (i + 1) & s.mask
		}
		s.table[i] = setEntry{h, t}
	}
	return s
}

func (s *textSet) has(h uint32, t string) bool {
	for i := h >> 1 & s.mask; ; i = (i + 1) & s.mask {
		e := &s.table[i]
		if e.hash == 0 {
			return false
		}
		if e.hash == h && e.text == t {
			return true
		}
	}
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

// lastBytes are those that texts end with.
type lastBytes struct {
	bytes [4]uint64
	any   bool // one of them is empty
}

func newLastBytes(texts []string) *lastBytes {
	l := &lastBytes{}
	for _, t := range texts {
		if t == "" {
			l.any = true
			continue
		}
		c := t[len(t)-1]
		l.bytes[c>>6] |= 1 << (c & 63)
	}
	return l
}

func (l *lastBytes) may(t string) bool {
	if l.any || t == "" {
		return l.any
	}
	c := t[len(t)-1]
	return l.bytes[c>>6]&(1<<(c&63)) != 0
}
