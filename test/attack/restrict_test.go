package attack

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	node "github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/test/vm"
)

// worker is a container that does, one after the other, what it is told, and says what
// came of it: "ok", the name of an error, "timeout", "refused N" or "killed N".
type worker struct {
	*container
	ctl  *os.File
	next int
}

const workerProgram = `import ctypes, errno, os, select, socket, sys
def word(e):
    if isinstance(e, socket.gaierror): return "gai %d" % e.args[0]
    if isinstance(e, (socket.timeout, TimeoutError)): return "timeout"
    return errno.errorcode.get(e.errno, str(e)) if isinstance(e, OSError) else repr(e)
def child(f):
    r, w = os.pipe()
    pid = os.fork()
    if not pid:
        try: f()
        except OSError as e: os.write(w, word(e).encode())
        os._exit(1)
    os.close(w)
    said = os.read(r, 100).decode()
    os.close(r)
    _, status = os.waitpid(pid, 0)
    if said: return said
    if os.WIFSIGNALED(status): return "killed %d" % os.WTERMSIG(status)
    return "ok" if not os.WEXITSTATUS(status) else "refused %d" % os.WEXITSTATUS(status)
def become(argv):
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2): os.dup2(null, fd)
    os.execv(argv[0], argv)
def done(f):
    f()
    os._exit(0)
def connect(addr, port):
    s = socket.socket()
    s.settimeout(2)
    s.connect((addr, port))
    s.close()
    return "ok"
def file(path, flags):
    fd = os.open(path, flags, 0o644)
    if flags & os.O_WRONLY: os.write(fd, b"x\n")
    else: os.read(fd, 1)
    os.close(fd)
    return "ok"
servers = []
def listen(port):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port))
    s.listen(8)
    servers.append(s)
    return "ok"
def send(addr, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.sendto(b"x", (addr, port))
    s.close()
    return "ok"
def do(f):
    v = f[0]
    if v == "exec": return child(lambda: become(f[1:]))
    if v == "sh": return child(lambda: become(["/usr/bin/bash", "-c", " ".join(f[1:])]))
    if v == "connect": return connect(f[1], int(f[2]))
    if v == "name": return connect(socket.getaddrinfo(f[1], None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0], int(f[2]))
    if v == "send": return send(f[1], int(f[2]))
    if v == "listen": return listen(int(f[1]))
    if v == "write": return file(f[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    if v == "read": return file(f[1], os.O_RDONLY)
    if v == "user": return child(lambda: done(lambda: os.setuid(int(f[1]))))
    if v == "groups": return child(lambda: done(lambda: os.setgroups([1])))
    if v == "raw":
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()
        return "ok"
    if v == "end": sys.exit(0)
    return "verb?"
ctl = os.fdopen(os.open("/run/ctl", os.O_RDWR), "r")
while True:
    ready, _, _ = select.select([ctl] + servers, [], [])
    for s in ready:
        if s in servers:
            try: s.accept()[0].close()
            except OSError: pass
        else:
            f = ctl.readline().split()
            try: said = do(f[1:])
            except OSError as e: said = word(e)
            print(f[0] + ":" + said, flush=True)
`

// worker starts a container under an id; one of the same id may have lived before.
func (c *containers) worker(a *agent, id string, opts ...option) *worker {
	c.t.Helper()
	began := time.Now()
	w := &worker{container: c.startAs(id, "exec python3 /run/work.py", opts...)}
	dir := filepath.Dir(w.gate)
	must(c.t, os.WriteFile(filepath.Join(dir, "work.py"), []byte(workerProgram), 0o644))
	must(c.t, unix.Mkfifo(filepath.Join(dir, "ctl"), 0o600))
	awaitThat(c.t, id+" is protected", func() bool {
		s, ok := a.newest(c.t, id)
		return ok && s.Since.After(began) && s.Enforced != "" && s.Watched
	})
	w.begin(c.t)
	f, err := os.OpenFile(filepath.Join(dir, "ctl"), os.O_RDWR, 0)
	must(c.t, err)
	w.ctl = f
	c.t.Cleanup(func() { _ = f.Close() })
	return w
}

// newest is the status of the container of this id that began last.
func (a *agent) newest(t testing.TB, id string) (newest node.WorkloadStatus, ok bool) {
	t.Helper()
	var s node.Status
	must(t, node.Ask(context.Background(), a.socket, "GET", "/status", &s))
	for _, w := range s.Workloads {
		if w.Name == id && (!ok || w.Since.After(newest.Since)) {
			newest, ok = w, true
		}
	}
	return newest, ok
}

// does tells the worker what to do and returns what came of it.
func (w *worker) does(t testing.TB, format string, args ...any) string {
	t.Helper()
	w.next++
	head := fmt.Sprintf("%d:", w.next)
	if _, err := fmt.Fprintf(w.ctl, "%d %s\n", w.next, fmt.Sprintf(format, args...)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		for line := range strings.SplitSeq(w.output(), "\n") {
			if said, ok := strings.CutPrefix(line, head); ok {
				return said
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no answer to %s:\n%s", fmt.Sprintf(format, args...), tail(w.output()))
		}
	}
}

func (w *worker) end(t testing.TB) {
	t.Helper()
	_, _ = fmt.Fprintf(w.ctl, "0 end\n")
	<-w.done
}

// want is one act and what must come of it.
func (w *worker) want(t testing.TB, want, format string, args ...any) {
	t.Helper()
	if got := w.does(t, format, args...); got != want {
		t.Errorf("%s: %q, want %q", fmt.Sprintf(format, args...), got, want)
	}
}

const (
	shop    = "db.shop.test"
	shopAt  = "198.51.100.1"
	shopNow = "198.51.100.2" // where it moved
	evilAt  = "198.51.100.9"
)

// work is what the workload does all day.
func (w *worker) work(t testing.TB, n *network, round int) {
	t.Helper()
	w.want(t, "ok", "exec /usr/bin/cat /etc/hostname")
	w.want(t, "ok", "sh exit 0")
	w.want(t, "ok", "connect %s 443", apiAddr)
	w.want(t, "ok", "name %s 5432", shop)
	w.want(t, "ok", "send %s 8125", apiAddr)
	w.want(t, "ok", "write /srv/app.log")
	w.want(t, "ok", "write /srv/sess_%08x", 0xa1b2c3d4+round*7919)
	if got := n.dial(self, self+":8080"); got != "ok" {
		t.Errorf("a client that is known: %s", got)
	}
}

// dial connects out of the namespace, not from a container.
func (n *network) dial(from, to string) string {
	var c net.Conn
	var err error
	d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	n.in(func() { c, err = d.Dial("tcp", to) })
	if err != nil {
		if e, ok := err.(net.Error); ok && e.Timeout() {
			return "timeout"
		}
		return err.Error()
	}
	_ = c.Close()
	return "ok"
}

const restrictConfig = `learn:
  observe: {observed: 0s, span: 0s, replicas: 1, starts: 10, unseen: 1, start_unseen: 1}
  restrict: {observed: 0s, span: 0s, replicas: 1, starts: 10, unseen: 1, start_unseen: 1}
workloads:
- match: "*"
  fail: %s
`

// restricted is a workload that was learned and is held to its profile.
type restricted struct {
	n  *network
	cs *containers
	a  *agent
	w  *worker
	id string
	// config is the agent's.
	config string
}

func (r *restricted) mode(t testing.TB, to string) (string, int) {
	t.Helper()
	out, errs, code := r.a.verb(t, "profile", "mode", r.id, to, "--why", "test")
	return out + errs, code
}

func (r *restricted) status(t testing.TB) node.WorkloadStatus {
	t.Helper()
	s, ok := r.a.newest(t, r.id)
	if !ok {
		t.Fatalf("%s is not known", r.id)
	}
	return s
}

// given are the capabilities of the workload; it uses none when it does its work.
var given = []string{"CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE", "CAP_KILL"}

func withCapabilities(spec map[string]any) {
	spec["process"].(map[string]any)["capabilities"] = map[string]any{"bounding": given, "effective": given, "permitted": given}
}

// learnAndRestrict runs a workload until its profile is complete, and restricts it.
func learnAndRestrict(t *testing.T, fail string) *restricted {
	t.Helper()
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, fmt.Appendf(nil, restrictConfig, fail), 0o600))
	r := &restricted{n: newNetwork(t), id: fmt.Sprintf("shop-%d", os.Getpid()), config: config}
	r.n.names.Store(shop, shopAt)
	r.n.names.Store("evil.test", evilAt)
	busybox := need(t, "busybox")
	r.n.in(func() {
		for _, addr := range []string{shopAt, shopNow, evilAt} {
			r.n.ip(busybox, "addr", "add", addr+"/32", "dev", "lo")
		}
	})
	for _, addr := range []string{apiAddr + ":443", attacker + ":80", shopAt + ":5432", shopNow + ":5432", evilAt + ":5432"} {
		r.n.listen(addr, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	}
	r.cs = newContainers(t, r.n)
	r.a = startAgent(t, "--config", config)
	aloneHere(t, r.a)
	for round := range 11 {
		r.w = r.cs.worker(r.a, r.id, withCapabilities)
		r.w.want(t, "ok", "listen 8080")
		if round == 10 {
			break
		}
		r.w.work(t, r.n, round)
		if round == 0 {
			if said, code := r.mode(t, "observe"); code == 0 || !strings.Contains(said, "starts of a replica") {
				t.Errorf("a profile of one start may observe: %d %s", code, said)
			}
		}
		r.w.end(t)
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, to := range []string{"observe", "restrict"} {
		var said string
		code := 1
		// The agent sees the last events a moment after they happened.
		for deadline := time.Now().Add(30 * time.Second); code != 0 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
			said, code = r.mode(t, to)
		}
		if code != 0 {
			show, _, _ := r.a.verb(t, "profile", "show", r.id)
			t.Fatalf("mode %s: %s\n%s", to, said, show)
		}
	}
	return r
}

// told waits for a detection of the container.
func (r *restricted) told(t testing.TB, outcome bollwerk.Outcome, rules ...string) {
	t.Helper()
	ok := r.a.await(attackWait, func() bool {
		return slices.ContainsFunc(r.a.of(r.id), func(d *bollwerk.Detection) bool { return slices.Contains(rules, d.Rule) && d.Outcome == outcome })
	})
	if !ok {
		r.a.mu.Lock()
		defer r.a.mu.Unlock()
		t.Errorf("no detection of %v with outcome %q; told:\n%s", rules, outcome, describe(r.a.of(r.id)))
	}
}

// TestRestrict lets the agent learn a container's work, holds the container to it, and
// attacks from inside.
func TestRestrict(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	r := learnAndRestrict(t, "open")
	w := r.w
	s := r.status(t)
	show, errs, code := r.a.verb(t, "profile", "show", r.id)
	if code != 0 {
		t.Fatalf("profile show: %s", errs)
	}
	t.Logf("enforced: %s\nreported only: %q\n%s", s.Enforced, s.ReportedOnly, show)
	lsm := r.a.areas(t)["deny exec"].Verdict == bollwerk.Pass
	for _, g := range strings.Fields("exec read bind egress ingress") {
		if !slices.Contains(strings.Split(s.Enforced, ","), g) {
			t.Errorf("%s is not enforced: %s, %q", g, s.Enforced, s.ReportedOnly)
		}
	}
	files := slices.Contains(strings.Split(s.Enforced, ","), "file")
	if files {
		t.Log("files are refused by BPF LSM")
	}
	said := strings.Join(s.ReportedOnly, "\n")
	if files != lsm || files == strings.Contains(said, "file: ") || !strings.Contains(said, "capability") || !strings.Contains(show, "reported only: user, capability") {
		t.Errorf("files are enforced: %v, LSM: %v, told: %q", files, lsm, said)
	}
	for line := range strings.Lines(show) {
		switch f := strings.Fields(line); {
		case len(f) < 2:
		case f[0] == "capability" && !slices.Contains(given, f[1]):
			t.Errorf("%s was learned, which the container does not have", f[1])
		case f[0] == "executable" && f[1] == "(memory)", f[0] == "behaviour" && f[1] == "runs-memory":
			t.Errorf("%s was learned: the runtime's own doing", f[1])
		}
	}
	before := len(r.detections("profile-"))
	w.work(t, r.n, 100)
	r.n.names.Store(shop, shopNow) // names move
	w.work(t, r.n, 101)
	if n := len(r.detections("profile-")); n > before {
		t.Errorf("the daily work is told:\n%s", describe(r.detections("profile-")[before:]))
	}
	r.attack(t, files)
	r.n.names.Store(shop, shopAt)
	w.work(t, r.n, 102)
	if t.Failed() {
		t.Logf("told:\n%s", describe(r.detections("")))
	}

	// A container that starts now is held as soon as the agent knows it, and starts.
	w.end(t)
	r.w = r.cs.worker(r.a, r.id, withCapabilities)
	w = r.w
	for deadline := time.Now().Add(attackWait); w.does(t, "exec /usr/bin/id") != "EPERM"; {
		if time.Now().After(deadline) {
			t.Fatal("what started while the profile restricts is not held")
		}
	}
	w.want(t, "ok", "listen 8080")
	w.work(t, r.n, 103)
	w.want(t, "EPERM", "exec /usr/bin/id")
	w.want(t, "EPERM", "connect %s 80", attacker)

	// Back by one command, at once.
	if said, code := r.mode(t, "learn"); code != 0 {
		t.Fatalf("back to learn: %s", said)
	}
	if s := r.status(t); strings.Contains(s.Enforced, "exec") || len(s.ReportedOnly) > 0 || s.Mode != "learn" {
		t.Errorf("still restricted after learn: %+v", s)
	}
	r.free(t)
	w.work(t, r.n, 104)
}

func (r *restricted) attack(t *testing.T, files bool) {
	t.Helper()
	w := r.w
	for _, c := range []struct {
		want, verb string
		outcome    bollwerk.Outcome
		rules      []string
	}{
		{"EPERM", "exec /usr/bin/id", bollwerk.Denied, []string{"profile-new-executable"}},
		// A known program, by whom it was never started by: told, as nothing refuses it.
		{"ok", "sh /usr/bin/cat /etc/hostname; exit 0", bollwerk.Seen, []string{"profile-new-executable"}},
		{"EPERM", "connect " + attacker + " 80", bollwerk.Denied, []string{"profile-new-destination"}},
		{"EPERM", "connect " + apiAddr + " 80", bollwerk.Denied, []string{"profile-new-destination"}},
		{"EPERM", "name evil.test 5432", bollwerk.Denied, []string{"profile-new-destination"}},
		{"EPERM", "send " + attacker + " 9999", bollwerk.Denied, []string{"profile-new-destination"}},
		{"EPERM", "raw", bollwerk.Denied, []string{"profile-new-behaviour", "raw-socket-in-container"}},
		{"EPERM", "listen 9090", bollwerk.Denied, []string{"profile-new-port"}},
		{"EPERM", "read /etc/shadow", bollwerk.Denied, []string{"profile-new-read", "password-file-read"}},
		{"ok", "groups", bollwerk.Seen, []string{"profile-new-capability"}},
		{"ok", "user 65534", bollwerk.Seen, []string{"profile-new-user"}},
	} {
		w.want(t, c.want, "%s", c.verb)
		r.told(t, c.outcome, c.rules...)
	}
	// The runtime uses both before the container's program starts; that hides neither.
	for _, used := range []string{"CAP_SETGID", "CAP_SETUID"} {
		if !r.a.await(attackWait, func() bool {
			return slices.ContainsFunc(r.a.of(r.id), func(d *bollwerk.Detection) bool {
				return d.Rule == "profile-new-capability" && strings.Contains(d.Message, used)
			})
		}) {
			t.Errorf("the use of %s is not told", used)
		}
	}
	if files {
		w.want(t, "EPERM", "write /srv/evil")
		r.told(t, bollwerk.Denied, "profile-new-write")
	} else {
		w.want(t, "ok", "write /srv/evil")
		r.told(t, bollwerk.Seen, "profile-new-write")
	}
	if got := r.n.dial(attacker, self+":8080"); got != "timeout" {
		t.Errorf("a client from an unknown place: %s", got)
	}
	r.told(t, bollwerk.Denied, "profile-new-client")
}

// free checks that nothing of the profile is enforced.
func (r *restricted) free(t *testing.T) {
	t.Helper()
	for _, verb := range []string{"exec /usr/bin/id", "connect " + attacker + " 80", "send " + attacker + " 9999", "raw", "listen 9090", "read /etc/shadow", "write /srv/evil"} {
		r.w.want(t, "ok", "%s", verb)
	}
	if got := r.n.dial(attacker, self+":8080"); got != "ok" {
		t.Errorf("a client from an unknown place: %s", got)
	}
}

func (r *restricted) detections(prefix string) (out []*bollwerk.Detection) {
	r.a.mu.Lock()
	defer r.a.mu.Unlock()
	for _, d := range r.a.of(r.id) {
		if strings.HasPrefix(d.Rule, prefix) {
			out = append(out, d)
		}
	}
	return out
}

func (n *network) ip(busybox string, args ...string) {
	if out, err := exec.Command(busybox, append([]string{"ip"}, args...)...).CombinedOutput(); err != nil {
		n.t.Errorf("ip %v: %v: %s", args, err, out)
	}
}

// TestRunTimePrograms runs what was made at run time, and is not drift: scripts, whose
// interpreter is of the image, and what a build tool made; and drift that a person allowed.
func TestRunTimePrograms(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte("workloads:\n- match: forge-*\n  builders: [perl]\n"), 0o600))
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--config", config)
	const perl = `perl -e 'system("cp /bin/echo /tmp/made; /tmp/made made-ran")'`
	run := func(id, script string) *container {
		began := time.Now()
		r := cs.startAs(id, script+hold)
		defer func() {
			if t.Failed() {
				s, ok := a.newest(t, id)
				t.Logf("%s: %v %+v since %v\n%s\n%s", id, ok, s, began, r.output(), tail(a.log()))
			}
		}()
		awaitThat(t, id+" is protected", func() bool {
			s, ok := a.newest(t, id)
			return ok && s.Since.After(began) && s.Enforced != ""
		})
		r.open(t)
		return r
	}
	fences := 0
	// A later attack that is told says that what came before it was judged.
	told := func(id string, rule string, outcome bollwerk.Outcome) (found bool) {
		fences++
		fence := fmt.Sprintf("fence-%d", fences)
		run(fence, "cat /etc/shadow")
		a.await(attackWait, func() bool { return len(a.of(fence)) > 0 })
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, d := range a.of(id) {
			found = found || (rule == "" || d.Rule == rule) && (outcome == "" || d.Outcome == outcome)
		}
		if t.Failed() {
			t.Logf("%s: told:\n%s", id, describe(a.of(id)))
		}
		return found
	}
	pid := os.Getpid()
	for _, c := range []struct {
		name, script string
		lines        []string
	}{
		{"scripts", `printf '#!/bin/sh\necho direct-ran\n' > /tmp/s.sh; chmod +x /tmp/s.sh; /tmp/s.sh
printf 'echo by-shell-ran\n' > /tmp/t.sh; sh /tmp/t.sh; bash /tmp/t.sh
printf '#!/usr/bin/python3\nprint("python-ran")\n' > /tmp/p.py; chmod +x /tmp/p.py; /tmp/p.py; python3 /tmp/p.py`, []string{"direct-ran", "by-shell-ran", "python-ran"}},
		{"forge", perl, []string{"made-ran"}},
		{"build", `printf 'all:\n\tcp /bin/echo /tmp/made\n\t/tmp/made made-ran\n' > /tmp/Makefile; make -s -f /tmp/Makefile`, []string{"made-ran"}},
	} {
		if c.name == "build" && os.Getenv(inVM) != "" {
			continue // no make there
		}
		id := fmt.Sprintf("%s-%d", c.name, pid)
		r := run(id, c.script)
		for _, l := range c.lines {
			if !printed(r, l) {
				t.Errorf("%s: %s was stopped:\n%s", c.name, l, r.output())
			}
		}
		if told(id, "drift-execution", "") || told(id, "", bollwerk.Killed) || told(id, "", bollwerk.Denied) {
			t.Errorf("%s is told as drift, or something was stopped:\n%s", c.name, describe(a.of(id)))
		}
	}
	// Without the configuration the same is drift, until a person allows it.
	id := fmt.Sprintf("habit-%d", pid)
	if r := run(id, perl); printed(r, "made-ran") || !told(id, "drift-execution", "") {
		t.Errorf("a program made by perl ran, or is not told:\n%s", r.output())
	}
	if out, errs, code := a.verb(t, "profile", "allow", id, "behaviour", "runs-created-files", "--why", "it compiles its templates"); code != 0 {
		t.Fatalf("profile allow: %s%s", out, errs)
	}
	if r := run(id, perl); !printed(r, "made-ran") {
		t.Errorf("a behaviour that was allowed is stopped:\n%s", r.output())
	}
	if out, errs, code := a.verb(t, "profile", "forbid", id, "behaviour", "runs-created-files", "--why", "no longer"); code != 0 {
		t.Fatalf("profile forbid: %s%s", out, errs)
	}
	if r := run(id, perl); printed(r, "made-ran") {
		t.Errorf("a behaviour that was forbidden is not stopped:\n%s", r.output())
	}
}

// TestRestrictKill takes the agent away from a restricted workload.
func TestRestrictKill(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	for _, fail := range []string{"closed", "open"} {
		t.Run(fail, func(t *testing.T) {
			r := learnAndRestrict(t, fail)
			w := r.w
			w.work(t, r.n, 200)
			files := slices.Contains(strings.Split(r.status(t).Enforced, ","), "file")
			if lsm := r.a.areas(t)["deny exec"].Verdict == bollwerk.Pass; files != lsm {
				t.Errorf("files are enforced: %v, LSM: %v", files, lsm)
			}
			if files {
				t.Log("files are refused by BPF LSM")
			}
			r.attack(t, files)
			r.a.kill()
			if fail == "open" {
				w.work(t, r.n, 201)
				r.free(t)
				return
			}
			// The kernel programs go on, names of destinations included.
			r.n.names.Store(shop, shopNow)
			w.work(t, r.n, 201)
			w.want(t, "EPERM", "connect %s 80", attacker)
			w.want(t, "EPERM", "name evil.test 5432")
			w.want(t, "EPERM", "send %s 9999", attacker)
			w.want(t, "EPERM", "listen 9090")
			if got := w.does(t, "exec /usr/bin/id"); got != "EPERM" && (files || got != "killed 9") {
				t.Errorf("a program that is not in the profile, without an agent: %s", got)
			}
			if files {
				w.want(t, "EPERM", "write /srv/evil")
				w.want(t, "EPERM", "read /etc/shadow")
			}
			if got := r.n.dial(attacker, self+":8080"); got != "timeout" {
				t.Errorf("a client from an unknown place, without an agent: %s", got)
			}
			if out, errs, code := r.a.verb(t, "release"); code != 0 {
				t.Errorf("release: %d %s%s", code, out, errs)
			}
			r.free(t)
			w.work(t, r.n, 202)
			// The mode outlived the kill: a new agent holds the workload again.
			r.a.mu.Lock()
			r.a.ended, r.a.detections = false, nil
			r.a.stderr.Reset()
			r.a.mu.Unlock()
			r.a.start("--config", r.config)
			awaitThat(t, "the workload is restricted again", func() bool {
				s, ok := r.a.newest(t, r.id)
				return ok && s.Mode == "restrict" && strings.Contains(s.Enforced, "egress") && s.Watched
			})
			w.want(t, "EPERM", "connect %s 80", attacker)
			w.want(t, "EPERM", "exec /usr/bin/uname")
			if out, errs, code := r.a.verb(t, "release"); code != 0 {
				t.Errorf("release: %d %s%s", code, out, errs)
			}
			w.want(t, "ok", "connect %s 80", attacker)
			w.want(t, "ok", "exec /usr/bin/uname")
		})
	}
}

// TestRestrictInVM does the same where BPF LSM can refuse writes, too, and holds on when the
// agent is killed. The one run that shows most is the default; -inside ^TestRestrict takes all.
func TestRestrictInVM(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	run := *insideFlag
	if run == "" {
		run = "^TestRestrictKill$/^closed$"
	}
	files := append(vmFiles(t), vm.File{Path: "/srv", Mode: os.ModeDir})
	onKernels(t, func(t *testing.T, k vm.Kernel) {
		results := inMachine(t, k, files, run)
		if said := results["tests"].Output; !strings.Contains(said, "files are refused by BPF LSM") {
			t.Error("files were not enforced")
		}
	})
}
