package profile

import "fmt"

// Category is a kind of behaviour. The JSON form is the word.
type Category uint8

// The closed list. Numbers are never stored, words are.
const (
	Executable  Category = iota + 1 // a program was run: value is its path
	Start                           // one program started another: parent, value
	Port                            // listens: protocol, port
	Destination                     // connects or sends to: protocol, port, value
	Client                          // is connected to from: protocol, own port, value
	Name                            // asked DNS for: value
	Write                           // wrote, made, renamed or removed a file: value
	Read                            // read a watched file: value
	Capability                      // used a capability: value "CAP_NET_RAW"
	Syscall                         // used a system call: value is its name
	User                            // ran as a user id
	Behaviour                       // did one of the things of behaviour.go: value
	categories                      // number of categories plus one
)

var categoryWords = [categories]string{
	"", "executable", "start", "port", "destination", "client", "name", "write", "read", "capability", "syscall", "user", "behaviour",
}

// Categories lists all of them in the order of documents.
func Categories() []Category {
	out := make([]Category, 0, categories-1)
	for c := Executable; c < categories; c++ {
		out = append(out, c)
	}
	return out
}

func (c Category) String() string {
	if c < categories {
		return categoryWords[c]
	}
	return ""
}

// ParseCategory reads the word.
func ParseCategory(s string) (Category, error) {
	for c := Executable; c < categories; c++ {
		if categoryWords[c] == s {
			return c, nil
		}
	}
	return 0, fmt.Errorf("category %q: want executable, start, port, destination, client, name, write, read, capability, syscall, user or behaviour", s)
}

// MarshalText writes the word.
func (c Category) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the word.
func (c *Category) UnmarshalText(b []byte) (err error) {
	*c, err = ParseCategory(string(b))
	return err
}

// caps are the most entries a category of one profile learns. They are several times
// what the widest benign workload of the tests needs; beyond it, knowing one more
// entry would not make the profile say more.
var caps = [categories]int{
	Executable: 256, Start: 512, Port: 64, Destination: 256, Client: 128, Name: 256, Write: 384, Read: 96,
	Capability: 64, Syscall: MaxSyscalls, User: 64, Behaviour: 32,
}

// The behaviours: things a workload either never does or does, and whose first time
// is news. Each is one entry of category Behaviour.
const (
	RunsCreated    = "runs-created-files"      // ran a program made at run time
	RunsModified   = "runs-modified-files"     // ran a program of the image that was changed at run time
	RunsVolume     = "runs-volume-files"       // ran a program from a mount that is not the image
	RunsMemory     = "runs-memory"             // ran a program without a file (memfd, deleted)
	RunsTerminal   = "runs-on-terminal"        // ran a program on a terminal
	RunsFromAbroad = "runs-from-outside"       // a process from outside ran a program in it (docker exec)
	MapsCreated    = "maps-created-files"      // mapped a library made at run time executable
	MakesMemory    = "makes-memory-files"      // memfd_create
	MakesProgram   = "makes-programs"          // gave a file the right to be executed
	MakesSetID     = "makes-set-id"            // set the set-uid or set-gid bit
	WritesRoot     = "writes-root-file-system" // changed a file that is in no volume
	ChangesUser    = "changes-user"            // changed its user id
	ChangesSpaces  = "changes-namespaces"      // setns or unshare
	Mounts         = "mounts"                  // mounted a file system
	Traces         = "traces-processes"        // ptrace
	LoadsModules   = "loads-modules"           // kernel modules
	LoadsBPF       = "loads-bpf"               // BPF programs
	RawSockets     = "makes-raw-sockets"       // raw or packet sockets
	SignalsOthers  = "signals-others"          // signals to processes of another tree
	SetsKernel     = "writes-kernel-settings"  // core_pattern and the like
)

var behaviours = [...]string{
	RunsCreated, RunsModified, RunsVolume, RunsMemory, RunsTerminal, RunsFromAbroad, MapsCreated, MakesMemory, MakesProgram,
	MakesSetID, WritesRoot, ChangesUser, ChangesSpaces, Mounts, Traces, LoadsModules, LoadsBPF, RawSockets, SignalsOthers, SetsKernel,
}

// Protocol of a port or destination.
type protocol uint8

const (
	protoOther protocol = iota
	protoTCP
	protoUDP
	protoUnix
	protoICMP
	protoRaw
)

var protocolWords = [...]string{"other", "tcp", "udp", "unix", "icmp", "raw"}

func (p protocol) String() string {
	if int(p) < len(protocolWords) {
		return protocolWords[p]
	}
	return "other"
}

func protocolOf(s string) protocol {
	for i, w := range protocolWords {
		if w == s {
			return protocol(i)
		}
	}
	if s == "packet" {
		return protoRaw
	}
	return protoOther
}

// highPort stands for every port from 32768 on: where Linux takes ephemeral ports
// from, and where protocols that agree on a port at run time live. Learned one by one
// they would never end.
const highPort = 32768

func portOf(p uint16) uint32 {
	if p >= highPort {
		return highPort
	}
	return uint32(p)
}
