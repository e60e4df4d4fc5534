package main

import (
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/profile"
)

// How a program ended is told as its caller sees it, not as the kernel keeps it.
func TestSummaryOfExit(t *testing.T) {
	for code, want := range map[int32]string{0: "status 0", 1 << 8: "status 1", 127 << 8: "status 127", 9: "ended by signal 9", 11 | 0x80: "ended by signal 11"} {
		e := &bollwerk.Event{Kind: bollwerk.EventExit, Process: &bollwerk.Process{ExitCode: code}}
		if got := eventSummary(e); got != want {
			t.Errorf("%d: %q, want %q", code, got, want)
		}
	}
}

// TestClock: what happened on another day is told with its date.
func TestClock(t *testing.T) {
	now := time.Date(2026, 5, 2, 0, 30, 0, 0, time.Local)
	for ago, want := range map[time.Duration]string{0: "00:30:00", time.Hour: "2026-05-01 23:30:00", -time.Minute: "00:31:00"} {
		if got := clock(now.Add(-ago).UTC(), now, "15:04:05"); got != want {
			t.Errorf("%s ago: %s, want %s", ago, got, want)
		}
	}
}

// TestNext: a list of profiles says what comes next and what is missing until then.
func TestNext(t *testing.T) {
	for want, s := range map[string]profile.Status{
		"-":                        {Mode: profile.Restrict, Next: profile.Restrict},
		"observe, complete enough": {Next: profile.Observe},
		"restrict, not yet: a day": {Mode: profile.Observe, Next: profile.Restrict, Missing: []string{"a day"}},
		"observe, not yet: a day (and 2 more, see --json)": {Next: profile.Observe, Missing: []string{"a day", "b", "c"}},
	} {
		if got := next(&s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestShow: who reads a detection is told how to see its capture.
func TestShow(t *testing.T) {
	for snapshot, want := range map[string]bool{"": false, "20260501T120000.000-x": true} {
		var b strings.Builder
		printDetection(&b, &bollwerk.Detection{Rule: "x", Snapshot: snapshot}, false)
		if got := strings.Contains(b.String(), "capture  bollwerk-agent recall --snapshot "+snapshot+"\n"); got != want {
			t.Errorf("%q:\n%s", snapshot, b.String())
		}
	}
}
