package agent

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// TestMissed makes losses of containers that were gone before anybody could name them.
func TestMissed(t *testing.T) {
	r, err := workload.New(workload.Config{})
	if err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	a := &Agent{resolver: r, ledger: newLedger(time.Now), out: newOutput(&lines, &lines, nil), began: time.Now()}
	a.metrics = newMeters(a)
	for i := range 3 {
		w, _ := r.Now(uint64(1<<40+i), "", 0) // a cgroup that is gone, with nobody to ask
		if w.Unresolved == "" {
			t.Fatalf("%+v", w)
		}
	}
	a.countMissed(time.Now())
	a.out.flush()
	if n := a.ledger.total("container"); n != 3 {
		t.Errorf("%d counted, want 3", n)
	}
	v, causes := a.ledger.verdict("container docker/web")
	if v != bollwerk.Degraded || len(causes) != 1 || !strings.HasPrefix(causes[0], "3 containers gone or forgotten before they were named ") {
		t.Errorf("%s %q", v, causes)
	}
	if n := strings.Count(lines.String(), `"area":"container"`); n != 3 {
		t.Errorf("%d loss events, want 3:\n%s", n, lines.String())
	}
	a.countMissed(time.Now()) // counted once
	if n := a.ledger.total("container"); n != 3 {
		t.Errorf("%d counted after a second look", n)
	}
	var text bytes.Buffer
	a.queue, a.stream = newQueue(1, nil), nil
	a.metrics.set.UnregisterMetric("bollwerk_agent_degraded") // asks parts that are not here
	a.metrics.detection(&bollwerk.Detection{Rule: "drift", Severity: bollwerk.SeverityHigh, Last: time.Now()})
	if err := a.metrics.write(&text); err != nil {
		t.Fatal(err)
	}
	described(t, text.String())
	for _, want := range []string{`bollwerk_agent_lost_total{area="container"} 3`, `bollwerk_agent_containers{state="vanished"} 3`, `bollwerk_agent_containers{state="evicted"} 0`, "bollwerk_agent_runtimes_degraded 0"} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("metrics lack %q", want)
		}
	}
}

func TestShortened(t *testing.T) {
	long, short := &bollwerk.Process{Truncated: true}, &bollwerk.Process{}
	for _, tt := range []struct {
		e    bollwerk.Event
		want bool
	}{
		{bollwerk.Event{Kind: bollwerk.EventExec, Process: long}, true},
		{bollwerk.Event{Kind: bollwerk.EventExec, Process: short}, false},
		{bollwerk.Event{Kind: bollwerk.EventConnect, Process: long}, false}, // counted when it was started
		{bollwerk.Event{Kind: bollwerk.EventOpen, Process: short, File: &bollwerk.FileEvent{Truncated: true}}, true},
		{bollwerk.Event{Kind: bollwerk.EventDNS, DNS: &bollwerk.DNS{Truncated: true}}, true},
		{bollwerk.Event{Kind: bollwerk.EventExit}, false},
	} {
		if got := shortened(&tt.e); got != tt.want {
			t.Errorf("%s: %v", tt.e.Kind, got)
		}
	}
}

// described holds the text to Prometheus' form: every name is described once, before its
// samples, which stand together.
func described(t *testing.T, text string) {
	t.Helper()
	seen, now := map[string]bool{}, ""
	for line := range strings.Lines(text) {
		if rest, is := strings.CutPrefix(line, "# TYPE "); is {
			now = strings.Fields(rest)[0]
			if seen[now] {
				t.Errorf("%s is described twice", now)
			}
			seen[now] = true
		} else if !strings.HasPrefix(line, "#") && (now == "" || !strings.HasPrefix(line, now)) {
			t.Errorf("not described: %s", line)
		}
	}
	for name := range families() {
		// A summary without a sample has none to show; the other is unregistered above.
		if !seen[name] && name != "bollwerk_agent_judge_seconds" && name != "bollwerk_agent_degraded" {
			t.Errorf("%s is described and never given out", name)
		}
	}
}
