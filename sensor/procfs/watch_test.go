package procfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
)

func TestSettingsFoundChanged(t *testing.T) {
	file := filepath.Join(t.TempDir(), "release_agent")
	if err := os.WriteFile(file, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := watch(t, sensor.Options{NoBPF: true}, &Settings{Interval: 5 * time.Millisecond, Files: []string{file, "/nonexistent"}})
	if err := os.WriteFile(file+"x", []byte("|/tmp/evil\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+"x", file); err != nil {
		t.Fatal(err)
	}
	e := c.find(t, "setting", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventSetting })
	if e.Object.Name != "release_agent" || e.Object.Old != "old" || e.Object.Value != "|/tmp/evil" || e.Process != nil {
		t.Errorf("%+v by %+v", e.Object, e.Process)
	}
	if len(settingFiles()) < 5 {
		t.Error(settingFiles())
	}
}

func TestMountsCompared(t *testing.T) {
	root(t)
	dir := t.TempDir()
	// A namespace that exists before the sensor, so that its first mounts are known.
	cmd := exec.Command("unshare", "-m", "sh", "-c", "read x; "+tool(t, "mount")+" -t tmpfs -o ro,nosuid bwtest '"+dir+"'; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); cmd.Wait() }()
	own := inode(t, "/proc/self/ns/mnt")
	for end := time.Now().Add(time.Minute); inode(t, "/proc/"+pidOf(cmd)+"/ns/mnt") == own; {
		if time.Now().After(end) {
			t.Fatal("no namespace")
		}
	}
	m := &Mounts{Interval: 5 * time.Millisecond}
	c := watch(t, sensor.Options{NoBPF: true}, &Connector{}, m)
	await(t, "a first look", func() bool { return m.looked.Load() })
	in.Write([]byte("\n"))
	e := c.find(t, "mount", func(e *bollwerk.Event) bool { return e.Kind == bollwerk.EventMount && e.Mount.Target == dir })
	if e.Mount.Type != "tmpfs" || e.Mount.Source != "bwtest" || e.Mount.Flags&3 != 3 || e.Process.PID != uint32(cmd.Process.Pid) {
		t.Errorf("%+v by %d", e.Mount, e.Process.PID)
	}
}

func FuzzParseMount(f *testing.F) {
	f.Add(`36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`)
	f.Fuzz(func(t *testing.T, line string) {
		if m, ok := parseMount(line); ok {
			m.flags()
		}
	})
}
