package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// policyCommand runs `bollwerk policy …` in the folder and returns exit code,
// stdout and the error.
func policyCommand(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &env{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, version: "test"}
	c := newPolicyCommand(e)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetOut(&out)
	c.SetErr(&errs)
	c.SetArgs(args)
	if err := c.ExecuteContext(context.Background()); err != nil {
		code = exitFailed
		var ee *exitError
		if errors.As(err, &ee) {
			code = ee.code
		}
		errs.WriteString(err.Error())
	}
	return code, out.String(), errs.String()
}

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const ownPolicy = `id: team-label
title: The image has no team
severity: low
subject: image
description: The label team is missing.
why: Nobody knows whom to call.
pass: '"team" in image.config.labels'
message: the label team is missing
fix: 'LABEL team=shop'
mappings: {house rules: "7"}
`

const ownTests = `tests:
  - {name: none, subject: {config: {labels: {}}}, want: fail}
  - {name: one, subject: {config: {labels: {team: shop}}}, want: pass}
  - {name: nothing known, subject: {}, want: not_evaluated}
`

func TestPolicyTestCommand(t *testing.T) {
	code, out, errs := policyCommand(t, "", "test")
	if code != exitClean || !strings.Contains(out, ", 0 not") {
		t.Errorf("shipped: %d %s %s", code, out, errs)
	}
	good := writeFiles(t, map[string]string{"team-label/policy.yaml": ownPolicy, "team-label/tests.yaml": ownTests})
	code, out, _ = policyCommand(t, "", "test", "-v", good)
	if code != exitClean || !strings.Contains(out, "ok    team-label: none\n") || !strings.Contains(out, "1 policies, 3 cases: 3 as wanted, 0 not") {
		t.Errorf("good: %d %s", code, out)
	}
	bad := writeFiles(t, map[string]string{"team-label/policy.yaml": ownPolicy, "team-label/tests.yaml": strings.Replace(ownTests, "want: pass", "want: fail", 1)})
	code, out, _ = policyCommand(t, "", "test", bad)
	if code != exitFindings || !strings.Contains(out, "FAIL  team-label: one\n") || !strings.Contains(out, "tests.yaml:3: want fail, got pass") {
		t.Errorf("bad: %d %s", code, out)
	}
	none := writeFiles(t, map[string]string{"team-label/policy.yaml": ownPolicy})
	if code, out, _ = policyCommand(t, "", "test", none); code != exitFindings || !strings.Contains(out, "the policy has no tests") {
		t.Errorf("none: %d %s", code, out)
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(good, "missing"), filepath.Join(good, "team-label", "policy.yaml")} {
		if code, out, errs = policyCommand(t, "", "test", dir); code != exitUsage {
			t.Errorf("%s: %d %s %s", dir, code, out, errs)
		}
	}
	code, out, _ = policyCommand(t, "", "test", "--format", "json", bad)
	var rows []struct{ Policy, Case, Problem string }
	if err := json.Unmarshal([]byte(out), &rows); code != exitFindings || err != nil || len(rows) != 3 || rows[1].Problem == "" || rows[0].Problem != "" {
		t.Errorf("json: %d %v %s", code, err, out)
	}
}

func TestPolicyLintCommand(t *testing.T) {
	if code, out, errs := policyCommand(t, "", "lint"); code != exitClean || !strings.HasSuffix(out, "files checked: 0 errors, 0 warnings\n") {
		t.Errorf("shipped: %d %s %s", code, out, errs)
	}
	dir := writeFiles(t, map[string]string{
		"a/team-label/policy.yaml": strings.Replace(strings.Replace(ownPolicy, "config.labels", "config.lables", 1), "fix: 'LABEL team=shop'\n", "", 1),
		"a/team-label/tests.yaml":  ownTests,
		".bollwerk.yaml":           "exceptions:\n- {id: a, reason: r, owner: o, expires: 2020-01-01, scope: {issues: [CVE-1]}}\n",
		"broken.yaml":              "exceptions:\n- {id: a, reason: r, expires: 2020-01-01, scope: {issues: [CVE-1]}}\n",
	})
	code, out, _ := policyCommand(t, "", "lint", filepath.Join(dir, "a"))
	if code != exitFindings || !strings.Contains(out, `policy.yaml:7: error: pass: column`) || !strings.Contains(out, `did you mean "labels"?`) || !strings.Contains(out, "warning: fix is missing") {
		t.Errorf("misspelt: %d %s", code, out)
	}
	code, out, _ = policyCommand(t, "", "lint", filepath.Join(dir, "a/team-label/policy.yaml"))
	if code != exitFindings || !strings.Contains(out, filepath.Join(dir, "a/team-label/policy.yaml")+":7: error") {
		t.Errorf("one file: %d %s", code, out)
	}
	code, out, _ = policyCommand(t, "", "lint", filepath.Join(dir, ".bollwerk.yaml"))
	if code != exitClean || !strings.Contains(out, "a expired on 2020-01-01 and hides nothing any more") {
		t.Errorf("configuration: %d %s", code, out)
	}
	code, out, _ = policyCommand(t, "", "lint", filepath.Join(dir, "broken.yaml"))
	if code != exitFindings || !strings.Contains(out, "broken.yaml:2: error: exception a: owner is missing") {
		t.Errorf("broken: %d %s", code, out)
	}
	for _, arg := range []string{filepath.Join(dir, "missing"), t.TempDir()} {
		if code, out, errs := policyCommand(t, "", "lint", arg); code != exitUsage {
			t.Errorf("%s: %d %s %s", arg, code, out, errs)
		}
	}
}

func TestPolicyListAndExplainCommands(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"own/team-label/policy.yaml": ownPolicy,
		"own/team-label/tests.yaml":  ownTests,
		".bollwerk.yaml":             "policy-folders: [own]\npolicies:\n  runs-as-root: {mode: enforce}\n  mutable-tag: {disabled: digests only}\n  image-too-old: {parameters: {max_age: 7d}}\n",
	})
	config := filepath.Join(dir, ".bollwerk.yaml")
	code, out, errs := policyCommand(t, "", "list", "--config", config)
	if code != exitClean || !strings.Contains(out, "disabled: mutable-tag: digests only") || !strings.Contains(out, "team-label") || strings.Contains(out, "\nmutable-tag") {
		t.Errorf("list: %d %s %s", code, out, errs)
	}
	for _, l := range strings.Split(out, "\n") {
		if strings.HasPrefix(l, "runs-as-root") && !strings.Contains(l, "enforce") {
			t.Errorf("list: %s", l)
		}
	}
	code, out, _ = policyCommand(t, "", "explain", "--config", config, "image-too-old")
	for _, want := range []string{"= 7d\n", "as shipped: 180d", "reads Image.created", "Examples", "fail: a year old", "NIST SP 800-190"} {
		if code != exitClean || !strings.Contains(out, want) {
			t.Errorf("explain: %d, want %q in\n%s", code, want, out)
		}
	}
	code, out, _ = policyCommand(t, `{"created": "2026-01-01T00:00:00Z"}`, "explain", "--config", config, "image-too-old", "--input", "-", "--now", "2026-02-01")
	if code != exitClean || !strings.HasPrefix(out, "image-too-old: fail: built on 2026-01-01, 31 days ago") || !strings.Contains(out, "now - image.created = ") {
		t.Errorf("trace: %d %s", code, out)
	}
	code, out, _ = policyCommand(t, "config: {labels: {}}", "explain", "--policies", filepath.Join(dir, "own"), "team-label", "--input", "-", "--format", "json")
	var ds []struct {
		Verdict string
		Trace   []struct{ Expression, Value string }
	}
	if err := json.Unmarshal([]byte(out), &ds); code != exitClean || err != nil || len(ds) != 1 || ds[0].Verdict != "fail" || len(ds[0].Trace) == 0 {
		t.Errorf("json: %d %v %s", code, err, out)
	}
	for _, args := range [][]string{
		{"explain"}, {"explain", "runs-as-rot"}, {"explain", "--config", config, "mutable-tag"}, {"explain", "runs-as-root", "--input", filepath.Join(dir, "missing")},
		{"explain", "runs-as-root", "--now", "today"}, {"list", "--config", filepath.Join(dir, "missing")}, {"list", "--format", "xml"}, {"list", "--policies", t.TempDir()},
	} {
		if code, out, errs := policyCommand(t, "", args...); code != exitUsage || errs == "" {
			t.Errorf("%v: %d %q %q", args, code, out, errs)
		}
	}
	if _, _, errs := policyCommand(t, "", "explain", "runs-as-rot"); errs != `there is no policy "runs-as-rot"; did you mean "runs-as-root"?` {
		t.Error(errs)
	}
}
