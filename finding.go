package bollwerk

// FindingKind sorts findings by what is wrong.
type FindingKind string

const (
	KindVulnerability FindingKind = "vulnerability"
	KindMalware       FindingKind = "malware"
	KindSecret        FindingKind = "secret"
	KindStandard      FindingKind = "standard" // a policy that the artifact does not meet
	KindNotice        FindingKind = "notice"   // unmaintained, deprecated: RustSec's informational advisories
)

// FindingID is stable between scans of the same thing: it depends on kind, issue,
// package and place, not on the database's age or the order of the scan. Twelve
// lower-case base32 characters.
type FindingID string

// Finding is something wrong with an artifact.
type Finding struct {
	// Fingerprint names the finding on the command line: `bollwerk explain <fingerprint>`.
	Fingerprint FindingID   `json:"fingerprint"`
	Kind        FindingKind `json:"kind"`
	// ID is the name people know the issue by: the CVE if there is one, else the
	// advisory's own; the policy's or detector's ID for other kinds.
	ID      string   `json:"id"`
	Aliases []string `json:"aliases"` // every other name, sorted, never nil
	Title   string   `json:"title,omitempty"`

	Severity Severity `json:"severity"`
	// Score is the CVSS base score the severity comes from; 0 when there is none.
	Score float64 `json:"score"`
	CVSS  []CVSS  `json:"cvss,omitempty"`
	KEV   *KEV    `json:"kev"`
	EPSS  *EPSS   `json:"epss"`
	// Reachable: nil when not known.
	Reachable *bool `json:"reachable,omitempty"`

	Package *FindingPackage `json:"package,omitempty"`
	// FixedIn lists the versions that carry the fix, nearest first; empty: none known.
	FixedIn []string  `json:"fixed_in"`
	Layer   *LayerRef `json:"layer,omitempty"`
	Path    string    `json:"path,omitempty"` // for kinds without a package
	Line    int       `json:"line,omitempty"`
	// SecretHash is set for kind secret: Secret.Hash, so that one credential in two
	// places is one thing to revoke.
	SecretHash string `json:"secret_hash,omitempty"`

	Verdict Verdict `json:"verdict"`
	// Reason is one sentence: why this is (or is not) a finding.
	Reason string `json:"reason"`
	Fix    string `json:"fix,omitempty"` // one sentence: what to do
	// Rank orders findings, 1 first. Priority is the word for it.
	Rank     int      `json:"rank"`
	Priority Priority `json:"priority"`
	// Factors are the reasons for the rank, strongest first.
	Factors []string `json:"factors,omitempty"`

	// Policy and Mode are set for kind standard.
	Policy string `json:"policy,omitempty"`
	Mode   string `json:"mode,omitempty"` // observe, warn, enforce

	// Suppressed says who decided that this does not count, and why.
	Suppressed *Suppression `json:"suppressed,omitempty"`
	// New: not in the baseline the scan was compared with.
	New        bool     `json:"new,omitempty"`
	References []string `json:"references,omitempty"`
}

// FindingPackage is the package a finding speaks of.
type FindingPackage struct {
	PURL      PURL           `json:"purl"`
	Name      string         `json:"name"`
	Version   string         `json:"version"`
	Ecosystem Ecosystem      `json:"ecosystem"`
	Source    *SourcePackage `json:"source,omitempty"`
	Paths     []string       `json:"paths,omitempty"`
}

// Priority is what to do about a finding, and when.
type Priority string

const (
	PriorityNow   Priority = "now"   // exploited, malicious, or a live credential
	PrioritySoon  Priority = "soon"  // likely to be exploited or grave
	PriorityLater Priority = "later" // fix with the next regular update
	PriorityWatch Priority = "watch" // nothing to do yet: no fix, or not evaluated
)

// Suppression records a decision that a finding does not count.
type Suppression struct {
	By        string `json:"by"`     // "exception" or "vex"
	Status    string `json:"status"` // "excepted", "not_affected", "fixed", "under_investigation"
	Reason    string `json:"reason"`
	Owner     string `json:"owner,omitempty"`
	Expires   string `json:"expires,omitempty"` // 2026-12-31
	Source    string `json:"source,omitempty"`  // file and place
	Statement string `json:"statement,omitempty"`
	// Justification is the machine-readable reason of a VEX statement, in OpenVEX's
	// words where they fit.
	Justification string `json:"justification,omitempty"`
}

// Exception is a documented, time-limited decision to live with findings. The same
// object is honoured by every surface.
type Exception struct {
	ID       string         `json:"id" yaml:"id"`
	Reason   string         `json:"reason" yaml:"reason"`
	Owner    string         `json:"owner" yaml:"owner"`
	Approver string         `json:"approver,omitempty" yaml:"approver,omitempty"`
	Ticket   string         `json:"ticket,omitempty" yaml:"ticket,omitempty"`
	Expires  string         `json:"expires" yaml:"expires"` // 2026-12-31, last day on which it holds
	Scope    ExceptionScope `json:"scope" yaml:"scope"`
}

// ExceptionScope says what an exception covers. Every field that is set must
// match; a list matches when one of its entries does. Patterns are globs where *
// matches any run of characters. A scope without issues, policies or kinds covers nothing.
type ExceptionScope struct {
	Issues    []string `json:"issues,omitempty" yaml:"issues,omitempty"`       // finding IDs or aliases
	Policies  []string `json:"policies,omitempty" yaml:"policies,omitempty"`   // policy IDs
	Kinds     []string `json:"kinds,omitempty" yaml:"kinds,omitempty"`         // finding kinds
	Packages  []string `json:"packages,omitempty" yaml:"packages,omitempty"`   // names or PURLs
	Paths     []string `json:"paths,omitempty" yaml:"paths,omitempty"`         // globs on paths
	Artifacts []string `json:"artifacts,omitempty" yaml:"artifacts,omitempty"` // globs on artifact names
	// Of detections: globs on the name or image of the workload, and on the path of the
	// program or of one of its ancestors. A scope that has them covers no finding.
	Workloads []string `json:"workloads,omitempty" yaml:"workloads,omitempty"`
	Processes []string `json:"processes,omitempty" yaml:"processes,omitempty"`
}
