package policy_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// snippets returns the fenced blocks of a language.
func snippets(doc, language string) []string {
	var out []string
	for _, part := range strings.Split(doc, "```"+language+"\n")[1:] {
		s, _, _ := strings.Cut(part, "```")
		out = append(out, s)
	}
	return out
}

// The manual's examples work, and its lists are complete.
func TestManual(t *testing.T) {
	doc := readDoc(t, "policy-language.md")
	yaml := snippets(doc, "yaml")
	p, err := policy.Parse("manual", []byte(yaml[0]))
	if err != nil {
		t.Fatal(err)
	}
	if err := engine(t, policy.Options{}).Compile(p); err != nil {
		t.Error(err)
	}
	if _, err := policy.Parse("manual", []byte(document(yaml[1]))); err != nil {
		t.Error(err)
	}
	c, err := policy.LoadConfig(strings.NewReader(yaml[2]), "manual")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Override(shipped(t)); err != nil {
		t.Error(err)
	}
	if cases, err := policy.ParseCases("manual", []byte(yaml[3])); err != nil || len(cases) != 2 {
		t.Error(err)
	}
	shop, err := policy.Parse("manual", []byte(yaml[4]))
	if err != nil {
		t.Fatal(err)
	}
	e := &bollwerk.Event{Kind: bollwerk.EventExec, Process: &bollwerk.Process{Name: "sh", Args: []string{"sh"}},
		Workload: &bollwerk.Workload{Container: &bollwerk.Container{Image: "registry.example.org/shop:1"}}}
	if got := matcher(t, shop).Match(&policy.Scratch{}, e); len(got) != 1 || strings.Join(shop.Attack(), "") != "T1059.004" || shop.Response != policy.Kill {
		t.Errorf("the manual's policy about events: %+v", got)
	}
	for _, p := range shipped(t) {
		row := fmt.Sprintf("| `%s` | %s | %s | %s | %s |", p.ID, p.Mode, p.Severity, p.Subject, p.Title)
		if !strings.Contains(doc, row) {
			t.Errorf("docs/policy-language.md lacks the row\n%s", row)
		}
	}
	for _, f := range policy.Functions() {
		if !strings.Contains(doc, "- `"+f.Signature+"`: "+f.Doc) {
			t.Errorf("docs/policy-language.md lacks the function\n- `%s`: %s", f.Signature, f.Doc)
		}
	}
	for _, k := range engine(t, policy.Options{}).Kinds() {
		if !strings.Contains(doc, "`"+k.Name+"`") {
			t.Errorf("docs/policy-language.md lacks the subject %s", k.Name)
		}
	}

	exceptions := snippets(readDoc(t, "exceptions.md"), "yaml")
	for _, s := range exceptions {
		c, err := policy.LoadConfig(strings.NewReader(s), "manual")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Override(shipped(t)); err != nil {
			t.Error(err)
		}
	}
}
