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
			Dependencies, DevDependencies, OptionalDependencies map[string]string
		} `json:"workspaces"`
		Packages map[string][]json.RawMessage `json:"packages"`
	}
	if err := json.Unmarshal(jsonc.ToJSON(trimBOM(data)), &lock); err != nil {
		return inv, fmt.Errorf("bun lock: %w", err)
	}
	direct := map[string]bool{}
	for _, w := range lock.Workspaces {
		for _, m := range []map[string]string{w.Dependencies, w.DevDependencies, w.OptionalDependencies} {
			for n := range m {
				direct[n] = true
			}
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
	for key, e := range lock.Packages {
		name, version := spec(key)
		if name == "" || version == "" {
			continue
		}
		d := direct[key]
		p := bollwerk.Package{Name: name, Version: version, Ecosystem: bollwerk.EcosystemNPM, Direct: &d}
		for _, raw := range e[1:] {
			var s string
			if json.Unmarshal(raw, &s) == nil {
				p.Hashes = append(p.Hashes, integrity(s)...)
				continue
			}
			var deps struct {
				Dependencies, OptionalDependencies map[string]string
			}
			if json.Unmarshal(raw, &deps) != nil {
				continue
			}
			for _, m := range []map[string]string{deps.Dependencies, deps.OptionalDependencies} {
				for n := range m {
					// A nested copy is listed as "parent/name".
					tn, tv := spec(key + "/" + n)
					if tn == "" {
						tn, tv = spec(n)
					}
					if tv != "" {
						p.DependsOn = append(p.DependsOn, sbom.Edge(tn, tv))
					}
				}
			}
		}
		sortEdges(p.DependsOn)
		inv.Packages = append(inv.Packages, p)
	}
	return inv, ctx.Err()
}
