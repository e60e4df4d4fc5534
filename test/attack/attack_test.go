package attack

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

// attackCase is one attack: a script run by bash in a container of its own.
type attackCase struct {
	name   string
	script string
	opts   []option
	rules  []string // one of these must be told …
	least  bollwerk.Severity
	// … with this outcome here ("": any), and this where BPF LSM works.
	outcome, lsm bollwerk.Outcome
	// first: where BPF LSM works it may also be denied, as agent and kernel both look for it.
	first bool
	// noShell: no command of the attacker's may be answered.
	noShell bool
	// hidden says why a kernel without BPF LSM cannot see it; the agent's doctor must say
	// so too, by the word of this area.
	hidden string
	// needs is a file of the kernel's without which there is nothing to attack.
	needs string
	// by is the name of the program that must be told to have done it, "" any.
	by string
	// once is a rule that may be told once only, as the attack is one deed.
	once string
	// proof must not be in the output when the attack was denied or killed in time.
	proof string
}

// hold keeps the container alive for a moment after the attack, as a real one would be.
const hold = "; sleep 0.3"

// attackWait is how long a detection is waited for: a bound for what does not come, on machines of any speed.
const attackWait = time.Minute

func TestAttacks(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	n := newNetwork(t)
	shells := make(chan string, 64)
	n.listen(attacker+":4444", func(c net.Conn) {
		fmt.Fprint(c, "echo pwned-$((40+2))\nsleep 0.2\nexit\n")
		sc := bufio.NewScanner(c)
		for sc.Scan() {
			if strings.Contains(sc.Text(), "pwned-42") {
				select {
				case shells <- sc.Text():
				default:
				}
			}
		}
	})
	n.listen(attacker+":3333", func(c net.Conn) { _, _ = bufio.NewReader(c).ReadString('\n') })
	for _, addr := range []string{attacker + ":80", apiAddr + ":443", metadata + ":80"} {
		n.listen(addr, func(c net.Conn) { fmt.Fprint(c, "HTTP/1.0 200 OK\r\n\r\n#!/bin/sh\necho dropped\n") })
	}
	cs := newContainers(t, n)
	a := startAgent(t)
	areas := a.areas(t)
	lsm := areas["deny exec"].Verdict == bollwerk.Pass
	only := os.Getenv("ATTACK")
	for _, tt := range attacks() {
		if !slices.ContainsFunc(strings.Split(only, ","), func(part string) bool { return strings.Contains(tt.name, part) }) {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			skipInVM(t, tt.script)
			if _, err := os.Stat(tt.needs); tt.needs != "" && err != nil {
				t.Skipf("this kernel has no %s", tt.needs)
			}
			want := tt.outcome
			if lsm && tt.lsm != "" {
				want = tt.lsm
			}
			if tt.hidden != "" && !lsm && areas[tt.hidden].Verdict == bollwerk.Pass {
				t.Fatalf("the doctor says that %s is seen in full", tt.hidden)
			} else if tt.hidden != "" && !lsm {
				t.Skipf("%s: %s: %s", tt.hidden, areas[tt.hidden].Verdict, areas[tt.hidden].Cause)
			}
			fits := func(o bollwerk.Outcome) bool {
				return want == "" || o == want || tt.first && lsm && o == bollwerk.Denied
			}
			for len(shells) > 0 { // of others
				<-shells
			}
			r := cs.start(tt.name, tt.script+hold, tt.opts...)
			a.awaitProtected(t, r.id)
			r.open(t)
			var hit *bollwerk.Detection
			ok := a.await(attackWait, func() bool {
				for _, d := range a.of(r.id) {
					if slices.Contains(tt.rules, d.Rule) && d.Severity >= tt.least && fits(d.Outcome) {
						hit = d
						return true
					}
				}
				return false
			})
			a.mu.Lock()
			all := describe(a.of(r.id))
			a.mu.Unlock()
			if !ok {
				t.Fatalf("not told by any of %v at %s or above with outcome %q; told:\n%soutput:\n%s", tt.rules, tt.least, want, all, r.output())
			}
			if tt.proof != "" && strings.Contains("\n"+r.output(), "\n"+tt.proof+"\n") {
				t.Errorf("said to be %s, but it happened:\n%s", hit.Outcome, r.output())
			}
			if tt.noShell && len(shells) > 0 {
				t.Errorf("said to be %s, but the shell answered: %s", hit.Outcome, <-shells)
			}
			if tt.once != "" {
				fence(t, cs, a)
				a.mu.Lock()
				for _, d := range a.of(r.id) {
					if d.Rule == tt.once && d.ID != hit.ID && hit.Rule == tt.once {
						t.Errorf("one deed was told twice:\n%s", describe(a.of(r.id)))
					}
				}
				a.mu.Unlock()
			}
			if tt.by != "" && (hit.Process == nil || hit.Process.Name != tt.by) {
				t.Errorf("said of another than %s: %s", tt.by, hit.Message)
			}
			if hit.Outcome == bollwerk.Denied && strings.Contains(hit.Message, " wrote ") {
				t.Errorf("what was denied was not done: %s", hit.Message)
			}
			if hit.Message == "" || hit.Advice == "" || hit.Workload == nil || hit.Process == nil || len(hit.Attack) == 0 {
				t.Errorf("a detection nobody can act on: %+v", hit)
			}
			t.Logf("told:\n%s", all)
		})
	}
}
