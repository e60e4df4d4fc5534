package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

// TestDeniedDeeds: a sentence about what was refused does not say that it was done, whatever
// the process calls itself.
func TestDeniedDeeds(t *testing.T) {
	all, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	var own []*policy.Policy
	for _, p := range all {
		if p.Subject == policy.EventKind {
			own = append(own, p)
		}
	}
	r, err := newRules(own, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: "1", Name: "web", Runtime: "docker"}}
	p := &bollwerk.Process{PID: 7, Name: " wrote x", Path: "/usr/bin/x", Contained: true, Parent: &bollwerk.Process{PID: 6, Name: "bash", Contained: true}}
	setting := bollwerk.Event{Kind: bollwerk.EventSetting, Object: &bollwerk.Object{Name: "/proc/sys/kernel/core_pattern", Value: "|/x"}}
	drift := bollwerk.Event{Kind: bollwerk.EventExec}
	for _, tt := range []struct {
		rule, says string
		e          bollwerk.Event
		outcome    bollwerk.Outcome
	}{
		{"kernel-setting-from-container", " wrote /proc/sys/kernel/core_pattern", setting, bollwerk.Seen},
		{"kernel-setting-from-container", " tried to write /proc/sys/kernel/core_pattern", setting, bollwerk.Denied},
		{"kernel-setting-from-container", " wrote /proc/sys/kernel/core_pattern", setting, bollwerk.Killed}, // it was put back
		{"drift-execution", " was run by ", drift, bollwerk.Seen},
		{"drift-execution", " was to be run by ", drift, bollwerk.Denied},
		{"drift-execution", " was to be run by ", drift, bollwerk.Killed}, // before its first instruction
	} {
		e := tt.e
		e.Time, e.Workload, e.Outcome = time.Now(), w, tt.outcome
		process := *p
		process.Origin = bollwerk.OriginCreated
		e.Process = &process
		message := ""
		r.match(&e, func(d *bollwerk.Detection) {
			if d.Rule == tt.rule {
				message = d.Message
			}
		})
		if !strings.Contains(message, tt.says) || !strings.HasPrefix(message, "wrote x") && !strings.HasPrefix(message, "/usr/bin/x") {
			t.Errorf("%s %s: %q, want %q", tt.rule, tt.outcome, message, tt.says)
		}
	}
}
