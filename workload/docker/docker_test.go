package docker

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

func TestRealDocker(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the Docker engine")
	}
	d := workloadtest.NewDocker(t)
	id := d.Start("web", map[string]any{"Binds": []string{"/etc:/host:ro"}}, "sleep", "500")
	s := New(Config{Data: []string{d.Data}, Socket: d.Socket})
	t.Cleanup(s.Close)
	want := bollwerk.Container{Name: "web", Runtime: "docker", Image: "bollwerk-web:1", Entrypoint: []string{"sleep", "500"}, Ports: []uint16{8080},
		Labels: map[string]string{"team": "shop", "tier": "front"}}
	f, err := s.Local(workload.Ref{ID: id})
	if err != nil || f.Container.PID == 0 || f.Container.Started.IsZero() || f.Container.Digest == "" || f.More != "" {
		t.Fatalf("%+v, %v", f, err)
	}
	want.Digest = f.Container.Digest
	path, cgroup := workloadtest.Cgroup(t, workloadtest.Host(t), f.Container.PID)
	if path != "/docker/"+id {
		t.Errorf("cgroup %s", path)
	}
	workloadtest.Contract(t, s, workload.Ref{ID: id, Path: path}, want)
	if !slices.ContainsFunc(f.Container.Mounts, func(m bollwerk.Mount) bool {
		return m.Source == "/etc" && m.Target == "/host" && m.Flags&1 == 1
	}) {
		t.Errorf("mounts %+v", f.Container.Mounts)
	}
	r := workloadtest.Resolver(t, workload.Config{}, s)
	w := r.Resolve(context.Background(), cgroup, path, f.Container.PID)
	if w.Key() != "container docker/web@"+string(f.Container.Digest) || w.Unresolved != "" || w.Cgroup != cgroup {
		t.Errorf("%+v %+v", w, w.Container)
	}

	t.Run("through the API", func(t *testing.T) {
		s := New(Config{Data: []string{filepath.Join(d.Data, "none")}, Socket: d.Socket})
		t.Cleanup(s.Close)
		g, err := s.Lookup(context.Background(), workload.Ref{ID: id})
		if err != nil || g.Container.Digest != f.Container.Digest || g.Container.PID != f.Container.PID || g.Container.Name != "web" || !g.Container.Started.Equal(f.Container.Started) {
			t.Errorf("%+v, %v", g, err)
		}
		list, err := s.List(context.Background())
		if err != nil || len(list) != 1 || list[0].Container.ID != id {
			t.Errorf("%+v, %v", list, err)
		}
		// The API takes names and the beginnings of ids; we do not.
		if _, err := s.Lookup(context.Background(), workload.Ref{ID: "web"}); err == nil {
			t.Error("a name was taken for an id")
		}
	})
	t.Run("of the host", func(t *testing.T) {
		// Made, not started: a privileged container needs every right of the machine.
		id := d.Create("root", map[string]any{"Privileged": true, "NetworkMode": "host", "PidMode": "host"}, "sleep", "500")
		f, err := s.Local(workload.Ref{ID: id})
		c := f.Container
		if err != nil || !c.Privileged || !c.HostNetwork || !c.HostPID {
			t.Errorf("%+v, %v", c, err)
		}
	})
}

func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	id := strings.Repeat("ab", 32)
	at := filepath.Join(dir, "containers", id)
	if err := os.MkdirAll(at, 0o755); err != nil {
		t.Fatal(err)
	}
	s := New(Config{Data: []string{dir}, Socket: dir + "/none.sock"})
	for _, text := range []string{"", "{", `{"ID":"` + strings.Repeat("cd", 32) + `"}`, "[]", strings.Repeat("[", 1<<20)} {
		if err := os.WriteFile(filepath.Join(at, "config.v2.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if f, err := s.Local(workload.Ref{ID: id}); err == nil {
			t.Errorf("%.20q gave %+v", text, f)
		}
	}
}

func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"ID":"x","Name":"/web","Image":"sha256:x","State":{"Pid":7,"StartedAt":"2026-01-02T03:04:05Z"},"Config":{"Image":"nginx","Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{}}},"MountPoints":{"/m":{"Source":"/s","RW":true}}}`), []byte(`{"Privileged":true}`))
	f.Fuzz(func(t *testing.T, config, host []byte) {
		found, err := parseFiles(config, host)
		if err == nil && (len(found.Container.Name) > 512 || len(found.Container.Labels) > 64 || len(found.Container.Mounts) > 64) {
			t.Error("not bounded")
		}
		_, _ = parseInspect(config)
	})
}
