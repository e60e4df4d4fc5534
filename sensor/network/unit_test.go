package network

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// The lists as the kernel reads them: the longest prefix, then its ports.
func (t *set) allows(key uint32, addr string, port uint16, protocol uint8) bool {
	a := netip.MustParseAddr(addr)
	longest, row := -1, bpf.NetworkBwNetPorts{}
	for p, r := range t.prefixes {
		bits := int(p.Prefixlen) - 32
		if p.Set == key && bits > longest && sameBits(p.Address, a.As16(), bits) {
			longest, row = bits, r
		}
	}
	if longest < 0 {
		return false
	}
	if protocol == 6 && row.Flags&portsAnyTCP != 0 || protocol == 17 && row.Flags&portsAnyUDP != 0 {
		return true
	}
	_, ok := t.ports[bpf.NetworkBwNetPort{Set: key, Id: row.Id, Port: port, Protocol: protocol}]
	return ok
}

func sameBits(a, b [16]byte, bits int) bool {
	for i := range bits {
		if (a[i/8]^b[i/8])&(0x80>>(i%8)) != 0 {
			return false
		}
	}
	return true
}

func TestCompile(t *testing.T) {
	p := &sensor.Policy{Enforce: sensor.GuardEgress, Egress: []sensor.Peer{
		peer("10.0.0.0/8", 443, "tcp"), peer("10.1.0.0/16", 0, "udp"), peer("10.1.2.7/24", 80, ""), peer("::/0", 22, "tcp"),
		peer("::ffff:192.168.0.0/112", 1, "tcp"), peer("2001:db8::/32", 0, ""),
	}}
	s, err := compile(p, 5)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr     string
		port     uint16
		protocol uint8
		want     bool
	}{
		{"10.9.9.9", 443, 6, true}, {"10.9.9.9", 443, 17, false}, {"10.9.9.9", 80, 6, false},
		{"10.1.9.9", 443, 6, true}, {"10.1.9.9", 9, 17, true}, {"10.1.9.9", 9, 6, false},
		{"10.1.2.3", 443, 6, true}, {"10.1.2.3", 80, 6, true}, {"10.1.2.3", 80, 17, true}, {"10.1.2.3", 81, 6, false},
		{"11.0.0.1", 22, 6, false}, {"192.168.3.4", 1, 6, true}, {"192.169.0.1", 1, 6, false},
		{"2001:db9::1", 22, 6, true}, {"2001:db9::1", 23, 6, false}, {"2001:db8::1", 23, 17, true}, {"2001:db8::1", 22, 6, true},
	} {
		if got := s.allows(10, c.addr, c.port, c.protocol); got != c.want {
			t.Errorf("%s port %d protocol %d: %v, want %v", c.addr, c.port, c.protocol, got, c.want)
		}
	}
	for name, bad := range map[string]*sensor.Policy{
		"protocol":   {Enforce: sensor.GuardEgress, Egress: []sensor.Peer{peer("10.0.0.0/8", 1, "icmp")}},
		"no network": {Report: sensor.GuardIngress, Ingress: []sensor.Peer{{Port: 1}}},
		"too many":   {Enforce: sensor.GuardEgress, Egress: make([]sensor.Peer, peersMost+1)},
		"bind":       {Enforce: sensor.GuardBind, Bind: []sensor.Port{{Protocol: "sctp"}}},
	} {
		if _, err := compile(bad, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNames(t *testing.T) {
	now := time.Unix(1000, 0)
	n := newNames()
	n.now = func() time.Time { return now }
	a := netip.MustParseAddr("192.0.2.1")
	answer := &bollwerk.DNS{Answer: true, Name: "a.example", TTL: 1, Addresses: []netip.Addr{a}}
	n.answer(7, 1, answer, now)
	if got, _ := n.of(7, 1, a); got != "" {
		t.Errorf("%q: an answer nobody asked for was believed", got)
	}
	n.question(7, 1, "a.example")
	n.answer(7, 1, answer, now)
	if got, _ := n.of(7, 1, a); got != "a.example" {
		t.Errorf("%q, want a.example", got)
	}
	if got, borrowed := n.of(8, 1, a); got != "a.example" || !borrowed {
		t.Errorf("same network: %q (borrowed: %v), want a.example, borrowed", got, borrowed)
	}
	if _, borrowed := n.of(7, 1, a); borrowed {
		t.Error("who asked himself borrows")
	}
	if got, _ := n.of(8, 2, a); got != "" {
		t.Errorf("another workload: %q", got)
	}
	now = now.Add(nameFloor + time.Second)
	if got, _ := n.of(7, 1, a); got != "" {
		t.Errorf("after its time: %q", got)
	}
	// However much a workload asks, the others and the memory are safe.
	for w := range uint64(2 * namesWorkloads) {
		for i := range 2 * namesAddresses {
			name := fmt.Sprintf("n%d.example", i)
			n.question(w, uint32(w+1), name)
			n.answer(w, uint32(w+1), &bollwerk.DNS{Name: name, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(w), byte(i >> 8), byte(i)})}}, now)
		}
	}
	total := 0
	for _, w := range n.by {
		total += len(w.address)
		if len(w.address) > namesAddresses || len(w.asked) > namesAsked {
			t.Fatalf("%d addresses, %d questions", len(w.address), len(w.asked))
		}
	}
	if total != n.total || total > namesTotal || len(n.by) > namesWorkloads || len(n.netns) > namesWorkloads {
		t.Errorf("%d addresses (counted %d) of %d workloads, %d networks", total, n.total, len(n.by), len(n.netns))
	}
}

// loop is a message whose names point at each other.
var loop = []byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\xc0\x0e\xc0\x0c\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\x7f\x00\x00\x01")

func TestHostileDNS(t *testing.T) {
	for name, message := range map[string][]byte{
		"nothing":        {},
		"header only":    loop[:12],
		"pointer loop":   loop,
		"pointer ahead":  append(append([]byte{}, loop[:12]...), 0xc0, 0x40, 0, 1, 0, 1),
		"label too long": append(append([]byte{}, loop[:12]...), 0x80, 'a'),
		"no end":         append(append([]byte{}, loop[:12]...), 63),
	} {
		if d := parseDNS(message, true); !d.Truncated || d.Type != Malformed {
			t.Errorf("%s: %+v", name, d)
		}
	}
	// Many records: bounded, and said so.
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("A.b."), Type: 1, Class: 1}}}
	for range dnsRecords + 10 {
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: 1}, Body: &dnsmessage.AResource{}})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if d := parseDNS(b, true); d.Records != dnsRecords || !d.Truncated || d.Name != "a.b" {
		t.Errorf("%d records, truncated %v", d.Records, d.Truncated)
	}
}

func FuzzParseDNS(f *testing.F) {
	f.Add(loop, true)
	f.Add(loop, false)
	m := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("www.example."), Type: 28, Class: 1}}}
	b, _ := m.Pack()
	f.Add(b, false)
	f.Fuzz(func(t *testing.T, message []byte, answer bool) {
		d := parseDNS(message, answer)
		if len(d.Name) > 255 || d.Records > dnsRecords || len(d.Addresses) > dnsRecords || len(d.Aliases) > dnsRecords {
			t.Errorf("%+v", d)
		}
		if d.Name != strings.ToLower(d.Name) {
			t.Errorf("name %q", d.Name)
		}
	})
}

// FuzzDecode: whatever stands in a record, decoding ends without a panic.
func FuzzDecode(f *testing.F) {
	f.Add(uint16(18), make([]byte, unsafe.Sizeof(bpf.NetworkBwDnsEvent{})))
	f.Add(uint16(13), make([]byte, unsafe.Sizeof(bpf.NetworkBwNetEvent{})))
	f.Add(uint16(31), make([]byte, unsafe.Sizeof(bpf.NetworkBwProbeEvent{})))
	f.Add(uint16(31), []byte{})
	s := New(Config{})
	s.k = &sensor.Kernel{}
	f.Fuzz(func(t *testing.T, kind uint16, raw []byte) {
		h := &sensor.Header{Kind: kind}
		e := s.decode(h, raw)
		if e != nil && e.Connection == nil {
			t.Errorf("%+v without a connection", e)
		}
	})
}
