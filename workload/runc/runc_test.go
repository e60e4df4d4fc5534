package runc

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

func TestContract(t *testing.T) {
	r := workloadtest.NewRunc(t)
	pid := r.Start("bw-runc-contract", workloadtest.Args("sleep", "600"))
	s := New(Config{States: []string{r.State}})
	path, _ := workloadtest.Cgroup(t, workloadtest.Host(t), pid)
	workloadtest.Contract(t, s, workload.Ref{ID: "bw-runc-contract", Path: path},
		bollwerk.Container{Name: "bw-runc-contract", Runtime: "runc", Entrypoint: []string{"sleep", "600"}})
	f, err := s.Local(workload.Ref{ID: "bw-runc-contract"})
	if err != nil || f.CgroupPath != path || f.Container.PID != pid {
		t.Errorf("in %q with process %d: got %q, %d, %v", path, pid, f.CgroupPath, f.Container.PID, err)
	}
	if age := time.Since(f.Container.Started); age < 0 || age > time.Hour {
		t.Errorf("started at %s", f.Container.Started)
	}
}

// A container whose cgroup path says nothing but a name is found by what runc wrote,
// and so is a process in a cgroup below.
func TestResolve(t *testing.T) {
	r := workloadtest.NewRunc(t)
	h := workloadtest.Host(t)
	s := New(Config{States: []string{r.State}})
	resolver := workloadtest.Resolver(t, workload.Config{Node: "n1"}, s)
	pid := r.Start("bw-runc-resolve", workloadtest.Args("sleep", "600"))
	path, id := workloadtest.Cgroup(t, h, pid)
	w := resolver.Resolve(context.Background(), id, path, pid)
	if w.Kind != bollwerk.WorkloadContainer || w.Container.ID != "bw-runc-resolve" || w.Cgroup != id || w.Unresolved != "" || w.Node != "n1" {
		t.Fatalf("%+v %+v", w, w.Container)
	}
	// Without a path: the kernel's handle of the cgroup, then the process, tell it.
	other, err := workload.New(workload.Config{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if w := other.Resolve(context.Background(), id, "", 0); w.Container == nil || w.Container.ID != "bw-runc-resolve" {
		t.Errorf("by its number alone: %+v", w)
	}
	child := filepath.Join(h.Legacy, path, "child")
	if h.Legacy == "" {
		child = filepath.Join(h.Unified, path, "child")
	}
	if err := os.Mkdir(child, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(child) })
	sub, err := h.ID(path + "/child")
	if err != nil {
		t.Fatal(err)
	}
	if c := resolver.Resolve(context.Background(), sub, path+"/child", 0); c != w {
		t.Errorf("a cgroup below: %+v, want the container's own value", c)
	}
	list, gap := resolver.Existing(context.Background())
	n := 0
	for _, e := range list {
		if e.Container != nil && e.Container.ID == "bw-runc-resolve" {
			n++
		}
	}
	if n != 1 || gap != "" {
		t.Errorf("%d times in Existing (%s)", n, gap)
	}
}

// A container that lives for a moment is known from its state folder.
func TestShortLife(t *testing.T) {
	r := workloadtest.NewRunc(t)
	s := New(Config{States: []string{r.State}})
	resolver := workloadtest.Resolver(t, workload.Config{}, s)
	workloadtest.Eventually(t, "the state folder is watched", func() bool { return resolver.Sources()[0].Watching })
	first, _ := workloadtest.Cgroup(t, workloadtest.Host(t), r.Start("bw-runc-first", workloadtest.Args("sleep", "600")))
	workloadtest.Eventually(t, "the watch works", func() bool { return resolver.Stats().Containers == 1 })
	r.Run("bw-runc-short", workloadtest.Args("true"))
	// Everything of it is gone. An event of it arrives.
	w := resolver.Resolve(context.Background(), 1<<40, strings.TrimSuffix(first, "bw-runc-first")+"bw-runc-short", 0)
	if w.Container == nil || w.Container.ID != "bw-runc-short" || len(w.Container.Entrypoint) != 1 || w.Container.Entrypoint[0] != "true" || w.Unresolved != "" {
		t.Errorf("%+v %+v", w, w.Container)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"id":"x","init_process_pid":7,"created":"2026-01-02T03:04:05Z","config":{"labels":["bundle=/b"]},"cgroup_paths":{"":"/sys/fs/cgroup/unified/x","memory":"/sys/fs/cgroup/memory/x"}}`))
	f.Add([]byte(`{"pid":7,"cgroup-path":"/x","bundle":"/b","created":"2026-01-02T03:04:05Z"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		found, bundle, err := parse(b)
		if err == nil && bundle != "" && !filepath.IsAbs(bundle) {
			t.Errorf("bundle %q", bundle)
		}
		if len(found.CgroupPath) > 4096 {
			t.Error("not bounded")
		}
	})
}
