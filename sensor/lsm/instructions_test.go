package lsm

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
	"unsafe"

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
	// Ordinary names, and one that is watched in another folder.
	files := map[string]string{"bin/helper": string(self)}
	for _, name := range []string{"some-file", "some-file.txt", "config", "libc.so.6"} {
		files["srv/"+name] = "x"
	}
	image := sensortest.Image(t, files)
	// With the programs first, without them after: a machine that has just started has
	// work of its own. The same processes open the same files both times, as others would
	// have other neighbours in the kernel's tables.
	l := sensortest.Watch(t, sensor.Options{}, New(Options{}))
	free, held := sensortest.NewBox(t, l.Sensor, image), sensortest.NewBox(t, l.Sensor, image)
	p := held.Policy(sensor.GuardFile|sensor.GuardRead|sensor.GuardDrift|sensor.GuardSetting, 0)
	p.Write = []string{"/srv/", "/dev/null"}
	if err := l.Sensor.Apply(p); err != nil {
		t.Fatal(err)
	}
	group := func(b *sensortest.Box) string { return filepath.Join(l.Sensor.Kernel().CgroupRoot, b.CgroupPath) }
	outside, inside, bound := timer(t, image, ""), timer(t, free.Dir, group(free)), timer(t, held.Dir, group(held))
	forks := func(int, string) float64 {
		return median(3, func() {
			if err := exec.Command("/bin/busybox", "true").Run(); err != nil {
				t.Fatal(err)
			}
		})
	}
	measures := []struct {
		name  string
		most  float64 // ratio
		ask   func(int, string) float64
		flags int
		file  string

		with float64
	}{
		{name: "open+close to read", most: 1.06, ask: outside, flags: unix.O_RDONLY, file: "/srv/some-file"},
		{name: "open+close to read, a longer name", most: 1.06, ask: outside, flags: unix.O_RDONLY, file: "/srv/some-file.txt"},
		{name: "open+close to read, a name like a watched one", most: 1.35, ask: outside, flags: unix.O_RDONLY, file: "/srv/config"},
		{name: "open+close to write", most: 1.15, ask: outside, flags: unix.O_WRONLY, file: "/srv/some-file"},
		{name: "null call", most: 1.01, ask: outside, flags: -1},
		{name: "fork+exec", most: 1.10, ask: forks},
		{name: "open+close to read in a container", most: 1.10, ask: inside, flags: unix.O_RDONLY, file: "/srv/some-file"},
		{name: "open+close to read a library in a container", most: 1.10, ask: inside, flags: unix.O_RDONLY, file: "/srv/libc.so.6"},
		{name: "open+close to write in a container", most: 1.15, ask: inside, flags: unix.O_WRONLY, file: "/srv/some-file"},
		{name: "open+close to read, held to a policy", most: 1.10, ask: bound, flags: unix.O_RDONLY, file: "/srv/some-file"},
		{name: "open+close to write, held to a policy", most: 1.15, ask: bound, flags: unix.O_WRONLY, file: "/srv/some-file"},
		{name: "open+close to append, held to a policy", most: 1.15, ask: bound, flags: unix.O_WRONLY | unix.O_APPEND, file: "/srv/some-file"},
	}
	for i, m := range measures {
		measures[i].with = least(m.ask, m.flags, m.file)
	}
	l.Stop()
	for _, m := range measures {
		without := least(m.ask, m.flags, m.file)
		t.Logf("%s: %.0f → %.0f instructions, ratio %.3f", m.name, without, m.with, m.with/without)
		if m.with/without > m.most {
			t.Errorf("%s: %.3f times as dear, want at most %.2f", m.name, m.with/without, m.most)
		}
	}
}

// least of three: what else the machine does in between only adds.
func least(ask func(int, string) float64, flags int, file string) float64 {
	return min(ask(flags, file), ask(flags, file), ask(flags, file))
}

// timer is a process in another root, and in a container of a cgroup, if one is named,
// which says what opening and closing a file costs it.
func timer(t *testing.T, root, cgroup string) func(flags int, file string) float64 {
	t.Helper()
	cmd := exec.Command("/bin/helper")
	cmd.Dir, cmd.Env, cmd.Stderr = "/", []string{"LSM_HELPER=time"}, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Pdeathsig: syscall.SIGKILL}
	if cgroup != "" {
		fd, err := unix.Open(cgroup, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, fd
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	answers := bufio.NewReader(out)
	return func(flags int, file string) (v float64) {
		t.Helper()
		if _, err := fmt.Fprintf(in, "%d %s\n", flags, file); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if _, bad := fmt.Sscan(line, &v); bad != nil || err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		return v
	}
}

// median of some rounds of n calls, nanoseconds (or instructions) per call.
func median(n int, f func()) float64 {
	var runs []float64
	f()
	for range 25 {
		began := time.Now()
		for range n {
			f()
		}
		runs = append(runs, float64(time.Since(began))/float64(n))
	}
	slices.Sort(runs)
	return runs[len(runs)/2]
}

// opening tells Go's scheduler nothing of its calls: it would count, too.
func opening(flags int, file string) func() {
	name, err := unix.BytePtrFromString(file)
	if err != nil {
		panic(err)
	}
	return func() {
		fd, _, e := unix.RawSyscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(name)), uintptr(flags), 0, 0, 0)
		if e != 0 {
			panic(e)
		}
		unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	}
}
