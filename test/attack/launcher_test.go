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
	"time"
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
	if socket := os.Getenv(launcherVariable); socket != "" {
		if err := serveLauncher(socket); err != nil {
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
	// The shell ends at once, and the launcher gets the first process as parent.
	cmd := exec.Command("sh", "-c", `"$0" >/dev/null 2>&1 </dev/null &`, os.Args[0])
	cmd.Env = append(os.Environ(), launcherVariable+"="+socket)
	must(t, cmd.Run())
	var conn net.Conn
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	// It ends when this connection does.
	t.Cleanup(func() { _ = conn.Close() })
	must(t, json.NewEncoder(conn).Encode(launchRequest{}))
	return socket
}

func serveLauncher(socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
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
