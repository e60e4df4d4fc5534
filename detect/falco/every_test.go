package falco

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/policy"
)

// TestEveryComparisonCompiles asks every documented field every comparison there is, with
// words of all sorts: whatever is translated, the matcher must take.
func TestEveryComparisonCompiles(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles thousands of conditions")
	}
	b, err := os.ReadFile("../../docs/falco.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "<!-- fields: begin -->")
	table, _, _ = strings.Cut(table, "<!-- fields: end -->")
	words := []string{`""`, "0", "root", "/etc", "10.0.0.0/8", "O_CREAT", `"a\"b\\ \n"`, "5000000000", "-1", "true", "ENOENT", "*.x", "ä", "host", `"<NA>"`}
	var rules strings.Builder
	n, asked := 0, 0
	for line := range strings.Lines(table) {
		for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(strings.Split(line, " | ")[0], -1) {
			for i, op := range append([]string{"=", "!=", "<", "<=", ">", ">="}, wordOperators...) {
				right := words[(n+i)%len(words)]
				switch op {
				case "exists":
					right = ""
				case "in", "intersects", "pmatch":
					right = "(" + right + ", " + words[(n+2*i+1)%len(words)] + ")"
				}
				for _, left := range []string{m[1], "tolower(" + m[1] + ")"} {
					if n++; left != m[1] && op != "=" && op != "contains" {
						continue
					}
					asked++
					fmt.Fprintf(&rules, "- rule: r%d\n  desc: d\n  condition: '%s'\n  output: 'x %%%s'\n  priority: DEBUG\n", n, strings.ReplaceAll(left+" "+op+" "+right, "'", "''"), m[1])
				}
			}
		}
	}
	// In parts, as there is a bound on the entries of files.
	compiled, refused := 0, 0
	for i, part := range splitRules(rules.String(), 2000) {
		s, err := Load([]File{{fmt.Sprintf("%d.yaml", i), []byte(part)}}, options())
		if err != nil {
			t.Fatal(err)
		}
		m, problems := policy.NewMatcher(s.All(), policy.MatcherOptions{})
		for _, p := range problems {
			if !strings.Contains(p.Message, "never holds") {
				t.Errorf("%s", p)
			}
		}
		compiled += m.Policies()
		for _, r := range s.Rules {
			if r.Verdict == Not {
				refused++
			}
		}
		e := event(t, shellEvent)
		m.Match(&policy.Scratch{}, e)
	}
	t.Logf("%d comparisons: %d compiled, %d not told", asked, compiled, refused)
	if compiled < asked/4 {
		t.Errorf("only %d of %d comparisons were compiled", compiled, asked)
	}
}

func splitRules(s string, n int) []string {
	var out []string
	parts := strings.SplitAfter(s, "priority: DEBUG\n")
	for len(parts) > 0 {
		k := min(n, len(parts))
		out = append(out, strings.Join(parts[:k], ""))
		parts = parts[k:]
	}
	return out
}
