package secrets

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom/sbomtest"
)

// githubToken makes a token that GitHub never issued, with the checksum that its
// form demands: 30 characters, then CRC-32 in base 62.
func githubToken(seed string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	body := (seed + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5")[:30]
	n := uint64(crc32.ChecksumIEEE([]byte(body)))
	sum := ""
	for range 6 {
		sum = string(digits[n%62]) + sum
		n /= 62
	}
	return "ghp_" + body + sum
}

func privateKey(t *testing.T) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE " + "KEY", Bytes: der}))
}

// The credentials are put together here, so that no scanner (ours included) finds
// any in the source.
func TestFiles(t *testing.T) {
	tok, key := githubToken("x1"), privateKey(t)
	aws := "aws_access_key_id = AK" + "IAQWERTYUIOPASDFGH\naws_secret_access_key = " + "kJh34kQh5kWh6E4Rh6TY3h5U6IOh5Pj6ASDhjFGH\n"
	hook := "https://hooks.slack.com/" + "services/T01ABCDEFGH/B01ABCDEFGH/abcdefghijklmnopqrstuvwx"
	p := sbomtest.Collect(t, map[string][]byte{
		"root/.aws/credentials":         []byte("[default]\n" + aws),
		"srv/app/.env":                  []byte("DB=1\nTOKEN=" + tok + "\nNOT=ghp_" + strings.Repeat("x", 36) + "\nSLACK=" + hook + "\n"),
		"srv/app/tests/conf.json":       []byte(`{"token":"` + tok + `"}`),
		"usr/lib/python3/x/settings.py": []byte("T='" + tok + "'"),
		"app/node_modules/x/test.pem":   []byte(key),
		"etc/ssl/private/server.key":    []byte(strings.Repeat("# comment\n", 9) + key),
		"srv/binary.json":               append([]byte{0, 1, 2}, tok...),
		"srv/late.txt":                  []byte(strings.Repeat("filler line without anything\n", 20000) + tok),
		"etc/ssl/certs/ca.pem":          []byte(key),
	}, New())
	got := map[string]bollwerk.Secret{}
	for _, s := range p.Inventory.Secrets {
		got[s.Detector+" "+s.Path] = s
		if len(s.Hash) != 16 {
			t.Errorf("%s: hash %q", s.Path, s.Hash)
		}
	}
	for _, w := range []struct {
		key  string
		line int
		sev  bollwerk.Severity
	}{
		{"aws-access-key root/.aws/credentials", 2, bollwerk.SeverityCritical},
		{"github-token srv/app/.env", 2, bollwerk.SeverityCritical},
		{"slack-webhook srv/app/.env", 4, bollwerk.SeverityMedium},
		{"github-token srv/app/tests/conf.json", 1, bollwerk.SeverityLow},
		{"private-key etc/ssl/private/server.key", 10, bollwerk.SeverityHigh},
		{"github-token srv/late.txt", 20001, bollwerk.SeverityCritical},
	} {
		s, ok := got[w.key]
		if !ok {
			t.Errorf("%s: not found", w.key)
			continue
		}
		if s.Line != w.line || s.Severity != w.sev {
			t.Errorf("%s: line %d, severity %s; want %d, %s", w.key, s.Line, s.Severity, w.line, w.sev)
		}
		delete(got, w.key)
	}
	for k := range got {
		t.Errorf("found without need: %s", k)
	}
	if a, b := p.Inventory.Secrets, fmt.Sprintf("%+v", p); strings.Contains(b, tok) || len(a) == 0 {
		t.Error("the credential itself was kept")
	}
}

func TestText(t *testing.T) {
	e := New()
	ctx := context.Background()
	for _, c := range []struct{ name, value, want string }{
		{"GITHUB_TOKEN", githubToken("q"), "github-token"},
		{"DB_PASSWORD", "hunter2-of-old", "secret-variable"},
		{"DB_PASSWORD_FILE", "/run/secrets/db", ""},
		{"DB_PASSWORD", "${DB_PASSWORD}", ""},
		{"PASSWORD", "changeme", ""},
		{"PATH", "/usr/bin:/bin", ""},
		{"history 3", "RUN curl -H 'x: " + githubToken("r") + "' https://x", "github-token"},
	} {
		got := ""
		for _, s := range e.SearchText(ctx, c.name, []byte(c.value)) {
			got = s.Detector
			if s.Env != c.name || s.Path != "" {
				t.Errorf("%s: %+v", c.name, s)
			}
		}
		if got != c.want {
			t.Errorf("%s=%.20s…: %q, want %q", c.name, c.value, got, c.want)
		}
	}
}

// Every detector's anchors must be able to lead to it: an anchor of one byte would
// not be found by the table of pairs.
func TestAnchors(t *testing.T) {
	ids := map[string]bool{}
	for i, d := range detectors() {
		if ids[d.id] || d.title == "" || len(d.anchors) == 0 {
			t.Errorf("detector %q: listed twice, without title or without anchor", d.id)
		}
		ids[d.id] = true
		for _, a := range d.anchors {
			if len(a) < 3 {
				t.Errorf("%s: anchor %q is too short to filter by", d.id, a)
			}
			hits := newPrefilter(detectors()).find([]byte("some text " + a + " more"))
			if len(hits[i]) != 1 {
				t.Errorf("%s: anchor %q is not found", d.id, a)
			}
		}
	}
}

func BenchmarkPrefilter(b *testing.B) {
	f := newPrefilter(detectors())
	data := []byte(strings.Repeat("func main() { return errors.New(\"some text as code has it\") }\n", 16<<10))
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f.find(data)
	}
}
