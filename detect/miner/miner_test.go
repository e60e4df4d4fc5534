package miner_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/miner"
)

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	created := detecttest.From(bollwerk.OriginCreated)
	begin := func() (*detecttest.Story, *bollwerk.Process) {
		s := detecttest.New(detecttest.Pod("shop", "web", "php", "php:8.3-apache"))
		return s, s.Was(s.Was(nil, "/usr/sbin/apache2"), "/usr/bin/dash=sh -c x")
	}
	s, sh := begin()
	p := s.Exec(sh, "/var/tmp/.sys/kthreadd0 --config=/var/tmp/.sys/c.json", created)
	s.Connect(p, "203.0.113.7:443")
	s.Add(&bollwerk.Event{Kind: bollwerk.EventProtocol, Process: p, Object: &bollwerk.Object{Name: "stratum", Value: `{"id":1,"jsonrpc":"2.0","method":"login"`},
		Connection: &bollwerk.Connection{Protocol: "tcp", Outgoing: true, Remote: netip.MustParseAddrPort("203.0.113.7:443")}})
	m["attack-protocol"] = s

	s, sh = begin()
	p = s.Exec(sh, "/tmp/x/xmrig -o pool.hashvault.pro:443 --tls -u "+wallet+" -p x", created)
	s.Ask(p, "pool.hashvault.pro", "A", "NOERROR", 90)
	s.Connect(p, "pool.hashvault.pro=198.51.100.77:443")
	m["attack-known-pool"] = s

	// A neighbour in the same network asked for the pool: the miner is told, who only comes to the
	// same address is not.
	borrowed := func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, "pool.hashvault.pro=198.51.100.77:443").Connection.Borrowed = true
	}
	s, sh = begin()
	borrowed(s, s.Exec(sh, "/tmp/x/kworker", created))
	m["attack-pool-of-a-neighbour"] = s

	s, sh = begin()
	borrowed(s, s.Exec(sh, "/usr/bin/curl https://cdn.example/"))
	m["benign-address-of-a-pool"] = s

	s, sh = begin()
	p = s.Exec(sh, "/usr/bin/nginx-helper --donate-level 1 -o 203.0.113.7:8080 -u "+wallet)
	s.Connect(p, "203.0.113.7:8080")
	m["attack-command-line-connected"] = s

	// Encrypted, a proxy of the attacker's own, a name like any other.
	s, sh = begin()
	p = s.Exec(sh, "/dev/shm/.d", created)
	s.Connect(p, "203.0.113.7:443")
	for i := 0; i < 8; i++ {
		s.Burn(p, 30*time.Second, 119*time.Second)
	}
	m["attack-encrypted-new-binary"] = s

	// A watchdog starts it again: the sensor told of the program's connection the first time.
	s, sh = begin()
	p = s.Exec(sh, "/dev/shm/.d", created)
	s.Connect(p, "203.0.113.7:443")
	s.Exit(p)
	s.Wait(3 * time.Hour)
	p = s.Exec(sh, "/dev/shm/.d", created)
	for i := 0; i < 8; i++ {
		s.Burn(p, 30*time.Second, 119*time.Second)
	}
	m["attack-started-again"] = s

	s, sh = begin()
	p = s.Exec(sh, "/usr/local/bin/syslogd=[kworker/0:1]")
	s.Connect(p, "203.0.113.7:14444")
	for i := 0; i < 8; i++ {
		s.Burn(p, 30*time.Second, 58*time.Second)
	}
	m["attack-kernel-thread-name"] = s

	s, sh = begin()
	p = s.Exec(sh, "/tmp/solo", created)
	for i := 0; i < 14; i++ {
		s.Burn(p, 30*time.Second, 30*time.Second)
	}
	m["attack-no-connection-seen"] = s

	// Normal work that burns, connects and makes programs.
	s = detecttest.New(detecttest.Container("ci", "golang:1.26"))
	w := s.Was(nil, "/usr/bin/gitlab-runner-helper")
	g := s.Exec(s.Exec(w, "/usr/bin/dash=sh -c 'go test ./...'"), "/usr/local/go/bin/go test ./...")
	for i := 0; i < 20; i++ {
		p := s.Exec(g, fmt.Sprintf("/tmp/go-build%d/b001/pkg.test -test.timeout=10m0s", i), created)
		s.Connect(p, "10.2.0.9:3333")
		s.Burn(p, time.Minute, 118*time.Second)
		s.Burn(p, time.Minute, 118*time.Second)
		s.Burn(p, 2*time.Minute, 230*time.Second)
	}
	m["benign-go-test"] = s

	s = detecttest.New(detecttest.Container("db", "postgres:16"))
	for i := 0; i < 10; i++ {
		p := s.Was(nil, "/usr/lib/postgresql/16/bin/postgres")
		s.Connect(p, "10.2.0.10:5432")
		s.Burn(p, 10*time.Minute, 9*time.Minute)
		j := s.Was(nil, "/usr/bin/java -Xmx4g -jar /app/service.jar")
		s.Connect(j, "198.51.100.20:8443")
		s.Burn(j, 10*time.Minute, 40*time.Minute)
		f := s.Exec(nil, "/usr/bin/ffmpeg -i in.mp4 -o out.mp4 -P 1")
		s.Burn(f, 10*time.Minute, 40*time.Minute)
	}
	m["benign-busy-services"] = s

	s = detecttest.New(detecttest.Pod("kube-system", "coredns", "coredns", "coredns:1.11"))
	c := s.Was(nil, "/coredns -conf /etc/coredns/Corefile")
	s.Ask(c, "pool.minexmr.com", "A", "NOERROR", 90)
	n := s.Was(nil, "/usr/bin/node /app/monero-news.js")
	s.Ask(n, "www.getmonero.org", "A", "NOERROR", 90)
	s.Connect(n, "203.0.113.80:9000")
	x := s.Exec(nil, "/app/data/plugin", created)
	s.Burn(x, time.Minute, 50*time.Second)
	s.Burn(x, time.Minute, time.Second)
	s.Burn(x, time.Minute, 50*time.Second)
	m["benign-resolver-and-news"] = s
	return m
}

// wallet has the shape of an address and belongs to nobody.
var wallet = "4" + strings.Repeat("A1b2C3d4E5", 9) + "F6g7"

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	critical := detecttest.Want{Severity: bollwerk.SeverityCritical}
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return miner.New(miner.Config{}) }, Want: map[string]detecttest.Want{
		"attack-protocol":               {Severity: bollwerk.SeverityCritical, Mode: "enforce", Message: "203.0.113.7:443"},
		"attack-known-pool":             critical,
		"attack-pool-of-a-neighbour":    {Severity: bollwerk.SeverityHigh, Message: "198.51.100.77:443, which another workload of the same network asked for as pool.hashvault.pro"},
		"attack-command-line-connected": {Severity: bollwerk.SeverityCritical, Mode: "warn"},
		"attack-encrypted-new-binary":   {Severity: bollwerk.SeverityHigh, Message: "4.0 cores for 3m0s"},
		"attack-started-again":          {Severity: bollwerk.SeverityHigh, Message: "the same program was connected to 203.0.113.7:443 before"},
		"attack-kernel-thread-name":     critical,
		"attack-no-connection-seen":     {Severity: bollwerk.SeverityMedium},
	}})
}

func TestTuning(t *testing.T) {
	d := miner.New(miner.Config{Pools: []string{"Rig.Example."}})
	s := detecttest.New(nil)
	s.Ask(s.Was(nil, "/bin/x"), "eu.rig.example", "A", "", 0)
	if got := detecttest.Run(t, d, s.Events); len(got) != 1 {
		t.Errorf("%d detections of a configured pool, want 1", len(got))
	}
	d = miner.New(miner.Config{Allowed: []string{"/dev/shm/.d"}})
	if got := detecttest.Run(t, d, detecttest.Read(t, "testdata/attack-encrypted-new-binary.jsonl")); len(got) != 0 {
		t.Errorf("told of an allowed program: %s", got[0].Message)
	}
}
