package agent

import (
	"context"
	"encoding/json"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// TestMemoryShort: an agent whose memory is nearly used up gives up reads of files, counts
// them for the workload whose they were, and says so; programs are judged as ever, and what
// is detected says what may be missing. With room again it goes on as before.
func TestMemoryShort(t *testing.T) {
	p, err := policy.Parse("policy.yaml", []byte(`id: own
title: t
description: d
severity: low
subject: event
match: event.kind == "exec" && event.process.name == "nc" || event.kind == "open" && event.file.path == "/srv/secret"
message: m
`))
	if err != nil {
		t.Fatal(err)
	}
	// As much as is allowed, so that no collection of garbage makes room.
	ballast := make([]byte, 256<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	a, lines := judgingWith(t, func(a *Agent) {
		a.queue = newQueue(100, a.dropped)
		if a.rules, err = newRules([]*policy.Policy{p}, nil); err != nil {
			t.Fatal(err)
		}
	})
	watch := func(limit int64) (stop func()) {
		a.c.Memory = Size(limit)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); _ = a.watchMemory(ctx) }()
		return func() { cancel(); <-done }
	}
	await := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: pressure %d", what, a.queue.pressure.Load())
			}
		}
	}
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadUnit, Unit: "shop.service"}
	at := time.Now()
	tell := func(kind bollwerk.EventKind) {
		e := &bollwerk.Event{Time: at, Kind: kind, Outcome: bollwerk.Seen, Workload: w, Process: &bollwerk.Process{PID: 1 << 23, Start: 1, Name: "nc", Path: "/bin/nc"}}
		if kind == bollwerk.EventOpen {
			e.File = &bollwerk.FileEvent{Path: "/srv/secret", Access: bollwerk.AccessRead}
		}
		a.receive(e)
	}
	// detected returns the next detection, of a kind of event.
	detected := func() (*bollwerk.Detection, bollwerk.EventKind) {
		t.Helper()
		for limit := time.After(time.Minute); ; {
			select {
			case line := <-lines:
				d := &bollwerk.Detection{}
				if err := json.Unmarshal(line, d); err != nil {
					t.Fatal(err)
				}
				if d.Rule == "own" {
					return d, d.Events[0].Kind
				}
			case <-limit:
				t.Fatal("nothing is detected")
			}
		}
	}

	stop := watch(int64(len(ballast)))
	await("the memory is short", func() bool { return a.queue.level() > 0 })
	for range 3 {
		tell(bollwerk.EventOpen)
	}
	tell(bollwerk.EventExec)
	dropped := regexp.MustCompile(`^3 events dropped by the agent \d\d:\d\d:\d\d–\d\d:\d\d:\d\d$`)
	if d, kind := detected(); kind != bollwerk.EventExec || d.Verdict != bollwerk.Degraded || !slices.ContainsFunc(d.Causes, dropped.MatchString) {
		t.Errorf("%s: %s %q", kind, d.Verdict, d.Causes)
	}
	if v, causes := a.verdict(); v != bollwerk.Degraded || !slices.ContainsFunc(causes, func(c string) bool { return strings.HasPrefix(c, "under load: ") && strings.Contains(c, "given up") }) {
		t.Errorf("%s %q", v, causes)
	}
	if v, causes := a.ledger.verdict(w.Key()); v != bollwerk.Degraded || len(causes) != 1 {
		t.Errorf("%s %q", v, causes)
	}
	if v, causes := a.ledger.verdict("host"); v != bollwerk.Pass {
		t.Errorf("another workload: %s %q", v, causes)
	}
	stop()

	stop = watch(16 << 30)
	await("there is room again", func() bool { return a.queue.level() == 0 })
	tell(bollwerk.EventOpen)
	if _, kind := detected(); kind != bollwerk.EventOpen {
		t.Errorf("%s is detected, and not the read", kind)
	}
	stop()
	runtime.KeepAlive(ballast)
}

// TestRelief: what was freed is given back before work is given up, not with every look, and
// not where there is room.
func TestRelief(t *testing.T) {
	used, freed := int64(0), 0
	r := relief{free: func() { freed++; used /= 2 }}
	at := time.Now()
	for i, tt := range []struct {
		after      time.Duration
		used, want int64
		freed      int
	}{
		{0, 60, 60, 0},
		{time.Second, 90, 45, 1},
		{2 * time.Second, 90, 90, 1},
		{3*time.Second + reliefPause, 90, 45, 2},
		{-time.Hour, 90, 45, 3}, // the clock was set back
	} {
		used = tt.used
		if got := r.look(at.Add(tt.after), 100, func() int64 { return used }); got != tt.want || freed != tt.freed {
			t.Errorf("%d: %d of 100 in use, given back %d times; want %d, %d", i, got, freed, tt.want, tt.freed)
		}
	}
}
