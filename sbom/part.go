package sbom

import (
	"encoding/json"
	"fmt"

	"github.com/bollwerk/bollwerk"
)

// PartVersion changes whenever an extractor finds something else in the same file,
// or the encoding changes: a stored part of another version must not be used. A
// cache puts it into its key beside the diff ID.
const PartVersion = 1

// Part is what one part of an artifact, a layer or a directory, holds by itself. It
// does not depend on the parts below or above, so it can be stored by the digest of
// the layer.
type Part struct {
	Inventory bollwerk.Inventory
	// Releases are the distributions that os-release files in the part declare.
	Releases []Release `json:",omitempty"`
	Problems []Problem `json:",omitempty"`
	// Files counts the entries seen, of any type.
	Files int
}

// Release is one os-release file.
type Release struct {
	Path string
	OS   bollwerk.Distribution
}

// Problem is something that could not be read or understood. It never means that
// nothing was found.
type Problem struct {
	Path      string `json:"path,omitempty"`      // "" when too many to name
	Extractor string `json:"extractor,omitempty"` // "" when before any extractor
	Cause     string `json:"cause"`
	Count     int    `json:"count"`
}

// plainPart is Part without its methods.
type plainPart Part

// storedPart is the encoding of a Part: the words' JSON leaves out lists that
// people do not read (files, symbols), which are put beside the packages here.
type storedPart struct {
	Version int
	Part    plainPart
	Files   map[int][]string `json:",omitempty"`
	Symbols map[int][]string `json:",omitempty"`
}

// MarshalJSON implements json.Marshaler, losing nothing.
func (p Part) MarshalJSON() ([]byte, error) {
	s := storedPart{Version: PartVersion, Part: plainPart(p)}
	put := func(m *map[int][]string, i int, l []string) {
		if len(l) == 0 {
			return
		}
		if *m == nil {
			*m = map[int][]string{}
		}
		(*m)[i] = l
	}
	for i := range p.Inventory.Packages {
		put(&s.Files, i, p.Inventory.Packages[i].Files)
		put(&s.Symbols, i, p.Inventory.Packages[i].Symbols)
	}
	return json.Marshal(&s)
}

// UnmarshalJSON implements json.Unmarshaler. Another PartVersion is an error.
func (p *Part) UnmarshalJSON(data []byte) error {
	var s storedPart
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("stored part: %w", err)
	}
	if s.Version != PartVersion {
		return fmt.Errorf("stored part: version %d, want %d: scan the layer again", s.Version, PartVersion)
	}
	pkgs := s.Part.Inventory.Packages
	for i, f := range s.Files {
		if i < 0 || i >= len(pkgs) {
			return fmt.Errorf("stored part: files of package %d of %d", i, len(pkgs))
		}
		pkgs[i].Files = f
	}
	for i, f := range s.Symbols {
		if i < 0 || i >= len(pkgs) {
			return fmt.Errorf("stored part: symbols of package %d of %d", i, len(pkgs))
		}
		pkgs[i].Symbols = f
	}
	*p = Part(s.Part)
	return nil
}

// GobEncode and GobDecode use the same form: gob by itself would turn a pointer to
// false (not direct) into nil (not known).
func (p Part) GobEncode() ([]byte, error) { return p.MarshalJSON() }

// GobDecode implements gob.GobDecoder.
func (p *Part) GobDecode(data []byte) error { return p.UnmarshalJSON(data) }

// Encode returns the part as JSON.
func (p *Part) Encode() ([]byte, error) { return p.MarshalJSON() }

// DecodePart reads what Encode wrote. Another version is an error.
func DecodePart(data []byte) (Part, error) {
	var p Part
	err := p.UnmarshalJSON(data)
	return p, err
}
