// Package sbomtest owns the contract that every extractor passes, and the form in
// which extractors tell their stories: a txtar archive with the files of an
// artifact and, last, what must be found in them.
package sbomtest

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/purl"
	"github.com/bollwerk/bollwerk/sbom"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what was found into the stories")

// Stories runs extractors over each archive that matches the pattern and compares
// what is found with its last file, "want". With -update it is written instead.
func Stories(t *testing.T, pattern string, extractors ...sbom.Extractor) {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		t.Fatalf("no story matches %s", pattern)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			n := len(ar.Files)
			if n < 2 || ar.Files[n-1].Name != "want" {
				t.Fatalf("%s: the last file must be \"want\", after at least one other", name)
			}
			part := Collect(t, Files(ar), extractors...)
			got := Text(part)
			if *update {
				ar.Files[n-1].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(ar.Files[n-1].Data); got != want {
				t.Errorf("found:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// Files returns the files of a story, without its "want".
func Files(ar *txtar.Archive) map[string][]byte {
	out := map[string][]byte{}
	for _, f := range ar.Files {
		if f.Name != "want" {
			out[f.Name] = f.Data
		}
	}
	return out
}

// Collect runs extractors over files as a scan would.
func Collect(t *testing.T, files map[string][]byte, extractors ...sbom.Extractor) sbom.Part {
	t.Helper()
	set, err := sbom.NewSet(extractors...)
	if err != nil {
		t.Fatal(err)
	}
	c := set.NewCollector(sbom.CollectorOptions{Workers: 2})
	ctx := context.Background()
	names := make([]string, 0, len(files))
	for n := range files {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		f := bollwerk.File{Path: n, Size: int64(len(files[n])), Mode: 0o644}
		if strings.Contains("/"+n, "bin/") {
			f.Mode = 0o755
		}
		if !c.Wants(&f) {
			continue
		}
		// Not a strings.Reader: what comes out of a layer cannot be read at random.
		if err := c.Visit(ctx, f, io.MultiReader(strings.NewReader(string(files[n])))); err != nil {
			t.Fatalf("%s: %v", n, err)
		}
	}
	p, err := c.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Text writes a part as people read it: one line for each find.
func Text(p sbom.Part) string {
	var b strings.Builder
	inv := sbom.Merge([]sbom.Part{p}, nil, nil)
	if inv.OS != nil {
		fmt.Fprintf(&b, "os %s %s\n", inv.OS.ID, inv.OS.VersionID)
	}
	for _, q := range inv.Packages {
		fmt.Fprintf(&b, "%s", q.PURL)
		if q.Ecosystem.Release() != "" {
			fmt.Fprintf(&b, " in %s", q.Ecosystem)
		}
		if q.Direct != nil && *q.Direct {
			b.WriteString(" direct")
		}
		if q.Dev {
			b.WriteString(" dev")
		}
		if q.Virtual {
			b.WriteString(" virtual")
		}
		if q.Vendor != "" {
			fmt.Fprintf(&b, " by %q", q.Vendor)
		}
		if len(q.Licenses) > 0 {
			fmt.Fprintf(&b, " (%s)", strings.Join(q.Licenses, "; "))
		}
		for _, h := range q.Hashes {
			fmt.Fprintf(&b, " %s", h.Short())
		}
		fmt.Fprintf(&b, " at %s\n", strings.Join(q.Paths, ", "))
		for _, d := range q.DependsOn {
			fmt.Fprintf(&b, "    needs %s\n", d)
		}
	}
	for _, s := range inv.Secrets {
		fmt.Fprintf(&b, "secret %s %s at %s:%d\n", s.Detector, s.Severity, s.Path, s.Line)
	}
	for _, f := range inv.Facts {
		fmt.Fprintf(&b, "fact %s %s at %s\n", f.Kind, f.Detail, f.Path)
	}
	for _, q := range p.Problems {
		fmt.Fprintf(&b, "problem %s %s: %s\n", q.Path, q.Extractor, q.Cause)
	}
	return b.String()
}

// Contract checks what every extractor promises: samples are files of all kinds, by
// path.
func Contract(t *testing.T, samples map[string][]byte, extractors ...sbom.Extractor) {
	set, err := sbom.NewSet(extractors...)
	if err != nil {
		t.Fatal(err)
	}
	files := Paths()
	for p, data := range samples {
		files = append(files, bollwerk.File{Path: p, Size: int64(len(data)), Mode: 0o644},
			bollwerk.File{Path: "srv/deep/" + p, Size: int64(len(data)), Mode: 0o755})
	}
	t.Run("set", func(t *testing.T) {
		if n := testing.AllocsPerRun(3, func() {
			for i := range files {
				set.Wants(&files[i])
			}
		}); n != 0 {
			t.Errorf("asking for %d files allocates %v times", len(files), n)
		}
	})
	for _, e := range extractors {
		t.Run(strings.ReplaceAll(e.Name(), "/", "-"), func(t *testing.T) { contract(t, e, files, samples) })
	}
}

func contract(t *testing.T, e sbom.Extractor, files []bollwerk.File, samples map[string][]byte) {
	family, format, ok := strings.Cut(e.Name(), "/")
	if !ok || family == "" || format == "" || strings.ToLower(e.Name()) != e.Name() {
		t.Errorf("name %q: want family/format in lower case", e.Name())
	}
	alone, err := sbom.NewSet(e)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(3, func() {
		for i := range files {
			e.Wants(&files[i])
		}
	}); n != 0 {
		t.Errorf("Wants allocates: %v times for %d files", n, len(files))
	}
	for i := range files {
		if f := &files[i]; f.Mode.IsRegular() && e.Wants(f) && !alone.Wants(f) {
			t.Errorf("%s is wanted, but no hint leads to it", f.Path)
		}
	}
	// Whatever is in a wanted file, the answer comes, and names what it found.
	for p, data := range samples {
		f := bollwerk.File{Path: p, Size: int64(len(data)), Mode: 0o755}
		if !e.Wants(&f) {
			continue
		}
		for _, bad := range Damaged(data) {
			f.Size = int64(len(bad))
			in := sbom.NewInput(f, strings.NewReader(string(bad)))
			inv, err := e.Extract(context.Background(), in)
			if err != nil && (err.Error() == "" || len(err.Error()) > 2000) {
				t.Errorf("%s: an error that says nothing, or too much: %.100q", p, err)
			}
			for _, q := range inv.Packages {
				if q.Name == "" || q.Ecosystem == "" || purl.For(q) == "" {
					t.Errorf("%s: package without name or ecosystem: %+v", p, q)
				}
			}
		}
	}
}

// Damaged returns data itself, and what hostile or broken archives make of it.
func Damaged(data []byte) [][]byte {
	out := [][]byte{data, {}, []byte("\x00"), []byte("{"), []byte("[[[[[[[["), []byte("- &a [*a]\n"), []byte(strings.Repeat("[", 100_000))}
	if n := len(data); n > 3 {
		out = append(out, data[:n/2], data[n/2:], data[:n-1])
		flip := append([]byte(nil), data...)
		for i := 0; i < n; i += 1 + n/64 {
			flip[i] ^= 0x55
		}
		out = append(out, flip)
	}
	return out
}

// Paths is what a large image looks like to Wants.
func Paths() []bollwerk.File {
	var out []bollwerk.File
	add := func(p string, size int64, mode uint32) {
		out = append(out, bollwerk.File{Path: p, Size: size, Mode: os.FileMode(mode)})
	}
	for i := range 2000 {
		add(fmt.Sprintf("usr/share/doc/package-%d/copyright", i), 4000, 0o644)
		add(fmt.Sprintf("usr/lib/python3/dist-packages/pkg%d/module_%d.py", i, i), 9000, 0o644)
		add(fmt.Sprintf("usr/lib/python3/dist-packages/pkg%d-1.%d.dist-info/METADATA", i, i), 9000, 0o644)
		add(fmt.Sprintf("app/node_modules/@scope/p%d/lib/index.js", i), 900, 0o644)
		add(fmt.Sprintf("app/node_modules/@scope/p%d/package.json", i), 900, 0o644)
		add(fmt.Sprintf("usr/bin/tool%d", i), 90000, 0o755)
		add(fmt.Sprintf("usr/lib/x86_64-linux-gnu/libthing%d.so.1.2", i), 90000, 0o644)
		add(fmt.Sprintf("var/lib/dpkg/info/package-%d:amd64.list", i), 900, 0o644)
		add(fmt.Sprintf("opt/app/lib/dep-%d.jar", i), 90000, 0o644)
		add(fmt.Sprintf("srv/repo/dir%d/file.YAML", i), 900, 0o644)
	}
	for _, p := range []string{"x", "a.b.c.d", ".env", "etc/passwd", "var/lib/dpkg/status", "lib/apk/db/installed", "/", "dir/", "a/" + strings.Repeat("n", 300) + ".txt"} {
		add(p, 100, 0o644)
	}
	return out
}
