package main

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/profile"
)

// TestWrongCommands asks in all the wrong ways: what is wrong with the command line is said
// with exit code 2, whether an agent runs or not, and what cannot be done with 3.
func TestWrongCommands(t *testing.T) {
	dir := put(t, map[string]string{"not.json": "root:x\n", "folder/x": ""})
	nowhere := []string{"--state", filepath.Join(dir, "none"), "--socket", filepath.Join(dir, "no-socket")}
	const nobody = "no agent is running"
	for _, tt := range []struct {
		line string
		code int
		says string // on stderr
	}{
		{"profile mode w foo", 2, "want learn, observe or restrict"},
		{"profile mode w", 2, "a WORKLOAD and a mode"},
		{"profile mode w restrict", 3, nobody},
		{"profile render w picture", 2, "want seccomp"},
		{"profile render w seccomp --default maybe", 2, "want errno, log or kill"},
		{"profile render w seccomp", 3, nobody},
		{"profile allow w executable /bin/x", 2, "--why"},
		{"profile allow w executables /bin/x --why y", 2, "want executable, start"},
		{"profile forbid w start /bin/x --why y", 2, "PARENT -> PROGRAM"},
		{"profile allow w executable /bin/x --why y", 3, nobody},
		{"profile reset", 2, "wants a WORKLOAD"},
		{"profile reset w", 2, "--why"},
		{"profile reset w executables --why y", 2, "want executable, start"},
		{"profile reset w executable write --why y", 3, nobody},
		{"profile import DIR/missing", 2, "no such file"},
		{"profile import DIR/not.json", 2, "not.json: not a profile"},
		{"profile show DIR/not.json", 3, "not.json: not a profile"},
		{"profile show DIR/folder", 3, nobody},
		{"profile show", 2, "wants a WORKLOAD"},
		{"profile show w", 3, nobody},
		{"profile export w", 3, nobody},
		{"profile diff a", 2, "two WORKLOADs"},
		{"profile diff a b", 3, nobody},
		{"profile list x", 2, "takes no arguments"},
		{"profile list", 3, nobody},
		{"profile lst", 2, "did you mean"},
		{"status", 3, nobody},
		{"recall", 3, "nothing was recorded here"},
		{"recall --snapshot x", 3, "no snapshot"},
		{"recall --snapshot x --since 1h", 2, "--since has nothing"},
		{"recall --detections --rules DIR/missing", 2, "choose one"},
		{"recall --detections --kind exec", 2, "choose one"},
		{"recall --kind dance", 2, "exec, fork"},
		{"recall --since tomorrow", 2, "want 10m"},
		{"recall --since 1h --until 2h", 2, "--since is not before"},
		{"recall --rules DIR/missing", 2, "missing: no such file"},
		{"recall --rules DIR/folder", 2, "no rule"},
		{"run --rules DIR/missing", 2, "DIR/missing: no such file"},
		{"run --rules DIR/folder", 2, "no policies"},
		{"run --falco DIR/missing", 2, "no such file"},
		{"run --backend magic", 2, "want auto"},
		{"run --metrics here", 2, "127.0.0.1:9469"},
		{"run --events", 2, "--stdout-json"},
		{"run --config DIR/missing", 2, "missing"},
		{"doctor --backend magic", 2, "want auto"},
		{"rules check", 2, "file or folder"},
		{"rules check DIR/missing", 2, "no such file"},
		{"rules lst", 2, "did you mean"},
		{"satus", 2, "did you mean"},
		{"--nope", 2, "--help"},
		{"help satus", 2, "unknown command"},
		{"help profile moda", 2, "unknown command"},
		{"completion tcsh", 2, "unknown command"},
		{"release now", 2, "takes no arguments"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			code, out, errs := command(t, append(strings.Fields(strings.ReplaceAll(tt.line, "DIR", dir)), nowhere...)...)
			if want := strings.ReplaceAll(tt.says, "DIR", dir); code != tt.code || !strings.Contains(errs, want) {
				t.Errorf("exit code %d, want %d, with %q:\n%s%s", code, tt.code, want, out, errs)
			}
			if out != "" {
				t.Errorf("an error is no result: %s", out)
			}
		})
	}
}

// TestHelp: every verb explains itself, and says its exit codes where they differ.
func TestHelp(t *testing.T) {
	for _, line := range []string{"", "--help", "help", "profile", "profile --help", "help profile mode", "profile mode w --help", "recall --help", "rules", "completion"} {
		code, out, errs := command(t, strings.Fields(line)...)
		if code != 0 || errs != "" || !strings.Contains(out, "Usage:") {
			t.Errorf("%q: exit code %d\n%s%s", line, code, out, errs)
		}
		if strings.Contains(line, "mode") && !strings.Contains(out, "learn|observe|restrict") {
			t.Errorf("%q is the help of another verb:\n%s", line, out)
		}
	}
}

// control answers like a running agent.
func control(t *testing.T, answers map[string]any) (flags []string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for pattern, v := range answers {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			switch v := v.(type) {
			case error:
				w.WriteHeader(http.StatusBadRequest)
				_ = json.NewEncoder(w).Encode(map[string]string{"error": v.Error()})
			case []byte:
				_, _ = w.Write(v)
			default:
				_ = json.NewEncoder(w).Encode(v)
			}
		})
	}
	s := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close(); <-done })
	return []string{"--socket", socket}
}

// TestRefusedByTheAgent: what the agent refuses is said with its words and exit code 3, and
// what it has not seen yet is no error.
func TestRefusedByTheAgent(t *testing.T) {
	none := control(t, map[string]any{"GET /profile": profile.ErrUnknown, "GET /profiles": []*profile.Status{}, "POST /profile/mode": profile.ErrUnknown})
	for _, tt := range []struct {
		line string
		code int
		says string
	}{
		{"profile show w", 3, profile.ErrUnknown.Error()},
		{"profile mode w learn", 3, profile.ErrUnknown.Error()},
		{"profile render w seccomp", 3, profile.ErrUnknown.Error()},
		{"profile list", 0, "No workload was learned yet"},
		{"profile list --json", 0, "[]"},
	} {
		code, out, errs := command(t, append(strings.Fields(tt.line), none...)...)
		if code != tt.code || !strings.Contains(out+errs, tt.says) {
			t.Errorf("%s: exit code %d, want %d, with %q:\n%s%s", tt.line, code, tt.code, tt.says, out, errs)
		}
	}
}
