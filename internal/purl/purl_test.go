package purl

import (
	"reflect"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func src(n, v string) *bollwerk.SourcePackage { return &bollwerk.SourcePackage{Name: n, Version: v} }

var roundTrips = []struct {
	pkg  bollwerk.Package
	want string
}{
	{bollwerk.Package{Name: "openssl", Version: "3.0.11-1~deb12u2", Ecosystem: "Debian:12", Arch: "amd64", Source: src("openssl", "3.0.11-1~deb12u2")},
		"pkg:deb/debian/openssl@3.0.11-1~deb12u2?arch=amd64&distro=debian-12"},
	{bollwerk.Package{Name: "libssl3", Version: "3.0.11-1~deb12u2", Ecosystem: "Debian:12", Arch: "amd64", Source: src("openssl", "3.0.11-1~deb12u2")},
		"pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl"},
	{bollwerk.Package{Name: "gcc-12-base", Version: "12.2.0-14+b1", Ecosystem: "Debian:12", Arch: "amd64", Source: src("gcc-12", "12.2.0-14")},
		"pkg:deb/debian/gcc-12-base@12.2.0-14%2Bb1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14"},
	{bollwerk.Package{Name: "tar", Version: "1:1.34", Ecosystem: "Ubuntu:22.04", Source: src("tar", "1:1.34")},
		"pkg:deb/ubuntu/tar@1:1.34?distro=ubuntu-22.04"},
	{bollwerk.Package{Name: "musl-utils", Version: "1.2.4-r2", Ecosystem: "Alpine:v3.19", Arch: "x86_64", Source: src("musl", "1.2.4-r2")},
		"pkg:apk/alpine/musl-utils@1.2.4-r2?arch=x86_64&distro=alpine-3.19&upstream=musl"},
	{bollwerk.Package{Name: "busybox", Version: "1-r0", Ecosystem: "Alpine:edge", Source: src("busybox", "1-r0")},
		"pkg:apk/alpine/busybox@1-r0?distro=alpine-edge"},
	{bollwerk.Package{Name: "glibc", Version: "2.39-r1", Ecosystem: "Wolfi", Source: src("glibc", "2.39-r1")},
		"pkg:apk/wolfi/glibc@2.39-r1?distro=wolfi"},
	{bollwerk.Package{Name: "shadow-utils", Version: "2:4.9-8.el9", Ecosystem: "AlmaLinux:9", Arch: "x86_64", Source: src("shadow-utils", "4.9-8.el9")},
		"pkg:rpm/almalinux/shadow-utils@4.9-8.el9?arch=x86_64&distro=almalinux-9&epoch=2&upstream=shadow-utils-4.9-8.el9.src.rpm"},
	{bollwerk.Package{Name: "nodejs", Version: "1:18.1-1.module+el8", Ecosystem: "Rocky Linux:8", Modularity: "nodejs:18:8060:ad00"},
		"pkg:rpm/rocky/nodejs@18.1-1.module%2Bel8?distro=rocky-8&epoch=1&rpmmod=nodejs:18:8060:ad00"},
	{bollwerk.Package{Name: "bash", Version: "4.4-1", Ecosystem: "openSUSE:Leap 15.5"}, "pkg:rpm/opensuse/bash@4.4-1?distro=opensuse-leap-15.5"},
	{bollwerk.Package{Name: "bash", Version: "4.4-1", Ecosystem: "openSUSE:Tumbleweed"}, "pkg:rpm/opensuse/bash@4.4-1?distro=opensuse-tumbleweed"},
	{bollwerk.Package{Name: "bash", Version: "4.4-1", Ecosystem: "SUSE:Linux Enterprise Server 15 SP5"}, "pkg:rpm/suse/bash@4.4-1?distro=sles-15.5"},
	{bollwerk.Package{Name: "bash", Version: "4.4-1", Ecosystem: "rpm-asianux:4"}, "pkg:rpm/asianux/bash@4.4-1?distro=asianux-4"},
	{bollwerk.Package{Name: "bash", Version: "4.4-1", Ecosystem: "deb", Source: src("bash", "4.4-1")}, "pkg:deb/bash@4.4-1"},
	{bollwerk.Package{Name: "@babel/core", Version: "7.0.0", Ecosystem: "npm"}, "pkg:npm/%40babel/core@7.0.0"},
	{bollwerk.Package{Name: "JSONStream", Version: "1.0.0", Ecosystem: "npm"}, "pkg:npm/JSONStream@1.0.0"},
	{bollwerk.Package{Name: "zope-interface", Version: "5.0", Ecosystem: "PyPI"}, "pkg:pypi/zope-interface@5.0"},
	{bollwerk.Package{Name: "org.slf4j:slf4j-api", Version: "1.7", Ecosystem: "Maven"}, "pkg:maven/org.slf4j/slf4j-api@1.7"},
	{bollwerk.Package{Name: "log4j", Version: "1.2.17", Ecosystem: "Maven"}, "pkg:maven/log4j@1.2.17"},
	{bollwerk.Package{Name: "golang.org/x/net", Version: "v0.1.0", Ecosystem: "Go", GoOS: "linux", GoArch: "amd64"}, "pkg:golang/golang.org/x/net@v0.1.0?goarch=amd64&goos=linux"},
	{bollwerk.Package{Name: "stdlib", Version: "1.22.1", Ecosystem: "Go", Virtual: true}, "pkg:golang/stdlib@1.22.1"},
	{bollwerk.Package{Name: "serde", Version: "1.0.0", Ecosystem: "crates.io"}, "pkg:cargo/serde@1.0.0"},
	{bollwerk.Package{Name: "rails", Version: "7.0", Ecosystem: "RubyGems"}, "pkg:gem/rails@7.0"},
	{bollwerk.Package{Name: "symfony/http-kernel", Version: "6.0", Ecosystem: "Packagist"}, "pkg:composer/symfony/http-kernel@6.0"},
	{bollwerk.Package{Name: "Newtonsoft.Json", Version: "12.0.1", Ecosystem: "NuGet"}, "pkg:nuget/Newtonsoft.Json@12.0.1"},
	{bollwerk.Package{Name: "phoenix", Version: "1.6", Ecosystem: "Hex"}, "pkg:hex/phoenix@1.6"},
	{bollwerk.Package{Name: "github.com/apple/swift-nio", Version: "2.0", Ecosystem: "SwiftURL"}, "pkg:swift/github.com/apple/swift-nio@2.0"},
	{bollwerk.Package{Name: "AFNetworking/Security", Version: "4", Ecosystem: "CocoaPods"}, "pkg:cocoapods/AFNetworking@4#Security"},
	{bollwerk.Package{Name: "actions/checkout", Version: "v4", Ecosystem: "GitHub Actions"}, "pkg:github/actions/checkout@v4"},
	{bollwerk.Package{Name: "python", Version: "3.12.1", Ecosystem: "binary"}, "pkg:generic/python@3.12.1"},
	{bollwerk.Package{Name: "nginx", Version: "1.25", Ecosystem: "Bitnami"}, "pkg:bitnami/nginx@1.25"},
	{bollwerk.Package{Name: "base", Version: "4.1", Ecosystem: "GHC"}, "pkg:generic/ghc/base@4.1"},
	{bollwerk.Package{Name: "zlib", Version: "1.3", Ecosystem: "ConanCenter"}, "pkg:conan/zlib@1.3"},
	{bollwerk.Package{Name: "ggplot2", Version: "3.5.0", Ecosystem: "CRAN"}, "pkg:cran/ggplot2@3.5.0"},
}

func TestRoundTrip(t *testing.T) {
	for _, c := range roundTrips {
		got := For(c.pkg)
		if string(got) != c.want {
			t.Errorf("For(%s %s) = %s, want %s", c.pkg.Ecosystem, c.pkg.Name, got, c.want)
			continue
		}
		parts, err := Parse(string(got))
		if err != nil {
			t.Error(err)
			continue
		}
		back, err := Package(parts)
		if err != nil {
			t.Error(err)
			continue
		}
		want := c.pkg
		want.PURL = got
		if !reflect.DeepEqual(back, want) {
			t.Errorf("%s came back as %+v, want %+v", got, back, want)
		}
	}
}

func TestForeignSpellings(t *testing.T) {
	for in, want := range map[string]bollwerk.Ecosystem{
		"pkg:deb/debian/openssl@1?distro=bookworm":              "Debian:12",
		"pkg:deb/debian/openssl@1?distro=debian-12.5":           "Debian:12",
		"pkg:deb/debian/openssl@1":                              "Debian",
		"pkg:apk/alpine/musl@1?distro=alpine-3.19.1":            "Alpine:v3.19",
		"pkg:apk/alpine/musl@1?distro=3.21.0_alpha20240807":     "apk-3.21.0_alpha20240807",
		"pkg:rpm/redhat/bash@1?distro=rhel-9.2":                 "Red Hat:9",
		"pkg:rpm/alma/bash@1?distro=alma-9.4":                   "AlmaLinux:9",
		"pkg:alpm/arch/bash@1":                                  "alpm",
		"pkg:PYPI/Zope.Interface@1":                             "PyPI",
		"pkg:rpm/opensuse/bash@1?distro=opensuse-leap-15.6":     "openSUSE:Leap 15.6",
		"pkg:rpm/amzn/bash@1?distro=amzn-2023":                  "Amazon Linux:2023",
		"pkg:rpm/mariner/bash@1?arch=x86_64&distro=mariner-2.0": "Azure Linux:2.0",
	} {
		parts, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		p, err := Package(parts)
		if err != nil || p.Ecosystem != want {
			t.Errorf("%s: ecosystem %q, %v; want %q", in, p.Ecosystem, err, want)
		}
	}
}

func TestWithName(t *testing.T) {
	parts, err := Parse(string(For(bollwerk.Package{Name: "github.com/BurntSushi/toml", Version: "v1.0.0", Ecosystem: "Go"})))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Package(parts)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "github.com/burntsushi/toml" {
		t.Fatalf("name from the URL alone: %q", p.Name)
	}
	if got := WithName(p, "github.com/BurntSushi/toml").Name; got != "github.com/BurntSushi/toml" {
		t.Errorf("spelling not taken back: %q", got)
	}
	if got := WithName(p, "evil").Name; got != "github.com/burntsushi/toml" {
		t.Errorf("another name was taken: %q", got)
	}
}

func TestEcosystem(t *testing.T) {
	for _, c := range []struct{ id, version, format, want string }{
		{"debian", "12", "deb", "Debian:12"},
		{"debian", "", "deb", "Debian"}, // testing and sid have no VERSION_ID
		{"ubuntu", "22.04", "deb", "Ubuntu:22.04"},
		{"alpine", "3.19.1", "apk", "Alpine:v3.19"},
		{"alpine", "3.21.0_alpha20240807", "apk", "Alpine:edge"},
		{"wolfi", "20230201", "apk", "Wolfi"},
		{"almalinux", "9.4", "rpm", "AlmaLinux:9"},
		{"rocky", "9.3", "rpm", "Rocky Linux:9"},
		{"rhel", "8.9", "rpm", "Red Hat:8"},
		{"sles", "15.5", "rpm", "SUSE:Linux Enterprise Server 15 SP5"},
		{"linuxmint", "21", "deb", "deb-linuxmint:21"},
		{"debian", "12", "rpm", "rpm-debian:12"}, // rpm installed on Debian
	} {
		if got := Ecosystem(&bollwerk.Distribution{ID: c.id, VersionID: c.version}, c.format); string(got) != c.want {
			t.Errorf("%s %s %s: %q, want %q", c.id, c.version, c.format, got, c.want)
		}
	}
	if got := Ecosystem(nil, "deb"); got != "deb" {
		t.Errorf("without os-release: %q", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{"", "pkg:", "pkg:npm", "http://x/y", "pkg:npm/", "pkg:npm/" + strings.Repeat("a", maxLength)} {
		if p, err := Parse(s); err == nil {
			t.Errorf("%.40q was taken: %+v", s, p)
		}
	}
}

// FuzzParse: whatever parses has a canonical form that parses to the same package.
func FuzzParse(f *testing.F) {
	for _, c := range roundTrips {
		f.Add(c.want)
	}
	f.Add("pkg:deb/debian/x@1?distro=-&upstream=@")
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := Parse(s)
		if err != nil {
			return
		}
		p, err := Package(parts)
		if err != nil {
			return
		}
		if p.PURL == "" {
			t.Fatalf("%q: no canonical form", s)
		}
	})
}
