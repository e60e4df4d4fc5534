package cyclonedx

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/cdxvex"
)

// ReadOptions bound what reading may cost and name the document for messages.
type ReadOptions struct {
	bom.Limits
	// Source is the file name, for VEX statements.
	Source string
}

// Read reads a document of CycloneDX 1.2 to 1.7, JSON or XML (told apart by the
// first byte). An error means that the document could not be read to its end, or
// is not CycloneDX: nothing of it may be relied on. What was read but not
// understood is in the document's Problems.
func Read(r io.Reader, o ReadOptions) (Document, error) {
	o.Limits = o.Limits.WithDefaults()
	in := bufio.NewReaderSize(bom.LimitReader(r, o.MaxBytes), 64<<10)
	if b, _ := in.Peek(3); bytes.Equal(b, []byte("\xef\xbb\xbf")) {
		in.Discard(3)
	}
	first, err := firstByte(in)
	if err != nil {
		return Document{}, fmt.Errorf("cyclonedx document: %w", err)
	}
	rd := &reader{o: o, refs: map[string]int{}}
	switch first {
	case '{':
		err = rd.json(in)
	case '<':
		err = rd.xml(in)
	default:
		err = errors.New("neither JSON nor XML")
	}
	if err != nil {
		return Document{}, fmt.Errorf("cyclonedx document: %w", err)
	}
	return rd.finish()
}

func firstByte(in *bufio.Reader) (byte, error) {
	for {
		b, err := in.ReadByte()
		if err == io.EOF {
			return 0, errors.New("empty")
		}
		if err != nil {
			return 0, err
		}
		if b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, in.UnreadByte()
		}
	}
}

// The structures that are read. See the package comment for why they are not
// cyclonedx-go's.
type component struct {
	BOMRef     string      `json:"bom-ref" xml:"bom-ref,attr"`
	Type       string      `json:"type" xml:"type,attr"`
	Group      string      `json:"group" xml:"group"`
	Name       string      `json:"name" xml:"name"`
	Version    string      `json:"version" xml:"version"`
	Scope      string      `json:"scope" xml:"scope"`
	PURL       string      `json:"purl" xml:"purl"`
	CPE        string      `json:"cpe" xml:"cpe"`
	Hashes     []hashValue `json:"hashes" xml:"hashes>hash"`
	Licenses   licenseList `json:"licenses" xml:"licenses"`
	Properties []nameValue `json:"properties" xml:"properties>property"`
	Evidence   struct {
		Occurrences []struct {
			Location string `json:"location" xml:"location"`
		} `json:"occurrences" xml:"occurrences>occurrence"`
	} `json:"evidence" xml:"evidence"`
	Components []component `json:"components" xml:"components>component"`
}

type hashValue struct {
	Alg     string `json:"alg" xml:"alg,attr"`
	Content string `json:"content" xml:",chardata"`
}

type nameValue struct {
	Name  string `json:"name" xml:"name,attr"`
	Value string `json:"value" xml:",chardata"`
}

type licenseChoice struct {
	License struct {
		ID   string `json:"id" xml:"id"`
		Name string `json:"name" xml:"name"`
	} `json:"license"`
	Expression string `json:"expression"`
}

type licenseList []licenseChoice

// UnmarshalXML reads the choice of <license> and <expression> elements.
func (l *licenseList) UnmarshalXML(d *xml.Decoder, start xml.StartElement) error {
	var v struct {
		License []struct {
			ID   string `xml:"id"`
			Name string `xml:"name"`
		} `xml:"license"`
		Expression []string `xml:"expression"`
	}
	if err := d.DecodeElement(&v, &start); err != nil {
		return err
	}
	for _, e := range v.Expression {
		*l = append(*l, licenseChoice{Expression: e})
	}
	for _, e := range v.License {
		var c licenseChoice
		c.License.ID, c.License.Name = e.ID, e.Name
		*l = append(*l, c)
	}
	return nil
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

type dependencyXML struct {
	Ref  string `xml:"ref,attr"`
	Deps []struct {
		Ref string `xml:"ref,attr"`
	} `xml:"dependency"`
}

type metadata struct {
	Timestamp string          `json:"timestamp" xml:"timestamp"`
	Tools     json.RawMessage `json:"tools" xml:"-"`
	ToolsXML  struct {
		Tool       []tool `xml:"tool"`
		Components []tool `xml:"components>component"`
	} `json:"-" xml:"tools"`
	Component  component   `json:"component" xml:"component"`
	Properties []nameValue `json:"properties" xml:"properties>property"`
}

type tool struct {
	Name    string `json:"name" xml:"name"`
	Version string `json:"version" xml:"version"`
}

type composition struct {
	Aggregate string `json:"aggregate" xml:"aggregate"`
}

// reader collects a document while its parts come by, in any order.
type reader struct {
	o        ReadOptions
	doc      Document
	problems bom.Problems

	spec      string
	isBOM     bool
	root      *component
	refs      map[string]int // bom-ref to index in doc.Packages
	deps      []dependency
	edges     int
	count     int
	vulns     []cdxvex.Vulnerability
	own       bool
	bound     *bom.Elements
	os        *bollwerk.Distribution
	dependsOn map[int][]bollwerk.PURL // from our own properties
}

func (r *reader) json(in io.Reader) error {
	r.bound = bom.NewElements(in)
	dec := json.NewDecoder(r.bound)
	if _, err := dec.Token(); err != nil {
		return err
	}
	return bom.Rest(dec, func(key string) error {
		var err error
		switch key {
		case "bomFormat":
			var s string
			if err := r.decode(dec, &s, key); err != nil {
				return err
			}
			r.isBOM = s == "CycloneDX"
			if !r.isBOM {
				return fmt.Errorf("bomFormat is %q, want CycloneDX", s)
			}
		case "specVersion":
			err = r.decode(dec, &r.spec, key)
		case "serialNumber":
			err = r.decode(dec, &r.doc.ID, key)
		case "metadata":
			var m metadata
			if err = r.decode(dec, &m, key); err == nil {
				r.metadata(&m)
			}
		case "components":
			err = bom.Array(dec, func() error {
				var c component
				if err := r.decode(dec, &c, "component"); err != nil {
					return err
				}
				return r.component(&c, 1)
			})
		case "dependencies":
			err = bom.Array(dec, func() error {
				var d dependency
				if err := r.decode(dec, &d, "dependency"); err != nil {
					return err
				}
				return r.dependency(d)
			})
		case "compositions":
			err = bom.Array(dec, func() error {
				var c composition
				if err := r.decode(dec, &c, "composition"); err != nil {
					return err
				}
				r.composition(c)
				return nil
			})
		case "vulnerabilities":
			err = bom.Array(dec, func() error {
				var v cdxvex.Vulnerability
				if err := r.decode(dec, &v, "vulnerability"); err != nil {
					return err
				}
				return r.vulnerability(v)
			})
		default:
			var skip json.RawMessage
			r.bound.Begin()
			err = dec.Decode(&skip)
		}
		return err
	})
}

// decode reads one value. A field of the wrong type is a problem of that field
// only; the rest of the value has been read.
func (r *reader) decode(dec *json.Decoder, v any, what string) error {
	r.bound.Begin()
	err := dec.Decode(v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		r.problems.Add(fmt.Sprintf("%s: %s has the wrong type", what, field2(wrong)), "")
		return nil
	}
	return err
}

func field2(e *json.UnmarshalTypeError) string {
	if e.Field == "" {
		return "the value"
	}
	return e.Field
}

func (r *reader) xml(in io.Reader) error {
	r.bound = bom.NewElements(in)
	dec := xml.NewDecoder(r.bound)
	dec.Strict = true
	depth := 0
	for {
		r.bound.Begin()
		t, err := dec.Token()
		if err == io.EOF {
			if !r.isBOM {
				return errors.New("no <bom> element")
			}
			if depth != 0 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
		switch e := t.(type) {
		case xml.EndElement:
			depth--
		case xml.StartElement:
			if depth == 0 {
				if err := r.bomElement(e); err != nil {
					return err
				}
				depth++
				continue
			}
			if err := r.xmlPart(dec, e); err != nil {
				return err
			}
		}
	}
}

func (r *reader) bomElement(e xml.StartElement) error {
	const ns = "http://cyclonedx.org/schema/bom/"
	if e.Name.Local != "bom" || !strings.HasPrefix(e.Name.Space, ns) {
		return fmt.Errorf("the first element is <%s>, want <bom> of CycloneDX", e.Name.Local)
	}
	if r.isBOM {
		return errors.New("two <bom> elements")
	}
	r.isBOM = true
	r.spec = e.Name.Space[len(ns):]
	for _, a := range e.Attr {
		if a.Name.Local == "serialNumber" {
			r.doc.ID = a.Value
		}
	}
	return nil
}

// xmlPart reads one child of <bom> to its end.
func (r *reader) xmlPart(dec *xml.Decoder, e xml.StartElement) error {
	children := func(name string, each func(xml.StartElement) error) error {
		for {
			r.bound.Begin()
			t, err := dec.Token()
			if err != nil {
				return bom.Unexpected(err)
			}
			switch c := t.(type) {
			case xml.EndElement:
				return nil
			case xml.StartElement:
				if c.Name.Local != name {
					if err := dec.Skip(); err != nil {
						return bom.Unexpected(err)
					}
					continue
				}
				if err := each(c); err != nil {
					return bom.Unexpected(err)
				}
			}
		}
	}
	switch e.Name.Local {
	case "metadata":
		var m metadata
		if err := dec.DecodeElement(&m, &e); err != nil {
			return bom.Unexpected(err)
		}
		r.metadata(&m)
		return nil
	case "components":
		return children("component", func(s xml.StartElement) error {
			var c component
			if err := dec.DecodeElement(&c, &s); err != nil {
				return err
			}
			return r.component(&c, 1)
		})
	case "dependencies":
		return children("dependency", func(s xml.StartElement) error {
			var d dependencyXML
			if err := dec.DecodeElement(&d, &s); err != nil {
				return err
			}
			out := dependency{Ref: d.Ref}
			for _, c := range d.Deps {
				out.DependsOn = append(out.DependsOn, c.Ref)
			}
			return r.dependency(out)
		})
	case "compositions":
		return children("composition", func(s xml.StartElement) error {
			var c composition
			if err := dec.DecodeElement(&c, &s); err != nil {
				return err
			}
			r.composition(c)
			return nil
		})
	case "vulnerabilities":
		return children("vulnerability", func(s xml.StartElement) error {
			var v cdxvex.Vulnerability
			if err := dec.DecodeElement(&v, &s); err != nil {
				return err
			}
			return r.vulnerability(v)
		})
	}
	if err := dec.Skip(); err != nil {
		return bom.Unexpected(err)
	}
	return nil
}

func (r *reader) metadata(m *metadata) {
	if t, err := time.Parse(time.RFC3339, strings.TrimSpace(m.Timestamp)); err == nil {
		r.doc.Created = t
	}
	tools := append(m.ToolsXML.Tool, m.ToolsXML.Components...)
	if len(m.Tools) > 0 {
		var legacy []tool
		var modern struct {
			Components []tool `json:"components"`
		}
		if json.Unmarshal(m.Tools, &legacy) == nil {
			tools = legacy
		} else if json.Unmarshal(m.Tools, &modern) == nil {
			tools = modern.Components
		}
	}
	for _, t := range tools {
		if s := strings.TrimSpace(t.Name + " " + t.Version); s != "" && len(r.doc.Tools) < 32 {
			r.doc.Tools = append(r.doc.Tools, s)
		}
	}
	r.root = &m.Component
	r.root.Properties = append(r.root.Properties, m.Properties...)
}

func (r *reader) composition(c composition) {
	switch a := strings.TrimSpace(c.Aggregate); {
	case strings.HasPrefix(a, "incomplete"):
		r.problems.Add("the document says of itself that it is incomplete", "")
	}
}

func (r *reader) vulnerability(v cdxvex.Vulnerability) error {
	if v.Analysis == nil {
		return nil
	}
	if len(r.vulns) >= r.o.MaxComponents {
		return fmt.Errorf("more than %d vulnerabilities", r.o.MaxComponents)
	}
	r.vulns = append(r.vulns, v)
	return nil
}

func (r *reader) dependency(d dependency) error {
	r.edges += 1 + len(d.DependsOn)
	if r.edges > 8*r.o.MaxComponents {
		return fmt.Errorf("more than %d dependencies", 8*r.o.MaxComponents)
	}
	if len(d.DependsOn) > 0 {
		r.deps = append(r.deps, d)
	}
	return nil
}

// component takes one component and those inside it.
func (r *reader) component(c *component, depth int) error {
	r.count++
	if r.count > r.o.MaxComponents {
		return fmt.Errorf("more than %d components", r.o.MaxComponents)
	}
	if depth > r.o.MaxDepth {
		return fmt.Errorf("components lie more than %d levels inside each other", r.o.MaxDepth)
	}
	r.one(c)
	for i := range c.Components {
		if err := r.component(&c.Components[i], depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) one(c *component) {
	g := c.facts()
	switch {
	case c.Type == "operating-system":
		if r.os == nil && g.Name != "" {
			r.os = bom.NewDistribution(g.Name, g.Version)
		}
		return
	case g.PURL == "" && !bom.Ours(g.Properties):
		if c.shouldBePackage() {
			r.doc.Total++
			r.doc.Unread++
			r.problems.Add("component without package URL", strings.TrimSpace(g.Name+" "+g.Version))
		}
		return
	}
	r.doc.Total++
	p, err := g.Package()
	if err != nil {
		r.doc.Unread++
		r.problems.Add("component with a package URL that is not understood", g.PURL)
		return
	}
	if !bom.Ours(g.Properties) && strings.ContainsRune(p.Name+p.Version, '\uFFFD') {
		r.problems.Add("component whose name or version is not valid UTF-8", p.Name)
	}
	if c.Scope == "excluded" {
		p.Dev = true
	}
	i := len(r.doc.Packages)
	for _, q := range g.Properties {
		if name, v, ok := q.Own(); ok && name == "dependsOn" {
			if r.dependsOn == nil {
				r.dependsOn = map[int][]bollwerk.PURL{}
			}
			r.dependsOn[i] = append(r.dependsOn[i], bollwerk.PURL(v))
		}
	}
	r.doc.Packages = append(r.doc.Packages, p)
	if c.BOMRef != "" {
		r.refs[c.BOMRef] = i
	}
}

// shouldBePackage tells components that somebody meant as software apart from the
// rest of what CycloneDX can list (files, containers, models, keys).
func (c *component) shouldBePackage() bool {
	switch c.Type {
	case "library", "framework", "platform", "firmware", "device-driver", "":
		return true
	case "application":
		// Trivy lists lock files as applications.
		for _, p := range c.Properties {
			if strings.HasPrefix(p.Name, "aquasecurity:trivy:Class") || strings.HasPrefix(p.Name, "aquasecurity:trivy:Type") {
				return false
			}
		}
		return true
	}
	return false
}

func (c *component) facts() *bom.Component {
	trim := strings.TrimSpace
	g := &bom.Component{Name: trim(c.Name), Group: trim(c.Group), Version: trim(c.Version), PURL: trim(c.PURL)}
	for _, p := range c.Properties {
		g.Properties = append(g.Properties, bom.Property{Name: p.Name, Value: trim(p.Value)})
	}
	for _, h := range c.Hashes {
		if alg, ok := bom.DigestAlgorithm(h.Alg); ok {
			if d := bollwerk.Digest(alg + ":" + strings.ToLower(trim(h.Content))); bom.ValidHash(d) {
				g.Hashes = append(g.Hashes, d)
			}
		}
	}
	for _, l := range c.Licenses {
		for _, s := range []string{l.Expression, l.License.ID, l.License.Name} {
			if s = trim(s); s != "" {
				g.Licenses = append(g.Licenses, s)
				break
			}
		}
	}
	for _, o := range c.Evidence.Occurrences {
		if s := trim(o.Location); s != "" {
			g.Paths = append(g.Paths, s)
		}
	}
	return g
}

func (r *reader) finish() (Document, error) {
	d := &r.doc
	if !r.isBOM && r.spec == "" {
		return Document{}, errors.New("cyclonedx document: bomFormat is missing")
	}
	switch r.spec {
	case "1.2", "1.3", "1.4", "1.5", "1.6", "1.7":
	case "":
		r.problems.Add("the version of the specification is missing", "")
	default:
		r.problems.Add("version of the specification that is not known; read as 1.7", r.spec)
	}
	d.Format = strings.TrimSpace("CycloneDX " + r.spec)
	d.Artifact.Kind = bollwerk.KindSBOM
	if r.root != nil {
		r.finishRoot()
	}
	for _, e := range r.deps {
		from, ok := r.refs[e.Ref]
		if !ok {
			continue
		}
		p := &d.Packages[from]
		for _, ref := range e.DependsOn {
			if to, ok := r.refs[ref]; ok && d.Packages[to].PURL != "" {
				p.DependsOn = append(p.DependsOn, d.Packages[to].PURL)
			}
		}
	}
	for i, list := range r.dependsOn {
		d.Packages[i].DependsOn = append(d.Packages[i].DependsOn, list...)
	}
	bom.CompleteLayers(d.Packages, d.Artifact.Layers)
	if r.own {
		d.OS = d.Artifact.OS
	} else {
		d.OS = bom.CompleteOS(d.Packages, r.os)
		d.Artifact.OS = d.OS
	}
	r.statements()
	d.Problems = r.problems.Sentences()
	return *d, nil
}

func (r *reader) finishRoot() {
	d, g := &r.doc, r.root.facts()
	d.Artifact.Name = g.Name
	own, err := bom.ApplyArtifact(d, g.Properties)
	if err != nil {
		r.problems.Add("property of the artifact that is not understood", err.Error())
	}
	if r.own = own; own {
		return
	}
	bom.ForeignArtifact(&d.Artifact, g)
	if bom.RootIsPackage(g.PURL) {
		r.one(r.root)
	}
	for i := range r.root.Components {
		// What the root is assembled of is listed there by some.
		if err := r.component(&r.root.Components[i], 1); err != nil {
			r.problems.Add("components of the described artifact that were not read", err.Error())
		}
	}
}

func (r *reader) statements() {
	place := cdxvex.Place{Source: r.o.Source, Timestamp: r.doc.Created, Resolve: func(ref string) (string, bool) {
		if i, ok := r.refs[ref]; ok && r.doc.Packages[i].PURL != "" {
			return string(r.doc.Packages[i].PURL), true
		}
		if r.root != nil && ref != "" && ref == r.root.BOMRef {
			switch {
			case r.doc.Artifact.Digest != "":
				return string(r.doc.Artifact.Digest), true
			case r.root.PURL != "":
				return r.root.PURL, true
			}
			return r.doc.Artifact.Name, r.doc.Artifact.Name != ""
		}
		return "", false
	}}
	for i := range r.vulns {
		st, problem := cdxvex.Statements(&r.vulns[i], place)
		r.doc.Statements = append(r.doc.Statements, st...)
		if problem != "" {
			r.problems.Add("VEX statement that is not understood", problem)
		}
	}
}
