package attack

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

// ordinary gives a container what container engines give it by default.
func ordinary(spec map[string]any) {
	var all []string
	for _, c := range strings.Fields("CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP") {
		all = append(all, "CAP_"+c)
	}
	spec["process"].(map[string]any)["capabilities"] = map[string]any{"bounding": all, "effective": all, "permitted": all}
}

// goCache lets the container have what the compiler has already compiled here: nobody
// compiles the standard library each time.
func goCache(t testing.TB) option {
	return func(spec map[string]any) {
		out, err := exec.Command("go", "env", "GOCACHE").Output()
		must(t, err)
		upper, err := os.MkdirTemp("/dev/shm", "bollwerk-honest-")
		must(t, err)
		t.Cleanup(func() { _ = os.RemoveAll(upper) })
		for _, d := range []string{"u", "w"} {
			must(t, os.Mkdir(filepath.Join(upper, d), 0o755))
		}
		p := spec["process"].(map[string]any)
		p["env"] = append(p["env"].([]string), "GOCACHE=/var/cache/go")
		spec["mounts"] = append(spec["mounts"].([]any), map[string]any{"destination": "/var/cache/go", "type": "overlay", "source": "overlay",
			"options": []string{"lowerdir=" + strings.TrimSpace(string(out)) + ",upperdir=" + upper + "/u,workdir=" + upper + "/w"}})
	}
}

// crontab mounts a table of tasks, as a configuration of an orchestrator would.
func crontab(t testing.TB) option {
	return func(spec map[string]any) {
		f := filepath.Join(t.TempDir(), "crontab")
		must(t, os.WriteFile(f, []byte("PATH=/usr/sbin:/usr/bin:/sbin:/bin\n* * * * * root logrotate -d /etc/logrotate.conf >/dev/null 2>&1; find /var/tmp -mtime +30 -delete; date > /run/cron-ran\n"), 0o644))
		spec["mounts"] = append(spec["mounts"].([]any), map[string]any{"destination": "/etc/cron.d/honest", "type": "bind", "source": f, "options": []string{"bind", "ro"}})
	}
}

const workDone = "honest-work-is-done"

// honestScript wraps the script of a work. Its output ends with workDone when all went well.
func honestScript(w work, dir string, port int) string {
	return fmt.Sprintf("set -eu\nexport W=%s P=%d LC_ALL=C\nmkdir -p $W; cd $W\n%s(%s\n)\necho %s\n", dir, port, ask, w.script, workDone)
}

// TestBenign lets honest programs do their work in containers and on the host while the
// agent watches: nothing of it may be told at medium or above, and nothing be stopped.
func TestBenign(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	n := newNetwork(t)
	n.listen(attacker+":8080", func(c net.Conn) { fmt.Fprint(c, "HTTP/1.0 200 OK\r\n\r\n{}\n") })
	cs := newContainers(t, n)
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte("workloads:\n- match: honest-by-hand-*\n  guards: {drift: \"off\"}\n  modes: {drift-execution: \"off\"}\n"), 0o644))
	a := startAgent(t, "--config", config)
	var mu sync.Mutex
	owners := map[string]work{} // by container
	only := os.Getenv("BENIGN")
	port := 20000
	t.Run("work", func(t *testing.T) {
		for _, w := range honestWork(t) {
			if only != "" && !strings.Contains(w.name, only) {
				continue
			}
			port += 2
			inside, outside := port, port+1
			t.Run("container/"+w.name, func(t *testing.T) {
				t.Parallel()
				needAll(t, w.needs)
				if w.name == "by-hand" {
					aloneHere(t, a)
				}
				r := cs.start("honest-"+w.name, strings.Join([]string{"set +e", honestScript(w, "/home/work", inside)}, "\n"), w.opts...)
				mu.Lock()
				owners[r.id] = w
				mu.Unlock()
				a.awaitProtected(t, r.id)
				r.openWithin(t, 3*time.Minute)
				if !strings.HasSuffix(strings.TrimSpace(r.output()), workDone) {
					t.Errorf("%s did not end well in a container:\n%s", w.name, tail(r.output()))
				}
			})
			if !w.host {
				continue
			}
			t.Run("host/"+w.name, func(t *testing.T) {
				t.Parallel()
				needAll(t, w.needs)
				dir, err := os.MkdirTemp("", "honest-"+w.name+"-")
				must(t, err)
				defer os.RemoveAll(dir)
				must(t, os.Chmod(dir, 0o755))
				script, out := filepath.Join(dir, "main"), filepath.Join(dir, "out")
				must(t, os.WriteFile(script, []byte("export HOME=/root PATH=$PATH:/usr/local/go/bin\n"+honestScript(w, dir+"/w", outside)), 0o644))
				must(t, cs.launch(launchRequest{Args: []string{"nsenter", "--net=" + n.path, "bash", script}, Out: out}))
				b, err := os.ReadFile(out)
				must(t, err)
				if !strings.HasSuffix(strings.TrimSpace(string(b)), workDone) {
					t.Errorf("%s did not end well on the host:\n%s", w.name, tail(string(b)))
				}
			})
		}
		if only == "" || only == "engine" {
			t.Run("engine", func(t *testing.T) { t.Parallel(); honestEngine(t, cs, a) })
		}
	})
	fence(t, cs, a)
	a.mu.Lock()
	defer a.mu.Unlock()
	loud := 0
	for _, d := range a.detections {
		where, known := "host", ""
		if w := d.Workload; w != nil && w.Container != nil {
			where = w.Container.ID
			if !strings.HasPrefix(where, "honest-") {
				continue // the fence, or somebody else's
			}
			mu.Lock()
			if o := owners[where]; o.name != "" {
				where, known = o.name, o.known[d.Rule]
			}
			mu.Unlock()
		}
		line := fmt.Sprintf("%s: %s", where, strings.TrimSpace(describe([]*bollwerk.Detection{d})))
		if d.Process != nil {
			line += fmt.Sprintf(" — %s %q below %s", d.Process.Path, d.Process.Args, ancestry(d.Process))
		}
		switch {
		case where == "host" && !oursOnHost(d):
			t.Logf("not of this test: %s", line) // a shared machine has other things to do
		case known != "" && d.Outcome == bollwerk.Seen:
			t.Logf("known to be wrong (%s): %s", known, line)
		case d.Severity >= bollwerk.SeverityMedium || d.Outcome != bollwerk.Seen:
			loud++
			t.Errorf("honest work was suspected: %s", line)
		default:
			t.Logf("told quietly: %s", line)
		}
	}
	t.Logf("%d detections, %d of them at medium or above", len(a.detections), loud)
}

// ancestry names the parents of a process.
func ancestry(p *bollwerk.Process) string {
	var names []string
	for p = p.Parent; p != nil && len(names) < 6; p = p.Parent {
		names = append(names, p.Name)
	}
	return strings.Join(names, " ← ")
}

// oursOnHost tells whether this test's launcher is among the ancestors.
func oursOnHost(d *bollwerk.Detection) bool {
	for p := d.Process; p != nil; p = p.Parent {
		if p.Path == os.Args[0] || strings.Contains(strings.Join(p.Args, " "), "honest-") || strings.Contains(p.Cwd, "honest-") {
			return true
		}
	}
	return false
}

// fence makes an attack and waits until it is told: what came before was judged by then,
// and a silence before it was the silence of somebody who hears.
func fence(t *testing.T, cs *containers, a *agent) {
	t.Helper()
	// Again and again, since the files of a new container are marked a moment after its start.
	r := cs.start("fence", "for i in $(seq 50); do cat /etc/shadow > /dev/null; sleep 0.1; done")
	a.awaitProtected(t, r.id)
	r.open(t)
	if !a.await(time.Minute, func() bool { return len(a.of(r.id)) > 0 }) {
		t.Fatalf("an attack after the honest work was not told: the agent is deaf\n%s", a.log())
	}
}

// honestEngine starts, probes and ends containers as engines and orchestrators do.
func honestEngine(t *testing.T, cs *containers, a *agent) {
	server := cs.start("honest-probed", "mkdir -p /home/work; cd /home/work; echo ok > healthz; exec /usr/bin/python3 -m http.server --bind 127.0.0.1 18080")
	a.awaitProtected(t, server.id)
	opened := make(chan struct{})
	go func() { defer close(opened); server.openWithin(t, 3*time.Minute) }()
	probe := func(args ...string) string {
		out := filepath.Join(filepath.Dir(server.file), "probe")
		must(t, cs.launch(launchRequest{Args: append([]string{cs.runc, "exec", server.id}, args...), Out: out}))
		b, _ := os.ReadFile(out)
		return strings.TrimSpace(string(b))
	}
	ok := 0
	for deadline := time.Now().Add(time.Minute); ok < 10 && time.Now().Before(deadline); {
		if probe("sh", "-c", "curl -fs http://127.0.0.1:18080/healthz || exit 1") == "ok" {
			ok++
		}
		probe("cat", "/home/work/healthz")
	}
	if ok < 10 {
		t.Errorf("the probes do not get through: %s\n%s", probe("curl", "-sv", "http://127.0.0.1:18080/healthz"), server.output())
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r := cs.start(fmt.Sprintf("honest-brief-%d", i), "echo "+workDone)
			r.openWithin(t, 3*time.Minute)
			if !strings.Contains(r.output(), workDone) {
				t.Errorf("%s did not end well: %s", r.id, tail(r.output()))
			}
		})
	}
	wg.Wait()
	d := workloadtest.NewContainerd(t)
	root := t.TempDir()
	workloadtest.Rootfs(t, root)
	for i := range 3 {
		if out := d.Ctr("default", "run", "--rm", "--rootfs", root, fmt.Sprintf("honest-engine-%d-%d", os.Getpid(), i), "/bin/sh", "-c", "cat /proc/self/stat > /dev/null; echo "+workDone); !strings.Contains(out, workDone) {
			t.Errorf("containerd's container did not end well: %s", tail(out))
		}
	}
	must(t, cs.launch(launchRequest{Args: []string{cs.runc, "kill", server.id, "KILL"}, Out: filepath.Join(filepath.Dir(server.file), "kill")}))
	<-opened
}

// aloneHere skips where another agent guards this machine, too: it knows nothing of this
// test's configuration.
func aloneHere(t testing.TB, a *agent) {
	t.Helper()
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		b, _ := os.ReadFile(name)
		if pid := filepath.Base(filepath.Dir(name)); strings.HasPrefix(string(b), "bollwerk-agent") && pid != strconv.Itoa(a.cmd.Process.Pid) {
			prerequisite.Missing(t, "another agent runs here: process %s", pid)
		}
	}
}

func needAll(t testing.TB, programs []string) {
	t.Helper()
	for _, p := range programs {
		need(t, p)
	}
}

func tail(s string) string {
	if len(s) > 1500 {
		return "…" + s[len(s)-1500:]
	}
	return s
}
