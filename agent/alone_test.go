package agent

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/sensor"
)

// TestLockFile holds the lock in another process: who tries is told what that process
// said, who only looks does not take it, and after a kill it is free and holds nothing of
// the dead one.
func TestLockFile(t *testing.T) {
	if name := os.Getenv("BOLLWERK_LOCK"); name != "" {
		held, err := lockFile(name, []byte(`{"pid":4242,"state":"/a/rather/long/folder","socket":"/run/s"}`))
		if err != nil {
			fmt.Println("error", err)
			return
		}
		defer held.Close() // or the collector of garbage closes it
		fmt.Println("locked")
		select {}
	}
	name := filepath.Join(t.TempDir(), "lock")
	cmd := exec.Command(os.Args[0], "-test.run=^TestLockFile$")
	cmd.Env = append(os.Environ(), "BOLLWERK_LOCK="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if line, _ := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != "locked" {
		t.Fatalf("the other process says %q", line)
	}
	for _, text := range [][]byte{nil, []byte("x")} {
		var busy *sensor.MarkBusy
		if _, err := lockFile(name, text); !errors.As(err, &busy) {
			t.Fatalf("a second lock: %v", err)
		}
		err := refusal(busy.Text)
		for _, want := range []string{"process 4242", "/a/rather/long/folder", "--socket /run/s", "kill 4242"} {
			if !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %q", err, want)
			}
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	look, err := lockFile(name, nil)
	if err != nil {
		t.Fatalf("looking at the lock of a killed process: %v", err)
	}
	defer look.Close()
	f, err := lockFile(name, []byte(`{"pid":1}`))
	if err != nil {
		t.Fatalf("the lock of a killed process, while another one looks: %v", err)
	}
	defer f.Close()
	if b, _ := os.ReadFile(name); string(b) != `{"pid":1}` {
		t.Errorf("the file says %q", b)
	}
	if fi, _ := f.Stat(); fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v: a user could lock it", fi.Mode())
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	if _, err := lockFile(link, []byte("x")); err == nil {
		t.Error("a link was followed")
	}
}
