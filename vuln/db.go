package vuln

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
)

// DB is an open advisory database. All methods may be called at the same time;
// nothing it returns refers to the file, so results outlive Close.
type DB struct {
	path string
	h    *header
	meta meta
	eco  map[bollwerk.Ecosystem]EcosystemInfo

	// mu keeps the mapping alive: readers hold it shared, Close alone.
	mu    sync.RWMutex
	data  []byte
	unmap func() error
	// checked has one bit for each page whose checksum was found right.
	checked []atomic.Uint32
}

// meta is the JSON section: what the database is, in words.
type meta struct {
	Built      time.Time       `json:"built"`
	AsOf       time.Time       `json:"as_of"`
	Records    int             `json:"records"`
	Withdrawn  int             `json:"withdrawn"`
	Entries    int             `json:"entries"`
	KEVDate    string          `json:"kev_date,omitempty"`
	KEV        int             `json:"kev,omitempty"`
	EPSSDate   string          `json:"epss_date,omitempty"`
	EPSS       int             `json:"epss,omitempty"`
	Starter    bool            `json:"starter,omitempty"`
	FactsOnly  bool            `json:"facts_only,omitempty"`
	Sources    []string        `json:"sources,omitempty"`
	Ecosystems []EcosystemInfo `json:"ecosystems"`
}

// EcosystemInfo says what the database knows of one ecosystem.
type EcosystemInfo struct {
	Ecosystem bollwerk.Ecosystem `json:"ecosystem"` // with release
	Records   int                `json:"records"`   // not withdrawn
	Packages  int                `json:"packages"`
	// Newest is the time of its newest record that does not lie in the future of
	// the build.
	Newest time.Time `json:"newest"`
	// FixedOnly: the source lists fixed issues only; what has no fix yet is unknown.
	FixedOnly bool `json:"fixed_only,omitempty"`
}

// Open maps a database. It checks the header and the descriptions, not the body:
// every page of that is checked when it is first read. The error wraps one of the
// Err values of this package when the file is not usable, fs.ErrNotExist when there
// is none, and names the command that repairs it.
func Open(path string) (*DB, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("advisory database %s: %w; run `bollwerk db update`, or `bollwerk db import FILE` where there is no network", path, os.ErrNotExist)
		}
		return nil, fileError(path, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fileError(path, err)
	}
	if !st.Mode().IsRegular() {
		return nil, fileError(path, fmt.Errorf("not a regular file: %w", ErrForeign))
	}
	if st.Size() < headerSize {
		b := make([]byte, st.Size())
		_, _ = f.ReadAt(b, 0)
		_, err := decodeHeader(b, st.Size())
		return nil, fileError(path, err)
	}
	if st.Size() > maxFileSize {
		return nil, fileError(path, fmt.Errorf("%d bytes, more than the limit of %d: %w", st.Size(), int64(maxFileSize), ErrForeign))
	}
	// The header is read, not mapped: a foreign file is refused before that.
	head := make([]byte, headerSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, fileError(path, err)
	}
	h, err := decodeHeader(head, st.Size())
	if err != nil {
		return nil, fileError(path, err)
	}
	data, unmap, err := mapFile(f, st.Size())
	if err != nil {
		return nil, fileError(path, err)
	}
	db, err := newDB(path, h, data, unmap)
	if err != nil {
		_ = unmap()
		return nil, fileError(path, err)
	}
	return db, nil
}

// openBytes opens a database in memory; for tests and fuzzing.
func openBytes(data []byte) (*DB, error) {
	h, err := decodeHeader(data[:min(len(data), headerSize)], int64(len(data)))
	if err != nil {
		return nil, err
	}
	return newDB("memory", h, data, func() error { return nil })
}

func newDB(path string, h *header, data []byte, unmap func() error) (*DB, error) {
	sums := data[h.sums.off:h.size]
	if xxhash.Sum64(sums) != h.sumsHash {
		return nil, fmt.Errorf("checksum table differs: %w", errDamaged)
	}
	db := &DB{path: path, h: h, data: data, unmap: unmap, checked: make([]atomic.Uint32, (h.sums.len+31)/32)}
	m := h.sections[sectionMeta]
	if m.len > 1<<20 {
		return nil, fmt.Errorf("section meta has %d bytes: %w", m.len, errDamaged)
	}
	b, err := db.bytes(m.off, m.len)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &db.meta); err != nil {
		return nil, fmt.Errorf("section meta: %v: %w", err, errDamaged)
	}
	db.eco = make(map[bollwerk.Ecosystem]EcosystemInfo, len(db.meta.Ecosystems))
	for _, e := range db.meta.Ecosystems {
		db.eco[e.Ecosystem] = e
	}
	return db, nil
}

// Close unmaps the file, after the calls in progress have ended.
func (db *DB) Close() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.data == nil {
		return nil
	}
	db.data = nil
	return db.unmap()
}

// Path is the file the database was opened from.
func (db *DB) Path() string { return db.path }

// Info describes the database for a result.
func (db *DB) Info() bollwerk.DatabaseInfo {
	return bollwerk.DatabaseInfo{
		AsOf: db.meta.AsOf, Built: db.meta.Built, Records: db.meta.Records,
		Digest: db.digest(), Starter: db.meta.Starter,
		KEVDate: db.meta.KEVDate, EPSSDate: db.meta.EPSSDate,
	}
}

func (db *DB) digest() bollwerk.Digest {
	return bollwerk.Digest("sha256:" + hex.EncodeToString(db.h.digest[:]))
}

// Status is everything the file says of itself.
type Status struct {
	Path      string                `json:"path"`
	Size      int64                 `json:"size"` // bytes
	Format    string                `json:"format"`
	Info      bollwerk.DatabaseInfo `json:"database"`
	Withdrawn int                   `json:"withdrawn"`
	Entries   int                   `json:"entries"` // affected entries
	Packages  int                   `json:"packages"`
	KEV       int                   `json:"kev"`
	EPSS      int                   `json:"epss"`
	// FactsOnly: titles, descriptions and references were left out.
	FactsOnly  bool            `json:"facts_only"`
	Sources    []string        `json:"sources"`
	Ecosystems []EcosystemInfo `json:"ecosystems"`
}

// Status returns what the file says of itself.
func (db *DB) Status() Status {
	return Status{
		Path: db.path, Size: int64(db.h.size), Format: fmt.Sprintf("%d.%d", db.h.major, db.h.minor),
		Info: db.Info(), Withdrawn: db.meta.Withdrawn, Entries: db.meta.Entries,
		Packages: int(db.h.sections[sectionPkgTab].len / 8),
		KEV:      db.meta.KEV, EPSS: db.meta.EPSS, FactsOnly: db.meta.FactsOnly,
		Sources: append([]string{}, db.meta.Sources...), Ecosystems: db.Ecosystems(),
	}
}

// Ecosystems lists the ecosystems with at least one record, sorted by name.
func (db *DB) Ecosystems() []EcosystemInfo {
	out := append([]EcosystemInfo{}, db.meta.Ecosystems...)
	sort.Slice(out, func(i, j int) bool { return out[i].Ecosystem < out[j].Ecosystem })
	return out
}

// Covers reports whether the database has any record for the ecosystem. Releases
// count: Debian:13 is not covered because Debian:12 is. Without records silence
// means nothing, and a scan has to say so.
func (db *DB) Covers(e bollwerk.Ecosystem) bool {
	_, ok := db.Ecosystem(e)
	return ok
}

// Ecosystem returns what the database knows of one ecosystem, in any spelling. For
// programs recognised by their file that is what it knows of the ecosystems they are
// looked up in.
func (db *DB) Ecosystem(e bollwerk.Ecosystem) (EcosystemInfo, bool) {
	if e == bollwerk.EcosystemBinary {
		out := EcosystemInfo{Ecosystem: e}
		for _, o := range equivalentEcosystems() {
			i := db.eco[o]
			out.Records += i.Records
			out.Packages += i.Packages
			if i.Newest.After(out.Newest) {
				out.Newest = i.Newest
			}
		}
		return out, out.Records > 0
	}
	i, ok := db.eco[canonicalEcosystem(e)]
	return i, ok
}

// bytes returns a piece of the file after checking every page it touches once.
// The caller holds mu.
func (db *DB) bytes(off, n uint64) ([]byte, error) {
	if db.data == nil {
		return nil, ErrClosed
	}
	if off < headerSize || off > db.h.sums.off || n > db.h.sums.off-off {
		return nil, fmt.Errorf("bytes %d to %d lie outside the file: %w", off, off+n, errDamaged)
	}
	if n == 0 {
		return nil, nil
	}
	for p := (off - headerSize) / pageSize; p <= (off-headerSize+n-1)/pageSize; p++ {
		if db.checked[p/32].Load()&(1<<(p%32)) != 0 {
			continue
		}
		if err := db.checkPage(p); err != nil {
			return nil, err
		}
		db.checked[p/32].Or(1 << (p % 32))
	}
	return db.data[off : off+n : off+n], nil
}

func (db *DB) checkPage(p uint64) error {
	start := headerSize + p*pageSize
	end := min(start+pageSize, db.h.sums.off)
	want := binary.LittleEndian.Uint64(db.data[db.h.sums.off+8*p:])
	if xxhash.Sum64(db.data[start:end]) != want {
		return fmt.Errorf("bytes %d to %d do not match their checksum: %w", start, end, errDamaged)
	}
	return nil
}

// part returns bytes of a section.
func (db *DB) part(s section, off, n uint64) ([]byte, error) {
	sp := db.h.sections[s]
	if off > sp.len || n > sp.len-off {
		return nil, fmt.Errorf("section %s: bytes %d to %d lie behind its end: %w", s, off, off+n, errDamaged)
	}
	return db.bytes(sp.off+off, n)
}

// record returns the i-th record of a section whose table says where records end.
func (db *DB) record(data, table section, i uint64) ([]byte, error) {
	if i >= db.h.sections[table].len/8 {
		return nil, fmt.Errorf("section %s: no record %d: %w", data, i, errDamaged)
	}
	first, n := i, uint64(2)
	if i > 0 {
		first = i - 1
	} else {
		n = 1
	}
	b, err := db.part(table, 8*first, 8*n)
	if err != nil {
		return nil, err
	}
	var start uint64
	end := binary.LittleEndian.Uint64(b[8*(n-1):])
	if n == 2 {
		start = binary.LittleEndian.Uint64(b)
	}
	if end < start {
		return nil, fmt.Errorf("section %s: record %d ends before it starts: %w", data, i, errDamaged)
	}
	return db.part(data, start, end-start)
}

// find returns the numbers that an index keeps for a hash: usually none or one.
// They are appended to out.
func (db *DB) find(index section, hash uint64, out []uint32) ([]uint32, error) {
	n := int(db.h.sections[index].len / 16)
	var fail error
	at := func(i int) (uint64, uint32) {
		b, err := db.part(index, uint64(i)*16, 16)
		if err != nil {
			fail = err
			return 0, 0
		}
		return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])
	}
	// Hashes are spread evenly, so the place is known to within a few rows: search
	// around it, which touches one page instead of sixteen.
	guess := int(float64(hash) / (1 << 63) / 2 * float64(n))
	lo, hi := 0, n
	for step := 64; n > 0; step *= 8 {
		l, h := max(guess-step, 0), min(guess+step, n-1)
		below, above := l == 0, h == n-1
		if !below {
			x, _ := at(l)
			below = x < hash
		}
		if !above {
			x, _ := at(h)
			above = x >= hash
		}
		if fail != nil || below && above {
			lo, hi = l, h+1
			break
		}
	}
	for lo < hi && fail == nil {
		mid := int(uint(lo+hi) >> 1)
		if h, _ := at(mid); h < hash {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for i := lo; i < n && fail == nil && len(out) < maxSameHash; i++ {
		h, v := at(i)
		if h != hash {
			break
		}
		out = append(out, v)
	}
	return out, fail
}

// maxSameHash bounds how many records are looked at for one name. One CVE may be
// handed down by hundreds of errata.
const maxSameHash = 4096

func packageHash(e bollwerk.Ecosystem, name string) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(string(e))
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(name)
	return d.Sum64()
}

// Advisory returns one record with everything the file keeps of it.
func (db *DB) Advisory(id string) (*Advisory, bool, error) {
	all, err := db.Find(id)
	for _, a := range all {
		if a.ID == id {
			return a, true, err
		}
	}
	return nil, false, err
}

// Find returns the records that bear a name: as their own id, an alias, an upstream
// issue, or (for errata) a related one; sorted by id.
func (db *DB) Find(name string) ([]*Advisory, error) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	numbers, err := db.find(sectionAdvIndex, xxhash.Sum64String(name), nil)
	if err != nil {
		return nil, fileError(db.path, err)
	}
	var out []*Advisory
	for _, n := range numbers {
		b, err := db.record(sectionAdvisory, sectionAdvTab, uint64(n))
		if err != nil {
			return nil, fileError(db.path, err)
		}
		r := decodeAdvisory(b)
		if r.err != nil {
			return nil, fileError(db.path, r.err)
		}
		if !r.bears(name) {
			continue // another name with the same hash
		}
		a, err := db.whole(&r)
		if err != nil {
			return nil, fileError(db.path, err)
		}
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out, nil
}

// whole copies a record out of the mapping and adds its prose.
func (db *DB) whole(r *advisoryRecord) (*Advisory, error) {
	a := &Advisory{
		ID: strings.Clone(r.id), Aliases: cloneAll(r.aliases), Upstream: cloneAll(r.upstream), Related: cloneAll(r.related),
		Published: r.published, Modified: r.modified, Withdrawn: r.withdrawn,
		Summary: strings.Clone(r.title), CWEs: cloneAll(r.cwes), Module: strings.Clone(r.module),
		Unreviewed: r.flags&flagUnreviewed != 0, FixedOnly: r.flags&flagFixedOnly != 0,
		SeverityWord: r.word.String(),
	}
	if r.word == bollwerk.SeverityUnknown {
		a.SeverityWord = ""
	}
	for _, c := range r.cvss {
		a.Severities = append(a.Severities, Severity{Type: "CVSS_V" + c.Version[:1], Score: strings.Clone(c.Vector)})
	}
	if err := db.addAffected(a, r); err != nil {
		return nil, err
	}
	if r.proseLen == 0 {
		return a, nil
	}
	block, err := db.block(r.proseBlock)
	if err != nil {
		return nil, err
	}
	if r.proseOff > uint64(len(block)) || r.proseLen > uint64(len(block))-r.proseOff {
		return nil, fmt.Errorf("prose of %s lies outside its block: %w", r.id, errDamaged)
	}
	d := decoder{b: block[r.proseOff : r.proseOff+r.proseLen]}
	a.Details = strings.Clone(d.string())
	n := d.count()
	for i := 0; i < n && d.err == nil; i++ {
		a.References = append(a.References, Reference{Type: strings.Clone(d.string()), URL: strings.Clone(d.string())})
	}
	return a, d.err
}

// block decompresses one block of prose.
func (db *DB) block(i uint64) ([]byte, error) {
	b, err := db.part(sectionBlockTab, 16*min(i, 1<<40), 16)
	if err != nil {
		return nil, err
	}
	off := binary.LittleEndian.Uint64(b)
	n, raw := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	if raw > maxBlock {
		return nil, fmt.Errorf("prose block %d has %d bytes: %w", i, raw, errDamaged)
	}
	comp, err := db.part(sectionBlocks, off, uint64(n))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBlock+1024))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	out, err := dec.DecodeAll(comp, make([]byte, 0, raw))
	if err != nil || len(out) != int(raw) {
		return nil, fmt.Errorf("prose block %d does not decompress: %w", i, errDamaged)
	}
	return out, nil
}

func cloneAll(s []string) []string {
	out := make([]string, len(s))
	for i, x := range s {
		out[i] = strings.Clone(x)
	}
	return out
}
