package dir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"golang.org/x/sys/unix"
)

// Options say how a directory is read. The zero value is usable.
type Options struct {
	// Skip lists patterns (internal/glob: * crosses slashes) of paths, relative to the
	// root, that are not read. A directory that matches is not entered.
	Skip []string
	// Network reads mounted network file systems too.
	Network bool
	// Workers read in parallel, as far as the visitor allows; 0: 2.
	Workers int
	Limits  artifact.Limits
}

// Source is an opened directory. It is an artifact.Source with one part.
type Source struct {
	about bollwerk.Artifact
	root  *os.File
	o     Options
	host  bool
}

// Open opens a directory; host: it is the root file system of this machine.
func Open(path string, host bool, o Options) (*Source, error) {
	if host {
		path = "/"
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, unix.ENOTDIR) {
			return nil, fmt.Errorf("directory %s: not a directory; for a single file write file:%s", path, path)
		}
		return nil, fmt.Errorf("directory %s: %w", path, err)
	}
	s := &Source{root: os.NewFile(uintptr(fd), path), o: o, host: host}
	if s.o.Workers <= 0 {
		s.o.Workers = 2
	}
	s.o.Limits = o.Limits.WithDefaults()
	name := filepath.Base(filepath.Clean(path))
	if name == "." || name == ".." {
		if abs, err := filepath.Abs(path); err == nil {
			name = filepath.Base(abs)
		}
	}
	s.about = bollwerk.Artifact{Ref: "dir:" + path, Name: name, Kind: bollwerk.KindDirectory}
	if host {
		s.about.Ref, s.about.Kind, s.about.Name = "/", bollwerk.KindHost, "this host"
		if h, err := os.Hostname(); err == nil && h != "" {
			s.about.Name = h
		}
	}
	return s, nil
}

// Artifact implements artifact.Source.
func (s *Source) Artifact() bollwerk.Artifact { return s.about }

// Parts implements artifact.Source.
func (s *Source) Parts() int { return 1 }

// Close implements artifact.Source.
func (s *Source) Close() error { return s.root.Close() }

// ReadPart implements artifact.Source. With a visitor that is an
// artifact.ParallelVisitor the files are shown by several goroutines at once;
// otherwise one at a time, while directories are still listed in parallel. The
// order is not defined.
func (s *Source) ReadPart(ctx context.Context, part int, v artifact.Visitor) (artifact.PartSummary, error) {
	if part != 0 {
		return artifact.PartSummary{}, fmt.Errorf("directory %s: no part %d", s.about.Name, part)
	}
	return newWalk(s, v).run(ctx)
}
