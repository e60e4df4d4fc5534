package network

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

func TestConnectAcceptListen(t *testing.T) {
	w := sharedWatch(t)
	for _, c := range []struct{ name, network, address string }{
		{"v4", "tcp4", "127.0.0.1:"},
		{"v6", "tcp6", "[::1]:"},
		{"multipath", "mptcp4", "127.0.0.1:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := contained(t)
			// What the kernel refuses by itself is not told; the port 0 that clients bind to is neither.
			expect(t, h, "err EADDRNOTAVAIL", "listen tcp4 192.0.2.1:81")
			h.ok("bind tcp 0")
			port := 1024 + int(h.pid())%30000 // of this test alone: what repeats is not told again
			addr := netip.MustParseAddrPort(h.ok("listen %s %s", strings.TrimPrefix(c.network, "mp"), c.address+strconv.Itoa(port)))
			b := w.await("bind", h.by(bollwerk.EventBind))
			if b.Connection.Local != addr || b.Connection.Protocol != "tcp" || b.Connection.Outgoing || b.Result != 0 || b.Outcome != bollwerk.Seen {
				t.Errorf("bind: %+v %+v, want local %v", b, b.Connection, addr)
			}
			l := w.await("listen", h.by(bollwerk.EventListen))
			for _, kind := range []bollwerk.EventKind{bollwerk.EventBind, bollwerk.EventListen} {
				if all := w.all(h.by(kind)); len(all) != 1 {
					t.Errorf("%d of %s are told, want the one that took the port", len(all), kind)
				}
			}
			if l.Connection.Local != addr || l.Connection.Protocol != "tcp" || l.Connection.Outgoing {
				t.Errorf("listen: %+v, want local %v", l.Connection, addr)
			}
			_, local, _ := strings.Cut(h.ok("dial %s %s", c.network, addr), " ")
			e := w.await("connect", h.by(bollwerk.EventConnect))
			if e.Connection.Remote != addr || e.Connection.Local.String() != local || e.Result != 0 || !e.Connection.Outgoing || e.Outcome != bollwerk.Seen {
				t.Errorf("connect: %+v %+v, want local %v", e, e.Connection, local)
			}
			if e.Connection.Cookie == 0 && !w.says("connect", noCookie) || e.Connection.NetNS == 0 || e.Connection.NetNS == w.sensor.Kernel().HostNamespaces().Net {
				t.Errorf("connect: cookie %d, network namespace %d", e.Connection.Cookie, e.Connection.NetNS)
			}
			a := w.await("accept", h.by(bollwerk.EventAccept))
			if a.Connection.Local != addr || a.Connection.Remote.String() != local || a.Connection.Outgoing {
				t.Errorf("accept: %+v", a.Connection)
			}
		})
	}
}

// The kernel says that a socket listens before it asks whether it may. Where the port is another's
// by then, that is told.
func TestListenFails(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	port := 1024 + int(h.pid())%30000
	expect(t, h, "err EADDRINUSE", "listen-taken %d", port)
	if w.sensor.Kernel().Before(5, 15) {
		t.Skip("this kernel cannot: programs may not ask in which call they are")
	}
	e := w.await("failed", func(e *bollwerk.Event) bool { return h.by(bollwerk.EventListen)(e) && e.Result != 0 })
	if unix.Errno(e.Result) != unix.EADDRINUSE || int(e.Connection.Local.Port()) != port {
		t.Errorf("%+v: %v", e.Connection, unix.Errno(e.Result))
	}
	// One that is closed did not fail.
	other := contained(t)
	other.ok("listen-closed %d", port+1)
	w.await("listens", other.by(bollwerk.EventListen))
	// What comes later in the ring was told later.
	expect(t, other, "err ECONNREFUSED", "connect 127.0.0.1:%d", port+1)
	w.await("refused", other.by(bollwerk.EventConnect))
	for _, e := range w.all(other.by(bollwerk.EventListen)) {
		if e.Result != 0 {
			t.Errorf("a listener that was closed is told as %v", unix.Errno(e.Result))
		}
	}
}

func TestConnectMapped(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	addr := netip.MustParseAddrPort(h.ok("listen tcp4 127.0.0.1:0"))
	h.ok("connect [::ffff:127.0.0.1]:%d", addr.Port())
	if e := w.await("connect", h.by(bollwerk.EventConnect)); e.Connection.Remote != addr {
		t.Errorf("remote %v, want the plain %v", e.Connection.Remote, addr)
	}
}

func TestConnectFailures(t *testing.T) {
	w := sharedWatch(t)
	for _, c := range []struct {
		name, verb, answer string
		result             unix.Errno
	}{
		{"refused", "connect 127.0.0.1:9", "err ECONNREFUSED", unix.ECONNREFUSED},
		{"refused, not blocking", "dial tcp4 127.0.0.1:10", "err ECONNREFUSED", unix.ECONNREFUSED},
		{"no route", "connect 192.0.2.1:9", "err ENETUNREACH", unix.ENETUNREACH},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := contained(t)
			if got := h.do("%s", c.verb); got != c.answer {
				t.Fatalf("%s: %q, want %q", c.verb, got, c.answer)
			}
			e := w.await("connect", h.by(bollwerk.EventConnect))
			if unix.Errno(e.Result) != c.result {
				t.Errorf("result %v, want %v", unix.Errno(e.Result), c.result)
			}
		})
	}
}

// Nobody answers: the kernel gives up, or the caller does.
func TestConnectTimeout(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	h.ok("route 10.9.0.0/24")
	if got := h.do("dial tcp4 10.9.0.1:80 200ms"); got != "err timeout" {
		t.Fatal(got)
	}
	if e := w.await("given up", h.by(bollwerk.EventConnect)); unix.Errno(e.Result) != unix.ECANCELED {
		t.Errorf("result %v, want ECANCELED", unix.Errno(e.Result))
	}
	if testing.Short() {
		t.Skip("the kernel needs 3 seconds to give up")
	}
	if got := h.do("connect-once 10.9.0.2:80"); got != "err ETIMEDOUT" {
		t.Fatal(got)
	}
	w.await("timed out", func(e *bollwerk.Event) bool {
		return h.by(bollwerk.EventConnect)(e) && unix.Errno(e.Result) == unix.ETIMEDOUT
	})
}

// A ring that is full keeps nobody waiting, and every record it did not take is counted.
func TestFullRing(t *testing.T) {
	w := openRing(t, Config{FlowEvery: 200 * time.Millisecond}, 64<<10)
	h := contained(t)
	h.cgroup(w.sensor.Kernel()) // losses are told by cgroup
	n := uint64(3000)
	if testing.Short() {
		n = 800
	}
	h.ok("sweep %d", n) // while nobody reads
	w.run()
	var seen, lost, failed uint64
	w.await("all or their loss", func(*bollwerk.Event) bool {
		seen, lost, failed = 0, 0, 0
		for _, e := range w.events {
			switch {
			case h.by(bollwerk.EventConnect)(e):
				seen++
			case e.Kind == bollwerk.EventLoss && e.Loss.Kind == bollwerk.EventConnect && e.Loss.Cgroup == h.join:
				lost += e.Loss.Count
			case h.by(bollwerk.EventFlow)(e):
				failed += e.Flow.Failed
			}
		}
		return seen+lost >= n && failed >= n
	})
	if seen == 0 || lost == 0 || seen+lost != n || failed != n {
		t.Errorf("%d seen, %d lost, %d failures in flows, want %d", seen, lost, failed, n)
	}
}

func TestRepeatsStayInTheKernel(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	addr := h.ok("listen tcp4 127.0.0.1:0")
	const n, size = 50, 12345
	for range n {
		id, _, _ := strings.Cut(h.ok("dial tcp4 %s", addr), " ")
		h.ok("echo %s %d", id, size)
		h.ok("close %s", id)
	}
	out, in := sumFlows(t, w, h, n, n*size)
	if got := len(w.all(h.by(bollwerk.EventConnect))); got != 1 {
		t.Errorf("%d connect events for %d equal connections, want 1", got, n)
	}
	if got := len(w.all(h.by(bollwerk.EventAccept))); got != 1 {
		t.Errorf("%d accept events, want 1", got)
	}
	// Payload, to the byte, in both directions and from both ends.
	for name, f := range map[string]bollwerk.Flow{"outgoing": out, "incoming": in} {
		if f.Connections != n || f.SentBytes != n*size || f.ReceivedBytes != n*size {
			t.Errorf("%s: %d connections, %d sent, %d received, want %d, %d, %d", name, f.Connections, f.SentBytes, f.ReceivedBytes, n, n*size, n*size)
		}
		if f.SentPackets == 0 || f.ReceivedPackets == 0 {
			t.Errorf("%s: no packets", name)
		}
	}
}

// sumFlows waits until the flows of a helper have so many connections and bytes (or more).
func sumFlows(t *testing.T, w *watch, h *helper, connections, bytes uint64) (out, in bollwerk.Flow) {
	t.Helper()
	return sumFlowsUntil(t, w, h, func(out, in bollwerk.Flow) bool {
		return out.Connections >= connections && in.Connections >= connections &&
			out.SentBytes >= bytes && out.ReceivedBytes >= bytes && in.SentBytes >= bytes && in.ReceivedBytes >= bytes
	})
}

func sumFlowsUntil(t *testing.T, w *watch, h *helper, enough func(out, in bollwerk.Flow) bool) (out, in bollwerk.Flow) {
	t.Helper()
	add := func(to *bollwerk.Flow, f *bollwerk.Flow) {
		to.Connections += f.Connections
		to.Failed += f.Failed
		to.SentBytes += f.SentBytes
		to.ReceivedBytes += f.ReceivedBytes
		to.SentPackets += f.SentPackets
		to.ReceivedPackets += f.ReceivedPackets
	}
	w.await("flows", func(*bollwerk.Event) bool {
		out, in = bollwerk.Flow{}, bollwerk.Flow{}
		for _, e := range w.events {
			if !h.by(bollwerk.EventFlow)(e) {
				continue
			}
			if e.Connection.Outgoing {
				add(&out, e.Flow)
			} else {
				add(&in, e.Flow)
			}
		}
		return enough(out, in)
	})
	return out, in
}

// More flows than have a place each: those in the table are summed up as well, and what was
// read leaves its place to the next period.
func TestCrowdOfFlows(t *testing.T) {
	w := newWatch(t, Config{FlowEvery: time.Hour}) // read here, when all is there
	h := contained(t)
	const n = 1500
	for round := range 3 { // two tables in turn, and the first once more
		h.ok("sweep %d", n)
		s := map[uint32]string{0: "_a", 1: "_b"}[w.source.epoch&1]
		placed, listed := 0, 0
		var i uint32
		var p bpf.NetworkBwFlowPlace
		for it := w.source.loaded.Maps["flow_places"+s].Iterate(); it.Next(&i, &p); {
			if p.State == flowHeld && p.Flow.Pid == h.pid() {
				placed++
			}
		}
		var k bpf.NetworkBwFlowKey
		var f bpf.NetworkBwFlow
		for it := w.source.loaded.Maps["flows"+s].Iterate(); it.Next(&k, &f); {
			if f.Pid == h.pid() {
				listed++
			}
		}
		t.Logf("round %d: %d and %d", round, placed, listed)
		if listed == 0 || placed == 0 && !w.source.k.Before(6, 2) || placed+listed != n {
			t.Errorf("round %d: %d have a place, %d stand in the table, want %d in all and some of each", round, placed, listed, n)
		}
		before := len(w.all(h.by(bollwerk.EventFlow)))
		w.source.flipFlows()
		w.source.readFlows()
		flows := w.all(h.by(bollwerk.EventFlow))[before:]
		peers := map[netip.AddrPort]bool{}
		for _, e := range flows {
			if e.Flow.Failed != 1 || e.Flow.To.Before(e.Flow.From) {
				t.Fatalf("round %d: %+v %+v", round, e.Connection, e.Flow)
			}
			peers[e.Connection.Remote] = true
		}
		if len(flows) != n || len(peers) != n {
			t.Errorf("round %d: %d flows to %d peers, want %d", round, len(flows), len(peers), n)
		}
	}
}

// More connections at once than have a place each: those in the table are known as well,
// and leave nothing behind.
func TestCrowd(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	addr := h.ok("listen tcp4 127.0.0.1:0")
	n, most := uint64(0), uint64(2000)
	if testing.Short() {
		most = 500
	}
	// Where sockets lie at even distances few meet in one place.
	for n < most || n < 6000 && spilled(t, w, h) == 0 {
		h.ok("many %s 500", addr)
		n += 500
	}
	if spilled(t, w, h) == 0 {
		t.Error("all had a place of their own: too few to show anything")
	}
	h.ok("none")
	out, in := sumFlows(t, w, h, n, 0)
	if out.Connections != n || in.Connections != n {
		t.Errorf("%d connections out and %d in, want %d", out.Connections, in.Connections, n)
	}
	if got := spilled(t, w, h); got != 0 {
		t.Errorf("%d connections left in the table", got)
	}
}

// spilled connections of a helper.
func spilled(t *testing.T, w *watch, h *helper) (n int) {
	t.Helper()
	m := w.source.loaded.Maps["conns"]
	var at uint64
	c := make([]byte, m.ValueSize())
	it := m.Iterate()
	for it.Next(&at, &c) {
		if binary.NativeEndian.Uint32(c[32:]) == h.pid() { // struct bw_sock: pid
			n++
		}
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}
