package falco

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/bollwerk/bollwerk"
)

const self = "event.process"

// generation is the n-th ancestor in CEL; 0 is the process.
func generation(n int) string { return self + strings.Repeat(".parent", n) }

// commandLine is Falco's proc.cmdline: the kernel's name and the arguments after the first.
func commandLine(p string) string {
	return fmt.Sprintf(`(%[1]s.arguments == "" ? %[1]s.name : %[1]s.name + " " + %[1]s.arguments)`, p)
}

// processField is a field that a process and its ancestors have alike.
type processField struct {
	typ valueType
	cel func(p string) string
	ask func(p string) func(cmp string, words []string) answer
}

func member(name string) func(string) string {
	return func(p string) string { return p + "." + name }
}

func processFields() map[string]processField {
	return map[string]processField{
		"name":    {cel: member("name")},
		"exepath": {cel: member("path")},
		"cmdline": {cel: commandLine},
		"args":    {cel: member("arguments")},
		"exeline": {cel: member("command")},
		"exe":     {cel: member("command"), ask: firstArgument},
		"pid":     {typ: isNumber, cel: member("pid")},
		"vpid":    {typ: isNumber, cel: member("ns_pid")},
		"sid":     {typ: isNumber, cel: member("session")},
		"cwd": {cel: func(p string) string {
			return fmt.Sprintf(`(%[1]s.cwd.endsWith("/") ? %[1]s.cwd : %[1]s.cwd + "/")`, p)
		}},
	}
}

// firstArgument is argv[0], which is the beginning of the command line. Where a word has
// no space, what is asked of the first argument can be asked of the line.
func firstArgument(p string) func(cmp string, words []string) answer {
	line, rest := p+".command", p+".arguments"
	return func(cmp string, words []string) answer {
		var kids []*node
		for _, w := range words {
			if strings.Contains(w, " ") {
				return unseen("the first argument is compared only with texts without a space")
			}
			switch cmp {
			case "=", "in", "intersects", "!=":
				if w == "" {
					kids = append(kids, either(atom(`%s == ""`, line), atom(`%s.startsWith(" ")`, line)))
					continue
				}
				kids = append(kids, either(atom("%s == %s", line, quote(w)), atom("%s.startsWith(%s)", line, quote(w+" "))))
			case "startswith":
				kids = append(kids, atom("%s.startsWith(%s)", line, quote(w)))
			case "endswith":
				kids = append(kids, atom(`%s.endsWith(%[3]s == "" ? %[2]s : %[4]s + %[3]s)`, line, quote(w), rest, quote(w+" ")))
			case "contains":
				kids = append(kids, atom("%s.matches(%s)", line, quote("^[^ ]*"+quoteMeta(w))))
			default:
				return unseen("%s is not known for the first argument", cmp)
			}
		}
		switch cmp {
		case "exists":
			return sure(atom(`%s != ""`, line))
		case "!=":
			return sure(negate(either(kids...)))
		}
		return sure(either(kids...))
	}
}

func quoteMeta(s string) string {
	var b strings.Builder
	for _, c := range s {
		if strings.ContainsRune(`\.+*?()|[]{}^$`, c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// ofProcess reads proc.X, proc.pX, proc.aX[n] and proc.aX.
func ofProcess(name, arg string, hasArg bool) (value, bool) {
	table := processFields()
	make := func(f processField, n int) value {
		p := generation(n)
		v := value{typ: f.typ, cel: f.cel(p)}
		if f.ask != nil {
			v.ask = f.ask(p)
		}
		there := atom("has(%s)", p)
		if n == 0 {
			there = nil
		}
		if name == "cwd" || name == "acwd" {
			there = atom(`%s.cwd != ""`, p)
		}
		if there != nil && v.ask != nil {
			ask := v.ask
			v.ask = func(cmp string, words []string) answer {
				a := ask(cmp, words)
				if a.gap == "" {
					a = sure(both(there, a.lo))
				}
				return a
			}
		}
		v.present = there
		return v
	}
	if f, ok := table[name]; ok && !hasArg {
		return make(f, 0), true
	}
	if f, ok := table[strings.TrimPrefix(name, "p")]; ok && name[0] == 'p' && !hasArg {
		return make(f, 1), true
	}
	f, ok := table[strings.TrimPrefix(name, "a")]
	if !ok || name[0] != 'a' {
		return value{}, false
	}
	if hasArg {
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 {
			return notTold("%q is not the number of an ancestor", clip(arg)), true
		}
		if n > bollwerk.ProcessDepth {
			return notTold("at most %d ancestors are known", bollwerk.ProcessDepth), true
		}
		return make(f, n), true
	}
	over := self + ".ancestors"
	v := value{typ: isMany, cel: f.cel("x"), over: over, out: generation(1) + ".name"}
	switch {
	case f.typ == isNumber:
		v.ask = func(cmp string, words []string) answer {
			a := numberValue(f.cel("x")).compareNumber(cmp, words)
			if a.gap != "" || a.lo.op == isFalse || a.lo.op == isTrue {
				return a
			}
			return sure(atom("%s.exists(x, %s)", over, a.lo))
		}
	case f.ask != nil:
		ask := f.ask("x")
		v.ask = func(cmp string, words []string) answer {
			a := ask(cmp, words)
			if a.gap != "" {
				return a
			}
			return sure(atom("%s.exists(x, %s)", over, a.lo))
		}
	}
	return v, true
}

// age turns a comparison with nanoseconds into one with whole seconds.
func age(cel string) value {
	return value{typ: isNumber, cel: cel, ask: func(cmp string, words []string) answer {
		if cmp == "exists" {
			return sure(yes)
		}
		if len(words) != 1 {
			return unseen("a duration is compared with one number")
		}
		n, ok := parseNumber(words[0])
		if !ok {
			return unseen("%q is not a number of nanoseconds", clip(words[0]))
		}
		s := n / 1e9
		whole := n%1e9 == 0
		switch cmp {
		case "<", "<=":
			// Seconds are rounded down: less than 5 of them is less than 5·10⁹ ns.
			if whole {
				return sure(atom("%s < %d", cel, s))
			}
			return answer{lo: atom("%s < %d", cel, s), hi: atom("%s <= %d", cel, s), gap: "ages are known in whole seconds"}
		case ">", ">=":
			if whole {
				return sure(atom("%s >= %d", cel, s))
			}
			return answer{lo: atom("%s > %d", cel, s), hi: atom("%s >= %d", cel, s), gap: "ages are known in whole seconds"}
		}
		return unseen("ages are known in whole seconds")
	}}
}

// field finds what a field is for a view.
func (t *translator) field(o operand, v *view) value {
	group, name, _ := strings.Cut(o.field, ".")
	switch group {
	case "proc":
		return t.processField(name, o)
	case "evt", "syscall":
		return t.eventField(name, v)
	case "fd":
		return fdField(name, v)
	case "fs":
		return fsField(name, v)
	case "user", "group":
		return t.userField(o.field, v)
	case "container":
		return containerField(name, o)
	case "k8s", "k8smeta":
		return podField(name, o)
	case "thread":
		return threadField(name)
	}
	if group == "ka" || group == "jevt" || group == "json" || group == "ct" || group == "okta" || group == "github" || group == "gcp" {
		return notTold("fields of the plug-in for %s are not events of this host", group)
	}
	return notTold("there is no such field")
}

func (t *translator) processField(name string, o operand) value {
	if v, ok := ofProcess(name, o.arg, o.hasArg); ok {
		return v
	}
	origin := func(words ...string) value { return flagValue(self + ".origin in " + quoteAll(words)) }
	switch name {
	case "ppid":
		return numberValue(self + ".parent.pid")
	case "pvpid":
		return numberValue(self + ".parent.ns_pid")
	case "loginshellid":
		return notTold("login shells are not told from others")
	case "tty":
		return terminal(self + ".tty")
	case "duration", "pid.duration":
		return age(self + ".age")
	case "ppid.duration":
		return age(self + ".parent.age").if_(atom("has(%s.parent)", self))
	case "is_exe_upper_layer":
		return origin("created", "modified")
	case "is_exe_lower_layer":
		return origin("image")
	case "is_exe_from_memfd":
		return flagValue(`(` + self + `.fileless && ` + self + `.path.contains("memfd:"))`)
	case "is_setuid":
		return flagValue(self + ".setuid")
	case "exe_ino":
		return numberValue(self + ".inode")
	case "env":
		return t.variables(self, o)
	case "penv":
		return t.variables(self+".parent", o)
	case "loginuid":
		return numberValue(self + ".login_uid")
	case "nchilds", "nthreads", "fdopencount", "fdlimit", "fdusage", "vmsize", "vmrss", "vmswap", "cmdnargs", "cmdlenargs":
		return notTold("the events do not count it")
	case "is_vpgid_leader", "vpgid", "vpgid.name", "vpgid.exe", "vpgid.exepath", "pgid", "pgid.name", "pgid.exe", "pgid.exepath", "is_pgid_leader":
		return notTold("process groups are not told")
	case "sname", "sid.exe", "sid.exepath", "is_sid_leader":
		return notTold("of a session only its number is told")
	case "stdin.type", "stdout.type", "stderr.type", "stdin.name", "stdout.name", "stderr.name":
		return notTold("of standard descriptors only sockets and pipes are told")
	case "is_exe_writable":
		return notTold("whether the executable can be written is not told")
	case "is_container_healthcheck", "is_container_liveness_probe", "is_container_readiness_probe":
		return notTold("probes are not told from other commands")
	}
	return notTold("the events do not tell it")
}

// terminal is proc.tty: a number in Falco, 0 without a terminal.
func terminal(cel string) value {
	return value{cel: cel, out: cel, ask: func(cmp string, words []string) answer {
		none := atom(`%s == ""`, cel)
		nums, bad := parseNumbers(words)
		switch {
		case cmp == "exists":
			return sure(yes)
		case bad != "" || len(nums) != 1 || nums[0] != "0":
			return unseen("of a terminal's number only whether it is 0 is known")
		case cmp == "=" || cmp == "in" || cmp == "<=":
			return sure(none)
		case cmp == "!=" || cmp == ">":
			return sure(negate(none))
		case cmp == ">=":
			return sure(yes)
		case cmp == "<":
			return sure(no)
		}
		return unseen("%s is for texts", cmp)
	}}
}

// variables is the environment. Only selected variables are kept: a question about
// another one cannot be answered.
func (t *translator) variables(p string, o operand) value {
	over := p + ".env"
	kept := func(word string) bool {
		for _, k := range t.options.Variables {
			if strings.Contains(strings.ToUpper(word), k) {
				return true
			}
		}
		return false
	}
	if o.hasArg {
		if !kept(o.arg) {
			return notTold("the agent does not keep the variable %s", clip(o.arg))
		}
		prefix := o.arg + "="
		return value{ask: func(cmp string, words []string) answer {
			switch cmp {
			case "exists":
				return sure(atom("%s.exists(x, x.startsWith(%s))", over, quote(prefix)))
			case "=", "in":
				for i := range words {
					words[i] = prefix + words[i]
				}
				return sure(atom("%s.exists(x, x in %s)", over, quoteAll(words)))
			case "startswith":
				return sure(atom("%s.exists(x, x.startsWith(%s))", over, quote(prefix+words[0])))
			case "contains", "icontains", "endswith":
				a := compareText("x", cmp, words)
				return sure(atom("%s.exists(x, x.startsWith(%s) && %s)", over, quote(prefix), a.lo))
			}
			return unseen("%s is not known for a variable", cmp)
		}}
	}
	return value{typ: isMany, over: over, cel: "x", ask: func(cmp string, words []string) answer {
		if cmp == "contains" || cmp == "icontains" {
			if !kept(words[0]) {
				return unseen("the agent keeps only some variables, and none of which the name is in %q", clip(words[0]))
			}
			return value{typ: isMany, over: over, cel: "x"}.compare(cmp, words)
		}
		return unseen("%s is not known for the environment", cmp)
	}}
}

func threadField(name string) value {
	list := func(name string) value {
		over := self + "." + name
		return value{typ: isMany, over: over, cel: "x", out: over + `.join(" ")`, ask: func(cmp string, words []string) answer {
			switch cmp {
			case "contains", "icontains":
				if strings.Contains(words[0], " ") {
					return unseen("capabilities are compared one by one")
				}
				return value{typ: isMany, over: over, cel: "x"}.compare(cmp, words)
			case "exists":
				return sure(yes)
			case "=":
				if words[0] == "" {
					return sure(atom("size(%s) == 0", over))
				}
			case "!=":
				if words[0] == "" {
					return sure(atom("size(%s) != 0", over))
				}
			}
			return unseen("capabilities are asked one by one, with contains")
		}}
	}
	switch name {
	case "cap_effective":
		return list("capabilities")
	case "cap_permitted":
		return list("permitted")
	case "cap_inheritable":
		return notTold("inheritable capabilities are not told")
	case "ismain":
		return fixed("true")
	}
	return notTold("threads are not told apart")
}
