package scan_test

import (
	"hash/crc32"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk/sbom/secrets"
	"github.com/bollwerk/bollwerk/scan"
	"github.com/bollwerk/bollwerk/test/image"
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

// TestNoCredentialInTheResult hides credentials wherever an image configuration has
// room for them: each must be found, and none may be repeated.
func TestNoCredentialInTheResult(t *testing.T) {
	token := githubToken
	const password = "Tr0ub4dor-and-3"
	l := layer(file("srv/package-lock.json", lockfile))
	l.CreatedBy = "RUN curl -H 'Authorization: token " + token("A") + "' https://example.org"
	second := layer(file("srv/x", "x"))
	second.CreatedBy = "ENV DB_PASSWORD=" + password
	img := layout(t, image.Config{
		Env:         []string{"DB_PASSWORD=" + password, "GITHUB_TOKEN=" + token("B"), "DSN=postgres://app:" + password + "@db/app", "PATH=/usr/bin"},
		Labels:      map[string]string{"org.example.key": token("C"), "org.example.name": "shop"},
		Entrypoint:  []string{"/bin/app", "--token", token("D")},
		Cmd:         []string{"serve", "--token=" + token("E")},
		Healthcheck: map[string][]string{"Test": {"CMD", "curl", "https://x/?t=" + token("F")}},
	}, l, second)
	var finder *secrets.Extractor
	for _, x := range everything(t).Extractors() {
		if s, ok := x.(*secrets.Extractor); ok {
			finder = s
		}
	}
	r, err := scanLayout(t.Context(), t, img, scan.Options{Secrets: finder.SearchText})
	if err != nil {
		t.Fatal(err)
	}
	got := answer(t, r)
	places := map[string]bool{}
	for _, s := range r.Secrets {
		places[s.Path+s.Env] = true
	}
	for _, place := range []string{"DB_PASSWORD", "GITHUB_TOKEN", "image history", "image label org.example.key", "image entrypoint", "image command", "image health check"} {
		if !places[place] {
			t.Errorf("no credential was found in %s; found in %v", place, places)
		}
	}
	for _, secret := range []string{password, token("A"), token("B"), token("C"), token("D"), token("E"), token("F")} {
		if i := strings.Index(got, secret); i >= 0 {
			t.Errorf("the result repeats %s: …%s", secret, got[max(0, i-120):i+len(secret)])
		}
	}
	for _, kept := range []string{"PATH=/usr/bin", `"shop"`, "/bin/app", "ENV DB_PASSWORD="} {
		if !strings.Contains(got, kept) {
			t.Errorf("the result lost %s", kept)
		}
	}
}
