package prerequisite

import (
	"fmt"
	"runtime"
	"testing"
)

// judge is a test that keeps how it ended.
type judge struct {
	testing.TB
	word string
}

func (j *judge) Helper() {}
func (j *judge) Fatalf(f string, a ...any) {
	j.word = "failed: " + fmt.Sprintf(f, a...)
	runtime.Goexit()
}
func (j *judge) Skipf(f string, a ...any) {
	j.word = "skipped: " + fmt.Sprintf(f, a...)
	runtime.Goexit()
}

func TestMissing(t *testing.T) {
	for _, tt := range []struct{ ci, want string }{{"true", "failed: no x"}, {"", "skipped: no x"}, {"false", "skipped: no x"}} {
		t.Setenv("CI", tt.ci)
		j := &judge{TB: t}
		done := make(chan struct{})
		go func() { defer close(done); Missing(j, "no %s", "x") }()
		<-done
		if j.word != tt.want {
			t.Errorf("CI=%s: %q, want %q", tt.ci, j.word, tt.want)
		}
	}
}
