package spdx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk/internal/bom"
)

// ignored takes any value and keeps nothing of it; it is what the list of files,
// often nine tenths of a document, is read into.
type ignored struct{}

func (*ignored) UnmarshalJSON([]byte) error { return nil }

// json reads the outermost object key by key, so that only one package is held
// beside what is kept of those before.
func (r *reader) json(in io.Reader) error {
	r.format = "JSON"
	r.bound = bom.NewElements(in)
	dec := json.NewDecoder(r.bound)
	if _, err := dec.Token(); err != nil {
		return err
	}
	return bom.Rest(dec, func(key string) error {
		var err error
		switch key {
		case "spdxVersion":
			err = r.decode(dec, &r.version, key)
		case "name":
			err = r.decode(dec, &r.doc.Name, key)
		case "documentNamespace":
			err = r.decode(dec, &r.doc.ID, key)
		case "creationInfo":
			var c creationInfo
			if err = r.decode(dec, &c, key); err == nil {
				r.created(c.Created)
				for _, s := range c.Creators {
					r.creator(s)
				}
			}
		case "documentDescribes":
			var ids []string
			if err = r.decode(dec, &ids, key); err == nil {
				r.described = append(r.described, ids...)
			}
		case "packages":
			err = bom.Array(dec, func() error {
				var p spdxPackage
				if err := r.decode(dec, &p, "package"); err != nil {
					return err
				}
				return r.jsonPackage(&p)
			})
		case "relationships":
			err = bom.Array(dec, func() error {
				var l relationship
				if err := r.decode(dec, &l, "relationship"); err != nil {
					return err
				}
				return r.relate(l.From, l.Type, l.To)
			})
		case "hasExtractedLicensingInfos":
			err = bom.Array(dec, func() error {
				var l extractedLicense
				if err := r.decode(dec, &l, "extracted licence"); err != nil {
					return err
				}
				r.addLicense(l.ID, l.Name, l.Text)
				return nil
			})
		case "files", "snippets":
			err = bom.Array(dec, func() error { r.bound.Begin(); return dec.Decode(&ignored{}) })
		case "@context":
			r.version, r.format = "SPDX-3.0", "JSON-LD"
			r.bound.Begin()
			err = dec.Decode(&ignored{})
		case "@graph":
			err = r.graph(dec)
		default:
			r.bound.Begin()
			err = dec.Decode(&ignored{})
		}
		return err
	})
}

func (r *reader) jsonPackage(p *spdxPackage) error {
	e := element{
		id: p.ID, name: strings.TrimSpace(p.Name), version: strings.TrimSpace(p.Version), purpose: p.Purpose,
		declared: p.LicenseDeclared, concluded: p.LicenseConcluded, sourceInfo: p.SourceInfo, notes: p.AttributionTexts,
	}
	for _, x := range p.ExternalRefs {
		r.addReference(&e, x.Type, x.Locator)
	}
	for _, c := range p.Checksums {
		r.addChecksum(&e, c.Algorithm, c.Value)
	}
	for _, a := range p.Annotations {
		e.notes = append(e.notes, a.Comment)
	}
	return r.add(e)
}

// graph reads the elements of SPDX 3 (https://spdx.github.io/spdx-spec/v3.0.1/)
// that are packages and their relationships.
func (r *reader) graph(dec *json.Decoder) error {
	type identifier struct {
		Type  string `json:"externalIdentifierType"`
		Value string `json:"identifier"`
	}
	type hash struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"hashValue"`
	}
	type node struct {
		Type         string       `json:"type"`
		ID           string       `json:"spdxId"`
		Name         string       `json:"name"`
		Version      string       `json:"software_packageVersion"`
		PURL         string       `json:"software_packageUrl"`
		Purpose      string       `json:"software_primaryPurpose"`
		SourceInfo   string       `json:"software_sourceInfo"`
		Identifiers  []identifier `json:"externalIdentifier"`
		Hashes       []hash       `json:"verifiedUsing"`
		Root         []string     `json:"rootElement"`
		From         string       `json:"from"`
		To           []string     `json:"to"`
		Relationship string       `json:"relationshipType"`
		SpecVersion  string       `json:"specVersion"`
		Created      string       `json:"created"`
	}
	return bom.Array(dec, func() error {
		var n node
		if err := r.decode(dec, &n, "element"); err != nil {
			return err
		}
		switch n.Type {
		case "CreationInfo":
			if strings.HasPrefix(n.SpecVersion, "3.") {
				r.version = "SPDX-" + n.SpecVersion
			}
			r.created(n.Created)
		case "SpdxDocument":
			r.doc.Name, r.doc.ID = n.Name, n.ID
			r.described = append(r.described, n.Root...)
		case "software_Sbom":
			r.described = append(r.described, n.Root...)
		case "Tool":
			r.creator("Tool: " + n.Name)
		case "Relationship", "LifecycleScopedRelationship":
			if n.Relationship == "dependsOn" {
				for _, to := range n.To {
					if err := r.relate(n.From, "DEPENDS_ON", to); err != nil {
						return err
					}
				}
			}
		case "software_Package":
			e := element{id: n.ID, name: n.Name, version: n.Version, sourceInfo: n.SourceInfo}
			switch n.Purpose {
			case "operatingSystem":
				e.purpose = "OPERATING-SYSTEM"
			default:
				e.purpose = strings.ToUpper(n.Purpose)
			}
			if n.PURL != "" {
				e.purls = append(e.purls, n.PURL)
			}
			for _, i := range n.Identifiers {
				if i.Type == "packageUrl" || i.Type == "purl" {
					e.purls = append(e.purls, i.Value)
				}
			}
			for _, h := range n.Hashes {
				r.addChecksum(&e, h.Algorithm, h.Value)
			}
			return r.add(e)
		}
		return nil
	})
}

// decode reads one value. A field of the wrong type is a problem of that field
// only; the rest of the value has been read.
func (r *reader) decode(dec *json.Decoder, v any, what string) error {
	r.bound.Begin()
	err := dec.Decode(v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		field := wrong.Field
		if field == "" {
			field = "the value"
		}
		r.problems.Add(fmt.Sprintf("%s: %s has the wrong type", what, field), "")
		return nil
	}
	return err
}
