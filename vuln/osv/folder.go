package osv

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"

	"github.com/bollwerk/bollwerk/vuln"
)

// Archive is the name of the file with all records of an ecosystem, in the layout
// of the public bulk export.
const Archive = "all.zip"

// maxArchiveEntries bounds the records of one archive.
const maxArchiveEntries = 4_000_000

// Folder reads a mirror: a folder with <ECOSYSTEM>/all.zip, or with osv/<ECOSYSTEM>/all.zip.
// A folder <ECOSYSTEM>/delta with single records, newer than the archive, is read too.
type Folder struct {
	Root string
	// Only names the ecosystems to read, without releases; empty: all.
	Only []string
}

// Name implements vuln.Source.
func (f Folder) Name() string { return "OSV" }

// Archives lists the archives of a mirror, sorted by ecosystem.
func (f Folder) Archives() ([]string, error) {
	root := f.Root
	if st, err := os.Stat(filepath.Join(root, "osv")); err == nil && st.IsDir() {
		root = filepath.Join(root, "osv")
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if len(f.Only) > 0 && !slices.Contains(f.Only, e.Name()) {
			continue
		}
		p := filepath.Join(root, e.Name(), Archive)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			out = append(out, p)
		}
	}
	// Some mirrors keep only the one archive of everything at the top.
	if len(out) == 0 && len(f.Only) == 0 {
		p := filepath.Join(root, Archive)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no advisories: want <ECOSYSTEM>/%s or osv/<ECOSYSTEM>/%s in it", f.Root, Archive, Archive)
	}
	sort.Strings(out)
	return out, nil
}

// item is one record on its way through the parsers; done is closed when it is
// parsed. Items are handed over in order, so that a build does not depend on timing.
type item struct {
	where string
	read  func() ([]byte, error)
	adv   *vuln.Advisory
	err   error
	done  chan struct{}
}

// Read implements vuln.Source. A record that cannot be read ends the build: a
// database that silently lacks a record would call its package clean.
func (f Folder) Read(ctx context.Context, b *vuln.Builder) error {
	archives, err := f.Archives()
	if err != nil {
		return err
	}
	resolved, err := conflicts(archives)
	if err != nil {
		return err
	}
	var total int64
	var open []*zip.ReadCloser
	defer func() {
		for _, z := range open {
			z.Close()
		}
	}()
	for _, p := range archives {
		z, err := openArchive(p)
		if err != nil {
			return err
		}
		open = append(open, z)
		total += int64(len(z.File))
	}
	for _, a := range resolved {
		if err := b.Add(a); err != nil {
			return err
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	workers := runtime.GOMAXPROCS(0)
	work := make(chan *item, 4*workers)
	order := make(chan *item, 64*workers)
	finished := make(chan struct{}, workers)
	for range workers {
		go func() {
			defer func() { finished <- struct{}{} }()
			for it := range work {
				it.parse()
			}
		}()
	}
	queued := map[string]bool{}
	for _, a := range resolved {
		queued[a.ID+".json"] = true
	}
	go func() {
		defer close(order)
		defer close(work)
		send := func(it *item) bool {
			it.done = make(chan struct{})
			select {
			case work <- it:
			case <-ctx.Done():
				return false
			}
			select {
			case order <- it:
				return true
			case <-ctx.Done():
				return false
			}
		}
		for i, p := range archives {
			for _, zf := range open[i].File {
				// What was added already is skipped before it is parsed a second time.
				if !strings.HasSuffix(zf.Name, ".json") || queued[zf.Name] {
					continue
				}
				queued[zf.Name] = true
				if !send(&item{where: p + ": " + zf.Name, read: func() ([]byte, error) { return readEntry(zf) }}) {
					return
				}
			}
		}
	}()
	var n int64
	var fail error
	for it := range order {
		if fail != nil {
			continue // drain, so that the parsers end
		}
		select {
		case <-it.done:
		case <-ctx.Done():
			fail = ctx.Err()
			continue
		}
		if it.err != nil {
			fail = fmt.Errorf("%s: %w", it.where, it.err)
			stop()
			continue
		}
		if err := b.Add(it.adv); err != nil {
			fail = fmt.Errorf("%s: %w", it.where, err)
			stop()
			continue
		}
		if n++; n%500 == 0 {
			b.Progress("advisories", n, total)
		}
	}
	for range workers {
		<-finished
	}
	if fail == nil {
		fail = ctx.Err()
	}
	return fail
}

func (it *item) parse() {
	defer close(it.done)
	data, err := it.read()
	if err != nil {
		it.err = err
		return
	}
	it.adv, it.err = Parse(trimBOM(data))
}

func openArchive(p string) (*zip.ReadCloser, error) {
	z, err := zip.OpenReader(p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	if len(z.File) > maxArchiveEntries {
		z.Close()
		return nil, fmt.Errorf("%s: %d entries, more than the limit of %d", p, len(z.File), maxArchiveEntries)
	}
	return z, nil
}

// readEntry reads one record; the zip reader checks its CRC at the end.
func readEntry(zf *zip.File) ([]byte, error) {
	if zf.UncompressedSize64 > MaxRecord {
		return nil, fmt.Errorf("%d bytes, more than the limit of %d", zf.UncompressedSize64, MaxRecord)
	}
	r, err := zf.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, 0, zf.UncompressedSize64+1)
	buf := io.LimitReader(r, MaxRecord+1)
	for {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := buf.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(data) > MaxRecord {
			return nil, fmt.Errorf("more than %d bytes", MaxRecord)
		}
	}
	return data, nil
}

// conflicts finds the records that a mirror holds in different versions: in the
// archives of two ecosystems, when it was interrupted between them, or as a single
// record that is newer than the archive. It returns the newest version of each,
// sorted by id. Equal copies, the normal case, need no look inside.
func conflicts(archives []string) ([]*vuln.Advisory, error) {
	crcs := map[string]uint32{}
	differ := map[string]bool{}
	best := map[string]*vuln.Advisory{}
	keep := func(a *vuln.Advisory) {
		if have := best[a.ID]; have == nil || a.Modified.After(have.Modified) {
			best[a.ID] = a
		}
	}
	for _, p := range archives {
		deltas, err := readDeltas(filepath.Join(filepath.Dir(p), deltaFolder))
		if err != nil {
			return nil, err
		}
		for _, a := range deltas {
			keep(a)
			differ[a.ID+".json"] = true
		}
		z, err := openArchive(p)
		if err != nil {
			return nil, err
		}
		for _, zf := range z.File {
			if crc, ok := crcs[zf.Name]; !ok {
				crcs[strings.Clone(zf.Name)] = zf.CRC32
			} else if crc != zf.CRC32 {
				differ[strings.Clone(zf.Name)] = true
			}
		}
		z.Close()
	}
	if len(differ) == 0 {
		return nil, nil
	}
	for _, p := range archives {
		if err := readSome(p, differ, keep); err != nil {
			return nil, err
		}
	}
	out := make([]*vuln.Advisory, 0, len(best))
	for _, a := range best {
		out = append(out, a)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].ID < out[j].ID })
	return out, nil
}

// readSome parses the named records of one archive.
func readSome(p string, names map[string]bool, do func(*vuln.Advisory)) error {
	z, err := openArchive(p)
	if err != nil {
		return err
	}
	defer z.Close()
	for _, zf := range z.File {
		if !names[zf.Name] {
			continue
		}
		data, err := readEntry(zf)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", p, zf.Name, err)
		}
		a, err := Parse(trimBOM(data))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", p, zf.Name, err)
		}
		do(a)
	}
	return nil
}

// deltaFolder holds records fetched one by one since the archive was; see sync.go.
const deltaFolder = "delta"

// readDeltas parses the single records of a folder; none if there is no folder.
func readDeltas(dir string) ([]*vuln.Advisory, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*vuln.Advisory
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".json" {
			continue
		}
		p := filepath.Join(dir, e.Name())
		a, err := readRecord(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func readRecord(p string) (*vuln.Advisory, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxRecord+1))
	if err != nil {
		return nil, err
	}
	return Parse(trimBOM(data))
}
