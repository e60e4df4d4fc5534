package facts

import (
	"io/fs"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func TestFacts(t *testing.T) {
	for _, c := range []struct {
		path string
		mode fs.FileMode
		want string
	}{
		{"usr/bin/su", 0o755 | fs.ModeSetuid, "setuid 4755"},
		{"usr/bin/wall", 0o755 | fs.ModeSetgid, "setgid 2755"},
		{"var/mail", 0o775 | fs.ModeDir | fs.ModeSetgid, ""},
		{"usr/share/doc/x", 0o644 | fs.ModeSetuid, ""}, // cannot be run
		{"tmp", 0o777 | fs.ModeDir | fs.ModeSticky, ""},
		{"srv/open", 0o777 | fs.ModeDir, "world-writable 0777"},
		{"etc/open.conf", 0o666, "world-writable 0666"},
		{"bin/bash", 0o755, "shell bash"},
		{"bin/sh", 0o777 | fs.ModeSymlink, "shell sh"},
		{"usr/bin/apt-get", 0o755, "package-manager apt-get"},
		{"usr/bin/curl", 0o755, "debug-tool curl"},
		{"usr/share/bash-completion/completions/curl", 0o644, ""},
		{"usr/bin/curl.txt", 0o644, ""},
		{"usr/bin/gdb", 0o644, ""},
		{"curl", 0o755, ""},
		{"dev/null", 0o666 | fs.ModeDevice | fs.ModeCharDevice, ""},
	} {
		got := ""
		for _, f := range (Extractor{}).Facts(&bollwerk.File{Path: c.path, Mode: c.mode}, nil) {
			got += string(f.Kind) + " " + f.Detail
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.path, got, c.want)
		}
	}
}

func TestQuietFilesCostNothing(t *testing.T) {
	f := bollwerk.File{Path: "usr/lib/x86_64-linux-gnu/libc.so.6", Mode: 0o755}
	if n := testing.AllocsPerRun(100, func() { Extractor{}.Facts(&f, nil) }); n != 0 {
		t.Errorf("%v allocations for a file without facts", n)
	}
}
