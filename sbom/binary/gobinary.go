package binary

import (
	"runtime/debug"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

const (
	develVersion = "(devel)"
	maxModules   = 20_000
)

// goPackages lists the main module, its dependencies as they were linked
// (replacements applied), and the standard library.
//
// constant gives the version that a program of the container stack holds as a
// constant; it is asked only when the build information does not tell.
func goPackages(inv *bollwerk.Inventory, in *sbom.Input, bi *debug.BuildInfo, constant func() string) {
	setting := map[string]string{}
	for _, s := range bi.Settings {
		setting[s.Key] = s.Value
	}
	goos, goarch := setting["GOOS"], setting["GOARCH"]
	add := func(name, version string) {
		if name == "" || len(inv.Packages) >= maxModules {
			return
		}
		inv.Packages = append(inv.Packages, bollwerk.Package{
			Name: name, Version: version, Ecosystem: bollwerk.EcosystemGo, GoOS: goos, GoArch: goarch,
		})
	}
	main := bi.Main.Path
	if m, ok := stackModule(base(in.File.Path)); ok && (main == "" || main == "command-line-arguments") {
		main = m // built without modules
	}
	if main != "" {
		v := bi.Main.Version
		if v == develVersion || v == "" || strings.HasPrefix(v, "v0.0.0-") {
			if l := linkerVersion(setting["-ldflags"], main); l != "" {
				v = l
			}
		}
		if v == develVersion {
			v = ""
		}
		// A build from a work tree is stamped with a pseudo-version since Go 1.24;
		// what the stack's build puts in is better.
		if _, known := stackModule(base(in.File.Path)); known || stack[main] {
			if v == "" || module.IsPseudoVersion(v) {
				if c := constant(); c != "" {
					v = c
				}
			}
			if v == "" {
				v = etcdVersion(main, bi)
			}
			if v == "" {
				in.Problem("%s: the program does not tell its version", main)
			}
		}
		// Debian and others build with "+dirty" from a changed tree; the release it
		// was built from is what advisories speak of.
		v, _, _ = strings.Cut(v, "+dirty")
		add(main, v)
	}
	for _, m := range bi.Deps {
		if m.Replace != nil {
			if strings.HasPrefix(m.Replace.Path, ".") || strings.HasPrefix(m.Replace.Path, "/") {
				// Replaced by a directory: the version of the original is what was
				// asked for, not what was built. Kubernetes' staging modules are
				// such; they carry no version of their own.
				add(m.Path, "")
				continue
			}
			m = m.Replace
		}
		v := m.Version
		if v == develVersion {
			v = ""
		}
		add(m.Path, v)
	}
	if v := GoVersion(bi.GoVersion); v != "" {
		add("stdlib", v)
		inv.Packages[len(inv.Packages)-1].Virtual = true
	}
}

// etcdVersion: the modules of etcd are released together, under one version. An
// official build replaces them by the folders of its work tree, but still says which
// version of the common one it asked for; that is the release (server/go.mod and
// scripts/release_mod.sh of etcd).
func etcdVersion(main string, bi *debug.BuildInfo) string {
	if !strings.HasPrefix(main, "go.etcd.io/etcd/") {
		return ""
	}
	for _, m := range bi.Deps {
		if m.Path == "go.etcd.io/etcd/api/v3" && semver.IsValid(m.Version) {
			return m.Version
		}
	}
	return ""
}

// GoVersion turns what a toolchain calls itself into the version of the standard
// library: "go1.22.1 X:boringcrypto" is 1.22.1, "go1.22rc1" is 1.22.0-rc.1 (as
// advisories order it). A toolchain between releases gives "".
func GoVersion(s string) string {
	s, _, _ = strings.Cut(s, " ")
	v, ok := strings.CutPrefix(s, "go")
	if !ok || v == "" {
		return ""
	}
	v, _, _ = strings.Cut(v, "-") // go1.22.1-alpine, go1.21-20230317-RC00
	v, _, _ = strings.Cut(v, "+")
	for _, pre := range []string{"rc", "beta"} {
		if n, num, ok := strings.Cut(v, pre); ok {
			if strings.Count(n, ".") == 1 {
				n += ".0"
			}
			v = n + "-" + pre + "." + num
		}
	}
	if !semver.IsValid("v" + v) {
		return ""
	}
	return v
}

// linkerVersion finds the version that a build put in with -X package.name=value.
// A variable of the main module or of package main goes before others.
func linkerVersion(flags, main string) string {
	best, bestRank := "", 0
	for _, word := range ldflagWords(flags) {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			continue
		}
		value = strings.Trim(value, `'"`)
		v := value
		if !strings.HasPrefix(v, "v") {
			v = "v" + v
		}
		if !semver.IsValid(v) || strings.Count(v, ".") < 2 {
			continue
		}
		dot := strings.LastIndexByte(name, '.')
		if dot < 0 {
			continue
		}
		pkg, variable := name[:dot], strings.ToLower(name[dot+1:])
		rank := 0
		switch {
		case variable == "gitversion" || variable == "version" || variable == "buildversion" || variable == "appversion":
			rank = 2
		case strings.HasSuffix(variable, "version") && !strings.Contains(variable, "go") && !strings.Contains(variable, "api"):
			rank = 1
		default:
			continue
		}
		root := main
		if i := strings.LastIndex(main, "/v"); i > 0 {
			root = main[:i]
		}
		if pkg == "main" || strings.HasPrefix(pkg, root) || strings.HasPrefix(pkg, "k8s.io/component-base/version") {
			rank += 2
		}
		if rank > bestRank {
			best, bestRank = v, rank
		}
	}
	return best
}

// ldflagWords returns the arguments of -X. Quoting is that of cmd/go: single or
// double quotes around a word, without escapes.
func ldflagWords(s string) []string {
	var words []string
	for s = strings.TrimLeft(s, " \t\n"); s != ""; s = strings.TrimLeft(s, " \t\n") {
		if q := s[0]; q == '\'' || q == '"' {
			w, rest, _ := strings.Cut(s[1:], string(q))
			words = append(words, w)
			s = rest
			continue
		}
		i := strings.IndexAny(s, " \t\n")
		if i < 0 {
			i = len(s)
		}
		words = append(words, s[:i])
		s = s[i:]
	}
	var out []string
	for i, w := range words {
		if w == "-X" || w == "--X" {
			if i+1 < len(words) {
				out = append(out, words[i+1])
			}
		} else if v, ok := strings.CutPrefix(w, "-X="); ok {
			out = append(out, v)
		} else if v, ok := strings.CutPrefix(w, "-X "); ok {
			out = append(out, v)
		}
	}
	return out
}
