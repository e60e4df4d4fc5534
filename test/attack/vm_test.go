package attack

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/test/vm"
)

var (
	kernelFlag  = flag.String("kernel", "6.12", "boot this kernel: "+strings.Join(vm.Names(), ", ")+" or all")
	cgroupsFlag = flag.String("cgroups", "v2", "layout of control groups in the machine: v2, v1 or hybrid")
	recordFlag  = flag.String("record", "", "keep what the last agent in the machine says, with all events, in this file")
	insideFlag  = flag.String("inside", "", "what of it is run inside the machine; TestInVM: names of attacks that fit it (\"\": all; lsm: those that show what BPF LSM is for)")
	liveFlag    = flag.String("live", "", "a file that gets what is said inside while it is said")
)

// inVM is set inside of a machine that TestInVM booted.
const inVM = "BOLLWERK_VM"

// vmPrograms are what the attacks need. Interpreters of many megabytes stay outside, and
// their attacks with them: what they do to the kernel is what python and perl do.
var vmPrograms = strings.Fields(`bash dash runc nc socat curl getent script nsenter unshare mount umount insmod rmmod chattr pkill apt-get dpkg w grep perl python3
	cat cp mv rm find mkdir rmdir mkfifo mknod ls sleep echo touch ln chmod base64 head tail seq timeout true false tr id uname env`)

// vmLeft are the programs that stay outside.
var vmLeft = regexp.MustCompile(`\b(ruby|php|node) -`)

// left is a program that an attack needs and the machine has not.
func left(a attackCase) string {
	if m := vmLeft.FindStringSubmatch(a.script); m != nil {
		return m[1]
	}
	for _, tool := range a.tools {
		if !slices.Contains(vmPrograms, tool) {
			return tool
		}
	}
	if a.needs != "" && a.needs == disk() {
		return "disk"
	}
	return ""
}

// skipInVM skips an attack inside of a machine that was not given its tool.
func skipInVM(t testing.TB, a attackCase) {
	t.Helper()
	if what := left(a); what != "" && os.Getenv(inVM) != "" {
		t.Skipf("the machine has no %s", what)
	}
}

// onKernels calls f for each kernel that is asked for. Where no machine can be started the
// test says why; in CI that is a failure.
func onKernels(t *testing.T, f func(t *testing.T, k vm.Kernel)) {
	t.Helper()
	if err := vm.Available(); err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	for _, name := range vm.Names() {
		if *kernelFlag != "all" && *kernelFlag != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			k, err := vm.Fetch(context.Background(), name)
			if err != nil {
				prerequisite.Missing(t, "%v", err)
			}
			f(t, k)
		})
	}
}

// TestInVM runs all attacks on a kernel that lets BPF LSM refuse.
func TestInVM(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	names := attackNames(*insideFlag)
	if len(names) == 0 {
		t.Fatalf("no attack fits %q", *insideFlag)
	}
	files := vmFiles(t)
	onKernels(t, func(t *testing.T, k vm.Kernel) {
		said := inMachine(t, k, files, "^TestAttacks$/^("+strings.Join(names, "|")+")$")["tests"].Output
		for _, name := range names {
			how := regexp.MustCompile(`(?m)^\s+--- (PASS|SKIP|FAIL): TestAttacks/` + name + ` `).FindStringSubmatch(said)
			a := attackOf(name)
			if how == nil || how[1] != "PASS" && (how[1] != "SKIP" || left(a) == "") {
				t.Errorf("%s was not told: %q", name, how)
			}
		}
		if !regexp.MustCompile(`denied \((bpf-)?lsm`).MatchString(said) {
			t.Error("BPF LSM refused nothing")
		}
	})
}

// TestRoughInVM treats a whole machine roughly: its clock, its counters, its disk.
func TestRoughInVM(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a machine")
	}
	files := vmFiles(t)
	onKernels(t, func(t *testing.T, k vm.Kernel) { inMachine(t, k, files, "^TestMachine"+*insideFlag) })
}

// inMachine runs tests of this package inside, as one command "tests".
func inMachine(t *testing.T, k vm.Kernel, files []vm.File, run string) map[string]vm.Result {
	t.Helper()
	env := []string{inVM + "=1", "BOLLWERK_AGENT=/opt/bollwerk-agent", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if *recordFlag != "" {
		env = append(env, "ATTACK_DEBUG=/opt/said")
	}
	m := vm.Machine{Kernel: k, Cgroups: *cgroupsFlag, Memory: 2048, Files: files, Modules: []string{"overlay", "veth", "af_packet", "sch_ingress", "cls_bpf", "dummy"}, Commands: []vm.Command{
		// A module that an attacker can insert, and a hierarchy of version 1 that he can
		// mount: from a namespace of control groups nobody can begin one.
		{Name: "room", Args: []string{"sh", "-c", "rmmod dummy; mkdir /run/x && mount -t cgroup -o none,name=x x /run/x"}},
		{Name: "tests", Dir: "/opt", Args: []string{"/opt/attack.test", "-test.v", "-test.run=" + run, "-test.timeout=59m"}, Env: env, Timeout: time.Hour},
	}}
	if *recordFlag != "" {
		m.Commands = append(m.Commands, vm.Command{Name: "record", Args: []string{"cat", "/opt/said"}})
	}
	if *liveFlag != "" {
		f, err := os.Create(*liveFlag)
		must(t, err)
		defer f.Close()
		m.Live = f
	}
	began := time.Now()
	results, err := m.Run(context.Background())
	if err != nil {
		t.Error(err)
	}
	out := map[string]vm.Result{}
	for _, r := range results {
		out[r.Name] = r
		if r.Name == "record" {
			must(t, os.WriteFile(*recordFlag, []byte(r.Output), 0o600))
			continue
		}
		t.Logf("%s: code %d in %.1f s", r.Name, r.Code, r.Took.Seconds())
		if r.Code != 0 {
			t.Errorf("%s failed on %s", run, k.Release)
		}
		if r.Code != 0 || testing.Verbose() {
			t.Log("\n" + r.Output)
		}
	}
	if !strings.Contains(out["tests"].Output, "--- PASS: Test") {
		t.Error("no test passed")
	}
	t.Logf("%s: %.1f s in all", k.Release, time.Since(began).Seconds())
	return out
}

// attackNames are those that fit; "lsm" stands for those that other kernels do not refuse
// or see, which is what a machine is for when there is no time for all.
func attackNames(which string) (names []string) {
	fits := regexp.MustCompile(which)
	for _, a := range attacks() {
		if which == "lsm" && (a.lsm != "" || vmSeen.MatchString(a.name)) || which != "lsm" && fits.MatchString(a.name) {
			names = append(names, a.name)
		}
	}
	return names
}

// vmSeen are attacks that BPF LSM sees by hooks of its own. Other kernels see them by other
// means, in part (docs/agent.md), so that they are worth a run with it.
var vmSeen = regexp.MustCompile(`^(docker-socket|environ|process-memory|kernel-memory|device-memory|mapped-library|became-root)$`)

func attackOf(name string) attackCase {
	for _, a := range attacks() {
		if a.name == name {
			return a
		}
	}
	return attackCase{}
}

// vmFiles is the root of the machine, which is also the image of the containers inside.
func vmFiles(t *testing.T) []vm.File {
	t.Helper()
	root := &vmRoot{t: t, have: map[string]bool{}}
	for _, name := range vmPrograms {
		from := filepath.Join("/usr/bin", name) // not one that stands before it in the path here
		if _, err := os.Stat(from); err != nil {
			if from, err = exec.LookPath(name); err != nil {
				prerequisite.Missing(t, "%s is missing; test/deps.sh installs it", name)
			}
		}
		root.program(from, "/usr/bin/"+name)
		root.add(vm.File{Path: "/bin/" + name, Link: "/usr/bin/" + name})
	}
	for _, dir := range []string{"/bin", "/usr/bin"} {
		root.add(vm.File{Path: dir + "/sh", Link: "/usr/bin/dash"})
	}
	for _, lib := range []string{"/lib/x86_64-linux-gnu/libc.so.6", "/usr/lib/x86_64-linux-gnu/libc.so.6"} {
		root.file(lib)
	}
	root.python()
	root.perl()
	root.add(
		vm.File{Path: "/etc/passwd", Data: []byte("root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n"), Mode: 0o644},
		vm.File{Path: "/etc/group", Data: []byte("root:x:0:\nnogroup:x:65534:\ntty:x:5:\n"), Mode: 0o644},
		vm.File{Path: "/etc/shadow", Data: []byte("root:*:19000:0:99999:7:::\n"), Mode: 0o640},
		vm.File{Path: "/etc/hostname", Data: []byte("machine\n"), Mode: 0o644},
		vm.File{Path: "/etc/hosts", Data: []byte("127.0.0.1 localhost\n"), Mode: 0o644},
		vm.File{Path: "/etc/nsswitch.conf", Data: []byte("passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\n"), Mode: 0o644},
		vm.File{Path: "/etc/protocols", Data: []byte("ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\n"), Mode: 0o644},
		vm.File{Path: "/etc/resolv.conf", Data: []byte("nameserver 127.0.0.1\n"), Mode: 0o644},
		vm.File{Path: "/root/.bashrc", Data: []byte("# nothing\n"), Mode: 0o644},
		vm.File{Path: "/var/log", Mode: os.ModeDir}, vm.File{Path: "/var/lib/dpkg/status", Mode: 0o644}, vm.File{Path: "/home", Mode: os.ModeDir},
		vm.File{Path: "/opt/bollwerk-agent", From: vmBuild(t, "build", "bollwerk-agent", "github.com/bollwerk/bollwerk/cmd/bollwerk-agent")},
		vm.File{Path: "/opt/attack.test", From: vmBuild(t, "test", "attack.test", "-c", "github.com/bollwerk/bollwerk/test/attack")},
	)
	return root.files
}

func vmBuild(t *testing.T, verb, name string, args ...string) string {
	t.Helper()
	prerequisite.Sources()
	p := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", append([]string{verb, "-ldflags=-s -w", "-o", p}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s %v: %v\n%s", verb, args, err, out)
	}
	return p
}

type vmRoot struct {
	t     *testing.T
	files []vm.File
	have  map[string]bool
}

func (r *vmRoot) add(files ...vm.File) {
	for _, f := range files {
		if !r.have[f.Path] {
			r.have[f.Path] = true
			r.files = append(r.files, f)
		}
	}
}

// file takes a file of this machine to the same place.
func (r *vmRoot) file(path string) {
	if from, err := filepath.EvalSymlinks(path); err == nil {
		r.add(vm.File{Path: path, From: from})
	}
}

// program takes a program or library with the libraries it needs.
func (r *vmRoot) program(from, to string) {
	r.t.Helper()
	real, err := filepath.EvalSymlinks(from)
	must(r.t, err)
	r.add(vm.File{Path: to, From: real})
	out, err := exec.Command("ldd", real).CombinedOutput()
	if err != nil {
		if bytes.Contains(out, []byte("not a dynamic executable")) {
			return
		}
		r.t.Fatalf("ldd %s: %v\n%s", real, err, out)
	}
	for _, lib := range regexp.MustCompile(`/\S+`).FindAllString(string(out), -1) {
		r.file(strings.TrimSuffix(lib, ":"))
	}
}

// python takes the modules that the attacks import, with what these import, and compiled
// ones that are valid whatever time the files have: an image has these, and the machine
// would compile for seconds.
func (r *vmRoot) python() {
	dir := r.t.TempDir()
	r.modules("/usr/bin/python3", "-c", `import sys, socket, subprocess, os, base64, random, ctypes, struct, time, pty, site, select, errno, encodings.idna, encodings.ascii, encodings.latin_1, encodings.hex_codec
for m in list(sys.modules.values()):
    f = getattr(m, "__file__", None)
    if f: print(f)`)
	out, err := exec.Command("/usr/bin/python3", append([]string{"-c", `import sys, py_compile, importlib.util
for n, f in enumerate(sys.argv[2:]):
    to = "%s/%d" % (sys.argv[1], n)
    py_compile.compile(f, to, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    print(importlib.util.cache_from_source(f), to)`, dir}, r.sources()...)...).Output()
	must(r.t, err)
	for line := range strings.Lines(string(out)) {
		to, from, _ := strings.Cut(strings.TrimSpace(line), " ")
		r.add(vm.File{Path: to, From: from})
	}
}

func (r *vmRoot) sources() (out []string) {
	for _, f := range r.files {
		if strings.HasSuffix(f.Path, ".py") {
			out = append(out, f.Path)
		}
	}
	return out
}

func (r *vmRoot) perl() {
	r.modules("/usr/bin/perl", "-e", `use Socket; print "$_\n" for values %INC, @DynaLoader::dl_shared_objects`)
}

func (r *vmRoot) modules(program string, args ...string) {
	r.t.Helper()
	out, err := exec.Command(program, args...).Output()
	must(r.t, err)
	for _, p := range strings.Fields(string(out)) {
		if _, err := os.Stat(p); err != nil {
			continue
		}
		if strings.Contains(p, ".so") {
			r.program(p, p)
		} else {
			r.file(p)
		}
	}
}
