// Package csaf reads VEX statements from documents of the Common Security Advisory
// Framework 2.0 (OASIS, https://docs.oasis-open.org/csaf/csaf/v2.0/).
package csaf

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
)

const (
	// MaxBytes bounds a document; the largest of the big publishers have 60 MB.
	MaxBytes = 128 << 20
	// maxDepth bounds branches inside branches, and relationships of relationships.
	// The specification (section 3.1.2.1) calls 30 levels more than anybody needs.
	maxDepth = 64
	// maxProducts bounds the products of a document, maxStatements what is made of it.
	maxProducts   = 1_000_000
	maxStatements = 500_000
)

type document struct {
	Document struct {
		Category  string `json:"category"`
		Version   string `json:"csaf_version"`
		Publisher struct {
			Name string `json:"name"`
		} `json:"publisher"`
		Tracking struct {
			ID      string `json:"id"`
			Current string `json:"current_release_date"`
			Initial string `json:"initial_release_date"`
		} `json:"tracking"`
	} `json:"document"`
	Tree struct {
		Branches      []branch       `json:"branches"`
		Products      []product      `json:"full_product_names"`
		Relationships []relationship `json:"relationships"`
		Groups        []struct {
			ID       string   `json:"group_id"`
			Products []string `json:"product_ids"`
		} `json:"product_groups"`
	} `json:"product_tree"`
	Vulnerabilities []vulnerability `json:"vulnerabilities"`
}

type branch struct {
	Category string   `json:"category"`
	Name     string   `json:"name"`
	Product  *product `json:"product"`
	Branches []branch `json:"branches"`
}

type product struct {
	ID     string `json:"product_id"`
	Name   string `json:"name"`
	Helper struct {
		PURL   string   `json:"purl"`
		PURLs  []string `json:"purls"` // CSAF 2.1
		CPE    string   `json:"cpe"`
		Hashes []struct {
			File []struct {
				Algorithm string `json:"algorithm"`
				Value     string `json:"value"`
			} `json:"file_hashes"`
		} `json:"hashes"`
	} `json:"product_identification_helper"`
}

type relationship struct {
	Category  string  `json:"category"`
	Product   product `json:"full_product_name"`
	Component string  `json:"product_reference"`
	Of        string  `json:"relates_to_product_reference"`
}

type vulnerability struct {
	CVE string `json:"cve"`
	IDs []struct {
		Text string `json:"text"`
	} `json:"ids"`
	Status map[string][]string `json:"product_status"`
	Flags  []struct {
		Label    string   `json:"label"`
		Products []string `json:"product_ids"`
		Groups   []string `json:"group_ids"`
	} `json:"flags"`
	Threats      []remark `json:"threats"`
	Remediations []remark `json:"remediations"`
}

type remark struct {
	Category string   `json:"category"`
	Details  string   `json:"details"`
	Products []string `json:"product_ids"`
	Groups   []string `json:"group_ids"`
}

// Read returns the statements of a document. Source is the file's name. Problems
// say in a sentence each what was not understood, or is not valid and therefore
// not returned. An error means that nothing could be read.
func Read(r io.Reader, source string) (statements []bollwerk.VEXStatement, problems []string, err error) {
	var d document
	dec := json.NewDecoder(bom.LimitReader(r, MaxBytes))
	if err := dec.Decode(&d); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, nil, fmt.Errorf("csaf document %s: %w", source, err)
	}
	if !strings.HasPrefix(d.Document.Version, "2.") {
		return nil, nil, fmt.Errorf("csaf document %s: csaf_version is %q, want 2.0", source, d.Document.Version)
	}
	rd := &reader{doc: &d, source: source, products: map[string]*product{}, parts: map[string]*relationship{}, groups: map[string][]string{}}
	if err := rd.tree(); err != nil {
		return nil, nil, fmt.Errorf("csaf document %s: %w", source, err)
	}
	for i := range d.Vulnerabilities {
		rd.vulnerability(&d.Vulnerabilities[i])
		if len(rd.out) > maxStatements {
			return nil, nil, fmt.Errorf("csaf document %s: more than %d statements", source, maxStatements)
		}
	}
	return rd.out, rd.problems.Sentences(), nil
}

type reader struct {
	doc      *document
	source   string
	products map[string]*product
	parts    map[string]*relationship // by the ID of the product that a relationship makes
	groups   map[string][]string
	problems bom.Problems
	out      []bollwerk.VEXStatement
	stamp    time.Time
}

func (r *reader) tree() error {
	t := &r.doc.Tree
	for _, s := range []string{r.doc.Document.Tracking.Current, r.doc.Document.Tracking.Initial} {
		if v, err := time.Parse(time.RFC3339, s); err == nil {
			r.stamp = v.UTC()
			break
		}
	}
	for i := range t.Products {
		r.products[t.Products[i].ID] = &t.Products[i]
	}
	if err := r.branches(t.Branches, 1); err != nil {
		return err
	}
	for i := range t.Relationships {
		rel := &t.Relationships[i]
		r.products[rel.Product.ID] = &rel.Product
		r.parts[rel.Product.ID] = rel
	}
	for _, g := range t.Groups {
		r.groups[g.ID] = g.Products
	}
	if len(r.products) > maxProducts {
		return fmt.Errorf("more than %d products", maxProducts)
	}
	return nil
}

func (r *reader) branches(list []branch, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("branches lie more than %d levels inside each other", maxDepth)
	}
	for i := range list {
		b := &list[i]
		if b.Product != nil {
			r.products[b.Product.ID] = b.Product
		}
		if err := r.branches(b.Branches, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// statuses maps product_status (section 3.2.3.9) to VEX. "recommended" is advice
// and says nothing of the vulnerability.
var statuses = []struct {
	csaf   string
	status bollwerk.VEXStatus
}{
	{"known_not_affected", bollwerk.VEXNotAffected},
	{"fixed", bollwerk.VEXFixed}, {"first_fixed", bollwerk.VEXFixed},
	{"known_affected", bollwerk.VEXAffected}, {"first_affected", bollwerk.VEXAffected}, {"last_affected", bollwerk.VEXAffected},
	{"under_investigation", bollwerk.VEXUnderInvestigation},
}

func (r *reader) vulnerability(v *vulnerability) {
	issue := v.CVE
	var aliases []string
	for _, id := range v.IDs {
		if issue == "" {
			issue = id.Text
		} else if id.Text != "" && id.Text != issue {
			aliases = append(aliases, id.Text)
		}
	}
	if issue == "" {
		r.problems.Add("vulnerability without CVE or ID", "")
		return
	}
	labels, impacts, actions := map[string]string{}, map[string]string{}, map[string]string{}
	for _, f := range v.Flags {
		r.each(f.Products, f.Groups, func(id string) { labels[id] = f.Label })
	}
	for _, t := range v.Threats {
		if t.Category == "impact" {
			r.each(t.Products, t.Groups, func(id string) { impacts[id] = t.Details })
		}
	}
	for _, m := range v.Remediations {
		r.each(m.Products, m.Groups, func(id string) {
			if actions[id] == "" || m.Category == "vendor_fix" {
				actions[id] = m.Details
			}
		})
	}
	for _, st := range statuses {
		r.status(st.status, v.Status[st.csaf], bollwerk.VEXStatement{
			Issue: issue, Aliases: aliases, Status: st.status, Timestamp: r.stamp,
			Author: r.doc.Document.Publisher.Name, Source: r.source + ", " + issue,
		}, labels, impacts, actions)
	}
}

func (r *reader) each(products, groups []string, do func(id string)) {
	for _, id := range products {
		do(id)
	}
	for _, g := range groups {
		for _, id := range r.groups[g] {
			do(id)
		}
	}
}

// status makes the statements of one status: products that have the same reason
// and the same platform share one.
func (r *reader) status(status bollwerk.VEXStatus, ids []string, base bollwerk.VEXStatement, labels, impacts, actions map[string]string) {
	groups := map[string]*bollwerk.VEXStatement{}
	var order []string
	for _, id := range ids {
		s := base
		switch status {
		case bollwerk.VEXNotAffected:
			s.Justification, s.Statement = labels[id], impacts[id]
			// The VEX profile (section 4.5) demands a reason; other profiles do not.
			if s.Justification == "" && s.Statement == "" && r.doc.Document.Category == "csaf_vex" {
				r.problems.Add("product that is said not to be affected without a flag or an impact, which does not count", base.Issue+" "+id)
				continue
			}
		case bollwerk.VEXAffected, bollwerk.VEXFixed:
			s.ActionStatement = actions[id]
		}
		products, subs, ok := r.identify(id)
		if !ok {
			r.problems.Add("product without a package URL, hash, CPE or name", base.Issue+" "+id)
			continue
		}
		k := strings.Join([]string{s.Justification, s.Statement, s.ActionStatement, strings.Join(products, "\x01")}, "\x00")
		if len(subs) == 0 {
			k = strings.Join([]string{s.Justification, s.Statement, s.ActionStatement}, "\x00")
		}
		g := groups[k]
		if g == nil {
			g = &s
			groups[k] = g
			order = append(order, k)
		}
		if len(subs) == 0 || g.Products == nil {
			g.Products = append(g.Products, products...)
		}
		g.Subcomponents = append(g.Subcomponents, subs...)
	}
	sort.Strings(order)
	for _, k := range order {
		r.out = append(r.out, *groups[k])
	}
}

// identify resolves a product: a component of another product is a subcomponent of
// that, whatever the kind of relationship (default_component_of, installed_on, …).
func (r *reader) identify(id string) (products, subcomponents []string, ok bool) {
	rel := r.parts[id]
	if rel == nil {
		p := r.products[id]
		if p == nil {
			return nil, nil, false
		}
		n := p.names()
		return n, nil, len(n) > 0
	}
	// The outermost product is what an artifact can be; the innermost component is
	// what a package can be.
	component, ok1 := r.follow(rel.Component, func(l *relationship) string { return l.Component })
	platform, ok2 := r.follow(rel.Of, func(l *relationship) string { return l.Of })
	if !ok1 || !ok2 {
		return nil, nil, false
	}
	c, p := r.products[component], r.products[platform]
	if c == nil || p == nil {
		return nil, nil, false
	}
	subcomponents = c.names()
	if len(subcomponents) == 0 {
		return nil, nil, false
	}
	products = p.names()
	return products, subcomponents, len(products) > 0
}

// follow goes from relationship to relationship to a product that is none; false
// when they go in a circle.
func (r *reader) follow(id string, next func(*relationship) string) (string, bool) {
	for range maxDepth {
		rel := r.parts[id]
		if rel == nil {
			return id, true
		}
		id = next(rel)
	}
	return "", false
}

// names are what identifies a product outside of the document: package URLs,
// hashes and CPE; else its name, which is exact in few documents.
func (p *product) names() []string {
	var out []string
	add := func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	add(p.Helper.PURL)
	for _, u := range p.Helper.PURLs {
		add(u)
	}
	for _, h := range p.Helper.Hashes {
		for _, f := range h.File {
			if alg := strings.ReplaceAll(strings.ToLower(f.Algorithm), "-", ""); alg == "sha256" || alg == "sha512" {
				add(alg + ":" + strings.ToLower(f.Value))
			}
		}
	}
	add(p.Helper.CPE)
	if len(out) == 0 {
		add(p.Name)
	}
	return out
}
