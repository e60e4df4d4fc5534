package signature_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
	"github.com/bollwerk/bollwerk/signature/signaturetest"
)

func TestCheckJSON(t *testing.T) {
	for doc, want := range map[string]string{
		`{"a":{"a":1},"b":[{"a":1},{"a":2}]}`: "",
		`[1,"a","a"]`:                         "",
		`"a"`:                                 "",
		`{"a":"b","b":"a"}`:                   "",
		`{"a":1,"a":1}`:                       "twice",
		`{"a":1,"A":1}`:                       "twice",
		`{"a":1,"\u0061":1}`:                  "twice",
		`{"x":[{"a":1,"a":1}]}`:               "twice",
		`{"a":{},"a":{}}`:                     "twice",
		`{} {}`:                               "behind",
		`{}x`:                                 "behind",
		`{`:                                   "unexpected EOF",
		``:                                    "empty",
		` `:                                   "empty",
		`{"a":}`:                              "JSON",
		strings.Repeat("[", 65) + strings.Repeat("]", 65):                  "deeper",
		strings.Repeat("[", 64) + strings.Repeat("]", 64):                  "",
		strings.Repeat(`{"a":`, 63) + "1" + strings.Repeat("}", 63) + "\n": "",
	} {
		err := signature.CheckJSON([]byte(doc))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", doc, err, want)
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,{"b":null}]}`, `{"a":1,"A":2}`, `[[[]]]`, `{}x`, `"`, `{"a":{"a":{}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if signature.CheckJSON(raw) == nil && !json.Valid(raw) {
			t.Errorf("accepted what is no JSON: %q", raw)
		}
	})
}

func FuzzParseStatement(f *testing.F) {
	d := signaturetest.Digest([]byte("x"))
	f.Add(signaturetest.Statement(d, signature.PredicateSLSA1, signaturetest.SLSA1))
	f.Add(signaturetest.Statement(d, signature.PredicateSLSA02, signaturetest.SLSA02))
	f.Add(signaturetest.Statement(d, signature.PredicateSLSA1, `{"buildDefinition":{"externalParameters":{"source":{"uri":"git+https://x@refs/heads/a"},"configSource":3}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := signature.ParseStatement(raw)
		if err != nil {
			return
		}
		if s.PredicateType == "" || len(s.Subjects) == 0 {
			t.Errorf("%+v", s)
		}
		_ = s.SubjectNames()
		facts, err := s.SLSA()
		if err == nil && facts != nil && (facts.Materials == nil || len(facts.Materials) > 1000) {
			t.Errorf("%+v", facts)
		}
	})
}

func TestSLSA(t *testing.T) {
	d := signaturetest.Digest([]byte("x"))
	for name, c := range map[string]struct{ predicateType, predicate, repo, ref, digest, workflow string }{
		"github":    {signature.PredicateSLSA1, signaturetest.SLSA1, "https://github.com/acme/app", "refs/heads/main", "gitCommit:c0ffee", ".github/workflows/release.yml"},
		"generator": {signature.PredicateSLSA02, signaturetest.SLSA02, "git+https://github.com/acme/app", "refs/tags/v1.2.0", "sha1:c0ffee", ".github/workflows/release.yml"},
		"container-based": {signature.PredicateSLSA1, `{"buildDefinition":{"buildType":"https://slsa-framework.github.io/github-actions-buildtypes/container/v1","externalParameters":{"source":{"uri":"git+https://github.com/acme/app@refs/heads/x","digest":{"sha1":"ab"}}}}}`,
			"git+https://github.com/acme/app", "refs/heads/x", "sha1:ab", ""},
		"buildkit": {signature.PredicateSLSA1, `{"buildDefinition":{"buildType":"https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md","externalParameters":{"configSource":{"uri":"https://github.com/acme/app.git#refs/heads/x","digest":{"sha1":"ab"},"path":"Dockerfile"}}}}`,
			"https://github.com/acme/app.git", "refs/heads/x", "sha1:ab", "Dockerfile"},
		"source as text": {signature.PredicateSLSA1, `{"buildDefinition":{"externalParameters":{"repository":"https://git.example/app","ref":"v1"},"resolvedDependencies":[{"uri":"git+https://git.example/app.git","digest":{"gitCommit":"12"}}]}}`,
			"https://git.example/app", "v1", "gitCommit:12", ""},
		"an unknown build type": {signature.PredicateSLSA1, `{"buildDefinition":{"externalParameters":{"x":1}}}`, "", "", "", ""},
		"a mail-like address":   {signature.PredicateSLSA02, `{"invocation":{"configSource":{"uri":"git+ssh://git@git.example/app@refs/heads/main"}}}`, "git+ssh://git@git.example/app", "refs/heads/main", "", ""},
		"no ref":                {signature.PredicateSLSA02, `{"invocation":{"configSource":{"uri":"git+ssh://git@git.example/app"}}}`, "git+ssh://git@git.example/app", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := signature.ParseStatement(signaturetest.Statement(d, c.predicateType, c.predicate))
			if err != nil {
				t.Fatal(err)
			}
			f, err := s.SLSA()
			if err != nil {
				t.Fatal(err)
			}
			if f.SourceRepo != c.repo || f.SourceRef != c.ref || f.SourceDigest != c.digest || f.Workflow != c.workflow {
				t.Errorf("%+v", f)
			}
		})
	}
	s, _ := signature.ParseStatement(signaturetest.Statement(d, signature.PredicateSPDX, `{}`))
	if f, err := s.SLSA(); f != nil || err != nil {
		t.Errorf("an SBOM is no provenance: %+v %v", f, err)
	}
	s, _ = signature.ParseStatement(signaturetest.Statement(d, signature.PredicateSLSA1, `[]`))
	if _, err := s.SLSA(); err == nil {
		t.Error("a provenance that is a list was accepted")
	}
}

func TestParseStatement(t *testing.T) {
	d := signaturetest.Digest([]byte("x"))
	good := string(signaturetest.Statement(d, "https://p", "{}"))
	many := `[` + strings.TrimSuffix(strings.Repeat(`{"name":"a"},`, 1025), ",") + `]`
	for name, c := range map[string]struct{ doc, want string }{
		"good":               {good, ""},
		"version 0.1":        {strings.Replace(good, "Statement/v1", "Statement/v0.1", 1), ""},
		"another type":       {strings.Replace(good, "Statement/v1", "Statement/v9", 1), "type"},
		"no type":            {strings.Replace(good, "_type", "x", 1), "type"},
		"no predicate type":  {strings.Replace(good, "predicateType", "x", 1), "predicate type"},
		"no subject":         {strings.Replace(good, `"subject":[`, `"x":[`, 1), "0 subjects"},
		"subjects twice":     {strings.Replace(good, `"subject":[`, `"subject":[],"Subject":[`, 1), "twice"},
		"too many subjects":  {`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://p","subject":` + many + `}`, "1025 subjects"},
		"digest of a number": {strings.Replace(good, `"`+d.Hex()+`"`, "7", 1), "statement"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := signature.ParseStatement([]byte(c.doc))
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want %q", err, c.want)
			}
			if err == nil && (!s.About(d) || s.About(signaturetest.Digest([]byte("y"))) || s.About(bollwerk.Digest("sha512:"+d.Hex()))) {
				t.Error("about the wrong thing")
			}
		})
	}
}

func TestPredicateType(t *testing.T) {
	for in, want := range map[string]string{"slsaprovenance": signature.PredicateSLSA1, "cyclonedx": signature.PredicateCycloneDX, "https://x/y": "https://x/y", "nonsense": ""} {
		got, err := signature.PredicateType(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
}

// scheme judges by the layer's media type: "good", "weak", "bad", "crash".
type scheme struct{}

func (scheme) Name() string        { return "fake" }
func (scheme) Wants(t string) bool { return t == "fake" }
func (scheme) fact(m string) (f bollwerk.SignatureFact) {
	f = bollwerk.SignatureFact{Type: "fake", Verdict: bollwerk.Fail, Cause: "bad"}
	switch m {
	case "good":
		f = bollwerk.SignatureFact{Type: "fake", Authentic: true, Verified: true, Verdict: bollwerk.Pass}
	case "weak":
		f = bollwerk.SignatureFact{Type: "fake", Authentic: true, Verified: true, Verdict: bollwerk.Degraded, Cause: "weak"}
	case "crash":
		panic("a bug in a parser")
	}
	return f
}

func (s scheme) Judge(ctx context.Context, _ signature.Subject, a signature.Attachment, l bollwerk.Descriptor) (signature.Judgement, bool, error) {
	if strings.HasPrefix(l.MediaType, "x-") {
		return signature.Judgement{}, false, nil
	}
	if _, err := a.Open(ctx, l, 100); err != nil {
		return signature.Judgement{}, false, err
	}
	if m, ok := strings.CutPrefix(l.MediaType, "att-"); ok {
		return signature.Judgement{Attestation: &bollwerk.AttestationFact{SignatureFact: s.fact(m), PredicateType: "https://p/v1"}}, true, nil
	}
	f := s.fact(l.MediaType)
	return signature.Judgement{Signature: &f}, true, nil
}

func TestConclusion(t *testing.T) {
	broken := errors.New("HTTP 500")
	for name, c := range map[string]struct {
		layers     []string
		predicates []string
		spoil      func(*signaturetest.Memory)
		want       bollwerk.Verdict
	}{
		"good":                                 {[]string{"good"}, nil, nil, bollwerk.Pass},
		"nothing":                              {nil, nil, nil, bollwerk.Fail},
		"bad":                                  {[]string{"bad"}, nil, nil, bollwerk.Fail},
		"bad before good":                      {[]string{"bad", "x-other", "good"}, nil, nil, bollwerk.Pass},
		"weak":                                 {[]string{"weak", "bad"}, nil, nil, bollwerk.Degraded},
		"weak and good":                        {[]string{"weak", "good"}, nil, nil, bollwerk.Pass},
		"an attestation is no signature":       {[]string{"att-good"}, nil, nil, bollwerk.Fail},
		"attestation":                          {[]string{"att-bad", "att-good"}, []string{"https://p"}, nil, bollwerk.Pass},
		"weak attestation":                     {[]string{"att-weak"}, []string{"https://p/v1"}, nil, bollwerk.Degraded},
		"another predicate":                    {[]string{"att-good"}, []string{"https://p/v"}, nil, bollwerk.Fail},
		"a crash is not a pass":                {[]string{"crash"}, nil, nil, bollwerk.NotEvaluated},
		"a crash does not hide the good one":   {[]string{"crash", "good"}, nil, nil, bollwerk.Pass},
		"referrers unreadable":                 {nil, nil, func(m *signaturetest.Memory) { m.Errors["referrers"] = broken }, bollwerk.NotEvaluated},
		"good though referrers are unreadable": {[]string{"good"}, nil, func(m *signaturetest.Memory) { m.Errors["referrers"] = broken }, bollwerk.Pass},
		"signatures unreadable": {[]string{"good"}, nil, func(m *signaturetest.Memory) {
			for k := range m.Manifests {
				if strings.HasSuffix(k, ".sig") {
					m.Errors[k] = broken
				}
			}
		}, bollwerk.NotEvaluated},
	} {
		t.Run(name, func(t *testing.T) {
			m := signaturetest.NewMemory(t)
			d := m.Image("1", "x")
			var layers []signaturetest.Layer
			for _, l := range c.layers {
				layers = append(layers, signaturetest.Layer{MediaType: l, Content: []byte(l)})
			}
			if layers != nil {
				m.Attach(d, ".sig", layers...)
			}
			if c.spoil != nil {
				c.spoil(m)
			}
			k := signature.Checker{Repository: m, Schemes: []signature.Scheme{scheme{}}, Demand: signature.Demand{Signature: c.predicates == nil, Predicates: c.predicates}}
			p, err := k.Check(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			if p.Verdict != c.want || p.Causes == nil || p.Signatures == nil || p.Attestations == nil {
				t.Errorf("%+v", p)
			}
			if p.Verdict != bollwerk.Pass && len(p.Causes) == 0 {
				t.Error("no cause")
			}
		})
	}
}

func TestBounds(t *testing.T) {
	m := signaturetest.NewMemory(t)
	d := m.Image("1", "x")
	m.Attach(d, ".sig", signaturetest.Layer{MediaType: "bad", Content: []byte("1")}, signaturetest.Layer{MediaType: "bad", Content: []byte("2")}, signaturetest.Layer{MediaType: "good", Content: []byte("3")})
	check := func(l signature.Limits) *bollwerk.Provenance {
		t.Helper()
		k := signature.Checker{Repository: m, Schemes: []signature.Scheme{scheme{}}, Demand: signature.Demand{Signature: true}, Limits: l}
		p, err := k.Check(t.Context(), "1")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	all := signature.DefaultLimits()
	few, little := all, all
	few.Layers, little.Total = 2, 2
	if p := check(few); p.Verdict != bollwerk.NotEvaluated || !strings.Contains(strings.Join(p.Causes, " "), "more than 2 signatures") {
		t.Errorf("%+v", p)
	}
	if p := check(little); p.Verdict != bollwerk.NotEvaluated || !strings.Contains(strings.Join(p.Causes, " "), "2 bytes") {
		t.Errorf("%+v", p)
	}
	if p := check(all); p.Verdict != bollwerk.Pass {
		t.Errorf("%+v", p)
	}
	// A layer that claims more than the scheme reads is not fetched.
	m.Attach(d, ".sig", signaturetest.Layer{MediaType: "good", Content: make([]byte, 101)})
	read := m.Read
	if p := check(all); p.Verdict != bollwerk.NotEvaluated || m.Read-read > 5000 {
		t.Errorf("read %d bytes: %+v", m.Read-read, p)
	}
	// What others attached is not even opened.
	m.Refer(d, "application/spdx+json", signaturetest.Layer{MediaType: "good", Content: []byte("sbom")})
	m.Errors[string(m.Index[d][0].Digest)] = errors.New("must not be asked")
	if p := check(all); strings.Contains(strings.Join(p.Causes, " "), "must not be asked") {
		t.Errorf("%+v", p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := signature.Checker{Repository: m, Schemes: []signature.Scheme{scheme{}}}
	if _, err := k.Check(ctx, "1"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := k.Check(t.Context(), "no such tag"); err == nil {
		t.Error("an image that is not there was checked")
	}
}

func TestPlatform(t *testing.T) {
	m := signaturetest.NewMemory(t)
	amd, arm := m.Image("amd", "amd64"), m.Image("arm", "arm64")
	index := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[` +
		`{"digest":"` + string(amd) + `","platform":{"os":"linux","architecture":"amd64"}},` +
		`{"digest":"` + string(arm) + `","platform":{"os":"linux","architecture":"arm64","variant":"v8"}},` +
		`{"digest":"sha256:x","platform":{"os":"unknown","architecture":"unknown"}}]}`)
	m.Manifests["all"] = index
	m.Attach(arm, ".sig", signaturetest.Layer{MediaType: "good", Content: []byte("1")})
	for platform, want := range map[string]struct {
		verdict bollwerk.Verdict
		digest  bollwerk.Digest
	}{
		"":               {bollwerk.Fail, signaturetest.Digest(index)},
		"linux/amd64":    {bollwerk.Fail, amd},
		"linux/arm64":    {bollwerk.Pass, arm},
		"linux/arm64/v8": {bollwerk.Pass, arm},
	} {
		k := signature.Checker{Repository: m, Schemes: []signature.Scheme{scheme{}}, Demand: signature.Demand{Signature: true}, Platform: platform}
		p, err := k.Check(t.Context(), "all")
		if err != nil {
			t.Fatal(err)
		}
		if p.Verdict != want.verdict || p.Subject != want.digest {
			t.Errorf("%q: %+v", platform, p)
		}
	}
	k := signature.Checker{Repository: m, Platform: "linux/s390x"}
	if _, err := k.Check(t.Context(), "all"); err == nil || !strings.Contains(err.Error(), "linux/amd64, linux/arm64/v8") {
		t.Errorf("error %v", err)
	}
	if p, err := k.Check(t.Context(), "amd"); err != nil || p.Subject != amd {
		t.Errorf("an image for one platform: %v", err)
	}
}
