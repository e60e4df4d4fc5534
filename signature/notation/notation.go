// Package notation verifies Notary Project signatures: JWS and COSE envelopes that
// refer to an image, judged by a trust policy and a trust store of X.509
// certificates. Nothing is fetched; what would need the network (revocation) is
// said to be missing. It is the home of notation-go and notation-core-go.
package notation

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	coresig "github.com/notaryproject/notation-core-go/signature"
	_ "github.com/notaryproject/notation-core-go/signature/cose" // knows application/cose
	_ "github.com/notaryproject/notation-core-go/signature/jws"  // knows application/jose+json
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
)

const (
	// artifactType of a signature manifest (notary project, signature-specification.md).
	artifactType = "application/vnd.cncf.notary.signature"
	mediaJWS     = "application/jose+json"
	mediaCOSE    = "application/cose"

	typeNotation = "notation"
	// maxEnvelope bounds one envelope; with a chain and a timestamp they have about 10 kB.
	maxEnvelope = 4 << 20
	// maxPolicy bounds trustpolicy.json.
	maxPolicy = 1 << 20
)

// Trust says whose signatures count. Either Certificates, or Policy with Store.
type Trust struct {
	// Certificates are roots or self-signed certificates in PEM form that every
	// signature must lead to.
	Certificates []byte
	// Identities restrict the signers that Certificates vouch for: distinguished
	// names such as "C=DE, O=Acme, CN=release". Empty: every signer.
	Identities []string
	// Policy is trustpolicy.json; Store the folder with its trust stores, holding
	// truststore/x509/TYPE/NAME/*.pem or x509/TYPE/NAME/*.pem.
	Policy []byte
	Store  string
}

// Scheme implements signature.Scheme.
type Scheme struct {
	policy *trustpolicy.Document // nil: no trust was given
	store  truststore.X509TrustStore
}

// New checks the trust. Without any the scheme lists what it finds and verifies nothing.
func New(t Trust) (*Scheme, error) {
	switch {
	case len(t.Certificates) > 0 && (len(t.Policy) > 0 || t.Store != ""):
		return nil, errors.New("notation: give either certificates, or a trust policy with its trust store")
	case len(t.Certificates) > 0:
		certs, err := parseCertificates(t.Certificates)
		if err != nil {
			return nil, fmt.Errorf("notation: %w", err)
		}
		return newScheme(certificatePolicy(t.Identities), fixedStore(certs))
	case len(t.Policy) > 0 && t.Store != "":
		doc, err := parsePolicy(t.Policy)
		if err != nil {
			return nil, err
		}
		store, err := openStore(t.Store)
		if err != nil {
			return nil, err
		}
		return newScheme(doc, store)
	case len(t.Policy) > 0 || t.Store != "":
		return nil, errors.New("notation: a trust policy needs a trust store and the other way round")
	case len(t.Identities) > 0:
		return nil, errors.New("notation: identities need certificates")
	}
	return &Scheme{}, nil
}

func newScheme(doc *trustpolicy.Document, store truststore.X509TrustStore) (*Scheme, error) {
	if err := doc.Validate(); err != nil {
		return nil, fmt.Errorf("notation: %w", err)
	}
	return &Scheme{policy: doc, store: store}, nil
}

// parsePolicy reads trustpolicy.json. Ambiguous JSON is refused: it decides whom to trust.
func parsePolicy(raw []byte) (*trustpolicy.Document, error) {
	if len(raw) > maxPolicy {
		return nil, fmt.Errorf("notation: trust policy: %d bytes, more than %d", len(raw), maxPolicy)
	}
	if err := signature.CheckJSON(raw); err != nil {
		return nil, fmt.Errorf("notation: trust policy: %w", err)
	}
	var doc trustpolicy.Document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("notation: trust policy: %w", err)
	}
	if err := doc.Validate(); err != nil {
		return nil, fmt.Errorf("notation: %w", err)
	}
	return &doc, nil
}

// certificatePolicy is the strict policy behind plain certificates.
func certificatePolicy(identities []string) *trustpolicy.Document {
	trusted := []string{"*"}
	if len(identities) > 0 {
		trusted = nil
		for _, id := range identities {
			trusted = append(trusted, "x509.subject: "+strings.TrimSpace(strings.TrimPrefix(id, "x509.subject:")))
		}
	}
	return &trustpolicy.Document{
		Version: "1.0",
		TrustPolicies: []trustpolicy.TrustPolicy{{
			Name:           "certificates",
			RegistryScopes: []string{"*"},
			// A timestamp is asked for only once a certificate has expired.
			SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: "strict", VerifyTimestamp: trustpolicy.OptionAfterCertExpiry},
			TrustStores:           []string{"ca:given", "signingAuthority:given", "tsa:given"},
			TrustedIdentities:     trusted,
		}},
	}
}

// Name implements signature.Scheme.
func (s *Scheme) Name() string { return "notation" }

// Wants implements signature.Scheme.
func (s *Scheme) Wants(t string) bool { return t == artifactType }

// Judge implements signature.Scheme.
func (s *Scheme) Judge(ctx context.Context, sub signature.Subject, a signature.Attachment, layer bollwerk.Descriptor) (signature.Judgement, bool, error) {
	if a.ArtifactType != artifactType {
		return signature.Judgement{}, false, nil
	}
	f := &bollwerk.SignatureFact{Type: typeNotation, Format: format(layer.MediaType)}
	j := signature.Judgement{Signature: f}
	if layer.MediaType != mediaJWS && layer.MediaType != mediaCOSE {
		j.Unknown = true
		f.Verdict, f.Cause = bollwerk.NotEvaluated, fmt.Sprintf("envelope of type %.80q: want %s or %s", layer.MediaType, mediaJWS, mediaCOSE)
		return j, true, nil
	}
	raw, err := a.Open(ctx, layer, maxEnvelope)
	if err != nil {
		return signature.Judgement{}, false, err
	}
	j.Unknown = s.verify(ctx, f, sub, layer.MediaType, raw)
	return j, true, nil
}

// verify fills f in, and reports whether the signature asks for something that is not known here.
func (s *Scheme) verify(ctx context.Context, f *bollwerk.SignatureFact, sub signature.Subject, mediaType string, raw []byte) (unknown bool) {
	if mediaType == mediaJWS {
		if err := signature.CheckJSON(raw); err != nil {
			f.Verdict, f.Cause = bollwerk.Fail, "envelope: "+oneLine(err)
			return false
		}
	}
	describe(f, mediaType, raw)
	if s.policy == nil {
		f.Verdict, f.Cause = bollwerk.NotEvaluated, "a Notary signature, and no certificate or trust policy was given (--notation-cert, --notation-trust-policy)"
		return false
	}
	revocation := &offlineRevocation{}
	v, err := verifier.NewWithOptions(s.policy, s.store, nil, verifier.VerifierOptions{
		RevocationCodeSigningValidator:  revocation,
		RevocationTimestampingValidator: revocation,
	})
	if err != nil {
		f.Verdict, f.Cause = bollwerk.NotEvaluated, oneLine(err)
		return true
	}
	desc := ocispec.Descriptor{MediaType: sub.MediaType, Digest: digest.Digest(sub.Digest), Size: sub.Size}
	out, err := v.Verify(ctx, desc, raw, notation.VerifierVerifyOptions{
		ArtifactReference: scope(sub.Name) + "@" + string(sub.Digest), SignatureMediaType: mediaType,
	})
	return s.conclude(f, out, err, revocation)
}

// conclude reads the outcome. notation-go has levels ("permissive", "audit") at
// which a wrong certificate or an expired signature is only logged: here an
// outcome counts as verified when integrity and authenticity hold, whatever the
// level says, and every other check that failed shows as degraded.
func (s *Scheme) conclude(f *bollwerk.SignatureFact, out *notation.VerificationOutcome, err error, revocation *offlineRevocation) (unknown bool) {
	var noPolicy notation.NoApplicableTrustPolicyError
	if errors.As(err, &noPolicy) {
		f.Verdict, f.Cause = bollwerk.NotEvaluated, oneLine(err)
		return false
	}
	if err != nil {
		f.Verdict, f.Cause = bollwerk.Fail, oneLine(err)
		// An attribute, format or plug-in that is not known here is neither right nor wrong.
		var inconclusive notation.VerificationInconclusiveError
		if errors.As(err, &inconclusive) {
			f.Verdict = bollwerk.NotEvaluated
			return true
		}
		return false
	}
	if out == nil || out.EnvelopeContent == nil { // level "skip"
		f.Verdict, f.Cause = bollwerk.NotEvaluated, "the trust policy says that this repository is not to be verified"
		return false
	}
	if name := unknownCritical(&out.EnvelopeContent.SignerInfo); name != "" {
		f.Verdict, f.Cause = bollwerk.Fail, fmt.Sprintf("the signer marked the attribute %.100q as critical, and it is not known here", name)
		return false
	}
	var weak []string
	held := map[trustpolicy.ValidationType]bool{}
	for _, r := range out.VerificationResults {
		if r.Error == nil {
			held[r.Type] = true
			continue
		}
		if r.Type == trustpolicy.TypeIntegrity || r.Type == trustpolicy.TypeAuthenticity {
			f.Verdict, f.Cause = bollwerk.Fail, oneLine(r.Error)
			return false
		}
		weak = append(weak, fmt.Sprintf("%s: %s", r.Type, oneLine(r.Error)))
	}
	if !held[trustpolicy.TypeIntegrity] || !held[trustpolicy.TypeAuthenticity] {
		f.Verdict, f.Cause = bollwerk.NotEvaluated, "the trust policy does not ask for authenticity, so nothing was verified"
		return false
	}
	f.Authentic, f.Verified, f.Verdict = true, true, bollwerk.Pass
	if revocation.skipped() {
		weak = append(weak, "revocation was not checked: the certificates name places to ask, and nothing is asked over the network")
	}
	if len(weak) > 0 {
		f.Verdict, f.Cause = bollwerk.Degraded, strings.Join(weak, "; ")
	}
	return false
}

// unknownCritical returns the first critical attribute that nobody here
// understands. notation-go leaves that to its plug-ins and checks nothing when the
// signature names none; the specification says that such a signature must not be accepted.
func unknownCritical(info *coresig.SignerInfo) string {
	for _, a := range info.SignedAttributes.ExtendedAttributes {
		if a.Critical {
			return fmt.Sprint(a.Key)
		}
	}
	return ""
}

// describe shows what an unverified envelope says about its signer.
func describe(f *bollwerk.SignatureFact, mediaType string, raw []byte) {
	env, err := coresig.ParseEnvelope(mediaType, raw)
	if err != nil {
		return // the verifier will say it better
	}
	content, err := env.Content()
	if err != nil || len(content.SignerInfo.CertificateChain) == 0 {
		return
	}
	leaf := content.SignerInfo.CertificateChain[0]
	f.KeyID = keyID(leaf)
	f.Identity, f.Issuer = clip(leaf.Subject.String()), clip(leaf.Issuer.String())
	if t := content.SignerInfo.SignedAttributes.SigningTime; !t.IsZero() {
		t = t.UTC()
		f.Time, f.TimeSource = &t, "signer"
	}
}

func format(mediaType string) string {
	switch mediaType {
	case mediaJWS:
		return "jws"
	case mediaCOSE:
		return "cose"
	}
	return ""
}

// scope is the repository as trust policies write it. A layout on disk has no
// registry; it is matched by "local/<last part of the path>", or by "*".
func scope(name string) string {
	dir, ok := strings.CutPrefix(name, "oci:")
	if !ok {
		return name
	}
	dir = strings.TrimRight(dir, "/")
	last := strings.ToLower(dir[strings.LastIndexByte(dir, '/')+1:])
	last = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, last), "-")
	if last == "" {
		last = "layout"
	}
	return "local/" + last
}

// fixedStore holds the certificates that were given, under every name.
type fixedStore []*x509.Certificate

// GetCertificates implements truststore.X509TrustStore.
func (s fixedStore) GetCertificates(_ context.Context, kind truststore.Type, _ string) ([]*x509.Certificate, error) {
	if kind != truststore.TypeTSA {
		return s, nil
	}
	var roots []*x509.Certificate // timestamps may only lead to roots
	for _, c := range s {
		if c.IsCA && c.CheckSignatureFrom(c) == nil {
			roots = append(roots, c)
		}
	}
	return roots, nil
}

// offlineRevocation stands where notation-go would ask OCSP and CRL servers. It
// remembers whether there would have been anybody to ask.
type offlineRevocation struct {
	mu  sync.Mutex
	any bool
}

func (o *offlineRevocation) skipped() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.any
}
