package profile

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// How complete is a profile? The question is that of the unseen species, with
// behaviours as species and replica-windows as samples (incidence data):
//
//   - Unseen, the share of what happens that is not known yet, is Good and Turing's
//     Q1/U (Good 1953, Biometrika 40:237): Q1 entries seen in one sample only, U
//     sightings in all. The refinement of Chao and Jost (2012, Ecology 93:2533,
//     eq. 4a for incidences) is always smaller; a guard takes the larger.
//   - Missing, how many behaviours are not known yet, is Chao2 (Chao 1987, Biometrics
//     43:783, with the bias-corrected form where Q2 is 0): a lower bound.
//   - Next, how many new behaviours the next sample may bring, is the upper end of the
//     one-sided 95 % interval around Q1/m (Good and Turing's expectation). Its error has
//     the variance (Q1+2·Q2)/m² (Esty 1983, Annals of Statistics 11:905), as the sample
//     and what it leaves unseen vary together; Q1 alone held in 87 % of simulations
//     only. The margin is that of a Poisson count of Q1+2·Q2. With nothing seen once or
//     twice that is 3/m: the rule of three (Hanley and Lippman-Hand 1983, JAMA 249:1743).
//
// The start of a replica is another population: its behaviours come together, once
// in a replica's life, and would stay "seen once" for ever. Windows in the start are
// counted apart, with starts as samples.
//
// System calls are not among "all together": short samples are taken of them, so that
// for long some are seen in one sample only, and nothing is refused for their sake. They
// are judged by themselves (callsKnown).
//
// What none of them can see: behaviour that is rarer than the time observed (a
// monthly job), and samples that are not alike (a release, a Sunday). The gates ask
// for a span of time for that reason.

// Estimate is the completeness of one category, or of all but system calls together.
type Estimate struct {
	Category Category `json:"category,omitempty"` // 0: all
	Known    int      `json:"known"`
	Once     int      `json:"once"`  // Q1: seen in exactly one replica-window, and in no start
	Twice    int      `json:"twice"` // Q2
	// Sightings is U: replica-windows, summed over entries.
	Sightings uint64  `json:"sightings"`
	Unseen    float64 `json:"unseen"`  // 0 to 1
	Missing   float64 `json:"missing"` // behaviours
	Next      float64 `json:"next"`    // new behaviours in the next replica-window, upper 95 %
	// StartUnseen is Good and Turing's share for starts, 1 while fewer than two were
	// seen; StartNext the new behaviours in the next start, upper 95 %.
	StartUnseen float64 `json:"start_unseen"`
	StartNext   float64 `json:"start_next"`
	Saturated   bool    `json:"saturated,omitempty"`
}

// Completeness says how well a profile is known.
type Completeness struct {
	Since time.Time `json:"since,omitzero"` // first and last event
	Until time.Time `json:"until,omitzero"`
	// Observed is the number of replica-windows times their length.
	Observed time.Duration `json:"observed"`
	Window   time.Duration `json:"window"`
	Units    uint64        `json:"units"`
	// Replicas is exact up to 64 and estimated beyond.
	Replicas int    `json:"replicas"`
	Starts   uint64 `json:"starts"`
	Events   uint64 `json:"events"`
	// Lost events of this workload that never arrived; Withheld ones that arrived
	// during an incident and were not learned.
	Lost       uint64     `json:"lost,omitempty"`
	Withheld   uint64     `json:"withheld,omitempty"`
	Overall    Estimate   `json:"overall"`
	Categories []Estimate `json:"categories"`
	Saturated  []Category `json:"saturated,omitempty"`
	Sentence   string     `json:"sentence"`
}

// Completeness computes the estimates. It reads every entry once.
func (p *Profile) Completeness() *Completeness {
	t := p.sum()
	c := &Completeness{
		Since: timeOf(p.first), Until: timeOf(p.last), Window: time.Duration(p.window) * time.Second,
		Units: uint64(t.units), Replicas: p.replicaEstimate(), Starts: uint64(t.starts), Events: t.events,
		Lost: t.lost, Withheld: t.withheld, Saturated: p.Saturated(),
	}
	c.Observed = time.Duration(c.Units) * c.Window
	var s [categories]counts
	for k, m := range p.entries {
		s[k.cat].take(m)
	}
	var all counts
	for cat := Executable; cat < categories; cat++ {
		e := s[cat].estimate(c.Units, c.Starts)
		e.Category, e.Saturated = cat, p.saturated[cat]
		c.Categories = append(c.Categories, e)
		if cat != Syscall {
			all.add(&s[cat])
		}
	}
	c.Overall = all.estimate(c.Units, c.Starts)
	c.Overall.Saturated = len(c.Saturated) > 0
	c.Sentence = c.sentence()
	return c
}

// callsKnown reports whether the system calls are known well enough that another one is
// news: whether the next sample brings no more new ones than the gate allows.
func (p *Profile) callsKnown(g Gate) bool {
	if p.size[Syscall] == 0 {
		return false
	}
	var s counts
	for k, m := range p.entries {
		if k.cat == Syscall {
			s.take(m)
		}
	}
	t := p.sum()
	c := &Completeness{Units: uint64(t.units), Starts: uint64(t.starts)}
	e := s.estimate(c.Units, c.Starts)
	if c.Brief() {
		return e.StartNext <= g.Unseen
	}
	return e.Next <= g.Unseen
}

// counts are the frequencies an estimate needs.
type counts struct {
	known, once, twice  int
	sightings           uint64
	startOnce, startAll uint64
	startTwice          uint64
}

func (s *counts) take(m *mark) {
	s.known++
	t := m.total()
	s.sightings += uint64(t.units)
	s.startAll += uint64(t.starts)
	switch {
	case t.units == 1 && t.starts == 0:
		s.once++
	case t.units == 2 && t.starts == 0:
		s.twice++
	case t.units == 0 && t.starts == 1:
		s.startOnce++
	case t.units == 0 && t.starts == 2:
		s.startTwice++
	}
}

func (s *counts) add(o *counts) {
	s.known += o.known
	s.once += o.once
	s.twice += o.twice
	s.sightings += o.sightings
	s.startOnce += o.startOnce
	s.startTwice += o.startTwice
	s.startAll += o.startAll
}

func (s *counts) estimate(units, starts uint64) Estimate {
	e := Estimate{Known: s.known, Once: s.once, Twice: s.twice, Sightings: s.sightings, Unseen: 1, StartUnseen: 1}
	m, q1, q2 := float64(units), float64(s.once), float64(s.twice)
	switch {
	case s.sightings > 0:
		e.Unseen = min(1, q1/float64(s.sightings))
	case units >= 2:
		// Samples were taken and this category never showed: nothing is missing that
		// Good and Turing could see. Next says how sure that is.
		e.Unseen = 0
	}
	if units > 0 {
		e.Next = upperNext(q1, q2) / m
		if q2 > 0 {
			e.Missing = (m - 1) / m * q1 * q1 / (2 * q2)
		} else {
			e.Missing = (m - 1) / m * q1 * (q1 - 1) / 2
		}
	} else {
		e.Next = math.Inf(1)
	}
	e.StartNext = math.Inf(1)
	if starts > 0 {
		e.StartNext = upperNext(float64(s.startOnce), float64(s.startTwice)) / float64(starts)
	}
	// JSON has no infinity, and more than a hundred new things is no knowledge at all.
	e.Next, e.StartNext = min(e.Next, 100), min(e.StartNext, 100)
	if starts >= 2 {
		e.StartUnseen = 0
		if s.startAll > 0 {
			e.StartUnseen = min(1, float64(s.startOnce)/float64(s.startAll))
		}
	}
	return e
}

func upperNext(once, twice float64) float64 {
	n := once + 2*twice
	return once + upperPoisson(n) - n
}

// upperPoisson is the upper end of the one-sided 95 % interval for the mean of a
// Poisson variable that came out as q: half the 95 % quantile of χ² with 2(q+1)
// degrees of freedom (Garwood 1936), by Wilson and Hilferty's approximation (within
// 1 % here), which for q = 0 is replaced by the exact -ln 0.05.
func upperPoisson(q float64) float64 {
	if q <= 0 {
		return -math.Log(0.05)
	}
	n := q + 1
	v := 1 - 1/(9*n) + 1.6448536/(3*math.Sqrt(n))
	return n * v * v * v
}

// replicaEstimate is exact below the size of the sketch; beyond it the k-th smallest
// of n uniform hashes is about k/n of the range (Bar-Yossef and others 2002).
func (p *Profile) replicaEstimate() int {
	n := len(p.replicas)
	if n < maxReplicas {
		return n
	}
	return max(n, int(float64(n-1)/(float64(p.replicas[n-1])/math.MaxUint32)))
}

// Complete reports how far the profile is: Learn while it does not meet the gate of
// observe, else the furthest mode whose gate it meets.
func (g Gates) Complete(c *Completeness) Mode {
	switch {
	case len(g.Observe.missing(c)) > 0:
		return Learn
	case len(g.Restrict.missing(c)) > 0:
		return Observe
	}
	return Restrict
}

// Brief reports whether the workload's replicas hardly outlive their start (jobs): its
// samples are starts then, and time observed means nothing.
func (c *Completeness) Brief() bool { return c.Starts >= 10 && c.Starts > c.Units }

func (c *Completeness) sentence() string {
	if c.Events == 0 {
		return "Nothing of this workload has been observed yet."
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Observed for %s in %s over %s", hours(c.Observed), plural(uint64(c.Replicas), "replica"), hours(c.Until.Sub(c.Since)))
	switch c.Starts {
	case 0:
		b.WriteString(", the start of none of them")
	default:
		fmt.Fprintf(&b, ", with %s", plural(c.Starts, "start"))
	}
	fmt.Fprintf(&b, ": %s known, %d of them seen in one window of %s only. ", plural(uint64(c.Overall.Known), "behaviour"), c.Overall.Once, hours(c.Window))
	switch {
	case c.Brief() && c.Starts >= 20:
		fmt.Fprintf(&b, "Its replicas are gone after minutes: an estimated %.1f %% of what they do is still unseen; the next one brings at most %s new behaviours (95 %% sure). ", 100*c.Overall.StartUnseen, number(c.Overall.StartNext))
	case c.Units < 20:
		b.WriteString("That is too little to estimate what is still unseen. ")
	default:
		fmt.Fprintf(&b, "An estimated %.1f %% of what it does is still unseen; the next window of a replica brings at most %s new behaviours (95 %% sure). ", 100*c.Overall.Unseen, number(c.Overall.Next))
	}
	if calls := c.Categories[Syscall-Executable]; calls.Known > 0 {
		fmt.Fprintf(&b, "%s known from samples. ", plural(uint64(calls.Known), "system call"))
	}
	if c.Until.After(c.Since) {
		fmt.Fprintf(&b, "What happens less often than once in %s cannot be known.", hours(c.Until.Sub(c.Since)))
	}
	for _, s := range c.Saturated {
		fmt.Fprintf(&b, " Category %s is saturated (too varied to be learned) and judges nothing.", s)
	}
	if c.Lost > 0 {
		fmt.Fprintf(&b, " %s never arrived.", plural(c.Lost, "event"))
	}
	if c.Withheld > 0 {
		fmt.Fprintf(&b, " %s of incidents were not learned.", plural(c.Withheld, "event"))
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), "  ", " ")
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
