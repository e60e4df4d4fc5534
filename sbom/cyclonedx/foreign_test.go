package cyclonedx

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
		os, tools, problems string
		packages            []string
	}{
		"syft.json": {
			os: "debian 12", tools: "syft 1.27.1", problems: "component without package URL: redis 7.0.1",
			packages: []string{
				"Debian:12|libssl3|3.0.11-1~deb12u2|openssl 3.0.11-1~deb12u2|amd64|var/lib/dpkg/status|Apache-2.0,Artistic|0 sha256:1111111111111111111111111111111111111111111111111111111111111111|-> pkg:deb/debian/gcc-12-base@12.2.0-14%2Bb1?arch=amd64&distro=debian-12&upstream=gcc-12%4012.2.0-14",
				"Debian:12|gcc-12-base|12.2.0-14+b1|gcc-12 12.2.0-14|amd64",
				"Debian:12|login|1:4.13+dfsg1-1+b1|shadow 1:4.13+dfsg1-1|amd64",
				"Go|github.com/BurntSushi/toml|v1.2.0|||usr/bin/app||sha256:0000000000000000000000000000000000000000000000000000000000000000",
				"Go|stdlib|1.21.5|virtual",
				"RubyGems|nokogiri|1.15.4",
				"Maven|org.apache.logging.log4j:log4j-core|2.14.1",
				"PyPI|zope-interface|5.0",
			},
		},
		"syft-alpine.json": {
			os: "alpine 3.19", packages: []string{
				"Alpine:v3.19|libssl3|3.1.4-r5|openssl 3.1.4-r5|x86_64",
				"Alpine:v3.19|musl-utils|1.2.4_git20230717-r4|musl 1.2.4_git20230717-r4|x86_64",
				"Wolfi|libgcc|15.2.0-r2|gcc 15.2.0-r2|x86_64",
			},
		},
		"trivy.json": {
			os: "debian 12.4", tools: "trivy 0.73.0", packages: []string{
				"Debian:12|libssl3|3.0.11-1~deb12u2|openssl 3.0.11-1~deb12u2|amd64||Apache-2.0|1 sha256:2222222222222222222222222222222222222222222222222222222222222222",
				"Debian:12|login|1:4.13+dfsg1-1+b1|shadow 1:4.13+dfsg1-1|amd64|-> pkg:deb/debian/tar@1:1.34-1?arch=amd64&distro=debian-12,pkg:deb/debian/login@1:4.13%2Bdfsg1-1%2Bb1?arch=amd64&distro=debian-12&upstream=shadow%401:4.13%2Bdfsg1-1",
				"Debian:12|tar|1:1.34-1|tar 1:1.34-1|amd64|-> pkg:deb/debian/login@1:4.13%2Bdfsg1-1%2Bb1?arch=amd64&distro=debian-12&upstream=shadow%401:4.13%2Bdfsg1-1",
				"npm|@babel/core|7.0.0|||app/package-lock.json",
				"Go|stdlib|1.21.5|virtual",
			},
		},
		"trivy-rpm.json": {
			os: "rhel 9.3", packages: []string{
				"Red Hat:9|openssl-libs|1:3.0.7-25.el9_3|openssl 3.0.7-25.el9_3|x86_64",
				"Rocky Linux:8|nodejs|1:18.1-1.module+el8||x86_64|module nodejs:18:8060:ad00",
				"AlmaLinux:9|bash|5.1.8-6.el9|bash 5.1.8-6.el9|x86_64",
				"openSUSE:Leap 15.5|zypper|1.14-1",
				"Alpine:v3.19|musl|1.2.4-r2|musl 1.2.4-r2|x86_64",
			},
		},
		"cdxgen.json": {
			os: "debian 12", tools: "cdxgen 11.0.0", packages: []string{
				"npm|lodash|4.17.20|||src/index.js#3,src/package-lock.json||sha512:94fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf494fc0bf4",
				"npm|mocha|10.0.0|dev",
				"Debian:12|libc6|2.36-9+deb12u3|libc6 2.36-9+deb12u3|amd64",
				"npm|inner|1",
				"Debian:12|perl-base|5.36.0-7|perl-base 5.36.0-7|amd64",
				"npm|shop|1.0.0",
				"npm|module-a|1.0.0",
			},
		},
		"maven.xml": {
			tools: "CycloneDX Maven plugin 2.5.3", problems: "component without package URL: unnamed thing 1", packages: []string{
				"Maven|org.apache.logging.log4j:log4j-core|2.14.1|||||Apache-2.0|md5:948dda787593340a7af1a18e328b7b7f,sha256:0000000000000000000000000000000000000000000000000000000000000001",
				"Maven|com.example:shop|1.0|-> pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1",
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
		got := bomtest.Lines(d)
		for i := range c.packages {
			c.packages[i] = bomtest.Line(c.packages[i])
		}
		if !slices.Equal(got, c.packages) {
			t.Errorf("%s:\n got %s\nwant %s", file, strings.Join(got, "\n     "), strings.Join(c.packages, "\n     "))
		}
		os := ""
		if d.OS != nil {
			os = d.OS.ID + " " + d.OS.VersionID
		}
		if os != c.os || strings.Join(d.Tools, ",") != c.tools || strings.Join(d.Problems, ";") != c.problems {
			t.Errorf("%s: os %q, tools %q, problems %q", file, os, d.Tools, d.Problems)
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
	a := d.Artifact
	if a.Name != "registry.example/team/app:1.0" || a.Digest.Short() != "sha256:74634d9736a4" || a.ConfigDigest.Short() != "sha256:333333333333" ||
		len(a.Layers) != 2 || a.Layers[1].Index != 1 || d.Total != 5 || d.Unread != 0 || d.Created.IsZero() {
		t.Errorf("%+v, total %d, unread %d", a, d.Total, d.Unread)
	}
}
