package process

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// agent is a process of its own with a sensor and policies in force; it lives until
// its input ends, or is killed.
func agent(pins string, policies []*sensor.Policy) error {
	s, err := sensor.Open(context.Background(), sensor.Options{PinRoot: pins}, New(Config{}))
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(*bollwerk.Event) {}) }()
	for _, p := range policies {
		if err := s.Apply(p); err != nil {
			return err
		}
	}
	if err := s.TakeOver(); err != nil {
		return err
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	cancel()
	return <-done
}

type running struct {
	cmd *exec.Cmd
	end func()
}

func startAgent(t *testing.T, pins string, policies ...*sensor.Policy) *running {
	t.Helper()
	b, err := json.Marshal(policies)
	if err != nil {
		t.Fatal(err)
	}
	cmd := helper("agent", pins, string(b))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("agent: %v %q", err, line)
	}
	return &running{cmd, func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}}
}

// pinRoot is a folder of a BPF file system of the test's own.
func pinRoot(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return filepath.Join(dir, "bollwerk")
}

func TestOutliveOrFallOpen(t *testing.T) {
	prerequisite.Root(t)
	// This sensor only knows where the cgroups are; the agent is another process.
	look, err := sensor.Open(t.Context(), sensor.Options{NoBPF: true})
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	img := image(t)
	stays, falls := sensortest.NewBox(t, look, img), sensortest.NewBox(t, look, img)
	for _, b := range []*sensortest.Box{stays, falls} {
		if _, code := b.Sh(t, "cp /bin/busybox /root/echo; /root/echo"); code != 0 {
			t.Fatal(code)
		}
	}
	try := func(b *sensortest.Box) bool {
		_, code := b.Sh(t, "/root/echo outlive")
		return code == 128+9
	}
	expect := func(when string, s, f bool) {
		t.Helper()
		if gs, gf := try(stays), try(falls); gs != s || gf != f {
			t.Errorf("%s: the one that outlives is held: %v, the other: %v", when, gs, gf)
		}
	}
	pins := pinRoot(t)
	keep := stays.Policy(sensor.GuardDrift, 0)
	keep.Outlive = true
	open := falls.Policy(sensor.GuardDrift, 0)

	expect("before", false, false)
	a := startAgent(t, pins, keep, open)
	expect("with an agent", true, true)
	if err := a.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = a.cmd.Wait()
	expect("after kill -9", true, false)

	// The next agent has other policies: only its own hold when it has taken over.
	if n := len(sensor.Inherited(pins)); n == 0 {
		t.Error("nothing is pinned")
	}
	a = startAgent(t, pins, keep, open)
	expect("with the next agent", true, true)
	if testing.Short() {
		if err := a.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = a.cmd.Wait()
		if err := sensor.Release(pins); err != nil {
			t.Fatal(err)
		}
		expect("released", false, false)
		return
	}
	a.end()
	expect("after its peaceful end", true, false)
	a = startAgent(t, pins, open)
	expect("with an agent without pins", false, true)
	if left := sensor.Inherited(pins); len(left) != 0 {
		t.Errorf("left behind: %s", strings.Join(left, " "))
	}
	a.end()
	expect("after that", false, false)

	a = startAgent(t, pins, keep)
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
	expect("pinned again", true, false)
	if err := sensor.Release(pins); err != nil {
		t.Fatal(err)
	}
	expect("released", false, false)
	if err := sensor.Release(pins); err != nil {
		t.Errorf("released twice: %v", err)
	}
}
