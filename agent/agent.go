package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/internal/cgroup"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/recorder"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/workload"
)

// Parts are what an agent is made of. The command chooses the plug-ins.
type Parts struct {
	Config     *Config
	Log        *slog.Logger
	Version    string
	Sources    []sensor.Source
	Detectors  []detect.Detector
	Identities []workload.Source
	Policies   []*policy.Policy // shipped and own event policies
	Exceptions *policy.Config   // nil for none

	// Detections receives each detection as one line of JSON; Events, if not nil, each
	// event. They may be the same writer.
	Detections, Events io.Writer
	// Syscalls is where the system calls of workloads come from; nil where no source samples them.
	Syscalls Syscalls
	// Show, if set, prints a detection for people, in place of JSON.
	Show func(io.Writer, *bollwerk.Detection)
	// Ready is called once everything watches.
	Ready func(Started)
}

// Syscalls hands out the system calls that were seen since the last time, as bits, for every
// cgroup or for one. It is not called back by what takes them.
type Syscalls interface {
	Collect(take func(cgroup uint64, calls []uint64))
	CollectOf(cgroup uint64, take func(cgroup uint64, calls []uint64))
}

// Started is what the agent says of itself when it is ready.
type Started struct {
	Took      time.Duration
	Areas     []Area
	Workloads int
	Rules     int
	Detectors int
	Causes    []string // why the agent as a whole is degraded
}

// Agent protects one node.
type Agent struct {
	p   Parts
	c   *Config
	log *slog.Logger

	sensor   *sensor.Sensor
	resolver *workload.Resolver
	layers   *workload.Layers
	ready    atomic.Bool // what runs already is watched
	// pulse is when the judgement last turned, as the time since began.
	pulse atomic.Int64
	// hierarchy finds the folder of a cgroup.
	hierarchy *cgroup.Hierarchy
	rules     *rules
	stream    *detect.Stream
	folder    *detect.Folder
	profiles  *learning
	recorder  *recorder.Recorder
	queue     *queue
	ledger    *ledger
	out       *output
	metrics   *meters
	guarding  *guarding
	peers     *peers
	capture   *capturing

	// Owned by the judging goroutine.
	held     map[uint64]*holding
	holding  int
	missedAt time.Time // of the last countMissed
	unkept   uint64    // events that the recorder could not keep, as far as they were told
	judged   uint64
	ending   map[spot]ending

	gone chan *bollwerk.Workload // containers whose cgroup was removed

	following *following
	unsaid    unsaid // losses that are in the ledger and not on record yet

	pid uint32 // our own: asking the kernel each time is a system call for each event

	mu        sync.Mutex
	workloads map[spot]*known
	began     time.Time
	trouble   map[string]string // standing reasons to be degraded, by part
}

// known is a workload the agent has seen alive.
type known struct {
	w       *bollwerk.Workload
	first   time.Time
	last    time.Time
	events  uint64
	guarded bool      // its policy was applied
	passed  bool      // the sources that look into containers were told of it
	watched bool      // and have looked
	ended   time.Time // its end was told; zero while it lives
	lifted  bool      // its cgroup is gone, and so is what was in force
	// fresh: the rules were not asked about its start, as it is known by now.
	fresh atomic.Bool
}

// Run protects until the context ends.
func Run(ctx context.Context, p Parts) error {
	defer debug.SetGCPercent(debug.SetGCPercent(startGarbage))
	a, err := open(ctx, p)
	if err != nil {
		return err
	}
	defer a.close()
	return a.run(ctx)
}

func open(ctx context.Context, p Parts) (_ *Agent, err error) {
	began := time.Now()
	if err := p.Config.Validate(); err != nil {
		return nil, err
	}
	if p.Log == nil {
		p.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{
		p: p, c: p.Config, log: p.Log, began: began, pid: uint32(os.Getpid()), held: map[uint64]*holding{}, ending: map[spot]ending{}, gone: make(chan *bollwerk.Workload, 256), workloads: map[spot]*known{}, trouble: map[string]string{}, following: newFollowing(),
		folder: detect.NewFolder(detect.FolderConfig{}),
	}
	a.ledger = newLedger(time.Now)
	a.queue = newQueue(8192, a.dropped)
	a.out = newOutput(p.Detections, p.Events, p.Show)
	a.metrics = newMeters(a)
	defer func() {
		if err != nil {
			a.close()
		}
	}()
	var ids []string
	for _, d := range p.Detectors {
		ids = append(ids, d.Info().ID)
	}
	// Compiling the rules and loading the kernel's programs take half a second each.
	compiled := make(chan error, 1)
	go func() {
		var err error
		a.rules, err = newRules(p.Policies, p.Exceptions, ids...)
		compiled <- err
	}()
	if a.stream, err = detect.NewStream(detect.Config{Modes: a.c.Detectors.Modes, Off: a.c.Detectors.Off}, p.Detectors...); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(a.c.State, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w; set state: in the configuration, or --state", err)
	}
	if a.profiles, err = openProfiles(a); err != nil {
		return nil, err
	}
	if !a.c.Recorder.Off {
		a.recorder, err = recorder.Open(recorder.Config{Dir: filepath.Join(a.c.State, "recorder"), Size: int64(a.c.Recorder.Size), Age: a.c.Recorder.Age, Log: a.log})
		if err != nil {
			// A node is better protected without a recorder than not at all.
			a.trouble["recorder"] = fmt.Sprintf("nothing is recorded: %v", err)
			a.log.Error("flight recorder", "error", err)
		}
	}
	if a.hierarchy, err = cgroup.Detect("", ""); err != nil {
		return nil, err
	}
	if a.resolver, err = workload.New(workload.Config{Node: a.c.Node, Hierarchy: a.hierarchy, Log: a.log, Changed: a.renamed, Ended: a.ends}, p.Identities...); err != nil {
		return nil, err
	}
	a.layers = workload.NewLayers(a.log, p.Identities...)
	var failed error
	a.sensor, failed = sensor.Open(ctx, sensor.Options{Log: a.log, Ring: int(a.c.Ring), NoBPF: a.c.Backend == "none"}, p.Sources...)
	if err := <-compiled; err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, fmt.Errorf("sensor: %w", failed)
	}
	a.sensor.Kernel().Processes.SetLayer(a.layers.Of)
	for _, problem := range a.rules.Problems {
		a.setTrouble("rule "+problem.String(), "a rule is not evaluated: "+problem.String())
	}
	a.guarding = newGuarding(a)
	a.peers = newPeers(a)
	a.capture = newCapturing(a)
	return a, nil
}

func (a *Agent) close() {
	var errs []error
	if a.sensor != nil {
		errs = append(errs, a.sensor.Close())
	}
	if a.profiles != nil {
		errs = append(errs, a.profiles.Close())
	}
	if a.recorder != nil {
		errs = append(errs, a.recorder.Close())
	}
	if err := errors.Join(errs...); err != nil {
		a.log.Error("closing", "error", err)
	}
}

func (a *Agent) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	start := func(name string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	judged := make(chan struct{})
	go func() { defer close(judged); a.judgeAll() }()
	start("workloads", func(ctx context.Context) error { return a.resolver.Run(ctx) })
	start("layers", a.layers.Run)
	start("sensor", func(ctx context.Context) error { return a.sensor.Run(ctx, a.receive) })
	start("memory", a.watchMemory)
	start("control", a.serveControl)
	start("captures", a.capture.run)
	start("guards", a.guarding.run)
	start("addresses", a.peers.run)
	start("addresses elsewhere", a.peers.watch)
	start("files of containers", a.follow)
	if a.c.Metrics != "" {
		start("metrics", a.serveMetrics)
	}
	a.begin(ctx)
	<-ctx.Done()
	wg.Wait()
	close(a.queue.ch)
	<-judged
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// begin takes in what already runs and says that the agent is ready.
func (a *Agent) begin(ctx context.Context) {
	found, trouble := a.resolver.Existing(ctx)
	a.setTrouble("existing workloads", trouble)
	// Before any list is in force: it may name one of them.
	var look errgroup.Group
	look.SetLimit(runtime.GOMAXPROCS(0))
	for _, w := range found {
		look.Go(func() error { a.peers.begin(w, time.Time{}); return nil })
	}
	_ = look.Wait()
	a.sensor.Together(func() {
		var meet errgroup.Group
		meet.SetLimit(runtime.GOMAXPROCS(0))
		for _, w := range found {
			meet.Go(func() error { a.meet(w, time.Now()); return nil })
		}
		_ = meet.Wait()
	})
	// Containers of runtimes that nobody here knows show by their processes only.
	for _, p := range a.sensor.Kernel().Processes.All() {
		if p.Contained {
			w, _ := a.resolver.Now(p.Cgroup, p.CgroupPath, p.PID)
			if c := a.contained(w, p); c != w {
				a.meet(c, time.Now())
			}
		}
	}
	// Ready means that their files are watched too; a file system that does not answer must
	// not keep the rest of the machine waiting for it.
	looking, enough := context.WithTimeout(ctx, lookTime)
	a.sensor.Followed(looking)
	if looking.Err() != nil && ctx.Err() == nil {
		a.log.Warn("the files of some containers are not watched yet", "after", lookTime)
	}
	enough()
	// What a former agent left in force held until here.
	if err := a.sensor.TakeOver(); err != nil {
		a.setTrouble("take over", fmt.Sprintf("what a former agent left in force could not be lifted: %v; run `bollwerk-agent release`", err))
	}
	a.ready.Store(true)
	if a.p.Ready != nil {
		_, causes := a.verdict()
		a.p.Ready(Started{
			Took: time.Since(a.began), Areas: Areas(a.sensor.Capabilities()), Workloads: a.living(), Rules: a.rules.len(), Detectors: len(a.p.Detectors), Causes: causes,
		})
	}
	giveBack()
}

// lookTime is how long the agent waits for the files of existing containers to be marked.
const lookTime = 3 * time.Second

// receive is called by the sensor, one event at a time; it must not wait.
func (a *Agent) receive(e *bollwerk.Event) { a.queue.put(e) }

// dropped counts an event that the queue gave up, for the workload whose it was.
func (a *Agent) dropped(e *bollwerk.Event) {
	loss, w, cgroup := bollwerk.Loss{From: e.Time, To: e.Time, Count: max(1, e.Count), Area: "queue", Kind: e.Kind}, e.Workload, uint64(0)
	switch {
	case e.Kind == bollwerk.EventLoss && e.Loss != nil:
		loss = *e.Loss // what it tells of is lost, and not one event more
		cgroup = loss.Cgroup
	case w != nil:
		cgroup = w.Cgroup
	case e.Process != nil:
		cgroup = e.Process.Cgroup
	}
	if w == nil && a.resolver != nil {
		w = a.resolver.Known(cgroup)
	}
	key := "" // nobody's in particular
	if w != nil {
		key = w.Key()
	}
	loss.Cgroup = cgroup
	a.ledger.add(key, loss)
	a.unsaid.add(loss)
}

// renamed is called when more became known about a workload already handed out. A container
// that was taken for one of an unknown runtime may turn out to be another one's.
func (a *Agent) renamed(before, after *bollwerk.Workload) {
	a.mu.Lock()
	again := a.rename(before, after)
	a.mu.Unlock()
	if before.Cgroup != after.Cgroup && before.Cgroup != 0 {
		_ = a.sensor.Remove(before.Cgroup) // nobody would lift it later
		a.sensor.Container(before, false)
	}
	a.peers.renamed(before, after)
	if again && !sameName(before, after) {
		// The configuration and the profile that hold go by its name.
		a.guarding.protect(after)
	}
}

// rename reports whether the guards that hold are to be computed anew. a.mu is held.
func (a *Agent) rename(before, after *bollwerk.Workload) bool {
	from, to := place(before), place(after)
	k := a.workloads[from]
	if k == nil {
		return false
	}
	if from != to {
		delete(a.workloads, from)
		a.guarding.moved(from, to, after)
		if o := a.workloads[to]; o != nil { // its events were faster
			o.fresh.Store(true)
			o.w = after
			return o.passed
		}
		a.workloads[to] = k
	}
	if sooner(before, after) {
		k.fresh.Store(true)
	}
	k.w = after
	return k.passed
}

// sooner reports whether a container's start was told before it was known how little it is
// contained: a rule about that shall be asked again.
func sooner(before, after *bollwerk.Workload) bool {
	x, y := before.Container, after.Container
	return x == nil || y == nil || x.Image != y.Image || x.Privileged != y.Privileged || x.HostPID != y.HostPID || len(x.Mounts) != len(y.Mounts)
}

// spot tells workloads apart on this node: replicas are different ones, and so is a
// container that was restarted: it has a new cgroup, and no guard yet.
type spot struct {
	id     string
	cgroup uint64
}

func place(w *bollwerk.Workload) spot {
	if w.Container != nil {
		return spot{w.Container.ID, w.Cgroup}
	}
	return spot{id: w.Key()}
}

// living is the number of workloads that did not end.
func (a *Agent) living() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, k := range a.workloads {
		if k.ended.IsZero() {
			n++
		}
	}
	return n
}

// mostWorkloads are remembered.
const mostWorkloads = 4096

// meet takes note of a workload. The first time it gets its guards. It returns what it is
// called by now, too.
func (a *Agent) meet(w *bollwerk.Workload, now time.Time) (*known, *bollwerk.Workload) {
	id := place(w)
	var forgotten *bollwerk.Workload
	a.mu.Lock()
	k := a.workloads[id]
	again := false
	var before *bollwerk.Workload
	if k == nil {
		if k = a.sameContainer(w); k != nil && unknownRuntime(w) {
			w = k.w // it got its name while this event was on its way
		} else if k != nil {
			before = k.w
			again = a.rename(k.w, w)
		}
	}
	if k == nil {
		if len(a.workloads) >= mostWorkloads {
			if o := a.forgetOldest(); o.guarded && !o.lifted {
				forgotten = o.w
			}
		}
		k = &known{w: w, first: now}
		a.workloads[id] = k
	}
	k.w, k.last = w, now
	k.events++
	guard := !k.guarded && w.Kind == bollwerk.WorkloadContainer
	if guard {
		k.guarded = true
	}
	a.mu.Unlock()
	if forgotten != nil {
		// Nobody would lift it later. If it lives, its next event gives it its guards again.
		a.guarding.lift(forgotten)
		a.layers.Forget(forgotten)
		a.sensor.Container(forgotten, false)
		a.peers.end(forgotten)
	}
	if before != nil {
		a.peers.renamed(before, w)
	}
	if again {
		a.guarding.protect(w)
	}
	if guard {
		a.guard(k, w)
		a.container(w, now, "start")
		k.fresh.Store(true)
	}
	return k, w
}

func unknownRuntime(w *bollwerk.Workload) bool {
	return w.Container != nil && w.Container.Runtime == bollwerk.UnknownRuntime
}

// sameContainer is the container that is known here under another name while nobody knew its
// runtime, or was: nil for none. a.mu is held.
func (a *Agent) sameContainer(w *bollwerk.Workload) *known {
	if w.Container == nil || w.Cgroup == 0 {
		return nil
	}
	for _, k := range a.workloads {
		if k.w.Container != nil && k.w.Cgroup == w.Cgroup && k.ended.IsZero() && unknownRuntime(k.w) != unknownRuntime(w) {
			return k
		}
	}
	return nil
}

// guard puts a container's policy in force and has the sources look into it.
func (a *Agent) guard(k *known, w *bollwerk.Workload) {
	a.peers.begin(w, k.first)
	for {
		a.guarding.protect(w)
		a.sensor.Container(a.resolver.Living(w), true)
		a.mu.Lock()
		k.passed = true
		now := k.w
		a.mu.Unlock()
		if sameName(now, w) {
			a.following.add(k)
			return
		}
		w = now // it got its name meanwhile, and renamed did not know that it is guarded
	}
}

// sameName reports whether the configuration and the profile that hold are the same ones.
func sameName(a, b *bollwerk.Workload) bool { return a.String() == b.String() && a.Key() == b.Key() }

func containerEvent(w *bollwerk.Workload, at time.Time, what string) *bollwerk.Event {
	return &bollwerk.Event{Time: at, Kind: bollwerk.EventContainer, Workload: w, Outcome: bollwerk.Seen, Source: "agent", Object: &bollwerk.Object{Name: what}}
}

// started asks the rules about the start of a container. It is for the goroutine that judges;
// containers are met by others, too.
func (a *Agent) started(k *known, w *bollwerk.Workload, at time.Time) {
	if w.Kind != bollwerk.WorkloadContainer || !k.fresh.Load() || !k.fresh.Swap(false) {
		return
	}
	a.ask(containerEvent(w, at, "start"))
}

func (a *Agent) ask(e *bollwerk.Event) {
	a.rules.match(e, func(d *bollwerk.Detection) { a.decide(d, e) })
}

// container tells of its start or stop as an event of its own.
func (a *Agent) container(w *bollwerk.Workload, at time.Time, what string) {
	e := containerEvent(w, at, what)
	a.out.event(e)
	a.metrics.event(e)
	a.record(e)
}

// forgetOldest makes room for one more: of those that ended, or else of all, the one that was
// not heard of for longest. What was in force for it is to be lifted. a.mu is held.
func (a *Agent) forgetOldest() *known {
	var oldest *known
	for _, k := range a.workloads {
		if oldest == nil || k.ended.IsZero() == oldest.ended.IsZero() && k.last.Before(oldest.last) || !k.ended.IsZero() && oldest.ended.IsZero() {
			oldest = k
		}
	}
	delete(a.workloads, place(oldest.w))
	return oldest
}

// stillTime is how long the judgement may stand still before the agent is called ill. It
// turns every five seconds when nothing happens.
const stillTime = time.Minute

// standsStill says so when the judgement does; "" otherwise.
func (a *Agent) standsStill() string {
	if d := time.Since(a.began) - time.Duration(a.pulse.Load()); d > stillTime {
		return fmt.Sprintf("the judgement stands still for %s: nothing is detected", d.Round(time.Second))
	}
	return ""
}

// verdict about the agent as a whole: pass, or degraded with every standing cause.
func (a *Agent) verdict() (bollwerk.Verdict, []string) {
	var causes []string
	if a.sensor != nil {
		for _, c := range Areas(a.sensor.Capabilities()) {
			if c.Verdict != bollwerk.Pass {
				causes = append(causes, fmt.Sprintf("%s: %s", c.Name, c.Cause))
			}
		}
	}
	if why := a.standsStill(); why != "" {
		causes = append(causes, why)
	}
	a.mu.Lock()
	for _, part := range slices.Sorted(maps.Keys(a.trouble)) {
		causes = append(causes, a.trouble[part])
	}
	a.mu.Unlock()
	if a.guarding != nil {
		causes = append(causes, a.guarding.refusals()...)
	}
	causes = append(causes, a.peers.troubles()...)
	if a.recorder != nil {
		if s := a.recorder.Status(); s.Trouble != "" {
			causes = append(causes, fmt.Sprintf("recorder: %s; %d records lost", s.Trouble, s.Lost))
		}
	}
	if a.resolver != nil {
		for _, s := range a.resolver.Sources() {
			if s.Verdict == bollwerk.Degraded {
				causes = append(causes, fmt.Sprintf("containers of %s are not all named: %s", s.Name, s.Cause))
			}
		}
	}
	for _, p := range a.stream.Problems() {
		causes = append(causes, fmt.Sprintf("detector %s fell over %d times: %s", p.Detector, p.Panics, p.Said))
	}
	causes = append(causes, a.ledger.causes("", a.ledger.now().Add(-ledgerWindow))...)
	if err := a.out.failed(); err != nil {
		causes = append(causes, fmt.Sprintf("output: not everything is printed: %v", err))
	}
	if a.queue.level() > 0 {
		causes = append(causes, "under load: "+Degradation[a.queue.level()-1].Name+" and what comes before in the order of degradation are given up")
	}
	if len(causes) > 0 {
		return bollwerk.Degraded, causes
	}
	return bollwerk.Pass, nil
}
