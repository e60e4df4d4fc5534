package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/internal/cgroup"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/workload"
)

// told hands out what an agent prints, line by line.
type told chan []byte

func (l told) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		l <- bytes.Clone(line)
	}
	return len(b), nil
}

// await returns the first word ("start", "stop") that is told of a container, and when.
func (l told) await(t *testing.T) (string, time.Time) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case line := <-l:
			var e struct {
				Kind   string
				Object struct{ Name string }
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if e.Kind == "container" {
				return e.Object.Name, time.Now()
			}
		case <-limit:
			t.Fatal("nothing is told of the container")
		}
	}
}

// judging is an agent that judges the events that are given to it.
func judging(t *testing.T, sources ...sensor.Source) (*Agent, told) {
	t.Helper()
	return judgingWith(t, func(*Agent) {}, sources...)
}

// judgingWith is one that is changed before it begins.
func judgingWith(t *testing.T, change func(*Agent), sources ...sensor.Source) (*Agent, told) {
	t.Helper()
	a := stopper(t, sources...)
	a.began = time.Now()
	lines := make(told, 1000)
	a.out = newOutput(lines, lines, nil)
	a.ledger, a.queue, a.profiles = newLedger(time.Now), newQueue(100, func(*bollwerk.Event) { t.Error("an event was dropped") }), &learning{a: a}
	a.metrics, a.folder = newMeters(a), detect.NewFolder(detect.FolderConfig{})
	a.held, a.workloads, a.trouble = map[uint64]*holding{}, map[spot]*known{}, map[string]string{}
	a.ending, a.gone = map[spot]ending{}, make(chan *bollwerk.Workload, 16)
	a.following = newFollowing()
	a.guarding = newGuarding(a)
	a.guarding.pause = 10 * time.Millisecond
	var err error
	if a.hierarchy, err = cgroup.Detect("", ""); err != nil {
		t.Fatal(err)
	}
	if a.rules, err = newRules(nil, nil); err != nil {
		t.Fatal(err)
	}
	if a.stream, err = detect.NewStream(detect.Config{}); err != nil {
		t.Fatal(err)
	}
	if a.resolver, err = workload.New(workload.Config{Hierarchy: a.hierarchy, Changed: a.renamed, Ended: a.ends}); err != nil {
		t.Fatal(err)
	}
	a.layers = workload.NewLayers(nil)
	change(a)
	ctx, cancel := context.WithCancel(context.Background())
	resolved, judged, guarded := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() { defer close(guarded); _ = a.guarding.run(ctx) }()
	go func() { defer close(resolved); _ = a.resolver.Run(ctx) }()
	go func() { defer close(judged); a.judgeAll() }()
	t.Cleanup(func() { cancel(); <-guarded; <-resolved; close(a.queue.ch); <-judged })
	return a, lines
}

// containerGroup makes the cgroup of a container, removed at the end.
func containerGroup(t *testing.T, h *cgroup.Hierarchy, n int) (path string, id uint64, remove func()) {
	t.Helper()
	path = fmt.Sprintf("/docker-%032x%032x.scope", os.Getpid(), n)
	for _, tree := range h.Trees() {
		if err := os.Mkdir(filepath.Join(tree, path), 0o755); err != nil {
			prerequisite.Missing(t, "a cgroup cannot be made: %v", err)
		}
	}
	remove = func() {
		for _, tree := range h.Trees() {
			dir := filepath.Join(tree, path)
			// Who was in it has ended and was waited for.
			if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	}
	t.Cleanup(remove)
	id, err := h.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, id, remove
}

// inside runs a process in a cgroup; the returned function ends it.
func inside(t *testing.T, h *cgroup.Hierarchy, path string) (pid uint32, end func()) {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(end)
	for _, tree := range h.Trees() {
		if err := os.WriteFile(filepath.Join(tree, path, "cgroup.procs"), fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
			t.Fatal(err)
		}
	}
	return uint32(cmd.Process.Pid), end
}

// TestEnd: the end of a container is told within a second, by the removal of its cgroup and
// by the end of its last process; it was told 15 to 25 seconds late. What still comes of it
// afterwards does not start it again, a new program does.
func TestEnd(t *testing.T) {
	a, lines := judging(t)
	of := func(kind bollwerk.EventKind, pid uint32, path string, id uint64) *bollwerk.Event {
		return &bollwerk.Event{Time: time.Now(), Kind: kind, Outcome: bollwerk.Seen,
			Process: &bollwerk.Process{PID: pid, Cgroup: id, CgroupPath: path, Contained: true, Parent: &bollwerk.Process{PID: 2}}}
	}
	within := func(what string, began time.Time) {
		t.Helper()
		word, at := lines.await(t)
		if took := at.Sub(began); word != what || took > time.Second || took < 0 {
			t.Errorf("%s after %s, want %s within a second", word, took, what)
		} else {
			t.Logf("%s after %s", word, took)
		}
	}
	lifted := func(id uint64) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, k := range a.workloads {
			if k.w.Cgroup == id {
				return k.lifted
			}
		}
		return true
	}

	// Its cgroup is removed; a summary comes later.
	path, id, remove := containerGroup(t, a.hierarchy, 1)
	pid, end := inside(t, a.hierarchy, path)
	began := time.Now()
	a.queue.put(of(bollwerk.EventExec, pid, path, id))
	within("start", began)
	end()
	remove()
	within("stop", time.Now())
	a.queue.put(of(bollwerk.EventFlow, pid, path, id))
	if !lifted(id) || a.living() != 0 {
		t.Errorf("its guards are not lifted, or it counts as living")
	}

	// Its last process ends, its cgroup stays. A child's end in between is not its end.
	path, id, remove = containerGroup(t, a.hierarchy, 2)
	pid, end = inside(t, a.hierarchy, path)
	a.queue.put(of(bollwerk.EventExec, pid, path, id))
	within("start", time.Now()) // and not the one before, again
	a.queue.put(of(bollwerk.EventExit, pid+1, path, id))
	time.AfterFunc(3*endDelay, func() { end(); a.queue.put(of(bollwerk.EventExit, pid, path, id)) })
	within("stop", time.Now().Add(3*endDelay))
	if lifted(id) {
		t.Error("its guards are lifted while its cgroup exists")
	}
	pid, end = inside(t, a.hierarchy, path)
	began = time.Now()
	a.queue.put(of(bollwerk.EventExec, pid, path, id))
	within("start", began)
	end()
	remove()
	within("stop", time.Now())
	if !lifted(id) {
		t.Error("its guards are not lifted")
	}
}

// calls are the system calls that were seen of cgroups.
type calls map[uint64][]uint64

func (c calls) Collect(take func(uint64, []uint64)) {
	for id := range c {
		c.CollectOf(id, take)
	}
}

func (c calls) CollectOf(id uint64, take func(uint64, []uint64)) {
	if b := c[id]; b != nil {
		delete(c, id)
		take(id, b)
	}
}

// TestCallsAtTheEnd: what a container called since all calls were collected is in its profile
// when it ends; those of others wait for their turn.
func TestCallsAtTheEnd(t *testing.T) {
	seen := calls{}
	a, lines := judgingWith(t, func(a *Agent) {
		book, err := profile.NewBook(profile.Config{Node: "node"})
		if err != nil {
			t.Fatal(err)
		}
		a.profiles.book, a.p.Syscalls = book, seen
	})
	path, id, remove := containerGroup(t, a.hierarchy, 6)
	pid, end := inside(t, a.hierarchy, path)
	row := func(nr int) []uint64 {
		b := make([]uint64, 8)
		b[nr/64] = 1 << (nr % 64)
		return b
	}
	seen[id], seen[id+1] = row(unix.SYS_REBOOT), row(unix.SYS_SYNC) // before the judgement runs
	a.queue.put(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen,
		Process: &bollwerk.Process{PID: pid, Path: "/bin/x", Cgroup: id, CgroupPath: path, Contained: true, Parent: &bollwerk.Process{PID: 2}}})
	if word, _ := lines.await(t); word != "start" {
		t.Fatal(word)
	}
	// No runtime names it here, so that its profile begins by hand.
	a.profiles.book.Observe(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen, Process: &bollwerk.Process{PID: pid, Path: "/bin/x", Cgroup: id},
		Workload: &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: id, Container: &bollwerk.Container{ID: "1", Name: "web", Image: "web:1"}}}, false)
	end()
	remove()
	if word, _ := lines.await(t); word != "stop" {
		t.Fatal(word)
	}
	keys := a.profiles.book.Keys()
	if len(keys) != 1 {
		t.Fatalf("profiles of %q", keys)
	}
	var b bytes.Buffer
	if err := a.profiles.book.Export(keys[0], &b); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), `"reboot"`) || strings.Contains(b.String(), `"sync"`) {
		t.Errorf("its calls: %s", &b)
	}
	if len(seen) != 1 || seen[id+1] == nil {
		t.Errorf("left: %v", seen)
	}
}
