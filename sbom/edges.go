package sbom

import (
	"slices"

	"github.com/bollwerk/bollwerk"
)

// Dependency edges are package URLs in the end, which for a distribution's package
// depend on the release and are known only in Merge. Until then an edge is a
// reference: a mark, the name and the version of the package meant.
const edgeMark = "\x00"

// Edge makes a reference to a package of the same ecosystem in the same file.
func Edge(name, version string) bollwerk.PURL {
	return bollwerk.PURL(edgeMark + name + edgeMark + version)
}

// LinkByName turns names into edges: wants[i] are what packages[i] asks for, and
// resolve gives the name of the package that fulfils it, or "". Names that lead
// nowhere, and a package's need for itself, are left out.
func LinkByName(packages []bollwerk.Package, wants map[int][]string, resolve func(string) string) {
	version := make(map[string]string, len(packages))
	for i := range packages {
		version[packages[i].Name] = packages[i].Version
	}
	for i, names := range wants {
		seen := map[string]bool{}
		for _, n := range names {
			r := resolve(n)
			v, ok := version[r]
			if r == "" || !ok || r == packages[i].Name || seen[r] {
				continue
			}
			seen[r] = true
			packages[i].DependsOn = append(packages[i].DependsOn, Edge(r, v))
		}
	}
}

// link resolves the references of packages that were found in one file.
func link(pkgs []found) {
	type key struct{ extractor, path, name, version string }
	byRef := map[key]bollwerk.PURL{}
	need := false
	for i := range pkgs {
		if len(pkgs[i].pkg.DependsOn) > 0 {
			need = true
			break
		}
	}
	if !need {
		return
	}
	for i := range pkgs {
		p := &pkgs[i].pkg
		byRef[key{p.Extractor, firstPath(p), p.Name, p.Version}] = p.PURL
	}
	for i := range pkgs {
		p := &pkgs[i].pkg
		if len(p.DependsOn) == 0 {
			continue
		}
		out := make([]bollwerk.PURL, 0, len(p.DependsOn))
		for _, ref := range p.DependsOn {
			name, version, ok := splitEdge(ref)
			if !ok {
				out = append(out, ref)
				continue
			}
			if u := byRef[key{p.Extractor, firstPath(p), name, version}]; u != "" {
				if u != p.PURL {
					out = append(out, u)
				}
				continue
			}
			// The package meant is not listed (an optional one that was not
			// installed): the edge would lead nowhere.
		}
		slices.Sort(out)
		p.DependsOn = slices.Compact(out) // needed and offered to its peers: one edge
		if len(p.DependsOn) == 0 {
			p.DependsOn = nil
		}
	}
}

func splitEdge(ref bollwerk.PURL) (name, version string, ok bool) {
	s := string(ref)
	if len(s) < 2 || s[0] != edgeMark[0] {
		return "", "", false
	}
	s = s[1:]
	for i := 0; i < len(s); i++ {
		if s[i] == edgeMark[0] {
			return s[:i], s[i+1:], true
		}
	}
	return "", "", false
}
