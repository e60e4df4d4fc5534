// Package workloadtest is what every source of workloads has to pass, and real
// runtimes to try it on: started with folders and sockets of their own, ended after
// the test, without touching what runs on the machine.
package workloadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/workload"
)

// Program finds a program a test cannot do without. Where the tests must be complete
// (CI=true) a missing one is a failure.
func Program(t testing.TB, name, debianPackage string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err == nil && os.Getuid() != 0 {
		err = errors.New("it needs root")
	}
	if err != nil {
		prerequisite.Missing(t, "%s (Debian package %s): %v", name, debianPackage, err)
	}
	return p
}

// Begin starts a program, waits until ready holds, and ends it after the test.
func Begin(t testing.TB, ready func() bool, env []string, name string, args ...string) (stop func()) {
	t.Helper()
	var out lockedBuffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			_ = cmd.Process.Signal(os.Interrupt)
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				_ = cmd.Process.Kill()
				<-ended
			}
		})
	}
	t.Cleanup(stop)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for !ready() {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", name, err, out.String())
		case <-deadline:
			t.Fatalf("%s is not ready after a minute\n%s", name, out.String())
		case <-tick.C:
		}
	}
	return stop
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.Len() > 1<<20 {
		return len(p), nil
	}
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Command runs a program to its end and returns what it wrote.
func Command(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	out, err := Try(env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// Try is Command for what may fail.
func Try(env []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	// Into a file: a pipe would stay open as long as a container that inherited it.
	f, err := os.CreateTemp("", "bw-out-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	err = cmd.Run()
	if _, e := f.Seek(0, io.SeekStart); e != nil {
		return "", e
	}
	b, _ := io.ReadAll(io.LimitReader(f, 1<<20))
	return strings.TrimSpace(string(b)), err
}

// Eventually waits until a condition holds, at most half a minute.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not after half a minute: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Short makes a folder with a short path: that of a Unix socket has 108 bytes at most.
func Short(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Monitors of containers tidy up after them, in here.
		Eventually(t, "no process uses "+dir, func() bool { return !used(dir) })
		// What a runtime left mounted must not be emptied through the mount.
		b, _ := os.ReadFile("/proc/self/mounts")
		lines := strings.Split(string(b), "\n")
		for i := len(lines) - 1; i >= 0; i-- {
			if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[1], dir+"/") {
				_ = syscall.Unmount(f[1], syscall.MNT_DETACH)
			}
		}
		os.RemoveAll(dir)
	})
	return dir
}

// used reports whether the command line of a process speaks of dir.
func used(dir string) bool {
	list, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range list {
		if b, err := os.ReadFile(p); err == nil && bytes.Contains(b, []byte(dir)) {
			return true
		}
	}
	return false
}

// Parent is a cgroup above those of a test's containers, removed after the test from
// every tree. name is one folder below the root.
func Parent(t testing.TB, name string) {
	t.Cleanup(func() {
		trees, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
		for _, dir := range append(trees, "/sys/fs/cgroup/"+name) {
			var dirs []string
			_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, p)
				}
				return nil
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				_ = syscall.Rmdir(dirs[i])
			}
		}
	})
}

// Rootfs makes a root file system of busybox in dir.
func Rootfs(t testing.TB, dir string) {
	t.Helper()
	busybox := Program(t, "busybox", "busybox-static")
	for _, d := range []string{"bin", "proc", "sys", "dev", "tmp", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"sh", "sleep", "true", "cat"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", n)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
}

// Runc is runc with a state folder of its own.
type Runc struct {
	t       testing.TB
	program string
	State   string
	dir     string
}

// NewRunc finds runc; nothing is started.
func NewRunc(t testing.TB) *Runc {
	t.Helper()
	r := &Runc{t: t, program: Program(t, "runc", "runc"), dir: Short(t)}
	r.State = filepath.Join(r.dir, "state")
	Rootfs(t, filepath.Join(r.dir, "rootfs"))
	if err := os.MkdirAll(r.State, 0o700); err != nil {
		t.Fatal(err)
	}
	return r
}

// Bundle makes a bundle whose config.json is runc's own with changes by edit.
func (r *Runc) Bundle(id string, edit func(spec map[string]any)) string {
	r.t.Helper()
	dir := filepath.Join(r.dir, "bundles", id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Fatal(err)
	}
	Command(r.t, nil, r.program, "spec", "--bundle", dir)
	file := filepath.Join(dir, "config.json")
	b, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		r.t.Fatal(err)
	}
	spec["root"] = map[string]any{"path": filepath.Join(r.dir, "rootfs"), "readonly": true}
	spec["process"].(map[string]any)["terminal"] = false
	if edit != nil {
		edit(spec)
	}
	if b, err = json.Marshal(spec); err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return dir
}

// Start runs a container in the background and removes it after the test. It returns
// the number of its first process.
func (r *Runc) Start(id string, edit func(map[string]any)) uint32 {
	r.t.Helper()
	dir := r.Bundle(id, edit)
	r.t.Cleanup(func() { r.Delete(id) })
	Command(r.t, nil, r.program, "--root", r.State, "run", "--detach", "--bundle", dir, id)
	var s struct {
		PID uint32 `json:"pid"`
	}
	if err := json.Unmarshal([]byte(Command(r.t, nil, r.program, "--root", r.State, "state", id)), &s); err != nil {
		r.t.Fatal(err)
	}
	return s.PID
}

// Run runs a container to its end.
func (r *Runc) Run(id string, edit func(map[string]any)) {
	r.t.Helper()
	dir := r.Bundle(id, edit)
	Command(r.t, nil, r.program, "--root", r.State, "run", "--bundle", dir, id)
}

// Delete ends a container, if it is there.
func (r *Runc) Delete(id string) {
	_, _ = Try(nil, r.program, "--root", r.State, "delete", "--force", id)
}

// Args returns an edit that sets the program of a container.
func Args(args ...string) func(map[string]any) {
	return func(spec map[string]any) { spec["process"].(map[string]any)["args"] = args }
}

// Containerd is a daemon of its own.
type Containerd struct {
	t                   testing.TB
	ctr                 string
	State, Socket, Root string
	Stop                func()
}

// NewContainerd starts containerd without Kubernetes' plug-in.
func NewContainerd(t testing.TB) *Containerd { return newContainerd(t, "") }

// NewCRI starts containerd with Kubernetes' plug-in and an image for the sandboxes.
func NewCRI(t testing.TB, sandbox string) *Containerd { return newContainerd(t, sandbox) }

func newContainerd(t testing.TB, sandbox string) *Containerd {
	t.Helper()
	containerd := Program(t, "containerd", "containerd")
	c := &Containerd{t: t, ctr: Program(t, "ctr", "containerd")}
	dir := Short(t)
	c.Root, c.State = filepath.Join(dir, "root"), filepath.Join(dir, "state")
	c.Socket = filepath.Join(c.State, "containerd.sock")
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n",
		c.Root, c.State, c.Socket, c.Socket+".ttrpc")
	if sandbox != "" {
		text = strings.Replace(text, `"io.containerd.grpc.v1.cri", `, "", 1) + fmt.Sprintf(
			"[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = %q\nrestrict_oom_score_adj = true\ndisable_apparmor = true\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = %q\n",
			sandbox, filepath.Join(dir, "cni"))
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c.Stop = Begin(t, func() bool {
		_, err := Try(nil, c.ctr, "-a", c.Socket, "version")
		return err == nil
	}, nil, containerd, "--config", config)
	return c
}

// Ctr runs ctr in a namespace.
func (c *Containerd) Ctr(namespace string, args ...string) string {
	c.t.Helper()
	return Command(c.t, nil, c.ctr, append([]string{"-a", c.Socket, "-n", namespace}, args...)...)
}

// Remove kills and deletes a container and waits for its end.
func (c *Containerd) Remove(namespace, id string) {
	_, _ = Try(nil, c.ctr, "-a", c.Socket, "-n", namespace, "tasks", "kill", "-s", "KILL", id)
	Eventually(c.t, "the task of "+id+" is gone", func() bool {
		_, _ = Try(nil, c.ctr, "-a", c.Socket, "-n", namespace, "tasks", "delete", id)
		_, err := os.Stat(filepath.Join(c.State, "io.containerd.runtime.v2.task", namespace, id))
		return err != nil
	})
	_, _ = Try(nil, c.ctr, "-a", c.Socket, "-n", namespace, "containers", "delete", id)
}

// Reachable reports whether somebody listens on a Unix socket.
func Reachable(socket string) func() bool {
	return func() bool {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
}

// Hang listens on a Unix socket, accepts, and never answers.
func Hang(t testing.TB, socket string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
}

// Cgroup returns the path and id of the cgroup of a process.
func Cgroup(t testing.TB, h *cgroup.Hierarchy, pid uint32) (string, uint64) {
	t.Helper()
	path, err := h.Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	id, err := h.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, id
}

// Host returns the hierarchy of this machine.
func Host(t testing.TB) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Detect("", "")
	if err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	return h
}

// Resolver runs a resolver over sources until the end of the test.
func Resolver(t testing.TB, c workload.Config, sources ...workload.Source) *workload.Resolver {
	t.Helper()
	r, err := workload.New(c, sources...)
	if err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// Contract is what every source has to do with a container it has (want: the least it
// must know) and with those it has not.
func Contract(t *testing.T, s workload.Source, have workload.Ref, want bollwerk.Container) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if s.Name() == "" {
		t.Error("the source has no name")
	}
	check := func(how string, f workload.Found) {
		t.Helper()
		c := f.Container
		if c.ID != have.ID {
			t.Errorf("%s: container %q, want %q", how, c.ID, have.ID)
		}
		for _, p := range []struct{ what, got, want string }{
			{"name", c.Name, want.Name}, {"runtime", c.Runtime, want.Runtime}, {"image", c.Image, want.Image},
			{"digest", string(c.Digest), string(want.Digest)}, {"program", strings.Join(c.Entrypoint, " "), strings.Join(want.Entrypoint, " ")},
		} {
			if p.want != "" && p.got != p.want {
				t.Errorf("%s: %s %q, want %q", how, p.what, p.got, p.want)
			}
		}
		for k, v := range want.Labels {
			if c.Labels[k] != v {
				t.Errorf("%s: label %s is %q, want %q", how, k, c.Labels[k], v)
			}
		}
		if fmt.Sprint(want.Ports) != "[]" && fmt.Sprint(c.Ports) != fmt.Sprint(want.Ports) {
			t.Errorf("%s: ports %v, want %v", how, c.Ports, want.Ports)
		}
	}
	f, err := s.Lookup(ctx, have)
	if err != nil {
		t.Fatalf("Lookup: %v", err)
	}
	check("Lookup", f)
	if f.More != "" {
		t.Errorf("after Lookup %q is still missing", f.More)
	}
	list, err := s.List(ctx)
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	found := false
	for _, f := range list {
		if f.Container.ID == have.ID {
			found = true
			check("List", f)
		}
	}
	if !found {
		t.Errorf("List has not %s among %d", have.ID, len(list))
	}
	for _, id := range []string{"no-such-container", "../../etc", "", ".", "a/b", strings.Repeat("f", 64), "x\x00y"} {
		ref := workload.Ref{ID: id, Runtime: have.Runtime}
		if f, err := s.Local(ref); !errors.Is(err, workload.ErrUnknown) {
			t.Errorf("Local of %q: %+v, %v; want ErrUnknown", id, f.Container, err)
		}
		if f, err := s.Lookup(ctx, ref); !errors.Is(err, workload.ErrUnknown) && !errors.Is(err, workload.ErrAbsent) {
			t.Errorf("Lookup of %q: %+v, %v; want ErrUnknown", id, f.Container, err)
		}
	}
	over, stop := context.WithCancel(context.Background())
	stop()
	began := time.Now()
	_, _ = s.Lookup(over, have)
	_, _ = s.List(over)
	if err := s.Watch(over, func(workload.Found) {}); err != nil && !errors.Is(err, workload.ErrAbsent) && !errors.Is(err, context.Canceled) {
		t.Errorf("Watch of what is over: %v", err)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("a context that is over was obeyed after %s", d)
	}
	// Watch tells of what is there.
	again, stop := context.WithCancel(ctx)
	defer stop()
	told := make(chan workload.Found, 1024)
	done := make(chan error, 1)
	go func() {
		done <- s.Watch(again, func(f workload.Found) {
			select {
			case told <- f:
			default:
			}
		})
	}()
	for seen := false; !seen; {
		select {
		case f := <-told:
			if f.Container.ID == have.ID {
				check("Watch", mergeWatch(f, want))
				seen = true
			}
		case err := <-done:
			t.Fatalf("Watch ended: %v", err)
		case <-ctx.Done():
			t.Fatalf("Watch did not tell of %s", have.ID)
		}
	}
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Watch: %v", err)
	}
}

// mergeWatch lets a watch leave open what only Lookup tells (Found.More).
func mergeWatch(f workload.Found, want bollwerk.Container) workload.Found {
	if f.More == "" {
		return f
	}
	c := &f.Container
	if c.Name == "" {
		c.Name = want.Name
	}
	if c.Image == "" {
		c.Image = want.Image
	}
	if c.Digest == "" {
		c.Digest = want.Digest
	}
	c.Labels, c.Ports = want.Labels, want.Ports
	return f
}

// RSS returns the resident memory of a process in bytes.
func RSS(t testing.TB, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b))
	n, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n * int64(os.Getpagesize())
}
