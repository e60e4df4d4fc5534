// Package sbomformat recognises software bills of material by their first bytes.
//
// It owns the list of formats and how to tell them apart, cheaply enough to ask of
// every file somebody names on a command line. It does not read documents: that is
// what the folders under sbom/ do.
package sbomformat

import (
	"bytes"
	"strings"
)

// Format is one way to write a bill of material down.
type Format string

const (
	CycloneDXJSON Format = "cyclonedx-json"
	CycloneDXXML  Format = "cyclonedx-xml"
	SPDXJSON      Format = "spdx-json"     // SPDX 2.x
	SPDXTagValue  Format = "spdx-tagvalue" // SPDX 2.x
	SPDX3JSON     Format = "spdx3-json"    // SPDX 3, JSON-LD
	SPDXYAML      Format = "spdx-yaml"     // recognised, not understood
	SPDXRDF       Format = "spdx-rdf"      // recognised, not understood
	// InToto is a JSON attestation (in-toto statement, or the DSSE envelope around
	// one) whose predicate may be a bill of material: what BuildKit and
	// `cosign attest` make.
	InToto Format = "in-toto"
)

// HeadSize is how many bytes Detect wants to see: enough for the licence comments
// and long file lists that some tools put in front of the telling keys.
const HeadSize = 64 << 10

// Standard is "cyclonedx", "spdx" or "" (an attestation has yet to say).
func (f Format) Standard() string {
	switch f {
	case CycloneDXJSON, CycloneDXXML:
		return "cyclonedx"
	case SPDXJSON, SPDXTagValue, SPDX3JSON, SPDXYAML, SPDXRDF:
		return "spdx"
	}
	return ""
}

// Detect says which format a document starting with head is written in, and false
// when it is none of them. Only the first HeadSize bytes are looked at. It never
// allocates in proportion to anything but head, and needs no complete document.
//
// Keys decide, not words anywhere in the text: a lock file that merely mentions
// CycloneDX in a description is not a bill of material.
func Detect(head []byte) (Format, bool) {
	if len(head) > HeadSize {
		head = head[:HeadSize]
	}
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	text := bytes.TrimLeft(head, " \t\r\n")
	if len(text) == 0 {
		return "", false
	}
	switch text[0] {
	case '{':
		return detectJSON(text)
	case '<':
		return detectXML(text)
	}
	return detectLines(text)
}

// detectJSON walks the keys of the outermost object as far as head goes.
func detectJSON(text []byte) (Format, bool) {
	keys := topLevel(text)
	value := func(k string) string { return keys[k] }
	has := func(k string) bool { _, ok := keys[k]; return ok }
	switch {
	case value("bomFormat") == "CycloneDX", strings.Contains(value("$schema"), "cyclonedx.org/schema/bom"):
		return CycloneDXJSON, true
	case strings.HasPrefix(value("spdxVersion"), "SPDX-2"):
		return SPDXJSON, true
	case strings.HasPrefix(value("spdxVersion"), "SPDX-3"), strings.Contains(value("@context"), "spdx.org/rdf/3"):
		return SPDX3JSON, true
	case value("SPDXID") == "SPDXRef-DOCUMENT":
		return SPDXJSON, true
	case strings.HasPrefix(value("_type"), "https://in-toto.io/Statement/"),
		strings.HasPrefix(value("payloadType"), "application/vnd.in-toto"):
		return InToto, true
	case has("files") && bytes.Contains(text, []byte(`"SPDXRef-`)):
		// Microsoft's sbom-tool writes the list of files, often megabytes, before
		// the keys that name the format.
		return SPDXJSON, true
	case has("packages") && bytes.Contains(text, []byte(`"SPDXRef-`)):
		return SPDXJSON, true
	}
	return "", false
}

// Keys returns the keys of the outermost JSON object, as far as text goes; the
// value is kept when it is a string or an array that begins with one, else it is
// "". It takes any bytes and looks at HeadSize of them at most.
func Keys(text []byte) map[string]string {
	if len(text) > HeadSize {
		text = text[:HeadSize]
	}
	return topLevel(text)
}

func topLevel(text []byte) map[string]string {
	keys := map[string]string{}
	depth, i := 0, 0
	key, wantKey, haveKey := "", false, false
	for i < len(text) {
		switch c := text[i]; c {
		case '{', '[':
			if depth == 1 && haveKey && c == '{' {
				keys[key] = ""
			}
			depth++
			wantKey = depth == 1
			i++
		case '}', ']':
			depth--
			if depth <= 0 {
				return keys
			}
			i++
		case ',':
			if depth == 1 {
				wantKey, haveKey = true, false
			}
			i++
		case '"':
			s, n := scanString(text[i:])
			if n == 0 {
				return keys // cut off
			}
			i += n
			switch {
			case depth == 1 && wantKey:
				key, wantKey, haveKey = s, false, true
				keys[key] = ""
			case haveKey && (depth == 1 || depth == 2) && keys[key] == "" && len(keys) <= 256:
				keys[key] = s
			}
		default:
			i++
		}
	}
	return keys
}

// scanString returns the string literal at the start of b, escapes left as they
// are (no telling word has any), and its length with quotes; 0 when it does not end.
func scanString(b []byte) (string, int) {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return string(b[1:i]), i + 1
		}
	}
	return "", 0
}

// detectXML finds the first element's name and attributes.
func detectXML(text []byte) (Format, bool) {
	for {
		text = bytes.TrimLeft(text, " \t\r\n")
		switch {
		case bytes.HasPrefix(text, []byte("<?")):
			_, rest, ok := bytes.Cut(text, []byte("?>"))
			if !ok {
				return "", false
			}
			text = rest
			continue
		case bytes.HasPrefix(text, []byte("<!--")):
			_, rest, ok := bytes.Cut(text, []byte("-->"))
			if !ok {
				return "", false
			}
			text = rest
			continue
		}
		break
	}
	tag, _, _ := bytes.Cut(text, []byte(">"))
	if len(tag) == 0 || tag[0] != '<' {
		return "", false
	}
	name, _, _ := bytes.Cut(bytes.TrimSpace(tag[1:]), []byte(" "))
	name, _, _ = bytes.Cut(name, []byte("\n"))
	if i := bytes.IndexByte(name, ':'); i >= 0 {
		name = name[i+1:]
	}
	switch {
	case string(bytes.TrimSpace(name)) == "bom" && bytes.Contains(tag, []byte("cyclonedx.org/schema/bom")):
		return CycloneDXXML, true
	case string(bytes.TrimSpace(name)) == "RDF" && bytes.Contains(tag, []byte("spdx.org/rdf")):
		return SPDXRDF, true
	}
	return "", false
}

// detectLines recognises the tag-value and YAML spellings of SPDX.
func detectLines(text []byte) (Format, bool) {
	for i := 0; len(text) > 0 && i < 200; i++ {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		switch {
		case bytes.HasPrefix(line, []byte("SPDXVersion:")):
			return SPDXTagValue, true
		case bytes.HasPrefix(line, []byte("spdxVersion:")),
			bytes.HasPrefix(line, []byte("SPDXID:")) && bytes.Contains(line, []byte("SPDXRef-DOCUMENT")):
			if bytes.Contains(text, []byte("\nSPDXVersion:")) || bytes.HasPrefix(text, []byte("SPDXVersion:")) {
				return SPDXTagValue, true
			}
			return SPDXYAML, true
		}
	}
	return "", false
}
