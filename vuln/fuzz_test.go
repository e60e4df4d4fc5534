package vuln

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/bollwerk/bollwerk"
)

// one is a source of a single record that uses every optional part of an entry.
type one struct{}

func (one) Name() string { return "one" }

func (one) Read(_ context.Context, b *Builder) error {
	err := b.Add(&Advisory{
		ID: "GO-1", Aliases: []string{"CVE-2024-1"}, Upstream: []string{"GHSA-1"}, Summary: "title", Details: "prose",
		References: []Reference{{"WEB", "https://example.org"}}, Modified: time.Unix(1e9, 0),
		Severities: []Severity{{"CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}}, CWEs: []string{"CWE-1"},
		Affected: []Affected{{
			Ecosystem: "Go", Name: "example.org/m", Versions: []string{"9.9.9"}, SeverityWord: "low", OS: []string{"linux"}, Module: "a:b",
			Ranges:       []Range{{Events: []Event{{Introduced, "0"}}}, {Events: []Event{{Introduced, "1.0.0"}, {LastAffected, "1.5.0"}}}},
			CustomRanges: []Range{{Events: []Event{{Introduced, "0"}, {Fixed, "2.0.0"}}}},
			Imports:      []ImportPath{{Path: "example.org/m/p", Symbols: []string{"F"}, GOOS: []string{"linux"}}},
		}},
	})
	b.AddKEV("2026-01-01", map[string]bollwerk.KEV{"CVE-2024-1": {DateAdded: "2026-01-01"}})
	b.AddEPSS("CVE-2024-1", bollwerk.EPSS{Score: 0.5, Percentile: 0.9})
	return err
}

func oneFile(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "one.db")
	if _, err := Build(context.Background(), BuildOptions{Output: path, Sources: []Source{one{}}, Now: time.Unix(1.7e9, 0)}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// reseal makes the checksums right again: an attacker who hands over a database can
// compute them as well, so everything behind them must stand on its own.
func reseal(data []byte) []byte {
	if len(data) < headerSize {
		return data
	}
	le := binary.LittleEndian
	off, n := le.Uint64(data[32:]), le.Uint64(data[40:])
	if off >= headerSize && off <= uint64(len(data)) && n <= (uint64(len(data))-off)/8 {
		for p := uint64(0); p < n; p++ {
			start := headerSize + p*pageSize
			if start > off {
				break
			}
			le.PutUint64(data[off+8*p:], xxhash.Sum64(data[start:min(start+pageSize, off)]))
		}
		le.PutUint64(data[48:], xxhash.Sum64(data[off:]))
		sum := sha256.Sum256(data[headerSize:off])
		copy(data[56:], sum[:])
	}
	le.PutUint64(data[headerSize-8:], xxhash.Sum64(data[:headerSize-8]))
	return data
}

// use calls everything a database offers.
func use(data []byte) (opened bool) {
	db, err := openBytes(data)
	if err != nil {
		return false
	}
	ctx := context.Background()
	_ = db.Verify(ctx)
	_ = db.Status()
	for _, id := range []string{"GO-1", "CVE-2024-1", "GHSA-1", ""} {
		_, _ = db.Find(id)
		_, _, _ = db.Advisory(id)
	}
	for _, v := range []string{"1.2.0", "9.9.9", "", "v0.0.0-2023", "3.0.0"} {
		_, _ = db.Match(ctx, bollwerk.Package{Ecosystem: "Go", Name: "example.org/m", Version: v, GoOS: "linux", Symbols: []string{"example.org/m/p.F"}})
	}
	return true
}

func TestReseal(t *testing.T) {
	good := oneFile(t)
	if !bytes.Equal(reseal(bytes.Clone(good)), good) {
		t.Fatal("reseal changes a good file: the fuzz targets would only test checksums")
	}
	if !use(good) {
		t.Fatal("the good file does not open")
	}
}

// FuzzOpen changes bytes anywhere in a database, with right checksums.
func FuzzOpen(f *testing.F) {
	good := oneFile(f)
	f.Add(uint32(0), []byte("x"), uint32(100), []byte{0xff})
	f.Add(uint32(headerSize), []byte{0xff, 0xff, 0xff, 0xff, 0x7f}, uint32(96), []byte{1, 2, 3})
	for i := headerSize; i < len(good); i += 64 {
		f.Add(uint32(i), []byte{0x80, 0x80}, uint32(i+11), []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	}
	f.Fuzz(func(t *testing.T, at1 uint32, b1 []byte, at2 uint32, b2 []byte) {
		data := bytes.Clone(good)
		copy(data[int(at1)%len(data):], b1)
		copy(data[int(at2)%len(data):], b2)
		use(bytes.Clone(data))
		use(reseal(data))
	})
}

// FuzzDecode feeds the record decoders alone.
func FuzzDecode(f *testing.F) {
	good := oneFile(f)
	f.Add(good[headerSize:min(len(good), headerSize+512)])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) {
		if r := decodeAdvisory(data); r.err == nil && r.id == "" {
			t.Error("an advisory without an id")
		}
		if r := decodeIssue(data); r.err == nil && r.name == "" {
			t.Error("an issue without a name")
		}
		var en entry
		if err := en.decode(data, 3); err == nil {
			for _, i := range en.issues {
				if i < 0 || i >= 3 {
					t.Errorf("issue %d of 3", i)
				}
			}
		}
		_, _ = decodeHeader(data, int64(len(data)))
	})
}

// FuzzEvents evaluates ranges of any shape against a slow, obvious reading of the
// schema, for ranges without two events at one version (where the schema is silent).
func FuzzEvents(f *testing.F) {
	f.Add([]byte{0, 1, 1, 5}, byte(3))
	f.Add([]byte{1, 5, 0, 1, 2, 9, 0, 7}, byte(8))
	cmp := func(a, b string) (int, error) { return int(a[0]) - int(b[0]), nil }
	f.Fuzz(func(t *testing.T, data []byte, v byte) {
		var events []Event
		seen := map[byte]bool{}
		for i := 0; i+1 < len(data) && len(events) < 20; i += 2 {
			k, x := EventKind(data[i]%3), data[i+1]
			if x == '0' || seen[x] {
				continue
			}
			seen[x] = true
			events = append(events, Event{k, string([]byte{x})})
		}
		want, best := false, -1
		for _, e := range events {
			x := int(e.Version[0])
			if x <= best || x > int(v) {
				continue
			}
			switch {
			case e.Kind == Introduced:
				want, best = true, x
			case e.Kind == Fixed:
				want, best = false, x
			case e.Kind == LastAffected && x < int(v):
				want, best = false, x
			case e.Kind == LastAffected:
				// At its own version the state before it holds; the loop finds that
				// from the other events.
			}
		}
		if v == '0' {
			return // stands for the start of the line
		}
		got, err := inEvents(cmp, string([]byte{v}), events)
		if err != nil || got != want {
			t.Errorf("%v at %d: got %v, %v, want %v", events, v, got, err, want)
		}
	})
}
