package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// layerSource answers what it is told to.
type layerSource struct {
	Source
	answer func(context.Context) (Root, error)
	asked  atomic.Int64
}

func (s *layerSource) Name() string { return "test" }

func (s *layerSource) Layers(ctx context.Context, _ Ref, _ bollwerk.Digest) (Root, error) {
	s.asked.Add(1)
	return s.answer(ctx)
}

func layersOf(t *testing.T, answer func(context.Context) (Root, error)) (*Layers, *layerSource, *atomic.Int64) {
	t.Helper()
	s := &layerSource{answer: answer}
	l := NewLayers(nil, s)
	var past atomic.Int64 // added to the clock
	l.now = func() time.Time { return time.Now().Add(time.Duration(past.Load())) }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return l, s, &past
}

func layeredProcess(n int) (*bollwerk.Workload, *bollwerk.Process) {
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: uint64(n), Container: &bollwerk.Container{ID: fmt.Sprint("c", n), Runtime: "test"}}
	return w, &bollwerk.Process{PID: 1 << 22, Cgroup: uint64(n), Path: "/bin/x", Inode: 7, Device: 9, Origin: bollwerk.OriginImage}
}

// A source that hangs costs one container its wait, and the next ones nothing, until it
// answers in time again. What failed is asked for again, later.
func TestLayersOfSlowSource(t *testing.T) {
	answer := make(chan struct{})
	l, s, past := layersOf(t, func(ctx context.Context) (Root, error) {
		select {
		case <-answer:
			return Root{}, errors.New("damaged")
		case <-ctx.Done():
			return Root{}, ctx.Err()
		}
	})
	w, p := layeredProcess(1)
	began := time.Now()
	if !l.Awaits(w, p) || !l.Pending(p) {
		t.Fatal("not waited for the first answer")
	}
	past.Store(int64(MaxWait))
	if l.Awaits(w, p) {
		t.Error("waited for longer than MaxWait")
	}
	past.Store(0)
	<-l.Told() // the time of the question is over
	if d := time.Since(began); d < layerLimit || l.Pending(p) {
		t.Errorf("given up after %s", d)
	}
	if w, p := layeredProcess(2); l.Awaits(w, p) {
		t.Error("waited for a source that was too slow")
	}
	answer <- struct{}{}
	<-l.Told()
	// It answers in time again: at the latest when this machine is not too busy to see it.
	last := 3
	for ; ; last++ {
		waited := l.Awaits(layeredProcess(last))
		answer <- struct{}{}
		<-l.Told()
		if waited {
			break
		}
		if last > 1000 {
			t.Fatal("not waited for a source that answers in time again")
		}
	}
	n := s.asked.Load()
	if n != int64(last) || l.Awaits(w, p) || s.asked.Load() != n {
		t.Errorf("asked %d times for %d containers", n, last)
	}
	past.Store(int64(time.Minute))
	l.Awaits(w, p)
	answer <- struct{}{}
	<-l.Told()
	if got := s.asked.Load(); got != n+1 {
		t.Errorf("asked %d times after a minute, want %d", got, n+1)
	}
	// What cannot have a layer is asked for nobody.
	for _, q := range []*bollwerk.Process{nil, {}, {Origin: bollwerk.OriginHost, Inode: 1, Device: 1, Path: "/x"}, {Origin: bollwerk.OriginImage, Inode: 1, Device: 1, Path: "…/x"}} {
		if l.Awaits(w, q) || l.Of(q) != "" {
			t.Errorf("%+v", q)
		}
	}
	host := &bollwerk.Workload{Kind: bollwerk.WorkloadHost}
	if l.Awaits(host, p) || s.asked.Load() != n+1 {
		t.Error("asked for the host")
	}
}

// Whatever a container does, what is remembered is bounded, and so is the work.
func TestLayersAreBounded(t *testing.T) {
	const mine = 1 << 30
	l, _, _ := layersOf(t, func(context.Context) (Root, error) { return Root{}, ErrUnknown })
	for i := range 2 * mostRoots {
		l.Awaits(layeredProcess(i + 1))
	}
	if len(l.roots) > mostRoots || len(l.cgroups) > mostRoots {
		t.Errorf("%d roots, %d cgroups", len(l.roots), len(l.cgroups))
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &root{}
	r.found.Store(&foundRoot{Root: Root{Layers: []Layer{{dir, "sha256:a"}}}, device: 9})
	l = NewLayers(nil) // nobody asks for it
	l.cgroups = map[uint64]*root{mine: r}
	day := time.Now()
	l.now = func() time.Time { return day }
	for i := range 2 * mostLooks {
		_, p := layeredProcess(mine)
		p.Path = fmt.Sprint("/bin/", i)
		l.Of(p)
	}
	if len(l.files) != mostLooks {
		t.Errorf("%d names looked for, want %d", len(l.files), mostLooks)
	}
	for i := range 3 * mostPrograms {
		if i%mostLooks == 0 {
			day = day.Add(lookWindow)
		}
		_, p := layeredProcess(mine)
		p.Path = fmt.Sprint("/bin/y", i)
		l.Of(p)
	}
	if len(l.files) > mostPrograms {
		t.Errorf("%d programs remembered", len(l.files))
	}
}

// Links that a layer has lead nowhere.
func TestLayersFollowNoLinks(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	file := filepath.Join(outside, "x")
	if err := errors.Join(os.WriteFile(file, nil, 0o755), os.Symlink(outside, filepath.Join(dir, "bin")), os.Symlink(file, filepath.Join(dir, "y")), os.Link(file, filepath.Join(dir, "z"))); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	inode := st.Sys().(*syscall.Stat_t).Ino
	r := Root{Layers: []Layer{{filepath.Join(dir, "none"), "sha256:a"}, {dir, "sha256:b"}}}
	for path, want := range map[string]bollwerk.Digest{"/z": "sha256:b", "/bin/x": "", "/y": "", "/../" + filepath.Base(outside) + "/x": "", "/": "", "/z/": ""} {
		if d := r.find(path, inode); d != want {
			t.Errorf("%s: %q, want %q", path, d, want)
		}
	}
	if d := r.find("/z", inode+1); d != "" {
		t.Errorf("another file of that name: %s", d)
	}
}

func stored(t testing.TB, layers, container, lower string) string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range map[string]string{"overlay-layers/layers.json": layers, "overlay-containers/containers.json": container, "overlay/rw/lower": lower} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	links := filepath.Join(dir, "overlay/l")
	if err := errors.Join(os.Mkdir(links, 0o755), os.Symlink("../a/diff", filepath.Join(links, "A")), os.Symlink("../b/diff", filepath.Join(links, "B")),
		os.Symlink("../../../etc/diff", filepath.Join(links, "C")), os.Symlink("/etc", filepath.Join(links, "D"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Records of containers/storage that are damaged or made up give no layers.
func TestStored(t *testing.T) {
	digest := func(b string) string { return "sha256:" + strings.Repeat(b, 32) }
	layers := `[{"id":"a","diff-digest":"` + digest("0a") + `"},{"id":"b","parent":"a","diff-digest":"` + digest("0b") + `","other":[1,{}]},{"id":"rw","parent":"b"}]`
	container := `[{"id":"web","layer":"rw","names":["x"]}]`
	var s Stored
	root, err := s.Layers(stored(t, layers, container, "l/B:l/A"), "web")
	if err != nil || len(root.Layers) != 2 || string(root.Layers[0].Digest) != digest("0b") || string(root.Layers[1].Digest) != digest("0a") ||
		!strings.HasSuffix(root.Layers[0].Dir, "/overlay/b/diff") || !strings.HasSuffix(root.Mount, "/overlay/rw/merged") {
		t.Fatalf("%+v, %v", root, err)
	}
	for _, c := range []struct{ what, layers, container, lower string }{
		{"another container", layers, `[{"id":"db","layer":"rw"}]`, "l/B:l/A"},
		{"a folder that climbs", layers, `[{"id":"web","layer":"../rw"}]`, "l/B:l/A"},
		{"a link that climbs", layers, container, "l/B:l/C"},
		{"a link to the host", layers, container, "l/D"},
		{"a link that is not there", layers, container, "l/B:l/E"},
		{"no link", layers, container, "/etc:l/A"},
		{"a name that climbs", layers, container, "l/../../x"},
		{"nothing", layers, container, ""},
		{"a layer without a digest", strings.Replace(layers, digest("0a"), "", 1), container, "l/B:l/A"},
		{"a digest that is none", strings.Replace(layers, digest("0a"), "sha256:x", 1), container, "l/B:l/A"},
		{"half a list", layers[:len(layers)/3], container, "l/B:l/A"},
		{"no list", `{"a":1}`, container, "l/B:l/A"},
		{"deep", strings.Repeat("[", 1<<20), container, "l/B:l/A"},
		{"many folders", layers, container, strings.Repeat("l/A:", MaxLayers) + "l/A"},
		{"a long file", layers, container, strings.Repeat("l/A:", 1<<20)},
	} {
		var s Stored
		if root, err := s.Layers(stored(t, c.layers, c.container, c.lower), "web"); err == nil {
			t.Errorf("%s: %+v", c.what, root)
		}
	}
}

func FuzzStored(f *testing.F) {
	f.Add(`[{"id":"a","diff-digest":"sha256:`+strings.Repeat("0a", 32)+`"}]`, `[{"id":"web","layer":"rw"}]`, "l/A")
	f.Fuzz(func(t *testing.T, layers, container, lower string) {
		var s Stored
		dir := stored(t, layers, container, lower)
		root, err := s.Layers(dir, "web")
		for _, l := range root.Layers {
			if _, bad := bollwerk.ParseDigest(string(l.Digest)); err != nil || bad != nil || !strings.HasPrefix(l.Dir, dir+"/overlay/") || strings.Contains(l.Dir, "..") {
				t.Errorf("%+v, %v", root, err)
			}
		}
	})
}

func BenchmarkLayerKnown(b *testing.B) {
	l := NewLayers(nil)
	r := &root{}
	r.found.Store(&foundRoot{device: 9})
	_, p := layeredProcess(1)
	l.cgroups[1] = r
	l.files[program{1, 9, 7, p.Path}] = "sha256:a"
	for b.Loop() {
		if l.Of(p) == "" {
			b.Fatal("not known")
		}
	}
}

func BenchmarkLayerFind(b *testing.B) {
	var r Root
	for range 10 {
		dir := b.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
			b.Fatal(err)
		}
		r.Layers = append(r.Layers, Layer{dir, "sha256:a"})
	}
	for b.Loop() {
		if r.find("/bin/x", 7) != "" {
			b.Fatal("found")
		}
	}
}
