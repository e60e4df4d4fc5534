package artifact

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/klauspost/compress/gzip"
)

// benchLayers packs what is below /usr of this machine into three gzip layers of
// different size, some hundred megabytes uncompressed, once per run.
func benchLayers(b *testing.B) *fakeSource {
	b.Helper()
	dir := b.TempDir()
	src := &fakeSource{}
	for _, l := range []struct {
		root string
		max  int64
	}{{"/usr/lib", 300 << 20}, {"/usr/share", 120 << 20}, {"/usr/bin", 120 << 20}} {
		name := filepath.Join(dir, filepath.Base(l.root)+".tar.gz")
		stored, plain := sha256.New(), sha256.New()
		f, err := os.Create(name)
		if err != nil {
			b.Fatal(err)
		}
		z, err := gzip.NewWriterLevel(io.MultiWriter(f, stored), 5)
		if err != nil {
			b.Fatal(err)
		}
		packTree(b, io.MultiWriter(z, plain), l.root, l.max)
		if err := z.Close(); err != nil {
			b.Fatal(err)
		}
		fi, err := f.Stat()
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		src.blobs = append(src.blobs, Blob{Name: "layer " + l.root, Size: fi.Size(),
			Digest: hexDigest(stored), DiffID: hexDigest(plain),
			Open: func(context.Context) (io.ReadCloser, error) { return os.Open(name) }})
	}
	return src
}

func hexDigest(h interface{ Sum([]byte) []byte }) bollwerk.Digest {
	const digits = "0123456789abcdef"
	out := []byte("sha256:")
	for _, c := range h.Sum(nil) {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return bollwerk.Digest(out)
}

func packTree(b *testing.B, w io.Writer, root string, limit int64) {
	b.Helper()
	tw := tar.NewWriter(w)
	var total int64
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		fi, err := d.Info()
		if err != nil || total > limit || fi.Size() > 60<<20 {
			return nil
		}
		link := ""
		if fi.Mode()&fs.ModeSymlink != 0 {
			link, _ = os.Readlink(p)
		}
		h, err := tar.FileInfoHeader(fi, link)
		if err != nil {
			return nil
		}
		h.Name = p[1:]
		if !fi.Mode().IsRegular() {
			return tw.WriteHeader(h)
		}
		f, err := os.Open(p)
		if err != nil {
			return nil
		}
		defer f.Close()
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		total += h.Size
		_, err = io.CopyN(tw, f, h.Size)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		b.Fatal(err)
	}
}

// yardstick decompresses and hashes all layers on two cores with the same library,
// largest first, and does nothing else.
func yardstick(b *testing.B, src *fakeSource) {
	b.Helper()
	next := make(chan int, len(src.blobs))
	for _, i := range largestFirst(src) {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := range next {
				rc, err := src.blobs[i].Open(context.Background())
				if err != nil {
					b.Error(err)
					return
				}
				z, err := gzip.NewReader(rc)
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := io.CopyBuffer(struct{ io.Writer }{sha256.New()}, z, make([]byte, 256<<10)); err != nil {
					b.Error(err)
				}
				rc.Close()
			}
		})
	}
	wg.Wait()
}

// spent is wall and processor time of a function.
func spent(f func()) (wall, cpu time.Duration) {
	now := func() (time.Time, time.Duration) {
		var ru syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
			panic(err)
		}
		return time.Now(), time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	t0, c0 := now()
	f()
	t1, c1 := now()
	return t1.Sub(t0), c1 - c0
}

// BenchmarkReadAll prints how much longer it takes to read an image, with a visitor
// that wants next to nothing, than to decompress and hash it. Both are measured in
// turn; the least of each counts, which is what other load on the machine disturbs least.
func BenchmarkReadAll(b *testing.B) {
	src := benchLayers(b)
	bytes := int64(0)
	least := func(p *time.Duration, v time.Duration) {
		if *p == 0 || v < *p {
			*p = v
		}
	}
	var yw, yc, rw, rc time.Duration
	var heap int64
	b.ResetTimer()
	for range max(b.N, 3) {
		w, c := spent(func() { yardstick(b, src) })
		least(&yw, w)
		least(&yc, c)
		w, c = spent(func() {
			heap = max(heap, peakHeap(func() {
				sums, err := ReadAll(context.Background(), src, 2, func(int) (Visitor, bool) { return small{}, false })
				if err != nil {
					b.Error(err)
				}
				bytes = 0
				for _, s := range sums {
					bytes += s.Bytes
				}
			}))
		})
		least(&rw, w)
		least(&rc, c)
	}
	b.ReportMetric(float64(rw)/float64(yw), "wall-ratio")
	b.ReportMetric(float64(rc)/float64(yc), "cpu-ratio")
	b.ReportMetric(yw.Seconds(), "yardstick-s")
	b.ReportMetric(float64(bytes)/1e6, "MB")
	b.ReportMetric(float64(heap)/1e6, "heap-MB")
	b.ReportMetric(0, "ns/op")
}

// small wants what a package extractor might: files below dpkg's folder, a page each.
type small struct{}

func (small) Wants(f *bollwerk.File) bool { return f.Size < 2048 && f.Mode.IsRegular() }
func (small) Visit(_ context.Context, f bollwerk.File, r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// BenchmarkHeaders reads an archive of headers only: the cost of an entry.
func BenchmarkHeaders(b *testing.B) {
	const n = 100_000
	b.ReportAllocs()
	for b.Loop() {
		blob := Blob{Name: "layer of headers", Size: -1, Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(&headerStream{left: n}), nil
		}}
		sum, err := ReadBlob(context.Background(), blob, NewBudget(Limits{}), nothing{})
		if err != nil || sum.Entries != n {
			b.Fatal(err, sum.Entries)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/entry")
}
