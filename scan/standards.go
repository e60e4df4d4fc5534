package scan

import (
	"context"
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// Standards judges a result by policies: the image and its distribution as wholes,
// and packages, files, secrets and findings one by one where a policy speaks of them.
// secrets nil means that nobody looked for any.
func Standards(ctx context.Context, e *policy.Engine, ps []*policy.Policy, r *bollwerk.Result, secrets []bollwerk.Secret, prov *bollwerk.Provenance) ([]policy.Decision, error) {
	asked := map[string]bool{}
	for _, p := range ps {
		asked[p.Subject] = true
	}
	var out []policy.Decision
	judge := func(kind string, in policy.Input) error {
		ds, err := e.Evaluate(ctx, kind, in, ps)
		if err != nil {
			return err
		}
		out = append(out, ds...)
		return nil
	}
	image := r.Target.Kind == bollwerk.KindImage
	if asked["image"] && image {
		if err := judge("image", policy.ImageSubject(r, secrets)); err != nil {
			return nil, err
		}
	}
	if asked["distribution"] && r.Target.OS != nil {
		if err := judge("distribution", policy.DistributionSubject(r)); err != nil {
			return nil, err
		}
	}
	if asked["provenance"] && image {
		// Without facts (nobody verified) the subject is empty and nothing is evaluated.
		if err := judge("provenance", policy.ProvenanceSubject(provenanceOf(&r.Target, prov))); err != nil {
			return nil, err
		}
	}
	if asked["package"] {
		for i := range r.Packages {
			if err := judge("package", policy.PackageSubject(&r.Packages[i])); err != nil {
				return nil, err
			}
		}
	}
	if asked["file"] {
		for i := range r.Facts {
			if err := judge("file", policy.FileSubject(&r.Facts[i])); err != nil {
				return nil, err
			}
		}
	}
	if asked["secret"] {
		for i := range secrets {
			if err := judge("secret", policy.SecretSubject(&secrets[i])); err != nil {
				return nil, err
			}
		}
	}
	if asked["finding"] {
		for i := range r.Findings {
			if err := judge("finding", policy.FindingSubject(&r.Findings[i])); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// provenanceOf returns the facts if they are bound to the artifact: by the digest of its
// manifest, or by the digest it was asked for, which is that of the index where an
// image for several platforms was signed as a whole. Facts of another image say
// nothing of this one, however well they were verified.
func provenanceOf(a *bollwerk.Artifact, p *bollwerk.Provenance) *bollwerk.Provenance {
	if p == nil || a.Digest != "" && p.Subject == a.Digest || p.Subject != "" && strings.HasSuffix(a.Ref, "@"+string(p.Subject)) {
		return p
	}
	return &bollwerk.Provenance{Verdict: bollwerk.NotEvaluated, Causes: []string{fmt.Sprintf(
		"the signatures were verified for %s, and this image is %s: verify this one, or, where it is one platform of that, scan NAME@%[1]s", p.Subject, a.Digest)}}
}
