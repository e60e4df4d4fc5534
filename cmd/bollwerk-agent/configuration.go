package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

const defaultConfig = "/etc/bollwerk/agent.yaml"

// configuration reads the file and applies the flags and variables over it. Only the
// default file may be missing.
func (e *env) configuration() (*agent.Config, error) {
	name, must := e.config, true
	if name == "" {
		name = e.getenv("BOLLWERK_AGENT_CONFIG")
	}
	if name == "" {
		name, must = defaultConfig, false
	}
	c := &agent.Config{}
	f, err := os.Open(name)
	switch {
	case err == nil:
		defer f.Close()
		if c, err = agent.LoadConfig(f, name); err != nil {
			return nil, usageError(err)
		}
	case must || !errors.Is(err, fs.ErrNotExist):
		return nil, usageError(fmt.Errorf("configuration: %w", err))
	}
	for _, o := range []struct {
		to         *string
		flag, name string
	}{{&c.State, e.state, "BOLLWERK_AGENT_STATE"}, {&c.Socket, e.socket, "BOLLWERK_AGENT_SOCKET"}} {
		if o.flag != "" {
			*o.to = o.flag
		} else if v := e.getenv(o.name); v != "" {
			*o.to = v
		}
	}
	if err := c.Validate(); err != nil {
		return nil, usageError(err)
	}
	return c, nil
}

// eventPolicies are the rules over events: the shipped ones, those of the configured
// folders, and those of Falco files; shipped is how many of the first there are. It says
// how many of the last are not asked.
func (e *env) eventPolicies(c *agent.Config) (all []*policy.Policy, shipped int, err error) {
	own, shipped, err := ownPolicies(c)
	if err != nil || len(c.Falco) == 0 {
		return own, shipped, err
	}
	set, err := falcoRules(c.Falco)
	if err != nil {
		return nil, 0, err
	}
	if s := refusedSentence(set); s != "" {
		e.print(s)
	}
	return append(own, set.Policies()...), shipped, nil
}

// ownPolicies are those that are written in our own language, those that ship first.
func ownPolicies(c *agent.Config) (own []*policy.Policy, shipped int, err error) {
	all, err := policy.Load(policies.Files())
	if err != nil {
		return nil, 0, err
	}
	ours := len(all)
	for _, dir := range c.Rules {
		if _, err := os.Stat(dir); err != nil {
			return nil, 0, usageError(fmt.Errorf("rules: %w", err))
		}
		more, err := policy.Load(os.DirFS(dir))
		if err != nil {
			return nil, 0, usageError(fmt.Errorf("rules: %s: %w", dir, err))
		}
		if len(more) == 0 {
			return nil, 0, usageError(fmt.Errorf("rules: %s: there are no policies in it; each is a file named policy.yaml, in a folder of its own", dir))
		}
		all = append(all, more...)
	}
	for i, p := range all {
		if p.Subject == policy.EventKind {
			own = append(own, p)
			if i < ours {
				shipped++
			}
		}
	}
	return own, shipped, nil
}
