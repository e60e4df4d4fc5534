package policy

import (
	"encoding/binary"
	"hash/maphash"
)

// textIndex answers for one text which of many sets it is in. Policies ask a dozen
// sets about the same name: one look into a table answers them all.
type textIndex struct {
	seed maphash.Seed
	slot int // in the Scratch
	sets int
	of   map[string][]int // text → sets, until the table is built
	mask uint32
	// table gives the place of a row; none is the row of the texts that are in no set.
	table []indexEntry
	rows  [][]uint64
	none  []uint64
}

type indexEntry struct {
	hash uint32 // 0: nothing
	row  uint32
	text string
}

// add makes room for one more set and returns its number.
func (x *textIndex) add(texts []string) int {
	for _, t := range texts {
		x.of[t] = append(x.of[t], x.sets)
	}
	x.sets++
	return x.sets - 1
}

// build makes the table, when all sets are known.
func (x *textIndex) build() {
	words := (x.sets + 63) / 64
	size := uint32(4)
	for size < 3*uint32(len(x.of)) {
		size *= 2
	}
	x.mask, x.table, x.none = size-1, make([]indexEntry, size), make([]uint64, words)
	same := map[string]uint32{} // most texts are in the same sets as others
	for t, sets := range x.of {
		row := make([]uint64, words)
		var key []byte
		for _, n := range sets {
			row[n/64] |= 1 << (n % 64)
			key = binary.AppendUvarint(key, uint64(n))
		}
		at, ok := same[string(key)]
		if !ok {
			at = uint32(len(x.rows))
			same[string(key)] = at
			x.rows = append(x.rows, row)
		}
		h := setHash(x.seed, t)
		i := h >> 1 & x.mask
		for x.table[i].hash != 0 {
			i = (i + 1) & x.mask
		}
		x.table[i] = indexEntry{h, at, t}
	}
	x.of = nil
}

// find returns the sets that a text is in, as bits.
func (x *textIndex) find(t string) []uint64 {
	h := setHash(x.seed, t)
	for i := h >> 1 & x.mask; ; i = (i + 1) & x.mask {
		e := &x.table[i]
		if e.hash == 0 {
			return x.none
		}
		if e.hash == h && e.text == t {
			return x.rows[e.row]
		}
	}
}

// textSet answers whether a text is one of many.
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
