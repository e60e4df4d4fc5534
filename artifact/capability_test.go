package artifact

import (
	"archive/tar"
	"strings"
	"testing"
)

func TestCapabilityOfAnEntry(t *testing.T) {
	for _, c := range []struct {
		name, attribute, want string
	}{
		{"none", "", ""},
		{"as written", "\x01\x00\x00\x02\x00\x20", "\x01\x00\x00\x02\x00\x20"},
		{"bounded", strings.Repeat("x", 1<<16), strings.Repeat("x", maxCapability)},
	} {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "usr/bin/ping", Mode: 0o755}
		if c.attribute != "" {
			h.PAXRecords = map[string]string{paxCapability: c.attribute}
		}
		var p Problems
		f, ok := tarFile(h, &p)
		if !ok || f.Capability != c.want {
			t.Errorf("%s: %q, want %q", c.name, f.Capability, c.want)
		}
	}
}
