// Package miner notices the mining of cryptocurrencies: by the protocol of the pools, their
// names, and by programs that came from nowhere and burn the processor. It owns the joining
// of such signs; a telling command line alone is a policy's.
package miner

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
	// Pools are further names of pools, matched with all names below them.
	Pools []string `yaml:"pools"`
	// Busy is how long a program must burn a core to be told of. Default 3 minutes.
	Busy time.Duration `yaml:"busy"`
	// Allowed are paths of programs that may burn the processor, made at run time or not.
	Allowed []string `yaml:"allowed"`
}

// Detector notices miners.
type Detector struct {
	cfg    Config
	pools  map[string]bool
	actors *detect.Table[detect.Actor, work]
	// programs remembers to what a program made at run time, or that hides its name, connected in
	// a scope: sensors tell of a peer once for all processes of one program, and miners are
	// started again.
	programs *detect.Table[program, contact]
}

type program struct {
	scope detect.Scope
	path  uint64
}

type contact struct {
	remote netip.AddrPort
	name   string
	port   bool
}

// work is what one process does.
type work struct {
	busy    time.Duration // at half a core or more, without a break
	last    time.Time     // of the last look at its processor use
	cores   float64       // at its busiest
	remote  netip.AddrPort
	name    string
	port    bool // a port pools use, on a public address
	earlier bool // the connection was that of an earlier process of the program
	command bool // its command line is a miner's
	told    bollwerk.Severity
}

// New makes the detector.
func New(cfg Config) *Detector {
	if cfg.Busy <= 0 {
		cfg.Busy = 3 * time.Minute
	}
	d := &Detector{cfg: cfg, pools: map[string]bool{}, actors: detect.NewTable[detect.Actor, work](1024, 2*time.Hour), programs: detect.NewTable[program, contact](256, 24*time.Hour)}
	for _, p := range strings.Fields(pools) {
		d.pools[p] = true
	}
	for _, p := range cfg.Pools {
		d.pools[strings.ToLower(strings.Trim(p, "."))] = true
	}
	return d
}

// pools are domains that serve miners and little else.
const pools = `
	minexmr.com supportxmr.com nanopool.org moneroocean.stream hashvault.pro 2miners.com ethermine.org flexpool.io hiveon.net nicehash.com
	unmineable.com herominers.com c3pool.com c3pool.org xmrpool.eu xmrpool.net minergate.com monerohash.com dwarfpool.com f2pool.com poolin.com viabtc.com
	antpool.com slushpool.com braiins.com kryptex.network woolypooly.com rplant.xyz zergpool.com zpool.ca prohashing.com miningpoolhub.com
	sparkpool.com spiderpool.com ezil.me flypool.org luxor.tech mining-dutch.nl cedric-crispin.com gntl.co.uk skypool.org crypto-pool.fr xmr.pt
	moneropool.com monerop.com coinhive.com coin-hive.com cryptoloot.pro webminepool.com p2pool.io p2pool.observer raptoreum.zone k1pool.com
	solopool.org acc-pool.pw ravenminer.com suprnova.cc mininghub.com xmrig.com miningrigrentals.com kaspa-pool.org herominers.org volt-mine.com`

var info = detect.Info{
	ID: "miner", Title: "The processor is used to mine a cryptocurrency",
	Severity: bollwerk.SeverityCritical, Mode: detect.Enforce,
	Attack: []string{"T1496", "T1496.001"},
	Description: "Traffic in the protocol of mining pools; questions for or connections to known pools; a miner's command line together with a connection or a " +
		"busy processor; and a program that was made at run time (not in the image, or without a file) and burns a core for minutes, worse when it is connected to the internet.",
	Advice: "Stop the process and isolate the workload: a miner is what an intruder leaves when there is nothing better to take, so find the way in. Look at the parent " +
		"of the process and at what wrote its file. A program of yours that computes that much is allowed by its path (miner.allowed).",
	Needs: []detect.Need{
		{Kind: bollwerk.EventProtocol, Lost: "the protocol itself is not seen, and cannot be stopped; names, ports and processor use remain"},
		{Kind: bollwerk.EventDNS, Lost: "pools are not known by name"},
		{Kind: bollwerk.EventConnect, Lost: "neither pools' ports nor that a busy program is connected are known"},
		{Kind: bollwerk.EventExec, Lost: "command lines are not known before the first connection"},
		{Kind: bollwerk.EventUsage, Lost: "processor use is not known: encrypted miners under names of their own are not seen"},
	},
	Bound: "1024 processes (2 h) and 256 programs with a connection (24 h)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	p := e.Process
	switch e.Kind {
	case bollwerk.EventProtocol:
		if e.Object == nil || e.Object.Name != "stratum" {
			return
		}
		det := detect.New(&info, e, detect.Peer(e.Connection), detect.Who(p)+" in "+detect.Where(e.Workload)+" speaks the protocol of mining pools with "+detect.Peer(e.Connection))
		report(det)
	case bollwerk.EventDNS:
		q := e.DNS
		if q == nil || q.Answer || len(q.Name) > 300 || resolver(p) {
			return
		}
		if pool := d.pool(q.Name); pool != "" {
			det := detect.New(&info, e, pool, detect.Who(p)+" in "+detect.Where(e.Workload)+" asked for "+detect.Text(q.Name)+", a mining pool")
			det.Severity, det.Mode = bollwerk.SeverityHigh, string(detect.Warn)
			report(det)
		}
	case bollwerk.EventExec:
		if a, ok := detect.ActorOf(p); ok && commandLine(p) {
			d.actors.Put(a, e.Time).command = true
		}
	case bollwerk.EventConnect:
		d.connect(e, p, report)
	case bollwerk.EventUsage:
		d.usage(e, p, report)
	}
}

// pool returns the known pool a name belongs to, "" for none.
func (d *Detector) pool(name string) string {
	for n := 0; n < 6; n++ {
		if d.pools[name] {
			return name
		}
		i := strings.IndexByte(name, '.')
		if i < 0 {
			return ""
		}
		name = name[i+1:]
	}
	return ""
}

// resolver reports whether a process asks on behalf of others.
func resolver(p *bollwerk.Process) bool {
	switch detect.Name(p) {
	case "coredns", "dnsmasq", "unbound", "named", "systemd-resolved", "systemd-resolve", "pdns_recursor", "knotd", "kresd", "node-cache", "pihole-FTL", "AdGuardHome", "dockerd", "stubby", "dnscrypt-proxy", "nscd":
		return true
	}
	return false
}

// poolPort reports whether pools are usually served on a port. Programs of all kinds use
// them too, so that a port alone says nothing.
func poolPort(port uint16) bool {
	switch port {
	case 3333, 3334, 3335, 3336, 4444, 5555, 5556, 6666, 7777, 8888, 9999, 9000, 1111, 2222, 14433, 14444, 10128, 20128, 10343, 13333, 18081, 19999, 45560, 45700, 3032, 3352, 20535, 20580, 24444, 33333:
		return true
	}
	return false
}

// commandLine reports whether the words are those of a miner.
func commandLine(p *bollwerk.Process) bool {
	url, wallet, miner := false, false, false
	if len(p.Args) < 2 {
		return false
	}
	for i, a := range p.Args {
		if i > 64 {
			break
		}
		if len(a) > 1024 {
			a = a[:1024]
		}
		switch {
		case len(a) < 2 || len(a) == 2 && a[0] != '-':
		case strings.Contains(a, "stratum+"), strings.Contains(a, "stratum1+"), strings.Contains(a, "stratum2+"), strings.Contains(a, "--donate-level"),
			strings.HasPrefix(a, "--randomx-"), strings.HasPrefix(a, "--cpu-max-threads-hint"), strings.HasPrefix(a, "--nicehash"),
			strings.HasPrefix(a, "rx/0"), strings.HasPrefix(a, "--algo=rx"), strings.HasPrefix(a, "--coin"), strings.Contains(a, "cryptonight"), strings.Contains(a, "kawpow"), strings.Contains(a, "ethash"):
			miner = true
		case a == "-o" || a == "--url" || a == "-P":
			url = true
		case address(a):
			wallet = true
		}
	}
	switch detect.Name(p) {
	case "xmrig", "xmr-stak", "minerd", "cpuminer", "ethminer", "t-rex", "lolMiner", "nbminer", "phoenixminer", "cgminer", "bfgminer", "ccminer", "xmr-stak-cpu", "srbminer", "SRBMiner-MULTI", "teamredminer", "gminer":
		return true
	}
	return miner && (url || wallet) || url && wallet
}

// address reports whether a word is an address of Monero: 95 or 106 letters of base 58
// that begin with 4 or 8, with or without a worker's name behind.
func address(a string) bool {
	a, _, _ = strings.Cut(a, ".")
	a, _, _ = strings.Cut(a, "+")
	if len(a) != 95 && len(a) != 106 || a[0] != '4' && a[0] != '8' {
		return false
	}
	for i := 0; i < len(a); i++ {
		c := a[i]
		if !(c >= '1' && c <= '9' || c >= 'A' && c <= 'Z' && c != 'I' && c != 'O' || c >= 'a' && c <= 'z' && c != 'l') {
			return false
		}
	}
	return true
}

func (d *Detector) connect(e *bollwerk.Event, p *bollwerk.Process, report func(*bollwerk.Detection)) {
	c := e.Connection
	a, ok := detect.ActorOf(p)
	if c == nil || !ok || !detect.Distant(c.Remote.Addr()) || c.Remote.Port() == 53 {
		return
	}
	if pool := d.pool(c.Name); c.Name != "" && pool != "" && !resolver(p) {
		det := detect.New(&info, e, pool, detect.Who(p)+" in "+detect.Where(e.Workload)+" connects to a mining pool, "+detect.Peer(c))
		if det.Mode = string(detect.Warn); !odd(p) && !commandLine(p) {
			det.Severity = bollwerk.SeverityHigh
		}
		if c.Borrowed {
			// Pools share addresses with others: who asked for the name is another one, perhaps.
			det.Severity = bollwerk.SeverityHigh
			if !odd(p) && !commandLine(p) {
				det.Severity, det.Mode = bollwerk.SeverityLow, string(detect.Observe)
			}
		}
		report(det)
		return
	}
	if e.Result != 0 && e.Result != 115 {
		return
	}
	x := d.actors.Peek(a, e.Time)
	port := poolPort(c.Remote.Port()) && detect.Public(c.Remote.Addr())
	if x == nil && !port && !odd(p) && !commandLine(p) {
		return // not worth remembering
	}
	x = d.actors.Put(a, e.Time)
	x.remote, x.name, x.earlier = c.Remote, detect.Peer(c), false
	x.port = x.port || port
	if odd(p) || disguised(p) {
		*d.programs.Put(program{detect.ScopeOf(e), detect.Hash(p.Path)}, e.Time) = contact{x.remote, x.name, x.port}
	}
	x.command = x.command || commandLine(p)
	d.judge(e, p, x, report)
}

// odd reports whether a program is none the workload came with.
func odd(p *bollwerk.Process) bool { return detect.Made(p) || detect.Scratch(p.Path) }

// hungry is the share of a core from which a program counts as busy: a miner takes what it
// gets, which is little on a busy node or under a limit.
const hungry = 0.5

func (d *Detector) usage(e *bollwerk.Event, p *bollwerk.Process, report func(*bollwerk.Detection)) {
	u := e.Usage
	a, ok := detect.ActorOf(p)
	if u == nil || !ok || u.Window <= 0 || u.CPU < 0 || p.Kernel {
		return
	}
	cores := float64(u.CPU) / float64(u.Window)
	x := d.actors.Peek(a, e.Time)
	if x == nil && (cores < hungry || !odd(p) && !disguised(p)) {
		return
	}
	x = d.actors.Put(a, e.Time)
	// A sensor may only tell of processes that use much: silence is a break too.
	pause := e.Time.Sub(x.last) > 3*u.Window+time.Second
	x.last = e.Time
	if cores < hungry || pause {
		x.busy = 0
	}
	if cores < hungry {
		return
	}
	if !x.remote.IsValid() && (odd(p) || disguised(p)) {
		if c := d.programs.Peek(program{detect.ScopeOf(e), detect.Hash(p.Path)}, e.Time); c != nil {
			x.remote, x.name, x.port, x.earlier = c.remote, c.name, x.port || c.port && odd(p), true
		}
	}
	x.busy += min(u.Window, time.Hour)
	x.cores = max(x.cores, min(cores, 4096))
	d.judge(e, p, x, report)
}

// disguised reports whether a program calls itself a kernel thread.
func disguised(p *bollwerk.Process) bool {
	return !p.Kernel && len(p.Args) > 0 && strings.HasPrefix(p.Args[0], "[") && p.Path != ""
}

func (d *Detector) judge(e *bollwerk.Event, p *bollwerk.Process, x *work, report func(*bollwerk.Detection)) {
	for _, a := range d.cfg.Allowed {
		if p.Path == a {
			return
		}
	}
	busy := x.busy >= d.cfg.Busy
	var severity bollwerk.Severity
	why := ""
	switch {
	case x.command && (x.remote.IsValid() || x.busy > 0):
		severity, why = bollwerk.SeverityCritical, "was started with the command line of a miner ("+detect.Command(p)+")"
	case !busy:
		return
	case detect.Job(p) != nil && !x.port:
		return // tests and builds burn processors with programs they have just made
	case odd(p) && x.port, disguised(p) && x.remote.IsValid():
		severity, why = bollwerk.SeverityCritical, d.burns(x)+" and was made at run time or hides its name"
	case odd(p) && x.remote.IsValid() && detect.Public(x.remote.Addr()):
		severity, why = bollwerk.SeverityHigh, d.burns(x)+" and was not in the image"
	case x.port:
		severity, why = bollwerk.SeverityHigh, d.burns(x)+" while it holds a connection to a port that pools use"
	case odd(p) && x.busy >= 2*d.cfg.Busy, disguised(p):
		severity, why = bollwerk.SeverityMedium, d.burns(x)+" and was made at run time or hides its name"
	}
	if severity <= x.told {
		return
	}
	x.told = severity
	to := ""
	switch {
	case x.earlier:
		to = "; the same program was connected to " + x.name + " before"
	case x.remote.IsValid():
		to = "; it is connected to " + x.name
	}
	det := detect.New(&info, e, p.Path, detect.Who(p)+" in "+detect.Where(e.Workload)+" "+why+to)
	det.Severity = severity
	// What is inferred from the processor is not stopped on its own.
	det.Mode = string(detect.Warn)
	report(det)
}

func (d *Detector) burns(x *work) string {
	return fmt.Sprintf("has used %.1f cores for %s", x.cores, x.busy.Round(time.Second))
}
