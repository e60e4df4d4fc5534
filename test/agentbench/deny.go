package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/network"
)

// denials compares a connect that is refused with one that nobody looks at. The socket
// is one for datagrams: its connect sends nothing, so that the decision alone is timed.
func denials(b *bench) ([]row, error) {
	im, err := newImages(b.worker)
	if im != nil {
		defer im.close()
	}
	if err != nil {
		return nil, err
	}
	w, err := im.withRunc()
	if err != nil {
		return nil, err
	}
	defer w.close()
	const target, n = "127.0.0.9", 2000
	take := func(command string) ([]float64, error) {
		var v []float64
		for range 60 {
			s, err := w.do(command, n, target)
			if err != nil {
				return v, err
			}
			v = append(v, float64(s.cpu)/n)
		}
		return v, nil
	}
	var free, allowed, denied []float64
	for range 4 {
		v, err := take("allow")
		if err != nil {
			return nil, err
		}
		free = append(free, v...)
		if v, err = underPolicy(b.ctx, w, "127.0.0.0/8", func() ([]float64, error) { return take("allow") }); err != nil {
			return nil, err
		}
		allowed = append(allowed, v...)
		if v, err = underPolicy(b.ctx, w, "10.0.0.0/8", func() ([]float64, error) { return take("deny") }); err != nil {
			return nil, err
		}
		denied = append(denied, v...)
	}
	added := middle(denied) - middle(free)
	return []row{{"deny path, a refused connect", "+ ≤ 5 µs", fmt.Sprintf("%+.2f µs", added/1000), word(added <= 5000),
		fmt.Sprintf("%.2f µs refused, %.2f µs allowed by the policy, %.2f µs without; fastest %+.2f µs", middle(denied)/1000, middle(allowed)/1000, middle(free)/1000,
			(slices.Min(denied)-slices.Min(free))/1000)}}, nil
}

// underPolicy measures while the container may reach one network only.
func underPolicy(ctx context.Context, w *workload, network4 string, measure func() ([]float64, error)) ([]float64, error) {
	s, err := sensor.Open(ctx, sensor.Options{}, network.New(network.Config{}))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	path, id, err := group(w.pid, s.Kernel())
	if err != nil {
		return nil, err
	}
	err = s.Apply(&sensor.Policy{Cgroup: id, CgroupPath: path, PID: uint32(w.pid), Enforce: sensor.GuardEgress,
		Egress: []sensor.Peer{{Network: netip.MustParsePrefix(network4)}}})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(run, func(*bollwerk.Event) {}) }()
	v, err := measure()
	stop()
	<-done
	return v, err
}

// rules runs the matcher's own benchmark.
func rules(b *bench) ([]row, error) {
	cmd := exec.CommandContext(b.ctx, "go", "test", "-run=^$", "-bench=^BenchmarkMatcher$/^(usual|all|exec)$", "-benchtime=500ms", "./policy")
	cmd.Dir = b.root
	text, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	var out []row
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		name, ok := strings.CutPrefix(line, "BenchmarkMatcher/")
		if !ok || len(f) < 6 {
			continue
		}
		name, _, _ = strings.Cut(name, "-")
		value := func(unit string) float64 {
			if i := slices.Index(f, unit); i > 0 {
				if v, err := strconv.ParseFloat(f[i-1], 64); err == nil {
					return v
				}
			}
			return -1
		}
		runs, _ := strconv.ParseFloat(f[1], 64)
		v, allocs := value("best-ns/event"), value("allocs/op")
		r := row{"all shipped rules on one event, " + name, "≤ 2 µs, 0 allocations", fmt.Sprintf("%.2f µs, %.0f", v/1000, allocs),
			word(v >= 0 && v <= 2000 && allocs == 0), fmt.Sprintf("best of %.0f passes over the events of the rules' tests", runs)}
		if name == "exec" {
			r.bound, r.holds = "", ""
		}
		out = append(out, r)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no benchmark spoke: %s", text)
	}
	return out, nil
}

// group is the control group of a process in the hierarchy that the sensor uses.
func group(pid int, k *sensor.Kernel) (path string, id uint64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", 0, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		var st syscall.Stat_t
		if len(f) == 3 && f[2] != "/" && syscall.Stat(filepath.Join(k.CgroupRoot, f[2]), &st) == nil {
			return f[2], st.Ino, nil
		}
	}
	return "", 0, fmt.Errorf("process %d has no control group below %s", pid, k.CgroupRoot)
}
