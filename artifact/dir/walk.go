package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/internal/glob"
	"golang.org/x/sys/unix"
)

// walk visits every file below the root once. Directories wait in a stack from which
// workers take; each is opened from the root's descriptor without following any link,
// so that a directory that is swapped for a link during the walk leads nowhere.
type walk struct {
	s     *Source
	v     artifact.Visitor
	alone *sync.Mutex // held around the visitor unless it is parallel

	mu       sync.Mutex
	cond     *sync.Cond
	stack    []pending
	busy     int
	err      error
	problems artifact.Problems
	entries  int
	files    int
	bytes    int64
}

type pending struct {
	path string // relative to the root, "" for the root
	dev  uint64 // of the parent
}

// maxPath is PATH_MAX: longer paths cannot be named to the kernel in one piece.
const maxPath = 4095

func newWalk(s *Source, v artifact.Visitor) *walk {
	w := &walk{s: s, v: v}
	w.cond = sync.NewCond(&w.mu)
	if p, ok := v.(artifact.ParallelVisitor); !ok || !p.Parallel() {
		w.alone = &sync.Mutex{}
	}
	return w
}

func (w *walk) run(ctx context.Context) (artifact.PartSummary, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(w.s.root.Fd()), &st); err != nil {
		return artifact.PartSummary{}, fmt.Errorf("directory %s: %w", w.s.about.Name, err)
	}
	w.stack = []pending{{"", st.Dev}}
	stop := context.AfterFunc(ctx, func() { w.fail(context.Cause(ctx)) })
	defer stop()
	var wg sync.WaitGroup
	for range w.s.o.Workers {
		wg.Go(func() { w.work(ctx) })
	}
	wg.Wait()
	if w.err != nil {
		return artifact.PartSummary{}, fmt.Errorf("directory %s: %w", w.s.about.Name, w.err)
	}
	return artifact.PartSummary{Entries: w.entries, Files: w.files, Bytes: w.bytes, Problems: w.problems.List()}, nil
}

func (w *walk) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.cond.Broadcast()
}

func (w *walk) problem(path, cause string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.problems.Add(path, cause)
}

// work takes directories until none is left and nobody can add one.
func (w *walk) work(ctx context.Context) {
	for {
		w.mu.Lock()
		for len(w.stack) == 0 && w.busy > 0 && w.err == nil {
			w.cond.Wait()
		}
		if w.err != nil || len(w.stack) == 0 {
			w.cond.Broadcast()
			w.mu.Unlock()
			return
		}
		d := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		w.busy++
		w.mu.Unlock()

		err := w.directory(ctx, d)
		if err != nil {
			w.fail(err)
		}
		w.mu.Lock()
		w.busy--
		w.cond.Broadcast()
		w.mu.Unlock()
	}
}

// cause says what the kernel said, without the path it would be said with.
func cause(err error) string {
	var en unix.Errno
	if errors.As(err, &en) {
		switch en {
		case unix.EACCES, unix.EPERM:
			return "permission denied; run as root to read everything"
		case unix.ELOOP:
			return "became a symbolic link while it was read"
		}
		return "cannot be read: " + en.Error()
	}
	return "cannot be read: " + err.Error()
}

// directory lists one directory, shows its files and stacks its sub-directories.
func (w *walk) directory(ctx context.Context, d pending) error {
	dir, err := openBeneath(int(w.s.root.Fd()), d.path, unix.O_DIRECTORY)
	if err != nil {
		if !errors.Is(err, unix.ENOENT) { // gone in the meantime: nothing to read
			w.problem(d.path, cause(err))
		}
		return nil
	}
	defer dir.Close()
	fd := int(dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		w.problem(d.path, cause(err))
		return nil
	}
	if st.Dev != d.dev {
		if why := w.leaveMount(fd, d.path); why != "" {
			if why != pseudo {
				w.problem(d.path, why)
			}
			return nil
		}
	}
	for {
		names, rerr := dir.Readdirnames(512)
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if err := w.entry(ctx, fd, d, st.Dev, name); err != nil {
				return err
			}
		}
		if rerr == io.EOF {
			return nil
		}
		if rerr != nil {
			w.problem(d.path, cause(rerr))
			return nil
		}
	}
}

func (w *walk) entry(ctx context.Context, dirfd int, d pending, dev uint64, name string) error {
	p := name
	if d.path != "" {
		p = d.path + "/" + name
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if !errors.Is(err, unix.ENOENT) {
			w.problem(p, cause(err))
		}
		return nil
	}
	if len(w.s.o.Skip) > 0 && glob.MatchAny(w.s.o.Skip, p) {
		w.mu.Lock()
		w.problems.AddWanted(p, "left out by --skip")
		w.mu.Unlock()
		return nil
	}
	f := file(p, &st)
	w.mu.Lock()
	w.entries++
	over := w.entries > w.s.o.Limits.MaxEntries
	if f.Mode.IsRegular() {
		w.files++
		w.bytes += f.Size
	}
	w.mu.Unlock()
	if over {
		return &limitError{fmt.Sprintf("more than %d entries; narrow the target or use --skip", w.s.o.Limits.MaxEntries)}
	}
	switch {
	case f.Mode.IsDir():
		w.ask(&f)
		if why := w.leaveDirectory(p); why != "" {
			if why != pseudo {
				w.problem(p, why)
			}
			return nil
		}
		if len(p) > maxPath-256 {
			w.problem(p, fmt.Sprintf("path longer than %d bytes, not entered", maxPath-256))
			return nil
		}
		w.mu.Lock()
		w.stack = append(w.stack, pending{p, dev})
		w.cond.Signal()
		w.mu.Unlock()
		return nil
	case f.Mode&fs.ModeSymlink != 0:
		f.Linkname = readlink(dirfd, name)
	}
	if !w.ask(&f) || !f.Mode.IsRegular() {
		return nil
	}
	return w.visit(ctx, dirfd, name, f, &st)
}

func (w *walk) ask(f *bollwerk.File) bool {
	if w.alone != nil {
		w.alone.Lock()
		defer w.alone.Unlock()
	}
	return w.v.Wants(f)
}

// visit opens a wanted file and shows it.
func (w *walk) visit(ctx context.Context, dirfd int, name string, f bollwerk.File, st *unix.Stat_t) error {
	if f.Size > w.s.o.Limits.MaxFileSize {
		w.problem(f.Path, fmt.Sprintf("larger than %d bytes, content not read", w.s.o.Limits.MaxFileSize))
		return nil
	}
	// O_NONBLOCK: should it have become a pipe since, opening must not wait for a writer.
	fd, err := unix.Openat(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		if !errors.Is(err, unix.ENOENT) {
			w.problem(f.Path, cause(err))
		}
		return nil
	}
	file := os.NewFile(uintptr(fd), f.Path)
	defer file.Close()
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil || now.Mode&unix.S_IFMT != unix.S_IFREG || now.Ino != st.Ino || now.Dev != st.Dev {
		w.problem(f.Path, "was replaced while it was read")
		return nil
	}
	f.Size = now.Size
	if w.alone != nil {
		w.alone.Lock()
		defer w.alone.Unlock()
	}
	r := &diskFile{f: file, size: now.Size}
	if err := w.v.Visit(ctx, f, r); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if r.err != nil {
		w.problem(f.Path, cause(r.err))
	}
	return nil
}

// diskFile is the content of a file on disk, cut at the size it had when it was
// opened: a log that grows as fast as it is read must not keep the scan going.
type diskFile struct {
	f    *os.File
	size int64
	off  int64
	err  error // a read error, told even if the visitor swallows it
}

func (r *diskFile) Read(p []byte) (int, error) {
	if r.off >= r.size {
		return 0, io.EOF
	}
	if int64(len(p)) > r.size-r.off {
		p = p[:r.size-r.off]
	}
	n, err := r.f.Read(p)
	r.off += int64(n)
	r.keep(err)
	return n, err
}

func (r *diskFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.f.ReadAt(p, off)
	r.keep(err)
	return n, err
}

// Size implements artifact.Sized.
func (r *diskFile) Size() int64 { return r.size }

func (r *diskFile) keep(err error) {
	if err != nil && err != io.EOF && r.err == nil {
		r.err = err
	}
}

// openBeneath opens a path below root without following a symbolic link anywhere.
func openBeneath(root int, p string, flags int) (*os.File, error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOFOLLOW
	if p == "" {
		p = "."
	}
	fd, err := unix.Openat2(root, p, &unix.OpenHow{
		Flags:   uint64(flags),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		// Kernels before 5.6, and sandboxes that do not know the call: step by step.
		fd, err = openStepwise(root, p, flags)
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), p), nil
}

func openStepwise(root int, p string, flags int) (int, error) {
	fd, err := unix.Dup(root)
	if err != nil {
		return -1, err
	}
	parts := strings.Split(path.Clean(p), "/")
	for i, el := range parts {
		how := flags
		if i < len(parts)-1 {
			how = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		next, err := unix.Openat(fd, el, how, 0)
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

func readlink(dirfd int, name string) string {
	buf := make([]byte, maxPath)
	n, err := unix.Readlinkat(dirfd, name, buf)
	if err != nil || n < 0 {
		return ""
	}
	return string(buf[:n])
}

func file(p string, st *unix.Stat_t) bollwerk.File {
	f := bollwerk.File{
		Path: p, Size: st.Size, UID: int(st.Uid), GID: int(st.Gid),
		Mode: fs.FileMode(st.Mode & 0o777), ModTime: time.Unix(st.Mtim.Unix()),
	}
	for _, bit := range []struct {
		unix uint32
		mode fs.FileMode
	}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}} {
		if st.Mode&bit.unix != 0 {
			f.Mode |= bit.mode
		}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f.Mode |= fs.ModeDir
	case unix.S_IFLNK:
		f.Mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		f.Mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		f.Mode |= fs.ModeSocket
	case unix.S_IFCHR:
		f.Mode |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		f.Mode |= fs.ModeDevice
	}
	return f
}

// limitError is artifact.ErrLimit in words.
type limitError struct{ msg string }

func (e *limitError) Error() string        { return e.msg }
func (e *limitError) Is(target error) bool { return target == artifact.ErrLimit }
