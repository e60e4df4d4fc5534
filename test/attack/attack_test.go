package attack

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	detectors "github.com/bollwerk/bollwerk/detect/all"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

// attackCase is one attack: a script run by bash in a container of its own.
type attackCase struct {
	name   string
	script string
	opts   []option
	rules  []string // one of these must be told …
	also   []string // … and each of these, at whatever severity
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
	// tools are programs that not every machine has.
	tools []string
	// host: done outside of every container.
	host bool
	// still: it is no process that does it, but the container itself.
	still bool
	// slow: it takes so long that others are done beside it.
	slow bool
	// proof must not be in the output when the attack was denied or killed in time.
	proof string
}

// hold keeps the container alive for a moment after the attack, as a real one would be.
const hold = "; sleep 0.3"

// attackWait is how long a detection is waited for: a bound for what does not come, on machines of any speed.
const attackWait = time.Minute

// attackConfig lets what takes minutes and a day by default take seconds.
const attackConfig = "detectors: {miner: {busy: 5s}, raredomain: {learn: 2s}}\n"

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
	// An SSH server that lets nobody in, and a pool that speaks TLS.
	n.listen(attacker+":22", func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-OpenSSH_9.2\r\n"); _, _ = c.Read(make([]byte, 64)) })
	n.listen(attacker+":14433", func(c net.Conn) { _ = c.SetDeadline(time.Now().Add(2 * time.Minute)); _, _ = io.Copy(io.Discard, c) })
	cs := newContainers(t, n)
	config := filepath.Join(t.TempDir(), "agent.yaml")
	must(t, os.WriteFile(config, []byte(attackConfig), 0o600))
	a := startAgent(t, "--config", config)
	areas := a.areas(t)
	lsm := areas["deny exec"].Verdict == bollwerk.Pass
	only := os.Getenv("ATTACK")
	var turn sync.Mutex
	for _, tt := range attacks() {
		if !slices.ContainsFunc(strings.Split(only, ","), func(part string) bool { return strings.Contains(tt.name, part) }) {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			// One after the other, but for those that take long.
			t.Parallel()
			if !tt.slow {
				turn.Lock()
				defer turn.Unlock()
			}
			skipInVM(t, tt)
			needAll(t, tt.tools)
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
			var r attacked
			if tt.host {
				r = cs.onHost(t, a, tt)
			} else {
				r = cs.inContainer(t, a, tt)
			}
			var hit *bollwerk.Detection
			wanted := func() bool {
				for _, d := range r.told() {
					if slices.Contains(tt.rules, d.Rule) && d.Severity >= tt.least && fits(d.Outcome) {
						hit = d
						break
					}
				}
				told := func(rule string) bool {
					return slices.ContainsFunc(r.told(), func(d *bollwerk.Detection) bool { return d.Rule == rule })
				}
				return hit != nil && !slices.ContainsFunc(tt.also, func(rule string) bool { return !told(rule) })
			}
			if tt.slow {
				// What goes on until it is stopped need not go on when it was told.
				a.await(time.Minute, func() bool { return wanted() || r.over() })
			}
			ok := a.await(attackWait, wanted)
			a.mu.Lock()
			all := describe(r.told())
			a.mu.Unlock()
			if !ok {
				t.Fatalf("not told by any of %v at %s or above with outcome %q, and by each of %v; told:\n%soutput:\n%s", tt.rules, tt.least, want, tt.also, all, r.output())
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
				for _, d := range r.told() {
					if d.Rule == tt.once && d.ID != hit.ID && hit.Rule == tt.once {
						t.Errorf("one deed was told twice:\n%s", describe(r.told()))
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
			if hit.Message == "" || hit.Advice == "" || hit.Workload == nil || hit.Process == nil && !tt.still || len(hit.Attack) == 0 {
				t.Errorf("a detection nobody can act on: %+v", hit)
			}
			t.Logf("told:\n%s", all)
		})
	}
}

// attacked is what an attack is made on.
type attacked struct {
	// told are the detections about it; asked under the lock of the agent.
	told   func() []*bollwerk.Detection
	output func() string
	over   func() bool
}

// inContainer makes an attack in a container of its own. Of a slow one it does not wait for the end.
func (c *containers) inContainer(t *testing.T, a *agent, tt attackCase) attacked {
	t.Helper()
	r := c.start(tt.name, tt.script+hold, tt.opts...)
	defer func() {
		if t.Failed() { // it may never have come: its runtime says why
			t.Logf("%s said:\n%s", r.id, r.output())
		}
	}()
	a.awaitProtected(t, r.id)
	if tt.slow {
		r.begin(t)
		t.Cleanup(func() { _ = exec.Command(c.runc, "delete", "--force", r.id).Run() })
	} else {
		r.open(t)
	}
	return attacked{told: func() []*bollwerk.Detection { return a.of(r.id) }, output: r.output, over: func() bool {
		select {
		case <-r.done:
			return true
		default:
			return false
		}
	}}
}

// onHost makes an attack outside of every container, in the network of the tests. It is
// known by the folder that it is made in.
func (c *containers) onHost(t *testing.T, a *agent, tt attackCase) attacked {
	t.Helper()
	dir := t.TempDir()
	script, out := filepath.Join(dir, "main"), filepath.Join(dir, "out")
	must(t, os.WriteFile(script, []byte("cd "+dir+"\n"+tt.script+hold+"\n"), 0o600))
	must(t, c.launch(launchRequest{Args: []string{"nsenter", "--net=" + c.net.path, "bash", script}, Out: out}))
	return attacked{told: func() []*bollwerk.Detection { return a.at(dir) }, over: func() bool { return true }, output: func() string {
		b, _ := os.ReadFile(out)
		return string(b)
	}}
}

// neverAttacked are rules that no attack of the corpus is made for, and why.
var neverAttacked = map[string]string{}

// TestEveryRuleIsAttacked: each rule and detector that ships must be told by an attack of
// its own: one that is content with another rule's word shows nothing.
func TestEveryRuleIsAttacked(t *testing.T) {
	ps, err := policy.Load(policies.Files())
	must(t, err)
	shipped := map[string]bool{}
	for _, p := range ps {
		if p.Subject == policy.EventKind {
			shipped[p.ID] = true
		}
	}
	for _, d := range detectors.Detectors(detectors.Config{}) {
		shipped[d.Info().ID] = true
	}
	attacked := map[string]bool{}
	for _, a := range attacks() {
		if len(a.rules) == 1 {
			attacked[a.rules[0]] = true
		}
		for _, rule := range a.also {
			attacked[rule] = true
		}
		for _, rule := range append(a.rules, a.also...) {
			if !shipped[rule] {
				t.Errorf("%s: there is no rule %s", a.name, rule)
			}
		}
	}
	for rule := range shipped {
		if why := neverAttacked[rule]; attacked[rule] == (why != "") {
			t.Errorf("%s: attacked: %v; why not: %q", rule, attacked[rule], why)
		}
	}
	for rule := range neverAttacked {
		if !shipped[rule] {
			t.Errorf("there is no rule %s", rule)
		}
	}
}
