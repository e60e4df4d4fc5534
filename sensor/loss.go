package sensor

import (
	"context"
	"time"

	"github.com/bollwerk/bollwerk"
)

// lossReader turns the kernel's counters of lost records into events: one per workload
// and kind for every window in which something was lost.
type lossReader struct {
	seen  map[lossKey]uint64
	total map[uint32]uint64
	last  time.Time
	// busy: runs of programs that the kernel skipped as the same program was at work on
	// that CPU already (an interrupt in the middle of it). No record was made, so nobody
	// knows of which kind it would have been.
	busy uint64
}

type lossKey struct {
	Cgroup uint64
	Kind   uint32
	Pad    uint32
}

func (s *Sensor) watchLosses(ctx context.Context) error {
	if s.k.ring == nil {
		<-ctx.Done()
		return nil
	}
	s.loss.seen, s.loss.total, s.loss.last = map[lossKey]uint64{}, map[uint32]uint64{}, time.Now()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			s.readLosses(time.Now())
			return nil
		case <-t.C:
			s.k.updateBoot() // the ring may never be empty enough to get to it
			// Not the tick's time: that may have waited for us, and what was lost
			// meanwhile would be told as lost before it was.
			s.readLosses(time.Now())
		}
	}
}

// readLosses emits what was lost since the last call, and remembers when this one began:
// what is lost while it reads falls into the time of both. Losses that no longer fitted
// into the table by workload are emitted without one, so that the sum is exact.
func (s *Sensor) readLosses(now time.Time) {
	named := map[uint32]uint64{}
	var key lossKey
	var per []uint64
	emit := func(cgroup uint64, kind uint32, n uint64) {
		until := time.Now()
		s.k.Emit(&bollwerk.Event{Time: until, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "ring", Loss: &bollwerk.Loss{
			From: s.loss.last, To: until, Count: n, Area: "ring", Kind: bollwerk.EventKind(kind), Cgroup: cgroup,
		}})
	}
	// The sums are read first: what is lost meanwhile is then named too often rather than
	// too seldom, and is not told twice.
	totals := map[uint32]uint64{}
	for kind := uint32(0); kind < 64; kind++ {
		if s.k.maps["losses_total"].Lookup(kind, &per) == nil {
			totals[kind] = sum(per)
		}
	}
	it := s.k.maps["losses"].Iterate()
	for it.Next(&key, &per) {
		n := sum(per)
		named[key.Kind] += n
		if d := n - s.loss.seen[key]; d > 0 {
			s.loss.seen[key] = n
			emit(key.Cgroup, key.Kind, d)
		}
	}
	for kind, n := range totals {
		rest := int64(n) - int64(named[kind]) - int64(s.loss.total[kind])
		if rest > 0 {
			s.loss.total[kind] += uint64(rest)
			emit(0, kind, uint64(rest))
		}
	}
	var busy uint64
	for _, p := range s.k.programs {
		if st, err := p.Stats(); err == nil {
			busy += st.RecursionMisses
		}
	}
	if busy > s.loss.busy {
		s.k.Emit(&bollwerk.Event{Time: now, Kind: bollwerk.EventLoss, Outcome: bollwerk.Seen, Source: "program", Loss: &bollwerk.Loss{
			From: s.loss.last, To: now, Count: busy - s.loss.busy, Area: "busy",
		}})
		s.loss.busy = busy
	}
	s.loss.last = now
}

func sum(per []uint64) (n uint64) {
	for _, v := range per {
		n += v
	}
	return n
}
