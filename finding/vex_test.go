package finding

import (
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

var (
	vexNow   = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	vexImage = bollwerk.Artifact{
		Kind: bollwerk.KindImage, Name: "registry.example/team/App:1.0", Platform: "linux/amd64",
		Digest:       "sha256:74634d9736a45ca9f6e1187e783492199e020f4a5c19d0b1abc2b604f894ac99",
		ConfigDigest: "sha256:1111111111111111111111111111111111111111111111111111111111111111",
	}
)

func vexFinding(id, purl, name, version string, eco bollwerk.Ecosystem) bollwerk.Finding {
	return bollwerk.Finding{
		Kind: bollwerk.KindVulnerability, ID: id, Aliases: []string{"GHSA-aaaa-bbbb-cccc"}, Verdict: bollwerk.Fail, Reason: "It is old.",
		Package: &bollwerk.FindingPackage{PURL: bollwerk.PURL(purl), Name: name, Version: version, Ecosystem: eco},
	}
}

func lodash() bollwerk.Finding {
	return vexFinding("CVE-2021-23337", "pkg:npm/lodash@4.17.20", "lodash", "4.17.20", "npm")
}

func openssl() bollwerk.Finding {
	f := vexFinding("CVE-2021-23337", "pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&distro=debian-12&upstream=openssl", "libssl3", "3.0.11-1", "Debian:12")
	f.Package.Source = &bollwerk.SourcePackage{Name: "openssl", Version: "3.0.11-1"}
	return f
}

func TestApplyVEXMatching(t *testing.T) {
	image := vexImage.Digest
	for _, c := range []struct {
		name     string
		finding  bollwerk.Finding
		products []string
		subs     []string
		want     bool
	}{
		{"package, exact", lodash(), []string{"pkg:npm/lodash@4.17.20"}, nil, true},
		{"package, no version", lodash(), []string{"pkg:npm/lodash"}, nil, true},
		{"package, other version", lodash(), []string{"pkg:npm/lodash@4.17.21"}, nil, false},
		{"package, other type", lodash(), []string{"pkg:pypi/lodash@4.17.20"}, nil, false},
		{"package, other namespace", lodash(), []string{"pkg:npm/%40types/lodash@4.17.20"}, nil, false},
		{"one of several", lodash(), []string{"pkg:npm/a", "pkg:npm/lodash"}, nil, true},
		{"qualifiers left out", openssl(), []string{"pkg:deb/debian/libssl3@3.0.11-1"}, nil, true},
		{"qualifiers subset", openssl(), []string{"pkg:deb/debian/libssl3?arch=amd64"}, nil, true},
		{"qualifier differs", openssl(), []string{"pkg:deb/debian/libssl3?arch=arm64"}, nil, false},
		{"qualifier the package lacks", openssl(), []string{"pkg:deb/debian/libssl3?repository_url=x"}, nil, false},
		{"distro, other spelling", openssl(), []string{"pkg:deb/debian/libssl3?distro=bookworm"}, nil, true},
		{"distro differs", openssl(), []string{"pkg:deb/debian/libssl3?distro=debian-11"}, nil, false},
		{"source package", openssl(), []string{"pkg:deb/debian/openssl@3.0.11-1?arch=source&distro=debian-12"}, nil, true},
		{"source package, other version", openssl(), []string{"pkg:deb/debian/openssl@3.0.12-1?arch=source"}, nil, false},
		{"source name without saying so", openssl(), []string{"pkg:deb/debian/openssl@3.0.11-1"}, nil, false},
		{"image by digest", lodash(), []string{string(image)}, nil, true},
		{"image by configuration", lodash(), []string{string(vexImage.ConfigDigest)}, nil, true},
		{"image by other digest", lodash(), []string{"sha256:2222222222222222222222222222222222222222222222222222222222222222"}, nil, false},
		{"image by name and tag", lodash(), []string{"registry.example/team/App:1.0"}, nil, true},
		{"image by name", lodash(), []string{"registry.example/team/App"}, nil, true},
		{"image by other tag", lodash(), []string{"registry.example/team/App:2.0"}, nil, false},
		{"image by name and digest", lodash(), []string{"registry.example/team/App@" + string(image)}, nil, true},
		{"image by oci URL", lodash(), []string{"pkg:oci/app@" + string(image)}, nil, true},
		{"image by oci URL, repository", lodash(), []string{"pkg:oci/app?repository_url=registry.example/team"}, nil, true},
		{"image by oci URL, whole repository", lodash(), []string{"pkg:oci/app?repository_url=registry.example/team/App"}, nil, true},
		{"image by oci URL, other repository", lodash(), []string{"pkg:oci/app?repository_url=evil.example/team"}, nil, false},
		{"image by oci URL, other name", lodash(), []string{"pkg:oci/other"}, nil, false},
		{"image by oci URL, tag", lodash(), []string{"pkg:oci/app?tag=1.0"}, nil, true},
		{"image by oci URL, other tag", lodash(), []string{"pkg:oci/app?tag=2.0"}, nil, false},
		{"image by oci URL, other arch", lodash(), []string{"pkg:oci/app?arch=arm64"}, nil, false},
		{"image and package", lodash(), []string{string(image)}, []string{"pkg:npm/lodash"}, true},
		{"image and other package", lodash(), []string{string(image)}, []string{"pkg:npm/underscore"}, false},
		{"other image and package", lodash(), []string{"pkg:oci/other"}, []string{"pkg:npm/lodash"}, false},
		{"package inside a package", lodash(), []string{"pkg:npm/webpack@5.0.0"}, []string{"pkg:npm/lodash"}, false},
		{"no product", lodash(), nil, []string{"pkg:npm/lodash"}, false},
		{"empty product", lodash(), []string{""}, nil, false},
		{"broken URL", lodash(), []string{"pkg:"}, nil, false},
	} {
		fs := []bollwerk.Finding{c.finding}
		n := ApplyVEX(fs, vexImage, []bollwerk.VEXStatement{{
			Issue: "CVE-2021-23337", Products: c.products, Subcomponents: c.subs, Status: bollwerk.VEXNotAffected,
			Justification: "component_not_present", Timestamp: vexNow,
		}}, vexNow)
		if got := fs[0].Suppressed != nil; got != c.want || (n == 1) != c.want {
			t.Errorf("%s: suppressed %v (applied %d), want %v", c.name, got, n, c.want)
		}
	}
}

func TestApplyVEXStatus(t *testing.T) {
	at := func(day int, status bollwerk.VEXStatus) bollwerk.VEXStatement {
		return bollwerk.VEXStatement{
			Issue: "CVE-2021-23337", Products: []string{"pkg:npm/lodash"}, Status: status, Author: "Example GmbH",
			Timestamp: time.Date(2026, 1, day, 0, 0, 0, 0, time.UTC), ActionStatement: "upgrade.", Justification: "inline_mitigations_already_exist",
		}
	}
	for _, c := range []struct {
		name       string
		statements []bollwerk.VEXStatement
		suppressed string
		reason     string
	}{
		{"latest wins", []bollwerk.VEXStatement{at(3, bollwerk.VEXNotAffected), at(1, bollwerk.VEXAffected)}, "not_affected", ""},
		{"latest wins, the other way", []bollwerk.VEXStatement{at(1, bollwerk.VEXNotAffected), at(3, bollwerk.VEXAffected)}, "", "VEX of Example GmbH says: affected: upgrade."},
		{"investigation reopens", []bollwerk.VEXStatement{at(3, bollwerk.VEXUnderInvestigation), at(1, bollwerk.VEXFixed)}, "", "under investigation."},
		{"last of equals", []bollwerk.VEXStatement{at(1, bollwerk.VEXFixed), at(1, bollwerk.VEXAffected)}, "", "affected"},
		{"fixed", []bollwerk.VEXStatement{at(1, bollwerk.VEXFixed)}, "fixed", ""},
		{"unknown status", []bollwerk.VEXStatement{at(1, "whatever")}, "", "It is old."},
	} {
		fs := []bollwerk.Finding{lodash()}
		if n := ApplyVEX(fs, vexImage, c.statements, vexNow); n != 1 {
			t.Errorf("%s: applied %d", c.name, n)
		}
		got := ""
		if s := fs[0].Suppressed; s != nil {
			got = s.Status
			if s.By != "vex" || s.Reason != "built-in mitigations prevent the attack" || s.Owner != "Example GmbH" {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
		if got != c.suppressed || !strings.Contains(fs[0].Reason, c.reason) {
			t.Errorf("%s: suppressed %q, reason %q", c.name, got, fs[0].Reason)
		}
	}
}

func TestApplyVEXLeavesAlone(t *testing.T) {
	s := bollwerk.VEXStatement{Issue: "CVE-2021-23337", Products: []string{"pkg:npm/lodash"}, Status: bollwerk.VEXNotAffected, Timestamp: vexNow}
	future := s
	future.Timestamp = vexNow.AddDate(0, 1, 0)
	other := s
	other.Issue = "CVE-2020-0001"
	alias := s
	alias.Issue, alias.Aliases = "SNYK-1", []string{"ghsa-AAAA-bbbb-cccc"}

	excepted := lodash()
	excepted.Suppressed = &bollwerk.Suppression{By: "exception", Status: "excepted"}
	fs := []bollwerk.Finding{excepted}
	ApplyVEX(fs, vexImage, []bollwerk.VEXStatement{s}, vexNow)
	if fs[0].Suppressed.By != "exception" {
		t.Error("a statement replaced an exception")
	}
	secret := lodash()
	secret.Kind = bollwerk.KindSecret
	for name, c := range map[string]struct {
		f    bollwerk.Finding
		s    bollwerk.VEXStatement
		want bool
	}{
		"dated far ahead": {lodash(), future, false}, "other issue": {lodash(), other, false},
		"alias": {lodash(), alias, true}, "secret": {secret, s, false},
	} {
		fs := []bollwerk.Finding{c.f}
		ApplyVEX(fs, vexImage, []bollwerk.VEXStatement{c.s}, vexNow)
		if got := fs[0].Suppressed != nil; got != c.want {
			t.Errorf("%s: suppressed %v, want %v", name, got, c.want)
		}
	}
}

func TestApplyVEXRedHat(t *testing.T) {
	f := vexFinding("CVE-2024-1", "pkg:rpm/redhat/openssl-libs@3.0.7-24.el9?arch=x86_64&distro=rhel-9&epoch=1&upstream=openssl-3.0.7-24.el9.src.rpm", "openssl-libs", "1:3.0.7-24.el9", "Red Hat:9")
	f.Package.Source = &bollwerk.SourcePackage{Name: "openssl", Version: "3.0.7-24.el9"}
	art := vexImage
	for _, c := range []struct {
		os, product, sub string
		want             bool
	}{
		{"9.2", "cpe:/o:redhat:enterprise_linux:9::baseos", "pkg:rpm/redhat/openssl-libs@3.0.7-24.el9?arch=x86_64&epoch=1", true},
		{"9.2", "cpe:/o:redhat:enterprise_linux:9", "pkg:rpm/redhat/openssl-libs", true},
		{"9.2", "cpe:/o:redhat:enterprise_linux:9", "pkg:rpm/redhat/openssl?arch=src", true},
		{"9.2", "cpe:/o:redhat:enterprise_linux:9", "pkg:rpm/redhat/openssl-libs@3.0.7-24.el9?epoch=2", false},
		{"8.9", "cpe:/o:redhat:enterprise_linux:9", "pkg:rpm/redhat/openssl-libs", false},
		{"9.2", "cpe:/a:redhat:openshift:4", "pkg:rpm/redhat/openssl-libs", false},
	} {
		art.OS = &bollwerk.Distribution{ID: "rhel", VersionID: c.os}
		fs := []bollwerk.Finding{f}
		ApplyVEX(fs, art, []bollwerk.VEXStatement{{Issue: "CVE-2024-1", Products: []string{c.product}, Subcomponents: []string{c.sub}, Status: bollwerk.VEXFixed}}, vexNow)
		if got := fs[0].Suppressed != nil; got != c.want {
			t.Errorf("%s %s %s: suppressed %v", c.os, c.product, c.sub, got)
		}
	}
}
