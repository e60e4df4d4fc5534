package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	node "github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// verb runs another command of the agent's program.
func verb(t testing.TB, program string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func (a *agent) verb(t testing.TB, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return verb(t, a.program, append(args, "--state", a.state, "--socket", a.socket)...)
}

// kill ends the agent as the kernel does when memory is short.
func (a *agent) kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
	a.await(time.Minute, func() bool { return a.ended })
}

func awaitThat(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestRoughVerbs asks in all the wrong ways, and where there is nothing yet.
func TestRoughVerbs(t *testing.T) {
	program := agentProgram(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		must(t, os.WriteFile(p, []byte(text), 0o600))
		return p
	}
	nowhere := []string{"--state", filepath.Join(dir, "none"), "--socket", filepath.Join(dir, "no-socket")}
	for _, tt := range []struct {
		name string
		args []string
		code int
		says string // on stderr
	}{
		{"misspelt verb", []string{"satus"}, 2, "did you mean"},
		{"unknown flag", []string{"run", "--nope"}, 2, "--help"},
		{"argument", []string{"status", "x"}, 2, "takes no arguments"},
		{"missing configuration", []string{"run", "--config", filepath.Join(dir, "missing.yaml")}, 2, "missing.yaml"},
		{"unknown key", []string{"run", "--config", file("key.yaml", "statee: /x\n")}, 2, "statee"},
		{"odd ring", []string{"run", "--config", file("ring.yaml", "ring: 100KiB\n")}, 2, "power of two"},
		{"unknown guard", []string{"run", "--config", file("guard.yaml", "workloads:\n- match: x\n  guards: {dirft: off}\n")}, 2, "there are"},
		{"neither open nor closed", []string{"run", "--config", file("fail.yaml", "workloads:\n- match: x\n  fail: ajar\n")}, 2, "want open or closed"},
		{"unknown backend", []string{"doctor", "--backend", "magic"}, 2, "want auto"},
		{"not YAML", []string{"status", "--config", file("not.yaml", "\x00\x1b[31m: [")}, 2, ""},
		{"too long", []string{"status", "--config", file("long.yaml", strings.Repeat("# x\n", 300000))}, 2, "1 MiB"},
		{"events for people", []string{"run", "--events"}, 2, "--stdout-json"},
		{"odd time", []string{"recall", "--since", "yesterday"}, 2, "want 10m"},
		{"odd kind", []string{"recall", "--kind", "dance"}, 2, "dance"},
		{"status of nobody", append([]string{"status"}, nowhere...), 3, "bollwerk-agent run"},
		{"nothing recorded", append([]string{"recall"}, nowhere...), 3, "nothing was recorded"},
		{"doctor", append([]string{"doctor", "--json"}, nowhere...), -1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := verb(t, program, tt.args...)
			if tt.code < 0 && code != 0 && code != 5 || tt.code >= 0 && code != tt.code || !strings.Contains(errs, tt.says) {
				t.Errorf("exit code %d, want %d, with %q:\n%s%s", code, tt.code, tt.says, out, errs)
			}
			if strings.Contains(out+errs, "\x1b") || strings.Contains(errs, "goroutine ") {
				t.Errorf("not fit for a terminal: %q", out+errs)
			}
		})
	}
}

// TestRoughKill takes the agent away from one moment to the next.
func TestRoughKill(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t)
	aloneHere(t, a)
	r := cs.start("orphan", `cp /bin/echo /tmp/before; /tmp/before ran-guarded; echo guarded
while [ ! -e /run/killed ]; do sleep 0.05; done; /tmp/before ran-free; echo alive
while [ ! -e /run/again ]; do sleep 0.05; done; cp /bin/echo /tmp/after; /tmp/after ran-again; echo end`)
	a.awaitProtected(t, r.id)
	r.begin(t)
	r.awaitOutput(t, "guarded")
	if printed(r, "ran-guarded") && !a.await(attackWait, func() bool { return len(a.of(r.id)) > 0 }) {
		t.Errorf("drift was neither stopped nor told:\n%s", r.output())
	}
	recalled := func(what string) func() bool {
		return func() bool {
			out, _, code := a.verb(t, "recall", "--workload", "orphan*", "--since", "10m")
			return (code == 0 || code == 5) && strings.Contains(out, what)
		}
	}
	awaitThat(t, "the record can be read while it is written", recalled("/tmp/before"))
	a.kill()
	touch(t, r, "killed")
	r.awaitOutput(t, "alive")
	if !printed(r, "ran-free") {
		t.Errorf("a dead agent still stops programs, though it fails open:\n%s", r.output())
	}
	if !recalled("/tmp/before")() {
		t.Error("the record cannot be read after the kill")
	}
	if _, errs, code := a.verb(t, "status"); code != 3 {
		t.Errorf("status of a killed agent: exit code %d: %s", code, errs)
	}
	if out, errs, code := a.verb(t, "release"); code != 0 || !strings.Contains(out, "no agent is running") {
		t.Errorf("release without an agent: exit code %d: %s%s", code, out, errs)
	}
	a.mu.Lock()
	a.ended, a.detections = false, nil
	a.stderr.Reset()
	a.mu.Unlock()
	a.start()
	a.awaitProtected(t, r.id)
	touch(t, r, "again")
	if !a.await(time.Minute, func() bool { return len(a.of(r.id)) > 0 }) {
		t.Errorf("the agent came back and does not tell of a container that ran before:\n%s", a.log())
	}
	<-r.done
	awaitThat(t, "the record goes on after the kill", recalled("/tmp/after"))
	if !recalled("/tmp/before")() {
		t.Error("the record does not reach over the kill")
	}
}

// TestRoughClosed kills an agent that was told to leave its guards in force.
func TestRoughClosed(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte("workloads:\n- match: closed-*\n  fail: closed\n"), 0o600))
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--config", config)
	aloneHere(t, a)
	r := cs.start("closed", `cp /bin/echo /tmp/new; echo ready
while [ ! -e /run/killed ]; do sleep 0.05; done; /tmp/new ran-closed; echo closed
while [ ! -e /run/released ]; do sleep 0.05; done; /tmp/new ran-released; echo end`)
	a.awaitProtected(t, r.id)
	r.begin(t)
	r.awaitOutput(t, "ready")
	a.kill()
	touch(t, r, "killed")
	r.awaitOutput(t, "closed")
	if printed(r, "ran-closed") {
		t.Errorf("a guard that was to outlive the agent did not; the agent said:\n%s", tail(a.log()))
	}
	if out, errs, code := a.verb(t, "release"); code != 0 {
		t.Errorf("release: exit code %d: %s%s", code, out, errs)
	}
	touch(t, r, "released")
	<-r.done
	if !printed(r, "ran-released") {
		t.Errorf("still stopped after the release:\n%s", r.output())
	}
}

// printed reports whether a program printed the line itself; a shell that tells of its
// end writes the command line, too.
func printed(r *container, line string) bool {
	return strings.Contains("\n"+r.output(), "\n"+line+"\n")
}

func touch(t testing.TB, r *container, name string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(filepath.Dir(r.gate), name), nil, 0o644))
}

// TestRoughDisk gives the agent no room for what it keeps.
func TestRoughDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		prerequisite.Missing(t, "a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--state", filepath.Join(dir, "state"))
	if err := os.WriteFile(filepath.Join(dir, "ballast"), make([]byte, 2<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal("the disk is not full: ", err)
	}
	fence(t, cs, a)
	var s node.Status
	awaitThat(t, "the agent says that it cannot record", func() bool {
		s = node.Status{}
		return node.Ask(context.Background(), a.socket, "GET", "/status", &s) == nil && s.Verdict == bollwerk.Degraded && slices.ContainsFunc(s.Causes, func(c string) bool {
			return strings.HasPrefix(c, "recorder: ") || strings.HasPrefix(c, "nothing is recorded")
		})
	})
	t.Logf("%q", s.Causes)
	fence(t, cs, a)
}

// TestRoughNames runs a program under names made to confuse whoever reads them.
func TestRoughNames(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t)
	r := cs.start("names", `for n in $'/tmp/a\x1b[2J\x1b]0;x\x07' $'/tmp/b","rule":"none","x":"' $'/tmp/c\n{"type":"detection"}' $'/tmp/d\xff\xfe\xc0\xaf' $'/tmp/e\u202etxt' '/tmp/f<script>' $'/tmp/g\xc2\x9b31m\x7f\r'; do
  cp /bin/true "$n"; "$n" $'\x1b[31m' "$n" "$(head -c 4096 /dev/zero | tr '\0' A)" || true
done; cat /etc/shadow > /dev/null; sleep 0.3`)
	a.awaitProtected(t, r.id)
	r.open(t)
	if !a.await(attackWait, func() bool { return len(a.of(r.id)) > 0 }) {
		t.Fatalf("nothing was told:\n%s\n%s", r.output(), a.log())
	}
	// What was shortened is said in every verdict about this workload, and about no other.
	var st node.Status
	must(t, node.Ask(context.Background(), a.socket, "GET", "/status", &st))
	for _, w := range st.Workloads {
		told := slices.ContainsFunc(w.Causes, func(c string) bool { return strings.Contains(c, "events with shortened texts") })
		if w.Name == r.id && (!told || w.Verdict != bollwerk.Degraded) {
			t.Errorf("the verdict about %s is %s: %q", w.Name, w.Verdict, w.Causes)
		}
	}
	if out, _, _ := a.verb(t, "status"); !strings.Contains(out, r.id+": degraded: ") || !strings.Contains(out, "containers are named by ") {
		t.Errorf("status:\n%s", out)
	}
	// That each line is one JSON value is checked by the reader of all lines.
	for _, args := range [][]string{{"recall"}, {"recall", "--json"}, {"recall", "--detections"}, {"status"}, {"profile", "list"}, {"profile", "show", r.id}} {
		out, errs, code := a.verb(t, args...)
		if code == 2 || code == 3 {
			t.Errorf("%v: exit code %d: %s", args, code, errs)
		}
		bad := []string{"\x1b", "\x07", "\u202e", "\r", "\xff"}
		if !slices.Contains(args, "--json") {
			bad = append(bad, "\u009b", "\x7f") // JSON is escaped that far only where a terminal reads it
		}
		for _, bad := range bad {
			if strings.Contains(out+errs, bad) {
				t.Errorf("%v prints %q", args, bad)
			}
		}
	}
}

// TestRoughSecond starts a second agent beside the first: in the same place, with
// everything of its own, and in a container's namespaces. Each is refused, and an agent
// that was killed keeps nobody from starting.
func TestRoughSecond(t *testing.T) {
	if testing.Short() {
		t.Skip("runs an agent")
	}
	a := startAgent(t)
	pid := strconv.Itoa(a.cmd.Process.Pid)
	other := t.TempDir()
	elsewhere := []string{"run", "--state", filepath.Join(other, "state"), "--socket", filepath.Join(other, "s")}
	inside := append([]string{"--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", `mount -t tmpfs tmpfs /run && exec "$@"`, "sh", a.program}, elsewhere...)
	for _, tt := range []struct {
		name, program string
		args          []string
	}{
		{"the same", a.program, []string{"run", "--state", a.state, "--socket", a.socket}},
		{"another state folder", a.program, elsewhere},
		{"without BPF", a.program, append(elsewhere, "--backend", "none")},
		{"in namespaces of its own", "unshare", inside},
	} {
		out, errs, code := verb(t, tt.program, tt.args...)
		if code != 3 || out != "" {
			t.Errorf("%s: exit code %d, want 3: %s%s", tt.name, code, out, errs)
		}
		for _, want := range []string{"another agent protects this machine already", "process " + pid, a.state, "status --socket " + a.socket} {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: %q lacks %q", tt.name, errs, want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(other, "state")); err == nil {
		t.Error("an agent that was refused left its state folder behind")
	}
	// Who asks at the wrong door is told the right one.
	if _, errs, code := verb(t, a.program, "status", "--socket", filepath.Join(other, "s")); code != 3 || !strings.Contains(errs, "--socket "+a.socket) {
		t.Errorf("status at another socket: exit code %d: %s", code, errs)
	}
	if out, errs, code := verb(t, a.program, "release", "--socket", filepath.Join(other, "s")); code != 3 || !strings.Contains(errs, "--socket "+a.socket) {
		t.Errorf("release at another socket: exit code %d: %s%s", code, out, errs)
	}
	if out, errs, code := a.verb(t, "status"); code != 0 && code != 5 {
		t.Errorf("the first agent does not answer any more: %d %s%s", code, out, errs)
	}
	a.kill()
	a.start()
}

var (
	lostLine = regexp.MustCompile(`(?m)^bollwerk_agent_lost_total\{area="(\w+)"\} (\d+)`)
	// lostOfIt is how a verdict says what was lost of its own workload: nothing stands behind it.
	lostOfIt = regexp.MustCompile(`^(\d+) events lost (\d\d:\d\d:\d\d)–(\d\d:\d\d:\d\d)$`)
)

// TestRoughFlood lets one container flood a ring that is far too small, while another is
// attacked and a third does nothing. What is lost is said of the first, with how much and
// when, in its row and in what is detected of it, and of nobody else.
func TestRoughFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte("ring: 64KiB\n"), 0o600))
	cs := newContainers(t, newNetwork(t))
	a := startAgent(t, "--config", config, "--metrics", address)
	const starts = "for j in 1 2 3 4; do (for i in $(seq %d); do /bin/true $i; done) & done; wait"
	flood := cs.start("flood", fmt.Sprintf(starts, 1500)+"; echo flooded; read go < /run/gate; "+fmt.Sprintf(starts, 250)+"; echo again; read go < /run/gate; cat /etc/shadow > /dev/null"+hold)
	beside := cs.start("beside", "cat /etc/shadow > /dev/null"+hold)
	for _, r := range []*container{flood, beside} {
		a.awaitProtected(t, r.id)
	}
	get := func(path string) (string, string) {
		t.Helper()
		res, err := http.Get("http://" + address + path)
		must(t, err)
		b, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
		must(t, errors.Join(err, res.Body.Close()))
		return res.Status, string(b)
	}
	lost := func(area string) (n int) {
		_, text := get("/metrics")
		for _, m := range lostLine.FindAllStringSubmatch(text, -1) {
			if m[1] == area {
				n, _ = strconv.Atoi(m[2])
			}
		}
		return n
	}
	began := time.Now().Truncate(time.Second)
	flood.begin(t)
	fence(t, cs, a)
	flood.awaitOutput(t, "flooded")
	// Whether that is lost depends on who is faster. An agent that stands still is not.
	must(t, a.cmd.Process.Signal(unix.SIGSTOP))
	t.Cleanup(func() { _ = a.cmd.Process.Signal(unix.SIGCONT) })
	touchGate(t, flood)
	flood.awaitOutput(t, "again")
	before := time.Now()
	must(t, a.cmd.Process.Signal(unix.SIGCONT))
	var s node.Status
	row := func(id string) (node.WorkloadStatus, []string) {
		t.Helper()
		s = node.Status{}
		must(t, node.Ask(context.Background(), a.socket, "GET", "/status", &s))
		i := slices.IndexFunc(s.Workloads, func(w node.WorkloadStatus) bool { return w.Name == id })
		if i < 0 {
			t.Fatalf("%s is not in the status: %+v", id, s.Workloads)
		}
		return s.Workloads[i], s.Workloads[i].Causes
	}
	own := func(causes []string) []string {
		i := slices.IndexFunc(causes, lostOfIt.MatchString)
		if i < 0 {
			return nil
		}
		return lostOfIt.FindStringSubmatch(causes[i])
	}
	// It counts each second; 1,000 starts are 3,000 events and more.
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("at the end: %+v", s.Workloads)
		}
	})
	awaitThat(t, "the losses are counted", func() bool {
		_, causes := row(flood.id)
		said := own(causes)
		if said == nil {
			return false
		}
		n, _ := strconv.Atoi(said[1])
		return n > 1000 && !clockOf(t, said[3], began).Before(before.Truncate(time.Second))
	})
	w, causes := row(flood.id)
	said := own(causes)
	of, _ := strconv.Atoi(said[1])
	all := lost("ring")
	if w.Verdict != bollwerk.Degraded || of < all*9/10 || of > all {
		t.Errorf("%s: %q, of %d that were lost", w.Verdict, causes, all)
	}
	from, to := clockOf(t, said[2], began), clockOf(t, said[3], began)
	if from.Before(began.Add(-2*time.Second)) || from.After(before) || to.After(time.Now()) {
		t.Errorf("%q: it was lost between %s and now, %s", said[0], began, time.Now())
	}
	if out, _, code := a.verb(t, "status"); code != 5 || !strings.Contains(out, "- "+flood.id+": degraded: "+said[1]) {
		t.Errorf("status: exit code %d:\n%s", code, out)
	}
	// A detection of it says the same; one of the container beside does not, nor does its row.
	touchGate(t, flood)
	beside.begin(t)
	for _, r := range []*container{flood, beside} {
		var d *bollwerk.Detection
		if !a.await(attackWait, func() bool {
			if of := a.of(r.id); len(of) > 0 {
				d = of[0]
			}
			return d != nil
		}) {
			t.Fatalf("what %s did after the flood is not told:\n%s", r.id, a.log())
		}
		blamed := own(d.Causes) != nil
		if blamed != (r == flood) || blamed && d.Verdict != bollwerk.Degraded {
			t.Errorf("the detection of %s: %s %q", r.id, d.Verdict, d.Causes)
		}
	}
	if w, causes := row(beside.id); own(causes) != nil {
		t.Errorf("what the flood lost is said of the container beside: %s %q", w.Verdict, causes)
	}
	for _, r := range []*container{flood, beside} {
		<-r.done
	}
	if status, body := get("/readyz"); status != "200 OK" {
		t.Errorf("an agent that said it is ready: /readyz says %s %s", status, body)
	}
	if status, body := get("/healthz"); status != "200 OK" || !strings.HasPrefix(body, string(s.Verdict)+"\n") || strings.Count(body, "\n") < 1+len(s.Causes) {
		t.Errorf("/healthz of an agent that is %s %q: %s %s", s.Verdict, s.Causes, status, body)
	}
	rss := residentKiB(t, a.cmd.Process.Pid)
	if rss > 96<<10 {
		t.Errorf("the agent holds %d KiB after a flood", rss)
	}
	t.Logf("%d of %d events lost of it, %q, %d KiB resident", of, all, said[0], rss)
}

// touchGate lets a script go on that stands at its gate again.
func touchGate(t *testing.T, r *container) {
	t.Helper()
	f, err := os.OpenFile(r.gate, os.O_WRONLY, 0) // waits for the reader
	must(t, err)
	_, err = f.WriteString("go\n")
	must(t, errors.Join(err, f.Close()))
}

// clockOf is the time of day of a sentence, near a time.
func clockOf(t *testing.T, text string, near time.Time) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateTime, near.UTC().Format(time.DateOnly)+" "+text)
	must(t, err)
	if at.Before(near.Add(-12 * time.Hour)) { // past midnight
		at = at.AddDate(0, 0, 1)
	}
	return at
}

func residentKiB(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	must(t, err)
	return n
}

// TestRoughHost does on the host what is stopped in containers: it is only seen.
func TestRoughHost(t *testing.T) {
	if testing.Short() {
		t.Skip("runs programs")
	}
	cs := newContainers(t, newNetwork(t))
	startAgent(t)
	dir := t.TempDir()
	script, out := filepath.Join(dir, "main"), filepath.Join(dir, "out")
	must(t, os.WriteFile(script, []byte(`cp /bin/echo `+dir+`/new; `+dir+`/new created-ran
python3 -c 'import os
f=os.memfd_create("x",1);os.write(f,open("/bin/echo","rb").read());os.execve(f,["x","fileless-ran"],{})'
bash -c 'exec -a xmrig `+dir+`/new miner-ran -o stratum+tcp://pool.example.com:4444'
cat /etc/shadow > /dev/null && echo shadow-read
`), 0o600))
	must(t, cs.launch(launchRequest{Args: []string{"bash", script}, Out: out}))
	b, err := os.ReadFile(out)
	must(t, err)
	for _, want := range []string{"created-ran", "fileless-ran", "miner-ran", "shadow-read"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the host was hindered: %q is missing in\n%s", want, b)
		}
	}
}
