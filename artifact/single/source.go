// Package single reads one file: a jar, a wheel, a program or a lock file as it is,
// an archive (zip, tar, compressed tar) by its entries.
package single

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
)

// Source is one opened file. It is an artifact.Source with one part.
type Source struct {
	mu     sync.Mutex // guards about.Digest
	about  bollwerk.Artifact
	f      *os.File
	info   fs.FileInfo
	form   form
	budget *artifact.Budget
}

// form is how a file is shown.
type form int

const (
	whole form = iota // as one entry
	asZip
	asTar // compressed or not
)

// Options bound what is read.
type Options struct {
	Limits artifact.Limits
}

// Open opens a regular file. It is hashed when it is read.
func Open(path string, o Options) (*Source, error) {
	// O_NONBLOCK: a pipe must be refused, not waited for.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	s, err := open(f, path, o.Limits)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("file %s: %w", path, err)
	}
	return s, nil
}

func open(f *os.File, path string, limits artifact.Limits) (*Source, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if fi.IsDir() {
		return nil, fmt.Errorf("is a directory; write dir:%s", path)
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	name := filepath.Base(path)
	form, err := formOf(f, fi.Size(), name)
	if err != nil {
		return nil, err
	}
	return &Source{
		about: bollwerk.Artifact{Ref: "file:" + path, Name: name, Kind: bollwerk.KindArchive},
		f:     f, info: fi, form: form, budget: artifact.NewBudget(limits),
	}, nil
}

type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// packaged are the zip files that an extractor reads as a whole, because what their
// parts mean depends on the name of the file around them: Java's. Other packages in
// this form (a wheel, an egg, a NuGet package) tell their name inside, and are shown
// by their entries.
var packaged = []string{".jar", ".war", ".ear", ".par", ".sar", ".jpi", ".hpi", ".lpkg", ".kar", ".rar", ".nar"}

func formOf(f io.ReaderAt, size int64, name string) (form, error) {
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return whole, err
	}
	head = head[:n]
	lower := strings.ToLower(name)
	if n >= 4 && string(head[:2]) == "PK" && (string(head[2:4]) == "\x03\x04" || string(head[2:4]) == "\x05\x06") {
		for _, ext := range packaged {
			if strings.HasSuffix(lower, ext) {
				return whole, nil
			}
		}
		return asZip, nil
	}
	if strings.HasSuffix(lower, ".gem") || strings.HasSuffix(lower, ".crate") || strings.HasSuffix(lower, ".deb") || strings.HasSuffix(lower, ".rpm") {
		return whole, nil
	}
	if isTar(head) {
		return asTar, nil
	}
	if compressed, err := artifact.Compressed(f); err != nil || !compressed {
		return whole, err
	}
	// A compressed file is an archive if a tar header lies inside.
	r, err := artifact.Decompress(context.Background(), io.NewSectionReader(f, 0, size), artifact.Limits{})
	if err != nil {
		return whole, nil
	}
	defer r.Close()
	inner := make([]byte, 512)
	if n, _ := io.ReadFull(r, inner); isTar(inner[:n]) {
		return asTar, nil
	}
	return whole, nil
}

// isTar recognises POSIX and GNU archives by their magic; tar files from before 1988
// have none and are shown as they are.
func isTar(head []byte) bool { return len(head) >= 263 && string(head[257:262]) == "ustar" }

// Artifact implements artifact.Source. The digest is known once the file was read.
func (s *Source) Artifact() bollwerk.Artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.about
}

// hash fills in the digest of the file.
func (s *Source) hash(ctx context.Context) error {
	h := sha256.New()
	if _, err := io.Copy(h, &cancelled{ctx, io.NewSectionReader(s.f, 0, s.info.Size())}); err != nil {
		return fmt.Errorf("file %s: %w", s.about.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.about.Digest = bollwerk.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
	return nil
}

// Parts implements artifact.Source.
func (s *Source) Parts() int { return 1 }

// Close implements artifact.Source.
func (s *Source) Close() error { return s.f.Close() }

// ReadPart implements artifact.Source.
func (s *Source) ReadPart(ctx context.Context, part int, v artifact.Visitor) (artifact.PartSummary, error) {
	if part != 0 {
		return artifact.PartSummary{}, fmt.Errorf("file %s: no part %d", s.about.Name, part)
	}
	if err := s.hash(ctx); err != nil {
		return artifact.PartSummary{}, err
	}
	switch s.form {
	case asZip:
		return s.readZip(ctx, v)
	case asTar:
		return artifact.ReadBlob(ctx, artifact.Blob{
			Name: "archive " + s.about.Name, Size: s.info.Size(),
			Open: func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(io.NewSectionReader(s.f, 0, s.info.Size())), nil
			},
		}, s.budget, v)
	}
	f := bollwerk.File{Path: s.about.Name, Size: s.info.Size(), Mode: s.info.Mode(), ModTime: s.info.ModTime()}
	sum := artifact.PartSummary{Entries: 1, Files: 1, Bytes: f.Size}
	if v.Wants(&f) {
		if err := v.Visit(ctx, f, io.NewSectionReader(s.f, 0, f.Size)); err != nil {
			return artifact.PartSummary{}, fmt.Errorf("file %s: %w", s.about.Name, err)
		}
	}
	return sum, nil
}
