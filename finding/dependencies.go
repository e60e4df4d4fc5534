package finding

import (
	"slices"

	"github.com/bollwerk/bollwerk"
)

// dependencies are the edges of lock files, turned around: who brings a package.
//
// Packages are numbers here and the way up from each is computed once for all, from
// the direct dependencies downwards. Walking up from every vulnerable package
// through maps was the first version: a lock file of 20,000 packages took a minute.
type dependencies struct {
	packages []*bollwerk.Package
	index    map[bollwerk.PURL]int32
	parents  [][]int32
	// up is the next package on a shortest way to a root, -1 for roots and for what
	// no root brings.
	up []int32
	// root: somebody asked for it, or nobody brings it.
	root []bool

	seen   []int32 // walk number that last saw the package
	walk   int32
	budget int // steps left for looking for further roots
}

// maxSteps bounds all searches for further roots together; who drew the graph is
// a lock file's author.
const maxSteps = 100_000

func newDependencies(ps []bollwerk.Package) *dependencies {
	d := &dependencies{index: make(map[bollwerk.PURL]int32, len(ps)), budget: maxSteps}
	for i := range ps {
		p := &ps[i]
		if k, ok := d.index[p.PURL]; !ok {
			d.index[p.PURL] = int32(len(d.packages))
			d.packages = append(d.packages, p)
		} else if isDirect(p) && !isDirect(d.packages[k]) {
			d.packages[k] = p
		}
	}
	n := len(d.packages)
	d.parents, d.up, d.root, d.seen = make([][]int32, n), make([]int32, n), make([]bool, n), make([]int32, n)
	children := make([][]int32, n)
	for i := range ps {
		from := d.index[ps[i].PURL]
		for _, c := range ps[i].DependsOn {
			if to, ok := d.index[c]; ok && to != from {
				d.parents[to] = append(d.parents[to], from)
				children[from] = append(children[from], to)
			}
		}
	}
	// Breadth first from all roots at once. Direct dependencies come first, so that a
	// package that is brought by one is not attributed to the project itself.
	var queue []int32
	reached := make([]bool, n)
	start := func(i int32) {
		d.root[i], reached[i] = true, true
		queue = append(queue, i)
	}
	for i := range d.packages {
		d.up[i] = -1
		if isDirect(d.packages[i]) {
			start(int32(i))
		}
	}
	spread := func() {
		for len(queue) > 0 {
			at := queue[0]
			queue = queue[1:]
			for _, c := range children[at] {
				if !reached[c] {
					reached[c], d.up[c] = true, at
					queue = append(queue, c)
				}
			}
		}
	}
	spread()
	for i := range d.packages {
		if !reached[i] && len(d.parents[i]) == 0 {
			start(int32(i))
		}
	}
	spread()
	return d
}

func isDirect(p *bollwerk.Package) bool { return p.Direct != nil && *p.Direct }

// pkg returns the package with the PURL, nil when there is none.
func (d *dependencies) pkg(purl bollwerk.PURL) *bollwerk.Package {
	if i, ok := d.index[purl]; ok {
		return d.packages[i]
	}
	return nil
}

// direct reports whether a manifest names the package itself, as far as known.
func (d *dependencies) direct(purl bollwerk.PURL) bool {
	i, ok := d.index[purl]
	if !ok {
		return true
	}
	if p := d.packages[i]; p.Direct != nil {
		return *p.Direct
	}
	return len(d.parents[i]) == 0
}

// chain returns a shortest way from a package that somebody asked for down to
// purl, both included; only purl when it was asked for itself or nothing is known.
func (d *dependencies) chain(purl bollwerk.PURL) []*bollwerk.Package {
	i, ok := d.index[purl]
	if !ok {
		return nil
	}
	var way []*bollwerk.Package
	for ; i >= 0; i = d.up[i] {
		way = append(way, d.packages[i])
	}
	slices.Reverse(way)
	return way
}

// roots returns the names of the direct dependencies that bring purl, the nearest
// first; nil when it is direct itself or nothing is known. In a graph too large to
// walk there may be more than are named.
func (d *dependencies) roots(purl bollwerk.PURL) []string {
	i, ok := d.index[purl]
	if !ok || d.root[i] || d.up[i] < 0 {
		return nil
	}
	nearest := i
	for d.up[nearest] >= 0 {
		nearest = d.up[nearest]
	}
	names := []string{d.packages[nearest].Name}
	d.walk++
	queue := []int32{i}
	d.seen[i] = d.walk
	var more []string
	for len(queue) > 0 && d.budget > 0 {
		at := queue[0]
		queue = queue[1:]
		if d.root[at] {
			if name := d.packages[at].Name; name != names[0] {
				more = append(more, name)
			}
			continue
		}
		for _, p := range d.parents[at] {
			d.budget--
			if d.seen[p] != d.walk {
				d.seen[p] = d.walk
				queue = append(queue, p)
			}
		}
	}
	slices.Sort(more)
	return append(names, slices.Compact(more)...)
}
