package npm

import (
	"context"
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	"go.yaml.in/yaml/v3"
)

// maxYAML: a YAML tree takes some twenty times its text in memory.
const maxYAML = 16 << 20

// PNPM reads pnpm-lock.yaml, lockfileVersion 5 to 9.
// https://github.com/pnpm/spec/tree/master/lockfile.
type PNPM struct{}

func (PNPM) Name() string                  { return "npm/pnpm" }
func (PNPM) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemNPM }
func (PNPM) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"pnpm-lock.yaml"}} }
func (PNPM) Wants(f *bollwerk.File) bool {
	return isBase(f.Path, "pnpm-lock.yaml") && !installedBelow(f.Path)
}

type pnpmImporter struct {
	Dependencies         map[string]yaml.Node `yaml:"dependencies"`
	DevDependencies      map[string]yaml.Node `yaml:"devDependencies"`
	OptionalDependencies map[string]yaml.Node `yaml:"optionalDependencies"`
}

type pnpmPackage struct {
	Resolution struct {
		Integrity string `yaml:"integrity"`
	} `yaml:"resolution"`
	Name                 string            `yaml:"name"`
	Version              string            `yaml:"version"`
	Dev                  bool              `yaml:"dev"`
	Dependencies         map[string]string `yaml:"dependencies"`
	OptionalDependencies map[string]string `yaml:"optionalDependencies"`
}

type pnpmLock struct {
	pnpmImporter `yaml:",inline"`
	Importers    map[string]pnpmImporter `yaml:"importers"`
	Packages     map[string]pnpmPackage  `yaml:"packages"`
	Snapshots    map[string]pnpmPackage  `yaml:"snapshots"`
}

// Extract reads the packages; edges come from "snapshots" since version 9.
func (PNPM) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	data, err := in.Document(maxYAML)
	if err != nil {
		return inv, err
	}
	var lock pnpmLock
	if err := yaml.Unmarshal(data, &lock); err != nil {
		return inv, fmt.Errorf("pnpm lock: %w", err)
	}
	type ref struct{ name, version string }
	parse := func(key string, p *pnpmPackage) ref {
		n, v := pnpmKey(key)
		if p.Name != "" {
			n = p.Name
		}
		if p.Version != "" {
			v = p.Version
		}
		return ref{n, v}
	}
	at := map[ref]int{}
	graph := map[ref][]ref{}
	for key, p := range lock.Packages {
		r := parse(key, &p)
		if r.name == "" || r.version == "" {
			continue
		}
		if strings.Contains(r.version, "/") || strings.Contains(r.version, ":") {
			in.Problem("%s comes from %.60s: its version is not in the lock file", r.name, r.version)
			continue
		}
		if _, ok := at[r]; ok {
			continue
		}
		at[r] = len(inv.Packages)
		inv.Packages = append(inv.Packages, bollwerk.Package{
			Name: r.name, Version: r.version, Ecosystem: bollwerk.EcosystemNPM, Dev: p.Dev, Hashes: integrity(p.Resolution.Integrity),
		})
	}
	edges := lock.Packages
	if len(lock.Snapshots) > 0 {
		edges = lock.Snapshots
	}
	target := func(name, v string) ref {
		if v != "" && v[0] >= '0' && v[0] <= '9' {
			return ref{name, bare(v)}
		}
		n, ver := pnpmKey(v)
		if n == "" || ver == "" {
			return ref{name, bare(v)}
		}
		return ref{n, ver}
	}
	for key, p := range edges {
		from := parse(key, &p)
		i, ok := at[from]
		if !ok {
			continue
		}
		for _, deps := range []map[string]string{p.Dependencies, p.OptionalDependencies} {
			for n, v := range deps {
				to := target(n, v)
				if _, ok := at[to]; ok {
					graph[from] = append(graph[from], to)
					inv.Packages[i].DependsOn = append(inv.Packages[i].DependsOn, sbom.Edge(to.name, to.version))
				}
			}
		}
	}
	if lock.Importers == nil {
		lock.Importers = map[string]pnpmImporter{".": lock.pnpmImporter}
	}
	direct, prod := map[ref]bool{}, map[ref]bool{}
	var queue []ref
	for _, im := range lock.Importers {
		for d, deps := range []map[string]yaml.Node{im.Dependencies, im.OptionalDependencies, im.DevDependencies} {
			for n, node := range deps {
				v := node.Value
				if node.Kind == yaml.MappingNode {
					var spec struct {
						Version string `yaml:"version"`
					}
					if node.Decode(&spec) == nil {
						v = spec.Version
					}
				}
				to := target(n, v)
				if _, ok := at[to]; !ok {
					continue
				}
				direct[to] = true
				if d < 2 && !prod[to] {
					prod[to] = true
					queue = append(queue, to)
				}
			}
		}
	}
	for len(queue) > 0 {
		r := queue[0]
		queue = queue[1:]
		for _, to := range graph[r] {
			if !prod[to] {
				prod[to] = true
				queue = append(queue, to)
			}
		}
	}
	for r, i := range at {
		d := direct[r]
		inv.Packages[i].Direct = &d
		if len(lock.Snapshots) > 0 { // version 9 has no dev flag of its own
			inv.Packages[i].Dev = !prod[r]
		}
		sortEdges(inv.Packages[i].DependsOn)
	}
	return inv, ctx.Err()
}

// pnpmKey splits "/foo/1.0.0_peer@2" (5), "/foo@1.0.0(peer@2)" (6), "foo@1.0.0" (9).
func pnpmKey(key string) (name, version string) {
	old := strings.HasPrefix(key, "/")
	key = strings.TrimPrefix(key, "/")
	if i := strings.IndexByte(key, '('); i > 0 {
		key = key[:i]
	}
	if n, v := splitSpec(key); v != "" && !(old && strings.Contains(v, "/")) && !(old && strings.Contains(n, "_")) && !strings.Contains(strings.TrimPrefix(n, "@"), "/") || v != "" && strings.HasPrefix(key, "@") && strings.Count(n, "/") == 1 {
		return n, bare(v)
	}
	if !old {
		return "", ""
	}
	i := strings.LastIndexByte(key, '/')
	if i < 0 {
		return "", ""
	}
	return key[:i], bare(key[i+1:])
}

// bare takes the peers off a version: "1.0.0_react@17.0.0", "1.0.0(react@17.0.0)".
func bare(v string) string {
	if i := strings.IndexAny(v, "(_"); i > 0 {
		v = v[:i]
	}
	return v
}
