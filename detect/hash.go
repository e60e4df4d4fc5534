package detect

// Hash is FNV-1a (64 bit) with a final mix: for sets of strings whose text is not needed
// again. An attacker who finds collisions hides a name behind another of his own.
func Hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return Mix(h)
}

// Mix spreads the bits of a number (the finalizer of MurmurHash3).
func Mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Set is a small set of hashes without pointers: open addressing, never more than limit.
type Set struct {
	slots []uint64 // 0 is empty
	n     int
}

// Len is the number of members.
func (s *Set) Len() int { return s.n }

// Has reports membership.
func (s *Set) Has(h uint64) bool {
	if s.n == 0 {
		return false
	}
	if h == 0 {
		h = 1
	}
	for i := int(h) & (len(s.slots) - 1); ; i = (i + 1) & (len(s.slots) - 1) {
		switch s.slots[i] {
		case h:
			return true
		case 0:
			return false
		}
	}
}

// Add puts h in, unless the set holds limit members already. It reports whether h is new
// and was put in.
func (s *Set) Add(h uint64, limit int) bool {
	if h == 0 {
		h = 1
	}
	if s.Has(h) || s.n >= limit {
		return false
	}
	if len(s.slots) == 0 {
		s.slots = make([]uint64, 8)
	}
	if 4*(s.n+1) > 3*len(s.slots) {
		old := s.slots
		s.slots = make([]uint64, 2*len(old))
		for _, o := range old {
			if o != 0 {
				s.place(o)
			}
		}
	}
	s.place(h)
	s.n++
	return true
}

func (s *Set) place(h uint64) {
	i := int(h) & (len(s.slots) - 1)
	for s.slots[i] != 0 {
		i = (i + 1) & (len(s.slots) - 1)
	}
	s.slots[i] = h
}

// Reset empties the set. Little room is kept: a set that was large once, as an attacker wished, must
// not stay so.
func (s *Set) Reset() {
	if len(s.slots) > 16 {
		s.slots = nil
	}
	clear(s.slots)
	s.n = 0
}
