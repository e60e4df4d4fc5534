package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
)

// engine is a daemon that speaks the Docker Engine API: Docker itself, or Podman's
// compatible service.
type engine struct {
	word    string // "docker", "podman"
	base    string // http://host, to which paths are appended
	address string // as messages name it
	client  *http.Client
	limit   int64
}

// OpenDocker opens an image of the local Docker daemon (DOCKER_HOST, or its usual
// sockets), OpenPodman one of the Podman service. Both send what `docker save`
// writes; it is read as it comes.
func OpenDocker(ctx context.Context, name string, o Options) (*Streamed, error) {
	return openEngine(ctx, artifact.SchemeDocker, name, o)
}

// OpenPodman is described at OpenDocker.
func OpenPodman(ctx context.Context, name string, o Options) (*Streamed, error) {
	return openEngine(ctx, artifact.SchemePodman, name, o)
}

func openEngine(ctx context.Context, scheme artifact.Scheme, name string, o Options) (*Streamed, error) {
	o = o.withDefaults()
	if !artifact.LooksLikeReference(name) {
		if _, err := bollwerk.ParseDigest(name); err != nil {
			return nil, fmt.Errorf("%s:%s: not the name or ID of an image", scheme, name)
		}
	}
	e, err := newEngine(scheme, o)
	if err != nil {
		return nil, err
	}
	img, err := e.open(ctx, scheme, name, o)
	if err != nil {
		e.client.CloseIdleConnections()
		return nil, fmt.Errorf("%s:%s: %w", scheme, name, err)
	}
	return img, nil
}

func (e *engine) open(ctx context.Context, scheme artifact.Scheme, name string, o Options) (*Streamed, error) {
	raw, err := e.inspect(ctx, name)
	if err != nil {
		return nil, err
	}
	var doc struct {
		ID string `json:"Id"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("the daemon's description of the image is not valid: %w", err)
	}
	s := &stream{
		open: func(ctx context.Context) (io.ReadCloser, error) {
			resp, err := e.get(ctx, "/images/"+name+"/get")
			if err != nil {
				return nil, err
			}
			return resp.Body, nil
		},
		closer: func() error { e.client.CloseIdleConnections(); return nil },
	}
	about := bollwerk.Artifact{Ref: string(scheme) + ":" + name, Name: name}
	return s.image(ctx, "", true, about, o)
}

func (e *engine) inspect(ctx context.Context, name string) ([]byte, error) {
	resp, err := e.get(ctx, "/images/"+name+"/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, e.limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.address, err)
	}
	if int64(len(b)) > e.limit {
		return nil, tooLarge("the daemon's description of the image", int64(len(b)), e.limit)
	}
	return b, nil
}

// get sends one request. A daemon may think for minutes before it sends an image
// (Podman writes it to a file first), so only the context bounds the wait.
func (e *engine) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := e.client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, e.explain(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	var doc struct{ Message string }
	_ = json.Unmarshal(b, &doc) // what the daemon says is an extra
	if len(doc.Message) > 300 {
		doc.Message = doc.Message[:300]
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("the %s daemon at %s has no such image (%q); pull it, or scan registry:NAME", e.word, e.address, doc.Message)
	}
	return nil, fmt.Errorf("the %s daemon at %s answered HTTP %d (%q)", e.word, e.address, resp.StatusCode, doc.Message)
}

func (e *engine) explain(err error) error {
	hint := "is it running?"
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		hint = "permission denied; run as root, or as a member of its group"
	case e.word == "podman":
		hint = "Podman has no daemon unless `podman system service` (systemd: podman.socket) runs; start it, or write the image to a file with `podman save` and scan docker-archive:FILE"
	}
	return fmt.Errorf("the %s daemon at %s cannot be reached: %w; %s", e.word, e.address, err, hint)
}

// newEngine finds the daemon the way its own client does.
func newEngine(scheme artifact.Scheme, o Options) (*engine, error) {
	e := &engine{word: string(scheme), limit: o.Limits.MaxManifestBytes}
	host, sockets := o.Getenv("DOCKER_HOST"), []string{"/var/run/docker.sock"}
	if dir := o.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		sockets = append(sockets, filepath.Join(dir, "docker.sock"))
	}
	if home := o.Getenv("HOME"); home != "" {
		sockets = append(sockets, filepath.Join(home, ".docker/run/docker.sock"), filepath.Join(home, ".docker/desktop/docker.sock"))
	}
	if scheme == artifact.SchemePodman {
		host, sockets = o.Getenv("CONTAINER_HOST"), []string{"/run/podman/podman.sock"}
		if dir := o.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			sockets = append([]string{filepath.Join(dir, "podman/podman.sock")}, sockets...)
		}
	}
	if host == "" {
		host = "unix://" + sockets[0]
		for _, s := range sockets {
			if fi, err := os.Stat(s); err == nil && fi.Mode()&os.ModeSocket != 0 {
				host = "unix://" + s
				break
			}
		}
	}
	e.address = host
	kind, rest, ok := strings.Cut(host, "://")
	if !ok {
		return nil, fmt.Errorf("%s daemon address %q: want unix:///path or tcp://host:port", e.word, host)
	}
	t := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 2}
	switch kind {
	case "unix":
		e.base = "http://daemon"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", rest)
		}
	case "tcp", "http", "https":
		e.base = "http://" + strings.TrimSuffix(rest, "/")
		if kind == "https" || scheme == artifact.SchemeDocker && o.Getenv("DOCKER_TLS_VERIFY") != "" {
			tc, err := engineTLS(o)
			if err != nil {
				return nil, err
			}
			t.TLSClientConfig = tc
			e.base = "https://" + strings.TrimSuffix(rest, "/")
		}
	default:
		return nil, fmt.Errorf("%s daemon address %q: %s is not supported; write the image to a file with `%s save` and scan docker-archive:FILE", e.word, host, kind, e.word)
	}
	e.client = &http.Client{
		Transport: &boundedTransport{inner: t, limit: o.Limits.MaxManifestBytes, idle: o.IdleTimeout},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("a daemon does not redirect")
		},
	}
	return e, nil
}

// engineTLS reads the certificates where the Docker client keeps them.
func engineTLS(o Options) (*tls.Config, error) {
	dir := o.Getenv("DOCKER_CERT_PATH")
	if dir == "" {
		dir = filepath.Join(o.Getenv("HOME"), ".docker")
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12}
	pem, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("certificates of the docker daemon: %w", err)
	}
	tc.RootCAs = x509.NewCertPool()
	if !tc.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates of the docker daemon: no certificate in %s", filepath.Join(dir, "ca.pem"))
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("certificates of the docker daemon: %w", err)
	}
	if err == nil {
		tc.Certificates = []tls.Certificate{cert}
	}
	return tc, nil
}
