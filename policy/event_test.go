package policy_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// judgeEvent says whether CEL's evaluator finds that the condition holds.
func judgeEvent(t testing.TB, condition string, subject any) policy.Decision {
	t.Helper()
	p := eventPolicy("t", condition)
	ds, err := engine(t, policy.Options{}).Evaluate(context.Background(), policy.EventKind, subject, []*policy.Policy{p})
	if err != nil {
		t.Fatal(err)
	}
	return ds[0]
}

func eventPolicy(id, condition string) *policy.Policy {
	return &policy.Policy{ID: id, Title: "T", Severity: bollwerk.SeverityHigh, Mode: policy.Warn, Subject: policy.EventKind, File: id,
		Match: policy.Expression{Text: condition, Line: 1}, Message: policy.Expression{Text: "M", Line: 1}, Report: policy.Once}
}

// Where an event belongs is the workload's to say; the runtime's own work in a
// container is not the container's.
func TestInContainer(t *testing.T) {
	in := m{"kind": "container", "container": m{"id": "1"}}
	for _, c := range []struct {
		name    string
		subject m
		want    bool
	}{
		{"a container", m{"workload": in, "process": m{"origin": "image", "cgroup": 7}}, true},
		{"no process", m{"workload": in}, true},
		{"not resolved, contained", m{"process": m{"contained": true}}, true},
		{"not resolved", m{"process": m{}}, false},
		{"a service with a mount namespace of its own", m{"workload": m{"kind": "unit", "unit": "x.service"}, "process": m{"contained": true}}, false},
		{"the host", m{"workload": m{"kind": "host"}, "process": m{"contained": true}}, false},
		{"runc's first process", m{"workload": in, "process": m{"name": "runc:[1:CHILD]", "origin": "host", "cgroup": 7, "parent": m{"origin": "host", "cgroup": 1}}}, false},
		{"runc's child", m{"workload": in, "process": m{"origin": "host", "cgroup": 7, "parent": m{"origin": "host", "cgroup": 7, "parent": m{"origin": "host", "cgroup": 1}}}}, false},
		{"a program of the host, started from inside", m{"workload": in, "process": m{"origin": "host", "cgroup": 7, "parent": m{"origin": "image", "cgroup": 7}}}, true},
		{"its child", m{"workload": in, "process": m{"origin": "host", "cgroup": 7, "parent": m{"origin": "host", "cgroup": 7, "parent": m{"origin": "image", "cgroup": 7}}}}, true},
	} {
		c.subject["kind"] = "exec"
		want := bollwerk.Pass
		if c.want {
			want = bollwerk.Fail
		}
		if d := judgeEvent(t, "event.in_container", c.subject); d.Verdict != want {
			t.Errorf("%s: %s %s", c.name, d.Verdict, d.Cause)
		}
	}
}

// A program is trusted by a name that its file bears out, not by one it took.
func TestProgramName(t *testing.T) {
	for _, c := range []struct {
		name    string
		process m
		want    string
	}{
		{"its own name", m{"name": "sshd", "path": "/usr/sbin/sshd"}, "sshd"},
		{"cut by the kernel", m{"name": "systemd-sysuser", "path": "/usr/bin/systemd-sysusers"}, "systemd-sysuser"},
		{"a version", m{"name": "python3", "path": "/usr/bin/python3.11"}, "python3"},
		{"no path", m{"name": "kworker/0:1"}, "kworker/0:1"},
		{"one file of many programs", m{"name": "systemd-udevd", "path": "/usr/bin/udevadm"}, "systemd-udevd"},
		{"an applet", m{"name": "passwd", "path": "/bin/busybox", "args": []any{"passwd"}}, "passwd"},
		{"an applet under another name", m{"name": "sshd", "path": "/bin/busybox", "args": []any{"cat", "/etc/shadow"}}, "busybox"},
		{"a link to a tool", m{"name": "sshd", "path": "/usr/bin/cat", "args": []any{"/home/sshd", "/usr/sbin/sshd", "/etc/shadow"}}, "cat"},
		{"an alternative", m{"name": "pager", "path": "/usr/bin/vim.basic"}, "vim.basic"},
		{"a script", m{"name": "unattended-upgr", "path": "/usr/bin/python3.11", "script": "/usr/bin/unattended-upgrade"}, "unattended-upgr"},
		{"a script with options", m{"name": "adduser", "path": "/usr/bin/perl", "args": []any{"/usr/bin/perl", "-w", "/usr/sbin/adduser", "x"}}, "adduser"},
		{"a script of an environment", m{"name": "ansible-playboo", "path": "/usr/bin/python3.11", "script": "/home/ci/venv/bin/ansible-playbook"}, "ansible-playboo"},
		{"a script that anybody may write", m{"name": "dpkg", "path": "/usr/bin/dash", "script": "/tmp/bin/dpkg"}, "dash"},
		{"a script in a home", m{"name": "dpkg", "path": "/usr/bin/bash", "script": "/root/dpkg"}, "bash"},
		{"a name of one's own choice", m{"name": "cron", "path": "/usr/bin/perl", "args": []any{"perl", "-e", "$0='cron'"}}, "perl"},
		{"a long name", m{"name": "dpkg", "path": "/lib64/ld-linux-x86-64.so.2"}, "ld-linux-x86-64"},
	} {
		subject := m{"kind": "exec", "process": c.process}
		if d := judgeEvent(t, fmt.Sprintf("event.process.program == %q", c.want), subject); d.Verdict != bollwerk.Fail {
			t.Errorf("%s: not %s: %s", c.name, c.want, d.Cause)
		}
	}
}

func TestEventFields(t *testing.T) {
	shell := m{"kind": "exec", "process": m{"pid": 7, "name": "sh", "path": "/bin/sh", "args": []any{"sh", "-c", "id; x"}, "uid": 33, "capabilities": []any{"CAP_SYS_ADMIN"},
		"stdio":  []any{m{"fd": 0, "kind": "socket", "protocol": "tcp", "remote": "[::ffff:203.0.113.9]:4444"}},
		"parent": m{"pid": 6, "name": "nginx", "path": "/usr/sbin/nginx", "start": 5, "parent": m{"pid": 1, "name": "init"}}},
		"workload": m{"kind": "container", "container": m{"id": "0123456789abcdef", "image": "docker.io/library/nginx:1.27", "labels": m{"app": "web"}}}}
	file := m{"kind": "rename", "file": m{"path": "/tmp/x", "target": "/etc/ld.so.preload", "mode": "104755"}}
	for condition, subject := range map[string]m{
		`event.kind == "exec" && event.process.name == "sh" && event.process.exe_dir == "/bin"`:                                shell,
		`event.process.command == "sh -c id; x" && event.process.arguments == "-c id; x" && "-c" in event.process.args`:        shell,
		`event.process.parent.name == "nginx" && event.process.parent.parent.name == "init"`:                                   shell,
		`event.process.parent.parent.parent.name == "" && event.process.parent.parent.parent.uid == -1`:                        shell,
		`event.process.ancestors.exists(a, a.name == "init") && size(event.process.ancestors) == 2`:                            shell,
		`event.process.uid == 33 && event.process.stdio_socket && event.process.stdio_remote == "203.0.113.9"`:                 shell,
		`event.process.stdio_remote.inNetwork(["203.0.113.0/24"]) && !event.process.stdio_remote.inNetwork(["10.0.0.0/8"])`:    shell,
		`"CAP_SYS_ADMIN" in event.process.capabilities && !("CAP_BPF" in event.process.capabilities)`:                          shell,
		`event.in_container && event.container.repository == "docker.io/library/nginx" && event.container.tag == "1.27"`:       shell,
		`event.container.labels.app == "web" && event.container.labels["none"] == "" && !("none" in event.container.labels)`:   shell,
		`event.workload == "0123456789ab (docker.io/library/nginx:1.27)"`:                                                      shell,
		`has(event.process) && !has(event.file) && !has(event.file.path) && has(event.container.labels.app)`:                   shell,
		`event.file.path == "" && !event.file.write && event.dns.ttl == 0 && size(event.dns.addresses) == 0`:                   shell,
		`event.file.written == "/etc/ld.so.preload" && event.file.name == "x" && event.file.setuid && event.file.executable`:   file,
		`event.file.target.under(["/etc"]) && !event.file.target.under(["/et", "/etc/ld"])`:                                    file,
		`event.process.name == "" && event.process.uid == -1 && !event.in_container && event.workload == "host"`:               file,
		`event.kind.icontains("NAM") && event.file.path.startsWithAny(["/x", "/tmp/"]) && event.file.path.containsAny(["mp"])`: file,
		`event.time.getFullYear() == 1`: {"kind": "exit"},
	} {
		if d := judgeEvent(t, condition, subject); d.Verdict != bollwerk.Fail {
			t.Errorf("%s: %s %s", condition, d.Verdict, d.Cause)
		}
	}
	for want, subject := range map[string]m{
		`event: there is no key "proces"; did you mean "process"?`:          {"proces": m{}},
		`event: access: the text "raed" is not known; did you mean "read"?`: {"file": m{"access": []any{"raed"}}},
		`event: event kind "exe": not one of exec, open, connect, dns, …`:   {"kind": "exe"},
	} {
		if d := judgeEvent(t, `event.kind == "x"`, subject); d.Verdict != bollwerk.NotEvaluated || d.Cause != want {
			t.Errorf("%s %q, want %q", d.Verdict, d.Cause, want)
		}
	}
	if d := judgeEvent(t, `event.proces.name == "x"`, file); d.Cause != `t:1: match: column 6: Event has no field "proces"; did you mean "process"?` {
		t.Error(d.Cause)
	}
	if d := judgeEvent(t, `event.kind == "exec"`, &bollwerk.Event{Kind: bollwerk.EventExec}); d.Verdict != bollwerk.Fail {
		t.Error(d)
	}
}
