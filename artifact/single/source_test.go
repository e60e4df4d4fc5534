package single

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"golang.org/x/sys/unix"
)

type keeper map[string]string

func (keeper) Wants(*bollwerk.File) bool { return true }
func (k keeper) Visit(_ context.Context, f bollwerk.File, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	k[f.Path] = string(b)
	return err
}

func write(t testing.TB, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func zipOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for _, n := range names {
		f, err := w.Create(n)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(f, "content of "+n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func tarOf(t testing.TB, names ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, n := range names {
		body := "content of " + n
		if err := w.WriteHeader(&tar.Header{Name: n, Size: int64(len(body)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, body)
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

func readFile(t testing.TB, path string, o Options) (keeper, artifact.PartSummary, error) {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		return nil, artifact.PartSummary{}, err
	}
	defer s.Close()
	k := keeper{}
	sums, err := artifact.ReadAll(context.Background(), s, 2, func(int) (artifact.Visitor, bool) { return k, false })
	if err != nil {
		return k, artifact.PartSummary{}, err
	}
	return k, sums[0], nil
}

func TestForms(t *testing.T) {
	z, tb := zipOf(t, "a", "d/b"), tarOf(t, "a", "d/b")
	entries := []string{"a", "d/b"}
	for _, c := range []struct {
		name string
		b    []byte
		want []string
	}{
		{"lib.zip", z, entries},
		{"function", z, entries},
		{"app.jar", z, []string{"app.jar"}},
		{"x-1.0-py3-none-any.whl", z, entries},
		{"src.tar", tb, entries},
		{"src.tgz", gz(t, tb), entries},
		{"strange-name", gz(t, tb), entries},
		{"x.gem", tb, []string{"x.gem"}},
		{"notes.gz", gz(t, []byte("just text")), []string{"notes.gz"}},
		{"package-lock.json", []byte("{}"), []string{"package-lock.json"}},
		{"empty", nil, []string{"empty"}},
	} {
		k, sum, err := readFile(t, write(t, c.name, c.b), Options{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := slices.Sorted(maps.Keys(k)); !slices.Equal(got, c.want) || sum.Files != len(c.want) {
			t.Errorf("%s: read %v, %+v", c.name, got, sum)
		}
	}
	s, err := Open(write(t, "x", []byte("abc")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.ReadPart(context.Background(), 0, keeper{}); err != nil {
		t.Fatal(err)
	}
	if a := s.Artifact(); a.Digest != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" || a.Kind != bollwerk.KindArchive || a.Name != "x" {
		t.Errorf("artifact %+v", a)
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o644); err != nil {
		t.Fatal(err)
	}
	z := zipOf(t, "a", "b")
	huge := bytes.Clone(z)
	end := bytes.LastIndex(huge, []byte("PK\x05\x06"))
	binary.LittleEndian.PutUint32(huge[end+12:], 1<<30)
	tgz := gz(t, tarOf(t, strings.Repeat("long", 20), "b"))
	for _, c := range []struct{ path, want string }{
		{pipe, "not a regular file"},
		{dir, "write dir:"},
		{filepath.Join(dir, "none"), "no such file"},
		{write(t, "cut.zip", z[:len(z)-30]), "zip cut.zip: truncated or not a zip file"},
		{write(t, "huge.zip", huge), "central directory of 1073741824 bytes"},
		{write(t, "cut.tgz", tgz[:len(tgz)-10]), "archive cut.tgz: truncated gzip stream"},
	} {
		_, _, err := readFile(t, c.path, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.path, err)
		}
	}
}

func TestZipHostility(t *testing.T) {
	k, _, err := readFile(t, write(t, "evil.zip", zipOf(t, "../../etc/passwd", "/abs", `..\..\win`)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(k)); !slices.Equal(got, []string{"abs", "etc/passwd", "win"}) {
		t.Errorf("read %v", got)
	}

	// A damaged entry is said, the others are read.
	z := zipOf(t, "a", "b")
	i := bytes.LastIndex(z, []byte("PK\x03\x04")) + 30 + 1 + 3 // into the deflated bytes of b
	z[i] ^= 0xff
	k, sum, err := readFile(t, write(t, "damaged.zip", z), Options{})
	if err != nil || len(sum.Problems) != 1 || sum.Problems[0].Path != "b" || k["a"] != "content of a" {
		t.Errorf("damaged entry: %v, %+v, %v", err, sum.Problems, k)
	}

	// Bombs: by size of an entry, by what all of them unpack to.
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for i := range 4 {
		f, err := w.Create(fmt.Sprintf("zeros%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	bomb := write(t, "bomb.zip", buf.Bytes())
	_, sum, err = readFile(t, bomb, Options{Limits: artifact.Limits{MaxFileSize: 1000}})
	if err != nil || len(sum.Problems) != 4 {
		t.Errorf("%v %+v", err, sum)
	}
	if _, _, err = readFile(t, bomb, Options{Limits: artifact.Limits{MaxTotalBytes: 2 << 20}}); !errors.Is(err, artifact.ErrLimit) {
		t.Errorf("total: %v", err)
	}
	if _, _, err = readFile(t, bomb, Options{Limits: artifact.Limits{MaxEntries: 2}}); !errors.Is(err, artifact.ErrLimit) {
		t.Errorf("entries: %v", err)
	}
}

func FuzzZip(f *testing.F) {
	f.Add(zipOf(f, "a", "b/../c"))
	f.Add([]byte("PK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 || string(b[:2]) != "PK" {
			return
		}
		k, _, _ := readFile(t, write(t, "f.zip", b), Options{Limits: artifact.Limits{MaxTotalBytes: 64 << 20}})
		for p := range k {
			if strings.HasPrefix(p, "/") || p == ".." || strings.HasPrefix(p, "../") {
				t.Errorf("path %q", p)
			}
		}
	})
}
