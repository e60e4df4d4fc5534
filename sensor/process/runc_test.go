package process

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
)

// A real runtime: its own starts out of memory, the start of the container and what is
// started in it later are let be; what the container does is not.
func TestRuntimeIsNeverKilled(t *testing.T) {
	if _, err := exec.LookPath("runc"); err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	l := watch(t)
	bundle := t.TempDir()
	root, upper, work := filepath.Join(bundle, "rootfs"), filepath.Join(bundle, "u"), filepath.Join(bundle, "w")
	for _, d := range []string{root, upper, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mount("overlay", root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", image(t), upper, work)); err != nil {
		prerequisite.Missing(t, "overlay: %v", err)
	}
	defer syscall.Unmount(root, syscall.MNT_DETACH)
	runc := func(args ...string) (string, error) {
		cmd := exec.Command("runc", append([]string{"--root", filepath.Join(bundle, "state")}, args...)...)
		cmd.Dir = bundle
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := runc("spec"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var spec map[string]any
	b, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatal(err)
	}
	name := "bollwerk-test-" + strconv.Itoa(os.Getpid())
	p := spec["process"].(map[string]any)
	p["terminal"], p["args"] = false, []string{"/bin/sh", "-c", "/bin/echo runc-began; /bin/sleep 1000"}
	spec["linux"].(map[string]any)["cgroupsPath"] = "/" + name
	spec["root"].(map[string]any)["readonly"] = false
	if b, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	// Its output goes to a file: a pipe would stay open with the container.
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
	out, err := runc("state", name)
	if err != nil {
		t.Fatal(out)
	}
	var state struct{ Pid uint32 }
	if err := json.Unmarshal([]byte(out), &state); err != nil {
		t.Fatal(err)
	}
	first := l.Sensor.Kernel().Processes.Get(state.Pid, 0)
	if !strings.HasSuffix(first.CgroupPath, name) {
		t.Fatalf("first process: %+v, child of %+v", first, first.Parent)
	}
	st, err := os.Stat(filepath.Join(l.Sensor.Kernel().CgroupRoot, first.CgroupPath))
	if err != nil {
		t.Fatal(err)
	}
	id, _ := inode(st)
	policy := &sensor.Policy{Cgroup: id, CgroupPath: first.CgroupPath, PID: state.Pid, Enforce: sensor.GuardFileless | sensor.GuardDrift | sensor.GuardReverseShell}
	apply(t, l, policy)
	if out, err := runc("start", name); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if e := l.Exec(t, "runc-began"); e.Process.Cgroup != id || e.Process.Origin != bollwerk.OriginImage || e.Process.CgroupPath != first.CgroupPath || !e.Process.Contained {
		t.Errorf("%+v", e.Process)
	}
	times := 5
	if testing.Short() {
		times = 2
	}
	for i := range times {
		if out, err := runc("exec", name, "/bin/echo", "runc-exec-"+strconv.Itoa(i)); err != nil || out != "runc-exec-"+strconv.Itoa(i)+"\n" {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if e := l.Exec(t, "runc-exec-1"); e.Outcome != bollwerk.Seen || e.Process.Parent == nil {
		t.Errorf("%s %+v", e.Outcome, e.Process)
	}
	if out, err := runc("exec", name, "/bin/sh", "-c", "cp /bin/busybox /tmp/echo; /tmp/echo runc-drift; exit 3"); err == nil || strings.Contains(out, "runc-drift") {
		t.Errorf("%v: %s", err, out)
	}
	if e := l.Exec(t, "runc-drift"); e.Outcome != bollwerk.Killed || e.Rule != "drift" {
		t.Errorf("%s by %q", e.Outcome, e.Rule)
	}
	for _, e := range l.Events(func(e *bollwerk.Event) bool { return e.Outcome == bollwerk.Killed }) {
		if e.Process.Args[len(e.Process.Args)-1] != "runc-drift" {
			t.Errorf("killed: %+v", e.Process)
		}
	}
}
