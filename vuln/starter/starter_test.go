package starter

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/vuln"
)

func TestInstall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	path, err := Install(dir)
	if err != nil {
		t.Fatal(err)
	}
	db, err := vuln.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	i := db.Info()
	if !i.Starter || i.Records < 50_000 || i.AsOf.IsZero() || i.AsOf.After(i.Built) || i.KEVDate == "" || i.EPSSDate == "" {
		t.Errorf("got %+v", i)
	}
	if err := db.Verify(context.Background()); err != nil {
		t.Error(err)
	}
	for _, e := range []bollwerk.Ecosystem{"Debian:12", "Alpine:v3.17", "AlmaLinux:9", "Go", "npm", "PyPI", "Maven", "NuGet", "crates.io", "RubyGems", "Packagist"} {
		if !db.Covers(e) {
			t.Errorf("%s is not covered; say so in README.md and here", e)
		}
	}
	ms, err := db.Match(context.Background(), bollwerk.Package{Ecosystem: "Maven", Name: "org.apache.logging.log4j:log4j-core", Version: "2.14.1"})
	found := false
	for _, m := range ms {
		if m.ID == "CVE-2021-44228" {
			found = m.KEV != nil && m.EPSS != nil && m.Verdict == bollwerk.Fail
		}
	}
	if err != nil || !found {
		t.Errorf("Log4Shell is not known as exploited: %+v, %v", ms, err)
	}

	// Whatever is there stays.
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(dir); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "mine" {
		t.Error("a database in place was replaced")
	}
}

// TestNoProse holds the promise of README.md: no titles, descriptions or links of the
// sources are in the snapshot, neither in their fields nor anywhere in its bytes.
func TestNoProse(t *testing.T) {
	dec, err := zstd.NewReader(bytes.NewReader(snapshot))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(dec); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "snapshot.db")
	if err := os.WriteFile(path, raw.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := vuln.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	st := db.Status()
	if !st.FactsOnly {
		t.Error("the snapshot does not say that it holds facts only")
	}
	// Sections 1 and 2 of the header are the prose and its table
	// (docs/database-format.md): both must be empty.
	for _, s := range []int{1, 2} {
		if n := binary.LittleEndian.Uint64(raw.Bytes()[96+16*s+8:]); n != 0 {
			t.Errorf("section %d has %d bytes", s, n)
		}
	}
	for _, id := range []string{"CVE-2021-44228", "CVE-2014-0160", "CVE-2022-0778", "CVE-2023-44487"} {
		all, err := db.Find(id)
		if err != nil || len(all) == 0 {
			t.Errorf("%s: %v", id, err)
		}
		for _, a := range all {
			if a.Summary != "" || a.Details != "" || len(a.References) != 0 {
				t.Errorf("%s has prose: %+v", a.ID, a)
			}
		}
	}
	if m := sentence(raw.Bytes()); m != "" {
		t.Errorf("the snapshot holds the sentence %q", m)
	}
	if i := bytes.Index(raw.Bytes(), []byte("https://github.com/advisories")); i >= 0 {
		t.Error("the snapshot holds links")
	}
}

// sentence finds a run of six lower-case words with single blanks between them:
// prose has them, facts (names, versions, vectors) do not.
func sentence(b []byte) string {
	words, length, start := 0, 0, 0
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z':
			if words == 0 && length == 0 {
				start = i
			}
			if length++; words == 5 && length == 2 {
				return string(b[start : i+1])
			}
		case c == ' ' && length > 0:
			words, length = words+1, 0
		default:
			words, length = 0, 0
		}
	}
	return ""
}

func TestSentence(t *testing.T) {
	if sentence([]byte("\x10a flaw in the parser lets people in\x00")) == "" {
		t.Error("a sentence is not found")
	}
	if got := sentence([]byte("lodash 4.17.21 BellSoft Hardened Containers:stream golang.org/x/net/http2 a b")); got != "" {
		t.Errorf("%q is no sentence", got)
	}
}

func BenchmarkInstall(b *testing.B) {
	for b.Loop() {
		if _, err := Install(b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
}
