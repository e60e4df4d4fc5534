package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/bollwerk/bollwerk/agent"
	detectors "github.com/bollwerk/bollwerk/detect/all"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/lsm"
	"github.com/bollwerk/bollwerk/sensor/network"
	"github.com/bollwerk/bollwerk/sensor/process"
	"github.com/bollwerk/bollwerk/sensor/procfs"
	"github.com/bollwerk/bollwerk/sensor/syscalls"
	"github.com/bollwerk/bollwerk/sensor/tracing"
	identities "github.com/bollwerk/bollwerk/workload/all"
	"github.com/bollwerk/bollwerk/workload/kubernetes"
)

// parts composes an agent: this is where the plug-ins are chosen.
func (e *env) parts(c *agent.Config, log *slog.Logger) (*agent.Parts, error) {
	ps, shipped, err := e.eventPolicies(c)
	if err != nil {
		return nil, err
	}
	tuning, err := detectors.Decode(c.Detectors.Options)
	if err != nil {
		return nil, usageError(fmt.Errorf("detectors: %w", err))
	}
	names, err := identities.Sources(e.identities(c))
	if err != nil {
		return nil, usageError(err)
	}
	except, err := exceptions(c)
	if err != nil {
		return nil, err
	}
	calls := syscalls.New(syscalls.Config{Off: c.Learn.Off || c.Backend == "none", Always: c.Learn.Syscalls == "always"})
	return &agent.Parts{
		Config: c, Exceptions: except, Log: log, Version: e.version, Policies: ps, Sources: sources(c, calls, watchesFor(ps[shipped:])), Identities: names,
		Detectors: detectors.Detectors(tuning), Syscalls: calls,
	}, nil
}

// exceptions reads the configured .bollwerk.yaml file; nil without one.
func exceptions(c *agent.Config) (*policy.Config, error) {
	if c.Exceptions == "" {
		return nil, nil
	}
	f, err := os.Open(c.Exceptions)
	if err != nil {
		return nil, usageError(fmt.Errorf("exceptions: %w", err))
	}
	defer f.Close()
	pc, err := policy.LoadConfig(f, c.Exceptions)
	if err != nil {
		return nil, usageError(err)
	}
	return pc, nil
}

// identities says where container runtimes and Kubernetes are asked.
func (e *env) identities(c *agent.Config) identities.Config {
	ic := identities.Host(c.Host)
	k := c.Kubernetes
	if k == (agent.KubernetesConfig{}) {
		if in, ok := kubernetes.InCluster(c.Node, e.getenv); ok {
			ic.Kubernetes = in
		}
		return ic
	}
	ic.Kubernetes = kubernetes.Config{Node: c.Node, Kubelet: k.Kubelet, API: k.API, TokenFile: k.TokenFile, CAFile: k.CAFile, UncheckedKubelet: k.UncheckedKubelet}
	return ic
}

// sources of events, in the order in which they are opened: what a better source
// covers the later ones leave alone. They look at what rules ask for besides their own lists.
func sources(c *agent.Config, calls *syscalls.Source, also watched) []sensor.Source {
	marked := append(tracing.Watches(), also.files...)
	if c.Backend == "none" {
		return []sensor.Source{&procfs.Connector{}, &procfs.Sockets{}, &procfs.Mounts{}, &procfs.Settings{}, &tracing.Files{Watches: marked}, &tracing.Procs{Paths: also.proc}, &tracing.Gate{}}
	}
	covered := func(string) bool { return false }
	var best *lsm.Source
	if c.Backend == "auto" {
		best = lsm.New(lsm.Options{Watches: append(lsm.Watches(), also.names...)})
		covered = best.Covered
	}
	list := []sensor.Source{process.New(process.Config{Covered: covered})}
	if best != nil {
		list = append(list, best)
	}
	checks := &tracing.Checks{Covered: covered}
	less := func(area string) bool { return covered(area) || checks.Sees(area) }
	list = append(list, network.New(network.Config{NoLSM: best == nil}), checks, &tracing.Reach{Covered: covered}, &tracing.Files{Covered: covered, Told: checks.Told, Watches: marked},
		&tracing.Procs{Covered: covered, Paths: also.proc}, &tracing.Gate{Covered: covered},
		&procfs.Connector{Covered: covered}, &procfs.Sockets{Covered: less}, &procfs.Mounts{Covered: less}, &procfs.Settings{Covered: less}, calls)
	if c.Mappings {
		list = append(list, &tracing.Mappings{Covered: covered})
	}
	return list
}

// loadRules reads the event policies of a folder, or of one file that is not Falco's.
func loadRules(name string) ([]*policy.Policy, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	var ps []*policy.Policy
	if fi.IsDir() {
		if ps, err = policy.Load(os.DirFS(name)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, p := range ps {
			p.File = filepath.Join(name, p.File)
		}
	} else {
		b, err := readRuleFile(name)
		if err != nil {
			return nil, err
		}
		p, err := policy.Parse(name, b)
		if err != nil {
			return nil, err
		}
		ps = append(ps, p)
	}
	return slices.DeleteFunc(ps, func(p *policy.Policy) bool { return p.Subject != policy.EventKind }), nil
}

// askable reads rules of both languages to be asked about the past. What cannot be asked of
// our own is an error; of Falco's, whose files are read together as the agent does, it is
// said in the note.
func askable(names []string) (ps []*policy.Policy, note string, err error) {
	var foreign []string
	byID := map[string]string{}
	for _, name := range names {
		is, err := isFalcoFile(name)
		if err != nil {
			return nil, "", err
		}
		if is {
			foreign = append(foreign, name)
			continue
		}
		own, err := loadRules(name)
		if err != nil {
			return nil, "", err
		}
		for _, p := range own {
			if at, taken := byID[p.ID]; taken {
				return nil, "", fmt.Errorf("%s: the id %s is taken by %s", p.File, p.ID, at)
			}
			byID[p.ID] = p.File
		}
		ps = append(ps, own...)
	}
	_, problems := policy.NewMatcher(ps, policy.MatcherOptions{})
	var wrong []error
	for _, p := range problems {
		wrong = append(wrong, errors.New(p.String()))
	}
	if len(wrong) > 0 {
		return nil, "", errors.Join(wrong...)
	}
	if len(foreign) > 0 {
		set, err := falcoRules(foreign)
		if err != nil {
			return nil, "", err
		}
		set.Refuse(policy.NewMatcher(set.All(), policy.MatcherOptions{}))
		ps, note = append(ps, set.Policies()...), refusedSentence(set)
	}
	return ps, note, nil
}
