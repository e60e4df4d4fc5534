package sensor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// TestTree makes a tree where none is mounted: it is the root of all, nobody finds it in
// the list of mounts, and it goes with the agent.
func TestTree(t *testing.T) {
	mounts := func() int {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), " - cgroup2 ")
	}
	before := mounts()
	k := &Kernel{}
	dir, err := k.Tree()
	if err != nil {
		prerequisite.Root(t)
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir+"/", &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Errorf("%s is not a version 2 tree: %x %v", dir, fs.Type, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err != nil {
		t.Error(err)
	}
	if again, err := k.Tree(); err != nil || again != dir {
		t.Errorf("a second tree %q: %v", again, err)
	}
	if after := mounts(); after != before {
		t.Errorf("%d mounts of version 2, and %d before", after, before)
	}
	for _, c := range k.closers {
		if err := c(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
		t.Error("the tree is still there")
	}
	if dir, err := (&Kernel{Unified: "/x"}).Tree(); err != nil || dir != "/x" {
		t.Errorf("%q, %v where one is mounted", dir, err)
	}
}
