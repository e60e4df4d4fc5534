package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bollwerk/bollwerk"
)

const burstSize = 200_000

// bursts makes 200,000 programs, connections and opens, a third of each, from two
// containers at once: with the defaults, where nothing may be lost, and with a ring that
// is far too small and every event printed, where what is lost must be counted.
func bursts(b *bench) ([]row, error) {
	small := filepath.Join(b.dir, "small.yaml")
	if err := os.WriteFile(small, []byte("ring: 64KiB\n"), 0o600); err != nil {
		return nil, err
	}
	var out []row
	for _, c := range []struct {
		what, config string
		args         []string
		everything   bool
	}{
		{"default", b.config, nil, true},
		// Printing is not the default: what it loses must be counted, and is told.
		{"default, every event printed", b.config, []string{"--events"}, false},
		{"ring of 64 KiB, every event printed", small, []string{"--events"}, false},
	} {
		if b.quick && !c.everything {
			continue
		}
		r, err := burst(b, c.what, c.config, c.everything, c.args...)
		out = append(out, r...)
		if err != nil {
			return out, fmt.Errorf("%s: %w", c.what, err)
		}
	}
	return out, nil
}

func burst(b *bench, what, config string, everything bool, args ...string) ([]row, error) {
	im, err := newImages(b.worker)
	if im != nil {
		defer im.close()
	}
	if err != nil {
		return nil, err
	}
	boxes, err := im.many(2, b)
	defer closeAll(boxes)
	if err != nil {
		return nil, err
	}
	groups := map[uint64]bool{}
	for _, w := range boxes {
		for _, id := range cgroups(w.pid) {
			groups[id] = true
		}
	}
	ours := func(e *bollwerk.Event) bool {
		return e.Workload != nil && e.Workload.Container != nil && (e.Workload.Container.ID == boxes[0].id || e.Workload.Container.ID == boxes[1].id)
	}
	var seen, ring, other atomic.Int64
	a, err := startAgent(b.agent, b.dir, func(e *bollwerk.Event) {
		if e.Kind == bollwerk.EventExec && ours(e) {
			seen.Add(int64(max(1, e.Count)))
		}
	}, append([]string{"--config", config}, args...)...)
	if err != nil {
		return nil, err
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = a.stop()
		}
	}()
	a.settle()
	before, err := a.meters()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var wg sync.WaitGroup
	problems := make(chan error, len(boxes))
	made := int64(0)
	for _, w := range boxes {
		n := burstSize / len(boxes)
		made += int64((n + 2) / 3)
		wg.Go(func() {
			if _, err := w.do("mixed", n, w.program, w.file); err != nil {
				problems <- err
			}
		})
	}
	wg.Wait()
	close(problems)
	for err := range problems {
		return nil, err
	}
	took := time.Since(began)
	// The sensor tells its losses once a second.
	time.Sleep(1500 * time.Millisecond)
	a.settle()
	after, err := a.meters()
	if err != nil {
		return nil, err
	}
	stopped = true
	if err := a.stop(); err != nil {
		return nil, err
	}
	// The record has the losses by kind and workload.
	err = b.recall(a.state, "loss", func(e *bollwerk.Event) {
		switch l := e.Loss; {
		case l == nil || l.Kind != bollwerk.EventExec || l.Area != "ring":
		case groups[l.Cgroup]:
			ring.Add(int64(l.Count))
		case l.Cgroup == 0:
			other.Add(int64(l.Count))
		}
	})
	if err != nil {
		return nil, err
	}
	l0, _ := lost(before)
	l1, areas := lost(after)
	n := l1 - l0
	queue := after[`bollwerk_agent_lost_total{area="queue"}`] - before[`bollwerk_agent_lost_total{area="queue"}`]
	note := fmt.Sprintf("%.0f things a second", burstSize/took.Seconds())
	if areas != "" {
		note += "; " + areas
	}
	var out []row
	if everything {
		out = append(out, row{"burst of 200,000: lost, " + what, "0", fmt.Sprintf("%.0f", n), word(n == 0), note})
	} else {
		out = append(out, row{what: "burst of 200,000: lost, " + what, measured: fmt.Sprintf("%.0f", n), note: note})
	}
	if len(args) == 0 {
		execs := after[eventsMeter+`kind="exec"}`] - before[eventsMeter+`kind="exec"}`]
		return append(out, row{"burst of 200,000: starts in the metrics, " + what, fmt.Sprintf("≥ %d", made), fmt.Sprintf("%.0f", execs), word(execs >= float64(made)), "of the whole machine"}), nil
	}
	sum := seen.Load() + ring.Load()
	r := row{"burst of 200,000: starts seen + lost, " + what, fmt.Sprintf("%d", made), fmt.Sprintf("%d", sum), word(sum == made),
		fmt.Sprintf("%d seen, %d counted as lost; %s", seen.Load(), ring.Load(), note)}
	// What the agent's queue gives up and what no workload is named for is not told by
	// kind, or not by workload: the sum then lies between two numbers.
	if slack := int64(queue) + other.Load(); slack > 0 && sum < made && sum+slack >= made {
		r.holds, r.note = unmeasured, r.note+fmt.Sprintf("; %d more were lost of other or unnamed kinds or workloads", slack)
	}
	return append(out, r), nil
}

// cgroups of a process, by inode number of their folders, in all hierarchies.
func cgroups(pid int) (ids []uint64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for _, root := range append(strings.Split(f[1], ","), "", "unified") {
			var st syscall.Stat_t
			if syscall.Stat(filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(root, "name="), f[2]), &st) == nil {
				ids = append(ids, st.Ino)
			}
		}
	}
	return ids
}

// recall reads what the agent recorded.
func (b *bench) recall(state, kind string, each func(*bollwerk.Event)) error {
	cmd := exec.CommandContext(b.ctx, b.agent, "recall", "--json", "--state", state, "--kind", kind)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			break
		}
		e := &bollwerk.Event{}
		if json.Unmarshal(line, e) == nil {
			each(e)
		}
	}
	// 5 says that the record names losses, which is what is asked for.
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 5 {
		return fmt.Errorf("recall: %w", err)
	}
	return nil
}
