package sbom

import "bytes"

// Telling reports whether a path from a distribution's file list is worth keeping:
// programs and libraries, which are joined with what runs, and files that language
// extractors read, so that what the distribution owns can be told from what was
// added. Of a full system's 150,000 paths some 10,000 remain. The path has no
// leading slash.
func Telling(path []byte) bool {
	i := bytes.LastIndexByte(path, '/')
	base := path[i+1:]
	dir := path[:max(i, 0)]
	switch {
	case hasSuffix(dir, "bin"), bytes.Contains(dir, []byte("libexec")):
		return true
	case hasSuffix(dir, "-info"), hasSuffix(dir, ".dist-info"), hasSuffix(base, ".egg-info"), hasSuffix(base, ".egg"):
		return true
	case hasSuffix(base, ".jar"), hasSuffix(base, ".war"), hasSuffix(base, ".gemspec"), hasSuffix(base, ".jmod"):
		return true
	case bytes.Contains(base, []byte(".so")):
		return true
	}
	switch string(base) {
	case "package.json", "package-lock.json", ".package-lock.json", "yarn.lock", "pnpm-lock.yaml", "installed.json",
		"composer.lock", "Cargo.lock", "Gemfile.lock", "go.mod", "release", "METADATA", "PKG-INFO", "pom.xml",
		"requirements.txt", "DESCRIPTION", "renv.lock", "Pipfile.lock", "poetry.lock":
		return true
	}
	if hasSuffix(base, ".deps.json") {
		return true
	}
	// Executables outside of bin: usr/lib/jvm/…/lib/…, usr/lib/postgresql/15/bin is
	// caught above; usr/lib/git-core/git and the like have no extension.
	return bytes.HasPrefix(path, []byte("usr/lib/")) && bytes.IndexByte(base, '.') < 0
}

func hasSuffix(b []byte, s string) bool {
	return len(b) >= len(s) && string(b[len(b)-len(s):]) == s
}
