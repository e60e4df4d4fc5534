package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/workload"
)

// meters are the agent's numbers for Prometheus, all named bollwerk_agent_….
type meters struct {
	set         *metrics.Set
	kinds       [bollwerk.EventKinds]*metrics.Counter
	excepted    *metrics.Counter
	unprotected *metrics.Counter
	late        *metrics.Counter
	judged      *metrics.Summary
	delay       *metrics.Summary
	mu          sync.Mutex
	rules       map[string]bool // bounded set of label values
}

func newMeters(a *Agent) *meters {
	m := &meters{set: metrics.NewSet(), rules: map[string]bool{}}
	for k := range m.kinds {
		m.kinds[k] = m.set.NewCounter(fmt.Sprintf(`bollwerk_agent_events_total{kind=%q}`, bollwerk.EventKind(k)))
	}
	m.excepted = m.set.NewCounter("bollwerk_agent_detections_excepted_total")
	m.unprotected = m.set.NewCounter("bollwerk_agent_workloads_not_protected_total")
	m.late = m.set.NewCounter("bollwerk_agent_peers_refused_total")
	for name, of := range map[string]func(workload.AddressStats) float64{
		"known": func(s workload.AddressStats) float64 { return float64(s.Addresses) }, "shared": func(s workload.AddressStats) float64 { return float64(s.Ambiguous) },
		"dropped": func(s workload.AddressStats) float64 { return float64(s.Dropped) },
	} {
		m.set.NewGauge(fmt.Sprintf(`bollwerk_agent_addresses{state=%q}`, name), func() float64 { return of(a.peers.stats()) })
	}
	m.judged = m.set.NewSummary("bollwerk_agent_judge_seconds")
	m.delay = m.set.NewSummary("bollwerk_agent_detection_delay_seconds")
	for _, area := range []string{"ring", "map", "queue", "recorder", "container", "truncated", "busy"} {
		m.set.NewGauge(fmt.Sprintf(`bollwerk_agent_lost_total{area=%q}`, area), func() float64 { return float64(a.ledger.total(area)) })
	}
	for name, of := range map[string]func(workload.Stats) uint64{
		"vanished": func(s workload.Stats) uint64 { return s.Vanished }, "evicted": func(s workload.Stats) uint64 { return s.Evicted },
		"unresolved": func(s workload.Stats) uint64 { return s.Unresolved }, "forged": func(s workload.Stats) uint64 { return s.Forged },
		"pending": func(s workload.Stats) uint64 { return uint64(s.Pending) },
	} {
		m.set.NewGauge(fmt.Sprintf(`bollwerk_agent_containers{state=%q}`, name), func() float64 { return float64(of(a.resolver.Stats())) })
	}
	m.set.NewGauge("bollwerk_agent_runtimes_degraded", func() (n float64) {
		for _, s := range a.resolver.Sources() {
			if s.Verdict == bollwerk.Degraded {
				n++
			}
		}
		return n
	})
	m.set.NewGauge("bollwerk_agent_queue_length", func() float64 { return float64(len(a.queue.ch)) })
	m.set.NewGauge("bollwerk_agent_degradation_level", func() float64 { return float64(a.queue.level()) })
	m.set.NewGauge("bollwerk_agent_workloads", func() float64 { return float64(a.living()) })
	m.set.NewGauge("bollwerk_agent_degraded", func() float64 {
		if v, _ := a.verdict(); v != bollwerk.Pass {
			return 1
		}
		return 0
	})
	m.set.NewGauge("bollwerk_agent_heap_bytes", func() float64 {
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		return float64(ms.HeapAlloc)
	})
	m.set.NewGauge("bollwerk_agent_recorder_bytes", func() float64 {
		if a.recorder == nil {
			return 0
		}
		return float64(a.recorder.Status().Bytes)
	})
	m.set.NewGauge("bollwerk_agent_recorder_lost_total", func() float64 {
		if a.recorder == nil {
			return 0
		}
		return float64(a.recorder.Status().Lost)
	})
	m.set.NewGauge("bollwerk_agent_lines_lost_total", func() float64 { return float64(a.out.lost()) })
	return m
}

func (m *meters) event(e *bollwerk.Event) {
	if int(e.Kind) < len(m.kinds) {
		m.kinds[e.Kind].Add(int(min(max(1, e.Count), 1<<31)))
	}
}

// detection counts by rule, severity and outcome; rule ids are those of the files that
// were loaded, at most 4,096 of them become labels.
func (m *meters) detection(d *bollwerk.Detection) {
	rule := d.Rule
	m.mu.Lock()
	if !m.rules[rule] {
		if len(m.rules) >= 4096 {
			rule = "other"
		} else {
			m.rules[rule] = true
		}
	}
	m.mu.Unlock()
	m.set.GetOrCreateCounter(fmt.Sprintf(`bollwerk_agent_detections_total{rule=%q,severity=%q,outcome=%q}`, rule, d.Severity, d.Outcome)).Inc()
	if d.Count <= 1 {
		m.delay.Update(time.Since(d.Last).Seconds())
	}
}

// family says what the samples of one name are.
type family struct{ kind, help string }

// families are all names that the agent gives out.
func families() map[string]family {
	return map[string]family{
		"bollwerk_agent_events_total":                  {"counter", "Events judged, by kind; folded ones count as often as they happened."},
		"bollwerk_agent_detections_total":              {"counter", "Detections told, by rule, severity and outcome (denied, killed, seen)."},
		"bollwerk_agent_detections_excepted_total":     {"counter", "Detections that an exception kept quiet."},
		"bollwerk_agent_workloads_not_protected_total": {"counter", "Workloads whose guards could not be put in force at first."},
		"bollwerk_agent_peers_refused_total":           {"counter", "Connections to workloads that a profile names, refused at an address or port that its list does not have."},
		"bollwerk_agent_addresses":                     {"gauge", "Addresses of workloads: known now, claimed by several (told by address), and not kept for want of room since the start."},
		"bollwerk_agent_judge_seconds":                 {"summary", "Time to judge one event."},
		"bollwerk_agent_detection_delay_seconds":       {"summary", "Time from an event to its detection."},
		"bollwerk_agent_lost_total":                    {"counter", "What was lost, by where: ring, map, queue, recorder, container, truncated, busy. By workload: bollwerk-agent status."},
		"bollwerk_agent_containers":                    {"gauge", "Containers that were gone, forgotten, not named or forged names, and those waiting for a name."},
		"bollwerk_agent_runtimes_degraded":             {"gauge", "Container runtimes that cannot be asked, or only partly."},
		"bollwerk_agent_queue_length":                  {"gauge", "Events that wait to be judged."},
		"bollwerk_agent_degradation_level":             {"gauge", "How many steps of work were given up to stay within the memory; 0: none."},
		"bollwerk_agent_workloads":                     {"gauge", "Workloads that are running."},
		"bollwerk_agent_degraded":                      {"gauge", "1 when the verdict of the agent is not pass; bollwerk-agent status says why."},
		"bollwerk_agent_heap_bytes":                    {"gauge", "Bytes of live and not yet collected objects."},
		"bollwerk_agent_recorder_bytes":                {"gauge", "Size of the flight recorder on disk."},
		"bollwerk_agent_recorder_lost_total":           {"counter", "Events that the flight recorder could not keep."},
		"bollwerk_agent_lines_lost_total":              {"counter", "Lines of detections and events that could not be printed; bollwerk-agent status says why."},
	}
}

// write puts what each name means before its samples.
func (m *meters) write(w io.Writer) error {
	var text bytes.Buffer
	m.set.WritePrometheus(&text)
	known, out, last := families(), make([]byte, 0, text.Len()+4096), ""
	for line := range bytes.Lines(text.Bytes()) {
		name := string(line[:max(0, bytes.IndexAny(line, "{ "))])
		if _, is := known[name]; !is {
			if whole, cut := strings.CutSuffix(name, "_sum"); cut {
				name = whole
			} else if whole, cut := strings.CutSuffix(name, "_count"); cut {
				name = whole
			}
		}
		if f, is := known[name]; is && name != last {
			out = fmt.Appendf(out, "# HELP %s %s\n# TYPE %s %s\n", name, f.help, name, f.kind)
		}
		out, last = append(out, line...), name
	}
	_, err := w.Write(out)
	return err
}

// serveMetrics answers questions about the agent itself until the context ends.
func (a *Agent) serveMetrics(ctx context.Context) error {
	l, err := net.Listen("tcp", a.c.Metrics)
	if err != nil {
		return fmt.Errorf("%w; choose another address with metrics: or --metrics", err)
	}
	return serve(ctx, l, a.health())
}

// health answers /metrics; /readyz, 503 until what runs already is watched; and /healthz,
// 503 when the agent does not judge any more, which a new start may mend, and 200 else: with
// the verdict in the first line and a line for each cause. Degraded is no reason to end an
// agent: it would see and stop no more after a new start, and nothing meanwhile.
func (a *Agent) health() http.Handler {
	mux := http.NewServeMux()
	plain := func(w http.ResponseWriter, code int, lines ...string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(code)
		for _, l := range lines {
			fmt.Fprintln(w, terminal.Clean(l, 400)) // there may be names of strangers in it
		}
	}
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = a.metrics.write(w) // whoever asked went away
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !a.ready.Load() {
			plain(w, http.StatusServiceUnavailable, "not ready: what runs already is not watched yet")
			return
		}
		plain(w, http.StatusOK, "ready")
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if why := a.standsStill(); why != "" {
			plain(w, http.StatusServiceUnavailable, string(bollwerk.Fail), why)
			return
		}
		v, causes := a.verdict()
		plain(w, http.StatusOK, append([]string{string(v)}, causes...)...)
	})
	return mux
}

// serve answers until the context ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
