package vexformat

import "testing"

func TestDetect(t *testing.T) {
	for in, want := range map[string]Format{
		`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"x"}`:             OpenVEX,
		`[ {"@context":"https://openvex.dev/ns"} ]`:                          OpenVEX,
		"\ufeff" + `{"document":{"category":"csaf_vex","csaf_version":"2.0"`: CSAF,
		`{"vulnerabilities":[],"document":{}}`:                               CSAF,
		`{"bomFormat":"CycloneDX","vulnerabilities":[]}`:                     CycloneDX,
		`<bom xmlns="http://cyclonedx.org/schema/bom/1.6">`:                  CycloneDX,
		`{"_type":"https://in-toto.io/Statement/v0.1"}`:                      InToto,
		`{"spdxVersion":"SPDX-2.3"}`:                                         "",
		`{"vulnerabilities":[]}`:                                             "",
		`[]`:                                                                 "",
		``:                                                                   "",
	} {
		if got, ok := Detect([]byte(in)); got != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
