package sbom_test

import (
	"bytes"
	"encoding/gob"
	"reflect"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

func hidden(paths ...string) func(int, string) bool {
	return func(i int, p string) bool {
		for _, h := range paths {
			if i == 0 && p == h {
				return true
			}
		}
		return false
	}
}

var twoLayers = []bollwerk.LayerRef{{Index: 0, DiffID: "sha256:a"}, {Index: 1, DiffID: "sha256:b"}}

func lib(paths ...string) bollwerk.Package {
	return bollwerk.Package{Name: "lib", Version: "1.0", Ecosystem: "npm", Paths: paths, Extractor: "npm/installed"}
}

func TestMergeDeduplicates(t *testing.T) {
	lock := lib("package-lock.json")
	lock.Extractor, lock.Dev = "npm/package-lock", true
	no := false
	lock.Direct = &no
	one := sbom.Part{Inventory: bollwerk.Inventory{Packages: []bollwerk.Package{lib("node_modules/lib/package.json"), lib("x/node_modules/lib/package.json"), lock}}}
	inv := sbom.Merge([]sbom.Part{one, {Inventory: bollwerk.Inventory{Packages: []bollwerk.Package{lib("opt/node_modules/lib/package.json")}}}}, twoLayers, nil)
	if len(inv.Packages) != 2 {
		t.Fatalf("one package per layer, got %d: %+v", len(inv.Packages), inv.Packages)
	}
	var low, high bollwerk.Package
	for _, p := range inv.Packages {
		if p.Layer.Index == 0 {
			low = p
		} else {
			high = p
		}
	}
	if len(low.Paths) != 3 || low.Dev || low.Direct == nil || *low.Direct {
		t.Errorf("lower: %+v", low)
	}
	if len(high.Paths) != 1 {
		t.Errorf("upper: %+v", high)
	}
}

func TestMergeHides(t *testing.T) {
	secret := bollwerk.Secret{Detector: "x", Path: "root/key", Hash: "h"}
	kept := bollwerk.Secret{Detector: "x", Path: "root/other", Hash: "h"}
	fact := bollwerk.FileFact{Kind: bollwerk.FactSetUID, Path: "bin/su"}
	war := lib("a.war!/b.jar")
	war.Name = "inside"
	p := sbom.Part{Inventory: bollwerk.Inventory{
		Packages: []bollwerk.Package{lib("gone/package.json"), war},
		Secrets:  []bollwerk.Secret{secret, kept}, Facts: []bollwerk.FileFact{fact},
	}}
	again := sbom.Part{Inventory: bollwerk.Inventory{Secrets: []bollwerk.Secret{kept}}}
	inv := sbom.Merge([]sbom.Part{p, again}, twoLayers, hidden("gone/package.json", "a.war", "root/key", "root/other", "bin/su"))
	if len(inv.Packages) != 0 || len(inv.Facts) != 0 {
		t.Errorf("hidden things stayed: %+v %+v", inv.Packages, inv.Facts)
	}
	if len(inv.Secrets) != 2 || !inv.Secrets[0].Deleted || inv.Secrets[1].Deleted || inv.Secrets[1].Layer.Index != 0 {
		t.Errorf("secrets: %+v", inv.Secrets)
	}
}

func TestMergePicksTheRelease(t *testing.T) {
	deb := bollwerk.Package{Name: "a", Version: "1", Ecosystem: sbom.FormatDeb, Paths: []string{"var/lib/dpkg/status"}}
	at := func(path, id, version string) sbom.Part {
		return sbom.Part{Releases: []sbom.Release{{Path: path, OS: bollwerk.Distribution{ID: id, VersionID: version}}}}
	}
	for _, c := range []struct {
		parts []sbom.Part
		want  bollwerk.Ecosystem
	}{
		{[]sbom.Part{at("usr/lib/os-release", "debian", "11"), at("etc/os-release", "debian", "12")}, "Debian:12"},
		{[]sbom.Part{at("etc/os-release", "debian", "11"), at("etc/os-release", "debian", "12")}, "Debian:12"},
		{[]sbom.Part{at("etc/os-release", "debian", ""), at("etc/debian_version", "debian", "13")}, "Debian:13"},
		{[]sbom.Part{at("etc/os-release", "raspbian", "12"), at("etc/debian_version", "debian", "12.5")}, "Raspbian:12"},
		{nil, "deb"},
	} {
		parts := append([]sbom.Part{{Inventory: bollwerk.Inventory{Packages: []bollwerk.Package{deb}}}}, c.parts...)
		inv := sbom.Merge(parts, nil, nil)
		if got := inv.Packages[0].Ecosystem; got != c.want {
			t.Errorf("%+v: %s, want %s", c.parts, got, c.want)
		}
	}
}

func TestPartSurvivesStorage(t *testing.T) {
	no := false
	p := sbom.Part{Files: 7, Problems: []sbom.Problem{{Path: "x", Cause: "y", Count: 2}}, Releases: []sbom.Release{{Path: "etc/os-release", OS: bollwerk.Distribution{ID: "debian"}}}}
	p.Inventory.Packages = []bollwerk.Package{{Name: "a", Version: "1", Ecosystem: "npm", Files: []string{"bin/a"}, Symbols: []string{"main"}, Direct: &no, DependsOn: []bollwerk.PURL{sbom.Edge("b", "2")}}}
	p.Inventory.Owned = []bollwerk.Ownership{{Package: "a", List: "l", Files: []string{"f"}}}
	enc, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := sbom.DecodePart(enc)
	if err != nil || !reflect.DeepEqual(back, p) {
		t.Errorf("%v\n%+v\n%+v", err, back, p)
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(struct{ Part sbom.Part }{p}); err != nil {
		t.Fatal(err)
	}
	var viaGob struct{ Part sbom.Part }
	if err := gob.NewDecoder(&b).Decode(&viaGob); err != nil || !reflect.DeepEqual(viaGob.Part, p) {
		t.Errorf("gob: %v\n%+v", err, viaGob.Part)
	}
	for _, bad := range []string{"", "{}", `{"Version":99}`, `{"Version":1,"Files":{"5":["x"]}}`, "[]"} {
		if _, err := sbom.DecodePart([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
