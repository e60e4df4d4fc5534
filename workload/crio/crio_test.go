package crio

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

const uid = "8a3bcdef-0123-4567-89ab-0123456789ab"

// bundle is a config.json as CRI-O writes it.
func bundle(t testing.TB, dir, id, kind string) {
	t.Helper()
	labels, err := json.Marshal(map[string]string{"io.kubernetes.container.name": "app", "io.kubernetes.pod.name": "cart-x",
		"io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": uid, "app": "cart"})
	if err != nil {
		t.Fatal(err)
	}
	spec := map[string]any{
		"process": map[string]any{"args": []string{"nginx", "-g", "daemon off;"}},
		"annotations": map[string]string{
			"io.container.manager": "cri-o", "io.kubernetes.cri-o.ContainerID": id, "io.kubernetes.cri-o.ContainerType": kind,
			"io.kubernetes.cri-o.Name": "k8s_app_cart-x_shop_" + uid + "_0", "io.kubernetes.cri-o.ImageName": "docker.io/library/nginx:1.27",
			"io.kubernetes.cri-o.ImageRef": "docker.io/library/nginx@sha256:" + strings.Repeat("cd", 32),
			"io.kubernetes.cri-o.Labels":   string(labels), "io.kubernetes.cri-o.Created": "2026-01-02T03:04:05.123456789Z",
		},
		"linux": map[string]any{"cgroupsPath": "kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice:crio:" + id,
			"namespaces": []map[string]string{{"type": "pid"}, {"type": "network", "path": "/var/run/netns/none"}}},
	}
	b, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, "overlay-containers", id, "userdata")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	dir := t.TempDir()
	id, sandbox := strings.Repeat("ab", 32), strings.Repeat("ac", 32)
	bundle(t, dir, id, "container")
	bundle(t, dir, sandbox, "sandbox")
	s := New(Config{Run: []string{dir}})
	workloadtest.Contract(t, s, workload.Ref{ID: id}, bollwerk.Container{Name: "app", Runtime: "cri-o", Image: "docker.io/library/nginx:1.27",
		Digest: bollwerk.Digest("sha256:" + strings.Repeat("cd", 32)), Entrypoint: []string{"nginx", "-g", "daemon off;"}, Labels: map[string]string{"app": "cart"}})
	f, err := s.Local(workload.Ref{ID: id})
	if err != nil || f.Pod.Namespace != "shop" || f.Pod.Name != "cart-x" || f.Pod.UID != uid || f.Pod.Container != "app" || f.Pod.Sandbox || f.Container.HostNetwork ||
		f.Container.Started.Year() != 2026 || !strings.HasSuffix(f.CgroupPath, "/crio-"+id+".scope") {
		t.Errorf("%+v %+v, %v", f, f.Pod, err)
	}
	if f, err := s.Local(workload.Ref{ID: sandbox}); err != nil || !f.Pod.Sandbox || f.Pod.Container != "POD" {
		t.Errorf("%+v, %v", f.Pod, err)
	}
	r := workloadtest.Resolver(t, workload.Config{}, s)
	w := r.Resolve(context.Background(), 1<<40, f.CgroupPath, 0)
	if w.Unresolved != "" || w.Container.ID != id || w.Pod.Name != "cart-x" {
		t.Errorf("%+v", w)
	}
}

// Podman shares the folders; its bundles are left to it.
func TestPodmans(t *testing.T) {
	dir := t.TempDir()
	at := filepath.Join(dir, "overlay-containers", "x", "userdata")
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(at, "config.json"), []byte(`{"annotations":{"io.container.manager":"libpod","io.kubernetes.cri-o.Created":"2026-01-02T03:04:05Z"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if f, err := New(Config{Run: []string{dir}}).Local(workload.Ref{ID: "x"}); err != workload.ErrUnknown {
		t.Errorf("%+v, %v", f, err)
	}
}
