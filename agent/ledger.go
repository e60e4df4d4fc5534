package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
)

// ledger keeps what was lost, by workload, for the verdicts. Losses that belong to
// nobody in particular count for everybody.
type ledger struct {
	mu     sync.Mutex
	rows   map[string][]lossRow // by workload key; "" is everybody
	totals map[string]uint64    // by area, exact since the start
	now    func() time.Time
}

// lossRow is a loss and when it was entered, by a clock that nobody turns: its own times
// may lie in the future once the clock of the host was turned back.
type lossRow struct {
	bollwerk.Loss
	at time.Time
}

const (
	ledgerWindow    = time.Hour // how long a loss degrades verdicts
	ledgerRows      = 64        // of one workload; the oldest are merged beyond it
	ledgerWorkloads = 4096
)

func newLedger(now func() time.Time) *ledger {
	return &ledger{rows: map[string][]lossRow{}, totals: map[string]uint64{}, now: now}
}

func (l *ledger) add(key string, loss bollwerk.Loss) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals[loss.Area] += loss.Count
	if _, ok := l.rows[key]; !ok && len(l.rows) >= ledgerWorkloads && !l.forget() {
		key = ""
	}
	rows := l.rows[key]
	// A stretch of losses that goes on is one row.
	for i := len(rows) - 1; i >= 0 && i >= len(rows)-4; i-- {
		r := &rows[i]
		if r.Area == loss.Area && r.Kind == loss.Kind && loss.From.Sub(r.To) < 2*time.Second && !loss.To.Before(r.From) {
			r.Count += loss.Count
			r.To, r.at = loss.To, l.now()
			return
		}
	}
	if len(rows) >= ledgerRows {
		rows[1].Count += rows[0].Count
		rows[1].From = rows[0].From
		rows = slices.Delete(rows, 0, 1)
	}
	l.rows[key] = append(rows, lossRow{loss, l.now()})
}

// forget makes room: what was lost so long ago that it is no reason any more. It reports
// whether there is room. l.mu is held.
func (l *ledger) forget() bool {
	since := l.now().Add(-ledgerWindow)
	for key, rows := range l.rows {
		if !slices.ContainsFunc(rows, func(r lossRow) bool { return !r.at.Before(since) }) {
			delete(l.rows, key)
		}
	}
	return len(l.rows) < ledgerWorkloads
}

// causes are the sentences about what was lost of a workload (and of everybody) since
// the given time; none means that nothing was.
func (l *ledger) causes(key string, since time.Time) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, k := range []string{key, ""} {
		type line struct {
			area     string
			from, to time.Time
			n        uint64
		}
		var lines []line
		for _, r := range l.rows[k] {
			if r.at.Before(since) {
				continue
			}
			i := slices.IndexFunc(lines, func(x line) bool { return x.area == r.Area })
			if i < 0 {
				lines = append(lines, line{r.Area, r.From, r.To, r.Count})
				continue
			}
			x := &lines[i]
			x.n += r.Count
			if r.From.Before(x.from) {
				x.from = r.From
			}
			if r.To.After(x.to) {
				x.to = r.To
			}
		}
		for _, x := range lines {
			s := (&bollwerk.Loss{From: x.from, To: x.to, Count: x.n, Area: x.area}).Sentence()
			if k == "" && key != "" {
				s += " (on this node, of which workload is not known)"
			}
			out = append(out, s)
		}
		if key == "" {
			break
		}
	}
	return out
}

// verdict about a workload's visibility over the last hour.
func (l *ledger) verdict(key string) (bollwerk.Verdict, []string) {
	causes := l.causes(key, l.now().Add(-ledgerWindow))
	if len(causes) == 0 {
		return bollwerk.Pass, nil
	}
	return bollwerk.Degraded, causes
}

func (l *ledger) total(area string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals[area]
}

// unsaid are losses of a busy queue, put together by cgroup, kind and area until the judgement
// has a moment to put them on record. The zero value is usable.
type unsaid struct {
	mu  sync.Mutex
	sum map[unsaidKey]bollwerk.Loss
}

type unsaidKey struct {
	cgroup uint64
	area   string
	kind   bollwerk.EventKind
}

// mostUnsaid cgroups and kinds are kept apart; the rest counts as nobody's.
const mostUnsaid = 1024

func (u *unsaid) add(l bollwerk.Loss) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sum == nil {
		u.sum = map[unsaidKey]bollwerk.Loss{}
	}
	k := unsaidKey{l.Cgroup, l.Area, l.Kind}
	have, ok := u.sum[k]
	if !ok && len(u.sum) >= mostUnsaid {
		k.cgroup, l.Cgroup = 0, 0
		have, ok = u.sum[k]
	}
	if !ok {
		u.sum[k] = l
		return
	}
	have.Count += l.Count
	if l.From.Before(have.From) {
		have.From = l.From
	}
	if l.To.After(have.To) {
		have.To = l.To
	}
	u.sum[k] = have
}

func (u *unsaid) take() map[unsaidKey]bollwerk.Loss {
	u.mu.Lock()
	defer u.mu.Unlock()
	sum := u.sum
	u.sum = nil
	return sum
}
