package vm

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

var (
	kernelFlag  = flag.String("kernel", "", "only this kernel: "+strings.Join(Names(), " or "))
	cgroupsFlag = flag.String("cgroups", "v2", "layout of control groups inside: v2, v1 or hybrid")
)

// kernels calls f once for each kernel. Where no machine can be started the test says
// why; in CI that is a failure.
func kernels(t *testing.T, f func(t *testing.T, k Kernel)) {
	if testing.Short() {
		t.Skip("boots machines, which takes a minute each")
	}
	if err := Available(); err != nil {
		cannot(t, err)
	}
	for _, name := range Names() {
		if *kernelFlag != "" && *kernelFlag != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			k, err := Fetch(context.Background(), name)
			if err != nil {
				cannot(t, err)
			}
			f(t, k)
		})
	}
}

func cannot(t *testing.T, err error) {
	t.Helper()
	prerequisite.Missing(t, "%v", err)
}

// TestCgroups looks at the layouts that a machine can have.
func TestCgroups(t *testing.T) {
	kernels(t, func(t *testing.T, k Kernel) {
		for _, layout := range []string{"v1", "hybrid"} {
			m := Machine{Kernel: k, Cgroups: layout, Commands: []Command{{Name: "mounts", Args: []string{"grep", "cgroup", "/proc/mounts"}}}}
			results, err := m.Run(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			out := results[0].Output
			// Newer kernels may have no memory controller of version 1.
			if n := strings.Count(out, " cgroup2 "); n != map[string]int{"v1": 0, "hybrid": 1}[layout] || !strings.Contains(out, " /sys/fs/cgroup/pids cgroup ") {
				t.Errorf("%s:\n%s", layout, out)
			}
		}
	})
}

func TestBoot(t *testing.T) {
	kernels(t, func(t *testing.T, k Kernel) {
		m := Machine{
			Kernel:  k,
			Modules: []string{"overlay", "veth"},
			Files:   []File{{Path: "/data/greeting", Data: []byte("hello\n"), Mode: 0o644}},
			Commands: []Command{
				{Name: "release", Args: []string{"uname", "-r"}},
				{Name: "security", Args: []string{"cat", "/sys/kernel/security/lsm"}},
				{Name: "file", Dir: "/data", Args: []string{"sh", "-c", `cat greeting; echo "it's $WORD"; exit 3`}, Env: []string{"WORD=a b'c"}},
				{Name: "modules", Args: []string{"sh", "-c", "cut -d' ' -f1 /proc/modules | sort"}},
				{Name: "slow", Args: []string{"sleep", "1000"}, Timeout: time.Second},
				{Name: "pivot", Args: []string{"unshare", "-m", "sh", "-c", "mkdir /tmp/n && mount -t tmpfs n /tmp/n && mkdir /tmp/n/old && pivot_root /tmp/n /tmp/n/old && echo ok"}},
			},
		}
		began := time.Now()
		results, err := m.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", k.Release, time.Since(began))
		security := "lockdown,capability,landlock,bpf"
		if k.Name == "5.10" { // before landlock
			security = "lockdown,capability,bpf"
		}
		want := []Result{
			{Name: "release", Output: k.Release + "\n"},
			{Name: "security", Output: security},
			{Name: "file", Output: "hello\nit's a b'c\n", Code: 3},
			{Name: "modules", Output: "overlay\nveth\n"},
			{Name: "slow", Code: 137},
			{Name: "pivot", Output: "ok\n"},
		}
		if len(results) != len(want) {
			t.Fatalf("%d results: %+v", len(results), results)
		}
		for i, w := range want {
			if r := results[i]; r.Name != w.Name || r.Code != w.Code || !strings.Contains(r.Output, w.Output) {
				t.Errorf("got %+v, want %+v", r, w)
			}
		}
	})
}
