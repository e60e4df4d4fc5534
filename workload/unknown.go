package workload

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bollwerk/bollwerk"
)

const (
	unknownID  = "?"         // no runtime takes such an id
	lookAgain  = time.Second // between two looks at a cgroup that is not a container's
	mostLooked = 256         // members of a cgroup that are looked at
	mostNested = 16          // folders above
)

// MayBeContainer reports whether Contained would look at the cgroup: whether it counts as
// the host's, and was not looked at a moment ago for a process that has the host's PIDs, or
// has not.
func (r *Resolver) MayBeContainer(id uint64, hostPIDs bool) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	e := r.cgroups[id]
	return e != nil && e.body == r.host && e.mayLook(hostPIDs, r.config.Now())
}

// mayLook reports whether the last look was long enough ago. What makes a container has the
// host's PIDs for a moment, and the host's root: that look must not stand for what comes of it.
func (e *entry) mayLook(hostPIDs bool, now time.Time) bool {
	if hostPIDs {
		return now.Sub(time.Unix(0, e.lookedPIDs.Load())).Abs() >= lookAgain/10
	}
	return now.Sub(time.Unix(0, e.looked.Load())).Abs() >= lookAgain
}

// Contained returns the workload of a cgroup in which a process runs that does not share
// the mount namespace of the host, and either not its PIDs or not its root. Where nothing names a container or unit,
// and nobody of the host is in that cgroup, it is a container of a runtime that is not
// known here, and is called by its cgroup. Cgroups below it belong to it, whatever they
// are called. A runtime that names it later is believed.
//
// Processes with namespaces of their own in a unit, or in a cgroup they share with the
// host (a browser's sandbox, unshare in a shell), are no container: no policy could hold
// them without holding others. Nor is what has the host's PIDs and the host's root, with
// mounts of its own: so does whoever hides a folder from himself.
func (r *Resolver) Contained(id uint64, path string, pid uint32) *bollwerk.Workload {
	b := r.lookup(id, path, pid)
	if b != r.host {
		return b.value.Load()
	}
	r.mu.RLock()
	e := r.cgroups[id]
	r.mu.RUnlock()
	now := r.config.Now()
	hostPID := r.sharesPIDs(pid)
	if e == nil || !e.mayLook(hostPID, now) {
		return b.value.Load()
	}
	if hostPID {
		e.lookedPIDs.Store(now.UnixNano())
		if !r.ownRoot(pid) {
			return b.value.Load()
		}
	} else {
		e.looked.Store(now.UnixNano())
	}
	if r.nested || !strings.HasPrefix(path, "/") {
		p, err := r.h.PathOf(id)
		if err != nil {
			return b.value.Load()
		}
		path = p
	}
	path = filepath.Clean(path)
	p := ParsePath(path)
	if path == "/" || len(path) > maxPath || p.Unit != "" || len(p.Containers) > 0 || strings.HasSuffix(path, ".slice") || r.sharedWithHost(path) {
		return b.value.Load()
	}
	name := cut(strings.TrimPrefix(path, "/"), maxName)
	u := &body{key: bodyKey{id: unknownID + path, cgroup: id}, path: path, began: now, done: make(chan struct{}), complete: true, unknown: true}
	u.value.Store(&bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: id, Node: r.config.Node,
		Container: &bollwerk.Container{ID: name, Name: name, Runtime: bollwerk.UnknownRuntime, PID: pid, HostPID: hostPID}})
	u.finish()
	r.mu.Lock()
	if now := r.cgroups[id]; now != e { // a runtime was faster
		r.mu.Unlock()
		return r.lookup(id, path, pid).value.Load()
	}
	defer r.mu.Unlock()
	// What is below was taken for the host's too.
	for n, o := range r.cgroups {
		if o.body == r.host && strings.HasPrefix(o.path, path+"/") {
			delete(r.cgroups, n)
		}
	}
	r.unknown[path] = u
	r.bodies[u.key] = u
	r.watchEnd(u)
	is := &entry{path: e.path, body: u}
	is.alt.Store(e.alt.Load())
	is.used.Store(r.clock.Add(1))
	r.cgroups[id] = is
	return u.value.Load()
}

// sharedWithHost reports whether a process of the host is in the cgroup at path, or
// directly in one above that is not the root.
func (r *Resolver) sharedWithHost(path string) bool {
	host := r.mountNamespace("1")
	if host == 0 {
		host = r.mountNamespace("self")
	}
	for _, t := range r.h.Trees() {
		b, err := ReadFile(filepath.Join(t, path, "cgroup.procs"), 1<<20)
		if err != nil {
			continue // not in this tree, or gone: then nobody of the host is left either
		}
		for i, pid := range strings.Fields(string(b)) {
			if i == mostLooked {
				return true // nothing that is known to be a container
			}
			if ns := r.mountNamespace(pid); ns == host && ns != 0 {
				return true
			}
		}
		return false // the first tree that has it is the one that counts
	}
	return false
}

// first is process 1 of the host, or this one where some kernels keep it from being looked at.
func (r *Resolver) first() string {
	if r.mountNamespace("1") != 0 {
		return "1"
	}
	return "self"
}

// sharesPIDs reports whether a process is in the PID namespace of the host.
func (r *Resolver) sharesPIDs(pid uint32) bool {
	var a, b syscall.Stat_t
	return pid != 0 && syscall.Stat(filepath.Join(r.h.Proc, strconv.FormatUint(uint64(pid), 10), "ns/pid"), &a) == nil &&
		syscall.Stat(filepath.Join(r.h.Proc, r.first(), "ns/pid"), &b) == nil && a.Ino == b.Ino
}

// ownRoot reports whether a process has another root folder than the host, by all that can be seen.
func (r *Resolver) ownRoot(pid uint32) bool {
	var a, b syscall.Stat_t
	return syscall.Stat(filepath.Join(r.h.Proc, strconv.FormatUint(uint64(pid), 10), "root")+"/", &a) == nil &&
		syscall.Stat(filepath.Join(r.h.Proc, r.first(), "root")+"/", &b) == nil && (a.Ino != b.Ino || a.Dev != b.Dev)
}

func (r *Resolver) mountNamespace(pid string) uint64 {
	if pid != "self" {
		if _, err := strconv.ParseUint(pid, 10, 32); err != nil {
			return 0
		}
	}
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(r.h.Proc, pid, "ns/mnt"), &st); err != nil {
		return 0
	}
	return st.Ino
}

// unknownAt returns the container of an unknown runtime that begins at path or above.
func (r *Resolver) unknownAt(path string) *body {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.unknown) == 0 {
		return nil
	}
	for n := 0; len(path) > 1 && n < mostNested; n++ {
		if b := r.unknown[path]; b != nil && b.gone.IsZero() && r.h.Has(b.path, b.key.cgroup) {
			return b
		}
		path = filepath.Dir(path)
	}
	return nil
}

// dropBody forgets a workload. r.mu is held.
func (r *Resolver) dropBody(b *body) {
	delete(r.bodies, b.key)
	r.unwatchEnd(b)
	if r.unknown[b.path] == b {
		delete(r.unknown, b.path)
	}
}
