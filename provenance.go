package bollwerk

import "time"

// Descriptor names a piece of content in a registry or OCI layout (OCI image
// specification, descriptor.md). Size is in bytes, as claimed by whoever gave it.
type Descriptor struct {
	MediaType    string            `json:"media_type"`
	Digest       Digest            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifact_type,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Platform     string            `json:"platform,omitempty"` // "linux/amd64"
}

// Provenance says who signed an artifact and where it was built, as far as that
// could be verified.
type Provenance struct {
	// Subject is the digest everything below is bound to.
	Subject   Digest `json:"subject"`
	Reference string `json:"reference,omitempty"` // as the user named it
	// Verdict: pass when what was demanded is verified; degraded when it is, with
	// less than it needs; fail when it is not; not_evaluated when that could not be found out.
	Verdict Verdict  `json:"verdict"`
	Causes  []string `json:"causes"` // never nil
	// Signed: at least one signature is verified.
	Signed       bool              `json:"signed"`
	Signatures   []SignatureFact   `json:"signatures"`   // never nil
	Attestations []AttestationFact `json:"attestations"` // never nil
	// SLSA is what the first verified provenance attestation says; nil without one.
	SLSA *SLSAFacts `json:"slsa"`
}

// Signer is who made a signature, as far as the signature says so.
type Signer struct {
	// KeyID is "sha256:…" over the public key in SubjectPublicKeyInfo form.
	KeyID string `json:"key_id,omitempty"`
	// Identity is the subject alternative name of a Fulcio certificate, or the
	// subject of a Notary signing certificate.
	Identity string `json:"identity,omitempty"`
	// Issuer is the OpenID Connect issuer, or the issuer of a Notary signing certificate.
	Issuer string `json:"issuer,omitempty"`
}

// SignatureFact is one signature found beside an artifact.
type SignatureFact struct {
	// Type: "sigstore-key", "sigstore-keyless" (by a certificate), "notation"; empty
	// when it was too broken to tell.
	Type string `json:"type"`
	// Format is how it is written down: "cosign" (layers with annotations),
	// "sigstore-bundle", "jws", "cose".
	Format string `json:"format"`
	Source string `json:"source"` // where it was found: "tag sha256-….sig layer 0", "referrer sha256:…", "file x"
	Signer
	// Authentic: the signature holds for the subject under the trust that was given.
	// Anybody can get a certificate from a public authority: a policy wants Verified.
	Authentic bool `json:"authentic"`
	// Verified: authentic, and made by a key or identity that was demanded.
	Verified bool `json:"verified"`
	// Time is when it was signed, as a trusted third party witnessed it; nil: not known.
	Time       *time.Time `json:"time"`
	TimeSource string     `json:"time_source,omitempty"` // "log", "tsa", "signer" (claimed only)
	// LogIndex is the index in the transparency log; nil: no entry was verified.
	LogIndex *int64  `json:"log_index"`
	Verdict  Verdict `json:"verdict"`
	Cause    string  `json:"cause,omitempty"`
	// Annotations are what the signer added to the signed payload.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// AttestationFact is one signed statement about an artifact (in-toto).
type AttestationFact struct {
	SignatureFact
	// PredicateType: "https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom", …
	PredicateType string     `json:"predicate_type"`
	SLSA          *SLSAFacts `json:"slsa,omitempty"` // set for provenance predicates
	Size          int        `json:"size"`           // bytes of the statement
}

// SLSAFacts are the facts of a SLSA provenance predicate (v0.2 or v1) in one shape.
// Its build level cannot be told from the document: that is a property of the
// builder, which a policy knows by name.
type SLSAFacts struct {
	Version      string     `json:"version"` // "0.2", "1"
	Builder      string     `json:"builder"` // the builder's id
	BuildType    string     `json:"build_type"`
	SourceRepo   string     `json:"source_repo"`   // "git+https://github.com/org/repo", without the ref
	SourceDigest string     `json:"source_digest"` // "sha1:…", "gitCommit:…"
	SourceRef    string     `json:"source_ref"`    // "refs/heads/main"
	Workflow     string     `json:"workflow"`      // path of the build definition within the source
	InvocationID string     `json:"invocation_id"`
	StartedOn    *time.Time `json:"started_on"`
	FinishedOn   *time.Time `json:"finished_on"`
	Materials    []Material `json:"materials"` // never nil; at most 1000
}

// Material is an input of a build.
type Material struct {
	URI    string `json:"uri"`
	Digest string `json:"digest,omitempty"` // "sha1:…", "gitCommit:…", "sha256:…"
}
