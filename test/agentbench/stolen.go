package main

import (
	"os"
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
