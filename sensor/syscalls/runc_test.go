package syscalls

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// until waits for what is certain to come.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(sensortest.Patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// underRunc makes a container with runc. told: the source knows its cgroup from the
// beginning, as the agent does for an exec into a container.
func underRunc(t *testing.T, told bool) {
	s := New(Config{Always: true})
	l := watch(t, s)
	bundle := t.TempDir()
	image := sensortest.Image(t, nil)
	// Device files cannot be copied; the runtime brings its own.
	if err := os.Remove(filepath.Join(image, "dev/null")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(bundle, "rootfs"), os.DirFS(image)); err != nil {
		t.Fatal(err)
	}
	runc := func(args ...string) (string, error) {
		cmd := exec.Command("runc", append([]string{"--root", filepath.Join(bundle, "state")}, args...)...)
		cmd.Dir = bundle
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := runc("spec"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	config := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("bollwerk-calls-%d-%v", os.Getpid(), told)
	p := spec["process"].(map[string]any)
	p["terminal"], p["args"] = false, []string{"/bin/sh", "-c", "while true; do /bin/sleep 1000; done"}
	spec["linux"].(map[string]any)["cgroupsPath"] = "/" + name
	if b, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, b, 0o644); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(l.Sensor.Kernel().CgroupRoot, name)
	if told {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(folder) })
		s.Container(&bollwerk.Workload{Cgroup: inode(t, folder)}, true)
	}
	create := exec.Command("runc", "--root", filepath.Join(bundle, "state"), "create", name)
	create.Dir = bundle
	log, err := os.Create(filepath.Join(bundle, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	create.Stdout, create.Stderr = log, log
	if err := create.Run(); err != nil {
		b, _ := os.ReadFile(log.Name())
		prerequisite.Missing(t, "runc cannot make a container here: %v: %s", err, b)
	}
	defer runc("delete", "--force", name)
	id := inode(t, folder)
	if out, err := runc("start", name); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var all bitmap
	gather := func() bitmap {
		if b := collect(s)[id]; b != nil {
			for i := range b {
				all[i] |= b[i]
			}
		}
		return all
	}
	until(t, "the shell to fork", func() bool { b := gather(); return b.has(unix.SYS_WAIT4) })
	if out, err := runc("exec", name, "/bin/true"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// From now on its namespace is known, as it is to the agent.
	var state struct{ Pid uint32 }
	out, err := runc("state", name)
	if err == nil {
		err = json.Unmarshal([]byte(out), &state)
	}
	if err != nil || state.Pid == 0 {
		t.Fatalf("%v: %s", err, out)
	}
	w := &bollwerk.Workload{Cgroup: id, Container: &bollwerk.Container{PID: state.Pid}}
	if s.space(w) == 0 {
		t.Error("the namespace is not known")
	}
	s.Container(w, true)
	if out, err := runc("exec", name, "/bin/mkdir", "/dev/shm/x"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if b := gather(); !b.has(unix.SYS_MKDIRAT) && (sysMkdir < 0 || !b.has(sysMkdir)) {
		t.Error("what was started in the container was taken for the runtime")
	}
	got := gather()
	for _, c := range []struct {
		name string
		nr   int
	}{{"mount", unix.SYS_MOUNT}, {"pivot_root", unix.SYS_PIVOT_ROOT}, {"unshare", unix.SYS_UNSHARE}, {"setns", unix.SYS_SETNS}, {"sethostname", unix.SYS_SETHOSTNAME}, {"memfd_create", unix.SYS_MEMFD_CREATE}, {"capset", unix.SYS_CAPSET}, {"seccomp", unix.SYS_SECCOMP}} {
		if got.has(c.nr) {
			t.Errorf("%s of the runtime was taken for the container's", c.name)
		}
	}
	if s.Stats().Runtime == 0 {
		t.Error("no call of the runtime was noticed")
	}
}

// Any process may call itself what the runtime does.
func TestTheNameOfTheRuntimeHidesNothing(t *testing.T) {
	s := New(Config{Always: true})
	l := watch(t, s)
	box := sensortest.NewBox(t, l.Sensor, sensortest.Image(t, nil))
	s.Container(&bollwerk.Workload{Cgroup: box.Cgroup, Container: &bollwerk.Container{PID: box.PID}}, true)
	if out, rc := box.Sh(t, "echo 'runc:[2:INIT]' > /proc/1/comm; cat /proc/1/comm"); rc != 0 || strings.TrimSpace(out) != "runc:[2:INIT]" {
		t.Fatalf("%d: %s", rc, out)
	}
	collect(s)
	before := s.Stats().Runtime
	box.Sh(t, "/bin/mkdir /tmp/x")
	b := collect(s)[box.Cgroup]
	if b == nil || !b.has(unix.SYS_WAIT4) || !b.has(unix.SYS_MKDIRAT) && (sysMkdir < 0 || !b.has(sysMkdir)) {
		t.Errorf("calls are missing: %x", b)
	}
	if n := s.Stats().Runtime; n != before {
		t.Errorf("%d calls were taken for the runtime's", n-before)
	}
}

func inode(t testing.TB, path string) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return st.Ino
}
