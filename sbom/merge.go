package sbom

import (
	"sort"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/purl"
)

// Merge makes one inventory out of the parts of an artifact, bottom first. Layers
// has one entry per part, or is empty for an artifact without layers (then no Layer
// is set). hides(i, path) tells whether a part above i removes or replaces the path;
// nil means that nothing is hidden.
//
// What needs the whole is decided here:
//
//   - The distribution is that of the topmost visible os-release; its packages get
//     the release in their ecosystem ("Debian:12") and their package URL.
//   - A package is attributed to the layer that brought it. Files that list many
//     packages are rewritten by each layer that adds one, so the topmost copy of the
//     file says what is there, and the lowest part from which on the package has
//     been in every copy without interruption is the one that brought it.
//   - A language package whose files a distribution's package owns is left out: the
//     distribution patches it under its own version number, and its advisories
//     speak of the distribution's package. Packages of vendors who merely use the
//     distribution's format (Package.Vendor) do not count as owners.
//   - What has the same package URL in the same layer is one package with several
//     paths (a lock file and the installed copy; a library at two places). The same
//     package URL in two layers stays two packages, since two things must be done.
//   - A secret in a hidden file stays, marked Deleted: the layer that holds it is
//     still part of the image. Packages and facts in hidden files go.
func Merge(parts []Part, layers []bollwerk.LayerRef, hides func(part int, path string) bool) bollwerk.Inventory {
	if hides == nil {
		hides = func(int, string) bool { return false }
	}
	m := merger{parts: parts, layers: layers, hides: hides}
	var inv bollwerk.Inventory
	inv.OS = m.release()
	pkgs := m.packages()
	m.own(pkgs)
	owned := ownedFiles(pkgs)
	pkgs = dropOwned(pkgs, owned)
	for i := range pkgs {
		resolve(&pkgs[i].pkg, inv.OS)
	}
	link(pkgs)
	inv.Packages = dedupe(pkgs)
	inv.Secrets = m.secrets()
	inv.Facts = m.factsOf()
	return inv
}

type merger struct {
	parts  []Part
	layers []bollwerk.LayerRef
	hides  func(int, string) bool
}

type found struct {
	pkg  bollwerk.Package
	part int
}

func (m *merger) layer(part int) *bollwerk.LayerRef {
	if part >= len(m.layers) {
		return nil
	}
	l := m.layers[part]
	return &l
}

// outer is the path of the file in the artifact: "a.war" for "a.war!/b.jar".
func outer(p string) string {
	if i := strings.Index(p, "!/"); i >= 0 {
		return p[:i]
	}
	return p
}

// releaseFiles orders files that name the distribution, best first.
var releaseFiles = []string{
	"etc/os-release", "usr/lib/os-release", "etc/lsb-release", "etc/redhat-release",
	"etc/centos-release", "etc/system-release", "etc/alpine-release", "etc/debian_version",
}

func (m *merger) release() *bollwerk.Distribution {
	best := map[string]*bollwerk.Distribution{}
	for i := range m.parts {
		for j := range m.parts[i].Releases {
			r := &m.parts[i].Releases[j]
			if !m.hides(i, r.Path) {
				best[r.Path] = &r.OS
			}
		}
	}
	var os *bollwerk.Distribution
	for _, f := range releaseFiles {
		d := best[f]
		if d == nil {
			continue
		}
		if os == nil {
			c := *d
			os = &c
			continue
		}
		// A fuller file fills gaps of a better one: Debian's testing has no
		// VERSION_ID in os-release.
		if os.VersionID == "" && d.ID == os.ID {
			os.VersionID = d.VersionID
		}
	}
	return os
}

// listKey names a package within a file that lists packages.
type listKey struct{ extractor, path, name, version, arch string }

func (m *merger) packages() []found {
	// present[key] are the parts in which the file at key.path lists the package;
	// written[path] the parts that have the file with anything in it.
	type fileKey struct{ extractor, path string }
	present := map[listKey][]int{}
	written := map[fileKey][]int{}
	several := len(m.parts) > 1
	if several {
		for i := range m.parts {
			last := fileKey{}
			for j := range m.parts[i].Inventory.Packages {
				p := &m.parts[i].Inventory.Packages[j]
				fk := fileKey{p.Extractor, firstPath(p)}
				if fk != last {
					if w := written[fk]; len(w) == 0 || w[len(w)-1] != i {
						written[fk] = append(w, i)
					}
					last = fk
				}
				k := listKey{fk.extractor, fk.path, p.Name, p.Version, p.Arch}
				if w := present[k]; len(w) == 0 || w[len(w)-1] != i {
					present[k] = append(w, i)
				}
			}
		}
	}
	var out []found
	for i := range m.parts {
		hidden := map[string]bool{}
		for j := range m.parts[i].Inventory.Packages {
			p := m.parts[i].Inventory.Packages[j]
			path := outer(firstPath(&p))
			h, known := hidden[path]
			if !known {
				h = m.hides(i, path)
				hidden[path] = h
			}
			if h {
				continue
			}
			from := i
			if several {
				// The copies of the file below i, from the nearest down, as long as
				// each lists the package.
				files := written[fileKey{p.Extractor, firstPath(&p)}]
				has := present[listKey{p.Extractor, firstPath(&p), p.Name, p.Version, p.Arch}]
				fi, hi := len(files)-1, len(has)-1
				for fi >= 0 && files[fi] > i {
					fi--
				}
				for hi >= 0 && has[hi] > i {
					hi--
				}
				for fi >= 0 && hi >= 0 && files[fi] == has[hi] {
					from = files[fi]
					fi--
					hi--
				}
			}
			p.Layer = m.layer(from)
			out = append(out, found{p, from})
		}
	}
	return out
}

// own gives packages the files and licences that lists beside the database name.
func (m *merger) own(pkgs []found) {
	type key struct{ name, arch string }
	lists := map[key]*bollwerk.Ownership{}
	for i := range m.parts {
		for j := range m.parts[i].Inventory.Owned {
			o := &m.parts[i].Inventory.Owned[j]
			if m.hides(i, o.List) {
				continue
			}
			k := key{o.Package, o.Arch}
			if have := lists[k]; have != nil && have.List != o.List {
				merged := *have
				merged.Files = append(append([]string(nil), have.Files...), o.Files...)
				merged.Licenses = append(append([]string(nil), have.Licenses...), o.Licenses...)
				lists[k] = &merged
				continue
			}
			lists[k] = o
		}
	}
	if len(lists) == 0 {
		return
	}
	for i := range pkgs {
		p := &pkgs[i].pkg
		if !distroPackage(p) {
			continue
		}
		for _, arch := range []string{"", p.Arch} {
			if o := lists[key{p.Name, arch}]; o != nil {
				p.Files = append(p.Files[:len(p.Files):len(p.Files)], o.Files...)
				if len(p.Licenses) == 0 {
					p.Licenses = o.Licenses
				}
			}
			if p.Arch == "" {
				break
			}
		}
	}
}

// Formats of distributions, as extractors leave them in Package.Ecosystem for Merge
// to resolve.
const (
	FormatDeb bollwerk.Ecosystem = "deb"
	FormatRPM bollwerk.Ecosystem = "rpm"
	FormatAPK bollwerk.Ecosystem = "apk"
)

func distroPackage(p *bollwerk.Package) bool {
	return p.Ecosystem == FormatDeb || p.Ecosystem == FormatRPM || p.Ecosystem == FormatAPK
}

func ownedFiles(pkgs []found) map[string]bool {
	owned := map[string]bool{}
	for i := range pkgs {
		p := &pkgs[i].pkg
		if !distroPackage(p) || p.Vendor != "" {
			continue
		}
		for _, f := range p.Files {
			owned[mergedUsr(f)] = true
		}
	}
	return owned
}

// mergedUsr gives the path that a file has where bin, sbin and lib are links into
// usr, so that a list written before that change fits the files.
func mergedUsr(p string) string {
	p = strings.TrimPrefix(p, "/")
	switch {
	case strings.HasPrefix(p, "bin/"), strings.HasPrefix(p, "sbin/"), strings.HasPrefix(p, "lib/"),
		strings.HasPrefix(p, "lib64/"), strings.HasPrefix(p, "lib32/"):
		return "usr/" + p
	}
	return p
}

func dropOwned(pkgs []found, owned map[string]bool) []found {
	if len(owned) == 0 {
		return pkgs
	}
	out := pkgs[:0]
	for _, f := range pkgs {
		if !distroPackage(&f.pkg) && owned[mergedUsr(outer(firstPath(&f.pkg)))] {
			continue
		}
		out = append(out, f)
	}
	return out
}

func resolve(p *bollwerk.Package, os *bollwerk.Distribution) {
	if distroPackage(p) {
		p.Ecosystem = purl.Ecosystem(os, string(p.Ecosystem))
	}
	p.PURL = purl.For(*p)
}

func dedupe(pkgs []found) []bollwerk.Package {
	type key struct {
		purl bollwerk.PURL
		part int
	}
	at := map[key]int{}
	out := make([]bollwerk.Package, 0, len(pkgs))
	for _, f := range pkgs {
		k := key{f.pkg.PURL, f.part}
		i, ok := at[k]
		if !ok || k.purl == "" {
			at[k] = len(out)
			out = append(out, f.pkg)
			continue
		}
		join(&out[i], &f.pkg)
	}
	for i := range out {
		sort.Strings(out[i].Paths)
	}
	sort.SliceStable(out, func(i, j int) bool { return lessPackage(&out[i], &out[j]) })
	return out
}

// join adds what b knows to a, which has the same package URL.
func join(a, b *bollwerk.Package) {
	a.Paths = union(a.Paths, b.Paths)
	a.DependsOn = union(a.DependsOn, b.DependsOn)
	a.Hashes = union(a.Hashes, b.Hashes)
	a.Files = union(a.Files, b.Files)
	a.Symbols = union(a.Symbols, b.Symbols)
	if len(a.Licenses) == 0 {
		a.Licenses = b.Licenses
	}
	if a.Direct == nil || b.Direct != nil && *b.Direct {
		if b.Direct != nil {
			a.Direct = b.Direct
		}
	}
	// For development only if every place says so.
	a.Dev = a.Dev && b.Dev
	a.Virtual = a.Virtual && b.Virtual
	if a.Extractor != b.Extractor && b.Extractor < a.Extractor {
		a.Extractor = b.Extractor // any fixed choice, whatever the order of the files
	}
}

func union[T ~string](a, b []T) []T {
	if len(b) == 0 {
		return a
	}
	if len(a) == 0 {
		return b
	}
	seen := make(map[T]bool, len(a)+len(b))
	out := make([]T, 0, len(a)+len(b))
	for _, l := range [2][]T{a, b} {
		for _, x := range l {
			if !seen[x] {
				seen[x] = true
				out = append(out, x)
			}
		}
	}
	return out
}

func (m *merger) secrets() []bollwerk.Secret {
	type key struct{ detector, path, hash string }
	at := map[key]int{}
	var out []bollwerk.Secret
	for i := range m.parts {
		for _, s := range m.parts[i].Inventory.Secrets {
			s.Deleted = m.hides(i, outer(s.Path))
			s.Layer = m.layer(i)
			k := key{s.Detector, s.Path, s.Hash}
			if j, ok := at[k]; ok {
				// The lowest layer brought it; it is there as long as one copy is.
				out[j].Deleted = out[j].Deleted && s.Deleted
				continue
			}
			at[k] = len(out)
			out = append(out, s)
		}
	}
	return out
}

func (m *merger) factsOf() []bollwerk.FileFact {
	type key struct {
		kind bollwerk.FactKind
		path string
	}
	at := map[key]int{}
	var out []bollwerk.FileFact
	for i := range m.parts {
		for _, f := range m.parts[i].Inventory.Facts {
			if m.hides(i, f.Path) {
				continue
			}
			f.Layer = m.layer(i)
			k := key{f.Kind, f.Path}
			if j, ok := at[k]; ok {
				out[j] = f // the upper entry of a directory is the one that counts
				continue
			}
			at[k] = len(out)
			out = append(out, f)
		}
	}
	sort.SliceStable(out, func(i, j int) bool {
		if out[i].Path != out[j].Path {
			return out[i].Path < out[j].Path
		}
		return out[i].Kind < out[j].Kind
	})
	return out
}
