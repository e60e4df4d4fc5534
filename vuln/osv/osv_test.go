package osv

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/vuln"
)

func TestParse(t *testing.T) {
	a, err := Parse([]byte(`{"id":"GO-1","schema_version":"9.9","unheard_of":{"x":[1]},"aliases":["CVE-1",7,null],"related":null,
 "modified":"2024-01-02T03:04:05.678Z","published":"0001-01-01T00:00:00Z",
 "database_specific":{"severity":["odd"],"cwe_ids":["CWE-1"],"review_status":"UNREVIEWED"},
 "affected":[{"package":{"ecosystem":"Go","name":"m","purl":"pkg:rpm/x?rpmmod=nodejs%3A18&arch=x"},"versions":[1.5,"2"],
  "ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.2"}],"database_specific":{"c":1}}],
  "ecosystem_specific":{"imports":[{"path":"m/p","symbols":["F"],"goos":["linux"]}],"custom_ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"last_affected":"7"}]}]},
  "database_specific":"a string"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != "GO-1" || !a.Unreviewed || !a.Published.IsZero() || a.Modified.Year() != 2024 || len(a.Aliases) != 3 || a.Aliases[0] != "CVE-1" {
		t.Errorf("got %+v", a)
	}
	af := a.Affected[0]
	if af.Module != "nodejs:18" || len(af.Versions) != 2 || af.Versions[0] != "1.5" || len(af.Imports) != 1 || af.CustomRanges[0].Events[1].Kind != vuln.LastAffected {
		t.Errorf("got %+v", af)
	}
}

func TestParseErratum(t *testing.T) {
	for summary, want := range map[string][2]string{
		"Important: nodejs:18 security update":           {"Important", "nodejs:18"},
		"container-tools:rhel8 bug fix update":           {"", "container-tools:rhel8"},
		"Moderate: kernel security and bug fix update":   {"Moderate", ""},
		"perl-DBD-SQLite:1.58 bug fix update":            {"", "perl-DBD-SQLite:1.58"},
		"Weird summary with a colon: but no module here": {"", ""},
	} {
		a, err := Parse([]byte(`{"id":"ALSA-2024:1","summary":` + string(mustJSON(summary)) + `}`))
		if err != nil || a.SeverityWord != want[0] || a.Module != want[1] {
			t.Errorf("%q: got %q and %q, %v; want %q", summary, a.SeverityWord, a.Module, err, want)
		}
	}
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":         ``,
		"no object":     `[]`,
		"no id":         `{"modified":"2024-01-01T00:00:00Z"}`,
		"truncated":     `{"id":"X","affected":[{"package":`,
		"range type":    `{"id":"X","affected":[{"package":{"ecosystem":"npm","name":"a"},"ranges":[{"type":"WISHFUL","events":[]}]}]}`,
		"affected type": `{"id":"X","affected":{"package":"a"}}`,
		"events type":   `{"id":"X","affected":[{"ranges":[{"type":"SEMVER","events":"all"}]}]}`,
		"modified":      `{"id":"X","modified":"yesterday"}`,
		"deep":          `{"id":"X","database_specific":` + strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100) + `}`,
	} {
		if a, err := Parse([]byte(in)); err == nil {
			t.Errorf("%s: got %+v", name, a)
		}
	}
}

// FuzzParse: whatever comes in, a record that is taken has an id and compiles.
func FuzzParse(f *testing.F) {
	f.Add([]byte(rec("GHSA-1", "npm", "left", "1.0.0", 1)))
	f.Add([]byte(`{"id":"X","affected":[{"package":{"ecosystem":"Go","name":"a"},"ranges":[{"type":"GIT","events":[{"introduced":"0"}]}],"versions":["1"]}]}`))
	f.Add([]byte(`{"id":"ALSA-1","related":["CVE-1","CVE-2"],"summary":"Low: a:b x","severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := Parse(data)
		if err == nil && a.ID == "" {
			t.Error("a record without an id")
		}
	})
}

// rec makes a record; age counts days since 2024-01-01.
func rec(id, eco, name, fixed string, age int) string {
	return fmt.Sprintf(`{"id":%q,"modified":%q,"summary":"s","affected":[{"package":{"ecosystem":%q,"name":%q},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`,
		id, day(age), eco, name, fixed)
}

func day(age int) string {
	return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, age).Format(time.RFC3339)
}

// zipOf packs records under their ids, in order.
func zipOf(t testing.TB, recs ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	z := zip.NewWriter(&buf)
	for _, r := range recs {
		a, err := Parse([]byte(r))
		if err != nil {
			t.Fatal(err)
		}
		w, err := z.Create(a.ID + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func compile(t testing.TB, dir string) *vuln.DB {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.db")
	if _, err := vuln.Build(context.Background(), vuln.BuildOptions{Output: out, Now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Sources: []vuln.Source{Folder{Root: dir}}}); err != nil {
		t.Fatal(err)
	}
	db, err := vuln.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// fixed returns where the database says the one issue of a package is fixed.
func fixed(t testing.TB, db *vuln.DB, eco bollwerk.Ecosystem, name string) string {
	t.Helper()
	ms, err := db.Match(context.Background(), bollwerk.Package{Ecosystem: eco, Name: name, Version: "0.0.1"})
	if err != nil || len(ms) != 1 || len(ms[0].FixedIn) != 1 {
		t.Fatalf("%s %s: got %+v, %v", eco, name, ms, err)
	}
	return ms[0].FixedIn[0]
}

func TestFolder(t *testing.T) {
	// A record that speaks of two ecosystems is in both archives. Here one archive is
	// older: the newest copy counts, wherever it is.
	both := func(fix string, age int) string {
		return fmt.Sprintf(`{"id":"GHSA-both","modified":%q,"affected":[
 {"package":{"ecosystem":"Go","name":"m"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]},
 {"package":{"ecosystem":"npm","name":"m"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":%q}]}]}]}`, day(age), fix, fix)
	}
	for _, under := range []string{"", "osv"} {
		for _, newest := range []string{"Go", "npm", "delta"} {
			dir := t.TempDir()
			age := map[string]int{"Go": 1, "npm": 1, "delta": 1}
			age[newest] = 9
			fix := func(where string) string { return fmt.Sprintf("1.0.%d", age[where]) }
			write(t, filepath.Join(dir, under, "Go", Archive), zipOf(t, both(fix("Go"), age["Go"]), rec("GO-9", "Go", "other", "2.0.0", 1)))
			write(t, filepath.Join(dir, under, "npm", Archive), zipOf(t, both(fix("npm"), age["npm"])))
			write(t, filepath.Join(dir, under, "npm", deltaFolder, "GHSA-both.json"), []byte(both(fix("delta"), age["delta"])))
			db := compile(t, dir)
			for _, eco := range []bollwerk.Ecosystem{"Go", "npm"} {
				if got := fixed(t, db, eco, "m"); got != "1.0.9" {
					t.Errorf("newest in %s: %s is fixed in %s", newest, eco, got)
				}
			}
			if db.Info().Records != 2 || fixed(t, db, "Go", "other") != "2.0.0" {
				t.Errorf("got %+v", db.Info())
			}
		}
	}
}

func TestFolderRefuses(t *testing.T) {
	good := zipOf(t, rec("A", "npm", "a", "1.0.0", 1), rec("B", "npm", "b", "1.0.0", 1))
	broken := bytes.Clone(good)
	broken[bytes.Index(broken, []byte("A.json"))+20] ^= 0xff // inside the compressed record
	var bomb bytes.Buffer
	z := zip.NewWriter(&bomb)
	w, err := z.Create("Z.json")
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range MaxRecord>>20 + 1 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"no zip":    []byte("<html>not here</html>"),
		"cut off":   good[:len(good)-10],
		"bad crc":   broken,
		"bomb":      bomb.Bytes(),
		"no record": zipOf(t),
	} {
		dir := t.TempDir()
		p := filepath.Join(dir, "npm", Archive)
		write(t, p, data)
		out := filepath.Join(dir, "out.db")
		_, err := vuln.Build(context.Background(), vuln.BuildOptions{Output: out, Now: time.Now(), Sources: []vuln.Source{Folder{Root: dir}}})
		if err == nil {
			t.Errorf("%s: it was built", name)
		} else if name != "no record" && !strings.Contains(err.Error(), p) {
			t.Errorf("%s: the error does not name the archive: %v", name, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: a file was left", name)
		}
	}
	if _, err := (Folder{Root: t.TempDir()}).Archives(); err == nil || !strings.Contains(err.Error(), "all.zip") {
		t.Errorf("an empty folder: %v", err)
	}
}
