package tracing

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// reach reads or writes back the first byte of another process's program, as BOLLWERK_TEST_REACH
// says ("read PID"), and says how many bytes it got.
func reach(t *testing.T, order string) {
	var how string
	var pid int
	if _, err := fmt.Sscan(order, &how, &pid); err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	var at uintptr
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[stack]\n") {
			from, _, _ := strings.Cut(line, "-")
			n, err := strconv.ParseUint(from, 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			at = uintptr(n)
		}
	}
	b := []byte{0}
	local := []unix.Iovec{{Base: &b[0], Len: 1}}
	remote := []unix.RemoteIovec{{Base: at, Len: 1}}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	if how == "write" {
		n, err = unix.ProcessVMWritev(pid, local, remote, 0)
	}
	fmt.Println("reached", n, err)
}

// Who reads or writes another's memory without attaching is told, and stopped before a byte of it
// is copied; his own memory is nobody's business.
func TestMemoryOfOthers(t *testing.T) {
	if order := os.Getenv("BOLLWERK_TEST_REACH"); order != "" {
		reach(t, order)
		return
	}
	c := watch(t, &Checks{})
	c.need(t, AreaMemory)
	victim, _ := start(t, "sleep", "600")
	pid := uint32(victim.Process.Pid)
	order := func(how string) string {
		return fmt.Sprintf("BOLLWERK_TEST_REACH='%s %d' %s -test.run '^TestMemoryOfOthers$'", how, pid, os.Args[0])
	}
	for how, call := range map[string]string{"read": "process_vm_readv", "write": "process_vm_writev"} {
		cmd := exec.Command("sh", "-c", "exec env "+order(how))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "reached 1") {
			t.Fatalf("%s: %v %s", how, err, out)
		}
		e := c.find(t, call, func(e *bollwerk.Event) bool {
			return e.Kind == bollwerk.EventPtrace && e.Object != nil && e.Object.Name == call && e.Process != nil && e.Process.PID == uint32(cmd.Process.Pid)
		})
		if e.Target == nil || e.Target.PID != pid || e.Outcome != bollwerk.Seen {
			t.Errorf("%s: %s of %+v", call, e.Outcome, e.Target)
		}
	}
	out, _ := contained(t, c, sensor.GuardPtrace, order("read")+"; echo ended $?")
	if !strings.Contains(out, "ended 137") || strings.Contains(out, "reached") {
		t.Errorf("not stopped: %s", out)
	}
	e := c.find(t, "killed", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventPtrace && e.Outcome == bollwerk.Killed })
	if e.Rule != "ptrace" || e.Target == nil || e.Target.PID != pid {
		t.Errorf("%q %+v", e.Rule, e.Target)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.Kind == bollwerk.EventPtrace && (e.Target == nil || e.Process != nil && e.Target.PID == e.Process.PID) {
			t.Errorf("told of %+v with %+v", e.Process, e.Target)
		}
	}
}

// mountByDescriptors makes two mounts, one of a folder and one of a new file system.
func mountByDescriptors(t *testing.T, dir string) {
	do := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	from, to := dir+"/from", dir+"/to"
	tree, err := unix.OpenTree(unix.AT_FDCWD, from, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	do(err)
	do(unix.MoveMount(tree, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH))
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	do(err)
	do(unix.FsconfigSetString(fs, "source", "bwtest"))
	do(unix.FsconfigCreate(fs))
	m, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	do(err)
	at, err := unix.Open(from, unix.O_PATH|unix.O_CLOEXEC, 0)
	do(err)
	do(unix.MoveMount(m, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

func TestMountByDescriptors(t *testing.T) {
	if dir := os.Getenv("BOLLWERK_TEST_DESCRIPTORS"); dir != "" {
		mountByDescriptors(t, dir)
		return
	}
	c := watch(t, &Checks{})
	c.need(t, AreaMount)
	dir := t.TempDir()
	for _, d := range []string{"/from", "/to"} {
		if err := os.Mkdir(dir+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script := "BOLLWERK_TEST_DESCRIPTORS=" + dir + " " + os.Args[0] + " -test.run '^TestMountByDescriptors$'"
	cmd := exec.Command("unshare", "-m", tool(t, "sh"), "-c", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []struct {
		call string
		bollwerk.Mount
	}{
		{"open_tree", bollwerk.Mount{Source: dir + "/from", Flags: unix.MS_BIND}},
		{"fsopen", bollwerk.Mount{Type: "tmpfs"}},
		{"fsconfig", bollwerk.Mount{Type: "tmpfs", Source: "bwtest"}},
		{"move_mount", bollwerk.Mount{Type: "tmpfs", Source: "bwtest", Target: dir + "/from"}},
	} {
		c.find(t, want.call, func(e *bollwerk.Event) bool {
			return e.Kind == bollwerk.EventMount && e.Object.Name == want.call && *e.Mount == want.Mount
		})
	}
	c.find(t, "the copy's place", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventMount && e.Object.Name == "move_mount" && e.Mount.Target == dir+"/to" && e.Mount.Source != "" && e.Mount.Type != ""
	})
	out, _ := contained(t, c, sensor.GuardMount, script+"; echo ended $?")
	if !strings.Contains(out, "ended 137") {
		t.Errorf("not killed: %s", out)
	}
	c.find(t, "killed", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventMount && e.Object.Name == "open_tree" && e.Outcome == bollwerk.Killed && e.Rule == "mount"
	})
}
