package tracing

import (
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Equal events of one process and file within this time are one event with a count.
const foldWindow = 20 * time.Second

const foldMost = 4096

type foldKey struct {
	root         *root
	pid          uint32
	start        uint64
	kind         bollwerk.EventKind
	access       bollwerk.Access
	mode         uint32
	path, target string
}

type fold struct {
	first time.Time
	event *bollwerk.Event
	more  uint64
}

// folds joins repeats. The zero value is usable.
type folds struct {
	mu  sync.Mutex
	all map[foldKey]*fold
}

// repeat reports whether e was told a moment ago; then it is only counted.
func (f *folds) repeat(e *bollwerk.Event, r *root) bool {
	k := foldKey{root: r, kind: e.Kind, access: e.File.Access, mode: e.File.Mode, path: e.File.Path, target: e.File.Target}
	if e.Process != nil {
		k.pid, k.start = e.Process.PID, e.Process.Start
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if x := f.all[k]; x != nil && e.Time.Sub(x.first) < foldWindow {
		x.more++
		x.event = e
		return true
	}
	if f.all == nil {
		f.all = map[foldKey]*fold{}
	}
	if len(f.all) >= foldMost {
		return false // told one by one: more than wanted is better than lost
	}
	f.all[k] = &fold{first: e.Time}
	return false
}

// flush tells the counts of what began before a time, and forgets it; the zero time means all.
func (f *folds) flush(before time.Time, emit func(*bollwerk.Event)) {
	var out []*bollwerk.Event
	f.mu.Lock()
	for k, x := range f.all {
		if !before.IsZero() && x.first.After(before) {
			continue
		}
		if x.more > 0 {
			e := *x.event
			e.Count = x.more
			out = append(out, &e)
		}
		delete(f.all, k)
	}
	f.mu.Unlock()
	for _, e := range out {
		emit(e)
	}
}

// Each root may tell this many events at once, and so many per second in the long run.
const (
	rateBurst  = 4096
	ratePerSec = 512
)

// bucket is a token bucket; its zero value is full.
type bucket struct {
	used float64
	last time.Time
}

func (b *bucket) take(now time.Time) bool {
	if d := now.Sub(b.last); d > 0 {
		b.used = max(0, b.used-d.Seconds()*ratePerSec)
		b.last = now
	}
	if b.used >= rateBurst {
		return false
	}
	b.used++
	return true
}
