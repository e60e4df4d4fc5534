package scan

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policies"
	"github.com/bollwerk/bollwerk/policy"
)

// TestProvenanceOfAnotherImage: the facts of a signed image must not make an unsigned
// one pass.
func TestProvenanceOfAnotherImage(t *testing.T) {
	mine := bollwerk.Digest("sha256:" + strings.Repeat("1", 64))
	other := bollwerk.Digest("sha256:" + strings.Repeat("2", 64))
	ps, err := policy.Load(policies.Files())
	if err != nil {
		t.Fatal(err)
	}
	e, err := policy.New(policy.Options{Now: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, ref string
		subject   bollwerk.Digest
		want      bollwerk.Verdict
	}{
		{"this manifest", "registry.example/app:1", mine, bollwerk.Pass},
		{"the index it was asked for by", "registry.example/app@" + string(other), other, bollwerk.Pass},
		{"another image", "registry.example/app:1", other, bollwerk.NotEvaluated},
		{"no subject", "registry.example/app@", "", bollwerk.NotEvaluated},
	} {
		r := &bollwerk.Result{Target: bollwerk.Artifact{Kind: bollwerk.KindImage, Ref: c.ref, Digest: mine}}
		prov := &bollwerk.Provenance{Subject: c.subject, Verdict: bollwerk.Pass, Signed: true, Signatures: []bollwerk.SignatureFact{{Type: "sigstore-key", Authentic: true, Verified: true}}}
		ds, err := Standards(context.Background(), e, ps, r, nil, prov)
		if err != nil {
			t.Fatal(err)
		}
		seen := false
		for _, d := range ds {
			if d.Policy.ID == "unsigned-image" {
				seen = true
				if d.Verdict != c.want {
					t.Errorf("%s: %s, want %s", c.name, d.Verdict, c.want)
				}
			}
		}
		if !seen {
			t.Errorf("%s: unsigned-image was not judged", c.name)
		}
	}
}
