package process

import (
	"fmt"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// A ring that is far too small, read by nobody: what is seen and what is said to be lost
// are together what was done.
func TestLossesAreExact(t *testing.T) {
	prerequisite.Root(t)
	look, err := sensor.Open(t.Context(), sensor.Options{NoBPF: true})
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	b := sensortest.NewBox(t, look, sensortest.Image(t, nil))
	made := 500
	if testing.Short() {
		made = 200
	}
	// Opened, but not running yet.
	s, err := sensor.Open(t.Context(), sensor.Options{Ring: 64 << 10}, New(Config{}))
	if err != nil {
		t.Fatal(err)
	}
	if out, code := b.Sh(t, fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done", made)); code != 0 {
		t.Fatal(out)
	}
	l := sensortest.Run(t, s)
	sum := func(kind bollwerk.EventKind) (seen, lost int) {
		for _, e := range l.Events(func(*bollwerk.Event) bool { return true }) {
			switch {
			case e.Kind == kind && e.Process.Cgroup == b.Cgroup:
				seen++
			case e.Kind == bollwerk.EventLoss && e.Loss.Kind == kind && e.Loss.Cgroup == b.Cgroup:
				lost += int(e.Loss.Count)
			}
		}
		return seen, lost
	}
	l.Find(t, "the loss", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventLoss })
	l.Settle(t)
	if err := l.Stop(); err != nil {
		t.Error(err)
	}
	for _, kind := range []bollwerk.EventKind{bollwerk.EventExec, bollwerk.EventFork, bollwerk.EventExit} {
		seen, lost := sum(kind)
		t.Logf("%s: %d seen, %d lost", kind, seen, lost)
		if seen+lost != made || lost == 0 {
			t.Errorf("%s: %d seen and %d lost are %d, not %d", kind, seen, lost, seen+lost, made)
		}
	}
}
