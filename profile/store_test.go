package profile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

func TestProfilesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
	wl, p := w.learned(3, 8*24*time.Hour, Restrict)
	if err := w.book.SaveAll(); err != nil {
		t.Fatal(err)
	}
	before := must(w.book.Profile(wl.Key()))
	w2 := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
	w2.now, w2.n = w.now, w.n
	w2.one(w2.open(wl, p, "/etc/shadow.bak", bollwerk.AccessWrite), RuleWrite) // the mode survived too
	after := must(w2.book.Profile(wl.Key()))
	if d := Diff(before, after); len(d) != 0 {
		t.Errorf("differs after a restart: %+v", d)
	}
	if a, b := before.Completeness(), after.Completeness(); b.Units < a.Units || b.Units > a.Units+1 || a.Replicas != b.Replicas {
		t.Errorf("%d units before, %d after", a.Units, b.Units)
	}
	// The same container in the same window is no new sample of an entry.
	w2.serve(wl, p)
	var s scratch
	k := key{cat: Destination, proto: protoTCP, n: 5432, value: "name:db.shop.svc.cluster.local"}
	x, y := before.find(k, &s).total(), must(w2.book.Profile(wl.Key())).find(k, &s).total()
	if y.units > x.units+1 || y.events != x.events+1 {
		t.Errorf("%+v became %+v", x, y)
	}
}

// A window that was counted before a restart is not counted again after it.
func TestARestartMakesNoSample(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
	wl := w.container("web", digestA)
	p := w.start(wl)
	w.now = w.now.Add(time.Hour)
	w.quiet(w.open(wl, p, "/srv/once", bollwerk.AccessWrite))
	if err := w.book.SaveAll(); err != nil {
		t.Fatal(err)
	}
	w2 := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
	w2.now = w.now.Add(time.Minute)
	w2.quiet(w2.open(wl, p, "/srv/once", bollwerk.AccessWrite))
	var s scratch
	got := must(w2.book.Profile(wl.Key())).find(key{cat: Write, value: "/srv/once"}, &s).total()
	if got.units != 1 || got.events != 2 {
		t.Errorf("seen twice in one window: %+v", got)
	}
}

func TestDamagedFilesArePutAside(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"flipped bit":   func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"another path":  func(b []byte) []byte { return bytes.Replace(b, []byte("access.log"), []byte("axxess.log"), 1) },
		"cut short":     func(b []byte) []byte { return b[:len(b)/2] },
		"empty":         func([]byte) []byte { return nil },
		"something":     func([]byte) []byte { return []byte("#!/bin/sh\necho\n") },
		"no body":       func(b []byte) []byte { return b[:bytes.IndexByte(b, '\n')+1] },
		"foreign bytes": func(b []byte) []byte { return append(b, "{}"...) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
			wl := w.container("web", digestA)
			w.start(wl)
			if err := w.book.Save(); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, fileName(wl.Key()))
			data := must(os.ReadFile(file))
			if err := os.WriteFile(file, damage(data), 0o600); err != nil {
				t.Fatal(err)
			}
			w2 := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
			w2.now = w.now
			w2.start(wl)
			n := strings.Join(w2.book.Notices(), "\n")
			if !strings.Contains(n, "put aside as "+fileName(wl.Key())+".damaged") || !strings.Contains(n, "learned anew") {
				t.Errorf("said: %q", n)
			}
			if _, err := os.Stat(file + ".damaged"); err != nil {
				t.Error(err)
			}
			if w2.status(wl).Mode != Learn {
				t.Error("the mode of a damaged file was believed")
			}
			if err := w2.book.Save(); err != nil {
				t.Fatal(err)
			}
			if keys, problems := must(OpenStore(dir, 0)).Keys(); len(keys) != 1 || len(problems) != 0 {
				t.Errorf("keys %q, problems %q", keys, problems)
			}
		})
	}
}

func TestAFullDiskLeavesTheOldState(t *testing.T) {
	if os.Getuid() != 0 {
		needs(t, "root, to mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		needs(t, "mount of a tmpfs: "+err.Error())
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	w := newWorld(t, Config{Store: must(OpenStore(dir, 0))})
	wl := w.container("web", digestA)
	p := w.start(wl)
	if err := w.book.Save(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, fileName(wl.Key()))
	before := must(os.ReadFile(file))
	for i := range 300 {
		w.quiet(w.exec(wl, w.process(wl, "/opt/"+letters(i), p)))
	}
	err := w.book.Save()
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the last saved state stays") {
		t.Fatalf("full disk: %v", err)
	}
	if after := must(os.ReadFile(file)); !bytes.Equal(before, after) {
		t.Error("the old state is gone")
	}
	if left := must(filepath.Glob(filepath.Join(dir, "*.new"))); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	// Room again: the same change is saved now.
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	if err := w.book.Save(); err != nil {
		t.Fatal(err)
	}
	if after := must(os.ReadFile(file)); bytes.Equal(before, after) {
		t.Error("the change was forgotten")
	}
}

// needs skips a test that cannot run here, and fails it where it has to.
func needs(t *testing.T, what string) {
	t.Helper()
	prerequisite.Missing(t, "needs %s", what)
}

func TestCrashLeftovers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.json.new"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := must(OpenStore(dir, 0))
	if left := must(os.ReadDir(dir)); len(left) != 0 {
		t.Errorf("%d left", len(left))
	}
	// A link is not followed: the folder may be writable for somebody else.
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, fileName("w"))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load("w"); err == nil {
		t.Error("followed a link")
	}
}

func TestStoreIsBounded(t *testing.T) {
	dir := t.TempDir()
	s := must(OpenStore(dir, 5))
	for i := range 9 {
		if err := s.Save(New(fmt.Sprint("unit u", i), "n").Document()); err != nil {
			t.Fatal(err)
		}
		old := epoch.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(filepath.Join(dir, fileName(fmt.Sprint("unit u", i))), old, old); err != nil {
			t.Fatal(err)
		}
	}
	keys, _ := s.Keys()
	if strings.Join(keys, ",") != "unit u4,unit u5,unit u6,unit u7,unit u8" {
		t.Errorf("%q", keys)
	}
	if err := s.Delete("unit u8"); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("unit u8"); err != nil {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestProfilesOfEndedWorkloadsGoToTheStore(t *testing.T) {
	w := newWorld(t, Config{MaxProfiles: 4, Store: must(OpenStore(t.TempDir(), 0))})
	first := w.container("app0", digestA)
	p := w.start(first)
	for i := 1; i < 4; i++ {
		w.start(w.container(fmt.Sprint("app", i), digestA))
	}
	fifth := w.container("app9", digestA)
	w.quiet(w.exec(fifth, w.process(fifth, "/bin/x", nil)))
	if st := w.book.Stats(); st.Refused != 1 || st.Profiles != 4 {
		t.Errorf("four running, one more: %+v", st)
	}
	w.book.Ended(first.Cgroup)
	w.now = w.now.Add(time.Minute)
	w.quiet(w.exec(fifth, w.process(fifth, "/bin/x", nil)))
	if st := w.book.Stats(); st.Evicted != 1 || st.Profiles != 4 {
		t.Errorf("%+v", st)
	}
	w.book.Ended(fifth.Cgroup)
	w.quiet(w.open(first, p, "/srv/again", bollwerk.AccessWrite))
	if !w.knows(first, Executable, "/usr/sbin/nginx") {
		t.Error("the profile did not come back")
	}
}

func TestExportImportDiff(t *testing.T) {
	w := newWorld(t, Config{Node: "n1"})
	wl, p := w.learned(3, 8*24*time.Hour, Restrict)
	w.book.Back(wl.Key(), Learn, "t", "t")
	old := must(w.book.Profile(wl.Key()))
	var doc bytes.Buffer
	if err := w.book.Export(wl.Key(), &doc); err != nil {
		t.Fatal(err)
	}
	again := bytes.Buffer{}
	w.book.Export(wl.Key(), &again)
	if doc.String() != again.String() {
		t.Error("two exports differ")
	}
	w.quiet(w.exec(wl, w.process(wl, "/usr/bin/curl", p)), w.listen(wl, p, 8080))
	d := Diff(old, must(w.book.Profile(wl.Key())))
	var got []string
	for _, x := range d {
		got = append(got, x.What+" "+x.Text)
	}
	if want := "added program /usr/bin/curl|added start of /usr/bin/curl by /usr/sbin/nginx|added port tcp/8080"; strings.Join(got, "|") != want {
		t.Errorf("%q", got)
	}
	if d := Diff(must(w.book.Profile(wl.Key())), old); len(d) != 3 || d[0].What != "removed" {
		t.Errorf("%+v", d)
	}
	// Another node takes it over, but not its mode.
	w2 := newWorld(t, Config{Node: "n2"})
	w2.now = w.now
	if err := w2.book.Import(must(ReadDocument(bytes.NewReader(doc.Bytes())))); err != nil {
		t.Fatal(err)
	}
	if s := w2.status(wl); s.Mode != Learn || s.Completeness.Units != old.Completeness().Units {
		t.Errorf("%s, %d units", s.Mode, s.Completeness.Units)
	}
	if err := w2.book.Import(must(ReadDocument(bytes.NewReader(doc.Bytes())))); err != nil {
		t.Fatal(err)
	}
	if s := w2.status(wl); s.Completeness.Units != old.Completeness().Units {
		t.Error("imported twice counts twice")
	}
	future := must(ReadDocument(bytes.NewReader(doc.Bytes())))
	future.Edits = []EntryEdit{{Entry{Category: Executable, Value: "/x"}, Edit{At: w.now.Add(48 * time.Hour), By: "m", Reason: "r"}}}
	if err := w2.book.Import(future); err == nil || !strings.Contains(err.Error(), "in the future") {
		t.Errorf("an edit from the future: %v", err)
	}
}

func TestDocumentsFromOutsideAreBounded(t *testing.T) {
	head := `{"schema":"1.0","workload":"w","window":600,`
	for name, doc := range map[string]string{
		"schema":      `{"schema":"2.0","workload":"w","window":600,"entries":[]}`,
		"field":       head + `"entries":[],"evil":1}`,
		"two":         head + `"entries":[]} {}`,
		"control":     head + `"entries":[{"category":"write","value":"/a\u001b[2J"}]}`,
		"nul":         head + `"entries":[{"category":"executable","value":"/a\u0000/b"}]}`,
		"long":        head + `"entries":[{"category":"write","value":"/` + strings.Repeat("a", 600) + `"}]}`,
		"many":        head + `"entries":[` + strings.Repeat(`{"category":"behaviour","value":"mounts"},`, 80) + `{"category":"behaviour","value":"mounts"}]}`,
		"no category": head + `"entries":[{"value":"/x"}]}`,
		"no id":       head + `"entries":[{"category":"user"}]}`,
		"port":        head + `"entries":[{"category":"port","protocol":"tcp","port":70000}]}`,
		"window":      `{"schema":"1.0","workload":"w","window":1,"entries":[]}`,
		"replica":     head + `"replicas":["zz"],"entries":[]}`,
		"edit":        head + `"edits":[{"category":"write","value":"/x","by":"","reason":"","at":"2026-01-01T00:00:00Z"}],"entries":[]}`,
		"huge":        head + `"entries":[` + strings.Repeat(" ", MaxDocument) + `]}`,
		"deep":        head + `"entries":` + strings.Repeat("[", 100000),
	} {
		if _, err := ReadDocument(strings.NewReader(doc)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func FuzzReadDocument(f *testing.F) {
	w := newWorld(f, Config{})
	wl, _ := w.learned(2, 2*time.Hour, Learn)
	var b bytes.Buffer
	if err := w.book.Export(wl.Key(), &b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":"1.0","workload":"w","window":600,"edits":[{"category":"write","value":"/x/**","by":"a","reason":"b","at":"2026-01-01T00:00:00Z","remove":true}],"entries":[{"category":"destination","protocol":"tcp","port":443,"value":"0.0.0.0/0"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := ReadDocument(bytes.NewReader(data))
		if err != nil {
			return
		}
		p, err := d.Profile("n")
		if err != nil {
			t.Fatalf("read, but no profile: %v", err)
		}
		checkBooks(t, p)
		// What was taken can be written, read, merged and turned into everything else.
		var out bytes.Buffer
		if _, err := p.Document().WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		d2, err := ReadDocument(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, out.Bytes())
		}
		if q := must(d2.Profile("n")); text(t, q) != text(t, p) {
			t.Fatal(firstDifference(text(t, q), text(t, p)))
		}
		if again := join(t, p, p); text(t, again) != text(t, p) {
			t.Fatal(firstDifference(text(t, again), text(t, p)))
		}
		p.Completeness()
		p.Restriction()
		p.Seccomp(SeccompOptions{})
		p.SecurityContext("")
		Diff(p, New(p.Key(), "n"))
	})
}
