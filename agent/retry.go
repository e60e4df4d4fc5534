package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bollwerk/bollwerk"
)

// retry is a workload whose policy, or a part of it, could not be put in force: a table of
// the kernel was full, its cgroup was made anew, the runtime was not inside yet. It is tried
// again until it works or the workload ends, and said until then.
type retry struct {
	w     *bollwerk.Workload
	cause string
	tries int
	next  time.Time
	quiet bool // most likely it ended at once
}

const (
	firstRetry = time.Second
	lastRetry  = time.Minute // pauses double up to this
)

// errNoCgroup: the cgroup of a workload cannot be found by its number.
var errNoCgroup = errors.New("its cgroup is not there")

// noteRefusal remembers why a policy is not in force, nil when it is. g.mu is held.
func (g *guarding) noteRefusal(w *bollwerk.Workload, err error, now time.Time) {
	id := place(w)
	r := g.refused[id]
	if err == nil {
		if r != nil {
			delete(g.refused, id)
			g.a.log.Info("workload is protected after all", "workload", w.String(), "tries", r.tries+1)
		}
		return
	}
	if r == nil {
		r = &retry{}
		g.refused[id] = r
	}
	r.quiet = r.tries == 0 && errors.Is(err, errNoCgroup)
	if cause := err.Error(); !r.quiet && cause != r.cause {
		if r.cause == "" {
			g.a.metrics.unprotected.Inc()
		}
		r.cause = cause
		g.a.log.Warn("workload is not protected", "workload", w.String(), "error", err)
	}
	r.w = w
	r.next = now.Add(min(lastRetry, g.pause<<min(r.tries, 10)))
	r.tries++
	select {
	case g.again <- struct{}{}:
	default:
	}
}

// failed is told by a source that could not hold a policy after all. The next try is made
// with a process that lives then.
func (g *guarding) failed(w *bollwerk.Workload, err error) {
	// Whoever gave it has written down what is in force when another may act.
	g.acting.Lock()
	defer g.acting.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, held := g.sets[place(w)]; held && !g.released {
		g.noteRefusal(w, err, time.Now())
	}
}

// refusal says why a workload is not protected as it should be, "" when it is.
func (g *guarding) refusal(w *bollwerk.Workload, now time.Time) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.refused[place(w)]
	if r == nil || r.quiet {
		return ""
	}
	return fmt.Sprintf("not protected as it should be: %s (tried %d times, again in %s)", r.cause, r.tries, max(0, r.next.Sub(now)).Round(time.Second))
}

// refusals are the same of all workloads, for the verdict about the agent; of very many a number.
func (g *guarding) refusals() (out []string) {
	const most = 16
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.refused {
		if r.quiet {
			continue
		}
		if len(out) == most {
			return append(out, fmt.Sprintf("%d more workloads are not protected as they should be", len(g.refused)-most))
		}
		out = append(out, fmt.Sprintf("%s is not protected as it should be: %s", r.w, r.cause))
	}
	return out
}

// run tries again what was refused. Without such it sleeps.
func (g *guarding) run(ctx context.Context) error {
	t := time.NewTimer(time.Hour)
	t.Stop()
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.again:
		case <-t.C:
		}
		var due []*bollwerk.Workload
		var next time.Time
		now := time.Now()
		g.mu.Lock()
		for _, r := range g.refused {
			if !now.Before(r.next) {
				due = append(due, r.w)
			} else if next.IsZero() || r.next.Before(next) {
				next = r.next
			}
		}
		g.mu.Unlock()
		for _, w := range due {
			if now := g.a.alive(w); now != nil {
				g.protect(now) // which wakes us if it is refused again
				continue
			}
			g.mu.Lock()
			delete(g.refused, place(w))
			g.mu.Unlock()
		}
		if !next.IsZero() {
			t.Reset(max(time.Millisecond, time.Until(next)))
		}
	}
}

// alive is a container by its name of now, nil when it ended.
func (a *Agent) alive(w *bollwerk.Workload) *bollwerk.Workload {
	a.mu.Lock()
	defer a.mu.Unlock()
	if k := a.workloads[place(w)]; k != nil && !k.lifted {
		return k.w
	}
	return nil
}
