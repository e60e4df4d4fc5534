package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"golang.org/x/sys/unix"
)

type keeper struct {
	mu       sync.Mutex
	parallel bool
	inside   atomic.Int32
	most     atomic.Int32
	wants    func(*bollwerk.File) bool
	asked    map[string]bollwerk.File
	content  map[string]string
	sized    int
	during   func(f bollwerk.File) // called before the content is read
}

func newKeeper() *keeper {
	return &keeper{asked: map[string]bollwerk.File{}, content: map[string]string{}}
}

func (k *keeper) Parallel() bool { return k.parallel }

func (k *keeper) Wants(f *bollwerk.File) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked[f.Path] = *f
	return k.wants == nil || k.wants(f)
}

func (k *keeper) Visit(_ context.Context, f bollwerk.File, r io.Reader) error {
	if n := k.inside.Add(1); n > k.most.Load() {
		k.most.Store(n)
	}
	defer k.inside.Add(-1)
	if k.during != nil {
		k.during(f)
	}
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.content[f.Path] = string(b)
	if s, ok := r.(artifact.Sized); ok && s.Size() == f.Size {
		k.sized++
	}
	return err
}

func tree(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, body := range files {
		p := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(body), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func read(t testing.TB, root string, o Options, k *keeper) (artifact.PartSummary, error) {
	t.Helper()
	s, err := Open(root, false, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sums, err := artifact.ReadAll(context.Background(), s, 2, func(int) (artifact.Visitor, bool) { return k, false })
	if err != nil {
		return artifact.PartSummary{}, err
	}
	return sums[0], nil
}

func causes(sum artifact.PartSummary) map[string]string {
	out := map[string]string{}
	for _, p := range sum.Problems {
		out[p.Path] = p.Cause
	}
	return out
}

func TestWalk(t *testing.T) {
	files := map[string]string{"a": "1", "b/c/d": "22", "b/e": "", "etc/os-release": "ID=x"}
	root := tree(t, files)
	outside := tree(t, map[string]string{"secret": "s"})
	err := errors.Join(
		os.Symlink(outside, filepath.Join(root, "link")),
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(root, "b/secret")),
		os.Symlink("..", filepath.Join(root, "b/loop")),
		unix.Mkfifo(filepath.Join(root, "pipe"), 0o644),
		os.Chmod(filepath.Join(root, "a"), fs.ModeSetuid|0o755),
	)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(root, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, parallel := range []bool{false, true} {
		k := newKeeper()
		k.parallel = parallel
		sum, err := read(t, root, Options{}, k)
		if err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(k.content, files) {
			t.Errorf("content %v", k.content)
		}
		if sum.Files != 4 || sum.Entries != 12 || sum.Bytes != 7 || len(sum.Problems) != 0 || k.sized != 4 {
			t.Errorf("summary %+v, %d with a size", sum, k.sized)
		}
		if f := k.asked["a"]; f.Mode != fs.ModeSetuid|0o755 || f.Size != 1 || f.UID != os.Getuid() {
			t.Errorf("a: %+v", f)
		}
		if f := k.asked["link"]; f.Mode&fs.ModeSymlink == 0 || f.Linkname != outside {
			t.Errorf("link: %+v", f)
		}
		if k.asked["pipe"].Mode&fs.ModeNamedPipe == 0 || k.asked["socket"].Mode&fs.ModeSocket == 0 {
			t.Error("pipe or socket not recognised")
		}
		if !parallel && k.most.Load() > 1 {
			t.Error("a visitor that is not parallel was called in parallel")
		}
	}
}

func TestParallelVisits(t *testing.T) {
	root := tree(t, map[string]string{"a/1": "", "b/2": ""})
	k := newKeeper()
	k.parallel = true
	var met sync.WaitGroup
	met.Add(2)
	k.during = func(bollwerk.File) { // each visit waits for the other
		met.Done()
		met.Wait()
	}
	if _, err := read(t, root, Options{Workers: 2}, k); err != nil {
		t.Fatal(err)
	}
}

func TestSkipAndLimits(t *testing.T) {
	root := tree(t, map[string]string{"keep/a": "1", "skip/a": "2", "deep/node_modules/x": "3", "big": strings.Repeat("x", 100)})
	k := newKeeper()
	sum, err := read(t, root, Options{Skip: []string{"skip", "*/node_modules"}, Limits: artifact.Limits{MaxFileSize: 50}}, k)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(slices.Sorted(maps.Keys(k.content)), []string{"keep/a"}) {
		t.Errorf("content %v", k.content)
	}
	c := causes(sum)
	if c["skip"] != "left out by --skip" || c["deep/node_modules"] != "left out by --skip" || !strings.Contains(c["big"], "larger than 50 bytes") {
		t.Errorf("problems %v", c)
	}
	for _, p := range sum.Problems {
		if p.Wanted != (p.Cause == "left out by --skip") {
			t.Errorf("%+v", p)
		}
	}
	if _, err := read(t, root, Options{Limits: artifact.Limits{MaxEntries: 3}}, newKeeper()); !errors.Is(err, artifact.ErrLimit) {
		t.Errorf("too many entries: %v", err)
	}
}

func TestContainerStorage(t *testing.T) {
	root := tree(t, map[string]string{
		"var/lib/docker/overlay2/x/diff/etc/passwd":          "1",
		"var/lib/containers/storage/overlay/x":               "2",
		"home/ann/.local/share/containers/storage/overlay/x": "3",
		"var/lib/dockerish/file":                             "4",
		"srv/var/lib/docker/not-at-the-root":                 "5",
	})
	k := newKeeper()
	sum, err := read(t, root, Options{}, k)
	if err != nil {
		t.Fatal(err)
	}
	if got := slices.Sorted(maps.Keys(k.content)); !slices.Equal(got, []string{"srv/var/lib/docker/not-at-the-root", "var/lib/dockerish/file"}) {
		t.Errorf("read %v", got)
	}
	if c := causes(sum); len(c) != 3 || !strings.Contains(c["var/lib/docker"], "scan its images") {
		t.Errorf("problems %v", c)
	}
}

func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may read everything; what it may not is in other tests.
		defer asNobody(t)()
	}
	root := tree(t, map[string]string{"fine": "1", "closed": "2", "dir/x": "3"})
	if err := errors.Join(os.Chmod(filepath.Join(root, "closed"), 0), os.Chmod(filepath.Join(root, "dir"), 0)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Join(root, "dir"), 0o755)
	k := newKeeper()
	sum, err := read(t, root, Options{}, k)
	if err != nil {
		t.Fatal(err)
	}
	if c := causes(sum); len(k.content) != 1 || !strings.Contains(c["closed"], "permission denied") || !strings.Contains(c["dir"], "permission denied") {
		t.Errorf("content %v, problems %v", k.content, c)
	}
}

// asNobody gives up root's right to read everything, and returns how to take it back.
// Go makes the call on all threads.
func asNobody(t *testing.T) func() {
	t.Helper()
	if err := os.Chmod(filepath.Dir(t.TempDir()), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setresuid(-1, 65534, 0); err != nil {
		t.Skipf("cannot become nobody: %v", err)
	}
	return func() {
		if err := unix.Setresuid(-1, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A directory that becomes a link, and a file that becomes a pipe, between the
// listing and the opening: neither leads out nor hangs.
func TestSwappedDuringWalk(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "s"})
	root := tree(t, map[string]string{"a": "1", "d/x": "2"})
	s, err := Open(root, false, Options{Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	k := newKeeper()
	k.wants = func(f *bollwerk.File) bool {
		switch f.Path {
		case "d":
			if err := errors.Join(os.RemoveAll(filepath.Join(root, "d")), os.Symlink(outside, filepath.Join(root, "d"))); err != nil {
				t.Error(err)
			}
		case "a":
			if err := errors.Join(os.Remove(filepath.Join(root, "a")), unix.Mkfifo(filepath.Join(root, "a"), 0o644)); err != nil {
				t.Error(err)
			}
		}
		return true
	}
	sum, err := s.ReadPart(context.Background(), 0, k)
	if err != nil {
		t.Fatal(err)
	}
	if len(k.content) != 0 {
		t.Errorf("read %v", k.content)
	}
	if c := causes(sum); c["a"] != "was replaced while it was read" || c["d"] == "" {
		t.Errorf("problems %v", c)
	}
}

func TestOpenBeneath(t *testing.T) {
	root := tree(t, map[string]string{"a/b/c": "x"})
	if err := os.Symlink("a", filepath.Join(root, "l")); err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, open := range []func(string) error{
		func(p string) error { f, err := openBeneath(int(d.Fd()), p, 0); f.Close(); return err },
		func(p string) error {
			fd, err := openStepwise(int(d.Fd()), p, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
			if err == nil {
				unix.Close(fd)
			}
			return err
		},
	} {
		if err := open("a/b/c"); err != nil {
			t.Error(err)
		}
		for _, p := range []string{"l/b/c", "l"} {
			if err := open(p); err == nil {
				t.Errorf("%s was followed", p)
			}
		}
	}
}

func TestHost(t *testing.T) {
	s, err := Open("/", true, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if a := s.Artifact(); a.Kind != bollwerk.KindHost || a.Name == "" || s.Parts() != 1 {
		t.Errorf("artifact %+v", a)
	}
	w := newWalk(s, newKeeper())
	for p, left := range map[string]bool{"proc": true, "sys": true, "dev": true, "var/lib/docker": true, "etc": false, "home/proc": false} {
		if (w.leaveDirectory(p) != "") != left {
			t.Errorf("%s: %q", p, w.leaveDirectory(p))
		}
	}
}

func TestPseudoMounts(t *testing.T) {
	d, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	w := newWalk(&Source{}, newKeeper())
	if why := w.leaveMount(int(d.Fd()), "proc"); why != pseudo {
		t.Errorf("/proc: %q", why)
	}
	tmp, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer tmp.Close()
	if why := w.leaveMount(int(tmp.Fd()), "tmp"); why != "" {
		t.Errorf("a temporary directory: %q", why)
	}
}

func TestSparseFileIsNotReadBeyondNeed(t *testing.T) {
	root := t.TempDir()
	f, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(10<<30), f.Close()); err != nil {
		t.Skipf("no sparse files here: %v", err)
	}
	k := newKeeper()
	sum, err := read(t, root, Options{}, k)
	if err != nil || len(k.content) != 0 {
		t.Errorf("%v, read %d files", err, len(k.content))
	}
	if c := causes(sum); !strings.Contains(c["sparse"], "larger than") {
		t.Errorf("problems %v", c)
	}
}

func TestErrors(t *testing.T) {
	root := tree(t, map[string]string{"f": "x"})
	if _, err := Open(filepath.Join(root, "f"), false, Options{}); err == nil || !strings.Contains(err.Error(), "file:") {
		t.Errorf("a file: %v", err)
	}
	if _, err := Open(filepath.Join(root, "none"), false, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	before := runtime.NumGoroutine()
	boom := errors.New("boom")
	s, err := Open(root, false, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.ReadPart(context.Background(), 0, visitorError{boom}); !errors.Is(err, boom) {
		t.Errorf("visitor's error: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.ReadPart(ctx, 0, newKeeper()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

type visitorError struct{ err error }

func (visitorError) Wants(*bollwerk.File) bool { return true }
func (v visitorError) Visit(context.Context, bollwerk.File, io.Reader) error {
	return fmt.Errorf("extractor: %w", v.err)
}
