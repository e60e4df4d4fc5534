package detecttest

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Story writes events as a sensor would deliver them: one container or host, processes
// with their parents, pipes and sockets between them, a clock. Detectors keep the
// events of their stories as files; -update writes them anew.
type Story struct {
	Events   []*bollwerk.Event
	Now      time.Time
	Workload *bollwerk.Workload

	pid   uint32
	inode uint64
	// Job gives the processes that are started a session, terminal, user.
	Session  uint32
	TTY      string
	UID      uint32
	LoginUID uint32
	Origin   bollwerk.Origin
}

// Container is a workload for stories.
func Container(name, image string) *bollwerk.Workload {
	return &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: 4242, Container: &bollwerk.Container{
		ID: fmt.Sprintf("%064x", len(name)*7919+len(image)), Name: name, Runtime: "containerd", Image: image,
	}}
}

// Pod is a container of a Kubernetes pod.
func Pod(namespace, owner, container, image string) *bollwerk.Workload {
	w := Container(container, image)
	w.Pod = &bollwerk.Pod{Namespace: namespace, Name: owner + "-6d5f9c7b8-x2x7k", UID: "7e6b2d0c-0001-4000-8000-" + fmt.Sprintf("%012d", len(owner)),
		Container: container, OwnerKind: "Deployment", OwnerName: owner}
	return w
}

// Host is the machine itself; with a name, one of its units.
func Host(unit string) *bollwerk.Workload {
	if unit == "" {
		return &bollwerk.Workload{Kind: bollwerk.WorkloadHost, Node: "node-1"}
	}
	return &bollwerk.Workload{Kind: bollwerk.WorkloadUnit, Unit: unit, Node: "node-1", Cgroup: 77}
}

// New begins a story in w.
func New(w *bollwerk.Workload) *Story {
	s := &Story{Workload: w, Now: time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC), pid: 1000, inode: 90000, LoginUID: 4294967295}
	s.Origin = bollwerk.OriginHost
	if w != nil && w.Container != nil {
		s.Origin = bollwerk.OriginImage
	}
	return s
}

// Wait lets time pass.
func (s *Story) Wait(d time.Duration) *Story { s.Now = s.Now.Add(d); return s }

// Pipe makes a pipe: its inode.
func (s *Story) Pipe() uint64 { s.inode++; return s.inode }

// Words splits a command line at spaces; single quotes keep words together.
func Words(line string) []string {
	var out []string
	var b strings.Builder
	in, some := false, false
	for _, r := range line {
		switch {
		case r == '\'':
			in, some = !in, true
		case r == ' ' && !in:
			if some || b.Len() > 0 {
				out = append(out, b.String())
			}
			b.Reset()
			some = false
		default:
			b.WriteRune(r)
		}
	}
	if some || b.Len() > 0 {
		out = append(out, b.String())
	}
	return out
}

// Option changes a process that is started.
type Option func(*bollwerk.Process)

// In, Out, Err and All connect descriptors to a pipe; Net to an internet socket.
func In(pipe uint64) Option  { return fd(pipe, 0) }
func Out(pipe uint64) Option { return fd(pipe, 1) }
func Err(pipe uint64) Option { return fd(pipe, 2) }

func fd(pipe uint64, n int) Option {
	return func(p *bollwerk.Process) {
		p.Stdio = append(p.Stdio, bollwerk.OpenFile{FD: n, Kind: "pipe", Inode: pipe})
	}
}

// Net connects descriptors to one internet socket.
func Net(local, remote string, fds ...int) Option {
	return func(p *bollwerk.Process) {
		for _, n := range fds {
			p.Stdio = append(p.Stdio, bollwerk.OpenFile{FD: n, Kind: "socket", Protocol: "tcp", Inode: 555001,
				Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)})
		}
	}
}

// Unix connects descriptors to a local socket pair.
func Unix(inode uint64, fds ...int) Option {
	return func(p *bollwerk.Process) {
		for _, n := range fds {
			p.Stdio = append(p.Stdio, bollwerk.OpenFile{FD: n, Kind: "socket", Protocol: "unix", Inode: inode})
		}
	}
}

// Script says that "#!" of this file started the interpreter.
func Script(path string) Option { return func(p *bollwerk.Process) { p.Script = path } }

// From says where the executable comes from.
func From(o bollwerk.Origin) Option {
	return func(p *bollwerk.Process) { p.Origin, p.Fileless = o, o == bollwerk.OriginMemory }
}

// Term gives the process a terminal.
func Term(p *bollwerk.Process) { p.TTY = "pts/0" }

// Outside is a process of the host in a container's story: what starts the container.
func Outside(p *bollwerk.Process) {
	p.Contained, p.MountNS, p.PIDNS, p.NetNS, p.Cgroup, p.Origin = false, 4026531841, 4026531836, 4026531840, 1, bollwerk.OriginHost
}

// Inode gives the executable its number.
func Inode(n uint64) Option {
	return func(p *bollwerk.Process) { p.Inode, p.Device = n, 64769 }
}

// process makes a value: path, then the words of argv.
func (s *Story) process(parent *bollwerk.Process, line string, opts []Option) *bollwerk.Process {
	w := Words(line)
	path := w[0]
	args := append([]string(nil), w...)
	if i := strings.IndexByte(path, '='); i > 0 { // "/bin/busybox=sh -c …": path=argv0
		path, args[0] = path[:i], path[i+1:]
	} else {
		args[0] = path[strings.LastIndexByte(path, '/')+1:]
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	if len(name) > 15 {
		name = name[:15]
	}
	s.pid++
	p := &bollwerk.Process{
		PID: s.pid, NSID: s.pid - 1000, Start: uint64(s.Now.UnixNano()-1_770_000_000_000_000_000) + uint64(s.pid), Began: s.Now, Name: name, Path: path, Args: args,
		Cwd: "/", UID: s.UID, EUID: s.UID, GID: s.UID, LoginUID: s.LoginUID, Session: s.Session, TTY: s.TTY, Origin: s.Origin,
		Mode: 0o100755, MountNS: 4026531841, PIDNS: 4026531836, NetNS: 4026531840, Parent: parent,
	}
	if s.Workload != nil {
		p.Cgroup = s.Workload.Cgroup
		if s.Workload.Container != nil {
			p.Contained, p.MountNS, p.PIDNS, p.NetNS = true, 4026532501, 4026532504, 4026532507
		}
	}
	if p.Session == 0 {
		p.Session = 1
		if parent != nil {
			p.Session = parent.Session
		}
	}
	for _, o := range opts {
		o(p)
	}
	return p
}

// Was is a process that ran before the story begins.
func (s *Story) Was(parent *bollwerk.Process, line string, opts ...Option) *bollwerk.Process {
	p := s.process(parent, line, opts)
	p.Existing = true
	p.Began = s.Now.Add(-3 * time.Hour)
	p.Start -= min(p.Start, uint64(3*time.Hour))
	return p
}

// Exec is a fork and exec, 2 ms later.
func (s *Story) Exec(parent *bollwerk.Process, line string, opts ...Option) *bollwerk.Process {
	s.Wait(2 * time.Millisecond)
	p := s.process(parent, line, opts)
	s.Add(&bollwerk.Event{Kind: bollwerk.EventExec, Process: p})
	return p
}

// Become is an exec without a fork: another image of the same process.
func (s *Story) Become(old *bollwerk.Process, line string, opts ...Option) *bollwerk.Process {
	s.Wait(time.Millisecond)
	p := s.process(old.Parent, line, opts)
	p.PID, p.NSID, p.Start = old.PID, old.NSID, old.Start
	s.Add(&bollwerk.Event{Kind: bollwerk.EventExec, Process: p})
	return p
}

// Fork is a child that runs the image of its parent.
func (s *Story) Fork(parent *bollwerk.Process) *bollwerk.Process {
	c := *parent
	s.pid++
	c.PID, c.NSID, c.Parent = s.pid, s.pid-1000, parent
	c.Start += uint64(s.pid)
	s.Add(&bollwerk.Event{Kind: bollwerk.EventFork, Process: &c})
	return &c
}

// Exit ends a process.
func (s *Story) Exit(p *bollwerk.Process) {
	s.Add(&bollwerk.Event{Kind: bollwerk.EventExit, Process: p})
}

// Add puts an event into the story, with time, place and outcome.
func (s *Story) Add(e *bollwerk.Event) *bollwerk.Event {
	e.Time, e.Workload = s.Now, s.Workload
	if e.Outcome == "" {
		e.Outcome = bollwerk.Seen
	}
	if e.Source == "" {
		e.Source = "tp_btf"
	}
	s.Events = append(s.Events, e)
	return e
}

// Connect is an outgoing TCP connection; result 0 or an errno.
func (s *Story) Connect(p *bollwerk.Process, remote string, result ...int32) *bollwerk.Event {
	name, addr, ok := strings.Cut(remote, "=")
	if !ok {
		name, addr = "", remote
	}
	s.Wait(time.Millisecond)
	s.inode++
	e := &bollwerk.Event{Kind: bollwerk.EventConnect, Process: p, Connection: &bollwerk.Connection{Protocol: "tcp", Outgoing: true, Name: name,
		Local: netip.MustParseAddrPort(fmt.Sprintf("10.1.2.3:%d", 40000+s.inode%20000)), Remote: netip.MustParseAddrPort(addr), Cookie: s.inode}}
	if len(result) > 0 {
		e.Result = result[0]
	}
	return s.Add(e)
}

// Listen is a socket that begins to serve; Accept a connection taken.
func (s *Story) Listen(p *bollwerk.Process, local string) {
	s.Add(&bollwerk.Event{Kind: bollwerk.EventListen, Process: p, Connection: &bollwerk.Connection{Protocol: "tcp", Local: netip.MustParseAddrPort(local)}})
}

// Accept is a connection taken.
func (s *Story) Accept(p *bollwerk.Process, local, remote string) {
	s.Add(&bollwerk.Event{Kind: bollwerk.EventAccept, Process: p, Connection: &bollwerk.Connection{Protocol: "tcp", Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}})
}

// Ask is a DNS question and its answer: code "" for none.
func (s *Story) Ask(p *bollwerk.Process, name, typ, code string, size int) {
	s.Wait(time.Millisecond)
	server := netip.MustParseAddrPort("10.96.0.10:53")
	s.inode++
	q := &bollwerk.DNS{ID: uint16(s.inode * 40503), Name: name, Type: typ, Size: 30 + len(name), Server: server}
	s.Add(&bollwerk.Event{Kind: bollwerk.EventDNS, Process: p, DNS: q, Source: "cgroup_skb"})
	if code == "" {
		return
	}
	s.Wait(3 * time.Millisecond)
	a := *q
	a.Answer, a.Code, a.Size = true, code, max(size, q.Size)
	if code == "NOERROR" {
		a.Records, a.TTL = 1, 60
		if typ == "A" {
			a.Addresses = []netip.Addr{netip.MustParseAddr("198.51.100.23")}
		}
	}
	s.Add(&bollwerk.Event{Kind: bollwerk.EventDNS, Process: p, DNS: &a, Source: "cgroup_skb"})
}

// File is an event about a file; with target for rename and links.
func (s *Story) File(kind bollwerk.EventKind, p *bollwerk.Process, path string, change ...func(*bollwerk.FileEvent)) *bollwerk.Event {
	s.Wait(200 * time.Microsecond)
	f := &bollwerk.FileEvent{Path: path, Mode: 0o100644}
	for _, c := range change {
		c(f)
	}
	return s.Add(&bollwerk.Event{Kind: kind, Process: p, File: f})
}

// Write is a file made and written.
func (s *Story) Write(p *bollwerk.Process, path string, inode uint64) {
	s.File(bollwerk.EventCreate, p, path, func(f *bollwerk.FileEvent) {
		f.Access, f.Inode, f.Device = bollwerk.AccessWrite|bollwerk.AccessCreate, inode, 64769
	})
}

// Chmod is a change of mode.
func (s *Story) Chmod(p *bollwerk.Process, path string, mode uint32, inode uint64) {
	s.File(bollwerk.EventChmod, p, path, func(f *bollwerk.FileEvent) {
		f.OldMode, f.Mode, f.Inode, f.Device = 0o100644, 0o100000|mode, inode, 64769
	})
}

// Rename moves a file; Unlink removes one.
func (s *Story) Rename(p *bollwerk.Process, from, to string) {
	s.File(bollwerk.EventRename, p, from, func(f *bollwerk.FileEvent) { f.Target = to })
}

// Unlink removes a file.
func (s *Story) Unlink(p *bollwerk.Process, path string) {
	s.File(bollwerk.EventUnlink, p, path)
}

// Burn is CPU use over a window ending now.
func (s *Story) Burn(p *bollwerk.Process, window, cpu time.Duration) {
	s.Wait(window)
	s.Add(&bollwerk.Event{Kind: bollwerk.EventUsage, Process: p, Usage: &bollwerk.Usage{Window: window, CPU: cpu}})
}

// Join adds the events of another story, by time.
func (s *Story) Join(o *Story) *Story {
	var all []*bollwerk.Event
	i, j := 0, 0
	for i < len(s.Events) || j < len(o.Events) {
		if j == len(o.Events) || i < len(s.Events) && !o.Events[j].Time.Before(s.Events[i].Time) {
			all, i = append(all, s.Events[i]), i+1
			continue
		}
		all, j = append(all, o.Events[j]), j+1
	}
	s.Events = all
	if o.Now.After(s.Now) {
		s.Now = o.Now
	}
	return s
}
