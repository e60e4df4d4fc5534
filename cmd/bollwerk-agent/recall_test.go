package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/recorder"
)

// TestRecallSaysLosses: what was lost is said and told by the exit code, whatever was asked
// for, and is not taken for an answer.
func TestRecallSaysLosses(t *testing.T) {
	state := t.TempDir()
	r, err := recorder.Open(recorder.Config{Dir: filepath.Join(state, "recorder")})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	r.Event(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Loss: &bollwerk.Loss{To: now, Count: 9, Area: "ring"}})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"recall --kind exec", "recall --detections", "recall --workload shop/*"} {
		code, out, errs := command(t, append(strings.Fields(line), "--state", state)...)
		if code != exitDegraded || out != "" || !strings.Contains(errs, "lost: of any workload: 9 events lost") || !strings.Contains(errs, "nothing matches") {
			t.Errorf("%s: exit code %d, want %d\n%s%s", line, code, exitDegraded, out, errs)
		}
	}
}
