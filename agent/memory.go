package agent

import (
	"bytes"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"time"
)

// watchMemory keeps the agent under its cap: the garbage collector is told of it, and
// as resident memory comes near, work is given up in the order of Degradation.
func (a *Agent) watchMemory(ctx context.Context) error {
	limit := int64(a.c.Memory)
	before := debug.SetMemoryLimit(limit * 8 / 10)
	defer debug.SetMemoryLimit(before)
	// Half as much garbage as usual between two collections: the heap is small, and
	// memory on every node matters more than a little work.
	percent := debug.SetGCPercent(50)
	defer debug.SetGCPercent(percent)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			used := residentAnonymous()
			// Below 80 % nothing is given up; from there the steps follow each other.
			share := float64(used) / float64(limit)
			a.queue.pressure.Store(int64(max(0, (share-0.6)/0.4) * 1000))
		}
	}
}

// residentAnonymous is the memory of this process that is its own: RssAnon of /proc/self/status, bytes.
func residentAnonymous() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("RssAnon:")); ok {
			n, _ := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(v), []byte("kB")))), 10, 64)
			return n << 10
		}
	}
	return 0
}
