package spdx

import (
	"bytes"
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/google/osv-scalibr/extractor/filesystem"
	scalibr "github.com/google/osv-scalibr/extractor/filesystem/sbom/spdx"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/tagvalue"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom/bomtest"
	"github.com/bollwerk/bollwerk/internal/license"
)

func written(t *testing.T, r *bollwerk.Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r, Options{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestReferenceLibrary reads what was written with the SPDX project's own library,
// writes that as tag-value, and reads it again with ours: nothing may be lost.
func TestReferenceLibrary(t *testing.T) {
	for seed := range uint64(40) {
		r := bomtest.Result(seed, 12)
		doc, err := spdxjson.Read(bytes.NewReader(written(t, r)))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		want := len(r.Packages) + 1
		if r.Target.OS != nil {
			want++
		}
		if doc.SPDXVersion != spdx.Version || doc.DataLicense != spdx.DataLicense || len(doc.Packages) != want {
			t.Fatalf("seed %d: version %s, licence %s, %d packages, want %d", seed, doc.SPDXVersion, doc.DataLicense, len(doc.Packages), want)
		}
		// The library's tag-value writer knows annotations of the document only.
		for _, p := range doc.Packages {
			for _, a := range p.Annotations {
				a.AnnotationSPDXIdentifier = common.MakeDocElementID("", string(p.PackageSPDXIdentifier))
				doc.Annotations = append(doc.Annotations, &a)
			}
		}
		var tv bytes.Buffer
		if err := tagvalue.Write(doc, &tv); err != nil {
			t.Fatal(err)
		}
		d, err := Read(&tv, ReadOptions{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if diff := bomtest.Diff(r, d); diff != "" {
			t.Fatalf("seed %d, by way of tag-value: %s", seed, diff)
		}
	}
}

// TestRules holds what the specification and its JSON schema (SPDX 2.3) demand of
// the parts that are written.
func TestRules(t *testing.T) {
	id := regexp.MustCompile(`^SPDXRef-[a-zA-Z0-9.-]+$`)
	date := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`)
	ref := regexp.MustCompile(`LicenseRef-[a-zA-Z0-9.-]+`)
	purposes := map[string]bool{"LIBRARY": true, "APPLICATION": true, "CONTAINER": true, "OPERATING-SYSTEM": true, "DEVICE": true, "ARCHIVE": true, "SOURCE": true}
	for seed := range uint64(40) {
		r := bomtest.Result(seed, 12)
		if seed == 0 {
			r = &bollwerk.Result{}
		}
		type fields map[string]json.RawMessage
		var top fields
		raw := written(t, r)
		if err := json.Unmarshal(raw, &top); err != nil {
			t.Fatal(err)
		}
		allowed(t, top, "spdxVersion dataLicense SPDXID name documentNamespace creationInfo packages relationships hasExtractedLicensingInfos")
		var doc struct {
			Namespace string         `json:"documentNamespace"`
			Info      creationInfo   `json:"creationInfo"`
			Packages  []spdxPackage  `json:"packages"`
			Rows      []relationship `json:"relationships"`
			Licenses  []extractedLicense
			Extracted []extractedLicense `json:"hasExtractedLicensingInfos"`
			Raw       []fields           `json:"-"`
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			t.Fatal(err)
		}
		var loose struct {
			Packages []fields `json:"packages"`
		}
		if err := json.Unmarshal(raw, &loose); err != nil {
			t.Fatal(err)
		}
		for _, p := range loose.Packages {
			allowed(t, p, "SPDXID name versionInfo supplier primaryPackagePurpose downloadLocation filesAnalyzed sourceInfo licenseConcluded licenseDeclared copyrightText checksums externalRefs annotations")
		}
		if !strings.HasPrefix(doc.Namespace, "https://") || strings.ContainsAny(doc.Namespace, "# \n") || !date.MatchString(doc.Info.Created) || len(doc.Info.Creators) == 0 {
			t.Errorf("namespace %q, creation %+v", doc.Namespace, doc.Info)
		}
		texts := map[string]bool{}
		for _, l := range doc.Extracted {
			if texts[l.ID] || l.Text == "" || ref.FindString(l.ID) != l.ID {
				t.Errorf("extracted licence %+v", l)
			}
			texts[l.ID] = true
		}
		ids := map[string]bool{documentID: true}
		for _, p := range doc.Packages {
			if ids[p.ID] || !id.MatchString(p.ID) || p.Name == "" || p.DownloadLocation == "" || !purposes[p.Purpose] || p.FilesAnalyzed {
				t.Errorf("package %+v", p)
			}
			ids[p.ID] = true
			if p.Supplier != "" && p.Supplier != noAssert && !strings.HasPrefix(p.Supplier, "Organization: ") {
				t.Errorf("supplier %q", p.Supplier)
			}
			for _, a := range p.Annotations {
				if !date.MatchString(a.Date) || a.Type != "OTHER" || !strings.HasPrefix(a.Annotator, "Tool: ") || a.Comment == "" {
					t.Errorf("annotation %+v", a)
				}
			}
			for _, x := range p.ExternalRefs {
				if x.Category != "PACKAGE-MANAGER" || x.Type != "purl" || !strings.HasPrefix(x.Locator, "pkg:") || strings.ContainsAny(x.Locator, " \t\n") {
					t.Errorf("reference %+v", x)
				}
			}
			// Every LicenseRef- is explained, and the rest of the expression is valid.
			rest := ref.ReplaceAllStringFunc(p.LicenseDeclared, func(s string) string {
				if !texts[s] {
					t.Errorf("%s is not explained", s)
				}
				return "MIT"
			})
			if _, ok := license.Expression(rest); !ok && rest != noAssert {
				t.Errorf("licence %q", p.LicenseDeclared)
			}
		}
		described := 0
		for _, row := range doc.Rows {
			if !ids[row.From] || !ids[row.To] {
				t.Errorf("relationship with nobody: %+v", row)
			}
			if row.Type == "DESCRIBES" {
				described++
			}
		}
		if described != 1 {
			t.Errorf("the document describes %d things", described)
		}
	}
}

func allowed(t *testing.T, fields map[string]json.RawMessage, names string) {
	t.Helper()
	for k := range fields {
		found := false
		for _, n := range strings.Fields(names) {
			found = found || n == k
		}
		if !found {
			t.Errorf("field %q is not in the specification", k)
		}
	}
}

// TestSecondReader reads what was written with another scanner's reader.
func TestSecondReader(t *testing.T) {
	r := bomtest.Result(3, 40)
	e, err := scalibr.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	inv, err := e.Extract(context.Background(), &filesystem.ScanInput{Path: "app.spdx.json", Reader: bytes.NewReader(written(t, r))})
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]bool{}
	for _, p := range inv.Packages {
		theirs[p.Name] = true
	}
	for _, p := range r.Packages {
		short := p.Name[strings.LastIndexAny(p.Name, "/:")+1:]
		if !theirs[p.Name] && !theirs[short] && strings.Trim(p.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" {
			t.Errorf("%s is not seen", p.PURL)
		}
	}
	if len(inv.Packages) < len(r.Packages)/2 {
		t.Errorf("only %d of %d packages are seen", len(inv.Packages), len(r.Packages))
	}
}
