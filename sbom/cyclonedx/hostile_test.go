package cyclonedx

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/osv-scalibr/extractor/filesystem"
	scalibr "github.com/google/osv-scalibr/extractor/filesystem/sbom/cdx"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/bom/bomtest"
)

const (
	head    = `{"bomFormat":"CycloneDX","specVersion":"1.6",`
	headXML = `<bom xmlns="http://cyclonedx.org/schema/bom/1.6" version="1">`
)

func TestReadRefuses(t *testing.T) {
	nested := func(open, close string, n int) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	for name, c := range map[string]struct{ in, want string }{
		"empty":               {"", "empty"},
		"white space":         {" \n\t", "empty"},
		"other text":          {"hello", "neither JSON nor XML"},
		"other JSON":          {`{"a":1}`, "bomFormat is missing"},
		"other format":        {`{"bomFormat":"SPDX"}`, `bomFormat is "SPDX"`},
		"other XML":           {"<a/>", "the first element is <a>"},
		"bom of others":       {`<bom xmlns="http://example.com/"/>`, "want <bom> of CycloneDX"},
		"no element":          {"<!-- nothing -->", "no <bom> element"},
		"truncated":           {head + `"components":[{"name":"a"`, "unexpected"},
		"truncated list":      {head + `"components":[{"name":"a"}`, "unexpected"},
		"no end":              {head + `"components":[]`, "unexpected"},
		"components no list":  {head + `"components":{}}`, "want an array"},
		"something behind":    {head + `"components":[]}{}`, "follows the end"},
		"too many":            {head + `"components":[` + strings.Repeat(`{},`, 20) + `{}]}`, "more than 10 components"},
		"too many, nested":    {head + `"components":[{"components":[` + strings.Repeat(`{},`, 20) + `{}]}]}`, "more than 10 components"},
		"too many edges":      {head + `"dependencies":[{"ref":"a","dependsOn":[` + strings.Repeat(`"a",`, 90) + `"a"]}]}`, "more than 80 dependencies"},
		"nested":              {head + `"components":[` + nested(`{"components":[`, `]}`, 8) + `]}`, "levels inside each other"},
		"very deep":           {head + `"components":[` + nested(`{"components":[`, `]}`, 20000) + `]}`, "depth"},
		"deep elsewhere":      {head + `"x":` + strings.Repeat("[", 20000), "depth"},
		"too large":           {head + `"x":"` + strings.Repeat("x", 2<<20) + `"}`, "larger than 1 MiB"},
		"XML, truncated":      {headXML + "<components><component>", "unexpected EOF"},
		"XML, no end":         {headXML, "unexpected EOF"},
		"XML, nested":         {headXML + "<components>" + nested("<component><components>", "</components></component>", 8) + "</components></bom>", "levels inside each other"},
		"XML, very deep":      {headXML + "<components>" + nested("<component><components>", "</components></component>", 6000) + "</components></bom>", "depth"},
		"XML, entity":         {`<!DOCTYPE bom [<!ENTITY a "aaaaaaaaaa">]>` + headXML + "<components><component><name>&a;</name></component></components></bom>", "entity"},
		"XML, other encoding": {`<?xml version="1.0" encoding="UTF-16"?>` + headXML + "</bom>", "encoding"},
		"XML, not UTF-8":      {headXML + "<components><component><name>\xff</name></component></components></bom>", "UTF-8"},
		"XML, two":            {headXML + "</bom>" + headXML + "</bom>", "two <bom>"},
	} {
		d, err := Read(strings.NewReader(c.in), ReadOptions{Limits: bom.Limits{MaxBytes: 1 << 20, MaxComponents: 10, MaxDepth: 4}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cyclonedx document: ") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if len(d.Packages) != 0 {
			t.Errorf("%s: packages beside an error", name)
		}
	}
}

func TestReadOdd(t *testing.T) {
	in := "\ufeff" + `{"bomFormat":"CycloneDX","specVersion":"9.9","components":[
		{"type":"library","bom-ref":"a","name":"a","version":1,"purl":"pkg:npm/a@1","modelCard":"nonsense","externalReferences":7},
		{"type":"library","bom-ref":"b","name":"b","purl":"pkg:"},
		{"type":"library","name":"d` + "\xff" + `","purl":"pkg:npm/d` + "\xff" + `@1"},
		{"type":"machine-learning-model","name":"m"}, "text", null
	],"dependencies":[{"ref":"a","dependsOn":["a","nobody"]},{"ref":"nobody","dependsOn":["a"]}],
	"compositions":[{"aggregate":"incomplete_first_party_only"}]}`
	d, err := Read(strings.NewReader(in), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := bomtest.Lines(d)
	if len(got) != 2 || got[0] != "npm|a|1|-> pkg:npm/a@1" {
		t.Errorf("%q", got)
	}
	all := strings.Join(d.Problems, "\n")
	for _, want := range []string{"version has the wrong type", "a package URL that is not understood: pkg:", "not valid UTF-8", "not known; read as 1.7: 9.9", "incomplete"} {
		if !strings.Contains(all, want) {
			t.Errorf("no problem says %q: %s", want, all)
		}
	}
}

// TestIncompleteScan: what a scan missed, the reader of its document is told.
func TestIncompleteScan(t *testing.T) {
	r := bomtest.Result(5, 5)
	r.Coverage = []bollwerk.Coverage{
		{Area: "files", Verdict: bollwerk.Degraded, Cause: "2 files could not be read", Checked: 8, Total: 10},
		{Area: "database", Verdict: bollwerk.Degraded, Cause: "old"}, {Area: "layers", Verdict: bollwerk.Pass},
		{Area: "secrets", Verdict: bollwerk.Pass},
	}
	for _, f := range []Format{JSON, XML} {
		var b bytes.Buffer
		if err := Write(&b, r, Options{Format: f}); err != nil {
			t.Fatal(err)
		}
		d, err := Read(&b, ReadOptions{})
		if err != nil || len(d.Coverage) != 2 || d.Coverage[1].Area != "secrets" || d.Coverage[0].Cause != "2 files could not be read" || !strings.Contains(strings.Join(d.Problems, " "), "incomplete") {
			t.Errorf("%+v, %q, %v", d.Coverage, d.Problems, err)
		}
	}
}

// TestCredentialsStay: the value of a variable in which a credential was found is
// not handed on.
func TestCredentialsStay(t *testing.T) {
	r := bomtest.Result(5, 2)
	r.Target.Config = &bollwerk.ImageConfig{Env: []string{"PATH=/bin", "TOKEN=hunter2"}}
	r.Secrets = []bollwerk.Secret{{Detector: "x", Env: "TOKEN", Hash: "0011"}}
	var b bytes.Buffer
	if err := Write(&b, r, Options{}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "hunter2") {
		t.Error("the credential is in the document")
	}
	d, err := Read(&b, ReadOptions{})
	if err != nil || len(d.Secrets) != 1 || d.Artifact.Config.Env[0] != "PATH=/bin" || r.Target.Config.Env[1] != "TOKEN=hunter2" {
		t.Errorf("%+v, %v", d.Artifact.Config, err)
	}
}

func TestSecondReader(t *testing.T) {
	for name, f := range map[string]Format{"bom.json": JSON, "bom.xml": XML} {
		r := bomtest.Result(3, 40)
		var b bytes.Buffer
		if err := Write(&b, r, Options{Format: f}); err != nil {
			t.Fatal(err)
		}
		e, err := scalibr.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		inv, err := e.Extract(context.Background(), &filesystem.ScanInput{Path: name, Reader: &b})
		if err != nil {
			t.Fatal(err)
		}
		urls := 0
		for _, p := range r.Packages {
			if bom.Readable(string(p.PURL)) {
				urls++
			}
		}
		if len(inv.Packages) < urls*9/10 || len(inv.Packages) > len(r.Packages) {
			t.Errorf("%s: another scanner sees %d of %d packages", name, len(inv.Packages), urls)
		}
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
	for _, format := range []Format{JSON, XML} {
		var own bytes.Buffer
		if err := Write(&own, withFindings(bomtest.Result(1, 4)), Options{Format: format, Vulnerabilities: true}); err != nil {
			f.Fatal(err)
		}
		f.Add(own.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Read(bytes.NewReader(b), ReadOptions{Limits: bom.Limits{MaxBytes: 1 << 20, MaxComponents: 1000}})
		if err != nil {
			return
		}
		if d.Unread > d.Total || len(d.Packages) > d.Total {
			t.Fatalf("total %d, unread %d, packages %d", d.Total, d.Unread, len(d.Packages))
		}
		for _, format := range []Format{JSON, XML} { // what was understood can be written and read again
			var out bytes.Buffer
			if err := Write(&out, &bollwerk.Result{Packages: d.Packages, Target: d.Artifact}, Options{Format: format}); err != nil {
				t.Fatal(err)
			}
			again, err := Read(&out, ReadOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if len(again.Packages) != len(d.Packages) {
				t.Fatalf("%d packages became %d", len(d.Packages), len(again.Packages))
			}
		}
	})
}

func TestWriteErrors(t *testing.T) {
	r := bomtest.Result(1, 10)
	for _, f := range []Format{JSON, XML} {
		for n := range 40 {
			if err := Write(&failing{left: n * 100}, r, Options{Format: f}); err == nil {
				t.Fatalf("a write that failed after %d bytes was not noticed", n*100)
			}
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
