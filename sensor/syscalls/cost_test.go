package syscalls

import (
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// null is the CPU time of n calls that do nothing.
func null(t testing.TB, n int) time.Duration {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	before := used()
	for range n {
		syscall.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
	}
	return used() - before
}

// What a null system call costs while the program is attached, and what that makes on
// average. The bound is on the average: 1.01 in the default configuration.
func TestNullCallCost(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement")
	}
	s := New(Config{Every: 1000 * time.Hour})
	watch(t, s)
	c := Config{}.defaults()
	const rounds, n = 41, 50000
	var without, with []time.Duration
	for range rounds {
		without = append(without, null(t, n))
		s.mu.Lock()
		if err := s.attach(); err != nil {
			t.Fatal(err)
		}
		with = append(with, null(t, n))
		if err := s.detach(); err != nil {
			t.Fatal(err)
		}
		s.mu.Unlock()
	}
	slices.Sort(without)
	slices.Sort(with)
	a, b := without[rounds/2], with[rounds/2]
	ratio := float64(b) / float64(a)
	duty := float64(c.Window) / float64(c.Every)
	average := 1 + duty*(ratio-1)
	t.Logf("null call %.0f ns, %.0f ns attached: ratio %.2f (least of each: %.2f); with a duty of %.1f %%: %.4f; with starts all the time: %.4f",
		float64(a)/n, float64(b)/n, ratio, float64(with[0])/float64(without[0]), duty*100, average, 1+(duty+1.0/startShare)*(ratio-1))
	if average > 1.01 {
		t.Errorf("a null call costs %.4f of what it cost, at most 1.01 is allowed", average)
	}
}

// A window costs something by itself: attaching and detaching patches code and waits
// for every CPU.
func TestWindowCost(t *testing.T) {
	if testing.Short() {
		t.Skip("a measurement")
	}
	s := New(Config{Every: 1000 * time.Hour})
	watch(t, s)
	var took []time.Duration
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 21 {
		began := time.Now()
		if err := s.attach(); err != nil {
			t.Fatal(err)
		}
		if err := s.detach(); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("attach and detach take %v, %v at most", took[len(took)/2], took[len(took)-1])
}

// What Collect costs with many workloads.
func BenchmarkCollect(b *testing.B) {
	prerequisite.Root(b)
	s := New(Config{Every: 1000 * time.Hour})
	watch(b, s)
	row := make([]byte, Width)
	row[0], row[300] = 1, 1
	for range b.N {
		b.StopTimer()
		for id := range uint64(200) {
			if err := s.used.Put(id+1<<40, row); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		n := 0
		s.Collect(func(uint64, []uint64) { n++ })
		if n < 200 {
			b.Fatal(n)
		}
	}
}
