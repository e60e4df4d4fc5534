package scalibr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	"go.yaml.in/yaml/v3"
)

// node is a package in a lock file. An empty version stands for the only one of its name.
type node struct{ name, version string }

// relations are what a lock file says beyond names and versions, which is all that
// the library takes from it.
type relations struct {
	needs  map[node][]node
	direct map[node]bool // what the project itself asks for; nil: the format does not say
}

func (r *relations) need(from, to node) {
	if r.needs == nil {
		r.needs = map[node][]node{}
	}
	r.needs[from] = append(r.needs[from], to)
}

func (r *relations) ask(n node) {
	if r.direct == nil {
		r.direct = map[node]bool{}
	}
	r.direct[n] = true
}

// apply writes the relations into the packages of the same file. What leads to
// nothing that is listed is left out: an edge must have an end.
func (r *relations) apply(pkgs []bollwerk.Package, fold func(string) string) {
	byName := map[string][]int{}
	for i := range pkgs {
		n := fold(pkgs[i].Name)
		byName[n] = append(byName[n], i)
	}
	find := func(n node) int {
		list := byName[n.name]
		for _, i := range list {
			if pkgs[i].Version == n.version {
				return i
			}
		}
		if n.version == "" && len(list) == 1 {
			return list[0]
		}
		return -1
	}
	for from, to := range r.needs {
		i := find(from)
		if i < 0 {
			continue
		}
		for _, n := range to {
			if j := find(n); j >= 0 && j != i {
				pkgs[i].DependsOn = append(pkgs[i].DependsOn, sbom.Edge(pkgs[j].Name, pkgs[j].Version))
			}
		}
	}
	if r.direct == nil {
		return
	}
	direct := map[int]bool{}
	for n := range r.direct {
		if i := find(n); i >= 0 {
			direct[i] = true
		}
	}
	for i := range pkgs {
		d := direct[i]
		pkgs[i].Direct = &d
	}
}

func same(s string) string { return s }

// conanRelations reads the graph of Conan 1 (versions 0.1 to 0.4); Conan 2 keeps no edges.
func conanRelations(data []byte) (relations, error) {
	var r relations
	var lock struct {
		Graph struct {
			Nodes map[string]struct {
				Ref      string   `json:"ref"`
				Path     string   `json:"path"` // of the recipe: the project itself
				Requires []string `json:"requires"`
				Build    []string `json:"build_requires"`
			} `json:"nodes"`
		} `json:"graph_lock"`
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return r, err
	}
	ref := func(id string) node {
		// name/version@user/channel#revision
		s, _, _ := strings.Cut(lock.Graph.Nodes[id].Ref, "#")
		s, _, _ = strings.Cut(s, "@")
		name, version, _ := strings.Cut(s, "/")
		return node{name, version}
	}
	for id, n := range lock.Graph.Nodes {
		for _, list := range [][]string{n.Requires, n.Build} {
			for _, to := range list {
				if n.Path != "" {
					r.ask(ref(to))
				} else {
					r.need(ref(id), ref(to))
				}
			}
		}
	}
	return r, nil
}

// pubspecRelations: the lock file of Dart says what is direct, and keeps no edges.
func pubspecRelations(data []byte) (relations, error) {
	var r relations
	var lock struct {
		Packages map[string]struct {
			Dependency string `yaml:"dependency"`
		} `yaml:"packages"`
	}
	if err := yaml.Unmarshal(data, &lock); err != nil {
		return r, err
	}
	r.direct = map[node]bool{}
	for name, p := range lock.Packages {
		if strings.HasPrefix(p.Dependency, "direct") {
			r.ask(node{name: name})
		}
	}
	return r, nil
}

// depsRelations reads "targets" of deps.json: name/version → dependencies. What a
// library of type "project" needs is direct.
func depsRelations(data []byte) (relations, error) {
	var r relations
	var doc struct {
		Targets map[string]map[string]struct {
			Dependencies map[string]string `json:"dependencies"`
		} `json:"targets"`
		Libraries map[string]struct {
			Type string `json:"type"`
		} `json:"libraries"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &doc); err != nil {
		return r, err
	}
	for _, libraries := range doc.Targets {
		for key, l := range libraries {
			name, version, _ := strings.Cut(strings.ToLower(key), "/")
			for n, v := range l.Dependencies {
				to := node{strings.ToLower(n), strings.ToLower(v)}
				if doc.Libraries[key].Type == "project" {
					r.ask(to)
				} else {
					r.need(node{name, version}, to)
				}
			}
		}
	}
	return r, nil
}

// nugetLockRelations reads packages.lock.json: framework → name → entry. A
// dependency's version there is the least one; the framework's own entry has the one
// that is used.
func nugetLockRelations(data []byte) (relations, error) {
	var r relations
	type entry struct {
		Type         string            `json:"type"`
		Resolved     string            `json:"resolved"`
		Dependencies map[string]string `json:"dependencies"`
	}
	var lock struct {
		Dependencies map[string]map[string]entry `json:"dependencies"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &lock); err != nil {
		return r, err
	}
	for _, framework := range lock.Dependencies {
		used := make(map[string]string, len(framework))
		for n, e := range framework {
			used[strings.ToLower(n)] = strings.ToLower(e.Resolved)
		}
		for n, e := range framework {
			from := node{strings.ToLower(n), strings.ToLower(e.Resolved)}
			if e.Type == "Direct" {
				r.ask(from)
			}
			for d := range e.Dependencies {
				to := node{strings.ToLower(d), used[strings.ToLower(d)]}
				if e.Type == "Project" { // what the project refers to is its own, too
					r.ask(to)
				} else {
					r.need(from, to)
				}
			}
		}
	}
	return r, nil
}

var (
	mixEntry = regexp.MustCompile(`^\s*"([^"]+)":\s*\{:hex,`)
	mixNeed  = regexp.MustCompile(`\{:([A-Za-z0-9_]+), "[^"]*", \[hex: `)
)

// mixRelations: one line an entry, as `mix` writes it: {:hex, :name, "version",
// "checksum", [:mix], [{:needed, "~> 1.0", [hex: :needed, …]}, …], …}.
func mixRelations(data []byte) (relations, error) {
	var r relations
	for line := range bytes.Lines(data) {
		head := mixEntry.FindSubmatch(line)
		if head == nil {
			continue
		}
		for _, m := range mixNeed.FindAllSubmatch(line, -1) {
			r.need(node{name: string(head[1])}, node{name: string(m[1])})
		}
	}
	return r, nil
}

// renvRelations: "Requirements" until renv 1.0, the fields of DESCRIPTION since 1.1.
func renvRelations(data []byte) (relations, error) {
	var r relations
	var lock struct {
		Packages map[string]struct {
			Package      string          `json:"Package"`
			Requirements json.RawMessage `json:"Requirements"`
			Depends      json.RawMessage `json:"Depends"`
			Imports      json.RawMessage `json:"Imports"`
			LinkingTo    json.RawMessage `json:"LinkingTo"`
		} `json:"Packages"`
	}
	if err := json.Unmarshal(data, &lock); err != nil {
		return r, err
	}
	for _, p := range lock.Packages {
		for _, raw := range []json.RawMessage{p.Requirements, p.Depends, p.Imports, p.LinkingTo} {
			var names []string
			if len(raw) > 0 && json.Unmarshal(raw, &names) != nil {
				var one string // as DESCRIPTION has it: "R (>= 3.5), methods"
				if json.Unmarshal(raw, &one) == nil {
					names = strings.Split(one, ",")
				}
			}
			for _, n := range names {
				n, _, _ = strings.Cut(strings.TrimSpace(n), "(")
				r.need(node{name: p.Package}, node{name: strings.TrimSpace(n)})
			}
		}
	}
	return r, nil
}

// juliaRelations: [[deps.NAME]] with deps = ["A"]; before manifest_format 2 the
// entries stand at the top.
func juliaRelations(data []byte) (relations, error) {
	var r relations
	var doc map[string]any
	if _, err := toml.Decode(string(data), &doc); err != nil {
		return r, err
	}
	entries := doc
	if _, ok := doc["manifest_format"]; ok {
		entries, _ = doc["deps"].(map[string]any)
	}
	for name, e := range entries {
		list, _ := e.([]map[string]any)
		for _, t := range list {
			deps, _ := t["deps"].([]any)
			for _, d := range deps {
				if s, ok := d.(string); ok {
					r.need(node{name: name}, node{name: s})
				}
			}
		}
	}
	return r, nil
}

// podRelations reads PODS ("- Name (1.0):" and, below, what it needs) and
// DEPENDENCIES, the project's own. A part of a pod ("Name/Part") counts as the pod
// unless it is listed itself.
func podRelations(data []byte) (relations, error) {
	var r relations
	var lock struct {
		Pods         []yaml.Node `yaml:"PODS"`
		Dependencies []string    `yaml:"DEPENDENCIES"`
	}
	if err := yaml.Unmarshal(data, &lock); err != nil {
		return r, fmt.Errorf("pods: %w", err)
	}
	pod := func(s string) node {
		s, _, _ = strings.Cut(s, " (")
		name, _, _ := strings.Cut(s, "/")
		return node{name: name}
	}
	r.direct = map[node]bool{}
	for _, d := range lock.Dependencies {
		r.ask(pod(d))
	}
	for _, p := range lock.Pods {
		var with map[string][]string
		if p.Decode(&with) != nil {
			continue // without needs
		}
		for from, list := range with {
			for _, to := range list {
				if pod(from) != pod(to) {
					r.need(pod(from), pod(to))
				}
			}
		}
	}
	return r, nil
}
