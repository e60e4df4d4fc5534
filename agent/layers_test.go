package agent

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// silent is a source that never says of which layers a container is made.
type silent struct{ workload.Source }

func (silent) Name() string { return "silent" }

func (silent) Layers(ctx context.Context, _ workload.Ref, _ bollwerk.Digest) (workload.Root, error) {
	<-ctx.Done()
	return workload.Root{}, ctx.Err()
}

// TestLayerWaits: the first start in a container waits for its layer, and what happens there
// meanwhile waits behind it; both are told in their order when nobody answers.
func TestLayerWaits(t *testing.T) {
	asked := make(chan struct{})
	a, lines := judgingWith(t, func(a *Agent) {
		a.layers = workload.NewLayers(nil, silent{})
		ctx, cancel := context.WithCancel(context.Background())
		go func() { defer close(asked); _ = a.layers.Run(ctx) }()
		t.Cleanup(func() { cancel(); <-asked })
	})
	path, id, _ := containerGroup(t, a.hierarchy, 41)
	pid, _ := inside(t, a.hierarchy, path)
	a.resolver.Announce(id, path, pid)
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: id, Container: &bollwerk.Container{ID: path[1:], PID: pid}}
	p := &bollwerk.Process{PID: pid, Cgroup: id, CgroupPath: path, Contained: true, Path: "/bin/x", Inode: 7, Device: 9, Origin: bollwerk.OriginImage}
	if a.awaitsLayer(w, &bollwerk.Event{Kind: bollwerk.EventConnect, Process: p}) {
		t.Error("a connection waits for a layer")
	}
	began := time.Now()
	for _, kind := range []bollwerk.EventKind{bollwerk.EventExec, bollwerk.EventConnect} {
		a.queue.put(&bollwerk.Event{Time: began, Kind: kind, Outcome: bollwerk.Seen, Process: p})
	}
	var told []bollwerk.EventKind
	limit := time.After(30 * time.Second)
	for len(told) < 2 {
		select {
		case line := <-lines:
			var e bollwerk.Event
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			if e.Kind != bollwerk.EventContainer {
				told = append(told, e.Kind)
			}
			if e.Process != nil && e.Process.Layer != "" {
				t.Errorf("layer %s", e.Process.Layer)
			}
		case <-limit:
			t.Fatalf("only %v was told", told)
		}
	}
	if told[0] != bollwerk.EventExec || told[1] != bollwerk.EventConnect {
		t.Errorf("told in this order: %v", told)
	}
	if d := time.Since(began); d < workload.MaxWait {
		t.Errorf("the start waited for %s", d)
	}
}
