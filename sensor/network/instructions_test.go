package network

import (
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/sensor"
)

// measured work of a helper, how often, and how much dearer it may be with the sensor; 0:
// a connection costs 6 % more or less from one time to the next, by the ports it takes.
// What the programs themselves may spend on it, most of all, is repeatable (make bench-agent
// holds the whole to its bound): spentInside, without what counting adds to each run.
var measuredWork = []struct {
	name string
	n    int
	most float64
}{{"connect", 30, 0}, {"udp", 100, 1.12}, {"associate", 300, 0}, {"null", 10000, 1.01}}

var spentInside = map[string]float64{"connect": 1900, "udp": 1060}

// counting is about what the kernel adds to a run of a program that it counts.
const counting = 60

// spent asks a helper for the median cost of each kind of work.
func spent(t *testing.T, h *helper) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, w := range measuredWork {
		var runs []float64
		h.ok("spend %s %d", w.name, w.n)
		for range 31 {
			f, err := strconv.ParseFloat(h.ok("spend %s %d", w.name, w.n), 64)
			if err != nil {
				t.Fatal(err)
			}
			runs = append(runs, f)
		}
		slices.Sort(runs)
		out[w.name] = runs[len(runs)/2]
	}
	return out
}

// TestInstructions compares what work on the network costs with and without the
// programs. It means something only where the clock counts instructions (test/vm with
// -icount): elsewhere the times say more about the machine than about us.
func TestInstructions(t *testing.T) {
	if os.Getenv("BOLLWERK_INSTRUCTIONS") == "" {
		t.Skip("the clock of this machine does not count instructions")
	}
	places := []struct {
		name string
		h    *helper
	}{{"host", startHelper(t, 0)}, {"container", contained(t)}, {"restricted container", contained(t)}}
	var without []map[string]float64
	for _, p := range places {
		without = append(without, spent(t, p.h))
	}
	if os.Getenv("BOLLWERK_INSTRUCTIONS") == "floor" {
		floor(t, places[0].h)
	}
	w := newWatch(t, Config{})
	w.hold(places[1].h, sensor.Policy{Enforce: sensor.GuardMiner}) // as all containers by default
	counted := func(i int) {
		// What each program has to do with it; counting costs a little itself.
		stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
		if err != nil {
			t.Fatal(err)
		}
		defer stats.Close()
		for _, m := range measuredWork[:2] {
			// The least of some times: a tick of the clock within a run counts as part of it.
			least, lines := math.Inf(1), []string(nil)
			for range 3 {
				sum, said := 0.0, []string(nil)
				before := runs(t, w.source)
				places[i].h.ok("spend %s %d", m.name, m.n)
				after := runs(t, w.source)
				for _, name := range slices.Sorted(maps.Keys(after)) {
					n := float64(after[name].RunCount - before[name].RunCount)
					took := float64((after[name].Runtime - before[name].Runtime).Nanoseconds()) - n*counting
					sum += took / float64(m.n)
					if n > float64(m.n)/4 {
						said = append(said, fmt.Sprintf("%-12s runs %5.2f times, %6.0f instructions each", name, n/float64(m.n), took/n))
					}
				}
				if sum < least {
					least, lines = sum, said
				}
			}
			for _, l := range lines {
				t.Logf("%s, %s: %s", places[i].name, m.name, l)
			}
			t.Logf("%s, %s: %.0f instructions in programs", places[i].name, m.name, least)
			if most := spentInside[m.name]; i < 2 && least > most {
				t.Errorf("%s, %s: %.0f instructions in programs, want at most %.0f", places[i].name, m.name, least, most)
			}
		}
	}
	for i, p := range places {
		if i == 2 { // the hooks that such a policy needs are dearer for all
			w.hold(p.h, sensor.Policy{Enforce: sensor.GuardEgress | sensor.GuardIngress | sensor.GuardMiner,
				Egress:  []sensor.Peer{peer("10.0.0.0/8", 443, "tcp"), peer("192.168.0.0/16", 0, "")},
				Ingress: []sensor.Peer{peer("0.0.0.0/0", 80, "tcp")}})
		}
		with := spent(t, p.h)
		for _, m := range measuredWork {
			a, b := without[i][m.name], with[m.name]
			t.Logf("%s, %s: %.0f → %.0f instructions, ratio %.3f", p.name, m.name, a, b, b/a)
			if m.most > 0 && b/a > m.most && i < 2 {
				t.Errorf("%s, %s: %.3f times as dear, want at most %.2f", p.name, m.name, b/a, m.most)
			}
		}
		counted(i)
	}
}

// floor prints what a program that does nothing costs at each of the places.
func floor(t *testing.T, h *helper) {
	w := openWatch(t, Config{})
	unified := w.source.k.Unified
	w.sensor.Close()
	for _, a := range attach {
		if a.lazy {
			continue
		}
		before := spent(t, h)
		p, l := nothing(t, unified, a)
		got := spent(t, h)
		l.Close()
		p.Close()
		after := spent(t, h)
		for _, m := range measuredWork {
			t.Logf("nothing at %-12s: %s %+5.0f instructions (without it they differ by %+.0f)", a.program, m.name,
				got[m.name]-(before[m.name]+after[m.name])/2, after[m.name]-before[m.name])
		}
	}
}

func runs(t *testing.T, s *Source) map[string]*ebpf.ProgramStats {
	t.Helper()
	out := map[string]*ebpf.ProgramStats{}
	for name, p := range s.loaded.Programs {
		st, err := p.Stats()
		if err != nil {
			t.Fatal(err)
		}
		out[name] = st
	}
	return out
}

// nothing attaches a program without content.
func nothing(t *testing.T, cgroup string, a attachment) (*ebpf.Program, link.Link) {
	t.Helper()
	spec := &ebpf.ProgramSpec{License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, AttachType: a.to}
	switch a.to {
	case ebpf.AttachTraceRawTp:
		spec.Type, spec.AttachTo = ebpf.Tracing, "inet_sock_set_state"
		spec.Instructions[0] = asm.Mov.Imm(asm.R0, 0)
	case ebpf.AttachCGroupInetEgress, ebpf.AttachCGroupInetIngress:
		spec.Type = ebpf.CGroupSKB
	case ebpf.AttachCGroupInetSockCreate, ebpf.AttachCgroupInetSockRelease, ebpf.AttachCGroupInet4PostBind, ebpf.AttachCGroupInet6PostBind:
		spec.Type = ebpf.CGroupSock
	default:
		spec.Type = ebpf.CGroupSockAddr
	}
	p, err := ebpf.NewProgram(spec)
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", a.program, err))
	}
	var l link.Link
	if a.to == ebpf.AttachTraceRawTp {
		l, err = link.AttachTracing(link.TracingOptions{Program: p})
	} else {
		l, err = link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: a.to, Program: p})
	}
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", a.program, err))
	}
	return p, l
}
