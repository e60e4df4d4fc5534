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

	mu      sync.Mutex
	parents map[uint32]uint32 // child: parent, of forks whose exec may follow
	traced  map[[2]uint32]time.Time
}

// Name of the source.
func (c *Connector) Name() string { return "proc connector" }

func (c *Connector) covered(area string) bool { return c.Covered != nil && c.Covered(area) }

// Open subscribes, or prepares the poll.
func (c *Connector) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	c.k, c.parents, c.traced = k, map[uint32]uint32{}, map[[2]uint32]time.Time{}
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
	add(eventExec, AreaExec, "what a program is, is read from /proc after it started: of those that end at once only the PID and the parent are known, "+
		"and descriptors, origin of the file and environment may have changed", bpf)
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
	c.fd = fd
	c.file = os.NewFile(uintptr(fd), "proc connector")
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
	b := make([]byte, 4096)
	for {
		n, err := c.file.Read(b)
		switch {
		case errors.Is(err, unix.ENOBUFS):
			c.lost("queue", 1) // how many, the kernel does not say
			continue
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, os.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("netlink connector: %w", err)
		}
		if m, ok := parse(b[:n]); ok {
			c.tell(&m)
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

// wall is the wall-clock time of a monotonic time.
func wall(when uint64) time.Time {
	var ts unix.Timespec
	now := time.Now()
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return now
	}
	ago := time.Duration(ts.Nano() - int64(when))
	if ago < 0 || ago > time.Hour {
		return now
	}
	return now.Add(-ago)
}

const (
	forksMost  = 16384
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
		if m.c != m.d {
			return // a thread
		}
		c.mu.Lock()
		if len(c.parents) >= forksMost {
			clear(c.parents)
		}
		c.parents[m.d] = m.b
		c.mu.Unlock()
	case eventExec: // pid, tgid
		c.mu.Lock()
		parent := c.parents[m.b]
		c.mu.Unlock()
		var p *bollwerk.Process
		if r := c.k.Processes.Read(m.b); r != nil {
			r.Process.Began = wall(m.when)
			p, _ = c.k.Processes.Exec(r)
		} else {
			p = &bollwerk.Process{PID: m.b, Truncated: true, Began: wall(m.when)}
			if parent != 0 {
				p.Parent = c.k.Processes.Get(parent, 0)
			}
			c.lost("truncated", 1)
		}
		emit(&bollwerk.Event{Kind: bollwerk.EventExec, Process: p})
	case eventExit: // pid, tgid, code, signal
		if m.a != m.b {
			return
		}
		c.mu.Lock()
		delete(c.parents, m.b)
		c.mu.Unlock()
		p := c.k.Processes.Known(m.b, 0)
		if p == nil {
			return // never told of: a child that started no program
		}
		ended := *p
		ended.ExitCode = int32(m.c)
		c.k.Processes.Exit(p.PID, p.Start, time.Now())
		emit(&bollwerk.Event{Kind: bollwerk.EventExit, Process: &ended})
	case eventTrace: // pid, tgid, tracer pid, tracer tgid; tracer 0: let go
		if m.d == 0 || m.d == uint32(os.Getpid()) || c.again(m.d, m.b) {
			return
		}
		c.k.Sync()
		emit(&bollwerk.Event{Kind: bollwerk.EventPtrace, Process: c.k.Processes.Get(m.d, 0), Target: c.k.Processes.Get(m.b, 0)})
	case eventUID, eventGID: // pid, tgid, real, effective
		c.k.Sync()
		c.credentials(m, emit)
	}
}

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
