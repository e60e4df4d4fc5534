// Package webshell notices a server that looks around: commands an intruder asks for
// first, run below a program that answers requests, several of them within minutes. That a
// server starts a shell at all is a policy's.
package webshell

import (
	"strconv"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// Config tunes the detector. The zero value is usable.
type Config struct {
	// Allowed are paths of server programs that run such commands as their work: "/opt/panel/bin/paneld".
	Allowed []string `yaml:"allowed"`
}

// Detector notices web shells.
type Detector struct {
	cfg     Config
	servers *detect.Table[detect.Actor, struct{}]
	tally   *detect.Table[place, tally]
}

type place struct {
	scope  detect.Scope
	server uint64 // hash of the server's path: its workers count together
}

type tally struct {
	began    time.Time
	points   int
	seen     uint32 // bit of each sign
	commands []string
	events   []*bollwerk.Event
	told     int
}

// New makes the detector.
func New(cfg Config) *Detector {
	return &Detector{
		cfg:     cfg,
		servers: detect.NewTable[detect.Actor, struct{}](2048, 24*time.Hour),
		tally:   detect.NewTable[place, tally](128, window),
	}
}

// window is how long signs are added up. An intruder at a keyboard needs minutes.
const window = 10 * time.Minute

var info = detect.Info{
	ID: "web-shell", Title: "A server runs the commands of an intruder",
	Severity: bollwerk.SeverityCritical, Mode: detect.Warn,
	Attack: []string{"T1505.003", "T1190", "T1059.004", "T1033", "T1082"},
	Description: "Below a web or database server, or any program that listens, commands are run that look around (id, whoami, uname -a, reading passwd, " +
		"listing connections, sudo -l, searching for set-uid files) or fetch tools; several different ones within ten minutes. Grandchildren count: the commands of a shell belong to the server " +
		"that started it.",
	Advice: "Treat the application as broken into. Isolate the workload but keep it running, save the access log of the minutes before, and look for files " +
		"written below the web root. A monitoring page that runs such commands is allowed by the path of its server (webshell.allowed).",
	Needs: []detect.Need{
		{Kind: bollwerk.EventExec, Essential: true, Lost: "nothing is seen"},
		{Kind: bollwerk.EventListen, Lost: "servers are known by their names only"},
		{Kind: bollwerk.EventAccept, Lost: "servers that were listening before the agent are known by their names only"},
	},
	Bound: "2048 listening processes (24 h), 128 servers with signs (10 min), 12 commands each",
}

// Info tells what the detector sees and needs.
func (*Detector) Info() *detect.Info { return &info }

// Observe takes one event.
func (d *Detector) Observe(e *bollwerk.Event, report func(*bollwerk.Detection)) {
	p := e.Process
	if p == nil {
		return
	}
	if e.Kind != bollwerk.EventExec {
		if a, ok := detect.ActorOf(p); ok && serves(e) {
			d.servers.Put(a, e.Time)
		}
		return
	}
	bit, points, what := sign(p)
	if points == 0 {
		return
	}
	server := d.server(p, e.Time)
	if server == nil || detect.Job(p) != nil && !detect.ClassOf(server).Is(detect.WebServer|detect.Database) {
		return
	}
	for _, a := range d.cfg.Allowed {
		if server.Path == a || detect.Told(server) == a {
			return
		}
	}
	x := d.tally.Put(place{detect.ScopeOf(e), detect.Hash(server.Path)}, e.Time)
	if x.points == 0 || e.Time.Sub(x.began) > window || e.Time.Before(x.began) {
		*x = tally{began: e.Time}
	}
	if x.seen&(1<<bit) != 0 {
		return
	}
	x.seen |= 1 << bit
	x.points += points
	if len(x.commands) < 12 {
		x.commands = append(x.commands, what)
	}
	if len(x.events) < 6 {
		x.events = append(x.events, detect.BriefEvent(e))
	}
	level := 0
	switch {
	case x.points >= 8:
		level = 3
	case x.points >= 5:
		level = 2
	case x.points >= 4:
		level = 1
	}
	if level <= x.told {
		return
	}
	x.told = level
	det := detect.New(&info, e, server.Path, detect.Who(server)+" in "+detect.Where(e.Workload)+" ran "+strconv.Itoa(len(x.commands))+
		" commands an intruder begins with, within "+e.Time.Sub(x.began).Round(time.Second).String()+": "+strings.Join(x.commands, "; "))
	det.Events = append([]*bollwerk.Event(nil), x.events...)
	det.Severity = [...]bollwerk.Severity{0, bollwerk.SeverityMedium, bollwerk.SeverityHigh, bollwerk.SeverityCritical}[level]
	report(det)
}

// serves leaves out what of the host only the host can reach: a debugger, a language server.
// In a container that is how an application listens behind its proxy.
func serves(e *bollwerk.Event) bool {
	c := e.Connection
	return c != nil && c.Protocol != "unix" && (!c.Local.Addr().IsLoopback() || detect.Contained(e))
}

// server returns the program that answers requests above p.
func (d *Detector) server(p *bollwerk.Process, now time.Time) *bollwerk.Process {
	for q, n := detect.Above(p), 0; q != nil && n < 8; q, n = detect.Above(q), n+1 {
		name := detect.Name(q)
		switch name {
		case "sshd", "sshd-session", "dropbear", "systemd", "init", "containerd-shim-runc-v2", "containerd-shim", "conmon", "runc", "crun", "dockerd", "kubelet", "login", "sudo", "su", "cron", "crond", "tmux", "screen", "in.telnetd", "xinetd":
			// A person or the machine itself.
			return nil
		}
		if detect.ClassOf(q).Is(detect.Fleet | detect.Runner | detect.Builder | detect.Runtime | detect.Installer) {
			return nil
		}
		if detect.ClassOf(q).Is(detect.WebServer | detect.Database) {
			return q
		}
		if a, ok := detect.ActorOf(q); ok && d.servers.Peek(a, now) != nil {
			return q
		}
	}
	return nil
}

// sign says how much a command looks like an intruder's first steps. Commands that
// programs run for themselves (hostname, date, ps, uname without -a) count little or not.
func sign(p *bollwerk.Process) (bit uint, points int, what string) {
	line := func() string { return detect.Text(strings.Join(p.Args[:min(len(p.Args), 6)], " ")) }
	arg := func(words ...string) bool {
		for i := 1; i < len(p.Args) && i < 32; i++ {
			a := p.Args[i]
			if len(a) > 512 {
				a = a[:512]
			}
			for _, w := range words {
				if strings.Contains(a, w) {
					return true
				}
			}
		}
		return false
	}
	name := detect.Name(p)
	switch name {
	case "whoami":
		return 0, 2, line()
	case "id":
		if len(p.Args) > 1 && p.Args[1] != "-a" && !strings.HasPrefix(p.Args[1], "www") {
			return 1, 1, line() // "id -u": scripts ask so
		}
		return 1, 2, line()
	case "uname":
		if arg("-a") {
			return 2, 2, line()
		}
		return 2, 0, ""
	case "w", "who", "last", "lastlog", "finger":
		return 3, 2, line()
	case "ifconfig", "ip", "arp", "route":
		return 4, 1, line()
	case "netstat", "ss", "lsof":
		return 5, 1, line()
	case "sudo", "doas", "su":
		return 6, 2, line()
	case "cat", "head", "tail", "less", "more", "grep", "awk", "sed", "cp", "tac", "nl", "base64":
		switch {
		case arg("/etc/shadow", "/.ssh/", "id_rsa", "/.aws/", "/.kube/", "serviceaccount/token", "/proc/self/environ", "/proc/1/environ"):
			return 7, 3, line()
		case arg("/etc/passwd", "/etc/sudoers", "/etc/crontab", "/etc/issue", "/etc/os-release", "/proc/version", "/etc/hosts", "/proc/net/"):
			return 8, 2, line()
		}
	case "find":
		if arg("-perm", "-4000", "u=s", "id_rsa", ".kdbx", "-writable") {
			return 9, 3, line()
		}
	case "getcap", "linpeas", "linpeas.sh", "pspy64":
		return 10, 3, line()
	case "env", "printenv", "export":
		if len(p.Args) <= 1 {
			return 11, 2, line()
		}
	case "curl", "wget", "fetch", "ftp", "tftp":
		return 12, 2, line()
	case "nc", "ncat", "netcat", "socat", "telnet", "nmap", "masscan":
		return 13, 3, line()
	case "crontab":
		return 14, 2, line()
	case "hostname":
		return 16, 1, line()
	case "ps", "top", "pstree":
		return 17, 1, line()
	case "ls", "dir":
		if arg("/root", "/home", "/etc", "/var/www", "/opt", "/tmp") || arg("-la", "-al") {
			return 18, 1, line()
		}
	case "chmod", "chattr", "chown":
		if arg("+x", "777", "+s", "755", "4755") {
			return 19, 2, line()
		}
	case "useradd", "adduser", "passwd", "usermod", "chpasswd":
		return 20, 3, line()
	case "rm":
		if arg("/var/log", "history") {
			return 21, 3, line()
		}
	case "kubectl", "docker", "ctr", "crictl", "nsenter", "unshare", "chroot", "mount":
		return 22, 2, line()
	case "base32", "xxd", "openssl":
		if arg("-d", "-r") {
			return 23, 1, line()
		}
	case "df", "lscpu", "lsblk", "free", "pwd", "groups":
		return 24, 1, line()
	}
	if len(p.Args) > 1 && !strings.HasSuffix(name, "awk") && detect.ClassOf(p).Is(detect.Interpreter) && detect.Code(p) != "" {
		return 15, 2, line() // whatever its version: python3.11, php8.3
	}
	return 0, 0, ""
}
