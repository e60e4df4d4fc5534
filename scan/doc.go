// Package scan joins what the concepts know into the answer to one question: what is
// wrong with this artifact, and what is to be done first. It reads an artifact or an
// SBOM, matches its packages with advisories, judges it by policies, and returns a
// bollwerk.Result. It prints nothing and opens nothing: the caller hands it an opened
// artifact, an opened database and the policies to apply.
package scan
