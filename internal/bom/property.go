package bom

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bollwerk/bollwerk"
)

// Property is a name and a value, as CycloneDX has them. In SPDX they are written
// into an annotation.
type Property struct{ Name, Value string }

// Prefix starts the name of every property that is ours. docs/sbom.md lists them.
const Prefix = "bollwerk:"

// quotedSuffix marks a value that is a Go string literal, because the value
// itself cannot be written: XML has no way to say U+0001 and JSON none to say a
// byte that is not UTF-8, and file names on disk have both.
const quotedSuffix = ":quoted"

// Clean reports whether s can be written in every format as it is: valid UTF-8
// without the characters that XML 1.0 forbids (section 2.2), and nothing that
// XML's line-end handling (section 2.11) would change.
func Clean(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf {
			return cleanSlow(s[i:])
		} else if c < 0x20 {
			return false
		}
	}
	return true
}

func cleanSlow(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r < 0x20 || r == 0xFFFE || r == 0xFFFF || r == 0xFFFD {
			return false
		}
	}
	return true
}

// Display is s with everything that Clean objects to replaced, for the fields a
// format insists on. The exact value goes into a property beside it.
func Display(s string) string {
	if Clean(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0xFFFE || r == 0xFFFF {
			return 0xFFFD
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func property(name, value string) Property {
	if !exact(value) {
		return Property{Prefix + name + quotedSuffix, strconv.QuoteToASCII(value)}
	}
	return Property{Prefix + name, value}
}

// Own returns the name of one of our properties without prefix and its value, and
// false for everybody else's.
func (p Property) Own() (name, value string, ok bool) {
	name, ok = strings.CutPrefix(p.Name, Prefix)
	if !ok {
		return "", "", false
	}
	if n, q := strings.CutSuffix(name, quotedSuffix); q {
		v, err := strconv.Unquote(p.Value)
		if err != nil {
			return "", "", false
		}
		return n, v, true
	}
	return name, p.Value, true
}

// Native says which lists of a package a format has already said exactly.
type Native struct{ Paths, Licenses, Hashes bool }

// PackageProperties are what has to be said about a package beside its PURL, name
// and version for Apply to restore it. A list that the format cannot say exactly
// is said here in full; a reader then ignores the format's own.
func PackageProperties(p *bollwerk.Package, layers []bollwerk.Layer, native Native) []Property {
	out := make([]Property, 0, 8)
	add := func(name, value string) {
		if value != "" {
			out = append(out, property(name, value))
		}
	}
	add("ecosystem", string(p.Ecosystem))
	derived, _ := FromPURL(string(p.PURL))
	if derived.Name != p.Name || !exact(p.Name) {
		out = append(out, property("name", p.Name))
	}
	if derived.Version != p.Version || !exact(p.Version) {
		out = append(out, property("version", p.Version))
	}
	if p.PURL == "" || !exact(string(p.PURL)) {
		out = append(out, property("purl", string(p.PURL)))
	}
	if p.Source != nil {
		out = append(out, property("source:name", p.Source.Name), property("source:version", p.Source.Version))
	} else if derived.Source != nil {
		out = append(out, property("source:none", "true"))
	}
	if p.Arch != "" || derived.Arch != "" {
		out = append(out, property("arch", p.Arch))
	}
	if p.Modularity != "" || derived.Modularity != "" {
		out = append(out, property("modularity", p.Modularity))
	}
	if p.GoOS != "" || derived.GoOS != "" {
		out = append(out, property("goos", p.GoOS))
	}
	if p.GoArch != "" || derived.GoArch != "" {
		out = append(out, property("goarch", p.GoArch))
	}
	if p.Virtual != derived.Virtual {
		add("virtual", strconv.FormatBool(p.Virtual))
	}
	if p.Dev {
		add("dev", "true")
	}
	if p.Direct != nil {
		add("direct", strconv.FormatBool(*p.Direct))
	}
	add("extractor", p.Extractor)
	if p.Layer != nil {
		out = appendLayer(out, p.Layer, layers)
	}
	if len(p.Symbols) > 0 {
		b, _ := json.Marshal(p.Symbols)
		add("symbols", string(b))
	}
	if !native.Paths {
		for _, s := range p.Paths {
			out = append(out, property("path", s))
		}
	}
	if !native.Licenses {
		for _, s := range p.Licenses {
			out = append(out, property("license", s))
		}
	}
	if !native.Hashes {
		for _, h := range p.Hashes {
			out = append(out, property("hash", string(h)))
		}
	}
	return out
}

// exact reports whether a string comes back from every format as it was.
func exact(s string) bool { return Clean(s) && strings.TrimSpace(s) == s }

// Exact reports whether every string of a list does, and none is empty.
func Exact[S ~string](list []S) bool {
	for _, s := range list {
		if s == "" || !exact(string(s)) {
			return false
		}
	}
	return true
}

func appendLayer(out []Property, l *bollwerk.LayerRef, layers []bollwerk.Layer) []Property {
	out = append(out, Property{Prefix + "layer:index", strconv.Itoa(l.Index)})
	if l.DiffID != "" {
		out = append(out, property("layer:diffID", string(l.DiffID)))
	}
	if l.Digest != "" {
		out = append(out, property("layer:digest", string(l.Digest)))
	}
	// The line that made a layer is long and the same for every package in it: it
	// is said once, with the artifact.
	if t := layerAt(layers, l); t != nil && t.CreatedBy == l.CreatedBy && t.FromBase == l.FromBase {
		return out
	}
	if l.CreatedBy != "" {
		out = append(out, property("layer:createdBy", l.CreatedBy))
	}
	return append(out, Property{Prefix + "layer:fromBase", strconv.FormatBool(l.FromBase)})
}

// seeArtifact stands in a LayerRef for "as the artifact's list of layers has it"
// between Apply and CompleteLayers.
const seeArtifact = "\x00"

func layerAt(layers []bollwerk.Layer, l *bollwerk.LayerRef) *bollwerk.Layer {
	if l.Index < 0 || l.Index >= len(layers) {
		return nil
	}
	if t := &layers[l.Index]; t.Index == l.Index && t.DiffID == l.DiffID && t.Digest == l.Digest {
		return t
	}
	return nil
}

// Apply sets the fields of p that properties name and reports whether any was
// ours.
func Apply(p *bollwerk.Package, props []Property) (own bool) {
	var paths, licenses []string
	var hashes []bollwerk.Digest
	var layerWhole, layerNamed bool
	for _, q := range props {
		name, v, ok := q.Own()
		if !ok {
			continue
		}
		own = true
		switch name {
		case "ecosystem":
			p.Ecosystem = bollwerk.Ecosystem(v)
		case "name":
			p.Name = v
		case "version":
			p.Version = v
		case "purl":
			p.PURL = bollwerk.PURL(v)
		case "source:name":
			source(p).Name = v
		case "source:version":
			source(p).Version = v
		case "source:none":
			p.Source = nil
		case "arch":
			p.Arch = v
		case "modularity":
			p.Modularity = v
		case "goos":
			p.GoOS = v
		case "goarch":
			p.GoArch = v
		case "virtual":
			p.Virtual = v == "true"
		case "dev":
			p.Dev = v == "true"
		case "direct":
			b := v == "true"
			p.Direct = &b
		case "extractor":
			p.Extractor = v
		case "symbols":
			var s []string
			if json.Unmarshal([]byte(v), &s) == nil {
				p.Symbols = s
			}
		case "layer:index":
			if n, err := strconv.Atoi(v); err == nil {
				layer(p).Index = n
				layerNamed = true
			}
		case "layer:diffID":
			layer(p).DiffID = bollwerk.Digest(v)
		case "layer:digest":
			layer(p).Digest = bollwerk.Digest(v)
		case "layer:createdBy":
			layer(p).CreatedBy = v
		case "layer:fromBase":
			layer(p).FromBase = v == "true"
			layerWhole = true
		case "path":
			paths = append(paths, v)
		case "license":
			licenses = append(licenses, v)
		case "hash":
			hashes = append(hashes, bollwerk.Digest(v))
		}
	}
	if layerNamed && !layerWhole {
		p.Layer.CreatedBy = seeArtifact
	}
	if paths != nil {
		p.Paths = paths
	}
	if licenses != nil {
		p.Licenses = licenses
	}
	if hashes != nil {
		p.Hashes = hashes
	}
	return own
}

func source(p *bollwerk.Package) *bollwerk.SourcePackage {
	if p.Source == nil {
		p.Source = &bollwerk.SourcePackage{}
	}
	return p.Source
}

func layer(p *bollwerk.Package) *bollwerk.LayerRef {
	if p.Layer == nil {
		p.Layer = &bollwerk.LayerRef{}
	}
	return p.Layer
}

// CompleteLayers fills what the artifact says of a layer into the packages that
// refer to it.
func CompleteLayers(pkgs []bollwerk.Package, layers []bollwerk.Layer) {
	var byDigest map[bollwerk.Digest]*bollwerk.Layer
	for i := range pkgs {
		l := pkgs[i].Layer
		if l == nil {
			continue
		}
		if l.CreatedBy == seeArtifact {
			l.CreatedBy = ""
			if t := layerAt(layers, l); t != nil {
				l.CreatedBy, l.FromBase = t.CreatedBy, t.FromBase
			}
			continue
		}
		if l.Index >= 0 {
			continue
		}
		// A foreign document names the layer by one digest only.
		if byDigest == nil {
			byDigest = make(map[bollwerk.Digest]*bollwerk.Layer, 2*len(layers))
			for j := len(layers) - 1; j >= 0; j-- {
				byDigest[layers[j].DiffID], byDigest[layers[j].Digest] = &layers[j], &layers[j]
			}
			delete(byDigest, "")
		}
		t := byDigest[l.DiffID]
		if t == nil && l.DiffID == "" {
			t = byDigest[l.Digest]
		}
		if t != nil {
			*l = bollwerk.LayerRef{Index: t.Index, Digest: t.Digest, DiffID: t.DiffID, CreatedBy: t.CreatedBy, FromBase: t.FromBase}
		}
		if l.Index < 0 {
			// Which layer it is in order, the document does not say.
			l.Index = 0
		}
	}
}

// ArtifactProperties carry everything about an artifact that policies and
// reports read and that no format has a field for.
func ArtifactProperties(r *bollwerk.Result) []Property {
	var out []Property
	add := func(name, value string) {
		if value != "" {
			out = append(out, property(name, value))
		}
	}
	a := &r.Target
	add("artifact:kind", string(a.Kind))
	add("artifact:name", a.Name)
	add("artifact:digest", string(a.Digest))
	add("artifact:configDigest", string(a.ConfigDigest))
	add("artifact:platform", a.Platform)
	asJSON := func(name string, v any) {
		b, err := json.Marshal(v)
		if err == nil {
			out = append(out, property(name, string(b)))
		}
	}
	if a.Created != nil {
		asJSON("artifact:created", a.Created)
	}
	if a.Config != nil {
		asJSON("artifact:config", withoutSecrets(a.Config, r.Secrets))
	}
	if a.BaseImage != nil {
		asJSON("artifact:baseImage", a.BaseImage)
	}
	if a.OS != nil {
		asJSON("artifact:os", a.OS)
	}
	for i := range a.Layers {
		asJSON("artifact:layer", &a.Layers[i])
	}
	// JSON cannot hold a path that is not UTF-8; such a path is quoted first, and
	// the property's name says so.
	for _, f := range r.Facts {
		name := "fact"
		if !utf8.ValidString(f.Path) {
			name, f.Path = name+pathQuoted, strconv.QuoteToASCII(f.Path)
		}
		asJSON(name, &f)
	}
	for _, s := range r.Secrets {
		name := "secret"
		if !utf8.ValidString(s.Path) {
			name, s.Path = name+pathQuoted, strconv.QuoteToASCII(s.Path)
		}
		asJSON(name, &s)
	}
	for i := range r.Coverage {
		// How good the advisories were is the next reader's own affair.
		// That credentials were looked for is said even if none was found: their
		// absence means something only then.
		if c := &r.Coverage[i]; (c.Verdict != bollwerk.Pass || c.Area == "secrets") && !aboutAdvisories(c.Area) {
			asJSON("coverage", c)
		}
	}
	return out
}

// withoutSecrets takes the values of those environment variables out in which a
// credential was found: documents are handed on. That it was found stays.
func withoutSecrets(c *bollwerk.ImageConfig, secrets []bollwerk.Secret) *bollwerk.ImageConfig {
	hide := map[string]bool{}
	for i := range secrets {
		if secrets[i].Env != "" {
			hide[secrets[i].Env] = true
		}
	}
	if len(hide) == 0 {
		return c
	}
	out := *c
	out.Env = make([]string, len(c.Env))
	for i, e := range c.Env {
		if name, _, _ := strings.Cut(e, "="); hide[name] {
			e = name + "=(credential removed)"
		}
		out.Env[i] = e
	}
	return &out
}

const pathQuoted = ":path-quoted"

func aboutAdvisories(area string) bool {
	return area == "database" || strings.HasPrefix(area, "advisories")
}

// ApplyArtifact restores what ArtifactProperties wrote into d.
func ApplyArtifact(d *Document, props []Property) (own bool, err error) {
	a := &d.Artifact
	for _, q := range props {
		name, v, ok := q.Own()
		if !ok {
			continue
		}
		own = true
		asJSON := func(dst any) {
			if e := json.Unmarshal([]byte(v), dst); e != nil && err == nil {
				err = e
			}
		}
		switch name {
		case "artifact:kind":
			a.Kind = bollwerk.ArtifactKind(v)
		case "artifact:name":
			a.Name = v
		case "artifact:digest":
			a.Digest = bollwerk.Digest(v)
		case "artifact:configDigest":
			a.ConfigDigest = bollwerk.Digest(v)
		case "artifact:platform":
			a.Platform = v
		case "artifact:created":
			asJSON(&a.Created)
		case "artifact:config":
			asJSON(&a.Config)
		case "artifact:baseImage":
			asJSON(&a.BaseImage)
		case "artifact:os":
			asJSON(&a.OS)
		case "artifact:layer":
			var l bollwerk.Layer
			asJSON(&l)
			a.Layers = append(a.Layers, l)
		case "fact", "fact" + pathQuoted:
			var f bollwerk.FileFact
			asJSON(&f)
			if name != "fact" {
				f.Path = unquote(f.Path)
			}
			d.Facts = append(d.Facts, f)
		case "secret", "secret" + pathQuoted:
			var s bollwerk.Secret
			asJSON(&s)
			if name != "secret" {
				s.Path = unquote(s.Path)
			}
			d.Secrets = append(d.Secrets, s)
		case "coverage":
			var c bollwerk.Coverage
			asJSON(&c)
			d.Coverage = append(d.Coverage, c)
		}
	}
	return own, err
}

func unquote(s string) string {
	if v, err := strconv.Unquote(s); err == nil {
		return v
	}
	return s
}

// HashAlgorithm maps the algorithm of a digest ("sha256") to the name that
// CycloneDX uses ("SHA-256").
func HashAlgorithm(algorithm string) (string, bool) {
	for _, h := range hashNames {
		if h.digest == algorithm {
			return h.cyclonedx, true
		}
	}
	return "", false
}

// DigestAlgorithm maps a name as CycloneDX ("SHA-256") or SPDX ("SHA256") write it
// to the algorithm of a digest ("sha256").
func DigestAlgorithm(name string) (string, bool) {
	for _, h := range hashNames {
		if strings.EqualFold(h.cyclonedx, name) || strings.EqualFold(h.digest, name) {
			return h.digest, true
		}
	}
	return "", false
}

var hashNames = [...]struct {
	digest, cyclonedx string
	hexDigits         int
}{
	{"sha256", "SHA-256", 64}, {"sha512", "SHA-512", 128}, {"sha1", "SHA-1", 40},
	{"sha384", "SHA-384", 96}, {"md5", "MD5", 32},
}

// ValidHash reports whether d is a digest that CycloneDX and SPDX accept: a known
// algorithm and its number of hex digits.
func ValidHash(d bollwerk.Digest) bool {
	for _, h := range hashNames {
		if h.digest == d.Algorithm() {
			x := d.Hex()
			return len(x) == h.hexDigits && strings.Trim(x, "0123456789abcdef") == ""
		}
	}
	return false
}
