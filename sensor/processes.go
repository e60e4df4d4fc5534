package sensor

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bollwerk/bollwerk"
)

const (
	// grace is how long a process that ended is remembered: events about it may still
	// be on their way, and its children name it as their parent.
	grace = 30 * time.Second
	// mostDead are remembered in a burst of short-lived ones; later ones push them out.
	mostDead = 4096
	// tick is the unit of start times in /proc (USER_HZ is 100 on all Linux ports).
	tick = uint64(10 * time.Millisecond)
)

// Processes is the table of processes: who runs, who ran a moment ago, and their
// parents. Sources tell it of starts, forks and ends; everybody asks it. Bounded; what
// was pushed out, or was never seen, is read from /proc again.
//
// The values it hands out are never changed. A change (an exec, other rights) makes a
// new value; who holds the old one keeps the past as it was.
type Processes struct {
	k       *Kernel
	Strings *Strings
	cgroups *cgroupNames

	mu      sync.RWMutex
	table   map[uint32]*entry // newest process of this PID first
	count   int
	texts   int // bytes of all entries
	most    int
	dead    []*entry // in the order of their ends
	dropped uint64   // live processes pushed out
	layer   atomic.Pointer[func(*bollwerk.Process) bollwerk.Digest]
	list    func(context.Context, func(*Record)) error
}

type entry struct {
	p     *bollwerk.Process
	texts int // bytes
	older *entry
	ended time.Time // zero while it runs
}

// Record is what a source tells of a process.
type Record struct {
	Process     *bollwerk.Process // without Parent
	Parent      uint32
	ParentStart uint64
}

func newProcesses(k *Kernel, most int) *Processes {
	return &Processes{k: k, Strings: newStrings(), cgroups: newCgroupNames(k), table: map[uint32]*entry{}, most: most}
}

// sameStart compares start times of which one may be rounded down to ticks by /proc.
func sameStart(a, b uint64) bool {
	return a == b || ((a%tick == 0 || b%tick == 0) && a/tick == b/tick)
}

// find wants the lock held. Start 0 is whichever has the PID, or had it last.
func (t *Processes) find(pid uint32, start uint64) *entry {
	for e := t.table[pid]; e != nil; e = e.older {
		if start == 0 || sameStart(e.p.Start, start) {
			return e
		}
	}
	return nil
}

// Known returns the process if the table has it, nil otherwise.
func (t *Processes) Known(pid uint32, start uint64) *bollwerk.Process {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if e := t.find(pid, start); e != nil {
		return e.p
	}
	return nil
}

// Get returns the process with this PID and start time (nanoseconds since boot; 0:
// whichever has the PID now, or had it last), never nil: one that is not known is read
// from /proc, and if it is gone a value with the PID alone.
func (t *Processes) Get(pid uint32, start uint64) *bollwerk.Process {
	return t.get(pid, start, bollwerk.ProcessDepth)
}

func (t *Processes) get(pid uint32, start uint64, depth int) *bollwerk.Process {
	t.mu.RLock()
	var known *bollwerk.Process // the entry may get another one as soon as the lock is gone
	alive := false
	if e := t.find(pid, start); e != nil {
		known, alive = e.p, e.ended.IsZero()
	}
	t.mu.RUnlock()
	if known != nil && (start != 0 || alive) {
		return known
	}
	if pid != 0 && depth > 0 {
		if r := readProcess(t, pid); r != nil && (start == 0 || sameStart(r.Process.Start, start)) {
			if known != nil && sameStart(r.Process.Start, known.Start) {
				return known // a zombie: /proc has its name and nothing else
			}
			if start != 0 {
				r.Process.Start = start // the exact one
			}
			return t.add(r, depth-1)
		}
	}
	if known != nil {
		return known
	}
	return &bollwerk.Process{PID: pid, Start: start}
}

// All returns every process that runs, in no order.
func (t *Processes) All() []*bollwerk.Process {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make([]*bollwerk.Process, 0, len(t.table))
	for _, e := range t.table {
		if e.ended.IsZero() {
			out = append(out, e.p)
		}
	}
	return out
}

// Len is how many processes are remembered.
func (t *Processes) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count
}

// Exec tells of a program start and returns the new image with its parents, and the
// image before, nil when that was not known.
func (t *Processes) Exec(r *Record) (now, before *bollwerk.Process) {
	p := r.Process
	if layer := t.layer.Load(); layer != nil && p.Origin == bollwerk.OriginImage {
		p.Layer = (*layer)(p)
	}
	t.mu.Lock()
	e := t.find(p.PID, p.Start)
	if e == nil {
		t.mu.Unlock()
		return t.add(r, bollwerk.ProcessDepth-1), nil
	}
	defer t.mu.Unlock()
	before = e.p
	p.Parent = before.Parent // who made it, though it may be an orphan by now
	p.Start = max(p.Start, before.Start)
	t.set(e, p)
	return p, before
}

// Fork tells of a new process: a copy of its parent's image with what the record says
// of ids, rights and namespaces.
func (t *Processes) Fork(r *Record) *bollwerk.Process {
	parent := t.Get(r.Parent, r.ParentStart)
	c := r.Process
	if c.CgroupPath == "" && c.Cgroup == parent.Cgroup {
		c.CgroupPath = parent.CgroupPath
	}
	if c.CgroupPath == "" {
		c.CgroupPath = t.CgroupPath(c.Cgroup, c.PID)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(c.PID, c.Start); e != nil {
		return e.p // read from /proc in between: at least as new
	}
	c.Path, c.Script, c.Args, c.Truncated, c.Cwd, c.Env = parent.Path, parent.Script, parent.Args, parent.Truncated, parent.Cwd, parent.Env
	c.TTY, c.Inode, c.Device, c.Mode, c.Origin, c.Layer = parent.TTY, parent.Inode, parent.Device, parent.Mode, parent.Origin, parent.Layer
	c.Fileless, c.Stdio = parent.Fileless, parent.Stdio
	t.insert(c, parent)
	return c
}

// Exit tells of the end of a process; it is remembered for a while.
func (t *Processes) Exit(pid uint32, start uint64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.find(pid, start)
	if e == nil || !e.ended.IsZero() {
		return
	}
	e.ended = now
	t.dead = append(t.dead, e)
	t.forget(now)
}

// Replace puts a new value of a known process in place of the old one (other rights,
// another namespace); it keeps the parent.
func (t *Processes) Replace(p *bollwerk.Process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(p.PID, p.Start); e != nil {
		t.set(e, p)
	}
}

// SetLayer sets what knows of layers of images, before the sensor runs. It is asked for
// each program start, and asks nobody itself.
func (t *Processes) SetLayer(of func(*bollwerk.Process) bollwerk.Digest) { t.layer.Store(&of) }

// Layered gives a process that was started already, and those of its parents that have
// none, their layers, as far as they are known by now. What it starts from now on has
// them, too. Without any it is the process as it was.
func (t *Processes) Layered(p *bollwerk.Process) *bollwerk.Process {
	of := t.layer.Load()
	if of == nil {
		return p
	}
	with := withLayers(p, *of, bollwerk.ProcessDepth)
	if with == p {
		return p
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.find(p.PID, p.Start)
	switch {
	case e == nil || e.p.Inode != p.Inode || e.p.Device != p.Device || e.p.Origin != p.Origin:
	case e.p == p:
		t.set(e, with)
	case e.p.Layer != with.Layer || e.p.Parent == p.Parent: // it has other rights, since
		now := *e.p
		now.Layer = with.Layer
		if now.Parent == p.Parent {
			now.Parent = with.Parent
		}
		t.set(e, &now)
	}
	return with
}

// withLayers copies p, and of its parents those up to the first that lacks nothing.
func withLayers(p *bollwerk.Process, of func(*bollwerk.Process) bollwerk.Digest, left int) *bollwerk.Process {
	layer, parent := p.Layer, p.Parent
	if layer == "" {
		layer = of(p)
	}
	if left > 0 && parent.LacksLayer() {
		parent = withLayers(parent, of, left-1)
	}
	if layer == p.Layer && parent == p.Parent {
		return p
	}
	with := *p
	with.Layer, with.Parent = layer, parent
	return &with
}

// Moved tells that a process is in another cgroup.
func (t *Processes) Moved(pid uint32, start, cgroup uint64, path string) {
	t.cgroups.add(cgroup, path)
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(pid, start); e != nil && e.p.Cgroup != cgroup {
		moved := *e.p
		moved.Cgroup, moved.CgroupPath = cgroup, path
		t.set(e, &moved)
	}
}

// add inserts a process whose parent may not be known yet.
func (t *Processes) add(r *Record, depth int) *bollwerk.Process {
	var parent *bollwerk.Process
	if r.Parent != 0 && r.Parent != r.Process.PID {
		parent = t.get(r.Parent, r.ParentStart, depth)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.find(r.Process.PID, r.Process.Start); e != nil && e.ended.IsZero() {
		return e.p
	}
	t.insert(r.Process, parent)
	return r.Process
}

// insert wants the lock held. A chain of parents that would grow too long is cut: its
// nearest half is copied, so that no old process is kept for ever by its descendants.
func (t *Processes) insert(p, parent *bollwerk.Process) {
	depth := 0
	for a := parent; a != nil; a = a.Parent {
		depth++
	}
	if depth >= bollwerk.ProcessDepth {
		parent = shorten(parent, bollwerk.ProcessDepth/2)
	}
	p.Parent = parent
	if old := t.table[p.PID]; old != nil && old.ended.IsZero() {
		// Its end was not seen (a lost record): the PID has a new owner.
		old.ended = time.Now()
		t.dead = append(t.dead, old)
	}
	e := &entry{older: t.table[p.PID]}
	t.set(e, p)
	t.table[p.PID] = e
	t.count++
	if t.count > t.most {
		t.forget(time.Now())
	}
	for t.count > t.most {
		t.push(p.PID)
	}
}

func shorten(p *bollwerk.Process, n int) *bollwerk.Process {
	if p == nil || n == 0 {
		return nil
	}
	c := *p
	c.Parent = shorten(p.Parent, n-1)
	return &c
}

// push makes room: the oldest dead goes first, then any that is not needed now.
func (t *Processes) push(keep uint32) {
	if len(t.dead) > 0 {
		t.remove(t.dead[0])
		t.dead[0] = nil
		t.dead = t.dead[1:]
		return
	}
	for pid, e := range t.table {
		if pid != keep && pid != 1 {
			t.remove(e)
			t.dropped++
			return
		}
	}
	t.most = t.count // nothing but what is needed: too small to be meant
}

// tidy forgets the dead also while nothing ends.
func (t *Processes) tidy(ctx context.Context) error {
	tick := time.NewTicker(grace / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			t.mu.Lock()
			t.forget(now)
			t.mu.Unlock()
		}
	}
}

// Any reports whether a running process fits.
func (t *Processes) Any(fits func(*bollwerk.Process) bool) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, e := range t.table {
		if e.ended.IsZero() && fits(e.p) {
			return true
		}
	}
	return false
}

// forget drops those whose time is over; wants the lock held.
func (t *Processes) forget(now time.Time) {
	i := 0
	for i < len(t.dead) && (now.Sub(t.dead[i].ended).Abs() > grace || len(t.dead)-i > mostDead) {
		t.remove(t.dead[i])
		t.dead[i] = nil
		i++
	}
	if i == 0 {
		return
	}
	t.dead = t.dead[i:]
	if len(t.dead)*4 < cap(t.dead) {
		t.dead = append(make([]*entry, 0, len(t.dead)+64), t.dead...)
	}
}

func (t *Processes) remove(e *entry) {
	for at, n := (*entry)(nil), t.table[e.p.PID]; n != nil; at, n = n, n.older {
		if n != e {
			continue
		}
		switch {
		case at != nil:
			at.older = n.older
		case n.older != nil:
			t.table[e.p.PID] = n.older
		default:
			delete(t.table, e.p.PID)
		}
		t.count--
		t.texts -= e.texts
		return
	}
}

// SetList sets the means to read what already runs; without one it is /proc.
func (t *Processes) SetList(list func(context.Context, func(*Record)) error) { t.list = list }

// readExisting reads what ran before the sensor was attached. Events of what happened
// meanwhile are still in the ring and come later.
func (t *Processes) readExisting(ctx context.Context) error {
	var all []*Record
	var err error
	if t.list != nil {
		err = t.list(ctx, func(r *Record) { all = append(all, r) })
	}
	if t.list == nil || err != nil {
		if err != nil {
			t.k.Log.Warn("running processes are read from /proc", "cause", err)
		}
		all = all[:0]
		if all, err = listProcesses(ctx, t); err != nil {
			return err
		}
	}
	byPID := make(map[uint32]*Record, len(all))
	for _, r := range all {
		byPID[r.Process.PID] = r
	}
	var put func(r *Record, depth int)
	put = func(r *Record, depth int) {
		if parent := byPID[r.Parent]; parent != nil && parent != r && depth < 64 {
			delete(byPID, r.Parent)
			put(parent, depth+1)
		}
		t.add(r, 1)
	}
	for _, r := range all {
		if byPID[r.Process.PID] == r {
			delete(byPID, r.Process.PID)
			put(r, 0)
		}
	}
	return nil
}
