package process

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// The sensor of most tests is opened once; TestMain closes it.
var common = sync.OnceValues(func() (*sensortest.Log, error) {
	return sensortest.Start(context.Background(), sensor.Options{}, New(Config{}))
})

func watch(t *testing.T) *sensortest.Log {
	t.Helper()
	prerequisite.Root(t)
	l, err := common()
	if err != nil {
		t.Fatal(err)
	}
	return l.FromHere()
}

// apply puts a policy in force until the end of the test.
func apply(t *testing.T, l *sensortest.Log, p *sensor.Policy) {
	t.Helper()
	if err := l.Sensor.Apply(p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Sensor.Remove(p.Cgroup); err != nil {
			t.Error(err)
		}
	})
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PROCESS_TEST_HELPER=exit") // for copies of ourselves
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// self is this program, to be copied: one that does not care what it is called.
func self(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEverythingOfAProgramStart(t *testing.T) {
	l := watch(t)
	dir := t.TempDir()
	cmd := exec.Command("/bin/cat", "whole-start")
	cmd.Dir = dir
	cmd.Env = []string{"A=1", "LD_PRELOAD=", "LD_LIBRARY_PATH=/x:/y", "LD_SOMETHING=no", "TERM=vt100", "TERMINAL=no", "HISTFILE=/dev/null"}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout = w
	_ = cmd.Run()
	w.Close()
	p := l.Exec(t, "whole-start").Process
	exe, err := filepath.EvalSymlinks("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	if p.Path != exe || p.Name != "cat" || p.Cwd != dir || p.Script != "" || p.Truncated || p.Existing || p.Kernel || p.Contained {
		t.Errorf("%+v", p)
	}
	if want := []string{"LD_PRELOAD=", "LD_LIBRARY_PATH=/x:/y", "TERM=vt100", "HISTFILE=/dev/null"}; !slices.Equal(p.Env, want) {
		t.Errorf("environment %q, want %q", p.Env, want)
	}
	if p.UID != 0 || p.Capabilities == 0 || p.MountNS == 0 || p.PIDNS == 0 || p.NetNS == 0 || p.UserNS == 0 || p.Cgroup == 0 || p.CgroupPath == "" {
		t.Errorf("%+v", p)
	}
	if p.NSID != p.PID || p.Origin != bollwerk.OriginHost || p.Mode&0o170000 != 0o100000 || p.Mode&0o111 == 0 {
		t.Errorf("%+v", p)
	}
	var st os.FileInfo
	if st, err = os.Stat(exe); err != nil {
		t.Fatal(err)
	}
	if ino, dev := inode(st); p.Inode != ino || p.Device != dev {
		t.Errorf("inode %d on %d, want %d on %d", p.Inode, p.Device, ino, dev)
	}
	if len(p.Stdio) != 1 || p.Stdio[0].FD != 1 || p.Stdio[0].Kind != "pipe" || p.Stdio[0].Inode == 0 {
		t.Errorf("descriptors %+v", p.Stdio)
	}
	if p.Parent == nil || p.Parent.PID != uint32(os.Getpid()) || p.Parent.Path == "" {
		t.Errorf("parent %+v", p.Parent)
	}
	exit := l.Find(t, "its end", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventExit && e.Process.Same(p) })
	if exit.Process.ExitCode != 1<<8 {
		t.Errorf("exit code %#x", exit.Process.ExitCode)
	}
}

func TestHostileArguments(t *testing.T) {
	l := watch(t)
	nasty := "\x1b[2J\r\n\"},{\"x\":\"\xff\xfe\xc3("
	run(t, "/bin/true", nasty, "", "nasty-end")
	if p := l.Exec(t, "nasty-end").Process; len(p.Args) != 4 || p.Args[1] != nasty || p.Args[2] != "" || p.Truncated {
		t.Errorf("%q", p.Args)
	}

	// Exactly what fits, and one byte more.
	for _, more := range []int{0, 1} {
		long := strings.Repeat("x", 4096-len("/bin/true")-len("fits-0")-3+more)
		run(t, "/bin/true", "fits-"+strconv.Itoa(more), long)
		p := l.Find(t, "long arguments", func(e *bollwerk.Event) bool {
			return e.Kind == bollwerk.EventExec && len(e.Process.Args) == 3 && e.Process.Args[1] == "fits-"+strconv.Itoa(more)
		}).Process
		if got := len(p.Args[2]); p.Truncated != (more == 1) || got != len(long)-0 && more == 0 || got < len(long)-1 {
			t.Errorf("%d more: %d of %d letters, truncated %v", more, got, len(long), p.Truncated)
		}
	}
	// Very many and very long: cut, and said so.
	run(t, "/bin/true", append([]string{"many"}, slices.Repeat([]string{strings.Repeat("y", 1000)}, 100)...)...)
	p := l.Find(t, "many arguments", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventExec && len(e.Process.Args) > 2 && e.Process.Args[1] == "many"
	}).Process
	if !p.Truncated || len(p.Args) != 7 {
		t.Errorf("%d arguments, truncated %v", len(p.Args), p.Truncated)
	}
	// No argument at all; the kernel puts an empty one in since 5.18.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{""}
	cmd.Env = []string{"TERM=noargs", "PROCESS_TEST_HELPER=exit"}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	l.Find(t, "no arguments", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventExec && slices.Contains(e.Process.Env, "TERM=noargs") && slices.Equal(e.Process.Args, []string{""})
	})
}

func TestVariablesBehindManyAndLongOnes(t *testing.T) {
	l := watch(t)
	cmd := exec.Command("/bin/true", "env-1")
	// What follows a cut text must not be taken for the beginning of a variable.
	cmd.Env = []string{"LONG=" + strings.Repeat("z", 250) + "LD_PRELOAD=no", strings.Repeat("q", 255) + "LD_PRELOAD=no", "LD_PRELOAD=/yes.so", "TERM=" + strings.Repeat("t", 300), "HISTFILE=h"}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	p := l.Exec(t, "env-1").Process
	if want := []string{"LD_PRELOAD=/yes.so", "TERM=" + strings.Repeat("t", 250), "HISTFILE=h"}; !slices.Equal(p.Env, want) || !p.Truncated {
		t.Errorf("%q, truncated %v", p.Env, p.Truncated)
	}
	cmd = exec.Command("/bin/true", "env-2")
	for i := range 400 {
		cmd.Env = append(cmd.Env, "VARIABLE"+strconv.Itoa(i)+"=x")
	}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if p := l.Exec(t, "env-2").Process; !p.Truncated {
		t.Error("more variables than are looked at, but not said")
	}
}

func TestLongPath(t *testing.T) {
	l := watch(t)
	b := self(t)
	dir := t.TempDir()
	for range 20 {
		dir = filepath.Join(dir, strings.Repeat("d", 100))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "a b\n\xff")
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, exe, "long-path")
	if p := l.Exec(t, "long-path").Process; p.Path != exe || p.Truncated {
		t.Errorf("%q truncated %v", p.Path, p.Truncated)
	}
	// Deeper than is walked: the end is kept, the cut is said.
	base := t.TempDir()
	deep := base + strings.Repeat("/e", 150)
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	exe = deep + "/prog"
	if err := os.WriteFile(exe, b, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, exe, "deep-path")
	if p := l.Exec(t, "deep-path").Process; !strings.HasPrefix(p.Path, "…/e/e/") || !strings.HasSuffix(p.Path, "/e/prog") || !p.Truncated {
		t.Errorf("%q truncated %v", p.Path, p.Truncated)
	}
}

func TestScript(t *testing.T) {
	l := watch(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s.sh"), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("./s.sh", "script-arg")
	cmd.Dir = dir
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	p := l.Exec(t, "script-arg").Process
	sh, _ := filepath.EvalSymlinks("/bin/sh")
	if p.Script != filepath.Join(dir, "s.sh") || p.Path != sh || p.Name != "s.sh" {
		t.Errorf("script %q of %q, name %q", p.Script, p.Path, p.Name)
	}
}

func TestFailedExecIsNone(t *testing.T) {
	l := watch(t)
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("\x7fELF nonsense"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(bad, "failed-exec").Run(); err == nil {
		t.Fatal("nonsense ran")
	}
	l.Settle(t)
	if e := l.Events(func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventExec && slices.Contains(e.Process.Args, "failed-exec")
	}); len(e) != 0 {
		t.Errorf("%+v", e[0].Process)
	}
}

func TestFileless(t *testing.T) {
	l := watch(t)
	if out, err := helper("memfd", "/bin/true", "true", "from-memory").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e := l.Exec(t, "from-memory")
	if p := e.Process; !p.Fileless || p.Origin != bollwerk.OriginMemory || p.Path != "memfd:hidden" {
		t.Errorf("%+v", p)
	}
	if e.Outcome != bollwerk.Seen || e.Rule != "" {
		t.Errorf("%s by %q: nothing on the host is ever stopped", e.Outcome, e.Rule)
	}
	// A file without a name.
	exe := filepath.Join(t.TempDir(), "gone")
	if err := os.WriteFile(exe, self(t), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	run(t, "/proc/self/fd/"+strconv.Itoa(dup(t, f)), "without-name")
	if p := l.Exec(t, "without-name").Process; !p.Fileless || p.Path != exe {
		t.Errorf("%+v", p)
	}
}

func TestExecOfAThread(t *testing.T) {
	l := watch(t)
	cmd := helper("thread", "/bin/true", "by-thread")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e := l.Exec(t, "by-thread")
	if e.Process.PID != uint32(cmd.Process.Pid) || e.Process.Parent == nil || e.Process.Parent.PID != uint32(os.Getpid()) {
		t.Errorf("%+v, child of %+v", e.Process, e.Process.Parent)
	}
	l.Find(t, "its end", func(x *bollwerk.Event) bool { return x.Kind == bollwerk.EventExit && x.Process.Same(e.Process) })
	l.Settle(t)
	if n := l.Events(func(x *bollwerk.Event) bool { return x.Kind == bollwerk.EventExit && x.Process.Same(e.Process) }); len(n) != 1 {
		t.Errorf("%d ends", len(n))
	}
}

func TestDeepTree(t *testing.T) {
	l, depth := watch(t), "40"
	if testing.Short() {
		depth = "20" // each is this program with the race detector, which starts slowly
	}
	if out, err := helper("deep", depth, "deep-end").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := l.Exec(t, "deep-end").Process
	n := 0
	for a := p; a.Parent != nil; a = a.Parent {
		n++
		if a.Parent.PID == a.PID {
			t.Fatal("its own parent")
		}
	}
	if n < bollwerk.ProcessDepth/2 || n > bollwerk.ProcessDepth {
		t.Errorf("%d ancestors", n)
	}
	if a := p.Ancestor(3); a == nil || len(a.Args) < 2 || a.Args[1] != "2" {
		t.Errorf("third ancestor %+v", a)
	}
}

func TestPIDReuse(t *testing.T) {
	l := watch(t)
	pid := 0
	for i := 31000; i < 32000 && pid == 0; i++ {
		if _, err := os.Stat("/proc/" + strconv.Itoa(i)); err != nil {
			pid = i
		}
	}
	cmd := helper("reuse", strconv.Itoa(pid), "same-pid")
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "operation not permitted") {
			prerequisite.Missing(t, "this kernel does not let a PID be chosen: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	l.Settle(t)
	all := l.Events(func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventExec && slices.Contains(e.Process.Args, "same-pid") && e.Process.Name == "true"
	})
	if len(all) != 2 {
		t.Fatalf("%d starts", len(all))
	}
	a, b := all[0].Process, all[1].Process
	if a.PID != uint32(pid) || b.PID != a.PID || a.Start == b.Start || a.Same(b) {
		t.Fatalf("%d %d and %d %d", a.PID, a.Start, b.PID, b.Start)
	}
	table := l.Sensor.Kernel().Processes
	if got := table.Get(a.PID, a.Start); got != a {
		t.Errorf("the first is now %+v", got)
	}
	if got := table.Get(b.PID, b.Start); got != b {
		t.Errorf("the second is now %+v", got)
	}
}

func TestShortLived(t *testing.T) {
	l := watch(t)
	for i := range 50 {
		run(t, "/bin/true", "short-"+strconv.Itoa(i))
	}
	l.Settle(t)
	for i := range 50 {
		p := l.Exec(t, "short-"+strconv.Itoa(i)).Process
		if p.Path == "" || p.Parent == nil || p.Parent.PID != uint32(os.Getpid()) {
			t.Fatalf("%+v", p)
		}
		l.Find(t, "end", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventExit && e.Process.Same(p) })
	}
}

func TestExisting(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "1000.25")
	cmd.Env = []string{"LD_PRELOAD=", "OTHER=1"}
	cmd.Dir = "/tmp"
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for _, c := range []struct {
		name string
		o    sensor.Options
		src  []sensor.Source
	}{{"bpf", sensor.Options{}, []sensor.Source{New(Config{})}}, {"proc", sensor.Options{NoBPF: true}, nil}} {
		t.Run(c.name, func(t *testing.T) {
			l := sensortest.Watch(t, c.o, c.src...)
			table := l.Sensor.Kernel().Processes
			p := table.Known(uint32(cmd.Process.Pid), 0)
			if p == nil {
				t.Fatal("not known")
			}
			if p.Name != "sleep" || !slices.Equal(p.Args, []string{"/bin/sleep", "1000.25"}) || p.Cwd != "/tmp" || !p.Existing || p.Inode == 0 || p.Cgroup == 0 {
				t.Errorf("%+v", p)
			}
			if p.Parent == nil || p.Parent.PID != uint32(os.Getpid()) {
				t.Errorf("parent %+v", p.Parent)
			}
			if len(p.Stdio) == 0 || p.Stdio[0].Kind != "pipe" || p.Stdio[0].Inode == 0 {
				t.Errorf("descriptors %+v", p.Stdio)
			}
			if c.src != nil && !slices.Equal(p.Env, []string{"LD_PRELOAD="}) {
				t.Errorf("environment %q", p.Env)
			}
			kernel := 0
			for _, p := range table.All() {
				if p.Kernel {
					kernel++
				}
			}
			if _, err := os.Stat("/proc/2"); err == nil && kernel == 0 {
				t.Error("no kernel thread")
			}
		})
	}
}

func TestSignal(t *testing.T) {
	l := watch(t)
	victim := exec.Command("/bin/sleep", "1000.5")
	victim.SysProcAttr = ownSession()
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	killer := helper("kill", strconv.Itoa(victim.Process.Pid))
	if out, err := killer.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_ = victim.Wait()
	e := l.Find(t, "signal", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventSignal && e.Target.PID == uint32(victim.Process.Pid)
	})
	if e.Signal != 15 || e.Process.PID != uint32(killer.Process.Pid) || e.Target.Path == "" {
		t.Errorf("signal %d from %+v to %+v", e.Signal, e.Process, e.Target)
	}
}

func TestOtherUserWithoutAProgram(t *testing.T) {
	l := watch(t)
	cmd := helper("uid", "became-other")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	e := l.Find(t, "credentials", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventCredentials && e.Process.PID == uint32(cmd.Process.Pid)
	})
	if c := e.Change; c.OldUID != 0 || c.UID != 12345 || c.EUID != 12345 || c.OldCapabilities == 0 || c.Capabilities != 0 {
		t.Errorf("%+v", c)
	}
	if p := l.Exec(t, "became-other").Process; p.UID != 12345 || p.Capabilities != 0 {
		t.Errorf("%+v", p)
	}
}

func TestNamespaces(t *testing.T) {
	l := watch(t)
	cmd := exec.Command("unshare", "-m", "-n", "/bin/true", "in-new-ns")
	if out, err := cmd.CombinedOutput(); err != nil {
		prerequisite.Missing(t, "unshare: %v: %s", err, out)
	}
	e := l.Find(t, "unshare", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventNamespace && e.Process.PID == uint32(cmd.Process.Pid)
	})
	if n := e.Namespace; !slices.Equal(n.Kinds, []string{"mnt", "net"}) || n.Entered || n.ToHost || e.Process.Name != "unshare" {
		t.Errorf("%+v of %+v", n, e.Process)
	}
	// Out of a container, into the host.
	b := sensortest.NewBox(t, l.Sensor, image(t))
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	// A box is no more than a chroot in a namespace: what enters that sees the host's files.
	in := exec.Command(nsenter, "-t", strconv.Itoa(int(b.PID)), "-m", "--", nsenter, "--mount=/proc/self/fd/0", "--", "/bin/true", "out-again")
	host, err := os.Open("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	in.Stdin = host
	if out, err := in.CombinedOutput(); err != nil {
		t.Logf("%v: %s", err, out)
	}
	e = l.Find(t, "nsenter", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventNamespace && e.Process.PID == uint32(in.Process.Pid) && !e.Namespace.ToHost
	})
	if !e.Namespace.Entered {
		t.Errorf("%+v", e.Namespace)
	}
	l.Find(t, "back to the host", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventNamespace && e.Process.PID == uint32(in.Process.Pid) && e.Namespace.ToHost && slices.Equal(e.Namespace.Kinds, []string{"mnt"})
	})
}

func TestUsage(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: opens a sensor of its own")
	}
	l := sensortest.Watch(t, sensor.Options{}, New(Config{UsageEvery: 100e6, UsageShare: 0.02}))
	b := sensortest.NewBox(t, l.Sensor, image(t))
	b.Sh(t, "while :; do :; done & echo")
	e := l.Find(t, "use of the CPU", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventUsage && e.Process.Cgroup == b.Cgroup
	})
	if u := e.Usage; u.Window <= 0 || u.CPU < u.Window/50 || u.CPU > 2*u.Window {
		t.Errorf("%+v by %+v", u, e.Process)
	}
	b.Sh(t, "kill %1")
}
