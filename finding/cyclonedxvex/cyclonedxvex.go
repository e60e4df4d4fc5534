// Package cyclonedxvex reads VEX statements from CycloneDX documents, JSON and
// XML: vulnerabilities with an analysis. The document may be nothing but that,
// refer to an inventory elsewhere by BOM-Link, or be the inventory itself.
package cyclonedxvex

import (
	"bufio"
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

const (
	// MaxBytes bounds a document.
	MaxBytes = 256 << 20
	maxDepth = 32
	maxItems = 1_000_000
)

type document struct {
	XMLName     xml.Name `json:"-" xml:"bom"`
	BOMFormat   string   `json:"bomFormat" xml:"-"`
	SpecVersion string   `json:"specVersion" xml:"-"`
	Metadata    struct {
		Timestamp string    `json:"timestamp" xml:"timestamp"`
		Component component `json:"component" xml:"component"`
	} `json:"metadata" xml:"metadata"`
	Components      []component            `json:"components" xml:"components>component"`
	Vulnerabilities []cdxvex.Vulnerability `json:"vulnerabilities" xml:"vulnerabilities>vulnerability"`
}

type component struct {
	BOMRef     string      `json:"bom-ref" xml:"bom-ref,attr"`
	Group      string      `json:"group" xml:"group"`
	Name       string      `json:"name" xml:"name"`
	Version    string      `json:"version" xml:"version"`
	PURL       string      `json:"purl" xml:"purl"`
	Components []component `json:"components" xml:"components>component"`
}

// Read returns the statements of a document. Source is the file's name. Problems
// say in a sentence each which analyses were not understood. An error means that
// nothing could be read.
func Read(r io.Reader, source string) (statements []bollwerk.VEXStatement, problems []string, err error) {
	in := bufio.NewReader(bom.LimitReader(r, MaxBytes))
	d, err := decode(in)
	if err != nil {
		return nil, nil, fmt.Errorf("cyclonedx document %s: %w", source, err)
	}
	rd := reader{refs: map[string]string{}}
	if err := rd.components(d.Components, 1); err != nil {
		return nil, nil, fmt.Errorf("cyclonedx document %s: %w", source, err)
	}
	if root := &d.Metadata.Component; root.BOMRef != "" {
		rd.refs[root.BOMRef] = root.product()
	}
	if len(d.Vulnerabilities) > maxItems {
		return nil, nil, fmt.Errorf("cyclonedx document %s: more than %d vulnerabilities", source, maxItems)
	}
	place := cdxvex.Place{Source: source, Resolve: func(ref string) (string, bool) {
		s, ok := rd.refs[ref]
		return s, ok && s != ""
	}}
	place.Timestamp, _ = time.Parse(time.RFC3339, strings.TrimSpace(d.Metadata.Timestamp))
	var p bom.Problems
	for i := range d.Vulnerabilities {
		st, problem := cdxvex.Statements(&d.Vulnerabilities[i], place)
		statements = append(statements, st...)
		if problem != "" {
			p.Add("VEX statement that is not understood", problem)
		}
	}
	return statements, p.Sentences(), nil
}

func decode(in *bufio.Reader) (*document, error) {
	var d document
	for {
		b, err := in.ReadByte()
		if err != nil {
			return nil, errors.New("empty")
		}
		switch b {
		case ' ', '\t', '\r', '\n', 0xef, 0xbb, 0xbf:
			continue
		case '{':
			in.UnreadByte()
			var wrong *json.UnmarshalTypeError
			if err := json.NewDecoder(in).Decode(&d); err != nil && !errors.As(err, &wrong) {
				return nil, unexpected(err)
			}
			if d.BOMFormat != "CycloneDX" {
				return nil, fmt.Errorf("bomFormat is %q, want CycloneDX", d.BOMFormat)
			}
			return &d, nil
		case '<':
			in.UnreadByte()
			if err := xml.NewDecoder(in).Decode(&d); err != nil {
				return nil, unexpected(err)
			}
			if !strings.HasPrefix(d.XMLName.Space, "http://cyclonedx.org/schema/bom/") {
				return nil, fmt.Errorf("<bom> of name space %q is not CycloneDX", d.XMLName.Space)
			}
			return &d, nil
		}
		return nil, errors.New("neither JSON nor XML")
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

type reader struct {
	refs  map[string]string // bom-ref to product
	count int
}

func (r *reader) components(list []component, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("components lie more than %d levels inside each other", maxDepth)
	}
	for i := range list {
		if r.count++; r.count > maxItems {
			return fmt.Errorf("more than %d components", maxItems)
		}
		c := &list[i]
		if c.BOMRef != "" {
			r.refs[c.BOMRef] = c.product()
		}
		if err := r.components(c.Components, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// product is how a statement names a component: its package URL, the digest that
// is its version (images), or its name.
func (c *component) product() string {
	v := strings.TrimSpace(c.Version)
	switch {
	case c.PURL != "":
		return strings.TrimSpace(c.PURL)
	case strings.HasPrefix(v, "sha256:"):
		return v
	}
	name := strings.TrimSpace(c.Name)
	if c.Group != "" {
		name = strings.TrimSpace(c.Group) + "/" + name
	}
	if v != "" && name != "" {
		return name + ":" + v
	}
	return name
}
