package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
)

// testImage is an image made by hand, so that every part of it can be wrong.
type testImage struct {
	plain    [][]byte // uncompressed layers
	stored   [][]byte
	config   []byte
	manifest []byte
}

type testFile struct{ name, body string }

func tarOf(t testing.TB, files ...testFile) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Typeflag: tar.TypeReg, Size: int64(len(f.body)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gz(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func digest(b []byte) bollwerk.Digest { return contentDigest("sha256", b) }

const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func desc(mediaType string, b []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest(b), "size": len(b)}
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeImage makes an image of the given platform ("" for none in the configuration).
func makeImage(t testing.TB, arch string, layers ...[]byte) *testImage {
	t.Helper()
	img := &testImage{plain: layers}
	var diffs []bollwerk.Digest
	var descs, history []map[string]any
	for i, l := range layers {
		s := gz(t, l)
		img.stored = append(img.stored, s)
		diffs = append(diffs, digest(l))
		descs = append(descs, desc(typeLayer, s))
		history = append(history, map[string]any{"created_by": fmt.Sprintf("RUN step %d", i)}, map[string]any{"created_by": "ENV x", "empty_layer": true})
	}
	img.config = mustJSON(t, map[string]any{
		"architecture": arch, "os": "linux", "created": "2026-01-02T03:04:05Z",
		"config":  map[string]any{"User": "app", "Env": []string{"A=b"}, "Cmd": []string{"run"}, "ExposedPorts": map[string]any{"80/tcp": map[string]any{}}},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": diffs},
		"history": history,
	})
	img.manifest = mustJSON(t, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": desc(typeConfig, img.config), "layers": descs})
	return img
}

func twoLayers(t testing.TB, arch string) *testImage {
	return makeImage(t, arch,
		tarOf(t, testFile{"etc/os-release", "ID=" + arch}, testFile{"gone", "x"}),
		tarOf(t, testFile{"app/main", strings.Repeat("main ", 4000)}, testFile{".wh.gone", ""}))
}

func (img *testImage) blobs() map[bollwerk.Digest][]byte {
	out := map[bollwerk.Digest][]byte{digest(img.config): img.config, digest(img.manifest): img.manifest}
	for _, s := range img.stored {
		out[digest(s)] = s
	}
	return out
}

// want is what reading twoLayers must give.
func twoLayersContent(arch string) []map[string]string {
	return []map[string]string{
		{"etc/os-release": "ID=" + arch, "gone": "x"},
		{"app/main": strings.Repeat("main ", 4000)},
	}
}

// keeper is a visitor that keeps everything.
type keeper struct{ content map[string]string }

func (k *keeper) Wants(*bollwerk.File) bool { return true }
func (k *keeper) Visit(_ context.Context, f bollwerk.File, r io.Reader) error {
	b, err := io.ReadAll(r)
	k.content[f.Path] = string(b)
	return err
}

func readImage(ctx context.Context, src artifact.Source) ([]map[string]string, []artifact.PartSummary, error) {
	keepers := make([]keeper, src.Parts())
	var mu sync.Mutex
	sums, err := artifact.ReadAll(ctx, src, 2, func(p int) (artifact.Visitor, bool) {
		mu.Lock()
		defer mu.Unlock()
		keepers[p].content = map[string]string{}
		return &keepers[p], false
	})
	var out []map[string]string
	for _, k := range keepers {
		out = append(out, k.content)
	}
	return out, sums, err
}

// checkImage reads src and compares it with twoLayers.
func checkImage(t *testing.T, src artifact.Source, arch string) {
	t.Helper()
	got, sums, err := readImage(context.Background(), src)
	if err != nil {
		t.Fatal(err)
	}
	want := twoLayersContent(arch)
	for i := range want {
		if !maps.Equal(got[i], want[i]) {
			t.Errorf("layer %d: %v", i, slices.Sorted(maps.Keys(got[i])))
		}
	}
	if !sums[1].Mask.Hides("gone") || sums[1].Mask.Hides("etc/os-release") {
		t.Errorf("the mask of the upper layer is wrong")
	}
	a := src.Artifact()
	img := twoLayers(t, arch)
	if a.Kind != bollwerk.KindImage || a.ConfigDigest == "" || len(a.Layers) != 2 || a.Platform != "linux/"+arch {
		t.Fatalf("artifact %+v", a)
	}
	if a.Layers[0].CreatedBy != "RUN step 0" || a.Layers[1].CreatedBy != "RUN step 1" || a.Layers[1].DiffID != digest(img.plain[1]) {
		t.Errorf("layers %+v", a.Layers)
	}
	if c := a.Config; c.User != "app" || !slices.Equal(c.Cmd, []string{"run"}) || !slices.Equal(c.ExposedPorts, []string{"80/tcp"}) {
		t.Errorf("configuration %+v", c)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}

// writeLayout writes an OCI layout with the given index entries.
func writeLayout(t testing.TB, dir string, index []map[string]any, blobs ...map[bollwerk.Digest][]byte) {
	t.Helper()
	files := layoutFiles(t, index, blobs...)
	for name, b := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func layoutFiles(t testing.TB, index []map[string]any, blobs ...map[bollwerk.Digest][]byte) map[string][]byte {
	files := map[string][]byte{
		"oci-layout": []byte(`{"imageLayoutVersion":"1.0.0"}`),
		"index.json": mustJSON(t, map[string]any{"schemaVersion": 2, "manifests": index}),
	}
	for _, set := range blobs {
		for d, b := range set {
			files[blobPath(d)] = b
		}
	}
	return files
}

func named(d map[string]any, name string) map[string]any {
	d = maps.Clone(d)
	d["annotations"] = map[string]string{"org.opencontainers.image.ref.name": name}
	return d
}

func forPlatform(d map[string]any, arch, variant string) map[string]any {
	d = maps.Clone(d)
	d["platform"] = map[string]string{"os": "linux", "architecture": arch, "variant": variant}
	return d
}

// tarFiles packs files, those named first in that order.
func tarFiles(t testing.TB, files map[string][]byte, first ...string) []byte {
	t.Helper()
	var list []testFile
	for _, n := range first {
		list = append(list, testFile{n, string(files[n])})
	}
	for _, n := range slices.Sorted(maps.Keys(files)) {
		if !slices.Contains(first, n) {
			list = append(list, testFile{n, string(files[n])})
		}
	}
	return tarOf(t, list...)
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%q does not contain %q", err, p)
		}
	}
}

// noLeak fails the test if it leaves goroutines behind.
func noLeak(t *testing.T) {
	t.Helper()
	before, _ := goroutines()
	t.Cleanup(func() {
		deadline := time.Now().Add(5 * time.Second)
		for {
			after, stacks := goroutines()
			if after <= before {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("%d goroutines before, %d after:\n%s", before, after, stacks)
				return
			}
			runtime.Gosched()
		}
	})
}

// goroutines counts those that run, without the ones that copy the output of
// programs a test has started: these come and go as the programs please.
func goroutines() (int, []byte) {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	n := 0
	for _, stack := range bytes.Split(buf, []byte("\n\n")) {
		if !bytes.Contains(stack, []byte("os/exec.(*Cmd)")) {
			n++
		}
	}
	return n, buf
}

func TestLayout(t *testing.T) {
	noLeak(t)
	amd, arm := twoLayers(t, "amd64"), twoLayers(t, "arm64")
	index := mustJSON(t, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{
		forPlatform(desc(typeManifest, amd.manifest), "amd64", ""),
		forPlatform(desc(typeManifest, arm.manifest), "arm64", "v8"),
		forPlatform(desc(typeManifest, []byte("attestation")), "unknown", ""),
	}})
	outer := mustJSON(t, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []any{desc(typeIndex, index)}})
	extra := map[bollwerk.Digest][]byte{digest(index): index, digest(outer): outer}
	dir := t.TempDir()
	writeLayout(t, dir, []map[string]any{
		named(desc(typeManifest, amd.manifest), "plain"),
		named(desc(typeIndex, index), "multi"),
		named(desc(typeIndex, outer), "nested"),
	}, amd.blobs(), arm.blobs(), extra)

	for _, c := range []struct{ target, platform, arch string }{
		{dir + ":plain", "", "amd64"},
		{dir + ":multi", "linux/amd64", "amd64"},
		{dir + ":multi", "linux/arm64/v8", "arm64"},
		{dir + ":multi", "linux/aarch64", "arm64"},
		{dir + ":nested", "linux/arm64", "arm64"},
		{dir + "@" + string(digest(arm.manifest)), "", "arm64"},
	} {
		img, err := OpenLayout(context.Background(), c.target, Options{Platform: c.platform})
		if err != nil {
			t.Errorf("%s %s: %v", c.target, c.platform, err)
			continue
		}
		if a := img.Artifact(); a.Ref != "oci:"+c.target || a.Digest == "" {
			t.Errorf("artifact %+v", a)
		}
		checkImage(t, img, c.arch)
	}

	_, err := OpenLayout(context.Background(), dir+":multi", Options{Platform: "linux/s390x"})
	wantError(t, err, "no image for platform linux/s390x", "linux/amd64, linux/arm64/v8")
	_, err = OpenLayout(context.Background(), dir+":plain", Options{Platform: "linux/arm64"})
	wantError(t, err, "is for platform linux/amd64, asked for was linux/arm64")
	_, err = OpenLayout(context.Background(), dir, Options{})
	wantError(t, err, "several images; name one", "multi, nested, plain")
	_, err = OpenLayout(context.Background(), dir+":nope", Options{})
	wantError(t, err, `no image called "nope"`)
	_, err = OpenLayout(context.Background(), dir+":multi", Options{Platform: "linux"})
	wantError(t, err, "want os/arch")
	_, err = OpenLayout(context.Background(), filepath.Join(dir, "missing"), Options{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing layout: %v", err)
	}
}

func TestLayoutIsNotLeft(t *testing.T) {
	img := twoLayers(t, "amd64")
	dir := t.TempDir()
	writeLayout(t, dir, []map[string]any{desc(typeManifest, img.manifest)}, img.blobs())
	secret := write(t, "secret", img.config)
	blob := filepath.Join(dir, blobPath(digest(img.config)))
	if err := errors.Join(os.Remove(blob), os.Symlink(secret, blob)); err != nil {
		t.Fatal(err)
	}
	_, err := OpenLayout(context.Background(), dir, Options{})
	wantError(t, err, "image configuration", "escapes")
}

func TestWrongDocuments(t *testing.T) {
	noLeak(t)
	good := twoLayers(t, "amd64")
	open := func(t *testing.T, manifest []byte, sets ...map[bollwerk.Digest][]byte) error {
		dir := t.TempDir()
		writeLayout(t, dir, []map[string]any{desc(typeManifest, manifest)}, append(sets, map[bollwerk.Digest][]byte{digest(manifest): manifest})...)
		img, err := OpenLayout(context.Background(), dir, Options{})
		if err == nil {
			_, _, err = readImage(context.Background(), img)
			img.Close()
		}
		return err
	}
	manifestOf := func(config []byte, layers ...any) []byte {
		return mustJSON(t, map[string]any{"schemaVersion": 2, "config": desc(typeConfig, config), "layers": layers})
	}
	with := func(b ...[]byte) map[bollwerk.Digest][]byte {
		m := good.blobs()
		for _, x := range b {
			m[digest(x)] = x
		}
		return m
	}
	l0, l1 := desc(typeLayer, good.stored[0]), desc(typeLayer, good.stored[1])
	one := makeImage(t, "amd64", good.plain[0])
	foreign := []byte(`{"name":"chart"}`)

	many := make([]any, 10_000)
	for i := range many {
		many[i] = l0
	}
	tall := manifestOf(good.config, many...)
	wantError(t, open(t, tall, good.blobs()), "has 10000 layers, limit 1000")

	m := manifestOf(one.config, l0, l1)
	wantError(t, open(t, m, with(one.config)), "2 layers and the configuration 1 diff IDs")
	m = manifestOf(foreign, l0)
	wantError(t, open(t, m, with(foreign)), "not a container image")
	m = manifestOf([]byte("{"), l0)
	wantError(t, open(t, m, with([]byte("{"))), "image configuration sha256:", "not valid")
	m = manifestOf(good.config, l0, desc(typeLayer, good.stored[0]))
	wantError(t, open(t, m, good.blobs()), "layer sha256:", "uncompressed content has the digest")
	swapped := with()
	swapped[digest(good.config)] = append(bytes.Clone(good.config), ' ')
	wantError(t, open(t, good.manifest, swapped), "image configuration sha256:", "bytes, its descriptor says")
	swapped[digest(good.config)] = bytes.Replace(good.config, []byte("app"), []byte("abc"), 1)
	err := open(t, good.manifest, swapped)
	wantError(t, err, "image configuration sha256:", "content has the digest")
	if !errors.Is(err, artifact.ErrDigest) {
		t.Error("not ErrDigest")
	}
	wantError(t, open(t, []byte(`{"schemaVersion":1,"fsLayers":[]}`)), "schema 1")
	wantError(t, open(t, []byte(`{"schemaVersion":2}`)), "neither a manifest")
	wantError(t, open(t, []byte(`[]`)), "not a manifest")
	missing := with()
	delete(missing, digest(good.stored[1]))
	wantError(t, open(t, good.manifest, missing), "layer sha256:", "is missing")
	negative := mustJSON(t, map[string]any{"schemaVersion": 2, "config": desc(typeConfig, good.config), "layers": []any{l0, map[string]any{"mediaType": typeLayer, "digest": digest(good.stored[1]), "size": -1}}})
	wantError(t, open(t, negative, good.blobs()), "has the size -1")
	huge := append([]byte(`{"schemaVersion":2,"x":"`), bytes.Repeat([]byte("x"), 5<<20)...)
	wantError(t, open(t, append(huge, `"}`...)), "limit 4194304")
	// An index that contains itself cannot be made (it would need its own digest), but a
	// deep one can.
	deep := good.manifest
	all := good.blobs()
	for range 8 {
		deep = mustJSON(t, map[string]any{"schemaVersion": 2, "manifests": []any{desc(typeIndex, deep)}})
		all[digest(deep)] = deep
	}
	wantError(t, open(t, deep, all), "nested more than 4 deep")
}

// Old builders wrote a string where a list is meant.
func TestCommandAsString(t *testing.T) {
	c, err := parseConfig([]byte(`{"config":{"Cmd":"run","Entrypoint":["a","b"],"Healthcheck":{"Test":["NONE"]}}}`), "sha256:x")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.imageConfig(); !slices.Equal(got.Cmd, []string{"run"}) || len(got.Entrypoint) != 2 || !slices.Equal(got.Healthcheck, []string{"NONE"}) {
		t.Errorf("%+v", got)
	}
}

func TestArchives(t *testing.T) {
	noLeak(t)
	img := twoLayers(t, "amd64")
	oci := layoutFiles(t, []map[string]any{named(desc(typeManifest, img.manifest), "v1")}, img.blobs())
	configName := digest(img.config).Hex() + ".json"
	docker := map[string][]byte{
		configName:       img.config,
		"aa/layer.tar":   img.plain[0],
		"bb/layer.tar":   img.plain[1],
		"manifest.json":  mustJSON(t, []map[string]any{{"Config": configName, "RepoTags": []string{"app:v1"}, "Layers": []string{"aa/layer.tar", "bb/layer.tar"}}}),
		"repositories":   []byte(`{}`),
		"aa/json":        []byte(`{"id":"aa"}`),
		"unrelated/file": bytes.Repeat([]byte("z"), 100_000),
	}
	dockerGz := maps.Clone(docker)
	dockerGz["aa/layer.tar"], dockerGz["bb/layer.tar"] = img.stored[0], img.stored[1]
	both := maps.Clone(oci) // docker save since version 25
	both["manifest.json"] = mustJSON(t, []map[string]any{{"Config": blobPath(digest(img.config)), "RepoTags": []string{"app:v1"},
		"Layers": []string{blobPath(digest(img.stored[0])), blobPath(digest(img.stored[1]))}}})

	for _, c := range []struct {
		name   string
		b      []byte
		docker bool
		ref    string
	}{
		{"docker", tarFiles(t, docker), true, ""},
		{"docker, manifest first", tarFiles(t, docker, "manifest.json"), true, ":app:v1"},
		{"docker, gzipped layers", tarFiles(t, dockerGz), true, ":docker.io/library/app:v1"},
		{"oci", tarFiles(t, oci), false, ":v1"},
		{"oci, called docker", tarFiles(t, oci), true, ""},
		{"docker 25", tarFiles(t, both), true, ""},
		{"docker 25 as oci", tarFiles(t, both), false, ""},
	} {
		for _, compressed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s compressed=%t", c.name, compressed), func(t *testing.T) {
				b := c.b
				if compressed {
					b = gz(t, b)
				}
				path := write(t, "image.tar", b)
				src, err := OpenArchive(context.Background(), path+c.ref, c.docker, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := src.(artifact.Sequencer); ok != compressed {
					t.Errorf("sequencer: %t", ok)
				}
				// Part by part as well: a streamed archive is then read up to the layer.
				k := keeper{content: map[string]string{}}
				if _, err := src.ReadPart(context.Background(), 1, &k); err != nil || !maps.Equal(k.content, twoLayersContent("amd64")[1]) {
					t.Errorf("part 1: %v, %d files", err, len(k.content))
				}
				checkImage(t, src, "amd64")
			})
		}
	}

	t.Run("linked layers", func(t *testing.T) {
		// Old versions of docker save write a layer once and link to it.
		same := makeImage(t, "amd64", img.plain[0], img.plain[0])
		var buf bytes.Buffer
		w := tar.NewWriter(&buf)
		put := func(h tar.Header, b []byte) {
			h.Size, h.Mode = int64(len(b)), 0o644
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		put(tar.Header{Name: "aa/layer.tar", Typeflag: tar.TypeReg}, same.plain[0])
		put(tar.Header{Name: "bb/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../aa/layer.tar"}, nil)
		put(tar.Header{Name: "c.json", Typeflag: tar.TypeReg}, same.config)
		put(tar.Header{Name: "manifest.json", Typeflag: tar.TypeReg}, mustJSON(t, []map[string]any{{"Config": "c.json", "Layers": []string{"aa/layer.tar", "bb/layer.tar"}}}))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{buf.Bytes(), gz(t, buf.Bytes())} {
			src, err := OpenArchive(context.Background(), write(t, "image.tar", b), true, Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := readImage(context.Background(), src)
			if err != nil || len(got[0]) != 2 || !maps.Equal(got[0], got[1]) {
				t.Errorf("%v, %v", err, got)
			}
			src.Close()
		}
	})
}

func TestWrongArchives(t *testing.T) {
	noLeak(t)
	img := twoLayers(t, "amd64")
	files := map[string][]byte{
		"c.json":        img.config,
		"aa/layer.tar":  img.plain[0],
		"bb/layer.tar":  img.plain[1],
		"manifest.json": mustJSON(t, []map[string]any{{"Config": "c.json", "Layers": []string{"aa/layer.tar", "bb/layer.tar"}}}),
	}
	change := func(name string, b []byte) []byte {
		f := maps.Clone(files)
		if b == nil {
			delete(f, name)
		} else {
			f[name] = b
		}
		return tarFiles(t, f)
	}
	whole := tarFiles(t, files)
	for _, c := range []struct {
		name string
		b    []byte
		want []string
	}{
		{"no archive", bytes.Repeat([]byte("text "), 1000), []string{"image archive", "not a readable tar archive"}},
		{"no image", tarFiles(t, map[string][]byte{"a": nil}), []string{"this is not an image archive"}},
		{"cut", whole[:len(whole)/2], []string{"image archive", "truncated archive"}},
		{"layer missing", change("aa/layer.tar", nil), []string{"layer 0", "aa/layer.tar is missing"}},
		{"config missing", change("c.json", nil), []string{"image configuration", "c.json is missing"}},
		{"layer replaced", change("bb/layer.tar", img.plain[0]), []string{"layer sha256:", "has the digest"}},
		{"no list", change("manifest.json", []byte("{}")), []string{"manifest.json: not valid"}},
		{"empty list", change("manifest.json", []byte("[]")), []string{"lists no image"}},
		{"two images", change("manifest.json", mustJSON(t, []map[string]any{{"RepoTags": []string{"a:1"}}, {"RepoTags": []string{"b:2"}}})), []string{"several images", "a:1, b:2"}},
		{"wrong name of the configuration", change("manifest.json", mustJSON(t, []map[string]any{{"Config": "x"}})), []string{"x is missing"}},
	} {
		for _, compressed := range []bool{false, true} {
			b := c.b
			if compressed {
				b = gz(t, b)
			}
			path := write(t, "image.tar", b)
			src, err := OpenArchive(context.Background(), path, true, Options{})
			if err == nil {
				_, _, err = readImage(context.Background(), src)
				src.Close()
			}
			if err == nil {
				t.Errorf("%s, compressed %t: no error", c.name, compressed)
				continue
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s, compressed %t: %q does not contain %q", c.name, compressed, err, w)
				}
			}
		}
	}
	cut := gz(t, whole)
	_, err := OpenArchive(context.Background(), write(t, "cut.tar.gz", cut[:len(cut)-20]), true, Options{})
	wantError(t, err, "truncated gzip stream")
}
