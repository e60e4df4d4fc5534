package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/recorder"
	"github.com/bollwerk/bollwerk/sensor"
)

func TestLoadConfig(t *testing.T) {
	c, err := LoadConfig(strings.NewReader(`
ring: 1MiB
memory: 64MiB
recorder: {size: 8MiB, age: 24h}
workloads:
  - {match: "ci/*", unprotected: true}
  - {match: "shop/*", guards: {drift: off, egress: report}, modes: {miner: warn}, fail: closed}
learn: {host: true, observe: {observed: 1h, replicas: 2}, syscalls: always}
`), "agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if c.Ring != 1<<20 || c.Recorder.Age != 24*time.Hour || c.State == "" || *c.Learn.Observe.Replicas != 2 || !c.Learn.Host {
		t.Errorf("%+v", c)
	}
	s, err := c.workload("shop/cart/app", "x").guards(DefaultGuards, 0)
	if err != nil || s.enforce&sensor.GuardDrift != 0 || s.enforce&sensor.GuardMiner == 0 || s.report != sensor.GuardEgress {
		t.Errorf("%v %v %v", s.enforce, s.report, err)
	}
	s, _ = c.workload("ci/build", "x").guards(DefaultGuards, 0)
	if s.enforce != 0 || s.report != DefaultGuards {
		t.Errorf("unprotected: %v %v", s.enforce, s.report)
	}
	if c.workload("other", "container docker/other") != nil {
		t.Error("an entry for a workload that none matches")
	}
	// Others read the metrics only where somebody says so.
	for text, want := range map[string]string{"": "", `metrics: ":9469"`: "127.0.0.1:9469", "metrics: 0.0.0.0:9469": "0.0.0.0:9469", "metrics: '[::1]:9469'": "[::1]:9469"} {
		if c, err := LoadConfig(strings.NewReader(text), "agent.yaml"); err != nil || c.Metrics != want {
			t.Errorf("%s: %+v %v", text, c, err)
		}
	}
	for text, want := range map[string]string{
		"metrics: 127.0.0.1:metrics":                     "an address and a port",
		"rnig: 1MiB":                                     "line 1: there is no key rnig",
		"ring: 3MiB":                                     "power of two",
		"ring: much":                                     `size "much"`,
		"backend: magic":                                 "auto, tracing or none",
		"workloads: [{guards: {drift: off}}]":            "match is missing",
		"workloads: [{match: x, guards: {x: off}}]":      "no such guard",
		"workloads: [{match: x, guards: {drift: deny}}]": "enforce, report or off",
		"workloads: [{match: x, modes: {miner: kill}}]":  "observe, warn or enforce",
		"workloads: [{match: x, fail: over}]":            "open or closed",
		"learn: {syscalls: some}":                        "sampled or always",
		"recorder: {size: 1KiB}":                         "at least 1MiB",
		"memory: 5":                                      "at least 32MiB",
		"metrics: 9469":                                  "an address and a port",
	} {
		if _, err := LoadConfig(strings.NewReader(text), "agent.yaml"); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "agent.yaml: ") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzLoadConfig(f *testing.F) {
	f.Add("ring: 1MiB\nworkloads: [{match: '*', guards: {drift: off}}]")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := LoadConfig(strings.NewReader(text), "x"); err == nil && c.State == "" {
			t.Error("a valid configuration without a state folder")
		}
	})
}

// TestDegradation fills the queue: what is given up first goes first, what was denied or
// killed and what starts programs goes last, and every event is either queued or counted.
func TestDegradation(t *testing.T) {
	const size = 1000
	lost := map[bollwerk.EventKind]int{}
	q := newQueue(size, func(e *bollwerk.Event) { lost[e.Kind]++ })
	read := &bollwerk.Event{Kind: bollwerk.EventOpen, File: &bollwerk.FileEvent{Access: bollwerk.AccessRead}, Outcome: bollwerk.Seen}
	order := []*bollwerk.Event{
		read, {Kind: bollwerk.EventFlow, Outcome: bollwerk.Seen}, {Kind: bollwerk.EventMmap, Outcome: bollwerk.Seen}, {Kind: bollwerk.EventDNS, Outcome: bollwerk.Seen},
		{Kind: bollwerk.EventExit, Outcome: bollwerk.Seen}, {Kind: bollwerk.EventExec, Outcome: bollwerk.Seen},
	}
	first := map[bollwerk.EventKind]int{}
	put := 0
	for len(q.ch) < size {
		before := len(q.ch)
		for _, e := range order {
			q.put(e)
			put++
			if lost[e.Kind] > 0 && first[e.Kind] == 0 {
				first[e.Kind] = len(q.ch)
			}
		}
		if len(q.ch) == before {
			t.Fatal("the queue does not fill any more")
		}
	}
	last := 0
	for _, e := range order {
		if e.Kind == bollwerk.EventExec {
			continue
		}
		if first[e.Kind] <= last {
			t.Errorf("%s is given up at %d, what comes before it at %d", e.Kind, first[e.Kind], last)
		}
		last = first[e.Kind]
	}
	if lost[bollwerk.EventExec] > len(order) || q.level() != len(Degradation) {
		t.Errorf("%d program starts lost while there was room, level %d", lost[bollwerk.EventExec], q.level())
	}
	sum := len(q.ch)
	for _, n := range lost {
		sum += n
	}
	if sum != put {
		t.Errorf("%d events of %d are neither queued nor counted", put-sum, put)
	}
	// Memory counts as fill.
	q = newQueue(size, func(*bollwerk.Event) {})
	q.pressure.Store(550)
	q.put(read)
	q.put(order[1])
	if len(q.ch) != 1 {
		t.Errorf("%d events queued under pressure, want the flow alone", len(q.ch))
	}
	killed := &bollwerk.Event{Kind: bollwerk.EventConnect, Outcome: bollwerk.Denied}
	q.pressure.Store(950)
	if q.put(killed); len(q.ch) != 2 {
		t.Error("a denial was given up")
	}
}

// A small heap is collected seldom, a large one does not grow by much.
func TestGarbage(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 200}, {4 << 20, 200}, {6 << 20, 100}, {8 << 20, 50}, {12 << 20, 50}, {1 << 40, 50}} {
		if got := garbage(c.live); got != c.want {
			t.Errorf("%d MiB: %d %%, want %d", c.live>>20, got, c.want)
		}
	}
}

// TestFollow: a clock that is turned back takes the time of the events with it; records
// that come a little out of order do not.
func TestFollow(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct{ to, want time.Duration }{
		{0, 0}, {time.Second, time.Second}, {-time.Second, 0}, {24 * time.Hour, 24 * time.Hour}, {-24 * time.Hour, -24 * time.Hour},
	} {
		if got := follow(at, at.Add(tt.to)); !got.Equal(at.Add(tt.want)) {
			t.Errorf("after an event of %s the time is %s", tt.to, got.Sub(at))
		}
	}
}

func TestLedger(t *testing.T) {
	now := time.Date(2026, 5, 1, 10, 5, 0, 0, time.UTC)
	l := newLedger(func() time.Time { return now })
	at := func(s int) time.Time { return time.Date(2026, 5, 1, 10, 2, s, 0, time.UTC) }
	for i := range 3 {
		l.add("pod a", bollwerk.Loss{From: at(10 + i), To: at(11 + i), Count: 100, Area: "ring", Kind: bollwerk.EventExec})
	}
	l.add("pod a", bollwerk.Loss{From: at(12), To: at(13), Count: 12, Area: "ring", Kind: bollwerk.EventOpen})
	v, causes := l.verdict("pod a")
	if v != bollwerk.Degraded || len(causes) != 1 || causes[0] != "312 events lost 10:02:10–10:02:13" {
		t.Errorf("%s %q", v, causes)
	}
	if v, _ := l.verdict("pod b"); v != bollwerk.Pass {
		t.Errorf("another workload: %s", v)
	}
	l.add("", bollwerk.Loss{From: at(0), To: at(1), Count: 1, Area: "ring"})
	if v, causes := l.verdict("pod b"); v != bollwerk.Degraded || !strings.Contains(causes[0], "not known") {
		t.Errorf("what belongs to nobody counts for everybody: %s %q", v, causes)
	}
	now = now.Add(2 * time.Hour)
	if v, _ := l.verdict("pod a"); v != bollwerk.Pass {
		t.Errorf("two hours later: %s", v)
	}
	if l.total("ring") != 313 {
		t.Errorf("%d in all", l.total("ring"))
	}
	for i := range 3 * ledgerRows { // bounded, and still exact
		l.add("pod c", bollwerk.Loss{From: now.Add(time.Duration(i) * time.Minute), To: now.Add(time.Duration(i) * time.Minute), Count: 1, Area: "queue"})
	}
	var n uint64
	for _, r := range l.rows["pod c"] {
		n += r.Count
	}
	if len(l.rows["pod c"]) > ledgerRows || n != 3*ledgerRows {
		t.Errorf("%d rows with %d losses", len(l.rows["pod c"]), n)
	}
}

// TestLineWords: these words are what readers of the lines rely on.
func TestLineWords(t *testing.T) {
	var b bytes.Buffer
	o := newOutput(&b, &b, nil)
	web := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: "1", Name: `we"b`}}
	o.detection(&bollwerk.Detection{Time: time.Now(), Rule: "r", Severity: bollwerk.SeverityHigh, Outcome: bollwerk.Killed, Workload: web, Process: &bollwerk.Process{PID: 7}})
	o.detection(&bollwerk.Detection{Time: time.Now(), Rule: "r", Severity: bollwerk.SeverityLow})
	o.event(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Denied, Workload: web})
	o.flush()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for i, want := range []struct {
		action, container string
		words             []string
	}{{"killed", `we"b`, []string{"time", "rule", "severity", "process", "container", "action"}}, {"seen", "", []string{"time", "rule", "severity", "process", "container", "action"}}, {"denied", `we"b`, []string{"time", "kind", "container", "action"}}} {
		var l map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &l); err != nil {
			t.Fatalf("%v: %s", err, lines[i])
		}
		for _, w := range want.words {
			if _, ok := l[w]; !ok {
				t.Errorf("line %d has no %q: %s", i, w, lines[i])
			}
		}
		if l["action"] != want.action || l["container"] != want.container {
			t.Errorf("action %v in container %v, want %+v", l["action"], l["container"], want)
		}
	}
}

func TestOutputCannotBeForged(t *testing.T) {
	var b bytes.Buffer
	o := newOutput(&b, &b, nil)
	name := "x\n{\"type\":\"detection\",\"rule\":\"forged\"}\x1b[2J\xff\u202e"
	o.event(&bollwerk.Event{Kind: bollwerk.EventExec, Process: &bollwerk.Process{Name: name, Args: []string{name, strings.Repeat("a", 4096)}}})
	o.detection(&bollwerk.Detection{Rule: "r", Message: name, Workload: &bollwerk.Workload{Container: &bollwerk.Container{Name: name}}})
	o.flush()
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines", len(lines))
	}
	for i, want := range []string{"event", "detection"} {
		var l struct{ Type, Rule string }
		if err := json.Unmarshal([]byte(lines[i]), &l); err != nil || l.Type != want || l.Rule == "forged" {
			t.Errorf("%v %+v", err, l)
		}
		if strings.IndexByte(lines[i], 0x1b) >= 0 || strings.IndexByte(lines[i], 0xff) >= 0 {
			t.Errorf("raw control characters: %q", lines[i])
		}
	}
}

func TestAreas(t *testing.T) {
	a := Areas([]sensor.Capability{
		{Area: "file", Means: "lsm", Verdict: bollwerk.NotEvaluated, Cause: "refused", Remedy: "boot with lsm=bpf"},
		{Area: "exec", Means: "tp_btf", Verdict: bollwerk.Pass, Outcome: bollwerk.Seen},
		{Area: "file", Means: "fanotify", Verdict: bollwerk.Degraded, Cause: "watched files only", Outcome: bollwerk.Seen},
		{Area: "deny exec", Means: "lsm", Verdict: bollwerk.NotEvaluated, Cause: "refused"},
	})
	if len(a) != 3 || a[0].Name != "file" || a[0].Verdict != bollwerk.Degraded || a[0].Cause != "watched files only; refused" || a[0].Remedy != "boot with lsm=bpf" ||
		a[1].Verdict != bollwerk.Pass || a[2].Verdict != bollwerk.NotEvaluated || len(a[2].Means) != 0 {
		t.Errorf("%+v", a)
	}
}

func TestControlSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var out Status
	if err := Ask(context.Background(), path, "GET", "/status", &out); err == nil || !strings.Contains(err.Error(), "no agent is running") {
		t.Errorf("nobody listens: %v", err)
	}
	// Left behind by an agent that was killed: taken over. In use: refused.
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listenControl(path); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	n, err := listenControl(path)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("others may command: %v %v", fi.Mode(), err)
	}
}

// TestRecall runs shipped rules over a recorded past.
func TestRecall(t *testing.T) {
	dir := t.TempDir()
	r, err := recorder.Open(recorder.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	web := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: "1", Name: "web", Runtime: "docker"}}
	p := &bollwerk.Process{PID: 7, Name: "cat", Path: "/usr/bin/cat", Args: []string{"cat", "/etc/shadow"}, Contained: true}
	for range 20 {
		r.Event(&bollwerk.Event{Time: now, Kind: bollwerk.EventOpen, Outcome: bollwerk.Seen, Process: p, Workload: web, File: &bollwerk.FileEvent{Path: "/etc/shadow", Access: bollwerk.AccessRead}})
	}
	r.Event(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Workload: web, Loss: &bollwerk.Loss{To: now, Count: 3, Area: "ring"}})
	// Nobody knows whose these were.
	r.Event(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Loss: &bollwerk.Loss{To: now, Count: 9, Area: "ring"}})
	r.Detection(&bollwerk.Detection{ID: "1", Rule: "x", Time: now, Last: now, Workload: web})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	const ours, anybodys = "web: 3 events lost", "of any workload: 9 events lost"
	for _, tt := range []struct {
		name       string
		query      recorder.Query
		workload   string
		rules      []*policy.Policy
		events     int
		detections int
		lost       []string
	}{
		{"all of a workload", recorder.Query{}, "web", nil, 21, 1, []string{ours, anybodys}},
		{"another workload", recorder.Query{}, "other*", nil, 0, 0, []string{anybodys}},
		{"the host", recorder.Query{}, "host", nil, 1, 0, []string{anybodys}},
		{"rules", recorder.Query{}, "w*", all, 0, 3, []string{ours, anybodys}},
		{"rules over a kind", recorder.Query{Kinds: []bollwerk.EventKind{bollwerk.EventOpen}}, "w*", all, 0, 3, []string{ours, anybodys}},
		// What was lost may have been of the kind that was asked for.
		{"a kind", recorder.Query{Kinds: []bollwerk.EventKind{bollwerk.EventOpen}}, "w*", nil, 20, 0, []string{ours, anybodys}},
		{"another kind", recorder.Query{Kinds: []bollwerk.EventKind{bollwerk.EventExec}}, "w*", nil, 0, 0, []string{ours, anybodys}},
		{"losses", recorder.Query{Kinds: []bollwerk.EventKind{bollwerk.EventLoss}}, "*", nil, 2, 0, []string{ours, anybodys}},
		{"detections", recorder.Query{OnlyDetections: true}, "*", nil, 0, 1, []string{ours, anybodys}},
		{"before", recorder.Query{Until: now.Add(-time.Minute)}, "*", nil, 0, 0, nil},
	} {
		events, found := 0, []*bollwerk.Detection{}
		q := &Recall{Query: tt.query, Workloads: []string{tt.workload}, Rules: tt.rules,
			Event:     func(*bollwerk.Event) error { events++; return nil },
			Detection: func(d *bollwerk.Detection) error { found = append(found, d); return nil }}
		if _, err := q.Run(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if events != tt.events || len(found) != tt.detections {
			t.Errorf("%s: %d events, %d detections; want %d and %d", tt.name, events, len(found), tt.events, tt.detections)
		}
		if !slices.EqualFunc(q.Lost, tt.lost, strings.HasPrefix) {
			t.Errorf("%s: losses %q, want %q", tt.name, q.Lost, tt.lost)
		}
		if tt.rules == nil {
			continue
		}
		for i, d := range found { // told at once, at the tenth, and with the final count
			if d.Rule != "password-file-read" || d.Count != []uint64{1, 10, 20}[i] || d.Outcome != bollwerk.Seen {
				t.Errorf("%+v", d)
			}
		}
	}
}

// TestLedgerClock: a loss of a day "in the future" degrades for as long as any other.
func TestLedgerClock(t *testing.T) {
	passed := time.Duration(0)
	began := time.Now()
	l := newLedger(func() time.Time { return began.Add(passed) }) // nobody turns it
	day := began.Add(24 * time.Hour)
	l.add("pod a", bollwerk.Loss{From: day, To: day.Add(time.Second), Count: 5, Area: "ring"})
	l.add("pod a", bollwerk.Loss{From: began, To: began.Add(time.Second), Count: 7, Area: "ring"}) // turned back
	if rows := l.rows["pod a"]; len(rows) != 2 || rows[0].To.Before(rows[0].From) {
		t.Errorf("%+v", rows)
	}
	passed = ledgerWindow / 2
	if v, causes := l.verdict("pod a"); v != bollwerk.Degraded {
		t.Errorf("half an hour later: %s %q", v, causes)
	}
	passed = 2 * ledgerWindow
	if v, causes := l.verdict("pod a"); v != bollwerk.Pass {
		t.Errorf("two hours later: %s %q", v, causes)
	}
}
