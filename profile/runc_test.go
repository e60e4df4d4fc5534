package profile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// tools returns where programs are, or ends the test.
func tools(t *testing.T, names ...string) (out []string) {
	t.Helper()
	for _, n := range names {
		p, err := exec.LookPath(n)
		if err != nil {
			needs(t, n)
		}
		out = append(out, p)
	}
	if os.Getuid() != 0 {
		needs(t, "root")
	}
	if runtime.GOARCH != "amd64" {
		needs(t, "amd64, as busybox is traced by the names of its calls there")
	}
	return out
}

var tracedCall = regexp.MustCompile(`(?m)^\d+ +(?:<\.\.\. )?([a-z_0-9]+)(?:\(| resumed)`)

// traced runs a script of busybox on this machine and returns its system calls.
func traced(t *testing.T, strace, busybox, script string) []uint64 {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	if out, err := exec.Command(strace, "-f", "-o", log, busybox, "sh", "-c", script).CombinedOutput(); err != nil {
		needs(t, fmt.Sprintf("strace that may trace: %v: %s", err, out))
	}
	calls := make([]uint64, MaxSyscalls/64)
	for _, m := range tracedCall.FindAllStringSubmatch(string(must(os.ReadFile(log))), -1) {
		n, ok := SyscallNumber(AMD64, m[1])
		if !ok {
			t.Fatalf("strace knows a call %q that the table lacks", m[1])
		}
		calls[n/64] |= 1 << (n % 64)
	}
	return calls
}

// container runs a script of busybox in a container of runc.
type containers struct {
	runc, busybox string
	n             int
}

func (c *containers) run(t *testing.T, script string, change func(map[string]any)) (string, error) {
	t.Helper()
	c.n++
	bundle := t.TempDir()
	bin := filepath.Join(bundle, "rootfs/bin")
	for _, d := range []string{bin, filepath.Join(bundle, "rootfs/tmp"), filepath.Join(bundle, "rootfs/proc"), filepath.Join(bundle, "rootfs/dev")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), must(os.ReadFile(c.busybox)), 0o755); err != nil {
		t.Fatal(err)
	}
	spec := exec.Command(c.runc, "spec")
	spec.Dir = bundle
	if out, err := spec.CombinedOutput(); err != nil {
		t.Fatalf("runc spec: %v: %s", err, out)
	}
	file := filepath.Join(bundle, "config.json")
	var config map[string]any
	if err := json.Unmarshal(must(os.ReadFile(file)), &config); err != nil {
		t.Fatal(err)
	}
	p := config["process"].(map[string]any)
	p["terminal"], p["args"] = false, []string{"/bin/busybox", "sh", "-c", script}
	config["root"].(map[string]any)["readonly"] = false
	if change != nil {
		change(config)
	}
	if err := os.WriteFile(file, must(json.Marshal(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprintf("bollwerk-profile-%d-%d", os.Getpid(), c.n)
	run := exec.Command(c.runc, "--root", filepath.Join(bundle, "state"), "run", "--bundle", bundle, id)
	out, err := run.CombinedOutput()
	exec.Command(c.runc, "--root", filepath.Join(bundle, "state"), "delete", "--force", id).Run()
	return string(out), err
}

func seccompInto(t *testing.T, profile []byte) func(map[string]any) {
	t.Helper()
	var s map[string]any
	if err := json.Unmarshal(profile, &s); err != nil {
		t.Fatal(err)
	}
	return func(config map[string]any) { config["linux"].(map[string]any)["seccomp"] = s }
}

const script = "echo begun; cd /; for f in *; do test -d $f && echo $f >/dev/null; done; busybox sleep 0; echo done"

func TestSeccompProfileInARealContainer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containers")
	}
	where := tools(t, "runc", "busybox", "strace")
	c := &containers{runc: where[0], busybox: where[1]}
	if out, err := c.run(t, "busybox mkdir /tmp/x && echo made", nil); err != nil || !strings.Contains(out, "made") {
		needs(t, fmt.Sprintf("runc that can start a container: %v: %s", err, out))
	}
	w := newWorld(t, Config{Arch: AMD64})
	wl := w.container("box", digestA)
	w.quiet(w.exec(wl, w.process(wl, "/bin/busybox", nil)))
	w.book.Syscalls(wl.Cgroup, traced(t, where[2], where[1], script))
	p := must(w.book.Profile(wl.Key()))

	profile, notes, err := p.Seccomp(SeccompOptions{})
	if err != nil || len(notes) != 0 {
		t.Fatal(err, notes)
	}
	for _, privileges := range []bool{true, false} {
		t.Run(fmt.Sprintf("no_new_privileges=%v", privileges), func(t *testing.T) {
			with := func(config map[string]any) {
				seccompInto(t, profile)(config)
				config["process"].(map[string]any)["noNewPrivileges"] = privileges
			}
			if out, err := c.run(t, script, with); err != nil || !strings.HasSuffix(out, "done\n") {
				t.Fatalf("the workload no longer works: %v\n%s", err, out)
			}
			out, err := c.run(t, "echo begun; busybox mkdir /tmp/x && echo made", with)
			if err == nil || strings.Contains(out, "made") || !strings.Contains(out, "Operation not permitted") {
				t.Fatalf("an unlisted call passed: %v\n%s", err, out)
			}
		})
	}
	t.Run("log", func(t *testing.T) {
		profile, _, err := p.Seccomp(SeccompOptions{Default: "log"})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := c.run(t, "busybox mkdir /tmp/x && echo made", seccompInto(t, profile)); err != nil || !strings.Contains(out, "made") {
			t.Fatalf("a rehearsal refused: %v\n%s", err, out)
		}
	})
	t.Run("kill", func(t *testing.T) {
		profile, _, err := p.Seccomp(SeccompOptions{Default: "kill"})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := c.run(t, script, seccompInto(t, profile)); err != nil || !strings.HasSuffix(out, "done\n") {
			t.Fatalf("the workload no longer works: %v\n%s", err, out)
		}
		if out, err := c.run(t, "busybox mkdir /tmp/x; echo status $?", seccompInto(t, profile)); err != nil || !strings.Contains(out, "status 159") {
			t.Fatalf("want death by SIGSYS (128+31): %v\n%s", err, out)
		}
	})
	t.Run("forbidden by a person", func(t *testing.T) {
		if err := w.book.Edit(wl.Key(), Entry{Category: Syscall, Value: "mkdir"}, Edit{By: "ann", Reason: "needs it now"}); err != nil {
			t.Fatal(err)
		}
		profile, _, _ := must(w.book.Profile(wl.Key())).Seccomp(SeccompOptions{})
		if out, err := c.run(t, "busybox mkdir /tmp/x && echo made", seccompInto(t, profile)); err != nil || !strings.Contains(out, "made") {
			t.Fatalf("a call that was added is refused: %v\n%s", err, out)
		}
	})
}

// Docker's form of the file, read by podman, which parses it like Docker does.
func TestSeccompProfileWithPodman(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containers")
	}
	where := tools(t, "podman", "busybox", "strace")
	dir, err := os.MkdirTemp("", "bw") // podman takes 50 letters of a path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	bin := filepath.Join(dir, "rootfs/bin")
	for _, d := range []string{bin, filepath.Join(dir, "rootfs/tmp")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), must(os.ReadFile(where[1])), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "seccomp.json")
	run := func(script string, more ...string) (string, error) {
		args := append([]string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"), "--cgroup-manager", "cgroupfs",
			"run", "--rm", "--network", "none", "--ulimit", "nofile=512:512", "--ulimit", "nproc=512:512"}, more...)
		out, err := exec.Command(where[0], append(args, "--rootfs", filepath.Join(dir, "rootfs"), "/bin/busybox", "sh", "-c", script)...).CombinedOutput()
		return string(out), err
	}
	if out, err := run("busybox mkdir /tmp/a && echo made"); err != nil || !strings.Contains(out, "made") {
		needs(t, fmt.Sprintf("podman that can start a container: %v: %s", err, out))
	}
	w := newWorld(t, Config{Arch: AMD64})
	wl := w.container("box", digestA)
	w.quiet(w.exec(wl, w.process(wl, "/bin/busybox", nil)))
	w.book.Syscalls(wl.Cgroup, traced(t, where[2], where[1], script))
	profile, _, err := must(w.book.Profile(wl.Key())).Seccomp(SeccompOptions{Docker: true, Arch: []Arch{AMD64, ARM64}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, profile, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(script, "--security-opt", "seccomp="+file); err != nil || !strings.HasSuffix(strings.TrimSpace(out), "done") {
		t.Fatalf("the workload no longer works: %v\n%s", err, out)
	}
	if out, err := run("busybox mkdir /tmp/b && echo made", "--security-opt", "seccomp="+file); err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Fatalf("an unlisted call passed: %v\n%s", err, out)
	}
}

func TestCapabilitiesInARealContainer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts containers")
	}
	where := tools(t, "runc", "busybox")
	c := &containers{runc: where[0], busybox: where[1]}
	const chown = "busybox touch /tmp/x && busybox chown 7 /tmp/x && echo changed"
	w := newWorld(t, Config{})
	wl := w.container("box", digestA)
	run := func() (string, error) {
		t.Helper()
		set := must(must(w.book.Profile(wl.Key())).OCICapabilities())
		return c.run(t, chown, func(config map[string]any) {
			var caps map[string]any
			if err := json.Unmarshal(set, &caps); err != nil {
				t.Fatal(err)
			}
			config["process"].(map[string]any)["capabilities"] = caps
		})
	}
	w.quiet(w.exec(wl, w.process(wl, "/bin/busybox", nil)))
	if out, err := run(); err == nil || !strings.Contains(out, "Operation not permitted") {
		if !strings.Contains(out, "changed") {
			needs(t, fmt.Sprintf("runc that can start a container: %v: %s", err, out))
		}
		t.Fatalf("changed an owner without a capability: %s", out)
	}
	e := w.event(wl, bollwerk.EventCapability, nil)
	e.Change = &bollwerk.Change{Used: "CAP_CHOWN"}
	w.quiet(e)
	if out, err := run(); err != nil || !strings.Contains(out, "changed") {
		t.Fatalf("with the capability it used: %v\n%s", err, out)
	}
}

func TestSeccompDocument(t *testing.T) {
	p := New("w", "n")
	if _, _, err := p.Seccomp(SeccompOptions{}); err == nil || !strings.Contains(err.Error(), "no system calls are known") {
		t.Errorf("an empty profile: %v", err)
	}
	var s scratch
	for _, n := range []string{"openat", "fork", "syscall_511"} {
		p.add(key{cat: Syscall, value: n}, &mark{}, &s)
	}
	b, notes, err := p.Seccomp(SeccompOptions{Docker: true, Arch: []Arch{AMD64, ARM64}, Bare: true})
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "syscall_511") {
		t.Fatal(err, notes)
	}
	var d seccompDocument
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if len(d.ArchMap) != 2 || d.Architectures != nil || *d.DefaultErrnoRet != 1 || !slices.Equal(d.Syscalls[0].Names, []string{"fork", "openat"}) {
		t.Errorf("%s", b)
	}
	b, _, err = p.Seccomp(SeccompOptions{Arch: []Arch{ARM64}, Bare: true})
	if err != nil || bytes.Contains(b, []byte("fork")) {
		t.Errorf("arm64 has no fork: %v %s", err, b)
	}
	for _, bad := range []SeccompOptions{{Default: "allow"}, {Arch: []Arch{"riscv64"}}} {
		if _, _, err := p.Seccomp(bad); err == nil {
			t.Errorf("taken: %+v", bad)
		}
	}
	p.saturated[Syscall] = true
	if _, _, err := p.Seccomp(SeccompOptions{}); err == nil {
		t.Error("made from a saturated category")
	}
	for _, n := range RuntimeSyscalls() {
		if _, ok := SyscallNumber(AMD64, n); !ok {
			t.Errorf("%s is no call", n)
		}
	}
}

func TestSecurityContext(t *testing.T) {
	w := newWorld(t, Config{})
	wl := w.container("web", digestA)
	p := w.process(wl, "/usr/sbin/nginx", nil)
	p.UID, p.EUID = 101, 101
	e := w.event(wl, bollwerk.EventCapability, p)
	e.Change = &bollwerk.Change{Used: "CAP_NET_BIND_SERVICE"}
	v := w.open(wl, p, "/data/x", bollwerk.AccessWrite)
	v.File.Origin = bollwerk.OriginVolume
	w.quiet(w.exec(wl, p), e, v)
	got := must(must(w.book.Profile(wl.Key())).SecurityContext("bollwerk/web.json"))
	for _, want := range []string{"drop: [\"ALL\"]", "add: [NET_BIND_SERVICE]", "allowPrivilegeEscalation: false", "runAsUser: 101", "readOnlyRootFilesystem: true", "localhostProfile: \"bollwerk/web.json\""} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	e.Change = &bollwerk.Change{Used: "CAP_EVIL\", \"SYS_ADMIN"}
	p2 := w.process(wl, "/usr/bin/su", p)
	w.quiet(e, w.exec(wl, p2), w.open(wl, p, "/srv/y", bollwerk.AccessWrite))
	c := w.event(wl, bollwerk.EventCredentials, p2)
	c.Change = &bollwerk.Change{OldUID: 101, UID: 0}
	w.quiet(c)
	got = must(must(w.book.Profile(wl.Key())).SecurityContext(""))
	for _, want := range []string{"# runAsNonRoot: true would break it", "# allowPrivilegeEscalation", "# readOnlyRootFilesystem", "/srv/y", "RuntimeDefault"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "EVIL") {
		t.Errorf("a made-up capability:\n%s", got)
	}
	if _, err := must(w.book.Profile(wl.Key())).SecurityContext("a\"\nb: c"); err == nil {
		t.Error("a path that writes YAML")
	}
}

func TestSyscallTableIsFresh(t *testing.T) {
	out := filepath.Join(t.TempDir(), "z.go")
	if msg, err := exec.Command("go", "run", "gen_syscalls.go", "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	if !bytes.Equal(must(os.ReadFile(out)), must(os.ReadFile("zsyscalls.go"))) {
		t.Error("zsyscalls.go is not what go generate makes: run go generate ./profile")
	}
}

// The kernel's own header, where there is one, must not contradict the table.
func TestSyscallTableAgainstTheKernelHeader(t *testing.T) {
	data, err := os.ReadFile("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
	if err != nil {
		if runtime.GOARCH != "amd64" {
			t.Skip("the header is of another architecture")
		}
		needs(t, "linux-libc-dev: "+err.Error())
	}
	n := 0
	for _, m := range regexp.MustCompile(`(?m)^#define __NR_(\w+) (\d+)$`).FindAllStringSubmatch(string(data), -1) {
		n++
		if got, ok := SyscallNumber(AMD64, m[1]); !ok || fmt.Sprint(got) != m[2] {
			t.Errorf("%s is %s in the header, %d here", m[1], m[2], got)
		}
	}
	if n < 300 {
		t.Errorf("only %d calls in the header", n)
	}
	for _, a := range []Arch{AMD64, ARM64} {
		for i := range MaxSyscalls {
			if got, ok := SyscallNumber(a, SyscallName(a, i)); !ok || got != i {
				t.Fatalf("%s %d is %s is %d", a, i, SyscallName(a, i), got)
			}
		}
	}
}
