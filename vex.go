package bollwerk

import "time"

// VEXStatement is somebody's word on whether an issue concerns a product, in the
// terms that OpenVEX, CSAF and CycloneDX share (CISA, "Minimum Requirements for
// Vulnerability Exploitability eXchange", 2023). Only some statements take a
// finding away: those of status not_affected and fixed.
type VEXStatement struct {
	// Issue is the name the statement was made under: "CVE-2021-44228". Aliases
	// are the other names the document gives the same issue.
	Issue   string   `json:"issue"`
	Aliases []string `json:"aliases,omitempty"`
	// Products are PURLs, image names ("registry/app:1.2"), digests or CPE names.
	// Empty: the statement names no product, and holds for nothing.
	Products []string `json:"products,omitempty"`
	// Subcomponents narrow a statement to packages inside the products; empty: it
	// speaks of the products themselves and everything in them.
	Subcomponents []string  `json:"subcomponents,omitempty"`
	Status        VEXStatus `json:"status"`
	// Justification is the machine-readable reason, in OpenVEX's words where they
	// fit: "vulnerable_code_not_in_execute_path".
	Justification string `json:"justification,omitempty"`
	// Statement says in prose why a product is not affected, ActionStatement what
	// to do when it is.
	Statement       string    `json:"statement,omitempty"`
	ActionStatement string    `json:"action_statement,omitempty"`
	Timestamp       time.Time `json:"timestamp"`
	Author          string    `json:"author,omitempty"`
	// Source is the document and the place in it: "app.vex.json, statement 3".
	Source string `json:"source,omitempty"`
}

// VEXStatus is what a statement says of an issue in a product.
type VEXStatus string

const (
	VEXAffected           VEXStatus = "affected"
	VEXNotAffected        VEXStatus = "not_affected"
	VEXFixed              VEXStatus = "fixed"
	VEXUnderInvestigation VEXStatus = "under_investigation"
)

// Suppresses reports whether a statement of this status takes a finding away.
func (s VEXStatus) Suppresses() bool { return s == VEXNotAffected || s == VEXFixed }
