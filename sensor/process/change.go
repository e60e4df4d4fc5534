package process

import (
	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// compare finds out whether a process became another user, got other capabilities, went
// into another namespace or was put into another cgroup since its last record, and says so. rights is false
// when the change is the program's own doing (a set-user-ID file) and told by the exec.
// It returns the process as it is now.
func (s *Source) compare(h *sensor.Header, before, now *bollwerk.Process, rights bool) *bollwerk.Process {
	if before.Kernel || before.Start == 0 {
		return before
	}
	cred := before.UID != now.UID || before.EUID != now.EUID || before.GID != now.GID || before.Capabilities != now.Capabilities
	ns := before.MountNS != now.MountNS || before.NetNS != now.NetNS || before.UserNS != now.UserNS
	moved := before.Cgroup != now.Cgroup
	if !cred && !ns && !moved {
		return before
	}
	changed := *before
	changed.UID, changed.EUID, changed.GID = now.UID, now.EUID, now.GID
	changed.Capabilities, changed.Permitted, changed.Seccomp, changed.NoNewPrivs = now.Capabilities, now.Permitted, now.Seccomp, now.NoNewPrivs
	changed.MountNS, changed.NetNS, changed.UserNS = now.MountNS, now.NetNS, now.UserNS
	if moved {
		changed.Cgroup, changed.CgroupPath = now.Cgroup, s.k.Processes.CgroupPath(now.Cgroup, before.PID)
	}
	host := s.k.HostNamespaces()
	changed.Contained = changed.MountNS != 0 && (changed.MountNS != host.Mount || changed.PIDNS != host.PID)
	s.k.Processes.Replace(&changed)
	// A user namespace of its own brings all capabilities in it; that is no gain here. An
	// exec computes capabilities anew: only other ids are somebody's doing.
	gained := before.UserNS == now.UserNS && (before.UID != now.UID || before.EUID != now.EUID || before.GID != now.GID || now.Capabilities&^before.Capabilities != 0 || now.Capabilities == 0)
	if cred && rights && gained && !s.c.Covered("credentials") {
		s.k.Emit(&bollwerk.Event{Time: s.k.Time(h.Time), Kind: bollwerk.EventCredentials, Process: &changed, Outcome: bollwerk.Seen, Source: source, Change: &bollwerk.Change{
			OldUID: before.UID, OldEUID: before.EUID, OldGID: before.GID, OldCapabilities: before.Capabilities,
			UID: now.UID, EUID: now.EUID, GID: now.GID, Capabilities: now.Capabilities,
		}})
	}
	if ns {
		s.namespaces(h, before, now, &changed)
	}
	return &changed
}

// namespaces reports in which namespaces now differs from before; p is who.
func (s *Source) namespaces(h *sensor.Header, before, now, p *bollwerk.Process) {
	if s.c.Covered("namespaces") {
		return
	}
	host := s.k.HostNamespaces()
	n := &bollwerk.Namespace{}
	look := func(kind string, was, is, host uint32, of func(*bollwerk.Process) uint32) {
		if was == is || was == 0 || is == 0 {
			return
		}
		n.Kinds = append(n.Kinds, kind)
		if is == host {
			n.ToHost, n.Entered = true, true
		}
		n.Entered = n.Entered || s.k.Processes.Any(func(o *bollwerk.Process) bool { return of(o) == is && !o.Same(p) })
	}
	look("mnt", before.MountNS, now.MountNS, host.Mount, func(p *bollwerk.Process) uint32 { return p.MountNS })
	look("pid", before.PIDNS, now.PIDNS, host.PID, func(p *bollwerk.Process) uint32 { return p.PIDNS })
	look("net", before.NetNS, now.NetNS, host.Net, func(p *bollwerk.Process) uint32 { return p.NetNS })
	look("user", before.UserNS, now.UserNS, host.User, func(p *bollwerk.Process) uint32 { return p.UserNS })
	if len(n.Kinds) == 0 {
		return
	}
	s.k.Emit(&bollwerk.Event{Time: s.k.Time(h.Time), Kind: bollwerk.EventNamespace, Process: p, Outcome: bollwerk.Seen, Source: source, Namespace: n})
}
