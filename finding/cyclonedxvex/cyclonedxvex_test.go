package cyclonedxvex

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func lines(st []bollwerk.VEXStatement) []string {
	var out []string
	for _, s := range st {
		out = append(out, strings.Join([]string{s.Issue, string(s.Status), s.Justification, s.Statement, s.ActionStatement,
			strings.Join(s.Products, " "), s.Timestamp.Format("2006-01-02")}, "|"))
	}
	return out
}

func TestRead(t *testing.T) {
	for file, want := range map[string][]string{
		"testdata/vex.json": {
			"CVE-1|not_affected|vulnerable_code_not_in_execute_path|never called||pkg:npm/a@1 pkg:npm/far@1.0.0|2026-03-03",
			"CVE-2|fixed||||sha256:74634d9736a45ca9f6e1187e783492199e020f4a5c19d0b1abc2b604f894ac99 g/b:2|2026-02-02",
			"CVE-3|not_affected|vulnerable_code_not_present||update; upgrade|pkg:maven/g/n@1.1|2026-02-02",
			"CVE-3|affected|||update; upgrade|pkg:maven/g/n@1.0|2026-02-02",
			"CVE-4|not_affected|false_positive|||pkg:npm/a@1|2026-02-02",
		},
		"testdata/vex.xml": {"CVE-1|not_affected|vulnerable_code_not_present|gone|will_not_fix|pkg:npm/a@1|2026-02-02"},
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		st, problems, err := Read(bytes.NewReader(b), file)
		if err != nil {
			t.Fatal(err)
		}
		if got := lines(st); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", file, got, want)
		}
		if strings.HasSuffix(file, ".xml") {
			if len(problems) != 0 {
				t.Errorf("problems: %q", problems)
			}
			continue
		}
		all := strings.Join(problems, "\n")
		for _, s := range []string{"vers:maven/>=1|<2", "CVE-5: the analysis names nothing", `CVE-6: analysis state "fine"`} {
			if !strings.Contains(all, s) {
				t.Errorf("no problem says %q: %s", s, all)
			}
		}
	}
}

func TestReadRefuses(t *testing.T) {
	nested := func(open, close string, n int) string { return strings.Repeat(open, n) + strings.Repeat(close, n) }
	for name, in := range map[string]string{
		"empty": "", "text": "hello", "other JSON": "{}", "truncated": `{"bomFormat":"CycloneDX"`, "other XML": "<bom/>",
		"truncated XML": `<bom xmlns="http://cyclonedx.org/schema/bom/1.6">`,
		"deep":          `{"bomFormat":"CycloneDX","components":[` + nested(`{"components":[`, `]}`, 100) + `]}`,
		"very deep":     `{"bomFormat":"CycloneDX","components":[` + nested(`{"components":[`, `]}`, 20000) + `]}`,
		"deep XML":      `<bom xmlns="http://cyclonedx.org/schema/bom/1.6"><components>` + nested("<component><components>", "</components></component>", 100) + `</components></bom>`,
	} {
		if _, _, err := Read(strings.NewReader(in), "f"); err == nil || !strings.Contains(err.Error(), "cyclonedx document f") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, file := range []string{"testdata/vex.json", "testdata/vex.xml"} {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		st, _, err := Read(bytes.NewReader(b), "f")
		if err != nil && st != nil {
			t.Fatal("statements beside an error")
		}
		for _, s := range st {
			if s.Issue == "" || s.Status == "" || len(s.Products) == 0 {
				t.Fatalf("%+v", s)
			}
		}
	})
}
