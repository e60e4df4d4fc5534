// Package purl owns the translation between a package as the product knows it and
// a package URL (https://github.com/package-url/purl-spec), in both directions:
// a package written into an SBOM and read back is the same package.
//
// Escaping and the lower-casing that a type demands are those of packageurl-go;
// what is ours is which ecosystem maps to which type, and which qualifiers carry
// the rest of an identity: the source package of a distribution ("upstream", as
// Syft and Grype use it), its release ("distro"), the epoch and module label of an
// rpm ("epoch", "rpmmod"), the target of a Go binary ("goos", "goarch").
package purl

import (
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
	packageurl "github.com/package-url/packageurl-go"
)

// maxLength bounds what Parse looks at. Real package URLs stay below 500 bytes;
// SBOMs come from outside.
const maxLength = 8 << 10

// Parts are the components of a package URL, decoded.
type Parts struct {
	Type       string // "deb", lower case
	Namespace  string // "debian", "org.apache.logging.log4j", "" if none
	Name       string
	Version    string
	Qualifiers map[string]string
	Subpath    string
}

// Parse splits a package URL. The error names the URL.
func Parse(s string) (Parts, error) {
	if len(s) > maxLength {
		return Parts{}, fmt.Errorf("package URL %q…: longer than %d bytes", s[:64], maxLength)
	}
	u, err := packageurl.FromString(s)
	if err != nil {
		// Some types have rules on what must be present (a swift package needs a
		// namespace). FromString reports those after it has filled the structure;
		// such a URL still says which package is meant, so it is taken as it is.
		if u.Type == "" || u.Name == "" {
			return Parts{}, fmt.Errorf("package URL %q: %w", s, err)
		}
	}
	p := Parts{Type: u.Type, Namespace: u.Namespace, Name: u.Name, Version: u.Version, Subpath: u.Subpath}
	if len(u.Qualifiers) > 0 {
		p.Qualifiers = u.Qualifiers.Map()
	}
	return p, nil
}

// String returns the canonical form.
func (p Parts) String() string {
	u := packageurl.PackageURL{
		Type: p.Type, Namespace: p.Namespace, Name: p.Name, Version: p.Version,
		Qualifiers: packageurl.QualifiersFromMap(p.Qualifiers), Subpath: p.Subpath,
	}
	// Normalize lower-cases what the type demands and sorts the qualifiers; its
	// error says that a component is missing, which cannot be repaired here.
	_ = u.Normalize()
	return u.ToString()
}

// languages maps an ecosystem without releases to its type.
var languages = map[bollwerk.Ecosystem]string{
	bollwerk.EcosystemNPM:           "npm",
	bollwerk.EcosystemPyPI:          "pypi",
	bollwerk.EcosystemMaven:         "maven",
	bollwerk.EcosystemGo:            "golang",
	bollwerk.EcosystemCrates:        "cargo",
	bollwerk.EcosystemRubyGems:      "gem",
	bollwerk.EcosystemPackagist:     "composer",
	bollwerk.EcosystemNuGet:         "nuget",
	bollwerk.EcosystemHex:           "hex",
	bollwerk.EcosystemPub:           "pub",
	bollwerk.EcosystemSwift:         "swift",
	bollwerk.EcosystemCocoaPods:     "cocoapods",
	bollwerk.EcosystemConan:         "conan",
	bollwerk.EcosystemConda:         "conda",
	bollwerk.EcosystemCRAN:          "cran",
	bollwerk.EcosystemJulia:         "julia",
	bollwerk.EcosystemHackage:       "hackage",
	bollwerk.EcosystemGitHubActions: "github",
	bollwerk.EcosystemOpam:          "opam",
	bollwerk.EcosystemBitnami:       "bitnami",
	bollwerk.EcosystemBinary:        "generic",
}

var ecosystems = func() map[string]bollwerk.Ecosystem {
	m := make(map[string]bollwerk.Ecosystem, len(languages))
	for e, t := range languages {
		m[t] = e
	}
	return m
}()

// ghcNamespace separates the components of the Haskell compiler (OSV ecosystem
// GHC) from other programs, for which the specification has no type either.
const ghcNamespace = "ghc"

// For returns the package URL of p, built from its name, version, ecosystem,
// source, architecture, module label and Go target; p.PURL is not looked at.
// It is empty only when p has no name.
func For(p bollwerk.Package) bollwerk.PURL {
	if p.Name == "" {
		return ""
	}
	if d, ok := distroOf(p.Ecosystem); ok {
		return bollwerk.PURL(distroParts(p, d).String())
	}
	parts := Parts{Name: p.Name, Version: p.Version}
	typ, known := languages[bollwerk.Ecosystem(p.Ecosystem.Name())]
	switch {
	case known:
		parts.Type = typ
	case p.Ecosystem.Name() == string(bollwerk.EcosystemGHC):
		parts.Type, parts.Namespace = "generic", ghcNamespace
	case foreignType(string(p.Ecosystem)):
		parts.Type = string(p.Ecosystem)
	default:
		parts.Type = "generic"
	}
	switch parts.Type {
	case "npm", "golang", "composer", "swift", "alpm":
		parts.Namespace, parts.Name = splitLast(p.Name, '/')
	case "maven":
		if g, a, ok := strings.Cut(p.Name, ":"); ok {
			parts.Namespace, parts.Name = g, a
		}
	case "github":
		owner, rest, ok := strings.Cut(p.Name, "/")
		if ok {
			parts.Namespace = owner
			parts.Name, parts.Subpath, _ = strings.Cut(rest, "/")
		}
	case "cocoapods":
		parts.Name, parts.Subpath, _ = strings.Cut(p.Name, "/")
	case "generic":
		if parts.Namespace == "" {
			parts.Namespace, parts.Name = splitLast(p.Name, '/')
		}
	}
	if parts.Name == "" { // "a/": nothing behind the last slash; keep the whole
		parts.Namespace, parts.Name = "", p.Name
	}
	q := map[string]string{}
	if parts.Type == "golang" {
		set(q, "goos", p.GoOS)
		set(q, "goarch", p.GoArch)
	}
	set(q, "arch", p.Arch)
	parts.Qualifiers = q
	return bollwerk.PURL(parts.String())
}

// Package returns the package that a package URL names: name, version, ecosystem,
// source, architecture, module label, Go target, and the canonical PURL.
//
// The specification makes some types lower case (golang, composer, github). A
// reader that has the name from elsewhere, as SBOM documents do, should give it
// to WithName to get the ecosystem's own spelling back.
//
// A type the product does not know becomes an ecosystem of that name ("alpm"), so
// that the package is listed and its coverage said to be missing.
func Package(parts Parts) (bollwerk.Package, error) {
	if parts.Name == "" || parts.Type == "" {
		return bollwerk.Package{}, fmt.Errorf("package URL %q: type or name is missing", parts.String())
	}
	q := parts.Qualifiers
	p := bollwerk.Package{Name: parts.Name, Version: parts.Version, Arch: q["arch"]}
	if isDistroType(parts.Type) {
		distroPackage(&p, parts)
		p.PURL = For(p)
		return p, nil
	}
	eco, known := ecosystems[parts.Type]
	if !known {
		eco = bollwerk.Ecosystem(parts.Type)
	}
	p.Ecosystem = eco
	switch parts.Type {
	case "maven":
		if parts.Namespace != "" {
			p.Name = parts.Namespace + ":" + parts.Name
		}
	case "generic":
		if parts.Namespace == ghcNamespace {
			p.Ecosystem = bollwerk.EcosystemGHC
			break
		}
		if parts.Namespace != "" {
			p.Name = parts.Namespace + "/" + parts.Name
		}
	case "pypi":
		p.Name = PyPIName(parts.Name)
	case "golang":
		if parts.Namespace != "" {
			p.Name = parts.Namespace + "/" + parts.Name
		}
		p.GoOS, p.GoArch = q["goos"], q["goarch"]
		p.Virtual = p.Name == "stdlib"
	case "cocoapods", "github":
		if parts.Namespace != "" {
			p.Name = parts.Namespace + "/" + parts.Name
		}
		if parts.Subpath != "" {
			p.Name += "/" + parts.Subpath
		}
	case "conan", "conda", "cran", "julia", "hackage", "gem", "cargo", "nuget", "pub":
		// A namespace here is a registry's or user's, not part of the name.
	default:
		if parts.Namespace != "" {
			p.Name = parts.Namespace + "/" + parts.Name
		}
	}
	p.PURL = For(p)
	return p, nil
}

// WithName gives p the spelling that a document has beside the package URL, if the
// two differ in case only; otherwise p is returned as it is.
func WithName(p bollwerk.Package, name string) bollwerk.Package {
	if name != p.Name && strings.EqualFold(name, p.Name) {
		p.Name = name
	}
	return p
}

// PyPIName normalises a Python project name (PEP 503): lower case, runs of dot,
// dash and underscore become one dash.
func PyPIName(s string) string {
	clean := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '-' && i > 0 && s[i-1] == '-' {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '-' || c == '_' || c == '.':
			if len(b) == 0 || b[len(b)-1] != '-' {
				b = append(b, '-')
			}
		case c >= 'A' && c <= 'Z':
			b = append(b, c+'a'-'A')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func set(q map[string]string, key, value string) {
	if value != "" {
		q[key] = value
	}
}

func splitLast(s string, sep byte) (before, after string) {
	if i := strings.LastIndexByte(s, sep); i >= 0 {
		return s[:i], s[i+1:]
	}
	return "", s
}

// foreignType reports whether an ecosystem is the bare type of a package URL, as
// Package makes of types it does not know: lower-case letters, digits, . and -.
func foreignType(s string) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-') {
			return false
		}
	}
	return true
}
