package workload

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// cgroupOf makes a cgroup for a test in every tree that counts, as a runtime would.
func cgroupOf(t *testing.T, h *cgroup.Hierarchy, path string) {
	t.Helper()
	for _, tree := range h.Trees() {
		dir := filepath.Join(tree, path)
		if err := os.Mkdir(dir, 0o755); err != nil {
			prerequisite.Missing(t, "a cgroup cannot be made: %v", err)
		}
		t.Cleanup(func() {
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
					return
				}
			}
		})
	}
}

// inCgroup runs a program in a cgroup and returns the first line it printed. The program
// is named by its path: a shell of busybox would take one of its own.
func inCgroup(t *testing.T, h *cgroup.Hierarchy, path string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath(args[0])
	if err != nil {
		prerequisite.Missing(t, "%s is missing: %v", args[0], err)
	}
	args = append([]string{program}, args[1:]...)
	var enter strings.Builder
	for _, tree := range h.Trees() {
		fmt.Fprintf(&enter, "echo $$ > %s/cgroup.procs; ", filepath.Join(tree, path))
	}
	cmd := exec.Command("sh", append([]string{"-ec", enter.String() + `exec "$@"`, "sh"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return strings.TrimSpace(line)
}

// box are the arguments that run a script with namespaces of its own, as a home-made runtime does.
func box(script string) []string {
	return []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script}
}

// TestUnknownRuntime makes real containers of no runtime: a cgroup and namespaces.
func TestUnknownRuntime(t *testing.T) {
	h := host(t)
	prerequisite.Root(t)
	name := fmt.Sprintf("bollwerk-box-%d", os.Getpid())
	cgroupOf(t, h, "/"+name)
	inCgroup(t, h, "/"+name, box("echo up; exec sleep 60")...)
	s := &fake{name: "docker"}
	changes := make(chan change, 4)
	r := run(t, Config{Changed: func(a, b *bollwerk.Workload) { changes <- change{a, b} }}, s)
	id, err := h.ID("/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if w := r.Resolve(context.Background(), id, "/"+name, 0); w.Kind != bollwerk.WorkloadHost {
		t.Fatalf("nothing is known of a container yet: %+v", w)
	}
	pid := member(t, h, "/"+name)
	w := r.Contained(id, "/"+name, pid)
	if w.Kind != bollwerk.WorkloadContainer || w.Cgroup != id || w.Container.Runtime != bollwerk.UnknownRuntime || w.Key() != "container unknown/"+name || w.Container.PID != pid {
		t.Fatalf("%+v %+v", w, w.Container)
	}
	if got, over := r.Now(id, "/"+name, pid); got != w || !over {
		t.Errorf("the next event belongs to %+v", got)
	}
	// What it makes below itself is its own, whatever it is called.
	cgroupOf(t, h, "/"+name+"/docker-"+hexB+".scope")
	cgroupOf(t, h, "/"+name+"/ssh.service")
	for _, below := range []string{"/docker-" + hexB + ".scope", "/ssh.service"} {
		sub, err := h.ID("/" + name + below)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Resolve(context.Background(), sub, "/"+name+below, 0); got != w {
			t.Errorf("%s belongs to %s", below, got)
		}
	}
	if n := len(r.Workloads()); n != 1 {
		t.Errorf("%d workloads", n)
	}
	// A runtime that names it after all is believed.
	s.mu.Lock()
	s.local = has("box-1", Found{Container: bollwerk.Container{Name: "web"}, CgroupPath: "/" + name})
	s.mu.Unlock()
	r.learn(0, Found{Container: bollwerk.Container{ID: "box-1", Name: "web", Runtime: "docker"}, CgroupPath: "/" + name})
	// It is told without an event: the container may never do anything again.
	select {
	case c := <-changes:
		if c.before != w || c.after.Container == nil || c.after.Container.Name != "web" || c.after.Cgroup != id {
			t.Errorf("told as %+v, before %+v", c.after, c.before)
		}
	case <-time.After(time.Minute):
		t.Error("that a runtime names it is not told")
	}
	if got := r.Resolve(context.Background(), id, "/"+name, pid); got.Container == nil || got.Container.Name != "web" {
		t.Errorf("named by a runtime: %+v", got)
	}
	if n := len(r.Workloads()); n != 1 {
		t.Errorf("%d workloads after a runtime named it", n)
	}
}

// TestNamedInSteps: a runtime may write down a container before it says where that runs, or
// where nobody is told of it; it is believed all the same, without a further event.
func TestNamedInSteps(t *testing.T) {
	h := host(t)
	prerequisite.Root(t)
	changes := make(chan change, 4)
	s := &fake{name: "runc"}
	r := run(t, Config{Changed: func(a, b *bollwerk.Workload) { changes <- change{a, b} }}, s)
	for i, step := range []func(name, path string){
		func(name, path string) { r.learn(0, Found{Container: bollwerk.Container{ID: name}, CgroupPath: path}) },
		func(string, string) { r.Sweep() },
	} {
		name := fmt.Sprintf("bollwerk-steps-%d-%d", i, os.Getpid())
		path := "/" + name
		cgroupOf(t, h, path)
		inCgroup(t, h, path, box("echo up; exec sleep 60")...)
		id, err := h.ID(path)
		if err != nil {
			t.Fatal(err)
		}
		r.learn(0, Found{Container: bollwerk.Container{ID: name}}) // where it runs is not known
		w := r.Contained(id, path, member(t, h, path))
		if w.Container == nil || w.Container.Runtime != bollwerk.UnknownRuntime {
			t.Fatalf("%d: %+v", i, w)
		}
		s.mu.Lock()
		s.local = has(name, Found{Container: bollwerk.Container{Name: name, Runtime: "runc"}, CgroupPath: path})
		s.mu.Unlock()
		step(name, path)
		select {
		case c := <-changes:
			if c.before != w || c.after.Container == nil || c.after.Container.ID != name || c.after.Cgroup != id {
				t.Errorf("%d: told as %+v, before %+v", i, c.after, c.before)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%d: that a runtime names it is not told", i)
		}
	}
}

// TestNoUnknownRuntime: namespaces alone make no container of what the host shares.
func TestNoUnknownRuntime(t *testing.T) {
	h := host(t)
	prerequisite.Root(t)
	r := run(t, Config{})
	name := fmt.Sprintf("/bollwerk-shared-%d", os.Getpid())
	cgroupOf(t, h, name)
	inCgroup(t, h, name, "sh", "-c", "echo up; exec sleep 60") // of the host
	inCgroup(t, h, name, box("echo up; exec sleep 60")...)
	id, err := h.ID(name)
	if err != nil {
		t.Fatal(err)
	}
	if w := r.Contained(id, name, member(t, h, name)); w != r.Host() {
		t.Errorf("a cgroup with a process of the host is %+v", w)
	}
	root, err := h.ID("/")
	if err != nil {
		t.Fatal(err)
	}
	if w := r.Contained(root, "/", 1); w != r.Host() {
		t.Errorf("the root is %+v", w)
	}
	if w := r.Contained(1<<41, "/system.slice/ssh.service", 1); w.Kind != bollwerk.WorkloadUnit {
		t.Errorf("a sandbox of a unit is %+v", w)
	}
	if w := r.Contained(1<<41+1, "/user.slice", 1); w != r.Host() {
		t.Errorf("a slice is %+v", w)
	}
}

// TestUnknownRuntimeWithHostPIDs: a container of no runtime that has the host's PIDs is
// known by its root; what is only a part of that is the host's.
func TestUnknownRuntimeWithHostPIDs(t *testing.T) {
	h := host(t)
	prerequisite.Root(t)
	// Another root with the same files.
	room := t.TempDir()
	tmp := filepath.Join(room, "root")
	mount := func(what, at, kind, options string) {
		if err := unix.Mount(what, at, kind, 0, options); err != nil {
			prerequisite.Missing(t, "mount of %s: %v", kind, err)
		}
		t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
	}
	mount("tmpfs", room, "tmpfs", "")
	for _, d := range []string{"root", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(room, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount("overlay", tmp, "overlay", "lowerdir=/,upperdir="+room+"/upper,workdir="+room+"/work")
	r := run(t, Config{})
	const up = "echo up; exec sleep 60"
	for i, tt := range []struct {
		what      string
		args      []string
		container bool
	}{
		{"a container with the host's PIDs", []string{"unshare", "--mount", "--root=" + tmp, "sh", "-c", up}, true},
		{"a service with private mounts", []string{"unshare", "--mount", "sh", "-c", up}, false},
		{"a service that hid a folder", []string{"unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt; " + up}, false},
		{"a chroot", []string{"chroot", tmp, "sh", "-c", up}, false},
	} {
		name := fmt.Sprintf("/bollwerk-pids-%d-%d", os.Getpid(), i)
		cgroupOf(t, h, name)
		inCgroup(t, h, name, tt.args...)
		id, err := h.ID(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(h.Trees()[0], name, "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		var pid uint32
		if _, err := fmt.Sscan(string(b), &pid); err != nil {
			t.Fatal(err)
		}
		w := r.Contained(id, name, pid)
		if got := w.Kind == bollwerk.WorkloadContainer; got != tt.container {
			t.Errorf("%s is %+v", tt.what, w)
		} else if got && (!w.Container.HostPID || w.Container.Runtime != bollwerk.UnknownRuntime) {
			t.Errorf("%+v", w.Container)
		}
	}
	// The same in a unit, whatever its root is (RootDirectory=, snap, systemd-nspawn), is the unit's.
	if w := r.Contained(1<<41, "/system.slice/own-root.service", 1); w.Kind != bollwerk.WorkloadUnit {
		t.Errorf("%+v", w)
	}
}

// TestUnknownRuntimeAtItsStart: who makes a container has mounts of his own and the host's
// PIDs and root for a moment. That he is none must not hide, for a moment, what he makes.
func TestUnknownRuntimeAtItsStart(t *testing.T) {
	h := host(t)
	prerequisite.Root(t)
	r := run(t, Config{})
	name := fmt.Sprintf("/bollwerk-start-%d", os.Getpid())
	cgroupOf(t, h, name)
	inCgroup(t, h, name, box("echo up; exec sleep 60")...)
	id, err := h.ID(name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(h.Trees()[0], name, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	own, _ := os.Readlink("/proc/self/ns/pid")
	var outer, inner uint32
	for _, f := range strings.Fields(string(b)) {
		at := &inner
		if ns, _ := os.Readlink("/proc/" + f + "/ns/pid"); ns == own {
			at = &outer
		}
		_, _ = fmt.Sscan(f, at)
	}
	if outer == 0 || inner == 0 {
		t.Fatalf("%q", b)
	}
	if w := r.Contained(id, name, outer); w != r.Host() {
		t.Errorf("who makes it is %+v", w)
	}
	if w := r.Contained(id, name, inner); w.Kind != bollwerk.WorkloadContainer || w.Container.HostPID {
		t.Errorf("what was made is %+v", w)
	}
}

// member is a process of a cgroup that has a mount namespace of its own.
func member(t *testing.T, h *cgroup.Hierarchy, path string) uint32 {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.Trees()[0], path, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	own, _ := os.Readlink("/proc/self/ns/mnt")
	var found uint32
	for _, f := range strings.Fields(string(b)) {
		if ns, err := os.Readlink("/proc/" + f + "/ns/mnt"); err == nil && ns != own {
			_, _ = fmt.Sscan(f, &found)
		}
	}
	if found == 0 {
		t.Fatalf("nobody in %s: %q", path, b)
	}
	return found
}
