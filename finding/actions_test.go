package finding

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

func judgedResult(kind bollwerk.ArtifactKind, ps []bollwerk.Package, fs ...bollwerk.Finding) *bollwerk.Result {
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	r := &bollwerk.Result{
		Target: bollwerk.Artifact{Name: "app", Kind: kind}, Packages: ps, Findings: fs, Started: now,
		Database: bollwerk.DatabaseInfo{AsOf: now, Records: 1}, Coverage: []bollwerk.Coverage{{Area: "files", Verdict: bollwerk.Pass}},
	}
	Judge(r, nil)
	return r
}

func lines(as []bollwerk.Action) string {
	var b strings.Builder
	for _, a := range as {
		fmt.Fprintf(&b, "%s %s: %s [%d] %s\n", a.Priority, a.Kind, a.Title, len(a.Removes), a.Command)
	}
	return b.String()
}

func expect(t *testing.T, r *bollwerk.Result, want ...string) {
	t.Helper()
	if got, w := lines(r.Actions), strings.Join(want, "\n")+"\n"; got != w && !(len(want) == 0 && got == "") {
		t.Errorf("got\n%swant\n%s", got, w)
	}
	// Everything that an action removes is a finding that counts, and is removed by
	// one action only.
	seen := map[bollwerk.FindingID]bool{}
	for _, a := range r.Actions {
		for _, id := range a.Removes {
			if seen[id] {
				t.Errorf("%s is removed twice", id)
			}
			seen[id] = true
			i := slices.IndexFunc(r.Findings, func(f bollwerk.Finding) bool { return f.Fingerprint == id })
			if i < 0 || !judged(&r.Findings[i]) {
				t.Errorf("%s removes %s, which does not count", a.Title, id)
			}
		}
	}
}

func TestActionForOnePackage(t *testing.T) {
	p := pkg("npm", "lodash", "4.17.4", "package-lock.json")
	expect(t, judgedResult(bollwerk.KindDirectory, nil,
		vuln("CVE-1", critical, p, "4.17.12"), vuln("CVE-2", high, p, "4.17.21"), vuln("CVE-3", medium, p, "4.17.5"), vuln("CVE-4", medium, p)),
		"soon upgrade-package: upgrade lodash from 4.17.4 to 4.17.21 [3] npm install lodash@4.17.21")
}

// A fix in another release branch does not count as the fix of this one.
func TestSmallestFix(t *testing.T) {
	for _, c := range []struct {
		eco       bollwerk.Ecosystem
		installed string
		fixes     [][]string
		want      string
	}{
		{"Maven", "2.14.1", [][]string{{"2.3.1", "2.12.2", "2.15.0"}, {"2.12.2", "2.16.0"}, {"2.3.2", "2.12.4", "2.17.1"}}, "2.17.1"},
		{"Maven", "2.11.0", [][]string{{"2.12.2", "2.15.0"}, {"2.12.4", "2.17.1"}}, "2.12.4"},
		// 2.15.0 lies between the branches of the first: not known to be fixed.
		{"Maven", "2.11.0", [][]string{{"2.12.4", "2.17.1"}, {"2.15.0"}}, "2.17.1"},
		{"PyPI", "4.2.0", [][]string{{"3.2.25", "4.2.11", "5.0.3"}, {"3.2.24", "4.2.10", "5.0.2"}, {"4.2.12", "5.0.4"}}, "4.2.12"},
		{"npm", "5.7.0", [][]string{{"5.7.2", "6.3.1", "7.5.2"}}, "5.7.2"},
		{"npm", "7.0.0", [][]string{{"5.7.2", "6.3.1", "7.5.2"}, {"7.3.0"}}, "7.5.2"},
		{"Debian:12", "1:2.3-1", [][]string{{"1:2.3-1+deb12u2"}, {"1:2.3-1+deb12u10"}}, "1:2.3-1+deb12u10"},
		{"Go", "0.7.0", [][]string{{"0.17.0"}, {"0.13.0"}, {"0.9.0"}}, "0.17.0"},
		{"npm", "1.0.0", [][]string{{"0.9.0"}}, "0.9.0"}, // only a fix behind is named: it is said as it is
	} {
		var fs []*bollwerk.Finding
		for i, list := range c.fixes {
			f := vuln(fmt.Sprint("CVE-", i), high, pkg(c.eco, "x", c.installed), list...)
			fs = append(fs, &f)
		}
		if got := smallestFix(orderOf(c.eco), c.installed, fs); got != c.want {
			t.Errorf("%s %s %v: %s, want %s", c.eco, c.installed, c.fixes, got, c.want)
		}
	}
}

func TestActionForTheBaseImage(t *testing.T) {
	base := &bollwerk.LayerRef{FromBase: true}
	own := &bollwerk.LayerRef{Index: 2}
	in := func(f bollwerk.Finding, l *bollwerk.LayerRef) bollwerk.Finding { f.Layer = l; return f }
	deb := func(name string) *bollwerk.FindingPackage {
		return pkg("Debian:12", name, "1.0-1", "var/lib/dpkg/status")
	}
	r := &bollwerk.Result{
		Target:   bollwerk.Artifact{Name: "app", Kind: bollwerk.KindImage, BaseImage: &bollwerk.BaseImage{Name: "debian:12-slim"}},
		Database: bollwerk.DatabaseInfo{Records: 1, AsOf: time.Now()},
		Findings: []bollwerk.Finding{
			in(vuln("CVE-1", high, deb("openssl"), "1.0-2"), base), in(vuln("CVE-2", low, deb("zlib1g"), "1.0-2"), base), in(vuln("CVE-3", critical, deb("perl")), base),
			in(vuln("CVE-4", medium, pkg("PyPI", "pip", "23.0", "usr/lib/python3/dist-packages/pip"), "23.3"), base),
			in(vuln("CVE-5", high, deb("nginx"), "1.0-3"), own), in(vuln("CVE-6", medium, deb("curl"), "1.0-3"), own),
			in(vuln("CVE-7", medium, deb("git"), "1.0-3"), own),
			in(withKEV(vuln("CVE-8", medium, pkg("npm", "lodash", "4.0.0", "app/package-lock.json"), "4.17.21"), false), own),
		},
	}
	Judge(r, nil)
	expect(t, r,
		"now upgrade-package: upgrade lodash from 4.0.0 to 4.17.21 [1] npm install lodash@4.17.21",
		"soon upgrade-base: rebuild on the current debian:12-slim [3] docker build --pull .",
		"soon upgrade-system: rebuild without cache, your layers install old Debian packages: nginx, curl and 1 more [3] docker build --no-cache --pull .")
}

func TestActionsForAHost(t *testing.T) {
	p := func(name, source string) *bollwerk.FindingPackage {
		x := pkg("Debian:12", name, "3.0.11-1", "var/lib/dpkg/status")
		x.Source = &bollwerk.SourcePackage{Name: source, Version: "3.0.11-1"}
		return x
	}
	few := judgedResult(bollwerk.KindHost, nil,
		vuln("CVE-1", high, p("libssl3", "openssl"), "3.0.14-1"), vuln("CVE-1", high, p("openssl", "openssl"), "3.0.14-1"), vuln("CVE-2", high, p("libssl3", "openssl"), "3.0.13-1"))
	expect(t, few, "soon upgrade-package: upgrade openssl (2 packages) from 3.0.11-1 to 3.0.14-1 [3] apt-get update && apt-get install --only-upgrade libssl3 openssl")
	var many []bollwerk.Finding
	for _, s := range []string{"a", "b", "c", "d", "e"} {
		many = append(many, vuln("CVE-1", medium, p("lib"+s, s), "4"))
	}
	expect(t, judgedResult(bollwerk.KindHost, nil, many...), "later upgrade-system: upgrade 5 Debian packages: a, b and 3 more [5] apt-get update && apt-get upgrade")
}

func TestActionNamesWhoBringsIt(t *testing.T) {
	yes, no := true, false
	mk := func(name string, direct *bool, deps ...string) bollwerk.Package {
		p := bollwerk.Package{PURL: bollwerk.PURL("pkg:npm/" + name + "@1.0.0"), Name: name, Version: "1.0.0", Ecosystem: "npm", Direct: direct}
		for _, d := range deps {
			p.DependsOn = append(p.DependsOn, bollwerk.PURL("pkg:npm/"+d+"@1.0.0"))
		}
		return p
	}
	ps := []bollwerk.Package{mk("app", nil, "express", "mocha"), mk("express", &yes, "send"), mk("mocha", &yes, "deep"), mk("send", &no, "mime"), mk("deep", &no, "deeper"), mk("deeper", &no, "mime"), mk("mime", &no, "mime", "send")}
	p := pkg("npm", "mime", "1.0.0", "package-lock.json")
	q := pkg("npm", "express", "1.0.0", "package-lock.json")
	r := judgedResult(bollwerk.KindDirectory, ps, vuln("CVE-1", high, p, "2.0.0"), vuln("CVE-2", medium, q, "3.0.0"))
	expect(t, r,
		"soon upgrade-package: upgrade mime from 1.0.0 to 2.0.0 (brought by express, mocha) [1] npm update mime",
		"later upgrade-package: upgrade express from 1.0.0 to 3.0.0 [1] npm install express@3.0.0")
	var names []string
	for _, x := range newDependencies(ps).chain(p.PURL) {
		names = append(names, x.Name)
	}
	if got := strings.Join(names, ">"); got != "express>send>mime" {
		t.Errorf("chain %s", got)
	}
}

func TestActionsForPrograms(t *testing.T) {
	in := func(name, v string) *bollwerk.FindingPackage { return pkg("Go", name, v, "usr/local/bin/kubectl") }
	r := judgedResult(bollwerk.KindImage, nil,
		vuln("CVE-1", high, in("stdlib", "1.21.0"), "1.21.8", "1.22.1"), vuln("CVE-2", medium, in("golang.org/x/net", "0.7.0"), "0.17.0"),
		vuln("CVE-3", medium, in("golang.org/x/crypto", "0.1.0"), "0.17.0"))
	expect(t, r, "soon upgrade-package: rebuild or replace usr/local/bin/kubectl: needs Go 1.21.8, golang.org/x/crypto 0.17.0 and 1 more [3] ")
	src := judgedResult(bollwerk.KindDirectory, nil, vuln("CVE-1", high, pkg("Go", "stdlib", "1.21.0", "svc/go.mod"), "1.21.8"), vuln("CVE-2", low, pkg("Go", "golang.org/x/net", "0.7.0", "svc/go.mod"), "0.17.0"))
	expect(t, src,
		"soon upgrade-package: build with Go 1.21.8 or newer (now 1.21.0) [1] cd svc && go get go@1.21.8",
		"later upgrade-package: upgrade golang.org/x/net from 0.7.0 to 0.17.0 [1] cd svc && go get golang.org/x/net@v0.17.0")
}

func TestActionsForOtherKinds(t *testing.T) {
	evil := pkg("npm", "evil", "6.6.6", "package-lock.json")
	one := with(secret("a/.env", high), func(f *bollwerk.Finding) { f.SecretHash = "h1" })
	two := with(secret("b/.env", high), func(f *bollwerk.Finding) { f.SecretHash = "h1" })
	env := with(secret("", high), func(f *bollwerk.Finding) { f.SecretHash = "h2"; f.Title = "GitHub token" })
	r := judgedResult(bollwerk.KindDirectory, nil,
		with(vuln("MAL-1", unknown, evil), func(f *bollwerk.Finding) { f.Kind = bollwerk.KindMalware }), vuln("CVE-1", high, evil, "7"),
		one, two, env, standard("add-user", "enforce", high), standard("rehearsed", "observe", high),
		withKEV(vuln("CVE-2", high, pkg("npm", "dead", "1.0.0", "package-lock.json")), false), vuln("CVE-3", critical, pkg("npm", "nofix", "1.0.0")),
		with(vuln("CVE-4", critical, pkg("npm", "excepted", "1.0.0"), "2"), func(f *bollwerk.Finding) { f.Suppressed = &bollwerk.Suppression{By: "exception"} }))
	expect(t, r,
		"now remove-package: remove evil 6.6.6: it is malicious, and where it was installed is compromised [2] npm uninstall evil",
		"now rotate-secret: revoke the AWS key in a/.env (and 1 more), then remove it [2] ",
		"now remove-package: remove dead 1.0.0 or shield it: it is being exploited and no fix exists [1] ",
		"now rotate-secret: revoke the GitHub token in the image configuration, then remove it [1] ",
		"soon change-image: do add-user [1] ")
}

func TestActionForOldAdvisories(t *testing.T) {
	now := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name string
		db   bollwerk.DatabaseInfo
		want string
	}{
		{"fresh", bollwerk.DatabaseInfo{Records: 1, AsOf: now.AddDate(0, 0, -7)}, ""},
		{"old", bollwerk.DatabaseInfo{Records: 1, AsOf: now.AddDate(0, 0, -8)}, "later update-database: update the advisories: these are from 2026-11-12 [0] bollwerk db update\n"},
		{"starter", bollwerk.DatabaseInfo{Records: 1, AsOf: now, Starter: true}, "later update-database: update the advisories: these are from 2026-11-20 [0] bollwerk db update\n"},
		{"none", bollwerk.DatabaseInfo{}, "soon update-database: load an advisory database: no advisories were available [0] bollwerk db update\n"},
	} {
		r := &bollwerk.Result{Started: now, Database: c.db, Packages: []bollwerk.Package{{}}}
		if got := lines(Actions(r)); got != c.want {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

// A line that people copy into a shell holds nothing that a stranger could have
// meant for the shell.
func TestCommandsAreSafe(t *testing.T) {
	hostile := []string{"a; rm -rf ~", "$(id)", "`id`", "a\nb", "--registry=http://evil", "a b", "a'b", `a"b`, "a|b", "a>b", "a&b", "~root", "a=~/x", "", "\u202eabc", "a*b", "a?b", "{a,b}", "a!b", "#a", "\x1b[2J", strings.Repeat("a", 300)}
	for _, eco := range []bollwerk.Ecosystem{"npm", "PyPI", "Go", "Maven", "RubyGems", "crates.io", "Packagist", "NuGet", "Hex", "Pub", "CocoaPods", "Conda", "CRAN", "Julia", "opam", "Debian:12", "Alpine:v3.19", "Rocky Linux:9", "openSUSE:Leap"} {
		for _, bad := range hostile {
			for _, direct := range []bool{true, false} {
				if c := upgradeCommand(pkg(eco, bad, "1", "package-lock.json"), "2", direct); c != "" {
					t.Errorf("%s %q: %s", eco, bad, c)
				}
				if c := upgradeCommand(pkg(eco, "good", "1", "package-lock.json"), bad, direct); c != "" && strings.Contains(c, bad) && bad != "" {
					t.Errorf("%s to %q: %s", eco, bad, c)
				}
			}
			if c := removeCommand(pkg(eco, bad, "1")); c != "" {
				t.Errorf("%s %q: %s", eco, bad, c)
			}
			if c := upgradeSystemCommand(eco, []string{bad}); c != upgradeAllCommand(eco) {
				t.Errorf("%s %q: %s", eco, bad, c)
			}
			b := &actionBuilder{r: &bollwerk.Result{Target: bollwerk.Artifact{Kind: bollwerk.KindDirectory}}}
			if bad != "" {
				if c := b.inFolder(pkg(eco, "x", "1", bad+"/package-lock.json"), "npm update x"); c != "" && bad != "~root" || strings.Contains(c, bad) {
					t.Errorf("folder %q: %s", bad, c)
				}
			}
		}
	}
	for file, want := range map[string]string{
		"yarn.lock": "yarn upgrade @babel/core@7.1.0", "pnpm-lock.yaml": "pnpm update @babel/core@7.1.0", "package-lock.json": "npm install @babel/core@7.1.0", "bun.lock": "bun update @babel/core",
	} {
		if c := upgradeCommand(pkg("npm", "@babel/core", "7.0.0", file), "7.1.0", true); c != want {
			t.Errorf("%s: %s", file, c)
		}
	}
}

// Whoever draws the graph of a lock file cannot make the search for who brings a
// package long: the steps are counted, and a way is named all the same.
func TestDependencySearchIsBounded(t *testing.T) {
	const n = 600
	yes := true
	ps := make([]bollwerk.Package, n)
	for i := range ps {
		ps[i] = bollwerk.Package{PURL: bollwerk.PURL(fmt.Sprintf("pkg:npm/p%03d@1.0.0", i)), Name: fmt.Sprintf("p%03d", i), Version: "1.0.0"}
		for j := range i {
			ps[j].DependsOn = append(ps[j].DependsOn, ps[i].PURL)
		}
	}
	ps[0].Direct, ps[1].Direct = &yes, &yes
	// A circle that nobody asked for.
	ps = append(ps, bollwerk.Package{PURL: "pkg:npm/x@1", Name: "x", DependsOn: []bollwerk.PURL{"pkg:npm/y@1"}}, bollwerk.Package{PURL: "pkg:npm/y@1", Name: "y", DependsOn: []bollwerk.PURL{"pkg:npm/x@1"}})
	d := newDependencies(ps)
	for i := 2; i < n; i++ {
		names := d.roots(ps[i].PURL)
		if len(names) == 0 || names[0] != "p000" {
			t.Fatalf("%s is brought by %v", ps[i].Name, names)
		}
	}
	if d.budget < -n {
		t.Errorf("%d steps over the bound", -d.budget)
	}
	if names := d.roots("pkg:npm/x@1"); names != nil {
		t.Errorf("nobody asked for x, yet %v bring it", names)
	}
	if names := d.roots("pkg:npm/unknown@1"); names != nil || len(d.chain("pkg:npm/unknown@1")) != 0 {
		t.Errorf("unknown package: %v", names)
	}
}
