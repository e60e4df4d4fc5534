// Package conda owns reading what conda has installed: one JSON file per package
// in conda-meta. The packages inside that came from PyPI are found by python.
package conda

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// maxRecord: a record lists the package's files; those of large ones take 10 MB.
const maxRecord = 32 << 20

// Extractor reads conda-meta/*.json.
type Extractor struct{}

func (Extractor) Name() string                  { return "conda/installed" }
func (Extractor) Ecosystem() bollwerk.Ecosystem { return bollwerk.EcosystemConda }
func (Extractor) Hints() sbom.Hints             { return sbom.Hints{Dirs: []string{"conda-meta"}} }
func (Extractor) Wants(f *bollwerk.File) bool {
	return strings.HasSuffix(f.Path, ".json") && (strings.Contains(f.Path, "/conda-meta/") || strings.HasPrefix(f.Path, "conda-meta/"))
}

// Extract returns the package.
func (Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	data, err := in.Document(maxRecord)
	if err != nil {
		return bollwerk.Inventory{}, err
	}
	var r struct{ Name, Version, License, SHA256, Subdir string }
	if err := json.Unmarshal(data, &r); err != nil {
		return bollwerk.Inventory{}, fmt.Errorf("conda record: %w", err)
	}
	if r.Name == "" || r.Version == "" {
		return bollwerk.Inventory{}, nil
	}
	p := bollwerk.Package{Name: r.Name, Version: r.Version, Ecosystem: bollwerk.EcosystemConda}
	if r.License != "" {
		p.Licenses = []string{r.License}
	}
	if d, err := bollwerk.ParseDigest("sha256:" + r.SHA256); err == nil {
		p.Hashes = []bollwerk.Digest{d}
	}
	return bollwerk.Inventory{Packages: []bollwerk.Package{p}}, nil
}
