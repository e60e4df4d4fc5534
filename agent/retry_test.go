package agent

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// fullTable is a source whose table has no room until some is made.
type fullTable struct {
	mu      sync.Mutex
	full    bool
	tried   []time.Time
	holds   map[uint64]sensor.Guard
	applied chan uint64
}

func (*fullTable) Name() string { return "table" }
func (*fullTable) Open(context.Context, *sensor.Kernel) ([]sensor.Capability, error) {
	return nil, nil
}
func (*fullTable) Run(context.Context) error { return nil }
func (*fullTable) Close() error              { return nil }
func (f *fullTable) Apply(p *sensor.Policy) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tried = append(f.tried, time.Now())
	if f.full {
		f.applied <- 0
		return errors.New("no room")
	}
	f.holds[p.Cgroup] = p.Enforce
	f.applied <- p.Cgroup
	return nil
}
func (f *fullTable) Remove(cgroup uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.holds, cgroup)
	return nil
}

func (f *fullTable) await(t *testing.T) uint64 {
	t.Helper()
	select {
	case id := <-f.applied:
		return id
	case <-time.After(time.Minute):
		t.Fatal("it is not tried again")
		return 0
	}
}

// TestRetry: a workload whose policy is refused when it starts is said to be unprotected, and
// is tried again, ever more seldom, until it works or the workload ends.
func TestRetry(t *testing.T) {
	f := &fullTable{full: true, holds: map[uint64]sensor.Guard{}, applied: make(chan uint64, 1000)}
	a, lines := judging(t, f)
	path, id, _ := containerGroup(t, a.hierarchy, 3)
	pid, _ := inside(t, a.hierarchy, path)
	exec := &bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen,
		Process: &bollwerk.Process{PID: pid, Cgroup: id, CgroupPath: path, Contained: true}}
	a.queue.put(exec)
	for range 4 {
		if f.await(t) != 0 {
			t.Fatal("it has a policy")
		}
	}
	lines.await(t)
	row := func() WorkloadStatus {
		for _, w := range a.status().Workloads {
			if strings.Contains(path, w.Name) {
				return w
			}
		}
		t.Fatal("the workload is not listed")
		return WorkloadStatus{}
	}
	if w := row(); w.Verdict != bollwerk.Degraded || len(w.Causes) != 1 || !strings.Contains(w.Causes[0], "no room") || w.Enforced != "" {
		t.Errorf("%+v", w)
	}
	if v, causes := a.verdict(); v != bollwerk.Degraded || !strings.Contains(strings.Join(causes, "\n"), "is not protected as it should be") {
		t.Errorf("the agent is %s: %q", v, causes)
	}
	d := &bollwerk.Detection{Rule: "drift-execution", Mode: "enforce", Workload: exec.Workload, Process: exec.Process}
	if a.guarding.settle(d, exec); d.Outcome != bollwerk.Seen || !strings.Contains(d.How, "no room") {
		t.Errorf("%s: %s", d.Outcome, d.How)
	}
	f.mu.Lock()
	f.full = false
	for i := 2; i < len(f.tried); i++ {
		if gap := f.tried[i].Sub(f.tried[i-1]); gap < a.guarding.pause<<(i-1) {
			t.Errorf("tried again after %s", gap)
		}
	}
	f.mu.Unlock()
	for f.await(t) == 0 {
	}
	// Whoever put it in force has written it down when another may act.
	func() { a.guarding.acting.Lock(); defer a.guarding.acting.Unlock() }()
	if w := row(); w.Verdict != bollwerk.Pass || w.Enforced == "" {
		t.Errorf("%+v", w)
	}
	if v, causes := a.verdict(); strings.Contains(strings.Join(causes, "\n"), "protected") {
		t.Errorf("the agent is %s: %q", v, causes)
	}
}

// TestNothingAfterRelease: once enforcement was taken back, nothing is put in force any more,
// and nothing for a container that ended.
func TestNothingAfterRelease(t *testing.T) {
	f := &fullTable{full: true, holds: map[uint64]sensor.Guard{}, applied: make(chan uint64, 1000)}
	a, lines := judging(t, f)
	path, id, remove := containerGroup(t, a.hierarchy, 4)
	pid, end := inside(t, a.hierarchy, path)
	a.queue.put(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen,
		Process: &bollwerk.Process{PID: pid, Cgroup: id, CgroupPath: path, Contained: true}})
	f.await(t)
	lines.await(t)
	w := a.resolver.Workloads()
	end()
	remove()
	if word, _ := lines.await(t); word != "stop" {
		t.Fatal(word)
	}
	for _, w := range w {
		a.guarding.protect(w)
		if why := a.guarding.refusal(w, time.Now()); why != "" {
			t.Errorf("%s has ended, and is %s", w, why)
		}
	}
	path, id, _ = containerGroup(t, a.hierarchy, 5)
	pid, _ = inside(t, a.hierarchy, path)
	a.queue.put(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen,
		Process: &bollwerk.Process{PID: pid, Cgroup: id, CgroupPath: path, Contained: true}})
	lines.await(t)
	a.guarding.releaseAll()
	f.mu.Lock()
	f.full = false
	f.tried = nil
	f.mu.Unlock()
	for _, w := range a.resolver.Workloads() {
		a.guarding.protect(w)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.holds) > 0 || len(f.tried) > 0 {
		t.Errorf("%v is in force after the release", f.holds)
	}
}
