package purl

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// distro ties an ecosystem of the OSV schema to the namespace of its package URLs
// and to the ID in /etc/os-release (which is also what the distro qualifier
// begins with).
type distro struct {
	ecosystem bollwerk.Ecosystem
	typ       string // "deb", "rpm", "apk"
	namespace string
	id        string
}

// distros is searched in order; several IDs may lead to one ecosystem, the first
// is the one written. The names in front are OSV's; the last block are
// distributions without advisories there, so that coverage can call them by name.
var distros = []distro{
	{bollwerk.EcosystemDebian, "deb", "debian", "debian"},
	{bollwerk.EcosystemUbuntu, "deb", "ubuntu", "ubuntu"},
	{bollwerk.EcosystemAlpine, "apk", "alpine", "alpine"},
	{bollwerk.EcosystemWolfi, "apk", "wolfi", "wolfi"},
	{bollwerk.EcosystemChainguard, "apk", "chainguard", "chainguard"},
	{bollwerk.EcosystemAlpaquita, "apk", "alpaquita", "alpaquita"},
	{bollwerk.EcosystemBellSoft, "apk", "bellsoft-hardened-containers", "bellsoft-hardened-containers"},
	{bollwerk.EcosystemAlma, "rpm", "almalinux", "almalinux"},
	{bollwerk.EcosystemAlma, "rpm", "alma", "alma"},
	{bollwerk.EcosystemRocky, "rpm", "rocky", "rocky"},
	{bollwerk.EcosystemRocky, "rpm", "rockylinux", "rockylinux"},
	{bollwerk.EcosystemRedHat, "rpm", "redhat", "rhel"},
	{bollwerk.EcosystemRedHat, "rpm", "redhat", "redhat"},
	{bollwerk.EcosystemOpenSUSE, "rpm", "opensuse", "opensuse-leap"},
	{bollwerk.EcosystemOpenSUSE, "rpm", "opensuse", "opensuse-tumbleweed"},
	{bollwerk.EcosystemOpenSUSE, "rpm", "opensuse", "opensuse"},
	{bollwerk.EcosystemSUSE, "rpm", "suse", "sles"},
	{bollwerk.EcosystemSUSE, "rpm", "suse", "sled"},
	{bollwerk.EcosystemSUSE, "rpm", "suse", "suse"},
	{"Mageia", "rpm", "mageia", "mageia"},
	{"openEuler", "rpm", "openeuler", "openeuler"},

	{"Fedora", "rpm", "fedora", "fedora"},
	{"CentOS", "rpm", "centos", "centos"},
	{"Amazon Linux", "rpm", "amzn", "amzn"},
	{"Oracle Linux", "rpm", "oracle", "ol"},
	{"Photon OS", "rpm", "photon", "photon"},
	{"Azure Linux", "rpm", "azurelinux", "azurelinux"},
	{"Azure Linux", "rpm", "mariner", "mariner"},
	{"Raspbian", "deb", "raspbian", "raspbian"},
	{"Kali", "deb", "kali", "kali"},
}

func isDistroType(t string) bool { return t == "deb" || t == "rpm" || t == "apk" }

func distroOf(e bollwerk.Ecosystem) (distro, bool) {
	name := e.Name()
	for _, d := range distros {
		if string(d.ecosystem) == name {
			return d, true
		}
	}
	// "deb-foo:1": a distribution we have no name for, see Ecosystem.
	if typ, id, ok := strings.Cut(name, "-"); ok && isDistroType(typ) && id != "" {
		return distro{bollwerk.Ecosystem(name), typ, id, id}, true
	}
	if isDistroType(name) {
		return distro{bollwerk.Ecosystem(name), name, "", ""}, true
	}
	return distro{}, false
}

// Ecosystem names the universe of packages that a distribution's package manager
// of the given format ("deb", "rpm", "apk") installs from, with the release as
// advisories name it: "Debian:12", "Alpine:v3.19", "AlmaLinux:9", "Ubuntu:22.04",
// "openSUSE:Leap 15.5", "SUSE:Linux Enterprise Server 15 SP5".
//
// A derivative (ID_LIKE) is not taken for its parent: its packages have other
// versions, and the parent's advisories would call fixed what is not, and the
// other way round. A distribution without a name here is "deb-<id>:<version>";
// without any os-release it is the bare format, "deb". No advisories exist for
// these, which is what coverage will say.
func Ecosystem(os *bollwerk.Distribution, format string) bollwerk.Ecosystem {
	if os == nil || os.ID == "" {
		return bollwerk.Ecosystem(format)
	}
	return distroEcosystem(strings.ToLower(os.ID), os.VersionID, format)
}

func distroEcosystem(id, version, format string) bollwerk.Ecosystem {
	for _, d := range distros {
		if d.id == id && d.typ == format {
			if rel := release(d, id, version); rel != "" {
				return d.ecosystem + ":" + bollwerk.Ecosystem(rel)
			}
			return d.ecosystem
		}
	}
	e := bollwerk.Ecosystem(format + "-" + id)
	if version != "" {
		e += ":" + bollwerk.Ecosystem(version)
	}
	return e
}

// release turns VERSION_ID into the release as the ecosystem's advisories have it.
func release(d distro, id, version string) string {
	major, rest, _ := strings.Cut(version, ".")
	switch d.ecosystem {
	case bollwerk.EcosystemAlpine:
		minor, _, _ := strings.Cut(rest, ".")
		if version == "" || version == "edge" || strings.Contains(version, "_alpha") || strings.Contains(version, "_beta") {
			// Alpine's rolling branch calls itself by the release to come, with a
			// suffix: 3.21.0_alpha20240807.
			if version == "" {
				return ""
			}
			return "edge"
		}
		if minor == "" {
			return "v" + major
		}
		return "v" + major + "." + minor
	case bollwerk.EcosystemWolfi, bollwerk.EcosystemChainguard:
		return "" // rolling; VERSION_ID is the date of the file
	case bollwerk.EcosystemAlma, bollwerk.EcosystemRocky, bollwerk.EcosystemRedHat, bollwerk.EcosystemDebian,
		"CentOS", "Oracle Linux", "Raspbian":
		return major
	case bollwerk.EcosystemOpenSUSE:
		if id == "opensuse-tumbleweed" {
			return "Tumbleweed"
		}
		if version == "" {
			return ""
		}
		return "Leap " + version
	case bollwerk.EcosystemSUSE:
		if major == "" {
			return ""
		}
		edition := "Server"
		if id == "sled" {
			edition = "Desktop"
		}
		rel := "Linux Enterprise " + edition + " " + major
		if rest != "" && rest != "0" {
			rel += " SP" + rest
		}
		return rel
	}
	return version
}

// qualifier is the inverse of release: the value of the distro qualifier.
func (d distro) qualifier(rel string) string {
	if d.id == "" {
		return ""
	}
	switch d.ecosystem {
	case bollwerk.EcosystemAlpine:
		rel = strings.TrimPrefix(rel, "v")
	case bollwerk.EcosystemOpenSUSE:
		if rel == "Tumbleweed" {
			return "opensuse-tumbleweed"
		}
		rel = strings.TrimPrefix(rel, "Leap ")
	case bollwerk.EcosystemSUSE:
		id := "sles"
		rest := strings.TrimPrefix(rel, "Linux Enterprise Server ")
		if r, ok := strings.CutPrefix(rel, "Linux Enterprise Desktop "); ok {
			id, rest = "sled", r
		}
		if rest == "" {
			return id
		}
		return id + "-" + strings.Replace(rest, " SP", ".", 1)
	}
	if rel == "" {
		return d.id
	}
	return d.id + "-" + rel
}

func distroParts(p bollwerk.Package, d distro) Parts {
	parts := Parts{Type: d.typ, Namespace: d.namespace, Name: p.Name, Version: p.Version}
	q := map[string]string{}
	set(q, "arch", p.Arch)
	set(q, "distro", d.qualifier(p.Ecosystem.Release()))
	if d.typ == "rpm" {
		// The specification wants the epoch of an rpm outside of the version.
		if epoch, rest, ok := strings.Cut(p.Version, ":"); ok {
			parts.Version = rest
			if epoch != "0" {
				set(q, "epoch", epoch)
			}
		}
		set(q, "rpmmod", p.Modularity)
	}
	if s := p.Source; s != nil && s.Name != "" {
		switch {
		case d.typ == "rpm":
			up := s.Name
			if s.Version != "" {
				up += "-" + s.Version + ".src.rpm"
			}
			q["upstream"] = up
		case s.Version != "" && s.Version != p.Version:
			q["upstream"] = s.Name + "@" + s.Version
		case s.Name != p.Name:
			q["upstream"] = s.Name
		}
	}
	parts.Qualifiers = q
	return parts
}

func distroPackage(p *bollwerk.Package, parts Parts) {
	q := parts.Qualifiers
	id, version := distroQualifier(q["distro"])
	switch {
	case id != "":
		p.Ecosystem = distroEcosystem(id, version, parts.Type)
	case parts.Namespace != "":
		p.Ecosystem = namespaceEcosystem(parts.Namespace, parts.Type)
	default:
		p.Ecosystem = bollwerk.Ecosystem(parts.Type)
	}
	if parts.Type == "rpm" {
		if e := q["epoch"]; e != "" && e != "0" && !strings.Contains(p.Version, ":") {
			p.Version = e + ":" + p.Version
		}
		p.Modularity = q["rpmmod"]
		if p.Modularity == "" {
			p.Modularity = q["modularitylabel"] // Trivy's word for it
		}
		if up := q["upstream"]; up != "" {
			p.Source = SourceRPM(up)
		}
		return
	}
	src := &bollwerk.SourcePackage{Name: p.Name, Version: p.Version}
	if up := q["upstream"]; up != "" {
		name, v, ok := strings.Cut(up, "@")
		src.Name = name
		if ok && v != "" {
			src.Version = v
		}
	}
	p.Source = src
}

func namespaceEcosystem(ns, format string) bollwerk.Ecosystem {
	for _, d := range distros {
		if d.namespace == ns && d.typ == format {
			return d.ecosystem
		}
	}
	return bollwerk.Ecosystem(format + "-" + ns)
}

// distroQualifier splits "debian-12", "opensuse-leap-15.5", "wolfi". Debian's code
// names ("bookworm"), which some tools write, are resolved.
func distroQualifier(s string) (id, version string) {
	if s == "" {
		return "", ""
	}
	s = strings.ToLower(s)
	if n, ok := codenames[s]; ok {
		return n[0], n[1]
	}
	for _, d := range distros {
		if s == d.id {
			return s, ""
		}
		if len(s) > len(d.id) && s[len(d.id)] == '-' && strings.HasPrefix(s, d.id) && startsVersion(s[len(d.id)+1:]) {
			return d.id, s[len(d.id)+1:]
		}
	}
	if i := strings.LastIndexByte(s, '-'); i > 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

func startsVersion(s string) bool {
	return s != "" && (s[0] >= '0' && s[0] <= '9' || s == "edge" || s == "stream")
}

var codenames = map[string][2]string{
	"buster": {"debian", "10"}, "bullseye": {"debian", "11"}, "bookworm": {"debian", "12"},
	"trixie": {"debian", "13"}, "forky": {"debian", "14"},
	"focal": {"ubuntu", "20.04"}, "jammy": {"ubuntu", "22.04"}, "noble": {"ubuntu", "24.04"},
}

// SourceRPM splits the name of a source rpm, "bash-5.1.8-6.el9.src.rpm", into
// name and version-release. A bare name gives a source without version.
func SourceRPM(file string) *bollwerk.SourcePackage {
	nvr, isFile := strings.CutSuffix(file, ".src.rpm")
	if !isFile {
		nvr, isFile = strings.CutSuffix(file, ".nosrc.rpm")
	}
	if !isFile {
		return &bollwerk.SourcePackage{Name: file}
	}
	r := strings.LastIndexByte(nvr, '-')
	if r <= 0 {
		return &bollwerk.SourcePackage{Name: nvr}
	}
	v := strings.LastIndexByte(nvr[:r], '-')
	if v <= 0 {
		return &bollwerk.SourcePackage{Name: nvr[:r], Version: nvr[r+1:]}
	}
	return &bollwerk.SourcePackage{Name: nvr[:v], Version: nvr[v+1:]}
}
