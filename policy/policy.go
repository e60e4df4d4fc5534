package policy

import (
	"fmt"

	"github.com/bollwerk/bollwerk"
)

// Mode says what a failing policy does.
type Mode string

const (
	// Observe records the finding and shows it where asked for; nothing fails.
	Observe Mode = "observe"
	// Warn shows the finding; nothing fails because of it.
	Warn Mode = "warn"
	// Enforce makes the scan fail, the admission deny, the action run.
	Enforce Mode = "enforce"
)

// ParseMode reads one of the three words.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case Observe, Warn, Enforce:
		return m, nil
	}
	return "", fmt.Errorf("mode %q: want observe, warn or enforce%s", s, didYouMean(nearest(s, []string{"observe", "warn", "enforce"})))
}

// Report says how many findings one failing policy makes.
type Report string

const (
	// Once: one finding that names the violations.
	Once Report = "once"
	// Each: one finding for every violation, so that each can be excepted by its path.
	Each Report = "each"
)

// Response is what a policy about events wishes to be done in mode enforce. What
// was done in the end is the outcome of the detection.
type Response string

// Kill ends the process that did it.
const Kill Response = "kill"

// AttackStandard is the name under which a policy's mappings list technique ids of
// MITRE ATT&CK.
const AttackStandard = "MITRE ATT&CK"

// Policy is one rule about one kind of subject, as written in its file.
type Policy struct {
	ID          string
	Title       string
	Severity    bollwerk.Severity
	Mode        Mode
	Subject     string // kind
	Description string // what is checked
	Why         string // what an attacker gains, what goes wrong

	// When is a CEL condition; where it is false the policy does not apply.
	When Expression
	// Exactly one of Pass (a condition that must hold), Match (a condition that must
	// not hold: where it does, the policy fails or detects) and Violations (a list that
	// must be empty) is set.
	Pass       Expression
	Match      Expression
	Violations Expression
	Report     Report
	// Response is what the policy wishes to happen where its mode is enforce; "" for
	// policies whose mode says it all.
	Response Response

	Variables  []Variable
	Parameters []Parameter
	// Message and Fix are templates: text with {{ CEL }} in it.
	Message Expression
	Fix     Expression

	Mappings   []Mapping
	References []string
	// File is where the policy was read from, for messages.
	File string
	// Folder is the folder inside the file system it was loaded from, if any.
	Folder string
}

// Expression is CEL source (or a template) and where it begins.
type Expression struct {
	Text string
	Line int // of the first line of Text, from 1
}

// Variable is a named intermediate result, evaluated when first used.
type Variable struct {
	Name       string
	Expression Expression
}

// Parameter is a value a configuration may override.
type Parameter struct {
	Name        string
	Type        Type
	Default     any
	Description string
	Line        int
}

// Mapping ties the policy to a requirement of a published standard.
type Mapping struct {
	Standard    string // "CIS Docker Benchmark 1.7.0"
	Requirement string // "4.1"
}

func (p *Policy) parameter(name string) (Parameter, bool) {
	for _, q := range p.Parameters {
		if q.Name == name {
			return q, true
		}
	}
	return Parameter{}, false
}

// Attack lists the ATT&CK techniques the policy is mapped to: "T1059.004".
func (p *Policy) Attack() []string {
	out := []string{}
	for _, m := range p.Mappings {
		if m.Standard == AttackStandard {
			out = append(out, m.Requirement)
		}
	}
	return out
}
