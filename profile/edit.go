package profile

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Edit is what a person decided about one entry.
type Edit struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	// Remove forbids the entry: it is not learned again, and its next time is a
	// deviation in every mode. Otherwise the entry is allowed.
	Remove bool `json:"remove,omitempty"`
}

func (e Edit) validate() error {
	switch {
	case e.By == "" || e.Reason == "":
		return errors.New("an edit needs who made it and why")
	case e.At.IsZero():
		return errors.New("an edit needs a time")
	case len(e.By) > maxText/2 || len(e.Reason) > maxText/2:
		return fmt.Errorf("an edit with a text of more than %d bytes", maxText/2)
	}
	if err := validText(e.By); err != nil {
		return err
	}
	return validText(e.Reason)
}

// laterEdit is the join of two edits: the later one; of two at the same time the one
// that forbids, then by text, so that every node decides alike.
func laterEdit(a, b *Edit) *Edit {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case !a.At.Equal(b.At):
		if a.At.After(b.At) {
			return a
		}
		return b
	case a.Remove != b.Remove:
		if a.Remove {
			return a
		}
		return b
	case a.By+"\x00"+a.Reason >= b.By+"\x00"+b.Reason:
		return a
	}
	return b
}

// Edit adds or forbids one entry. The nearest edit decides: "/data/**" may be
// forbidden and "/data/cache/**" allowed. The value is taken as it stands, in the
// form documents have it.
func (b *Book) Edit(workload string, entry Entry, edit Edit) error {
	if edit.At.IsZero() {
		edit.At = b.c.Now()
	}
	edit.At = edit.At.UTC().Truncate(time.Second)
	if err := edit.validate(); err != nil {
		return err
	}
	k, err := entry.key()
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(workload)
	if r == nil {
		return fmt.Errorf("%s: %w", clean(workload), ErrUnknown)
	}
	// Who decides now knows what was decided before, whatever the clock says by now.
	if before := r.p.edits[k]; before != nil && edit.At.Before(before.At) {
		edit.At = before.At.Add(time.Second)
	}
	if r.p.edits[k] == nil && len(r.p.edits) >= maxEdits {
		return fmt.Errorf("%s: %d edits are the most a profile takes: edit a folder or a network instead", clean(workload), maxEdits)
	}
	r.p.setEdit(k, laterEdit(r.p.edits[k], &edit))
	r.changed = true
	return nil
}

// Reset forgets everything learned in some categories (all, when none is given),
// edits excepted: the way out of a category that is saturated. The profile goes back
// to learn.
func (b *Book) Reset(workload, by, why string, cs ...Category) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(workload)
	if r == nil {
		return fmt.Errorf("%s: %w", clean(workload), ErrUnknown)
	}
	before := r.p.bytes
	for k := range maps.Clone(r.p.entries) {
		if len(cs) == 0 || slices.Contains(cs, k.cat) {
			r.p.drop(k)
		}
	}
	for c := Executable; c < categories; c++ {
		if len(cs) == 0 || slices.Contains(cs, c) {
			r.p.saturated[c] = false
		}
	}
	if len(cs) == 0 {
		// Counts without what they counted would call an empty profile complete.
		r.p.own, r.p.others, r.p.replicas = totals{writer: r.p.writer}, nil, nil
		r.p.first, r.p.last = 0, 0
		for _, rep := range b.replicas {
			if rep.r == r {
				rep.epoch, rep.started = 0, false
			}
		}
	}
	b.bytes += r.p.bytes - before
	b.move(r, Learn, by, why)
	return nil
}

// document of a record, with its state.
func (b *Book) document(r *record) *Document {
	d := r.p.Document()
	d.State = &State{Mode: r.mode, Moves: slices.Clone(r.moves), Held: timeOf(r.held)}
	return d
}

// adopt makes a record of a stored document.
func (b *Book) adopt(d *Document) (*record, error) {
	p, err := d.profile(hash(b.c.Node))
	if err != nil {
		return nil, err
	}
	if p.window != uint32(b.c.Window/time.Second) {
		return nil, fmt.Errorf("the stored profile has windows of %d seconds, this agent of %s: it is learned anew", p.window, b.c.Window)
	}
	p.arch = b.c.Arch
	p.trim()
	r := &record{p: p}
	if d.State != nil {
		r.mode = min(d.State.Mode, Restrict)
		r.moves = slices.Clone(d.State.Moves[max(0, len(d.State.Moves)-maxMoves):])
		r.held = documentTime(d.State.Held)
	}
	return r, nil
}

// countsEvery is how often a profile is written of which only counts changed. Losing
// ten minutes of them calls it a little less complete; writing two hundred files a
// minute would cost more than all learning does.
const countsEvery = 10 * 60

// Save writes the profiles that know or decided something new to the store, and those
// of which only counts changed when their last writing is ten minutes ago. Profiles
// are copied one by one under the lock and written outside of it. Errors are joined;
// what could not be written is tried again the next time.
func (b *Book) Save() error { return b.save(false) }

// SaveAll writes everything that changed: for the end of the program.
func (b *Book) SaveAll() error { return b.save(true) }

func (b *Book) save(all bool) error {
	if b.c.Store == nil {
		return nil
	}
	var errs []error
	for _, workload := range b.Keys() {
		b.mu.Lock()
		r := b.records[workload]
		now := b.c.Now().Unix()
		// A clock that jumped back must not stop saving: any distance counts.
		due := all || now-r.lastSave() >= countsEvery || now < r.lastSave()
		if r == nil || !r.changed && !(r.counted && due) {
			b.mu.Unlock()
			continue
		}
		d := b.document(r)
		changed := r.changed
		r.changed, r.counted, r.saved = false, false, now
		b.mu.Unlock()
		if err := b.c.Store.Save(d); err != nil {
			errs = append(errs, err)
			b.mu.Lock()
			r.changed, r.counted, r.saved = r.changed || changed, true, 0
			b.mu.Unlock()
		}
	}
	return errors.Join(errs...)
}

func (r *record) lastSave() int64 {
	if r == nil {
		return 0
	}
	return r.saved
}

// Export writes a profile as a document.
func (b *Book) Export(workload string, w io.Writer) error {
	b.mu.Lock()
	r := b.record(workload)
	if r == nil {
		b.mu.Unlock()
		return fmt.Errorf("%s: %w", clean(workload), ErrUnknown)
	}
	d := b.document(r)
	d.Sentence = r.p.Completeness().Sentence
	b.mu.Unlock()
	_, err := d.WriteTo(w)
	return err
}

// Import merges a document into the profile of its workload, which may be new. The
// mode stays what it is here: that a profile is restricted elsewhere restricts nobody.
func (b *Book) Import(d *Document) error {
	p, err := d.profile(hash(b.c.Node))
	if err != nil {
		return err
	}
	for k, e := range p.edits {
		// The later edit wins, so one from the future would win for ever.
		if e.At.After(b.c.Now().Add(24 * time.Hour)) {
			return fmt.Errorf("%s: the edit of %s is dated %s, in the future", clean(p.key), clean(describe(k)), e.At.Format(time.RFC3339))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(p.key)
	if r == nil {
		if !b.room() {
			return fmt.Errorf("%s: there is no room for more than %d profiles", clean(p.key), b.c.MaxProfiles)
		}
		r = &record{p: newProfile(p.key, hash(b.c.Node), uint32(b.c.Window/time.Second)), used: b.c.Now().Unix()}
		r.p.arch = b.c.Arch
		b.records[p.key] = r
	}
	merged, err := Merge(r.p, p)
	if err != nil {
		return err
	}
	merged.trim()
	merged.slot = r.p.slot
	b.bytes += merged.bytes - r.p.bytes
	r.p, r.changed, r.sum = merged, true, nil
	return nil
}
