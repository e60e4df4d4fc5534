// Package osv reads advisories in the OSV schema (https://ossf.github.io/osv-schema/)
// and mirrors of the public OSV bulk export. It owns the reading of that format and
// layout, not what the records mean.
package osv

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/vuln"
)

// MaxRecord is the largest record that is read, in bytes of JSON. The largest
// public ones (kernel errata) have some 8 MB.
const MaxRecord = 32 << 20

// maxDepth bounds nesting; real records have eight levels.
const maxDepth = 64

// Fields that a source may fill with anything are read by loose types: a record
// with an unexpected shape in a corner nobody needs is still a record.
type record struct {
	ID               string          `json:"id"`
	Aliases          looseStrings    `json:"aliases"`
	Upstream         looseStrings    `json:"upstream"`
	Related          looseStrings    `json:"related"`
	Published        string          `json:"published"`
	Modified         string          `json:"modified"`
	Withdrawn        string          `json:"withdrawn"`
	Summary          string          `json:"summary"`
	Details          string          `json:"details"`
	References       []reference     `json:"references"`
	Severity         []severity      `json:"severity"`
	Affected         []affected      `json:"affected"`
	DatabaseSpecific json.RawMessage `json:"database_specific"`
}

type reference struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

type severity struct {
	Type  string      `json:"type"`
	Score looseString `json:"score"`
}

type affected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
		PURL      string `json:"purl"`
	} `json:"package"`
	Severity          []severity      `json:"severity"`
	Ranges            []rng           `json:"ranges"`
	Versions          looseStrings    `json:"versions"`
	EcosystemSpecific json.RawMessage `json:"ecosystem_specific"`
	DatabaseSpecific  json.RawMessage `json:"database_specific"`
}

type rng struct {
	Type   string                   `json:"type"`
	Repo   string                   `json:"repo"`
	Events []map[string]looseString `json:"events"`
}

// looseString takes a string or a number, anything else is empty.
type looseString string

func (s *looseString) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == '"':
		return json.Unmarshal(b, (*string)(s))
	case len(b) > 0 && (b[0] == '-' || b[0] >= '0' && b[0] <= '9'):
		*s = looseString(b)
	}
	return nil
}

// looseStrings takes a list of strings; null is empty.
type looseStrings []string

func (l *looseStrings) UnmarshalJSON(b []byte) error {
	var in []looseString
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	for _, s := range in {
		*l = append(*l, string(s))
	}
	return nil
}

// databaseSpecific are the parts of database_specific that sources agree on.
type databaseSpecific struct {
	Severity     looseString  `json:"severity"`
	CWEs         looseStrings `json:"cwe_ids"`
	ReviewStatus looseString  `json:"review_status"`
	FixedOnly    bool         `json:"unfixed_not_covered"`
}

type ecosystemSpecific struct {
	Severity     looseString `json:"severity"`
	Urgency      looseString `json:"urgency"`
	Imports      []goImport  `json:"imports"`
	CustomRanges []rng       `json:"custom_ranges"`
	Affects      *struct {
		Arch looseStrings `json:"arch"`
		OS   looseStrings `json:"os"`
	} `json:"affects"`
}

type goImport struct {
	Path    string       `json:"path"`
	Symbols looseStrings `json:"symbols"`
	GOOS    looseStrings `json:"goos"`
	GOARCH  looseStrings `json:"goarch"`
}

type affectedSpecific struct {
	UpperBound    looseString `json:"upper_bound"`
	Informational looseString `json:"informational"`
	Severity      looseString `json:"severity"`
}

// Parse reads one record. The error names the record where it can. A record that
// is not understood in a part that decides a match is refused as a whole: matched
// without that part it would say something else.
func Parse(data []byte) (*vuln.Advisory, error) {
	if len(data) > MaxRecord {
		return nil, fmt.Errorf("record of %d bytes, more than the limit of %d", len(data), MaxRecord)
	}
	if err := checkDepth(data); err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		if r.ID != "" {
			return nil, fmt.Errorf("record %s: %w", r.ID, err)
		}
		return nil, err
	}
	if r.ID == "" {
		return nil, errors.New("record without an id")
	}
	a := &vuln.Advisory{
		ID: r.ID, Aliases: r.Aliases, Upstream: r.Upstream, Related: r.Related,
		Summary: r.Summary, Details: r.Details,
	}
	var err error
	if a.Published, err = parseTime(r.Published); err != nil {
		return nil, fmt.Errorf("record %s: published: %w", r.ID, err)
	}
	if a.Modified, err = parseTime(r.Modified); err != nil {
		return nil, fmt.Errorf("record %s: modified: %w", r.ID, err)
	}
	if r.Withdrawn != "" {
		if a.Withdrawn, err = parseTime(r.Withdrawn); err != nil {
			return nil, fmt.Errorf("record %s: withdrawn: %w", r.ID, err)
		}
	}
	var ds databaseSpecific
	loose(r.DatabaseSpecific, &ds)
	a.SeverityWord, a.CWEs, a.FixedOnly = string(ds.Severity), ds.CWEs, ds.FixedOnly
	a.Unreviewed = strings.EqualFold(string(ds.ReviewStatus), "UNREVIEWED")
	a.Severities = severities(r.Severity)
	for _, ref := range r.References {
		a.References = append(a.References, vuln.Reference(ref))
	}
	summaryFacts(a)
	for i := range r.Affected {
		af, err := r.Affected[i].parse()
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", r.ID, err)
		}
		a.Affected = append(a.Affected, af)
	}
	return a, nil
}

func (af *affected) parse() (vuln.Affected, error) {
	out := vuln.Affected{
		Ecosystem: bollwerk.Ecosystem(af.Package.Ecosystem), Name: af.Package.Name,
		Versions: af.Versions, Severities: severities(af.Severity),
	}
	var es ecosystemSpecific
	var ds affectedSpecific
	loose(af.EcosystemSpecific, &es)
	loose(af.DatabaseSpecific, &ds)
	out.UpperBoundUnknown = strings.HasPrefix(strings.ToLower(string(ds.UpperBound)), "unknown")
	out.Informational = string(ds.Informational)
	for _, w := range []looseString{es.Severity, es.Urgency, ds.Severity} {
		if out.SeverityWord == "" {
			out.SeverityWord = string(w)
		}
	}
	var err error
	if out.Ranges, err = ranges(af.Ranges); err != nil {
		return out, fmt.Errorf("package %s: %w", af.Package.Name, err)
	}
	if out.CustomRanges, err = ranges(es.CustomRanges); err != nil {
		return out, fmt.Errorf("package %s: custom ranges: %w", af.Package.Name, err)
	}
	for _, i := range es.Imports {
		out.Imports = append(out.Imports, vuln.ImportPath{Path: i.Path, Symbols: i.Symbols, GOOS: i.GOOS, GOARCH: i.GOARCH})
	}
	if es.Affects != nil {
		out.OS, out.Arch = es.Affects.OS, es.Affects.Arch
	}
	if _, q, ok := strings.Cut(af.Package.PURL, "rpmmod="); ok {
		q, _, _ = strings.Cut(q, "&")
		out.Module = strings.ReplaceAll(q, "%3A", ":")
	}
	return out, nil
}

func ranges(in []rng) ([]vuln.Range, error) {
	var out []vuln.Range
	for _, r := range in {
		v := vuln.Range{Repo: r.Repo}
		switch r.Type {
		case "ECOSYSTEM":
			v.Type = vuln.RangeEcosystem
		case "SEMVER":
			v.Type = vuln.RangeSemver
		case "GIT":
			v.Type = vuln.RangeGit
		default:
			return nil, fmt.Errorf("range type %q: want ECOSYSTEM, SEMVER or GIT", r.Type)
		}
		for _, e := range r.Events {
			// One event, one key; a record that puts two into one object means both.
			for _, k := range []struct {
				name string
				kind vuln.EventKind
			}{{"introduced", vuln.Introduced}, {"fixed", vuln.Fixed}, {"last_affected", vuln.LastAffected}, {"limit", vuln.Limit}} {
				if s, ok := e[k.name]; ok && s != "" {
					v.Events = append(v.Events, vuln.Event{Kind: k.kind, Version: string(s)})
				}
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func severities(in []severity) []vuln.Severity {
	var out []vuln.Severity
	for _, s := range in {
		out = append(out, vuln.Severity{Type: s.Type, Score: string(s.Score)})
	}
	return out
}

// loose reads what it can of a part whose shape nobody promises.
func loose(b json.RawMessage, into any) {
	if len(b) > 0 && b[0] == '{' {
		_ = json.Unmarshal(b, into) // fields of another type are left out
	}
}

var erratumSummary = regexp.MustCompile(`^(?:(Low|Moderate|Important|Critical): )?(?:([A-Za-z0-9_.+-]+:[A-Za-z0-9_.+-]+) )?`)

// summaryFacts takes the facts that Red Hat and its rebuilds keep in the title of
// an erratum and nowhere else: "Important: nodejs:18 security update" is a severity
// and a module stream.
func summaryFacts(a *vuln.Advisory) {
	switch prefix, _, _ := strings.Cut(a.ID, "-"); prefix {
	case "ALSA", "ALBA", "ALEA", "RLSA", "RLBA", "RLEA", "RHSA", "RHBA", "RHEA", "RXSA", "ELSA":
	default:
		return
	}
	m := erratumSummary.FindStringSubmatch(a.Summary)
	if m == nil {
		return
	}
	if a.SeverityWord == "" {
		a.SeverityWord = m[1]
	}
	if a.Module == "" {
		a.Module = m[2]
	}
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.Year() < 1970 { // Go's zero time stands for "not known"
				return time.Time{}, nil
			}
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time", s[:min(len(s), 40)])
}

// checkDepth refuses nesting that no record needs before a parser recurses into it.
func checkDepth(data []byte) error {
	depth := 0
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d levels", maxDepth)
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

var utf8BOM = []byte("\xef\xbb\xbf")

func trimBOM(b []byte) []byte { return bytes.TrimPrefix(b, utf8BOM) }
