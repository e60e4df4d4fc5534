package lsm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// TestInstructions compares what system calls cost with and without the programs. It
// means something only where the clock counts instructions (test/vm with -icount):
// elsewhere the times say more about the machine than about us.
func TestInstructions(t *testing.T) {
	if os.Getenv("BOLLWERK_INSTRUCTIONS") == "" {
		t.Skip("the clock of this machine does not count instructions")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	image := sensortest.Image(t, map[string]string{"bin/helper": string(self)})
	dir := t.TempDir()
	for _, name := range []string{"some-file.txt", "shadowy"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	measures := []struct {
		name string
		most float64 // ratio
		help string
	}{
		{"open+close to read", 1.10, fmt.Sprintf("time:%d:%s/some-file.txt", unix.O_RDONLY, dir)},
		{"open+close to read, a name like a watched one", 1.25, fmt.Sprintf("time:%d:%s/shadowy", unix.O_RDONLY, dir)},
		{"open+close to write", 1.35, fmt.Sprintf("time:%d:%s/some-file.txt", unix.O_WRONLY, dir)},
		{"null call", 1.01, "time:-1:"},
		{"fork+exec", 1.10, ""},
	}
	measure := func(help string) (v float64) {
		if help == "" {
			return median(15, func() {
				if err := exec.Command("/bin/busybox", "true").Run(); err != nil {
					t.Fatal(err)
				}
			})
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{"LSM_HELPER=" + help}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(string(out), "time %f", &v); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		return v
	}
	before := make([]float64, len(measures))
	none := sensortest.Watch(t, sensor.Options{NoBPF: true})
	for i, m := range measures {
		before[i] = measure(m.help)
	}
	inside := func(l *sensortest.Log) *sensortest.Box { return sensortest.NewBox(t, l.Sensor, image) }
	read0, write0 := timed(t, inside(none), unix.O_RDONLY), timed(t, inside(none), unix.O_WRONLY)
	none.Stop()
	l := sensortest.Watch(t, sensor.Options{}, New(Options{}))
	for i, m := range measures {
		after := measure(m.help)
		t.Logf("%s: %.0f → %.0f instructions, ratio %.3f", m.name, before[i], after, after/before[i])
		if after/before[i] > m.most {
			t.Errorf("%s: %.3f times as dear, want at most %.2f", m.name, after/before[i], m.most)
		}
	}
	// Inside a workload, by a program that times itself: without a policy, and held to
	// a list of folders it may write.
	free, held := inside(l), inside(l)
	p := held.Policy(sensor.GuardFile|sensor.GuardRead|sensor.GuardDrift|sensor.GuardSetting, 0)
	p.Write = []string{"/tmp/", "/dev/null"}
	if err := l.Sensor.Apply(p); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name         string
		before, most float64
		after        float64
	}{
		{"open+close to read in a container", read0, 1.10, timed(t, free, unix.O_RDONLY)},
		{"open+close to write in a container", write0, 1.80, timed(t, free, unix.O_WRONLY)},
		{"open+close to read, held to a policy", read0, 1.10, timed(t, held, unix.O_RDONLY)},
		{"open+close to write, held to a policy", write0, 2.40, timed(t, held, unix.O_WRONLY)},
	} {
		t.Logf("%s: %.0f → %.0f instructions, ratio %.3f", c.name, c.before, c.after, c.after/c.before)
		if c.after/c.before > c.most {
			t.Errorf("%s: %.3f times as dear, want at most %.2f", c.name, c.after/c.before, c.most)
		}
	}
}

// timed is what an open and close in a container costs, as the helper there measures.
func timed(t *testing.T, b *sensortest.Box, flags int) float64 {
	t.Helper()
	out, _ := b.Sh(t, fmt.Sprintf("touch /tmp/some-file.txt; LSM_HELPER=time:%d:/tmp/some-file.txt helper", flags))
	var v float64
	if _, err := fmt.Sscanf(out, "time %f", &v); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return v
}

// median of nine rounds of n calls, nanoseconds (or instructions) per call.
func median(n int, f func()) float64 {
	var runs []float64
	f()
	for range 9 {
		began := time.Now()
		for range n {
			f()
		}
		runs = append(runs, float64(time.Since(began))/float64(n))
	}
	slices.Sort(runs)
	return runs[len(runs)/2]
}

func opening(flags int, name string) func(string) func() {
	return func(dir string) func() {
		p := filepath.Join(dir, name)
		return func() {
			fd, err := unix.Open(p, flags, 0)
			if err != nil {
				panic(err)
			}
			unix.Close(fd)
		}
	}
}
