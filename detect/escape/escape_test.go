package escape_test

import (
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/escape"
)

func namespace(s *detecttest.Story, p *bollwerk.Process, entered, host bool, kinds ...string) {
	s.Add(&bollwerk.Event{Kind: bollwerk.EventNamespace, Process: p, Namespace: &bollwerk.Namespace{Kinds: kinds, Entered: entered, ToHost: host}})
}

func mount(s *detecttest.Story, p *bollwerk.Process, source, target, typ string) {
	s.Wait(time.Millisecond)
	s.Add(&bollwerk.Event{Kind: bollwerk.EventMount, Process: p, Mount: &bollwerk.Mount{Source: source, Target: target, Type: typ}})
}

// onHost has left the container but for its cgroup: what it runs comes from the host.
func onHost(p *bollwerk.Process) {
	p.Contained, p.MountNS, p.PIDNS, p.Origin = false, 4026531841, 4026531836, bollwerk.OriginHost
}

// sealed is the copy of itself a runtime runs.
func sealed(p *bollwerk.Process) {
	p.Contained, p.MountNS, p.PIDNS, p.Origin, p.Inode, p.Device = false, 4026531841, 4026531836, bollwerk.OriginMemory, 81, 1
}

func stories() map[string]*detecttest.Story {
	m := map[string]*detecttest.Story{}
	begin := func(privileged bool) (*detecttest.Story, *bollwerk.Process) {
		w := detecttest.Pod("shop", "web", "php", "php:8.3-apache")
		w.Container.Privileged = privileged
		s := detecttest.New(w)
		shim := s.Was(nil, "/usr/bin/containerd-shim-runc-v2", detecttest.Outside)
		return s, s.Was(shim, "/usr/bin/bash")
	}
	s, sh := begin(false)
	u := s.Exec(sh, "/usr/bin/unshare -UrmC bash")
	namespace(s, u, false, false, "user", "mnt", "cgroup")
	b := s.Become(u, "/usr/bin/bash")
	mount(s, s.Exec(b, "/usr/bin/mount -t cgroup -o rdma cgroup /mnt"), "cgroup", "/mnt", "cgroup")
	s.Add(&bollwerk.Event{Kind: bollwerk.EventSetting, Process: b, Object: &bollwerk.Object{Name: "release_agent", Value: "/var/lib/x/cmd"}})
	m["attack-release-agent"] = s

	s, sh = begin(false)
	mount(s, s.Exec(sh, "/usr/bin/mount /dev/sda1 /mnt/h"), "/dev/sda1", "/mnt/h", "ext4")
	s.Exec(sh, "/usr/sbin/chroot /mnt/h /bin/bash")
	m["attack-disk-chroot"] = s

	s, sh = begin(false)
	mount(s, s.Exec(sh, "/usr/bin/mount /dev/vda1 /mnt/h"), "/dev/vda1", "/mnt/h", "ext4")
	s.Write(sh, "/mnt/h/root/.ssh/authorized_keys", 7)
	m["attack-disk-write"] = s

	s, sh = begin(false)
	n := s.Exec(sh, "/usr/bin/nsenter -t 1 -m -p -- sh")
	namespace(s, n, true, true, "mnt", "pid")
	s.Become(n, "/usr/bin/dash=sh", onHost)
	m["attack-nsenter"] = s

	s, sh = begin(true)
	n = s.Exec(sh, "/usr/bin/nsenter -t 1 -m -p -- bash", detecttest.Term)
	namespace(s, n, true, true, "mnt", "pid")
	s.Become(n, "/usr/bin/bash", onHost, detecttest.Term)
	m["attack-nsenter-privileged-by-hand"] = s

	// The kernel runs what core_pattern names: a file in a container's layer.
	s = detecttest.New(detecttest.Host(""))
	k := s.Was(nil, "kthreadd")
	k.Path, k.Args, k.Kernel, k.PID = "", nil, true, 2
	s.Exec(k, "/var/lib/docker/overlay2/9f3c/diff/tmp/x 11 1000")
	m["attack-core-pattern-runs"] = s

	// A process in the container's cgroup, with the mounts of the host (CVE-2019-5736 and its kin).
	s = detecttest.New(detecttest.Host(""))
	s.Exec(s.Was(nil, "/usr/lib/systemd/systemd"), "/usr/bin/true")
	c, sh := begin(false)
	c.Exec(sh, "/usr/bin/dash=sh -c 'id > /root/x'", onHost)
	m["attack-in-the-mounts-of-the-host"] = s.Join(c)

	// The first process of a container, child of a runtime in the foreground, enters the host: with
	// its own call seen, with that of the tool alone, and not seen at all.
	first := func() (*detecttest.Story, *bollwerk.Process, *detecttest.Story) {
		h := detecttest.New(detecttest.Host(""))
		h.Exec(h.Was(nil, "/usr/lib/systemd/systemd"), "/usr/bin/true")
		c, _ := begin(false)
		return c, c.Was(nil, "/usr/bin/runc run x", detecttest.Outside, detecttest.Inode(70)), h
	}
	c, r, s := first()
	n = c.Exec(r, "/usr/bin/nsenter -t 1 -m -- sh")
	namespace(c, n, true, true, "mnt")
	m["attack-first-process"] = s.Join(c)

	c, r, s = first()
	n = c.Exec(r, "/usr/bin/nsenter -t 1 -m -- sh")
	n = c.Become(n, "/usr/bin/dash=sh -c 'id > /root/x; reboot'", onHost)
	c.Exec(n, "/usr/sbin/reboot", onHost)
	m["attack-first-process-unseen"] = s.Join(c)

	c, r, s = first()
	n = c.Exec(r, "/app/server")
	namespace(c, n, false, false, "mnt")
	c.Become(n, "/usr/bin/dash=sh", onHost)
	m["attack-first-process-itself"] = s.Join(c)

	// Runtimes that start containers; drivers that manage the host; a build in a container.
	s = detecttest.New(detecttest.Host(""))
	s.Exec(s.Was(nil, "/usr/lib/systemd/systemd"), "/usr/bin/true")
	c, _ = begin(false)
	shim := c.Was(nil, "/usr/bin/containerd-shim-runc-v2", detecttest.Outside)
	start := func(copy detecttest.Option) {
		r := c.Exec(shim, "/usr/bin/runc --root /run/containerd/runc/k8s.io create x", detecttest.Outside, detecttest.Inode(70))
		i := c.Exec(r, "/proc/self/exe=runc init", copy)
		namespace(c, i, false, false, "mnt", "pid", "net", "ipc", "uts")
		inside := c.Fork(i)
		inside.Contained, inside.MountNS, inside.PIDNS = true, 4026532501, 4026532504
		mount(c, inside, "/dev/sda1", "/etc/hosts", "ext4")
		mount(c, inside, "cgroup", "/sys/fs/cgroup", "cgroup2")
		c.Become(inside, "/docker-entrypoint.sh")
	}
	start(sealed)
	start(onHost)
	// Without BPF nobody tells where a program comes from.
	start(func(p *bollwerk.Process) {
		onHost(p)
		p.Origin, p.Inode, p.Device = "", 70, 64769
	})
	m["benign-runtime"] = s.Join(c)

	w := detecttest.Pod("storage", "csi-node", "driver", "registry.example/csi:4")
	w.Container.Privileged, w.Container.HostPID = true, true
	s = detecttest.New(w)
	d := s.Was(nil, "/csi-driver --node")
	for j := 0; j < 3; j++ {
		n := s.Exec(d, "/usr/bin/nsenter --mount=/host/proc/1/ns/mnt -- mount /dev/sdb /var/lib/kubelet/pods/x")
		namespace(s, n, true, true, "mnt")
		b := s.Become(n, "/usr/bin/mount /dev/sdb /var/lib/kubelet/pods/x", onHost)
		mount(s, b, "/dev/sdb", "/var/lib/kubelet/pods/x", "ext4")
		s.Write(d, "/var/lib/kubelet/pods/x/vol_data.json", 8)
		s.Wait(time.Minute)
	}
	m["benign-storage-driver"] = s

	// Root of the host makes mounts of its own and goes back; a unit with PrivateTmp= sets core_pattern.
	s = detecttest.New(detecttest.Host(""))
	s.Exec(nil, "/usr/bin/true")
	un := s.Exec(s.Was(nil, "/usr/bin/bash"), "/usr/bin/unshare -m /usr/bin/nsenter --mount=/proc/1165/ns/mnt true")
	namespace(s, un, false, false, "mnt")
	own := func(p *bollwerk.Process) { p.Contained, p.MountNS = true, 4026532179 }
	un = s.Become(un, "/usr/bin/nsenter --mount=/proc/1165/ns/mnt true", own)
	namespace(s, un, true, true, "mnt")
	s.Become(un, "/usr/bin/true")
	o := detecttest.New(detecttest.Host("systemd-coredump.service"))
	o.Now = s.Now
	un = o.Exec(nil, "/usr/lib/systemd/systemd-sysctl", own)
	namespace(o, un, false, false, "mnt")
	o.Add(&bollwerk.Event{Kind: bollwerk.EventSetting, Process: un, Object: &bollwerk.Object{Name: "kernel/core_pattern", Value: "|/usr/lib/systemd/systemd-coredump"}})
	m["benign-mounts-of-ones-own"] = s.Join(o)

	s = detecttest.New(detecttest.Container("build", "quay.io/buildah/stable"))
	p := s.Exec(nil, "/usr/bin/buildah bud .")
	namespace(s, p, false, false, "user", "mnt")
	mount(s, p, "overlay", "/var/lib/containers/storage/overlay/x/merged", "overlay")
	mount(s, p, "proc", "/proc", "proc")
	mount(s, p, "tmpfs", "/run", "tmpfs")
	s.Exec(p, "/usr/bin/dash=/bin/sh -c 'make'")
	s.Add(&bollwerk.Event{Kind: bollwerk.EventSetting, Process: p, Object: &bollwerk.Object{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}})
	m["benign-nested-build"] = s
	return m
}

func TestStories(t *testing.T) { detecttest.Files(t, stories()) }

func TestContract(t *testing.T) {
	critical := detecttest.Want{Severity: bollwerk.SeverityCritical}
	detecttest.Test(t, detecttest.Contract{New: func() detect.Detector { return escape.New(escape.Config{}) }, Want: map[string]detecttest.Want{
		"attack-release-agent": {Severity: bollwerk.SeverityCritical, Message: "release_agent after it mounted a cgroup tree"}, "attack-disk-chroot": {Severity: bollwerk.SeverityCritical, Message: "/dev/sda1"},
		"attack-disk-write": critical, "attack-nsenter": critical, "attack-core-pattern-runs": critical, "attack-in-the-mounts-of-the-host": critical,
		"attack-first-process": critical, "attack-first-process-unseen": {Severity: bollwerk.SeverityCritical, Message: "in the host's mount namespace"}, "attack-first-process-itself": critical,
		"attack-nsenter-privileged-by-hand": {Severity: bollwerk.SeverityHigh, Mode: "warn"},
	}})
}

func TestAllowed(t *testing.T) {
	d := escape.New(escape.Config{Allowed: []string{"php:"}})
	if got := detecttest.Run(t, d, detecttest.Read(t, "testdata/attack-nsenter.jsonl")); len(got) != 0 {
		t.Errorf("told of an allowed image: %s", got[0].Message)
	}
}
