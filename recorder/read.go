package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
)

// Query says which part of the log is wanted. The zero value is all of it.
type Query struct {
	Since, Until time.Time // inclusive; zero: open
	// Workload says of which workloads; nil: of all. It is asked with nil for the host. It
	// must go by key and name alone (Key, String): these are what the index knows.
	Workload func(*bollwerk.Workload) bool
	Kinds    []bollwerk.EventKind // of events; empty: all
	// OnlyDetections leaves the events out.
	//
	// Losses are handed out in any case, for as far as time and workload fit: what was
	// lost may have been of any kind, and what has no workload of any workload.
	OnlyDetections bool
}

// Wants reports whether events of a kind were asked for.
func (q *Query) Wants(k bollwerk.EventKind) bool {
	return !q.OnlyDetections && (len(q.Kinds) == 0 || slices.Contains(q.Kinds, k))
}

// Summary says what a reading covered. A log with damage is not complete, and says so.
type Summary struct {
	Segments int
	Blocks   int // read, not those the index excluded
	Skipped  int // excluded by the index
	Records  int // handed out
	// Oldest and Newest are the times the whole log reaches over.
	Oldest, Newest time.Time
	// Damage has a sentence for every place that could not be read.
	Damage []string
}

// Verdict of the reading: degraded when a part of the log could not be read.
func (s *Summary) Verdict() bollwerk.Verdict {
	if len(s.Damage) > 0 {
		return bollwerk.Degraded
	}
	return bollwerk.Pass
}

var errStop = errors.New("stop")

// Read hands out the records of the log in the order in which they were written, from
// oldest to newest. It may run while a recorder writes. An error of fn ends it.
func Read(ctx context.Context, dir string, q Query, fn func(Record) error) (*Summary, error) {
	segs, err := listSegments(dir)
	if err != nil {
		return nil, fmt.Errorf("flight recorder: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	r := &reading{q: q, fn: fn, dec: dec, s: &Summary{}, known: map[uint64]bool{}}
	for i, s := range segs {
		if ctx.Err() != nil {
			return r.s, ctx.Err()
		}
		r.newest = i == len(segs)-1
		if err := r.segment(ctx, s.name); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				continue // given up by the writer meanwhile
			}
			return r.s, err
		}
		r.s.Segments++
	}
	return r.s, nil
}

type reading struct {
	q   Query
	fn  func(Record) error
	dec *zstd.Decoder
	s   *Summary
	buf []byte
	raw []byte
	// known says of places in the index whether they are asked for, as far as their
	// workloads were met. The salt holds for it; indexed: the segment has one.
	known   map[uint64]bool
	salt    salt
	indexed bool
	// newest: the segment may be growing; patience is how often its end is looked at
	// again before a block that stops short is called damaged.
	newest   bool
	patience int
}

func (r *reading) damage(name string, at int64, format string, args ...any) {
	if len(r.s.Damage) < 100 {
		r.s.Damage = append(r.s.Damage, fmt.Sprintf("segment %s at byte %d: %s", filepath.Base(name), at, fmt.Sprintf(format, args...)))
	}
}

func (r *reading) segment(ctx context.Context, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	begin := make([]byte, len(segmentMagic)+saltBytes)
	n, err := io.ReadFull(f, begin)
	magic := begin[:min(n, len(segmentMagic))]
	at := int64(len(segmentMagic))
	switch {
	case string(magic) == firstMagic, string(magic) == secondMagic:
		r.indexed = false
	case err == nil && string(magic) == segmentMagic:
		if s := salt(begin[at:]); s != r.salt {
			r.salt = s
			clear(r.known)
		}
		r.indexed = true
		at += saltBytes
	case err != nil && r.newest && string(magic) == segmentMagic[:len(magic)]:
		return nil // just begun
	default:
		r.damage(name, 0, "not a segment of the flight recorder")
		return nil
	}
	head := make([]byte, headerBytes)
	for ctx.Err() == nil {
		n, err := f.ReadAt(head, at)
		if n == 0 && errors.Is(err, io.EOF) {
			return nil
		}
		h, herr := parseHeader(head[:n])
		if herr == nil && cap(r.buf) < int(h.length)+headerBytes {
			r.buf = make([]byte, int(h.length)+headerBytes)
		}
		if herr == nil {
			b := r.buf[:int(h.length)+headerBytes]
			if n, err := f.ReadAt(b, at); n < len(b) {
				if r.await(ctx) {
					continue
				}
				r.damage(name, at, "the block ends after %d of %d bytes (%v)", n, len(b), err)
				return nil
			}
			if checksum(b) != h.sum {
				herr = errors.New("checksum mismatch")
			} else {
				if err := r.take(name, at, h, b); err != nil {
					return err
				}
				at += int64(len(b))
				continue
			}
		}
		if r.await(ctx) {
			continue
		}
		next, ok := nextBlock(f, at+1)
		r.damage(name, at, "%v; %d bytes skipped", herr, next-at)
		if !ok {
			return nil
		}
		at = next
	}
	return ctx.Err()
}

// await gives a writer that is in the middle of a block a moment to finish it.
func (r *reading) await(ctx context.Context) bool {
	if !r.newest || r.patience >= 10 {
		return false
	}
	r.patience++
	select {
	case <-ctx.Done():
		return false
	case <-time.After(10 * time.Millisecond):
		return true
	}
}

// nextBlock searches for the beginning of a block; without one it returns the end.
func nextBlock(f *os.File, from int64) (int64, bool) {
	buf := make([]byte, 64<<10)
	for at := from; ; {
		n, err := f.ReadAt(buf, at)
		if i := bytes.Index(buf[:n], []byte(blockMagic)); i >= 0 {
			return at + int64(i), true
		}
		if err != nil || n < len(blockMagic) {
			return at + int64(n), false
		}
		at += int64(n - len(blockMagic) + 1)
	}
}

func (r *reading) take(name string, at int64, h blockHeader, b []byte) error {
	if r.s.Oldest.IsZero() || h.first.Before(r.s.Oldest) {
		r.s.Oldest = h.first
	}
	if h.last.After(r.s.Newest) {
		r.s.Newest = h.last
	}
	index := 0
	if h.workloads != allWorkloads {
		index = int(h.workloads) * 8
	}
	inTime := (r.q.Since.IsZero() || !h.last.Before(r.q.Since)) && (r.q.Until.IsZero() || !h.first.After(r.q.Until))
	found := absent
	if inTime {
		found = r.find(h, b[headerBytes:headerBytes+index])
	}
	if found == absent {
		r.s.Skipped++
		return nil
	}
	raw, err := r.dec.DecodeAll(b[headerBytes+index:], r.raw[:0])
	if err != nil || len(raw) != int(h.raw) {
		r.damage(name, at, "the compressed records cannot be read (%v)", err)
		return nil
	}
	r.raw = raw
	if found == strangers {
		any, err := r.meet(raw)
		if err != nil {
			r.damage(name, at, "%v", err)
			return nil
		}
		// What is still not known after that is not skipped: the salt may be damaged.
		if !any && (!r.indexed || r.find(h, b[headerBytes:headerBytes+index]) == absent) {
			r.s.Skipped++
			return nil
		}
	}
	r.s.Blocks++
	var stop error
	err = decodeBlock(raw, r.choice(h, b[headerBytes:headerBytes+index]), func(rec Record) error {
		if !r.wanted(rec) {
			return nil
		}
		r.s.Records++
		if stop = r.fn(rec); stop != nil {
			return errStop
		}
		return nil
	})
	if stop != nil {
		return stop
	}
	if err != nil {
		r.damage(name, at, "%v", err)
	}
	return nil
}

// What the index says of a block.
type finding int

const (
	absent    finding = iota // it has nothing that is asked for
	strangers                // it has workloads that were not met yet
	present
)

// find asks the index of a block.
func (r *reading) find(h blockHeader, index []byte) finding {
	if r.q.Workload == nil || h.workloads == allWorkloads {
		return present
	}
	if !r.indexed {
		// By keys alone no name is found. What is of the host may be anybody's loss.
		if contains(index, xxhash.Sum64String((*bollwerk.Workload)(nil).Key())) {
			return present
		}
		return strangers
	}
	if len(r.known) == 0 {
		r.learn(nil)
	}
	f := absent
	for ; len(index) >= 8; index = index[8:] {
		place := binary.LittleEndian.Uint64(index)
		wanted, known := r.known[place]
		switch {
		case place == anybodys, wanted:
			return present
		case !known:
			f = strangers
		}
	}
	return f
}

func contains(index []byte, place uint64) bool {
	for ; len(index) >= 8; index = index[8:] {
		if binary.LittleEndian.Uint64(index) == place {
			return true
		}
	}
	return false
}

// mostKnown workloads are kept in mind.
const mostKnown = 1 << 18

// learn asks whether a workload is wanted, once for each.
func (r *reading) learn(w *bollwerk.Workload) bool {
	wanted := r.q.Workload(w)
	if r.indexed {
		if len(r.known) >= mostKnown {
			clear(r.known)
			r.known[r.salt.index(nil)] = r.q.Workload(nil)
		}
		r.known[r.salt.index(w)] = wanted
	}
	return wanted
}

// meet looks at the workloads of a block, and reports whether one of them is wanted. It is
// a small part of the work of reading the block.
func (r *reading) meet(raw []byte) (wanted bool, err error) {
	err = workloadsOf(raw, func(w *bollwerk.Workload) { wanted = r.learn(w) || wanted })
	return wanted, err
}

// choice says which events of a block are worth reading; nil: all.
func (r *reading) choice(h blockHeader, index []byte) func(*bollwerk.Workload) bool {
	if r.q.Workload == nil {
		return nil
	}
	// Among what has no workload may be losses, which are handed out in any case.
	losses := !r.indexed || h.workloads == allWorkloads || contains(index, anybodys)
	return func(w *bollwerk.Workload) bool { return w == nil && losses || r.q.Workload(w) }
}

func (r *reading) wanted(rec Record) bool {
	t := rec.time()
	if (!r.q.Since.IsZero() && t.Before(r.q.Since)) || (!r.q.Until.IsZero() && t.After(r.q.Until)) {
		return false
	}
	loss := rec.Event != nil && rec.Event.Kind == bollwerk.EventLoss
	if w := rec.workload(); r.q.Workload != nil && !(loss && w == nil) && !r.q.Workload(w) {
		return false
	}
	return rec.Detection != nil || loss || r.q.Wants(rec.Event.Kind)
}
