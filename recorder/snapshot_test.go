package recorder

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bollwerk/bollwerk"
)

func TestCapture(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sock, err := conn.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	cmd := exec.Command("sh", "-c", "echo ready; read line; :")
	cmd.Env = []string{"SECRET=x", "PATH=" + os.Getenv("PATH")}
	cmd.ExtraFiles = []*os.File{sock}
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	d := &bollwerk.Detection{ID: "reverse-shell-1", Rule: "reverse-shell", Attack: []string{"T1059"}}
	s := Capture(context.Background(), d, []int{cmd.Process.Pid, os.Getpid(), 1 << 30}, time.Now())
	if len(s.Processes) != 2 || len(s.Missing) == 0 || !strings.Contains(strings.Join(s.Missing, "\n"), "process 1073741824: has ended") {
		t.Fatalf("%d processes, missing %q", len(s.Processes), s.Missing)
	}
	p := s.Processes[0]
	if !p.Subject || p.Parent != os.Getpid() || p.Args[0] != "sh" || !slices.Contains(p.Env, "SECRET=x") || len(p.Maps) == 0 || p.Exe == "" {
		t.Errorf("%+v", p)
	}
	want := SocketAt{FD: 3, Protocol: "tcp", Local: conn.LocalAddr().String(), Remote: l.Addr().String(), State: "established"}
	if !slices.Contains(p.Sockets, want) {
		t.Errorf("sockets %+v, want %+v", p.Sockets, want)
	}
	dir := t.TempDir()
	var names []string
	for i := range 5 {
		s.ID = time.Unix(int64(i), 0).UTC().Format("20060102T150405.000") + "-x"
		n, err := Save(dir, s, 3)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, n)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if !slices.Equal(left, names[2:]) {
		t.Errorf("left %v", left)
	}
	got, err := LoadSnapshot(names[4])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, got, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if fi, err := os.Stat(names[4]); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("a snapshot holds secrets: mode %v %v", fi.Mode(), err)
	}
}

func TestProcAddress(t *testing.T) {
	for in, want := range map[string]string{
		"0100007F:0050":                         "127.0.0.1:80",
		"00000000000000000000000001000000:1F90": "[::1]:8080",
		"0000000000000000FFFF00000100007F:01BB": "127.0.0.1:443",
		"nonsense":                              "nonsense",
		"01:50":                                 "01:50",
	} {
		if got := procAddress(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestUpperOf(t *testing.T) {
	mi := "22 1 0:20 / / rw - overlay overlay rw,lowerdir=/a:/b,upperdir=/var/lib/x/diff,workdir=/w\n23 22 0:21 / /proc rw - proc proc rw\n"
	if got := upperOf(mi); got != "/var/lib/x/diff" {
		t.Error(got)
	}
	if got := upperOf("22 1 8:1 / / rw - ext4 /dev/vda rw\n"); got != "" {
		t.Error(got)
	}
}
