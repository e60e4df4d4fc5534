package falco

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/policy"
)

var update = flag.Bool("update", false, "write testdata/public.txt and docs/falco.md anew")

const (
	publicFile = "testdata/public.txt"
	manual     = "../../docs/falco.md"
)

// public is what is kept of a rule that the Falco project publishes, see testdata/ORIGIN.md.
type public struct {
	Set     string   `json:"set"`
	Rule    string   `json:"rule"`
	Verdict Verdict  `json:"verdict"`
	Kinds   []string `json:"kinds"`
	Shape   string   `json:"shape"`
}

var publicSets = []struct{ name, file string }{{"stable", "falco_rules.yaml"}, {"incubating", "falco-incubating_rules.yaml"}, {"sandbox", "falco-sandbox_rules.yaml"}}

// publicOptions are those of an agent as it comes: root, the users of any Linux, the variables
// that process.DefaultVariables keeps and these rules ask for.
func publicOptions() Options {
	return Options{Variables: []string{"HTTPS_PROXY", "GLIBC_TUNABLES"}, Users: map[string]uint32{"root": 0, "daemon": 1, "nobody": 65534}}
}

// asked loads a file and lets the matcher take what it takes.
func asked(t *testing.T, name string, data []byte) *Set {
	t.Helper()
	s, err := Load([]File{{name, data}}, publicOptions())
	if err != nil {
		t.Fatal(err)
	}
	m, problems := policy.NewMatcher(s.All(), policy.MatcherOptions{})
	for _, p := range problems {
		t.Errorf("%s", p)
	}
	s.Refuse(m, problems)
	return s
}

func kindsOf(r *Rule) []string {
	out := []string{}
	for _, k := range r.Kinds {
		out = append(out, k.String())
	}
	return out
}

func readPublic(t *testing.T) []public {
	t.Helper()
	b, err := os.ReadFile(publicFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []public
	for line := range bytes.Lines(b) {
		var p public
		if err := json.Unmarshal(line, &p); err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func writePublic(t *testing.T, ps []public) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for _, p := range ps {
		if err := e.Encode(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(publicFile, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPublicShapes asks the logic of each published rule, which is kept without its values: what
// is said of them in docs/falco.md holds, with every build.
func TestPublicShapes(t *testing.T) {
	kept := readPublic(t)
	if len(kept) != 93 {
		t.Errorf("%d rules are kept, want 93", len(kept))
	}
	total := map[Verdict]int{}
	var told []*Rule
	for i := range kept {
		p := &kept[i]
		doc, err := json.Marshal([]map[string]any{{"rule": p.Rule, "desc": "d", "condition": p.Shape, "output": "o", "priority": "WARNING"}})
		if err != nil {
			t.Fatal(err)
		}
		r := asked(t, p.Rule, doc).Rules[0]
		if r.Verdict != p.Verdict || !slices.Equal(kindsOf(r), p.Kinds) {
			if !*update {
				t.Errorf("%s: %s %v, was %s %v: %v; run go test ./detect/falco -run Public -update if that is right", p.Rule, r.Verdict, kindsOf(r), p.Verdict, p.Kinds, r.Reasons)
			}
			p.Verdict, p.Kinds = r.Verdict, kindsOf(r)
		}
		total[r.Verdict]++
		told = append(told, r)
	}
	table := publicTable(kept, told, total)
	b, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- public: written by go test ./detect/falco -run Public -update -->\n", "<!-- public: end -->"
	head, rest, ok := strings.Cut(string(b), begin)
	is, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s: %s … %s is missing", manual, begin, end)
	}
	if *update {
		writePublic(t, kept)
		if err := os.WriteFile(manual, []byte(head+begin+table+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if is != table {
		t.Errorf("%s: the part \"public\" is not what the code says; run go test ./detect/falco -run Public -update", manual)
	}
	// Not fewer than were supported once, whatever a file says.
	if total[Exact] < 80 || total[Exact]+total[Partly] < 88 {
		t.Errorf("exact %d, partly %d, not %d", total[Exact], total[Partly], total[Not])
	}
}

// publicTable counts the sets, and names what is not exact, with the cause.
func publicTable(kept []public, told []*Rule, total map[Verdict]int) string {
	var b strings.Builder
	b.WriteString("| set | rules | exact | partly | not |\n| --- | --- | --- | --- | --- |\n")
	for _, set := range publicSets {
		n := map[Verdict]int{}
		for i, p := range kept {
			if p.Set == set.name {
				n[told[i].Verdict]++
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", set.name, n[Exact]+n[Partly]+n[Not], n[Exact], n[Partly], n[Not])
	}
	fmt.Fprintf(&b, "| all | %d | %d | %d | %d |\n\n| not exact | verdict | why |\n| --- | --- | --- |\n", len(kept), total[Exact], total[Partly], total[Not])
	for i, p := range kept {
		r := told[i]
		if r.Verdict == Exact {
			continue
		}
		var why []string
		for _, s := range r.Reasons {
			// Calls and fields, without what they are compared with.
			what, cause, _ := strings.Cut(s, ": ")
			field, _, _ := strings.Cut(what, " ")
			if strings.Contains(cause, "has no events of") {
				field = what
			}
			if s = "`" + strings.TrimSuffix(field, ",") + "`: " + cause; !slices.Contains(why, s) {
				why = append(why, s)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", p.Rule, r.Verdict, strings.Join(why, "; "))
	}
	return b.String()
}

// TestPublicRules compares what is kept with the rules themselves, where a folder has them:
// FALCO_RULES=/folder go test ./detect/falco -run Public -v. With -update it is made anew.
func TestPublicRules(t *testing.T) {
	dir := os.Getenv("FALCO_RULES")
	if dir == "" {
		t.Skip("FALCO_RULES names no folder with rule files; TestPublicShapes asks what is kept of them")
	}
	var made []public
	for _, set := range publicSets {
		data, err := os.ReadFile(filepath.Join(dir, set.file))
		if err != nil {
			t.Fatal(err)
		}
		s := asked(t, set.file, data)
		d := newDocument()
		d.read(File{set.file, data})
		for i, r := range s.Rules {
			p := public{Set: set.name, Rule: r.Name, Verdict: r.Verdict, Kinds: kindsOf(r), Shape: shape(t, d, d.rules[i])}
			made = append(made, p)
			t.Logf("%s\t%s\t%v", r.Verdict, r.Name, p.Kinds)
			for _, why := range r.Reasons {
				t.Logf("\t%s", why)
			}
			if r.Policy != nil && os.Getenv("FALCO_CEL") != "" {
				t.Logf("\tCEL %s\n\tOUT %s", r.Policy.Match.Text, r.Policy.Message.Text)
			}
		}
	}
	if *update {
		writePublic(t, made)
		return
	}
	kept := readPublic(t)
	if len(kept) != len(made) {
		t.Errorf("%d rules are kept of %d", len(kept), len(made))
	}
	for i := range min(len(kept), len(made)) {
		if a, b := fmt.Sprint(kept[i]), fmt.Sprint(made[i]); a != b {
			t.Errorf("kept:\n%s\nis:\n%s", a, b)
		}
	}
}
