package npm

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// maxLock: lock files of the largest mono-repositories have 20 MB.
const maxLock = 64 << 20

// PackageLock reads package-lock.json and npm-shrinkwrap.json, lockfileVersion 1
// to 3. https://docs.npmjs.com/cli/configuring-npm/package-lock-json.
type PackageLock struct{}

func (PackageLock) Name() string                  { return "npm/package-lock" }
func (PackageLock) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemNPM }
func (PackageLock) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"package-lock.json", "npm-shrinkwrap.json"}}
}

func (PackageLock) Wants(f *bollwerk.File) bool {
	return isBase(f.Path, "package-lock.json", "npm-shrinkwrap.json") && !installedBelow(f.Path)
}

// installedBelow: a lock file inside an installed package says what its author
// used, not what is here.
func installedBelow(p string) bool {
	return strings.HasPrefix(p, "node_modules/") || strings.Contains(p, "/node_modules/")
}

func isBase(p string, names ...string) bool {
	b := p[strings.LastIndexByte(p, '/')+1:]
	for _, n := range names {
		if b == n {
			return true
		}
	}
	return false
}

type lockPackage struct {
	Name                 string            `json:"name"`
	Version              string            `json:"version"`
	Integrity            string            `json:"integrity"`
	Link                 bool              `json:"link"`
	Dev                  bool              `json:"dev"`
	DevOptional          bool              `json:"devOptional"`
	License              json.RawMessage   `json:"license"`
	Dependencies         map[string]string `json:"dependencies"`
	OptionalDependencies map[string]string `json:"optionalDependencies"`
	DevDependencies      map[string]string `json:"devDependencies"`
	PeerDependencies     map[string]string `json:"peerDependencies"`
}

type lockDependency struct {
	Version      string                     `json:"version"`
	Integrity    string                     `json:"integrity"`
	Dev          bool                       `json:"dev"`
	Bundled      bool                       `json:"bundled"`
	Requires     json.RawMessage            `json:"requires"` // map, or true at the top
	Dependencies map[string]*lockDependency `json:"dependencies"`
}

// Extract prefers the "packages" of version 2 and 3.
func (PackageLock) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	data, err := in.Document(maxLock)
	if err != nil {
		return inv, err
	}
	var lock struct {
		LockfileVersion int                        `json:"lockfileVersion"`
		Packages        map[string]*lockPackage    `json:"packages"`
		Dependencies    map[string]*lockDependency `json:"dependencies"`
	}
	if err := json.Unmarshal(trimBOM(data), &lock); err != nil {
		return inv, fmt.Errorf("package lock: %w", err)
	}
	if len(lock.Packages) > 0 {
		inv.Packages = fromPackages(lock.Packages)
		return inv, ctx.Err()
	}
	if lock.LockfileVersion > 3 {
		return inv, fmt.Errorf("package lock: version %d is not known", lock.LockfileVersion)
	}
	inv.Packages = fromDependencies(in, lock.Dependencies)
	return inv, ctx.Err()
}

func fromPackages(pkgs map[string]*lockPackage) []bollwerk.Package {
	const nm = "node_modules/"
	nameOf := func(path string, p *lockPackage) string {
		if p.Name != "" {
			return p.Name
		}
		return path[strings.LastIndex(path, nm)+len(nm):]
	}
	// find resolves a dependency as Node does: in the package's own node_modules,
	// then in those of the folders above.
	find := func(from, name string) (string, *lockPackage) {
		for {
			p := nm + name
			if from != "" {
				p = from + "/" + p
			}
			if e := pkgs[p]; e != nil {
				return p, e
			}
			if from == "" {
				return "", nil
			}
			if i := strings.LastIndex(from, "/"+nm); i >= 0 {
				from = from[:i]
			} else {
				from = ""
			}
		}
	}
	direct := map[string]bool{}
	for path, p := range pkgs {
		if p == nil || path != "" && strings.Contains(path, nm) {
			continue // the root and workspaces only
		}
		for _, deps := range []map[string]string{p.Dependencies, p.DevDependencies, p.OptionalDependencies, p.PeerDependencies} {
			for name := range deps {
				if at, _ := find(path, name); at != "" {
					direct[at] = true
				}
			}
		}
	}
	var out []bollwerk.Package
	for path, p := range pkgs {
		if p == nil || p.Link || p.Version == "" || !strings.Contains(path, nm) {
			continue
		}
		d := direct[path]
		pkg := bollwerk.Package{
			Name: nameOf(path, p), Version: p.Version, Ecosystem: bollwerk.EcosystemNPM,
			Dev: p.Dev || p.DevOptional, Direct: &d, Hashes: integrity(p.Integrity), Licenses: licenses(p.License),
		}
		for _, deps := range []map[string]string{p.Dependencies, p.OptionalDependencies, p.PeerDependencies} {
			for name := range deps {
				if at, e := find(path, name); e != nil && at != path {
					pkg.DependsOn = append(pkg.DependsOn, sbom.Edge(nameOf(at, e), e.Version))
				}
			}
		}
		sortEdges(pkg.DependsOn)
		out = append(out, pkg)
	}
	return out
}

func fromDependencies(in *sbom.Input, top map[string]*lockDependency) []bollwerk.Package {
	type scope struct {
		deps map[string]*lockDependency
		up   *scope
	}
	resolve := func(s *scope, name string) *lockDependency {
		for ; s != nil; s = s.up {
			if d := s.deps[name]; d != nil {
				return d
			}
		}
		return nil
	}
	real := func(name string, d *lockDependency) (string, string) {
		if alias, ok := strings.CutPrefix(d.Version, "npm:"); ok {
			if i := strings.LastIndexByte(alias, '@'); i > 0 {
				return alias[:i], alias[i+1:]
			}
		}
		return name, d.Version
	}
	var out []bollwerk.Package
	var walk func(s *scope, depth int)
	walk = func(s *scope, depth int) {
		if depth > 200 {
			in.Problem("dependencies nested deeper than 200")
			return
		}
		for name, d := range s.deps {
			if d == nil {
				continue
			}
			inner := &scope{d.Dependencies, s}
			n, v := real(name, d)
			if v == "" || strings.Contains(v, "/") { // file:…, git+ssh://…, a tarball's address
				if strings.HasPrefix(v, "git") || strings.HasPrefix(v, "http") || strings.HasPrefix(v, "github:") {
					in.Problem("%s comes from %.60s: its version is not in the lock file", n, v)
				}
				walk(inner, depth+1)
				continue
			}
			pkg := bollwerk.Package{Name: n, Version: v, Ecosystem: bollwerk.EcosystemNPM, Dev: d.Dev, Hashes: integrity(d.Integrity)}
			var requires map[string]string
			if len(d.Requires) > 0 && d.Requires[0] == '{' && json.Unmarshal(d.Requires, &requires) == nil {
				for r := range requires {
					if t := resolve(inner, r); t != nil {
						tn, tv := real(r, t)
						pkg.DependsOn = append(pkg.DependsOn, sbom.Edge(tn, tv))
					}
				}
				sortEdges(pkg.DependsOn)
			}
			out = append(out, pkg)
			walk(inner, depth+1)
		}
	}
	walk(&scope{top, nil}, 0)
	return out
}

// integrity turns "sha512-<base64>" (several may be given, weaker ones too) into
// digests: https://www.w3.org/TR/SRI/.
func integrity(s string) []bollwerk.Digest {
	var out []bollwerk.Digest
	for _, w := range strings.Fields(s) {
		algo, b64, ok := strings.Cut(w, "-")
		if !ok || algo != "sha512" && algo != "sha256" {
			continue
		}
		b64, _, _ = strings.Cut(b64, "?")
		raw, err := base64.StdEncoding.DecodeString(b64)
		if err != nil {
			continue
		}
		if d, err := bollwerk.ParseDigest(algo + ":" + hex.EncodeToString(raw)); err == nil {
			out = append(out, d)
		}
	}
	return out
}
