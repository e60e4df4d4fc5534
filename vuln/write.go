package vuln

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"hash"
	"io"
	"os"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"

	"github.com/bollwerk/bollwerk"
)

// fileWriter writes sections while it counts and hashes them.
type fileWriter struct {
	w    *bufio.Writer
	sha  hash.Hash
	page *xxhash.Digest
	in   int // bytes in the current page
	off  uint64
	sums []byte
	h    header
}

func (w *fileWriter) Write(p []byte) (int, error) {
	total := len(p)
	_, _ = w.sha.Write(p)
	if _, err := w.w.Write(p); err != nil {
		return 0, err
	}
	w.off += uint64(total)
	for len(p) > 0 {
		n := min(pageSize-w.in, len(p))
		_, _ = w.page.Write(p[:n])
		p = p[n:]
		if w.in += n; w.in == pageSize {
			w.endPage()
		}
	}
	return total, nil
}

func (w *fileWriter) endPage() {
	if w.in > 0 {
		w.sums = binary.LittleEndian.AppendUint64(w.sums, w.page.Sum64())
		w.page.Reset()
		w.in = 0
	}
}

func (w *fileWriter) begin(s section) { w.h.sections[s].off = w.off }
func (w *fileWriter) end(s section)   { w.h.sections[s].len = w.off - w.h.sections[s].off }

func (w *fileWriter) section(s section, b []byte) error {
	w.begin(s)
	_, err := w.Write(b)
	w.end(s)
	return err
}

func (b *Builder) write(ctx context.Context, path string) error {
	if err := b.flushProse(); err != nil {
		return err
	}
	if err := b.proseW.Flush(); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, headerSize)); err != nil {
		return err
	}
	w := &fileWriter{w: bufio.NewWriterSize(f, 1<<20), sha: sha256.New(), page: xxhash.New(), off: headerSize}
	w.begin(sectionBlocks)
	if _, err := b.prose.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(w, b.prose); err != nil {
		return err
	}
	w.end(sectionBlocks)
	if err := w.section(sectionBlockTab, b.blocks); err != nil {
		return err
	}
	if err := b.writeAdvisories(w); err != nil {
		return err
	}
	if err := b.writePackages(ctx, w); err != nil {
		return err
	}
	if err := b.writeIssues(w); err != nil {
		return err
	}
	if err := b.writeMeta(w); err != nil {
		return err
	}
	w.endPage()
	w.h.major, w.h.minor = formatMajor, formatMinor
	w.h.sums = span{w.off, uint64(len(w.sums) / 8)}
	w.h.sumsHash = xxhash.Sum64(w.sums)
	w.h.size = w.off + uint64(len(w.sums))
	copy(w.h.digest[:], w.sha.Sum(nil))
	if _, err := w.w.Write(w.sums); err != nil {
		return err
	}
	if err := w.w.Flush(); err != nil {
		return err
	}
	if _, err := f.WriteAt(w.h.encode(), 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

func appendEnds(ends []uint64) []byte {
	out := make([]byte, 0, 8*len(ends))
	for _, e := range ends {
		out = binary.LittleEndian.AppendUint64(out, e)
	}
	return out
}

// indexRow is one row of a hash index.
type indexRow struct {
	hash   uint64
	number uint32
}

func appendIndex(rows []indexRow) []byte {
	slices.SortFunc(rows, func(a, b indexRow) int {
		switch {
		case a.hash != b.hash && a.hash < b.hash, a.hash == b.hash && a.number < b.number:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	rows = slices.Compact(rows)
	out := make([]byte, 0, 16*len(rows))
	for _, r := range rows {
		out = binary.LittleEndian.AppendUint64(out, r.hash)
		out = binary.LittleEndian.AppendUint32(out, r.number)
		out = binary.LittleEndian.AppendUint32(out, 0)
	}
	return out
}

func (b *Builder) advisory(i uint32) advisoryRecord {
	var start uint64
	if i > 0 {
		start = b.advEnds[i-1]
	}
	return decodeAdvisory(b.advisories.b[start:b.advEnds[i]])
}

func (b *Builder) writeAdvisories(w *fileWriter) error {
	if err := w.section(sectionAdvisory, b.advisories.b); err != nil {
		return err
	}
	if err := w.section(sectionAdvTab, appendEnds(b.advEnds)); err != nil {
		return err
	}
	var rows []indexRow
	for i := range b.advEnds {
		r := b.advisory(uint32(i))
		if r.err != nil {
			return r.err
		}
		rows = append(rows, indexRow{xxhash.Sum64String(r.id), uint32(i)})
		for _, l := range [][]string{r.aliases, r.upstream, r.related} {
			for _, n := range l {
				rows = append(rows, indexRow{xxhash.Sum64String(n), uint32(i)})
			}
		}
	}
	return w.section(sectionAdvIndex, appendIndex(rows))
}

func (b *Builder) writePackages(ctx context.Context, w *fileWriter) error {
	var ends []uint64
	var rows []indexRow
	w.begin(sectionPackage)
	start := w.off
	var e encoder
	err := b.eachPackage(ctx, func(items []runItem) error {
		e.b = e.b[:0]
		b.encodePackage(&e, items)
		if _, err := w.Write(e.b); err != nil {
			return err
		}
		eco := bollwerk.Ecosystem(items[0].eco)
		rows = append(rows, indexRow{packageHash(eco, items[0].name), uint32(len(ends))})
		ends = append(ends, w.off-start)
		b.ecosystems[eco].Packages++
		if len(ends)%1000 == 0 {
			b.Progress("packages", int64(len(ends)), 0)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.end(sectionPackage)
	if err := w.section(sectionPkgTab, appendEnds(ends)); err != nil {
		return err
	}
	return w.section(sectionPkgIndex, appendIndex(rows))
}

// encodePackage writes one package record: its key, its issues, its entries.
func (b *Builder) encodePackage(e *encoder, items []runItem) {
	eco := bollwerk.Ecosystem(items[0].eco)
	names := make([][][]string, len(items))
	for i, it := range items {
		if i > 0 && it.advisory == items[i-1].advisory {
			names[i] = names[i-1]
			continue
		}
		r := b.advisory(it.advisory)
		a := Advisory{ID: r.id, Aliases: r.aliases, Upstream: r.upstream, Related: r.related}
		names[i] = a.issueNames(isDistribution(eco))
	}
	of, primary := groupIssues(names)
	e.string(items[0].eco)
	e.string(items[0].name)
	e.int(len(primary))
	for _, p := range primary {
		e.uint(uint64(b.issue(p)))
	}
	e.int(len(items))
	for i, it := range items {
		encodeEntry(e, uint64(it.advisory), of[i], it.payload)
	}
}

func (b *Builder) writeIssues(w *fileWriter) error {
	var e encoder
	var ends []uint64
	var rows []indexRow
	for i := range b.issues {
		b.issues[i].encode(&e)
		ends = append(ends, uint64(len(e.b)))
		rows = append(rows, indexRow{xxhash.Sum64String(b.issues[i].name), uint32(i)})
	}
	if err := w.section(sectionIssue, e.b); err != nil {
		return err
	}
	if err := w.section(sectionIssueTab, appendEnds(ends)); err != nil {
		return err
	}
	return w.section(sectionIssueIdx, appendIndex(rows))
}

func (b *Builder) writeMeta(w *fileWriter) error {
	m := meta{
		Built: b.o.Now, AsOf: b.newest, Records: b.records, Withdrawn: b.withdrawn, Entries: b.entries,
		KEVDate: b.kevDate, EPSSDate: b.epssDate, Starter: b.o.Starter, FactsOnly: b.o.FactsOnly, Sources: b.sources,
		Ecosystems: []EcosystemInfo{},
	}
	for i := range b.issues {
		if b.issues[i].kev != nil {
			m.KEV++
		}
		if b.issues[i].epss != nil {
			m.EPSS++
		}
	}
	for _, i := range b.ecosystems {
		m.Ecosystems = append(m.Ecosystems, *i)
	}
	sort.Slice(m.Ecosystems, func(i, j int) bool { return m.Ecosystems[i].Ecosystem < m.Ecosystems[j].Ecosystem })
	var buf bytes.Buffer
	if err := json.NewEncoder(&buf).Encode(m); err != nil {
		return err
	}
	return w.section(sectionMeta, buf.Bytes())
}
