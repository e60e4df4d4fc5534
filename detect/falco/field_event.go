package falco

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
)

const inContainer = "event.in_container"

// eventField reads evt.X.
func (t *translator) eventField(name string, v *view) value {
	if arg, ok := strings.CutPrefix(name, "arg."); ok {
		return t.argument(arg, v)
	}
	if arg, ok := strings.CutPrefix(name, "rawarg."); ok {
		return t.argument(arg, v)
	}
	switch name {
	case "type":
		return value{out: "event.kind", ask: func(cmp string, words []string) answer { return t.callNamed(v, cmp, words) }}
	case "dir":
		// Rules for older engines ask for the beginning of a call (>), of which no event tells:
		// they are asked at its end, and say so.
		return value{out: `"<"`, ask: func(cmp string, words []string) answer {
			if cmp == "=" && words[0] == ">" {
				return answer{lo: yes, hi: yes, gap: "the end of a call is told, not its beginning, and it is asked then"}
			}
			return fixed("<").ask(cmp, words)
		}}
	case "num":
		return value{out: "0", ask: func(cmp string, words []string) answer {
			switch {
			case len(words) == 1 && words[0] == "0" && cmp == "=":
				return sure(no) // how rules write "never"
			case len(words) == 1 && words[0] == "0" && (cmp == ">=" || cmp == ">" || cmp == "!="), cmp == "exists":
				return sure(yes)
			}
			return unseen("events have no number")
		}}
	case "source":
		return fixed("syscall")
	case "hostname":
		return textValue("event.node")
	case "count":
		return fixed("1")
	case "failed":
		return flagValue("event.result != 0").printed(`(event.result == 0 ? "false" : "true")`)
	case "res":
		return resultName(v)
	case "rawres":
		return rawResult(v)
	case "is_open_read":
		if v.kind == bollwerk.EventOpen || v.made && v.descriptor {
			return flagValue("event.file.read")
		}
		return absentOr(v)
	case "is_open_write":
		switch {
		case v.made && v.descriptor:
			return fixed("true") // whoever makes a file opens it for writing
		case v.kind == bollwerk.EventOpen:
			return flagValue("event.file.write")
		}
		return absentOr(v)
	case "is_open_exec":
		switch {
		case v.made && v.descriptor:
			return flagValue("event.file.executable")
		case v.kind == bollwerk.EventOpen:
			return fixed("false") // the mode says something of a new file only
		}
		return absentOr(v)
	case "is_open_create":
		switch {
		case v.made && v.descriptor:
			return fixed("true")
		case v.kind == bollwerk.EventOpen:
			return fixed("false")
		}
		return absentOr(v)
	case "args", "buffer", "info":
		return notTold("the raw arguments of a call are not kept")
	}
	return notTold("the events do not tell it")
}

// absentOr: what only an open has is no part of another event, in Falco either.
func absentOr(*view) value { return fixed("false") }

func resultName(v *view) value {
	out := `(event.result == 0 ? "SUCCESS" : "errno " + string(event.result))`
	return value{out: out, ask: func(cmp string, words []string) answer {
		if cmp == "exists" {
			return sure(yes)
		}
		if len(words) == 0 {
			return sure(no)
		}
		switch cmp {
		case "startswith":
			switch words[0] {
			case "E":
				return sure(atom("event.result != 0"))
			case "":
				return sure(yes)
			}
		case "=", "in", "!=", "contains":
			var numbers []string
			for _, w := range words {
				if w == "SUCCESS" {
					numbers = append(numbers, "0")
					continue
				}
				n, ok := errnoOf(w)
				if !ok {
					return unseen("%q is not the name of an error", clip(w))
				}
				numbers = append(numbers, strconv.Itoa(n))
			}
			n := atom("event.result in [%s]", strings.Join(numbers, ", "))
			if cmp == "!=" {
				n = negate(n)
			}
			return sure(n)
		}
		return unseen("%s is not known for a result", cmp)
	}}
}

// errnoOf reads a name, or a negative number.
func errnoOf(w string) (int, bool) {
	if n, err := strconv.Atoi(w); err == nil {
		return -n, n <= 0
	}
	n, ok := errorNames()[w]
	return n, ok
}

// rawResult is what a call returned: 0 or a descriptor, or a negative error.
func rawResult(v *view) value {
	return value{out: "string(-1 * event.result)", ask: func(cmp string, words []string) answer {
		if cmp == "exists" {
			return sure(yes)
		}
		fine, failed := atom("event.result == 0"), atom("event.result != 0")
		var kids []*node
		for _, w := range words {
			n, ok := parseNumber(w)
			if !ok {
				return unseen("%q is not a number", clip(w))
			}
			unclear := n > 0 || n == 0 && v.descriptor
			switch cmp {
			case "=", "in", "!=":
				switch {
				case n < 0:
					kids = append(kids, atom("event.result == %d", -n))
				case unclear && v.descriptor:
					return unseen("the number of the new descriptor is not told")
				case n == 0:
					kids = append(kids, fine)
				default:
					kids = append(kids, no)
				}
			case ">=", ">":
				switch {
				case n == 0 && cmp == ">=", n == -1 && cmp == ">":
					kids = append(kids, fine)
				case n < 0:
					kids = append(kids, either(fine, atom("event.result %s %d", map[string]string{">=": "<=", ">": "<"}[cmp], -n)))
				default:
					return unseen("the number a call answered with is not told")
				}
			case "<", "<=":
				switch {
				case n == 0 && cmp == "<", n == -1 && cmp == "<=":
					kids = append(kids, failed)
				case n < 0:
					kids = append(kids, atom("event.result %s %d", map[string]string{"<=": ">=", "<": ">"}[cmp], -n))
				default:
					return unseen("the number a call answered with is not told")
				}
			default:
				return unseen("%s is for texts", cmp)
			}
		}
		if cmp == "!=" {
			return sure(negate(either(kids...)))
		}
		return sure(either(kids...))
	}}
}

// argument reads evt.arg.X: the parameters of the calls that a view stands for.
func (t *translator) argument(name string, v *view) value {
	file := map[string]string{}
	switch v.kind {
	case bollwerk.EventExec:
		switch name {
		case "filename", "pathname", "exe_path", "trusted_exepath":
			return textValue(self + ".path")
		case "exe":
			x, _ := ofProcess("exe", "", false)
			return x
		case "args":
			x, _ := ofProcess("args", "", false)
			return x
		case "comm":
			return textValue(self + ".name")
		case "cwd":
			x, _ := ofProcess("cwd", "", false)
			return x
		case "flags":
			return words(map[string]string{"EXE_UPPER_LAYER": self + `.origin in ["created", "modified"]`, "EXE_LOWER_LAYER": self + `.origin == "image"`,
				"EXE_FROM_MEMFD": `(` + self + `.fileless && ` + self + `.path.contains("memfd:"))`})
		}
	case bollwerk.EventOpen, bollwerk.EventCreate:
		file = map[string]string{"name": "event.file.path", "path": "event.file.path", "filename": "event.file.path", "pathname": "event.file.path"}
		if name == "flags" {
			if v.made && v.descriptor {
				return words(map[string]string{"O_CREAT": "true", "O_TRUNC": "event.file.truncate", "O_APPEND": "event.file.append", "FD_UPPER_LAYER": "event.file.origin == \"created\""})
			}
			return words(map[string]string{"O_CREAT": "event.file.create", "O_TRUNC": "event.file.truncate", "O_APPEND": "event.file.append",
				"O_WRONLY": "(event.file.write && !event.file.read)", "O_RDWR": "(event.file.write && event.file.read)",
				"O_RDONLY": "(event.file.read && !event.file.write)", "FD_UPPER_LAYER": `event.file.origin in ["created", "modified"]`})
		}
	case bollwerk.EventUnlink:
		file = map[string]string{"name": "event.file.path", "path": "event.file.path", "pathname": "event.file.path"}
	case bollwerk.EventRename, bollwerk.EventLink:
		file = map[string]string{"oldpath": "event.file.path", "newpath": "event.file.target"}
	case bollwerk.EventSymlink:
		file = map[string]string{"linkpath": "event.file.path", "target": "event.file.target"}
	case bollwerk.EventChmod:
		file = map[string]string{"filename": "event.file.path", "pathname": "event.file.path", "path": "event.file.path", "name": "event.file.path"}
		if name == "mode" {
			return words(modeBits())
		}
	case bollwerk.EventChown:
		file = map[string]string{"path": "event.file.path", "pathname": "event.file.path"}
		switch name {
		case "uid":
			return numberValue("event.file.uid")
		case "gid":
			return numberValue("event.file.gid")
		}
	case bollwerk.EventMemfd:
		file = map[string]string{"name": "event.file.path"}
	case bollwerk.EventMount:
		file = map[string]string{"dev": "event.mount.source", "dir": "event.mount.target", "type": "event.mount.type", "name": "event.mount.target"}
		if name == "flags" {
			return words(map[string]string{"MS_BIND": "event.mount.bind", "BIND": "event.mount.bind", "MS_RDONLY": "event.mount.read_only", "RDONLY": "event.mount.read_only"})
		}
	case bollwerk.EventSocket:
		packet := `event.connection.protocol == "packet"`
		switch name {
		case "domain":
			return words(map[string]string{"AF_PACKET": packet, "AF_INET": `event.connection.protocol in ["raw", "icmp", "tcp", "udp"]`})
		case "type":
			return words(map[string]string{"SOCK_RAW": `event.connection.protocol == "raw"`})
		}
	case bollwerk.EventPtrace:
		if name == "request" {
			return words(map[string]string{"PTRACE_ATTACH": "true", "PTRACE_SEIZE": "true", "16": "true", "16902": "true", "PTRACE_TRACEME": "false", "0": "false"})
		}
	case bollwerk.EventTraceme:
		if name == "request" {
			return words(map[string]string{"PTRACE_TRACEME": "true", "0": "true", others: "false"})
		}
	case bollwerk.EventBPF:
		if name == "cmd" {
			return words(map[string]string{"BPF_PROG_LOAD": "true", "5": "true"})
		}
	case bollwerk.EventNamespace:
		if name == "flags" || name == "nstype" {
			m := map[string]string{}
			for flag, kind := range map[string]string{"CLONE_NEWNS": "mnt", "CLONE_NEWPID": "pid", "CLONE_NEWNET": "net", "CLONE_NEWUSER": "user",
				"CLONE_NEWUTS": "uts", "CLONE_NEWIPC": "ipc", "CLONE_NEWCGROUP": "cgroup", "CLONE_NEWTIME": "time"} {
				m[flag] = quote(kind) + " in event.namespace.kinds"
			}
			return words(m)
		}
	case bollwerk.EventCredentials:
		switch {
		case name == "uid" && v.core[0] == "setuid":
			return t.identity("event.change.uid")
		case name == "euid" && v.core[0] == "setuid":
			return t.identity("event.change.euid")
		case name == "gid" && v.core[0] == "setgid":
			return groupID("event.change.gid")
		}
	case bollwerk.EventSignal:
		switch name {
		case "sig":
			return numberValue("event.signal")
		case "pid":
			return numberValue("event.target.pid")
		}
	case bollwerk.EventModule:
		if name == "name" {
			return textValue("event.object.name")
		}
	}
	if cel := file[name]; cel != "" {
		return textValue(cel)
	}
	switch name {
	case "res":
		return rawResult(v)
	case "fd":
		if !v.descriptor {
			break
		}
		return rawResult(v)
	}
	if name == "flags" && callHas(name, v) {
		return words(map[string]string{familyOf(v) + "_": ""})
	}
	if callHas(name, v) {
		return notTold("the argument %s of the call is not kept", clip(name))
	}
	return absent
}

// callHas: arguments that a call of the view has and the events do not. Others are no
// part of it, and a comparison with them does not hold in Falco either.
func callHas(name string, v *view) bool {
	has := map[bollwerk.EventKind]string{
		bollwerk.EventExec: "tid pid ptid fdlimit pgft_maj pgft_min vm_size vm_rss vm_swap cgroups env tty pgid vpgid loginuid flags cap_inheritable cap_permitted cap_effective exe_ino exe_ino_ctime exe_ino_mtime uid",
		bollwerk.EventOpen: "flags mode dev ino dirfd resolve", bollwerk.EventCreate: "flags mode dev ino dirfd resolve",
		bollwerk.EventRename: "flags olddirfd newdirfd olddir newdir", bollwerk.EventUnlink: "flags dirfd", bollwerk.EventChmod: "dirfd mode fd", bollwerk.EventChown: "fd dirfd flags",
		bollwerk.EventLink: "flags olddir newdir", bollwerk.EventSymlink: "linkdirfd", bollwerk.EventMmap: "addr length prot flags fd offset",
		bollwerk.EventConnect: "fd tuple addr", bollwerk.EventSend: "fd size tuple data", bollwerk.EventAccept: "fd tuple queuepct queuelen queuemax flags",
		bollwerk.EventListen: "fd backlog", bollwerk.EventBind: "fd addr", bollwerk.EventSocket: "domain type proto", bollwerk.EventFork: "flags uid gid vtid vpid exe args comm",
		bollwerk.EventExit: "status ret sig core reaper_tid", bollwerk.EventCredentials: "uid gid euid", bollwerk.EventNamespace: "fd flags nstype", bollwerk.EventMount: "flags",
		bollwerk.EventPtrace: "request pid addr data", bollwerk.EventTraceme: "request pid addr data", bollwerk.EventUserfault: "flags", bollwerk.EventMemfd: "flags", bollwerk.EventModule: "img length uargs fd flags", bollwerk.EventBPF: "cmd",
		bollwerk.EventContainer: "id type name image json",
	}
	for _, n := range strings.Fields(has[v.kind]) {
		if n == name {
			return true
		}
	}
	return false
}

// familyOf is how the flags of a call begin of which none is told.
func familyOf(v *view) string {
	return map[bollwerk.EventKind]string{bollwerk.EventUnlink: "AT", bollwerk.EventRename: "RENAME", bollwerk.EventChown: "AT", bollwerk.EventLink: "AT",
		bollwerk.EventMmap: "MAP", bollwerk.EventAccept: "SOCK", bollwerk.EventFork: "CLONE", bollwerk.EventMemfd: "MFD", bollwerk.EventModule: "MODULE"}[v.kind]
}

// others in a table of words: what is true of all words that the table does not list.
const others = "*"

// words is an argument that is a set of words; each is a condition here. A word of
// another family (O_CREAT asked of an unshare) is never in it.
func words(table map[string]string) value {
	families := map[string]bool{}
	for w := range table {
		if w == others {
			continue
		}
		family, _, _ := strings.Cut(w, "_")
		families[family] = true
	}
	one := func(w string) (*node, bool) {
		switch cel := table[w]; cel {
		case "true":
			return yes, true
		case "false":
			return no, true
		case "":
			if table[others] == "false" {
				return no, true
			}
			family, _, compound := strings.Cut(w, "_")
			return no, compound && !families[family]
		default:
			return atom("%s", cel), true
		}
	}
	return value{ask: func(cmp string, words []string) answer {
		var kids []*node
		var missing string
		for _, w := range words {
			n, ok := one(w)
			if !ok {
				missing = w
				continue
			}
			kids = append(kids, n)
		}
		n := either(kids...)
		switch cmp {
		case "exists":
			return sure(yes)
		case "contains", "icontains", "=", "in", "intersects":
			if missing != "" {
				return answer{lo: n, hi: yes, gap: fmt.Sprintf("whether it is %s is not told", clip(missing))}
			}
			return sure(n)
		case "!=":
			if missing != "" {
				return unseen("whether it is %s is not told", clip(missing))
			}
			return sure(negate(n))
		}
		return unseen("%s is not known for it", cmp)
	}}
}

// modeBits are the words of a file's mode (linux/stat.h).
func modeBits() map[string]string {
	out := map[string]string{}
	for name, bit := range map[string]int{"S_ISUID": 0o4000, "S_ISGID": 0o2000, "S_ISVTX": 0o1000, "S_IRUSR": 0o400, "S_IWUSR": 0o200, "S_IXUSR": 0o100,
		"S_IRGRP": 0o40, "S_IWGRP": 0o20, "S_IXGRP": 0o10, "S_IROTH": 0o4, "S_IWOTH": 0o2, "S_IXOTH": 0o1} {
		out[name] = fmt.Sprintf("math.bitAnd(event.file.mode, %d) != 0", bit)
	}
	return out
}

// callNamed answers evt.type = open.
func (t *translator) callNamed(v *view, cmp string, words []string) answer {
	if cmp == "exists" {
		return sure(yes)
	}
	names := map[string]bool{}
	switch cmp {
	case "=", "in", "!=", "intersects":
		for _, w := range words {
			names[w] = true
			if !t.calls[w] && cmp != "!=" && t.positive {
				t.unseenCalls[w] = true
			}
		}
	case "contains", "startswith", "endswith", "icontains":
		for name := range t.calls {
			if holds, _ := compareFixed(name, cmp, words); holds {
				names[name] = true
			}
		}
	default:
		return unseen("%s is not known for the name of a call", cmp)
	}
	some, all := v.called(names)
	a := sure(constant(some))
	if some && !all {
		a.gap = fmt.Sprintf("an event of kind %s does not say which call it was: all of %s are asked", v.kind, strings.Join(append(append([]string{}, v.core...), v.more...), ", "))
	}
	if some && a.gap == "" {
		a.gap = v.wider
	}
	if cmp == "!=" {
		a.lo, a.hi = negate(a.hi), negate(a.lo)
	}
	return a
}

// missingCalls lists the calls that the rule names and no event stands for.
func (t *translator) missingCalls() []string {
	var out []string
	for n := range t.unseenCalls {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}
