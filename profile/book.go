package profile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
)

// Config of a Book. The zero value of a field is its default.
type Config struct {
	// Node is the name this node counts under in merged profiles.
	Node string
	// Arch of the node's system call numbers; the program's own by default.
	Arch Arch
	// Window is the sampling window (10 m); Start the time after a container's start
	// that counts as its start (2 m).
	Window time.Duration
	Start  time.Duration
	// Hold is how long a workload learns nothing after a suspicious event (15 m).
	Hold time.Duration
	// Repeat is the shortest time between two reports of one deviation (1 m).
	Repeat time.Duration
	Gates  Gates
	// MaxProfiles in memory (256); further ones go to the store, the least recently
	// used that has no running replica first.
	MaxProfiles int
	// Memory for entries in bytes (8 MiB). Each profile may have its equal share; more
	// only while others leave theirs.
	Memory int
	// Host learns plain processes of the host too: people at a shell, mostly.
	Host bool
	// Cumulative says that the bitmaps given to Syscalls hold every call since the
	// container began instead of since the last time. How often a call is used cannot
	// be told then, and system calls stay out of the estimates.
	Cumulative bool
	Store      *Store // nil: nothing survives the process
	Now        func() time.Time
}

func (c Config) withDefaults() Config {
	c.Node = cmp.Or(c.Node, "node")
	c.Arch = cmp.Or(c.Arch, hostArch())
	c.Window = cmp.Or(c.Window, DefaultWindow)
	c.Start = cmp.Or(c.Start, 2*time.Minute)
	c.Hold = cmp.Or(c.Hold, 15*time.Minute)
	c.Repeat = cmp.Or(c.Repeat, time.Minute)
	c.MaxProfiles = cmp.Or(c.MaxProfiles, 256)
	c.Memory = cmp.Or(c.Memory, 8<<20)
	if c.Gates == (Gates{}) {
		c.Gates = DefaultGates()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate says what is wrong with a configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	switch {
	case c.Arch.table() == nil:
		return fmt.Errorf("architecture %q: system calls are known for amd64 and arm64", c.Arch)
	case c.Window < time.Minute || c.Window > 24*time.Hour:
		return fmt.Errorf("window %s: want between 1m and 24h", c.Window)
	case c.Start < 0 || c.Start > c.Window:
		return fmt.Errorf("start %s: want between 0 and the window %s", c.Start, c.Window)
	case c.Hold < 0 || c.Repeat < 0:
		return errors.New("hold and repeat: want times that are not negative")
	case c.MaxProfiles < 1 || c.MaxProfiles > 1<<16:
		return fmt.Errorf("max profiles %d: want 1 to 65536", c.MaxProfiles)
	case c.Memory < 64<<10:
		return fmt.Errorf("memory %d bytes: less than 65536 hold no profile", c.Memory)
	}
	if err := c.Gates.Observe.validate("observe"); err != nil {
		return err
	}
	return c.Gates.Restrict.validate("restrict")
}

// Book holds the profiles of a node. It is safe for concurrent use.
type Book struct {
	c  Config
	mu sync.Mutex

	records  map[string]*record  // by workload key
	replicas map[uint64]*replica // running ones, by cgroup
	bytes    int                 // of all entries
	scratch  scratch
	out      []*bollwerk.Detection
	stats    Stats
	notices  []string
}

// record is a profile and what this node does with it. Only the profile is merged
// with others: a mode is a decision for one place.
type record struct {
	p       *Profile
	mode    Mode
	moves   []Move
	changed bool  // what is known or decided
	counted bool  // counts only
	saved   int64 // when, seconds
	running int   // replicas
	used    int64
	held    uint32 // learning rests until then
	repeats map[uint64]*repeat
	sum     *Completeness // for severities, renewed now and then
	summed  uint32
}

// replica is one running instance of a workload.
type replica struct {
	w        *bollwerk.Workload
	r        *record
	hash     uint32
	slot     uint8
	epoch    uint32 // of the profile, in which its unit was counted
	began    uint32 // 0: its start was not seen
	last     uint32 // latest sign of life
	started  bool   // its start was counted
	calls    [MaxSyscalls / 64]uint64
	tainted  [8]tainted // processes that did something suspicious
	taints   uint8
	overflow bool // more of them than fit: nothing of this replica is learned any more
}

type tainted struct {
	pid   uint32
	start uint64
}

// Stats are counts since the book was made.
type Stats struct {
	Profiles int `json:"profiles"`
	Bytes    int `json:"bytes"` // of entries, an estimate
	Replicas int `json:"replicas"`
	// Unresolved events: of workloads whose identity is not known well enough to learn.
	Unresolved uint64 `json:"unresolved"`
	Withheld   uint64 `json:"withheld"` // events of incidents
	Runtime    uint64 `json:"runtime"`  // events of the container runtime inside of containers
	Evicted    uint64 `json:"evicted"`
	Refused    uint64 `json:"refused"`    // workloads without room for a profile
	Deviations uint64 `json:"deviations"` // all, folded ones too
}

// NewBook returns an empty book. Profiles in the store are read when their workload
// is first seen.
func NewBook(c Config) (*Book, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("profile: %w", err)
	}
	return &Book{c: c.withDefaults(), records: map[string]*record{}, replicas: map[uint64]*replica{}}, nil
}

// Stats returns the counts.
func (b *Book) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Profiles, s.Bytes, s.Replicas = len(b.records), b.bytes, len(b.replicas)
	return s
}

// Notices returns sentences about what went wrong since the last call (a damaged
// file, a profile put away), oldest first, and forgets them.
func (b *Book) Notices() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.notices
	b.notices = nil
	return n
}

func (b *Book) notice(format string, args ...any) {
	if len(b.notices) < 64 {
		b.notices = append(b.notices, fmt.Sprintf(format, args...))
	}
}

// learnable reports whether a workload gets a profile.
func (b *Book) learnable(w *bollwerk.Workload) bool {
	switch {
	case w == nil, w.Pod != nil && w.Pod.Sandbox:
		return false
	case w.Unresolved != "":
		b.stats.Unresolved++
		return false
	case w.Container != nil, w.Pod != nil, w.Unit != "":
		return true
	}
	return b.c.Host
}

// find returns the running replica an event belongs to, made on first sight.
func (b *Book) find(w *bollwerk.Workload, at uint32) *replica {
	if rep := b.replicas[w.Cgroup]; rep != nil {
		if rep.w == w {
			return rep
		}
		// Another value: the agent knows more by now, or the kernel gave the number
		// of a dead container to a new one.
		if replicaName(rep.w) == replicaName(w) && rep.w.Key() == w.Key() {
			rep.w = w
			return rep
		}
		b.end(w.Cgroup)
		if unnamed(rep.w) && !unnamed(w) {
			b.drop(rep.r) // it never was a workload of its own
		}
	}
	if !b.learnable(w) {
		return nil
	}
	return b.begin(w, at)
}

// unnamed is a container that no runtime names. One may do so later.
func unnamed(w *bollwerk.Workload) bool {
	return w.Container != nil && w.Container.Runtime == bollwerk.UnknownRuntime
}

// drop forgets a profile that nothing runs by; what was put away stays.
func (b *Book) drop(r *record) {
	if r.running == 0 && b.records[r.p.key] == r {
		b.bytes -= r.p.bytes
		delete(b.records, r.p.key)
	}
}

// replicaName tells replicas apart: the container, or the node for what is no container.
func replicaName(w *bollwerk.Workload) string {
	if w.Container != nil {
		return w.Container.ID
	}
	return w.Node
}

// maxRunning replicas a book follows; each takes some 300 bytes.
const maxRunning = 4096

func (b *Book) begin(w *bollwerk.Workload, at uint32) *replica {
	if len(b.replicas) >= maxRunning {
		// Ends that were never told. The one silent for longest goes.
		var oldest uint64
		for cg, rep := range b.replicas {
			if o := b.replicas[oldest]; o == nil || rep.last < o.last {
				oldest = cg
			}
		}
		b.end(oldest)
	}
	workload := Key(w)
	r := b.record(workload)
	if r == nil {
		if !b.room() {
			b.stats.Refused++
			return nil
		}
		r = &record{p: newProfile(workload, hash(b.c.Node), uint32(b.c.Window/time.Second)), changed: true}
		r.p.arch = b.c.Arch
		b.inherit(r)
		b.records[workload] = r
		b.bytes += r.p.bytes
	}
	b.seed(r, w)
	r.running++
	rep := &replica{w: w, r: r, hash: uint32(hash(b.c.Node + "\x00" + replicaName(w))), slot: r.p.slot & 15, last: at}
	r.p.slot++
	if rep.hash == 0 {
		rep.hash = 1
	}
	if c := w.Container; c != nil && !c.Started.IsZero() {
		if s, ok := seconds(c.Started); ok && at+startSlack >= s && at <= s+uint32(b.c.Start/time.Second) {
			rep.began = min(s, at)
		}
	}
	b.replicas[w.Cgroup] = rep
	return rep
}

// startSlack seconds an event may lie before the start a runtime tells: runtimes write
// it down once the program runs.
const startSlack = 30

// maxKey bytes of a workload's key: names come from whoever made the container.
const maxKey = 512

// Key is the workload's key as books and documents have it: bounded, and without what could
// act on a terminal. Keys that were changed stay different from each other.
func Key(w *bollwerk.Workload) string {
	k := w.Key()
	text := terminal.Clean(k, 0)
	if text == k && len(k) <= maxKey {
		return k
	}
	return fmt.Sprintf("%s…%016x", strings.ToValidUTF8(text[:min(len(text), maxKey-20)], ""), hash(k))
}

// record returns a profile by key, from memory or the store.
func (b *Book) record(workload string) *record {
	r := b.records[workload]
	if r == nil && b.c.Store != nil {
		doc, err := b.c.Store.Load(workload)
		if err != nil {
			b.notice("%v", err)
		}
		if doc == nil || !b.room() {
			return nil
		}
		if r, err = b.adopt(doc); err != nil {
			b.notice("%s: %v", clean(workload), err)
			return nil
		}
		b.records[workload] = r
		b.bytes += r.p.bytes
	}
	if r != nil {
		r.used = b.c.Now().Unix()
	}
	return r
}

// room makes place for one more profile; false when all belong to running workloads.
func (b *Book) room() bool {
	if len(b.records) < b.c.MaxProfiles {
		return true
	}
	var oldest string
	for workload, r := range b.records {
		if r.running == 0 && (oldest == "" || r.used < b.records[oldest].used) {
			oldest = workload
		}
	}
	if oldest == "" {
		return false
	}
	r := b.records[oldest]
	if (r.changed || r.counted) && b.c.Store != nil {
		if err := b.c.Store.Save(b.document(r)); err != nil {
			b.notice("%s: the profile could not be put away and is lost from memory: %v", clean(oldest), err)
		}
	} else if b.c.Store == nil {
		b.notice("%s: the profile was dropped as there is no store and more than %d profiles", clean(oldest), b.c.MaxProfiles)
	}
	b.bytes -= r.p.bytes
	delete(b.records, oldest)
	b.stats.Evicted++
	return true
}

// Ended says that a container or unit with this cgroup is gone. EventContainer "stop"
// says the same.
func (b *Book) Ended(cgroup uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(cgroup)
}

func (b *Book) end(cgroup uint64) {
	if rep := b.replicas[cgroup]; rep != nil {
		rep.r.running--
		delete(b.replicas, cgroup)
	}
}

// forgetIdle ends replicas no sign of life came from for a day: their end was missed.
// Should one be alive after all, its next event brings it back.
func (b *Book) forgetIdle() {
	now, ok := seconds(b.c.Now())
	for cg, rep := range b.replicas {
		if ok && now > rep.last && now-rep.last > 24*3600 {
			b.end(cg)
		}
	}
}

// inherit starts the profile of a new image from the latest one of the same owner.
// What was known stays known, but nothing of it counts as observed.
func (b *Book) inherit(r *record) {
	owner := Owner(r.p.key)
	var from *Profile
	for workload, o := range b.records {
		if workload != r.p.key && Owner(workload) == owner && (from == nil || o.p.last > from.last) {
			from = o.p
		}
	}
	if from == nil && b.c.Store != nil {
		doc, err := b.c.Store.Previous(r.p.key)
		if err != nil {
			b.notice("%v", err)
		}
		if doc != nil {
			if p, err := doc.profile(hash(b.c.Node)); err == nil {
				from = p
			}
		}
	}
	if from == nil || from.window != r.p.window {
		return
	}
	r.p.inherited = from.key
	for k, m := range from.entries {
		if b.bytes+r.p.bytes > b.c.Memory && r.p.bytes > b.share() {
			break
		}
		r.p.put(k, &mark{meta: sourceInherited, origins: m.origins})
	}
	for k, e := range from.edits {
		r.p.setEdit(k, e)
	}
}

// seed adds what is declared: the entry point and the ports.
func (b *Book) seed(r *record, w *bollwerk.Workload) {
	c := w.Container
	if c == nil {
		return
	}
	if len(c.Entrypoint) > 0 && strings.HasPrefix(c.Entrypoint[0], "/") {
		b.declare(r, key{cat: Executable, value: string(appendPath(nil, c.Entrypoint[0], false))})
	}
	for i, p := range c.Ports {
		if i == caps[Port]/2 {
			break
		}
		b.declare(r, key{cat: Port, proto: protoTCP, n: portOf(p)})
	}
}

func (b *Book) declare(r *record, k key) {
	if m := r.p.entries[k]; m != nil {
		m.addSource(sourceSeed)
		return
	}
	if int(r.p.size[k.cat]) < caps[k.cat] {
		before := r.p.bytes
		r.p.add(k, &mark{meta: sourceSeed}, &b.scratch)
		b.bytes += r.p.bytes - before
	}
}

// share of the memory that each profile may use whatever the others do.
func (b *Book) share() int { return b.c.Memory / b.c.MaxProfiles }

// Keys returns the workloads with a profile in memory, sorted.
func (b *Book) Keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]string, 0, len(b.records))
	for k := range b.records {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Profile returns a copy of a profile.
func (b *Book) Profile(workload string) (*Profile, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(workload)
	if r == nil {
		return nil, fmt.Errorf("%s: %w", clean(workload), ErrUnknown)
	}
	return r.p.copy(), nil
}

// Status is a profile in one line.
type Status struct {
	Workload     string        `json:"workload"`
	Mode         Mode          `json:"mode"`
	Moves        []Move        `json:"moves,omitempty"`
	Entries      int           `json:"entries"`
	Running      int           `json:"running"`
	Inherited    string        `json:"inherited,omitempty"`
	Completeness *Completeness `json:"completeness"`
	// Next is the mode that comes next, Missing what its gate still asks for.
	Next    Mode     `json:"next"`
	Missing []string `json:"missing,omitempty"`
}

// Status of one workload.
func (b *Book) Status(workload string) (*Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(workload)
	if r == nil {
		return nil, fmt.Errorf("%s: %w", clean(workload), ErrUnknown)
	}
	s := &Status{Workload: workload, Mode: r.mode, Moves: slices.Clone(r.moves), Entries: r.p.Len(), Running: r.running,
		Inherited: r.p.inherited, Completeness: r.p.Completeness(), Next: min(r.mode+1, Restrict)}
	if r.mode < Restrict {
		s.Missing = b.gate(s.Next).missing(s.Completeness)
	}
	return s, nil
}

// Did reports whether a workload ever showed a behaviour (one of the constants, such
// as RunsCreated), and whether its profile is complete enough to observe: an
// enforcement for "containers that never did so" asks for did == false, and may ask
// for known as well.
func (b *Book) Did(w *bollwerk.Workload, behaviour string) (did, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(Key(w))
	if r == nil {
		return false, false
	}
	did = r.p.Did(behaviour)
	return did, len(b.c.Gates.Observe.missing(r.p.Completeness())) == 0
}
