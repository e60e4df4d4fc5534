package podman

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

func TestRealPodman(t *testing.T) {
	if testing.Short() {
		t.Skip("runs podman")
	}
	p := workloadtest.NewPodman(t)
	id := p.Start("web", "--label", "tier=front", "localhost/bollwerk-web:1", "sleep", "500")
	s := New(Config{Storage: []string{p.Storage}, Run: []string{p.Run}, Users: []User{}})
	want := bollwerk.Container{Name: "web", Runtime: "podman", Image: "localhost/bollwerk-web:1", Digest: bollwerk.Digest(p.Do("inspect", "--format", "{{.ImageDigest}}", "web")),
		Entrypoint: []string{"sleep", "500"}, Ports: []uint16{8080}, Labels: map[string]string{"team": "shop"}}
	f, err := s.Local(workload.Ref{ID: id})
	if err != nil || f.Container.PID == 0 || f.Container.Started.IsZero() {
		t.Fatalf("%+v, %v", f, err)
	}
	h := workloadtest.Host(t)
	path, cgroup := workloadtest.Cgroup(t, h, f.Container.PID)
	workloadtest.Contract(t, s, workload.Ref{ID: id, Path: path}, want)

	resolver := workloadtest.Resolver(t, workload.Config{}, s)
	w := resolver.Resolve(context.Background(), cgroup, path, f.Container.PID)
	if w.Container == nil || w.Container.ID != id || w.Container.Privileged || w.Container.HostPID || w.Container.HostNetwork || w.Unresolved != "" {
		t.Errorf("%+v %+v", w, w.Container)
	}

	t.Run("gone in a moment", func(t *testing.T) {
		workloadtest.Eventually(t, "the storage is watched", func() bool { return resolver.Sources()[0].Watching && resolver.Stats().Containers > 0 })
		short := p.Start("short", "localhost/bollwerk-web:1", "true")
		p.Do("rm", "--force", "--time", "0", "short")
		w := resolver.Resolve(context.Background(), 1<<40, "/libpod_parent/libpod-"+short, 0)
		if w.Container == nil || w.Container.ID != short || w.Container.Name != "short" || w.Container.Image != "localhost/bollwerk-web:1" || w.Unresolved != "" {
			t.Errorf("%+v %+v", w, w.Container)
		}
	})
	t.Run("labels of the service", func(t *testing.T) {
		s := New(Config{Storage: []string{p.Storage}, Run: []string{p.Run}, Users: []User{}, Socket: p.Serve()})
		t.Cleanup(s.Close)
		want := want
		want.Labels = map[string]string{"team": "shop", "tier": "front"}
		f, err := s.Lookup(context.Background(), workload.Ref{ID: id})
		if err != nil || f.Container.Labels["tier"] != "front" || f.More != "" {
			t.Errorf("%+v, %v", f, err)
		}
	})
	t.Run("of the host", func(t *testing.T) {
		id := p.Start("root", "--privileged", "--cap-drop", "SYS_RESOURCE", "--network", "host", "--pid", "host", "--volume", "/etc:/host:ro", "localhost/bollwerk-web:1", "sleep", "500")
		f, err := s.Local(workload.Ref{ID: id})
		c := f.Container
		if err != nil || !c.Privileged || !c.HostNetwork || !c.HostPID {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

// What a user's storage says holds below that user's cgroup only.
func TestUser(t *testing.T) {
	dir := t.TempDir()
	id := strings.Repeat("ab", 32)
	bundle := filepath.Join(dir, "overlay-containers", id, "userdata")
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	spec := []byte(`{"annotations":{"io.container.manager":"libpod"},"process":{"args":["x"]},"linux":{"cgroupsPath":"user.slice:libpod:` + id + `"}}`)
	list, err := json.Marshal([]map[string]any{{"id": id, "names": []string{"web"}, "metadata": `{"image-name":"nginx","name":"web"}`}})
	if err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), spec, 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "overlay-containers/containers.json"), list, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	own := uint32(os.Getuid())
	s := New(Config{Storage: []string{dir + "/none"}, Users: []User{{UID: own + 1, Storage: dir}}})
	if list, _ := s.List(context.Background()); len(list) != 0 {
		t.Errorf("a folder of user %d speaks for user %d", own, own+1)
	}
	if os.Getuid() != 0 {
		prerequisite.Missing(t, "giving a folder to a user needs root")
	}
	if err := os.Chown(dir, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	s = New(Config{Storage: []string{dir + "/none"}, Users: []User{{UID: 1000, Storage: dir}}})
	r := workloadtest.Resolver(t, workload.Config{}, s)
	mine := "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope/container"
	if w := r.Resolve(context.Background(), 1<<40, mine, 0); w.Container == nil || w.Container.Name != "web" || w.Container.Image != "nginx" || w.Unresolved != "" {
		t.Errorf("%+v %+v", w, w.Container)
	}
	// The same claim about a container of root is not heard.
	if w := r.Resolve(context.Background(), 1<<41, "/machine.slice/libpod-"+id+".scope", 0); w.Container == nil || w.Container.Name != "" || w.Unresolved == "" {
		t.Errorf("%+v %+v", w, w.Container)
	}
	if w := r.Resolve(context.Background(), 1<<42, strings.ReplaceAll(mine, "1000", "1001"), 0); w.Container != nil {
		t.Errorf("%+v %+v", w, w.Container)
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte(`[{"id":"abc","names":["web"],"image":"i","metadata":"{\"name\":\"web\"}"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range parseContainers(b) {
			if !workload.ValidID(r.ID) {
				t.Errorf("id %q", r.ID)
			}
			var found workload.Found
			meta(&found, r)
			found.Bound()
			if len(found.Container.Name) > 512 {
				t.Error("not bounded")
			}
		}
	})
}
