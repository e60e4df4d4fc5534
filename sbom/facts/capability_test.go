package facts

import (
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func TestCapabilities(t *testing.T) {
	for _, c := range []struct{ name, attribute, want string }{
		// setfattr's view of `setcap cap_net_raw+ep`, revision 2.
		{"ping", "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "cap_net_raw"},
		{"two words", "\x01\x00\x00\x02\x00\x00\x20\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00", "cap_sys_admin,cap_bpf"},
		{"inheritable counts", "\x00\x00\x00\x02\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "cap_setuid"},
		{"revision 3", "\x01\x00\x00\x03\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe8\x03\x00\x00", "cap_chown"},
		{"revision 1", "\x01\x00\x00\x01\x02\x00\x00\x00\x00\x00\x00\x00", "cap_dac_override"},
		{"a number without a name", "\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00", "cap_63"},
		{"nothing granted", "\x00\x00\x00\x02" + strings.Repeat("\x00", 16), "none"},
		{"cut off", "\x01\x00\x00\x02\x00", "unknown form"},
		{"another revision", "\x01\x00\x00\x09" + strings.Repeat("\x00", 20), "unknown form"},
	} {
		got := (Extractor{}).Facts(&bollwerk.File{Path: "opt/x", Mode: 0o755, Capability: c.attribute}, nil)
		if len(got) != 1 || got[0].Kind != bollwerk.FactCapability || got[0].Detail != c.want {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
	}
}

func FuzzCapabilities(f *testing.F) {
	f.Add("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	f.Fuzz(func(t *testing.T, attribute string) {
		if got := capabilities(attribute); got == "" || len(got) > 64*24 {
			t.Errorf("%q", got)
		}
	})
}
