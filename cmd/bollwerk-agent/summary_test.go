package main

import (
	"testing"

	"github.com/bollwerk/bollwerk"
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
