package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	// The machine gets slower with each round, the same for both: the paired ratios do
	// not mind, and the fastest slices are those of the first round.
	s := series{}
	for i := range 9 {
		slow := float64(int(1) << i)
		s.off = append(s.off, []float64{100 * slow, 101 * slow, 500 * slow})
		s.on = append(s.on, []float64{110 * slow, 111.1 * slow, 112 * slow})
		s.own = append(s.own, []float64{10.1 * slow})
	}
	r := s.judge()
	if r.median < 1.0999 || r.median > 1.1001 || r.best != 1.1 || r.withWork < 1.1999 || r.withWork > 1.2001 || r.own < 161.59 || r.own > 161.61 || r.rounds != 9 {
		t.Errorf("%+v", r)
	}
}

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		median, best float64
		want         string
	}{{1.05, 1.2, yes}, {1.051, 1.051, no}, {1.3, 1.04, noisy}} {
		if got := (ratio{median: c.median, best: c.best}).holds(1.05); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestPrint(t *testing.T) {
	for holds, want := range map[string]int{yes: 0, missed: 0, "": 0, no: 1, unmeasured: 1, noisy: 0} {
		var out bytes.Buffer
		b := &bench{table: []row{{"thing", "≤ 1", "1", yes, ""}, {"other", "≤ 1", "2", holds, "why"}}}
		if got := b.print(&out); got != want || !strings.Contains(out.String(), "why") {
			t.Errorf("%q: %d, want %d\n%s", holds, got, want, &out)
		}
		// Nothing is left out in silence.
		if said := strings.Contains(out.String(), "too busy to say whether these hold"); said != (holds == noisy) {
			t.Errorf("%q:\n%s", holds, &out)
		}
	}
}

func TestLost(t *testing.T) {
	n, areas := lost(map[string]float64{`bollwerk_agent_lost_total{area="ring"}`: 3, `bollwerk_agent_lost_total{area="queue"}`: 0, `bollwerk_agent_events_total{kind="exec"}`: 9})
	if n != 3 || areas != "ring 3" {
		t.Errorf("%v %q", n, areas)
	}
}

// Each figure that the requirement bounds is in the list of works.
func TestWorks(t *testing.T) {
	var got []float64
	for _, w := range works(1.03, "") {
		got = append(got, w.bound)
	}
	if !slices.Equal(got, []float64{1.05, 1.05, 1.03, 1.05, 1.12, 1.01}) {
		t.Error(got)
	}
}

// A list of chosen things leaves out the others, and refuses what does not exist.
func TestChosen(t *testing.T) {
	var got []string
	for _, w := range works(1, "open,udp") {
		got = append(got, w.command)
	}
	if !slices.Equal(got, []string{"open", "udp"}) {
		t.Error(got)
	}
	if err := chosen("open,conect").check(operations()); err == nil || !strings.Contains(err.Error(), `"conect": not one of fork,`) {
		t.Error(err)
	}
	for _, c := range []chosen{"", "null", "fork,vfork"} {
		if err := c.check(operations()); err != nil {
			t.Errorf("%q: %v", c, err)
		}
	}
}

// Only where others keep the machine busy is a time that is too long no verdict.
func TestInTime(t *testing.T) {
	for _, c := range []struct {
		ok     bool
		others float64
		want   string
	}{{true, 0, yes}, {true, 0.9, yes}, {false, 0.1, no}, {false, 0.6, noisy}} {
		if got := inTime(c.ok, c.others); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	// What is counted is the machine's time, and what the agent used is none of the others'.
	o := watchOthers(0)
	time.Sleep(50 * time.Millisecond)
	if all, none := o.share(0), o.share(time.Hour); all < 0 || all > 1.5 || none != 0 {
		t.Errorf("%v of the machine, %v without the agent's", all, none)
	}
}
