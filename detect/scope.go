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

// Owner returns the process and its ancestors until yes says so, nil if none does. At
// most bollwerk.ProcessDepth steps, whatever the chain looks like.
func Owner(p *bollwerk.Process, yes func(*bollwerk.Process) bool) *bollwerk.Process {
	for n := 0; p != nil && n <= bollwerk.ProcessDepth; p, n = p.Parent, n+1 {
		if yes(p) {
			return p
		}
	}
	return nil
}
