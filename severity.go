package bollwerk

import (
	"fmt"
	"strings"
)

// Severity is the word for how bad a finding is. The zero value is unknown.
type Severity uint8

// Ordered: a greater value is worse.
const (
	SeverityUnknown Severity = iota
	SeverityNone
	SeverityLow
	SeverityMedium
	SeverityHigh
	SeverityCritical
)

var severityWords = [...]string{"unknown", "none", "low", "medium", "high", "critical"}

func (s Severity) String() string {
	if int(s) < len(severityWords) {
		return severityWords[s]
	}
	return "unknown"
}

// ParseSeverity reads a severity word as the advisory sources write it
// ("MODERATE", "Important", "negligible", …). It never guesses: an unknown word
// is an error.
func ParseSeverity(word string) (Severity, error) {
	switch strings.ToLower(strings.TrimSpace(word)) {
	case "", "unknown", "unspecified", "not yet assigned":
		return SeverityUnknown, nil
	case "none":
		return SeverityNone, nil
	case "low", "negligible", "minor", "unimportant", "informational", "info":
		return SeverityLow, nil
	case "medium", "moderate", "warning":
		return SeverityMedium, nil
	case "high", "important", "major", "error":
		return SeverityHigh, nil
	case "critical":
		return SeverityCritical, nil
	}
	return SeverityUnknown, fmt.Errorf("severity %q: want none, low, medium, high or critical", word)
}

// SeverityFromScore maps a CVSS base score (0.0 to 10.0) to its qualitative
// rating, CVSS v3.1 section 5; version 2 and 4 use the same bands here.
func SeverityFromScore(score float64) Severity {
	switch {
	case score <= 0:
		return SeverityNone
	case score < 4:
		return SeverityLow
	case score < 7:
		return SeverityMedium
	case score < 9:
		return SeverityHigh
	}
	return SeverityCritical
}

// MarshalText writes the word.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the word.
func (s *Severity) UnmarshalText(b []byte) error {
	v, err := ParseSeverity(string(b))
	if err != nil {
		return err
	}
	*s = v
	return nil
}
