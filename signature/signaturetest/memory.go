package signaturetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

// Memory is a signature.Repository that holds everything in maps.
type Memory struct {
	t         testing.TB
	Manifests map[string][]byte // by tag and by digest
	Blobs     map[bollwerk.Digest][]byte
	Index     map[bollwerk.Digest][]bollwerk.Descriptor // referrers
	// Errors make a tag, a digest or "referrers" unreadable.
	Errors map[string]error
	// Read counts the bytes of manifests and blobs given out.
	Read int64
}

// NewMemory makes an empty repository.
func NewMemory(t testing.TB) *Memory {
	return &Memory{t: t, Manifests: map[string][]byte{}, Blobs: map[bollwerk.Digest][]byte{}, Index: map[bollwerk.Digest][]bollwerk.Descriptor{}, Errors: map[string]error{}}
}

// Name implements signature.Repository.
func (m *Memory) Name() string { return "registry.example/app" }

// Manifest implements signature.Repository.
func (m *Memory) Manifest(_ context.Context, reference string, limit int64) ([]byte, bollwerk.Descriptor, error) {
	if err := m.Errors[reference]; err != nil {
		return nil, bollwerk.Descriptor{}, err
	}
	raw, ok := m.Manifests[reference]
	if !ok {
		return nil, bollwerk.Descriptor{}, fmt.Errorf("manifest %s: %w", reference, fs.ErrNotExist)
	}
	if int64(len(raw)) > limit {
		return nil, bollwerk.Descriptor{}, fmt.Errorf("manifest %s: larger than the bound of %d bytes", reference, limit)
	}
	m.Read += int64(len(raw))
	return raw, describe(raw), nil
}

// Blob implements signature.Repository.
func (m *Memory) Blob(_ context.Context, digest bollwerk.Digest, limit int64) ([]byte, error) {
	if err := m.Errors[string(digest)]; err != nil {
		return nil, err
	}
	raw, ok := m.Blobs[digest]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", digest, fs.ErrNotExist)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("blob %s: larger than the bound of %d bytes", digest, limit)
	}
	m.Read += int64(len(raw))
	return raw, nil
}

// Referrers implements signature.Repository.
func (m *Memory) Referrers(_ context.Context, digest bollwerk.Digest) ([]bollwerk.Descriptor, error) {
	return m.Index[digest], m.Errors["referrers"]
}

// Digest hashes bytes.
func Digest(b []byte) bollwerk.Digest {
	sum := sha256.Sum256(b)
	return bollwerk.Digest("sha256:" + hex.EncodeToString(sum[:]))
}

func describe(raw []byte) bollwerk.Descriptor {
	var m struct{ MediaType, ArtifactType string }
	_ = json.Unmarshal(raw, &m) // a broken manifest has no types
	return bollwerk.Descriptor{MediaType: m.MediaType, ArtifactType: m.ArtifactType, Digest: Digest(raw), Size: int64(len(raw))}
}

// Image puts an image under a tag; note makes it different from others.
func (m *Memory) Image(tag, note string) bollwerk.Digest {
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%064d","size":2},"layers":[],"annotations":{"note":%q}}`, 0, note)
	d := Digest(raw)
	m.Manifests[tag], m.Manifests[string(d)] = raw, raw
	return d
}

// Manifest writes a manifest with the given layers, and the layers as blobs.
func Manifest(t testing.TB, artifactType string, subject *bollwerk.Descriptor, layers []Layer, put func(content []byte)) []byte {
	config := []byte("{}")
	put(config)
	doc := map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest(config), "size": len(config)},
	}
	if artifactType != "" {
		doc["artifactType"] = artifactType
		doc["config"] = map[string]any{"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest(config), "size": len(config)}
	}
	if subject != nil {
		doc["subject"] = map[string]any{"mediaType": subject.MediaType, "digest": subject.Digest, "size": subject.Size}
	}
	list := []any{}
	for _, l := range layers {
		put(l.Content)
		d := map[string]any{"mediaType": l.MediaType, "digest": Digest(l.Content), "size": len(l.Content)}
		if len(l.Annotations) > 0 {
			d["annotations"] = l.Annotations
		}
		list = append(list, d)
	}
	doc["layers"] = list
	return mustJSON(t, doc)
}

// Attach puts layers under cosign's tag for a digest: suffix is ".sig" or ".att".
func (m *Memory) Attach(digest bollwerk.Digest, suffix string, layers ...Layer) {
	raw := Manifest(m.t, "", nil, layers, m.put)
	m.Manifests[strings.Replace(string(digest), ":", "-", 1)+suffix] = raw
	m.Manifests[string(Digest(raw))] = raw
}

// Refer puts layers into a manifest that refers to a digest.
func (m *Memory) Refer(digest bollwerk.Digest, artifactType string, layers ...Layer) bollwerk.Digest {
	subject := describe(m.Manifests[string(digest)])
	raw := Manifest(m.t, artifactType, &subject, layers, m.put)
	d := describe(raw)
	m.Manifests[string(d.Digest)] = raw
	m.Index[digest] = append(m.Index[digest], d)
	return d.Digest
}

func (m *Memory) put(content []byte) { m.Blobs[Digest(content)] = content }
