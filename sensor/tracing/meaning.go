package tracing

import (
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
)

// What a notice means: which path, of which root, and what is told of it.

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

// whose is p, or, where nothing but its PID is known any more, somebody of the one
// container that the file of the handle stands in.
func (f *Files) whose(p *bollwerk.Process, id handle) *bollwerk.Process {
	all := f.places[id]
	if p == nil || p.MountNS != 0 || p.Cgroup != 0 || len(all) == 0 {
		return p
	}
	r := all[0].root
	if r.cgroup == 0 || slices.ContainsFunc(all, func(o place) bool { return o.root != r }) {
		return p
	}
	known := *p
	known.Cgroup, known.MountNS, known.Contained, known.Truncated = r.cgroup, r.mountNS, true, true
	return &known
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
		if pl, ok := f.at(i.id, p); ok && pl.kind&placeRead != 0 && f.tells(g, pl) {
			p = f.whose(p, i.id)
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
	if pl, ok := f.at(i.id, p); ok && pl.kind != placeRead && f.tells(g, pl) {
		f.entry(e.mask&^unix.FAN_OPEN, pl, path.Join("/", pl.path, i.name), f.whose(p, i.id))
	}
}

// tells reports whether a group is the one that tells of a place. A volume is marked for the host and
// for the container that has it: both groups hear of what the container does there.
func (f *Files) tells(g *group, pl place) bool { return pl.root.group == g || pl.root.group == nil }

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
		pl, p = at, f.whose(p, i.id)
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
