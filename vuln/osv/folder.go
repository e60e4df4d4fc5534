package osv

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
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
		p := filepath.Join(root, e.Name(), Archive)
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			out = append(out, p)
		}
	}
	// Some mirrors keep only the one archive of everything at the top.
	if len(out) == 0 {
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
	newest, err := conflicts(archives)
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
			if !sendDelta(filepath.Join(filepath.Dir(p), deltaFolder), send) {
				return
			}
			queued := map[string]bool{}
			for _, zf := range open[i].File {
				if !strings.HasSuffix(zf.Name, ".json") || queued[zf.Name] {
					continue
				}
				queued[zf.Name] = true
				if at, ok := newest[zf.Name]; ok && at != i {
					continue
				}
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

// conflicts finds the records that two archives hold in different versions, which
// happens when a mirror was interrupted between them, and says for each which
// archive has the newest. Equal copies, the normal case, need no look inside.
func conflicts(archives []string) (map[string]int, error) {
	type where struct {
		crc   uint32
		first int
	}
	firsts := map[string]where{}
	differ := map[string]bool{}
	for i, p := range archives {
		z, err := openArchive(p)
		if err != nil {
			return nil, err
		}
		for _, zf := range z.File {
			w, ok := firsts[zf.Name]
			switch {
			case !ok:
				firsts[strings.Clone(zf.Name)] = where{zf.CRC32, i}
			case w.crc != zf.CRC32:
				differ[strings.Clone(zf.Name)] = true
			}
		}
		z.Close()
	}
	out := map[string]int{}
	if len(differ) == 0 {
		return out, nil
	}
	best := map[string]*vuln.Advisory{}
	for i, p := range archives {
		z, err := openArchive(p)
		if err != nil {
			return nil, err
		}
		for _, zf := range z.File {
			if !differ[zf.Name] {
				continue
			}
			data, err := readEntry(zf)
			if err == nil {
				var a *vuln.Advisory
				if a, err = Parse(trimBOM(data)); err == nil {
					if have := best[zf.Name]; have == nil || a.Modified.After(have.Modified) {
						best[zf.Name], out[zf.Name] = a, i
					}
				}
			}
			if err != nil {
				z.Close()
				return nil, fmt.Errorf("%s: %s: %w", p, zf.Name, err)
			}
		}
		z.Close()
	}
	return out, nil
}

// deltaFolder holds records fetched one by one since the archive was; see sync.go.
const deltaFolder = "delta"

// sendDelta queues the single records of a folder, newest name last.
func sendDelta(dir string, send func(*item) bool) bool {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	if err != nil {
		return send(&item{where: dir, read: func() ([]byte, error) { return nil, err }})
	}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".json" {
			continue
		}
		p := filepath.Join(dir, e.Name())
		ok := send(&item{where: p, read: func() ([]byte, error) {
			f, err := os.Open(p)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			data, err := io.ReadAll(io.LimitReader(f, MaxRecord+1))
			if err == nil && len(data) > MaxRecord {
				err = fmt.Errorf("more than %d bytes", MaxRecord)
			}
			return data, err
		}})
		if !ok {
			return false
		}
	}
	return true
}
