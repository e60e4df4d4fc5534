package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/workload"
)

// claim says that a workload has addresses from now on.
func (p *peers) claim(name string, addrs ...string) {
	var list []netip.Addr
	for _, a := range addrs {
		list = append(list, netip.MustParseAddr(a))
	}
	names := p.book.Claim(workload.Claimant{ID: name}, name, 1, list, time.Time{}, time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.note(names)
}

// TestListsFollow: what names a workload is put in force anew when its addresses change, and
// nothing else is.
func TestListsFollow(t *testing.T) {
	f := &fullTable{holds: map[uint64]sensor.Guard{}, applied: make(chan uint64, 1000)}
	a, _ := judgingWith(t, func(a *Agent) { a.peers = newPeers(a) }, f)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = a.peers.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	begin := func(n int) uint64 {
		t.Helper()
		path, id, _ := containerGroup(t, a.hierarchy, n)
		pid, _ := inside(t, a.hierarchy, path)
		a.queue.put(&bollwerk.Event{Time: time.Now(), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen,
			Process: &bollwerk.Process{PID: pid, Cgroup: id, CgroupPath: path, Contained: true}})
		if got := f.await(t); got != id {
			t.Fatalf("cgroup %d got a policy, want %d", got, id)
		}
		return id
	}
	front, other := begin(21), begin(22)
	names := func(cgroup uint64, peers ...string) {
		t.Helper()
		// Whoever puts a policy in force has it written down when another may act.
		a.guarding.acting.Lock()
		defer a.guarding.acting.Unlock()
		a.guarding.mu.Lock()
		defer a.guarding.mu.Unlock()
		for id, s := range a.guarding.sets {
			if id.cgroup == cgroup {
				s.peers = peers
				a.guarding.sets[id] = s
				return
			}
		}
		t.Fatal("it has no policy")
	}
	names(front, "container docker/db")
	names(other, "container docker/cache")
	a.peers.claim("container docker/stranger", "172.17.0.9")
	a.peers.claim("container docker/db", "172.17.0.2")
	if got := f.await(t); got != front {
		t.Errorf("cgroup %d, want %d", got, front)
	}
	names(front, "container docker/db")
	a.peers.claim("container docker/db") // it ended
	if got := f.await(t); got != front {
		t.Errorf("cgroup %d, want %d", got, front)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.tried) != 4 {
		t.Errorf("policies were put in force %d times, want 4", len(f.tried))
	}
}

// TestHeldPeers: lists have the addresses that a workload has now; where they do not fit, or
// where somebody forbade one of them, the guard only reports and says why.
func TestHeldPeers(t *testing.T) {
	g := capable()
	g.a = &Agent{guarding: g}
	g.a.peers = newPeers(g.a)
	const db, many = "pod shop/StatefulSet/db", "pod shop/DaemonSet/many"
	g.a.peers.claim(db, "10.0.0.2", "fd00::2")
	g.a.peers.claim("container docker/twin", "10.0.0.2")
	var crowd []string
	for i := range mostPeerAddresses + 1 {
		crowd = append(crowd, fmt.Sprintf("10.1.%d.%d", i/256, i%256))
	}
	g.a.peers.claim(many, crowd...)
	rule := func(name string, port uint16) profile.PeerRule {
		return profile.PeerRule{Protocol: "tcp", From: port, To: port, Workload: name}
	}
	deny := profile.PeerRule{Protocol: "tcp", From: 5432, To: 5432, Network: netip.MustParsePrefix("10.0.0.0/24"), Deny: true}
	elsewhere := deny
	elsewhere.Network = netip.MustParsePrefix("10.7.0.0/24")
	h := g.hold(&profile.Restriction{Egress: []profile.PeerRule{rule(db, 5432), rule("container docker/gone", 1), elsewhere}, Ingress: []profile.PeerRule{rule(db, 80)}}, never)
	want := []sensor.Peer{{Network: netip.MustParsePrefix("10.0.0.2/32"), Port: 5432, Protocol: "tcp"}, {Network: netip.MustParsePrefix("fd00::2/128"), Port: 5432, Protocol: "tcp"}}
	if !slices.Equal(h.policy.Egress, want) || h.enforce&sensor.GuardEgress == 0 {
		t.Errorf("%+v, enforced %s", h.policy.Egress, h.enforce)
	}
	if len(h.policy.Ingress) != 2 || h.policy.Ingress[0].Port != 80 || h.enforce&sensor.GuardIngress == 0 {
		t.Errorf("%+v, enforced %s", h.policy.Ingress, h.enforce)
	}
	if len(h.peers) != 2 || h.peers[0].Workload != db || len(h.peers[0].Addresses) != 2 || !slices.Equal(h.peers[0].Shared, []netip.Addr{netip.MustParseAddr("10.0.0.2")}) ||
		h.peers[1].Addresses == nil || len(h.peers[1].Addresses) != 0 {
		t.Errorf("%+v", h.peers)
	}
	for _, c := range []struct {
		r    profile.Restriction
		want string
	}{
		{profile.Restriction{Egress: []profile.PeerRule{rule(many, 80)}}, "have 1025 addresses, more than the 1024 that fit"},
		{profile.Restriction{Egress: []profile.PeerRule{rule(db, 5432), deny}}, "forbidden inside"},
	} {
		h := g.hold(&c.r, never)
		if said := strings.Join(h.only, "\n"); h.enforce&sensor.GuardEgress != 0 || h.report&sensor.GuardEgress == 0 || !strings.Contains(said, c.want) {
			t.Errorf("want %q, enforced %s: %q", c.want, h.enforce, said)
		}
	}
}

// TestUnheardCluster: while a cluster has not said where its workloads are, nobody is cut off
// from them, and the guard says so; then the lists are put in force.
func TestUnheardCluster(t *testing.T) {
	g := capable()
	g.a = &Agent{guarding: g}
	p := newPeers(g.a)
	g.a.peers = p
	r := &profile.Restriction{Egress: []profile.PeerRule{{Protocol: "tcp", From: 80, To: 80, Workload: "service shop/cart"}}}
	local := &profile.Restriction{Egress: []profile.PeerRule{{Protocol: "tcp", From: 80, To: 80, Workload: "container docker/db"}}}
	for _, part := range []string{"pods", "services"} {
		p.silent[part], p.unheard[part] = time.Now(), true
	}
	enforced := func(r *profile.Restriction, want bool) {
		t.Helper()
		h := g.hold(r, never)
		if got := h.enforce&sensor.GuardEgress != 0; got != want || got == strings.Contains(strings.Join(h.only, "\n"), "was not said yet") {
			t.Errorf("egress enforced: %v, %q", got, h.only)
		}
	}
	heard := func(part string, known bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.heard(part, known, time.Now())
	}
	enforced(r, false)
	enforced(local, true)
	heard("pods", true)
	heard("services", false)
	enforced(r, false)
	if p.all {
		t.Error("lists are put in force before all is known")
	}
	heard("services", true)
	enforced(r, true)
	if !p.all || len(p.silent) > 0 {
		t.Errorf("all is known: %v, silent %v", p.all, p.silent)
	}
	heard("services", false) // what it said is kept
	enforced(r, true)
	if len(p.silent) != 1 {
		t.Errorf("silent %v", p.silent)
	}
}

// TestNamed: who is told to be at the other end, and when nobody is.
func TestNamed(t *testing.T) {
	a := &Agent{}
	a.peers = newPeers(a)
	a.peers.claim("container docker/db", "10.0.0.2")
	a.peers.claim("container docker/one", "10.0.0.3")
	a.peers.claim("container docker/two", "10.0.0.3")
	later := time.Now().Add(time.Minute)
	for _, c := range []struct{ addr, peer, want string }{
		{"10.0.0.2:1", "", "container docker/db"}, {"[::ffff:10.0.0.2]:1", "", "container docker/db"}, {"10.0.0.3:1", "", ""}, {"10.0.0.4:1", "", ""}, {"127.0.0.1:1", "", ""},
		{"10.0.0.2:1", "known already", "known already"},
	} {
		e := &bollwerk.Event{Kind: bollwerk.EventConnect, Time: later, Connection: &bollwerk.Connection{Remote: netip.MustParseAddrPort(c.addr), Peer: c.peer}}
		if a.peers.name(e); e.Connection.Peer != c.want {
			t.Errorf("%s: %q, want %q", c.addr, e.Connection.Peer, c.want)
		}
	}
	// A sum over the time in which it changed hands is nobody's.
	addr, ended := netip.MustParseAddr("10.0.0.2"), later.Add(-20*time.Second)
	a.peers.book.Claim(workload.Claimant{ID: "container docker/db"}, "", 0, nil, time.Time{}, ended)
	a.peers.book.Claim(workload.Claimant{ID: "new"}, "container docker/new", 1, []netip.Addr{addr}, ended.Add(time.Second), ended)
	for _, c := range []struct {
		from time.Time
		want string
	}{{ended.Add(-time.Second), ""}, {ended.Add(10 * time.Second), "container docker/new"}} {
		e := &bollwerk.Event{Kind: bollwerk.EventFlow, Time: later, Flow: &bollwerk.Flow{From: c.from, To: later}, Connection: &bollwerk.Connection{Remote: netip.MustParseAddrPort("10.0.0.2:1")}}
		if a.peers.name(e); e.Connection.Peer != c.want {
			t.Errorf("a sum since %v: %q, want %q", c.from, e.Connection.Peer, c.want)
		}
	}
	e := &bollwerk.Event{Kind: bollwerk.EventConnect, Time: later, Connection: &bollwerk.Connection{Remote: netip.MustParseAddrPort("10.0.0.2:1")}}
	if n := testing.AllocsPerRun(100, func() { e.Connection.Peer = ""; a.peers.name(e) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
	(*peers)(nil).name(e)
}
