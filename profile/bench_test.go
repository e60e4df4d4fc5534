package profile

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// typical is a workload as the benign corpus has them: a few programs, some hundred
// files and peers, eighty system calls.
func typical(w *world, name string) *bollwerk.Workload {
	wl := w.container(name, digestA)
	root := w.process(wl, "/usr/local/bin/entry-"+name, nil)
	for i := range 20 {
		p := w.process(wl, fmt.Sprintf("/usr/bin/tool-%c", 'a'+i), root)
		w.quiet(w.exec(wl, p))
		for j := range 4 {
			w.quiet(w.open(wl, p, fmt.Sprintf("/var/lib/%s-%c/part-%c", name, 'a'+i, 'a'+j), bollwerk.AccessWrite))
		}
		w.quiet(w.connect(wl, p, fmt.Sprintf("peer-%c.shop-%s.svc.cluster.local", 'a'+i, name), fmt.Sprintf("10.0.%d.7:5432", i)))
		d := w.event(wl, bollwerk.EventDNS, p)
		d.DNS = &bollwerk.DNS{Name: fmt.Sprintf("peer-%c.shop-%s.svc.cluster.local", 'a'+i, name)}
		w.quiet(d)
	}
	for _, p := range []uint16{80, 443, 9090} {
		w.quiet(w.listen(wl, root, p))
	}
	var calls [MaxSyscalls / 64]uint64
	for n := range 80 {
		calls[n*4/64] |= 1 << (n * 4 % 64)
	}
	w.book.Syscalls(wl.Cgroup, calls[:])
	return wl
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestTwoHundredTypicalWorkloadsFitInEightMegabytes(t *testing.T) {
	before := heap()
	w := newWorld(t, Config{})
	for i := range 200 {
		typical(w, fmt.Sprintf("app%c%c", 'a'+i/26, 'a'+i%26))
	}
	used := heap() - before
	st := w.book.Stats()
	p := must(w.book.Profile(w.book.Keys()[0]))
	t.Logf("200 profiles of %d entries: %.2f MiB on the heap, %.2f MiB by the book's own count", p.Len(), float64(used)/(1<<20), float64(st.Bytes)/(1<<20))
	if used > 8<<20 {
		t.Errorf("%d bytes", used)
	}
	if f := float64(st.Bytes) / float64(used); f < 0.6 || f > 1.4 {
		t.Errorf("the book counts %d bytes, the heap has %d: the cap on memory means nothing", st.Bytes, used)
	}
	if p.Len() < 240 {
		t.Errorf("only %d entries: not a typical workload", p.Len())
	}
	runtime.KeepAlive(w)
}

// known events of every hot kind, on a profile in use.
func knownEvents(t testing.TB) (*world, []*bollwerk.Event) {
	w := newWorld(t, Config{})
	wl := typical(w, "web")
	root := w.process(wl, "/usr/local/bin/entry-web", nil)
	p := w.process(wl, "/usr/bin/tool-b", root)
	// A tree, so that looking up walks it.
	for i := range 40 {
		w.quiet(w.open(wl, p, fmt.Sprintf("/data/cache/%c%c/x", 'a'+i/26, 'a'+i%26), bollwerk.AccessWrite))
	}
	dns := w.event(wl, bollwerk.EventDNS, p)
	dns.DNS = &bollwerk.DNS{Name: "peer-a.shop-web.svc.cluster.local"}
	es := []*bollwerk.Event{
		w.exec(wl, p),
		w.open(wl, p, "/var/lib/web-a/part-a", bollwerk.AccessWrite),
		w.open(wl, p, "/data/cache/zz/tmp0a1b2c3d4e/object-0123456789.bin", bollwerk.AccessWrite),
		w.connect(wl, p, "peer-a.shop-web.svc.cluster.local", "10.0.0.7:5432"),
		w.listen(wl, p, 443),
		dns,
	}
	w.quiet(es...)
	return w, es
}

func TestKnownBehaviourAllocatesNothing(t *testing.T) {
	w, es := knownEvents(t)
	for _, e := range es {
		if n := testing.AllocsPerRun(100, func() { w.book.Observe(e, false) }); n != 0 {
			t.Errorf("%s: %v allocations", e.Kind, n)
		}
	}
}

// BenchmarkObserveKnown prints the cost of a known event as a ratio to one look-up of
// a path in a map of the same size under a mutex, measured in the same run: the least
// that any memory of behaviour costs.
func BenchmarkObserveKnown(b *testing.B) {
	w, es := knownEvents(b)
	names := map[string]int{}
	for k := range w.book.records[w.book.Keys()[0]].p.entries {
		names[k.value] = len(names)
	}
	var mu sync.Mutex
	sum, lookups := 0, time.Duration(0)
	yardstick := func() {
		t := time.Now()
		for i := range 1000 {
			mu.Lock()
			sum += names[es[1+i&1].File.Path]
			mu.Unlock()
		}
		lookups += time.Since(t)
	}
	b.ReportAllocs()
	i, events, slices := 0, time.Duration(0), 0
	t := time.Now()
	for b.Loop() {
		w.book.Observe(es[i%len(es)], false)
		// The yardstick takes turns with what it measures: the machine is shared.
		if i++; i%1000 == 0 {
			events += time.Since(t)
			yardstick()
			slices++
			t = time.Now()
		}
	}
	if slices > 0 && sum >= 0 {
		b.ReportMetric(float64(events)/float64(lookups), "x-lookup")
		b.ReportMetric(float64(events)/float64(1000*slices), "ns/event")
	}
}

func BenchmarkCompleteness(b *testing.B) {
	w, _ := knownEvents(b)
	p := w.book.records[w.book.Keys()[0]].p
	for b.Loop() {
		p.Completeness()
	}
}

// BenchmarkFlood is an attacker who makes up a new path with every event, in learn
// and in observe mode: what one such event costs the agent.
func BenchmarkFlood(b *testing.B) {
	for _, mode := range []Mode{Learn, Observe} {
		b.Run(mode.String(), func(b *testing.B) {
			w := newWorld(b, Config{})
			wl := typical(w, "web")
			p := w.process(wl, "/usr/bin/tool-b", nil)
			w.book.records[wl.Key()].mode = mode
			n := 0
			for b.Loop() {
				n++
				s := []byte(fmt.Sprint(n))
				for i := range s {
					s[i] += 'a' - '0'
				}
				w.book.Observe(w.open(wl, p, fmt.Sprintf("/etc/%s/%s", s, s), bollwerk.AccessWrite), false)
			}
		})
	}
}
