package bulkdeletion_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/bulkdeletion"
	"github.com/bollwerk/bollwerk/detect/detecttest"
)

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	begin := func() (*detecttest.Story, *bollwerk.Process) {
		s := detecttest.New(detecttest.Pod("shop", "files", "app", "example/files:2"))
		return s, s.Was(s.Was(nil, "/usr/bin/containerd-shim-runc-v2", detecttest.From(bollwerk.OriginHost)), "/usr/bin/dash=sh -c x")
	}
	s, sh := begin()
	p := s.Exec(sh, "/tmp/enc /data", detecttest.From(bollwerk.OriginCreated))
	for i := 0; i < 30; i++ {
		f := fmt.Sprintf("/data/team%d/report-%d.xlsx", i%5, i)
		s.Rename(p, f, f+".lockedby")
	}
	m["attack-new-ending"] = s

	s, sh = begin()
	p = s.Exec(sh, "/usr/bin/python3.11=python3 /app/x.py")
	for i := 0; i < 30; i++ {
		f := fmt.Sprintf("/data/team%d/report-%d.xlsx", i%5, i)
		s.Write(p, f+".crypt", 0)
		s.Unlink(p, f)
	}
	m["attack-encrypted-copies"] = s

	s, sh = begin()
	p = s.Exec(sh, "/usr/bin/rm -rf --no-preserve-root /")
	for i := 0; i < 150; i++ {
		s.Unlink(p, fmt.Sprintf("%s/f%d", []string{"/etc/ssl", "/usr/share/doc", "/usr/bin", "/opt/app", "/home/ann"}[i%5], i))
	}
	m["attack-rm-everything"] = s

	// Many processes of one session; the kernel sums equal ones up.
	s, sh = begin()
	for i := 0; i < 12; i++ {
		p := s.Exec(sh, "/usr/bin/shred -u")
		for j := 0; j < 5; j++ {
			e := &bollwerk.Event{Kind: bollwerk.EventUnlink, Process: p, Count: 3, File: &bollwerk.FileEvent{Path: fmt.Sprintf("/srv/backups/db%d/day%d.sql", i, j)}}
			s.Add(e)
		}
	}
	m["attack-backups-shredded"] = s

	s = detecttest.New(detecttest.Host("ssh.service"))
	p = s.Exec(s.Was(nil, "/usr/bin/bash"), "/usr/bin/find /srv/www -type f -delete")
	for i := 0; i < 260; i++ {
		s.Unlink(p, fmt.Sprintf("/srv/www/site%d/page%d.html", i%9, i))
	}
	m["attack-web-root"] = s

	s, sh = begin()
	p = s.Exec(sh, "/usr/bin/find /srv/share -type f -delete")
	for i := 0; i < 600; i++ {
		s.Unlink(p, fmt.Sprintf("/srv/share/f%d", i))
	}
	m["attack-one-folder"] = s

	// What was moved into an unpacked folder is lost with it, also with folders in folders.
	folder := func(s *detecttest.Story, p *bollwerk.Process, path string) {
		s.File(bollwerk.EventCreate, p, path, func(f *bollwerk.FileEvent) { f.Mode = 0o040755 })
	}
	s, sh = begin()
	tar := s.Exec(sh, "/usr/bin/tar xf /tmp/empty.tar -C /srv")
	folder(s, tar, "/srv/x")
	folder(s, tar, "/srv/x/y")
	s.Rename(s.Exec(sh, "/usr/bin/mv /srv/share /srv/x/y"), "/srv/share", "/srv/x/y/share")
	p = s.Exec(sh, "/usr/bin/rm -rf /srv/x")
	for i := 0; i < 300; i++ {
		s.Unlink(p, fmt.Sprintf("/srv/x/y/share/f%d.docx", i))
	}
	m["attack-moved-into-unpacked"] = s

	// A program that was brought is no archiver, whatever its name.
	s, sh = begin()
	tar = s.Exec(sh, "/opt/tar", detecttest.From(bollwerk.OriginCreated))
	folder(s, tar, "/srv/x")
	p = s.Exec(sh, "/usr/bin/rm -rf /srv/x")
	for i := 0; i < 300; i++ {
		s.Unlink(p, fmt.Sprintf("/srv/x/share/f%d.docx", i))
	}
	m["attack-own-tar"] = s

	// Normal work.
	// Unpacked, looked at, moved about within, and removed.
	s, sh = begin()
	tar = s.Exec(sh, "/usr/bin/tar xzf /tmp/site.tgz -C /srv")
	folder(s, tar, "/srv/site")
	folder(s, tar, "/srv/site/img")
	s.Rename(s.Exec(sh, "/usr/bin/mv /srv/site/img/a /srv/site/a"), "/srv/site/img/a", "/srv/site/a")
	cp := s.Exec(sh, "/bin/busybox=cp -a /srv/site /srv/copy")
	folder(s, cp, "/srv/copy")
	s.Wait(10 * time.Second)
	p = s.Exec(sh, "/usr/bin/rm -rf /srv/site /srv/copy")
	for i := 0; i < 800; i++ {
		s.Unlink(p, fmt.Sprintf("/srv/%s/img/d%d/f%d.png", []string{"site", "copy"}[i%2], i%10, i))
	}
	m["benign-unpacked"] = s

	s = detecttest.New(detecttest.Container("ci", "node:22"))
	sh = s.Was(nil, "/usr/bin/dash=sh -c x")
	rm := s.Exec(sh, "/usr/bin/rm -rf node_modules dist target")
	for i := 0; i < 400; i++ {
		s.Unlink(rm, fmt.Sprintf("/app/%s/p%d/index.js", []string{"node_modules", "dist", "target"}[i%3], i))
	}
	npm := s.Exec(sh, "/usr/local/bin/node /usr/local/bin/npm ci", detecttest.Script("/usr/local/bin/npm"))
	for i := 0; i < 300; i++ {
		s.Unlink(npm, fmt.Sprintf("/app/lib/p%d/x.json", i))
	}
	git := s.Exec(sh, "/usr/bin/git checkout main")
	for i := 0; i < 300; i++ {
		s.Unlink(git, fmt.Sprintf("/app/src/m%d/x%d.ts", i%20, i))
	}
	m["benign-ci"] = s

	s = detecttest.New(detecttest.Host(""))
	cron := s.Was(nil, "/usr/sbin/cron -f")
	lr := s.Exec(cron, "/usr/sbin/logrotate /etc/logrotate.conf")
	for i := 0; i < 60; i++ {
		s.Rename(lr, fmt.Sprintf("/var/log/app%d.log", i), fmt.Sprintf("/var/log/app%d.log.1", i))
		gz := s.Exec(lr, "/usr/bin/gzip")
		s.Write(gz, fmt.Sprintf("/var/log/app%d.log.2.gz", i), 0)
		s.Unlink(gz, fmt.Sprintf("/var/log/app%d.log.2", i))
	}
	rs := s.Exec(cron, "/usr/bin/rsync -a --delete /srv/ /backup/srv/")
	for i := 0; i < 500; i++ {
		s.Unlink(rs, fmt.Sprintf("/backup/srv/d%d/f%d.pdf", i%30, i))
	}
	apt := s.Exec(cron, "/usr/bin/dpkg --unpack x.deb")
	for i := 0; i < 300; i++ {
		s.Rename(apt, fmt.Sprintf("/usr/share/doc/p%d/copyright.dpkg-new", i), fmt.Sprintf("/usr/share/doc/p%d/copyright", i))
		s.Unlink(apt, fmt.Sprintf("/usr/share/doc/p%d/changelog", i))
		s.Rename(apt, fmt.Sprintf("/usr/lib/p%d/x.so.1", i), fmt.Sprintf("/usr/lib/p%d/x.so.1.dpkg-tmp", i))
	}
	cd := s.Was(nil, "/usr/bin/containerd")
	for i := 0; i < 400; i++ {
		s.Unlink(cd, fmt.Sprintf("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/x/%d/etc/f%d", i%20, i))
		s.Unlink(cd, fmt.Sprintf("/srv/images/%d/etc/f%d", i%20, i))
	}
	m["benign-host"] = s

	s = detecttest.New(detecttest.Container("db", "postgres:16"))
	pg := s.Was(nil, "/usr/lib/postgresql/16/bin/postgres")
	for i := 0; i < 400; i++ {
		s.Unlink(pg, fmt.Sprintf("/var/lib/postgresql/data/base/%d/%d", i%20, i))
		s.Rename(pg, fmt.Sprintf("/var/lib/postgresql/data/pg_wal/%d", i), fmt.Sprintf("/var/lib/postgresql/data/pg_wal/%d.ready", i))
	}
	php := s.Was(nil, "/usr/sbin/php-fpm")
	for i := 0; i < 400; i++ {
		s.Unlink(php, fmt.Sprintf("/var/lib/php/sessions/sess_%d", i))
	}
	for i := 0; i < 300; i++ { // a queue in files, slowly
		s.Unlink(php, fmt.Sprintf("/data/inbox%d/m%d.eml", i%4, i))
		s.Wait(2 * time.Second)
	}
	m["benign-services"] = s

	s = detecttest.New(detecttest.Host(""))
	s.LoginUID, s.UID, s.TTY = 1000, 1000, "pts/0"
	rm = s.Exec(s.Was(nil, "/usr/bin/bash=-bash"), "/usr/bin/rm -rf old-project")
	for i := 0; i < 500; i++ {
		s.Unlink(rm, fmt.Sprintf("/home/ann/old-project/m%d/f%d.go", i%30, i))
	}
	m["benign-person"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	critical := bollwerk.SeverityCritical
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return bulkdeletion.New(bulkdeletion.Config{}) }, Want: map[string]detecttest.Want{
		"attack-new-ending": {Severity: critical, Message: ".lockedby"}, "attack-encrypted-copies": {Severity: critical, Message: ".crypt"}, "attack-rm-everything": {Severity: critical},
		"attack-backups-shredded": {Severity: bollwerk.SeverityHigh, Message: "backups"}, "attack-web-root": {Severity: bollwerk.SeverityMedium, Message: "find /srv/www"},
		"attack-one-folder":          {Severity: bollwerk.SeverityMedium, Message: "removed 500 files in 1 folder"},
		"attack-moved-into-unpacked": {Severity: bollwerk.SeverityHigh, Message: "documents"}, "attack-own-tar": {Severity: bollwerk.SeverityHigh},
	}, Bytes: 3 << 20})
}
