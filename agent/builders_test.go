package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

// TestBuildersAgree holds the guard and the rules to one notion of a build tool: what a
// rule lets pass the guard must not kill.
func TestBuildersAgree(t *testing.T) {
	all, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, p := range all {
		list := map[string]string{"drift-execution": "builders", "drift-by-build-tool": "builders", "modified-program": "updaters"}[p.ID]
		if list == "" {
			continue
		}
		checked++
		for _, q := range p.Parameters {
			if q.Name != list {
				continue
			}
			for _, name := range strings.Fields(strings.Trim(fmt.Sprint(q.Default), "[]")) {
				if !slices.Contains(builders, name) {
					t.Errorf("%s: %v is a build tool of the rule, and not of the guard", p.ID, name)
				}
			}
		}
	}
	if checked != 3 {
		t.Errorf("%d rules name build tools", checked)
	}
	for _, b := range builders {
		if len(b) > 15 || strings.Contains(b, "/") {
			t.Errorf("%q: the guard compares file names of at most 15 letters", b)
		}
	}
}

func TestBuilt(t *testing.T) {
	g := &guarding{a: &Agent{c: &Config{Workloads: []WorkloadConfig{{Match: "forge", Builders: []string{"perl"}}}}}}
	container := func(name string) *bollwerk.Workload {
		return &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: name, Name: name}}
	}
	chain := func(origin bollwerk.Origin, paths ...string) *bollwerk.Process {
		var p *bollwerk.Process
		for i, path := range paths {
			o := bollwerk.OriginImage
			if i == 0 {
				o = origin
			}
			p = &bollwerk.Process{Path: path, Origin: o, Parent: p}
		}
		return p
	}
	deep := []string{"/usr/bin/make", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/bin/sh", "/tmp/x"}
	for _, c := range []struct {
		in   string
		p    *bollwerk.Process
		want bool
	}{
		{"web", chain(bollwerk.OriginImage, "/usr/bin/make", "/bin/sh", "/tmp/x"), true},
		{"web", chain(bollwerk.OriginCreated, "/tmp/make", "/bin/sh", "/tmp/x"), false},
		{"web", chain(bollwerk.OriginImage, "/usr/bin/perl", "/tmp/x"), false},
		{"forge", chain(bollwerk.OriginImage, "/usr/bin/perl", "/tmp/x"), true},
		{"forge", chain(bollwerk.OriginModified, "/usr/bin/perl", "/tmp/x"), false},
		{"web", chain(bollwerk.OriginImage, deep...), false}, // the kernel looks no farther
		{"web", chain(bollwerk.OriginImage, deep[1:]...), false},
		{"web", chain(bollwerk.OriginImage, "/usr/bin/make"), false}, // the tool itself was not made by one
	} {
		if got := g.built(container(c.in), c.p); got != c.want {
			t.Errorf("%s in %s: %v", c.p.Path, c.in, got)
		}
	}
}
