package tracing

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func TestMappingsSeen(t *testing.T) {
	if name := os.Getenv("BOLLWERK_TEST_MAP"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_EXEC, syscall.MAP_PRIVATE); err != nil {
			t.Fatal(err)
		}
		return
	}
	c := watch(t, &Mappings{})
	c.need(t, AreaMmap)
	lib := filepath.Join(t.TempDir(), "evil.so")
	if err := os.WriteFile(lib, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestMappingsSeen$")
	cmd.Env = append(os.Environ(), "BOLLWERK_TEST_MAP="+lib)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	e := c.find(t, "mapping", fileEvent(bollwerk.EventMmap, lib))
	if e.Process.PID != uint32(cmd.Process.Pid) || e.File.Access != bollwerk.AccessExec || e.File.Inode == 0 {
		t.Errorf("%+v by %d", e.File, e.Process.PID)
	}
}

func FuzzParseMapping(f *testing.F) {
	f.Add(make([]byte, 80))
	f.Fuzz(func(t *testing.T, b []byte) { parseMapping(b) })
}
