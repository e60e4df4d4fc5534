package tracing

import (
	"context"
	"time"

	"github.com/bollwerk/bollwerk"
)

// order is a container that came or went.
type order struct {
	cgroup uint64
	pid    uint32
	began  bool
	since  time.Time
	done   chan<- struct{} // nothing but a question whether all before it is done
}

func orderOf(w *bollwerk.Workload, began bool) (o order, ok bool) {
	if w == nil || w.Cgroup == 0 || began && (w.Container == nil || w.Container.PID == 0) {
		return o, false
	}
	o = order{cgroup: w.Cgroup, began: began, since: time.Now()}
	if began {
		o.pid = w.Container.PID
	}
	return o, true
}

// Until a runtime has changed the root of a container's first process, that one's files
// are the host's: looking at them would be looking at the wrong ones.
const (
	settleEvery = 5 * time.Millisecond
	settleMost  = 3 * time.Second // then the host's root is the container's
	mostOrders  = 1024
)

// orders are the containers that a source shall look into, and those that it is to look at
// once more a little later. Anybody may give them; one goroutine carries them out.
type orders struct {
	given chan order

	// Of the goroutine that carries them out.
	unsettled map[uint64]order // by cgroup: still with the root of the host
	questions []order          // to be answered when what was unsettled before them is settled
	later     *time.Timer
}

func newOrders() *orders {
	q := &orders{given: make(chan order, mostOrders), unsettled: map[uint64]order{}, later: time.NewTimer(settleEvery)}
	q.later.Stop()
	return q
}

// give reports whether there was room.
func (q *orders) give(o order) bool {
	select {
	case q.given <- o:
		return true
	default:
		return false
	}
}

// followed waits until all orders of now are carried out, or the context ends.
func (q *orders) followed(ctx context.Context) {
	if q == nil {
		return
	}
	done := make(chan struct{})
	select {
	case q.given <- order{done: done, since: time.Now()}:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// take carries out an order. follow reports false of a container that has the root of the
// host still; it is then called with it again after settleEvery (retry).
func (q *orders) take(o order, follow func(order) (settled bool)) {
	if o.done != nil {
		q.questions = append(q.questions, o)
		q.answer()
		return
	}
	delete(q.unsettled, o.cgroup)
	if !follow(o) {
		if q.unsettled[o.cgroup] = o; len(q.unsettled) == 1 {
			q.later.Reset(settleEvery)
		}
	}
}

// retry is to be called when later has run out.
func (q *orders) retry(follow func(order) (settled bool)) {
	for _, o := range q.unsettled {
		if follow(o) {
			delete(q.unsettled, o.cgroup)
		}
	}
	if len(q.unsettled) > 0 {
		q.later.Reset(settleEvery)
	}
	q.answer()
}

func (q *orders) answer() {
	kept := q.questions[:0]
	for _, a := range q.questions {
		open := false
		for _, o := range q.unsettled {
			open = open || o.since.Before(a.since)
		}
		if open {
			kept = append(kept, a)
		} else {
			close(a.done)
		}
	}
	clear(q.questions[len(kept):])
	q.questions = kept
}

// unsettled reports whether a container is to be looked at later.
func (o order) unsettled() bool { return hasHostRoot(o.pid) && time.Since(o.since) <= settleMost }
