package falco

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
)

func errorNames() map[string]int {
	out := map[string]int{}
	for n := range 134 {
		if name := unix.ErrnoName(unix.Errno(n)); name != "" {
			out[name] = n
		}
	}
	out["EWOULDBLOCK"] = int(unix.EAGAIN)
	return out
}

// fdField reads fd.X: the file or connection of the event.
func fdField(name string, v *view) value {
	const path = "event.file.path"
	opened := v.kind == bollwerk.EventOpen || v.made && v.descriptor || v.kind == bollwerk.EventMemfd
	if opened || v.kind == bollwerk.EventMmap {
		switch name {
		case "name":
			return textValue(path)
		case "directory":
			return textValue("event.file.dir")
		case "filename":
			return textValue("event.file.name")
		case "nameraw":
			return notTold("the path as the program wrote it is not told, only what it came to")
		case "num":
			return descriptorNumber()
		case "ino":
			return numberValue("event.file.inode")
		case "dev":
			return numberValue("event.file.device")
		case "is_upper_layer":
			return flagValue(`event.file.origin in ["created", "modified"]`)
		case "is_lower_layer":
			return flagValue(`event.file.origin == "image"`)
		case "type", "typechar":
			file, folder := "file", "directory"
			if name == "typechar" {
				file, folder = "f", "d"
			}
			if v.made || v.kind != bollwerk.EventOpen {
				return fixed(file)
			}
			return value{out: fmt.Sprintf("(%s ? %s : %s)", isFolder, quote(folder), quote(file)), ask: func(cmp string, words []string) answer {
				switch cmp {
				case "exists":
					return sure(yes)
				case "=", "in", "!=":
					n := either(both(atom(isFolder), constant(slices.Contains(words, folder))), both(negate(atom(isFolder)), constant(slices.Contains(words, file))))
					if cmp == "!=" {
						n = negate(n)
					}
					return sure(n)
				}
				return unseen("%s is not known for it", cmp)
			}}
		}
		if strings.HasPrefix(name, "uid") || name == "openmode" || name == "dev.major" || name == "dev.minor" {
			return notTold("the events do not tell it")
		}
		return absent
	}
	if v.socket != noSocket {
		return socketField(name, v)
	}
	return absent
}

func descriptorNumber() value {
	return value{out: `(event.result == 0 ? "0" : "-1")`, ask: func(cmp string, words []string) answer {
		if cmp == "exists" {
			return sure(yes)
		}
		if len(words) == 1 {
			fine := atom("event.result == 0")
			switch cmp + words[0] {
			case ">=0", ">-1", "!=-1":
				return sure(fine)
			case "<0", "=-1", "<=-1":
				return sure(negate(fine))
			}
		}
		return unseen("the number of the new descriptor is not told")
	}}
}

const (
	remoteAddress = "event.connection.remote_address"
	localAddress  = "event.connection.local_address"
	remotePort    = "event.connection.remote_port"
	localPort     = "event.connection.local_port"
	protocolName  = "event.connection.protocol"
)

func socketField(name string, v *view) value {
	address := func(ends ...string) value { return value{typ: isAddress, cel: ends[0], ends: ends} }
	port := func(ends ...string) value { return value{typ: isNumber, cel: ends[0], ends: ends} }
	// The server is who was connected to.
	serverAddress, serverPort, clientAddress, clientPort := remoteAddress, remotePort, localAddress, localPort
	if v.socket != client {
		serverAddress, serverPort, clientAddress, clientPort = localAddress, localPort, remoteAddress, remotePort
	}
	alone := v.socket == waiting
	if alone {
		switch name {
		case "cip", "cnet", "cport", "rip", "rnet", "rport", "cip.name", "rip.name":
			return absent
		}
	}
	told := remoteAddress // tells which family it is
	if alone {
		told = localAddress
	}
	four, six := atom(`%s.inNetwork(["0.0.0.0/0"])`, told), atom(`%s.inNetwork(["::/0"])`, told)
	unixSocket := atom(`%s == "unix"`, protocolName)
	family := func(names map[string]*node) value {
		return value{out: protocolName, ask: func(cmp string, words []string) answer {
			var kids []*node
			for _, w := range words {
				if n := names[w]; n != nil {
					kids = append(kids, n)
				}
			}
			switch cmp {
			case "exists":
				return sure(yes)
			case "=", "in", "intersects":
				return sure(either(kids...))
			case "!=":
				return sure(negate(either(kids...)))
			}
			return unseen("%s is not known for it", cmp)
		}}
	}
	switch name {
	case "type":
		return family(map[string]*node{"ipv4": four, "ipv6": six, "unix": unixSocket})
	case "typechar":
		return family(map[string]*node{"4": four, "6": six, "u": unixSocket})
	case "sockfamily":
		return family(map[string]*node{"ip": either(four, six), "unix": unixSocket})
	case "l4proto":
		return value{cel: protocolName}.if_(negate(unixSocket))
	case "is_server":
		return fixed(strconv.FormatBool(v.socket != client))
	case "ip", "net":
		if alone {
			return address(localAddress)
		}
		return address(remoteAddress, localAddress)
	case "sip", "snet":
		return address(serverAddress)
	case "cip", "cnet":
		return address(clientAddress)
	case "rip", "rnet":
		return address(remoteAddress)
	case "lip", "lnet":
		return address(localAddress)
	case "port":
		if alone {
			return port(localPort)
		}
		return port(remotePort, localPort)
	case "sport":
		return port(serverPort)
	case "cport":
		return port(clientPort)
	case "rport":
		return port(remotePort)
	case "lport":
		return port(localPort)
	case "sip.name", "rip.name":
		if v.socket == client {
			return value{cel: "event.connection.name", ask: func(cmp string, words []string) answer {
				a := compareText("event.connection.name", cmp, words)
				a.gap = "an address is known by the name that the workload asked for, not by a search of the rule's names"
				a.hi = yes
				return a
			}}
		}
		return notTold("names of who connects are not asked for")
	case "cip.name", "lip.name":
		return notTold("names of who connects are not asked for")
	case "connected":
		if v.kind == bollwerk.EventSend {
			return fixed("false")
		}
		return flagValue("event.succeeded")
	case "name_changed":
		return fixed("true") // the events tell of new peers only
	case "name":
		return value{out: fmt.Sprintf(`(%[5]s == "unix" ? event.connection.path : %[1]s + ":" + string(%[2]s) + "->" + %[3]s + ":" + string(%[4]s))`,
			clientAddress, clientPort, serverAddress, serverPort, protocolName), ask: func(cmp string, words []string) answer {
			for _, w := range words {
				if !notInTuple(w) {
					return unseen("the name of a connection is compared only with paths, of unix sockets")
				}
			}
			switch cmp {
			case "exists":
				return sure(yes)
			case "=", "in", "contains", "icontains", "startswith", "endswith", "glob", "pmatch":
				a := compareText("event.connection.path", cmp, words)
				if a.gap == "" {
					a = sure(both(unixSocket, a.lo))
				}
				return a
			case "!=":
				return sure(negate(both(unixSocket, atom("event.connection.path == %s", quote(words[0])))))
			}
			return unseen("the name of a connection is compared only with paths, of unix sockets")
		}}
	case "num":
		return notTold("descriptors of sockets have no number here")
	case "directory", "filename", "nameraw":
		return absent
	case "sproto", "cproto", "rproto", "lproto":
		return notTold("ports are told by number")
	}
	return notTold("the events do not tell it")
}

// notInTuple: the word has a letter that "10.0.0.7:40000->203.0.113.9:443" never has, so
// that it can only be meant for a path.
func notInTuple(w string) bool {
	return strings.Trim(w, "0123456789abcdefABCDEF.:->*?[]") != ""
}

// fsField reads fs.path.X.
func fsField(name string, v *view) value {
	if !v.file && v.kind != bollwerk.EventMount && v.kind != bollwerk.EventExec {
		return absent
	}
	switch name {
	case "path.nameraw", "path.sourceraw", "path.targetraw":
		return notTold("the path as the program wrote it is not told, only what it came to")
	}
	two := v.kind == bollwerk.EventRename || v.kind == bollwerk.EventLink || v.kind == bollwerk.EventSymlink
	switch {
	case v.kind == bollwerk.EventMount && name == "path.source":
		return textValue("event.mount.source")
	case v.kind == bollwerk.EventMount && name == "path.target":
		return textValue("event.mount.target")
	case v.kind == bollwerk.EventExec && name == "path.name":
		return textValue(self + ".path")
	case two && name == "path.source":
		return textValue("event.file.path")
	case two && name == "path.target":
		return textValue("event.file.target")
	case v.file && !two && name == "path.name":
		return textValue("event.file.path")
	}
	return absent
}

// userField reads user.X and group.X. The events have numbers; names are known of root
// and, where the caller tells them, of the host's own users.
func (t *translator) userField(name string, v *view) value {
	uid := self + ".uid"
	gid := self + ".gid"
	if v.kind == bollwerk.EventCredentials {
		uid, gid = "event.change.old_uid", "event.change.old_gid"
	}
	switch name {
	case "user.uid":
		return numberValue(uid)
	case "user.loginuid":
		return numberValue(self + ".login_uid")
	case "user.name":
		return t.user(uid)
	case "user.loginname":
		return t.user(self + ".login_uid")
	case "group.gid":
		return numberValue(gid)
	case "group.name":
		return groupName(gid)
	}
	return notTold("of users the number is told")
}

func groupID(cel string) value {
	return value{typ: isNumber, cel: cel, ask: func(cmp string, words []string) answer {
		if _, bad := parseNumbers(words); bad != "" {
			return groupName(cel).ask(cmp, words)
		}
		return numberValue(cel).compare(cmp, words)
	}}
}

func groupName(cel string) value {
	return value{out: "string(" + cel + ")", ask: func(cmp string, words []string) answer {
		if (cmp == "=" || cmp == "!=") && words[0] == "root" {
			return sure(atom("%s %s 0", cel, map[string]string{"=": "==", "!=": "!="}[cmp]))
		}
		return unseen("names of groups other than root are not known")
	}}
}

// identity is an argument that may be compared with a number or a name.
func (t *translator) identity(cel string) value {
	return value{typ: isNumber, cel: cel, ask: func(cmp string, words []string) answer {
		if _, bad := parseNumbers(words); bad != "" {
			return t.user(cel).ask(cmp, words)
		}
		return numberValue(cel).compare(cmp, words)
	}}
}

func (t *translator) user(cel string) value {
	out := fmt.Sprintf(`(%[1]s == 0 ? "root" : string(%[1]s))`, cel)
	return value{out: out, ask: func(cmp string, words []string) answer {
		switch cmp {
		case "=", "in", "intersects":
		case "!=":
			a := t.user(cel).ask("=", words)
			return answer{lo: negate(a.hi), hi: negate(a.lo), gap: a.gap}
		case "exists":
			return sure(atom("%s >= 0", cel))
		default:
			return unseen("names of users are compared as a whole only")
		}
		root := atom("%s == 0", cel)
		var sureIDs []string
		isRoot, others := no, false
		for _, w := range words {
			switch {
			case w == "root":
				isRoot = root
			default:
				others = true
				if id, ok := t.options.Users[w]; ok {
					sureIDs = append(sureIDs, strconv.FormatUint(uint64(id), 10))
				}
			}
		}
		if !others {
			return sure(isRoot)
		}
		const why = "names of users other than root are not known"
		if t.options.Users == nil {
			return answer{lo: isRoot, hi: either(isRoot, atom("%s != 0", cel)), gap: why}
		}
		onHost := no
		if len(sureIDs) > 0 {
			onHost = both(negate(atom(inContainer)), atom("%s in [%s]", cel, strings.Join(sureIDs, ", ")))
		}
		return answer{lo: either(isRoot, onHost), hi: either(isRoot, onHost, both(atom(inContainer), atom("%s != 0", cel))), gap: why + " in containers"}
	}}
}

// containerField reads container.X.
func containerField(name string, o operand) value {
	inside := atom(inContainer)
	text := func(cel string) value { return textValue(cel).if_(atom(`%s != ""`, cel)) }
	switch name {
	case "id":
		return value{out: `(event.in_container ? event.container.id : "host")`, ask: func(cmp string, words []string) answer {
			var kids []*node
			for _, w := range words {
				switch {
				case w == "host":
					kids = append(kids, negate(inside))
				case w == "":
				default:
					kids = append(kids, both(inside, atom("event.container.id.startsWith(%s)", quote(w))))
				}
			}
			switch cmp {
			case "exists":
				return sure(yes)
			case "=", "in", "startswith", "intersects":
				return sure(either(kids...))
			case "!=":
				return sure(negate(either(kids...)))
			}
			return unseen("%s is not known for the id of a container", cmp)
		}}
	case "full_id":
		return text("event.container.id")
	case "name":
		return value{cel: `(event.in_container ? event.container.name : "host")`}
	case "image":
		return text("event.container.image")
	case "image.repository":
		return text("event.container.repository")
	case "image.tag":
		return text("event.container.tag")
	case "image.digest":
		return text("event.container.digest")
	case "type":
		return value{cel: `(event.in_container ? event.container.runtime : "host")`}
	case "privileged":
		return flagValue("event.container.privileged").if_(atom("has(event.container)")).printed(`(event.container.privileged ? "true" : "false")`)
	case "host_pid":
		return flagValue("event.container.host_pid").if_(atom("has(event.container)")).printed(`(event.container.host_pid ? "true" : "false")`)
	case "host_network":
		return flagValue("event.container.host_network").if_(atom("has(event.container)")).printed(`(event.container.host_network ? "true" : "false")`)
	case "duration":
		return age("event.container.age").if_(atom("has(event.container)"))
	case "label":
		if o.hasArg {
			return text("event.container.labels[" + quote(o.arg) + "]")
		}
	case "mounts":
		return notTold("mounts are told by what is mounted; ask container.mount.dest[…]").printed(`event.container.mounts.join(",")`)
	case "mount.dest":
		return mountDestination(o)
	case "image.id":
		return notTold("the runtime's own id of an image is not told; compare container.image.digest")
	}
	return notTold("the events do not tell it")
}

// mountDestination is where a folder of the host is mounted; rules only ever ask
// whether it is at all.
func mountDestination(o operand) value {
	if !o.hasArg || !plainGlob(o.arg) {
		return notTold("want container.mount.dest[/folder], with * and ? at most")
	}
	there := atom("event.container.mounts.exists(x, x.glob(%s))", quote(o.arg))
	return value{out: `"<NA>"`, ask: func(cmp string, words []string) answer {
		none := len(words) > 0
		for _, w := range words {
			none = none && (w == "N/A" || w == "<NA>" || w == "")
		}
		switch {
		case cmp == "exists", cmp == "!=" && none:
			return sure(there)
		case (cmp == "=" || cmp == "in") && none:
			return sure(negate(there))
		}
		return unseen("where in the container it is mounted is not told")
	}}
}

// podField reads k8s.X.
func podField(name string, o operand) value {
	text := func(cel string) value { return textValue(cel).if_(atom(`%s != ""`, cel)) }
	owner := func(kind string) value {
		is := atom(`event.pod.owner_kind == %s`, quote(kind))
		return textValue("event.pod.owner").if_(is).printed(`(%s ? event.pod.owner : "<NA>")`, is)
	}
	switch name {
	case "ns.name":
		return text("event.pod.namespace")
	case "pod.name":
		return text("event.pod.name")
	case "pod.id", "pod.uid":
		return text("event.pod.uid")
	case "pod.label", "pod.labels":
		if o.hasArg {
			return text("event.pod.labels[" + quote(o.arg) + "]")
		}
		return notTold("labels are asked one by one: k8s.pod.label[app]")
	case "deployment.name":
		return owner("Deployment")
	case "rs.name":
		return owner("ReplicaSet")
	case "rc.name":
		return owner("ReplicationController")
	}
	return notTold("of a pod its name, namespace, labels and owner are told")
}
