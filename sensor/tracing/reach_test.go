package tracing

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// box is a container that the sources were told of.
func box(t *testing.T, l *sensortest.Log, image string, ready func() bool) *sensortest.Box {
	t.Helper()
	b := sensortest.NewBox(t, l.Sensor, image)
	l.Sensor.Container(&bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: b.Cgroup, Container: &bollwerk.Container{PID: b.PID}}, true)
	if ready != nil {
		await(t, "the container is watched", ready)
	}
	return b
}

func mustSee(t *testing.T, l *sensortest.Log, area string) {
	t.Helper()
	for _, r := range l.Sensor.Capabilities() {
		if r.Area == area && r.Verdict == bollwerk.NotEvaluated {
			unavailable(t, r.Cause)
		}
	}
}

// imageWith is an image with programs of this machine and their libraries; /extra.so is
// one of these once more; "dial" connects to a socket and stays, "poke" leaves at once.
func imageWith(t *testing.T, programs ...string) string {
	t.Helper()
	files := map[string]string{"usr/bin/dial": "#!/bin/sh\nexec /usr/bin/socat -u unix-connect:$1 /dev/null\n",
		"usr/bin/poke": "#!/bin/sh\nexec /usr/bin/socat -u /dev/null unix-connect:$1\n"}
	add := func(from, to string) {
		b, err := os.ReadFile(from)
		if err != nil {
			unavailable(t, err.Error())
		}
		files[to] = string(b)
	}
	for _, name := range programs {
		program := tool(t, name)
		add(program, "usr/bin/"+name)
		out, err := exec.Command("ldd", program).Output()
		if err != nil {
			unavailable(t, "ldd "+program+": "+err.Error())
		}
		for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
			add(lib, lib)
			if strings.HasPrefix(filepath.Base(lib), "libc.so") {
				add(lib, "extra.so")
			}
		}
	}
	return sensortest.Image(t, files)
}

// listen on a socket with a name until the end of the test.
func listen(t *testing.T, name string) {
	t.Helper()
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func TestSocketsSeen(t *testing.T) {
	host := filepath.Join(t.TempDir(), "docker.sock")
	r := &Reach{Sockets: []string{host}}
	l := sensortest.Watch(t, sensor.Options{}, r)
	mustSee(t, l, AreaUnix)
	b := box(t, l, imageWith(t, "socat"), nil)
	connect := func(name string) func(*bollwerk.Event) bool {
		return func(e *bollwerk.Event) bool {
			return e.Kind == bollwerk.EventConnect && e.Connection.Protocol == "unix" && e.Connection.Path == name
		}
	}
	listen(t, filepath.Join(b.Dir, "etc/db.sock"))
	b.Sh(t, "dial /etc/db.sock &")
	e := l.Find(t, "a socket by its name", connect("/etc/db.sock"))
	if e.Outcome != bollwerk.Seen || e.Process == nil || e.Process.Cgroup != b.Cgroup || !e.Connection.Outgoing {
		t.Errorf("%+v by %+v", e.Connection, e.Process)
	}
	b.Sh(t, "cd /etc; dial ../etc/./db.sock & ln -s /etc/db.sock /root/x; dial /root/x &")
	await(t, "three ways to one socket", func() bool { return len(l.Events(connect("/etc/db.sock"))) >= 3 })
	// The same socket again is counted, not told.
	n := len(l.Events(connect("/etc/db.sock")))
	b.Sh(t, "for i in 1 2 3 4 5; do poke /etc/db.sock; done; dial /etc/none.sock")
	l.Find(t, "a socket that is not there", connect("/etc/none.sock"))
	if now := len(l.Events(connect("/etc/db.sock"))); now != n {
		t.Errorf("told %d times more", now-n)
	}
	// A socket of the host's runtime is told by its name there, whatever it is called inside.
	listen(t, host)
	shared := filepath.Join(b.Dir, "etc/harmless")
	if err := os.WriteFile(shared, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "nsenter", "-t", strconv.Itoa(int(b.PID)), "-m", "mount", "--bind", host, shared)
	b.Sh(t, "dial /etc/harmless &")
	l.Find(t, "the runtime's socket under another name", connect(host))
	// What the host does is not told.
	if c, err := net.DialTimeout("unix", host, time.Second); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	b.Sh(t, "dial /etc/last.sock")
	l.Find(t, "the last one", connect("/etc/last.sock"))
	if all := l.Events(connect(host)); len(all) != 1 {
		t.Errorf("%d events about the host's socket", len(all))
	}
}

func TestLibrariesSeen(t *testing.T) {
	r := &Reach{}
	l := sensortest.Watch(t, sensor.Options{}, r)
	mustSee(t, l, AreaMmap)
	b := box(t, l, imageWith(t, "true"), nil)
	mapped := func(name string) func(*bollwerk.Event) bool {
		return func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventMmap && e.File.Path == name }
	}
	out, _ := b.Sh(t, "mount -o remount,exec /dev/shm; cp /extra.so /dev/shm/evil.so; cp /extra.so /root/new.so; LD_PRELOAD=/dev/shm/evil.so /usr/bin/true; LD_PRELOAD=/root/new.so /usr/bin/true")
	e := l.Find(t, "a library in shared memory", mapped("/dev/shm/evil.so"))
	if e.File.Origin != bollwerk.OriginCreated || e.File.Access != bollwerk.AccessExec || e.File.Inode == 0 || e.Process == nil || e.Process.Cgroup != b.Cgroup {
		t.Errorf("%+v by %+v (%s)", e.File, e.Process, out)
	}
	l.Find(t, "a library made at run time", mapped("/root/new.so"))
	// Libraries of the image are nobody's business.
	b.Sh(t, "LD_PRELOAD=/extra.so /usr/bin/true; cp /extra.so /root/last.so; LD_PRELOAD=/root/last.so /usr/bin/true")
	l.Find(t, "the last one", mapped("/root/last.so"))
	for _, e := range l.Events(func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventMmap }) {
		if strings.HasPrefix(e.File.Path, "/lib") || strings.HasPrefix(e.File.Path, "/usr") {
			t.Errorf("told of the image's %s", e.File.Path)
		}
	}
}
