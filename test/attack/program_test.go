package attack

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// TestProgram: the agent is one file that needs no other, and stays small.
func TestProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the agent")
	}
	name := filepath.Join(t.TempDir(), "bollwerk-agent")
	prerequisite.Sources()
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", name, "github.com/bollwerk/bollwerk/cmd/bollwerk-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f, err := elf.Open(name)
	must(t, err)
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("it is linked to others: %s", p.Type)
		}
	}
	fi, err := os.Stat(name)
	must(t, err)
	const most = 32 << 20
	if fi.Size() > most {
		t.Errorf("%d bytes, at most %d", fi.Size(), most)
	}
	t.Logf("%.1f MiB", float64(fi.Size())/(1<<20))
}
