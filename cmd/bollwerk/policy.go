package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

// policyOptions are the flags shared by the sub-commands of `bollwerk policy`.
type policyOptions struct {
	config  string
	folders []string
	format  string
	input   string
	now     string
	verbose bool
	kinds   bool
}

func newPolicyCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "lists, explains, checks and tests policies",
		Long: `Policies are YAML files with CEL expressions over typed subjects; each lives in a
folder of its own with its tests: <area>/<id>/{policy.yaml,tests.yaml}.
docs/policy-language.md describes the language.`,
		Args: onlyVerbs,
		RunE: showHelp,
	}
	c.AddCommand(newPolicyListCommand(e), newPolicyExplainCommand(e), newPolicyLintCommand(e), newPolicyTestCommand(e))
	return c
}

func (o *policyOptions) addFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "read modes and parameters from `FILE` (default: "+policy.ConfigName+", if there is one)")
	f.StringArrayVar(&o.folders, "policies", nil, "read policies below `DIR`, too (repeatable)")
}

func (o *policyOptions) addFormat(c *cobra.Command) {
	c.Flags().StringVar(&o.format, "format", "table", "`FORMAT` of the output: table or json")
}

func (o *policyOptions) checkFormat() error {
	if o.format != "table" && o.format != "json" {
		return usageError(fmt.Errorf("--format %q: want table or json", o.format))
	}
	return nil
}

// library is the policies in force and the engine that judges by them.
type library struct {
	engine   *policy.Engine
	policies []*policy.Policy
	disabled map[string]string
	config   *policy.Config
	trees    map[string]fs.FS // where each policy came from, by ID
}

// suite loads the tests of a policy.
func (l *library) suite(p *policy.Policy) (*policy.Suite, error) {
	return policy.LoadSuite(l.trees[p.ID], p)
}

func (o *policyOptions) library(now time.Time) (*library, error) {
	cfg, err := readPolicyConfig(o.config)
	if err != nil {
		return nil, usageError(err)
	}
	l := &library{config: cfg, trees: map[string]fs.FS{}}
	shipped := policies.Files()
	ps, err := policy.Load(shipped)
	if err != nil {
		return nil, err
	}
	for _, p := range ps {
		l.trees[p.ID] = shipped
	}
	folders := append([]string{}, o.folders...)
	for _, f := range cfg.PolicyFolders {
		if !filepath.IsAbs(f) {
			f = filepath.Join(filepath.Dir(cfg.Name), f)
		}
		folders = append(folders, f)
	}
	for _, dir := range folders {
		tree := os.DirFS(dir)
		own, err := policy.Load(tree)
		if err != nil {
			return nil, usageError(fmt.Errorf("%s: %w", dir, err))
		}
		if len(own) == 0 {
			return nil, usageError(fmt.Errorf("%s: no policy.yaml below it", dir))
		}
		for _, p := range own {
			if l.trees[p.ID] != nil {
				return nil, usageError(fmt.Errorf("%s: the id %s is taken by another policy", filepath.Join(dir, p.File), p.ID))
			}
			l.trees[p.ID] = tree
		}
		ps = append(ps, own...)
	}
	if l.policies, l.disabled, err = cfg.Override(ps); err != nil {
		return nil, usageError(err)
	}
	l.engine, err = policy.New(policy.Options{Now: now, Parameters: cfg.Parameters()})
	return l, err
}

// readPolicyConfig reads the named configuration, or .bollwerk.yaml in the working
// folder; that one may be missing.
func readPolicyConfig(name string) (*policy.Config, error) {
	optional := name == ""
	if optional {
		name = policy.ConfigName
	}
	f, err := os.Open(name)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return policy.LoadConfig(strings.NewReader(""), name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return policy.LoadConfig(f, name)
}

func newPolicyListCommand(e *env) *cobra.Command {
	o := &policyOptions{}
	c := &cobra.Command{
		Use:   "list",
		Short: "lists the policies in force with their modes",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return runPolicyList(e, o) },
	}
	o.addFlags(c)
	o.addFormat(c)
	c.Flags().BoolVar(&o.kinds, "subjects", false, "list what can be judged, with fields and functions, instead")
	return c
}

func runPolicyList(e *env, o *policyOptions) error {
	if err := o.checkFormat(); err != nil {
		return err
	}
	l, err := o.library(time.Now())
	if err != nil {
		return err
	}
	if o.kinds {
		return printSubjects(e, o, l.engine)
	}
	type row struct {
		ID       string `json:"id"`
		Mode     string `json:"mode"`
		Severity string `json:"severity"`
		Subject  string `json:"subject"`
		Title    string `json:"title"`
	}
	rows := []row{}
	for _, p := range l.policies {
		rows = append(rows, row{p.ID, string(p.Mode), p.Severity.String(), p.Subject, p.Title})
	}
	if o.format == "json" {
		return printJSON(e.stdout, map[string]any{"policies": rows, "disabled": l.disabled})
	}
	w := tabwriter.NewWriter(e.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tMODE\tSEVERITY\tSUBJECT\tTITLE")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.ID, r.Mode, r.Severity, r.Subject, r.Title)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(l.disabled)) {
		fmt.Fprintf(e.stdout, "disabled: %s: %s\n", id, l.disabled[id])
	}
	return nil
}

// printSubjects lists what expressions may speak of.
func printSubjects(e *env, o *policyOptions, engine *policy.Engine) error {
	if o.format == "json" {
		return printJSON(e.stdout, map[string]any{"subjects": engine.Kinds(), "functions": policy.Functions()})
	}
	w := tabwriter.NewWriter(e.stdout, 0, 4, 2, ' ', 0)
	for _, k := range engine.Kinds() {
		fmt.Fprintf(w, "%s: %s\n", k.Name, k.Doc)
		for _, f := range k.Fields {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", f.Path, f.Type, f.Doc)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(w, "functions, besides CEL's own and its extensions for strings, lists, sets and math:")
	for _, f := range policy.Functions() {
		fmt.Fprintf(w, "  %s\t%s\n", f.Signature, f.Doc)
	}
	return w.Flush()
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func newPolicyLintCommand(e *env) *cobra.Command {
	o := &policyOptions{}
	c := &cobra.Command{
		Use:   "lint [DIR|FILE]...",
		Short: "checks policies and configurations without running them",
		Long: `Checks types, unknown fields (with suggestions), missing fixes, mappings and
tests, and rules that can never fail. A FILE that is not named policy.yaml is
read as a configuration (.bollwerk.yaml). Without arguments: the shipped policies.

Exit codes: 0 no errors (warnings are printed), 1 errors, 2 usage.`,
		RunE: func(c *cobra.Command, args []string) error { return runPolicyLint(e, o, args) },
	}
	o.addFormat(c)
	return c
}

func runPolicyLint(e *env, o *policyOptions, args []string) error {
	if err := o.checkFormat(); err != nil {
		return err
	}
	engine, err := policy.New(policy.Options{Now: time.Now()})
	if err != nil {
		return err
	}
	problems := []policy.Problem{}
	checked := 0
	lintTree := func(fsys fs.FS, prefix string) error {
		names, err := policyFiles(fsys)
		if err != nil {
			return err
		}
		for _, name := range names {
			checked++
			problems = append(problems, lintPolicy(engine, fsys, name, prefix)...)
		}
		return nil
	}
	if len(args) == 0 {
		if err := lintTree(policies.Files(), ""); err != nil {
			return err
		}
	}
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return usageError(err)
		}
		switch {
		case info.IsDir():
			err = lintTree(os.DirFS(arg), arg)
		case filepath.Base(arg) == "policy.yaml":
			checked++
			dir := filepath.Dir(arg)
			problems = append(problems, lintPolicy(engine, os.DirFS(dir), "policy.yaml", dir)...)
		default:
			checked++
			cfg, cerr := readPolicyConfig(arg)
			if cerr != nil {
				problems = append(problems, policy.Problems(cerr, arg)...)
			} else {
				problems = append(problems, cfg.Lint(time.Now())...)
			}
		}
		if err != nil {
			return usageError(fmt.Errorf("%s: %w", arg, err))
		}
	}
	if checked == 0 {
		return usageError(errors.New("no policy.yaml found"))
	}
	bad := 0
	for _, p := range problems {
		if p.Error {
			bad++
		}
	}
	if o.format == "json" {
		if err := printJSON(e.stdout, problems); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(e.stdout, p)
		}
		fmt.Fprintf(e.stdout, "%d files checked: %d errors, %d warnings\n", checked, bad, len(problems)-bad)
	}
	if bad > 0 {
		return &exitError{code: exitFindings}
	}
	return nil
}

// policyFiles lists every policy.yaml of a tree, hidden folders aside.
func policyFiles(fsys fs.FS) ([]string, error) {
	var names []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if !d.IsDir() && d.Name() == "policy.yaml" {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

func lintPolicy(engine *policy.Engine, fsys fs.FS, name, prefix string) []policy.Problem {
	shown := filepath.Join(prefix, name)
	p, err := policy.LoadOne(fsys, name)
	if err != nil {
		return underPrefix(policy.Problems(err, name), prefix)
	}
	s, err := policy.LoadSuite(fsys, p)
	problems := policy.Problems(err, shown)
	return underPrefix(append(problems, engine.Lint(p, s)...), prefix)
}

func underPrefix(ps []policy.Problem, prefix string) []policy.Problem {
	for i := range ps {
		ps[i].File = filepath.Join(prefix, ps[i].File)
	}
	return ps
}

func newPolicyTestCommand(e *env) *cobra.Command {
	o := &policyOptions{}
	c := &cobra.Command{
		Use:   "test [DIR]...",
		Short: "runs the tests beside each policy",
		Long: `Runs every case of every tests.yaml that lies beside a policy.yaml. Without
arguments: the shipped policies.

Exit codes: 0 every case is as wanted, 1 one is not (or a policy has no case),
2 usage, 3 the tests could not be run.`,
		RunE: func(c *cobra.Command, args []string) error { return runPolicyTest(c, e, o, args) },
	}
	c.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "print every case")
	o.addFormat(c)
	return c
}

func runPolicyTest(c *cobra.Command, e *env, o *policyOptions, args []string) error {
	if err := o.checkFormat(); err != nil {
		return err
	}
	trees := map[string]fs.FS{}
	order := args
	if len(args) == 0 {
		order, trees[""] = []string{""}, policies.Files()
	}
	for _, dir := range args {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return usageError(fmt.Errorf("%s: want a folder with policies", dir))
		}
		trees[dir] = os.DirFS(dir)
	}
	type caseRow struct {
		Policy  string `json:"policy"`
		Case    string `json:"case"`
		File    string `json:"file"`
		Line    int    `json:"line"`
		Problem string `json:"problem,omitempty"`
	}
	rows := []caseRow{}
	tested, failed := 0, 0
	for _, dir := range order {
		ps, err := policy.Load(trees[dir])
		if err != nil {
			return usageError(err)
		}
		for _, p := range ps {
			tested++
			s, err := policy.LoadSuite(trees[dir], p)
			if err != nil {
				return usageError(err)
			}
			if len(s.Cases) == 0 {
				failed++
				rows = append(rows, caseRow{Policy: p.ID, File: filepath.Join(dir, s.File), Problem: "the policy has no tests"})
				continue
			}
			outcomes, err := s.Run(c.Context(), nil)
			if err != nil {
				return err
			}
			for _, out := range outcomes {
				if out.Problem != "" {
					failed++
				}
				rows = append(rows, caseRow{p.ID, out.Case.Name, filepath.Join(dir, s.File), out.Case.Line, out.Problem})
			}
		}
	}
	if tested == 0 {
		return usageError(errors.New("no policy.yaml found"))
	}
	if o.format == "json" {
		if err := printJSON(e.stdout, rows); err != nil {
			return err
		}
	} else {
		for _, r := range rows {
			switch {
			case r.Problem != "":
				fmt.Fprintf(e.stdout, "FAIL  %s: %s\n      %s:%d: %s\n", r.Policy, r.Case, r.File, r.Line, r.Problem)
			case o.verbose:
				fmt.Fprintf(e.stdout, "ok    %s: %s\n", r.Policy, r.Case)
			}
		}
		fmt.Fprintf(e.stdout, "%d policies, %d cases: %d as wanted, %d not\n", tested, len(rows), len(rows)-failed, failed)
	}
	if failed > 0 {
		return &exitError{code: exitFindings}
	}
	return nil
}

func newPolicyExplainCommand(e *env) *cobra.Command {
	o := &policyOptions{}
	c := &cobra.Command{
		Use:   "explain ID",
		Short: "says what a policy checks, why, and how it judges a given subject",
		Long: `Says what a policy checks, why, what may be configured and how its expressions
were understood. With --input it judges the subject in the file (JSON or YAML; -
reads standard input) and prints the value of every sub-expression. The file may
also be the JSON result of a scan, for policies over images and distributions.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError(errors.New("want one policy ID; `bollwerk policy list` shows them"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return runPolicyExplain(c, e, o, args[0]) },
	}
	o.addFlags(c)
	o.addFormat(c)
	c.Flags().StringVar(&o.input, "input", "", "judge the subject in `FILE`")
	c.Flags().StringVar(&o.now, "now", "", "judge on this `DAY` (2026-01-31) instead of today")
	return c
}

func runPolicyExplain(c *cobra.Command, e *env, o *policyOptions, id string) error {
	if err := o.checkFormat(); err != nil {
		return err
	}
	now := time.Now()
	if o.now != "" {
		var err error
		if now, err = time.Parse(time.DateOnly, o.now); err != nil {
			return usageError(fmt.Errorf("--now %q: want a day like 2026-01-31", o.now))
		}
	}
	l, err := o.library(now)
	if err != nil {
		return err
	}
	p, err := l.find(id)
	if err != nil {
		return usageError(err)
	}
	if o.input == "" {
		suite, err := l.suite(p)
		if err != nil {
			return usageError(err)
		}
		d, err := l.engine.Describe(c.Context(), p, suite)
		if err != nil {
			return usageError(err)
		}
		if o.format == "json" {
			return printJSON(e.stdout, d)
		}
		return d.Write(e.stdout)
	}
	b, err := readPolicyInput(e, o.input)
	if err != nil {
		return usageError(err)
	}
	subject, err := policy.ParseSubject(o.input, b, p.Subject)
	if err != nil {
		return usageError(err)
	}
	ds, err := l.engine.Explain(c.Context(), subject, p)
	if err != nil {
		return err
	}
	if o.format == "json" {
		return printJSON(e.stdout, policy.Explanations(ds))
	}
	return policy.WriteExplanation(e.stdout, ds)
}

func (l *library) find(id string) (*policy.Policy, error) {
	ids := make([]string, 0, len(l.policies))
	for _, p := range l.policies {
		if p.ID == id {
			return p, nil
		}
		ids = append(ids, p.ID)
	}
	if why, ok := l.disabled[id]; ok {
		return nil, fmt.Errorf("policy %s is disabled in %s: %s", id, l.config.Name, why)
	}
	return nil, policy.UnknownPolicy(id, ids)
}

// readPolicyInput reads a file or, for -, standard input; at most 64 MiB.
func readPolicyInput(e *env, name string) ([]byte, error) {
	const most = 64 << 20
	r := e.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && len(b) > most {
		err = fmt.Errorf("%s: larger than %d MiB", name, most>>20)
	}
	return b, err
}
