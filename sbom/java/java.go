// Package java owns finding Maven artifacts in archives (jar, war, ear and their
// kin, also inside each other) and Java run-times. pom.xml and Gradle's lock files
// are read elsewhere.
package java

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	// maxArchive is what may be held; larger fat jars exist but are rare.
	maxArchive = 256 << 20
	// maxDepth: ear → war → jar → shaded jar is four.
	maxDepth = 5
	// maxNested bounds one archive inside another, maxUnpacked all that one file of
	// the artifact unpacks to; maxRatio stops what unpacks absurdly well.
	maxNested   = 96 << 20
	maxUnpacked = 512 << 20
	maxRatio    = 200
	maxText     = 1 << 20 // a manifest or pom.properties
	maxNestedIn = 20_000
)

// Archive finds artifacts in archives.
type Archive struct{}

func (Archive) Name() string                  { return "java/archive" }
func (Archive) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemMaven }
func (Archive) Hints() sbom.Hints {
	return sbom.Hints{Exts: []string{"jar", "war", "ear", "par", "sar", "hpi", "jpi", "lpkg", "nar", "kar", "rar"}}
}

func (Archive) Wants(f *bollwerk.File) bool { return f.Size > 22 && archiveName(f.Path) }

func archiveName(p string) bool {
	i := strings.LastIndexByte(p, '.')
	if i < 0 || len(p)-i > 5 {
		return false
	}
	ext := p[i+1:]
	for _, e := range [...]string{"jar", "war", "ear", "par", "sar", "hpi", "jpi", "lpkg", "nar", "kar", "rar"} {
		if strings.EqualFold(ext, e) {
			return true
		}
	}
	return false
}

// Extract opens the archive and those inside it.
func (Archive) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	// What is unpacked counts against the memory budget too: the archive and, at any
	// time, the nested ones on the way down.
	if err := in.Reserve(min(2*in.File.Size, in.File.Size+maxNested)); err != nil {
		return bollwerk.Inventory{}, err
	}
	ra, size, err := in.ReaderAt(maxArchive)
	if err != nil {
		return bollwerk.Inventory{}, err
	}
	w := walker{ctx: ctx, in: in, left: maxUnpacked, top: size}
	if err := w.archive(ra, size, in.File.Path, 1); err != nil {
		if strings.HasSuffix(in.File.Path, ".rar") && errors.Is(err, errNoZip) {
			return bollwerk.Inventory{}, nil // the other kind of rar
		}
		return bollwerk.Inventory{Packages: w.out}, err
	}
	return bollwerk.Inventory{Packages: w.out}, nil
}

type walker struct {
	ctx    context.Context
	in     *sbom.Input
	out    []bollwerk.Package
	left   int64 // bytes that may still be unpacked
	used   int64
	top    int64 // size of the outermost file
	nested int
}

var errBomb = errors.New("unpacks to more than any real archive")

// unpack reads an entry into memory.
func (w *walker) unpack(e *entry, limit int64) ([]byte, error) {
	if int64(e.size) > limit {
		return nil, fmt.Errorf("%d bytes, limit %d: %w", e.size, limit, sbom.ErrTooLarge)
	}
	if w.left <= 0 || w.used > 64<<20 && w.used/max(w.top, 1) > maxRatio {
		return nil, errBomb
	}
	data, err := e.read(min(limit, w.left))
	w.left -= int64(len(data))
	w.used += int64(len(data))
	return data, err
}

// archive looks into one archive; path is how people will find it.
func (w *walker) archive(ra io.ReaderAt, size int64, path string, depth int) error {
	dir, err := openZip(ra, size)
	if err != nil {
		return err
	}
	var poms []coordinates
	var man manifest
	err = dir.each(func(e *entry) error {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		switch {
		case e.name == "pom.properties", strings.HasSuffix(e.name, "/pom.properties"):
			data, err := w.unpack(e, maxText)
			if err != nil {
				w.in.Problem("%s!/%s: %v", path, e.name, err)
				return nil
			}
			if c := pomProperties(data); c.artifact != "" && len(poms) < 5000 {
				poms = append(poms, c)
			}
		case strings.EqualFold(e.name, "META-INF/MANIFEST.MF"):
			data, err := w.unpack(e, maxText)
			if err != nil {
				w.in.Problem("%s!/%s: %v", path, e.name, err)
				return nil
			}
			man = parseManifest(data)
		case archiveName(e.name):
			return w.inner(e, path+"!/"+e.name, depth)
		}
		return nil
	})
	w.identify(ra, size, path, depth, poms, man)
	return err
}

func (w *walker) inner(e *entry, path string, depth int) error {
	if depth >= maxDepth {
		w.in.Problem("%s: archives nested deeper than %d are not opened", path, maxDepth)
		return nil
	}
	if w.nested++; w.nested > maxNestedIn {
		return fmt.Errorf("more than %d archives inside", maxNestedIn)
	}
	// Stored without compression, as Spring Boot does, it can be read in place.
	if sec := e.section(); sec != nil {
		// Entries may overlap, and so an archive contain itself: what is read in
		// place counts as well.
		if sec.Size() > w.left {
			return errBomb
		}
		w.left -= sec.Size()
		if err := w.archive(sec, sec.Size(), path, depth+1); err != nil && w.ctx.Err() == nil {
			if errors.Is(err, errBomb) {
				return err
			}
			w.in.Problem("%s: %v", path, err)
		}
		return w.ctx.Err()
	}
	data, err := w.unpack(e, maxNested)
	if err != nil {
		if errors.Is(err, errBomb) {
			return err
		}
		w.in.Problem("%s: %v", path, err)
		return nil
	}
	if err := w.archive(bytesReaderAt(data), int64(len(data)), path, depth+1); err != nil && w.ctx.Err() == nil {
		if errors.Is(err, errBomb) {
			return err
		}
		w.in.Problem("%s: %v", path, err)
	}
	return w.ctx.Err()
}

type bytesReaderAt []byte

func (b bytesReaderAt) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// identify says what the archive itself is, and which artifacts are merged into it.
func (w *walker) identify(ra io.ReaderAt, size int64, path string, depth int, poms []coordinates, man manifest) {
	file := path[strings.LastIndexByte(path, '/')+1:]
	stem := file
	if i := strings.LastIndexByte(stem, '.'); i > 0 {
		stem = stem[:i]
	}
	artifact, version := splitStem(stem)
	self := -1
	for i, p := range poms {
		if p.artifact == artifact || p.artifact == stem || len(poms) == 1 && p.version != "" && strings.HasPrefix(stem, p.artifact) {
			self = i
		}
	}
	add := func(c coordinates, own bool) {
		if c.artifact == "" {
			return
		}
		p := bollwerk.Package{Name: c.artifact, Version: c.version, Ecosystem: bollwerk.EcosystemMaven, Paths: []string{path}}
		if c.group != "" {
			p.Name = c.group + ":" + c.artifact
		}
		if own {
			p.Licenses = man.licenses()
			if d := digest(ra, size); d != "" {
				p.Hashes = []bollwerk.Digest{d}
			}
		}
		w.out = append(w.out, p)
	}
	for i, p := range poms {
		add(p, i == self)
	}
	if self >= 0 || len(poms) == 1 && !man.named() {
		return
	}
	c := man.coordinates(artifact, version)
	if c.version == "" && len(poms) > 0 {
		return // a bundle of artifacts that are all listed
	}
	// A repackaged application has its own name and, as often as not, no version;
	// nested archives are its content. Only what can be named is listed.
	if c.version == "" && man.len() == 0 {
		return
	}
	for _, p := range poms {
		if p.artifact == c.artifact {
			return
		}
	}
	add(c, true)
}

// digest is the SHA-256 of an archive as it lies there.
func digest(ra io.ReaderAt, size int64) bollwerk.Digest {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(ra, 0, size)); err != nil {
		return ""
	}
	return bollwerk.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}
