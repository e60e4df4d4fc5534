package fingerprint_test

import (
	"regexp"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/fingerprint"
)

// The names are part of the JSON contract and of people's exception files: these
// were computed by another program (Python's hashlib and base64) and must never change.
func TestKnownNames(t *testing.T) {
	for _, c := range []struct {
		parts []string
		want  bollwerk.FindingID
	}{
		{nil, "4oymiquy7qob"},
		{[]string{""}, "v5kxb5nbqefx"},
		{[]string{"standard", "runs-as-root"}, "u5fqpsvexkpf"},
	} {
		if got := fingerprint.Of(c.parts...); got != c.want {
			t.Errorf("Of(%q) = %s, want %s", c.parts, got, c.want)
		}
	}
}

func TestBordersCount(t *testing.T) {
	seen := map[bollwerk.FindingID][]string{}
	for _, parts := range [][]string{nil, {""}, {"", ""}, {"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}} {
		id := fingerprint.Of(parts...)
		if prev, ok := seen[id]; ok {
			t.Errorf("%q and %q share %s", prev, parts, id)
		}
		seen[id] = parts
	}
}

func FuzzOf(f *testing.F) {
	f.Add("a", "bc")
	shape := regexp.MustCompile(`^[a-z2-7]{12}$`)
	f.Fuzz(func(t *testing.T, a, b string) {
		id := fingerprint.Of(a, b)
		if !shape.MatchString(string(id)) {
			t.Fatalf("Of(%q, %q) = %q", a, b, id)
		}
		if id == fingerprint.Of(a+b) {
			t.Fatalf("Of(%q, %q) equals Of(%q)", a, b, a+b)
		}
		if id != fingerprint.Of(a, b) {
			t.Fatal("not deterministic")
		}
	})
}
