package all

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/containerd"
	"github.com/bollwerk/bollwerk/workload/docker"
	"github.com/bollwerk/bollwerk/workload/kubernetes"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

// Every folder of workload is in the list.
func TestComplete(t *testing.T) {
	sources, err := Sources(Config{Kubernetes: kubernetes.Config{Kubelet: "https://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range sources {
		names = append(names, strings.ReplaceAll(s.Name(), "-", ""))
	}
	dirs, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() && d.Name() != "all" && d.Name() != "workloadtest" && d.Name() != "testdata" && !slices.Contains(names, d.Name()) {
			t.Errorf("workload/%s is not in the list", d.Name())
		}
	}
}

// On a machine with nothing nothing is wrong: what is absent says so, and only that.
func TestNothing(t *testing.T) {
	sources, err := Sources(Host(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	r := workloadtest.Resolver(t, workload.Config{}, sources...)
	list, gap := r.Existing(context.Background())
	if len(list) == 0 || list[0].Kind != bollwerk.WorkloadHost || gap != "" {
		t.Errorf("%d, %s", len(list), gap)
	}
	for _, s := range r.Sources() {
		if s.Verdict != bollwerk.NotEvaluated || s.Cause == "" || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// Docker on its own containerd: both know the container, the engine's word holds, and
// one that is over before anybody asks is known all the same.
func TestRealDocker(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the Docker engine")
	}
	d := workloadtest.NewDocker(t)
	c := Host(t.TempDir())
	c.Docker = docker.Config{Data: []string{d.Data}, Socket: d.Socket}
	c.Containerd = containerd.Config{States: []string{d.Containerd}, Socket: filepath.Join(filepath.Dir(d.Containerd), "containerd.sock")}
	sources, err := Sources(c)
	if err != nil {
		t.Fatal(err)
	}
	r := workloadtest.Resolver(t, workload.Config{}, sources...)
	id := d.Start("web", nil, "sleep", "500")
	workloadtest.Eventually(t, "the container is told of", func() bool { return r.Stats().Containers == 1 })
	f, err := sources[3].Local(workload.Ref{ID: id})
	if err != nil || f.Container.Runtime != "docker" || f.Container.PID == 0 {
		t.Fatalf("of the engine's containerd: %+v, %v", f.Container, err)
	}
	path, cgroup := workloadtest.Cgroup(t, workloadtest.Host(t), f.Container.PID)
	w := r.Resolve(context.Background(), cgroup, path, 0)
	if w.Unresolved != "" || w.Container.Name != "web" || w.Container.Runtime != "docker" || w.Container.Image != "bollwerk-web:1" || w.Container.Digest == "" || w.Container.PID != f.Container.PID {
		t.Errorf("%+v %+v", w, w.Container)
	}
	list, gap := r.Existing(context.Background())
	n := 0
	for _, e := range list {
		if e.Container != nil && e.Container.ID == id {
			n++
			if e != w {
				t.Errorf("Existing tells it another way: %+v", e)
			}
		}
	}
	if n != 1 || gap != "" {
		t.Errorf("%d times in Existing (%s)", n, gap)
	}
	short := d.Run("short", "busybox", "true")
	w = r.Resolve(context.Background(), 1<<40, "/docker/"+short, 0)
	if w.Unresolved != "" || w.Container.Name != "short" || w.Container.Image != "bollwerk-web:1" || w.Container.Labels["tier"] != "front" {
		t.Errorf("%+v %+v", w, w.Container)
	}
}
