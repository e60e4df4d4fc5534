package syscalls

import (
	"math/rand/v2"
	"testing"
	"time"
)

// simulate runs a schedule by its own word for a span of invented time and returns how
// long windows were open. start says whether a container begins at a moment.
func simulate(s *schedule, now time.Time, span time.Duration, start func(time.Time) bool) (open time.Duration, windows int) {
	end := now.Add(span)
	was := false
	for now.Before(end) {
		if start != nil && start(now) {
			s.began(now)
		}
		is, again := s.step(now)
		if is && !was {
			windows++
		}
		was = is
		next := again
		if start != nil || next.Before(now.Add(time.Millisecond)) {
			next = earlier(next, now.Add(50*time.Millisecond))
			if !next.After(now) {
				next = now.Add(time.Millisecond)
			}
		}
		if is {
			open += next.Sub(now)
		}
		now = next
	}
	return open, windows
}

func fixed(c Config, now time.Time) *schedule {
	s := newSchedule(c.defaults(), now)
	r := rand.New(rand.NewPCG(1, 2))
	s.random = r.Int64N
	return s
}

var begin = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRegularWindowsTakeOnePercent(t *testing.T) {
	const span = 10 * time.Hour
	open, windows := simulate(fixed(Config{}, begin), begin, span, nil)
	if windows < 1780 || windows > 1801 {
		t.Errorf("%d windows in %v, want one in every 20 s", windows, span)
	}
	if duty := float64(open) / float64(span); duty > 0.0101 || duty < 0.0095 {
		t.Errorf("open for %.3f %% of the time, want 1 %%", duty*100)
	}
}

func TestWindowsCannotBeForeseen(t *testing.T) {
	s := fixed(Config{}, begin)
	gaps := map[time.Duration]bool{}
	last := s.opens
	for range 100 {
		if _, again := s.step(s.opens); again.Before(last) {
			t.Fatal("goes backwards")
		}
		gaps[s.opens.Sub(last).Round(100*time.Millisecond)] = true
		last = s.opens
	}
	if len(gaps) < 50 {
		t.Errorf("only %d different gaps between 100 windows", len(gaps))
	}
}

func TestStartsShareABudget(t *testing.T) {
	const span = time.Hour
	// A container starts twenty times a second.
	open, _ := simulate(fixed(Config{}, begin), begin, span, func(time.Time) bool { return true })
	if duty := float64(open) / float64(span); duty > 0.062 || duty < 0.03 {
		t.Errorf("open for %.2f %% of the time, want at most 5 %% for starts and 1 %% besides", duty*100)
	}
	// The first start gets its whole window, so do two after a quiet time, but not three.
	s := fixed(Config{}, begin)
	s.opens, s.slot = begin.Add(24*time.Hour), begin.Add(24*time.Hour)
	s.began(begin)
	if want := begin.Add(2 * time.Second); !s.until.Equal(want) {
		t.Errorf("first start: until %v, want %v", s.until, want)
	}
	at := begin.Add(time.Hour)
	for i, want := range []time.Duration{2 * time.Second, 2 * time.Second, 300 * time.Millisecond} {
		now := at.Add(time.Duration(i) * 3 * time.Second)
		s.began(now)
		if got := s.until.Sub(now); got != want {
			t.Errorf("start %d: open for %v, want %v", i, got, want)
		}
	}
}

func TestStartInAnOpenWindowExtendsIt(t *testing.T) {
	s := fixed(Config{}, begin)
	s.began(begin)
	before := s.credit
	s.began(begin.Add(time.Second))
	if s.credit >= before+time.Second || s.until.After(begin.Add(3*time.Second)) {
		t.Errorf("until %v, credit %v", s.until.Sub(begin), s.credit)
	}
}

func TestSleptThrough(t *testing.T) {
	s := fixed(Config{}, begin)
	woke := begin.Add(8 * time.Hour)
	open, _ := simulate(s, woke, time.Minute, nil)
	if open > time.Second {
		t.Errorf("after a sleep %v of the first minute are open", open)
	}
}

func TestDefaults(t *testing.T) {
	c := Config{Window: time.Minute, Every: time.Second}.defaults()
	if c.Window != time.Second || c.Start != 2*time.Second {
		t.Errorf("%+v", c)
	}
	s := newSchedule(c, begin) // no free time in a slot
	if open, _ := s.step(begin); !open {
		t.Error("closed")
	}
}
