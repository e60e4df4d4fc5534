package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
)

// stream is an image archive that can only be read from front to back: a compressed
// file, or what a daemon sends. It is read twice: once for the index and the documents
// (the manifest usually comes last), once for the layers in the order in which they
// come. Nothing is kept but documents and the buffers of one layer; a temporary file
// would cost the size of the image, and a second pass costs only time.
type stream struct {
	// open begins the uncompressed tar stream; its reads end when ctx does.
	open   func(ctx context.Context) (io.ReadCloser, error)
	closer func() error
}

// image makes the first pass.
func (s *stream) image(ctx context.Context, want string, docker bool, about bollwerk.Artifact, o Options) (*Streamed, error) {
	rc, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	index, err := indexStream(rc, 2*o.Limits.MaxManifestBytes)
	rc.Close()
	if err != nil {
		return nil, err
	}
	a := &archive{index: index, member: s.member}
	img, names, err := a.image(ctx, want, docker, about, o, s.closer)
	if err != nil {
		return nil, err
	}
	return &Streamed{Image: img, stream: s, names: names}, nil
}

// member opens one member by reading up to it.
func (s *stream) member(ctx context.Context, name string, m member) (io.ReadCloser, error) {
	rc, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, rc, m.offset); err != nil {
		rc.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &limitedBody{r: io.LimitReader(rc, m.size), c: rc}, nil
}

type limitedBody struct {
	r io.Reader
	c io.Closer
}

func (b *limitedBody) Read(p []byte) (int, error) { return b.r.Read(p) }
func (b *limitedBody) Close() error               { return b.c.Close() }

// Streamed is an image in an archive that is a stream. ReadPart works and reads the
// stream up to the layer; artifact.ReadAll reads all layers in one pass.
type Streamed struct {
	*Image
	stream *stream
	names  []string // of the layers' members
}

// ReadSequence implements artifact.Sequencer.
func (s *Streamed) ReadSequence(ctx context.Context, visit func(part int) (artifact.Visitor, bool)) ([]artifact.PartSummary, error) {
	out := make([]artifact.PartSummary, s.Parts())
	visitors := make([]artifact.Visitor, s.Parts())
	first := map[string]int{} // member to the part that reads it as it comes
	var again []int           // parts whose member another part reads
	for i, name := range s.names {
		v, skip := visit(i)
		if skip {
			continue
		}
		visitors[i] = v
		if _, taken := first[name]; taken {
			again = append(again, i)
			continue
		}
		first[name] = i
	}
	if len(first) == 0 {
		return out, nil
	}
	rc, err := s.stream.open(ctx)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	tr := tar.NewReader(rc)
	for len(first) > 0 {
		h, err := tr.Next()
		if err == io.EOF {
			return nil, fmt.Errorf("image %s: the archive changed: %d layers are missing in the second pass", s.about.Name, len(first))
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the archive ends too early")
			}
			return nil, fmt.Errorf("image %s: %w", s.about.Name, err)
		}
		name := memberName(h.Name)
		part, ok := first[name]
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		delete(first, name)
		blob := s.blobs[part]
		seekable := blob.Open
		begun := false
		blob.Open = func(ctx context.Context) (io.ReadCloser, error) {
			if begun { // the second pass of hard links
				return seekable(ctx)
			}
			begun = true
			return io.NopCloser(tr), nil
		}
		if out[part], err = artifact.ReadBlob(ctx, blob, s.budget, visitors[part]); err != nil {
			return nil, err
		}
	}
	for _, part := range again {
		if out[part], err = s.ReadPart(ctx, part, visitors[part]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
