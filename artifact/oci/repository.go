package oci

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/bollwerk/bollwerk"
)

const (
	// maxReferrerPages bounds how often a registry may say "there is more".
	maxReferrerPages = 50
	// maxReferrers bounds the list that Referrers returns.
	maxReferrers = 2000
	// maxReferrerPage bounds one page of referrers, in bytes.
	maxReferrerPage = 4 << 20
)

// Repository reads manifests and small blobs of one repository: what lies beside
// an image (signatures, attestations) rather than the image's layers. Every read
// is bounded by the caller, and what is fetched by digest is checked against it.
// Whatever does not exist is reported as fs.ErrNotExist; any other error means
// that it could not be found out. A Repository is safe for concurrent use.
type Repository struct {
	name   string
	source repositorySource
}

// repositorySource is the part that differs between registries and layouts.
type repositorySource interface {
	// manifest returns the bytes stored under a tag or digest, and the media type
	// that the source claims.
	manifest(ctx context.Context, reference string, limit int64) ([]byte, string, error)
	blob(ctx context.Context, digest bollwerk.Digest, limit int64) ([]byte, error)
	referrers(ctx context.Context, digest bollwerk.Digest) ([]bollwerk.Descriptor, error)
}

// NewRegistryRepository opens the repository of an image reference such as
// "registry.example/team/app:1.2" and returns it with the tag or digest that the
// reference names (a digest counts, the tag beside it is for people). Nothing is
// sent yet. A mirror is asked first; what it does not have is asked of the
// registry itself, because mirrors often leave signatures out.
func NewRegistryRepository(ref string, o Options) (*Repository, string, error) {
	o = o.withDefaults()
	r, _, err := parseReference(ref, o.Insecure)
	if err != nil {
		return nil, "", err
	}
	base, err := newTransport(o)
	if err != nil {
		return nil, "", err
	}
	repos, err := o.origins(r)
	if err != nil {
		return nil, "", err
	}
	s := &registrySource{o: o, base: base}
	for _, repo := range repos {
		s.origins = append(s.origins, &origin{repo: repo})
	}
	return &Repository{name: r.Context().Name(), source: s}, r.Identifier(), nil
}

// Name is "registry/repository", or "oci:DIR" for a layout.
func (r *Repository) Name() string { return r.name }

// Resolve returns the descriptor of the manifest that a tag or digest names. The
// digest is computed from the bytes, not taken from the registry's headers.
func (r *Repository) Resolve(ctx context.Context, reference string) (bollwerk.Descriptor, error) {
	_, d, err := r.Manifest(ctx, reference, 4<<20)
	return d, err
}

// Manifest returns the bytes of a manifest of at most limit bytes and its
// descriptor. The media type is the one inside the manifest where there is one:
// a registry's Content-Type header is not covered by the digest.
func (r *Repository) Manifest(ctx context.Context, reference string, limit int64) ([]byte, bollwerk.Descriptor, error) {
	raw, mediaType, err := r.source.manifest(ctx, reference, limit)
	if err != nil {
		return nil, bollwerk.Descriptor{}, fmt.Errorf("%s: manifest %s: %w", r.name, reference, err)
	}
	got := contentDigest("sha256", raw)
	if want, err := bollwerk.ParseDigest(reference); err == nil {
		if got = contentDigest(want.Algorithm(), raw); got != want {
			return nil, bollwerk.Descriptor{}, fmt.Errorf("%s: manifest %s: content has digest %s", r.name, reference, got)
		}
	}
	var inside struct {
		MediaType    string `json:"mediaType"`
		ArtifactType string `json:"artifactType"`
		Config       struct {
			MediaType string `json:"mediaType"`
		} `json:"config"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &inside); err != nil {
		return nil, bollwerk.Descriptor{}, fmt.Errorf("%s: manifest %s: %w", r.name, reference, err)
	}
	d := bollwerk.Descriptor{MediaType: mediaType, Digest: got, Size: int64(len(raw)), ArtifactType: inside.ArtifactType}
	if inside.MediaType != "" {
		d.MediaType = inside.MediaType
	}
	if d.MediaType == "" {
		d.MediaType = "application/vnd.oci.image.manifest.v1+json"
		if inside.Manifests != nil {
			d.MediaType = "application/vnd.oci.image.index.v1+json"
		}
	}
	if d.ArtifactType == "" && inside.Config.MediaType != "" {
		d.ArtifactType = inside.Config.MediaType // image specification 1.1, "guidelines for artifact usage"
	}
	return raw, d, nil
}

// Blob returns a blob of at most limit bytes, checked against its digest.
func (r *Repository) Blob(ctx context.Context, digest bollwerk.Digest, limit int64) ([]byte, error) {
	raw, err := r.source.blob(ctx, digest, limit)
	if err != nil {
		return nil, fmt.Errorf("%s: blob %s: %w", r.name, digest, err)
	}
	if got := contentDigest(digest.Algorithm(), raw); got != digest {
		return nil, fmt.Errorf("%s: blob %s: content has digest %s", r.name, digest, got)
	}
	return raw, nil
}

// Referrers lists the manifests that name digest as their subject, through the
// referrers API and, where a registry lacks it, the fallback tag (distribution
// specification 1.1). The list is the registry's claim: what it names must be
// fetched and checked. None is not an error.
func (r *Repository) Referrers(ctx context.Context, digest bollwerk.Digest) ([]bollwerk.Descriptor, error) {
	list, err := r.source.referrers(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("%s: referrers of %s: %w", r.name, digest.Short(), err)
	}
	return list, nil
}
