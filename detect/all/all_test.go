package all_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/all"
	"github.com/bollwerk/bollwerk/detect/detecttest"
)

// TestEveryFolder holds the list against the folders: a detector nobody listed does not run.
func TestEveryFolder(t *testing.T) {
	src, err := os.ReadFile("all.go")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() || name == "all" || name == "detecttest" || name == "testdata" {
			continue
		}
		code, err := filepath.Glob(filepath.Join("..", name, "*.go"))
		if err != nil || len(code) == 0 {
			continue
		}
		detector := false
		for _, f := range code {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			detector = detector || strings.Contains(string(b), ") Info() *detect.Info")
		}
		if detector && !strings.Contains(string(src), "bollwerk/detect/"+name+`"`) {
			t.Errorf("detect/%s is a detector that all.go does not list", name)
		}
	}
}

func TestInfos(t *testing.T) {
	seen := map[string]bool{}
	for _, d := range all.Detectors(all.Config{}) {
		i := d.Info()
		if err := i.Validate(); err != nil {
			t.Error(err)
		}
		if seen[i.ID] {
			t.Errorf("%s: named twice", i.ID)
		}
		seen[i.ID] = true
	}
}

func files(t testing.TB, pattern string) []string {
	t.Helper()
	list, err := filepath.Glob(pattern)
	if err != nil || len(list) == 0 {
		t.Fatalf("%s: no files (%v)", pattern, err)
	}
	return list
}

// TestQuiet gives the normal work of every detector's files, and of a working day, to all of
// them together.
func TestQuiet(t *testing.T) {
	list := files(t, "../*/testdata/benign-*.jsonl")
	events := 0
	for _, f := range list {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(f, "../"), ".jsonl"), func(t *testing.T) {
			e := detecttest.Read(t, f)
			events += len(e)
			detecttest.Quiet(t, e, all.Detectors(all.Config{})...)
		})
	}
	t.Logf("%d events of normal work in %d files", events, len(list))
}

// TestDay gives all normal work to one set of detectors, one after the other: what one story
// leaves behind must not colour the next.
func TestDay(t *testing.T) {
	var day []*bollwerk.Event
	moved := map[*bollwerk.Process]bool{}
	now := time.Date(2026, 3, 14, 6, 0, 0, 0, time.UTC)
	for _, f := range files(t, "../*/testdata/benign-*.jsonl") {
		events := detecttest.Read(t, f)
		shift := now.Sub(events[0].Time)
		for _, e := range events {
			e.Time = e.Time.Add(shift)
			// Each story numbers its processes from the same PID: they are others.
			for p := e.Process; p != nil && !moved[p]; p = p.Parent {
				p.Start += uint64(shift)
				moved[p] = true
			}
		}
		day = append(day, events...)
		now = events[len(events)-1].Time.Add(time.Second)
	}
	detecttest.Quiet(t, day, all.Detectors(all.Config{})...)
}

// TestAttacks gives the attacks of every detector to all of them: none hides another, and
// none panics at another's events.
func TestAttacks(t *testing.T) {
	for _, f := range files(t, "../*/testdata/attack-*.jsonl") {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(f, "../"), ".jsonl"), func(t *testing.T) {
			found := detecttest.RunAll(t, detecttest.Read(t, f), all.Detectors(all.Config{})...)
			worst := bollwerk.SeverityUnknown
			ids := map[string]bool{}
			for _, d := range found {
				detecttest.Sane(t, d)
				worst = max(worst, d.Severity)
				ids[d.ID] = true
			}
			if worst < bollwerk.SeverityMedium && !strings.Contains(f, "raredomain") {
				t.Errorf("worst is %s", worst)
			}
			if len(ids) > 10 {
				t.Errorf("%d different detections; people read one story", len(ids))
			}
		})
	}
}

// corpus is all attacks, and the beginning of each normal day.
func corpus(t testing.TB) []*bollwerk.Event {
	var out []*bollwerk.Event
	for _, f := range files(t, "../*/testdata/*.jsonl") {
		events := detecttest.Read(t, f)
		out = append(out, events[:min(len(events), 60)]...)
	}
	return out
}

// TestMemory: 200 workloads that each live through everything leave the set of detectors below
// 8 MiB, a sixth of what the agent may use.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("weighing takes a while")
	}
	events := corpus(t)
	before := heap()
	s, err := all.Stream(all.Config{})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	detecttest.Flood(events, 200, func(e *bollwerk.Event) { s.Observe(e, func(*bollwerk.Detection) { found++ }) })
	held := max(heap(), before) - before
	t.Logf("%d events of 200 workloads, %d detections: the detectors hold %d KiB", 200*len(events), found, held>>10)
	if held > 8<<20 {
		t.Errorf("hold %d KiB, want at most 8 MiB", held>>10)
	}
	for _, p := range s.Problems() {
		t.Error(p.Sentence())
	}
	runtime.KeepAlive(events)
	runtime.KeepAlive(s)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestAllocations: events of normal work that was seen before cost nearly no memory. Fresh keys
// cost a table's growth, which is bounded; what is measured here is what goes on for ever.
func TestAllocations(t *testing.T) {
	var events []*bollwerk.Event
	for _, f := range files(t, "testdata/benign-*.jsonl") {
		events = append(events, detecttest.Read(t, f)...)
	}
	s, err := all.Stream(all.Config{})
	if err != nil {
		t.Fatal(err)
	}
	pass := func() {
		for _, e := range events {
			s.Observe(e, func(*bollwerk.Detection) {})
		}
	}
	pass()
	pass()
	n := testing.AllocsPerRun(3, pass) / float64(len(events))
	t.Logf("%.3f allocations per event of normal work", n)
	if n > 0.2 {
		t.Errorf("%.3f allocations per event, want at most one in five events", n)
	}
}

// BenchmarkStream says what all detectors cost per event, and how often an empty detector's
// stream goes into that.
func BenchmarkStream(b *testing.B) {
	var events []*bollwerk.Event
	for _, f := range files(b, "testdata/benign-*.jsonl") {
		events = append(events, detecttest.Read(b, f)...)
	}
	s, err := all.Stream(all.Config{})
	if err != nil {
		b.Fatal(err)
	}
	empty, err := detect.NewStream(detect.Config{}, idle{})
	if err != nil {
		b.Fatal(err)
	}
	told := 0
	report := func(*bollwerk.Detection) { told++ }
	for _, e := range events {
		s.Observe(e, report)
	}
	b.ReportAllocs()
	var ours, yardstick time.Duration
	b.ResetTimer()
	for b.Loop() {
		t0 := time.Now()
		for _, e := range events {
			empty.Observe(e, report)
		}
		t1 := time.Now()
		for _, e := range events {
			s.Observe(e, report)
		}
		ours += time.Since(t1)
		yardstick += t1.Sub(t0)
	}
	n := float64(b.N) * float64(len(events))
	b.ReportMetric(float64(ours.Nanoseconds())/n, "ns/event")
	b.ReportMetric(float64(ours)/float64(yardstick), "x-empty-stream")
}

// idle wants every kind and does nothing: the cost of the stream alone.
type idle struct{}

func (idle) Info() *detect.Info {
	i := &detect.Info{ID: "idle", Title: "Nothing", Severity: bollwerk.SeverityLow, Mode: detect.Observe, Attack: []string{"T0000"}, Description: "x", Advice: "x", Bound: "nothing"}
	for k := 1; k < bollwerk.EventKinds; k++ {
		i.Needs = append(i.Needs, detect.Need{Kind: bollwerk.EventKind(k), Lost: "x"})
	}
	return i
}

func (idle) Observe(*bollwerk.Event, func(*bollwerk.Detection)) {}
