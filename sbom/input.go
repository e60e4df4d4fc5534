package sbom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/bollwerk/bollwerk"
	"golang.org/x/sync/semaphore"
)

// ErrTooLarge says that a file is beyond what an extractor is willing to hold.
var ErrTooLarge = errors.New("file is larger than the limit for its kind")

// Budget bounds the bytes of file content that all collectors of a scan hold at
// one time. It is shared; a file waits until there is room for it.
type Budget struct {
	sem   *semaphore.Weighted
	total int64
}

// NewBudget makes a budget of so many bytes.
func NewBudget(bytes int64) *Budget {
	if bytes < 1<<20 {
		bytes = 1 << 20
	}
	return &Budget{sem: semaphore.NewWeighted(bytes), total: bytes}
}

// acquire waits for n bytes and returns what must be released. A file larger than
// the whole budget takes all of it and so is alone; its own size is bounded by the
// caller.
func (b *Budget) acquire(ctx context.Context, n int64) (int64, error) {
	if b == nil {
		return 0, nil
	}
	n = min(n, b.total)
	return n, b.sem.Acquire(ctx, n)
}

func (b *Budget) release(n int64) {
	if b != nil && n > 0 {
		b.sem.Release(n)
	}
}

// Input is one file for an extractor.
type Input struct {
	File bollwerk.File
	// Reader streams the content from the start. After Bytes or ReaderAt it is at
	// an undefined place.
	Reader io.Reader
	// Siblings are the files that Gatherers asked to keep, of the same layer or
	// directory. Nil unless the extractor is a Gatherer.
	Siblings fs.FS

	ctx      context.Context
	budget   *Budget
	held     int64
	maxFile  int64
	data     []byte // whole content, if it has been read
	owned    bool   // data was read here, not given
	problems []string
}

// NewInput makes an input for one file outside of a collector: for a test, or for
// an extractor that finds a file inside a file.
func NewInput(f bollwerk.File, r io.Reader) *Input {
	return &Input{File: f, Reader: r, ctx: context.Background(), maxFile: defaultMaxFile}
}

// Problem records that a part of the file could not be understood. The cause is
// half a sentence without the path: "nested archive ignored: deeper than 5".
func (in *Input) Problem(format string, args ...any) {
	if len(in.problems) < 100 {
		in.problems = append(in.problems, fmt.Sprintf(format, args...))
	}
}

// Problems are the causes recorded so far.
func (in *Input) Problems() []string { return in.problems }

// Bytes returns the whole content, which must not be changed or kept. It fails
// with ErrTooLarge when there is more than limit.
func (in *Input) Bytes(limit int64) ([]byte, error) {
	if in.data != nil {
		if int64(len(in.data)) > limit {
			return nil, fmt.Errorf("%d bytes, limit %d: %w", len(in.data), limit, ErrTooLarge)
		}
		return in.data, nil
	}
	limit = min(limit, in.maxFile)
	if in.File.Size > limit {
		return nil, fmt.Errorf("%d bytes, limit %d: %w", in.File.Size, limit, ErrTooLarge)
	}
	if err := in.reserve(in.File.Size); err != nil {
		return nil, err
	}
	data, err := readUpTo(in.Reader, in.File.Size, limit)
	if err != nil {
		return nil, err
	}
	in.data, in.owned = data, true
	return data, nil
}

// Document is Bytes for a format that is parsed into a tree: JSON, TOML, YAML, XML.
// The tree takes several times the room of the text, so that much is reserved, and
// large documents are read one at a time.
func (in *Input) Document(limit int64) ([]byte, error) {
	if err := in.Reserve(treeFactor * min(in.File.Size, limit)); err != nil {
		return nil, err
	}
	return in.Bytes(limit)
}

// treeFactor is what encoding/json needs for a package-lock.json; YAML needs more.
const treeFactor = 6

// ReaderAt returns random access to the content and its size. A file that can be
// read at random by itself (one on disk) is not copied into memory.
func (in *Input) ReaderAt(limit int64) (io.ReaderAt, int64, error) {
	if ra, ok := in.Reader.(io.ReaderAt); ok && in.data == nil && in.File.Size > 0 {
		return ra, in.File.Size, nil
	}
	data, err := in.Bytes(limit)
	if err != nil {
		return nil, 0, err
	}
	return bytes.NewReader(data), int64(len(data)), nil
}

// Reserve takes n more bytes of the memory budget until Extract returns: for what
// an extractor unpacks. It must be called before anything else was read, since two
// files that each hold some and wait for more would wait for ever.
func (in *Input) Reserve(n int64) error {
	if in.held > 0 || in.data != nil {
		return nil
	}
	return in.reserve(n)
}

func (in *Input) reserve(n int64) error {
	if in.held > 0 || n <= 0 {
		return nil
	}
	held, err := in.budget.acquire(in.ctx, n)
	if err != nil {
		return err
	}
	in.held = held
	return nil
}

func (in *Input) close() {
	in.budget.release(in.held)
	in.held = 0
	in.data = nil
}

// readUpTo reads all of r, whose announced size is only a hint.
func readUpTo(r io.Reader, size, limit int64) ([]byte, error) {
	buf := make([]byte, 0, min(max(size, 0), limit)+1)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, fmt.Errorf("more than %d bytes: %w", limit, ErrTooLarge)
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(2*int64(cap(buf)), limit)+1)
			copy(grown, buf)
			buf = grown
		}
	}
}

// streamReader remembers the error of the stream, so that a damaged layer is told
// from a damaged file.
type streamReader struct {
	r   io.Reader
	err error
}

func (s *streamReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// streamReaderAt is a streamReader over something that can also be read at random.
type streamReaderAt struct {
	*streamReader
	io.ReaderAt
}

func watch(r io.Reader) (io.Reader, *streamReader) {
	s := &streamReader{r: r}
	if ra, ok := r.(io.ReaderAt); ok {
		return streamReaderAt{s, ra}, s
	}
	return s, s
}
