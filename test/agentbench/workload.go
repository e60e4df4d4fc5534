package main

import (
	"bufio"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

//go:embed worker/worker.c
var workerSource []byte

// compile makes the static program that does the measured work.
func compile(ctx context.Context, to string) error {
	cmd := exec.CommandContext(ctx, "cc", "-x", "c", "-O2", "-Wall", "-static", "-o", to, "-")
	cmd.Stdin = strings.NewReader(string(workerSource))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cc: %w: %s; a C compiler and a static C library are needed", err, out)
	}
	return nil
}

// child is a program as most are: linked when it starts. It does nothing.
type child struct {
	path      string
	libraries []string // that it needs, the linker among them
}

func compileChild(ctx context.Context, to string) (c child, err error) {
	c.path = to
	cmd := exec.CommandContext(ctx, "cc", "-x", "c", "-O2", "-o", to, "-")
	cmd.Stdin = strings.NewReader("int main(void) { return 0; }\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return c, fmt.Errorf("cc: %w: %s", err, out)
	}
	out, err := exec.CommandContext(ctx, "ldd", to).Output()
	if err != nil {
		return c, fmt.Errorf("ldd: %w", err)
	}
	for f := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(f, "/") {
			c.libraries = append(c.libraries, f)
		}
	}
	if len(c.libraries) == 0 {
		return c, fmt.Errorf("%s: needs no libraries: %s", to, out)
	}
	return c, nil
}

// workload is a running worker.
type workload struct {
	kind    string // "host" or "container"
	id      string // of the container
	pid     int
	program string // its own path, as it sees it
	child   string // that of a dynamically linked program
	file    string // something to open
	in      *os.File
	out     *bufio.Reader
	close   func()
}

// spent is what one command cost, in nanoseconds, and when it began (wall clock).
type spent struct{ cpu, elapsed, began int64 }

// do runs one command and waits for its end.
func (w *workload) do(command string, n int, args ...string) (spent, error) {
	if err := w.send(command, n, args...); err != nil {
		return spent{}, err
	}
	return w.receive()
}

func (w *workload) send(command string, n int, args ...string) error {
	_, err := fmt.Fprintf(w.in, "%s %d %s\n", command, n, strings.Join(args, " "))
	return err
}

func (w *workload) receive() (spent, error) {
	var s spent
	line, err := w.out.ReadString('\n')
	if err != nil {
		return s, fmt.Errorf("worker in %s: %w", w.kind, err)
	}
	if _, err := fmt.Sscan(line, &s.cpu, &s.elapsed, &s.began); err != nil {
		return s, fmt.Errorf("worker in %s: %s", w.kind, strings.TrimSpace(line))
	}
	return s, nil
}

// pipes for a child: it gets theirs, we keep ours.
type pipes struct{ theirIn, ourIn, ourOut, theirOut *os.File }

func newPipes() (*pipes, error) {
	p := &pipes{}
	var err error
	if p.theirIn, p.ourIn, err = os.Pipe(); err != nil {
		return nil, err
	}
	p.ourOut, p.theirOut, err = os.Pipe()
	return p, err
}

func (p *pipes) attach(w *workload) error {
	p.theirIn.Close()
	p.theirOut.Close()
	w.in, w.out = p.ourIn, bufio.NewReader(p.ourOut)
	end := w.close
	w.close = func() { p.ourIn.Close(); end(); p.ourOut.Close() }
	line, err := w.out.ReadString('\n')
	if err != nil || line != "ready\n" {
		w.close()
		return fmt.Errorf("worker in %s: it said %q: %w", w.kind, line, err)
	}
	return nil
}

// onHost starts a worker as a plain process.
func onHost(dir, worker string, c child) (*workload, error) {
	p, err := newPipes()
	if err != nil {
		return nil, err
	}
	w := &workload{kind: "host", program: worker, child: c.path, file: filepath.Join(dir, "some-file")}
	if err := os.WriteFile(w.file, []byte("x"), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command(worker)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.theirIn, p.theirOut, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.pid = cmd.Process.Pid
	w.close = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	return w, p.attach(w)
}

// images hold what containers are made of; everything lies on one tmpfs, as the upper
// side of an overlay may not lie on an overlay.
type images struct {
	dir   string
	lower string
}

func newImages(worker string, with ...child) (*images, error) {
	dir, err := os.MkdirTemp("/dev/shm", "agentbench-")
	if err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2g,mode=755"); err != nil {
		return nil, fmt.Errorf("tmpfs: %w; the measurements need root", err)
	}
	im := &images{dir: dir, lower: filepath.Join(dir, "image")}
	for _, d := range []string{"bin", "usr/bin", "proc", "sys", "dev", "tmp", "etc", "run"} {
		if err := os.MkdirAll(filepath.Join(im.lower, d), 0o755); err != nil {
			return im, err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return im, fmt.Errorf("%w: the package busybox-static has it", err)
	}
	files := map[string]string{"bin/worker": worker, "bin/busybox": busybox, "bin/sh": busybox, "usr/bin/nsenter": worker}
	for _, c := range with {
		files["bin/child"] = c.path
		for _, l := range c.libraries {
			files[l] = l
		}
	}
	for to, from := range files {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(im.lower, to)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(im.lower, to), b, 0o755)
		}
		if err != nil {
			return im, err
		}
	}
	// Nothing that the kernel can run: a start of it fails where it succeeds otherwise.
	for _, name := range []string{"bin/allowed", "bin/refused"} {
		if err := os.WriteFile(filepath.Join(im.lower, name), []byte("no program"), 0o755); err != nil {
			return im, err
		}
	}
	return im, errors.Join(os.WriteFile(filepath.Join(im.lower, "etc/some-file"), []byte("x"), 0o644),
		os.WriteFile(filepath.Join(im.lower, "etc/shadow"), []byte("root:*:1::::::\n"), 0o600))
}

func (im *images) close() {
	_ = unix.Unmount(im.dir, unix.MNT_DETACH)
	_ = os.RemoveAll(im.dir)
}

// root makes the root file system of one container.
func (im *images) root(id string) (dir string, err error) {
	base := filepath.Join(im.dir, id)
	dir = filepath.Join(base, "rootfs")
	for _, d := range []string{dir, filepath.Join(base, "upper"), filepath.Join(base, "work")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", im.lower, base, base)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return "", fmt.Errorf("overlay: %w", err)
	}
	return dir, nil
}

func newID() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// withRunc starts a worker as the first process of a container. It shares the host's
// network, as what is measured is the agent and not a bridge.
func (im *images) withRunc(args ...string) (*workload, error) {
	w := &workload{kind: "container", id: newID(), program: "/bin/worker", child: "/bin/child", file: "/etc/some-file"}
	dir, err := im.root(w.id)
	if err != nil {
		return nil, err
	}
	w.close = func() {
		_ = exec.Command("runc", "delete", "--force", w.id).Run()
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	bundle := filepath.Dir(dir)
	if out, err := exec.Command("runc", "spec", "--bundle", bundle).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("runc spec: %w: %s", err, out)
	}
	file := filepath.Join(bundle, "config.json")
	var spec map[string]any
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, &spec)
	}
	if err != nil {
		return nil, err
	}
	process := spec["process"].(map[string]any)
	process["terminal"], process["args"] = false, append([]string{"/bin/worker"}, args...)
	spec["root"] = map[string]any{"path": "rootfs"}
	linux := spec["linux"].(map[string]any)
	var spaces []any
	for _, ns := range linux["namespaces"].([]any) {
		if ns.(map[string]any)["type"] != "network" {
			spaces = append(spaces, ns)
		}
	}
	linux["namespaces"] = spaces
	if b, err = json.Marshal(spec); err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		return nil, err
	}
	p, err := newPipes()
	if err != nil {
		return nil, err
	}
	// What runc itself says goes to a file: the pipe is the worker's.
	said, err := os.Create(filepath.Join(bundle, "said"))
	if err != nil {
		return nil, err
	}
	defer said.Close()
	cmd := exec.Command("runc", "run", "--detach", "--bundle", bundle, "--pid-file", filepath.Join(bundle, "pid"), w.id)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.theirIn, p.theirOut, said
	if err := cmd.Run(); err != nil {
		b, _ := os.ReadFile(said.Name())
		w.close()
		return nil, fmt.Errorf("runc: %w: %s", err, b)
	}
	b, err = os.ReadFile(filepath.Join(bundle, "pid"))
	if err == nil {
		w.pid, err = strconv.Atoi(string(b))
	}
	return w, errors.Join(err, p.attach(w))
}

// byHand starts a worker in a container without a runtime: an overlay, namespaces and a
// control group with the name a runtime gives. Virtual machines have nothing else.
func (im *images) byHand() (*workload, error) {
	w := &workload{kind: "container", id: newID(), program: "/bin/worker", child: "/bin/child", file: "/etc/some-file"}
	dir, err := im.root(w.id)
	if err != nil {
		return nil, err
	}
	group := filepath.Join("/sys/fs/cgroup/docker", w.id)
	if err := os.MkdirAll(group, 0o755); err != nil {
		return nil, err
	}
	fd, err := unix.Open(group, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	p, err := newPipes()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/bin/worker")
	cmd.Dir, cmd.Env = "/", []string{"PATH=/bin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.theirIn, p.theirOut, p.theirOut
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Chroot:     dir, UseCgroupFD: true, CgroupFD: fd,
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.pid = cmd.Process.Pid
	w.close = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.Remove(group)
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
	return w, p.attach(w)
}
