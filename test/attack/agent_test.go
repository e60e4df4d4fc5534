package attack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	node "github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// agentProgram is built once; inside of a virtual machine it is given.
func agentProgram(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("BOLLWERK_AGENT"); p != "" {
		return p
	}
	prerequisite.Sources()
	p := filepath.Join(t.TempDir(), "bollwerk-agent")
	cmd := exec.Command("go", "build", "-o", p, "github.com/bollwerk/bollwerk/cmd/bollwerk-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the agent: %v\n%s", err, out)
	}
	return p
}

// agent is a running agent whose lines are kept.
type agent struct {
	t       testing.TB
	cmd     *exec.Cmd
	program string
	state   string
	socket  string

	mu         sync.Mutex
	changed    *sync.Cond
	detections []*bollwerk.Detection
	events     []*bollwerk.Event
	stderr     bytes.Buffer
	guards     int // lines that say that something came into force
	ended      bool
}

// toldLate is what the agent says of a start that waited for its layer in vain.
const toldLate = "told before its layer was known"

// layersAsked begins what it says of a container whose layers nobody told.
const layersAsked = `msg="layers of a container"`

type line struct {
	Type string `json:"type"`
}

// startAgent starts it and waits until it watches.
func startAgent(t testing.TB, args ...string) *agent {
	t.Helper()
	dir := t.TempDir()
	a := &agent{t: t, program: agentProgram(t), state: filepath.Join(dir, "state"), socket: filepath.Join(dir, "s")}
	a.changed = sync.NewCond(&a.mu)
	a.start(args...)
	t.Cleanup(a.stop)
	return a
}

func (a *agent) start(args ...string) {
	a.t.Helper()
	if os.Getenv("ATTACK_DEBUG") != "" {
		args = append(args, "--events")
	}
	a.cmd = exec.Command(a.program, append([]string{"run", "--stdout-json", "--verbose", "--state", a.state, "--socket", a.socket}, args...)...)
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	errs, err := a.cmd.StderrPipe()
	if err != nil {
		a.t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		sc := bufio.NewScanner(errs)
		open := true
		for sc.Scan() {
			a.mu.Lock()
			// What --verbose adds is to be waited for, not to be read by people.
			if a.stderr.Len() < 1<<20 && (!strings.Contains(sc.Text(), " level=DEBUG ") || strings.Contains(sc.Text(), toldLate) || strings.Contains(sc.Text(), layersAsked) || os.Getenv("ATTACK_DEBUG") != "") {
				fmt.Fprintln(&a.stderr, sc.Text())
			}
			if strings.Contains(sc.Text(), "msg=guarded ") || strings.Contains(sc.Text(), "msg=watched ") {
				a.guards++
				a.changed.Broadcast()
			}
			a.mu.Unlock()
			if open && strings.HasPrefix(sc.Text(), "watching") {
				open = false
				close(ready)
			}
		}
		if open {
			close(ready)
		}
	}()
	var lines io.Reader = out
	if name := os.Getenv("ATTACK_DEBUG"); name != "" { // everything the agent says, for a person
		f, err := os.Create(name)
		if err != nil {
			a.t.Fatal(err)
		}
		lines = io.TeeReader(out, f)
	}
	go a.read(lines)
	select {
	case <-ready:
	case <-time.After(2 * time.Minute * slowness()):
		a.t.Fatalf("the agent is not ready in time:\n%s", a.log())
	}
	if !strings.Contains(a.log(), "watching") {
		a.t.Fatalf("the agent did not start:\n%s", a.log())
	}
}

func (a *agent) log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stderr.String()
}

func (a *agent) read(r io.Reader) {
	br := bufio.NewReaderSize(r, 1<<20)
	for {
		b, err := br.ReadBytes('\n')
		if len(b) > 0 {
			a.take(b)
		}
		if err != nil {
			a.mu.Lock()
			a.ended = true
			a.changed.Broadcast()
			a.mu.Unlock()
			return
		}
	}
}

func (a *agent) take(b []byte) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		a.t.Errorf("a line that is not JSON: %q", b)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch l.Type {
	case "detection":
		d := &bollwerk.Detection{}
		if err := json.Unmarshal(b, d); err != nil {
			a.t.Errorf("%v: %q", err, b)
		}
		a.detections = append(a.detections, d)
	case "event":
		e := &bollwerk.Event{}
		if err := json.Unmarshal(b, e); err != nil {
			a.t.Errorf("%v: %q", err, b)
		}
		a.events = append(a.events, e)
	default:
		a.t.Errorf("a line of type %q", l.Type)
	}
	a.changed.Broadcast()
}

// await waits until ok, called under the lock, is true.
func (a *agent) await(limit time.Duration, ok func() bool) bool {
	limit *= slowness()
	stop := time.AfterFunc(limit, func() {
		a.mu.Lock()
		a.changed.Broadcast()
		a.mu.Unlock()
	})
	defer stop.Stop()
	deadline := time.Now().Add(limit)
	a.mu.Lock()
	defer a.mu.Unlock()
	for !ok() {
		if a.ended || !time.Now().Before(deadline) {
			return false
		}
		a.changed.Wait()
	}
	return true
}

// of returns the detections about one container.
func (a *agent) of(id string) []*bollwerk.Detection {
	var out []*bollwerk.Detection
	for _, d := range a.detections {
		if w := d.Workload; w != nil && w.Container != nil && w.Container.ID == id {
			out = append(out, d)
		}
	}
	return out
}

// at returns the detections about what was done on the host in a folder.
func (a *agent) at(dir string) []*bollwerk.Detection {
	var out []*bollwerk.Detection
	for _, d := range a.detections {
		if d.Workload != nil && d.Workload.Container != nil {
			continue
		}
		for p := d.Process; p != nil; p = p.Parent {
			if strings.HasPrefix(p.Cwd, dir) || slices.ContainsFunc(p.Args, func(s string) bool { return strings.HasPrefix(s, dir) }) {
				out = append(out, d)
				break
			}
		}
	}
	return out
}

// told is when the start or the stop of a container was told; with --events, under the lock.
func (a *agent) told(id, what string) (times []time.Time) {
	for _, e := range a.events {
		if w := e.Workload; e.Kind == bollwerk.EventContainer && e.Object.Name == what && w != nil && w.Container != nil && w.Container.ID == id {
			times = append(times, e.Time)
		}
	}
	return times
}

// areas is what the agent says about this kernel.
func (a *agent) areas(t testing.TB) map[string]node.Area {
	t.Helper()
	var s node.Status
	must(t, node.Ask(context.Background(), a.socket, "GET", "/status", &s))
	out := map[string]node.Area{}
	for _, r := range s.Areas {
		out[r.Name] = r
	}
	return out
}

// slowness is how much longer an emulated processor may take; nobody waits for it in vain.
func slowness() time.Duration {
	if os.Getenv(inVM) != "" {
		return 3
	}
	return 1
}

// awaitProtected waits until the agent knows a container and has its guards in force. It is
// asked again each time that it says that something came into force.
func (a *agent) awaitProtected(t testing.TB, id string) {
	t.Helper()
	a.awaitStatus(t, id, func(w *node.WorkloadStatus) bool { return w.Enforced != "" && w.Watched })
}

// awaitStatus waits until the agent knows a container and says of it what is wanted.
func (a *agent) awaitStatus(t testing.TB, id string, wanted func(*node.WorkloadStatus) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second * slowness()); ; {
		a.mu.Lock()
		seen := a.guards
		a.mu.Unlock()
		var s node.Status
		if err := node.Ask(context.Background(), a.socket, "GET", "/status", &s); err != nil {
			t.Fatalf("%v:\n%s", err, a.log())
		}
		for i := range s.Workloads {
			if w := &s.Workloads[i]; w.Name == id && wanted(w) {
				return
			}
		}
		if !a.await(time.Until(deadline)/slowness(), func() bool { return a.guards > seen }) {
			known, _ := json.MarshalIndent(s.Workloads, "", " ")
			t.Fatalf("%s is not protected in time; the agent knows:\n%s\nand said:\n%s\nprocesses:\n%s", id, known, a.log(), processes())
		}
	}
}

func (a *agent) stop() {
	if name := os.Getenv("ATTACK_DEBUG"); name != "" {
		defer func() { _ = os.WriteFile(name+".log", []byte(a.log()), 0o600) }()
	}
	if a.cmd.ProcessState != nil {
		return
	}
	_ = a.cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { _ = a.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second * slowness()):
		_ = a.cmd.Process.Kill()
		<-done
		a.t.Errorf("the agent did not stop in time:\n%s", a.log())
	}
}

// processes are those that run now, with what the kernel waits for on their behalf: where
// a container does not come, they say why.
func processes() string {
	var b strings.Builder
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		command, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(command) == 0 {
			continue // the kernel's own
		}
		stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
		group, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		stack, _ := os.ReadFile(filepath.Join(dir, "stack"))
		line, _, _ := strings.Cut(string(stat), " 0 ")
		fmt.Fprintf(&b, "  %s %q %q %q\n", line, bytes.ReplaceAll(command, []byte{0}, []byte{' '}), bytes.TrimSpace(group), stack)
	}
	return b.String()
}

func describe(ds []*bollwerk.Detection) string {
	var b strings.Builder
	for _, d := range ds {
		fmt.Fprintf(&b, "  %s %s %s (%s) ×%d: %s\n", d.Rule, d.Severity, d.Outcome, d.How, d.Count, d.Message)
	}
	return b.String()
}
