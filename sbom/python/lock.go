package python

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/nesting"
	"github.com/bollwerk/bollwerk/internal/purl"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	maxLock = 64 << 20
	// maxTOML: a TOML tree takes many times its text in memory.
	maxTOML = 24 << 20
)

// Lock reads the lock files of Poetry, uv, PDM (TOML), of Pipenv (JSON), and
// pylock.toml (PEP 751).
type Lock struct{}

func (Lock) Name() string                  { return "python/lock" }
func (Lock) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemPyPI }
func (Lock) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"poetry.lock", "uv.lock", "pdm.lock", "Pipfile.lock", "pylock.toml"}}
}

func (Lock) Wants(f *bollwerk.File) bool {
	switch f.Path[strings.LastIndexByte(f.Path, '/')+1:] {
	case "poetry.lock", "uv.lock", "pdm.lock", "Pipfile.lock", "pylock.toml":
		return !installedBelow(f.Path)
	}
	return false
}

func installedBelow(p string) bool {
	return strings.Contains(p, "/site-packages/") || strings.Contains(p, "/dist-packages/")
}

// Extract picks the reader by name.
func (Lock) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	if strings.HasSuffix(in.File.Path, "Pipfile.lock") {
		return pipfile(in)
	}
	return tomlLock(in)
}

func pipfile(in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	data, err := in.Document(maxLock)
	if err != nil {
		return inv, err
	}
	type entry struct {
		Version string   `json:"version"`
		Hashes  []string `json:"hashes"`
	}
	lock := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &lock); err != nil {
		return inv, fmt.Errorf("lock file of Pipenv: %w", err)
	}
	seen := map[string]int{}
	groups := make([]string, 0, len(lock))
	for g := range lock {
		if g != "_meta" {
			groups = append(groups, g)
		}
	}
	// "default" first: what is there too is no development package.
	slices.SortFunc(groups, func(a, b string) int {
		if (a == "default") != (b == "default") {
			if a == "default" {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, g := range groups {
		entries := map[string]entry{}
		if err := json.Unmarshal(lock[g], &entries); err != nil {
			in.Problem("group %q: %v", g, err)
			continue
		}
		for name, e := range entries {
			v := strings.TrimLeft(e.Version, "= ")
			n := purl.PyPIName(name)
			key := n + " " + v
			if i, ok := seen[key]; ok {
				inv.Packages[i].Dev = inv.Packages[i].Dev && g == "develop"
				continue
			}
			seen[key] = len(inv.Packages)
			inv.Packages = append(inv.Packages, bollwerk.Package{
				Name: n, Version: v, Ecosystem: bollwerk.EcosystemPyPI, Dev: g == "develop", Hashes: digests(e.Hashes),
			})
		}
	}
	return inv, nil
}

// digests keeps "sha256:…" entries; a lock file lists one per published file.
func digests(list []string) []bollwerk.Digest {
	var out []bollwerk.Digest
	for _, h := range list {
		if d, err := bollwerk.ParseDigest(h); err == nil && len(out) < maxHashes {
			out = append(out, d)
		}
	}
	return out
}

// maxHashes: numpy has some 60 files a release, all equally "the" package; more
// than a handful says nothing about what is here.
const maxHashes = 8

type tomlPackage struct {
	Name         string         `toml:"name"`
	Version      string         `toml:"version"`
	Category     string         `toml:"category"`
	Groups       []string       `toml:"groups"`
	Dependencies any            `toml:"dependencies"` // table (Poetry), list of tables (uv), list of strings (PDM)
	Source       map[string]any `toml:"source"`
	Files        []struct {
		Hash string `toml:"hash"`
	} `toml:"files"`
	Sdist  any `toml:"sdist"`
	Wheels []struct {
		Hash string `toml:"hash"`
	} `toml:"wheels"`
	DevDependencies map[string][]tomlRef `toml:"dev-dependencies"`
}

type tomlRef struct {
	Name    string `toml:"name"`
	Version string `toml:"version"`
}

func tomlLock(in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	data, err := in.Document(maxTOML)
	if err != nil {
		return inv, err
	}
	var lock struct {
		Package  []tomlPackage `toml:"package"`
		Packages []tomlPackage `toml:"packages"` // PEP 751
	}
	if err := nesting.TOML(data); err != nil {
		return inv, fmt.Errorf("lock file: %w", err)
	}
	if _, err := toml.Decode(string(data), &lock); err != nil {
		return inv, fmt.Errorf("lock file: %w", err)
	}
	pkgs := append(lock.Package, lock.Packages...)
	versions := map[string][]string{}
	for i := range pkgs {
		pkgs[i].Name = purl.PyPIName(pkgs[i].Name)
		if pkgs[i].Version != "" {
			versions[pkgs[i].Name] = append(versions[pkgs[i].Name], pkgs[i].Version)
		}
	}
	// Poetry and PDM keep nothing of the project itself, but list all edges: what no
	// package needs, the project asks for. What one needs may be asked for as well;
	// that stays unknown.
	var needed map[string]bool
	if strings.HasSuffix(in.File.Path, "poetry.lock") || strings.HasSuffix(in.File.Path, "pdm.lock") {
		needed = map[string]bool{}
		for i := range pkgs {
			for _, r := range pkgs[i].refs() {
				if r.Name != pkgs[i].Name { // PDM lists a package with extras once more
					needed[r.Name] = true
				}
			}
		}
	}
	direct, prodDirect := map[string]bool{}, map[string]bool{}
	hasRoot := false
	for i := range pkgs {
		p := &pkgs[i]
		if !p.local() {
			continue
		}
		hasRoot = true
		for _, r := range p.refs() {
			direct[r.Name], prodDirect[r.Name] = true, true
		}
		for _, g := range p.DevDependencies {
			for _, r := range g {
				direct[purl.PyPIName(r.Name)] = true
			}
		}
	}
	for i := range pkgs {
		p := &pkgs[i]
		if p.Name == "" || p.Version == "" || p.local() {
			continue
		}
		out := bollwerk.Package{Name: p.Name, Version: p.Version, Ecosystem: bollwerk.EcosystemPyPI, Dev: p.dev()}
		if hasRoot {
			d := direct[p.Name]
			out.Direct = &d
		} else if needed != nil && !needed[p.Name] {
			d := true
			out.Direct = &d
		}
		var hs []string
		for _, f := range p.Files {
			hs = append(hs, f.Hash)
		}
		for _, f := range p.Wheels {
			hs = append(hs, f.Hash)
		}
		out.Hashes = digests(hs)
		for _, r := range p.refs() {
			v := r.Version
			if vs := versions[r.Name]; v == "" && len(vs) == 1 {
				v = vs[0]
			}
			if v != "" && r.Name != p.Name {
				out.DependsOn = append(out.DependsOn, sbom.Edge(r.Name, v))
			}
		}
		slices.Sort(out.DependsOn)
		out.DependsOn = slices.Compact(out.DependsOn)
		inv.Packages = append(inv.Packages, out)
	}
	if hasRoot {
		markDev(inv.Packages, prodDirect)
	}
	return inv, nil
}

// markDev marks what only development dependencies of the project lead to.
func markDev(pkgs []bollwerk.Package, prod map[string]bool) {
	byEdge := map[bollwerk.PURL]int{}
	var queue []int
	seen := map[int]bool{}
	for i := range pkgs {
		byEdge[sbom.Edge(pkgs[i].Name, pkgs[i].Version)] = i
		if prod[pkgs[i].Name] {
			queue = append(queue, i)
			seen[i] = true
		}
	}
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		for _, e := range pkgs[i].DependsOn {
			if j, ok := byEdge[e]; ok && !seen[j] {
				seen[j] = true
				queue = append(queue, j)
			}
		}
	}
	for i := range pkgs {
		pkgs[i].Dev = !seen[i]
	}
}

// local: the project itself, or a member of its workspace.
func (p *tomlPackage) local() bool {
	for _, k := range []string{"editable", "virtual", "directory", "path"} {
		if _, ok := p.Source[k]; ok {
			return true
		}
	}
	t, _ := p.Source["type"].(string)
	return t == "directory"
}

func (p *tomlPackage) dev() bool {
	if p.Category != "" {
		return p.Category == "dev"
	}
	if len(p.Groups) == 0 {
		return false
	}
	for _, g := range p.Groups {
		if g == "main" || g == "default" {
			return false
		}
	}
	return true
}

func (p *tomlPackage) refs() []tomlRef {
	var out []tomlRef
	switch d := p.Dependencies.(type) {
	case map[string]any:
		for n := range d {
			out = append(out, tomlRef{Name: purl.PyPIName(n)})
		}
	case []map[string]any:
		for _, t := range d {
			out = appendRef(out, t)
		}
	case []any:
		for _, e := range d {
			switch e := e.(type) {
			case map[string]any:
				out = appendRef(out, e)
			case string:
				n := e
				if i := strings.IndexAny(n, " <>=!~;[("); i >= 0 {
					n = n[:i]
				}
				out = append(out, tomlRef{Name: purl.PyPIName(n)})
			}
		}
	}
	return out
}

func appendRef(out []tomlRef, t map[string]any) []tomlRef {
	n, _ := t["name"].(string)
	v, _ := t["version"].(string)
	if n != "" {
		out = append(out, tomlRef{purl.PyPIName(n), v})
	}
	return out
}
