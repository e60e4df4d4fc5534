package main

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	fleetSize   = 200
	fleetOthers = 300 // plain processes besides
	fleetStarts = 5
	idleTime    = 30 * time.Second
)

// fleet measures the agent among many containers: how soon it is ready, what it holds in
// memory, how soon a detection is on its standard output, and what it does when nothing
// happens.
func fleet(b *bench) ([]row, error) {
	im, err := newImages(b.worker)
	if im != nil {
		defer im.close()
	}
	if err != nil {
		return nil, err
	}
	began := time.Now()
	boxes, err := im.many(fleetSize, b)
	defer closeAll(boxes)
	if err != nil {
		return nil, err
	}
	b.say("%d containers started in %s", len(boxes), time.Since(began).Round(time.Second))
	for range fleetOthers {
		cmd := exec.CommandContext(b.ctx, "busybox", "sleep", "3600")
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	}
	var out []row
	var ready, spent []time.Duration
	var a *agent
	var others []float64 // share of the machine, by start
	for i := range fleetStarts {
		o := watchOthers(0)
		if a, err = startAgent(b.agent, b.dir, nil, "--config", b.config); err != nil {
			return out, err
		}
		ready, spent, others = append(ready, a.ready), append(spent, a.cpu()), append(others, o.share(a.cpu()))
		if i+1 < fleetStarts {
			a.settle()
			if err := a.stop(); err != nil {
				return out, err
			}
		}
	}
	defer func() {
		if a != nil {
			_ = a.stop()
		}
	}()
	slices.Sort(ready)
	slices.Sort(spent)
	r := ready[len(ready)/2]
	out = append(out, row{fmt.Sprintf("ready, %d containers and %d processes more", fleetSize, fleetOthers), "≤ 1 s", ms(r), inTime(r <= time.Second, middle(others)),
		fmt.Sprintf("median of %d starts, %s to %s; %s of processor time, %s at the least; others had %.0f %% of the machine", len(ready), ms(ready[0]), ms(ready[len(ready)-1]), ms(spent[len(spent)/2]), ms(spent[0]), 100*middle(others))})
	a.settle()
	settled, _, _ := a.resident()
	quiet, err := idle(b, a)
	if err != nil {
		return out, err
	}
	out = append(out, quiet)
	late, err := delays(b, a, boxes)
	out = append(out, late...)
	if err != nil {
		return out, err
	}
	m1, err := a.meters()
	if err != nil {
		return out, err
	}
	now, peak, consists := a.resident()
	out = append(out, row{"resident memory, 200 containers", "≤ 48 MiB", mib(now), word(now <= 48<<20), fmt.Sprintf("%s when it had settled, %s at the most; MiB: %s, Go heap %.1f", mib(settled), mib(peak), consists, m1["bollwerk_agent_heap_bytes"]/(1<<20))})
	err = a.stop()
	a = nil
	return out, err
}

// idle is what the agent uses while nothing happens. The machine has other things to
// do, which the agent sees: only stretches with hardly an event count.
func idle(b *bench, a *agent) (row, error) {
	const window = 2 * time.Second
	var all, quiet []float64
	total := 0.0
	m, err := a.meters()
	if err != nil {
		return row{}, err
	}
	for range int(idleTime / window) {
		before, from := a.cpu(), time.Now()
		select {
		case <-time.After(window):
		case <-b.ctx.Done():
			return row{}, b.ctx.Err()
		}
		share := float64(a.cpu()-before) / float64(time.Since(from))
		now, err := a.meters()
		if err != nil {
			return row{}, err
		}
		n := eventsOf(now) - eventsOf(m)
		m = now
		total += n
		all = append(all, share)
		if n <= 10 {
			quiet = append(quiet, share)
		}
	}
	r := row{"processor at idle", "≤ 1 % of a core", "", noisy, fmt.Sprintf("%d of %d stretches of %s without other work; %.2f %% over all %s with %.0f events", len(quiet), len(all), window, 100*mean(all), idleTime, total)}
	if len(quiet) >= 3 {
		r.measured, r.holds = fmt.Sprintf("%.2f %%", 100*mean(quiet)), word(mean(quiet) <= 0.01)
	} else if r.measured = fmt.Sprintf("%.2f %%", 100*mean(all)); mean(all) <= 0.01 {
		r.holds = yes
	}
	return r, nil
}

func mean(v []float64) (m float64) {
	for _, x := range v {
		m += x / float64(len(v))
	}
	return m
}

func eventsOf(m map[string]float64) (n float64) {
	for name, v := range m {
		if strings.HasPrefix(name, eventsMeter) {
			n += v
		}
	}
	return n
}

const eventsMeter = "bollwerk_agent_events_total{"

// delays has each container start a program that a rule speaks about, and compares the
// time before with the one when the line about it had been read.
func delays(b *bench, a *agent, boxes []*workload) ([]row, error) {
	began := map[string]time.Time{}
	taken := watchStolen()
	others := watchOthers(a.cpu())
	for _, w := range boxes {
		s, err := w.do("run", 1, "/usr/bin/nsenter", "exit")
		if err != nil {
			return nil, err
		}
		began[w.id] = time.Unix(0, s.began)
		// Over more than a minute, so that what the agent does once in a while is met too.
		time.Sleep(311 * time.Millisecond)
	}
	all := a.await(20*time.Second, func() bool {
		n := 0
		for id := range began {
			if _, ok := a.seen[id]; ok {
				n++
			}
		}
		return n == len(began)
	})
	stolen, busy := taken(), others.share(a.cpu())
	a.mu.Lock()
	defer a.mu.Unlock()
	var took, own []time.Duration // own: of those of whose time nothing was taken
	late, excused := 0, 0
	for id, at := range began {
		if s, ok := a.seen[id]; ok {
			d := s.at.Sub(at)
			took = append(took, d)
			taken := stolen.between(at, s.at) > 0
			if !taken {
				own = append(own, d)
			}
			if d > 50*time.Millisecond {
				late++
				if taken {
					excused++
				}
			}
		}
	}
	if len(took) == 0 {
		return nil, errors.New("no container's attack was told")
	}
	slices.Sort(took)
	slices.Sort(own)
	undisturbed := "none"
	if len(own) > 0 {
		undisturbed = fmt.Sprintf("%s of %d", ms(own[(len(own)*99+99)/100-1]), len(own))
	}
	p99 := took[(len(took)*99+99)/100-1]
	holds := word(all)
	if all {
		holds = inTime(p99 <= 50*time.Millisecond, busy)
	}
	if holds == no && all && late == excused && len(own) > 0 {
		holds = noisy // each late one fell into time that nobody here had
	}
	return []row{{"event to detection on stdout, p99", "≤ 50 ms", ms(p99), holds,
		fmt.Sprintf("%d of %d told; median %s, 90 %% within %s, most %s; the start of the program is in it; %d beyond 50 ms, at %d of which the machine below had taken a processor away (%s in all); p99 of those without: %s; others had %.0f %% of the machine",
			len(took), len(began), ms(took[len(took)/2]), ms(took[len(took)*9/10]), ms(took[len(took)-1]), late, excused, stolen.all(), undisturbed, 100*busy)}}, nil
}

// many containers, four at a time.
func (im *images) many(n int, b *bench) ([]*workload, error) {
	var mu sync.Mutex
	var all []*workload
	var problem error
	var wg sync.WaitGroup
	room := make(chan struct{}, 4)
	for range n {
		room <- struct{}{}
		mu.Lock()
		stop := problem != nil || b.ctx.Err() != nil
		mu.Unlock()
		if stop {
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			w, err := im.withRunc()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				problem = err
				return
			}
			all = append(all, w)
		})
	}
	wg.Wait()
	return all, errors.Join(problem, b.ctx.Err())
}

func closeAll(ws []*workload) {
	room := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for _, w := range ws {
		room <- struct{}{}
		wg.Go(func() { defer func() { <-room }(); w.close() })
	}
	wg.Wait()
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/1e6) }

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
