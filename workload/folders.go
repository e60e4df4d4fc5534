package workload

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Folders watches folders in which a runtime keeps one folder per container with a
// file that describes it. The runtime writes the file before the first process of the
// container runs, so its name is known in time even if it lives for ten milliseconds.
type Folders struct {
	// Patterns of the folders of containers, as for filepath.Glob:
	// "/run/containerd/io.containerd.runtime.v2.task/*/*". The last folders may come
	// and go; those above are watched too, as far as they exist.
	Patterns []string
	// File in the folder of a container: "config.json", "userdata/config.json".
	File string
	// Changed is called with the folder when File was written, or was there at the
	// start. Ended is called when the folder went away.
	Changed, Ended func(dir string)

	relook time.Duration // 5 s; tests do not have them
}

const (
	maxWatches = 8192 // folders watched at most, of 1 kB of kernel memory each
	relook     = 5 * time.Second
	inWanted   = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_ONLYDIR | unix.IN_DELETE_SELF
)

type folderWatch struct {
	*Folders
	fd    int
	paths map[int32]spot   // by watch
	byDir map[string]int32 // the watch of each folder
	known map[string]bool  // folders of containers that were told
}

// spot is a watched folder: rest are the parts of the pattern still to match below it.
type spot struct {
	dir  string
	rest []string
	unit string // the folder of a container that this is, or is inside of
}

// Run watches until ctx is done. It returns ErrAbsent when not even the folders above
// are there.
func (w *Folders) Run(ctx context.Context) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return fmt.Errorf("inotify: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	defer f.Close()
	s := &folderWatch{Folders: w, fd: fd, paths: map[int32]spot{}, byDir: map[string]int32{}, known: map[string]bool{}}
	if err := s.look(); err != nil {
		return err
	}
	if len(s.paths) == 0 {
		return ErrAbsent
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	again := relook
	if w.relook > 0 {
		again = w.relook
	}
	buf := make([]byte, 16<<10)
	for {
		// Roots that did not exist are looked for from time to time.
		_ = f.SetReadDeadline(time.Now().Add(again))
		if ctx.Err() != nil {
			return nil
		}
		n, err := f.Read(buf)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if err := s.look(); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("inotify: %w", err)
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd := int32(binary.NativeEndian.Uint32(b))
			mask := binary.NativeEndian.Uint32(b[4:])
			size := int(binary.NativeEndian.Uint32(b[12:]))
			if len(b) < unix.SizeofInotifyEvent+size {
				break
			}
			name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
			b = b[unix.SizeofInotifyEvent+size:]
			if mask&unix.IN_Q_OVERFLOW != 0 {
				if err := s.look(); err != nil {
					return err
				}
				continue
			}
			if err := s.event(wd, mask, name); err != nil {
				return err
			}
		}
	}
}

// look watches whatever matches the patterns now.
func (w *folderWatch) look() error {
	for _, p := range w.Patterns {
		parts := strings.Split(strings.Trim(p, "/"), "/")
		// The fixed part of the pattern must exist; what varies is watched.
		i := 0
		for i < len(parts) && !strings.ContainsAny(parts[i], "*?[") {
			i++
		}
		root := "/" + strings.Join(parts[:i], "/")
		if err := w.add(root, parts[i:], ""); err != nil {
			return err
		}
	}
	return nil
}

// add watches a folder and what is in it. Watch first, then look: what appears in
// between is seen twice, never not at all.
func (w *folderWatch) add(dir string, rest []string, unit string) error {
	if len(rest) == 0 && unit == "" {
		unit = dir
		rest = strings.Split(w.File, "/")
	}
	if _, ok := w.byDir[dir]; !ok {
		if len(w.byDir) >= maxWatches {
			return nil // found when asked for
		}
		wd, err := unix.InotifyAddWatch(w.fd, dir, inWanted)
		switch {
		case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EACCES):
			return nil
		case err != nil:
			return fmt.Errorf("inotify: %s: %w (fs.inotify.max_user_watches is too small?)", dir, err)
		}
		w.paths[int32(wd)] = spot{dir, rest, unit}
		w.byDir[dir] = int32(wd)
	}
	if unit != "" && len(rest) == 1 {
		if _, err := os.Lstat(filepath.Join(dir, rest[0])); err == nil && !w.known[unit] {
			w.known[unit] = true
			w.Changed(unit)
		}
		return nil
	}
	if unit != "" {
		return w.add(filepath.Join(dir, rest[0]), rest[1:], unit)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(256)
		for _, n := range names {
			if matches(rest[0], n) {
				if err := w.add(filepath.Join(dir, n), rest[1:], ""); err != nil {
					return err
				}
			}
		}
		if err != nil || len(w.byDir) >= maxWatches {
			return nil
		}
	}
}

func (w *folderWatch) event(wd int32, mask uint32, name string) error {
	s, ok := w.paths[wd]
	if !ok {
		return nil
	}
	if mask&(unix.IN_DELETE_SELF|unix.IN_IGNORED) != 0 {
		w.drop(s.dir)
		return nil
	}
	if len(s.rest) == 0 {
		return nil
	}
	path := filepath.Join(s.dir, name)
	if s.unit != "" {
		if name != s.rest[0] || mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0 {
			return nil
		}
		if len(s.rest) > 1 {
			return w.add(path, s.rest[1:], s.unit)
		}
		// Written in place (closed) or moved to its name.
		if mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0 {
			w.known[s.unit] = true
			w.Changed(s.unit)
		}
		return nil
	}
	switch {
	case !matches(s.rest[0], name):
	case mask&(unix.IN_MOVED_FROM|unix.IN_DELETE) != 0:
		// containerd renames a bundle to ".<id>" before it empties it.
		w.drop(path)
	case mask&(unix.IN_CREATE|unix.IN_MOVED_TO) != 0:
		return w.add(path, s.rest[1:], "")
	}
	return nil
}

// drop ends the watch of a folder and says so if it was a container's.
func (w *folderWatch) drop(dir string) {
	if wd, ok := w.byDir[dir]; ok {
		_, _ = unix.InotifyRmWatch(w.fd, uint32(wd))
		delete(w.paths, wd)
		delete(w.byDir, dir)
	}
	if w.known[dir] {
		delete(w.known, dir)
		w.Ended(dir)
	}
}

// matches is the shell's matching: "*" leaves out names that begin with a dot.
func matches(pattern, name string) bool {
	ok, err := filepath.Match(pattern, name)
	return ok && err == nil && !strings.HasPrefix(name, ".")
}
