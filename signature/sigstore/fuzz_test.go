package sigstore

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
	"github.com/bollwerk/bollwerk/signature/signaturetest"
)

func FuzzParsePayload(f *testing.F) {
	d := signaturetest.Digest(nil)
	f.Add(signaturetest.Payload(d))
	f.Add([]byte(`{"critical":{"image":{"docker-manifest-digest":"sha256:00"},"type":"atomic container signature"}}`))
	f.Add([]byte(`{"critical":null,"optional":{"a":1}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		digest, notes, err := parsePayload(raw)
		if err != nil {
			if digest != "" || notes != nil {
				t.Error("something besides the error")
			}
			return
		}
		if _, err := bollwerk.ParseDigest(string(digest)); err != nil || len(notes) > 100 || !strings.Contains(string(raw), digest.Hex()[:4]) {
			t.Errorf("digest %q, %d notes", digest, len(notes))
		}
	})
}

func FuzzAnnotations(f *testing.F) {
	a := signaturetest.NewAuthority(f)
	entry := a.LogMessage([]byte("m"), []byte("s"), []byte("k"), time.Unix(1_700_000_000, 0)).CosignBundle(f)
	f.Add(entry, string(signaturetest.CertificatePEM(a.Root)), `{"SignedRFC3161Timestamp":"AAAA"}`, "AAAA")
	f.Add("{}", "x", "{}", "=")
	f.Fuzz(func(t *testing.T, rekor, cert, stamp, sig string) {
		m := map[string]string{annotationBundle: rekor, annotationCertificate: cert, annotationTimestamp: stamp, annotationSignature: sig}
		if entries, err := rekorEntry(rekor); err == nil && rekor != "" {
			if len(entries) != 1 || len(entries[0].LogId.KeyId) == 0 || entries[0].IntegratedTime <= 0 || len(entries[0].CanonicalizedBody) == 0 {
				t.Errorf("accepted %q as %v", rekor, entries)
			}
		}
		certificates(m)
		timestampData(stamp)
		decodeAnnotation(m, annotationSignature)
		// The whole way: nothing that was not signed may verify, and nothing may crash.
		s := &Scheme{keys: []key{mustKey(t)}}
		sub := signature.Subject{Descriptor: bollwerk.Descriptor{Digest: signaturetest.Digest([]byte("{}"))}, Manifest: []byte("{}")}
		j := s.judgeSimple(sub, bollwerk.Descriptor{Annotations: m}, signaturetest.Payload(sub.Digest))
		if j.Signature.Verified {
			t.Errorf("verified %+v", j.Signature)
		}
	})
}

func mustKey(t *testing.T) key {
	k, err := parseKey([]byte("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func FuzzEnvelope(f *testing.F) {
	k := signaturetest.NewKey(f)
	d := signaturetest.Digest([]byte("{}"))
	env := signaturetest.SignEnvelope(f, k, signature.PayloadTypeInToto, signaturetest.Statement(d, signature.PredicateSLSA1, signaturetest.SLSA1))
	f.Add(env.JSON(f))
	f.Add(signaturetest.BundleEnvelope(f, env, signaturetest.BundleOptions{}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := &Scheme{keys: []key{mustKey(t)}}
		sub := signature.Subject{Descriptor: bollwerk.Descriptor{Digest: d}, Manifest: []byte("{}")}
		for _, j := range []signature.Judgement{s.judgeEnvelope(sub, bollwerk.Descriptor{}, raw), s.judgeBundle(sub, bollwerk.Descriptor{}, raw)} {
			f := j.Signature
			if f == nil {
				f = &j.Attestation.SignatureFact
			}
			if f.Verified || f.Verdict == bollwerk.Pass || f.Cause == "" {
				t.Errorf("%+v", f)
			}
		}
	})
}

func FuzzTrust(f *testing.F) {
	a := signaturetest.NewAuthority(f)
	f.Add(a.TrustedRoot(nil), signaturetest.PublicPEM(signaturetest.NewKey(f).Public()), "https://x/.*", "y")
	f.Fuzz(func(t *testing.T, root, pem []byte, expr, name string) {
		s, err := New(Trust{Root: root, Keys: [][]byte{pem}})
		if err == nil {
			_, _, _ = s.Judge(context.Background(), signature.Subject{Manifest: []byte("{}")}, signature.Attachment{}, bollwerk.Descriptor{})
		}
		m, err := Identity{IdentityRegexp: expr, Issuer: "i"}.compile()
		if err != nil {
			return
		}
		if m.matches(name, "i") && m.identityRE.FindString(name) != name {
			t.Errorf("%q matches only a part of %q", expr, name)
		}
	})
}
