package bruteforce_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/bruteforce"
	"github.com/bollwerk/bollwerk/detect/detecttest"
)

func knock(s *detecttest.Story, sd *bollwerk.Process, from string, login bool) *bollwerk.Process {
	c := s.Exec(sd, "/usr/sbin/sshd -D -R", detecttest.Net("10.1.2.3:22", from, 0, 1))
	child := s.Fork(c)
	if login {
		s.Exec(child, "/usr/bin/bash=-bash", detecttest.Term)
		s.Wait(time.Minute)
	}
	s.Wait(2 * time.Second)
	s.Exit(child)
	s.Exit(c)
	return c
}

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	s := detecttest.New(detecttest.Pod("shop", "web", "php", "php:8.3-apache"))
	h := s.Exec(s.Was(nil, "/usr/bin/bash"), "/tmp/hydra -l root -P w.txt ssh://10.2.0.9", detecttest.From(bollwerk.OriginCreated))
	for i := 0; i < 40; i++ {
		s.Connect(h, "10.2.0.9:22")
		s.Wait(2 * time.Second)
	}
	m["attack-outgoing-ssh"] = s

	// The kernel sums connections up.
	s = detecttest.New(detecttest.Pod("shop", "web", "php", "php:8.3-apache"))
	p := s.Exec(s.Was(nil, "/usr/bin/bash"), "/usr/bin/python3.11=python3 /tmp/t.py")
	for i := 0; i < 5; i++ {
		s.Wait(10 * time.Second)
		s.Add(&bollwerk.Event{Kind: bollwerk.EventFlow, Process: p, Connection: &bollwerk.Connection{Protocol: "tcp", Outgoing: true, Remote: netip.MustParseAddrPort("10.2.0.9:23")},
			Flow: &bollwerk.Flow{From: s.Now.Add(-10 * time.Second), To: s.Now, Connections: 11, SentBytes: 2000, ReceivedBytes: 4000}})
	}
	m["attack-outgoing-telnet-flows"] = s

	s = detecttest.New(detecttest.Host("ssh.service"))
	sd := s.Was(nil, "/usr/sbin/sshd -D")
	for i := 0; i < 25; i++ {
		knock(s, sd, fmt.Sprintf("203.0.113.66:%d", 40000+i), false)
	}
	knock(s, sd, "203.0.113.66:41000", true)
	m["attack-incoming-success"] = s

	// The internet knocks; people, backups and monitoring come and go.
	s = detecttest.New(detecttest.Host("ssh.service"))
	sd = s.Was(nil, "/usr/sbin/sshd -D")
	for i := 0; i < 120; i++ {
		knock(s, sd, fmt.Sprintf("203.0.113.%d:%d", i%3, 40000+i), false)
		if i%6 == 0 {
			knock(s, sd, fmt.Sprintf("10.9.9.9:%d", 40000+i), true)
		}
	}
	knock(s, sd, "10.9.9.10:50000", false)
	knock(s, sd, "10.9.9.10:50001", false)
	knock(s, sd, "10.9.9.10:50002", true)
	m["benign-incoming"] = s

	s = detecttest.New(detecttest.Container("ci", "alpine/git:2"))
	r := s.Was(nil, "/usr/bin/gitlab-runner-helper")
	for i := 0; i < 45; i++ {
		g := s.Exec(s.Exec(r, "/usr/bin/git fetch origin"), "/usr/bin/ssh git@gitlab.example git-upload-pack 'a/b.git'")
		s.Connect(g, "gitlab.example=198.51.100.40:22")
		s.Wait(3 * time.Second)
	}
	w := s.Was(nil, "/usr/sbin/php-fpm")
	for i := 0; i < 300; i++ {
		s.Connect(w, "10.2.0.4:3306")
	}
	for i := 0; i < 6; i++ { // file shares and transfers
		s.Connect(w, "10.2.0.5:445")
		s.Connect(w, "10.2.0.5:21")
	}
	m["benign-git-and-databases"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return bruteforce.New(bruteforce.Config{}) }, Want: map[string]detecttest.Want{
		"attack-outgoing-ssh": {Severity: bollwerk.SeverityHigh, Message: "30 times"}, "attack-outgoing-telnet-flows": {Severity: bollwerk.SeverityHigh},
		"attack-incoming-success": {Severity: bollwerk.SeverityHigh, Message: "after 25 failures"},
	}, Bytes: 3 << 20})
}
