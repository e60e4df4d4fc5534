package workload

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bollwerk/bollwerk/internal/cgroup"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// host returns the hierarchy of this machine, with a writable tree.
func host(t *testing.T) *cgroup.Hierarchy {
	t.Helper()
	h, err := cgroup.Detect("", "")
	if err == nil && os.Getuid() != 0 {
		err = os.ErrPermission
	}
	if err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	return h
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "f")
	if err := os.WriteFile(p, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(p, 5); err != nil || string(b) != "12345" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := ReadFile(p, 4); err == nil {
		t.Error("a file beyond its limit was read")
	}
	if _, err := ReadFile(dir, 1000); err == nil {
		t.Error("a folder was read")
	}
	if b, err := ReadFile("/proc/self/cgroup", 1<<20); err != nil || len(b) == 0 {
		t.Errorf("a file of /proc: %d bytes, %v", len(b), err)
	}
}
