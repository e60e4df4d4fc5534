package dga_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/dga"
)

func letters(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	r := rand.New(rand.NewPCG(5, 6))
	s := detecttest.New(detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4"))
	p := s.Was(nil, "/tmp/.cache/upd", detecttest.From(bollwerk.OriginCreated))
	for i := 0; i < 45; i++ {
		s.Ask(p, letters(r, 10+r.IntN(8))+[]string{".com", ".net", ".biz", ".info", ".ru"}[i%5], "A", "NXDOMAIN", 100)
		s.Wait(3 * time.Second)
	}
	m["attack-many-endings"] = s

	s = detecttest.New(detecttest.Host(""))
	p = s.Was(nil, "/usr/bin/python3.11=python3 /opt/x.py")
	for i := 0; i < 26; i++ {
		s.Ask(p, letters(r, 16)+".top", "A", "NXDOMAIN", 100)
		s.Wait(8 * time.Second)
	}
	s.Ask(p, "qzkvxwjhbtnfplrd.top", "A", "NOERROR", 100)
	m["attack-found-one"] = s

	s = detecttest.New(detecttest.Container("mail", "postfix:3.9"))
	p = s.Was(nil, "/usr/lib/postfix/sbin/smtpd")
	names := []string{"newsletter", "bestoffer", "cheapmeds", "winner", "invoice", "sunshine", "travel", "loanexpert", "crypto", "fitness"}
	for i := 0; i < 60; i++ {
		s.Ask(p, fmt.Sprintf("%d.%d.%d.%d.zen.spamhaus.org", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256)), "A", "NXDOMAIN", 100)
		s.Ask(p, fmt.Sprintf("%s-%s.com", names[i%10], names[(i/10+3)%10]), "MX", "NXDOMAIN", 100)
		if i%12 == 0 { // some spam does come from drawn names
			s.Ask(p, letters(r, 12)+".xyz", "A", "NXDOMAIN", 100)
		}
		s.Wait(2 * time.Second)
	}
	m["benign-mail-server"] = s

	// Search domains, probes of browsers, names of clusters, typing errors, content networks.
	s = detecttest.New(detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4"))
	p = s.Was(nil, "/usr/local/bin/node /app/server.js")
	for i := 0; i < 40; i++ {
		s.Ask(p, letters(r, 12), "A", "NXDOMAIN", 100)
		s.Ask(p, letters(r, 14)+".shop.svc.cluster.local", "A", "NXDOMAIN", 100)
		s.Ask(p, "api.stripe.com.eu-central-1.compute.internal", "AAAA", "NXDOMAIN", 100)
		s.Ask(p, "d"+letters(r, 13)+".cloudfront.net", "A", "NXDOMAIN", 100)
		s.Ask(p, letters(r, 20)+".s3.amazonaws.com", "A", "NXDOMAIN", 100)
		s.Ask(p, fmt.Sprintf("db-%d.corp.company.com", i), "A", "NXDOMAIN", 100)
		s.Wait(5 * time.Second)
	}
	for _, n := range []string{"gihub.com", "googel.com", "stackoverflw.com", "example-shop.de", "wwwheise.de"} {
		s.Ask(p, n, "A", "NXDOMAIN", 100)
	}
	m["benign-search-domains"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return dga.New(dga.Config{}) }, Want: map[string]detecttest.Want{
		"attack-many-endings": {Severity: bollwerk.SeverityHigh, Message: "upd (pid"},
		"attack-found-one":    {Severity: bollwerk.SeverityCritical, Message: "qzkvxwjhbtnfplrd.top was answered"},
	}, Bytes: 4 << 20})
}
