// Package secrets owns finding credentials in text files, in the environment of
// images and in their history. The patterns are those of scalibr's veles, plus a
// few of our own; the credential itself never leaves this package.
//
// Where it looks, and where not:
//
//   - Files of third-party software (usr/share, usr/lib, node_modules,
//     site-packages, gems, module caches) are not searched: what is published with a
//     library is known to everybody, and in practice it is test keys.
//   - In folders for tests and examples a find is of low severity.
//   - Files above 2 MiB and binary files are not searched.
package secrets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	maxFile = 2 << 20
	// Around an anchor this much text is given to the detector: a private key or a
	// service account's file fits.
	windowBefore = 4 << 10
	windowAfter  = 32 << 10
	maxPerFile   = 100
)

// Extractor searches files. Make it with New.
type Extractor struct {
	detectors []detector
	filter    *prefilter
}

// New compiles the detectors.
func New() *Extractor {
	e := &Extractor{detectors: detectors()}
	e.filter = newPrefilter(e.detectors)
	return e
}

func (*Extractor) Name() string                  { return "secrets/text" }
func (*Extractor) Ecosystem() bollwerk.Ecosystem { return "" }
func (*Extractor) Hints() sbom.Hints             { return sbom.Hints{Any: true} }

// Wants takes text-like files outside of third-party software.
func (*Extractor) Wants(f *bollwerk.File) bool {
	if f.Size < 16 || f.Size > maxFile {
		return false
	}
	return textLike(f) && !thirdParty(f.Path)
}

// Extract searches the file.
func (e *Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	data, err := in.Bytes(maxFile)
	if err != nil {
		return bollwerk.Inventory{}, err
	}
	if bytes.IndexByte(data[:min(len(data), 1024)], 0) >= 0 {
		return bollwerk.Inventory{}, nil // binary
	}
	found := e.search(ctx, data)
	low := testPath(in.File.Path)
	for i := range found {
		found[i].Path = in.File.Path
		if low {
			found[i].Severity = bollwerk.SeverityLow
		}
	}
	return bollwerk.Inventory{Secrets: found}, ctx.Err()
}

// SearchText implements sbom.TextSearcher. Name is that of a variable of the
// environment ("DB_PASSWORD"), or says where the text is from ("history 3").
func (e *Extractor) SearchText(ctx context.Context, name string, text []byte) []bollwerk.Secret {
	if len(text) > maxFile {
		text = text[:maxFile]
	}
	found := e.search(ctx, text)
	for i := range found {
		found[i].Env = name
	}
	if len(found) == 0 && secretName(name) && secretValue(string(text)) {
		found = append(found, bollwerk.Secret{
			Detector: "secret-variable", Title: "Variable named like a credential", Env: name, Line: 1,
			Hash: hash(string(text)), Severity: bollwerk.SeverityMedium,
		})
	}
	return found
}

func (e *Extractor) search(ctx context.Context, data []byte) []bollwerk.Secret {
	hits := e.filter.find(data)
	if len(hits) == 0 {
		return nil
	}
	type key struct {
		detector string
		hash     string
	}
	seen := map[key]bool{}
	var out []bollwerk.Secret
	for id, spots := range hits {
		if ctx.Err() != nil {
			return out
		}
		d := &e.detectors[id]
		end := -1
		for _, at := range spots {
			if at < end { // inside the window before
				continue
			}
			lo, hi := max(0, at-windowBefore), min(len(data), at+windowAfter)
			end = hi - windowBefore
			window := data[lo:hi]
			secrets, pos := d.veles.Detect(window)
			for i, s := range secrets {
				cred := credential(s)
				if cred == "" || placeholder(cred) {
					continue
				}
				k := key{d.id, hash(cred)}
				if seen[k] {
					continue
				}
				seen[k] = true
				off := lo
				if i < len(pos) {
					off += pos[i]
				}
				out = append(out, bollwerk.Secret{
					Detector: d.id, Title: d.title, Severity: d.severity, Hash: k.hash,
					Offset: int64(off), Line: 1 + bytes.Count(data[:off], []byte{'\n'}),
				})
				if len(out) >= maxPerFile {
					return out
				}
			}
		}
	}
	sort.Slice(out, func(i, j int) bool {
		if out[i].Offset != out[j].Offset {
			return out[i].Offset < out[j].Offset
		}
		return out[i].Detector < out[j].Detector
	})
	return out
}

// credential takes the secret part out of what a detector returns: each kind is a
// structure of its own, whose longest text is the secret.
func credential(s any) string {
	v := reflect.ValueOf(s)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if v.Kind() == reflect.String {
		return v.String()
	}
	if v.Kind() != reflect.Struct {
		return ""
	}
	best := ""
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.String && len(f.String()) > len(best) {
			best = f.String()
		}
	}
	return best
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// placeholder spots what documentation writes in place of a credential:
// "AKIAIOSFODNN7EXAMPLE", "ghp_xxxxxxxx…", a token of one letter repeated.
func placeholder(s string) bool {
	up := strings.ToUpper(s)
	if strings.Contains(up, "EXAMPLE") || strings.Contains(up, "XXXXXXXX") || strings.Contains(up, "00000000000000") {
		return true
	}
	var seen [256]bool
	n := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			n++
		}
	}
	return len(s) >= 20 && n < 8
}

// secretName recognises variables that hold credentials by custom.
func secretName(name string) bool {
	n := strings.ToUpper(name)
	for _, w := range []string{"PASSWORD", "PASSWD", "SECRET", "API_KEY", "APIKEY", "ACCESS_KEY", "PRIVATE_KEY", "AUTH_TOKEN", "ACCESS_TOKEN", "_TOKEN", "CREDENTIALS"} {
		if strings.Contains(n, w) {
			for _, not := range []string{"_FILE", "_PATH", "_DIR", "_URL", "_NAME", "_ID", "_LENGTH", "_TTL", "_EXPIRY"} {
				if strings.HasSuffix(n, not) {
					return false
				}
			}
			return true
		}
	}
	return false
}

func secretValue(v string) bool {
	v = strings.Trim(strings.TrimSpace(v), `"'`)
	if len(v) < 6 || !utf8.ValidString(v) || strings.HasPrefix(v, "/") || strings.HasPrefix(v, "$") || strings.Contains(v, "://") && !strings.Contains(v, "@") {
		return false
	}
	switch strings.ToLower(v) {
	case "changeme", "change-me", "secret", "password", "example", "undefined", "required", "disabled", "enabled":
		return false
	}
	return !placeholder(v)
}
