package syscalls

import (
	"math/rand/v2"
	"time"
)

// startShare is the most of all time that windows for the starts of containers take,
// as a divisor: one part in twenty.
const startShare = 20

// schedule says when the program is attached. It knows no clock: the caller tells the time.
type schedule struct {
	window, every, start time.Duration
	random               func(n int64) int64 // in [0, n)

	until   time.Time     // end of the open window; in the past: none
	opens   time.Time     // of the next regular window
	slot    time.Time     // beginning of the slot after that
	credit  time.Duration // what starts may still take
	counted time.Time     // when credit was last added to
}

func newSchedule(c Config, now time.Time) *schedule {
	s := &schedule{window: c.Window, every: c.Every, start: c.Start, random: rand.Int64N, credit: c.Start, counted: now, slot: now}
	s.place()
	return s
}

// place puts the next regular window anywhere into the next slot: one who knows when
// the last window was does not know when to keep quiet.
func (s *schedule) place() {
	s.opens = s.slot
	if free := s.every - s.window; free > 0 {
		s.opens = s.slot.Add(time.Duration(s.random(int64(free))))
	}
	s.slot = s.slot.Add(s.every)
}

// step says whether a window is open now and when to ask again.
func (s *schedule) step(now time.Time) (open bool, again time.Time) {
	if !now.Before(s.opens) {
		if now.Sub(s.slot) > s.every {
			s.slot = now // the machine slept: what was missed is not made up for
		}
		s.extend(now, s.window)
		s.place()
	}
	if now.Before(s.until) {
		return true, earlier(s.until, s.opens)
	}
	return false, s.opens
}

// began opens a window for a container that starts, as far as there is credit.
func (s *schedule) began(now time.Time) {
	if d := now.Sub(s.counted); d > 0 {
		s.credit = min(s.credit+d/startShare, 2*s.start)
	}
	s.counted = now
	wanted := s.start
	if now.Before(s.until) {
		wanted -= s.until.Sub(now)
	}
	if wanted = min(wanted, s.credit); wanted < s.window/4 || wanted <= 0 {
		return // attaching alone costs something
	}
	s.credit -= wanted
	if s.until.Before(now) {
		s.until = now
	}
	s.until = s.until.Add(wanted)
}

func (s *schedule) extend(now time.Time, d time.Duration) {
	if end := now.Add(d); end.After(s.until) {
		s.until = end
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
