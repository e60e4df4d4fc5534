// Package recorder owns the flight recorder: a bounded log of events and detections on
// disk, compressed and checksummed, indexed by time and workload, that can be read while
// it is written and after the writer was killed; and snapshots of processes.
//
// It does not decide what is relevant, and it does not judge.
//
// The log is a folder of segments, each a file of blocks. A block is complete in
// itself: it names the processes and workloads its events speak of, so that any block
// can be read without the others. A block reaches the file in one write, at the latest
// one second after its first event.
package recorder

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
)

// Config of a recorder; the zero value is usable but for Dir.
type Config struct {
	Dir string
	// Size is the most bytes all segments take together; 0: 256 MiB. At least 1 MiB.
	Size int64
	// Age after which a segment is deleted; 0: 7 days. Segments go one a minute at most,
	// so that a clock that jumps ahead does not empty the log at once.
	Age time.Duration
	// Queue is the most records that wait to be written; 0: 16,384. What comes
	// beyond it is counted as lost.
	Queue int
	// Flush is the longest a record waits before it is in the file; 0: one second.
	Flush time.Duration
	Log   *slog.Logger
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Validate fills in the defaults and refuses what cannot work.
func (c *Config) Validate() error {
	if c.Dir == "" {
		return errors.New("recorder: no folder given")
	}
	if c.Size == 0 {
		c.Size = 256 << 20
	}
	if c.Size < 1<<20 {
		return fmt.Errorf("recorder: size %d: at least 1 MiB is needed", c.Size)
	}
	if c.Age == 0 {
		c.Age = 7 * 24 * time.Hour
	}
	if c.Queue == 0 {
		c.Queue = 16384
	}
	if c.Flush == 0 {
		c.Flush = time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Record is an event or a detection.
type Record struct {
	Event     *bollwerk.Event
	Detection *bollwerk.Detection
}

func (r Record) time() time.Time {
	if r.Detection != nil {
		return r.Detection.Last
	}
	return r.Event.Time
}

func (r Record) workload() *bollwerk.Workload {
	if r.Detection != nil {
		return r.Detection.Workload
	}
	return r.Event.Workload
}

// Recorder writes the log.
type Recorder struct {
	c       Config
	queue   chan Record
	flush   chan chan struct{}
	stopped chan struct{}
	stop    context.CancelFunc

	lost    atomic.Uint64 // records that never reached the file
	written atomic.Uint64
	bytes   atomic.Int64 // of all segments
	broken  atomic.Pointer[string]

	// Owned by the writing goroutine.
	file      *os.File
	fileSize  int64
	sequence  uint64
	segments  []segment
	block     blockWriter
	enc       *zstd.Encoder
	oldestCut time.Time
	flushed   time.Time // the last block
	closing   sync.Once
}

type segment struct {
	name string
	size int64
	last time.Time
}

const segmentsPerLog = 64

// Open begins a new segment in the folder. Segments of earlier runs stay and count
// against the limits; they are never appended to.
func Open(c Config) (*Recorder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	segs, err := listSegments(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10),
		zstd.WithEncoderCRC(false)) // a block has a checksum of its own
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Recorder{
		c: c, queue: make(chan Record, c.Queue), flush: make(chan chan struct{}), stopped: make(chan struct{}), stop: cancel,
		segments: segs, enc: enc,
	}
	for _, s := range segs {
		r.sequence = max(r.sequence, s.sequence()+1)
		r.bytes.Add(s.size)
	}
	_, _ = rand.Read(r.block.salt[:]) // never fails
	r.block.reset()
	go r.run(ctx)
	return r, nil
}

// Event queues an event; it never waits. The event must not be changed afterwards.
func (r *Recorder) Event(e *bollwerk.Event) { r.put(Record{Event: e}) }

// Detection queues a detection.
func (r *Recorder) Detection(d *bollwerk.Detection) { r.put(Record{Detection: d}) }

func (r *Recorder) put(rec Record) {
	select {
	case r.queue <- rec:
	default:
		r.lost.Add(1)
	}
}

// Flush waits until everything queued before the call is in the file.
func (r *Recorder) Flush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case r.flush <- done:
	case <-r.stopped:
		return errors.New("recorder: closed")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Status of the recorder.
type Status struct {
	Written uint64 `json:"written"`
	Lost    uint64 `json:"lost"` // records that are not in the log
	Bytes   int64  `json:"bytes"`
	// Trouble says why records are being lost now, "" when they are not.
	Trouble string `json:"trouble,omitempty"`
}

// Status may be asked at any time.
func (r *Recorder) Status() Status {
	s := Status{Written: r.written.Load(), Lost: r.lost.Load(), Bytes: r.bytes.Load()}
	if p := r.broken.Load(); p != nil {
		s.Trouble = *p
	}
	return s
}

// Close writes what is queued and ends the segment.
func (r *Recorder) Close() error {
	r.closing.Do(r.stop)
	<-r.stopped
	if s := r.Status(); s.Trouble != "" {
		return fmt.Errorf("recorder: %s; %d records lost", s.Trouble, s.Lost)
	}
	return nil
}

func (r *Recorder) run(ctx context.Context) {
	defer close(r.stopped)
	defer r.enc.Close()
	t := time.NewTicker(r.c.Flush)
	defer t.Stop()
	for {
		select {
		case rec := <-r.queue:
			// What else waits is taken without asking the others.
			r.add(rec)
			for range min(len(r.queue), 256) {
				r.add(<-r.queue) // nobody else takes from it
			}
		case <-t.C:
			r.writeBlock()
			r.expire()
		case done := <-r.flush:
			r.drain()
			close(done)
		case <-ctx.Done():
			r.drain()
			if r.file != nil {
				_ = r.file.Sync()
				_ = r.file.Close()
			}
			return
		}
	}
}

func (r *Recorder) drain() {
	for n := len(r.queue); n > 0; n-- {
		r.add(<-r.queue)
	}
	r.writeBlock()
}

func (r *Recorder) add(rec Record) {
	if err := r.block.add(rec); err != nil {
		r.lost.Add(1)
		r.c.Log.Warn("event not recorded", "error", err)
		return
	}
	// A detection is evidence: it and what led to it are in the file soon, but a flood of
	// them does not become a flood of blocks.
	soon := rec.Detection != nil && time.Since(r.flushed) > detectionFlush
	if len(r.block.raw) >= blockBytes || soon {
		r.writeBlock()
	}
}

const detectionFlush = 100 * time.Millisecond

// writeBlock puts the block into the file. When the disk is full the oldest segments
// of our own are given up first; if that does not help the block is lost and counted,
// and the next one is tried again.
func (r *Recorder) writeBlock() {
	n := r.block.count
	if n == 0 {
		return
	}
	r.flushed = time.Now()
	b := r.block.encode(r.enc)
	defer r.block.reset()
	for try := 0; ; try++ {
		err := r.write(b)
		if err == nil {
			r.written.Add(uint64(n))
			r.broken.Store(nil)
			return
		}
		if isNoSpace(err) && try < segmentsPerLog && r.dropOldest() {
			continue
		}
		if r.broken.Load() == nil {
			r.c.Log.Error("the flight recorder cannot write", "error", err)
		}
		msg := err.Error()
		r.broken.Store(&msg)
		r.lost.Add(uint64(n))
		return
	}
}

func (r *Recorder) write(b []byte) error {
	limit := max(r.c.Size/segmentsPerLog, 64<<10)
	if r.file != nil && r.fileSize+int64(len(b)) > limit && r.fileSize > segmentHead {
		r.endSegment()
	}
	for r.bytes.Load()+int64(len(b)) > r.c.Size && r.dropOldest() {
	}
	if r.file == nil {
		name := filepath.Join(r.c.Dir, fmt.Sprintf("%016x%s", r.sequence, segmentSuffix))
		f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		if _, err := f.WriteString(segmentMagic + string(r.block.salt[:])); err != nil {
			_ = f.Close()
			_ = os.Remove(name)
			return err
		}
		r.sequence++
		r.file, r.fileSize = f, segmentHead
		r.bytes.Add(r.fileSize)
		r.segments = append(r.segments, segment{name: name})
	}
	n, err := r.file.WriteAt(b, r.fileSize)
	if err != nil {
		// A block cut short would be skipped by a reader, but it takes room.
		_ = r.file.Truncate(r.fileSize)
		return fmt.Errorf("%s: %w after %d of %d bytes", filepath.Base(r.file.Name()), err, n, len(b))
	}
	r.fileSize += int64(len(b))
	r.bytes.Add(int64(len(b)))
	s := &r.segments[len(r.segments)-1]
	s.size, s.last = r.fileSize, r.block.last
	return nil
}

func (r *Recorder) endSegment() {
	_ = r.file.Sync()
	_ = r.file.Close()
	r.file, r.fileSize = nil, 0
}

// dropOldest deletes the oldest segment that is not being written.
func (r *Recorder) dropOldest() bool {
	if len(r.segments) == 0 || (r.file != nil && len(r.segments) == 1) {
		return false
	}
	s := r.segments[0]
	if err := os.Remove(s.name); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.c.Log.Error("old segment not deleted", "segment", s.name, "error", err)
		return false
	}
	r.segments = r.segments[1:]
	r.bytes.Add(-s.size)
	return true
}

func (r *Recorder) expire() {
	now := r.c.Now()
	if len(r.segments) == 0 || now.Sub(r.oldestCut).Abs() < time.Minute {
		return
	}
	if s := r.segments[0]; !s.last.IsZero() && now.Sub(s.last) > r.c.Age {
		r.oldestCut = now
		if r.file != nil && len(r.segments) == 1 {
			r.endSegment()
		}
		r.dropOldest()
	}
}

func (s segment) sequence() uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(s.name), segmentSuffix), 16, 64)
	return n
}

const segmentSuffix = ".bwr"

func listSegments(dir string) ([]segment, error) {
	ents, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []segment
	for _, e := range ents {
		base := strings.TrimSuffix(e.Name(), segmentSuffix)
		if _, err := strconv.ParseUint(base, 16, 64); err != nil || base == e.Name() || !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if err != nil {
			continue // deleted meanwhile
		}
		out = append(out, segment{name: filepath.Join(dir, e.Name()), size: fi.Size(), last: fi.ModTime()})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].sequence() < out[j].sequence() })
	return out, nil
}
