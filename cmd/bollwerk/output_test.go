package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/finding"
	"github.com/bollwerk/bollwerk/report"
)

// TestOutputKeepsModeAndLink writes a result over a private file, through a link, and
// to a new file: a result tells where a system is weak, and is nobody else's business
// when its file was not.
func TestOutputKeepsModeAndLink(t *testing.T) {
	dir := t.TempDir()
	private, link, fresh, plain := filepath.Join(dir, "private"), filepath.Join(dir, "link"), filepath.Join(dir, "fresh"), filepath.Join(dir, "plain")
	for name, mode := range map[string]os.FileMode{private: 0o600, plain: 0o666} {
		f, err := os.OpenFile(name, os.O_CREATE, mode) // plain: what the umask makes of it
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if err := os.Symlink("private", link); err != nil {
		t.Fatal(err)
	}
	format, err := report.Find("json")
	if err != nil {
		t.Fatal(err)
	}
	e := &env{stdout: new(bytes.Buffer), stderr: new(bytes.Buffer), getenv: func(string) string { return "" }}
	mode := func(name string) os.FileMode {
		info, err := os.Lstat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	for _, out := range []string{link, fresh} {
		if err := writeResult(e, &scanFlags{output: out}, format, &bollwerk.Result{}, &finding.Gate{}); err != nil {
			t.Fatal(err)
		}
	}
	if mode(link)&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	if got := mode(private); got != 0o600 {
		t.Errorf("the private file has mode %v", got)
	}
	if b, err := os.ReadFile(private); err != nil || len(b) == 0 {
		t.Errorf("nothing was written through the link: %v", err)
	}
	if got, want := mode(fresh), mode(plain); got != want {
		t.Errorf("a new result has mode %v, other new files %v", got, want)
	}
	if files, _ := os.ReadDir(dir); len(files) != 4 {
		t.Errorf("%d files, want 4: %v", len(files), files)
	}
}
