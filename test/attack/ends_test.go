package attack

import (
	"testing"
	"time"
)

// TestContainerEnds: the end of a container is told within about a second, of one that its
// runtime removes and of one whose cgroup stays, and once.
func TestContainerEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	need(t, "unshare")
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--events")
	for _, r := range []*container{cs.start("ends", "true"), cs.homemade("ends")} {
		a.awaitProtected(t, r.id)
		r.open(t) // until it is over, and removed by its runtime
		ended := time.Now()
		if !a.await(attackWait, func() bool { return len(a.told(r.id, "stop")) > 0 }) {
			t.Fatalf("%s: its end is not told", r.id)
		}
		a.mu.Lock()
		started, stopped := a.told(r.id, "start"), a.told(r.id, "stop")
		a.mu.Unlock()
		if late := stopped[0].Sub(ended); late > 2*time.Second || len(started) != 1 || len(stopped) != 1 {
			t.Errorf("%s: ended %s before it was told; told as started %d times, as stopped %d times", r.id, late, len(started), len(stopped))
		} else {
			t.Logf("%s: told %s after its end", r.id, late)
		}
	}
}
