// Package netscan notices a workload that tries many doors: ports of one machine, one port
// of many machines, logins all around. It owns counting who connects where; repeated tries
// at one door are bruteforce's.
package netscan

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Allowed are paths of programs that reach many machines as their work.
	Allowed []string `yaml:"allowed"`
}

// Detector notices scans.
type Detector struct {
	cfg   Config
	hosts *detect.Table[hostKey, ports]
	ports *detect.Table[portKey, hosts]
}

// group is who tries: a session, so that a loop that forks for each try counts as one.
type group struct {
	scope   detect.Scope
	session uint32
	pid     uint32 // where there is no session
}

type hostKey struct {
	group
	host netip.Addr
}

type portKey struct {
	group
	port uint16
}

// ports are tries at one host.
type ports struct {
	began  time.Time
	set    detect.Set
	failed int
	low    int // ports below 1024
	told   bollwerk.Severity
}

// hosts are tries of one port.
type hosts struct {
	began   time.Time
	set     detect.Set
	failed  int
	beside  int // hosts right beside the one before
	last    netip.Addr
	private int
	told    bollwerk.Severity
}

const (
	window   = 5 * time.Minute
	maxPorts = 64
	maxHosts = 128
)

// New makes the detector.
func New(cfg Config) *Detector {
	return &Detector{cfg: cfg, hosts: detect.NewTable[hostKey, ports](1024, window), ports: detect.NewTable[portKey, hosts](512, window)}
}

var info = detect.Info{
	ID: "network-scan", Title: "A workload tries the doors around it",
	Severity: bollwerk.SeverityHigh, Mode: detect.Warn,
	Attack: []string{"T1046", "T1018", "T1021.004"},
	Description: "Within five minutes: many ports of one machine, most of them closed; one port of many machines, most of them closed or one address after the other; " +
		"SSH or another way to steer machines (Docker, kubelet, etcd, SMB, RDP) at several machines from a container. Monitoring, service discovery and configuration management are low.",
	Advice: "If this is not a scanner you run, the workload was broken into and the intruder looks for the next step: isolate it, and check the machines named in the events for logins. " +
		"A tool of yours is allowed by its path (netscan.allowed). A network policy that allows only known destinations ends such scans.",
	Needs: []detect.Need{{Kind: bollwerk.EventConnect, Essential: true, Lost: "no scan is seen; scans with raw sockets are told of by the policy on raw sockets"}},
	Bound: "1024 machines of 64 ports and 512 ports of 128 machines (5 min)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	c := e.Connection
	if c == nil || c.Protocol == "unix" || !detect.Distant(c.Remote.Addr()) || c.Remote.Port() == 0 || c.Remote.Port() == 53 {
		return
	}
	g := group{scope: detect.ScopeOf(e)}
	if p := e.Process; p != nil {
		if g.session = p.Session; g.session == 0 {
			g.pid = p.PID
		}
	}
	failed := e.Result != 0 && e.Result != 115 || e.Outcome == bollwerk.Denied
	host, port := c.Remote.Addr().Unmap(), c.Remote.Port()
	d.vertical(e, g, host, port, failed, report)
	d.horizontal(e, g, host, port, failed, report)
}

func (d *Detector) vertical(e *bollwerk.Event, g group, host netip.Addr, port uint16, failed bool, report func(*bollwerk.Detection)) {
	x := d.hosts.Put(hostKey{g, host}, e.Time)
	if x.began.IsZero() || e.Time.Sub(x.began) > window || e.Time.Before(x.began) {
		set := x.set
		set.Reset()
		*x = ports{began: e.Time, set: set}
	}
	if !x.set.Add(uint64(port), maxPorts) {
		return
	}
	if failed {
		x.failed++
	}
	if port < 1024 {
		x.low++
	}
	n := x.set.Len()
	var severity bollwerk.Severity
	switch {
	case n >= 20 && 2*x.failed >= n:
		severity = bollwerk.SeverityHigh
	case n >= 40 && x.low >= 15:
		// Nobody has business with that many well-known ports, even if all are open or
		// this kernel does not tell how the tries ended.
		severity = bollwerk.SeverityHigh
	case n >= 12 && 4*x.failed >= 3*n:
		severity = bollwerk.SeverityMedium
	}
	if severity <= x.told {
		return
	}
	x.told = severity
	d.tell(e, severity, "host "+host.String(), fmt.Sprintf("tried %d ports of %s within %s; %d of them were closed", n, host, since(e, x.began), x.failed), report)
}

// steers reports whether a port is a way to command machines.
func steers(port uint16) bool {
	switch port {
	case 22, 23, 445, 2375, 2376, 2379, 3389, 5900, 5985, 5986, 10250, 10255, 111, 135, 139, 512, 513, 514, 2323, 5555:
		return true
	}
	return false
}

func (d *Detector) horizontal(e *bollwerk.Event, g group, host netip.Addr, port uint16, failed bool, report func(*bollwerk.Detection)) {
	x := d.ports.Put(portKey{g, port}, e.Time)
	if x.began.IsZero() || e.Time.Sub(x.began) > window || e.Time.Before(x.began) {
		set := x.set
		set.Reset()
		*x = hosts{began: e.Time, set: set}
	}
	b := host.As16()
	if !x.set.Add(detect.Hash(string(b[:])), maxHosts) {
		return
	}
	if failed {
		x.failed++
	}
	if x.last.IsValid() && (x.last.Next() == host || host.Next() == x.last) {
		x.beside++
	}
	x.last = host
	if !detect.Public(host) {
		x.private++
	}
	n := x.set.Len()
	closed := 2*x.failed >= n
	inside := detect.Contained(e)
	var severity bollwerk.Severity
	switch {
	case n >= 100 && closed && (x.private > n/2 || steers(port) || port < 1024), n >= 15 && steers(port) && inside && (closed || 2*x.beside >= n):
		severity = bollwerk.SeverityHigh
	case n >= 30 && (closed || 2*x.beside >= n) && (x.private > n/2 || steers(port)):
		severity = bollwerk.SeverityMedium
	case port == 22 && inside && n >= 8:
		severity = bollwerk.SeverityHigh
	case port == 22 && inside && n >= 5, steers(port) && inside && n >= 8 && x.failed > 0:
		severity = bollwerk.SeverityMedium
	case port == 22 && n >= 20:
		severity = bollwerk.SeverityLow
	}
	if severity <= x.told {
		return
	}
	x.told = severity
	d.tell(e, severity, fmt.Sprintf("port %d", port), fmt.Sprintf("tried port %d of %d machines within %s; %d of them were closed", port, n, since(e, x.began), x.failed), report)
}

func since(e *bollwerk.Event, t time.Time) time.Duration {
	return max(e.Time.Sub(t), time.Second).Round(time.Second)
}

func (d *Detector) tell(e *bollwerk.Event, severity bollwerk.Severity, subject, text string, report func(*bollwerk.Detection)) {
	p := e.Process
	if p != nil {
		for _, a := range d.cfg.Allowed {
			if p.Path == a || detect.Told(p) == a {
				return
			}
		}
	}
	det := detect.New(&info, e, subject, detect.Who(p)+" in "+detect.Where(e.Workload)+" "+text)
	det.Severity = severity
	if fleet := detect.Owner(p, func(q *bollwerk.Process) bool {
		return detect.ClassOf(q).Is(detect.Fleet) && !detect.Scratch(q.Path) && !detect.Made(q)
	}); fleet != nil {
		det.Severity, det.Mode = bollwerk.SeverityLow, string(detect.Observe)
		det.Message += "; " + detect.Who(fleet) + " reaches many machines as its work"
	}
	report(det)
}
