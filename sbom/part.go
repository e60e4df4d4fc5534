package sbom

import (
	"bytes"
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

// storedPart is the encoding of a Part: the words' JSON leaves out lists that
// people do not read (files, symbols), which are put beside the packages here.
type storedPart struct {
	Version int
	Part    Part
	Files   map[int][]string `json:",omitempty"`
	Symbols map[int][]string `json:",omitempty"`
}

// Encode returns the part as JSON.
func (p *Part) Encode() ([]byte, error) {
	s := storedPart{Version: PartVersion, Part: *p}
	for i := range p.Inventory.Packages {
		pkg := &p.Inventory.Packages[i]
		if len(pkg.Files) > 0 {
			if s.Files == nil {
				s.Files = map[int][]string{}
			}
			s.Files[i] = pkg.Files
		}
		if len(pkg.Symbols) > 0 {
			if s.Symbols == nil {
				s.Symbols = map[int][]string{}
			}
			s.Symbols[i] = pkg.Symbols
		}
	}
	return json.Marshal(&s)
}

// DecodePart reads what Encode wrote. Another version is an error.
func DecodePart(data []byte) (Part, error) {
	var s storedPart
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(&s); err != nil {
		return Part{}, fmt.Errorf("stored part: %w", err)
	}
	if s.Version != PartVersion {
		return Part{}, fmt.Errorf("stored part: version %d, want %d: scan the layer again", s.Version, PartVersion)
	}
	pkgs := s.Part.Inventory.Packages
	for i, f := range s.Files {
		if i < 0 || i >= len(pkgs) {
			return Part{}, fmt.Errorf("stored part: files of package %d of %d", i, len(pkgs))
		}
		pkgs[i].Files = f
	}
	for i, f := range s.Symbols {
		if i < 0 || i >= len(pkgs) {
			return Part{}, fmt.Errorf("stored part: symbols of package %d of %d", i, len(pkgs))
		}
		pkgs[i].Symbols = f
	}
	return s.Part, nil
}
