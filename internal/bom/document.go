// Package bom owns what a bill of material says, independent of how it is
// written down: the document, the limits under which one is read, and the
// properties that carry a package through a format that has no place for it.
//
// The formats themselves live under sbom/; they share this so that a package
// written as CycloneDX and one written as SPDX come back the same.
package bom

import (
	"fmt"
	"sort"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Document is a bill of material that was read.
type Document struct {
	// Format is for people: "CycloneDX 1.6 JSON", "SPDX 2.3 tag-value".
	Format string
	// Name is the document's own name, if it has one; ID its serial number or
	// namespace.
	Name, ID string
	// Tools name the programs that made it: "syft 1.4.1".
	Tools   []string
	Created time.Time

	Packages []bollwerk.Package
	OS       *bollwerk.Distribution
	// Artifact is what the document describes. Kind is KindSBOM unless the
	// document says better; Ref is empty.
	Artifact bollwerk.Artifact
	Facts    []bollwerk.FileFact
	Secrets  []bollwerk.Secret
	// Coverage are rows of the scan the document was made from that were not
	// "pass": what it missed, its reader misses too. The row "secrets" is here
	// whatever its verdict: it says whether Secrets is all there is.
	Coverage []bollwerk.Coverage
	// Statements are the VEX statements the document carries.
	Statements []bollwerk.VEXStatement
	// Total counts the components of the document that are, or should be,
	// packages; Unread those of them that cannot be matched with advisories.
	Total, Unread int
	// Problems say in one sentence each what was not understood, and how often.
	Problems []string
}

// Limits bound what reading a document may cost. Zero fields take the default.
type Limits struct {
	MaxBytes      int64 // of the document; default 512 MiB
	MaxComponents int   // packages, files, dependencies each; default 2,000,000
	MaxDepth      int   // of components inside components; default 32
}

// Defaults of Limits.
const (
	DefaultMaxBytes      = 512 << 20
	DefaultMaxComponents = 2_000_000
	DefaultMaxDepth      = 32
)

// WithDefaults fills zero fields.
func (l Limits) WithDefaults() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	if l.MaxComponents <= 0 {
		l.MaxComponents = DefaultMaxComponents
	}
	if l.MaxDepth <= 0 {
		l.MaxDepth = DefaultMaxDepth
	}
	return l
}

// Problems counts what was not understood, a few examples each, so that a
// document with a million odd components gives one sentence, not a million.
type Problems struct {
	byKind map[string]*problem
}

type problem struct {
	count    int
	examples []string
}

// Add notes one thing of a kind ("component without package URL"); example may be
// empty.
func (p *Problems) Add(kind, example string) {
	if p.byKind == nil {
		p.byKind = map[string]*problem{}
	}
	q := p.byKind[kind]
	if q == nil {
		q = &problem{}
		p.byKind[kind] = q
	}
	q.count++
	if example != "" && len(q.examples) < 3 {
		q.examples = append(q.examples, clip(example, 80))
	}
}

// Sentences lists the problems in a stable order.
func (p *Problems) Sentences() []string {
	var out []string
	for kind, q := range p.byKind {
		s := kind
		if q.count > 1 {
			s = fmt.Sprintf("%s (%d times)", kind, q.count)
		}
		for i, e := range q.examples {
			if i == 0 {
				s += ": "
			} else {
				s += ", "
			}
			s += e
		}
		if q.count > len(q.examples) && len(q.examples) > 0 {
			s += ", …"
		}
		out = append(out, s)
	}
	sort.Strings(out)
	return out
}

func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "…"
}
