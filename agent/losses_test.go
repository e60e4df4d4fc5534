package agent

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/recorder"
)

// TestQueueLosses: what a full queue gives up is a loss of the workload whose event it was, is
// counted for what it stood for, and is put on record.
func TestQueueLosses(t *testing.T) {
	a, lines := judging(t)
	path, id, _ := containerGroup(t, a.hierarchy, 7)
	pid := boxed(t, a.hierarchy, path)
	a.resolver.Announce(id, path, pid)
	w := a.resolver.Known(id)
	if w == nil || w.Kind != bollwerk.WorkloadContainer {
		t.Fatalf("%+v", w)
	}
	at := time.Now()
	of := func(kind bollwerk.EventKind, n uint64) *bollwerk.Event {
		return &bollwerk.Event{Time: at, Kind: kind, Outcome: bollwerk.Seen, Count: n, Process: &bollwerk.Process{PID: pid, Cgroup: id, CgroupPath: path}}
	}
	a.dropped(of(bollwerk.EventExec, 0))
	a.dropped(of(bollwerk.EventOpen, 7))
	a.dropped(&bollwerk.Event{Time: at, Kind: bollwerk.EventLoss, Loss: &bollwerk.Loss{From: at, To: at, Count: 312, Area: "ring", Cgroup: id}})
	v, causes := a.ledger.verdict(w.Key())
	if said := strings.Join(causes, "\n"); v != bollwerk.Degraded || !strings.Contains(said, "8 events dropped by the agent") || !strings.Contains(said, "312 events lost") {
		t.Errorf("%s %q", v, causes)
	}
	for _, other := range []string{"host", "container docker/other"} {
		if v, causes := a.ledger.verdict(other); v != bollwerk.Pass {
			t.Errorf("%s: %s %q", other, v, causes)
		}
	}
	a.sayLosses(time.Now())
	counts := map[string]uint64{}
	for counts["queue"] < 8 || counts["ring"] < 312 {
		var e bollwerk.Event
		select {
		case line := <-lines:
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("on record: %v", counts)
		}
		if e.Loss != nil {
			counts[e.Loss.Area] += e.Loss.Count
			if e.Workload == nil || e.Workload.Cgroup != id {
				t.Errorf("a loss of %v", e.Workload)
			}
		}
	}
	a.sayLosses(time.Now())
	if n := a.ledger.total("queue"); n != 8 {
		t.Errorf("%d counted, want 8", n)
	}
	// Whose it was is not always known: then it may have been anybody's.
	a.dropped(&bollwerk.Event{Time: at, Kind: bollwerk.EventExec, Process: &bollwerk.Process{PID: 1, Cgroup: 1 << 50}})
	if v, _ := a.ledger.verdict("container docker/other"); v != bollwerk.Degraded {
		t.Error("a loss of nobody in particular degrades nobody")
	}
}

// TestUnsaid: very many cgroups that lose events are put together, and none is forgotten.
func TestUnsaid(t *testing.T) {
	var u unsaid
	for i := range uint64(3 * mostUnsaid) {
		u.add(bollwerk.Loss{Count: 2, Area: "queue", Kind: bollwerk.EventExec, Cgroup: i + 1})
	}
	sum, all := u.take(), uint64(0)
	for _, l := range sum {
		all += l.Count
	}
	if len(sum) > mostUnsaid+1 || all != 6*mostUnsaid {
		t.Errorf("%d of %d cgroups", all, len(sum))
	}
	if len(u.take()) != 0 {
		t.Error("said twice")
	}
}

// TestRecorderLosses: what the recorder cannot keep is said in verdicts, once.
func TestRecorderLosses(t *testing.T) {
	a := &Agent{ledger: newLedger(time.Now), out: newOutput(nil, nil, nil)}
	a.metrics = newMeters(a)
	r, err := recorder.Open(recorder.Config{Dir: t.TempDir(), Queue: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a.recorder = r
	for i := 0; r.Status().Lost == 0; i++ {
		r.Event(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Process: &bollwerk.Process{PID: uint32(i), Args: []string{strings.Repeat("x", 4096)}}})
	}
	n := r.Status().Lost
	a.sayLosses(time.Now())
	v, causes := a.ledger.verdict("container docker/web")
	if want := fmt.Sprintf("%d events not recorded", n); v != bollwerk.Degraded || !strings.Contains(strings.Join(causes, "\n"), want) {
		t.Errorf("%s %q, want %q", v, causes, want)
	}
	if got := a.ledger.total("recorder"); got != n {
		t.Errorf("%d counted of %d", got, n)
	}
}

// TestLedgerRoom: very many workloads that lost something long ago do not make everybody's
// what another loses now.
func TestLedgerRoom(t *testing.T) {
	now := time.Now()
	l := newLedger(func() time.Time { return now })
	for i := range ledgerWorkloads {
		l.add(fmt.Sprint("container old/", i), bollwerk.Loss{From: now, To: now, Count: 1, Area: "ring"})
	}
	now = now.Add(ledgerWindow + time.Minute)
	l.add("container new/1", bollwerk.Loss{From: now, To: now, Count: 1, Area: "ring"})
	if v, _ := l.verdict("container new/1"); v != bollwerk.Degraded {
		t.Error("a new loss is not said")
	}
	if v, causes := l.verdict("container other/1"); v != bollwerk.Pass {
		t.Errorf("it is said of everybody: %q", causes)
	}
}
