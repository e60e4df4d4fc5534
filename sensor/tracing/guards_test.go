package tracing

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// contained runs a script in a mount namespace and a cgroup of its own, under a policy.
func contained(t *testing.T, c *collector, enforce sensor.Guard, script string) (string, error) {
	t.Helper()
	k := c.s.Kernel()
	dir, err := os.MkdirTemp(k.CgroupRoot, "bwtest-")
	if err != nil {
		unavailable(t, "cgroups cannot be made: "+err.Error())
	}
	t.Cleanup(func() {
		await(t, "empty cgroup", func() bool { return os.Remove(dir) == nil || os.IsNotExist(statErr(dir)) })
	})
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	if err := k.Map("policies").Put(st.Ino, bpf.SharedBwPolicy{Enforce: uint64(enforce), Root: st.Ino}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "-m", tool(t, "sh"), "-c", "echo $$ > "+filepath.Join(dir, "cgroup.procs")+"; "+script)
	out, err := cmd.CombinedOutput()
	t.Logf("%s: %v\n%s", script, err, out)
	return string(out), err
}

func statErr(name string) error { _, err := os.Stat(name); return err }

func TestSettingDenied(t *testing.T) {
	c := watch(t, &Checks{})
	c.need(t, AreaSetting)
	const file = "/proc/sys/kernel/core_pattern"
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	out, err := contained(t, c, sensor.GuardSetting, "printf %s '"+strings.TrimSpace(string(old))+"' > "+file)
	if err == nil { // shells do not all say why
		t.Errorf("the write was not refused: %v %s", err, out)
	}
	e := c.find(t, "denied setting", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventSetting && e.Object.Name == "kernel/core_pattern"
	})
	if e.Outcome != bollwerk.Denied || e.Rule != "setting" || e.Result == 0 {
		t.Errorf("outcome %s rule %q result %d", e.Outcome, e.Rule, e.Result)
	}
	// A setting that belongs to the container's own namespaces is its own business.
	if out, err := contained(t, c, sensor.GuardSetting, "unshare -u sh -c 'echo x > /proc/sys/kernel/domainname'"); err != nil {
		t.Errorf("a harmless setting was refused: %v %s", err, out)
	}
}

// The same write from the host is none of ours, whatever policies there are.
func TestSettingOfHostPasses(t *testing.T) {
	c := watch(t, &Checks{})
	c.need(t, AreaSetting)
	k := c.s.Kernel()
	var st syscall.Stat_t
	if err := syscall.Stat(k.CgroupRoot, &st); err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("/proc/sys/kernel/core_pipe_limit")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Map("policies").Put(st.Ino, bpf.SharedBwPolicy{Enforce: uint64(sensor.GuardSetting | sensor.GuardMount), Root: st.Ino}); err != nil {
		t.Fatal(err)
	}
	if out := run(t, "sh", "-c", "printf %s "+strings.TrimSpace(string(own))+" > /proc/sys/kernel/core_pipe_limit && echo passed"); !strings.Contains(out, "passed") {
		t.Errorf("the host was refused: %s", out)
	}
}

func TestMountKilled(t *testing.T) {
	c := watch(t, &Checks{})
	c.need(t, AreaMount)
	dir := t.TempDir()
	out, err := contained(t, c, sensor.GuardMount, tool(t, "mount")+" -t tmpfs none "+dir+"; echo ended $?")
	if !strings.Contains(out, "ended 137") {
		t.Errorf("mount was not killed: %v %s", err, out)
	}
	e := c.find(t, "killed mount", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventMount && e.Mount.Target == dir })
	if e.Outcome != bollwerk.Killed || e.Rule != "mount" {
		t.Errorf("outcome %s rule %q", e.Outcome, e.Rule)
	}
}

func TestDiskDenied(t *testing.T) {
	if node := os.Getenv("BOLLWERK_TEST_DISK"); node != "" {
		_, err := os.Open(node)
		os.Stdout.WriteString("open: " + fmt.Sprint(errors.Is(err, syscall.EPERM), " ", err) + "\n")
		return
	}
	c := watch(t, &Checks{})
	c.need(t, AreaDevice)
	node := filepath.Join(t.TempDir(), "disk")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 99))); err != nil {
		unavailable(t, err.Error())
	}
	open := "BOLLWERK_TEST_DISK=" + node + " " + os.Args[0] + " -test.run '^TestDiskDenied$'"
	// No such loop device is set up: who may open it learns ENXIO, who may not EPERM.
	if out, _ := contained(t, c, 0, open); !strings.Contains(out, "open: false") {
		t.Errorf("refused without a policy: %s", out)
	}
	e := c.find(t, "disk", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventOpen && e.File.Device == unix.Mkdev(7, 99)
	})
	if e.Outcome != bollwerk.Seen || e.File.Access != bollwerk.AccessRead {
		t.Errorf("%+v %s", e.File, e.Outcome)
	}
	if out, _ := contained(t, c, sensor.GuardMount, open); !strings.Contains(out, "open: true") {
		t.Errorf("not refused: %s", out)
	}
	e = c.find(t, "denied disk", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventOpen && e.Outcome == bollwerk.Denied })
	if e.File.Device != unix.Mkdev(7, 99) || e.Rule != "mount" {
		t.Errorf("%+v %s", e.File, e.Rule)
	}
}

// Devices are told by the names that rules know.
func TestDeviceNames(t *testing.T) {
	for _, c := range []struct {
		kind         string
		major, minor uint32
		want         string
	}{{"char", 1, 1, "/dev/mem"}, {"char", 1, 4, "/dev/port"}, {"char", 1, 3, "/dev/null"}, {"block", 1, 1, "/dev/ram1"}, {"block", 4000, 1, "/dev/block/4000:1"}} {
		got := deviceName(c.kind, c.major, c.minor)
		if got != c.want && !(c.kind == "block" && c.major == 1 && got == "/dev/block/1:1") { // without RAM disks
			t.Errorf("%s %d:%d is %s, want %s", c.kind, c.major, c.minor, got, c.want)
		}
	}
	disks, _ := os.ReadDir("/sys/dev/block")
	for _, d := range disks {
		var major, minor uint32
		if _, err := fmt.Sscanf(d.Name(), "%d:%d", &major, &minor); err != nil {
			continue
		}
		if got := deviceName("block", major, minor); strings.HasPrefix(got, "/dev/block/") {
			t.Errorf("disk %s has no name", d.Name())
		}
	}
}

func TestReleaseAgentKilledAndRestored(t *testing.T) {
	c := watch(t, &Checks{})
	c.need(t, AreaSetting)
	if !c.has(AreaMount) {
		t.Skip("this kernel does not tell checks of capabilities, and the product says so")
	}
	files := settingFiles("/proc/self/mountinfo")[1:]
	if len(files) == 0 {
		t.Skip("no cgroup version 1 hierarchy here: release_agent does not exist")
	}
	// The harmless one: an agent that does nothing, in a hierarchy of ours when there is one.
	file := files[len(files)-1]
	old, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(file, append(old, '\n'), 0)
	out, _ := contained(t, c, sensor.GuardSetting, "(echo /bin/true > "+file+"); echo ended $?")
	e := c.find(t, "release_agent", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventSetting && e.Object.Name == "release_agent"
	})
	if e.Outcome != bollwerk.Killed || e.Object.Value != "/bin/true" || e.Rule != "setting" {
		t.Errorf("%+v outcome %s rule %q", e.Object, e.Outcome, e.Rule)
	}
	if !strings.Contains(out, "ended 137") {
		t.Errorf("not killed: %s", out)
	}
	now, err := os.ReadFile(file)
	if err != nil || strings.TrimSpace(string(now)) != strings.TrimSpace(string(old)) || !strings.Contains(e.Object.Type, "restored") {
		t.Errorf("%s is %q, was %q; the event says %q (%v)", file, now, old, e.Object.Type, err)
	}
}

func TestBPFSeen(t *testing.T) {
	if os.Getenv("BOLLWERK_TEST_LOAD") != "" {
		p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "bwtestprog", Type: ebpf.SocketFilter, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		return
	}
	c := watch(t, &Checks{})
	c.need(t, AreaBPF)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestBPFSeen$")
	cmd.Env = append(os.Environ(), "BOLLWERK_TEST_LOAD=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e := c.find(t, "bpf load", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventBPF && e.Object.Name == "bwtestprog" })
	if e.Object.Type != "SocketFilter" || e.Process.PID != uint32(cmd.Process.Pid) {
		t.Errorf("%+v by %d, want SocketFilter by %d", e.Object, e.Process.PID, cmd.Process.Pid)
	}
}

// A process that makes a mount namespace of its own and starts no other program in it
// must not pass for a container runtime.
func TestMountKilledWithoutExec(t *testing.T) {
	if dir := os.Getenv("BOLLWERK_TEST_MOUNT"); dir != "" {
		runtime.LockOSThread()
		if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
			t.Fatal(err)
		}
		syscall.Mount("none", dir, "tmpfs", 0, "")
		os.Stdout.WriteString("survived\n")
		return
	}
	c := watch(t, &Checks{})
	c.need(t, AreaMount)
	dir := t.TempDir()
	out, err := contained(t, c, sensor.GuardMount, "BOLLWERK_TEST_MOUNT="+dir+" "+os.Args[0]+" -test.run '^TestMountKilledWithoutExec$'; echo ended $?")
	if !strings.Contains(out, "ended 137") {
		t.Errorf("mount was not killed: %v %s", err, out)
	}
	e := c.find(t, "killed mount", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventMount && e.Mount.Target == dir })
	if e.Outcome != bollwerk.Killed {
		t.Errorf("outcome %s", e.Outcome)
	}
}

// A container that writes settings as fast as it can is told of at a rate, and the rest
// is counted exactly.
func TestSettingFloodIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes thousands of settings")
	}
	c := watch(t, &Checks{})
	c.need(t, AreaSetting)
	const n = 3000
	run(t, tool(t, "unshare"), "-u", tool(t, "sh"), "-c", "i=0; while [ $i -lt "+strconv.Itoa(n)+" ]; do echo f$i > /proc/sys/kernel/domainname; i=$((i+1)); done")
	sum := func() (told, lost uint64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, e := range c.events {
			switch {
			case e.Kind == bollwerk.EventSetting && e.Object.Name == "kernel/domainname":
				told += max(1, e.Count)
			case e.Kind == bollwerk.EventLoss && e.Loss.Kind == bollwerk.EventSetting:
				lost += e.Loss.Count
			}
		}
		return told, lost
	}
	await(t, "all told or counted", func() bool { told, lost := sum(); return told+lost >= n })
	told, lost := sum()
	t.Logf("%d told, %d counted", told, lost)
	if told+lost != n {
		t.Errorf("%d told and %d counted of %d", told, lost, n)
	}
}

func FuzzDecode(f *testing.F) {
	c := &Checks{restorer: newRestorer(nil), means: "tp_btf cap_capable", k: &sensor.Kernel{}}
	f.Add(uint16(bollwerk.EventMount), make([]byte, 640))
	f.Add(uint16(bollwerk.EventSetting), make([]byte, 700))
	f.Add(uint16(bollwerk.EventNamespace), make([]byte, 104))
	f.Fuzz(func(t *testing.T, kind uint16, raw []byte) {
		if len(raw) > 56 && bollwerk.EventKind(kind) == bollwerk.EventNamespace {
			clear(raw[56:]) // a process that is named is looked up in a table that is not there
		}
		h := sensor.Header{Kind: kind}
		c.decode(&h, raw)
	})
}
