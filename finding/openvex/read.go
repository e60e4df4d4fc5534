// Package openvex reads and writes OpenVEX documents
// (https://github.com/openvex/spec, version 0.2.0; 0.0.x is read too).
package openvex

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
)

// MaxBytes bounds a document.
const MaxBytes = 64 << 20

// maxStatements bounds the statements of a document; a product with subcomponents
// counts as one.
const maxStatements = 500_000

// The structures of a document. Where the versions of the specification differ
// (a vulnerability is a name or an object), a type of its own reads both.
type (
	document struct {
		Context     string      `json:"@context"`
		ID          string      `json:"@id"`
		Author      string      `json:"author"`
		Timestamp   timestamp   `json:"timestamp"`
		LastUpdated timestamp   `json:"last_updated"`
		Statements  []statement `json:"statements"`
	}
	statement struct {
		Vulnerability vulnerability `json:"vulnerability"`
		Products      []component   `json:"products"`
		Subcomponents []component   `json:"subcomponents"` // 0.0.x
		Status        string        `json:"status"`
		Notes         string        `json:"status_notes"`
		Justification string        `json:"justification"`
		Impact        string        `json:"impact_statement"`
		Action        string        `json:"action_statement"`
		Timestamp     timestamp     `json:"timestamp"`
		LastUpdated   timestamp     `json:"last_updated"`
	}
	vulnerability struct {
		ID      string   `json:"@id"`
		Name    string   `json:"name"`
		Aliases []string `json:"aliases"`
	}
	component struct {
		ID            string            `json:"@id"`
		Identifiers   map[string]string `json:"identifiers"`
		Hashes        map[string]string `json:"hashes"`
		Subcomponents []component       `json:"subcomponents"`
	}
	timestamp struct{ time.Time }
)

func (t *timestamp) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return nil // not a string: no time; the statement then counts as old
	}
	if v, err := time.Parse(time.RFC3339, s); err == nil {
		t.Time = v
	}
	return nil
}

func (v *vulnerability) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &v.Name)
	}
	type plain vulnerability
	return json.Unmarshal(b, (*plain)(v))
}

func (c *component) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &c.ID)
	}
	type plain component
	return json.Unmarshal(b, (*plain)(c))
}

// Read returns the statements of a document, of an array of documents, or of an
// in-toto attestation (bare or in a DSSE envelope, whose signature is not checked
// here) that carries one. Source is the file's name.
//
// Problems say in a sentence each which statements are not valid and therefore
// not returned. An error means that nothing could be read.
func Read(r io.Reader, source string) (statements []bollwerk.VEXStatement, problems []string, err error) {
	in := bufio.NewReader(bom.LimitReader(r, MaxBytes))
	data, err := io.ReadAll(in)
	if err != nil {
		return nil, nil, fmt.Errorf("openvex document %s: %w", source, err)
	}
	docs, err := documents(data, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("openvex document %s: %w", source, err)
	}
	var p bom.Problems
	for i := range docs {
		if statements, err = docs[i].statements(statements, source, &p); err != nil {
			return nil, nil, fmt.Errorf("openvex document %s: %w", source, err)
		}
	}
	return statements, p.Sentences(), nil
}

func documents(data []byte, depth int) ([]document, error) {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	if len(data) == 0 {
		return nil, errors.New("empty")
	}
	if data[0] == '[' {
		var docs []document
		if err := json.Unmarshal(data, &docs); err != nil {
			return nil, err
		}
		for i := range docs {
			if err := docs[i].check(); err != nil {
				return nil, fmt.Errorf("document %d: %w", i+1, err)
			}
		}
		return docs, nil
	}
	var any struct {
		document
		PayloadType   string          `json:"payloadType"`
		Payload       string          `json:"payload"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}
	if err := json.Unmarshal(data, &any); err != nil {
		return nil, err
	}
	switch {
	case depth > 2:
		return nil, errors.New("attestations lie inside each other")
	case any.PayloadType != "" && any.Payload != "":
		inner, err := base64.StdEncoding.DecodeString(any.Payload)
		if err != nil {
			return nil, fmt.Errorf("payload of the envelope: %w", err)
		}
		return documents(inner, depth+1)
	case any.PredicateType != "":
		if !strings.HasPrefix(any.PredicateType, "https://openvex.dev/ns") {
			return nil, fmt.Errorf("predicate of type %q is not OpenVEX", any.PredicateType)
		}
		return documents(any.Predicate, depth+1)
	}
	if err := any.check(); err != nil {
		return nil, err
	}
	return []document{any.document}, nil
}

func (d *document) check() error {
	if !strings.HasPrefix(d.Context, "https://openvex.dev/ns") {
		return fmt.Errorf("@context is %q, want https://openvex.dev/ns/v0.2.0", d.Context)
	}
	return nil
}

func (d *document) statements(out []bollwerk.VEXStatement, source string, p *bom.Problems) ([]bollwerk.VEXStatement, error) {
	for i := range d.Statements {
		s := &d.Statements[i]
		place := fmt.Sprintf("statement %d", i+1)
		name := s.Vulnerability.Name
		if name == "" {
			// An IRI whose last part is the name people use.
			name = s.Vulnerability.ID[strings.LastIndexByte(s.Vulnerability.ID, '/')+1:]
		}
		base := bollwerk.VEXStatement{
			Issue: strings.TrimSpace(name), Aliases: s.Vulnerability.Aliases, Status: bollwerk.VEXStatus(s.Status),
			Justification: s.Justification, Statement: s.Impact, ActionStatement: s.Action,
			Author: d.Author, Source: source + ", " + place,
		}
		if base.Statement == "" {
			base.Statement = s.Notes
		}
		for _, t := range []timestamp{s.LastUpdated, s.Timestamp, d.LastUpdated, d.Timestamp} {
			if !t.IsZero() {
				base.Timestamp = t.UTC()
				break
			}
		}
		if why := invalid(&base, s); why != "" {
			if why == badStatus {
				place += fmt.Sprintf(" (%q)", clip(s.Status))
			}
			p.Add("VEX statement that is not valid and does not count: "+why, place)
			continue
		}
		var products []string
		for j := range s.Products {
			c := &s.Products[j]
			subs := names(c.Subcomponents)
			if len(subs) == 0 {
				products = append(products, c.names()...)
				continue
			}
			one := base
			one.Products, one.Subcomponents = c.names(), subs
			out = append(out, one)
		}
		if len(products) > 0 {
			base.Products, base.Subcomponents = products, names(s.Subcomponents)
			out = append(out, base)
		}
		if len(out) > maxStatements {
			return nil, fmt.Errorf("more than %d statements", maxStatements)
		}
	}
	return out, nil
}

const badStatus = "a status that OpenVEX does not have"

// invalid says what the specification demands and a statement does not have. A
// statement that takes a finding away must say why: that is the point of it.
func invalid(v *bollwerk.VEXStatement, s *statement) string {
	switch {
	case v.Issue == "":
		return "no vulnerability"
	case len(s.Products) == 0:
		return "no product"
	}
	switch v.Status {
	case bollwerk.VEXNotAffected:
		if v.Justification == "" && strings.TrimSpace(s.Impact) == "" {
			return "not_affected without justification or impact statement"
		}
	case bollwerk.VEXAffected, bollwerk.VEXFixed, bollwerk.VEXUnderInvestigation:
	default:
		return badStatus
	}
	return ""
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func names(list []component) []string {
	var out []string
	for i := range list {
		out = append(out, list[i].names()...)
	}
	return out
}

// names are all identifiers of a component; any of them identifies it.
func (c *component) names() []string {
	var out []string
	add := func(s string) {
		if s = strings.TrimSpace(s); s == "" {
			return
		}
		for _, o := range out {
			if o == s {
				return
			}
		}
		out = append(out, s)
	}
	add(c.ID)
	for _, k := range []string{"purl", "cpe23", "cpe22"} {
		add(c.Identifiers[k])
	}
	for _, k := range []string{"sha-256", "sha256", "sha-512", "sha512"} {
		if h := c.Hashes[k]; h != "" {
			add(strings.ReplaceAll(k, "-", "") + ":" + strings.ToLower(h))
		}
	}
	return out
}
