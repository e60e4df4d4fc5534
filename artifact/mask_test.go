package artifact

import (
	"archive/tar"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
)

// model is what a runtime has on disk after it applied some layers: path to
// "dir" or the name of the layer that brought the file. It is written from the layer
// specification and shares nothing with Mask.
type model map[string]string

func (m model) remove(p string) {
	for q := range m {
		if q == p || strings.HasPrefix(q, p+"/") {
			delete(m, q)
		}
	}
}

// apply extracts a layer: first what it removes from the layers below, then its
// entries in order (containerd's applier, with white-outs honoured whatever their place).
func (m model) apply(layer string, entries []entry) {
	for _, e := range entries {
		p := strings.TrimSuffix(e.name, "/")
		dir, base := path.Split(p)
		dir = strings.TrimSuffix(dir, "/")
		switch {
		case base == ".wh..wh..opq":
			for q := range m {
				if dir == "" || strings.HasPrefix(q, dir+"/") {
					delete(m, q)
				}
			}
		case strings.HasPrefix(base, ".wh."):
			m.remove(path.Join(dir, base[4:]))
		}
	}
	for _, e := range entries {
		p := strings.TrimSuffix(e.name, "/")
		if strings.HasPrefix(path.Base(p), ".wh.") {
			continue
		}
		if strings.HasSuffix(e.name, "/") {
			if m[p] != "dir" {
				m.remove(p)
				m[p] = "dir"
			}
			continue
		}
		m.remove(p)
		m[p] = layer
	}
}

func maskOf(t testing.TB, entries []entry) Mask {
	t.Helper()
	plain := tarball(t, entries...)
	sum, err := readBytes(t, blobOf(plain, plain), nothing{})
	if err != nil {
		t.Fatal(err)
	}
	return sum.Mask
}

func TestMaskWords(t *testing.T) {
	cases := []struct {
		name    string
		entries []entry
		hidden  string // space-separated
		shown   string
	}{
		{"white-out of a file", []entry{{name: "usr/.wh.a"}}, "usr/a usr/a/b", "usr/b usr/ab usr"},
		{"white-out at the root", []entry{{name: ".wh.opt"}}, "opt opt/x/y", "usr/opt"},
		{"opaque directory", []entry{{name: "etc/.wh..wh..opq"}}, "etc/a etc/b/c", "etcetera etc"},
		{"opaque root", []entry{{name: ".wh..wh..opq"}}, "a b/c", ""},
		{"file over file", []entry{{name: "a", body: "x"}}, "a", "b"},
		{"file over directory", []entry{{name: "a", body: "x"}}, "a/b/c", "ab"},
		{"directory over file", []entry{{name: "a/"}}, "a", "a/b"},
		{"link over directory", []entry{{name: "lib", typ: tar.TypeSymlink, link: "usr/lib"}}, "lib/x", "usr/lib/x"},
		// containerd and Podman make a directory of a lower layer's link below which a layer
		// stores something, so that the file at the end of the link stays where it is.
		{"file below a lower layer's link", []entry{{name: "bin/foo", body: "x"}, {name: "bin/.wh.bar"}}, "bin/foo bin/bar", "usr/bin/foo usr/bin/bar"},
		{"device over file", []entry{{name: "d", typ: tar.TypeChar}}, "d", ""},
		{"hard link over file", []entry{{name: "x", body: "1"}, {name: "h", typ: tar.TypeLink, link: "x"}}, "h x", ""},
		{"aufs' own files", []entry{{name: ".wh..wh.plnk/1.2", body: "x"}, {name: ".wh..wh.aufs", body: ""}}, "", "plnk aufs a"},
		{"white-out of nothing", []entry{{name: "a/.wh."}, {name: ".wh..", body: ""}, {name: ".wh...", body: ""}}, "", "a a/b b"},
		{"nothing", nil, "", "a"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := maskOf(t, c.entries)
			for _, p := range strings.Fields(c.hidden) {
				if !m.Hides(p) {
					t.Errorf("%s is not hidden", p)
				}
			}
			for _, p := range strings.Fields(c.shown) {
				if m.Hides(p) {
					t.Errorf("%s is hidden", p)
				}
			}
		})
	}
}

// Random stacks of layers: a file is visible exactly when a runtime would have it.
func TestMaskAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 1000 {
		layers := make([][]entry, 2+r.IntN(3))
		masks := make([]Mask, len(layers))
		want := model{}
		for i := range layers {
			layers[i] = randomLayer(r)
			masks[i] = maskOf(t, layers[i])
			want.apply(string(rune('A'+i)), layers[i])
		}
		got := map[string]string{}
		for i, l := range layers {
			own := model{} // what the layer itself leaves of its entries
			own.apply(string(rune('A'+i)), slices.DeleteFunc(slices.Clone(l), func(e entry) bool { return strings.Contains(e.name, ".wh.") }))
			for p, kind := range own {
				if kind == "dir" {
					continue
				}
				visible := true
				for _, above := range masks[i+1:] {
					visible = visible && !above.Hides(p)
				}
				if visible {
					got[p] = kind
				}
			}
		}
		maps.DeleteFunc(want, func(_, kind string) bool { return kind == "dir" })
		if !maps.Equal(got, want) {
			t.Fatalf("layers %v\n got %v\nwant %v", layers, got, want)
		}
	}
}

// randomLayer makes a layer over few names, so that collisions are the rule. A file
// and what lies below it never occur in the same layer: no archiver makes that.
func randomLayer(r *rand.Rand) []entry {
	names := []string{"a", "b", "c"}
	var out []entry
	files := map[string]bool{}
	dirs := map[string]bool{}
	for range r.IntN(7) {
		p := names[r.IntN(3)]
		for range r.IntN(3) {
			p += "/" + names[r.IntN(3)]
		}
		parents := []string{}
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			parents = append(parents, d)
		}
		if slices.ContainsFunc(parents, func(d string) bool { return files[d] }) {
			continue
		}
		// Runtimes make missing parents; archivers list them.
		slices.Reverse(parents)
		for _, d := range parents {
			if !dirs[d] {
				dirs[d] = true
				out = append(out, entry{name: d + "/"})
			}
		}
		switch dir, base := path.Split(p); r.IntN(6) {
		case 0:
			out = append(out, entry{name: dir + ".wh." + base})
		case 1:
			out = append(out, entry{name: dir + ".wh..wh..opq"})
		case 2:
			if !files[p] && !dirs[p] {
				dirs[p] = true
				out = append(out, entry{name: p + "/"})
			}
		default:
			if !files[p] && !dirs[p] {
				files[p] = true
				out = append(out, entry{name: p, body: "x"})
			}
		}
	}
	return out
}

func TestMaskMarshal(t *testing.T) {
	m := maskOf(t, []entry{{name: "a/"}, {name: "a/b", body: "x"}, {name: "c/.wh.d"}, {name: "e/.wh..wh..opq"}})
	j, err := json.Marshal(PartSummary{Entries: 4, Mask: m})
	if err != nil {
		t.Fatal(err)
	}
	var back PartSummary
	if err := json.Unmarshal(j, &back); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"a", "a/b", "a/b/c", "c/d", "e/x", "a/x", "c", "e"} {
		if back.Mask.Hides(p) != m.Hides(p) {
			t.Errorf("%s: %v before, %v after", p, m.Hides(p), back.Mask.Hides(p))
		}
	}
	b, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		var x Mask
		if err := x.UnmarshalBinary(b[:i]); err == nil {
			t.Errorf("cut at %d: accepted", i)
		}
	}
	var none Mask
	if none.Hides("a") || none.Hides("") {
		t.Error("the zero mask hides something")
	}
}

func FuzzMaskUnmarshal(f *testing.F) {
	m := maskOf(f, []entry{{name: "a", body: "x"}, {name: "b/"}, {name: "c/.wh..wh..opq"}})
	b, _ := m.MarshalBinary()
	f.Add(b)
	f.Add([]byte(maskMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Mask
		if m.UnmarshalBinary(b) != nil {
			return
		}
		again, err := m.MarshalBinary()
		if err != nil || string(again) != string(b) {
			t.Errorf("not the same after a round trip")
		}
		m.Hides("a/b/c")
	})
}

func BenchmarkMaskHides(b *testing.B) {
	var mb maskBuilder
	for i := range 100_000 {
		mb.other(hashPath("usr/share/doc/" + strings.Repeat("x", i%40) + "/" + string(rune('a'+i%26))))
	}
	m := mb.finish()
	b.ReportAllocs()
	for b.Loop() {
		m.Hides("usr/lib/python3/dist-packages/requests-2.31.0.dist-info/METADATA")
	}
}
