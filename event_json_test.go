package bollwerk_test

import (
	"encoding/json"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	. "github.com/bollwerk/bollwerk"
)

// hostile are texts that need care; the fuzzer adds its own.
var hostile = []string{
	"/usr/bin/env", "", "\xff\xfe", "a\xc3", "\x00\x01\x1f\x7f\x80", "\x1b[2J\x1b]0;owned\a", "\b\f\n\r\t\v", `"},{"type":"detection"`, `\u0000\`,
	"<script>&amp;</script>", "\u2028\u2029", "�", "日本語 äöü", "\U0001f4a9", strings.Repeat("a\"b", 1400), "\xed\xa0\x80", "…/bin/bash",
}

// filler puts something into every field, chosen by a random source that repeats.
type filler struct {
	*rand.Rand
	texts []string
	empty int  // of a hundred fields
	valid bool // what JSON can give back
}

func (f *filler) text() string { return f.texts[f.IntN(len(f.texts))] }

func (f *filler) address() netip.Addr {
	switch f.IntN(5) {
	case 0:
		return netip.Addr{}
	case 1:
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(f.IntN(256))})
	case 2:
		return netip.MustParseAddr("::ffff:192.0.2.1")
	case 3:
		return netip.MustParseAddr("fe80::1").WithZone(f.text())
	}
	return netip.MustParseAddr("2001:db8::1")
}

func (f *filler) fill(v reflect.Value, depth int) {
	if f.IntN(100) < f.empty {
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		t := time.Unix(f.Int64N(1<<33), f.Int64N(1e9))
		switch f.IntN(4) {
		case 0:
			t = t.UTC()
		case 1:
			t = t.In(time.FixedZone("", (f.IntN(1439*2)-1439)*60)).Truncate(time.Second)
		case 2:
			t = time.Time{}.In(time.FixedZone("", 3600)) // zero, but not of UTC
			if f.IntN(50) == 0 {
				t = time.Unix(1<<40, 0) // no JSON form
			}
		}
		v.Set(reflect.ValueOf(t))
		return
	case netip.AddrPort:
		if a := f.address(); a.IsValid() || !f.valid {
			v.Set(reflect.ValueOf(netip.AddrPortFrom(a, uint16(f.IntN(3)*7))))
		}
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(f.address()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(f.text())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt([]int64{1, -1, 7, -1 << 31, 1<<31 - 1}[f.IntN(5)])
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint([]uint64{1, 3, 33, 34, 35, 255, ^uint64(0)}[f.IntN(7)] & (1<<v.Type().Bits() - 1))
	case reflect.Pointer:
		if depth < 5 {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), depth)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), f.IntN(4), 4))
		for i := range v.Len() {
			f.fill(v.Index(i), depth)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range f.IntN(5) {
			v.SetMapIndex(reflect.ValueOf(f.text()), reflect.ValueOf(f.text()))
		}
	default:
		panic(v.Kind().String() + ": the test does not know how to fill it")
	}
}

func same(t *testing.T, e *Event) {
	t.Helper()
	want, wantErr := json.Marshal(e)
	got, err := e.AppendJSON([]byte("before"))
	if (err != nil) != (wantErr != nil) {
		t.Fatalf("%v, encoding/json says %v", err, wantErr)
	}
	if err == nil && string(got) != "before"+string(want) {
		t.Fatalf("\n%s\nwant\n%s", got[6:], want)
	}
}

// Every event has the bytes that encoding/json gives it.
func TestAppendJSON(t *testing.T) {
	same(t, &Event{})
	failed, rounds := 0, 6000
	if testing.Short() {
		rounds = 600 // there is nothing for the race detector to find
	}
	for i := range rounds {
		f := &filler{rand.New(rand.NewPCG(1, uint64(i))), hostile, i % 100, false}
		e := &Event{}
		f.fill(reflect.ValueOf(e).Elem(), 0)
		if i < 3*EventKinds {
			e.Kind = EventKind(i / 2) // all kinds, and some that do not exist
		}
		if _, err := json.Marshal(e); err != nil {
			failed++
		}
		same(t, e)
		if e.Process == nil {
			continue
		}
		if want, err := json.Marshal(e.Process); err == nil {
			if got, err := e.Process.AppendJSON(nil); err != nil || string(got) != string(want) {
				t.Fatalf("\n%s (%v)\nwant\n%s", got, err, want)
			}
		}
	}
	if failed == 0 || failed > rounds/4 {
		t.Errorf("%d events without a JSON form: times without one are to be among them, and not to be all", failed)
	}
}

// Each field alone: one that AppendJSON does not know shows as missing.
func TestAppendJSONKnowsEveryField(t *testing.T) {
	n := 0
	var each func(e *Event, v reflect.Value, depth int)
	each = func(e *Event, v reflect.Value, depth int) {
		for i := range v.NumField() {
			f := v.Field(i)
			full := &filler{rand.New(rand.NewPCG(2, 3)), []string{"x"}, 0, false}
			before := reflect.New(f.Type()).Elem()
			before.Set(f)
			for range 8 { // lists are sometimes empty, times zero
				full.fill(f, 4)
				same(t, e)
				n++
			}
			f.Set(before)
			if f.Kind() == reflect.Pointer && depth < 3 {
				f.Set(reflect.New(f.Type().Elem()))
				each(e, f.Elem(), depth+1)
				f.Set(before)
			}
		}
	}
	e := &Event{}
	each(e, reflect.ValueOf(e).Elem(), 0)
	if n < 1000 {
		t.Errorf("only %d events looked at", n)
	}
}

// What AppendJSONSince leaves out is in the base.
func TestAppendJSONSince(t *testing.T) {
	rounds := 20000
	if testing.Short() {
		rounds = 1000
	}
	for i := range rounds {
		f := &filler{rand.New(rand.NewPCG(4, uint64(i))), []string{"", "a", "/bin/sh", "äöü", "\n"}, 30, true}
		base, p := &Process{}, &Process{}
		f.fill(reflect.ValueOf(base).Elem(), 5)
		*p = *base
		if i%3 > 0 { // few or many fields change
			f.empty = 100 - 5*(i%20)
			f.fill(reflect.ValueOf(p).Elem(), 5)
		}
		if i%7 == 0 {
			*p = Process{}
		}
		base.Parent, p.Parent = nil, nil
		b, err := p.AppendJSONSince(nil, base)
		if err != nil {
			continue // a time without a form
		}
		untouched, _ := json.Marshal(base)
		got, err := ProcessSince(base, b)
		if err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if diff := cmp.Diff(p, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(time.Time.Equal)); diff != "" {
			t.Fatalf("%s\n%s", b, diff)
		}
		if after, _ := json.Marshal(base); string(after) != string(untouched) {
			t.Fatal("the base was changed")
		}
		if i%3 == 0 && i%7 != 0 && string(b) != "{}" {
			t.Fatalf("nothing differs, but: %s", b)
		}
	}
}

func FuzzAppendJSON(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, uint64(i), i*5)
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64, empty int) {
		l := &filler{rand.New(rand.NewPCG(5, seed)), []string{text, "x", text + "y"}, max(0, empty%100), false}
		e := &Event{}
		l.fill(reflect.ValueOf(e).Elem(), 0)
		same(t, e)
	})
}

func exec() *Event {
	at := time.Date(2026, 5, 1, 12, 0, 0, 123456789, time.UTC)
	parent := &Process{PID: 4211, NSID: 1, Start: 1234567890, Began: at, Name: "worker", Path: "/bin/worker", Args: []string{"/bin/worker"}, LoginUID: 1<<32 - 1,
		Capabilities: 0x1ffffffffff, Permitted: 0x1ffffffffff, Origin: OriginImage, Cgroup: 4431, CgroupPath: "/docker/abc", PIDNS: 4026531836, MountNS: 4026531840, NetNS: 4026531840, UserNS: 4026531837, Contained: true, Cwd: "/"}
	p := *parent
	p.PID, p.NSID, p.Start, p.Args, p.Parent, p.Inode, p.Device, p.Mode = 4300, 17, 2234567890, []string{"child", "exit"}, parent, 77, 60, 0o100755
	return &Event{Time: at, Kind: EventExec, Process: &p, Outcome: Seen, Source: "tp_btf", Workload: &Workload{Kind: WorkloadContainer, Cgroup: 4431, Container: &Container{ID: strings.Repeat("ab", 32), Runtime: "docker"}}}
}

func BenchmarkAppendJSON(b *testing.B) {
	e := exec()
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _ = e.AppendJSON(out[:0])
	}
	b.SetBytes(int64(len(out)))
}

func BenchmarkMarshal(b *testing.B) {
	e := exec()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(e); err != nil {
			b.Fatal(err)
		}
	}
}
