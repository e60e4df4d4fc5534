package policy

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// A member is a field of the subject "event" with the function that reads it. The
// same function serves CEL's evaluator and the matcher, so that they cannot
// disagree about what a field says.
type member struct {
	name, doc string
	// One of these is set. p is the process that the object describes; objects that
	// are parts of the event take no notice of it.
	text   func(s *Scratch, p *bollwerk.Process) string
	number func(s *Scratch, p *bollwerk.Process) int64
	flag   func(s *Scratch, p *bollwerk.Process) bool
	list   func(s *Scratch, p *bollwerk.Process) []string
	labels func(s *Scratch) map[string]string
	moment func(s *Scratch) time.Time
	object string                                                  // name of the object
	step   func(s *Scratch, p *bollwerk.Process) *bollwerk.Process // to the process of the object, nil: the same
	chain  bool                                                    // the ancestors

	// address, for texts that are one, spares writing and parsing it.
	address func(s *Scratch, p *bollwerk.Process) netip.Addr
	// present answers has(); nil: the value is not "", 0, false or empty.
	present func(s *Scratch, p *bollwerk.Process) bool
	// dear: made anew each time it is asked for.
	dear bool
	// partOf names a text of the same process that this one is a part of, where the
	// other is not as long as maxLine.
	partOf string
	// path: a path of the file that the event speaks of.
	path bool
	// base: only the last part of such a path.
	base bool
	// ofKind marks the kind of the event.
	ofKind bool
	// id is unique within a catalog.
	id int
}

type (
	textOf   = func(s *Scratch, p *bollwerk.Process) string
	numberOf = func(s *Scratch, p *bollwerk.Process) int64
	flagOf   = func(s *Scratch, p *bollwerk.Process) bool
	listOf   = func(s *Scratch, p *bollwerk.Process) []string
)

func textField(name, doc string, get textOf) member { return member{name: name, doc: doc, text: get} }
func intField(name, doc string, get numberOf) member {
	return member{name: name, doc: doc, number: get}
}
func boolField(name, doc string, get flagOf) member { return member{name: name, doc: doc, flag: get} }
func listField(name, doc string, get listOf) member { return member{name: name, doc: doc, list: get} }
func madeField(m member) member                     { m.dear = true; return m }
func partOf(whole string, m member) member          { m.dear, m.partOf = true, whole; return m }
func addressField(name, doc string, get func(s *Scratch, p *bollwerk.Process) netip.Addr) member {
	m := textField(name, doc, func(s *Scratch, p *bollwerk.Process) string { return s.address(get(s, p)) })
	m.address, m.dear = get, true
	return m
}
func partField(name, object, doc string, present func(s *Scratch) bool) member {
	return member{name: name, doc: doc, object: object, present: func(s *Scratch, _ *bollwerk.Process) bool { return present(s) }}
}

// whole makes a CEL number of a counter: what is beyond 2^63 stays at the end.
func whole(n uint64) int64 { return int64(min(n, math.MaxInt64)) }

// identity is a user or group id; -1 for a process that there is none of: 0 is root.
func identity(s *Scratch, p *bollwerk.Process, id uint32) int64 {
	if p == &s.none.process || id == math.MaxUint32 {
		return -1
	}
	return int64(id)
}

func eventMembers() []member {
	part := func(name, object, doc string, present func(s *Scratch) bool) member {
		return partField(name, object, doc, present)
	}
	process := part("process", "Process", "who did it", func(s *Scratch) bool { return s.e.Process != nil })
	process.step = func(s *Scratch, _ *bollwerk.Process) *bollwerk.Process { return s.process }
	target := part("target", "Process", "the other process, of ptrace and signal", func(s *Scratch) bool { return s.e.Target != nil })
	target.step = func(s *Scratch, _ *bollwerk.Process) *bollwerk.Process { return s.target }
	kind := textField("kind", "what happened: exec, open, connect, …", func(s *Scratch, _ *bollwerk.Process) string { return s.e.Kind.String() })
	kind.ofKind = true
	return []member{
		kind,
		{name: "time", doc: "when", moment: func(s *Scratch) time.Time { return s.e.Time }},
		textField("outcome", "seen, denied or killed", func(s *Scratch, _ *bollwerk.Process) string { return string(s.e.Outcome) }),
		intField("result", "0, or the errno of the answer", func(s *Scratch, _ *bollwerk.Process) int64 { return int64(s.e.Result) }),
		boolField("succeeded", "the kernel did it; a connection that was only begun (EINPROGRESS) counts",
			func(s *Scratch, _ *bollwerk.Process) bool { return s.e.Result == 0 || s.e.Result == 115 }),
		intField("count", "how many equal events this stands for, at least 1", func(s *Scratch, _ *bollwerk.Process) int64 { return max(1, whole(s.e.Count)) }),
		textField("source", "the means that saw it: lsm, tp_btf, fanotify, …", func(s *Scratch, _ *bollwerk.Process) string { return s.e.Source }),
		textField("guard", "the in-kernel guard that denied or killed, \"\" otherwise", func(s *Scratch, _ *bollwerk.Process) string { return s.e.Rule }),
		boolField("in_container", "a container's own doing; not what the container runtime does in it before the program starts",
			func(s *Scratch, _ *bollwerk.Process) bool { return s.inContainer() }),
		madeField(textField("workload", "name of the workload: shop/cart-5d9/app, web (nginx:1.27), nginx.service, host", (*Scratch).workloadName)),
		textField("workload_kind", "container, unit, host", func(s *Scratch, _ *bollwerk.Process) string { return string(s.workload.Kind) }),
		textField("unit", "systemd unit of the host: nginx.service", func(s *Scratch, _ *bollwerk.Process) string { return s.workload.Unit }),
		textField("node", "name of the node", func(s *Scratch, _ *bollwerk.Process) string { return s.workload.Node }),
		intField("signal", "number of the signal, of kind signal", func(s *Scratch, _ *bollwerk.Process) int64 { return int64(s.e.Signal) }),
		process, target,
		part("container", "Container", "the container it happened in", func(s *Scratch) bool { return s.workload.Container != nil }),
		part("pod", "Pod", "the pod it happened in", func(s *Scratch) bool { return s.workload.Pod != nil }),
		part("file", "File", "of open, create, rename, unlink, chmod, chown, link, symlink, mmap, memfd", func(s *Scratch) bool { return s.e.File != nil }),
		part("connection", "Connection", "of connect, accept, listen, bind, send, flow, socket, protocol", func(s *Scratch) bool { return s.e.Connection != nil }),
		part("dns", "DNS", "of dns", func(s *Scratch) bool { return s.e.DNS != nil }),
		part("flow", "Flow", "of flow", func(s *Scratch) bool { return s.e.Flow != nil }),
		part("change", "Change", "of credentials and capability", func(s *Scratch) bool { return s.e.Change != nil }),
		part("namespace", "Namespace", "of namespace", func(s *Scratch) bool { return s.e.Namespace != nil }),
		part("mount", "Mount", "of mount", func(s *Scratch) bool { return s.e.Mount != nil }),
		part("object", "Object", "of module, bpf, setting, protocol, container", func(s *Scratch) bool { return s.e.Object != nil }),
		part("usage", "Usage", "of usage", func(s *Scratch) bool { return s.e.Usage != nil }),
		part("loss", "Loss", "of loss", func(s *Scratch) bool { return s.e.Loss != nil }),
	}
}

// inContainer trusts the workload. Namespaces alone say little: a systemd service
// with PrivateTmp has its own, too; they count only while nobody has said where the
// process belongs.
//
// Half of all policies ask it: the ancestors are looked through once.
func (s *Scratch) inContainer() bool {
	if s.inside == notAsked {
		if s.inside = isNotSo; s.findInContainer() {
			s.inside = isSo
		}
	}
	return s.inside == isSo
}

func (s *Scratch) findInContainer() bool {
	if s.e.Workload == nil {
		return s.process.Contained
	}
	return (s.workload.Kind == bollwerk.WorkloadContainer || s.workload.Container != nil || s.workload.Pod != nil) && !s.process.OfRuntime()
}

func (s *Scratch) workloadName(_ *bollwerk.Process) string {
	w := s.workload
	start := len(s.buf)
	switch {
	case w.Pod != nil:
		s.buf = append(append(append(append(append(s.buf, w.Pod.Namespace...), '/'), w.Pod.Name...), '/'), w.Pod.Container...)
	case w.Container != nil && w.Container.Image != "":
		s.buf = append(append(append(append(s.buf, containerName(w.Container)...), " ("...), w.Container.Image...), ')')
	case w.Container != nil:
		return containerName(w.Container)
	case w.Unit != "":
		return w.Unit
	default:
		return "host"
	}
	return s.made(start)
}

func containerName(c *bollwerk.Container) string {
	if c.Name == "" {
		return c.ID[:min(12, len(c.ID))]
	}
	return c.Name
}

func processMembers() []member {
	type proc = bollwerk.Process
	text := func(name, doc string, get func(p *proc) string) member {
		return textField(name, doc, func(_ *Scratch, p *proc) string { return get(p) })
	}
	number := func(name, doc string, get func(p *proc) int64) member {
		return intField(name, doc, func(_ *Scratch, p *proc) int64 { return get(p) })
	}
	flag := func(name, doc string, get func(p *proc) bool) member {
		return boolField(name, doc, func(_ *Scratch, p *proc) bool { return get(p) })
	}
	id := func(name, doc string, get func(p *proc) uint32) member {
		m := intField(name, doc+"; -1 when there is no such process", func(s *Scratch, p *proc) int64 { return identity(s, p, get(p)) })
		m.present = func(s *Scratch, p *proc) bool { return identity(s, p, get(p)) >= 0 }
		return m
	}
	parent := member{name: "parent", doc: "the process that made it", object: "Process",
		step: (*Scratch).parent, present: func(_ *Scratch, p *proc) bool { return p.Parent != nil }}
	return []member{
		number("pid", "as the host sees it", func(p *proc) int64 { return int64(p.PID) }),
		number("ns_pid", "as its container sees it; 1 is the container's first process", func(p *proc) int64 { return int64(p.NSID) }),
		text("name", "the kernel's name, 15 letters at most", func(p *proc) string { return p.Name }),
		text("program", "name, where the executable or script may be called so; a shell, tool or interpreter that took another name is called as its file is", programName),
		text("path", "of the executable, in its own mount namespace", func(p *proc) string { return p.Path }),
		text("exe_name", "last part of the path; for a script this is the interpreter", func(p *proc) string { return base(p.Path) }),
		text("exe_dir", "folder of the executable", func(p *proc) string { return dir(p.Path) }),
		text("script", "the file an interpreter was started for by #!", func(p *proc) string { return p.Script }),
		listField("args", "the arguments with the program's name first", func(_ *Scratch, p *proc) []string { return p.Args }),
		madeField(textField("command", "the arguments joined by spaces", func(s *Scratch, p *proc) string { return s.line(p.Args) })),
		partOf("command", textField("arguments", "command without the first word", func(s *Scratch, p *proc) string {
			if len(p.Args) < 2 {
				return ""
			}
			return s.line(p.Args[1:])
		})),
		madeField(textField("code", "program text that a shell or interpreter was given on its command line, however its options are written: sh -xc, python3 -W ignore -c, perl -ne, node --eval=, awk; \"-\" where it was told to read it from its input (python3 -), \"\" when there is none", func(_ *Scratch, p *proc) string {
			if c := p.Code(); c != "" || !p.ReadsText() {
				return c
			}
			return "-"
		})),
		flag("truncated", "path, arguments, folder or environment are longer than what was kept", func(p *proc) bool { return p.Truncated }),
		text("cwd", "working directory", func(p *proc) string { return p.Cwd }),
		listField("env", "selected variables, NAME=value", func(_ *Scratch, p *proc) []string { return p.Env }),
		id("uid", "user id", func(p *proc) uint32 { return p.UID }),
		id("euid", "effective user id", func(p *proc) uint32 { return p.EUID }),
		id("gid", "group id", func(p *proc) uint32 { return p.GID }),
		id("login_uid", "who logged in; -1 also when nobody did", func(p *proc) uint32 { return p.LoginUID }),
		number("session", "session id", func(p *proc) int64 { return int64(p.Session) }),
		text("tty", "terminal: pts/0; \"\" without one", func(p *proc) string { return p.TTY }),
		madeField(listField("capabilities", "effective ones, like CAP_SYS_ADMIN", func(s *Scratch, p *proc) []string { return s.capabilities(p.Capabilities) })),
		madeField(listField("permitted", "permitted capabilities", func(s *Scratch, p *proc) []string { return s.capabilities(p.Permitted) })),
		number("seccomp", "0 off, 1 strict, 2 filter", func(p *proc) int64 { return int64(p.Seccomp) }),
		flag("no_new_privs", "it can gain no rights by exec", func(p *proc) bool { return p.NoNewPrivs }),
		number("inode", "of the executable", func(p *proc) int64 { return whole(p.Inode) }),
		number("device", "of the executable", func(p *proc) int64 { return whole(p.Device) }),
		number("mode", "of the executable, as in stat(2)", func(p *proc) int64 { return int64(p.Mode) }),
		flag("setuid", "the executable has the set-uid or set-gid bit", func(p *proc) bool { return p.Mode&0o6000 != 0 }),
		text("origin", "of the executable: image, modified, created, volume, memory, host, \"\" when not known", func(p *proc) string { return string(p.Origin) }),
		text("layer", "digest of the image layer the executable comes from", func(p *proc) string { return string(p.Layer) }),
		flag("fileless", "the executable is a memfd or has no name any more", func(p *proc) bool { return p.Fileless }),
		flag("stdio_socket", "descriptor 0, 1 or 2 is an internet socket", func(p *proc) bool { return remoteStdio(p) != nil }),
		flag("stdio_pipe", "descriptor 0, 1 or 2 is a pipe", func(p *proc) bool {
			for i := range p.Stdio {
				if p.Stdio[i].Kind == "pipe" {
					return true
				}
			}
			return false
		}),
		addressField("stdio_remote", "the other end of that socket", func(_ *Scratch, p *proc) netip.Addr {
			if f := remoteStdio(p); f != nil {
				return f.Remote.Addr().Unmap()
			}
			return netip.Addr{}
		}),
		number("stdio_port", "its port at the other end", func(p *proc) int64 {
			if f := remoteStdio(p); f != nil {
				return int64(f.Remote.Port())
			}
			return 0
		}),
		flag("contained", "it shares neither mounts nor process ids with the host", func(p *proc) bool { return p.Contained }),
		flag("kernel", "a kernel thread", func(p *proc) bool { return p.Kernel }),
		flag("existing", "it ran before the agent", func(p *proc) bool { return p.Existing }),
		number("exit_code", "wait status, of kind exit", func(p *proc) int64 { return int64(p.ExitCode) }),
		text("cgroup", "path of its cgroup", func(p *proc) string { return p.CgroupPath }),
		intField("age", "seconds since this program was started", func(s *Scratch, p *proc) int64 {
			if p.Began.IsZero() || s.e.Time.Before(p.Began) {
				return 0
			}
			return seconds(s.e.Time.Sub(p.Began))
		}),
		parent,
		{name: "ancestors", doc: "parent, grandparent and so on, inside of the same container", chain: true, object: "Process"},
	}
}

// programName is the name by which a program may be trusted. The kernel's name is whatever
// a process or a symbolic link says: "ln -s /bin/cat sshd" reads the password file as sshd.
// It is believed of programs that have work of their own, and of scripts where programs are
// installed; not of what does any work it is told.
func programName(p *bollwerk.Process) string {
	exe := base(p.Path)
	if exe == "" || strings.HasPrefix(exe, p.Name) {
		return p.Name // the same, cut at 15 letters, or without the version
	}
	if exe == "busybox" && len(p.Args) > 0 && base(p.Args[0]) == p.Name {
		return p.Name // busybox itself goes by this word
	}
	kind := generalTools[exe]
	if kind == 0 {
		// python3.11, vim.basic, nc.openbsd
		if i := strings.IndexAny(exe, "0123456789."); i > 1 {
			kind = generalTools[exe[:i]]
		}
	}
	switch kind {
	case 0:
		return p.Name
	case generalInterpreter:
		if s, _ := p.Told(); installed(s) {
			return cut(base(s))
		}
	}
	return cut(exe)
}

// cut is what the kernel keeps of a name.
func cut(name string) string { return name[:min(len(name), 15)] }

// installed reports whether a file lies where programs are installed, in a virtual
// environment or a home also.
func installed(path string) bool {
	for _, d := range [...]string{"/tmp/", "/var/tmp/", "/dev/", "/run/", "/proc/"} {
		if strings.HasPrefix(path, d) {
			return false
		}
	}
	for _, d := range [...]string{"/usr/", "/sbin/", "/opt/", "/etc/", "/lib/", "/var/lib/", "/nix/"} {
		if strings.HasPrefix(path, d) {
			return true
		}
	}
	return strings.Contains(path, "/bin/")
}

const (
	generalTool        = 1
	generalInterpreter = 2
)

// generalTools do whatever work they are told.
var generalTools = func() map[string]int {
	m := map[string]int{}
	for _, n := range strings.Fields(`cat tac nl head tail less more strings xxd od hexdump base64 base32 basenc grep egrep rg sed cut sort cp mv rm ln dd tee install chmod touch truncate shred tar zip
		gzip xz cpio rsync scp curl wget nc ncat socat openssl telnet vi vim nano ed ex find xargs env gdb strace unshare nsenter setpriv script busybox toybox coreutils ld-linux-x ld-linux-aarch ld-musl-x ld-musl-aarch`) {
		m[n] = generalTool
	}
	for _, n := range strings.Fields(`sh bash dash ash zsh ksh mksh fish tcsh python pypy perl ruby php node lua luajit tclsh expect gawk mawk awk`) {
		m[n] = generalInterpreter
	}
	return m
}()

// remoteStdio finds the standard descriptor that is an internet socket.
func remoteStdio(p *bollwerk.Process) *bollwerk.OpenFile {
	for i := range p.Stdio {
		f := &p.Stdio[i]
		if f.FD <= 2 && f.Kind == "socket" && (f.Protocol == "tcp" || f.Protocol == "udp" || f.Remote.IsValid()) {
			return f
		}
	}
	return nil
}

func fileMembers() []member {
	text := func(name, doc string, get func(f *bollwerk.FileEvent) string) member {
		return textField(name, doc, func(s *Scratch, _ *bollwerk.Process) string { return get(s.file) })
	}
	number := func(name, doc string, get func(f *bollwerk.FileEvent) int64) member {
		return intField(name, doc, func(s *Scratch, _ *bollwerk.Process) int64 { return get(s.file) })
	}
	access := func(name, doc string, bits bollwerk.Access) member {
		return boolField(name, doc, func(s *Scratch, _ *bollwerk.Process) bool { return s.file.Access&bits != 0 })
	}
	path := func(m member) member { m.path = true; return m }
	last := func(m member) member { m.path, m.base = true, true; return m }
	return []member{
		path(text("path", "absolute, as the process sees it", func(f *bollwerk.FileEvent) string { return f.Path })),
		last(text("name", "last part of the path", func(f *bollwerk.FileEvent) string { return base(f.Path) })),
		text("dir", "folder of the path", func(f *bollwerk.FileEvent) string { return dir(f.Path) }),
		path(text("target", "of rename and link the new name, of symlink what the link says", func(f *bollwerk.FileEvent) string { return f.Target })),
		path(textField("written", "the path that got new content or a new name: opened for writing, created, the new name of rename and link, the link of symlink; \"\" otherwise",
			func(s *Scratch, _ *bollwerk.Process) string { return s.written() })),
		number("mode", "as in stat(2), with the type", func(f *bollwerk.FileEvent) int64 { return int64(f.Mode) }),
		number("old_mode", "before chmod; -1 when it is not known", func(f *bollwerk.FileEvent) int64 {
			if f.OldMode == 0 && f.Mode != 0 { // a mode has a type
				return -1
			}
			return int64(f.OldMode)
		}),
		boolField("setuid", "the mode has the set-uid or set-gid bit, and had not as far as is known", func(s *Scratch, _ *bollwerk.Process) bool {
			return s.file.Mode&0o6000&^s.file.OldMode != 0
		}),
		boolField("executable", "the mode lets somebody execute it", func(s *Scratch, _ *bollwerk.Process) bool { return s.file.Mode&0o111 != 0 }),
		boolField("made_executable", "chmod let somebody execute it who could not", func(s *Scratch, _ *bollwerk.Process) bool {
			return s.file.Mode&0o111 != 0 && s.file.OldMode != 0 && s.file.OldMode&0o111 == 0
		}),
		access("read", "opened for reading", bollwerk.AccessRead),
		access("write", "opened for writing", bollwerk.AccessWrite|bollwerk.AccessAppend),
		access("create", "made if it was not there", bollwerk.AccessCreate),
		access("truncate", "emptied", bollwerk.AccessTruncate),
		access("append", "opened for appending", bollwerk.AccessAppend),
		access("execute", "opened to be executed", bollwerk.AccessExec),
		boolField("truncated", "the path is longer than what was kept", func(s *Scratch, _ *bollwerk.Process) bool { return s.file.Truncated }),
		number("uid", "owner", func(f *bollwerk.FileEvent) int64 { return int64(f.UID) }),
		number("gid", "group", func(f *bollwerk.FileEvent) int64 { return int64(f.GID) }),
		number("inode", "number of the file", func(f *bollwerk.FileEvent) int64 { return whole(f.Inode) }),
		number("device", "where it is", func(f *bollwerk.FileEvent) int64 { return whole(f.Device) }),
		text("origin", "image, modified, created, volume, memory, host, \"\" when not known", func(f *bollwerk.FileEvent) string { return string(f.Origin) }),
		number("size", "bytes", func(f *bollwerk.FileEvent) int64 { return f.Size }),
	}
}

func (s *Scratch) written() string {
	f := s.file
	switch s.e.Kind {
	case bollwerk.EventOpen:
		if f.Access&(bollwerk.AccessWrite|bollwerk.AccessAppend|bollwerk.AccessTruncate|bollwerk.AccessCreate) != 0 {
			return f.Path
		}
	case bollwerk.EventCreate, bollwerk.EventSymlink:
		return f.Path
	case bollwerk.EventRename, bollwerk.EventLink:
		return f.Target
	}
	return ""
}

func connectionMembers() []member {
	type conn = bollwerk.Connection
	text := func(name, doc string, get func(c *conn) string) member {
		return textField(name, doc, func(s *Scratch, _ *bollwerk.Process) string { return get(s.connection) })
	}
	remote := func(name, doc string, is func(a netip.Addr) bool) member {
		return boolField(name, doc, func(s *Scratch, _ *bollwerk.Process) bool {
			a := s.connection.Remote.Addr()
			return a.IsValid() && is(a.Unmap())
		})
	}
	return []member{
		text("protocol", "tcp, udp, raw, packet, icmp, unix", func(c *conn) string { return c.Protocol }),
		addressField("local_address", "of this end", func(s *Scratch, _ *bollwerk.Process) netip.Addr { return s.connection.Local.Addr().Unmap() }),
		intField("local_port", "of this end", func(s *Scratch, _ *bollwerk.Process) int64 { return int64(s.connection.Local.Port()) }),
		addressField("remote_address", "of the other end", func(s *Scratch, _ *bollwerk.Process) netip.Addr { return s.connection.Remote.Addr().Unmap() }),
		intField("remote_port", "of the other end", func(s *Scratch, _ *bollwerk.Process) int64 { return int64(s.connection.Remote.Port()) }),
		text("name", "DNS name that was asked for before", func(c *conn) string { return c.Name }),
		text("path", "of a unix socket", func(c *conn) string { return c.Path }),
		text("peer", "workload at the other end, as `pod shop/Deployment/cart` or `container docker/web`; empty when no workload known here has the address, or several do", func(c *conn) string { return c.Peer }),
		boolField("outgoing", "this side began it", func(s *Scratch, _ *bollwerk.Process) bool { return s.connection.Outgoing }),
		remote("private", "the other end is in a private network (RFC 1918, RFC 4193, RFC 6598)", privateAddress),
		remote("loopback", "the other end is this host", netip.Addr.IsLoopback),
		remote("link_local", "the other end is on the same link (169.254.0.0/16, fe80::/10)", netip.Addr.IsLinkLocalUnicast),
		remote("multicast", "the other end is a group", netip.Addr.IsMulticast),
		remote("public", "the other end is on the internet", publicAddress),
	}
}

func privateAddress(a netip.Addr) bool {
	if a.IsPrivate() {
		return true
	}
	if !a.Is4() {
		return false
	}
	b := a.As4()
	return b[0] == 100 && b[1]&0xc0 == 64 // 100.64.0.0/10, shared address space
}

func publicAddress(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || privateAddress(a) || a.IsLinkLocalUnicast() {
		return false
	}
	return !a.Is4() || a.As4()[0] != 0 && a.As4()[0] < 240
}

func smallMembers() map[string][]member {
	type proc = bollwerk.Process
	text := func(name, doc string, get func(s *Scratch) string) member {
		return textField(name, doc, func(s *Scratch, _ *proc) string { return get(s) })
	}
	number := func(name, doc string, get func(s *Scratch) int64) member {
		return intField(name, doc, func(s *Scratch, _ *proc) int64 { return get(s) })
	}
	flag := func(name, doc string, get func(s *Scratch) bool) member {
		return boolField(name, doc, func(s *Scratch, _ *proc) bool { return get(s) })
	}
	list := func(name, doc string, get func(s *Scratch) []string) member {
		return listField(name, doc, func(s *Scratch, _ *proc) []string { return get(s) })
	}
	return map[string][]member{
		"DNS": {
			flag("answer", "an answer; else a question", func(s *Scratch) bool { return s.dns.Answer }),
			text("name", "asked for, in small letters, without the last dot", func(s *Scratch) string { return s.dns.Name }),
			text("type", "A, AAAA, TXT, …", func(s *Scratch) string { return s.dns.Type }),
			text("code", "of an answer: NOERROR, NXDOMAIN, …", func(s *Scratch) string { return s.dns.Code }),
			madeField(list("addresses", "in the answer", func(s *Scratch) []string { return s.addresses(s.dns.Addresses) })),
			list("aliases", "names on the way (CNAME)", func(s *Scratch) []string { return s.dns.Aliases }),
			number("ttl", "the smallest, seconds", func(s *Scratch) int64 { return int64(s.dns.TTL) }),
			number("records", "in the answer", func(s *Scratch) int64 { return int64(s.dns.Records) }),
			number("size", "of the message, bytes", func(s *Scratch) int64 { return int64(s.dns.Size) }),
			addressField("server", "that was asked", func(s *Scratch, _ *proc) netip.Addr { return s.dns.Server.Addr().Unmap() }),
			number("server_port", "53 as a rule", func(s *Scratch) int64 { return int64(s.dns.Server.Port()) }),
			flag("truncated", "the message is longer than what was kept", func(s *Scratch) bool { return s.dns.Truncated }),
		},
		"Flow": {
			number("connections", "that were made", func(s *Scratch) int64 { return whole(s.flow.Connections) }),
			number("failed", "that were not: refused, timed out, denied", func(s *Scratch) int64 { return whole(s.flow.Failed) }),
			number("sent_bytes", "bytes", func(s *Scratch) int64 { return whole(s.flow.SentBytes) }),
			number("received_bytes", "bytes", func(s *Scratch) int64 { return whole(s.flow.ReceivedBytes) }),
			number("sent_packets", "packets", func(s *Scratch) int64 { return whole(s.flow.SentPackets) }),
			number("received_packets", "packets", func(s *Scratch) int64 { return whole(s.flow.ReceivedPackets) }),
			number("seconds", "over which it was summed up", func(s *Scratch) int64 { return max(0, seconds(s.flow.To.Sub(s.flow.From))) }),
		},
		"Change": {
			number("old_uid", "user id before", func(s *Scratch) int64 { return int64(s.change.OldUID) }),
			number("old_euid", "effective user id before", func(s *Scratch) int64 { return int64(s.change.OldEUID) }),
			number("old_gid", "group id before", func(s *Scratch) int64 { return int64(s.change.OldGID) }),
			number("uid", "user id after", func(s *Scratch) int64 { return int64(s.change.UID) }),
			number("euid", "effective user id after", func(s *Scratch) int64 { return int64(s.change.EUID) }),
			number("gid", "group id after", func(s *Scratch) int64 { return int64(s.change.GID) }),
			madeField(list("gained", "capabilities that were not there before", func(s *Scratch) []string {
				return s.capabilities(s.change.Capabilities &^ s.change.OldCapabilities)
			})),
			madeField(list("had", "capabilities that were there before", func(s *Scratch) []string { return s.capabilities(s.change.OldCapabilities) })),
			text("used", "capability that was used for the first time, of kind capability", func(s *Scratch) string { return s.change.Used }),
			flag("became_root", "the effective user is root and was not", func(s *Scratch) bool {
				return s.e.Change != nil && s.e.Kind == bollwerk.EventCredentials && s.change.EUID == 0 && s.change.OldEUID != 0
			}),
		},
		"Namespace": {
			list("kinds", "mnt, pid, net, user, uts, ipc, cgroup, time", func(s *Scratch) []string { return s.namespace.Kinds }),
			flag("entered", "an existing one was entered (setns); else new ones were made (unshare)", func(s *Scratch) bool { return s.namespace.Entered }),
			flag("to_host", "one of them is the host's own", func(s *Scratch) bool { return s.namespace.ToHost }),
		},
		"Mount": {
			text("source", "what was mounted", func(s *Scratch) string { return s.mount.Source }),
			text("target", "where", func(s *Scratch) string { return s.mount.Target }),
			text("type", "file system", func(s *Scratch) string { return s.mount.Type }),
			text("root", "what of the source, of a bind mount", func(s *Scratch) string { return s.mount.Root }),
			number("flags", "MS_* of mount(2)", func(s *Scratch) int64 { return whole(s.mount.Flags) }),
			flag("read_only", "it cannot be written", func(s *Scratch) bool { return s.mount.Flags&1 != 0 }),
			flag("bind", "a folder that is somewhere already", func(s *Scratch) bool { return s.mount.Flags&4096 != 0 }),
		},
		"Object": {
			text("name", "of the module, program, setting, protocol", func(s *Scratch) string { return s.object.Name }),
			text("type", "of the program or object", func(s *Scratch) string { return s.object.Type }),
			text("value", "that was written to the setting", func(s *Scratch) string { return s.object.Value }),
			text("old", "value of the setting before", func(s *Scratch) string { return s.object.Old }),
			number("id", "number the kernel gave it", func(s *Scratch) int64 { return whole(s.object.ID) }),
		},
		"Usage": {
			number("seconds", "of the window", func(s *Scratch) int64 { return seconds(s.usage.Window) }),
			number("cpu_seconds", "used by all threads", func(s *Scratch) int64 { return seconds(s.usage.CPU) }),
			number("cpu_percent", "of one processor", func(s *Scratch) int64 {
				if s.usage.Window <= 0 {
					return 0
				}
				return int64(float64(s.usage.CPU) / float64(s.usage.Window) * 100)
			}),
		},
		"Loss": {
			number("count", "events that were lost", func(s *Scratch) int64 { return whole(s.loss.Count) }),
			text("area", "ring, map, queue, recorder, container, truncated", func(s *Scratch) string { return s.loss.Area }),
		},
		"Container": {
			text("id", "as the runtime names it", func(s *Scratch) string { return s.container.ID }),
			text("name", "name", func(s *Scratch) string { return s.container.Name }),
			text("runtime", "containerd, cri-o, docker, podman, runc", func(s *Scratch) string { return s.container.Runtime }),
			text("image", "reference it was started from: docker.io/library/nginx:1.27", func(s *Scratch) string { return s.container.Image }),
			text("repository", "image without tag and digest", func(s *Scratch) string { r, _ := splitImage(s.container.Image); return r }),
			text("tag", "of the image", func(s *Scratch) string { _, t := splitImage(s.container.Image); return t }),
			text("digest", "of the image", func(s *Scratch) string { return string(s.container.Digest) }),
			flag("privileged", "it has all rights of the host", func(s *Scratch) bool { return s.container.Privileged }),
			flag("host_pid", "it sees the host's processes", func(s *Scratch) bool { return s.container.HostPID }),
			flag("host_network", "it shares the host's network", func(s *Scratch) bool { return s.container.HostNetwork }),
			list("entrypoint", "what it was told to run", func(s *Scratch) []string { return s.container.Entrypoint }),
			madeField(list("mounts", "folders and sockets of the host that are mounted into it", func(s *Scratch) []string {
				start := len(s.list)
				for i := range s.container.Mounts {
					if m := &s.container.Mounts[i]; strings.HasPrefix(m.Source, "/") {
						s.list = append(s.list, m.Source)
					}
				}
				return s.list[start:len(s.list):len(s.list)]
			})),
			{name: "labels", doc: "of the container", labels: func(s *Scratch) map[string]string { return s.container.Labels }},
			number("age", "seconds since it was started", func(s *Scratch) int64 {
				if s.container.Started.IsZero() || s.e.Time.Before(s.container.Started) {
					return 0
				}
				return seconds(s.e.Time.Sub(s.container.Started))
			}),
		},
		"Pod": {
			text("namespace", "namespace", func(s *Scratch) string { return s.pod.Namespace }),
			text("name", "name", func(s *Scratch) string { return s.pod.Name }),
			text("uid", "unique id", func(s *Scratch) string { return s.pod.UID }),
			text("container", "name of the container in the pod", func(s *Scratch) string { return s.pod.Container }),
			text("owner_kind", "Deployment, StatefulSet, DaemonSet, Job, …", func(s *Scratch) string { return s.pod.OwnerKind }),
			text("owner", "name of the owner", func(s *Scratch) string { return s.pod.OwnerName }),
			text("service_account", "service account", func(s *Scratch) string { return s.pod.ServiceAccount }),
			{name: "labels", doc: "of the pod", labels: func(s *Scratch) map[string]string { return s.pod.Labels }},
			flag("sandbox", "the pause container", func(s *Scratch) bool { return s.pod.Sandbox }),
		},
	}
}

// splitImage cuts a reference into repository and tag; a port before a slash is
// no tag.
func splitImage(ref string) (repository, tag string) {
	ref, _, _ = strings.Cut(ref, "@")
	at := strings.LastIndexByte(ref, ':')
	if at < 0 || strings.IndexByte(ref[at:], '/') >= 0 {
		return ref, ""
	}
	return ref[:at], ref[at+1:]
}
