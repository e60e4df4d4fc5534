package bom

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestPredicate(t *testing.T) {
	statement := `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","subject":[],"predicate":{"spdxVersion":"SPDX-2.3"}}`
	old := `{"predicateType":"cosign.sigstore.dev/attestation/v1","predicate":{"Data":"{\"spdxVersion\":\"SPDX-2.3\"}","Timestamp":"x"}}`
	wrap := func(s string) string {
		return `{"payloadType":"application/vnd.in-toto+json","payload":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `","signatures":[]}`
	}
	for name, in := range map[string]string{"statement": statement, "envelope": wrap(statement), "old": wrap(old)} {
		typ, doc, err := Predicate(strings.NewReader(in), 1<<20)
		if err != nil || string(doc) != `{"spdxVersion":"SPDX-2.3"}` || typ == "" {
			t.Errorf("%s: %q, %q, %v", name, typ, doc, err)
		}
	}
	for name, in := range map[string]string{
		"empty": "", "no predicate": `{"a":1}`, "bad payload": `{"payload":"*"}`, "too large": strings.Repeat(" ", 2<<20) + statement,
		"without end": wrap(wrap(wrap(wrap(statement)))), "deep": strings.Repeat("[", 20000),
	} {
		if _, doc, err := Predicate(strings.NewReader(in), 1<<20); err == nil || doc != nil {
			t.Errorf("%s was taken: %q", name, doc)
		}
	}
}

func FuzzPredicate(f *testing.F) {
	f.Add(`{"predicateType":"x","predicate":{"Data":"y"}}`)
	f.Add(`{"payload":"e30="}`)
	f.Fuzz(func(t *testing.T, s string) {
		if typ, doc, err := Predicate(strings.NewReader(s), 1<<16); err != nil && (doc != nil || typ != "") {
			t.Fatal("a document beside an error")
		}
	})
}
