package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

// golden compares with testdata/golden/name; go test ./report -update writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with: go test ./report -update", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if the change is meant: go test ./report -update\ngot:\n%s\nwant:\n%s", name, excerpt(got, want), excerpt(want, got))
	}
}

// excerpt is a from a little before its first difference to b.
func excerpt(a, b []byte) []byte {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return a[max(0, i-200):min(len(a), i+400)]
}

func render(t testing.TB, f fixture, format string, o Options) []byte {
	t.Helper()
	x, err := Find(format)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := x.Write(&b, f.result, o); err != nil {
		t.Fatalf("%s as %s: %v", f.name, format, err)
	}
	return b.Bytes()
}

// Every format over every fixture, byte for byte.
func TestGolden(t *testing.T) {
	for _, f := range fixtures(t) {
		for _, format := range []string{"table", "json", "sarif", "junit", "gitlab", "markdown"} {
			x, err := Find(format)
			if err != nil {
				t.Fatal(err)
			}
			// The big one in machine formats would be half a megabyte nobody reads; the
			// schema tests cover it.
			if f.name == "big" && format != "table" && format != "markdown" {
				continue
			}
			golden(t, f.name+"."+format+x.Extension, render(t, f, format, f.o))
		}
	}
}

func TestGoldenTableWidths(t *testing.T) {
	for _, f := range fixtures(t) {
		for width, name := range map[int]string{60: "60", 120: "120"} {
			o := f.o
			o.Width = width
			golden(t, f.name+".table-"+name+".txt", render(t, f, "table", o))
		}
		o := f.o
		o.All = true
		golden(t, f.name+".table-all.txt", render(t, f, "table", o))
	}
}
