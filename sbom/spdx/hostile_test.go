package spdx

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/bom/bomtest"
)

const head = `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"x",`

func TestReadRefuses(t *testing.T) {
	many := head + `"packages":[` + strings.Repeat(`{"name":"a"},`, 20) + `{"name":"a"}]}`
	for name, c := range map[string]struct{ in, want string }{
		"empty":              {"", "empty"},
		"white space":        {" \n\t", "empty"},
		"other text":         {"hello\nworld", "spdxVersion is missing"},
		"other JSON":         {`{"a":1}`, "spdxVersion is missing"},
		"XML":                {"<a/>", "neither SPDX JSON nor tag-value"},
		"RDF":                {`<rdf:RDF xmlns:spdx="http://spdx.org/rdf/terms#">`, "convert it"},
		"YAML":               {"SPDXID: SPDXRef-DOCUMENT\nspdxVersion: SPDX-2.3\n", "convert it"},
		"version 1":          {`{"spdxVersion":"SPDX-1.2"}`, "not understood"},
		"truncated":          {head + `"packages":[{"name":"a"`, "unexpected"},
		"truncated list":     {head + `"packages":[{"name":"a"}`, "unexpected"},
		"no end":             {head + `"packages":[]`, "unexpected"},
		"packages no list":   {head + `"packages":{}}`, "want an array"},
		"something behind":   {head + `"packages":[]} x`, "invalid character"},
		"two documents":      {head + `"packages":[]}{}`, "follows the end"},
		"too many packages":  {many, "more than 10 packages"},
		"too many relations": {head + `"relationships":[` + strings.Repeat(`{},`, 90) + `{}]}`, "more than 80 relationships"},
		"too deep":           {head + `"x":` + strings.Repeat("[", 20000), "depth"},
		"too large":          {head + `"x":"` + strings.Repeat("x", 2<<20) + `"}`, "larger than 1 MiB"},
		"text without end":   {"SPDXVersion: SPDX-2.3\nDocumentComment: <text>abc\n", "does not end"},
		"tag-value, many":    {"SPDXVersion: SPDX-2.3\n" + strings.Repeat("PackageName: a\n", 12), "more than 10 packages"},
	} {
		d, err := Read(strings.NewReader(c.in), ReadOptions{Limits: bom.Limits{MaxBytes: 1 << 20, MaxComponents: 10}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "spdx document: ") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if len(d.Packages) != 0 {
			t.Errorf("%s: packages beside an error", name)
		}
	}
}

func TestReadOdd(t *testing.T) {
	in := head + `"packages":[
		{"name":"a","versionInfo":1,"SPDXID":"SPDXRef-a","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/a@1"}]},
		{"name":"b","SPDXID":"SPDXRef-a","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:"},{"referenceType":"purl","referenceLocator":"pkg:npm/b@1"}]},
		{"name":"c","SPDXID":"SPDXRef-c","externalRefs":[{"referenceType":"purl","referenceLocator":"nonsense"}]},
		{"name":"` + "d\xff" + `","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/d` + "\xff" + `@1"}]}
	],"relationships":[
		{"spdxElementId":"SPDXRef-a","relationshipType":"DEPENDS_ON","relatedSpdxElement":"SPDXRef-a"},
		{"spdxElementId":"SPDXRef-a","relationshipType":"DEPENDS_ON","relatedSpdxElement":"SPDXRef-nobody"}
	]}`
	d, err := Read(strings.NewReader(in), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := bomtest.Lines(d)
	if len(got) != 3 || got[0] != "npm|a|1|-> pkg:npm/a@1" || got[1] != "npm|b|1" || d.Total != 4 || d.Unread != 1 {
		t.Errorf("%q, total %d, unread %d", got, d.Total, d.Unread)
	}
	all := strings.Join(d.Problems, "\n")
	for _, want := range []string{"versionInfo has the wrong type", "identifier used twice: SPDXRef-a", "a package URL that is not understood: nonsense", "not valid UTF-8"} {
		if !strings.Contains(all, want) {
			t.Errorf("no problem says %q: %s", want, all)
		}
	}
}

func TestDocumentThatDescribesEachPackage(t *testing.T) {
	in := head + `"documentDescribes":["SPDXRef-a","SPDXRef-b"],"packages":[
		{"name":"a","SPDXID":"SPDXRef-a","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:oci/a@1"}]},
		{"name":"b","SPDXID":"SPDXRef-b","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:npm/b@1"}]}]}`
	d, err := Read(strings.NewReader(in), ReadOptions{})
	if err != nil || len(d.Packages) != 2 || d.Artifact.Name != "x" {
		t.Errorf("%v, %v", bomtest.Lines(d), err)
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	var own bytes.Buffer
	if err := Write(&own, bomtest.Result(1, 4), Options{}); err != nil {
		f.Fatal(err)
	}
	f.Add(own.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Read(bytes.NewReader(b), ReadOptions{Limits: bom.Limits{MaxBytes: 1 << 20, MaxComponents: 1000}})
		if err != nil {
			return
		}
		if d.Unread > d.Total || len(d.Packages) > d.Total {
			t.Fatalf("total %d, unread %d, packages %d", d.Total, d.Unread, len(d.Packages))
		}
		// What was understood can be written and read again.
		r := &bollwerk.Result{Packages: d.Packages, Target: d.Artifact}
		var out bytes.Buffer
		if err := Write(&out, r, Options{}); err != nil {
			t.Fatal(err)
		}
		again, err := Read(&out, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Packages) != len(d.Packages) {
			t.Fatalf("%d packages became %d", len(d.Packages), len(again.Packages))
		}
	})
}

func TestWriteErrors(t *testing.T) {
	r := bomtest.Result(1, 10)
	for n := range 40 {
		if err := Write(&failing{left: n * 100}, r, Options{}); err == nil {
			t.Fatalf("a write that failed after %d bytes was not noticed", n*100)
		}
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}
