package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/agent"
	detectors "github.com/bollwerk/bollwerk/detect/all"
	"github.com/bollwerk/bollwerk/detect/falco"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/sensor/process"
)

func newRulesCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "rules",
		Short: "list, check and test rules",
		Long: `What the agent looks for: rules that ship with it and your own (docs/policy-language.md),
detectors, and rule files of Falco (docs/falco.md).`,
		Args: onlyVerbs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newRulesListCommand(e), newRulesCheckCommand(e), newRulesTestCommand(e))
	return c
}

// ruleRow is one line of `rules list`.
type ruleRow struct {
	ID       string   `json:"id"`
	Origin   string   `json:"origin"` // policy, detector, falco
	Title    string   `json:"title"`
	Mode     string   `json:"mode"`
	Severity string   `json:"severity"`
	Kinds    []string `json:"kinds"`
	Attack   []string `json:"attack"`
}

func newRulesListCommand(e *env) *cobra.Command {
	var asJSON bool
	var dirs, files []string
	c := &cobra.Command{
		Use:     "list",
		Short:   "list every rule and detector the agent would run",
		Long:    "Exit codes: 0 listed, 2 usage or a rule file is wrong.",
		Example: "  bollwerk-agent rules list --falco /etc/falco/falco_rules.yaml",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := e.configuration()
			if err != nil {
				return err
			}
			cfg.Rules, cfg.Falco = append(cfg.Rules, dirs...), append(cfg.Falco, files...)
			return runRulesList(e, cfg, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringArrayVar(&dirs, "rules", nil, "`FOLDER` of further event policies (repeatable)")
	c.Flags().StringArrayVar(&files, "falco", nil, "Falco rule `FILE` (repeatable, later ones override)")
	return c
}

func runRulesList(e *env, c *agent.Config, asJSON bool) error {
	own, _, err := ownPolicies(c)
	if err != nil {
		return err
	}
	set, err := falcoRules(c.Falco)
	if err != nil {
		return err
	}
	if s := refusedSentence(set); s != "" {
		e.print(s)
	}
	foreign := set.Policies()
	m, problems := policy.NewMatcher(append(own, foreign...), policy.MatcherOptions{})
	for _, p := range problems {
		e.print("not evaluated: " + p.String())
	}
	rows := []ruleRow{}
	for i, list := range [][]*policy.Policy{own, foreign} {
		for _, p := range list {
			rows = append(rows, ruleRow{ID: p.ID, Origin: []string{"policy", "falco"}[i], Title: p.Title, Mode: string(p.Mode), Severity: p.Severity.String(),
				Kinds: kindWords(m.Kinds(p)), Attack: p.Attack()})
		}
		if i > 0 {
			continue
		}
		for _, d := range detectors.Detectors(detectors.Config{}) {
			info := d.Info()
			kinds := []string{}
			for _, n := range info.Needs {
				kinds = append(kinds, n.Kind.String())
			}
			rows = append(rows, ruleRow{ID: info.ID, Origin: "detector", Title: info.Title, Mode: string(info.Mode), Severity: info.Severity.String(), Kinds: kinds, Attack: info.Attack})
		}
	}
	if asJSON {
		return encodeJSON(e.json(), rows)
	}
	w := tabwriter.NewWriter(e.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "RULE\tORIGIN\tMODE\tSEVERITY\tKINDS\tATT&CK")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", terminal.Clean(r.ID, 80), r.Origin, r.Mode, r.Severity, strings.Join(r.Kinds, " "), terminal.Clean(strings.Join(r.Attack, " "), 60))
	}
	return w.Flush()
}

func kindWords(kinds []bollwerk.EventKind) []string {
	out := make([]string, 0, len(kinds))
	for _, k := range kinds {
		out = append(out, k.String())
	}
	return out
}

func encodeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// checkRow is one line of `rules check`.
type checkRow struct {
	Rule    string        `json:"rule"`
	ID      string        `json:"id"`
	File    string        `json:"file"`
	Line    int           `json:"line,omitempty"`
	Enabled bool          `json:"enabled"`
	Verdict falco.Verdict `json:"verdict"`
	Reasons []string      `json:"reasons,omitempty"`
	Limits  []string      `json:"limits,omitempty"`
	Kinds   []string      `json:"kinds"`
}

func newRulesCheckCommand(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "check FILE…",
		Short: "say which rules of Falco files or policies work here, and why others do not",
		Long: `Falco rule files are read together and in the order given, later ones overriding
earlier ones, as the agent reads them. Other files and folders are event policies.

exact: it means here what it means there. partly: a part of it cannot be seen; it says
which, and whether the rule reports less or more for it. not: it is not asked.

Exit codes: 0 all work, 1 a rule does not, 2 usage or a file is not well formed.`,
		Example: "  bollwerk-agent rules check falco_rules.yaml my_rules.yaml",
		Args:    cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(errors.New("`bollwerk-agent rules check` needs a file or folder; see `bollwerk-agent rules check --help`"))
			}
			return runRulesCheck(e, args, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runRulesCheck(e *env, args []string, asJSON bool) error {
	var foreign []string
	rows := []checkRow{}
	var warnings []string
	for _, name := range args {
		is, err := isFalcoFile(name)
		if err != nil {
			return usageError(err)
		}
		if is {
			foreign = append(foreign, name)
			continue
		}
		ps, err := loadRules(name)
		if err != nil {
			return usageError(err)
		}
		rows = append(rows, checkOwn(ps)...)
	}
	if len(foreign) > 0 {
		set, err := falcoRules(foreign)
		if err != nil {
			return err
		}
		m, problems := policy.NewMatcher(set.All(), policy.MatcherOptions{})
		set.Refuse(m, problems)
		warnings = set.Warnings
		for _, r := range set.Rules {
			row := checkRow{Rule: r.Name, ID: r.ID, File: r.File, Line: r.Line, Enabled: r.Enabled, Verdict: r.Verdict, Reasons: r.Reasons, Limits: r.Limits, Kinds: kindWords(r.Kinds)}
			if r.Policy != nil && r.Verdict != falco.Not {
				row.see(r.Policy)
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return usageError(fmt.Errorf("there are no rules in %s: name files of Falco's, or a folder with policies (each a file named policy.yaml)", strings.Join(args, ", ")))
	}
	count := map[falco.Verdict]int{}
	for _, r := range rows {
		count[r.Verdict]++
	}
	if asJSON {
		if err := encodeJSON(e.json(), struct {
			Exact    int        `json:"exact"`
			Partly   int        `json:"partly"`
			Not      int        `json:"not"`
			Warnings []string   `json:"warnings,omitempty"`
			Rules    []checkRow `json:"rules"`
		}{count[falco.Exact], count[falco.Partly], count[falco.Not], warnings, rows}); err != nil {
			return err
		}
	} else if err := printChecks(e, rows, warnings, count); err != nil {
		return err
	}
	if count[falco.Not] > 0 {
		return &exitError{code: exitFindings}
	}
	return nil
}

func printChecks(e *env, rows []checkRow, warnings []string, count map[falco.Verdict]int) error {
	for _, w := range warnings {
		e.print("warning: " + w)
	}
	out := bufio.NewWriter(e.stdout)
	limits := map[string]int{}
	for _, r := range rows {
		off := ""
		if !r.Enabled {
			off = " (switched off)"
		}
		fmt.Fprintf(out, "%-7s %s%s [%s]\n", r.Verdict, terminal.Clean(r.Rule, 100), off, strings.Join(r.Kinds, " "))
		for _, why := range r.Reasons {
			fmt.Fprintf(out, "        %s\n", terminal.Clean(why, 400))
		}
		for _, l := range r.Limits {
			limits[l]++
		}
	}
	fmt.Fprintf(out, "\n%d exact, %d partly, %d not\n", count[falco.Exact], count[falco.Partly], count[falco.Not])
	if len(limits) > 0 {
		fmt.Fprintln(out, "what the agent's events do not show, whatever a rule asks (rules concerned):")
		seen := map[string]bool{}
		for _, r := range rows {
			for _, l := range r.Limits {
				if !seen[l] {
					seen[l] = true
					fmt.Fprintf(out, "  %s (%d)\n", l, limits[l])
				}
			}
		}
	}
	return out.Flush()
}

// checkOwn asks the matcher about policies of our own language.
func checkOwn(ps []*policy.Policy) []checkRow {
	m, problems := policy.NewMatcher(ps, policy.MatcherOptions{})
	rows := make([]checkRow, 0, len(ps))
	for _, p := range ps {
		r := checkRow{Rule: p.Title, ID: p.ID, File: p.File, Enabled: true, Verdict: falco.Exact, Kinds: kindWords(m.Kinds(p))}
		if len(r.Kinds) == 0 {
			r.Verdict = falco.Not
			for _, q := range problems {
				if q.File == p.File {
					r.Line = q.Line
					r.Reasons = append(r.Reasons, q.Message)
				}
			}
		} else {
			r.see(p)
		}
		rows = append(rows, r)
	}
	return rows
}

// see adds what a kernel without BPF LSM does not show of a rule about files.
func (r *checkRow) see(p *policy.Policy) {
	reasons, limits := unseenSentences(p)
	r.Reasons = append(slices.Clip(r.Reasons), reasons...)
	r.Limits = append(slices.Clip(r.Limits), limits...)
}

// isFalcoFile tells a file of Falco's, which is a list, from a policy, which is not.
func isFalcoFile(name string) (bool, error) {
	fi, err := os.Stat(name)
	if err != nil || fi.IsDir() {
		return false, err
	}
	b, err := readRuleFile(name)
	if err != nil {
		return false, err
	}
	for line := range bytes.Lines(b) {
		line = bytes.TrimRight(line, "\r\n \t")
		if len(line) == 0 || line[0] == '#' || bytes.Equal(line, []byte("---")) {
			continue
		}
		return bytes.HasPrefix(bytes.TrimLeft(line, " "), []byte("-")) || line[0] == '[', nil
	}
	return false, nil
}

const maxRuleFile = 4 << 20

func readRuleFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRuleFile+1))
	if err == nil && len(b) > maxRuleFile {
		err = fmt.Errorf("%s: larger than %d MiB", name, maxRuleFile>>20)
	}
	return b, err
}

// falcoRules reads rule files of Falco as the agent does.
func falcoRules(names []string) (*falco.Set, error) {
	var files []falco.File
	for _, n := range names {
		b, err := readRuleFile(n)
		if err != nil {
			return nil, usageError(fmt.Errorf("falco: %w", err))
		}
		files = append(files, falco.File{Name: n, Data: b})
	}
	set, err := falco.Load(files, falco.Options{Users: hostUsers("/etc/passwd"), Variables: process.DefaultVariables()})
	if err != nil {
		return nil, usageError(err)
	}
	return set, nil
}

// refusedSentence is what the agent says when it starts; "" when every rule is asked.
func refusedSentence(s *falco.Set) string {
	n := 0
	for _, r := range s.Rules {
		if r.Enabled && r.Verdict == falco.Not {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d Falco rules are not supported and are not asked; see `bollwerk-agent rules check FILE…` for the reasons", n, len(s.Rules))
}

// hostUsers reads the names of the host's own users (passwd(5)). Without the file none
// but root's is known.
func hostUsers(name string) map[string]uint32 {
	b, err := readRuleFile(name)
	if err != nil {
		return nil
	}
	out := map[string]uint32{}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(line, ":", 4)
		if len(f) < 4 || f[0] == "" || len(out) > 10_000 {
			continue
		}
		if id, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			out[f[0]] = uint32(id)
		}
	}
	return out
}

func newRulesTestCommand(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "test FOLDER…",
		Short:   "run the tests beside policies (tests.yaml)",
		Long:    "Exit codes: 0 all passed, 1 a test failed or there are none, 2 usage or a file is not well formed.",
		Example: "  bollwerk-agent rules test my-rules/",
		Args:    cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(errors.New("`bollwerk-agent rules test` needs a folder; see `bollwerk-agent rules test --help`"))
			}
			return runRulesTest(c.Context(), e, args, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

type testRow struct {
	Policy  string `json:"policy"`
	Test    string `json:"test"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Passed  bool   `json:"passed"`
	Problem string `json:"problem,omitempty"`
}

func runRulesTest(ctx context.Context, e *env, dirs []string, asJSON bool) error {
	rows := []testRow{}
	failed := 0
	for _, dir := range dirs {
		var files fs.FS = os.DirFS(dir)
		ps, err := policy.Load(files)
		if err != nil {
			return usageError(fmt.Errorf("rules: %s: %w", dir, err))
		}
		for _, p := range ps {
			s, err := policy.LoadSuite(files, p)
			if err != nil {
				return usageError(fmt.Errorf("rules: %s: %w", dir, err))
			}
			outcomes, err := s.Run(ctx, nil)
			if err != nil {
				return err
			}
			for _, o := range outcomes {
				rows = append(rows, testRow{p.ID, o.Case.Name, filepath.Join(dir, s.File), o.Case.Line, o.Problem == "", o.Problem})
				if o.Problem != "" {
					failed++
				}
			}
		}
	}
	if asJSON {
		if err := encodeJSON(e.json(), rows); err != nil {
			return err
		}
	} else {
		for _, r := range rows {
			if !r.Passed {
				fmt.Fprintf(e.stdout, "failed  %s:%d: %s: %s\n", terminal.Clean(r.File, 200), r.Line, terminal.Clean(r.Test, 100), terminal.Clean(r.Problem, 400))
			}
		}
		fmt.Fprintf(e.stdout, "%d tests, %d failed\n", len(rows), failed)
	}
	if failed > 0 || len(rows) == 0 {
		return &exitError{code: exitFindings}
	}
	return nil
}
