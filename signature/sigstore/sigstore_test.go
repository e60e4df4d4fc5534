package sigstore

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
	"github.com/bollwerk/bollwerk/signature/signaturetest"
)

const (
	me     = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
	issuer = "https://token.actions.githubusercontent.com"
)

// world is an image in a repository with an authority that can sign it.
type world struct {
	*signaturetest.Memory
	t      *testing.T
	a      *signaturetest.Authority
	key    *ecdsa.PrivateKey
	digest bollwerk.Digest
}

func newWorld(t *testing.T) *world {
	w := &world{Memory: signaturetest.NewMemory(t), t: t, a: signaturetest.NewAuthority(t), key: signaturetest.NewKey(t)}
	w.digest = w.Image("1.0", "the image")
	return w
}

func (w *world) byKey() Trust {
	return Trust{Keys: [][]byte{signaturetest.PublicPEM(w.key.Public())}}
}

func (w *world) byIdentity() Trust {
	return Trust{Root: w.a.TrustedRoot(nil), Identities: []Identity{{Identity: me, Issuer: issuer}}}
}

func (w *world) check(trust Trust, demand ...string) *bollwerk.Provenance {
	w.t.Helper()
	s, err := New(trust)
	if err != nil {
		w.t.Fatal(err)
	}
	c := signature.Checker{Repository: w, Schemes: []signature.Scheme{s}, Demand: signature.Demand{Signature: len(demand) == 0, Predicates: demand}}
	p, err := c.Check(w.t.Context(), "1.0")
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// keyless signs the image with a certificate and puts the signature into the log,
// as `cosign sign` without a key did until version 2.
func (w *world) keyless(r signaturetest.Request, loggedAt time.Time) signaturetest.Layer {
	cert, key := w.a.Certificate(r)
	p := signaturetest.Payload(w.digest)
	sig := signaturetest.Sign(w.t, key, p)
	pem := signaturetest.CertificatePEM(cert)
	return signaturetest.Layer{MediaType: signaturetest.MediaSimple, Content: p, Annotations: map[string]string{
		signaturetest.AnnotationSignature:   base64.StdEncoding.EncodeToString(sig),
		signaturetest.AnnotationCertificate: string(pem),
		signaturetest.AnnotationChain:       string(signaturetest.CertificatePEM(w.a.Root)),
		signaturetest.AnnotationBundle:      w.a.LogMessage(p, sig, pem, loggedAt).CosignBundle(w.t),
	}}
}

// statementBundle signs a statement with a certificate, as cosign 3 and GitHub do.
func (w *world) statementBundle(statement []byte, r signaturetest.Request) []byte {
	cert, key := w.a.Certificate(r)
	env := signaturetest.SignEnvelope(w.t, key, signature.PayloadTypeInToto, statement)
	entry := w.a.LogEnvelope(env, signaturetest.CertificatePEM(cert), time.Now())
	return signaturetest.BundleEnvelope(w.t, env, signaturetest.BundleOptions{Certificate: cert, Entries: []signaturetest.LogEntry{entry}})
}

func (w *world) referBundle(raw []byte) {
	w.Refer(w.digest, signaturetest.MediaBundle, signaturetest.Layer{MediaType: signaturetest.MediaBundle, Content: raw})
}

func wantVerdict(t *testing.T, p *bollwerk.Provenance, v bollwerk.Verdict, causes ...string) {
	t.Helper()
	if p.Verdict != v {
		t.Errorf("verdict %s, want %s; causes %q; %+v %+v", p.Verdict, v, p.Causes, p.Signatures, p.Attestations)
	}
	all := strings.Join(p.Causes, "\n")
	for _, f := range p.Signatures {
		all += "\n" + f.Cause
	}
	for _, f := range p.Attestations {
		all += "\n" + f.Cause
	}
	for _, c := range causes {
		if !strings.Contains(all, c) {
			t.Errorf("no cause speaks of %q:\n%s", c, all)
		}
	}
	for _, f := range p.Signatures {
		if f.Verified && !f.Authentic || f.Verdict.NeedsCause() && f.Cause == "" {
			t.Errorf("inconsistent fact %+v", f)
		}
	}
}

func TestKeySignature(t *testing.T) {
	w := newWorld(t)
	w.Attach(w.digest, ".sig", signaturetest.SimpleLayer(t, w.key, w.digest))
	p := w.check(w.byKey())
	wantVerdict(t, p, bollwerk.Pass, "there is no transparency log entry")
	f := p.Signatures[0]
	if f.Type != "sigstore-key" || f.Format != "cosign" || !strings.HasPrefix(f.KeyID, "sha256:") || f.Annotations["team"] != "blue" || !p.Signed {
		t.Errorf("%+v", f)
	}
	if !strings.HasPrefix(f.Source, "tag sha256-") {
		t.Errorf("source %q", f.Source)
	}
}

func TestKeyAlgorithms(t *testing.T) {
	sign := map[string]func(msg []byte) (crypto.PublicKey, []byte){
		"rsa": func(msg []byte) (crypto.PublicKey, []byte) {
			k, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(msg)
			sig, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
			if err != nil {
				t.Fatal(err)
			}
			return k.Public(), sig
		},
		"ed25519": func(msg []byte) (crypto.PublicKey, []byte) {
			pub, k, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return pub, ed25519.Sign(k, msg)
		},
		"ed25519ph": func(msg []byte) (crypto.PublicKey, []byte) {
			pub, k, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha512.Sum512(msg)
			sig, err := k.Sign(rand.Reader, sum[:], crypto.SHA512)
			if err != nil {
				t.Fatal(err)
			}
			return pub, sig
		},
		"p384 sha384": func(msg []byte) (crypto.PublicKey, []byte) {
			sum := sha512.Sum384(msg)
			return signCurve(t, elliptic.P384(), sum[:])
		},
		"p384 sha256": func(msg []byte) (crypto.PublicKey, []byte) {
			sum := sha256.Sum256(msg)
			return signCurve(t, elliptic.P384(), sum[:])
		},
		"p521 sha512": func(msg []byte) (crypto.PublicKey, []byte) {
			sum := sha512.Sum512(msg)
			return signCurve(t, elliptic.P521(), sum[:])
		},
	}
	for name, s := range sign {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			payload := signaturetest.Payload(w.digest)
			pub, sig := s(payload)
			layer := signaturetest.Layer{MediaType: signaturetest.MediaSimple, Content: payload}.
				With(signaturetest.AnnotationSignature, base64.StdEncoding.EncodeToString(sig))
			w.Attach(w.digest, ".sig", layer)
			wantVerdict(t, w.check(Trust{Keys: [][]byte{signaturetest.PublicPEM(pub)}}), bollwerk.Pass)
			sig[len(sig)/2] ^= 1
			w.Attach(w.digest, ".sig", layer.With(signaturetest.AnnotationSignature, base64.StdEncoding.EncodeToString(sig)))
			wantVerdict(t, w.check(Trust{Keys: [][]byte{signaturetest.PublicPEM(pub)}}), bollwerk.Fail)
		})
	}
}

func signCurve(t *testing.T, c elliptic.Curve, sum []byte) (crypto.PublicKey, []byte) {
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := ecdsa.SignASN1(rand.Reader, k, sum)
	if err != nil {
		t.Fatal(err)
	}
	return k.Public(), sig
}

func TestKeySignatureWithLog(t *testing.T) {
	w := newWorld(t)
	layer := signaturetest.SimpleLayer(t, w.key, w.digest)
	sig, _ := base64.StdEncoding.DecodeString(layer.Annotations[signaturetest.AnnotationSignature])
	at := time.Now().Add(-time.Hour)
	entry := w.a.LogMessage(layer.Content, sig, signaturetest.PublicPEM(w.key.Public()), at)
	w.Attach(w.digest, ".sig", layer.With(signaturetest.AnnotationBundle, entry.CosignBundle(t)))

	trust := w.byKey()
	wantVerdict(t, w.check(trust), bollwerk.Pass, "no trusted root was given")
	trust.Root = w.a.TrustedRoot(nil)
	p := w.check(trust)
	wantVerdict(t, p, bollwerk.Pass)
	f := p.Signatures[0]
	if f.Time == nil || f.Time.Unix() != at.Unix() || f.TimeSource != "log" || f.LogIndex == nil || f.Cause != "" {
		t.Errorf("%+v", f)
	}
	// Another log, which the trusted root does not know.
	trust.Root = signaturetest.NewAuthority(t).TrustedRoot(nil)
	wantVerdict(t, w.check(trust), bollwerk.Fail)
	trust.IgnoreLog = true
	wantVerdict(t, w.check(trust), bollwerk.Degraded, "ignored, as asked")
}

func TestKeylessSignature(t *testing.T) {
	w := newWorld(t)
	w.Attach(w.digest, ".sig", w.keyless(signaturetest.Request{Identity: me, Issuer: issuer}, time.Now()))
	p := w.check(w.byIdentity())
	wantVerdict(t, p, bollwerk.Pass)
	f := p.Signatures[0]
	if f.Type != "sigstore-keyless" || f.Identity != me || f.Issuer != issuer || f.TimeSource != "log" || f.LogIndex == nil {
		t.Errorf("%+v", f)
	}
	// A certificate that expired long ago is fine when the log saw it in time.
	then := time.Now().AddDate(-1, 0, 0)
	w.Attach(w.digest, ".sig", w.keyless(signaturetest.Request{Identity: me, Issuer: issuer, NotBefore: then, NotAfter: then.Add(10 * time.Minute)}, then.Add(time.Minute)))
	wantVerdict(t, w.check(w.byIdentity()), bollwerk.Pass)
}

func TestBundles(t *testing.T) {
	who := signaturetest.Request{Identity: me, Issuer: issuer}
	t.Run("cosign 3 signature", func(t *testing.T) {
		w := newWorld(t)
		w.referBundle(w.statementBundle(signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"), who))
		p := w.check(w.byIdentity())
		wantVerdict(t, p, bollwerk.Pass)
		if len(p.Signatures) != 1 || p.Signatures[0].Format != "sigstore-bundle" || len(p.Attestations) != 0 {
			t.Errorf("%+v", p)
		}
	})
	t.Run("provenance", func(t *testing.T) {
		w := newWorld(t)
		w.referBundle(w.statementBundle(signaturetest.Statement(w.digest, signature.PredicateSLSA1, signaturetest.SLSA1), who))
		wantVerdict(t, w.check(w.byIdentity()), bollwerk.Fail, "a signature was not found")
		p := w.check(w.byIdentity(), signature.PredicateSLSA1)
		wantVerdict(t, p, bollwerk.Pass)
		if p.SLSA == nil || p.SLSA.SourceRepo != "https://github.com/acme/app" || p.SLSA.SourceRef != "refs/heads/main" || p.SLSA.SourceDigest != "gitCommit:c0ffee" ||
			p.SLSA.Builder != "https://github.com/actions/runner/github-hosted" || p.SLSA.Workflow != ".github/workflows/release.yml" || p.Signed {
			t.Errorf("%+v", p.SLSA)
		}
	})
	t.Run("by key", func(t *testing.T) {
		w := newWorld(t)
		env := signaturetest.SignEnvelope(t, w.key, signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
		w.referBundle(signaturetest.BundleEnvelope(t, env, signaturetest.BundleOptions{}))
		wantVerdict(t, w.check(w.byKey()), bollwerk.Pass, "there is no transparency log entry")
	})
	t.Run("by key with log", func(t *testing.T) {
		w := newWorld(t)
		env := signaturetest.SignEnvelope(t, w.key, signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"))
		w.a.LogMessage([]byte("x"), []byte("y"), []byte("z"), time.Now()) // the entry is not the only leaf of the tree
		entry := w.a.LogEnvelope(env, signaturetest.PublicPEM(w.key.Public()), time.Now())
		w.referBundle(signaturetest.BundleEnvelope(t, env, signaturetest.BundleOptions{Entries: []signaturetest.LogEntry{entry}}))
		trust := w.byKey()
		trust.Root = w.a.TrustedRoot(nil)
		p := w.check(trust)
		wantVerdict(t, p, bollwerk.Pass)
		if f := p.Signatures[0]; f.LogIndex == nil || *f.LogIndex != 1 {
			t.Errorf("%+v", f)
		}
	})
	t.Run("detached", func(t *testing.T) {
		w := newWorld(t)
		s, err := New(w.byIdentity())
		if err != nil {
			t.Fatal(err)
		}
		raw := w.statementBundle(signaturetest.Statement(w.digest, signature.PredicateCosignSign, "{}"), who)
		c := signature.Checker{Repository: w, Schemes: []signature.Scheme{s}, Demand: signature.Demand{Signature: true}, Files: []signature.Attachment{File("x.json", raw)}}
		p, err := c.Check(t.Context(), "1.0")
		if err != nil {
			t.Fatal(err)
		}
		wantVerdict(t, p, bollwerk.Pass)
		if p.Signatures[0].Source != "file x.json" {
			t.Errorf("%+v", p.Signatures)
		}
	})
	t.Run("signature over the manifest", func(t *testing.T) {
		w := newWorld(t)
		manifest := w.Manifests["1.0"]
		sum := sha256.Sum256(manifest)
		w.referBundle(signaturetest.BundleMessage(t, sum[:], signaturetest.Sign(t, w.key, manifest), signaturetest.BundleOptions{}))
		wantVerdict(t, w.check(w.byKey()), bollwerk.Pass)
	})
}

func TestLegacyAttestation(t *testing.T) {
	w := newWorld(t)
	who := signaturetest.Request{Identity: me, Issuer: issuer}
	cert, key := w.a.Certificate(who)
	env := signaturetest.SignEnvelope(t, key, signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateSLSA02, signaturetest.SLSA02))
	pem := signaturetest.CertificatePEM(cert)
	layer := signaturetest.Layer{MediaType: signaturetest.MediaDSSE, Content: env.JSON(t), Annotations: map[string]string{
		"predicateType": signature.PredicateSLSA02, signaturetest.AnnotationSignature: "",
		signaturetest.AnnotationCertificate: string(pem),
		signaturetest.AnnotationBundle:      w.a.LogEnvelope(env, pem, time.Now()).CosignBundle(t),
	}}
	w.Attach(w.digest, ".att", layer)
	p := w.check(w.byIdentity(), signature.PredicateSLSA02)
	wantVerdict(t, p, bollwerk.Pass)
	if p.SLSA == nil || p.SLSA.Version != "0.2" || p.SLSA.SourceRef != "refs/tags/v1.2.0" || p.SLSA.SourceRepo != "git+https://github.com/acme/app" ||
		p.SLSA.SourceDigest != "sha1:c0ffee" || p.SLSA.StartedOn == nil || len(p.SLSA.Materials) != 1 {
		t.Errorf("%+v", p.SLSA)
	}
}

func TestContract(t *testing.T) {
	w := newWorld(t)
	trust := w.byIdentity()
	trust.Keys = w.byKey().Keys
	s, err := New(trust)
	if err != nil {
		t.Fatal(err)
	}
	signaturetest.Contract(t, s, map[string]string{signaturetest.MediaSimple: "", signaturetest.MediaDSSE: "", signaturetest.MediaBundle: signaturetest.MediaBundle})
}

// TestOldAttestation: cosign 1 logged attestations as intoto 0.0.1. By key, without
// a trusted root, the log is not needed.
func TestOldAttestation(t *testing.T) {
	w := newWorld(t)
	env := signaturetest.SignEnvelope(t, w.key, signature.PayloadTypeInToto, signaturetest.Statement(w.digest, signature.PredicateSLSA02, signaturetest.SLSA02))
	body := base64.StdEncoding.EncodeToString([]byte(`{"apiVersion":"0.0.1","kind":"intoto","spec":{}}`))
	w.Attach(w.digest, ".att", signaturetest.Layer{MediaType: signaturetest.MediaDSSE, Content: env.JSON(t)}.
		With(signaturetest.AnnotationBundle, `{"SignedEntryTimestamp":"AAAA","Payload":{"body":"`+body+`","integratedTime":1,"logIndex":1,"logID":"00"}}`))
	wantVerdict(t, w.check(w.byKey(), signature.PredicateSLSA02), bollwerk.Pass, "log entry was not checked")
	trust := w.byKey()
	trust.Root = w.a.TrustedRoot(nil)
	wantVerdict(t, w.check(trust, signature.PredicateSLSA02), bollwerk.NotEvaluated, "intoto 0.0.1")
}
