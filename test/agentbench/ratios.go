package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// work is one kind of measured work.
type work struct {
	name    string
	command string
	n       int
	args    func(*workload) []string
	// bound on the ratio of the workload's own time, and goal of the ratio that counts the
	// agent's work, too; 0 for none.
	bound, goal float64
}

func ownProgram(w *workload) []string { return []string{w.program} }

// aChild is linked when it starts, as most programs are.
func aChild(w *workload) []string { return []string{w.child} }

func aFile(w *workload) []string { return []string{w.file} }

func nothing(*workload) []string { return nil }

// works that are chosen, on the host. A slice takes a few milliseconds: on a busy machine
// some of many short ones are left alone.
func works(openBound float64, ops chosen) []work {
	all := []work{
		{"fork+exec", "fork", 8, aChild, 1.05, 1.15},
		{"vfork+exec static", "vfork", 12, ownProgram, 1.05, 1.15},
		{"open+close", "open", 2000, aFile, openBound, 1.10},
		{"tcp connect+accept+close", "connect", 120, nothing, 1.05, 1.10},
		{"udp round trip", "udp", 800, nothing, 1.12, 0},
		{"null system call", "null", 20000, nothing, 1.01, 0},
	}
	return slices.DeleteFunc(all, func(w work) bool { return !ops.has(w.command) })
}

func operations() []string {
	var names []string
	for _, w := range works(1, "") {
		names = append(names, w.command)
	}
	return names
}

// slices of one kind of work in one place, by round.
type series struct {
	off, on [][]float64 // workload's nanoseconds for one thing
	own     [][]float64 // agent's nanoseconds for one thing, beside on
}

type ratio struct {
	base, median, best float64 // base: nanoseconds (or instructions) without the agent
	withWork           float64 // median with the agent's own work
	own                float64 // median of the agent's own work
	spread             float64 // of the paired ratios: the middle half's width
	rounds             int
}

func middle(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// judge compares medians: of each round the median with and the one without the agent,
// and of these ratios the median. The best ratio is that of the fastest slices of all.
func (s *series) judge() ratio {
	r := ratio{rounds: len(s.on)}
	var pairs, work, own, off, on []float64
	for i := range s.on {
		a, b := middle(s.off[i]), middle(s.on[i])
		pairs = append(pairs, b/a)
		// The agent's work lags behind: the mean of a round is what counts.
		sum := 0.0
		for _, v := range s.own[i] {
			sum += v
		}
		mean := sum / float64(len(s.own[i]))
		own = append(own, mean)
		work = append(work, (b+mean)/a)
		off, on = append(off, s.off[i]...), append(on, s.on[i]...)
	}
	slices.Sort(pairs)
	r.base, r.median, r.withWork = middle(off), middle(pairs), middle(work)
	r.own = middle(own)
	r.best = slices.Min(on) / slices.Min(off)
	r.spread = pairs[len(pairs)*3/4] - pairs[len(pairs)/4]
	return r
}

// holds says "no" only if the fastest slices speak for it, too: where the median breaks
// the bound and they do not, other work on this machine decides, and nothing is proven.
func (r ratio) holds(bound float64) string {
	switch {
	case r.median <= bound:
		return yes
	case r.best > bound:
		return no
	}
	return noisy
}

// ratios does all work in all places without and with the agent, in turns, until the
// medians are within their bounds, or for the most rounds.
type ratios struct {
	program, dir, config string
	places               []*workload
	works                []work
	repeat               int           // slices of each kind per turn
	scale                int           // divides the sizes
	limit                time.Duration // no round begins after it; 0: none
	say                  func(string, ...any)
}

func (m *ratios) slices(w *workload, k work) (spent, int, error) {
	n := max(1, k.n/max(1, m.scale))
	s, err := w.do(k.command, n, k.args(w)...)
	return s, n, err
}

// ratiosMost bounds the time for ratios on a machine where they do not settle.
const ratiosMost = 6 * time.Minute

const (
	stretch = 400 * time.Millisecond
	// sampled: for two seconds after it began to watch a container the agent looks at its
	// system calls, which makes each twice as dear for that long (docs/agent.md).
	sampled = 2500 * time.Millisecond
)

func (m *ratios) turn(into map[string]*series, a *agent) error {
	for _, w := range m.places {
		for _, k := range m.works {
			s := into[w.kind+" "+k.name]
			if _, _, err := m.slices(w, k); err != nil { // warms up, and makes the agent know it
				return err
			}
			var values []float64
			if a != nil {
				a.settle()
			}
			for range m.repeat {
				t, n, err := m.slices(w, k)
				if err != nil {
					return err
				}
				values = append(values, float64(t.cpu)/float64(n))
			}
			if a == nil {
				s.off = append(s.off, values)
				continue
			}
			// The agent's own work, over a longer stretch and until it has caught up: long
			// enough that what it does once a second is not charged to a few things.
			a.settle()
			before, n := a.cpu(), 0
			for worked := time.Duration(0); worked < stretch; {
				t, done, err := m.slices(w, k)
				if err != nil {
					return err
				}
				n += done
				worked += time.Duration(t.cpu)
			}
			time.Sleep(100 * time.Millisecond)
			own := []float64{float64(a.cpu()-before) / float64(n)}
			s.on, s.own = append(s.on, values), append(s.own, own)
		}
	}
	return nil
}

func (m *ratios) run(ctx context.Context, least, most int) (map[string]ratio, error) {
	all := map[string]*series{}
	for _, w := range m.places {
		for _, k := range m.works {
			all[w.kind+" "+k.name] = &series{}
		}
	}
	out := map[string]ratio{}
	began := time.Now()
	for round := range most {
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		with := func() error {
			a, err := startAgent(m.program, m.dir, nil, "--config", m.config)
			if err != nil {
				return err
			}
			time.Sleep(sampled)
			a.settle()
			err = m.turn(all, a)
			return errors.Join(err, a.stop())
		}
		var err error
		// Which comes first changes, so that a machine that gets slower does not decide.
		if round%2 == 0 {
			if err = m.turn(all, nil); err == nil {
				err = with()
			}
		} else if err = with(); err == nil {
			err = m.turn(all, nil)
		}
		if err != nil {
			return out, err
		}
		hold := true
		for _, w := range m.places {
			for _, k := range m.works {
				name := w.kind + " " + k.name
				out[name] = all[name].judge()
				hold = hold && (k.bound == 0 || out[name].median <= k.bound)
			}
		}
		m.say("round %d of at most %d", round+1, most)
		if round+1 >= least && hold || m.limit > 0 && time.Since(began) > m.limit {
			break
		}
	}
	return out, nil
}

// rows of the table.
func (m *ratios) rows(prefix, unit string, all map[string]ratio) []row {
	var out []row
	for _, w := range m.places {
		for _, k := range m.works {
			r := all[w.kind+" "+k.name]
			holds := r.holds(k.bound)
			if unit == "instructions" { // which no noise moves
				holds = word(r.median <= k.bound)
			}
			out = append(out, row{
				what: prefix + k.name + ", " + w.kind, bound: fmt.Sprintf("≤ %.2f", k.bound), measured: fmt.Sprintf("%.3f", r.median),
				holds: holds,
				note:  fmt.Sprintf("fastest %.3f, with the agent's work %.2f; %.0f %s without; %d rounds, middle half ±%.3f", r.best, r.withWork, r.base, unit, r.rounds, r.spread/2),
			})
			if unit != "instructions" || k.command == "null" {
				continue
			}
			with := row{what: prefix + k.name + ", " + w.kind + ", with the agent's work", measured: fmt.Sprintf("%.3f", r.withWork),
				note: fmt.Sprintf("%.0f %s of the agent for each", r.own, unit)}
			if k.goal > 0 {
				with.bound, with.holds = fmt.Sprintf("goal %.2f", k.goal), goal(r.withWork <= k.goal)
			}
			out = append(out, with)
		}
	}
	return out
}
