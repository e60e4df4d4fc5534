package network

import (
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

// What is said comes to the sensor the same, however a process hands it to the kernel.

// sayOtherwise sends a text in pieces of five bytes in one call, or from a file.
func sayOtherwise(fd int, way, text string) error {
	if way == "writev" {
		var pieces [][]byte
		for b := []byte(text); len(b) > 0; b = b[min(5, len(b)):] {
			pieces = append(pieces, b[:min(5, len(b))])
		}
		_, err := unix.Writev(fd, pieces)
		return err
	}
	file, err := unix.MemfdCreate("said", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(file)
	if _, err := unix.Write(file, []byte(text)); err != nil {
		return err
	}
	var from int64
	_, err = unix.Sendfile(fd, file, &from, len(text))
	return err
}

// dnsPieces sends a question that the kernel puts together of two pieces, and waits for
// the answer.
func dnsPieces(server string, q []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	a := netip.MustParseAddrPort(server)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}); err != nil {
		return err
	}
	if err := unix.Send(fd, q[:10], unix.MSG_MORE); err != nil {
		return err
	}
	if err := unix.Send(fd, q[10:], 0); err != nil {
		return err
	}
	_, err = unix.Read(fd, make([]byte, 512))
	return err
}

// dnsStream asks twice over one connection.
func dnsStream(server, one, two string) error {
	c, err := net.Dial("tcp", server)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	for i, name := range []string{one, two} {
		q, err := dnsQuestion(name, dnsmessage.TypeA)
		if err != nil {
			return err
		}
		size := []byte{byte(len(q) >> 8), byte(len(q))}
		if i == 0 {
			if _, err := c.Write(size); err != nil {
				return err
			}
			size = nil
		}
		if _, err := c.Write(append(size, q...)); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			return err
		}
		if _, err := c.Read(make([]byte, 512)); err != nil {
			return err
		}
	}
	return nil
}

func TestMiningProtocolWays(t *testing.T) {
	const said = `{"id":1,"method":"mining.subscribe","params":["cpuminer/2.5"]}`
	text, _ := json.Marshal(said + "\n")
	for _, way := range []string{"writev", "sendfile", "fastopen-say"} {
		t.Run(way, func(t *testing.T) {
			for _, enforce := range []bool{false, true} {
				w := sharedWatch(t)
				h := contained(t)
				addr := h.ok("listen tcp4 127.0.0.1:0")
				if enforce {
					w.hold(h, sensor.Policy{Enforce: sensor.GuardMiner})
				}
				to := addr
				if way != "fastopen-say" {
					to = h.ok("connect %s", addr)
				}
				h.do("%s %s %s", way, to, text)
				e := w.await("protocol", h.by(bollwerk.EventProtocol))
				if e.Object.Value != said || e.Connection.Remote.String() != addr {
					t.Errorf("%+v %+v", e.Object, e.Connection)
				}
				t.Logf("enforced %v: %v by %s", enforce, e.Outcome, e.Source)
				switch {
				case !enforce && e.Outcome != bollwerk.Seen, enforce && e.Outcome == bollwerk.Seen:
					t.Errorf("enforced %v: %v by %s", enforce, e.Outcome, e.Source)
				case e.Outcome == bollwerk.Killed:
					if got := h.do("lo"); got != "" {
						t.Errorf("told as killed by %s, but it lives", e.Source)
					}
				}
			}
		})
	}
}

// A process that only reads is told of while its connection lasts, or when it ends where
// the doctor says so.
func TestReaderOnly(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	const n = 20_000_000 // more packets than LONG
	addr := h.ok("source 127.0.0.1:0 %d", n)
	id, _, _ := strings.Cut(h.ok("dial tcp4 %s", addr), " ")
	h.ok("drain %s %d", id, n)
	if w.says("flow", flowsAtTheEnd) {
		h.ok("close %s", id)
		h.ok("source-close")
	}
	out, in := sumFlowsUntil(t, w, h, func(out, in bollwerk.Flow) bool { return out.ReceivedBytes >= n && in.SentBytes >= n })
	if out.ReceivedBytes != n || in.SentBytes != n || out.SentBytes != 0 {
		t.Errorf("out %+v, in %+v, want %d bytes", out, in, n)
	}
}

func TestDNSWays(t *testing.T) {
	w := sharedWatch(t)
	h := contained(t)
	h.ok("dns-serve 127.0.0.1:53")
	h.ok("dns-pieces 127.0.0.1:53 pieces.example.")
	h.ok("dns-stream 127.0.0.1:53 alone.example. together.example.")
	for _, name := range []string{"pieces.example", "alone.example", "together.example"} {
		for _, answer := range []bool{false, true} {
			e := w.await(name, func(e *bollwerk.Event) bool {
				return h.by(bollwerk.EventDNS)(e) && e.DNS.Name == name && e.DNS.Answer == answer
			})
			if e.DNS.Truncated || e.DNS.Type != "A" || answer && len(e.DNS.Addresses) != 1 {
				t.Errorf("%s, answer %v: %+v by %s", name, answer, e.DNS, e.Source)
			}
		}
	}
}

func TestReadPages(t *testing.T) {
	const list = "ffffffff81000000 T _text\nffffffff82c0a3b0 D page_offset_base\nffffffff82c0a3b1 d other_base\n" +
		"ffffffff82c0a3c0 D vmemmap_base\n"
	if p := readPages(strings.NewReader(list)); p.Memory != 0xffffffff82c0a3b0 || p.Table != 0xffffffff82c0a3c0 {
		t.Errorf("%x", p)
	}
	if p := readPages(strings.NewReader("0000000000000000 D page_offset_base\nx\n")); p.Memory != 0 || p.Table != 0 {
		t.Errorf("of a list without addresses: %x", p)
	}
}
