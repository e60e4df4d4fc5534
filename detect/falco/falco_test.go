package falco

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

func load(t *testing.T, files ...string) *Set {
	t.Helper()
	var fs []File
	for i, f := range files {
		fs = append(fs, File{fmt.Sprintf("%d.yaml", i), []byte(f)})
	}
	s, err := Load(fs, options())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// matched lists the rules of a set that an event matches.
func matched(t *testing.T, s *Set, text string) string {
	t.Helper()
	m, problems := policy.NewMatcher(s.Policies(), policy.MatcherOptions{})
	for _, p := range problems {
		t.Fatal(p)
	}
	var names []string
	for _, p := range m.Match(&policy.Scratch{}, event(t, text)) {
		names = append(names, p.Title)
	}
	return strings.Join(names, ", ")
}

const shellRules = `
- required_engine_version: 0.57.0
- required_plugin_versions:
  - {name: container, version: 0.4.0}
- list: shells
  items: [bash, sh, '"my shell"']
- list: programs
  items: [shells, python3]
- macro: spawned
  condition: (evt.type in (execve, execveat))
- macro: never
  condition: (evt.num=0)
- macro: allowed
  condition: (never)
- rule: Shell in container
  desc: A shell
  condition: >
    spawned
    and container.id != host and proc.name in (programs)
    and not allowed
  output: "Shell %proc.name (parent=%proc.pname user=%user.name pid=%proc.pid ok=100% none=%proc.vpgid file=%fd.name cont=%container.id img=%container.image.repository)"
  priority: ERROR
  tags: [maturity_stable, container, mitre_execution, T1059.004, T12]
`

func TestRule(t *testing.T) {
	s := load(t, shellRules)
	r := s.Rules[0]
	if r.Verdict != Exact || r.ID != "falco-shell-in-container" || !slices.Equal(r.Kinds, []bollwerk.EventKind{bollwerk.EventExec}) || r.Line != 15 {
		t.Errorf("%+v", r)
	}
	p := r.Policy
	if p.Severity != bollwerk.SeverityHigh || p.Mode != policy.Warn || !slices.Equal(p.Attack(), []string{"T1059.004"}) {
		t.Errorf("%+v", p)
	}
	m, problems := policy.NewMatcher(s.Policies(), policy.MatcherOptions{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	e, sc := event(t, shellEvent), &policy.Scratch{}
	if got := m.Match(sc, e); len(got) != 1 {
		t.Fatalf("matches %d rules", len(got))
	}
	message, _ := m.Texts(sc, e, p)
	if want := "Shell bash (parent=nginx user=root pid=40 ok=100% none=<NA> file=<NA> cont=0123456789abcdef img=docker.io/library/nginx)"; message != want {
		t.Errorf("message %q, want %q", message, want)
	}
	if got := matched(t, s, hostEvent); got != "" {
		t.Errorf("the host's ls matches %s", got)
	}
}

// TestOverrides lays a second file over the first.
func TestOverrides(t *testing.T) {
	for _, c := range []struct {
		name, over string
		want       string // rules that match the shell
		also       string // that match the host's ls
	}{
		{"nothing", "", "Shell in container", ""},
		{"list appended", "- {list: shells, items: [ls], append: true}\n- {macro: spawned, condition: or proc.name = nothing, append: true}\n", "Shell in container", ""},
		{"list replaced", "- {list: shells, items: [zsh]}\n", "", ""},
		{"list override", "- list: shells\n  items: [zsh]\n  override: {items: append}\n", "Shell in container", ""},
		{"macro replaced", "- {macro: allowed, condition: proc.pname = nginx}\n", "", ""},
		{"macro override", "- macro: allowed\n  condition: or proc.pname = nginx\n  override: {condition: append}\n", "", ""},
		{"rule switched off", "- {rule: Shell in container, enabled: false}\n", "", ""},
		{"rule switched off by override", "- rule: Shell in container\n  enabled: false\n  override: {enabled: replace}\n", "", ""},
		{"condition appended", "- {rule: Shell in container, append: true, condition: and proc.pname = apache}\n", "", ""},
		{"condition appended by override", "- rule: Shell in container\n  condition: or proc.name = ls\n  override: {condition: append}\n", "Shell in container", "Shell in container"},
		{"condition replaced", "- rule: Shell in container\n  condition: proc.name = ls\n  override: {condition: replace}\n", "", "Shell in container"},
		{"rule written anew", "- {rule: Shell in container, desc: d, condition: proc.name = ls, output: o, priority: DEBUG}\n", "", "Shell in container"},
		{"exceptions appended", "- rule: Shell in container\n  exceptions: [{name: x, fields: [proc.pname, proc.name], comps: [=, in], values: [[nginx, [bash, ksh]]]}]\n  override: {exceptions: append}\n", "", ""},
		{"another source", "- rule: Shell in container\n  source: k8s_audit\n  override: {source: replace}\n", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(t, shellRules, c.over)
			if got := matched(t, s, shellEvent); got != c.want {
				t.Errorf("the shell matches %q, want %q", got, c.want)
			}
			if got := matched(t, s, hostEvent); got != c.also {
				t.Errorf("ls matches %q, want %q", got, c.also)
			}
		})
	}
	s := load(t, shellRules, "- rule: Shell in container\n  output: and more\n  priority: DEBUG\n  tags: [T1000]\n  desc: more\n  override: {output: append, priority: replace, tags: append, desc: append}\n")
	p := s.Rules[0].Policy
	if p.Severity != bollwerk.SeverityLow || !strings.HasSuffix(p.Message.Text, "and more") || p.Description != "A shell more" || len(p.Attack()) != 2 {
		t.Errorf("%+v", p)
	}
}

func TestExceptions(t *testing.T) {
	const rule = `
- list: parents
  items: [nginx, apache2]
- rule: Shell
  desc: d
  condition: evt.type in (execve, execveat) and proc.name = bash or proc.name = ls
  output: o
  priority: WARNING
  exceptions:
`
	for _, c := range []struct {
		name, exceptions string
		hushed           bool
	}{
		{"no values", "  - {name: a, fields: [proc.pname, proc.name]}\n", false},
		{"two fields", "  - {name: a, fields: [proc.pname, proc.name], values: [[nginx, bash]]}\n", true},
		{"one differs", "  - {name: a, fields: [proc.pname, proc.name], values: [[nginx, zsh], [apache2, bash]]}\n", false},
		{"second holds", "  - {name: a, fields: [proc.pname, proc.name], values: [[nginx, zsh], [nginx, bash]]}\n", true},
		{"comparisons", "  - {name: a, fields: [proc.pname, proc.cmdline], comps: [startswith, contains], values: [[ngi, curl]]}\n", true},
		{"list of values", "  - {name: a, fields: [proc.pname], comps: [in], values: [[[apache2, nginx]]]}\n", true},
		{"list by name", "  - {name: a, fields: [proc.pname], comps: [in], values: [[parents]]}\n", true},
		{"list as text", "  - {name: a, fields: [proc.pname], comps: [in], values: [[\"(apache2, nginx)\"]]}\n", true},
		{"single field", "  - {name: a, fields: proc.pname, values: [apache2, nginx]}\n", true},
		{"single field, comparison", "  - {name: a, fields: proc.cmdline, comps: contains, values: [wget, curl]}\n", true},
		{"single field, no value fits", "  - {name: a, fields: proc.cmdline, comps: startswith, values: [wget]}\n", false},
		{"two exceptions", "  - {name: a, fields: proc.pname, values: [apache2]}\n  - {name: b, fields: proc.pname, values: [nginx]}\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(t, rule+c.exceptions)
			if got := matched(t, s, shellEvent) == ""; got != c.hushed {
				t.Errorf("hushed %v, want %v: %s", got, c.hushed, s.Rules[0].Policy.Match.Text)
			}
			// An exception concerns the whole condition, or and all.
			if matched(t, s, hostEvent) == "" {
				t.Error("ls is hushed, too")
			}
		})
	}
	later := load(t, rule+"  - {name: a, fields: proc.pname, values: [apache2]}\n", "- rule: Shell\n  append: true\n  exceptions: [{name: a, values: [nginx]}]\n")
	if matched(t, later, shellEvent) != "" {
		t.Error("values that were appended to an exception do not hush")
	}
}

// TestGaps is the heart of it: what is not told never widens or narrows a rule in silence.
func TestGaps(t *testing.T) {
	const gap = `proc.is_vpgid_leader = true`
	for _, c := range []struct {
		condition string
		verdict   Verdict
		shell     bool   // matches the shell
		says      string // part of a reason
	}{
		{`proc.name = bash and ` + gap, Not, false, "nothing of the rule is left"},
		{`proc.name = bash and not ` + gap, Not, false, "nothing of the rule is left"},
		{`proc.name = bash or ` + gap, Partly, true, "reports less"},
		{`proc.name = zsh or ` + gap, Partly, false, "reports less"},
		{`proc.name = bash and (proc.pname = nginx or ` + gap + `)`, Partly, true, "reports less"},
		{`proc.name = bash and not (proc.pname = apache or ` + gap + `)`, Partly, true, "reports more"},
		{`proc.name = bash and not (proc.pname = nginx or ` + gap + `)`, Partly, false, "reports more"},
		{`proc.name = bash and not (proc.pname = nginx and ` + gap + `)`, Partly, true, "reports more"},
		{`proc.name = bash and not not ` + gap, Not, false, "nothing"},
		{`proc.name = bash and (proc.pname exists or ` + gap + `) and evt.num = 0`, Exact, false, "never holds"},
		{`evt.type in (execve, execveat) and proc.name = bash or evt.type = dup`, Partly, true, "dup: the agent has no events of this call"},
		{`proc.name = bash and not evt.type = dup`, Exact, true, ""},
	} {
		r := one(t, c.condition)
		if r.Verdict != c.verdict || !strings.Contains(strings.Join(r.Reasons, "\n"), c.says) {
			t.Errorf("%s: %s %q, want %s … %s", c.condition, r.Verdict, r.Reasons, c.verdict, c.says)
		}
		if got := holds(t, r, event(t, shellEvent)); got != c.shell {
			t.Errorf("%s matches: %v, want %v", c.condition, got, c.shell)
		}
	}
}

func TestMistakes(t *testing.T) {
	rule := func(condition string) string {
		return "# a comment\n- rule: R\n  desc: d\n  condition: >\n    " + condition + "\n  output: o\n  priority: INFO\n"
	}
	for _, c := range []struct{ file, want string }{
		{"a: b", "0.yaml:1: want a list"},
		{"- [", "0.yaml:1: "},
		{"- 5", "0.yaml:1: want an entry"},
		{"- rule: R\n  condition: a.b = c\n", `0.yaml:1: rule "R": output is missing`},
		{"- macro: M\n", "0.yaml:1: macro M: condition is missing"},
		{"- list: L\n", "0.yaml:1: list L: items are missing"},
		{"- list: L\n  items: [[a]]\n", "0.yaml:2: items: want texts"},
		{"- list: L\n  items: [a]\n  append: true\n", "0.yaml:1: list L: there is none so far"},
		{"- rule: R\n  enabled: false\n", `0.yaml:1: rule "R": there is none so far`},
		{"- rule: R\n  rule: S\n", "0.yaml:2: rule is given twice"},
		{"- list: L\n  items: &a [x]\n- list: M\n  items: *a\n", "aliases"},
		{rule("proc.name ="), "0.yaml:5: rule \"R\": proc.name =: a value is missing"},
		{rule("proc.name"), "a comparison is missing"},
		{rule("(proc.name = a"), "a ) is missing"},
		{rule("proc.name = a b"), `"b" is not expected here`},
		{rule(`proc.name = "a`), `a closing " is missing`},
		{rule("proc.name in (a b)"), "want , or )"},
		{rule("and proc.name = a"), "want a field or a macro"},
		{rule("proc.aname[1 = a"), "a ] is missing"},
		{rule("nothing_here"), "0.yaml:5: there is no macro nothing_here"},
		{rule("a") + "- macro: a\n  condition: b\n- macro: b\n  condition: a\n", "leads back to itself"},
		{rule("proc.name in (a)") + "- list: a\n  items: [b]\n- list: b\n  items: [a]\n", "leads back to itself"},
		{rule("m") + "- macro: m\n  condition: (proc.name\n", "0.yaml:9: macro m: proc.name: a comparison is missing"},
		{strings.Replace(rule("proc.name = a"), "INFO", "LOUD", 1), `0.yaml:7: rule "R": priority "LOUD"`},
		{rule("proc.name = a") + "  exceptions: [{name: x, fields: [proc.name, proc.pname], comps: [in]}]\n", "2 fields and 1 comps"},
		{rule("proc.name = a") + "  exceptions: [{name: x, fields: [proc.name, proc.pname], values: [[a]]}]\n", "want a list of 2"},
		{rule("proc.name = a") + "  exceptions: [{name: x, fields: [name], values: [[a]]}]\n", `"name" is not a field`},
		{rule("proc.name = a") + "  exceptions: [{fields: [proc.name]}]\n", "name is missing"},
		{rule("proc.name = a") + "- rule: R\n  output: x\n  override: {output: change}\n", "want append or replace"},
		{rule("proc.name = a") + "- rule: R\n  enabled: false\n  desc: x\n  override: {enabled: append}\n", "enabled cannot be changed by append"},
	} {
		_, err := Load([]File{{"0.yaml", []byte(c.file)}}, options())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want … %s", c.file, err, c.want)
		}
	}
}

// TestHostileFiles: small files that ask for much.
func TestHostileFiles(t *testing.T) {
	var macros, lists strings.Builder
	for i := range 40 {
		fmt.Fprintf(&macros, "- macro: m%d\n  condition: (m%d and m%d)\n", i, i+1, i+1)
		fmt.Fprintf(&lists, "- list: l%d\n  items: [l%d, l%d]\n", i, i+1, i+1)
	}
	macros.WriteString("- macro: m40\n  condition: proc.name = a\n")
	lists.WriteString("- list: l40\n  items: [a, b]\n")
	rule := func(c string) string {
		return "- rule: R\n  desc: d\n  condition: " + c + "\n  output: o\n  priority: INFO\n"
	}
	for name, c := range map[string]struct{ file, want string }{
		"macros double":    {macros.String() + rule("m0"), "parts"},
		"lists double":     {lists.String() + rule("proc.name in (l0)"), "values"},
		"parentheses":      {rule(strings.Repeat("(", 10_000)), "nested deeper"},
		"flow brackets":    {strings.Repeat("[", 100_000), "nested deeper"},
		"many words":       {rule("proc.name in (" + strings.Repeat("a,", 30_000) + "b)"), "more than"},
		"long condition":   {rule("proc.name = " + strings.Repeat("a", maxTextBytes)), "longer than"},
		"large file":       {strings.Repeat("#", maxFileBytes+1), "larger than"},
		"many entries":     {strings.Repeat("- list: a\n  items: []\n", maxEntries+1), "more than"},
		"transformers":     {rule(strings.Repeat("tolower(", 50) + "proc.name" + strings.Repeat(")", 50) + " = a"), "transformers"},
		"indented deeply":  {strings.Repeat("- ", 5000), "nested deeper"},
		"broken encoding":  {"- rule: \xff\xfe", "0.yaml"},
		"control in macro": {"- macro: m\n  condition: \"\\0\"\n" + rule("m"), "want a field"},
	} {
		_, err := Load([]File{{"0.yaml", []byte(c.file)}}, options())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want … %s", name, err, c.want)
		}
		if err != nil && len(err.Error()) > 20_000 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
	// What a stranger writes into a rule stays text.
	s := load(t, "- rule: \"x\\n\\e[31m\\\" || true || \\\"\"\n  desc: d\n  condition: 'proc.name = \"a\\\" || true || \\\"b\" and fd.name exists'\n  output: \"{{ event.kind }} %%{{ }}\"\n  priority: INFO\n")
	if got := matched(t, s, shellEvent); got != "" {
		t.Errorf("a quoted value was taken for a condition: %s", got)
	}
	if m := s.Rules[0].Policy.Message.Text; strings.Contains(m, "{{") {
		t.Errorf("the output became an expression: %s", m)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(shellRules)
	f.Add("- rule: R\n  desc: d\n  condition: not (fd.name pmatch (/a, '/b*') or evt.arg.mode contains S_ISUID) and proc.aname[2] startswith \"x\\\"\" or fd.sip=\"1.2.3.4\"\n  output: '%proc.name %fd.name'\n  priority: INFO\n  exceptions: [{name: a, fields: [proc.name], comps: [in], values: [[a]]}]\n")
	f.Add("- list: a\n  items: [b, 'c d']\n- macro: m\n  condition: proc.name in (a)\n- rule: r\n  desc: d\n  condition: m and toupper(proc.name) = A\n  output: o\n  priority: DEBUG\n- rule: r\n  append: true\n  condition: or len(fd.name) > 3\n")
	f.Fuzz(func(t *testing.T, file string) {
		if len(file) > 8<<10 {
			return
		}
		s, err := Load([]File{{"f.yaml", []byte(file)}}, options())
		if err != nil {
			return
		}
		for _, r := range s.Rules {
			if r.Verdict == Partly && len(r.Reasons) == 0 || r.Verdict == Not && (len(r.Reasons) == 0 || r.Policy != nil) {
				t.Fatalf("%s: %s with reasons %q", r.Name, r.Verdict, r.Reasons)
			}
		}
		// Whatever is translated is accepted, or refused in words: the matcher may know
		// better that a condition never holds.
		m, problems := policy.NewMatcher(s.All(), policy.MatcherOptions{})
		for _, p := range problems {
			if !strings.Contains(p.Message, "never holds") {
				t.Fatalf("%s", p)
			}
		}
		s.Refuse(m, problems)
	})
}

func FuzzCondition(f *testing.F) {
	for _, s := range []string{`a.b = c and not (d.e in (f, "g h") or macro)`, `tolower(a.b[x]) contains 'y'`, `a.b pmatch (l) or a.b exists`, `a.b = val(c.d)`, `x.y >= "\"" and`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 4<<10 {
			return
		}
		e, err := parseCondition(s)
		if (e == nil) == (err == nil) {
			t.Fatalf("%q: %v and %v", s, e, err)
		}
	})
}

// BenchmarkWithShippedRules measures what an event costs with the shipped rules alone
// and with rules of Falco besides: those of the folder FALCO_RULES, or a few of this test.
func BenchmarkWithShippedRules(b *testing.B) {
	var files []File
	if dir := os.Getenv("FALCO_RULES"); dir != "" {
		names, _ := filepath.Glob(filepath.Join(dir, "*.yaml"))
		for _, n := range names {
			data, err := os.ReadFile(n)
			if err != nil {
				b.Fatal(err)
			}
			files = append(files, File{n, data})
		}
	} else {
		files = append(files, File{"0.yaml", []byte(shellRules)})
	}
	s, err := Load(files, options())
	if err != nil {
		b.Fatal(err)
	}
	shipped, err := policy.Load(policies.Files())
	if err != nil {
		b.Fatal(err)
	}
	shipped = slices.DeleteFunc(shipped, func(p *policy.Policy) bool { return p.Subject != policy.EventKind })
	var events []*bollwerk.Event
	for _, text := range []string{shellEvent, hostEvent, readEvent, writeEvent, createEvent, renameEvent, unlinkEvent, chmodEvent, dialEvent, acceptEvent, sendEvent, listenEvent, forkEvent, exitEvent} {
		events = append(events, event(b, text))
	}
	for _, c := range []struct {
		name string
		ps   []*policy.Policy
	}{{"shipped", shipped}, {"falco", s.All()}, {"both", append(slices.Clone(shipped), s.All()...)}} {
		m, problems := policy.NewMatcher(c.ps, policy.MatcherOptions{})
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		b.Run(fmt.Sprintf("%s=%d", c.name, len(c.ps)), func(b *testing.B) {
			sc := &policy.Scratch{}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m.Match(sc, events[i%len(events)])
			}
		})
	}
}
