package signature

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Checker verifies artifacts of one place.
type Checker struct {
	Repository Repository
	Schemes    []Scheme
	Demand     Demand
	Limits     Limits // zero: DefaultLimits
	// Files are attachments that the user gave (detached bundles).
	Files []Attachment
	// Platform, "os/arch[/variant]", turns from an image for several platforms to the
	// one for this: builders sign either, or both. Empty: the reference's own digest.
	Platform string
}

// Check resolves a tag or digest and verifies what lies beside it. The error is
// for the artifact itself: it could not be found or read. Whatever goes wrong with
// a signature is in the result.
func (c *Checker) Check(ctx context.Context, reference string) (*bollwerk.Provenance, error) {
	lim := c.Limits
	if lim == (Limits{}) {
		lim = DefaultLimits()
	}
	raw, desc, err := c.Repository.Manifest(ctx, reference, lim.Manifest)
	if err != nil {
		return nil, err
	}
	if c.Platform != "" {
		if raw, desc, err = c.descend(ctx, raw, desc, lim.Manifest); err != nil {
			return nil, err
		}
	}
	s := Subject{Descriptor: desc, Name: c.Repository.Name(), Manifest: raw}
	k := &check{c: c, limits: lim, subject: s, left: lim.Total}
	k.p = &bollwerk.Provenance{
		Subject: desc.Digest, Reference: s.Name + "@" + string(desc.Digest),
		Causes: []string{}, Signatures: []bollwerk.SignatureFact{}, Attestations: []bollwerk.AttestationFact{},
	}
	for _, a := range c.Files {
		k.judge(ctx, a)
	}
	k.tags(ctx)
	k.referrers(ctx)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	k.conclude()
	return k.p, nil
}

// descend goes from an index to the manifest for the platform. The child is named
// by digest in bytes whose digest is known, so nothing is lost on the way.
func (c *Checker) descend(ctx context.Context, raw []byte, desc bollwerk.Descriptor, limit int64) ([]byte, bollwerk.Descriptor, error) {
	var index struct {
		Manifests []struct {
			Digest   string `json:"digest"`
			Platform struct {
				OS           string `json:"os"`
				Architecture string `json:"architecture"`
				Variant      string `json:"variant"`
			} `json:"platform"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, desc, fmt.Errorf("%s: manifest %s: %w", c.Repository.Name(), desc.Digest.Short(), err)
	}
	if index.Manifests == nil {
		return raw, desc, nil // an image for one platform
	}
	var offered []string
	for _, m := range index.Manifests {
		name := m.Platform.OS + "/" + m.Platform.Architecture
		full := name
		if m.Platform.Variant != "" {
			full += "/" + m.Platform.Variant
		}
		if c.Platform != full && c.Platform != name {
			if len(offered) < 20 && m.Platform.OS != "unknown" {
				offered = append(offered, full)
			}
			continue
		}
		d, err := bollwerk.ParseDigest(m.Digest)
		if err != nil {
			return nil, desc, fmt.Errorf("%s: %w", c.Repository.Name(), err)
		}
		return c.Repository.Manifest(ctx, string(d), limit)
	}
	return nil, desc, fmt.Errorf("%s: no image for %s; there are: %s", c.Repository.Name(), c.Platform, strings.Join(offered, ", "))
}

// check is the state of one Check.
type check struct {
	c       *Checker
	limits  Limits
	subject Subject
	p       *bollwerk.Provenance

	opened, layers int
	left           int64 // bytes of layers that may still be read
	seen           map[bollwerk.Digest]bool
	// incomplete says what could not be looked at: with it, "not verified" is not
	// known to be true.
	incomplete []string
}

func (k *check) missed(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if len(k.incomplete) < 20 && !slices.Contains(k.incomplete, s) {
		k.incomplete = append(k.incomplete, s)
	}
}

// tags looks under the names that cosign gives to signatures and attestations.
func (k *check) tags(ctx context.Context) {
	base := k.subject.Digest.Algorithm() + "-" + k.subject.Digest.Hex()
	for _, suffix := range []string{".sig", ".att"} {
		if ctx.Err() != nil {
			return
		}
		tag := base + suffix
		raw, desc, err := k.c.Repository.Manifest(ctx, tag, k.limits.Manifest)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			k.missed("%v", err)
			continue
		}
		k.manifest(ctx, "tag "+tag, raw, desc)
	}
}

func (k *check) referrers(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	list, err := k.c.Repository.Referrers(ctx, k.subject.Digest)
	if err != nil {
		k.missed("%v", err)
		return
	}
	// What says that it is a signature comes first, so that the bound on attachments
	// is not used up by what says nothing. What says that it is something else (an
	// SBOM, a scan report) is left alone: it is not signed by itself.
	var sure, unsure []bollwerk.Descriptor
	for _, d := range list {
		switch {
		case slices.ContainsFunc(k.c.Schemes, func(s Scheme) bool { return s.Wants(d.ArtifactType) }):
			sure = append(sure, d)
		case saysNothing(d.ArtifactType):
			unsure = append(unsure, d)
		}
	}
	for _, d := range append(sure, unsure...) {
		if ctx.Err() != nil {
			return
		}
		if k.seen[d.Digest] {
			continue
		}
		if k.opened >= k.limits.Attachments {
			k.missed("%s: %d things refer to the image, only %d were opened", k.subject.Name, len(list), k.limits.Attachments)
			return
		}
		raw, desc, err := k.c.Repository.Manifest(ctx, string(d.Digest), k.limits.Manifest)
		if err != nil {
			k.opened++
			k.missed("%v", err)
			continue
		}
		k.manifest(ctx, "referrer "+d.Digest.Short(), raw, desc)
	}
}

// saysNothing: a registry leaves the artifact type out, or puts the media type of
// the configuration there (distribution specification 1.1 before its release).
func saysNothing(artifactType string) bool {
	return artifactType == "" || artifactType == "application/vnd.oci.empty.v1+json" ||
		strings.HasPrefix(artifactType, "application/vnd.oci.image.config.") ||
		strings.HasPrefix(artifactType, "application/vnd.docker.container.image.")
}

// manifest reads the parts of an image manifest that signing schemes use.
func (k *check) manifest(ctx context.Context, source string, raw []byte, desc bollwerk.Descriptor) {
	if k.seen[desc.Digest] {
		return
	}
	if k.seen == nil {
		k.seen = map[bollwerk.Digest]bool{}
	}
	k.seen[desc.Digest] = true
	k.opened++
	a, err := parseAttachment(raw)
	if err != nil {
		k.missed("%s: %v", source, err)
		return
	}
	a.Source = source
	if a.ArtifactType == "" {
		a.ArtifactType = desc.ArtifactType
	}
	a.Open = func(ctx context.Context, d bollwerk.Descriptor, limit int64) ([]byte, error) {
		return k.c.Repository.Blob(ctx, d.Digest, limit)
	}
	k.judge(ctx, a)
}

func (k *check) judge(ctx context.Context, a Attachment) {
	open := a.Open
	a.Open = func(ctx context.Context, d bollwerk.Descriptor, limit int64) ([]byte, error) {
		if d.Size > limit {
			return nil, fmt.Errorf("%s: layer %s: %d bytes, more than the bound of %d", a.Source, d.Digest.Short(), d.Size, limit)
		}
		if k.left <= 0 {
			return nil, fmt.Errorf("%s: the bound of %d bytes for all signatures together is used up", k.subject.Name, k.limits.Total)
		}
		raw, err := open(ctx, d, min(limit, k.left))
		k.left -= int64(len(raw))
		return raw, err
	}
	for i, layer := range a.Layers {
		if ctx.Err() != nil {
			return
		}
		if k.layers >= k.limits.Layers {
			k.missed("%s: more than %d signatures, the rest was not looked at", k.subject.Name, k.limits.Layers)
			return
		}
		k.layers++
		at := a
		if len(a.Layers) > 1 {
			at.Source = fmt.Sprintf("%s layer %d", a.Source, i)
		}
		k.layer(ctx, at, layer)
	}
}

func (k *check) layer(ctx context.Context, a Attachment, layer bollwerk.Descriptor) {
	for _, s := range k.c.Schemes {
		j, ok, err := judgeSafely(ctx, s, k.subject, a, layer)
		if err != nil {
			k.missed("%v", err)
			return
		}
		if !ok {
			continue
		}
		if j.Unknown {
			k.missed("%s: %s", a.Source, j.Fact().Cause)
		}
		if f := j.Signature; f != nil {
			f.Source = a.Source
			k.p.Signatures = append(k.p.Signatures, *f)
		}
		if f := j.Attestation; f != nil {
			f.Source = a.Source
			k.p.Attestations = append(k.p.Attestations, *f)
		}
		return
	}
}

// judgeSafely turns a panic in a scheme into an error: the libraries below parse
// ASN.1, protobuf and CBOR that anybody with push rights can write, and a crash
// must neither end a server nor count as "nothing found".
func judgeSafely(ctx context.Context, s Scheme, sub Subject, a Attachment, layer bollwerk.Descriptor) (j Judgement, ok bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			j, ok, err = Judgement{}, true, fmt.Errorf("%s: the %s verifier crashed: %v", a.Source, s.Name(), r)
		}
	}()
	return s.Judge(ctx, sub, a, layer)
}

// conclude compares what was found with what was demanded.
func (k *check) conclude() {
	p := k.p
	for i := range p.Signatures {
		p.Signed = p.Signed || p.Signatures[i].Verified
	}
	for i := range p.Attestations {
		if f := &p.Attestations[i]; f.Verified && f.SLSA != nil && p.SLSA == nil {
			p.SLSA = f.SLSA
		}
	}
	// A demand is met by the best fact there is; its weakness becomes the whole's.
	var missing, weak []string
	meet := func(what string, facts func(yield func(*bollwerk.SignatureFact) bool)) {
		cause, found := "", false
		for f := range facts {
			if !f.Verified {
				continue
			}
			if f.Verdict == bollwerk.Pass {
				return
			}
			cause, found = f.Cause, true
		}
		if !found {
			missing = append(missing, what)
		} else if !slices.Contains(weak, cause) {
			weak = append(weak, cause)
		}
	}
	if k.c.Demand.Signature {
		meet(describeSignatures(p.Signatures), func(yield func(*bollwerk.SignatureFact) bool) {
			for i := range p.Signatures {
				if !yield(&p.Signatures[i]) {
					return
				}
			}
		})
	}
	for _, want := range k.c.Demand.Predicates {
		meet("a verified attestation of type "+want, func(yield func(*bollwerk.SignatureFact) bool) {
			for i := range p.Attestations {
				f := &p.Attestations[i]
				if predicateMatches(want, f.PredicateType) && !yield(&f.SignatureFact) {
					return
				}
			}
		})
	}
	switch {
	case len(missing) > 0 && len(k.incomplete) > 0:
		p.Verdict = bollwerk.NotEvaluated
		p.Causes = append(p.Causes, "not everything could be looked at, and in what was: "+strings.Join(missing, ", ")+" was not found")
	case len(missing) > 0:
		p.Verdict = bollwerk.Fail
		for _, m := range missing {
			p.Causes = append(p.Causes, m+" was not found")
		}
	case len(weak) > 0:
		p.Verdict = bollwerk.Degraded
		p.Causes = append(p.Causes, weak...)
	case !k.c.Demand.Signature && len(k.c.Demand.Predicates) == 0 && len(k.incomplete) > 0:
		// Nothing was demanded: facts are being collected, and some may be missing.
		p.Verdict = bollwerk.Degraded
	default:
		p.Verdict = bollwerk.Pass
	}
	p.Causes = append(p.Causes, k.incomplete...)
}

// predicateMatches lets a demanded type stand for its versions:
// "https://cyclonedx.org/bom" for "https://cyclonedx.org/bom/v1.6".
func predicateMatches(want, got string) bool {
	return got == want || strings.HasPrefix(got, want+"/")
}

// describeSignatures says what is missing in the light of what is there.
func describeSignatures(facts []bollwerk.SignatureFact) string {
	if len(facts) == 0 {
		return "a signature"
	}
	return fmt.Sprintf("a signature by the demanded key or identity (%d others are listed)", len(facts))
}

// parseAttachment reads an image manifest that carries signatures.
func parseAttachment(raw []byte) (Attachment, error) {
	type descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations"`
	}
	var m struct {
		ArtifactType string            `json:"artifactType"`
		Annotations  map[string]string `json:"annotations"`
		Config       descriptor        `json:"config"`
		Layers       []descriptor      `json:"layers"`
		Blobs        []descriptor      `json:"blobs"` // the artifact manifest that OCI dropped; old notation wrote it
		Subject      *descriptor       `json:"subject"`
	}
	if err := checkJSON(raw); err != nil {
		return Attachment{}, fmt.Errorf("manifest: %w", err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return Attachment{}, fmt.Errorf("manifest: %w", err)
	}
	a := Attachment{ArtifactType: m.ArtifactType, Annotations: m.Annotations}
	if a.ArtifactType == "" && !strings.HasPrefix(m.Config.MediaType, "application/vnd.oci.image.config") && !strings.HasPrefix(m.Config.MediaType, "application/vnd.docker.") {
		a.ArtifactType = m.Config.MediaType
	}
	if m.Subject != nil {
		d, err := bollwerk.ParseDigest(m.Subject.Digest)
		if err != nil {
			return Attachment{}, fmt.Errorf("manifest: subject: %w", err)
		}
		a.Claimed = d
	}
	for i, l := range append(m.Layers, m.Blobs...) {
		d, err := bollwerk.ParseDigest(l.Digest)
		if err != nil {
			return Attachment{}, fmt.Errorf("manifest: layer %d: %w", i, err)
		}
		if l.Size < 0 {
			return Attachment{}, fmt.Errorf("manifest: layer %d: negative size", i)
		}
		a.Layers = append(a.Layers, bollwerk.Descriptor{MediaType: l.MediaType, Digest: d, Size: l.Size, Annotations: l.Annotations})
	}
	return a, nil
}
