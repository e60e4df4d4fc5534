package sensor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor/bpf"
)

// fake is an enforcer that remembers, or refuses.
type fake struct {
	fails error
	holds map[uint64]*Policy
	means []Means
}

func (f *fake) Name() string                                        { return "fake" }
func (f *fake) Open(context.Context, *Kernel) ([]Capability, error) { return nil, nil }
func (f *fake) Run(context.Context) error                           { return nil }
func (f *fake) Close() error                                        { return nil }
func (f *fake) Means() []Means                                      { return f.means }
func (f *fake) Remove(id uint64) error                              { delete(f.holds, id); return nil }

func (f *fake) Apply(p *Policy) error {
	if f.fails != nil {
		return f.fails
	}
	f.holds[p.Cgroup] = p
	return nil
}

// group makes a cgroup of the test's own.
func group(t *testing.T, k *Kernel) (id uint64, path string) {
	t.Helper()
	if os.Geteuid() != 0 || k.CgroupRoot == "" {
		prerequisite.Missing(t, "needs root and a cgroup tree")
	}
	path = fmt.Sprintf("/bollwerk-test-%d-%s", os.Getpid(), filepath.Base(t.Name()))
	dir := filepath.Join(k.CgroupRoot, path)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	var st syscall.Stat_t
	if err := syscall.Stat(dir, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino, path
}

func TestHalfAPolicyIsNone(t *testing.T) {
	for _, noBPF := range []bool{true, false} {
		good, bad := &fake{holds: map[uint64]*Policy{}}, &fake{}
		s, err := Open(t.Context(), Options{NoBPF: noBPF}, good, bad)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		id, path := uint64(0), ""
		t.Run(fmt.Sprint(noBPF), func(t *testing.T) {
			id, path = group(t, s.k)
			p := &Policy{Cgroup: id, CgroupPath: path, Enforce: GuardDrift | GuardExec, Builders: []string{"gcc"}, Exec: []string{"/bin/sh"}}
			bad.fails = errors.New("no room")
			if err := s.Apply(p); !errors.Is(err, bad.fails) {
				t.Fatal(err)
			}
			if len(s.Policies()) != 0 || len(good.holds) != 0 {
				t.Errorf("left behind: %v, %v", s.Policies(), good.holds)
			}
			bad.fails, bad.holds = nil, map[uint64]*Policy{}
			for range 2 { // the second in place of the first
				if err := s.Apply(p); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(s.Policies(), []uint64{id}) || good.holds[id] != p {
				t.Errorf("%v, %v", s.Policies(), good.holds)
			}
			count := func(name string) (n int) {
				if m := s.k.maps[name]; m != nil {
					key, value := make([]byte, m.KeySize()), make([]byte, m.ValueSize())
					for it := m.Iterate(); it.Next(&key, &value); {
						n++
					}
				}
				return n
			}
			if s.k.noBPF == nil && (count("policies") != 1 || count("builders") != 1 || count("exec_allowed") != 1) {
				t.Errorf("%d policies, %d builders, %d executables in the kernel", count("policies"), count("builders"), count("exec_allowed"))
			}
			if err := s.Release(); err != nil {
				t.Fatal(err)
			}
			if len(s.Policies()) != 0 || len(good.holds) != 0 || count("policies")+count("builders")+count("exec_allowed") != 0 {
				t.Error("released, but still there")
			}
			if err := s.Remove(id); err != nil {
				t.Errorf("removed twice: %v", err)
			}
		})
	}
}

// Containers with the same lists share them, and the last one takes them along.
func TestPoliciesShareLists(t *testing.T) {
	s, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.k.BPF(); err != nil {
		prerequisite.Missing(t, "%v", err)
	}
	_, top := group(t, s.k)
	var ps []*Policy
	for i := range 3 {
		p := &Policy{CgroupPath: fmt.Sprintf("%s/%d", top, i), Enforce: GuardDrift | GuardExec, Builders: []string{"gcc", "cc"}, Exec: []string{"/bin/sh"}}
		dir := filepath.Join(s.k.CgroupRoot, p.CgroupPath)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			t.Fatal(err)
		}
		p.Cgroup = st.Ino
		ps = append(ps, p)
	}
	ps[2].Exec = []string{"/bin/ls"}
	// set is the number of the lists in the kernel, 0 for none.
	set := func(p *Policy) uint32 {
		var v bpf.SharedBwPolicy
		if s.k.maps["policies"].Lookup(p.Cgroup, &v) != nil {
			return 0
		}
		return v.Set
	}
	holds := func(set uint32) bool {
		key := bpf.SharedBwBuilder{Set: set}
		copyLetters(key.Name[:], "cc")
		var one uint8
		return set != 0 && s.k.maps["builders"].Lookup(&key, &one) == nil
	}
	for _, p := range append(ps, ps[1]) { // the last in place of itself
		if err := s.Apply(p); err != nil {
			t.Fatal(err)
		}
	}
	same, other := set(ps[0]), set(ps[2])
	if !holds(same) || !holds(other) || set(ps[1]) != same || other == same {
		t.Fatalf("lists %d, %d, %d", same, set(ps[1]), other)
	}
	// One that says something else leaves the rest to those that still say it.
	changed := *ps[0]
	changed.Builders = []string{"gcc"}
	if err := s.Apply(&changed); err != nil {
		t.Fatal(err)
	}
	if holds(set(&changed)) || !holds(same) {
		t.Errorf("its new lists %d have cc, or the old ones %d no more", set(&changed), same)
	}
	if err := s.Remove(ps[1].Cgroup); err != nil {
		t.Fatal(err)
	}
	if holds(same) || !holds(other) {
		t.Error("the last one left its lists behind, or took those of another")
	}
}

func TestMeansAreTheBestOfAll(t *testing.T) {
	a := &fake{means: []Means{{Guard: GuardDrift, Outcome: bollwerk.Killed, Means: "kill"}, {Guard: GuardExec, Outcome: bollwerk.Denied, Means: "lsm"}}}
	b := &fake{means: []Means{{Guard: GuardDrift, Outcome: bollwerk.Denied, Means: "lsm"}, {Guard: GuardExec, Outcome: bollwerk.Killed, Means: "kill"}}}
	s, err := Open(t.Context(), Options{NoBPF: true}, a, b)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	all := s.Means()
	if len(all) != len(Guards()) {
		t.Fatalf("%d guards of %d", len(all), len(Guards()))
	}
	for _, m := range all {
		switch {
		case m.Guard&(GuardDrift|GuardExec) != 0:
			if m.Outcome != bollwerk.Denied || m.Means != "lsm" {
				t.Errorf("%+v", m)
			}
		case m.Outcome != bollwerk.Seen || m.Cause == "":
			t.Errorf("%+v: nothing holds it, and nothing says so", m)
		}
	}
}

func TestGuardWords(t *testing.T) {
	for _, g := range Guards() {
		if got, ok := ParseGuard(g.String()); !ok || got != g {
			t.Errorf("%d %q", g, g)
		}
	}
	if s := (GuardDrift | GuardModule).String(); s != "drift,module" {
		t.Error(s)
	}
	if _, ok := ParseGuard("nothing"); ok {
		t.Error("a word that is none")
	}
	if guardByNumber(2) != "drift" || guardByNumber(0) != "" || guardByNumber(99) != "" {
		t.Error("numbers")
	}
}

func TestExecKey(t *testing.T) {
	key, err := execKey(7, "/usr/../bin//sh")
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, c := range key.Names[:8] {
		got = append(got, byte(c))
	}
	if key.Set != 7 || string(got) != "sh\x00bin\x00\x00" {
		t.Errorf("%d %q", key.Set, got)
	}
}
