package sigstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
)

// Annotations of cosign's layers (cosign specs, SIGNATURE_SPEC.md).
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationBundle      = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

const formatCosign = "cosign"

// maxAnnotation bounds one annotation; a Rekor bundle has about 3 kB.
const maxAnnotation = 1 << 20

// simplePayload is what cosign signs: "simple signing", containers/image's
// docs/containers-signature.5.md.
type simplePayload struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// parsePayload reads a simple signing payload, bound to one digest.
func parsePayload(raw []byte) (digest bollwerk.Digest, annotations map[string]string, err error) {
	if err := signature.CheckJSON(raw); err != nil {
		return "", nil, fmt.Errorf("signed payload: %w", err)
	}
	var p simplePayload
	if err := json.Unmarshal(raw, &p); err != nil {
		return "", nil, fmt.Errorf("signed payload: %w", err)
	}
	switch p.Critical.Type {
	case "cosign container image signature", "atomic container signature":
	default:
		return "", nil, fmt.Errorf("signed payload: type %q: want \"cosign container image signature\"", p.Critical.Type)
	}
	digest, err = bollwerk.ParseDigest(p.Critical.Image.DockerManifestDigest)
	if err != nil {
		return "", nil, fmt.Errorf("signed payload: %w", err)
	}
	for _, k := range slices.Sorted(maps.Keys(p.Optional)) {
		if v, ok := p.Optional[k].(string); ok && len(annotations) < 100 {
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[k] = v
		}
	}
	return digest, annotations, nil
}

// judgeSimple verifies a layer whose content is a simple signing payload and whose
// signature is in the annotations.
func (s *Scheme) judgeSimple(sub signature.Subject, layer bollwerk.Descriptor, raw []byte) signature.Judgement {
	f := &bollwerk.SignatureFact{Format: formatCosign}
	j := signature.Judgement{Signature: f}
	digest, notes, err := parsePayload(raw)
	if err != nil {
		return failed(j, err)
	}
	f.Annotations = notes
	if digest != sub.Digest {
		return failed(j, fmt.Errorf("the signature is for %s, not for this artifact", digest.Short()))
	}
	sigBytes, err := decodeAnnotation(layer.Annotations, annotationSignature)
	if err != nil {
		return failed(j, err)
	}
	if sigBytes == nil {
		return failed(j, fmt.Errorf("the layer has no annotation %s", annotationSignature))
	}
	sum := sha256.Sum256(raw)
	b := &protobundle.Bundle{
		MediaType: bundleTypePrefix + "+json;version=0.1",
		Content: &protobundle.Bundle_MessageSignature{MessageSignature: &protocommon.MessageSignature{
			MessageDigest: &protocommon.HashOutput{Algorithm: protocommon.HashAlgorithm_SHA2_256, Digest: sum[:]},
			Signature:     sigBytes,
		}},
	}
	return s.judgeLegacy(j, b, layer.Annotations, evidence{message: raw})
}

// judgeEnvelope verifies a layer whose content is a DSSE envelope.
func (s *Scheme) judgeEnvelope(sub signature.Subject, layer bollwerk.Descriptor, raw []byte) signature.Judgement {
	f := &bollwerk.AttestationFact{SignatureFact: bollwerk.SignatureFact{Format: formatCosign}}
	j := signature.Judgement{Attestation: f}
	env, err := parseEnvelope(raw)
	if err != nil {
		return failed(j, err)
	}
	if err := describeStatement(f, sub, env.payloadType, env.payload); err != nil {
		return failed(j, err)
	}
	b := &protobundle.Bundle{
		MediaType: bundleTypePrefix + "+json;version=0.1",
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: env.payload, PayloadType: env.payloadType,
			Signatures: []*protodsse.Signature{{Sig: env.signature, Keyid: env.keyID}},
		}},
	}
	j = s.judgeLegacy(j, b, layer.Annotations, evidence{digest: sub.Digest})
	if !f.Verified {
		f.SLSA = nil
	}
	return j
}

// judgeLegacy fills a bundle from annotations and verifies it.
func (s *Scheme) judgeLegacy(j signature.Judgement, b *protobundle.Bundle, annotations map[string]string, e evidence) signature.Judgement {
	vm := &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_PublicKey{PublicKey: &protocommon.PublicKeyIdentifier{}}}
	b.VerificationMaterial = vm
	certs, err := certificates(annotations)
	if err == nil && certs != nil {
		vm.Content = &protobundle.VerificationMaterial_X509CertificateChain{X509CertificateChain: &protocommon.X509CertificateChain{Certificates: certs}}
	}
	if err == nil {
		vm.TlogEntries, err = rekorEntry(annotations[annotationBundle])
	}
	if err == nil {
		vm.TimestampVerificationData, err = timestampData(annotations[annotationTimestamp])
	}
	if err != nil {
		return failed(j, err)
	}
	dropped := false
	for _, t := range vm.TlogEntries {
		if k := t.KindVersion; !knownEntry(k.Kind, k.Version) {
			if certs != nil || s.root != nil && !s.ignoreLog {
				return unknown(j, fmt.Sprintf("a log entry of kind %s %s is not known here", clip(k.Kind), clip(k.Version)))
			}
			vm.TlogEntries, dropped = nil, true // a key's signature does without it
		}
	}
	entity, err := bundle.NewBundle(b)
	if err != nil {
		return failed(j, err)
	}
	s.verify(j.Fact(), entity, e)
	if f := j.Fact(); dropped && f.Verified {
		s.logUnchecked(f)
	}
	return j
}

// knownEntry: what sigstore-go can compare with a signature. Attestations of old
// cosign have intoto 0.0.1, whose body does not hold enough to do that offline.
func knownEntry(kind, version string) bool {
	switch kind + " " + version {
	case "hashedrekord 0.0.1", "hashedrekord 0.0.2", "dsse 0.0.1", "intoto 0.0.2":
		return true
	}
	return false
}

// certificates reads the leaf from its annotation. Certificates of the chain
// annotation are left out on purpose: trust comes from the trusted root alone, and
// what the signer brings could only lengthen the path to it.
func certificates(annotations map[string]string) ([]*protocommon.X509Certificate, error) {
	text := annotations[annotationCertificate]
	if text == "" {
		return nil, nil
	}
	if len(text) > maxAnnotation {
		return nil, fmt.Errorf("annotation %s: %d bytes", annotationCertificate, len(text))
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("annotation %s: no PEM certificate", annotationCertificate)
	}
	return []*protocommon.X509Certificate{{RawBytes: block.Bytes}}, nil
}

// rekorBundle is the annotation with the log's promise. Payload is signed in
// canonical JSON; the fields are put together again by the verifier.
type rekorBundle struct {
	SignedEntryTimestamp []byte
	Payload              struct {
		Body           string `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}
}

func rekorEntry(text string) ([]*protorekor.TransparencyLogEntry, error) {
	if text == "" {
		return nil, nil
	}
	fail := func(err error) ([]*protorekor.TransparencyLogEntry, error) {
		return nil, fmt.Errorf("annotation %s: %w", annotationBundle, err)
	}
	if len(text) > maxAnnotation {
		return fail(fmt.Errorf("%d bytes, more than %d", len(text), maxAnnotation))
	}
	if err := signature.CheckJSON([]byte(text)); err != nil {
		return fail(err)
	}
	var r rekorBundle
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return fail(err)
	}
	body, err := base64.StdEncoding.DecodeString(r.Payload.Body)
	if err != nil {
		return fail(fmt.Errorf("body: %w", err))
	}
	id, err := hex.DecodeString(r.Payload.LogID)
	if err != nil {
		return fail(fmt.Errorf("logID: %w", err))
	}
	if r.Payload.IntegratedTime <= 0 || r.Payload.LogIndex < 0 || len(id) == 0 || len(r.SignedEntryTimestamp) == 0 {
		return fail(errors.New("time, index, log or promise is missing"))
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := signature.CheckJSON(body); err != nil {
		return fail(fmt.Errorf("body: %w", err))
	}
	if err := json.Unmarshal(body, &kind); err != nil {
		return fail(fmt.Errorf("body: %w", err))
	}
	return []*protorekor.TransparencyLogEntry{{
		LogIndex:          r.Payload.LogIndex,
		LogId:             &protocommon.LogId{KeyId: id},
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.APIVersion},
		IntegratedTime:    r.Payload.IntegratedTime,
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: r.SignedEntryTimestamp},
		CanonicalizedBody: body,
	}}, nil
}

func timestampData(text string) (*protobundle.TimestampVerificationData, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxAnnotation {
		return nil, fmt.Errorf("annotation %s: %d bytes, more than %d", annotationTimestamp, len(text), maxAnnotation)
	}
	if err := signature.CheckJSON([]byte(text)); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", annotationTimestamp, err)
	}
	var t struct{ SignedRFC3161Timestamp []byte }
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return nil, fmt.Errorf("annotation %s: %w", annotationTimestamp, err)
	}
	return &protobundle.TimestampVerificationData{
		Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: t.SignedRFC3161Timestamp}},
	}, nil
}

func decodeAnnotation(annotations map[string]string, name string) ([]byte, error) {
	text := annotations[name]
	if text == "" {
		return nil, nil
	}
	if len(text) > maxAnnotation {
		return nil, fmt.Errorf("annotation %s: %d bytes, more than %d", name, len(text), maxAnnotation)
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("annotation %s: %w", name, err)
	}
	return raw, nil
}

// envelope is a DSSE envelope with exactly one signature.
type envelope struct {
	payloadType string
	payload     []byte
	signature   []byte
	keyID       string
}

// parseEnvelope reads DSSE's JSON form (secure-systems-lab/dsse, envelope.md).
// More than one signature is refused: nobody writes them, and "which of them
// counts" is a question with several answers.
func parseEnvelope(raw []byte) (*envelope, error) {
	if err := signature.CheckJSON(raw); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	var e struct {
		PayloadType string `json:"payloadType"`
		Payload     string `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   string `json:"sig"`
		} `json:"signatures"`
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&e); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	if len(e.Signatures) != 1 {
		return nil, fmt.Errorf("envelope: %d signatures, want one", len(e.Signatures))
	}
	payload, err := decodeBase64(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("envelope: payload: %w", err)
	}
	sigBytes, err := decodeBase64(e.Signatures[0].Sig)
	if err != nil {
		return nil, fmt.Errorf("envelope: signature: %w", err)
	}
	return &envelope{payloadType: e.PayloadType, payload: payload, signature: sigBytes, keyID: e.Signatures[0].KeyID}, nil
}

// decodeBase64 accepts both alphabets, as DSSE demands.
func decodeBase64(s string) ([]byte, error) {
	if b, err := base64.StdEncoding.DecodeString(s); err == nil {
		return b, nil
	}
	return base64.URLEncoding.DecodeString(s)
}
