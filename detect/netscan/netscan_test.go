package netscan_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/netscan"
)

const refused = 111

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	begin := func() (*detecttest.Story, *bollwerk.Process) {
		s := detecttest.New(detecttest.Pod("shop", "web", "php", "php:8.3-apache"))
		return s, s.Was(s.Was(nil, "/usr/sbin/apache2"), "/usr/bin/bash")
	}
	s, sh := begin()
	p := s.Exec(sh, "/tmp/nmap -sT 10.2.0.9", detecttest.From(bollwerk.OriginCreated))
	for i, port := range []int{80, 443, 22, 21, 25, 53, 110, 111, 135, 139, 143, 445, 993, 995, 1723, 3306, 3389, 5900, 8080, 8443, 9200, 27017, 6379, 11211, 2375} {
		s.Connect(p, fmt.Sprintf("10.2.0.9:%d", port), int32(refused*min(1, i%8)))
	}
	m["attack-ports-of-a-host"] = s

	// A loop of the shell: each try is a process.
	s, sh = begin()
	for i := 1; i < 60; i++ {
		var result int32 = 110
		if i%9 == 0 {
			result = 0
		}
		s.Connect(s.Fork(sh), fmt.Sprintf("10.2.0.%d:6379", i), result)
	}
	m["attack-port-of-a-network"] = s

	s, sh = begin()
	for i := 0; i < 9; i++ {
		p := s.Exec(sh, fmt.Sprintf("/usr/bin/ssh -i /tmp/k root@10.2.0.%d id", 20+3*i))
		s.Connect(p, fmt.Sprintf("10.2.0.%d:22", 20+3*i))
		s.Wait(5 * time.Second)
	}
	m["attack-ssh-around"] = s

	s, sh = begin()
	p = s.Exec(sh, "/usr/bin/python3.11=python3 /tmp/w.py")
	for i := 0; i < 130; i++ {
		s.Connect(p, fmt.Sprintf("%d.%d.%d.%d:23", 100+i%50, i*7%250, i*13%250, 1+i), 110)
	}
	m["attack-worm"] = s

	s = detecttest.New(detecttest.Pod("monitoring", "prometheus", "prometheus", "prom/prometheus:v3"))
	p = s.Was(nil, "/bin/prometheus --config.file=/etc/prometheus/prometheus.yml")
	for round := 0; round < 3; round++ {
		for i := 1; i < 60; i++ {
			s.Connect(p, fmt.Sprintf("10.1.%d.%d:10250", i%4, i), int32(refused*(i%2)))
			s.Connect(p, fmt.Sprintf("10.1.%d.%d:9100", i%4, i))
		}
		s.Wait(30 * time.Second)
	}
	m["benign-prometheus"] = s

	s = detecttest.New(detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4"))
	p = s.Was(nil, "/usr/bin/java -jar /app/cart.jar")
	for i := 1; i < 25; i++ { // clients of a cluster, and an operator that looks at its pods
		s.Connect(p, fmt.Sprintf("10.1.7.%d:9092", 10*i%250))
		s.Connect(p, fmt.Sprintf("10.1.8.%d:9042", 9*i%250), int32(refused*(i%10/9)))
		s.Connect(p, "10.96.0.1:443")
		s.Connect(p, fmt.Sprintf("kafka-%d=10.1.7.%d:%d", i%3, i%3, 9092+i%3))
	}
	f := s.Was(nil, "/usr/bin/lftp ftp.example")
	for i := 0; i < 60; i++ { // passive FTP: a port for each file
		s.Connect(f, fmt.Sprintf("198.51.100.30:%d", 40000+37*i))
	}
	m["benign-clients"] = s

	s = detecttest.New(detecttest.Host(""))
	s.LoginUID, s.UID, s.TTY = 1000, 1000, "pts/0"
	an := s.Exec(s.Was(nil, "/usr/bin/bash=-bash"), "/usr/bin/python3.12=python3 /usr/bin/ansible-playbook site.yml", detecttest.Script("/usr/bin/ansible-playbook"))
	for i := 1; i < 50; i++ {
		s.Connect(s.Exec(an, fmt.Sprintf("/usr/bin/ssh -C 10.3.0.%d", i)), fmt.Sprintf("10.3.0.%d:22", i))
	}
	m["benign-ansible"] = s

	s = detecttest.New(detecttest.Host("kubelet.service"))
	p = s.Was(nil, "/usr/bin/kubelet")
	for i := 1; i < 110; i++ {
		s.Connect(p, fmt.Sprintf("10.1.0.%d:8080", i), int32(refused*(i%3/2)))
		s.Connect(p, fmt.Sprintf("10.1.0.9:%d", 8000+i), int32(refused*(i%3/2)))
	}
	g := s.Exec(nil, "/usr/bin/ssh git@github.com git-upload-pack 'a/b'")
	s.Connect(g, "github.com=140.82.121.4:22")
	m["benign-kubelet-git"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	high := detecttest.Want{Severity: bollwerk.SeverityHigh}
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return netscan.New(netscan.Config{}) }, Want: map[string]detecttest.Want{
		"attack-ports-of-a-host": {Severity: bollwerk.SeverityHigh, Message: "ports of 10.2.0.9"}, "attack-ssh-around": {Severity: bollwerk.SeverityHigh, Message: "port 22 of 8 machines"},
		"attack-worm": high, "attack-port-of-a-network": {Severity: bollwerk.SeverityMedium, Message: "port 6379"},
	}, Bytes: 4 << 20})
}

func TestAllowed(t *testing.T) {
	d := netscan.New(netscan.Config{Allowed: []string{"/tmp/w.py"}})
	if got := detecttest.Run(t, d, detecttest.Read(t, "testdata/attack-worm.jsonl")); len(got) != 0 {
		t.Errorf("told of an allowed program: %s", got[0].Message)
	}
}
