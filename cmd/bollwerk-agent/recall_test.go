package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

// TestRecallSnapshot: a capture is printed as it was saved, and no name leads out of the folder.
func TestRecallSnapshot(t *testing.T) {
	state := t.TempDir()
	d := &bollwerk.Detection{ID: "0123456789abcdef", Rule: "reverse-shell"}
	s := recorder.Capture(t.Context(), d, []int{os.Getpid()}, time.Now())
	name, err := recorder.Save(filepath.Join(state, "snapshots"), s, 3)
	if err != nil {
		t.Fatal(err)
	}
	// The same file, elsewhere: it must not be read.
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "elsewhere.json.zst"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../elsewhere.json.zst", filepath.Join(state, "snapshots", "link.json.zst")); err != nil {
		t.Fatal(err)
	}
	code, out, errs := command(t, "recall", "--snapshot", s.ID, "--state", state)
	var got recorder.Snapshot
	if err := json.Unmarshal([]byte(out), &got); code != 0 || errs != "" || err != nil {
		t.Fatalf("exit code %d: %v\n%s%s", code, err, out, errs)
	}
	if diff := cmp.Diff(s, &got, cmpopts.EquateEmpty()); diff != "" || len(got.Processes) != 1 || got.Processes[0].PID != os.Getpid() {
		t.Error(diff)
	}
	for _, id := range []string{"", "../elsewhere", "link", s.ID[1:], "x\x1b[31m\n"} {
		code, out, errs := command(t, "recall", "--snapshot", id, "--state", state)
		if code != exitFailed || out != "" || !strings.Contains(errs, "no snapshot") || !strings.Contains(errs, "the newest are "+s.ID) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q: exit code %d\n%s%q", id, code, out, errs)
		}
	}
}
