// Package archtest holds the import graph of the house: who may import whom, and
// why not. The graph itself is described in docs/architecture.md.
package archtest

import (
	"fmt"
	"sort"
	"strings"
)

// Module is the path of this module.
const Module = "github.com/bollwerk/bollwerk"

// Graph is what the test judges: packages of this module, each with the packages
// it imports (test files left out). Own packages are named relative to the module
// ("" is the root), others by their full path.
type Graph map[string][]string

// concepts are the packages of level 2. They import the words, internal and policy.
var concepts = []string{
	"artifact", "sbom", "vuln", "signature", "cluster", "cloud", "identity", "flow",
	"sensor", "workload", "detect", "profile", "recorder", "finding", "incident", "response", "evidence", "wire",
}

// joins are the packages of level 3: they may know several concepts.
var joins = []string{"scan", "report", "store"}

// roles are the packages of level 4; they never import each other.
var roles = []string{"agent", "guard", "hub"}

// home says which package alone may import a heavy dependency, and why it is held.
type home struct {
	dependency string   // import path prefix
	owners     []string // packages that may import it
	reason     string
}

var homes = []home{
	{"github.com/google/go-containerregistry", []string{"artifact/oci"}, "one place speaks to registries, with its time-outs and bounds"},
	{"github.com/google/osv-scalibr", []string{"sbom/scalibr", "sbom/secrets"}, "two seams keep foreign code off the network and the file system: one for extractors, one for the detectors of credentials"},
	{"cel.dev/cel-go", []string{"policy"}, "one evaluator for every subject"},
	{"github.com/sigstore", []string{"signature/sigstore"}, "one place decides what a trusted root is"},
	{"github.com/notaryproject", []string{"signature/notation"}, "one place decides what a trust store is"},
	{"oras.land/oras-go", []string{"signature/notation"}, "only notation's own interfaces need it"},
	{"github.com/pandatix/go-cvss", []string{"internal/cvss"}, "one reading of severity vectors"},
	{"github.com/CycloneDX/cyclonedx-go", []string{"sbom/cyclonedx", "finding/cyclonedxvex"}, "the document formats"},
	{"github.com/spdx/tools-golang", []string{"sbom/spdx"}, "the document formats"},
	{"modernc.org/sqlite", []string{"sbom/rpm", "store/sqlite"}, "a database engine is not a convenience"},
	{"go.etcd.io/bbolt", []string{"artifact/oci"}, "read only, for containerd's own metadata"},
	{"github.com/cilium/ebpf", []string{"sensor", "sensor/bpf", "sensor/process", "sensor/network", "sensor/lsm", "sensor/tracing"}, "one concept speaks to the kernel"},
	{"github.com/VictoriaMetrics/metrics", []string{"agent"}, "metrics are served by roles"},
	{"github.com/spf13/cobra", []string{"cmd/bollwerk", "cmd/bollwerk-agent"}, "flags are read in one place"},
	{"golang.org/x/term", []string{"cmd/bollwerk", "cmd/bollwerk-agent"}, "only the command line knows whether somebody looks"},
}

// ban is an import that must not happen even if the levels allow it.
type ban struct {
	from, to string // prefixes of own packages
	reason   string
}

var never = []ban{
	{"scan", "response", "a scanner reads hostile input; it must not be able to act"},
	{"guard/admission", "response", "a webhook that can act on workloads is a weapon"},
	{"cmd/bollwerk-agent", "hub", "memory on every node matters"},
	{"agent", "scan", "memory on every node matters; a scanner reads hostile input, the agent has every right"},
	{"sbom", "artifact", "an extractor must not know where its bytes came from, or it behaves differently by source"},
}

// Check returns one sentence for each import that the house does not allow, sorted.
func Check(g Graph) []string {
	var out []string
	for from, imports := range g {
		for _, to := range imports {
			if why := judge(from, to); why != "" {
				name := from
				if name == "" {
					name = "(root)"
				}
				out = append(out, fmt.Sprintf("%s imports %s: %s", name, to, why))
			}
		}
	}
	sort.Strings(out)
	return out
}

func judge(from, to string) string {
	own, isOwn := ownPath(to)
	if !isOwn {
		return judgeForeign(from, to)
	}
	for _, b := range never {
		if under(from, b.from) && under(own, b.to) {
			return b.reason
		}
	}
	fl, tl := level(from), level(own)
	switch {
	case fl < 0:
		return "the package stands in no level of docs/architecture.md; add it there and here"
	case tl < 0:
		return "the imported package stands in no level of docs/architecture.md; add it there and here"
	case from == "":
		return "the words import the standard library only"
	}
	if strings.HasSuffix(own, "/all") && level(from) < 5 && top(from) != top(own) {
		return "the command alone decides which plug-ins run"
	}
	ft, tt := top(from), top(own)
	if ft == tt && ft != "internal" {
		return sameHouse(from, own)
	}
	if tl > fl {
		return fmt.Sprintf("level %d may not import level %d", fl, tl)
	}
	if tl == fl && fl == 2 {
		return "concepts do not know each other; whoever needs two is a join, one level up"
	}
	if tl == fl && fl == 4 {
		return "roles meet on the wire, never in code"
	}
	return ""
}

// parts are folders inside a concept that are not plug-ins but a part of the concept
// itself, which it and its plug-ins may import.
var parts = map[string]string{
	"sensor/bpf": "the kernel half: C, its headers, the committed objects and the structs generated from them",
}

// sameHouse judges imports inside one top folder: a plug-in knows its concept and
// never a sibling; the concept never knows its plug-ins.
func sameHouse(from, to string) string {
	if level(from) != 2 {
		return ""
	}
	concept := top(from)
	if parts[to] != "" && parts[from] == "" {
		return ""
	}
	switch {
	case to == concept, strings.HasSuffix(from, "/all"), strings.HasSuffix(from, "test"):
		return ""
	case from == concept:
		return "a concept does not know its plug-ins; the caller passes them in"
	case strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, to+"/"):
		return ""
	}
	return "a plug-in does not know its siblings"
}

func judgeForeign(from, to string) string {
	for _, h := range homes {
		if !under(to, h.dependency) {
			continue
		}
		for _, o := range h.owners {
			if from == o {
				return ""
			}
		}
		return fmt.Sprintf("%s lives in %s: %s", h.dependency, strings.Join(h.owners, " and "), h.reason)
	}
	if from == "" && strings.Contains(strings.SplitN(to, "/", 2)[0], ".") {
		return "the words import the standard library only"
	}
	return ""
}

func ownPath(p string) (string, bool) {
	if p == Module {
		return "", true
	}
	return strings.CutPrefix(p, Module+"/")
}

func top(p string) string { t, _, _ := strings.Cut(p, "/"); return t }

func under(p, prefix string) bool { return p == prefix || strings.HasPrefix(p, prefix+"/") }

// level of a package, -1 when the house does not know it.
func level(p string) int {
	t := top(p)
	switch {
	case p == "", t == "policies", t == "console", t == "internal":
		return 0
	case t == "policy":
		return 1
	case t == "cmd", t == "test":
		return 5
	}
	for _, l := range []struct {
		names []string
		level int
	}{{concepts, 2}, {joins, 3}, {roles, 4}} {
		for _, n := range l.names {
			if n == t {
				return l.level
			}
		}
	}
	return -1
}
