package single

import (
	"archive/zip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
)

const (
	// maxDirectory bounds the central directory of a zip file, which is read into
	// memory as a whole: some 500,000 entries.
	maxDirectory = 64 << 20
	// maxZipRatio and zipRatioFree bound what entries unpack to in relation to the file:
	// with overlapping entries a zip file of 42 KB unpacks to gigabytes.
	maxZipRatio  = 200
	zipRatioFree = 256 << 20
)

var errLimit = artifact.ErrLimit

// readZip shows the entries of a zip file.
func (s *Source) readZip(ctx context.Context, v artifact.Visitor) (artifact.PartSummary, error) {
	fail := func(err error) (artifact.PartSummary, error) {
		return artifact.PartSummary{}, fmt.Errorf("zip %s: %w", s.about.Name, err)
	}
	if err := checkDirectory(s.f, s.info.Size()); err != nil {
		return fail(err)
	}
	z, err := zip.NewReader(s.f, s.info.Size())
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return fail(err)
	}
	limits := s.budget.Limits()
	var sum artifact.PartSummary
	var problems artifact.Problems
	for _, e := range z.File {
		if ctx.Err() != nil {
			return artifact.PartSummary{}, context.Cause(ctx)
		}
		if sum.Entries++; sum.Entries > limits.MaxEntries {
			return fail(fmt.Errorf("%w: more than %d entries", errLimit, limits.MaxEntries))
		}
		name := strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(e.Name, `\`, "/")), "/")
		if name == "" {
			continue
		}
		size := int64(min(e.UncompressedSize64, 1<<62))
		f := bollwerk.File{Path: name, Size: size, Mode: e.Mode(), ModTime: e.Modified}
		if !f.Mode.IsRegular() {
			v.Wants(&f)
			continue
		}
		sum.Files++
		if !v.Wants(&f) {
			continue
		}
		if size > limits.MaxFileSize {
			problems.Add(name, fmt.Sprintf("larger than %d bytes, content not read", limits.MaxFileSize))
			continue
		}
		if e.Flags&1 != 0 {
			problems.Add(name, "encrypted, content not read")
			continue
		}
		rc, err := e.Open()
		if err != nil {
			problems.Add(name, "cannot be read: "+err.Error())
			continue
		}
		r := &zipEntry{r: rc, total: &sum.Bytes, stored: s.info.Size(), limit: limits.MaxTotalBytes}
		err = v.Visit(ctx, f, r)
		rc.Close()
		switch {
		case errors.Is(r.err, errLimit):
			return fail(fmt.Errorf("%s: %w", name, r.err))
		case r.err != nil:
			problems.Add(name, "cannot be read: "+r.err.Error())
		case err != nil:
			return fail(fmt.Errorf("%s: %w", name, err))
		}
	}
	sum.Problems = problems.List()
	return sum, nil
}

// zipEntry counts what all entries unpack to and keeps the error of the stream.
type zipEntry struct {
	r      io.Reader
	total  *int64
	stored int64
	limit  int64
	err    error
}

func (e *zipEntry) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.r.Read(p)
	*e.total += int64(n)
	switch {
	case *e.total > e.limit:
		err = fmt.Errorf("%w: larger than %d bytes uncompressed in total", errLimit, e.limit)
	case *e.total-zipRatioFree > e.stored*maxZipRatio:
		err = fmt.Errorf("%w: decompression bomb: %d stored bytes made more than %d bytes", errLimit, e.stored, *e.total)
	}
	if err != nil && err != io.EOF {
		e.err = err
	}
	return n, err
}

// checkDirectory finds the end-of-central-directory record (APPNOTE.TXT 4.3.16, and
// 4.3.14 for zip64) and bounds the directory before anything reads it into memory.
func checkDirectory(r io.ReaderAt, size int64) error {
	tail := make([]byte, min(size, 65557+20)) // the record, the longest comment, the zip64 locator
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return err
	}
	i := strings.LastIndex(string(tail), "PK\x05\x06")
	if i < 0 || len(tail)-i < 22 {
		return errors.New("truncated or not a zip file: no end of the central directory")
	}
	n := uint64(binary.LittleEndian.Uint32(tail[i+12:]))
	if n == 0xffffffff && i >= 20 && string(tail[i-20:i-16]) == "PK\x06\x07" {
		at := binary.LittleEndian.Uint64(tail[i-12:])
		rec := make([]byte, 56)
		if at > uint64(size) {
			return errors.New("corrupt zip file: its zip64 record lies behind its end")
		}
		if _, err := r.ReadAt(rec, int64(at)); err != nil {
			return fmt.Errorf("corrupt zip file: zip64 record: %w", err)
		}
		n = binary.LittleEndian.Uint64(rec[40:])
	}
	if n > maxDirectory {
		return fmt.Errorf("%w: central directory of %d bytes, limit %d", errLimit, n, maxDirectory)
	}
	return nil
}
