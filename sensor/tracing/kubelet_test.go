package tracing

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// The kubelet mounts a volume over a folder after it made that, which nobody is told; its token is
// watched when the pod's container begins, and forgotten when the volume is gone. What a
// container reads of its own is told once, by the name that it has there.
func TestPodTokens(t *testing.T) {
	const pod = "/var/lib/kubelet/pods/0a1b/volumes/kubernetes.io~projected/kube-api-access-x"
	const inside = "/run/secrets/kubernetes.io/serviceaccount"
	dir, box := tree(t), tree(t)
	for _, d := range []string{dir + "/var/lib/kubelet/pods", box + inside, box + "/bin"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	run(t, "mkdir", "-p", dir+pod)
	await(t, "a mark below the volume", func() bool { return c.files.marks(pod) })
	if err := unix.Mount("none", dir+pod, "tmpfs", 0, ""); err != nil {
		prerequisite.Missing(t, "tmpfs: %v", err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			if err := unix.Unmount(dir+pod, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(unmount)
	run(t, "sh", "-ec", "cd "+dir+pod+"; mkdir ..2026; echo secret > ..2026/token; ln -s ..2026 ..data; ln -s ..data/token token")
	if b, err := os.ReadFile(tool(t, "busybox")); err != nil || os.WriteFile(filepath.Join(box, "bin/sh"), b, 0o755) != nil {
		t.Fatal(err)
	}
	cmd, in := start(t, "unshare", "-m", tool(t, "sh"), "-ec",
		"mount --bind "+dir+pod+" "+box+inside+"; exec chroot "+box+" /bin/sh -c 'read x; read y < "+inside+"/token; read x'")
	await(t, "the container", func() bool { return !hasHostRoot(uint32(cmd.Process.Pid)) })
	began := func(cgroup uint64, yes bool) {
		c.s.Container(&bollwerk.Workload{Cgroup: cgroup, Container: &bollwerk.Container{PID: uint32(cmd.Process.Pid)}}, yes)
	}
	began(4713, true)
	if _, said := says(c.s, tmpfsNames); said {
		t.Skip("this kernel cannot tell what is read in a tmpfs by its name, and the product says so")
	}
	await(t, "marks on the token", func() bool { return c.files.marks(pod+"/token") && c.files.marks(inside+"/token") })
	in.Write([]byte("\n"))
	read := func(name string) func(*bollwerk.Event) bool {
		return fileEvent(bollwerk.EventOpen, name, func(e *bollwerk.Event) bool { return e.File.Access == bollwerk.AccessRead })
	}
	if e := c.find(t, "read inside", read(inside+"/token")); e.Process == nil || e.Process.PID != uint32(cmd.Process.Pid) {
		t.Errorf("read by %+v", e.Process)
	}
	// It stays until it is told: of whoever is gone nobody knows any more whose files he saw.
	reader, _ := start(t, tool(t, "sh"), "-c", "read x < "+dir+pod+"/token; read y")
	c.find(t, "read on the host", fileEvent(bollwerk.EventOpen, pod+"/token", func(e *bollwerk.Event) bool {
		return e.File.Access == bollwerk.AccessRead && e.Process != nil && e.Process.PID == uint32(reader.Process.Pid)
	}))
	// The group of the host has told by now what it heard before.
	c.files.folds.mu.Lock()
	for k, x := range c.files.folds.all {
		if k.path == inside+"/token" && x.more > 0 {
			t.Errorf("what was read inside is told %d times more", x.more)
		}
	}
	c.files.folds.mu.Unlock()
	began(4713, false)
	in.Write([]byte("\n"))
	cmd.Wait()
	unmount()
	other, _ := start(t, "unshare", "-m", tool(t, "sh"), "-ec", "exec chroot "+box+" /bin/sh -c 'read x'")
	await(t, "another container", func() bool { return !hasHostRoot(uint32(other.Process.Pid)) })
	c.s.Container(&bollwerk.Workload{Cgroup: 4714, Container: &bollwerk.Container{PID: uint32(other.Process.Pid)}}, true)
	await(t, "the token forgotten", func() bool { return !c.files.marks(pod + "/token") })
}
