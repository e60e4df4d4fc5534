package osv

import (
	"archive/zip"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk/vuln"
)

// URL is the public bulk export (https://google.github.io/osv.dev/data/#data-dumps).
const URL = "https://osv-vulnerabilities.storage.googleapis.com"

// Limits of a mirror's files.
const (
	maxArchive = 8 << 30
	maxList    = 1 << 30
	maxSingles = 200 // changed records up to which they are fetched one by one
)

// Mirror keeps a local copy of a bulk export.
type Mirror struct {
	URL     string // of the folder that holds ecosystems.txt
	Dir     string // local folder; the copy is in Dir/osv
	Fetcher *vuln.Fetcher
	// Ecosystems to keep, without releases; empty: all that package scans can use.
	Ecosystems []string
	// Progress is told which ecosystem is being looked at; may be nil.
	Progress func(ecosystem string, done, total int)
}

// Summary says what a synchronisation did.
type Summary struct {
	Ecosystems int // looked at
	Archives   int // fetched whole
	Records    int // fetched one by one
	Unchanged  int // ecosystems without a change
}

// Sync brings the copy up to date. What is complete stays when it fails, and the
// next call goes on from there.
func (m Mirror) Sync(ctx context.Context) (Summary, error) {
	var sum Summary
	ecosystems, err := m.ecosystems(ctx)
	if err != nil {
		return sum, err
	}
	for i, e := range ecosystems {
		if m.Progress != nil {
			m.Progress(e, i, len(ecosystems))
		}
		if err := m.syncOne(ctx, e, &sum); err != nil {
			return sum, fmt.Errorf("%s: %w", e, err)
		}
		sum.Ecosystems++
	}
	return sum, nil
}

func (m Mirror) path(parts ...string) string {
	return filepath.Join(append([]string{m.Dir, "osv"}, parts...)...)
}

func (m Mirror) link(parts ...string) string {
	out := strings.TrimSuffix(m.URL, "/")
	for _, p := range parts {
		out += "/" + url.PathEscape(p)
	}
	return out
}

// ecosystems fetches the list. Names with a release repeat what the plain name
// holds; GIT holds records about repositories without any package.
func (m Mirror) ecosystems(ctx context.Context) ([]string, error) {
	list := m.path("ecosystems.txt")
	if _, err := m.Fetcher.Fetch(ctx, vuln.Download{URL: m.link("ecosystems.txt"), To: list, MaxSize: 1 << 20}); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(list)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range strings.Split(string(data), "\n") {
		e = strings.TrimSpace(e)
		switch {
		case e == "" || strings.Contains(e, ":") || e == "GIT":
		case len(e) > 64 || strings.ContainsAny(e, "/\\\x00") || strings.HasPrefix(e, "."):
			return nil, fmt.Errorf("%s: %q is no name of an ecosystem", m.link("ecosystems.txt"), e[:min(len(e), 64)])
		case len(m.Ecosystems) == 0 || slices.Contains(m.Ecosystems, e):
			out = append(out, e)
		}
	}
	for _, e := range m.Ecosystems {
		if !slices.Contains(out, e) {
			return nil, fmt.Errorf("the mirror %s has no ecosystem %q", m.URL, e)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s lists no ecosystem", m.link("ecosystems.txt"))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// syncOne brings one ecosystem up to date. The list of changes is fetched first and
// takes its final name last, so that an interruption never hides a change.
func (m Mirror) syncOne(ctx context.Context, e string, sum *Summary) error {
	archive, list := m.path(e, Archive), m.path(e, "modified_id.csv")
	fresh := m.path(e, "modified_id.new")
	_, err := os.Stat(archive)
	known := err == nil
	listed := true
	switch _, err := m.Fetcher.Fetch(ctx, vuln.Download{URL: m.link(e, "modified_id.csv"), To: fresh, MaxSize: maxList}); {
	case errors.Is(err, vuln.ErrNotFound):
		listed = false // a mirror without lists works too
	case err != nil:
		return err
	}
	if known && listed {
		changed, ok, err := changes(list, fresh)
		if err != nil {
			return err
		}
		switch {
		case ok && len(changed) == 0:
			sum.Unchanged++
			return nil
		case ok && len(changed) <= maxSingles:
			done, err := m.singles(ctx, e, changed)
			if err != nil {
				return err
			}
			if done {
				sum.Records += len(changed)
				return copyList(fresh, list)
			}
		}
	}
	changed, err := m.Fetcher.Fetch(ctx, vuln.Download{URL: m.link(e, Archive), To: archive, MaxSize: maxArchive, Verify: verifyArchive})
	if err != nil {
		return err
	}
	if changed {
		sum.Archives++
		if err := os.RemoveAll(m.path(e, deltaFolder)); err != nil {
			return err
		}
	} else {
		sum.Unchanged++
	}
	if listed {
		return copyList(fresh, list)
	}
	return nil
}

// copyList keeps the fetched list under its own name (with its ETag), and a copy
// that says what the local records are.
func copyList(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	tmp := to + ".tmp"
	if err := os.WriteFile(tmp, data, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, to)
}

// changes compares two lists "<modified>,<id>", newest first, and returns the ids
// that are new or newer. It is not ok when the old list is missing, or names records
// the new one lacks: then only the whole archive is right.
func changes(old, fresh string) (ids []string, ok bool, err error) {
	before, err := readList(old)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	after, err := readList(fresh)
	if err != nil {
		return nil, false, err
	}
	for id, t := range after {
		was, known := before[id]
		if !known || !was.Equal(t) {
			ids = append(ids, id)
		}
		delete(before, id)
	}
	if len(before) > 0 {
		return nil, false, nil
	}
	slices.Sort(ids)
	return ids, true, nil
}

func readList(path string) (map[string]time.Time, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]time.Time{}
	sc := bufio.NewScanner(io.LimitReader(f, maxList))
	for line := 1; sc.Scan(); line++ {
		s := strings.TrimSpace(sc.Text())
		if s == "" {
			continue
		}
		when, id, ok := strings.Cut(s, ",")
		t, err := time.Parse(time.RFC3339Nano, when)
		if !ok || err != nil || !plainID(id) {
			return nil, fmt.Errorf("%s: line %d: want a time and an id", path, line)
		}
		out[id] = t
	}
	return out, sc.Err()
}

// plainID refuses ids that would be more than a file name.
func plainID(id string) bool {
	return id != "" && len(id) <= 200 && !strings.ContainsAny(id, "/\\\x00") && !strings.HasPrefix(id, ".")
}

// singles fetches records one by one. False: the mirror does not have them singly.
func (m Mirror) singles(ctx context.Context, e string, ids []string) (bool, error) {
	for _, id := range ids {
		to := m.path(e, deltaFolder, id+".json")
		_, err := m.Fetcher.Fetch(ctx, vuln.Download{URL: m.link(e, id+".json"), To: to, MaxSize: MaxRecord, Verify: func(p string) error {
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			a, err := Parse(trimBOM(data))
			if err == nil && a.ID != id {
				err = fmt.Errorf("it is the record %q", a.ID)
			}
			return err
		}})
		if errors.Is(err, vuln.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// verifyArchive reads every entry of an archive, which checks sizes and CRCs.
func verifyArchive(path string) error {
	z, err := zip.OpenReader(path)
	if err != nil {
		return err
	}
	defer z.Close()
	if len(z.File) > maxArchiveEntries {
		return fmt.Errorf("%d entries, more than the limit of %d", len(z.File), maxArchiveEntries)
	}
	records := 0
	for _, zf := range z.File {
		if !strings.HasSuffix(zf.Name, ".json") {
			continue
		}
		data, err := readEntry(zf)
		if err != nil {
			return fmt.Errorf("%s: %w", zf.Name, err)
		}
		if b := trimBOM(data); len(b) == 0 || b[0] != '{' {
			return fmt.Errorf("%s: not a record", zf.Name)
		}
		records++
	}
	if records == 0 {
		return errors.New("no record in the archive")
	}
	return nil
}
