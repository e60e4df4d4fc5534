package version

import "testing"

// deb-version(7), "Sorting algorithm", and dpkg's lib/dpkg/t/t-version.c.
func TestDpkg(t *testing.T) {
	s := Dpkg()
	checkChain(t, s, "~~", "~~a", "~", "a")
	checkChain(t, s, "1.0~beta1~svn1245", "1.0~beta1", "1.0 1.0-0 0:1.0 1.0-00 00:1.0", "1.0-0.1", "1.0-1", "1.0a", "1.0+b1", "1.0.1", "1:0.1")
	checkChain(t, s, "0.9", "0.10", "0010.0", "1:0")
	checkChain(t, s, "1.2.3-1~deb7u1", "1.2.3-1", "1.2.3-1+b1", "1.2.3-1.1", "1.2.3-2")
	// The last hyphen begins the revision, so an upstream version may have one.
	checkChain(t, s, "1-2-1", "1-2-2", "1-3-1")
	checkChain(t, s, "2:1.0", "2:1.0-1:2")
	checkChain(t, s, "99999999999999999999999998", "99999999999999999999999999")
	checkRefused(t, s, "", " ", "1 2", ":1", "a:1", "-1:1", "1:", "1-", "-1", "1:-1", "2147483648:1", "1.2.3-not-a-debian:version!@#$")
	checkValid(t, s, true, "1", "1.0-1", "2147483647:1", "1.2-3~bpo12+1", " 1.0 ", "1:2:3")
	checkValid(t, s, false, "a1", "kernel-image-2.4.17", "1_2", "1.0-1_2", "1é")
	// dpkg warns and orders.
	checkChain(t, s, "1_1", "1_2")
}

// rpm's tests/rpmvercmp.at.
func TestRPM(t *testing.T) {
	s := RPM()
	checkChain(t, s, "1.0~rc1~git123", "1.0~rc1", "1.0~rc1^git1", "1.0~rc2", "1.0", "1.0^git1~pre", "1.0^git1", "1.0^git2", "1.01 1.1", "1.0001.1 1.1.1")
	checkChain(t, s, "1.0^20160101", "1.0^20160101^git1", "1.0^20160102", "1.0.1")
	checkChain(t, s, "a", "1", "1a", "1aa", "1b", "1.1 1_1")
	checkChain(t, s, "10xyz", "10.1xyz")
	checkChain(t, s, "xyz.4", "2", "8")
	checkChain(t, s, "FC5", "fc4")
	checkChain(t, s, "20101121", "20101122")
	checkChain(t, s, "0.5 0:0.5 0_5", "1:0.1 01:0.1", "10:0")
	checkChain(t, s, "1.0", "1.0-1.el8", "1.0-1.el8_4.2", "1.0-2.el8", "1.1-0")
	checkChain(t, s, "3.0.7-16.el9_2", "3.0.7-18.el9_2", "1:3.0.1-47.el9_1")
	// Anything is a version to rpm; that is not the same as a valid one.
	checkChain(t, s, " _ +", "0")
	checkValid(t, s, true, "1", "1.0-1.el9", "4:5.32.1-481.el9", "1.0~rc1-1", "1.0^git1-1", "1_2")
	checkValid(t, s, false, "", "-1", "1-", "1 2", "a:1", "1:2:3", "1-2-3", "1.1.α")
}

// apk-tools' src/version.c and test/version.data.
func TestAPK(t *testing.T) {
	s := APK()
	checkChain(t, s, "1.2_alpha", "1.2_alpha1", "1.2_beta", "1.2_pre", "1.2_rc", "1.2_rc1", "1.2", "1.2-r0", "1.2-r1", "1.2-r10",
		"1.2_cvs", "1.2_svn", "1.2_git", "1.2_git20230101", "1.2_hg", "1.2_p", "1.2_p1", "1.2_p1_p2", "1.2_p2", "1.2a", "1.2b", "1.2.0", "1.2.1", "1.3")
	checkChain(t, s, "1.2_alpha_rc", "1.2_alpha", "1.2_alpha_p")
	// Leading zeros behind the first dot are a fraction.
	checkChain(t, s, "1.00", "1.002", "1.01", "1.1", "1.2", "1.10")
	checkChain(t, s, "01.1 1.1", "2.1")
	checkChain(t, s, "1.0~1234", "1.0~abcd", "1.1~1234")
	checkChain(t, s, "3.1.4-r4", "3.1.4-r5", "3.1.5-r0")
	checkChain(t, s, "9999999999999999999999999", "99999999999999999999999999")
	checkValid(t, s, true, "1", "1.2.3a_rc1_p2~0af-r3", "1.2", "1a", "1_p", "20230101")
	checkValid(t, s, false, "", "a", ".1", "1.", "1..2", "1-1", "1-r", "1-r-1", "1A", "1ab", "1_x", "1_p_", "1~", "1~xyz", "1-r1_p1", "1 ", "1-r1-r2")
}

// semver.org section 11, node-semver's loose mode.
func TestSemver(t *testing.T) {
	s := Semver()
	checkChain(t, s, "1.0.0-0", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
		"1.0.0 1 1.0 v1.0.0 V1 1.0.0+build 1.0.0+a.b 01.0.0", "1.0.1-0", "1.0.1", "1.2 1.2.0", "1.10.0", "2")
	checkChain(t, s, "1.0.0-1", "1.0.0-2", "1.0.0-10", "1.0.0--", "1.0.0-1a", "1.0.0-A", "1.0.0-a", "1.0.0-a-b")
	// Sloppy spellings: a pre-release without a hyphen, more numbers than three.
	checkChain(t, s, "1.2.3- 1.2.3-+b", "1.2.3-beta 1.2.3beta 1.2.3.beta", "1.2.3 1.2.3. 1.2.3.0", "1.2.3.4", "1.2.4")
	checkChain(t, s, "18446744073709551615.0.0", "18446744073709551616.0.0")
	checkRefused(t, s, "", "v", "latest", "x.1", ".1", "1.0.0 beta", "1\x00", "=1", " 1", "ABTesting-3.3.0")
	checkValid(t, s, true, "1.2.3", "v1", "1.2", "1.2.3-rc.1+build.5", "1.0.0-0A.is.legal", "1.2.3----RC-SNAPSHOT.12.9.1--.12")
	checkValid(t, s, false, "1.2.3.4", "1.2.3beta", "1.2.3-", "1.2.3+", "1.2.3-a..b", "1.2.3-é", "1.2.3+a_b", "1.2.x")
}

// Pseudo-versions: golang.org/ref/mod#pseudo-versions. Releases: go.dev/doc/toolchain.
func TestGo(t *testing.T) {
	s := Go()
	checkChain(t, s,
		"v0.0.0-20190308221718-c2843e01d9a2", "0.0.0-20200622213623-75b288015ac9", "v0.0.0",
		"v1.2.3-0.20191109021931-daa7c04131f5", "v1.2.3-pre", "v1.2.3-pre.0.20191109021931-daa7c04131f5", "v1.2.3 1.2.3",
		"v1.2.4-0.20191109021931-daa7c04131f5", "v2.0.0+incompatible 2.0.0", "v2.0.1+incompatible")
	checkChain(t, s,
		"go1.20.14", "1.21.0-0", "go1.21beta1 1.21.0-beta.1", "go1.21rc1 1.21rc1 1.21.0-rc.1", "go1.21rc2", "go1.21rc10 1.21.0-rc.10",
		"go1.21 go1.21.0 1.21.0 go1.21.0-bigcorp go1.21.0+auto", "go1.21.1", "go1.21.10", "go1.22rc1", "1.22.0")
	checkChain(t, s, "go1.9.2rc2", "go1.9.2")
	if got := must(t, s, "go1.21.3 X:boringcrypto", "1.21.3"); got != 0 {
		t.Errorf("an experiment takes part in the order: %d", got)
	}
	checkRefused(t, s, "", "go", "gopher", "devel", "(devel)", "devel go1.22-abcdef", "master", "1.2.x", "1.2.3beta.1", "1.2.3_4")
	checkValid(t, s, true, "v1.2.3", "1.2.3", "go1.21", "go1.21rc1", "v0.0.0-20190308221718-c2843e01d9a2", "v2.0.0+incompatible")
	checkValid(t, s, false, "v1.2.3.4", "v1.2.3-a_b")
}

// PEP 440, "Summary of permitted suffixes and relative ordering", and
// packaging's tests/test_version.py.
func TestPEP440(t *testing.T) {
	s := PEP440()
	checkChain(t, s,
		"1.0.dev456", "1.0a1", "1.0a2.dev456", "1.0a12.dev456", "1.0a12", "1.0b1.dev456", "1.0b2", "1.0b2.post345.dev456", "1.0b2.post345",
		"1.0rc1.dev456", "1.0rc1", "1.0 1.0.0 v1.0 01.0", "1.0+abc.5", "1.0+abc.7", "1.0+5", "1.0.post456.dev34", "1.0.post456", "1.1.dev1",
		"1.2+123abc", "1.2+123abc456", "1.2+abc", "1.2+abc123", "1.2+abc123def", "1.2+1234.abc", "1.2+123456", "1.2.r32+123456", "1.2.rev33+123456", "1!0.1")
	// Normalisation.
	checkChain(t, s, "1.0a1 1.0alpha1 1.0.A.1 1.0-ALPHA_1 1.0_a1", "1.0b1 1.0-beta-1", "1.0rc1 1.0c1 1.0pre1 1.0-preview.1", "1.0.post1 1.0-1 1.0-r1 1.0rev1 1.0_POST_1")
	checkChain(t, s, "1.0.dev 1.0.dev0 1.0-DEV 1.0.dev-", "1.0a 1.0a0 1.0a_", "1.0.post 1.0.post0")
	checkChain(t, s, "1.0+ubuntu.1 1.0+ubuntu-1 1.0+UBUNTU_1", "1.0+ubuntu.2")
	// Legacy versions: before all others, in setuptools' order.
	checkChain(t, s, "foo", "2012x", "2012y", "0.0.dev0", "1")
	checkChain(t, s, "0.1-dev-r5", "0.1-pre1-x", "0.1-final-x", "0.1-x", "0")
	checkValid(t, s, true, "1", " 1.0\n", "1!2.3.4rc5.post6.dev7+8.nine", "v1.0", "1.0-1", "2012b")
	checkValid(t, s, false, "", "1.0-", "1.0+", "1.0+a..b", "1.0+_", "1.0..1", "!1", "1!", "french toast", "1.0x", "1.0+é", "1.0 1")
}

// Maven's ComparableVersionTest and pom.html#version-order-specification.
func TestMaven(t *testing.T) {
	s := Maven()
	checkChain(t, s, "1-alpha2snapshot", "1-alpha2", "1-alpha-123", "1-beta-2", "1-beta123", "1-m2", "1-m11", "1-rc 1-cr", "1-rc2", "1-rc123",
		"1-SNAPSHOT", "1 1-ga 1-final 1.0 1.0.0 1.ga 1-release 1-0", "1-sp", "1-sp2", "1-sp123", "1-abc", "1-def", "1-pom-1", "1-1-snapshot", "1-1", "1-2", "1-123")
	checkChain(t, s, "2.0.1-klm", "2.0.1-lmn", "2.0.1-123", "2.0.1.1")
	checkChain(t, s, "1-alpha-1 1a1 1-a1 1.0.0-alpha1", "1-beta-1 1b1", "1-milestone-1 1m1", "1")
	checkChain(t, s, "1", "1a 1-a 1.0-a", "1b", "1m")
	checkChain(t, s, "1-alpha 1.0-alpha", "1 1.0", "1-x 1.0-x", "1.1-alpha")
	// The three that make no order.
	for _, pair := range [][2]string{{"1", "1-x"}, {"1-x", "1.0.alpha"}, {"1.0.alpha", "1"}} {
		checkChain(t, s, pair[0], pair[1])
	}
	checkChain(t, s, "1-1 1-ga-1 1-0-1 1--1", "1-2")
	checkChain(t, s, "20190126.230843", "1234567890.12345", "123456789012345.1H.5-beta", "12345678901234567890.1H.5-beta")
	checkChain(t, s, "4.1.100.Beta1", "4.1.100.CR1", "4.1.100 4.1.100.Final 4.1.100.GA 4.1.100.RELEASE", "4.1.101.Final")
	checkChain(t, s, "2.15.0-rc1", "2.15.0", "2.17.1", "10")
	checkChain(t, s, "31.1", "31.1-android", "31.1-jre", "32.0-android")
	checkChain(t, s, "", "1")
	checkValid(t, s, true, "1", "1.0-SNAPSHOT", "r09", "2.0.0.RELEASE", "20040616")
	checkValid(t, s, false, "", " ", "1 0", "${project.version}", "[1,2]/", "a:b", "1\t")
}

// learn.microsoft.com/nuget/concepts/package-versioning and NuGet.Versioning's tests.
func TestNuGet(t *testing.T) {
	s := NuGet()
	checkChain(t, s, "1.0.1-alpha.2 1.0.1-ALPHA.2", "1.0.1-alpha.10", "1.0.1-beta", "1.0.1-open", "1.0.1-rc.2", "1.0.1-rc.10", "1.0.1-zzz",
		"1.0.1 1.0.1.0 1.0.01 1.0.1+git.abc", "1.0.1.1-alpha", "1.0.1.1", "1.0.2")
	checkRefused(t, s, "", "a", ".1", "1.0 beta")
	checkValid(t, s, true, "1", "1.0", "1.2.3.4", "1.0.0-beta.1+5")
	checkValid(t, s, false, "1.2.3.4.5", "v1.0", "1.0beta", "1.0-a..b", "1.0+")
}

// rubygems' test_gem_version.rb.
func TestRubyGems(t *testing.T) {
	s := RubyGems()
	checkChain(t, s, "1.8.2.a", "1.8.2.a9", "1.8.2.a10", "1.8.2.b", "1.8.2 1.8.2.0 1.8.2.0.0", "1.8.2.1", "1.9")
	checkChain(t, s, "0.a", "0.beta.1 0.0.beta.1 0.0.beta.1.0", "0 0.0", "0.1.a", "0.1")
	checkChain(t, s, "5.a 5.0.0.a 5.a.0", "5.0.0.rc2", "5.x", "5.0.0.zz", "5.0.0")
	checkChain(t, s, "1.0-1 1.0.pre.1", "1.0-2 1.pre.2", "1.0 1")
	checkChain(t, s, "1.0.0.0.0.1.a", "1.0.0.0.0.1")
	checkChain(t, s, "99999999999999999999999999998", "99999999999999999999999999999")
	checkRefused(t, s, "\x00", "1\n1")
	checkValid(t, s, true, "1", "1.0.0", "1.a", "1.0.0.rc1", "1.0-x86", "", " 1 ")
	checkValid(t, s, false, "junk", "1..2", "1.2 3.4", "2.3422222.222.222222222.22222.ads0as.dasd0.ddd2222.2.qd3e.", "1.", "1-", "é")
}

// cocoapods-core's spec/version_spec.rb.
func TestCocoaPods(t *testing.T) {
	s := CocoaPods()
	checkChain(t, s, "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2 1.0.0.beta.2", "1.0.0-beta.11", "1.0.0 1.0 1 1.0.0+build", "1.0.0.1", "1.0.1-rc", "1.0.1")
	checkRefused(t, s, "", "junk")
	checkValid(t, s, true, "1", "1.2.3", "1.2.3-alpha.1+5", "1.2.beta")
	checkValid(t, s, false, "v1", "1.0-a..b")
}

// php-src's ext/standard/tests/versioning/version_compare.phpt.
func TestPackagist(t *testing.T) {
	s := Packagist()
	checkChain(t, s, "1.0-foo 1.0-xyz", "1.0-dev 1.0dev v1.0-dev", "1.0a1 1.0-alpha1 1.0.a.1", "1.0b1 1.0_beta1", "1.0RC1 1.0rc1", "1.0RC2", "1.0 v1.0 V1.0", "1.0.0", "1.0.1", "1.0pl1 1.0p1 1.0+patch1", "1.1")
	checkChain(t, s, "dev-main", "1.0")
	checkRefused(t, s, "", "v", "V")
	checkValid(t, s, true, "1.0", "v1.0", "dev-main", "1.0.x-dev")
	checkValid(t, s, false, "v", "-1", "1 0", "1.0é")
}

// pub_semver's test/version_test.dart.
func TestPub(t *testing.T) {
	s := Pub()
	checkChain(t, s, "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0-rc.1+build.1", "1.0.0", "1.0.0+0.3.7", "1.3.7+build", "1.3.7+build.2.b8f12d7", "1.3.7+build.11.e0f985a", "2.0.0", "2.1.0")
	checkRefused(t, s, "", "a")
	checkValid(t, s, true, "1.2.3", "1.2.3-a+b")
	checkValid(t, s, false, "1.2", "1", "1.2.3.4", "1.2.3a")
}

// bitnami/go-version's tests: a number behind the hyphen is a revision.
func TestBitnami(t *testing.T) {
	s := Bitnami()
	checkChain(t, s, "1.2.3-alpha", "1.2.3-rc.1", "1.2.3 1.2.3-0 1.2.3+b", "1.2.3-1", "1.2.3-2", "1.2.3-10", "1.2.4")
	checkRefused(t, s, "", "nightly.2026-03-10.0")
}

// R's ?numeric_version.
func TestCRAN(t *testing.T) {
	s := CRAN()
	checkChain(t, s, "0.9 0-9", "0.75", "1", "1.0", "1.0-0 1.0.0 1-0-0 01.00.0", "1.0-1", "1.1", "1.10")
	checkRefused(t, s, "", "1.", "1..2", "a", "1.0a", "-1", "1_2")
	checkValid(t, s, true, "1", "1.2-3")
}

// pvp.haskell.org.
func TestHackage(t *testing.T) {
	s := Hackage()
	checkChain(t, s, "0", "0.1", "0.1.0", "0.1.0.0", "0.2", "0.10", "1")
	checkRefused(t, s, "", "1-2", "1.", "1.a")
}

// opam's manual, "Version ordering".
func TestOpam(t *testing.T) {
	s := Opam()
	checkChain(t, s, "~~", "~", "~beta2", "~beta10", "0.1", "1.0~beta", "1.0", "1.0-test", "1.0.1", "1.0.10", "dev", "trunk")
	checkRefused(t, s, "")
	checkValid(t, s, true, "1.0~beta", "v0.16.0", "4.14.0+options")
	checkValid(t, s, false, "1 0", "1:0", "1/0")
}

// conda's tests/models/test_version.py.
func TestConda(t *testing.T) {
	s := Conda()
	checkChain(t, s, "0.4 0.4.0", "0.4.1.rc 0.4.1.RC", "0.4.1", "0.5a1", "0.5b3", "0.5C1", "0.5", "0.9.6", "0.960923", "1.0", "1.1dev1", "1.1a1", "1.1.0dev1 1.1.dev1", "1.1.a1", "1.1.0rc1", "1.1.0 1.1", "1.1.0post1 1.1.post1", "1.1post1", "1996.07.12", "1!0.4.1", "1!3.1.1.6", "2!0.4.1")
	checkChain(t, s, "1.0.1dev", "1.0.1_", "1.0.1a", "1.0.1b", "1.0.1", "1.0.1post.a", "1.0.1post.z", "1.0.1post.za", "1.0.2")
	checkChain(t, s, "1.0+a", "1.0", "1.0+1")
	checkRefused(t, s, "", "1..2", "5.5++", "5.5+", "a!1", "1!2!3", "1-2_3", "1.0 2", "1+2!3", "!1", "1,2", "1.*", "1+a_", "+1")
	checkValid(t, s, true, "1", "1-2", "1.0.1_", "2!1.0+5")
}

// conans/test/unittests/model/version/test_version_comparison.py.
func TestConan(t *testing.T) {
	s := Conan()
	checkChain(t, s, "1.1.1-alpha", "1.1.1-rc.1", "1.1.1 1.1.1.0", "1.1.1+1", "1.1.1a", "1.1.1k", "1.1.2", "1.1.10", "1.2", "cci.20220101")
	checkRefused(t, s, "", "-1", "+1")
	checkValid(t, s, true, "1.2.3", "cci.20200101", "1.1.1k")
	checkValid(t, s, false, "1 2", "[>1]")
}
