// Package policies holds the policies the product ships, each with its tests in
// one folder: <area>/<id>/{policy.yaml,tests.yaml}. It is content: it knows no
// language and imports nothing of ours.
package policies

import (
	"embed"
	"io/fs"
)

//go:embed distribution event image provenance
var files embed.FS

// Files returns the shipped policies as a read-only file tree, for policy.Load
// and policy.LoadSuite.
func Files() fs.FS { return files }
