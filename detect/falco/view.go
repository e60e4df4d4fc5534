package falco

import "github.com/bollwerk/bollwerk"

// A view is one of the ways in which this agent's events stand for Falco's: the kind
// of event, what else must hold of it, and which calls it may have been.
type view struct {
	kind bollwerk.EventKind
	when *node // besides the kind; nil: nothing
	// core are the calls it stands for. A rule that names all of them is met exactly;
	// one that names some is asked about all of them. more are further spellings.
	core, more []string
	file       bool // File is set
	made       bool // the file did not exist before
	socket     side
	// descriptor: a successful call answers with a number that is not told.
	descriptor bool
	// limit is what of Falco's calls such an event does not show; "" nothing.
	limit string
	// wider: what else such an event may be, so that a rule about the calls holds of it, too.
	wider string
}

// side says which end of a connection began it.
type side uint8

const (
	noSocket side = iota
	client        // this end
	server        // the other end
	waiting       // there is no other end yet
)

const isFolder = `math.bitAnd(event.file.mode, 61440) == 16384` // S_IFMT, S_IFDIR

// views lists all of them; their order is that of the translated condition.
func views() []*view {
	return []*view{
		{kind: bollwerk.EventExec, core: []string{"execve", "execveat"}},
		{kind: bollwerk.EventOpen, file: true, descriptor: true, core: []string{"open", "openat", "openat2"}, more: []string{"creat", "open_by_handle_at"},
			limit: "only opens of files that a sensor of the agent watches are seen, and none that failed"},
		{kind: bollwerk.EventCreate, when: negate(atom(isFolder)), file: true, made: true, descriptor: true,
			core: []string{"open", "openat", "openat2"}, more: []string{"creat", "mknod", "mknodat"},
			limit: "only files made where a sensor of the agent watches are seen"},
		{kind: bollwerk.EventCreate, when: atom(isFolder), file: true, made: true, core: []string{"mkdir", "mkdirat"},
			limit: "only folders made where a sensor of the agent watches are seen"},
		{kind: bollwerk.EventRename, file: true, core: []string{"rename", "renameat", "renameat2"}},
		{kind: bollwerk.EventUnlink, file: true, core: []string{"unlink", "unlinkat"}, more: []string{"rmdir"}},
		{kind: bollwerk.EventChmod, file: true, core: []string{"chmod", "fchmod", "fchmodat"}, more: []string{"fchmodat2"}},
		{kind: bollwerk.EventChown, file: true, core: []string{"chown", "fchown", "fchownat"}, more: []string{"lchown"}},
		{kind: bollwerk.EventLink, file: true, core: []string{"link", "linkat"}},
		{kind: bollwerk.EventSymlink, file: true, core: []string{"symlink", "symlinkat"}},
		{kind: bollwerk.EventMmap, file: true, core: []string{"mmap"}, more: []string{"mmap2"}, limit: "only files that are mapped executable are seen"},
		{kind: bollwerk.EventConnect, socket: client, core: []string{"connect"}},
		{kind: bollwerk.EventSend, socket: client, core: []string{"sendto", "sendmsg"}, more: []string{"sendmmsg"},
			limit: "of datagrams the first to each peer is seen"},
		{kind: bollwerk.EventAccept, socket: server, descriptor: true, core: []string{"accept", "accept4"}, more: []string{"accept5"}},
		{kind: bollwerk.EventListen, socket: waiting, core: []string{"listen"}},
		{kind: bollwerk.EventBind, socket: waiting, core: []string{"bind"}},
		{kind: bollwerk.EventSocket, descriptor: true, core: []string{"socket"}, limit: "only raw and packet sockets are seen"},
		{kind: bollwerk.EventFork, core: []string{"clone", "clone3", "fork", "vfork"}},
		{kind: bollwerk.EventExit, core: []string{"procexit"}, more: []string{"exit", "exit_group"}},
		{kind: bollwerk.EventCredentials, when: atom("(event.change.uid != event.change.old_uid || event.change.euid != event.change.old_euid)"),
			core: []string{"setuid"}, more: []string{"setreuid", "setresuid", "seteuid"},
			wider: "a user id that was set by another call, or by a set-uid program, is not told from this one", limit: "calls that change nothing are not seen"},
		{kind: bollwerk.EventCredentials, when: atom("event.change.gid != event.change.old_gid"), core: []string{"setgid"}, more: []string{"setregid", "setresgid", "setegid"},
			wider: "a group id that was set by another call, or by a set-gid program, is not told from this one", limit: "calls that change nothing are not seen"},
		{kind: bollwerk.EventNamespace, when: atom("event.namespace.entered"), core: []string{"setns"}},
		{kind: bollwerk.EventNamespace, when: negate(atom("event.namespace.entered")), core: []string{"unshare"}},
		{kind: bollwerk.EventMount, core: []string{"mount"}, more: []string{"move_mount", "fsmount"}},
		{kind: bollwerk.EventPtrace, core: []string{"ptrace"}, limit: "attaching is seen, not what is done afterwards"},
		{kind: bollwerk.EventTraceme, core: []string{"ptrace"}, limit: "asking to be traced is seen where BPF LSM is"},
		{kind: bollwerk.EventUserfault, descriptor: true, core: []string{"userfaultfd"}, limit: "seen where BPF LSM is, when it succeeds"},
		{kind: bollwerk.EventMemfd, file: true, descriptor: true, core: []string{"memfd_create"}},
		{kind: bollwerk.EventModule, core: []string{"init_module", "finit_module"}},
		{kind: bollwerk.EventBPF, descriptor: true, core: []string{"bpf"}, limit: "loads of programs are seen"},
		{kind: bollwerk.EventSignal, core: []string{"kill", "tkill", "tgkill"}, limit: "only signals to processes of other trees are seen"},
		{kind: bollwerk.EventContainer, when: atom(`event.object.name == "start"`), core: []string{"container"}},
	}
}

// called reports which of the calls a list names: none, some or all that count.
func (v *view) called(names map[string]bool) (any, all bool) {
	all = true
	for _, n := range v.core {
		if names[n] {
			any = true
		} else {
			all = false
		}
	}
	for _, n := range v.more {
		any = any || names[n]
	}
	return any, all
}
