package tracing

import (
	"context"
	"errors"
	"fmt"
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

	mu     sync.Mutex
	roots  map[uint64]*root
	places map[handle][]place
	marked int

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

// at finds what a handle means for a process: the same inode may be a volume in several
// containers under several names.
func (f *Files) at(id handle, p *bollwerk.Process) (place, bool) {
	all := f.places[id]
	if len(all) == 0 {
		return place{}, false
	}
	if p != nil {
		// The newest first: a container that ended a moment ago may have had the same number.
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].root.mountNS == p.MountNS {
				return all[i], true
			}
		}
	}
	return all[0], true
}

func (f *Files) process(pid int32) *bollwerk.Process {
	if pid <= 0 {
		return nil // of another PID namespace, or we may not know
	}
	return f.k.Processes.Get(uint32(pid), 0)
}

// tell makes events of a notice with handles and names.
func (f *Files) tell(g *group, e *notice) {
	if e.mask&unix.FAN_DELETE_SELF != 0 {
		f.gone(e)
		if e.mask &^= unix.FAN_DELETE_SELF; e.mask&^unix.FAN_ONDIR == 0 {
			return
		}
	}
	p := f.process(e.pid)
	f.mu.Lock()
	defer f.mu.Unlock()
	if g.moved != nil {
		if e.mask&unix.FAN_MOVED_TO != 0 && e.pid == g.moved.pid {
			f.rename(g.moved, e)
			g.moved = nil
			return
		}
		f.settle(g)
	}
	if e.mask&unix.FAN_RENAME != 0 {
		f.rename(e, e)
	}
	if e.mask&unix.FAN_MOVED_FROM != 0 {
		half := *e
		g.moved = &half
		return
	}
	if e.mask&unix.FAN_MOVED_TO != 0 {
		f.rename(nil, e)
	}
	if i, ok := e.find(unix.FAN_EVENT_INFO_TYPE_FID); ok && e.mask&(unix.FAN_OPEN|unix.FAN_CLOSE_WRITE|unix.FAN_ATTRIB) != 0 {
		if pl, ok := f.at(i.id, p); ok && pl.kind&placeRead != 0 {
			mask := e.mask
			if mask&unix.FAN_ATTRIB != 0 && f.replaced(i.id, pl.root) {
				mask &^= unix.FAN_ATTRIB // it lost its name: no mode was changed
			}
			f.entry(mask, pl, pl.path, p)
			return
		}
	}
	i, ok := e.find(unix.FAN_EVENT_INFO_TYPE_DFID_NAME)
	if !ok || i.name == "" || i.name == "." {
		return
	}
	if pl, ok := f.at(i.id, p); ok && pl.kind != placeRead {
		f.entry(e.mask&^unix.FAN_OPEN, pl, path.Join("/", pl.path, i.name), p)
	}
}

// gone forgets an inode that is no more; the kernel dropped its mark.
func (f *Files) gone(e *notice) {
	i, ok := e.find(unix.FAN_EVENT_INFO_TYPE_FID, unix.FAN_EVENT_INFO_TYPE_DFID, unix.FAN_EVENT_INFO_TYPE_DFID_NAME)
	if !ok {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.places[i.id]
	if len(all) == 0 {
		return
	}
	delete(f.places, i.id)
	f.marked--
	for _, pl := range all {
		if pl.kind&placeRead != 0 {
			f.rewatch(pl)
		}
	}
}

// replaced reports whether the path of a watched file names another one in r by now, or none. The
// old one may be held open for long, and what replaced it is watched from now on.
func (f *Files) replaced(id handle, r *root) (yes bool) {
	for _, pl := range f.places[id] {
		if pl.kind&placeRead == 0 {
			continue
		}
		if now, err := pl.root.handle(pl.path); err == nil && now == id {
			continue
		}
		yes = yes || pl.root == r
		f.rewatch(pl)
	}
	return yes
}

// rewatch marks what stands where a watched file was. Nothing else tells of it where a link on
// the way was changed (a mounted secret: token, ..data/token, ..2/token), nor where the
// folder is not marked as all was there. Who replaces files all the time makes many marks
// necessary, up to a rate.
func (f *Files) rewatch(pl place) {
	r := pl.root
	if !r.rearms.take(time.Now()) {
		r.over++
		return
	}
	if f.mark(r, pl.path, placeRead); r.exists(pl.path) {
		return
	}
	for i := range r.watches {
		if w := &r.watches[i]; w.Read && matchPath(w.Path, pl.path) {
			f.armWatch(r, w, nil, false)
		}
	}
}

// entry tells what happened to one path.
func (f *Files) entry(mask uint64, pl place, name string, p *bollwerk.Process) {
	r, kind := pl.root, f.kindOf(pl, name)
	foreign := kind == placeTree && p != nil && p.MountNS != 0 && p.MountNS != r.mountNS
	if mask&unix.FAN_DELETE != 0 && kind&(placeDir|placeTree) != 0 && !foreign && (kind&placeDir != 0 || mask&unix.FAN_ONDIR == 0) {
		f.emit(bollwerk.EventUnlink, &bollwerk.FileEvent{Path: name}, p, r)
	}
	if mask&(unix.FAN_CREATE|unix.FAN_OPEN|unix.FAN_ATTRIB|unix.FAN_CLOSE_WRITE) == 0 {
		return
	}
	// Everybody makes files. Most are of no interest, which one glance tells: that one
	// follows links, and so is only trusted where there is nothing to tell.
	if pl.kind == placeExec || pl.kind == placeTree {
		if !r.looks.take(time.Now()) {
			r.over++
			return
		}
		if !(kind == placeTree && twoEndings(path.Base(name))) && !privateKey(name) && r.plain(name) {
			return
		}
	}
	st, target, there := r.stat(name)
	file := func() *bollwerk.FileEvent { return fileOf(name, &st, there) }
	regular := there && st.Mode&unix.S_IFMT == unix.S_IFREG
	if mask&unix.FAN_CREATE != 0 {
		if regular && st.Nlink == 1 && p != nil {
			f.fresh(&st, p)
		}
		switch {
		case kind == 0 || kind == placeRead || foreign:
		case there && st.Mode&unix.S_IFMT == unix.S_IFLNK:
			e := file()
			e.Target = target
			f.emit(bollwerk.EventSymlink, e, p, r)
		case regular && st.Nlink > 1:
			e := file()
			e.Target, e.Path = name, f.otherName(r, name, &st)
			if e.Path != "" || kind&placeDir != 0 {
				f.emit(bollwerk.EventLink, e, p, r)
			}
		case kind&placeDir != 0 || kind&placeTree != 0 && there && (regular && twoEndings(path.Base(name)) || st.Mode&unix.S_IFMT == unix.S_IFDIR):
			f.emit(bollwerk.EventCreate, file(), p, r)
		}
		f.appeared(pl, name, p, !there || st.Mode&unix.S_IFMT == unix.S_IFDIR)
	}
	if kind&placeExec != 0 && kind&placeDir == 0 && (!regular || st.Mode&0o111 == 0) {
		return
	}
	if kind&(placeDir|placeExec|placeRead) == 0 {
		return
	}
	if mask&unix.FAN_OPEN != 0 {
		e := file()
		e.Access = bollwerk.AccessRead
		f.emit(bollwerk.EventOpen, e, p, r)
	}
	if mask&unix.FAN_ATTRIB != 0 && there {
		f.changed(file(), p, r)
	}
	if mask&unix.FAN_CLOSE_WRITE != 0 && !(kind&placeRead != 0 && p != nil && f.Told != nil && f.Told(p.PID, name)) {
		e := file()
		e.Access = bollwerk.AccessWrite
		if regular && f.emptied(&st, p) {
			e.Access |= bollwerk.AccessTruncate
		}
		f.emit(bollwerk.EventOpen, e, p, r)
		if name == accounts {
			f.rehouse(r, p)
		}
	}
}

// fresh notes a file that was just made, and by whom.
func (f *Files) fresh(st *unix.Stat_t, by *bollwerk.Process) {
	if f.virgin == nil || len(f.virgin) >= virginMost {
		f.virgin = map[factKey]uint32{} // what is forgotten is told as before
	}
	f.virgin[factKey{uint64(st.Dev), st.Ino}] = by.PID
}

// emptied reports whether a file that was written to is empty and may have had something in
// it: not when who made it closed it as empty as it was. Another process is another matter,
// as somebody may have written to the file without having closed it.
func (f *Files) emptied(st *unix.Stat_t, by *bollwerk.Process) bool {
	k := factKey{uint64(st.Dev), st.Ino}
	pid, made := f.virgin[k]
	delete(f.virgin, k)
	return st.Size == 0 && !(made && by != nil && by.PID == pid)
}

// virginMost is how many files are remembered that were made and not written to.
const virginMost = 4096

// accounts is where homes are written down.
const accounts = "/etc/passwd"

// kindOf is what the place of an entry means for it.
func (f *Files) kindOf(pl place, names ...string) placeKind {
	kind := pl.kind &^ (placeWay | placeName)
	if pl.kind&placeName == 0 || kind&placeDir != 0 {
		return kind
	}
	for i := range f.Watches {
		if w := &f.Watches[i]; w.Name && slices.ContainsFunc(names, func(n string) bool { return matchPath(w.Path, n) }) {
			return kind | placeDir
		}
	}
	return kind
}

// changed tells what a notice of changed attributes means, as far as one about the same
// file came before: times and numbers of links are attributes, too. The first one is
// compared with the file of the image; without one it is taken for a change of the mode, and
// what the mode was is then not known (OldMode 0). A look at the file when it is made would
// not help: by then it may have its last mode already.
func (f *Files) changed(e *bollwerk.FileEvent, p *bollwerk.Process, r *root) {
	before, known := f.facts.put(&unix.Stat_t{Dev: e.Device, Ino: e.Inode, Mode: e.Mode, Uid: e.UID, Gid: e.GID})
	if !known {
		if mode, ok := r.before(e.Path, e.Inode); ok {
			// Who owns it in the image may be another number there (user namespaces).
			before, known = fact{mode, e.UID, e.GID}, true
		}
	}
	switch {
	case known && before.mode != e.Mode:
		e.OldMode = before.mode
		f.emit(bollwerk.EventChmod, e, p, r)
	case known && (before.uid != e.UID || before.gid != e.GID):
		f.emit(bollwerk.EventChown, e, p, r)
	case !known:
		f.emit(bollwerk.EventChmod, e, p, r)
	}
}

// rename tells of a rename by one notice with both names, or by its halves.
func (f *Files) rename(from, to *notice) {
	var p *bollwerk.Process
	var old, renamed string
	var pl place
	name := func(e *notice, kinds ...uint8) string {
		if e == nil {
			return ""
		}
		if p == nil {
			p = f.process(e.pid)
		}
		i, ok := e.find(kinds...)
		if !ok {
			return ""
		}
		at, ok := f.at(i.id, p)
		if !ok {
			return ""
		}
		pl = at
		return path.Join("/", at.path, i.name)
	}
	old = name(from, unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_DFID_NAME)
	renamed = name(to, unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_DFID_NAME)
	if pl.root == nil {
		return
	}
	var st unix.Stat_t
	there := false
	if renamed != "" {
		st, _, there = pl.root.stat(renamed)
	}
	kind := f.kindOf(pl, old, renamed)
	foreign := kind == placeTree && p != nil && p.MountNS != 0 && p.MountNS != pl.root.mountNS
	if kind != 0 && !foreign && (kind != placeExec || there && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0) {
		e := fileOf(old, &st, there)
		e.Target = renamed
		f.emit(bollwerk.EventRename, e, p, pl.root)
	}
	if renamed == accounts {
		f.rehouse(pl.root, p)
	}
	if renamed != "" {
		f.appeared(pl, renamed, p, !there || st.Mode&unix.S_IFMT == unix.S_IFDIR)
	}
}

// appeared marks what was not there when its root was armed. What already stands in a
// new folder was put there before the mark: it is told now.
func (f *Files) appeared(pl place, name string, p *bollwerk.Process, folder bool) {
	r := pl.root
	if folder && r.inTree(name) {
		if r.rearms.take(time.Now()) {
			f.tree(r, name, p, false)
		} else {
			r.over++
		}
	}
	if !folder && privateKey(name) && r.inTree(path.Dir(name)) && r.rearms.take(time.Now()) {
		f.mark(r, name, placeRead)
	}
	if pl.kind == placeTree {
		return // no watch has anything to do with what is in it
	}
	for i := range r.watches {
		w := &r.watches[i]
		if w.Where != "" && w.Where != r.where || !matchPath(w.Path, name) && !leads(w.Path, name) {
			continue
		}
		// Who makes many such names makes many marks necessary, up to a rate.
		if !r.rearms.take(time.Now()) {
			r.over++
			return
		}
		if w.Read && matchPath(w.Path, name) {
			f.mark(r, name, placeRead)
			continue
		}
		f.armWatch(r, w, p, false)
	}
}

// otherName is the watched path that shares its inode with a new hard link, "" when none does.
func (f *Files) otherName(r *root, name string, st *unix.Stat_t) string {
	if id, err := r.handle(name); err == nil {
		for _, pl := range f.places[id] {
			if pl.root == r && pl.path != name {
				return pl.path
			}
		}
	}
	same := func(other string) bool {
		o, _, ok := r.stat(other)
		return ok && other != name && o.Ino == st.Ino && o.Dev == st.Dev
	}
	for _, other := range []string{"/etc/passwd", "/etc/group", "/etc/ld.so.preload", "/etc/crontab"} {
		if same(other) {
			return other
		}
	}
	for i := range f.Watches {
		if w := &f.Watches[i]; w.Read && !strings.Contains(w.Path, "*") && same(w.Path) {
			return w.Path
		}
	}
	return ""
}

func fileOf(name string, st *unix.Stat_t, there bool) *bollwerk.FileEvent {
	e := &bollwerk.FileEvent{Path: name}
	if there {
		e.Mode, e.UID, e.GID, e.Inode, e.Device, e.Size = st.Mode, st.Uid, st.Gid, st.Ino, uint64(st.Dev), st.Size
	}
	return e
}

func (f *Files) emit(kind bollwerk.EventKind, file *bollwerk.FileEvent, p *bollwerk.Process, r *root) {
	e := &bollwerk.Event{Time: time.Now(), Kind: kind, Process: p, Outcome: bollwerk.Seen, Source: "fanotify", File: file}
	switch {
	case f.folds.repeat(e, r):
	case !r.rate.take(e.Time):
		r.over++
	default:
		f.k.Emit(e)
	}
}

// tellLegacy makes events of a notice with an open file.
func (f *Files) tellLegacy(_ *group, e *notice) {
	if e.fd < 0 {
		return
	}
	name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(e.fd)))
	if err != nil {
		return
	}
	var st unix.Stat_t
	there := unix.Fstat(int(e.fd), &st) == nil
	p := f.process(e.pid)
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.roots[0]
	if p != nil {
		for _, o := range f.roots {
			if o.mountNS == p.MountNS {
				r = o
			}
		}
	}
	name = r.within(name)
	if e.mask&unix.FAN_OPEN != 0 {
		file := fileOf(name, &st, there)
		file.Access = bollwerk.AccessRead
		f.emit(bollwerk.EventOpen, file, p, r)
	}
	if e.mask&unix.FAN_CLOSE_WRITE != 0 {
		file := fileOf(name, &st, there)
		file.Access = bollwerk.AccessWrite
		f.emit(bollwerk.EventOpen, file, p, r)
	}
}
