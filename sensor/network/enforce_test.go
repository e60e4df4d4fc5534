package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// held is a helper under a policy; loopback is let out of the question by addresses of
// its own on lo.
func (w *watch) hold(h *helper, p sensor.Policy) {
	w.t.Helper()
	p.Cgroup = h.join
	if h.join == 0 {
		p.Cgroup = h.cgroup(w.sensor.Kernel())
	}
	p.CgroupPath = fmt.Sprintf("/bollwerk-test-%d", h.pid())
	p.PID = h.pid()
	if err := w.sensor.Apply(&p); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := w.sensor.Remove(p.Cgroup); err != nil {
			w.t.Error(err)
		}
	})
}

func peer(network string, port uint16, protocol string) sensor.Peer {
	return sensor.Peer{Network: netip.MustParsePrefix(network), Port: port, Protocol: protocol}
}

func expect(t *testing.T, h *helper, want string, format string, args ...any) {
	t.Helper()
	got := h.do(format, args...)
	if word, _, _ := strings.Cut(got, " "); got != want && word != want {
		t.Errorf("%s: %q, want %q", fmt.Sprintf(format, args...), got, want)
	}
}

func TestDenyEgress(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	for _, a := range []string{"10.1.2.3/32", "10.1.9.9/32", "10.2.0.1/32", "fd00::1/128", "fd01::1/128"} {
		h.ok("address %s", a)
	}
	if w.says("existing sockets", olderOnlyListens) { // else what is bound follows its process
		h.cgroup(w.sensor.Kernel())
	}
	h.ok("listen tcp4 0.0.0.0:80")
	h.ok("listen tcp4 0.0.0.0:443")
	h.ok("listen tcp6 [::]:8080")
	h.ok("udp-listen 0.0.0.0:5353")
	h.ok("udp-listen 0.0.0.0:5354")
	w.hold(h, sensor.Policy{Enforce: sensor.GuardEgress, Egress: []sensor.Peer{
		peer("10.0.0.0/8", 443, "tcp"), peer("10.1.2.0/24", 80, ""), peer("fd00::/16", 0, "tcp"), peer("10.2.0.0/16", 5353, "udp"), peer("::/0", 9, ""),
	}})
	id := h.ok("udp-open")
	for _, c := range []struct{ want, verb string }{
		{"ok", "connect 10.1.2.3:80"},
		{"ok", "connect 10.1.2.3:443"}, // by the wider network
		{"ok", "connect 10.1.9.9:443"},
		{"err EPERM", "connect 10.1.9.9:80"},
		{"err EPERM", "dial tcp4 10.2.0.1:80"},
		{"err EPERM", "dial mptcp4 10.2.0.1:80"},
		{"ok", "dial mptcp4 10.1.2.3:80"},
		{"ok", "connect [::ffff:10.1.2.3]:80"},
		{"err EPERM", "connect [::ffff:10.1.9.9]:80"},
		{"ok", "connect [fd00::1]:8080"},
		{"err EPERM", "connect [fd01::1]:8080"},
		{"err EPERM", "connect 203.0.113.1:9"}, // ::/0 is not version 4
		{"ok", "connect 127.0.0.1:80"},         // its own loopback
		{"ok", "udp-send " + id + " 10.2.0.1:5353 10 1"},
		{"err EPERM", "udp-send " + id + " 10.2.0.1:5354 10 1"},
		{"err EPERM", "dial udp4 10.2.0.1:5354"},
		{"ok", "dial udp4 10.2.0.1:5353"},
		{"err EPERM", "raw"},
	} {
		expect(t, h, c.want, "%s", c.verb)
	}
	e := w.await("denied connect", func(e *bollwerk.Event) bool {
		return h.by(bollwerk.EventConnect)(e) && e.Connection.Remote == netip.MustParseAddrPort("10.1.9.9:80")
	})
	if e.Outcome != bollwerk.Denied || e.Rule != "egress" || e.Result != 1 || e.Source != "cgroup/connect4" {
		t.Errorf("%+v", e)
	}
	w.await("denied send", func(e *bollwerk.Event) bool {
		return h.by(bollwerk.EventSend)(e) && e.Outcome == bollwerk.Denied && e.Source == "cgroup/sendmsg4"
	})
	w.await("denied raw socket", func(e *bollwerk.Event) bool {
		return h.by(bollwerk.EventSocket)(e) && e.Outcome == bollwerk.Denied
	})
	// Everybody else is left alone.
	other := contained(t)
	other.ok("address 10.1.9.9/32")
	other.ok("listen tcp4 0.0.0.0:80")
	other.ok("connect 10.1.9.9:80")
}

func TestReportOnly(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	h.ok("address 10.1.9.9/32")
	h.ok("listen tcp4 0.0.0.0:80")
	w.hold(h, sensor.Policy{Report: sensor.GuardEgress})
	h.ok("connect 10.1.9.9:80")
	e := w.await("reported connect", func(e *bollwerk.Event) bool { return h.by(bollwerk.EventConnect)(e) && e.Rule != "" })
	if e.Outcome != bollwerk.Seen || e.Rule != "egress" {
		t.Errorf("%+v", e)
	}
}

func TestDenyIngress(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	h.cgroup(w.sensor.Kernel())
	h.ok("address 10.1.2.3/32")
	h.ok("listen tcp4 0.0.0.0:80")
	h.ok("listen tcp4 0.0.0.0:81")
	h.ok("udp-listen 0.0.0.0:5354")
	// The listeners are older than the policy.
	w.hold(h, sensor.Policy{Enforce: sensor.GuardIngress, Ingress: []sensor.Peer{peer("10.0.0.0/8", 80, "tcp")}})
	h.ok("listen tcp4 0.0.0.0:82")
	for _, c := range []struct{ want, verb string }{
		{"ok", "dial tcp4 10.1.2.3:80"},
		{"err timeout", "dial tcp4 10.1.2.3:81 500ms"},
		{"err timeout", "dial tcp4 10.1.2.3:82 500ms"},
		{"ok", "dial tcp4 127.0.0.1:81"},
		{"ok", "fastopen 10.1.2.3:80"},
		{"err EAGAIN", "fastopen 10.1.2.3:81"},
	} {
		expect(t, h, c.want, "%s", c.verb)
	}
	e := w.await("denied", func(e *bollwerk.Event) bool { return h.by(bollwerk.EventAccept)(e) && e.Outcome == bollwerk.Denied })
	if e.Rule != "ingress" || e.Connection.Local.Port() != 81 || e.Source != "cgroup_skb/ingress" {
		t.Errorf("%+v %+v", e, e.Connection)
	}
	c, _, _ := strings.Cut(h.ok("dial udp4 10.1.2.3:5354"), " ")
	if got := h.do("say %s \"x\"", c); got == "ok" {
		t.Error("the datagram came through")
	}
	w.await("denied datagram", func(e *bollwerk.Event) bool {
		return h.by(bollwerk.EventAccept)(e) && e.Outcome == bollwerk.Denied && e.Connection.Protocol == "udp"
	})
}

func TestDenyBind(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	w.hold(h, sensor.Policy{Enforce: sensor.GuardBind, Bind: []sensor.Port{{Protocol: "tcp", Port: 80}, {Protocol: "udp"}}})
	for _, c := range []struct{ want, verb string }{
		{"ok", "bind tcp 80"}, {"err EPERM", "bind tcp 81"}, {"ok", "bind udp 81"}, {"ok", "bind tcp 0"},
		{"err EPERM", "listen tcp6 [::1]:81"}, {"ok", "listen tcp4 127.0.0.1:80"},
	} {
		expect(t, h, c.want, "%s", c.verb)
	}
	e := w.await("denied", func(e *bollwerk.Event) bool { return h.by(bollwerk.EventBind)(e) && e.Outcome == bollwerk.Denied })
	if e.Rule != "bind" || e.Connection.Local.Port() != 81 {
		t.Errorf("%+v %+v", e, e.Connection)
	}
	// Without bind the kernel chooses a port; no hook can refuse that, so the process is killed.
	if got := h.do("listen-bare"); got != "" {
		t.Errorf("listening without bind: %q, want a dead process", got)
	}
	if e := w.await("killed", h.by(bollwerk.EventListen)); e.Outcome != bollwerk.Seen || e.Rule != "" {
		w.await("killed", func(e *bollwerk.Event) bool { return h.by(bollwerk.EventListen)(e) && e.Outcome == bollwerk.Killed })
	}
}

func TestDenyMiner(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	addr := h.ok("listen tcp4 127.0.0.1:0")
	early, _, _ := strings.Cut(h.ok("dial tcp4 %s", addr), " ")
	w.hold(h, sensor.Policy{Enforce: sensor.GuardMiner})
	late, _, _ := strings.Cut(h.ok("dial tcp4 %s", addr), " ")
	text, _ := json.Marshal(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n")
	for _, id := range []string{late, early} {
		if got := h.do("say %s %s", id, text); got == "ok" || got == "ok " {
			t.Errorf("%s: the miner got through", id)
		}
	}
	e := w.await("denied", h.by(bollwerk.EventProtocol))
	if e.Outcome != bollwerk.Denied || e.Rule != "miner" {
		t.Errorf("%+v", e)
	}
}

// Sockets that are older than policies which come together know theirs when all are in force.
func TestPoliciesTogether(t *testing.T) {
	w := sharedWatch(t)
	boxes := [2]*helper{contained(t), contained(t)}
	for _, h := range boxes {
		h.cgroup(w.sensor.Kernel())
		h.ok("address 10.1.2.3/32")
		h.ok("listen tcp4 0.0.0.0:80")
		h.ok("listen tcp4 0.0.0.0:81")
	}
	w.sensor.Together(func() {
		for _, h := range boxes {
			w.hold(h, sensor.Policy{Enforce: sensor.GuardIngress, Ingress: []sensor.Peer{peer("10.0.0.0/8", 80, "tcp")}})
		}
	})
	for _, h := range boxes {
		expect(t, h, "ok", "dial tcp4 10.1.2.3:80")
		expect(t, h, "err timeout", "dial tcp4 10.1.2.3:81 500ms")
	}
}
