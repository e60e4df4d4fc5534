package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sort"
	"syscall"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/workload"
)

// Status is what a running agent says of itself and its node.
type Status struct {
	Version   string           `json:"version"`
	Node      string           `json:"node"`
	Since     time.Time        `json:"since"`
	Verdict   bollwerk.Verdict `json:"verdict"`
	Causes    []string         `json:"causes"`
	Areas     []Area           `json:"areas"`
	Rules     int              `json:"rules"`
	Workloads []WorkloadStatus `json:"workloads"`
	// Sources are the runtimes that containers are known from; not_evaluated: not on this machine.
	Sources []workload.SourceStatus `json:"sources"`
	// Addresses says how many addresses of workloads are known.
	Addresses workload.AddressStats `json:"addresses"`
	// Missed counts containers since the start.
	Missed MissedStatus `json:"missed"`
}

// MissedStatus says how well containers could be named.
type MissedStatus struct {
	Vanished   uint64 `json:"vanished"`   // gone before they could be named
	Evicted    uint64 `json:"evicted"`    // forgotten for want of room
	Unresolved uint64 `json:"unresolved"` // named with less than there should be
	Forged     uint64 `json:"forged"`     // names that no runtime stands by
	Pending    int    `json:"pending"`    // not named in full yet
}

// WorkloadStatus is one workload with what is known and done about it.
type WorkloadStatus struct {
	Name     string           `json:"name"`
	Key      string           `json:"key"`
	Kind     string           `json:"kind"`
	Verdict  bollwerk.Verdict `json:"verdict"`
	Causes   []string         `json:"causes,omitempty"`
	Since    time.Time        `json:"since"`
	Last     time.Time        `json:"last"`
	Events   uint64           `json:"events"`
	Enforced string           `json:"enforced,omitempty"` // guards
	Reported string           `json:"reported,omitempty"`
	Mode     string           `json:"mode,omitempty"`
	// ReportedOnly is what its profile says in restrict mode and nothing here can hold it to.
	ReportedOnly []string `json:"reported_only,omitempty"`
	// Watched: its files are looked at.
	Watched bool `json:"watched"`
}

// Status of the agent now.
func (a *Agent) status() *Status {
	s := &Status{Version: a.p.Version, Node: a.c.Node, Since: a.began, Rules: a.rules.len(), Areas: Areas(a.sensor.Capabilities()), Causes: []string{}, Workloads: []WorkloadStatus{}}
	n := a.resolver.Stats()
	s.Sources = a.resolver.Sources()
	s.Addresses = a.peers.stats()
	s.Missed = MissedStatus{Vanished: n.Vanished, Evicted: n.Evicted, Unresolved: n.Unresolved, Forged: n.Forged, Pending: n.Pending}
	var causes []string
	var profiles []string // their keys
	s.Verdict, causes = a.verdict()
	s.Causes = append(s.Causes, causes...)
	a.mu.Lock()
	for _, k := range a.workloads {
		if !k.ended.IsZero() {
			continue
		}
		w := WorkloadStatus{Name: k.w.String(), Key: k.w.Key(), Kind: string(k.w.Kind), Since: k.first, Last: k.last, Events: k.events, Watched: k.watched}
		set := a.guarding.set(k.w)
		if why := a.guarding.refusal(k.w, time.Now()); why != "" {
			w.Causes = []string{why}
		}
		w.Enforced, w.Reported, w.ReportedOnly = set.enforce.String(), set.report.String(), set.only
		s.Workloads = append(s.Workloads, w)
		profiles = append(profiles, profile.Key(k.w))
	}
	a.mu.Unlock()
	for i := range s.Workloads {
		w := &s.Workloads[i]
		v, causes := a.ledger.verdict(w.Key)
		if w.Verdict = v; len(w.Causes) > 0 {
			w.Verdict = bollwerk.Degraded
		}
		w.Causes = append(w.Causes, causes...)
		w.Mode = a.profiles.mode(profiles[i])
		if w.Mode == profile.Restrict.String() && w.Kind != string(bollwerk.WorkloadContainer) {
			w.ReportedOnly = []string{onlyContainers}
		}
	}
	sort.Slice(s.Workloads, func(i, j int) bool { return s.Workloads[i].Name < s.Workloads[j].Name })
	return s
}

// serveControl answers the agent's own commands on a socket that only root may use.
func (a *Agent) serveControl(ctx context.Context) error {
	l, err := listenControl(a.c.Socket)
	if err != nil {
		a.setTrouble("control", fmt.Sprintf("commands cannot reach the running agent: %v", err))
		a.log.Error("control socket", "error", err)
		return nil
	}
	defer os.Remove(a.c.Socket)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.status(), nil) })
	mux.HandleFunc("POST /release", func(w http.ResponseWriter, r *http.Request) { answer(w, a.guarding.releaseAll(), nil) })
	a.profiles.serve(mux)
	return serve(ctx, l, mux)
}

func (a *Agent) setTrouble(part, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if why == "" {
		delete(a.trouble, part)
		return
	}
	a.trouble[part] = why
}

func listenControl(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("%s: another agent is running; stop it first, or choose another socket", path)
	}
	if fi, err := os.Lstat(path); err == nil && fi.Mode()&os.ModeSocket != 0 {
		_ = os.Remove(path) // left behind by an agent that was killed
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		v = map[string]string{"error": err.Error()}
	}
	_ = json.NewEncoder(w).Encode(v)
}

// Ask sends a command to the running agent. ErrNotRunning when there is none.
func Ask(ctx context.Context, socket, method, path string, out any) error {
	return Send(ctx, socket, method, path, nil, out)
}

// Send is Ask with a body.
func Send(ctx context.Context, socket, method, path string, body []byte, out any) error {
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("%s: only root may speak with the agent; run this as root", socket)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTSOCK):
		return fmt.Errorf("%w: nobody listens at %s", ErrNotRunning, socket)
	case err != nil:
		return fmt.Errorf("%s: %w", socket, errors.Unwrap(err))
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		var e struct{ Error string }
		if json.NewDecoder(res.Body).Decode(&e) != nil || e.Error == "" {
			e.Error = res.Status
		}
		return errors.New(e.Error)
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// ErrNotRunning: nobody listens on the control socket.
var ErrNotRunning = errors.New("no agent is running")
