package profile

import (
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// moment is one event on its way through a profile.
type moment struct {
	e     *bollwerk.Event
	rep   *replica
	sight sight
	learn bool // new behaviour becomes knowledge
	count bool // known behaviour is counted
}

// Observe takes one event: known behaviour is counted, new behaviour is learned or,
// past learn mode, returned as detections (most often nil). suspicious says that a
// detection of severity high or above came with the event: nothing of it is learned,
// nor of the process, its descendants, or for a while the workload.
//
// The event is not kept, except in detections. Known behaviour costs no allocation.
func (b *Book) Observe(e *bollwerk.Event, suspicious bool) []*bollwerk.Detection {
	if e == nil || e.Kind == bollwerk.EventFork || e.Kind == bollwerk.EventExit || e.Kind == bollwerk.EventUsage {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e.Kind == bollwerk.EventLoss {
		b.lost(e)
		return nil
	}
	if e.Workload == nil {
		return nil
	}
	at, ok := seconds(e.Time)
	if !ok {
		at, _ = seconds(b.c.Now())
	}
	fresh := b.replicas[e.Workload.Cgroup] == nil
	rep := b.find(e.Workload, at)
	if rep == nil {
		return nil
	}
	if fresh && starts(e) {
		rep.began = at
	}
	if e.Kind == bollwerk.EventContainer {
		if e.Object != nil && e.Object.Name == "stop" {
			b.end(e.Workload.Cgroup)
		} else if rep.began == 0 && !rep.started && timeless(e.Workload) && e.Object != nil && e.Object.Name == "start" {
			rep.began = at
		}
		return nil
	}
	if e.Workload.Container != nil && e.Process.OfRuntime() {
		b.stats.Runtime++
		return nil
	}
	m := moment{e: e, rep: rep}
	b.unit(&m, at)
	r := rep.r
	// A clock that was turned back must not keep a workload from learning until it is that late again.
	r.held = min(r.held, at+uint32(b.c.Hold/time.Second))
	before := r.p.bytes
	if suspicious {
		b.suspect(rep, e.Process, at)
	}
	happened := e.Outcome != bollwerk.Denied && e.Outcome != bollwerk.Killed
	m.count = happened && !suspicious && at >= r.held && !rep.touched(e.Process)
	if happened && !m.count {
		r.p.own.withheld++
		b.stats.Withheld++
	}
	m.learn = m.count && r.mode == Learn
	b.out = nil
	b.take(&m)
	r.counted = true
	b.bytes += r.p.bytes - before
	return b.out
}

// starts reports whether the first event of a workload whose start nobody tells (a
// unit; a container without a time) is its start: a program started from outside.
func starts(e *bollwerk.Event) bool {
	p := e.Process
	return e.Kind == bollwerk.EventExec && timeless(e.Workload) && p != nil && !p.Existing && p.Parent != nil && p.Parent.Cgroup != p.Cgroup
}

func timeless(w *bollwerk.Workload) bool { return w.Container == nil || w.Container.Started.IsZero() }

// unit counts the event for the whole profile and places it in its window.
func (b *Book) unit(m *moment, at uint32) {
	rep, p := m.rep, m.rep.r.p
	n := max(m.e.Count, 1)
	m.sight = b.sight(rep, at, n)
	p.own.events += n
}

// sight says where in the samples a moment of a replica lies, and counts the sample
// when it is a new one.
func (b *Book) sight(rep *replica, at uint32, n uint64) sight {
	p := rep.r.p
	rep.last = max(rep.last, at)
	if w := at / p.window; w > p.epoch {
		// Windows only move forward: a clock that jumps back and forth would make two
		// samples of one with every jump.
		p.epoch = w
	} else if w+1 < p.epoch { // one behind may be out of order
		// The clock was turned back and stays so: what passes there counts by the window.
		if w > p.lag && w-p.lag <= longestLag && p.lag != 0 {
			p.epoch++
		}
		if w > p.lag || w+1 < p.lag {
			p.lag = w
		}
	}
	s := sight{at: at, epoch: p.epoch, replica: rep.hash, slot: rep.slot, count: n}
	s.starting = rep.began != 0 && at+startSlack >= rep.began && at <= rep.began+uint32(b.c.Start/time.Second)
	switch {
	case s.starting && !rep.started:
		rep.started = true
		p.own.starts++
		p.addReplica(rep.hash)
	case !s.starting && rep.epoch != p.epoch:
		rep.epoch = p.epoch
		p.own.units++
		p.addReplica(rep.hash)
	}
	if p.first == 0 || at < p.first {
		p.first = at
	}
	p.last = max(p.last, at)
	return s
}

// longestLag is how many windows there may be between two events.
const longestLag = 12

func (b *Book) lost(e *bollwerk.Event) {
	if e.Loss == nil {
		return
	}
	if e.Loss.Cgroup != 0 {
		if rep := b.replicas[e.Loss.Cgroup]; rep != nil {
			rep.r.p.own.lost += e.Loss.Count
			rep.r.counted = true
		}
		return
	}
	// Nobody's in particular: it may have been anybody's.
	for _, r := range b.records {
		if r.running > 0 && e.Loss.Area != "truncated" {
			r.p.own.lost += e.Loss.Count
			r.counted = true
		}
	}
}

// touched reports whether p or an ancestor did something suspicious in this replica.
func (rep *replica) touched(p *bollwerk.Process) bool {
	if rep.overflow {
		return true
	}
	if rep.taints == 0 {
		return false
	}
	for n := 0; p != nil && n <= bollwerk.ProcessDepth; n++ {
		for _, t := range rep.tainted[:rep.taints] {
			if t.pid == p.PID && t.start == p.Start {
				return true
			}
		}
		p = p.Parent
	}
	return false
}

func (b *Book) suspect(rep *replica, p *bollwerk.Process, at uint32) {
	rep.r.held = max(rep.r.held, at+uint32(b.c.Hold/time.Second))
	if p == nil || rep.touched(p) {
		return
	}
	if int(rep.taints) == len(rep.tainted) {
		rep.overflow = true
		return
	}
	rep.tainted[rep.taints] = tainted{p.PID, p.Start}
	rep.taints++
}

// Suspect takes back what a workload learned since a time, and stops it from learning
// for a while: for detectors that speak after the events they are about were
// observed. process may be nil. It returns how many entries were forgotten.
func (b *Book) Suspect(w *bollwerk.Workload, process *bollwerk.Process, since time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(Key(w))
	if r == nil {
		return 0
	}
	now, _ := seconds(b.c.Now())
	if rep := b.replicas[w.Cgroup]; rep != nil && rep.r == r {
		b.suspect(rep, process, now)
	}
	r.held = max(r.held, now+uint32(b.c.Hold/time.Second))
	from, ok := seconds(since)
	if !ok {
		return 0
	}
	before, n := r.p.bytes, 0
	for k, m := range r.p.entries {
		if r.mode != Learn && k.cat != Syscall {
			continue
		}
		if m.meta&15 == sourceLearned && m.first >= from && m.others == nil {
			r.p.drop(k)
			n++
		}
	}
	r.p.own.withheld += uint64(n)
	r.changed = true
	b.bytes += r.p.bytes - before
	return n
}

// take reads one event as behaviours.
func (b *Book) take(m *moment) {
	e := m.e
	switch e.Kind {
	case bollwerk.EventExec:
		b.exec(m)
	case bollwerk.EventOpen:
		if f := e.File; f != nil && (e.Result == 0 || e.Outcome == bollwerk.Denied) {
			if f.Access&(bollwerk.AccessWrite|bollwerk.AccessCreate|bollwerk.AccessTruncate|bollwerk.AccessAppend) != 0 {
				b.write(m, f.Path, f.Origin)
			} else if f.Path != "" {
				b.meet(m, key{cat: Read, value: b.path(f.Path, temporary(f.Path))})
			}
		}
	case bollwerk.EventCreate, bollwerk.EventUnlink, bollwerk.EventChmod, bollwerk.EventChown, bollwerk.EventRename, bollwerk.EventLink, bollwerk.EventSymlink:
		if f := e.File; f != nil && (e.Result == 0 || e.Outcome == bollwerk.Denied) {
			b.change(m, f)
		}
	case bollwerk.EventMmap:
		if f := e.File; f != nil && (f.Origin == bollwerk.OriginCreated || f.Origin == bollwerk.OriginMemory) {
			b.did(m, MapsCreated)
		}
	case bollwerk.EventConnect, bollwerk.EventSend, bollwerk.EventAccept, bollwerk.EventListen, bollwerk.EventBind, bollwerk.EventFlow:
		b.network(m)
	case bollwerk.EventDNS:
		if d := e.DNS; d != nil && !d.Answer && d.Name != "" {
			b.scratch.text = appendName(b.scratch.text[:0], d.Name)
			b.meet(m, key{cat: Name, value: view(b.scratch.text)})
		}
	case bollwerk.EventCredentials:
		if c := e.Change; c != nil && (c.UID != c.OldUID || c.EUID != c.OldEUID) {
			b.did(m, ChangesUser)
			b.meet(m, key{cat: User, n: c.EUID})
			b.meet(m, key{cat: User, n: c.UID})
		}
	case bollwerk.EventCapability:
		if c := e.Change; c != nil && c.Used != "" {
			b.scratch.text = appendText(b.scratch.text[:0], c.Used)
			b.meet(m, key{cat: Capability, value: view(b.scratch.text)})
		}
	case bollwerk.EventNamespace:
		b.did(m, ChangesSpaces)
	case bollwerk.EventMount:
		b.did(m, Mounts)
	case bollwerk.EventPtrace:
		b.did(m, Traces)
	case bollwerk.EventMemfd:
		b.did(m, MakesMemory)
	case bollwerk.EventModule:
		b.did(m, LoadsModules)
	case bollwerk.EventBPF:
		b.did(m, LoadsBPF)
	case bollwerk.EventSocket:
		b.did(m, RawSockets)
	case bollwerk.EventSignal:
		b.did(m, SignalsOthers)
	case bollwerk.EventSetting:
		b.did(m, SetsKernel)
	}
}

func (b *Book) did(m *moment, what string) { b.meet(m, key{cat: Behaviour, value: what}) }

func (b *Book) path(p string, loose bool) string {
	b.scratch.text = appendPath(b.scratch.text[:0], p, loose)
	return view(b.scratch.text)
}

// Names for what has no path.
const (
	memoryProgram  = "(memory)"  // a program without a file
	outsideProgram = "(outside)" // a parent that is not of the workload: a runtime, docker exec
)

func (b *Book) exec(m *moment) {
	p := m.e.Process
	if p == nil || p.Kernel {
		return
	}
	if f := m.e.File; f != nil && f.Path != "" && f.Path != p.Path && m.e.Outcome == bollwerk.Denied {
		// Refused before there was a new image: the process is the one that asked.
		b.program(m, key{cat: Executable, value: b.path(f.Path, false)}, f.Origin)
		return
	}
	name := func(p *bollwerk.Process) string {
		if p.Fileless || p.Origin == bollwerk.OriginMemory || p.Path == "" {
			return memoryProgram
		}
		return b.path(p.Path, false)
	}
	known := b.program(m, key{cat: Executable, value: name(p)}, p.Origin)
	if p.Script != "" {
		b.program(m, key{cat: Executable, value: b.path(p.Script, false)}, bollwerk.OriginUnknown)
	}
	// parent NUL program, in one text.
	contained := m.e.Workload.Container != nil
	switch parent := p.Parent; {
	// runc's init is in the container's cgroup already when it starts the program.
	case parent == nil, parent.Cgroup != p.Cgroup, contained && parent.Origin == bollwerk.OriginHost:
		b.scratch.text = append(b.scratch.text[:0], outsideProgram...)
		// The first program of a container is always started from outside; a later
		// one is an exec into it.
		if parent != nil && contained && p.PID != m.e.Workload.Container.PID && !m.sight.starting && p.NSID != 1 {
			b.did(m, RunsFromAbroad)
			b.scratch.text = append(b.scratch.text[:0], outsideProgram...)
		}
	case parent.Fileless || parent.Path == "":
		b.scratch.text = append(b.scratch.text[:0], memoryProgram...)
	default:
		b.scratch.text = appendPath(b.scratch.text[:0], parent.Path, false)
	}
	b.scratch.text = append(b.scratch.text, 0)
	if p.Fileless || p.Origin == bollwerk.OriginMemory || p.Path == "" {
		b.scratch.text = append(b.scratch.text, memoryProgram...)
	} else {
		b.scratch.text = appendPath(b.scratch.text, p.Path, false)
	}
	// One act, one detection: who started an unknown program is in its parent chain.
	if known != nil {
		b.meet(m, key{cat: Start, value: view(b.scratch.text)})
	}
	b.meet(m, key{cat: User, n: p.EUID})
	if p.UID != p.EUID {
		b.meet(m, key{cat: User, n: p.UID})
	}
	switch {
	case p.Fileless || p.Origin == bollwerk.OriginMemory:
		b.did(m, RunsMemory)
	case p.Origin == bollwerk.OriginCreated:
		b.did(m, RunsCreated)
	case p.Origin == bollwerk.OriginModified:
		b.did(m, RunsModified)
	case p.Origin == bollwerk.OriginVolume:
		b.did(m, RunsVolume)
	}
	if p.TTY != "" {
		b.did(m, RunsTerminal)
	}
}

func (b *Book) write(m *moment, path string, origin bollwerk.Origin) {
	if path == "" || strings.HasPrefix(path, "memfd:") || strings.HasPrefix(path, "/memfd:") {
		return
	}
	b.meet(m, key{cat: Write, value: b.path(path, true)})
	// An unknown origin counts as the image's: "read only would do" must not be a guess.
	if origin != bollwerk.OriginVolume && origin != bollwerk.OriginMemory && !strings.HasPrefix(path, "/dev/") && !strings.HasPrefix(path, "/proc/") {
		b.did(m, WritesRoot)
	}
}

func (b *Book) change(m *moment, f *bollwerk.FileEvent) {
	if m.e.Kind != bollwerk.EventLink { // a hard link changes nothing at its old name
		b.write(m, f.Path, f.Origin)
	}
	if m.e.Kind == bollwerk.EventRename || m.e.Kind == bollwerk.EventLink {
		b.write(m, f.Target, f.Origin)
	}
	if m.e.Kind == bollwerk.EventChmod && f.OldMode != 0 || m.e.Kind == bollwerk.EventCreate { // 0: it is not known
		if f.Mode&^f.OldMode&0o111 != 0 && f.Mode&0o170000 != 0o040000 {
			b.did(m, MakesProgram)
		}
		if f.Mode&^f.OldMode&0o6000 != 0 && f.Mode&0o170000 != 0o040000 {
			b.did(m, MakesSetID)
		}
	}
}

func (b *Book) network(m *moment) {
	c := m.e.Connection
	if c == nil {
		return
	}
	if f := m.e.Flow; f != nil && f.Failed > 0 && f.Failed >= f.Connections && f.SentPackets+f.ReceivedPackets+f.SentBytes+f.ReceivedBytes == 0 {
		return // a sum of what never was; the attempts were told one by one
	}
	proto := protocolOf(c.Protocol)
	switch k := m.e.Kind; {
	case k == bollwerk.EventListen, k == bollwerk.EventBind && proto == protoUDP && c.Local.Port() != 0 && c.Local.Port() < highPort:
		if proto != protoUnix && m.e.Result == 0 {
			b.meet(m, key{cat: Port, proto: proto, n: portOf(c.Local.Port())})
		}
	case k == bollwerk.EventBind && m.e.Outcome == bollwerk.Denied && proto != protoUnix: // it would have listened
		b.meet(m, key{cat: Port, proto: proto, n: portOf(c.Local.Port())})
	case k == bollwerk.EventBind:
	case k == bollwerk.EventAccept, k == bollwerk.EventFlow && !c.Outgoing:
		if proto == protoUnix {
			return
		}
		b.peer(m, key{cat: Client, proto: proto, n: portOf(c.Local.Port())}, c, "")
	case proto == protoUnix:
		if c.Path == "" {
			return
		}
		b.scratch.text = appendPath(append(b.scratch.text[:0], "unix:"...), c.Path, true)
		b.meet(m, key{cat: Destination, proto: proto, value: view(b.scratch.text)})
	default:
		b.peer(m, key{cat: Destination, proto: proto, n: portOf(c.Remote.Port())}, c, c.Name)
	}
}

// peer meets the other end of a connection. A workload that is known by its address is what
// is learned. Its name or address still counts where the profile is older than that, or
// where a person decided about it.
func (b *Book) peer(m *moment, k key, c *bollwerk.Connection, name string) {
	text := appendPeer(b.scratch.text[:0], c.Peer, name, c.Remote.Addr())
	at := len(text)
	if c.Peer != "" {
		text = appendPeer(text, "", name, c.Remote.Addr())
	}
	b.scratch.text = text
	k.value = view(text[:at])
	if c.Peer == "" {
		b.meet(m, k)
		return
	}
	p := m.rep.r.p
	other := k
	other.value = view(text[at:])
	decided := p.edited(other, &b.scratch)
	switch {
	case decided != nil && decided.Remove:
		k = other
	case m.learn || p.find(k, &b.scratch) != nil || p.edited(k, &b.scratch) != nil:
	case decided != nil || p.find(other, &b.scratch) != nil:
		k = other
	}
	b.meet(m, k)
}

// originBit is the bit of an origin in a mark; unknown has none.
func originBit(o bollwerk.Origin) uint8 {
	for i, w := range origins {
		if w == o {
			return 1 << i
		}
	}
	return 0
}

var origins = [...]bollwerk.Origin{bollwerk.OriginImage, bollwerk.OriginModified, bollwerk.OriginCreated, bollwerk.OriginVolume, bollwerk.OriginMemory, bollwerk.OriginHost}

// program meets an executable: its origin is part of what is known.
func (b *Book) program(m *moment, k key, o bollwerk.Origin) *mark {
	bit := originBit(o)
	known := b.meet(m, k)
	if known == nil || bit == 0 || known.origins&bit != 0 {
		return known
	}
	if m.learn || known.origins == 0 && m.count {
		known.origins |= bit
		m.rep.r.changed = true
		return known
	}
	if m.rep.r.mode != Learn && known.origins != 0 {
		b.deviate(m, k, known, o)
	}
	return known
}

// meet is where a behaviour comes up against the profile. It returns the entry k
// falls under, nil when there is none afterwards.
func (b *Book) meet(m *moment, k key) *mark {
	r := m.rep.r
	p := r.p
	known := p.find(k, &b.scratch)
	if e := p.edited(k, &b.scratch); e != nil {
		if e.Remove {
			b.deviate(m, k, known, "")
			return nil
		}
		if known == nil && m.count {
			known = b.learn(m, k)
		}
	}
	if known != nil {
		if m.count {
			known.touch(&m.sight)
			known.addSource(sourceLearned)
		}
		return known
	}
	if m.learn {
		return b.learn(m, k)
	}
	if r.mode != Learn {
		b.deviate(m, k, nil, "")
	}
	return nil
}

// learn adds a new entry, unless its category or the memory is full.
func (b *Book) learn(m *moment, k key) *mark {
	p := m.rep.r.p
	if p.saturated[k.cat] {
		return nil
	}
	switch {
	case int(p.size[k.cat]) >= caps[k.cat]:
		p.saturated[k.cat] = true
		b.notice("%s: category %s has %d entries: it is too varied to be learned and judges nothing", clean(p.key), k.cat, p.size[k.cat])
		return nil
	case p.bytes > b.share() && b.bytes+4096 > b.c.Memory:
		p.saturated[k.cat] = true
		b.notice("%s: category %s learns no more, as profiles use the %d bytes they may and this one more than its share", clean(p.key), k.cat, b.c.Memory)
		return nil
	}
	m.rep.r.changed = true
	n := &mark{meta: sourceLearned}
	n.touch(&m.sight)
	return p.add(k, n, &b.scratch)
}
