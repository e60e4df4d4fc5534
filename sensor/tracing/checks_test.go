package tracing

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// collector keeps the events of a running sensor and lets a test wait for one.
type collector struct {
	mu     sync.Mutex
	more   chan struct{}
	events []*bollwerk.Event
	s      *sensor.Sensor
	files  *Files
}

func watch(t *testing.T, sources ...sensor.Source) *collector {
	t.Helper()
	if os.Getuid() != 0 {
		unavailable(t, "needs root")
	}
	s, err := sensor.Open(t.Context(), sensor.Options{}, sources...)
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{s: s, more: make(chan struct{})}
	for _, src := range sources {
		if f, ok := src.(*Files); ok {
			c.files = f
		}
	}
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

// find waits for an event that fits.
func (c *collector) find(t *testing.T, what string, fits func(*bollwerk.Event) bool) *bollwerk.Event {
	t.Helper()
	late := time.After(time.Minute)
	seen := 0
	for {
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
			c.mu.Lock()
			for _, e := range c.events {
				t.Logf("%s %+v file=%+v object=%+v mount=%+v change=%+v ns=%+v", e.Kind, e.Process, e.File, e.Object, e.Mount, e.Change, e.Namespace)
			}
			c.mu.Unlock()
			t.Fatalf("%s: no such event", what)
		}
	}
}

func (c *collector) has(area string) bool {
	for _, r := range c.s.Capabilities() {
		if r.Area == area && r.Verdict != bollwerk.NotEvaluated {
			return true
		}
	}
	return false
}

func (c *collector) need(t *testing.T, area string) {
	t.Helper()
	if c.has(area) {
		return
	}
	for _, r := range c.s.Capabilities() {
		// A function that the kernel does not have (before 5.15) is no fault of the program.
		if r.Area == area && strings.Contains(r.Cause, "load program") && !strings.Contains(r.Cause, "invalid func unknown#") {
			t.Fatalf("the verifier refuses our program: %s", r.Cause)
		}
		if r.Area == area && r.Cause != "" {
			t.Skipf("this kernel cannot, and the product says so: %s: %s", area, r.Cause)
		}
	}
	t.Fatalf("%s is not covered, and nobody says so: %+v", area, c.s.Capabilities())
}

// tool is the absolute path of a command: busybox starts its own ones through /proc/self/exe,
// which leads out of a new mount namespace.
func tool(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		unavailable(t, err.Error())
	}
	return p
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Logf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestMountSeen(t *testing.T) {
	c := watch(t, &Checks{})
	c.need(t, AreaMount)
	dir := t.TempDir()
	run(t, "unshare", "-m", tool(t, "mount"), "-t", "tmpfs", "-o", "size=4k", "bwtest", dir)
	e := c.find(t, "mount", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventMount && e.Mount.Target == dir })
	if e.Mount.Type != "tmpfs" && e.Object.Name == "mount" {
		t.Errorf("mount %+v object %+v", e.Mount, e.Object)
	}
	t.Logf("%+v %+v", e.Mount, e.Object)
}

func TestCapabilitySeen(t *testing.T) {
	c := watch(t, &Checks{})
	c.need(t, AreaCapability)
	run(t, "unshare", "-m", "true")
	c.find(t, "capability", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventCapability && e.Change.Used == "CAP_SYS_ADMIN"
	})
}

func TestNamespaceSeen(t *testing.T) {
	c := watch(t, &Checks{})
	c.need(t, AreaNamespace)
	run(t, "unshare", "-m", "-u", "true")
	c.find(t, "unshare", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventNamespace && slices.Equal(e.Namespace.Kinds, []string{"mnt", "uts"}) && !e.Namespace.Entered && !e.Namespace.ToHost
	})
	run(t, "unshare", "-m", tool(t, "nsenter"), "--mount=/proc/"+strconv.Itoa(os.Getpid())+"/ns/mnt", "true")
	c.find(t, "setns", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventNamespace && slices.Equal(e.Namespace.Kinds, []string{"mnt"}) && e.Namespace.Entered && e.Namespace.ToHost
	})
}

func TestPacketSocketSeen(t *testing.T) {
	if os.Getenv("BOLLWERK_TEST_SOCKET") != "" {
		if _, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW, 0); err != nil {
			t.Fatal(err)
		}
		return
	}
	c := watch(t, &Checks{})
	c.need(t, AreaPacket)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPacketSocketSeen$")
	cmd.Env = append(os.Environ(), "BOLLWERK_TEST_SOCKET=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.find(t, "packet socket", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventSocket && e.Connection.Protocol == "packet" && e.Process.PID == uint32(cmd.Process.Pid)
	})
}

func TestSettingSeen(t *testing.T) {
	c := watch(t, &Checks{})
	c.need(t, AreaSetting)
	old, err := os.ReadFile("/proc/sys/kernel/domainname")
	if err != nil {
		t.Fatal(err)
	}
	// In a namespace of its own: nothing of the machine changes.
	run(t, "unshare", "-u", "sh", "-c", "echo bollwerk.test > /proc/sys/kernel/domainname")
	e := c.find(t, "setting", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventSetting && e.Object.Name == "kernel/domainname"
	})
	if e.Object.Value != "bollwerk.test" || e.Object.Old != strings.TrimSpace(string(old)) || e.Outcome != bollwerk.Seen {
		t.Errorf("%+v outcome %s", e.Object, e.Outcome)
	}
}

func TestRows(t *testing.T) {
	c := watch(t, &Checks{})
	for _, r := range c.s.Capabilities() {
		t.Logf("%+v", r)
		if r.Verdict.NeedsCause() && r.Cause == "" {
			t.Errorf("%s: verdict %s without a cause", r.Area, r.Verdict)
		}
	}
}

// A write that was told is not told again by who hears of it another way; another's is.
func TestWritesTold(t *testing.T) {
	var c Checks
	now := time.Now()
	c.wrote.put(7, "release_agent", now)
	if !c.Told(7, "/sys/fs/cgroup/pids/release_agent") || c.Told(8, "/sys/fs/cgroup/pids/release_agent") || c.Told(7, "/sys/kernel/uevent_helper") {
		t.Error("not told apart by process and name")
	}
	if c.wrote.has(7, "release_agent", now.Add(writesLife)) || c.wrote.has(7, "release_agent", now.Add(-time.Hour)) {
		t.Error("remembered for too long")
	}
	for i := range uint32(10 * writesMost) {
		c.wrote.put(i, "release_agent", now)
	}
	if len(c.wrote.all) > writesMost {
		t.Errorf("%d writes are remembered", len(c.wrote.all))
	}
}
