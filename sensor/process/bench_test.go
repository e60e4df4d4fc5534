package process

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// cpuTime of this process, or of its children that were waited for.
func cpuTime(who int) time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(who, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// burst starts a program many times, on two threads, in a process of its own.
func burst(t testing.TB, n int, program string) time.Duration {
	t.Helper()
	before := cpuTime(syscall.RUSAGE_CHILDREN)
	if out, err := helper("burst", strconv.Itoa(n), program).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return cpuTime(syscall.RUSAGE_CHILDREN) - before
}

func helpBurst(n int, program string) error {
	errs := make(chan error)
	for range 2 {
		go func() {
			for range n / 2 {
				if err := exec.Command(program, "burst").Run(); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// Nothing of a burst is lost in the default configuration.
func TestBurst(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	l := sensortest.Watch(t, sensor.Options{}, New(Config{}))
	const n = 20000
	burst(t, n, "/bin/true")
	l.Settle(t)
	seen := l.Events(func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventExec && slices.Equal(e.Process.Args, []string{"/bin/true", "burst"})
	})
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	lost := l.Events(func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventLoss })
	if len(seen) != n || len(lost) != 0 {
		t.Errorf("%d of %d seen", len(seen), n)
		for _, e := range lost {
			t.Log(e.Loss.Sentence())
		}
	}
}

// BenchmarkStart compares the CPU time of starting a program with and without the
// sensor, in turns; "work" counts the sensor's own work too.
func BenchmarkStart(b *testing.B) {
	prerequisite.Root(b)
	const n = 3000
	var off, on, work []float64
	for b.Loop() {
		off = append(off, float64(burst(b, n, "/bin/true")))
		s, err := sensor.Open(b.Context(), sensor.Options{}, New(Config{}))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, func(*bollwerk.Event) {}) }()
		self := cpuTime(syscall.RUSAGE_SELF)
		with := float64(burst(b, n, "/bin/true"))
		own := float64(cpuTime(syscall.RUSAGE_SELF) - self)
		on, work = append(on, with), append(work, with+own)
		cancel()
		<-done
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	base := median(off)
	b.ReportMetric(base/n/1000, "µs/start")
	b.ReportMetric(median(on)/base, "ratio")
	b.ReportMetric(median(work)/base, "ratio-with-work")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// Everything is loaded and running.
func TestEverythingLoads(t *testing.T) {
	for _, c := range watch(t).Sensor.Capabilities() {
		t.Logf("%s: %s %s", c.Area, c.Verdict, c.Cause)
		if c.Verdict == bollwerk.NotEvaluated {
			t.Errorf("%+v", c) // all kernels the tests run on can do all of it
		}
	}
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"VmRSS", "RssAnon", "RssFile", "RssShmem"} {
		t.Log(field(string(b), line))
	}
}
