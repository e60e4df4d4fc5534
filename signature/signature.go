// Package signature owns the question who signed an artifact and where it was
// built: it finds what lies beside an artifact in a registry or layout, hands each
// thing to the scheme that understands it, and says what was verified. It does not
// know any cryptography; that is the sub-folders' (sigstore, notation).
package signature

import (
	"context"

	"github.com/bollwerk/bollwerk"
)

// Repository is what this package needs to know of the place an artifact lies in.
// A tag or digest that does not exist is reported as fs.ErrNotExist; any other
// error means that it could not be found out, which is never taken for "unsigned".
// Whatever is named by digest has been checked against it.
type Repository interface {
	// Name is what the place is called: "registry/repository", "oci:DIR".
	Name() string
	// Manifest returns the bytes (at most limit) stored under a tag or digest.
	Manifest(ctx context.Context, reference string, limit int64) ([]byte, bollwerk.Descriptor, error)
	// Blob returns the bytes (at most limit) of a blob.
	Blob(ctx context.Context, digest bollwerk.Digest, limit int64) ([]byte, error)
	// Referrers lists manifests that claim digest as their subject.
	Referrers(ctx context.Context, digest bollwerk.Digest) ([]bollwerk.Descriptor, error)
}

// Subject is the artifact that signatures must be about.
type Subject struct {
	bollwerk.Descriptor
	// Name is Repository.Name().
	Name string
	// Manifest is the raw manifest; its hash is Descriptor.Digest.
	Manifest []byte
}

// Attachment is something found beside a subject that may be a signature: a
// manifest with layers, or a file the user gave. Nothing in it is verified.
type Attachment struct {
	// Source says where it was found, for people: "tag sha256-….sig", "referrer sha256:…", "file x".
	Source string
	// ArtifactType is the type the manifest claims; empty when it claims none.
	ArtifactType string
	// Claimed is the subject that the manifest names; empty when it names none.
	Claimed     bollwerk.Digest
	Annotations map[string]string
	Layers      []bollwerk.Descriptor
	// Open fetches the content of a layer, at most limit bytes.
	Open func(ctx context.Context, layer bollwerk.Descriptor, limit int64) ([]byte, error)
}

// Scheme is one way of signing: a plug-in. A Scheme is a value made from the
// trust it was given and is safe for concurrent use.
type Scheme interface {
	// Name is a noun: "sigstore", "notation".
	Name() string
	// Wants is the cheap question, asked with what a list of referrers says about
	// an attachment that was not fetched. It must not read anything.
	Wants(artifactType string) bool
	// Judge verifies one layer of an attachment; ok is false when the layer is
	// nothing that the scheme knows. Everything that the scheme finds wrong is a
	// fact with verdict fail; what it cannot check is not_evaluated with a cause.
	// An error means that the layer could not be fetched.
	Judge(ctx context.Context, s Subject, a Attachment, layer bollwerk.Descriptor) (j Judgement, ok bool, err error)
}

// Judgement is what a scheme says about one layer. Either Signature or Attestation is set.
type Judgement struct {
	Signature   *bollwerk.SignatureFact
	Attestation *bollwerk.AttestationFact
	// Unknown: it is not_evaluated because the scheme does not know this form of it,
	// not because no trust was given. Then "not verified" is not known to be true.
	Unknown bool
}

// Fact is the part that both kinds have.
func (j Judgement) Fact() *bollwerk.SignatureFact {
	if j.Attestation != nil {
		return &j.Attestation.SignatureFact
	}
	return j.Signature
}

// Limits bound the work that a registry can cause.
type Limits struct {
	Attachments int   // manifests beside the subject that are opened
	Layers      int   // layers that are judged, over all attachments
	Manifest    int64 // bytes of one manifest
	Total       int64 // bytes of all layers together
}

// DefaultLimits are generous for people and small for an attacker: an image that
// has been signed daily for half a year is still read whole.
func DefaultLimits() Limits {
	return Limits{Attachments: 200, Layers: 500, Manifest: 4 << 20, Total: 256 << 20}
}

// Demand is what has to be verified. Who has to have signed is part of the trust
// that a Scheme was made with.
type Demand struct {
	// Signature: a signature over the artifact itself.
	Signature bool
	// Predicates: for each of these types (see PredicateType) an attestation.
	Predicates []string
}
