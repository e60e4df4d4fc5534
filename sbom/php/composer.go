// Package php owns reading what Composer writes: composer.lock and the list of
// installed packages.
package php

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const maxLock = 64 << 20

// Composer reads composer.lock and vendor/composer/installed.json.
type Composer struct{}

func (Composer) Name() string                  { return "php/composer" }
func (Composer) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemPackagist }
func (Composer) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"composer.lock", "installed.json"}}
}

// Wants leaves out lock files below vendor: a library's own.
func (Composer) Wants(f *bollwerk.File) bool {
	if strings.HasSuffix(f.Path, "composer/installed.json") {
		return true
	}
	return f.Path[strings.LastIndexByte(f.Path, '/')+1:] == "composer.lock" &&
		!strings.HasPrefix(f.Path, "vendor/") && !strings.Contains(f.Path, "/vendor/")
}

type composerPackage struct {
	Name    string          `json:"name"`
	Version string          `json:"version"`
	Type    string          `json:"type"`
	License json.RawMessage `json:"license"`
	Require json.RawMessage `json:"require"` // {} or, empty, []
}

// Extract reads both forms of installed.json: a list (Composer 1), or an object.
func (Composer) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	data, err := in.Document(maxLock)
	if err != nil {
		return inv, err
	}
	var lock struct {
		Packages    []composerPackage `json:"packages"`
		PackagesDev []composerPackage `json:"packages-dev"`
		DevNames    []string          `json:"dev-package-names"`
	}
	if t := bytes.TrimLeft(data, " \t\r\n"); len(t) > 0 && t[0] == '[' {
		err = json.Unmarshal(t, &lock.Packages)
	} else {
		err = json.Unmarshal(data, &lock)
	}
	if err != nil {
		return inv, fmt.Errorf("composer: %w", err)
	}
	dev := map[string]bool{}
	for _, n := range lock.DevNames {
		dev[strings.ToLower(n)] = true
	}
	wants := map[int][]string{}
	for pass, list := range [][]composerPackage{lock.Packages, lock.PackagesDev} {
		for _, p := range list {
			name := strings.ToLower(p.Name)
			if name == "" || p.Version == "" {
				continue
			}
			i := len(inv.Packages)
			inv.Packages = append(inv.Packages, bollwerk.Package{
				Name: name, Version: version(p.Version), Ecosystem: bollwerk.EcosystemPackagist,
				Dev: pass == 1 || dev[name], Licenses: words(p.License),
			})
			var req map[string]string
			if len(p.Require) > 0 && p.Require[0] == '{' && json.Unmarshal(p.Require, &req) == nil {
				for r := range req {
					wants[i] = append(wants[i], strings.ToLower(r))
				}
				slices.Sort(wants[i])
			}
		}
	}
	sbom.LinkByName(inv.Packages, wants, func(n string) string { return n })
	// The project's own wishes are in composer.json. But what no package asks for is
	// there because the project does; of the rest it stays unknown.
	needed := map[string]bool{}
	for _, names := range wants {
		for _, n := range names {
			needed[n] = true
		}
	}
	for i := range inv.Packages {
		if !needed[inv.Packages[i].Name] {
			direct := true
			inv.Packages[i].Direct = &direct
		}
	}
	return inv, ctx.Err()
}

// version takes the "v" of a tag off, as Packagist's own normalisation does.
func version(v string) string {
	if len(v) > 1 && (v[0] == 'v' || v[0] == 'V') && v[1] >= '0' && v[1] <= '9' {
		return v[1:]
	}
	return v
}

func words(raw json.RawMessage) []string {
	var list []string
	if json.Unmarshal(raw, &list) == nil {
		return list
	}
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		return []string{one}
	}
	return nil
}
