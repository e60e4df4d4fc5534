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
	if connects(code) {
		switch {
		case has(code, "sh -i", "-li ", "sh -l", "ash -i") && has(code, ">&", "<&", "0<", "&>"), joinsShell(code):
			return spelling{bollwerk.SeverityCritical, detect.Enforce, "join an interactive shell to a connection", false}
		case has(code, "while read", "do $", "eval ", "| sh", "|sh", "| bash", "|bash") && has(code, "<&", "exec "):
			return spelling{bollwerk.SeverityHigh, detect.Warn, "run what a connection says", false}
		}
		return spelling{}
	}
	if has(code, "ztcp ") && has(code, "&$REPLY", "&${REPLY}") && shellWord(code) {
		return spelling{bollwerk.SeverityCritical, detect.Enforce, "join an interactive shell to a connection", false}
	}
	// One line that makes a named pipe and puts a shell and a network tool at its ends.
	if has(code, "mkfifo", "mknod") && has(code, "sh -i", "/sh", "/bash", "|sh", "| sh", "|bash", "| bash") &&
		has(code, "nc ", "ncat ", "netcat ", "telnet ", "s_client", "socat ") {
		return spelling{bollwerk.SeverityCritical, detect.Enforce, "join a shell to the network by a named pipe", false}
	}
	return spelling{}
}

// connects reports whether a text for a shell opens a connection to another machine by itself.
func connects(code string) bool {
	for {
		i := strings.Index(code, "/dev/")
		if i < 0 {
			return false
		}
		code = code[i+len("/dev/"):]
		if strings.HasPrefix(code, "tcp/") || strings.HasPrefix(code, "udp/") {
			host, _, _ := strings.Cut(code[len("tcp/"):], "/")
			if !loopbackName(strings.Trim(host, `"'`)) {
				return true
			}
		}
	}
}

// joinsShell reports whether a text starts a shell that takes its commands from a descriptor or
// from the connection: "sh <&5 >&5", "bash >/dev/tcp/… 0>&1", "/bin/sh 0</dev/tcp/…".
func joinsShell(code string) bool {
	for code != "" {
		end := 0
		for end < len(code) {
			c := code[end]
			if c == ';' || c == '|' || c == '\n' || c == '(' || c == ')' || c == '`' ||
				c == '&' && (end == 0 || code[end-1] != '<' && code[end-1] != '>') && (end+1 >= len(code) || code[end+1] != '>') {
				break
			}
			end++
		}
		if shellOn(code[:end]) {
			return true
		}
		code = code[min(end+1, len(code)):]
	}
	return false
}

// shellOn reports whether one command is a shell that was told no text and no file, with its
// input redirected.
func shellOn(command string) bool {
	shell, input := false, false
	for command != "" {
		w := command
		if i := strings.IndexAny(command, " \t"); i >= 0 {
			w, command = command[:i], command[i+1:]
		} else {
			command = ""
		}
		if w = strings.Trim(w, `"'`); w == "" {
			continue
		}
		redirect := strings.IndexAny(w, "<>")
		if redirect >= 0 {
			input = input || strings.Contains(w, "<&") || strings.Contains(w, "0>&") || strings.Contains(w, "<>") || strings.HasPrefix(w[redirect:], "</dev/") ||
				w == "<" || w == "0<" // the place is the next word
			// "bash>/dev/tcp/…": the shell stands before it, in the same word.
			if !shell && redirect > 0 && shellWord(w[:redirect]) {
				shell = true
			}
			continue
		}
		switch {
		case shell && w[0] == '-' && w[1:] != "" && w[1] != '-' && strings.IndexByte(w, 'c') > 0:
			return false // the text it is given says what it does
		case shell && w[0] != '-' && w[0] != '/' && w != "exec":
			return false
		case !shell && shellWord(w):
			shell = true
		}
	}
	return shell && input
}

// opensSocket reports whether program text opens a connection.
func opensSocket(code string) bool {
	return has(code, "socket", "Socket", "fsockopen", "net.connect", "net.Connect", "createConnection", "require('net')", `require("net")`, "/inet/tcp", "/inet/udp", "/inet4/tcp", "/inet4/udp", "/inet6/tcp", "/inet6/udp", "tcp_connect", "Deno.connect", "node:net", "node:tls", "Bun.connect")
}

func spelledCode(code string) spelling {
	if len(code) < 20 || !opensSocket(code) {
		return spelling{}
	}
	// What comes over the connection is run, line by line, without a word about a shell.
	if has(code, "fdopen") && has(code, "STDIN", "$~") && has(code, "system", "exec", "`$_`") {
		return spelling{bollwerk.SeverityCritical, detect.Enforce, "join a shell to a connection by a line of code", false}
	}
	if !has(code, "/sh", "/bash", "/ash", "/zsh", "pty.spawn", `"sh"`, `'sh'`, `"bash"`, `'bash'`, "sh -i", "cmd.exe", "powershell", "|& getline", "|&getline") {
		if has(code, ".gets", ".recv(", ":receive(", ".readline(", ".makefile(", "fgets(", "fread(", "socket_read(", "<$", "<S>", ".on('data'", `.on("data"`) &&
			has(code, "popen", "shell=True", "shell_exec", "passthru", "system(", "system $", "system$", "`#{", "`$", "exec(", "execSync", "check_output", "getoutput", "proc_open", "os.execute") {
			return spelling{bollwerk.SeverityHigh, detect.Warn, "run what a connection says by a line of code", false}
		}
		return spelling{}
	}
	if has(code, "dup2", "fileno", "<&", ">&", "STDIN", "$stdin", ".pipe(", "pty.spawn", "proc_open", "getline", "popen", "passthru", "exec", "system", "spawn", "ProcessBuilder") {
		return spelling{bollwerk.SeverityCritical, detect.Enforce, "join a shell to a connection by a line of code", false}
	}
	if !has(code, "onnect", "TCPSocket", "sockopen", "PeerAddr", "socket_client", "new Socket(", "/inet") {
		return spelling{} // a line that looks for these words
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
			// Two addresses may stand for one: TCP:…!!EXEC:sh
			for l := strings.ToLower(a); l != ""; {
				part, rest, _ := strings.Cut(l, "!!")
				l = rest
				if how, what, ok := strings.Cut(part, ":"); ok && (how == "shell" || (how == "exec" || how == "system") && shellWord(what)) {
					return give("join a shell to a connection")
				}
			}
		}
	case "openssl", "telnet", "chisel", "websocat":
	default:
		if prog := executes(p, args); prog != "" && shellWord(prog) {
			return give("join a shell to a connection")
		}
	}
	return spelling{}
}

// executes returns the program that nc or ncat was told to start, "" for none: "-e PROGRAM",
// "-ve PROGRAM", "-ePROGRAM", "--sh-exec=PROGRAM", and what stands behind -e for busybox.
func executes(p *bollwerk.Process, args []string) string {
	_, first := p.Applet()
	for i := first; i < len(args); i++ {
		a := args[i]
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		switch {
		case len(a) < 2 || a[0] != '-' || a == "--":
		case a[1] == '-':
			name, prog, given := strings.Cut(a[2:], "=")
			if len(name) < 2 || !strings.HasPrefix("exec", name) && !strings.HasPrefix("sh-exec", name) && !strings.HasPrefix("lua-exec", name) {
				continue
			}
			if !given {
				prog = next
			}
			return prog
		default:
			for j := 1; j < len(a); j++ {
				switch {
				case a[j] == 'e' || a[j] == 'c':
					// openbsd's -c (TLS) takes nothing: then the next word is no shell.
					if prog := a[j+1:]; prog != "" && (prog[0] == '/' || shellWord(prog)) {
						return prog
					}
					if j == len(a)-1 {
						return next
					}
				case strings.IndexByte(valued, a[j]) >= 0:
					j = len(a)
				}
			}
		}
	}
	return ""
}

// valued are options of nc that take a value, in their word or in the next.
const valued = "gGipqswxXTIOPMmVbod"

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
		case len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.IndexByte(a, 'l') > 0 && strings.IndexByte(a, '/') < 0: // not -e/usr/local/…
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
			if a[1] != '-' && (a[len(a)-1] == 'e' || a[len(a)-1] == 'c' || strings.IndexByte(valued, a[len(a)-1]) >= 0) && i+1 < len(args) {
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
