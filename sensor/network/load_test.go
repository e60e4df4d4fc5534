package network

import (
	"fmt"
	"slices"
	"testing"
)

// TestPrograms: the kernels that the tests run on (6.1 and newer) take every program,
// and every one can be attached.
func TestPrograms(t *testing.T) {
	w := sharedWatch(t)
	for _, r := range w.source.loaded.Refused {
		if slices.ContainsFunc(functions, func(a attachment) bool { return a.program == r.Program }) && !w.source.functions {
			continue // some kernels refuse programs on functions: the cgroup hooks do instead
		}
		t.Errorf("%s refused: %.3000s", r.Program, fmt.Sprintf("%+v", r.Err))
	}
	for program, err := range w.source.attached {
		if err != nil {
			t.Errorf("%s not attached: %v", program, err)
		}
	}
	for _, c := range w.sensor.Capabilities() {
		t.Logf("%+v", c)
	}
}
