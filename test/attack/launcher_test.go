package attack

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The launcher starts containers. It is a process of its own whose parent is the first
// process, as a container runtime's is: below a test run by the go command everything
// would look like the work of a compiler.

type launchRequest struct {
	Args []string
	Out  string
}

const launcherVariable = "BOLLWERK_ATTACK_LAUNCHER"

func TestMain(m *testing.M) {
	if os.Getenv(launcherVariable) != "" {
		if err := serveLauncher(os.NewFile(3, "launcher")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func startLauncher(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "launch")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	// It gets the socket that it listens at: who calls before it is there waits.
	l, err := net.Listen("unix", socket)
	must(t, err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	f, err := l.(*net.UnixListener).File()
	must(t, err)
	// The shell ends at once, and the launcher gets the first process as parent.
	cmd := exec.Command("sh", "-c", `"$0" >/dev/null 2>&1 </dev/null &`, os.Args[0])
	cmd.Env = append(os.Environ(), launcherVariable+"=3")
	cmd.ExtraFiles = []*os.File{f}
	must(t, cmd.Run())
	must(t, errors.Join(f.Close(), l.Close()))
	conn, err := net.Dial("unix", socket)
	must(t, err)
	// It ends when this connection does.
	t.Cleanup(func() { _ = conn.Close() })
	must(t, json.NewEncoder(conn).Encode(launchRequest{}))
	return socket
}

func serveLauncher(socket *os.File) error {
	l, err := net.FileListener(socket)
	if err != nil {
		return err
	}
	_ = socket.Close() // which the containers would inherit
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			var r launchRequest
			if json.NewDecoder(c).Decode(&r) != nil {
				return
			}
			if len(r.Args) == 0 { // the test's own connection: live as long as it
				_, _ = c.Read(make([]byte, 1))
				os.Exit(0)
			}
			if err := launchHere(r); err != nil {
				fmt.Fprint(c, err)
			}
		}()
	}
}

func launchHere(r launchRequest) error {
	f, err := os.Create(r.Out)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(r.Args[0], r.Args[1:]...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	var ee *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &ee) {
		return err
	}
	return nil
}

// launch runs a command below the launcher and waits for it; its exit code is nobody's business.
func (c *containers) launch(r launchRequest) error {
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(r); err != nil {
		return err
	}
	b := make([]byte, 1024)
	if n, _ := conn.Read(b); n > 0 {
		return errors.New(string(b[:n]))
	}
	return nil
}
