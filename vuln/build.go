package vuln

import (
	"bufio"
	"container/heap"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cvss"
)

// Limits of one record. A record beyond them is refused, not cut: half a record
// would be a wrong one.
const (
	maxAffected = 200_000 // entries of one record; the largest public ones have some 20,000
	maxEvents   = 4096    // events of one range
	maxNames    = 20_000  // aliases, upstream or related of one record
	maxText     = 1 << 20 // bytes of prose kept of one record
)

// Source reads advisories, or facts about issues, into a build. Plug-ins implement it.
type Source interface {
	// Name names the source for people: "osv /srv/mirror/osv".
	Name() string
	// Read hands everything to the builder. An error ends the build.
	Read(ctx context.Context, b *Builder) error
}

// BuildOptions say how a database is compiled.
type BuildOptions struct {
	// Output is the file to write, replaced atomically. A name that ends in .zst gets
	// the compressed form, for transport: it has to be imported.
	Output  string
	Sources []Source // read in this order
	// FactsOnly leaves titles, descriptions and references out.
	FactsOnly bool
	// Starter marks the file as the snapshot that ships with the program; it implies
	// FactsOnly.
	Starter bool
	// Now is the time of the build; what claims to be newer does not count for AsOf.
	Now time.Time
	// Progress is told what is being done; may be nil.
	Progress func(what string, done, total int64)
}

// Build compiles the sources into one file. The file appears under its name only
// when it is complete; on any error an existing one stays as it is.
func Build(ctx context.Context, o BuildOptions) (Status, error) {
	if o.Now.IsZero() {
		return Status{}, errors.New("build: the time of the build is not set")
	}
	if o.Output == "" {
		return Status{}, errors.New("build: no output file")
	}
	dir := filepath.Dir(o.Output)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Status{}, err
	}
	tmp, err := os.MkdirTemp(dir, ".bollwerk-build-")
	if err != nil {
		return Status{}, fmt.Errorf("build %s: %w", o.Output, err)
	}
	defer os.RemoveAll(tmp)
	b, err := newBuilder(tmp, o)
	if err != nil {
		return Status{}, err
	}
	defer b.close()
	for _, s := range o.Sources {
		if err := s.Read(ctx, b); err != nil {
			return Status{}, fmt.Errorf("%s: %w", s.Name(), err)
		}
		b.sources = append(b.sources, s.Name())
	}
	if b.records == 0 {
		return Status{}, fmt.Errorf("build %s: the sources hold no advisory at all; an empty database would call everything clean", o.Output)
	}
	out := filepath.Join(tmp, "new.db")
	if err := b.write(ctx, out); err != nil {
		return Status{}, fmt.Errorf("build %s: %w", o.Output, err)
	}
	// What was written is read back before it replaces anything.
	db, err := Open(out)
	if err != nil {
		return Status{}, fmt.Errorf("build %s: the new file does not open: %w", o.Output, err)
	}
	st := db.Status()
	st.Path = o.Output
	if err := db.Close(); err != nil {
		return Status{}, err
	}
	if strings.HasSuffix(o.Output, compressedSuffix) {
		b.Progress("compressing", 0, 0)
		small := out + compressedSuffix
		if err := compressFile(ctx, out, small); err != nil {
			return Status{}, fmt.Errorf("build %s: %w", o.Output, err)
		}
		out = small
	}
	if err := replaceFile(out, o.Output); err != nil {
		return Status{}, fmt.Errorf("build %s: %w", o.Output, err)
	}
	return st, nil
}

// Builder collects records and compiles them. It keeps the advisories' names and
// severities in memory (some 250 bytes a record) and everything larger, prose and
// affected entries, on disk in sorted runs.
type Builder struct {
	o   BuildOptions
	dir string

	records, withdrawn, entries int
	newest                      time.Time
	sources                     []string

	advisories encoder  // encoded advisory records
	advEnds    []uint64 // where each ends
	seen       map[string]struct{}
	ecosystems map[bollwerk.Ecosystem]*EcosystemInfo

	issues   []issueRecord
	issueOf  map[string]uint32
	kevDate  string
	epssDate string

	prose      *os.File
	proseW     *bufio.Writer
	proseBuf   []byte
	proseOff   uint64
	blocks     []byte // the block table
	compressor *zstd.Encoder

	run     []runItem
	runSize int
	runs    []string
}

// runItem is one affected entry on its way to its package record.
type runItem struct {
	eco, name string
	advisory  uint32
	payload   []byte
}

// runLimit is how many bytes of entries are held before they are sorted and
// written out.
const runLimit = 48 << 20

func newBuilder(dir string, o BuildOptions) (*Builder, error) {
	if o.Starter {
		o.FactsOnly = true
	}
	o.Now = o.Now.UTC().Truncate(time.Second)
	f, err := os.Create(filepath.Join(dir, "prose"))
	if err != nil {
		return nil, err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Builder{
		o: o, dir: dir, prose: f, proseW: bufio.NewWriterSize(f, 1<<20), compressor: enc,
		seen: map[string]struct{}{}, ecosystems: map[bollwerk.Ecosystem]*EcosystemInfo{}, issueOf: map[string]uint32{},
	}, nil
}

func (b *Builder) close() {
	b.compressor.Close()
	b.prose.Close()
}

// Progress tells the user what is being done.
func (b *Builder) Progress(what string, done, total int64) {
	if b.o.Progress != nil {
		b.o.Progress(what, done, total)
	}
}

// Seen reports whether a record with this id was added.
func (b *Builder) Seen(id string) bool { _, ok := b.seen[id]; return ok }

// Add takes one advisory. A second record with the same id is ignored: the public
// export repeats a record in the archive of every ecosystem it speaks of.
func (b *Builder) Add(a *Advisory) error {
	if a.ID == "" || len(a.ID) > 200 {
		return fmt.Errorf("advisory %q: no usable id", a.ID[:min(len(a.ID), 40)])
	}
	if b.Seen(a.ID) {
		return nil
	}
	if len(a.Affected) > maxAffected || len(a.Aliases) > maxNames || len(a.Upstream) > maxNames || len(a.Related) > maxNames {
		return fmt.Errorf("advisory %s: %d affected entries and %d names, more than the limits", a.ID, len(a.Affected), len(a.Aliases)+len(a.Upstream)+len(a.Related))
	}
	b.seen[a.ID] = struct{}{}
	number := uint32(b.records)
	b.records++
	distribution := false
	for i := range a.Affected {
		if isDistribution(a.Affected[i].Ecosystem) {
			distribution = true
		}
	}
	r := advisoryRecord{
		id: a.ID, kind: kindOf(a, distribution),
		aliases: a.Aliases, upstream: a.Upstream, related: a.Related,
		published: a.Published, modified: a.Modified, withdrawn: a.Withdrawn,
		cwes: a.CWEs, module: a.Module,
	}
	r.cvss, r.word = gradeAll(a.Severities, a.SeverityWord)
	if a.Unreviewed {
		r.flags |= flagUnreviewed
	}
	if a.FixedOnly {
		r.flags |= flagFixedOnly
	}
	if !a.Modified.After(b.o.Now) && a.Modified.After(b.newest) {
		b.newest = a.Modified
	}
	for _, n := range append([]string{a.ID}, append(append(append([]string{}, a.Aliases...), a.Upstream...), a.Related...)...) {
		if isCVE(n) {
			b.issue(n)
		}
	}
	b.lendSeverity(a, &r)
	if !b.o.FactsOnly {
		r.title = a.Summary[:min(len(a.Summary), 500)]
		if err := b.addProse(a, &r); err != nil {
			return err
		}
	}
	if !a.Withdrawn.IsZero() {
		r.flags |= flagWithdrawn
		b.withdrawn++
	} else if r.kind != kindBugfix {
		if err := b.addAffected(a, &r, number); err != nil {
			return err
		}
	}
	r.encode(&b.advisories)
	b.advEnds = append(b.advEnds, uint64(len(b.advisories.b)))
	return nil
}

// kindOf sorts a record. Errata that fix bugs only are kept, so that `explain`
// knows them, and never matched.
func kindOf(a *Advisory, distribution bool) byte {
	for _, n := range append([]string{a.ID}, a.Aliases...) {
		if isMAL(n) {
			return kindMalware
		}
	}
	if distribution && !hasCVE(a.Aliases) && !hasCVE(a.Upstream) && !hasCVE(a.Related) {
		for _, p := range []string{"ALBA-", "ALEA-", "RLBA-", "RLEA-", "RHBA-", "RHEA-", "ELBA-", "ELEA-", "SUSE-RU-", "SUSE-FU-", "SUSE-OU-", "openSUSE-RU-", "MGAA-"} {
			if strings.HasPrefix(a.ID, p) {
				return kindBugfix
			}
		}
	}
	notices := 0
	for i := range a.Affected {
		if isNotice(a, a.Affected[i].Informational) {
			notices++
		}
	}
	if notices > 0 && notices == len(a.Affected) {
		return kindNotice
	}
	return kindVulnerability
}

// isNotice decides what RustSec's informational records are. "unmaintained" and
// "notice" say nothing about a weakness. "unsound" says that safe code can be
// brought to undefined behaviour: a weakness, but in itself no vulnerability, and
// cargo-audit only warns of it. Where somebody found it worth a CVE or a severity
// vector it is treated as the vulnerability it then is.
func isNotice(a *Advisory, informational string) bool {
	switch informational {
	case "unmaintained", "notice":
		return true
	case "unsound":
		return !isCVE(a.ID) && !hasCVE(a.Aliases) && len(a.Severities) == 0
	}
	return false
}

func (b *Builder) issue(name string) uint32 {
	if i, ok := b.issueOf[name]; ok {
		return i
	}
	i := uint32(len(b.issues))
	name = strings.Clone(name)
	b.issues = append(b.issues, issueRecord{name: name})
	b.issueOf[name] = i
	return i
}

// lendSeverity keeps the severity a record states for its one CVE, for records of
// the same CVE that state none: Debian and Alpine publish no vectors at all.
func (b *Builder) lendSeverity(a *Advisory, r *advisoryRecord) {
	if !a.Withdrawn.IsZero() {
		return
	}
	cves := ofClass(append(append([]string{a.ID}, a.Aliases...), a.Upstream...), isCVE)
	if len(cves) != 1 {
		return
	}
	vectors, word := r.cvss, r.word
	for i := range a.Affected {
		if len(vectors) > 0 {
			break
		}
		c, w := gradeAll(a.Affected[i].Severities, a.Affected[i].SeverityWord)
		vectors = c
		if word == bollwerk.SeverityUnknown {
			word = w
		}
	}
	if len(vectors) == 0 && word == bollwerk.SeverityUnknown {
		return
	}
	i := &b.issues[b.issue(cves[0])]
	if betterLoan(vectors, a.ID, i) {
		i.cvss, i.word, i.source = vectors, word, a.ID
	}
}

// betterLoan prefers vectors to words, newer versions to older ones, and then the
// smaller id, so that a build does not depend on the order of its input.
func betterLoan(list []bollwerk.CVSS, id string, have *issueRecord) bool {
	if have.source == "" {
		return true
	}
	a, b := "", ""
	if c, ok := cvss.Best(list); ok {
		a = c.Version
	}
	if c, ok := cvss.Best(have.cvss); ok {
		b = c.Version
	}
	if a != b {
		return a > b
	}
	return id < have.source
}

func (b *Builder) addProse(a *Advisory, r *advisoryRecord) error {
	if a.Details == "" && len(a.References) == 0 {
		return nil
	}
	var e encoder
	details := a.Details
	if len(details) > maxText/2 {
		details = details[:maxText/2]
	}
	e.string(details)
	var refs []Reference
	size := len(e.b)
	for _, ref := range a.References {
		if size += len(ref.Type) + len(ref.URL) + 8; size > maxText-64 {
			break
		}
		refs = append(refs, ref)
	}
	e.int(len(refs))
	for _, ref := range refs {
		e.string(ref.Type)
		e.string(ref.URL)
	}
	if len(b.proseBuf)+len(e.b) > maxBlock {
		if err := b.flushProse(); err != nil {
			return err
		}
	}
	r.proseBlock, r.proseOff, r.proseLen = uint64(len(b.blocks)/16), uint64(len(b.proseBuf)), uint64(len(e.b))
	b.proseBuf = append(b.proseBuf, e.b...)
	if len(b.proseBuf) >= proseBlock {
		return b.flushProse()
	}
	return nil
}

// proseBlock is how much text is compressed together: `explain` decompresses one
// block, so larger ones cost time there and smaller ones cost size.
const proseBlock = 256 << 10

func (b *Builder) flushProse() error {
	if len(b.proseBuf) == 0 {
		return nil
	}
	comp := b.compressor.EncodeAll(b.proseBuf, nil)
	if _, err := b.proseW.Write(comp); err != nil {
		return err
	}
	b.blocks = binary.LittleEndian.AppendUint64(b.blocks, b.proseOff)
	b.blocks = binary.LittleEndian.AppendUint32(b.blocks, uint32(len(comp)))
	b.blocks = binary.LittleEndian.AppendUint32(b.blocks, uint32(len(b.proseBuf)))
	b.proseOff += uint64(len(comp))
	b.proseBuf = b.proseBuf[:0]
	return nil
}

// addAffected encodes the affected entries of a record and puts them into the run.
func (b *Builder) addAffected(a *Advisory, r *advisoryRecord, number uint32) error {
	counted := map[bollwerk.Ecosystem]bool{}
	keys := map[packageKey]bool{}
	for i := range a.Affected {
		af := &a.Affected[i]
		if af.Name == "" || af.Ecosystem == "" || len(af.Name) > 1024 || len(af.Ecosystem) > 256 {
			continue // commits only, or nothing a package could be matched with
		}
		eco := canonicalEcosystem(af.Ecosystem)
		name := canonicalName(eco, af.Name)
		en := compileEntry(a, af, eco)
		for _, rg := range append(append([][]Event{}, en.ranges...), en.custom...) {
			if len(rg) > maxEvents {
				return fmt.Errorf("advisory %s: a range of %s has %d events, more than %d", a.ID, af.Name, len(rg), maxEvents)
			}
		}
		var e encoder
		en.encodePayload(&e)
		if err := b.spill(runItem{string(eco), name, number, e.b}); err != nil {
			return err
		}
		b.entries++
		if k := (packageKey{string(eco), name}); !keys[k] {
			keys[k] = true
			r.keys = append(r.keys, k)
		}
		if !counted[eco] {
			counted[eco] = true
			info := b.ecosystems[eco]
			if info == nil {
				info = &EcosystemInfo{Ecosystem: eco}
				b.ecosystems[eco] = info
			}
			info.Records++
			info.FixedOnly = info.FixedOnly || a.FixedOnly
			if !a.Modified.After(b.o.Now) && a.Modified.After(info.Newest) {
				info.Newest = a.Modified
			}
		}
	}
	return nil
}

// compileEntry turns what the source says into what the matcher evaluates.
func compileEntry(a *Advisory, af *Affected, eco bollwerk.Ecosystem) *entry {
	en := &entry{module: af.Module, os: af.OS, arch: af.Arch, imports: af.Imports}
	if en.module == "" {
		en.module = a.Module
	}
	for _, rg := range af.Ranges {
		if rg.Type == RangeGit {
			en.flags |= entryGit
			continue
		}
		if len(rg.Events) > 0 {
			en.ranges = append(en.ranges, rg.Events)
		}
	}
	for _, rg := range af.CustomRanges {
		if rg.Type != RangeGit && len(rg.Events) > 0 {
			en.custom = append(en.custom, rg.Events)
		}
	}
	en.versions = remainingVersions(eco, af.Versions, en.ranges)
	en.cvss, en.word = gradeAll(af.Severities, af.SeverityWord)
	if af.UpperBoundUnknown {
		en.flags |= entryUpperUnknown
	}
	if len(en.custom) > 0 {
		en.flags |= entryCustom
	}
	if len(en.versions) > 0 {
		en.flags |= entryVersions
	}
	if en.module != "" {
		en.flags |= entryModule
	}
	if len(en.os)+len(en.arch) > 0 {
		en.flags |= entryPlatform
	}
	if len(en.imports) > 0 {
		en.flags |= entryImports
	}
	if len(en.cvss) > 0 || en.word != bollwerk.SeverityUnknown {
		en.flags |= entrySeverity
	}
	if eco == bollwerk.EcosystemGo && strings.HasPrefix(a.ID, "GO-") && !a.Unreviewed {
		en.flags |= entryAuthority
	}
	if isNotice(a, af.Informational) {
		en.flags |= entryNotice
	}
	return en
}

// remainingVersions drops the enumerated versions that the ranges cover anyway: for
// PyPI that is more than half a million strings. A list beside a range only ever
// adds to it (OSV schema, evaluation), so nothing is lost.
func remainingVersions(eco bollwerk.Ecosystem, versions []string, ranges [][]Event) []string {
	if len(versions) == 0 {
		return nil
	}
	cmp, ok := orderOf(eco)
	var out []string
	var scratch []Event
	for _, v := range versions {
		covered := false
		if ok {
			for _, rg := range ranges {
				scratch = append(scratch[:0], rg...)
				if in, err := inEvents(cmp, v, scratch); err == nil && in {
					covered = true
					break
				}
			}
		}
		if !covered {
			out = append(out, v)
		}
	}
	return uniqueSorted(out)
}

// AddKEV takes the catalogue of known exploited vulnerabilities, keyed by CVE.
// Entries for issues no advisory names are dropped; call it after the advisories.
func (b *Builder) AddKEV(date string, entries map[string]bollwerk.KEV) {
	b.kevDate = date
	for name, k := range entries {
		if i, ok := b.issueOf[name]; ok {
			k.DateAdded, k.DueDate = limit(k.DateAdded, 32), limit(k.DueDate, 32)
			b.issues[i].kev = &k
		}
	}
}

// AddEPSS takes one score. Call it after the advisories.
func (b *Builder) AddEPSS(name string, e bollwerk.EPSS) {
	if i, ok := b.issueOf[name]; ok && e.Score >= 0 && e.Score <= 1 && e.Percentile >= 0 && e.Percentile <= 1 {
		b.issues[i].epss = &e
	}
}

// SetEPSSDate says which day the scores are of.
func (b *Builder) SetEPSSDate(date string) { b.epssDate = limit(date, 32) }

func limit(s string, n int) string { return s[:min(len(s), n)] }

func (b *Builder) spill(it runItem) error {
	b.run = append(b.run, it)
	if b.runSize += len(it.payload) + len(it.name) + 80; b.runSize < runLimit {
		return nil
	}
	return b.flushRun()
}

func (x runItem) compare(y runItem) int {
	if c := strings.Compare(x.eco, y.eco); c != 0 {
		return c
	}
	if c := strings.Compare(x.name, y.name); c != 0 {
		return c
	}
	switch {
	case x.advisory < y.advisory:
		return -1
	case x.advisory > y.advisory:
		return 1
	}
	return 0
}

// flushRun sorts what is held and writes it to a file.
func (b *Builder) flushRun() error {
	slices.SortStableFunc(b.run, runItem.compare)
	path := filepath.Join(b.dir, fmt.Sprintf("run%04d", len(b.runs)))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	var e encoder
	for _, it := range b.run {
		e.b = e.b[:0]
		e.string(it.eco)
		e.string(it.name)
		e.uint(uint64(it.advisory))
		e.string(string(it.payload))
		var n [binary.MaxVarintLen64]byte
		if _, err := w.Write(n[:binary.PutUvarint(n[:], uint64(len(e.b)))]); err != nil {
			return err
		}
		if _, err := w.Write(e.b); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.runs = append(b.runs, path)
	b.run, b.runSize = b.run[:0], 0
	return f.Close()
}

// runReader reads one sorted run back.
type runReader struct {
	r    *bufio.Reader
	f    *os.File
	head runItem
}

func (r *runReader) next() error {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return err // io.EOF at the end
	}
	buf := make([]byte, n)
	if _, err := io.ReadFull(r.r, buf); err != nil {
		return err
	}
	d := decoder{b: buf}
	r.head = runItem{eco: d.string(), name: d.string(), advisory: uint32(d.uint()), payload: d.bytes()}
	return d.err
}

type runHeap []*runReader

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	if c := h[i].head.compare(h[j].head); c != 0 {
		return c < 0
	}
	return h[i].f.Name() < h[j].f.Name()
}
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)   { *h = append(*h, x.(*runReader)) }
func (h *runHeap) Pop() any     { o := *h; x := o[len(o)-1]; *h = o[:len(o)-1]; return x }

// eachPackage merges the runs and hands over the entries of one package at a time.
func (b *Builder) eachPackage(ctx context.Context, do func([]runItem) error) error {
	if err := b.flushRun(); err != nil {
		return err
	}
	b.run = nil
	var h runHeap
	defer func() {
		for _, r := range h {
			r.f.Close()
		}
	}()
	for _, p := range b.runs {
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		r := &runReader{r: bufio.NewReaderSize(f, 256<<10), f: f}
		switch err := r.next(); {
		case err == io.EOF:
			f.Close()
		case err != nil:
			f.Close()
			return err
		default:
			h = append(h, r)
		}
	}
	heap.Init(&h)
	var group []runItem
	for len(h) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		it := h[0].head
		if len(group) > 0 && (group[0].eco != it.eco || group[0].name != it.name) {
			if err := do(group); err != nil {
				return err
			}
			group = group[:0]
		}
		group = append(group, it)
		switch err := h[0].next(); {
		case err == io.EOF:
			h[0].f.Close()
			heap.Pop(&h)
		case err != nil:
			return err
		default:
			heap.Fix(&h, 0)
		}
	}
	if len(group) > 0 {
		return do(group)
	}
	return nil
}
