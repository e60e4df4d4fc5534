package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// entry is one tar entry of a test: a header and the content of a regular file.
type entry struct {
	name string
	body string
	typ  byte // 0: regular, or directory when the name ends in a slash
	link string
	mode int64
}

func tarball(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.typ, Linkname: e.link, Mode: e.mode, Size: int64(len(e.body)), ModTime: time.Unix(1_700_000_000, 0)}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			if strings.HasSuffix(e.name, "/") {
				h.Typeflag = tar.TypeDir
			}
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func gzipBytes(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstdBytes(t testing.TB, b []byte, o ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, o...)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func sha(b []byte) bollwerk.Digest {
	s := sha256.Sum256(b)
	return bollwerk.Digest("sha256:" + hex.EncodeToString(s[:]))
}

// blobOf makes a blob whose digests are right.
func blobOf(stored, plain []byte) Blob {
	return Blob{Name: "layer " + string(sha(stored)), Digest: sha(stored), DiffID: sha(plain), Size: int64(len(stored)),
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(stored)), nil }}
}

// recorder is a visitor that keeps what it is shown.
type recorder struct {
	wants   func(*bollwerk.File) bool // nil: everything
	asked   map[string]bollwerk.File
	content map[string]string
	linked  map[string]string
	sizes   map[string]int64
	order   []string
}

func newRecorder() *recorder {
	return &recorder{asked: map[string]bollwerk.File{}, content: map[string]string{}, linked: map[string]string{}, sizes: map[string]int64{}}
}

func (r *recorder) Wants(f *bollwerk.File) bool {
	r.asked[f.Path] = *f
	r.order = append(r.order, f.Path)
	return r.wants == nil || r.wants(f)
}

func (r *recorder) Visit(_ context.Context, f bollwerk.File, c io.Reader) error {
	b, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	r.content[f.Path] = string(b)
	r.sizes[f.Path] = f.Size
	return nil
}

func (r *recorder) Linked(f bollwerk.File, target string) bool {
	r.linked[f.Path] = target
	return true
}

func (r *recorder) paths() []string { return slices.Sorted(maps.Keys(r.asked)) }

// nothing is a visitor that wants nothing: the cost of reading alone.
type nothing struct{}

func (nothing) Wants(*bollwerk.File) bool                             { return false }
func (nothing) Visit(context.Context, bollwerk.File, io.Reader) error { return nil }

// noLeak fails the test if it leaves goroutines behind.
func noLeak(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(5 * time.Second)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				buf := make([]byte, 64<<10)
				t.Errorf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
				return
			}
			runtime.Gosched()
		}
	})
}

// peakHeap runs f and returns by how many bytes the heap in use grew at most,
// sampled every millisecond.
func peakHeap(f func()) int64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() int64 {
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	runtime.GC()
	base := read()
	stop, done := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		peak := base
		for {
			select {
			case <-tick.C:
				peak = max(peak, read())
			case <-stop:
				done <- max(peak, read())
				return
			}
		}
	}()
	f()
	close(stop)
	return <-done - base
}

func gzipWriter(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
