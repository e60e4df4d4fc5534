package sbom

import (
	"slices"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// What a lock file says twice (a need that is a peer's as well) is one edge, and what
// leads nowhere none.
func TestEdgesOnce(t *testing.T) {
	p := func(name string, needs ...bollwerk.PURL) bollwerk.Package {
		return bollwerk.Package{Name: name, Version: "1.0.0", Ecosystem: bollwerk.EcosystemNPM, Extractor: "npm/package-lock",
			Paths: []string{"package-lock.json"}, DependsOn: needs}
	}
	part := Part{Inventory: bollwerk.Inventory{Packages: []bollwerk.Package{
		p("a", Edge("c", "1.0.0"), Edge("b", "1.0.0"), Edge("c", "1.0.0"), Edge("gone", "1.0.0"), Edge("a", "1.0.0")),
		p("b", Edge("gone", "1.0.0")), p("c"),
	}}}
	inv := Merge([]Part{part}, nil, nil)
	want := map[string][]bollwerk.PURL{"a": {"pkg:npm/b@1.0.0", "pkg:npm/c@1.0.0"}}
	for _, q := range inv.Packages {
		if !slices.Equal(q.DependsOn, want[q.Name]) {
			t.Errorf("%s needs %v, want %v", q.Name, q.DependsOn, want[q.Name])
		}
	}
}
