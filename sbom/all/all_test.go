package all_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/bollwerk/bollwerk/sbom/all"
	"github.com/bollwerk/bollwerk/sbom/sbomtest"
	"golang.org/x/tools/txtar"
)

// samples are the files of all stories.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	names, err := filepath.Glob("../*/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		ar, err := txtar.ParseFile(n)
		if err != nil {
			t.Fatal(err)
		}
		for p, data := range sbomtest.Files(ar) {
			out[p] = data
		}
	}
	if len(out) < 50 {
		t.Fatalf("only %d files in the stories", len(out))
	}
	return out
}

func TestContract(t *testing.T) {
	s := samples(t)
	s["opt/app/a.jar"] = []byte("PK\x03\x04 not really")
	s["usr/bin/prog"] = append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9000)...)
	s["var/lib/rpm/rpmdb.sqlite"] = append([]byte("SQLite format 3\x00"), make([]byte, 5000)...)
	s["opt/java/release"] = []byte("JAVA_VERSION=\"17\"\n")
	s["srv/app/config.env"] = []byte("TOKEN=ghp_0123456789012345678901234567890123456\n")
	sbomtest.Contract(t, s, all.Extractors()...)
}

// TestEveryPluginIsListed compares the folders with the list.
func TestEveryPluginIsListed(t *testing.T) {
	src, err := os.ReadFile("all.go")
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		switch d.Name() {
		case "all", "sbomtest", "cyclonedx", "spdx", "testdata":
			continue // the documents are no extractors
		}
		if d.IsDir() && !bytes.Contains(src, []byte(`bollwerk/sbom/`+d.Name()+`"`)) {
			t.Errorf("sbom/%s is not in the list", d.Name())
		}
	}
}

// TestDocumented: every extractor has a line in the manual.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/packages.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all.Extractors() {
		if !bytes.Contains(doc, []byte("`"+e.Name()+"`")) {
			t.Errorf("docs/packages.md does not mention %s", e.Name())
		}
	}
}

func BenchmarkWants(b *testing.B) {
	set, err := all.Set()
	if err != nil {
		b.Fatal(err)
	}
	files := sbomtest.Paths()
	b.ReportAllocs()
	for b.Loop() {
		for i := range files {
			set.Wants(&files[i])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(files)), "ns/file")
}

// FuzzText gives any text to whoever reads a file of that name.
func FuzzText(f *testing.F) {
	for p, data := range samples(f) {
		f.Add(p, data)
	}
	set, err := all.Set()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		if len(name) > 300 || strings.HasSuffix(name, ".jar") {
			return
		}
		c := set.NewCollector(sbom.CollectorOptions{})
		file := bollwerk.File{Path: name, Size: int64(len(data)), Mode: 0o644}
		if c.Wants(&file) {
			if err := c.Visit(context.Background(), file, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
		}
		part, err := c.Finish(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range part.Problems {
			if strings.Contains(p.Cause, "parser gave up") && strings.Contains(p.Extractor, "/") && !foreign[p.Extractor] {
				t.Errorf("%s panicked: %s", p.Extractor, p.Cause)
			}
		}
		enc, err := part.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sbom.DecodePart(enc); err != nil {
			t.Fatal(err)
		}
		sbom.Merge([]sbom.Part{part, part}, nil, nil)
	})
}

// foreign are parsers of other people, whose panics are caught and reported.
var foreign = map[string]bool{
	"c/conan-lock": true, "dart/pubspec-lock": true, "dotnet/deps-json": true, "dotnet/packages-config": true,
	"dotnet/packages-lock": true, "elixir/mix-lock": true, "haskell/cabal-freeze": true, "haskell/stack-lock": true,
	"java/gradle-lock": true, "java/gradle-verification": true, "java/pom": true, "julia/manifest": true,
	"r/renv-lock": true, "swift/package-resolved": true, "swift/podfile-lock": true,
}
