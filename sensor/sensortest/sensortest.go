// Package sensortest helps the tests of sources: it runs a sensor, waits for events
// without sleeping, and makes small real containers.
package sensortest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
)

// Patience is the longest wait for something that is certain to come.
const Patience = 30 * time.Second

// Log is a running sensor and the events it has handed out.
type Log struct {
	Sensor *sensor.Sensor
	*stream
	from int // events before this one are not of this log
}

type stream struct {
	mu     sync.Mutex
	more   chan struct{}
	events []*bollwerk.Event
	stop   func() error
}

// Watch opens a sensor and runs it until the end of the test.
func Watch(t testing.TB, o sensor.Options, sources ...sensor.Source) *Log {
	t.Helper()
	prerequisite.Root(t)
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	}
	l, err := Start(t.Context(), o, sources...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.end(t) })
	return l
}

// Start is Watch for more than one test; Stop ends it. Opening a sensor takes half a
// minute on an emulated machine, most of it in the verifier.
func Start(ctx context.Context, o sensor.Options, sources ...sensor.Source) (*Log, error) {
	if o.PinRoot == "" {
		o.PinRoot = sensor.PinRoot + "-test"
	}
	s, err := sensor.Open(ctx, o, sources...)
	if err != nil {
		return nil, err
	}
	return start(s), nil
}

// Run runs a sensor until the end of the test and closes it then.
func Run(t testing.TB, s *sensor.Sensor) *Log {
	t.Helper()
	l := start(s)
	t.Cleanup(func() { l.end(t) })
	return l
}

func start(s *sensor.Sensor) *Log {
	l := &Log{Sensor: s, stream: &stream{more: make(chan struct{})}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l.take) }()
	l.stop = sync.OnceValue(func() error {
		cancel()
		return errors.Join(<-done, s.Close())
	})
	return l
}

// Stop ends the sensor; the second time it does nothing.
func (l *Log) Stop() error { return l.stop() }

func (l *Log) end(t testing.TB) {
	if err := l.stop(); err != nil {
		t.Error(err)
	}
}

// FromHere is the same log without the events until now.
func (l *Log) FromHere() *Log {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &Log{Sensor: l.Sensor, stream: l.stream, from: len(l.events)}
}

func (l *Log) take(e *bollwerk.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	close(l.more)
	l.more = make(chan struct{})
}

// Find waits for the first event that fits and fails the test when none comes.
func (l *Log) Find(t testing.TB, what string, fits func(*bollwerk.Event) bool) *bollwerk.Event {
	t.Helper()
	e := l.wait(fits, Patience)
	if e == nil {
		t.Fatalf("%s: no such event; the last of %s", what, l.tail(30))
	}
	return e
}

func (l *Log) wait(fits func(*bollwerk.Event) bool, patience time.Duration) *bollwerk.Event {
	late := time.After(patience)
	seen := l.from
	for {
		l.mu.Lock()
		more := l.more
		for ; seen < len(l.events); seen++ {
			if fits(l.events[seen]) {
				defer l.mu.Unlock()
				return l.events[seen]
			}
		}
		l.mu.Unlock()
		select {
		case <-more:
		case <-late:
			return nil
		}
	}
}

// Exec waits for the start of a program, other than the test program itself, with this
// as its last argument.
func (l *Log) Exec(t testing.TB, last string) *bollwerk.Event {
	t.Helper()
	self, _ := os.Executable()
	return l.Find(t, "exec of "+last, func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventExec && e.Process.Path != self && len(e.Process.Args) > 0 && e.Process.Args[len(e.Process.Args)-1] == last
	})
}

// Events returns those so far that fit.
func (l *Log) Events(fits func(*bollwerk.Event) bool) []*bollwerk.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*bollwerk.Event
	for _, e := range l.events[l.from:] {
		if fits(e) {
			out = append(out, e)
		}
	}
	return out
}

// Settle waits until everything that happened before the call has been handed out: it
// makes something happen and waits for that, as the ring keeps the order.
func (l *Log) Settle(t testing.TB) {
	t.Helper()
	mark := fmt.Sprintf("settle-%d", time.Now().UnixNano())
	if err := command("/bin/true", mark); err != nil {
		t.Fatal(err)
	}
	l.Exec(t, mark)
}

func (l *Log) tail(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d events:", len(l.events))
	for _, e := range l.events[max(l.from, len(l.events)-n):] {
		fmt.Fprintf(&b, "\n  %s", e.Kind)
		if p := e.Process; p != nil {
			fmt.Fprintf(&b, " %d %q %q %s %s", p.PID, p.Path, p.Args, e.Outcome, e.Rule)
		}
	}
	return b.String()
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	// A sensor may speak after the test ended; that is not worth a panic.
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}
