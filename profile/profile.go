package profile

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Profile is what is known about one workload (bollwerk.Workload.Key: owner,
// container and image). It is not safe for concurrent use; a Book guards its own.
type Profile struct {
	key    string
	writer uint64 // who counts in the inline part of marks: this node
	// window is the length of a sampling window in seconds. Profiles of different
	// windows do not merge: their units are different things.
	window  uint32
	arch    Arch // of the node; only for numbers the tables do not know
	entries map[key]*mark
	// size, wide: entries per category, and those that stand for several things.
	size      [categories]uint16
	wide      [categories]uint16
	saturated [categories]bool
	edits     map[key]*Edit // of people; they outrank entries
	bytes     int           // of entries

	first, last uint32
	own         totals
	others      []totals // ascending by writer, at most maxWriters
	replicas    []uint32 // bottom-64 of hashes, ascending
	inherited   string   // key of the profile whose entries were taken over

	epoch uint32 // highest window seen: time only moves forward here
	lag   uint32 // the last window seen behind it
	slot  uint8  // next replica's
}

// totals are what one writer counted for the whole profile.
type totals struct {
	writer         uint64
	events         uint64
	units, starts  uint32
	lost, withheld uint64
}

// maxReplicas of which a profile keeps the hashes; the number is exact up to it.
const maxReplicas = 64

// DefaultWindow is the length of a sampling window.
const DefaultWindow = 10 * time.Minute

// New returns an empty profile of the workload with this key, counted by writer (the
// name of the node).
func New(workload, writer string) *Profile {
	return newProfile(workload, hash(writer), uint32(DefaultWindow/time.Second))
}

func newProfile(workload string, writer uint64, window uint32) *Profile {
	return &Profile{key: workload, writer: writer, window: window, arch: hostArch(), entries: map[key]*mark{}, own: totals{writer: writer}}
}

// Key is the workload's.
func (p *Profile) Key() string { return p.key }

// Inherited is the key of the profile this one started from, "" if none.
func (p *Profile) Inherited() string { return p.inherited }

// Len is the number of entries.
func (p *Profile) Len() int { return len(p.entries) }

// Saturated returns the categories that met their cap and neither learn nor judge.
func (p *Profile) Saturated() []Category {
	var out []Category
	for c := Executable; c < categories; c++ {
		if p.saturated[c] {
			out = append(out, c)
		}
	}
	return out
}

// Owner is the part of a key without the image: what stays when a new image is
// rolled out. Keys without an image are their own owner.
func Owner(key string) string {
	if i := strings.LastIndex(key, "@sha256:"); i > 0 {
		key = key[:i]
	}
	// Without a digest the image's name stands behind the first "@": an owner has
	// none, but an image may ("app@registry/app@sha256:…" lost its digest above).
	if i := strings.IndexByte(key, '@'); i > 0 && !strings.HasPrefix(key, "unit ") {
		key = key[:i]
	}
	return key
}

// Did reports whether the workload is known for a behaviour (RunsCreated, …).
func (p *Profile) Did(behaviour string) bool {
	k := key{cat: Behaviour, value: behaviour}
	if e := p.edits[k]; e != nil {
		return !e.Remove
	}
	return p.entries[k] != nil
}

// find returns the mark that k falls under: its own, or the nearest wider one. s is
// room for building the wider forms.
func (p *Profile) find(k key, s *scratch) *mark {
	if m := p.entries[k]; m != nil {
		return m
	}
	if p.wide[k.cat] == 0 {
		return nil
	}
	// Two buffers take turns: each form is built from the one before.
	for cur, i := k.value, 0; ; i ^= 1 {
		s.wide[i] = wider(s.wide[i][:0], k.cat, cur)
		if len(s.wide[i]) == 0 {
			return nil
		}
		k.value = view(s.wide[i])
		if m := p.entries[k]; m != nil {
			return m
		}
		cur = k.value
	}
}

// edited returns the decision of a person that k falls under, nil if none: that
// about k itself, or about the nearest wider form.
func (p *Profile) edited(k key, s *scratch) *Edit {
	if len(p.edits) == 0 {
		return nil
	}
	if e := p.edits[k]; e != nil {
		return e
	}
	for cur, i := k.value, 0; ; i ^= 1 {
		s.wide[i] = wider(s.wide[i][:0], k.cat, cur)
		if len(s.wide[i]) == 0 {
			return nil
		}
		k.value = view(s.wide[i])
		if e := p.edits[k]; e != nil {
			return e
		}
		cur = k.value
	}
}

// add puts a new entry in and keeps the trees in bounds. The text of k is copied.
// It returns the mark k falls under afterwards.
func (p *Profile) add(k key, m *mark, s *scratch) *mark {
	k.value = keep(k)
	p.put(k, m)
	return p.close(k, s)
}

func (p *Profile) put(k key, m *mark) {
	p.entries[k] = m
	p.size[k.cat]++
	p.bytes += entryBytes(k, m)
	if wild(k.cat, k.value) {
		p.wide[k.cat]++
	}
}

func (p *Profile) drop(k key) {
	m := p.entries[k]
	if m == nil {
		return
	}
	delete(p.entries, k)
	p.size[k.cat]--
	p.bytes -= entryBytes(k, m)
	if wild(k.cat, k.value) {
		p.wide[k.cat]--
	}
}

// keep returns the text of a key in memory of its own, or the constant it equals.
func keep(k key) string {
	switch k.cat {
	case Behaviour:
		for _, b := range behaviours {
			if b == k.value {
				return b
			}
		}
	case Syscall:
		for _, a := range [...]Arch{AMD64, ARM64} {
			if n, ok := SyscallNumber(a, k.value); ok && n < len(a.table()) {
				return a.table()[n]
			}
		}
	}
	return strings.Clone(k.value)
}

// close restores the closure after k came in: k may fall under a wider entry, may be
// one itself, or may be the child too many of a node. It costs one pass over the
// entries of the category for each level; the caps bound it. Edits of
// people take no part: what is known and what is allowed are different questions.
func (p *Profile) close(k key, s *scratch) *mark {
	at := k
	for cur := k.value; ; {
		w := wider(nil, k.cat, cur)
		if len(w) == 0 {
			break
		}
		cur = string(w)
		wk := k
		wk.value = cur
		if p.entries[wk] != nil {
			p.absorb(wk)
			at = wk
			continue
		}
		limit := fan(k.cat, cur)
		if limit == 0 {
			continue
		}
		if p.children(wk, limit, s) > limit {
			p.put(wk, &mark{})
			p.absorb(wk)
			at = wk
		}
	}
	if at == k && wild(k.cat, k.value) {
		p.absorb(k)
	}
	return p.entries[at]
}

// children counts the different children of w, up to one more than limit.
func (p *Profile) children(w key, limit int, s *scratch) int {
	s.hashes = s.hashes[:0]
	for k := range p.entries {
		if k.cat != w.cat || k.proto != w.proto || k.n != w.n {
			continue
		}
		if h, ok := child(w.cat, w.value, k.value); ok && !slices.Contains(s.hashes, h) {
			if s.hashes = append(s.hashes, h); len(s.hashes) > limit {
				break
			}
		}
	}
	return len(s.hashes)
}

// absorb joins everything strictly below w into it.
func (p *Profile) absorb(w key) {
	m := p.entries[w]
	for k, o := range p.entries {
		if k.cat != w.cat || k.proto != w.proto || k.n != w.n || o == m {
			continue
		}
		if _, ok := child(w.cat, w.value, k.value); !ok {
			continue
		}
		before := entryBytes(w, m)
		m.join(p.writer, o, p.writer)
		m.window, m.slots, m.startSlots = o.window, m.slots|o.slots, m.startSlots|o.startSlots
		p.bytes += entryBytes(w, m) - before
		p.drop(k)
	}
}

// copy returns a profile that shares nothing that changes.
func (p *Profile) copy() *Profile {
	q := *p
	q.entries = make(map[key]*mark, len(p.entries))
	for k, m := range p.entries {
		c := *m
		if m.others != nil {
			o := slices.Clone(*m.others)
			c.others = &o
		}
		q.entries[k] = &c
	}
	q.edits = maps.Clone(p.edits)
	q.others = slices.Clone(p.others)
	q.replicas = slices.Clone(p.replicas)
	return &q
}

func (p *Profile) addReplica(h uint32) {
	if _, ok := slices.BinarySearch(p.replicas, h); !ok {
		p.replicas = bottom(p.replicas, h, maxReplicas)
	}
}

// sum of the totals of all writers.
func (p *Profile) sum() (t totals) {
	t = p.own
	for _, o := range p.others {
		t.events += o.events
		t.units += o.units
		t.starts += o.starts
		t.lost += o.lost
		t.withheld += o.withheld
	}
	return t
}

// seconds of an event's time. What cannot be (before 2020, after 2100) is a broken
// clock; such a time would make every later one look old.
func seconds(t time.Time) (uint32, bool) {
	s := t.Unix()
	return uint32(s), s >= 1577836800 && s < 4102444800 && s < math.MaxUint32
}

func timeOf(s uint32) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0).UTC()
}
