package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/recorder"
)

// past makes the log of an agent that saw three workloads an hour ago: in each a shell, in
// web a program that listens, and in db a file of secrets read twelve times.
func past(t *testing.T) (state string) {
	t.Helper()
	state = t.TempDir()
	r, err := recorder.Open(recorder.Config{Dir: filepath.Join(state, "recorder")})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(-time.Hour)
	tell := func(e *bollwerk.Event) {
		at = at.Add(time.Second)
		e.Time, e.Outcome = at, bollwerk.Seen
		r.Event(e)
	}
	for i, name := range []string{"web", "db", "batch"} {
		w := &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: strings.Repeat("0", 10+i), Name: name, Runtime: "docker"}}
		by := func(path string, args ...string) *bollwerk.Process {
			return &bollwerk.Process{PID: uint32(100 + i), Start: uint64(i), Name: filepath.Base(path), Path: path, Args: args, Contained: true}
		}
		tell(&bollwerk.Event{Kind: bollwerk.EventExec, Workload: w, Process: by("/bin/sh", "sh", "-c", "true")})
		switch name {
		case "web":
			tell(&bollwerk.Event{Kind: bollwerk.EventExec, Workload: w, Process: by("/usr/bin/nc", "nc", "-l", "4444")})
		case "db":
			for range 12 {
				tell(&bollwerk.Event{Kind: bollwerk.EventOpen, Workload: w, Process: by("/bin/cat", "cat", "/srv/secrets"), File: &bollwerk.FileEvent{Path: "/srv/secrets", Access: bollwerk.AccessRead}})
			}
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return state
}

const secretsRule = `id: secrets-read
title: The secrets were read
severity: high
subject: event
description: Somebody read the secrets.
match: event.kind == "open" && event.file.path == "/srv/secrets"
message: "{{ event.process.name }} read {{ event.file.path }}"
`

// TestRecallRules: rules that were written after it happened, of our own and of Falco's,
// find it in the record, with the workload and the count, and say what they did not find.
func TestRecallRules(t *testing.T) {
	state := past(t)
	dir := put(t, map[string]string{
		"mine/netcat/policy.yaml": ownPolicy, "mine/secrets/policy.yaml": secretsRule, "secrets.yaml": secretsRule, "falco.yaml": falcoFine + falcoNot,
		"quiet.yaml":           strings.ReplaceAll(secretsRule, "/srv/secrets", "/srv/other"),
		"half/policy.yaml":     strings.Replace(secretsRule, "event.file.path ==", "event.file.paht ==", 1),
		"broken.yaml":          strings.Replace(secretsRule, "severity: high", "severity: hihg", 1),
		"macro.yaml":           falcoHalf,
		"folder/a/policy.yaml": strings.Replace(secretsRule, "match:", "mtach:", 1),
	})
	type found struct{ rule, workload string }
	for _, tt := range []struct {
		line string
		code int
		want map[found]uint64 // with the last count
		says string           // on stderr
	}{
		{"--rules DIR/mine", exitFindings, map[found]uint64{{"my-rule", "web"}: 1, {"secrets-read", "db"}: 12}, ""},
		{"--rules DIR/secrets.yaml", exitFindings, map[found]uint64{{"secrets-read", "db"}: 12}, ""},
		{"--rules DIR/falco.yaml", exitFindings, map[found]uint64{{"falco-netcat-started", "web"}: 1}, "1 of 2 Falco rules are not supported"},
		{"--rules DIR/mine --rules DIR/falco.yaml --workload w*", exitFindings, map[found]uint64{{"my-rule", "web"}: 1, {"falco-netcat-started", "web"}: 1}, "1 of 2 Falco rules"},
		{"--rules DIR/mine --workload batch", exitFine, nil, "nothing detected: 2 rules were asked about 1 event"},
		{"--rules DIR/quiet.yaml --since 2h", exitFine, nil, "nothing detected: 1 rule was asked about 16 events"},
		{"--rules DIR/mine --since 5m", exitFine, nil, "nothing matches; the record reaches from"},
		{"--rules DIR/mine --workload nobody", exitFine, nil, "nothing matches; the record reaches from"},
		{"--rules DIR/mine --kind exec", exitFindings, map[found]uint64{{"my-rule", "web"}: 1}, ""},
		{"--rules DIR/broken.yaml", exitUsage, nil, "broken.yaml:3: "},
		{"--rules DIR/half", exitUsage, nil, "policy.yaml:6: "},
		{"--rules DIR/macro.yaml", exitUsage, nil, "macro.yaml:3: there is no macro spawned"},
		{"--rules DIR/folder", exitUsage, nil, "mtach"},
	} {
		args := append([]string{"recall", "--json", "--state", state}, strings.Fields(strings.ReplaceAll(tt.line, "DIR", dir))...)
		code, out, errs := command(t, args...)
		if code != tt.code || !strings.Contains(errs, tt.says) || tt.says == "" && errs != "" {
			t.Errorf("%s: exit code %d, want %d, with %q:\n%s%s", tt.line, code, tt.code, tt.says, out, errs)
		}
		got := map[found]uint64{}
		for line := range strings.Lines(out) {
			var d struct {
				Type string
				bollwerk.Detection
			}
			if err := json.Unmarshal([]byte(line), &d); err != nil || d.Type != "detection" || d.Outcome != bollwerk.Seen || !strings.Contains(d.How, "afterwards") || time.Since(d.Time) < 50*time.Minute {
				t.Errorf("%s: %v %s", tt.line, err, line)
			}
			got[found{d.Rule, d.Workload.String()}] = d.Count
		}
		if len(got) != len(tt.want) {
			t.Errorf("%s: %v, want %v", tt.line, got, tt.want)
		}
		for f, n := range tt.want {
			if got[f] != n {
				t.Errorf("%s: %v, want %v", tt.line, got, tt.want)
			}
		}
	}
	// For people: what, where, when.
	_, out, _ := command(t, "recall", "--state", state, "--rules", filepath.Join(dir, "secrets.yaml"))
	for _, want := range []string{"HIGH The secrets were read [secrets-read] seen", "where    db", "what     cat read /srv/secrets", "×12"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}
