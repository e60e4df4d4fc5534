package main

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/sensor/lsm"
	"github.com/bollwerk/bollwerk/sensor/tracing"
)

// watched is what rules that did not ship with the agent want looked at; for those that
// did the sources have their own lists.
type watched struct {
	files []tracing.Watch
	proc  []string    // files below /proc
	names []lsm.Watch // as BPF LSM compares them
}

// Bounds of what rules can ask for: each costs marks in every container, or a place in a
// table that is asked at each open.
const (
	mostFileWatches = 1024
	mostNameWatches = 256 // of the 1,024 places of the table, two for each
)

// fileKinds are events of files that are only told where somebody looks.
var fileKinds = []bollwerk.EventKind{bollwerk.EventOpen, bollwerk.EventCreate, bollwerk.EventRename, bollwerk.EventUnlink, bollwerk.EventChmod,
	bollwerk.EventChown, bollwerk.EventLink, bollwerk.EventSymlink}

// placesOf are the places in the file system that rules ask about.
func placesOf(m *policy.Matcher) []policy.Watch {
	var out []policy.Watch
	for _, k := range fileKinds {
		for _, w := range m.Watches(k) {
			if !slices.Contains(out, w) {
				out = append(out, w)
			}
		}
	}
	return out
}

// watchesFor reads off rules what has to be looked at for them.
func watchesFor(ps []*policy.Policy) (out watched) {
	if len(ps) == 0 {
		return out
	}
	m, _ := policy.NewMatcher(ps, policy.MatcherOptions{})
	have := tracing.Watches()
	for _, p := range placesOf(m) {
		files, proc, _, _ := tracing.WatchesFor(tracing.Place(p))
		for _, w := range files {
			if len(out.files) < mostFileWatches && !slices.Contains(out.files, w) && !tracing.Covers(have, w) {
				out.files = append(out.files, w)
			}
		}
		for _, name := range proc {
			if !slices.Contains(out.proc, name) {
				out.proc = append(out.proc, name)
			}
		}
		if n, ok := nameFor(p); ok && len(out.names) < mostNameWatches && !slices.Contains(out.names, n) {
			out.names = append(out.names, n)
		}
	}
	return out
}

// nameFor is a place as BPF LSM compares it: the name of a file and of its folder. What is
// written in containers is told in any case.
func nameFor(p policy.Watch) (lsm.Watch, bool) {
	dir, name := path.Split(path.Clean(p.Path))
	w := lsm.Watch{Name: name, Folder: path.Base(dir), Access: lsm.Write | lsm.Delete | lsm.Point}
	if p.Below {
		w = lsm.Watch{Folder: path.Base(p.Path), Access: lsm.Write | lsm.Delete}
	} else if !p.Written {
		w.Access |= lsm.Read
	}
	if w.Folder == "*" || w.Folder == "." || w.Folder == "/" {
		w.Folder = ""
	}
	if strings.ContainsAny(w.Name+w.Folder, "*?[/\x00") || w.Name == "" && w.Folder == "" || len(w.Name) > 255 || len(w.Folder) > 30 {
		return w, false
	}
	return w, true
}

// unseen says what of a rule about files is not seen without BPF LSM, and of which places
// nothing is. never: of none of its places anything is.
func unseen(p *policy.Policy) (causes, blind []string, never bool) {
	m, _ := policy.NewMatcher([]*policy.Policy{p}, policy.MatcherOptions{})
	for _, k := range m.Kinds(p) {
		if !slices.Contains(fileKinds, k) {
			return nil, nil, false // other events make it fire
		}
	}
	places := placesOf(m)
	if len(m.Kinds(p)) == 0 || len(places) == 0 {
		return nil, nil, false
	}
	for _, w := range places {
		_, _, c, cause := tracing.WatchesFor(tracing.Place(w))
		if c == tracing.None {
			blind = append(blind, w.Path)
		}
		if cause != "" && !slices.Contains(causes, cause) {
			causes = append(causes, cause)
		}
	}
	return causes, blind, len(blind) == len(places)
}

// unseenSentences are the reasons and limits of a rule for `rules check`.
func unseenSentences(p *policy.Policy) (reasons, limits []string) {
	causes, blind, never := unseen(p)
	if never {
		return []string{neverSentence("without BPF LSM it never fires", causes, blind)}, nil
	}
	for _, c := range causes {
		limits = append(limits, "without BPF LSM: "+c)
	}
	return nil, limits
}

func neverSentence(what string, causes, blind []string) string {
	return fmt.Sprintf("%s, because %s is not seen: %s", what, strings.Join(blind, ", "), strings.Join(causes, "; "))
}

// printUnseen lists, where files are not seen through BPF LSM, the rules that never fire.
func printUnseen(w io.Writer, ps []*policy.Policy) {
	n := 0
	for _, p := range ps {
		causes, blind, never := unseen(p)
		if !never {
			continue
		}
		if n++; n == 1 {
			fmt.Fprintln(w, "\nRules that never fire here:")
		}
		fmt.Fprintf(w, "- %s\n", terminal.Clean(neverSentence(p.ID+" never fires here", causes, blind), 400))
	}
}
