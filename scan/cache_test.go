package scan_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/scan"
	"github.com/bollwerk/bollwerk/test/image"
)

func openCache(t *testing.T, dir, set string) *scan.Cache {
	t.Helper()
	c, err := scan.OpenCache(dir, set, 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer is what two scans of one image must agree on.
func answer(t *testing.T, r *bollwerk.Result) string {
	t.Helper()
	c := *r
	c.Duration, c.Started = 0, time.Time{}
	b, err := json.MarshalIndent(&c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCacheGivesTheSameAnswer scans with no, an empty, a full and a damaged cache.
func TestCacheGivesTheSameAnswer(t *testing.T) {
	l := layer(file("etc/os-release", debian12), file("var/lib/dpkg/status", status("openssl", "bash")),
		file("srv/package-lock.json", lockfile), symlink("lib/apk/db/installed", "/opt/x"), file("srv/pom.xml", "<project"))
	img := layout(t, image.Config{}, l, layer(file("usr/lib/x/package-lock.json", lockfile)), l, layer(file("srv/.wh.package-lock.json", "")))
	dir := t.TempDir()
	one := func(c *scan.Cache) string {
		r, err := scanLayout(t.Context(), t, img, scan.Options{Cache: c, Now: time.Unix(1_700_000_000, 0)})
		if err != nil {
			t.Fatal(err)
		}
		return answer(t, r)
	}
	want := one(nil)
	if !strings.Contains(want, `"lodash"`) || !strings.Contains(want, "lib/apk/db/installed") {
		t.Fatalf("the image does not show what the test is about: %s", want)
	}
	same := func(what string, c *scan.Cache) {
		t.Helper()
		if got := one(c); got != want {
			t.Errorf("%s: another answer\n%s\nwant\n%s", what, got, want)
		}
	}
	same("empty", openCache(t, dir, "a"))
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("%d files in the cache, want one per different layer: %v", len(files), err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v, want 0600", f, info.Mode(), err)
		}
	}
	same("full", openCache(t, dir, "a"))
	same("of other extractors", openCache(t, dir, "b"))
	for what, spoil := range map[string]func(string) error{
		"cut short": func(f string) error { return os.Truncate(f, 100) },
		"empty":     func(f string) error { return os.Truncate(f, 0) },
		"a pipe":    func(f string) error { os.Remove(f); return syscall.Mkfifo(f, 0o600) },
		"a folder":  func(f string) error { os.Remove(f); return os.MkdirAll(filepath.Join(f, "x"), 0o700) },
		"too large": func(f string) error { return os.Truncate(f, 1<<40) },
	} {
		for _, f := range files {
			if err := os.RemoveAll(f); err != nil {
				t.Fatal(err)
			}
		}
		same("filled again", openCache(t, dir, "a"))
		for _, f := range files {
			if err := spoil(f); err != nil {
				t.Fatal(err)
			}
		}
		c := openCache(t, dir, "a")
		r, err := scanLayout(t.Context(), t, img, scan.Options{Cache: c})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if got := names(r); !slices.Contains(got, "openssl") || !slices.Contains(got, "lodash") {
			t.Errorf("%s: packages %v", what, got)
		}
	}
}

// TestCacheOfEverybody is not used: who may write there could hide packages.
func TestCacheOfEverybody(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	if _, err := scan.OpenCache(dir, "a", 0); err == nil || !strings.Contains(err.Error(), "every user") {
		t.Errorf("got %v", err)
	}
}

// TestDamagedLayerIsNotCached scans an image whose upper layer is not what its
// digest says, twice: what was read of it must not be taken for granted later.
func TestDamagedLayerIsNotCached(t *testing.T) {
	img := layout(t, image.Config{}, layer(file("etc/os-release", debian12)), layer(file("srv/package-lock.json", lockfile)))
	blobs, err := filepath.Glob(filepath.Join(img, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	spoiled := 0
	for _, b := range blobs {
		data, err := os.ReadFile(b)
		if err != nil {
			t.Fatal(err)
		}
		if data[0] != 0x1f { // gzip
			continue
		}
		data[len(data)-6] ^= 1 // the checksum of gzip
		if err := os.WriteFile(b, data, 0o600); err != nil {
			t.Fatal(err)
		}
		spoiled++
	}
	if spoiled != 2 {
		t.Fatalf("%d layers spoiled", spoiled)
	}
	dir := t.TempDir()
	for range 2 {
		if _, err := scanLayout(t.Context(), t, img, scan.Options{Cache: openCache(t, dir, "a")}); err == nil {
			t.Fatal("no error")
		}
		if files, _ := os.ReadDir(dir); len(files) != 0 {
			t.Fatalf("%d files in the cache", len(files))
		}
	}
}
