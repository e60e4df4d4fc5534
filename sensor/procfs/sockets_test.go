package procfs

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

func TestSocketsSeen(t *testing.T) {
	c := watch(t, sensor.Options{NoBPF: true}, &Sockets{Interval: 20 * time.Millisecond})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	e := c.find(t, "listen", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventListen && e.Connection.Local == at })
	if e.Process == nil || e.Process.PID != uint32(os.Getpid()) {
		t.Errorf("listener of %+v, want ours", e.Process)
	}
	conn, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	c.find(t, "connect", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventConnect && e.Connection.Remote == at && e.Connection.Outgoing
	})
	c.find(t, "accept", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventAccept && e.Connection.Local == at && e.Connection.Remote == conn.LocalAddr().(*net.TCPAddr).AddrPort()
	})
}

func TestPacketSocketsSeen(t *testing.T) {
	root(t)
	c := watch(t, sensor.Options{NoBPF: true}, &Connector{}, &Sockets{Interval: 20 * time.Millisecond,
		Covered: func(a string) bool { return a != AreaPacket }})
	cmd, _ := helper(t, "packet", "unshare", "-n")
	e := c.find(t, "packet socket", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventSocket && e.Connection.Protocol == "packet" && e.Process != nil && e.Process.PID == uint32(cmd.Process.Pid)
	})
	if e.Connection.NetNS == c.s.Kernel().HostNamespaces().Net {
		t.Error("found in the host's namespace, made in its own")
	}
}

func TestParseSocket(t *testing.T) {
	x, ok := parseSocket("   0: 0100007F:1F90 0200A8C0:0035 01 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000 100 0 0 10 0", "tcp")
	if !ok || x.local != netip.MustParseAddrPort("127.0.0.1:8080") || x.remote != netip.MustParseAddrPort("192.168.0.2:53") || x.inode != 4242 || x.state != stateEstablished {
		t.Errorf("%+v %v", x, ok)
	}
	x, ok = parseSocket("0: 00000000000000000000000001000000:0050 0000000000000000FFFF00000100007F:0051 0A 0:0 0:0 0 0 0 7 1 0 1", "tcp")
	if !ok || x.local != netip.MustParseAddrPort("[::1]:80") || x.remote != netip.MustParseAddrPort("127.0.0.1:81") {
		t.Errorf("%+v %v", x, ok)
	}
}

func FuzzParseSocket(f *testing.F) {
	f.Add("0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 4242 1", "tcp")
	f.Add("ffff 3 3 0003 2 1 0 0 77", "packet")
	f.Fuzz(func(t *testing.T, line, protocol string) { parseSocket(line, protocol) })
}
