package sigstore

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
	"github.com/bollwerk/bollwerk/signature/signaturetest"
)

var us = signaturetest.Request{Identity: me, Issuer: issuer}

// TestAttacks tries what somebody would try who may push to the registry. Each
// case writes something beside the image; nothing of it may verify.
func TestAttacks(t *testing.T) {
	type attack struct {
		name  string
		do    func(w *world)
		trust func(w *world) Trust // nil: byIdentity with our key as well
		want  bollwerk.Verdict     // "": fail
		cause string
	}
	sigTag := func(w *world, l signaturetest.Layer) { w.Attach(w.digest, ".sig", l) }
	attacks := []attack{
		{name: "nothing at all", do: func(*world) {}, cause: "a signature was not found"},
		{name: "another image's signature under this image's tag", do: func(w *world) {
			sigTag(w, signaturetest.SimpleLayer(w.t, w.key, w.Image("2.0", "another")))
		}, cause: "not for this artifact"},
		{name: "payload changed to this image's digest", do: func(w *world) {
			l := signaturetest.SimpleLayer(w.t, w.key, w.Image("2.0", "another"))
			l.Content = signaturetest.Payload(w.digest)
			sigTag(w, l)
		}, cause: "could not verify"},
		{name: "another key", do: func(w *world) {
			sigTag(w, signaturetest.SimpleLayer(w.t, signaturetest.NewKey(w.t), w.digest))
		}},
		{name: "no signature annotation", do: func(w *world) {
			l := signaturetest.SimpleLayer(w.t, w.key, w.digest)
			l.Annotations = nil
			sigTag(w, l)
		}, cause: "no annotation"},
		{name: "payload with the digest twice", do: func(w *world) {
			p := strings.Replace(string(signaturetest.Payload(w.digest)), `"image":{`, `"image":{"docker-manifest-digest":"sha256:`+strings.Repeat("0", 64)+`",`, 1)
			sigTag(w, signedPayload(w, []byte(p)))
		}, cause: "twice"},
		{name: "payload with the digest twice, differing in case", do: func(w *world) {
			p := strings.Replace(string(signaturetest.Payload(w.digest)), `"critical":{`, `"Critical":{},"critical":{`, 1)
			sigTag(w, signedPayload(w, []byte(p)))
		}, cause: "twice"},
		{name: "payload of another type", do: func(w *world) {
			sigTag(w, signedPayload(w, bytes.Replace(signaturetest.Payload(w.digest), []byte("cosign container image signature"), []byte("something else"), 1)))
		}, cause: "type"},
		{name: "certificate of another authority", do: func(w *world) {
			other := &world{Memory: w.Memory, t: w.t, a: signaturetest.NewAuthority(w.t), digest: w.digest}
			sigTag(w, other.keyless(us, time.Now()))
		}},
		{name: "certificate of another authority, logged in ours", do: func(w *world) {
			cert, key := signaturetest.NewAuthority(w.t).Certificate(us)
			sigTag(w, logged(w, cert.Raw, signaturetest.CertificatePEM(cert), signaturetest.Sign(w.t, key, signaturetest.Payload(w.digest)), time.Now()))
		}, cause: "leaf certificate"},
		{name: "expired certificate, logged too late", do: func(w *world) {
			then := time.Now().Add(-time.Hour)
			sigTag(w, w.keyless(signaturetest.Request{Identity: me, Issuer: issuer, NotBefore: then, NotAfter: then.Add(10 * time.Minute)}, time.Now()))
		}, cause: "outside certificate validity"},
		{name: "expired certificate, no log, log ignored", do: func(w *world) {
			then := time.Now().Add(-time.Hour)
			l := w.keyless(signaturetest.Request{Identity: me, Issuer: issuer, NotBefore: then, NotAfter: then.Add(10 * time.Minute)}, then)
			delete(l.Annotations, signaturetest.AnnotationBundle)
			sigTag(w, l)
		}, trust: func(w *world) Trust { tr := w.byIdentity(); tr.IgnoreLog = true; return tr }, cause: "leaf certificate"},
		{name: "valid certificate without a log entry", do: func(w *world) {
			l := w.keyless(us, time.Now())
			delete(l.Annotations, signaturetest.AnnotationBundle)
			sigTag(w, l)
		}, cause: "log"},
		{name: "certificate that no certificate log saw", do: func(w *world) {
			sigTag(w, w.keyless(signaturetest.Request{Identity: me, Issuer: issuer, NoSCT: true}, time.Now()))
		}, cause: "certificate timestamp"},
		{name: "another identity", do: func(w *world) {
			sigTag(w, w.keyless(signaturetest.Request{Identity: "https://github.com/evil/app/.github/workflows/release.yml@refs/heads/main", Issuer: issuer}, time.Now()))
		}, cause: "not a demanded identity"},
		{name: "another issuer", do: func(w *world) {
			sigTag(w, w.keyless(signaturetest.Request{Identity: me, Issuer: "https://evil.example"}, time.Now()))
		}, cause: "not a demanded identity"},
		{name: "identity that contains ours", do: func(w *world) {
			sigTag(w, w.keyless(signaturetest.Request{Identity: "https://evil.example/?" + me, Issuer: issuer}, time.Now()))
		}, trust: func(w *world) Trust {
			return Trust{Root: w.a.TrustedRoot(nil), Identities: []Identity{{IdentityRegexp: "https://github.com/acme/app/.*", Issuer: issuer}}}
		}, cause: "not a demanded identity"},
		{name: "identity that continues after ours", do: func(w *world) {
			sigTag(w, w.keyless(signaturetest.Request{Identity: "https://github.com/acme/app.evil.example/x", Issuer: issuer}, time.Now()))
		}, trust: func(w *world) Trust {
			return Trust{Root: w.a.TrustedRoot(nil), Identities: []Identity{{IdentityRegexp: "https://github.com/acme/app", Issuer: issuer}}}
		}, cause: "not a demanded identity"},
		{name: "log entry of another artifact", do: func(w *world) {
			l, m := w.keyless(us, time.Now()), w.keyless(us, time.Now())
			sigTag(w, l.With(signaturetest.AnnotationBundle, m.Annotations[signaturetest.AnnotationBundle]))
		}, cause: "log"},
		{name: "log promise signed by somebody else", do: func(w *world) {
			l := w.keyless(us, time.Now())
			var r map[string]json.RawMessage
			if err := json.Unmarshal([]byte(l.Annotations[signaturetest.AnnotationBundle]), &r); err != nil {
				w.t.Fatal(err)
			}
			forged, _ := json.Marshal(signaturetest.Sign(w.t, w.key, r["Payload"]))
			r["SignedEntryTimestamp"] = forged
			raw, _ := json.Marshal(r)
			sigTag(w, l.With(signaturetest.AnnotationBundle, string(raw)))
		}, cause: "log"},
		{name: "log entry with a changed time", do: func(w *world) {
			l := w.keyless(us, time.Now())
			raw := strings.Replace(l.Annotations[signaturetest.AnnotationBundle], `"integratedTime":1`, `"integratedTime":2`, 1)
			sigTag(w, l.With(signaturetest.AnnotationBundle, raw))
		}, cause: "log"},
		{name: "log entry with a field twice", do: func(w *world) {
			l := w.keyless(us, time.Now())
			raw := strings.Replace(l.Annotations[signaturetest.AnnotationBundle], `"logIndex":`, `"logIndex":7,"logIndex":`, 1)
			sigTag(w, l.With(signaturetest.AnnotationBundle, raw))
		}, cause: "twice"},
		{name: "another image's provenance replayed as this image's signature", do: func(w *world) {
			other := w.Image("2.0", "another")
			w.referBundle(w.statementBundle(signaturetest.Statement(other, signature.PredicateCosignSign, "{}"), us))
		}, cause: "not about this artifact"},
		{name: "statement changed after signing", do: func(w *world) {
			other := w.Image("2.0", "another")
			raw := w.statementBundle(signaturetest.Statement(other, signature.PredicateCosignSign, "{}"), us)
			was := base64.StdEncoding.EncodeToString(signaturetest.Statement(other, signature.PredicateCosignSign, "{}"))
			is := base64.StdEncoding.EncodeToString(signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
			if !bytes.Contains(raw, []byte(was)) {
				w.t.Fatal("the payload is not where it was expected")
			}
			w.referBundle(bytes.Replace(raw, []byte(was), []byte(is), 1))
		}},
		{name: "payload type that is no statement", do: func(w *world) {
			cert, key := w.a.Certificate(us)
			env := signaturetest.SignEnvelope(w.t, key, "application/json", signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
			entry := w.a.LogEnvelope(env, signaturetest.CertificatePEM(cert), time.Now())
			w.referBundle(signaturetest.BundleEnvelope(w.t, env, signaturetest.BundleOptions{Certificate: cert, Entries: []signaturetest.LogEntry{entry}}))
		}, cause: "payload type"},
		{name: "payload type changed after signing", do: func(w *world) {
			cert, key := w.a.Certificate(us)
			env := signaturetest.SignEnvelope(w.t, key, "application/json", signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
			env.PayloadType = signature.PayloadTypeInToto
			entry := w.a.LogEnvelope(env, signaturetest.CertificatePEM(cert), time.Now())
			w.referBundle(signaturetest.BundleEnvelope(w.t, env, signaturetest.BundleOptions{Certificate: cert, Entries: []signaturetest.LogEntry{entry}}))
		}},
		{name: "bundle with a field twice", do: func(w *world) {
			raw := w.statementBundle(signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"), us)
			w.referBundle(bytes.Replace(raw, []byte(`{"dsseEnvelope"`), []byte(`{"mediaType":"x","dsseEnvelope"`), 1))
		}, cause: "twice"},
		{name: "bundle whose certificate was exchanged for our identity's", do: func(w *world) {
			cert, _ := w.a.Certificate(us)
			_, key := w.a.Certificate(signaturetest.Request{Identity: "evil@example.com", Issuer: issuer})
			env := signaturetest.SignEnvelope(w.t, key, signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
			entry := w.a.LogEnvelope(env, signaturetest.CertificatePEM(cert), time.Now())
			w.referBundle(signaturetest.BundleEnvelope(w.t, env, signaturetest.BundleOptions{Certificate: cert, Entries: []signaturetest.LogEntry{entry}}))
		}, cause: "verify"},
		{name: "bundle with somebody else's inclusion proof", do: func(w *world) {
			cert, key := w.a.Certificate(us)
			env := signaturetest.SignEnvelope(w.t, key, signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
			other := w.a.LogMessage([]byte("x"), []byte("y"), []byte("z"), time.Now())
			entry := w.a.LogEnvelope(env, signaturetest.CertificatePEM(cert), time.Now())
			entry.Checkpoint, entry.RootHash, entry.TreeSize, entry.Hashes = other.Checkpoint, other.RootHash, other.TreeSize, other.Hashes
			w.referBundle(signaturetest.BundleEnvelope(w.t, env, signaturetest.BundleOptions{Certificate: cert, Entries: []signaturetest.LogEntry{entry}}))
		}},
		{name: "bundle signed with a key that only claims a certificate's name", do: func(w *world) {
			env := signaturetest.SignEnvelope(w.t, signaturetest.NewKey(w.t), signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
			w.referBundle(signaturetest.BundleEnvelope(w.t, env, signaturetest.BundleOptions{}))
		}},
		{name: "envelope with a good and a bad signature", do: func(w *world) {
			env := signaturetest.SignEnvelope(w.t, w.key, signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
			env.Signatures = append(env.Signatures, signaturetest.EnvelopeSignature{Sig: []byte("x")})
			w.referBundle(signaturetest.BundleEnvelope(w.t, env, signaturetest.BundleOptions{}))
		}, cause: "one signature"},
		{name: "bundle version of the future", do: func(w *world) {
			raw := w.statementBundle(signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"), us)
			w.referBundle(bytes.Replace(raw, []byte("bundle.v0.3"), []byte("bundle.v9.0"), 1))
		}, want: bollwerk.NotEvaluated, cause: "not known here"},
		{name: "log entry of a kind that nobody knows", do: func(w *world) {
			l := w.keyless(us, time.Now())
			body := base64.StdEncoding.EncodeToString([]byte(`{"apiVersion":"0.0.1","kind":"intoto","spec":{}}`))
			raw := fmt.Sprintf(`{"SignedEntryTimestamp":"AAAA","Payload":{"body":%q,"integratedTime":1,"logIndex":1,"logID":"00"}}`, body)
			sigTag(w, l.With(signaturetest.AnnotationBundle, raw))
		}, want: bollwerk.NotEvaluated, cause: "intoto 0.0.1 is not known here"},
		{name: "payload too large", do: func(w *world) {
			l := signaturetest.SimpleLayer(w.t, w.key, w.digest)
			l.Content = append(l.Content, bytes.Repeat([]byte(" "), maxPayload)...)
			sigTag(w, l)
		}, want: bollwerk.NotEvaluated, cause: "more than the bound"},
		{name: "manifest too large", do: func(w *world) {
			tag := strings.Replace(string(w.digest), ":", "-", 1) + ".sig"
			w.Manifests[tag] = bytes.Repeat([]byte(" "), 5<<20)
		}, want: bollwerk.NotEvaluated, cause: "larger than the bound"},
		{name: "registry that refuses to tell", do: func(w *world) { w.Errors["referrers"] = errors.New("HTTP 403") },
			want: bollwerk.NotEvaluated, cause: "403"},
		{name: "registry that loses the signature's blob", do: func(w *world) {
			sigTag(w, signaturetest.SimpleLayer(w.t, w.key, w.digest))
			for d := range w.Blobs {
				delete(w.Blobs, d)
			}
		}, want: bollwerk.NotEvaluated, cause: "not everything could be looked at"},
	}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			w := newWorld(t)
			a.do(w)
			trust := w.byIdentity()
			trust.Keys = w.byKey().Keys
			if a.trust != nil {
				trust = a.trust(w)
			}
			if a.want == "" {
				a.want = bollwerk.Fail
			}
			p := w.check(trust)
			wantVerdict(t, p, a.want)
			if a.cause != "" {
				wantVerdict(t, p, a.want, a.cause)
			}
			if p.Signed || p.SLSA != nil {
				t.Errorf("something was believed: %+v", p)
			}
			for _, f := range p.Signatures {
				if f.Verified {
					t.Errorf("verified: %+v", f)
				}
			}
		})
	}
}

// signedPayload is a correct signature by our key over any payload.
func signedPayload(w *world, payload []byte) signaturetest.Layer {
	return signaturetest.Layer{MediaType: signaturetest.MediaSimple, Content: payload}.
		With(signaturetest.AnnotationSignature, base64.StdEncoding.EncodeToString(signaturetest.Sign(w.t, w.key, payload)))
}

func logged(w *world, _ []byte, pem, sig []byte, at time.Time) signaturetest.Layer {
	p := signaturetest.Payload(w.digest)
	return signaturetest.Layer{MediaType: signaturetest.MediaSimple, Content: p}.With(
		signaturetest.AnnotationSignature, base64.StdEncoding.EncodeToString(sig),
		signaturetest.AnnotationCertificate, string(pem),
		signaturetest.AnnotationBundle, w.a.LogMessage(p, sig, pem, at).CosignBundle(w.t))
}

// TestAttestationAttacks: what is verified as a statement about another image, or
// not verified at all, must not reach a policy.
func TestAttestationAttacks(t *testing.T) {
	w := newWorld(t)
	other := w.Image("2.0", "another")
	w.referBundle(w.statementBundle(signaturetest.Statement(other, signature.PredicateSLSA1, signaturetest.SLSA1), us))
	w.referBundle(w.statementBundle(signaturetest.Statement(w.digest, signature.PredicateSLSA1, signaturetest.SLSA1), signaturetest.Request{Identity: "evil@example.com", Issuer: issuer}))
	w.Attach(w.digest, ".att", signaturetest.Layer{MediaType: signaturetest.MediaDSSE,
		Content: signaturetest.SignEnvelope(t, signaturetest.NewKey(t), signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateSLSA1, signaturetest.SLSA1)).JSON(t)})
	p := w.check(w.byIdentity(), signature.PredicateSLSA1)
	wantVerdict(t, p, bollwerk.Fail, "not about this artifact", "not a demanded identity", "no public key was given")
	if len(p.Attestations) != 3 || p.SLSA != nil {
		t.Fatalf("%+v", p)
	}
	for _, f := range p.Attestations {
		if f.SLSA != nil || f.Verified {
			t.Errorf("facts of an attestation that does not count: %+v", f)
		}
	}
}

// TestJunkBeforeTheGoodOne: somebody with push rights buries the good signature.
func TestJunkBeforeTheGoodOne(t *testing.T) {
	w := newWorld(t)
	var layers []signaturetest.Layer
	junk := signaturetest.NewKey(t)
	for range 150 {
		layers = append(layers, signaturetest.SimpleLayer(t, junk, w.digest))
	}
	w.Attach(w.digest, ".sig", append(layers, signaturetest.SimpleLayer(t, w.key, w.digest))...)
	for i := range 100 {
		w.Refer(w.digest, signaturetest.MediaBundle, signaturetest.Layer{MediaType: signaturetest.MediaBundle, Content: fmt.Appendf(nil, `{"junk":%d}`, i)})
	}
	p := w.check(w.byKey())
	wantVerdict(t, p, bollwerk.Pass)
	if len(p.Signatures) != 251 {
		t.Errorf("%d facts", len(p.Signatures))
	}
	// Beyond the bounds nobody may say "unsigned".
	w = newWorld(t)
	for i := range 300 {
		w.Refer(w.digest, signaturetest.MediaBundle, signaturetest.Layer{MediaType: signaturetest.MediaBundle, Content: fmt.Appendf(nil, `{"junk":%d}`, i)})
	}
	w.referBundle(signaturetest.BundleEnvelope(t, signaturetest.SignEnvelope(t, w.key, signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}")), signaturetest.BundleOptions{}))
	wantVerdict(t, w.check(w.byKey()), bollwerk.NotEvaluated, "only 200 were opened")
}

// TestAlgorithmConfusion: bytes that are a valid signature under one algorithm must
// not be tried under another one that the attacker picks.
func TestAlgorithmConfusion(t *testing.T) {
	w := newWorld(t)
	payload := signaturetest.Payload(w.digest)
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// An attacker's Ed25519 signature, presented where an ECDSA key is trusted, and
	// with the key itself in the places where a naive reader would look for it.
	w.Attach(w.digest, ".sig", signaturetest.Layer{MediaType: signaturetest.MediaSimple, Content: payload}.With(
		signaturetest.AnnotationSignature, base64.StdEncoding.EncodeToString(ed25519.Sign(key, payload)),
		"dev.sigstore.cosign/publicKey", string(signaturetest.PublicPEM(pub)), "alg", "none"))
	wantVerdict(t, w.check(w.byKey()), bollwerk.Fail)
	// The certificate of an attacker, with --key demanded: the key decides.
	cert, ckey := w.a.Certificate(us)
	w.Attach(w.digest, ".sig", logged(w, nil, signaturetest.CertificatePEM(cert), signaturetest.Sign(t, ckey, payload), time.Now()))
	p := w.check(w.byKey())
	wantVerdict(t, p, bollwerk.Fail, "no trusted root was given")
}

func TestTrustIsChecked(t *testing.T) {
	w := newWorld(t)
	root := w.a.TrustedRoot(nil)
	weak := signaturetest.PublicPEM(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537})
	key := string(signaturetest.PublicPEM(w.key.Public()))
	for name, c := range map[string]struct {
		trust Trust
		want  string
	}{
		"identity without root":      {Trust{Identities: []Identity{{Identity: me, Issuer: issuer}}}, "trusted root"},
		"identity without issuer":    {Trust{Root: root, Identities: []Identity{{Identity: me}}}, "issuer"},
		"issuer without identity":    {Trust{Root: root, Identities: []Identity{{Issuer: issuer}}}, "identity"},
		"both forms":                 {Trust{Root: root, Identities: []Identity{{Identity: me, IdentityRegexp: ".*", Issuer: issuer}}}, "either"},
		"broken regexp":              {Trust{Root: root, Identities: []Identity{{IdentityRegexp: "a)|(b", Issuer: issuer}}}, "identity"},
		"long regexp":                {Trust{Root: root, Identities: []Identity{{IdentityRegexp: strings.Repeat("a", 5000), Issuer: issuer}}}, "5000"},
		"root that is no JSON":       {Trust{Root: []byte("x")}, "trusted root"},
		"root with a key twice":      {Trust{Root: bytes.Replace(root, []byte(`"mediaType"`), []byte(`"mediaType":"x","mediaType"`), 1)}, "twice"},
		"root of another type":       {Trust{Root: []byte(`{"mediaType":"x"}`)}, "trusted root"},
		"key that is no PEM":         {Trust{Keys: [][]byte{[]byte("x")}}, "PEM"},
		"private key":                {Trust{Keys: [][]byte{[]byte("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n")}}, "private key"},
		"certificate instead of key": {Trust{Keys: [][]byte{signaturetest.CertificatePEM(w.a.Root)}}, "certificate"},
		"two keys in one file":       {Trust{Keys: [][]byte{[]byte(key + key)}}, "one file per key"},
		"RSA with 1024 bits":         {Trust{Keys: [][]byte{weak}}, "1024 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(c.trust); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
}

// TestDegraded: what was left out on purpose, or cannot be had, is said.
func TestDegraded(t *testing.T) {
	w := newWorld(t)
	w.Attach(w.digest, ".sig", w.keyless(us, time.Now()))
	trust := w.byIdentity()
	trust.IgnoreLog = true
	wantVerdict(t, w.check(trust), bollwerk.Degraded, "against the present time")
	trust = w.byIdentity()
	trust.Root = w.a.TrustedRoot(map[string]any{"ctlogs": []any{}})
	wantVerdict(t, w.check(trust), bollwerk.Degraded, "names no certificate transparency log")
	w.Attach(w.digest, ".sig", w.keyless(signaturetest.Request{Identity: me, Issuer: issuer, NoSCT: true}, time.Now()))
	trust = w.byIdentity()
	trust.IgnoreSCT = true
	wantVerdict(t, w.check(trust), bollwerk.Degraded, "ignored, as asked")
	// Without any trust everything is listed and nothing is judged.
	p := w.check(Trust{})
	wantVerdict(t, p, bollwerk.Fail, "no trusted root was given")
	if p.Signatures[0].Verdict != bollwerk.NotEvaluated || p.Signatures[0].Identity != me {
		t.Errorf("%+v", p.Signatures[0])
	}
	// Facts for a policy: every identity the root vouches for.
	w.Attach(w.digest, ".sig", w.keyless(signaturetest.Request{Identity: "someone@example.com", Issuer: issuer}, time.Now()))
	p = w.check(Trust{Root: w.a.TrustedRoot(nil), AnyIdentity: true})
	wantVerdict(t, p, bollwerk.Pass)
	if f := p.Signatures[0]; !f.Verified || f.Identity != "someone@example.com" {
		t.Errorf("%+v", f)
	}
}
