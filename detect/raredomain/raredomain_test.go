package raredomain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/raredomain"
)

// day is a day of a service that knows what it wants.
func day(s *detecttest.Story, p *bollwerk.Process, hours int) {
	for i := 0; i < hours; i++ {
		for _, n := range []string{"api.stripe.com", "hooks.slack.com", "sentry.io", "db.shop.svc.cluster.local"} {
			s.Ask(p, n, "A", "", 0)
		}
		s.Wait(time.Hour)
	}
}

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	w := detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4")
	begin := func() (*detecttest.Story, *bollwerk.Process) {
		s := detecttest.New(w)
		p := s.Exec(nil, "/usr/local/bin/node /app/server.js")
		day(s, p, 26)
		return s, p
	}
	s, p := begin()
	c := s.Exec(s.Exec(p, "/usr/bin/dash=sh -c x"), "/tmp/.x/agentd", detecttest.From(bollwerk.OriginCreated))
	s.Ask(c, "control.attacker.net", "A", "NOERROR", 90)
	m["attack-new-program"] = s

	s, p = begin()
	s.Ask(p, "exfil.attacker.net", "A", "NOERROR", 90)
	m["attack-known-program"] = s

	s, p = begin()
	day(s, p, 5)
	m["benign-steady"] = s

	s = detecttest.New(detecttest.Pod("shop", "crawler", "app", "example/crawler:2"))
	p = s.Exec(nil, "/app/crawler")
	for i := 0; i < 120; i++ {
		s.Ask(p, fmt.Sprintf("www.site%d.com", i), "A", "", 0)
		s.Wait(15 * time.Minute)
	}
	m["benign-crawler"] = s

	s, p = begin()
	ap := s.Exec(p, "/usr/bin/apt-get update")
	ht := s.Exec(ap, "/usr/lib/apt/methods/http")
	s.Ask(ht, "deb.mirror.example", "A", "NOERROR", 100)
	m["benign-apt-in-a-container"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	detecttest.Test(t, detecttest.Contract{
		New:   func() detect.Detector { return raredomain.New(raredomain.Config{}) },
		Least: bollwerk.SeverityLow,
		Once:  true,
		Want: map[string]detecttest.Want{
			"attack-new-program":   {Severity: bollwerk.SeverityMedium, Message: "for the first time", Mode: "observe"},
			"attack-known-program": {Severity: bollwerk.SeverityLow, Message: "attacker.net"},
		},
	})
}

// Replicas learn together: what one asked for is not rare for the other.
func TestReplicas(t *testing.T) {
	d := raredomain.New(raredomain.Config{Learn: time.Hour})
	one := detecttest.New(detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4"))
	day(one, one.Exec(nil, "/usr/local/bin/node"), 3)
	if got := detecttest.Run(t, d, one.Events); len(got) != 0 {
		t.Fatalf("told while learning: %s", got[0].Message)
	}
	w := *one.Workload
	c := *w.Container
	c.ID = "another"
	w.Container = &c
	two := detecttest.New(&w)
	two.Now = one.Now
	day(two, two.Exec(nil, "/usr/local/bin/node"), 1)
	if got := detecttest.Run(t, d, two.Events); len(got) != 0 {
		t.Errorf("told of what another replica asked for: %s", got[0].Message)
	}
}

// TestClock turns the clock by a day: learning is neither over at once nor begun anew, and
// what ran here for long is not new because it began "in the future".
func TestClock(t *testing.T) {
	for _, by := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		// After an hour of learning: nothing is rare yet.
		d := raredomain.New(raredomain.Config{})
		s := detecttest.New(detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4"))
		p := s.Exec(nil, "/usr/local/bin/node")
		day(s, p, 1)
		s.Wait(by)
		for i := range 4 {
			s.Ask(p, fmt.Sprintf("api.later%d.com", i), "A", "", 0)
			s.Wait(time.Minute)
		}
		if got := detecttest.Run(t, d, s.Events); len(got) != 0 {
			t.Errorf("clock turned by %s: told after an hour of learning: %s", by, got[0].Message)
		}
		// After two days of it all goes on as before.
		d = raredomain.New(raredomain.Config{})
		s = detecttest.New(detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4"))
		p = s.Exec(nil, "/usr/local/bin/node")
		day(s, p, 48)
		tool := s.Exec(p, "/usr/bin/tool")
		s.Wait(by)
		day(s, p, 2)
		if got := detecttest.Run(t, d, s.Events); len(got) != 0 {
			t.Fatalf("clock turned by %s: %s", by, got[0].Message)
		}
		s.Events = nil
		s.Ask(tool, "control.attacker.net", "A", "", 0)
		got := detecttest.Run(t, d, s.Events)
		if len(got) != 1 || got[0].Severity != bollwerk.SeverityLow {
			t.Errorf("clock turned by %s: %d detections of a program that ran two hours before: %+v", by, len(got), got)
		}
	}
}
