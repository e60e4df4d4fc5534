// Package sbom owns finding packages, secrets and facts in the files of an
// artifact: what an extractor is, how a stream of files is dealt out to
// extractors within a memory bound, and how the finds of several layers become one
// inventory. It does not read archives or directories (artifact does), it does not
// know advisories (vuln does), and it writes no SBOM documents of its own: those
// are plug-ins in its sub-folders.
package sbom
