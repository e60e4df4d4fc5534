package bollwerk

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest names content by its hash, as OCI does: "sha256:9f86d0…" (64 lower-case
// hex digits). A Digest in hand has not been checked against any content.
type Digest string

// ParseDigest accepts sha256 and sha512 digests in canonical form.
func ParseDigest(s string) (Digest, error) {
	algo, hexpart, ok := strings.Cut(s, ":")
	if !ok {
		return "", fmt.Errorf("digest %q: want algorithm:hex", s)
	}
	want := 0
	switch algo {
	case "sha256":
		want = 64
	case "sha512":
		want = 128
	default:
		return "", fmt.Errorf("digest %q: algorithm must be sha256 or sha512", s)
	}
	if len(hexpart) != want || strings.ToLower(hexpart) != hexpart {
		return "", fmt.Errorf("digest %q: want %d lower-case hex digits", s, want)
	}
	if _, err := hex.DecodeString(hexpart); err != nil {
		return "", fmt.Errorf("digest %q: want %d lower-case hex digits", s, want)
	}
	return Digest(s), nil
}

// Algorithm returns "sha256" or "sha512".
func (d Digest) Algorithm() string { a, _, _ := strings.Cut(string(d), ":"); return a }

// Hex returns the part behind the colon.
func (d Digest) Hex() string { _, h, _ := strings.Cut(string(d), ":"); return h }

// Short returns the algorithm and the first twelve hex digits, for people.
func (d Digest) Short() string {
	if h := d.Hex(); len(h) > 12 {
		return d.Algorithm() + ":" + h[:12]
	}
	return string(d)
}
