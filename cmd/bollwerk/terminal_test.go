package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// TestNothingActsOnTheTerminal gives names with control characters to what prints
// outside of the report formats.
func TestNothingActsOnTheTerminal(t *testing.T) {
	const evil = "x\x1b[2J\x1b]0;owned\x07\u202ey"
	var out, errs bytes.Buffer
	e := &env{stdout: &out, stderr: &errs, getenv: func(string) string { return "" }}
	if code := run(context.Background(), e, []string{"scan", "dir:/nowhere/" + evil}); code == exitClean {
		t.Error("a folder that is not there was scanned")
	}
	e.say("notice of %s", evil)
	if err := printProvenance(&out, &bollwerk.Provenance{
		Reference: evil, Causes: []string{evil},
		Signatures: []bollwerk.SignatureFact{{Type: evil, Cause: evil, Time: &time.Time{}, Signer: bollwerk.Signer{Identity: evil}}, {Signer: bollwerk.Signer{KeyID: evil}}},
	}); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"stdout": out.String(), "stderr": errs.String()} {
		if !strings.Contains(got, `x\x1b[2J`) {
			t.Errorf("%s does not show the name at all: %q", name, got)
		}
		if strings.ContainsAny(got, "\x1b\x07\u202e") {
			t.Errorf("%s: %q", name, got)
		}
	}
}
