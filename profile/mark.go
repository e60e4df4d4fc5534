package profile

import "slices"

// key names one entry. value and parent (of Start) are one text with a zero byte
// between: control characters cannot be in either.
type key struct {
	value string
	n     uint32 // port, user id
	cat   Category
	proto protocol
}

// mark is what is known about one entry. It is 48 bytes: two hundred workloads have
// some fifty thousand of them.
type mark struct {
	events      uint64   // on this node
	others      *[]tally // of other writers, ascending, at most maxWriters; mostly nil
	first, last uint32   // seconds since 1970; 0: never seen (seed, inherited)
	units       uint32   // replica-windows of this node in which it was seen
	// replicas are the smallest hashes of those that showed it: the set itself up to
	// three, and a sample beyond (bottom-k, Cohen and Kaplan 2007). Filled from the
	// front, ascending, 0 is empty.
	replicas [3]uint32
	// window is the window units was last raised in, slots the replicas it was raised
	// for, startSlots the ones whose start was counted. A slot shared by two replicas
	// counts one of them: too few units call a profile less complete, never more.
	window     uint16
	slots      uint16
	startSlots uint16
	meta       uint8 // sources (low four bits), starts of this node up to 15 (high four)
	origins    uint8 // of an executable: bit per bollwerk.Origin, see originBit
}

// tally is what one writer (node) counted.
type tally struct {
	writer        uint64
	events        uint64
	units, starts uint32
}

// maxWriters of whom a profile keeps counts apart; those with the smallest hashes are
// kept, so that any order of merging keeps the same. More nodes only mean that the
// counts are a sample.
const maxWriters = 16

// Sources of an entry, a set of bits: an entry may be declared and learned.
const (
	sourceSeed uint8 = 1 << iota
	sourceLearned
	sourceInherited
)

var sourceWords = [...]string{"seed", "learned", "inherited"}

func (m *mark) source() uint8     { return m.meta & 15 }
func (m *mark) starts() uint32    { return uint32(m.meta >> 4) }
func (m *mark) addSource(s uint8) { m.meta |= s & 15 }
func (m *mark) setStarts(n uint32) {
	m.meta = m.meta&15 | uint8(min(n, 15))<<4
}

// sight is when and where something was seen.
type sight struct {
	at       uint32 // seconds
	epoch    uint32 // window of the profile
	replica  uint32 // hash
	slot     uint8
	starting bool // in the start of the replica
	count    uint64
}

// touch counts one sighting. It allocates nothing.
func (m *mark) touch(s *sight) {
	m.events += s.count
	if m.first == 0 || s.at < m.first {
		m.first = s.at
	}
	m.last = max(m.last, s.at)
	bit := uint16(1) << (s.slot & 15)
	if s.starting {
		if m.startSlots&bit == 0 {
			m.startSlots |= bit
			m.setStarts(m.starts() + 1)
		}
	} else {
		if w := uint16(s.epoch); m.window != w {
			m.window, m.slots = w, 0
		}
		if m.slots&bit == 0 {
			m.slots |= bit
			m.units++
		}
	}
	m.addReplica(s.replica)
}

func (m *mark) addReplica(h uint32) {
	if h == 0 || h == m.replicas[0] || h == m.replicas[1] || h == m.replicas[2] {
		return
	}
	for i, r := range m.replicas {
		if r == 0 || h < r {
			copy(m.replicas[i+1:], m.replicas[i:])
			m.replicas[i] = h
			return
		}
	}
}

// bottom adds h to the ascending set s of at most k; zeros are empty places.
func bottom(s []uint32, h uint32, k int) []uint32 {
	for len(s) > 0 && s[len(s)-1] == 0 {
		s = s[:len(s)-1]
	}
	i, found := slices.BinarySearch(s, h)
	if found || i >= k {
		return s
	}
	s = slices.Insert(s, i, h)
	if len(s) > k {
		s = s[:k]
	}
	return s
}

// all returns the counts of every writer, ascending, own included.
func (m *mark) all(own uint64) []tally {
	var out []tally
	if m.others != nil {
		out = append(out, *m.others...)
	}
	if m.events > 0 {
		out = joinTallies(out, []tally{{own, m.events, m.units, m.starts()}})
	}
	return out
}

// total sums the counts of all writers.
func (m *mark) total() (t tally) {
	t = tally{events: m.events, units: m.units, starts: m.starts()}
	if m.others != nil {
		for _, o := range *m.others {
			t.events += o.events
			t.units += o.units
			t.starts += o.starts
		}
	}
	return t
}

// joinTallies is the join of two sets of counts: per writer the larger one, since a
// writer only counts up; of the writers the maxWriters smallest.
func joinTallies(a, b []tally) []tally {
	out := make([]tally, 0, len(a)+len(b))
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].writer < b[0].writer:
			out, a = append(out, a[0]), a[1:]
		case len(a) == 0 || b[0].writer < a[0].writer:
			out, b = append(out, b[0]), b[1:]
		default:
			out = append(out, tally{a[0].writer, max(a[0].events, b[0].events), max(a[0].units, b[0].units), max(a[0].starts, b[0].starts)})
			a, b = a[1:], b[1:]
		}
	}
	if len(out) > maxWriters {
		out = out[:maxWriters]
	}
	return out
}

// join makes m the least upper bound of itself (counted by own) and o (counted by
// theirs). o is not changed and shares nothing with m afterwards.
func (m *mark) join(own uint64, o *mark, theirs uint64) {
	if o.first != 0 && (m.first == 0 || o.first < m.first) {
		m.first = o.first
	}
	m.last = max(m.last, o.last)
	m.origins |= o.origins
	m.addSource(o.source())
	for _, r := range o.replicas {
		m.addReplica(r)
	}
	if own == theirs {
		m.events, m.units = max(m.events, o.events), max(m.units, o.units)
		m.setStarts(max(m.starts(), o.starts()))
	}
	var rest []tally
	for _, t := range o.all(theirs) {
		if t.writer != own {
			rest = append(rest, t)
		} else {
			m.events, m.units = max(m.events, t.events), max(m.units, t.units)
			m.setStarts(max(m.starts(), t.starts))
		}
	}
	if len(rest) > 0 {
		if m.others == nil {
			m.others = new([]tally)
		}
		*m.others = joinTallies(*m.others, rest)
	}
}

// bytes of memory a mark and its key take, roughly: for the budget of a book.
func entryBytes(k key, m *mark) int {
	n := 2*32 + 48 + len(k.value)
	if k.cat == Syscall || k.cat == Behaviour {
		n -= len(k.value) // constants of the program
	}
	if m.others != nil {
		n += 24 + 24*len(*m.others)
	}
	return n
}
