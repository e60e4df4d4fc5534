package recorder

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
)

// A segment is segmentMagic, saltBytes of salt and blocks. A block is a header of
// headerBytes, an index of workloads (8 bytes each, see salt.index), and the compressed
// records:
//
//	0  magic "BwBl"        4  length of index and payload    8  length of the records
//	12 number of records  16  number of workloads (65535: all)  18 zero
//	20 first time         28  last time (unix nanoseconds)   36 CRC-32C of all but itself
//
// All numbers are little endian. Records are a type byte, a uvarint length and JSON:
// P process, W workload (both numbered from 1 in their order), E event, D detection.
// Most processes are nearly what another one was a moment before (a fork is its parent,
// an end its start): p is a process of which only the difference is told. Before its
// JSON stand the numbers of the other process and of the parent (uvarint, 0 none).
// e is an event whose outcome, source and workload are those of the one before. Before its
// JSON stand the nanoseconds since that one (varint) and the numbers of process and
// target (uvarint, 0 none).
const (
	segmentMagic = "bollwerk flight recorder 3\n"
	// secondMagic has no salt, and an index of keys (XXH64) without the names, by which no
	// name can be found; firstMagic is the same without p and e.
	secondMagic = "bollwerk flight recorder 2\n"
	firstMagic  = "bollwerk flight recorder 1\n"
	saltBytes   = 16
	segmentHead = int64(len(segmentMagic) + saltBytes)
	blockMagic  = "BwBl"
	headerBytes = 40
	// blockBytes is the size at which a block is written: below the 128 KiB that zstd
	// compresses in one piece, without a window of memory. maxBlock is the most a reader takes.
	blockBytes = 120 << 10
	maxBlock   = 16 << 20
	// maxRecord bounds one record: an event with full argument lists and parents is
	// about 100 kB; more is refused and counted.
	maxRecord    = 4 << 20
	maxWorkloads = 65534
	allWorkloads = 65535
)

// salt keeps who can name workloads from making two whose places in the index are the
// same, so that who looks for the one would not find the other.
type salt [saltBytes]byte

// index is the place of a workload in the indexes of blocks: 64 bits of SHA-256 of the salt,
// its key and its name, each with its length before it.
func (s *salt) index(w *bollwerk.Workload) uint64 {
	b := make([]byte, 0, 256)
	b = append(b, s[:]...)
	for _, text := range []string{w.Key(), w.String()} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	sum := sha256.Sum256(b)
	return binary.LittleEndian.Uint64(sum[:])
}

// anybodys stands in the index of a block that has losses of nobody in particular.
const anybodys = 0

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type blockWriter struct {
	raw         []byte
	count       int
	first, last time.Time
	processes   map[*bollwerk.Process]uint32
	images      map[uint32]image // the latest of each PID
	workloads   map[*bollwerk.Workload]uint32
	salt        salt
	keys        map[uint64]struct{} // the index
	host        uint64              // the place of the host in it, 0: not computed yet
	before      told
	text        []byte
	out         []byte
}

// noTime is how the JSON of an event begins that has none.
const noTime = `{"time":"0001-01-01T00:00:00Z",`

// told is what the next event may share with the last one.
type told struct {
	time            time.Time
	outcome, source string
	workload        uint32
}

// same reports whether the event can be told by what it does not share, and how much
// later it was.
func (l *told) same(e *bollwerk.Event, at time.Time, workload uint32) (after time.Duration, ok bool) {
	if l.time.IsZero() || string(e.Outcome) != l.outcome || e.Source != l.source || workload != l.workload || at.Location() != l.time.Location() {
		return 0, false
	}
	after = at.Sub(l.time) // as much as fits
	return after, l.time.Add(after).Equal(at)
}

type image struct {
	p *bollwerk.Process
	n uint32
}

// mostKept is how many entries a table may have to be used again: a full one costs as
// much to empty as it has room.
const mostKept = 8192

func (b *blockWriter) reset() {
	b.raw, b.count = b.raw[:0], 0
	b.first, b.last = time.Time{}, time.Time{}
	b.before = told{}
	if b.processes == nil || len(b.processes) > mostKept || len(b.keys) > mostKept {
		b.processes, b.images = map[*bollwerk.Process]uint32{}, map[uint32]image{}
		b.workloads, b.keys = map[*bollwerk.Workload]uint32{}, map[uint64]struct{}{}
	}
	clear(b.processes)
	clear(b.images)
	clear(b.workloads)
	clear(b.keys)
	if cap(b.raw) > 2*blockBytes {
		b.raw = nil
	}
	if cap(b.text) > blockBytes {
		b.text = nil
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
			s.Events = append(s.Events, &storedEvent{Event: e, Process: b.process(e.Process, 0), Target: b.process(e.Target, 0), Workload: b.workload(e.Workload)})
		}
		err = b.marshal('D', s)
	case rec.Event != nil:
		err = b.event(rec.Event)
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
	if rec.workload() == nil {
		b.ofHost()
		if e := rec.Event; e != nil && e.Kind == bollwerk.EventLoss {
			b.keys[anybodys] = struct{}{}
		}
	}
	return nil
}

// ofHost puts the host into the index.
func (b *blockWriter) ofHost() {
	if b.host == 0 {
		b.host = b.salt.index(nil)
	}
	b.keys[b.host] = struct{}{}
}

// event writes what json.Marshal would make of a storedEvent, field by field: most of
// what the agent does with an event is this.
func (b *blockWriter) event(e *bollwerk.Event) error {
	process, target, workload := b.process(e.Process, 0), b.process(e.Target, 0), b.workload(e.Workload)
	bare := *e
	bare.Process, bare.Target, bare.Workload = nil, nil, nil
	bare.Time = e.Time.Round(0) // the wall clock's, which is what is written
	at := bare.Time
	after, like := b.before.same(e, at, workload)
	b.before = told{at, string(e.Outcome), e.Source, workload}
	if like {
		bare.Time, bare.Outcome, bare.Source = time.Time{}, "", ""
		j, err := bare.AppendJSON(b.text[:0])
		if err != nil {
			return err
		}
		b.text = j
		var room [3 * binary.MaxVarintLen64]byte
		head := binary.AppendUvarint(binary.AppendUvarint(binary.AppendVarint(room[:0], int64(after)), uint64(process)), uint64(target))
		// The time stands first: the object begins after it.
		j = j[len(noTime)-1:]
		j[0] = '{'
		return b.record('e', head, j)
	}
	j, err := bare.AppendJSON(b.text[:0])
	if err != nil {
		b.before = told{}
		return err
	}
	j = j[:len(j)-1]
	for _, f := range [...]struct {
		name string
		n    uint32
	}{{`,"process":`, process}, {`,"target":`, target}, {`,"workload":`, workload}} {
		if f.n != 0 {
			j = strconv.AppendUint(append(j, f.name...), uint64(f.n), 10)
		}
	}
	b.text = append(j, '}')
	return b.record('E', nil, b.text)
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
	near := b.images[p.PID]
	if !p.Same(near.p) {
		near = image{p.Parent, parent}
	}
	kind, text := byte('P'), b.text[:0]
	var room [2 * binary.MaxVarintLen64]byte
	head := room[:0]
	var err error
	if near.n != 0 {
		kind, head = 'p', binary.AppendUvarint(binary.AppendUvarint(head, uint64(near.n)), uint64(parent))
		text, err = p.AppendJSONSince(text, near.p)
	} else {
		bare := *p
		bare.Parent = nil
		if text, err = bare.AppendJSON(text); err == nil && parent != 0 {
			text = strconv.AppendUint(append(text[:len(text)-1], `,"parent":`...), uint64(parent), 10)
			text = append(text, '}')
		}
	}
	if err != nil || b.record(kind, head, text) != nil {
		return 0
	}
	b.text = text
	n := uint32(len(b.processes) + 1)
	b.processes[p], b.images[p.PID] = n, image{p, n}
	return n
}

func (b *blockWriter) workload(w *bollwerk.Workload) uint32 {
	if w == nil {
		return 0
	}
	if n := b.workloads[w]; n != 0 {
		return n
	}
	if b.marshal('W', w) != nil {
		b.ofHost() // as which it will be read
		return 0
	}
	n := uint32(len(b.workloads) + 1)
	b.workloads[w] = n
	b.keys[b.salt.index(w)] = struct{}{}
	return n
}

func (b *blockWriter) marshal(kind byte, v any) error {
	j, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return b.record(kind, nil, j)
}

func (b *blockWriter) record(kind byte, head, text []byte) error {
	if len(text) > maxRecord {
		return fmt.Errorf("record of %d bytes: more than %d", len(text), maxRecord)
	}
	b.raw = append(b.raw, kind)
	b.raw = binary.AppendUvarint(b.raw, uint64(len(head)+len(text)))
	b.raw = append(append(b.raw, head...), text...)
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

// cutRecord takes the first record off.
func cutRecord(raw []byte) (kind byte, text, rest []byte, err error) {
	n, used := binary.Uvarint(raw[1:])
	if used <= 0 || n > uint64(len(raw)-1-used) {
		return 0, nil, nil, errors.New("record longer than its block")
	}
	return raw[0], raw[1+used : 1+used+int(n)], raw[1+used+int(n):], nil
}

// workloadsOf calls fn for each workload that the raw bytes tell of.
func workloadsOf(raw []byte, fn func(*bollwerk.Workload)) error {
	for len(raw) > 0 {
		kind, j, rest, err := cutRecord(raw)
		if err != nil {
			return err
		}
		raw = rest
		if kind != 'W' {
			continue
		}
		w := &bollwerk.Workload{}
		if err := json.Unmarshal(j, w); err != nil {
			return err
		}
		fn(w)
	}
	return nil
}

// numberOf is the number of an event's workload, which stands last in its JSON. No name in
// an event can look like it: within a text the quotes are escaped, and what is part of
// another object ends with two braces.
func numberOf(j []byte) uint32 {
	const field = `,"workload":`
	j, ok := bytes.CutSuffix(j, []byte("}"))
	i := len(j)
	for i > 0 && j[i-1] >= '0' && j[i-1] <= '9' {
		i--
	}
	if !ok || i == len(j) || !bytes.HasSuffix(j[:i], []byte(field)) {
		return 0
	}
	n, err := strconv.ParseUint(string(j[i:]), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// processes of a block. They are most of it, and read when the first event that is handed
// out speaks of them.
type processes []processRecord

type processRecord struct {
	text   []byte
	like   bool // told by what differs from another one
	parsed bool
	bare   *bollwerk.Process // without its parent; nil if it is like another one
	of, up uint32            // the other one, and the parent
	p      *bollwerk.Process
}

// get reads a process and those that it builds upon. These have smaller numbers, so that it
// ends; a chain of them may be as long as the block.
func (ps processes) get(n uint32) (*bollwerk.Process, error) {
	switch {
	case n == 0:
		return nil, nil
	case n > uint32(len(ps)):
		return nil, fmt.Errorf("process %d of %d", n, len(ps))
	case ps[n-1].p != nil:
		return ps[n-1].p, nil
	}
	for todo := []uint32{n}; len(todo) > 0; {
		k := todo[len(todo)-1]
		r := &ps[k-1]
		if !r.parsed {
			if err := r.parse(k); err != nil {
				return nil, err
			}
		}
		switch {
		case r.up != 0 && ps[r.up-1].p == nil:
			todo = append(todo, r.up)
			continue
		case r.of != 0 && ps[r.of-1].p == nil:
			todo = append(todo, r.of)
			continue
		case r.p == nil:
			p := r.bare
			if r.of != 0 {
				var err error
				if p, err = bollwerk.ProcessSince(ps[r.of-1].p, r.text); err != nil {
					return nil, err
				}
			}
			p.Parent = nil
			if r.up != 0 {
				p.Parent = ps[r.up-1].p
			}
			r.p = p
		}
		todo = todo[:len(todo)-1]
	}
	return ps[n-1].p, nil
}

// parse reads what process number k builds upon.
func (r *processRecord) parse(k uint32) error {
	r.parsed = true
	if !r.like {
		s := storedProcess{Process: &bollwerk.Process{}}
		if err := json.Unmarshal(r.text, &s); err != nil {
			return err
		}
		if s.Process == nil {
			s.Process = &bollwerk.Process{}
		}
		if s.Parent >= k {
			return fmt.Errorf("process %d is a child of %d", k, s.Parent)
		}
		r.bare, r.up = s.Process, s.Parent
		return nil
	}
	of, used := binary.Uvarint(r.text)
	up, more := binary.Uvarint(r.text[max(used, 0):])
	if used <= 0 || more <= 0 || of == 0 || of >= uint64(k) || up >= uint64(k) {
		return fmt.Errorf("process %d is like %d and a child of %d", k, of, up)
	}
	r.of, r.up, r.text = uint32(of), uint32(up), r.text[used+more:]
	return nil
}

// decodeBlock calls fn for each record of the raw bytes. If wanted is given, events of other
// workloads (nil: those without one) may be left out.
func decodeBlock(raw []byte, wanted func(*bollwerk.Workload) bool, fn func(Record) error) error {
	var ps processes
	var ws []*bollwerk.Workload
	process := func(n uint32) (*bollwerk.Process, error) { return ps.get(n) }
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
	var before told
	var others map[uint32]bool // workloads by their number that nobody asked for
	if wanted != nil {
		others = map[uint32]bool{0: !wanted(nil)}
	}
	left := false // the event before was left out, and so are those that are like it
	for len(raw) > 0 {
		kind, j, rest, err := cutRecord(raw)
		if err != nil {
			return err
		}
		raw = rest
		switch kind {
		case 'P', 'p':
			ps = append(ps, processRecord{text: j, like: kind == 'p'})
		case 'W':
			w := &bollwerk.Workload{}
			if err := json.Unmarshal(j, w); err != nil {
				return err
			}
			ws = append(ws, w)
			if wanted != nil {
				others[uint32(len(ws))] = !wanted(w)
			}
		case 'E':
			if left = others[numberOf(j)]; left {
				continue
			}
			s := storedEvent{Event: &bollwerk.Event{}}
			if err := json.Unmarshal(j, &s); err != nil {
				return err
			}
			e, err := event(&s)
			if err != nil {
				return err
			}
			before = told{e.Time, string(e.Outcome), e.Source, s.Workload}
			if err := fn(Record{Event: e}); err != nil {
				return err
			}
		case 'e':
			if left {
				continue
			}
			after, n1 := binary.Varint(j)
			by, n2 := binary.Uvarint(j[max(n1, 0):])
			of, n3 := binary.Uvarint(j[max(n1, 0)+max(n2, 0):])
			if n1 <= 0 || n2 <= 0 || n3 <= 0 || by > uint64(len(ps)) || of > uint64(len(ps)) {
				return fmt.Errorf("event of process %d to %d of %d", by, of, len(ps))
			}
			s := storedEvent{Event: &bollwerk.Event{}, Process: uint32(by), Target: uint32(of), Workload: before.workload}
			if err := json.Unmarshal(j[n1+n2+n3:], s.Event); err != nil {
				return err
			}
			e, err := event(&s)
			if err != nil {
				return err
			}
			e.Time = before.time.Add(time.Duration(after))
			e.Outcome, e.Source = bollwerk.Outcome(before.outcome), before.source
			before.time = e.Time
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
