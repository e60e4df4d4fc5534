package detect

import "github.com/bollwerk/bollwerk"

// Scope is where state belongs: one container, unit, or the rest of the host. It is
// comparable and costs nothing to make, unlike Workload.Key, which speaks of all
// replicas.
type Scope struct {
	cgroup    uint64
	container string
	unit      string
}

// ScopeOf returns the scope of an event.
func ScopeOf(e *bollwerk.Event) Scope {
	w := e.Workload
	if w == nil {
		if e.Process != nil && e.Process.Contained {
			// Not resolved yet, but certainly not the host.
			return Scope{cgroup: e.Process.Cgroup}
		}
		return Scope{}
	}
	switch {
	case w.Container != nil:
		return Scope{container: w.Container.ID, cgroup: w.Cgroup}
	case w.Unit != "":
		return Scope{unit: w.Unit}
	}
	return Scope{cgroup: w.Cgroup}
}

// Actor names a process across its images (exec keeps it) and tells reused PIDs apart.
type Actor struct {
	PID   uint32
	Start uint64
}

// ActorOf returns the actor, false for none.
func ActorOf(p *bollwerk.Process) (Actor, bool) {
	if p == nil || p.PID == 0 {
		return Actor{}, false
	}
	return Actor{p.PID, p.Start}, true
}

// Contained reports whether an event happened in a container. Many units of the host have
// mounts of their own (PrivateTmp=) and are none.
func Contained(e *bollwerk.Event) bool {
	if w := e.Workload; w != nil && (w.Container != nil || w.Unit != "") {
		return w.Container != nil
	}
	return e.Process != nil && e.Process.Contained
}

// Above returns the parent of p where both live in the same container, or both on the host:
// what started a container from outside is no ancestor of what happens in it, or an attack in
// a container would be the work of the "make" that started its runtime. A sandbox that a
// program puts up for itself (bwrap, unshare, PrivateTmp=) stays where it was: only what also
// has a cgroup of its own is a container, or what hangs directly below a runtime.
func Above(p *bollwerk.Process) *bollwerk.Process {
	if p == nil || p.Parent == nil {
		return nil
	}
	up := p.Parent
	if !p.Contained {
		return up
	}
	runtime := ClassOf(up).Is(Runtime)
	other := p.Cgroup != up.Cgroup || p.Cgroup == 0
	// The PIDs of a container in a container are others, and so they are seen from a runtime that
	// has joined the mounts of the container for a moment and passes for one of its processes.
	entered := p.Inside() == nil || up.Contained && p.PIDNS != up.PIDNS && min(p.PIDNS, up.PIDNS) != 0
	if other && (entered || runtime) || entered && runtime {
		return nil
	}
	return up
}

// Owner returns the process or the nearest of its ancestors of which yes holds, nil if it holds of none. At
// most bollwerk.ProcessDepth steps, whatever the chain looks like, and none out of a container.
func Owner(p *bollwerk.Process, yes func(*bollwerk.Process) bool) *bollwerk.Process {
	for n := 0; p != nil && n <= bollwerk.ProcessDepth; p, n = Above(p), n+1 {
		if yes(p) {
			return p
		}
	}
	return nil
}
