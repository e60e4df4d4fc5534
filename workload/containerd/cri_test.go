package containerd

import (
	"context"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

// msg joins fields to a message; sub makes a field of one.
func msg(fields ...[]byte) []byte {
	var out []byte
	for _, f := range fields {
		out = append(out, f...)
	}
	return out
}

func sub(n protowire.Number, m []byte) []byte { return text(n, string(m)) }

func number(n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, n, protowire.VarintType), v)
}

// A pod made through the interface that the kubelet uses (CRI, runtime.v1), with the
// node's network as there is no other here.
func TestRealCRI(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containerd")
	}
	d := workloadtest.NewCRI(t, name)
	archive, digest := image(t, name)
	d.Ctr("k8s.io", "images", "import", "--snapshotter", "native", archive)
	cri := workload.NewSocket(d.Socket, true)
	t.Cleanup(cri.Close)
	call := func(method string, request []byte) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		id := ""
		err := cri.Call(ctx, "runtime.v1.RuntimeService/"+method, request, func(m []byte) error {
			return fields(m, func(n protowire.Number, v []byte, _ uint64) error {
				if n == 1 {
					id = string(v)
				}
				return nil
			})
		})
		if err != nil {
			t.Fatalf("%s: %v", method, err)
		}
		return id
	}
	const uid = "8a3bcdef-0123-4567-89ab-0123456789cd"
	parent := "/bollwerk-test-kubepods/besteffort/pod" + uid
	workloadtest.Parent(t, "bollwerk-test-kubepods")
	security := sub(1, number(1, 2)) // namespace_options: network NODE
	config := msg(sub(1, msg(text(1, "cart-5d9f7c-x"), text(2, uid), text(3, "shop"))), text(3, t.TempDir()),
		sub(6, msg(text(1, "app"), text(2, "cart"))), sub(8, msg(text(1, parent), sub(2, security))))
	s := New(Config{States: []string{d.State}})
	t.Cleanup(s.Close)
	r := workloadtest.Resolver(t, workload.Config{}, s)

	sandbox := call("RunPodSandbox", sub(1, config))
	t.Cleanup(func() {
		call("StopPodSandbox", text(1, sandbox))
		call("RemovePodSandbox", text(1, sandbox))
	})
	container := call("CreateContainer", msg(text(1, sandbox), sub(2, msg(sub(1, text(1, "app")), sub(2, text(1, name)),
		text(3, "/bin/sleep"), text(4, "500"), sub(9, msg(text(1, "io.kubernetes.container.name"), text(2, "app"))), text(11, "app.log"),
		sub(15, sub(2, sub(3, number(1, 2)))))), sub(3, config)))
	call("StartContainer", text(1, container))

	f, err := s.Local(workload.Ref{ID: container})
	if err != nil || f.Container.PID == 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	path, id := workloadtest.Cgroup(t, workloadtest.Host(t), f.Container.PID)
	if path != parent+"/"+container || f.CgroupPath != path {
		t.Errorf("cgroup %s, the bundle says %s", path, f.CgroupPath)
	}
	workloadtest.Contract(t, s, workload.Ref{ID: container, Path: path, PodUID: uid}, bollwerk.Container{Name: "app", Runtime: "containerd", Image: name,
		Digest: digest, Ports: []uint16{53, 8080}, Entrypoint: []string{"/bin/sleep", "500"}, Labels: map[string]string{"io.kubernetes.container.name": "app"}})
	var w *bollwerk.Workload
	workloadtest.Eventually(t, "it is known completely", func() bool {
		w = r.Resolve(context.Background(), id, path, 0)
		return w.Unresolved == ""
	})
	if p := w.Pod; p == nil || p.Namespace != "shop" || p.Name != "cart-5d9f7c-x" || p.UID != uid || p.Container != "app" || p.Sandbox {
		t.Errorf("%+v", p)
	}
	if !w.Container.HostNetwork || w.Container.HostPID || w.Container.Privileged {
		t.Errorf("%+v", w.Container)
	}
	if w.Key() != "pod shop/Pod/cart-5d9f7c-x/app@"+string(digest) {
		t.Errorf("key %s", w.Key())
	}
	g, err := s.Local(workload.Ref{ID: sandbox})
	if err != nil || !g.Pod.Sandbox || g.Pod.UID != uid {
		t.Errorf("the sandbox: %+v %+v, %v", g, g.Pod, err)
	}
	if !strings.HasPrefix(w.String(), "shop/cart-5d9f7c-x/app") {
		t.Error(w.String())
	}
}
