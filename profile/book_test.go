package profile

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

func (w *world) status(wl *bollwerk.Workload) *Status {
	w.t.Helper()
	s, err := w.book.Status(wl.Key())
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) knows(wl *bollwerk.Workload, c Category, value string) bool {
	p := must(w.book.Profile(wl.Key()))
	var s scratch
	return p.find(key{cat: c, value: value}, &s) != nil
}

func TestIncidentsAreNotLearned(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	shell := w.process(wl, "/bin/sh", p)
	if d := w.book.Observe(w.exec(wl, shell), true); len(d) != 0 {
		t.Errorf("learn mode reported %v", rulesOf(d))
	}
	if w.knows(wl, Executable, "/bin/sh") {
		t.Error("the program of a suspicious event was learned")
	}
	// For a while nothing at all is learned in this workload.
	w.quiet(w.open(wl, p, "/srv/during", bollwerk.AccessWrite))
	if w.knows(wl, Write, "/srv/during") {
		t.Error("learned while held")
	}
	// Later the workload learns again, but never what descends from the shell.
	w.now = w.now.Add(time.Hour)
	child := w.process(wl, "/usr/bin/wget", w.process(wl, "/bin/busybox", shell))
	w.quiet(w.open(wl, p, "/srv/after", bollwerk.AccessWrite), w.exec(wl, child), w.open(wl, child, "/srv/loot", bollwerk.AccessWrite))
	if !w.knows(wl, Write, "/srv/after") {
		t.Error("the workload did not learn again")
	}
	if w.knows(wl, Write, "/srv/loot") || w.knows(wl, Executable, "/usr/bin/wget") {
		t.Error("a descendant of the shell was learned")
	}
	if c := w.status(wl).Completeness; c.Withheld != 4 || !strings.Contains(c.Sentence, "4 events of incidents were not learned") {
		t.Errorf("withheld %d: %s", c.Withheld, c.Sentence)
	}
	if d := w.book.Syscalls(wl.Cgroup, []uint64{1 << 41}); len(d) != 0 || w.knows(wl, Syscall, "socket") {
		t.Error("system calls of an intruder were learned")
	}
	// More suspicious processes than fit: nothing of the replica is learned any more.
	for range 9 {
		w.book.Observe(w.exec(wl, w.process(wl, "/bin/x", p)), true)
	}
	w.now = w.now.Add(time.Hour)
	w.quiet(w.open(wl, p, "/srv/much-later", bollwerk.AccessWrite))
	if w.knows(wl, Write, "/srv/much-later") {
		t.Error("learned from a replica with more suspicious processes than are followed")
	}
}

func TestSuspectTakesBackWhatWasJustLearned(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	w.now = w.now.Add(time.Hour)
	began := w.now
	w.quiet(w.open(wl, p, "/srv/x.php", bollwerk.AccessWrite), w.exec(wl, w.process(wl, "/bin/sh", p)))
	if n := w.book.Suspect(wl, p, began); n != 3 {
		t.Errorf("%d entries forgotten, want the write, the program and its start", n)
	}
	if w.knows(wl, Executable, "/bin/sh") || !w.knows(wl, Executable, "/usr/sbin/nginx") {
		t.Error("the wrong things were forgotten")
	}
}

func TestNameThatComesLate(t *testing.T) {
	w := newWorld(t, Config{})
	named := w.container("web", digestA)
	early := *named
	early.Container = &bollwerk.Container{ID: "box/web", Name: "box/web", Runtime: bollwerk.UnknownRuntime}
	w.start(&early)
	if got := w.book.Keys(); !slices.Equal(got, []string{early.Key()}) {
		t.Fatalf("profiles %q", got)
	}
	w.start(named)
	if got := w.book.Keys(); !slices.Equal(got, []string{named.Key()}) {
		t.Errorf("profiles %q once its runtime named it", got)
	}
}

func TestDeniedIsNotLearned(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	for _, o := range []bollwerk.Outcome{bollwerk.Denied, bollwerk.Killed} {
		e := w.exec(wl, w.process(wl, "/tmp/dropper", p))
		e.Outcome, e.Rule = o, "restrict"
		w.quiet(e)
	}
	if w.knows(wl, Executable, "/tmp/dropper") {
		t.Error("what did not happen was learned")
	}
	w.book.records[wl.Key()].mode = Restrict
	e := w.exec(wl, w.process(wl, "/tmp/dropper", p))
	e.Outcome, e.Source, e.Rule = bollwerk.Killed, "sigkill at exec", "restrict"
	if d := w.one(e, RuleExecutable); d.Outcome != bollwerk.Killed || d.How != "sigkill at exec restrict" {
		t.Errorf("outcome %s by %q", d.Outcome, d.How)
	}
}

func TestFloodIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	for i := range 50000 {
		w.quiet(w.open(wl, p, fmt.Sprintf("/etc/%s/%s", letters(i), letters(i)), bollwerk.AccessWrite), w.exec(wl, w.process(wl, "/opt/"+letters(i), p)),
			w.connect(wl, p, "x"+letters(i)+".example", fmt.Sprintf("%d.%d.%d.1:80", 1+i%200, i%250, i%7)))
	}
	s := w.status(wl)
	if s.Entries > caps[Write]+caps[Executable]+caps[Start]+caps[Destination]+caps[Name]+64 {
		t.Errorf("%d entries", s.Entries)
	}
	if b := w.book.Stats().Bytes; b > 1<<20 {
		t.Errorf("one workload took %d bytes", b)
	}
	want := map[Category]bool{Write: true, Executable: true, Destination: true}
	for _, c := range s.Completeness.Saturated {
		delete(want, c)
	}
	if len(want) > 0 || !strings.Contains(s.Completeness.Sentence, "Category write is saturated") {
		t.Errorf("not said to be saturated: %v in %q", want, s.Completeness.Sentence)
	}
	if n := w.book.Notices(); len(n) < 3 || !strings.Contains(strings.Join(n, "\n"), "too varied") {
		t.Errorf("notices: %q", n)
	}
	if w.knows(wl, Write, "/etc/cron.d/evil") {
		t.Error("a flood opened /etc")
	}
	w.book.records[wl.Key()].p.own.units = 1e6
	if err := w.book.Advance(wl.Key(), Observe, "x", "x"); !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "too varied") {
		t.Errorf("a saturated profile moved forward: %v", err)
	}
	// The way out.
	if err := w.book.Reset(wl.Key(), "ann", "flooded", s.Completeness.Saturated...); err != nil {
		t.Fatal(err)
	}
	if s := w.status(wl); len(s.Completeness.Saturated) != 0 || !w.knows(wl, Port, "") && s.Entries == 0 {
		t.Errorf("after reset: %+v", s)
	}
}

// letters writes i without digits: a name no rule makes general.
func letters(i int) string {
	b := []byte(fmt.Sprint(i))
	for j := range b {
		b[j] += 'g' - '0'
	}
	return string(b)
}

// TestResetMovesOnByItself: a reset of a profile that nobody moved back is no reason to stay.
func TestResetMovesOnByItself(t *testing.T) {
	w := newWorld(t, Config{})
	wl, _ := w.learned(3, 30*24*time.Hour, Learn)
	if err := w.book.Reset(wl.Key(), "ann", "flooded", Write); err != nil {
		t.Fatal(err)
	}
	if m, ok := w.book.Tick()[wl.Key()]; !ok || m.To != Observe {
		t.Errorf("stays in learn: %+v", w.status(wl).Moves)
	}
}

func TestOneFloodDoesNotStarveOthers(t *testing.T) {
	w := newWorld(t, Config{Memory: 128 << 10, MaxProfiles: 8})
	loud := w.container("loud", digestA)
	lp := w.start(loud)
	for i := range 5000 {
		w.quiet(w.open(loud, lp, "/etc/"+letters(i), bollwerk.AccessWrite), w.exec(loud, w.process(loud, "/opt/"+letters(i), lp)), w.connect(loud, lp, letters(i)+".io", "203.0.113.9:443"))
	}
	if b := w.book.Stats().Bytes; b > 128<<10 {
		t.Errorf("one flood took %d bytes of %d", b, 128<<10)
	}
	for i := range 7 {
		wl := w.container(fmt.Sprint("more-", i), digestA)
		p := w.start(wl)
		for j := range 40 {
			w.quiet(w.exec(wl, w.process(wl, "/opt/"+letters(j), p)))
		}
	}
	if b := w.book.Stats().Bytes; b > 2*128<<10 {
		t.Errorf("%d bytes of %d", b, 128<<10)
	}
	if s := w.status(loud); len(s.Completeness.Saturated) == 0 {
		t.Error("the loud one was not stopped")
	}
	for _, k := range w.book.Keys() {
		if strings.Contains(k, "more-") && len(must(w.book.Profile(k)).Saturated()) > 0 {
			t.Errorf("%s was starved", k)
		}
	}
}

func TestDeviationsAreFoldedAndBounded(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*time.Hour, Observe)
	e := func() *bollwerk.Event { return w.connect(wl, p, "", "198.51.100.7:4444") }
	first := w.one(e(), RuleDestination)
	for range 99 {
		if d := w.book.Observe(e(), false); len(d) != 0 {
			t.Fatalf("repeated at once: %v", rulesOf(d))
		}
	}
	w.now = w.now.Add(2 * time.Minute)
	again := w.one(e(), RuleDestination)
	if again.Count != 100 || again.ID != first.ID || !again.Time.Before(again.Last) {
		t.Errorf("count %d, ids %s %s, %s to %s", again.Count, first.ID, again.ID, again.Time, again.Last)
	}
	said := map[string]int{}
	for i := range 10000 {
		for _, d := range w.book.Observe(w.exec(wl, w.process(wl, "/opt/"+letters(i), p)), false) {
			said[d.Rule]++
		}
	}
	if said[RuleExecutable] > maxDeviations || said[RuleFlood] != 1 {
		t.Errorf("said %v", said)
	}
	if n := w.book.Stats().Deviations; n < 10000 {
		t.Errorf("%d counted", n)
	}
}

func TestLittleKnowledgeSaysLittle(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	w.book.records[wl.Key()].mode = Observe
	x := w.process(wl, "/tmp/x", p)
	x.Origin = bollwerk.OriginCreated
	if d := w.one(w.exec(wl, x), RuleExecutable); d.Severity != bollwerk.SeverityLow {
		t.Errorf("a deviation from an hour of knowledge is %s", d.Severity)
	}
	w = newWorld(t, Config{})
	wl, p = w.learned(3, 8*24*time.Hour, Observe)
	x = w.process(wl, "/tmp/x", p)
	x.Origin = bollwerk.OriginCreated
	d := w.book.Observe(w.exec(wl, x), false)
	if len(d) != 2 || d[0].Severity != bollwerk.SeverityHigh || d[1].Rule != RuleBehaviour || d[1].Severity != bollwerk.SeverityHigh {
		t.Errorf("got %v", rulesOf(d))
	}
}

func TestOriginIsPartOfAProgram(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*time.Hour, Observe)
	n := w.process(wl, "/usr/sbin/nginx", nil)
	n.Origin = bollwerk.OriginModified
	d := w.one(w.exec(wl, n), RuleExecutable)
	if !strings.Contains(d.Message, "origin modified, known is image") {
		t.Errorf("%s", d.Message)
	}
	_ = p
}

func TestEditsOutrankEntries(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	w.quiet(w.open(wl, p, "/srv/up/a", bollwerk.AccessWrite))
	edit := func(e Entry, remove bool) {
		t.Helper()
		w.now = w.now.Add(time.Second)
		if err := w.book.Edit(wl.Key(), e, Edit{By: "ann", Reason: "ticket 7", Remove: remove}); err != nil {
			t.Fatal(err)
		}
	}
	edit(Entry{Category: Write, Value: "/srv/up/**"}, true)
	edit(Entry{Category: Write, Value: "/srv/up/ok/**"}, false)
	d := w.one(w.open(wl, p, "/srv/up/a", bollwerk.AccessWrite), RuleWrite)
	if !strings.Contains(d.Message, "was forbidden by ann (ticket 7)") || d.Severity < bollwerk.SeverityMedium {
		t.Errorf("%s %s", d.Severity, d.Message)
	}
	w.quiet(w.open(wl, p, "/srv/up/ok/b", bollwerk.AccessWrite))
	r := must(w.book.Profile(wl.Key())).Restriction()
	for path, want := range map[string]bool{"/srv/up/a": false, "/srv/up/new": false, "/srv/up/ok/c": true, "/var/log/nginx/access.log": true, "/etc/passwd": false} {
		if got := r.Allows(w.open(wl, p, path, bollwerk.AccessWrite)); got != want {
			t.Errorf("restriction allows %s: %v", path, got)
		}
	}
	for _, bad := range []Edit{{By: "", Reason: "x"}, {By: "x"}, {By: "a\nb", Reason: "x"}} {
		if w.book.Edit(wl.Key(), Entry{Category: Write, Value: "/x"}, bad) == nil {
			t.Errorf("taken: %+v", bad)
		}
	}
	if err := w.book.Edit("nobody", Entry{Category: Write, Value: "/x"}, Edit{By: "a", Reason: "b"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown workload: %v", err)
	}
}

// Two general forms with one prefix: the one that is forbidden wins.
func TestARestrictionDeniesWhereItCannotTell(t *testing.T) {
	p := New("w", "n")
	var s scratch
	p.add(key{cat: Write, value: "/srv/up-*.txt"}, &mark{}, &s)
	p.setEdit(key{cat: Write, value: "/srv/up-*.sh"}, &Edit{At: epoch, By: "a", Reason: "b", Remove: true})
	r := p.Restriction()
	if r.allowsWrite("/srv/up-1.sh") {
		t.Error("the forbidden one is allowed")
	}
	p.edits = nil
	if !p.Restriction().allowsWrite("/srv/up-1.txt") {
		t.Error("what is known is refused")
	}
}

func TestNewImageInherits(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
	wl, p := w.learned(3, 8*24*time.Hour, Observe)
	next := w.container("web", digestB)
	w.start(next)
	s := w.status(next)
	if s.Mode != Learn || s.Inherited != wl.Key() || !w.knows(next, Write, "/var/log/nginx/access.log") {
		t.Errorf("mode %s, inherited %q", s.Mode, s.Inherited)
	}
	if c := s.Completeness; c.Units != 0 || c.Overall.Unseen != 1 {
		t.Errorf("inherited knowledge counts as observed: %+v", c.Overall)
	}
	// From the store as well, after a restart.
	if err := w.book.Save(); err != nil {
		t.Fatal(err)
	}
	w2 := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
	w2.n = 1000
	third := w2.container("web", strings.Replace(digestB, "b", "c", 1))
	w2.start(third)
	if s := w2.status(third); s.Inherited == "" {
		t.Error("nothing was inherited from the store")
	}
	_ = p
}

func TestClockJumpsMakeNoSamples(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	w.now = w.now.Add(20 * time.Minute)
	there := w.now
	for i := range 1000 {
		w.now = there.Add(time.Duration(i%2) * 24 * 365 * time.Hour)
		w.serve(wl, p)
	}
	w.now = time.Time{}
	e := w.connect(wl, p, "db.shop.svc.cluster.local", "10.0.3.7:5432")
	w.now = there
	w.quiet(e)
	if c := w.status(wl).Completeness; c.Units != 2 {
		t.Errorf("a jumping clock made %d samples", c.Units)
	}
}

func TestCgroupReuse(t *testing.T) {
	w := newWorld(t, Config{})
	a := w.container("web", digestA)
	w.start(a)
	b := w.container("db", digestA)
	b.Cgroup = a.Cgroup
	p := w.process(b, "/usr/bin/postgres", nil)
	w.quiet(w.exec(b, p))
	if w.knows(a, Executable, "/usr/bin/postgres") || !w.knows(b, Executable, "/usr/bin/postgres") {
		t.Error("the cgroup's number decided, not the workload")
	}
	if st := w.book.Stats(); st.Replicas != 1 || w.status(a).Running != 0 {
		t.Errorf("replicas %d, running %d", st.Replicas, w.status(a).Running)
	}
}

func TestUnresolvedAndHostAreNotLearned(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	wl.Unresolved = "the container was gone"
	host := &bollwerk.Workload{Kind: bollwerk.WorkloadHost, Node: "n1"}
	for _, x := range []*bollwerk.Workload{wl, host, nil} {
		w.quiet(&bollwerk.Event{Time: w.now, Kind: bollwerk.EventExec, Workload: x, Process: &bollwerk.Process{Path: "/bin/ls"}})
	}
	if n := len(w.book.Keys()); n != 0 || w.book.Stats().Unresolved != 1 {
		t.Errorf("%d profiles, stats %+v", n, w.book.Stats())
	}
	w = newWorld(t, Config{Host: true})
	w.quiet(&bollwerk.Event{Time: w.now, Kind: bollwerk.EventExec, Workload: host, Process: &bollwerk.Process{Path: "/bin/ls"}})
	if k := w.book.Keys(); len(k) != 1 || k[0] != "host" {
		t.Errorf("%q", k)
	}
}

func TestAutomaticMovesStopAtObserve(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 30*24*time.Hour, Learn)
	moved := w.book.Tick()
	if m, ok := moved[wl.Key()]; !ok || m.To != Observe || m.By != "bollwerk" {
		t.Fatalf("moved %+v", moved)
	}
	if again := w.book.Tick(); len(again) != 0 {
		t.Errorf("moved on by itself: %v", again)
	}
	if err := w.book.Back(wl.Key(), Learn, "ann", "new release"); err != nil {
		t.Fatal(err)
	}
	if again := w.book.Tick(); len(again) != 0 {
		t.Errorf("undid a person's decision: %v", again)
	}
	if err := w.book.Advance(wl.Key(), Restrict, "ann", ""); err == nil {
		t.Error("skipped observe")
	}
	if n := len(w.status(wl).Moves); n != 2 {
		t.Errorf("%d moves remembered", n)
	}
	// Nor does it after resets, however many: the counts that the gate asks for are still there.
	for range maxMoves + 3 {
		if err := w.book.Reset(wl.Key(), "ann", "flooded", Write); err != nil {
			t.Fatal(err)
		}
	}
	if missing := w.book.gate(Observe).missing(w.status(wl).Completeness); len(missing) > 0 {
		t.Fatalf("it could not move in any case: %q", missing)
	}
	if again := w.book.Tick(); len(again) != 0 {
		t.Errorf("a reset undid a person's decision: %v", again)
	}
	// By a person it can, and from there on it is as any other.
	if err := w.book.Advance(wl.Key(), Observe, "ann", "enough"); err != nil {
		t.Fatal(err)
	}
	if n := len(w.status(wl).Moves); n != maxMoves {
		t.Errorf("%d moves remembered", n)
	}
	_ = p
}

// What runc 1.1.5 was seen to do in a container's cgroup before the program starts.
func TestTheRuntimeIsNotTheWorkload(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	outside := &bollwerk.Process{PID: 9, Path: "/usr/sbin/runc", Cgroup: 7395, Origin: bollwerk.OriginHost}
	init := w.process(wl, "/usr/sbin/runc", outside)
	init.Name, init.Origin, init.NSID, init.Contained = "runc:[1:CHILD]", bollwerk.OriginHost, 1, true
	child := w.process(wl, "/usr/sbin/runc", init)
	child.Origin = bollwerk.OriginHost
	capability := func(p *bollwerk.Process, name string) *bollwerk.Event {
		e := w.event(wl, bollwerk.EventCapability, p)
		e.Change = &bollwerk.Change{Used: name}
		return e
	}
	w.quiet(w.event(wl, bollwerk.EventNamespace, init), w.event(wl, bollwerk.EventMount, init), capability(init, "CAP_SYS_ADMIN"), capability(child, "CAP_MKNOD"),
		w.exec(wl, init), w.event(wl, bollwerk.EventMemfd, init))
	p := w.process(wl, "/usr/sbin/nginx", init)
	w.quiet(w.exec(wl, p), capability(p, "CAP_NET_BIND_SERVICE"))
	got := must(w.book.Profile(wl.Key()))
	if c := got.Capabilities(); len(c) != 1 || c[0] != "CAP_NET_BIND_SERVICE" {
		t.Errorf("capabilities %q", c)
	}
	for _, x := range []string{Mounts, ChangesSpaces, MakesMemory} {
		if did, _ := w.book.Did(wl, x); did {
			t.Errorf("the runtime's %s was taken for the workload's", x)
		}
	}
	if !w.knows(wl, Start, "(outside)\x00/usr/sbin/nginx") {
		t.Error("the program was not started from outside")
	}
	if w.knows(wl, Executable, "/usr/sbin/runc") || w.book.Stats().Runtime != 6 {
		t.Errorf("%+v", w.book.Stats())
	}
	// A process of the container that runs the host's shell got out; that is judged.
	w.book.records[wl.Key()].mode = Observe
	sh := w.process(wl, "/bin/bash", p)
	sh.Origin = bollwerk.OriginHost
	w.one(w.exec(wl, sh), RuleExecutable)
	// What it starts got out too, however far down: its parent being the host's does
	// not make it the runtime.
	before := w.book.Stats().Runtime
	for _, path := range []string{"/usr/bin/crontab", "/usr/bin/insmod"} {
		sh = w.process(wl, path, sh)
		sh.Origin = bollwerk.OriginHost
		w.one(w.exec(wl, sh), RuleExecutable)
	}
	if n := w.book.Stats().Runtime; n != before {
		t.Errorf("%d events of a process that got out were taken for the runtime's", n-before)
	}
}

func TestSeeds(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	wl.Container.Entrypoint, wl.Container.Ports = []string{"/docker-entrypoint.sh", "nginx"}, []uint16{80, 443}
	w.quiet(w.exec(wl, w.process(wl, "/usr/sbin/nginx", nil)))
	doc := must(w.book.Profile(wl.Key())).Document()
	seeds := 0
	for _, e := range doc.Entries {
		if len(e.Sources) == 1 && e.Sources[0] == "seed" {
			seeds++
		}
	}
	if seeds != 3 {
		t.Errorf("%d seeds", seeds)
	}
	w.book.records[wl.Key()].mode = Observe
	w.quiet(w.listen(wl, nil, 443))
}

func TestBehavioursThatNeverHappened(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("ci", digestA)
	if did, known := w.book.Did(wl, RunsCreated); did || known {
		t.Error("an unknown workload is known")
	}
	x := w.process(wl, "/build/a.out", nil)
	x.Origin = bollwerk.OriginCreated
	w.quiet(w.exec(wl, x))
	if did, _ := w.book.Did(wl, RunsCreated); !did {
		t.Error("it did")
	}
	m := w.process(wl, "/memfd:x (deleted)", x)
	m.Fileless = true
	w.quiet(w.exec(wl, m))
	if did, _ := w.book.Did(wl, RunsMemory); !did {
		t.Error("it ran from memory")
	}
	if did, _ := w.book.Did(wl, LoadsBPF); did {
		t.Error("it never loaded BPF")
	}
}

func TestLossesAreSaid(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*time.Hour, Observe)
	w.book.Observe(&bollwerk.Event{Kind: bollwerk.EventLoss, Time: w.now, Loss: &bollwerk.Loss{Count: 312, Area: "ring", Cgroup: wl.Cgroup}}, false)
	d := w.one(w.connect(wl, p, "", "198.51.100.7:4444"), RuleDestination)
	if d.Verdict != bollwerk.Degraded || !strings.Contains(strings.Join(d.Causes, ""), "312 events") {
		t.Errorf("%s %q", d.Verdict, d.Causes)
	}
	if s := w.status(wl).Completeness.Sentence; !strings.Contains(s, "312 events never arrived") {
		t.Error(s)
	}
}

func TestHostileTextsStayInsideTheirLine(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*time.Hour, Observe)
	p.Name = "x\x1b[2J"
	for _, path := range []string{"/tmp/\x1b[31mred", "/tmp/a\nb", "/tmp/\xff\xfe", "/tmp/" + strings.Repeat("x", 9000), "/tmp/**"} {
		for _, d := range w.book.Observe(w.open(wl, p, path, bollwerk.AccessWrite), false) {
			for _, s := range []string{d.Message, d.Nearest, d.Title} {
				if strings.ContainsAny(s, "\x1b\n\r") || len(s) > 2000 {
					t.Errorf("%q", s)
				}
			}
		}
	}
	var b bytes.Buffer
	if err := w.book.Export(wl.Key(), &b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "/tmp/**") {
		t.Error("a file named ** opened a folder")
	}
}

// TestClockTurnedBack: after a clock that was a day ahead nothing is silent until that day
// has passed again.
func TestClockTurnedBack(t *testing.T) {
	t.Run("learning after an incident", func(t *testing.T) {
		w := newWorld(t, Config{})
		wl := w.container("web", digestA)
		p := w.start(wl)
		w.now = w.now.Add(24 * time.Hour)
		w.book.Observe(w.exec(wl, w.process(wl, "/bin/sh", p)), true)
		w.now = w.now.Add(-24 * time.Hour)
		w.quiet(w.open(wl, p, "/srv/during", bollwerk.AccessWrite))
		w.now = w.now.Add(time.Hour)
		w.quiet(w.open(wl, p, "/srv/after", bollwerk.AccessWrite))
		if w.knows(wl, Write, "/srv/during") || !w.knows(wl, Write, "/srv/after") {
			t.Error("it learns during the incident, or not after it")
		}
	})
	t.Run("deviations", func(t *testing.T) {
		w := newWorld(t, Config{})
		wl, p := w.learned(3, 8*24*time.Hour, Observe)
		w.now = w.now.Add(24 * time.Hour)
		for i := range 2 * maxDeviations {
			w.book.Observe(w.exec(wl, w.process(wl, "/opt/"+letters(i), p)), false)
		}
		w.now = w.now.Add(-24 * time.Hour)
		w.one(w.exec(wl, w.process(wl, "/usr/bin/nc", p)), RuleExecutable)
	})
	t.Run("samples", func(t *testing.T) {
		w := newWorld(t, Config{})
		wl := w.container("web", digestA)
		p := w.start(wl)
		w.now = w.now.Add(365 * 24 * time.Hour)
		w.serve(wl, p)
		w.now = w.now.Add(-365 * 24 * time.Hour)
		before := w.status(wl).Completeness.Units
		for range 60 { // ten hours, with events out of order
			w.now = w.now.Add(10 * time.Minute)
			w.serve(wl, p)
			w.now = w.now.Add(-5 * time.Second)
			w.serve(wl, p)
			w.now = w.now.Add(5 * time.Second)
		}
		if n := w.status(wl).Completeness.Units - before; n < 58 || n > 60 {
			t.Errorf("%d samples in sixty windows", n)
		}
	})
	t.Run("edits", func(t *testing.T) {
		w := newWorld(t, Config{})
		wl, p := w.learned(3, 8*24*time.Hour, Observe)
		entry := must(ParseEntry(Executable, "/usr/bin/nc"))
		w.now = w.now.Add(24 * time.Hour)
		if err := w.book.Edit(wl.Key(), entry, Edit{Remove: true, By: "ann", Reason: "no"}); err != nil {
			t.Fatal(err)
		}
		w.now = w.now.Add(-24 * time.Hour)
		if err := w.book.Edit(wl.Key(), entry, Edit{By: "ann", Reason: "it is needed after all"}); err != nil {
			t.Fatal(err)
		}
		for _, d := range w.book.Observe(w.exec(wl, w.process(wl, "/usr/bin/nc", p)), false) {
			if strings.Contains(d.Message, "forbidden") {
				t.Errorf("the later decision is lost: %s", d.Message)
			}
		}
	})
}

// TestDeviationSaysWhatCameOfIt: what was refused did not happen.
func TestDeviationSaysWhatCameOfIt(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*time.Hour, Observe)
	n := 0
	run := func() *bollwerk.Event { n++; return w.exec(wl, w.process(wl, "/opt/"+letters(n), p)) }
	connect := func() *bollwerk.Event { n++; return w.connect(wl, p, "", fmt.Sprintf("198.51.100.%d:4444", n)) }
	write := func() *bollwerk.Event { n++; return w.open(wl, p, "/opt/"+letters(n)+"/x", bollwerk.AccessWrite) }
	for _, tt := range []struct {
		e       *bollwerk.Event
		outcome bollwerk.Outcome
		result  int32
		rule    string
		want    string
	}{
		{run(), bollwerk.Seen, 0, RuleExecutable, " ran: it is not in the profile learned in "},
		{run(), bollwerk.Denied, 1, RuleExecutable, " was to run and was denied: it is not in"},
		{run(), bollwerk.Killed, 0, RuleExecutable, " was to run, and the process was killed before: it"},
		{connect(), bollwerk.Seen, 0, RuleDestination, " was connected to: it"},
		{connect(), bollwerk.Seen, 115, RuleDestination, " was connected to: it"},
		{connect(), bollwerk.Denied, 1, RuleDestination, " was to be connected to and was denied: it"},
		{connect(), bollwerk.Killed, 0, RuleDestination, " was connected to, and the process was killed: it"},
		{write(), bollwerk.Seen, 0, RuleWrite, " happened: it"},
		{write(), bollwerk.Denied, 1, RuleWrite, " was tried and was denied: it"},
	} {
		tt.e.Outcome, tt.e.Result = tt.outcome, tt.result
		if d := w.one(tt.e, tt.rule); !strings.Contains(d.Message, tt.want) || d.Outcome != tt.outcome {
			t.Errorf("%s: %q, want %q", tt.outcome, d.Message, tt.want)
		}
	}
}

// TestUnknownModeIsNotLearned: who touches a program did not make one.
func TestUnknownModeIsNotLearned(t *testing.T) {
	for old, want := range map[uint32]bool{0: false, 0o100644: true, 0o104755: false} {
		w := newWorld(t, Config{})
		wl := w.container("web", digestA)
		p := w.start(wl)
		e := w.event(wl, bollwerk.EventChmod, p)
		e.File = &bollwerk.FileEvent{Path: "/usr/bin/x", Mode: 0o104755, OldMode: old}
		w.quiet(e)
		if got := w.knows(wl, Behaviour, MakesProgram); got != want {
			t.Errorf("mode before %o: makes programs: %v, want %v", old, got, want)
		}
		if got := w.knows(wl, Behaviour, MakesSetID); got != want {
			t.Errorf("mode before %o: sets the bit: %v, want %v", old, got, want)
		}
	}
}

// Whatever a container is called, its profile has a key that can be stored, read back and
// shown, and no two share one.
func TestKeysOfHostileNames(t *testing.T) {
	b, err := NewBook(Config{Node: "n"})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for i, name := range []string{"web", "web\x1b[31m", `web\x1b[31m`, "web\nx", "web x", "we\xffb", "we\xfeb", "we\u202eb", strings.Repeat("a", 600), strings.Repeat("a", 601), strings.Repeat("字", 300)} {
		w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: uint64(i + 1), Container: &bollwerk.Container{ID: fmt.Sprint(i), Name: name, Image: "web:1"}}
		key := Key(w)
		if other, is := seen[key]; is {
			t.Errorf("%q and %q are one workload", name, other)
		}
		seen[key] = name
		b.Observe(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Workload: w, Process: &bollwerk.Process{Path: "/bin/x", Cgroup: w.Cgroup}}, false)
		var out bytes.Buffer
		if err := b.Export(key, &out); err != nil {
			t.Fatal(err)
		}
		if d, err := ReadDocument(&out); err != nil || d.Workload != key {
			t.Errorf("%q: %v", name, err)
		}
	}
}
