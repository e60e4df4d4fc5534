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
	return uniqueSorted(out)
}

func page(id string) string {
	esc := url.PathEscape(id)
	switch prefix, _, _ := strings.Cut(id, "-"); prefix {
	case "CVE":
		return "https://www.cve.org/CVERecord?id=" + url.QueryEscape(id)
	case "GHSA":
		return "https://github.com/advisories/" + esc
	case "GO":
		return "https://pkg.go.dev/vuln/" + esc
	case "RUSTSEC":
		return "https://rustsec.org/advisories/" + esc + ".html"
	case "DSA", "DLA":
		return "https://security-tracker.debian.org/tracker/" + esc
	case "DEBIAN":
		return "https://security-tracker.debian.org/tracker/" + url.PathEscape(strings.TrimPrefix(id, "DEBIAN-"))
	case "ALPINE":
		return "https://security.alpinelinux.org/vuln/" + url.PathEscape(strings.TrimPrefix(id, "ALPINE-"))
	case "USN":
		return "https://ubuntu.com/security/notices/" + esc
	case "RHSA":
		return "https://access.redhat.com/errata/" + esc
	}
	return "https://osv.dev/vulnerability/" + esc
}
