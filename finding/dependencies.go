package finding

import (
	"slices"

	"github.com/bollwerk/bollwerk"
)

// dependencies are the edges of lock files, turned around: who brings a package.
type dependencies struct {
	packages map[bollwerk.PURL]*bollwerk.Package
	parents  map[bollwerk.PURL][]bollwerk.PURL
}

// maxVisited bounds a walk through the graph, which a lock file's author draws.
const maxVisited = 20000

func newDependencies(ps []bollwerk.Package) *dependencies {
	d := &dependencies{parents: map[bollwerk.PURL][]bollwerk.PURL{}, packages: map[bollwerk.PURL]*bollwerk.Package{}}
	for i := range ps {
		p := &ps[i]
		if old := d.packages[p.PURL]; old == nil || isDirect(p) && !isDirect(old) {
			d.packages[p.PURL] = p
		}
		for _, c := range p.DependsOn {
			if c != p.PURL {
				d.parents[c] = append(d.parents[c], p.PURL)
			}
		}
	}
	return d
}

func isDirect(p *bollwerk.Package) bool { return p.Direct != nil && *p.Direct }

// chain returns the shortest way from a package that somebody asked for down to
// purl, both included; only purl when it was asked for itself or nothing is known.
func (d *dependencies) chain(purl bollwerk.PURL) []bollwerk.PURL {
	way, _ := d.walk(purl, 1)
	if len(way) == 0 {
		return []bollwerk.PURL{purl}
	}
	return way
}

// roots returns the names of the direct dependencies that bring purl, sorted; nil
// when it is direct itself or nothing is known.
func (d *dependencies) roots(purl bollwerk.PURL) []string {
	_, names := d.walk(purl, maxVisited)
	slices.Sort(names)
	return slices.Compact(names)
}

// walk goes up from purl breadth first until it has met want packages that are
// direct, or that nobody brings although it brings others (lock files without a
// mark for direct ones).
func (d *dependencies) walk(purl bollwerk.PURL, want int) (way []bollwerk.PURL, names []string) {
	self := d.packages[purl]
	if self != nil && isDirect(self) || len(d.parents[purl]) == 0 {
		return nil, nil
	}
	via := map[bollwerk.PURL]bollwerk.PURL{purl: ""}
	queue := []bollwerk.PURL{purl}
	for len(queue) > 0 && len(via) < maxVisited {
		at := queue[0]
		queue = queue[1:]
		p := d.packages[at]
		if at != purl && (p != nil && isDirect(p) || len(d.parents[at]) == 0) {
			if way == nil {
				for x := at; x != ""; x = via[x] {
					way = append(way, x)
				}
			}
			if p != nil {
				names = append(names, p.Name)
			}
			if len(names) >= want {
				return way, names
			}
			continue
		}
		for _, up := range d.parents[at] {
			if _, ok := via[up]; !ok {
				via[up] = at
				queue = append(queue, up)
			}
		}
	}
	return way, names
}

// isDirect reports whether a manifest names the package itself, as far as known.
func (b *actionBuilder) isDirect(purl bollwerk.PURL) bool {
	if b.graph == nil {
		b.graph = newDependencies(b.r.Packages)
	}
	if p := b.graph.packages[purl]; p != nil && p.Direct != nil {
		return *p.Direct
	}
	return len(b.graph.parents[purl]) == 0
}

// broughtBy names the direct dependencies that bring a package that is not direct.
func (b *actionBuilder) broughtBy(purl bollwerk.PURL) []string {
	if b.graph == nil {
		b.graph = newDependencies(b.r.Packages)
	}
	return b.graph.roots(purl)
}
