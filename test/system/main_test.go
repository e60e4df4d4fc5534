package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// program builds the command once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "bollwerk-system-*")
	if err != nil {
		return "", err
	}
	prerequisite.Sources()
	bin := filepath.Join(dir, "bollwerk")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/bollwerk/bollwerk/cmd/bollwerk")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if bin, err := program(); err == nil {
		os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// need skips the test when something of the machine is missing; in CI it fails.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("a whole-system test, left out by -short")
	}
	prerequisite.Root(t)
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			prerequisite.Missing(t, "needs %s: run `make deps`", p)
		}
	}
}

// outcome is one run of the program.
type outcome struct {
	code           int
	stdout, stderr string
}

// bollwerkRun runs the program in a world of its own.
func bollwerkRun(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	bin, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("bollwerk %s: %v", strings.Join(args, " "), err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// scanJSON scans a target and returns the result; the process must end with 0.
func scanJSON(t *testing.T, db, target string, extra ...string) *bollwerk.Result {
	t.Helper()
	args := append([]string{"scan", "--quiet", "--db", db, "--format", "json", "--fail-on", "none"}, extra...)
	o := bollwerkRun(t, nil, append(args, target)...)
	if o.code != 0 {
		t.Fatalf("scan %s: exit %d\n%s", target, o.code, o.stderr)
	}
	r := new(bollwerk.Result)
	if err := json.Unmarshal([]byte(o.stdout), r); err != nil {
		t.Fatalf("scan %s: %v", target, err)
	}
	return r
}

// command runs a program of the machine and returns what it printed.
func command(ctx context.Context, t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		tail := string(out)
		if len(tail) > 2000 {
			tail = tail[len(tail)-2000:]
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, tail)
	}
	return string(out)
}
