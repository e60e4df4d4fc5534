package scalibr

import (
	"testing"

	"github.com/bollwerk/bollwerk"
)

// FuzzRelations holds what apply promises whatever a lock file says: the packages
// stay the same ones, and no edge leads from a package to itself.
func FuzzRelations(f *testing.F) {
	f.Add([]byte(`{"graph_lock":{"nodes":{"1":{"ref":"a/1","requires":["1","2"]}}}}`))
	f.Add([]byte(`{"targets":{"t":{"a/1":{"dependencies":{"a":"1","b":"1"}}}}}`))
	f.Add([]byte(`{"dependencies":{"net6.0":{"a":{"type":"Direct","resolved":"1","dependencies":{"b":"1"}}}}}`))
	f.Add([]byte("PODS:\n  - a (1):\n    - b\n    - a/c\nDEPENDENCIES:\n  - a\n"))
	f.Add([]byte("[[a]]\ndeps = [\"b\"]\n"))
	f.Add([]byte(`  "a": {:hex, :a, "1", "x", [:mix], [{:b, "~> 1", [hex: :b]}], "hexpm"},`))
	f.Add([]byte(`{"Packages":{"a":{"Package":"a","Requirements":["b"]}}}`))
	f.Add([]byte("packages:\n  a:\n    dependency: direct main\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, row := range formats() {
			if row.relate == nil {
				continue
			}
			r, err := row.relate(data)
			if err != nil {
				continue
			}
			pkgs := []bollwerk.Package{{Name: "a", Version: "1"}, {Name: "b", Version: "1"}, {Name: "b", Version: "2"}}
			r.apply(pkgs, same)
			for i, want := range []string{"a 1", "b 1", "b 2"} {
				if got := pkgs[i].Name + " " + pkgs[i].Version; got != want {
					t.Fatalf("%s: package %d became %s", row.name, i, got)
				}
				for _, e := range pkgs[i].DependsOn {
					if string(e) == "\x00"+pkgs[i].Name+"\x00"+pkgs[i].Version {
						t.Fatalf("%s: %s needs itself", row.name, want)
					}
				}
			}
		}
	})
}
