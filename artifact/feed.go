package artifact

import (
	"context"
	"io"
	"sync/atomic"
)

// feed hands the chunks of one stream from a producer to every one of its readers,
// without copying. Chunks are recycled once all readers have released them, so the
// memory of a stream is size*max whatever its length, and a slow reader holds the
// producer back. Chunks are allocated when first needed: a layer of 2 KB costs one.
type feed struct {
	size, max int
	made      int
	free      chan *chunk
	readers   []*feedReader
	err       error // why the stream ended; set before the readers' channels close
}

// chunk is owned by the producer until put, then by all readers together until
// each has released it.
type chunk struct {
	buf  []byte
	n    int
	refs atomic.Int32
}

func newFeed(size, max, readers int) *feed {
	f := &feed{size: size, max: max, free: make(chan *chunk, max)}
	for range readers {
		f.readers = append(f.readers, &feedReader{feed: f, in: make(chan *chunk, max)})
	}
	return f
}

// get returns an empty chunk, waiting until a reader has released one.
func (f *feed) get(ctx context.Context) (*chunk, error) {
	select {
	case c := <-f.free:
		return c, nil
	default:
	}
	if f.made < f.max {
		f.made++
		return &chunk{buf: make([]byte, f.size)}, nil
	}
	select {
	case c := <-f.free:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// put gives a filled chunk to the readers. It never blocks: there are never more
// chunks than a reader's channel holds.
func (f *feed) put(c *chunk) {
	c.refs.Store(int32(len(f.readers)))
	for _, r := range f.readers {
		r.in <- c
	}
}

// close ends the stream; err nil means a regular end.
func (f *feed) close(err error) {
	f.err = err
	for _, r := range f.readers {
		close(r.in)
	}
}

// copyFrom fills chunks from r until it ends, checking each through limit (if not
// nil) before it is handed on. It closes the feed and returns what it closed it with.
func (f *feed) copyFrom(ctx context.Context, r io.Reader, limit func(n int) error) (err error) {
	defer func() { f.close(err) }()
	for {
		c, err := f.get(ctx)
		if err != nil {
			return err
		}
		// Fill the chunk: decompressors return 32 KB at a time or less, and the
		// hand-over should be paid once per chunk. One read at least, and a stream that
		// trickles (a network) is handed on as it comes.
		c.n = 0
		var rerr error
		for c.n < len(c.buf) && rerr == nil {
			var n int
			n, rerr = r.Read(c.buf[c.n:])
			c.n += n
		}
		if c.n > 0 {
			if limit != nil {
				if err := limit(c.n); err != nil {
					return err
				}
			}
			f.put(c)
		}
		if rerr != nil {
			if rerr == io.EOF {
				return nil
			}
			return rerr
		}
	}
}

// feedReader reads one feed from its beginning. For a single goroutine.
type feedReader struct {
	feed *feed
	in   chan *chunk
	cur  *chunk
	off  int   // in cur
	pos  int64 // bytes consumed
	done bool
}

// fill makes sure cur has unread bytes; its error is io.EOF at a regular end.
func (r *feedReader) fill() error {
	for r.cur == nil || r.off == r.cur.n {
		r.release()
		if r.done {
			return r.end()
		}
		c, ok := <-r.in
		if !ok {
			r.done = true
			return r.end()
		}
		r.cur, r.off = c, 0
	}
	return nil
}

func (r *feedReader) end() error {
	if r.feed.err != nil {
		return r.feed.err
	}
	return io.EOF
}

func (r *feedReader) release() {
	if r.cur == nil {
		return
	}
	if r.cur.refs.Add(-1) == 0 {
		r.feed.free <- r.cur
	}
	r.cur = nil
}

// next returns the unread rest of the current chunk, or of the one after, without
// consuming it. The bytes are valid until the next call of any method.
func (r *feedReader) next() ([]byte, error) {
	if err := r.fill(); err != nil {
		return nil, err
	}
	return r.cur.buf[r.off:r.cur.n], nil
}

// skip consumes n bytes, or fewer with the error that ended the stream.
func (r *feedReader) skip(n int64) error {
	for n > 0 {
		if err := r.fill(); err != nil {
			return err
		}
		step := min(n, int64(r.cur.n-r.off))
		r.off += int(step)
		r.pos += step
		n -= step
	}
	return nil
}

// Read implements io.Reader.
func (r *feedReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.cur.buf[r.off:r.cur.n])
	r.off += n
	r.pos += int64(n)
	return n, nil
}

// drain consumes everything that is left.
func (r *feedReader) drain() error {
	for {
		b, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := r.skip(int64(len(b))); err != nil {
			return err
		}
	}
}

// hashInto writes everything to w, which must not fail and not keep the bytes.
func (r *feedReader) hashInto(w io.Writer) error {
	for {
		b, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		w.Write(b)
		if err := r.skip(int64(len(b))); err != nil {
			return err
		}
	}
}
