package tracing

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

const gated = `read x
	evil true 2>/out/err1 || echo evil refused $? >> /out/log
	/bin/cat /etc/passwd >/dev/null && echo cat passed >> /out/log
	/bin/cat /etc/shadow >/dev/null 2>&1 || echo shadow refused >> /out/log
	read x`

func gatePolicy(pid int) *sensor.Policy {
	return &sensor.Policy{Cgroup: 4712, PID: uint32(pid), Enforce: sensor.GuardExec | sensor.GuardRead, Exec: []string{"/bin/cat", "/bin/sh"}}
}

// apply waits until somebody answers: before that a policy is only noted.
func (g *Gate) apply(t *testing.T, p *sensor.Policy) {
	t.Helper()
	await(t, "the gate", func() bool { g.mu.Lock(); defer g.mu.Unlock(); return g.running })
	if err := g.Apply(p); err != nil {
		t.Fatal(err)
	}
}

func TestGateDenies(t *testing.T) {
	dir := tree(t)
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o755); err != nil {
		t.Fatal(err)
	}
	g := &Gate{}
	c := watch(t, g)
	c.need(t, AreaExecDeny)
	cmd, in := container(t, dir, gated)
	pid := cmd.Process.Pid
	g.apply(t, gatePolicy(pid))
	log := func() string {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/root/out/log")
		return string(b)
	}
	in.Write([]byte("\n"))
	await(t, "the script's end", func() bool { return strings.Contains(log(), "shadow") || strings.Count(log(), "\n") == 3 })
	if got := log(); got != "evil refused 126\ncat passed\nshadow refused\n" {
		t.Errorf("%q", got)
	}
	e := c.find(t, "refused exec", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventExec && e.Outcome == bollwerk.Denied })
	if e.File.Path != "/bin/evil" || e.Rule != "exec" || e.Result != int32(syscall.EPERM) || e.Process.PID == 0 {
		t.Errorf("%+v %+v", e, e.File)
	}
	e = c.find(t, "refused read", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventOpen && e.Outcome == bollwerk.Denied })
	if e.File.Path != "/etc/shadow" || e.Rule != "read" {
		t.Errorf("%+v %+v", e, e.File)
	}
	// From outside, as a runtime or an admin reaches in: never refused.
	if out, err := exec.Command("sh", "-c", "/proc/"+strconv.Itoa(pid)+"/root/bin/evil true").CombinedOutput(); err != nil && !strings.Contains(string(out), "applet not found") {
		t.Errorf("the host was refused: %v %s", err, out)
	}
	if _, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/root/etc/shadow"); err != nil {
		t.Error(err)
	}
	if err := g.Remove(4712); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("\n"))
	cmd.Wait()
	if n := len(c.s.Means()); n == 0 {
		t.Error("no means")
	}
}

// The host's own mount namespace is never marked, whatever a policy says.
func TestGateSparesHost(t *testing.T) {
	g := &Gate{}
	c := watch(t, g)
	c.need(t, AreaExecDeny)
	g.apply(t, gatePolicy(os.Getpid()))
	if len(g.guarded) != 0 {
		t.Error("the host is guarded")
	}
	if out, err := exec.Command("/bin/true").CombinedOutput(); err != nil {
		t.Errorf("%v %s", err, out)
	}
}

// An agent that does not answer lets everybody pass after a bounded time, and says so.
func TestGateIsPatient(t *testing.T) {
	dir := tree(t)
	g := &Gate{}
	s, err := sensor.Open(t.Context(), sensor.Options{NoBPF: true}, g)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if g.err != nil || g.group == nil {
		t.Skip(g.err)
	}
	cmd, in := container(t, dir, "read x; /bin/evil true; echo done > /etc/done; read x")
	if err := g.enforce(gatePolicy(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	in.Write([]byte("\n"))
	// Take the question like the reader would, and then say nothing.
	if _, err := unix.Poll([]unix.PollFd{{Fd: int32(g.group.fd), Events: unix.POLLIN}}, 20000); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := g.group.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	var e notice
	if _, ok := nextNotice(buf[:n], &e); !ok {
		t.Fatal("no question")
	}
	g.mu.Lock()
	g.pending[e.fd] = time.Now()
	g.mu.Unlock()
	loss := make(chan *bollwerk.Event, 16)
	go s.Run(t.Context(), func(e *bollwerk.Event) {
		if e.Kind == bollwerk.EventLoss {
			loss <- e
		}
	})
	select {
	case e := <-loss:
		if e.Loss.Count == 0 {
			t.Error("nothing counted")
		}
	case <-time.After(time.Minute):
		t.Fatal("the question was never let go")
	}
	await(t, "the program", func() bool {
		_, err := os.Stat("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/root/etc/done")
		return err == nil
	})
}

// kill -9 of the agent with a gate in force: the kernel lets everybody pass.
func TestGateDeathFallsOpen(t *testing.T) {
	if pid := os.Getenv("BOLLWERK_TEST_GATE"); pid != "" {
		g := &Gate{}
		watch(t, g)
		n, _ := strconv.Atoi(pid)
		g.apply(t, gatePolicy(n))
		os.Stdout.WriteString("armed\n")
		time.Sleep(time.Minute)
	}
	dir := tree(t)
	c := watch(t, &Gate{})
	c.need(t, AreaExecDeny)
	cmd, in := container(t, dir, "while read x; do /bin/evil true; echo $? > /etc/result; done")
	agent := exec.Command(os.Args[0], "-test.run", "^TestGateDeathFallsOpen$")
	agent.Env = append(os.Environ(), "BOLLWERK_TEST_GATE="+strconv.Itoa(cmd.Process.Pid))
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { agent.Process.Kill(); agent.Wait() }()
	for sc := bufio.NewScanner(out); sc.Scan() && sc.Text() != "armed"; {
	}
	result := func() string {
		name := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/root/etc/result"
		os.Remove(name)
		in.Write([]byte("\n"))
		var b []byte
		await(t, "a result", func() bool { b, _ = os.ReadFile(name); return len(b) > 1 })
		return strings.TrimSpace(string(b))
	}
	if got := result(); got != "126" {
		t.Errorf("with the agent: %s, want a refusal (126)", got)
	}
	agent.Process.Kill()
	agent.Wait()
	if got := result(); got == "126" {
		t.Errorf("without the agent: still refused")
	}
}

// A policy that comes before anybody answers is put in force by Run, and nothing waits
// when Run has ended.
func TestGateBeforeAndAfterRun(t *testing.T) {
	dir := tree(t)
	g := &Gate{}
	s, err := sensor.Open(t.Context(), sensor.Options{NoBPF: true}, g)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if g.err != nil || g.group == nil {
		t.Skip(g.err)
	}
	cmd, in := container(t, dir, "while read x; do /bin/evil true; echo $? > /etc/result; done")
	name := "/proc/" + strconv.Itoa(cmd.Process.Pid) + "/root/etc/result"
	result := func() string {
		os.Remove(name)
		in.Write([]byte("\n"))
		var b []byte
		await(t, "a result", func() bool { b, _ = os.ReadFile(name); return len(b) > 1 })
		return strings.TrimSpace(string(b))
	}
	if err := g.Apply(gatePolicy(cmd.Process.Pid)); err != nil {
		t.Fatal(err)
	}
	if got := result(); got == "126" {
		t.Error("refused, and nobody answers yet")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx, func(*bollwerk.Event) {}) }()
	await(t, "a refusal", func() bool { return result() == "126" })
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := result(); got == "126" {
		t.Error("still refused after the end")
	}
}

// A container whose first process ends before it has a root of its own is told to whoever
// gave the policy, who can give one with another process.
func TestGateFirstProcessGone(t *testing.T) {
	g := &Gate{}
	c := watch(t, g)
	c.need(t, AreaExecDeny)
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	p := gatePolicy(cmd.Process.Pid)
	p.Failed = func(err error) { failed <- err }
	g.apply(t, p)
	cmd.Process.Kill()
	cmd.Wait()
	select {
	case err := <-failed:
		if !strings.Contains(err.Error(), "gone") {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody is told")
	}
}
