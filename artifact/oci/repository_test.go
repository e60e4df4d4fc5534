package oci

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/bollwerk/bollwerk"
)

// beside is an image with one referrer and one tag beside it.
type beside struct {
	image, referrer, tagged, blob []byte
}

func besideDigest(b []byte) bollwerk.Digest { return contentDigest("sha256", b) }

func newBeside() beside {
	b := beside{blob: []byte(`{"signed":true}`)}
	b.image = []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + string(besideDigest([]byte("{}"))) + `","size":2},"layers":[]}`)
	carrier := func(extra string) []byte {
		return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":2},"layers":[{"mediaType":"x/y","digest":"%s","size":%d}]%s}`,
			besideDigest([]byte("{}")), besideDigest(b.blob), len(b.blob), extra)
	}
	b.referrer = carrier(fmt.Sprintf(`,"artifactType":"a/b","subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%d}`, besideDigest(b.image), len(b.image)))
	b.tagged = carrier("")
	return b
}

func (b beside) sigTag() string { return "sha256-" + besideDigest(b.image).Hex() + ".sig" }

// push puts everything into a registry. fallback writes the tag that lists
// referrers, as clients do when the registry has no API for them.
func (b beside) push(t *testing.T, host string, fallback bool) {
	t.Helper()
	put := func(kind, name, mediaType string, body []byte) {
		t.Helper()
		url := "http://" + host + "/v2/team/app/" + kind + "/" + name
		method := http.MethodPut
		if kind == "blobs" {
			method, url = http.MethodPost, "http://"+host+"/v2/team/app/blobs/uploads/?digest="+name
		}
		req, err := http.NewRequest(method, url, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", mediaType)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			said, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s %s: %s %s", method, url, resp.Status, said)
		}
	}
	const manifest = "application/vnd.oci.image.manifest.v1+json"
	for _, blob := range [][]byte{[]byte("{}"), b.blob} {
		put("blobs", string(besideDigest(blob)), "application/octet-stream", blob)
	}
	put("manifests", "1.0", manifest, b.image)
	put("manifests", string(besideDigest(b.referrer)), manifest, b.referrer)
	put("manifests", b.sigTag(), manifest, b.tagged)
	if fallback {
		put("manifests", fallbackTag(besideDigest(b.image)), "application/vnd.oci.image.index.v1+json", b.referrerIndex())
	}
}

func (b beside) referrerIndex() []byte {
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%d,"artifactType":"a/b"}]}`, besideDigest(b.referrer), len(b.referrer))
}

func serveBeside(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func besideRegistry(t *testing.T, referrers bool) string {
	return serveBeside(t, registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
}

func besideOptions() Options {
	return Options{Keychain: authn.NewMultiKeychain(), IdleTimeout: 2 * time.Second}
}

// look reads everything that lies beside the image through a Repository.
func (b beside) look(t *testing.T, r *Repository, reference string) {
	t.Helper()
	ctx := t.Context()
	raw, d, err := r.Manifest(ctx, reference, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, b.image) || d.Digest != besideDigest(b.image) || d.Size != int64(len(b.image)) || d.MediaType != "application/vnd.oci.image.manifest.v1+json" {
		t.Errorf("%+v", d)
	}
	list, err := r.Referrers(ctx, d.Digest)
	if err != nil || len(list) != 1 || list[0].Digest != besideDigest(b.referrer) {
		t.Fatalf("referrers %+v, %v", list, err)
	}
	if _, d, err := r.Manifest(ctx, string(list[0].Digest), 1<<20); err != nil || d.ArtifactType != "a/b" {
		t.Errorf("%+v, %v", d, err)
	}
	if raw, _, err := r.Manifest(ctx, b.sigTag(), 1<<20); err != nil || !bytes.Equal(raw, b.tagged) {
		t.Errorf("%s, %v", raw, err)
	}
	if raw, err := r.Blob(ctx, besideDigest(b.blob), 100); err != nil || !bytes.Equal(raw, b.blob) {
		t.Errorf("%s, %v", raw, err)
	}
	none := besideDigest([]byte("none"))
	if _, _, err := r.Manifest(ctx, "no-such-tag", 1<<20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a tag that is not there: %v", err)
	}
	if _, err := r.Blob(ctx, none, 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob that is not there: %v", err)
	}
	if list, err := r.Referrers(ctx, none); err != nil || len(list) != 0 {
		t.Errorf("referrers of nothing: %+v, %v", list, err)
	}
	if _, _, err := r.Manifest(ctx, reference, int64(len(b.image))-1); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a manifest beyond the bound: %v", err)
	}
	if _, err := r.Blob(ctx, besideDigest(b.blob), 3); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob beyond the bound: %v", err)
	}
}

func TestRegistryRepository(t *testing.T) {
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers API %v", api), func(t *testing.T) {
			host := besideRegistry(t, api)
			b := newBeside()
			b.push(t, host, !api)
			r, reference, err := NewRegistryRepository(host+"/team/app:1.0", besideOptions())
			if err != nil {
				t.Fatal(err)
			}
			if r.Name() != host+"/team/app" || reference != "1.0" {
				t.Errorf("%q %q", r.Name(), reference)
			}
			b.look(t, r, reference)
			_, reference, err = NewRegistryRepository(host+"/team/app:1.0@"+string(besideDigest(b.image)), besideOptions())
			if err != nil || reference != string(besideDigest(b.image)) {
				t.Errorf("a digest counts, the tag beside it does not: %q, %v", reference, err)
			}
		})
	}
	if _, _, err := NewRegistryRepository("not a reference", besideOptions()); err == nil {
		t.Error("accepted")
	}
}

// TestMirror: signatures that a mirror lacks are asked of the registry, and a
// registry out of reach does not make an image unsigned.
func TestMirrorOfSignatures(t *testing.T) {
	b := newBeside()
	origin, mirror := besideRegistry(t, true), besideRegistry(t, true)
	b.push(t, origin, false)
	o := besideOptions()
	o.Mirrors = map[string]string{origin: "http://" + mirror}
	r, reference, err := NewRegistryRepository(origin+"/team/app:1.0", o)
	if err != nil {
		t.Fatal(err)
	}
	b.look(t, r, reference)

	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	host := strings.TrimPrefix(gone.URL, "http://")
	o.Mirrors = map[string]string{host: "http://" + mirror}
	r, _, err = NewRegistryRepository(host+"/team/app:1.0", o)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Manifest(t.Context(), b.sigTag(), 1<<20); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the mirror has nothing and the registry is down: %v", err)
	}
	if _, err := r.Referrers(t.Context(), besideDigest(b.image)); err == nil {
		t.Error("no referrers, though nobody could be asked")
	}
}

// TestHostileRegistry: every answer that is not the content is an error that is
// not "does not exist".
func TestHostileRegistry(t *testing.T) {
	b := newBeside()
	index := "application/vnd.oci.image.index.v1+json"
	for name, h := range map[string]http.HandlerFunc{
		"refuses": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"breaks":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"answers junk": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", index)
			w.Write([]byte("<html>"))
		},
		"never stops": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", index)
			io.Copy(w, endlessZeros{})
		},
		"bad digests": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", index)
			w.Write([]byte(`{"manifests":[{"digest":"sha256:../../x"}]}`))
		},
		"sends us away": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		},
		"loops": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) },
		"stalls": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", index)
			w.Write([]byte("{"))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"pages for ever": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", index)
			w.Header().Set("Link", "<"+r.URL.Path+"?n=1>; rel=\"next\"")
			w.Write([]byte(`{"manifests":[]}`))
		},
		"pages elsewhere": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", index)
			w.Header().Set("Link", "<http://127.0.0.1:1/x>; rel=\"next\"")
			w.Write([]byte(`{"manifests":[]}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := serveBeside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					w.Write([]byte("{}"))
					return
				}
				h(w, r)
			}))
			o := besideOptions()
			o.IdleTimeout = 200 * time.Millisecond
			r, _, err := NewRegistryRepository(host+"/team/app:1.0", o)
			if err != nil {
				t.Fatal(err)
			}
			for what, f := range map[string]func() error{
				"manifest":  func() error { _, _, err := r.Manifest(t.Context(), string(besideDigest(b.image)), 1<<20); return err },
				"blob":      func() error { _, err := r.Blob(t.Context(), besideDigest(b.blob), 1<<20); return err },
				"referrers": func() error { _, err := r.Referrers(t.Context(), besideDigest(b.image)); return err },
			} {
				if err := f(); err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

type endlessZeros struct{}

func (endlessZeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestReferrerPages(t *testing.T) {
	b := newBeside()
	d := func(i int) string { return string(besideDigest([]byte{byte(i)})) }
	host := serveBeside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		page := 0
		fmt.Sscan(r.URL.Query().Get("page"), &page)
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json; charset=utf-8")
		if page < 3 {
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page+1))
		}
		fmt.Fprintf(w, `{"manifests":[{"digest":%q},{"digest":%q}]}`, d(page), d(0))
	}))
	r, _, err := NewRegistryRepository(host+"/team/app:1.0", besideOptions())
	if err != nil {
		t.Fatal(err)
	}
	list, err := r.Referrers(t.Context(), besideDigest(b.image))
	if err != nil || len(list) != 4 {
		t.Errorf("%+v, %v", list, err)
	}
}

// besideLayout writes an OCI layout with the given entries in index.json.
func besideLayout(t *testing.T, entries string, blobs ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "index.json": `{"schemaVersion":2,"manifests":[` + entries + `]}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range append(blobs, []byte("{}")) {
		if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", besideDigest(b).Hex()), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func layoutEntry(raw []byte, more string) string {
	return fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"%s","size":%d%s}`, besideDigest(raw), len(raw), more)
}

func refNamed(n string) string {
	return `,"annotations":{"org.opencontainers.image.ref.name":"` + n + `"}`
}

func TestLayoutRepository(t *testing.T) {
	b := newBeside()
	t.Run("tags and subjects", func(t *testing.T) {
		dir := besideLayout(t, strings.Join([]string{layoutEntry(b.image, refNamed("1.0")), layoutEntry(b.referrer, ""), layoutEntry(b.tagged, refNamed(b.sigTag()))}, ","), b.image, b.referrer, b.tagged, b.blob)
		for _, target := range []string{dir, dir + ":1.0", dir + "@" + string(besideDigest(b.image))} {
			r, reference, err := NewLayoutRepository(target)
			if err != nil {
				t.Fatal(err)
			}
			b.look(t, &r.Repository, reference)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("a tag that lists the referrers", func(t *testing.T) {
		idx := b.referrerIndex()
		dir := besideLayout(t, strings.Join([]string{layoutEntry(b.image, ""), layoutEntry(idx, refNamed(fallbackTag(besideDigest(b.image)))), layoutEntry(b.tagged, refNamed(b.sigTag()))}, ","), b.image, b.referrer, b.tagged, b.blob, idx)
		r, reference, err := NewLayoutRepository(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		b.look(t, &r.Repository, reference)
	})
	t.Run("cosign save", func(t *testing.T) {
		kind := func(k string) string { return `,"annotations":{"kind":"dev.cosignproject.cosign/` + k + `"}` }
		dir := besideLayout(t, strings.Join([]string{layoutEntry(b.image, kind("image")), layoutEntry(b.tagged, kind("sigs"))}, ","), b.image, b.tagged, b.blob)
		r, reference, err := NewLayoutRepository(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		list, err := r.Referrers(t.Context(), bollwerk.Digest(reference))
		if err != nil || len(list) != 1 || list[0].Digest != besideDigest(b.tagged) {
			t.Errorf("%+v, %v", list, err)
		}
	})
	t.Run("several images", func(t *testing.T) {
		other := bytes.Replace(b.image, []byte(`"layers":[]`), []byte(`"layers":[ ]`), 1)
		dir := besideLayout(t, layoutEntry(b.image, refNamed("a"))+","+layoutEntry(other, refNamed("b")), b.image, other)
		if _, _, err := NewLayoutRepository(dir); err == nil || !strings.Contains(err.Error(), "name one: a, b") {
			t.Errorf("%v", err)
		}
	})
	t.Run("a referrer that is not there", func(t *testing.T) {
		dir := besideLayout(t, layoutEntry(b.image, refNamed("1.0"))+","+layoutEntry(b.referrer, `,"artifactType":"a/b"`), b.image)
		r, reference, err := NewLayoutRepository(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		// It is listed, so that whoever opens it says that it is missing.
		list, err := r.Referrers(t.Context(), bollwerk.Digest(reference))
		if err != nil || len(list) != 1 {
			t.Errorf("%+v, %v", list, err)
		}
	})
	t.Run("content that is not what the index says", func(t *testing.T) {
		dir := besideLayout(t, layoutEntry(b.image, refNamed("1.0")), b.image)
		if err := os.WriteFile(filepath.Join(dir, "blobs", "sha256", besideDigest(b.image).Hex()), []byte(`{"evil":1}`), 0o644); err != nil {
			t.Fatal(err)
		}
		r, _, err := NewLayoutRepository(dir + ":1.0")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, ref := range []string{"1.0", string(besideDigest(b.image))} {
			if _, _, err := r.Manifest(t.Context(), ref, 1<<20); err == nil {
				t.Errorf("%s: accepted", ref)
			}
		}
		if _, err := r.Blob(t.Context(), besideDigest(b.image), 1<<20); err == nil {
			t.Error("blob: accepted")
		}
	})
	t.Run("a link out of the layout", func(t *testing.T) {
		dir := besideLayout(t, layoutEntry(b.image, refNamed("1.0")), b.image)
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, b.blob, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(secret, filepath.Join(dir, "blobs", "sha256", besideDigest(b.blob).Hex())); err != nil {
			t.Fatal(err)
		}
		r, _, err := NewLayoutRepository(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if raw, err := r.Blob(t.Context(), besideDigest(b.blob), 1<<20); err == nil {
			t.Errorf("read %q through a link", raw)
		}
	})
	for name, dir := range map[string]string{"no layout": t.TempDir(), "not there": filepath.Join(t.TempDir(), "x"), "no image": besideLayout(t, "")} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := NewLayoutRepository(dir); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzReferrerIndex(f *testing.F) {
	f.Add(newBeside().referrerIndex())
	f.Add([]byte(`{"manifests":[{"digest":"sha256:00","platform":{"os":"linux"}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parseIndex(raw)
		if err == nil && (len(list) > maxReferrers || slices.ContainsFunc(list, func(d bollwerk.Descriptor) bool {
			_, err := bollwerk.ParseDigest(string(d.Digest))
			return err != nil
		})) {
			t.Errorf("%d entries", len(list))
		}
	})
}

func FuzzNextPage(f *testing.F) {
	f.Add(`</v2/a/referrers/b?n=1>; rel="next"`)
	f.Add(`<//evil/x>; rel="next"`)
	f.Add(`<http://evil>; rel=next`)
	f.Fuzz(func(t *testing.T, link string) {
		next, err := nextPage("https://registry.example/v2/a/referrers/b", link)
		if err == nil && next != "" && !strings.HasPrefix(next, "https://registry.example/") && next != "https://registry.example" && !strings.HasPrefix(next, "https://registry.example?") && !strings.HasPrefix(next, "https://registry.example#") {
			t.Errorf("%q leads to %q", link, next)
		}
	})
}
