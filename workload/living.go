package workload

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
)

const (
	mostFolders   = 256 // of one container that are looked into
	mostProcesses = 64  // of one container whose namespaces are looked at
)

// Lives reports whether the cgroup at which a workload begins is still there, and whether a
// process is in it or below. What cannot be looked at counts as populated.
func (r *Resolver) Lives(w *bollwerk.Workload) (exists, populated bool) {
	dir := r.folder(w)
	if dir == "" {
		return false, false
	}
	populated = true
	if b, err := os.ReadFile(filepath.Join(dir, "cgroup.events")); err == nil { // v2 keeps count of all below
		populated = !strings.Contains("\n"+string(b), "\npopulated 0\n")
	} else if errors.Is(err, os.ErrNotExist) {
		populated = !processes(dir, func(string) bool { return false })
	}
	if _, err := os.Lstat(dir); err != nil {
		return false, false
	}
	return true, populated
}

// Living is the workload with a process that lives and is inside of it. A container that
// was started again under its number may still be known by the process it had before.
// Without one it is the workload as it was.
func (r *Resolver) Living(w *bollwerk.Workload) *bollwerk.Workload {
	if w == nil || w.Container == nil {
		return w
	}
	dir := r.folder(w)
	if dir == "" {
		return w
	}
	// The container runtime's own process, before it went inside, is none of the container.
	host := r.mountNamespace("1")
	if host == 0 {
		host = r.mountNamespace("self")
	}
	known := strconv.FormatUint(uint64(w.Container.PID), 10)
	found, n, still := "", 0, false
	processes(dir, func(pid string) bool {
		if still = pid == known; still {
			return false
		}
		if n++; found == "" && n <= mostProcesses {
			if ns := r.mountNamespace(pid); ns != 0 && ns != host {
				found = pid
			}
		}
		return true
	})
	pid, err := strconv.ParseUint(found, 10, 32)
	if still || err != nil {
		return w
	}
	now, c := *w, *w.Container
	c.PID = uint32(pid)
	now.Container = &c
	return &now
}

// folder is where the cgroup of a workload is in the tree it counts in, "" when it is gone.
func (r *Resolver) folder(w *bollwerk.Workload) string {
	if w == nil || w.Cgroup == 0 {
		return ""
	}
	paths := make([]string, 0, 2)
	if p, err := r.h.PathOf(w.Cgroup); err == nil {
		paths = append(paths, p)
	}
	r.mu.RLock()
	if e := r.cgroups[w.Cgroup]; e != nil && e.body.key.cgroup == w.Cgroup {
		paths = append(paths, e.body.path) // who may not open cgroups by their numbers
	}
	r.mu.RUnlock()
	for _, p := range paths {
		if dir := r.h.Folder(p, w.Cgroup); dir != "" {
			return dir
		}
	}
	return ""
}

// processes calls fn for each process in a folder of cgroups and below until it returns
// false, and reports whether it never did. Of very many folders the rest is left out, as if
// fn had returned false.
func processes(dir string, fn func(pid string) bool) bool {
	left := mostFolders
	var look func(dir string) bool
	look = func(dir string) bool {
		if left--; left < 0 {
			return false
		}
		b, err := ReadFile(filepath.Join(dir, "cgroup.procs"), 1<<20)
		if err != nil && !os.IsNotExist(err) {
			return false
		}
		for pid := range strings.FieldsSeq(string(b)) {
			if !fn(pid) {
				return false
			}
		}
		list, _ := os.ReadDir(dir)
		for _, e := range list {
			if e.IsDir() && !look(filepath.Join(dir, e.Name())) {
				return false
			}
		}
		return true
	}
	return look(dir)
}
