package recorder

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
)

// A segment is segmentMagic and blocks. A block is a header of headerBytes, an index of
// workloads (8 bytes each: XXH64 of the key), and the compressed records:
//
//	0  magic "BwBl"        4  length of index and payload    8  length of the records
//	12 number of records  16  number of workloads (65535: all)  18 zero
//	20 first time         28  last time (unix nanoseconds)   36 CRC-32C of all but itself
//
// All numbers are little endian. Records are a type byte, a uvarint length and JSON:
// P process, W workload (both numbered from 1 in their order), E event, D detection.
const (
	segmentMagic = "bollwerk flight recorder 1\n"
	blockMagic   = "BwBl"
	headerBytes  = 40
	// blockBytes is the size at which a block is written; maxBlock the most a reader takes.
	blockBytes = 256 << 10
	maxBlock   = 16 << 20
	// maxRecord bounds one record: an event with full argument lists and parents is
	// about 100 kB; more is refused and counted.
	maxRecord    = 4 << 20
	maxWorkloads = 65534
	allWorkloads = 65535
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type blockWriter struct {
	raw         []byte
	count       int
	first, last time.Time
	processes   map[*bollwerk.Process]uint32
	workloads   map[*bollwerk.Workload]uint32
	keys        map[uint64]struct{}
	out         []byte
}

func (b *blockWriter) reset() {
	b.raw, b.count = b.raw[:0], 0
	b.first, b.last = time.Time{}, time.Time{}
	b.processes, b.workloads, b.keys = map[*bollwerk.Process]uint32{}, map[*bollwerk.Workload]uint32{}, map[uint64]struct{}{}
	if cap(b.raw) > 2*blockBytes {
		b.raw = nil
	}
}

// storedProcess, storedEvent and storedDetection are the words with numbers in the
// place of pointers.
type storedProcess struct {
	*bollwerk.Process
	Parent uint32 `json:"parent,omitempty"`
}

type storedEvent struct {
	*bollwerk.Event
	Process  uint32 `json:"process,omitempty"`
	Target   uint32 `json:"target,omitempty"`
	Workload uint32 `json:"workload,omitempty"`
}

type storedDetection struct {
	*bollwerk.Detection
	Process  uint32         `json:"process,omitempty"`
	Workload uint32         `json:"workload,omitempty"`
	Events   []*storedEvent `json:"events,omitempty"`
}

func (b *blockWriter) add(rec Record) error {
	var err error
	switch {
	case rec.Detection != nil:
		d := rec.Detection
		s := storedDetection{Detection: d, Process: b.process(d.Process, 0), Workload: b.workload(d.Workload)}
		for _, e := range d.Events {
			s.Events = append(s.Events, b.event(e))
		}
		err = b.record('D', s)
	case rec.Event != nil:
		err = b.record('E', b.event(rec.Event))
	default:
		return errors.New("empty record")
	}
	if err != nil {
		return err
	}
	b.count++
	t := rec.time()
	if b.first.IsZero() || t.Before(b.first) {
		b.first = t
	}
	if t.After(b.last) {
		b.last = t
	}
	b.keys[keyHash(rec.workload())] = struct{}{}
	return nil
}

func (b *blockWriter) event(e *bollwerk.Event) *storedEvent {
	return &storedEvent{Event: e, Process: b.process(e.Process, 0), Target: b.process(e.Target, 0), Workload: b.workload(e.Workload)}
}

// process returns the number of a process in this block, writing it (its parents
// first) when it is new. A chain longer than any the sensor makes is cut.
func (b *blockWriter) process(p *bollwerk.Process, depth int) uint32 {
	if p == nil || depth > 2*bollwerk.ProcessDepth {
		return 0
	}
	if n := b.processes[p]; n != 0 {
		return n
	}
	parent := b.process(p.Parent, depth+1)
	if b.record('P', storedProcess{p, parent}) != nil {
		return 0
	}
	n := uint32(len(b.processes) + 1)
	b.processes[p] = n
	return n
}

func (b *blockWriter) workload(w *bollwerk.Workload) uint32 {
	if w == nil {
		return 0
	}
	if n := b.workloads[w]; n != 0 {
		return n
	}
	if b.record('W', w) != nil {
		return 0
	}
	n := uint32(len(b.workloads) + 1)
	b.workloads[w] = n
	return n
}

func (b *blockWriter) record(kind byte, v any) error {
	j, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(j) > maxRecord {
		return fmt.Errorf("record of %d bytes: more than %d", len(j), maxRecord)
	}
	b.raw = append(b.raw, kind)
	b.raw = binary.AppendUvarint(b.raw, uint64(len(j)))
	b.raw = append(b.raw, j...)
	return nil
}

func (b *blockWriter) encode(enc *zstd.Encoder) []byte {
	keys := make([]uint64, 0, len(b.keys))
	for k := range b.keys {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	n := uint16(len(keys))
	if len(keys) > maxWorkloads {
		keys, n = nil, allWorkloads
	}
	out := append(b.out[:0], make([]byte, headerBytes)...)
	for _, k := range keys {
		out = binary.LittleEndian.AppendUint64(out, k)
	}
	out = enc.EncodeAll(b.raw, out)
	copy(out, blockMagic)
	le := binary.LittleEndian
	le.PutUint32(out[4:], uint32(len(out)-headerBytes))
	le.PutUint32(out[8:], uint32(len(b.raw)))
	le.PutUint32(out[12:], uint32(b.count))
	le.PutUint16(out[16:], n)
	le.PutUint64(out[20:], uint64(b.first.UnixNano()))
	le.PutUint64(out[28:], uint64(b.last.UnixNano()))
	le.PutUint32(out[36:], checksum(out))
	b.out = out
	return out
}

func checksum(block []byte) uint32 {
	return crc32.Update(crc32.Checksum(block[:36], castagnoli), castagnoli, block[headerBytes:])
}

func keyHash(w *bollwerk.Workload) uint64 { return xxhash.Sum64String(w.Key()) }

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

type blockHeader struct {
	length, raw, count uint32
	workloads          uint16
	first, last        time.Time
	sum                uint32
}

func parseHeader(b []byte) (blockHeader, error) {
	le := binary.LittleEndian
	if len(b) < headerBytes || string(b[:4]) != blockMagic {
		return blockHeader{}, errors.New("no block begins here")
	}
	h := blockHeader{
		length: le.Uint32(b[4:]), raw: le.Uint32(b[8:]), count: le.Uint32(b[12:]), workloads: le.Uint16(b[16:]),
		first: time.Unix(0, int64(le.Uint64(b[20:]))).UTC(), last: time.Unix(0, int64(le.Uint64(b[28:]))).UTC(), sum: le.Uint32(b[36:]),
	}
	if h.length > maxBlock || h.raw > maxBlock {
		return h, fmt.Errorf("block of %d bytes: more than %d", h.length, maxBlock)
	}
	if h.workloads != allWorkloads && uint32(h.workloads)*8 > h.length {
		return h, errors.New("index longer than the block")
	}
	return h, nil
}

// decodeBlock calls fn for each record of the raw bytes.
func decodeBlock(raw []byte, fn func(Record) error) error {
	var ps []*bollwerk.Process
	var ws []*bollwerk.Workload
	process := func(n uint32) (*bollwerk.Process, error) {
		if n == 0 {
			return nil, nil
		}
		if int(n) > len(ps) {
			return nil, fmt.Errorf("process %d of %d", n, len(ps))
		}
		return ps[n-1], nil
	}
	workload := func(n uint32) (*bollwerk.Workload, error) {
		if n == 0 {
			return nil, nil
		}
		if int(n) > len(ws) {
			return nil, fmt.Errorf("workload %d of %d", n, len(ws))
		}
		return ws[n-1], nil
	}
	event := func(s *storedEvent) (e *bollwerk.Event, err error) {
		if s.Event == nil {
			s.Event = &bollwerk.Event{}
		}
		if s.Event.Process, err = process(s.Process); err != nil {
			return nil, err
		}
		if s.Event.Target, err = process(s.Target); err != nil {
			return nil, err
		}
		s.Event.Workload, err = workload(s.Workload)
		return s.Event, err
	}
	for len(raw) > 0 {
		kind := raw[0]
		n, used := binary.Uvarint(raw[1:])
		if used <= 0 || n > uint64(len(raw)-1-used) {
			return errors.New("record longer than its block")
		}
		j := raw[1+used : 1+used+int(n)]
		raw = raw[1+used+int(n):]
		switch kind {
		case 'P':
			s := storedProcess{Process: &bollwerk.Process{}}
			if err := json.Unmarshal(j, &s); err != nil {
				return err
			}
			parent, err := process(s.Parent)
			if err != nil {
				return err
			}
			s.Process.Parent = parent
			ps = append(ps, s.Process)
		case 'W':
			w := &bollwerk.Workload{}
			if err := json.Unmarshal(j, w); err != nil {
				return err
			}
			ws = append(ws, w)
		case 'E':
			s := storedEvent{Event: &bollwerk.Event{}}
			if err := json.Unmarshal(j, &s); err != nil {
				return err
			}
			e, err := event(&s)
			if err != nil {
				return err
			}
			if err := fn(Record{Event: e}); err != nil {
				return err
			}
		case 'D':
			s := storedDetection{Detection: &bollwerk.Detection{}}
			if err := json.Unmarshal(j, &s); err != nil {
				return err
			}
			d := s.Detection
			var err error
			if d.Process, err = process(s.Process); err != nil {
				return err
			}
			if d.Workload, err = workload(s.Workload); err != nil {
				return err
			}
			for _, se := range s.Events {
				e, err := event(se)
				if err != nil {
					return err
				}
				d.Events = append(d.Events, e)
			}
			if err := fn(Record{Detection: d}); err != nil {
				return err
			}
		default: // a newer writer's; the rest can be read
		}
	}
	return nil
}
