package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/bollwerk/bollwerk"
)

// maxResident bounds the memory of the program on any input, in bytes: the same as for
// an image of 1.4 GB. It holds the pages of the database that were looked at, and those
// of the program itself.
const maxResident = 250 << 20

// sandbox is the real program with folders of its own.
type sandbox struct {
	exe, work, cache, tmp string
	peak                  string // file; see recordPeak
}

func newSandbox(t *testing.T) *sandbox {
	t.Helper()
	exe, err := exec.LookPath("bollwerk") // TestMain put the test binary there
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &sandbox{exe: exe, work: filepath.Join(dir, "work"), cache: filepath.Join(dir, "cache"), tmp: filepath.Join(dir, "tmp"), peak: filepath.Join(dir, "peak")}
	for _, d := range []string{p.work, p.cache, p.tmp} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *sandbox) command(args ...string) *exec.Cmd {
	c := exec.Command(p.exe, args...)
	c.Dir = p.work
	c.Env = append(os.Environ(), "BOLLWERK_DB="+os.Getenv("BOLLWERK_TEST_DB"), "BOLLWERK_CACHE_DIR="+p.cache,
		"TMPDIR="+p.tmp, "HOME="+p.work, "DOCKER_CONFIG="+p.work, "BOLLWERK_TEST_PEAK="+p.peak)
	return c
}

// outcome is how the program ended.
type outcome struct {
	code           int
	stdout, stderr string
	resident       int64 // bytes at the peak
	took           time.Duration
}

// scan runs `bollwerk scan --format json` with a bound of time, and checks what holds
// of every scan: bounded memory, nothing left behind.
func (p *sandbox) scan(t *testing.T, args ...string) outcome {
	t.Helper()
	c := p.command(append([]string{"scan", "--format", "json"}, args...)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	start := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(2*time.Minute, func() { c.Process.Kill() })
	err := c.Wait()
	late.Stop()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	o := outcome{code: c.ProcessState.ExitCode(), stdout: out.String(), stderr: errs.String(), took: time.Since(start)}
	kib, err := os.ReadFile(p.peak)
	if err != nil {
		t.Fatalf("the program did not come to its end: %v: %s", err, o.stderr)
	}
	n, err := strconv.ParseInt(string(kib), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	o.resident = n << 10
	if o.resident > maxResident*memoryFactor {
		t.Errorf("%v took %d MB of memory, bound %d", args, o.resident>>20, maxResident*memoryFactor>>20)
	}
	if strings.Contains(o.stderr, "panic") || strings.Contains(o.stderr, "goroutine ") {
		t.Errorf("%v panicked: %s", args, o.stderr)
	}
	p.tidy(t)
	t.Logf("%v: exit %d, %d MB, %s %s", args, o.code, o.resident>>20, o.took.Round(time.Millisecond), strings.TrimSpace(o.stderr))
	return o
}

func (p *sandbox) tidy(t *testing.T) {
	t.Helper()
	for _, d := range []string{p.tmp, p.cache} {
		if err := tidy(d); err != nil {
			t.Error(err)
		}
	}
}

// fails: the scan could not be done, says why, and prints no result.
func (o outcome) fails(t *testing.T, says ...string) {
	t.Helper()
	if o.code != exitFailed || o.stdout != "" {
		t.Errorf("exit %d, want %d and no result; stdout %.300q", o.code, exitFailed, o.stdout)
	}
	for _, s := range says {
		if !strings.Contains(o.stderr, s) {
			t.Errorf("no %q in %s", s, o.stderr)
		}
	}
}

// result is that of a scan that was done.
func (o outcome) result(t *testing.T) *bollwerk.Result {
	t.Helper()
	if o.code != exitClean && o.code != exitFindings {
		t.Fatalf("exit %d: %s", o.code, o.stderr)
	}
	r, err := readResult(o.stdout)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// admits: what could not be read is said: by the exit code, or by a row of the
// coverage that names it. Silence would be a clean result.
func (o outcome) admits(t *testing.T, name string) {
	t.Helper()
	if o.code == exitFailed {
		if !strings.Contains(o.stderr, name) || o.stdout != "" {
			t.Errorf("exit %d with stdout %.200q and stderr %q", o.code, o.stdout, o.stderr)
		}
		return
	}
	for _, row := range o.result(t).Coverage {
		if row.Verdict == bollwerk.Pass || row.Area == "database" || row.Area == "standards" {
			continue
		}
		if strings.Contains(row.Cause+strings.Join(row.Examples, "\n"), name) {
			return
		}
	}
	t.Errorf("exit %d, and no coverage row names %s: %.600s", o.code, name, o.stdout)
}

const lockFile = `{"name": "shop", "version": "1.0.0", "lockfileVersion": 3, "packages": {
  "": {"name": "shop", "version": "1.0.0", "dependencies": {"minimist": "1.2.0"}},
  "node_modules/minimist": {"version": "1.2.0"}}}`

func (p *sandbox) file(t *testing.T, name string, content []byte) string {
	t.Helper()
	full := filepath.Join(p.work, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return full
}

func sha(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// tarOf writes an archive; a nil write makes one with a lock file.
func tarOf(t *testing.T, write func(*tar.Writer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if write == nil {
		write = func(w *tar.Writer) error { return addFile(w, "srv/package-lock.json", []byte(lockFile)) }
	}
	if err := write(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func addFile(w *tar.Writer, name string, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func gzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// rawImage is an image with one layer, every byte of which a test may choose.
type rawImage struct {
	stored []byte // as in the store
	digest string // "": that of stored
	diffID string // "": that of plain
	plain  []byte
	size   int64 // claimed; 0: that of stored
}

// documents are the configuration and the manifest.
func (i rawImage) documents(t *testing.T) (layer string, config, manifest []byte) {
	t.Helper()
	if i.digest == "" {
		i.digest = sha(i.stored)
	}
	if i.diffID == "" {
		i.diffID = sha(i.plain)
	}
	if i.size == 0 {
		i.size = int64(len(i.stored))
	}
	marshal := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	config = marshal(map[string]any{"os": "linux", "architecture": "amd64", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{i.diffID}}})
	manifest = marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha(config), "size": len(config)},
		"layers": []any{map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": i.digest, "size": i.size}}})
	return i.digest, config, manifest
}

// layout writes the image below the work folder and returns the target.
func (p *sandbox) layout(t *testing.T, i rawImage) string {
	t.Helper()
	layer, config, manifest := i.documents(t)
	blob := func(digest string, b []byte) {
		p.file(t, "image/blobs/sha256/"+strings.TrimPrefix(digest, "sha256:"), b)
	}
	if i.stored != nil {
		blob(layer, i.stored)
	}
	blob(sha(config), config)
	blob(sha(manifest), manifest)
	p.file(t, "image/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	p.file(t, "image/index.json", fmt.Appendf(nil, `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d}]}`, sha(manifest), len(manifest)))
	return "oci:image"
}

// TestDamagedLayers: whatever is wrong with a layer, there is no result, and the error
// names the layer.
func TestDamagedLayers(t *testing.T) {
	plain := tarOf(t, func(w *tar.Writer) error {
		if err := addFile(w, "srv/package-lock.json", []byte(lockFile)); err != nil {
			return err
		}
		noise := make([]byte, 1<<20) // so that half of the layer is not all of it
		for i := range noise {
			noise[i] = byte(i * i >> 7)
		}
		return addFile(w, "srv/noise", noise)
	})
	whole := gzipped(t, plain)
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	other := gzipped(t, tarOf(t, nil))
	short := func(d string) string { return strings.TrimPrefix(d, "sha256:")[:12] }

	for name, c := range map[string]struct {
		image rawImage
		says  []string
	}{
		"truncated gzip":    {rawImage{stored: whole[:len(whole)/2], plain: plain}, []string{short(sha(whole[:len(whole)/2])), "truncated"}},
		"shorter than said": {rawImage{stored: whole[:len(whole)/2], digest: sha(whole), size: int64(len(whole)), plain: plain}, []string{short(sha(whole))}},
		"longer than said":  {rawImage{stored: append(bytes.Clone(whole), 0), digest: sha(whole), size: int64(len(whole)), plain: plain}, []string{short(sha(whole))}},
		"flipped bit":       {rawImage{stored: flipped, digest: sha(whole), plain: plain}, []string{short(sha(whole))}},
		"another layer":     {rawImage{stored: other, digest: sha(whole), size: int64(len(other)), plain: plain}, []string{short(sha(whole)), "digest"}},
		"wrong diff ID":     {rawImage{stored: whole, plain: plain, diffID: sha([]byte("other"))}, []string{short(sha(whole)), "uncompressed content"}},
		"missing":           {rawImage{digest: sha(whole), size: int64(len(whole)), plain: plain}, []string{short(sha(whole))}},
		"no tar":            {rawImage{stored: gzipped(t, []byte(strings.Repeat("no archive ", 1000))), plain: []byte(strings.Repeat("no archive ", 1000))}, []string{"layer"}},
		"no gzip":           {rawImage{stored: []byte("<html>not found</html>"), plain: []byte("<html>not found</html>")}, []string{"layer"}},
		"empty":             {rawImage{stored: []byte{}, plain: nil}, []string{"layer"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newSandbox(t)
			target := p.layout(t, c.image)
			p.scan(t, target).fails(t, c.says...)
			// Nothing of it got into the cache: the second scan fails, too.
			p.scan(t, target).fails(t, c.says...)
		})
	}
}

// bomb is a gzip stream of n MiB of zeros behind head: members of a gzip stream may be
// repeated (RFC 1952, section 2.2).
func bomb(t *testing.T, head []byte, n int) []byte {
	t.Helper()
	const step = 16
	zeros := gzipped(t, make([]byte, step<<20))
	out := gzipped(t, head)
	for range n / step {
		out = append(out, zeros...)
	}
	return out
}

func TestDecompressionBomb(t *testing.T) {
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	mib := 4096
	if testing.Short() {
		mib = 512 // the ratio is not looked at before 331
	}
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: int64(mib) << 20, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	stored := bomb(t, head.Bytes(), mib)
	if len(stored) > 8<<20 {
		t.Fatalf("the bomb takes %d bytes", len(stored))
	}
	p := newSandbox(t)
	p.scan(t, p.layout(t, rawImage{stored: stored, diffID: sha(nil)})).fails(t, "decompression bomb", sha(stored)[7:19])
}

// TestHostileEntries: names and links that lead out of the image, loops, devices. What
// is harmless beside them is found all the same.
func TestHostileEntries(t *testing.T) {
	plain := tarOf(t, func(w *tar.Writer) error {
		evil := strings.ReplaceAll(lockFile, "minimist", "lodash")
		for _, name := range []string{"../../outside/package-lock.json", "a/../../outside2/package-lock.json"} {
			if err := addFile(w, name, []byte(evil)); err != nil {
				return err
			}
		}
		for _, h := range []tar.Header{
			{Name: "etc/os-release", Linkname: "/../../../etc/os-release", Typeflag: tar.TypeSymlink},
			{Name: "var/lib/dpkg/status", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink},
			{Name: "loop/a", Linkname: "b", Typeflag: tar.TypeSymlink},
			{Name: "loop/b", Linkname: "a", Typeflag: tar.TypeSymlink},
			{Name: "loop/package-lock.json", Linkname: "package-lock.json", Typeflag: tar.TypeSymlink},
			{Name: "loop/self", Linkname: "loop/self", Typeflag: tar.TypeLink},
			{Name: "hard/package-lock.json", Linkname: "../../../../etc/hostname", Typeflag: tar.TypeLink},
			{Name: "dev/package-lock.json", Devmajor: 1, Devminor: 5, Typeflag: tar.TypeChar},
			{Name: "dev/sda", Devmajor: 8, Typeflag: tar.TypeBlock},
			{Name: "dev/fifo", Typeflag: tar.TypeFifo},
			{Name: "\x1b[2Jname\nwith\rcontrol", Typeflag: tar.TypeReg},
		} {
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
		}
		return addFile(w, "srv/package-lock.json", []byte(lockFile))
	})
	p := newSandbox(t)
	o := p.scan(t, p.layout(t, rawImage{stored: gzipped(t, plain), plain: plain}))
	r := o.result(t)
	var found bool
	for i := range r.Packages {
		pkg := &r.Packages[i]
		found = found || pkg.Name == "minimist"
		for _, where := range pkg.Paths {
			if strings.Contains(where, "..") || strings.HasPrefix(where, "/") {
				t.Errorf("%s lies outside: %q", pkg.PURL, where)
			}
		}
	}
	if !found {
		t.Errorf("minimist was not found: %v", r.Packages)
	}
	if strings.ContainsAny(o.stdout+o.stderr, "\x1b\r") {
		t.Error("control characters reach the terminal")
	}
}

func TestManyEntries(t *testing.T) {
	if testing.Short() {
		t.Skip("200,000 entries")
	}
	plain := tarOf(t, func(w *tar.Writer) error {
		for i := range 200_000 {
			if err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("d%d/package.json", i), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
				return err
			}
		}
		return addFile(w, "srv/package-lock.json", []byte(lockFile))
	})
	p := newSandbox(t)
	stored := gzipped(t, plain)
	r := p.scan(t, p.layout(t, rawImage{stored: stored, plain: plain})).result(t)
	if len(r.Packages) == 0 {
		t.Error("the lock file behind the others was not found")
	}
}

// sparseHeader is a header of the old GNU format for sparse files (tar(5), "GNU tar
// Archives"): it says that a file is size bytes long, and stores none of them.
func sparseHeader(name string, size int64) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x00")
	copy(b[108:], "0000000\x00")
	copy(b[116:], "0000000\x00")
	copy(b[124:], "00000000000\x00") // stored bytes
	copy(b[136:], "00000000000\x00")
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	copy(b[386:], fmt.Sprintf("%011o\x00%011o\x00", int64(1<<33-1), 0)) // one hole up to the end
	copy(b[483:], fmt.Sprintf("%012o", size))
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// TestSparseFiles: ten gigabytes that take no room in the archive must take none in
// memory, and no time.
func TestSparseFiles(t *testing.T) {
	rest := tarOf(t, nil)
	for _, name := range []string{"srv/package-lock.json", "var/lib/dpkg/status", "app.jar"} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			plain := append(sparseHeader(name, 8<<30-1), rest...)
			p := newSandbox(t)
			o := p.scan(t, p.layout(t, rawImage{stored: gzipped(t, plain), plain: plain}))
			o.admits(t, filepath.Base(name))
			if o.took > time.Minute {
				t.Errorf("it took %s", o.took)
			}
		})
	}
	t.Run("ten gigabytes that do not come", func(t *testing.T) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: "srv/package-lock.json", Mode: 0o644, Size: 10 << 30, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		b.Write(make([]byte, 4096))
		p := newSandbox(t)
		p.scan(t, p.layout(t, rawImage{stored: gzipped(t, b.Bytes()), plain: b.Bytes()})).fails(t, "truncated")
	})
}

// TestHostileFiles scans directories that hold one hostile file. None of them may end
// as clean, and none may take memory without bound.
func TestHostileFiles(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 3_000_000)
	jar := func(depth int) []byte {
		content, name := []byte("Manifest-Version: 1.0\n"), "META-INF/MANIFEST.MF"
		for range depth {
			var b bytes.Buffer
			w := zip.NewWriter(&b)
			f, err := w.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			content, name = b.Bytes(), "inner.jar"
		}
		return content
	}
	aliases := "lockfileVersion: '9.0'\na: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'k'; c++ {
		aliases += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.Repeat("*"+string(c-1)+",", 9)+"*"+string(c-1))
	}
	aliases += "packages: *k\n"
	for name, c := range map[string]struct {
		file    string
		content func() []byte
	}{
		"deep JSON":          {"package-lock.json", func() []byte { return []byte(deep) }},
		"deep JSON in place": {"package-lock.json", func() []byte { return []byte(`{"name":"x","lockfileVersion":3,"packages":` + deep) }},
		"long string":        {"package-lock.json", func() []byte { return []byte(`{"name":"` + strings.Repeat("a", 64<<20) + `"}`) }},
		"cut off":            {"package-lock.json", func() []byte { return []byte(lockFile[:len(lockFile)/2]) }},
		"binary":             {"package-lock.json", func() []byte { return bytes.Repeat([]byte{0, 0xff}, 1<<16) }},
		"aliases":            {"pnpm-lock.yaml", func() []byte { return []byte(aliases) }},
		"deep YAML":          {"pnpm-lock.yaml", func() []byte { return []byte("lockfileVersion: '9.0'\npackages: " + strings.Repeat("[", 1_000_000)) }},
		"deep TOML":          {"Cargo.lock", func() []byte { return []byte("a = " + strings.Repeat("[", 1_000_000)) }},
		"deep XML":           {"pom.xml", func() []byte { return []byte(strings.Repeat("<a>", 1_000_000)) }},
		"XML entities": {"pom.xml", func() []byte {
			return []byte(`<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><project>&b;</project>`)
		}},
		"jars in jars":        {"app.jar", func() []byte { return jar(60) }},
		"damaged jar":         {"app.jar", func() []byte { b := jar(3); return b[:len(b)-10] }},
		"damaged rpm":         {"var/lib/rpm/rpmdb.sqlite", func() []byte { return append([]byte("SQLite format 3\x00"), bytes.Repeat([]byte{0xff}, 8192)...) }},
		"endless requirement": {"requirements.txt", func() []byte { return bytes.Repeat([]byte("a"), 40<<20) }},
	} {
		t.Run(name, func(t *testing.T) {
			content := c.content()
			if testing.Short() && len(content) > 1<<20 {
				t.Skip("megabytes for one goroutine")
			}
			p := newSandbox(t)
			p.file(t, "dir/"+c.file, content)
			o := p.scan(t, "./dir")
			o.admits(t, filepath.Base(c.file))
			if o.took > time.Minute {
				t.Errorf("it took %s", o.took)
			}
			// Beside something harmless it must be said, too, and must not hide that.
			p.file(t, "dir/other/package-lock.json", []byte(lockFile))
			o = p.scan(t, "./dir")
			o.admits(t, filepath.Base(c.file))
			if o.code != exitFindings {
				t.Errorf("exit %d: minimist is not reported", o.code)
			}
		})
	}
}

func TestHostileSBOM(t *testing.T) {
	many := func(n int, item string) string { return strings.TrimSuffix(strings.Repeat(item+",", n), ",") }
	nested := strings.Repeat(`{"type":"library","name":"a","version":"1","components":[`, 100_000)
	for name, text := range map[string]string{
		"deep":       `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + nested,
		"deep value": `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":` + strings.Repeat(`[`, 5_000_000),
		"deep SPDX":  `{"spdxVersion":"SPDX-2.3","packages":[{"x":` + strings.Repeat(`[`, 5_000_000),
		"deep XML":   `<bom xmlns="http://cyclonedx.org/schema/bom/1.6">` + strings.Repeat("<components><component>", 200_000),
		"not JSON":   `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[}`,
		"wrong type": `{"bomFormat":"CycloneDX","specVersion":"1.6","components":"none"}`,
		"huge count": `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[` + many(3_000_000, `{"name":"a"}`) + `]}`,
		"long name":  `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"` + strings.Repeat("a", 64<<20) + `","version":"1"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && len(text) > 1<<20 {
				t.Skip("megabytes for one goroutine")
			}
			p := newSandbox(t)
			p.file(t, "bom", []byte(text))
			o := p.scan(t, "sbom:bom")
			if o.code != exitFailed && o.code != exitNothing {
				if r := o.result(t); r.Verdict == bollwerk.Pass {
					t.Errorf("clean: %.400s", o.stdout)
				}
			} else if !strings.Contains(o.stderr, "bom") {
				t.Errorf("the error does not name the file: %s", o.stderr)
			}
		})
	}
}

// wildRegistry answers for one image, the way a test wants it.
type wildRegistry struct {
	*httptest.Server
	layer string // digest
}

// newWildRegistry serves an image; blob, if set, answers requests for the layer.
func newWildRegistry(t *testing.T, i rawImage, blob http.HandlerFunc) *wildRegistry {
	t.Helper()
	layer, config, manifest := i.documents(t)
	if blob == nil {
		blob = func(w http.ResponseWriter, _ *http.Request) { w.Write(i.stored) }
	}
	r := &wildRegistry{layer: layer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch {
		case req.URL.Path == "/v2/":
		case strings.Contains(req.URL.Path, "/manifests/"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Write(manifest)
		case strings.HasSuffix(req.URL.Path, sha(config)):
			w.Write(config)
		default:
			blob(w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *wildRegistry) target() string { return strings.TrimPrefix(r.URL, "http://") + "/shop:1" }

// TestHostileRegistry: a registry that lies or falls silent is an error within the time
// that --stall allows.
func TestHostileRegistry(t *testing.T) {
	plain := tarOf(t, nil)
	image := rawImage{stored: gzipped(t, plain), plain: plain}
	digest := sha(image.stored)[7:19]
	release := make(chan struct{})
	for name, c := range map[string]struct {
		blob http.HandlerFunc
		says []string
	}{
		"stalls before the first byte": {func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}, nil},
		"stalls in the middle": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(image.stored)))
			w.Write(image.stored[:len(image.stored)/2])
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}, nil},
		"stops in the middle": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(image.stored)))
			w.Write(image.stored[:len(image.stored)/2])
		}, []string{digest}},
		"sends less":  {func(w http.ResponseWriter, _ *http.Request) { w.Write(image.stored[:len(image.stored)/2]) }, []string{digest}},
		"sends more":  {func(w http.ResponseWriter, _ *http.Request) { w.Write(append(bytes.Clone(image.stored), 1, 2, 3)) }, []string{digest}},
		"sends other": {func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("x"), len(image.stored))) }, []string{digest}},
		"redirects forever": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, []string{"redirect"}},
		"refuses":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, []string{digest}},
		"is broken":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, nil},
		"has no such": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, []string{digest}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newWildRegistry(t, image, c.blob)
			p := newSandbox(t)
			o := p.scan(t, "--insecure", "--stall", "400ms", r.target())
			o.fails(t, c.says...)
			if o.stderr == "" || o.took > 30*time.Second {
				t.Errorf("after %s: %q", o.took, o.stderr)
			}
		})
	}
	close(release)
	t.Run("is honest", func(t *testing.T) {
		p := newSandbox(t)
		if o := p.scan(t, "--insecure", newWildRegistry(t, image, nil).target()); o.code != exitFindings {
			t.Errorf("exit %d: %s", o.code, o.stderr)
		}
	})
}

// TestInterrupt: Ctrl-C in the middle of a layer ends the scan at once, and nothing of
// it stays.
func TestInterrupt(t *testing.T) {
	plain := tarOf(t, nil)
	image := rawImage{stored: gzipped(t, plain), plain: plain, size: 1 << 30}
	release := make(chan struct{})
	defer close(release)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		inside := make(chan struct{})
		var once sync.Once
		r := newWildRegistry(t, image, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(1<<30))
			w.Write(image.stored[:len(image.stored)-20])
			w.(http.Flusher).Flush()
			once.Do(func() { close(inside) })
			select {
			case <-r.Context().Done():
			case <-release:
			}
		})
		p := newSandbox(t)
		output := filepath.Join(p.work, "result.json")
		c := p.command("scan", "--insecure", "--format", "json", "--output", output, r.target())
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		<-inside
		start := time.Now()
		if err := c.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		context.AfterFunc(ctx, func() { c.Process.Kill() })
		err := c.Wait()
		cancel()
		if code := c.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(errs.String(), "stopped") {
			t.Errorf("%s: %v, exit %d: %s", sig, err, code, errs.String())
		}
		t.Logf("%s: stopped after %s", sig, time.Since(start).Round(time.Millisecond))
		p.tidy(t)
		entries, err := os.ReadDir(p.work)
		if err != nil || len(entries) > 0 {
			t.Errorf("left behind: %v %v", entries, err)
		}
		if layers, err := os.ReadDir(filepath.Join(p.cache, "layers")); err == nil && len(layers) > 0 {
			t.Errorf("half a layer is in the cache: %v", layers)
		}
	}
}

// TestSameAnswer: the same directory gives the same result, whichever goroutine is first.
func TestSameAnswer(t *testing.T) {
	p := newSandbox(t)
	for i, name := range []string{"a", "b", "b/c", "d/e/f", "g"} {
		p.file(t, "dir/"+name+"/package-lock.json", []byte(lockFile))
		p.file(t, "dir/"+name+"/requirements.txt", fmt.Appendf(nil, "django==3.2.%d\nflask==0.12\n", i))
		p.file(t, "dir/"+name+"/Cargo.lock", []byte("version = 3\n[[package]]\nname = \"time\"\nversion = \"0.1.40\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n"))
		p.file(t, "dir/"+name+"/.env", []byte("TOKEN="+githubToken(name)+"\n"))
		p.file(t, "dir/"+name+"/pnpm-lock.yaml", []byte("{"))
	}
	runs := 20
	if testing.Short() {
		runs = 4
	}
	first := ""
	for range runs {
		o := p.scan(t, "./dir")
		if o.code != exitFindings {
			t.Fatalf("exit %d: %s", o.code, o.stderr)
		}
		got, err := timeless(o.stdout)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = got
		}
		if got != first {
			t.Fatalf("another answer: %s", firstDifference(first, got))
		}
	}
}

// TestDatabaseInPieces: a database that was damaged anywhere is refused, or answers as
// before; it never crashes the program and never makes a scan clean.
func TestDatabaseInPieces(t *testing.T) {
	whole, err := os.ReadFile(os.Getenv("BOLLWERK_TEST_DB"))
	if err != nil {
		t.Fatal(err)
	}
	p := newSandbox(t)
	p.file(t, "dir/package-lock.json", []byte(lockFile))
	for name, change := range map[string]func([]byte) []byte{
		"half":         func(b []byte) []byte { return b[:len(b)/2] },
		"one byte off": func(b []byte) []byte { return b[:len(b)-1] },
		"longer":       func(b []byte) []byte { return append(b, 0) },
		"header":       func(b []byte) []byte { b[9] ^= 0xff; return b },
		"zeros":        func(b []byte) []byte { clear(b[len(b)/3:]); return b },
		"all zeros":    func(b []byte) []byte { clear(b); return b },
		"empty":        func([]byte) []byte { return nil },
	} {
		file := p.file(t, "damaged.db", change(bytes.Clone(whole)))
		o := p.scan(t, "--db", file, "./dir")
		if o.code == exitFailed {
			o.fails(t, "damaged.db", "bollwerk db")
			continue
		}
		if o.code != exitFindings {
			t.Errorf("%s: exit %d: %s", name, o.code, o.stderr)
		}
	}
}
