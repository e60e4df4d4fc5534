package signaturetest

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// Media types and annotations as cosign writes them.
const (
	MediaSimple           = "application/vnd.dev.cosign.simplesigning.v1+json"
	MediaDSSE             = "application/vnd.dsse.envelope.v1+json"
	MediaBundle           = "application/vnd.dev.sigstore.bundle.v0.3+json"
	AnnotationSignature   = "dev.cosignproject.cosign/signature"
	AnnotationCertificate = "dev.sigstore.cosign/certificate"
	AnnotationChain       = "dev.sigstore.cosign/chain"
	AnnotationBundle      = "dev.sigstore.cosign/bundle"
	AnnotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// Payload is what cosign signs for an image.
func Payload(digest bollwerk.Digest) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"registry.example/app"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":{"team":"blue"}}`, digest)
}

// Layer is one layer of a manifest that carries signatures.
type Layer struct {
	MediaType   string
	Annotations map[string]string
	Content     []byte
}

// SimpleLayer is a signature by a key, as `cosign sign --key` writes it.
func SimpleLayer(t testing.TB, key *ecdsa.PrivateKey, digest bollwerk.Digest) Layer {
	p := Payload(digest)
	return Layer{MediaType: MediaSimple, Content: p, Annotations: map[string]string{
		AnnotationSignature: base64.StdEncoding.EncodeToString(Sign(t, key, p)),
	}}
}

// With returns the layer with further annotations.
func (l Layer) With(kv ...string) Layer {
	m := map[string]string{}
	for k, v := range l.Annotations {
		m[k] = v
	}
	for i := 0; i+1 < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	l.Annotations = m
	return l
}

// Envelope is a DSSE envelope; its JSON is the format's.
type Envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     []byte              `json:"payload"`
	Signatures  []EnvelopeSignature `json:"signatures"`
}

// EnvelopeSignature is one signature of an envelope.
type EnvelopeSignature struct {
	KeyID string `json:"keyid,omitempty"`
	Sig   []byte `json:"sig"`
}

// PAE is the pre-authentication encoding of DSSE, protocol.md.
func PAE(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// SignEnvelope makes an envelope with one signature.
func SignEnvelope(t testing.TB, key *ecdsa.PrivateKey, payloadType string, payload []byte) Envelope {
	return Envelope{PayloadType: payloadType, Payload: payload, Signatures: []EnvelopeSignature{{Sig: Sign(t, key, PAE(payloadType, payload))}}}
}

// JSON is the envelope as it lies in a registry.
func (e Envelope) JSON(t testing.TB) []byte { return mustJSON(t, e) }

// Statement is an in-toto statement about one digest.
func Statement(digest bollwerk.Digest, predicateType, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"registry.example/app","digest":{%q:%q}}],"predicateType":%q,"predicate":%s}`,
		digest.Algorithm(), digest.Hex(), predicateType, predicate)
}

// SLSA1 is a provenance predicate as GitHub's builder writes it.
const SLSA1 = `{"buildDefinition":{"buildType":"https://actions.github.io/buildtypes/workflow/v1",` +
	`"externalParameters":{"workflow":{"ref":"refs/heads/main","repository":"https://github.com/acme/app","path":".github/workflows/release.yml"}},` +
	`"resolvedDependencies":[{"uri":"git+https://github.com/acme/app@refs/heads/main","digest":{"gitCommit":"c0ffee"}}]},` +
	`"runDetails":{"builder":{"id":"https://github.com/actions/runner/github-hosted"},"metadata":{"invocationId":"https://github.com/acme/app/actions/runs/7/attempts/1"}}}`

// SLSA02 is a provenance predicate as the SLSA GitHub generator wrote it.
const SLSA02 = `{"builder":{"id":"https://github.com/slsa-framework/slsa-github-generator/.github/workflows/generator_container_slsa3.yml@refs/tags/v1.9.0"},` +
	`"buildType":"https://github.com/slsa-framework/slsa-github-generator/container@v1",` +
	`"invocation":{"configSource":{"uri":"git+https://github.com/acme/app@refs/tags/v1.2.0","digest":{"sha1":"c0ffee"},"entryPoint":".github/workflows/release.yml"}},` +
	`"metadata":{"buildInvocationID":"7-1","buildStartedOn":"2026-01-02T03:04:05Z"},"materials":[{"uri":"git+https://github.com/acme/app@refs/tags/v1.2.0","digest":{"sha1":"c0ffee"}}]}`

// BundleOptions are the parts of a sigstore bundle besides its content.
type BundleOptions struct {
	Certificate *x509.Certificate // nil: a key
	Entries     []LogEntry
	Timestamps  [][]byte // RFC 3161 responses
	MediaType   string   // "": version 0.3
}

// BundleEnvelope is a sigstore bundle around an envelope.
func BundleEnvelope(t testing.TB, e Envelope, o BundleOptions) []byte {
	return bundle(t, "dsseEnvelope", e, o)
}

// BundleMessage is a sigstore bundle with a signature over a message.
func BundleMessage(t testing.TB, digest, sig []byte, o BundleOptions) []byte {
	return bundle(t, "messageSignature", map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": digest}, "signature": sig}, o)
}

func bundle(t testing.TB, field string, content any, o BundleOptions) []byte {
	vm := map[string]any{}
	if o.Certificate != nil {
		vm["certificate"] = map[string]any{"rawBytes": o.Certificate.Raw}
	} else {
		vm["publicKey"] = map[string]any{"hint": "cosign"}
	}
	entries := []any{}
	for _, e := range o.Entries {
		entries = append(entries, e.bundleEntry())
	}
	vm["tlogEntries"] = entries
	stamps := []any{}
	for _, s := range o.Timestamps {
		stamps = append(stamps, map[string]any{"signedTimestamp": s})
	}
	vm["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": stamps}
	if o.MediaType == "" {
		o.MediaType = MediaBundle
	}
	return mustJSON(t, map[string]any{"mediaType": o.MediaType, "verificationMaterial": vm, field: content})
}
