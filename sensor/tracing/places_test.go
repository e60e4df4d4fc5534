package tracing

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func TestWatchesFor(t *testing.T) {
	for _, c := range []struct {
		place Place
		want  string
	}{
		{Place{Path: "/etc/foo"}, "2 /etc/foo name /etc/foo read"},
		{Place{Path: "/etc/foo", Written: true}, "2 /etc/foo name"},
		{Place{Path: "/srv/app", Below: true, Written: true}, "1 /srv/app /srv/app/*"},
		{Place{Path: "*/.npmrc", Glob: true}, "1 /root/.npmrc name /root/.npmrc read /home/*/.npmrc name /home/*/.npmrc read"},
		{Place{Path: "*.php", Glob: true, Written: true}, "1"},
		{Place{Path: "*/tmp/*", Glob: true}, "1"},
		{Place{Path: "/proc/*/environ", Glob: true}, "1 proc:/proc/*/environ"},
		{Place{Path: "/proc/sys", Below: true}, "0"},
		{Place{Path: "/proc/1/root/etc/shadow"}, "0"},
		{Place{Path: "/dev/sda*", Glob: true}, "1"},
		{Place{Path: "/dev/kvm"}, "2 /dev/kvm name /dev/kvm read"},
		{Place{Path: "/home/*/.*rc", Glob: true, Written: true}, "1 /home/*/.*rc name"},
		{Place{Path: "/a*b*/c", Glob: true}, "1"},
		{Place{Path: "/a?", Glob: true}, "1"},
		{Place{Path: "/tmp/", Below: true}, "1"},
	} {
		ws, proc, coverage, cause := WatchesFor(c.place)
		got := fmt.Sprint(int(coverage))
		for _, w := range ws {
			got += " " + w.Path
			if w.Name {
				got += " name"
			}
			if w.Read {
				got += " read"
			}
		}
		for _, p := range proc {
			got += " proc:" + p
		}
		if got != c.want || (cause == "") != (coverage == Whole) {
			t.Errorf("%+v: %s (%s), want %s", c.place, got, cause, c.want)
		}
	}
}

// What a rule names is told, and nothing else in its folder.
func TestNamedFilesSeen(t *testing.T) {
	dir := tree(t)
	if err := os.MkdirAll(filepath.Join(dir, "deep/er"), 0o755); err != nil {
		t.Fatal(err)
	}
	ws, _, _, _ := WatchesFor(Place{Path: "/deep/er/app.conf"})
	more, _, _, _ := WatchesFor(Place{Path: "/deep/later/*.key", Glob: true, Written: true})
	c := watch(t, &Files{Root: dir, Watches: append(ws, more...)})
	c.need(t, AreaFile)
	sh := func(script string) { run(t, "sh", "-c", "cd "+dir+"/deep && "+script) }
	sh("echo x > er/other; rm er/other; echo x > er/app.conf")
	c.find(t, "made", fileEvent(bollwerk.EventCreate, "/deep/er/app.conf"))
	c.find(t, "written", fileEvent(bollwerk.EventOpen, "/deep/er/app.conf", func(e *bollwerk.Event) bool { return e.File.Access&bollwerk.AccessWrite != 0 }))
	await(t, "a mark on the new file", func() bool { return c.files.marks("/deep/er/app.conf") })
	sh("cat er/app.conf >/dev/null; mv er/app.conf er/old; mkdir later; echo x > later/a.key; echo x > later/a.txt; mv er/old er/app.conf; rm er/app.conf")
	c.find(t, "read", fileEvent(bollwerk.EventOpen, "/deep/er/app.conf", func(e *bollwerk.Event) bool { return e.File.Access == bollwerk.AccessRead }))
	c.find(t, "moved away", fileEvent(bollwerk.EventRename, "/deep/er/app.conf"))
	c.find(t, "moved back", fileEvent(bollwerk.EventRename, "/deep/er/old"))
	c.find(t, "in a folder made later", fileEvent(bollwerk.EventCreate, "/deep/later/a.key"))
	c.find(t, "removed", fileEvent(bollwerk.EventUnlink, "/deep/er/app.conf"))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.events {
		if e.File != nil && (e.File.Path == "/deep/er/other" || e.File.Path == "/deep/later/a.txt" || e.File.Path == "/deep/later") {
			t.Errorf("told of %s %s", e.Kind, e.File.Path)
		}
	}
}
