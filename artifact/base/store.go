// Package base keeps the list of known base images and recognises them: the image
// whose layers are the longest beginning of another's.
package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"golang.org/x/sys/unix"
)

const (
	// format is the version of the file; a greater one is refused, not guessed at.
	format = 1
	// maxFile and maxImages bound what is read: each image costs some 100 bytes a layer.
	maxFile   = 16 << 20
	maxImages = 10_000
)

// Entry is one registered base image. The same name may be registered several
// times, once per platform and per build of the image.
type Entry struct {
	bollwerk.BaseImage
	Platform string    `json:"platform,omitempty"`
	Added    time.Time `json:"added"`
}

type file struct {
	Format int     `json:"format"`
	Images []Entry `json:"images"`
}

// Store is the list, read from a small JSON file when it was opened.
type Store struct {
	path   string
	images []Entry
}

// Open reads the list. A file that does not exist is an empty list; a damaged one
// is an error, because without it base images would silently not be recognised.
func Open(path string) (*Store, error) {
	images, err := read(path)
	if err != nil {
		return nil, err
	}
	return &Store{path: path, images: images}, nil
}

func read(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("base images: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("base images: %w", err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("base images: %s is larger than %d bytes", path, maxFile)
	}
	images, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("base images: %s: %w; remove the file and register the images again with `bollwerk base add`", path, err)
	}
	return images, nil
}

func parse(b []byte) ([]Entry, error) {
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("damaged: %w", err)
	}
	if f.Format != format {
		return nil, fmt.Errorf("has the format %d, this program knows %d", f.Format, format)
	}
	if len(f.Images) > maxImages {
		return nil, fmt.Errorf("lists more than %d images", maxImages)
	}
	for _, e := range f.Images {
		if err := check(e); err != nil {
			return nil, err
		}
	}
	return f.Images, nil
}

func check(e Entry) error {
	if e.Name == "" {
		return errors.New("an image without a name")
	}
	if len(e.Layers) == 0 {
		return fmt.Errorf("image %s: has no layers and would be the base of everything", e.Name)
	}
	for _, l := range e.Layers {
		if _, err := bollwerk.ParseDigest(string(l)); err != nil {
			return fmt.Errorf("image %s: %w", e.Name, err)
		}
	}
	return nil
}

// List returns the registered images, by name, then platform, newest first.
func (s *Store) List() []Entry {
	out := slices.Clone(s.images)
	slices.SortStableFunc(out, func(a, b Entry) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		if c := strings.Compare(a.Platform, b.Platform); c != 0 {
			return c
		}
		return b.Added.Compare(a.Added)
	})
	return out
}

// Add registers an image and writes the file. Layers that are known under the same
// name and platform are not listed twice; it reports whether anything was new.
func (s *Store) Add(e Entry) (bool, error) {
	if err := check(e); err != nil {
		return false, fmt.Errorf("base images: %w", err)
	}
	added := false
	err := s.change(func(images []Entry) ([]Entry, error) {
		for i, have := range images {
			if have.Name == e.Name && have.Platform == e.Platform && slices.Equal(have.Layers, e.Layers) {
				images[i] = e
				return images, nil
			}
		}
		if len(images) >= maxImages {
			return nil, fmt.Errorf("base images: %d are registered already; remove some", len(images))
		}
		added = true
		return append(images, e), nil
	})
	return added, err
}

// Remove forgets every image of a name, or with a digest, and returns how many.
func (s *Store) Remove(nameOrDigest string) (int, error) {
	n := 0
	err := s.change(func(images []Entry) ([]Entry, error) {
		keep := images[:0:0]
		for _, e := range images {
			if e.Name == nameOrDigest || e.Digest != "" && string(e.Digest) == nameOrDigest {
				n++
				continue
			}
			keep = append(keep, e)
		}
		return keep, nil
	})
	return n, err
}

// Recognise returns the registered image with the longest list of layers that layers
// (diff IDs, bottom first) begins with, nil when there is none. An image is not its own
// base: scanning debian:12 itself says so with all layers in the base. Of two images with
// the same layers the one registered last is taken.
func (s *Store) Recognise(layers []bollwerk.Digest) *bollwerk.BaseImage {
	var best *Entry
	for i := range s.images {
		e := &s.images[i]
		if len(e.Layers) > len(layers) || !slices.Equal(e.Layers, layers[:len(e.Layers)]) {
			continue
		}
		if best == nil || len(e.Layers) > len(best.Layers) || len(e.Layers) == len(best.Layers) && !e.Added.Before(best.Added) {
			best = e
		}
	}
	if best == nil {
		return nil
	}
	b := best.BaseImage
	b.Layers = slices.Clone(b.Layers)
	return &b
}

// change rewrites the file under a lock, from what it holds now: two commands at once
// lose nothing, and a crash leaves the old file or the new one.
func (s *Store) change(edit func([]Entry) ([]Entry, error)) error {
	dir := filepath.Dir(s.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("base images: %w", err)
	}
	lock, err := os.OpenFile(s.path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("base images: %w", err)
	}
	defer lock.Close() // releases the lock as well
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("base images: lock %s: %w", lock.Name(), err)
	}
	images, err := read(s.path)
	if err != nil {
		return err
	}
	if images, err = edit(images); err != nil {
		return err
	}
	b, err := json.MarshalIndent(file{Format: format, Images: images}, "", "  ")
	if err != nil {
		return fmt.Errorf("base images: %w", err)
	}
	tmp, err := os.CreateTemp(dir, ".bases-*")
	if err != nil {
		return fmt.Errorf("base images: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(append(b, '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), s.path)
	}
	if err != nil {
		return fmt.Errorf("base images: %w", err)
	}
	s.images = images
	return nil
}
