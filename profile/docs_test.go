package profile

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The page says what the code does: rules, categories, gates, bounds.
func TestThePageIsTrue(t *testing.T) {
	page := string(must(os.ReadFile("../docs/profiles.md")))
	g := DefaultGates()
	want := []string{
		fmt.Sprintf("| observed (replica-windows × 10 min) | %.0f h | %.0f days |", g.Observe.Observed.Hours(), g.Restrict.Observed.Hours()/24),
		fmt.Sprintf("| span between first and last event | %.0f h | %.0f days |", g.Observe.Span.Hours(), g.Restrict.Span.Hours()/24),
		fmt.Sprintf("| replicas / starts seen | %d / %d | %d / %d |", g.Observe.Replicas, g.Observe.Starts, g.Restrict.Replicas, g.Restrict.Starts),
		fmt.Sprintf("| next, at most | %g | %g |", g.Observe.Unseen, g.Restrict.Unseen),
		fmt.Sprintf("| share of starts that is unseen, at most | %.0f %% | %.0f %% |", 100*g.Observe.StartUnseen, 100*g.Restrict.StartUnseen),
		fmt.Sprintf("more than %d different ones in an hour", maxDeviations),
		fmt.Sprintf("(executables %d, writes %d, destinations %d, …)", caps[Executable], caps[Write], caps[Destination]),
		fmt.Sprintf("the %d most recently used stay in memory, %d on disk", Config{}.withDefaults().MaxProfiles, DefaultFiles),
		fmt.Sprintf("share %d MiB for their entries", Config{}.withDefaults().Memory>>20),
		fmt.Sprintf("learns nothing for %.0f minutes", Config{}.withDefaults().Hold.Minutes()),
		RuleFlood,
	}
	for _, r := range Rules() {
		want = append(want, strings.TrimPrefix(r, "profile-new"))
	}
	for _, c := range Categories() {
		w := c.String()
		if c == Syscall {
			w = "system call"
		}
		want = append(want, w)
	}
	for _, w := range want {
		if !strings.Contains(page, w) {
			t.Errorf("docs/profiles.md does not say %q", w)
		}
	}
	if len(behaviours) != 20 || !strings.Contains(page, "one of twenty things") {
		t.Errorf("%d behaviours", len(behaviours))
	}
}
