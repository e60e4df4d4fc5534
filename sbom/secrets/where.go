package secrets

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// textLike decides by name. It does not allocate.
func textLike(f *bollwerk.File) bool {
	base := f.Path[strings.LastIndexByte(f.Path, '/')+1:]
	i := strings.LastIndexByte(base, '.')
	if i < 0 {
		// Programs have no extension either; scripts among them are small.
		return f.Mode&0o111 == 0 || f.Size < 64<<10
	}
	if i == 0 { // .env, .npmrc, .netrc, .git-credentials
		return true
	}
	ext := base[i+1:]
	if len(ext) > 12 {
		return false
	}
	switch ext {
	case "env", "json", "yaml", "yml", "toml", "ini", "conf", "cfg", "config", "cnf", "properties", "xml", "sh", "bash", "zsh",
		"py", "js", "mjs", "cjs", "ts", "tsx", "jsx", "rb", "php", "go", "java", "kt", "kts", "scala", "cs", "vb", "rs", "swift",
		"c", "h", "cpp", "pl", "pm", "lua", "ps1", "bat", "cmd", "groovy", "gradle", "tf", "tfvars", "tfstate", "hcl", "sql",
		"txt", "md", "rst", "pem", "key", "ppk", "p8", "crt", "cer", "asc", "netrc", "npmrc", "pypirc", "dockercfg", "htpasswd",
		"credentials", "secret", "secrets", "token", "bak", "old", "orig", "save", "log", "service", "local", "prod", "dev",
		"production", "development", "staging", "template", "tpl", "j2", "erb", "vars", "list", "repo", "sources", "ipynb", "csv",
		"kubeconfig", "ovpn", "rc", "history", "html", "vue":
		return true
	}
	return strings.HasPrefix(base, ".env.") || strings.HasPrefix(base, "Dockerfile.") || strings.HasPrefix(base, "id_")
}

// thirdParty: see the package comment. It does not allocate.
func thirdParty(p string) bool {
	switch {
	case strings.HasPrefix(p, "usr/local/"):
		r := p[len("usr/local/"):]
		return strings.HasPrefix(r, "lib/") || strings.HasPrefix(r, "share/") || strings.HasPrefix(r, "include/") ||
			strings.HasPrefix(r, "go/") || strings.HasPrefix(r, "lib64/") || strings.HasPrefix(r, "rustup/") || strings.HasPrefix(r, "cargo/registry/")
	case strings.HasPrefix(p, "usr/"), strings.HasPrefix(p, "lib/"), strings.HasPrefix(p, "var/lib/dpkg/"),
		strings.HasPrefix(p, "var/lib/apt/"), strings.HasPrefix(p, "var/cache/"), strings.HasPrefix(p, "boot/"),
		strings.HasPrefix(p, "etc/ssl/certs/"), strings.HasPrefix(p, "opt/java/"), strings.HasPrefix(p, "nix/store/"),
		strings.HasPrefix(p, "node_modules/"), strings.HasPrefix(p, "vendor/"), strings.HasPrefix(p, ".git/"):
		return true
	}
	for _, d := range [...]string{
		"/node_modules/", "/site-packages/", "/dist-packages/", "/lib/python", "/lib/ruby/", "/gems/", "/pkg/mod/", "/vendor/",
		"/.cargo/registry/", "/.m2/repository/", "/.git/objects/", "/conda/pkgs/", "/conda/lib/", "/__pycache__/", "/share/doc/",
	} {
		if strings.Contains(p, d) {
			return true
		}
	}
	return false
}

// testPath: folders where credentials are made up.
func testPath(p string) bool {
	for seg := range strings.SplitSeq(p, "/") {
		switch strings.ToLower(seg) {
		case "test", "tests", "testdata", "spec", "specs", "fixtures", "fixture", "example", "examples", "mocks", "__tests__", "e2e", "samples":
			return true
		}
	}
	return false
}
