package detect_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// probe is a detector that does what a test wants.
type probe struct {
	info *detect.Info
	see  func(e *bollwerk.Event, report func(*bollwerk.Detection))
}

func (p *probe) Info() *detect.Info                                          { return p.info }
func (p *probe) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) { p.see(e, report) }

func newProbe(id string, see func(e *bollwerk.Event, report func(*bollwerk.Detection))) *probe {
	return &probe{&detect.Info{
		ID: id, Title: "Title of " + id, Severity: bollwerk.SeverityHigh, Mode: detect.Warn, Attack: []string{"T1059"}, Description: "d", Advice: "a", Bound: "nothing",
		Needs: []detect.Need{{Kind: bollwerk.EventExec, Essential: true, Lost: "everything"}, {Kind: bollwerk.EventConnect, Lost: "peers are not known"}},
	}, see}
}

func stream(t *testing.T, cfg detect.Config, ds ...detect.Detector) *detect.Stream {
	t.Helper()
	s, err := detect.NewStream(cfg, ds...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var t0 = time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)

func exec(at time.Duration) *bollwerk.Event {
	return &bollwerk.Event{Time: t0.Add(at), Kind: bollwerk.EventExec, Process: &bollwerk.Process{PID: 7, Path: "/bin/x"}}
}

func TestStreamGoesOnAfterAPanic(t *testing.T) {
	seen := 0
	s := stream(t, detect.Config{},
		newProbe("first", func(*bollwerk.Event, func(*bollwerk.Detection)) { seen++ }),
		newProbe("falls", func(*bollwerk.Event, func(*bollwerk.Detection)) { panic("index \x1b out of range") }),
		newProbe("last", func(e *bollwerk.Event, report func(*bollwerk.Detection)) {
			seen++
			report(detect.New(newProbe("last", nil).info, e, "x", "m"))
		}))
	told := 0
	for i := 0; i < 100; i++ {
		s.Observe(exec(time.Duration(i)), func(*bollwerk.Detection) { told++ })
	}
	if seen != 200 || told != 100 {
		t.Errorf("others saw %d events and told %d times, want 200 and 100", seen, told)
	}
	p := s.Problems()
	if len(p) != 1 || p[0].Detector != "falls" || p[0].Panics != detect.MaxPanics || !p[0].Stopped {
		t.Fatalf("problems %+v, want one detector stopped after %d panics", p, detect.MaxPanics)
	}
	if text := p[0].Sentence(); !strings.Contains(text, "detector falls failed 16 times") || strings.Contains(text, "\x1b") {
		t.Errorf("sentence %q", text)
	}
}

// A panic of the receiver is not booked on a detector, and not swallowed.
func TestStreamDoesNotSwallowTheReceiver(t *testing.T) {
	s := stream(t, detect.Config{}, newProbe("one", func(e *bollwerk.Event, report func(*bollwerk.Detection)) {
		report(&bollwerk.Detection{})
	}))
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic of the receiver was swallowed")
			}
		}()
		s.Observe(exec(0), func(*bollwerk.Detection) { panic("receiver") })
	}()
	if len(s.Problems()) != 0 {
		t.Errorf("booked on a detector: %v", s.Problems())
	}
}

func TestStreamModes(t *testing.T) {
	ask := "" // what the detector asks for
	d := func() detect.Detector {
		return newProbe("one", func(e *bollwerk.Event, report func(*bollwerk.Detection)) {
			report(&bollwerk.Detection{Mode: ask})
		})
	}
	for _, c := range []struct {
		configured detect.Mode
		ask, want  string
	}{
		{"", "", "warn"}, {"", "observe", "observe"}, {"", "enforce", "warn"}, {detect.Enforce, "", "enforce"}, {detect.Enforce, "warn", "warn"}, {detect.Observe, "warn", "observe"},
	} {
		cfg := detect.Config{}
		if c.configured != "" {
			cfg.Modes = map[string]detect.Mode{"one": c.configured}
		}
		ask = c.ask
		var got *bollwerk.Detection
		stream(t, cfg, d()).Observe(exec(0), func(x *bollwerk.Detection) { got = x })
		if got == nil || got.Mode != c.want {
			t.Errorf("configured %q, asked for %q: mode %v, want %s", c.configured, c.ask, got, c.want)
			continue
		}
		if got.Title != "Title of one" || got.Severity != bollwerk.SeverityHigh || got.Outcome != bollwerk.Seen || got.Verdict != bollwerk.Fail || got.Schema == "" || got.Rule != "one" {
			t.Errorf("not filled in: %+v", got)
		}
	}
	if _, err := detect.NewStream(detect.Config{Off: []string{"onne"}}, d()); err == nil || !strings.Contains(err.Error(), "onne: no such detector") {
		t.Errorf("a misspelt name was taken: %v", err)
	}
	if _, err := detect.NewStream(detect.Config{Modes: map[string]detect.Mode{"one": "block"}}, d()); err == nil {
		t.Error("an unknown mode was taken")
	}
	if _, err := detect.NewStream(detect.Config{}, d(), d()); err == nil {
		t.Error("two detectors of one id were taken")
	}
	if s := stream(t, detect.Config{Off: []string{"one"}}, d()); len(s.Infos()) != 0 || len(s.Kinds()) != 0 {
		t.Error("a detector that is off runs")
	}
}

func TestGaps(t *testing.T) {
	s := stream(t, detect.Config{}, newProbe("one", nil))
	if g := s.Gaps(func(bollwerk.EventKind) bool { return true }); len(g) != 0 {
		t.Errorf("gaps with everything there: %v", g)
	}
	g := s.Gaps(func(bollwerk.EventKind) bool { return false })
	if len(g) != 2 || g[0].Verdict != bollwerk.NotEvaluated || g[1].Verdict != bollwerk.Degraded || g[1].Lost != "peers are not known" {
		t.Errorf("gaps %+v", g)
	}
}

func detection(id string, at time.Duration, severity bollwerk.Severity, outcome bollwerk.Outcome) *bollwerk.Detection {
	return &bollwerk.Detection{ID: id, Time: t0.Add(at), Last: t0.Add(at), Count: 1, Severity: severity, Outcome: outcome, Message: fmt.Sprint(at)}
}

func TestFolder(t *testing.T) {
	f := detect.NewFolder(detect.FolderConfig{Quiet: time.Minute})
	var counts []uint64
	tell := func(d *bollwerk.Detection) { counts = append(counts, d.Count) }
	for i := 0; i < 250; i++ {
		f.Add(detection("a", time.Duration(i)*time.Millisecond, bollwerk.SeverityLow, bollwerk.Denied), tell)
	}
	if fmt.Sprint(counts) != "[1 10 100]" {
		t.Errorf("told at counts %v, want 1, 10, 100", counts)
	}
	f.Tick(t0.Add(30*time.Second), tell)
	if len(counts) != 3 {
		t.Errorf("ended before it was quiet: %v", counts)
	}
	f.Tick(t0.Add(2*time.Minute), tell)
	if fmt.Sprint(counts) != "[1 10 100 250]" || f.Len() != 0 {
		t.Errorf("after quiet: %v, %d remembered; want the final count 250", counts, f.Len())
	}
	// What begins again is told at once; and when the ticker is late, the count of before is not lost.
	f.Add(detection("a", 10*time.Minute, bollwerk.SeverityLow, bollwerk.Denied), tell)
	f.Add(detection("a", 10*time.Minute, bollwerk.SeverityLow, bollwerk.Denied), tell)
	f.Add(detection("a", 20*time.Minute, bollwerk.SeverityLow, bollwerk.Denied), tell)
	if fmt.Sprint(counts[4:]) != "[1 2 1]" {
		t.Errorf("after a break: %v, want 1, 2 (the end), 1", counts[4:])
	}
	if f.Folded != 250 {
		t.Errorf("folded %d, want 249 and 1", f.Folded)
	}
}

// TestFolderClock: what happens after the clock was turned back is no repeat of what is
// to happen tomorrow, and what was told does not stay for a day.
func TestFolderClock(t *testing.T) {
	f := detect.NewFolder(detect.FolderConfig{Quiet: time.Minute})
	at := time.Unix(1_700_000_000, 0)
	told := 0
	tell := func(*bollwerk.Detection) { told++ }
	for i, by := range []time.Duration{0, time.Second, -24 * time.Hour, -24*time.Hour + time.Second, 24 * time.Hour} {
		at := at.Add(by)
		f.Add(&bollwerk.Detection{ID: "x", Rule: "r", Time: at, Last: at, Count: 1}, tell)
		if want := []int{1, 1, 3, 3, 5}[i]; told != want { // with the count of the one before
			t.Fatalf("%d told after %s, want %d", told, by, want)
		}
	}
	f.Tick(at.Add(-24*time.Hour), tell)
	if f.Len() != 0 {
		t.Errorf("%d still remembered a day before they happened", f.Len())
	}
}

// TestFolderKeepsLittle: what is kept of a detection does not hold alive what came with it.
func TestFolderKeepsLittle(t *testing.T) {
	f := detect.NewFolder(detect.FolderConfig{})
	d := detection("a", 0, bollwerk.SeverityHigh, bollwerk.Seen)
	d.Process = &bollwerk.Process{PID: 1, Path: strings.Repeat("p", 9000), Args: []string{strings.Repeat("a", 9000)}}
	for i := 0; i < 32; i++ {
		d.Events = append(d.Events, &bollwerk.Event{Kind: bollwerk.EventExec, Process: d.Process})
	}
	var told []*bollwerk.Detection
	for i := 0; i < 10; i++ {
		f.Add(d, func(d *bollwerk.Detection) { told = append(told, d) })
	}
	if len(told) != 2 || len(told[0].Events) != 32 || len(told[1].Events) != 1 || told[1].Count != 10 || len(told[1].Process.Path) > 300 || len(told[1].Events[0].Process.Args[0]) > 300 {
		t.Errorf("told %d times", len(told))
	}
}

// What becomes worse is told at once, and stays as bad as it was.
func TestFolderTellsWorse(t *testing.T) {
	f := detect.NewFolder(detect.FolderConfig{})
	var told []*bollwerk.Detection
	tell := func(d *bollwerk.Detection) { told = append(told, d) }
	f.Add(detection("a", 0, bollwerk.SeverityMedium, bollwerk.Denied), tell)
	f.Add(detection("a", time.Second, bollwerk.SeverityHigh, bollwerk.Denied), tell)
	f.Add(detection("a", 2*time.Second, bollwerk.SeverityMedium, bollwerk.Seen), tell)
	f.Add(detection("a", 3*time.Second, bollwerk.SeverityHigh, bollwerk.Denied), tell)
	if len(told) != 3 {
		t.Fatalf("told %d times, want 3", len(told))
	}
	d := told[2]
	if d.Severity != bollwerk.SeverityHigh || d.Outcome != bollwerk.Seen || d.Count != 3 || !d.Time.Equal(t0) || !d.Last.Equal(t0.Add(2*time.Second)) {
		t.Errorf("third: %+v", d)
	}
	if told[0].Count != 1 {
		t.Error("what was told before was changed")
	}
}

// Who else did the same is told at once and named from then on, however many they are.
func TestFolderNamesOthers(t *testing.T) {
	f := detect.NewFolder(detect.FolderConfig{})
	var told []*bollwerk.Detection
	tell := func(d *bollwerk.Detection) { told = append(told, d) }
	add := func(pid, uid uint32, parent string, severity bollwerk.Severity) {
		d := detection("a", time.Duration(pid)*time.Second, severity, bollwerk.Seen)
		d.Process = &bollwerk.Process{PID: pid, UID: uid, Path: "/bin/cat", Parent: &bollwerk.Process{PID: 1000 + pid, Path: parent}}
		f.Add(d, tell)
	}
	add(1, 0, "/bin/bash", bollwerk.SeverityMedium)
	add(2, 0, "/bin/bash", bollwerk.SeverityMedium) // the same again
	if len(told) != 1 || told[0].Others != nil {
		t.Fatalf("told %d times", len(told))
	}
	add(3, 33, "/usr/sbin/apache2", bollwerk.SeverityMedium)
	if len(told) != 2 || told[1].Count != 3 || told[1].Process.PID != 1 || fmt.Sprint(told[1].Others) != "[cat (pid 3), user 33, started by apache2 (pid 1003)]" {
		t.Fatalf("told %d times, the last with %+v", len(told), told[len(told)-1])
	}
	// The graver case becomes the first, and the first one of the others.
	add(4, 7, "/bin/bash", bollwerk.SeverityHigh)
	if len(told) != 3 || told[2].Process.PID != 4 || len(told[2].Others) != 2 || !strings.HasPrefix(told[2].Others[1], "cat (pid 1), user 0") {
		t.Fatalf("told %d times, the last with %+v", len(told), told[len(told)-1])
	}
	for i := range uint32(1000) {
		add(100+i, 100+i, strings.Repeat("/x", 4000), bollwerk.SeverityMedium)
	}
	f.Flush(tell)
	last := told[len(told)-1]
	if last.Count != 1004 || len(last.Others) != detect.MaxOthers || len(fmt.Sprint(last.Others)) > 4096 || len(told) > 3+detect.MaxOthers+4 {
		t.Errorf("told %d times, at last with count %d and %d others", len(told), last.Count, len(last.Others))
	}
	if len(told[1].Others) != 1 {
		t.Error("what was told before was changed")
	}
}

// However many different detections arrive, the folder stays small and forgets none in silence.
func TestFolderIsBounded(t *testing.T) {
	f := detect.NewFolder(detect.FolderConfig{Limit: 8})
	sum := uint64(0)
	last := map[string]uint64{}
	tell := func(d *bollwerk.Detection) { sum += d.Count - last[d.ID]; last[d.ID] = d.Count }
	n := uint64(0)
	for i := 0; i < 1000; i++ {
		for j := 0; j <= i%3; j++ {
			f.Add(detection(fmt.Sprint(i), time.Duration(i)*time.Second, bollwerk.SeverityLow, bollwerk.Seen), tell)
			n++
		}
	}
	if f.Len() > 8 {
		t.Errorf("remembers %d, want at most 8", f.Len())
	}
	f.Flush(tell)
	if sum != n {
		t.Errorf("told of %d, were %d", sum, n)
	}
}

func TestID(t *testing.T) {
	pod := func(id, uid string) *bollwerk.Workload {
		return &bollwerk.Workload{Container: &bollwerk.Container{ID: id, Image: "i"}, Pod: &bollwerk.Pod{Namespace: "n", OwnerKind: "Deployment", OwnerName: "o", UID: uid, Container: "c"}}
	}
	if detect.ID("r", pod("a", "1"), "s") != detect.ID("r", pod("b", "1"), "s") {
		t.Error("a container that restarted in its pod is another one")
	}
	if detect.ID("r", pod("a", "1"), "s") == detect.ID("r", pod("a", "2"), "s") {
		t.Error("two pods are one")
	}
	if detect.ID("r", nil, "ab") == detect.ID("r", nil, "a") || detect.ID("ra", nil, "b") == detect.ID("r", nil, "ab") {
		t.Error("different subjects are one")
	}
}

func TestTable(t *testing.T) {
	x := detect.NewTable[int, int](3, time.Minute)
	for i := 1; i <= 3; i++ {
		*x.Put(i, t0) = i
	}
	x.Get(1, t0.Add(time.Second)) // touched: 2 is now the oldest
	*x.Put(4, t0.Add(2*time.Second)) = 4
	if x.Peek(2, t0.Add(2*time.Second)) != nil || x.Peek(1, t0.Add(2*time.Second)) == nil || x.Len() != 3 || x.Evicted != 1 {
		t.Errorf("the one touched longest ago must go: len %d, evicted %d", x.Len(), x.Evicted)
	}
	if x.Get(3, t0.Add(2*time.Minute)) != nil {
		t.Error("an entry outlived its life")
	}
	*x.Put(5, t0.Add(-time.Hour)) = 5 // the clock was set back
	if x.Peek(5, t0.Add(-time.Hour)) == nil {
		t.Error("an entry of the past is not there")
	}
	x.Delete(5)
	x.Delete(99)
	if x.Len() > 3 {
		t.Errorf("%d entries", x.Len())
	}
}

// FuzzTable holds the table against a map and a list.
func FuzzTable(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 0x81, 5, 6, 0xc1, 7, 8, 9, 1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		const limit = 5
		x := detect.NewTable[byte, byte](limit, 0)
		var order []byte // oldest first
		drop := func(k byte) {
			for i, o := range order {
				if o == k {
					order = append(order[:i], order[i+1:]...)
					return
				}
			}
		}
		has := func(k byte) bool {
			for _, o := range order {
				if o == k {
					return true
				}
			}
			return false
		}
		for i, op := range ops {
			k, now := op&0x1f, t0.Add(time.Duration(i))
			switch op >> 6 {
			case 0, 1:
				if !has(k) && len(order) == limit {
					order = order[1:]
				}
				drop(k)
				order = append(order, k)
				*x.Put(k, now) = k
			case 2:
				v := x.Get(k, now)
				if (v != nil) != has(k) || v != nil && *v != k {
					t.Fatalf("op %d: get %d gave %v, want %v", i, k, v, has(k))
				}
				if v != nil {
					drop(k)
					order = append(order, k)
				}
			case 3:
				x.Delete(k)
				drop(k)
			}
			if x.Len() != len(order) {
				t.Fatalf("op %d: %d entries, want %d", i, x.Len(), len(order))
			}
		}
	})
}

func TestSet(t *testing.T) {
	var s detect.Set
	for i := uint64(0); i < 1000; i++ {
		if !s.Add(detect.Mix(i), 100) != (i >= 100) {
			t.Fatalf("add %d", i)
		}
	}
	if s.Len() != 100 || !s.Has(detect.Mix(5)) || s.Has(detect.Mix(500)) {
		t.Errorf("%d members", s.Len())
	}
	s.Reset()
	if s.Len() != 0 || s.Has(detect.Mix(5)) || !s.Add(0, 1) || !s.Has(0) {
		t.Error("after reset")
	}
}

func TestPrograms(t *testing.T) {
	p := func(path string, args ...string) *bollwerk.Process { return &bollwerk.Process{Path: path, Args: args} }
	for _, c := range []struct {
		p         *bollwerk.Process
		name      string
		class     detect.Class
		code      string
		commanded bool
	}{
		{p("/usr/bin/bash", "-bash"), "bash", detect.Shell, "", true},
		{p("/usr/bin/dash", "sh", "-c", "id"), "dash", detect.Shell, "id", false},
		{p("/usr/bin/bash", "bash", "-lc", "id"), "bash", detect.Shell, "id", false},
		{p("/usr/bin/bash", "bash", "-c", "-e", "id"), "bash", detect.Shell, "id", false},
		{p("/usr/bin/bash", "bash", "-x", "run.sh"), "bash", detect.Shell, "", false},
		{p("/usr/bin/bash", "bash", "-s", "--", "arg"), "bash", detect.Shell, "", true},
		{p("/usr/bin/bash", "bash", "--rcfile", "/x", "-i"), "bash", detect.Shell, "", true},
		{p("/bin/busybox", "sh"), "sh", detect.Shell, "", true},
		{p("/bin/busybox", "busybox", "sh", "-i"), "sh", detect.Shell, "", true},
		{p("/bin/busybox", "busybox", "nc", "-e", "sh"), "nc", detect.Relay, "", false},
		{p("/usr/bin/python3.12", "python3", "-c", "print(1)"), "python3.12", detect.Interpreter, "print(1)", false},
		{p("/usr/bin/python3.12", "python3", "-m", "pip", "install"), "python3.12", detect.Interpreter | detect.Installer, "", false},
		{p("/usr/bin/node", "node", "/usr/lib/node_modules/npm/bin/npm-cli.js"), "node", detect.Interpreter | detect.Installer, "", false},
		{p("/usr/bin/node", "node", "/tmp/npm-cli.js"), "node", detect.Interpreter, "", false},
		{p("/usr/bin/perl", "perl", "-MSocket", "-e", "x"), "perl", detect.Interpreter, "x", false},
		{p("/usr/bin/ruby", "ruby", "-rsocket", "-e", "x"), "ruby", detect.Interpreter, "x", false},
		{p("/usr/bin/php8.2", "php", "-r", "x"), "php8.2", detect.Interpreter, "x", false},
		{p("/usr/bin/gawk", "awk", "-F:", "{print}"), "gawk", detect.Interpreter, "{print}", false},
		{p("/usr/sbin/php-fpm8.2"), "php-fpm8.2", detect.WebServer, "", false},
		{p("/opt/x/unknown", "x"), "unknown", 0, "", false},
		{&bollwerk.Process{Name: "kworker/0:1"}, "kworker/0:1", 0, "", false},
		{p("/usr/bin/curl (deleted)", "curl"), "curl", detect.Fetcher, "", false},
		{nil, "", 0, "", false},
	} {
		if n := detect.Name(c.p); n != c.name {
			t.Errorf("%v: name %q, want %q", c.p, n, c.name)
		}
		if got := detect.ClassOf(c.p); got&c.class != c.class || c.class == 0 && got != 0 || got&^c.class&(detect.Installer|detect.Builder) != 0 {
			t.Errorf("%v: class %b, want %b", c.p, got, c.class)
		}
		if code := detect.Code(c.p); code != c.code {
			t.Errorf("%v: code %q, want %q", c.p.Args, code, c.code)
		}
		if got := detect.Commanded(c.p); got != c.commanded {
			t.Errorf("%v: commanded %v", c.p.Args, got)
		}
	}
}

// FuzzPrograms: whatever a stranger puts on a command line, reading it ends.
func FuzzPrograms(f *testing.F) {
	f.Add("/usr/bin/bash", "bash\x00-c\x00id")
	f.Add("/bin/busybox", "busybox\x00")
	f.Add("/usr/bin/gawk", "awk\x00-f")
	f.Add("/usr/bin/python3", "\x00\x00-")
	f.Fuzz(func(t *testing.T, path, args string) {
		p := &bollwerk.Process{Path: path, Args: strings.Split(args, "\x00")}
		p.Parent = p
		detect.Code(p)
		detect.Commanded(p)
		detect.ClassOf(p)
		detect.Job(p)
		detect.Told(p)
		for _, text := range []string{detect.Who(p), detect.Command(p), detect.Name(detect.Brief(p))} {
			if len(text) > 5000 && text != detect.Base(path) {
				t.Errorf("%d bytes of text", len(text))
			}
		}
	})
}

// Ancestors end at the border of a container, however that is known.
func TestAbove(t *testing.T) {
	type ps = bollwerk.Process
	host := func(path string, up *ps) *ps {
		return &ps{PID: 1, Path: path, MountNS: 1, PIDNS: 1, Cgroup: 1, Parent: up}
	}
	box := func(ns uint32, cgroup uint64, up *ps) *ps {
		return &ps{PID: 2, Path: "/bin/sh", Contained: true, MountNS: ns, PIDNS: ns, Cgroup: cgroup, Parent: up}
	}
	mk := host("/usr/bin/make", nil)
	bash := host("/bin/bash", mk)
	for _, c := range []struct {
		what string
		p    *ps
		job  bool
	}{
		{"on the host", host("/bin/sh", bash), true},
		{"in a container", box(2, 2, host("/usr/bin/runc", bash)), false},
		{"in a container without a cgroup of its own", box(2, 1, host("/usr/bin/crun", bash)), false},
		{"in a container of an unknown runtime", box(2, 2, bash), false},
		{"in a container whose runtime has joined its mounts", box(2, 2, &ps{PID: 5, Path: "/usr/sbin/runc", Contained: true, MountNS: 2, PIDNS: 1, Cgroup: 1, Parent: bash}), false},
		{"in one that shares the host's PIDs", &ps{PID: 6, Contained: true, MountNS: 2, PIDNS: 1, Cgroup: 2, Parent: &ps{PID: 5, Path: "/usr/sbin/runc", Contained: true, MountNS: 2, PIDNS: 1, Cgroup: 1, Parent: bash}}, false},
		{"in a sandbox of the build", box(2, 1, bash), true},
		{"below another process of the container", box(2, 2, box(2, 2, host("/usr/bin/runc", bash))), false},
		{"in a container within one", box(3, 3, &ps{PID: 3, Path: "/usr/bin/make", Contained: true, MountNS: 2, PIDNS: 2, Cgroup: 2}), false},
		{"in another mount namespace of the container", &ps{PID: 4, Contained: true, MountNS: 3, PIDNS: 2, Cgroup: 3, Parent: &ps{PID: 3, Path: "/usr/bin/make", Contained: true, MountNS: 2, PIDNS: 2, Cgroup: 2}}, true},
		{"in a step of an image's build", box(2, 2, host("/usr/bin/runc", host("/usr/bin/dockerd", nil))), true},
		{"in a container of an engine", box(2, 2, host("/usr/bin/containerd-shim-runc-v2", host("/usr/bin/dockerd", nil))), false},
		{"in a container that dockerd itself became", box(2, 2, host("/usr/bin/dockerd", nil)), false},
		{"below a builder in a folder for everybody", box(2, 2, host("/usr/bin/runc", host("/tmp/buildkitd", nil))), false},
		{"nobody", nil, false},
	} {
		if got := detect.Job(c.p) != nil; got != c.job {
			t.Errorf("%s: a job: %v, want %v", c.what, got, c.job)
		}
	}
}

func TestRegistered(t *testing.T) {
	for _, c := range [][3]string{
		{"a.b.example.com", "example.com", "a.b"}, {"example.com", "example.com", ""}, {"x.example.co.uk", "example.co.uk", "x"}, {"example.co.uk", "example.co.uk", ""},
		{"localhost", "localhost", ""}, {"", "", ""}, {"co.uk", "co.uk", ""}, {"a.b.com.br.", "b.com.br", "a"}, {"t.co", "t.co", ""}, {"x.t.co", "t.co", "x"}, {".", "", ""}, {"..", ".", ""},
	} {
		if d, s := detect.Registered(c[0]); d != c[1] || s != c[2] {
			t.Errorf("%q is %q and %q, want %q and %q", c[0], d, s, c[1], c[2])
		}
	}
}

func FuzzRegistered(f *testing.F) {
	f.Add("a.b.co.uk")
	f.Add("...")
	f.Fuzz(func(t *testing.T, name string) {
		d, s := detect.Registered(name)
		if s != "" && !strings.HasPrefix(name, s+"."+d) {
			t.Errorf("%q is %q and %q", name, d, s)
		}
		if !strings.Contains(name, ".") && !detect.Inward(name) {
			t.Errorf("%q has no dot and leaves the site", name)
		}
		if e := detect.Entropy(name); e < 0 || e > 8 {
			t.Errorf("entropy %f", e)
		}
	})
}

func TestPublic(t *testing.T) {
	for a, want := range map[string]bool{"8.8.8.8": true, "10.0.0.1": false, "100.64.1.1": false, "100.128.1.1": true, "127.0.0.1": false, "169.254.169.254": false, "::1": false, "2001:db8::1": true, "fd00::1": false, "::ffff:10.0.0.1": false, "0.0.0.0": false, "224.0.0.1": false} {
		if got := detect.Public(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s public: %v", a, got)
		}
	}
	if detect.Public(netip.Addr{}) || detect.Distant(netip.Addr{}) {
		t.Error("no address is public")
	}
}

// TestBrief: what is kept of a process is small, whatever it was.
func TestBrief(t *testing.T) {
	var p *bollwerk.Process
	for i := 0; i < 40; i++ {
		p = &bollwerk.Process{PID: uint32(i), Path: strings.Repeat("p", 5000), Cwd: strings.Repeat("c", 5000), Env: []string{strings.Repeat("e", 9000)}, Parent: p}
		for j := 0; j < 100; j++ {
			p.Args = append(p.Args, strings.Repeat("a", 1000))
		}
	}
	b := detect.Brief(p)
	n, depth := 0, 0
	for q := b; q != nil; q = q.Parent {
		depth++
		n += len(q.Path) + len(q.Cwd)
		for _, a := range append(q.Args, q.Env...) {
			n += len(a)
		}
	}
	if depth != bollwerk.ProcessDepth+1 || n > depth*1000 || !b.Truncated || b.PID != 39 {
		t.Errorf("%d ancestors with %d bytes", depth, n)
	}
}
