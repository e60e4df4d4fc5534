package artifact

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compressed reports whether a file begins like a compressed stream (gzip, zstd).
func Compressed(r io.ReaderAt) (bool, error) {
	head := make([]byte, 4)
	n, err := r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return false, err
	}
	return sniff(head[:n]) != plainTar, nil
}

// Decompress reads a stream that may be compressed, within the limits on ratio and
// total size. It is for archives around layers; layers themselves are read by ReadBlob.
func Decompress(ctx context.Context, r io.Reader, l Limits) (io.ReadCloser, error) {
	l = l.WithDefaults()
	in := &boundedInput{ctx: ctx, r: r}
	buf := bufio.NewReaderSize(in, 64<<10)
	head, err := buf.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	out := &boundedOutput{in: in, limits: l, kind: sniff(head), stop: func() {}}
	switch out.kind {
	case gzipped:
		z, err := gzip.NewReader(buf)
		if err != nil {
			return nil, fmt.Errorf("corrupt gzip stream: %w", err)
		}
		out.r = z
	case zstded:
		z, err := zstd.NewReader(buf, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(l.MaxWindow))
		if err != nil {
			return nil, fmt.Errorf("corrupt zstd stream: %w", err)
		}
		out.r, out.stop = z, z.Close
	default:
		out.r = buf
	}
	return out, nil
}

type boundedInput struct {
	ctx context.Context
	r   io.Reader
	n   int64
}

func (b *boundedInput) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	return n, err
}

type boundedOutput struct {
	in     *boundedInput
	r      io.Reader
	limits Limits
	kind   compression
	n      int64
	mu     sync.Mutex // a decompressor must not be closed while it reads
	stop   func()
	closed bool
}

func (b *boundedOutput) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	n, err := b.r.Read(p)
	b.n += int64(n)
	switch {
	case b.n > b.limits.MaxTotalBytes:
		return 0, limitErrorf("larger than %d bytes uncompressed", b.limits.MaxTotalBytes)
	case b.kind != plainTar && b.n > ratioFree && b.n-ratioFree > b.in.n*int64(b.limits.MaxRatio):
		return 0, limitErrorf("decompression bomb: %d stored bytes made more than %d bytes (limit %d:1)", b.in.n, b.n, b.limits.MaxRatio)
	case err == nil || err == io.EOF || b.in.ctx.Err() != nil:
		return n, err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("truncated %s stream at byte %d", b.kind, b.in.n)
	case b.kind != plainTar:
		return n, fmt.Errorf("corrupt %s stream near byte %d: %w", b.kind, b.in.n, err)
	}
	return n, err
}

func (b *boundedOutput) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.stop()
	}
	return nil
}
