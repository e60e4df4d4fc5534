package profile

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk"
)

func TestPathsAreMadeGeneral(t *testing.T) {
	for in, want := range map[string]string{
		"/var/log/nginx/access.log":   "/var/log/nginx/access.log",
		"/var/log/app-2024-05-01.log": "/var/log/app-*.log",
		"/var/log/syslog.1":           "/var/log/syslog.*",
		"/usr/lib/python3.11/__pycache__/re.cpython-311.pyc.1403365154": "/usr/lib/python3.11/__pycache__/re.cpython-*.pyc.*",
		"/opt/node-v18.17.1/x":                                 "/opt/node-v18.17.1/x",
		"/var/log/app-2024.05.01.log":                          "/var/log/app-*.log",
		"/srv/cache/v2.117/x":                                  "/srv/cache/v2.*/x",
		"/data/3f2504e0-4f89-11d3-9a0c-0305e82c3301/part":      "/data/*/part",
		"/proc/4711/fd/3":                                      "/proc/*/fd/*",
		"/tmp/tmpab3f9x/out":                                   "/tmp/tmp*/out",
		"/tmp/go-build123456/b001/exe/a.out":                   "/tmp/go-build*/b*/exe/a.out",
		"/tmp/.XaBcDe9":                                        "/tmp/.*",
		"/var/lib/docker/overlay2/0a1b2c3d4e5f60718293/merged": "/var/lib/docker/overlay2/*/merged",
		"/srv/README":                                          "/srv/README",
		"/srv/readme.txt":                                      "/srv/readme.txt",
		"/srv/x86_64/lib":                                      "/srv/x86_*/lib",
		"/a/./b//c/../d":                                       "/a/b/d",
		"/../../etc/passwd":                                    "/etc/passwd",
		"/":                                                    "/",
		"":                                                     "/",
		"relative/x":                                           "/relative/x",
		"/tmp/**":                                              "/tmp/??",
		"/tmp/a\nb\x1b[2J":                                     "/tmp/a?b?[2J",
		"/tmp/\xff\xfe":                                        "/tmp/??",
		"/tmp/größe":                                           "/tmp/größe",
		"/1/2/3/4/5/6/7/8/9/10/11/12/13/14":                    "/*/*/*/*/*/*/*/*/*/*/*/*/**",
		"/d/" + strings.Repeat("y", 65):                        "/d/*",
	} {
		if got := string(appendPath(nil, in, true)); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"/usr/bin/python3.11":         "/usr/bin/python3.11",
		"/opt/app-1234/bin/run":       "/opt/app-1234/bin/run",
		"/tmp/go-build123/b001/a.out": "/tmp/go-build*/b*/a.out",
		"/proc/self/fd/9":             "/proc/self/fd/*",
	} {
		if got := string(appendPath(nil, in, false)); got != want {
			t.Errorf("program %q is %q, want %q", in, got, want)
		}
	}
}

func TestNamesAreMadeGeneral(t *testing.T) {
	for in, want := range map[string]string{
		"DB.shop.svc.cluster.local.":             "db.shop.svc.cluster.local",
		"redis-0.redis.shop.svc.cluster.local":   "redis-*.redis.shop.svc.cluster.local",
		"163.com":                                "163.com",
		"www.163.com":                            "www.163.com",
		"x.360.co.uk":                            "x.360.co.uk",
		"ec2-198-51-100-7.compute.amazonaws.com": "ec2-*.compute.amazonaws.com",
		"4.3.2.1.in-addr.arpa":                   "*.*.*.*.in-addr.arpa",
		"a.b.c.d.e.f.g.h.example.com":            "c.d.e.f.g.h.example.com",
		"localhost":                              "localhost",
		"*.example.com":                          "?.example.com",
		"3f2504e04f8911d39a0c.cdn.example.com":   "*.cdn.example.com",
	} {
		if got := string(appendName(nil, in)); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestPeers(t *testing.T) {
	for _, c := range []struct{ peer, name, addr, want string }{
		{"shop/Deployment/cart", "cart.shop", "10.0.0.1", "workload:shop/Deployment/cart"},
		{"", "Cart.Shop", "10.0.0.1", "name:cart.shop"},
		{"", "", "::ffff:10.0.0.1", "10.0.0.1"},
		{"", "", "fe80::1%eth0", "fe80::1"},
		{"", "", "127.0.0.53", "loopback"},
		{"", "", "::1", "loopback"},
		{"", "", "239.1.2.3", "multicast"},
		{"", "workload:shop/cart", "10.0.0.1", "name:workload:shop/cart"},
	} {
		if got := string(appendPeer(nil, c.peer, c.name, netip.MustParseAddr(c.addr))); got != c.want {
			t.Errorf("%+v is %q", c, got)
		}
	}
	if got := string(appendPeer(nil, "", "", netip.Addr{})); got != "unknown" {
		t.Errorf("no address is %q", got)
	}
}

func TestWiderForms(t *testing.T) {
	for _, c := range []struct {
		cat  Category
		in   string
		want string
	}{
		{Write, "/var/log/nginx/a", "/var/log/nginx/** /var/log/** /var/**"},
		{Write, "/a", ""},
		{Name, "a.b.example.com", "*.b.example.com *.example.com"},
		{Name, "a.b.example.co.uk", "*.b.example.co.uk *.example.co.uk"},
		{Name, "example.com", ""},
		{Destination, "name:x.y.cluster.local", "name:*.y.cluster.local name:*.cluster.local"},
		{Destination, "10.3.4.5", "10.3.4.0/24 10.3.0.0/16 10.0.0.0/8 0.0.0.0/0"},
		{Destination, "2001:db8:1:2::3", "2001:db8:1:2::/64 2001:db8:1::/48 2001:db8::/32 ::/0"},
		{Destination, "workload:shop/cart", ""},
		{Destination, "unix:/run/docker.sock", ""},
		{Destination, "loopback", ""},
		{Executable, "/usr/bin/x", ""},
	} {
		var got []string
		for cur := c.in; ; {
			w := wider(nil, c.cat, cur)
			if len(w) == 0 {
				break
			}
			cur = string(w)
			got = append(got, cur)
			if !wild(c.cat, cur) {
				t.Errorf("%s is not seen to be wide", cur)
			}
			if _, ok := child(c.cat, cur, c.in); !ok {
				t.Errorf("%s does not hold %s", cur, c.in)
			}
			if len(got) > 20 {
				t.Fatalf("no end: %q", got)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestFoldersBecomeOneButNotThoseOfTheSystem(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.start(wl)
	for i := range 17 {
		w.quiet(w.open(wl, p, "/data/"+letters(i)+"/x", bollwerk.AccessWrite), w.open(wl, p, "/etc/"+letters(i), bollwerk.AccessWrite),
			w.connect(wl, p, "", fmt.Sprintf("10.1.%d.7:443", i)), w.connect(wl, p, "", fmt.Sprintf("10.2.3.%d:443", i)))
	}
	w.book.records[wl.Key()].mode = Observe
	w.quiet(w.open(wl, p, "/data/new/y", bollwerk.AccessWrite), w.connect(wl, p, "", "10.1.99.1:443"), w.connect(wl, p, "", "10.2.3.99:443"))
	w.one(w.open(wl, p, "/etc/new", bollwerk.AccessWrite), RuleWrite)
	w.one(w.connect(wl, p, "", "10.1.99.1:444"), RuleDestination)
	d := w.one(w.connect(wl, p, "", "10.2.9.9:443"), RuleDestination)
	if !strings.Contains(d.Nearest, "10.2.3.0/24 port 443") {
		t.Errorf("nearest: %s", d.Nearest)
	}
}

func TestNearest(t *testing.T) {
	p, s := New("w", "n"), scratch{}
	for _, k := range []key{
		{cat: Executable, value: "/usr/bin/python3.11"}, {cat: Executable, value: "/usr/sbin/nginx"}, {cat: Executable, value: "/usr/local/bin/curl"},
		{cat: Port, proto: protoTCP, n: 80}, {cat: Port, proto: protoTCP, n: 8443}, {cat: Port, proto: protoUDP, n: 8081},
		{cat: Destination, proto: protoTCP, n: 443, value: "name:api.example.com"}, {cat: Destination, proto: protoTCP, n: 5432, value: "10.0.3.0/24"},
		{cat: Start, value: "/bin/sh\x00/usr/bin/git"}, {cat: Start, value: "(outside)\x00/usr/sbin/nginx"},
		{cat: User, n: 33},
	} {
		p.add(k, &mark{meta: sourceSeed}, &s)
	}
	for _, c := range []struct {
		k    key
		want string
	}{
		{key{cat: Executable, value: "/usr/bin/python3.12"}, "program /usr/bin/python3.11"},
		{key{cat: Executable, value: "/usr/bin/curl"}, "program /usr/local/bin/curl"},
		{key{cat: Port, proto: protoTCP, n: 8080}, "port tcp/8443"},
		{key{cat: Destination, proto: protoTCP, n: 443, value: "name:cdn.example.com"}, "destination tcp name:api.example.com port 443"},
		{key{cat: Destination, proto: protoTCP, n: 443, value: "10.0.9.1"}, "destination tcp 10.0.3.0/24 port 5432"},
		{key{cat: Start, value: "/usr/sbin/cron\x00/usr/bin/git"}, "start of /usr/bin/git by /bin/sh"},
		{key{cat: User, n: 0}, "user id 33"},
		{key{cat: Capability, value: "CAP_NET_RAW"}, "nothing of this kind is known of this workload"},
	} {
		if got := p.nearest(c.k, nil); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", describe(c.k), got, c.want)
		}
	}
}

// Whatever is learned is allowed by the restriction made of it, and judged as known.
func TestWhatIsLearnedIsAllowed(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t, Config{})
		wl := w.container("web", digestA)
		var es []*bollwerk.Event
		parts := []string{"data", "tmp", "var", "log", "cache", "a-1234", "x9f8e7d6c5", "etc", "usr", "file.log", "readMeNow", "**", "ü", "proc", "..", "tmpabcd12"}
		for range 200 {
			p := w.process(wl, "/bin/x", nil)
			path := ""
			for range 1 + rng.IntN(6) {
				path += "/" + parts[rng.IntN(len(parts))]
			}
			if rng.IntN(3) == 0 {
				path += letters(rng.IntN(1000))
			}
			switch rng.IntN(5) {
			case 0:
				p.Path = path
				if rng.IntN(10) == 0 {
					p.Fileless = true
				}
				es = append(es, w.exec(wl, p))
			case 1:
				es = append(es, w.open(wl, p, path, bollwerk.AccessWrite))
			case 2:
				e := w.event(wl, bollwerk.EventRename, p)
				e.File = &bollwerk.FileEvent{Path: path, Target: path + ".new"}
				es = append(es, e)
			case 3:
				name := ""
				if rng.IntN(2) == 0 {
					name = fmt.Sprintf("h%d.%s.example.com", rng.IntN(3000), letters(rng.IntN(60)))
				}
				e := w.connect(wl, p, name, fmt.Sprintf("%d.%d.0.%d:%d", 1+rng.IntN(223), rng.IntN(3), rng.IntN(99), 1+rng.IntN(65535)))
				switch rng.IntN(8) {
				case 0:
					e.Connection.Peer = "shop/Deployment/" + letters(rng.IntN(30))
				case 1:
					e.Connection = &bollwerk.Connection{Protocol: "unix", Path: path}
				}
				es = append(es, e)
			case 4:
				es = append(es, w.listen(wl, p, uint16(1+rng.IntN(65535))))
				a := w.event(wl, bollwerk.EventAccept, p)
				a.Connection = &bollwerk.Connection{Protocol: "tcp", Local: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(80+rng.IntN(3))), Remote: netip.MustParseAddrPort(fmt.Sprintf("10.%d.%d.9:55555", rng.IntN(20), rng.IntN(9)))}
				es = append(es, a)
			}
		}
		w.quiet(es...)
		r := must(w.book.Profile(wl.Key())).Restriction()
		w.book.records[wl.Key()].mode = Restrict
		for _, e := range es {
			if !r.Allows(e) {
				t.Fatalf("seed %d: learned and refused: %s %+v %+v %s", seed, e.Kind, e.File, e.Connection, e.Process.Path)
			}
		}
		w.quiet(es...)
		// And it is a restriction.
		evil := w.connect(wl, nil, "evil.example.net", "203.0.113.66:4444")
		if len(r.Open) == 0 && r.Allows(evil) {
			t.Fatalf("seed %d: everything is allowed", seed)
		}
	}
}

func FuzzTexts(f *testing.F) {
	for _, s := range []string{"/tmp/a/../b", "/proc/1/x", "/a/\xff", "x.y.z", "..", "/**", strings.Repeat("/a", 5000), strings.Repeat("a.", 300), strings.Repeat("/"+strings.Repeat("a b", 80), 3)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, got := range []string{string(appendPath(nil, s, true)), string(appendPath(nil, s, false)), string(appendName(nil, s)), string(appendText(nil, s))} {
			if err := validText(got); err != nil {
				t.Errorf("%q became %q: %v", s, got, err)
			}
			if !utf8.ValidString(got) {
				t.Errorf("%q", got)
			}
		}
		for _, c := range []Category{Write, Name, Destination} {
			n := 0
			for cur := s; ; n++ {
				w := wider(nil, c, cur)
				if len(w) == 0 {
					break
				}
				if n > len(s)+8 {
					t.Fatalf("%s %q has no end", c, s)
				}
				cur = string(w)
			}
		}
	})
}

// FuzzObserve feeds events made of hostile texts; whatever comes is bounded, can be
// stored, and is known afterwards.
func FuzzObserve(f *testing.F) {
	f.Add(uint8(1), "/bin/sh", "sh", "x.example.com", uint16(80), uint32(0))
	f.Add(uint8(5), "/tmp/\x00\xff", "", "", uint16(65535), uint32(7))
	f.Add(uint8(18), "/x", "a", ".", uint16(53), uint32(3))
	f.Add(uint8(13), "memfd:", "workload:a", "..", uint16(0), uint32(1))
	f.Fuzz(func(t *testing.T, kind uint8, path, peer, name string, port uint16, n uint32) {
		w := newWorld(t, Config{})
		wl := w.container("web", digestA)
		p := w.process(wl, "/x", &bollwerk.Process{Path: peer, Cgroup: wl.Cgroup})
		p.Path, p.Script, p.UID, p.TTY = path, name, n, peer
		e := w.event(wl, bollwerk.EventKind(kind)%bollwerk.EventKind(bollwerk.EventKinds), p)
		e.File = &bollwerk.FileEvent{Path: path, Target: name, Access: bollwerk.Access(n), Mode: n}
		e.Connection = &bollwerk.Connection{Protocol: []string{"tcp", "udp", "unix", peer}[n%4], Name: name, Peer: peer, Path: path, Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(n), 2, 3, 4}), port), Local: netip.AddrPortFrom(netip.IPv4Unspecified(), port), Outgoing: n%2 == 0}
		e.DNS, e.Change, e.Object = &bollwerk.DNS{Name: name}, &bollwerk.Change{Used: path, UID: n}, &bollwerk.Object{Name: name}
		w.quiet(e)
		for _, k := range w.book.Keys() {
			before := must(w.book.Profile(k))
			checkBooks(t, before)
			after, err := before.Document().Profile("node")
			if err != nil {
				t.Fatalf("cannot be stored: %v", err)
			}
			if a, b := text(t, before), text(t, after); a != b {
				t.Fatal(firstDifference(a, b))
			}
			w.book.records[k].mode = Observe
			w.quiet(e)
		}
	})
}
