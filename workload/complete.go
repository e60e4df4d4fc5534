package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bollwerk/bollwerk"
)

// sourceState is a source with its queue. Each source has its own goroutines: one
// that hangs keeps only its own questions.
type sourceState struct {
	Source
	index int
	queue chan *body
	// slow: an event waited for this source in vain. Nobody waits for it until it
	// answers in time again.
	slow atomic.Bool

	mu       sync.Mutex
	verdict  bollwerk.Verdict
	cause    string
	closed   time.Time // the breaker: not asked before this
	pause    time.Duration
	watching bool
	asked    uint64
	failed   uint64
	timedOut uint64
}

const (
	queueLength  = 512
	queueWorkers = 2
	firstPause   = 2 * time.Second
	absentPause  = 5 * time.Second
	longestPause = time.Minute
	maxTries     = 6
)

func newSourceState(s Source, index int) *sourceState {
	return &sourceState{Source: s, index: index, queue: make(chan *body, queueLength),
		verdict: bollwerk.NotEvaluated, cause: "not asked yet"}
}

// trouble notes a failure that is not a time-out.
func (s *sourceState) trouble(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed++
	s.verdict, s.cause = bollwerk.Degraded, err.Error()
}

// outcome notes how a question ended.
func (s *sourceState) outcome(err error, took time.Duration, c Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	switch {
	case err == nil || errors.Is(err, ErrUnknown):
		s.verdict, s.cause, s.pause = bollwerk.Pass, "", 0
		s.closed = time.Time{}
		if took < c.Wait {
			s.slow.Store(false)
		}
	case errors.Is(err, ErrAbsent):
		s.verdict, s.cause = bollwerk.NotEvaluated, err.Error()
		s.slow.Store(false)
		s.closed = c.Now().Add(absentPause)
	case errors.Is(err, context.DeadlineExceeded):
		s.timedOut++
		s.slow.Store(true)
		s.pause = min(max(2*s.pause, firstPause), longestPause)
		s.closed = c.Now().Add(s.pause)
		s.verdict, s.cause = bollwerk.Degraded, fmt.Sprintf("does not answer within %s", c.Timeout)
	default:
		s.failed++
		s.verdict, s.cause = bollwerk.Degraded, err.Error()
	}
}

// shut reports whether the source timed out or was absent a moment ago, and what to say
// about it: nothing of what is not on this machine.
func (s *sourceState) shut(now time.Time) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verdict == bollwerk.NotEvaluated {
		return "", now.Before(s.closed)
	}
	return s.cause, now.Before(s.closed)
}

// behind says why a source has no room for another question.
func (s *sourceState) behind() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.verdict == bollwerk.Degraded && s.cause != "" {
		return s.cause // that is why they wait
	}
	return "too many questions are waiting for it"
}

// dispatch asks the sources for what is missing of b. r.mu is held.
func (r *Resolver) dispatch(b *body) {
	rec := r.record(b.key.id, b.below)
	b.pending = make([]bool, len(r.sources))
	b.asked = make([]bool, len(r.sources))
	b.next = time.Time{}
	b.tries++
	clear(b.failed)
	r.ask(b, rec)
	r.round(b)
	if !b.over.Load() {
		r.rouse() // it may wait in vain
	}
}

// ask queues the questions that make sense now and were not asked in this round.
func (r *Resolver) ask(b *body, rec *record) {
	named := rec.has(PartContainer, r.sources)
	b.ref.Pod = rec.pod()
	runtime := ""
	if named {
		runtime = rec.runtime()
	}
	for i, s := range r.sources {
		if b.asked[i] {
			continue
		}
		switch s.Part() {
		case PartContainer:
			if named && r.lacking(rec) == "" {
				continue
			}
			if named && rec.found[i] == nil && s.Name() != runtime || named && rec.found[i] != nil && rec.found[i].More == "" {
				continue
			}
		case PartPod:
			if b.ref.Pod == nil && b.ref.PodUID == "" || rec != nil && rec.found[i] != nil {
				continue
			}
		}
		b.asked[i] = true
		if cause, shut := s.shut(r.config.Now()); shut {
			if cause != "" {
				b.failed[s.Name()] = cause
			}
			continue
		}
		select {
		case s.queue <- b:
			b.pending[i] = true
		default:
			b.failed[s.Name()] = s.behind()
		}
	}
}

// round ends the waiting when no source is left worth waiting for, and plans the next
// round. r.mu is held.
func (r *Resolver) round(b *body) {
	pending, waiting := false, false
	for i, p := range b.pending {
		pending = pending || p
		waiting = waiting || p && !r.sources[i].slow.Load()
	}
	if !pending && !b.early && b.next.IsZero() && r.missing(b, r.record(b.key.id, b.below)) != "" {
		// Runtimes write some things later than they start the process, and those that
		// failed may come back; what simply is not there is not asked for for ever.
		if len(b.failed) > 0 || b.tries < maxTries {
			b.next = r.config.Now().Add(min(longestPause, 100*time.Millisecond<<min(b.tries, 10)))
			r.rouse()
		} else {
			r.giveUp(b)
		}
	}
	if !waiting {
		b.finish()
	}
	if !pending {
		r.refresh(b)
	}
}

func (r *Resolver) giveUp(b *body) {
	if !b.lost {
		b.lost = true
		r.stats.unresolved.Add(1)
		if !b.gone.IsZero() {
			r.stats.vanished.Add(1)
			r.miss(b.value.Load())
		}
	}
}

const mostMissed = 256 // listed between two looks

// miss notes a workload that ended before it was named. r.mu is held.
func (r *Resolver) miss(w *bollwerk.Workload) {
	if len(r.missed.Gone) < mostMissed {
		r.missed.Gone = append(r.missed.Gone, w)
		return
	}
	r.missed.More++
}

// TakeMissed returns what was missed since the last call.
func (r *Resolver) TakeMissed() Missed {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, evicted := r.missed, r.stats.evicted.Load()
	r.missed = Missed{Evicted: evicted}
	m.Evicted = evicted - m.Evicted
	return m
}

// refresh hands out a new value of b if it differs. r.mu is held.
func (r *Resolver) refresh(b *body) {
	if b.key.id == "" || b.early {
		return
	}
	before := b.value.Load()
	after := r.compose(b, r.record(b.key.id, b.below))
	if sameWorkload(before, after) {
		return
	}
	b.value.Store(after)
	if b.complete {
		b.next = time.Time{}
	}
	if r.config.Changed != nil {
		if c, ok := r.changes[b]; ok {
			before = c.before
		}
		r.changes[b] = change{before, after}
		select {
		case r.signal <- struct{}{}:
		default:
		}
	}
}

// tell calls Config.Changed and Config.Ended without a lock held, so that it may ask the Resolver. Changes
// of one workload that come faster than they are told are told as one.
func (r *Resolver) tell(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.signal:
		}
		r.mu.Lock()
		list, ended, named := r.changes, r.ended, r.named
		r.changes, r.ended, r.named = map[*body]change{}, nil, nil
		r.mu.Unlock()
		for _, c := range named {
			r.config.Changed(c.before, c.after)
		}
		for _, c := range list {
			r.config.Changed(c.before, c.after)
		}
		for _, b := range ended {
			r.config.Ended(b.value.Load())
		}
	}
}

// work answers the questions in the queue of one source.
func (r *Resolver) work(ctx context.Context, s *sourceState) {
	for {
		select {
		case <-ctx.Done():
			return
		case b := <-s.queue:
			r.answer(ctx, s, b)
		}
	}
}

func (r *Resolver) answer(ctx context.Context, s *sourceState, b *body) {
	cause, shut := s.shut(r.config.Now())
	var f Found
	var err error
	if !shut {
		r.mu.RLock()
		ref := b.ref
		r.mu.RUnlock()
		began := time.Now()
		ask, cancel := context.WithTimeout(ctx, r.config.Timeout)
		f, err = s.Lookup(ask, ref)
		if err != nil && ask.Err() != nil && ctx.Err() == nil {
			err = context.DeadlineExceeded
		}
		cancel()
		s.outcome(err, time.Since(began), r.config)
		if err == nil && (f.Below == "" || f.Below == b.below) {
			r.learn(s.index, f)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b.pending[s.index] = false
	switch {
	case shut && cause != "":
		b.failed[s.Name()] = cause
	case errors.Is(err, context.DeadlineExceeded):
		b.failed[s.Name()] = fmt.Sprintf("does not answer within %s", r.config.Timeout)
	case err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrAbsent):
		b.failed[s.Name()] = err.Error()
	}
	if !slices.Contains(b.pending, true) {
		// The runtime may just have said which pod it is: Kubernetes can be asked now.
		r.ask(b, r.record(b.key.id, b.below))
	}
	r.round(b)
}

// prefetch asks for what a container's files do not tell as soon as they were written:
// when its first event comes, a container of ten milliseconds is over.
func (r *Resolver) prefetch(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.byID[id]
	if rec == nil || rec.asked || !rec.has(PartContainer, r.sources) {
		return
	}
	rec.asked = true
	b := &body{key: bodyKey{id: id}, ref: Ref{ID: id, Runtime: rec.runtime()}, began: r.config.Now(),
		done: make(chan struct{}), failed: map[string]string{}, early: true}
	if p := rec.pod(); p != nil {
		b.ref.PodUID = p.UID
	}
	if r.missing(b, rec) != "" {
		r.dispatch(b)
	}
}

// expired: an event waited for b in vain. What it waited for is slow from now on.
func (r *Resolver) expired(b *body) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, p := range b.pending {
		if p {
			r.sources[i].slow.Store(true)
		}
	}
	b.finish()
}

// learn keeps what a source said.
func (r *Resolver) learn(index int, f Found) {
	if f.Container.ID == "" {
		return
	}
	f.Bound()
	key := f.Below + f.Container.ID
	var unknown []*body
	defer func() { // without the lock
		for _, u := range unknown {
			r.rename(u)
		}
	}()
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.byID[key]
	if f.Gone {
		if rec != nil && rec.gone.IsZero() {
			rec.gone = r.config.Now()
		}
		return
	}
	fresh := rec == nil
	if fresh {
		if len(r.byID) >= r.config.Capacity {
			r.dropRecord()
		}
		rec = &record{found: make([]*Found, len(r.sources))}
		r.byID[key] = rec
	}
	rec.seen, rec.gone = r.config.Now(), time.Time{}
	old := rec.found[index]
	if old != nil && old.More == "" && f.More != "" && old.Container.Started.Equal(f.Container.Started) {
		// A second look at the disk knows less than the daemon said before.
		merged := f
		fillContainer(&merged.Container, &old.Container)
		merged.Container.Labels, merged.Pod, merged.More = old.Container.Labels, fillPod(f.Pod, old.Pod), ""
		f = merged
	}
	rec.found[index] = &f
	if f.CgroupPath != "" && f.Below == "" {
		r.byPath[f.CgroupPath] = rec
	}
	if fresh || old == nil || old.CgroupPath != f.CgroupPath || old.Container.PID != f.Container.PID {
		// A runtime may write down a container before it knows where it runs.
		unknown = r.reconsider(f.Container.ID, f.CgroupPath)
	}
	for _, b := range r.bodies {
		if b.key.id == f.Container.ID && b.gone.IsZero() && (f.Below == "" || f.Below == b.below) && !slices.Contains(b.pending, true) {
			r.refresh(b)
		}
	}
}

// reconsider forgets the cgroups that were taken for something else before this
// container was known, and returns what was a container of an unknown runtime. r.mu is held.
func (r *Resolver) reconsider(id, path string) (unknown []*body) {
	for n, e := range r.cgroups {
		if e.body.key.id == id {
			continue
		}
		if strings.Contains(e.path, id) || path != "" && (e.path == path || strings.HasPrefix(e.path, path+"/")) {
			delete(r.cgroups, n)
			u := e.body
			is := strings.Contains(u.path, id) || path != "" && (u.path == path || strings.HasPrefix(u.path, path+"/"))
			if u.unknown && is && r.bodies[u.key] == u { // and not one that it is inside of
				r.dropBody(u)
				unknown = append(unknown, u)
			}
		}
	}
	return unknown
}

// renameUnknown looks whether a runtime says by now who a container is, which it may have
// written down where nobody was told.
func (r *Resolver) renameUnknown(u *body) {
	if len(r.withKnownPaths(nil, u.path)) == 0 {
		return
	}
	r.mu.Lock()
	still := r.bodies[u.key] == u
	if still {
		for n, e := range r.cgroups {
			if e.body == u {
				delete(r.cgroups, n)
			}
		}
		r.dropBody(u)
	}
	r.mu.Unlock()
	if still {
		r.rename(u)
	}
}

// rename has it told who a container is that was taken for one of an unknown runtime: it may
// do nothing more from which that would be noticed.
func (r *Resolver) rename(u *body) {
	before := u.value.Load()
	b := r.lookup(u.key.cgroup, u.path, before.Container.PID)
	after := b.value.Load()
	if r.config.Changed == nil || b.unknown || after.Kind != bollwerk.WorkloadContainer {
		return
	}
	r.mu.Lock()
	r.named = append(r.named, change{before, after})
	r.mu.Unlock()
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// dropRecord forgets the container that was heard of longest ago. r.mu is held.
func (r *Resolver) dropRecord() {
	var key string
	var oldest time.Time
	for k, rec := range r.byID {
		if key == "" || rec.seen.Before(oldest) {
			key, oldest = k, rec.seen
		}
	}
	r.forgetRecord(key)
	r.stats.evicted.Add(1)
}

func (r *Resolver) forgetRecord(key string) {
	rec := r.byID[key]
	delete(r.byID, key)
	if rec == nil {
		return
	}
	for _, f := range rec.found {
		if f != nil && r.byPath[f.CgroupPath] == rec {
			delete(r.byPath, f.CgroupPath)
		}
	}
}

// makeRoom forgets an eighth of the cgroups, those not used for longest, when there
// are too many. r.mu is held.
func (r *Resolver) makeRoom() {
	if len(r.cgroups) < r.config.Capacity {
		return
	}
	uses := make([]int64, 0, len(r.cgroups))
	for _, e := range r.cgroups {
		uses = append(uses, e.used.Load())
	}
	slices.Sort(uses)
	limit := uses[len(uses)/8]
	for id, e := range r.cgroups {
		if e.used.Load() <= limit {
			delete(r.cgroups, id)
			r.stats.evicted.Add(1)
		}
	}
	used := make(map[*body]bool, len(r.bodies))
	for _, e := range r.cgroups {
		used[e.body] = true
	}
	for _, b := range r.bodies {
		if !used[b] {
			r.dropBody(b)
		}
	}
}

// sameWorkload compares what people and profiles see.
func sameWorkload(a, b *bollwerk.Workload) bool {
	if a.Unresolved != b.Unresolved || (a.Pod == nil) != (b.Pod == nil) {
		return false
	}
	x, y := a.Container, b.Container
	if x.Name != y.Name || x.Runtime != y.Runtime || x.Image != y.Image || x.Digest != y.Digest || x.PID != y.PID ||
		!x.Started.Equal(y.Started) || x.Privileged != y.Privileged || x.HostPID != y.HostPID || x.HostNetwork != y.HostNetwork ||
		!sameLabels(x.Labels, y.Labels) || !slices.Equal(x.Entrypoint, y.Entrypoint) || !slices.Equal(x.Ports, y.Ports) || !slices.Equal(x.Mounts, y.Mounts) {
		return false
	}
	if a.Pod == nil {
		return true
	}
	p, q := *a.Pod, *b.Pod
	if !sameLabels(p.Labels, q.Labels) {
		return false
	}
	return p.Namespace == q.Namespace && p.Name == q.Name && p.UID == q.UID && p.Container == q.Container && p.OwnerKind == q.OwnerKind &&
		p.OwnerName == q.OwnerName && p.ServiceAccount == q.ServiceAccount && p.Sandbox == q.Sandbox
}

func sameLabels(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if w, ok := b[k]; !ok || v != w {
			return false
		}
	}
	return true
}
