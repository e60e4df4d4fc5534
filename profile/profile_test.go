package profile

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// A small world: containers of one deployment, and a clock the test moves.
type world struct {
	t    testing.TB
	now  time.Time
	book *Book
	n    uint64
}

var epoch = time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, c Config) *world {
	t.Helper()
	w := &world{t: t, now: epoch}
	c.Now = func() time.Time { return w.now }
	b, err := NewBook(c)
	if err != nil {
		t.Fatal(err)
	}
	w.book = b
	return w
}

const digestA, digestB = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

// container starts a replica of shop/Deployment/name now.
func (w *world) container(name, digest string) *bollwerk.Workload {
	w.n++
	return &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: w.n, Node: "n1",
		Container: &bollwerk.Container{ID: fmt.Sprintf("c%08x", w.n), Name: name, Runtime: "containerd", Image: "shop/" + name, Digest: bollwerk.Digest(digest), Started: w.now, PID: uint32(1000 * w.n)},
		Pod:       &bollwerk.Pod{Namespace: "shop", Name: name + "-x", Container: "app", OwnerKind: "Deployment", OwnerName: name}}
}

func (w *world) process(wl *bollwerk.Workload, path string, parent *bollwerk.Process) *bollwerk.Process {
	w.n++
	return &bollwerk.Process{PID: uint32(w.n), NSID: 7, Start: w.n, Name: path[strings.LastIndexByte(path, '/')+1:], Path: path, Cgroup: wl.Cgroup, Origin: bollwerk.OriginImage, Parent: parent}
}

func (w *world) event(wl *bollwerk.Workload, kind bollwerk.EventKind, p *bollwerk.Process) *bollwerk.Event {
	return &bollwerk.Event{Time: w.now, Kind: kind, Process: p, Workload: wl, Outcome: bollwerk.Seen, Source: "tp_btf"}
}

func (w *world) exec(wl *bollwerk.Workload, p *bollwerk.Process) *bollwerk.Event {
	return w.event(wl, bollwerk.EventExec, p)
}

func (w *world) open(wl *bollwerk.Workload, p *bollwerk.Process, path string, a bollwerk.Access) *bollwerk.Event {
	e := w.event(wl, bollwerk.EventOpen, p)
	e.File = &bollwerk.FileEvent{Path: path, Access: a}
	return e
}

func (w *world) connect(wl *bollwerk.Workload, p *bollwerk.Process, name, to string) *bollwerk.Event {
	e := w.event(wl, bollwerk.EventConnect, p)
	e.Connection = &bollwerk.Connection{Protocol: "tcp", Remote: netip.MustParseAddrPort(to), Name: name, Outgoing: true}
	return e
}

func (w *world) listen(wl *bollwerk.Workload, p *bollwerk.Process, port uint16) *bollwerk.Event {
	e := w.event(wl, bollwerk.EventListen, p)
	e.Connection = &bollwerk.Connection{Protocol: "tcp", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), port)}
	return e
}

// web is what a replica of a web server does when it starts, and then for one window.
func (w *world) start(wl *bollwerk.Workload) *bollwerk.Process {
	p := w.process(wl, "/usr/sbin/nginx", nil)
	w.quiet(w.exec(wl, p), w.listen(wl, p, 80), w.open(wl, p, "/var/log/nginx/access.log", bollwerk.AccessWrite|bollwerk.AccessAppend))
	return p
}

func (w *world) serve(wl *bollwerk.Workload, p *bollwerk.Process) {
	w.quiet(w.connect(wl, p, "db.shop.svc.cluster.local", "10.0.3.7:5432"), w.open(wl, p, fmt.Sprintf("/var/cache/nginx/%08x", w.now.Unix()), bollwerk.AccessCreate|bollwerk.AccessWrite))
}

func (w *world) quiet(es ...*bollwerk.Event) {
	w.t.Helper()
	for _, e := range es {
		if d := w.book.Observe(e, false); len(d) > 0 {
			w.t.Fatalf("%s raised %s: %s", e.Kind, d[0].Rule, d[0].Message)
		}
	}
}

// one expects exactly one detection with the rule.
func (w *world) one(e *bollwerk.Event, rule string) *bollwerk.Detection {
	w.t.Helper()
	var found *bollwerk.Detection
	ds := w.book.Observe(e, false)
	for _, d := range ds {
		if d.Rule == rule {
			found = d
		}
	}
	if found == nil {
		w.t.Fatalf("%s: want %s, got %v", e.Kind, rule, rulesOf(ds))
	}
	return found
}

func rulesOf(ds []*bollwerk.Detection) (out []string) {
	for _, d := range ds {
		out = append(out, d.Rule+" ("+d.Message+")")
	}
	return out
}

// learned runs replicas for days of windows and ends in the given mode.
func (w *world) learned(replicas int, span time.Duration, to Mode) (*bollwerk.Workload, *bollwerk.Process) {
	w.t.Helper()
	var wls []*bollwerk.Workload
	var ps []*bollwerk.Process
	for range replicas {
		wl := w.container("web", digestA)
		wls, ps = append(wls, wl), append(ps, w.start(wl))
	}
	for end := w.now.Add(span); w.now.Before(end); w.now = w.now.Add(10 * time.Minute) {
		for i, wl := range wls {
			w.serve(wl, ps[i])
		}
	}
	for m := Observe; m <= to; m++ {
		if err := w.book.Advance(wls[0].Key(), m, "test", "enough"); err != nil {
			w.t.Fatal(err)
		}
	}
	return wls[0], ps[0]
}

func TestFromLearningToRestriction(t *testing.T) {
	w := newWorld(t, Config{Node: "n1"})
	wl := w.container("web", digestA)
	p := w.start(wl)
	w.serve(wl, p)
	err := w.book.Advance(wl.Key(), Observe, "ann", "looks fine")
	if err == nil || !strings.Contains(err.Error(), "observed for") || !strings.Contains(err.Error(), "may bring up to") {
		t.Fatalf("an hour-old profile moved forward: %v", err)
	}
	w = newWorld(t, Config{Node: "n1"})
	wl, p = w.learned(3, 8*24*time.Hour, Restrict)
	c := must(w.book.Status(wl.Key())).Completeness
	t.Log(c.Sentence)

	shell := w.process(wl, "/bin/sh", p)
	d := w.one(w.exec(wl, shell), RuleExecutable)
	if d.Severity != bollwerk.SeverityMedium || !strings.Contains(d.Nearest, "/usr/sbin/nginx") || d.Mode != "restrict" {
		t.Errorf("shell: %+v", d)
	}
	d = w.one(w.connect(wl, p, "", "198.51.100.7:4444"), RuleDestination)
	if !strings.Contains(d.Nearest, "db.shop.svc") {
		t.Errorf("nearest destination: %s", d.Nearest)
	}
	w.one(w.listen(wl, p, 31337), RulePort)
	w.one(w.open(wl, p, "/etc/cron.d/x", bollwerk.AccessCreate), RuleWrite)
	w.quiet(w.open(wl, p, "/var/cache/nginx/00ab12cd99", bollwerk.AccessCreate))
	if err := w.book.Back(wl.Key(), Learn, "ann", "a new plug-in"); err != nil {
		t.Fatal(err)
	}
	w.quiet(w.listen(wl, p, 31337))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
