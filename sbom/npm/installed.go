package npm

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// maxManifest: the largest package.json in the registry is below 1 MB.
const maxManifest = 8 << 20

// Installed reads the package.json of what is installed in a node_modules folder.
type Installed struct{}

func (Installed) Name() string                  { return "npm/installed" }
func (Installed) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemNPM }
func (Installed) Hints() sbom.Hints             { return sbom.Hints{Bases: []string{"package.json"}} }

// Wants takes node_modules/x/package.json and node_modules/@s/x/package.json, not
// the package.json files that packages carry deeper inside (test data, dual module
// formats). Debian installs into usr/share/nodejs in the same form.
func (Installed) Wants(f *bollwerk.File) bool {
	d, ok := strings.CutSuffix(f.Path, "/package.json")
	if !ok {
		return false
	}
	i := strings.LastIndexByte(d, '/')
	if i < 0 {
		return false
	}
	d = d[:i]
	if j := strings.LastIndexByte(d, '/'); j >= 0 && j+1 < len(d) && d[j+1] == '@' {
		d = d[:j]
	}
	return d == "node_modules" || strings.HasSuffix(d, "/node_modules") || d == "usr/share/nodejs"
}

type manifest struct {
	Name     string          `json:"name"`
	Version  string          `json:"version"`
	License  json.RawMessage `json:"license"`
	Licenses json.RawMessage `json:"licenses"`
}

// Extract returns the package.
func (Installed) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	data, err := in.Bytes(maxManifest)
	if err != nil {
		return bollwerk.Inventory{}, err
	}
	var m manifest
	if err := json.Unmarshal(trimBOM(data), &m); err != nil {
		return bollwerk.Inventory{}, fmt.Errorf("package.json: %w", err)
	}
	if m.Name == "" || m.Version == "" {
		return bollwerk.Inventory{}, nil // a marker such as {"type":"module"}
	}
	return bollwerk.Inventory{Packages: []bollwerk.Package{{
		Name: m.Name, Version: strings.TrimPrefix(m.Version, "v"), Ecosystem: bollwerk.EcosystemNPM,
		Licenses: licenses(m.License, m.Licenses),
	}}}, nil
}

func trimBOM(b []byte) []byte {
	if len(b) >= 3 && b[0] == 0xef && b[1] == 0xbb && b[2] == 0xbf {
		return b[3:]
	}
	return b
}

// licenses reads today's "license": "MIT" and the forms before it:
// {"type": "MIT"}, [{"type": "MIT"}], ["MIT"].
func licenses(fields ...json.RawMessage) []string {
	var out []string
	for _, f := range fields {
		if len(f) == 0 {
			continue
		}
		var one string
		if json.Unmarshal(f, &one) == nil {
			if one != "" {
				out = append(out, one)
			}
			continue
		}
		var typed struct{ Type string }
		if json.Unmarshal(f, &typed) == nil {
			if typed.Type != "" {
				out = append(out, typed.Type)
			}
			continue
		}
		var list []json.RawMessage
		if json.Unmarshal(f, &list) == nil && len(list) < 32 {
			for _, l := range list {
				if len(l) > 0 && l[0] != '[' {
					out = append(out, licenses(l)...)
				}
			}
		}
	}
	return out
}
