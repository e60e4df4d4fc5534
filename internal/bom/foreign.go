package bom

import (
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/purl"
)

// FromPURL is the package that a package URL names, and why it names none.
func FromPURL(s string) (bollwerk.Package, error) {
	parts, err := purl.Parse(s)
	if err != nil {
		return bollwerk.Package{}, err
	}
	return purl.Package(parts)
}

// Facts of a component of a document, gathered by a format's reader.
type Component struct {
	Name, Group, Version string
	PURL                 string
	Properties           []Property
	Licenses             []string
	Hashes               []bollwerk.Digest
	Paths                []string
	// SourceInfo is SPDX's free text on where a package comes from.
	SourceInfo string
}

// Package makes a package of a component: what our own properties say, else what
// the package URL says, completed by the conventions of the tools that write
// documents for others. The error says why the component cannot be matched with
// advisories; a package with the name and version is returned even then.
func (c *Component) Package() (bollwerk.Package, error) {
	own := Ours(c.Properties)
	var p bollwerk.Package
	var parts purl.Parts
	var err error = errNoPURL
	if c.PURL != "" {
		if parts, err = purl.Parse(c.PURL); err == nil {
			if !own {
				translate(&parts)
			}
			p, err = purl.Package(parts)
		}
	}
	if err != nil {
		p = bollwerk.Package{Name: c.Name, Version: c.Version}
		if c.Group != "" {
			p.Name = c.Group + "/" + c.Name
		}
	} else {
		c.spelling(&p)
		c.version(&p, &parts)
	}
	p.Licenses, p.Hashes, p.Paths = c.Licenses, c.Hashes, c.Paths
	if own {
		p.PURL = bollwerk.PURL(c.PURL)
		Apply(&p, c.Properties)
		if p.Ecosystem != "" {
			err = nil
		}
		return p, err
	}
	if err != nil {
		return p, err
	}
	c.foreign(&p)
	p.PURL = purl.For(p)
	return p, nil
}

// translate brings what other tools write into package URLs into the form that the
// specification and the advisories have.
func translate(p *purl.Parts) {
	switch p.Type {
	case "deb", "rpm", "apk":
		d := p.Qualifiers["distro"]
		switch {
		case d != "" && d[0] >= '0' && d[0] <= '9' && p.Namespace != "":
			// Trivy's Alpine: "distro=3.19.1".
			p.Qualifiers["distro"] = p.Namespace + "-" + d
		default:
			for _, r := range [...][2]string{
				// Trivy's names of SUSE's distributions, old and new.
				{"opensuse.leap-", "opensuse-leap-"}, {"opensuse.tumbleweed", "opensuse-tumbleweed"},
				{"suse.linux.enterprise.server-", "sles-"}, {"suse linux enterprise server-", "sles-"},
			} {
				if rest, ok := strings.CutPrefix(d, r[0]); ok {
					p.Qualifiers["distro"] = r[1] + rest
				}
			}
		}
	case "golang":
		if p.Namespace == "" && p.Name == "stdlib" {
			p.Version = strings.TrimPrefix(strings.TrimPrefix(p.Version, "go"), "v")
		} else if p.Version != "" && p.Version[0] >= '0' && p.Version[0] <= '9' {
			p.Version = "v" + p.Version // GitHub's dependency graph leaves the v out
		}
	case "gem":
		p.Version = withoutPlatform(p.Version)
	case "githubactions": // GitHub's dependency graph
		p.Type = "github"
	}
}

// withoutPlatform takes the platform off a gem's version: "1.15.4-x86_64-linux".
// Versions of gems have no dash of their own.
func withoutPlatform(v string) string {
	head, tail, ok := strings.Cut(v, "-")
	if !ok {
		return v
	}
	for _, s := range [...]string{"linux", "darwin", "mingw", "mswin", "java", "jruby", "musl", "x86", "arm", "aarch64"} {
		if strings.Contains(tail, s) {
			return head
		}
	}
	return v
}

type sentinel string

func (s sentinel) Error() string { return string(s) }

const errNoPURL = sentinel("no package URL")

// spelling takes the ecosystem's own spelling from the component's name, where the
// package URL had to be lower case.
func (c *Component) spelling(p *bollwerk.Package) {
	*p = purl.WithName(*p, c.Name)
	if c.Group != "" {
		*p = purl.WithName(*p, c.Group+"/"+c.Name)
		*p = purl.WithName(*p, c.Group+":"+c.Name)
	}
}

// version takes the component's version where the package URL has none, and an
// epoch that stands in a qualifier (Trivy does so for deb too) or in the
// component's version only.
func (c *Component) version(p *bollwerk.Package, parts *purl.Parts) {
	if p.Version == "" {
		p.Version = c.Version
	}
	epoch := ""
	if e, rest, ok := strings.Cut(c.Version, ":"); ok && rest == p.Version && isNumber(e) {
		epoch = e
	}
	if e := parts.Qualifiers["epoch"]; parts.Type == "deb" && isNumber(e) && !strings.Contains(p.Version, ":") {
		epoch = e
	}
	if epoch == "" || epoch == "0" {
		return
	}
	if p.Source != nil && p.Source.Version == p.Version {
		p.Source.Version = epoch + ":" + p.Version
	}
	p.Version = epoch + ":" + p.Version
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// foreign reads the properties of Syft (anchore/syft, syft/format/internal) and
// Trivy (aquasecurity/trivy, pkg/sbom/core) and cdxgen that say more than the
// package URL does.
func (c *Component) foreign(p *bollwerk.Package) {
	var srcName, srcVersion, srcRelease, srcEpoch, origin string
	l := bollwerk.LayerRef{Index: -1}
	for _, q := range c.Properties {
		name, v := q.Name, q.Value
		if rest, ok := strings.CutPrefix(name, "aquasecurity:trivy:"); ok {
			switch rest {
			case "SrcName":
				srcName = v
			case "SrcVersion":
				srcVersion = v
			case "SrcRelease":
				srcRelease = v
			case "SrcEpoch":
				srcEpoch = v
			case "Modularitylabel":
				p.Modularity = v
			case "LayerDiffID":
				l.DiffID = bollwerk.Digest(v)
			case "LayerDigest":
				l.Digest = bollwerk.Digest(v)
			case "FilePath":
				p.Paths = appendNew(p.Paths, v)
			}
			continue
		}
		if rest, ok := strings.CutPrefix(name, "syft:"); ok {
			switch {
			case rest == "metadata:source":
				srcName = v
			case rest == "metadata:sourceVersion":
				srcVersion = v
			case rest == "metadata:originPackage":
				origin = v
			case rest == "metadata:sourceRpm" && p.Source == nil && v != "":
				p.Source = purl.SourceRPM(v)
			case rest == "metadata:modularityLabel" && v != "":
				p.Modularity = v
			case strings.HasPrefix(rest, "location:") && strings.HasSuffix(rest, ":path"):
				p.Paths = appendNew(p.Paths, v)
			case strings.HasPrefix(rest, "location:") && strings.HasSuffix(rest, ":layerID") && l.DiffID == "":
				l.DiffID = bollwerk.Digest(v) // Syft's layer IDs are diff IDs
			}
			continue
		}
		switch name {
		case "SrcFile": // cdxgen
			p.Paths = appendNew(p.Paths, v)
		case "cdx:npm:package:development":
			p.Dev = v == "true"
		case "LayerDiffID": // Trivy's annotations in SPDX
			l.DiffID = bollwerk.Digest(v)
		case "LayerDigest":
			l.Digest = bollwerk.Digest(v)
		}
	}
	for i, s := range p.Paths {
		p.Paths[i] = strings.TrimPrefix(s, "/")
	}
	if l.DiffID != "" || l.Digest != "" {
		p.Layer = &l
	}
	if !distribution(p.PURL) {
		return
	}
	if name, v, ok := builtFrom(c.SourceInfo); ok && sameAsBinary(p) {
		p.Source = &bollwerk.SourcePackage{Name: name, Version: v}
		return
	}
	if srcName == "" {
		srcName = origin
	}
	if srcName == "" || !sameAsBinary(p) {
		return
	}
	s := &bollwerk.SourcePackage{Name: srcName, Version: p.Version}
	if srcVersion != "" {
		s.Version = srcVersion
		if srcRelease != "" {
			s.Version += "-" + srcRelease
		}
		if isNumber(srcEpoch) && srcEpoch != "0" && !strings.HasPrefix(string(p.PURL), "pkg:rpm/") {
			s.Version = srcEpoch + ":" + s.Version
		}
	}
	p.Source = s
}

// sameAsBinary: nothing better is known of the source than the binary's own name.
func sameAsBinary(p *bollwerk.Package) bool {
	return p.Source == nil || p.Source.Name == p.Name && p.Source.Version == p.Version
}

// builtFrom reads "built package from: openssl 3.0.11-1", which Trivy writes into
// SPDX.
func builtFrom(info string) (name, version string, ok bool) {
	rest, ok := strings.CutPrefix(info, "built package from: ")
	if !ok {
		return "", "", false
	}
	f := strings.Fields(rest)
	if len(f) != 2 {
		return "", "", false
	}
	return f[0], f[1], true
}

func distribution(u bollwerk.PURL) bool {
	t, _, _ := strings.Cut(strings.TrimPrefix(string(u), "pkg:"), "/")
	return t == "deb" || t == "rpm" || t == "apk"
}

// maxForeignPaths bounds the places of a package that are looked through for
// doubles: each costs a comparison with all before it.
const maxForeignPaths = 256

func appendNew(list []string, s string) []string {
	if s == "" || len(list) >= maxForeignPaths {
		return list
	}
	for _, t := range list {
		if strings.TrimPrefix(t, "/") == strings.TrimPrefix(s, "/") {
			return list
		}
	}
	return append(list, s)
}

// NewDistribution is the distribution that a document names, by its os-release ID
// where a tool has a name of its own (Trivy's families).
func NewDistribution(name, version string) *bollwerk.Distribution {
	id := strings.ToLower(name)
	switch id {
	case "redhat":
		id = "rhel"
	case "alma":
		id = "almalinux"
	case "amazon":
		id = "amzn"
	case "oracle":
		id = "ol"
	case "opensuse.leap":
		id = "opensuse-leap"
	case "opensuse.tumbleweed":
		id = "opensuse-tumbleweed"
	case "suse linux enterprise server", "suse.linux.enterprise.server":
		id = "sles"
	}
	return &bollwerk.Distribution{ID: id, VersionID: version}
}

// CompleteOS gives packages of a distribution whose own URL does not name the
// release the one that the document names elsewhere ("Debian" becomes
// "Debian:12"), and finds the distribution from the packages when the document
// names none. It returns the distribution.
func CompleteOS(pkgs []bollwerk.Package, os *bollwerk.Distribution) *bollwerk.Distribution {
	if os == nil {
		os = majority(pkgs)
	}
	if os == nil {
		return nil
	}
	for i := range pkgs {
		p := &pkgs[i]
		format, _, _ := strings.Cut(strings.TrimPrefix(string(p.PURL), "pkg:"), "/")
		if !distribution(p.PURL) || p.Ecosystem.Release() != "" {
			continue
		}
		e := purl.Ecosystem(os, format)
		// A bare "deb" belongs to whatever the document is about; "Debian" only
		// to a Debian.
		if string(p.Ecosystem) == format || e.Name() == p.Ecosystem.Name() {
			if e != p.Ecosystem {
				p.Ecosystem = e
				p.PURL = purl.For(*p)
			}
		}
	}
	return os
}

// majority reads the distribution off the qualifiers of the packages, if they
// agree.
func majority(pkgs []bollwerk.Package) *bollwerk.Distribution {
	var id string
	for i := range pkgs {
		p := &pkgs[i]
		if !distribution(p.PURL) || p.Ecosystem.Release() == "" {
			continue
		}
		parts, err := purl.Parse(string(p.PURL))
		if err != nil || parts.Qualifiers["distro"] == "" {
			continue
		}
		if d := parts.Qualifiers["distro"]; id == "" {
			id = d
		} else if id != d {
			return nil
		}
	}
	i := strings.LastIndexByte(id, '-')
	if i <= 0 {
		return nil
	}
	return NewDistribution(id[:i], id[i+1:])
}

// Ours reports whether any property is one of ours.
func Ours(props []Property) bool {
	for _, q := range props {
		if _, _, ok := q.Own(); ok {
			return true
		}
	}
	return false
}

// RootIsPackage reports whether the package URL of what a document describes is
// that of a package that advisories speak of (the SBOM a library ships of itself),
// and not of an image or a repository.
func RootIsPackage(u string) bool {
	parts, err := purl.Parse(u)
	if err != nil || parts.Version == "" {
		return false
	}
	switch parts.Type {
	case "npm", "pypi", "maven", "golang", "cargo", "gem", "composer", "nuget", "hex", "pub", "swift",
		"cocoapods", "conan", "conda", "cran", "julia", "hackage", "bitnami", "deb", "rpm", "apk":
		return true
	}
	return false
}

// ForeignArtifact reads what other tools say of the image a document describes:
// Trivy in properties, everybody in the package URL of type oci or docker.
func ForeignArtifact(a *bollwerk.Artifact, c *Component) {
	for _, q := range c.Properties {
		rest, ok := strings.CutPrefix(q.Name, "aquasecurity:trivy:")
		if !ok {
			continue
		}
		switch rest {
		case "DiffID":
			a.Layers = append(a.Layers, bollwerk.Layer{Index: len(a.Layers), DiffID: bollwerk.Digest(q.Value)})
		case "ImageID":
			a.ConfigDigest = bollwerk.Digest(q.Value)
		case "RepoDigest":
			if _, d, ok := strings.Cut(q.Value, "@"); ok {
				a.Digest = bollwerk.Digest(d)
			}
		case "RepoTag":
			a.Name = q.Value
		}
	}
	if parts, err := purl.Parse(c.PURL); err == nil && (parts.Type == "oci" || parts.Type == "docker") && a.Digest == "" {
		if d, err := bollwerk.ParseDigest(parts.Version); err == nil {
			a.Digest = d
		}
	}
	if a.Digest == "" {
		if d, err := bollwerk.ParseDigest(c.Version); err == nil {
			a.Digest = d // Syft's version of an image is its manifest digest
		}
	}
}

// Readable reports whether a package URL names a package.
func Readable(u string) bool {
	_, err := FromPURL(u)
	return err == nil
}
