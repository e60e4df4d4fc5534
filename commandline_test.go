package bollwerk

import (
	"strings"
	"testing"
)

// Each line is a command line as words between bars, and the text, file or module in it.
func TestCode(t *testing.T) {
	for line, want := range map[string]string{
		// Shells.
		"bash|-c|T": "T", "bash|-lic|T": "T", "sh|-xc|T": "T", "sh|-e|-x|-c|T|a": "T", "bash|-c|--|T": "T", "bash|-o|pipefail|-c|T": "T", "bash|-eo|pipefail|-c|T": "T",
		"bash|-ceo|pipefail|T": "T", "bash|-O|extglob|-c|T": "T", "bash|+x|-c|T": "T", "bash|--norc|--rcfile|/x|-ic|T": "T", "bash|+c|f": "file f", "bash|-x|-e|run.sh": "file run.sh",
		"zsh|-oextendedglob|-c|T": "T", "dash|-c|-x": "", "sh|-s|a": "", "sh|-|f": "file f", "bash|--login": "", "sh|": "", "rbash|-c|T": "T", "bash|-c": "", "tcsh|-fc|T": "T",
		"fish|-c|T": "T", "fish|--command=T": "T", "fish|-C|T": "T", "fish|/f": "file /f", "pwsh|-NoProfile|-ep|Bypass|-Com|T": "T", "pwsh|-enc|T": "T", "pwsh|-File|f": "file f", "pwsh|f.ps1|-c": "file f.ps1",
		"/bin/busybox=busybox|sh|-c|T": "T", "/bin/busybox=sh|-c|T": "T", "/bin/busybox=-sh|-lc|T": "T", "/bin/busybox=busybox|awk|T": "T", "/bin/busybox=busybox": "",
		// Python.
		"python3|-c|T|x": "T", "python3|-cT": "T", "python3.11|-W|ignore|-c|T": "T", "python3|-Wignore|-c|T": "T", "python3|-IBc|T": "T", "python3|-X|dev|-u|-c|T": "T", "pypy3|-c|T": "T",
		"python3|--check-hash-based-pycs|never|-c|T": "T", "python3|-u|app.py|-c|x": "file app.py", "python3|-|x": "", "python3|-m|http.server": "module http", "python3|-Im|pip|-c": "module pip",
		"python3|-W|ignore|a.py": "file a.py", "python3|-Wc|a.py": "file a.py", "python3|--version": "",
		// Perl.
		"perl|-e|T": "T", "perl|-ne|T|f": "T", "perl|-lne|T": "T", "perl|-pi.bak|-e|T|f": "T", "perl|-eT": "T", "perl|-E|T": "T", "perl|-MSocket|-e|T": "T", "perl|-0777ne|T": "T", "perl|-l012e|T": "T",
		"perl|-F,|-ane|T": "T", "perl|-I|/l|-we|T": "T", "perl|-CSDe|T": "T", "perl|-e|T|-e|U": "T\nU", "perl|-w|x.pl|-e|y": "file x.pl", "perl|-i.e|x.pl": "file x.pl", "perl|-Me|x.pl": "file x.pl",
		// Ruby, PHP, Node and others.
		"ruby|-rsocket|-e|T": "T", "ruby|-r|socket|-e|T": "T", "ruby|-W0|-ne|T": "T", "ruby|-E|UTF-8|-e|T": "T", "ruby|--disable|gems|-e|T": "T", "ruby|--disable-gems|-e|T": "T", "ruby|-I|lib|a.rb|-e": "file a.rb",
		"php|-r|T": "T", "php|-d|x=1|-r|T": "T", "php|-dx=1|-rT": "T", "php|-n|--run|T": "T", "php8.2|-R|T": "T", "php|-B|T|-E|U": "T\nU", "php|-f|a.php": "file a.php", "php|a.php|-r|x": "file a.php", "php|-S|:80|-t|/w": "",
		"node|-e|T": "T", "node|-p|T": "T", "node|-pe|T": "T", "node|--eval=T": "T", "node|--eval|T": "T", "node|--print=T": "T", "node|-r|./x.js|-e|T": "T", "node|--require|x|--no-warnings|-e|T": "T",
		"node|--title|x|-e|T": "T", "node|--import=x|-p|T": "T", "node|--inspect|app.js|-e": "file app.js", "nodejs|app.js": "file app.js", "node|--env-file=.env|app.js": "file app.js", "node|-i": "",
		"bun|-e|T": "T", "bun|--print=T": "T", "deno|eval|T": "T", "deno|eval|--ext|ts|T": "T", "deno|run|a.ts": "file a.ts",
		"lua|-e|T": "T", "lua5.4|-lsocket|-e|T": "T", "lua|-l|socket|-eT": "T", "lua|a.lua|-e": "file a.lua", "luajit|-e|T": "T",
		"awk|T|f": "T", "gawk|-F|:|T": "T", "awk|-F:|-v|a=b|T": "T", "gawk|--source=T": "T", "gawk|-e|T|f": "T", "awk|-f|p.awk|f": "file p.awk", "mawk|-W|interactive|T": "T", "awk|--|T": "T", "gawk|--file=x|T": "file x",
		"expect|-c|T": "T", "gdb|-batch|-ex|T": "T", "gdb|--eval-command=T|/bin/x": "T", "julia|-e|T": "T", "Rscript|-e|T": "T", "groovy|-e|T": "T", "guile|-c|T": "T", "elixir|--eval|T": "T", "erl|-noshell|-eval|T": "T",
		// None of them.
		"/usr/bin/grep=grep|-e|T": "file T", "/usr/bin/env=env|-S|sh -c T": "file sh -c T",
	} {
		words := strings.Split(line, "|")
		path, name, ok := strings.Cut(words[0], "=")
		if !ok {
			path, name = "/usr/bin/"+words[0], words[0]
		}
		p := &Process{Path: path, Args: append([]string{name}, words[1:]...)}
		file, module := p.Told()
		got := p.Code()
		switch {
		case got != "" && file+module != "":
			t.Errorf("%s: text %q and file %q, module %q", line, got, file, module)
		case file != "":
			got = "file " + file
		case module != "":
			got = "module " + module
		}
		if strings.HasPrefix(line, "/usr/bin/grep") || strings.HasPrefix(line, "/usr/bin/env") {
			if p.Code() != "" {
				t.Errorf("%s: %q is taken for program text", line, p.Code())
			}
			continue
		}
		if got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if (*Process)(nil).Code() != "" || (&Process{Path: "/bin/sh", Script: "/s", Args: []string{"sh", "-c", "x"}}).Code() != "" {
		t.Error("text without a process, or beside a script")
	}
}

func TestCodeDoesNotAllocate(t *testing.T) {
	p := &Process{Path: "/usr/bin/python3.11", Args: []string{"python3", "-W", "ignore", "-Ic", "import os"}}
	if n := testing.AllocsPerRun(100, func() {
		if p.Code() != "import os" {
			t.Fatal(p.Code())
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever stands on a command line, what is returned is a part of it and nothing panics.
func FuzzCode(f *testing.F) {
	f.Add("/usr/bin/perl", "perl -lne x")
	f.Add("/bin/busybox", "busybox sh -c x")
	f.Add("/usr/bin/node", "node --eval=x - --")
	f.Add("/usr/bin/zsh", "zsh -oc -- x")
	f.Fuzz(func(t *testing.T, path, line string) {
		p := &Process{Path: path, Args: strings.Split(line, " ")}
		file, module := p.Told()
		for _, s := range append(strings.Split(p.Code(), "\n"), file, module) {
			if !strings.Contains(line, s) {
				t.Errorf("%q of %q", s, line)
			}
		}
	})
}
