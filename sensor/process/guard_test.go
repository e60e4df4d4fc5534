package process

import (
	"debug/elf"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// image holds the test program as /bin/helper.
func image(t *testing.T) string {
	t.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Skip("the test program must be static to run in a container: CGO_ENABLED=0, as in make test")
		}
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return sensortest.Image(t, map[string]string{"bin/helper": string(b), "bin/lower": string(b), "bin/fakegcc": string(b)})
}

func TestOrigin(t *testing.T) {
	l := watch(t)
	b := sensortest.NewBox(t, l.Sensor, image(t))
	for _, c := range []struct {
		script, mark string
		origin       bollwerk.Origin
		path         string
	}{
		{"/bin/echo origin-image", "origin-image", bollwerk.OriginImage, "/bin/busybox"},
		{"cp /bin/busybox /root/echo; /root/echo origin-created", "origin-created", bollwerk.OriginCreated, "/root/echo"},
		{"chmod 700 /bin/lower; PROCESS_TEST_HELPER=echo /bin/lower origin-modified", "origin-modified", bollwerk.OriginModified, "/bin/lower"},
		{"cp /bin/busybox /dev/shm/echo; /dev/shm/echo origin-shm", "origin-shm", bollwerk.OriginCreated, "/dev/shm/echo"},
		{"PROCESS_TEST_HELPER=memfd /bin/helper /bin/busybox echo origin-memory", "origin-memory", bollwerk.OriginMemory, "memfd:hidden"},
	} {
		if out, code := b.Sh(t, c.script); code != 0 || !strings.Contains(out, c.mark) {
			t.Fatalf("%s: %d %q", c.script, code, out)
		}
		e := l.Find(t, c.mark, func(e *bollwerk.Event) bool {
			a := e.Process
			return e.Kind == bollwerk.EventExec && len(a.Args) > 1 && a.Args[len(a.Args)-1] == c.mark && a.Path != "/bin/helper"
		})
		if p := e.Process; p.Origin != c.origin || p.Path != c.path || !p.Contained || p.Cgroup != b.Cgroup || p.CgroupPath != b.CgroupPath || p.NSID == p.PID {
			t.Errorf("%s: %+v", c.mark, p)
		}
	}
}

func TestKilledAtStart(t *testing.T) {
	l := watch(t)
	img := image(t)
	b := sensortest.NewBox(t, l.Sensor, img)
	free := sensortest.NewBox(t, l.Sensor, img) // without a policy
	p := b.Policy(sensor.GuardFileless|sensor.GuardDrift, 0)
	p.Builders = []string{"fakegcc"}
	apply(t, l, p)
	for _, c := range []struct {
		name, script, mark string
		killed             bool
		rule               string
	}{
		{"image", "/bin/echo kill-no", "kill-no", false, ""},
		{"memfd", "PROCESS_TEST_HELPER=memfd /bin/helper /bin/busybox echo kill-memfd", "kill-memfd", true, "fileless"},
		{"created", "cp /bin/busybox /root/echo; /root/echo kill-created", "kill-created", true, "drift"},
		{"modified", "chmod 700 /bin/lower; PROCESS_TEST_HELPER=echo /bin/lower kill-modified", "kill-modified", true, "drift"},
		{"shm", "cp /bin/busybox /dev/shm/echo; /dev/shm/echo kill-shm", "kill-shm", true, "drift"},
		{"script of an image shell", "echo '/bin/echo kill-script' > /root/s; chmod 700 /root/s; /bin/sh /root/s", "kill-script", false, ""},
		{"built", "PROCESS_TEST_HELPER=run /bin/fakegcc /bin/sh -c '/root/echo kill-built; true'", "kill-built", false, ""},
		{"false builder", "cp /bin/fakegcc /dev/shm/fakegcc; PROCESS_TEST_HELPER=run /dev/shm/fakegcc /bin/sh -c '/root/echo kill-false; true'", "kill-false", true, "drift"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, code := b.Sh(t, c.script)
			if (code == 128+9) != c.killed || strings.Contains(out, c.mark) == c.killed {
				t.Errorf("code %d, said %q", code, out)
			}
			if c.killed && c.name != "false builder" {
				e := l.Find(t, c.mark, func(e *bollwerk.Event) bool {
					a := e.Process.Args
					return e.Kind == bollwerk.EventExec && len(a) > 1 && strings.Contains(a[len(a)-1], c.mark) && e.Process.Path != "/bin/helper"
				})
				if e.Outcome != bollwerk.Killed || e.Rule != c.rule {
					t.Errorf("%s by %q", e.Outcome, e.Rule)
				}
			}
			if out, code := free.Sh(t, c.script); code != 0 || !strings.Contains(out, c.mark) {
				t.Errorf("without a policy: %d %q", code, out)
			}
		})
	}
	// Reported only, then lifted.
	apply(t, l, b.Policy(0, sensor.GuardDrift))
	if out, code := b.Sh(t, "/root/echo kill-report"); code != 0 || out != "kill-report\n" {
		t.Errorf("%d %q", code, out)
	}
	if e := l.Exec(t, "kill-report"); e.Outcome != bollwerk.Seen || e.Rule != "drift" {
		t.Errorf("%s by %q", e.Outcome, e.Rule)
	}
	if err := l.Sensor.Remove(b.Cgroup); err != nil {
		t.Fatal(err)
	}
	b.Sh(t, "/root/echo kill-lifted")
	if e := l.Exec(t, "kill-lifted"); e.Outcome != bollwerk.Seen || e.Rule != "" {
		t.Errorf("%s by %q", e.Outcome, e.Rule)
	}
}

func TestReverseShellIsKilled(t *testing.T) {
	l := watch(t)
	b := sensortest.NewBox(t, l.Sensor, image(t))
	apply(t, l, b.Policy(sensor.GuardReverseShell, 0))
	for _, c := range []struct {
		name, address, program string
		killed                 bool
	}{
		{"v4", ownAddress(t), "/bin/sh", true},
		{"busybox called sh", ownAddress(t), "/root/sh", true},
		{"busybox by its own name", ownAddress(t), "/bin/busybox sh", true},
		{"busybox asked for another", ownAddress(t), "/bin/busybox true sh", false},
		{"no shell", ownAddress(t), "/bin/true", false},
		{"loopback v4", "127.0.0.1", "/bin/sh", false},
		{"busybox on loopback", "127.0.0.1", "/bin/busybox sh", false},
		{"loopback v6", "::1", "/bin/sh", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln, err := net.Listen("tcp", net.JoinHostPort(c.address, "0"))
			if err != nil {
				prerequisite.Missing(t, "%v", err)
			}
			defer ln.Close()
			got := make(chan string, 1)
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					got <- err.Error()
					return
				}
				defer conn.Close()
				_, _ = conn.Write([]byte("echo alive; exit 7\n"))
				buf := make([]byte, 64)
				n, _ := conn.Read(buf)
				got <- string(buf[:n])
			}()
			_, code := b.Sh(t, "ln -s /bin/busybox /root/sh 2>/dev/null; PROCESS_TEST_HELPER=connect /bin/helper "+ln.Addr().String()+" "+c.program)
			if said := <-got; (code == 128+9) != c.killed || c.killed && said != "" || !c.killed && !strings.Contains(c.program, "true") && said != "alive\n" {
				t.Errorf("code %d, said %q", code, said)
			}
			e := l.Find(t, "shell", func(e *bollwerk.Event) bool {
				if e.Kind != bollwerk.EventExec || len(e.Process.Stdio) < 2 {
					return false
				}
				s := e.Process.Stdio
				return s[0].Kind == "socket" && s[1].Kind == "socket" && s[0].Remote.String() == ln.Addr().String()
			})
			if s := e.Process.Stdio[0]; s.Protocol != "tcp" || !s.Local.IsValid() || s.Inode == 0 {
				t.Errorf("%+v", s)
			}
			if want := map[bool]bollwerk.Outcome{true: bollwerk.Killed, false: bollwerk.Seen}[c.killed]; e.Outcome != want {
				t.Errorf("%s by %q", e.Outcome, e.Rule)
			}
		})
	}
}

// ownAddress is an address of this machine other than loopback.
func ownAddress(t *testing.T) string {
	if os.Getenv("BOLLWERK_VM") == "1" {
		// The machine is ours alone and has no network card.
		run(t, "ip", "link", "set", "lo", "up")
		_ = exec.Command("ip", "address", "add", "198.51.100.1/32", "dev", "lo").Run()
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	prerequisite.Missing(t, "no address but loopback")
	return ""
}

func TestOnlyListedExecutables(t *testing.T) {
	l := watch(t)
	b := sensortest.NewBox(t, l.Sensor, image(t))
	p := b.Policy(sensor.GuardExec, 0)
	p.Exec = []string{"/bin/echo", "/bin/sh"} // a link to busybox: what it leads to is listed too
	apply(t, l, p)
	if out, code := b.Sh(t, "/bin/echo listed"); code != 0 || out != "listed\n" {
		t.Errorf("%d %q", code, out)
	}
	if _, code := b.Sh(t, "PROCESS_TEST_HELPER=echo /bin/lower unlisted"); code != 137 {
		t.Errorf("unlisted: %d", code)
	}
	if e := l.Exec(t, "unlisted"); e.Outcome != bollwerk.Killed || e.Rule != "exec" {
		t.Errorf("%s by %q", e.Outcome, e.Rule)
	}
	for _, bad := range []string{"relative", "/" + strings.Repeat("x", 300), "/", "/a\x00b"} {
		p := b.Policy(sensor.GuardExec, 0)
		p.Exec = []string{bad}
		if err := l.Sensor.Apply(p); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// The host, the runtime and the agent cannot be meant, by no mistake.
func TestApplyRefusesTheHost(t *testing.T) {
	l := watch(t)
	k := l.Sensor.Kernel()
	folder := func(path string) uint64 {
		dir := filepath.Join(k.CgroupRoot, path)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		st, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := inode(st)
		return id
	}
	self := k.Processes.Get(uint32(os.Getpid()), 0)
	b := sensortest.NewBox(t, l.Sensor, image(t))
	for name, p := range map[string]*sensor.Policy{
		"root":           {Cgroup: 1, CgroupPath: "/"},
		"nothing":        {},
		"agent":          {Cgroup: self.Cgroup, CgroupPath: self.CgroupPath},
		"above agent":    {Cgroup: folder(filepath.Dir(self.CgroupPath)), CgroupPath: filepath.Dir(self.CgroupPath)},
		"other id":       {Cgroup: 12345678, CgroupPath: b.CgroupPath},
		"runtime":        {Cgroup: folder("/docker.service"), CgroupPath: "/docker.service"},
		"below kubelet":  {Cgroup: folder("/kubelet.service/x"), CgroupPath: "/kubelet.service/x"},
		"slice":          {Cgroup: folder("/test.slice"), CgroupPath: "/test.slice"},
		"all containers": {Cgroup: folder("/docker"), CgroupPath: "/docker"},
		"host's process": {Cgroup: b.Cgroup, CgroupPath: b.CgroupPath, PID: uint32(os.Getpid())},
		"dots":           {Cgroup: b.Cgroup, CgroupPath: b.CgroupPath + "/../.."},
	} {
		p.Enforce = sensor.GuardDrift
		if err := l.Sensor.Apply(p); !errors.Is(err, sensor.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		} else {
			t.Log(err)
		}
	}
	if n := l.Sensor.Policies(); len(n) != 0 {
		t.Errorf("policies %v", n)
	}
}

// Even inside a cgroup with a policy a process of the host is left alone.
func TestHostProcessInAWorkloadsCgroup(t *testing.T) {
	l := watch(t)
	b := sensortest.NewBox(t, l.Sensor, image(t))
	apply(t, l, b.Policy(sensor.GuardFileless|sensor.GuardDrift|sensor.GuardExec, 0))
	procs := filepath.Join(l.Sensor.Kernel().CgroupRoot, b.CgroupPath, "cgroup.procs")
	script := "echo $$ > " + procs + "; PROCESS_TEST_HELPER=memfd /proc/" + pid() + "/exe /bin/true true host-inside"
	run(t, "/bin/sh", "-c", script)
	if e := l.Exec(t, "host-inside"); e.Outcome != bollwerk.Seen || e.Process.Cgroup != b.Cgroup || e.Process.Contained {
		t.Errorf("%s by %q: %+v", e.Outcome, e.Rule, e.Process)
	}
	if _, code := b.Sh(t, "/bin/true"); code != 137 {
		t.Errorf("the workload itself: %d", code)
	}
}

// What the better means holds is left to it, and said as it was.
func TestCoveredGuardsDoNotKill(t *testing.T) {
	l := watch(t)
	b := sensortest.NewBox(t, l.Sensor, image(t))
	apply(t, l, b.Policy(sensor.GuardDrift|sensor.GuardFileless, 0))
	if err := l.Sensor.Kernel().Cover(sensor.GuardDrift); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Sensor.Kernel().Cover(0); err != nil {
			t.Fatal(err)
		}
	}()
	if out, code := b.Sh(t, "cp /bin/busybox /root/echo; /root/echo covered"); code != 0 || out != "covered\n" {
		t.Errorf("%d %q", code, out)
	}
	if e := l.Exec(t, "covered"); e.Outcome != bollwerk.Seen || e.Rule != "drift" {
		t.Errorf("%s by %q", e.Outcome, e.Rule)
	}
	if _, code := b.Sh(t, "PROCESS_TEST_HELPER=memfd /bin/helper /bin/busybox echo uncovered"); code != 137 {
		t.Errorf("the other guard: %d", code)
	}
}

func TestExistingContainer(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: opens a sensor of its own")
	}
	prerequisite.Root(t)
	look, err := sensor.Open(t.Context(), sensor.Options{NoBPF: true})
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	b := sensortest.NewBox(t, look, image(t))
	b.Sh(t, "cp /bin/busybox /root/sleep; /root/sleep 1000.125 & echo")
	l := sensortest.Watch(t, sensor.Options{}, New(Config{}))
	first := l.Sensor.Kernel().Processes.Known(b.PID, 0)
	if first == nil || first.Origin != bollwerk.OriginImage || first.Path != "/bin/sh" || first.Cgroup != b.Cgroup || first.CgroupPath != b.CgroupPath || !first.Contained || first.NSID != 1 {
		t.Errorf("%+v", first)
	}
	for _, p := range l.Sensor.Kernel().Processes.All() {
		if len(p.Args) == 2 && p.Args[1] == "1000.125" {
			if p.Origin != bollwerk.OriginCreated || p.Path != "/root/sleep" || p.Parent != first || p.Start%10e6 == 0 {
				t.Errorf("%+v", p)
			}
			return
		}
	}
	t.Error("what runs in it is not known")
}
