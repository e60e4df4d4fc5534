// Package cvss owns the reading of CVSS vectors: versions 2.0, 3.0, 3.1 and 4.0,
// their base scores, and the choice between several of them. The arithmetic is
// pandatix/go-cvss; this package is its one home.
package cvss

import (
	"errors"
	"fmt"
	"strings"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"

	"github.com/bollwerk/bollwerk"
)

// MaxLength is the longest vector that is read, in bytes. A version 4.0 vector
// with every metric set has 178.
const MaxLength = 512

// ErrInvalid: the string is no CVSS vector of a version this package reads.
var ErrInvalid = errors.New("not a CVSS vector")

// The base metrics of each version, in the order of its specification
// (https://www.first.org/cvss/).
var (
	base2 = [...]string{"AV", "AC", "Au", "C", "I", "A"}
	base3 = [...]string{"AV", "AC", "PR", "UI", "S", "C", "I", "A"}
	base4 = [...]string{"AV", "AC", "AT", "PR", "UI", "VC", "VI", "VA", "SC", "SI", "SA"}
)

// The other metrics: temporal, threat, environmental, supplemental.
var (
	other2 = [...]string{"E", "RL", "RC", "CDP", "TD", "CR", "IR", "AR"}
	other3 = [...]string{"E", "RL", "RC", "CR", "IR", "AR", "MAV", "MAC", "MPR", "MUI", "MS", "MC", "MI", "MA"}
	other4 = [...]string{"E", "CR", "IR", "AR", "MAV", "MAC", "MAT", "MPR", "MUI", "MVC", "MVI", "MVA",
		"MSC", "MSI", "MSA", "S", "AU", "R", "V", "RE", "U"}
)

// Parse reads a vector and computes its base score, 0.0 to 10.0. Vector is the
// input without blanks, brackets and a slash at its end.
//
// Metrics may come in any order: publishers do not keep to the order that 2.0
// and 4.0 ask for. Temporal, threat and environmental metrics must be known ones
// but do not change the score: they describe one moment or one installation, and
// an advisory describes neither. The error wraps ErrInvalid.
func Parse(vector string) (bollwerk.CVSS, error) {
	if len(vector) > MaxLength {
		return bollwerk.CVSS{}, fmt.Errorf("cvss vector %q…: %d bytes, want at most %d: %w",
			vector[:40], len(vector), MaxLength, ErrInvalid)
	}
	clean := strings.TrimSpace(vector)
	// NVD printed version 2 in brackets.
	if strings.HasPrefix(clean, "(") && strings.HasSuffix(clean, ")") {
		clean = clean[1 : len(clean)-1]
	}
	clean = strings.TrimSuffix(clean, "/")

	version, metrics := "2.0", clean
	if rest, ok := strings.CutPrefix(clean, "CVSS:"); ok {
		version, metrics, _ = strings.Cut(rest, "/")
	}
	var score float64
	var err error
	switch version {
	case "2.0":
		score, err = score2(metrics)
	case "3.0":
		score, err = score30(metrics)
	case "3.1":
		score, err = score31(metrics)
	case "4.0":
		score, err = score4(metrics)
	default:
		err = errors.New("want version 2.0, 3.0, 3.1 or 4.0")
	}
	if err != nil {
		return bollwerk.CVSS{}, fmt.Errorf("cvss vector %q: %w: %w", vector, ErrInvalid, err)
	}
	// A zero from the formula of version 2 may carry a minus sign.
	if score <= 0 {
		score = 0
	}
	return bollwerk.CVSS{Version: version, Vector: clean, Score: score}, nil
}

func score2(metrics string) (float64, error) {
	v, err := baseVector("", metrics, base2[:], other2[:])
	if err != nil {
		return 0, err
	}
	c, err := gocvss20.ParseVector(v)
	if err != nil {
		return 0, err
	}
	return c.BaseScore(), nil
}

func score30(metrics string) (float64, error) {
	v, err := baseVector("CVSS:3.0/", metrics, base3[:], other3[:])
	if err != nil {
		return 0, err
	}
	c, err := gocvss30.ParseVector(v)
	if err != nil {
		return 0, err
	}
	return c.BaseScore(), nil
}

func score31(metrics string) (float64, error) {
	v, err := baseVector("CVSS:3.1/", metrics, base3[:], other3[:])
	if err != nil {
		return 0, err
	}
	c, err := gocvss31.ParseVector(v)
	if err != nil {
		return 0, err
	}
	return c.BaseScore(), nil
}

func score4(metrics string) (float64, error) {
	v, err := baseVector("CVSS:4.0/", metrics, base4[:], other4[:])
	if err != nil {
		return 0, err
	}
	c, err := gocvss40.ParseVector(v)
	if err != nil {
		return 0, err
	}
	// With base metrics alone this is CVSS-B.
	return c.Score(), nil
}

// baseVector checks the metrics of a vector and returns the base metrics alone,
// in the order of the specification. So the library never sees a hostile vector:
// only known names, each once.
func baseVector(header, metrics string, base, other []string) (string, error) {
	values := make([]string, len(base))
	seen := make([]bool, len(other))
	for metrics != "" {
		var metric string
		metric, metrics, _ = strings.Cut(metrics, "/")
		name, value, ok := strings.Cut(metric, ":")
		if !ok || value == "" {
			return "", fmt.Errorf("metric %q: want NAME:VALUE", metric)
		}
		if i := index(base, name); i >= 0 {
			if values[i] != "" {
				return "", fmt.Errorf("metric %s is given twice", name)
			}
			values[i] = value
			continue
		}
		i := index(other, name)
		if i < 0 {
			return "", fmt.Errorf("metric %q is unknown in this version", name)
		}
		if seen[i] {
			return "", fmt.Errorf("metric %s is given twice", name)
		}
		seen[i] = true
	}
	var b strings.Builder
	b.WriteString(header)
	for i, name := range base {
		if values[i] == "" {
			return "", fmt.Errorf("base metric %s is missing", name)
		}
		if i > 0 {
			b.WriteByte('/')
		}
		b.WriteString(name)
		b.WriteByte(':')
		b.WriteString(values[i])
	}
	return b.String(), nil
}

func index(list []string, s string) int {
	for i, x := range list {
		if x == s {
			return i
		}
	}
	return -1
}

// Best chooses the vector a finding's severity is taken from: the newest version
// of the standard (4.0, 3.1, 3.0, 2.0), and of several vectors of one version the
// highest score. It reports false when the list has no vector of a known version.
//
// Newest first, because each version was made to repair the one before: 3.0
// separates the vulnerable component from what it endangers, 3.1 words the
// metrics so that two people come to the same answer, 4.0 spreads the scores
// that 3.1 heaps on a few values. Mixing versions by taking the highest number
// would favour the version that happens to exaggerate. The highest within one
// version, because publishers disagree on facts, and a scanner that has no way to
// tell who is right must not take the kinder view.
func Best(list []bollwerk.CVSS) (bollwerk.CVSS, bool) {
	var best bollwerk.CVSS
	rank := 0
	for _, c := range list {
		r := versionRank(c.Version)
		if r == 0 || r < rank || r == rank && c.Score <= best.Score {
			continue
		}
		best, rank = c, r
	}
	return best, rank > 0
}

func versionRank(version string) int {
	switch version {
	case "2.0":
		return 1
	case "3.0":
		return 2
	case "3.1":
		return 3
	case "4.0":
		return 4
	}
	return 0
}
