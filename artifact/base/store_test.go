package base

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

func layer(n int) bollwerk.Digest { return bollwerk.Digest(fmt.Sprintf("sha256:%064x", n)) }

func layers(n ...int) []bollwerk.Digest {
	var out []bollwerk.Digest
	for _, i := range n {
		out = append(out, layer(i))
	}
	return out
}

func entry(name string, l ...int) Entry {
	return Entry{BaseImage: bollwerk.BaseImage{Name: name, Digest: layer(1000 + l[0]), Layers: layers(l...)}, Platform: "linux/amd64", Added: time.Unix(int64(l[0]), 0).UTC()}
}

func TestStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "bases.json")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.Recognise(layers(1)) != nil || len(s.List()) != 0 {
		t.Error("an empty store knows something")
	}
	for _, e := range []Entry{entry("python:3", 1, 2, 3), entry("debian:12", 1), entry("other:1", 7, 8)} {
		if added, err := s.Add(e); err != nil || !added {
			t.Fatalf("%s: %t %v", e.Name, added, err)
		}
	}
	if added, err := s.Add(entry("debian:12", 1)); err != nil || added {
		t.Errorf("twice: %t %v", added, err)
	}
	s, err = Open(path) // what was written is what is read
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		layers []bollwerk.Digest
		want   string
	}{
		{layers(1, 2, 3, 4), "python:3"},
		{layers(1, 2, 3), "python:3"},
		{layers(1, 2), "debian:12"},
		{layers(1, 9, 3), "debian:12"},
		{layers(7), ""},
		{layers(2, 1), ""},
		{nil, ""},
	} {
		got := ""
		if b := s.Recognise(c.layers); b != nil {
			got = b.Name
		}
		if got != c.want {
			t.Errorf("%d layers: %q, want %q", len(c.layers), got, c.want)
		}
	}
	if l := s.List(); len(l) != 3 || l[0].Name != "debian:12" || l[2].Name != "python:3" {
		t.Errorf("list %+v", l)
	}
	// The same layers under a second name: the later one counts.
	late := entry("debian:bookworm", 1)
	late.Added = time.Unix(99, 0)
	if _, err := s.Add(late); err != nil {
		t.Fatal(err)
	}
	if b := s.Recognise(layers(1)); b == nil || b.Name != "debian:bookworm" {
		t.Errorf("got %+v", b)
	}
	if n, err := s.Remove("python:3"); n != 1 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	if n, err := s.Remove(string(layer(1007))); n != 1 || err != nil { // by digest
		t.Errorf("removed %d, %v", n, err)
	}
	if n, err := s.Remove("nothing"); n != 0 || err != nil {
		t.Errorf("removed %d, %v", n, err)
	}
	if len(s.List()) != 2 {
		t.Errorf("list %+v", s.List())
	}
}

func TestRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bases.json")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []Entry{{}, {BaseImage: bollwerk.BaseImage{Name: "scratch"}}, {BaseImage: bollwerk.BaseImage{Name: "x", Layers: []bollwerk.Digest{"nonsense"}}}} {
		if _, err := s.Add(e); err == nil {
			t.Errorf("%+v was accepted", e)
		}
	}
	for _, text := range []string{"{", `{"format":2}`, `{"format":1,"images":[{"name":"x","layers":[]}]}`, `{"format":1,"images":[{"name":"","layers":["x"]}]}`} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "bollwerk base add") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestConcurrentAdd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bases.json")
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			s, err := Open(path)
			if err == nil {
				_, err = s.Add(entry(fmt.Sprintf("image:%d", i), i+1))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := Open(path)
	if err != nil || len(s.List()) != 10 {
		t.Errorf("%d images, %v", len(s.List()), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format":1,"images":[{"name":"x","layers":["` + string(layer(1)) + `"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		images, err := parse(b)
		if err != nil {
			return
		}
		for _, e := range images {
			if e.Name == "" || len(e.Layers) == 0 {
				t.Errorf("accepted %+v", e)
			}
		}
	})
}
