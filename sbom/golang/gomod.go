// Package golang owns reading go.mod and go.sum. Modules in programs are found by
// binary.
package golang

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

const maxMod = 8 << 20

// GoMod reads go.mod, with go.sum beside it where go.mod is too old to list what
// is needed indirectly (before Go 1.17). https://go.dev/ref/mod#go-mod-file.
type GoMod struct{}

func (GoMod) Name() string                  { return "go/mod" }
func (GoMod) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemGo }
func (GoMod) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"go.mod"}} }

// Wants leaves out the module cache and vendored modules, whose go.mod files say
// what their authors used, and the tool chain's own sources.
func (GoMod) Wants(f *bollwerk.File) bool {
	return isBase(f.Path, "go.mod") && !foreign(f.Path)
}

// Keeps implements sbom.Gatherer.
func (GoMod) Keeps(f *bollwerk.File) bool {
	return isBase(f.Path, "go.sum") && f.Size <= maxMod && !foreign(f.Path)
}

func isBase(p, name string) bool {
	return strings.HasSuffix(p, name) && (len(p) == len(name) || p[len(p)-len(name)-1] == '/')
}

func foreign(p string) bool {
	return strings.Contains(p, "pkg/mod/") || strings.Contains(p, "/vendor/") || strings.HasPrefix(p, "vendor/") ||
		strings.Contains(p, "/testdata/") || strings.HasPrefix(p, "usr/local/go/src/") || strings.HasPrefix(p, "usr/local/go/misc/") ||
		strings.HasPrefix(p, "usr/lib/go-") || strings.HasPrefix(p, "usr/share/go")
}

// Extract applies replacements; one by a directory leaves the version empty.
func (GoMod) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	data, err := in.Bytes(maxMod)
	if err != nil {
		return inv, err
	}
	f, err := modfile.ParseLax(in.File.Path, data, nil)
	if err != nil {
		return inv, fmt.Errorf("go.mod: %w", err)
	}
	// ParseLax leaves replacements out, which only the main module's apply; a strict
	// parse has them, and fails on directives newer than this program.
	if strict, err := modfile.Parse(in.File.Path, data, nil); err == nil {
		f = strict
	} else {
		in.Problem("replacements were not understood: %v", err)
	}
	replace := map[string]*modfile.Replace{}
	for _, r := range f.Replace {
		key := r.Old.Path
		if r.Old.Version != "" {
			key += "@" + r.Old.Version
		}
		replace[key] = r
	}
	seen := map[string]bool{}
	add := func(name, version string, direct *bool) {
		r := replace[name+"@"+version]
		if r == nil {
			r = replace[name]
		}
		if r != nil {
			if r.New.Version == "" {
				version = ""
			} else {
				name, version = r.New.Path, r.New.Version
			}
		}
		if seen[name+"@"+version] {
			return
		}
		seen[name+"@"+version] = true
		inv.Packages = append(inv.Packages, bollwerk.Package{Name: name, Version: version, Ecosystem: bollwerk.EcosystemGo, Direct: direct})
	}
	listed := map[string]bool{}
	for _, r := range f.Require {
		d := !r.Indirect
		listed[r.Mod.Path] = true
		add(r.Mod.Path, r.Mod.Version, &d)
	}
	gov := ""
	if f.Go != nil {
		gov = f.Go.Version
	}
	if gov == "" || semver.Compare("v"+gov, "v1.17") < 0 {
		sum, err := fromSum(in)
		if err != nil && len(f.Require) > 0 {
			in.Problem("no go.sum beside it: what is needed indirectly is not known")
		}
		no := false
		for name, version := range sum {
			if !listed[name] {
				add(name, version, &no)
			}
		}
	}
	// The standard library that will be used is at least this one. A version
	// without a patch level ("go 1.21") is a language version and says nothing.
	std := gov
	if f.Toolchain != nil {
		std = strings.TrimPrefix(f.Toolchain.Name, "go")
	}
	if strings.Count(std, ".") == 2 && semver.IsValid("v"+std) {
		inv.Packages = append(inv.Packages, bollwerk.Package{Name: "stdlib", Version: std, Ecosystem: bollwerk.EcosystemGo, Virtual: true})
	}
	return inv, ctx.Err()
}

// fromSum returns the highest version of each module whose content go.sum has.
func fromSum(in *sbom.Input) (map[string]string, error) {
	if in.Siblings == nil {
		return nil, fs.ErrNotExist
	}
	data, err := fs.ReadFile(in.Siblings, path.Join(path.Dir(in.File.Path), "go.sum"))
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		w := strings.Fields(sc.Text())
		if len(w) != 3 || strings.HasSuffix(w[1], "/go.mod") || !semver.IsValid(w[1]) {
			continue
		}
		if have := out[w[0]]; have == "" || semver.Compare(w[1], have) > 0 {
			out[w[0]] = w[1]
		}
	}
	return out, sc.Err()
}
