package tracing

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// Gate refuses program starts and reads of secrets with permission events of fanotify:
// the kernel asks, and waits for the answer. That is a true denial without LSM, at the
// price of a round trip to the agent (25 to 50 µs, by agentbench -only deny; more on a busy
// machine) for each program start of the workload and each open of a guarded file; nothing
// else pays. Only workloads whose policy enforces GuardExec or GuardRead are marked.
//
// The agent itself must not start a program out of a guarded container: until the kernel
// has its answer the Go runtime cannot run whoever gives it.
//
// It must never hold up anybody: it opens nothing while somebody waits, it does not ask
// /proc for what the kernel locks during an exec, an answer that takes longer than
// gatePatience is "allow", and when the agent dies the kernel lets everything pass.
type Gate struct {
	// Covered reports whether a better source already denies in an area; it may be nil.
	Covered func(area string) bool
	// Secrets are the files that GuardRead guards; nil: those of Watches that are read.
	Secrets []Watch

	k       *sensor.Kernel
	group   *group
	self    int32
	err     error
	exec    bool
	secrets bool

	closed sync.Once

	mu      sync.Mutex
	running bool
	ended   bool
	early   []*sensor.Policy          // put in force as soon as somebody answers
	guarded map[uint64]*guarded       // by cgroup
	wanted  map[uint64]*sensor.Policy // by cgroup; the latest, in force or about to be
	spaces  map[uint32]*guarded       // by mount namespace
	pending map[int32]time.Time
	asked   chan struct{} // somebody waits
	slow    uint64        // answered "allow" as the agent was too slow
}

// guarded is a workload under a policy.
type guarded struct {
	root    root
	policy  *sensor.Policy
	exec    map[string]bool
	allowed map[string]bool // secrets that may be read
}

const (
	gatePatience = 250 * time.Millisecond
	// gateMounts is the most mounts of one container that are marked.
	gateMounts = 128
)

// Name of the source.
func (g *Gate) Name() string { return "fanotify gate" }

// Open makes the group; nobody is marked before a policy wants it.
func (g *Gate) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	covered := func(area string) bool { return g.Covered != nil && g.Covered(area) }
	g.k, g.self = k, int32(os.Getpid())
	g.guarded, g.spaces, g.pending = map[uint64]*guarded{}, map[uint32]*guarded{}, map[int32]time.Time{}
	g.wanted = map[uint64]*sensor.Policy{}
	g.asked = make(chan struct{}, 1)
	g.exec, g.secrets = !covered(AreaExecDeny), !covered(AreaFileDeny)
	if !g.exec && !g.secrets {
		return nil, nil
	}
	if g.Secrets == nil {
		g.Secrets = Watches()
	}
	var err error
	g.group, err = newGroup(unix.FAN_CLASS_CONTENT, unix.O_LARGEFILE)
	if err == nil {
		fd := g.group.fd
		// Kernels may be built without permission events: ask with a mark on what nobody runs.
		err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, "/")
		unix.FanotifyMark(fd, unix.FAN_MARK_REMOVE, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, "/")
	}
	g.err = err
	var rows []sensor.Capability
	row := func(area, cause string) {
		r := sensor.Capability{Area: area, Means: "fanotify permission events", Verdict: bollwerk.Degraded, Outcome: bollwerk.Denied, Cause: cause, Remedy: "boot with lsm=…,bpf"}
		if err != nil {
			r.Verdict, r.Outcome, r.Cause, r.Remedy = bollwerk.NotEvaluated, bollwerk.Seen, "fanotify: "+err.Error(), "run the agent with CAP_SYS_ADMIN, or boot with lsm=…,bpf"
		}
		rows = append(rows, r)
	}
	if g.exec {
		row(AreaExecDeny, fmt.Sprintf("each program start of a workload under such a policy waits for the agent, at most %s; mounts that a container makes later are not guarded", gatePatience))
	}
	if g.secrets {
		row(AreaFileDeny, "opens of guarded secrets are refused, whether to read or to write; writes elsewhere cannot be")
	}
	return rows, nil
}

// Means says how far each guard is held.
func (g *Gate) Means() []sensor.Means {
	if g.group == nil || g.err != nil {
		return nil
	}
	var out []sensor.Means
	if g.exec {
		out = append(out, sensor.Means{Guard: sensor.GuardExec, Outcome: bollwerk.Denied, Means: "fanotify", Cause: "falls open when the agent is too slow or ends"})
	}
	if g.secrets {
		out = append(out, sensor.Means{Guard: sensor.GuardRead, Outcome: bollwerk.Denied, Means: "fanotify", Cause: "only the listed secrets; falls open when the agent is too slow or ends"})
	}
	return out
}

// Apply marks a workload as its policy says.
func (g *Gate) Apply(p *sensor.Policy) error {
	if g.group == nil || g.err != nil {
		return nil // Means says that nothing is held here
	}
	g.mu.Lock()
	if !g.running {
		g.early = append(g.early, p)
		g.mu.Unlock()
		return nil
	}
	g.mu.Unlock()
	return g.enforce(p)
}

func (g *Gate) enforce(p *sensor.Policy) error {
	if err := g.Remove(p.Cgroup); err != nil {
		return err
	}
	g.mu.Lock()
	g.wanted[p.Cgroup] = p
	g.mu.Unlock()
	return g.guard(p, time.Now())
}

// guard marks what a policy asks for, once the container has a root of its own.
func (g *Gate) guard(p *sensor.Policy, since time.Time) error {
	exec := g.exec && p.Enforce&sensor.GuardExec != 0
	secrets := g.secrets && p.Enforce&sensor.GuardRead != 0
	if !exec && !secrets || p.PID == 0 {
		return nil
	}
	w := &guarded{policy: p, exec: map[string]bool{}, allowed: map[string]bool{},
		root: root{cgroup: p.Cgroup, pid: p.PID, prefix: "/proc/" + strconv.Itoa(int(p.PID)) + "/root", where: "container", mountNS: mountNS(p.PID)}}
	if w.root.mountNS == 0 {
		return fmt.Errorf("process %d: gone, or its namespaces cannot be read", p.PID)
	}
	if w.root.mountNS == g.k.HostNamespaces().Mount || w.root.mountNS == mountNS(uint32(g.self)) {
		return nil // it lives among the host's files: nothing there may wait for us
	}
	if hasHostRoot(p.PID) && time.Since(since) < settleMost {
		time.AfterFunc(settleEvery, func() {
			if g.wants(p) {
				g.failed(p, g.guard(p, since))
			}
		})
		return nil
	}
	w.root.findTop()
	for _, name := range p.Exec {
		w.exec[name] = true
		w.exec[w.root.real(name)] = true
	}
	for _, name := range p.Read {
		w.allowed[name] = true
		w.allowed[w.root.real(name)] = true
	}
	g.mu.Lock()
	if g.wanted[p.Cgroup] != p {
		g.mu.Unlock()
		return nil // another policy came, or the container went
	}
	g.guarded[p.Cgroup], g.spaces[w.root.mountNS] = w, w
	g.mu.Unlock()
	if exec {
		if err := g.markMounts(w, unix.FAN_MARK_ADD); err != nil {
			return errors.Join(err, g.Remove(p.Cgroup))
		}
	}
	if secrets {
		g.markSecrets(w, unix.FAN_MARK_ADD)
	}
	return nil
}

// failed passes on that a policy is not held here, later than Apply could say so.
func (g *Gate) failed(p *sensor.Policy, err error) {
	switch {
	case err == nil:
	case p.Failed != nil:
		p.Failed(fmt.Errorf("programs are not refused, but ended at their start: %w", err))
	default:
		g.k.Log.Warn("a container's programs are not refused, but ended at their start", "cgroup", p.CgroupPath, "error", err)
	}
}

// Remove takes the marks of a workload away.
func (g *Gate) Remove(cgroup uint64) error {
	g.mu.Lock()
	g.early = slices.DeleteFunc(g.early, func(p *sensor.Policy) bool { return p.Cgroup == cgroup })
	delete(g.wanted, cgroup)
	w := g.guarded[cgroup]
	if w != nil {
		delete(g.guarded, cgroup)
		if g.spaces[w.root.mountNS] == w { // the number may be another container's by now
			delete(g.spaces, w.root.mountNS)
		}
	}
	g.mu.Unlock()
	if w != nil {
		g.markMounts(w, unix.FAN_MARK_REMOVE) // gone with the container's mounts otherwise
		g.markSecrets(w, unix.FAN_MARK_REMOVE)
	}
	return nil
}

func (g *Gate) wants(p *sensor.Policy) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wanted[p.Cgroup] == p
}

// real is a path with its links resolved inside the root.
func (r *root) real(name string) string {
	fd, err := r.open(name, unix.O_PATH)
	if err != nil {
		return name
	}
	defer unix.Close(fd)
	s, err := os.Readlink(procFD(fd))
	if err != nil {
		return name
	}
	return r.within(s)
}

func (r *root) findTop() {
	if top := r.real("/"); top != "/" {
		r.top = top
	}
}

func (g *Gate) markMounts(w *guarded, how uint) error {
	group, ok := g.number()
	if !ok {
		return nil
	}
	f, err := os.Open("/proc/" + strconv.Itoa(int(w.root.pid)) + "/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	marked := 0
	sc := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for sc.Scan() && marked < gateMounts {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l := strings.Fields(left)
		if !ok || len(l) < 6 {
			continue
		}
		switch kind, _, _ := strings.Cut(right, " "); kind {
		case "proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "debugfs", "tracefs", "securityfs", "bpf":
			continue // nothing there is a program
		}
		fd, err := w.root.open(unescape(l[4]), unix.O_PATH)
		if err != nil {
			continue
		}
		err = unix.FanotifyMark(group, how|unix.FAN_MARK_MOUNT, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, procFD(fd))
		unix.Close(fd)
		if err != nil && how == unix.FAN_MARK_ADD {
			if l[4] == "/" {
				return fmt.Errorf("mark the root of the container: %w", err)
			}
			g.k.Log.Debug("mount is not guarded", "mount", l[4], "error", err)
			continue
		}
		marked++
	}
	if marked == 0 && how == unix.FAN_MARK_ADD {
		return errors.New("no mount of the container could be marked")
	}
	return nil
}

// unescape reads the octal escapes of proc_pid_mountinfo(5).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

func (g *Gate) markSecrets(w *guarded, how uint) {
	group, ok := g.number()
	if !ok {
		return
	}
	for i := range g.Secrets {
		s := &g.Secrets[i]
		if !s.Read || s.Where == "host" {
			continue
		}
		w.root.each(s.Path, func(name string) {
			fd, err := w.root.open(name, unix.O_PATH)
			if err != nil {
				return
			}
			defer unix.Close(fd)
			var st unix.Stat_t
			if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
				unix.FanotifyMark(group, how, unix.FAN_OPEN_PERM, unix.AT_FDCWD, procFD(fd))
			}
		})
	}
}

// each calls f for what a pattern names in the root.
func (r *root) each(pattern string, f func(name string)) {
	var walk func(dir string, rest []string)
	walk = func(dir string, rest []string) {
		if len(rest) == 0 {
			f(dir)
			return
		}
		if !strings.Contains(rest[0], "*") {
			walk(path.Join(dir, rest[0]), rest[1:])
			return
		}
		names, _ := r.names(dir)
		n := 0
		for _, name := range names {
			if matchElement(rest[0], name) && n < globMatches {
				n++
				walk(path.Join(dir, name), rest[1:])
			}
		}
	}
	walk("/", strings.Split(strings.Trim(pattern, "/"), "/"))
}

// Run answers until the context ends.
func (g *Gate) Run(ctx context.Context) error {
	if g.group == nil || g.err != nil {
		return nil
	}
	stop := context.AfterFunc(ctx, func() { g.group.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { g.watch(ctx) })
	g.mu.Lock()
	early := g.early
	g.early, g.running = nil, true
	g.mu.Unlock()
	wg.Go(func() {
		for _, p := range early {
			g.failed(p, g.enforce(p))
		}
	})
	told := make(chan *bollwerk.Event, 1024)
	wg.Go(func() {
		for e := range told {
			g.k.Emit(e)
		}
	})
	defer close(told)
	// When nobody answers any more, nobody may be asked: the group ends before anything else.
	defer g.Close()
	buf := make([]byte, 8192)
	var e notice
	for {
		n, err := g.group.Read(buf)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("fanotify gate: %w", err)
		}
		now := time.Now()
		g.mu.Lock()
		for b, ok := buf[:n], true; ; {
			if b, ok = nextNotice(b, &e); !ok {
				break
			}
			if e.fd >= 0 {
				g.pending[e.fd] = now
			}
		}
		g.mu.Unlock()
		select {
		case g.asked <- struct{}{}:
		default: // it looks already
		}
		for b, ok := buf[:n], true; ; {
			if b, ok = nextNotice(b, &e); !ok {
				break
			}
			if e.fd < 0 {
				continue
			}
			refused := g.judge(&e)
			if g.answer(e.fd, refused == nil) && refused != nil {
				select {
				case told <- refused:
				default:
					g.mu.Lock()
					g.slow++ // refused and not told is lost, and counted with the rest
					g.mu.Unlock()
				}
			}
		}
	}
}

// answer gives the verdict once; the watchdog may have been first.
func (g *Gate) answer(fd int32, allow bool) bool {
	g.mu.Lock()
	_, waits := g.pending[fd]
	delete(g.pending, fd)
	g.mu.Unlock()
	if !waits {
		return false
	}
	var r [8]byte
	binary.NativeEndian.PutUint32(r[:], uint32(fd))
	binary.NativeEndian.PutUint32(r[4:], unix.FAN_ALLOW)
	if !allow {
		binary.NativeEndian.PutUint32(r[4:], unix.FAN_DENY)
	}
	g.group.Write(r[:])
	unix.Close(int(fd))
	return true
}

// watch lets pass whoever waits too long, and says so. It looks only while somebody waits.
func (g *Gate) watch(ctx context.Context) {
	t := time.NewTicker(gatePatience / 2)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.asked:
			t.Reset(gatePatience / 2)
		case now := <-t.C:
			var late []int32
			g.mu.Lock()
			if len(g.pending) == 0 {
				t.Stop()
			}
			for fd, since := range g.pending {
				if now.Sub(since) > gatePatience {
					late = append(late, fd)
				}
			}
			g.slow += uint64(len(late))
			slow := g.slow
			g.slow = 0
			g.mu.Unlock()
			for _, fd := range late {
				g.answer(fd, true)
			}
			if slow > 0 {
				g.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "fanotify",
					Loss: &bollwerk.Loss{To: now, Count: slow, Area: "queue", Kind: bollwerk.EventExec}})
			}
		}
	}
}

// judge returns the event of a refusal, nil to allow. Somebody waits: it reads links
// of /proc, which need no lock of the waiting process, and nothing else.
func (g *Gate) judge(e *notice) *bollwerk.Event {
	if e.pid == g.self {
		return nil
	}
	ns := mountNS(uint32(e.pid))
	g.mu.Lock()
	w := g.spaces[ns]
	g.mu.Unlock()
	if w == nil {
		return nil // of the host, a runtime that reaches in, or a container without such a policy
	}
	name, err := os.Readlink(procFD(int(e.fd)))
	if err != nil {
		return nil
	}
	name = w.root.within(strings.TrimSuffix(name, " (deleted)"))
	kind, access, guard := bollwerk.EventExec, bollwerk.AccessExec, sensor.GuardExec
	switch {
	case e.mask&unix.FAN_OPEN_EXEC_PERM != 0:
		if w.policy.Enforce&sensor.GuardExec == 0 || w.exec[name] || isLoader(name) {
			return nil
		}
	case e.mask&unix.FAN_OPEN_PERM != 0:
		if w.policy.Enforce&sensor.GuardRead == 0 || w.allowed[name] {
			return nil
		}
		kind, access, guard = bollwerk.EventOpen, bollwerk.AccessRead, sensor.GuardRead
	default:
		return nil
	}
	p := g.k.Processes.Known(uint32(e.pid), 0)
	if p == nil {
		p = &bollwerk.Process{PID: uint32(e.pid), MountNS: ns, Cgroup: w.policy.Cgroup, Contained: true}
	}
	file := &bollwerk.FileEvent{Path: name, Access: access}
	var st unix.Stat_t
	if unix.Fstat(int(e.fd), &st) == nil {
		file = fileOf(name, &st, true)
		file.Access = access
	}
	return &bollwerk.Event{Time: time.Now(), Kind: kind, Process: p, Outcome: bollwerk.Denied, Result: int32(unix.EPERM), Rule: guard.String(), Source: "fanotify", File: file}
}

// isLoader tells the program loader, which the kernel opens for every dynamic program.
// Starting a program through it by hand is ended by the guard at the start itself.
func isLoader(name string) bool {
	dir, base := path.Split(name)
	return (strings.HasPrefix(dir, "/lib") || strings.HasPrefix(dir, "/usr/lib")) &&
		(strings.HasPrefix(base, "ld-linux") || strings.HasPrefix(base, "ld-musl") || strings.HasPrefix(base, "ld-2.") || strings.HasPrefix(base, "ld.so") || strings.HasPrefix(base, "libc.musl"))
}

// Close lets everybody pass.
func (g *Gate) Close() (err error) {
	if g.group == nil {
		return nil
	}
	g.closed.Do(func() {
		g.mu.Lock()
		g.ended = true
		g.mu.Unlock()
		err = g.group.Close()
	})
	return err
}

// number of the group for marks; false when it ended and the number may be another's.
func (g *Gate) number() (int, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.group.fd, !g.ended
}
