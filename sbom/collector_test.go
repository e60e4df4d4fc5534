package sbom_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/bollwerk/bollwerk/sbom/all"
)

// part runs the shipped extractors over files given as path → content.
func part(t *testing.T, files map[string]string) sbom.Part {
	t.Helper()
	set, err := all.Set()
	if err != nil {
		t.Fatal(err)
	}
	c := set.NewCollector(sbom.CollectorOptions{Workers: 2})
	for p, content := range files {
		f := bollwerk.File{Path: p, Size: int64(len(content)), Mode: 0o644}
		if c.Wants(&f) {
			if err := c.Visit(context.Background(), f, io.Reader(strings.NewReader(content))); err != nil {
				t.Fatal(err)
			}
		}
	}
	p, err := c.Finish(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const osRelease = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n"

func stanza(name, version, extra string) string {
	return "Package: " + name + "\nStatus: install ok installed\nMaintainer: X <x@debian.org>\nArchitecture: amd64\nVersion: " + version + "\n" + extra + "\n"
}

func TestMergeAttributesToTheBringingLayer(t *testing.T) {
	base := part(t, map[string]string{
		"etc/os-release":      osRelease,
		"var/lib/dpkg/status": stanza("libc6", "2.36-9", "Source: glibc\n") + stanza("old", "1", ""),
	})
	second := part(t, map[string]string{
		"var/lib/dpkg/status": stanza("libc6", "2.36-9", "Source: glibc\n") + stanza("curl", "7.88", ""),
	})
	third := part(t, map[string]string{
		"var/lib/dpkg/status": stanza("libc6", "2.36-9", "Source: glibc\n") + stanza("curl", "7.89", "") + stanza("old", "1", ""),
	})
	layers := []bollwerk.LayerRef{{Index: 0}, {Index: 1}, {Index: 2}}
	inv := sbom.Merge([]sbom.Part{base, second, third}, layers, func(i int, path string) bool {
		return path == "var/lib/dpkg/status" && i < 2
	})
	got := map[string]int{}
	for _, p := range inv.Packages {
		got[p.Name+" "+p.Version] = p.Layer.Index
		if p.Ecosystem != "Debian:12" {
			t.Errorf("%s: ecosystem %q", p.Name, p.Ecosystem)
		}
	}
	want := map[string]int{"libc6 2.36-9": 0, "curl 7.89": 2, "old 1": 2}
	if len(got) != len(want) {
		t.Fatalf("packages %v, want %v", got, want)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: layer %d, want %d", k, got[k], v)
		}
	}
	if inv.Packages[1].PURL != "pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12&upstream=glibc" {
		t.Errorf("purl %s", inv.Packages[1].PURL)
	}
}

func TestOwnedLanguagePackagesAreLeftOut(t *testing.T) {
	meta := "Metadata-Version: 2.1\nName: Zope.Interface\nVersion: 5.0\n\nlong"
	files := map[string]string{
		"etc/os-release":                      osRelease,
		"var/lib/dpkg/status":                 stanza("python3-zope", "5.0-1", ""),
		"var/lib/dpkg/info/python3-zope.list": "/.\n/usr\n/usr/lib/python3/dist-packages/zope.interface-5.0.dist-info/METADATA\n",
		"usr/lib/python3/dist-packages/zope.interface-5.0.dist-info/METADATA":          meta,
		"usr/local/lib/python3.11/site-packages/zope.interface-5.0.dist-info/METADATA": meta,
	}
	inv := sbom.Merge([]sbom.Part{part(t, files)}, nil, nil)
	var py []bollwerk.Package
	for _, p := range inv.Packages {
		if p.Ecosystem == bollwerk.EcosystemPyPI {
			py = append(py, p)
		}
	}
	if len(py) != 1 || py[0].Name != "zope-interface" || len(py[0].Paths) != 1 || !strings.HasPrefix(py[0].Paths[0], "usr/local/") {
		t.Fatalf("want only the copy under usr/local: %+v", py)
	}
	// The same image with the Debian package from a vendor: both copies count.
	files["var/lib/dpkg/status"] = strings.Replace(files["var/lib/dpkg/status"], "x@debian.org", "x@docker.com", 1)
	inv = sbom.Merge([]sbom.Part{part(t, files)}, nil, nil)
	for _, p := range inv.Packages {
		if p.Ecosystem == bollwerk.EcosystemPyPI && len(p.Paths) != 2 {
			t.Errorf("vendor's copy left out: %v", p.Paths)
		}
	}
}
