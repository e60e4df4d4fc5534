package main

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/bollwerk/bollwerk/agent"
	detectors "github.com/bollwerk/bollwerk/detect/all"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/lsm"
	"github.com/bollwerk/bollwerk/sensor/network"
	"github.com/bollwerk/bollwerk/sensor/process"
	"github.com/bollwerk/bollwerk/sensor/tracing"
	identities "github.com/bollwerk/bollwerk/workload/all"
)

// parts composes an agent: this is where the plug-ins are chosen.
func (e *env) parts(c *agent.Config, log *slog.Logger) (*agent.Parts, error) {
	ps, err := eventPolicies(c)
	if err != nil {
		return nil, err
	}
	names, err := identities.Sources(identities.Config{})
	if err != nil {
		return nil, err
	}
	return &agent.Parts{Config: c, Log: log, Version: e.version, Policies: ps, Sources: sources(c), Identities: names, Detectors: detectors.Detectors(detectors.Config{})}, nil
}

// sources of events, in the order in which they are opened: what a better source
// covers the later ones leave alone.
func sources(c *agent.Config) []sensor.Source {
	if c.Backend == "none" {
		return []sensor.Source{process.New(process.Config{})}
	}
	covered := func(string) bool { return false }
	list := []sensor.Source{process.New(process.Config{})}
	if c.Backend == "auto" {
		best := lsm.New(lsm.Options{})
		covered = best.Covered
		list = append(list, best)
	}
	return append(list,
		network.New(network.Config{}),
		&tracing.Checks{Covered: covered},
		&tracing.Files{Covered: covered},
	)
}

// loadRules reads the event policies of a folder, or of one file.
func loadRules(name string) ([]*policy.Policy, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	var ps []*policy.Policy
	if fi.IsDir() {
		ps, err = policy.Load(os.DirFS(name))
	} else {
		var b []byte
		if b, err = os.ReadFile(name); err == nil {
			var p *policy.Policy
			if p, err = policy.Parse(filepath.Base(name), b); err == nil {
				ps = append(ps, p)
			}
		}
	}
	out := ps[:0]
	for _, p := range ps {
		if p.Subject == policy.EventKind {
			out = append(out, p)
		}
	}
	return out, err
}
