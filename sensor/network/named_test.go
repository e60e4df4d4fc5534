package network

import (
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// TestDenyEgressByName holds a workload to names: what a name server answers may be
// reached at once, and nothing else.
func TestDenyEgressByName(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	h.cgroup(w.sensor.Kernel())
	const server = "10.9.9.53:53"
	for _, a := range []string{"10.9.9.53", "10.9.9.54", "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.7", "10.1.0.9"} {
		h.ok("address %s/32", a)
	}
	h.ok("listen tcp4 0.0.0.0:80")
	h.ok("listen tcp4 0.0.0.0:81")
	h.ok("listen tcp4 0.0.0.0:40001")
	h.ok("dns-serve %s", server)
	for name, a := range map[string]string{
		"db.example": "10.1.0.1", "a.shop.example": "10.1.0.2", "shop.example": "10.1.0.3", "early.example": "10.1.0.4", "evil.example": "10.1.0.9", "t.shop.example": "10.1.0.6",
	} {
		h.ok("dns-say %s %s", name, a)
	}
	// Known before the policy comes, as of a server that looks its peers up at its start.
	h.ok("dns udp %s early.example. 1", server)
	w.await("the early answer", func(e *bollwerk.Event) bool {
		return h.by(bollwerk.EventDNS)(e) && e.DNS.Answer && e.DNS.Name == "early.example"
	})
	w.hold(h, sensor.Policy{
		Enforce: sensor.GuardEgress, Egress: []sensor.Peer{peer("10.9.9.53/32", 53, "")},
		EgressNames: []sensor.NamedPeer{{Name: "db.example", Port: 80, Protocol: "tcp"}, {Name: "*.shop.example", Port: 80}, {Name: "early.example", Port: 80},
			{Name: "db.example", Port: sensor.HighPort, High: true}, {Name: "*.example", Port: 82}},
	})
	id := h.ok("udp-open")
	for _, c := range []struct{ want, verb string }{
		{"err EPERM", "connect 10.1.0.1:80"}, // nobody asked yet
		{"ok", "dns udp " + server + " db.example. 1"},
		{"ok", "connect 10.1.0.1:80"},
		{"ok", "connect 10.1.0.1:40001"},
		{"err EPERM", "connect 10.1.0.1:81"},
		{"err ECONNREFUSED", "connect 10.1.0.1:82"}, // allowed by the wider name
		{"err EPERM", "connect 10.1.0.5:80"},
		{"ok", "dns-say db.example 10.1.0.5"},
		{"ok", "dns udp " + server + " DB.Example. 1"},
		{"ok", "connect 10.1.0.5:80"}, // it moved
		{"ok", "connect 10.1.0.1:80"}, // and may be in use for a while
		{"ok", "dns udp " + server + " a.shop.example. 1"},
		{"ok", "connect 10.1.0.2:80"},
		{"ok", "dns udp " + server + " shop.example. 1"},
		{"err EPERM", "connect 10.1.0.3:80"}, // not below itself
		{"ok", "dns udp " + server + " evil.example. 1"},
		{"err EPERM", "connect 10.1.0.9:80"},
		{"ok", "connect 10.1.0.4:80"}, // asked before
		{"ok", "dns tcp " + server + " t.shop.example. 1"},
		{"ok", "connect 10.1.0.6:80"},
		{"err EPERM", "udp-send " + id + " 10.1.0.1:5353 1 1"},
	} {
		expect(t, h, c.want, "%s", c.verb)
	}
	// Answers that nobody gave: from another server, for another number, and when none was asked for.
	h.ok("dns-say a.shop.example 10.1.0.2")
	at := h.ok("dns-question %s 10.9.9.53:53 db.example.", id)
	_, port, _ := strings.Cut(at, "]:")
	for _, from := range []string{"10.9.9.54:53"} {
		h.ok("dns-forge %s 10.1.0.1:%s 4711 db.example 10.1.0.7", from, port)
	}
	expect(t, h, "err EPERM", "connect 10.1.0.7:80")
}

func TestNameKey(t *testing.T) {
	s := &set{id: 3}
	s.ports, s.names = map[bpf.NetworkBwNetPort]struct{}{}, map[bpf.NetworkBwNetName]bpf.NetworkBwNetPorts{}
	err := s.named([]sensor.NamedPeer{{Name: "example.com", Port: 1}, {Name: "*.example.com", Port: 2}, {Name: "*.b.example.com", Port: 3}})
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string, port uint16) bool {
		row, ok := s.rowOf(name)
		_, listed := s.ports[bpf.NetworkBwNetPort{Set: 6, Id: row.Id, Port: port, Protocol: 6}]
		return ok && listed
	}
	for _, c := range []struct {
		name  string
		ports []uint16
	}{
		{"example.com", []uint16{1}}, {"EXAMPLE.com.", []uint16{1}}, {"a.example.com", []uint16{2}}, {"b.example.com", []uint16{2}},
		{"c.b.example.com", []uint16{2, 3}}, {"d.c.b.example.com", []uint16{2, 3}}, {"notexample.com", nil}, {"com", nil}, {"xb.example.com", []uint16{2}},
	} {
		for port := uint16(1); port <= 3; port++ {
			want := false
			for _, p := range c.ports {
				want = want || p == port
			}
			if at(c.name, port) != want {
				t.Errorf("%s at %d: %v, want %v", c.name, port, !want, want)
			}
		}
	}
	for _, bad := range []string{"", ".", "a..b", "*", "a*.example.com", strings.Repeat("a", 64), strings.Repeat("abcdefg.", 31) + "com"} {
		if _, err := nameKey(1, bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
