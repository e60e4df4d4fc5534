package detect

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Config chooses among detectors and how strict they are. The zero value runs all of them
// as they come.
type Config struct {
	// Modes replaces the mode of a detector, by id.
	Modes map[string]Mode `yaml:"modes"`
	// Off names detectors that do not run.
	Off []string `yaml:"off"`
}

// Stream gives events to the detectors that want their kind. It is used by one goroutine.
type Stream struct {
	all    []*runner
	byKind [bollwerk.EventKinds][]*runner
	now    *runner
	wrap   func(*bollwerk.Detection)
	// found waits until the detectors are done: a panic of the receiver is the receiver's
	// and must not be booked on a detector.
	found []*bollwerk.Detection
}

// maxFound is how many detections one event may give; more is a bug, and would be a flood.
const maxFound = 64

type runner struct {
	Detector
	info   *Info
	mode   Mode
	panics uint64
	said   string
	last   time.Time
	off    bool
}

// MaxPanics is how often a detector may fall over before it is no longer called: its
// state cannot be trusted, and each fall costs as much as a thousand events.
const MaxPanics = 16

// NewStream makes a stream. It refuses two detectors with one id, an incomplete Info, and
// a configuration that names what does not exist: a misspelt "off" would go unnoticed.
func NewStream(cfg Config, detectors ...Detector) (*Stream, error) {
	s := &Stream{}
	s.wrap = s.hand
	known := map[string]bool{}
	off := map[string]bool{}
	for _, id := range cfg.Off {
		off[id] = true
	}
	for _, d := range detectors {
		i := d.Info()
		if err := i.Validate(); err != nil {
			return nil, err
		}
		if known[i.ID] {
			return nil, fmt.Errorf("detector %s: named twice", i.ID)
		}
		known[i.ID] = true
		if off[i.ID] {
			continue
		}
		r := &runner{Detector: d, info: i, mode: i.Mode}
		if m, ok := cfg.Modes[i.ID]; ok {
			if _, err := ParseMode(string(m)); err != nil {
				return nil, fmt.Errorf("detector %s: %w", i.ID, err)
			}
			r.mode = m
		}
		s.all = append(s.all, r)
		for _, n := range i.Needs {
			if int(n.Kind) < len(s.byKind) {
				s.byKind[n.Kind] = append(s.byKind[n.Kind], r)
			}
		}
	}
	var unknown []string
	for id := range off {
		if !known[id] {
			unknown = append(unknown, id)
		}
	}
	for id := range cfg.Modes {
		if !known[id] {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) > 0 {
		sort.Strings(unknown)
		return nil, fmt.Errorf("detectors %s: no such detector; docs/detections.md names all", strings.Join(unknown, ", "))
	}
	return s, nil
}

// Observe gives e to every detector that wants its kind. A detector that panics is counted
// and said (Problems), the others still see the event.
func (s *Stream) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	if e == nil || int(e.Kind) >= len(s.byKind) {
		return
	}
	list := s.byKind[e.Kind]
	if len(list) == 0 {
		return
	}
	for i := 0; i < len(list); {
		i = s.run(list, i, e)
	}
	s.now = nil
	for len(s.found) > 0 {
		d := s.found[0]
		s.found[0] = nil
		s.found = s.found[1:]
		report(d)
	}
	s.found = nil
}

// run gives e to list[i:] and returns where to go on: one deferred call for all detectors
// instead of one for each.
func (s *Stream) run(list []*runner, i int, e *bollwerk.Event) (next int) {
	next = i
	defer func() {
		if next == len(list) {
			return
		}
		if v := recover(); v != nil {
			r := list[next]
			r.panics++
			r.last = e.Time
			r.said = Text(fmt.Sprint(v))
			r.off = r.panics >= MaxPanics
		}
		next++
	}()
	for ; next < len(list); next++ {
		if r := list[next]; !r.off {
			s.now = r
			r.Observe(e, s.wrap)
		}
	}
	return next
}

func (s *Stream) hand(d *bollwerk.Detection) {
	if d == nil || s.now == nil || len(s.found) >= maxFound {
		return
	}
	r := s.now
	fill(d, r.info)
	// A detector may ask for less than its mode where it is less sure, never for more.
	if m := Mode(d.Mode); m.rank() == 0 || m.rank() > r.mode.rank() {
		d.Mode = string(r.mode)
	}
	s.found = append(s.found, d)
}

// Problem is a detector that fell over.
type Problem struct {
	Detector string    `json:"detector"`
	Panics   uint64    `json:"panics"`
	Last     time.Time `json:"last"`
	Stopped  bool      `json:"stopped"` // no longer called
	Said     string    `json:"said"`
}

// Sentence is the problem as the agent says it, cause of a degraded verdict.
func (p Problem) Sentence() string {
	what := "it goes on"
	if p.Stopped {
		what = "it was stopped; restart the agent and report this as a bug"
	}
	return fmt.Sprintf("detector %s failed %d times (%s); %s", p.Detector, p.Panics, p.Said, what)
}

// Problems returns the detectors that fell over, in the order they run.
func (s *Stream) Problems() []Problem {
	var out []Problem
	for _, r := range s.all {
		if r.panics > 0 {
			out = append(out, Problem{Detector: r.info.ID, Panics: r.panics, Last: r.last, Stopped: r.off, Said: r.said})
		}
	}
	return out
}

// Infos returns what runs, in order, with the mode in force.
func (s *Stream) Infos() []Info {
	out := make([]Info, 0, len(s.all))
	for _, r := range s.all {
		i := *r.info
		i.Mode = r.mode
		out = append(out, i)
	}
	return out
}

// Kinds returns the kinds of events somebody wants.
func (s *Stream) Kinds() []bollwerk.EventKind {
	var out []bollwerk.EventKind
	for k := range s.byKind {
		if len(s.byKind[k]) > 0 {
			out = append(out, bollwerk.EventKind(k))
		}
	}
	return out
}

// Gap is what a detector cannot see with the kinds there are.
type Gap struct {
	Detector string             `json:"detector"`
	Verdict  bollwerk.Verdict   `json:"verdict"` // not_evaluated: sees nothing; degraded: sees less
	Kind     bollwerk.EventKind `json:"kind"`
	Lost     string             `json:"lost"`
}

// Gaps says what is lost when only the kinds that have yields true are delivered.
func (s *Stream) Gaps(have func(bollwerk.EventKind) bool) []Gap {
	var out []Gap
	for _, r := range s.all {
		for _, n := range r.info.Needs {
			if have(n.Kind) {
				continue
			}
			g := Gap{Detector: r.info.ID, Verdict: bollwerk.Degraded, Kind: n.Kind, Lost: n.Lost}
			if n.Essential {
				g.Verdict = bollwerk.NotEvaluated
			}
			out = append(out, g)
		}
	}
	return out
}
