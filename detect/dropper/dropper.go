// Package dropper notices a program that arrives over the network and is run soon
// after: fetched, made executable, started. It owns the sequence; running what was made at
// run time, whoever made it, is a policy's.
package dropper

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Within is how long after its arrival a program is remembered. Default 15 minutes.
	Within time.Duration `yaml:"within"`
	// Allowed are path prefixes from which programs may be run that were fetched: "/opt/updater/".
	Allowed []string `yaml:"allowed"`
}

// Detector notices programs that are fetched and run.
type Detector struct {
	cfg     Config
	files   *detect.Table[file, arrival]
	network *detect.Table[detect.Actor, peer]
	// shells are those whose child fetched something, wherever it was put.
	shells *detect.Table[detect.Actor, arrival]
}

type file struct {
	scope detect.Scope
	path  uint64 // hash of the path, or inode and device
}

// arrival is a file that came over the network.
type arrival struct {
	by      string // the program
	pid     uint32
	command string // of a download tool
	from    netip.AddrPort
	name    string // of the peer
	at      time.Time
	chmod   bool
	fetcher bool
	server  bool // written by a program that answers requests
}

type peer struct {
	remote    netip.AddrPort
	name      string
	connected bool
	serves    bool
	made      string // the file a shell made last, which becomes its child's output
}

// New makes the detector.
func New(cfg Config) *Detector {
	if cfg.Within <= 0 {
		cfg.Within = 15 * time.Minute
	}
	return &Detector{
		cfg:     cfg,
		files:   detect.NewTable[file, arrival](1024, cfg.Within),
		network: detect.NewTable[detect.Actor, peer](1024, time.Hour),
		shells:  detect.NewTable[detect.Actor, arrival](512, cfg.Within),
	}
}

var info = detect.Info{
	ID: "download-and-run", Title: "A program was fetched and run at once",
	Severity: bollwerk.SeverityHigh, Mode: detect.Warn,
	Attack: []string{"T1105", "T1204.002"},
	Description: "A file written by a download tool, by a program that answers requests, or by one with a connection to another machine, that is " +
		"made executable and started within minutes. Package managers, builds and CI jobs are left out; a person at a terminal of the host is low.",
	Advice: "Keep the file (its path is in the message) and compare its SHA-256 with what you know. If it is malware, isolate the workload and look at what wrote it. " +
		"If it is an updater, allow its folder (dropper.allowed) or ship the program in the image.",
	Needs: []detect.Need{
		{Kind: bollwerk.EventExec, Essential: true, Lost: "nothing is seen"},
		{Kind: bollwerk.EventCreate, Lost: "files are known by the download's command line only (curl -o, wget -O)"},
		{Kind: bollwerk.EventOpen, Lost: "files that existed before and were overwritten are not known"},
		{Kind: bollwerk.EventChmod, Lost: "that the file was made executable is not part of the evidence"},
		{Kind: bollwerk.EventRename, Lost: "files that are moved after the download are known only by their inode"},
		{Kind: bollwerk.EventConnect, Lost: "files written by programs that fetch on their own are not known"},
		{Kind: bollwerk.EventListen, Lost: "uploads to servers count only for known server programs"},
		{Kind: bollwerk.EventAccept, Lost: "uploads to servers that were listening before count only for known server programs"},
	},
	Bound: "1024 files and 512 shells that fetched (15 min), 1024 processes with a connection (1 h)",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	p := e.Process
	if p == nil {
		return
	}
	switch e.Kind {
	case bollwerk.EventConnect:
		c := e.Connection
		if a, ok := detect.ActorOf(p); ok && c != nil && (e.Result == 0 || e.Result == 115) && detect.Distant(c.Remote.Addr()) && c.Remote.Port() != 53 {
			x := d.network.Put(a, e.Time)
			x.connected = true
			x.remote, x.name = c.Remote, c.Name
		}
	case bollwerk.EventListen, bollwerk.EventAccept:
		if a, ok := detect.ActorOf(p); ok {
			d.network.Put(a, e.Time).serves = true
		}
	case bollwerk.EventCreate, bollwerk.EventOpen:
		if f := e.File; f != nil && (e.Kind == bollwerk.EventCreate || f.Access&(bollwerk.AccessWrite|bollwerk.AccessCreate) != 0) {
			d.written(e, p, f)
		}
	case bollwerk.EventChmod:
		if f := e.File; f != nil && f.Mode&0o111 != 0 {
			x := d.find(e, f.Path, f.Inode, f.Device)
			if x == nil {
				// Sensors that look at folders of many files tell of those that can be executed
				// only: this is the first that is heard of it.
				d.written(e, p, f)
				x = d.find(e, f.Path, f.Inode, f.Device)
			}
			if x != nil {
				x.chmod = true
			}
		}
	case bollwerk.EventRename:
		if f := e.File; f != nil && f.Target != "" {
			if x := d.find(e, f.Path, f.Inode, f.Device); x != nil {
				was := *x
				*d.files.Put(file{detect.ScopeOf(e), detect.Hash(f.Target)}, e.Time) = was
			}
		}
	case bollwerk.EventExec:
		d.exec(e, p, report)
	}
}

func inodeKey(inode, device uint64) uint64 { return detect.Mix(inode ^ detect.Mix(device+1)) }

func (d *Detector) find(e *bollwerk.Event, path string, inode, device uint64) *arrival {
	scope := detect.ScopeOf(e)
	if path != "" {
		if x := d.files.Get(file{scope, detect.Hash(path)}, e.Time); x != nil {
			return x
		}
	}
	if inode != 0 {
		return d.files.Get(file{scope, inodeKey(inode, device)}, e.Time)
	}
	return nil
}

// trusted reports whether bringing programs is the work of p.
func trusted(p *bollwerk.Process) bool {
	return detect.ClassOf(p).Is(detect.Builder|detect.Installer|detect.Runtime) && !detect.Scratch(p.Path) && !detect.Made(p)
}

func (d *Detector) written(e *bollwerk.Event, p *bollwerk.Process, f *bollwerk.FileEvent) {
	if strings.HasPrefix(f.Path, "/dev/") && !strings.HasPrefix(f.Path, "/dev/shm/") || strings.HasPrefix(f.Path, "/proc/") || strings.HasPrefix(f.Path, "/sys/") {
		return
	}
	class := detect.ClassOf(p)
	x := arrival{at: e.Time, fetcher: class.Is(detect.Fetcher | detect.Relay)}
	a, _ := detect.ActorOf(p)
	n := d.network.Peek(a, e.Time)
	switch {
	case trusted(p):
		return
	case x.fetcher:
	case class.Is(detect.WebServer|detect.Database) || n != nil && n.serves:
		x.server = true
	case n != nil && n.connected:
	case class.Is(detect.Shell) && e.Kind == bollwerk.EventCreate && f.Path != "" && len(f.Path) < 512:
		// "curl … > x": the forked shell makes x and then becomes curl.
		if a.PID != 0 {
			d.network.Put(a, e.Time).made = strings.Clone(f.Path)
		}
		return
	default:
		return
	}
	if n != nil {
		x.from, x.name = n.remote, n.name
	}
	x.by, x.pid = detect.Name(p), p.PID
	if x.fetcher {
		x.command = detect.Command(p)
	}
	scope := detect.ScopeOf(e)
	if f.Path != "" {
		*d.files.Put(file{scope, detect.Hash(f.Path)}, e.Time) = x
	}
	if f.Inode != 0 {
		*d.files.Put(file{scope, inodeKey(f.Inode, f.Device)}, e.Time) = x
	}
}

func (d *Detector) exec(e *bollwerk.Event, p *bollwerk.Process, report func(*bollwerk.Detection)) {
	class := detect.ClassOf(p)
	if class.Is(detect.Fetcher) {
		d.ordered(e, p)
	}
	path := p.Path
	x := d.find(e, path, p.Inode, p.Device)
	if x == nil && class.Is(detect.Shell|detect.Interpreter) {
		// A script counts as much as a program.
		if path = detect.Told(p); path == "" || class.Is(detect.Interpreter) && module(p) {
			return
		}
		if path[0] != '/' {
			path = strings.TrimSuffix(p.Cwd, "/") + "/" + strings.TrimPrefix(path, "./")
		}
		x = d.find(e, path, 0, 0)
	}
	near := false
	if x == nil {
		// "curl … > x; chmod +x x; ./x": nobody tells what a shell's own descriptor was written
		// to, but both are children of one shell.
		if !detect.Made(p) && !detect.Scratch(path) || p.Contained && p.Origin == bollwerk.OriginImage && path == p.Path {
			return
		}
		for q, n := detect.Above(p), 0; q != nil && n < 2 && x == nil; q, n = detect.Above(q), n+1 {
			if a, ok := detect.ActorOf(q); ok {
				x = d.shells.Peek(a, e.Time)
			}
		}
		if x == nil {
			return
		}
		near = true
	}
	for _, a := range d.cfg.Allowed {
		if strings.HasPrefix(path, a) {
			return
		}
	}
	from := ""
	if x.from.IsValid() {
		from = " from " + detect.Peer(&bollwerk.Connection{Remote: x.from, Name: x.name})
	}
	told := ""
	if x.command != "" {
		told = "; its command line: " + x.command
	}
	made := ""
	if x.chmod {
		made = ", made executable"
	}
	how := ", written " + ago(e.Time.Sub(x.at)) + " before by "
	if near {
		how = ", which was not there when the workload began, " + ago(e.Time.Sub(x.at)) + " after the same shell started "
	}
	det := detect.New(&info, e, path, detect.Who(p)+" in "+detect.Where(e.Workload)+" runs "+detect.Text(path)+how+detect.Text(x.by)+
		" (pid "+strconv.FormatUint(uint64(x.pid), 10)+")"+from+made+told)
	switch job := detect.Job(p); {
	case job != nil || trusted(p):
		det.Severity, det.Mode = bollwerk.SeverityLow, string(detect.Observe)
		if job != nil {
			det.Message += "; " + detect.Who(job) + " above it brings programs as its work"
		}
	case p.TTY != "" && p.LoginUID != 4294967295 && p.LoginUID != 0 && !p.Contained:
		det.Severity = bollwerk.SeverityLow
	case near && !(detect.Made(p) && detect.Scratch(path)):
		det.Severity = bollwerk.SeverityMedium
	case x.fetcher || x.server || detect.Scratch(path):
		// A server that writes a program and runs it does what no server is for.
	default:
		det.Severity = bollwerk.SeverityLow
	}
	report(det)
}

// ordered takes the file a download tool was told to write, or the one its shell made for
// its output.
func (d *Detector) ordered(e *bollwerk.Event, p *bollwerk.Process) {
	name := detect.Name(p)
	x := arrival{by: name, pid: p.PID, command: detect.Command(p), at: e.Time, fetcher: true}
	if a, ok := detect.ActorOf(p); ok {
		if n := d.network.Peek(a, e.Time); n != nil && n.made != "" {
			*d.files.Put(file{detect.ScopeOf(e), detect.Hash(n.made)}, e.Time) = x
		}
	}
	if q := detect.Above(p); detect.ClassOf(q).Is(detect.Shell) && !local(p) {
		if a, ok := detect.ActorOf(q); ok {
			*d.shells.Put(a, e.Time) = x
		}
	}
	put := func(v string) {
		if v == "" || v == "-" {
			return
		}
		if v[0] != '/' {
			v = strings.TrimSuffix(p.Cwd, "/") + "/" + strings.TrimPrefix(v, "./")
		}
		*d.files.Put(file{detect.ScopeOf(e), detect.Hash(v)}, e.Time) = x
	}
	remote, last := false, "" // curl -O; the last part of the address
	for i := 1; i < len(p.Args) && i < 64; i++ {
		a, v := p.Args[i], ""
		switch {
		case (a == "-o" || a == "--output") && name == "curl", (a == "-O" || a == "--output-document") && name == "wget":
			if i+1 < len(p.Args) {
				v = p.Args[i+1]
			}
		case strings.HasPrefix(a, "--output-document="):
			v = a[len("--output-document="):]
		case name == "wget" && strings.HasPrefix(a, "-O") && len(a) > 2:
			v = a[2:]
		case strings.Contains(a, "://"):
			if last = detect.Base(a); remote {
				last, _, _ = strings.Cut(last, "?") // wget keeps the question
			}
		case len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.IndexByte(a, 'O') > 0 && name == "curl", a == "--remote-name":
			remote = true
		case len(a) > 2 && a[0] == '-' && a[1] != '-' && a[len(a)-1] == 'o' && name == "curl", len(a) > 2 && a[0] == '-' && a[1] != '-' && a[len(a)-1] == 'O' && name == "wget":
			if i+1 < len(p.Args) {
				v = p.Args[i+1]
			}
		}
		if v != "" {
			put(v)
			return
		}
	}
	if remote || name == "wget" {
		put(last)
	}
}

func ago(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	if d < time.Second {
		return "a moment"
	}
	return d.Round(time.Second).String()
}

// module reports whether an interpreter was told the name of a module instead of a file.
func module(p *bollwerk.Process) bool {
	return p.Script == "" && len(p.Args) > 2 && p.Args[1] == "-m"
}

// local reports whether a download tool asked this machine only: a probe of one's own
// server brings nothing. Options that send it elsewhere make it a download again.
func local(p *bollwerk.Process) bool {
	if len(p.Args) > 2 && p.Args[1] == "-m" && p.Args[2] == "http.server" {
		return true // a server, of which only "http" is left as its name
	}
	asked := false
	for i := 1; i < len(p.Args); i++ {
		a := p.Args[i]
		if i >= 64 || strings.HasPrefix(a, "--connect-to") || strings.HasPrefix(a, "--resolve") || strings.HasPrefix(a, "--proxy") || strings.HasPrefix(a, "--pre") ||
			strings.HasPrefix(a, "--socks") || strings.HasPrefix(a, "--config") || strings.HasPrefix(a, "-x") || strings.HasPrefix(a, "-K") || strings.HasPrefix(a, "-e") {
			return false
		}
		_, rest, ok := strings.Cut(a, "://")
		if !ok {
			continue
		}
		host := rest
		if end := strings.IndexAny(rest, "/?#"); end >= 0 {
			host = rest[:end]
		}
		// A user name ("localhost@elsewhere") is part of no address and no "localhost".
		if at, err := netip.ParseAddrPort(host); err == nil {
			host = at.Addr().String()
		} else if name, port, found := strings.Cut(host, ":"); found && strings.Trim(port, "0123456789") == "" {
			host = name
		}
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if host != "localhost" && (err != nil || !addr.Unmap().IsLoopback()) {
			return false
		}
		asked = true
	}
	return asked
}
