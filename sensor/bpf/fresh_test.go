package bpf

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// The committed objects are what the sources make.
func TestObjectsAreFresh(t *testing.T) {
	if testing.Short() {
		t.Skip("slow")
	}
	clang := os.Getenv("BOLLWERK_CLANG")
	if clang == "" {
		clang = "clang-22"
	}
	for _, tool := range []string{clang, "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			prerequisite.Missing(t, "%v: apt-get install clang-22 llvm-22 libbpf-dev linux-libc-dev", err)
		}
	}
	out := t.TempDir()
	if b, err := exec.Command("sh", "generate.sh", out).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	made, err := filepath.Glob(filepath.Join(out, "*_bpfel.*"))
	if err != nil || len(made) == 0 {
		t.Fatalf("%v: nothing was made", err)
	}
	for _, m := range made {
		want, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Base(m))
		if err != nil {
			t.Errorf("%v: run go generate ./sensor/bpf", err)
			continue
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what its source makes: run go generate ./sensor/bpf", filepath.Base(m))
		}
	}
	have, err := filepath.Glob("*_bpfel.*")
	if err != nil {
		t.Fatal(err)
	}
	if len(have) != len(made) {
		t.Errorf("%d generated files, %d of them from a source", len(have), len(made))
	}
}

// Go and C agree on the layouts without holes: a hole would carry kernel memory out, or
// make the two sides differ between architectures.
func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"bw_header", unsafe.Sizeof(SharedBwHeader{}), 56},
		{"bw_header.pid", unsafe.Offsetof(SharedBwHeader{}.Pid), 24},
		{"bw_header.kind", unsafe.Offsetof(SharedBwHeader{}.Kind), 36},
		{"bw_header.guard", unsafe.Offsetof(SharedBwHeader{}.Guard), 48},
		{"bw_policy", unsafe.Sizeof(SharedBwPolicy{}), 32},
		{"bw_config", unsafe.Sizeof(SharedBwConfig{}), 40},
		{"bw_loss_key", unsafe.Sizeof(SharedBwLossKey{}), 16},
		{"bw_builder", unsafe.Sizeof(SharedBwBuilder{}), 32},
		{"bw_exec_path", unsafe.Sizeof(SharedBwExecPath{}), 256},
		{"bw_task", unsafe.Sizeof(ProcessBwTask{}), 88},
		{"bw_stdio", unsafe.Sizeof(ProcessBwStdio{}), 48},
		{"bw_fork", unsafe.Sizeof(ProcessBwFork{}), 56 + 88},
		{"bw_exit", unsafe.Sizeof(ProcessBwExit{}), 56 + 88 + 8},
		{"bw_exec", unsafe.Sizeof(ProcessBwExec{}), 56 + 88 + 16 + 8 + 16 + 16 + 3*48},
		{"bw_exec.stdio", unsafe.Offsetof(ProcessBwExec{}.Stdio), 56 + 88 + 16 + 8 + 16 + 16},
		{"bw_usage", unsafe.Sizeof(ProcessBwUsage{}), 32},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d, want %d", c.name, c.got, c.want)
		}
	}
}
