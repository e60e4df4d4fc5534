package agent

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// asked is what an agent answers over HTTP.
func asked(t *testing.T, a *Agent, path string) (code int, lines []string) {
	t.Helper()
	w := httptest.NewRecorder()
	a.health().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, strings.Split(strings.TrimRight(string(b), "\n"), "\n")
}

// TestHealth: the answer says how well the agent sees, and only that it does not judge any
// more is a reason to start it anew.
func TestHealth(t *testing.T) {
	a, _ := judging(t)
	healthy := func(want string) (causes []string) {
		t.Helper()
		code, lines := asked(t, a, "/healthz")
		_, metrics := asked(t, a, "/metrics")
		gauge := map[string]string{"pass": "bollwerk_agent_degraded 0", "degraded": "bollwerk_agent_degraded 1"}[want]
		if code != http.StatusOK || lines[0] != want || !slices.Contains(metrics, gauge) {
			t.Errorf("%d %q, want %s and %s", code, lines, want, gauge)
		}
		return lines[1:]
	}
	if causes := healthy("pass"); len(causes) != 0 {
		t.Errorf("%q", causes)
	}
	if code, lines := asked(t, a, "/readyz"); code != http.StatusServiceUnavailable || !strings.HasPrefix(lines[0], "not ready") {
		t.Errorf("before it is ready: %d %q", code, lines)
	}
	a.ready.Store(true)
	if code, lines := asked(t, a, "/readyz"); code != http.StatusOK || lines[0] != "ready" {
		t.Errorf("%d %q", code, lines)
	}
	// Each cause is a line, whatever stands in it.
	a.setTrouble("b", "a name\x1b[31m\nof a stranger")
	a.setTrouble("a", "profiles are not saved: no space left on device")
	at := time.Now()
	a.ledger.add("", bollwerk.Loss{From: at, To: at, Count: 312, Area: "ring"})
	causes := healthy("degraded")
	if len(causes) != 3 || causes[0] != "profiles are not saved: no space left on device" || strings.ContainsAny(causes[1], "\x1b\r") || !strings.HasPrefix(causes[1], "a name") || !strings.HasPrefix(causes[2], "312 events lost") {
		t.Errorf("%q", causes)
	}
	a.setTrouble("a", "")
	a.setTrouble("b", "")
	if causes := healthy("degraded"); len(causes) != 1 {
		t.Errorf("%q", causes)
	}
	for _, path := range []string{"/", "/status", "/debug/pprof/", "/healthz/x"} {
		if code, _ := asked(t, a, path); code != http.StatusNotFound {
			t.Errorf("%s: %d", path, code)
		}
	}
	w := httptest.NewRecorder()
	a.health().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/healthz", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

// TestHealthOfAJudgementThatStandsStill: nothing is judged while a reader of detections, say,
// holds the judgement; that is said as long as it lasts.
func TestHealthOfAJudgementThatStandsStill(t *testing.T) {
	a, _ := judging(t)
	awaitPulse := func() {
		t.Helper()
		before := a.pulse.Load()
		for deadline := time.Now().Add(time.Minute); a.pulse.Load() == before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the judgement does not turn")
			}
		}
	}
	// Its own ticks are enough: no event comes.
	awaitPulse()
	// What is given to it now it cannot take: the lock that each event needs is held.
	a.mu.Lock()
	a.queue.put(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen, Workload: &bollwerk.Workload{Kind: bollwerk.WorkloadHost}})
	for deadline := time.Now().Add(time.Minute); len(a.queue.ch) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the event is not taken")
		}
	}
	a.pulse.Add(-int64(2 * stillTime)) // which a test does not wait for
	code, lines := asked(t, a, "/healthz")
	a.mu.Unlock()
	if code != http.StatusServiceUnavailable || lines[0] != "fail" || len(lines) != 2 || !strings.HasPrefix(lines[1], "the judgement stands still for 2m") {
		t.Errorf("%d %q", code, lines)
	}
	awaitPulse()
	if code, lines := asked(t, a, "/healthz"); code != http.StatusOK {
		t.Errorf("it turns again: %d %q", code, lines)
	}
}
