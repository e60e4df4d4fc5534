package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

// image writes an OCI archive of busybox that declares a port and a label, and returns
// the digest of its manifest.
func image(t *testing.T, name string) (string, bollwerk.Digest) {
	t.Helper()
	busybox, err := os.ReadFile(workloadtest.Program(t, "busybox", "busybox-static"))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	add := func(w *tar.Writer, h tar.Header, b []byte) {
		h.Size = int64(len(b))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	add(w, tar.Header{Name: "bin/", Mode: 0o755, Typeflag: tar.TypeDir}, nil)
	add(w, tar.Header{Name: "bin/busybox", Mode: 0o755}, busybox)
	add(w, tar.Header{Name: "bin/sleep", Linkname: "busybox", Typeflag: tar.TypeSymlink}, nil)
	w.Close()
	blobs := map[string][]byte{}
	put := func(media string, b []byte) map[string]any {
		sum := sha256.Sum256(b)
		d := hex.EncodeToString(sum[:])
		blobs[d] = b
		return map[string]any{"mediaType": media, "digest": "sha256:" + d, "size": len(b)}
	}
	marshal := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	l := put("application/vnd.oci.image.layer.v1.tar", layer.Bytes())
	c := put("application/vnd.oci.image.config.v1+json", marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Cmd": []string{"/bin/sleep", "600"}, "ExposedPorts": map[string]any{"8080/tcp": map[string]any{}, "53/udp": map[string]any{}}, "Labels": map[string]string{"team": "shop"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{l["digest"]}},
	}))
	m := put("application/vnd.oci.image.manifest.v1+json", marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": c, "layers": []any{l}}))
	m["annotations"] = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
	var out bytes.Buffer
	w = tar.NewWriter(&out)
	add(w, tar.Header{Name: "oci-layout", Mode: 0o644}, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	add(w, tar.Header{Name: "index.json", Mode: 0o644}, marshal(map[string]any{"schemaVersion": 2, "manifests": []any{m}}))
	for d, b := range blobs {
		add(w, tar.Header{Name: "blobs/sha256/" + d, Mode: 0o644}, b)
	}
	w.Close()
	p := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(p, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return p, bollwerk.Digest(m["digest"].(string))
}

const (
	name = "docker.io/library/bollwerk-web:1"
	ns   = "bollwerk-test-ctr" // also the cgroup above, which ctr names so
)

func TestRealContainerd(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containerd")
	}
	workloadtest.Parent(t, ns)
	d := workloadtest.NewContainerd(t)
	archive, digest := image(t, name)
	d.Ctr(ns, "images", "import", "--snapshotter", "native", archive)
	s := New(Config{States: []string{d.State}})
	t.Cleanup(s.Close)
	h := workloadtest.Host(t)
	resolver := workloadtest.Resolver(t, workload.Config{}, s)
	workloadtest.Eventually(t, "the bundles are watched", func() bool { return resolver.Sources()[0].Watching })

	t.Cleanup(func() { d.Remove(ns, "bw-ctr-web") })
	d.Ctr(ns, "run", "--detach", "--snapshotter", "native", "--label", "tier=front", name, "bw-ctr-web", "sleep", "500")
	f, err := s.Local(workload.Ref{ID: "bw-ctr-web"})
	if err != nil || f.Container.PID == 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	path, id := workloadtest.Cgroup(t, h, f.Container.PID)
	if path != "/"+ns+"/bw-ctr-web" || f.CgroupPath != path {
		t.Errorf("cgroup %q, the bundle says %q", path, f.CgroupPath)
	}
	want := bollwerk.Container{Name: "bw-ctr-web", Runtime: "containerd", Image: name, Digest: digest,
		Labels: map[string]string{"tier": "front"}, Ports: []uint16{53, 8080}, Entrypoint: []string{"sleep", "500"}}
	workloadtest.Contract(t, s, workload.Ref{ID: "bw-ctr-web", Path: path}, want)

	w := resolver.Resolve(context.Background(), id, path, f.Container.PID)
	workloadtest.Eventually(t, "the container is known completely", func() bool {
		w, _ = resolver.Now(id, path, 0)
		return w.Unresolved == ""
	})
	if w.Container == nil || w.Container.Digest != digest || w.Cgroup != id || w.Container.Privileged || w.Container.HostNetwork || w.Container.HostPID {
		t.Errorf("%+v %+v", w, w.Container)
	}
	if got := w.Key(); got != "container containerd/bw-ctr-web@"+string(digest) {
		t.Errorf("key %q", got)
	}

	t.Run("privileged", func(t *testing.T) {
		t.Cleanup(func() { d.Remove(ns, "bw-ctr-root") })
		d.Ctr(ns, "run", "--detach", "--snapshotter", "native", "--privileged", "--net-host", "--mount", "type=bind,src=/etc,dst=/host,options=rbind:ro", name, "bw-ctr-root", "sleep", "500")
		f, err := s.Local(workload.Ref{ID: "bw-ctr-root"})
		c := f.Container
		if err != nil || !c.Privileged || !c.HostNetwork || c.HostPID {
			t.Errorf("%+v, %v", c, err)
		}
		if !slices.ContainsFunc(c.Mounts, func(m bollwerk.Mount) bool {
			return m.Source == "/etc" && m.Target == "/host" && m.Type == "bind" && m.Flags&1 == 1
		}) {
			t.Errorf("mounts %+v", c.Mounts)
		}
	})

	t.Run("gone in a moment", func(t *testing.T) {
		d.Ctr(ns, "run", "--rm", "--snapshotter", "native", name, "bw-ctr-short", "busybox", "true")
		w := resolver.Resolve(context.Background(), 1<<41, "/"+ns+"/bw-ctr-short", 0)
		if w.Container == nil || w.Container.ID != "bw-ctr-short" || strings.Join(w.Container.Entrypoint, " ") != "busybox true" {
			t.Fatalf("%+v %+v", w, w.Container)
		}
		// Its image is known if containerd could be asked in time, and else it is said.
		if (w.Container.Digest == "") != (w.Unresolved != "") {
			t.Errorf("digest %q, unresolved %q", w.Container.Digest, w.Unresolved)
		}
	})

	t.Run("of another state folder", func(t *testing.T) {
		// The bundle is not where we look, the API still answers.
		s := New(Config{States: []string{filepath.Join(d.Root, "none")}, Socket: d.Socket})
		t.Cleanup(s.Close)
		f, err := s.Lookup(context.Background(), workload.Ref{ID: "bw-ctr-web"})
		if err != nil || f.Container.Digest != digest || f.CgroupPath != path || f.More != "" {
			t.Errorf("%+v, %v", f, err)
		}
	})
}

// Bundles of Kubernetes, with the annotations of the CRI plug-in.
func TestCRI(t *testing.T) {
	dir := t.TempDir()
	id := strings.Repeat("ab", 32)
	bundle := filepath.Join(dir, "io.containerd.runtime.v2.task/k8s.io", id)
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	uid := "8a3bcdef-0123-4567-89ab-0123456789ab"
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), []byte(`{"process":{"args":["nginx"]},"annotations":{
		"io.kubernetes.cri.container-type":"container","io.kubernetes.cri.container-name":"app","io.kubernetes.cri.image-name":"docker.io/library/nginx:1.27",
		"io.kubernetes.cri.sandbox-name":"cart-5d9f7c-x","io.kubernetes.cri.sandbox-namespace":"shop","io.kubernetes.cri.sandbox-uid":"`+uid+`"},
		"linux":{"cgroupsPath":"kubepods-burstable-pod`+strings.ReplaceAll(uid, "-", "_")+`.slice:cri-containerd:`+id+`"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	s := New(Config{States: []string{dir}})
	f, err := s.Local(workload.Ref{ID: id})
	if err != nil || f.Pod == nil || f.Pod.Namespace != "shop" || f.Pod.UID != uid || f.Pod.Container != "app" || f.Pod.Sandbox ||
		f.Container.Image != "docker.io/library/nginx:1.27" || !strings.HasSuffix(f.CgroupPath, ".slice/cri-containerd-"+id+".scope") ||
		!strings.HasPrefix(f.CgroupPath, "/kubepods.slice/kubepods-burstable.slice/") {
		t.Errorf("%+v %+v, %v", f, f.Pod, err)
	}
	if _, err := s.Lookup(context.Background(), workload.Ref{ID: id}); err == nil {
		t.Error("without a daemon there is no digest")
	}
	if list, err := s.List(context.Background()); err != nil || len(list) != 1 {
		t.Errorf("%d, %v", len(list), err)
	}
}

func FuzzAPI(f *testing.F) {
	f.Add(append(text(1, "id"), text(3, "image")...))
	f.Add(text(2, string(append(text(1, "k"), text(2, "v")...))))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseContainer(b)
		if err == nil && len(c.labels) > 1024 {
			t.Error("labels are not bounded")
		}
		_, _, _ = parseImage(b)
	})
}
