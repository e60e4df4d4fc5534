package license

import (
	"strings"
	"testing"
)

func TestExpression(t *testing.T) {
	for in, want := range map[string]string{
		"MIT":                 "MIT",
		"mit":                 "MIT",
		"GPL-2.0+":            "GPL-2.0+",
		"EPL-2.0+":            "EPL-2.0+",
		"(MIT or Apache-2.0)": "(MIT OR Apache-2.0)",
		"GPL-2.0-only WITH Classpath-exception-2.0 AND MIT": "GPL-2.0-only WITH Classpath-exception-2.0 AND MIT",
		"MIT AND (BSD-2-Clause OR(ISC))":                    "MIT AND (BSD-2-Clause OR (ISC))",
		"":                                                  "",
		"GPLv2":                                             "",
		"MIT OR":                                            "",
		"MIT Apache-2.0":                                    "",
		"(MIT":                                              "",
		"MIT)":                                              "",
		"MIT WITH MIT":                                      "",
		"LicenseRef-foo":                                    "",
		"SEE LICENSE IN LICENSE":                            "",
		strings.Repeat("(", 40) + "MIT" + strings.Repeat(")", 40): "",
	} {
		got, ok := Expression(in)
		if got != want || ok != (want != "") {
			t.Errorf("Expression(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
}

func TestID(t *testing.T) {
	for in, want := range map[string]struct {
		id         string
		enumerated bool
	}{"apache-2.0": {"Apache-2.0", true}, "Boehm-GC": {"Boehm-GC", false}} {
		got, enumerated, ok := ID(in)
		if got != want.id || enumerated != want.enumerated || !ok {
			t.Errorf("ID(%q) = %q, %v, %v", in, got, enumerated, ok)
		}
	}
	if _, _, ok := ID("Classpath-exception-2.0"); ok {
		t.Error("an exception is not a licence")
	}
}

// FuzzExpression: what is accepted is stable under being read again.
func FuzzExpression(f *testing.F) {
	f.Add("MIT OR (Apache-2.0 AND GPL-2.0+ WITH GCC-exception-3.1)")
	f.Fuzz(func(t *testing.T, s string) {
		out, ok := Expression(s)
		if !ok {
			return
		}
		if again, ok := Expression(out); !ok || again != out {
			t.Fatalf("%q became %q, which became %q", s, out, again)
		}
	})
}
