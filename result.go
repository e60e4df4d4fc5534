package bollwerk

import "time"

// ResultSchema is the version of the JSON contract: a reader may rely on every
// field it knows as long as the number before the dot stays.
const ResultSchema = "1.0"

// Result is what a scan says: the JSON contract, described in docs/result.schema.json.
type Result struct {
	Schema   string       `json:"schema"` // ResultSchema
	Tool     Tool         `json:"tool"`
	Target   Artifact     `json:"target"`
	Started  time.Time    `json:"started"`
	Duration float64      `json:"duration_seconds"`
	Database DatabaseInfo `json:"database"`
	// Verdict of the whole: fail when a finding counts, degraded or not evaluated
	// when a coverage row says so and nothing failed, else pass.
	Verdict Verdict `json:"verdict"`
	// Causes say in one sentence each why the verdict is not simply pass or fail.
	Causes   []string   `json:"causes"`
	Coverage []Coverage `json:"coverage"`
	Packages []Package  `json:"packages"`
	Findings []Finding  `json:"findings"`
	// Actions are the few things to do, strongest first.
	Actions []Action `json:"actions"`
	// ExpiredExceptions no longer hide anything and want a decision.
	ExpiredExceptions []Exception `json:"expired_exceptions"`
	Summary           Summary     `json:"summary"`
	// Facts are what policies judged; kept for replay.
	Facts []FileFact `json:"facts,omitempty"`
	// Secrets are the places of credentials (never the credentials); kept so that a
	// bill of material made from this result leads to the same findings.
	Secrets []Secret `json:"secrets,omitempty"`
}

// Tool names the program that made a result.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Coverage says what was looked at, and what was not.
type Coverage struct {
	// Area is what the row speaks of: "layers", "files", "packages:npm",
	// "advisories:Debian:12", "secrets", "standards", "database".
	Area    string  `json:"area"`
	Verdict Verdict `json:"verdict"` // pass, degraded, not_evaluated
	Cause   string  `json:"cause,omitempty"`
	// Checked and Total count things of the area; Total 0: not countable.
	Checked int `json:"checked"`
	Total   int `json:"total"`
	// Examples name a few of the things that were not checked.
	Examples []string `json:"examples,omitempty"`
}

// Action is one thing to do and what it would remove.
type Action struct {
	// Kind: "upgrade-base", "upgrade-system", "upgrade-package", "remove-package", "rotate-secret",
	// "change-image", "update-database".
	Kind string `json:"kind"`
	// Title is an imperative sentence: "upgrade lodash from 4.17.4 to 4.17.21".
	Title   string          `json:"title"`
	Command string          `json:"command,omitempty"` // a line to run, where there is one
	Package *FindingPackage `json:"package,omitempty"`
	To      string          `json:"to,omitempty"`
	// Removes lists the findings that go away.
	Removes  []FindingID `json:"removes"`
	Priority Priority    `json:"priority"`
	KEV      int         `json:"kev,omitempty"` // how many of Removes are known to be exploited
}

// Summary counts findings that are not suppressed and do not lie outside evaluation.
type Summary struct {
	Packages     int            `json:"packages"`
	Findings     int            `json:"findings"`
	BySeverity   map[string]int `json:"by_severity"`
	ByKind       map[string]int `json:"by_kind"`
	ByPriority   map[string]int `json:"by_priority"`
	Fixable      int            `json:"fixable"`
	KEV          int            `json:"kev"`
	Suppressed   int            `json:"suppressed"`
	NotEvaluated int            `json:"not_evaluated"`
	New          int            `json:"new,omitempty"`
	// Completeness is the share of what should have been checked that was, 0 to 1.
	Completeness float64 `json:"completeness"`
}
