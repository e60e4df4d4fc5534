package openvex

import (
	"bytes"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
)

// TestLoop: what one scan decided and wrote, the next scan of the same artifact
// decides again from the document.
func TestLoop(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	for name, target := range map[string]bollwerk.Artifact{
		"image": result().Target, "directory": {Kind: bollwerk.KindDirectory, Name: "src"},
	} {
		r := result()
		r.Target = target
		var b bytes.Buffer
		if err := Write(&b, r, "Example GmbH", now); err != nil {
			t.Fatal(err)
		}
		st, _, err := Read(&b, "f")
		if err != nil {
			t.Fatal(err)
		}
		fresh := result().Findings
		for i := range fresh {
			fresh[i].Suppressed = nil
		}
		if n := finding.ApplyVEX(fresh, target, st, now); n != 7 {
			t.Errorf("%s: statements spoke on %d findings, want 7", name, n)
		}
		for i, f := range fresh {
			want := ""
			if s := r.Findings[i].Suppressed; s != nil && s.By == "vex" {
				want = s.Status
			}
			got := ""
			if f.Suppressed != nil {
				got = f.Suppressed.Status
			}
			if got != want {
				t.Errorf("%s: %s is %q, was %q", name, f.ID, got, want)
			}
		}
	}
}
