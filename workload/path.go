package workload

import (
	"strings"
)

// Place is what a cgroup path says about the processes in it. It is read from the
// text alone: nothing is asked.
type Place struct {
	// Containers on the way, outermost first. More than one means nesting
	// (docker-in-docker, kind). Only the outermost one is named by the host; names
	// below it are written by whoever controls that container, and prove nothing.
	Containers []Named
	// Unit is the systemd unit above the first container, "" when there is none.
	// Units of a user's own manager are "user@1000.service/name.service", so that
	// nobody can borrow the name of a service of the system.
	Unit string
	// UnitEnd: path[:UnitEnd] is the cgroup of the unit.
	UnitEnd int
}

// Named is a container that a cgroup path names.
type Named struct {
	ID string
	// Runtime as the path tells it, "" when it does not.
	Runtime string
	// Name, where the path has one and no runtime needs to be asked (lxc, nspawn).
	Name   string
	PodUID string
	// Final: there is no runtime to ask, this is all there is to know.
	Final bool
	// End: path[:End] is the cgroup of the container.
	End int
}

const (
	maxPath       = 4096
	maxComponents = 64
	maxNested     = 4
)

// ParsePath reads a cgroup path as /proc/PID/cgroup and the kernel write it, of any
// hierarchy and of every runtime this package knows:
//
//	/docker/<id>                                   docker, cgroupfs
//	/system.slice/docker-<id>.scope                docker, systemd
//	/kubepods/burstable/pod<uid>/<id>              any CRI runtime, cgroupfs
//	/kubepods.slice/…-pod<uid>.slice/cri-containerd-<id>.scope, crio-<id>.scope
//	/…slice:cri-containerd:<id>                    containerd told the wrong driver
//	/machine.slice/libpod-<id>.scope/container     podman, also below user@N.service
//	/libpod_parent/libpod-<id>                     podman, cgroupfs
//	/lxc/<name>, /lxc.payload.<name>               lxc
//	/machine.slice/machine-<name>.scope            systemd-nspawn
//
// A path is never an error: what says nothing belongs to the host.
func ParsePath(path string) Place {
	var p Place
	if len(path) > maxPath {
		path = path[:maxPath]
	}
	var podUID, prev, slice string
	user := ""          // user@1000.service, when inside a user's manager
	unitClosed := false // a unit was found, names below it are its own affair
	pos, n := 0, 0
	for pos < len(path) && n < maxComponents {
		if path[pos] == '/' {
			pos++
			continue
		}
		end := strings.IndexByte(path[pos:], '/')
		if end < 0 {
			end = len(path)
		} else {
			end += pos
		}
		part := path[pos:end]
		pos = end
		if part == ".." || part == "." {
			continue // a path seen from another cgroup namespace
		}
		n++
		if uid := podOf(part); uid != "" {
			podUID = uid
		}
		c, found := containerOf(part, prev)
		if found {
			c.PodUID, c.End = podUID, end
			p.Containers = append(p.Containers, c)
			if len(p.Containers) == maxNested {
				return p
			}
			podUID = ""
		} else if len(p.Containers) == 0 && !unitClosed {
			switch {
			case strings.HasSuffix(part, ".slice"):
				slice = part
			case strings.HasPrefix(part, "user@") && strings.HasSuffix(part, ".service") && user == "":
				user, slice = part, ""
				p.Unit, p.UnitEnd = part, end
			case isUnit(part):
				unitClosed = true
				name := unitName(part, slice)
				switch {
				case user != "" && name == slice: // transient: the user's own doing
				case user != "":
					p.Unit, p.UnitEnd = user+"/"+name, end
				default:
					p.Unit, p.UnitEnd = name, end
				}
			}
		}
		prev = part
	}
	return p
}

// isUnit reports whether a component is a systemd unit that holds processes.
func isUnit(part string) bool {
	for _, s := range [...]string{".service", ".scope", ".socket", ".mount", ".swap"} {
		if len(part) > len(s) && strings.HasSuffix(part, s) {
			return true
		}
	}
	return false
}

// unitName is the name under which a unit is learned. Units whose name is made up
// anew each time (a login session, systemd-run, a desktop application) would each be
// a workload of their own; they count as their slice.
func unitName(part, slice string) string {
	base, kind, _ := cutLast(part, '.')
	transient := false
	switch {
	case kind == "scope" && (strings.HasPrefix(base, "session-") || strings.HasPrefix(base, "run-") || strings.HasPrefix(base, "app-") || strings.HasPrefix(base, "vte-spawn-")),
		kind == "service" && (strings.HasPrefix(base, "run-r") && isHex(base[len("run-r"):]) || strings.HasPrefix(base, "run-u") && isDigits(base[len("run-u"):])):
		transient = true
	case kind == "scope":
		// "libpod-conmon-<id>.scope": the monitor of a container, not the container.
		if head, id, ok := cutLast(base, '-'); ok && len(id) == 64 && isHex(id) {
			return head + ".scope"
		}
	}
	if transient {
		if slice == "" {
			return kind
		}
		return slice
	}
	return part
}

// scopes are the prefixes of "<prefix>-<id>.scope" and what they say of the runtime.
var scopes = [...]struct{ prefix, runtime string }{
	{"cri-containerd", "containerd"},
	{"nerdctl", "containerd"},
	{"containerd", "containerd"},
	{"docker", "docker"},
	{"crio", "cri-o"},
	{"libpod", "podman"},
	{"runc", "runc"},
	{"crun", "crun"},
}

func containerOf(part, prev string) (Named, bool) {
	switch {
	case len(part) == 64 && isHex(part):
		runtime := ""
		switch prev {
		case "docker":
			runtime = "docker"
		case "libpod_parent":
			return Named{}, false // a pod of podman; its containers are below
		}
		return Named{ID: part, Runtime: runtime}, true
	case prev == "buildkit" && len(part) == 25 && isBase36(part):
		// Steps of an image build: each is new, together they are one workload.
		return Named{ID: part, Runtime: "buildkit", Name: "build", Final: true}, true
	case prev == "lxc" || prev == "lxc.payload":
		if part == "monitor" {
			return Named{}, false
		}
		return Named{ID: part, Name: part, Runtime: "lxc", Final: true}, true
	}
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok && name != "" {
		return Named{ID: name, Name: name, Runtime: "lxc", Final: true}, true
	}
	if name, ok := strings.CutPrefix(part, "systemd-nspawn@"); ok {
		if name, ok = strings.CutSuffix(name, ".service"); ok && name != "" {
			name = unescape(name)
			return Named{ID: name, Name: name, Runtime: "systemd-nspawn", Final: true}, true
		}
	}
	if i := strings.LastIndexByte(part, ':'); i >= 0 {
		// "kubepods-…-pod<uid>.slice:cri-containerd:<id>"
		id := part[i+1:]
		if len(id) != 64 || !isHex(id) {
			return Named{}, false
		}
		_, middle, _ := cutLast(part[:i], ':')
		return Named{ID: id, Runtime: runtimeOf(middle)}, true
	}
	base, scope := strings.CutSuffix(part, ".scope")
	if name, ok := strings.CutPrefix(base, "machine-"); ok && scope && prev == "machine.slice" && name != "" {
		name = unescape(name)
		if strings.HasPrefix(name, "qemu-") {
			return Named{}, false // a virtual machine; its process is the host's
		}
		return Named{ID: name, Name: name, Runtime: "systemd-nspawn", Final: true}, true
	}
	head, id, ok := cutLast(base, '-')
	if ok && len(id) == 64 && isHex(id) {
		if strings.HasSuffix(head, "conmon") {
			return Named{}, false // the monitor outside the container
		}
		// A scope of any maker; without ".scope" only a prefix we know (cgroupfs).
		if runtime := runtimeOf(head); scope || runtime != "" {
			return Named{ID: id, Runtime: runtime}, true
		}
		return Named{}, false
	}
	// runc itself takes any id.
	if id, ok := strings.CutPrefix(base, "runc-"); ok && scope && ValidID(id) {
		return Named{ID: id, Runtime: "runc"}, true
	}
	return Named{}, false
}

func runtimeOf(prefix string) string {
	for _, s := range scopes {
		if s.prefix == prefix {
			return s.runtime
		}
	}
	return ""
}

// podOf returns the uid in "pod<uid>" (cgroupfs) or "kubepods-burstable-pod<uid>.slice"
// (systemd, which writes "_" for "-"). Static pods have a hash instead of a UUID.
func podOf(part string) string {
	if i := strings.IndexByte(part, ':'); i > 0 {
		part = part[:i]
	}
	base, slice := strings.CutSuffix(part, ".slice")
	var uid string
	switch {
	case slice:
		i := strings.LastIndex(base, "-pod")
		if i < 0 {
			return ""
		}
		uid = strings.ReplaceAll(base[i+len("-pod"):], "_", "-")
	case strings.HasPrefix(base, "pod"):
		uid = base[len("pod"):]
	default:
		return ""
	}
	if len(uid) != 32 && len(uid) != 36 {
		return ""
	}
	for i := 0; i < len(uid); i++ {
		dash := len(uid) == 36 && (i == 8 || i == 13 || i == 18 || i == 23)
		if dash != (uid[i] == '-') || !dash && !hexDigit(uid[i]) {
			return ""
		}
	}
	return uid
}

// ValidID reports whether s can be a container's id in any runtime: letters, digits
// and "_.+-", at most 256 bytes, and nothing that climbs out of a folder.
func ValidID(s string) bool {
	if s == "" || len(s) > 256 || s[0] == '.' {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-' || c == '+') {
			return false
		}
	}
	return true
}

// unescape undoes systemd's "\x2d" (systemd.unit(5), "string escaping").
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && s[i+1] == 'x' {
			if hi, lo := nibble(s[i+2]), nibble(s[i+3]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func nibble(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}

func hexDigit(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func isHex(s string) bool {
	for i := 0; i < len(s); i++ {
		if !hexDigit(s[i]) {
			return false
		}
	}
	return s != ""
}

func isDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isBase36(s string) bool {
	for i := 0; i < len(s); i++ {
		if !(s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'z') {
			return false
		}
	}
	return s != ""
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	i := strings.LastIndexByte(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
