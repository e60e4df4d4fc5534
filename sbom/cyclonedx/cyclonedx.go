// Package cyclonedx writes scan results as CycloneDX 1.6 bills of material
// (https://cyclonedx.org/specification/overview/, ECMA-424), JSON and XML, and
// reads documents of versions 1.2 to 1.7 made by anybody.
//
// It owns the format only. What a package needs to survive the way through a
// document, and what the conventions of other tools mean, is internal/bom's.
//
// The documents are written with the structures of cyclonedx-go. Reading has
// structures of its own: they hold the tenth of the format that speaks of
// packages, so that a mistake in a part nobody needs (a model card, a signature)
// does not make a document unreadable, and they are filled component by component,
// so that memory follows the packages and not the document.
package cyclonedx

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/license"
)

// Format is JSON or XML.
type Format int

const (
	JSON Format = iota
	XML
)

// Options say how to write. The zero value writes an inventory as JSON.
type Options struct {
	Format Format
	// Vulnerabilities adds the findings to the inventory.
	Vulnerabilities bool
	// Time is the document's timestamp; default: when the scan began.
	Time time.Time
	// Serial is "urn:uuid:…"; default: derived from the content, so that the same
	// result always gives the same document.
	Serial string
}

const (
	version   = "1.6"
	schemaURL = "http://cyclonedx.org/schema/bom-1.6.schema.json"
	namespace = "http://cyclonedx.org/schema/bom/1.6"
	rootRef   = bom.RootRef
	osRef     = bom.OSRef
)

// Document is what Read returns.
type Document = bom.Document

// Write writes r's packages, and everything a later scan of the document needs to
// come to the same findings. The bytes depend on r and o only. Errors are w's.
func Write(w io.Writer, r *bollwerk.Result, o Options) error {
	b := build(r, o)
	out := &counted{w: w}
	if o.Format == XML {
		return b.writeXML(out)
	}
	return b.writeJSON(out)
}

// counted remembers the first error, so that framing need not check each write.
type counted struct {
	w   io.Writer
	err error
}

func (c *counted) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.w.Write(p)
	c.err = err
	return n, err
}

// document is a result laid out for writing; components are made one at a time.
type document struct {
	*bom.Layout
	serial       string
	metadata     *cdx.Metadata
	os           *cdx.Component
	layers       []bollwerk.Layer
	compositions []cdx.Composition
	vulns        []cdx.Vulnerability
}

func build(r *bollwerk.Result, o Options) *document {
	when := o.Time
	if when.IsZero() {
		when = r.Started
	}
	d := &document{Layout: bom.NewLayout(r, when), layers: r.Target.Layers, serial: o.Serial}
	if d.serial == "" {
		d.serial = "urn:uuid:" + d.UUID
	}
	d.root(r, when.UTC().Format(time.RFC3339))
	aggregate := cdx.CompositionAggregateUnknown
	switch d.Complete {
	case bom.Complete:
		aggregate = cdx.CompositionAggregateComplete
	case bom.Incomplete:
		aggregate = cdx.CompositionAggregateIncomplete
	}
	d.compositions = []cdx.Composition{{Aggregate: aggregate, Assemblies: &[]cdx.BOMReference{rootRef}}}
	if o.Vulnerabilities {
		d.vulns = d.vulnerabilities(r.Findings)
	}
	return d
}

func (d *document) root(r *bollwerk.Result, timestamp string) {
	tool := cdx.Component{
		Type: cdx.ComponentTypeApplication, Name: r.Tool.Name, Version: r.Tool.Version,
		Supplier: &cdx.OrganizationalEntity{Name: "Bollwerk"},
	}
	if tool.Name == "" {
		tool.Name = "bollwerk"
	}
	a := &r.Target
	c := &cdx.Component{BOMRef: rootRef, Type: componentType(a.Kind), Name: bom.Display(a.Name)}
	if c.Name == "" {
		c.Name = "unnamed"
	}
	c.Version = bom.Display(bom.ArtifactVersion(a))
	c.PackageURL = string(bom.ArtifactPURL(a))
	if bom.ValidHash(a.Digest) && a.Kind != bollwerk.KindImage {
		// The digest of an image is that of its manifest, not of its content.
		alg, _ := bom.HashAlgorithm(a.Digest.Algorithm())
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgorithm(alg), Value: a.Digest.Hex()}}
	}
	if props := properties(bom.ArtifactProperties(r)); len(props) > 0 {
		c.Properties = &props
	}
	d.metadata = &cdx.Metadata{
		Timestamp:  timestamp,
		Lifecycles: &[]cdx.Lifecycle{{Phase: lifecycle(a.Kind)}},
		Tools:      &cdx.ToolsChoice{Components: &[]cdx.Component{tool}},
		Component:  c,
	}
	if os := a.OS; os != nil {
		d.os = &cdx.Component{
			BOMRef: osRef, Type: cdx.ComponentTypeOS,
			Name: bom.Display(os.ID), Version: bom.Display(os.VersionID), Description: bom.Display(os.PrettyName),
		}
		if d.os.Name == "" {
			d.os.Name = "unknown"
		}
	}
}

func componentType(k bollwerk.ArtifactKind) cdx.ComponentType {
	switch k {
	case bollwerk.KindImage:
		return cdx.ComponentTypeContainer
	case bollwerk.KindHost:
		return cdx.ComponentTypeDevice
	case bollwerk.KindArchive:
		return cdx.ComponentTypeFile
	}
	return cdx.ComponentTypeApplication
}

func lifecycle(k bollwerk.ArtifactKind) cdx.LifecyclePhase {
	switch k {
	case bollwerk.KindHost:
		return cdx.LifecyclePhaseOperations
	case bollwerk.KindDirectory:
		return cdx.LifecyclePhasePreBuild
	}
	return cdx.LifecyclePhasePostBuild
}

// dependency is row i of the dependency graph: the artifact's own first, then one
// for every package whose dependencies are known. The artifact depends on its
// operating system, on what the manifests name and on whatever nothing else needs.
func (d *document) dependency(i int) *cdx.Dependency {
	refs := []string{}
	row := &cdx.Dependency{Ref: rootRef, Dependencies: &refs}
	if i < 0 {
		if d.os != nil {
			refs = append(refs, osRef)
		}
		for _, j := range d.Top {
			refs = append(refs, d.Refs[j])
		}
		return row
	}
	if len(d.DependsOn[i]) == 0 {
		return nil
	}
	row.Ref = d.Refs[i]
	for _, j := range d.DependsOn[i] {
		refs = append(refs, d.Refs[j])
	}
	return row
}

func properties(in []bom.Property) []cdx.Property {
	out := make([]cdx.Property, len(in))
	for i, p := range in {
		out[i] = cdx.Property{Name: p.Name, Value: p.Value}
	}
	return out
}

// component makes the CycloneDX form of package i.
func (d *document) component(i int) *cdx.Component {
	p := d.Packages[i]
	c := &cdx.Component{
		BOMRef: d.Refs[i], Type: cdx.ComponentTypeLibrary,
		Version: bom.Display(p.Version), PackageURL: bom.Display(string(p.PURL)),
	}
	if p.Ecosystem == bollwerk.EcosystemBinary {
		c.Type = cdx.ComponentTypeApplication
	}
	c.Group, c.Name = bom.GroupName(p)
	if s := bom.Supplier(p.Ecosystem); s != "" {
		c.Supplier = &cdx.OrganizationalEntity{Name: s}
	}
	if p.Dev {
		c.Scope = cdx.ScopeOptional
	}
	native := bom.Native{Paths: true, Licenses: true, Hashes: true}
	for _, h := range p.Hashes {
		if !bom.ValidHash(h) {
			native.Hashes = false
			continue
		}
		alg, _ := bom.HashAlgorithm(h.Algorithm())
		if c.Hashes == nil {
			c.Hashes = new([]cdx.Hash)
		}
		*c.Hashes = append(*c.Hashes, cdx.Hash{Algorithm: cdx.HashAlgorithm(alg), Value: h.Hex()})
	}
	c.Licenses, native.Licenses = licenses(p.Licenses)
	if len(p.Paths) > 0 {
		native.Paths = bom.Exact(p.Paths)
		occ := make([]cdx.EvidenceOccurrence, 0, len(p.Paths))
		for _, s := range p.Paths {
			if s != "" {
				occ = append(occ, cdx.EvidenceOccurrence{Location: bom.Display(s)})
			}
		}
		if len(occ) > 0 {
			c.Evidence = &cdx.Evidence{Occurrences: &occ}
		}
	}
	props := bom.PackageProperties(p, d.layers, native)
	for _, u := range d.Missing[i] {
		props = append(props, bom.NewProperty("dependsOn", string(u)))
	}
	out := properties(props)
	c.Properties = &out
	return c
}

// licenses writes one valid expression as such, anything else as a list of IDs and
// names, which is the choice that the schema leaves. Exact: it reads back the same.
func licenses(list []string) (_ *cdx.Licenses, exact bool) {
	if len(list) == 0 {
		return nil, true
	}
	exact = bom.Exact(list)
	var out cdx.Licenses
	if len(list) == 1 {
		if e, ok := license.Expression(list[0]); ok {
			exact = exact && e == list[0]
			if id, enumerated, ok := license.ID(e); ok && enumerated {
				out = append(out, cdx.LicenseChoice{License: &cdx.License{ID: id}})
			} else {
				out = append(out, cdx.LicenseChoice{Expression: e})
			}
			return &out, exact
		}
	}
	for _, s := range list {
		if id, enumerated, ok := license.ID(s); ok && enumerated {
			exact = exact && id == s
			out = append(out, cdx.LicenseChoice{License: &cdx.License{ID: id}})
		} else if s != "" {
			out = append(out, cdx.LicenseChoice{License: &cdx.License{Name: bom.Display(s)}})
		}
	}
	if len(out) == 0 {
		return nil, false
	}
	return &out, exact
}

func (d *document) writeJSON(w *counted) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	var err error
	value := func(v any) {
		if e := enc.Encode(v); e != nil && err == nil {
			err = e
		}
	}
	put := func(s string) { io.WriteString(w, s) }
	put(`{"$schema":"` + schemaURL + `","bomFormat":"CycloneDX","specVersion":"` + version + `","version":1,"serialNumber":`)
	value(d.serial)
	put(`,"metadata":`)
	value(d.metadata)
	put(",\"components\":[\n")
	comma := ""
	if d.os != nil {
		value(d.os)
		comma = ","
	}
	for i := range d.Packages {
		put(comma)
		comma = ","
		value(d.component(i))
	}
	put("],\"dependencies\":[\n")
	value(d.dependency(-1))
	for i := range d.Packages {
		if row := d.dependency(i); row != nil {
			put(",")
			value(row)
		}
	}
	put(`],"compositions":`)
	value(d.compositions)
	if d.vulns != nil {
		put(",\"vulnerabilities\":[\n")
		for i := range d.vulns {
			if i > 0 {
				put(",")
			}
			value(&d.vulns[i])
		}
		put("]")
	}
	put("}\n")
	if w.err != nil {
		return w.err
	}
	return err
}

func (d *document) writeXML(w *counted) error {
	io.WriteString(w, xml.Header)
	enc := xml.NewEncoder(w)
	var err error
	do := func(e error) {
		if e != nil && err == nil {
			err = e
		}
	}
	start := func(name string, attrs ...xml.Attr) xml.StartElement {
		return xml.StartElement{Name: xml.Name{Local: name}, Attr: attrs}
	}
	attr := func(name, v string) xml.Attr { return xml.Attr{Name: xml.Name{Local: name}, Value: v} }
	// One element a line: enough to compare two documents by eye.
	element := func(name string, v any) {
		do(enc.EncodeElement(v, start(name)))
		do(enc.EncodeToken(xml.CharData("\n")))
	}
	list := func(name string, each func()) {
		s := start(name)
		do(enc.EncodeToken(s))
		do(enc.EncodeToken(xml.CharData("\n")))
		each()
		do(enc.EncodeToken(s.End()))
	}
	top := start("bom", attr("xmlns", namespace), attr("serialNumber", d.serial), attr("version", "1"))
	do(enc.EncodeToken(top))
	do(enc.EncodeElement(d.metadata, start("metadata")))
	list("components", func() {
		if d.os != nil {
			element("component", d.os)
		}
		for i := range d.Packages {
			element("component", d.component(i))
		}
	})
	list("dependencies", func() {
		for i := -1; i < len(d.Packages); i++ {
			if row := d.dependency(i); row != nil {
				element("dependency", row)
			}
		}
	})
	list("compositions", func() { element("composition", d.compositions[0]) })
	if d.vulns != nil {
		list("vulnerabilities", func() {
			for i := range d.vulns {
				element("vulnerability", d.vulns[i])
			}
		})
	}
	do(enc.EncodeToken(top.End()))
	do(enc.Flush())
	io.WriteString(w, "\n")
	if w.err != nil {
		return w.err
	}
	return err
}
