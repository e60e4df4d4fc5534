package agent

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

// boxed runs a process with namespaces of its own in a cgroup until the test ends.
func boxed(t *testing.T, h *cgroup.Hierarchy, path string) uint32 {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for _, tree := range h.Trees() {
		if err := os.WriteFile(filepath.Join(tree, path, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	return uint32(cmd.Process.Pid)
}

// TestEndLingers: who ends last in a container is not always told of; that the container
// ended is found all the same, by looks after the end that was told.
func TestEndLingers(t *testing.T) {
	a, lines := judging(t)
	path, id, _ := containerGroup(t, a.hierarchy, 3)
	pid, end := inside(t, a.hierarchy, path)
	of := func(kind bollwerk.EventKind) *bollwerk.Event {
		return &bollwerk.Event{Time: time.Now(), Kind: kind, Outcome: bollwerk.Seen,
			Process: &bollwerk.Process{PID: pid + 1, Cgroup: id, CgroupPath: path, Contained: true, Parent: &bollwerk.Process{PID: 2}}}
	}
	a.queue.put(of(bollwerk.EventExec))
	if word, _ := lines.await(t); word != "start" {
		t.Fatal(word)
	}
	a.queue.put(of(bollwerk.EventExit))
	ended := make(chan struct{})
	time.AfterFunc(2*endDelay, func() { end(); close(ended) }) // after the first look
	word, _ := lines.await(t)
	<-ended
	if word != "stop" {
		t.Fatal(word)
	}
}

// TestNamedLater: a container that was taken for one of no runtime is the same container
// when its runtime names it: once in the list, with its guards; events that were named
// before do not bring the former name back.
func TestNamedLater(t *testing.T) {
	a, lines := judging(t)
	path, id, _ := containerGroup(t, a.hierarchy, 4)
	pid := boxed(t, a.hierarchy, path)
	unknown := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: id,
		Container: &bollwerk.Container{ID: path[1:], Name: path[1:], Runtime: bollwerk.UnknownRuntime, PID: pid}}
	named := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: id,
		Container: &bollwerk.Container{ID: "web-1", Name: "web", Runtime: "runc", PID: pid}}
	check := func(when string) {
		t.Helper()
		s := a.status()
		if len(s.Workloads) != 1 || s.Workloads[0].Key != named.Key() || s.Workloads[0].Enforced == "" {
			t.Fatalf("%s: %+v", when, s.Workloads)
		}
	}
	a.meet(unknown, time.Now())
	if word, _ := lines.await(t); word != "start" {
		t.Fatal(word)
	}
	a.renamed(unknown, named)
	check("named")
	if _, w := a.meet(unknown, time.Now()); w != named {
		t.Errorf("an event of before belongs to %s", w)
	}
	check("after an event of before")
	// The first event under the new name may also come before the word of it.
	path, id, _ = containerGroup(t, a.hierarchy, 5)
	pid = boxed(t, a.hierarchy, path)
	before, after := *unknown, *named
	before.Cgroup, after.Cgroup = id, id
	before.Container = &bollwerk.Container{ID: path[1:], Name: path[1:], Runtime: bollwerk.UnknownRuntime, PID: pid}
	after.Container = &bollwerk.Container{ID: "web-2", Name: "web", Runtime: "runc", PID: pid}
	a.meet(&before, time.Now())
	a.meet(&after, time.Now())
	a.renamed(&before, &after)
	if n := a.living(); n != 2 {
		t.Errorf("%d containers live, want 2", n)
	}
	if a.guarding.set(&after).enforce == 0 || a.guarding.set(&before).enforce != 0 {
		t.Error("the guards are not under the new name")
	}
}

// TestMetLater: a container whose first events were judged before anybody could name it gets
// its guards without a further event.
func TestMetLater(t *testing.T) {
	a, lines := judging(t)
	path, id, _ := containerGroup(t, a.hierarchy, 6)
	boxed(t, a.hierarchy, path)
	a.resolver.Announce(id, path, 0)
	a.sweep(time.Now())
	if word, _ := lines.await(t); word != "start" {
		t.Fatal(word)
	}
	a.sweep(time.Now())
	if s := a.status(); len(s.Workloads) != 1 || s.Workloads[0].Enforced == "" {
		t.Errorf("%+v", s.Workloads)
	}
}

// TestStartIsJudged: the rules are asked about the start of a container: about one that does
// nothing, and once more when it became known how little it is contained.
func TestStartIsJudged(t *testing.T) {
	a, lines := judgingWith(t, func(a *Agent) {
		all, err := policy.Load(policies.Files())
		if err != nil {
			t.Fatal(err)
		}
		if a.rules, err = newRules(all, nil); err != nil {
			t.Fatal(err)
		}
	})
	rules := func(count int) (out []string) {
		t.Helper()
		limit := time.After(30 * time.Second)
		for len(out) < count {
			select {
			case line := <-lines:
				var d struct{ Type, Rule, Message string }
				if err := json.Unmarshal(line, &d); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				if d.Type == "detection" {
					out = append(out, d.Rule+" "+d.Message)
				}
			case <-limit:
				t.Fatalf("told: %q", out)
			}
		}
		return out
	}
	path, id, _ := containerGroup(t, a.hierarchy, 7)
	pid := boxed(t, a.hierarchy, path)
	unknown := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: id,
		Container: &bollwerk.Container{ID: path[1:], Name: path[1:], Runtime: bollwerk.UnknownRuntime, PID: pid}}
	named := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: id,
		Container: &bollwerk.Container{ID: "web-1", Name: "web", Runtime: "runc", PID: pid, Privileged: true}}
	a.meet(unknown, time.Now())
	a.queue.put(&bollwerk.Event{Kind: bollwerk.EventBind, Time: time.Now(), Workload: unknown})
	if word, _ := lines.await(t); word != "start" {
		t.Fatal(word)
	}
	a.renamed(unknown, named)
	for range 3 {
		a.queue.put(&bollwerk.Event{Kind: bollwerk.EventBind, Time: time.Now(), Workload: named})
	}
	if got := rules(1); !strings.HasPrefix(got[0], "privileged-container ") || !strings.Contains(got[0], "web") || !strings.Contains(got[0], "privileged") {
		t.Error(got)
	}
	path, id, _ = containerGroup(t, a.hierarchy, 8)
	pid = boxed(t, a.hierarchy, path)
	a.meet(&bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: id, Container: &bollwerk.Container{ID: "idle-1", Name: "idle", Runtime: "runc", PID: pid, HostPID: true}}, time.Now())
	// Nothing happens in it: the next sweep asks.
	if got := rules(1); !strings.HasPrefix(got[0], "privileged-container ") || !strings.Contains(got[0], "idle") || !strings.Contains(got[0], "host's processes") {
		t.Error(got)
	}
}
