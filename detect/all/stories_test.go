package all_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect/detecttest"
)

// stories are the working day of machines: everything here is done on purpose by people
// and programs that mean well, and nothing of it may be told at medium or above.
func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	r := rand.New(rand.NewPCG(7, 8))
	created := detecttest.From(bollwerk.OriginCreated)
	in, out := detecttest.In, detecttest.Out
	hex := func(n int) string {
		s := ""
		for i := 0; i < n; i++ {
			s += fmt.Sprintf("%02x", r.IntN(256))
		}
		return s
	}
	host := func() (*detecttest.Story, *bollwerk.Process) {
		s := detecttest.New(detecttest.Host(""))
		return s, s.Was(nil, "/usr/lib/systemd/systemd=/sbin/init")
	}

	// apt upgrade, with maintainer scripts that do what intruders do.
	s, init := host()
	s.LoginUID = 1000
	sh := s.Was(s.Was(init, "/usr/sbin/sshd"), "/usr/bin/bash=-bash", detecttest.Term)
	apt := s.Exec(sh, "/usr/bin/apt-get upgrade -y", detecttest.Term)
	h := s.Exec(apt, "/usr/lib/apt/methods/https")
	for _, n := range []string{"deb.mirror.example", "security.mirror.example", "_https._tcp.deb.mirror.example", "debian.map.fastlydns.net"} {
		s.Ask(h, n, "A", "NOERROR", 120)
	}
	s.Connect(h, "deb.mirror.example=151.101.2.132:443")
	for i := 0; i < 40; i++ {
		s.Write(h, fmt.Sprintf("/var/cache/apt/archives/partial/p%d.deb", i), uint64(1000+i))
	}
	dp := s.Exec(apt, "/usr/bin/dpkg --status-fd 20 --configure -a")
	for i := 0; i < 40; i++ {
		s.Write(dp, fmt.Sprintf("/usr/bin/tool%d.dpkg-new", i), uint64(2000+i))
		s.Chmod(dp, fmt.Sprintf("/usr/bin/tool%d.dpkg-new", i), 0o755, uint64(2000+i))
		s.Rename(dp, fmt.Sprintf("/usr/bin/tool%d.dpkg-new", i), fmt.Sprintf("/usr/bin/tool%d", i))
		s.Unlink(dp, fmt.Sprintf("/usr/share/doc/tool%d/changelog.gz", i))
		post := s.Exec(dp, fmt.Sprintf("/usr/bin/dash=/bin/sh /var/lib/dpkg/info/tool%d.postinst configure", i), detecttest.Script(fmt.Sprintf("/var/lib/dpkg/info/tool%d.postinst", i)))
		for _, c := range []string{"/usr/bin/id -u", "/usr/bin/getent passwd tool", "/usr/sbin/useradd --system tool", "/usr/bin/chmod 755 /usr/bin/tool", "/usr/bin/systemctl restart tool"} {
			s.Exec(post, c)
		}
	}
	s.Exec(sh, "/usr/bin/tool1 --version", detecttest.Inode(2001))
	m["benign-apt-upgrade"] = s

	// Installers of languages, and what they run.
	s = detecttest.New(detecttest.Container("build", "node:22"))
	sh = s.Was(s.Was(nil, "/usr/bin/buildkitd", detecttest.From(bollwerk.OriginHost)), "/usr/bin/dash=/bin/sh -c 'npm ci && npm run build'")
	npm := s.Exec(sh, "/usr/local/bin/node /usr/local/bin/npm ci", detecttest.Script("/usr/local/bin/npm"))
	for i := 0; i < 60; i++ {
		s.Ask(npm, "npm.packages.example", "AAAA", "NOERROR", 200)
		s.Connect(npm, fmt.Sprintf("npm.packages.example=104.16.%d.35:443", i%12))
		s.Write(npm, fmt.Sprintf("/app/node_modules/p%d/index.js", i), uint64(3000+i))
	}
	s.Write(npm, "/app/node_modules/esbuild/bin/esbuild", 3100)
	s.Chmod(npm, "/app/node_modules/esbuild/bin/esbuild", 0o755, 3100)
	inst := s.Exec(npm, "/usr/bin/dash=sh -c 'node install.js'")
	n2 := s.Exec(inst, "/usr/local/bin/node install.js")
	s.Exec(n2, "/app/node_modules/esbuild/bin/esbuild --version", created, detecttest.Inode(3100))
	gyp := s.Exec(npm, "/usr/local/bin/node /usr/local/lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js rebuild")
	for _, c := range []string{"/usr/bin/uname -a", "/usr/bin/python3.11=python3 -c 'import sys; print(sys.version)'", "/usr/bin/make BUILDTYPE=Release"} {
		s.Exec(gyp, c, out(s.Pipe()))
	}
	b := s.Exec(sh, "/usr/local/bin/node /app/node_modules/.bin/vite build")
	s.Burn(b, 4*time.Minute, 12*time.Minute)
	pip := s.Exec(sh, "/usr/bin/python3.11=python3 -m pip install -r requirements.txt")
	s.Connect(pip, "index.wheels.example=151.101.0.223:443")
	s.Connect(pip, "files.wheels.example=151.101.0.223:443")
	s.Write(pip, "/usr/local/bin/black", 3200)
	s.Chmod(pip, "/usr/local/bin/black", 0o755, 3200)
	s.Exec(sh, "/usr/bin/python3.11=python3 /usr/local/bin/black .", detecttest.Script("/usr/local/bin/black"))
	rm := s.Exec(sh, "/usr/bin/rm -rf node_modules .cache")
	for i := 0; i < 300; i++ {
		s.Unlink(rm, fmt.Sprintf("/app/node_modules/p%d/index.js", i))
	}
	m["benign-npm-pip"] = s

	s = detecttest.New(detecttest.Container("ci", "golang:1.26"))
	run := s.Was(nil, "/usr/bin/gitlab-runner-helper")
	goes := s.Exec(s.Exec(run, "/usr/bin/bash -c 'go test ./...'"), "/usr/local/go/bin/go test ./...")
	s.Connect(goes, "modules.mirror.example=142.250.185.81:443")
	s.Connect(goes, "sums.mirror.example=142.250.185.81:443")
	for i := 0; i < 12; i++ {
		c := s.Exec(goes, fmt.Sprintf("/usr/local/go/pkg/tool/linux_amd64/compile -o $WORK/b%03d/_pkg_.a", i))
		s.Burn(c, 30*time.Second, 50*time.Second)
		l := s.Exec(goes, "/usr/local/go/pkg/tool/linux_amd64/link -o $WORK/b001/x.test")
		s.Write(l, fmt.Sprintf("/tmp/go-build77/b%03d/x.test", i), uint64(4000+i))
		t := s.Exec(goes, fmt.Sprintf("/tmp/go-build77/b%03d/x.test -test.timeout=10m0s", i), created, detecttest.Inode(uint64(4000+i)))
		s.Listen(t, "127.0.0.1:40123")
		s.Connect(t, "127.0.0.1:40123")
		s.Connect(t, "10.2.0.9:5432")
		s.Exec(t, "/usr/bin/dash=sh -c 'echo ok'", in(s.Pipe()), out(s.Pipe()))
		s.Burn(t, 4*time.Minute, 7*time.Minute)
		s.Unlink(goes, fmt.Sprintf("/tmp/go-build77/b%03d/x.test", i))
	}
	m["benign-go-build-test"] = s

	// Services: databases, web servers, their reloads and checks.
	s = detecttest.New(detecttest.Container("db", "postgres:16"))
	shim := s.Was(nil, "/usr/bin/containerd-shim-runc-v2", detecttest.From(bollwerk.OriginHost))
	en := s.Exec(shim, "/usr/bin/bash /usr/local/bin/docker-entrypoint.sh postgres", detecttest.Script("/usr/local/bin/docker-entrypoint.sh"))
	for _, c := range []string{"/usr/bin/id -u", "/usr/bin/mkdir -p /var/lib/postgresql/data", "/usr/bin/find /var/lib/postgresql/data ! -user postgres", "/usr/bin/ls /docker-entrypoint-initdb.d/"} {
		s.Exec(en, c)
	}
	pg := s.Become(en, "/usr/lib/postgresql/16/bin/postgres")
	s.Listen(pg, "0.0.0.0:5432")
	for i := 0; i < 40; i++ {
		w := s.Fork(pg)
		s.Accept(w, "10.1.2.3:5432", fmt.Sprintf("10.1.4.%d:%d", i%5, 40000+i))
		s.Write(w, fmt.Sprintf("/var/lib/postgresql/data/base/5/%d", i), 0)
		s.Unlink(w, fmt.Sprintf("/var/lib/postgresql/data/base/pgsql_tmp/x%d", i))
		hc := s.Exec(shim, "/usr/bin/dash=sh -c 'pg_isready -U app'")
		s.Exec(hc, "/usr/lib/postgresql/16/bin/pg_isready -U app")
		ar := s.Exec(pg, "/usr/bin/dash=sh -c 'test ! -f /a/1 && cp pg_wal/1 /a/1'")
		s.Exec(ar, "/usr/bin/cp pg_wal/1 /a/1")
		s.Burn(w, 30*time.Second, 25*time.Second)
	}
	m["benign-postgres"] = s

	s = detecttest.New(detecttest.Container("web", "nginx:1.27"))
	shim = s.Was(nil, "/usr/bin/containerd-shim-runc-v2", detecttest.From(bollwerk.OriginHost))
	ng := s.Was(shim, "/usr/sbin/nginx -g 'daemon off;'")
	s.Listen(ng, "0.0.0.0:80")
	for i := 0; i < 12; i++ {
		x := s.Exec(shim, "/usr/sbin/nginx -s reload")
		s.Exit(x)
		for j := 0; j < 6; j++ {
			s.Connect(ng, fmt.Sprintf("10.1.5.%d:8080", 10+j), int32(111*(j%6/5)))
		}
		hc := s.Exec(shim, "/usr/bin/dash=sh -c 'curl -fsS http://localhost/healthz || exit 1'")
		s.Connect(s.Exec(hc, "/usr/bin/curl -fsS http://localhost/healthz"), "127.0.0.1:80")
		s.Wait(30 * time.Second)
	}
	rd := s.Was(nil, "/usr/local/bin/redis-server *:6379")
	s.Listen(rd, "0.0.0.0:6379")
	s.Accept(rd, "10.1.2.3:6379", "10.1.4.4:51000")
	s.Rename(rd, "/data/temp-77.rdb", "/data/dump.rdb")
	s.Exec(shim, "/usr/local/bin/redis-cli ping")
	m["benign-nginx-redis"] = s

	// The host's own housekeeping.
	s, init = host()
	cron := s.Was(init, "/usr/sbin/cron -f")
	for day := 0; day < 2; day++ {
		c := s.Exec(cron, "/usr/bin/dash=/bin/sh -c 'cd / && run-parts --report /etc/cron.daily'")
		rp := s.Exec(c, "/usr/bin/run-parts --report /etc/cron.daily")
		lr := s.Exec(rp, "/usr/sbin/logrotate /etc/logrotate.conf")
		for i := 0; i < 30; i++ {
			s.Rename(lr, fmt.Sprintf("/srv/app/journal%d.log", i), fmt.Sprintf("/srv/app/journal%d.log-20260314", i))
			s.Unlink(lr, fmt.Sprintf("/srv/app/journal%d.log-20260214.gz", i))
		}
		ls := s.Exec(lr, "/usr/bin/dash=sh -c 'logrotate_script' 'invoke-rc.d rsyslog rotate'")
		s.Exec(ls, "/usr/bin/systemctl kill -s HUP rsyslog.service")
		p1, p2 := s.Pipe(), s.Pipe()
		bs := s.Exec(rp, "/usr/bin/bash /etc/cron.daily/backup", detecttest.Script("/etc/cron.daily/backup"))
		s.Exec(bs, "/usr/bin/pg_dump app", out(p1))
		s.Exec(bs, "/usr/bin/gzip -c", in(p1), out(p2))
		up := s.Exec(bs, "/usr/bin/openssl enc -aes-256-cbc -pass file:/etc/k", in(p2), out(s.Pipe()))
		s.Exit(up)
		rs := s.Exec(bs, "/usr/bin/rsync -a --delete -e ssh /srv/ backup@10.9.0.2:/srv/")
		s.Connect(s.Exec(rs, "/usr/bin/ssh backup@10.9.0.2 rsync --server"), "10.9.0.2:22")
		rc := s.Exec(bs, "/usr/bin/restic forget --prune")
		s.Connect(rc, "s3.eu-central-1.amazonaws.com=52.219.1.1:443")
		for i := 0; i < 300; i++ {
			s.Unlink(rc, fmt.Sprintf("/backup/repo/data/%02x/%s", i%256, hex(6)))
		}
		tf := s.Exec(init, "/usr/bin/systemd-tmpfiles --clean")
		for i := 0; i < 250; i++ {
			s.Unlink(tf, fmt.Sprintf("/tmp/x%d", i))
		}
		for i := 0; i < 10; i++ {
			u := s.Exec(init, fmt.Sprintf("/usr/lib/systemd/systemd-executor --deserialize %d", 30+i))
			s.Become(u, fmt.Sprintf("/usr/sbin/unit%d", i))
		}
		s.Wait(24 * time.Hour)
	}
	m["benign-cron-logrotate-backup"] = s

	// kubelet, containerd, runc: starting and stopping containers all day.
	s = detecttest.New(detecttest.Host("containerd.service"))
	init = s.Was(nil, "/usr/lib/systemd/systemd=/sbin/init")
	cd := s.Was(init, "/usr/bin/containerd")
	kb := s.Was(init, "/usr/bin/kubelet")
	for i := 0; i < 25; i++ {
		s.Connect(kb, "10.96.0.1:443")
		s.Connect(kb, fmt.Sprintf("10.1.0.%d:8080", i), int32(111*(i%2)))
		shim := s.Exec(cd, "/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id "+hex(8))
		r := s.Exec(shim, "/usr/bin/runc --root /run/containerd/runc/k8s.io create "+hex(8), in(s.Pipe()), out(s.Pipe()))
		ri := s.Exec(r, "/proc/self/exe=runc init", in(s.Pipe()), out(s.Pipe()))
		s.Add(&bollwerk.Event{Kind: bollwerk.EventNamespace, Process: ri, Namespace: &bollwerk.Namespace{Kinds: []string{"mnt", "pid", "net"}}})
		s.Add(&bollwerk.Event{Kind: bollwerk.EventMount, Process: ri, Mount: &bollwerk.Mount{Source: "overlay", Target: "/run/containerd/x/rootfs", Type: "overlay"}})
		s.Exec(kb, "/usr/sbin/iptables-restore -w 5 --noflush", in(s.Pipe()))
		mt := s.Exec(kb, "/usr/bin/mount -t tmpfs tmpfs /var/lib/kubelet/pods/x/volumes")
		s.Exit(mt)
		un := s.Exec(cd, "/usr/bin/unpigz -d -c", in(s.Pipe()), out(s.Pipe()))
		s.Exit(un)
		for j := 0; j < 20; j++ {
			s.Unlink(cd, fmt.Sprintf("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/%d/fs/f%d", i, j))
		}
		s.Wait(20 * time.Second)
	}
	m["benign-kubelet-containerd"] = s

	// Operators, controllers, Java services: many connections to few places.
	s = detecttest.New(detecttest.Pod("ops", "operator", "manager", "example/operator:9"))
	op := s.Was(nil, "/manager --leader-elect")
	jv := s.Was(nil, "/opt/java/bin/java -Xmx2g -jar /app/service.jar")
	s.Listen(op, "0.0.0.0:8081")
	s.Listen(jv, "0.0.0.0:8080")
	for i := 0; i < 80; i++ {
		s.Connect(op, "kubernetes.default.svc.cluster.local=10.96.0.1:443")
		s.Ask(jv, fmt.Sprintf("kafka-%d.kafka-headless.data.svc.cluster.local", i%3), "A", "NOERROR", 120)
		s.Ask(jv, fmt.Sprintf("kafka-%d.kafka-headless.data.svc.cluster.local.shop.svc.cluster.local", i%3), "A", "NXDOMAIN", 120)
		s.Connect(jv, fmt.Sprintf("10.1.7.%d:9092", i%3))
		s.Connect(jv, fmt.Sprintf("10.1.8.%d:9042", i%9), int32(110*(i%9/8)))
		s.Connect(jv, "10.2.0.4:5432")
		s.Burn(jv, 10*time.Second, 30*time.Second)
	}
	for i := 0; i < 5; i++ {
		s.Exec(jv, "/usr/bin/dash=sh -c 'ulimit -n'", out(s.Pipe()))
		s.Exec(jv, "/usr/bin/hostname", out(s.Pipe()))
		s.Exec(jv, "/usr/bin/uname -m", out(s.Pipe()))
	}
	m["benign-operators-java"] = s

	// Names: a resolver for a cluster, content networks, mail, reverse zones, tenants with ids.
	s = detecttest.New(detecttest.Pod("kube-system", "coredns", "coredns", "coredns:1.11"))
	dns := s.Was(nil, "/coredns -conf /etc/coredns/Corefile")
	for i := 0; i < 60; i++ {
		id := hex(16)
		for _, n := range []string{
			fmt.Sprintf("d%s.cloudfront.net", hex(7)[:13]), fmt.Sprintf("%s.s3.eu-central-1.amazonaws.com", hex(10)), fmt.Sprintf("%d.%d.%d.10.in-addr.arpa", i, r.IntN(256), r.IntN(256)),
			fmt.Sprintf("%d.%d.%d.%d.bl.spamcop.net", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256)), "_ldap._tcp.dc._msdcs.corp.company.com", "printer._ipp._tcp.local",
			id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:] + ".tenant.saas.io", fmt.Sprintf("e%d.a.akamaiedge.net", i), fmt.Sprintf("%s.safeframe.googlesyndication.com", id),
			fmt.Sprintf("www.%s-shop.de", []string{"garten", "fahrrad", "buch", "wein", "kaffee", "holz"}[i%6]), fmt.Sprintf("sel%d._domainkey.customer%d.com", i%3, i), fmt.Sprintf("r%d---sn-%s.googlevideo.com", i%9, hex(4)),
			fmt.Sprintf("ip-10-0-%d-%d.eu-central-1.compute.internal", i, i),
		} {
			s.Ask(dns, n, []string{"A", "AAAA", "TXT", "PTR"}[i%4/3*2+i%2], []string{"NOERROR", "NXDOMAIN"}[i%5/4], 200)
		}
		s.Wait(4 * time.Second)
	}
	m["benign-names"] = s

	// Agents that watch the machine, from within a container and from outside.
	s, init = host()
	for i := 0; i < 10; i++ {
		for _, a := range []string{"/usr/bin/node_exporter", "/opt/datadog-agent/bin/agent/agent run", "/usr/bin/telegraf", "/usr/sbin/zabbix_agentd"} {
			p := s.Was(init, a)
			s.Listen(p, "0.0.0.0:9100")
			for _, c := range []string{"/usr/bin/dash=sh -c 'df -P | tail -1'", "/usr/bin/who", "/usr/bin/uname -a", "/usr/bin/ss -s", "/usr/bin/id -u", "/usr/bin/cat /proc/net/dev", "/usr/bin/last -n 5"} {
				s.Exec(p, c, out(s.Pipe()))
			}
			s.Connect(p, "metrics.example=198.51.100.50:443")
		}
		s.Wait(time.Minute)
	}
	m["benign-monitoring"] = s

	// A CI runner: everything, all the time, for strangers.
	s = detecttest.New(detecttest.Container("job", "ubuntu:24.04"))
	w := s.Was(nil, "/home/runner/runners/2.321.0/bin/Runner.Worker spawnclient 112 115")
	sh = s.Exec(w, "/usr/bin/bash -e /home/runner/work/_temp/1.sh")
	p1, p2 := s.Pipe(), s.Pipe()
	s.Connect(s.Exec(sh, "/usr/bin/curl -fsSL https://get.example/install.sh", out(p1)), "get.example=198.51.100.60:443")
	s.Exec(sh, "/usr/bin/bash", in(p1))
	s.Exec(sh, "/usr/bin/base64 -d", in(s.Pipe()), out(p2))
	s.Exec(sh, "/usr/bin/bash -s", in(p2))
	c := s.Exec(sh, "/usr/bin/curl -Lo /usr/local/bin/kind https://kind.example/kind")
	s.Connect(c, "kind.example=198.51.100.61:443")
	s.Write(c, "/usr/local/bin/kind", 5000)
	s.Chmod(sh, "/usr/local/bin/kind", 0o755, 5000)
	s.Exec(sh, "/usr/local/bin/kind create cluster", created, detecttest.Inode(5000))
	for i := 0; i < 40; i++ {
		g := s.Exec(sh, "/usr/bin/git fetch")
		s.Connect(s.Exec(g, "/usr/bin/ssh git@github.com git-upload-pack 'a/b'"), "github.com=140.82.121.4:22")
		s.Exec(sh, "/usr/bin/whoami")
		s.Exec(sh, "/usr/bin/uname -a")
	}
	nc := s.Exec(sh, "/usr/bin/bash -c 'for i in $(seq 30); do nc -z localhost 5432 && exit; sleep 1; done'")
	s.Exec(nc, "/usr/bin/nc -z localhost 5432")
	m["benign-ci-runner"] = s

	// People at work on a server, and what serves them.
	s, init = host()
	sd := s.Was(init, "/usr/sbin/sshd -D")
	s.Listen(sd, "0.0.0.0:22")
	for i := 0; i < 4; i++ {
		s.LoginUID, s.UID = uint32(1000+i), uint32(1000+i)
		cs := s.Exec(sd, "/usr/sbin/sshd -D -R", detecttest.Net("10.1.2.3:22", fmt.Sprintf("10.9.9.%d:51000", i), 0, 1))
		b := s.Exec(s.Fork(cs), "/usr/bin/bash=-bash", detecttest.Term)
		for _, l := range []string{"/usr/bin/id", "/usr/bin/whoami", "/usr/bin/w", "/usr/bin/uname -a", "/usr/bin/sudo -l", "/usr/bin/cat /etc/passwd", "/usr/bin/netstat -tulpn", "/usr/bin/vim /etc/hosts", "/usr/bin/find / -name x", "/usr/bin/curl -I https://example.org"} {
			s.Exec(b, l, detecttest.Term)
		}
		t := s.Exec(b, "/usr/bin/tmux new", detecttest.Term)
		s.Exec(t, "/usr/bin/bash=-bash", detecttest.Term)
		py := s.Exec(b, "/usr/bin/python3.12=python3", detecttest.Term)
		s.Connect(py, "10.2.0.9:5432")
		s.Exec(py, "/usr/bin/dash=sh -c ls", detecttest.Term)
		sc := s.Exec(s.Fork(cs), "/usr/bin/bash -c 'scp -t /srv'", in(s.Pipe()), out(s.Pipe()))
		s.Write(s.Become(sc, "/usr/bin/scp -t /srv", in(s.Pipe()), out(s.Pipe())), "/srv/deploy.sh", uint64(6000+i))
		s.TTY = "pts/0"
		s.Exec(b, "/usr/bin/bash /srv/deploy.sh")
		s.TTY = ""
	}
	m["benign-people"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }
