package lsm

import (
	"net/netip"
	"strconv"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

func (s *Source) register() {
	for n := bpf.LsmLsmSourceLSM_EXEC; n <= bpf.LsmLsmSourceLSM_USERFAULT; n++ {
		d := s.act
		switch {
		case n == bpf.LsmLsmSourceLSM_EXEC:
			d = s.exec
		case n <= bpf.LsmLsmSourceLSM_MAKE:
			d = s.file
		case n == bpf.LsmLsmSourceLSM_MOUNT, n == bpf.LsmLsmSourceLSM_MOVE_MOUNT:
			d = s.mount
		}
		s.k.DecodeFrom(uint8(n), d)
	}
}

// record looks at the fixed part of a record; the rest is what follows. Nil when it is short.
func record[T any](raw []byte) (*T, []byte) {
	var zero T
	n := int(unsafe.Sizeof(zero))
	if len(raw) < n {
		return nil, nil
	}
	return (*T)(unsafe.Pointer(&raw[0])), raw[n:]
}

// take cuts the first n bytes off, or what there is.
func take(b []byte, n int) (string, []byte) {
	n = min(n, len(b))
	return string(b[:n]), b[n:]
}

// name is a text with a zero byte at its end, or full.
func name(b []int8) string {
	out := make([]byte, 0, 32)
	for _, c := range b {
		if c == 0 {
			break
		}
		out = append(out, byte(c))
	}
	return string(out)
}

// device turns the kernel's own number (12 bits major, 20 bits minor) into that of stat(2).
func device(d uint32) uint64 { return unix.Mkdev(d>>20, d&0xfffff) }

var origins = [...]bollwerk.Origin{bollwerk.OriginUnknown, bollwerk.OriginImage, bollwerk.OriginModified, bollwerk.OriginCreated,
	bollwerk.OriginVolume, bollwerk.OriginMemory, bollwerk.OriginHost}

func origin(n uint8) bollwerk.Origin {
	if int(n) < len(origins) {
		return origins[n]
	}
	return bollwerk.OriginUnknown
}

func (s *Source) file(h *sensor.Header, raw []byte) *bollwerk.Event {
	r, rest := record[bpf.LsmLsmFile](raw)
	if r == nil {
		return nil
	}
	f := &bollwerk.FileEvent{
		Access: bollwerk.Access(r.Access), Mode: r.Mode, OldMode: r.OldMode, UID: r.Uid, GID: r.Gid, Inode: r.Inode,
		Device: device(r.Device), Origin: origin(r.Origin), Size: r.Size, Truncated: h.Flags&sensor.FlagTruncated != 0,
	}
	f.Path, rest = take(rest, int(r.Path))
	f.Target, _ = take(rest, int(r.Target))
	if r.Class&Secret != 0 {
		f.Path = named(f.Path)
	}
	e := &bollwerk.Event{Source: "lsm", Count: uint64(r.Count), File: f}
	switch bollwerk.EventKind(h.Kind) {
	case bollwerk.EventOpen, bollwerk.EventCreate:
		if strings.HasSuffix(f.Path, "/environ") && s.own(h, f.Path) {
			return nil
		}
	case bollwerk.EventSetting:
		e.Object = &bollwerk.Object{Name: f.Path, Type: "file"}
	}
	return e
}

// named is the path of a secret as people call it: the kubelet writes what is in a volume into a
// folder named by the time ("..2026_01_02_03_04_05.678") and links to it from above.
func named(path string) string {
	dir, name, ok := strings.Cut(path, "/..")
	if !ok || len(name) < 6 || strings.Trim(name[:4], "0123456789") != "" || name[4] != '_' {
		return path
	}
	if _, name, ok = strings.Cut(name, "/"); !ok || name == "" {
		return path
	}
	return dir + "/" + name
}

// own reports whether a path below /proc speaks of the process that opened it.
func (s *Source) own(h *sensor.Header, path string) bool {
	elements := strings.Split(path, "/")
	if len(elements) < 3 {
		return false
	}
	n, err := strconv.ParseUint(elements[len(elements)-2], 10, 32)
	if err != nil {
		return false
	}
	if uint32(n) == h.Pid {
		return true
	}
	p := s.k.Processes.Get(h.Pid, h.Start)
	return p != nil && p.NSID == uint32(n)
}

// exec is a start that was refused. The event's process is the image that did not come
// to be, so that a rule about starts reads the same whether it was refused or not.
func (s *Source) exec(h *sensor.Header, raw []byte) *bollwerk.Event {
	r, rest := record[bpf.LsmLsmExec](raw)
	if r == nil {
		return nil
	}
	p := *s.k.Processes.Get(h.Pid, h.Start)
	var called string
	p.Path, rest = take(rest, int(r.Path))
	called, _ = take(rest, int(r.Called))
	p.Began = s.k.Time(h.Time)
	base := called[strings.LastIndexByte(called, '/')+1:]
	p.Name = base[:min(len(base), 15)]
	p.Script, p.Args, p.Layer = "", []string{called}, ""
	p.Inode, p.Device, p.Mode = r.Inode, device(r.Device), uint32(r.Mode)
	p.Origin = origin(r.Origin)
	p.Fileless = p.Origin == bollwerk.OriginMemory
	p.Stdio = nil
	for i := range r.Stdio {
		x := &r.Stdio[i]
		f := bollwerk.OpenFile{FD: i, Inode: x.Inode}
		switch x.Kind {
		case 1:
			f.Kind, f.Protocol = "socket", protocol(x.Family, x.Protocol)
			f.Local, f.Remote = address(x.Family, x.Local, x.LocalPort), address(x.Family, x.Remote, x.RemotePort)
		case 2:
			f.Kind = "pipe"
		case 3:
			f.Kind = "tty"
		case 4:
			f.Kind = "file"
		default:
			continue
		}
		p.Stdio = append(p.Stdio, f)
	}
	return &bollwerk.Event{Source: "lsm", Process: &p, Count: uint64(r.Count), File: &bollwerk.FileEvent{
		Path: p.Path, Mode: p.Mode, Inode: p.Inode, Device: p.Device, Origin: p.Origin, Size: r.Size, Access: bollwerk.AccessExec,
		Truncated: h.Flags&sensor.FlagTruncated != 0,
	}}
}

func protocol(family, number uint8) string {
	switch {
	case family == unix.AF_UNIX:
		return "unix"
	case number == unix.IPPROTO_TCP:
		return "tcp"
	case number == unix.IPPROTO_UDP:
		return "udp"
	case family == unix.AF_PACKET:
		return "packet"
	}
	return "raw"
}

func address(family uint8, a [16]uint8, port uint16) netip.AddrPort {
	switch family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[:4])), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(a).Unmap(), port)
	}
	return netip.AddrPort{}
}

func (s *Source) mount(h *sensor.Header, raw []byte) *bollwerk.Event {
	r, rest := record[bpf.LsmLsmMount](raw)
	if r == nil {
		return nil
	}
	m := &bollwerk.Mount{Source: name(r.Source[:]), Type: name(r.Type[:]), Flags: r.Flags}
	m.Target, _ = take(rest, int(r.Path))
	return &bollwerk.Event{Source: "lsm", Count: uint64(r.Count), Mount: m}
}

func (s *Source) act(h *sensor.Header, raw []byte) *bollwerk.Event {
	r, _ := record[bpf.LsmLsmAct](raw)
	if r == nil {
		return nil
	}
	e := &bollwerk.Event{Source: "lsm", Count: uint64(r.Count)}
	switch bpf.LsmLsmSource(h.Source) {
	case bpf.LsmLsmSourceLSM_SETUID, bpf.LsmLsmSourceLSM_CAPSET:
		e.Change = &bollwerk.Change{OldUID: r.Old[0], OldEUID: r.Old[1], OldGID: r.Old[2], UID: r.Now[0], EUID: r.Now[1], GID: r.Now[2],
			OldCapabilities: r.A, Capabilities: r.B}
	case bpf.LsmLsmSourceLSM_CAPABLE:
		e.Change = &bollwerk.Change{Used: capability(r.A)}
		if r.Old[0] != 0 {
			e.Object = &bollwerk.Object{Name: "open_by_handle_at", Type: "system call"}
		}
		if p := s.k.Processes.Get(h.Pid, h.Start); p != nil {
			c := e.Change
			c.OldUID, c.UID, c.OldEUID, c.EUID, c.OldGID, c.GID = p.UID, p.UID, p.EUID, p.EUID, p.GID, p.GID
			c.OldCapabilities, c.Capabilities = p.Capabilities, p.Capabilities
		}
	case bpf.LsmLsmSourceLSM_USERFAULT: // its kind says it all
	case bpf.LsmLsmSourceLSM_PTRACE, bpf.LsmLsmSourceLSM_TRACEME:
		e.Target = s.k.Processes.Get(r.Target, r.TargetStart)
	case bpf.LsmLsmSourceLSM_BPF:
		e.Object = &bollwerk.Object{Name: name(r.Name[:]), Type: strings.ToLower(ebpf.ProgramType(r.A).String())}
	case bpf.LsmLsmSourceLSM_MODULE_FILE:
		e.Object = &bollwerk.Object{Name: moduleName(name(r.Name[:])), Type: "file"}
	case bpf.LsmLsmSourceLSM_MODULE_DATA:
		e.Object = &bollwerk.Object{Type: "memory"}
	case bpf.LsmLsmSourceLSM_MODULE_REQUEST:
		e.Object = &bollwerk.Object{Name: name(r.Name[:]), Type: "request"}
	case bpf.LsmLsmSourceLSM_SOCKET:
		e.Connection = &bollwerk.Connection{Protocol: "raw"}
		if r.A == unix.AF_PACKET {
			e.Connection.Protocol = "packet"
		} else if p := uint32(r.B); p == unix.IPPROTO_ICMP || p == unix.IPPROTO_ICMPV6 {
			e.Connection.Protocol = "icmp"
		}
	case bpf.LsmLsmSourceLSM_UNIX:
		e.Connection = &bollwerk.Connection{Protocol: "unix", Path: name(r.Name[:])}
	case bpf.LsmLsmSourceLSM_USERNS, bpf.LsmLsmSourceLSM_SETNS:
		e.Source = "fentry"
		e.Namespace = &bollwerk.Namespace{Kinds: namespaces(r.A), Entered: r.Now[0] != 0, ToHost: r.B != 0}
		if bpf.LsmLsmSource(h.Source) == bpf.LsmLsmSourceLSM_USERNS {
			e.Source = "lsm"
		}
	case bpf.LsmLsmSourceLSM_MEMFD:
		e.Source = "fentry"
		e.File = &bollwerk.FileEvent{Path: name(r.Name[:]), Origin: bollwerk.OriginMemory}
	default:
		return nil
	}
	return e
}

// moduleName is the file's name without its endings, as the kernel will call it.
func moduleName(file string) string {
	base, _, _ := strings.Cut(file, ".ko")
	return strings.ReplaceAll(base, "-", "_")
}

func namespaces(bits uint64) (out []string) {
	for _, n := range []struct {
		flag uint64
		name string
	}{{unix.CLONE_NEWNS, "mnt"}, {unix.CLONE_NEWPID, "pid"}, {unix.CLONE_NEWNET, "net"}, {unix.CLONE_NEWUSER, "user"},
		{unix.CLONE_NEWUTS, "uts"}, {unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWCGROUP, "cgroup"}} {
		if bits&n.flag != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

// capabilities by number (linux/capability.h).
var capabilities = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
	NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
	SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG
	WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)

func capability(n uint64) string {
	if n < uint64(len(capabilities)) {
		return "CAP_" + capabilities[n]
	}
	return "CAP_" + strconv.FormatUint(n, 10)
}
