package detect

import (
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Mode says what may be done about a detection.
type Mode string

// From calm to strict.
const (
	Observe Mode = "observe" // recorded, shown to who looks
	Warn    Mode = "warn"    // told to people
	Enforce Mode = "enforce" // the process is stopped, where this kernel can
)

// ParseMode reads one of the three words.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case Observe, Warn, Enforce:
		return m, nil
	}
	return "", fmt.Errorf("mode %q: want observe, warn or enforce", s)
}

func (m Mode) rank() int {
	switch m {
	case Enforce:
		return 3
	case Warn:
		return 2
	case Observe:
		return 1
	}
	return 0
}

// Need is a kind of event a detector lives on.
type Need struct {
	Kind bollwerk.EventKind
	// Essential: without it the detector sees nothing at all.
	Essential bool
	// Lost says what goes unseen where no sensor delivers the kind: half a sentence,
	// "tunnels are not seen".
	Lost string
}

// Info is what a detector tells of itself. It never changes.
type Info struct {
	ID       string // kebab-case, unique among detectors and event policies
	Title    string
	Severity bollwerk.Severity // of the clear case; a detection may say less
	Mode     Mode              // unless configured otherwise
	Attack   []string          // MITRE ATT&CK technique ids
	// Description says what is seen and by which signs; Advice what a stranger does now.
	Description string
	Advice      string
	Needs       []Need
	// Bound says how much the detector remembers, at most.
	Bound string
}

// Detector notices something over time. It is driven by one goroutine.
//
// Observe is called for events of the kinds in Info().Needs only. It must
//   - take time from events alone, which may stand still or jump either way;
//   - keep bounded state, whatever arrives: processes, names and workloads are chosen by
//     strangers;
//   - neither change nor keep the event beyond the call (parts of it may be kept);
//   - accept that any part of the event is missing.
//
// report may be called any number of times; what it is given belongs to the receiver.
// Severity, title, mode and the like are taken from Info where the detection leaves them
// empty (see New).
type Detector interface {
	Info() *Info
	Observe(e *bollwerk.Event, report func(*bollwerk.Detection))
}

// Validate says what is missing from an Info: every detector is found by its id, and
// says what it needs.
func (i *Info) Validate() error {
	var miss []string
	for _, f := range []struct {
		name string
		ok   bool
	}{
		{"title", i.Title != ""}, {"severity", i.Severity > bollwerk.SeverityNone}, {"mode", i.Mode.rank() > 0},
		{"attack ids", len(i.Attack) > 0}, {"description", i.Description != ""}, {"advice", i.Advice != ""},
		{"needs", len(i.Needs) > 0}, {"bound", i.Bound != ""},
	} {
		if !f.ok {
			miss = append(miss, f.name)
		}
	}
	if i.ID == "" || strings.Trim(i.ID, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return fmt.Errorf("detector %q: the id must be kebab-case", i.ID)
	}
	seen := map[bollwerk.EventKind]bool{}
	for _, n := range i.Needs {
		if n.Kind == bollwerk.EventUnknown || n.Lost == "" || seen[n.Kind] {
			return fmt.Errorf("detector %s: need %q: wants a kind, named once, and what is lost without it", i.ID, n.Kind)
		}
		seen[n.Kind] = true
	}
	if len(miss) > 0 {
		return fmt.Errorf("detector %s: no %s", i.ID, strings.Join(miss, ", "))
	}
	return nil
}
