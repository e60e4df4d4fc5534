package agent

import (
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
	"github.com/bollwerk/bollwerk/profile"
	"github.com/bollwerk/bollwerk/sensor"
)

// inForce are the guards of a workload and when the kernel had them.
type inForce struct {
	guardSet
	since time.Time
	// only is what the profile says and nothing here holds the workload to; restrict mode.
	only []string
	// peers are the workloads that its lists name: their addresses may change.
	peers []string
}

// guardOf names the guard behind a rule. What the kernel decides alone is not decided
// again up here: it knows exceptions (a compiler of the image started the program) that
// an event does not tell.
var guardOf = map[string]struct {
	guard sensor.Guard
	alone bool
}{
	"fileless-execution":            {sensor.GuardFileless, true},
	"drift-execution":               {sensor.GuardDrift, true},
	"modified-program":              {sensor.GuardDrift, true},
	"kernel-setting-from-container": {sensor.GuardSetting, true},
	"kernel-module-from-container":  {sensor.GuardModule, true},
	"reverse-shell":                 {sensor.GuardReverseShell, false},
	"miner":                         {sensor.GuardMiner, false},
}

// guarding puts policies in force for workloads and stops processes. It alone acts.
type guarding struct {
	a    *Agent
	mu   sync.Mutex
	sets map[spot]inForce
	// released: the operator took everything back; nothing is denied or killed any more.
	released bool
	means    map[string]sensor.Means // by the word of the guard: the most this host can do
	ended    map[identity]bool       // by stop; only the judgement uses it

	acting  sync.Mutex      // held while policies are put in force or lifted
	refused map[spot]*retry // to be tried again
	again   chan struct{}   // there is one more
	pause   time.Duration   // before the first time
}

func newGuarding(a *Agent) *guarding {
	g := &guarding{a: a, sets: map[spot]inForce{}, means: map[string]sensor.Means{}, refused: map[spot]*retry{}, again: make(chan struct{}, 1), pause: firstRetry}
	for _, m := range a.sensor.Means() {
		g.means[m.Guard.String()] = m
	}
	return g
}

// protect computes and applies the policy of one container: the defaults, less what its
// profile shows it needs, changed by the configuration, tightened by restrict mode. What
// cannot be put in force is tried again later.
func (g *guarding) protect(w *bollwerk.Workload) {
	// One at a time: a policy that was computed earlier must not come after a later one, nor
	// any after enforcement was released.
	g.acting.Lock()
	defer g.acting.Unlock()
	if g.a.alive(w) == nil {
		return // what was in force is lifted, and nobody would lift it again
	}
	set, only, names, err := g.apply(g.a.resolver.Living(w))
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.released {
		return
	}
	if set != nil {
		g.sets[place(w)] = inForce{*set, time.Now(), only, names}
		g.a.log.Debug("guarded", "workload", w.String(), "enforced", set.enforce.String(), "reported", set.report.String())
	}
	g.noteRefusal(w, err, time.Now())
}

// apply puts a policy in force. What is in force then is nil when the workload gets none, and
// the error says what should be and is not.
func (g *guarding) apply(w *bollwerk.Workload) (_ *guardSet, only, names []string, _ error) {
	p, set, held, err := g.policyFor(w, true)
	if p == nil {
		return nil, nil, nil, err
	}
	if held != nil {
		only, names = held.only, held.peerNames()
	}
	err = g.a.sensor.Apply(p)
	if err == nil {
		return &set, only, names, nil
	}
	if only != nil {
		// A profile that cannot be put in force must not cost the workload the rest.
		why := err
		if p, set, _, err = g.policyFor(w, false); p == nil {
			return nil, nil, nil, err
		}
		if err = g.a.sensor.Apply(p); err == nil {
			return &set, []string{"everything: its profile could not be put in force: " + why.Error()}, names, fmt.Errorf("its profile is not in force: %w", why)
		}
	}
	return &guardSet{}, nil, names, err
}

func (g *guarding) policyFor(w *bollwerk.Workload, restrict bool) (p *sensor.Policy, set guardSet, held *holds, _ error) {
	if g.isReleased() || w.Kind != bollwerk.WorkloadContainer || w.Container == nil || w.Cgroup == 0 {
		return nil, guardSet{}, nil, nil
	}
	set = guardSet{enforce: DefaultGuards}
	// What a workload is known to do would hurt it to forbid.
	for _, known := range []struct {
		guard      sensor.Guard
		behaviours []string
	}{
		{sensor.GuardFileless, []string{profile.RunsMemory}},
		{sensor.GuardDrift, []string{profile.RunsCreated, profile.RunsModified}},
		{sensor.GuardModule, []string{profile.LoadsModules}},
		{sensor.GuardSetting, []string{profile.SetsKernel}},
	} {
		for _, b := range known.behaviours {
			if g.a.profiles.did(w, b) {
				set.enforce &^= known.guard
				set.report |= known.guard
			}
		}
	}
	dir, err := g.a.hierarchy.PathOf(w.Cgroup)
	if err != nil {
		return nil, guardSet{}, nil, fmt.Errorf("%w: %w", errNoCgroup, err) // it has ended, most often
	}
	p = &sensor.Policy{Cgroup: w.Cgroup, CgroupPath: dir, PID: w.Container.PID, Builders: append([]string(nil), builders...)}
	if restrict {
		held = g.a.profiles.restrict(w, p, &set)
	}
	if c := g.a.c.workload(w.String(), w.Key()); c != nil {
		// Validated when the configuration was read.
		asked := set.enforce
		set, _ = c.guards(set.enforce, set.report)
		if lost := asked &^ set.enforce; held != nil && lost != 0 {
			held.only = append(held.only, lost.String()+": switched off by the configuration")
		}
		p.Outlive = c.Fail == "closed"
		p.Builders = append(p.Builders, c.Builders...)
	}
	p.Enforce, p.Report = set.enforce, set.report
	p.Failed = func(err error) { g.failed(w, err) }
	return p, set, held, nil
}

// naming are the workloads whose lists name another one of these.
func (g *guarding) naming(one func(name string) bool) (of []*bollwerk.Workload) {
	// Whoever computes one now may have asked for the addresses before, and has not said so yet.
	g.acting.Lock()
	defer g.acting.Unlock()
	g.a.mu.Lock()
	defer g.a.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, s := range g.sets {
		if k := g.a.workloads[id]; k != nil && slices.ContainsFunc(s.peers, one) {
			of = append(of, k.w)
		}
	}
	return of
}

// renew computes the policies of all workloads with a key anew, after their profile changed.
func (g *guarding) renew(key string) {
	var of []*bollwerk.Workload
	g.a.mu.Lock()
	for _, k := range g.a.workloads {
		if profile.Key(k.w) == key && k.guarded {
			of = append(of, k.w)
		}
	}
	g.a.mu.Unlock()
	for _, w := range of {
		g.protect(w)
	}
}

// lift removes the policy of a workload that ended.
func (g *guarding) lift(w *bollwerk.Workload) {
	g.acting.Lock()
	defer g.acting.Unlock()
	g.mu.Lock()
	delete(g.sets, place(w))
	delete(g.refused, place(w))
	g.mu.Unlock()
	if w.Cgroup != 0 {
		_ = g.a.sensor.Remove(w.Cgroup) // it may be gone already
	}
}

// moved says that a workload is known by another name from now on.
func (g *guarding) moved(from, to spot, w *bollwerk.Workload) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s, ok := g.sets[from]; ok {
		delete(g.sets, from)
		g.sets[to] = s
	}
	if r := g.refused[from]; r != nil {
		delete(g.refused, from)
		r.w = w
		g.refused[to] = r
	}
}

func (g *guarding) set(w *bollwerk.Workload) inForce {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sets[place(w)]
}

// Released says what was taken back.
type Released struct {
	Workloads int      `json:"workloads"`
	Pins      int      `json:"pins"`
	Problems  []string `json:"problems,omitempty"`
}

// releaseAll takes back every policy now; the agent goes on seeing and does not act
// again until it is restarted.
func (g *guarding) releaseAll() *Released {
	r := &Released{}
	g.acting.Lock()
	defer g.acting.Unlock()
	g.mu.Lock()
	g.released = true
	r.Workloads = len(g.sets)
	g.sets, g.refused = map[spot]inForce{}, map[spot]*retry{}
	g.mu.Unlock()
	r.Pins = len(sensor.Inherited(sensor.PinRoot))
	if err := g.a.sensor.Release(); err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
	g.a.setTrouble("released", "enforcement was released by command; restart the agent to protect again")
	return r
}

// settle says truthfully what was done about a detection, after doing what its mode
// asks for where nothing was done yet.
func (g *guarding) settle(d *bollwerk.Detection, e *bollwerk.Event) {
	if e.Outcome == bollwerk.Denied || e.Outcome == bollwerk.Killed {
		d.Outcome, d.How = e.Outcome, e.Source
		if how := g.means[e.Rule]; how.Means != "" && how.Outcome == e.Outcome {
			d.How = how.Means
		}
		return
	}
	if d.Outcome == bollwerk.Denied || d.Outcome == bollwerk.Killed {
		return // the detector speaks of an earlier event
	}
	d.Outcome = bollwerk.Seen
	if d.Mode != string(detect.Enforce) {
		d.How = "told, not stopped (mode " + d.Mode + ")"
		return
	}
	of, isGuard := guardOf[d.Rule]
	set, can := inForce{}, sensor.Means{}
	if d.Workload != nil {
		set, can = g.set(d.Workload), g.means[of.guard.String()]
	}
	switch {
	case g.isReleased():
		d.How = "enforcement was released by command"
	case d.Process == nil:
		d.How = "the kernel does not say which process it was"
	case d.Workload == nil || d.Workload.Kind != bollwerk.WorkloadContainer:
		d.How = "processes of the host are never stopped by the agent"
	case isGuard && set.enforce&of.guard == 0:
		d.How = "the guard " + of.guard.String() + " is not enforced for this workload"
		if why := g.refusal(d.Workload, time.Now()); why != "" {
			d.How += ": it is " + why
		}
	case isGuard && of.alone && can.Outcome != bollwerk.Seen && can.Outcome != "" && e.Time.After(set.since):
		d.How = "the guard " + of.guard.String() + " let it pass: a build tool of the image did it, or the kernel saw it only after the fact"
	case !isGuard && !g.a.rules.kills(d.Rule):
		d.How = "no guard stops it, and the rule does not ask to stop the process"
	default:
		if err := g.stop(d); err != nil {
			d.How = fmt.Sprintf("the agent could not stop it: %v", err)
			return
		}
		d.Outcome, d.How = bollwerk.Killed, killedByAgent
	}
}

// builders are programs whose descendants may run what was just made: compilers,
// package managers, test runners. Their own executables must come from the image. What
// the rule drift-execution takes for one is one here too (a test compares them).
var builders = []string{
	"apk", "apt", "apt-get", "aptitude", "as", "bazel", "buildkit-runc", "buildkitd", "bun", "bundle", "c++", "cargo", "cc", "cc1", "clang", "clang++", "cmake", "collect2",
	"composer", "conda", "cpp", "ctest", "dnf", "dotnet", "dpkg", "dpkg-deb", "g++", "gcc", "gem", "ghc", "gmake", "go", "gradle", "java", "javac", "kaniko", "ld", "make",
	"mamba", "meson", "microdnf", "mvn", "ninja", "node", "npm", "npx", "nvcc", "opam", "pacman", "pip", "pip3", "pnpm", "poetry", "rebar3", "rpm", "rustc", "rustup", "stack",
	"swift", "swiftc", "tdnf", "uv", "yarn", "yum", "zypper",
}

// builderDepth is how many ancestors the kernel programs look at (bw_built).
const builderDepth = 6

// built reports whether a build tool of the image started the program, by the kernel's
// own test: so that the rules about programs made at run time say the same as the guard.
func (g *guarding) built(w *bollwerk.Workload, p *bollwerk.Process) bool {
	var own []string
	if c := g.a.c.workload(w.String(), w.Key()); c != nil {
		own = c.Builders
	}
	for i := 0; i < builderDepth && p.Parent != nil; i++ {
		p = p.Parent
		if p.Origin != bollwerk.OriginImage && p.Origin != bollwerk.OriginUnknown || p.Path == "" {
			continue
		}
		name := path.Base(p.Path)
		name = name[:min(len(name), 15)]
		if slices.Contains(builders, name) || slices.Contains(own, name) {
			return true
		}
	}
	return false
}

// build reports whether a detection says of a build that it is drift.
func (g *guarding) build(d *bollwerk.Detection, e *bollwerk.Event) bool {
	return guardOf[d.Rule].guard == sensor.GuardDrift && d.Process != nil && d.Workload != nil && e.Outcome == bollwerk.Seen && g.built(d.Workload, d.Process)
}

func (g *guarding) isReleased() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.released
}
