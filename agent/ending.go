package agent

import (
	"time"

	"github.com/bollwerk/bollwerk"
)

// ending are containers that may have ended: their cgroup was removed, or a process that
// was started from outside of them ended. They are looked at a moment later, when their
// last events have come. Only the judgement uses it.
type ending struct {
	w     *bollwerk.Workload
	at    time.Time     // when it is looked at
	pause time.Duration // until the next look, if somebody is in it still
	limit time.Time     // of the looks; then also while events wait
}

const (
	endDelay = 200 * time.Millisecond
	endLimit = 2 * time.Second
	// endedLife is how long an end is remembered: summaries of what a container did may
	// come after it.
	endedLife = 2 * time.Minute
)

// ends is called by the resolver when the cgroup of a container is gone. The judgement
// always takes it, as it ends after the resolver.
func (a *Agent) ends(w *bollwerk.Workload) {
	a.peers.end(w) // at once: another one may have its address by now
	a.gone <- w
}

// mayEnd notes that a container may have ended.
func (a *Agent) mayEnd(w *bollwerk.Workload, now time.Time) {
	e, ok := a.ending[place(w)]
	if !ok {
		e = ending{w: w, at: now.Add(endDelay)}
	}
	e.pause, e.limit = endDelay, now.Add(endLimit)
	a.ending[place(w)] = e
}

// lastOf reports whether the end of a process may be the end of its container: the first
// one, or one that was put into it. What those start themselves ends with them or is left
// to the removal of the cgroup.
func lastOf(e *bollwerk.Event) bool {
	p := e.Process
	return e.Kind == bollwerk.EventExit && p != nil && e.Workload != nil && e.Workload.Kind == bollwerk.WorkloadContainer &&
		(p.Parent == nil || p.Parent.Cgroup != p.Cgroup || p.PID == e.Workload.Container.PID)
}

// lookForEnds looks at those whose time has come and returns when the next one's has, zero for none.
func (a *Agent) lookForEnds(now time.Time) (next time.Time) {
	for id, e := range a.ending {
		if !now.Before(e.at) {
			waits := len(a.queue.ch) > 0
			exists, populated := true, true
			if !waits || !now.Before(e.limit) {
				exists, populated = a.resolver.Lives(e.w)
			}
			if !populated || !now.Before(e.limit) {
				delete(a.ending, id)
				if !populated {
					a.end(e.w, now, exists)
				}
				continue
			}
			// Whoever ends last may take a moment longer, and is not told of by each kernel.
			e.at = now.Add(e.pause)
			if !waits {
				e.pause *= 2
			}
			a.ending[id] = e
		}
		if next.IsZero() || e.at.Before(next) {
			next = e.at
		}
	}
	return next
}

// end tells that a container ended. Its guards stay for as long as its cgroup exists:
// its runtime could put a process into it again.
func (a *Agent) end(w *bollwerk.Workload, now time.Time, exists bool) {
	a.mu.Lock()
	k := a.workloads[place(w)]
	if k == nil && unknownRuntime(w) {
		k = a.sameContainer(w) // it got its name meanwhile
	}
	tell := k != nil && k.ended.IsZero()
	if tell {
		k.ended = now
	}
	lift := k != nil && !exists && k.guarded && !k.lifted
	if lift {
		k.lifted = true
	}
	if k != nil {
		w = k.w
	}
	a.mu.Unlock()
	// What was seen of its calls since all were collected; both below forget it.
	if (tell || lift) && a.p.Syscalls != nil && a.profiles.book != nil {
		a.p.Syscalls.CollectOf(w.Cgroup, a.takeCalls(now))
	}
	if lift {
		a.guarding.lift(w)
		a.layers.Forget(w)
		a.sensor.Container(w, false)
	}
	if !tell {
		return
	}
	a.peers.end(w)
	if a.profiles.book != nil {
		a.profiles.book.Ended(w.Cgroup)
	}
	a.container(w, now, "stop")
	a.ask(containerEvent(w, now, "stop"))
}

// revive takes back that a container ended: a program was started in it.
func (a *Agent) revive(k *known, e *bollwerk.Event) {
	if e.Kind != bollwerk.EventExec && e.Kind != bollwerk.EventFork {
		return
	}
	if _, populated := a.resolver.Lives(e.Workload); !populated {
		return // it was that program's end which came first
	}
	a.mu.Lock()
	k.ended = time.Time{}
	again := k.lifted
	k.lifted = false
	a.mu.Unlock()
	a.peers.begin(e.Workload, e.Time)
	if again {
		a.guard(k, e.Workload)
	}
	a.container(e.Workload, e.Time, "start")
}

// sweep finds the ends that nobody told, and containers that were named when their first
// events had been judged; it forgets containers that ended a while ago.
func (a *Agent) sweep(now time.Time) {
	alive := map[spot]bool{}
	var unsure, unmet []*bollwerk.Workload
	all := a.resolver.Workloads()
	a.mu.Lock()
	for _, w := range all {
		alive[place(w)] = true
		if w.Kind == bollwerk.WorkloadContainer && w.Cgroup != 0 && a.workloads[place(w)] == nil && len(a.workloads) < mostWorkloads {
			unmet = append(unmet, w)
		}
	}
	fresh := map[*known]*bollwerk.Workload{}
	for id, k := range a.workloads {
		if k.fresh.Load() {
			fresh[k] = k.w
		}
		switch {
		case k.w.Kind != bollwerk.WorkloadContainer || alive[id]:
		case !k.ended.IsZero() && k.lifted:
			if now.Sub(k.ended).Abs() > endedLife {
				delete(a.workloads, id)
			}
		case now.Sub(k.last).Abs() > sweepGrace:
			unsure = append(unsure, k.w)
		}
	}
	a.mu.Unlock()
	for k, w := range fresh {
		a.started(k, w, now)
	}
	for _, w := range unmet {
		// It may do nothing more, and shall have its guards before it does.
		if _, populated := a.resolver.Lives(w); populated {
			k, w := a.meet(w, now)
			a.started(k, w, now)
		}
	}
	for _, w := range unsure {
		// The resolver forgets living ones too, when there are very many.
		if exists, _ := a.resolver.Lives(w); !exists {
			a.end(w, now, false)
		}
	}
}

// sweepGrace lets the last events of a container arrive.
const sweepGrace = 10 * time.Second
