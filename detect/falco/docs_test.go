package falco

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestDocs holds docs/falco.md to the code: what it lists as a field or call is one, and
// what it lists as not told is not.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/falco.md")
	if err != nil {
		t.Fatal(err)
	}
	between := func(s, from, to string) string {
		_, s, ok := strings.Cut(s, from)
		s, _, closed := strings.Cut(s, to)
		if !ok || !closed {
			t.Fatalf("docs/falco.md: %s … %s is missing", from, to)
		}
		return s
	}
	code := regexp.MustCompile("`([^`]+)`")
	tr := &translator{options: options()}
	told := func(field string) bool {
		o, _ := (&parser{s: field}).operand(0)
		for _, v := range views() {
			f := tr.field(o, v)
			if !f.absent && f.gap == "" {
				return true
			}
		}
		return false
	}
	n := 0
	for line := range strings.Lines(between(string(b), "<!-- fields: begin -->", "<!-- fields: end -->")) {
		cells := strings.Split(line, " | ")
		for _, m := range code.FindAllStringSubmatch(cells[0], -1) {
			n++
			if !told(m[1]) {
				t.Errorf("%s is listed as a field and is not told", m[1])
			}
		}
	}
	for _, m := range code.FindAllStringSubmatch(between(string(b), "<!-- gaps: begin -->", "<!-- gaps: end -->"), -1) {
		n++
		if told(m[1]) {
			t.Errorf("%s is listed as not told and is", m[1])
		}
	}
	calls := map[string]bool{}
	for _, v := range views() {
		for _, c := range append(v.core, v.more...) {
			calls[c] = true
		}
	}
	listed := map[string]bool{}
	for line := range strings.Lines(between(string(b), "## Calls", "A rule that names only some")) {
		for _, m := range code.FindAllStringSubmatch(strings.Split(line, " | ")[0], -1) {
			if listed[m[1]] = true; !calls[m[1]] && m[1] != "evt.type" {
				t.Errorf("%s is listed as a call and no event stands for it", m[1])
			}
		}
	}
	for _, v := range views() {
		for _, c := range v.core {
			if !listed[c] {
				t.Errorf("docs/falco.md does not list the call %s", c)
			}
		}
	}
	if n < 80 {
		t.Errorf("only %d fields were found in docs/falco.md", n)
	}
}
