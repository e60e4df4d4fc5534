package process

import (
	"context"
	"time"
	"unsafe"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

type usageKey struct {
	pid   uint32
	start uint64
}

// watchUsage looks now and then at the CPU time of the processes of containers. What
// threads that ended in between had used is not counted: a miner's do not end.
func (s *Source) watchUsage(ctx context.Context) error {
	t := time.NewTicker(s.c.UsageEvery)
	defer t.Stop()
	last, err := s.usage(ctx)
	if err != nil {
		s.k.Log.Warn("cpu use is not watched", "error", err)
		return nil
	}
	then := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now, err := s.usage(ctx)
		if err != nil {
			continue
		}
		at := time.Now()
		window := at.Sub(then)
		for key, used := range now {
			before, known := last[key]
			if !known || used < before || float64(used-before) < s.c.UsageShare*float64(window) {
				continue
			}
			s.k.Emit(&bollwerk.Event{Time: at, Kind: bollwerk.EventUsage, Process: s.k.Processes.Get(key.pid, key.start), Outcome: bollwerk.Seen,
				Source: "iter", Usage: &bollwerk.Usage{Window: window, CPU: time.Duration(used - before)}})
		}
		last, then = now, at
	}
}

// usage is the run time of every process of a container.
func (s *Source) usage(ctx context.Context) (map[usageKey]uint64, error) {
	out := map[usageKey]uint64{}
	const size = int(unsafe.Sizeof(bpf.ProcessBwUsage{}))
	err := iterate(ctx, s.objs.Programs["process_usage"], func(b []byte) int { return size }, func(b []byte) {
		if u, _ := record[bpf.ProcessBwUsage](b); u != nil {
			out[usageKey{u.Pid, u.Start}] += u.Runtime
		}
	})
	return out, err
}
