package agent

import (
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/workload"
)

// holding are the events of one cgroup that wait for the name of their workload.
type holding struct {
	events   []*bollwerk.Event
	until    time.Time
	stranger bool            // to everything known here; a runtime may still name it
	start    *bollwerk.Event // the first of a program from an image
}

const (
	maxHeld       = 4096 // events over all cgroups
	maxHeldCgroup = 1024
	// releaseEvery is how often it is asked whether the names are known by now.
	releaseEvery = 10 * time.Millisecond
)

// judgeAll is the one goroutine that names, judges and records events, in the order
// in which they came; only events of a workload whose name is not known yet are held
// back together, for at most workload.MaxWait.
func (a *Agent) judgeAll() {
	// Runs only while events are held back: at idle nothing shall wake the agent.
	due := time.NewTimer(releaseEvery)
	due.Stop()
	waits := false
	// Runs only while a container may have ended.
	look := time.NewTimer(endDelay)
	look.Stop()
	looks := false
	slow := time.NewTicker(5 * time.Second)
	defer slow.Stop()
	var latest time.Time // of the events: folds end by their time
	judge := func(e *bollwerk.Event) {
		latest = follow(latest, e.Time)
		a.name(e)
	}
	sampled := time.Now()
	for {
		a.pulse.Store(int64(time.Since(a.began)))
		select {
		case e, ok := <-a.queue.ch:
			if !ok {
				a.release(time.Time{})
				a.sayLosses(time.Now())
				a.folder.Flush(a.tell)
				a.out.flush()
				return
			}
			judge(e)
			// Events come by the batch: what lies there is taken without asking the timers.
			for range min(len(a.queue.ch), 256) {
				judge(<-a.queue.ch) // nobody else takes from it
			}
		case w := <-a.gone:
			a.mayEnd(w, time.Now())
		case now := <-look.C:
			next := a.lookForEnds(now)
			if looks = !next.IsZero(); looks {
				look.Reset(next.Sub(now))
			}
		case now := <-due.C:
			a.release(now)
			waits = false
		case <-a.layers.Told():
			a.release(time.Now())
		case now := <-slow.C:
			a.folder.Tick(latest, a.tell)
			a.profiles.Tick(now)
			a.sweep(now)
			a.countMissed(now)
			a.sayLosses(now)
			if now.Sub(sampled) >= time.Minute {
				sampled = now
				if a.p.Syscalls != nil && a.profiles.book != nil {
					a.p.Syscalls.Collect(a.takeCalls(now))
				}
			}
		}
		if !waits && len(a.held) > 0 {
			due.Reset(releaseEvery)
			waits = true
		}
		if !looks && len(a.ending) > 0 {
			look.Reset(endDelay)
			looks = true
		}
	}
}

// takeCalls gives the system calls of cgroups to their profiles.
func (a *Agent) takeCalls(now time.Time) func(cgroup uint64, calls []uint64) {
	return func(cgroup uint64, calls []uint64) {
		for _, d := range a.profiles.book.Syscalls(cgroup, calls) {
			a.decide(d, &bollwerk.Event{Time: now, Workload: d.Workload, Outcome: bollwerk.Seen})
		}
	}
}

// follow is the time of the events: the latest, until the clock is turned back.
func follow(latest, t time.Time) time.Time {
	if d := t.Sub(latest); d > 0 || d < -turned {
		return t
	}
	return latest
}

// turned is by how much an event is older than another when it is the clock that differs.
const turned = time.Minute

// name finds the workload of an event, or holds the event back.
func (a *Agent) name(e *bollwerk.Event) {
	if e.Kind == bollwerk.EventLoss {
		a.lost(e)
		return
	}
	if e.Workload != nil || e.Process == nil {
		a.judge(e)
		return
	}
	id := e.Process.Cgroup
	if h := a.held[id]; h != nil {
		a.hold(h, id, e)
		return
	}
	w, complete := a.resolver.Now(id, e.Process.CgroupPath, e.Process.PID)
	stranger := a.stranger(w, e.Process)
	if (!complete || stranger || a.awaitsLayer(w, e)) && a.holding < maxHeld {
		h := &holding{until: time.Now().Add(workload.MaxWait), stranger: stranger}
		a.held[id] = h
		a.hold(h, id, e)
		return
	}
	e.Workload = a.contained(w, e.Process)
	a.judge(e)
}

// stranger reports whether a process that was taken for the host's is none of its. Its
// runtime may just be about to say so: many write down what they run when it runs already.
func (a *Agent) stranger(w *bollwerk.Workload, p *bollwerk.Process) bool {
	if w.Kind != bollwerk.WorkloadHost || !p.Contained || p.Kernel || p.Cgroup == 0 || p.MountNS == 0 || p.PIDNS == 0 {
		return false
	}
	// A container may have the host's PIDs; what has the host's root too is none (Contained).
	host := a.sensor.Kernel().HostNamespaces()
	return p.MountNS != host.Mount && a.resolver.MayBeContainer(p.Cgroup, p.PIDNS == host.PID)
}

// contained is the workload of a process that was taken for the host's and is none of
// its: a container of a runtime that nobody here knows.
func (a *Agent) contained(w *bollwerk.Workload, p *bollwerk.Process) *bollwerk.Workload {
	if !a.stranger(w, p) {
		return w
	}
	return a.resolver.Contained(p.Cgroup, p.CgroupPath, p.PID)
}

// awaitsLayer reports whether a program start waits until the layers of its container are
// known. Only the first ones of a container can: later ones had their layer from the sensor.
func (a *Agent) awaitsLayer(w *bollwerk.Workload, e *bollwerk.Event) bool {
	return e != nil && e.Kind == bollwerk.EventExec && e.Process.LacksLayer() && a.layers.Awaits(w, e.Process)
}

// layered gives the process of an event its layer, and its parents theirs, if they became
// known since these were started, or the agent began later than they.
func (a *Agent) layered(e *bollwerk.Event) *bollwerk.Process {
	p := e.Process
	of := p
	if !p.LacksLayer() {
		if of = p.Parent; of.Cgroup != p.Cgroup {
			return p // not of this workload
		}
	}
	if a.layers.Of(of) == "" {
		a.layers.Awaits(e.Workload, of) // ask, for what comes next
		if e.Kind == bollwerk.EventExec && a.layers.Pending(of) {
			a.log.Debug("told before its layer was known", "workload", e.Workload.String(), "program", of.Path)
		}
		return p
	}
	return a.sensor.Kernel().Processes.Layered(p)
}

func (a *Agent) hold(h *holding, id uint64, e *bollwerk.Event) {
	h.events = append(h.events, e)
	if h.start == nil && e.Kind == bollwerk.EventExec && e.Process.LacksLayer() {
		h.start = e
	}
	a.holding++
	if len(h.events) >= maxHeldCgroup || a.holding >= maxHeld {
		a.letGo(id, h)
	}
}

// release lets go what waited long enough or has its name by now. The zero time: all.
func (a *Agent) release(now time.Time) {
	for id, h := range a.held {
		p := h.events[0].Process
		w, complete := a.resolver.Now(id, p.CgroupPath, p.PID)
		known := complete && !(h.stranger && w.Kind == bollwerk.WorkloadHost) && !a.awaitsLayer(w, h.start)
		if known || now.IsZero() || now.After(h.until) {
			a.letGo(id, h)
		}
	}
}

func (a *Agent) letGo(id uint64, h *holding) {
	delete(a.held, id)
	a.holding -= len(h.events)
	for _, e := range h.events {
		w, _ := a.resolver.Now(id, e.Process.CgroupPath, e.Process.PID)
		e.Workload = a.contained(w, e.Process)
		a.judge(e)
	}
}

func (a *Agent) lost(e *bollwerk.Event) {
	key := ""
	if l := e.Loss; l.Cgroup != 0 {
		if w, _ := a.resolver.Now(l.Cgroup, "", 0); w != nil {
			key = w.Key()
			e.Workload = w
		}
	}
	a.ledger.add(key, *e.Loss)
	a.tellLoss(e)
}

// tellLoss hands on a loss that is in the ledger.
func (a *Agent) tellLoss(e *bollwerk.Event) {
	a.out.event(e)
	a.metrics.event(e)
	// What is lost of the whole node would hang on every profile for good.
	if a.profiles != nil && e.Loss.Cgroup != 0 {
		for _, d := range a.profiles.Observe(e, false) {
			a.decide(d, e)
		}
	}
	a.record(e)
}

// sayLosses puts on record what the queue gave up, and says what the recorder could not keep.
func (a *Agent) sayLosses(now time.Time) {
	for _, l := range a.unsaid.take() {
		e := &bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "agent", Loss: &l}
		if l.Cgroup != 0 {
			e.Workload = a.resolver.Known(l.Cgroup)
		}
		a.tellLoss(e)
	}
	if a.recorder == nil {
		return
	}
	if s := a.recorder.Status(); s.Lost > a.unkept {
		l := bollwerk.Loss{To: now, Count: s.Lost - a.unkept, Area: "recorder"}
		a.unkept = s.Lost
		a.ledger.add("", l)
		e := &bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "agent", Loss: &l}
		a.out.event(e)
		a.metrics.event(e)
		if s.Trouble == "" { // else it would be lost, too, and told of again
			a.record(e)
		}
	}
}

// countMissed makes losses of the containers that came and went without a name, of the
// workload where at least that is known, and of those that were forgotten for want of room.
func (a *Agent) countMissed(now time.Time) {
	m := a.resolver.TakeMissed()
	from := a.missedAt
	if from.IsZero() {
		from = a.began
	}
	a.missedAt = now
	count := func(w *bollwerk.Workload, n uint64) {
		e := &bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "agent",
			Loss: &bollwerk.Loss{From: from, To: now, Count: n, Area: "container"}}
		key := ""
		if w != nil && w.Kind == bollwerk.WorkloadContainer {
			e.Workload, e.Loss.Cgroup, key = w, w.Cgroup, w.Key()
		}
		a.ledger.add(key, *e.Loss)
		a.out.event(e)
		a.metrics.event(e)
		a.record(e)
	}
	for _, w := range m.Gone {
		count(w, 1)
	}
	if n := m.More + m.Evicted; n > 0 {
		count(nil, n)
	}
}

// shortened reports whether texts of an event are longer than what was kept of them.
func shortened(e *bollwerk.Event) bool {
	return e.Kind == bollwerk.EventExec && e.Process != nil && e.Process.Truncated || e.File != nil && e.File.Truncated || e.DNS != nil && e.DNS.Truncated
}

// judge gives one event to everything that has an opinion.
func (a *Agent) judge(e *bollwerk.Event) {
	// One of sixteen is timed: looking at the clock twice is a tenth of the work.
	var began time.Time
	if a.judged++; a.judged%16 == 0 {
		began = time.Now()
	}
	w := e.Workload
	if w != nil {
		var k *known
		k, w = a.meet(w, e.Time)
		e.Workload = w
		if !k.ended.IsZero() {
			a.revive(k, e)
		} else if lastOf(e) {
			a.mayEnd(w, time.Now())
		}
		a.started(k, w, e.Time)
	}
	if e.Process != nil && a.isMe(e.Process) {
		return
	}
	a.peers.name(e)
	a.peers.late(e)
	if p := e.Process; p != nil && (p.LacksLayer() || p.Parent.LacksLayer()) {
		e.Process = a.layered(e)
	}
	if shortened(e) {
		a.ledger.add(w.Key(), bollwerk.Loss{From: e.Time, To: e.Time, Count: max(1, e.Count), Area: "truncated", Kind: e.Kind})
	}
	a.out.event(e)
	a.metrics.event(e)
	suspicious := false
	found := func(d *bollwerk.Detection) {
		if d.Severity >= bollwerk.SeverityHigh {
			suspicious = true
		}
		a.decide(d, e)
	}
	a.rules.match(e, found)
	a.stream.Observe(e, func(d *bollwerk.Detection) {
		found(d)
		if d.Severity >= bollwerk.SeverityHigh && d.Workload != nil && a.profiles.book != nil {
			// A detector may speak after the events it is about were learned.
			a.profiles.book.Suspect(d.Workload, d.Process, d.Time)
		}
	})
	// What belongs to an attack must not be learned as normal.
	for _, d := range a.profiles.Observe(e, suspicious) {
		a.decide(d, e)
	}
	a.record(e)
	if !began.IsZero() {
		a.metrics.judged.Update(time.Since(began).Seconds())
	}
}

func (a *Agent) record(e *bollwerk.Event) {
	if a.recorder != nil {
		a.recorder.Event(e)
	}
}

// decide makes a detection true and complete: the mode in force, what was done about
// it and by which means, what may be missing; and hands it on.
func (a *Agent) decide(d *bollwerk.Detection, e *bollwerk.Event) {
	if d.Workload == nil {
		d.Workload = e.Workload
	}
	mode := a.modeOf(d)
	if mode == "off" || a.guarding.build(d, e) {
		return
	}
	d.Mode = mode
	if x := a.rules.excepted(d, e.Time); x != nil {
		// Neither shown nor acted upon, but on record.
		d.Outcome, d.How = bollwerk.Seen, "covered by the exception "+x.ID
		a.metrics.excepted.Inc()
		if a.recorder != nil {
			a.recorder.Detection(d)
		}
		return
	}
	if v, causes := a.ledger.verdict(d.Workload.Key()); v != bollwerk.Pass {
		d.Verdict, d.Causes = bollwerk.Degraded, append(d.Causes, causes...)
	}
	a.guarding.settle(d, e)
	if d.Severity >= bollwerk.SeverityHigh && d.Mode != string(detect.Observe) {
		a.capture.take(d)
	}
	a.folder.Add(d, a.tell)
}

// modeOf is the rule's own mode, unless the workload's entry says otherwise.
func (a *Agent) modeOf(d *bollwerk.Detection) string {
	if c := a.c.workload(d.Workload.String(), d.Workload.Key()); c != nil {
		if m := c.Modes[d.Rule]; m != "" {
			if m == string(detect.Enforce) && a.unsure(d) {
				return d.Mode // the detector asked for less than its mode: it is not sure
			}
			return m
		}
	}
	if d.Mode == "" {
		return string(detect.Warn)
	}
	return d.Mode
}

// unsure reports whether a detector asked for less than it is configured to do.
func (a *Agent) unsure(d *bollwerk.Detection) bool {
	for _, i := range a.stream.Infos() {
		if i.ID == d.Rule {
			return d.Mode != "" && d.Mode != string(i.Mode)
		}
	}
	return false
}

// tell hands a detection to people and machines.
func (a *Agent) tell(d *bollwerk.Detection) {
	a.out.detection(d)
	a.metrics.detection(d)
	if a.recorder != nil {
		a.recorder.Detection(d)
	}
}
