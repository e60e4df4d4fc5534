package reverseshell

import (
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect"
)

// spelling is a reverse shell that can be read off a command line. Whoever encodes it is
// seen by what it does instead.
type spelling struct {
	severity bollwerk.Severity
	mode     detect.Mode
	form     string
	offers   bool // listens instead of calling out
}

// maxCode is how much of a command line is read: signs lie at its beginning, as the
// sensor keeps no more.
const maxCode = 8 << 10

func spelled(p *bollwerk.Process, class detect.Class) spelling {
	switch {
	case class.Is(detect.Relay):
		return spelledRelay(p)
	case class.Is(detect.Shell):
		code := detect.Code(p)
		if len(code) > maxCode {
			code = code[:maxCode]
		}
		return spelledShell(code)
	case class.Is(detect.Interpreter):
		code := detect.Code(p)
		if len(code) > maxCode {
			code = code[:maxCode]
		}
		return spelledCode(code)
	}
	return spelling{}
}

func has(s string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

func spelledShell(code string) spelling {
	if len(code) < 12 {
		return spelling{}
	}
	if i := max(strings.Index(code, "/dev/tcp/"), strings.Index(code, "/dev/udp/")); i >= 0 {
		host, _, _ := strings.Cut(code[i+len("/dev/tcp/"):], "/")
		if loopbackName(host) {
			return spelling{}
		}
		switch {
		case has(code, "sh -i", "-li ", "sh -l", "ash -i") && has(code, ">&", "<&", "0<", "&>"):
			return spelling{bollwerk.SeverityCritical, detect.Enforce, "join an interactive shell to a connection", false}
		case has(code, "while read", "do $", "eval ", "| sh", "|sh", "| bash", "|bash") && has(code, "<&", "exec "):
			return spelling{bollwerk.SeverityHigh, detect.Warn, "run what a connection says", false}
		}
		return spelling{}
	}
	// One line that makes a named pipe and puts a shell and a network tool at its ends.
	if has(code, "mkfifo", "mknod") && has(code, "sh -i", "/sh", "/bash", "|sh", "| sh", "|bash", "| bash") &&
		has(code, "nc ", "ncat ", "netcat ", "telnet ", "s_client", "socat ") {
		return spelling{bollwerk.SeverityCritical, detect.Enforce, "join a shell to the network by a named pipe", false}
	}
	return spelling{}
}

// opensSocket reports whether program text opens a connection.
func opensSocket(code string) bool {
	return has(code, "socket", "Socket", "fsockopen", "net.connect", "net.Connect", "createConnection", "require('net')", `require("net")`, "/inet/tcp/", "/inet/udp/", "tcp_connect", "Deno.connect")
}

func spelledCode(code string) spelling {
	if len(code) < 20 || !opensSocket(code) {
		return spelling{}
	}
	if !has(code, "/sh", "/bash", "/ash", "/zsh", "pty.spawn", `"sh"`, `'sh'`, `"bash"`, `'bash'`, "sh -i", "cmd.exe", "powershell", "|& getline", "|&getline") {
		return spelling{}
	}
	if has(code, "dup2", "fileno", "<&", ">&", "STDIN", "$stdin", ".pipe(", "pty.spawn", "proc_open", "getline", "popen", "passthru", "exec", "system") {
		return spelling{bollwerk.SeverityCritical, detect.Enforce, "join a shell to a connection by a line of code", false}
	}
	return spelling{bollwerk.SeverityHigh, detect.Warn, "open a connection and a shell by a line of code", false}
}

// shellWord reports whether a text names a shell: "/bin/sh", "bash -li", "sh,pty".
func shellWord(s string) bool {
	for len(s) > 0 {
		i := strings.IndexAny(s, " ,:'\"\t;")
		w := s
		if i >= 0 {
			w, s = s[:i], s[i+1:]
		} else {
			s = ""
		}
		switch detect.Base(w) {
		case "sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "cmd.exe", "pwsh", "busybox":
			return true
		}
	}
	return false
}

func spelledRelay(p *bollwerk.Process) spelling {
	name := detect.Name(p)
	listening := listens(p)
	give := func(form string) spelling {
		if listening {
			return spelling{bollwerk.SeverityHigh, detect.Warn, "offer a shell on a port", true}
		}
		if loopbackName(destination(p)) {
			return spelling{}
		}
		return spelling{bollwerk.SeverityCritical, detect.Enforce, form, false}
	}
	args := p.Args
	if len(args) > 64 {
		args = args[:64]
	}
	switch name {
	case "socat":
		for _, a := range args {
			if len(a) > maxCode {
				a = a[:maxCode]
			}
			l := strings.ToLower(a)
			if k := strings.IndexByte(l, ':'); k > 0 && (l[:k] == "exec" || l[:k] == "system" || l[:k] == "shell") && (shellWord(l[k+1:]) || l[:k] == "shell") {
				return give("join a shell to a connection")
			}
		}
	case "openssl", "telnet", "chisel", "websocat":
	default:
		for i := 1; i < len(args); i++ {
			a := args[i]
			prog := ""
			switch {
			case strings.HasPrefix(a, "--exec="), strings.HasPrefix(a, "--sh-exec="), strings.HasPrefix(a, "--lua-exec="):
				_, prog, _ = strings.Cut(a, "=")
			case a == "--exec" || a == "--sh-exec", len(a) > 1 && a[0] == '-' && a[1] != '-' && (a[len(a)-1] == 'e' || a[len(a)-1] == 'c'):
				if i+1 < len(args) {
					prog = args[i+1]
				}
			}
			if prog != "" && shellWord(prog) {
				return give("join a shell to a connection")
			}
		}
	}
	return spelling{}
}

// listens reports whether a relay was told to wait for connections.
func listens(p *bollwerk.Process) bool {
	name := detect.Name(p)
	for i := 1; i < len(p.Args) && i < 64; i++ {
		a := p.Args[i]
		switch {
		case name == "socat":
			head, _, _ := strings.Cut(a, ":")
			h := strings.ToLower(head)
			if strings.HasSuffix(h, "-listen") || strings.HasSuffix(h, "-l") && !strings.HasPrefix(h, "-") || strings.HasSuffix(h, "-recvfrom") || strings.HasSuffix(h, "-recv") {
				return true
			}
		case name == "openssl":
			if a == "s_server" {
				return true
			}
		case a == "--listen":
			return true
		case len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.IndexByte(a, 'l') > 0:
			return true
		}
	}
	return false
}

// destination is what a relay was told to connect to, "" if it cannot be read.
func destination(p *bollwerk.Process) string {
	name := detect.Name(p)
	if len(p.Args) < 2 {
		return ""
	}
	args := p.Args[1:]
	if len(args) > 64 {
		args = args[:64]
	}
	switch name {
	case "socat":
		for _, a := range args {
			head, rest, ok := strings.Cut(a, ":")
			switch strings.ToLower(head) {
			case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "openssl", "ssl", "tcp-connect", "tcp4-connect", "tcp6-connect", "openssl-connect", "udp-connect", "sctp", "sctp-connect", "proxy", "socks4", "socks4a":
				if ok {
					rest, _, _ = strings.Cut(rest, ",")
					return rest
				}
			}
		}
		return ""
	case "openssl":
		client := false
		for i, a := range args {
			if a == "s_client" {
				client = true
			}
			if client && (a == "-connect" || a == "-host") && i+1 < len(args) {
				return args[i+1]
			}
		}
		return ""
	}
	// nc, ncat, telnet: the words that are neither options nor values of options.
	var words []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if len(a) > 1 && a[0] == '-' {
			// Options of nc that take a value.
			if a[1] != '-' && strings.IndexByte("ecgGipqswxXTIOPMmVbod", a[len(a)-1]) >= 0 && i+1 < len(args) {
				i++
			}
			continue
		}
		words = append(words, a)
	}
	switch len(words) {
	case 0:
		return ""
	case 1:
		if name == "telnet" {
			return words[0]
		}
		return ""
	}
	return words[0] + ":" + words[1]
}

func loopbackName(s string) bool {
	return strings.HasPrefix(s, "127.") || strings.HasPrefix(s, "localhost") || strings.HasPrefix(s, "[::1]") || strings.HasPrefix(s, "::1") || strings.HasPrefix(s, "0.0.0.0") || s == "0"
}
