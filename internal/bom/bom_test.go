package bom

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

func TestProblems(t *testing.T) {
	var p Problems
	p.Add("b", "")
	for _, s := range []string{"1", "2", "3", "4"} {
		p.Add("a", s)
	}
	p.Add("c", strings.Repeat("x", 500))
	got := p.Sentences()
	if len(got) != 3 || got[0] != "a (4 times): 1, 2, 3, …" || got[1] != "b" || len(got[2]) > 100 {
		t.Errorf("%q", got)
	}
}

func TestLimitReader(t *testing.T) {
	if b, err := io.ReadAll(LimitReader(strings.NewReader("abc"), 3)); err != nil || string(b) != "abc" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := io.ReadAll(LimitReader(strings.NewReader("abcd"), 3)); err == nil {
		t.Error("a fourth byte was not noticed")
	}
}

func TestArtifactPURL(t *testing.T) {
	const digest = "sha256:74634d9736a45ca9f6e1187e783492199e020f4a5c19d0b1abc2b604f894ac99"
	for name, c := range map[string]struct{ name, want, version string }{
		"tag":    {"registry.example:5000/team/App:1.0", "pkg:oci/app@" + digest + "?arch=arm64&repository_url=registry.example:5000%2Fteam%2FApp&tag=1.0", digest},
		"no tag": {"debian", "pkg:oci/debian@" + digest + "?arch=arm64", digest},
	} {
		a := bollwerk.Artifact{Kind: bollwerk.KindImage, Name: c.name, Digest: digest, Platform: "linux/arm64/v8"}
		if got := ArtifactPURL(&a); string(got) != c.want || ArtifactVersion(&a) != c.version {
			t.Errorf("%s: %s, version %s", name, got, ArtifactVersion(&a))
		}
		a.Digest = ""
		if got := ArtifactPURL(&a); got != "" {
			t.Errorf("%s: %s without a digest", name, got)
		}
	}
}

// FuzzProperty: a property's value comes back from JSON and from XML as it was,
// whatever bytes it has.
func FuzzProperty(f *testing.F) {
	for _, s := range []string{"plain", "a\x00b", "\xff", " x ", "\n", "\uFFFE", "\"`\\", "\r\n", "a\u0085b\u2028"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := NewProperty("path", s)
		type wire struct {
			Name  string `xml:"name,attr"`
			Value string `xml:",chardata"`
		}
		check := func(w wire) {
			if name, got, ok := (Property(w)).Own(); !ok || name != "path" || got != s {
				t.Fatalf("%q came back as %q, %v", s, got, ok)
			}
		}
		var w wire
		b, err := json.Marshal(wire(p))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b, &w); err != nil {
			t.Fatal(err)
		}
		check(w)
		b, err = xml.Marshal(wire(p))
		if err != nil {
			t.Fatal(err)
		}
		w = wire{}
		if err := xml.Unmarshal(b, &w); err != nil {
			t.Fatal(err)
		}
		w.Value = strings.TrimSpace(w.Value)
		check(w)
		if d := Display(s); !Clean(d) && !strings.ContainsRune(d, '\uFFFD') {
			t.Fatalf("%q is displayed as %q", s, d)
		}
	})
}
