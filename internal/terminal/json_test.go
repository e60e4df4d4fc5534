package terminal

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// What is written means the same, whatever the pieces it comes in, and holds nothing that
// acts on a terminal.
func TestJSON(t *testing.T) {
	want := []string{"plain", "ä字🙂", "\x1b[31m", "\u009b31m\x7f", "\u202egpj.exe", "a\u200bb\ufeff", "\U000e0041", "\u2028", "\\u009b", `"`}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		w := JSON(&out)
		for rest := text; len(rest) > 0; {
			n, err := w.Write(rest[:min(size, len(rest))])
			if err != nil || n != min(size, len(rest)) {
				t.Fatal(n, err)
			}
			rest = rest[n:]
		}
		var got []string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || strings.Join(got, "\x00") != strings.Join(want, "\x00") {
			t.Fatalf("in pieces of %d: %q, %v", size, got, err)
		}
		if Clean(out.String(), 0) != out.String() {
			t.Fatalf("not fit for a terminal: %q", out.String())
		}
	}
	var out bytes.Buffer
	if _, err := JSON(&out).Write([]byte("\"\xff\xc0x\"\n")); err != nil || out.String() != "\"\\ufffd\\ufffdx\"\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
