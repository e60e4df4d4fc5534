package attack

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// The little internet of the tests: one network namespace whose loopback interface has
// these addresses besides 127.0.0.1.
const (
	attacker = "203.0.113.5"     // listens for reverse shells and miners
	resolver = "203.0.113.53"    // answers every DNS question
	apiAddr  = "10.96.0.1"       // a Kubernetes API server
	metadata = "169.254.169.254" // of the cloud
	self     = "10.77.0.2"
)

// network is a namespace of its own with listeners in it.
type network struct {
	t    testing.TB
	path string // of the namespace
	// do runs on the thread that lives in the namespace.
	do chan func()
	// names are what the name server says of some names; of the others that they are the attacker's.
	names sync.Map
}

func need(t testing.TB, program string) string {
	t.Helper()
	p, err := exec.LookPath(program)
	if err != nil {
		prerequisite.Missing(t, "%s is missing; test/deps.sh installs it", program)
	}
	return p
}

// newSpace is a namespace in which nothing is up.
func newSpace(t testing.TB) *network {
	t.Helper()
	n := &network{t: t, path: filepath.Join(t.TempDir(), "net"), do: make(chan func())}
	if err := os.WriteFile(n.path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	began := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", n.path, "", unix.MS_BIND, "")
		}
		began <- err
		if err != nil {
			return
		}
		for f := range n.do {
			f()
		}
	}()
	if err := <-began; err != nil {
		prerequisite.Missing(t, "a network namespace cannot be made: %v", err)
	}
	t.Cleanup(func() {
		close(n.do)
		_ = unix.Unmount(n.path, unix.MNT_DETACH)
	})
	return n
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	busybox := need(t, "busybox")
	n := newSpace(t)
	n.in(func() {
		for _, args := range [][]string{
			{"link", "set", "lo", "up"}, {"addr", "add", attacker + "/32", "dev", "lo"}, {"addr", "add", resolver + "/32", "dev", "lo"},
			{"addr", "add", apiAddr + "/32", "dev", "lo"}, {"addr", "add", metadata + "/32", "dev", "lo"}, {"addr", "add", self + "/16", "dev", "lo"},
		} {
			if out, err := exec.Command(busybox, append([]string{"ip"}, args...)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %v: %v: %s", args, err, out)
			}
		}
	})
	n.serveDNS()
	return n
}

func (n *network) in(f func()) {
	done := make(chan struct{})
	n.do <- func() { defer close(done); f() }
	<-done
}

// listen calls serve for each connection to an address in the namespace.
func (n *network) listen(addr string, serve func(net.Conn)) {
	n.t.Helper()
	var l net.Listener
	var err error
	n.in(func() { l, err = net.Listen("tcp", addr) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				serve(c)
			}()
		}
	}()
}

// serveDNS answers A questions with an address, except for names that begin with "nx".
func (n *network) serveDNS() {
	var pc net.PacketConn
	var err error
	n.in(func() { pc, err = net.ListenPacket("udp", resolver+":53") })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = pc.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			size, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if b := n.answer(buf[:size]); b != nil {
				_, _ = pc.WriteTo(b, from)
			}
		}
	}()
}

func (n *network) answer(q []byte) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(q)
	if err != nil {
		return nil
	}
	question, err := p.Question()
	if err != nil {
		return nil
	}
	h.Response, h.RecursionAvailable = true, true
	name := question.Name.String()
	if strings.HasPrefix(name, "nx") {
		h.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, h)
	_ = b.StartQuestions()
	_ = b.Question(question)
	_ = b.StartAnswers()
	if h.RCode == dnsmessage.RCodeSuccess {
		rh := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 60}
		switch question.Type {
		case dnsmessage.TypeA:
			addr := attacker
			if said, ok := n.names.Load(strings.TrimSuffix(name, ".")); ok {
				addr = said.(string)
			}
			_ = b.AResource(rh, dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()})
		case dnsmessage.TypeTXT:
			_ = b.TXTResource(rh, dnsmessage.TXTResource{TXT: []string{strings.Repeat("x", 200)}})
		}
	}
	out, err := b.Finish()
	if err != nil {
		return nil
	}
	return out
}

// containers are made with runc over the root file system of this machine: the image is
// what is installed here, the writable layer is empty, and /tmp, /root and /home are fresh.
type containers struct {
	t    testing.TB
	runc string
	dir  string
	net  *network
	next atomic.Int64
	// socket of the launcher.
	socket string
}

func newContainers(t testing.TB, n *network) *containers {
	t.Helper()
	c := &containers{t: t, runc: need(t, "runc"), net: n}
	// The writable layer may not lie below the image: it stands on a tmpfs of its own.
	dir, err := os.MkdirTemp("/dev/shm", "bollwerk-attack-")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1g,mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		_ = os.RemoveAll(dir)
	})
	c.dir = dir
	c.socket = startLauncher(t)
	return c
}

// container is one run of a script.
type container struct {
	id   string
	gate string // a fifo: the script begins when somebody writes to it
	done chan struct{}
	file string // of its output
}

func (c *container) output() string {
	b, _ := os.ReadFile(c.file)
	return string(b)
}

// open lets the script begin and waits for its end.
func (c *container) open(t testing.TB) {
	t.Helper()
	c.begin(t)
	select {
	case <-c.done:
	case <-time.After(time.Minute):
		t.Fatalf("%s does not end:\n%s", c.id, tail(c.output()))
	}
}

// openWithin is open for scripts that take longer, from any goroutine.
func (c *container) openWithin(t testing.TB, limit time.Duration) {
	t.Helper()
	c.begin(t)
	select {
	case <-c.done:
	case <-time.After(limit):
		t.Errorf("%s does not end:\n%s", c.id, tail(c.output()))
	}
}

// begin lets the script begin, now or as soon as it comes to its gate: what is written to
// a fifo that is open at both ends waits there for its reader.
func (c *container) begin(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(c.gate, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteString("go\n")
	must(t, err)
	go func() {
		<-c.done
		_ = f.Close()
	}()
}

// awaitOutput waits until the output of the script has a line.
func (c *container) awaitOutput(t testing.TB, line string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	must(t, err)
	changes := os.NewFile(uintptr(fd), "inotify")
	defer changes.Close()
	_, err = unix.InotifyAddWatch(fd, c.file, unix.IN_MODIFY)
	must(t, err)
	must(t, changes.SetReadDeadline(time.Now().Add(time.Minute)))
	b := make([]byte, 4096)
	for !strings.Contains("\n"+c.output(), "\n"+line+"\n") {
		if _, err := changes.Read(b); err != nil {
			t.Fatalf("%s does not say %q within a minute: %v\n%s", c.id, line, err, tail(c.output()))
		}
	}
}

// option changes the OCI configuration.
type option func(spec map[string]any)

func privileged(spec map[string]any) {
	p := spec["process"].(map[string]any)
	var all []string
	for _, c := range strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN
		NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE SETFCAP BPF PERFMON`) {
		all = append(all, "CAP_"+c)
	}
	p["capabilities"] = map[string]any{"bounding": all, "effective": all, "permitted": all}
	l := spec["linux"].(map[string]any)
	delete(l, "maskedPaths")
	delete(l, "readonlyPaths")
	l["resources"] = map[string]any{"devices": []any{map[string]any{"allow": true, "access": "rwm"}}}
	var ms []any
	for _, m := range spec["mounts"].([]any) {
		if m.(map[string]any)["destination"] == "/sys" {
			m.(map[string]any)["options"] = []string{"nosuid", "noexec", "nodev"}
		}
		ms = append(ms, m)
	}
	spec["mounts"] = ms
}

// runnableMemory lets programs run from /dev/shm, as an emptyDir of memory does.
func runnableMemory(spec map[string]any) {
	for _, m := range spec["mounts"].([]any) {
		if m := m.(map[string]any); m["destination"] == "/dev/shm" {
			m["options"] = []string{"nosuid", "nodev", "mode=1777", "size=65536k"}
		}
	}
}

// serviceAccount is the folder in memory in which the kubelet puts a pod's token.
func serviceAccount(spec map[string]any) {
	spec["mounts"] = append(spec["mounts"].([]any), map[string]any{"destination": "/run/secrets/kubernetes.io/serviceaccount", "type": "tmpfs", "source": "tmpfs",
		"options": []string{"nosuid", "nodev", "mode=755", "size=64k"}})
}

func hostPID(spec map[string]any) {
	l := spec["linux"].(map[string]any)
	var ns []any
	for _, n := range l["namespaces"].([]any) {
		if n.(map[string]any)["type"] != "pid" {
			ns = append(ns, n)
		}
	}
	l["namespaces"] = ns
}

// start begins a container that runs a script with bash and returns at once.
func (c *containers) start(name, script string, opts ...option) *container {
	c.t.Helper()
	return c.startAs(fmt.Sprintf("%s-%d-%d", name, os.Getpid(), c.next.Add(1)), script, opts...)
}

// startAs is start under a given id, which may have been used before.
func (c *containers) startAs(id, script string, opts ...option) *container {
	c.t.Helper()
	dir := filepath.Join(c.dir, fmt.Sprintf("%s.%d", id, c.next.Add(1)))
	bundle := filepath.Join(dir, "bundle")
	root, upper, work := filepath.Join(bundle, "rootfs"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{root, upper, work} {
		must(c.t, os.MkdirAll(d, 0o755))
	}
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{{"tmp", 0o777 | os.ModeSticky}, {"root", 0o700}, {"home", 0o755}} {
		p := filepath.Join(upper, d.name)
		must(c.t, os.Mkdir(p, 0o755))
		must(c.t, os.Chmod(p, d.mode))
		must(c.t, unix.Setxattr(p, "trusted.overlay.opaque", []byte("y"), 0))
	}
	must(c.t, unix.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+upper+",workdir="+work))
	c.t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	must(c.t, os.Remove(filepath.Join(root, "etc/resolv.conf")))
	must(c.t, os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver "+resolver+"\n"), 0o644))
	// The image is as old as it looks: what was prepared here is not the container's doing.
	cmd := exec.Command(c.runc, "spec", "--bundle", bundle)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("runc spec: %v: %s", err, out)
	}
	file := filepath.Join(bundle, "config.json")
	var spec map[string]any
	b, err := os.ReadFile(file)
	must(c.t, err)
	must(c.t, json.Unmarshal(b, &spec))
	p := spec["process"].(map[string]any)
	p["terminal"] = false
	// The container lives before it is attacked, as containers do.
	must(c.t, unix.Mkfifo(filepath.Join(root, "run/gate"), 0o600))
	// As a file, since a command line is looked at before anything happens.
	must(c.t, os.WriteFile(filepath.Join(root, "run/main"), []byte("read go < /run/gate\n"+script+"\n"), 0o644))
	p["args"] = []string{"bash", "/run/main"}
	p["cwd"] = "/"
	p["env"] = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	spec["root"] = map[string]any{"path": "rootfs", "readonly": false}
	l := spec["linux"].(map[string]any)
	for _, ns := range l["namespaces"].([]any) {
		if m := ns.(map[string]any); m["type"] == "network" {
			m["path"] = c.net.path
		}
	}
	for _, o := range opts {
		o(spec)
	}
	b, err = json.Marshal(spec)
	must(c.t, err)
	must(c.t, os.WriteFile(file, b, 0o644))
	run := &container{id: id, gate: filepath.Join(root, "run/gate"), done: make(chan struct{}), file: filepath.Join(dir, "out")}
	go func() {
		defer close(run.done)
		if err := c.launch(launchRequest{Args: []string{c.runc, "run", "--bundle", bundle, id}, Out: run.file}); err != nil {
			c.t.Errorf("%s: %v", id, err)
		}
	}()
	c.t.Cleanup(func() {
		_ = exec.Command(c.runc, "delete", "--force", id).Run()
		<-run.done
	})
	return run
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
