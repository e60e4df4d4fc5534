package sbomformat

import (
	"strings"
	"testing"
)

func TestDetect(t *testing.T) {
	long := strings.Repeat(" ", HeadSize)
	for in, want := range map[string]Format{
		`{"bomFormat":"CycloneDX","specVersion":"1.4"}`:                                                    CycloneDXJSON,
		"\ufeff \n{\n  \"$schema\": \"http://cyclonedx.org/schema/bom-1.6.schema.json\"":                   CycloneDXJSON,
		`{"components":[{"a":"{\"}"}],"metadata":{"x":[1]},"bomFormat" : "CycloneDX"}`:                     CycloneDXJSON,
		`<?xml version="1.0"?><!-- a > b --><bom xmlns="http://cyclonedx.org/schema/bom/1.5" version="1">`: CycloneDXXML,
		"<bom\n xmlns=\"http://cyclonedx.org/schema/bom/1.2\">":                                            CycloneDXXML,
		`<c:bom xmlns:c="http://cyclonedx.org/schema/bom/1.2">`:                                            CycloneDXXML,
		`{"spdxVersion":"SPDX-2.3"}`:                                                                       SPDXJSON,
		`{"SPDXID":"SPDXRef-DOCUMENT","creationInfo":{"created":"x"`:                                       SPDXJSON,
		`{"files":[{"fileName":"./a","SPDXID":"SPDXRef-File-1"},`:                                          SPDXJSON,
		`{"@context":"https://spdx.org/rdf/3.0.1/spdx-context.jsonld","@graph":[]}`:                        SPDX3JSON,
		`{"@context":["https://spdx.org/rdf/3.0.1/spdx-context.jsonld"]}`:                                  SPDX3JSON,
		"# made by hand\n\nSPDXVersion: SPDX-2.3\n":                                                        SPDXTagValue,
		"SPDXID: SPDXRef-DOCUMENT\nSPDXVersion: SPDX-2.2\n":                                                SPDXTagValue,
		"SPDXID: \"SPDXRef-DOCUMENT\"\nspdxVersion: \"SPDX-2.3\"\n":                                        SPDXYAML,
		`<rdf:RDF xmlns:rdf="x" xmlns:spdx="http://spdx.org/rdf/terms#">`:                                  SPDXRDF,
		`{"_type":"https://in-toto.io/Statement/v1","predicateType":"x"}`:                                  InToto,
		`{"payloadType":"application/vnd.in-toto+json","payload":"e30="}`:                                  InToto,

		"":   "",
		"{}": "",
		`{"name":"my-app","description":"\"bomFormat\":\"CycloneDX\""}`: "",
		`{"dependencies":{"bomFormat":"CycloneDX"}}`:                    "",
		`{"name":"bomFormat","x":"CycloneDX"}`:                          "",
		`<project xmlns="http://maven.apache.org/POM/4.0.0"><bom>`:      "",
		`<bom>`:                                    "",
		"version: 1\nspdxVersion\n":                "",
		long + `{"bomFormat":"CycloneDX"}`:         "",
		`{"packages":{"a":1},"lockfileVersion":3}`: "",
	} {
		got, ok := Detect([]byte(in))
		if got != want || ok != (want != "") {
			t.Errorf("%.60q: %q, want %q", in, got, want)
		}
	}
}

func FuzzDetect(f *testing.F) {
	f.Add([]byte(`{"a":[{"b":"\\"}],"bomFormat":"CycloneDX"}`))
	f.Add([]byte(`<?xml?><!----><bom xmlns="http://cyclonedx.org/schema/bom/1.5">`))
	f.Add([]byte("SPDXVersion: SPDX-2.3"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := Detect(b)
		if ok != (got != "") {
			t.Fatalf("%q, %v", got, ok)
		}
		Keys(b)
	})
}
