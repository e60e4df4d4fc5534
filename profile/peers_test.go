package profile

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

func (w *world) meets(wl *bollwerk.Workload, p *bollwerk.Process, peer, name, to string) *bollwerk.Event {
	e := w.connect(wl, p, name, to)
	e.Connection.Peer = peer
	return e
}

// TestPeersAreLearned: a destination is the workload that it is, whatever its address and
// name; what was learned before workloads were known by address stays known.
func TestPeersAreLearned(t *testing.T) {
	const db, cache, other = "pod shop/StatefulSet/db", "container docker/cache", "pod shop/Deployment/other"
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	for end := w.now.Add(8 * 24 * time.Hour); w.now.Before(end); w.now = w.now.Add(10 * time.Minute) {
		w.quiet(w.meets(wl, p, db, "db.shop.svc", "10.0.3.7:5432"), w.meets(wl, p, cache, "", "172.17.0.2:6379"),
			w.connect(wl, p, "old.shop.svc", "10.0.3.8:80"), w.connect(wl, p, "", "10.0.4.9:80"))
	}
	for _, entry := range []struct {
		value string
		known bool
	}{{"workload:" + db, true}, {"workload:" + cache, true}, {"name:db.shop.svc", false}, {"name:old.shop.svc", true}} {
		found := false
		for _, e := range must(w.book.Profile(wl.Key())).Document().Entries {
			found = found || e.Category == Destination && e.Value == entry.value
		}
		if found != entry.known {
			t.Errorf("%s known: %v", entry.value, found)
		}
	}
	if err := w.book.Advance(wl.Key(), Observe, "test", "enough"); err != nil {
		t.Fatal(err)
	}
	// Under another address, by another name and none.
	w.quiet(w.meets(wl, p, db, "", "10.9.9.9:5432"), w.meets(wl, p, db, "db-1.shop.svc", "10.0.3.7:5432"))
	// What was known by its name or address is known, now that the workload is.
	w.quiet(w.meets(wl, p, other, "old.shop.svc", "10.0.3.8:80"), w.meets(wl, p, other, "", "10.0.4.9:80"))
	d := w.one(w.meets(wl, p, other, "", "10.0.3.7:5432"), RuleDestination)
	if !strings.Contains(d.Message, "destination tcp workload:"+other+" port 5432") || !strings.Contains(d.Nearest, "workload:"+db) {
		t.Errorf("%s; nearest %s", d.Message, d.Nearest)
	}
	w.one(w.meets(wl, p, db, "", "10.0.3.7:22"), RuleDestination)
	// A decision about an address or a name holds whoever is there.
	edit := func(value string, remove bool) {
		t.Helper()
		w.now = w.now.Add(time.Second)
		e := must(ParseEntry(Destination, value))
		if err := w.book.Edit(wl.Key(), e, Edit{By: "ann", Reason: "ticket 7", Remove: remove}); err != nil {
			t.Fatal(err)
		}
	}
	edit("tcp/9 10.0.0.0/8", false)
	w.quiet(w.meets(wl, p, other, "", "10.0.3.7:9"))
	edit("tcp/5432 10.66.0.0/16", true)
	if d := w.one(w.meets(wl, p, db, "", "10.66.0.1:5432"), RuleDestination); !strings.Contains(d.Message, "forbidden by ann") {
		t.Errorf("%s", d.Message)
	}
	edit("tcp/6379 workload:"+cache, true)
	w.one(w.meets(wl, p, cache, "", "172.17.0.2:6379"), RuleDestination)

	r := must(w.book.Profile(wl.Key())).Restriction()
	for _, c := range []struct {
		e    *bollwerk.Event
		want bool
	}{
		{w.meets(wl, p, db, "", "10.1.2.3:5432"), true},
		{w.meets(wl, p, db, "", "10.66.0.1:5432"), false},
		{w.meets(wl, p, cache, "", "172.17.0.2:6379"), false},
		{w.meets(wl, p, "", "", "10.0.3.7:5432"), false},
	} {
		if got := r.Allows(c.e); got != c.want {
			t.Errorf("%s at %s allowed: %v", c.e.Connection.Peer, c.e.Connection.Remote, got)
		}
	}
	// It survives an export.
	var out bytes.Buffer
	if err := w.book.Export(wl.Key(), &out); err != nil {
		t.Fatal(err)
	}
	again := must(must(ReadDocument(&out)).Profile("n1"))
	if ds := Diff(must(w.book.Profile(wl.Key())), again); len(ds) > 0 {
		t.Errorf("an export differs: %v", ds)
	}
}

// TestClientsAreLearned: the same for those that connect.
func TestClientsAreLearned(t *testing.T) {
	w := newWorld(t, Config{})
	wl, p := w.learned(3, 8*24*time.Hour, Learn)
	accept := func(peer, from string) *bollwerk.Event {
		e := w.event(wl, bollwerk.EventAccept, p)
		e.Connection = &bollwerk.Connection{Protocol: "tcp", Local: netip.MustParseAddrPort("0.0.0.0:80"), Remote: netip.MustParseAddrPort(from), Peer: peer}
		return e
	}
	w.quiet(accept("container docker/front", "172.17.0.5:40000"))
	if err := w.book.Advance(wl.Key(), Observe, "test", "enough"); err != nil {
		t.Fatal(err)
	}
	w.quiet(accept("container docker/front", "172.17.0.9:40000"))
	if d := w.one(accept("container docker/else", "172.17.0.5:40000"), RuleClient); !strings.Contains(d.Nearest, "container docker/front") {
		t.Errorf("nearest %s", d.Nearest)
	}
}

// TestPeersCostNothing: a known workload at the other end allocates no more than an address.
func TestPeersCostNothing(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	e := w.meets(wl, p, "pod shop/StatefulSet/db", "db.shop.svc", "10.0.3.7:5432")
	w.quiet(e)
	if n := testing.AllocsPerRun(100, func() { w.book.Observe(e, false) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
