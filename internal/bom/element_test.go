package bom

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestElements(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 180 MiB")
	}
	half := `"` + strings.Repeat("a", maxElement/2) + `"`
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"many that fit": {strings.Repeat(half+"\n", 5), ""},
		"one too large": {half + "\n\"" + strings.Repeat("b", 3*maxElement), "one element is larger than 32 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			e := NewElements(strings.NewReader(c.text))
			dec := json.NewDecoder(e)
			got := ""
			for dec.More() {
				e.Begin()
				var s string
				if err := dec.Decode(&s); err != nil {
					got = err.Error()
					break
				}
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
