package tracing

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// A real runtime mounts, enters namespaces and writes settings while it makes a
// container. With every guard in force from before the start it must not be touched,
// and the container's own mount must be.
func TestRuntimeIsSpared(t *testing.T) {
	runc := tool(t, "runc")
	if _, err := os.Stat("/bin/busybox"); err != nil {
		unavailable(t, "busybox is missing")
	}
	c := watch(t, &Checks{}, &Gate{})
	c.need(t, AreaMount)
	bundle := t.TempDir()
	rootfs := filepath.Join(bundle, "rootfs")
	for _, d := range []string{"bin", "proc", "dev", "sys", "mnt", "etc"} {
		if err := os.MkdirAll(filepath.Join(rootfs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"busybox", "sh", "mount", "true"} {
		if err := os.WriteFile(filepath.Join(rootfs, "bin", n), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	name := "bwtest-" + strconv.Itoa(os.Getpid())
	spec := exec.Command(runc, "spec")
	spec.Dir = bundle
	if out, err := spec.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	edit(t, filepath.Join(bundle, "config.json"), func(s map[string]any) {
		p := s["process"].(map[string]any)
		p["terminal"] = false
		p["args"] = []string{"/bin/sh", "-c", "echo started; read x; echo $x; /bin/mount -t tmpfs none /mnt; echo mount ended $?; read x"}
		caps := p["capabilities"].(map[string]any)
		for k := range caps {
			caps[k] = []string{"CAP_SYS_ADMIN", "CAP_KILL"}
		}
		s["linux"].(map[string]any)["cgroupsPath"] = "/" + name
		s["linux"].(map[string]any)["sysctl"] = map[string]string{"kernel.domainname": "bollwerk.test"}
	})
	// The cgroup is made first, so that the policy is there before the runtime begins.
	k := c.s.Kernel()
	dir := filepath.Join(k.CgroupRoot, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		unavailable(t, err.Error())
	}
	t.Cleanup(func() { os.Remove(dir) })
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	all := sensor.GuardMount | sensor.GuardSetting | sensor.GuardModule | sensor.GuardBPF
	if err := k.Map("policies").Put(st.Ino, bpf.SharedBwPolicy{Enforce: uint64(all), Root: st.Ino}); err != nil {
		t.Fatal(err)
	}
	run := exec.Command(runc, "--root", filepath.Join(bundle, "state"), "run", "-b", bundle, name)
	in, err := run.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(bundle, "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	run.Stdout, run.Stderr = f, f
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command(runc, "--root", filepath.Join(bundle, "state"), "delete", "-f", name).Run()
		run.Wait()
	})
	text := func() string { b, _ := os.ReadFile(log); return string(b) }
	await(t, "the container", func() bool {
		if run.ProcessState != nil {
			t.Fatal(text())
		}
		return strings.Contains(text(), "started")
	})
	if out, err := exec.Command(runc, "--root", filepath.Join(bundle, "state"), "exec", name, "/bin/true").CombinedOutput(); err != nil && !strings.Contains(string(out), "applet") {
		t.Errorf("runc exec: %v %s", err, out)
	}
	in.Write([]byte("go\n"))
	await(t, "the container's mount", func() bool { return strings.Contains(text(), "mount ended") })
	if !strings.Contains(text(), "mount ended 137") {
		t.Errorf("the container's mount was not ended: %s", text())
	}
	c.find(t, "killed mount", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventMount && e.Outcome == bollwerk.Killed })
	c.mu.Lock()
	defer c.mu.Unlock()
	mounts := 0
	for _, e := range c.events {
		if e.Outcome != bollwerk.Seen && e.Kind != bollwerk.EventMount {
			t.Errorf("%s: %s %+v %+v", e.Outcome, e.Kind, e.Object, e.Process)
		}
		if e.Kind == bollwerk.EventMount {
			mounts++
			t.Logf("%s %+v", e.Outcome, e.Mount)
		}
	}
	if mounts > 12 {
		t.Errorf("%d mounts told of one container: the runtime's own are no news", mounts)
	}
	in.Close()
}

func edit(t *testing.T, name string, f func(map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	f(s)
	if b, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
