package workload

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

func addresses(s string) (out []netip.Addr) {
	for f := range strings.FieldsSeq(s) {
		out = append(out, netip.MustParseAddr(f))
	}
	return out
}

// TestNetwork looks into the namespace of a real container from outside of it.
func TestNetwork(t *testing.T) {
	h := host(t)
	prerequisite.Root(t)
	path := fmt.Sprintf("/docker-%064x.scope", os.Getpid()+1<<24)
	cgroupOf(t, h, path)
	id, err := h.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, Config{}, &fake{name: "docker", local: func(f Ref) (Found, error) {
		return has(f.ID, Found{Container: bollwerk.Container{Name: "web", PID: 1 << 22}})(f)
	}})
	w := r.Resolve(context.Background(), id, path, 0)
	if _, err := r.Network(w); err == nil {
		t.Error("a container without a process has a network")
	}
	self, err := r.HostNetwork()
	if err != nil || !self.Host || self.Namespace == 0 {
		t.Fatalf("the host's: %+v %v", self, err)
	}
	const up = `ip link add d0 type bridge && ip link set d0 up && ip link set lo up &&
ip addr add 10.99.0.2/24 dev d0 && ip addr add 10.99.0.3/32 dev d0 && ip -6 addr add 2001:db8::5/64 dev d0 nodad && ip route add local 10.98.0.0/16 dev lo && echo up; exec sleep 60`
	script := box(up)
	script = slices.Insert(script, 1, "--net")
	if said := inCgroup(t, h, path, script...); said != "up" {
		t.Fatalf("%q", said)
	}
	n, err := r.Network(w)
	if err != nil || n.Host || n.More || n.Namespace == self.Namespace || !slices.Equal(n.Addresses, addresses("10.99.0.2 10.99.0.3 2001:db8::5")) {
		t.Errorf("%+v %v", n, err)
	}
	// A process of the container that has the host's network says that it has no address.
	path = fmt.Sprintf("/docker-%064x.scope", os.Getpid()+2<<24)
	cgroupOf(t, h, path)
	if id, err = h.ID(path); err != nil {
		t.Fatal(err)
	}
	inCgroup(t, h, path, box("echo up; exec sleep 60")...)
	if n, err := r.Network(r.Resolve(context.Background(), id, path, 0)); err != nil || !n.Host || len(n.Addresses) != 0 {
		t.Errorf("the host's network: %+v %v", n, err)
	}
	// A number that is another process's by now.
	wrong := *w
	c := *w.Container
	wrong.Cgroup, c.PID = 1<<50, uint32(os.Getpid())
	wrong.Container = &c
	if n, err := r.Network(&wrong); err == nil {
		t.Errorf("the namespace of a process that is not inside: %+v", n)
	}
}

// TestTables reads what a kernel shows, and what nobody would write.
func TestTables(t *testing.T) {
	const trie = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.88.0.0/16 2 0 2
           |-- 10.88.0.0
              /16 link UNICAST
           |-- 10.88.0.7
              /32 host LOCAL
        |-- 10.88.255.255
           /32 link BROADCAST
Local:
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
           |-- 169.254.1.1
              /32 host LOCAL
           |-- 10.97.0.0
              /16 host LOCAL
           |-- 10.88.0.7
              /32 host LOCAL
           |-- nonsense
              /32 host LOCAL
`
	var n Network
	readTrie(trie, &n)
	if got := slices.Compact(n.Addresses); !slices.Equal(got, addresses("10.88.0.7")) {
		t.Errorf("%v", got)
	}
	n = Network{}
	readInet6(`20010db8000000000000000000000005 02 40 00 80     eth0
20010db8000000000000000000000006 02 40 00 c0     eth0
20010db8000000000000000000000007 02 40 00 88     eth0
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
zz 1 2 3 4
00ff
`, &n)
	if !slices.Equal(n.Addresses, addresses("2001:db8::5")) {
		t.Errorf("version 6: %v", n.Addresses)
	}
}

func FuzzTables(f *testing.F) {
	f.Add("     |-- 10.88.0.7\n        /32 host LOCAL\n", "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0")
	f.Add("20010db8000000000000000000000005 02 40 00 80 eth0\n", "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0")
	f.Fuzz(func(t *testing.T, table, line string) {
		var n Network
		readTrie(table, &n)
		readInet6(table, &n)
		for _, a := range n.Addresses {
			if !own(a) {
				t.Errorf("%v", a)
			}
		}
		for _, read := range []func(string) (route, bool){readRoute, readRoute6} {
			if x, ok := read(line); ok && !x.to.IsValid() {
				t.Errorf("%+v", x)
			}
		}
	})
}

// TestRoutes: what the host sends to a network inside of the machine is a container's.
func TestRoutes(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"eth0/device", "docker0/lower_veth1", "veth1", "cali1", "cilium_host", "br0/lower_eth0", "br0/lower_veth1", "vlan5/lower_eth0"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := newRoutes(dir)
	for _, a := range addresses("192.0.2.2 172.17.0.1 10.0.1.5") {
		r.own[a] = true
	}
	for _, s := range []string{"0.0.0.0/0 192.0.2.1 eth0", "192.0.2.0/24 - eth0", "172.17.0.0/16 - docker0", "10.1.0.0/16 192.0.2.9 eth0", "10.1.5.6/32 - cali1",
		"10.0.1.0/24 10.0.1.5 cilium_host", "10.0.2.0/24 10.9.9.9 cilium_host", "10.3.0.0/16 - br0", "10.4.0.0/16 - vlan5", "10.5.0.0/16 - gone0", "10.6.0.0/16 - docker0", "10.6.0.0/16 - eth0",
		"2001:db8:1::/64 - docker0", "::/0 - docker0"} {
		f := strings.Fields(s)
		x := route{to: netip.MustParsePrefix(f[0]), device: f[2]}
		if f[1] != "-" {
			x.gateway = netip.MustParseAddr(f[1])
		}
		r.add(x)
	}
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"172.17.0.2", true}, {"10.1.5.6", true}, {"10.0.1.7", true}, {"2001:db8:1::2", true},
		{"172.17.0.1", false}, // the host itself
		{"198.51.100.7", false}, {"192.0.2.7", false}, {"10.1.5.7", false}, {"10.0.2.7", false}, {"10.3.0.1", false}, {"10.4.0.1", false}, {"10.5.0.1", false}, {"10.6.0.1", false},
		{"2001:db8:2::2", false}, // a way to everywhere says nothing
	} {
		if got := r.Within(netip.MustParseAddr(c.addr)); got != c.want {
			t.Errorf("%s: %v", c.addr, got)
		}
	}
	for line, want := range map[string]string{
		"docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0":  "172.17.0.0/16 invalid IP docker0",
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0":     "0.0.0.0/0 192.0.2.1 eth0",
		"*\t000011AC\t00000000\t0201\t0\t0\t0\t0000FFFF\t0\t0\t0":        "",
		"Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask": "",
	} {
		x, ok := readRoute(line)
		got := fmt.Sprintf("%v %v %s", x.to, x.gateway, x.device)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q %v", line, got, ok)
		}
	}
	x, ok := readRoute6("fd000000000000000000000000000000 40 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000100 00000001 00000000 00000001     eth0")
	if got := fmt.Sprintf("%v %v %s", x.to, x.gateway, x.device); !ok || got != "fd00::/64 fd00::1 eth0" {
		t.Errorf("%q %v", got, ok)
	}
}
