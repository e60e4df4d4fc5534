package profile

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Samples of system calls are short: for long some call is seen in one of them only. That
// keeps nobody from observing and restricting, who refuses no system call; and what the
// samples did not show before is no news.
func TestSystemCallsHaveAGateOfTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	wls := []*bollwerk.Workload{w.container("web", digestA), w.container("web", digestA), w.container("web", digestA)}
	var ps []*bollwerk.Process
	for _, wl := range wls {
		ps = append(ps, w.start(wl))
	}
	n := 0
	serve := func(days int, once bool) {
		t.Helper()
		for end := w.now.Add(time.Duration(days) * 24 * time.Hour); w.now.Before(end); w.now = w.now.Add(10 * time.Minute) {
			for i, wl := range wls {
				w.serve(wl, ps[i])
				if d := w.book.Syscalls(wl.Cgroup, []uint64{0b111}); len(d) > 0 {
					t.Fatal(rulesOf(d))
				}
			}
			if n++; once && n%5 == 0 && 3+n/5 < 300 { // each time another
				calls := make([]uint64, MaxSyscalls/64)
				calls[(3+n/5)/64] = 1 << ((3 + n/5) % 64)
				if d := w.book.Syscalls(wls[0].Cgroup, calls); len(d) > 0 {
					t.Fatalf("a call that no sample showed before is told: %v", rulesOf(d))
				}
			}
		}
	}
	serve(8, true)
	key := wls[0].Key()
	for _, m := range []Mode{Observe, Restrict} {
		if err := w.book.Advance(key, m, "test", "enough"); err != nil {
			t.Fatal(err)
		}
	}
	before := w.status(wls[0]).Completeness
	if !strings.Contains(before.Sentence, " system calls known from samples.") || before.Categories[Syscall-Executable].Once < 100 {
		t.Errorf("%s: %+v", before.Sentence, before.Categories[Syscall-Executable])
	}
	// They go on being learned, but not from an intruder.
	serve(1, true)
	if c := w.status(wls[0]).Completeness; c.Categories[Syscall-Executable].Known <= before.Categories[Syscall-Executable].Known {
		t.Error("what further samples show is not learned")
	}
	since := w.now
	w.now = w.now.Add(time.Minute)
	if d := w.book.Syscalls(wls[0].Cgroup, []uint64{0, 0, 0, 0, 0, 1 << 10}); len(d) > 0 || !w.knows(wls[0], Syscall, SyscallName(AMD64, 330)) {
		t.Error("not learned: ", rulesOf(d))
	}
	entries := w.status(wls[0]).Entries
	if got := w.book.Suspect(wls[0], nil, since); got != 1 || w.knows(wls[0], Syscall, SyscallName(AMD64, 330)) || w.status(wls[0]).Entries != entries-1 {
		t.Errorf("%d entries taken back of an intruder's calls", got)
	}
	// Once the samples agree, a new one is news.
	serve(90, false)
	d := w.book.Syscalls(wls[0].Cgroup, []uint64{0, 0, 0, 0, 0, 1 << 11})
	if len(d) != 1 || d[0].Rule != RuleSyscall || w.knows(wls[0], Syscall, SyscallName(AMD64, 331)) {
		t.Errorf("%v", rulesOf(d))
	}
}

// What was refused and what happened are two things to tell, though they are alike.
func TestOutcomesAreNotFolded(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*time.Hour, Restrict)
	for _, o := range []bollwerk.Outcome{bollwerk.Denied, bollwerk.Seen, bollwerk.Killed} {
		e := w.open(wl, p, "/srv/new", bollwerk.AccessWrite)
		e.Outcome = o
		if d := w.one(e, RuleWrite); d.Outcome != o || d.Count != 1 {
			t.Errorf("told as %s ×%d, was %s", d.Outcome, d.Count, o)
		}
		if d := w.book.Observe(e, false); len(d) > 0 {
			t.Errorf("told twice: %v", rulesOf(d))
		}
	}
}

// A flow that sums up refused attempts is not a visit.
func TestRefusedFlowsAreNoVisits(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*time.Hour, Restrict)
	e := w.connect(wl, p, "", "198.51.100.7:4444")
	e.Outcome = bollwerk.Denied
	w.one(e, RuleDestination)
	e = w.connect(wl, p, "", "198.51.100.7:4444")
	e.Kind, e.Flow = bollwerk.EventFlow, &bollwerk.Flow{Connections: 2, Failed: 2}
	w.quiet(e)
	e.Flow = &bollwerk.Flow{Connections: 3, Failed: 2, SentPackets: 4, ReceivedPackets: 3}
	if d := w.one(e, RuleDestination); d.Outcome != bollwerk.Seen {
		t.Error(d.Outcome)
	}
	e = w.event(wl, bollwerk.EventFlow, p)
	e.Connection = &bollwerk.Connection{Protocol: "tcp", Local: netip.MustParseAddrPort("0.0.0.0:80")}
	e.Connection.Remote = netip.MustParseAddrPort("198.51.100.8:0")
	e.Flow = &bollwerk.Flow{Failed: 1}
	w.quiet(e)
}
