package vuln

import (
	"time"

	"github.com/bollwerk/bollwerk"
)

// Advisory is one record of a source, as the source states it. Times are UTC; a
// zero time means the source does not say.
type Advisory struct {
	ID        string    `json:"id"`
	Aliases   []string  `json:"aliases"`  // other names of the same issue
	Upstream  []string  `json:"upstream"` // issues this record hands down
	Related   []string  `json:"related"`  // neighbours; see issue.go for what they mean
	Published time.Time `json:"published,omitzero"`
	Modified  time.Time `json:"modified,omitzero"`
	Withdrawn time.Time `json:"withdrawn,omitzero"`

	Summary    string      `json:"summary,omitempty"`
	Details    string      `json:"details,omitempty"` // Markdown of the source; hostile
	References []Reference `json:"references,omitempty"`

	Severities []Severity `json:"severities,omitempty"`
	// SeverityWord is the source's own word ("MODERATE", "Important"), if any.
	SeverityWord string `json:"severity_word,omitempty"`
	// Unreviewed: the source says nobody has checked the record.
	Unreviewed bool     `json:"unreviewed,omitempty"`
	CWEs       []string `json:"cwes,omitempty"`
	// Module is the rpm module "name:stream" the record speaks of.
	Module   string     `json:"module,omitempty"`
	Affected []Affected `json:"affected"`
	// FixedOnly: the source lists only issues that are fixed, so that silence is no
	// proof.
	FixedOnly bool `json:"fixed_only,omitempty"`
}

// Reference is a link of an advisory.
type Reference struct {
	Type string `json:"type"` // ADVISORY, FIX, WEB, …
	URL  string `json:"url"`
}

// Severity is one severity vector as written: Type is "CVSS_V2", "CVSS_V3",
// "CVSS_V4" or a distribution's own scale such as "Ubuntu".
type Severity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// Affected says which versions of one package a record speaks of.
type Affected struct {
	Ecosystem bollwerk.Ecosystem `json:"ecosystem"`
	Name      string             `json:"name"`
	Ranges    []Range            `json:"ranges,omitempty"`
	// CustomRanges hold versions that the ecosystem itself does not know (Go:
	// tags that are no module versions).
	CustomRanges []Range    `json:"custom_ranges,omitempty"`
	Versions     []string   `json:"versions,omitempty"`
	Severities   []Severity `json:"severities,omitempty"`
	SeverityWord string     `json:"severity_word,omitempty"`
	// UpperBoundUnknown: the source lost where an open range ends.
	UpperBoundUnknown bool `json:"upper_bound_unknown,omitempty"`
	// Informational is RustSec's word for records that are no vulnerability:
	// "unmaintained", "unsound", "notice".
	Informational string       `json:"informational,omitempty"`
	Imports       []ImportPath `json:"imports,omitempty"`
	// OS and Arch narrow the record to platforms (RustSec), empty: all.
	OS   []string `json:"os,omitempty"`
	Arch []string `json:"arch,omitempty"`
	// Module is the rpm module "name:stream", where the source says it here.
	Module string `json:"module,omitempty"`
}

// ImportPath is one importable package of an affected Go module.
type ImportPath struct {
	Path    string   `json:"path"`
	Symbols []string `json:"symbols,omitempty"`
	GOOS    []string `json:"goos,omitempty"`
	GOARCH  []string `json:"goarch,omitempty"`
}

// RangeType says what the versions of a range are.
type RangeType uint8

// The range types of the OSV schema.
const (
	RangeEcosystem RangeType = iota
	RangeSemver
	RangeGit
)

// Range is a list of events on the version line, in the order of the source.
type Range struct {
	Type   RangeType `json:"type"`
	Repo   string    `json:"repo,omitempty"`
	Events []Event   `json:"events"`
}

// Event is one point where the state of a version line changes.
type Event struct {
	Kind    EventKind `json:"kind"`
	Version string    `json:"version"`
}

// EventKind says what happens at an event.
type EventKind uint8

// The events of the OSV schema: introduced and fixed are the first affected and
// the first unaffected version, last_affected is the last affected one, limit
// bounds where the others are looked at.
const (
	Introduced EventKind = iota
	Fixed
	LastAffected
	Limit
)

func (k EventKind) String() string {
	switch k {
	case Introduced:
		return "introduced"
	case Fixed:
		return "fixed"
	case LastAffected:
		return "last_affected"
	case Limit:
		return "limit"
	}
	return "unknown"
}

// Exploitation is what is known of an issue by its CVE name, beside the
// advisories: the join of KEV and EPSS.
type Exploitation struct {
	KEV  *bollwerk.KEV  `json:"kev"`
	EPSS *bollwerk.EPSS `json:"epss"`
}
