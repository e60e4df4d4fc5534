package lsm

import (
	"context"
	"testing"

	"github.com/bollwerk/bollwerk/sensor"
)

// What the verifier has to look at is what loading costs: the agent must be ready in a
// second, and old kernels give up at a million.
func TestVerifierEffort(t *testing.T) {
	s := New(Options{})
	all, err := sensor.Open(context.Background(), sensor.Options{}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	if s.loaded == nil {
		t.Skip("this kernel takes none of the programs")
	}
	sum := uint32(0)
	for name, p := range s.loaded.Programs {
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if !ok {
			t.Skip("before 5.16 the kernel does not say")
		}
		t.Logf("%s: %d", name, n)
		sum += n
	}
	t.Logf("sum: %d", sum)
	if sum > 800_000 {
		t.Errorf("the verifier looks at %d instructions", sum)
	}
}
