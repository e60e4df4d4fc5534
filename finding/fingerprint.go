package finding

import (
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/fingerprint"
)

// Fingerprint names a finding so that the next scan gives it the same name: its
// kind, its issue, its package (without the version: a rebuild that brings a
// package to another vulnerable version is not another problem to decide about)
// and its place (the first path, with the package's version cut out of it).
//
// Layers are no part of it, they change with every build; nor is anything that a
// newer database may change, except the ID itself, which a GHSA loses when a CVE
// is assigned. Baseline and exceptions therefore look at aliases too.
func Fingerprint(f *bollwerk.Finding) bollwerk.FindingID {
	return fingerprint.Of(parts(f)...)
}

func parts(f *bollwerk.Finding) []string {
	p := []string{string(f.Kind), f.ID}
	if f.Package != nil {
		return append(p, f.Package.Ecosystem.Name(), f.Package.Name, place(f))
	}
	return append(p, f.Path, f.SecretHash)
}

// place is where the finding's package lies, in words that survive an upgrade:
// "usr/lib/python3/dist-packages/requests-*.dist-info/METADATA".
func place(f *bollwerk.Finding) string {
	if f.Package == nil || len(f.Package.Paths) == 0 {
		return f.Path
	}
	first := f.Package.Paths[0]
	for _, p := range f.Package.Paths[1:] {
		if p < first {
			first = p
		}
	}
	return withoutVersion(first, f.Package.Version)
}

func withoutVersion(path, version string) string {
	// A version of one or two characters ("1", "5") also matches by accident.
	if len(version) < 3 {
		return path
	}
	return strings.ReplaceAll(path, version, "*")
}

// stamp gives every finding its fingerprint. Where several would share one (two
// vulnerable versions of a package in one lock file, two keys of one kind in one
// file), version, line and lastly a counter tell them apart, so that
// `bollwerk explain` always means one of them. fs must be in a stable order.
func stamp(fs []bollwerk.Finding) {
	first := make(map[bollwerk.FindingID]int, len(fs))
	clash := map[bollwerk.FindingID][]int{}
	for i := range fs {
		id := Fingerprint(&fs[i])
		fs[i].Fingerprint = id
		if j, ok := first[id]; ok {
			if clash[id] == nil {
				clash[id] = []int{j}
			}
			clash[id] = append(clash[id], i)
			continue
		}
		first[id] = i
	}
	for _, group := range clash {
		seen := make(map[bollwerk.FindingID]int, len(group))
		for _, i := range group {
			f := &fs[i]
			p := parts(f)
			if f.Package != nil {
				p = append(p, f.Package.Version, string(f.Package.PURL), strings.Join(f.Package.Paths, "\x00"))
			} else {
				p = append(p, strconv.Itoa(f.Line), f.Title, f.Reason)
			}
			id := fingerprint.Of(p...)
			if n := seen[id]; n > 0 {
				id = fingerprint.Of(append(p, strconv.Itoa(n))...)
			}
			seen[fingerprint.Of(p...)]++
			f.Fingerprint = id
		}
	}
}
