package lsm

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/process"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// inside is one sensor for all tests of this file: loading takes a while in an emulator.
type inside struct {
	*sensortest.Log
	image string
}

// without reports whether this kernel lacks what an area needs of a program, as the
// product says itself.
func (x *inside) without(t *testing.T, area, program string) bool {
	t.Helper()
	for _, r := range x.Sensor.Capabilities() {
		if r.Area == area && old(r) && strings.Contains(r.Cause, program) {
			t.Logf("this kernel cannot, and the product says so: %s: %s: %s", area, r.Verdict, r.Cause)
			return true
		}
	}
	return false
}

// TestLSM does to containers what an attacker does, on a kernel that asks BPF LSM.
func TestLSM(t *testing.T) {
	if !inForce() {
		t.Skip("this kernel does not ask BPF LSM programs; TestRowsSayWhatIs checks that the rows say so")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	x := &inside{
		Log: sensortest.Watch(t, sensor.Options{}, process.New(process.Config{}), New(Options{})),
		image: sensortest.Image(t, map[string]string{
			"bin/helper": string(self), "etc/shadow": "root:x", "etc/passwd": "root", "etc/app.conf": "a", "root/.ssh/id_rsa": "key", "var/log/app.log": "line",
		}),
	}
	for _, c := range []struct {
		name string
		f    func(*testing.T, *inside)
	}{
		{"means", testMeans}, {"exec", testExec}, {"reverse shell", testReverseShell}, {"write", testWrite}, {"read", testRead}, {"setting", testSetting}, {"acts", testActs},
		{"report", testReport}, {"host", testHost}, {"seen", testSeen}, {"volumes", testVolumes}, {"detached", testDetached}, {"fold", testFold}, {"remove", testRemove},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, x) })
	}
}

func (x *inside) box(t *testing.T, enforce, report sensor.Guard, more func(*sensor.Policy)) *sensortest.Box {
	t.Helper()
	b := sensortest.NewBox(t, x.Sensor, x.image)
	if enforce|report != 0 {
		p := b.Policy(enforce, report)
		if more != nil {
			more(p)
		}
		if err := x.Sensor.Apply(p); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { x.Sensor.Remove(b.Cgroup) })
	}
	return b
}

// refused runs a script that must fail and waits for the record that says so.
func (x *inside) refused(t *testing.T, b *sensortest.Box, script string, kind bollwerk.EventKind, guard string, fits func(*bollwerk.Event) bool) *bollwerk.Event {
	t.Helper()
	out, _ := b.Sh(t, script+" && echo it worked")
	if strings.Contains(out, "it worked") {
		t.Errorf("%s: not refused: %s", script, out)
	}
	e := x.Find(t, fmt.Sprintf("%s denied by %s (%s: %s)", kind, guard, script, out), func(e *bollwerk.Event) bool {
		return e.Kind == kind && e.Outcome == bollwerk.Denied && e.Rule == guard && e.Process != nil && e.Process.Cgroup == b.Cgroup && (fits == nil || fits(e))
	})
	if e.Result != int32(syscall.EPERM) || e.Source != "lsm" {
		t.Errorf("%s: result %d, source %s", script, e.Result, e.Source)
	}
	return e
}

func works(t *testing.T, b *sensortest.Box, script string) {
	t.Helper()
	if out, code := b.Sh(t, script); code != 0 {
		t.Errorf("%s: code %d: %s", script, code, out)
	}
}

func path(p string) func(*bollwerk.Event) bool {
	return func(e *bollwerk.Event) bool { return e.File != nil && e.File.Path == p }
}

// made is the making of what is no regular file.
func made(p string, kind uint32) func(*bollwerk.Event) bool {
	return func(e *bollwerk.Event) bool { return path(p)(e) && e.File.Mode&unix.S_IFMT == kind }
}

func testMeans(t *testing.T, x *inside) {
	for _, m := range x.Sensor.Means() {
		switch m.Guard {
		case sensor.GuardMiner, sensor.GuardEgress, sensor.GuardIngress, sensor.GuardBind: // the network's
		default:
			if m.Outcome != bollwerk.Denied {
				t.Errorf("%s: %s (%s)", m.Guard, m.Outcome, m.Cause)
			}
		}
	}
}

func testExec(t *testing.T, x *inside) {
	b := x.box(t, sensor.GuardDrift|sensor.GuardFileless, 0, nil)
	works(t, b, "cp /bin/busybox /root/dropped")
	e := x.refused(t, b, "/root/dropped true", bollwerk.EventExec, "drift", func(e *bollwerk.Event) bool { return e.Process.Path == "/root/dropped" })
	if e.Process.Origin != bollwerk.OriginCreated || e.Process.Name != "dropped" {
		t.Errorf("%+v", e.Process)
	}
	e = x.refused(t, b, "LSM_HELPER=memfd /bin/helper | grep -q 'ran from'", bollwerk.EventExec, "fileless", nil)
	if !e.Process.Fileless {
		t.Errorf("%+v", e.Process)
	}
	works(t, b, "/bin/ls / >/dev/null")
	// A script that was made at run time starts nothing that was not there before.
	works(t, b, "printf '#!/bin/sh\\nexit 0\\n' >/root/s; chmod +x /root/s; /root/s")

	b = x.box(t, sensor.GuardExec, 0, func(p *sensor.Policy) { p.Exec = []string{"/bin/busybox", "/bin/sh"} })
	works(t, b, "ls / >/dev/null")
	x.refused(t, b, "LSM_HELPER=packet /bin/helper", bollwerk.EventExec, "exec", func(e *bollwerk.Event) bool { return e.Process.Path == "/bin/helper" })
}

// foreign is an address of this machine that is not the loopback's.
func foreign(t *testing.T) *net.TCPListener {
	t.Helper()
	for _, c := range []string{"link add outside type dummy", "addr add 203.0.113.5/32 dev outside", "link set outside up"} {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("ip", "link", "del", "outside").Run() })
	return listen(t, net.IPv4(203, 0, 113, 5))
}

func listen(t *testing.T, ip net.IP) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// testReverseShell: the shell is refused before it runs, by whatever name it is called,
// and only if it talks to somebody else.
func testReverseShell(t *testing.T, x *inside) {
	peer := foreign(t)
	shell := func(fds string, l *net.TCPListener, run string) string {
		return fmt.Sprintf("LSM_HELPER='shell:%s:%s:%s' helper", fds, l.Addr(), run)
	}
	b := x.box(t, sensor.GuardReverseShell, 0, nil)
	ran := func(name string) bool {
		_, err := os.Lstat(filepath.Join(b.Dir, "root", name))
		return err == nil
	}
	works(t, b, "ln -s /bin/busybox /root/sh")
	for name, run := range map[string]string{"a": "/bin/sh -c >/root/a", "b": "/root/sh -c >/root/b"} {
		e := x.refused(t, b, shell("sss", peer, run), bollwerk.EventExec, "reverse-shell", nil)
		if ran(name) {
			t.Errorf("%s: the shell ran", run)
		}
		if n := len(e.Process.Stdio); n != 3 {
			t.Errorf("%s: %d descriptors told", run, n)
		}
		for _, f := range e.Process.Stdio {
			if f.Kind != "socket" || f.Remote.String() != peer.Addr().String() {
				t.Errorf("%s: descriptor %+v", run, f)
			}
		}
	}
	// What busybox is asked to be only its arguments say, which cannot be read before it starts.
	if _, code := b.Sh(t, shell("sss", peer, "/bin/busybox sh -c >/root/d")); code != 128+9 || ran("d") {
		t.Errorf("busybox by its own name: code %d, ran: %v", code, ran("d"))
	}
	x.Find(t, "busybox killed", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventExec && e.Outcome == bollwerk.Killed && e.Rule == "reverse-shell" && e.Process.Cgroup == b.Cgroup
	})
	// The kernel's answer, as the program that wanted the shell hears it.
	if out, _ := b.Sh(t, shell("ssn", peer, "/bin/sh -c >/root/c")); !strings.Contains(out, "operation not permitted") || ran("c") {
		t.Errorf("with two descriptors: %q, ran: %v", out, ran("c"))
	}
	// Neither a shell that only reads from a connection, nor one that talks to this
	// machine itself, nor another program.
	home := listen(t, net.IPv4(127, 0, 0, 1))
	for name, script := range map[string]string{
		"read": shell("snn", peer, "/bin/sh -c >/root/read"), "home": shell("sss", home, "/bin/sh -c >/root/home"), "other": shell("sss", peer, "/bin/touch /root/other"),
	} {
		if b.Sh(t, script); !ran(name) {
			t.Errorf("%s: did not run", script)
		}
	}
	// Without the guard, and where it only reports, it runs.
	for _, report := range []sensor.Guard{0, sensor.GuardReverseShell} {
		b = x.box(t, 0, report, nil)
		if b.Sh(t, shell("sss", peer, "/bin/sh -c >/root/free")); !ran("free") {
			t.Errorf("report %s: did not run", report)
		}
	}
}

func testWrite(t *testing.T, x *inside) {
	b := x.box(t, sensor.GuardFile, 0, func(p *sensor.Policy) { p.Write = []string{"/tmp/", "/var/tmp/", "/dev/null", "/etc/app.conf"} })
	for _, script := range []string{
		"echo a >/tmp/a", "echo b >>/tmp/a", "mkdir /tmp/d", "cp /bin/sh /tmp/d/sh", "rm /tmp/a", "echo x >/etc/app.conf", "echo x >/dev/null", "ln -s x /var/tmp/l", "chmod 700 /tmp/d/sh",
		"mkdir /tmp/e && busybox rmdir /tmp/e",
	} {
		works(t, b, script)
	}
	x.refused(t, b, "echo x >/etc/new", bollwerk.EventCreate, "file", path("/etc/new"))
	if _, err := os.Lstat(filepath.Join(b.Dir, "etc/new")); err == nil {
		t.Error("/etc/new was made although refused")
	}
	x.refused(t, b, "echo x >>/etc/passwd", bollwerk.EventOpen, "file", path("/etc/passwd"))
	x.refused(t, b, "rm -f /etc/passwd", bollwerk.EventUnlink, "file", path("/etc/passwd"))
	x.refused(t, b, "mkdir /etc/dir", bollwerk.EventCreate, "file", made("/etc/dir", unix.S_IFDIR))
	x.refused(t, b, "busybox mkfifo /etc/pipe", bollwerk.EventCreate, "file", made("/etc/pipe", unix.S_IFIFO))
	x.refused(t, b, "busybox mknod /etc/zero c 1 5", bollwerk.EventCreate, "file", made("/etc/zero", unix.S_IFCHR))
	x.refused(t, b, "busybox mknod /etc/disk b 7 0", bollwerk.EventCreate, "file", made("/etc/disk", unix.S_IFBLK))
	x.refused(t, b, "LSM_HELPER=bind:/etc/socket helper | grep -q nil", bollwerk.EventCreate, "file", made("/etc/socket", unix.S_IFSOCK))
	x.refused(t, b, "busybox rmdir /var/log", bollwerk.EventUnlink, "file", path("/var/log"))
	x.refused(t, b, "chmod 666 /etc/passwd", bollwerk.EventChmod, "file", path("/etc/passwd"))
	x.refused(t, b, "ln -s /etc/shadow /etc/alias", bollwerk.EventSymlink, "file", path("/etc/alias"))
	x.refused(t, b, "ln /etc/shadow /var/tmp/shadow2 && rm /etc/shadow", bollwerk.EventUnlink, "file", path("/etc/shadow"))
	// Neighbours of what is allowed are not allowed.
	x.refused(t, b, "echo x >/etc/app.conf2", bollwerk.EventCreate, "file", path("/etc/app.conf2"))
	x.refused(t, b, "mkdir /tmpx", bollwerk.EventCreate, "file", path("/tmpx"))
	x.refused(t, b, "echo x >/tmp/../etc/up", bollwerk.EventCreate, "file", path("/etc/up"))
}

func testRead(t *testing.T, x *inside) {
	b := x.box(t, sensor.GuardRead, 0, func(p *sensor.Policy) { p.Read = []string{"/root/.ssh/id_rsa"} })
	works(t, b, "cat /root/.ssh/id_rsa /etc/passwd")
	x.refused(t, b, "cat /etc/shadow", bollwerk.EventOpen, "read", path("/etc/shadow"))
	// The same file under another name of its folder.
	works(t, b, "mkdir /mnt && mount -o bind /etc /mnt")
	x.refused(t, b, "cat /mnt/shadow", bollwerk.EventOpen, "read", path("/mnt/shadow"))
}

func testSetting(t *testing.T, x *inside) {
	const file = "/proc/sys/kernel/core_pattern"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b := x.box(t, sensor.GuardSetting, 0, nil)
	e := x.refused(t, b, "echo '|/bin/sh' >"+file, bollwerk.EventSetting, "setting", path(file))
	if e.Object == nil || e.Object.Name != file {
		t.Errorf("%+v", e.Object)
	}
	if after, _ := os.ReadFile(file); string(after) != string(before) {
		t.Errorf("core_pattern is %q now", after)
	}
	works(t, b, "cat "+file)
	works(t, b, "echo 1 >/proc/self/oom_score_adj")
}

func testActs(t *testing.T, x *inside) {
	all := sensor.GuardMount | sensor.GuardPtrace | sensor.GuardBPF | sensor.GuardModule
	b := x.box(t, all, 0, nil)
	e := x.refused(t, b, "mkdir -p /mnt && mount -t tmpfs evil /mnt", bollwerk.EventMount, "mount", nil)
	if e.Mount.Target != "/mnt" || e.Mount.Source != "evil" || e.Mount.Type != "tmpfs" {
		t.Errorf("%+v", e.Mount)
	}
	e = x.refused(t, b, "LSM_HELPER=bpf helper; false", bollwerk.EventBPF, "bpf", nil)
	if e.Object.Name != "guest" {
		t.Errorf("%+v", e.Object)
	}
	x.refused(t, b, "LSM_HELPER=module helper; false", bollwerk.EventModule, "module", func(e *bollwerk.Event) bool { return e.Object.Type == "memory" })
	x.refused(t, b, "LSM_HELPER=module-file helper; false", bollwerk.EventModule, "module", func(e *bollwerk.Event) bool { return e.Object.Name == "busybox" })
	e = x.refused(t, b, "sleep 1000 & LSM_HELPER=attach:$! helper; kill $!; false", bollwerk.EventPtrace, "ptrace", nil)
	if e.Target == nil || e.Target.Cgroup != b.Cgroup {
		t.Errorf("target %+v", e.Target)
	}
	x.refused(t, x.box(t, sensor.GuardEgress, 0, nil), "LSM_HELPER=packet helper | grep -q nil", bollwerk.EventSocket, "egress", func(e *bollwerk.Event) bool { return e.Connection.Protocol == "packet" })
	// The kernel's answer, not only our record of it.
	for _, h := range []string{"bpf", "module", "module-file"} {
		if out, _ := b.Sh(t, "LSM_HELPER="+h+" helper"); !strings.Contains(out, "operation not permitted") {
			t.Errorf("%s: %s", h, out)
		}
	}
}

func testReport(t *testing.T, x *inside) {
	b := x.box(t, 0, sensor.GuardMount|sensor.GuardRead, nil)
	works(t, b, "mkdir /mnt && mount -t tmpfs seen /mnt && cat /etc/shadow")
	for _, k := range []bollwerk.EventKind{bollwerk.EventMount, bollwerk.EventOpen} {
		x.Find(t, "reported "+k.String(), func(e *bollwerk.Event) bool {
			return e.Kind == k && e.Outcome == bollwerk.Seen && (e.Rule == "mount" || e.Rule == "read") && e.Process.Cgroup == b.Cgroup
		})
	}
}

// testHost: whoever shares the host's namespaces is never held, not even inside the
// cgroup of a workload (a shim), and neither are runtimes at work in a container.
func testHost(t *testing.T, x *inside) {
	all := sensor.Guard(0)
	for _, g := range sensor.Guards() {
		all |= g
	}
	b := x.box(t, all, 0, nil)
	dir := t.TempDir()
	script := fmt.Sprintf(`echo $$ >%s/cgroup.procs && cp /bin/busybox %s/true && %s/true && mkdir %s/m && mount -t tmpfs h %s/m && umount %s/m &&
		cat /proc/sys/kernel/core_pattern >%s/c && cat %s/c >/proc/sys/kernel/core_pattern && echo all worked`,
		filepath.Join(x.Sensor.Kernel().CgroupRoot, b.CgroupPath), dir, dir, dir, dir, dir, dir, dir)
	if out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput(); err != nil || !strings.Contains(string(out), "all worked") {
		t.Errorf("a process of the host in the workload's cgroup: %v: %s", err, out)
	}
	// As a runtime enters: a program of the host, inside the container's namespaces.
	out, err := exec.Command("nsenter", "-t", fmt.Sprint(b.PID), "-m", "-p", "/bin/true").CombinedOutput()
	if err != nil {
		t.Errorf("nsenter: %v: %s", err, out)
	}
}

func testSeen(t *testing.T, x *inside) {
	b := x.box(t, 0, 0, nil)
	seen := func(what, script string, kind bollwerk.EventKind, fits func(*bollwerk.Event) bool) {
		t.Helper()
		out, _ := b.Sh(t, script)
		x.Find(t, what+" ("+script+": "+out+")", func(e *bollwerk.Event) bool {
			return e.Kind == kind && e.Process != nil && e.Process.Cgroup == b.Cgroup && e.Outcome == bollwerk.Seen && fits(e)
		})
	}
	seen("read of shadow", "cat /etc/shadow", bollwerk.EventOpen, func(e *bollwerk.Event) bool {
		return e.File.Path == "/etc/shadow" && e.File.Access == bollwerk.AccessRead && e.File.Origin == bollwerk.OriginImage
	})
	seen("new executable", "cp /bin/busybox /root/new", bollwerk.EventCreate, func(e *bollwerk.Event) bool {
		return e.File.Path == "/root/new" && e.File.Mode&0o111 != 0 && e.File.Origin == bollwerk.OriginCreated && e.File.Access&bollwerk.AccessCreate != 0
	})
	if n := len(x.Events(func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventCreate && e.Process.Cgroup == b.Cgroup && path("/root/new")(e)
	})); n != 1 {
		t.Errorf("a file that was made is told %d times", n)
	}
	for _, c := range []struct {
		name, script string
		kind         uint32
	}{
		{"dir", "mkdir -m 750 /root/dir", unix.S_IFDIR}, {"pipe", "busybox mkfifo /root/pipe", unix.S_IFIFO}, {"zero", "busybox mknod /root/zero c 1 5", unix.S_IFCHR},
		{"socket", "LSM_HELPER=bind:/root/socket helper", unix.S_IFSOCK},
	} {
		seen("made", c.script, bollwerk.EventCreate, func(e *bollwerk.Event) bool {
			return made("/root/"+c.name, c.kind)(e) && e.File.Origin == bollwerk.OriginCreated && e.File.Access == bollwerk.AccessCreate
		})
	}
	seen("set-uid", "chmod 4755 /root/new", bollwerk.EventChmod, func(e *bollwerk.Event) bool {
		return e.File.Path == "/root/new" && e.File.Mode&0o7777 == 0o4755 && e.File.OldMode&0o7777 == 0o755
	})
	seen("rename", "busybox mv /root/new /root/newer", bollwerk.EventRename, func(e *bollwerk.Event) bool { return e.File.Path == "/root/new" && e.File.Target == "/root/newer" })
	seen("hard link", "ln /etc/shadow /root/hard", bollwerk.EventLink, func(e *bollwerk.Event) bool { return e.File.Path == "/etc/shadow" && e.File.Target == "/root/hard" })
	seen("symbolic link", "ln -s /etc/shadow /root/soft", bollwerk.EventSymlink, func(e *bollwerk.Event) bool {
		return e.File.Path == "/root/soft" && e.File.Target == "/etc/shadow"
	})
	seen("log removed", "rm /var/log/app.log", bollwerk.EventUnlink, path("/var/log/app.log"))
	if !x.without(t, "file", "path_chown") {
		seen("chown", "busybox chown 12:34 /root/newer", bollwerk.EventChown, func(e *bollwerk.Event) bool { return e.File.UID == 12 && e.File.GID == 34 })
	}
	seen("mount", "mkdir -p /mnt; mount -o bind /etc /mnt", bollwerk.EventMount, func(e *bollwerk.Event) bool { return e.Mount.Source == "/etc" && e.Mount.Target == "/mnt" })
	seen("write through another name", "echo >>/mnt/passwd", bollwerk.EventOpen, path("/mnt/passwd"))
	seen("packet socket", "LSM_HELPER=packet helper", bollwerk.EventSocket, func(e *bollwerk.Event) bool { return e.Connection.Protocol == "packet" })
	seen("capability", "LSM_HELPER=packet helper", bollwerk.EventCapability, func(e *bollwerk.Event) bool { return e.Change.Used == "CAP_NET_RAW" })
	seen("memfd", "LSM_HELPER=memfd helper", bollwerk.EventMemfd, path("memfd:payload"))
	seen("setuid", "LSM_HELPER=setuid helper", bollwerk.EventCredentials, func(e *bollwerk.Event) bool { return e.Change.OldUID == 0 && e.Change.UID == 1000 })
	seen("unshare", "LSM_HELPER=unshare helper", bollwerk.EventNamespace, func(e *bollwerk.Event) bool {
		return strings.Join(e.Namespace.Kinds, " ") == "mnt uts" && !e.Namespace.Entered && !e.Namespace.ToHost
	})
	// Not in the box: the kernel allows none in a changed root, before it asks anybody.
	if out, err := exec.Command("busybox", "unshare", "-U", "true").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if !x.without(t, "namespace", "userns_create") {
		x.Find(t, "user namespace", func(e *bollwerk.Event) bool {
			return e.Kind == bollwerk.EventNamespace && strings.Join(e.Namespace.Kinds, " ") == "user"
		})
	}
	enterUserNamespace(t, x)
	seen("executable mapping", "cp /bin/busybox /root/lib.so; LSM_HELPER=mmap:/root/lib.so helper", bollwerk.EventMmap, path("/root/lib.so"))
	seen("BPF", "LSM_HELPER=bpf helper", bollwerk.EventBPF, func(e *bollwerk.Event) bool { return e.Object.Name == "guest" && e.Object.Type == "socketfilter" })
	seen("ptrace", "sleep 1000 & LSM_HELPER=attach:$! helper; kill -9 $!", bollwerk.EventPtrace, func(e *bollwerk.Event) bool { return e.Target != nil && e.Target.PID != e.Process.PID })
	seen("traced by its parent", "LSM_HELPER=traceme helper", bollwerk.EventTraceme, func(e *bollwerk.Event) bool { return e.Target != nil && e.Target.Same(e.Process.Parent) })
	if !x.without(t, "page faults", "anon_inode") {
		seen("own page faults", "LSM_HELPER=userfaultfd helper", bollwerk.EventUserfault, func(e *bollwerk.Event) bool { return e.Process.Name == "helper" })
	}
	seen("folder removed", "mkdir /root/folder; busybox rmdir /root/folder", bollwerk.EventUnlink, func(e *bollwerk.Event) bool {
		return e.File.Path == "/root/folder" && e.File.Mode&syscall.S_IFMT == syscall.S_IFDIR
	})
	seen("environment of another", "cat /proc/1/environ >/dev/null", bollwerk.EventOpen, func(e *bollwerk.Event) bool { return strings.HasSuffix(e.File.Path, "/1/environ") })
	hostile := "/root/\x1b[2J\xff\n"
	seen("hostile name", "touch $(printf '/root/\\033[2J\\377')", bollwerk.EventCreate, func(e *bollwerk.Event) bool { return e.File.Path == strings.TrimSuffix(hostile, "\n") })
}

// enterUserNamespace enters nothing but a user namespace, of a process that made one.
func enterUserNamespace(t *testing.T, x *inside) {
	t.Helper()
	maker := exec.Command("busybox", "unshare", "-U", "sh", "-c", "echo made; exec sleep 1000")
	maker.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := maker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := maker.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { maker.Process.Kill(); maker.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "made\n" {
		t.Fatalf("unshare: %q, %v", line, err)
	}
	// It enters, and then finds no group of its own there.
	enter := exec.Command("busybox", "nsenter", "-U", "-t", fmt.Sprint(maker.Process.Pid), "true")
	said, _ := enter.CombinedOutput()
	x.Find(t, "entered user namespace: "+string(said), func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventNamespace && e.Process.PID == uint32(enter.Process.Pid) && strings.Join(e.Namespace.Kinds, " ") == "user" &&
			e.Namespace.Entered && !e.Namespace.ToHost
	})
}

func testFold(t *testing.T, x *inside) {
	b := x.box(t, 0, 0, nil)
	const n = 300
	b.Sh(t, fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo x >>/root/log; i=$((i+1)); done", n))
	b.Sh(t, fmt.Sprintf("i=0; mkdir /root/d; while [ $i -lt %d ]; do echo x >/root/d/$i; i=$((i+1)); done; rm -r /root/d; touch /root/done", n))
	x.Find(t, "the end", func(e *bollwerk.Event) bool {
		return e.Kind == bollwerk.EventCreate && e.Process.Cgroup == b.Cgroup && e.File.Path == "/root/done"
	})
	for _, c := range []struct {
		kind   bollwerk.EventKind
		prefix string
	}{{bollwerk.EventOpen, "/root/log"}, {bollwerk.EventCreate, "/root/d/"}, {bollwerk.EventUnlink, "/root/d/"}} {
		var records int
		var sum uint64
		for _, e := range x.Events(func(e *bollwerk.Event) bool {
			return e.Kind == c.kind && e.File != nil && strings.HasPrefix(e.File.Path, c.prefix) && e.Process.Cgroup == b.Cgroup
		}) {
			records++
			sum += max(e.Count, 1)
		}
		if records > 80 || sum < n/2-1 || sum > n {
			t.Errorf("%s: %d records for %d of %d", c.kind, records, sum, n)
		}
	}
}

func testRemove(t *testing.T, x *inside) {
	b := x.box(t, sensor.GuardFile, 0, nil)
	if out, code := b.Sh(t, "mkdir /x"); code == 0 {
		t.Error("not refused: ", out)
	}
	if err := x.Sensor.Remove(b.Cgroup); err != nil {
		t.Fatal(err)
	}
	works(t, b, "mkdir /x")
}
