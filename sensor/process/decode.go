package process

import (
	"bytes"
	"context"
	"path"
	"strings"
	"unsafe"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// Flags of bw_task (bpf/process.h).
const (
	flagKernel = 1 << iota
	flagNoNewPrivs
	flagMemfd
	flagUnlinked
	flagExisting
	flagOwnNamespaces // of a fork: others than its parent's
)

// Bits of bw_exec.cut.
const (
	cutArgs = 1 << iota
	cutEnvironment
	cutPath
	cutCwd
	cutScript
)

// kindMoved is a record of the sensor's own (BW_MOVED).
const kindMoved bollwerk.EventKind = 56

// source of all events from here.
const source = "tp_btf"

var origins = [...]bollwerk.Origin{
	bollwerk.OriginUnknown, bollwerk.OriginImage, bollwerk.OriginModified, bollwerk.OriginCreated,
	bollwerk.OriginVolume, bollwerk.OriginMemory, bollwerk.OriginHost,
}

// record reads a fixed layout in the ring's bytes, which are only valid during the call;
// the kernel program wrote it in the layout of this machine.
func record[T any](raw []byte) (*T, []byte) {
	var none T
	n := int(unsafe.Sizeof(none))
	if len(raw) < n {
		return nil, nil
	}
	r := (*T)(unsafe.Pointer(&raw[0]))
	if uintptr(unsafe.Pointer(r))%unsafe.Alignof(none) != 0 { // never so in the ring
		r = new(T)
		copy(unsafe.Slice((*byte)(unsafe.Pointer(r)), n), raw)
	}
	return r, raw[n:]
}

// letters are a fixed array of the kernel's up to its zero byte.
func letters(a []int8) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(a))), len(a))
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return b
}

// fill makes a process of what all records say.
func (s *Source) fill(h *sensor.Header, t *bpf.ProcessBwTask) sensor.Record {
	p := new(bollwerk.Process)
	*p = s.said(h, t)
	return sensor.Record{Process: p, Parent: t.Parent, ParentStart: t.ParentStart}
}

// said is what all records say of a process.
func (s *Source) said(h *sensor.Header, t *bpf.ProcessBwTask) bollwerk.Process {
	table := s.k.Processes
	return bollwerk.Process{
		PID: h.Pid, NSID: t.NsPid, Start: h.Start, Name: table.Strings.Text(letters(t.Comm[:])),
		UID: t.Uid, EUID: t.Euid, GID: t.Gid, LoginUID: t.LoginUid, Session: t.Session,
		Capabilities: t.Effective, Permitted: t.Permitted, Seccomp: t.Seccomp, NoNewPrivs: t.Flags&flagNoNewPrivs != 0,
		Cgroup: h.Cgroup, PIDNS: t.PidNs, MountNS: t.MntNs, NetNS: t.NetNs, UserNS: t.UserNs,
		Contained: h.Flags&sensor.FlagContained != 0, Kernel: t.Flags&flagKernel != 0, Existing: t.Flags&flagExisting != 0,
		Began: s.k.Time(h.Time),
	}
}

// image reads a start. Every length is checked against what is there.
func (s *Source) image(raw []byte) (sensor.Record, bool) {
	e, data := record[bpf.ProcessBwExec](raw)
	if e == nil {
		return sensor.Record{}, false
	}
	h := (*sensor.Header)(unsafe.Pointer(&e.H))
	r := s.fill(h, &e.Task)
	p := r.Process
	texts := s.k.Processes.Strings
	take := func(n uint16) []byte {
		b := data[:min(int(n), len(data))]
		data = data[len(b):]
		return b
	}
	args, environment, exe, cwd, script, cgroup := take(e.Args), take(e.Environment), take(e.Path), take(e.Cwd), take(e.Script), take(e.Cgroup)
	p.Args = texts.List(args)
	p.Env = s.variables(texts.List(environment))
	var room [512]byte
	p.Path = texts.Text(turn(room[:0], exe, e.Task.Flags&flagMemfd != 0, e.Cut&cutPath != 0))
	p.Cwd = texts.Text(turn(room[:0], cwd, false, e.Cut&cutCwd != 0))
	if e.Cwd == 0 && p.Path != "" {
		p.Cwd = "/"
	}
	if len(script) > 0 {
		p.Script = texts.Text(bytes.TrimSuffix(script, []byte{0}))
		if !strings.HasPrefix(p.Script, "/") && e.Cut&cutScript == 0 {
			p.Script = path.Join(p.Cwd, p.Script)
		}
	}
	p.Truncated = h.Flags&sensor.FlagTruncated != 0
	p.Inode, p.Device, p.Mode = e.Inode, device(e.Device), uint32(e.Mode)
	if int(e.Origin) < len(origins) {
		p.Origin = origins[e.Origin]
	}
	if p.Kernel {
		p.Origin = bollwerk.OriginUnknown
	}
	p.Fileless = e.Task.Flags&(flagMemfd|flagUnlinked) != 0
	p.TTY = terminal(letters(e.Tty[:]))
	for i := range e.Stdio {
		if f, ok := open(i, &e.Stdio[i]); ok {
			p.Stdio = append(p.Stdio, f)
		}
	}
	if len(cgroup) > 0 {
		s.k.Processes.SetCgroupPath(p.Cgroup, string(turn(room[:0], cgroup, false, false)))
	}
	p.CgroupPath = s.k.Processes.CgroupPath(p.Cgroup, p.PID)
	return r, true
}

// device turns the kernel's number (major << 20 | minor) into that of stat(2).
func device(d uint32) uint64 {
	major, minor := uint64(d>>20), uint64(d&0xfffff)
	return minor&0xff | major&0xfff<<8 | minor&^0xff<<12 | major&^0xfff<<32
}

// variables keeps the wanted ones: the kernel compares only their beginnings.
func (s *Source) variables(all []string) []string {
	n := 0
	for _, v := range all {
		if name, _, ok := strings.Cut(v, "="); ok && s.keep[name] {
			n++
		}
	}
	if n == len(all) {
		return all
	}
	if n == 0 {
		return nil
	}
	out := make([]string, 0, n)
	for _, v := range all {
		if name, _, ok := strings.Cut(v, "="); ok && s.keep[name] {
			out = append(out, v)
		}
	}
	return out
}

// turn makes a path of names that come last one first, each with a zero byte. A path
// whose beginning did not fit begins with "…". It stands in room when it fits.
func turn(room, names []byte, bare, cut bool) []byte {
	names = bytes.TrimSuffix(names, []byte{0})
	if len(names) == 0 {
		return nil
	}
	if bare {
		return names
	}
	out := room
	if cut {
		out = append(out, "…"...)
	}
	for len(names) > 0 {
		i := bytes.LastIndexByte(names, 0)
		out = append(append(out, '/'), names[i+1:]...)
		names = names[:max(i, 0)]
	}
	return out
}

func terminal(name []byte) string {
	if n, ok := bytes.CutPrefix(name, []byte("pts")); ok && len(n) > 0 && n[0] != '/' {
		return "pts/" + string(n)
	}
	return string(name)
}

var stdioKinds = [...]string{1: "socket", 2: "pipe", 3: "tty"}

func open(fd int, s *bpf.ProcessBwStdio) (bollwerk.OpenFile, bool) {
	f := bollwerk.OpenFile{FD: fd, Inode: s.Inode}
	if int(s.Kind) >= len(stdioKinds) || stdioKinds[s.Kind] == "" {
		return f, false
	}
	f.Kind = stdioKinds[s.Kind]
	if f.Kind != "socket" {
		return f, true
	}
	switch s.Family {
	case 1:
		f.Protocol = "unix"
	case 2, 10:
		f.Protocol = map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 58: "icmp"}[s.Protocol]
		f.Local = sensor.AddrPort(s.Family == 10, s.Local, s.LocalPort)
		f.Remote = sensor.AddrPort(s.Family == 10, s.Remote, s.RemotePort)
	}
	return f, true
}

func (s *Source) decodeExec(h *sensor.Header, raw []byte) *bollwerk.Event {
	r, ok := s.image(raw)
	if !ok {
		return nil
	}
	if before := s.k.Processes.Known(h.Pid, h.Start); before != nil {
		s.compare(h, before, r.Process, r.Process.Mode&0o6000 == 0)
	}
	now, _ := s.k.Processes.Exec(&r)
	return &bollwerk.Event{Process: now, Source: source}
}

func (s *Source) decodeFork(h *sensor.Header, raw []byte) *bollwerk.Event {
	f, _ := record[bpf.ProcessBwFork](raw)
	if f == nil {
		return nil
	}
	r := s.fill(h, &f.Task)
	parent := s.k.Processes.Known(r.Parent, r.ParentStart)
	own := f.Task.Flags&flagOwnNamespaces != 0
	if parent != nil && !own {
		// What the child is now its parent was when it forked.
		s.compare(h, parent, r.Process, true)
	}
	child := s.k.Processes.Fork(&r)
	if parent != nil && (own || child.PIDNS != parent.PIDNS) {
		s.namespaces(h, parent, child, child)
	}
	return &bollwerk.Event{Process: child, Source: source}
}

func (s *Source) decodeExit(h *sensor.Header, raw []byte) *bollwerk.Event {
	x, _ := record[bpf.ProcessBwExit](raw)
	if x == nil {
		return nil
	}
	now := s.said(h, &x.Task)
	end := new(bollwerk.Process)
	if p := s.k.Processes.Known(h.Pid, h.Start); p == nil {
		*end = now
		end.Parent = s.k.Processes.Known(x.Task.Parent, x.Task.ParentStart)
	} else {
		// Namespaces are given up before the end; rights are not.
		now.MountNS, now.NetNS, now.PIDNS = p.MountNS, p.NetNS, p.PIDNS
		*end = *s.compare(h, p, &now, true)
	}
	s.k.Processes.Exit(h.Pid, h.Start, s.k.Time(h.Time))
	end.ExitCode = x.Code
	return &bollwerk.Event{Process: end, Source: source}
}

// decodeMoved keeps what it tells; it is no event.
func (s *Source) decodeMoved(h *sensor.Header, raw []byte) *bollwerk.Event {
	m, _ := record[bpf.ProcessBwMoved](raw)
	if m == nil {
		return nil
	}
	if path := letters(m.Path[:]); len(path) < len(m.Path)-1 { // else it may be cut
		s.k.Processes.Moved(h.Pid, h.Start, h.Cgroup, string(path))
	}
	return nil
}

func (s *Source) decodeSignal(h *sensor.Header, raw []byte) *bollwerk.Event {
	g, _ := record[bpf.ProcessBwSignal](raw)
	if g == nil {
		return nil
	}
	return &bollwerk.Event{Signal: int(g.Signal), Target: s.k.Processes.Get(g.Target, g.TargetStart), Source: source}
}

// list reads what already runs.
func (s *Source) list(ctx context.Context, each func(*sensor.Record)) error {
	const fixed = int(unsafe.Sizeof(bpf.ProcessBwExec{}))
	size := func(b []byte) int {
		if len(b) < fixed {
			return 0
		}
		return int((*sensor.Header)(unsafe.Pointer(&b[0])).Size)
	}
	buf := make([]byte, fixed+3*8192)
	return iterate(ctx, s.objs.Programs["process_list"], size, func(b []byte) {
		n := copy(buf, b) // aligned
		r, ok := s.image(buf[:n])
		if !ok {
			return
		}
		s.k.Processes.FromProc(r.Process)
		if !r.Process.Kernel {
			r.Process.Env = s.variables(s.k.Processes.Environment(r.Process.PID))
		}
		r.Process.Began = s.k.Time(r.Process.Start)
		each(&r)
	})
}
