// Package prerequisite says what becomes of a test that lacks something of the machine: it
// is skipped where a person works, and fails where CI=true, as everything can be had there.
package prerequisite

import (
	"os"
	"testing"
)

// Missing ends a test that cannot run here, and says what it lacks.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Root ends a test that needs root and has not.
func Root(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Missing(t, "needs root")
	}
}

// Sources is for tests that build programs by themselves. go test keeps a result for as long
// as its own program, and the variables that it asked for, are the same: what else it was made
// of stands in BOLLWERK_SOURCES (test/sources.sh), so that nothing old is told for it.
func Sources() string { return os.Getenv("BOLLWERK_SOURCES") }
