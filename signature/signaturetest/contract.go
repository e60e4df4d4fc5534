package signaturetest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/signature"
)

// Contract checks what every signature.Scheme promises. layers are media types
// that the scheme claims, each with the artifact type of its manifest.
func Contract(t *testing.T, s signature.Scheme, layers map[string]string) {
	t.Helper()
	sub := signature.Subject{Name: "registry.example/app", Manifest: []byte("{}")}
	sub.Digest = Digest(sub.Manifest)
	errBroken := errors.New("the blob is not to be had")
	opened := 0
	attachment := func(artifactType string, content []byte, err error) signature.Attachment {
		return signature.Attachment{ArtifactType: artifactType, Open: func(context.Context, bollwerk.Descriptor, int64) ([]byte, error) {
			opened++
			return content, err
		}}
	}
	t.Run("a foreign layer is left alone and not read", func(t *testing.T) {
		opened = 0
		_, ok, err := s.Judge(t.Context(), sub, attachment("application/x-unknown", nil, nil), bollwerk.Descriptor{MediaType: "application/x-unknown"})
		if ok || err != nil || opened != 0 {
			t.Errorf("ok %v, error %v, opened %d times", ok, err, opened)
		}
	})
	t.Run("the cheap question is cheap", func(t *testing.T) {
		if n := testing.AllocsPerRun(100, func() { s.Wants("application/vnd.example") }); n > 0 {
			t.Errorf("Wants allocates %.0f times", n)
		}
		if s.Wants("application/spdx+json") {
			t.Error("wants an SBOM that nobody signed")
		}
	})
	for media, artifactType := range layers {
		layer := bollwerk.Descriptor{MediaType: media}
		t.Run(media+": a failing read is an error", func(t *testing.T) {
			if _, _, err := s.Judge(t.Context(), sub, attachment(artifactType, nil, errBroken), layer); !errors.Is(err, errBroken) {
				t.Errorf("error %v", err)
			}
		})
		for _, junk := range [][]byte{nil, []byte("{"), []byte("null"), []byte("[]"), []byte("{}"), []byte(`{"payload":1}`), bytes.Repeat([]byte("["), 100_000), {0xff, 0, 1}} {
			t.Run(media+": junk is not verified", func(t *testing.T) {
				j, ok, err := s.Judge(t.Context(), sub, attachment(artifactType, junk, nil), layer)
				if err != nil || !ok {
					t.Fatalf("ok %v, error %v", ok, err)
				}
				f := j.Signature
				if (f == nil) == (j.Attestation == nil) {
					t.Fatal("want exactly one fact")
				}
				if f == nil {
					f = &j.Attestation.SignatureFact
				}
				if f.Verified || f.Authentic || f.Verdict != bollwerk.Fail && f.Verdict != bollwerk.NotEvaluated || f.Cause == "" {
					t.Errorf("%+v", f)
				}
			})
		}
	}
}
