package tracing

import (
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// tree makes a small root folder to watch, so that tests leave the machine's own alone.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"etc/cron.d", "root", "home/eve", "tmp", "var/log", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"etc/shadow", "etc/passwd", "var/log/auth.log", "usr/bin/tool"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func fileEvent(kind bollwerk.EventKind, path string, more ...func(*bollwerk.Event) bool) func(*bollwerk.Event) bool {
	return func(e *bollwerk.Event) bool {
		if e.Kind != kind || e.File == nil || e.File.Path != path {
			return false
		}
		for _, f := range more {
			if !f(e) {
				return false
			}
		}
		return true
	}
}

func TestFilesSeen(t *testing.T) {
	dir := tree(t)
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	sh := func(script string) { run(t, "sh", "-c", "cd "+dir+" && "+script) }
	sh("cat etc/shadow >/dev/null")
	e := c.find(t, "read", fileEvent(bollwerk.EventOpen, "/etc/shadow"))
	if e.File.Access != bollwerk.AccessRead || e.Process == nil || e.Process.PID == 0 {
		t.Errorf("read: %+v by %+v", e.File, e.Process)
	}
	sh("echo '* * * * * root id' > etc/cron.d/evil")
	c.find(t, "create", fileEvent(bollwerk.EventCreate, "/etc/cron.d/evil"))
	c.find(t, "write", fileEvent(bollwerk.EventOpen, "/etc/cron.d/evil", func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessWrite != 0 }))
	sh("chmod u+s usr/bin/tool")
	c.find(t, "chmod", fileEvent(bollwerk.EventChmod, "/usr/bin/tool", func(e *bollwerk.Event) bool { return e.File.Mode&0o4000 != 0 }))
	sh("mv etc/cron.d/evil etc/cron.d/good")
	c.find(t, "rename", fileEvent(bollwerk.EventRename, "/etc/cron.d/evil", func(e *bollwerk.Event) bool { return e.File.Target == "/etc/cron.d/good" }))
	sh("ln -s /etc/shadow root/link && ln etc/shadow root/hard")
	c.find(t, "symlink", fileEvent(bollwerk.EventSymlink, "/root/link", func(e *bollwerk.Event) bool { return e.File.Target == "/etc/shadow" }))
	c.find(t, "link", fileEvent(bollwerk.EventLink, "/etc/shadow", func(e *bollwerk.Event) bool { return e.File.Target == "/root/hard" }))
	sh(": > var/log/auth.log")
	c.find(t, "truncation", fileEvent(bollwerk.EventOpen, "/var/log/auth.log", func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessTruncate != 0 }))
	sh("rm var/log/auth.log")
	c.find(t, "unlink", fileEvent(bollwerk.EventUnlink, "/var/log/auth.log"))
	// Folders that nobody saw being made are watched as soon as they are, and what was
	// put there meanwhile is told.
	sh("mkdir root/.ssh && echo key > root/.ssh/authorized_keys && echo key > root/.ssh/id_ed25519")
	c.find(t, "authorized_keys", fileEvent(bollwerk.EventCreate, "/root/.ssh/authorized_keys"))
	await(t, "a mark on the new key", func() bool { return c.files.marks("/root/.ssh/id_ed25519") })
	sh("cat root/.ssh/id_ed25519 >/dev/null")
	c.find(t, "new key read", fileEvent(bollwerk.EventOpen, "/root/.ssh/id_ed25519", func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessRead != 0 }))
	sh("mkdir -p home/mallory/.ssh && touch home/mallory/.ssh/authorized_keys")
	c.find(t, "new home", fileEvent(bollwerk.EventCreate, "/home/mallory/.ssh/authorized_keys"))
	// In /tmp only what can be executed is told.
	sh("echo x > tmp/plain; cp /bin/true tmp/tool; chmod 755 tmp/tool")
	c.find(t, "executable", fileEvent(bollwerk.EventChmod, "/tmp/tool", func(e *bollwerk.Event) bool { return e.File.Mode&0o111 != 0 }))
	// And links, which lead others to files that are none of theirs.
	sh("ln -s /etc/shadow tmp/s; ln etc/passwd tmp/p; ln tmp/plain tmp/q; ln -s /etc/shadow tmp/last")
	c.find(t, "symlink", fileEvent(bollwerk.EventSymlink, "/tmp/s", func(e *bollwerk.Event) bool { return e.File.Target == "/etc/shadow" }))
	c.find(t, "link", fileEvent(bollwerk.EventLink, "/etc/passwd", func(e *bollwerk.Event) bool { return e.File.Target == "/tmp/p" }))
	c.find(t, "the last link", fileEvent(bollwerk.EventSymlink, "/tmp/last"))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.File != nil && (e.File.Path == "/tmp/plain" || e.File.Target == "/tmp/q") {
			t.Errorf("told of a plain file in /tmp: %+v", e.File)
		}
	}
}

// What a change of attributes means is known from the second one on: until then nobody
// remembers what the file was.
func TestAttributesToldApart(t *testing.T) {
	dir := tree(t)
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	const name = "/usr/bin/tool"
	run(t, "sh", "-c", "chmod 700 "+dir+name)
	c.find(t, "first", fileEvent(bollwerk.EventChmod, name, func(e *bollwerk.Event) bool { return e.File.Mode&0o7777 == 0o700 && e.File.OldMode == 0 }))
	run(t, "sh", "-c", "touch "+dir+name+"; chown 1:2 "+dir+name)
	c.find(t, "chown", fileEvent(bollwerk.EventChown, name, func(e *bollwerk.Event) bool { return e.File.UID == 1 && e.File.GID == 2 }))
	run(t, "sh", "-c", "chmod 4711 "+dir+name)
	c.find(t, "set-uid", fileEvent(bollwerk.EventChmod, name, func(e *bollwerk.Event) bool {
		return e.File.Mode&0o7777 == 0o4711 && e.File.OldMode&0o7777 == 0o700
	}))
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, e := range c.events {
		if e.Kind == bollwerk.EventChmod {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d changes of the mode, want 2", n)
	}
}

// A tmpfs is told of like the rest, or the doctor says what of it is not told: the kernel
// before 5.13 gives it no number. What the doctor keeps is told in any case.
func TestTmpfs(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		prerequisite.Missing(t, "tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	for _, d := range []string{"etc/cron.d", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"etc/shadow", "etc/cron.d/old"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	cause, said := says(c.s, tmpfsNames)
	run(t, "sh", "-c", "cd "+dir+"/etc && mv cron.d/old cron.d/new && cat shadow >/dev/null && echo k >cron.d/new")
	c.find(t, "read", fileEvent(bollwerk.EventOpen, "/etc/shadow"))
	c.find(t, "write", fileEvent(bollwerk.EventOpen, "/etc/cron.d/new", func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessWrite != 0 }))
	renamed := fileEvent(bollwerk.EventRename, "/etc/cron.d/old")
	if !said {
		c.find(t, "rename", renamed)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.ContainsFunc(c.events, renamed) {
		t.Errorf("a new name was told, while the doctor says: %s", cause)
	}
}

// What has no names is marked once, however often it is looked for, and no longer counts
// when its container is gone.
func TestMarkedOnceWithoutNames(t *testing.T) {
	dir := tree(t)
	c := watch(t, &Files{Root: t.TempDir()})
	c.need(t, AreaFile)
	f := c.files
	f.mu.Lock()
	defer f.mu.Unlock()
	r, before := &root{cgroup: 4711, prefix: dir, group: nil}, f.marked
	f.roots[4711] = r
	for range 3 {
		f.mark(r, "/etc/shadow", placeRead)
		f.mark(r, "/etc/cron.d", placeDir)
	}
	if f.marked != before+2 {
		t.Errorf("%d marks are counted, want 2", f.marked-before)
	}
	f.forget(r)
	if f.marked != before {
		t.Errorf("%d marks are counted of a container that is gone", f.marked-before)
	}
}

// In a container's folders of data what is lost is told wherever it lies, also in folders
// made later and on volumes, and new folders; what is only written there is not.
func TestTreesSeen(t *testing.T) {
	dir := tree(t)
	for _, d := range []string{"data/a/b", "data/a/node_modules/x"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := watch(t, &Files{Root: t.TempDir()})
	c.need(t, AreaFile)
	cmd, in := container(t, dir, `read x
: > /data/a/b/one.sql; rm -f /data/a/b/one.sql
mkdir -p /data/new/deep; read x
: > /data/new/deep/two.sql; mv /data/new/deep/two.sql /data/new/deep/two.sql.locked; ln -s /etc/shadow /data/new/deep/s; : > /data/new/deep/x.doc.locked; read x
: > /data/a/node_modules/x/y; rm /data/a/node_modules/x/y; rm -r /data/new; : > /data/end; rm /data/end; read x`)
	needNames(t, c.s, cmd.Process.Pid)
	c.s.Container(&bollwerk.Workload{Cgroup: 4711, Container: &bollwerk.Container{PID: uint32(cmd.Process.Pid)}}, true)
	await(t, "marks", func() bool { return c.files.marks("/data/a/b") })
	in.Write([]byte("\n"))
	c.find(t, "removed", fileEvent(bollwerk.EventUnlink, "/data/a/b/one.sql"))
	c.find(t, "a new folder", fileEvent(bollwerk.EventCreate, "/data/new", func(e *bollwerk.Event) bool { return e.File.Mode&unix.S_IFMT == unix.S_IFDIR }))
	await(t, "a mark on a new folder", func() bool { return c.files.marks("/data/new/deep") })
	in.Write([]byte("\n"))
	c.find(t, "renamed", fileEvent(bollwerk.EventRename, "/data/new/deep/two.sql", func(e *bollwerk.Event) bool { return e.File.Target == "/data/new/deep/two.sql.locked" }))
	c.find(t, "link", fileEvent(bollwerk.EventSymlink, "/data/new/deep/s"))
	c.find(t, "a second ending", fileEvent(bollwerk.EventCreate, "/data/new/deep/x.doc.locked"))
	in.Write([]byte("\n"))
	c.find(t, "the last one removed", fileEvent(bollwerk.EventUnlink, "/data/end"))
	in.Write([]byte("\n"))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.File == nil {
			continue
		}
		if e.Kind == bollwerk.EventOpen || e.Kind == bollwerk.EventCreate && !strings.HasSuffix(e.File.Path, ".locked") && e.File.Mode&unix.S_IFMT != unix.S_IFDIR || strings.Contains(e.File.Path, "node_modules") {
			t.Errorf("told of %s %s", e.Kind, e.File.Path)
		}
	}
}

// A runtime tells of a container before its first process has its root: until then its
// files are the host's.
func TestContainerSettles(t *testing.T) {
	c := watch(t, &Files{Root: t.TempDir()})
	c.need(t, AreaFile)
	dir := tree(t)
	cmd, in := start(t, "unshare", "-m", tool(t, "sh"), "-c", "read x; mount --bind "+dir+" "+dir+" && cp "+tool(t, "busybox")+" "+dir+"/sh && exec chroot "+dir+" /sh -c 'read x; : > /etc/cron.d/evil; read x'")
	await(t, "a mount namespace of its own", func() bool { return mountNS(uint32(cmd.Process.Pid)) != mountNS(uint32(os.Getpid())) })
	c.s.Container(&bollwerk.Workload{Cgroup: 4711, Container: &bollwerk.Container{PID: uint32(cmd.Process.Pid)}}, true)
	in.Write([]byte("\n"))
	await(t, "a mark on its own files", func() bool {
		id, err := handleAt(dir + "/etc/cron.d")
		c.files.mu.Lock()
		defer c.files.mu.Unlock()
		return err == nil && len(c.files.places[id]) > 0
	})
	in.Write([]byte("\n"))
	c.find(t, "create", fileEvent(bollwerk.EventCreate, "/etc/cron.d/evil"))
	in.Write([]byte("\n"))
}

// A secret that is made in a container's folder of data is watched like one elsewhere.
func TestSecretMadeInTree(t *testing.T) {
	dir := tree(t)
	c := watch(t, &Files{Root: t.TempDir()})
	c.need(t, AreaFile)
	cmd, in := container(t, dir, "read x; mkdir -p /root/.aws; read x; echo k > /root/.aws/credentials; read x; read y < /root/.aws/credentials; read x")
	needNames(t, c.s, cmd.Process.Pid)
	c.s.Container(&bollwerk.Workload{Cgroup: 4711, Container: &bollwerk.Container{PID: uint32(cmd.Process.Pid)}}, true)
	for _, name := range []string{"/root", "/root/.aws", "/root/.aws/credentials"} {
		await(t, "a mark on "+name, func() bool { return c.files.marks(name) })
		in.Write([]byte("\n"))
	}
	c.find(t, "read", fileEvent(bollwerk.EventOpen, "/root/.aws/credentials", func(e *bollwerk.Event) bool { return e.File.Access == bollwerk.AccessRead }))
	in.Write([]byte("\n"))
}

func TestTwoEndings(t *testing.T) {
	for name, want := range map[string]bool{"a.pdf.locked": true, "a.pdf": false, ".bashrc": false, ".a.b": false, "a": false, "a.": false, "..x": false} {
		if got := twoEndings(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// A replaced file is another inode: it must be watched like the one before.
func TestReplacedFileStaysWatched(t *testing.T) {
	dir := tree(t)
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	run(t, "sh", "-c", "cd "+dir+"/etc && cp shadow shadow.new && mv shadow.new shadow")
	c.find(t, "rename", fileEvent(bollwerk.EventRename, "/etc/shadow.new"))
	await(t, "a mark on the new file", func() bool {
		id, err := handleAt(dir + "/etc/shadow")
		c.files.mu.Lock()
		defer c.files.mu.Unlock()
		return err == nil && len(c.files.places[id]) > 0
	})
	run(t, "cat", dir+"/etc/shadow")
	c.find(t, "read", fileEvent(bollwerk.EventOpen, "/etc/shadow", func(e *bollwerk.Event) bool { return e.File.Access == bollwerk.AccessRead }))
}

// readBy reads a file in a process of its own, and finds what is told of that one.
func readBy(t *testing.T, name string) func(*bollwerk.Event) bool {
	t.Helper()
	cmd := exec.Command("cat", name)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return func(e *bollwerk.Event) bool {
		return e.File.Access == bollwerk.AccessRead && e.Process != nil && e.Process.PID == uint32(cmd.Process.Pid)
	}
}

// The kubelet puts a new token into a new folder and changes the link to it. A reader may hold
// the old one open.
func TestRotatedSecretStaysWatched(t *testing.T) {
	const aws, azure = "/var/run/secrets/eks.amazonaws.com/serviceaccount/token", "/var/run/secrets/azure/tokens/azure-identity-token"
	for name, secret := range map[string]string{"kubernetes": "/run/secrets/kubernetes.io/serviceaccount/token", "aws": aws, "azure": azure, "docker": "/root/.docker/config.json"} {
		for _, held := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " held ", held), func(t *testing.T) {
				dir := tree(t)
				at, base := path.Dir(dir+secret), path.Base(secret)
				linked, steps := "mkdir -p "+at+"; cd "+at+"; mkdir ..1; echo first > ..1/"+base+"; ln -s ..1 ..data; ln -s ..data/"+base+" "+base,
					"mkdir ..2; echo second > ..2/"+base+"; ln -s ..2 ..data_tmp; mv -T ..data_tmp ..data; rm -r ..1"
				if name == "docker" {
					linked, steps = "mkdir -p "+at+"; cd "+at+"; echo first > "+base, "echo second > .new; mv .new "+base
				}
				run(t, "sh", "-ec", linked)
				c := watch(t, &Files{Root: dir})
				c.need(t, AreaFile)
				if held {
					f, err := os.Open(dir + secret)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
				}
				for _, steps := range []string{steps, strings.NewReplacer("..1", "..2", "..2", "..3", "second", "third").Replace(steps)} {
					run(t, "sh", "-ec", "cd "+at+"; "+steps)
					await(t, "a mark on the new file", func() bool {
						id, err := handleAt(dir + secret)
						c.files.mu.Lock()
						defer c.files.mu.Unlock()
						return err == nil && len(c.files.places[id]) > 0
					})
				}
				c.find(t, "read", fileEvent(bollwerk.EventOpen, secret, readBy(t, dir+secret)))
				c.mu.Lock()
				defer c.mu.Unlock()
				for _, e := range c.events {
					if fileEvent(bollwerk.EventChmod, secret)(e) {
						t.Errorf("nobody changed a mode: %+v", e.File)
					}
				}
			})
		}
	}
}

// A watched file that is removed and made anew is found by the folder.
func TestRemovedSecretComesBack(t *testing.T) {
	dir := tree(t)
	secret := dir + "/root/.docker/config.json"
	run(t, "sh", "-ec", "mkdir -p "+path.Dir(secret)+"; echo first > "+secret)
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	run(t, "rm", secret)
	await(t, "a mark on the folder", func() bool { return c.files.marks("/root/.docker") })
	run(t, "sh", "-c", "echo second > "+secret)
	await(t, "a mark on the new file", func() bool {
		id, err := handleAt(secret)
		c.files.mu.Lock()
		defer c.files.mu.Unlock()
		return err == nil && len(c.files.places[id]) > 0
	})
	c.find(t, "read", fileEvent(bollwerk.EventOpen, "/root/.docker/config.json", readBy(t, secret)))
}

func TestRepeatsAreFolded(t *testing.T) {
	dir := tree(t)
	f := &Files{Root: dir}
	c := watch(t, f)
	c.need(t, AreaFile)
	run(t, "sh", "-c", "cd "+dir+"; for i in 1 2 3 4 5 6 7 8; do read x < etc/shadow; sleep 0.01; done; : > etc/done")
	c.find(t, "end", fileEvent(bollwerk.EventCreate, "/etc/done"))
	c.mu.Lock()
	n := 0
	for _, e := range c.events {
		if fileEvent(bollwerk.EventOpen, "/etc/shadow")(e) {
			n++
		}
	}
	c.mu.Unlock()
	if n != 1 {
		t.Errorf("%d events, want one", n)
	}
	f.folds.flush(timeZero, f.k.Emit)
	e := c.find(t, "count", fileEvent(bollwerk.EventOpen, "/etc/shadow", func(e *bollwerk.Event) bool { return e.Count > 0 }))
	if e.Count > 7 {
		t.Errorf("count %d, want at most 7", e.Count)
	}
}

// A container's files are seen through its first process, with paths as it sees them.
func TestContainerFiles(t *testing.T) {
	dir := tree(t)
	c := watch(t, &Files{Root: t.TempDir()})
	c.need(t, AreaFile)
	cmd, in := container(t, dir, "read x; read y < /etc/shadow; echo k > /etc/cron.d/evil; read x")
	w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: 4711, Container: &bollwerk.Container{PID: uint32(cmd.Process.Pid)}}
	c.s.Container(w, true)
	f := filesOf(c)
	await(t, "marks", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.roots[4711] != nil })
	in.Write([]byte("\n"))
	e := c.find(t, "read in a container", fileEvent(bollwerk.EventOpen, "/etc/shadow"))
	if e.Process == nil || e.Process.PID != uint32(cmd.Process.Pid) {
		t.Errorf("process %+v, want %d", e.Process, cmd.Process.Pid)
	}
	// Kernels whose overlayfs has no file handles (before 6.6) tell writes of existing files alone.
	c.find(t, "write in a container", func(e *bollwerk.Event) bool {
		return fileEvent(bollwerk.EventCreate, "/etc/cron.d/evil")(e) || fileEvent(bollwerk.EventOpen, "/etc/cron.d/evil")(e)
	})
	in.Write([]byte("\n"))
	cmd.Wait()
	c.s.Container(w, false)
	await(t, "forgotten", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, all := range f.places {
			for _, p := range all {
				if p.root.cgroup == 4711 {
					return false
				}
			}
		}
		return f.roots[4711] == nil
	})
}

// TestNobodyKnown: what was done by a process that ended before anybody knew it belongs at
// least to the container whose file it was, unless it is another's as well.
func TestNobodyKnown(t *testing.T) {
	c := watch(t, &Files{Root: t.TempDir()})
	c.need(t, AreaFile)
	cmd, _ := container(t, tree(t), "read x")
	c.s.Container(&bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Cgroup: 4711, Container: &bollwerk.Container{PID: uint32(cmd.Process.Pid)}}, true)
	f := filesOf(c)
	await(t, "marks", func() bool { return f.marks("/etc/shadow") })
	f.mu.Lock()
	defer f.mu.Unlock()
	var id handle
	for i, all := range f.places {
		if all[0].path == "/etc/shadow" && all[0].root.cgroup == 4711 {
			id = i
		}
	}
	gone := &bollwerk.Process{PID: 7}
	if p := f.whose(gone, id); p.PID != 7 || p.Cgroup != 4711 || p.MountNS != f.roots[4711].mountNS || !p.Truncated || gone.Cgroup != 0 {
		t.Errorf("%+v", p)
	}
	if p := f.whose(&bollwerk.Process{PID: 7, Cgroup: 1, MountNS: 2}, id); p.Cgroup != 1 {
		t.Errorf("another's process became the container's: %+v", p)
	}
	f.places[id] = append(f.places[id], place{root: &root{cgroup: 4712}, path: "/mnt/shadow"})
	if p := f.whose(gone, id); p != gone {
		t.Errorf("a file of two containers: %+v", p)
	}
}

func TestMatchPath(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		match, leads  bool
	}{
		{"/root/.ssh/id_*", "/root/.ssh/id_rsa", true, false},
		{"/root/.ssh/id_*", "/root/.ssh", false, true},
		{"/root/.ssh/id_*", "/root/.ssh/config", false, false},
		{"/home/*/.ssh", "/home/eve/.ssh", true, false},
		{"/home/*/.ssh", "/home/eve", false, true},
		{"/home/*/.ssh", "/home/eve/x/.ssh", false, false},
		{"/run/secrets/*", "/run/secrets/.hidden", false, false},
	} {
		if got := matchPath(c.pattern, c.path); got != c.match {
			t.Errorf("matchPath(%q, %q) = %v", c.pattern, c.path, got)
		}
		if got := leads(c.pattern, c.path); got != c.leads {
			t.Errorf("leads(%q, %q) = %v", c.pattern, c.path, got)
		}
	}
}

func FuzzNextNotice(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x18\x00\x00\x00\x03\x00\x18\x00\x20\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00"))
	f.Add(append([]byte("\x38\x00\x00\x00\x03\x00\x18\x00\x00\x01\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00"),
		[]byte("\x02\x00\x20\x00fsidfsid\x04\x00\x00\x00\x01\x00\x00\x00abcdname\x00\x00\x00\x00")...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e notice
		for ok, n := true, 0; ; n++ {
			if b, ok = nextNotice(b, &e); !ok {
				return
			}
			if n > 1<<20 {
				t.Fatal("does not end")
			}
			for i := range e.n {
				if len(e.infos[i].name) > 1<<16 || len(e.infos[i].id) > 256 {
					t.Fatal("unbounded")
				}
			}
		}
	})
}

// A container that floods us is cut off, exactly counted, and does not blind us on the host.
func TestFloodIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many files")
	}
	dir := tree(t)
	host := tree(t)
	f := &Files{Root: host}
	c := watch(t, f)
	c.need(t, AreaFile)
	const n = 12000
	cmd, in := container(t, dir, "read x; cd /etc/cron.d; i=0; while [ $i -lt 12000 ]; do : > f$i; i=$((i+1)); done; : > /etc/end; read x")
	c.s.Container(&bollwerk.Workload{Cgroup: 4711, Container: &bollwerk.Container{PID: uint32(cmd.Process.Pid)}}, true)
	await(t, "marks", func() bool { f.mu.Lock(); defer f.mu.Unlock(); return f.roots[4711] != nil })
	in.Write([]byte("\n"))
	run(t, "cat", host+"/etc/shadow")
	c.find(t, "the host's file", fileEvent(bollwerk.EventOpen, "/etc/shadow"))
	await(t, "the flood's end", func() bool {
		_, err := os.Stat("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/root/etc/end")
		return err == nil
	})
	// Each file is made and then written: the kernel may join the two in one notice, but
	// each is told or counted, or the kernel says that its queue ran over.
	var told, lost uint64
	overflow := false
	await(t, "all told or counted", func() bool {
		f.tellOver()
		c.mu.Lock()
		defer c.mu.Unlock()
		told, lost = 0, 0
		for _, e := range c.events {
			switch {
			case e.Kind == bollwerk.EventLoss && e.Loss.Cgroup == 4711:
				lost += e.Loss.Count
			case e.Kind == bollwerk.EventLoss:
				overflow = true
			case e.File != nil && strings.HasPrefix(e.File.Path, "/etc/cron.d/f"):
				told++
			}
		}
		return overflow || told+lost >= 2*n
	})
	in.Write([]byte("\n"))
	cmd.Wait()
	t.Logf("%d told, %d counted, overflow of the kernel's queue: %v", told, lost, overflow)
	if told > rateBurst+ratePerSec*30 {
		t.Errorf("%d events are no bound", told)
	}
	if told+lost == 0 || lost == 0 && !overflow {
		t.Error("nothing was counted")
	}
}

// What is replaced again and again leaves nothing behind.
func TestDeletedInodesAreForgotten(t *testing.T) {
	if testing.Short() {
		t.Skip("makes many files")
	}
	dir := tree(t)
	c := watch(t, &Files{Root: dir})
	c.need(t, AreaFile)
	count := func() (int, int) {
		c.files.mu.Lock()
		defer c.files.mu.Unlock()
		return len(c.files.places), c.files.marked
	}
	before, marked := count()
	run(t, "sh", "-c", "cd "+dir+"; for i in 0 1 2 3 4 5 6 7 8 9; do for k in 0 1 2 3 4 5 6 7 8 9; do cp etc/passwd etc/x; mv etc/x etc/shadow; mkdir -p root/.ssh; : > root/.ssh/id_x; rm -r root/.ssh; done; done; : > etc/end")
	c.find(t, "end", fileEvent(bollwerk.EventCreate, "/etc/end"))
	t.Cleanup(func() {
		if t.Failed() {
			c.files.mu.Lock()
			defer c.files.mu.Unlock()
			for _, all := range c.files.places {
				t.Log(all[0].path, all[0].kind)
			}
		}
	})
	await(t, "as few marks as before", func() bool {
		now, n := count()
		return now <= before+1 && n <= marked+1
	})
}

// Files of the kernel have no handles: they are watched all the same.
func TestKernelFilesSeen(t *testing.T) {
	const file = "/proc/sys/kernel/core_pipe_limit"
	if _, err := os.Stat(file); err != nil {
		t.Skip("this kernel has no " + file)
	}
	c := watch(t, &Files{Watches: []Watch{{Path: file, Read: true}}})
	c.need(t, AreaFile)
	run(t, "sh", "-c", ": > "+file) // opened to be written, and nothing is
	c.find(t, "write", fileEvent(bollwerk.EventOpen, file, func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessWrite != 0 }))
}
