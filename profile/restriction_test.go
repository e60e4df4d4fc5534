package profile

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// TestRefusedIsTold: what a guard refused is a deviation as well, and the process of a
// refused start is the one that asked.
func TestRefusedIsTold(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	b, err := NewBook(Config{Node: "n", Now: func() time.Time { return now }, Gates: Gates{
		Observe:  Gate{Unseen: 1, StartUnseen: 1},
		Restrict: Gate{Unseen: 1, StartUnseen: 1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: 7, Container: &bollwerk.Container{ID: "1", Name: "web", Runtime: "docker"}}
	shell := &bollwerk.Process{PID: 5, Path: "/bin/sh", Cgroup: 7, Origin: bollwerk.OriginImage}
	event := func(e bollwerk.Event) *bollwerk.Event {
		e.Time, e.Workload = now, w
		if e.Process == nil {
			e.Process = shell
		}
		return &e
	}
	denied := func(e bollwerk.Event) *bollwerk.Event {
		e.Outcome, e.Result = bollwerk.Denied, 1
		return event(e)
	}
	cases := []struct {
		rule string
		e    bollwerk.Event
	}{
		{RuleExecutable, bollwerk.Event{Kind: bollwerk.EventExec, File: &bollwerk.FileEvent{Path: "/usr/bin/id", Access: bollwerk.AccessExec}}},
		{RuleWrite, bollwerk.Event{Kind: bollwerk.EventOpen, File: &bollwerk.FileEvent{Path: "/srv/x", Access: bollwerk.AccessWrite}}},
		{RuleWrite, bollwerk.Event{Kind: bollwerk.EventUnlink, File: &bollwerk.FileEvent{Path: "/srv/y"}}},
		{RuleRead, bollwerk.Event{Kind: bollwerk.EventOpen, File: &bollwerk.FileEvent{Path: "/etc/shadow", Access: bollwerk.AccessRead}}},
		{RulePort, bollwerk.Event{Kind: bollwerk.EventBind, Connection: &bollwerk.Connection{Protocol: "tcp", Local: netip.MustParseAddrPort("0.0.0.0:81")}}},
	}
	b.Observe(event(bollwerk.Event{Kind: bollwerk.EventExec, Outcome: bollwerk.Seen}), false)
	for _, c := range cases { // nothing that was refused is learned
		b.Observe(denied(c.e), false)
	}
	r := b.records[w.Key()]
	b.move(r, Observe, "test", "")
	for _, c := range cases {
		ds := b.Observe(denied(c.e), false)
		found := false
		for _, d := range ds {
			found = found || d.Rule == c.rule
		}
		if !found {
			t.Errorf("%s: not told by %s: %d detections", c.e.Kind, c.rule, len(ds))
		}
	}
	if ds := b.Observe(event(bollwerk.Event{Kind: bollwerk.EventOpen, Result: 13, File: &bollwerk.FileEvent{Path: "/srv/z", Access: bollwerk.AccessWrite}}), false); len(ds) != 0 {
		t.Errorf("a write that the system refused is told: %v", ds)
	}
}
