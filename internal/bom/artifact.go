package bom

import (
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/purl"
)

// Less orders packages for a document: by everything that tells two apart, so that
// the order does not depend on the scan's.
func Less(a, b *bollwerk.Package) bool {
	if a.PURL != b.PURL {
		return a.PURL < b.PURL
	}
	if a.Name != b.Name {
		return a.Name < b.Name
	}
	if a.Version != b.Version {
		return a.Version < b.Version
	}
	if a.Ecosystem != b.Ecosystem {
		return a.Ecosystem < b.Ecosystem
	}
	if c := slices.Compare(a.Paths, b.Paths); c != 0 {
		return c < 0
	}
	if x, y := layerIndex(a), layerIndex(b); x != y {
		return x < y
	}
	return a.Extractor < b.Extractor
}

func layerIndex(p *bollwerk.Package) int {
	if p.Layer == nil {
		return -1
	}
	return p.Layer.Index
}

// NewProperty is one of our own properties; Own of the result gives name and value
// back, whatever bytes the value has.
func NewProperty(name, value string) Property { return property(name, value) }

// GroupName splits a package's name the way documents do: Maven's group, npm's
// scope; everything else has a name only. The name is never empty.
func GroupName(p *bollwerk.Package) (group, name string) {
	group, name = "", Display(p.Name)
	switch bollwerk.Ecosystem(p.Ecosystem.Name()) {
	case bollwerk.EcosystemMaven:
		if g, n, ok := strings.Cut(name, ":"); ok && n != "" {
			group, name = g, n
		}
	case bollwerk.EcosystemNPM, bollwerk.EcosystemPackagist:
		if g, n, ok := strings.Cut(name, "/"); ok && n != "" {
			group, name = g, n
		}
	}
	if strings.TrimSpace(name) == "" {
		name = "unnamed"
	}
	return group, name
}

// Supplier is who publishes the packages of a distribution; "" where an ecosystem
// carries packages of everybody.
func Supplier(e bollwerk.Ecosystem) string {
	n := e.Name()
	switch bollwerk.Ecosystem(n) {
	case bollwerk.EcosystemDebian, bollwerk.EcosystemUbuntu, bollwerk.EcosystemAlma, bollwerk.EcosystemRocky,
		bollwerk.EcosystemRedHat, bollwerk.EcosystemSUSE, bollwerk.EcosystemOpenSUSE, bollwerk.EcosystemWolfi,
		bollwerk.EcosystemChainguard, bollwerk.EcosystemAlpaquita, bollwerk.EcosystemBitnami:
		return n
	case bollwerk.EcosystemAlpine:
		return "Alpine Linux"
	case bollwerk.EcosystemBellSoft:
		return "BellSoft"
	}
	return ""
}

// ArtifactVersion is what stands for the version of an artifact: the digest, else
// the tag of an image, else nothing.
func ArtifactVersion(a *bollwerk.Artifact) string {
	if a.Digest != "" {
		return string(a.Digest)
	}
	_, tag := splitTag(a)
	return tag
}

func splitTag(a *bollwerk.Artifact) (repository, tag string) {
	name, _, _ := strings.Cut(a.Name, "@")
	if a.Kind != bollwerk.KindImage {
		return name, ""
	}
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		return name[:i], name[i+1:]
	}
	return name, ""
}

// ArtifactPURL is the package URL of an image ("pkg:oci/…", defined for images
// with a digest only); empty for everything else.
func ArtifactPURL(a *bollwerk.Artifact) bollwerk.PURL {
	if a.Kind != bollwerk.KindImage || a.Digest == "" || !Clean(a.Name) {
		return ""
	}
	repository, tag := splitTag(a)
	name := repository[strings.LastIndexByte(repository, '/')+1:]
	if name == "" {
		return ""
	}
	q := map[string]string{}
	if strings.Contains(repository, "/") {
		q["repository_url"] = repository
	}
	if tag != "" {
		q["tag"] = tag
	}
	if _, arch, ok := strings.Cut(a.Platform, "/"); ok {
		q["arch"], _, _ = strings.Cut(arch, "/")
	}
	return bollwerk.PURL(purl.Parts{Type: "oci", Name: strings.ToLower(name), Version: string(a.Digest), Qualifiers: q}.String())
}
