package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// SARIF 2.1.0 (OASIS, https://docs.oasis-open.org/sarif/sarif/v2.1.0/), as far as
// GitHub's code scanning and other readers use it.
type sarifLog struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool              sarifTool         `json:"tool"`
	AutomationDetails sarifAutomation   `json:"automationDetails"`
	Invocations       []sarifInvocation `json:"invocations"`
	Results           []sarifResult     `json:"results"`
	ColumnKind        string            `json:"columnKind"`
	Properties        map[string]any    `json:"properties,omitempty"`
}

type sarifAutomation struct {
	ID string `json:"id"`
}

type sarifTool struct {
	Driver sarifDriver `json:"driver"`
}

type sarifDriver struct {
	Name    string      `json:"name"`
	Version string      `json:"version"`
	Rules   []sarifRule `json:"rules"`
}

type sarifRule struct {
	ID               string           `json:"id"`
	Name             string           `json:"name"`
	ShortDescription sarifText        `json:"shortDescription"`
	FullDescription  sarifText        `json:"fullDescription"`
	Help             sarifText        `json:"help"`
	HelpURI          string           `json:"helpUri,omitempty"`
	Default          sarifRuleDefault `json:"defaultConfiguration"`
	Properties       sarifRuleProps   `json:"properties"`
}

type sarifRuleDefault struct {
	Level string `json:"level"`
}

type sarifRuleProps struct {
	Tags []string `json:"tags"`
	// SecuritySeverity is what GitHub sorts by: a number from 0.0 to 10.0 as a string.
	SecuritySeverity string `json:"security-severity,omitempty"`
	Precision        string `json:"precision"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID              string             `json:"ruleId"`
	RuleIndex           int                `json:"ruleIndex"`
	Kind                string             `json:"kind,omitempty"`
	Level               string             `json:"level"`
	Message             sarifText          `json:"message"`
	Locations           []sarifLocation    `json:"locations"`
	PartialFingerprints map[string]string  `json:"partialFingerprints"`
	BaselineState       string             `json:"baselineState,omitempty"`
	Rank                *float64           `json:"rank,omitempty"`
	Suppressions        []sarifSuppression `json:"suppressions,omitempty"`
	Properties          map[string]any     `json:"properties,omitempty"`
}

type sarifSuppression struct {
	Kind          string `json:"kind"`
	Status        string `json:"status"`
	Justification string `json:"justification,omitempty"`
}

type sarifLocation struct {
	Physical sarifPhysical  `json:"physicalLocation"`
	Logical  []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifPhysical struct {
	Artifact sarifArtifact `json:"artifactLocation"`
	Region   sarifRegion   `json:"region"`
}

type sarifArtifact struct {
	URI string `json:"uri"`
}

type sarifRegion struct {
	StartLine int `json:"startLine"`
}

type sarifLogical struct {
	Name string `json:"name"`
	Full string `json:"fullyQualifiedName,omitempty"`
	Kind string `json:"kind"`
}

type sarifInvocation struct {
	Successful    bool                `json:"executionSuccessful"`
	Start         string              `json:"startTimeUtc,omitempty"`
	End           string              `json:"endTimeUtc,omitempty"`
	Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
}

type sarifNotification struct {
	Level   string    `json:"level"`
	Message sarifText `json:"message"`
}

// sarifMaxResults is the most that GitHub takes in one run
// (https://docs.github.com/en/code-security/code-scanning, limits of SARIF files).
// Results come by rank, so what is left out is the least, and is said.
const sarifMaxResults = 25000

// sarifMaxText bounds a message; longer ones are cut by readers anyway.
const sarifMaxText = 1000

// SARIF writes findings that were judged, suppressed ones as suppressed. What was
// not evaluated is no result (readers would show it as an alert) but a
// notification, like every gap in the coverage; with All it is a result of kind
// "open".
func SARIF(w io.Writer, r *bollwerk.Result, o Options) error {
	run := sarifRun{
		Tool:              sarifTool{sarifDriver{Name: "Bollwerk", Version: cmp.Or(r.Tool.Version, "devel"), Rules: []sarifRule{}}},
		AutomationDetails: sarifAutomation{ID: "bollwerk/" + string(r.Target.Kind) + "/" + clean(cmp.Or(r.Target.Name, r.Target.Ref), 200) + "/"},
		Results:           []sarifResult{},
		ColumnKind:        "utf16CodeUnits",
		Properties:        map[string]any{"verdict": r.Verdict, "advisoriesAsOf": r.Database.AsOf.UTC().Format(time.RFC3339)},
	}
	v := newView(r)
	rules := map[string]int{}
	written, left := 0, 0
	for i := range r.Findings {
		f := &r.Findings[i]
		open := f.Suppressed == nil && f.Verdict != bollwerk.Fail && f.Verdict != bollwerk.Degraded
		if open && (!o.All || f.Verdict == bollwerk.Pass) {
			continue
		}
		if written == sarifMaxResults {
			left++
			continue
		}
		written++
		id := sarifRuleID(f)
		index, ok := rules[id]
		if !ok {
			index = len(run.Tool.Driver.Rules)
			rules[id] = index
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, newSARIFRule(id, f))
		}
		run.Results = append(run.Results, newSARIFResult(r, f, id, index, open, o))
	}
	inv := sarifInvocation{Successful: true}
	if !r.Started.IsZero() {
		inv.Start = r.Started.UTC().Format("2006-01-02T15:04:05.000Z")
		inv.End = r.Started.UTC().Add(time.Duration(r.Duration * float64(time.Second))).Format("2006-01-02T15:04:05.000Z")
	}
	for _, c := range v.gaps {
		inv.note("warning", fmt.Sprintf(noteGap, strings.ToLower(verdictWord(c.Verdict)), c.Area, cmp.Or(c.Cause, noteNoCause)))
	}
	if !o.All {
		for _, n := range v.unjudgedNotes() {
			inv.note("warning", n)
		}
	}
	if left > 0 {
		inv.note("error", fmt.Sprintf(noteLeftOut, count(left), count(sarifMaxResults)))
	}
	for _, e := range r.ExpiredExceptions {
		inv.note("warning", fmt.Sprintf(noteExpired, e.ID, e.Expires))
	}
	run.Invocations = []sarifInvocation{inv}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}})
}

func (i *sarifInvocation) note(level, text string) {
	i.Notifications = append(i.Notifications, sarifNotification{level, sarifText{clean(text, sarifMaxText)}})
}

// sarifRuleID is the issue, the same in every scan: GitHub closes an alert and
// opens another when it changes.
func sarifRuleID(f *bollwerk.Finding) string {
	if f.Kind == bollwerk.KindStandard && f.Policy != "" {
		return clean(f.Policy, 200)
	}
	return clean(cmp.Or(f.ID, string(f.Kind)), 200)
}

func newSARIFRule(id string, f *bollwerk.Finding) sarifRule {
	title := cmp.Or(f.Title, f.ID)
	if f.Package != nil && f.Title == "" {
		title = fmt.Sprintf("%s in %s", f.ID, f.Package.Name)
	}
	rule := sarifRule{
		ID: id, Name: sarifRuleName(f.Kind),
		ShortDescription: sarifText{clean(title, 250)},
		FullDescription:  sarifText{clean(cmp.Or(f.Reason, title), sarifMaxText)},
		Help:             sarifText{clean(strings.TrimSpace(cmp.Or(f.Fix, fixSentence(f))+" "+strings.Join(f.Factors, "; ")), sarifMaxText)},
		Default:          sarifRuleDefault{sarifLevel(f)},
		Properties: sarifRuleProps{
			Tags: []string{"security", string(f.Kind)}, SecuritySeverity: securitySeverity(f), Precision: "high",
		},
	}
	if rule.Help.Text == "" {
		rule.Help = rule.FullDescription
	}
	for _, ref := range f.References {
		if u := webLink(ref); u != "" {
			rule.HelpURI = u
			break
		}
	}
	return rule
}

func sarifRuleName(k bollwerk.FindingKind) string {
	switch k {
	case bollwerk.KindVulnerability:
		return "VulnerablePackage"
	case bollwerk.KindMalware:
		return "MaliciousPackage"
	case bollwerk.KindSecret:
		return "Credential"
	case bollwerk.KindNotice:
		return "PackageNotice"
	}
	return "PolicyViolation"
}

func sarifLevel(f *bollwerk.Finding) string {
	switch {
	case f.Kind == bollwerk.KindMalware:
		return "error"
	case f.Kind == bollwerk.KindNotice:
		return "note"
	case f.Kind == bollwerk.KindStandard && f.Mode != "enforce":
		if f.Mode == "observe" {
			return "note"
		}
		return "warning"
	case f.Severity >= bollwerk.SeverityHigh:
		return "error"
	case f.Severity == bollwerk.SeverityMedium || f.Severity == bollwerk.SeverityUnknown:
		return "warning"
	}
	return "note"
}

// securitySeverity is the score, or the middle of the severity's band where there
// is only a word (GitHub: over 9.0 critical, 7.0 high, 4.0 medium, 0.1 low).
func securitySeverity(f *bollwerk.Finding) string {
	s := f.Score
	if s <= 0 || s > 10 || bollwerk.SeverityFromScore(s) != f.Severity {
		switch f.Severity {
		case bollwerk.SeverityCritical:
			s = 9.5
		case bollwerk.SeverityHigh:
			s = 8
		case bollwerk.SeverityMedium:
			s = 5.5
		case bollwerk.SeverityLow:
			s = 2
		case bollwerk.SeverityNone:
			s = 0
		default:
			if f.Kind != bollwerk.KindMalware {
				return "" // unknown: not a number somebody made up
			}
			s = 9.5
		}
	}
	return strconv.FormatFloat(s, 'f', 1, 64)
}

func newSARIFResult(r *bollwerk.Result, f *bollwerk.Finding, rule string, index int, open bool, o Options) sarifResult {
	level := sarifLevel(f)
	kind := ""
	if open {
		kind, level = "open", "none"
	}
	res := sarifResult{
		RuleID: rule, RuleIndex: index, Kind: kind, Level: level,
		Message: sarifText{clean(sentence(f), sarifMaxText)},
		PartialFingerprints: map[string]string{
			"bollwerk/v1": string(f.Fingerprint),
			// GitHub looks at this one only; without it, it hashes a line of a file
			// that need not exist in the repository.
			"primaryLocationLineHash": string(f.Fingerprint) + ":1",
		},
		Properties: map[string]any{"priority": f.Priority, "rank": f.Rank},
	}
	if f.KEV != nil {
		res.Properties["kev"] = f.KEV.DateAdded
	}
	if f.EPSS != nil {
		res.Properties["epss"] = f.EPSS.Score
	}
	if len(f.FixedIn) > 0 {
		res.Properties["fixedIn"] = f.FixedIn
	}
	if f.Package != nil {
		res.Properties["purl"] = f.Package.PURL
	}
	if n := len(r.Findings); n > 0 && f.Rank > 0 {
		rank := 100 * float64(n-f.Rank+1) / float64(n)
		res.Rank = &rank
	}
	if o.Baseline != "" {
		res.BaselineState = "unchanged"
		if f.New {
			res.BaselineState = "new"
		}
	}
	if s := f.Suppressed; s != nil {
		res.Suppressions = []sarifSuppression{{Kind: "external", Status: "accepted", Justification: clean(cmp.Or(s.Reason, s.Status), sarifMaxText)}}
	}
	res.Locations = sarifLocations(r, f)
	return res
}

// sarifMaxLocations is how many places of one package are given.
const sarifMaxLocations = 10

func sarifLocations(r *bollwerk.Result, f *bollwerk.Finding) []sarifLocation {
	paths := []string{f.Path}
	if f.Package != nil && len(f.Package.Paths) > 0 {
		paths = f.Package.Paths[:min(sarifMaxLocations, len(f.Package.Paths))]
	}
	var logical []sarifLogical
	if p := f.Package; p != nil {
		logical = []sarifLogical{{Name: clean(p.Name, 200), Full: clean(string(p.PURL), 500), Kind: "package"}}
	}
	var out []sarifLocation
	for _, p := range paths {
		// What lies inside an archive has the archive as its file.
		file, _, _ := strings.Cut(p, "!/")
		if file == "" {
			file = cmp.Or(r.Target.Name, r.Target.Ref, "artifact")
		}
		out = append(out, sarifLocation{
			Physical: sarifPhysical{sarifArtifact{relativeURI(file)}, sarifRegion{max(1, f.Line)}},
			Logical:  logical,
		})
	}
	return out
}

// relativeURI turns a path inside the artifact into a URI reference (RFC 3986)
// that cannot be read as absolute: "C:/x" would name a scheme.
func relativeURI(path string) string {
	path = strings.TrimLeft(path, "/")
	if path == "" {
		path = "."
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		s = strings.ReplaceAll(url.PathEscape(s), ":", "%3A")
		if s == ".." {
			s = "%2E%2E"
		}
		segments[i] = s
	}
	return strings.Join(segments, "/")
}

// webLink returns ref if it is a plain http or https URL, else "".
func webLink(ref string) string {
	if len(ref) > 2000 {
		return ""
	}
	u, err := url.Parse(ref)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}
