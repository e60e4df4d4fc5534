package recorder

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var web = &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: "ab12", Name: "web", Runtime: "docker", Image: "nginx:1.27"}}

func event(i int) *bollwerk.Event {
	parent := &bollwerk.Process{PID: 1, Start: 7, Name: "nginx", Path: "/usr/sbin/nginx"}
	p := &bollwerk.Process{PID: uint32(100 + i), Start: uint64(i), Name: "sh", Path: "/bin/sh", Args: []string{"sh", "-c", fmt.Sprint("echo ", i)}, Parent: parent}
	e := &bollwerk.Event{Time: t0.Add(time.Duration(i) * time.Second), Kind: bollwerk.EventExec, Outcome: bollwerk.Seen, Process: p}
	if i%2 == 0 {
		e.Workload = web
	}
	return e
}

func open(t testing.TB, c Config) *Recorder {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	r, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func read(t testing.TB, dir string, q Query) ([]Record, *Summary) {
	t.Helper()
	var out []Record
	s, err := Read(context.Background(), dir, q, func(r Record) error { out = append(out, r); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return out, s
}

func TestRoundTrip(t *testing.T) {
	r := open(t, Config{})
	var want []*bollwerk.Event
	for i := range 100 {
		e := event(i)
		want = append(want, e)
		r.Event(e)
	}
	d := &bollwerk.Detection{Schema: bollwerk.DetectionSchema, ID: "x", Rule: "shell", Severity: bollwerk.SeverityHigh, Attack: []string{"T1059"}, Time: t0, Last: t0.Add(time.Hour),
		Process: want[4].Process, Workload: web, Events: want[3:5], Outcome: bollwerk.Killed, Verdict: bollwerk.Fail}
	r.Detection(d)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, s := read(t, r.c.Dir, Query{})
	if len(s.Damage) != 0 || s.Verdict() != bollwerk.Pass || len(got) != 101 {
		t.Fatalf("%d records, %+v", len(got), s)
	}
	for i, e := range want {
		if diff := cmp.Diff(e, got[i].Event, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	}
	if diff := cmp.Diff(d, got[100].Detection, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	if !s.Oldest.Equal(t0) || !s.Newest.Equal(t0.Add(time.Hour)) {
		t.Errorf("reaches from %v to %v", s.Oldest, s.Newest)
	}
}

// named asks for workloads of one name.
func named(name string) func(*bollwerk.Workload) bool {
	return func(w *bollwerk.Workload) bool { return w.String() == name }
}

func TestQuery(t *testing.T) {
	r := open(t, Config{})
	for i := range 100 {
		r.Event(event(i))
		if i%10 == 9 {
			if err := r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		q             Query
		want, skipped int
	}{
		{Query{}, 100, 0},
		{Query{Workload: named(web.String())}, 50, 0},
		{Query{Workload: named("nobody")}, 0, 10},
		{Query{Since: t0.Add(95 * time.Second)}, 5, 9},
		{Query{Until: t0.Add(4 * time.Second)}, 5, 9},
		{Query{Since: t0.Add(20 * time.Second), Until: t0.Add(29 * time.Second), Workload: named("host")}, 5, 9},
		{Query{Kinds: []bollwerk.EventKind{bollwerk.EventConnect}}, 0, 0},
		{Query{OnlyDetections: true}, 0, 0},
	} {
		got, s := read(t, r.c.Dir, tt.q)
		if len(got) != tt.want || s.Skipped != tt.skipped || s.Records != tt.want {
			t.Errorf("%+v: %d records and %d blocks skipped, want %d and %d", tt.q, len(got), s.Skipped, tt.want, tt.skipped)
		}
	}
}

// TestIndexByWorkload: the blocks that have nothing of the workload that is asked for are not
// read, whatever share its key with it, and what is lost of nobody in particular is found
// with every workload. A log of the format before, whose index knows no names, gives the same.
func TestIndexByWorkload(t *testing.T) {
	replica := func(pod string) *bollwerk.Workload {
		return &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: pod, Runtime: "containerd", Image: "cart:1"},
			Pod: &bollwerk.Pod{Namespace: "shop", Name: pod, Container: "app", OwnerKind: "Deployment", OwnerName: "cart"}}
	}
	one, two := replica("cart-1"), replica("cart-2")
	if one.Key() != two.Key() || one.String() == two.String() {
		t.Fatal(one.Key(), two.Key())
	}
	r := open(t, Config{})
	var all []*bollwerk.Event
	block := func(ws ...*bollwerk.Workload) {
		t.Helper()
		for i := range 40 {
			e := event(len(all))
			e.Workload = ws[i%len(ws)]
			if i%4 == 3 { // told as like the one before
				e.Workload, e.Process = all[len(all)-1].Workload, all[len(all)-1].Process
			}
			all = append(all, e)
			r.Event(e)
		}
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	lose := func(w *bollwerk.Workload) {
		e := &bollwerk.Event{Time: t0, Kind: bollwerk.EventLoss, Workload: w, Outcome: bollwerk.Seen, Loss: &bollwerk.Loss{From: t0, To: t0, Count: 7, Area: "ring"}}
		all = append(all, e)
		r.Event(e)
	}
	for range 3 {
		block(two)
		block(web, nil)
	}
	block(one, web)
	lose(one)
	block(two)
	lose(nil)
	block(web)
	for i := range 4 {
		block(replica(fmt.Sprint("other-", i)), two) // each is met once
	}
	const blocks = 13
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	former := t.TempDir()
	for _, seg := range r.segments {
		b, err := os.ReadFile(seg.name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(former, filepath.Base(seg.name)), secondFormat(t, b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		want func(*bollwerk.Workload) bool
		read int // blocks that are needed
	}{
		{"one of two with the same key", named(one.String()), 3},
		{"the other", named(two.String()), 9},
		{"both by their key", func(w *bollwerk.Workload) bool { return w.Key() == one.Key() }, 10},
		{"the host", named("host"), 4},
		{"late", named("shop/other-3/app"), 2},
		{"nobody", named("nobody"), 1},
		{"all", func(*bollwerk.Workload) bool { return true }, blocks},
	} {
		var want []*bollwerk.Event
		for _, e := range all {
			if tt.want(e.Workload) || e.Kind == bollwerk.EventLoss && e.Workload == nil {
				want = append(want, e)
			}
		}
		for _, dir := range []string{r.c.Dir, former} {
			records, s := read(t, dir, Query{Workload: tt.want})
			var got []*bollwerk.Event
			for _, rec := range records {
				got = append(got, rec.Event)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" || len(s.Damage) != 0 {
				t.Errorf("%s: %s%q", tt.name, diff, s.Damage)
			}
			if s.Blocks+s.Skipped != blocks || dir == r.c.Dir && s.Blocks != tt.read {
				t.Errorf("%s: %d blocks read and %d skipped, want %d of %d read", tt.name, s.Blocks, s.Skipped, tt.read, blocks)
			}
		}
	}
}

// secondFormat makes of a segment what a former version would have written: no salt, and the
// hashes of keys in the index.
func secondFormat(t *testing.T, b []byte) []byte {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	out := []byte(secondMagic)
	for b = b[segmentHead:]; len(b) > 0; {
		h, err := parseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		text := b[headerBytes+8*int(h.workloads) : headerBytes+int(h.length)]
		raw, err := dec.DecodeAll(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[uint64]bool{}
		if err := decodeBlock(raw, nil, func(r Record) error { keys[xxhash.Sum64String(r.workload().Key())] = true; return nil }); err != nil {
			t.Fatal(err)
		}
		head := append([]byte(nil), b[:headerBytes]...)
		for k := range keys {
			head = binary.LittleEndian.AppendUint64(head, k)
		}
		block := append(head, text...)
		binary.LittleEndian.PutUint32(block[4:], uint32(len(block)-headerBytes))
		binary.LittleEndian.PutUint16(block[16:], uint16(len(keys)))
		binary.LittleEndian.PutUint32(block[36:], checksum(block))
		out = append(out, block...)
		b = b[headerBytes+int(h.length):]
	}
	return out
}

// TestNumberOf: no name in an event is taken for the number of its workload.
func TestNumberOf(t *testing.T) {
	for text, want := range map[string]uint32{
		`{"a":1,"workload":12}`: 12, `{"a":1}`: 0, `{"a":"x\",\"workload\":5}"}`: 0, `{"a":{"b":1,"workload":5}}`: 0, `{"a":1,"workload":}`: 0, `{"workload":99999999999}`: 0, ``: 0, `}`: 0, `5}`: 0,
	} {
		if got := numberOf([]byte(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

// TestDamage flips and cuts bytes at every place of a small log: whatever can be read is
// handed out unharmed, and every loss is said.
func TestDamage(t *testing.T) {
	r := open(t, Config{})
	for i := range 3 {
		r.Event(event(i))
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	segs, err := listSegments(r.c.Dir)
	if err != nil || len(segs) != 1 {
		t.Fatal(segs, err)
	}
	good, err := os.ReadFile(segs[0].name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	// An older segment, so that no patience is spent on a writer that does not exist.
	name := filepath.Join(dir, "0000000000000000.bwr")
	if err := os.WriteFile(filepath.Join(dir, "0000000000000001.bwr"), make([]byte, 0), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		// The event in the middle is of another workload than the others.
		if of, s := read(t, dir, Query{Workload: named("host")}); len(of) < 1 && s.Verdict() != bollwerk.Degraded {
			t.Fatalf("%s: the event of the host is not found, and nothing said", what)
		}
		got, s := read(t, dir, Query{})
		for _, g := range got {
			i := int(g.Event.Process.Start)
			if diff := cmp.Diff(event(i), g.Event, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s: an event was changed: %s", what, diff)
			}
		}
		if len(got) < 3 && s.Verdict() != bollwerk.Degraded {
			t.Fatalf("%s: %d of 3 events and nothing said", what, len(got))
		}
	}
	step := 1
	if testing.Short() {
		step = 5
	}
	for i := 0; i < len(good); i += step {
		b := append([]byte(nil), good...)
		b[i] ^= 0x5a
		check(fmt.Sprintf("byte %d changed", i), b)
	}
	ends := map[int]bool{int(segmentHead): true}
	at := int(segmentHead)
	for at < len(good) {
		h, err := parseHeader(good[at:])
		if err != nil {
			t.Fatal(err)
		}
		at += headerBytes + int(h.length)
		ends[at] = true
	}
	for i := 0; i < len(good); i += step {
		if !ends[i] { // a cut between two blocks cannot be told from a shorter log
			check(fmt.Sprintf("cut at %d", i), good[:i])
		}
	}
}

func TestLimits(t *testing.T) {
	dir, n := t.TempDir(), 40000
	if testing.Short() {
		n = 15000 // one and a half times what there is room for
	}
	r := open(t, Config{Dir: dir, Size: 1 << 20, Age: 50 * 365 * 24 * time.Hour})
	for i := range n {
		e := event(i)
		e.Process.Cwd = noise(i)
		r.Event(e)
		if i%1000 == 0 {
			if err := r.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := folderSize(t, dir); n > 1<<20 {
				t.Fatalf("%d bytes on disk", n)
			}
		}
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := r.Status()
	if st.Bytes > 1<<20 || st.Bytes != folderSize(t, dir) || st.Lost != 0 || st.Written != uint64(n) {
		t.Errorf("%+v, on disk %d", st, folderSize(t, dir))
	}
	got, s := read(t, dir, Query{})
	if len(s.Damage) != 0 || len(got) == 0 || len(got) == n || got[len(got)-1].Event.Process.Start != uint64(n-1) {
		t.Errorf("%d records, %+v", len(got), s)
	}
}

// noise does not compress.
func noise(i int) string {
	h := sha256.Sum256([]byte(fmt.Sprint(i)))
	return fmt.Sprintf("%x%x", h, sha256.Sum256(h[:]))
}

func folderSize(t testing.TB, dir string) (n int64) {
	segs, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segs {
		n += s.size
	}
	return n
}

// TestFullDisk fills a file system of 1 MiB for real.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		prerequisite.Missing(t, "cannot mount: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, make([]byte, 800<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	r := open(t, Config{Dir: log, Size: 64 << 20, Age: 50 * 365 * 24 * time.Hour})
	n := 40000
	if testing.Short() {
		n = 15000 // twice what there is room for
	}
	fill := func(to int) {
		for i := 0; i < to; i++ {
			e := event(i)
			e.Process.Cwd = noise(i)
			r.Event(e)
			if i%100 == 0 {
				if err := r.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := r.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fill(n)
	st := r.Status()
	// The only segment is the one being written: what does not fit is lost, and said.
	if st.Lost == 0 || st.Trouble == "" || !strings.Contains(st.Trouble, "no space left") {
		t.Fatalf("%+v", st)
	}
	got, s := read(t, log, Query{})
	if len(s.Damage) != 0 || uint64(len(got)) != st.Written {
		t.Errorf("%d records read, %+v written; %+v", len(got), st, s)
	}
	// Room again: it goes on by itself, and gives its own oldest segments up for new ones.
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	fill(n)
	if st := r.Status(); st.Trouble != "" {
		t.Errorf("%+v", st)
	}
}

func TestQueueFull(t *testing.T) {
	r := open(t, Config{Queue: 1})
	for i := range 5000 {
		r.Event(event(i))
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := r.Status(); st.Lost+st.Written != 5000 {
		t.Errorf("%+v: want 5000 in all", st)
	}
}

func TestClockJump(t *testing.T) {
	now := t0
	dir := t.TempDir()
	c := Config{Dir: dir, Age: time.Hour, Flush: time.Hour, Now: func() time.Time { return now }}
	for i := range 5 { // five segments
		r := open(t, c)
		r.Event(event(i))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	segs, _ := listSegments(dir)
	for _, s := range segs {
		if err := os.Chtimes(s.name, t0, t0); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	r := &Recorder{c: c, segments: segs}
	for i := range segs {
		r.segments[i].last = t0
	}
	now = t0.Add(365 * 24 * time.Hour)
	for range 100 { // a hundred looks within the same minute
		r.expire()
	}
	if segs, _ := listSegments(dir); len(segs) != 4 {
		t.Errorf("%d segments left: a jump of the clock may take one a minute", len(segs))
	}
	now = t0
	for range 100 {
		r.expire()
	}
	if segs, _ := listSegments(dir); len(segs) != 4 {
		t.Errorf("%d segments left after the clock was set back", len(segs))
	}
}

// TestKilledWriter is a child that writes until it is killed; the log is read while it
// lives and after.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv("RECORDER_TEST_DIR"); dir != "" {
		r, err := Open(Config{Dir: dir, Flush: 5 * time.Millisecond, Age: 50 * 365 * 24 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; ; i++ {
			r.Event(event(i))
			if i%64 == 0 {
				_ = r.Flush(context.Background())
			}
		}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
	cmd.Env = append(os.Environ(), "RECORDER_TEST_DIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	deadline := time.Now().Add(30 * time.Second)
	reads, most, enough := 0, 20000, errors.New("enough")
	if testing.Short() {
		most = 4000 // each of the readings begins at the beginning
	}
	for time.Now().Before(deadline) {
		n := 0
		s, err := Read(t.Context(), dir, Query{}, func(r Record) error {
			if int(r.Event.Process.Start) != n {
				return fmt.Errorf("event %d in the place of %d", r.Event.Process.Start, n)
			}
			if n++; n > most {
				return enough
			}
			return nil
		})
		if err != nil && !errors.Is(err, enough) {
			t.Fatal(err, s.Damage)
		}
		if len(s.Damage) > 0 {
			t.Fatalf("while it is written: %v", s.Damage)
		}
		if reads++; n > 2000 && reads > 20 {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	got, s := read(t, dir, Query{})
	if len(got) < 2000 || len(s.Damage) > 1 {
		t.Errorf("after the kill: %d records, %v", len(got), s.Damage)
	}
	for i, g := range got {
		if int(g.Event.Process.Start) != i {
			t.Fatalf("event %d in the place of %d", g.Event.Process.Start, i)
		}
	}
}

func FuzzDecode(f *testing.F) {
	var b blockWriter
	b.reset()
	for i := range 4 {
		if err := b.add(Record{Event: event(i)}); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.raw)
	f.Add([]byte("E\x02{}"))
	f.Add([]byte("D\x0d{\"events\":[{}]"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_ = decodeBlock(raw, nil, func(r Record) error {
			if (r.Event == nil) == (r.Detection == nil) {
				t.Fatal("neither event nor detection")
			}
			return nil
		})
	})
}

// start is what a program start in a container makes: a fork, an exec and an end, as the
// sensor tells them.
func start(i int, by *bollwerk.Process) []*bollwerk.Event {
	at := t0.Add(time.Duration(i) * 1234567 * time.Nanosecond)
	child := *by
	child.PID, child.NSID, child.Start, child.Began, child.Parent = uint32(5000+3*i), uint32(10+i), uint64(1e12)+uint64(i)*1234567, at, by
	image := child
	image.Began, image.Args, image.Name, image.Path = at.Add(300*time.Microsecond), []string{"sh", "-c", "exit 0"}, "sh", "/bin/sh"
	image.Inode, image.Device, image.Mode = 4711, 61, 0o100755
	image.Stdio = []bollwerk.OpenFile{{FD: 0, Kind: "pipe", Inode: 8131}, {FD: 1, Kind: "pipe", Inode: 8132}}
	end := image
	end.ExitCode = int32(i % 2 << 8)
	return []*bollwerk.Event{
		{Time: at, Kind: bollwerk.EventFork, Process: &child, Workload: web, Outcome: bollwerk.Seen, Source: "tp_btf"},
		{Time: image.Began, Kind: bollwerk.EventExec, Process: &image, Workload: web, Outcome: bollwerk.Seen, Source: "tp_btf"},
		{Time: at.Add(time.Millisecond), Kind: bollwerk.EventExit, Process: &end, Workload: web, Outcome: bollwerk.Seen, Source: "tp_btf"},
	}
}

func starter() *bollwerk.Process {
	runtime := &bollwerk.Process{PID: 900, Start: 5e9, Began: t0, Name: "containerd-shim", Path: "/usr/bin/containerd-shim-runc-v2", Args: []string{"/usr/bin/containerd-shim-runc-v2", "-id", "ab12"}, Cwd: "/"}
	return &bollwerk.Process{PID: 1000, NSID: 1, Start: 6e9, Began: t0, Name: "worker", Path: "/bin/worker", Args: []string{"/bin/worker"}, Cwd: "/", LoginUID: 1<<32 - 1, Session: 1000,
		Capabilities: 0xa80425fb, Permitted: 0xa80425fb, Seccomp: 2, Inode: 4712, Device: 61, Mode: 0o100755, Origin: bollwerk.OriginImage, Cgroup: 7321, CgroupPath: "/docker/ab12",
		PIDNS: 4026532291, MountNS: 4026532288, NetNS: 4026532293, UserNS: 4026531837, Contained: true, Parent: runtime}
}

// A process is told by what differs from another one; nothing of it may get lost, nor
// what it no longer has.
func TestLikeProcesses(t *testing.T) {
	r := open(t, Config{Flush: time.Hour})
	by := starter()
	var want []*bollwerk.Event
	for i := range 50 {
		es := start(i, by)
		switch i % 5 {
		case 1: // everything is taken away
			p := &bollwerk.Process{PID: es[1].Process.PID, Start: es[1].Process.Start, Parent: by}
			es = append(es, &bollwerk.Event{Time: t0, Kind: bollwerk.EventExec, Process: p})
		case 2: // another process with this PID
			p := *es[2].Process
			p.Start++
			p.Args, p.Stdio, p.Parent = nil, p.Stdio[:1], nil
			es = append(es, &bollwerk.Event{Time: t0, Kind: bollwerk.EventExec, Process: &p})
		case 3: // the child makes children
			es = append(es, start(1000+i, es[1].Process)...)
		}
		want = append(want, es...)
	}
	for _, e := range want {
		r.Event(e)
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, s := read(t, r.c.Dir, Query{})
	if len(s.Damage) != 0 || s.Blocks != 1 || len(got) != len(want) {
		t.Fatalf("%d records of %d, %+v", len(got), len(want), s)
	}
	for i, e := range want {
		if diff := cmp.Diff(e, got[i].Event, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Fatal(diff)
		}
	}
}

// So is an event; the one before may be of any time, zone, workload and outcome.
func TestLikeEvents(t *testing.T) {
	r := open(t, Config{Flush: time.Hour})
	by, rnd := starter(), rand.New(rand.NewPCG(1, 2))
	other := &bollwerk.Workload{Kind: bollwerk.WorkloadHost}
	times := []func() time.Time{
		func() time.Time { return t0.Add(time.Duration(rnd.Int64N(1e12))) },
		func() time.Time { return t0.Add(-time.Duration(rnd.Int64N(1e18))) },
		func() time.Time { return t0.In(time.FixedZone("", 7200)) },
		func() time.Time { return time.Unix(rnd.Int64N(1<<31), 5) },
		func() time.Time { return time.Date(9999-rnd.IntN(9998), 1, 1, 0, 0, 0, 0, time.UTC) },
		func() time.Time { return time.Time{} },
		time.Now,
	}
	pick := func(n int) int { return rnd.IntN(n) * rnd.IntN(2) } // mostly as before
	var want []*bollwerk.Event
	for range 3000 {
		e := &bollwerk.Event{
			Time: times[pick(len(times))](), Kind: bollwerk.EventKind(1 + rnd.IntN(bollwerk.EventKinds-1)), Workload: []*bollwerk.Workload{web, nil, other}[pick(3)],
			Outcome: []bollwerk.Outcome{bollwerk.Seen, bollwerk.Denied, ""}[pick(3)], Source: []string{"tp_btf", "", "lsm"}[pick(3)],
			Process: []*bollwerk.Process{by, nil, by.Parent}[pick(3)], Target: []*bollwerk.Process{nil, by}[pick(2)],
		}
		if e.Kind == bollwerk.EventUnlink {
			e.File = &bollwerk.FileEvent{Path: "/tmp/x"}
		}
		want = append(want, e)
		r.Event(e)
		if rnd.IntN(40) == 0 {
			r.Detection(&bollwerk.Detection{Time: t0, Last: t0, Events: []*bollwerk.Event{e}})
		}
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, s := read(t, r.c.Dir, Query{})
	var got []*bollwerk.Event
	for _, rec := range all {
		if rec.Event != nil {
			got = append(got, rec.Event)
		}
	}
	if len(s.Damage) != 0 || len(got) != len(want) {
		t.Fatalf("%d events of %d, %+v", len(got), len(want), s)
	}
	for i, e := range want {
		if diff := cmp.Diff(e, got[i], cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Fatal(i, diff)
		}
	}
}

// Logs of the first format are read, too. The file was written before there was a second one.
func TestFirstFormat(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile("testdata/first.bwr")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "0000000000000000.bwr"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, s := read(t, dir, Query{})
	if len(s.Damage) != 0 || len(got) != 8 {
		t.Fatalf("%d records, %+v", len(got), s)
	}
	for i, g := range got {
		if diff := cmp.Diff(event(i), g.Event, cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	}
}

// BenchmarkStart is one program start: three events.
func BenchmarkStart(b *testing.B) {
	r := open(b, Config{Dir: b.TempDir()})
	by := starter()
	var es [][]*bollwerk.Event
	for i := range 1000 {
		es = append(es, start(i, by))
	}
	raw, packed := 0, 0
	flush := func() {
		raw += len(r.block.raw)
		packed += len(r.block.encode(r.enc))
		r.block.reset()
	}
	b.ReportAllocs()
	i := 0
	for ; b.Loop(); i++ {
		for _, e := range es[i%1000] {
			if err := r.block.add(Record{Event: e}); err != nil {
				b.Fatal(err)
			}
		}
		if i%1000 == 999 || len(r.block.raw) > blockBytes {
			flush()
		}
	}
	flush()
	b.ReportMetric(float64(raw)/float64(i), "raw-B/op")
	b.ReportMetric(float64(packed)/float64(i), "disk-B/op")
}

// BenchmarkReadByWorkload reads a log of 40 workloads (RECORDER_BENCH_MIB, 8 by default) for
// one of them: as a whole, and by the index, for one that is in every block, one that is in
// each twentieth, and one that was there once.
func BenchmarkReadByWorkload(b *testing.B) {
	mib := 8
	if s := os.Getenv("RECORDER_BENCH_MIB"); s != "" {
		if _, err := fmt.Sscan(s, &mib); err != nil {
			b.Fatal(err)
		}
	}
	r := open(b, Config{Dir: b.TempDir(), Size: int64(mib) << 20, Age: 50 * 365 * 24 * time.Hour, Queue: 1 << 16})
	of := func(i int) *bollwerk.Workload {
		id := fmt.Sprintf("%x", sha256.Sum256([]byte(fmt.Sprint(i))))
		return &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: id, Name: fmt.Sprint("web-", i), Runtime: "containerd", Image: "registry.example.com/shop/web:1.27", Digest: bollwerk.Digest("sha256:" + id)},
			Pod: &bollwerk.Pod{Namespace: "shop", Name: fmt.Sprint("web-", i), UID: id[:32], Container: "app", OwnerKind: "Deployment", OwnerName: fmt.Sprint("web-", i), Labels: map[string]string{"app": "web", "tier": "front"}}}
	}
	usual, seldom, once := of(0), of(1), of(2)
	var many []*bollwerk.Workload
	for i := range 40 {
		many = append(many, of(3+i))
	}
	by, rng := starter(), rand.New(rand.NewPCG(1, 2))
	for i := 0; r.bytes.Load() < int64(mib)<<20*97/100; i++ {
		w := many[(i/25)%len(many)] // they take turns
		switch {
		case i == 50000:
			w = once
		case i%6000 == 0:
			w = seldom
		case i%25 == 0:
			w = usual
		}
		for _, e := range start(i, by) {
			e.Workload = w
			p := *e.Process // what is not the same each time
			p.Inode, p.Args = rng.Uint64()>>40, []string{"sh", "-c", fmt.Sprintf("echo %x > /tmp/%x", rng.Uint64(), rng.Uint32())}
			e.Process = &p
			r.Event(e)
		}
		if i%4096 == 0 {
			if err := r.Flush(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d MiB, %d events", r.bytes.Load()>>20, r.written.Load())
	for _, tt := range []struct {
		name string
		of   *bollwerk.Workload
		scan bool
	}{{"scan", usual, true}, {"usual", usual, false}, {"seldom", seldom, false}, {"once", once, false}, {"never", of(99), false}} {
		b.Run(tt.name, func(b *testing.B) {
			var s *Summary
			found := 0
			var before, after syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			for b.Loop() {
				found = 0
				q := Query{Workload: named(tt.of.String())}
				if tt.scan {
					q.Workload = nil
				}
				var err error
				s, err = Read(b.Context(), r.c.Dir, q, func(r Record) error {
					if r.workload().String() == tt.of.String() {
						found++
					}
					return nil
				})
				if err != nil || len(s.Damage) > 0 {
					b.Fatal(err, s.Damage)
				}
			}
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			b.ReportMetric(float64(after.Utime.Nano()-before.Utime.Nano()+after.Stime.Nano()-before.Stime.Nano())/1e6/float64(b.N), "cpu-ms")
			b.ReportMetric(float64(s.Blocks), "blocks")
			b.ReportMetric(float64(s.Skipped), "skipped")
			b.ReportMetric(float64(found), "found")
		})
	}
}
