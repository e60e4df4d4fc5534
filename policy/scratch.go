package policy

import (
	"net/netip"
	"strings"
	"time"
	"unsafe"

	"github.com/bollwerk/bollwerk"
)

// Scratch is what looking at one event needs besides the event: where texts are
// put together, and what was found out already. It belongs to one goroutine and
// is used again for the next event, so that looking allocates nothing. The zero
// value is ready.
//
// Texts that a Scratch made are overwritten by the next event: whoever keeps one
// clones it (Matcher.Texts does).
type Scratch struct {
	e *bollwerk.Event

	// The parts of the event, never nil: a part that the event does not have is an
	// empty one, so that no getter asks.
	process, target *bollwerk.Process
	file            *bollwerk.FileEvent
	connection      *bollwerk.Connection
	dns             *bollwerk.DNS
	flow            *bollwerk.Flow
	change          *bollwerk.Change
	namespace       *bollwerk.Namespace
	mount           *bollwerk.Mount
	object          *bollwerk.Object
	usage           *bollwerk.Usage
	loss            *bollwerk.Loss
	workload        *bollwerk.Workload
	container       *bollwerk.Container
	pod             *bollwerk.Pod

	none struct {
		process    bollwerk.Process
		file       bollwerk.FileEvent
		connection bollwerk.Connection
		dns        bollwerk.DNS
		flow       bollwerk.Flow
		change     bollwerk.Change
		namespace  bollwerk.Namespace
		mount      bollwerk.Mount
		object     bollwerk.Object
		usage      bollwerk.Usage
		loss       bollwerk.Loss
		workload   bollwerk.Workload
		container  bollwerk.Container
		pod        bollwerk.Pod
	}

	// inside is whether the event is a container's own doing, once somebody asked.
	inside answer

	// buf and list hold made texts and lists of them until the next event.
	buf  []byte
	list []string

	// Of the matcher: memory of common conditions, entries of loops, what matched.
	of      *Matcher
	gen     uint32
	filters []pairSlot
	rows    []rowSlot
	flags   []flagSlot
	texts   []textSlot
	lists   []listSlot
	procs   [maxLoops]*bollwerk.Process
	strings [maxLoops]string
	found   []*Policy
}

// answer is a flag that may not be known yet.
type answer uint8

const (
	notAsked answer = iota
	isSo
	isNotSo
)

type flagSlot struct {
	gen   uint32
	value bool
}

type textSlot struct {
	value string
	gen   uint32
}

type rowSlot struct {
	row []uint64
	gen uint32
}

type listSlot struct {
	value []string
	gen   uint32
}

const (
	// maxLine bounds a command line put together from arguments.
	maxLine = 32 << 10
	// keepBytes is how much memory for made texts is kept from event to event.
	keepBytes = 256 << 10
	// maxLoops bounds how deep exists and all may be nested.
	maxLoops = 4
)

// load turns to an event.
func (s *Scratch) load(e *bollwerk.Event) {
	s.e = e
	if s.gen++; s.gen == 0 {
		// After 4 billion events old entries would look new.
		clear(s.flags)
		clear(s.texts)
		clear(s.lists)
		clear(s.filters)
		clear(s.rows)
		s.gen = 1
	}
	if cap(s.buf) > keepBytes {
		s.buf = nil
	}
	s.buf, s.list, s.inside = s.buf[:0], s.list[:0], notAsked
	s.process = orElse(e.Process, &s.none.process)
	s.target = orElse(e.Target, &s.none.process)
	s.file = orElse(e.File, &s.none.file)
	s.connection = orElse(e.Connection, &s.none.connection)
	s.dns = orElse(e.DNS, &s.none.dns)
	s.flow = orElse(e.Flow, &s.none.flow)
	s.change = orElse(e.Change, &s.none.change)
	s.namespace = orElse(e.Namespace, &s.none.namespace)
	s.mount = orElse(e.Mount, &s.none.mount)
	s.object = orElse(e.Object, &s.none.object)
	s.usage = orElse(e.Usage, &s.none.usage)
	s.loss = orElse(e.Loss, &s.none.loss)
	s.workload = orElse(e.Workload, &s.none.workload)
	s.container = orElse(s.workload.Container, &s.none.container)
	s.pod = orElse(s.workload.Pod, &s.none.pod)
}

func orElse[T any](p, none *T) *T {
	if p == nil {
		return none
	}
	return p
}

func (s *Scratch) parent(p *bollwerk.Process) *bollwerk.Process {
	return orElse(p.Parent, &s.none.process)
}

// made returns what was appended to buf since start as a text.
func (s *Scratch) made(start int) string {
	if len(s.buf) == start {
		return ""
	}
	return unsafe.String(&s.buf[start], len(s.buf)-start)
}

// line joins arguments with spaces. One argument needs no copy.
func (s *Scratch) line(args []string) string {
	switch len(args) {
	case 0:
		return ""
	case 1:
		return args[0]
	}
	start := len(s.buf)
	for i, a := range args {
		if i > 0 {
			s.buf = append(s.buf, ' ')
		}
		room := maxLine - (len(s.buf) - start)
		if len(a) >= room {
			s.buf = append(s.buf, a[:room]...)
			break
		}
		s.buf = append(s.buf, a...)
	}
	return s.made(start)
}

// address writes an address, "" for none. Addresses of IPv4 in IPv6's clothes
// are IPv4: a rule that names 169.254.169.254 means both.
func (s *Scratch) address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	start := len(s.buf)
	s.buf = a.Unmap().AppendTo(s.buf)
	return s.made(start)
}

func (s *Scratch) addresses(as []netip.Addr) []string {
	start := len(s.list)
	for _, a := range as {
		s.list = append(s.list, s.address(a))
	}
	return s.list[start:len(s.list):len(s.list)]
}

// capabilities lists the names of the set bits.
func (s *Scratch) capabilities(set uint64) []string {
	start := len(s.list)
	for i, name := range capabilityNames {
		if set&(1<<i) != 0 {
			s.list = append(s.list, name)
		}
	}
	return s.list[start:len(s.list):len(s.list)]
}

// lower writes ASCII letters small.
func (s *Scratch) lower(text string) string {
	i := 0
	for i < len(text) && (text[i] < 'A' || text[i] > 'Z') {
		i++
	}
	if i == len(text) {
		return text
	}
	start := len(s.buf)
	s.buf = append(s.buf, text...)
	for j := start + i; j < len(s.buf); j++ {
		if c := s.buf[j]; c >= 'A' && c <= 'Z' {
			s.buf[j] = c + 'a' - 'A'
		}
	}
	return s.made(start)
}

// capabilityNames are those of linux/capability.h, by number.
var capabilityNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
	"CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN",
	"CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE",
	"CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// base is what follows the last slash.
func base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// dir is what comes before the last slash, "/" for what lies at the root, "" for
// a name without a slash.
func dir(path string) string {
	i := strings.LastIndexByte(path, '/')
	if i == 0 {
		return "/"
	}
	return path[:max(i, 0)]
}

// under reports whether path is one of the folders or lies below one.
func under(path string, folders []string) bool {
	for _, f := range folders {
		if underOne(path, f) {
			return true
		}
	}
	return false
}

func underOne(path, folder string) bool {
	if !strings.HasPrefix(path, folder) {
		return false
	}
	return len(path) == len(folder) || path[len(folder)] == '/' || folder != "" && folder[len(folder)-1] == '/'
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
