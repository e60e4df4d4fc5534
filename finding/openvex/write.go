package openvex

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
)

type (
	outDocument struct {
		Context    string         `json:"@context"`
		ID         string         `json:"@id"`
		Author     string         `json:"author"`
		Timestamp  string         `json:"timestamp"`
		Version    int            `json:"version"`
		Tooling    string         `json:"tooling,omitempty"`
		Statements []outStatement `json:"statements"`
	}
	outStatement struct {
		Vulnerability outVulnerability `json:"vulnerability"`
		Products      []outProduct     `json:"products"`
		Status        string           `json:"status"`
		Notes         string           `json:"status_notes,omitempty"`
		Justification string           `json:"justification,omitempty"`
		Impact        string           `json:"impact_statement,omitempty"`
		Action        string           `json:"action_statement,omitempty"`
	}
	outVulnerability struct {
		ID      string   `json:"@id,omitempty"`
		Name    string   `json:"name"`
		Aliases []string `json:"aliases,omitempty"`
	}
	outProduct struct {
		ID            string            `json:"@id"`
		Identifiers   map[string]string `json:"identifiers,omitempty"`
		Hashes        map[string]string `json:"hashes,omitempty"`
		Subcomponents []outProduct      `json:"subcomponents,omitempty"`
	}
)

// Write writes what a result says of every issue in every package, as statements
// by author about the scanned artifact:
//
//   - not_affected and fixed, where a statement or decision said so;
//   - affected with an action statement, for findings that count and for those
//     that somebody decided to live with (which is not the same as not affected);
//   - under_investigation, for what could not be evaluated.
//
// An image with a digest is the product and the packages are its subcomponents;
// for anything else the packages are the products. The bytes depend on r, author
// and now only.
func Write(w io.Writer, r *bollwerk.Result, author string, now time.Time) error {
	d := outDocument{
		Context: "https://openvex.dev/ns/v0.2.0", Author: author, Timestamp: now.UTC().Format(time.RFC3339), Version: 1,
		Tooling: strings.TrimSpace(r.Tool.Name + " " + r.Tool.Version), Statements: []outStatement{},
	}
	groups := map[string]*outStatement{}
	packages := map[string][]outProduct{}
	var order []string
	for i := range r.Findings {
		f := &r.Findings[i]
		s, ok := statementOf(f)
		if !ok {
			continue
		}
		k := strings.Join([]string{s.Vulnerability.Name, s.Status, s.Justification, s.Impact, s.Action, s.Notes}, "\x00")
		if groups[k] == nil {
			groups[k] = &s
			order = append(order, k)
		}
		u := string(f.Package.PURL)
		if !slices.ContainsFunc(packages[k], func(p outProduct) bool { return p.ID == u }) {
			packages[k] = append(packages[k], outProduct{ID: u, Identifiers: map[string]string{"purl": u}})
		}
	}
	slices.Sort(order)
	artifact, isProduct := product(&r.Target)
	for _, k := range order {
		s, list := groups[k], packages[k]
		slices.SortFunc(list, func(a, b outProduct) int { return cmp.Compare(a.ID, b.ID) })
		s.Products = list
		if isProduct {
			p := artifact
			p.Subcomponents = list
			s.Products = []outProduct{p}
		}
		d.Statements = append(d.Statements, *s)
	}
	id, err := json.Marshal(d)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(id)
	d.ID = "https://openvex.dev/docs/public/vex-" + hex.EncodeToString(sum[:])
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(d)
}

func product(a *bollwerk.Artifact) (outProduct, bool) {
	u := string(bom.ArtifactPURL(a))
	if u == "" {
		return outProduct{}, false
	}
	p := outProduct{ID: u, Identifiers: map[string]string{"purl": u}}
	switch a.Digest.Algorithm() {
	case "sha256":
		p.Hashes = map[string]string{"sha-256": a.Digest.Hex()}
	case "sha512":
		p.Hashes = map[string]string{"sha-512": a.Digest.Hex()}
	}
	return p, true
}

// statementOf is what a finding amounts to, without its product.
func statementOf(f *bollwerk.Finding) (outStatement, bool) {
	if f.Package == nil || f.Package.PURL == "" || f.ID == "" {
		return outStatement{}, false
	}
	switch f.Kind {
	case bollwerk.KindVulnerability, bollwerk.KindMalware:
	default:
		return outStatement{}, false
	}
	s := outStatement{Vulnerability: outVulnerability{Name: f.ID, Aliases: f.Aliases}}
	if len(f.References) > 0 && strings.HasPrefix(f.References[0], "https://") {
		s.Vulnerability.ID = f.References[0]
	}
	if p := f.Suppressed; p != nil {
		switch bollwerk.VEXStatus(p.Status) {
		case bollwerk.VEXNotAffected:
			s.Status, s.Justification, s.Impact = p.Status, "", cmp.Or(p.Statement, p.Reason)
			if justifications[p.Justification] {
				s.Justification = p.Justification
				s.Impact = p.Statement
			}
			if s.Justification == "" && s.Impact == "" {
				s.Impact = "no reason was recorded"
			}
			return s, true
		case bollwerk.VEXFixed:
			s.Status, s.Notes = p.Status, cmp.Or(p.Statement, p.Reason)
			return s, true
		case bollwerk.VEXUnderInvestigation:
			s.Status, s.Notes = p.Status, p.Reason
			return s, true
		}
		s.Status = string(bollwerk.VEXAffected)
		s.Action = "the risk is accepted: " + cmp.Or(p.Reason, "no reason was recorded")
		if p.Owner != "" {
			s.Action += fmt.Sprintf(" (owner %s)", p.Owner)
		}
		if p.Expires != "" {
			s.Action += ", until " + p.Expires
		}
		return s, true
	}
	switch f.Verdict {
	case bollwerk.Fail:
		s.Status = string(bollwerk.VEXAffected)
		switch {
		case f.Fix != "":
			s.Action = f.Fix
		case len(f.FixedIn) > 0:
			s.Action = fmt.Sprintf("upgrade %s to %s", f.Package.Name, strings.Join(f.FixedIn, " or "))
		default:
			s.Action = "no fixed version is known; remove the package or limit its exposure"
		}
		return s, true
	case bollwerk.NotEvaluated, bollwerk.Degraded:
		s.Status, s.Notes = string(bollwerk.VEXUnderInvestigation), f.Reason
		return s, true
	}
	return outStatement{}, false
}

// justifications are those of the specification; others go into the prose.
var justifications = map[string]bool{
	"component_not_present": true, "vulnerable_code_not_present": true, "vulnerable_code_not_in_execute_path": true,
	"vulnerable_code_cannot_be_controlled_by_adversary": true, "inline_mitigations_already_exist": true,
}
