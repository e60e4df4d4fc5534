package cgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

const hybridMounts = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`

func TestMounts(t *testing.T) {
	for _, c := range []struct{ name, mounts, root, unified, legacy, legacyName string }{
		{"hybrid", hybridMounts, "", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory", "memory"},
		{"v2", "30 23 0:26 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", "", "/sys/fs/cgroup", "", ""},
		{"v1 without memory", "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n", "", "", "/sys/fs/cgroup/pids", "pids"},
		{"v2 beside systemd's own", "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "", "/sys/fs/cgroup/unified", "", ""},
		{"systemd only", "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n", "", "", "/sys/fs/cgroup/systemd", "name=systemd"},
		{"the host's below /host", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n31 23 0:26 / /host/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "/host", "/host/sys/fs/cgroup", "", ""},
		{"part of a tree", "30 23 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n", "", "", "", ""},
		{"a space", "30 23 0:26 / /mnt/a\\040b rw - cgroup2 cgroup2 rw\n", "", "/mnt/a b", "", ""},
		{"damaged", "x\n - \n1 2 - cgroup2\n", "", "", "", ""},
	} {
		h := parseMounts([]byte(c.mounts), c.root)
		if h.Unified != c.unified || h.Legacy != c.legacy || h.LegacyName != c.legacyName {
			t.Errorf("%s: %+v", c.name, h)
		}
	}
}

func TestCgroupLine(t *testing.T) {
	for _, c := range []struct{ text, legacy, want string }{
		{"0::/system.slice/a.service\n", "", "/system.slice/a.service"},
		{"9:name=systemd:/x\n4:memory:/docker/m\n0::/\n", "memory", "/docker/m"},
		{"4:memory:/docker/m\n0::/docker/u\n", "memory", "/docker/m"},
		{"4:cpu,cpuacct:/docker/m\n", "cpu", "/docker/m"},
		{"0::/gone (deleted)\n", "", "/gone"},
		{"0::/\n", "memory", "/"},
		{"0::/a:b:c\n", "", "/a:b:c"},
		{"nonsense", "memory", ""},
	} {
		got, ok := cgroupLine([]byte(c.text), c.legacy)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%q: %q %v", c.text, got, ok)
		}
	}
}

// host returns the hierarchy of this machine, with a writable tree.
func host(t *testing.T) *Hierarchy {
	t.Helper()
	h, err := Detect("", "")
	if err == nil && os.Getuid() != 0 {
		err = os.ErrPermission
	}
	if err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	return h
}

func TestRealHierarchy(t *testing.T) {
	h := host(t)
	tree := h.Trees()[0]
	dir, err := os.MkdirTemp(tree, "bollwerk-test-")
	if err != nil {
		prerequisite.Missing(t, "the cgroup tree is not writable: %v", err)
	}
	child := filepath.Join(dir, "child")
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(child); os.Remove(dir) })
	path := strings.TrimPrefix(child, tree)
	id, err := h.ID(path)
	if err != nil || !h.Has(path, id) || h.Has(path, id+1) {
		t.Fatalf("%s: id %d, %v", path, id, err)
	}
	if got, err := h.PathOf(id); err != nil || got != path {
		t.Errorf("cgroup %d is %s: got %q, %v", id, path, got, err)
	}
	if root, err := h.ID("/"); err != nil {
		t.Error(err)
	} else if got, err := h.PathOf(root); err != nil || got != "/" {
		t.Errorf("the root: %q, %v", got, err)
	}
	found := false
	full := h.Walk(1<<20, func(p string, i uint64) bool {
		if p == path && i == id {
			found = true
		}
		return true
	})
	if !found || !full {
		t.Errorf("walk: found %v, complete %v", found, full)
	}
	if h.Walk(1, func(string, uint64) bool { return true }) {
		t.Error("a walk cut short called itself complete")
	}
	if p, err := h.Of(uint32(os.Getpid())); err != nil || !strings.HasPrefix(p, "/") {
		t.Errorf("own cgroup %q, %v", p, err)
	}
	os.Remove(child)
	if got, err := h.PathOf(id); err == nil {
		t.Errorf("a removed cgroup is at %q", got)
	}
}

func FuzzProc(f *testing.F) {
	f.Add([]byte(hybridMounts), "")
	f.Add([]byte("30 23 0:26 / /host/sys\\040x rw - cgroup2 cgroup2 rw\n0::/a\n4:memory:/b\n"), "/host")
	f.Fuzz(func(t *testing.T, b []byte, root string) {
		h := parseMounts(b, root)
		if (h.Legacy == "") != (h.LegacyName == "") {
			t.Errorf("%+v", h)
		}
		if path, ok := cgroupLine(b, "memory"); ok && strings.Contains(path, "\n") {
			t.Errorf("%q", path)
		}
	})
}
