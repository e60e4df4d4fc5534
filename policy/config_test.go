package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

const config = `# decisions of team shop
exceptions:
  - id: openssl-wait
    reason: no fix for bookworm yet; the port is not reachable
    owner: shop@example.org
    approver: ciso@example.org
    ticket: SEC-12
    expires: 2026-06-30
    scope:
      issues: [CVE-2024-0001]
      packages: ["openssl*"]
  - id: su-stays
    reason: the entry point drops rights with it
    owner: shop@example.org
    expires: 2026-03-01
    scope:
      policies: [setuid-files]
      paths: [/usr/bin/su]
      artifacts: ["*shop*"]
policies:
  runs-as-root: {mode: enforce, severity: critical}
  image-too-old:
    parameters: {max_age: 30d}
  mutable-tag:
    disabled: we deploy by digest
policy-folders: [security/policies]
fail-on: [high, kev]
exception-horizon: 90d
`

func load(t testing.TB, s string) *policy.Config {
	t.Helper()
	c, err := policy.LoadConfig(strings.NewReader(s), ".bollwerk.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadConfig(t *testing.T) {
	c := load(t, config)
	if len(c.Exceptions) != 2 || c.Exceptions[0].Ticket != "SEC-12" || c.Exceptions[1].Expires != "2026-03-01" || len(c.PolicyFolders) != 1 ||
		fmt.Sprint(c.FailOn) != "[high kev]" || c.Horizon != 90*24*time.Hour {
		t.Errorf("%+v", c)
	}
	active, disabled, err := c.Override(shipped(t))
	if err != nil {
		t.Fatal(err)
	}
	if disabled["mutable-tag"] != "we deploy by digest" || len(disabled) != 1 || len(active) != len(shipped(t))-1 {
		t.Errorf("disabled %v, %d active", disabled, len(active))
	}
	if p := only(active, "runs-as-root")[0]; p.Mode != policy.Enforce || p.Severity != bollwerk.SeverityCritical {
		t.Errorf("%+v", p)
	}
	if p := only(shipped(t), "runs-as-root")[0]; p.Mode != policy.Warn {
		t.Error("the shipped policy was changed")
	}
	if p := c.Parameters(); fmt.Sprint(p) != "map[image-too-old:map[max_age:30d]]" {
		t.Error(p)
	}
	if c := load(t, ""); len(c.Exceptions) != 0 || c.Horizon != policy.DefaultHorizon {
		t.Errorf("%+v", c)
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"no reason", "    reason: no fix for bookworm yet; the port is not reachable\n", "", ".bollwerk.yaml:3: exception openssl-wait: reason is missing; whoever reviews it later"},
		{"an empty reason", "reason: the entry point drops rights with it", "reason: \"\"", ".bollwerk.yaml:12: exception su-stays: reason is missing"},
		{"no owner", "    owner: shop@example.org\n    approver", "    approver", "owner is missing; somebody has to answer for it"},
		{"no end", "    expires: 2026-06-30\n", "", "expires is missing; an exception without an end hides the next incident"},
		{"never", "2026-06-30", "never", `expires "never": want a date like 2026-12-31`},
		{"a day that does not exist", "2026-06-30", "2026-06-31", `expires "2026-06-31"`},
		{"a misspelt end", "expires: 2026-06-30", "expire: 2026-06-30", `.bollwerk.yaml:8: exception: unknown key "expire"; did you mean "expires"?`},
		{"no id", "- id: su-stays\n    reason", "- reason", "id is missing"},
		{"the same id", "su-stays", "openssl-wait", "the id is used in line 3 already"},
		{"a scope without issues", "      issues: [CVE-2024-0001]\n", "", "scope names no issues, policies or kinds, so it would cover nothing"},
		{"a misspelt scope", "issues:", "issue:", `unknown key "issue"; did you mean "issues"?`},
		{"an unknown kind", "issues: [CVE-2024-0001]", "kinds: [vulnerabilty]", `kind "vulnerabilty": want vulnerability, malware, secret, standard, notice, detection; did you mean "vulnerability"?`},
		{"an empty pattern", "[CVE-2024-0001]", `[""]`, "an empty pattern"},
		{"a bad mode", "mode: enforce", "mode: block", `mode "block"`},
		{"disabled without a reason", "disabled: we deploy by digest", "disabled: true", "disabled: want text"},
		{"a bad horizon", "90d", "soon", "exception-horizon: want a positive duration"},
		{"an unknown key", "fail-on", "failon", `unknown key "failon"; did you mean "fail-on"?`},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := strings.Replace(config, c.from, c.to, 1)
			if doc == config {
				t.Fatal("the case changes nothing")
			}
			_, err := policy.LoadConfig(strings.NewReader(doc), ".bollwerk.yaml")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestOverrideRefuses(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{"policies: {runs-as-rot: {mode: warn}}", `.bollwerk.yaml:1: policies: there is no policy "runs-as-rot"; did you mean "runs-as-root"?`},
		{"policies:\n  image-too-old:\n    parameters: {max_age: old}", `.bollwerk.yaml:2: policies.image-too-old.parameters.max_age: duration "old"`},
		{"policies:\n  image-too-old:\n    parameters: {maxage: 3d}", `policy image-too-old has no parameter "maxage"; did you mean "max_age"?`},
	} {
		if _, _, err := load(t, c.doc).Override(shipped(t)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", c.doc, err)
		}
	}
}

func finding(id string, more func(*bollwerk.Finding)) bollwerk.Finding {
	f := bollwerk.Finding{ID: id, Kind: bollwerk.KindVulnerability, Fingerprint: "abcdefghijkl", Aliases: []string{"GHSA-xxxx-yyyy-zzzz", "CVE-2024-0001"},
		Package: &bollwerk.FindingPackage{Name: "libssl3", PURL: "pkg:deb/debian/libssl3@3.0.11?arch=amd64", Source: &bollwerk.SourcePackage{Name: "openssl"}, Paths: []string{"var/lib/dpkg/status"}}}
	if more != nil {
		more(&f)
	}
	return f
}

func TestApply(t *testing.T) {
	on := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	suid := func() bollwerk.Finding {
		return bollwerk.Finding{ID: "setuid-files", Kind: bollwerk.KindStandard, Policy: "setuid-files", Path: "usr/bin/su"}
	}
	c := load(t, config)
	for _, x := range []struct {
		name, artifact, now string
		hidden              []bool // the CVE, the set-uid file
		expired, unused     string
	}{
		{"both hold", "shop:1", "2026-02-01T12:00:00Z", []bool{true, true}, "", ""},
		{"the last day still counts", "shop:1", "2026-03-01T23:59:59Z", []bool{true, true}, "", ""},
		{"the next moment does not", "shop:1", "2026-03-02T00:00:00Z", []bool{true, false}, "su-stays", ""},
		{"the end is in UTC", "shop:1", "2026-03-02T00:30:00+01:00", []bool{true, true}, "", ""},
		{"another artifact", "blog:1", "2026-02-01T12:00:00Z", []bool{true, false}, "", ""},
		{"all expired", "shop:1", "2027-01-01T00:00:00Z", []bool{false, false}, "openssl-wait su-stays", ""},
	} {
		fs := []bollwerk.Finding{finding("CVE-2024-0001", nil), suid()}
		expired, unused := c.Apply(fs, x.artifact, on(x.now))
		for i, want := range x.hidden {
			if (fs[i].Suppressed != nil) != want {
				t.Errorf("%s: %s hidden: %v", x.name, fs[i].ID, !want)
			}
		}
		if ids(expired) != x.expired || ids(unused) != x.unused {
			t.Errorf("%s: expired %q, unused %q", x.name, ids(expired), ids(unused))
		}
	}
	fs := []bollwerk.Finding{finding("CVE-2024-0001", nil)}
	_, unused := c.Apply(fs, "shop:1", on("2026-02-01T12:00:00Z"))
	if ids(unused) != "su-stays" {
		t.Errorf("unused %q, want su-stays", ids(unused))
	}
	s := fs[0].Suppressed
	if s == nil || s.By != "exception" || s.Status != "excepted" || s.Owner != "shop@example.org" || s.Expires != "2026-06-30" || s.Source != ".bollwerk.yaml:3" || s.Statement != "openssl-wait" {
		t.Errorf("%+v", s)
	}
	vex := &bollwerk.Suppression{By: "vex"}
	fs = []bollwerk.Finding{finding("CVE-2024-0001", func(f *bollwerk.Finding) { f.Suppressed = vex })}
	if _, unused := c.Apply(fs, "x", on("2026-02-01T12:00:00Z")); fs[0].Suppressed != vex || len(unused) != 0 {
		t.Errorf("a VEX statement was replaced, or its exception called unused")
	}
}

func ids(xs []bollwerk.Exception) string {
	var out []string
	for _, x := range xs {
		out = append(out, x.ID)
	}
	return strings.Join(out, " ")
}

func TestScope(t *testing.T) {
	standard := func(f *bollwerk.Finding) {
		f.Kind, f.Policy, f.Package, f.Path = bollwerk.KindStandard, "setuid-files", nil, "usr/bin/su"
	}
	for _, c := range []struct {
		scope string
		more  func(*bollwerk.Finding)
		want  bool
	}{
		{"{issues: [CVE-2024-9]}", nil, true},
		{"{issues: [cve-2024-9]}", nil, true},
		{"{issues: [CVE-2024-0001]}", nil, true}, // an alias
		{"{issues: [ghsa-XXXX-*]}", nil, true},
		{"{issues: [CVE-2024-99]}", nil, false},
		{"{issues: [abcdefghijkl]}", nil, true}, // the fingerprint
		{"{issues: [abcdefghijk]}", nil, false},
		{"{issues: [x, CVE-2024-9]}", nil, true},
		{"{issues: ['*'], packages: [libssl3]}", nil, true},
		{"{issues: ['*'], packages: [openssl]}", nil, true},
		{"{issues: ['*'], packages: ['pkg:deb/debian/libssl3@3.0.11']}", nil, true},
		{"{issues: ['*'], packages: ['pkg:deb/debian/libssl3']}", nil, true},
		{"{issues: ['*'], packages: ['pkg:deb/debian/*?arch=amd64']}", nil, true},
		{"{issues: ['*'], packages: [libssl]}", nil, false},
		{"{issues: ['*'], packages: [libssl3]}", standard, false},
		{"{issues: ['*'], packages: ['pkg:npm/@babel/core']}", func(f *bollwerk.Finding) {
			f.Package = &bollwerk.FindingPackage{Name: "@babel/core", PURL: "pkg:npm/@babel/core@7"}
		}, true},
		{"{issues: ['*'], paths: [/var/lib/dpkg/*]}", nil, true},
		{"{issues: ['*'], paths: [var/lib/rpm/*]}", nil, false},
		{"{policies: [setuid-files]}", standard, true},
		{"{policies: ['*']}", nil, false},
		{"{policies: [setuid-files], paths: [usr/bin/passwd]}", standard, false},
		{"{policies: [setuid-files], kinds: [secret]}", standard, false},
		{"{kinds: [vulnerability], packages: [libssl3]}", nil, true},
		{"{kinds: [secret]}", nil, false},
		{"{issues: [CVE-2024-9], policies: [x]}", nil, false},
	} {
		doc := "exceptions:\n- {id: a, reason: r, owner: o, expires: 2026-12-31, scope: " + c.scope + "}"
		f := []bollwerk.Finding{finding("CVE-2024-9", c.more)}
		load(t, doc).Apply(f, "a", day)
		if got := f[0].Suppressed != nil; got != c.want {
			t.Errorf("%s: covers %v", c.scope, got)
		}
	}
}

func TestConfigLint(t *testing.T) {
	c := load(t, config+"")
	say := func(c *policy.Config) string {
		var b strings.Builder
		for _, p := range c.Lint(day) {
			fmt.Fprintln(&b, p)
		}
		return b.String()
	}
	if got := say(c); got != ".bollwerk.yaml:3: warning: exception openssl-wait lasts until 2026-06-30, more than 90 days; nobody will look at it again in time (horizon)\n" {
		t.Error(got)
	}
	c = load(t, strings.Replace(strings.Replace(config, "2026-06-30", "2026-02-28", 1), "[setuid-files]\n      paths: [/usr/bin/su]\n      artifacts: [\"*shop*\"]", "['*']", 1))
	if got := say(c); !strings.Contains(got, "openssl-wait expired on 2026-02-28 and hides nothing any more") || !strings.Contains(got, ":12: warning: exception su-stays covers everything") {
		t.Error(got)
	}
}

func FuzzLoadConfig(f *testing.F) {
	f.Add([]byte(config))
	f.Add([]byte("exceptions: [{id: a, reason: r, owner: o, expires: 2026-12-31, scope: {issues: '*'}}]"))
	ps := shipped(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := policy.LoadConfig(strings.NewReader(string(b)), "f")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f") {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		for _, x := range c.Exceptions {
			if x.ID == "" || x.Reason == "" || x.Owner == "" || x.Expires == "" || len(x.Scope.Issues)+len(x.Scope.Policies)+len(x.Scope.Kinds) == 0 {
				t.Fatalf("accepted %+v", x)
			}
		}
		fs := []bollwerk.Finding{finding("CVE-1", nil)}
		expired, _ := c.Apply(fs, "a", day)
		if len(expired) > len(c.Exceptions) || len(c.Exceptions) == len(expired) && fs[0].Suppressed != nil {
			t.Fatal("an expired exception hid something")
		}
		c.Lint(day)
		_, _, _ = c.Override(ps)
	})
}
