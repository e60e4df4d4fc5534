package vm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestInstructions measures the cost of the LSM programs in instructions, which do not
// depend on how busy this machine is.
func TestInstructions(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines, which takes a minute each")
	}
	if err := Available(); err != nil {
		cannot(t, err)
	}
	binary := filepath.Join(t.TempDir(), "lsm.test")
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", binary, "./sensor/lsm")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, b)
	}
	kernels(t, func(t *testing.T, k Kernel) {
		if k.Name != "6.12" && *kernelFlag == "" {
			t.Skip("the figures are kept for 6.12; -kernel 6.1 measures that one")
		}
		m := Machine{Kernel: k, Instructions: true, Modules: []string{"overlay"}, Files: []File{{Path: "/lsm.test", From: binary}}, Commands: []Command{{
			Name: "lsm", Args: []string{"/lsm.test", "-test.v", "-test.run=^TestInstructions$"}, Env: []string{"BOLLWERK_INSTRUCTIONS=1"}, Timeout: 2 * time.Minute,
		}}}
		results, err := m.Run(context.Background())
		for _, r := range results {
			t.Log("\n" + r.Output)
			if r.Code != 0 {
				t.Errorf("%s: code %d", r.Name, r.Code)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
}
