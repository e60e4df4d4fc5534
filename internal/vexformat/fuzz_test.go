package vexformat

import "testing"

// FuzzDetect: no input makes it panic, and a format it names is one that is known.
func FuzzDetect(f *testing.F) {
	for _, s := range []string{
		`{"@context":"https://openvex.dev/ns/v0.2.0"}`, `[{"@context":"https://openvex.dev/ns"}]`,
		`{"document":{"csaf_version":"2.0"},"vulnerabilities":[]}`, `{"bomFormat":"CycloneDX"}`, "<bom/>", "", "[", `{"`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, head []byte) {
		got, ok := Detect(head)
		switch got {
		case OpenVEX, CSAF, CycloneDX, InToto:
			if !ok {
				t.Errorf("%s, but not recognised", got)
			}
		case "":
			if ok {
				t.Error("recognised, but without a name")
			}
		default:
			t.Errorf("unknown format %q", got)
		}
	})
}
