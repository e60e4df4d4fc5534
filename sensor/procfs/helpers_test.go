package procfs

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// unavailable skips, but never where the tests must be complete.
func unavailable(t *testing.T, why string) {
	t.Helper()
	prerequisite.Missing(t, "%s", why)
}

func root(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		unavailable(t, "needs root")
	}
}

func tool(t *testing.T, name string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		unavailable(t, err.Error())
	}
	return p
}

func pidOf(c *exec.Cmd) string { return strconv.Itoa(c.Process.Pid) }

func inode(t *testing.T, name string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}
