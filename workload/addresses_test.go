package workload

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// TestAddresses tells the story of an address that changes hands.
func TestAddresses(t *testing.T) {
	a := NewAddresses()
	start := time.Unix(1_700_000_000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	addr := netip.MustParseAddr("10.88.0.2")
	web, db, twin := Claimant{"web", 1}, Claimant{"db", 2}, Claimant{"twin", 3}
	owner := func(s int, want string) {
		t.Helper()
		if got := a.Owner(addr, at(s)); got != want {
			t.Errorf("at %d s: %q, want %q", s, got, want)
		}
	}
	claim := func(who Claimant, name string, space uint64, since, now int, addrs ...netip.Addr) string {
		changed := a.Claim(who, name, space, addrs, at(since), at(now))
		slices.Sort(changed)
		return strings.Join(changed, ",")
	}
	owner(0, "")
	if got := claim(web, "web", 7, 0, 1, addr); got != "web" {
		t.Errorf("changed: %q", got)
	}
	owner(5, "web")
	owner(-10, "")     // before it was there
	owner(-600, "web") // a clock that was turned back
	if a.Owner(netip.MustParseAddr("::ffff:10.88.0.2"), at(5)) != "web" {
		t.Error("the same address in the form of version 6")
	}
	if got := claim(web, "web", 7, 0, 2, addr); got != "" {
		t.Errorf("the same again changed %q", got)
	}
	// A replica of it in another network: still the same workload.
	claim(twin, "web", 8, 0, 2, addr)
	owner(5, "web")
	// Another one in a network of the same range.
	if got := claim(db, "db", 9, 3, 3, addr); got != "db" {
		t.Errorf("changed: %q", got)
	}
	owner(5, "")
	owner(2, "web")
	if s := a.Stats(); s.Ambiguous != 1 || s.Addresses != 1 {
		t.Errorf("%+v", s)
	}
	if got := a.Of("db"); !slices.Equal(got, []netip.Addr{addr}) || !slices.Equal(a.Shared(got), got) {
		t.Errorf("%v, shared %v", got, a.Shared(got))
	}
	if got := a.Rivals("db", []netip.Addr{addr}); !slices.Equal(got, []Claimant{web, twin}) {
		t.Errorf("rivals %v", got)
	}
	// The others end: what was theirs stays theirs, for the time that was.
	if got := claim(web, "web", 0, 0, 10) + claim(twin, "web", 0, 0, 10); got != "webweb" {
		t.Errorf("changed: %q", got)
	}
	owner(2, "web")
	owner(8, "")
	owner(11, "db")
	if len(a.Of("web")) != 0 || len(a.Shared(a.Of("db"))) != 0 {
		t.Errorf("web at %v, shared %v", a.Of("web"), a.Shared(a.Of("db")))
	}
	// It is named later.
	if got := claim(db, "pod shop/Deployment/db", 9, 3, 12, addr); got != "db,pod shop/Deployment/db" {
		t.Errorf("changed: %q", got)
	}
	owner(11, "pod shop/Deployment/db")
	if len(a.Of("db")) != 0 || len(a.Of("pod shop/Deployment/db")) != 1 {
		t.Error("the name before is still known")
	}
	// The host takes it.
	a.Host([]netip.Addr{addr})
	owner(11, "")
	if len(a.Of("pod shop/Deployment/db")) != 0 {
		t.Error("an address of the host is a workload's")
	}
	a.Host(nil)
	owner(11, "pod shop/Deployment/db")
	a.Forget(at(10 + 121))
	owner(2, "")
	if got := testing.AllocsPerRun(100, func() { a.Owner(addr, at(11)) }); got != 0 {
		t.Errorf("%g allocations", got)
	}
}

// TestSilentCluster: what a cluster said names nobody when it was silent for long, and is kept;
// what is seen on this machine goes first.
func TestSilentCluster(t *testing.T) {
	a := NewAddresses()
	now := time.Unix(1_700_000_000, 0)
	addr := netip.MustParseAddr("10.244.1.5")
	const cart, app = "pod shop/Deployment/cart", "container docker/app"
	a.Claim(Claimant{ID: "u1"}, cart, 0, []netip.Addr{addr}, time.Time{}, now)
	for _, c := range []struct {
		silent, at time.Time
		want       string
	}{{time.Time{}, now, cart}, {now, now.Add(4 * time.Minute), cart}, {now, now.Add(6 * time.Minute), ""}, {time.Time{}, now.Add(6 * time.Minute), cart}} {
		a.Silent(c.silent)
		if got := a.Owner(addr, c.at); got != c.want || !slices.Equal(a.Of(cart), []netip.Addr{addr}) {
			t.Errorf("silent since %v, at %v: %q, at %v", c.silent, c.at, got, a.Of(cart))
		}
	}
	a.Claim(Claimant{"app", 1}, app, 7, []netip.Addr{addr}, now, now)
	if got := a.Owner(addr, now); got != app || a.Stats().Ambiguous != 0 {
		t.Errorf("%q, %+v", got, a.Stats())
	}
}

// TestAddressesBounded: claims beyond the bounds are counted, and never name the wrong one.
func TestAddressesBounded(t *testing.T) {
	a := NewAddresses()
	now := time.Unix(1_700_000_000, 0)
	addr := netip.MustParseAddr("10.88.0.2")
	for i := range 2 * mostClaims {
		name := "crowd"
		if i == 2*mostClaims-1 {
			name = "other"
		}
		a.Claim(Claimant{fmt.Sprint(i), 1}, name, uint64(i), []netip.Addr{addr}, now, now)
	}
	if got := a.Owner(addr, now); got != "" {
		t.Errorf("of an address with claims that were not kept: %q", got)
	}
	if s := a.Stats(); s.Dropped != mostClaims || s.Ambiguous != 1 {
		t.Errorf("%+v", s)
	}
	// One that starts again and again under its address keeps it.
	addr = netip.MustParseAddr("10.88.0.3")
	for i := range 100 {
		who := Claimant{"again", uint64(i)}
		at := now.Add(time.Duration(i) * time.Second)
		a.Claim(who, "again", 1, []netip.Addr{addr}, at, at)
		if got := a.Owner(addr, at); got != "again" {
			t.Fatalf("start %d: %q", i, got)
		}
		a.Claim(who, "again", 1, nil, at, at.Add(500*time.Millisecond))
	}
	if n := len(a.byAddr[addr]); n > mostClaims {
		t.Errorf("%d claims are kept", n)
	}
	before := a.Stats().Dropped
	for i := range mostKnown + 10 {
		b := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		a.Claim(Claimant{fmt.Sprint("c", i), 2}, "many", 1, []netip.Addr{b}, now, now)
	}
	if n, dropped := len(a.byAddr), a.Stats().Dropped-before; n > mostKnown || dropped == 0 {
		t.Errorf("%d addresses are known, %d dropped", n, dropped)
	}
}

func TestPeerName(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		w    *bollwerk.Workload
		want string
	}{
		{nil, ""},
		{&bollwerk.Workload{Kind: bollwerk.WorkloadUnit, Unit: "nginx.service"}, ""},
		{&bollwerk.Workload{Pod: &bollwerk.Pod{Namespace: "shop", Name: "cart-5d9-x", OwnerKind: "Deployment", OwnerName: "cart", Container: "app"}, Container: &bollwerk.Container{ID: "1"}}, "pod shop/Deployment/cart"},
		{&bollwerk.Workload{Pod: &bollwerk.Pod{Namespace: "shop", Name: "once"}}, "pod shop/Pod/once"},
		{&bollwerk.Workload{Pod: &bollwerk.Pod{UID: "1-2"}, Container: &bollwerk.Container{ID: "1", Name: "web", Runtime: "containerd"}}, "container containerd/web"},
		{&bollwerk.Workload{Container: &bollwerk.Container{ID: "1", Name: "web", Runtime: "docker", Image: "nginx:1.27"}}, "container docker/web"},
		{&bollwerk.Workload{Container: &bollwerk.Container{ID: "1", Runtime: "runc"}}, "container runc/1"},
		{&bollwerk.Workload{Container: &bollwerk.Container{Name: "shop-web-1", Owner: "shop/web", Runtime: "docker", Image: "reg.example:5000/web:1.2@sha256:ab"}}, "container docker/shop/web of reg.example:5000/web"},
		{&bollwerk.Workload{Container: &bollwerk.Container{Name: "a*\x1b\xff", Runtime: "runc"}}, "container runc/a???"},
		{&bollwerk.Workload{Container: &bollwerk.Container{Name: long, Runtime: "runc"}}, ("container runc/" + long)[:256]},
	} {
		if got := PeerName(c.w); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func BenchmarkOwner(b *testing.B) {
	a := NewAddresses()
	now := time.Now()
	for i := range 400 {
		a.Claim(Claimant{fmt.Sprint(i), 1}, fmt.Sprint("workload ", i), 1, []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, now, now)
	}
	addr := netip.MustParseAddr("10.0.0.77")
	b.ReportAllocs()
	for b.Loop() {
		a.Owner(addr, now)
	}
}
