package openvex

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

func read(t *testing.T, file string) ([]bollwerk.VEXStatement, []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, problems, err := Read(f, file)
	if err != nil {
		t.Fatal(err)
	}
	return st, problems
}

func TestRead(t *testing.T) {
	st, problems := read(t, "testdata/v020.json")
	want := []bollwerk.VEXStatement{
		{
			Issue: "CVE-2021-44228", Aliases: []string{"GHSA-jfh8-c2jp-5v3q"}, Status: "not_affected", Justification: "vulnerable_code_not_in_execute_path",
			Statement: "The lookup classes are removed from the jar when the image is built.",
			Products: []string{
				"pkg:oci/shop@sha256:74634d9736a45ca9f6e1187e783492199e020f4a5c19d0b1abc2b604f894ac99?repository_url=registry.example/team/shop",
				"sha256:74634d9736a45ca9f6e1187e783492199e020f4a5c19d0b1abc2b604f894ac99",
			},
			Subcomponents: []string{"pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"},
			Timestamp:     time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC), Author: "mailto:psirt@example.com", Source: "testdata/v020.json, statement 1",
		},
		{
			Issue: "CVE-2023-0286", Status: "affected", ActionStatement: "Upgrade to 3.0.8.", Products: []string{"pkg:deb/debian/openssl", "cpe:2.3:a:openssl:openssl:*:*:*:*:*:*:*:*"},
			Timestamp: time.Date(2026, 4, 5, 6, 7, 8, 0, time.UTC), Author: "mailto:psirt@example.com", Source: "testdata/v020.json, statement 2",
		},
		{
			Issue: "CVE-2020-1", Status: "under_investigation", Products: []string{"pkg:npm/a"},
			Timestamp: time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), Author: "mailto:psirt@example.com", Source: "testdata/v020.json, statement 3",
		},
	}
	if !reflect.DeepEqual(st, want) {
		g, _ := json.MarshalIndent(st, "", " ")
		t.Errorf("got %s", g)
	}
	if len(problems) != 2 || !strings.Contains(problems[0]+problems[1], "without justification or impact statement: statement 4") ||
		!strings.Contains(problems[0]+problems[1], `a status that OpenVEX does not have: statement 5 ("harmless")`) {
		t.Errorf("problems: %q", problems)
	}
}

func TestReadOldVersion(t *testing.T) {
	st, problems := read(t, "testdata/v001.json")
	if len(problems) != 0 || len(st) != 1 || st[0].Issue != "CVE-2022-39046" || !reflect.DeepEqual(st[0].Subcomponents, []string{"pkg:apk/wolfi/glibc@2.36-r0"}) ||
		!strings.HasPrefix(st[0].Products[0], "pkg:oci/miniprow@sha256:") {
		t.Errorf("%+v, %q", st, problems)
	}
}

func TestReadWrapped(t *testing.T) {
	plain, err := os.ReadFile("testdata/v020.json")
	if err != nil {
		t.Fatal(err)
	}
	want, _ := read(t, "testdata/v020.json")
	statement := `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://openvex.dev/ns/v0.2.0","subject":[],"predicate":` + string(plain) + `}`
	envelope := `{"payloadType":"application/vnd.in-toto+json","payload":"` + base64.StdEncoding.EncodeToString([]byte(statement)) + `","signatures":[]}`
	for name, in := range map[string]string{"array": "[" + string(plain) + "]", "statement": statement, "envelope": envelope, "byte order mark": "\ufeff" + string(plain)} {
		st, _, err := Read(strings.NewReader(in), "testdata/v020.json")
		if err != nil || !reflect.DeepEqual(st, want) {
			t.Errorf("%s: %d statements, %v", name, len(st), err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "truncated": `{"@context":"https://openvex.dev/ns/v0.2.0","statements":[`, "other JSON": `{"a":1}`, "not JSON": "hello",
		"other attestation": `{"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`,
		"bad payload":       `{"payloadType":"x","payload":"*"}`,
		"envelopes without end": func() string {
			s := `{"@context":"https://openvex.dev/ns"}`
			for range 5 {
				s = `{"payloadType":"x","payload":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}`
			}
			return s
		}(),
		"deep": strings.Repeat("[", 20000),
	} {
		if st, _, err := Read(strings.NewReader(in), "f"); err == nil {
			t.Errorf("%s was taken: %+v", name, st)
		} else if !strings.Contains(err.Error(), "openvex document f") {
			t.Errorf("%s: the error does not name the document: %v", name, err)
		}
	}
}

func result() *bollwerk.Result {
	pkg := func(u, n, v string) *bollwerk.FindingPackage {
		return &bollwerk.FindingPackage{PURL: bollwerk.PURL(u), Name: n, Version: v, Ecosystem: "npm"}
	}
	return &bollwerk.Result{
		Tool: bollwerk.Tool{Name: "bollwerk", Version: "1.0"},
		Target: bollwerk.Artifact{Kind: bollwerk.KindImage, Name: "registry.example/team/shop:1.0", Platform: "linux/amd64",
			Digest: "sha256:74634d9736a45ca9f6e1187e783492199e020f4a5c19d0b1abc2b604f894ac99"},
		Findings: []bollwerk.Finding{
			{Kind: "vulnerability", ID: "CVE-1", Aliases: []string{"GHSA-1"}, Verdict: bollwerk.Fail, Package: pkg("pkg:npm/a@1", "a", "1"), FixedIn: []string{"2"}},
			{Kind: "vulnerability", ID: "CVE-1", Aliases: []string{"GHSA-1"}, Verdict: bollwerk.Fail, Package: pkg("pkg:npm/a@1", "a", "1"), FixedIn: []string{"2"}},
			{Kind: "vulnerability", ID: "CVE-2", Verdict: bollwerk.Fail, Package: pkg("pkg:npm/b@1", "b", "1")},
			{Kind: "vulnerability", ID: "CVE-3", Verdict: bollwerk.NotEvaluated, Reason: "the range has no upper bound", Package: pkg("pkg:npm/c@1", "c", "1")},
			{Kind: "vulnerability", ID: "CVE-4", Verdict: bollwerk.Fail, Package: pkg("pkg:npm/d@1", "d", "1"),
				Suppressed: &bollwerk.Suppression{By: "vex", Status: "not_affected", Justification: "component_not_present", Statement: "gone", Reason: "x"}},
			{Kind: "vulnerability", ID: "CVE-5", Verdict: bollwerk.Fail, Package: pkg("pkg:npm/e@1", "e", "1"),
				Suppressed: &bollwerk.Suppression{By: "exception", Status: "excepted", Reason: "internal only", Owner: "ops", Expires: "2027-01-01"}},
			{Kind: "vulnerability", ID: "CVE-6", Verdict: bollwerk.Fail, Package: pkg("pkg:npm/f@1", "f", "1"), Suppressed: &bollwerk.Suppression{By: "vex", Status: "fixed"}},
			{Kind: "secret", ID: "gcp", Verdict: bollwerk.Fail, Path: "x"},
		},
	}
}

func TestWrite(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	var b bytes.Buffer
	if err := Write(&b, result(), "Example GmbH", now); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := Write(&again, result(), "Example GmbH", now); err != nil || again.String() != b.String() {
		t.Errorf("not deterministic, %v", err)
	}
	st, problems, err := Read(&b, "f")
	if err != nil || len(problems) != 0 {
		t.Fatal(err, problems)
	}
	image := "pkg:oci/shop@sha256:74634d9736a45ca9f6e1187e783492199e020f4a5c19d0b1abc2b604f894ac99?arch=amd64&repository_url=registry.example%2Fteam%2Fshop&tag=1.0"
	got := map[string]string{}
	for _, s := range st {
		if s.Products[0] != image || !s.Timestamp.Equal(now) || s.Author != "Example GmbH" {
			t.Errorf("%s: %+v", s.Issue, s)
		}
		got[s.Issue] = strings.Join([]string{string(s.Status), s.Justification, s.Statement, s.ActionStatement, strings.Join(s.Subcomponents, " ")}, "|")
	}
	want := map[string]string{
		"CVE-1": "affected|||upgrade a to 2|pkg:npm/a@1",
		"CVE-2": "affected|||no fixed version is known; remove the package or limit its exposure|pkg:npm/b@1",
		"CVE-3": "under_investigation||the range has no upper bound||pkg:npm/c@1",
		"CVE-4": "not_affected|component_not_present|gone||pkg:npm/d@1",
		"CVE-5": "affected|||the risk is accepted: internal only (owner ops), until 2027-01-01|pkg:npm/e@1",
		"CVE-6": "fixed||||pkg:npm/f@1",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	dir := result()
	dir.Target = bollwerk.Artifact{Kind: bollwerk.KindDirectory, Name: "src"}
	b.Reset()
	if err := Write(&b, dir, "a", now); err != nil {
		t.Fatal(err)
	}
	st, _, err = Read(&b, "f")
	if err != nil || len(st) == 0 || st[0].Products[0] != "pkg:npm/a@1" || st[0].Subcomponents != nil {
		t.Errorf("directory: %+v, %v", st, err)
	}
}

func FuzzRead(f *testing.F) {
	for _, file := range []string{"testdata/v020.json", "testdata/v001.json"} {
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
			if s.Issue == "" || s.Status == "" || !validStatus(s.Status) {
				t.Fatalf("%+v", s)
			}
		}
	})
}

func validStatus(s bollwerk.VEXStatus) bool {
	return s == "affected" || s == "not_affected" || s == "fixed" || s == "under_investigation"
}
