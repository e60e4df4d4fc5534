package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

func TestRealLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containerd")
	}
	const parent, docker = "bollwerk-test-layers", "moby"
	workloadtest.Parent(t, parent)
	d := workloadtest.NewContainerd(t)
	archive, digests := workloadtest.LayeredImage(t)
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, archive, 0o644); err != nil {
		t.Fatal(err)
	}
	image := "docker.io/library/" + workloadtest.LayeredName
	start := func(t *testing.T, ns, id, from string) (*Source, *bollwerk.Workload) {
		t.Helper()
		d.Ctr(ns, "images", "import", "--snapshotter", from, file)
		t.Cleanup(func() { d.Remove(ns, id) })
		d.Ctr(ns, "run", "--detach", "--snapshotter", from, "--cgroup", "/"+parent+"/"+id, image, id, "/bin/busybox", "sleep", "500")
		s := New(Config{States: []string{d.State}})
		t.Cleanup(s.Close)
		f, err := s.Lookup(t.Context(), workload.Ref{ID: id})
		if err != nil || f.Container.PID == 0 {
			t.Fatalf("%+v, %v", f, err)
		}
		_, cgroup := workloadtest.Cgroup(t, workloadtest.Host(t), f.Container.PID)
		return s, &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: cgroup, Container: &f.Container}
	}
	t.Run("overlay", func(t *testing.T) {
		s, w := start(t, ns, "bw-layers", snapshotter)
		workloadtest.Layered(t, s, w, w.Container.PID, digests)
	})
	// An agent in a container, which has the file system of the host elsewhere.
	t.Run("host elsewhere", func(t *testing.T) {
		_, w := start(t, ns, "bw-elsewhere", snapshotter)
		host := t.TempDir()
		top := "/" + strings.Split(d.Root, "/")[1]
		if err := errors.Join(os.Symlink(top, host+top), os.Mkdir(host+"/run", 0o755), os.Symlink(d.State, host+"/run/containerd")); err != nil {
			t.Fatal(err)
		}
		s := New(Config{Root: host})
		t.Cleanup(s.Close)
		workloadtest.Layered(t, s, w, w.Container.PID, digests)
		root, err := s.Layers(t.Context(), workload.Ref{ID: "bw-elsewhere"}, w.Container.Digest)
		if err != nil || !strings.HasPrefix(root.Layers[0].Dir, host) || !strings.HasPrefix(root.Mount, host) {
			t.Errorf("%+v, %v", root, err)
		}
	})
	// Docker that keeps its images in containerd: nothing but the digest says of which image
	// a container is, and that is Docker's word.
	t.Run("docker", func(t *testing.T) {
		s, w := start(t, docker, "bw-moby", snapshotter)
		api, _, err := s.states[0].all(t.Context(), docker)
		if err != nil || api["bw-moby"].image == "" {
			t.Fatalf("%+v, %v", api, err)
		}
		target, err := s.states[0].image(t.Context(), docker, image)
		if err != nil {
			t.Fatal(err)
		}
		w.Container.Digest = target.digest
		workloadtest.Layered(t, s, w, w.Container.PID, digests)
	})
	// A snapshotter whose folders do not hold one layer each.
	t.Run("native", func(t *testing.T) {
		s, w := start(t, ns, "bw-native", "native")
		if root, err := s.Layers(t.Context(), workload.Ref{ID: "bw-native"}, w.Container.Digest); err != workload.ErrUnknown {
			t.Errorf("%+v, %v", root, err)
		}
	})
}
