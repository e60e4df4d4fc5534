package system

import (
	"archive/zip"
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// advisory is one line of testdata/debian12.jsonl.gz: facts of a Debian record in
// the OSV layout.
type advisory struct {
	ID       string   `json:"id"`
	Modified string   `json:"modified"`
	Upstream []string `json:"upstream"`
	Affected []struct {
		Package struct{ Ecosystem, Name string } `json:"package"`
		Ranges  []struct {
			Type   string              `json:"type"`
			Events []map[string]string `json:"events"`
		} `json:"ranges"`
	} `json:"affected"`
}

// untrue names records whose fixed version is not what bookworm calls the fix. They
// are left out of the database and of the oracle alike.
var untrue = map[string]string{
	"DEBIAN-CVE-2022-2309": "fixed in libxml2 2.9.14+dfsg-1.3, which bookworm ships rebuilt as 2.9.14+dfsg-1.3~deb12uN; dpkg orders that before it",
}

// debianAdvisories reads the facts, and returns the raw lines too.
func debianAdvisories(t *testing.T) ([]advisory, [][]byte) {
	t.Helper()
	f, err := os.Open("testdata/debian12.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []advisory
	var raw [][]byte
	sc := bufio.NewScanner(zr)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		var a advisory
		if err := json.Unmarshal(sc.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		if untrue[a.ID] != "" {
			continue
		}
		out = append(out, a)
		raw = append(raw, []byte(sc.Text()))
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	if len(out) < 7000 {
		t.Fatalf("only %d advisories: the file is not whole", len(out))
	}
	return out, raw
}

// buildDatabase writes the lines as an OSV mirror and compiles it.
func buildDatabase(t *testing.T, raw [][]byte) string {
	t.Helper()
	dir := t.TempDir()
	eco := filepath.Join(dir, "mirror", "osv", "Debian")
	if err := os.MkdirAll(eco, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(eco, "all.zip"))
	if err != nil {
		t.Fatal(err)
	}
	zw := zip.NewWriter(f)
	for _, line := range raw {
		var id struct{ ID string }
		if err := json.Unmarshal(line, &id); err != nil {
			t.Fatal(err)
		}
		w, err := zw.Create(id.ID + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "mirror", "osv", "ecosystems.txt"), []byte("Debian\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(dir, "advisories.db")
	if o := bollwerkRun(t, nil, "db", "build", "--quiet", "--from", filepath.Join(dir, "mirror"), "--output", db); o.code != 0 {
		t.Fatalf("db build: exit %d\n%s", o.code, o.stderr)
	}
	return db
}

// bookworm makes a Debian 12 root without security updates, kept in the user's
// cache folder until its recipe changes.
func bookworm(t *testing.T) string {
	t.Helper()
	need(t, "debootstrap", "dpkg", "dpkg-query", "apt-get")
	const include = "python3-minimal,php8.2-cli,openssl,libxml2,perl"
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(include))
	root := filepath.Join(cache, "bollwerk-test", "bookworm-"+hex.EncodeToString(sum[:4]))
	if _, err := os.Stat(root + ".done"); err == nil {
		return root
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t.Context(), t, "debootstrap", "--variant=minbase", "--include="+include, "bookworm", root)
	if err := os.WriteFile(root+".done", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return root
}

// pair is an issue and the binary package it stands in.
type pair struct{ issue, pkg, version string }

func (p pair) String() string { return p.issue + " " + p.pkg + " " + p.version }

// oracle says which pairs hold in a root, with dpkg's own reading of the status
// file and dpkg's own comparison of versions.
func oracle(t *testing.T, root string, advisories []advisory) []pair {
	t.Helper()
	bySource := map[string][]advisory{}
	for _, a := range advisories {
		for _, af := range a.Affected {
			bySource[af.Package.Name] = append(bySource[af.Package.Name], a)
		}
	}
	listing := command(t.Context(), t, "dpkg-query", "--admindir="+filepath.Join(root, "var/lib/dpkg"), "-W",
		"-f", "${db:Status-Status}\t${Package}\t${Version}\t${source:Package}\t${source:Version}\n")
	older := map[[2]string]bool{} // answers of dpkg, asked once
	var out []pair
	for line := range strings.Lines(listing) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 5 || f[0] != "installed" {
			continue
		}
		for _, a := range bySource[f[3]] {
			for _, af := range a.Affected {
				if af.Package.Name != f[3] {
					continue
				}
				for _, r := range af.Ranges {
					fixed := ""
					for _, e := range r.Events {
						if v, ok := e["introduced"]; ok && v != "0" {
							t.Fatalf("%s: the oracle knows only ranges from 0", a.ID)
						}
						if v, ok := e["fixed"]; ok {
							fixed = v
						}
					}
					if fixed == "" {
						t.Fatalf("%s: the oracle knows only ranges with a fix", a.ID)
					}
					key := [2]string{f[4], fixed}
					is, asked := older[key]
					if !asked {
						is = exec.Command("dpkg", "--compare-versions", f[4], "lt", fixed).Run() == nil
						older[key] = is
					}
					if is {
						out = append(out, pair{a.Upstream[0], f[1], f[2]})
					}
				}
			}
		}
	}
	return sortedPairs(out)
}

// found lists the pairs of a result.
func found(t *testing.T, r *bollwerk.Result) []pair {
	t.Helper()
	var out []pair
	for _, f := range r.Findings {
		if f.Kind != bollwerk.KindVulnerability || f.Verdict != bollwerk.Fail {
			continue
		}
		if f.Package == nil {
			t.Fatalf("%s: a vulnerability without a package", f.ID)
		}
		if f.Package.Ecosystem.Name() == "Debian" {
			out = append(out, pair{f.ID, f.Package.Name, f.Package.Version})
		}
	}
	return sortedPairs(out)
}

func sortedPairs(ps []pair) []pair {
	sort.Slice(ps, func(i, j int) bool { return ps[i].String() < ps[j].String() })
	var out []pair
	for i, p := range ps {
		if i == 0 || p != ps[i-1] {
			out = append(out, p)
		}
	}
	return out
}

// difference describes what one side has and the other lacks, or "".
func difference(got, want []pair) string {
	count := map[pair]int{}
	for _, p := range want {
		count[p]++
	}
	for _, p := range got {
		count[p]--
	}
	var lines []string
	for p, n := range count {
		switch {
		case n > 0:
			lines = append(lines, "missing: "+p.String())
		case n < 0:
			lines = append(lines, "extra:   "+p.String())
		}
	}
	sort.Strings(lines)
	if len(lines) > 20 {
		lines = append(lines[:20], fmt.Sprintf("… and %d more", len(lines)-20))
	}
	return strings.Join(lines, "\n")
}

// TestDebianOracle: a root without security updates has exactly the findings that
// dpkg's comparison gives, and they disappear with the security updates.
func TestDebianOracle(t *testing.T) {
	root := bookworm(t)
	advisories, raw := debianAdvisories(t)
	db := buildDatabase(t, raw)

	want := oracle(t, root, advisories)
	if len(want) < 50 {
		t.Fatalf("the oracle knows only %d pairs: the root is not what the test needs", len(want))
	}
	before := found(t, scanJSON(t, db, "dir:"+root))
	if d := difference(before, want); d != "" {
		t.Fatalf("findings differ from the oracle (%d against %d):\n%s", len(before), len(want), d)
	}
	t.Logf("%d pairs of issue and package, all as dpkg says", len(want))

	upgraded := filepath.Join(t.TempDir(), "root")
	command(t.Context(), t, "cp", "-a", root, upgraded)
	upgrade(t, upgraded)
	want = oracle(t, upgraded, advisories)
	after := found(t, scanJSON(t, db, "dir:"+upgraded))
	if d := difference(after, want); d != "" {
		t.Fatalf("after the upgrade findings differ from the oracle:\n%s", d)
	}
	if len(after) != 0 {
		t.Errorf("%d findings remain after the upgrade, e.g. %v", len(after), after[0])
	}
}

// upgrade installs bookworm-security's updates into a root, with the network
// settings and mirrors of this machine.
func upgrade(t *testing.T, root string) {
	t.Helper()
	site := ""
	for line := range strings.Lines(command(t.Context(), t, "apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)")) {
		f := strings.Fields(line)
		if len(f) == 2 && strings.HasSuffix(f[1], "-security") {
			site = f[0]
		}
	}
	if site == "" {
		t.Fatal("this machine's apt knows no security updates: add the -security suite to its sources")
	}
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts"} {
		if b, err := os.ReadFile(name); err == nil {
			if err := os.WriteFile(filepath.Join(root, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	list := fmt.Sprintf("deb %s bookworm-security main\n", site)
	if err := os.WriteFile(filepath.Join(root, "etc/apt/sources.list.d/security.list"), []byte(list), 0o644); err != nil {
		t.Fatal(err)
	}
	// No service may start in the root.
	if err := os.WriteFile(filepath.Join(root, "usr/sbin/policy-rc.d"), []byte("#!/bin/sh\nexit 101\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t.Context(), t, "chroot", root, "apt-get", "-q", "update")
	command(t.Context(), t, "chroot", root, "apt-get", "-q", "-y", "upgrade")
}
