package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	node "github.com/bollwerk/bollwerk/agent"
)

// Rough treatment of the whole machine: only inside of one that TestRoughInVM booted.

func needMachine(t *testing.T) {
	t.Helper()
	if os.Getenv(inVM) == "" {
		t.Skip("turns the clock and the counters of the machine; TestRoughInVM boots one for it")
	}
}

// wait lets a script wait for the file that touch makes; $i is its number. A second wait at
// the gate would read nothing, or lose a word, when one comes while the other leaves.
const wait = "while [ ! -e /run/go-$i ]; do sleep 0.2; done"

// said returns what was told of one container's programs whose arguments hold a word.
func (a *agent) said(id, word string, kinds ...bollwerk.EventKind) []*bollwerk.Event {
	var out []*bollwerk.Event
	for _, e := range a.events {
		if w := e.Workload; w == nil || w.Container == nil || w.Container.ID != id {
			continue
		}
		if slices.Contains(kinds, e.Kind) && e.Process != nil && strings.Contains(strings.Join(e.Process.Args, " "), word) {
			out = append(out, e)
		}
	}
	return out
}

func jump(t *testing.T, by time.Duration) {
	t.Helper()
	var ts unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_REALTIME, &ts))
	ts = unix.NsecToTimespec(ts.Nano() + int64(by))
	must(t, unix.ClockSettime(unix.CLOCK_REALTIME, &ts))
}

// TestMachineClock turns the clock a day forward, two back and one forward again.
func TestMachineClock(t *testing.T) {
	needMachine(t)
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--events")
	const script = `for i in 1 2 3 4 5; do ` + wait + `
/bin/echo step-$i-a; /bin/echo step-$i-b
case $i in 2) cat /etc/shadow > /dev/null;; 5) exit;; esac
cp /bin/echo /tmp/new-$i; /tmp/new-$i drift-$i; echo done-$i; done`
	r := cs.start("clock", script)
	a.awaitProtected(t, r.id)
	r.begin(t) // the one that every container waits for
	a.mu.Lock()
	quiet := len(a.detections)
	a.mu.Unlock()
	for step, by := range []time.Duration{0, 24 * time.Hour, -48 * time.Hour, 24 * time.Hour} {
		jump(t, by)
		began := time.Now()
		n := step + 1
		touch(t, r, fmt.Sprintf("go-%d", n))
		awaitThat(t, fmt.Sprintf("step %d ends", n), func() bool { return strings.Contains(r.output(), fmt.Sprintf("done-%d\n", n)) })
		for _, word := range []string{"a", "b"} {
			word = fmt.Sprintf("step-%d-%s", n, word)
			if !a.await(attackWait, func() bool { return len(a.said(r.id, word, bollwerk.EventExec)) > 0 }) {
				t.Fatalf("%s was not told after the clock was turned by %s:\n%s", word, by, tail(a.log()))
			}
			a.mu.Lock()
			at := a.said(r.id, word, bollwerk.EventExec)[0].Time
			a.mu.Unlock()
			if off := at.Sub(began.Round(0)); off < -2*time.Second || off > time.Minute {
				t.Errorf("%s: told to be of %s, %s away from the clock", word, at, off)
			}
		}
		if printed(r, fmt.Sprintf("drift-%d", n)) {
			t.Errorf("drift is not stopped after the clock was turned by %s", by)
		}
	}
	// The order in which it was told is the order in which it happened.
	a.mu.Lock()
	var order []string
	for _, e := range a.said(r.id, "step-", bollwerk.EventExec) {
		order = append(order, strings.Join(e.Process.Args[1:], " "))
	}
	var rules []string
	for _, d := range a.of(r.id) {
		rules = append(rules, d.Rule)
	}
	all := describe(a.detections[quiet:])
	count := len(a.detections) - quiet
	a.mu.Unlock()
	if !slices.IsSorted(order) || len(order) != 8 {
		t.Errorf("told in this order: %v", order)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(rules)))) < 2 {
		t.Errorf("what was new after the clock was turned was not told: %v", rules)
	}
	// Drift at the first time, a secret read, and whatever the same deeds also trip.
	if count > 12 {
		t.Errorf("a flood of %d detections:\n%s", count, all)
	}
	// A workload that comes after the turns is guarded and told like any other.
	late := cs.start("late", "cp /bin/echo /tmp/late; /tmp/late ran-late; cat /etc/shadow > /dev/null; sleep 0.3")
	a.awaitProtected(t, late.id)
	late.open(t)
	if !a.await(attackWait, func() bool { return len(a.of(late.id)) > 0 }) || printed(late, "ran-late") {
		t.Errorf("a container that came after the clock was turned: %s\n%s", late.output(), tail(a.log()))
	}
	out, errs, code := a.verb(t, "recall", "--json")
	if code != 0 && code != 5 {
		t.Errorf("recall: exit code %d: %s", code, errs)
	}
	for n := 1; n <= 4; n++ {
		if !strings.Contains(out, fmt.Sprintf("step-%d-b", n)) {
			t.Errorf("step %d cannot be recalled", n)
		}
	}
	if out, errs, code := a.verb(t, "recall", "--since", "5m"); code != 0 && code != 5 || !strings.Contains(out, "step-4-b") {
		t.Errorf("recall of the last minutes: exit code %d, %d bytes: %s", code, len(out), errs)
	}
	// A day that no process ran is not a day of observation.
	out, errs, code = a.verb(t, "profile", "list", "--json")
	if code != 0 && code != 5 || !json.Valid([]byte(out)) {
		t.Errorf("profile list: exit code %d: %s%s", code, tail(out), errs)
	}
	if strings.Contains(out, `"mode": "observe"`) || strings.Contains(out, `"mode":"observe"`) {
		t.Errorf("a profile went forward by a turn of the clock:\n%s", tail(out))
	}
	if lines := strings.Count(a.log(), "\n"); lines > 100 {
		t.Errorf("the agent says %d lines:\n%s", lines, tail(a.log()))
	}
	touch(t, r, "go-5")
	t.Logf("detections:\n%s", all)
}

// TestMachineModules loads modules in front of an agent that has no BPF LSM. It sees each
// and ends who loads one; the module may stay, as the doctor says.
func TestMachineModules(t *testing.T) {
	needMachine(t)
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--backend", "tracing")
	area := a.areas(t)["module"]
	if area.Outcome != bollwerk.Killed || area.Remedy == "" {
		t.Errorf("the doctor says of modules without BPF LSM: %+v", area)
	}
	for _, tt := range attacks() {
		if !slices.Contains(tt.rules, "kernel-module-from-container") {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			r := cs.start(tt.name, tt.script+hold, tt.opts...)
			a.awaitProtected(t, r.id)
			r.open(t)
			killed := func() bool {
				return slices.ContainsFunc(a.of(r.id), func(d *bollwerk.Detection) bool {
					return slices.Contains(tt.rules, d.Rule) && d.Outcome == bollwerk.Killed
				})
			}
			ok := a.await(attackWait, killed)
			a.mu.Lock()
			defer a.mu.Unlock()
			if !ok {
				t.Errorf("not told as killed; told:\n%soutput:\n%s", describe(a.of(r.id)), r.output())
			}
			// What the script says after the call it could only say if it had lived on.
			if tt.name == "module" && strings.Contains(r.output(), "-1\n") {
				t.Errorf("said to be killed, but it went on:\n%s", r.output())
			}
			t.Logf("told:\n%soutput:\n%s", describe(a.of(r.id)), r.output())
		})
		_ = unix.DeleteModule("dummy", 0)
	}
}

// TestMachineReuse hands the same PIDs to two containers in turn, and lets containers
// come and go at once.
func TestMachineReuse(t *testing.T) {
	needMachine(t)
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--events")
	const rounds = 12
	var rs [2]*container
	for i, name := range []string{"first", "second"} {
		rs[i] = cs.start(name, fmt.Sprintf("for i in $(seq %d); do %s; /bin/echo of-%s-$i; done", rounds, wait, name))
		a.awaitProtected(t, rs[i].id)
		rs[i].begin(t)
	}
	for n := 1; n <= rounds; n++ {
		for i, name := range []string{"first", "second"} {
			line := fmt.Sprintf("of-%s-%d", name, n)
			// Threads of the test and of the agent take numbers, too: not every round
			// meets, some must.
			must(t, os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte("20000"), 0o644))
			touch(t, rs[i], fmt.Sprintf("go-%d", n))
			awaitThat(t, line, func() bool { return strings.Contains(rs[i].output(), line+"\n") })
		}
	}
	told := func(i int, word string) int { return len(a.said(rs[i].id, word, bollwerk.EventExit)) }
	if !a.await(attackWait, func() bool { return told(0, "of-first-") >= rounds && told(1, "of-second-") >= rounds }) {
		a.mu.Lock()
		t.Errorf("ends told: %d and %d of %d", told(0, "of-first-"), told(1, "of-second-"), rounds)
		a.mu.Unlock()
	}
	a.mu.Lock()
	users := map[uint32][2]int{}
	for i, name := range []string{"first", "second"} {
		for _, e := range a.said(rs[i].id, "of-"+name, bollwerk.EventExec) {
			u := users[e.Process.PID]
			u[i]++
			users[e.Process.PID] = u
		}
		other := []string{"of-second-", "of-first-"}[i]
		if wrong := a.said(rs[i].id, other, bollwerk.EventExec, bollwerk.EventExit, bollwerk.EventFork, bollwerk.EventOpen); len(wrong) > 0 {
			t.Errorf("%d events of the other container are said to be of %s: %+v", len(wrong), name, wrong[0].Process)
		}
	}
	a.mu.Unlock()
	both := 0
	for _, u := range users {
		if u[0] > 0 && u[1] > 0 {
			both++
		}
	}
	if both == 0 {
		t.Errorf("no PID was used by both containers: %v", users)
	}
	t.Logf("%d PIDs were used by both containers", both)
	// Control groups come and go; each is told by its own name.
	var brief []*container
	for n := range 4 {
		r := cs.start("brief", fmt.Sprintf("/bin/echo of-brief-%d", n))
		r.begin(t)
		<-r.done
		brief = append(brief, r)
	}
	for n, r := range brief {
		word := fmt.Sprintf("of-brief-%d", n)
		if !a.await(attackWait, func() bool { return len(a.said(r.id, word, bollwerk.EventExec)) > 0 }) {
			a.mu.Lock()
			var who []string
			for _, e := range a.events {
				if e.Kind == bollwerk.EventExec && e.Process != nil && slices.Contains(e.Process.Args, word) {
					b, _ := json.Marshal(e.Workload)
					who = append(who, string(b))
				}
			}
			a.mu.Unlock()
			t.Errorf("%s is not told of container %s but of %v", word, r.id, who)
		}
	}
}

// TestRoughReadOnly takes the disk away from a running agent, and starts another one
// that never could write.
func TestRoughReadOnly(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a disk")
	}
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--state", filepath.Join(dir, "state"))
	fence(t, cs, a)
	// A file system under a writer cannot be made read-only; a full one without a byte
	// of room is the same to the writer, and then it cannot even be opened again.
	for size := 1 << 20; size > 0; size /= 4 {
		for i := 0; ; i++ {
			err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("ballast-%d-%d", size, i)), make([]byte, size), 0o600)
			if errors.Is(err, unix.ENOSPC) || i > 64 {
				break
			}
			must(t, err)
		}
	}
	awaitCause(t, cs, a)
	a.stop()
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	// What it says it says before it ends, or it watches without a record.
	b := startAgent(t, "--state", filepath.Join(dir, "state"))
	awaitCause(t, cs, b)
}

func awaitCause(t *testing.T, cs *containers, a *agent) {
	t.Helper()
	fence(t, cs, a)
	var s node.Status
	awaitThat(t, "the agent says that it cannot record", func() bool {
		s = node.Status{}
		return node.Ask(context.Background(), a.socket, "GET", "/status", &s) == nil && s.Verdict == bollwerk.Degraded && slices.ContainsFunc(s.Causes, func(c string) bool {
			return strings.HasPrefix(c, "recorder: ") || strings.HasPrefix(c, "nothing is recorded")
		})
	})
	t.Logf("%q", s.Causes)
}
