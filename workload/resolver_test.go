package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/cgroup"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// fake is a source made by hand.
type fake struct {
	name   string
	part   Part
	local  func(Ref) (Found, error)
	lookup func(context.Context, Ref) (Found, error)
	list   func() []Found
	told   chan Found

	mu    sync.Mutex
	asked []Ref
}

func (f *fake) Name() string { return f.name }
func (f *fake) Part() Part   { return f.part }
func (f *fake) Local(r Ref) (Found, error) {
	if f.local == nil {
		return Found{}, ErrUnknown
	}
	return f.local(r)
}
func (f *fake) Lookup(ctx context.Context, r Ref) (Found, error) {
	f.mu.Lock()
	f.asked = append(f.asked, r)
	f.mu.Unlock()
	if f.lookup == nil {
		return Found{}, ErrUnknown
	}
	return f.lookup(ctx, r)
}
func (f *fake) List(context.Context) ([]Found, error) {
	if f.list == nil {
		return nil, ErrAbsent
	}
	return f.list(), nil
}
func (f *fake) Watch(ctx context.Context, fn func(Found)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case g := <-f.told:
			fn(g)
		}
	}
}
func (f *fake) questions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func hang(ctx context.Context, _ Ref) (Found, error) {
	<-ctx.Done()
	return Found{}, ctx.Err()
}

// has answers for one id.
func has(id string, f Found) func(Ref) (Found, error) {
	f.Container.ID = id
	return func(r Ref) (Found, error) {
		if r.ID != id {
			return Found{}, ErrUnknown
		}
		return f, nil
	}
}

func run(t *testing.T, c Config, sources ...Source) *Resolver {
	t.Helper()
	c.Hierarchy = host(t)
	r, err := New(c, sources...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not after half a minute: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func scope(id string) string { return "/system.slice/docker-" + id + ".scope" }

func TestHangingRuntime(t *testing.T) {
	d := &fake{name: "docker", lookup: hang}
	r := run(t, Config{Timeout: 300 * time.Millisecond}, d)
	ctx := context.Background()
	began := time.Now()
	w := r.Resolve(ctx, 1<<40, scope(hexA), 0)
	first := time.Since(began)
	if w.Container == nil || w.Container.ID != hexA || w.Container.Runtime != "docker" || !strings.Contains(w.Unresolved, "no container runtime on this machine names it yet") {
		t.Fatalf("%+v %+v", w, w.Container)
	}
	if first < MaxWait {
		t.Errorf("waited %s only", first)
	}
	// What is known to be slow is not waited for again: two hundred containers do not
	// hold the events for ten seconds.
	before := r.Stats()
	for i := range 200 {
		r.Resolve(ctx, uint64(1<<40+1+i), scope(fmt.Sprintf("%064x", i+1)), 0)
	}
	// On a busy machine the waiting is ended for the first one before its own time is up.
	if s := r.Stats(); s.Expired != before.Expired || s.Expired > 1 || s.Waited != before.Waited {
		t.Errorf("%d more events waited, %d of all in vain", s.Waited-before.Waited, s.Expired)
	}
	says := func() bool {
		w := r.Resolve(ctx, 1<<40, scope(hexA), 0)
		return strings.Contains(w.Unresolved, "docker: does not answer within 300ms")
	}
	eventually(t, "it is said who does not answer", says)
	// It stays said when the container is found to have ended, as this one never was.
	r.Sweep()
	eventually(t, "its end is known", func() bool {
		w := r.Resolve(ctx, 1<<40, scope(hexA), 0)
		return strings.HasPrefix(w.Unresolved, "the container was gone before") && says()
	})
	if s := r.Sources()[0]; s.Verdict != bollwerk.Degraded || s.TimedOut == 0 || s.Cause == "" {
		t.Errorf("%+v", s)
	}
	// A source that hangs is not asked hundreds of times.
	if n := d.questions(); n > 2*queueWorkers {
		t.Errorf("%d questions to a source that hangs", n)
	}
}

func TestCompletedLater(t *testing.T) {
	release := make(chan struct{})
	disk := Found{Container: bollwerk.Container{Name: "web", Runtime: "containerd"}, More: "image digest"}
	full := Found{Container: bollwerk.Container{ID: hexA, Name: "web", Runtime: "containerd", Image: "nginx", Digest: "sha256:ab"}}
	s := &fake{name: "containerd", local: has(hexA, disk), lookup: func(ctx context.Context, _ Ref) (Found, error) {
		select {
		case <-release:
			return full, nil
		case <-ctx.Done():
			return Found{}, ctx.Err()
		}
	}}
	type change struct{ before, after *bollwerk.Workload }
	changes := make(chan change, 10)
	r := run(t, Config{Changed: func(a, b *bollwerk.Workload) { changes <- change{a, b} }, Timeout: 20 * time.Second}, s)
	w := r.Resolve(context.Background(), 1<<40, scope(hexA), 0)
	if w.Container.Name != "web" || w.Unresolved != "image digest not known yet" {
		t.Fatalf("%+v %+v", w, w.Container)
	}
	close(release)
	for c := range changes {
		if c.after.Container.Digest == "sha256:ab" {
			if c.after.Unresolved != "" || c.before.Container.Digest != "" {
				t.Errorf("%+v after %+v", c.after, c.before)
			}
			break
		}
	}
	if got := r.Resolve(context.Background(), 1<<40, scope(hexA), 0); got.Container.Digest != "sha256:ab" || got.Unresolved != "" {
		t.Errorf("%+v", got)
	}
	if w.Container.Digest != "" {
		t.Error("a value already handed out was changed")
	}
}

func TestSourcesJoin(t *testing.T) {
	docker := &fake{name: "docker", local: has(hexA, Found{Container: bollwerk.Container{Name: "web", Image: "nginx", Runtime: "docker"}})}
	below := &fake{name: "containerd", local: has(hexA, Found{Container: bollwerk.Container{Name: "other", Runtime: "containerd", PID: 7, Mounts: []bollwerk.Mount{{Target: "/m"}}}, More: "name"})}
	kube := &fake{name: "kubernetes", part: PartPod, lookup: func(_ context.Context, r Ref) (Found, error) {
		return Found{Container: bollwerk.Container{ID: r.ID}, Pod: &bollwerk.Pod{UID: r.PodUID, Namespace: "shop", OwnerKind: "Deployment", OwnerName: "cart"}}, nil
	}}
	r := run(t, Config{}, docker, below, kube)
	path := "/kubepods/pod" + uidA + "/" + hexA
	r.Resolve(context.Background(), 1<<40, path, 0)
	var w *bollwerk.Workload
	eventually(t, "it is complete", func() bool { w, _ = r.Now(1<<40, path, 0); return w.Unresolved == "" })
	if w.Container.Name != "web" || w.Container.PID != 7 || len(w.Container.Mounts) != 1 || w.Container.Runtime != "docker" || w.Pod.OwnerName != "cart" || w.Pod.UID != uidA {
		t.Errorf("%+v %+v %+v", w, w.Container, w.Pod)
	}
	if below.questions() != 0 {
		t.Error("containerd was asked for what Docker had said")
	}
}

// Who may make cgroups inside of a container must not become another container.
func TestForgedNames(t *testing.T) {
	victim := Found{Container: bollwerk.Container{Name: "victim", Runtime: "docker"}, CgroupPath: scope(hexB)}
	attacker := Found{Container: bollwerk.Container{Name: "attacker", Runtime: "docker"}, CgroupPath: scope(hexA)}
	s := &fake{name: "docker", local: func(r Ref) (Found, error) {
		switch r.ID {
		case hexA:
			return has(hexA, attacker)(r)
		case hexB:
			return has(hexB, victim)(r)
		}
		return Found{}, ErrUnknown
	}}
	r := run(t, Config{}, s)
	ctx := context.Background()
	id := uint64(1 << 40)
	for _, c := range []struct{ path, want string }{
		{scope(hexB), "victim"},
		{scope(hexA), "attacker"},
		{scope(hexA) + "/docker-" + hexB + ".scope", "attacker"},
		{scope(hexA) + "/system.slice/docker-" + hexB + ".scope", "attacker"},
		{scope(hexA) + "/docker/" + hexB, "attacker"},
		// A user's manager and a service with a subtree of its own are no better.
		{"/user.slice/user-1000.slice/user@1000.service/docker-" + hexB + ".scope", "user@1000.service"},
		{"/system.slice/runner.service/docker/" + hexB, "runner.service"},
		{"/system.slice/runner.service/lxc.payload.x", "runner.service"},
	} {
		id++
		w := r.Resolve(ctx, id, c.path, 0)
		got := w.Unit
		if w.Container != nil {
			got = w.Container.Name
		}
		if got != c.want {
			t.Errorf("%s is %s, want %s", c.path, got, c.want)
		}
	}
	if n := r.Stats().Forged; n != 5 {
		t.Errorf("%d forged names, want 5", n)
	}
	// The same place with the runtime's own word is right.
	nested := scope(hexA) + "/docker/" + strings.Repeat("c", 64)
	s2 := &fake{name: "docker", local: func(r Ref) (Found, error) {
		if r.ID == strings.Repeat("c", 64) {
			return has(r.ID, Found{Container: bollwerk.Container{Name: "inner"}, CgroupPath: nested})(r)
		}
		return s.local(r)
	}}
	r = run(t, Config{}, s2)
	if w := r.Resolve(ctx, 1<<40, nested+"/deeper", 0); w.Container == nil || w.Container.Name != "inner" {
		t.Errorf("%+v", w.Container)
	}
}

func TestReuse(t *testing.T) {
	s := &fake{name: "docker", local: func(r Ref) (Found, error) {
		return has(r.ID, Found{Container: bollwerk.Container{Name: r.ID[:4]}})(r)
	}}
	r := run(t, Config{}, s)
	ctx := context.Background()
	if w := r.Resolve(ctx, 1<<40, scope(hexA), 0); w.Container.Name != hexA[:4] {
		t.Fatalf("%+v", w.Container)
	}
	if w := r.Resolve(ctx, 1<<40, scope(hexB), 0); w.Container.Name != hexB[:4] {
		t.Errorf("the number of a cgroup that ended names the old container: %+v", w.Container)
	}
	if n := r.Stats().Reused; n != 1 {
		t.Errorf("%d reused", n)
	}
}

// A real cgroup: children, its end, the grace, and a second one of the same path.
func TestLife(t *testing.T) {
	h := host(t)
	tree := h.Trees()[0]
	base := filepath.Join(tree, "docker")
	made := os.Mkdir(base, 0o755) == nil
	dir := filepath.Join(base, hexA)
	if err := os.MkdirAll(filepath.Join(dir, "child"), 0o755); err != nil {
		prerequisite.Missing(t, "the cgroup tree is not writable: %v", err)
	}
	t.Cleanup(func() {
		os.Remove(filepath.Join(dir, "child"))
		os.Remove(dir)
		if made {
			os.Remove(base)
		}
	})
	var mu sync.Mutex
	now := time.Now()
	reads := 0
	s := &fake{name: "docker", local: func(r Ref) (Found, error) {
		reads++
		return has(hexA, Found{Container: bollwerk.Container{Name: "web"}})(r)
	}}
	r := run(t, Config{Grace: time.Hour, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }}, s)
	ctx := context.Background()
	path := "/docker/" + hexA
	id, err := h.ID(path)
	if err != nil {
		t.Fatal(err)
	}
	sub, _ := h.ID(path + "/child")
	w := r.Resolve(ctx, sub, "", 0)
	if w.Container == nil || w.Cgroup != id {
		t.Fatalf("%+v, want cgroup %d", w, id)
	}
	if got := r.Resolve(ctx, id, path, 0); got != w || reads != 1 {
		t.Errorf("%+v after %d looks at the disk", got, reads)
	}
	r.Sweep()
	if s := r.Stats(); s.Workloads != 1 || s.Cgroups != 2 {
		t.Fatalf("%+v", s)
	}
	os.Remove(filepath.Join(dir, "child"))
	os.Remove(dir)
	r.Sweep()
	if got := r.Resolve(ctx, id, path, 0); got != w {
		t.Error("a late event lost its workload")
	}
	if n := len(r.Workloads()); n != 0 {
		t.Errorf("%d workloads run", n)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	second, _ := h.ID(path)
	if second == id {
		return // the kernel gave the same number again
	}
	if got := r.Resolve(ctx, second, path, 0); got == w || got.Cgroup != second {
		t.Error("a restarted container has the value of its former life")
	}
	mu.Lock()
	now = now.Add(2 * time.Hour)
	mu.Unlock()
	r.Sweep()
	if s := r.Stats(); s.Workloads != 1 {
		t.Errorf("what ended two hours ago is remembered: %+v", s)
	}
	os.Remove(dir)
}

func TestBounded(t *testing.T) {
	s := &fake{name: "docker", local: func(r Ref) (Found, error) {
		return has(r.ID, Found{Container: bollwerk.Container{Name: "x"}})(r)
	}}
	r := run(t, Config{Capacity: 64}, s)
	for i := range 1000 {
		r.Announce(uint64(1<<40+i), scope(fmt.Sprintf("%064x", i)), 0)
	}
	st := r.Stats()
	if st.Cgroups > 64 || st.Containers > 64 || st.Workloads > 64+1 || st.Evicted == 0 {
		t.Errorf("%+v", st)
	}
	if w := r.Resolve(context.Background(), 1<<40, scope(fmt.Sprintf("%064x", 0)), 0); w.Container == nil || w.Container.Name != "x" {
		t.Errorf("what was forgotten is not found again: %+v", w)
	}
}

func TestVanished(t *testing.T) {
	d := &fake{name: "docker"}
	r := run(t, Config{}, d)
	// Its cgroup does not exist and nobody knows it.
	r.Announce(1<<40, scope(hexA), 0)
	eventually(t, "it is given up", func() bool { return r.Stats().Vanished == 1 })
	w := r.Resolve(context.Background(), 1<<40, scope(hexA), 0)
	if w.Container.ID != hexA || w.Unresolved != "the container was gone before its runtime could be asked" {
		t.Errorf("%+v", w)
	}
	w = r.Resolve(context.Background(), 1<<50, "", 0)
	if w.Unresolved == "" || r.Stats().Vanished != 2 {
		t.Errorf("%+v %+v", w, r.Stats())
	}
}

// A path whose beginning was cut off could be anybody's.
func TestCutPath(t *testing.T) {
	s := &fake{name: "docker", local: has(hexB, Found{Container: bollwerk.Container{Name: "victim"}, CgroupPath: "/docker/" + hexB})}
	r := run(t, Config{}, s)
	w := r.Resolve(context.Background(), 1<<40, "…/docker/"+hexB, 0)
	if w.Container != nil || w.Unresolved == "" {
		t.Errorf("%+v", w)
	}
	// The process that is still there tells the whole path.
	if w := r.Resolve(context.Background(), 1<<41, "…/docker/"+hexB, uint32(os.Getpid())); w.Container != nil || w.Unresolved != "" {
		t.Errorf("%+v", w)
	}
}

// Inside of a container that is a node (kind), the kernel's paths begin above what the
// runtimes of the node know.
func TestNested(t *testing.T) {
	h := host(t)
	tree := h.Trees()[0]
	base, err := os.MkdirTemp(tree, "bollwerk-node-")
	if err != nil {
		prerequisite.Missing(t, "the cgroup tree is not writable: %v", err)
	}
	dirs := []string{base, base + "/kubepods", base + "/kubepods/pod" + uidA, base + "/kubepods/pod" + uidA + "/" + hexA}
	for _, d := range dirs[1:] {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for i := len(dirs) - 1; i >= 0; i-- {
			os.Remove(dirs[i])
		}
	})
	id, err := h.ID(strings.TrimPrefix(dirs[3], tree))
	if err != nil {
		t.Fatal(err)
	}
	node := &cgroup.Hierarchy{Version: "v2", Unified: base, Proc: "/proc"}
	s := &fake{name: "containerd", local: has(hexA, Found{Container: bollwerk.Container{Name: "app"}})}
	r, err := New(Config{Hierarchy: node}, s)
	if err != nil {
		t.Fatal(err)
	}
	outer := "/docker/" + hexB + strings.TrimPrefix(dirs[3], base)
	w := r.Resolve(context.Background(), id, outer, 0)
	if w.Container == nil || w.Container.ID != hexA || w.Cgroup != id || w.Unresolved != "" {
		t.Errorf("%+v %+v", w, w.Container)
	}
	r.Sweep()
	if n := len(r.Workloads()); n != 1 {
		t.Errorf("%d workloads run", n)
	}
}

// A sensor that does not know the cgroup gives 0, which is not one cgroup.
func TestNoCgroup(t *testing.T) {
	r := run(t, Config{})
	if w := r.Resolve(context.Background(), 0, "", 0); w.Unresolved == "" {
		t.Errorf("%+v", w)
	}
	if w := r.Resolve(context.Background(), 0, "", uint32(os.Getpid())); w.Unresolved != "" {
		t.Errorf("%+v", w)
	}
	if n := r.Stats().Cgroups; n > 1 {
		t.Errorf("%d cgroups", n)
	}
}

// What is learned after a process was taken for the host's corrects that.
func TestReconsider(t *testing.T) {
	s := &fake{name: "runc", told: make(chan Found)}
	r := run(t, Config{}, s)
	ctx := context.Background()
	if w := r.Resolve(ctx, 1<<40, "/plain/web/x", 0); w.Kind != bollwerk.WorkloadHost {
		t.Fatalf("%+v", w)
	}
	s.told <- Found{Container: bollwerk.Container{ID: "web", Name: "web"}, CgroupPath: "/plain/web"}
	eventually(t, "it is a container's", func() bool {
		w := r.Resolve(ctx, 1<<40, "/plain/web/x", 0)
		return w.Container != nil && w.Container.ID == "web"
	})
}

func TestFailingSource(t *testing.T) {
	s := &fake{name: "docker", lookup: func(context.Context, Ref) (Found, error) { return Found{}, errors.New("the socket is on fire") }}
	r := run(t, Config{}, s)
	r.Resolve(context.Background(), 1<<40, scope(hexA), 0)
	eventually(t, "the reason is said", func() bool {
		w, _ := r.Now(1<<40, scope(hexA), 0)
		return strings.Contains(w.Unresolved, "docker: the socket is on fire") || w.Unresolved == "the container was gone before its runtime could be asked"
	})
	if s := r.Sources()[0]; s.Verdict != bollwerk.Degraded || s.Cause != "the socket is on fire" {
		t.Errorf("%+v", s)
	}
}

func TestExisting(t *testing.T) {
	h := host(t)
	tree := h.Trees()[0]
	base, err := os.MkdirTemp(tree, "bollwerk-existing-")
	if err != nil {
		prerequisite.Missing(t, "the cgroup tree is not writable: %v", err)
	}
	const n = 200
	var list []Found
	var dirs []string
	for i := range n {
		id := fmt.Sprintf("%064x", i+1<<20)
		d := filepath.Join(base, id)
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, d)
		list = append(list, Found{Container: bollwerk.Container{ID: id, Name: fmt.Sprint("c", i)}, CgroupPath: strings.TrimPrefix(d, tree)})
	}
	t.Cleanup(func() {
		for _, d := range dirs {
			os.Remove(d)
		}
		os.Remove(base)
	})
	s := &fake{name: "docker", list: func() []Found { return list }}
	hung := &fake{name: "podman", list: func() []Found { return nil }}
	r := run(t, Config{}, s, hung)
	all, gap := r.Existing(context.Background())
	found := 0
	for _, w := range all {
		if w.Container != nil && strings.HasPrefix(w.Container.Name, "c") && w.Cgroup != 0 && w.Unresolved == "" {
			found++
		}
	}
	if found != n || gap != "" || all[0].Kind != bollwerk.WorkloadHost {
		t.Errorf("%d of %d containers (%s)", found, n, gap)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.asked { // others may run on this machine
		if slices.ContainsFunc(list, func(f Found) bool { return f.Container.ID == q.ID }) {
			t.Errorf("a question about %s, which was listed", q.ID)
		}
	}
}

// TestExistingTwice: a container that has another path in the other tree of a hybrid host is
// one container, known by the number in the tree that the sensor tells.
func TestExistingTwice(t *testing.T) {
	dir := t.TempDir()
	h := &cgroup.Hierarchy{Version: "hybrid", Legacy: filepath.Join(dir, "memory"), LegacyName: "memory", Unified: filepath.Join(dir, "unified"), Proc: "/proc"}
	for _, d := range []string{"memory/outer/" + hexA, "unified/" + hexA, "unified/" + hexB, "memory/system.slice/a.service", "memory/system.slice/b.service"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	id, err := h.ID("/outer/" + hexA)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{Hierarchy: h}, &fake{name: "runc", local: has(hexA, Found{Container: bollwerk.Container{Name: "web"}})})
	if err != nil {
		t.Fatal(err)
	}
	all, gap := r.Existing(context.Background())
	for name, list := range map[string][]*bollwerk.Workload{"existing": all[1:], "remembered": r.Workloads()} {
		containers, units := map[string]uint64{}, 0
		for _, w := range list {
			if w.Container != nil {
				containers[w.Container.ID] = w.Cgroup
			} else {
				units++
			}
		}
		if len(list) != 4 || len(containers) != 2 || containers[hexA] != id || units != 2 || gap != "" {
			t.Errorf("%s: %v, %d units of 2, %q", name, containers, units, gap)
		}
	}
}

// What a flood of events costs: nothing is allocated for a cgroup that is known.
func TestKnownCostsNothing(t *testing.T) {
	s := &fake{name: "docker", local: has(hexA, Found{Container: bollwerk.Container{Name: "web"}})}
	r := run(t, Config{}, s)
	path := scope(hexA)
	ctx := context.Background()
	r.Resolve(ctx, 1<<40, path, 0)
	if n := testing.AllocsPerRun(100, func() { r.Resolve(ctx, 1<<40, path, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkResolveKnown(b *testing.B) {
	h, err := cgroup.Detect("", "")
	if err != nil {
		b.Skip(err)
	}
	r, err := New(Config{Hierarchy: h})
	if err != nil {
		b.Fatal(err)
	}
	path := "/system.slice/nginx.service"
	for i := range 1000 {
		r.Announce(uint64(1<<40+i), fmt.Sprintf("/system.slice/u%d.service", i), 0)
	}
	r.Announce(1<<30, path, 0)
	b.ReportAllocs()
	for b.Loop() {
		r.Resolve(context.Background(), 1<<30, path, 0)
	}
}
