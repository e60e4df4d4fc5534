package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk/internal/terminal"
)

// Mode is what a profile is used for. Forward goes learn, observe, restrict, one step
// at a time and only past a stated completeness; back goes to any earlier one at once.
type Mode uint8

const (
	// Learn: new behaviour becomes knowledge, nothing is reported but what a person forbade.
	Learn Mode = iota
	// Observe: knowledge stands, deviations are detections.
	Observe
	// Restrict: as Observe, and the profile's Restriction is to be enforced.
	Restrict
)

var modeWords = [...]string{"learn", "observe", "restrict"}

func (m Mode) String() string {
	if int(m) < len(modeWords) {
		return modeWords[m]
	}
	return "learn"
}

// ParseMode reads the word.
func ParseMode(s string) (Mode, error) {
	for i, w := range modeWords {
		if w == s {
			return Mode(i), nil
		}
	}
	return Learn, fmt.Errorf("mode %q: want learn, observe or restrict", s)
}

// MarshalText writes the word.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads the word.
func (m *Mode) UnmarshalText(b []byte) (err error) {
	*m, err = ParseMode(string(b))
	return err
}

// Gate is what a profile must have shown before a mode is entered.
type Gate struct {
	// Observed is the least sum of replica-windows (windows of one replica in which
	// it did anything, times their length). Workloads whose replicas are gone after
	// minutes (Completeness.Brief) have none; for them Unseen is judged by starts.
	Observed time.Duration `json:"observed"`
	// Span is the least time between the first and the last event: what happens once
	// a day takes a day.
	Span time.Duration `json:"span"`
	// Replicas that showed something, and Starts of replicas seen from the beginning
	// (a restart is a new replica).
	Replicas int `json:"replicas"`
	Starts   int `json:"starts"`
	// Unseen is the most new behaviours that the next replica-window may bring: the
	// upper end of a one-sided 95 % interval (Estimate.Next), 0.05 for 5 %.
	Unseen float64 `json:"unseen"`
	// StartUnseen is the most of what a start does that may be unknown
	// (Estimate.StartUnseen), judged from the second start on.
	StartUnseen float64 `json:"start_unseen"`
}

// Gates are the conditions of the two steps forward.
type Gates struct {
	Observe  Gate `json:"observe"`
	Restrict Gate `json:"restrict"`
}

// DefaultGates let a workload of three replicas observe after a day and be restricted
// after a week.
func DefaultGates() Gates {
	return Gates{
		Observe:  Gate{Observed: 24 * time.Hour, Span: 24 * time.Hour, Replicas: 1, Starts: 1, Unseen: 0.05, StartUnseen: 0.25},
		Restrict: Gate{Observed: 14 * 24 * time.Hour, Span: 7 * 24 * time.Hour, Replicas: 2, Starts: 3, Unseen: 0.01, StartUnseen: 0.05},
	}
}

func (g Gate) validate(name string) error {
	switch {
	case g.Observed < 0 || g.Span < 0 || g.Replicas < 0 || g.Starts < 0:
		return fmt.Errorf("gate %s: a negative condition: set 0 to drop it", name)
	case g.Unseen <= 0 || g.Unseen > 1 || g.StartUnseen <= 0 || g.StartUnseen > 1:
		return fmt.Errorf("gate %s: unseen %g and start_unseen %g must be above 0 and at most 1", name, g.Unseen, g.StartUnseen)
	}
	return nil
}

// missing returns one sentence for each condition that is not met.
func (g Gate) missing(c *Completeness) []string {
	var out []string
	brief := c.Brief()
	if c.Observed < g.Observed && !brief {
		out = append(out, fmt.Sprintf("observed for %s of %s in replicas", hours(c.Observed), hours(g.Observed)))
	}
	if span := c.Until.Sub(c.Since); span < g.Span {
		out = append(out, fmt.Sprintf("seen over a span of %s of %s", hours(span), hours(g.Span)))
	}
	if c.Replicas < g.Replicas {
		out = append(out, fmt.Sprintf("%d of %d replicas seen", c.Replicas, g.Replicas))
	}
	if c.Starts < uint64(g.Starts) {
		out = append(out, fmt.Sprintf("%d of %d starts of a replica seen (a restart of one is enough)", c.Starts, g.Starts))
	}
	if brief && c.Overall.StartNext > g.Unseen {
		out = append(out, fmt.Sprintf("the next replica may bring up to %s new behaviours, at most %s are allowed (its replicas are gone after minutes, so starts are counted: %d)", number(c.Overall.StartNext), number(g.Unseen), c.Starts))
	}
	if !brief && c.Overall.Next > g.Unseen {
		out = append(out, fmt.Sprintf("the next %s of a replica may bring up to %s new behaviours, at most %s are allowed", hours(c.Window), number(c.Overall.Next), number(g.Unseen)))
	}
	if c.Starts > 1 && c.Overall.StartUnseen > g.StartUnseen {
		out = append(out, fmt.Sprintf("about %.0f %% of what a start does was seen in one start only, at most %.0f %% are allowed", 100*c.Overall.StartUnseen, 100*g.StartUnseen))
	}
	for _, s := range c.Saturated {
		out = append(out, fmt.Sprintf("category %s is saturated, as it is too varied to be learned: reset it once the cause is gone", s))
	}
	return out
}

// Move is one change of mode.
type Move struct {
	At   time.Time `json:"at"`
	From Mode      `json:"from"`
	To   Mode      `json:"to"`
	By   string    `json:"by"`
	Why  string    `json:"why,omitempty"`
}

// ErrIncomplete is wrapped by every refusal to move forward; the text says what is missing.
var ErrIncomplete = errors.New("the profile is not complete enough")

// ErrUnknown is wrapped where no profile has the key.
var ErrUnknown = errors.New("no profile of this workload")

// maxMoves are the changes of mode a profile remembers.
const maxMoves = 32

// Advance moves a profile one mode forward, by a person or a policy. It refuses with
// ErrIncomplete while a condition of the gate is not met.
func (b *Book) Advance(workload string, to Mode, by, why string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(workload)
	if r == nil {
		return fmt.Errorf("%s: %w", clean(workload), ErrUnknown)
	}
	if to > Restrict || to != r.mode+1 {
		return fmt.Errorf("%s: mode %s cannot be entered from %s: forward goes one step at a time", clean(workload), to, r.mode)
	}
	if missing := b.gate(to).missing(r.p.Completeness()); len(missing) > 0 {
		return fmt.Errorf("%s: mode %s: %w: %s", clean(workload), to, ErrIncomplete, strings.Join(missing, "; "))
	}
	b.move(r, to, by, why)
	return nil
}

// Back moves a profile to an earlier mode at once. It never refuses: the way out of a
// restriction that hurts must not have conditions. Moving to the mode it is in does nothing.
func (b *Book) Back(workload string, to Mode, by, why string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.record(workload)
	if r == nil {
		return fmt.Errorf("%s: %w", clean(workload), ErrUnknown)
	}
	if to > r.mode {
		return fmt.Errorf("%s: mode %s is not behind %s: use advance", clean(workload), to, r.mode)
	}
	if to < r.mode {
		b.move(r, to, by, why)
	}
	return nil
}

func (b *Book) gate(to Mode) Gate {
	if to == Restrict {
		return b.c.Gates.Restrict
	}
	return b.c.Gates.Observe
}

func (b *Book) move(r *record, to Mode, by, why string) {
	r.moves = append(r.moves, Move{At: b.c.Now().UTC().Truncate(time.Second), From: r.mode, To: to, By: bounded(by), Why: bounded(why)})
	if len(r.moves) > maxMoves {
		oldest := 0
		if r.last() == oldest {
			oldest++ // what a person decided outlasts any number of resets
		}
		r.moves = slices.Delete(r.moves, oldest, oldest+1)
	}
	r.mode, r.changed = to, true
	r.repeats = nil
}

// Tick does what time asks for: profiles that are complete enough move from learn to
// observe (never to restrict, that is a decision of people). It returns what moved,
// by workload. Call it every few minutes.
func (b *Book) Tick() map[string]Move {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgetIdle()
	var out map[string]Move
	for workload, r := range b.records {
		// A profile a person moved back stays where it was put.
		if r.mode != Learn || r.back() || len(b.c.Gates.Observe.missing(r.p.Completeness())) > 0 {
			continue
		}
		b.move(r, Observe, "bollwerk", "complete enough to observe")
		if out == nil {
			out = map[string]Move{}
		}
		out[workload] = r.moves[len(r.moves)-1]
	}
	return out
}

// back reports whether the profile is where a person put it. A reset in mode learn is no
// move: who had moved the profile back before did not ask for less.
func (r *record) back() bool {
	i := r.last()
	return i >= 0 && r.moves[i].To < r.moves[i].From
}

// last is the place of the last move to another mode, -1 for none.
func (r *record) last() int {
	i := len(r.moves) - 1
	for i >= 0 && r.moves[i].To == r.moves[i].From {
		i--
	}
	return i
}

func clean(s string) string { return terminal.Clean(s, 160) }

// bounded keeps a text of a person within what a document may have.
func bounded(s string) string {
	if len(s) > maxText/2 {
		s = s[:maxText/2]
	}
	return strings.ToValidUTF8(s, "?")
}

func hours(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= time.Hour:
		return fmt.Sprintf("%.1f hours", d.Hours())
	}
	return fmt.Sprintf("%.0f minutes", d.Minutes())
}

func number(f float64) string {
	if f >= 1 {
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.3f", f)
}
