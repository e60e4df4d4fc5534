package artifact

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// maxPath is PATH_MAX of Linux: no runtime can create, nor any program name, more.
const maxPath = 4096

// tarWalk shows one tar stream to a visitor and builds its mask.
type tarWalk struct {
	limits     Limits
	v          Visitor
	links      LinkVisitor // v, when it is one
	mask       maskBuilder
	problems   Problems
	entries    int
	files      int
	bytes      int64
	passed     map[pathHash]passed // regular files with content, up to maxPassed
	remembered int
	missed     map[string][]bollwerk.File // hard links whose content is still needed, by target
	aliases    map[pathHash]string        // hard links that were passed, and their targets
}

// passed is what a later hard link needs to know of the file it names.
type passed struct {
	size    int64
	visited bool
}

// maxPassed bounds the files remembered for hard links, some 15 MB. A link to one
// beyond it is taken for likelySize, which no visitor finds too small or too large, and
// if it is wanted costs a second pass over the layer.
const (
	maxPassed  = 250_000
	likelySize = 32 << 10
)

func newTarWalk(l Limits, v Visitor) *tarWalk {
	w := &tarWalk{limits: l, v: v, passed: map[pathHash]passed{}}
	w.links, _ = v.(LinkVisitor)
	return w
}

func (w *tarWalk) note(path, cause string) { w.problems.Add(path, cause) }

func (w *tarWalk) trailing(n int64) {
	w.problems.Add("", fmt.Sprintf("%d bytes behind the end of the tar archive were not read as files", n))
}

func (w *tarWalk) missedLinks() map[string][]bollwerk.File { return w.missed }

func (w *tarWalk) summary() PartSummary {
	return PartSummary{Entries: w.entries, Files: w.files, Bytes: w.bytes, Mask: w.mask.finish(), Problems: w.problems.List()}
}

func (w *tarWalk) walk(ctx context.Context, r *feedReader) error {
	err := eachEntry(r, w.limits, &w.problems, func(f *bollwerk.File, content io.Reader) error {
		return w.entry(ctx, f, content)
	})
	w.bytes = r.pos
	return err
}

func (w *tarWalk) entry(ctx context.Context, f *bollwerk.File, content io.Reader) error {
	w.entries++
	if w.entries > w.limits.MaxEntries {
		return limitErrorf("more than %d entries", w.limits.MaxEntries)
	}
	if w.mask.whiteout(f.Path) {
		return nil
	}
	if f.Mode.IsDir() {
		w.mask.directory(f.Path)
		w.v.Wants(f)
		return nil
	}
	if f.Path == "" {
		w.problems.Add("", "entry without a name")
		return nil
	}
	h := hashPath(f.Path)
	w.mask.other(h)
	if !f.Mode.IsRegular() {
		w.v.Wants(f)
		return nil
	}
	w.files++
	if f.Linkname != "" {
		w.link(*f, h)
		return nil
	}
	wanted := w.v.Wants(f)
	if len(w.passed) < maxPassed {
		w.passed[h] = passed{f.Size, wanted}
	}
	if !wanted {
		return nil
	}
	return visitFile(ctx, w.v, *f, content, w.limits, &w.problems)
}

func visitFile(ctx context.Context, v Visitor, f bollwerk.File, content io.Reader, l Limits, p *Problems) error {
	if f.Size > l.MaxFileSize {
		p.Add(f.Path, fmt.Sprintf("larger than %d bytes, content not read", l.MaxFileSize))
		return nil
	}
	err := v.Visit(ctx, f, content)
	if e, ok := content.(*entryReader); ok && e.err != nil {
		return e.err // the stream broke, whatever the visitor made of it
	}
	if err != nil {
		return &visitError{fmt.Errorf("%s: %w", f.Path, err)}
	}
	return nil
}

// maxMissed bounds the wanted hard links that are remembered for a second pass.
const maxMissed = 100_000

// maxLinkChain bounds links to links; archivers make every link to the first name.
const maxLinkChain = 16

// link deals with a hard link, whose header has no size: whether it is wanted depends
// on the size of the file it names.
func (w *tarWalk) link(f bollwerk.File, name pathHash) {
	if f.Linkname == f.Path {
		w.v.Wants(&f)
		w.problems.Add(f.Path, "hard link to itself")
		return
	}
	h := hashPath(f.Linkname)
	for range maxLinkChain { // a link to a link
		target, ok := w.aliases[h]
		if !ok {
			break
		}
		f.Linkname, h = target, hashPath(target)
	}
	if len(w.aliases) < maxMissed {
		if w.aliases == nil {
			w.aliases = map[pathHash]string{}
		}
		w.aliases[name] = f.Linkname
	}
	first, known := w.passed[h]
	if f.Size = first.size; !known {
		f.Size = likelySize
	}
	if !w.v.Wants(&f) {
		return
	}
	if first.visited && (w.links == nil || w.links.Linked(f, f.Linkname)) {
		return
	}
	if w.missed == nil {
		w.missed = map[string][]bollwerk.File{}
	}
	if w.remembered >= maxMissed {
		w.problems.Add(f.Path, "too many hard links to files that came earlier, content not read")
		return
	}
	w.remembered++
	w.missed[f.Linkname] = append(w.missed[f.Linkname], f)
}

// linkWalk is the second pass: it shows the content of hard links' targets under
// the names of the links.
type linkWalk struct {
	limits   Limits
	v        Visitor
	links    LinkVisitor
	want     map[string][]bollwerk.File
	problems Problems
}

func newLinkWalk(l Limits, v Visitor, want map[string][]bollwerk.File) *linkWalk {
	w := &linkWalk{limits: l, v: v, want: want}
	w.links, _ = v.(LinkVisitor)
	return w
}

func (w *linkWalk) note(string, string) {} // said in the first pass
func (w *linkWalk) trailing(int64)      {}

func (w *linkWalk) walk(ctx context.Context, r *feedReader) error {
	var said Problems // in the first pass
	return eachEntry(r, w.limits, &said, func(f *bollwerk.File, content io.Reader) error {
		names := w.want[f.Path]
		if names == nil || !f.Mode.IsRegular() || f.Linkname != "" {
			return nil
		}
		delete(w.want, f.Path)
		return w.show(ctx, *f, names, content)
	})
}

// maxShared is the size up to which a file is held to be shown under several names
// that mean different things.
const maxShared = 8 << 20

// show shows one content under the names of its links. Names that mean the same to
// the visitor cost nothing.
func (w *linkWalk) show(ctx context.Context, f bollwerk.File, names []bollwerk.File, content io.Reader) error {
	var held []byte
	if len(names) > 1 && f.Size <= maxShared {
		var err error
		if held, err = io.ReadAll(content); err != nil {
			return err
		}
	}
	first := ""
	for _, name := range names {
		if first != "" {
			if w.links == nil || w.links.Linked(name, first) {
				continue
			}
			if held == nil {
				w.problems.Add(name.Path, fmt.Sprintf("hard link to a file of more than %d bytes that was read under another name only", maxShared))
				continue
			}
		}
		first, f.Path = name.Path, name.Path
		from := content
		if held != nil {
			from = bytes.NewReader(held)
		}
		if err := visitFile(ctx, w.v, f, from, w.limits, &w.problems); err != nil {
			return err
		}
	}
	return nil
}

// reportTo adds what was found out, and every link whose target never came.
func (w *linkWalk) reportTo(p *Problems) {
	for _, q := range w.problems.List() {
		p.AddN(q.Path, q.Cause, q.Count)
	}
	for _, names := range w.want {
		for _, f := range names {
			p.Add(f.Path, "hard link without a file at its end, content not read")
		}
	}
}

// eachEntry calls fn for every entry of a tar stream, with a cleaned path. The File
// and the reader are valid during the call only. A stream that ends without the two
// blocks of zeros is accepted, as every runtime does.
func eachEntry(r *feedReader, l Limits, p *Problems, fn func(*bollwerk.File, io.Reader) error) error {
	tr := tar.NewReader(&tarSource{r})
	content := entryReader{tr: tr, src: r, left: l.MaxLayerBytes}
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return tarError(r, err)
		}
		f, ok := tarFile(h, p)
		if !ok {
			continue
		}
		if err := fn(&f, &content); err != nil {
			return err
		}
	}
}

// tarError says where and how the archive broke.
func tarError(r *feedReader, err error) error {
	switch {
	case r.done && r.feed.err != nil: // in this order: err is settled when done is set
		return r.feed.err // the stream below failed first, and says so better
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("truncated tar archive at byte %d", r.pos)
	}
	return fmt.Errorf("corrupt tar archive near byte %d: %w", r.pos, err)
}

// entryReader is the content of the current entry. It keeps the error that broke the
// stream, and counts what is read of all entries: a few bytes of a sparse entry make
// gigabytes of zeros, which no limit on the stream notices.
type entryReader struct {
	tr   *tar.Reader
	src  *feedReader
	left int64
	err  error
}

func (e *entryReader) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.tr.Read(p)
	if e.left -= int64(n); e.left < 0 {
		e.err = limitErrorf("sparse files make more content than allowed")
		return 0, e.err
	}
	if err != nil && err != io.EOF {
		e.err = tarError(e.src, err)
		err = e.err
	}
	return n, err
}

// tarSource lets the tar reader skip content without copying it.
type tarSource struct{ r *feedReader }

func (s *tarSource) Read(p []byte) (int, error) { return s.r.Read(p) }

func (s *tarSource) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.New("tar stream: seeks forward only")
	}
	if err := s.r.skip(offset); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return s.r.pos, err
	}
	return s.r.pos, nil
}

// paxCapability is how star, and after it every builder of images, names the extended
// attribute security.capability. Its longest form has 24 bytes.
const (
	paxCapability = "SCHILY.xattr.security.capability"
	maxCapability = 24
)

func tarFile(h *tar.Header, p *Problems) (bollwerk.File, bool) {
	f := bollwerk.File{
		Size: h.Size, UID: h.Uid, GID: h.Gid, Linkname: h.Linkname, ModTime: h.ModTime,
		Mode: fs.FileMode(h.Mode & 0o777),
	}
	if c := h.PAXRecords[paxCapability]; len(c) <= maxCapability {
		f.Capability = c
	} else {
		f.Capability = c[:maxCapability]
	}
	if h.Mode&0o4000 != 0 {
		f.Mode |= fs.ModeSetuid
	}
	if h.Mode&0o2000 != 0 {
		f.Mode |= fs.ModeSetgid
	}
	if h.Mode&0o1000 != 0 {
		f.Mode |= fs.ModeSticky
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse:
		f.Linkname = ""
	case tar.TypeLink:
		f.Linkname, _ = cleanPath(h.Linkname)
	case tar.TypeSymlink:
		f.Mode |= fs.ModeSymlink
	case tar.TypeDir:
		f.Mode |= fs.ModeDir
	case tar.TypeChar:
		f.Mode |= fs.ModeDevice | fs.ModeCharDevice
	case tar.TypeBlock:
		f.Mode |= fs.ModeDevice
	case tar.TypeFifo:
		f.Mode |= fs.ModeNamedPipe
	case tar.TypeXGlobalHeader:
		return f, false
	default:
		p.Add(h.Name, fmt.Sprintf("tar entry of unknown type %q, not read", h.Typeflag))
		return f, false
	}
	if len(h.Name) > maxPath {
		p.Add(h.Name, fmt.Sprintf("name longer than %d bytes, not read", maxPath))
		return f, false
	}
	var escapes bool
	if f.Path, escapes = cleanPath(h.Name); escapes {
		p.Add(h.Name, "name leads out of the root; read as the path that remains inside, as container runtimes do")
	}
	return f, true
}

// cleanPath makes a name relative to the root and tells whether it wanted to
// leave it.
func cleanPath(name string) (clean string, escapes bool) {
	if isClean(name) {
		return name, false
	}
	clean = path.Clean("/" + name)[1:]
	if strings.Contains(name, "..") {
		depth := 0
		for el := range strings.SplitSeq(name, "/") {
			switch el {
			case "", ".":
			case "..":
				depth--
				if depth < 0 {
					return clean, true
				}
			default:
				depth++
			}
		}
	}
	return clean, false
}

// isClean reports whether name is what cleanPath would make of it: the usual case,
// decided without allocating.
func isClean(name string) bool {
	if name == "" {
		return true
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		switch name[start:i] {
		case "", ".", "..":
			return false
		}
		start = i + 1
	}
	return true
}
