package tracing

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
)

// root is one tree of files: the host's, or a container's through one of its processes.
type root struct {
	cgroup  uint64
	pid     uint32
	prefix  string
	where   string
	mountNS uint32
	// top is where the root of a chroot stands in its mount namespace: links of /proc
	// are told from there. "" for the namespace's own root.
	top     string
	group   *group
	rate    bucket
	rearms  bucket
	looks   bucket   // at what was made
	trees   []string // folders all of whose folders are marked
	folders int      // marked for that
	pass    *pass    // while all watches are looked for
	over    uint64   // events above the rate: counted, not told
	refused []error
	legacy  map[inode]bool // marked without names
	image   image
	watches []Watch // those of Files, and the homes of this root's accounts
}

type inode struct{ dev, ino uint64 }

// Bounds of what one pattern may cost: folders belong to whoever fills them.
const (
	globEntries = 4096
	globMatches = 64
	hostMatches = 512 // the host's folders are filled by few: homes, and pods of the node
	newEntries  = 64  // told from a folder that was filled before it could be marked
	treeFirst   = 96  // folders of a container that are marked at its start
	treeMost    = 256
	treeVolumes = 16
)

// pass is what was found since a look for all watches began. They have most of their
// folders in common: asking for each anew was a third of the agent's start among many
// containers. What changes meanwhile is told by the marks.
type pass struct {
	dir    int // the root
	there  map[string]bool
	names  map[string]listing
	marked map[passMark]bool
}

type listing struct {
	names []string
	err   error
}

type passMark struct {
	name string
	kind placeKind
}

// begin a pass; the caller owes the end.
func (r *root) begin() (end func()) {
	dir, err := r.enter()
	if err != nil {
		return func() {} // each look will find that it is gone
	}
	r.pass = &pass{dir: dir, there: map[string]bool{}, names: map[string]listing{}, marked: map[passMark]bool{}}
	return func() {
		r.pass = nil
		unix.Close(dir)
	}
}

// enter opens the root itself.
func (r *root) enter() (int, error) {
	dir, err := unix.Open(r.prefix, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if r.pid != 0 && mountNS(r.pid) != r.mountNS {
		unix.Close(dir)
		return -1, unix.ESRCH // the container is gone, and perhaps its PID is another's
	}
	return dir, nil
}

// open resolves a path inside the root: no link in it leads out.
func (r *root) open(name string, flags int) (int, error) {
	var dir int
	if r.pass != nil {
		dir = r.pass.dir
	} else {
		var err error
		if dir, err = r.enter(); err != nil {
			return -1, err
		}
		defer unix.Close(dir)
	}
	return unix.Openat2(dir, name, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
}

// within is a link of /proc as the root's processes would name it.
func (r *root) within(link string) string { return strings.TrimPrefix(link, r.top) }

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// stat looks at a path itself, not at what a link names; target is what a link says.
func (r *root) stat(name string) (st unix.Stat_t, target string, ok bool) {
	fd, err := r.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return st, "", false
	}
	defer unix.Close(fd)
	if unix.Fstat(fd, &st) != nil {
		return st, "", false
	}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		buf := make([]byte, 4096)
		if n, err := unix.Readlinkat(fd, "", buf); err == nil {
			target = string(buf[:n])
		}
	}
	return st, target, true
}

// plain reports whether a path names a file with one name that is no program, or none at all.
func (r *root) plain(name string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(r.prefix+name, &st); err != nil {
		return errors.Is(err, unix.ENOENT)
	}
	return st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 1 && st.Mode&0o111 == 0
}

func (r *root) handle(name string) (handle, error) {
	fd, err := r.open(name, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return handleOf(fd)
}

// exists reports whether a path leads anywhere.
func (r *root) exists(name string) bool {
	if r.pass != nil {
		if there, known := r.pass.there[name]; known {
			return there
		}
	}
	fd, err := r.open(name, unix.O_PATH)
	if err == nil {
		unix.Close(fd)
	}
	if r.pass != nil {
		r.pass.there[name] = err == nil
	}
	return err == nil
}

// names lists a folder, at most globEntries of it.
func (r *root) names(dir string) ([]string, error) {
	if r.pass == nil {
		return r.readNames(dir)
	}
	l, known := r.pass.names[dir]
	if !known {
		l.names, l.err = r.readNames(dir)
		r.pass.names[dir] = l
	}
	return l.names, l.err
}

func (r *root) readNames(dir string) ([]string, error) {
	fd, err := r.open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	d := os.NewFile(uintptr(fd), dir)
	defer d.Close()
	names, err := d.Readdirnames(globEntries)
	if len(names) == globEntries {
		return names, errTooMany
	}
	if len(names) > 0 || errors.Is(err, io.EOF) {
		return names, nil
	}
	return nil, err
}

var errTooMany = errors.New("too many entries")

// arm marks whatever of the watch list is there, and the folders in which the rest
// would appear.
func (f *Files) arm(r *root) {
	defer r.begin()()
	f.house(r)
	for i := range r.watches {
		if !r.watches[i].Tree {
			f.armWatch(r, &r.watches[i], nil, true)
		}
	}
}

// rehouse does so when the list of accounts changed.
func (f *Files) rehouse(r *root, by *bollwerk.Process) {
	if !r.rearms.take(time.Now()) {
		r.over++
		return
	}
	for i := f.house(r); i < len(r.watches); i++ {
		f.armWatch(r, &r.watches[i], by, false)
	}
}

// near reports whether a folder is among the first that are marked of a tree.
func near(tree, name string) bool {
	rest, ok := strings.CutPrefix(name, tree+"/")
	return ok && strings.Count(rest, "/") < 2
}

// passwdMost is how much of a list of accounts is read.
const passwdMost = 64 << 10

// house puts the homes of a root's accounts on its list, and returns how long the list was
// without them.
func (f *Files) house(r *root) (others int) {
	others = len(f.Watches)
	r.watches = f.Watches[:others:others]
	b, err := r.read("/etc/passwd", passwdMost)
	if err != nil {
		return others
	}
	for _, home := range homesOf(string(b)) {
		if slices.ContainsFunc(r.watches[:others], func(w Watch) bool { return w.Tree && w.Where == r.where && near(w.Path, home) }) {
			continue // found there with the tree, at no further cost
		}
		r.watches = append(r.watches, Watch{Path: path.Join(home, ".ssh")}, Watch{Path: path.Join(home, ".ssh/id_*"), Read: true})
	}
	return others
}

// read returns the beginning of a file. What a container puts there may be a fifo that never
// ends, a device that does something when it is opened, or of a file system whose owner
// lets everybody wait: only plain files of the kernel's own are read.
func (r *root) read(name string, most int64) ([]byte, error) {
	fd, err := r.open(name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || fs.Type == unix.FUSE_SUPER_MAGIC {
		return nil, fmt.Errorf("%s: no plain file", name)
	}
	f, err := os.Open(procFD(fd))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// plant marks the trees of a container. It takes several times as long as all else, and
// so waits until every container that began has the rest.
func (f *Files) plant(r *root) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.roots[r.cgroup] != r {
		return // gone meanwhile
	}
	defer r.begin()()
	for i := range r.watches {
		if r.watches[i].Tree {
			f.armWatch(r, &r.watches[i], nil, true)
		}
	}
	for _, v := range volumes(r.pid) {
		f.tree(r, v, nil, true)
	}
}

// volumes are the mounts of a process that hold data: not the root, not the kernel's own
// file systems, and not where everybody makes files all the time.
func volumes(pid uint32) []string {
	f, err := os.Open("/proc/" + strconv.Itoa(int(pid)) + "/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(io.LimitReader(f, 1<<20)); sc.Scan() && len(out) < treeVolumes; {
		left, right, ok := strings.Cut(sc.Text(), " - ")
		l := strings.Fields(left)
		if !ok || len(l) < 6 || l[4] == "/" {
			continue
		}
		switch kind, _, _ := strings.Cut(right, " "); kind {
		case "proc", "sysfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "mqueue", "debugfs", "tracefs", "securityfs", "bpf", "nsfs", "fuse", "nfs", "nfs4", "cifs":
			continue // the kernel's, or slow to ask and changed by other machines
		}
		name := unescape(l[4])
		if top, _, _ := strings.Cut(name[1:], "/"); top != "dev" && top != "proc" && top != "sys" && top != "run" && top != "tmp" {
			out = append(out, name)
		}
	}
	return out
}

// tree marks a folder and those below it, the nearest first; by as for armWatch.
func (f *Files) tree(r *root, dir string, by *bollwerk.Process, first bool) {
	most := treeMost
	if first {
		most = treeFirst
		r.trees = append(r.trees, dir)
	}
	for queue := []string{dir}; len(queue) > 0 && r.folders < most; queue = queue[1:] {
		at := queue[0]
		if path.Base(at) == ".ssh" && f.mark(r, at, placeDir) && !first {
			f.before(r, at, placeDir, by)
		}
		isNew := f.mark(r, at, placeTree)
		names, subs, err := r.list(at)
		if err != nil {
			continue
		}
		for _, name := range names {
			if full := path.Join(at, name); privateKey(full) {
				f.mark(r, full, placeRead)
			}
		}
		if isNew && !first {
			for i, name := range names {
				if i == newEntries {
					break
				}
				f.entry(unix.FAN_CREATE, place{root: r, path: at, kind: placeTree}, path.Join(at, name), r.filler(by, path.Join(at, name)))
			}
		}
		for _, name := range subs {
			if !skipped(name) && len(queue) < treeMost {
				queue = append(queue, path.Join(at, name))
			}
		}
	}
}

// list is the names in a folder and those of its folders, at most globEntries in all.
func (r *root) list(dir string) (names, folders []string, err error) {
	fd, err := r.open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_NOFOLLOW)
	if err != nil {
		return nil, nil, err
	}
	d := os.NewFile(uintptr(fd), dir)
	defer d.Close()
	entries, _ := d.ReadDir(globEntries)
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, e.Name())
		} else {
			names = append(names, e.Name())
		}
	}
	return names, folders, nil
}

// inTree reports whether a path lies in a folder whose folders are marked.
func (r *root) inTree(name string) bool {
	for _, t := range r.trees {
		if strings.HasPrefix(name, t) && (len(name) == len(t) || name[len(t)] == '/') {
			return !skipped(path.Base(name))
		}
	}
	return false
}

// armWatch does so for one watch; by is who made what appears, nil at the first time.
func (f *Files) armWatch(r *root, w *Watch, by *bollwerk.Process, first bool) {
	if w.Where != "" && w.Where != r.where {
		return
	}
	kind, name := placeDir, w.Path
	switch {
	case w.Name:
		kind, name = placeName, path.Dir(w.Path)
	case w.Read:
		kind = placeRead
	case w.Executable:
		kind = placeExec
	case w.Tree:
		kind = placeTree
	}
	var rest []string
	if name != "/" {
		rest = strings.Split(strings.Trim(name, "/"), "/")
	}
	f.descend(r, "/", rest, kind, by, first)
}

// descend follows the elements of a pattern from a folder that is there.
func (f *Files) descend(r *root, dir string, rest []string, kind placeKind, by *bollwerk.Process, first bool) {
	if len(rest) == 0 && kind == placeTree {
		f.tree(r, dir, by, first)
		return
	}
	if len(rest) == 0 {
		if f.mark(r, dir, kind) && !first && kind != placeRead {
			f.before(r, dir, kind, by)
		}
		return
	}
	next := rest[0]
	if !strings.Contains(next, "*") {
		name := path.Join(dir, next)
		if r.exists(name) {
			f.descend(r, name, rest[1:], kind, by, first)
			return
		}
		// What is made in a new folder before it is marked is not told by the mark.
		if f.looked != nil {
			f.looked(name)
		}
		if f.mark(r, dir, placeWay) && !first && r.exists(name) {
			f.descend(r, name, rest[1:], kind, by, first)
		}
		return
	}
	f.mark(r, dir, placeWay)
	names, err := r.names(dir)
	if err != nil && !errors.Is(err, errTooMany) {
		return
	}
	n, most := 0, globMatches
	if r.where == "host" {
		most = hostMatches
	}
	for _, name := range names {
		if !matchElement(next, name) {
			continue
		}
		if n++; n > most {
			err = errTooMany
			break
		}
		full := path.Join(dir, name)
		st, _, ok := r.stat(full)
		if !ok || (len(rest) > 1 || kind != placeRead) && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		f.descend(r, full, rest[1:], kind, by, first)
	}
	if errors.Is(err, errTooMany) && first {
		f.lost("map", r.cgroup, 1)
	}
}

// filler is who put something into a folder that by made: what makes nothing but folders did
// not, but was most likely started by the same shell.
func (r *root) filler(by *bollwerk.Process, what string) *bollwerk.Process {
	if by == nil {
		return nil
	}
	name := path.Base(by.Path)
	if name == "busybox" && len(by.Args) > 0 {
		if name = path.Base(by.Args[0]); name == "busybox" && len(by.Args) > 1 {
			name = by.Args[1]
		}
	}
	up := by.Inside()
	if name != "mkdir" || up == nil {
		return by
	}
	if st, _, ok := r.stat(what); ok && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return by
	}
	return up
}

// before tells of entries that were made in a new folder before it was marked.
func (f *Files) before(r *root, dir string, kind placeKind, by *bollwerk.Process) {
	names, _ := r.names(dir)
	for i, name := range names {
		if i == newEntries {
			f.lost("map", r.cgroup, uint64(len(names)-i))
			return
		}
		f.entry(unix.FAN_CREATE, place{root: r, path: dir, kind: kind}, path.Join(dir, name), r.filler(by, path.Join(dir, name)))
	}
}

// mark puts a mark on one inode and remembers what it is; new says that it was not yet
// marked for this.
func (f *Files) mark(r *root, name string, kind placeKind) (isNew bool) {
	if r.pass != nil {
		this := passMark{name, kind}
		if r.pass.marked[this] {
			return false
		}
		r.pass.marked[this] = true
	}
	fd, err := r.open(name, unix.O_PATH)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if kind == placeRead {
			return false
		}
	case unix.S_IFREG, unix.S_IFCHR, unix.S_IFBLK:
		if kind != placeRead {
			return false
		}
	default:
		return false
	}
	id, err := handleOf(fd)
	if err != nil || r.group == nil {
		f.markLegacy(r, fd, &st, kind)
		return false
	}
	all := f.places[id]
	for i := range all {
		if all[i].root != r || all[i].kind == placeRead != (kind == placeRead) {
			continue
		}
		if all[i].kind&kind != 0 || kind == placeExec && all[i].kind&placeDir != 0 {
			return false
		}
		if err := f.add(r, fd, kind); err == nil {
			isNew = all[i].kind == placeWay
			all[i].kind |= kind
		}
		return isNew
	}
	if len(all) == 0 && f.marked >= f.Marks {
		f.lost("map", r.cgroup, 1)
		return false
	}
	if err := f.add(r, fd, kind); err != nil {
		if len(r.refused) < 4 {
			r.refused = append(r.refused, err)
		}
		f.markLegacy(r, fd, &st, kind)
		return false
	}
	if len(all) == 0 {
		f.marked++
	}
	f.places[id] = append(all, place{root: r, path: name, kind: kind})
	if kind == placeTree {
		r.folders++
	}
	return true
}

func (f *Files) add(r *root, fd int, kind placeKind) error {
	const dir = unix.FAN_EVENT_ON_CHILD | unix.FAN_ONDIR
	var mask uint64
	switch kind {
	case placeRead:
		mask = unix.FAN_OPEN | unix.FAN_CLOSE_WRITE | unix.FAN_ATTRIB | unix.FAN_DELETE_SELF
	case placeDir, placeName:
		mask = f.entries | dir
	case placeExec:
		mask = f.entries&^unix.FAN_DELETE | dir
	case placeTree: // nothing that is asked at each open or write of a file
		mask = f.entries&^(unix.FAN_ATTRIB|unix.FAN_CLOSE_WRITE) | unix.FAN_ONDIR
	case placeWay:
		mask = f.entries&^(unix.FAN_DELETE|unix.FAN_ATTRIB|unix.FAN_CLOSE_WRITE) | unix.FAN_ONDIR
	}
	var err error = unix.EACCES
	if kind != placeRead { // a folder names itself, which is half the work of a link of /proc
		err = unix.FanotifyMark(r.group.fd, unix.FAN_MARK_ADD, mask, fd, ".")
	}
	if err != nil {
		err = unix.FanotifyMark(r.group.fd, unix.FAN_MARK_ADD, mask, unix.AT_FDCWD, procFD(fd))
	}
	if errors.Is(err, unix.EINVAL) && f.entries&unix.FAN_RENAME != 0 {
		// Before 5.17 a rename is told in two halves.
		f.entries = f.entries&^unix.FAN_RENAME | unix.FAN_MOVED_FROM | unix.FAN_MOVED_TO
		return f.add(r, fd, kind)
	}
	return err
}

// markLegacy watches reads and writes where file handles are not to be had (overlayfs
// before 6.6, tmpfs before 5.13).
func (f *Files) markLegacy(r *root, fd int, st *unix.Stat_t, kind placeKind) {
	mask := uint64(unix.FAN_CLOSE_WRITE)
	switch kind {
	case placeRead:
		mask |= unix.FAN_OPEN
	case placeDir:
		mask |= unix.FAN_EVENT_ON_CHILD
	default:
		return
	}
	this := inode{st.Dev, st.Ino}
	if f.legacy == nil || r.legacy[this] {
		return
	}
	if f.marked >= f.Marks {
		f.lost("map", r.cgroup, 1)
		return
	}
	if unix.FanotifyMark(f.legacy.fd, unix.FAN_MARK_ADD, mask, unix.AT_FDCWD, procFD(fd)) == nil {
		if r.legacy == nil {
			r.legacy = map[inode]bool{}
		}
		r.legacy[this] = true
		f.marked++
	}
}
