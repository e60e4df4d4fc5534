// Package cdxvex owns the meaning of the vulnerabilities in a CycloneDX document
// that carry an analysis: what CycloneDX calls VEX.
//
// Such statements stand in inventories and in documents of their own; both readers
// share this.
package cdxvex

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Vulnerability is the part of a CycloneDX vulnerability (specification 1.4 to
// 1.7) that statements are made of.
type Vulnerability struct {
	ID         string `json:"id" xml:"id"`
	References []struct {
		ID string `json:"id" xml:"id"`
	} `json:"references" xml:"references>reference"`
	Recommendation string `json:"recommendation" xml:"recommendation"`
	Workaround     string `json:"workaround" xml:"workaround"`
	Published      string `json:"published" xml:"published"`
	Updated        string `json:"updated" xml:"updated"`
	Analysis       *struct {
		State         string   `json:"state" xml:"state"`
		Justification string   `json:"justification" xml:"justification"`
		Response      []string `json:"response" xml:"responses>response"`
		Detail        string   `json:"detail" xml:"detail"`
		FirstIssued   string   `json:"firstIssued" xml:"firstIssued"`
		LastUpdated   string   `json:"lastUpdated" xml:"lastUpdated"`
	} `json:"analysis" xml:"analysis"`
	Affects []Affect `json:"affects" xml:"affects>target"`
}

// Affect is one thing a vulnerability is said to affect.
type Affect struct {
	Ref      string `json:"ref" xml:"ref"`
	Versions []struct {
		Version string `json:"version" xml:"version"`
		Range   string `json:"range" xml:"range"`
		Status  string `json:"status" xml:"status"`
	} `json:"versions" xml:"versions>version"`
}

// Place says where the vulnerabilities were found.
type Place struct {
	Source    string    // file name
	Timestamp time.Time // of the document, for analyses without one
	// Resolve returns what a bom-ref of the document stands for: a package URL,
	// and whether it is the described product itself. ok is false for a reference
	// into a document that is not here.
	Resolve func(ref string) (product string, ok bool)
}

// Statements turns one vulnerability into statements: one for each state that its
// analysis and the versions it lists give. The problem, if any, is a sentence.
func Statements(v *Vulnerability, p Place) (out []bollwerk.VEXStatement, problem string) {
	if v.Analysis == nil || v.Analysis.State == "" || v.ID == "" {
		return nil, ""
	}
	a := v.Analysis
	status, ok := states[a.State]
	if !ok {
		return nil, fmt.Sprintf("%s: analysis state %q is not one of CycloneDX's", v.ID, clip(a.State))
	}
	s := bollwerk.VEXStatement{
		Issue: v.ID, Status: status, Statement: strings.TrimSpace(a.Detail),
		Justification: justification(a.Justification), Timestamp: p.Timestamp, Source: p.Source,
	}
	if a.State == "false_positive" && s.Justification == "" {
		s.Justification = "false_positive"
	}
	for _, r := range v.References {
		if r.ID != "" && r.ID != v.ID {
			s.Aliases = append(s.Aliases, r.ID)
		}
	}
	for _, t := range []string{a.LastUpdated, a.FirstIssued, v.Updated, v.Published} {
		if when, err := time.Parse(time.RFC3339, t); err == nil {
			s.Timestamp = when.UTC()
			break
		}
	}
	var actions []string
	for _, r := range append(a.Response, v.Recommendation, v.Workaround) {
		if r = strings.TrimSpace(r); r != "" {
			actions = append(actions, r)
		}
	}
	s.ActionStatement = strings.Join(actions, "; ")
	other := s
	for _, t := range v.Affects {
		for _, product := range products(t.Ref, p) {
			if len(t.Versions) == 0 {
				s.Products = append(s.Products, product)
				continue
			}
			for _, ver := range t.Versions {
				named, ok := withVersion(product, ver.Version)
				if !ok {
					if ver.Range != "" {
						problem = fmt.Sprintf("%s: version range %q is not understood", v.ID, clip(ver.Range))
					}
					continue
				}
				// The versions' own status (affected, unaffected, unknown) is more
				// precise than the analysis where the two differ.
				switch {
				case ver.Status == "unaffected" && status != bollwerk.VEXNotAffected && status != bollwerk.VEXFixed:
					other.Products = append(other.Products, named)
				case ver.Status == "unknown":
				default:
					s.Products = append(s.Products, named)
				}
			}
		}
	}
	if len(other.Products) > 0 {
		other.Status, other.Justification = bollwerk.VEXNotAffected, "vulnerable_code_not_present"
		out = append(out, other)
	}
	if len(s.Products) > 0 {
		out = append(out, s)
	} else if len(out) == 0 {
		problem = fmt.Sprintf("%s: the analysis names nothing that is affected", v.ID)
	}
	return out, problem
}

var states = map[string]bollwerk.VEXStatus{
	"resolved": bollwerk.VEXFixed, "resolved_with_pedigree": bollwerk.VEXFixed,
	"exploitable": bollwerk.VEXAffected, "in_triage": bollwerk.VEXUnderInvestigation,
	"false_positive": bollwerk.VEXNotAffected, "not_affected": bollwerk.VEXNotAffected,
}

// justification maps CycloneDX's words to OpenVEX's where they mean the same; the
// others are kept.
func justification(s string) string {
	switch s {
	case "code_not_present":
		return "vulnerable_code_not_present"
	case "code_not_reachable":
		return "vulnerable_code_not_in_execute_path"
	case "protected_at_runtime", "protected_at_perimeter", "protected_by_mitigating_control", "protected_by_compiler":
		return "inline_mitigations_already_exist"
	}
	return s
}

// products returns what a reference names: a package URL written directly, a
// reference inside the document, or a BOM-Link ("urn:cdx:serial/version#ref",
// https://cyclonedx.org/capabilities/bomlink/), whose fragment is the bom-ref in
// another document and very often a package URL.
func products(ref string, p Place) []string {
	if link, fragment, ok := strings.Cut(ref, "#"); ok && strings.HasPrefix(link, "urn:cdx:") {
		if f, err := url.PathUnescape(fragment); err == nil {
			fragment = f
		}
		if strings.HasPrefix(fragment, "pkg:") {
			return []string{trimNumber(fragment)}
		}
		if p.Resolve != nil {
			if s, ok := p.Resolve(fragment); ok {
				return []string{s}
			}
		}
		return nil
	}
	if p.Resolve != nil {
		if s, ok := p.Resolve(ref); ok {
			return []string{s}
		}
	}
	if strings.HasPrefix(ref, "pkg:") {
		return []string{trimNumber(ref)}
	}
	return nil
}

// trimNumber takes off the "#2" that makes references to equal package URLs unique.
func trimNumber(s string) string {
	head, tail, ok := strings.Cut(s, "#")
	if ok && strings.Trim(tail, "0123456789") == "" {
		return head
	}
	return s
}

// withVersion puts a version into a package URL that has none; a URL with another
// version stays as it is and the answer is no.
func withVersion(product, version string) (string, bool) {
	if version == "" {
		return "", false
	}
	if !strings.HasPrefix(product, "pkg:") {
		return product, true
	}
	head, tail := product, ""
	if i := strings.IndexAny(product, "?#"); i >= 0 {
		head, tail = product[:i], product[i:]
	}
	if at := strings.LastIndexByte(head, '@'); at > strings.LastIndexByte(head, '/') {
		have, err := url.PathUnescape(head[at+1:])
		return product, err == nil && have == version
	}
	return head + "@" + url.PathEscape(version) + tail, true
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}
