package tracing

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
)

func TestHomesOf(t *testing.T) {
	const list = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
www-data:x:33:33::/var/www:/usr/sbin/nologin
nobody:x:65534:65534::/nonexistent:/bin/sh
postgres:x:101:101::/var/lib/postgresql:/bin/bash
twice:x:102:101::/var/lib/postgresql/:
ann:x:1000:1000::/home/ann:/bin/bash
bob:x:1001:1001::/home/staff/bob:/bin/sh
star:x:1:1::/srv/*:/bin/sh
rel:x:1:1::srv/rel:/bin/sh
cut:x:1:1:/srv/cut
`
	if got := homesOf(list); !slices.Equal(got, []string{"/var/lib/postgresql", "/home/staff/bob"}) {
		t.Errorf("%q", got)
	}
	var many strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&many, "u:x:1:1::/srv/%d:/bin/sh\n", i)
	}
	if got := homesOf(many.String()); len(got) != homesMost {
		t.Errorf("%d homes, want %d", len(got), homesMost)
	}
}

// The homes of all accounts that may log in are watched, wherever they lie, also of one that
// is made later.
func TestHomesSeen(t *testing.T) {
	dir := tree(t)
	for _, d := range []string{"srv/one", "srv/two"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("one:x:1:1::/srv/one:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	settle := func(home string) {
		t.Helper()
		run(t, "sh", "-c", "cd "+dir+home+" && mkdir .ssh && echo key > .ssh/authorized_keys && echo key > .ssh/id_rsa; true")
		c.find(t, "authorized_keys", fileEvent(bollwerk.EventCreate, home+"/.ssh/authorized_keys"))
		await(t, "a mark on the key", func() bool { return c.files.marks(home + "/.ssh/id_rsa") })
		run(t, "cat", dir+home+"/.ssh/id_rsa")
		c.find(t, "key read", fileEvent(bollwerk.EventOpen, home+"/.ssh/id_rsa", func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessRead != 0 }))
	}
	settle("/srv/one")
	run(t, "sh", "-c", "echo two:x:2:2::/srv/two:/bin/sh >> "+dir+"/etc/passwd")
	await(t, "the new home", func() bool { return c.files.marks("/srv/two") })
	settle("/srv/two")
	run(t, "sh", "-c", "cp "+tool(t, "true")+" "+dir+"/home/r; chmod 4755 "+dir+"/home/r")
	c.find(t, "set-uid", fileEvent(bollwerk.EventChmod, "/home/r", func(e *bollwerk.Event) bool { return e.File.Mode&0o4000 != 0 }))
}

// Who put a file into a folder that mkdir made is not mkdir.
func TestFiller(t *testing.T) {
	dir := tree(t)
	r := &root{prefix: dir}
	sh := &bollwerk.Process{PID: 1, Path: "/bin/sh", Contained: true, MountNS: 7}
	child := func(path string, args ...string) *bollwerk.Process {
		return &bollwerk.Process{PID: 2, Path: path, Args: args, Contained: true, MountNS: 7, Parent: sh}
	}
	runc := &bollwerk.Process{PID: 3, Path: "/usr/bin/runc", MountNS: 1}
	first := &bollwerk.Process{PID: 4, Path: "/bin/mkdir", Contained: true, MountNS: 7, Parent: runc}
	mkdir, busybox, python := child("/bin/mkdir"), child("/bin/busybox", "busybox", "mkdir", "x"), child("/usr/bin/python3.11")
	for _, c := range []struct {
		by   *bollwerk.Process
		what string
		want *bollwerk.Process
	}{
		{mkdir, "/etc/shadow", sh}, {busybox, "/etc/shadow", sh}, {child("/bin/busybox", "mkdir"), "/etc/shadow", sh},
		{mkdir, "/gone/already", sh}, {mkdir, "/etc/cron.d", mkdir}, {python, "/etc/shadow", python}, {first, "/etc/shadow", first}, {nil, "/etc/shadow", nil},
	} {
		if got := r.filler(c.by, c.what); got != c.want {
			t.Errorf("%+v put %s there: %+v", c.by, c.what, got)
		}
	}
}

// A file that was made empty was not emptied; one with something in it was.
func TestEmptied(t *testing.T) {
	dir := tree(t)
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	written := func(truncated bool) func(*bollwerk.Event) bool {
		return func(e *bollwerk.Event) bool {
			return e.File.Access&bollwerk.AccessWrite != 0 && (e.File.Access&bollwerk.AccessTruncate != 0) == truncated
		}
	}
	sh := func(script string) { run(t, "sh", "-c", "cd "+dir+" && "+script) }
	sh(": > var/log/syslog; : > var/log/messages")
	c.find(t, "made empty", fileEvent(bollwerk.EventOpen, "/var/log/syslog", written(false)))
	c.find(t, "made empty", fileEvent(bollwerk.EventOpen, "/var/log/messages", written(false)))
	c.mu.Lock()
	for _, e := range c.events {
		if e.File != nil && e.File.Access&bollwerk.AccessTruncate != 0 {
			t.Errorf("%s is told as emptied", e.File.Path)
		}
	}
	c.mu.Unlock()
	// Who holds a file open may have written to it.
	sh("exec 3> var/log/held.log; echo x >&3; sh -c ': > var/log/held.log'")
	c.find(t, "emptied by another", fileEvent(bollwerk.EventOpen, "/var/log/held.log", written(true)))
	sh("echo x > var/log/syslog")
	c.find(t, "filled", func(e *bollwerk.Event) bool {
		return e.File != nil && e.File.Path == "/var/log/syslog" && e.File.Size > 0
	})
	sh(": > var/log/syslog")
	c.find(t, "emptied", fileEvent(bollwerk.EventOpen, "/var/log/syslog", written(true)))
	sh(": > var/log/auth.log")
	c.find(t, "emptied, of the image", fileEvent(bollwerk.EventOpen, "/var/log/auth.log", written(true)))
}

// What is made level by level is found at the level at which it arrives: also when a folder is made
// between the look for it and the mark on the one above it, which no other watch has marked.
func TestNewFoldersRaced(t *testing.T) {
	dir := tree(t)
	const home, at = "/home/late", "/home/late/.config/systemd/user/evil.service"
	made := 0
	f := &Files{Root: dir, looked: func(name string) {
		if name != home+"/.config/systemd" || made > 0 {
			return
		}
		made++
		// By another process: what the agent does itself is not told.
		if out, err := exec.Command("sh", "-c", "mkdir -p "+dir+path.Dir(at)+" && echo x > "+dir+at).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}}
	c := watch(t, f)
	c.need(t, AreaFile)
	// One step at a time, each told by one notice: a second one would be a second look.
	run(t, "mkdir", dir+home)
	await(t, "a mark on the home", func() bool { return c.files.marks(home) })
	run(t, "mkdir", dir+home+"/.config")
	c.find(t, at, fileEvent(bollwerk.EventCreate, at))
	if made != 1 {
		t.Errorf("made %d times", made)
	}
}

// In a container keys are found in the folders of data, too, whether anybody has his home
// there or not.
func TestKeysInTrees(t *testing.T) {
	dir := tree(t)
	for _, d := range []string{"srv/a/.ssh", "data"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "srv/a/.ssh/id_work"), []byte("key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := watch(t, &Files{Root: t.TempDir()})
	c.need(t, AreaFile)
	cmd, in := container(t, dir, `read x; cat /srv/a/.ssh/id_work >/dev/null; echo k > /srv/a/.ssh/authorized_keys
mkdir -p /data/b/.ssh; echo k > /data/b/.ssh/authorized_keys; echo k > /data/b/.ssh/id_rsa; echo k > /data/id_ed25519; read x
cat /data/b/.ssh/id_rsa /data/id_ed25519 >/dev/null; read x`)
	needNames(t, c.s, cmd.Process.Pid)
	c.s.Container(&bollwerk.Workload{Cgroup: 4712, Container: &bollwerk.Container{PID: uint32(cmd.Process.Pid)}}, true)
	await(t, "marks", func() bool { return c.files.marks("/srv/a/.ssh/id_work") && c.files.marks("/data") })
	io.WriteString(in, "\n")
	c.find(t, "a key of the image", fileEvent(bollwerk.EventOpen, "/srv/a/.ssh/id_work"))
	c.find(t, "authorized_keys", fileEvent(bollwerk.EventCreate, "/srv/a/.ssh/authorized_keys"))
	c.find(t, "authorized_keys of a new folder", fileEvent(bollwerk.EventCreate, "/data/b/.ssh/authorized_keys"))
	await(t, "marks on new keys", func() bool { return c.files.marks("/data/b/.ssh/id_rsa") && c.files.marks("/data/id_ed25519") })
	io.WriteString(in, "\n")
	c.find(t, "a new key", fileEvent(bollwerk.EventOpen, "/data/b/.ssh/id_rsa", func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessRead != 0 }))
	c.find(t, "a key without a folder of its own", fileEvent(bollwerk.EventOpen, "/data/id_ed25519", func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessRead != 0 }))
}

// What a container puts in the place of its list of accounts must not let the agent wait,
// nor open what does something when it is opened.
func TestNoPlainFile(t *testing.T) {
	dir := tree(t)
	name := filepath.Join(dir, "etc/passwd")
	if err := errors.Join(os.Remove(name), unix.Mkfifo(name, 0o600), os.MkdirAll(filepath.Join(dir, "etc/cron.d"), 0o755)); err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile(name, os.O_RDWR, 0) // somebody who writes, some day
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	r := &root{prefix: dir}
	if b, err := r.read("/etc/passwd", passwdMost); err == nil {
		t.Errorf("read %q from a fifo", b)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "etc/zero")); err != nil {
		t.Fatal(err)
	}
	if b, err := r.read("/etc/zero", 16); err == nil {
		t.Errorf("read %q through a link out of the root", b)
	}
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	run(t, "sh", "-c", "echo x > "+dir+"/etc/cron.d/x")
	c.find(t, "cron", fileEvent(bollwerk.EventCreate, "/etc/cron.d/x"))
}
