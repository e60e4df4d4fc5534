package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
		t.Skip("starts the Docker engine")
	}
	d := workloadtest.NewDockerOn(t, driver)
	archive, digests := workloadtest.LayeredImage(t)
	d.Load(archive)
	id := d.Start("layers", map[string]any{"Image": workloadtest.LayeredName}, "/bin/busybox", "sleep", "500")
	s := New(Config{Data: []string{d.Data}, Socket: d.Socket})
	t.Cleanup(s.Close)
	f, err := s.Local(workload.Ref{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	_, cgroup := workloadtest.Cgroup(t, workloadtest.Host(t), f.Container.PID)
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: cgroup, Container: &f.Container}
	workloadtest.Layered(t, s, w, f.Container.PID, digests)
}

// Records that are damaged, or that somebody made up, give no layers and no crash.
func TestDamagedLayers(t *testing.T) {
	dir := t.TempDir()
	id := strings.Repeat("ab", 32)
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, "image", driver, "layerdb", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
			if err == nil {
				return
			}
		}
		t.Fatal("cannot write")
	}
	digest := func(b string) string { return "sha256:" + strings.Repeat(b, 32) }
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	low, high := digest("01"), digest("02")
	top := hash(low + " " + high)
	at := func(chain string) string { return "sha256/" + strings.TrimPrefix(chain, "sha256:") + "/" }
	for _, c := range []struct {
		what string
		edit func()
		ok   bool
	}{
		{"whole", func() {}, true},
		{"a digest that is another one's", func() { write(at(top)+"diff", digest("03")) }, false},
		{"no digest", func() { write(at(top)+"diff", "../../x") }, false},
		{"a folder that climbs", func() { write(at(top)+"cache-id", "../../../etc") }, false},
		{"a circle", func() { write(at(low)+"parent", top) }, false},
		{"a chain that is none", func() { write("mounts/"+id+"/parent", "../../../etc") }, false},
		{"a mount that climbs", func() { write("mounts/"+id+"/mount-id", "../x") }, false},
		{"very long", func() { write("mounts/"+id+"/parent", strings.Repeat("a", 1<<20)) }, false},
		{"empty", func() { write("mounts/"+id+"/parent", "") }, true},
	} {
		write("mounts/"+id+"/parent", top)
		write("mounts/"+id+"/mount-id", "m1")
		write(at(top)+"diff", high)
		write(at(top)+"parent", low+"\n")
		write(at(top)+"cache-id", "c2")
		write(at(low)+"diff", low)
		write(at(low)+"cache-id", "c1")
		_ = os.Remove(filepath.Join(dir, "image", driver, "layerdb", at(low), "parent"))
		c.edit()
		root, err := New(Config{Data: []string{dir}}).Layers(context.Background(), workload.Ref{ID: id}, "")
		if (err == nil) != c.ok {
			t.Errorf("%s: %+v, %v", c.what, root, err)
		}
		if c.what == "whole" && (len(root.Layers) != 2 || root.Layers[0].Digest != bollwerk.Digest(high) || root.Layers[1].Dir != filepath.Join(dir, driver, "c1", "diff")) {
			t.Errorf("%+v", root)
		}
	}
	if _, err := New(Config{Data: []string{dir}}).Layers(context.Background(), workload.Ref{ID: strings.Repeat("cd", 32)}, ""); !errors.Is(err, workload.ErrUnknown) {
		t.Errorf("of another container: %v", err)
	}
}
