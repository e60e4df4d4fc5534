package workloadtest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Podman has a storage of its own.
type Podman struct {
	t                  testing.TB
	program            string
	env                []string
	Storage, Run, Conf string
	dir                string
}

// NewPodman finds podman and makes the image localhost/bollwerk-web:1, which exposes
// port 8080 and has the label team=shop.
func NewPodman(t testing.TB) *Podman { t.Helper(); return NewPodmanOn(t, "vfs") }

// NewPodmanOn is NewPodman with a storage driver.
func NewPodmanOn(t testing.TB, driver string) *Podman {
	t.Helper()
	p := &Podman{t: t, program: Program(t, "podman", "podman"), dir: Short(t)}
	Program(t, "conmon", "conmon")
	Parent(t, "bollwerk-test-podman")
	p.Storage, p.Run = filepath.Join(p.dir, "graph"), filepath.Join(p.dir, "run")
	p.Conf = filepath.Join(p.dir, "storage.conf")
	text := fmt.Sprintf("[storage]\ndriver=%q\ngraphroot=%q\nrunroot=%q\n", driver, p.Storage, p.Run)
	if err := os.WriteFile(p.Conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p.env = []string{"CONTAINERS_STORAGE_CONF=" + p.Conf, "XDG_RUNTIME_DIR=" + p.dir, "TMPDIR=" + p.dir}
	root := filepath.Join(p.dir, "rootfs")
	Rootfs(t, root)
	archive := filepath.Join(p.dir, "rootfs.tar")
	Command(t, nil, "tar", "-C", root, "-cf", archive, ".")
	p.Do("import", "--change", "EXPOSE 8080", "--change", "LABEL team=shop", archive, "localhost/bollwerk-web:1")
	return p
}

// Do runs podman.
func (p *Podman) Do(args ...string) string {
	p.t.Helper()
	return Command(p.t, p.env, p.program, append([]string{"--cgroup-manager", "cgroupfs", "--root", p.Storage, "--runroot", p.Run}, args...)...)
}

// Start runs a container of the image in the background until the end of the test and
// returns its id.
func (p *Podman) Start(name string, args ...string) string {
	p.t.Helper()
	p.t.Cleanup(func() {
		_, _ = Try(p.env, p.program, "--cgroup-manager", "cgroupfs", "--root", p.Storage, "--runroot", p.Run, "rm", "--force", "--time", "0", name)
	})
	// Limits below those of the machine: raising them takes a right that a test may lack.
	all := []string{"run", "--detach", "--name", name, "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
	all = append(all, "--cgroup-parent", "/bollwerk-test-podman")
	if !slices.Contains(args, "--network") {
		all = append(all, "--network", "none")
	}
	return p.Do(append(all, args...)...)
}

// Serve starts the API service and returns its socket.
func (p *Podman) Serve() string {
	p.t.Helper()
	socket := filepath.Join(p.dir, "p.sock")
	Begin(p.t, Reachable(socket), p.env, p.program, "--cgroup-manager", "cgroupfs", "--root", p.Storage, "--runroot", p.Run,
		"system", "service", "--time=0", "unix://"+socket)
	return socket
}

// Docker is an engine of its own.
type Docker struct {
	t            testing.TB
	Data, Socket string
	// Containerd is the state folder of the engine's own containerd.
	Containerd string
	client     *http.Client
}

// NewDocker starts the engine without touching the network of the machine, and loads
// the image bollwerk-web:1, which exposes port 8080 and has the label team=shop.
func NewDocker(t testing.TB) *Docker { t.Helper(); return NewDockerOn(t, "vfs") }

// NewDockerOn is NewDocker with a storage driver.
func NewDockerOn(t testing.TB, driver string) *Docker {
	t.Helper()
	dockerd := Program(t, "dockerd", "docker.io")
	dir := Short(t)
	d := &Docker{t: t, Data: filepath.Join(dir, "data"), Socket: filepath.Join(dir, "d.sock"), Containerd: filepath.Join(dir, "exec/containerd/daemon")}
	Begin(t, Reachable(d.Socket), nil, dockerd, "--data-root", d.Data, "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", "unix://"+d.Socket,
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver="+driver, "--exec-opt", "native.cgroupdriver=cgroupfs")
	d.client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var n net.Dialer
		return n.DialContext(ctx, "unix", d.Socket)
	}}}
	d.load()
	return d
}

func (d *Docker) load() {
	d.t.Helper()
	busybox, err := os.ReadFile(Program(d.t, "busybox", "busybox-static"))
	if err != nil {
		d.t.Fatal(err)
	}
	layer := archive(d.t, []tar.Header{{Name: "bin/", Mode: 0o755, Typeflag: tar.TypeDir}, {Name: "bin/busybox", Mode: 0o755},
		{Name: "bin/sleep", Linkname: "busybox", Typeflag: tar.TypeSymlink}}, map[string][]byte{"bin/busybox": busybox})
	sum := sha256.Sum256(layer)
	config, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Cmd": []string{"sleep", "600"}, "ExposedPorts": map[string]any{"8080/tcp": map[string]any{}}, "Labels": map[string]string{"team": "shop"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + hex.EncodeToString(sum[:])}}})
	if err != nil {
		d.t.Fatal(err)
	}
	image := archive(d.t, []tar.Header{{Name: "c.json", Mode: 0o644}, {Name: "l.tar", Mode: 0o644}, {Name: "manifest.json", Mode: 0o644}},
		map[string][]byte{"c.json": config, "l.tar": layer, "manifest.json": []byte(`[{"Config":"c.json","RepoTags":["bollwerk-web:1"],"Layers":["l.tar"]}]`)})
	d.ask(http.MethodPost, "/images/load?quiet=1", "application/x-tar", image)
}

// Load loads an archive of images.
func (d *Docker) Load(archive []byte) {
	d.t.Helper()
	d.ask(http.MethodPost, "/images/load?quiet=1", "application/x-tar", archive)
}

func archive(t testing.TB, headers []tar.Header, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Size = int64(len(files[h.Name]))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[h.Name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (d *Docker) ask(method, path, kind string, body []byte) []byte {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 || bytes.Contains(b, []byte(`"error"`)) {
		d.t.Fatalf("%s %s: HTTP %d, %v: %s", method, path, resp.StatusCode, err, b)
	}
	return b
}

// Start runs a container of the image in the background until the end of the test and
// returns its id.
func (d *Docker) Start(name string, host map[string]any, args ...string) string {
	d.t.Helper()
	id := d.Create(name, host, args...)
	d.ask(http.MethodPost, "/containers/"+id+"/start", "", nil)
	return id
}

// Run runs a container to its end, which the engine then removes.
func (d *Docker) Run(name string, args ...string) (id string) {
	d.t.Helper()
	id = d.create(name, map[string]any{"NetworkMode": "none"}, args...)
	d.ask(http.MethodPost, "/containers/"+id+"/start", "", nil)
	d.ask(http.MethodPost, "/containers/"+id+"/wait", "", nil)
	d.ask(http.MethodDelete, "/containers/"+id+"?force=1", "", nil)
	return id
}

// Create is Start without the start.
func (d *Docker) Create(name string, host map[string]any, args ...string) string {
	d.t.Helper()
	config := map[string]any{"NetworkMode": "none"}
	for k, v := range host {
		config[k] = v
	}
	id := d.create(name, config, args...)
	d.t.Cleanup(func() { d.ask(http.MethodDelete, "/containers/"+id+"?force=1", "", nil) })
	return id
}

func (d *Docker) create(name string, host map[string]any, args ...string) string {
	d.t.Helper()
	image := "bollwerk-web:1"
	if i, ok := host["Image"].(string); ok {
		image = i
		delete(host, "Image")
	}
	b, err := json.Marshal(map[string]any{"Image": image, "Cmd": args, "Labels": map[string]string{"tier": "front"}, "HostConfig": host})
	if err != nil {
		d.t.Fatal(err)
	}
	var made struct {
		ID string `json:"Id"`
	}
	if err := json.Unmarshal(d.ask(http.MethodPost, "/containers/create?name="+name, "application/json", b), &made); err != nil {
		d.t.Fatal(err)
	}
	return made.ID
}
