package vuln

import (
	"net/url"
	"strings"
)

// pages returns where people read about an issue: one page for its name and one for
// each record. They are made from the ids, so that a database without prose has
// them too.
func pages(id string, advisories []string) []string {
	out := []string{page(id)}
	for _, a := range advisories {
		if p := page(a); len(out) < 8 && p != out[0] {
			out = append(out, p)
		}
	}
	return out
}

func page(id string) string {
	esc := id
	if !plainID(id) {
		esc = url.PathEscape(id)
	}
	switch prefix, _, _ := strings.Cut(id, "-"); prefix {
	case "CVE":
		return "https://www.cve.org/CVERecord?id=" + esc
	case "GHSA":
		return "https://github.com/advisories/" + esc
	case "GO":
		return "https://pkg.go.dev/vuln/" + esc
	case "RUSTSEC":
		return "https://rustsec.org/advisories/" + esc + ".html"
	case "DSA", "DLA":
		return "https://security-tracker.debian.org/tracker/" + esc
	case "DEBIAN":
		return "https://security-tracker.debian.org/tracker/" + strings.TrimPrefix(esc, "DEBIAN-")
	case "ALPINE":
		return "https://security.alpinelinux.org/vuln/" + strings.TrimPrefix(esc, "ALPINE-")
	case "USN":
		return "https://ubuntu.com/security/notices/" + esc
	case "RHSA":
		return "https://access.redhat.com/errata/" + esc
	}
	return "https://osv.dev/vulnerability/" + esc
}

// plainID: nothing in the id needs escaping in a URL.
func plainID(id string) bool {
	for i := 0; i < len(id); i++ {
		c := id[i]
		if c != '-' && c != ':' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
