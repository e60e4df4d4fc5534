package profile

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// random profiles are dense around the limits: few folders with many files, few
// networks with many hosts, names of few domains; writers and edits overlap.
func random(rng *rand.Rand, writer string) *Profile {
	p := New("pod shop/Deployment/web/app@"+digestA, writer)
	var s scratch
	base := uint32(epoch.Unix())
	for range 20 + rng.IntN(150) {
		k := key{cat: Category(1 + rng.IntN(int(categories)-1))}
		switch k.cat {
		case Write:
			k.value = fmt.Sprintf("/d%c/s%c/f%c", 'a'+rng.IntN(2), 'a'+rng.IntN(19), 'a'+rng.IntN(19))
			if rng.IntN(20) == 0 {
				k.value = "/etc/" + k.value[1:]
			}
		case Name:
			k.value = fmt.Sprintf("%c%c.%c.example.com", 'a'+rng.IntN(2), 'a'+rng.IntN(19), 'a'+rng.IntN(2))
		case Destination:
			k.proto, k.n = protoTCP, uint32(443+rng.IntN(2))
			k.value = fmt.Sprintf("%d.%d.%d.%d", 10+rng.IntN(18), rng.IntN(2), rng.IntN(10), rng.IntN(10))
			if rng.IntN(4) == 0 {
				k.value = fmt.Sprintf("2001:db8:%x::%x", rng.IntN(10), 1+rng.IntN(10))
			}
		case Client:
			k.proto, k.n, k.value = protoTCP, 80, fmt.Sprintf("10.1.%d.%d", rng.IntN(10), rng.IntN(10))
		case Start:
			k.value = fmt.Sprintf("/bin/p%d\x00/bin/c%d", rng.IntN(5), rng.IntN(5))
		case Port, User:
			k.n = uint32(rng.IntN(20))
		case Behaviour:
			k.value = behaviours[rng.IntN(len(behaviours))]
		default:
			k.value = fmt.Sprintf("v%d", rng.IntN(30))
		}
		if rng.IntN(15) == 0 {
			p.setEdit(k, laterEdit(p.edits[k], &Edit{At: epoch.Add(time.Duration(rng.IntN(3)) * time.Second), By: fmt.Sprint("p", rng.IntN(2)), Reason: "r", Remove: rng.IntN(2) == 0}))
			continue
		}
		m := p.find(k, &s)
		if m == nil {
			m = p.add(k, &mark{meta: uint8(1 << rng.IntN(3))}, &s)
		}
		at := base + uint32(rng.IntN(100000))
		m.touch(&sight{at: at, epoch: at / p.window, replica: rng.Uint32() | 1, slot: uint8(rng.IntN(16)), starting: rng.IntN(4) == 0, count: uint64(1 + rng.IntN(9))})
		if k.cat == Executable {
			m.origins |= 1 << rng.IntN(len(origins))
		}
		p.addReplica(rng.Uint32() | 1)
	}
	p.own.events, p.own.units, p.own.starts, p.own.lost = uint64(rng.IntN(1000)), uint32(rng.IntN(100)), uint32(rng.IntN(5)), uint64(rng.IntN(3))
	p.first, p.last = base, base+uint32(rng.IntN(100000))
	p.saturated[1+rng.IntN(int(categories)-1)] = rng.IntN(4) == 0
	return p
}

func text(t *testing.T, p *Profile) string {
	t.Helper()
	var b bytes.Buffer
	if _, err := p.Document().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func join(t *testing.T, a, b *Profile) *Profile {
	t.Helper()
	p, err := Merge(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func firstDifference(a, b string) string {
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(la), len(lb)) {
		if la[i] != lb[i] {
			return fmt.Sprintf("line %d:\n%s\n%s", i, la[i], lb[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(la), len(lb))
}

func TestMergingIsAJoin(t *testing.T) {
	t.Parallel()
	rounds := 120
	if testing.Short() {
		rounds = 30
	}
	collapsed := 0
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 1))
		writers := []string{"n1", "n2", "n3"}
		a, b, c := random(rng, writers[rng.IntN(3)]), random(rng, writers[rng.IntN(3)]), random(rng, writers[rng.IntN(3)])
		ab, ba := text(t, join(t, a, b)), text(t, join(t, b, a))
		if ab != ba {
			t.Fatalf("seed %d: not commutative: %s", seed, firstDifference(ab, ba))
		}
		left, right := text(t, join(t, join(t, a, b), c)), text(t, join(t, a, join(t, b, c)))
		if left != right {
			t.Fatalf("seed %d: not associative: %s", seed, firstDifference(left, right))
		}
		if again := text(t, join(t, join(t, a, b), b)); again != ab {
			t.Fatalf("seed %d: merging twice is not merging once: %s", seed, firstDifference(again, ab))
		}
		if self := text(t, join(t, a, a)); self != text(t, a) {
			t.Fatalf("seed %d: merging with itself changes it: %s", seed, firstDifference(self, text(t, a)))
		}
		// What either knew is known.
		var s scratch
		abc := join(t, join(t, a, b), c)
		for _, p := range []*Profile{a, b, c} {
			for k := range p.entries {
				if abc.find(k, &s) == nil {
					t.Fatalf("seed %d: %s was lost", seed, describe(k))
				}
			}
		}
		for _, n := range abc.wide {
			collapsed += int(n)
		}
		// Stored and read it is the same, and counts on.
		back := must(abc.Document().Profile("n1"))
		if x, y := text(t, back), text(t, abc); x != y {
			t.Fatalf("seed %d: written and read differs: %s", seed, firstDifference(x, y))
		}
		checkBooks(t, abc)
	}
	if collapsed == 0 {
		t.Error("no tree was ever made general: the test does not test what it should")
	}
}

// checkBooks: the running counts equal what is there.
func checkBooks(t *testing.T, p *Profile) {
	t.Helper()
	var size, wide [categories]uint16
	bytes := 0
	for k, m := range p.entries {
		size[k.cat]++
		bytes += entryBytes(k, m)
		if wild(k.cat, k.value) {
			wide[k.cat]++
		}
	}
	if size != p.size || wide != p.wide || bytes != p.bytes {
		t.Fatalf("sizes %v %v %d, kept as %v %v %d", size, wide, bytes, p.size, p.wide, p.bytes)
	}
}

func TestMergeRefusesWhatDoesNotBelongTogether(t *testing.T) {
	if _, err := Merge(New("a", "n"), New("b", "n")); err == nil {
		t.Error("two workloads merged")
	}
	if _, err := Merge(newProfile("a", 1, 600), newProfile("a", 1, 60)); err == nil {
		t.Error("two windows merged")
	}
}

// More nodes than a profile keeps apart: any order keeps the same ones.
func TestManyWriters(t *testing.T) {
	var ps []*Profile
	for i := range 40 {
		p := New("w", fmt.Sprint("node", i))
		var s scratch
		m := p.add(key{cat: Executable, value: "/bin/x"}, &mark{}, &s)
		m.touch(&sight{at: uint32(epoch.Unix()), epoch: 1, replica: uint32(i + 1), count: uint64(i + 1)})
		p.own.events = uint64(i + 1)
		ps = append(ps, p)
	}
	fold := func(ps []*Profile) string {
		p := New("w", "hub")
		for _, q := range ps {
			p = join(t, p, q)
		}
		return text(t, p)
	}
	want := fold(ps)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		rng.Shuffle(len(ps), func(i, j int) { ps[i], ps[j] = ps[j], ps[i] })
		if got := fold(ps); got != want {
			t.Fatal(firstDifference(got, want))
		}
	}
	if n := strings.Count(want, `"events"`); n != 2*maxWriters {
		t.Errorf("%d counts kept, want %d", n, 2*maxWriters)
	}
}

func TestTrimmingIsBounded(t *testing.T) {
	p, s := New("w", "n"), scratch{}
	for i := range caps[Executable] + 50 {
		p.add(key{cat: Executable, value: fmt.Sprintf("/bin/%d", i)}, &mark{}, &s)
	}
	p.trim()
	if int(p.size[Executable]) != caps[Executable] || !slices.Equal(p.Saturated(), []Category{Executable}) {
		t.Errorf("%d entries, saturated %v", p.size[Executable], p.Saturated())
	}
	checkBooks(t, p)
}
