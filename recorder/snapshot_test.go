package recorder

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
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

// TestCaptureAgainstProc holds a capture against what the test itself made, and against what
// /proc says of it: the tree, who they are, what they were started with, open files, sockets
// and executable mappings.
func TestCaptureAgainstProc(t *testing.T) {
	prerequisite.Root(t)
	closing := func(c io.Closer) { t.Cleanup(func() { _ = c.Close() }) }
	made := func(c io.Closer, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		closing(c)
	}
	l, err := net.ListenTCP("tcp6", &net.TCPAddr{IP: net.IPv6loopback})
	made(l, err)
	c, err := net.DialTCP("tcp6", nil, l.Addr().(*net.TCPAddr))
	made(c, err)
	u, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9})
	made(u, err)
	dir, err := os.MkdirTemp("", "capture-") // the folders of the test are root's alone
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	gone, err := os.Create(filepath.Join(dir, "a name\nwith\x1b two lines"))
	made(gone, err)
	if err := os.Remove(gone.Name()); err != nil {
		t.Fatal(err)
	}
	var extra []*os.File
	for _, of := range []interface{ File() (*os.File, error) }{l, c, u} {
		f, err := of.File()
		made(f, err)
		extra = append(extra, f)
	}
	cmd := exec.Command("sh", "-c", "sleep 300 & echo $!; read line; kill $!", "name", "two words", "", "ctl\x01\x1b[31m", "\xff\xfe", strings.Repeat("long", 1000), "", "")
	cmd.Env = []string{"SECRET=x", "EMPTY=", "LINES=a\nb", "BYTES=\xff", "PATH=" + os.Getenv("PATH")}
	cmd.Dir, cmd.ExtraFiles = dir, append(extra, gone)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
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
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	var child int
	if _, err := fmt.Fscanln(out, &child); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	// The shell says its child's number before that has become sleep.
	for name := ""; name != "sleep"; {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", child))
		if err != nil {
			t.Fatal(err)
		}
		name = strings.TrimSpace(string(b))
	}

	s := Capture(t.Context(), &bollwerk.Detection{ID: "x"}, []int{pid, child, os.Getpid()}, time.Now())
	if len(s.Processes) != 3 || len(s.Missing) != 0 {
		t.Fatalf("%d processes, missing %q", len(s.Processes), s.Missing)
	}
	p, of, own := s.Processes[0], s.Processes[1], s.Processes[2]
	if p.PID != pid || p.Parent != os.Getpid() || of.PID != child || of.Parent != pid || own.PID != p.Parent || !p.Subject || of.Subject || own.Subject {
		t.Errorf("the tree: %d of %d, %d of %d, %d of %d", p.PID, p.Parent, of.PID, of.Parent, own.PID, own.Parent)
	}
	if !slices.Equal(p.Args, cmd.Args) || !slices.Equal(of.Args, []string{"sleep", "300"}) {
		t.Errorf("arguments %q and %q, want %q", p.Args, of.Args, cmd.Args)
	}
	if !slices.Equal(p.Env, cmd.Env) {
		t.Errorf("environment %q, want %q", p.Env, cmd.Env)
	}
	if p.Name != "sh" || of.Name != "sleep" || p.Cwd != dir || p.Root != "/" || p.UIDs != "65534\t65534\t65534\t65534" || p.CapEff != "0000000000000000" {
		t.Errorf("name %q and %q, cwd %q, root %q, users %q, capabilities %q", p.Name, of.Name, p.Cwd, p.Root, p.UIDs, p.CapEff)
	}
	want := []SocketAt{
		{FD: 3, Protocol: "tcp6", Local: l.Addr().String(), Remote: "[::]:0", State: "listen"},
		{FD: 4, Protocol: "tcp6", Local: c.LocalAddr().String(), Remote: c.RemoteAddr().String(), State: "established"},
		{FD: 5, Protocol: "udp", Local: u.LocalAddr().String(), Remote: u.RemoteAddr().String(), State: ""},
	}
	slices.SortFunc(p.Sockets, func(a, b SocketAt) int { return a.FD - b.FD })
	if !slices.Equal(p.Sockets, want) {
		t.Errorf("sockets %+v, want %+v", p.Sockets, want)
	}
	if i := slices.IndexFunc(p.Files, func(f FileRef) bool { return f.FD == 6 }); i < 0 || p.Files[i].Target != gone.Name()+" (deleted)" {
		t.Errorf("open files %+v, want number 6 to be %q, deleted", p.Files, gone.Name())
	}
	for _, p := range []ProcessSnapshot{p, of} {
		at := fmt.Sprintf("/proc/%d/", p.PID)
		links, err := os.ReadDir(at + "fd")
		if err != nil || len(links) != len(p.Files) || len(links) < 6 {
			t.Errorf("%d open files, %d in /proc: %v", len(p.Files), len(links), err)
		}
		for _, f := range p.Files {
			if is, err := os.Readlink(at + "fd/" + strconv.Itoa(f.FD)); err != nil || is != f.Target {
				t.Errorf("open file %d is %q, and %q in /proc: %v", f.FD, f.Target, is, err)
			}
		}
		if is, err := os.Readlink(at + "exe"); err != nil || is != p.Exe {
			t.Errorf("program %q, and %q in /proc: %v", p.Exe, is, err)
		}
		group, err := os.ReadFile(at + "cgroup")
		if err != nil || strings.TrimSpace(string(group)) != p.Cgroup {
			t.Errorf("cgroup %q, and %q in /proc: %v", p.Cgroup, group, err)
		}
		maps, err := os.ReadFile(at + "maps")
		if err != nil {
			t.Fatal(err)
		}
		executable := regexp.MustCompile(`(?m)^[0-9a-f]+-[0-9a-f]+ ..x.*$`).FindAllString(string(maps), -1)
		if len(executable) == 0 || !slices.Equal(executable, p.Maps) {
			t.Errorf("mappings\n%s\nand in /proc\n%s", strings.Join(p.Maps, "\n"), strings.Join(executable, "\n"))
		}
	}
}

// Empty arguments at the end are arguments, too; the room that a program leaves empty behind
// a title that it wrote over them is none.
func TestEmptyTexts(t *testing.T) {
	end := strings.Repeat("\x00", maxEmptyEnd)
	for _, tt := range []struct {
		text  string
		empty int
		want  []string
	}{
		{"", maxEmptyEnd, nil},
		{"\x00", maxEmptyEnd, []string{""}},
		{"cat\x00", maxEmptyEnd, []string{"cat"}},
		{"cat\x00\x00", maxEmptyEnd, []string{"cat", ""}},
		{"cut off", maxEmptyEnd, []string{"cut off"}},
		{"cat\x00" + end, maxEmptyEnd, append([]string{"cat"}, make([]string, maxEmptyEnd)...)},
		{"a title\x00" + end + "\x00", maxEmptyEnd, []string{"a title"}},
		{"\x00\x00" + end, maxEmptyEnd, nil},
		{"A=1\x00\x00B=\x00\x00\x00", -1, []string{"A=1", "", "B="}},
		{"\x00", -1, nil},
	} {
		if got := texts([]byte(tt.text), tt.empty); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

// TestChangedFiles: what is new, changed and removed in a writable layer is listed, newest
// first, and nothing that a link in it leads to.
func TestChangedFiles(t *testing.T) {
	layer, outside := t.TempDir(), t.TempDir()
	at := time.Now().Truncate(time.Second)
	write := func(name string, mode os.FileMode, age time.Duration) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("four"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(layer, "tmp/new\x1b"), 0o755, time.Minute)
	write(filepath.Join(layer, "etc/passwd"), 0o644, time.Hour)
	write(filepath.Join(outside, "secret"), 0o600, 0)
	if err := os.Symlink(outside, filepath.Join(layer, "link")); err != nil {
		t.Fatal(err)
	}
	want := []ChangedFile{{Path: "/tmp/new\x1b", Size: 4, Mode: "-rwxr-xr-x", Modified: at.Add(-time.Minute)}, {Path: "/etc/passwd", Size: 4, Mode: "-rw-r--r--", Modified: at.Add(-time.Hour)}}
	gone := filepath.Join(layer, "etc/shadow")
	if err := syscall.Mknod(gone, syscall.S_IFCHR, 0); err != nil {
		prerequisite.Missing(t, "a whiteout cannot be made: %v", err)
	} else if err := os.Chtimes(gone, at, at.Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	want = append(want, ChangedFile{Path: "/etc/shadow", Mode: "Dc---------", Modified: at.Add(-2 * time.Hour), Removed: true})
	s := &Snapshot{}
	s.AddChanged(t.Context(), layer)
	link := slices.IndexFunc(s.Changed, func(c ChangedFile) bool { return c.Path == "/link" })
	if link < 0 || s.Changed[link].Mode != "Lrwxrwxrwx" {
		t.Fatalf("%+v", s.Changed)
	}
	if diff := cmp.Diff(want, slices.Delete(s.Changed, link, link+1)); diff != "" || len(s.Missing) != 0 {
		t.Errorf("%s\n%q", diff, s.Missing)
	}
	// A layer that went with its container is no layer without changes; what is beyond the
	// bound is said; and without time nothing is looked at.
	s = &Snapshot{}
	if s.AddChanged(t.Context(), filepath.Join(layer, "none")); len(s.Missing) != 1 || !strings.Contains(s.Missing[0], "changed files: ") {
		t.Errorf("%q", s.Missing)
	}
	for i := range maxSnapshotChanged + 1 {
		write(filepath.Join(layer, "many", strconv.Itoa(i)), 0o600, -time.Minute)
	}
	s = &Snapshot{}
	if s.AddChanged(t.Context(), layer); len(s.Changed) != maxSnapshotChanged || !slices.Contains(s.Missing, "changed files beyond the newest 500") {
		t.Errorf("%d files, %q", len(s.Changed), s.Missing)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s = &Snapshot{}
	if s.AddChanged(ctx, layer); len(s.Changed) != 0 || len(s.Missing) != 1 {
		t.Errorf("%d files, %q", len(s.Changed), s.Missing)
	}
}

// TestCaptureOfManyMappings: executable mappings behind a great many others are seen, and
// what is left out is said.
func TestCaptureOfManyMappings(t *testing.T) {
	var kept [][]byte
	t.Cleanup(func() {
		for _, b := range kept {
			_ = syscall.Munmap(b)
		}
	})
	grow := func(n, rights int) {
		for i := range n { // every other page, with other rights, so that they do not become one
			b, err := syscall.Mmap(-1, 0, 3*os.Getpagesize(), syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, b)
			if err := syscall.Mprotect(b[os.Getpagesize():2*os.Getpagesize()], rights|i%2*syscall.PROT_WRITE); err != nil {
				t.Fatal(err)
			}
		}
	}
	executable := func(s *Snapshot) int {
		if len(s.Processes) != 1 {
			t.Fatalf("%+v", s)
		}
		return len(s.Processes[0].Maps)
	}
	self := []int{os.Getpid()}
	before := Capture(t.Context(), &bollwerk.Detection{}, self, time.Now())
	grow(1000, syscall.PROT_READ) // more than 32 KiB of lines, and mappings come from above
	if s := Capture(t.Context(), &bollwerk.Detection{}, self, time.Now()); executable(s) != executable(before) || len(s.Missing) != len(before.Missing) {
		t.Errorf("%d executable mappings, %d before; missing %q", executable(s), executable(before), s.Missing)
	}
	grow(1000, syscall.PROT_READ|syscall.PROT_EXEC)
	s := Capture(t.Context(), &bollwerk.Detection{}, self, time.Now())
	if executable(s) < 300 || !strings.Contains(strings.Join(s.Missing, "\n"), "executable mappings beyond 32 KiB") {
		t.Errorf("%d executable mappings, missing %q", executable(s), s.Missing)
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
