package version

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// oraclePairs mixes real neighbours with strings put together from what the
// grammar treats specially, so that both common and odd shapes are asked.
func oraclePairs(t *testing.T, corpora, tokens []string, n int) []comparison {
	rng := rand.New(rand.NewPCG(11, 13))
	word := func(most int) string {
		var b strings.Builder
		for range 1 + rng.IntN(most) {
			b.WriteString(tokens[rng.IntN(len(tokens))])
		}
		return b.String()
	}
	known := pairsOf(t, corpora)
	var list []comparison
	for len(list) < n {
		switch len(list) % 3 {
		case 0:
			list = append(list, known[rng.IntN(len(known))])
		case 1:
			list = append(list, comparison{a: "1" + word(6), b: "1" + word(6)})
		default:
			p := "1" + word(4)
			list = append(list, comparison{a: p + word(3), b: p + word(3)})
		}
	}
	return list
}

// need skips a test whose tool is missing; in CI it fails.
func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		prerequisite.Missing(t, "%s is not installed: run `make deps`", tool)
	}
}

// TestDpkgAgainstDpkg asks the real dpkg, where there is one.
func TestDpkgAgainstDpkg(t *testing.T) {
	need(t, "dpkg")
	list := oraclePairs(t, []string{"debian-versions", "debian-versions-generated"},
		[]string{"1", "2", "0", "10", "00", ".", "-", "~", "a", "b", "A", "rc", "+", ":", "deb12u1"}, 300)
	var in strings.Builder
	for _, c := range list {
		fmt.Fprintln(&in, c.a, c.b)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// dpkg exits with 0 for true, 1 for false and 2 for a bad version; one call
	// per relation, no more processes at a time than one.
	cmd := exec.CommandContext(ctx, "sh", "-c", `while read -r a b; do
		dpkg --compare-versions "$a" lt "$b" 2>/dev/null; lt=$?
		dpkg --compare-versions "$a" eq "$b" 2>/dev/null; eq=$?
		echo $lt $eq
	done`)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(list) {
		t.Fatalf("%d answers to %d questions", len(lines), len(list))
	}
	refused := 0
	for i, c := range list {
		got, err := Dpkg().Compare(c.a, c.b)
		want, ok := map[string]int{"0 1": -1, "1 0": 0, "1 1": 1}[lines[i]]
		if !ok {
			refused++
		}
		if ok != (err == nil) || got != want {
			t.Errorf("%q against %q: %d, %v; dpkg says %q", c.a, c.b, got, err, lines[i])
		}
	}
	if refused == 0 || refused > len(list)/2 {
		t.Errorf("dpkg refused %d of %d: the sample does not cover both", refused, len(list))
	}
}

// TestRPMAgainstRPM asks the real rpm, where there is one: rpm.vercmp() of its
// Lua, which compares whole [epoch:]version[-release] strings since rpm 4.16.
func TestRPMAgainstRPM(t *testing.T) {
	need(t, "rpm")
	list := oraclePairs(t, []string{"redhat-versions", "debian-versions-generated"},
		[]string{"1", "2", "0", "10", "00", ".", "-", "~", "^", "a", "b", "A", "rc", "+", "_", ":", "el8"}, 2400)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "rpm", "--eval", `%{lua: print(rpm.vercmp("1:1-1", "2-1"))}`).Output(); err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Skipf("this rpm does not compare epochs: %q, %v", out, err)
	}
	// One process for 300 pairs keeps the argument short.
	for len(list) > 0 {
		part := list[:min(300, len(list))]
		list = list[len(part):]
		var lua strings.Builder
		lua.WriteString("%{lua:")
		for _, c := range part {
			fmt.Fprintf(&lua, " print(rpm.vercmp(%q, %q), '\\n')", c.a, c.b)
		}
		lua.WriteString("}")
		out, err := exec.CommandContext(ctx, "rpm", "--eval", lua.String()).Output()
		if err != nil {
			t.Fatal(err)
		}
		answers := strings.Fields(string(out))
		if len(answers) != len(part) {
			t.Fatalf("%d answers to %d questions: %.200s", len(answers), len(part), out)
		}
		for i, c := range part {
			if got := must(t, RPM(), c.a, c.b); fmt.Sprint(got) != answers[i] {
				t.Errorf("%q against %q: %d, rpm says %s", c.a, c.b, got, answers[i])
			}
		}
	}
}
