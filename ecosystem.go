package bollwerk

import "strings"

// Ecosystem names a universe of packages as the OSV schema does
// (https://ossf.github.io/osv-schema/#affectedpackage-field), with the release
// behind a colon where there is one: "npm", "crates.io", "Debian:12", "Alpine:v3.19".
type Ecosystem string

// Name returns the part before the first colon: "Debian" for "Debian:12".
func (e Ecosystem) Name() string { n, _, _ := strings.Cut(string(e), ":"); return n }

// Release returns the part behind the first colon, or "".
func (e Ecosystem) Release() string { _, r, _ := strings.Cut(string(e), ":"); return r }

// The ecosystems the product knows by name.
const (
	EcosystemAlma          Ecosystem = "AlmaLinux"
	EcosystemAlpaquita     Ecosystem = "Alpaquita"
	EcosystemAlpine        Ecosystem = "Alpine"
	EcosystemBellSoft      Ecosystem = "BellSoft Hardened Containers"
	EcosystemBitnami       Ecosystem = "Bitnami"
	EcosystemChainguard    Ecosystem = "Chainguard"
	EcosystemConan         Ecosystem = "ConanCenter"
	EcosystemConda         Ecosystem = "Conda"
	EcosystemCRAN          Ecosystem = "CRAN"
	EcosystemCrates        Ecosystem = "crates.io"
	EcosystemDebian        Ecosystem = "Debian"
	EcosystemGHC           Ecosystem = "GHC"
	EcosystemGitHubActions Ecosystem = "GitHub Actions"
	EcosystemGo            Ecosystem = "Go"
	EcosystemHackage       Ecosystem = "Hackage"
	EcosystemHex           Ecosystem = "Hex"
	EcosystemJulia         Ecosystem = "Julia"
	EcosystemMaven         Ecosystem = "Maven"
	EcosystemNPM           Ecosystem = "npm"
	EcosystemNuGet         Ecosystem = "NuGet"
	EcosystemOpam          Ecosystem = "opam"
	EcosystemOSSFuzz       Ecosystem = "OSS-Fuzz"
	EcosystemPackagist     Ecosystem = "Packagist"
	EcosystemPub           Ecosystem = "Pub"
	EcosystemPyPI          Ecosystem = "PyPI"
	EcosystemRedHat        Ecosystem = "Red Hat"
	EcosystemRocky         Ecosystem = "Rocky Linux"
	EcosystemRubyGems      Ecosystem = "RubyGems"
	EcosystemSUSE          Ecosystem = "SUSE"
	EcosystemOpenSUSE      Ecosystem = "openSUSE"
	EcosystemSwift         Ecosystem = "SwiftURL"
	EcosystemCocoaPods     Ecosystem = "CocoaPods"
	EcosystemUbuntu        Ecosystem = "Ubuntu"
	EcosystemWolfi         Ecosystem = "Wolfi"
	// EcosystemBinary is the product's own: programs recognised by their file
	// (containerd, kubelet, a Python interpreter built from source) that no package
	// manager lists. It never occurs in an advisory.
	EcosystemBinary Ecosystem = "binary"
)
