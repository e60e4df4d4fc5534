package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// headerStream is a tar stream of empty files with distinct names, made as it is read.
type headerStream struct {
	left int
	buf  []byte
	tmpl []byte
}

func (h *headerStream) Read(p []byte) (int, error) {
	if len(h.buf) == 0 {
		if h.left < 0 {
			return 0, io.EOF
		}
		if h.tmpl == nil {
			var b bytes.Buffer
			w := tar.NewWriter(&b)
			if err := w.WriteHeader(&tar.Header{Name: "usr/share/entry-00000000", Typeflag: tar.TypeReg, Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
				return 0, err
			}
			h.tmpl = b.Bytes()[:512]
		}
		if h.left--; h.left < 0 {
			h.buf = make([]byte, 1024)
		} else {
			h.buf = append(h.buf[:0:0], h.tmpl...)
			copy(h.buf[16:24], fmt.Sprintf("%08d", h.left))
			copy(h.buf[148:156], "        ") // the checksum counts as spaces
			sum := 0
			for _, c := range h.buf {
				sum += int(c)
			}
			copy(h.buf[148:156], fmt.Sprintf("%06o\x00 ", sum))
		}
	}
	n := copy(p, h.buf)
	h.buf = h.buf[n:]
	return n, nil
}

func TestMillionsOfEntries(t *testing.T) {
	if testing.Short() {
		t.Skip("reads two million headers")
	}
	noLeak(t)
	const n = 2_000_000
	blob := Blob{Name: "layer of headers", Size: -1, Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(&headerStream{left: n}), nil
	}}
	var sum PartSummary
	var err error
	grown := peakHeap(func() { sum, err = ReadBlob(context.Background(), blob, NewBudget(Limits{}), nothing{}) })
	if err != nil || sum.Entries != n || sum.Mask.Len() != n {
		t.Fatalf("%v: %d entries", err, sum.Entries)
	}
	if !sum.Mask.Hides("usr/share/entry-01234567") || sum.Mask.Hides("usr/share/entry-02000000") {
		t.Error("the mask is wrong")
	}
	if grown > 200<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
	if _, err := ReadBlob(context.Background(), blob, NewBudget(Limits{MaxEntries: 100_000}), nothing{}); !errors.Is(err, ErrLimit) {
		t.Errorf("limit: %v", err)
	}
}

// GNU tar writes sparse files in four ways; Go's writer in none.
func TestSparse(t *testing.T) {
	gnu, err := exec.LookPath("tar")
	if err != nil {
		t.Fatalf("GNU tar, essential in Debian: %v", err)
	}
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.WriteAt([]byte("beginning"), 0)
	_, werr2 := f.WriteAt([]byte("middle"), 5<<20)
	if err := errors.Join(werr, werr2, f.Truncate(8<<20), f.Close(),
		os.WriteFile(filepath.Join(dir, "z-after"), []byte("after"), 0o644)); err != nil {
		t.Fatal(err)
	}
	huge, err := os.Create(filepath.Join(dir, "huge"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(huge.Truncate(10<<30), huge.Close()); err != nil {
		t.Skipf("no sparse files of 10 GB here: %v", err)
	}
	for _, form := range [][]string{{"--format=gnu"}, {"--format=pax", "--sparse-version=0.0"}, {"--format=pax", "--sparse-version=0.1"}, {"--format=pax", "--sparse-version=1.0"}} {
		t.Run(strings.Join(form, " "), func(t *testing.T) {
			args := append([]string{"-S", "-C", dir, "-cf", "-"}, form...)
			plain, err := exec.Command(gnu, append(args, "huge", "sparse", "z-after")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if len(plain) > 1<<20 {
				t.Fatalf("the archive has %d bytes", len(plain))
			}
			v := newRecorder()
			var sum PartSummary
			grown := peakHeap(func() { sum, err = readBytes(t, blobOf(gzipBytes(t, plain), plain), v) })
			if err != nil {
				t.Fatal(err)
			}
			s := v.content["sparse"]
			if len(s) != 8<<20 || !strings.HasPrefix(s, "beginning\x00") || s[5<<20:5<<20+7] != "middle\x00" || v.content["z-after"] != "after" {
				t.Errorf("%d bytes, after: %q", len(s), v.content["z-after"])
			}
			if f := v.asked["huge"]; f.Size != 10<<30 {
				t.Errorf("huge: %d bytes", f.Size)
			}
			if len(sum.Problems) != 1 || sum.Problems[0].Path != "huge" {
				t.Errorf("problems %+v", sum.Problems)
			}
			if grown > 64<<20 {
				t.Errorf("the heap grew by %d MB", grown>>20)
			}
			// What a visitor reads of holes counts as well.
			_, err = ReadBlob(context.Background(), blobOf(plain, plain), NewBudget(Limits{MaxLayerBytes: 4 << 20}), newRecorder())
			if !errors.Is(err, ErrLimit) {
				t.Errorf("holes beyond the limit: %v", err)
			}
		})
	}
}

// rawHeader is a tar header block with the given type, name and size.
func rawHeader(typ byte, name string, size int64) []byte {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00", size))
	copy(b[136:], "00000000000\x00")
	b[156] = typ
	copy(b[257:], "ustar\x0000")
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

func TestHeaderBombs(t *testing.T) {
	noLeak(t)
	pad := func(b []byte) []byte { return append(b, make([]byte, (512-len(b)%512)%512)...) }
	record := func(key, value string) string {
		n := len(key) + len(value) + 3
		for len(fmt.Sprint(n))+len(key)+len(value)+3 != n {
			n = len(fmt.Sprint(n)) + len(key) + len(value) + 3
		}
		return fmt.Sprintf("%d %s=%s\n", n, key, value)
	}
	stream := func(parts ...[]byte) []byte { return append(bytes.Join(parts, nil), make([]byte, 1024)...) }
	big := strings.Repeat("x", 3<<20)
	pax := record("comment", big)
	var many strings.Builder
	for i := range 40_000 {
		many.WriteString(record(fmt.Sprintf("SCHILY.xattr.user.%d", i), "v"))
	}
	cases := []struct {
		name string
		b    []byte
		ok   bool // read, possibly with a problem
	}{
		{"pax header of 3 MB", stream(rawHeader('x', "pax", int64(len(pax))), pad([]byte(pax)), rawHeader('0', "a", 0)), false},
		{"long name of 3 MB", stream(rawHeader('L', "././@LongLink", int64(len(big))), pad([]byte(big)), rawHeader('0', "a", 0)), false},
		{"pax header that promises 8 GB", stream(rawHeader('x', "pax", 1<<33-1), make([]byte, 4096)), false},
		{"40,000 attributes", stream(rawHeader('x', "pax", int64(many.Len())), pad([]byte(many.String())), rawHeader('0', "a", 0)), false},
		{"negative size in pax", stream(rawHeader('x', "pax", int64(len(record("size", "-5")))), pad([]byte(record("size", "-5"))), rawHeader('0', "a", 0)), false},
		{"size beyond 2^63", stream(rawHeader('x', "pax", int64(len(record("size", "99999999999999999999")))), pad([]byte(record("size", "99999999999999999999"))), rawHeader('0', "a", 0)), false},
		{"size beyond the end", stream(rawHeader('0', "a", 1<<33-1)), false},
		{"long names without an entry", stream(bytes.Repeat(append(rawHeader('L', "././@LongLink", 5), pad([]byte("name\x00"))...), 1000)), true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var err error
			grown := peakHeap(func() { _, err = readBytes(t, blobOf(c.b, c.b), nothing{}) })
			if (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
			if grown > 32<<20 {
				t.Errorf("the heap grew by %d MB", grown>>20)
			}
		})
	}
}

// What comes twice is shown twice, in order: the later one replaces the earlier.
func TestSamePathTwice(t *testing.T) {
	plain := tarball(t, entry{name: "a", body: "first"}, entry{name: "./a", body: "second"})
	v := newRecorder()
	if _, err := readBytes(t, blobOf(plain, plain), v); err != nil || v.content["a"] != "second" {
		t.Errorf("%v %v", err, v.content)
	}
}

// An archive without the two blocks at its end is read by every runtime.
func TestNoEndMark(t *testing.T) {
	plain := tarball(t, entry{name: "a", body: "x"})
	plain = plain[:1024]
	v := newRecorder()
	if _, err := readBytes(t, blobOf(plain, plain), v); err != nil || v.content["a"] != "x" {
		t.Errorf("%v %v", err, v.content)
	}
}
