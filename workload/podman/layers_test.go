package podman

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

func TestRealLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("runs podman")
	}
	p := workloadtest.NewPodmanOn(t, "overlay")
	archive, digests := workloadtest.LayeredImage(t)
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, archive, 0o644); err != nil {
		t.Fatal(err)
	}
	p.Do("load", "--input", file)
	id := p.Start("layers", "localhost/"+workloadtest.LayeredName, "/bin/busybox", "sleep", "500")
	s := New(Config{Storage: []string{p.Storage}, Run: []string{p.Run}, Users: []User{}})
	f, err := s.Local(workload.Ref{ID: id})
	if err != nil || f.Container.PID == 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	_, cgroup := workloadtest.Cgroup(t, workloadtest.Host(t), f.Container.PID)
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: cgroup, Container: &f.Container}
	workloadtest.Layered(t, s, w, f.Container.PID, digests)
}
