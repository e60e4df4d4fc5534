package finding

import (
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/purl"
)

// vexIdentifier is how a statement names a product or subcomponent.
type vexIdentifier struct {
	text  string
	parts purl.Parts // when text is a package URL
	pkg   bollwerk.Package
	isURL bool
}

func newVEXIdentifier(s string) vexIdentifier {
	id := vexIdentifier{text: strings.TrimSpace(s)}
	if strings.HasPrefix(id.text, "pkg:") {
		parts, err := purl.Parse(id.text)
		if err != nil {
			return id
		}
		if pkg, err := purl.Package(parts); err == nil {
			id.parts, id.pkg, id.isURL = parts, pkg, true
		}
	}
	return id
}

// vexPackage is the package of a finding.
type vexPackage struct {
	*bollwerk.FindingPackage
	parts purl.Parts
	ok    bool
}

func newVEXPackage(p *bollwerk.FindingPackage) vexPackage {
	parts, err := purl.Parse(string(p.PURL))
	return vexPackage{p, parts, err == nil}
}

// names reports whether an identifier names a package, by the rules of OpenVEX for
// package URLs (opev-0014, "Product Matching", and the tests of go-vex): type,
// namespace and name are equal; a version, a subpath and each qualifier must be
// equal where the identifier has them; what it leaves out matches anything.
func (id vexIdentifier) names(p vexPackage) bool {
	if !id.isURL {
		return id.text != "" && id.text == string(p.PURL)
	}
	if !p.ok || id.parts.Type != p.parts.Type || id.parts.Namespace != p.parts.Namespace {
		return false
	}
	arch := id.parts.Qualifiers["arch"]
	if p.Source != nil && (id.parts.Type == "deb" && arch == "source" || id.parts.Type == "rpm" && arch == "src") {
		// Distributions speak of the source package; all that was built from it is meant.
		return id.pkg.Name == p.Source.Name && sameVersion(id, p.Source.Version) && id.qualifiersIn(p, "arch")
	}
	if !sameName(id, p) || id.parts.Version != "" && !sameVersion(id, p.Version) {
		return false
	}
	if id.parts.Subpath != "" && id.parts.Subpath != p.parts.Subpath {
		return false
	}
	return id.qualifiersIn(p, "")
}

func sameName(id vexIdentifier, p vexPackage) bool {
	return id.parts.Name == p.parts.Name || id.pkg.Name == p.Name
}

func sameVersion(id vexIdentifier, version string) bool {
	return id.parts.Version == "" || id.pkg.Version == version ||
		strings.TrimPrefix(id.pkg.Version, "0:") == strings.TrimPrefix(version, "0:")
}

// qualifiersIn reports whether every qualifier of the identifier is the package's
// too. The release of a distribution is compared by meaning: debian-12.4 is
// Debian 12. An epoch is part of the version, and was compared with it.
func (id vexIdentifier) qualifiersIn(p vexPackage, except string) bool {
	for k, v := range id.parts.Qualifiers {
		switch {
		case k == except, k == "epoch", k == "type" && v == "jar" && id.parts.Type == "maven":
		case k == "distro":
			if id.pkg.Ecosystem != p.Ecosystem && v != p.parts.Qualifiers[k] {
				return false
			}
		case v != p.parts.Qualifiers[k]:
			return false
		}
	}
	return true
}

// vexArtifact is the artifact in the ways a statement may name it.
type vexArtifact struct {
	*bollwerk.Artifact
	repository, tag string // of an image: registry.example/team/app, 1.0
}

func newVEXArtifact(a *bollwerk.Artifact) vexArtifact {
	v := vexArtifact{Artifact: a}
	name, _, _ := strings.Cut(a.Name, "@")
	v.repository = name
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		v.repository, v.tag = name[:i], name[i+1:]
	}
	return v
}

// is reports whether an identifier names the artifact: its digest (manifest or
// configuration), its name with or without tag, a package URL of type oci or
// docker, or the CPE of the distribution it holds.
func (a vexArtifact) is(id vexIdentifier) bool {
	s := id.text
	switch {
	case s == "":
		return false
	case id.isURL:
		return a.isURL(id.parts)
	case strings.HasPrefix(s, "sha256:") || strings.HasPrefix(s, "sha512:"):
		return a.isDigest(s)
	case strings.HasPrefix(s, "cpe:"):
		return a.isCPE(s)
	case a.Name == "":
		return false
	}
	if name, digest, ok := strings.Cut(s, "@"); ok {
		return a.isDigest(digest) && (name == "" || name == a.repository || name == a.repository+":"+a.tag)
	}
	return s == a.Name || s == a.repository || a.tag != "" && s == a.repository+":"+a.tag
}

func (a vexArtifact) isDigest(s string) bool {
	return s != "" && (s == string(a.Digest) || s == string(a.ConfigDigest))
}

func (a vexArtifact) isURL(p purl.Parts) bool {
	if p.Type != "oci" && p.Type != "docker" || a.repository == "" {
		return false
	}
	short := a.repository[strings.LastIndexByte(a.repository, '/')+1:]
	if !strings.EqualFold(p.Name, short) {
		return false
	}
	if p.Namespace != "" && !strings.HasSuffix("/"+a.repository, "/"+p.Namespace+"/"+p.Name) {
		return false
	}
	if v := p.Version; v != "" {
		if strings.Contains(v, ":") {
			if !a.isDigest(v) {
				return false
			}
		} else if v != a.tag {
			return false
		}
	}
	for k, v := range p.Qualifiers {
		switch k {
		case "repository_url":
			// Some write the repository with the image's name, some without.
			v = strings.TrimPrefix(strings.TrimSuffix(v, "/"), "https://")
			if v != a.repository && v+"/"+short != a.repository {
				return false
			}
		case "tag":
			if v != a.tag && !a.isDigest(p.Version) {
				return false // the digest says more than the tag it once had
			}
		case "arch":
			if f := strings.Split(a.Platform, "/"); len(f) < 2 || f[1] != v {
				return false
			}
		case "os":
			if f := strings.Split(a.Platform, "/"); f[0] != v {
				return false
			}
		}
	}
	return true
}

// isCPE recognises Red Hat's name for its distribution as a product, the only one
// that vendors' documents use for what a package is a component of:
// "cpe:/o:redhat:enterprise_linux:9" with or without a part after the version, and
// the same with "a" for its repositories. Minor streams (9.2) are products of their
// own and match nothing here: the artifact does not say which stream it follows.
func (a vexArtifact) isCPE(s string) bool {
	if a.OS == nil || a.OS.ID != "rhel" {
		return false
	}
	s = strings.TrimPrefix(strings.TrimPrefix(s, "cpe:/"), "cpe:2.3:")
	f := strings.Split(s, ":")
	major, _, _ := strings.Cut(a.OS.VersionID, ".")
	return len(f) >= 4 && (f[0] == "o" || f[0] == "a") && f[1] == "redhat" && f[2] == "enterprise_linux" && f[3] == major
}
