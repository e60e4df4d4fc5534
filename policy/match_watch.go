package policy

import (
	"sort"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Watch is a place in the file system that a policy asks about: a sensor that
// reports opens only of watched files has to watch it.
type Watch struct {
	// Path is absolute, in the mount namespace of the workload.
	Path string
	// Below: what lies below the path is meant, too; otherwise exactly the path.
	Below bool
	// Glob: Path is a pattern (* any run of characters, ? one), the beginning of one that
	// names no folder, or "*/" and the name of a file in any folder.
	Glob bool
	// Written: only what gets new content or a new name is meant, not what is read.
	Written bool
}

// Watches lists the places that conditions about events of a kind name, sorted,
// each once. It is read off the conditions, so that nobody has to keep a second
// list: whatever is compared with the path of a file counts, whether the comparison
// is negated or not. A regular expression names no place and is not in the list.
func (m *Matcher) Watches(kind bollwerk.EventKind) []Watch {
	seen := map[Watch]bool{}
	var out []Watch
	for _, r := range m.rules {
		for _, w := range r.watch[kind] {
			if !seen[w] {
				seen[w] = true
				out = append(out, w)
			}
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].less(out[j]) })
	return out
}

func (w Watch) less(o Watch) bool {
	if w.Path != o.Path {
		return w.Path < o.Path
	}
	rank := func(w Watch) (n int) {
		for i, b := range [...]bool{w.Below, w.Glob, w.Written} {
			if b {
				n |= 1 << i
			}
		}
		return n
	}
	return rank(w) < rank(o)
}

// watches finds the places in a condition that can hold for an open.
func watches(n *node) []Watch {
	var out []Watch
	seen := map[*node]bool{}
	var visit func(n *node)
	visit = func(n *node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if len(n.kids) > 0 && isPath(n.kids[0]) {
			for _, w := range n.places() {
				w.Written = n.kids[0].member.name == "written"
				if strings.HasPrefix(w.Path, "/") || w.Glob {
					out = append(out, w)
				}
			}
		}
		for _, k := range n.kids {
			visit(k)
		}
	}
	visit(n)
	return out
}

func isPath(n *node) bool {
	return n.op == opField && n.member.path
}

func (n *node) places() []Watch {
	texts := n.texts
	if len(n.kids) == 2 && n.kids[1].constant() && n.kids[1].typ == textType {
		texts = []string{n.kids[1].text}
	}
	var out []Watch
	if n.kids[0].member.base {
		if n.op == opEqual || n.op == opInSet {
			for _, t := range texts {
				if t != "" {
					out = append(out, Watch{Path: "*/" + t, Glob: true})
				}
			}
		}
		return out
	}
	for _, t := range texts {
		switch n.op {
		case opEqual, opInSet:
			out = append(out, Watch{Path: t})
		case opUnder:
			out = append(out, Watch{Path: strings.TrimSuffix(t, "/"), Below: true})
		case opStarts, opStartsAny:
			if strings.HasSuffix(t, "/") {
				out = append(out, Watch{Path: strings.TrimSuffix(t, "/"), Below: true})
			} else {
				out = append(out, Watch{Path: t + "*", Glob: true})
			}
		case opEnds, opEndsAny:
			out = append(out, Watch{Path: "*" + t, Glob: true})
		case opGlob, opGlobAny:
			out = append(out, Watch{Path: t, Glob: true})
		}
	}
	return out
}
