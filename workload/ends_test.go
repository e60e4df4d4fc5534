package workload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// TestEnds removes real cgroups of containers: their end is told at once, not by the next
// sweep (which is 20 minutes away here), and nothing of them stays watched.
func TestEnds(t *testing.T) {
	h := host(t)
	ended := make(chan *bollwerk.Workload, 16)
	s := &fake{name: "docker", local: func(r Ref) (Found, error) {
		return has(r.ID, Found{Container: bollwerk.Container{Name: r.ID[:4]}})(r)
	}}
	r := run(t, Config{Grace: time.Hour, Ended: func(w *bollwerk.Workload) { ended <- w }}, s)
	base := fmt.Sprintf("/bollwerk-ends-%d", os.Getpid())
	cgroupOf(t, h, base)
	eventually(t, "ends are watched", func() bool { r.mu.RLock(); defer r.mu.RUnlock(); return r.ends.fd >= 0 })
	want := map[string]bool{}
	for i := range 5 {
		id := fmt.Sprintf("%04d%s", i, strings.Repeat("e", 60))
		path := base + "/docker-" + id + ".scope"
		cgroupOf(t, h, path)
		n, err := h.ID(path)
		if err != nil {
			t.Fatal(err)
		}
		if w := r.Resolve(context.Background(), n, path, 0); w.Container == nil || w.Container.ID != id {
			t.Fatalf("%+v", w)
		}
		remove := func() {
			for _, tree := range h.Trees() {
				if err := os.Remove(filepath.Join(tree, path)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if i == 4 { // the last one lives on
			break
		}
		want[id] = true
		began := time.Now()
		remove()
		select {
		case w := <-ended:
			if !want[w.Container.ID] {
				t.Errorf("%s has not ended", w)
			}
			delete(want, w.Container.ID)
			t.Logf("told after %s", time.Since(began))
		case <-time.After(time.Minute):
			t.Fatal("the end is not told")
		}
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
	if n := len(r.Workloads()); n != 1 {
		t.Errorf("%d workloads live", n)
	}
	r.mu.RLock()
	left := 0
	for _, a := range r.ends.above {
		left += len(a.bodies)
	}
	watches := len(r.ends.byWD)
	r.mu.RUnlock()
	if left != 1 || watches != 1 {
		t.Errorf("%d cgroups watched in %d folders, want the living one", left, watches)
	}
	select {
	case w := <-ended:
		t.Errorf("%s ended twice, or lives", w)
	default:
	}
}

// TestEndBeforeWatch: a container that was over when it was first heard of.
func TestEndBeforeWatch(t *testing.T) {
	ended := make(chan *bollwerk.Workload, 16)
	s := &fake{name: "docker", local: has(hexA, Found{Container: bollwerk.Container{Name: "web"}})}
	r := run(t, Config{Grace: time.Hour, Ended: func(w *bollwerk.Workload) { ended <- w }}, s)
	eventually(t, "ends are watched", func() bool { r.mu.RLock(); defer r.mu.RUnlock(); return r.ends.fd >= 0 })
	r.Resolve(context.Background(), 1<<40, scope(hexA), 0)
	select {
	case w := <-ended:
		if w.Container.ID != hexA {
			t.Errorf("%s", w)
		}
	case <-time.After(time.Minute):
		t.Fatal("the end is not told")
	}
}
