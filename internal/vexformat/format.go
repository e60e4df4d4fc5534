// Package vexformat recognises documents with VEX statements by their first bytes.
package vexformat

import (
	"bytes"
	"strings"

	"github.com/bollwerk/bollwerk/internal/sbomformat"
)

// Format is one way to write VEX statements down.
type Format string

const (
	OpenVEX   Format = "openvex"
	CSAF      Format = "csaf"
	CycloneDX Format = "cyclonedx" // JSON or XML; also an inventory with analyses
	// InToto is an attestation whose predicate is an OpenVEX document; the OpenVEX
	// reader takes it.
	InToto Format = "in-toto"
)

// Detect says which format a document starting with head is written in, and false
// when it is none of them. Only the first sbomformat.HeadSize bytes are looked at.
func Detect(head []byte) (Format, bool) {
	switch f, _ := sbomformat.Detect(head); f {
	case sbomformat.CycloneDXJSON, sbomformat.CycloneDXXML:
		return CycloneDX, true
	case sbomformat.InToto:
		return InToto, true
	}
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	text := bytes.TrimLeft(head, " \t\r\n")
	if len(text) > 0 && text[0] == '[' { // several OpenVEX documents
		text = bytes.TrimLeft(text[1:], " \t\r\n")
	}
	if len(text) == 0 || text[0] != '{' {
		return "", false
	}
	keys := sbomformat.Keys(text)
	_, document := keys["document"]
	_, tree := keys["product_tree"]
	_, vulns := keys["vulnerabilities"]
	switch {
	case strings.HasPrefix(keys["@context"], "https://openvex.dev/ns"):
		return OpenVEX, true
	case document && (tree || vulns || bytes.Contains(text, []byte(`"csaf_version"`))):
		return CSAF, true
	case keys["$schema"] != "" && strings.Contains(keys["$schema"], "/csaf/"):
		return CSAF, true
	}
	return "", false
}
