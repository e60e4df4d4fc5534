package artifact

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"

	"github.com/bollwerk/bollwerk"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Blob is the stored form of one layer, or of a tar archive that is read like one.
type Blob struct {
	// Name is how errors call it: "layer sha256:ab…".
	Name string
	// Digest of the stored bytes and DiffID of the uncompressed tar stream are
	// verified when they are not empty.
	Digest, DiffID bollwerk.Digest
	// Size in stored bytes; negative: not known.
	Size int64
	// MediaType as the manifest says, "" when nothing says so.
	MediaType string
	// Open begins to read the stored bytes.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// compression is how a blob is stored. The words appear in messages.
type compression string

const (
	plainTar compression = "tar"
	gzipped  compression = "gzip"
	zstded   compression = "zstd"
)

// sniff tells the compression from the first bytes: RFC 1952 section 2.3.1,
// RFC 8878 section 3.1.1 and, for skippable frames, 3.1.2. A tar stream has no magic
// at its beginning, so everything else is taken for one.
func sniff(b []byte) compression {
	switch {
	case len(b) >= 2 && b[0] == 0x1f && b[1] == 0x8b:
		return gzipped
	case len(b) >= 4 && b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd,
		len(b) >= 4 && b[0]&0xf0 == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18:
		return zstded
	}
	return plainTar
}

// declared tells what a media type claims, "" when it claims nothing.
func declared(mediaType string) (compression, error) {
	mt, _, _ := strings.Cut(mediaType, ";")
	switch {
	case mt == "":
		return "", nil
	case strings.HasSuffix(mt, "+encrypted"):
		return "", fmt.Errorf("media type %s: encrypted layers cannot be read; decrypt the image first", mt)
	case strings.HasSuffix(mt, ".tar.gzip"), strings.HasSuffix(mt, "tar+gzip"):
		return gzipped, nil
	case strings.HasSuffix(mt, "tar+zstd"), strings.HasSuffix(mt, ".tar.zstd"):
		return zstded, nil
	case strings.HasSuffix(mt, ".tar"):
		return plainTar, nil
	}
	return "", fmt.Errorf("media type %s is not a file system layer; this is not a container image", mt)
}

const (
	storedChunk, storedChunks = 128 << 10, 4
	plainChunk, plainChunks   = 256 << 10, 8
)

// ReadBlob reads one layer in one pass: the stored bytes are hashed, decompressed,
// hashed again and shown to v, each step in its own goroutine on recycled buffers of
// about 2.5 MB in all. The stream is always read to its end, beyond the end of the
// tar archive, because only then the digests mean anything.
//
// A wanted hard link whose target came earlier and was not wanted makes a second
// pass necessary: its content is no longer there. That is rare (a pnpm or conda store
// that sorts before what links to it), so nothing is kept for it in the first pass.
//
// Errors wrap ErrLimit, ErrDigest, the context's cause, v's error or the trouble of
// the stream, and begin with b.Name.
func ReadBlob(ctx context.Context, b Blob, budget *Budget, v Visitor) (PartSummary, error) {
	w := newTarWalk(budget.limits, v)
	if err := readBlob(ctx, b, budget, w); err != nil {
		return PartSummary{}, err
	}
	if links := w.missedLinks(); links != nil {
		again := newLinkWalk(budget.limits, v, links)
		if err := readBlob(ctx, b, nil, again); err != nil {
			return PartSummary{}, err
		}
		again.reportTo(&w.problems)
	}
	return w.summary(), nil
}

// walker consumes the uncompressed stream of a blob.
type walker interface {
	// walk reads the archive; the caller reads what is left behind it.
	walk(ctx context.Context, r *feedReader) error
	note(path, cause string)
	trailing(n int64)
}

// visitError marks an error that a visitor returned: the stream is not to blame.
type visitError struct{ err error }

func (e *visitError) Error() string { return e.err.Error() }
func (e *visitError) Unwrap() error { return e.err }

func readBlob(ctx context.Context, b Blob, budget *Budget, w walker) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", b.Name, err)
		}
	}()
	claim, err := declared(b.MediaType)
	if err != nil {
		return err
	}
	storedHash, err := newHash(b.Digest)
	if err != nil {
		return err
	}
	plainHash, err := newHash(b.DiffID)
	if err != nil {
		return err
	}
	rc, err := b.Open(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	// A read from a network or pipe returns when its source is closed; that is how
	// a cancelled context gets through to it.
	var once sync.Once
	closeSource := func() { once.Do(func() { rc.Close() }) }
	stop := context.AfterFunc(ctx, closeSource)
	var wg sync.WaitGroup
	defer func() {
		cancel(context.Canceled)
		stop()
		closeSource()
		wg.Wait()
	}()

	// Source: stored bytes into chunks, to the hasher and the decompressor.
	head := make([]byte, 4)
	n, err := io.ReadFull(rc, head)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("reading: %w", err)
	}
	head = head[:n]
	kind := sniff(head)
	if claim != "" && claim != kind && n > 0 {
		w.note("", fmt.Sprintf("stored as %s although its media type says %s", kind, claim))
	}
	src := &storedReader{r: io.MultiReader(strings.NewReader(string(head)), rc), size: b.Size, kind: kind, ctx: ctx}
	sameHash := kind == plainTar && b.Digest != "" && b.Digest == b.DiffID
	hashing := func(h hash.Hash, r *feedReader) {
		wg.Go(func() {
			// The error is the feed's own and reaches the walker by the other reader.
			_ = r.hashInto(h)
		})
	}

	var plain *feed
	if kind == plainTar {
		readers := 2
		if sameHash || b.Digest == "" {
			storedHash = nil
		} else {
			readers = 3
		}
		plain = newFeed(plainChunk, plainChunks, readers)
		if storedHash != nil {
			hashing(storedHash, plain.readers[2])
		}
		wg.Go(func() { _ = plain.copyFrom(ctx, src, spend(budget, nil)) })
	} else {
		plain = newFeed(plainChunk, plainChunks, 2)
		readers := 2
		if b.Digest == "" {
			readers = 1
		}
		stored := newFeed(storedChunk, storedChunks, readers)
		if b.Digest != "" {
			hashing(storedHash, stored.readers[1])
		}
		wg.Go(func() { _ = stored.copyFrom(ctx, src, nil) })
		wg.Go(func() {
			in := stored.readers[0]
			d, err := newDecoder(kind, in, budget)
			if err != nil {
				plain.close(err)
				return
			}
			defer d.close()
			_ = plain.copyFrom(ctx, d, spend(budget, in))
			// A decoder that stops early (it does not: both read to the end of their
			// source) would leave the hasher without the rest.
			if plain.err == nil {
				_ = in.drain()
			} else {
				cancel(plain.err)
			}
		})
	}
	hashing(plainHash, plain.readers[1])

	parse := plain.readers[0]
	werr := w.walk(ctx, parse)
	var verr *visitError
	if errors.As(werr, &verr) || ctx.Err() != nil && werr != nil {
		cause := context.Cause(ctx)
		if cause != nil && errors.Is(werr, ctx.Err()) {
			return cause // a visitor noticed that the stream broke; why it broke is the error
		}
		if verr == nil && cause != nil && !(parse.done && plain.err != nil) {
			return cause
		}
		return werr
	}
	// Whatever is wrong with the archive, the digests tell whether it arrived as it
	// was sent: read on, and let a mismatch be the error that is reported.
	if n, err := drainTrailing(parse); err != nil {
		return err
	} else if n > 0 && werr == nil {
		w.trailing(n)
	}
	wg.Wait()
	if storedHash != nil && b.Digest != "" {
		err = checkHash("content", storedHash, b.Digest)
	}
	if err == nil && b.DiffID != "" {
		err = checkHash("uncompressed content", plainHash, b.DiffID)
	}
	if err != nil && werr != nil {
		return fmt.Errorf("%w; %w", err, werr)
	}
	if err != nil {
		return err
	}
	return werr
}

// drainTrailing reads to the end and counts what is not padding: a runtime does not
// extract what lies behind the end of the archive, but it should be said.
func drainTrailing(r *feedReader) (int64, error) {
	var garbage int64
	for {
		b, err := r.next()
		if err == io.EOF {
			return garbage, nil
		}
		if err != nil {
			return garbage, err
		}
		for _, c := range b {
			if c != 0 {
				garbage++
			}
		}
		if err := r.skip(int64(len(b))); err != nil {
			return garbage, err
		}
	}
}

// spend returns the check of the uncompressed stream against the limits of one blob
// and of the artifact. in is the stored stream, nil when nothing is compressed.
func spend(budget *Budget, in *feedReader) func(int) error {
	if budget == nil { // a second pass over bytes that were checked
		return nil
	}
	l := budget.limits
	var out int64
	return func(n int) error {
		out += int64(n)
		if out > l.MaxLayerBytes {
			return limitErrorf("larger than %d bytes uncompressed", l.MaxLayerBytes)
		}
		if in != nil && out > ratioFree && out-ratioFree > in.pos*int64(l.MaxRatio) {
			return limitErrorf("decompression bomb: %d stored bytes made more than %d bytes (limit %d:1)", in.pos, out, l.MaxRatio)
		}
		return budget.spend(int64(n))
	}
}

func newHash(d bollwerk.Digest) (hash.Hash, error) {
	if d == "" {
		return sha256.New(), nil
	}
	if _, err := bollwerk.ParseDigest(string(d)); err != nil {
		return nil, err
	}
	if d.Algorithm() == "sha512" {
		return sha512.New(), nil
	}
	return sha256.New(), nil
}

func checkHash(what string, h hash.Hash, want bollwerk.Digest) error {
	got := want.Algorithm() + ":" + hex.EncodeToString(h.Sum(nil))
	if got != string(want) {
		return &digestError{fmt.Sprintf("%s has the digest %s, expected %s", what, got, want)}
	}
	return nil
}

type digestError struct{ msg string }

func (e *digestError) Error() string        { return e.msg }
func (e *digestError) Is(target error) bool { return target == ErrDigest }

// storedReader counts the stored bytes and holds them to the size that was announced.
type storedReader struct {
	ctx  context.Context
	r    io.Reader
	kind compression
	size int64 // negative: not known
	n    int64
}

func (s *storedReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.n += int64(n)
	if s.size >= 0 && s.n > s.size {
		return 0, fmt.Errorf("longer than the %d bytes that its descriptor says", s.size)
	}
	if err == nil {
		return n, nil
	}
	if cause := context.Cause(s.ctx); cause != nil {
		return n, cause // the close that a cancelled context made is not the trouble
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF && s.size >= 0 && s.n < s.size:
		if s.size >= 0 {
			return n, fmt.Errorf("truncated %s stream at byte %d of %d", s.kind, s.n, s.size)
		}
		return n, fmt.Errorf("truncated %s stream at byte %d", s.kind, s.n)
	case err == io.EOF:
		return n, io.EOF
	}
	return n, fmt.Errorf("reading at byte %d: %w", s.n, err)
}

// decoder turns the errors of a decompressor into sentences with a place.
type decoder struct {
	kind compression
	r    io.Reader
	in   *feedReader
	buf  *bufio.Reader // between in and the decompressor
	zstd *zstd.Decoder
}

func newDecoder(kind compression, in *feedReader, budget *Budget) (*decoder, error) {
	d := &decoder{kind: kind, in: in}
	window := uint64(64 << 20)
	if budget != nil {
		window = budget.limits.MaxWindow
	}
	switch kind {
	case gzipped:
		// The decompressor has a fast path for *bufio.Reader.
		d.buf = bufio.NewReaderSize(in, 64<<10)
		z, err := gzip.NewReader(d.buf)
		if err != nil {
			return nil, d.explain(err)
		}
		d.r = z
	case zstded:
		// One goroutine: the stages around this one are the parallelism.
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(window))
		if err != nil {
			return nil, d.explain(err)
		}
		d.r, d.zstd = z, z
	}
	return d, nil
}

func (d *decoder) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if err != nil && err != io.EOF {
		err = d.explain(err)
	}
	return n, err
}

func (d *decoder) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}

func (d *decoder) offset() int64 {
	n := d.in.pos
	if d.buf != nil {
		n -= int64(d.buf.Buffered())
	}
	return n
}

func (d *decoder) explain(err error) error {
	if d.in.done && d.in.feed.err != nil {
		return d.in.feed.err // the source failed first, and says so better
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
		return fmt.Errorf("truncated %s stream at byte %d", d.kind, d.offset())
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return &limitError{fmt.Sprintf("zstd stream wants more memory than allowed: %v", err)}
	case errors.Is(err, gzip.ErrHeader) && d.offset() > 10:
		return fmt.Errorf("data that is not gzip follows the gzip stream, near byte %d", d.offset())
	}
	return fmt.Errorf("corrupt %s stream near byte %d: %v", d.kind, d.offset(), err)
}
