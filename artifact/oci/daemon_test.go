package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// program finds a program a test cannot do without. Where the tests must be
// complete (CI=true) a missing program is a failure.
func program(t *testing.T, name, debianPackage string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err == nil && os.Getuid() != 0 {
		err = errors.New("it needs root")
	}
	if err != nil {
		prerequisite.Missing(t, "%s (Debian package %s): %v", name, debianPackage, err)
	}
	return p
}

// begin starts a program, waits until ready holds, and ends it after the test.
func begin(t *testing.T, ready func() bool, env []string, name string, args ...string) (stop func()) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-ended
		}
	}
	t.Cleanup(stop)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for !ready() {
		select {
		case err := <-ended:
			stopped = true
			t.Fatalf("%s ended: %v\n%s", name, err, out.String())
		case <-deadline:
			t.Fatalf("%s is not ready after a minute\n%s", name, out.String())
		case <-tick.C:
		}
	}
	return stop
}

func command(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func reachable(socket string) func() bool {
	return func() bool {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return false
		}
		c.Close()
		return true
	}
}

// environment answers from a map, so that the daemons of the machine are not asked.
func environment(m map[string]string) func(string) string {
	return func(k string) string { return m[k] }
}

// ociArchive writes twoLayers as an OCI archive under a name.
func ociArchive(t *testing.T, name string) string {
	img := twoLayers(t, "amd64")
	d := desc(typeManifest, img.manifest)
	d["annotations"] = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
	return write(t, "image.tar", tarFiles(t, layoutFiles(t, []map[string]any{d}, img.blobs())))
}

func TestPodman(t *testing.T) {
	podman := program(t, "podman", "podman")
	dir := t.TempDir()
	conf := filepath.Join(dir, "storage.conf")
	text := fmt.Sprintf("[storage]\ndriver=\"vfs\"\ngraphroot=%q\nrunroot=%q\n", dir+"/graph", dir+"/run")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	env := []string{"CONTAINERS_STORAGE_CONF=" + conf, "XDG_RUNTIME_DIR=" + dir, "TMPDIR=" + dir}
	socket := filepath.Join(dir, "p.sock")
	command(t, env, podman, "load", "-i", ociArchive(t, "localhost/bollwerk-test:1"))
	begin(t, reachable(socket), env, podman, "system", "service", "--time=0", "unix://"+socket)

	// Both dialects: Podman's own way to find the service, and Docker's.
	for scheme, getenv := range map[artifact.Scheme]map[string]string{
		artifact.SchemePodman: {"CONTAINER_HOST": "unix://" + socket},
		artifact.SchemeDocker: {"DOCKER_HOST": "unix://" + socket},
	} {
		t.Run(string(scheme), func(t *testing.T) {
			noLeak(t)
			o := Options{Getenv: environment(getenv)}
			src, err := Open(context.Background(), scheme, "localhost/bollwerk-test:1", o)
			if err != nil {
				t.Fatal(err)
			}
			if a := src.Artifact(); a.ConfigDigest == "" || a.Ref != string(scheme)+":localhost/bollwerk-test:1" {
				t.Errorf("artifact %+v", a)
			}
			checkImage(t, src, "amd64")
			_, err = Open(context.Background(), scheme, "localhost/none:1", o)
			wantError(t, err, string(scheme)+":localhost/none:1", "has no such image", "registry:")
		})
	}
}

// The real Docker engine, with its storage and its sockets in a folder of the test
// and without touching the network of the machine.
func TestDocker(t *testing.T) {
	dockerd := program(t, "dockerd", "docker.io")
	// The path of a Unix socket has 108 bytes at most, and the engine makes some of its own.
	dir, err := os.MkdirTemp("", "bw-docker-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "d.sock")
	begin(t, reachable(socket), nil, dockerd, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", "unix://"+socket,
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs")

	img := twoLayers(t, "amd64")
	archive := tarFiles(t, map[string][]byte{"c.json": img.config, "a/layer.tar": img.plain[0], "b/layer.tar": img.plain[1],
		"manifest.json": mustJSON(t, []map[string]any{{"Config": "c.json", "RepoTags": []string{"bollwerk-test:1"}, "Layers": []string{"a/layer.tar", "b/layer.tar"}}})})
	engine := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	resp, err := engine.Post("http://docker/images/load?quiet=1", "application/x-tar", bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(answer, []byte("error")) {
		t.Fatalf("docker load: %d, %v: %s", resp.StatusCode, err, answer)
	}

	t.Run("image", func(t *testing.T) {
		noLeak(t)
		o := Options{Getenv: environment(map[string]string{"DOCKER_HOST": "unix://" + socket})}
		src, err := Open(context.Background(), artifact.SchemeDocker, "bollwerk-test:1", o)
		if err != nil {
			t.Fatal(err)
		}
		if a := src.Artifact(); a.ConfigDigest == "" || a.Ref != "docker:bollwerk-test:1" {
			t.Errorf("artifact %+v", a)
		}
		checkImage(t, src, "amd64")
		_, err = Open(context.Background(), artifact.SchemeDocker, "none:1", o)
		wantError(t, err, "docker:none:1", "has no such image", "registry:")
	})
}

// A daemon that speaks the API by heart: what the real one does when things go wrong.
func TestEngineErrors(t *testing.T) {
	img := twoLayers(t, "amd64")
	files := map[string][]byte{"c.json": img.config, "a/layer.tar": img.plain[0], "b/layer.tar": img.plain[1],
		"manifest.json": mustJSON(t, []map[string]any{{"Config": "c.json", "RepoTags": []string{"app:1"}, "Layers": []string{"a/layer.tar", "b/layer.tar"}}})}
	whole := tarFiles(t, files)
	send := func(b []byte) http.HandlerFunc { return func(w http.ResponseWriter, r *http.Request) { w.Write(b) } }
	serveEngine := func(t *testing.T, get http.HandlerFunc) Options {
		mux := http.NewServeMux()
		mux.HandleFunc("/images/app:1/json", send([]byte(`{"Id":"sha256:x"}`)))
		mux.HandleFunc("/images/app:1/get", get)
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, `{"message":"No such image"}`)
		})
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "d.sock"))
		if err != nil {
			t.Fatal(err)
		}
		s := &http.Server{Handler: mux}
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
		return Options{IdleTimeout: 200 * time.Millisecond, Getenv: environment(map[string]string{"DOCKER_HOST": "unix://" + l.Addr().String()})}
	}
	read := func(o Options) error {
		src, err := OpenDocker(context.Background(), "app:1", o)
		if err != nil {
			return err
		}
		defer src.Close()
		_, _, err = readImage(context.Background(), src)
		return err
	}
	if err := read(serveEngine(t, send(whole))); err != nil {
		t.Errorf("the whole image: %v", err)
	}
	wantError(t, read(serveEngine(t, send(whole[:len(whole)/2]))), "docker:app:1", "truncated archive")
	wantError(t, read(serveEngine(t, send([]byte("error")))), "docker:app:1", "truncated archive")
	wantError(t, read(serveEngine(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		io.WriteString(w, `{"message":"disk on fire"}`)
	})), "answered HTTP 500", "disk on fire")
	wantError(t, read(serveEngine(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(whole[:1000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})), "docker:app:1", "stalled")
	changed := maps.Clone(files)
	changed["b/layer.tar"] = img.plain[0]
	pass := 0
	wantError(t, read(serveEngine(t, func(w http.ResponseWriter, r *http.Request) {
		if pass++; pass == 1 {
			w.Write(whole)
			return
		}
		w.Write(tarFiles(t, changed)) // the tag moved between the passes
	})), "layer sha256:", "truncated")

	none := Options{Getenv: environment(map[string]string{"DOCKER_HOST": "unix:///nonexistent/d.sock", "CONTAINER_HOST": "unix:///nonexistent/p.sock"})}
	_, err := OpenDocker(context.Background(), "app:1", none)
	wantError(t, err, "docker daemon at unix:///nonexistent/d.sock cannot be reached", "is it running?")
	_, err = OpenPodman(context.Background(), "app:1", none)
	wantError(t, err, "podman system service", "podman save")
	_, err = OpenDocker(context.Background(), "app:1", Options{Getenv: environment(map[string]string{"DOCKER_HOST": "ssh://host"})})
	wantError(t, err, "ssh is not supported", "docker save")
	_, err = OpenDocker(context.Background(), "../containers/x", none)
	wantError(t, err, "not the name or ID of an image")
}

func TestContainerd(t *testing.T) {
	containerd, ctr := program(t, "containerd", "containerd"), program(t, "ctr", "containerd")
	dir := t.TempDir()
	root, socket := filepath.Join(dir, "root"), filepath.Join(dir, "c.sock")
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = %q\n[ttrpc]\naddress = %q\n", root, dir+"/state", socket, socket+".ttrpc")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	stop := begin(t, func() bool {
		return exec.Command(ctr, "-a", socket, "version").Run() == nil
	}, nil, containerd, "--config", config)
	archive := ociArchive(t, "docker.io/library/bollwerk-test:1")
	command(t, nil, ctr, "-a", socket, "-n", "k8s.io", "images", "import", "--no-unpack", archive)

	live := map[string]string{"CONTAINERD_ADDRESS": socket}
	t.Run("running, content from disk", func(t *testing.T) {
		noLeak(t)
		for _, name := range []string{"bollwerk-test:1", "docker.io/library/bollwerk-test:1"} {
			img, err := OpenContainerd(context.Background(), name, Options{Getenv: environment(live)})
			if err != nil {
				t.Fatal(err)
			}
			if a := img.Artifact(); a.Digest != digest(twoLayers(t, "amd64").manifest) {
				t.Errorf("artifact %+v", a)
			}
			checkImage(t, img, "amd64")
		}
	})
	t.Run("running, content through the daemon", func(t *testing.T) {
		noLeak(t)
		c := &containerdClient{grpc: newGRPCClient(socket), socket: socket}
		defer c.grpc.close()
		if err := c.probe(context.Background()); err != nil {
			t.Fatal(err)
		}
		if c.disk == "" {
			t.Error("the daemon did not say where its content is")
		}
		c.disk = ""
		target, err := c.find(context.Background(), []string{"docker.io/library/bollwerk-test:1"}, "")
		if err != nil || c.namespace != "k8s.io" {
			t.Fatalf("%v in %q", err, c.namespace)
		}
		o := Options{}.withDefaults()
		p, err := parsePlatform("linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		f, err := (&resolver{store: c, limit: o.Limits.MaxManifestBytes, want: p}).resolve(context.Background(), target, nil)
		if err != nil {
			t.Fatal(err)
		}
		img, err := openManifest(context.Background(), c, f, bollwerk.Artifact{Name: "x"}, o, nil)
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, "amd64")
		_, err = c.open(context.Background(), descriptor{Digest: digest([]byte("none"))})
		wantError(t, err, "containerd does not keep it")
	})
	_, err := OpenContainerd(context.Background(), "none:1", Options{Getenv: environment(live)})
	wantError(t, err, "containerd:none:1", "has no such image in the namespaces", "k8s.io")
	_, err = OpenContainerd(context.Background(), "bollwerk-test:1", Options{Getenv: environment(map[string]string{"CONTAINERD_ADDRESS": socket, "CONTAINERD_NAMESPACE": "default"})})
	wantError(t, err, "has no such image in the namespaces default")

	// Not reachable, but running: its database is locked.
	disk := map[string]string{"CONTAINERD_ADDRESS": filepath.Join(dir, "none.sock"), "CONTAINERD_ROOT": root}
	_, err = OpenContainerd(context.Background(), "bollwerk-test:1", Options{Getenv: environment(disk)})
	wantError(t, err, "cannot be reached", "is locked: containerd is running")

	stop()
	t.Run("stopped", func(t *testing.T) {
		noLeak(t)
		img, err := OpenContainerd(context.Background(), "bollwerk-test:1", Options{Getenv: environment(disk)})
		if err != nil {
			t.Fatal(err)
		}
		checkImage(t, img, "amd64")
		_, err = OpenContainerd(context.Background(), "none:1", Options{Getenv: environment(disk)})
		wantError(t, err, "no such image in")
	})
	// Damage to the database is an error, not a crash.
	db := filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db")
	b, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	for i := 8192; i < len(b); i++ {
		b[i] ^= 0x5a
	}
	if err := os.WriteFile(db, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenContainerd(context.Background(), "bollwerk-test:1", Options{Getenv: environment(disk)}); err == nil {
		t.Error("a damaged database gave an image")
	}
	_, err = OpenContainerd(context.Background(), "x", Options{Getenv: environment(map[string]string{"CONTAINERD_ADDRESS": "/nonexistent", "CONTAINERD_ROOT": "/nonexistent"})})
	wantError(t, err, "cannot be reached", "no containerd store")
}

func FuzzProtobuf(f *testing.F) {
	f.Add(appendString(nil, 1, string(appendString(nil, 3, string(appendInt(appendString(nil, 2, "sha256:x"), 3, 7))))))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := imageTarget(b)
		if err == nil && len(d.Digest) > len(b) {
			t.Error("longer than its source")
		}
		mapEntry(b)
	})
}
