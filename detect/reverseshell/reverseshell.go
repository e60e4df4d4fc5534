// Package reverseshell notices shells whose commands come over the network and whose
// output goes back there, whichever program holds the socket. It owns the forms such a
// shell takes; a server that starts a shell is webshell's.
package reverseshell

import (
	"net/netip"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Allowed are addresses (or networks) a shell may talk to: a machine of one's own
	// from which hosts are steered that way.
	Allowed []netip.Prefix `yaml:"allowed"`
}

// Detector notices reverse and bind shells.
type Detector struct {
	cfg    Config
	actors *detect.Table[detect.Actor, actor]
	pipes  *detect.Table[pipeKey, pipe]
	// programs remembers what a program of a scope connected to: sensors tell of a peer once
	// for all processes of one program.
	programs *detect.Table[program, netip.AddrPort]
	// waiting are shells whose parent may call out yet: some start the shell first.
	waiting *detect.Table[detect.Actor, *bollwerk.Event]
	// readers remembers sockets a program read from in a scope: the first half of a
	// shell built of "cat <&5" and "command >&5".
	readers *detect.Table[readerKey, struct{}]
}

// actor is what a process did with the network.
type actor struct {
	remote    netip.AddrPort // connected to
	at        time.Time
	accepted  netip.AddrPort // last peer that connected to it
	listening bool
}

type program struct {
	scope detect.Scope
	path  uint64
}

type pipeKey struct {
	scope detect.Scope
	inode uint64
}

type readerKey struct {
	scope  detect.Scope
	remote netip.AddrPort
}

// pipe joins a shell with a program that speaks to the network.
type pipe struct {
	shell *bollwerk.Event // exec of the shell that writes into this pipe
	peer  netip.AddrPort  // of the program that reads from this pipe
	relay string          // who that is
	name  string          // what it was told to connect to, if no address is known
}

// New makes the detector.
func New(cfg Config) *Detector {
	return &Detector{
		cfg:      cfg,
		actors:   detect.NewTable[detect.Actor, actor](2048, time.Hour),
		pipes:    detect.NewTable[pipeKey, pipe](256, 10*time.Minute),
		programs: detect.NewTable[program, netip.AddrPort](1024, time.Hour),
		waiting:  detect.NewTable[detect.Actor, *bollwerk.Event](128, time.Minute),
		readers:  detect.NewTable[readerKey, struct{}](256, 10*time.Minute),
	}
}

var info = detect.Info{
	ID: "reverse-shell", Title: "A shell takes its commands from the network",
	Severity: bollwerk.SeverityCritical, Mode: detect.Enforce,
	Attack: []string{"T1059.004", "T1059.006", "T1095"},
	Description: "A shell whose input and output are a connection to another machine, directly or through pipes, a terminal or a helper " +
		"(nc, socat, openssl, telnet, or code in Python, Perl, Ruby, PHP, Node, Lua, awk), and the command lines that build one. " +
		"Shells that are offered on a port are told apart from those that call out.",
	Advice: "Somebody very probably has a shell here. Cut the workload off from the network, keep it running for evidence, and look at the parent of the " +
		"shell: that is the program that was broken into. If it is your own tool, allow its peer (reverseshell.allowed).",
	Needs: []detect.Need{
		{Kind: bollwerk.EventExec, Essential: true, Lost: "no shell is seen at all"},
		{Kind: bollwerk.EventConnect, Lost: "shells joined to the network by another process (pipes, terminals) are seen only when the command line shows it"},
		{Kind: bollwerk.EventAccept, Lost: "shells offered on a port are told from outgoing ones by port numbers only"},
		{Kind: bollwerk.EventListen, Lost: "shells offered on a port are told from outgoing ones by port numbers only"},
		{Kind: bollwerk.EventSend, Lost: "shells over UDP through a helper are not seen"},
	},
	Bound: "2048 processes and 1024 programs with a connection (1 h), 256 pipes and 256 sockets read from (10 min), 128 shells (1 min)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	p := e.Process
	switch e.Kind {
	case bollwerk.EventExec:
		if p != nil {
			d.exec(e, p, report)
		}
	case bollwerk.EventConnect, bollwerk.EventSend:
		d.connect(e, report)
	case bollwerk.EventAccept, bollwerk.EventListen:
		if a, ok := detect.ActorOf(p); ok && e.Connection != nil {
			x := d.actors.Put(a, e.Time)
			if e.Kind == bollwerk.EventListen {
				x.listening = true
			} else {
				x.accepted = e.Connection.Remote
			}
		}
	}
}

const inProgress = 115 // EINPROGRESS

func (d *Detector) connect(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	c := e.Connection
	if c == nil || e.Result != 0 && e.Result != inProgress || !detect.Distant(c.Remote.Addr()) || c.Remote.Port() == 53 || d.allowed(c.Remote.Addr()) {
		return
	}
	p := e.Process
	a, ok := detect.ActorOf(p)
	if !ok {
		return
	}
	x := d.actors.Put(a, e.Time)
	x.remote, x.at = c.Remote, e.Time
	if suspect(p) {
		*d.programs.Put(program{detect.ScopeOf(e), detect.Hash(p.Path)}, e.Time) = c.Remote
	}
	if in := detect.Stdio(p, 0); in != nil && in.Kind == "pipe" && carries(p) {
		d.joined(e, p, in.Inode, c.Remote, "", report)
	}
	if w := d.waiting.Peek(a, e.Time); w != nil {
		shell := *w
		d.waiting.Delete(a)
		d.child(shell, shell.Process, true, func(det *bollwerk.Detection) {
			det.Events, det.Last = []*bollwerk.Event{shell, e}, e.Time
			report(det)
		})
	}
}

// carries reports whether p is a program that hands its input on to the network: not
// a database client, which reads statements and speaks a protocol of its own.
func carries(p *bollwerk.Process) bool {
	c := detect.ClassOf(p)
	return c.Is(detect.Relay) || detect.Made(p) || detect.Scratch(p.Path) || c.Is(detect.Interpreter) && detect.Code(p) != "" || c.Is(detect.Fetcher) && raw(p)
}

// raw reports whether a download tool (curl) was told to hand its input on as it is.
func raw(p *bollwerk.Process) bool {
	for i := 1; i < len(p.Args) && i < 64; i++ {
		a := p.Args[i]
		if strings.HasPrefix(a, "telnet://") || a == "-T-" || (a == "-T" || a == "--upload-file" || a == "-T.") && i+1 < len(p.Args) && (p.Args[i+1] == "-" || p.Args[i+1] == ".") {
			return true
		}
	}
	return false
}

// suspect reports whether a program is of a kind that needs no connection of its own to have
// one: helpers, code on the command line, files of unknown origin.
func suspect(p *bollwerk.Process) bool {
	if carries(p) {
		return true
	}
	if !detect.ClassOf(p).Is(detect.Interpreter) {
		return false
	}
	told := detect.Told(p)
	return detect.Scratch(told) || fromInput(p, told)
}

// joined notes that p reads the pipe and speaks to peer, and tells of the shell that writes
// into it.
func (d *Detector) joined(e *bollwerk.Event, p *bollwerk.Process, inode uint64, peer netip.AddrPort, name string, report func(*bollwerk.Detection)) {
	if inode == 0 {
		return
	}
	x := d.pipes.Put(pipeKey{detect.ScopeOf(e), inode}, e.Time)
	x.peer, x.name, x.relay = peer, name, detect.Who(p)
	if x.shell != nil {
		d.throughPipe(e, x, report)
	}
}

func (d *Detector) throughPipe(e *bollwerk.Event, x *pipe, report func(*bollwerk.Detection)) {
	shell := x.shell.Process
	det := detect.New(&info, e, peerName(x.peer, x.name), detect.Who(shell)+" in "+detect.Where(e.Workload)+" reads commands from a pipe, and "+
		x.relay+" carries what it answers to "+peerName(x.peer, x.name)+startedBy(shell))
	if e.Process != shell {
		det.Events = []*bollwerk.Event{x.shell, e}
		det.Process = shell
	}
	report(det)
}

func peerName(peer netip.AddrPort, name string) string {
	if peer.IsValid() {
		return peer.String()
	}
	if name != "" {
		return detect.Text(name)
	}
	return "the network"
}

func startedBy(p *bollwerk.Process) string {
	if p.Parent == nil {
		return ""
	}
	return "; it was started by " + detect.Who(p.Parent)
}

func (d *Detector) allowed(a netip.Addr) bool {
	for _, n := range d.cfg.Allowed {
		if n.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

func (d *Detector) exec(e *bollwerk.Event, p *bollwerk.Process, report func(*bollwerk.Detection)) {
	class := detect.ClassOf(p)
	if len(p.Stdio) > 0 && d.direct(e, p, class, report) {
		return
	}
	if class.Is(detect.Shell | detect.Interpreter | detect.Relay) {
		if told := spelled(p, class); told.severity > 0 {
			d.commandLine(e, p, told, report)
			return
		}
	}
	if in := detect.Stdio(p, 0); in != nil && in.Kind == "pipe" && carries(p) && !listens(p) {
		name := destination(p)
		peer := d.programs.Peek(program{detect.ScopeOf(e), detect.Hash(p.Path)}, e.Time)
		switch {
		case class.Is(detect.Relay) && loopbackName(name):
		case class.Is(detect.Relay) && name != "":
			d.joined(e, p, in.Inode, netip.AddrPort{}, name, report)
		case peer != nil:
			d.joined(e, p, in.Inode, *peer, "", report)
		}
	}
	if !class.Is(detect.Shell) {
		return
	}
	commanded := detect.Commanded(p)
	if in := detect.Stdio(p, 0); commanded && in != nil && in.Kind != "tty" {
		if out := detect.Stdio(p, 1); out != nil && out.Kind == "pipe" && out.Inode != 0 {
			x := d.pipes.Put(pipeKey{detect.ScopeOf(e), out.Inode}, e.Time)
			x.shell = detect.BriefEvent(e)
			if x.relay != "" {
				x.shell.Process = p
				d.throughPipe(e, x, report)
				x.shell.Process = detect.Brief(p)
				return
			}
		}
	}
	d.child(e, p, commanded, report)
}

// direct notices descriptors that are a socket to another machine.
func (d *Detector) direct(e *bollwerk.Event, p *bollwerk.Process, class detect.Class, report func(*bollwerk.Detection)) bool {
	in, out, errs := detect.Stdio(p, 0), detect.Stdio(p, 1), detect.Stdio(p, 2)
	switch {
	case detect.Internet(in) && (detect.Internet(out) && out.Remote == in.Remote || detect.Internet(errs) && errs.Remote == in.Remote):
	case detect.Internet(in):
		d.readers.Put(readerKey{detect.ScopeOf(e), in.Remote}, e.Time)
		return false
	case detect.Internet(out) && detect.Internet(errs) && out.Remote == errs.Remote:
		return d.answers(e, p, out, report)
	default:
		return false
	}
	if d.allowed(in.Remote.Addr()) {
		return false
	}
	incoming := d.incoming(p, in, e.Time)
	subject := in.Remote.String()
	if incoming {
		subject = "port " + in.Local.String()
	}
	say := func(severity bollwerk.Severity, mode detect.Mode, text string) bool {
		det := detect.New(&info, e, subject, detect.Who(p)+" in "+detect.Where(e.Workload)+" "+text+startedBy(p))
		det.Severity, det.Mode = severity, string(mode)
		if incoming {
			det.Title = "A shell is offered on a port"
		}
		report(det)
		return true
	}
	inetd := offers(detect.Name(detect.Above(p)))
	switch {
	case class.Is(detect.Shell) && incoming && detect.Commanded(p):
		if inetd {
			return say(bollwerk.SeverityMedium, detect.Warn, "gives a shell to whoever connects to "+in.Local.String()+", now "+in.Remote.String())
		}
		return say(bollwerk.SeverityCritical, detect.Enforce, "takes commands from "+in.Remote.String()+", who connected to "+in.Local.String())
	case class.Is(detect.Shell) && incoming:
		// A script that serves one connection: how inetd and its kin work.
		return false
	case class.Is(detect.Shell) && detect.Commanded(p):
		return say(bollwerk.SeverityCritical, detect.Enforce, "takes commands from "+in.Remote.String()+": its input and output are that connection")
	case class.Is(detect.Shell):
		return say(bollwerk.SeverityHigh, detect.Warn, "runs commands with a connection to "+in.Remote.String()+" as input and output")
	case !incoming && p.Parent != nil && !inetd && (detect.ClassOf(p.Parent).Is(detect.Interpreter|detect.Relay) && detect.Code(p.Parent) != "" ||
		detect.ClassOf(p.Parent).Is(detect.Shell|detect.Relay) || detect.Made(p) || detect.Scratch(p.Path)):
		return say(bollwerk.SeverityHigh, detect.Warn, "runs with a connection to "+in.Remote.String()+" as input and output")
	}
	return false
}

// offers reports whether a program hands accepted connections to others as their input.
func offers(name string) bool {
	switch name {
	case "inetd", "xinetd", "openbsd-inetd", "systemd", "init", "tcpserver", "s6-tcpserver", "tcpsvd", "launchd", "stunnel", "stunnel4", "ipsvd", "sshd", "git-daemon", "in.telnetd", "in.rshd":
		return true
	}
	return false
}

// incoming reports whether the peer of a socket connected to us.
func (d *Detector) incoming(p *bollwerk.Process, f *bollwerk.OpenFile, now time.Time) bool {
	n := 0
	for q := p; q != nil && n < 6; q, n = detect.Above(q), n+1 {
		a, ok := detect.ActorOf(q)
		if !ok {
			continue
		}
		x := d.actors.Peek(a, now)
		switch {
		case x == nil:
		case x.remote == f.Remote:
			return false
		case x.accepted == f.Remote:
			return true
		}
		// Everything descends from the service manager: it offers only to what it starts itself.
		switch name := detect.Name(q); {
		case n == 0 || !offers(name):
		case n == 1 || name != "systemd" && name != "init" && name != "launchd":
			return true
		}
	}
	// Nobody saw it begin: the side with the lower port is the one that was called.
	return f.Local.Port() != 0 && f.Local.Port() < 32768 && f.Remote.Port() >= 32768
}

// answers notices a command whose output and errors go to a socket that its shell opened:
// "while read line <&5; do $line >&5 2>&5; done".
func (d *Detector) answers(e *bollwerk.Event, p *bollwerk.Process, out *bollwerk.OpenFile, report func(*bollwerk.Detection)) bool {
	switch detect.Name(p) {
	case "cat", "echo", "printf", "grep", "head", "tail", "sed", "awk", "gawk", "mawk", "tr", "cut", "sort", "wc", "tee", "base64", "openssl", "timeout", "sleep", "date", "logger":
		return false // health checks and small protocols written in shell
	}
	if d.allowed(out.Remote.Addr()) || p.Parent == nil || !detect.ClassOf(p.Parent).Is(detect.Shell) || d.incoming(p, out, e.Time) {
		return false
	}
	det := detect.New(&info, e, out.Remote.String(), detect.Who(p)+" in "+detect.Where(e.Workload)+" sends its output and errors to "+out.Remote.String()+
		", a connection opened by the shell that started it ("+detect.Who(p.Parent)+")")
	det.Mode = string(detect.Warn)
	det.Severity = bollwerk.SeverityMedium
	if d.readers.Peek(readerKey{detect.ScopeOf(e), out.Remote}, e.Time) != nil {
		det.Severity = bollwerk.SeverityHigh
	}
	report(det)
	return true
}

// child notices a shell that was started by a program that called out.
func (d *Detector) child(e *bollwerk.Event, p *bollwerk.Process, commanded bool, report func(*bollwerk.Detection)) {
	q := detect.Above(p)
	// "sh -c 'exec bash -i'" and setsid stand between at times.
	for n := 0; q != nil && n < 2 && (detect.ClassOf(q).Is(detect.Shell) && detect.Code(q) != "" || detect.Name(q) == "setsid" || detect.Name(q) == "script"); n++ {
		q = detect.Above(q)
	}
	if q == nil {
		return
	}
	class := detect.ClassOf(q)
	a, ok := detect.ActorOf(q)
	if !ok {
		return
	}
	var peer netip.AddrPort
	var at time.Time
	if x := d.actors.Peek(a, e.Time); x != nil {
		peer, at = x.remote, x.at
	}
	if !peer.IsValid() && suspect(q) {
		if x := d.programs.Peek(program{detect.ScopeOf(e), detect.Hash(q.Path)}, e.Time); x != nil {
			peer = *x
		}
	}
	say := func(severity bollwerk.Severity, mode detect.Mode, to string) {
		det := detect.New(&info, e, to, detect.Who(p)+" in "+detect.Where(e.Workload)+" was started by "+detect.Who(q)+", which is connected to "+to+
			"; command line: "+detect.Command(q))
		det.Severity, det.Mode, det.Behind = severity, string(mode), q
		report(det)
	}
	switch {
	case class.Is(detect.Relay):
		if !commanded || listens(q) && !peer.IsValid() {
			return
		}
		to := peerName(peer, destination(q))
		if !peer.IsValid() && (destination(q) == "" || loopbackName(destination(q))) {
			return
		}
		say(bollwerk.SeverityCritical, detect.Enforce, to)
	case !peer.IsValid():
		if commanded && (class.Is(detect.Interpreter) || suspect(q)) && !class.Is(detect.WebServer|detect.Builder|detect.Installer|detect.Runner|detect.Fleet) {
			*d.waiting.Put(a, e.Time) = detect.BriefEvent(e)
		}
	case class.Is(detect.Interpreter) && !class.Is(detect.WebServer|detect.Builder|detect.Installer|detect.Runner|detect.Fleet):
		code := detect.Code(q)
		switch told := detect.Told(q); {
		case code != "" && (commanded || opensSocket(code)):
			say(bollwerk.SeverityCritical, detect.Enforce, peer.String())
		case !commanded:
		case detect.Made(q) || detect.Scratch(q.Path) || detect.Scratch(told) || fromInput(q, told):
			say(bollwerk.SeverityCritical, detect.Enforce, peer.String())
		case detect.Near(e.Time, at, 10*time.Second) && detect.Near(e.Time, q.Began, time.Minute) && !q.Began.IsZero():
			// A tool of a person who is logged in may well open a shell ("poetry shell").
			if person(p) {
				say(bollwerk.SeverityLow, detect.Observe, peer.String())
			} else {
				say(bollwerk.SeverityHigh, detect.Warn, peer.String())
			}
		}
	case commanded && (detect.Made(q) || detect.Scratch(q.Path)) && detect.Job(q) == nil:
		say(bollwerk.SeverityHigh, detect.Warn, peer.String())
	}
}

// fromInput reports whether an interpreter reads its program from a pipe.
func fromInput(p *bollwerk.Process, told string) bool {
	in := detect.Stdio(p, 0)
	return told == "" && p.Script == "" && detect.FromInput(p) && in != nil && in.Kind == "pipe"
}

// person reports whether somebody logged in is behind a process.
func person(p *bollwerk.Process) bool {
	return p.TTY != "" && p.LoginUID != 4294967295 && p.LoginUID != 0 && !p.Contained
}

func (d *Detector) commandLine(e *bollwerk.Event, p *bollwerk.Process, s spelling, report func(*bollwerk.Detection)) {
	det := detect.New(&info, e, s.form, detect.Who(p)+" in "+detect.Where(e.Workload)+" was told to "+s.form+": "+detect.Command(p)+startedBy(p))
	det.Severity, det.Mode = s.severity, string(s.mode)
	if s.offers {
		det.Title = "A shell is offered on a port"
	}
	report(det)
}
