package vm

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// TestDoctor asks the agent's program what each kernel allows.
func TestDoctor(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines, which takes a minute each")
	}
	if err := Available(); err != nil {
		cannot(t, err)
	}
	program := filepath.Join(t.TempDir(), "bollwerk-agent")
	prerequisite.Sources()
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./cmd/bollwerk-agent")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, b)
	}
	kernels(t, func(t *testing.T, k Kernel) {
		m := Machine{Kernel: k, Cgroups: *cgroupsFlag, Modules: []string{"overlay", "veth"}, Files: []File{{Path: "/agent", From: program}}, Commands: []Command{
			{Name: "table", Args: []string{"/agent", "doctor"}, Timeout: 5 * time.Minute},
			{Name: "json", Args: []string{"/agent", "doctor", "--json"}, Timeout: 5 * time.Minute},
			// Nothing that the agent loads may make the kernel complain: some machines are set
			// to stop then.
			{Name: "complaints", Args: []string{"sh", "-c", "dmesg | grep -A 3 -E 'WARNING:|BUG:|Oops' || exit 5"}},
		}}
		results, err := m.Run(context.Background())
		for _, r := range results {
			t.Log("\n" + r.Output)
			if r.Code != 0 && r.Code != 5 {
				t.Errorf("%s: code %d", r.Name, r.Code)
			}
			if r.Name == "complaints" && r.Code != 5 {
				t.Errorf("the kernel complained:\n%s", r.Output)
			}
			var v any
			if r.Name == "json" && json.Unmarshal([]byte(r.Output), &v) != nil {
				t.Error("not JSON")
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
}
