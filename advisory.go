package bollwerk

import "time"

// AdvisoryID names an advisory or an issue: "CVE-2021-44228", "GHSA-jfh8-c2jp-5v3q".
type AdvisoryID string

// KEV says that an issue is known to be exploited (CISA's catalogue).
type KEV struct {
	DateAdded string `json:"date_added"` // 2021-12-10
	DueDate   string `json:"due_date,omitempty"`
	// Ransomware: known to be used in ransomware campaigns.
	Ransomware bool `json:"ransomware,omitempty"`
}

// EPSS is FIRST's estimate that an issue is exploited within 30 days.
type EPSS struct {
	Score      float64 `json:"score"`      // probability, 0 to 1
	Percentile float64 `json:"percentile"` // 0 to 1
}

// CVSS is one severity vector of an advisory.
type CVSS struct {
	Version string  `json:"version"` // "2.0", "3.0", "3.1", "4.0"
	Vector  string  `json:"vector"`
	Score   float64 `json:"score"` // base score, 0.0 to 10.0
}

// DatabaseInfo describes the advisories a result was made with.
type DatabaseInfo struct {
	// AsOf is the time of the newest fact in the database that does not lie in the
	// future of its build, Built when it was compiled.
	AsOf     time.Time `json:"as_of"`
	Built    time.Time `json:"built"`
	Records  int       `json:"records"`
	Digest   Digest    `json:"digest,omitempty"`
	Starter  bool      `json:"starter,omitempty"` // the snapshot that ships with the program
	KEVDate  string    `json:"kev_date,omitempty"`
	EPSSDate string    `json:"epss_date,omitempty"`
}
