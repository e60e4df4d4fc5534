package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/klauspost/compress/zstd"
)

func readBytes(t testing.TB, b Blob, v Visitor) (PartSummary, error) {
	t.Helper()
	return ReadBlob(context.Background(), b, NewBudget(Limits{}), v)
}

func sampleTar(t testing.TB) []byte {
	noise := make([]byte, 300_000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32() >> 24)
	}
	return tarball(t,
		entry{name: "./"},
		entry{name: "./etc/"},
		entry{name: "./etc/os-release", body: "ID=debian\n"},
		entry{name: "usr/bin/noise", body: string(noise), mode: 0o4755},
		entry{name: strings.Repeat("long/", 60) + "name", body: "pax"},
		entry{name: "bin", typ: tar.TypeSymlink, link: "usr/bin"},
		entry{name: "empty"},
	)
}

func TestReadBlobForms(t *testing.T) {
	noLeak(t)
	plain := sampleTar(t)
	half := len(plain) / 2
	skippable := append([]byte{0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	forms := map[string]struct {
		stored    []byte
		mediaType string
	}{
		"tar":             {plain, "application/vnd.oci.image.layer.v1.tar"},
		"gzip":            {gzipBytes(t, plain), "application/vnd.oci.image.layer.v1.tar+gzip"},
		"docker gzip":     {gzipBytes(t, plain), "application/vnd.docker.image.rootfs.diff.tar.gzip"},
		"zstd":            {zstdBytes(t, plain), "application/vnd.oci.image.layer.v1.tar+zstd"},
		"two members":     {append(gzipBytes(t, plain[:half]), gzipBytes(t, plain[half:])...), ""},
		"two frames":      {append(zstdBytes(t, plain[:half]), zstdBytes(t, plain[half:])...), ""},
		"skippable first": {append(skippable, zstdBytes(t, plain)...), ""},
		"skippable last":  {append(zstdBytes(t, plain), skippable...), ""},
	}
	for name, form := range forms {
		t.Run(name, func(t *testing.T) {
			b := blobOf(form.stored, plain)
			b.MediaType = form.mediaType
			v := newRecorder()
			sum, err := readBytes(t, b, v)
			if err != nil {
				t.Fatal(err)
			}
			if sum.Entries != 7 || sum.Files != 4 || sum.Bytes == 0 || len(sum.Problems) != 0 {
				t.Errorf("summary %+v", sum)
			}
			if v.content["etc/os-release"] != "ID=debian\n" || len(v.content["usr/bin/noise"]) != 300_000 || v.content["empty"] != "" {
				t.Errorf("contents differ")
			}
			if f := v.asked["usr/bin/noise"]; f.Mode != fs.ModeSetuid|0o755 || f.Size != 300_000 {
				t.Errorf("usr/bin/noise: %v %d", f.Mode, f.Size)
			}
			if f := v.asked["bin"]; f.Mode&fs.ModeSymlink == 0 || f.Linkname != "usr/bin" {
				t.Errorf("bin: %v %q", f.Mode, f.Linkname)
			}
			if _, ok := v.content[strings.Repeat("long/", 60)+"name"]; !ok {
				t.Errorf("the long name is missing")
			}
		})
	}
}

// A visitor may stop reading anywhere, and may want nothing: the digests are
// verified all the same.
func TestReadBlobPartly(t *testing.T) {
	noLeak(t)
	plain := sampleTar(t)
	var got []string
	v := visitFunc(func(f bollwerk.File, r io.Reader) error {
		b := make([]byte, 3)
		n, _ := io.ReadFull(r, b)
		got = append(got, string(b[:n]))
		return nil
	})
	if _, err := readBytes(t, blobOf(gzipBytes(t, plain), plain), v); err != nil {
		t.Fatal(err)
	}
	if got[0] != "ID=" || got[2] != "pax" {
		t.Errorf("got %q", got)
	}
	b := blobOf(gzipBytes(t, plain), plain)
	b.DiffID = sha([]byte("something else"))
	if _, err := readBytes(t, b, nothing{}); !errors.Is(err, ErrDigest) {
		t.Errorf("wrong diff ID with nothing wanted: %v", err)
	}
}

type visitFunc func(bollwerk.File, io.Reader) error

func (visitFunc) Wants(*bollwerk.File) bool { return true }
func (v visitFunc) Visit(_ context.Context, f bollwerk.File, r io.Reader) error {
	return v(f, r)
}

func TestReadBlobErrors(t *testing.T) {
	plain := sampleTar(t)
	gz, zst := gzipBytes(t, plain), zstdBytes(t, plain)
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 0x40
		return b
	}
	cut := func(b Blob, n int) Blob { // the source ends before its announced size
		open := b.Open
		b.Open = func(ctx context.Context) (io.ReadCloser, error) {
			rc, err := open(ctx)
			return io.NopCloser(io.LimitReader(rc, int64(n))), err
		}
		return b
	}
	unsized := func(b Blob) Blob { b.Size = -1; return b }
	other := sha([]byte("other"))
	cases := []struct {
		name string
		blob Blob
		want string
		is   error
	}{
		{"truncated gzip", cut(blobOf(gz, plain), 1000), fmt.Sprintf("truncated gzip stream at byte 1000 of %d", len(gz)), nil},
		{"truncated gzip of unknown size", unsized(cut(blobOf(gz, plain), 1000)), "truncated gzip stream at byte 1000", nil},
		{"gzip cut in its trailer", unsized(cut(blobOf(gz, plain), len(gz)-3)), "truncated gzip stream", nil},
		{"truncated zstd", cut(blobOf(zst, plain), 1000), fmt.Sprintf("truncated zstd stream at byte 1000 of %d", len(zst)), nil},
		{"truncated zstd of unknown size", unsized(cut(blobOf(zst, plain), 1000)), "truncated zstd stream", nil},
		{"truncated tar", cut(blobOf(plain, plain), 3000), "truncated tar stream at byte 3000", nil},
		{"truncated tar of unknown size", unsized(cut(blobOf(plain, plain), 3000)), "truncated tar archive", nil},
		{"nothing at all", cut(blobOf(gz, plain), 0), "truncated tar stream at byte 0", nil},
		{"longer than announced", func() Blob { b := blobOf(gz, plain); b.Size--; return b }(), fmt.Sprintf("longer than the %d bytes", len(gz)-1), nil},
		{"corrupt gzip", func() Blob { b := blobOf(flip(gz, len(gz)/2), plain); b.Digest = sha(gz); return b }(), "", nil},
		{"corrupt zstd", func() Blob { b := blobOf(flip(zst, len(zst)/2), plain); b.Digest = sha(zst); return b }(), "", nil},
		{"corrupt content of a tar", func() Blob { b := blobOf(flip(plain, 200_000), plain); b.Digest = sha(plain); return b }(), "content has the digest", ErrDigest},
		{"wrong digest", func() Blob { b := blobOf(gz, plain); b.Digest = other; return b }(), "content has the digest " + string(sha(gz)) + ", expected " + string(other), ErrDigest},
		{"wrong diff ID", func() Blob { b := blobOf(gz, plain); b.DiffID = other; return b }(), "uncompressed content has the digest " + string(sha(plain)), ErrDigest},
		{"wrong diff ID, not compressed", func() Blob { b := blobOf(plain, plain); b.DiffID = other; return b }(), "expected " + string(other), ErrDigest},
		{"garbage behind gzip", blobOf(append(bytes.Clone(gz), "garbage garbage"...), plain), "follows the gzip stream", nil},
		{"garbage behind zstd", blobOf(append(bytes.Clone(zst), "garbage garbage"...), plain), "zstd stream", nil},
		{"not a tar", blobOf(bytes.Repeat([]byte("no tar "), 500), bytes.Repeat([]byte("no tar "), 500)), "corrupt tar archive", nil},
		{"not a tar and not what was promised", func() Blob {
			junk := bytes.Repeat([]byte("no tar "), 500)
			b := blobOf(junk, junk)
			b.DiffID = other
			return b
		}(), "has the digest", ErrDigest},
		{"encrypted", func() Blob {
			b := blobOf(gz, plain)
			b.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
			return b
		}(), "encrypted layers cannot be read", nil},
		{"a Helm chart", func() Blob {
			b := blobOf(gz, plain)
			b.MediaType = "application/vnd.wasm.content.layer.v1+wasm"
			return b
		}(), "not a container image", nil},
		{"malformed digest", func() Blob { b := blobOf(gz, plain); b.Digest = "sha256:zz"; return b }(), "lower-case hex", nil},
		{"cannot be opened", func() Blob {
			b := blobOf(gz, plain)
			b.Open = func(context.Context) (io.ReadCloser, error) { return nil, fs.ErrPermission }
			return b
		}(), "permission", fs.ErrPermission},
		{"source fails", func() Blob {
			b := blobOf(gz, plain)
			b.Open = func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(io.MultiReader(bytes.NewReader(gz[:5000]), failing{})), nil
			}
			return b
		}(), "reading at byte 5000: cable cut", errCable},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			_, err := readBytes(t, c.blob, newRecorder())
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), c.blob.Name+": ") {
				t.Errorf("%q does not begin with the layer", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q does not contain %q", err, c.want)
			}
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%q is not %v", err, c.is)
			}
		})
	}
}

var errCable = errors.New("cable cut")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errCable }

// Every single cut and every flipped bit must be noticed.
func TestReadBlobNoSilentDamage(t *testing.T) {
	plain := tarball(t, entry{name: "a", body: "hello"}, entry{name: "b", body: strings.Repeat("x", 2000)})
	for kind, stored := range map[string][]byte{"gzip": gzipBytes(t, plain), "zstd": zstdBytes(t, plain)} {
		b := blobOf(stored, plain)
		for n := range stored {
			short := b
			short.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(stored[:n])), nil }
			if _, err := readBytes(t, short, nothing{}); err == nil {
				t.Errorf("%s cut at %d: no error", kind, n)
			}
			bad := bytes.Clone(stored)
			bad[n] ^= 1
			flipped := b
			flipped.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(bad)), nil }
			if _, err := readBytes(t, flipped, nothing{}); err == nil {
				t.Errorf("%s flipped at %d: no error", kind, n)
			}
		}
	}
}

func TestReadBlobVisitorError(t *testing.T) {
	noLeak(t)
	plain := sampleTar(t)
	boom := errors.New("boom")
	_, err := readBytes(t, blobOf(gzipBytes(t, plain), plain), visitFunc(func(bollwerk.File, io.Reader) error { return boom }))
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "etc/os-release: boom") {
		t.Errorf("got %v", err)
	}
}

func TestReadBlobCancel(t *testing.T) {
	noLeak(t)
	plain := sampleTar(t)
	ctx, cancel := context.WithCancel(context.Background())
	b := blobOf(gzipBytes(t, plain), plain)
	// A source that never delivers, until it is closed.
	r, w := io.Pipe()
	defer w.Close()
	b.Open = func(context.Context) (io.ReadCloser, error) { cancel(); return r, nil }
	if _, err := ReadBlob(ctx, b, NewBudget(Limits{}), nothing{}); err == nil {
		t.Error("a cancelled read succeeded")
	}
}

func TestTrailingDataIsSaid(t *testing.T) {
	plain := append(tarball(t, entry{name: "a", body: "x"}), tarball(t, entry{name: "hidden", body: "y"})...)
	v := newRecorder()
	sum, err := readBytes(t, blobOf(gzipBytes(t, plain), plain), v)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.asked) != 1 {
		t.Errorf("read %v; runtimes stop at the first end", v.paths())
	}
	if len(sum.Problems) != 1 || !strings.Contains(sum.Problems[0].Cause, "behind the end of the tar archive") {
		t.Errorf("problems %+v", sum.Problems)
	}
}

func TestMediaTypeMismatchIsSaid(t *testing.T) {
	plain := sampleTar(t)
	b := blobOf(zstdBytes(t, plain), plain)
	b.MediaType = "application/vnd.oci.image.layer.v1.tar+gzip"
	sum, err := readBytes(t, b, nothing{})
	if err != nil {
		t.Fatal(err)
	}
	if len(sum.Problems) != 1 || sum.Problems[0].Cause != "stored as zstd although its media type says gzip" {
		t.Errorf("problems %+v", sum.Problems)
	}
}

// zeros is an endless stream of them.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bombBlob compresses a tar archive with one file of n zeros.
func bombBlob(t testing.TB, n int64, compress func(io.Writer) io.WriteCloser) Blob {
	t.Helper()
	var buf bytes.Buffer
	z := compress(&buf)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: n, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, n); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	b := blobOf(buf.Bytes(), nil)
	b.DiffID = ""
	return b
}

func zstdWriter(w io.Writer) io.WriteCloser {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // options are constants
	}
	return z
}

func TestBombs(t *testing.T) {
	noLeak(t)
	size := int64(600 << 20)
	if testing.Short() {
		size = 128 << 20
	}
	gz := bombBlob(t, size, gzipWriter)
	zst := bombBlob(t, size, zstdWriter)
	for _, c := range []struct {
		name   string
		blob   Blob
		limits Limits
		want   string
	}{
		{"gzip ratio", gz, Limits{}, "decompression bomb"},
		{"zstd ratio", zst, Limits{}, "decompression bomb"},
		{"layer size", gz, Limits{MaxRatio: 10_000, MaxLayerBytes: 100 << 20}, "larger than 104857600 bytes uncompressed"},
		{"total size", gz, Limits{MaxRatio: 10_000, MaxTotalBytes: 100 << 20}, "in total"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.limits.MaxRatio == 0 {
				t.Skip("the ratio is not looked at before 331 MiB")
			}
			var err error
			grown := peakHeap(func() {
				_, err = ReadBlob(context.Background(), c.blob, NewBudget(c.limits), nothing{})
			})
			if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.blob.Name) {
				t.Errorf("got %v", err)
			}
			if grown > 64<<20 {
				t.Errorf("the heap grew by %d MB", grown>>20)
			}
		})
	}
	t.Run("the same is fine when allowed", func(t *testing.T) {
		sum, err := ReadBlob(context.Background(), gz, NewBudget(Limits{MaxRatio: 2000}), nothing{})
		if err != nil || sum.Bytes < size {
			t.Errorf("%+v, %v", sum, err)
		}
	})
	t.Run("zstd window", func(t *testing.T) {
		plain := sampleTar(t)
		big := zstdBytes(t, bytes.Repeat(plain, 30), zstd.WithWindowSize(8<<20), zstd.WithSingleSegment(false))
		b := blobOf(big, nil)
		b.DiffID = ""
		_, err := ReadBlob(context.Background(), b, NewBudget(Limits{MaxWindow: 1 << 20}), nothing{})
		if !errors.Is(err, ErrLimit) {
			t.Errorf("got %v", err)
		}
	})
}

func TestHostileEntries(t *testing.T) {
	noLeak(t)
	plain := tarball(t,
		entry{name: "../../etc/passwd", body: "evil"},
		entry{name: "a/../../../etc/shadow", body: "evil"},
		entry{name: "a/../b", body: "fine"},
		entry{name: "/abs/name", body: "abs"},
		entry{name: "dev/null", typ: tar.TypeChar},
		entry{name: "dev/sda", typ: tar.TypeBlock},
		entry{name: "run/pipe", typ: tar.TypeFifo},
		entry{name: "loop1", typ: tar.TypeLink, link: "loop2"},
		entry{name: "loop2", typ: tar.TypeLink, link: "loop1"},
		entry{name: "self", typ: tar.TypeLink, link: "self"},
		entry{name: "dangling", typ: tar.TypeLink, link: "../nowhere"},
		entry{name: "up", typ: tar.TypeSymlink, link: "../../../../etc/passwd"},
		entry{name: "x/" + strings.Repeat("n", 5000), body: "long"},
	)
	v := newRecorder()
	sum, err := readBytes(t, blobOf(plain, plain), v)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"etc/passwd": "evil", "etc/shadow": "evil", "b": "fine", "abs/name": "abs"}
	if !maps.Equal(v.content, want) {
		t.Errorf("content %v", v.content)
	}
	for path, f := range v.asked {
		if strings.HasPrefix(path, "/") || strings.Contains(path, "..") {
			t.Errorf("asked for %q", path)
		}
		if strings.HasPrefix(path, "dev/") && f.Mode&fs.ModeDevice == 0 {
			t.Errorf("%s: mode %v", path, f.Mode)
		}
	}
	causes := map[string]int{}
	for _, p := range sum.Problems {
		causes[p.Cause] += p.Count
	}
	for cause, n := range map[string]int{
		"name leads out of the root; read as the path that remains inside, as container runtimes do": 2,
		"hard link without a file at its end, content not read":                                      3, // the loop and the dangling one
		"hard link to itself":                   1,
		"name longer than 4096 bytes, not read": 1,
	} {
		if causes[cause] != n {
			t.Errorf("%q: %d times, want %d; all: %v", cause, causes[cause], n, causes)
		}
	}
}

func TestHardLinks(t *testing.T) {
	noLeak(t)
	plain := tarball(t,
		entry{name: "store/ab", body: "content"},
		entry{name: "node_modules/x/package.json", typ: tar.TypeLink, link: "./store/ab"},
		entry{name: "node_modules/y/package.json", typ: tar.TypeLink, link: "store/ab"},
		entry{name: "seen/package.json", body: "seen"},
		entry{name: "also/package.json", typ: tar.TypeLink, link: "seen/package.json"},
		entry{name: "chain", typ: tar.TypeLink, link: "store/ab"},
		entry{name: "z/package.json", typ: tar.TypeLink, link: "chain"},
	)
	v := newRecorder()
	v.wants = func(f *bollwerk.File) bool { return strings.HasSuffix(f.Path, "package.json") }
	opened := 0
	b := blobOf(gzipBytes(t, plain), plain)
	open := b.Open
	b.Open = func(ctx context.Context) (io.ReadCloser, error) { opened++; return open(ctx) }
	sum, err := readBytes(t, b, v)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"node_modules/x/package.json": "content", "seen/package.json": "seen"}; !maps.Equal(v.content, want) {
		t.Errorf("content %v", v.content)
	}
	if want := map[string]string{"node_modules/y/package.json": "node_modules/x/package.json", "z/package.json": "node_modules/x/package.json", "also/package.json": "seen/package.json"}; !maps.Equal(v.linked, want) {
		t.Errorf("linked %v", v.linked)
	}
	if opened != 2 || len(sum.Problems) != 0 || sum.Entries != 7 {
		t.Errorf("opened %d times, %+v", opened, sum)
	}
}

func TestTooManyEntries(t *testing.T) {
	noLeak(t)
	plain := tarball(t, entry{name: "a"}, entry{name: "b"}, entry{name: "c"})
	_, err := ReadBlob(context.Background(), blobOf(plain, plain), NewBudget(Limits{MaxEntries: 2}), nothing{})
	if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "more than 2 entries") {
		t.Errorf("got %v", err)
	}
}

func TestReadAll(t *testing.T) {
	noLeak(t)
	good := sampleTar(t)
	src := &fakeSource{blobs: []Blob{blobOf(good, good), blobOf(gzipBytes(t, good), good), blobOf(zstdBytes(t, good), good)}}
	seen := make([]*recorder, 3)
	sums, err := ReadAll(context.Background(), src, 2, func(p int) (Visitor, bool) {
		seen[p] = newRecorder()
		return seen[p], p == 1
	})
	if err != nil {
		t.Fatal(err)
	}
	if sums[0].Entries != 7 || sums[1].Entries != 0 || sums[2].Entries != 7 || len(seen[1].asked) != 0 {
		t.Errorf("summaries %+v", sums)
	}
	if got := largestFirst(src); !slices.Equal(got, []int{0, 2, 1}) && !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("order %v", got)
	}

	bad := src.blobs[1]
	bad.DiffID = sha(nil)
	src.blobs[1] = bad
	if _, err := ReadAll(context.Background(), src, 2, func(int) (Visitor, bool) { return newRecorder(), false }); !errors.Is(err, ErrDigest) || !strings.HasPrefix(err.Error(), "layer sha256:") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ReadAll(ctx, src, 2, func(int) (Visitor, bool) { return newRecorder(), false }); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

type fakeSource struct{ blobs []Blob }

func (s *fakeSource) Artifact() bollwerk.Artifact {
	var a bollwerk.Artifact
	for i, b := range s.blobs {
		a.Layers = append(a.Layers, bollwerk.Layer{Index: i, Digest: b.Digest, DiffID: b.DiffID, Size: b.Size})
	}
	return a
}
func (s *fakeSource) Parts() int   { return len(s.blobs) }
func (s *fakeSource) Close() error { return nil }
func (s *fakeSource) ReadPart(ctx context.Context, part int, v Visitor) (PartSummary, error) {
	return ReadBlob(ctx, s.blobs[part], NewBudget(Limits{}), v)
}
