package vm

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

var (
	packagesFlag = flag.String("packages", "", "only these packages, joined by commas: sensor/lsm,sensor/process")
	insideFlag   = flag.String("inside", "", "-test.run of the tests inside")
	liveFlag     = flag.String("live", "", "a file that gets what is said inside while it is said")
)

// tested are the packages whose own tests run inside. strict: none of its tests may
// skip there, as the machine has all they need.
var tested = []struct {
	path   string
	strict bool
	skip   string // -test.skip: what the machine lacks
	args   []string
}{
	{path: "sensor/lsm", strict: true},
	{path: "sensor/process"},
	{path: "sensor/network"},
	{path: "sensor/tracing"},
	{path: "sensor"},
	{path: "workload"},
	{path: "agent"},
}

var skipped = regexp.MustCompile(`(?m)^\s*--- SKIP: (\S+)`)

// TestPackages runs the sensor's tests where BPF LSM, fentry and modules are allowed.
func TestPackages(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines, which takes a minute each")
	}
	if err := Available(); err != nil {
		cannot(t, err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	var files []File
	var commands []Command
	strict := map[string]bool{}
	for _, p := range tested {
		if *packagesFlag != "" && !strings.Contains(","+*packagesFlag+",", ","+p.path+",") {
			continue
		}
		if n, _ := filepath.Glob(filepath.Join(root, p.path, "*_test.go")); len(n) == 0 {
			continue
		}
		name := strings.ReplaceAll(p.path, "/", "-")
		binary := filepath.Join(out, name+".test")
		prerequisite.Sources()
		build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", binary, "./"+p.path)
		build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if b, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go test -c ./%s: %v\n%s", p.path, err, b)
		}
		dir := "/tests/" + p.path
		files = append(files, File{Path: "/tests/" + name + ".test", From: binary}, File{Path: dir, Mode: os.ModeDir})
		data, err := tree(filepath.Join(root, p.path, "testdata"), dir+"/testdata")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data...)
		args := []string{"/tests/" + name + ".test", "-test.v", "-test.timeout=14m"}
		if *insideFlag != "" {
			args = append(args, "-test.run="+*insideFlag)
		} else {
			args = append(args, "-test.short")
		}
		if p.skip != "" {
			args = append(args, "-test.skip="+p.skip)
		}
		strict[name] = p.strict
		commands = append(commands, Command{Name: name, Dir: dir, Args: append(args, p.args...), Env: []string{"BOLLWERK_VM=1"}, Timeout: 15 * time.Minute})
	}
	if len(commands) == 0 {
		t.Fatalf("no tests in %q", *packagesFlag)
	}
	runtime, err := containerTools()
	if err != nil {
		t.Log("without a container runtime inside: ", err)
	}
	files = append(files, runtime...)
	kernels(t, func(t *testing.T, k Kernel) {
		began := time.Now()
		m := Machine{Kernel: k, Cgroups: *cgroupsFlag, Files: files, Commands: commands, Modules: []string{"overlay", "veth", "dummy", "sch_ingress", "cls_bpf"}}
		if *liveFlag != "" {
			f, err := os.Create(*liveFlag)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			m.Live = f
		}
		results, err := m.Run(context.Background())
		for _, r := range results {
			t.Logf("%s: code %d in %.1f s", r.Name, r.Code, r.Took.Seconds())
			if r.Code != 0 || testing.Verbose() {
				t.Log("\n" + r.Output)
			}
			if r.Code != 0 {
				t.Errorf("%s failed on %s", r.Name, k.Release)
			}
			for _, s := range skipped.FindAllStringSubmatch(r.Output, -1) {
				// Counting instructions needs a machine of its own (-run TestInstructions), and
				// before 5.16 the kernel does not say what the verifier looked at.
				if strict[r.Name] && s[1] != "TestInstructions" && (s[1] != "TestVerifierEffort" || k.Name != "5.10") {
					t.Errorf("%s: %s was skipped on %s", r.Name, s[1], k.Release)
				}
			}
		}
		if err != nil {
			t.Error(err)
		}
		t.Logf("%s: %.1f s in all", k.Release, time.Since(began).Seconds())
	})
}

// tree lists the files of a folder; none when there is no folder.
func tree(from, to string) (out []File, err error) {
	if _, err := os.Stat(from); err != nil {
		return nil, nil
	}
	err = filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		out = append(out, File{Path: filepath.Join(to, rel), From: p})
		return nil
	})
	return out, err
}

// containerTools are runc, and programs with libraries that containers are made of.
func containerTools() ([]File, error) {
	// busybox's own have no libraries, or not all options; ldd is a script.
	out := []File{{Path: "/usr/bin/ldd", Data: []byte("#!/bin/sh\nLD_TRACE_LOADED_OBJECTS=1 exec /lib64/ld-linux-x86-64.so.2 \"$1\"\n")}}
	for name, to := range map[string]string{"runc": "/usr/bin/runc", "socat": "/usr/bin/socat", "true": "/bin/true", "bash": "/bin/bash", "unshare": "/usr/bin/unshare"} {
		from, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		files, err := withLibraries(from, to)
		if err != nil {
			return nil, err
		}
		out = append(out, files...)
	}
	return out, nil
}

// withLibraries is a program of this machine with the shared libraries it needs.
func withLibraries(from, to string) ([]File, error) {
	real, err := filepath.EvalSymlinks(from)
	if err != nil {
		return nil, err
	}
	out := []File{{Path: to, From: real}}
	b, err := exec.Command("ldd", real).CombinedOutput()
	if bytes.Contains(b, []byte("not a dynamic executable")) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ldd %s: %w", real, err)
	}
	for _, path := range regexp.MustCompile(`/\S+`).FindAllString(string(b), -1) {
		lib, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue
		}
		out = append(out, File{Path: path, From: lib})
	}
	return out, nil
}
