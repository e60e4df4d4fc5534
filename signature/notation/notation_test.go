package notation

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coresig "github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/testhelper"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
	"github.com/bollwerk/bollwerk/signature/signaturetest"
)

// chain is a signing key with its certificates, leaf first.
type chain struct {
	key   crypto.PrivateKey
	certs []*x509.Certificate
}

func rsaChain() chain {
	leaf, root := testhelper.GetRSALeafCertificate(), testhelper.GetRSARootCertificate()
	return chain{leaf.PrivateKey, []*x509.Certificate{leaf.Cert, root.Cert}}
}

func ecChain() chain {
	leaf, root := testhelper.GetECLeafCertificate(), testhelper.GetECRootCertificate()
	return chain{leaf.PrivateKey, []*x509.Certificate{leaf.Cert, root.Cert}}
}

// ownChain makes a chain valid for the given time.
func ownChain(t *testing.T, from, to time.Time) chain {
	t.Helper()
	rootKey, key := signaturetest.NewKey(t), signaturetest.NewKey(t)
	make := func(cn string, ca bool, parent *x509.Certificate, pub *ecdsa.PublicKey) *x509.Certificate {
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{Country: []string{"DE"}, Province: []string{"BE"}, Organization: []string{"Acme"}, CommonName: cn},
			NotBefore: from, NotAfter: to, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		}
		if ca {
			tmpl.IsCA, tmpl.KeyUsage, tmpl.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		}
		if parent == nil {
			parent = tmpl
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, rootKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	root := make("Acme Root", true, nil, &rootKey.PublicKey)
	return chain{key, []*x509.Certificate{make("release", false, root, &key.PublicKey), root}}
}

func (c chain) rootPEM() []byte { return signaturetest.CertificatePEM(c.certs[len(c.certs)-1]) }

// world is an image and what lies beside it.
type world struct {
	*signaturetest.Memory
	t    *testing.T
	desc ocispec.Descriptor
}

func newWorld(t *testing.T) *world {
	w := &world{Memory: signaturetest.NewMemory(t), t: t}
	d := w.Image("1.0", "the image")
	w.desc = ocispec.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: digest.Digest(d), Size: int64(len(w.Manifests["1.0"]))}
	return w
}

// sign signs as notation does.
func (w *world) sign(c chain, mediaType string, expiry time.Duration) []byte {
	w.t.Helper()
	s, err := signer.NewGenericSigner(c.key, c.certs)
	if err != nil {
		w.t.Fatal(err)
	}
	raw, _, err := s.Sign(w.t.Context(), w.desc, notation.SignerSignOptions{SignatureMediaType: mediaType, ExpiryDuration: expiry})
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

// signRequest signs with what notation's own command does not offer.
func (w *world) signRequest(c chain, mediaType string, change func(*coresig.SignRequest)) []byte {
	w.t.Helper()
	local, err := coresig.NewLocalSigner(c.certs, c.key)
	if err != nil {
		w.t.Fatal(err)
	}
	payload, err := json.Marshal(map[string]any{"targetArtifact": w.desc})
	if err != nil {
		w.t.Fatal(err)
	}
	env, err := coresig.NewEnvelope(mediaType)
	if err != nil {
		w.t.Fatal(err)
	}
	req := &coresig.SignRequest{
		Payload: coresig.Payload{ContentType: "application/vnd.cncf.notary.payload.v1+json", Content: payload},
		Signer:  local, SigningTime: time.Now(), SigningScheme: coresig.SigningSchemeX509,
	}
	change(req)
	raw, err := env.Sign(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw
}

func (w *world) attach(mediaType string, envelope []byte) {
	w.Refer(bollwerk.Digest(w.desc.Digest), artifactType, signaturetest.Layer{MediaType: mediaType, Content: envelope})
}

func (w *world) check(trust Trust) *bollwerk.Provenance {
	w.t.Helper()
	s, err := New(trust)
	if err != nil {
		w.t.Fatal(err)
	}
	c := signature.Checker{Repository: w, Schemes: []signature.Scheme{s}, Demand: signature.Demand{Signature: true}}
	p, err := c.Check(w.t.Context(), "1.0")
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func want(t *testing.T, p *bollwerk.Provenance, v bollwerk.Verdict, causes ...string) {
	t.Helper()
	all := strings.Join(p.Causes, "\n")
	for _, f := range p.Signatures {
		all += "\n" + f.Cause
		if f.Verified != (v == bollwerk.Pass || v == bollwerk.Degraded) {
			t.Errorf("verified %v: %+v", f.Verified, f)
		}
	}
	if p.Verdict != v {
		t.Errorf("verdict %s, want %s: %s", p.Verdict, v, all)
	}
	for _, c := range causes {
		if !strings.Contains(all, c) {
			t.Errorf("no cause speaks of %q: %s", c, all)
		}
	}
}

func TestEnvelopes(t *testing.T) {
	for _, media := range []string{mediaJWS, mediaCOSE} {
		for name, c := range map[string]chain{"rsa": rsaChain(), "ec": ecChain(), "own": ownChain(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))} {
			t.Run(media+" "+name, func(t *testing.T) {
				w := newWorld(t)
				w.attach(media, w.sign(c, media, 24*time.Hour))
				p := w.check(Trust{Certificates: c.rootPEM()})
				want(t, p, bollwerk.Pass)
				f := p.Signatures[0]
				if f.Type != "notation" || f.Format != map[string]string{mediaJWS: "jws", mediaCOSE: "cose"}[media] || f.Identity == "" || f.Issuer == "" || f.TimeSource != "signer" || !strings.HasPrefix(f.KeyID, "sha256:") {
					t.Errorf("%+v", f)
				}
				want(t, w.check(Trust{}), bollwerk.Fail, "no certificate or trust policy was given")
				want(t, w.check(Trust{Certificates: ownChain(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)).rootPEM()}), bollwerk.Fail)
			})
		}
	}
}

func TestIdentities(t *testing.T) {
	c := ownChain(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	w := newWorld(t)
	w.attach(mediaJWS, w.sign(c, mediaJWS, 0))
	for id, v := range map[string]bollwerk.Verdict{
		"C=DE, ST=BE, O=Acme":                           bollwerk.Pass,
		"x509.subject: C=DE, ST=BE, O=Acme, CN=release": bollwerk.Pass,
		"C=DE, ST=BE, O=Acme, CN=somebody":              bollwerk.Fail,
		"C=DE, ST=BE, O=Evil":                           bollwerk.Fail,
	} {
		t.Run(id, func(t *testing.T) {
			want(t, w.check(Trust{Certificates: c.rootPEM(), Identities: []string{id}}), v)
		})
	}
	if _, err := New(Trust{Certificates: c.rootPEM(), Identities: []string{"nonsense"}}); err == nil {
		t.Error("an identity that is no distinguished name was accepted")
	}
}

func TestAttacks(t *testing.T) {
	good := ownChain(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	past := func(r *coresig.SignRequest) {
		r.SigningTime, r.Expiry = time.Now().Add(-30*time.Minute), time.Now().Add(-10*time.Minute)
	}
	for _, media := range []string{mediaJWS, mediaCOSE} {
		for name, c := range map[string]struct {
			do    func(w *world) []byte
			trust []byte
			want  bollwerk.Verdict
			cause string
		}{
			"another image": {do: func(w *world) []byte {
				other := newWorld(w.t)
				other.desc.Digest = digest.FromString("another")
				return other.sign(good, media, 0)
			}, cause: "mismatch"},
			"another size": {do: func(w *world) []byte {
				other := newWorld(w.t)
				other.desc.Size++
				return other.sign(good, media, 0)
			}, cause: "mismatch"},
			"expired signature": {do: func(w *world) []byte { return w.signRequest(good, media, past) }, cause: "expired"},
			"unknown critical attribute": {do: func(w *world) []byte {
				return w.signRequest(good, media, func(r *coresig.SignRequest) {
					r.ExtendedSignedAttributes = []coresig.Attribute{{Key: "example.only-on-mondays", Critical: true, Value: "yes"}}
				})
			}, cause: "example.only-on-mondays"},
			"verification plug-in demanded": {do: func(w *world) []byte {
				return w.signRequest(good, media, func(r *coresig.SignRequest) {
					r.ExtendedSignedAttributes = []coresig.Attribute{{Key: "io.cncf.notary.verificationPlugin", Critical: true, Value: "evil"}}
				})
			}, want: bollwerk.NotEvaluated, cause: "plugin"},
			"another payload type": {do: func(w *world) []byte {
				return w.signRequest(good, media, func(r *coresig.SignRequest) { r.Payload.ContentType = "application/json" })
			}, cause: "content type"},
			"tampered": {do: func(w *world) []byte {
				raw := w.sign(good, media, 0)
				if media == mediaCOSE {
					return bytes.Replace(raw, []byte(`"size":`), []byte(`"size":9`), 1)
				}
				var e map[string]json.RawMessage
				if err := json.Unmarshal(raw, &e); err != nil {
					w.t.Fatal(err)
				}
				evil, _ := json.Marshal(map[string]any{"targetArtifact": w.desc, "x": 1})
				e["payload"], _ = json.Marshal(base64.RawURLEncoding.EncodeToString(evil))
				raw, _ = json.Marshal(e)
				return raw
			}},
			"certificate of an unknown authority": {do: func(w *world) []byte {
				return w.sign(ownChain(w.t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)), media, 0)
			}, cause: "any trusted certificate"},
			"not an envelope": {do: func(*world) []byte { return []byte(`{"payload":"e30"}`) }},
		} {
			t.Run(media+" "+name, func(t *testing.T) {
				w := newWorld(t)
				w.attach(media, c.do(w))
				if c.want == "" {
					c.want = bollwerk.Fail
				}
				want(t, w.check(Trust{Certificates: good.rootPEM()}), c.want, c.cause)
			})
		}
	}
	t.Run("certificate expired, no timestamp", func(t *testing.T) {
		old := ownChain(t, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
		w := newWorld(t)
		w.attach(mediaJWS, w.signRequest(old, mediaJWS, func(r *coresig.SignRequest) { r.SigningTime = time.Now().Add(-90 * time.Minute) }))
		want(t, w.check(Trust{Certificates: old.rootPEM()}), bollwerk.Fail, "timestamp")
	})
	t.Run("duplicate key in the envelope", func(t *testing.T) {
		w := newWorld(t)
		w.attach(mediaJWS, bytes.Replace(w.sign(good, mediaJWS, 0), []byte(`{"payload"`), []byte(`{"payload":"e30","payload"`), 1))
		want(t, w.check(Trust{Certificates: good.rootPEM()}), bollwerk.Fail, "twice")
	})
	t.Run("JWS called COSE", func(t *testing.T) {
		w := newWorld(t)
		w.attach(mediaCOSE, w.sign(good, mediaJWS, 0))
		want(t, w.check(Trust{Certificates: good.rootPEM()}), bollwerk.Fail)
	})
	t.Run("unknown envelope", func(t *testing.T) {
		w := newWorld(t)
		w.attach("application/pgp-signature", []byte("x"))
		p := w.check(Trust{Certificates: good.rootPEM()})
		want(t, p, bollwerk.NotEvaluated, "envelope of type")
		if p.Signatures[0].Verdict != bollwerk.NotEvaluated {
			t.Errorf("%+v", p.Signatures[0])
		}
	})
	t.Run("the good one behind junk", func(t *testing.T) {
		w := newWorld(t)
		for range 20 {
			w.attach(mediaJWS, w.sign(ecChain(), mediaJWS, 0))
		}
		w.attach(mediaCOSE, w.sign(good, mediaCOSE, 0))
		if p := w.check(Trust{Certificates: good.rootPEM()}); p.Verdict != bollwerk.Pass {
			t.Errorf("%s %q", p.Verdict, p.Causes)
		}
	})
}

// TestRevocation: certificates that could have been revoked were not asked about,
// and that is said.
func TestRevocation(t *testing.T) {
	leaf := testhelper.GetRevokableRSALeafCertificate()
	c := chain{leaf.PrivateKey, []*x509.Certificate{leaf.Cert, testhelper.GetRSARootCertificate().Cert}}
	w := newWorld(t)
	w.attach(mediaJWS, w.sign(c, mediaJWS, 0))
	want(t, w.check(Trust{Certificates: c.rootPEM()}), bollwerk.Degraded, "revocation was not checked")
}

func TestTrustPolicy(t *testing.T) {
	c := ownChain(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	other := ownChain(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	dir := t.TempDir()
	for name, pem := range map[string][]byte{"truststore/x509/ca/acme/root.pem": c.rootPEM(), "truststore/x509/ca/other/root.pem": other.rootPEM()} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), pem, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	policy := func(scope, level, store, identity string) []byte {
		stores, ids := `["ca:`+store+`"]`, `["`+identity+`"]`
		if level == "skip" {
			stores, ids = "[]", "[]"
		}
		return []byte(`{"version":"1.0","trustPolicies":[{"name":"p","registryScopes":["` + scope + `"],"signatureVerification":{"level":"` + level + `"},"trustStores":` + stores + `,"trustedIdentities":` + ids + `}]}`)
	}
	w := newWorld(t)
	w.attach(mediaJWS, w.sign(c, mediaJWS, 0))
	expired := newWorld(t)
	expired.attach(mediaJWS, expired.signRequest(c, mediaJWS, func(r *coresig.SignRequest) {
		r.SigningTime, r.Expiry = time.Now().Add(-30*time.Minute), time.Now().Add(-10*time.Minute)
	}))
	for name, k := range map[string]struct {
		w      *world
		policy []byte
		want   bollwerk.Verdict
		cause  string
	}{
		"strict":                  {w, policy("registry.example/app", "strict", "acme", "x509.subject: C=DE, ST=BE, O=Acme"), bollwerk.Pass, ""},
		"any repository":          {w, policy("*", "strict", "acme", "*"), bollwerk.Pass, ""},
		"another repository":      {w, policy("registry.example/other", "strict", "acme", "*"), bollwerk.Fail, "no applicable trust policy"},
		"another store":           {w, policy("*", "strict", "other", "*"), bollwerk.Fail, ""},
		"a store that is missing": {w, policy("*", "strict", "none", "*"), bollwerk.Fail, "trust store"},
		// Where notation only logs that nobody knows the signer, we do not call it verified.
		"audit does not make it trusted": {w, policy("*", "audit", "other", "*"), bollwerk.Fail, ""},
		"audit of a trusted signer":      {w, policy("*", "audit", "acme", "*"), bollwerk.Pass, ""},
		"skip":                           {w, policy("*", "skip", "", ""), bollwerk.Fail, "not to be verified"},
		"expired":                        {expired, policy("*", "strict", "acme", "*"), bollwerk.Fail, "expired"},
		"expired and permissive":         {expired, policy("*", "permissive", "acme", "*"), bollwerk.Degraded, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, k.w.check(Trust{Policy: k.policy, Store: dir}), k.want, k.cause)
		})
	}
	good := policy("*", "strict", "acme", "*")
	for name, trust := range map[string]Trust{
		"policy without store":    {Policy: good},
		"store without policy":    {Store: dir},
		"both ways":               {Policy: good, Store: dir, Certificates: c.rootPEM()},
		"identities alone":        {Identities: []string{"C=DE"}},
		"broken policy":           {Policy: []byte("{"), Store: dir},
		"policy with a key twice": {Policy: bytes.Replace(good, []byte(`"version"`), []byte(`"Version":"1.0","version"`), 1), Store: dir},
		"no such folder":          {Policy: good, Store: filepath.Join(dir, "none")},
		"not a trust store":       {Policy: good, Store: filepath.Join(dir, "truststore", "x509", "ca", "acme")},
		"leaf as anchor":          {Certificates: signaturetest.CertificatePEM(c.certs[0])},
		"no certificate":          {Certificates: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(trust); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestTrustStoreStaysInside(t *testing.T) {
	dir := t.TempDir()
	c := ownChain(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	secret := filepath.Join(t.TempDir(), "secret.pem")
	if err := os.WriteFile(secret, c.rootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "x509", "ca", "a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "x509", "ca", "a", "x.pem")); err != nil {
		t.Fatal(err)
	}
	s, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "..", ".", "a/../a", ""} {
		if certs, err := s.GetCertificates(t.Context(), "ca", name); err == nil {
			t.Errorf("%q: %d certificates", name, len(certs))
		}
	}
	if _, err := s.GetCertificates(t.Context(), "../..", "a"); err == nil {
		t.Error("a type led out of the store")
	}
}

func TestScope(t *testing.T) {
	for in, out := range map[string]string{"registry.example/app": "registry.example/app", "oci:./My Images/App_1/": "local/app-1", "oci:/": "local/layout", "oci:ü": "local/layout"} {
		if got := scope(in); got != out {
			t.Errorf("%q: %q, want %q", in, got, out)
		}
	}
}

func TestContract(t *testing.T) {
	s, err := New(Trust{Certificates: rsaChain().rootPEM()})
	if err != nil {
		t.Fatal(err)
	}
	signaturetest.Contract(t, s, map[string]string{mediaJWS: artifactType, mediaCOSE: artifactType})
}

func FuzzTrust(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der, []byte(`{"version":"1.0","trustPolicies":[{"name":"p","registryScopes":["*"],"signatureVerification":{"level":"strict"},"trustStores":["ca:a"],"trustedIdentities":["*"]}]}`), "oci:x")
	f.Fuzz(func(t *testing.T, certs, policy []byte, name string) {
		if list, err := parseCertificates(certs); err == nil && (len(list) == 0 || len(list) > maxCertificates) {
			t.Errorf("%d certificates", len(list))
		}
		if doc, err := parsePolicy(policy); err == nil {
			if _, err := newScheme(doc, fixedStore(nil)); err != nil {
				t.Errorf("a policy that was read is refused later: %v", err)
			}
		}
		if s := scope(name); strings.HasPrefix(name, "oci:") && !strings.HasPrefix(s, "local/") {
			t.Errorf("%q", s)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	c := ecChain()
	s, err := New(Trust{Certificates: c.rootPEM()})
	if err != nil {
		f.Fatal(err)
	}
	sub := signature.Subject{Name: "registry.example/app", Manifest: []byte("{}")}
	sub.Digest, sub.Size, sub.MediaType = signaturetest.Digest(sub.Manifest), 2, "application/vnd.oci.image.manifest.v1+json"
	f.Add([]byte(`{"payload":"e30","protected":"e30","header":{},"signature":""}`))
	f.Add([]byte{0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40})
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, media := range []string{mediaJWS, mediaCOSE} {
			var fact bollwerk.SignatureFact
			s.verify(t.Context(), &fact, sub, media, raw)
			if fact.Verified || fact.Verdict == bollwerk.Pass || fact.Cause == "" {
				t.Errorf("%+v", fact)
			}
		}
	})
}
