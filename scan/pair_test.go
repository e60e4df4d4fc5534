package scan

import (
	"context"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// A credential in two halves is seen only when both variables are looked at together.
func TestCredentialAcrossVariables(t *testing.T) {
	halves := func(_ context.Context, _ string, text []byte) []bollwerk.Secret {
		if s := string(text); strings.Contains(s, "left") && strings.Contains(s, "right") {
			line := 1 + strings.Count(s[:strings.Index(s, "left")], "\n")
			return []bollwerk.Secret{{Detector: "pair", Hash: "00", Line: line, Severity: bollwerk.SeverityHigh}}
		}
		return nil
	}
	s := newScan(Options{Secrets: halves})
	got := s.configured(t.Context(), &bollwerk.ImageConfig{Env: []string{"PATH=/bin", "A=left", "B=right"}})
	if len(got) != 1 || got[0].Env != "A" {
		t.Fatalf("got %+v, want one credential in A", got)
	}
	if got := s.configured(t.Context(), &bollwerk.ImageConfig{Env: []string{"A=left"}}); len(got) != 0 {
		t.Errorf("half a credential: %+v", got)
	}
}
