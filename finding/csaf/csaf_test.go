package csaf

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
)

func TestRead(t *testing.T) {
	f, err := os.Open("testdata/vendor.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, problems, err := Read(f, "vendor.json")
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	base := bollwerk.VEXStatement{Issue: "CVE-2026-0001", Aliases: []string{"EX-1"}, Timestamp: when, Author: "Example Linux", Source: "vendor.json, CVE-2026-0001"}
	one, two, three := base, base, base
	one.Status, one.Statement = bollwerk.VEXNotAffected, "The shop does not use it."
	one.Products = []string{"sha256:74634d9736a45ca9f6e1187e783492199e020f4a5c19d0b1abc2b604f894ac99", "registry.example/team/shop:2.0"}
	two.Status, two.Justification = bollwerk.VEXNotAffected, "vulnerable_code_not_present"
	two.Products, two.Subcomponents = []string{"cpe:/o:redhat:enterprise_linux:9::baseos"}, []string{"pkg:rpm/redhat/openssl?arch=src"}
	three.Status, three.ActionStatement = bollwerk.VEXFixed, "Update the package."
	three.Products, three.Subcomponents = two.Products, []string{"pkg:rpm/redhat/openssl-libs@3.0.7-24.el9?arch=x86_64&epoch=1"}
	base = bollwerk.VEXStatement{Issue: "EX-2", Timestamp: when, Author: "Example Linux", Source: "vendor.json, EX-2"}
	four, five := base, base
	four.Status, four.ActionStatement, four.Products = bollwerk.VEXAffected, "Take 2.0.", one.Products[:1]
	five.Status, five.Products, five.Subcomponents = bollwerk.VEXUnderInvestigation, two.Products, two.Subcomponents
	want := []bollwerk.VEXStatement{one, two, three, four, five}
	if !reflect.DeepEqual(st, want) {
		g, _ := json.MarshalIndent(st, "", " ")
		w, _ := json.MarshalIndent(want, "", " ")
		t.Errorf("got %s\nwant %s", g, w)
	}
	all := strings.Join(problems, "\n")
	for _, s := range []string{"CVE-2026-0001 missing", "nameless", "loop", "does not count: EX-2 shop-2", "vulnerability without CVE"} {
		if !strings.Contains(all, s) {
			t.Errorf("no problem names %q:\n%s", s, all)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	deep := `{"document":{"csaf_version":"2.0"},"product_tree":{"branches":[` + strings.Repeat(`{"branches":[`, 200) + strings.Repeat(`]}`, 200) + `]}}`
	for name, in := range map[string]string{
		"empty": "", "other JSON": `{"document":{}}`, "version 1": `{"document":{"csaf_version":"1.2"}}`, "truncated": `{"document":{"csaf_version":"2.0"`,
		"deep": deep, "very deep": strings.Replace(deep, `"branches":[`, `"branches":`+strings.Repeat("[", 20000), 1),
	} {
		if _, _, err := Read(strings.NewReader(in), "f"); err == nil || !strings.Contains(err.Error(), "csaf document f") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	b, err := os.ReadFile("testdata/vendor.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
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
