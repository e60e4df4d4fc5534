package vuln

import (
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cvss"
)

// maxVectors bounds how many severity vectors of one record are kept.
const maxVectors = 16

// gradeAll reads what a record states about severity: every vector that is one, and
// the word. A vector that cannot be read is left out (the word may still stand); a
// word that is not one is unknown, never guessed.
func gradeAll(list []Severity, word string) ([]bollwerk.CVSS, bollwerk.Severity) {
	var out []bollwerk.CVSS
	w, err := bollwerk.ParseSeverity(word)
	if err != nil {
		w = bollwerk.SeverityUnknown
	}
	for _, s := range list {
		if !strings.HasPrefix(s.Type, "CVSS") {
			// A distribution's own scale, such as type "Ubuntu", score "medium".
			if w == bollwerk.SeverityUnknown {
				if v, err := bollwerk.ParseSeverity(s.Score); err == nil {
					w = v
				}
			}
			continue
		}
		if len(out) == maxVectors {
			continue
		}
		if c, err := cvss.Parse(s.Score); err == nil {
			out = append(out, c)
		}
	}
	return out, w
}
