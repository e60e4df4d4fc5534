package vuln

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// canonicalEcosystem folds the spellings of an ecosystem that mean the same set
// of packages, so that an advisory and a package meet:
//
//   - a point release falls back to the release advisories are issued for
//     (Debian:12.5 → Debian:12, Alpine:v3.19.1 or 3.19 → Alpine:v3.19);
//   - Ubuntu's ":LTS" says how long, not which (Ubuntu:22.04:LTS → Ubuntu:22.04),
//     but ":Pro" is another archive and stays;
//   - Red Hat's product streams are CPE fragments; the main product of a major
//     release is what an installed system reports (Red Hat:enterprise_linux:8::baseos
//     → Red Hat:8), the extended-support ones stay as they are;
//   - a registry URL as release (Packagist:https://…, Maven:https://…) names where
//     a package was fetched from. Lock files rarely keep it, and the one such
//     registry in use does not reuse names, so it is dropped.
func canonicalEcosystem(e bollwerk.Ecosystem) bollwerk.Ecosystem {
	name, rel, ok := strings.Cut(string(e), ":")
	if !ok || rel == "" {
		return bollwerk.Ecosystem(name)
	}
	if strings.HasPrefix(rel, "http:") || strings.HasPrefix(rel, "https:") {
		return bollwerk.Ecosystem(name)
	}
	was := rel
	switch bollwerk.Ecosystem(name) {
	case bollwerk.EcosystemDebian:
		rel = debianRelease(rel)
	case bollwerk.EcosystemAlma, bollwerk.EcosystemRocky, ecosystemOracle:
		rel = majorOf(rel)
	case bollwerk.EcosystemAlpine:
		rel = alpineRelease(rel)
	case bollwerk.EcosystemUbuntu:
		rel = strings.TrimSuffix(rel, ":LTS")
	case bollwerk.EcosystemRedHat:
		if r, ok := strings.CutPrefix(rel, "enterprise_linux:"); ok {
			r, _, _ = strings.Cut(r, ":")
			rel = majorOf(r)
		} else if isDigits(majorOf(rel)) && !strings.Contains(rel, ":") {
			rel = majorOf(rel)
		}
	}
	if rel == was {
		return e // the hot path: no new string
	}
	return bollwerk.Ecosystem(name + ":" + rel)
}

const (
	ecosystemOracle    bollwerk.Ecosystem = "Oracle Linux"
	ecosystemMageia    bollwerk.Ecosystem = "Mageia"
	ecosystemOpenEuler bollwerk.Ecosystem = "openEuler"
	ecosystemPhoton    bollwerk.Ecosystem = "Photon OS"
	ecosystemMinimOS   bollwerk.Ecosystem = "MinimOS"
	ecosystemEcho      bollwerk.Ecosystem = "Echo"
	ecosystemAzure     bollwerk.Ecosystem = "Azure Linux"
	ecosystemVSCode    bollwerk.Ecosystem = "VSCode"
)

// debianRelease keeps what Debian calls a release: up to 6.0 two numbers, since
// 7 one.
func debianRelease(rel string) string {
	major, rest, ok := strings.Cut(rel, ".")
	if !ok || !isDigits(major) || len(major) == 1 && major < "7" {
		return rel
	}
	_ = rest
	return major
}

func alpineRelease(rel string) string {
	if rel == "edge" {
		return rel
	}
	v := strings.TrimPrefix(rel, "v")
	major, rest, ok := strings.Cut(v, ".")
	if !ok || !isDigits(major) {
		return rel
	}
	minor, _, _ := strings.Cut(rest, ".")
	minor, _, _ = strings.Cut(minor, "_")
	if !isDigits(minor) {
		return rel
	}
	if canonical := len(major) + 1 + len(minor); v != rel && len(v) == canonical {
		return rel
	}
	return "v" + major + "." + minor
}

func majorOf(rel string) string { m, _, _ := strings.Cut(rel, "."); return m }

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// canonicalName folds the spellings of a name that an ecosystem's registry treats
// as one. Where the registry is case-sensitive the name stays as it is: npm and
// RubyGems have packages that differ in case only.
func canonicalName(e bollwerk.Ecosystem, name string) string {
	switch bollwerk.Ecosystem(e.Name()) {
	case bollwerk.EcosystemPyPI:
		return pypiName(name)
	case bollwerk.EcosystemCrates:
		// crates.io refuses a name that differs from another in case or in - and _
		// only (https://doc.rust-lang.org/cargo/reference/registry-index.html).
		return strings.ReplaceAll(strings.ToLower(name), "_", "-")
	case bollwerk.EcosystemNuGet, bollwerk.EcosystemPackagist, bollwerk.EcosystemHex,
		bollwerk.EcosystemPub, bollwerk.EcosystemGitHubActions, bollwerk.EcosystemConan,
		bollwerk.EcosystemBitnami, ecosystemVSCode:
		return strings.ToLower(name)
	case bollwerk.EcosystemSwift:
		n := strings.ToLower(name)
		n = strings.TrimPrefix(strings.TrimPrefix(n, "https://"), "http://")
		return strings.TrimSuffix(strings.TrimSuffix(n, "/"), ".git")
	case bollwerk.EcosystemCocoaPods:
		root, _, _ := strings.Cut(name, "/") // "Firebase/Core" is a part of Firebase
		return root
	case bollwerk.EcosystemJulia:
		return strings.TrimSuffix(name, ".jl")
	}
	return name
}

// pypiName is PEP 503's normalisation: lower case, runs of - _ . are one hyphen.
func pypiName(name string) string {
	clean := true
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '-' && i > 0 && name[i-1] == '-' {
			clean = false
			break
		}
	}
	if clean {
		return name
	}
	b := make([]byte, 0, len(name))
	sep := false
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '-' || c == '_' || c == '.':
			if !sep {
				b = append(b, '-')
			}
			sep = true
			continue
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		}
		sep = false
		b = append(b, c)
	}
	return string(b)
}

// isDistribution reports whether the ecosystem is an operating system, whose
// records are errata: one of them may hand down many issues.
func isDistribution(e bollwerk.Ecosystem) bool {
	switch bollwerk.Ecosystem(e.Name()) {
	case bollwerk.EcosystemAlma, bollwerk.EcosystemAlpaquita, bollwerk.EcosystemAlpine,
		bollwerk.EcosystemBellSoft, bollwerk.EcosystemChainguard, bollwerk.EcosystemDebian,
		bollwerk.EcosystemRedHat, bollwerk.EcosystemRocky, bollwerk.EcosystemSUSE,
		bollwerk.EcosystemOpenSUSE, bollwerk.EcosystemUbuntu, bollwerk.EcosystemWolfi,
		ecosystemOracle, ecosystemMageia, ecosystemOpenEuler, ecosystemPhoton,
		ecosystemMinimOS, ecosystemEcho, ecosystemAzure:
		return true
	}
	return false
}

// bySource reports whether the ecosystem's advisories name source packages
// (origins), not the binary packages that are installed.
func bySource(e bollwerk.Ecosystem) bool {
	switch bollwerk.Ecosystem(e.Name()) {
	case bollwerk.EcosystemDebian, bollwerk.EcosystemUbuntu, bollwerk.EcosystemAlpine,
		bollwerk.EcosystemAlpaquita, bollwerk.EcosystemBellSoft, bollwerk.EcosystemWolfi,
		bollwerk.EcosystemChainguard, ecosystemMageia, ecosystemOpenEuler,
		ecosystemMinimOS, ecosystemEcho:
		return true
	}
	return false
}

// isRPM reports whether the ecosystem's packages are rpms with modules.
func isRPM(e bollwerk.Ecosystem) bool {
	switch bollwerk.Ecosystem(e.Name()) {
	case bollwerk.EcosystemAlma, bollwerk.EcosystemRocky, bollwerk.EcosystemRedHat, ecosystemOracle:
		return true
	}
	return false
}
