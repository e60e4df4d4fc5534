package network

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

func TestDatagrams(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	one, two, three := h.ok("udp-listen 127.0.0.1:5301"), h.ok("udp-listen 127.0.0.1:5302"), h.ok("udp-listen [::1]:5303")
	if b := w.await("bind", h.by(bollwerk.EventBind)); b.Connection.Protocol != "udp" {
		t.Errorf("bind: %+v", b.Connection)
	}
	id := h.ok("udp-open")
	for _, peer := range []string{one, two, three} {
		h.ok("udp-send %s %s 100 20", id, peer)
	}
	// Connected, too.
	c, _, _ := strings.Cut(h.ok("dial udp4 %s", one), " ")
	for range 10 {
		h.ok("echo %s 1000", c)
	}
	for peer, want := range map[string]uint64{one: 20*100 + 10*1000, two: 20 * 100, three: 20 * 100} {
		addr := netip.MustParseAddrPort(peer)
		e := w.await("send", func(e *bollwerk.Event) bool {
			return h.by(bollwerk.EventSend)(e) && e.Connection.Remote == addr
		})
		if e.Connection.Protocol != "udp" || !e.Connection.Outgoing {
			t.Errorf("send: %+v", e.Connection)
		}
		var sent, received, back uint64
		w.await("flow to "+peer, func(*bollwerk.Event) bool {
			sent, received, back = 0, 0, 0
			for _, e := range w.events {
				if !h.by(bollwerk.EventFlow)(e) {
					continue
				}
				if e.Connection.Outgoing && e.Connection.Remote == addr {
					sent += e.Flow.SentBytes
					received += e.Flow.ReceivedBytes
				}
				if !e.Connection.Outgoing && e.Connection.Local.Port() == addr.Port() {
					back += e.Flow.SentBytes
				}
			}
			return sent >= want && received >= want && back >= want
		})
		if sent != want || received != want || back != want {
			t.Errorf("%s: sent %d, received %d, sent by the server %d, want %d", peer, sent, received, back, want)
		}
	}
	if n := len(w.all(func(e *bollwerk.Event) bool { return h.by(bollwerk.EventSend)(e) })); n != 3 {
		t.Errorf("%d send events, want one for each of 3 peers", n)
	}
}

func TestDNS(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	h.ok("dns-serve 127.0.0.1:53")
	h.ok("dns-serve [::1]:53")
	h.ok("listen tcp4 127.0.0.12:8080")
	for _, c := range []struct {
		network, server, name string
		kind                  int
	}{
		{"udp", "127.0.0.1:53", "WwW.Example.", 1}, {"udp", "[::1]:53", "six.example.", 16}, {"tcp", "127.0.0.1:53", "stream.example.", 1},
	} {
		t.Run(c.network+" "+c.server, func(t *testing.T) {
			size := h.ok("dns %s %s %s %d", c.network, c.server, c.name, c.kind)
			name := strings.ToLower(strings.TrimSuffix(c.name, "."))
			of := func(answer bool) func(e *bollwerk.Event) bool {
				return func(e *bollwerk.Event) bool {
					return h.by(bollwerk.EventDNS)(e) && e.DNS.Name == name && e.DNS.Answer == answer
				}
			}
			q := w.await("question", of(false))
			if q.DNS.ID != 4711 || q.DNS.Server.String() != c.server || q.DNS.Truncated || q.Connection.Protocol != c.network {
				t.Errorf("question %+v %+v", q.DNS, q.Connection)
			}
			a := w.await("answer", of(true)).DNS
			want := size != ""
			if c.kind == 1 {
				want = want && a.Code == "NOERROR" && a.Type == "A" && a.TTL == 60 && a.Records == 2 && slices.Equal(a.Aliases, []string{"alias.example"}) &&
					len(a.Addresses) == 1 && a.Addresses[0] == netip.MustParseAddr(fmt.Sprintf("127.0.0.%d", len(c.name)))
			} else {
				want = want && a.Code == "NXDOMAIN" && a.Type == "TXT" && len(a.Addresses) == 0
			}
			if !want {
				t.Errorf("answer %+v", a)
			}
		})
	}
	// The name asked for stands beside the connection that follows.
	h.ok("dial tcp4 127.0.0.12:8080")
	if e := w.await("connect", func(e *bollwerk.Event) bool {
		return h.by(bollwerk.EventConnect)(e) && e.Connection.Remote.Port() == 8080
	}); e.Connection.Name != "www.example" {
		t.Errorf("name %q, want www.example", e.Connection.Name)
	}
	// The same question again is only counted.
	for range 20 {
		h.ok("dns udp 127.0.0.1:53 again.example. 1")
	}
	h.ok("dns udp 127.0.0.1:53 last.example. 1")
	w.await("the last answer", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventDNS && e.DNS.Name == "last.example" && e.DNS.Answer
	})
	if n := len(w.all(func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventDNS && e.DNS.Name == "again.example" })); n != 2 {
		t.Errorf("%d events for 20 equal look-ups, want a question and an answer", n)
	}
}

// Every distinct name comes through, or is counted as lost.
func TestDNSFlood(t *testing.T) {
	w := newWatch(t, Config{FlowEvery: 200 * time.Millisecond})
	h := contained(t)
	h.ok("dns-serve 127.0.0.1:53")
	n := 800
	if testing.Short() {
		n = 100
	}
	for i := range n {
		h.ok("dns udp 127.0.0.1:53 x%d.tunnel.example. 16", i)
	}
	names := map[string]bool{}
	w.await("all names or their loss", func(*bollwerk.Event) bool {
		clear(names)
		records, lost := uint64(0), uint64(0)
		for _, e := range w.events {
			if h.by(bollwerk.EventDNS)(e) && strings.HasSuffix(e.DNS.Name, "tunnel.example") {
				names[e.DNS.Name] = true
				records++
			}
			if e.Kind == bollwerk.EventLoss && e.Loss.Kind == bollwerk.EventDNS {
				lost += e.Loss.Count
			}
		}
		return records+lost >= 2*uint64(n)
	})
	t.Logf("%d of %d names came through", len(names), n)
	if len(names) < n/4 {
		t.Errorf("only %d of %d names", len(names), n)
	}
}

func TestMiningProtocol(t *testing.T) {
	w := sharedWatch(t)
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	for name, c := range map[string]struct {
		text string
		want string // Object.Type, "" for nothing
	}{
		"subscribe":  {`{"id":1,"method":"mining.subscribe","params":["cpuminer/2.5"]}` + "\n", "stratum v1"},
		"xmrig":      {`{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"4A1b","pass":"x","agent":"XMRig/6.21.0","algo":["rx/0"]}}` + "\n", "stratum v1"},
		"no agent":   {`{"method":"login","params":{"login":"4A1b","pass":"x"},"id":1}` + "\n", "stratum v1"},
		"eth":        {`{"id":1,"method":"eth_submitLogin","params":["0x12"],"worker":"a"}` + "\n", "stratum v1"},
		"v2":         {"\x00\x00\x00\x1f\x00\x00\x00\x02\x00\x02\x00\x00\x00\x00\x00\x0cpool.example" + strings.Repeat("\x01", 9), "stratum v2"},
		"json-rpc":   {`{"jsonrpc":"2.0","method":"login","params":{"user":"a"},"id":1}` + "\n", ""},
		"http":       {"POST / HTTP/1.1\r\nHost: a\r\n\r\n{\"method\":\"mining.subscribe\"}", ""},
		"just words": {`{"text":"about \"mining.\" and more of it"}` + "\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := contained(t)
			addr := h.ok("listen tcp4 127.0.0.1:0")
			id, _, _ := strings.Cut(h.ok("dial tcp4 %s", addr), " ")
			h.ok("say %s %s", id, quote(c.text))
			if c.want == "" {
				h.ok("dial tcp4 %s", h.ok("listen tcp4 127.0.0.2:0")) // whatever was seen comes before this
				w.await("marker", func(e *bollwerk.Event) bool {
					return h.by(bollwerk.EventConnect)(e) && e.Connection.Remote.Addr() == netip.MustParseAddr("127.0.0.2")
				})
				if found := w.all(h.by(bollwerk.EventProtocol)); len(found) > 0 {
					t.Errorf("seen as %+v", found[0].Object)
				}
				return
			}
			e := w.await("protocol", h.by(bollwerk.EventProtocol))
			if e.Object.Name != "stratum" || e.Object.Type != c.want || e.Connection.Remote.String() != addr || e.Outcome != bollwerk.Seen {
				t.Errorf("%+v %+v", e.Object, e.Connection)
			}
			if c.want == "stratum v1" && e.Object.Value != strings.TrimSpace(c.text) {
				t.Errorf("value %q", e.Object.Value)
			}
		})
	}
}

func TestRawSocket(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	h.ok("raw")
	if e := w.await("raw socket", h.by(bollwerk.EventSocket)); e.Connection.Protocol != "raw" {
		t.Errorf("%+v", e.Connection)
	}
}

func TestExistingSockets(t *testing.T) {
	h := contained(t)
	addr := netip.MustParseAddrPort(h.ok("listen tcp4 127.0.0.1:0"))
	udp := netip.MustParseAddrPort(h.ok("udp-listen 127.0.0.1:5301"))
	id, _, _ := strings.Cut(h.ok("dial tcp4 %s", addr), " ")
	h.ok("echo %s 5000", id)
	w := newWatch(t, Config{FlowEvery: 200 * time.Millisecond})
	onlyListens := w.says("existing sockets", olderOnlyListens)
	for _, c := range []struct {
		kind  bollwerk.EventKind
		match func(*bollwerk.Connection) bool
	}{
		{bollwerk.EventListen, func(c *bollwerk.Connection) bool { return c.Local == addr }},
		{bollwerk.EventBind, func(c *bollwerk.Connection) bool { return c.Local == udp && c.Protocol == "udp" }},
		{bollwerk.EventConnect, func(c *bollwerk.Connection) bool { return c.Remote == addr && c.Outgoing }},
		{bollwerk.EventAccept, func(c *bollwerk.Connection) bool { return c.Local == addr && !c.Outgoing }},
	} {
		if onlyListens && c.kind != bollwerk.EventListen {
			continue
		}
		e := w.await("existing "+c.kind.String(), func(e *bollwerk.Event) bool { return h.by(c.kind)(e) && c.match(e.Connection) })
		if e.Source != "iter/task_file" {
			t.Errorf("%s: source %q", c.kind, e.Source)
		}
	}
	if !onlyListens {
		// What they say from now on is counted, and only that.
		h.ok("echo %s 777", id)
		out, in := sumFlows(t, w, h, 0, 777)
		if out.SentBytes != 777 || out.ReceivedBytes != 777 || in.SentBytes != 777 {
			t.Errorf("out %+v in %+v, want 777 bytes", out, in)
		}
	}
	// New connections to an old listener belong to its process.
	h.ok("dial tcp4 %s", addr)
	w.await("accept", func(e *bollwerk.Event) bool { return h.by(bollwerk.EventAccept)(e) && e.Source != "iter/task_file" })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if onlyListens && e.Source == "iter/task_file" && e.Kind != bollwerk.EventListen {
			t.Errorf("an older %s is told, which the doctor denies", e.Kind)
		}
	}
}
