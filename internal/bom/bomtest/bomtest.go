// Package bomtest makes random scan results and compares what came back from a
// document with them: the contract that every document format passes.
package bomtest

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/internal/purl"
)

// RoundTrip writes many random results and demands that everything a scan needs
// comes back, that writing is deterministic and that the order of the packages in
// the result does not matter.
func RoundTrip(t *testing.T, write func(io.Writer, *bollwerk.Result) error, read func(io.Reader) (bom.Document, error)) {
	t.Helper()
	for seed := range uint64(150) {
		r := Result(seed, 12)
		var one strings.Builder
		if err := write(&one, r); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		shuffled := *r
		shuffled.Packages = append([]bollwerk.Package(nil), r.Packages...)
		rand.New(rand.NewPCG(seed, 9)).Shuffle(len(shuffled.Packages), func(i, j int) {
			shuffled.Packages[i], shuffled.Packages[j] = shuffled.Packages[j], shuffled.Packages[i]
		})
		var two strings.Builder
		if err := write(&two, &shuffled); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if one.String() != two.String() {
			t.Fatalf("seed %d: the document depends on the order of the packages", seed)
		}
		d, err := read(strings.NewReader(one.String()))
		if err != nil {
			t.Fatalf("seed %d: %v\n%.2000s", seed, err, one.String())
		}
		if diff := Diff(r, d); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
}

// Diff says in which way a document that was read differs from the result it was
// made of; "" when it does not.
func Diff(r *bollwerk.Result, d bom.Document) string {
	if len(d.Problems) > 0 {
		return fmt.Sprintf("problems: %q", d.Problems)
	}
	want, got := sorted(r.Packages), sorted(d.Packages)
	if len(want) != len(got) {
		return fmt.Sprintf("%d packages, want %d", len(got), len(want))
	}
	for i := range want {
		if !reflect.DeepEqual(want[i], got[i]) {
			w, _ := json.Marshal(want[i])
			g, _ := json.Marshal(got[i])
			return fmt.Sprintf("package %d\n got %s %q\nwant %s %q", i, g, got[i].Symbols, w, want[i].Symbols)
		}
	}
	a := r.Target
	a.Ref = ""
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"artifact", d.Artifact, a}, {"distribution", d.OS, a.OS},
	} {
		g, _ := json.Marshal(c.got)
		w, _ := json.Marshal(c.want)
		if string(g) != string(w) {
			return fmt.Sprintf("%s\n got %s\nwant %s", c.what, g, w)
		}
	}
	if !reflect.DeepEqual(d.Facts, r.Facts) {
		return fmt.Sprintf("facts\n got %+v\nwant %+v", d.Facts, r.Facts)
	}
	if !reflect.DeepEqual(d.Secrets, r.Secrets) {
		return fmt.Sprintf("secrets\n got %+v\nwant %+v", d.Secrets, r.Secrets)
	}
	return ""
}

// sorted copies packages in the order of documents, without what documents do not
// carry and with dependencies as the set that they are.
func sorted(in []bollwerk.Package) []bollwerk.Package {
	out := append([]bollwerk.Package(nil), in...)
	for i := range out {
		p := &out[i]
		p.Files = nil
		if len(p.DependsOn) == 0 {
			p.DependsOn = nil
			continue
		}
		set := map[bollwerk.PURL]bool{}
		for _, u := range p.DependsOn {
			set[u] = true
		}
		p.DependsOn = p.DependsOn[:0:0]
		for u := range set {
			p.DependsOn = append(p.DependsOn, u)
		}
		sort.Slice(p.DependsOn, func(a, b int) bool { return p.DependsOn[a] < p.DependsOn[b] })
	}
	sort.SliceStable(out, func(i, j int) bool { return bom.Less(&out[i], &out[j]) })
	return out
}

type random struct{ *rand.Rand }

func (r random) pick(list ...string) string { return list[r.IntN(len(list))] }
func (r random) chance(n int) bool          { return r.IntN(n) == 0 }

// word is a name or, now and then, something hostile that a file system allows.
func (r random) word() string {
	switch r.IntN(12) {
	case 0:
		return r.pick("a\x01b", "tab\there", "line\nbreak", "bad\xffutf8", "<&>\"'", " space ", "é漢字🚀", "a;b,c", "\uFFFD", "x\u2028y", "ends\\", "%41@#?")
	default:
		const letters = "abcdefghijklmnopqrstuvwxyz0123456789-._+~"
		b := make([]byte, 1+r.IntN(12))
		for i := range b {
			b[i] = letters[r.IntN(len(letters))]
		}
		return "n" + string(b)
	}
}

func (r random) digest() bollwerk.Digest {
	return bollwerk.Digest(fmt.Sprintf("sha256:%016x%016x%016x%016x", r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()))
}

// Result is a random result of about n packages; the same seed gives the same one.
func Result(seed uint64, n int) *bollwerk.Result {
	r := random{rand.New(rand.NewPCG(seed, 1))}
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	res := &bollwerk.Result{
		Schema: bollwerk.ResultSchema, Tool: bollwerk.Tool{Name: "bollwerk", Version: "1.2.3"},
		Started: time.Date(2026, 11, 22, 1, 2, 3, 4000, time.UTC),
	}
	a := &res.Target
	a.Ref, a.Name, a.Kind = "oci:x", "registry.example/team/app:1.0", bollwerk.KindImage
	a.Digest, a.ConfigDigest, a.Platform, a.Created = r.digest(), r.digest(), "linux/arm64/v8", &created
	for i := range r.IntN(4) {
		a.Layers = append(a.Layers, bollwerk.Layer{Index: i, Digest: r.digest(), DiffID: r.digest(), Size: 5, CreatedBy: strings.ToValidUTF8(r.word(), "?"), FromBase: i == 0})
	}
	a.Config = &bollwerk.ImageConfig{User: "root", Env: []string{"A=b c"}, Labels: map[string]string{"x": "<y>"}}
	if r.chance(2) {
		a.OS = &bollwerk.Distribution{ID: "debian", VersionID: "12", PrettyName: "Debian GNU/Linux 12 (bookworm)"}
	}
	if r.chance(3) {
		a.BaseImage = &bollwerk.BaseImage{Name: "debian:12", Layers: []bollwerk.Digest{r.digest()}}
	}
	for range n {
		res.Packages = append(res.Packages, r.pkg(a))
	}
	if r.chance(2) && n > 1 { // the same package twice, in another place
		p := res.Packages[0]
		p.Paths = []string{"elsewhere/" + r.word()}
		res.Packages = append(res.Packages, p)
	}
	for i := range res.Packages {
		for range r.IntN(3) {
			res.Packages[i].DependsOn = append(res.Packages[i].DependsOn, res.Packages[r.IntN(len(res.Packages))].PURL)
		}
		if r.chance(6) {
			res.Packages[i].DependsOn = append(res.Packages[i].DependsOn, "pkg:npm/not-here@1.0.0")
		}
	}
	for range r.IntN(3) {
		res.Facts = append(res.Facts, bollwerk.FileFact{Kind: bollwerk.FactSetUID, Path: "usr/bin/" + r.word(), Detail: "4755", Layer: r.layer(a)})
		res.Secrets = append(res.Secrets, bollwerk.Secret{Detector: "gcp-api-key", Title: "Google API key", Path: "etc/" + r.word(), Line: 3, Hash: "00112233", Severity: bollwerk.SeverityHigh})
	}
	return res
}

func (r random) layer(a *bollwerk.Artifact) *bollwerk.LayerRef {
	if r.chance(8) { // not one of the artifact's
		return &bollwerk.LayerRef{Index: r.IntN(5), DiffID: r.digest(), CreatedBy: strings.ToValidUTF8(r.word(), "?"), FromBase: r.chance(2)}
	}
	if len(a.Layers) == 0 {
		return nil
	}
	l := a.Layers[r.IntN(len(a.Layers))]
	ref := &bollwerk.LayerRef{Index: l.Index, Digest: l.Digest, DiffID: l.DiffID, CreatedBy: l.CreatedBy, FromBase: l.FromBase}
	if r.chance(10) {
		ref.CreatedBy = ""
	}
	return ref
}

func (r random) pkg(a *bollwerk.Artifact) bollwerk.Package {
	p := bollwerk.Package{Name: r.word(), Version: fmt.Sprintf("%d.%d-%d", r.IntN(9), r.IntN(99), r.IntN(9)), Extractor: r.pick("", "dpkg", "npm/lock")}
	switch r.IntN(9) {
	case 0, 1:
		p.Ecosystem, p.Arch = bollwerk.Ecosystem(r.pick("Debian:12", "Ubuntu:22.04", "Debian", "deb", "Alpine:v3.19", "Wolfi")), r.pick("", "amd64")
		p.Source = &bollwerk.SourcePackage{Name: p.Name, Version: p.Version}
		if r.chance(2) {
			p.Source = &bollwerk.SourcePackage{Name: r.word(), Version: r.pick(p.Version, "1:2.3-4", "")}
		}
		if r.chance(5) {
			p.Source = nil
		}
		if r.chance(3) {
			p.Version = "1:" + p.Version
		}
	case 2:
		p.Ecosystem, p.Arch = bollwerk.Ecosystem(r.pick("AlmaLinux:9", "openSUSE:Leap 15.5", "Red Hat:9", "SUSE:Linux Enterprise Server 15 SP5")), "x86_64"
		p.Version = r.pick("", "0:", "2:") + p.Version
		p.Modularity = r.pick("", "nodejs:18:8060:ad00")
		p.Source = &bollwerk.SourcePackage{Name: r.word(), Version: "1.2-3.el9"}
	case 3:
		p.Ecosystem, p.GoOS, p.GoArch = bollwerk.EcosystemGo, r.pick("", "linux"), r.pick("", "arm64")
		p.Name = r.pick("github.com/BurntSushi/toml", "golang.org/x/net", "stdlib", "gopkg.in/yaml.v3")
		p.Virtual = p.Name == "stdlib" || r.chance(8)
		if r.chance(2) {
			p.Symbols = []string{"crypto/tls", "a.B[c]\n"}
		}
	case 4:
		p.Ecosystem, p.Name = bollwerk.EcosystemMaven, r.pick("org.slf4j:slf4j-api", "nogroup", "a.b:c")
	case 5:
		p.Ecosystem, p.Name = bollwerk.EcosystemNPM, r.pick("@babel/core", "lodash", "JSONStream")
	case 6:
		p.Ecosystem, p.Name = bollwerk.EcosystemPyPI, r.pick("zope-interface", "Django", "Foo_Bar")
	case 7:
		p.Ecosystem = bollwerk.Ecosystem(r.pick("binary", "GHC", "Packagist", "NuGet", "Something New", "alpm"))
	case 8:
		p.Ecosystem = bollwerk.Ecosystem(r.pick("RubyGems", "crates.io", "Hex", "Pub", "SwiftURL", "CocoaPods", "GitHub Actions"))
	}
	p.PURL = purl.For(p)
	if r.chance(15) {
		p.PURL += "?odd=1"
	}
	p.Layer = r.layer(a)
	for range r.IntN(3) {
		p.Paths = append(p.Paths, r.pick("var/lib/dpkg/status", "a.war!/WEB-INF/lib/b.jar", r.word()))
	}
	for range r.IntN(3) {
		p.Licenses = append(p.Licenses, r.pick("MIT", "mit", "GPL-2.0-or-later", "MIT OR Apache-2.0", "GPLv2+", "see LICENSE", "Boehm-GC", "MIT AND (ISC OR 0BSD)", r.word()))
	}
	for range r.IntN(3) {
		p.Hashes = append(p.Hashes, r.digest())
	}
	if r.chance(10) {
		p.Hashes = append(p.Hashes, "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709", "crc32:00")
	}
	if r.chance(4) {
		direct := r.chance(2)
		p.Direct, p.Dev = &direct, r.chance(2)
	}
	return p
}

// Lines describes the packages of a document in the order they stand there, one a
// line, for comparing with what people expect.
func Lines(d bom.Document) []string {
	var out []string
	for i := range d.Packages {
		p := &d.Packages[i]
		f := []string{string(p.Ecosystem), p.Name, p.Version}
		if p.Source != nil {
			f = append(f, p.Source.Name+" "+p.Source.Version)
		}
		f = append(f, p.Arch, strings.Join(p.Paths, ","), strings.Join(p.Licenses, ","))
		var h []string
		for _, x := range p.Hashes {
			h = append(h, string(x))
		}
		f = append(f, strings.Join(h, ","))
		if p.Layer != nil {
			f = append(f, fmt.Sprintf("%d %s", p.Layer.Index, p.Layer.DiffID))
		}
		if p.Modularity != "" {
			f = append(f, "module "+p.Modularity)
		}
		if p.Virtual {
			f = append(f, "virtual")
		}
		if p.Dev {
			f = append(f, "dev")
		}
		if len(p.DependsOn) > 0 {
			var to []string
			for _, u := range p.DependsOn {
				to = append(to, string(u))
			}
			f = append(f, "-> "+strings.Join(to, ","))
		}
		out = append(out, Line(strings.Join(f, "|")))
	}
	return out
}

// Line leaves the empty fields of a description out.
func Line(s string) string {
	var out []string
	for _, f := range strings.Split(s, "|") {
		if f != "" {
			out = append(out, f)
		}
	}
	return strings.Join(out, "|")
}
