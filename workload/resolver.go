package workload

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
)

// Resolver turns cgroups into workloads. Make it with New, let Run run beside it.
//
// A workload is begun when its cgroup is first heard of (Announce, Resolve, a
// runtime's folder): what is on disk is read at once, daemons are asked in the
// background. The answers are values that do not change; when more becomes known the
// Resolver hands out a new one.
type Resolver struct {
	config  Config
	h       *cgroup.Hierarchy
	sources []*sourceState
	pods    bool // some source tells about pods
	nested  bool // the tree we see is a part of the kernel's

	mu      sync.RWMutex
	cgroups map[uint64]*entry
	bodies  map[bodyKey]*body
	byID    map[string]*record // what sources said, by Found.Below + id
	byPath  map[string]*record // the same, for containers whose path does not show the id
	unknown map[string]*body   // containers that no runtime names, by path
	host    *body
	nowhere *body            // a process of which nothing tells where it is
	changes map[*body]change // not told yet
	named   []change         // containers of no runtime that turned out to be one's; the same
	ended   []*body          // not told yet
	ends    ends
	signal  chan struct{} // there are some
	wake    chan struct{} // a round is due sooner than Run thinks

	missed Missed // since TakeMissed; Evicted is the count at that time

	clock atomic.Int64 // of uses, for the eviction
	stats struct {
		asked, waited, expired, unresolved, vanished, evicted, reused, forged atomic.Uint64
	}
}

type change struct{ before, after *bollwerk.Workload }

// entry is a cgroup: that at which a workload begins, or one below.
type entry struct {
	path string                 // as it was first told
	alt  atomic.Pointer[string] // another way to tell it that was found to be right
	body *body
	used atomic.Int64
	dead bool // its folder was gone at the last sweep
	// looked: when Contained looked at it last, nanoseconds.
	looked atomic.Int64
	// lookedPIDs: the same, at a process that has the host's PIDs.
	lookedPIDs atomic.Int64
}

func (e *entry) isAlso(path string) bool {
	alt := e.alt.Load()
	return alt != nil && *alt == path
}

type bodyKey struct {
	id     string // container, "" with a unit
	cgroup uint64 // at which it begins; a restarted container has a new one
	unit   string
}

// body is one workload.
type body struct {
	key   bodyKey
	path  string // of the cgroup at which it begins
	below string // record key prefix that holds for it
	ref   Ref
	began time.Time
	value atomic.Pointer[bollwerk.Workload]
	// done is closed when a first round of all sources is over: waiting longer is in vain.
	done chan struct{}
	over atomic.Bool // the same, without a channel operation

	// Guarded by Resolver.mu.
	complete bool
	pending  []bool            // by index of the source: it still has to answer
	asked    []bool            // by index of the source: it was asked in this round
	failed   map[string]string // source → why it did not answer
	tries    int
	next     time.Time // of the next round, zero when there is none
	gone     time.Time // when it was found to have ended
	lost     bool      // counted as unresolved
	early    bool      // only to ask before the first event; nobody sees it
	unknown  bool      // a container that no runtime names
	watched  *above    // where its end is told
	told     bool      // its end
}

// New makes a Resolver. Sources are in order of trust: where two know a thing, the
// first one's word holds, so Docker comes before the containerd below it.
func New(c Config, sources ...Source) (*Resolver, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Resolver{
		config: c, h: c.Hierarchy,
		cgroups: map[uint64]*entry{}, bodies: map[bodyKey]*body{},
		byID: map[string]*record{}, byPath: map[string]*record{},
		unknown: map[string]*body{}, ends: ends{fd: -1}, changes: map[*body]change{}, signal: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	for i, s := range sources {
		r.sources = append(r.sources, newSourceState(s, i))
		r.pods = r.pods || s.Part() == PartPod
	}
	root, err := r.h.ID("/")
	if err != nil {
		return nil, err
	}
	r.nested = root != 1 // kernfs gives the root of every tree the number 1
	r.host, r.nowhere = r.settled(root, ""), r.settled(0, "neither its cgroup nor its process could be read")
	return r, nil
}

// settled makes a body of the host about which nothing more will become known.
func (r *Resolver) settled(cgroup uint64, unresolved string) *body {
	b := &body{key: bodyKey{cgroup: cgroup}, began: r.config.Now(), done: make(chan struct{}), complete: true}
	b.value.Store(&bollwerk.Workload{Kind: bollwerk.WorkloadHost, Cgroup: cgroup, Node: r.config.Node, Unresolved: unresolved})
	b.finish()
	return b
}

// Host is the workload of plain processes of the host.
func (r *Resolver) Host() *bollwerk.Workload { return r.host.value.Load() }

// Announce says that a cgroup was made, or that a process is in it, before anybody
// needs its name. It never waits. path may be "" and pid 0.
func (r *Resolver) Announce(id uint64, path string, pid uint32) { r.lookup(id, path, pid) }

// Now returns the workload of a cgroup as far as it is known, and whether that is
// final for now. It never waits for a daemon.
func (r *Resolver) Now(id uint64, path string, pid uint32) (*bollwerk.Workload, bool) {
	b := r.lookup(id, path, pid)
	return b.value.Load(), b.over.Load()
}

// Known returns the workload of a cgroup that was asked for before, nil of another. It looks
// nowhere and waits for nobody.
func (r *Resolver) Known(id uint64) *bollwerk.Workload {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.cgroups[id]; e != nil {
		return e.body.value.Load()
	}
	return nil
}

// Resolve returns the workload of a cgroup. For a cgroup known before it costs a map
// access. It waits for the first round of answers about a new container, but no longer
// than Config.Wait after the container was first heard of: a runtime that hangs costs
// every container that much once, and after its first time-out nothing.
// The answer is never nil; Unresolved says what is missing.
func (r *Resolver) Resolve(ctx context.Context, id uint64, path string, pid uint32) *bollwerk.Workload {
	b := r.lookup(id, path, pid)
	if b.over.Load() {
		return b.value.Load()
	}
	left := b.began.Add(r.config.Wait).Sub(r.config.Now())
	if left <= 0 {
		return b.value.Load()
	}
	r.stats.waited.Add(1)
	timer := time.NewTimer(min(left, r.config.Wait))
	defer timer.Stop()
	select {
	case <-b.done:
	case <-timer.C:
		r.stats.expired.Add(1)
		r.expired(b)
	case <-ctx.Done():
	}
	return b.value.Load()
}

// lookup finds or begins the workload of a cgroup.
func (r *Resolver) lookup(id uint64, path string, pid uint32) *body {
	if id == 0 {
		// The sensor does not know; the number must not stand for all of these.
		if (path == "" || path[0] != '/') && pid != 0 {
			path, _ = r.h.Of(pid)
		}
		if id, _ = r.h.ID(path); path == "" || id == 0 {
			return r.nowhere
		}
	}
	r.mu.RLock()
	e := r.cgroups[id]
	r.mu.RUnlock()
	if e != nil && (path == "" || e.path == path || e.isAlso(path)) {
		e.used.Store(r.clock.Add(1))
		return e.body
	}
	if e != nil {
		// The same number for another path: of the other tree of a hybrid host, used
		// again, or told by somebody who shortens paths.
		if r.h.Has(e.path, id) && !r.h.Has(path, id) {
			also := path
			e.alt.Store(&also)
			e.used.Store(r.clock.Add(1))
			return e.body
		}
		r.stats.reused.Add(1)
		r.mu.Lock()
		if r.cgroups[id] == e {
			delete(r.cgroups, id)
		}
		r.mu.Unlock()
	}
	return r.begin(id, path, pid, time.Time{})
}

// begin makes the entry of a cgroup. What sources said since the given time is not read
// again; the zero time trusts nothing that can still be read.
func (r *Resolver) begin(id uint64, path string, pid uint32, since time.Time) *body {
	r.stats.asked.Add(1)
	told, known := path, true
	if path != "" && path[0] != '/' {
		// Its beginning was cut off. What is left proves nothing: whoever nests cgroups
		// deep enough could choose it.
		path = ""
	}
	if path == "" || r.nested {
		// Inside of a container that is a node (kind) our view of the tree begins
		// below the kernel's: the runtimes there know ours.
		p, err := r.h.PathOf(id)
		if err != nil && pid != 0 {
			p, err = r.h.Of(pid)
		}
		if err == nil {
			path = p
		}
		known = path != ""
	}
	if told == "" {
		told = path
	}
	var b *body
	if known {
		b = r.place(id, path, pid, since)
	} else {
		// Nobody can say any more: the truth is that we do not know.
		r.stats.unresolved.Add(1)
		r.stats.vanished.Add(1)
		b = r.settled(id, "its cgroup was gone before its path could be read")
		b.lost, b.gone = true, b.began
		r.mu.Lock()
		r.miss(b.value.Load())
		r.mu.Unlock()
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.cgroups[id]; e != nil && told == e.path {
		return e.body // somebody was faster
	}
	if b != r.host {
		if old := r.bodies[b.key]; old != nil {
			b = old
		} else if !b.unknown { // else it ended a moment ago
			r.bodies[b.key] = b
			r.watchEnd(b)
			if b.complete {
				b.finish()
			} else {
				r.dispatch(b)
			}
		}
	}
	e := &entry{path: told, body: b}
	e.used.Store(r.clock.Add(1))
	r.makeRoom()
	r.cgroups[id] = e
	return b
}

// place reads a path and what is on disk: the first answer about a workload.
func (r *Resolver) place(id uint64, path string, pid uint32, since time.Time) *body {
	p := ParsePath(path)
	candidates := r.withKnownPaths(p.Containers, path)
	below := userBelow(path)
	if len(candidates) == 1 {
		// One more cgroup in a container that is known: whoever makes thousands of them
		// shall not make us read its files each time.
		if b := r.alive(candidates[0].ID, path[:candidates[0].End]); b != nil {
			return b
		}
	}
	unknown := r.unknownAt(path)
	if c, rec := r.choose(candidates, p, path, below, unknown != nil, pid, since); c != nil {
		return r.containerBody(id, path, below, pid, *c, rec)
	}
	if unknown != nil {
		return unknown // what units it has are its own affair
	}
	if p.Unit == "" {
		return r.host
	}
	at := path[:p.UnitEnd]
	begin, err := r.h.ID(at)
	if err != nil {
		begin = 0
		if at == path {
			begin = id
		}
	}
	b := &body{key: bodyKey{cgroup: begin, unit: p.Unit}, path: at, began: r.config.Now(), done: make(chan struct{}), complete: true}
	b.value.Store(&bollwerk.Workload{Kind: bollwerk.WorkloadUnit, Cgroup: begin, Unit: p.Unit, Node: r.config.Node})
	b.finish()
	return b
}

// alive returns the container's body if it began at this path and still exists.
func (r *Resolver) alive(id, at string) *body {
	begin, err := r.h.ID(at)
	if err != nil {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if b := r.bodies[bodyKey{id: id, cgroup: begin}]; b != nil && b.path == at && b.gone.IsZero() {
		return b
	}
	return nil
}

// choose decides which container of the path the process belongs to, nil for none.
//
// Names of cgroups are made by whoever may make cgroups there. Directly below the
// root or a slice of the system that is the host; inside of a container, of a user's
// manager or of a service with a subtree of its own it is not, and "docker-<id of
// another>.scope" there would borrow that container's profile and rights. Such a name
// counts only if its runtime stands by this very cgroup.
func (r *Resolver) choose(cs []Named, p Place, path, below string, inside bool, pid uint32, since time.Time) (*Named, *record) {
	var chosen *Named
	var said *record
	for i := range cs {
		c := &cs[i]
		at := path[:c.End]
		var rec *record
		if !c.Final {
			rec = r.local(Ref{ID: c.ID, Runtime: c.Runtime, Path: at, PodUID: c.PodUID, PID: pid}, below, since)
		}
		switch {
		case i == 0 && p.Unit == "" && below == "" && !inside:
			chosen, said = c, rec
		case r.proven(rec, at, below):
			chosen, said = c, rec
		case rec != nil:
			r.stats.forged.Add(1)
		}
	}
	return chosen, said
}

// proven reports whether a runtime says that the container's cgroup is at.
func (r *Resolver) proven(rec *record, at, below string) bool {
	if rec == nil {
		return false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, f := range rec.found {
		if f == nil {
			continue
		}
		if f.CgroupPath != "" && f.CgroupPath == at || below != "" && f.Below == below {
			return true
		}
		if f.Container.PID != 0 {
			if p, err := r.h.Of(f.Container.PID); err == nil && (p == at || strings.HasPrefix(p, at+"/")) {
				return true
			}
		}
	}
	return false
}

// withKnownPaths adds containers whose runtime puts them where the path does not show
// an id: "/default/web" of ctr, "/web" of runc.
func (r *Resolver) withKnownPaths(cs []Named, path string) []Named {
	if len(cs) > 0 && cs[0].End == len(path) {
		return cs
	}
	first := len(path)
	if len(cs) > 0 {
		first = cs[0].End
	}
	n := 0
	for end := 1; end <= first && n < 8; end++ {
		if end < len(path) && path[end] != '/' || path[end-1] == '/' {
			continue
		}
		n++
		at := path[:end]
		if len(cs) > 0 && at == path[:cs[0].End] {
			break
		}
		r.mu.RLock()
		rec := r.byPath[at]
		r.mu.RUnlock()
		if rec != nil {
			return append([]Named{{ID: rec.id(), Runtime: rec.runtime(), End: end}}, cs...)
		}
	}
	if len(cs) > 0 {
		return cs
	}
	// The runtime may have written its files a moment ago: ask by the last names.
	n = 0
	for end := len(path); end > 1 && n < 2; n++ {
		i := strings.LastIndexByte(path[:end], '/')
		if id := path[i+1 : end]; ValidID(id) && !isUnit(id) && !strings.HasSuffix(id, ".slice") {
			if rec := r.local(Ref{ID: id, Path: path[:end]}, userBelow(path), time.Time{}); r.proven(rec, path[:end], "") {
				return []Named{{ID: id, Runtime: rec.runtime(), End: end}}
			}
		}
		end = i
	}
	return nil
}

// userBelow is the cgroup of the user whose manager a path is in, "" for the system's.
func userBelow(path string) string {
	const head = "/user.slice/user-"
	rest, ok := strings.CutPrefix(path, head)
	if !ok {
		return ""
	}
	uid, _, ok := strings.Cut(rest, ".slice/")
	if !ok || !isDigits(uid) {
		return ""
	}
	return path[:len(head)+len(uid)+len(".slice/")]
}

// local gathers what every source has at hand, and falls back on what was said before:
// the files of a container that lived for ten milliseconds are gone by now.
func (r *Resolver) local(ref Ref, below string, since time.Time) *record {
	if !since.IsZero() {
		r.mu.RLock()
		rec := r.record(ref.ID, below)
		r.mu.RUnlock()
		if rec.has(PartContainer, r.sources) && !rec.seen.Before(since) {
			return rec
		}
	}
	for _, p := range [...]Part{PartContainer, PartPod} {
		if p == PartPod {
			if !r.pods {
				break
			}
			r.mu.RLock()
			rec := r.record(ref.ID, below)
			ref.Pod = rec.pod()
			r.mu.RUnlock()
			if ref.PodUID == "" && ref.Pod == nil {
				break
			}
		}
		for _, s := range r.sources {
			if s.Part() != p {
				continue
			}
			if f, err := s.Local(ref); err == nil && (f.Below == "" || f.Below == below) {
				r.learn(s.index, f)
			} else if err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrAbsent) {
				s.trouble(err)
			}
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.record(ref.ID, below)
}

// record of a container; r.mu is held. What a user's own runtime says holds below
// that user's cgroup only, and there it goes first.
func (r *Resolver) record(id, below string) *record {
	if below != "" {
		if rec := r.byID[below+id]; rec != nil {
			return rec
		}
	}
	return r.byID[id]
}

func (r *Resolver) containerBody(id uint64, path, below string, pid uint32, c Named, rec *record) *body {
	at := path[:c.End]
	begin, err := r.h.ID(at)
	if err != nil {
		begin = 0
		if at == path {
			begin = id
		}
	}
	b := &body{
		key: bodyKey{id: c.ID, cgroup: begin}, path: at, below: below, began: r.config.Now(), done: make(chan struct{}),
		ref:    Ref{ID: c.ID, Runtime: c.Runtime, Path: at, PodUID: c.PodUID, PID: pid},
		failed: map[string]string{},
	}
	if c.Final {
		b.complete = true
		b.value.Store(&bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: begin, Node: r.config.Node,
			Container: &bollwerk.Container{ID: c.ID, Name: c.Name, Runtime: c.Runtime}})
		b.finish()
		return b
	}
	r.mu.RLock()
	b.value.Store(r.compose(b, rec))
	r.mu.RUnlock()
	return b
}

// compose makes the workload from what is known. r.mu is held.
func (r *Resolver) compose(b *body, rec *record) *bollwerk.Workload {
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: b.key.cgroup, Node: r.config.Node}
	c := &bollwerk.Container{ID: b.key.id, Runtime: b.ref.Runtime}
	if rec != nil {
		runtime := ""
		for _, f := range rec.found {
			if f == nil {
				continue
			}
			if runtime == "" {
				runtime = f.Container.Runtime
			}
			fillContainer(c, &f.Container)
			w.Pod = fillPod(w.Pod, f.Pod)
		}
		if runtime != "" {
			c.Runtime = runtime
		}
		c.Owner = owner(c)
	}
	if w.Pod == nil && b.ref.PodUID != "" {
		w.Pod = &bollwerk.Pod{UID: b.ref.PodUID}
	}
	w.Container = c
	missing := r.missing(b, rec)
	if b.complete = missing == ""; !b.complete {
		w.Unresolved = r.why(b, missing)
	}
	return w
}

// missing says in words what is not known of b, "" when it is complete.
func (r *Resolver) missing(b *body, rec *record) string {
	if !rec.has(PartContainer, r.sources) {
		return "everything"
	}
	more := r.lacking(rec)
	if (b.ref.PodUID != "" || rec.pod() != nil) && r.pods && !rec.has(PartPod, r.sources) {
		if more != "" {
			more += ", "
		}
		more += "owner, labels and service account of the pod"
	}
	return more
}

// lacking is what the runtimes that named a container did not tell. One that knows
// everything is enough: Docker's word completes that of the containerd below it.
func (r *Resolver) lacking(rec *record) string {
	var more []string
	for i, f := range rec.found {
		if f == nil || r.sources[i].Part() != PartContainer {
			continue
		}
		if f.More == "" {
			return ""
		}
		more = append(more, f.More)
	}
	return strings.Join(more, ", ")
}

// why makes a sentence of what is missing, and says whose fault it is.
func (r *Resolver) why(b *body, missing string) string {
	s := missing + " not known"
	if missing == "everything" {
		s = "no container runtime on this machine names it"
		if !b.gone.IsZero() {
			s = "the container was gone before its runtime could be asked"
		}
	}
	if b.gone.IsZero() && (slices.Contains(b.pending, true) || !b.over.Load() || !b.next.IsZero()) {
		s += " yet"
	}
	names := make([]string, 0, len(b.failed))
	for n := range b.failed {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		s += "; " + n + ": " + b.failed[n]
	}
	return s
}

// finish ends the waiting for a body. r.mu is held, or nobody else knows b.
func (b *body) finish() {
	if b.over.CompareAndSwap(false, true) {
		close(b.done)
	}
}
