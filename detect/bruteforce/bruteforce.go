// Package bruteforce notices passwords being guessed: from a workload at one door, and at
// this machine's own SSH server. It owns counting tries at one door; many doors are
// netscan's.
package bruteforce

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Tries is how many connections to one door within five minutes are too many. Default 30.
	Tries uint32 `yaml:"tries"`
	// Failures is how many failed logins of one address within ten minutes make the next
	// success suspicious. Default 10.
	Failures uint32 `yaml:"failures"`
	// Allowed are networks that may knock and be knocked at.
	Allowed []netip.Prefix `yaml:"allowed"`
}

// Detector notices guessing.
type Detector struct {
	cfg      Config
	outgoing *detect.Table[door, tries]
	sessions *detect.Table[detect.Actor, session]
	callers  *detect.Table[caller, failures]
}

type door struct {
	scope  detect.Scope
	remote netip.AddrPort
}

type tries struct {
	connects detect.Window
	flows    detect.Window
	told     bool
}

// session is one connection to our SSH server.
type session struct {
	scope  detect.Scope
	remote netip.Addr
	in     bool
}

type caller struct {
	scope  detect.Scope
	remote netip.Addr
}

type failures struct {
	failed detect.Window
	told   bollwerk.Severity
}

const (
	window  = 5 * time.Minute
	failing = 10 * time.Minute
)

// New makes the detector.
func New(cfg Config) *Detector {
	if cfg.Tries == 0 {
		cfg.Tries = 30
	}
	if cfg.Failures == 0 {
		cfg.Failures = 10
	}
	return &Detector{
		cfg:      cfg,
		outgoing: detect.NewTable[door, tries](1024, window),
		sessions: detect.NewTable[detect.Actor, session](2048, 24*time.Hour),
		callers:  detect.NewTable[caller, failures](2048, time.Hour),
	}
}

var info = detect.Info{
	ID: "password-guessing", Title: "Somebody guesses passwords",
	Severity: bollwerk.SeverityHigh, Mode: detect.Warn,
	Attack: []string{"T1110.001", "T1110.003", "T1021.004"},
	Description: "A workload connects again and again to one login service of another machine (SSH, Telnet, FTP, SMB, RDP, VNC, WinRM). Or one address fails to log in by SSH here many times; that is low, as " +
		"the internet is like that, and high when it gets in after all. Databases are left out: clients without a pool look the same.",
	Advice: "Outgoing: the workload was broken into; isolate it and tell the owner of the other machine. Incoming and successful: lock the account, end its sessions, and look at what " +
		"the session did (the process tree is in the detection). Close SSH to the internet or allow keys only.",
	Needs: []detect.Need{
		{Kind: bollwerk.EventConnect, Lost: "guessing at other machines is seen only by summaries of flows"},
		{Kind: bollwerk.EventFlow, Lost: "guessing at other machines is seen only by single connections, which the kernel may have summed up"},
		{Kind: bollwerk.EventExec, Lost: "logins by SSH are not seen"},
		{Kind: bollwerk.EventExit, Lost: "failed logins by SSH are not counted"},
	},
	Bound: "1024 doors (5 min), 2048 SSH sessions (24 h), 2048 callers (1 h)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// login reports whether a port asks for a password.
func login(port uint16) bool {
	switch port {
	case 21, 22, 23, 139, 445, 512, 513, 2222, 2323, 3389, 5900, 5901, 5985, 5986:
		return true
	}
	return false
}

func (d *Detector) allowed(a netip.Addr) bool {
	for _, n := range d.cfg.Allowed {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	switch e.Kind {
	case bollwerk.EventConnect, bollwerk.EventFlow:
		d.out(e, report)
	case bollwerk.EventExec:
		d.exec(e, report)
	case bollwerk.EventExit:
		d.exit(e, report)
	}
}

func (d *Detector) out(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	c := e.Connection
	if c == nil || !c.Outgoing || !login(c.Remote.Port()) || !detect.Distant(c.Remote.Addr()) || d.allowed(c.Remote.Addr().Unmap()) {
		return
	}
	x := d.outgoing.Put(door{detect.ScopeOf(e), c.Remote}, e.Time)
	var n uint32
	if e.Kind == bollwerk.EventFlow {
		f := e.Flow
		if f == nil || f.Connections == 0 || (f.SentBytes/f.Connections) > 16<<10 {
			return // whoever moves data has logged in
		}
		n = x.flows.Add(e.Time, window, f.Connections)
	} else {
		n = x.connects.Add(e.Time, window, max(1, e.Count))
	}
	limit := d.cfg.Tries
	p := e.Process
	if class := detect.ClassOf(p); class.Is(detect.Fleet|detect.Caretaker) || detect.Name(p) == "ssh" || detect.Job(p) != nil {
		// A script that calls ssh or git in a loop; a guesser brings its own client.
		limit *= 5
	}
	if n < limit || x.told {
		return
	}
	x.told = true
	det := detect.New(&info, e, c.Remote.String(), fmt.Sprintf("%s in %s connected %d times within %s to %s, which asks for a password", detect.Who(p), detect.Where(e.Workload), n, window, detect.Peer(c)))
	if !detect.Contained(e) {
		det.Severity = bollwerk.SeverityMedium
	}
	report(det)
}

func sshd(name string) bool {
	switch name {
	case "sshd", "sshd-session", "sshd-auth", "dropbear":
		return true
	}
	return false
}

// exec books connections to the SSH server, and what they become.
func (d *Detector) exec(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	p := e.Process
	if p == nil {
		return
	}
	if sshd(detect.Name(p)) {
		in := detect.Stdio(p, 0)
		if a, ok := detect.ActorOf(p); ok && detect.Internet(in) && !d.allowed(in.Remote.Addr().Unmap()) {
			*d.sessions.Put(a, e.Time) = session{scope: detect.ScopeOf(e), remote: in.Remote.Addr().Unmap()}
		}
		return
	}
	for q, n := p.Parent, 0; q != nil && n < 4; q, n = q.Parent, n+1 {
		if !sshd(detect.Name(q)) {
			return
		}
		a, ok := detect.ActorOf(q)
		if !ok {
			return
		}
		x := d.sessions.Get(a, e.Time)
		if x == nil {
			continue
		}
		if helper(p) {
			return
		}
		if !x.in {
			x.in = true
			d.success(e, *x, report)
		}
		return
	}
}

// helper reports whether a program is run by sshd before anybody is logged in.
func helper(p *bollwerk.Process) bool {
	n := detect.Name(p)
	return strings.Contains(n, "authorized") || n == "sss_ssh_authori" || n == "unix_chkpwd" || n == "google_authoriz" || n == "nologin" || n == "eic_run_authorized_keys" || n == "aws_key_fetch"
}

// exit counts a connection that ended without having become anything.
func (d *Detector) exit(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	a, ok := detect.ActorOf(e.Process)
	if !ok {
		return
	}
	x := d.sessions.Peek(a, e.Time)
	if x == nil {
		return
	}
	was := *x
	d.sessions.Delete(a)
	if was.in {
		return
	}
	c := d.callers.Put(caller{was.scope, was.remote}, e.Time)
	n := c.failed.Add(e.Time, failing, 1)
	if n < d.cfg.Failures || c.told >= bollwerk.SeverityLow {
		return
	}
	c.told = bollwerk.SeverityLow
	det := detect.New(&info, e, was.remote.String(), fmt.Sprintf("%s failed to log in by SSH %d times within %s, in %s", was.remote, n, failing, detect.Where(e.Workload)))
	det.Severity, det.Mode = bollwerk.SeverityLow, string(detect.Observe)
	report(det)
}

func (d *Detector) success(e *bollwerk.Event, s session, report func(*bollwerk.Detection)) {
	c := d.callers.Peek(caller{s.scope, s.remote}, e.Time)
	if c == nil || c.failed.Count < d.cfg.Failures || c.told >= bollwerk.SeverityHigh {
		return
	}
	c.told = bollwerk.SeverityHigh
	det := detect.New(&info, e, s.remote.String(), fmt.Sprintf("%s logged in by SSH in %s after %d failures and now runs %s", s.remote, detect.Where(e.Workload), c.failed.Count, detect.Who(e.Process)))
	det.Title = "A login by SSH succeeded after many failures"
	report(det)
}
