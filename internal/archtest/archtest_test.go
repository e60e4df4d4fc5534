package archtest

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// load asks the go command for the packages of this module and their imports.
func load(t *testing.T) Graph {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	g := Graph{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		own, ok := ownPath(p.ImportPath)
		if !ok {
			t.Fatalf("%s is not of this module", p.ImportPath)
		}
		g[own] = p.Imports
	}
	return g
}

func TestHouse(t *testing.T) {
	g := load(t)
	if len(g) < 5 {
		t.Fatalf("the graph has only %d packages: it was not read", len(g))
	}
	for _, complaint := range Check(g) {
		t.Error(complaint)
	}
}

func TestCheckFindsWhatTheHouseForbids(t *testing.T) {
	const m = Module + "/"
	for _, c := range []struct{ from, to, want string }{
		{"scan", m + "response", "must not be able to act"},
		{"sbom", m + "vuln", "concepts do not know each other"},
		{"sbom/dpkg", m + "sbom/apk", "siblings"},
		{"sbom", m + "sbom/apk", "does not know its plug-ins"},
		{"policy", m + "scan", "level 1 may not import level 3"},
		{"agent", m + "hub", "roles meet on the wire"},
		{"scan", m + "sbom/all", "the command alone"},
		{"", m + "policy", "standard library only"},
		{"", "golang.org/x/mod/semver", "standard library only"},
		{"vuln", "github.com/google/osv-scalibr/semantic", "lives in sbom/scalibr"},
		{"utils", m + "scan", "no level"},
	} {
		got := Check(Graph{c.from: {c.to}})
		if len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%q imports %q: got %q, want a complaint with %q", c.from, c.to, got, c.want)
		}
	}
}

func TestCheckAllowsTheHouse(t *testing.T) {
	const m = Module + "/"
	for _, c := range []struct{ from, to string }{
		{"sbom", Module}, {"sbom/dpkg", m + "sbom"}, {"scan", m + "sbom"}, {"scan", m + "vuln"},
		{"cmd/bollwerk", m + "sbom/all"}, {"sbom/all", m + "sbom/dpkg"}, {"finding", m + "policy"},
		{"policy", m + "internal/glob"}, {"report", m + "scan"}, {"artifact/oci", "github.com/google/go-containerregistry/pkg/v1"},
	} {
		if got := Check(Graph{c.from: {c.to}}); len(got) != 0 {
			t.Errorf("%q imports %q: %q", c.from, c.to, got)
		}
	}
}
