// Package dotnet owns reading which NuGet packages a project file asks for. Lock
// files and what a build writes (deps.json) are read elsewhere.
package dotnet

import (
	"context"
	"encoding/xml"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const maxProject = 4 << 20

// Project reads MSBuild project files, with the versions that
// Directory.Packages.props in a folder above sets for all of them
// (https://learn.microsoft.com/nuget/consume-packages/central-package-management).
// Conditions and properties are not evaluated: a version that depends on one is
// left empty.
type Project struct{}

func (Project) Name() string                  { return "dotnet/project" }
func (Project) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemNuGet }
func (Project) Hints() sbom.Hints {
	return sbom.Hints{Exts: []string{"csproj", "vbproj", "fsproj"}, Bases: []string{"Directory.Build.props"}}
}

// Wants takes projects, and the props file that adds packages to all projects.
func (Project) Wants(f *bollwerk.File) bool {
	p := f.Path
	return strings.HasSuffix(p, ".csproj") || strings.HasSuffix(p, ".vbproj") || strings.HasSuffix(p, ".fsproj") ||
		base(p) == "Directory.Build.props"
}

// Keeps implements sbom.Gatherer.
func (Project) Keeps(f *bollwerk.File) bool {
	return base(f.Path) == "Directory.Packages.props" && f.Size <= maxProject
}

func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

type reference struct {
	Include    string `xml:"Include,attr"`
	Update     string `xml:"Update,attr"`
	Version    string `xml:"Version,attr"`
	Override   string `xml:"VersionOverride,attr"`
	VersionTag string `xml:"Version"`
	Private    string `xml:"PrivateAssets,attr"`
}

type project struct {
	Groups []struct {
		References []reference `xml:"PackageReference"`
		Versions   []reference `xml:"PackageVersion"`
		Globals    []reference `xml:"GlobalPackageReference"`
	} `xml:"ItemGroup"`
}

// Extract lists the references.
func (Project) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	data, err := in.Document(maxProject)
	if err != nil {
		return inv, err
	}
	var p project
	if err := xml.Unmarshal(data, &p); err != nil {
		return inv, fmt.Errorf("project: %w", err)
	}
	central := centralVersions(in)
	yes := true
	for _, g := range p.Groups {
		for _, r := range append(g.References, g.Globals...) {
			if r.Include == "" || strings.Contains(r.Include, "$(") {
				continue
			}
			v := exact(first(r.Override, r.Version, r.VersionTag, central[strings.ToLower(r.Include)]))
			inv.Packages = append(inv.Packages, bollwerk.Package{
				Name: r.Include, Version: v, Ecosystem: bollwerk.EcosystemNuGet, Direct: &yes,
				// "all": tools for the build that do not reach users of the project.
				Dev: strings.EqualFold(r.Private, "all"),
			})
		}
	}
	return inv, ctx.Err()
}

// centralVersions reads the nearest Directory.Packages.props at or above.
func centralVersions(in *sbom.Input) map[string]string {
	if in.Siblings == nil {
		return nil
	}
	for dir := path.Dir(in.File.Path); ; dir = path.Dir(dir) {
		data, err := fs.ReadFile(in.Siblings, path.Join(dir, "Directory.Packages.props"))
		if err == nil {
			var p project
			if err := xml.Unmarshal(data, &p); err != nil {
				in.Problem("central versions: %v", err)
				return nil
			}
			out := map[string]string{}
			for _, g := range p.Groups {
				for _, r := range g.Versions {
					out[strings.ToLower(r.Include)] = first(r.Version, r.VersionTag)
				}
			}
			return out
		}
		if dir == "." || dir == "/" {
			return nil
		}
	}
}

func first(s ...string) string {
	for _, v := range s {
		if v = strings.TrimSpace(v); v != "" {
			return v
		}
	}
	return ""
}

// exact: "1.0" means at least 1.0, and NuGet takes the lowest that fits, so it is
// the version; "[1.0]" is 1.0; a range or a wildcard says nothing certain.
func exact(v string) string {
	if strings.Contains(v, "$(") {
		return ""
	}
	if in, ok := strings.CutPrefix(v, "["); ok {
		if in, ok = strings.CutSuffix(in, "]"); ok && !strings.Contains(in, ",") {
			return in
		}
	}
	if strings.ContainsAny(v, "[](),*") {
		return ""
	}
	return v
}
