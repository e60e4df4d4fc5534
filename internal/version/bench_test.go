package version

import (
	"strings"
	"testing"
	"time"
)

// pairsOf returns neighbours in a corpus: versions of one package, which is what
// a matcher compares.
func pairsOf(t testing.TB, corpora []string) []comparison {
	var list []comparison
	for _, name := range corpora {
		list = append(list, readCorpus(t, name)...)
	}
	return list
}

// benchSchemes are the schemes whose corpus is their own.
var benchSchemes = []struct {
	scheme  Scheme
	corpora []string
}{
	{APK(), []string{"alpine-versions-generated"}},
	{CRAN(), []string{"cran-versions-generated"}},
	{Dpkg(), []string{"debian-versions-generated"}},
	{Go(), []string{"semver-versions"}},
	{Hackage(), []string{"hackage-versions"}},
	{Maven(), []string{"maven-versions-generated"}},
	{NuGet(), []string{"nuget-versions"}},
	{Packagist(), []string{"packagist-versions-generated"}},
	{PEP440(), []string{"pypi-versions-generated"}},
	{Pub(), []string{"pub-versions"}},
	{RPM(), []string{"redhat-versions", "debian-versions-generated"}},
	{RubyGems(), []string{"rubygems-versions-generated"}},
	{Semver(), []string{"semver-versions"}},
}

// TestNoAllocations is the budget of the hot path: none, over whole corpora,
// malformed and legacy versions included.
func TestNoAllocations(t *testing.T) {
	for _, e := range everyScheme {
		list := pairsOf(t, e.corpora)
		kept := list[:0]
		for _, c := range list {
			if _, err := e.scheme.Compare(c.a, c.b); err == nil {
				kept = append(kept, c)
			}
		}
		// Twice, and the mean without its fraction: the runtime itself may allocate once.
		n := testing.AllocsPerRun(2, func() {
			for _, c := range kept {
				if _, err := e.scheme.Compare(c.a, c.b); err != nil {
					t.Fatal(err)
				}
			}
		})
		if n != 0 {
			t.Errorf("%s: %.0f allocations in %d comparisons, want none", e.scheme.Name(), n, len(kept))
		}
	}
	if n := testing.AllocsPerRun(100, func() { For("Debian:12") }); n != 0 {
		t.Errorf("For: %.0f allocations, want none", n)
	}
}

// BenchmarkCompare prints the time of one comparison and, as x/strings.Compare,
// its ratio to strings.Compare over the same pairs in the same run.
func BenchmarkCompare(b *testing.B) {
	for _, e := range benchSchemes {
		b.Run(e.scheme.Name(), func(b *testing.B) {
			list := pairsOf(b, e.corpora)
			s := e.scheme
			b.ReportAllocs()
			sum, i := 0, 0
			for b.Loop() {
				c, err := s.Compare(list[i].a, list[i].b)
				if err != nil {
					b.Fatal(err)
				}
				sum += c
				if i++; i == len(list) {
					i = 0
				}
			}
			taken := b.Elapsed()
			b.StopTimer()
			i = 0
			start := time.Now()
			for range b.N {
				sum += strings.Compare(list[i].a, list[i].b)
				if i++; i == len(list) {
					i = 0
				}
			}
			yardstick := time.Since(start)
			if sum == 1<<62 {
				b.Log(sum) // keeps the sums alive
			}
			b.ReportMetric(float64(taken)/float64(max(yardstick, 1)), "x/strings.Compare")
		})
	}
}
