package detect

import (
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Class says what a program is good for, judged by its name: a set of bits. Names are
// chosen by whoever starts a program; detectors use a class to understand what happens,
// and treat a file that was made at run time by what it does.
type Class uint32

const (
	Shell       Class = 1 << iota // reads commands
	Interpreter                   // runs code given to it
	Relay                         // joins its input and output with the network
	Fetcher                       // brings files from the network
	Decoder                       // turns text into something else
	WebServer                     // answers requests
	Database                      // answers queries
	Builder                       // makes programs in normal work
	Installer                     // brings programs from repositories
	Caretaker                     // deletes, moves or compresses files in bulk as its job
	Fleet                         // reaches many machines as its job
	Runner                        // carries out jobs written elsewhere (CI, cloud-init)
	Runtime                       // starts containers
)

// classOf returns the class of a name as Name gives it.
func classOf(name string) Class {
	if c, ok := classes[name]; ok {
		return c
	}
	// "python3.12", "php-fpm8.2", "lua5.4", "node22", "postgres-16", "gcc-13".
	if i := strings.IndexAny(name, "0123456789"); i > 1 {
		return classes[strings.TrimRight(name[:i], "-.")]
	}
	return 0
}

// ClassOf returns what the program of p is good for. An interpreter is also what it was
// told to run, unless that lies where anybody can put a file: "node …/npm-cli.js" installs.
func ClassOf(p *bollwerk.Process) Class {
	if p == nil {
		return 0
	}
	c := classOf(Name(p))
	if !c.Is(Interpreter | Shell) {
		return c
	}
	told := Told(p)
	if told == "" || Scratch(told) {
		return c
	}
	told = Base(told)
	for _, s := range [...]string{".js", ".cjs", ".mjs", ".py", ".rb", ".pl", ".phar", ".sh", "-cli"} {
		told = strings.TrimSuffix(told, s)
	}
	return c | classOf(told)&^(Shell|Relay|Decoder)
}

// Is reports whether any of the bits is set.
func (c Class) Is(o Class) bool { return c&o != 0 }

// Told returns the file (or with -m the module) an interpreter or shell was started for, ""
// when there is none.
func Told(p *bollwerk.Process) string {
	file, module := p.Told()
	return file + module // one of them is empty
}

var classes = func() map[string]Class {
	m := map[string]Class{}
	for _, l := range []struct {
		class Class
		names string
	}{
		{Shell, "sh bash dash ash zsh ksh mksh fish tcsh csh rbash busybox-sh pwsh powershell"},
		{Interpreter, "python pypy perl ruby php php-cgi php-cli node nodejs deno bun lua luajit tclsh expect gawk awk mawk java jshell groovy gdb erl julia Rscript guile"},
		{Relay, "nc ncat netcat nc.openbsd nc.traditional socat telnet openssl cryptcat sbd pwncat gs-netcat websocat chisel rustcat"},
		{Fetcher, "curl wget wget2 fetch aria2c axel lynx links w3m lwp-download lwp-request ftp tftp lftp scp sftp httpie http xh ncftpget"},
		{Decoder, "base64 base32 basenc xxd openssl uudecode hex od gunzip zcat gzip bunzip2 bzcat xz xzcat unxz zstd zstdcat lz4 rev tr uncompress"},
		{WebServer, "nginx apache2 httpd lighttpd caddy php-fpm php-cgi uwsgi gunicorn uvicorn hypercorn puma unicorn passenger openresty haproxy traefik w3wp catalina jetty iisexpress tomcat litespeed lshttpd waitress-serve daphne apache"},
		{Database, "mysqld mariadbd postgres postmaster mongod redis-server valkey-server keydb-server memcached clickhouse clickhouse-server cassandra couchdb influxd elasticsearch opensearch sqlservr oracle beam.smp etcd rabbitmq-server"},
		{Builder, "go cargo rustc make gmake ninja cmake ctest gradle gradlew mvn mvnw bazel buck2 meson gcc g++ cc c++ clang clang++ ld collect2 compile link asm tsc webpack esbuild vite jest vitest pytest tox nox nvcc ghc stack cabal dotnet msbuild swift swiftc sbt lein mix rebar3 zig configure libtool rspec rake automake autoconf scons earthly buildkitd buildctl docker-buildx kaniko executor buildah nix nix-build nix-daemon guix"},
		{Installer, "apt apt-get aptitude dpkg dpkg-deb unattended-upgrade unattended-upgr apt.systemd.dai apk yum dnf rpm microdnf zypper pacman npm npx yarn pnpm pipenv virtualenv corepack pip pip3 pipx uv poetry conda mamba micromamba gem bundle bundler composer rustup rustup-init brew snap snapd flatpak helm asdf mise nvm pyenv rbenv volta sdk cpanm cpan luarocks opam easy_install packagekitd krew"},
		{Caretaker, "rsync restic borg rclone duplicity bacula-fd kopia velero logrotate systemd-tmpfile systemd-tmpfiles systemd-journal systemd-journald tmpreaper tmpwatch git git-gc git-lfs git-remote-https mlocate updatedb.mlocat savelog pg_archivecleanup man-db mandb update-initramf fstrim docker dockerd containerd containerd-shim containerd-shim-runc-v2 podman crio kubelet buildkitd tar cpio unzip gzip pigz xz bzip2 zstd dpkg apt-get apt rpm dnf yum apk pacman snapd npm node-gyp"},
		{Fleet, "ansible ansible-playbook ansible-pull salt-ssh salt-master salt-minion salt pssh parallel-ssh pdsh clush cssh fab capistrano cap mussh prometheus telegraf zabbix_server zabbix_agentd zabbix_proxy nagios icinga2 check_mk datadog-agent agent process-agent node_exporter blackbox_exporter snmp_exporter consul consul-agent nomad kubelet kube-proxy kube-apiserver kube-controller kube-controller-manager kube-scheduler coredns envoy cilium-agent calico-node flanneld linkerd2-proxy pilot-agent istiod metrics-server otelcol otelcol-contrib vector fluent-bit filebeat metricbeat heartbeat smokeping arpwatch kube-state-metrics"},
		{Runner, "Runner.Worker Runner.Listener gitlab-runner gitlab-runner-helper buildkite-agent drone-runner drone-agent woodpecker-agent agent.jar jenkins-agent concourse teamcity-agent circleci-agent circleci act act_runner forgejo-runner tekton cloud-init waagent google_startup google_metadata_script_runner amazon-ssm-agent puppet chef-client ohai terraform packer vagrant argo argoexec buildkitd jupyter jupyter-lab jupyter-notebook jupyterhub jupyterhub-singleuser code-server openvscode-server ttyd wetty gotty shellinaboxd rserver"},
		{Runtime, "runc crun runsc youki kata-runtime conmon containerd containerd-shim containerd-shim-runc-v2 containerd-shim-runc-v1 dockerd docker-init docker podman crio kubelet nvidia-container-cli nvidia-container-runtime tini dumb-init buildkitd docker-proxy"},
	} {
		for _, n := range strings.Fields(l.names) {
			m[n] |= l.class
			if len(n) > 15 {
				m[n[:15]] |= l.class // the kernel's name is cut at 15
			}
		}
	}
	return m
}()

// Base is the last part of a path.
func Base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// Name is the name of the program a process runs: the executable's, the applet's where one
// file is many programs (busybox), the kernel's name where there is no path.
func Name(p *bollwerk.Process) string {
	name, _ := p.Applet()
	return name
}

// Code returns the program text an interpreter or shell was given on its command line
// (-c, -e, -r, …), "" when there is none.
func Code(p *bollwerk.Process) string { return p.Code() }

// Commanded reports whether a shell takes its commands from its input or a person: neither
// a text on the command line nor a script file was given to it.
func Commanded(p *bollwerk.Process) bool {
	return p != nil && p.Script == "" && ClassOf(p).Is(Shell) && FromInput(p)
}

// FromInput reports whether a shell or interpreter was told neither text nor a file, or told
// to read its input as one.
func FromInput(p *bollwerk.Process) bool {
	if p.Code() != "" {
		return false
	}
	file, module := p.Told()
	switch {
	case module != "":
		return false
	case file == "", file == "/dev/fd/0", file == "/proc/self/fd/0":
		return true
	}
	return strings.HasPrefix(file, "/dev/stdin")
}

// Stdio returns descriptor fd of a process when it is a socket or a pipe.
func Stdio(p *bollwerk.Process, fd int) *bollwerk.OpenFile {
	if p == nil {
		return nil
	}
	for i := range p.Stdio {
		if p.Stdio[i].FD == fd {
			return &p.Stdio[i]
		}
	}
	return nil
}

// Internet reports whether an open file is a connected internet socket to another machine.
func Internet(f *bollwerk.OpenFile) bool {
	return f != nil && f.Kind == "socket" && f.Protocol != "unix" && Distant(f.Remote.Addr()) && f.Remote.Port() != 0
}

// Scratch reports whether a path lies where anybody can put a file.
func Scratch(path string) bool {
	for _, d := range [...]string{"/tmp/", "/dev/shm/", "/var/tmp/", "/run/shm/", "/dev/mqueue/", "/run/lock/", "/var/run/lock/"} {
		if strings.HasPrefix(path, d) {
			return true
		}
	}
	return strings.HasPrefix(path, "/run/user/") || strings.HasPrefix(path, "/proc/self/fd/") || strings.HasPrefix(path, "/dev/fd/")
}

// Made reports whether a process runs a file that was made at run time in a container, or
// has none.
func Made(p *bollwerk.Process) bool {
	return p != nil && (p.Fileless || p.Origin == bollwerk.OriginCreated || p.Origin == bollwerk.OriginModified || p.Origin == bollwerk.OriginMemory)
}

// Job returns the build, installation or CI job that a process works for: one of its
// ancestors in the same container, or what builds an image, where the container is a step of
// that. What such a job fetches and runs is what it is for. Nil when there is none.
func Job(p *bollwerk.Process) *bollwerk.Process {
	works := func(a *bollwerk.Process) bool {
		c := ClassOf(a)
		return c.Is(Builder|Installer|Runner) && !Made(a) && !Scratch(a.Path) || hasArg(a, "agent.jar", "slave.jar", "remoting.jar", "jenkins.war")
	}
	first := p
	if job := Owner(p, func(a *bollwerk.Process) bool { first = a; return works(a) }); job != nil || first == nil {
		return job
	}
	return imageBuilder(first)
}

// imageBuilder returns what builds an image of which a container is a step: what started the
// container's first process, directly or by a runtime in the foreground. Other containers are
// started by a shim, and those of "make" or a CI job's script by that.
func imageBuilder(first *bollwerk.Process) *bollwerk.Process {
	for q, n := first.Parent, 0; q != nil && n < 4; q, n = q.Parent, n+1 {
		if Made(q) || Scratch(q.Path) {
			return nil
		}
		switch name := Name(q); name {
		case "buildkitd", "buildah", "img":
			return q
		case "dockerd", "podman":
			// BuildKit in dockerd runs steps by runc in the foreground; containers have a shim.
			if n > 0 && (name == "dockerd" || len(q.Args) > 1 && (q.Args[1] == "build" || q.Args[1] == "bud")) {
				return q
			}
			return nil
		case "runc", "crun", "youki", "buildkit-runc", "buildah-oci-runtime", "exe":
		default:
			if !strings.HasPrefix(name, "runc:[") {
				return nil
			}
		}
	}
	return nil
}

// hasArg reports whether a process was told a file of one of these names: what a "java" or
// a "python" is shows only there.
func hasArg(p *bollwerk.Process, names ...string) bool {
	for i := 1; i < len(p.Args) && i < 64; i++ {
		b := Base(p.Args[i])
		for _, n := range names {
			if b == n {
				return true
			}
		}
	}
	return false
}
