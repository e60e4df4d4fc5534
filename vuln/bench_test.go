//go:build unix

package vuln_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/version"
	"github.com/bollwerk/bollwerk/vuln"
	"github.com/bollwerk/bollwerk/vuln/osv"
	"github.com/bollwerk/bollwerk/vuln/starter"
)

// cpu is the processor time this process has used: unlike the clock it does not
// depend on what else the machine does.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func starterDB(b *testing.B) *vuln.DB {
	b.Helper()
	path, err := starter.Install(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	db, err := vuln.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db
}

// BenchmarkMatch looks up a mix of packages as a scan does: half have no advisories,
// four tenths are up to date, one in ten is at some version its advisories mention.
// One core: run it with GOMAXPROCS=1. What it costs is mostly the building of
// results, so the number of matches is printed too. Yardstick, in the same run: getting the same records out
// of bbolt by the same key, without evaluating anything.
func BenchmarkMatch(b *testing.B) {
	db := starterDB(b)
	keys, err := db.Keys()
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	mix := make([]bollwerk.Package, 20_000)
	for i := range mix {
		k := keys[rng.IntN(len(keys))]
		mix[i] = bollwerk.Package{Ecosystem: k.Ecosystem, Name: k.Name}
		switch {
		case i%2 == 1:
			mix[i].Name += "-unknown"
			mix[i].Version = k.Versions[0]
		case i%10 == 0:
			mix[i].Version = k.Versions[rng.IntN(len(k.Versions))]
		default:
			mix[i].Version = newest(k)
		}
	}
	yardstick := bboltGets(b, keys, mix)
	ctx := context.Background()
	matches, n := 0, 0
	b.ReportAllocs()
	b.ResetTimer()
	begin := cpu(b)
	for b.Loop() {
		m, err := db.Match(ctx, mix[n%len(mix)])
		if err != nil {
			b.Fatal(err)
		}
		matches += len(m)
		n++
	}
	each := float64(cpu(b)-begin) / float64(n)
	b.ReportMetric(each/float64(yardstick), "x-bbolt-get")
	b.ReportMetric(float64(matches)/float64(n), "matches/op")
	b.ReportMetric(each*1e6/1e9, "cpu-s/million")
}

// newest returns the highest version the advisories of a package mention.
func newest(k vuln.Key) string {
	best := k.Versions[0]
	s, ok := version.For(k.Ecosystem)
	for _, v := range k.Versions {
		if ok {
			if c, err := s.Compare(v, best); err == nil && c > 0 {
				best = v
			}
		}
	}
	return best
}

// bboltGets returns the time of one get of the mix.
func bboltGets(b *testing.B, keys []vuln.Key, mix []bollwerk.Package) time.Duration {
	b.Helper()
	path := filepath.Join(b.TempDir(), "bolt.db")
	bdb, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		b.Fatal(err)
	}
	defer bdb.Close()
	bucket := []byte("packages")
	err = bdb.Update(func(tx *bbolt.Tx) error {
		bk, err := tx.CreateBucket(bucket)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := bk.Put([]byte(string(k.Ecosystem)+"\x00"+k.Name), k.Record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	if st, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(st.Size())/1e6, "MB-bbolt-packages")
	}
	start := cpu(b)
	found := 0
	for _, p := range mix {
		err := bdb.View(func(tx *bbolt.Tx) error {
			if tx.Bucket(bucket).Get([]byte(string(p.Ecosystem)+"\x00"+p.Name)) != nil {
				found++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if found != len(mix)/2 {
		b.Fatalf("the yardstick found %d of %d", found, len(mix)/2)
	}
	return (cpu(b) - start) / time.Duration(len(mix))
}

// BenchmarkOpen opens a database and asks whether an ecosystem is covered. Yardstick:
// opening the file and reading its first page.
func BenchmarkOpen(b *testing.B) {
	path := starterDB(b).Path()
	start := cpu(b)
	const rounds = 2000
	page := make([]byte, 4096)
	for range rounds {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.ReadAt(page, 0); err != nil {
			b.Fatal(err)
		}
		f.Close()
	}
	yardstick := (cpu(b) - start) / rounds
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	begin := cpu(b)
	for b.Loop() {
		db, err := vuln.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		if !db.Covers("npm") {
			b.Fatal("npm is not covered")
		}
		db.Close()
		n++
	}
	each := float64(cpu(b)-begin) / float64(n)
	b.ReportMetric(each/1e6, "cpu-ms")
	b.ReportMetric(each/float64(yardstick), "x-first-page")
}

// BenchmarkBuild compiles 5,000 records. Yardstick: only decoding their JSON.
func BenchmarkBuild(b *testing.B) {
	var src records
	for i := range 5000 {
		src.texts = append(src.texts, fmt.Sprintf(`{"id":"GHSA-%d","aliases":["CVE-2024-%d"],"modified":"2024-01-01T00:00:00Z","summary":"title %d","details":"%0200d","affected":[
 {"package":{"ecosystem":"npm","name":"p%d"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"1.%d.0"}]}]},
 {"package":{"ecosystem":"Debian:12","name":"p%d"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.%d-1"}]}]}]}`, i, i, i, i, i%900, i%50, i%900, i%50))
	}
	start := time.Now()
	for _, t := range src.texts {
		if _, err := osv.Parse([]byte(t)); err != nil {
			b.Fatal(err)
		}
	}
	yardstick := time.Since(start)
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		if _, err := vuln.Build(context.Background(), vuln.BuildOptions{Output: filepath.Join(b.TempDir(), "b.db"), Sources: []vuln.Source{src}, Now: buildTime}); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(b.Elapsed())/float64(n)/float64(yardstick), "x-decode")
}

// BenchmarkMatchKernel is the worst package there is: thousands of errata. Yardstick:
// comparing as many versions.
func BenchmarkMatchKernel(b *testing.B) {
	db := starterDB(b)
	keys, err := db.Keys()
	if err != nil {
		b.Fatal(err)
	}
	worst := keys[0]
	for _, k := range keys {
		if len(k.Record) > len(worst.Record) {
			worst = k
		}
	}
	p := bollwerk.Package{Ecosystem: worst.Ecosystem, Name: worst.Name, Version: worst.Versions[0]}
	ms, err := db.Match(context.Background(), p)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := json.Marshal(ms); err != nil {
		b.Fatal(err)
	}
	s, ok := version.For(p.Ecosystem)
	if !ok {
		b.Fatal("no order for ", p.Ecosystem)
	}
	const rounds = 200_000
	start := cpu(b)
	for range rounds {
		if _, err := s.Compare(p.Version, "9.9.9-9"); err != nil {
			b.Fatal(err)
		}
	}
	yardstick := float64(cpu(b)-start) / rounds * float64(max(1, len(ms)))
	n := 0
	b.ReportAllocs()
	b.ResetTimer()
	begin := cpu(b)
	for b.Loop() {
		if _, err := db.Match(context.Background(), p); err != nil {
			b.Fatal(err)
		}
		n++
	}
	b.ReportMetric(float64(len(ms)), "matches/op")
	each := float64(cpu(b)-begin) / float64(n)
	b.ReportMetric(each/1e6, "cpu-ms")
	b.ReportMetric(each/yardstick, "x-compare-each-match")
}
