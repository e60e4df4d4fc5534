package oci

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"
)

// push puts blobs and a tagged manifest into a registry by its own API.
func push(t testing.TB, base, repo, tag string, manifest []byte, mediaType string, blobs ...map[bollwerk.Digest][]byte) {
	t.Helper()
	send := func(method, u, contentType string, b []byte) {
		req, err := http.NewRequest(method, u, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			t.Fatalf("%s %s: %s", method, u, resp.Status)
		}
	}
	for _, set := range blobs {
		for d, b := range set {
			send("POST", base+"/v2/"+repo+"/blobs/uploads/?digest="+url.QueryEscape(string(d)), "application/octet-stream", b)
		}
	}
	for _, id := range []string{tag, string(digest(manifest))} {
		send("PUT", base+"/v2/"+repo+"/manifests/"+id, mediaType, manifest)
	}
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func newRegistry() http.Handler { return registry.New(registry.Logger(log.New(io.Discard, "", 0))) }

func hostOf(s *httptest.Server) string {
	_, h, _ := strings.Cut(s.URL, "://")
	return h
}

func anonymous() Options { return Options{Keychain: authn.NewMultiKeychain()} }

func TestRegistry(t *testing.T) {
	s := serve(t, newRegistry())
	amd, arm := twoLayers(t, "amd64"), twoLayers(t, "arm64")
	push(t, s.URL, "team/app", "1", amd.manifest, typeManifest, amd.blobs())
	push(t, s.URL, "team/app", "arm", arm.manifest, typeManifest, arm.blobs())
	index := mustJSON(t, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{
		forPlatform(desc(typeManifest, amd.manifest), "amd64", ""), forPlatform(desc(typeManifest, arm.manifest), "arm64", "v8")}})
	push(t, s.URL, "team/app", "multi", index, typeIndex)
	host := hostOf(s)
	for _, c := range []struct{ ref, platform, arch string }{
		{"/team/app:1", "", "amd64"},
		{"/team/app:arm", "", "arm64"},
		{"/team/app@" + string(digest(arm.manifest)), "", "arm64"},
		{"/team/app:1@" + string(digest(arm.manifest)), "", "arm64"}, // the digest counts
		{"/team/app:multi", "linux/arm64", "arm64"},
		{"/team/app:multi", "linux/amd64", "amd64"},
		{"/team/app@" + string(digest(index)), "linux/arm64/v8", "arm64"},
	} {
		o := anonymous()
		o.Platform = c.platform
		img, err := OpenRegistry(context.Background(), host+c.ref, o)
		if err != nil {
			t.Errorf("%s: %v", c.ref, err)
			continue
		}
		want := digest(amd.manifest)
		if c.arch == "arm64" {
			want = digest(arm.manifest)
		}
		if a := img.Artifact(); a.Digest != want || a.Ref != host+c.ref {
			t.Errorf("artifact %+v", a)
		}
		checkImage(t, img, c.arch)
	}
	o := anonymous()
	o.Platform = "linux/riscv64"
	_, err := OpenRegistry(context.Background(), host+"/team/app:multi", o)
	wantError(t, err, "image "+host+"/team/app:multi", "no image for platform linux/riscv64", "linux/amd64, linux/arm64/v8")
	_, err = OpenRegistry(context.Background(), host+"/team/app:none", anonymous())
	wantError(t, err, "manifest none", "does not have it, HTTP 404")
	_, err = OpenRegistry(context.Background(), "UPPER/case", anonymous())
	wantError(t, err, "image reference", "want registry/repository:tag")
}

// faulty serves twoLayers and lets a test interfere.
type faulty struct {
	img  *testImage
	with func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.with != nil && f.with(w, r) {
		return
	}
	switch kind, id := filepath.Split(r.URL.Path); {
	case r.URL.Path == "/v2/":
	case strings.HasSuffix(kind, "/manifests/"):
		w.Header().Set("Content-Type", typeManifest)
		w.Write(f.img.manifest)
	default:
		b, ok := f.img.blobs()[bollwerk.Digest(id)]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if from, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
			n, _ := strconv.Atoi(strings.TrimSuffix(from, "-"))
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", n, len(b)-1, len(b)))
			w.Header().Set("Content-Length", strconv.Itoa(len(b)-n))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(b[n:])
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b)
	}
}

// upper is the path of the upper layer's blob, the one that tests break.
func (f *faulty) upper(r *http.Request) bool {
	return strings.HasSuffix(r.URL.Path, "/blobs/"+string(digest(f.img.stored[1])))
}

// cutShort sends half of what it announces and breaks the connection.
func cutShort(w http.ResponseWriter, b []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Write(b[:len(b)/2])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func openAndRead(t *testing.T, h http.Handler, o Options) error {
	t.Helper()
	s := serve(t, h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	return readFrom(hostOf(s), o)
}

func readFrom(host string, o Options) error {
	img, err := OpenRegistry(context.Background(), host+"/app:1", o)
	if err != nil {
		return err
	}
	defer img.Close()
	got, _, err := readImage(context.Background(), img)
	if err == nil && len(got) == 2 && got[1]["app/main"] != twoLayersContent("amd64")[1]["app/main"] {
		err = errors.New("read something else")
	}
	return err
}

func TestFaultyRegistry(t *testing.T) {
	img := makeImage(t, "amd64", twoLayers(t, "amd64").plain[0],
		tarOf(t, testFile{"noise", noise(400_000)}, testFile{"app/main", twoLayersContent("amd64")[1]["app/main"]}))
	upper := img.stored[1]
	for _, c := range []struct {
		name string
		with func(f *faulty) func(http.ResponseWriter, *http.Request) bool
		o    func(*Options)
		want []string // nil: it works all the same
	}{
		{"nothing wrong", func(f *faulty) func(http.ResponseWriter, *http.Request) bool { return nil }, nil, nil},
		{"resumed", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if f.upper(r) && r.Header.Get("Range") == "" {
					cutShort(w, upper)
				}
				return false
			}
		}, nil, nil},
		{"resume not supported", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if f.upper(r) {
					r.Header.Del("Range")
					cutShort(w, upper)
				}
				return false
			}
		}, nil, []string{"layer sha256:", fmt.Sprintf("truncated gzip stream at byte %d of %d", len(upper)/2, len(upper))}},
		{"busy once", busyOnce, nil, nil},
		{"stalls in a layer", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !f.upper(r) {
					return false
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(upper)))
				w.Write(upper[:100])
				w.(http.Flusher).Flush()
				<-r.Context().Done()
				return true
			}
		}, impatient, []string{"layer sha256:", "stalled"}},
		{"drips", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !f.upper(r) {
					return false
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(upper)))
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for _, c := range upper {
					select {
					case <-r.Context().Done():
						return true
					case <-tick.C:
					}
					w.Write([]byte{c})
					w.(http.Flusher).Flush()
				}
				return true
			}
		}, impatient, []string{"layer sha256:", "stalled"}},
		{"stalls before it answers", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/manifests/") {
					<-r.Context().Done()
				}
				return false
			}
		}, impatient, []string{"manifest 1", "timeout"}},
		{"announces another length", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !f.upper(r) {
					return false
				}
				w.Header().Set("Content-Length", strconv.Itoa(len(upper)+4))
				w.Write(append(bytes.Clone(upper), "more"...))
				return true
			}
		}, nil, []string{"layer sha256:", fmt.Sprintf("announces %d bytes, the manifest says %d", len(upper)+4, len(upper))}},
		{"sends more, unannounced", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !f.upper(r) {
					return false
				}
				w.(http.Flusher).Flush() // chunked: no length
				w.Write(append(bytes.Clone(upper), "more"...))
				return true
			}
		}, nil, []string{"layer sha256:", fmt.Sprintf("longer than the %d bytes", len(upper))}},
		{"sends less, unannounced", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !f.upper(r) {
					return false
				}
				r.Header.Del("Range")
				w.(http.Flusher).Flush()
				w.Write(upper[:500])
				return true
			}
		}, nil, []string{"layer sha256:", "at byte 500"}},
		{"sends other content", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if !f.upper(r) {
					return false
				}
				other := bytes.Clone(upper)
				other[9] ^= 1 // the operating system in the gzip header: decompresses all the same
				w.Write(other)
				return true
			}
		}, nil, []string{"layer sha256:", "content has the digest"}},
		{"redirects in a loop", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if f.upper(r) {
					http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
					return true
				}
				return false
			}
		}, nil, []string{"layer sha256:", "redirected in a loop"}},
		{"redirects for ever", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if f.upper(r) {
					n, _ := strconv.Atoi(r.URL.Query().Get("n"))
					http.Redirect(w, r, fmt.Sprintf("%s?n=%d", r.URL.Path, n+1), http.StatusTemporaryRedirect)
					return true
				}
				return false
			}
		}, nil, []string{"layer sha256:", "redirected more than 5 times"}},
		{"redirects to a file", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if f.upper(r) {
					http.Redirect(w, r, "file:///etc/passwd", http.StatusTemporaryRedirect)
					return true
				}
				return false
			}
		}, nil, []string{"layer sha256:", "file"}},
		{"endless manifest", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/manifests/") {
					for r.Context().Err() == nil {
						if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
							break
						}
					}
					return true
				}
				return false
			}
		}, nil, []string{"manifest 1", "limit 4194304"}},
		{"endless greeting", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/v2/" {
					for r.Context().Err() == nil {
						if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
							break
						}
					}
					return true
				}
				return false
			}
		}, nil, nil},
		{"refuses", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/manifests/") {
					w.WriteHeader(http.StatusForbidden)
					io.WriteString(w, `{"errors":[{"code":"DENIED","message":"no entry"}]}`)
					return true
				}
				return false
			}
		}, nil, []string{"refuses access to app, HTTP 403", `"DENIED no entry"`, "docker login"}},
		{"a web page", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/manifests/") {
					io.WriteString(w, "<html>captive portal</html>")
					return true
				}
				return false
			}
		}, nil, []string{"not a manifest"}},
		{"broken", func(f *faulty) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, r *http.Request) bool {
				if f.upper(r) {
					w.WriteHeader(http.StatusInternalServerError)
					return true
				}
				return false
			}
		}, nil, []string{"layer sha256:", "answered HTTP 500"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			f := &faulty{img: img}
			f.with = c.with(f)
			o := anonymous()
			if c.o != nil {
				c.o(&o)
			}
			err := openAndRead(t, f, o)
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, c.want...)
		})
	}
}

func impatient(o *Options) { o.IdleTimeout = 150 * time.Millisecond }

func busyOnce(f *faulty) func(http.ResponseWriter, *http.Request) bool {
	var seen atomic.Int32
	return func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") && seen.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
}

// noise does not compress, so that half a layer is more than a buffer.
func noise(n int) string {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

func TestPinnedDigest(t *testing.T) {
	f := &faulty{img: twoLayers(t, "amd64")}
	s := serve(t, f)
	wrong := digest([]byte("another manifest"))
	_, err := OpenRegistry(context.Background(), hostOf(s)+"/app:1@"+string(wrong), anonymous())
	wantError(t, err, string(wrong), "the registry's answer has the digest "+string(digest(f.img.manifest)))
	if !errors.Is(err, artifact.ErrDigest) {
		t.Error("not ErrDigest")
	}
}

type fixed authn.AuthConfig

func (f fixed) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(authn.AuthConfig(f)), nil
}

// Credentials go to the registry and its token server, never to where a blob is
// redirected to.
func TestCredentialsStayHome(t *testing.T) {
	for _, scheme := range []string{"Basic", "Bearer"} {
		t.Run(scheme, func(t *testing.T) {
			f := &faulty{img: twoLayers(t, "amd64")}
			var leaked atomic.Value
			var served atomic.Int32
			storage := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if a := r.Header.Get("Authorization"); a != "" {
					leaked.Store(a)
				}
				served.Add(1)
				f.ServeHTTP(w, r)
			}))
			// Another name for the same machine: a different host to every rule.
			other := strings.Replace(storage.URL, "127.0.0.1", "localhost", 1)
			var s *httptest.Server
			want := "Basic " + base64.StdEncoding.EncodeToString([]byte("ann:secret"))
			s = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					if r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("ann:secret")) {
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					json.NewEncoder(w).Encode(map[string]string{"token": "t0ken"})
					return
				}
				accept := want
				if scheme == "Bearer" {
					accept = "Bearer t0ken"
				}
				if r.Header.Get("Authorization") != accept {
					w.Header().Set("WWW-Authenticate", map[string]string{"Basic": `Basic realm="x"`, "Bearer": `Bearer realm="` + s.URL + `/token",service="x"`}[scheme])
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				if strings.Contains(r.URL.Path, "/blobs/") {
					http.Redirect(w, r, other+r.URL.Path, http.StatusTemporaryRedirect)
					return
				}
				f.ServeHTTP(w, r)
			}))
			img, err := OpenRegistry(context.Background(), hostOf(s)+"/app:1", Options{Keychain: fixed{Username: "ann", Password: "secret"}})
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, img, "amd64")
			if a := leaked.Load(); a != nil {
				t.Errorf("the other host was sent %q", a)
			}
			if served.Load() != 3 {
				t.Errorf("the other host served %d blobs, want 3", served.Load())
			}
			_, err = OpenRegistry(context.Background(), hostOf(s)+"/app:1", Options{Keychain: fixed{Username: "ann", Password: "wrong"}})
			wantError(t, err, "HTTP 401", "docker login")
		})
	}
}

func TestCredentialHelper(t *testing.T) {
	f := &faulty{img: twoLayers(t, "amd64")}
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "helped" || p != "by a program" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		f.ServeHTTP(w, r)
	}))
	dir := t.TempDir()
	script := "#!/bin/sh\nread host\necho '{\"ServerURL\":\"'$host'\",\"Username\":\"helped\",\"Secret\":\"by a program\"}'\n"
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "docker-credential-bollwerktest"), []byte(script), 0o755),
		os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"credHelpers":{"`+hostOf(s)+`":"bollwerktest"}}`), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("DOCKER_CONFIG", dir)
	img, err := OpenRegistry(context.Background(), hostOf(s)+"/app:1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	checkImage(t, img, "amd64")
}

func TestMirror(t *testing.T) {
	f := &faulty{img: twoLayers(t, "amd64")}
	var asked, mirrorAsked atomic.Int32
	origin := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); f.ServeHTTP(w, r) }))
	mirror := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mirrorAsked.Add(1)
		if strings.Contains(r.URL.Path, "/manifests/") && !strings.HasPrefix(r.URL.Path, "/v2/cache/app/") {
			http.NotFound(w, r)
			return
		}
		f.ServeHTTP(w, r)
	}))
	o := anonymous()
	o.Mirrors = map[string]string{hostOf(origin): "http://" + hostOf(mirror) + "/cache"}
	if err := readFrom(hostOf(origin), o); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 0 || mirrorAsked.Load() == 0 {
		t.Errorf("origin asked %d times, mirror %d", asked.Load(), mirrorAsked.Load())
	}
	// A mirror without the image, and one that is down.
	gone := serve(t, http.NotFoundHandler())
	gone.Close()
	for _, m := range []string{hostOf(mirror), hostOf(gone)} {
		asked.Store(0)
		o.Mirrors = map[string]string{hostOf(origin): m}
		if err := readFrom(hostOf(origin), o); err != nil || asked.Load() == 0 {
			t.Errorf("mirror %s: %v, origin asked %d times", m, err, asked.Load())
		}
	}
	// A mirror with other content is not simply passed over.
	bad := serve(t, &faulty{img: makeImage(t, "amd64")})
	o.Mirrors = map[string]string{hostOf(origin): hostOf(bad)}
	_, err := OpenRegistry(context.Background(), hostOf(origin)+"/app@"+string(digest(f.img.manifest)), o)
	if !errors.Is(err, artifact.ErrDigest) {
		t.Errorf("got %v", err)
	}
	// Docker Hub goes by the name people use.
	o.Mirrors = map[string]string{"docker.io": "http://" + hostOf(mirror) + "/cache"}
	ref, _, err := parseReference("app:1", false)
	if err != nil {
		t.Fatal(err)
	}
	repos, err := o.origins(ref)
	if err != nil || len(repos) != 2 || repos[0].Name() != hostOf(mirror)+"/cache/library/app" {
		t.Errorf("%v %v", repos, err)
	}
}

func TestTLS(t *testing.T) {
	f := &faulty{img: twoLayers(t, "amd64")}
	s := httptest.NewUnstartedServer(f)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	s.StartTLS()
	defer s.Close()
	wantError(t, readFrom(hostOf(s), anonymous()), "certificate signed by unknown authority", "--ca FILE")
	o := anonymous()
	o.Insecure = true
	if err := readFrom(hostOf(s), o); err != nil {
		t.Errorf("insecure: %v", err)
	}
	ca := write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	o = anonymous()
	o.CAFile = ca
	if err := readFrom(hostOf(s), o); err != nil {
		t.Errorf("with the CA: %v", err)
	}
	o.CAFile = write(t, "none.pem", []byte("no pem"))
	wantError(t, readFrom(hostOf(s), o), "no certificate in it")
	o.CAFile = "/nonexistent"
	wantError(t, readFrom(hostOf(s), o), "CA file")
}

func TestRegistryCancel(t *testing.T) {
	f := &faulty{img: twoLayers(t, "amd64")}
	ctx, cancel := context.WithCancel(context.Background())
	f.with = func(w http.ResponseWriter, r *http.Request) bool {
		if f.upper(r) {
			w.Write(f.img.stored[1][:50])
			w.(http.Flusher).Flush()
			cancel()
			<-r.Context().Done()
			return true
		}
		return false
	}
	noLeak(t)
	s := serve(t, f)
	img, err := OpenRegistry(context.Background(), hostOf(s)+"/app:1", anonymous())
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, _, err := readImage(ctx, img); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"a", "a/b:c", "h:5000/a@sha256:" + strings.Repeat("0", 64), "[::1]:5000/a", "a//b", "@", ":", "localhost/a:b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, d, err := parseReference(s, false)
		if err != nil {
			return
		}
		if ref.Context().RegistryStr() == "" || ref.Identifier() == "" {
			t.Errorf("%q: empty parts", s)
		}
		if d != "" && ref.Identifier() != string(d) {
			t.Errorf("%q: digest %s, identifier %s", s, d, ref.Identifier())
		}
		if _, err := (Options{}).withDefaults().origins(ref); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func FuzzArchiveIndex(f *testing.F) {
	img := twoLayers(f, "amd64")
	f.Add(tarFiles(f, map[string][]byte{
		"c.json": img.config, "l": img.plain[0],
		"manifest.json": mustJSON(f, []map[string]any{{"Config": "c.json", "Layers": []string{"l"}}})}))
	f.Add(tarFiles(f, layoutFiles(f, []map[string]any{desc(typeManifest, img.manifest)}, img.blobs())))
	f.Fuzz(func(t *testing.T, b []byte) {
		index, err := indexOnDisk(bytes.NewReader(b), int64(len(b)))
		stream, serr := indexStream(bytes.NewReader(b), 1<<20)
		if err == nil && serr == nil && len(index.members) != len(stream.members) {
			t.Errorf("%d members on disk, %d in the stream", len(index.members), len(stream.members))
		}
		if err != nil {
			return
		}
		a := &archive{index: index, member: func(_ context.Context, _ string, m member) (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(bytes.NewReader(b), m.offset, m.size)), nil
		}}
		for _, docker := range []bool{true, false} {
			image, _, err := a.image(context.Background(), "", docker, bollwerk.Artifact{}, Options{}.withDefaults(), nil)
			if err == nil {
				readImage(context.Background(), image)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	img := twoLayers(f, "amd64")
	f.Add(img.manifest)
	f.Add(img.config)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseManifest(b, "m"); err == nil && m.Config == nil && m.Manifests == nil {
			t.Error("neither manifest nor index")
		}
		if c, err := parseConfig(b, "sha256:x"); err == nil {
			c.imageConfig()
			layerLines(c, 2)
		}
	})
}
