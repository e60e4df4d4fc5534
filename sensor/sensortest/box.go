package sensortest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
)

// Box is a container made by hand: an overlay of an image with busybox in it, its own
// mount, PID, UTS and IPC namespaces and a cgroup. It needs nothing but a kernel and a
// static busybox, so it also works in a virtual machine without a container runtime.
type Box struct {
	Dir   string // root of the container, seen from outside
	Upper string // what it wrote
	PID   uint32 // of its first process, a shell
	// Cgroup and CgroupPath as in sensor.Policy.
	Cgroup     uint64
	CgroupPath string

	in  io.WriteCloser
	out *bufio.Reader
	n   int
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %q: %w: %s", name, args, err, out)
	}
	return nil
}

// Image makes a folder with busybox under the names of its commands, and more files
// (path → content, executable).
func Image(t testing.TB, files map[string]string) string {
	t.Helper()
	prerequisite.Root(t)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		prerequisite.Missing(t, "needs a static busybox: %v", err)
	}
	dir := t.TempDir()
	for _, d := range []string{"bin", "usr/bin", "tmp", "proc", "dev/shm", "etc", "root", "var/tmp"} {
		must(t, os.MkdirAll(filepath.Join(dir, d), 0o755))
	}
	b, err := os.ReadFile(busybox)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "bin/busybox"), b, 0o755))
	for _, name := range []string{"cp", "chmod", "id", "ls", "cat", "echo", "true", "sleep", "nc", "env", "rm", "ln", "mount", "kill", "mkdir", "touch", "dd", "setsid", "nsenter"} {
		must(t, os.Symlink("busybox", filepath.Join(dir, "bin", name)))
	}
	// A shell of its own, so that its file name is that of a shell.
	must(t, os.WriteFile(filepath.Join(dir, "bin/sh"), b, 0o755))
	must(t, syscall.Mknod(filepath.Join(dir, "dev/null"), syscall.S_IFCHR|0o666, 1<<8|3))
	for name, content := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755))
	}
	return dir
}

// NewBox starts a container from an image.
func NewBox(t testing.TB, s *sensor.Sensor, image string) *Box {
	t.Helper()
	prerequisite.Root(t)
	b := &Box{}
	work := overlayRoom(t)
	b.Dir, b.Upper = filepath.Join(work, "merged"), filepath.Join(work, "upper")
	for _, d := range []string{b.Dir, b.Upper, filepath.Join(work, "work")} {
		must(t, os.Mkdir(d, 0o755))
	}
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", image, b.Upper, filepath.Join(work, "work"))
	if err := syscall.Mount("overlay", b.Dir, "overlay", 0, opts); err != nil {
		prerequisite.Missing(t, "cannot mount an overlay: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(b.Dir, syscall.MNT_DETACH)) })

	k := s.Kernel()
	if k.CgroupRoot == "" {
		prerequisite.Missing(t, "no cgroup tree is mounted")
	}
	// Inside a folder of the tests' own, so that the test's cgroup is never above it.
	b.CgroupPath = fmt.Sprintf("/bollwerk-test-%d/box-%s", os.Getpid(), filepath.Base(work))
	folder := filepath.Join(k.CgroupRoot, b.CgroupPath)
	must(t, os.MkdirAll(folder, 0o755))
	var st syscall.Stat_t
	must(t, syscall.Stat(folder, &st))
	b.Cgroup = st.Ino

	cmd := exec.Command("/bin/sh", "-s", "box")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/bin:/usr/bin", "TERM=dumb"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Chroot:     b.Dir, Setsid: true, Pdeathsig: syscall.SIGKILL,
	}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	cmd.Stderr = cmd.Stdout
	must(t, cmd.Start())
	b.in, b.out, b.PID = in, bufio.NewReader(out), uint32(cmd.Process.Pid)
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		drain(folder)
	})
	must(t, os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644))
	b.Sh(t, "mount -t proc proc /proc; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /tmp")
	return b
}

// overlayRoom is a folder that can be the upper side of an overlay: not itself on one.
func overlayRoom(t testing.TB) string {
	dir := t.TempDir()
	var st syscall.Statfs_t
	if syscall.Statfs(dir, &st) == nil && (st.Type == 0x794c7630 || st.Type == 0x858458f6) { // overlay, ramfs
		must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, ""))
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	}
	return dir
}

// drain removes a cgroup as soon as its last process is gone.
func drain(folder string) {
	for range 1000 {
		if err := os.Remove(folder); err == nil || os.IsNotExist(err) {
			break
		}
		// What is left are children of the killed shell: the kernel ends them with their
		// PID namespace.
		_ = exec.Command("/bin/true").Run()
	}
	_ = os.Remove(filepath.Dir(folder))
}

// Sh runs a piece of shell in the container and returns what it said and its code; a
// process ended by a signal has 128 + signal.
func (b *Box) Sh(t testing.TB, script string) (string, int) {
	t.Helper()
	b.n++
	mark := fmt.Sprintf("done-%d-%d", os.Getpid(), b.n)
	if _, err := fmt.Fprintf(b.in, "%s\nrc=$?; echo; echo %s-$rc\n", script, mark); err != nil {
		t.Fatalf("box: %v", err)
	}
	var out strings.Builder
	for {
		line, err := b.out.ReadString('\n')
		if err != nil {
			t.Fatalf("box: %q: %v; it said %q", script, err, out.String()+line)
		}
		if code, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), mark+"-"); ok {
			n, err := strconv.Atoi(code)
			must(t, err)
			return strings.TrimSuffix(out.String(), "\n"), n
		}
		out.WriteString(line)
	}
}

// Policy for this container.
func (b *Box) Policy(enforce, report sensor.Guard) *sensor.Policy {
	return &sensor.Policy{Cgroup: b.Cgroup, CgroupPath: b.CgroupPath, PID: b.PID, Enforce: enforce, Report: report}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
