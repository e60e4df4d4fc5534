package tracing

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
)

var timeZero time.Time

// unavailable skips, but never where the tests must be complete.
func unavailable(t *testing.T, why string) {
	t.Helper()
	prerequisite.Missing(t, "%s", why)
}

// start runs a command that waits for lines on its standard input.
func start(t *testing.T, name string, args ...string) (*exec.Cmd, io.Writer) {
	t.Helper()
	cmd := exec.Command(name, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, in
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: did not happen", what)
		}
	}
}

func filesOf(c *collector) *Files { return c.files }

// container starts a shell script in what a container is made of: an overlay of its own
// over lower, in a mount namespace of its own. It returns when the script runs; each
// "read x" in it waits for a line.
func container(t *testing.T, lower, script string) (*exec.Cmd, io.Writer) {
	t.Helper()
	if _, err := os.Stat("/bin/busybox"); err != nil {
		unavailable(t, "busybox is missing")
	}
	dir := t.TempDir()
	setup := `set -e; cd ` + dir + `; mount -t tmpfs none .; cd .; cd ` + dir + `; mkdir u w m
		mount -t overlay overlay -o lowerdir=` + lower + `,upperdir=u,workdir=w m
		mkdir -p m/bin m/dev; cp /bin/busybox m/bin/sh; cp /bin/busybox m/bin/busybox; ln -s busybox m/bin/cat; cp /bin/busybox m/bin/evil
		exec chroot m /bin/sh -c "$1"`
	cmd, in := start(t, "unshare", "-m", tool(t, "sh"), "-c", setup, "setup", script)
	await(t, "the container", func() bool {
		b, _ := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cmdline")
		return string(b) == "/bin/sh\x00-c\x00"+script+"\x00"
	})
	return cmd, in
}

// marks reports whether a path is marked.
func (f *Files) marks(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, all := range f.places {
		for _, p := range all {
			if p.path == name {
				return true
			}
		}
	}
	return false
}

// needNames skips where the files of a container have no handles, and so their names are
// not told: by the words of the product, which must be true.
func needNames(t *testing.T, s *sensor.Sensor, pid int) {
	t.Helper()
	_, err := handleAt("/proc/" + strconv.Itoa(pid) + "/root")
	cause, said := says(s, overlayNames)
	switch {
	case (err != nil) != said:
		t.Fatalf("file handles on overlayfs: %v; the product says %q", err, cause)
	case said:
		t.Skipf("this kernel cannot, and the product says so: %s: %s", AreaFile, cause)
	}
}

// says reports whether the doctor says something of files.
func says(s *sensor.Sensor, words string) (cause string, ok bool) {
	for _, r := range s.Capabilities() {
		if r.Area == AreaFile {
			return r.Cause, strings.Contains(r.Cause, words)
		}
	}
	return "", false
}

func handleAt(path string) (handle, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return handleOf(fd)
}
