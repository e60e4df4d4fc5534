package workload

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ends watches the folders above the cgroups at which containers begin: the kernel tells
// there (inotify, IN_DELETE, in trees of v1 and v2 alike) that one was removed, at once
// and without a look at each of them from time to time. It tells nothing in the removed
// folder itself (kernfs sends no IN_DELETE_SELF).
//
// A watch keeps its folder in memory, so it ends with the last container below. Where
// there is none (fs.inotify.max_user_watches is reached) the sweep finds the end later.
// Guarded by Resolver.mu.
type ends struct {
	fd    int // -1 while nothing is watched
	above map[string]*above
	byWD  map[int32]*above
}

// above is a folder with containers directly below it.
type above struct {
	dir    string
	wd     int32
	bodies map[string][]*body // by the name of their folder
}

// watchEnds tells of removed cgroups until ctx is done.
func (r *Resolver) watchEnds(ctx context.Context) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		r.config.Log.Warn("the end of containers is told late", "error", err)
		return
	}
	f := os.NewFile(uintptr(fd), "inotify")
	r.mu.Lock()
	r.ends = ends{fd, map[string]*above{}, map[int32]*above{}}
	for _, b := range r.bodies {
		r.watchEnd(b)
	}
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.ends = ends{fd: -1}
		r.mu.Unlock()
		_ = f.Close()
	}()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 16<<10)
	for {
		n, err := f.Read(buf)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			r.config.Log.Warn("the end of containers is told late", "error", err)
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := int(binary.NativeEndian.Uint32(b[12:]))
			if len(b) < unix.SizeofInotifyEvent+size {
				break
			}
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
			b = b[unix.SizeofInotifyEvent+size:]
			if mask&unix.IN_Q_OVERFLOW != 0 {
				r.Sweep()
				continue
			}
			if mask&unix.IN_DELETE != 0 {
				r.removed(wd, name)
			}
		}
	}
}

// removed ends what began at a folder that is gone.
func (r *Resolver) removed(wd int32, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.ends.byWD[wd]
	if a == nil {
		return
	}
	for _, b := range append([]*body(nil), a.bodies[name]...) {
		if !r.h.Has(b.path, b.key.cgroup) {
			r.end(b)
		}
	}
}

// end notes that a workload's cgroup is gone, and has it told. r.mu is held.
func (r *Resolver) end(b *body) {
	r.unwatchEnd(b)
	if !b.gone.IsZero() || b == r.host {
		return
	}
	b.gone = r.config.Now()
	r.tellEnd(b)
}

// tellEnd has it told once that a container ended. r.mu is held.
func (r *Resolver) tellEnd(b *body) {
	if r.config.Ended != nil && b.key.id != "" && !b.early && !b.told {
		b.told = true
		r.ended = append(r.ended, b)
		select {
		case r.signal <- struct{}{}:
		default:
		}
	}
}

// watchEnd has the end of a container told. r.mu is held.
func (r *Resolver) watchEnd(b *body) {
	if r.ends.fd < 0 || b.key.id == "" || b.early || b.watched != nil || !b.gone.IsZero() || b.key.cgroup == 0 {
		return
	}
	if at := r.h.Folder(b.path, b.key.cgroup); at != "" {
		dir, name := filepath.Split(at)
		a := r.ends.above[dir]
		if a == nil {
			wd, err := unix.InotifyAddWatch(r.ends.fd, dir, unix.IN_DELETE|unix.IN_ONLYDIR)
			if err != nil {
				return // the sweep will find it
			}
			a = &above{dir, int32(wd), map[string][]*body{}}
			r.ends.above[dir], r.ends.byWD[a.wd] = a, a
		}
		a.bodies[name] = append(a.bodies[name], b)
		b.watched = a
	}
	// It may have ended before it was watched. Who it was is still asked for a while.
	if !r.h.Has(b.path, b.key.cgroup) {
		r.unwatchEnd(b)
		r.tellEnd(b)
	}
}

// unwatchEnd takes that back. r.mu is held.
func (r *Resolver) unwatchEnd(b *body) {
	a := b.watched
	if a == nil {
		return
	}
	b.watched = nil
	if r.ends.above[a.dir] != a {
		return // of a Run before
	}
	name := filepath.Base(b.path)
	list := a.bodies[name]
	for i := range list {
		if list[i] == b {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) > 0 {
		a.bodies[name] = list
		return
	}
	delete(a.bodies, name)
	if len(a.bodies) == 0 {
		_, _ = unix.InotifyRmWatch(r.ends.fd, uint32(a.wd))
		delete(r.ends.above, a.dir)
		delete(r.ends.byWD, a.wd)
	}
}
