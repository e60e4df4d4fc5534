package vuln_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/vuln"
)

const small = `{"id":"GHSA-small-1","aliases":["CVE-2024-1"],"related":["CVE-2024-9"],"modified":"2024-03-01T00:00:00Z","published":"2024-02-01T00:00:00Z",
 "summary":"the title","details":"the prose","references":[{"type":"WEB","url":"https://example.org/prose"}],"database_specific":{"cwe_ids":["CWE-79"],"severity":"HIGH"},
 "affected":[{"package":{"ecosystem":"npm","name":"lodash"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"4.17.21"}]}]},
 {"package":{"ecosystem":"Debian:12","name":"node-lodash"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"4.17.21-1"}]}]}]}`

func smallFile(t testing.TB, texts ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.db")
	if len(texts) == 0 {
		texts = []string{small}
	}
	if _, err := vuln.Build(context.Background(), vuln.BuildOptions{Output: path, Sources: []vuln.Source{records{texts: texts}}, Now: buildTime}); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInfo(t *testing.T) {
	future := `{"id":"PYSEC-2025-19","modified":"2027-07-09T15:54:00Z","affected":[{"package":{"ecosystem":"PyPI","name":"x"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}]}`
	gone := `{"id":"GHSA-gone","modified":"2024-01-01T00:00:00Z","withdrawn":"2024-01-02T00:00:00Z"}`
	db := buildDB(t, records{texts: []string{small, future, gone}})
	i := db.Info()
	if want := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC); !i.AsOf.Equal(want) {
		t.Errorf("AsOf is %v, want %v: a date in the future of the build is no fact", i.AsOf, want)
	}
	if i.Records != 3 || !i.Built.Equal(buildTime) || i.KEVDate != "2026-11-20" || i.EPSSDate != "2026-11-21" || i.Starter {
		t.Errorf("Info is %+v", i)
	}
	if _, err := bollwerk.ParseDigest(string(i.Digest)); err != nil {
		t.Error(err)
	}
	if e, ok := db.Ecosystem("PyPI"); !ok || !e.Newest.IsZero() || e.Records != 1 {
		t.Errorf("PyPI is %+v, %v: its only record claims a future date", e, ok)
	}
	if st := db.Status(); st.Withdrawn != 1 || st.Packages != 3 || st.Entries != 3 {
		t.Errorf("Status is %+v", st)
	}
	ms, err := db.Match(context.Background(), bollwerk.Package{Ecosystem: "PyPI", Name: "x", Version: "1"})
	if err != nil || len(ms) != 1 {
		t.Errorf("a record with a future date matches as any other: %v, %v", ms, err)
	}
}

func TestAdvisory(t *testing.T) {
	db := buildDB(t, records{texts: []string{small}})
	a, ok, err := db.Advisory("GHSA-small-1")
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	if a.Summary != "the title" || a.Details != "the prose" || len(a.References) != 1 || a.SeverityWord != "high" || len(a.CWEs) != 1 {
		t.Errorf("got %+v", a)
	}
	if len(a.Affected) != 2 || a.Affected[0].Name != "lodash" || a.Affected[0].Ranges[0].Events[1].Version != "4.17.21" {
		t.Errorf("affected is %+v", a.Affected)
	}
	for _, name := range []string{"CVE-2024-1", "CVE-2024-9"} {
		if l, err := db.Find(name); err != nil || len(l) != 1 || l[0].ID != "GHSA-small-1" {
			t.Errorf("Find(%s) = %v, %v", name, l, err)
		}
	}
	if _, ok, err := db.Advisory("CVE-2024-1"); ok || err != nil {
		t.Errorf("an alias is no record: %v, %v", ok, err)
	}
	if l, err := db.Find("CVE-2024-12"); err != nil || len(l) != 0 {
		t.Errorf("got %v, %v", l, err)
	}
}

func TestFactsOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "facts.db")
	if _, err := vuln.Build(context.Background(), vuln.BuildOptions{Output: path, Sources: []vuln.Source{records{texts: []string{small}}}, Now: buildTime, Starter: true}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, prose := range []string{"the title", "the prose", "example.org/prose"} {
		if bytes.Contains(data, []byte(prose)) {
			t.Errorf("the file holds %q", prose)
		}
	}
	db, err := vuln.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	a, _, err := db.Advisory("GHSA-small-1")
	if err != nil || a.Summary != "" || a.Details != "" || a.References != nil {
		t.Errorf("got %+v, %v", a, err)
	}
	if !db.Info().Starter || !db.Status().FactsOnly {
		t.Error("the file does not say what it is")
	}
	ms, err := db.Match(context.Background(), bollwerk.Package{Ecosystem: "npm", Name: "lodash", Version: "4.17.20"})
	if err != nil || len(ms) != 1 || len(ms[0].References) == 0 {
		t.Errorf("got %+v, %v", ms, err)
	}
}

// TestReproducible: the same records give the same file, whatever their order.
func TestReproducible(t *testing.T) {
	a, b := smallFile(t), smallFile(t)
	x, err1 := os.ReadFile(a)
	y, err2 := os.ReadFile(b)
	if err1 != nil || err2 != nil || !bytes.Equal(x, y) {
		t.Error("two builds of the same records differ", err1, err2)
	}
}

func TestRefused(t *testing.T) {
	good, err := os.ReadFile(smallFile(t))
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, v byte) []byte {
		b := bytes.Clone(good)
		b[at] ^= v
		return b
	}
	newer := bytes.Clone(good)
	newer[16] = 99
	older := bytes.Clone(good)
	older[16] = 0
	for _, c := range []struct {
		name string
		data []byte
		want error
		says string
	}{
		{"empty", nil, vuln.ErrForeign, "bollwerk db update"},
		{"short", good[:100], vuln.ErrTruncated, "bollwerk db update"},
		{"header only", good[:4096], vuln.ErrTruncated, "bollwerk db import"},
		{"cut by one", good[:len(good)-1], vuln.ErrTruncated, "bollwerk db update"},
		{"one too many", append(bytes.Clone(good), 0), vuln.ErrDamaged, "bollwerk db update"},
		{"foreign", []byte("SQLite format 3\x00" + strings.Repeat("x", 8192)), vuln.ErrForeign, "bollwerk db update"},
		{"header bit", change(40, 1), vuln.ErrDamaged, "bollwerk db update"},
		{"checksum table", change(len(good)-3, 1), vuln.ErrDamaged, "bollwerk db update"},
		{"newer", newer, vuln.ErrNewerFormat, "newer bollwerk"},
		{"older", older, vuln.ErrOlderFormat, "bollwerk db update"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bad.db")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			db, err := vuln.Open(path)
			if err == nil {
				db.Close()
				t.Fatal("it opened")
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %q, want %q, the file and %q in it", err, c.want, c.says)
			}
		})
	}
	if _, err := vuln.Open(filepath.Join(t.TempDir(), "none.db")); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "bollwerk db update") {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := vuln.Open(t.TempDir()); err == nil {
		t.Error("a directory opened")
	}
}

// TestEveryByteCounts flips every byte of the body: the damage is found by the page
// that is read, at the latest by Verify, and never passes as "no advisory".
func TestEveryByteCounts(t *testing.T) {
	good, err := os.ReadFile(smallFile(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bad.db")
	for i := 4096; i < len(good); i += 7 {
		b := bytes.Clone(good)
		b[i] ^= 0x40
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := vuln.Open(path)
		if err != nil {
			continue
		}
		if err := db.Verify(context.Background()); !errors.Is(err, vuln.ErrDamaged) {
			t.Fatalf("byte %d: Verify says %v", i, err)
		}
		_, err = db.Match(context.Background(), bollwerk.Package{Ecosystem: "npm", Name: "lodash", Version: "1.0.0"})
		if !errors.Is(err, vuln.ErrDamaged) || !strings.Contains(err.Error(), "bollwerk db update") {
			t.Fatalf("byte %d: Match says %v", i, err)
		}
		db.Close()
	}
}

func TestClosed(t *testing.T) {
	db, err := vuln.Open(smallFile(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Match(context.Background(), bollwerk.Package{Ecosystem: "npm", Name: "lodash", Version: "1"}); !errors.Is(err, vuln.ErrClosed) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := db.Match(ctx, bollwerk.Package{Ecosystem: "npm", Name: "lodash"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestConcurrent looks up from many goroutines while the database closes; the
// results must survive it. The race detector watches.
func TestConcurrent(t *testing.T) {
	db, err := vuln.Open(smallFile(t))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	results := make([][]vuln.Match, 8)
	started := make(chan struct{}, len(results))
	for i := range results {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for k := 0; ; k++ {
				m, err := db.Match(context.Background(), bollwerk.Package{Ecosystem: "npm", Name: "lodash", Version: "1.0.0"})
				if err != nil {
					if !errors.Is(err, vuln.ErrClosed) {
						t.Error(err)
					}
					return
				}
				results[i] = m
				if k == 0 {
					started <- struct{}{}
				}
			}
		}()
	}
	for range results {
		<-started
	}
	db.Close()
	wg.Wait()
	for _, m := range results {
		if len(m) != 1 || m[0].ID != "CVE-2024-1" || !strings.Contains(m[0].Reason, "4.17.21") {
			t.Errorf("got %+v", m)
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	ctx := context.Background()
	out := filepath.Join(t.TempDir(), "out.db")
	if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]vuln.BuildOptions{
		"no records": {Output: out, Now: buildTime, Sources: []vuln.Source{records{}}},
		"broken":     {Output: out, Now: buildTime, Sources: []vuln.Source{records{texts: []string{small, `{"id":"X","affected":[{"ranges":[{"type":"?"}]}]}`}}}},
		"no clock":   {Output: out, Sources: []vuln.Source{records{texts: []string{small}}}},
	} {
		if _, err := vuln.Build(ctx, o); err == nil {
			t.Errorf("%s: it was built", name)
		}
	}
	if b, _ := os.ReadFile(out); string(b) != "old" {
		t.Error("a failed build touched the file in place")
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := vuln.Build(cancelled, vuln.BuildOptions{Output: out, Now: buildTime, Sources: []vuln.Source{records{texts: []string{small}}}}); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled build says %v", err)
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), ".bollwerk-*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestExportImport(t *testing.T) {
	ctx := context.Background()
	src := smallFile(t)
	db, err := vuln.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, name := range []string{"travel.db", "travel.db.zst"} {
		dir := t.TempDir()
		file, to := filepath.Join(dir, name), filepath.Join(dir, "cache", "advisories.db")
		if err := vuln.Export(ctx, db, file); err != nil {
			t.Fatal(err)
		}
		st, err := vuln.Import(ctx, file, to)
		if err != nil {
			t.Fatal(err)
		}
		if st.Info.Digest != db.Info().Digest || st.Path != to {
			t.Errorf("%s: got %+v", name, st.Info)
		}
		in, err1 := os.ReadFile(to)
		was, err2 := os.ReadFile(src)
		if err1 != nil || err2 != nil || !bytes.Equal(in, was) {
			t.Errorf("%s: the database changed on its way", name)
		}
		// One byte differs: the checksum beside it tells, and without that the file.
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		data[len(data)*2/3] ^= 1
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vuln.Import(ctx, file, to); err == nil || !strings.Contains(err.Error(), "SHA-256") {
			t.Errorf("%s: a changed file: %v", name, err)
		}
		if err := os.Remove(file + ".sha256"); err != nil {
			t.Fatal(err)
		}
		if _, err := vuln.Import(ctx, file, to); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: a changed file without its checksum: %v", name, err)
		}
		if err := os.WriteFile(file, data[:len(data)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vuln.Import(ctx, file, to); err == nil {
			t.Errorf("%s: half a file was imported", name)
		}
		if after, _ := os.ReadFile(to); !bytes.Equal(after, was) {
			t.Errorf("%s: a refused import touched the database in place", name)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*", ".bollwerk-*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}
