package profile

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// The estimates against a world whose truth is known: behaviours with rates from
// every window down to once in thousands, samples drawn, and then what the next
// sample really brings.
func TestEstimatesHoldWhereTheTruthIsKnown(t *testing.T) {
	t.Parallel()
	for _, exponent := range []float64{0.8, 1.3, 2} {
		for _, units := range []int{20, 60, 144, 500, 2000} {
			simulate(t, units, exponent)
		}
	}
}

func simulate(t *testing.T, units int, exponent float64) {
	const species, trials = 150, 400
	rng := rand.New(rand.NewPCG(uint64(units), 3))
	held, truth, estimate := 0, 0.0, 0.0
	for range trials {
		var c counts
		all, unseen := 0.0, 0.0
		for i := range species {
			rate := math.Min(1, 0.9*math.Pow(float64(i+1), -exponent)) // Zipf
			n := uint32(0)
			// Gaps between sightings are geometric: as exact as a coin for every
			// window, and fast for rare ones.
			for at := 0; ; n++ {
				if at += 1 + int(math.Log(1-rng.Float64())/math.Log(1-math.Min(rate, 0.999999))); at > units {
					break
				}
			}
			all += rate
			if n == 0 {
				unseen += rate
				continue
			}
			c.take(&mark{events: uint64(n), units: n})
		}
		e := c.estimate(uint64(units), 0)
		if unseen <= e.Next {
			held++
		}
		truth += unseen / all
		estimate += e.Unseen
	}
	share := float64(held) / trials
	t.Logf("exponent %.1f, %d windows: truly unseen %.2f %%, estimated %.2f %%; the bound for the next window held in %.1f %% of %d trials",
		exponent, units, 100*truth/trials, 100*estimate/trials, 100*share, trials)
	if share < 0.93 {
		t.Errorf("the 95 %% bound held in %.1f %%", 100*share)
	}
	if truth/trials < 0.0005 {
		return // a ratio of next to nothing
	}
	if estimate < 0.85*truth || estimate > 1.5*truth {
		t.Errorf("unseen %.4f, estimated %.4f", truth/trials, estimate/trials)
	}
}

func TestUpperPoisson(t *testing.T) {
	// Garwood's table, one-sided 95 %.
	for q, want := range map[float64]float64{0: 2.996, 1: 4.744, 2: 6.296, 5: 10.513, 10: 16.962, 50: 63.287} {
		if got := upperPoisson(q); math.Abs(got-want)/want > 0.01 {
			t.Errorf("%v: %.3f, want %.3f", q, got, want)
		}
	}
}

// A million repetitions of one thing in one window are one sample.
func TestALoopTeachesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	w.now = w.now.Add(5 * time.Minute)
	for range 100000 {
		w.serve(wl, p)
	}
	c := w.status(wl).Completeness
	if c.Units != 1 || c.Overall.Next < 1 || !strings.Contains(c.Sentence, "too little to estimate") {
		t.Errorf("%d windows, next %.2f: %s", c.Units, c.Overall.Next, c.Sentence)
	}
}

// Jobs live for seconds: their runs are the samples.
func TestJobsAreJudgedByTheirRuns(t *testing.T) {
	w := newWorld(t, Config{})
	var key string
	for i := range 200 {
		wl := w.container("job", digestA)
		key = wl.Key()
		p := w.process(wl, "/bin/job", nil)
		w.quiet(w.exec(wl, p), w.connect(wl, p, "db.shop.svc.cluster.local", "10.0.3.7:5432"))
		w.book.Ended(wl.Cgroup)
		w.now = w.now.Add(10 * time.Minute)
		moved := w.book.Tick()
		if i < 100 && len(moved) > 0 {
			t.Fatalf("after %d runs: %v", i+1, moved)
		}
	}
	s := must(w.book.Status(key))
	if s.Mode != Observe || !s.Completeness.Brief() || !strings.Contains(s.Completeness.Sentence, "gone after minutes") {
		t.Errorf("%s: %s (%q)", s.Mode, s.Completeness.Sentence, s.Missing)
	}
}

// Nobody tells when a unit began; its first program does.
func TestUnitsBeginWithTheirFirstProgram(t *testing.T) {
	w := newWorld(t, Config{})
	unit := &bollwerk.Workload{Kind: bollwerk.WorkloadUnit, Unit: "nginx.service", Cgroup: 77, Node: "n1"}
	systemd := &bollwerk.Process{PID: 1, Path: "/usr/lib/systemd/systemd", Cgroup: 1}
	p := w.process(unit, "/usr/sbin/nginx", systemd)
	for range 3 {
		w.quiet(w.exec(unit, p), w.connect(unit, p, "", "10.0.0.9:25"))
		w.now = w.now.Add(time.Hour)
		w.quiet(w.connect(unit, p, "", "10.0.0.9:25"))
		w.book.Ended(unit.Cgroup)
		unit.Cgroup++
		p = w.process(unit, "/usr/sbin/nginx", systemd)
	}
	if c := w.status(unit).Completeness; c.Starts != 3 || c.Units != 3 {
		t.Errorf("%d starts, %d windows: %s", c.Starts, c.Units, c.Sentence)
	}
	// Runtimes write the start down a moment late.
	wl := w.container("late", digestA)
	wl.Container.Started = w.now.Add(5 * time.Second)
	w.quiet(w.exec(wl, w.process(wl, "/bin/x", nil)))
	if c := w.status(wl).Completeness; c.Starts != 1 {
		t.Error("a start five seconds before the time the runtime tells was not seen")
	}
}

// Many at once, for the race detector.
func TestABookIsSafeForConcurrentUse(t *testing.T) {
	w := newWorld(t, Config{Store: must(OpenStore(t.TempDir(), 0))})
	var wls []*bollwerk.Workload
	for i := range 4 {
		wl := w.container(fmt.Sprint("app-", i), digestA)
		w.start(wl)
		wls = append(wls, wl)
	}
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			wl := wls[i]
			p := &bollwerk.Process{PID: 5, Path: "/usr/sbin/nginx", Cgroup: wl.Cgroup}
			for n := range 300 {
				w.book.Observe(&bollwerk.Event{Time: w.now, Kind: bollwerk.EventExec, Process: p, Workload: wl}, n%50 == 49)
				w.book.Syscalls(wl.Cgroup, []uint64{uint64(n)})
				switch n % 50 {
				case 10:
					w.book.Save()
				case 20:
					w.book.Tick()
					w.book.Status(wls[(i+1)%4].Key())
				case 30:
					w.book.Export(wls[(i+2)%4].Key(), io.Discard)
					w.book.Edit(wl.Key(), Entry{Category: Write, Value: "/x"}, Edit{By: "a", Reason: "b"})
				case 40:
					w.book.Back(wl.Key(), Learn, "a", "b")
					w.book.Did(wl, Mounts)
					w.book.Notices()
				}
			}
		})
	}
	group.Wait()
	for _, wl := range wls {
		if n := w.status(wl).Completeness.Events; n != 303 {
			t.Errorf("%d events of 303", n)
		}
	}
}

// Containers that ran before the agent: their start is unknown, and that is said.
func TestAnUnseenStartIsMissed(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	wl.Container.Started = w.now.Add(-time.Hour)
	p := w.process(wl, "/usr/sbin/nginx", nil)
	for range 400 {
		w.serve(wl, p)
		w.now = w.now.Add(10 * time.Minute)
	}
	s := w.status(wl)
	if len(s.Missing) != 1 || !strings.Contains(s.Missing[0], "0 of 1 starts") || !strings.Contains(s.Completeness.Sentence, "the start of none of them") {
		t.Errorf("missing %q: %s", s.Missing, s.Completeness.Sentence)
	}
	if len(w.book.Tick()) != 0 {
		t.Error("moved to observe without having seen a start")
	}
}

func TestReplicasBeyondTheSketchAreEstimated(t *testing.T) {
	p := New("w", "n")
	rng := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		p.addReplica(rng.Uint32() | 1)
	}
	if n := p.replicaEstimate(); n < 3500 || n > 7000 {
		t.Errorf("5000 replicas are estimated as %d", n)
	}
}

func TestConfigurationsAreChecked(t *testing.T) {
	bad := DefaultGates()
	bad.Observe.Unseen = 0
	for name, c := range map[string]Config{
		"arch": {Arch: "riscv64"}, "window": {Window: time.Second}, "start": {Start: time.Hour}, "hold": {Hold: -1},
		"profiles": {MaxProfiles: -1}, "memory": {Memory: 1}, "gates": {Gates: bad},
	} {
		if _, err := NewBook(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := NewBook(Config{}); err != nil {
		t.Error(err)
	}
}

// Ends that were never told must not fill the table of running replicas.
func TestForgottenReplicasAreEnded(t *testing.T) {
	w := newWorld(t, Config{MaxProfiles: 8})
	for range maxRunning + 10 {
		wl := w.container("web", digestA)
		w.quiet(w.exec(wl, w.process(wl, "/bin/x", nil)))
		w.now = w.now.Add(time.Second)
	}
	if n := w.book.Stats().Replicas; n != maxRunning {
		t.Errorf("%d replicas", n)
	}
	w.now = w.now.Add(25 * time.Hour)
	w.book.Tick()
	if n := w.book.Stats().Replicas; n != 0 {
		t.Errorf("%d replicas after a day of silence", n)
	}
}
