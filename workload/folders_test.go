package workload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// seen notes what a watch tells.
type seen struct {
	mu   sync.Mutex
	list []string
}

func (s *seen) add(what string) func(string) {
	return func(dir string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list = append(s.list, what+" "+filepath.Base(dir))
	}
}

func (s *seen) has(what string) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Contains(s.list, what)
	}
}

func (s *seen) count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, w := range s.list {
		if w == what {
			n++
		}
	}
	return n
}

func watching(t *testing.T, w *Folders) *seen {
	t.Helper()
	s := &seen{}
	w.Changed, w.Ended = s.add("+"), s.add("-")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestFolders(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/ns1/old/config.json", "x")
	s := watching(t, &Folders{Patterns: []string{dir + "/*/*"}, File: "config.json"})
	eventually(t, "what is there is told", s.has("+ old"))
	put(t, dir+"/ns1/new/config.json", "x")
	eventually(t, "a new one is told", s.has("+ new"))
	put(t, dir+"/ns2/deep/config.json", "x")
	eventually(t, "one of a new folder above is told", s.has("+ deep"))
	put(t, dir+"/ns2/other/state.json", "x")
	n := s.count("+ new")
	put(t, dir+"/ns1/new/config.json", "y")
	eventually(t, "a change is told", func() bool { return s.count("+ new") > n })
	// As containerd ends them, and as others do.
	if err := os.Rename(dir+"/ns1/new", dir+"/ns1/.new"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a renamed one has ended", s.has("- new"))
	if err := os.RemoveAll(dir + "/ns1/.new"); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir + "/ns1/old"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a removed one has ended", s.has("- old"))
	// And again under the same name.
	put(t, dir+"/ns1/old/config.json", "x")
	eventually(t, "it began again", func() bool { return s.count("+ old") >= 2 })
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range s.list {
		if strings.Contains(what, ".new") || strings.Contains(what, "other") {
			t.Errorf("told of %s", what)
		}
	}
}

func TestFoldersBelow(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/overlay-containers/a", 0o755); err != nil {
		t.Fatal(err)
	}
	s := watching(t, &Folders{Patterns: []string{dir + "/*-containers/*"}, File: "userdata/config.json"})
	put(t, dir+"/vfs-containers/b/userdata/config.json", "x")
	eventually(t, "b is told", s.has("+ b"))
	if err := os.Mkdir(dir+"/overlay-containers/a/userdata", 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := dir + "/overlay-containers/a/userdata/tmp"
	put(t, tmp, "x")
	if err := os.Rename(tmp, filepath.Dir(tmp)+"/config.json"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a is told, moved to its name", s.has("+ a"))
	put(t, dir+"/overlay-images/c/userdata/config.json", "x")
	if err := os.RemoveAll(dir + "/overlay-containers/a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a has ended", s.has("- a"))
	if s.has("+ c")() {
		t.Error("what is no container's was told")
	}
}

func TestFoldersLater(t *testing.T) {
	dir := t.TempDir()
	w := &Folders{Patterns: []string{dir + "/none/*"}, File: "f"}
	if err := w.Run(context.Background()); !errors.Is(err, ErrAbsent) {
		t.Errorf("nothing to watch: %v", err)
	}
	put(t, dir+"/here/a/f", "x")
	w = &Folders{Patterns: []string{dir + "/none/*", dir + "/here/*"}, File: "f", relook: 10 * time.Millisecond}
	s := watching(t, w)
	eventually(t, "a is told", s.has("+ a"))
	put(t, dir+"/none/b/f", "x")
	eventually(t, "a root that appeared later is watched", s.has("+ b"))
}

// Many at once, more than the kernel's queue of events holds for long.
func TestFoldersFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("makes thousands of folders")
	}
	dir := t.TempDir()
	s := watching(t, &Folders{Patterns: []string{dir + "/*"}, File: "f", relook: 50 * time.Millisecond})
	put(t, dir+"/first/f", "x")
	eventually(t, "the watch works", s.has("+ first"))
	const n = 2000
	for i := range n {
		put(t, filepath.Join(dir, string(rune('a'+i%26))+strings.Repeat("x", i/26+1), "f"), "x")
	}
	eventually(t, "all are told", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		names := map[string]bool{}
		for _, w := range s.list {
			names[w] = true
		}
		return len(names) == n+1
	})
}
