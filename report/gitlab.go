package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// The security report format of GitLab, version 15 (schemas in
// gitlab-org/security-products/security-report-schemas): container scanning for
// images, dependency scanning for everything else.
type gitlabReport struct {
	Version         string                 `json:"version"`
	Scan            gitlabScan             `json:"scan"`
	Vulnerabilities []gitlabVulnerability  `json:"vulnerabilities"`
	Remediations    []struct{}             `json:"remediations"`
	DependencyFiles *[]gitlabDependencyDoc `json:"dependency_files,omitempty"`
}

type gitlabScan struct {
	Analyzer gitlabTool      `json:"analyzer"`
	Scanner  gitlabTool      `json:"scanner"`
	Type     string          `json:"type"`
	Start    string          `json:"start_time"`
	End      string          `json:"end_time"`
	Status   string          `json:"status"`
	Messages []gitlabMessage `json:"messages,omitempty"`
}

type gitlabTool struct {
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	Version string       `json:"version"`
	Vendor  gitlabVendor `json:"vendor"`
}

type gitlabVendor struct {
	Name string `json:"name"`
}

type gitlabMessage struct {
	Level string `json:"level"`
	Value string `json:"value"`
}

type gitlabVulnerability struct {
	ID          string             `json:"id"`
	Name        string             `json:"name"`
	Description string             `json:"description"`
	Severity    string             `json:"severity"`
	Solution    string             `json:"solution,omitempty"`
	Identifiers []gitlabIdentifier `json:"identifiers"`
	Links       []gitlabLink       `json:"links,omitempty"`
	Location    gitlabLocation     `json:"location"`
}

type gitlabIdentifier struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"`
	URL   string `json:"url,omitempty"`
}

type gitlabLink struct {
	URL string `json:"url"`
}

type gitlabLocation struct {
	File       string           `json:"file,omitempty"`
	Dependency gitlabDependency `json:"dependency"`
	OS         string           `json:"operating_system,omitempty"`
	Image      string           `json:"image,omitempty"`
}

type gitlabDependency struct {
	Package gitlabName `json:"package"`
	Version string     `json:"version"`
	Direct  *bool      `json:"direct,omitempty"`
}

type gitlabName struct {
	Name string `json:"name"`
}

type gitlabDependencyDoc struct {
	Path         string             `json:"path"`
	Manager      string             `json:"package_manager"`
	Dependencies []gitlabDependency `json:"dependencies"`
}

const gitlabVersion = "15.0.7"

// GitLab writes what the format has a place for: vulnerabilities and malicious
// packages that count. Suppressed findings are left out (GitLab would show them as
// detected); credentials and policies have reports of their own there and are
// counted in a message.
func GitLab(w io.Writer, r *bollwerk.Result, _ Options) error {
	tool := gitlabTool{ID: "bollwerk", Name: "Bollwerk", Version: cmp.Or(r.Tool.Version, "devel"), Vendor: gitlabVendor{"Bollwerk"}}
	const stamp = "2006-01-02T15:04:05"
	start := r.Started.UTC()
	doc := gitlabReport{
		Version: gitlabVersion, Vulnerabilities: []gitlabVulnerability{}, Remediations: []struct{}{},
		Scan: gitlabScan{
			Analyzer: tool, Scanner: tool, Type: "container_scanning", Status: "success",
			Start: start.Format(stamp), End: start.Add(time.Duration(r.Duration * float64(time.Second))).Format(stamp),
		},
	}
	image := r.Target.Kind == bollwerk.KindImage
	if !image {
		doc.Scan.Type = "dependency_scanning"
		docs := gitlabDependencyDocs(r.Packages)
		doc.DependencyFiles = &docs
	}
	other := 0
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Suppressed != nil || f.Verdict != bollwerk.Fail && f.Verdict != bollwerk.Degraded {
			continue
		}
		if f.Package == nil || f.Kind == bollwerk.KindStandard || f.Kind == bollwerk.KindSecret {
			other++
			continue
		}
		doc.Vulnerabilities = append(doc.Vulnerabilities, newGitLabVulnerability(r, f, image))
	}
	v := newView(r)
	message := func(level, s string) {
		doc.Scan.Messages = append(doc.Scan.Messages, gitlabMessage{level, clean(s, 1000)})
	}
	message("info", advisories(r))
	for _, c := range v.gaps {
		message("warn", fmt.Sprintf(noteGap, strings.ToLower(verdictWord(c.Verdict)), c.Area, cmp.Or(c.Cause, noteNoCause)))
	}
	for _, n := range v.unjudgedNotes() {
		message("warn", n)
	}
	if other > 0 {
		message("warn", fmt.Sprintf(noteOther, findings(other)))
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

func newGitLabVulnerability(r *bollwerk.Result, f *bollwerk.Finding, image bool) gitlabVulnerability {
	p := f.Package
	v := gitlabVulnerability{
		ID: gitlabUUID(f.Fingerprint), Name: clean(cmp.Or(f.Title, f.ID), 250),
		Description: clean(strings.TrimSpace(sentence(f)+". "+f.Reason), 4000), Severity: gitlabSeverity(f),
		Solution: clean(cmp.Or(f.Fix, fixSentence(f)), 2000),
	}
	seen := map[string]bool{}
	for _, id := range append([]string{f.ID}, f.Aliases...) {
		if id == "" || seen[id] || len(v.Identifiers) == 20 {
			continue
		}
		seen[id] = true
		id = clean(id, 200)
		kind, _, _ := strings.Cut(strings.ToLower(id), "-")
		v.Identifiers = append(v.Identifiers, gitlabIdentifier{Type: cmp.Or(kind, "bollwerk"), Name: id, Value: id, URL: issueLink(id)})
	}
	if len(v.Identifiers) == 0 {
		v.Identifiers = []gitlabIdentifier{{Type: "bollwerk", Name: string(f.Fingerprint), Value: cmp.Or(string(f.Fingerprint), "unknown")}}
	}
	for _, ref := range f.References {
		if u := webLink(ref); u != "" && len(v.Links) < 10 {
			v.Links = append(v.Links, gitlabLink{u})
		}
	}
	v.Location.Dependency = gitlabDependency{Package: gitlabName{clean(p.Name, 250)}, Version: clean(p.Version, 250)}
	if image {
		v.Location.OS = clean(cmp.Or(osName(r.Target.OS), "unknown"), 200)
		v.Location.Image = clean(cmp.Or(r.Target.Name, r.Target.Ref, "unknown"), 250)
	} else {
		file := cmp.Or(r.Target.Name, "unknown")
		if len(p.Paths) > 0 {
			file = p.Paths[0]
		}
		v.Location.File = clean(file, 1000)
	}
	return v
}

// gitlabUUID writes a fingerprint in the shape of a UUID of version 8 (RFC 9562:
// custom content), which the format recommends.
func gitlabUUID(id bollwerk.FindingID) string {
	var b [16]byte
	copy(b[:], id)
	b[6] = 0x80 | b[6]&0x0f
	b[8] = 0x80 | b[8]&0x3f
	// The two bytes that lost bits are kept behind the twelve characters.
	if len(id) > 8 {
		b[14], b[15] = id[6], id[8]
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func gitlabSeverity(f *bollwerk.Finding) string {
	switch {
	case f.Kind == bollwerk.KindMalware:
		return "Critical"
	case f.Kind == bollwerk.KindNotice:
		return "Info"
	}
	switch f.Severity {
	case bollwerk.SeverityCritical:
		return "Critical"
	case bollwerk.SeverityHigh:
		return "High"
	case bollwerk.SeverityMedium:
		return "Medium"
	case bollwerk.SeverityLow:
		return "Low"
	case bollwerk.SeverityNone:
		return "Info"
	}
	return "Unknown"
}

// issueLink is the page of a well-known kind of ID.
func issueLink(id string) string {
	for _, c := range id {
		if !(c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == ':') {
			return ""
		}
	}
	switch {
	case strings.HasPrefix(id, "CVE-"):
		return "https://www.cve.org/CVERecord?id=" + id
	case strings.HasPrefix(id, "GHSA-"):
		return "https://github.com/advisories/" + id
	}
	return "https://osv.dev/vulnerability/" + id
}

// gitlabDependencyDocs lists the lock files with what they declare, sorted.
func gitlabDependencyDocs(ps []bollwerk.Package) []gitlabDependencyDoc {
	index := map[string]int{}
	docs := []gitlabDependencyDoc{}
	for i := range ps {
		p := &ps[i]
		if len(p.Paths) == 0 {
			continue
		}
		key := p.Paths[0] + "\x00" + p.Ecosystem.Name()
		j, ok := index[key]
		if !ok {
			j = len(docs)
			index[key] = j
			docs = append(docs, gitlabDependencyDoc{Path: clean(p.Paths[0], 1000), Manager: gitlabManager(p.Ecosystem), Dependencies: []gitlabDependency{}})
		}
		docs[j].Dependencies = append(docs[j].Dependencies,
			gitlabDependency{Package: gitlabName{clean(p.Name, 250)}, Version: clean(p.Version, 250), Direct: p.Direct})
	}
	slices.SortStableFunc(docs, func(a, b gitlabDependencyDoc) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Manager, b.Manager))
	})
	return docs
}

func gitlabManager(e bollwerk.Ecosystem) string {
	switch e.Name() {
	case "PyPI":
		return "pip"
	case "crates.io":
		return "cargo"
	case "RubyGems":
		return "bundler"
	case "Packagist":
		return "composer"
	case "":
		return "unknown"
	}
	return strings.ToLower(e.Name())
}
