package main

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// stolen is when the machine below a virtual one took its processors away: no program of
// this one could run then, whatever it did.
type stolen []theft

type theft struct {
	at  time.Time // it was noticed
	sum time.Duration
}

const (
	stolenEvery = 10 * time.Millisecond // as finely as the kernel counts
	tick        = 10 * time.Millisecond // USER_HZ
)

// watchStolen looks until the returned function is called.
func watchStolen() func() stolen {
	stop, done := make(chan struct{}), make(chan stolen)
	go func() {
		var out stolen
		last := stolenTime()
		t := time.NewTicker(stolenEvery)
		defer t.Stop()
		for {
			select {
			case <-stop:
				done <- out
				return
			case <-t.C:
				if now := stolenTime(); now != last {
					out = append(out, theft{time.Now(), now - last})
					last = now
				}
			}
		}
	}()
	return func() stolen { close(stop); return <-done }
}

// stolenTime is the sum over all processors since the start of the machine.
func stolenTime() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 9 {
		return 0
	}
	n, _ := strconv.ParseUint(f[8], 10, 63)
	return time.Duration(n) * tick
}

// between is how much was taken in a stretch of time; what was noticed just after it counts.
func (s stolen) between(from, to time.Time) (sum time.Duration) {
	i, _ := slices.BinarySearchFunc(s, from, func(t theft, at time.Time) int { return t.at.Compare(at) })
	for ; i < len(s) && !s[i].at.After(to.Add(2*stolenEvery)); i++ {
		sum += s[i].sum
	}
	return sum
}

func (s stolen) all() (sum time.Duration) {
	for _, t := range s {
		sum += t.sum
	}
	return sum
}

// strangers is what others than the agent made the processors do.
type strangers struct {
	at   time.Time
	busy time.Duration
}

// busyOthers is how much of the machine (0 to 1) others may use before an elapsed time that is
// too long says more about them than about the agent.
const busyOthers = 0.25

// watchOthers begins to look; agent is what the agent has used by now, 0 before it is started.
func watchOthers(agent time.Duration) strangers { return strangers{time.Now(), busyTime() - agent} }

// share of the machine since then.
func (o strangers) share(agent time.Duration) float64 {
	elapsed := time.Since(o.at) * time.Duration(runtime.NumCPU())
	return max(0, float64(busyTime()-agent-o.busy)/float64(elapsed))
}

// busyTime is the sum over all processors since the start of the machine, what the machine
// below took with it.
func busyTime() (sum time.Duration) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		switch i { // user, nice, system; irq, softirq, steal: proc_stat(5). Guests are in user.
		case 1, 2, 3, 6, 7, 8:
			n, _ := strconv.ParseUint(f, 10, 63)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// inTime is the word about an elapsed time: too long a one on a machine that others keep busy
// proves nothing.
func inTime(ok bool, others float64) string {
	if !ok && others > busyOthers {
		return noisy
	}
	return word(ok)
}
