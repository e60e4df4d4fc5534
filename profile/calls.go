package profile

import (
	"math/bits"
	"time"

	"github.com/bollwerk/bollwerk"
)

// Syscalls takes the system calls that a container or unit used since the last call
// for it (with Config.Cumulative: since it began): bit n of calls is call number n of
// the node's architecture, words beyond MaxSyscalls are ignored. Call it once in a
// while for every running cgroup; it is a sign of life too: a window in which nothing
// else happened counts as observed.
//
// It returns deviations as Observe does. A cgroup no event came from is not known yet
// and ignored.
func (b *Book) Syscalls(cgroup uint64, calls []uint64) []*bollwerk.Detection {
	b.mu.Lock()
	defer b.mu.Unlock()
	rep := b.replicas[cgroup]
	if rep == nil {
		return nil
	}
	now := b.c.Now()
	at, ok := seconds(now)
	if !ok {
		return nil
	}
	r := rep.r
	before := r.p.bytes
	m := moment{e: &bollwerk.Event{Time: now.UTC().Truncate(time.Second), Workload: rep.w, Outcome: bollwerk.Seen}, rep: rep}
	m.sight = b.sight(rep, at, 1)
	// Calls belong to no process: while the workload is held, or once something
	// suspicious runs in it, they may be the intruder's.
	m.count = at >= r.held && rep.taints == 0
	// They are sampled, and go on being learned until the samples agree, whatever the mode:
	// of calls that nobody looked at before none is news.
	m.learn = m.count && (r.mode == Learn || !r.p.callsKnown(b.c.Gates.Observe))
	b.out = nil
	for i, word := range calls {
		if i == len(rep.calls) {
			break
		}
		if b.c.Cumulative {
			word, rep.calls[i] = word&^rep.calls[i], rep.calls[i]|word
		}
		for ; word != 0; word &= word - 1 {
			b.meet(&m, key{cat: Syscall, value: SyscallName(b.c.Arch, i*64+bits.TrailingZeros64(word))})
		}
	}
	r.counted = true
	b.bytes += r.p.bytes - before
	return b.out
}
