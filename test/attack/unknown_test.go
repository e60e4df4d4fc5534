package attack

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
)

// TestUnknownRuntime attacks in a container that no runtime made: a cgroup, namespaces
// and a root of its own. It is guarded as any other, one that ran before the agent too.
func TestUnknownRuntime(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	need(t, "unshare")
	cs := newContainers(t, newNetwork(t))
	early := cs.homemade("early")
	a := startAgent(t)
	late := cs.homemade("late")
	for _, r := range []*container{early, late} {
		a.awaitProtected(t, r.id)
		r.open(t)
		var hit *bollwerk.Detection
		if !a.await(attackWait, func() bool {
			for _, d := range a.of(r.id) {
				if d.Rule == "drift-execution" && d.Outcome != bollwerk.Seen {
					hit = d
				}
			}
			return hit != nil
		}) {
			t.Fatalf("%s: what was made at run time was not stopped; told:\n%soutput:\n%s", r.id, describe(a.of(r.id)), r.output())
		}
		if hit.Workload.Container.Runtime != bollwerk.UnknownRuntime || hit.Workload.Key() != "container unknown/"+r.id {
			t.Errorf("%+v, key %s", hit.Workload.Container, hit.Workload.Key())
		}
		if strings.Contains(r.output(), "ran-created") {
			t.Errorf("said to be %s, but it ran:\n%s", hit.Outcome, r.output())
		}
	}
}

// homemade begins a container without a runtime. Its id is its cgroup.
func (c *containers) homemade(name string) *container {
	c.t.Helper()
	id := fmt.Sprintf("bollwerk-%s-%d", name, os.Getpid())
	h, err := cgroup.Detect("", "")
	must(c.t, err)
	var enter strings.Builder
	for _, tree := range []string{h.Legacy, h.Unified} {
		if tree == "" {
			continue
		}
		cgroup := filepath.Join(tree, id)
		must(c.t, os.Mkdir(cgroup, 0o755))
		c.t.Cleanup(func() {
			for deadline := time.Now().Add(20 * time.Second); os.Remove(cgroup) != nil && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			}
		})
		fmt.Fprintf(&enter, "echo $$ > %s/cgroup.procs; ", cgroup)
	}
	dir := filepath.Join(c.dir, id)
	root, upper, work := filepath.Join(dir, "root"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{root, upper, work} {
		must(c.t, os.MkdirAll(d, 0o755))
	}
	must(c.t, unix.Mount("overlay", root, "overlay", 0, "lowerdir=/,upperdir="+upper+",workdir="+work))
	c.t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	gate := filepath.Join(root, "run/gate")
	must(c.t, os.MkdirAll(filepath.Dir(gate), 0o755))
	must(c.t, unix.Mkfifo(gate, 0o600))
	must(c.t, os.WriteFile(filepath.Join(root, "run/main"), []byte("read go < /run/gate\ncp /bin/echo /run/created; /run/created ran-created"+hold+"\n"), 0o644))
	r := &container{id: id, gate: gate, done: make(chan struct{}), file: filepath.Join(dir, "out")}
	args := []string{"/bin/sh", "-ec", enter.String() + `exec "$@"`, "sh", "unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--root=" + root, "/bin/sh", "/run/main"}
	go func() {
		defer close(r.done)
		_ = c.launch(launchRequest{Args: args, Out: r.file}) // its last program was killed
	}()
	return r
}
