// Package detecttest is the contract of detectors: what each of them passes, whatever it
// looks for. It also owns stories, the way in which events for tests are written down.
package detecttest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

var update = flag.Bool("update", false, "write the event files of the stories anew")

// Read reads events, one JSON object a line, as they are given out by an agent. Files may say
// less: a process without name and path is the one of its PID and start told last, and a
// line without a workload belongs to that of the line before.
func Read(t testing.TB, file string) []*bollwerk.Event {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	events, err := Parse(b)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if len(events) == 0 {
		t.Fatalf("%s: no events", file)
	}
	return events
}

// Parse reads events, one JSON object a line.
func Parse(b []byte) ([]*bollwerk.Event, error) {
	var out []*bollwerk.Event
	var last *bollwerk.Workload
	known := map[detect.Actor]*bollwerk.Process{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, 4<<20)
	for n := 1; sc.Scan(); n++ {
		line := bytes.TrimSpace(sc.Bytes())
		if len(line) == 0 || bytes.HasPrefix(line, []byte("//")) {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		e := new(bollwerk.Event)
		if err := d.Decode(e); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		var err error
		if e.Process, err = resolve(known, e.Process, bollwerk.ProcessDepth); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if e.Workload == nil {
			e.Workload = last
		}
		last = e.Workload
		out = append(out, e)
	}
	return out, sc.Err()
}

// resolve puts in what was told of a process before.
func resolve(known map[detect.Actor]*bollwerk.Process, p *bollwerk.Process, depth int) (*bollwerk.Process, error) {
	a, ok := detect.ActorOf(p)
	if !ok || depth < 0 {
		return p, nil
	}
	if p.Name == "" && p.Path == "" {
		if q := known[a]; q != nil {
			return q, nil
		}
		return nil, fmt.Errorf("process %d is not told of before", p.PID)
	}
	var err error
	if p.Parent, err = resolve(known, p.Parent, depth-1); err != nil {
		return nil, err
	}
	known[a] = p
	return p, nil
}

// Write writes events as Read reads them: what was told once is not told again.
func Write(w io.Writer, events []*bollwerk.Event) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, e := range shorten(events) {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	return nil
}

// shorten is the way back: copies in which what was told stands as a number.
func shorten(events []*bollwerk.Event) []*bollwerk.Event {
	known := map[detect.Actor]*bollwerk.Process{}
	var process func(p *bollwerk.Process) *bollwerk.Process
	process = func(p *bollwerk.Process) *bollwerk.Process {
		a, ok := detect.ActorOf(p)
		if !ok {
			return p
		}
		if known[a] == p {
			return &bollwerk.Process{PID: p.PID, Start: p.Start}
		}
		c := *p
		c.Parent = process(p.Parent)
		known[a] = p
		return &c
	}
	var last *bollwerk.Workload
	var out []*bollwerk.Event
	for _, e := range events {
		c := *e
		c.Process = process(e.Process)
		if e.Workload == last {
			c.Workload = nil
		}
		last = e.Workload
		out = append(out, &c)
	}
	return out
}

// Files holds stories against the files of testdata: each story is one file of its name,
// and the file says what the story says. -update writes them.
func Files(t *testing.T, stories map[string]*Story) {
	t.Helper()
	for name, s := range stories {
		file := filepath.Join("testdata", name+".jsonl")
		var b bytes.Buffer
		if err := Write(&b, s.Events); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(have, b.Bytes()) {
			t.Errorf("%s does not say what its story says (%v); run go test -update here", file, err)
		}
	}
}

// Run gives events to one detector and returns what it said.
func Run(t testing.TB, d detect.Detector, events []*bollwerk.Event) []*bollwerk.Detection {
	t.Helper()
	return RunAll(t, events, d)
}

// RunAll gives events to several detectors, as the agent does.
func RunAll(t testing.TB, events []*bollwerk.Event, ds ...detect.Detector) []*bollwerk.Detection {
	t.Helper()
	s, err := detect.NewStream(detect.Config{}, ds...)
	if err != nil {
		t.Fatal(err)
	}
	var out []*bollwerk.Detection
	for _, e := range events {
		s.Observe(e, func(d *bollwerk.Detection) { out = append(out, d) })
	}
	for _, p := range s.Problems() {
		t.Error(p.Sentence())
	}
	return out
}

// Contract says what a detector promises beyond the common.
type Contract struct {
	New func() detect.Detector
	// Least is the severity at which an attack counts as detected. Default medium.
	Least bollwerk.Severity
	// Want is, for each attack file that wants more, the severity it must reach and a
	// piece of the message.
	Want map[string]Want
	// Once: what was told of a workload is not told of it a second time, days later either.
	Once bool
	// Bytes is how much a detector may hold under a flood. Default 2 MiB.
	Bytes uint64
}

// Want is what one attack file must yield.
type Want struct {
	Severity bollwerk.Severity
	Message  string
	Mode     string
}

// Test runs the whole contract.
func Test(t *testing.T, c Contract) {
	if c.Least == 0 {
		c.Least = bollwerk.SeverityMedium
	}
	if c.Bytes == 0 {
		c.Bytes = 2 << 20
	}
	info := c.New().Info()
	if err := info.Validate(); err != nil {
		t.Fatal(err)
	}
	needs := map[bollwerk.EventKind]bool{}
	for _, n := range info.Needs {
		needs[n.Kind] = true
	}
	attacks, _ := filepath.Glob("testdata/attack-*.jsonl")
	benign, _ := filepath.Glob("testdata/benign-*.jsonl")
	if len(attacks) == 0 || len(benign) == 0 {
		t.Fatalf("a detector is shown by attacks and by normal work: testdata/attack-*.jsonl (%d) and testdata/benign-*.jsonl (%d)", len(attacks), len(benign))
	}
	for name := range c.Want {
		if _, err := os.Stat(filepath.Join("testdata", name+".jsonl")); err != nil {
			t.Error(err)
		}
	}
	for _, file := range attacks {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) { c.attack(t, name, Read(t, file)) })
	}
	for _, file := range benign {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".jsonl"), func(t *testing.T) {
			Quiet(t, Read(t, file), c.New())
		})
	}
	t.Run("clock", func(t *testing.T) { c.clock(t, attacks, benign) })
	t.Run("hostile", func(t *testing.T) { c.hostile(t, attacks) })
	t.Run("budget", func(t *testing.T) { c.budget(t, benign) })
	t.Run("bounded", func(t *testing.T) { c.bounded(t, attacks) })
}

func (c *Contract) attack(t *testing.T, name string, events []*bollwerk.Event) {
	found := Run(t, c.New(), events)
	var best *bollwerk.Detection
	for _, d := range found {
		Sane(t, d)
		if best == nil || d.Severity > best.Severity {
			best = d
		}
	}
	if best == nil {
		t.Fatal("nothing detected")
	}
	t.Logf("%s: %s", best.Severity, best.Message)
	w := c.Want[name]
	if least := max(w.Severity, c.Least); best.Severity < least {
		t.Errorf("severity %s, want at least %s", best.Severity, least)
	}
	if w.Mode != "" && best.Mode != w.Mode {
		t.Errorf("mode %s, want %s", best.Mode, w.Mode)
	}
	if !strings.Contains(best.Message, w.Message) {
		t.Errorf("message %q lacks %q", best.Message, w.Message)
	}
	// A story told twice as long is the same story: detections repeat under one id.
	ids := map[string]bool{}
	for _, d := range found {
		ids[d.ID] = true
	}
	if len(ids) > 8 {
		t.Errorf("%d different detections of one attack; people read one", len(ids))
	}
}

// Sane holds a detection against what every receiver relies on.
func Sane(t testing.TB, d *bollwerk.Detection) {
	t.Helper()
	if d.ID == "" || d.Rule == "" || d.Title == "" || d.Message == "" || d.Advice == "" || len(d.Attack) == 0 || d.Severity <= bollwerk.SeverityNone ||
		d.Mode == "" || d.Outcome == "" || d.Verdict == "" || d.Schema == "" || len(d.Events) == 0 || len(d.Events) > detect.MaxEvents {
		b, _ := json.Marshal(d)
		t.Errorf("incomplete detection: %.600s", b)
	}
	for _, r := range d.Message {
		if r < 0x20 || r == 0x7f || r == 0x202e || r == 0xfffd {
			t.Errorf("message %q holds the character %U", d.Message, r)
		}
	}
	if len(d.Message) > 1500 {
		t.Errorf("message of %d bytes", len(d.Message))
	}
	last := d.Events[len(d.Events)-1]
	if last.Outcome != "" && d.Outcome != last.Outcome {
		t.Errorf("outcome %s, but the event says %s", d.Outcome, last.Outcome)
	}
}

// Quiet fails when the detectors say anything at medium or above about normal work.
func Quiet(t testing.TB, events []*bollwerk.Event, ds ...detect.Detector) {
	t.Helper()
	for _, d := range RunAll(t, events, ds...) {
		Sane(t, d)
		if d.Severity >= bollwerk.SeverityMedium {
			t.Errorf("normal work raised %s (%s): %s", d.Rule, d.Severity, d.Message)
		}
	}
}

// clock turns the clock by a day. What happened before it was turned must neither silence an
// attack afterwards nor, joined with normal work, look like one.
func (c *Contract) clock(t *testing.T, attacks, benign []string) {
	turned := func(events []*bollwerk.Event, by time.Duration) []*bollwerk.Event {
		out := make([]*bollwerk.Event, len(events))
		for i, e := range events {
			x := *e
			x.Time = e.Time.Add(by)
			if e.Process != nil {
				x.Process = began(e.Process, by, 0)
			}
			out[i] = &x
		}
		return out
	}
	for _, by := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		for _, file := range attacks {
			if c.Once {
				continue
			}
			events := Read(t, file)
			d := c.New()
			Run(t, d, events)
			var worst bollwerk.Severity
			for _, found := range Run(t, d, turned(events, by)) {
				worst = max(worst, found.Severity)
			}
			if worst < c.Least {
				t.Errorf("%s: once more after the clock was turned by %s: severity %s, want at least %s", file, by, worst, c.Least)
			}
		}
		for _, file := range benign {
			events := Read(t, file)
			half := len(events) / 2
			Quiet(t, append(events[:half:half], turned(events[half:], by)...), c.New())
		}
	}
}

func began(p *bollwerk.Process, by time.Duration, depth int) *bollwerk.Process {
	if p == nil || depth > bollwerk.ProcessDepth {
		return nil
	}
	q := *p
	if !q.Began.IsZero() {
		q.Began = q.Began.Add(by)
	}
	q.Parent = began(p.Parent, by, depth+1)
	return &q
}

// hostile gives the attacks with every string replaced by what could hurt, and with every
// part left out once.
func (c *Contract) hostile(t *testing.T, files []string) {
	for _, file := range files {
		events := Read(t, file)
		for _, evil := range []string{"", "\x1b[2J\x1b]0;owned\a\r\n", "\xff\xfe\x00\u202egpj.exe", `{"a":"`, strings.Repeat("A", 70_000), strings.Repeat("a.", 40_000), "'; rm -rf / #", "%s%n%d", "-"} {
			for _, d := range Run(t, c.New(), Poison(events, evil)) {
				Sane(t, d)
			}
		}
		d := c.New()
		for _, e := range events {
			for part := 0; part < 14; part++ {
				x := *e
				switch part {
				case 0:
					x.Process = nil
				case 1:
					x.Workload = nil
				case 2:
					x.File, x.DNS, x.Connection, x.Usage, x.Mount, x.Object, x.Namespace, x.Flow = nil, nil, nil, nil, nil, nil, nil, nil
				case 3:
					x.Time = time.Time{}
				case 4:
					x.Time = time.Unix(1<<40, 0)
				case 5:
					x.Time = x.Time.Add(-8760 * time.Hour)
				case 6:
					x.Process = &bollwerk.Process{}
				case 7:
					x.File, x.DNS, x.Connection, x.Usage = &bollwerk.FileEvent{}, &bollwerk.DNS{}, &bollwerk.Connection{}, &bollwerk.Usage{}
					x.Mount, x.Object, x.Namespace, x.Flow = &bollwerk.Mount{}, &bollwerk.Object{}, &bollwerk.Namespace{}, &bollwerk.Flow{}
				case 8:
					x.Workload = &bollwerk.Workload{}
				case 9:
					x.Count = 1<<64 - 1
				case 10:
					if x.Process != nil {
						p := *x.Process
						p.Parent = &p // a circle, which must not happen
						x.Process = &p
					}
				case 11:
					if x.Process != nil {
						p := *x.Process
						p.Args = nil
						x.Process = &p
					}
				case 12:
					x.Outcome = bollwerk.Denied
				case 13:
					x.Result = -1
				}
				d.Observe(&x, func(d *bollwerk.Detection) {})
			}
		}
	}
}

// Poison returns copies of events in which every text chosen by a stranger is s.
func Poison(events []*bollwerk.Event, s string) []*bollwerk.Event {
	seen := map[*bollwerk.Process]*bollwerk.Process{}
	var process func(p *bollwerk.Process) *bollwerk.Process
	process = func(p *bollwerk.Process) *bollwerk.Process {
		if p == nil {
			return nil
		}
		if q := seen[p]; q != nil {
			return q
		}
		q := *p
		seen[p] = &q
		q.Name = s
		q.Cwd += s
		q.Args = append([]string(nil), p.Args...)
		for i := range q.Args {
			q.Args[i] += s
		}
		q.Args = append(q.Args, s, s)
		q.Script += s
		q.TTY = s
		q.Path += s
		q.Parent = process(p.Parent)
		return &q
	}
	var out []*bollwerk.Event
	for _, e := range events {
		x := *e
		x.Process = process(e.Process)
		if e.File != nil {
			f := *e.File
			f.Path += s
			f.Target += s
			x.File = &f
		}
		if e.DNS != nil {
			d := *e.DNS
			d.Name = s + d.Name
			d.Type += s
			x.DNS = &d
		}
		if e.Connection != nil {
			n := *e.Connection
			n.Name += s
			n.Path, n.Peer = s, s
			x.Connection = &n
		}
		if e.Mount != nil {
			m := *e.Mount
			m.Source += s
			m.Target += s
			x.Mount = &m
		}
		if e.Object != nil {
			o := *e.Object
			o.Value, o.Old = s, s
			x.Object = &o
		}
		if w := e.Workload; w != nil && w.Container != nil {
			nw, nc := *w, *w.Container
			nc.Name, nc.Image = s, s
			nw.Container = &nc
			x.Workload = &nw
		}
		out = append(out, &x)
	}
	return out
}

// Flood yields variations of events that share nothing with each other: n times the
// story, each in another container, with other processes, names and files.
func Flood(events []*bollwerk.Event, n int, yield func(*bollwerk.Event)) {
	for i := 0; i < n; i++ {
		for _, e := range events {
			yield(vary(e, i))
		}
	}
}

func vary(e *bollwerk.Event, i int) *bollwerk.Event {
	x := *e
	x.Time = e.Time.Add(time.Duration(i) * time.Millisecond)
	if e.Process != nil {
		p := *e.Process
		p.PID += uint32(i) * 7
		p.Start += uint64(i) * 1_000_003
		p.Path = fmt.Sprintf("%s%d", p.Path, i)
		if len(p.Stdio) > 0 {
			p.Stdio = append([]bollwerk.OpenFile(nil), p.Stdio...)
			for j := range p.Stdio {
				p.Stdio[j].Inode += uint64(i) * 101
			}
		}
		x.Process = &p
	}
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: uint64(i) + 10, Container: &bollwerk.Container{ID: fmt.Sprintf("%064d", i), Name: fmt.Sprintf("c%d", i)}}
	x.Workload = w
	if e.DNS != nil {
		d := *e.DNS
		d.Name = fmt.Sprintf("x%d.%s", i, d.Name)
		x.DNS = &d
	}
	if e.File != nil {
		f := *e.File
		f.Path = fmt.Sprintf("%s.%d", f.Path, i)
		f.Inode += uint64(i)
		x.File = &f
	}
	return &x
}

// MaxRatio is how many times the yardstick (the hash of a path and a look-up in a map) a
// detector may cost per event of normal work; MaxAllocations how often it may allocate.
const (
	MaxRatio       = 60
	MaxAllocations = 1.0
)

// budget holds what a detector costs per event of normal work against a yardstick of the same
// run: the least of several rounds of both, one after the other.
func (c *Contract) budget(t *testing.T, files []string) {
	needs := map[bollwerk.EventKind]bool{}
	d := c.New()
	for _, n := range d.Info().Needs {
		needs[n.Kind] = true
	}
	var events []*bollwerk.Event
	for _, f := range files {
		for _, e := range Read(t, f) {
			if needs[e.Kind] {
				events = append(events, e)
			}
		}
	}
	if len(events) == 0 {
		t.Fatal("the normal work holds no event this detector wants")
	}
	told := 0
	report := func(*bollwerk.Detection) { told++ }
	pass := func() {
		for _, e := range events {
			d.Observe(e, report)
		}
	}
	pass()
	told = 0
	pass()
	// What is told (at low, as this is normal work) costs a sentence.
	limit := MaxAllocations + 80*float64(told)/float64(len(events))
	allocations := testing.AllocsPerRun(2, pass) / float64(len(events))
	if allocations > limit {
		t.Errorf("%.2f allocations per event of normal work, want at most %.1f", allocations, limit)
	}
	table := map[uint64]int{}
	path := strings.Repeat("/usr/lib/program", 3)
	yard := func() {
		for i := range events {
			table[detect.Hash(path[i%8:])]++
		}
	}
	least := func(best time.Duration, f func()) time.Duration {
		t0 := time.Now()
		f()
		return min(best, time.Since(t0))
	}
	ours, theirs := time.Hour, time.Hour
	for round := 0; round < 12; round++ {
		theirs = least(theirs, yard)
		ours = least(ours, pass)
	}
	ratio := float64(ours) / float64(max(theirs, 1))
	t.Logf("%.0f ns and %.2f allocations per event of normal work, %.1f times the yardstick", float64(ours)/float64(len(events)), allocations, ratio)
	if ratio > MaxRatio && !raced {
		t.Errorf("costs %.1f times the yardstick per event, want at most %d", ratio, MaxRatio)
	}
}

// bounded floods a detector and weighs it.
func (c *Contract) bounded(t *testing.T, files []string) {
	if testing.Short() {
		t.Skip("weighing takes a while")
	}
	var events []*bollwerk.Event
	for _, f := range files {
		events = append(events, Read(t, f)...)
	}
	sort.SliceStable(events, func(i, j int) bool { return events[i].Time.Before(events[j].Time) })
	n := max(200, 60_000/len(events))
	before := heap()
	d := c.New()
	Flood(events, n, func(e *bollwerk.Event) { d.Observe(e, func(*bollwerk.Detection) {}) })
	held := max(heap(), before) - before
	t.Logf("%d events of %d containers: holds %d KiB", n*len(events), n, held>>10)
	if held > c.Bytes {
		t.Errorf("holds %d bytes after a flood, more than %d", held, c.Bytes)
	}
	runtime.KeepAlive(d)
	runtime.KeepAlive(events)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
