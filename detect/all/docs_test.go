package all_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/bollwerk/bollwerk/detect/all"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

const manual = "../../docs/detections.md"

// detectors is the part of the manual that says what the detectors say of themselves.
func detectors() string {
	var b strings.Builder
	list := all.Detectors(all.Config{})
	b.WriteString("| detector | mode | severity | ATT&CK | says |\n|---|---|---|---|---|\n")
	for _, d := range list {
		i := d.Info()
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s | %s | %s |\n", i.ID, i.ID, i.Mode, i.Severity, strings.Join(i.Attack, " "), i.Title)
	}
	for _, d := range list {
		i := d.Info()
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n%s\n\n", i.ID, i.Title, i.Description)
		fmt.Fprintf(&b, "**Then:** %s\n\n", i.Advice)
		b.WriteString("| needs | without it |\n|---|---|\n")
		for _, n := range i.Needs {
			must := ""
			if n.Essential {
				must = " (must)"
			}
			fmt.Fprintf(&b, "| `%s`%s | %s |\n", n.Kind, must, n.Lost)
		}
		fmt.Fprintf(&b, "\nRemembers at most %s.\n", i.Bound)
	}
	return b.String()
}

// rules is the table of the shipped event policies.
func rules(t *testing.T) string {
	t.Helper()
	ps, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	sort.Slice(ps, func(i, j int) bool { return ps[i].ID < ps[j].ID })
	ids := map[string]bool{}
	for _, d := range all.Detectors(all.Config{}) {
		ids[d.Info().ID] = true
	}
	var b strings.Builder
	b.WriteString("| rule | mode | severity | ATT&CK | says |\n|---|---|---|---|---|\n")
	for _, p := range ps {
		if p.Subject != policy.EventKind {
			continue
		}
		if ids[p.ID] {
			t.Errorf("%s is a rule and a detector: exceptions and modes could not tell them apart", p.ID)
		}
		var attack []string
		for _, m := range p.Mappings {
			if strings.HasPrefix(m.Standard, "MITRE ATT&CK") {
				attack = append(attack, m.Requirement)
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", p.ID, p.Mode, p.Severity, strings.Join(attack, " "), p.Title)
	}
	return b.String()
}

// TestManual: docs/detections.md says what the detectors and rules say. With -update the parts
// between the marks are written anew.
func TestManual(t *testing.T) {
	src, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	doc := string(src)
	for _, part := range []struct{ name, text string }{{"detectors", detectors()}, {"rules", rules(t)}} {
		begin, end := "<!-- "+part.name+": written by go test ./detect/all -run Manual -update -->\n", "<!-- end of "+part.name+" -->"
		head, rest, ok := strings.Cut(doc, begin)
		old, tail, ok2 := strings.Cut(rest, end)
		if !ok || !ok2 {
			t.Fatalf("%s lacks the marks of %s", manual, part.name)
		}
		if old == part.text {
			continue
		}
		if f := flag.Lookup("update"); f == nil || f.Value.String() != "true" {
			t.Errorf("%s: the part %q is not what the code says; run go test ./detect/all -run Manual -update", manual, part.name)
		}
		doc = head + begin + part.text + end + tail
	}
	if f := flag.Lookup("update"); f != nil && f.Value.String() == "true" && doc != string(src) {
		if err := os.WriteFile(manual, []byte(doc), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestManualExample: the configuration in the manual is read, and names every option there is.
func TestManualExample(t *testing.T) {
	src, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(src), "```yaml\n")
	example, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("no example in the manual")
	}
	var cfg all.Config
	d := yaml.NewDecoder(strings.NewReader(example))
	d.KnownFields(true)
	if err := d.Decode(&cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Stream(cfg); err != nil {
		t.Fatal(err)
	}
	v := reflect.ValueOf(cfg)
	for i := 0; i < v.NumField(); i++ {
		f := v.Field(i)
		for j := 0; j < f.NumField(); j++ {
			if f.Field(j).IsZero() {
				t.Errorf("the example lacks %s.%s", v.Type().Field(i).Tag.Get("yaml"), f.Type().Field(j).Tag.Get("yaml"))
			}
		}
	}
}

// TestFolders: the manual says where a detector's events lie; they do.
func TestFolders(t *testing.T) {
	for _, pattern := range []string{"attack", "benign"} {
		list, err := filepath.Glob("../*/testdata/" + pattern + "-*.jsonl")
		if err != nil || len(list) < len(all.Detectors(all.Config{})) {
			t.Errorf("%d files of %s events", len(list), pattern)
		}
	}
}
