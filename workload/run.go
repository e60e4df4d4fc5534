package workload

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
)

const (
	breath       = 20 * time.Millisecond  // at least, between rounds for what is incomplete
	rewatch      = 15 * time.Second       // between attempts to watch an absent runtime
	recordLife   = 10 * time.Minute       // of a container nobody saw a process of
	listTimeout  = 250 * time.Millisecond // of each source in Existing
	maxWalk      = 1 << 16                // cgroup folders looked at in Existing
	initialWatch = 10 * time.Millisecond
)

// Run serves the questions to the sources, watches the runtimes and forgets what
// ended, until ctx is done. It must run for Resolve to get more than the disk tells.
func (r *Resolver) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, s := range r.sources {
		for range queueWorkers {
			wg.Go(func() { r.work(ctx, s) })
		}
		wg.Go(func() { r.watch(ctx, s) })
	}
	wg.Go(func() { r.watchEnds(ctx) })
	if r.config.Changed != nil || r.config.Ended != nil {
		wg.Go(func() { r.tell(ctx) })
	}
	t := time.NewTimer(0)
	defer t.Stop()
	last := r.config.Now()
	var at time.Time // when the timer ends
	for {
		select {
		case <-ctx.Done():
			wg.Wait()
			return nil
		case <-r.wake:
		case <-t.C:
			at = time.Time{}
			r.again()
			if now := r.config.Now(); now.Sub(last) >= r.config.Grace/3 || now.Before(last) {
				last = now
				r.Sweep()
			}
		}
		now := r.config.Now()
		// Never later than planned: who is roused all the time would put it off for ever.
		left := max(breath, min(r.nextDue(now), r.config.Grace/3-now.Sub(last)))
		if next := time.Now().Add(left); at.IsZero() || next.Before(at) {
			at = next
			t.Reset(left)
		}
	}
}

// rouse has Run look when the next round is due: there is a new one.
func (r *Resolver) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// nextDue is how long nothing is to be done for what is incomplete. Nothing incomplete:
// until the next sweep.
func (r *Resolver) nextDue(now time.Time) time.Duration {
	due := r.config.Grace
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, b := range r.bodies {
		if !b.next.IsZero() {
			due = min(due, b.next.Sub(now))
		}
		if !b.over.Load() {
			due = min(due, b.began.Add(r.config.Wait+breath).Sub(now)+1)
		}
	}
	return due
}

func (r *Resolver) watch(ctx context.Context, s *sourceState) {
	pause := initialWatch
	for ctx.Err() == nil {
		began := time.Now()
		s.setWatching(true)
		err := s.Watch(ctx, func(f Found) {
			r.learn(s.index, f)
			if !f.Gone && f.Below == "" {
				r.prefetch(f.Container.ID)
			}
		})
		s.setWatching(false)
		if err != nil && !errors.Is(err, ErrAbsent) && ctx.Err() == nil {
			s.trouble(err)
			r.config.Log.Warn("watching containers", "source", s.Name(), "error", err)
		}
		if time.Since(began) > time.Minute {
			pause = initialWatch // it worked for long: no reason to hold back
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			pause = min(2*pause, rewatch)
		}
	}
}

func (s *sourceState) setWatching(on bool) {
	s.mu.Lock()
	s.watching = on
	s.mu.Unlock()
}

// AddressParts are the parts of all sources that know addresses elsewhere.
func (r *Resolver) AddressParts() (parts []string) {
	for _, s := range r.sources {
		if of, ok := s.Source.(AddressSource); ok {
			parts = append(parts, of.Parts()...)
		}
	}
	return parts
}

// WatchAddresses tells what sources know of addresses elsewhere until ctx is done, as they do.
func (r *Resolver) WatchAddresses(ctx context.Context, fn func(source string, l Located), trouble func(part string, err error)) {
	var wg sync.WaitGroup
	for _, s := range r.sources {
		if of, ok := s.Source.(AddressSource); ok {
			wg.Go(func() {
				if err := of.Addresses(ctx, func(l Located) { fn(s.Name(), l) }, trouble); err != nil && ctx.Err() == nil && !errors.Is(err, ErrAbsent) {
					trouble(s.Name(), err)
				}
			})
		}
	}
	wg.Wait()
}

// again starts the next round for workloads that are due.
func (r *Resolver) again() {
	now := r.config.Now()
	r.mu.RLock()
	due := false
	var late []*body
	for _, b := range r.bodies {
		due = due || !b.next.IsZero() && !now.Before(b.next)
		if !b.over.Load() && now.Sub(b.began) > r.config.Wait+breath { // who waits says so himself, and is counted
			late = append(late, b)
		}
	}
	r.mu.RUnlock()
	for _, b := range late {
		r.expired(b)
	}
	if !due {
		return
	}
	var list []*body
	r.mu.Lock()
	for _, b := range r.bodies {
		if !b.next.IsZero() && !now.Before(b.next) && len(list) < queueLength/2 {
			b.next = time.Time{}
			list = append(list, b)
		}
	}
	r.mu.Unlock()
	for _, b := range list {
		// The disk first: it may have become readable since.
		r.local(b.ref, b.below, time.Time{})
		gone := !r.h.Has(b.path, b.key.cgroup)
		r.mu.Lock()
		if gone {
			r.end(b)
		}
		r.refresh(b)
		switch {
		case b.complete:
		case gone && b.tries >= 2:
			r.giveUp(b) // the last round was after its end already
			r.refresh(b)
		default:
			r.dispatch(b)
		}
		r.mu.Unlock()
	}
}

// Gone says that a cgroup was removed. What was in it is forgotten after Config.Grace,
// as events about it may still be on their way.
func (r *Resolver) Gone(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.cgroups[id]; e != nil && e.body.key.cgroup == id && e.body != r.host {
		r.end(e.body)
	}
}

// Sweep looks which cgroups still exist and forgets those that ended longer than
// Config.Grace ago; it also looks whether a container of no runtime has one after all. Run
// calls it; a test may.
func (r *Resolver) Sweep() {
	var unknown []*body
	r.mu.RLock()
	for _, u := range r.unknown {
		if u.gone.IsZero() {
			unknown = append(unknown, u)
		}
	}
	r.mu.RUnlock()
	for _, u := range unknown {
		r.renameUnknown(u)
	}
	type item struct {
		id   uint64
		path string
	}
	r.mu.RLock()
	var live []item
	for id, e := range r.cgroups {
		if e.body.gone.IsZero() && e.body != r.host {
			live = append(live, item{id, e.path})
		}
	}
	nested := r.nested
	r.mu.RUnlock()
	var dead []item
	for _, i := range live {
		if nested || !strings.HasPrefix(i.path, "/") {
			if _, err := r.h.PathOf(i.id); err != nil {
				dead = append(dead, i)
			}
		} else if !r.h.Has(i.path, i.id) {
			dead = append(dead, i)
		}
	}
	now := r.config.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range dead {
		e := r.cgroups[i.id]
		if e == nil || e.path != i.path {
			continue
		}
		if e.body.key.cgroup == i.id {
			r.end(e.body)
		} else if e.body.key.cgroup != i.id {
			// One below: its last events may still be on their way.
			if e.dead {
				delete(r.cgroups, i.id)
			}
			e.dead = true
		}
	}
	for id, e := range r.cgroups {
		if g := e.body.gone; !g.IsZero() && now.Sub(g) > r.config.Grace {
			delete(r.cgroups, id)
		}
	}
	ids := make(map[string]bool, len(r.bodies))
	for _, b := range r.bodies {
		if !b.gone.IsZero() && now.Sub(b.gone) > r.config.Grace {
			if !b.complete {
				r.giveUp(b)
			}
			r.dropBody(b)
			continue
		}
		ids[b.key.id] = true
	}
	for key, rec := range r.byID {
		if ids[rec.id()] {
			continue
		}
		if !rec.gone.IsZero() && now.Sub(rec.gone) > r.config.Grace || rec.gone.IsZero() && now.Sub(rec.seen) > recordLife {
			r.forgetRecord(key)
		}
	}
}

// Existing lists the workloads whose cgroups exist now, for the start of the agent:
// the sources list what they have, then the cgroup tree is walked. A source that does
// not answer within a quarter of a second completes its part later. The second result
// says what could not be looked at, "" for nothing.
func (r *Resolver) Existing(ctx context.Context) ([]*bollwerk.Workload, string) {
	start := r.config.Now()
	var wg sync.WaitGroup
	for _, s := range r.sources {
		wg.Go(func() {
			ask, cancel := context.WithTimeout(ctx, listTimeout)
			defer cancel()
			began := time.Now()
			list, err := s.List(ask)
			if err != nil && ask.Err() != nil {
				err = context.DeadlineExceeded
			}
			s.outcome(err, time.Since(began), r.config)
			for _, f := range list {
				r.learn(s.index, f)
			}
		})
	}
	wg.Wait()
	seen, ids := map[*body]bool{}, map[string]bool{}
	var bodies []*body
	full := r.h.Walk(maxWalk, func(path string, id uint64) bool {
		if ctx.Err() != nil {
			return false
		}
		if !r.begins(path) {
			return true
		}
		r.mu.RLock()
		e := r.cgroups[id]
		r.mu.RUnlock()
		var b *body
		at := r.containerAt(path)
		switch {
		case e != nil && e.path == path:
			b = e.body
		case at != "" && ids[at]:
			// On a hybrid host a container may be at another path in the other tree. It is met
			// once: by the tree whose numbers the sensor tells, which is walked first.
			return true
		default:
			b = r.begin(id, path, 0, start)
		}
		if id := b.key.id; b != r.host && !seen[b] && (id == "" || !ids[id]) {
			seen[b], ids[id] = true, true
			bodies = append(bodies, b)
		}
		return true
	})
	out := make([]*bollwerk.Workload, 0, len(bodies)+1)
	out = append(out, r.Host())
	for _, b := range bodies {
		out = append(out, b.value.Load())
	}
	if !full {
		return out, "the cgroup tree has more folders than are looked at, some workloads are found at their first event"
	}
	if ctx.Err() != nil {
		return out, "the time was up, some workloads are found at their first event"
	}
	return out, ""
}

// containerAt is the id of the container that a path belongs to by its name, "" for none.
func (r *Resolver) containerAt(path string) string {
	if c := ParsePath(path).Containers; len(c) > 0 {
		return c[len(c)-1].ID
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if rec := r.byPath[path]; rec != nil {
		return rec.id()
	}
	return ""
}

// begins reports whether a workload begins at path: a container or a unit, but nothing
// inside of them and nothing that only groups them.
func (r *Resolver) begins(path string) bool {
	r.mu.RLock()
	known := r.byPath[path] != nil
	r.mu.RUnlock()
	p := ParsePath(path)
	switch {
	case known:
		return true
	case len(p.Containers) > 0:
		return len(p.Containers) > 1 || p.Containers[0].End == len(path)
	}
	return p.Unit != "" && p.UnitEnd == len(path)
}

// Workloads returns what is remembered now, without the host.
func (r *Resolver) Workloads() []*bollwerk.Workload {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]*bollwerk.Workload, 0, len(r.bodies))
	for _, b := range r.bodies {
		if b.gone.IsZero() {
			out = append(out, b.value.Load())
		}
	}
	slices.SortFunc(out, func(a, b *bollwerk.Workload) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// Stats returns the counts.
func (r *Resolver) Stats() Stats {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s := Stats{
		Cgroups: len(r.cgroups), Workloads: len(r.bodies), Containers: len(r.byID),
		Asked: r.stats.asked.Load(), Waited: r.stats.waited.Load(), Expired: r.stats.expired.Load(),
		Unresolved: r.stats.unresolved.Load(), Vanished: r.stats.vanished.Load(),
		Evicted: r.stats.evicted.Load(), Reused: r.stats.reused.Load(), Forged: r.stats.forged.Load(),
	}
	for _, b := range r.bodies {
		if !b.complete && !b.lost {
			s.Pending++
		}
	}
	return s
}

// Sources returns how the sources do, in their order.
func (r *Resolver) Sources() []SourceStatus {
	out := make([]SourceStatus, 0, len(r.sources))
	for _, s := range r.sources {
		s.mu.Lock()
		out = append(out, SourceStatus{Name: s.Name(), Verdict: s.verdict, Cause: s.cause, Asked: s.asked,
			Failed: s.failed, TimedOut: s.timedOut, Watching: s.watching})
		s.mu.Unlock()
	}
	return out
}
