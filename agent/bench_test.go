package agent

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	detectors "github.com/bollwerk/bollwerk/detect/all"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

// The events of one thing that happens in a container, as the sensor tells them.
func things() map[string]func(i int) []*bollwerk.Event {
	began := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	web := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: 7321, Container: &bollwerk.Container{ID: "ab12", Name: "web", Runtime: "docker", Image: "nginx:1.27", Started: began}}
	runtime := &bollwerk.Process{PID: 1 << 23, Start: 5e9, Began: began, Name: "containerd-shim", Path: "/usr/bin/containerd-shim-runc-v2", Args: []string{"/usr/bin/containerd-shim-runc-v2", "-id", "ab12"}, Cwd: "/", Origin: bollwerk.OriginHost}
	by := &bollwerk.Process{PID: 1<<23 + 1, NSID: 1, Start: 6e9, Began: began, Name: "worker", Path: "/bin/worker", Args: []string{"/bin/worker"}, Cwd: "/", LoginUID: 1<<32 - 1, Session: 1000,
		Capabilities: 0xa80425fb, Permitted: 0xa80425fb, Seccomp: 2, Inode: 4712, Device: 61, Mode: 0o100755, Origin: bollwerk.OriginImage, Cgroup: 7321, CgroupPath: "/docker/ab12",
		PIDNS: 4026532291, MountNS: 4026532288, NetNS: 4026532293, UserNS: 4026531837, Contained: true, Parent: runtime}
	at := func(i int) time.Time { return began.Add(time.Duration(i) * time.Millisecond) }
	one := func(i int, e bollwerk.Event) []*bollwerk.Event {
		e.Time, e.Process, e.Workload, e.Outcome, e.Source = at(i), by, web, bollwerk.Seen, "tp_btf"
		return []*bollwerk.Event{&e}
	}
	peer := netip.MustParseAddrPort("10.1.2.3:5432")
	here := netip.MustParseAddrPort("172.17.0.2:40112")
	return map[string]func(i int) []*bollwerk.Event{
		"start": func(i int) []*bollwerk.Event {
			child := *by
			child.PID, child.NSID, child.Start, child.Began, child.Parent = uint32(1<<23+2+i), uint32(10+i), uint64(1e12)+uint64(i)*1e6, at(i), by
			image := child
			image.Began, image.Args, image.Name, image.Path = at(i), []string{"sh", "-c", "exit 0"}, "sh", "/bin/sh"
			image.Stdio = []bollwerk.OpenFile{{FD: 0, Kind: "pipe", Inode: 8131}, {FD: 1, Kind: "pipe", Inode: 8132}}
			end := image
			return []*bollwerk.Event{
				{Time: at(i), Kind: bollwerk.EventFork, Process: &child, Workload: web, Outcome: bollwerk.Seen, Source: "tp_btf"},
				{Time: at(i), Kind: bollwerk.EventExec, Process: &image, Workload: web, Outcome: bollwerk.Seen, Source: "tp_btf"},
				{Time: at(i), Kind: bollwerk.EventExit, Process: &end, Workload: web, Outcome: bollwerk.Seen, Source: "tp_btf"},
			}
		},
		"connect": func(i int) []*bollwerk.Event {
			return one(i, bollwerk.Event{Kind: bollwerk.EventConnect, Connection: &bollwerk.Connection{Protocol: "tcp", Local: here, Remote: peer, Outgoing: true, Name: "db.shop.internal", Cookie: uint64(i)}})
		},
		"send": func(i int) []*bollwerk.Event {
			return one(i, bollwerk.Event{Kind: bollwerk.EventSend, Connection: &bollwerk.Connection{Protocol: "udp", Local: here, Remote: peer, Outgoing: true, Cookie: uint64(i)}})
		},
		"dns": func(i int) []*bollwerk.Event {
			q := one(i, bollwerk.Event{Kind: bollwerk.EventDNS, DNS: &bollwerk.DNS{ID: uint16(i), Name: "db.shop.internal", Type: "A", Size: 34, Server: netip.MustParseAddrPort("10.0.0.2:53")}})
			a := one(i, bollwerk.Event{Kind: bollwerk.EventDNS, DNS: &bollwerk.DNS{Answer: true, ID: uint16(i), Name: "db.shop.internal", Type: "A", Code: "NOERROR", Addresses: []netip.Addr{peer.Addr()}, TTL: 30, Records: 1, Size: 50, Server: netip.MustParseAddrPort("10.0.0.2:53")}})
			return append(q, a...)
		},
		"open": func(i int) []*bollwerk.Event {
			return one(i, bollwerk.Event{Kind: bollwerk.EventOpen, File: &bollwerk.FileEvent{Path: "/var/lib/app/state", Access: bollwerk.AccessWrite, Mode: 0o100644, Inode: 99, Device: 61, Origin: bollwerk.OriginVolume}})
		},
	}
}

func pipeline(tb testing.TB, events io.Writer) *Agent {
	tb.Helper()
	ps, err := policy.Load(policies.Files())
	if err != nil {
		tb.Fatal(err)
	}
	rules := ps[:0]
	for _, p := range ps {
		if p.Subject == policy.EventKind {
			rules = append(rules, p)
		}
	}
	a, err := open(tb.Context(), Parts{
		Config: &Config{State: tb.TempDir(), Backend: "none"}, Policies: rules, Detectors: detectors.Detectors(detectors.Config{}),
		Events: events,
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(a.close)
	return a
}

// Whatever the batches are, no event is left out.
func TestEveryEventIsJudged(t *testing.T) {
	a := pipeline(t, nil)
	const n = 3000
	send := things()["send"]
	for i := range n {
		a.receive(send(i)[0])
	}
	close(a.queue.ch)
	a.judgeAll()
	if err := a.recorder.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The container itself is one more event.
	if judged, st := a.metrics.kinds[bollwerk.EventSend].Get(), a.recorder.Status(); judged != n || st.Written != n+1 {
		t.Errorf("%d of %d judged, %+v", judged, n, st)
	}
}

// BenchmarkJudge is what the agent does with the events of one thing that happened, by
// part; "all" goes from the queue to the recorder, which writes beside it.
func BenchmarkJudge(b *testing.B) {
	const many = 2048
	all := things()
	for _, what := range []string{"start", "connect", "send", "dns", "open"} {
		var events [many][]*bollwerk.Event
		for i := range events {
			events[i] = all[what](i)
		}
		part := func(name string, out io.Writer, f func(a *Agent, e *bollwerk.Event)) {
			b.Run(what+"/"+name, func(b *testing.B) {
				a := pipeline(b, out)
				for _, es := range events {
					for _, e := range es {
						f(a, e)
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := 0; b.Loop(); i++ {
					for _, e := range events[i%many] {
						f(a, e)
					}
				}
			})
		}
		none := func(*bollwerk.Detection) {}
		part("rules", nil, func(a *Agent, e *bollwerk.Event) { a.rules.match(e, none) })
		part("detectors", nil, func(a *Agent, e *bollwerk.Event) { a.stream.Observe(e, none) })
		part("profile", nil, func(a *Agent, e *bollwerk.Event) { a.profiles.Observe(e, false) })
		part("output", io.Discard, func(a *Agent, e *bollwerk.Event) { a.out.event(e) })
		part("judge", nil, func(a *Agent, e *bollwerk.Event) {
			r := a.recorder
			a.recorder = nil
			a.judge(e)
			a.recorder = r
		})
		n := 0
		part("all", nil, func(a *Agent, e *bollwerk.Event) {
			a.receive(e)
			a.name(<-a.queue.ch)
			if n++; n%4096 == 0 { // else it would leave out what it cannot write as fast
				if err := a.recorder.Flush(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
