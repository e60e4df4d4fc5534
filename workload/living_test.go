package workload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// TestLiving: a container that is known by a process of its life before has one that lives,
// also where its processes are in cgroups below; an empty cgroup has none.
func TestLiving(t *testing.T) {
	h := host(t)
	prerequisite.Root(t)
	path := fmt.Sprintf("/docker-%064x.scope", os.Getpid())
	cgroupOf(t, h, path)
	cgroupOf(t, h, path+"/init")
	id, err := h.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &fake{name: "docker", local: func(r Ref) (Found, error) {
		return has(r.ID, Found{Container: bollwerk.Container{Name: "web", PID: 1 << 22}})(r)
	}}
	r := run(t, Config{}, s)
	w := r.Resolve(context.Background(), id, path, 0)
	if w.Container == nil || w.Container.PID != 1<<22 {
		t.Fatalf("%+v", w)
	}
	if exists, populated := r.Lives(w); !exists || populated {
		t.Errorf("empty: exists %v, populated %v", exists, populated)
	}
	if got := r.Living(w); got != w {
		t.Errorf("process %d lives in an empty cgroup", got.Container.PID)
	}
	// The runtime's own process is in the cgroup, but not inside.
	inCgroup(t, h, path, "sh", "-c", "echo up; exec sleep 60")
	if got := r.Living(w); got != w {
		t.Errorf("process %d is the runtime's", got.Container.PID)
	}
	inCgroup(t, h, path+"/init", box("echo up; exec sleep 60")...)
	got := r.Living(w)
	at, err := h.Of(got.Container.PID)
	if err != nil || at != path+"/init" {
		t.Fatalf("process %d lives in %s (%v), want %s/init", got.Container.PID, at, err, path)
	}
	if w.Container.PID != 1<<22 {
		t.Error("a value already handed out was changed")
	}
	if again := r.Living(got); again != got {
		t.Errorf("process %d instead of %d, which lives", again.Container.PID, got.Container.PID)
	}
	if exists, populated := r.Lives(w); !exists || !populated {
		t.Errorf("exists %v, populated %v", exists, populated)
	}
	for _, tree := range h.Trees() {
		for _, dir := range []string{filepath.Join(tree, path, "init"), filepath.Join(tree, path)} {
			b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for pid := range strings.FieldsSeq(string(b)) {
				n, _ := strconv.Atoi(pid)
				p, _ := os.FindProcess(n)
				_ = p.Kill()
			}
		}
	}
	eventually(t, "nobody lives", func() bool { _, populated := r.Lives(w); return !populated })
	for _, tree := range h.Trees() {
		_ = os.Remove(filepath.Join(tree, path, "init"))
		_ = os.Remove(filepath.Join(tree, path))
	}
	if exists, populated := r.Lives(w); exists || populated {
		t.Errorf("removed: exists %v, populated %v", exists, populated)
	}
}
