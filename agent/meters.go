package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// meters are the agent's numbers for Prometheus, all named bollwerk_agent_….
type meters struct {
	set         *metrics.Set
	kinds       [bollwerk.EventKinds]*metrics.Counter
	excepted    *metrics.Counter
	unprotected *metrics.Counter
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

// serveMetrics answers /metrics, /healthz (alive) and /readyz with the verdict.
func (a *Agent) serveMetrics(ctx context.Context) error {
	l, err := net.Listen("tcp", a.c.Metrics)
	if err != nil {
		return fmt.Errorf("%w; choose another address with metrics: or --metrics", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		a.metrics.set.WritePrometheus(w)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		v, causes := a.verdict()
		fmt.Fprintln(w, v)
		for _, c := range causes {
			fmt.Fprintln(w, c)
		}
	})
	return serve(ctx, l, mux)
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
