package vm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// TestInstructions measures the cost of the LSM and network programs in instructions,
// which do not depend on how busy this machine is.
func TestInstructions(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines, which takes a minute each")
	}
	if err := Available(); err != nil {
		cannot(t, err)
	}
	how := os.Getenv("BOLLWERK_INSTRUCTIONS") // "floor": what empty programs cost, too
	if how == "" {
		how = "1"
	}
	var files []File
	var commands []Command
	for _, name := range []string{"lsm", "network"} {
		if *packagesFlag != "" && !strings.Contains(","+*packagesFlag+",", ",sensor/"+name+",") {
			continue
		}
		binary := filepath.Join(t.TempDir(), name+".test")
		prerequisite.Sources()
		build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", binary, "./sensor/"+name)
		build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if b, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go test -c: %v\n%s", err, b)
		}
		files = append(files, File{Path: "/" + name + ".test", From: binary})
		commands = append(commands, Command{Name: name, Args: []string{"/" + name + ".test", "-test.v", "-test.run=^TestInstructions$"},
			Env: []string{"BOLLWERK_INSTRUCTIONS=" + how}, Timeout: 2 * time.Minute})
	}
	kernels(t, func(t *testing.T, k Kernel) {
		if k.Name != "6.12" && *kernelFlag == "" {
			t.Skip("the figures are kept for 6.12; -kernel 6.1 measures that one")
		}
		m := Machine{Kernel: k, Instructions: true, Modules: []string{"overlay"}, Files: files, Commands: commands}
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
