package procfs

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

type collector struct {
	mu     sync.Mutex
	more   chan struct{}
	events []*bollwerk.Event
	s      *sensor.Sensor
}

func watch(t *testing.T, o sensor.Options, sources ...sensor.Source) *collector {
	t.Helper()
	s, err := sensor.Open(t.Context(), o, sources...)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{s: s, more: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, func(e *bollwerk.Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.events = append(c.events, e)
			close(c.more)
			c.more = make(chan struct{})
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *collector) find(t *testing.T, what string, fits func(*bollwerk.Event) bool) *bollwerk.Event {
	t.Helper()
	late := time.After(time.Minute)
	for seen := 0; ; {
		c.mu.Lock()
		more := c.more
		for ; seen < len(c.events); seen++ {
			if fits(c.events[seen]) {
				defer c.mu.Unlock()
				return c.events[seen]
			}
		}
		c.mu.Unlock()
		select {
		case <-more:
		case <-late:
			t.Fatalf("%s: no such event in %d", what, seen)
		}
	}
}

// need skips where the kernel cannot and the product says so.
func (c *collector) need(t *testing.T, area, means string) {
	t.Helper()
	for _, r := range c.s.Capabilities() {
		if r.Area == area && r.Means == means && r.Verdict != bollwerk.NotEvaluated {
			return
		}
	}
	for _, r := range c.s.Capabilities() {
		if r.Area == area && r.Cause != "" && r.Remedy != "" {
			t.Skipf("this kernel cannot, and the product says so: %s", r.Cause)
		}
	}
	t.Fatalf("%s is not covered, and nobody says so: %+v", area, c.s.Capabilities())
}

// TestHelper is what other tests start as a process of its own.
func TestHelper(t *testing.T) {
	switch what, arg, _ := strings.Cut(os.Getenv("BOLLWERK_TEST_HELPER"), " "); what {
	case "ptrace":
		pid, err := strconv.Atoi(arg)
		if err != nil {
			t.Fatal(err)
		}
		runtime.LockOSThread()
		if err := syscall.PtraceAttach(pid); err != nil {
			t.Fatal(err)
		}
		var ws syscall.WaitStatus
		syscall.Wait4(pid, &ws, 0, nil)
		syscall.PtraceDetach(pid)
	case "setuid":
		if err := syscall.Setuid(65534); err != nil {
			t.Fatal(err)
		}
		io.ReadAll(os.Stdin)
	case "packet":
		if _, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("ready\n")
		io.ReadAll(os.Stdin)
	case "poll":
		pollWithoutRights(t, arg)
	}
}

// helper starts the test's own program in a role; it ends when its input does.
func helper(t *testing.T, role string, wrap ...string) (*exec.Cmd, io.WriteCloser) {
	t.Helper()
	args := append(wrap, os.Args[0], "-test.run", "^TestHelper$", "-test.v")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "BOLLWERK_TEST_HELPER="+role)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Process.Kill(); cmd.Wait() })
	return cmd, in
}

func TestPtraceSeen(t *testing.T) {
	c := watch(t, sensor.Options{}, &Connector{})
	c.need(t, AreaPtrace, "proc connector")
	target := exec.Command("sleep", "60")
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { target.Process.Kill(); target.Wait() }()
	tracer, _ := helper(t, "ptrace "+strconv.Itoa(target.Process.Pid))
	e := c.find(t, "ptrace", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventPtrace && e.Target.PID == uint32(target.Process.Pid)
	})
	if e.Process.PID != uint32(tracer.Process.Pid) || e.Source != "netlink" {
		t.Errorf("tracer %d, want %d", e.Process.PID, tracer.Process.Pid)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.Kind == bollwerk.EventExec || e.Kind == bollwerk.EventExit {
			t.Errorf("%s is another source's, and was told all the same", e.Kind)
		}
	}
}

func TestCredentialsSeen(t *testing.T) {
	root(t)
	c := watch(t, sensor.Options{NoBPF: true}, &Connector{})
	c.need(t, AreaCredentials, "proc connector")
	cmd, _ := helper(t, "setuid")
	e := c.find(t, "setuid", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventCredentials && e.Process.PID == uint32(cmd.Process.Pid)
	})
	if e.Change.OldUID != 0 || e.Change.UID != 65534 || e.Change.EUID != 65534 || e.Process.EUID != 65534 {
		t.Errorf("%+v", e.Change)
	}
}

func TestExecAndExitWithoutBPF(t *testing.T) {
	c := watch(t, sensor.Options{NoBPF: true}, &Connector{})
	c.need(t, AreaExec, "proc connector")
	cmd := exec.Command("sh", "-c", "read x; exit 7", "hostile \x1b[31m \xff name")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	e := c.find(t, "exec", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventExec && e.Process.PID == pid })
	if len(e.Process.Args) != 4 || e.Process.Args[3] != "hostile \x1b[31m \xff name" || e.Process.Parent == nil || e.Process.Parent.PID != uint32(os.Getpid()) {
		t.Errorf("%+v", e.Process)
	}
	in.Close()
	cmd.Wait()
	e = c.find(t, "exit", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventExit && e.Process.PID == pid })
	if e.Process.ExitCode != 7<<8 {
		t.Errorf("exit code %#x, want %#x", e.Process.ExitCode, 7<<8)
	}
}

// Processes that end at once are told, with what is known of them, and the rest is
// counted.
func TestShortLivedAreCounted(t *testing.T) {
	c := watch(t, sensor.Options{NoBPF: true}, &Connector{})
	c.need(t, AreaExec, "proc connector")
	const n = 300
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt "+strconv.Itoa(n)+" ]; do /bin/true; i=$((i+1)); done; exec sleep 60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	shell := uint32(cmd.Process.Pid)
	c.find(t, "last exec", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventExec && e.Process.PID == shell && strings.HasPrefix(strings.Join(e.Process.Args, " "), "sleep")
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, full, lost := 0, 0, uint64(0)
	own := c.s.Kernel().Processes.Get(uint32(os.Getpid()), 0)
	for _, e := range c.events {
		switch {
		case e.Kind == bollwerk.EventLoss:
			lost += e.Loss.Count
		case e.Kind == bollwerk.EventExec && e.Process.Parent != nil && e.Process.Parent.PID == shell:
			seen++
			if !e.Process.Truncated {
				full++
			}
			if e.Process.Cgroup != own.Cgroup || e.Process.MountNS != own.MountNS {
				t.Errorf("whose it was is not known: %+v", e.Process)
			}
		}
	}
	t.Logf("%d of %d seen, %d in full, %d counted as less", seen, n, full, lost)
	if seen < n && lost == 0 || uint64(seen-full) > lost {
		t.Errorf("%d of %d program starts seen, %d in full, and nothing says that some are missing", seen, n, full)
	}
}

// What another means tells of a process that ended long ago finds it where Sync was asked
// before: the workload it ran in, and the parent.
func TestSyncTellsTheDead(t *testing.T) {
	c := watch(t, sensor.Options{NoBPF: true}, &Connector{})
	c.need(t, AreaExec, "proc connector")
	k := c.s.Kernel()
	for range 200 {
		cmd := exec.Command("/bin/true")
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		pid := uint32(cmd.Process.Pid)
		k.Sync()
		p := k.Processes.Get(pid, 0)
		if p.MountNS != k.HostNamespaces().Mount || p.Cgroup == 0 || p.Parent == nil || p.Parent.PID != uint32(os.Getpid()) {
			t.Fatalf("%+v is not known any more", p)
		}
	}
}

// Without rights it works as well as the kernel lets it, and says what it misses: newer
// kernels let everybody listen to the connector, but nobody outside the host's namespaces.
func TestWithoutRights(t *testing.T) {
	for name, wrap := range map[string][]string{
		"unprivileged": {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"},
		"namespaces":   {"unshare", "-U", "-r", "-p", "-f", "-n", "--mount-proc"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd, in := helper(t, "poll "+name, wrap...)
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func pollWithoutRights(t *testing.T, how string) {
	c := watch(t, sensor.Options{}, &Connector{Interval: 50 * time.Millisecond})
	if err := c.s.Kernel().BPF(); err == nil {
		t.Error("BPF works without rights?")
	}
	for _, area := range []string{AreaExec, AreaPtrace} {
		found := false
		for _, r := range c.s.Capabilities() {
			if r.Area == area {
				found = true
				if r.Verdict == bollwerk.Pass || r.Cause == "" || r.Remedy == "" {
					t.Errorf("%+v says less than it should", r)
				}
			}
		}
		if !found {
			t.Errorf("no word about %s", area)
		}
	}
	// The first look takes what already runs; processes are started until one is told.
	for i := 0; ; i++ {
		cmd := exec.Command("sleep", "0.2")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		c.mu.Lock()
		for _, e := range c.events {
			if e.Kind == bollwerk.EventExec && e.Process.Name == "sleep" && (how != "namespaces" || e.Source == "procfs") {
				c.mu.Unlock()
				return
			}
		}
		c.mu.Unlock()
		if i == 50 {
			t.Fatal("no program start was seen")
		}
	}
}

func TestParseState(t *testing.T) {
	b := []byte("7 (a) b) (c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 1 2 3")
	s, ok := parseState(b)
	if !ok || s.name != "a) b) (c" || s.start != 12345 {
		t.Errorf("%+v %v", s, ok)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(control(cnListen))
	f.Add(make([]byte, 76))
	f.Fuzz(func(t *testing.T, b []byte) {
		parse(b)
		parseState(b)
	})
}
