package tracing

import (
	"path"
	"slices"
	"strings"
)

// Place is what a rule asks about, as policy.Watch.
type Place struct {
	Path string
	// Below: what lies below Path; otherwise exactly Path.
	Below bool
	// Glob: Path is a pattern in which "*" also stands for several folders.
	Glob bool
	// Written: only what gets new content or a new name.
	Written bool
}

// Coverage says how much of a place can be watched without LSM.
type Coverage int

// None of it, a part, the whole place.
const (
	None Coverage = iota
	Part
	Whole
)

// homes are where files are looked for whose folder a rule does not name.
var homes = []string{"/root", "/home/*"}

// busy are folders of which everything cannot be told.
var busy = []string{"/", "/dev", "/dev/shm", "/tmp", "/var/tmp", "/run", "/var/run", "/sys", "/var", "/usr"}

// disks are the beginnings of names below /dev that Checks sees by their numbers.
var disks = []string{"sd", "vd", "xvd", "nvme", "dm-", "md", "loop", "mapper", "disk", "mem", "kmem", "port"}

// WatchesFor returns what has to be watched for a place besides Watches, and how much of
// the place that covers. Cause says what is missed, "" when nothing is.
func WatchesFor(p Place) (ws []Watch, proc []string, c Coverage, cause string) {
	name := path.Clean("/" + strings.TrimPrefix(p.Path, "/"))
	anywhere := p.Glob && !strings.HasPrefix(p.Path, "/")
	const known = "only in folders that are watched in any case"
	switch {
	case !anywhere && (name == "/proc" || strings.HasPrefix(name, "/proc/")):
		if p.Below || strings.ContainsAny(name, "?[") {
			return nil, nil, None, "everything below a folder of /proc cannot be watched"
		}
		if strings.HasPrefix(name, "/proc/1/root/") || strings.HasPrefix(name, "/proc/1/cwd/") {
			return nil, nil, None, "what is reached through a link of /proc is told by the name it has there"
		}
		return nil, []string{name}, Part, "files below /proc are seen in containers only"
	case !anywhere && strings.HasPrefix(name, "/dev/") && slices.ContainsFunc(disks, func(d string) bool { return strings.HasPrefix(name[5:], d) }):
		return nil, nil, Part, "devices are seen in containers only"
	case strings.ContainsAny(p.Path, "?["):
		return nil, nil, Part, "a pattern with ? or [ is seen " + known
	}
	if anywhere {
		rest := strings.TrimPrefix(p.Path, "*")
		if strings.HasPrefix(rest, "/") && strings.Trim(path.Base(rest), "*") != "" {
			for _, h := range homes {
				w, _, _, _ := WatchesFor(Place{Path: h + rest, Glob: true, Written: p.Written})
				ws = append(ws, w...)
			}
			return ws, nil, Part, "a name in any folder is seen in /root and /home/*, and written " + known
		}
		return nil, nil, Part, "a name in any folder is seen when it is written, " + known
	}
	for element := range strings.SplitSeq(strings.Trim(name, "/"), "/") {
		if strings.Count(element, "*") > 1 {
			return nil, nil, Part, "a path with more than one * in an element is seen " + known
		}
	}
	if p.Below && slices.Contains(busy, name) {
		return nil, nil, Part, "where everybody makes files only programs and links are told, and what is watched in any case"
	}
	if p.Below {
		ws = []Watch{{Path: name}, {Path: path.Join(name, "*")}}
		if !p.Written {
			return ws, nil, Part, "what is read in a folder is not seen, and of its folders only the first level"
		}
		return ws, nil, Part, "of the folders in it only the first level is seen"
	}
	ws = []Watch{{Path: name, Name: true}}
	if !p.Written {
		ws = append(ws, Watch{Path: name, Read: true})
	}
	if p.Glob && strings.Contains(name, "*") {
		return ws, nil, Part, "a * is taken for one element of a path"
	}
	return ws, nil, Whole, ""
}

// Covers reports whether a list of watches tells all that one more would tell, in
// containers at least.
func Covers(list []Watch, w Watch) bool {
	for _, have := range list {
		switch {
		case have.Where == "host" || have.Executable || have.Tree:
		case w.Read:
			if have.Read && matchPath(have.Path, w.Path) {
				return true
			}
		case have.Read:
		case w.Name:
			if have.Name && matchPath(have.Path, w.Path) || !have.Name && matchPath(have.Path, path.Dir(w.Path)) {
				return true
			}
		case !have.Name && matchPath(have.Path, w.Path):
			return true
		}
	}
	return false
}
