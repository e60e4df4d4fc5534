package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding/csaf"
	"github.com/bollwerk/bollwerk/finding/cyclonedxvex"
	"github.com/bollwerk/bollwerk/finding/openvex"
)

// readVEX tells the three formats apart by their marks and reads one. Problems are
// statements that were not understood.
func readVEX(name string) (statements []bollwerk.VEXStatement, problems []string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	b, err := readLimited(f, 64<<20)
	if err != nil {
		return nil, nil, err
	}
	var mark struct {
		Context   any             `json:"@context"`
		BOMFormat string          `json:"bomFormat"`
		Document  json.RawMessage `json:"document"`
	}
	list := len(b) > 0 && firstByte(b) == '['
	if !list && firstByte(b) != '<' {
		if err := json.Unmarshal(b, &mark); err != nil {
			return nil, nil, fmt.Errorf("not a VEX document: %w", err)
		}
	}
	switch {
	case firstByte(b) == '<', mark.BOMFormat == "CycloneDX":
		return cyclonedxvex.Read(bytes.NewReader(b), name)
	case mark.Document != nil:
		return csaf.Read(bytes.NewReader(b), name)
	case list, mark.Context != nil:
		return openvex.Read(bytes.NewReader(b), name)
	}
	return nil, nil, errors.New("neither OpenVEX (@context), CSAF (document) nor CycloneDX (bomFormat)")
}

func firstByte(b []byte) byte {
	for _, c := range b {
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' && c != 0xef && c != 0xbb && c != 0xbf {
			return c
		}
	}
	return 0
}
