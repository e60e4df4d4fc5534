package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// command runs one command line in a world of its own.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &env{stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, version: "test"}
	code = run(t.Context(), e, args)
	return code, out.String(), errs.String()
}

// put writes files into a new folder and returns it.
func put(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	falcoFine = `# rules
- macro: spawned
  condition: evt.type in (execve, execveat)
- rule: Netcat started
  desc: d
  condition: spawned and proc.name in (nc, ncat)
  output: "%proc.name was started"
  priority: WARNING
  tags: [T1095]
`
	falcoHalf = "- rule: Group leader\n  desc: d\n  condition: spawned and (proc.name = x or proc.is_vpgid_leader = true)\n  output: o\n  priority: INFO\n"
	falcoNot  = "- rule: \"Copied\\x1b[31m descriptor\"\n  desc: d\n  condition: evt.type = dup\n  output: o\n  priority: INFO\n"
	ownPolicy = `id: my-rule
title: A program was started
severity: low
subject: event
description: A program.
match: event.kind == "exec" && event.process.name == "nc"
message: "{{ event.process.name }}"
`
	ownTests = `tests:
  - name: found
    subject: {kind: exec, process: {pid: 1, start: 1, name: nc, uid: 0}}
    want: fail
  - name: quiet
    subject: {kind: exec, process: {pid: 1, start: 1, name: ls, uid: 0}}
    want: pass
`
)

func TestRulesCheck(t *testing.T) {
	dir := put(t, map[string]string{"a.yaml": falcoFine, "b.yaml": falcoHalf, "c.yaml": falcoNot, "bad.yaml": "- rule: R\n", "p/policy.yaml": ownPolicy,
		"broken.yaml": "id: x\nsubjet: event\n", "none/my-rule.yaml": ownPolicy,
		"q/policy.yaml": strings.Replace(ownPolicy, `event.process.name == "nc"`, `event.process.args[0] == "nc"`, 1)})
	at := func(names ...string) []string {
		out := []string{"rules", "check"}
		for _, n := range names {
			out = append(out, filepath.Join(dir, n))
		}
		return out
	}
	for _, c := range []struct {
		args []string
		code int
		says string // on either stream
	}{
		{at("a.yaml"), exitFine, "exact   Netcat started [exec]"},
		{at("a.yaml", "b.yaml"), exitFine, "1 exact, 1 partly, 0 not"},
		{at("a.yaml", "b.yaml"), exitFine, "proc.is_vpgid_leader = true: process groups are not told, so it reports less"},
		{at("c.yaml"), exitFindings, "dup: the agent has no events of this call"},
		{at("c.yaml", "a.yaml", "p"), exitFindings, "2 exact, 0 partly, 1 not"},
		{at("b.yaml"), exitUsage, "b.yaml:3: there is no macro spawned"},
		{at("bad.yaml"), exitUsage, "condition is missing"},
		{at("nowhere.yaml"), exitUsage, "no such file"},
		{at("p/policy.yaml"), exitFine, "exact   A program was started [exec]"},
		{at("p"), exitFine, "1 exact"},
		{at("q"), exitFindings, "a place in a list is not compiled for events"},
		{at(), exitUsage, "needs a file or folder"},
		{at("broken.yaml"), exitUsage, "subjet"},
		{at("none"), exitUsage, "there are no rules in"},
		{[]string{"rules", "list", "--rules", filepath.Join(dir, "none")}, exitUsage, "there are no policies in it"},
		{[]string{"recall", "--since", "5m", "--until", "10m"}, exitUsage, "--since is not before --until"},
		{[]string{"recall", "--rules", filepath.Join(dir, "broken.yaml")}, exitUsage, "subjet"},
	} {
		code, out, errs := command(t, c.args...)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%q: exit code %d, want %d with %q:\n%s%s", c.args[2:], code, c.code, c.says, out, errs)
		}
		if strings.Contains(out+errs, "\x1b") {
			t.Errorf("%q: a rule's name reached the terminal as it was written", c.args[2:])
		}
	}
	code, out, _ := command(t, append(at("a.yaml", "b.yaml", "c.yaml"), "--json")...)
	var report struct {
		Exact, Partly, Not int
		Rules              []struct {
			Rule, ID, Verdict string
			Line              int
			Reasons, Kinds    []string
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if code != exitFindings || report.Exact != 1 || report.Partly != 1 || report.Not != 1 || report.Rules[0].ID != "falco-netcat-started" || report.Rules[0].Line != 4 ||
		len(report.Rules[2].Reasons) != 1 || report.Rules[0].Kinds[0] != "exec" {
		t.Errorf("exit code %d: %s", code, out)
	}
}

func TestRulesList(t *testing.T) {
	dir := put(t, map[string]string{"a.yaml": falcoFine, "c.yaml": falcoNot, "p/policy.yaml": ownPolicy, "agent.yaml": ""})
	base := []string{"--config", filepath.Join(dir, "agent.yaml"), "rules", "list", "--falco", filepath.Join(dir, "a.yaml"), "--falco", filepath.Join(dir, "c.yaml"), "--rules", filepath.Join(dir, "p")}
	code, out, errs := command(t, base...)
	if code != exitFine || !strings.Contains(errs, "1 of 2 Falco rules are not supported and are not asked; see `bollwerk-agent rules check") {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	for _, want := range []string{"fileless-execution", "reverse-shell", "my-rule", "falco-netcat-started"} {
		if !strings.Contains(out, "\n"+want+" ") {
			t.Errorf("%s is not listed:\n%s", want, out)
		}
	}
	_, out, _ = command(t, append(base, "--json")...)
	var rows []ruleRow
	if err := json.Unmarshal([]byte(out), &rows); err != nil {
		t.Fatal(err)
	}
	origins := map[string]int{}
	for _, r := range rows {
		origins[r.Origin]++
		if len(r.Kinds) == 0 || r.Mode == "" || r.Severity == "" {
			t.Errorf("%+v says too little", r)
		}
		if r.ID == "falco-netcat-started" && (r.Severity != "medium" || r.Attack[0] != "T1095" || r.Kinds[0] != "exec") {
			t.Errorf("%+v", r)
		}
	}
	if origins["policy"] < 40 || origins["detector"] < 10 || origins["falco"] != 1 {
		t.Errorf("%v", origins)
	}
}

func TestRulesTest(t *testing.T) {
	fine := put(t, map[string]string{"p/policy.yaml": ownPolicy, "p/tests.yaml": ownTests})
	wrong := put(t, map[string]string{"p/policy.yaml": ownPolicy, "p/tests.yaml": strings.Replace(ownTests, "want: pass", "want: fail", 1)})
	none := put(t, map[string]string{"p/policy.yaml": ownPolicy})
	for _, c := range []struct {
		dir  string
		code int
		says string
	}{
		{fine, exitFine, "2 tests, 0 failed"},
		{wrong, exitFindings, "p/tests.yaml:5: quiet: want fail, got pass"},
		{none, exitFindings, "0 tests"},
		{filepath.Join(fine, "nowhere"), exitUsage, "no such file"},
	} {
		code, out, errs := command(t, "rules", "test", c.dir)
		if code != c.code || !strings.Contains(out+errs, c.says) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s%s", c.dir, code, c.code, c.says, out, errs)
		}
	}
}

func TestHostUsers(t *testing.T) {
	dir := put(t, map[string]string{"passwd": "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbroken\nx:y:zz:1\n:x:5:5:\n"})
	got := hostUsers(filepath.Join(dir, "passwd"))
	if len(got) != 2 || got["ann"] != 1000 {
		t.Errorf("%v", got)
	}
	if hostUsers(filepath.Join(dir, "nowhere")) != nil {
		t.Error("users without a file")
	}
}
