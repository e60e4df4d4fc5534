package spdx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// many is an image with n Debian packages, as heavy as real ones.
func many(n int) *bollwerk.Result {
	r := &bollwerk.Result{Tool: bollwerk.Tool{Name: "bollwerk", Version: "1"}, Started: time.Unix(0, 0)}
	r.Target = bollwerk.Artifact{Kind: bollwerk.KindImage, Name: "big:1", OS: &bollwerk.Distribution{ID: "debian", VersionID: "12"},
		Layers: []bollwerk.Layer{{DiffID: "sha256:1111111111111111111111111111111111111111111111111111111111111111", CreatedBy: "RUN apt-get install"}}}
	for i := range n {
		name := fmt.Sprintf("package-%06d", i)
		r.Packages = append(r.Packages, bollwerk.Package{
			PURL: bollwerk.PURL("pkg:deb/debian/" + name + "@1.2.3-4?arch=amd64&distro=debian-12&upstream=source"), Name: name, Version: "1.2.3-4", Ecosystem: "Debian:12",
			Source: &bollwerk.SourcePackage{Name: "source", Version: "1.2.3-4"}, Arch: "amd64", Licenses: []string{"MIT", "GPL-2.0-or-later"}, Extractor: "deb",
			Paths: []string{"var/lib/dpkg/status"}, Hashes: []bollwerk.Digest{"sha256:2222222222222222222222222222222222222222222222222222222222222222"},
			Layer:     &bollwerk.LayerRef{DiffID: r.Target.Layers[0].DiffID, CreatedBy: "RUN apt-get install"},
			DependsOn: []bollwerk.PURL{bollwerk.PURL(fmt.Sprintf("pkg:deb/debian/package-%06d@1.2.3-4?arch=amd64&distro=debian-12&upstream=source", i/2))},
		})
	}
	return r
}

// The yardstick of both is encoding/json reading the same JSON document into
// plain maps, in the same run: "x-yardstick" is how many times as long we take.
func bench(b *testing.B, write bool) {
	r := many(100_000)
	var plain, doc bytes.Buffer
	if err := Write(&plain, r, Options{}); err != nil {
		b.Fatal(err)
	}
	if err := Write(&doc, r, Options{}); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	var v any
	if err := json.Unmarshal(plain.Bytes(), &v); err != nil {
		b.Fatal(err)
	}
	yardstick := time.Since(start)
	v = nil
	b.ReportAllocs()
	for b.Loop() {
		if write {
			if err := Write(io.Discard, r, Options{}); err != nil {
				b.Fatal(err)
			}
			continue
		}
		d, err := Read(bytes.NewReader(doc.Bytes()), ReadOptions{})
		if err != nil || len(d.Packages) != 100_000 {
			b.Fatal(len(d.Packages), err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/yardstick.Seconds(), "x-yardstick")
	b.ReportMetric(float64(doc.Len())/(1<<20), "MiB")
}

func BenchmarkWrite(b *testing.B) { bench(b, true) }
func BenchmarkRead(b *testing.B)  { bench(b, false) }
