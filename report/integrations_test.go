package report

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/bollwerk/bollwerk/finding"
)

// What stands in integrations/ speaks of formats and thresholds; these tests hold it
// to what there is.

func readYAML(t *testing.T, file string, v any) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return string(raw)
}

func TestGitHubAction(t *testing.T) {
	var a struct {
		Name, Description string
		Inputs            map[string]struct {
			Description string
			Required    *bool
			Default     *string
		}
		Outputs map[string]struct{ Description, Value string }
		Runs    struct {
			Using string
			Steps []struct {
				ID, Shell, Run, Uses string
				Env                  map[string]string
			}
		}
	}
	readYAML(t, "../integrations/github/action.yml", &a)
	if a.Name == "" || a.Description == "" || a.Runs.Using != "composite" || len(a.Runs.Steps) == 0 {
		t.Fatalf("incomplete: %+v", a)
	}
	used := map[string]bool{}
	for _, s := range a.Runs.Steps {
		if strings.Contains(s.Run, "${{") {
			t.Errorf("an expression inside a script is code of whoever names the branch: %s", s.Run)
		}
		if s.Run != "" && s.Shell == "" {
			t.Error("a composite step needs a shell")
		}
		for _, v := range s.Env {
			if m := regexp.MustCompile(`^\$\{\{ inputs\.([a-z-]+) \}\}$`).FindStringSubmatch(v); m != nil {
				used[m[1]] = true
			}
		}
	}
	for name, in := range a.Inputs {
		if in.Description == "" || in.Required == nil || in.Default == nil || !used[name] {
			t.Errorf("input %s is not described, has no default or is not used", name)
		}
	}
	for name, out := range a.Outputs {
		if !strings.Contains(out.Value, "steps.scan.outputs."+name) {
			t.Errorf("output %s: %s", name, out.Value)
		}
	}
}

func TestGitLabTemplate(t *testing.T) {
	var doc map[string]any
	text := readYAML(t, "../integrations/gitlab/bollwerk.gitlab-ci.yml", &doc)
	for _, m := range regexp.MustCompile(`--format ([a-z-]+)`).FindAllStringSubmatch(text, -1) {
		if _, err := Find(m[1]); err != nil {
			t.Error(err)
		}
	}
	vars := doc["variables"].(map[string]any)
	if _, err := finding.ParseThreshold(vars["BOLLWERK_FAIL_ON"].(string)); err != nil {
		t.Error(err)
	}
	for name, v := range doc {
		if job, ok := v.(map[string]any); ok && name != "variables" && name[0] != '.' {
			if job["extends"] != ".bollwerk" || job["script"] == nil || job["artifacts"].(map[string]any)["when"] != "always" {
				t.Errorf("job %s: %v", name, job)
			}
			// Each file of a report is one that the script writes.
			for _, file := range job["artifacts"].(map[string]any)["reports"].(map[string]any) {
				if !strings.Contains(text, "--output "+file.(string)) {
					t.Errorf("job %s: nothing writes %v", name, file)
				}
			}
		}
	}
}

func TestPreCommitHooks(t *testing.T) {
	var hooks []struct {
		ID, Name, Description, Language, Entry, Files string
		PassFilenames                                 *bool `yaml:"pass_filenames"`
	}
	readYAML(t, "../.pre-commit-hooks.yaml", &hooks)
	if len(hooks) != 2 {
		t.Fatalf("%d hooks", len(hooks))
	}
	for _, h := range hooks {
		if h.ID == "" || h.Name == "" || h.Entry == "" || h.PassFilenames == nil || *h.PassFilenames {
			t.Errorf("hook %+v", h)
		}
		re, err := regexp.Compile(h.Files)
		if err != nil {
			t.Fatal(err)
		}
		for file, want := range map[string]bool{
			"package-lock.json": true, "svc/go.mod": true, "a/requirements-dev.txt": true, "pom.xml": true, "Dockerfile": true, ".bollwerk.yaml": true, "x.csproj": true,
			"gradle.lockfile": true, "main.go": false, "package-lock.json.bak": false, "docs/go.md": false,
		} {
			if re.MatchString(file) != want {
				t.Errorf("%s: %s triggers: %v", h.ID, file, !want)
			}
		}
	}
}

// fakeBollwerk is a program that writes its arguments down, one call a line, and
// exits as it is told.
func fakeBollwerk(t *testing.T) (bin, log string) {
	t.Helper()
	dir := t.TempDir()
	bin, log = filepath.Join(dir, "bollwerk"), filepath.Join(dir, "calls")
	script := "#!/bin/sh\nfor a in \"$@\"; do printf '[%s]' \"$a\"; done >>" + log + "\necho >>" + log + "\n" +
		"while [ $# -gt 0 ]; do [ \"$1\" = --output ] && echo report >\"$2\"; shift; done\nexit ${FAKE_CODE:-0}\n"
	if err := os.WriteFile(bin, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return bin, log
}

func runScript(t *testing.T, script, dir string, env ...string) (int, string) {
	t.Helper()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("bash is not installed: the pipeline scripts cannot be run")
	}
	path, err := filepath.Abs(script)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(bash, path)
	c.Dir = dir
	c.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	out, err := c.CombinedOutput()
	if err != nil && c.ProcessState == nil {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

func TestScanScript(t *testing.T) {
	const script = "../integrations/scan.sh"
	for _, c := range []struct {
		name string
		env  []string
		code int
		want string // calls, or the message when nothing was called
	}{
		{"defaults", nil, 0, "[scan][.]\n"},
		{"everything", []string{"BOLLWERK_SCAN_TARGET=registry.example/a b:1", "BOLLWERK_SCAN_FAIL_ON=high+fixable,epss>=10%", "BOLLWERK_SCAN_BASELINE=main.json", "BOLLWERK_SCAN_CONFIG=c.yaml", "BOLLWERK_SCAN_REPORTS=sarif=out.sarif"}, 0,
			"[scan][--quiet][--baseline][main.json][--config][c.yaml][--fail-on][high+fixable,epss>=10%][--format][sarif][--output][out.sarif][registry.example/a b:1]\n" +
				"[scan][--baseline][main.json][--config][c.yaml][--fail-on][high+fixable,epss>=10%][registry.example/a b:1]\n"},
		{"findings: reports are written all the same, the code is passed on", []string{"FAKE_CODE=1", "BOLLWERK_SCAN_REPORTS=json=a.json junit=b.xml"}, 1,
			"[scan][--quiet][--format][json][--output][a.json][.]\n[scan][--quiet][--format][junit][--output][b.xml][.]\n[scan][.]\n"},
		{"the work could not be done: no second try", []string{"FAKE_CODE=3", "BOLLWERK_SCAN_REPORTS=json=a.json"}, 3, "[scan][--quiet][--format][json][--output][a.json][.]\n"},
		{"shell in the target stays text", []string{"BOLLWERK_SCAN_TARGET=$(touch pwned);`touch pwned`"}, 0, "[scan][$(touch pwned);`touch pwned`]\n"},
		{"an option as target", []string{"BOLLWERK_SCAN_TARGET=--output=/etc/passwd"}, 2, "BOLLWERK_SCAN_TARGET is not valid"},
		{"an option as threshold", []string{"BOLLWERK_SCAN_FAIL_ON=--all"}, 2, "BOLLWERK_SCAN_FAIL_ON is not valid"},
		{"a line break", []string{"BOLLWERK_SCAN_TARGET=a\nb"}, 2, "control character"},
		{"an option as baseline", []string{"BOLLWERK_SCAN_BASELINE=-x"}, 2, "BOLLWERK_SCAN_BASELINE is not valid"},
		{"a report without a file", []string{"BOLLWERK_SCAN_REPORTS=json"}, 2, "BOLLWERK_SCAN_REPORTS is not valid"},
		{"a glob is a name", []string{"BOLLWERK_SCAN_REPORTS=json=*"}, 0, "[scan][--quiet][--format][json][--output][*][.]\n[scan][.]\n"},
		{"no program", []string{"BOLLWERK_BIN=/nonexistent/bollwerk"}, 2, "is not installed"},
	} {
		bin, log := fakeBollwerk(t)
		dir := t.TempDir()
		code, out := runScript(t, script, dir, append([]string{"BOLLWERK_BIN=" + bin}, c.env...)...)
		calls, err := os.ReadFile(log)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		got := string(calls)
		if c.code == 2 {
			got = out
			if len(calls) > 0 {
				t.Errorf("%s: called all the same: %s", c.name, calls)
			}
		}
		if code != c.code || c.code == 2 && !strings.Contains(got, c.want) || c.code != 2 && got != c.want {
			t.Errorf("%s: exit %d\ngot  %s\nwant %s\n%s", c.name, code, got, c.want, out)
		}
		if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
			t.Errorf("%s: code was run", c.name)
		}
	}
}

func TestGitHubScript(t *testing.T) {
	const script = "../integrations/github/scan.sh"
	for _, c := range []struct {
		name string
		env  []string
		code int
		want string
	}{
		{"clean", nil, 0, "exit-code=0\nsarif-file=bollwerk.sarif\njson-file=bollwerk.json\n"},
		{"findings", []string{"FAKE_CODE=1", "BOLLWERK_SCAN_SARIF=out/a.sarif"}, 1, "exit-code=1\nsarif-file=out/a.sarif\njson-file=bollwerk.json\n"},
		{"bad input", []string{"BOLLWERK_SCAN_TARGET=-x"}, 2, "exit-code=2\nsarif-file=bollwerk.sarif\njson-file=bollwerk.json\n"},
		{"a forged output", []string{"BOLLWERK_SCAN_SARIF=a\nexit-code=0"}, 2, ""},
		{"two reports in one name", []string{"BOLLWERK_SCAN_JSON=a table=b"}, 2, ""},
	} {
		bin, _ := fakeBollwerk(t)
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "out"), 0o755); err != nil {
			t.Fatal(err)
		}
		outputs, summary := filepath.Join(dir, "outputs"), filepath.Join(dir, "summary")
		code, out := runScript(t, script, dir, append([]string{"BOLLWERK_BIN=" + bin, "RUNNER_TEMP=" + dir, "GITHUB_OUTPUT=" + outputs, "GITHUB_STEP_SUMMARY=" + summary}, c.env...)...)
		got, err := os.ReadFile(outputs)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if code != c.code || string(got) != c.want {
			t.Errorf("%s: exit %d, outputs %q\n%s", c.name, code, got, out)
		}
		if _, err := os.Stat(summary); (err == nil) != (c.code < 2) {
			t.Errorf("%s: summary: %v", c.name, err)
		}
	}
}

// Every example in the documents of this part is one that works.
func TestDocumentsNameWhatExists(t *testing.T) {
	for _, doc := range []string{"../docs/ci.md", "../docs/outputs.md", "../docs/ranking.md", "../docs/result.md"} {
		raw, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		for _, m := range regexp.MustCompile(`--format[ =]([a-z-]+)`).FindAllStringSubmatch(text, -1) {
			if _, err := Find(m[1]); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
		for _, m := range regexp.MustCompile("--fail-on[ =]'?\"?([^'\"\\s`]+)").FindAllStringSubmatch(text, -1) {
			if _, err := finding.ParseThreshold(m[1]); err != nil && !strings.Contains(m[1], "…") {
				t.Errorf("%s: --fail-on %s: %v", doc, m[1], err)
			}
		}
		for _, m := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(text, -1) {
			var v any
			if err := yaml.Unmarshal([]byte(m[1]), &v); err != nil {
				t.Errorf("%s: %v in\n%s", doc, err, m[1])
			}
		}
	}
	outputs, err := os.ReadFile("../docs/outputs.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Formats() {
		if !strings.Contains(string(outputs), "`"+f.Name+"`") {
			t.Errorf("docs/outputs.md does not speak of %s", f.Name)
		}
	}
}
