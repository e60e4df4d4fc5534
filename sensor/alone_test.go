package sensor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// TestMark holds a mark in another process, in namespaces of its own: it is seen from
// here, and is gone when that process was killed.
func TestMark(t *testing.T) {
	name := fmt.Sprintf("bw_mark_%d", os.Getpid()%1e6)
	if child := os.Getenv("BOLLWERK_MARK"); child != "" {
		m, err := mark(child, `{"pid":7}`)
		if err != nil {
			fmt.Println("error", err)
			return
		}
		fmt.Println("marked")
		time.Sleep(time.Hour) // not select{}: a program without a timer ends as deadlocked
		runtime.KeepAlive(m)
	}
	first, err := mark(name, "first")
	if err != nil {
		prerequisite.Root(t)
		t.Fatal(err)
	}
	var busy *MarkBusy
	if _, err := mark(name, "second"); !errors.As(err, &busy) || busy.Text != "first" {
		t.Fatalf("a second mark: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child", os.Args[0], "-test.run=^TestMark$")
	cmd.Env = append(os.Environ(), "BOLLWERK_MARK="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "marked" {
		_ = cmd.Process.Kill()
		t.Fatalf("the other process says %q", line)
	}
	if _, err := mark(name, "second"); !errors.As(err, &busy) || busy.Text != `{"pid":7}` {
		t.Errorf("a mark of another process in other namespaces: %v", err)
	}
	_ = cmd.Process.Kill() // and its child with it
	_ = cmd.Wait()
	// The child is ended by a signal of the kernel's and takes its own time to die.
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var again io.Closer
		if again, err = mark(name, "third"); err == nil {
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Errorf("the mark of a killed process: %v", err)
}
