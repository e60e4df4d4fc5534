package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/test/image"
	"github.com/bollwerk/bollwerk/vuln/starter"
)

// shared unpacks the advisories that ship with the program once for all tests of
// this package: BOLLWERK_DB names them.
type shared struct{ *testing.M }

func (m shared) Run() int {
	dir, err := os.MkdirTemp("", "bollwerk-test-*")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	db, err := starter.Install(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("BOLLWERK_TEST_DB", db)
	return m.M.Run()
}

// updateScripts regenerates what scripts expect.
var updateScripts = flag.Bool("update", false, "rewrite the expectations in testdata/script")

// TestMain makes the test binary the program when it is called by the name bollwerk.
func TestMain(m *testing.M) {
	testscript.Main(shared{m}, map[string]func(){"bollwerk": func() {
		code := program()
		recordPeak()
		os.Exit(code)
	}})
}

// recordPeak writes the largest resident size of this process, in KiB, to the file
// that BOLLWERK_TEST_PEAK names. The parent's getrusage(2) will not do: what it says of
// a child begins with the size of the parent, whose memory the child shares up to its
// execve(2).
func recordPeak() {
	name := os.Getenv("BOLLWERK_TEST_PEAK")
	if name == "" {
		return
	}
	status, err := os.ReadFile("/proc/self/status") // proc_pid_status(5)
	if err != nil {
		return
	}
	if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
		kib, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		os.WriteFile(name, []byte(kib), 0o600)
	}
}

// TestScripts runs the stories in testdata/script. Besides the commands of testscript
// (https://pkg.go.dev/github.com/rogpeppe/go-internal/testscript) they use
//
//	exits N COMMAND…      run COMMAND, which must end with the exit code N
//	image DIR LAYER…      make an OCI layout from folders, one a layer; see makeImage
//	schema FILE           the JSON result must be valid against docs/result.schema.json
//	findings FILE LIST    the issues and packages in a JSON result are those listed in LIST
//	same A B              two JSON results are equal but for the time they were made
//	same-findings A B     two JSON results have the same findings
//	fingerprint FILE ID   set $FINGERPRINT to the first letters of that of the issue
//	damage DIR            flip a bit in the middle of every file
//	truncate FILE         cut a file off in the middle
//	credential FILE…      put a token that GitHub never issued in the place of @TOKEN@
//	tidy DIR…             no folder holds a file that was meant to be temporary
//
// BOLLWERK_DB is the starter database; everything else the program keeps goes to
// $WORK/cache and $WORK/tmp. -update rewrites the expectations of cmp.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *updateScripts,
		// One run shows everything that is wrong with a story.
		ContinueOnError: true,
		Setup: func(env *testscript.Env) error {
			tmp := filepath.Join(env.WorkDir, "tmp")
			for k, v := range map[string]string{
				"BOLLWERK_DB":        os.Getenv("BOLLWERK_TEST_DB"),
				"BOLLWERK_CACHE_DIR": filepath.Join(env.WorkDir, "cache"),
				"HOME":               env.WorkDir,
				"DOCKER_CONFIG":      filepath.Join(env.WorkDir, "docker"),
				"TMPDIR":             tmp,
			} {
				env.Setenv(k, v)
			}
			return os.Mkdir(tmp, 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":         scriptExits,
			"image":         scriptImage,
			"schema":        scriptSchema,
			"findings":      scriptFindings,
			"same":          scriptSame,
			"same-findings": scriptSameFindings,
			"tidy":          scriptTidy,
			"fingerprint":   scriptFingerprint,
			"damage":        scriptDamage,
			"truncate":      scriptTruncate,
			"credential":    scriptCredential,
		},
	})
}

// want refuses a wrong use of a command of ours.
func want(ts *testscript.TestScript, neg, ok bool, usage string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) >= 2, "exits N COMMAND [ARGUMENT…]")
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != code {
		ts.Fatalf("exit code %d, want %d", got, code)
	}
}

func scriptImage(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) >= 2, "image DIR LAYER…")
	layers := make([]string, 0, len(args)-1)
	for _, l := range args[1:] {
		layers = append(layers, ts.MkAbs(l))
	}
	ts.Check(makeImage(ts.MkAbs(args[0]), layers))
}

// makeImage makes the OCI layout dir of folders, one a layer, bottom first. The file
// LAYER.history beside a folder holds the line of the history, DIR.json the part
// "config" of the image configuration.
func makeImage(dir string, layers []string) error {
	spec := image.Spec{Tag: "test"}
	switch b, err := os.ReadFile(dir + ".json"); {
	case err == nil:
		if err := json.Unmarshal(b, &spec.Config); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, l := range layers {
		line, err := os.ReadFile(l + ".history")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		spec.Layers = append(spec.Layers, image.Layer{Dir: l, CreatedBy: strings.TrimSpace(string(line))})
	}
	_, err := image.WriteLayout(dir, spec)
	return err
}

func scriptSchema(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1, "schema FILE")
	s, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "docs", "result.schema.json"))
	ts.Check(err)
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(s.Validate(v))
}

// readResult reads a JSON result strictly: a field the words do not know is an error.
func readResult(text string) (*bollwerk.Result, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	r := new(bollwerk.Result)
	return r, dec.Decode(r)
}

// issues are one line for each finding that counts: kind, issue, package or place.
func issues(r *bollwerk.Result) []string {
	out := []string{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Verdict != bollwerk.Fail || f.Suppressed != nil {
			continue
		}
		where := f.Path
		if f.Package != nil {
			where = f.Package.Name + " " + f.Package.Version
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Kind, f.ID, where)))
	}
	slices.Sort(out)
	return out
}

func scriptFindings(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2, "findings FILE LIST")
	r, err := readResult(ts.ReadFile(args[0]))
	ts.Check(err)
	wanted := strings.Split(strings.TrimSpace(ts.ReadFile(args[1])), "\n")
	slices.Sort(wanted)
	if got := issues(r); !slices.Equal(got, wanted) {
		ts.Fatalf("findings:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(wanted, "\n"))
	}
}

// timeless is a JSON result without what differs between two scans of the same thing.
func timeless(text string) (string, error) {
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return "", err
	}
	for _, k := range []string{"started", "duration_seconds"} {
		if _, ok := v[k]; !ok {
			return "", fmt.Errorf("the result has no %s", k)
		}
		delete(v, k)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", " ")
	err := enc.Encode(v)
	return b.String(), err
}

func scriptSame(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2, "same A B")
	a, err := timeless(ts.ReadFile(args[0]))
	ts.Check(err)
	b, err := timeless(ts.ReadFile(args[1]))
	ts.Check(err)
	if a != b {
		ts.Fatalf("%s and %s differ: %s", args[0], args[1], firstDifference(a, b))
	}
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d:\n%s\n%s", i+1, x[i], y[i])
		}
	}
	return fmt.Sprintf("%d and %d lines", len(x), len(y))
}

func scriptSameFindings(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2, "same-findings A B")
	var list [2][]string
	for i, name := range args {
		r, err := readResult(ts.ReadFile(name))
		ts.Check(err)
		for k := range r.Findings {
			f := &r.Findings[k]
			list[i] = append(list[i], fmt.Sprintf("%s %s %s %s", f.Fingerprint, f.Kind, f.ID, f.Verdict))
		}
		slices.Sort(list[i])
	}
	if !slices.Equal(list[0], list[1]) {
		ts.Fatalf("findings differ: %s", firstDifference(strings.Join(list[0], "\n"), strings.Join(list[1], "\n")))
	}
}

func scriptTidy(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) > 0, "tidy DIR…")
	for _, dir := range args {
		ts.Check(tidy(ts.MkAbs(dir)))
	}
}

// tidy reports what a scan that is over left behind: nothing may be in the folder for
// temporary files, and no half-written file anywhere else.
func tidy(dir string) error {
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || p == dir {
			return err
		}
		if filepath.Base(dir) == "tmp" || strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("%s was left behind", p)
		}
		return nil
	})
}

func scriptFingerprint(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 2, "fingerprint FILE ID")
	r, err := readResult(ts.ReadFile(args[0]))
	ts.Check(err)
	for i := range r.Findings {
		if f := &r.Findings[i]; f.ID == args[1] {
			ts.Setenv("FINGERPRINT", string(f.Fingerprint)[:8])
			return
		}
	}
	ts.Fatalf("%s has no finding %s", args[0], args[1])
}

func scriptDamage(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1, "damage DIR")
	dir := ts.MkAbs(args[0])
	entries, err := os.ReadDir(dir)
	ts.Check(err)
	if len(entries) == 0 {
		ts.Fatalf("%s holds nothing to damage", args[0])
	}
	for _, e := range entries {
		ts.Check(flipBit(filepath.Join(dir, e.Name())))
	}
}

func scriptTruncate(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) == 1, "truncate FILE")
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), info.Size()/2))
}

// scriptCredential: scanners of source code would find a token that was written down
// in a script.
func scriptCredential(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, len(args) > 0, "credential FILE…")
	for i, name := range args {
		text := strings.ReplaceAll(ts.ReadFile(name), "@TOKEN@", githubToken(fmt.Sprint(i)))
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// githubToken has the checksum that the form of GitHub's tokens demands: 30
// characters, then their CRC-32 in base 62.
func githubToken(seed string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	body := (seed + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5")[:30]
	n := crc32.ChecksumIEEE([]byte(body))
	sum := ""
	for range 6 {
		sum = string(digits[n%62]) + sum
		n /= 62
	}
	return "ghp_" + body + sum
}

// flipBit changes one bit in the middle of a file.
func flipBit(name string) error {
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return fmt.Errorf("%s is empty", name)
	}
	b[len(b)/2] ^= 1
	return os.WriteFile(name, b, 0o600)
}
