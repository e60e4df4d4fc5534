package dnstunnel_test

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/dnstunnel"
)

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return b
}

func b32(b []byte) string {
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b))
}

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	r := rand.New(rand.NewPCG(1, 2))
	w := detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4")

	s := detecttest.New(w)
	p := s.Was(nil, "/usr/local/bin/node /app/server.js")
	types := []string{"TXT", "CNAME", "MX"}
	for i := 0; i < 60; i++ { // a session: id and counter in front, hex, labels of at most 60
		s.Ask(p, fmt.Sprintf("%04x01b5f3%04x%s.t.attacker.net", r.IntN(1<<16), i, hex.EncodeToString(random(r, 22))), types[i%3], "NOERROR", 140)
		s.Wait(time.Second)
	}
	m["attack-hex-session"] = s

	s = detecttest.New(w)
	for i := 0; i < 40; i++ {
		s.Ask(p, "0"+b32(random(r, 35))+"."+b32(random(r, 35))+".io.attacker.org", "NULL", "NOERROR", 900)
		s.Wait(100 * time.Millisecond)
	}
	m["attack-null-records"] = s

	s = detecttest.New(w)
	for i := 0; i < 40; i++ {
		s.Ask(p, b32(random(r, 30))+".x.data.attacker.io", "A", "NXDOMAIN", 100)
		s.Wait(2 * time.Second)
	}
	m["attack-exfiltration-by-a"] = s

	s = detecttest.New(w)
	for i := 0; i < 30; i++ {
		s.Ask(p, fmt.Sprintf("stage.%d.payload.attacker.dev", 1000+i), "TXT", "NOERROR", 480)
		s.Wait(200 * time.Millisecond)
	}
	m["attack-txt-download"] = s

	s = detecttest.New(w)
	for i := 0; i < 14; i++ { // a beacon with much in each name
		s.Ask(p, b32(random(r, 36))+"."+b32(random(r, 36))+".b.attacker.cc", "A", "NOERROR", 200)
		s.Wait(30 * time.Second)
	}
	m["attack-slow-beacon"] = s

	s = detecttest.New(w)
	for i := 0; i < 12; i++ {
		s.Ask(p, b32(random(r, 12))+".p.attacker.co.uk", "TYPE65399", "NOERROR", 300)
		s.Wait(time.Second)
	}
	m["attack-private-type"] = s

	// Normal work.
	s = detecttest.New(detecttest.Pod("kube-system", "coredns", "coredns", "coredns:1.11"))
	p = s.Was(nil, "/coredns -conf /etc/coredns/Corefile")
	for i := 0; i < 80; i++ {
		s.Ask(p, fmt.Sprintf("%s.%s.com", []string{"www", "api", "cdn", "static", "login"}[i%5], []string{"github", "wikipedia", "debian", "example-shop", "heise", "golang"}[i/5%6]+fmt.Sprint(i/30)), []string{"A", "AAAA"}[i%2], "NOERROR", 120)
		s.Ask(p, fmt.Sprintf("d%s.cloudfront.net", b32(random(r, 8))), "A", "NOERROR", 120)
		s.Ask(p, hex.EncodeToString(random(r, 16))+".gr7.eu-central-1.eks.amazonaws.com", "A", "NOERROR", 120)
		s.Wait(time.Second)
	}
	m["benign-resolver"] = s

	s = detecttest.New(detecttest.Container("mail", "postfix:3.9"))
	p = s.Was(nil, "/usr/lib/postfix/sbin/smtpd")
	for i := 0; i < 60; i++ {
		ip := fmt.Sprintf("%d.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256), 1+r.IntN(223))
		s.Ask(p, ip+".zen.spamhaus.org", "A", "NXDOMAIN", 100)
		s.Ask(p, ip+".bl.local-list.de", "A", "NXDOMAIN", 100)
		s.Ask(p, ip+".in-addr.arpa", "PTR", "NOERROR", 100)
		s.Ask(p, fmt.Sprintf("sender-%d.com.abcdefghijklmnopqrstuvwxyz.dbl.dq.listing.de", i), "A", "NXDOMAIN", 100)
		s.Ask(p, fmt.Sprintf("s%d._domainkey.sender%d.com", i%3, i), "TXT", "NOERROR", 400)
		s.Ask(p, fmt.Sprintf("_dmarc.sender%d.com", i), "TXT", "NOERROR", 200)
		s.Ask(p, fmt.Sprintf("sender%d.com", i), "TXT", "NOERROR", 400)
		s.Ask(p, fmt.Sprintf("sender%d.com", i), "MX", "NOERROR", 200)
		s.Wait(2 * time.Second)
	}
	m["benign-mail-server"] = s

	s = detecttest.New(detecttest.Pod("shop", "crawler", "app", "example/crawler:2"))
	p = s.Was(nil, "/app/crawler")
	for i := 0; i < 40; i++ {
		id := random(r, 16)
		s.Ask(p, fmt.Sprintf("%x-%x-%x-%x-%x.tenants.saas-vendor.com", id[:4], id[4:6], id[6:8], id[8:10], id[10:]), "A", "NOERROR", 120)
		s.Ask(p, fmt.Sprintf("bucket-%s.s3.eu-central-1.amazonaws.com", b32(random(r, 10))), "A", "NOERROR", 120)
		s.Ask(p, fmt.Sprintf("%x.metrics.tracker.io", random(r, 6)), "A", "NOERROR", 120)
		s.Ask(p, fmt.Sprintf("web-%d.web.shop.svc.cluster.local", i), "A", "NOERROR", 120)
		s.Ask(p, fmt.Sprintf("_http._tcp.node%d.backend.company.com", i), "SRV", "NOERROR", 120)
		s.Wait(9 * time.Second)
	}
	m["benign-saas-and-discovery"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	high := detecttest.Want{Severity: bollwerk.SeverityHigh}
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return dnstunnel.New(dnstunnel.Config{}) }, Want: map[string]detecttest.Want{
		"attack-hex-session": {Severity: bollwerk.SeverityHigh, Message: "attacker.net"}, "attack-null-records": high,
		"attack-exfiltration-by-a": high, "attack-txt-download": high, "attack-private-type": {Severity: bollwerk.SeverityHigh, Message: "attacker.co.uk"},
		"attack-slow-beacon": {Severity: bollwerk.SeverityMedium},
	}, Bytes: 3 << 20})
}

func TestAllowed(t *testing.T) {
	events := detecttest.Read(t, "testdata/attack-hex-session.jsonl")
	if got := detecttest.Run(t, dnstunnel.New(dnstunnel.Config{Allowed: []string{"T.attacker.net."}}), events); len(got) != 0 {
		t.Errorf("told of an allowed domain: %s", got[0].Message)
	}
}
