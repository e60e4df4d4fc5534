package scan_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/scan"
	"github.com/bollwerk/bollwerk/test/image"
)

// crowd is an image of many layers with files of every way through the collector:
// small, kept beside siblings, large for one extractor, and large for several.
func crowd(t testing.TB, layers int) string {
	large := `{"name":"big","lockfileVersion":3,"packages":{"":{"name":"big"}` + strings.Repeat(" ", 300<<10) + `,"node_modules/left-pad":{"version":"1.0.0"}}}`
	var list []image.Layer
	for i := range layers {
		l := layer(
			file(fmt.Sprintf("srv/%d/package-lock.json", i), strings.ReplaceAll(lockfile, "4.17.4", fmt.Sprintf("4.17.%d", i))),
			file(fmt.Sprintf("srv/%d/requirements.txt", i), "requests==2.0\n-r base.txt\n"),
			file(fmt.Sprintf("srv/%d/base.txt", i), "flask==1.0\n"),
			file(fmt.Sprintf("big/%d/package-lock.json", i), large),
		)
		l.Compression = []string{"gzip", "zstd", "none"}[i%3]
		list = append(list, l)
	}
	return layout(t, image.Config{}, list...)
}

// TestManyLayersInLittleMemory holds that readers that share a budget smaller than
// one file never wait for each other for ever, and lose nothing.
func TestManyLayersInLittleMemory(t *testing.T) {
	const layers = 40
	img := crowd(t, layers)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, workers := range []int{1, 2, 16} {
		r, err := scanLayout(ctx, t, img, scan.Options{Memory: 1, Workers: workers})
		if err != nil {
			t.Fatalf("%d workers: %v", workers, err)
		}
		count := map[string]int{}
		for _, p := range r.Packages {
			count[p.Name]++
		}
		for _, name := range []string{"lodash", "requests", "flask", "left-pad"} {
			if count[name] != layers {
				t.Errorf("%d workers: %d times %s, want %d", workers, count[name], name, layers)
			}
		}
	}
}

// TestFiveHundredLayers is what container runtimes allow at most.
func TestFiveHundredLayers(t *testing.T) {
	var list []image.Layer
	for i := range 500 {
		list = append(list, layer(file("srv/package-lock.json", strings.ReplaceAll(lockfile, "4.17.4", fmt.Sprintf("4.17.%d", i)))))
	}
	r, err := scanLayout(t.Context(), t, layout(t, image.Config{}, list...), scan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Packages) != 1 || r.Packages[0].Version != "4.17.499" || r.Packages[0].Layer.Index != 499 {
		t.Errorf("got %d packages, want the one of the topmost layer: %+v", len(r.Packages), r.Packages)
	}
}

// TestCancelAnywhere stops scans at random points: each ends, with the error of the
// context or in full, and leaves no goroutine and no file behind.
func TestCancelAnywhere(t *testing.T) {
	img := crowd(t, 24)
	set := everything(t)
	if _, err := scanLayout(t.Context(), t, img, scan.Options{Extractors: set}); err != nil {
		t.Fatal(err) // whatever starts once has started now
	}
	began := time.Now()
	if _, err := scanLayout(t.Context(), t, img, scan.Options{Extractors: set}); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	before := runtime.NumGoroutine()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	cache := t.TempDir()
	stopped := 0
	rounds := 30
	if testing.Short() {
		rounds = 10
	}
	for range rounds {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(random.Int64N(int64(whole)+1)))
		r, err := scanLayout(ctx, t, img, scan.Options{Extractors: set, Memory: 1, Cache: openCache(t, cache, fmt.Sprint(random.Int()))})
		cancel()
		switch {
		case err == nil && len(r.Packages) != 24*4:
			t.Fatalf("seed %d: no error and %d packages, want %d", seed, len(r.Packages), 24*4)
		case err != nil && ctx.Err() == nil:
			t.Fatalf("seed %d: %v", seed, err)
		case err != nil:
			stopped++
		}
	}
	if stopped == 0 {
		t.Error("no scan was stopped: the test shows nothing")
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
	files, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".") {
			t.Errorf("%s was left behind", f.Name())
		}
	}
}

// TestCacheThatCannotBeWritten costs the result nothing, and somebody is told.
func TestCacheThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	cache := openCache(t, dir, "a")
	if err := os.RemoveAll(dir); err != nil { // root may write to read-only folders
		t.Fatal(err)
	}
	said := ""
	r, err := scanLayout(t.Context(), t, layout(t, image.Config{}, layer(file("srv/package-lock.json", lockfile))),
		scan.Options{Cache: cache, Warn: func(text string) { said += text }})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Packages) != 1 || !strings.Contains(said, "layer cache") {
		t.Errorf("packages %v, said %q", names(r), said)
	}
}
