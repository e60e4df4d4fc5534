package agent

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/sensor"
)

// capable is a host that can hold every guard.
func capable() *guarding {
	g := &guarding{means: map[string]sensor.Means{}}
	for _, x := range sensor.Guards() {
		g.means[x.String()] = sensor.Means{Guard: x, Outcome: bollwerk.Denied}
	}
	return g
}

func never(string) bool { return false }

func TestRestrictionHeld(t *testing.T) {
	tcp := func(port uint16) profile.PeerRule { return profile.PeerRule{Protocol: "tcp", From: port, To: port} }
	named := func(name string) profile.PeerRule { r := tcp(443); r.Name = name; return r }
	within := func(network string, deny bool) profile.PeerRule {
		r := tcp(443)
		r.Network, r.Deny = netip.MustParsePrefix(network), deny
		return r
	}
	high := profile.PeerRule{Protocol: "udp", From: sensor.HighPort, To: 65535}
	for _, c := range []struct {
		name string
		r    profile.Restriction
		only string // of this guard, a part of the reason; "" enforced
		of   sensor.Guard
	}{
		{"programs", profile.Restriction{Programs: []profile.PathRule{{Path: "/bin/a"}, {Path: "/bin/b", Deny: true}}}, "", sensor.GuardExec},
		{"a program whose name changes", profile.Restriction{Programs: []profile.PathRule{{Path: "/tmp/b", Prefix: true}}}, "name changes", sensor.GuardExec},
		{"a program without a file", profile.Restriction{Memory: true}, "without a file", sensor.GuardExec},
		{"a program too long", profile.Restriction{Programs: []profile.PathRule{{Path: "/" + strings.Repeat("x", 300)}}}, "too long", sensor.GuardExec},
		{"saturated", profile.Restriction{Open: []profile.Category{profile.Executable}}, "too varied", sensor.GuardExec},
		{"a path too long", profile.Restriction{Writes: []profile.PathRule{{Path: "/" + strings.Repeat("x", 300)}}}, "", sensor.GuardFile},
		{"forbidden alone", profile.Restriction{Writes: []profile.PathRule{{Path: "/a"}, {Path: "/b", Deny: true}}}, "", sensor.GuardFile},
		{"forbidden inside", profile.Restriction{Writes: []profile.PathRule{{Path: "/a/", Prefix: true}, {Path: "/a/b", Deny: true}}}, "forbidden inside", sensor.GuardFile},
		{"a network", profile.Restriction{Egress: []profile.PeerRule{within("10.0.0.0/8", false)}}, "", sensor.GuardEgress},
		{"a network forbidden alone", profile.Restriction{Egress: []profile.PeerRule{within("10.0.0.0/8", false), within("192.0.2.0/24", true)}}, "", sensor.GuardEgress},
		{"a network forbidden inside", profile.Restriction{Egress: []profile.PeerRule{within("10.0.0.0/8", false), within("10.1.0.0/16", true)}}, "forbidden inside", sensor.GuardEgress},
		{"a name", profile.Restriction{Egress: []profile.PeerRule{named("db.example")}}, "", sensor.GuardEgress},
		{"a name forbidden inside", profile.Restriction{Egress: []profile.PeerRule{named("*.example"), {Protocol: "tcp", From: 443, To: 443, Name: "x.example", Deny: true}}}, "forbidden inside", sensor.GuardEgress},
		{"a name of who answers itself", profile.Restriction{Egress: []profile.PeerRule{named("db.example")}, Listen: []profile.PeerRule{{Protocol: "udp", From: 53, To: 53}}}, "answer itself", sensor.GuardEgress},
		{"a name, and any port", profile.Restriction{Egress: []profile.PeerRule{named("db.example")}, Open: []profile.Category{profile.Port}}, "answer itself", sensor.GuardEgress},
		{"a workload that is not here", profile.Restriction{Egress: []profile.PeerRule{{Protocol: "tcp", From: 1, To: 1, Workload: "x"}}}, "", sensor.GuardEgress},
		{"icmp and sockets", profile.Restriction{Egress: []profile.PeerRule{{Protocol: "icmp", To: 65535}, {Protocol: "unix", Socket: "/run/x"}}}, "", sensor.GuardEgress},
		{"high ports", profile.Restriction{Listen: []profile.PeerRule{high}}, "", sensor.GuardBind},
		{"clients by name", profile.Restriction{Ingress: []profile.PeerRule{named("x.example")}}, "by name", sensor.GuardIngress},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := capable().hold(&c.r, never)
			said := slices.IndexFunc(h.only, func(s string) bool { return strings.HasPrefix(s, c.of.String()+": ") })
			switch {
			case c.only == "" && (h.enforce&c.of == 0 || said >= 0):
				t.Errorf("%s is not enforced: %q", c.of, h.only)
			case c.only != "" && (h.enforce&c.of != 0 || h.report&c.of == 0 || said < 0 || !strings.Contains(h.only[said], c.only)):
				t.Errorf("%s is enforced, or not explained by %q: %q", c.of, c.only, h.only)
			}
		})
	}
}

func TestRestrictionLists(t *testing.T) {
	h := capable().hold(&profile.Restriction{
		Writes: []profile.PathRule{{Path: "/srv/app/sess_", Prefix: true}, {Path: "/data/", Prefix: true}, {Path: "/srv/log"}},
		Egress: []profile.PeerRule{{Protocol: "tcp", From: sensor.HighPort, To: 65535, Network: netip.MustParsePrefix("10.0.0.0/8")}, {Protocol: "tcp", From: 0, To: 65535, Name: "a-*.b.example.com"}},
	}, func(b string) bool { return b == profile.Mounts })
	if want := []string{"/data", "/data/*", "/srv", "/srv/app", "/srv/app/sess_*", "/srv/log"}; !slices.Equal(h.policy.Write, want) {
		t.Errorf("writes %q, want %q", h.policy.Write, want)
	}
	if e := h.policy.Egress; len(e) != 1 || !e[0].High || e[0].Port != sensor.HighPort {
		t.Errorf("egress %+v", e)
	}
	if n := h.policy.EgressNames; len(n) != 1 || n[0].Name != "*.b.example.com" || n[0].Port != 0 {
		t.Errorf("names %+v", n)
	}
	if h.enforce&sensor.GuardMount != 0 || h.enforce&sensor.GuardPtrace == 0 {
		t.Errorf("a workload that mounts and never traced: %s", h.enforce)
	}
	// A host that can do nothing says so of every guard.
	g := &guarding{means: map[string]sensor.Means{}}
	if h := g.hold(&profile.Restriction{}, never); h.enforce != 0 || len(h.only) < 8 {
		t.Errorf("%s %q", h.enforce, h.only)
	}
	for name, want := range map[string][]string{
		"db.example": {"db.example"}, "*.example": {"*.example"}, "a*.example": {"*.example"}, "a.*.c.example": {"*.c.example"}, "*": nil,
		"a.b.c.d.e.f.g.h": {"a.b.c.d.e.f.g.h", "*.a.b.c.d.e.f.g.h"},
	} {
		if got := suffixes(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
