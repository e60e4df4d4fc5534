package agent

import (
	"bytes"
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// watchMemory keeps the agent under its cap: the garbage collector is told of it, and
// as resident memory comes near, work is given up in the order of Degradation.
func (a *Agent) watchMemory(ctx context.Context) error {
	limit := int64(a.c.Memory)
	before := debug.SetMemoryLimit(limit * 8 / 10)
	defer debug.SetMemoryLimit(before)
	percent := startGarbage // set in Run
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	buf := make([]byte, 256)
	looks := 0
	spare := relief{free: debug.FreeOSMemory}
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			if looks++; looks == settled {
				giveBack()
			}
			used := spare.look(now, limit, func() int64 { return residentAnonymous(buf) })
			// Below 80 % nothing is given up; from there the steps follow each other.
			share := float64(used) / float64(limit)
			a.queue.pressure.Store(int64(max(0, (share-0.6)/0.4) * 1000))
			metrics.Read(live)
			// Setting it stops all goroutines for a moment: not for every small change.
			if p := garbage(live[0].Value.Uint64()); p < percent || p > percent+percent/8 {
				percent = p
				debug.SetGCPercent(p)
			}
		}
	}
}

const (
	// startGarbage is how much of it there may be while the agent starts: rules and kernel
	// programs are made of many times the memory that is kept of them. Twice as much does
	// not make the start shorter, but needs up to twenty mebibytes more at its height.
	startGarbage = 100
	// settled is how many seconds after its start the files of existing containers are
	// marked and their first events judged, which leaves a second heap of garbage.
	settled = 5
	// leastGarbage and mostGarbage are how much of it may lie between two collections, in
	// percent of what is in use.
	leastGarbage, mostGarbage = 50, 200
	// usualHeap is what the heap may grow to in any case.
	usualHeap = 12 << 20
)

// garbage is how much of it there may be beside this much in use. Each collection costs
// what is in use, so that rare ones are cheap; memory on every node matters more once
// there is much of it.
func garbage(live uint64) int {
	if live >= usualHeap {
		return leastGarbage
	}
	return int(min(max(leastGarbage, (usualHeap-live)*100/max(live, 1)), mostGarbage))
}

// relief gives freed memory back to the kernel before work is given up for want of it: the
// collector keeps what was freed for a while, and of a small cap that is a large part.
type relief struct {
	free func()
	last time.Time
}

// reliefPause lies between two: each collects all garbage.
const reliefPause = 15 * time.Second

// look returns how much memory is in use, after it gave some back where much is.
func (r *relief) look(now time.Time, limit int64, used func() int64) int64 {
	n := used()
	if n*10 <= limit*6 || now.Sub(r.last).Abs() < reliefPause {
		return n
	}
	r.last = now
	r.free()
	return used()
}

// residentAnonymous is the memory of this process that is its own, bytes: what is
// resident less what is shared with a file (/proc/PID/statm, in pages).
func residentAnonymous(buf []byte) int64 {
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return 0
	}
	defer f.Close()
	n, err := f.Read(buf)
	if err != nil {
		return 0
	}
	fields := bytes.Fields(buf[:n])
	if len(fields) < 3 {
		return 0
	}
	resident, err1 := strconv.ParseInt(string(fields[1]), 10, 64)
	shared, err2 := strconv.ParseInt(string(fields[2]), 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return (resident - shared) * int64(os.Getpagesize())
}

// giveBack gives back what only the start needed.
func giveBack() {
	debug.FreeOSMemory()
	dropStart()
}

// dropStart gives back the pages of the program that only its start needed: the compiler
// of rules, the reader of the kernel's types. They are read-only copies of a file, so
// whatever is needed again is read again.
func dropStart() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[5] != self || (f[1] != "r-xp" && f[1] != "r--p") {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil || end <= start {
			continue
		}
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED)
	}
}
