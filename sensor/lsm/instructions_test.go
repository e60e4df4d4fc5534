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
	// With the programs first, without them after: a machine that has just started has
	// work of its own.
	l := sensortest.Watch(t, sensor.Options{}, New(Options{}))
	with := make([]float64, len(measures))
	for i, m := range measures {
		with[i] = measure(m.help)
	}
	inside := func(l *sensortest.Log) *sensortest.Box { return sensortest.NewBox(t, l.Sensor, image) }
	free, held := inside(l), inside(l)
	p := held.Policy(sensor.GuardFile|sensor.GuardRead|sensor.GuardDrift|sensor.GuardSetting, 0)
	p.Write = []string{"/tmp/", "/dev/null"}
	if err := l.Sensor.Apply(p); err != nil {
		t.Fatal(err)
	}
	// Times that one helper takes of itself vary by some 4 %; the programs are those above.
	boxes := []struct {
		name  string
		most  float64
		flags int
		with  float64
	}{
		{"open+close to read in a container", 1.15, unix.O_RDONLY, timed(t, free, unix.O_RDONLY)},
		{"open+close to write in a container", 1.20, unix.O_WRONLY, timed(t, free, unix.O_WRONLY)},
		{"open+close to read, held to a policy", 1.15, unix.O_RDONLY, timed(t, held, unix.O_RDONLY)},
		{"open+close to write, held to a policy", 2.40, unix.O_WRONLY, timed(t, held, unix.O_WRONLY)},
	}
	l.Stop()
	none := inside(sensortest.Watch(t, sensor.Options{NoBPF: true}))
	check := func(name string, without, with, most float64) {
		t.Helper()
		t.Logf("%s: %.0f → %.0f instructions, ratio %.3f", name, without, with, with/without)
		if with/without > most {
			t.Errorf("%s: %.3f times as dear, want at most %.2f", name, with/without, most)
		}
	}
	for i, m := range measures {
		check(m.name, measure(m.help), with[i], m.most)
	}
	for _, c := range boxes {
		check(c.name, timed(t, none, c.flags), c.with, c.most)
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
