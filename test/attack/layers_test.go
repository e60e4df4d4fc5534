package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

// TestLayers: each start of a program from an image is told with the layer of the image that
// it comes from, also the first of a container, in the events, on record and to rules.
// Nothing else has a layer.
func TestLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts container engines")
	}
	archive, digests := workloadtest.LayeredImage(t)
	file := filepath.Join(t.TempDir(), "image.tar")
	must(t, os.WriteFile(file, archive, 0o644))
	docker := workloadtest.NewDockerOn(t, "overlay2")
	docker.Load(archive)
	podman := workloadtest.NewPodmanOn(t, "overlay")
	podman.Do("load", "--input", file)
	containerd := workloadtest.NewContainerd(t)
	space := fmt.Sprintf("bw-layers-%d", os.Getpid())
	workloadtest.Parent(t, space)
	containerd.Ctr(space, "images", "import", "--snapshotter", "overlayfs", file)

	host := t.TempDir()
	top := strings.Split(containerd.Root, "/")[1] // containerd names the folders of layers as the host does
	for at, to := range map[string]string{top: "/" + top, "var/lib/docker": docker.Data, "var/lib/containers/storage": podman.Storage, "run/containers/storage": podman.Run, "run/containerd": containerd.State} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(host, at)), 0o755))
		must(t, os.Symlink(to, filepath.Join(host, at)))
	}
	rule := filepath.Join(t.TempDir(), "own-layer")
	must(t, os.Mkdir(rule, 0o755))
	must(t, os.WriteFile(filepath.Join(rule, "policy.yaml"), []byte("id: own-layer\ntitle: t\ndescription: d\nwhy: w\nfix: f\nseverity: high\nmode: warn\nsubject: event\nmatch: >-\n  "+
		`event.kind == "exec" && event.process.layer == "`+string(digests[1])+"\"\nmessage: \"{{ event.process.path }} ran\"\nmappings: {MITRE ATT&CK: [T1204.003]}\n"), 0o644))
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte("host: "+host+"\nrules: ["+filepath.Dir(rule)+"]\n"), 0o644))
	a := startAgent(t, "--config", config, "--events")

	// What follows the first start waits until the layers of the container are known for sure.
	script := func(name string) []string {
		return []string{"/bin/busybox", "sh", "-c", "B=/bin/busybox; until [ -e /go ]; do $B usleep 20000; done; $B true low-" + name + "; /opt/high/busybox true high-" + name + "; /opt/over/busybox true over-" + name +
			"; $B chmod 555 /opt/copied/busybox; /opt/copied/busybox true copied-" + name + "; $B cp $B /tmp/busybox; /tmp/busybox true made-" + name + "; exec $B sleep 500 end-" + name}
	}
	for _, runtime := range []struct {
		name  string
		start func(args []string)
	}{
		{"docker", func(args []string) {
			docker.Start("layers-docker", map[string]any{"Image": workloadtest.LayeredName}, args...)
		}},
		{"podman", func(args []string) {
			podman.Start("layers-podman", append([]string{"localhost/" + workloadtest.LayeredName}, args...)...)
		}},
		{"containerd", func(args []string) {
			t.Cleanup(func() { containerd.Remove(space, "layers-containerd") })
			containerd.Ctr(space, append([]string{"run", "--detach", "--snapshotter", "overlayfs", "docker.io/library/" + workloadtest.LayeredName, "layers-containerd"}, args...)...)
		}},
	} {
		runtime.start(script(runtime.name))
		want := map[string]bollwerk.Digest{"first-": digests[0], "low-": digests[0], "high-": digests[1], "over-": digests[1], "copied-": "", "made-": "", "end-": digests[0]}
		of := func(e *bollwerk.Event) string {
			if e.Kind != bollwerk.EventExec || e.Process == nil || len(e.Process.Args) < 2 || !e.Process.Contained {
				return ""
			}
			last := e.Process.Args[len(e.Process.Args)-1]
			if e.Process.Args[1] == "sh" && strings.HasSuffix(last, "end-"+runtime.name) {
				return "first-"
			}
			if what, ok := strings.CutSuffix(last, runtime.name); ok && want[what] != "" || what == "copied-" || what == "made-" {
				return what
			}
			return ""
		}
		var waits *bollwerk.Process
		if !a.await(attackWait, func() bool {
			for _, e := range a.events {
				if e.Kind == bollwerk.EventExec && e.Workload != nil && e.Workload.Container != nil && e.Workload.Container.Name == "layers-"+runtime.name && len(e.Process.Args) > 1 && e.Process.Args[1] == "usleep" && e.Process.Layer != "" {
					waits = e.Process
				}
			}
			return waits != nil && waits.Parent != nil
		}) {
			t.Fatalf("%s: no start with a layer\n%s", runtime.name, a.log())
		}
		must(t, os.WriteFile(fmt.Sprintf("/proc/%d/root/go", waits.Parent.PID), nil, 0o644))
		seen := map[string]*bollwerk.Process{}
		var hits []*bollwerk.Detection
		if !a.await(attackWait, func() bool {
			for _, e := range a.events {
				if what := of(e); what != "" {
					seen[what] = e.Process
				}
			}
			hits = hits[:0]
			for _, d := range a.detections {
				if d.Rule == "own-layer" && d.Workload != nil && d.Workload.Container != nil && d.Workload.Container.Name == "layers-"+runtime.name {
					hits = append(hits, d)
				}
			}
			return len(seen) == len(want) && len(hits) > 0
		}) {
			t.Fatalf("%s: %d of %d starts, %d detections\n%s", runtime.name, len(seen), len(want), len(hits), a.log())
		}
		for what, layer := range want {
			// The product's promise to the first is to wait for 50 ms, and to say so if that was in vain.
			if p := seen[what]; p.Layer != layer && !(what == "first-" && p.Layer == "" && strings.Contains(a.log(), toldLate)) {
				t.Errorf("%s: %s of %s: layer %q, origin %s, want %q", runtime.name, what, p.Path, p.Layer, p.Origin, layer)
			}
		}
		if p := seen["low-"]; p.Parent == nil || p.Parent.Layer != digests[0] {
			t.Errorf("%s: the shell that started it has no layer", runtime.name)
		}
		if o := seen["copied-"].Origin; o != bollwerk.OriginModified {
			t.Errorf("%s: what was copied up is %s", runtime.name, o)
		}
		if hits[0].Process == nil || hits[0].Process.Layer != digests[1] {
			t.Errorf("%s: %+v", runtime.name, hits[0].Process)
		}
	}
	// What is on record is in the file after a second.
	awaitThat(t, "six starts of programs of the second layer can be recalled", func() bool {
		out, errs, code := a.verb(t, "recall", "--json", "--kind", "exec")
		if code != 0 && code != 5 {
			t.Fatalf("recall: exit code %d: %s", code, errs)
		}
		kept := 0
		for line := range strings.Lines(out) {
			var e bollwerk.Event
			if json.Unmarshal([]byte(line), &e) == nil && e.Process != nil && e.Process.Layer == digests[1] {
				kept++
			}
		}
		return kept == 6
	})
}
