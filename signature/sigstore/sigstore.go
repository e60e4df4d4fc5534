// Package sigstore verifies what cosign and other sigstore clients write: the
// layout with tags beside the image, sigstore bundles, and signed statements in
// either, made with keys or with short-lived certificates. Everything works on
// what it is given; nothing is fetched. It is the home of sigstore-go.
package sigstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
)

// Trust says whose signatures count.
type Trust struct {
	// Keys are public keys in PEM form ("PUBLIC KEY" or "RSA PUBLIC KEY").
	Keys [][]byte
	// Root is a trusted_root.json: certificate authorities, logs, timestamp authorities.
	Root []byte
	// Identities that may have signed with a certificate; one suffices.
	Identities []Identity
	// AnyIdentity lets every identity count that Root's authorities vouch for. It
	// is for collecting facts that a policy judges, not for a decision.
	AnyIdentity bool
	// IgnoreLog does without the transparency log; results are degraded then.
	IgnoreLog bool
	// IgnoreSCT does without proof that a certificate was logged; results are degraded then.
	IgnoreSCT bool
}

// Scheme implements signature.Scheme.
type Scheme struct {
	keys      []key
	root      *root.TrustedRoot
	matchers  []matcher
	any       bool
	ignoreLog bool
	ignoreSCT bool
}

// maxTrustedRoot bounds trusted_root.json; the public one has about 7 kB.
const maxTrustedRoot = 4 << 20

// maxKeys bounds how many keys are tried on every signature.
const maxKeys = 32

// New checks the trust. Without keys and root the scheme lists what it finds and
// verifies nothing.
func New(t Trust) (*Scheme, error) {
	s := &Scheme{any: t.AnyIdentity, ignoreLog: t.IgnoreLog, ignoreSCT: t.IgnoreSCT}
	if len(t.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, more than %d", len(t.Keys), maxKeys)
	}
	for i, pem := range t.Keys {
		k, err := parseKey(pem)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		s.keys = append(s.keys, k)
	}
	for _, id := range t.Identities {
		m, err := id.compile()
		if err != nil {
			return nil, err
		}
		s.matchers = append(s.matchers, m)
	}
	if len(t.Root) > 0 {
		tr, err := parseRoot(t.Root)
		if err != nil {
			return nil, err
		}
		s.root = tr
	}
	if len(s.matchers) > 0 && s.root == nil {
		return nil, errors.New("an identity can only be verified with a trusted root: give trusted_root.json (`cosign trusted-root create`, or `gh attestation trusted-root`, or the file trusted_root.json of your own sigstore)")
	}
	return s, nil
}

func parseRoot(raw []byte) (*root.TrustedRoot, error) {
	if len(raw) > maxTrustedRoot {
		return nil, fmt.Errorf("trusted root: %d bytes, more than %d", len(raw), maxTrustedRoot)
	}
	if err := signature.CheckJSON(raw); err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	tr, err := root.NewTrustedRootFromJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	return tr, nil
}

// Name implements signature.Scheme.
func (s *Scheme) Name() string { return "sigstore" }

const (
	bundleTypePrefix = "application/vnd.dev.sigstore.bundle"
	mediaSimple      = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaDSSE        = "application/vnd.dsse.envelope.v1+json"
)

// Wants implements signature.Scheme.
func (s *Scheme) Wants(artifactType string) bool {
	return strings.HasPrefix(artifactType, bundleTypePrefix) ||
		artifactType == "application/vnd.dev.cosign.artifact.sig.v1+json" || // cosign 2, COSIGN_EXPERIMENTAL OCI 1.1
		artifactType == "application/vnd.dev.cosign.artifact.att.v1+json" ||
		artifactType == mediaSimple || artifactType == mediaDSSE
}

const (
	maxPayload  = 1 << 20  // a simple signing payload; real ones have 250 bytes
	maxEnvelope = 32 << 20 // an attestation; SBOMs of large images reach 20 MB
)

// Judge implements signature.Scheme.
func (s *Scheme) Judge(ctx context.Context, sub signature.Subject, a signature.Attachment, layer bollwerk.Descriptor) (signature.Judgement, bool, error) {
	var judge func(signature.Subject, bollwerk.Descriptor, []byte) signature.Judgement
	limit := int64(maxEnvelope)
	switch {
	case layer.MediaType == mediaSimple:
		judge, limit = s.judgeSimple, maxPayload
	case layer.MediaType == mediaDSSE:
		judge = s.judgeEnvelope
	case strings.HasPrefix(layer.MediaType, bundleTypePrefix):
		judge = s.judgeBundle
	default:
		return signature.Judgement{}, false, nil
	}
	raw, err := a.Open(ctx, layer, limit)
	if err != nil {
		return signature.Judgement{}, false, err
	}
	return judge(sub, layer, raw), true, nil
}

// File makes an attachment of a detached bundle, as `cosign verify-blob --bundle` reads it.
func File(name string, raw []byte) signature.Attachment {
	return signature.Attachment{
		Source: "file " + name,
		Layers: []bollwerk.Descriptor{{MediaType: bundleTypePrefix + ".v0.3+json", Size: int64(len(raw))}},
		Open: func(context.Context, bollwerk.Descriptor, int64) ([]byte, error) {
			return raw, nil
		},
	}
}
