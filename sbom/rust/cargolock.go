// Package rust owns reading Cargo.lock. Crates in programs are found by binary.
package rust

import (
	"context"
	"fmt"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/nesting"
	"github.com/bollwerk/bollwerk/sbom"
)

const maxLock = 24 << 20

// CargoLock reads Cargo.lock, versions 1 to 4.
// https://doc.rust-lang.org/cargo/reference/resolver.html; the encoding is that of
// cargo's core/resolver/encode.rs.
type CargoLock struct{}

func (CargoLock) Name() string                  { return "rust/cargo-lock" }
func (CargoLock) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemCrates }
func (CargoLock) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"Cargo.lock"}} }

// Wants leaves out what cargo's cache of sources holds: lock files of libraries.
func (CargoLock) Wants(f *bollwerk.File) bool {
	return f.Path[strings.LastIndexByte(f.Path, '/')+1:] == "Cargo.lock" &&
		!strings.Contains(f.Path, ".cargo/registry/src/") && !strings.Contains(f.Path, "/cargo/registry/src/")
}

// Extract lists packages with a source; those without are the work space itself.
func (CargoLock) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	data, err := in.Document(maxLock)
	if err != nil {
		return inv, err
	}
	var lock struct {
		Package []struct {
			Name, Version, Source, Checksum string
			Dependencies                    []string
		} `toml:"package"`
		Metadata map[string]string `toml:"metadata"`
	}
	if err := nesting.TOML(data); err != nil {
		return inv, fmt.Errorf("lock file of Cargo: %w", err)
	}
	if _, err := toml.Decode(string(data), &lock); err != nil {
		return inv, fmt.Errorf("lock file of Cargo: %w", err)
	}
	versions := map[string][]string{}
	for _, p := range lock.Package {
		versions[p.Name] = append(versions[p.Name], p.Version)
	}
	// "name", "name 1.0" or "name 1.0 (registry+…)".
	resolve := func(d string) (name, version string) {
		f := strings.Fields(d)
		if len(f) == 0 {
			return "", ""
		}
		if len(f) > 1 {
			return f[0], f[1]
		}
		if v := versions[f[0]]; len(v) == 1 {
			return f[0], v[0]
		}
		return f[0], ""
	}
	direct, rooted := map[string]bool{}, false
	for _, p := range lock.Package {
		if p.Source != "" {
			continue
		}
		rooted = true
		for _, d := range p.Dependencies {
			n, v := resolve(d)
			direct[n+" "+v] = true
		}
	}
	for _, p := range lock.Package {
		if p.Source == "" || p.Name == "" || p.Version == "" {
			continue
		}
		out := bollwerk.Package{Name: p.Name, Version: p.Version, Ecosystem: bollwerk.EcosystemCrates}
		sum := p.Checksum
		if sum == "" {
			sum = lock.Metadata["checksum "+p.Name+" "+p.Version+" ("+p.Source+")"]
		}
		if d, err := bollwerk.ParseDigest("sha256:" + sum); err == nil {
			out.Hashes = []bollwerk.Digest{d}
		}
		for _, d := range p.Dependencies {
			if n, v := resolve(d); v != "" {
				out.DependsOn = append(out.DependsOn, sbom.Edge(n, v))
			}
		}
		if rooted {
			d := direct[p.Name+" "+p.Version]
			out.Direct = &d
		}
		inv.Packages = append(inv.Packages, out)
	}
	return inv, ctx.Err()
}
