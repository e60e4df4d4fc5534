package falco

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/bollwerk/bollwerk/policy"
)

// TestPublicRules prints what becomes of the rule files of a folder, such as those that
// the Falco project publishes: FALCO_RULES=/folder go test -run PublicRules -v
func TestPublicRules(t *testing.T) {
	dir := os.Getenv("FALCO_RULES")
	if dir == "" {
		t.Skip("FALCO_RULES names no folder with rule files")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no rule files in %s: %v", dir, err)
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	total := map[Verdict]int{}
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Load([]File{{filepath.Base(n), data}}, Options{Variables: []string{"HTTPS_PROXY", "GLIBC_TUNABLES"}, Users: map[string]uint32{"root": 0, "daemon": 1, "nobody": 65534}})
		if err != nil {
			t.Fatal(err)
		}
		m, problems := policy.NewMatcher(s.All(), policy.MatcherOptions{})
		for _, p := range problems {
			t.Errorf("%s", p)
		}
		s.Refuse(m, problems)
		for _, r := range s.Rules {
			total[r.Verdict]++
			fmt.Fprintf(w, "%s\t%s\t%v\n", r.Verdict, r.Name, r.Kinds)
			for _, why := range r.Reasons {
				fmt.Fprintf(w, "\t    %s\n", why)
			}
			if r.Policy != nil && testing.Verbose() && os.Getenv("FALCO_CEL") != "" {
				fmt.Fprintf(w, "\t    CEL %s\n\t    OUT %s\n", r.Policy.Match.Text, r.Policy.Message.Text)
			}
		}
	}
	_ = w.Flush()
	t.Logf("\n%s\nexact %d, partly %d, not %d", b.String(), total[Exact], total[Partly], total[Not])
}
