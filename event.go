package bollwerk

import (
	"fmt"
	"net/netip"
	"time"
)

// EventKind says what a process did. The JSON form is the word.
type EventKind uint8

// The closed list of kinds. Numbers are never reused: the flight recorder stores them.
const (
	EventUnknown     EventKind = 0
	EventExec        EventKind = 1  // a program was started (Process is the new image)
	EventFork        EventKind = 2  // a process was made (Process is the child)
	EventExit        EventKind = 3  // the last thread of a process ended
	EventOpen        EventKind = 4  // a watched file was opened (File.Access says how)
	EventCreate      EventKind = 5  // a file was made
	EventRename      EventKind = 6  // File.Path became File.Target
	EventUnlink      EventKind = 7  // a name was removed (File.Mode tells a folder)
	EventChmod       EventKind = 8  // File.Mode is the new mode, File.OldMode the old one
	EventChown       EventKind = 9  // File.UID, File.GID are the new ones
	EventLink        EventKind = 10 // hard link: File.Path is the old name, File.Target the new
	EventSymlink     EventKind = 11 // File.Path is the new link, File.Target what it says
	EventMmap        EventKind = 12 // a file was mapped executable
	EventConnect     EventKind = 13 // an outgoing connection (Result: 0 or an errno)
	EventAccept      EventKind = 14 // an incoming connection was taken
	EventListen      EventKind = 15 // a socket began to listen
	EventBind        EventKind = 16 // a socket took a local address
	EventSend        EventKind = 17 // first datagram to a new peer
	EventDNS         EventKind = 18 // a DNS question or answer (DNS)
	EventFlow        EventKind = 19 // a summary of traffic with one peer (Flow)
	EventCredentials EventKind = 20 // uid, gid or capabilities of a process changed (Change)
	EventCapability  EventKind = 21 // a capability was used for the first time (Change.Used)
	EventNamespace   EventKind = 22 // setns or unshare (Namespace)
	EventMount       EventKind = 23 // a file system was mounted, moved or remounted (Mount)
	EventPtrace      EventKind = 24 // Process attached to Target
	EventMemfd       EventKind = 25 // an anonymous file was made (File.Path "memfd:name")
	EventModule      EventKind = 26 // a kernel module was loaded (Object)
	EventBPF         EventKind = 27 // a BPF program was loaded (Object)
	EventSocket      EventKind = 28 // a raw or packet socket was made (Connection.Protocol)
	EventSignal      EventKind = 29 // Signal was sent to Target, a process of another tree
	EventSetting     EventKind = 30 // a kernel setting was written (Object.Name, Object.Value)
	EventProtocol    EventKind = 31 // traffic of a watched protocol (Object.Name "stratum")
	EventContainer   EventKind = 32 // a container began or ended (Object.Name "start", "stop")
	EventLoss        EventKind = 33 // events were lost (Loss)
	EventUsage       EventKind = 34 // CPU use of a process over a window (Usage)
	EventTraceme     EventKind = 35 // Process lets its parent, Target, trace it (PTRACE_TRACEME)
	EventUserfault   EventKind = 36 // Process answers its own page faults (userfaultfd(2))
)

var eventWords = [...]string{
	"unknown", "exec", "fork", "exit", "open", "create", "rename", "unlink", "chmod", "chown", "link", "symlink",
	"mmap", "connect", "accept", "listen", "bind", "send", "dns", "flow", "credentials", "capability", "namespace",
	"mount", "ptrace", "memfd", "module", "bpf", "socket", "signal", "setting", "protocol", "container", "loss", "usage",
	"traceme", "userfaultfd",
}

// EventKinds is the number of kinds, for tables indexed by kind.
const EventKinds = len(eventWords)

func (k EventKind) String() string {
	if int(k) < len(eventWords) {
		return eventWords[k]
	}
	return "unknown"
}

// ParseEventKind reads the word. An unknown word is an error.
func ParseEventKind(s string) (EventKind, error) {
	for i, w := range eventWords {
		if w == s && i > 0 {
			return EventKind(i), nil
		}
	}
	return EventUnknown, fmt.Errorf("event kind %q: not one of exec, open, connect, dns, …", s)
}

// MarshalText writes the word.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the word.
func (k *EventKind) UnmarshalText(b []byte) (err error) {
	*k, err = ParseEventKind(string(b))
	return err
}

// Outcome says what became of what an event or detection speaks of. It is the
// truth about this kernel's means: "killed" is not "denied".
type Outcome string

const (
	// Seen: it happened and was only recorded.
	Seen Outcome = "seen"
	// Denied: the kernel refused it; it did not happen.
	Denied Outcome = "denied"
	// Killed: the process was ended. It may have run a little: with a program start
	// not one instruction of the new program, otherwise up to the moment of the kill.
	Killed Outcome = "killed"
)

// Event is one thing that happened in the kernel or in a container, seen by a
// sensor. Kind says which of the parts are set. An event is not changed after the
// sensor handed it out; its parts may be shared between events.
type Event struct {
	Time time.Time `json:"time"`
	Kind EventKind `json:"kind"`
	// Process is who did it; nil when the kernel does not tell (a packet that
	// belongs to no process, a mount seen from outside).
	Process *Process `json:"process,omitempty"`
	// Workload is where it happened; nil before the agent resolved it.
	Workload *Workload `json:"workload,omitempty"`
	Outcome  Outcome   `json:"outcome,omitempty"`
	// Result is 0 or the errno with which the kernel answered (positive).
	Result int32 `json:"result,omitempty"`
	// Count is how many equal events this one stands for; 0 and 1 mean one.
	Count uint64 `json:"count,omitempty"`
	// Source names the means that saw it: "lsm", "tp_btf", "fanotify", "perf", …
	Source string `json:"source,omitempty"`
	// Rule names the in-kernel guard that denied or killed, "" otherwise.
	Rule string `json:"rule,omitempty"`

	File       *FileEvent  `json:"file,omitempty"`
	Connection *Connection `json:"connection,omitempty"`
	DNS        *DNS        `json:"dns,omitempty"`
	Flow       *Flow       `json:"flow,omitempty"`
	Target     *Process    `json:"target,omitempty"` // of signal, ptrace
	Signal     int         `json:"signal,omitempty"`
	Change     *Change     `json:"change,omitempty"`
	Namespace  *Namespace  `json:"namespace,omitempty"`
	Mount      *Mount      `json:"mount,omitempty"`
	Object     *Object     `json:"object,omitempty"`
	Loss       *Loss       `json:"loss,omitempty"`
	Usage      *Usage      `json:"usage,omitempty"`
}

// Origin says where the bytes of a file come from, seen from a container's image.
type Origin string

const (
	OriginUnknown  Origin = ""
	OriginImage    Origin = "image"    // a lower layer, unchanged
	OriginModified Origin = "modified" // in the image, copied up and perhaps changed at run time
	OriginCreated  Origin = "created"  // made at run time, not in the image
	OriginVolume   Origin = "volume"   // a mount of the container that is not its image
	OriginMemory   Origin = "memory"   // memfd, or a file without a name (fileless)
	OriginHost     Origin = "host"     // the process runs on the host's own root
)

// Process is one image of one process: an exec makes a new value. Parent is set
// once and never makes a circle; chains are at most ProcessDepth long.
type Process struct {
	PID  uint32 `json:"pid"` // as the host sees it (thread group)
	NSID uint32 `json:"ns_pid,omitempty"`
	// Start tells processes with the same PID apart: nanoseconds since boot, of the
	// process, not of the exec.
	Start uint64    `json:"start"`
	Began time.Time `json:"began,omitzero"` // of this image (exec), wall clock
	Name  string    `json:"name"`           // the kernel's 15 letters ("comm")
	Path  string    `json:"path,omitempty"` // of the executable, in its own mount namespace
	// Script is the file an interpreter was started for by "#!", "" otherwise.
	Script string   `json:"script,omitempty"`
	Args   []string `json:"args,omitempty"` // argv, with argv[0]
	// Truncated says that Args, Path, Cwd or Env are longer than what was kept.
	Truncated bool     `json:"truncated,omitempty"`
	Cwd       string   `json:"cwd,omitempty"`
	Env       []string `json:"env,omitempty"` // selected "NAME=value"
	UID       uint32   `json:"uid"`
	EUID      uint32   `json:"euid"`
	GID       uint32   `json:"gid"`
	// LoginUID is who logged in, 4294967295 when nobody did.
	LoginUID uint32 `json:"login_uid,omitempty"`
	Session  uint32 `json:"session,omitempty"` // PID of the session's leader (setsid(2)), host view
	TTY      string `json:"tty,omitempty"`     // "pts/0"; "" without a terminal
	// Capabilities are the effective ones, bit = number in linux/capability.h.
	Capabilities uint64 `json:"capabilities,omitempty"`
	Permitted    uint64 `json:"permitted,omitempty"`
	Seccomp      uint8  `json:"seccomp,omitempty"` // 0 off, 1 strict, 2 filter
	NoNewPrivs   bool   `json:"no_new_privs,omitempty"`

	Inode  uint64 `json:"inode,omitempty"` // of the executable
	Device uint64 `json:"device,omitempty"`
	Mode   uint32 `json:"mode,omitempty"`
	Origin Origin `json:"origin,omitempty"`
	// Layer is the digest of the image layer the executable comes from (its diff id), if
	// known; "" unless Origin is OriginImage.
	Layer Digest `json:"layer,omitempty"`
	// Fileless: the executable is a memfd or has no name any more.
	Fileless bool `json:"fileless,omitempty"`
	// Stdio are the descriptors 0, 1, 2 that are sockets or pipes at the exec.
	Stdio []OpenFile `json:"stdio,omitempty"`

	Cgroup     uint64 `json:"cgroup,omitempty"` // id: inode number of the cgroup's folder
	CgroupPath string `json:"cgroup_path,omitempty"`
	PIDNS      uint32 `json:"pid_ns,omitempty"`
	MountNS    uint32 `json:"mount_ns,omitempty"`
	NetNS      uint32 `json:"net_ns,omitempty"`
	UserNS     uint32 `json:"user_ns,omitempty"`
	// Contained: the process does not share the host's mount or PID namespace.
	Contained bool `json:"contained,omitempty"`
	// Kernel thread; has no executable.
	Kernel bool `json:"kernel,omitempty"`
	// Existing: it ran before the sensor; what only an exec tells (Stdio, Script) is
	// what /proc still says.
	Existing bool `json:"existing,omitempty"`
	// ExitCode of an exit event: wait status as the kernel keeps it.
	ExitCode int32 `json:"exit_code,omitempty"`

	Parent *Process `json:"parent,omitempty"`
}

// LacksLayer reports whether the executable is of an image, and nobody said of which layer.
func (p *Process) LacksLayer() bool { return p != nil && p.Origin == OriginImage && p.Layer == "" }

// ProcessDepth is the most ancestors a process carries.
const ProcessDepth = 16

// Ancestor returns the n-th ancestor: 0 is p, 1 the parent. Nil when there is none.
func (p *Process) Ancestor(n int) *Process {
	for ; p != nil && n > 0; n-- {
		p = p.Parent
	}
	return p
}

// Inside returns the parent if it lives in a container as p does, or on the host as p
// does; nil at the border, as far as namespaces are known. What started a container from outside is no ancestor of what
// happens in it: else everything below runc would count as runc's own work.
func (p *Process) Inside() *Process {
	if p == nil || p.Parent == nil || p.Contained && !p.Parent.Contained && p.Parent.MountNS != 0 {
		return nil
	}
	return p.Parent
}

// OfRuntime tells the container runtime at work in a container from a process of the
// container: before its program starts, and with every exec into it, runc and its kind
// work in the container's cgroup with an executable of the host. A host's executable that
// descends from a program of the container is another matter: that one got out, and so
// did all that it starts. For processes in a container's cgroup.
//
// Runtimes also run a sealed copy of themselves, a program without a name. It is theirs
// when a process outside of the container started it before it entered any of the
// container's namespaces, or is forked from such a one.
func (p *Process) OfRuntime() bool {
	for n := 0; p != nil && n <= ProcessDepth; n++ {
		up := p.Parent
		outside := up == nil || up.Cgroup != p.Cgroup
		if p.Origin != OriginHost {
			if p.Origin != OriginMemory || up == nil || outside && up.Contained {
				return false
			}
			forked := p.Inode != 0 && p.Inode == up.Inode && p.Device == up.Device
			if !forked && (p.Contained || !outside) {
				return false
			}
		}
		if outside {
			return true
		}
		p = up
	}
	return false
}

// Same reports whether two values speak of the same process (not the same image).
func (p *Process) Same(o *Process) bool {
	return p != nil && o != nil && p.PID == o.PID && p.Start == o.Start
}

// OpenFile is an open file descriptor of interest.
type OpenFile struct {
	FD   int    `json:"fd"`
	Kind string `json:"kind"` // "socket", "pipe", "tty", "file"
	// Remote and Local of an internet socket; Protocol "tcp", "udp", "unix".
	Protocol string         `json:"protocol,omitempty"`
	Local    netip.AddrPort `json:"local,omitzero"`
	Remote   netip.AddrPort `json:"remote,omitzero"`
	Inode    uint64         `json:"inode,omitempty"` // joins both ends of a pipe, or a socket
}

// Access says how a file was opened: a set of bits.
type Access uint8

const (
	AccessRead Access = 1 << iota
	AccessWrite
	AccessCreate
	AccessTruncate
	AccessAppend
	AccessExec
)

// FileEvent is the file an event speaks of. Paths are absolute in the mount namespace of
// the process, never cleaned of hostile characters: printing does that.
type FileEvent struct {
	Path      string `json:"path"`
	Target    string `json:"target,omitempty"`
	Truncated bool   `json:"truncated,omitempty"`
	Access    Access `json:"access,omitempty"`
	Mode      uint32 `json:"mode,omitempty"`     // as in stat(2), with the type
	OldMode   uint32 `json:"old_mode,omitempty"` // before chmod; 0 (no type) when it is not known
	UID       uint32 `json:"uid,omitempty"`
	GID       uint32 `json:"gid,omitempty"`
	Inode     uint64 `json:"inode,omitempty"`
	Device    uint64 `json:"device,omitempty"`
	Origin    Origin `json:"origin,omitempty"`
	Size      int64  `json:"size,omitempty"`
}

// Connection is one socket's view of the network.
type Connection struct {
	Protocol string         `json:"protocol"` // "tcp", "udp", "raw", "packet", "icmp", "unix"
	Local    netip.AddrPort `json:"local,omitzero"`
	Remote   netip.AddrPort `json:"remote,omitzero"`
	// Name is the DNS name the workload asked for before it used the remote address.
	Name string `json:"name,omitempty"`
	// Borrowed: it was not this workload that asked for Name, but another one of the same
	// network namespace (a container of the pod, or anybody where the host's network is used).
	Borrowed bool `json:"name_borrowed,omitempty"`
	// Path of a unix socket.
	Path string `json:"path,omitempty"`
	// Peer is the workload behind the remote address, if it is one we know.
	Peer string `json:"peer,omitempty"`
	// Outgoing: this side began it.
	Outgoing bool   `json:"outgoing,omitempty"`
	Cookie   uint64 `json:"cookie,omitempty"` // the kernel's name for the socket
	NetNS    uint32 `json:"net_ns,omitempty"`
}

// DNS is one question, or one answer to it.
type DNS struct {
	Answer    bool           `json:"answer,omitempty"`
	ID        uint16         `json:"id"`
	Name      string         `json:"name"`           // without the last dot, lower case
	Type      string         `json:"type"`           // "A", "TXT", "TYPE65280"
	Code      string         `json:"code,omitempty"` // of an answer: "NOERROR", "NXDOMAIN"
	Addresses []netip.Addr   `json:"addresses,omitempty"`
	Aliases   []string       `json:"aliases,omitempty"` // CNAMEs on the way
	TTL       uint32         `json:"ttl,omitempty"`     // the smallest, seconds
	Records   int            `json:"records,omitempty"` // in an answer
	Size      int            `json:"size,omitempty"`    // of the message, bytes
	Server    netip.AddrPort `json:"server,omitzero"`
	Truncated bool           `json:"truncated,omitempty"`
}

// Change is what became of a process's rights.
type Change struct {
	OldUID          uint32 `json:"old_uid"`
	OldEUID         uint32 `json:"old_euid"`
	OldGID          uint32 `json:"old_gid"`
	UID             uint32 `json:"uid"`
	EUID            uint32 `json:"euid"`
	GID             uint32 `json:"gid"`
	OldCapabilities uint64 `json:"old_capabilities,omitempty"`
	Capabilities    uint64 `json:"capabilities,omitempty"`
	Used            string `json:"used,omitempty"` // EventCapability: "CAP_SYS_ADMIN"
}

// Namespace is a change of a process's namespaces.
type Namespace struct {
	// Kinds that changed: "mnt", "pid", "net", "user", "uts", "ipc", "cgroup", "time".
	Kinds []string `json:"kinds"`
	// Entered: another existing namespace (setns); else new ones were made (unshare).
	Entered bool `json:"entered,omitempty"`
	// ToHost: one of them is the host's own.
	ToHost bool `json:"to_host,omitempty"`
}

// Mount is a mount as seen in the process's mount namespace.
type Mount struct {
	Source string `json:"source,omitempty"`
	Target string `json:"target"`
	Type   string `json:"type,omitempty"`
	Flags  uint64 `json:"flags,omitempty"` // MS_* of mount(2)
	Root   string `json:"root,omitempty"`  // what of the source is mounted (bind)
}

// Object is a named thing of the kernel: a module, a BPF program, a setting.
type Object struct {
	Name  string `json:"name"`
	Type  string `json:"type,omitempty"`
	Value string `json:"value,omitempty"`
	Old   string `json:"old,omitempty"`
	ID    uint64 `json:"id,omitempty"`
}

// Usage is what a process consumed over a window.
type Usage struct {
	Window time.Duration `json:"window"` // nanoseconds
	CPU    time.Duration `json:"cpu"`    // nanoseconds over all threads
}

// Loss says that events did not arrive. Zero From means: since the start.
type Loss struct {
	From  time.Time `json:"from,omitzero"`
	To    time.Time `json:"to"`
	Count uint64    `json:"count"`
	// Area: "ring" (no room for events), "map" (a kernel table was full), "queue",
	// "recorder", "container" (came and went before it could be named, or was forgotten for want of room), "truncated",
	// "busy" (a kernel program was skipped as it was at work already).
	Area string `json:"area"`
	// Kind of the lost events, if one.
	Kind EventKind `json:"kind,omitempty"`
	// Workload whose events were lost: its cgroup, 0 for nobody in particular.
	Cgroup uint64 `json:"cgroup,omitempty"`
}

// Sentence is the loss as every verdict about the workload says it.
func (l *Loss) Sentence() string {
	what := map[string]string{
		"ring": "events lost", "map": "events uncounted as a kernel table was full", "queue": "events dropped by the agent",
		"recorder": "events not recorded", "container": "containers gone or forgotten before they were named", "truncated": "events with shortened texts",
		"busy": "events missed as a kernel program was busy",
	}[l.Area]
	if what == "" {
		what = "events lost"
	}
	if l.From.IsZero() {
		return fmt.Sprintf("%d %s until %s", l.Count, what, l.To.UTC().Format("15:04:05"))
	}
	return fmt.Sprintf("%d %s %s–%s", l.Count, what, l.From.UTC().Format("15:04:05"), l.To.UTC().Format("15:04:05"))
}
