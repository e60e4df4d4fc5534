package npm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/tidwall/jsonc"
)

// Bun reads bun.lock, JSON with trailing commas. The older binary bun.lockb is
// reported as not understood.
type Bun struct{}

func (Bun) Name() string                  { return "npm/bun" }
func (Bun) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemNPM }
func (Bun) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"bun.lock", "bun.lockb"}} }
func (Bun) Wants(f *bollwerk.File) bool {
	return isBase(f.Path, "bun.lock", "bun.lockb") && !installedBelow(f.Path)
}

// Extract reads "packages": name → [ "name@version", registry, {…}, integrity ].
func (Bun) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	if strings.HasSuffix(in.File.Path, ".lockb") {
		return inv, fmt.Errorf("the binary form of the lock file cannot be read: write it as text with 'bun install --save-text-lockfile'")
	}
	data, err := in.Document(maxLock)
	if err != nil {
		return inv, err
	}
	var lock struct {
		Workspaces map[string]struct {
			Name string

			Dependencies, DevDependencies, OptionalDependencies, PeerDependencies map[string]string
		} `json:"workspaces"`
		Packages map[string][]json.RawMessage `json:"packages"`
	}
	if err := json.Unmarshal(jsonc.ToJSON(trimBOM(data)), &lock); err != nil {
		return inv, fmt.Errorf("bun lock: %w", err)
	}
	direct := map[string]bool{}
	var roots []string // keys that are needed beyond development
	anyDev := false
	for _, w := range lock.Workspaces {
		for _, m := range []map[string]string{w.Dependencies, w.OptionalDependencies, w.PeerDependencies} {
			for n := range m {
				direct[n] = true
				roots = append(roots, n)
				// A version that only this workspace needs is listed as "workspace/name".
				if w.Name != "" {
					roots = append(roots, w.Name+"/"+n)
				}
			}
		}
		for n := range w.DevDependencies {
			direct[n], anyDev = true, true
		}
	}
	spec := func(key string) (name, version string) {
		e := lock.Packages[key]
		if len(e) == 0 {
			return "", ""
		}
		var s string
		if json.Unmarshal(e[0], &s) != nil {
			return "", ""
		}
		name, version = splitSpec(s)
		if strings.Contains(version, ":") || strings.Contains(version, "/") {
			return name, "" // workspace:, git, file
		}
		return name, version
	}
	needs := map[string][]string{} // by key
	at := map[string]int{}         // key → package
	for key, e := range lock.Packages {
		d := direct[key]
		p := bollwerk.Package{Ecosystem: bollwerk.EcosystemNPM, Direct: &d, Dev: anyDev}
		p.Name, p.Version = spec(key)
		for _, raw := range e[min(1, len(e)):] {
			var s string
			if json.Unmarshal(raw, &s) == nil {
				p.Hashes = append(p.Hashes, integrity(s)...)
				continue
			}
			var deps struct {
				Dependencies, OptionalDependencies, PeerDependencies map[string]string
			}
			if json.Unmarshal(raw, &deps) != nil {
				continue
			}
			for _, m := range []map[string]string{deps.Dependencies, deps.OptionalDependencies, deps.PeerDependencies} {
				for n := range m {
					// A nested copy is listed as "parent/name".
					to := key + "/" + n
					tn, tv := spec(to)
					if tn == "" {
						to = n
						tn, tv = spec(to)
					}
					needs[key] = append(needs[key], to)
					if tv != "" {
						p.DependsOn = append(p.DependsOn, sbom.Edge(tn, tv))
					}
				}
			}
		}
		if p.Name == "" || p.Version == "" {
			var raw string
			if len(e) > 0 && json.Unmarshal(e[0], &raw) == nil && strings.Contains(raw, "#") {
				in.Problem("%s: comes from a repository, its version is not in the lock file", raw)
			}
			roots = append(roots, needs[key]...) // a folder or a repository: its needs count as ours
			continue
		}
		sortEdges(p.DependsOn)
		at[key] = len(inv.Packages)
		inv.Packages = append(inv.Packages, p)
	}
	// What is reached from something that is needed beyond development is not Dev.
	seen := map[string]bool{}
	for len(roots) > 0 {
		key := roots[len(roots)-1]
		roots = roots[:len(roots)-1]
		if seen[key] {
			continue
		}
		seen[key] = true
		if i, ok := at[key]; ok {
			inv.Packages[i].Dev = false
		}
		roots = append(roots, needs[key]...)
	}
	return inv, ctx.Err()
}
