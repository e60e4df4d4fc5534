package bollwerk

import "strings"

// order is what a command line tells a shell or an interpreter to run.
type order struct {
	code   string   // text on the command line, the first piece of it
	more   []string // further pieces: perl -e … -e …
	file   string
	module string // python -m
	input  bool   // "-": the text comes by its input
	known  bool   // the program's options are known
}

// Code returns the program text that a shell or interpreter was given on its command line:
// "sh -xc TEXT", "python3 -W ignore -cTEXT", "node --eval=TEXT", "awk TEXT". "" when there is
// none. Several pieces (perl -e … -e …) are joined by newlines.
func (p *Process) Code() string {
	o := p.order()
	if len(o.more) == 0 {
		return o.code
	}
	return o.code + "\n" + strings.Join(o.more, "\n")
}

// ReadsText reports whether an interpreter was told to read its program from its input
// ("python3 -").
func (p *Process) ReadsText() bool { return p.order().input }

// Told returns what an interpreter or shell was started for: a file, or with -m a module.
// Both are empty when there is none: a line of commands (-c, -e, -r), a terminal.
func (p *Process) Told() (file, module string) {
	switch {
	case p == nil:
		return "", ""
	case p.Script != "":
		return p.Script, ""
	}
	if o := p.order(); o.known {
		return o.file, o.module
	}
	for i := 1; i < len(p.Args) && i < 8; i++ {
		switch a := p.Args[i]; {
		case a == "-m":
			if i+1 < len(p.Args) {
				module, _, _ = strings.Cut(p.Args[i+1], ".")
			}
			return "", module
		case a == "" || a == "-c" || a == "-e" || a == "-r":
			return "", ""
		case a[0] != '-':
			return a, ""
		}
	}
	return "", ""
}

// Applet returns the name of the program that a process runs, as its file is called, or the
// word by which a file that is many programs (busybox) was called, and where its arguments begin.
func (p *Process) Applet() (name string, first int) {
	if p == nil {
		return "", 1
	}
	if name = lastPart(p.Path); name == "" {
		return p.Name, 1
	}
	switch name {
	case "busybox", "busybox.static", "toybox", "coreutils", "box":
		if len(p.Args) == 0 {
			return name, 1
		}
		// Whatever it was called, busybox takes the word for a command of its own: "-sh" is a login shell.
		if a := strings.TrimPrefix(lastPart(p.Args[0]), "-"); a != name && a != "busybox" && a != "" {
			return a, 1
		}
		if len(p.Args) > 1 && !strings.HasPrefix(p.Args[1], "-") {
			return lastPart(p.Args[1]), 2
		}
	}
	return strings.TrimSuffix(name, " (deleted)"), 1
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// grammar says how an interpreter reads its options.
type grammar struct {
	code  string // letters of options whose value is program text
	file  string // … is the file to run
	value string // … is something else
	rest  string // letters that take the rest of their word, never the next word
	digit string // letters that take digits of their word (perl -0777, -l012)
	// Long options (with two dashes, or also with one where short is false) that take a value.
	longCode, longFile, longValue string
	// single: options of one dash are whole words, too (node -pe, gdb -ex).
	single bool
	// ends: what comes after program text or a module is its own (python).
	ends bool
	// word: the first word is program text, where no option gave a file or text (awk).
	word bool
	// verb: this word comes before options that are read as ours (deno eval).
	verb string
}

// grammars are those of the manuals: python(1), perlrun(1), ruby(1), php(1), node(1), lua(1),
// gawk(1), mawk(1), and so on.
var grammars = map[string]*grammar{
	"python": {code: "c", value: "WXQ", longValue: " check-hash-based-pycs jit ", ends: true},
	"perl":   {code: "eE", value: "I", rest: "iFxDMmV", digit: "0lC"},
	"ruby":   {code: "e", value: "IrCXE", rest: "iFKWTx", digit: "0", longValue: " encoding external-encoding internal-encoding enable disable backtrace-limit dump parser "},
	"php": {code: "rRBE", file: "fF", value: "dctzSg", longCode: " run process-code process-begin process-end ", longFile: " file process-file ",
		longValue: " define php-ini zend-extension docroot server rf rc rm re rz ri rfunction rclass rextension rzendextension rextinfo "},
	"node": {single: true, longCode: " e p pe eval print ", longValue: " r require import C conditions loader experimental-loader input-type experimental-default-type env-file env-file-if-exists " +
		"icu-data-dir inspect-port title max-http-header-size openssl-config openssl-shared-config redirect-warnings report-dir report-directory report-filename report-signal tls-cipher-list tls-keylog " +
		"trace-event-categories trace-event-file-pattern unhandled-rejections watch-path diagnostic-dir dns-result-order disable-warning test-name-pattern test-reporter test-reporter-destination " +
		"test-concurrency test-timeout localstorage-file secure-heap secure-heap-min stack-trace-limit cpu-prof-dir heap-prof-dir v8-pool-size disable-proto allow-fs-read allow-fs-write run "},
	"bun":  {single: true, longCode: " e p eval print ", longValue: " r preload require import c config cwd conditions env-file d define l loader port "},
	"deno": {verb: "eval", longValue: " ext config c import-map cert location seed lock node-modules-dir env-file v8-flags ", word: true, single: true},
	"lua":  {code: "e", value: "ljO", rest: "bW"},
	"awk": {code: "e", file: "fE", value: "FvilWm", rest: "dDLopZ", longCode: " source ", longFile: " file exec ",
		longValue: " field-separator assign include load ", word: true},
	"expect": {code: "c", file: "f", value: "D"},
	"tclsh":  {longValue: " encoding "},
	"gdb":    {single: true, longCode: " ex iex eval-command init-eval-command ", longFile: " x ix command init-command ", longValue: " d cd p pid c core s symbols e exec data-directory iex tty "},
	"julia":  {code: "eE", value: "JCtpLHm", rest: "gO", longCode: " eval print ", longValue: " sysimage cpu-target threads procs load machine-file project home "},
	"r":      {code: "e", file: "f", longCode: " expression ", longFile: " file ", value: "g"},
	"groovy": {code: "e", value: "cDal", longValue: " classpath cp define encoding "},
	"guile":  {code: "c", file: "s", value: "Llx", longValue: " language listen "},
	"elixir": {code: "e", value: "rS", longCode: " eval rpc-eval ", longValue: " require app cookie name sname erl "},
	"erl":    {single: true, longCode: " eval ", longValue: " name sname setcookie s run boot config pa pz "},
	"fish":   {code: "cC", value: "doDp", longCode: " command init-command ", longValue: " debug debug-output profile profile-startup features "},
}

var dialects = func() map[string]*grammar {
	m := map[string]*grammar{}
	for name, as := range map[string]string{
		"python": "python pypy python-dbg graalpy micropython", "perl": "perl", "ruby": "ruby jruby truffleruby", "php": "php php-cli php-cgi", "node": "node nodejs", "bun": "bun", "deno": "deno",
		"lua": "lua luajit texlua", "awk": "awk gawk mawk nawk original-awk bwk igawk", "expect": "expect", "tclsh": "tclsh wish", "gdb": "gdb", "julia": "julia", "r": "R Rscript littler",
		"groovy": "groovy", "guile": "guile", "elixir": "elixir iex", "erl": "erl", "fish": "fish",
	} {
		for _, n := range strings.Fields(as) {
			m[n] = grammars[name]
		}
	}
	return m
}()

// maxOptions is how many words are read: who hides behind more is seen by what he does.
const maxOptions = 64

func (p *Process) order() order {
	if p == nil || p.Script != "" {
		return order{}
	}
	if len(p.Args) < 2 {
		return order{known: true} // nothing was told
	}
	name, first := p.Applet()
	switch name {
	case "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "lksh", "oksh", "yash", "rbash", "rzsh", "tcsh", "csh", "busybox-sh", "hush", "posh":
		return shellOrder(p.Args, first, name)
	case "pwsh", "powershell":
		return pwshOrder(p.Args, first)
	}
	g := dialects[name]
	if g == nil {
		// python3.11, php8.2, lua5.4, perl5.36.0, luajit-2.1
		if i := strings.IndexAny(name, "0123456789"); i > 0 {
			g = dialects[strings.TrimRight(name[:i], "-.")]
		}
	}
	if g == nil {
		return order{}
	}
	return g.order(p.Args, first)
}

// shellOrder reads the options of a shell (sh(1), "Invocation"): with -c anywhere among them
// the first word after them is the text.
func shellOrder(args []string, i int, name string) order {
	o := order{known: true}
	code, input := false, false
options:
	for ; i < len(args) && i < maxOptions; i++ {
		a := args[i]
		switch {
		case a == "-" || a == "--":
			i++
			break options
		case strings.HasPrefix(a, "--"):
			switch a {
			case "--rcfile", "--init-file", "--emulate":
				i++
			}
		case len(a) > 1 && (a[0] == '-' || a[0] == '+'):
			skip := 0
			for j := 1; j < len(a); j++ {
				switch a[j] {
				case 'c':
					code = code || a[0] == '-'
				case 's':
					input = true
				case 'o', 'O':
					// Each takes a word after this one; zsh's may stand here.
					if name == "zsh" && j+1 < len(a) {
						j = len(a)
					} else {
						skip++
					}
				}
			}
			i += skip
		default:
			break options
		}
	}
	if i >= len(args) || i >= maxOptions {
		return o
	}
	switch {
	case code:
		o.code = args[i]
	case !input:
		o.file = args[i]
	}
	return o
}

// pwshOrder reads options of PowerShell, which may be cut short.
func pwshOrder(args []string, i int) order {
	o := order{known: true}
	for ; i < len(args) && i < maxOptions; i++ {
		a := args[i]
		if len(a) < 2 || a[0] != '-' {
			o.file = a
			return o
		}
		l := strings.ToLower(strings.TrimLeft(a, "-"))
		next := ""
		if i+1 < len(args) {
			next = args[i+1]
		}
		switch {
		case l != "" && strings.HasPrefix("commandwithargs", l) || l == "cwa", l != "" && strings.HasPrefix("encodedcommand", l) || l == "ec":
			o.code = next
			return o
		case l != "" && strings.HasPrefix("file", l):
			o.file = next
			return o
		case strings.HasPrefix(l, "ex") || l == "ep" || strings.HasPrefix(l, "wo") || l == "wd" || strings.HasPrefix(l, "in") || strings.HasPrefix(l, "o") || strings.HasPrefix(l, "wi") || strings.HasPrefix(l, "config") || strings.HasPrefix(l, "settings"):
			i++
		}
	}
	return o
}

func (o *order) add(text string) {
	if o.code == "" {
		o.code = text
	} else if len(o.more) < 16 {
		o.more = append(o.more, text)
	}
}

// listed reports whether a word is in a list that has spaces around each.
func listed(list, word string) bool {
	if word == "" || strings.IndexByte(word, ' ') >= 0 {
		return false
	}
	for from := 0; ; {
		i := strings.Index(list[from:], word)
		if i < 0 {
			return false
		}
		i += from
		if end := i + len(word); i > 0 && list[i-1] == ' ' && end < len(list) && list[end] == ' ' {
			return true
		}
		from = i + 1
	}
}

func (g *grammar) order(args []string, i int) order {
	o := order{known: true}
	if g.verb != "" {
		for ; i < len(args) && i < maxOptions && strings.HasPrefix(args[i], "-"); i++ {
			if listed(g.longValue, strings.TrimLeft(args[i], "-")) {
				i++
			}
		}
		if i >= len(args) || args[i] != g.verb {
			// "deno run FILE"
			if i+1 < len(args) {
				o.file = args[i+1]
			}
			return o
		}
		i++
	}
	done := false // nothing is told by a word any more
	for ; i < len(args) && i < maxOptions; i++ {
		a := args[i]
		next := func() string {
			if i++; i < len(args) {
				return args[i]
			}
			return ""
		}
		switch {
		case len(a) < 2 || a[0] != '-' || a == "--":
			if a == "--" {
				a = next()
			}
			if done || a == "" || a == "-" {
				o.input = a == "-" && !done
				return o
			}
			if g.word {
				o.add(a)
			} else {
				o.file = a
			}
			return o
		case a[1] == '-' || g.single:
			name, value, given := strings.Cut(strings.TrimLeft(a, "-"), "=")
			get := func() string {
				if given {
					return value
				}
				return next()
			}
			switch {
			case listed(g.longCode, name):
				o.add(get())
				done = true
			case listed(g.longFile, name):
				o.file, done = get(), true
			case listed(g.longValue, name) && !given:
				i++
			}
		default:
			switch g.letters(&o, a[1:], next) {
			case stop:
				return o
			case told:
				done = true
			}
		}
	}
	return o
}

// What a word of options does to those after it.
const (
	goOn = iota
	told
	stop
)

// letters reads a word of short options: "-Wignore", "-lne", "-i.bak".
func (g *grammar) letters(o *order, word string, next func() string) int {
	for j := 0; j < len(word); j++ {
		c := word[j]
		value := func() string {
			if j+1 < len(word) {
				return word[j+1:]
			}
			return next()
		}
		switch {
		case strings.IndexByte(g.code, c) >= 0:
			o.add(value())
			if g.ends {
				return stop
			}
			return told
		case c == 'm' && g.ends:
			o.module, _, _ = strings.Cut(value(), ".")
			return stop
		case strings.IndexByte(g.file, c) >= 0:
			o.file = value()
			return told
		case strings.IndexByte(g.value, c) >= 0:
			value()
			return goOn
		case strings.IndexByte(g.rest, c) >= 0:
			return goOn
		case strings.IndexByte(g.digit, c) >= 0:
			// -0777, -0xFF, -l012, -CSD
			for j+1 < len(word) && strings.IndexByte(digitsOf(c), word[j+1]) >= 0 {
				j++
			}
		}
	}
	return goOn
}

func digitsOf(c byte) string {
	switch c {
	case '0':
		return "0123456789xXabcdfABCDF" // no "e": that is an option of its own more often than a figure
	case 'C':
		return "0123456789IOEioADSLa"
	}
	return "01234567"
}
