package spdx

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/internal/bom/bomtest"
)

// The documents in testdata are small ones in the ways of other tools.
func TestForeign(t *testing.T) {
	for file, c := range map[string]struct {
		format, name, os, tools, problems string
		packages                          []string
	}{
		"buildkit.json": {
			format: "SPDX 2.3 JSON", name: "sbom", tools: "syft-v1.27.1,buildkit-v0.23.2", problems: "package without package URL: busybox 1.36.1", packages: []string{
				"Debian:12|libssl3|3.0.11-1~deb12u2|openssl 3.0.11-1~deb12u2|amd64|usr/share/doc/libssl3/copyright,var/lib/dpkg/status|Apache-2.0 AND LicenseRef-Artistic|-> pkg:apk/alpine/musl@1.2.4-r2?arch=x86_64&distro=alpine-3.19",
				"Alpine:v3.19|musl|1.2.4-r2|musl 1.2.4-r2|x86_64|MIT|sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
			},
		},
		"trivy.json": {
			format: "SPDX 2.3 JSON", name: "registry.example/team/app:1.0", os: "debian 12.4", tools: "trivy-0.73.0", packages: []string{
				"Debian:12|login|1:4.13+dfsg1-1+b1|shadow 1:4.13+dfsg1-1|amd64|0 sha256:2222222222222222222222222222222222222222222222222222222222222222|-> pkg:rpm/rocky/binutils@2.30-93.el8?arch=aarch64&distro=rocky-8&upstream=binutils-2.30-93.el8.src.rpm",
				"Rocky Linux:8|binutils|2.30-93.el8|binutils 2.30-93.el8|aarch64|0 sha256:1111111111111111111111111111111111111111111111111111111111111111",
			},
		},
		"sbom-tool.json": {
			format: "SPDX 2.2 JSON", name: "Shop", tools: "Microsoft.SBOMTool-3.0.0", packages: []string{"NuGet|Newtonsoft.Json|12.0.1|MIT"},
		},
		"github.json": {
			format: "SPDX 2.3 JSON", name: "com.github.example/shop", tools: "GitHub.com-Dependency-Graph", packages: []string{
				"Go|github.com/google/uuid|v1.3.0", "GitHub Actions|actions/checkout|4.1.0",
			},
		},
		"trivy.spdx": {
			format: "SPDX 2.3 tag-value", name: "app", os: "debian 12", tools: "trivy-0.73.0",
			problems: "external reference that is not understood: nonsense;line without a tag: line 68;package without package URL: mystery 1",
			packages: []string{
				"PyPI|requests|2.31.0|Apache-like|sha256:0000000000000000000000000000000000000000000000000000000000000002|0 sha256:1111111111111111111111111111111111111111111111111111111111111111|-> pkg:deb/debian/libssl3@3.0.11-1~deb12u2?arch=amd64&distro=debian-12&upstream=openssl",
				"Debian:12|libssl3|3.0.11-1~deb12u2|openssl 3.0.11-1~deb12u2|amd64|Apache-2.0|0 sha256:2222222222222222222222222222222222222222222222222222222222222222",
			},
		},
		"spdx3.json": {
			format: "SPDX 3.0.1 JSON-LD", name: "shop", os: "debian 12", packages: []string{
				"npm|lodash|4.17.20|sha256:0000000000000000000000000000000000000000000000000000000000000003|-> pkg:deb/debian/libssl3@3.0.11-1?distro=debian-12&upstream=openssl",
				"Debian:12|libssl3|3.0.11-1|openssl 3.0.11-1",
			},
		},
	} {
		f, err := os.Open("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		d, err := Read(f, ReadOptions{})
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := bomtest.Lines(d); !slices.Equal(got, c.packages) {
			t.Errorf("%s:\n got %s\nwant %s", file, strings.Join(got, "\n     "), strings.Join(c.packages, "\n     "))
		}
		os := ""
		if d.OS != nil {
			os = d.OS.ID + " " + d.OS.VersionID
		}
		if d.Format != c.format || d.Artifact.Name != c.name || os != c.os || strings.Join(d.Tools, ",") != c.tools || strings.Join(d.Problems, ";") != c.problems || d.Created.IsZero() {
			t.Errorf("%s: format %q, name %q, os %q, tools %q, problems %q, created %s", file, d.Format, d.Artifact.Name, os, d.Tools, d.Problems, d.Created)
		}
	}
}

func TestForeignImage(t *testing.T) {
	f, err := os.Open("testdata/trivy.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := Read(f, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Artifact.Digest.Short() != "sha256:74634d9736a4" || d.Total != 2 || d.Unread != 0 {
		t.Errorf("%+v, total %d, unread %d", d.Artifact, d.Total, d.Unread)
	}
}
