package all

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/containerd"
	"github.com/bollwerk/bollwerk/workload/kubernetes"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

const many = 200

// node makes what a node with many pods has: real cgroups, bundles as containerd's
// CRI plug-in writes them (12 kB each), and a kubelet.
func node(tb testing.TB) Config {
	tb.Helper()
	h := workloadtest.Host(tb)
	tree := h.Unified
	if tree == "" {
		tree = h.Legacy
	}
	top := fmt.Sprintf("bollwerk-test-many-%d", os.Getpid())
	workloadtest.Parent(tb, top)
	state := tb.TempDir()
	var env, calls []string
	for i := range 60 {
		env = append(env, fmt.Sprintf("SERVICE_%d_PORT_8080_TCP=tcp://10.0.0.%d:8080", i, i))
		calls = append(calls, fmt.Sprintf(`{"names":["system_call_%d","accept4","access","adjtimex","alarm","bind","brk"],"action":"SCMP_ACT_ALLOW"}`, i))
	}
	var pods []string
	for i := range many {
		id, uid := fmt.Sprintf("%064x", i+1), fmt.Sprintf("8a3bcdef-0123-4567-89ab-%012x", i)
		path := "/" + top + "/pod" + uid + "/" + id
		if err := os.MkdirAll(filepath.Join(tree, path), 0o755); err != nil {
			prerequisite.Missing(tb, "the cgroup tree is not writable: %v", err)
		}
		var mounts []map[string]any
		for _, m := range []string{"/etc/hosts", "/dev/termination-log", "/etc/hostname", "/etc/resolv.conf", "/dev/shm", "/var/run/secrets/kubernetes.io/serviceaccount", "/data", "/config"} {
			mounts = append(mounts, map[string]any{"destination": m, "type": "bind", "source": "/var/lib/kubelet/pods/" + uid + m, "options": []string{"rbind", "rprivate", "ro"}})
		}
		b, err := json.Marshal(map[string]any{
			"process": map[string]any{"args": []string{"/app/server", "--listen=:8080"}, "env": env}, "mounts": mounts,
			"annotations": map[string]string{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "app",
				"io.kubernetes.cri.image-name": "registry.example/shop/cart:1.2.3", "io.kubernetes.cri.sandbox-name": fmt.Sprint("cart-5d9f7c8b6-", i),
				"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-uid": uid},
			"linux": map[string]any{"cgroupsPath": path, "seccomp": map[string]any{"syscalls": json.RawMessage("[" + strings.Join(calls, ",") + "]")}}})
		if err != nil {
			tb.Fatal(err)
		}
		dir := filepath.Join(state, "io.containerd.runtime.v2.task/k8s.io", id)
		if err = os.MkdirAll(dir, 0o755); err == nil {
			err = os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644)
		}
		if err != nil {
			tb.Fatal(err)
		}
		pods = append(pods, fmt.Sprintf(`{"metadata":{"name":"cart-5d9f7c8b6-%d","namespace":"shop","uid":%q,"labels":{"app":"cart","pod-template-hash":"5d9f7c8b6","version":"v1","app.kubernetes.io/part-of":"shop"},
"ownerReferences":[{"kind":"ReplicaSet","name":"cart-5d9f7c8b6","controller":true}],"managedFields":[%s{}]},"spec":{"serviceAccountName":"cart","containers":[{"name":"app","image":"registry.example/shop/cart:1.2.3","ports":[{"containerPort":8080}]}]},
"status":{"containerStatuses":[{"name":"app","containerID":"containerd://%s","imageID":"registry.example/shop/cart@sha256:%s"}]}}`,
			i, uid, strings.Repeat(`{"manager":"kubelet","operation":"Update","fieldsV1":{"f:status":{"f:conditions":{".":{}}}}},`, 40), id, strings.Repeat("ab", 32)))
	}
	list := []byte(`{"kind":"PodList","metadata":{},"items":[` + strings.Join(pods, ",") + `]}`)
	kubelet := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(list) }))
	tb.Cleanup(kubelet.Close)
	c := Host(tb.TempDir())
	c.Containerd = containerd.Config{States: []string{state}}
	c.Kubernetes = kubernetes.Config{Node: "n1", Kubelet: kubelet.URL}
	return c
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// What two hundred containers with their pods take: some 10 kB each. The bound is what
// the agent can give away of its 48 MiB, several times what is measured.
func TestMemory(t *testing.T) {
	c := node(t)
	before := heap()
	sources, err := Sources(c)
	if err != nil {
		t.Fatal(err)
	}
	r := workloadtest.Resolver(t, workload.Config{}, sources...)
	list, gap := r.Existing(context.Background())
	named := 0
	for _, w := range list {
		if w.Pod != nil && w.Pod.OwnerKind == "Deployment" && w.Pod.OwnerName == "cart" && w.Container.Image != "" && w.Pod.Labels["app"] == "cart" && w.Container.Ports[0] == 8080 {
			named++
		}
	}
	if named != many || gap != "" {
		t.Errorf("%d of %d containers (%s)", named, many, gap)
	}
	used := heap() - before
	t.Logf("%d kB of heap for %d containers", used>>10, many)
	if used > 8<<20 {
		t.Errorf("%d bytes for %d containers", used, many)
	}
	runtime.KeepAlive(r)
}

func BenchmarkExisting(b *testing.B) {
	sources, err := Sources(node(b))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, err := workload.New(workload.Config{}, sources...)
		if err != nil {
			b.Fatal(err)
		}
		if list, _ := r.Existing(context.Background()); len(list) < many {
			b.Fatalf("%d workloads", len(list))
		}
	}
}
