package main

import (
	"bytes"
	"errors"
	"os"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding/csaf"
	"github.com/bollwerk/bollwerk/finding/cyclonedxvex"
	"github.com/bollwerk/bollwerk/finding/openvex"
	"github.com/bollwerk/bollwerk/internal/vexformat"
)

// maxVEXBytes bounds a document with VEX statements.
const maxVEXBytes = 64 << 20

// readVEX tells the formats apart by their marks and reads one. Problems are
// statements that were not understood.
func readVEX(name string) (statements []bollwerk.VEXStatement, problems []string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	b, err := readLimited(f, maxVEXBytes)
	if err != nil {
		return nil, nil, err
	}
	switch format, _ := vexformat.Detect(b); format {
	case vexformat.OpenVEX, vexformat.InToto:
		return openvex.Read(bytes.NewReader(b), name)
	case vexformat.CSAF:
		return csaf.Read(bytes.NewReader(b), name)
	case vexformat.CycloneDX:
		return cyclonedxvex.Read(bytes.NewReader(b), name)
	}
	return nil, nil, errors.New("no VEX document: neither OpenVEX, CSAF 2.0 nor CycloneDX")
}
