package lsm

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unsafe"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sensor"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

func TestPrefixKey(t *testing.T) {
	for _, c := range []struct {
		path  string
		bytes int // that must match; 0: refused
	}{
		{"/", 1}, {"/data/", 6}, {"/etc/app.conf", 14}, {"relative", 0}, {"", 0}, {"/a\x00b", 0},
		{"/" + strings.Repeat("x", 238), 240}, {"/" + strings.Repeat("x", 239), 0},
	} {
		k, err := prefixKey(7, bpf.LsmLsmListLSM_LIST_WRITE, c.path)
		if (err != nil) != (c.bytes == 0) {
			t.Errorf("%q: %v", c.path, err)
		}
		if err == nil && (k.Length != uint32(12+c.bytes)*8 || k.Root != 7) {
			t.Errorf("%q: %d bits", c.path, k.Length)
		}
	}
}

// What an area needs is said without reading the object.
func TestAreasNeed(t *testing.T) {
	spec, err := bpf.LoadLsm()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range areas {
		if p := spec.Programs[a.programs[0]]; p == nil || p.Type != a.needs() {
			t.Errorf("%s: %s is %v, not a program of type %v", a.name, a.programs[0], p, a.needs())
		}
	}
}

func TestWatches(t *testing.T) {
	all := Watches()
	for _, w := range all {
		if err := w.check(); err != nil {
			t.Error(err)
		}
	}
	m := table(all)
	if len(m) > 1024 {
		t.Errorf("%d entries do not fit into the kernel's table", len(m))
	}
	key := func(name, folder string) (k bpf.LsmLsmWatchKey) {
		fill(k.Name[:], name)
		fill(k.Folder[:], folder)
		return k
	}
	if v := m[key("shadow", "")]; v.Folder != 1 || v.Access != 0 {
		t.Errorf("shadow alone: %+v", v)
	}
	if v := m[key("shadow", "etc")]; v.Class&Secret == 0 || v.Access&Read == 0 {
		t.Errorf("etc/shadow: %+v", v)
	}
	if v := m[key("", "cron.d")]; v.Access&Write == 0 {
		t.Errorf("cron.d/: %+v", v)
	}
	for _, w := range []Watch{{}, {Name: "a/b", Access: Read}, {Name: "a"}, {Folder: strings.Repeat("f", 32), Access: Write}} {
		if w.check() == nil {
			t.Errorf("%+v is taken", w)
		}
	}
}

// TestFilter: names that are watched for reading must be looked up, ordinary ones seldom are.
func TestFilter(t *testing.T) {
	spec, err := bpf.LoadLsm()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("l", 70)
	all := append(Watches(), Watch{Name: long, Access: Read}, Watch{Name: "only-written", Access: Write})
	if err := setFilter(spec, all); err != nil {
		t.Fatal(err)
	}
	var f bpf.LsmLsmFilter
	if err := spec.Variables["filter"].Get(&f); err != nil {
		t.Fatal(err)
	}
	perhaps := func(name string) bool { // lsm_perhaps of bpf/lsm_path.h
		if n := len(name); n >= maxName {
			return f.Longs[n/64]>>(n%64)&1 == 1
		}
		at, _ := slot(name)
		return f.Names[at/64]>>(at%64)&1 == 1
	}
	for _, w := range all {
		if w.Name != "" && w.Access&Read != 0 && !perhaps(w.Name) {
			t.Errorf("%s would not be looked up", w.Name)
		}
	}
	if perhaps("only-written") {
		t.Error("a name that is watched for writing only is looked up when it is read")
	}
	for _, name := range strings.Fields("passwd group hosts nsswitch.conf ld.so.cache libc.so.6 locale.alias some-file index.html package.json nginx.conf main.go Makefile") {
		if perhaps(name) {
			t.Errorf("%s is looked up each time it is read", name)
		}
	}
	const n = 20_000
	met, r := 0, rand.New(rand.NewPCG(1, 2))
	for range n {
		name := make([]byte, 1+r.IntN(24))
		for i := range name {
			name[i] = "abcdefghijklmnopqrstuvwxyz0123456789.-_"[r.IntN(39)]
		}
		if perhaps(string(name)) {
			met++
		}
	}
	if met*100 > n {
		t.Errorf("%d of %d ordinary names take the slow path", met, n)
	}
}

func TestNamed(t *testing.T) {
	for path, want := range map[string]string{
		"/root/.aws/..2026_01_02_03_04_05.678/credentials": "/root/.aws/credentials", "/a/..2026_01/b/c": "/a/b/c",
		"/etc/shadow": "/etc/shadow", "/etc/..data/shadow": "/etc/..data/shadow", "/etc/..2026/shadow": "/etc/..2026/shadow", "/..2026_1": "/..2026_1", "/..2026_1/": "/..2026_1/", "": "",
	} {
		if got := named(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

func TestInactive(t *testing.T) {
	s := New(Options{SecurityList: "testdata/lsm-without-bpf"})
	if err := s.active(); err != errInactive {
		t.Errorf("%v", err)
	}
	if r := s.remedy(); !strings.Contains(r, "lsm=lockdown,capability,yama,bpf") {
		t.Error(r)
	}
}

// FuzzDecode: records come from our own programs, but their texts and lengths are
// decided by whoever names files.
func FuzzDecode(f *testing.F) {
	for n := bpf.LsmLsmSourceLSM_EXEC; n <= bpf.LsmLsmSourceLSM_MEMFD; n++ {
		f.Add(uint8(n), uint16(4), []byte(strings.Repeat("\x01", 300)+"/etc/\xff\x1b[2J"))
	}
	l, err := sensor.Open(f.Context(), sensor.Options{NoBPF: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	s := New(Options{})
	s.k = l.Kernel()
	f.Fuzz(func(t *testing.T, source uint8, kind uint16, body []byte) {
		raw := make([]byte, int(unsafe.Sizeof(sensor.Header{}))+len(body))
		copy(raw[unsafe.Sizeof(sensor.Header{}):], body)
		h := &sensor.Header{Kind: kind, Source: source, Pid: 1 << 30}
		for _, d := range []sensor.Decoder{s.file, s.exec, s.mount, s.act} {
			e := d(h, raw)
			if e == nil {
				continue
			}
			if e.File != nil && len(e.File.Path)+len(e.File.Target) > len(raw) {
				t.Errorf("%d bytes of names in a record of %d", len(e.File.Path)+len(e.File.Target), len(raw))
			}
			if e.Outcome != bollwerk.Outcome("") {
				t.Error("the outcome is the sensor's to say")
			}
		}
	})
}
