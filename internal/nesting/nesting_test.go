package nesting

import (
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
)

func TestTOML(t *testing.T) {
	deep := strings.Repeat("[", 101)
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"empty":                  {"", ""},
		"a lock file":            {"version = 4\n[[package]]\nname = \"a\"\ndependencies = [\n \"b 1.0\",\n]\n[metadata.x.y]\n", ""},
		"many, but not deep":     {strings.Repeat("a = [[1.5, {b = 2}]] # ]]\n", 10_000), ""},
		"numbers in a line":      {"a = [" + strings.Repeat("1.5,", 1000) + "]", ""},
		"brackets in strings":    {`a = "` + deep + `"` + "\nb = '" + deep + "'\nc = \"\"\"\n" + deep + "\n\"" + deep + "\"\"\"\nd = '''\n" + deep + "'''", ""},
		"brackets in comments":   {"# " + deep + "\na = 1", ""},
		"an escaped quote":       {`a = "\"` + deep + `"`, ""},
		"a backslash in literal": {`a = '\'` + "\nb = " + deep, "line 2: nested deeper than 100"},
		"arrays":                 {"a = 1\nb = " + deep, "line 2: nested deeper than 100"},
		"over lines":             {"a = " + strings.Repeat("[\n", 101), "line 101: nested deeper than 100"},
		"tables":                 {"a = " + strings.Repeat("{a = ", 101), "line 1: nested deeper than 100"},
		"a name":                 {"[" + strings.Repeat("a.", 101) + "a]", "line 1: a name of more than 100 parts"},
		"a key":                  {strings.Repeat("a.", 101) + "a = 1", "line 1: a name of more than 100 parts"},
		"quotes before the end":  {`a = ["""x""""", ` + deep, "line 1: nested deeper than 100"},
		"behind an open string":  {"a = \"\nb = " + deep, "line 2: nested deeper than 100"},
		"behind a long string":   {"a = \"\"\"\n\n\"\"\"\nb = " + deep, "line 4: nested deeper than 100"},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if err := TOML([]byte(c.text)); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// FuzzTOML: what passes and is valid is nested no deeper than promised.
func FuzzTOML(f *testing.F) {
	for _, s := range []string{"a = [[1]]", "[a.b]\nc = {d = 1}", "a = \"\"\"x\"\"\"", "'a'.\"b\" = '''\n'''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1<<16 || TOML([]byte(s)) != nil {
			return
		}
		var v map[string]any
		if _, err := toml.Decode(s, &v); err != nil {
			return
		}
		// A key inside an inline table adds its parts to the depth of the table, and a
		// value under a header those of the header.
		if d := depth(v); d > MaxDepth*(MaxDepth+2) {
			t.Errorf("depth %d", d)
		}
	})
}

func depth(v any) int {
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			n = max(n, 1+depth(e))
		}
	case []map[string]any:
		for _, e := range v {
			n = max(n, 1+depth(e))
		}
	case []any:
		for _, e := range v {
			n = max(n, 1+depth(e))
		}
	}
	return n
}
