package tracing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// Files watches files and folders of the host and of containers with fanotify. Marks
// stand on inodes, never on file systems, so that opening anything else costs nothing.
// It tells what was opened, made, renamed, removed and changed, and by whom; not how a
// file was opened, and of most folders only their own entries.
type Files struct {
	// Covered reports whether a better source already tells about an area; it may be nil.
	Covered func(area string) bool
	// Told reports whether another source told a moment ago that a process wrote to a watched file
	// of that name; it may be nil.
	Told func(pid uint32, name string) bool
	// Watches is what is looked at; nil: Watches().
	Watches []Watch
	// Marks is the most inodes marked, on the host and in all containers; 0: 24,576.
	Marks int
	// Root is the host's root folder; "": "/".
	Root string

	k    *sensor.Kernel
	self int32
	// Containers have a queue of their own: one that floods it does not blind us on the host.
	host, boxes *group // events with file handles and names
	legacy      *group // events with open files, where handles are not to be had
	entries     uint64 // mask for entries of folders
	orders      *orders
	bare        []*root // whose trees are not marked yet; of Run alone
	podsAt      *time.Timer
	podsDue     bool // podsAt runs; of Run alone, as all that is called by it

	mu     sync.Mutex
	roots  map[uint64]*root
	places map[handle][]place
	marked int

	looked func(name string) // of tests: between the look for what is not there and the mark above it

	folds  folds
	facts  facts
	virgin map[factKey]uint32
}

// group is a fanotify group. os.File.Fd would make it block, so the number is kept.
type group struct {
	*os.File
	fd    int
	moved *notice // half of a rename, on kernels that tell it in two
}

func newGroup(flags, open uint) (*group, error) {
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_NOTIF|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK|flags, open|unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &group{File: os.NewFile(uintptr(fd), "fanotify"), fd: fd}, nil
}

func hasHostRoot(pid uint32) bool {
	var host, box unix.Stat_t
	return unix.Stat("/", &host) == nil && unix.Stat("/proc/"+strconv.Itoa(int(pid))+"/root/", &box) == nil && host.Ino == box.Ino && host.Dev == box.Dev
}

// place is what a marked inode is in one root.
type place struct {
	root *root
	path string
	kind placeKind
}

type placeKind uint8

const (
	placeDir  placeKind = 1 << iota // entries are told
	placeExec                       // entries are told when they can be executed
	placeRead                       // the file itself
	placeWay                        // on the way to something that is not there yet
	placeTree                       // of what is in it links and losses are told
	placeName                       // entries are told that a watch names
)

// overlayNames is what fanotify cannot tell where overlayfs gives no file handles.
const overlayNames = "before kernel 6.6 only reads of secrets and what is written to watched files and folders are seen in containers on overlayfs: not removals, new names, links, modes, nor folders of data"

// tmpfsNames is what fanotify cannot tell where a tmpfs has no number that a file handle
// could be told with.
const tmpfsNames = "before kernel 5.13 the same is true of every tmpfs, which /dev/shm, /run and sometimes /tmp are"

// namelessTmpfs asks a file of the kernel's own tmpfs.
func namelessTmpfs() bool {
	fd, err := unix.MemfdCreate("", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return nameless(fd)
}

// nameless reports whether fanotify refuses to tell names of a file's file system, as its
// kind has no number.
func nameless(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) == nil && st.Fsid.Val == [2]int32{}
}

// Name of the source.
func (f *Files) Name() string { return "fanotify" }

// Open makes the groups and marks the host.
func (f *Files) Open(_ context.Context, k *sensor.Kernel) ([]sensor.Capability, error) {
	if f.Covered != nil && f.Covered(AreaFile) {
		return nil, nil
	}
	f.k, f.self = k, int32(os.Getpid())
	if f.Watches == nil {
		f.Watches = Watches()
	}
	if f.Marks == 0 {
		f.Marks = 24576
	}
	if f.Root == "" {
		f.Root = "/"
	}
	f.orders = newOrders()
	f.podsAt = time.NewTimer(podsEvery)
	f.podsAt.Stop()
	f.roots, f.places = map[uint64]*root{}, map[handle][]place{}
	row := sensor.Capability{Area: AreaFile, Means: "fanotify", Verdict: bollwerk.Degraded, Outcome: bollwerk.Seen,
		Cause: "only watched files and the entries of watched folders are seen (in containers also links and losses in folders of data and volumes), " +
			"and not whether a file was opened to be written; what the mode was before a change is known from the second change on",
		Remedy: "boot with lsm=…,bpf"}
	var err, err2 error
	if f.host, err = newGroup(unix.FAN_REPORT_FID|unix.FAN_REPORT_DFID_NAME, 0); err == nil {
		if f.boxes, err = newGroup(unix.FAN_REPORT_FID|unix.FAN_REPORT_DFID_NAME, 0); err != nil {
			f.boxes = f.host
		}
		err = nil
	}
	f.legacy, err2 = newGroup(0, unix.O_LARGEFILE)
	if err != nil && err2 != nil {
		row.Verdict, row.Cause, row.Remedy = bollwerk.NotEvaluated, "fanotify: "+err.Error(), "run the agent with CAP_SYS_ADMIN"
		f.orders = nil
		return []sensor.Capability{row}, nil
	}
	f.entries = unix.FAN_CREATE | unix.FAN_DELETE | unix.FAN_RENAME | unix.FAN_ATTRIB | unix.FAN_CLOSE_WRITE | unix.FAN_DELETE_SELF
	if f.host == nil {
		f.entries = unix.FAN_CLOSE_WRITE
		row.Cause += "; this kernel does not tell names, so that only reads and writes of existing files are seen"
		row.Remedy = "run kernel 5.9 or newer"
	}
	if k.Before(6, 6) {
		row.Cause += "; " + overlayNames
		row.Remedy += ", or run kernel 6.6 or newer"
	}
	if namelessTmpfs() {
		row.Cause += "; " + tmpfsNames
	}
	if unix.Geteuid() != 0 {
		row.Cause += "; without CAP_SYS_ADMIN only own processes are named"
	}
	host := &root{group: f.host, prefix: f.Root, top: strings.TrimSuffix(f.Root, "/"), where: "host", mountNS: k.HostNamespaces().Mount}
	f.roots[0] = host
	f.arm(host)
	if f.marked == 0 {
		row.Verdict, row.Cause = bollwerk.NotEvaluated, fmt.Sprint("fanotify takes no mark on any of the watched files: ", errors.Join(host.refused...))
	}
	return []sensor.Capability{row}, nil
}

// Container marks a container that began and forgets one that ended.
func (f *Files) Container(w *bollwerk.Workload, began bool) {
	o, ok := orderOf(w, began)
	if !ok || f.orders == nil {
		return
	}
	if !f.orders.give(o) {
		f.lost("container", o.cgroup, 1)
	}
}

// Followed implements sensor.Follower. The trees of containers, of which links and losses
// are told, are marked later.
func (f *Files) Followed(ctx context.Context) { f.orders.followed(ctx) }

func (f *Files) follow(o order) (settled bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.roots[o.cgroup]; r != nil && (!o.began || r.pid != o.pid) {
		f.forget(r)
	}
	if !o.began || f.roots[o.cgroup] != nil {
		return true
	}
	if o.unsettled() {
		return false
	}
	r := &root{group: f.boxes, cgroup: o.cgroup, pid: o.pid, prefix: "/proc/" + strconv.Itoa(int(o.pid)) + "/root", where: "container", mountNS: mountNS(o.pid)}
	if r.mountNS == 0 || r.mountNS == f.roots[0].mountNS {
		return true // gone already, or the host's own files
	}
	r.findTop()
	f.roots[o.cgroup] = r
	f.arm(r)
	f.bare = append(f.bare, r)
	if !f.podsDue {
		f.podsDue = true
		f.podsAt.Reset(podsEvery)
	}
	return true
}

func mountNS(pid uint32) uint32 {
	var st unix.Stat_t
	if unix.Stat("/proc/"+strconv.Itoa(int(pid))+"/ns/mnt", &st) != nil {
		return 0
	}
	return uint32(st.Ino)
}

// forget drops what is known of a root. The kernel drops the marks themselves with the
// container's file system; those on volumes stay, and events of them are passed over.
func (f *Files) forget(r *root) {
	delete(f.roots, r.cgroup)
	f.marked -= len(r.legacy)
	r.legacy = nil
	for id, all := range f.places {
		kept := all[:0]
		for _, p := range all {
			if p.root != r {
				kept = append(kept, p)
			}
		}
		switch {
		case len(kept) == 0:
			delete(f.places, id)
			f.marked--
		case len(kept) != len(all):
			f.places[id] = kept
		}
	}
}

func (f *Files) lost(area string, cgroup, n uint64) {
	now := time.Now()
	f.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "fanotify",
		Loss: &bollwerk.Loss{To: now, Count: n, Area: area, Kind: bollwerk.EventOpen, Cgroup: cgroup}})
}

// Run reads events until the context ends.
func (f *Files) Run(ctx context.Context) error {
	if f.orders == nil {
		return nil
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	errs := make(chan error, 3)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last *group
	for _, g := range []struct {
		group *group
		tell  func(*group, *notice)
	}{{f.host, f.tell}, {f.boxes, f.tell}, {f.legacy, f.tellLegacy}} {
		if g.group == nil || g.group == last {
			continue
		}
		last = g.group
		wg.Go(func() {
			if err := f.read(g.group, g.tell); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	tick := time.NewTicker(foldWindow / 2)
	defer tick.Stop()
	for {
		if len(f.bare) > 0 && len(f.orders.given) == 0 && ctx.Err() == nil {
			f.plant(f.bare[0])
			f.bare = f.bare[1:]
			continue
		}
		select {
		case <-ctx.Done():
			for _, g := range []*group{f.host, f.boxes, f.legacy} {
				if g != nil {
					g.SetReadDeadline(time.Unix(1, 0))
				}
			}
			wg.Wait()
			f.folds.flush(time.Time{}, f.k.Emit)
			f.tellOver()
			select {
			case err := <-errs:
				return err
			default:
				return nil
			}
		case o := <-f.orders.given:
			f.orders.take(o, f.follow)
		case <-f.orders.later.C:
			f.orders.retry(f.follow)
		case <-f.podsAt.C:
			f.podsDue = false
			f.pods()
		case now := <-tick.C:
			f.folds.flush(now.Add(-foldWindow), f.k.Emit)
			f.tellOver()
		}
	}
}

func (f *Files) read(g *group, tell func(*group, *notice)) error {
	buf := make([]byte, 16<<10)
	var e notice
	var last time.Time
	for {
		n, err := g.Read(buf)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("fanotify: %w", err)
		}
		now := time.Now()
		crowd := now.Sub(last) < crowded
		last = now
		// Who did it is known from records that were made before.
		f.k.Sync()
		for b, ok := buf[:n], true; ; {
			if b, ok = nextNotice(b, &e); !ok {
				break
			}
			if e.mask&unix.FAN_Q_OVERFLOW != 0 {
				f.lost("queue", 0, 1) // the kernel does not say how many
				continue
			}
			switch {
			case e.pid != f.self:
				tell(g, &e)
			case e.mask&unix.FAN_DELETE_SELF != 0:
				f.gone(&e) // we looked at it last
			}
			if e.fd >= 0 {
				unix.Close(int(e.fd))
			}
		}
		f.mu.Lock()
		f.settle(g)
		f.mu.Unlock()
		if crowd {
			time.Sleep(gather)
		}
	}
}

// Most of what a notice costs us is to be woken for it. A lone one is read at once; when
// they come closer than crowded, they are read together.
const (
	crowded = 2 * time.Millisecond
	gather  = 3 * time.Millisecond
)

// settle tells of half a rename whose other half did not come: the file left what is watched.
func (f *Files) settle(g *group) {
	if g.moved != nil {
		f.rename(g.moved, nil)
		g.moved = nil
	}
}

// Close ends the groups; the kernel drops their marks.
func (f *Files) Close() error {
	var errs []error
	if f.boxes == f.host {
		f.boxes = nil
	}
	for _, g := range []*group{f.host, f.boxes, f.legacy} {
		if g != nil {
			errs = append(errs, g.Close())
		}
	}
	return errors.Join(errs...)
}

// tellOver tells how many events of each root were too many to be handed on.
func (f *Files) tellOver() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.roots {
		if r.over > 0 {
			f.lost("queue", r.cgroup, r.over)
			r.over = 0
		}
	}
}

func (f *Files) process(pid int32) *bollwerk.Process {
	if pid <= 0 {
		return nil // of another PID namespace, or we may not know
	}
	return f.k.Processes.Get(uint32(pid), 0)
}
