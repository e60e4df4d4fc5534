package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
)

// Layered is a Source that knows of which layers of its image the root of a container is
// made. It may be called from several goroutines.
type Layered interface {
	Source
	// Layers may ask a daemon and obeys ctx. image is the digest that is known of the
	// container's image, "" for none. The error is ErrUnknown when the source does not have
	// the container, or cannot say for sure what lies in which folder; ErrAbsent as with Lookup.
	Layers(ctx context.Context, ref Ref, image bollwerk.Digest) (Root, error)
}

// Root is the root file system of a container: an overlay of folders of this machine.
type Root struct {
	// Mount is the folder where the runtime puts it together, "" when it does not say.
	Mount string
	// Layers of the image, the highest first, at most MaxLayers. They may be shared.
	Layers []Layer
}

// Layer is one layer of an image on this machine.
type Layer struct {
	Dir    string          // what it holds lies here
	Digest bollwerk.Digest // of its uncompressed archive: the diff id of the image's configuration
}

// MaxLayers is the most that is read of one image; overlayfs takes 500.
const MaxLayers = 512

// Layers says from which layer of its image a program comes. It owns the folders of the
// containers' roots, and what was found in them; the runtimes' records are read by their
// sources.
//
// A file belongs to the highest layer that has the same path with the same inode number, and
// only if it was started from the very overlay that the runtime made: a container may mount
// an overlay of its own, over files with numbers of its choice. What a layer holds was
// written by strangers, so no link in it is followed.
type Layers struct {
	sources []Layered
	log     *slog.Logger
	now     func() time.Time
	queue   chan *root
	told    chan struct{}
	// slow: somebody waited for an answer in vain. Nobody waits until one comes in time again.
	slow atomic.Bool

	mu      sync.RWMutex
	roots   map[rootKey]*root
	cgroups map[uint64]*root // also of cgroups inside of the container
	files   map[program]bollwerk.Digest
}

type rootKey struct {
	cgroup      uint64
	id, runtime string
	image       bollwerk.Digest
}

// root of one container.
type root struct {
	key   rootKey
	ref   Ref
	began time.Time // it was asked for
	found atomic.Pointer[foundRoot]
	over  atomic.Bool // there is an answer, if only that nobody knows
	again atomic.Int64

	tries  int // owned by who asks
	window atomic.Int64
	looked atomic.Int64
}

type foundRoot struct {
	Root
	device uint64
}

type program struct {
	cgroup, device, inode uint64
	path                  string
}

const (
	mostRoots    = 4096
	mostPrograms = 8192
	// mostLooks is how often a container's layers are looked into in lookWindow: whoever can
	// mount may have a file by thousands of names.
	mostLooks   = 2000
	lookWindow  = 10 * time.Second
	layerWait   = MaxWait
	layerLimit  = 2 * time.Second // of one question
	layerQueue  = 512
	layerAsking = 2
)

// NewLayers takes the sources that know of layers. Nothing is asked before Run runs.
func NewLayers(log *slog.Logger, sources ...Source) *Layers {
	l := &Layers{log: log, now: time.Now, queue: make(chan *root, layerQueue), told: make(chan struct{}, 1),
		roots: map[rootKey]*root{}, cgroups: map[uint64]*root{}, files: map[program]bollwerk.Digest{}}
	if log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	for _, s := range sources {
		if s, ok := s.(Layered); ok {
			l.sources = append(l.sources, s)
		}
	}
	return l
}

// Told receives a value when a question was answered for which somebody may wait.
func (l *Layers) Told() <-chan struct{} { return l.told }

// fromImage: only what lies unchanged in an image has a layer.
func fromImage(p *bollwerk.Process) bool {
	return p != nil && p.Origin == bollwerk.OriginImage && p.Inode != 0 && p.Device != 0 && len(p.Path) > 1 && p.Path[0] == '/'
}

// Of returns the layer of a process's executable, "" when that cannot be said now. It asks
// nobody: a file that was seen before costs two look-ups in maps and nothing on the heap, a
// new one some microseconds for each layer above its own.
func (l *Layers) Of(p *bollwerk.Process) bollwerk.Digest {
	if !fromImage(p) {
		return ""
	}
	key := program{p.Cgroup, p.Device, p.Inode, p.Path}
	l.mu.RLock()
	d, known := bollwerk.Digest(""), false
	r := l.cgroups[p.Cgroup]
	f := r.stands()
	if f != nil {
		d, known = l.files[key]
	}
	l.mu.RUnlock()
	if known || f == nil || f.device != p.Device || !r.mayLook(l.now()) {
		return d
	}
	d = f.find(p.Path, p.Inode)
	l.mu.Lock()
	defer l.mu.Unlock()
	for k := range l.files {
		if len(l.files) < mostPrograms {
			break
		}
		delete(l.files, k)
	}
	l.files[key] = d
	return d
}

// Awaits reports whether it is worth to wait for the layer of a process's executable, at most
// MaxWait from when its container was first asked for here; Told tells. It asks for what is
// not known and never waits itself.
func (l *Layers) Awaits(w *bollwerk.Workload, p *bollwerk.Process) bool {
	if len(l.sources) == 0 || w == nil || w.Container == nil || !fromImage(p) {
		return false
	}
	now := l.now()
	r := l.root(w, p, now)
	if r.over.Load() {
		if at := r.again.Load(); at != 0 && now.UnixNano() >= at && r.again.CompareAndSwap(at, 0) {
			l.ask(r)
		}
		return false
	}
	return !l.slow.Load() && now.Sub(r.began).Abs() < layerWait
}

// Pending reports whether the layers of a process's container were asked for and nobody
// answered yet.
func (l *Layers) Pending(p *bollwerk.Process) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	r := l.cgroups[p.Cgroup]
	return r != nil && !r.over.Load()
}

// root is what is known of the root of a container; the first time it is asked for.
func (l *Layers) root(w *bollwerk.Workload, p *bollwerk.Process, now time.Time) *root {
	key := rootKey{w.Cgroup, w.Container.ID, w.Container.Runtime, w.Container.Digest}
	l.mu.RLock()
	r := l.cgroups[p.Cgroup]
	l.mu.RUnlock()
	if r != nil && r.key == key {
		return r
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if r = l.roots[key]; r == nil {
		r = &root{key: key, began: now, ref: Ref{ID: w.Container.ID, Runtime: w.Container.Runtime, Path: p.CgroupPath, Pod: w.Pod, PID: w.Container.PID}}
		if r.ref.PID == 0 {
			r.ref.PID = p.PID
		}
		for k, old := range l.roots {
			if len(l.roots) < mostRoots {
				break
			}
			l.drop(k, old)
		}
		l.roots[key] = r
		l.ask(r)
	}
	for k := range l.cgroups {
		if len(l.cgroups) < mostRoots {
			break
		}
		delete(l.cgroups, k)
	}
	l.cgroups[p.Cgroup] = r
	return r
}

// Forget drops what is known of a container that ended.
func (l *Layers) Forget(w *bollwerk.Workload) {
	if w == nil || w.Container == nil || len(l.sources) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, r := range l.roots {
		if k.cgroup == w.Cgroup && k.id == w.Container.ID {
			l.drop(k, r)
		}
	}
}

// drop wants l.mu held. Its programs go when their room is needed: cgroups get no number twice.
func (l *Layers) drop(k rootKey, r *root) {
	delete(l.roots, k)
	for c, o := range l.cgroups {
		if o == r {
			delete(l.cgroups, c)
		}
	}
}

func (l *Layers) ask(r *root) {
	select {
	case l.queue <- r:
	default:
		r.over.Store(true)
		r.again.Store(l.now().Add(layerLimit).UnixNano())
	}
}

// stands is what is known of a root, nil for nothing.
func (r *root) stands() *foundRoot {
	if r == nil {
		return nil
	}
	return r.found.Load()
}

// mayLook counts a look into the layers of a container.
func (r *root) mayLook(now time.Time) bool {
	if at := now.UnixNano() / int64(lookWindow); r.window.Swap(at) != at {
		r.looked.Store(0)
	}
	return r.looked.Add(1) <= mostLooks
}

// Run answers the questions until ctx is done.
func (l *Layers) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range layerAsking {
		wg.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case r := <-l.queue:
					l.answer(ctx, r)
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func (l *Layers) answer(ctx context.Context, r *root) {
	began := time.Now()
	f, err := l.read(ctx, r)
	// Only who may have to wait for the container's runtime says whether it is slow.
	if err == nil || !errors.Is(err, ErrUnknown) {
		l.slow.Store(time.Since(began) > layerWait)
	}
	switch {
	case err == nil:
		r.found.Store(f)
	case ctx.Err() != nil:
		return
	default:
		// Runtimes write some things late; a daemon may come back.
		r.tries++
		r.again.Store(l.now().Add(min(500*time.Millisecond<<min(r.tries, 12), 10*time.Minute)).UnixNano())
		l.log.Debug("layers of a container", "container", r.key.id, "error", err)
	}
	r.over.Store(true)
	select {
	case l.told <- struct{}{}:
	default:
	}
}

func (l *Layers) read(ctx context.Context, r *root) (*foundRoot, error) {
	result := error(ErrUnknown)
	for _, s := range l.sources {
		ask, cancel := context.WithTimeout(ctx, layerLimit)
		found, err := s.Layers(ask, r.ref, r.key.image)
		cancel()
		switch {
		case err == nil && len(found.Layers) > MaxLayers:
			return nil, fmt.Errorf("%s: %d layers, more than %d", s.Name(), len(found.Layers), MaxLayers)
		case err == nil:
			f := &foundRoot{Root: found}
			if f.device = deviceOf(found.Mount, r.ref.PID); f.device == 0 {
				return nil, fmt.Errorf("%s: its root is not to be seen", s.Name())
			}
			return f, nil
		case !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrAbsent):
			result = fmt.Errorf("%s: %w", s.Name(), err)
		}
	}
	return nil, result
}

// deviceOf is the number of the overlay that is a container's root. What the runtime mounted
// is the truth; where that is not to be seen (an agent in a container, a user's own runtime)
// it is the root of the container's process. 0 when it is no overlay.
func deviceOf(mount string, pid uint32) uint64 {
	if d := overlayDevice(mount); mount != "" && d != 0 {
		return d
	}
	if pid == 0 {
		return 0
	}
	return overlayDevice(fmt.Sprintf("/proc/%d/root", pid))
}

func overlayDevice(dir string) uint64 {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || uint64(fs.Type)&math.MaxUint32 != unix.OVERLAYFS_SUPER_MAGIC || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Dev
}

// find looks for a file from the highest layer on.
func (r *Root) find(path string, inode uint64) bollwerk.Digest {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	path = strings.TrimLeft(path, "/")
	for i := range r.Layers {
		dir, err := unix.Open(r.Layers[i].Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		fd, err := unix.Openat2(dir, path, &how)
		unix.Close(dir)
		if err != nil {
			continue
		}
		err = unix.Fstat(fd, &st)
		unix.Close(fd)
		if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Ino == inode {
			return r.Layers[i].Digest
		}
	}
	return ""
}
