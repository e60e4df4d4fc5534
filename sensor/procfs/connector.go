// Package procfs owns what netlink and /proc tell without any right to load programs:
// the process events connector, tables of sockets, and polls where nothing else is left.
// With BPF it adds what tracepoints do not tell (ptrace, changes of ids, packet sockets);
// without, it is the whole backend for processes and connections, and says what it misses.
//
// It does not watch files: fanotify needs no BPF either and stands in sensor/tracing.
package procfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// Areas of the doctor's table.
const (
	AreaExec        = "exec"
	AreaExit        = "exit"
	AreaPtrace      = "ptrace"
	AreaCredentials = "credentials"
	AreaConnect     = "connect"
	AreaListen      = "listen"
	AreaPacket      = "raw socket"
)

// Numbers of linux/connector.h and linux/cn_proc.h.
const (
	cnProc     = 1
	cnListen   = 1
	cnIgnore   = 2
	eventNone  = 0
	eventFork  = 0x1
	eventExec  = 0x2
	eventUID   = 0x4
	eventGID   = 0x40
	eventTrace = 0x100
	eventExit  = 0x80000000

	netlinkHeader = 16
	cnHeader      = 20
	bodyOffset    = netlinkHeader + cnHeader // struct proc_event: what 4, cpu 4, timestamp 8, union
	dataOffset    = bodyOffset + 16
)

// Connector listens to the process events of the kernel: who traces whom, whose ids
// changed, and, without BPF, what starts and ends.
type Connector struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Interval of the poll of /proc where the connector is not to be had; 0: 1 s.
	Interval time.Duration

	k    *sensor.Kernel
	want uint32 // events
	file *os.File
	fd   int
	poll *poller

	readMu sync.Mutex // one reads the socket and tells, in the order of the messages
	buf    [4096]byte
	conn   syscall.RawConn

	mu     sync.Mutex
	traced map[[2]uint32]time.Time
}

// Name of the source.
func (c *Connector) Name() string { return "proc connector" }

// alone reports whether nothing but this source tells of processes.
func (c *Connector) alone() bool { return c.want&eventExec != 0 }

func (c *Connector) covered(area string) bool { return c.Covered != nil && c.Covered(area) }

// Open subscribes, or prepares the poll.
func (c *Connector) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	c.k, c.traced = k, map[[2]uint32]time.Time{}
	if c.Interval == 0 {
		c.Interval = time.Second
	}
	// With BPF, tracepoints tell of starts and ends better than we could.
	if k.BPF() != nil && !c.covered(AreaExec) {
		c.want |= eventFork | eventExec
	}
	if k.BPF() != nil && !c.covered(AreaExit) {
		c.want |= eventExit
	}
	if !c.covered(AreaPtrace) {
		c.want |= eventTrace
	}
	if !c.covered(AreaCredentials) {
		c.want |= eventUID | eventGID
	}
	if c.want == 0 {
		return nil, nil
	}
	err := c.subscribe()
	if err == nil && c.alone() {
		k.OnSync(func() { _ = c.drain() }) // what fails here fails in Run as well
	}
	if err != nil && c.want&(eventExec|eventExit) != 0 {
		c.poll = newPoller(k, c.want&eventExec != 0, c.want&eventExit != 0)
	}
	return c.rows(err), nil
}

func (c *Connector) rows(err error) []sensor.Capability {
	var out []sensor.Capability
	add := func(bit uint32, area, cause, remedy string) {
		if c.want&bit == 0 {
			return
		}
		r := sensor.Capability{Area: area, Means: "proc connector", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen, Cause: cause, Remedy: remedy}
		if cause == "" {
			r.Verdict = bollwerk.Pass
		}
		if err != nil {
			r.Verdict, r.Cause = bollwerk.NotEvaluated, err.Error()
			r.Remedy = "run the agent with CAP_NET_ADMIN in the host's user, PID and network namespace"
			if bit&(eventExec|eventExit) != 0 {
				r.Verdict, r.Means = bollwerk.Degraded, "poll of /proc"
				r.Cause = fmt.Sprintf("processes that live shorter than %s are not seen: %s", c.Interval, err)
			}
		}
		out = append(out, r)
	}
	const bpf = "run the agent with CAP_BPF and CAP_PERFMON on a kernel of 5.10 or newer with BTF"
	add(eventExec, AreaExec, "what a program is, is read from /proc after it started: of those that end at once only what they inherited is known "+
		"(the parent, the user, the workload), not the program, and descriptors, origin of the file and environment may have changed", bpf)
	add(eventExit, AreaExit, "", "")
	add(eventTrace, AreaPtrace, "attaching is seen when it happened, and cannot be refused", "boot with lsm=…,bpf")
	add(eventUID, AreaCredentials, "user and group ids alone; changes of capabilities are seen at the next program start", "boot with lsm=…,bpf")
	return out
}

// subscribe opens the socket and lets the kernel drop what is not wanted before anybody
// is woken for it.
func (c *Connector) subscribe() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return fmt.Errorf("netlink connector: %w", err)
	}
	fail := func(err error) error {
		unix.Close(fd)
		return fmt.Errorf("netlink connector: %w", err)
	}
	size := 256 << 10
	if c.want&eventExec != 0 {
		size = 2 << 20
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size)
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter(c.want)); err != nil {
		return fail(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: cnProc}); err != nil {
		return fail(err)
	}
	if err := unix.Sendto(fd, control(cnListen), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fail(err)
	}
	// The kernel acknowledges, or is silent where it does not serve us.
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for end := time.Now().Add(2 * time.Second); ; {
		left := time.Until(end)
		if left <= 0 {
			return fail(errors.New("the kernel does not answer: not in the host's namespaces"))
		}
		if _, err := unix.Poll(p, int(left.Milliseconds())+1); err != nil && err != unix.EINTR {
			return fail(err)
		}
		b := make([]byte, 512)
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil && err != unix.ENOBUFS {
			return fail(err)
		}
		if e, ok := parse(b[:max(n, 0)]); ok && e.what == eventNone {
			if e.a != 0 {
				return fail(unix.Errno(e.a))
			}
			break
		} else if ok {
			break // an event: we are served
		}
	}
	file := os.NewFile(uintptr(fd), "proc connector")
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return fmt.Errorf("netlink connector: %w", err)
	}
	c.fd, c.file, c.conn = fd, file, conn
	return nil
}

// control is the message that turns the stream on or off.
func control(op uint32) []byte {
	b := make([]byte, netlinkHeader+cnHeader+4)
	ne := binary.NativeEndian
	ne.PutUint32(b, uint32(len(b)))
	ne.PutUint16(b[4:], unix.NLMSG_DONE)
	ne.PutUint32(b[12:], uint32(os.Getpid()))
	ne.PutUint32(b[16:], cnProc) // CN_IDX_PROC
	ne.PutUint32(b[20:], cnProc) // CN_VAL_PROC
	ne.PutUint16(b[32:], 4)
	ne.PutUint32(b[36:], op)
	return b
}

// filter keeps the wanted events and acknowledgements: a classic BPF program, which
// every kernel takes. Loads are in network order, so the constants are turned round.
func filter(want uint32) *unix.SockFprog {
	swap := func(v uint32) uint32 {
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], v)
		return binary.BigEndian.Uint32(b[:])
	}
	f := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: bodyOffset},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: eventNone, Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: swap(want), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
}

// message is one process event; a to d are the numbers after its header.
type message struct {
	what       uint32
	cpu, seq   uint32
	when       uint64 // monotonic, ns
	a, b, c, d uint32
}

// parse reads a netlink message of the connector.
func parse(b []byte) (m message, ok bool) {
	ne := binary.NativeEndian
	if len(b) < dataOffset+4 || ne.Uint32(b) < dataOffset || int(ne.Uint32(b)) > len(b) || ne.Uint32(b[16:]) != cnProc || ne.Uint32(b[20:]) != cnProc {
		return m, false
	}
	m.seq = ne.Uint32(b[24:])
	m.what, m.cpu, m.when = ne.Uint32(b[bodyOffset:]), ne.Uint32(b[bodyOffset+4:]), ne.Uint64(b[bodyOffset+8:])
	for i, p := range []*uint32{&m.a, &m.b, &m.c, &m.d} {
		if at := dataOffset + 4*i; at+4 <= len(b) {
			*p = ne.Uint32(b[at:])
		}
	}
	return m, true
}

// Run reads events until the context ends.
func (c *Connector) Run(ctx context.Context) error {
	switch {
	case c.file != nil:
		stop := context.AfterFunc(ctx, func() { c.file.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
		return c.read()
	case c.poll != nil:
		return c.poll.run(ctx, c.Interval)
	}
	return nil
}

func (c *Connector) read() error {
	for {
		var failed error
		err := c.conn.Read(func(uintptr) bool {
			failed = c.drain()
			return failed != nil
		})
		switch {
		case failed != nil:
			return fmt.Errorf("netlink connector: %w", failed)
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("netlink connector: %w", err)
		}
	}
}

// drain tells everything that waits in the socket.
func (c *Connector) drain() error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf[:], 0)
		switch err {
		case nil:
			if m, ok := parse(c.buf[:n]); ok {
				c.tell(&m)
			}
		case unix.EAGAIN:
			return nil
		case unix.EINTR:
		case unix.ENOBUFS:
			c.lost("queue", 1) // how many, the kernel does not say
		default:
			return err
		}
	}
}

// Close ends the subscription. The kernel stops sending when the last listener left.
func (c *Connector) Close() error {
	if c.file == nil {
		return nil
	}
	unix.Sendto(c.fd, control(cnIgnore), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	return c.file.Close()
}

func (c *Connector) lost(area string, n uint64) {
	now := time.Now()
	c.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "netlink", Loss: &bollwerk.Loss{To: now, Count: n, Area: area}})
}

// since is how long ago a monotonic time was, 0 for one that cannot be.
func since(when uint64) time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0
	}
	ago := time.Duration(ts.Nano() - int64(when))
	if ago < 0 || ago > time.Hour {
		return 0
	}
	return ago
}

// wall is the wall-clock time of a monotonic time.
func wall(when uint64) time.Time { return time.Now().Add(-since(when)) }

// start is the start time of what was forked at a monotonic time: nanoseconds since boot.
func start(when uint64) uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return uint64(ts.Nano() - int64(since(when)))
}

const (
	tracesMost = 1024
	traceAgain = time.Minute
)

func (c *Connector) tell(m *message) {
	emit := func(e *bollwerk.Event) {
		e.Time, e.Outcome, e.Source = wall(m.when), bollwerk.Seen, "netlink"
		c.k.Emit(e)
	}
	switch m.what {
	case eventFork: // parent pid, parent tgid, child pid, child tgid
		if m.c == m.d { // else a thread
			emit(&bollwerk.Event{Kind: bollwerk.EventFork, Process: c.fork(m.b, m.d, m.when)})
		}
	case eventExec: // pid, tgid
		emit(&bollwerk.Event{Kind: bollwerk.EventExec, Process: c.exec(m)})
	case eventExit: // pid, tgid, code, signal
		if m.a != m.b {
			return
		}
		p := c.k.Processes.Known(m.b, 0)
		if p == nil {
			return // never told of
		}
		ended := *p
		ended.ExitCode = int32(m.c)
		c.k.Processes.Exit(p.PID, p.Start, time.Now())
		emit(&bollwerk.Event{Kind: bollwerk.EventExit, Process: &ended})
	case eventTrace: // pid, tgid, tracer pid, tracer tgid; tracer 0: let go
		if m.d == 0 || m.d == uint32(os.Getpid()) || c.again(m.d, m.b) {
			return
		}
		c.sync()
		emit(&bollwerk.Event{Kind: bollwerk.EventPtrace, Process: c.k.Processes.Get(m.d, 0), Target: c.k.Processes.Get(m.b, 0)})
	case eventUID, eventGID: // pid, tgid, real, effective
		c.sync()
		c.credentials(m, emit)
	}
}

// sync waits for what others tell of processes; where it is told here, all before m was.
func (c *Connector) sync() {
	if !c.alone() {
		c.k.Sync()
	}
}

// fork puts a child into the table as what it inherits of its parent. Most end, or start
// a program, before anybody could read them from /proc.
func (c *Connector) fork(parent, child uint32, when uint64) *bollwerk.Process {
	p := c.k.Processes.Get(parent, 0)
	return c.k.Processes.Fork(&sensor.Record{Parent: parent, ParentStart: p.Start, Process: &bollwerk.Process{
		PID: child, Start: start(when), Began: wall(when), Name: p.Name, UID: p.UID, EUID: p.EUID, GID: p.GID, LoginUID: p.LoginUID, Session: p.Session,
		Capabilities: p.Capabilities, Permitted: p.Permitted, Seccomp: p.Seccomp, NoNewPrivs: p.NoNewPrivs, Kernel: p.Kernel,
		Cgroup: p.Cgroup, CgroupPath: p.CgroupPath, PIDNS: p.PIDNS, MountNS: p.MountNS, NetNS: p.NetNS, UserNS: p.UserNS, Contained: p.Contained,
	}})
}

// exec reads a program that was started. Of one that ended before, what it inherited
// says at least whose it was; it counts as a loss.
func (c *Connector) exec(m *message) *bollwerk.Process {
	before := c.k.Processes.Known(m.b, 0)
	r := c.k.Processes.Read(m.b)
	began := wall(m.when)
	if r != nil && (before == nil || whole(r.Process) || before.MountNS == 0 && len(r.Process.Args) > 0) {
		r.Process.Began = began
		if before != nil && before.Start-r.Process.Start < uint64(forkLate) {
			r.Process.Start = before.Start // the same: /proc rounds, and its fork was told after it
		}
		p, _ := c.k.Processes.Exec(r)
		return p
	}
	c.lost("truncated", 1)
	if before == nil {
		return &bollwerk.Process{PID: m.b, Truncated: true, Began: began}
	}
	p := *before
	p.Began, p.Truncated = began, true
	p.Name, p.Path, p.Script, p.Args, p.Cwd, p.Env, p.Stdio = "", "", "", nil, "", nil, nil
	p.Inode, p.Device, p.Mode, p.Origin, p.Layer, p.Fileless = 0, 0, 0, "", "", false
	if r != nil { // it ends just now: what /proc still has of it
		p.Name, p.Args, p.Path = r.Process.Name, r.Process.Args, r.Process.Path
		if r.Process.NSID != 0 { // its status was still to be read
			p.UID, p.EUID, p.GID, p.NSID = r.Process.UID, r.Process.EUID, r.Process.GID, r.Process.NSID
		}
		if n := r.Process; n.MountNS != 0 {
			p.MountNS, p.PIDNS, p.NetNS, p.UserNS, p.Contained = n.MountNS, n.PIDNS, n.NetNS, n.UserNS, n.Contained
		}
		if n := r.Process; n.Cgroup != 0 {
			p.Cgroup, p.CgroupPath = n.Cgroup, n.CgroupPath
		}
	}
	c.k.Processes.Replace(&p)
	return &p
}

// whole reports whether a process was read before it began to end, when the kernel takes
// one after the other from it.
func whole(p *bollwerk.Process) bool {
	return p.Kernel || p.Path != "" && p.MountNS != 0 && p.Cgroup != 0
}

// forkLate is how much later than the start of a process, which /proc has in ticks, its fork may be told.
const forkLate = 30 * time.Millisecond

// again folds a tracer that takes every thread of a process, or all its children.
func (c *Connector) again(tracer, target uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := [2]uint32{tracer, target}
	now := time.Now()
	if t, ok := c.traced[k]; ok && now.Sub(t) < traceAgain {
		return true
	}
	if len(c.traced) >= tracesMost {
		clear(c.traced)
	}
	c.traced[k] = now
	return false
}

func (c *Connector) credentials(m *message, emit func(*bollwerk.Event)) {
	old := c.k.Processes.Known(m.b, 0)
	if old == nil {
		return // gone already, or a child that started no program: its exec tells
	}
	now := *old
	ch := &bollwerk.Change{OldUID: old.UID, OldEUID: old.EUID, OldGID: old.GID, OldCapabilities: old.Capabilities,
		UID: old.UID, EUID: old.EUID, GID: old.GID, Capabilities: old.Capabilities}
	if m.what == eventUID {
		now.UID, now.EUID = m.c, m.d
		ch.UID, ch.EUID = m.c, m.d
	} else {
		now.GID = m.c
		ch.GID = m.c
	}
	if ch.UID == ch.OldUID && ch.EUID == ch.OldEUID && ch.GID == ch.OldGID {
		return
	}
	c.k.Processes.Replace(&now)
	emit(&bollwerk.Event{Kind: bollwerk.EventCredentials, Process: &now, Change: ch})
}
