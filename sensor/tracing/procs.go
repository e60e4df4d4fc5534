package tracing

import (
	"bufio"
	"context"
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

// AreaProc are the files in which the kernel shows processes and itself.
const AreaProc = "file below /proc"

// Procs sees which files below /proc the processes of containers open: the environment
// and the memory of others, and that of the machine. Their files come and go with
// processes and have no handles, so the mark stands on the mount: each open there, and
// nowhere else, puts a notice into a queue (about 3 µs for whoever opens). A container
// that opens more than Most a second is left alone for a while, which is said.
//
// Nobody waits for an answer. The kernel opens the file once more for us when we read the
// notice; it is closed unread.
type Procs struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Paths are further files below /proc that are told when they are opened, as Watch.Path.
	Paths []string
	// Most is how many opens of one container in a second are looked at; 0: 3,000.
	Most int

	k      *sensor.Kernel
	self   int32
	group  *group
	orders *orders
	folds  folds

	mu    sync.Mutex
	boxes map[uint64]*procBox // by cgroup
	// devices find the container by the number of its /proc.
	devices map[uint64]*procBox
}

// procBox is a container's /proc.
type procBox struct {
	root   root
	mounts []string // where it stands
	device []uint64
	window time.Time
	opened int
	off    bool
}

const (
	procsPause  = 10 * time.Second
	procsMounts = 4 // of one container
)

// Name of the source.
func (p *Procs) Name() string { return "fanotify proc" }

// Open makes the group; nothing is marked before a container comes.
func (p *Procs) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	if p.Covered != nil && p.Covered(AreaFile) {
		return nil, nil
	}
	p.k, p.self = k, int32(os.Getpid())
	if p.Most == 0 {
		p.Most = 3000
	}
	p.boxes, p.devices = map[uint64]*procBox{}, map[uint64]*procBox{}
	row := sensor.Capability{Area: AreaProc, Means: "fanotify on each container's /proc", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen,
		Cause:  "only opens in containers are seen, not on the host, and not in a /proc that a container mounts later",
		Remedy: "boot with lsm=…,bpf"}
	var err error
	if p.group, err = newGroup(0, unix.O_LARGEFILE); err == nil {
		p.orders = newOrders()
		err = p.mark("/proc", unix.FAN_MARK_REMOVE) // asks for nothing but whether it can be asked for
		if errors.Is(err, unix.ENOENT) {
			err = nil // there was none to remove
		}
	}
	if err != nil {
		row.Verdict, row.Cause, row.Remedy = bollwerk.NotEvaluated, "fanotify: "+err.Error(), "run the agent with CAP_SYS_ADMIN"
		p.orders = nil
	}
	return []sensor.Capability{row}, nil
}

func (p *Procs) mark(name string, how uint) error {
	return unix.FanotifyMark(p.group.fd, how|unix.FAN_MARK_MOUNT, unix.FAN_OPEN|unix.FAN_CLOSE_WRITE, unix.AT_FDCWD, name)
}

// Container marks the /proc of a container that began and forgets that of one that ended.
func (p *Procs) Container(w *bollwerk.Workload, began bool) {
	o, ok := orderOf(w, began)
	if !ok || p.orders == nil {
		return
	}
	if !p.orders.give(o) {
		p.lost("container", o.cgroup, 1)
	}
}

func (p *Procs) lost(area string, cgroup, n uint64) {
	now := time.Now()
	p.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "fanotify",
		Loss: &bollwerk.Loss{To: now, Count: n, Area: area, Kind: bollwerk.EventOpen, Cgroup: cgroup}})
}

// Followed implements sensor.Follower.
func (p *Procs) Followed(ctx context.Context) { p.orders.followed(ctx) }

func (p *Procs) follow(o order) (settled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.boxes[o.cgroup]; b != nil && (!o.began || b.root.pid != o.pid) {
		delete(p.boxes, o.cgroup) // the kernel drops the marks with the mounts
		for _, d := range b.device {
			if p.devices[d] == b {
				delete(p.devices, d)
			}
		}
	}
	if !o.began || p.boxes[o.cgroup] != nil {
		return true
	}
	if o.unsettled() {
		return false
	}
	b := &procBox{root: root{cgroup: o.cgroup, pid: o.pid, prefix: "/proc/" + strconv.Itoa(int(o.pid)) + "/root", where: "container", mountNS: mountNS(o.pid)}}
	if b.root.mountNS == 0 || b.root.mountNS == p.k.HostNamespaces().Mount {
		return true // gone already, or the host's own
	}
	b.root.findTop()
	b.mounts = procMounts(o.pid)
	p.boxes[o.cgroup] = b
	p.each(b, func(fd int) error {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		b.device = append(b.device, uint64(st.Dev))
		p.devices[uint64(st.Dev)] = b
		return p.mark(procFD(fd), unix.FAN_MARK_ADD)
	})
	return true
}

// each calls f with every /proc of a container.
func (p *Procs) each(b *procBox, f func(fd int) error) {
	for _, m := range b.mounts {
		fd, err := b.root.open(m, unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			err = f(fd)
			unix.Close(fd)
		}
		if err != nil {
			p.k.Log.Debug("a container's /proc is not watched", "mount", m, "pid", b.root.pid, "error", err)
		}
	}
}

// procMounts lists where whole proc file systems stand for a process, the container's own
// and those of the host that it was given.
func procMounts(pid uint32) []string {
	f, err := os.Open("/proc/" + strconv.Itoa(int(pid)) + "/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(io.LimitReader(f, 1<<20)); sc.Scan() && len(out) < procsMounts; {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l := strings.Fields(left)
		if ok && len(l) >= 6 && l[3] == "/" && strings.HasPrefix(right, "proc ") {
			out = append(out, unescape(l[4]))
		}
	}
	return out
}

// Run reads notices until the context ends.
func (p *Procs) Run(ctx context.Context) error {
	if p.orders == nil {
		return nil
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	errs := make(chan error, 1)
	wg.Go(func() { errs <- p.read() })
	tick := time.NewTicker(foldWindow / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.group.SetReadDeadline(time.Unix(1, 0))
			wg.Wait()
			p.folds.flush(time.Time{}, p.k.Emit)
			return <-errs
		case err := <-errs:
			return err
		case o := <-p.orders.given:
			p.orders.take(o, p.follow)
		case <-p.orders.later.C:
			p.orders.retry(p.follow)
		case now := <-tick.C:
			p.folds.flush(now.Add(-foldWindow), p.k.Emit)
			p.resume(now)
		}
	}
}

func (p *Procs) read() error {
	buf := make([]byte, 8<<10)
	var e notice
	for {
		n, err := p.group.Read(buf)
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, os.ErrClosed):
			return nil
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESRCH), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENXIO),
			errors.Is(err, unix.EIO), errors.Is(err, unix.EBUSY), errors.Is(err, unix.EINVAL):
			continue // the file is no more, or cannot be opened a second time
		default:
			return fmt.Errorf("fanotify proc: %w", err)
		}
		synced := false
		for b, ok := buf[:n], true; ; {
			if b, ok = nextNotice(b, &e); !ok {
				break
			}
			if e.mask&unix.FAN_Q_OVERFLOW != 0 {
				p.lost("queue", 0, 1) // the kernel does not say how many
				continue
			}
			if e.fd < 0 {
				continue
			}
			if e.pid != p.self {
				p.opened(&e, &synced)
			}
			unix.Close(int(e.fd))
		}
	}
}

// opened tells of one open, if it is of interest.
func (p *Procs) opened(e *notice, synced *bool) {
	var st unix.Stat_t
	if unix.Fstat(int(e.fd), &st) != nil {
		return
	}
	now := time.Now()
	p.mu.Lock()
	b := p.devices[uint64(st.Dev)]
	if b == nil {
		p.mu.Unlock()
		return
	}
	if now.Sub(b.window) >= time.Second {
		b.window, b.opened = now, 0
	}
	b.opened++
	tooMany := b.opened > p.Most && !b.off
	if tooMany {
		b.off, b.window = true, now
		p.each(b, func(fd int) error { return p.mark(procFD(fd), unix.FAN_MARK_REMOVE) })
	}
	p.mu.Unlock()
	if tooMany {
		p.lost("queue", b.root.cgroup, 1)
	}
	link, err := os.Readlink(procFD(int(e.fd)))
	if err != nil {
		return
	}
	name := b.root.within(link)
	if !p.wanted(name) {
		return
	}
	if !*synced { // who did it is known from records that were made before
		p.k.Sync()
		*synced = true
	}
	var by *bollwerk.Process
	if e.pid > 0 {
		by = p.k.Processes.Get(uint32(e.pid), 0)
	}
	if by != nil && b.root.ownFile(name, by) {
		return
	}
	file := fileOf(name, &st, true)
	file.Access = bollwerk.AccessRead
	if e.mask&unix.FAN_CLOSE_WRITE != 0 {
		file.Access = bollwerk.AccessWrite
	}
	event := &bollwerk.Event{Time: now, Kind: bollwerk.EventOpen, Process: by, Outcome: bollwerk.Seen, Source: "fanotify", File: file}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.folds.repeat(event, &b.root):
	case !b.root.rate.take(now):
		p.lost("queue", b.root.cgroup, 1)
	default:
		p.k.Emit(event)
	}
}

// wanted reports whether a file below /proc is told.
func (p *Procs) wanted(name string) bool {
	switch path.Base(name) {
	case "environ", "mem", "kcore", "sysrq-trigger":
		return true
	}
	return slices.ContainsFunc(p.Paths, func(w string) bool { return matchPath(w, name) })
}

// ownFile reports whether a path speaks of the process that opened it, whose own
// memory and environment are its own business.
func (r *root) ownFile(name string, by *bollwerk.Process) bool {
	dir, base := path.Split(name)
	if base != "environ" && base != "mem" {
		return false
	}
	for element := range strings.SplitSeq(dir, "/") {
		n, err := strconv.ParseUint(element, 10, 32)
		if err != nil {
			continue
		}
		if by.NSID != 0 {
			return uint32(n) == by.NSID
		}
		// It is gone, and nobody knew it: whoever still runs is another.
		before, _, _ := strings.Cut(name, "/"+element+"/")
		fd, err := r.open(before+"/"+element+"/exe", unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return true
		}
		defer unix.Close(fd)
		_, err = unix.Readlinkat(fd, "", make([]byte, 8))
		return err != nil
	}
	return false
}

// resume watches again what was left alone for a while.
func (p *Procs) resume(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.boxes {
		if b.off && now.Sub(b.window) >= procsPause {
			b.off, b.window, b.opened = false, now, 0
			p.each(b, func(fd int) error { return p.mark(procFD(fd), unix.FAN_MARK_ADD) })
		}
	}
}

// Close ends the group; the kernel drops its marks.
func (p *Procs) Close() error {
	if p.group == nil {
		return nil
	}
	return p.group.Close()
}
