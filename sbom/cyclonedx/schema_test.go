package cyclonedx

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom/bomtest"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
)

// schemaDir is where the module cyclonedx-go keeps the official schemas.
func schemaDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "schema")
}

func jsonSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir := schemaDir(t)
	c := jsonschema.NewCompiler()
	for file, name := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schemax.json": "jsf-0.82.schema.json",
	} {
		f, err := os.Open(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withFindings adds findings of every sort to a random result.
func withFindings(r *bollwerk.Result) *bollwerk.Result {
	for i := range r.Packages {
		p := &r.Packages[i]
		f := bollwerk.Finding{
			Kind: bollwerk.KindVulnerability, ID: fmt.Sprintf("CVE-2026-%04d", i%3), Aliases: []string{"GHSA-1111-2222-3333"}, Title: "a <title>",
			Severity: bollwerk.SeverityHigh, Verdict: bollwerk.Fail, Fix: "upgrade", References: []string{"https://example.com/a?b=c&d", "javascript:alert(1)"},
			CVSS:    []bollwerk.CVSS{{Version: "3.1", Vector: "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Score: 9.8}, {Version: "4.0", Score: 1}},
			Package: &bollwerk.FindingPackage{PURL: p.PURL, Name: p.Name, Version: p.Version},
		}
		switch i % 4 {
		case 1:
			f.Suppressed = &bollwerk.Suppression{By: "vex", Status: "not_affected", Reason: "the component is not present", Statement: "really"}
		case 2:
			f.Suppressed, f.CVSS, f.KEV = &bollwerk.Suppression{By: "exception", Status: "excepted", Reason: "x"}, nil, &bollwerk.KEV{DateAdded: "2026-01-01"}
		case 3:
			f.Suppressed = &bollwerk.Suppression{By: "vex", Status: "fixed"}
		}
		r.Findings = append(r.Findings, f)
	}
	return r
}

func TestOfficialJSONSchema(t *testing.T) {
	schema := jsonSchema(t)
	check := func(b []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			return err
		}
		return schema.Validate(v)
	}
	if check([]byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"nonsense","name":"x"}]}`)) == nil {
		t.Fatal("the schema accepts anything; it was not loaded")
	}
	for seed := range uint64(40) {
		r := withFindings(bomtest.Result(seed, 15))
		if seed%2 == 0 {
			r.Coverage = []bollwerk.Coverage{{Area: "files", Verdict: bollwerk.Degraded, Cause: "2 files could not be read"}}
		}
		var b bytes.Buffer
		if err := Write(&b, r, Options{Vulnerabilities: seed%3 == 0}); err != nil {
			t.Fatal(err)
		}
		if err := check(b.Bytes()); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	var b bytes.Buffer
	if err := Write(&b, &bollwerk.Result{}, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := check(b.Bytes()); err != nil {
		t.Fatalf("empty result: %v", err)
	}
}

func TestOfficialXMLSchema(t *testing.T) {
	lint, err := exec.LookPath("xmllint")
	if err != nil {
		prerequisite.Missing(t, "xmllint is not installed (Debian package libxml2-utils): run `make deps`")
	}
	xsd := filepath.Join(schemaDir(t), "bom-1.6.xsd")
	dir := t.TempDir()
	check := func(file string) ([]byte, error) {
		return exec.Command(lint, "--nonet", "--noout", "--path", schemaDir(t), "--schema", xsd, file).CombinedOutput()
	}
	bad := filepath.Join(dir, "bad.xml")
	if err := os.WriteFile(bad, []byte(`<bom xmlns="http://cyclonedx.org/schema/bom/1.6" version="1"><nonsense/></bom>`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := check(bad); err == nil {
		t.Fatal("the schema accepts anything; it was not loaded")
	}
	for seed := range uint64(12) {
		r := withFindings(bomtest.Result(seed, 20))
		if seed == 0 {
			r = &bollwerk.Result{}
		}
		var b bytes.Buffer
		if err := Write(&b, r, Options{Format: XML, Vulnerabilities: seed%2 == 1}); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, "bom.xml")
		if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := check(file); err != nil {
			t.Fatalf("seed %d: %v\n%.3000s", seed, err, out)
		}
	}
}

// TestIndependentReader reads what was written with the reference library.
func TestIndependentReader(t *testing.T) {
	for name, f := range map[string]struct {
		ours   Format
		theirs cdx.BOMFileFormat
	}{"json": {JSON, cdx.BOMFileFormatJSON}, "xml": {XML, cdx.BOMFileFormatXML}} {
		r := withFindings(bomtest.Result(7, 30))
		var b bytes.Buffer
		if err := Write(&b, r, Options{Format: f.ours, Vulnerabilities: true}); err != nil {
			t.Fatal(err)
		}
		var doc cdx.BOM
		if err := cdx.NewBOMDecoder(&b, f.theirs).Decode(&doc); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		refs, urls := map[string]bool{doc.Metadata.Component.BOMRef: true}, map[string]int{}
		for _, c := range *doc.Components {
			if refs[c.BOMRef] || c.BOMRef == "" {
				t.Errorf("%s: reference %q is not unique", name, c.BOMRef)
			}
			refs[c.BOMRef] = true
			if c.Type != cdx.ComponentTypeOS {
				urls[c.PackageURL]++
			}
		}
		for _, p := range r.Packages {
			urls[string(p.PURL)]--
		}
		for u, n := range urls {
			if n != 0 {
				t.Errorf("%s: package URL %s: %+d", name, u, n)
			}
		}
		for _, d := range *doc.Dependencies {
			for _, to := range append([]string{d.Ref}, *d.Dependencies...) {
				if !refs[to] {
					t.Errorf("%s: dependency on %q, which is nowhere", name, to)
				}
			}
		}
		if doc.SpecVersion != cdx.SpecVersion1_6 || !strings.HasPrefix(doc.SerialNumber, "urn:uuid:") || doc.Metadata.Timestamp != "2026-11-22T01:02:03Z" ||
			(*doc.Metadata.Tools.Components)[0].Name != "bollwerk" || len(*doc.Vulnerabilities) == 0 {
			t.Errorf("%s: version %v, serial %q, metadata %+v", name, doc.SpecVersion, doc.SerialNumber, doc.Metadata)
		}
		for _, v := range *doc.Vulnerabilities {
			for _, a := range *v.Affects {
				if !refs[a.Ref] {
					t.Errorf("%s: %s affects %q, which is nowhere", name, v.ID, a.Ref)
				}
			}
		}
	}
}

func TestVulnerabilitiesComeBackAsStatements(t *testing.T) {
	r := &bollwerk.Result{Packages: []bollwerk.Package{{PURL: "pkg:npm/a@1", Name: "a", Version: "1", Ecosystem: "npm"}}}
	r.Findings = []bollwerk.Finding{{
		Kind: bollwerk.KindVulnerability, ID: "CVE-1", Aliases: []string{"GHSA-1"}, Package: &bollwerk.FindingPackage{PURL: "pkg:npm/a@1", Name: "a", Version: "1"},
		Suppressed: &bollwerk.Suppression{By: "vex", Status: "not_affected", Reason: "gone"},
	}}
	for _, f := range []Format{JSON, XML} {
		var b bytes.Buffer
		if err := Write(&b, r, Options{Vulnerabilities: true, Format: f}); err != nil {
			t.Fatal(err)
		}
		d, err := Read(&b, ReadOptions{Source: "f"})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := json.Marshal(d.Statements)
		if len(d.Statements) != 1 || d.Statements[0].Issue != "CVE-1" || d.Statements[0].Status != bollwerk.VEXNotAffected ||
			len(d.Statements[0].Products) != 1 || d.Statements[0].Products[0] != "pkg:npm/a@1" || d.Statements[0].Statement != "gone" {
			t.Errorf("%s", got)
		}
	}
}
