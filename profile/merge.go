package profile

import (
	"errors"
	"fmt"
	"slices"
)

// ErrMismatch is wrapped where two profiles cannot be merged.
var ErrMismatch = errors.New("the profiles do not belong together")

// Merge returns what two profiles of one workload know together, counted on by a's
// writer. Neither is changed.
//
// It is a join: the order does not matter, nor how often a profile is merged, and
// merging with itself changes nothing. Counts of different nodes add up, counts of
// one node are the larger ones. The result may exceed the caps of a book; Book.Import
// trims to them.
func Merge(a, b *Profile) (*Profile, error) {
	if a.key != b.key {
		return nil, fmt.Errorf("%s and %s: %w: different workloads", clean(a.key), clean(b.key), ErrMismatch)
	}
	if a.window != b.window {
		return nil, fmt.Errorf("%s: %w: sampling windows of %d and %d seconds", clean(a.key), ErrMismatch, a.window, b.window)
	}
	out := a.copy()
	out.mergeIn(b)
	return out, nil
}

func (p *Profile) mergeIn(o *Profile) {
	if o.first != 0 && (p.first == 0 || o.first < p.first) {
		p.first = o.first
	}
	p.last, p.epoch = max(p.last, o.last), max(p.epoch, o.epoch)
	for _, h := range o.replicas {
		p.addReplica(h)
	}
	p.inherited = max(p.inherited, o.inherited)
	for c := range p.saturated {
		p.saturated[c] = p.saturated[c] || o.saturated[c]
	}
	for _, t := range o.allTotals() {
		p.joinTotals(t)
	}
	for k, e := range o.edits {
		p.setEdit(k, laterEdit(p.edits[k], e))
	}
	var s scratch
	for k, m := range o.entries {
		n := p.entries[k]
		if n == nil {
			n = &mark{}
			n.join(p.writer, m, o.writer)
			p.put(k, n)
			continue
		}
		before := entryBytes(k, n)
		n.join(p.writer, m, o.writer)
		p.bytes += entryBytes(k, n) - before
	}
	p.closeAll(&s)
}

// closeAll restores the closure after many entries came in.
func (p *Profile) closeAll(s *scratch) {
	keys := make([]key, 0, len(p.entries))
	for k := range p.entries {
		if k.cat == Write || k.cat == Name || k.cat == Destination || k.cat == Client {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		if p.entries[k] != nil {
			p.close(k, s)
		}
	}
}

func (p *Profile) setEdit(k key, e *Edit) {
	if p.edits == nil {
		p.edits = map[key]*Edit{}
	}
	p.edits[k] = e
}

// allTotals returns the totals of every writer that counted anything, ascending.
func (p *Profile) allTotals() []totals {
	out := slices.Clone(p.others)
	if p.own.events > 0 || p.own.units > 0 || p.own.lost > 0 || p.own.withheld > 0 || p.own.starts > 0 {
		i, _ := slices.BinarySearchFunc(out, p.own.writer, byWriter)
		out = slices.Insert(out, i, p.own)
	}
	if len(out) > maxWriters {
		out = out[:maxWriters]
	}
	return out
}

func byWriter(t totals, w uint64) int {
	switch {
	case t.writer < w:
		return -1
	case t.writer > w:
		return 1
	}
	return 0
}

func (t *totals) join(o totals) {
	t.events, t.units, t.starts = max(t.events, o.events), max(t.units, o.units), max(t.starts, o.starts)
	t.lost, t.withheld = max(t.lost, o.lost), max(t.withheld, o.withheld)
}

func (p *Profile) joinTotals(t totals) {
	if t.writer == p.writer {
		p.own.join(t)
		return
	}
	i, found := slices.BinarySearchFunc(p.others, t.writer, byWriter)
	if found {
		p.others[i].join(t)
		return
	}
	p.others = slices.Insert(p.others, i, t)
	if len(p.others) > maxWriters {
		p.others = p.others[:maxWriters]
	}
}

// trim brings a profile back into the caps. Which entries of a category that is too
// large go is decided by their hash, the same everywhere; the category is saturated.
func (p *Profile) trim() {
	for c := Executable; c < categories; c++ {
		over := int(p.size[c]) - caps[c]
		if over <= 0 {
			continue
		}
		p.saturated[c] = true
		var keys []key
		for k := range p.entries {
			if k.cat == c {
				keys = append(keys, k)
			}
		}
		slices.SortFunc(keys, func(a, b key) int {
			ha, hb := hash(a.value), hash(b.value)
			switch {
			case ha > hb:
				return -1
			case ha < hb:
				return 1
			}
			return int(b.n) - int(a.n)
		})
		for _, k := range keys[:over] {
			p.drop(k)
		}
	}
}
