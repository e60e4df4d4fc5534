package oci

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/bollwerk/bollwerk"
)

type referrerIndex struct {
	Manifests []referrerEntry `json:"manifests"`
}

type referrerEntry struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Platform     *struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
	} `json:"platform"`
}

// parseIndex reads the descriptors of an OCI image index. An entry whose digest
// makes no sense is an error: leaving it out could hide a signature or an image.
func parseIndex(raw []byte) ([]bollwerk.Descriptor, error) {
	var f referrerIndex
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, fmt.Errorf("image index: %w", err)
	}
	if len(f.Manifests) > maxReferrers {
		return nil, fmt.Errorf("image index: %d entries, more than the bound of %d", len(f.Manifests), maxReferrers)
	}
	list := make([]bollwerk.Descriptor, 0, len(f.Manifests))
	for i, m := range f.Manifests {
		d, err := bollwerk.ParseDigest(m.Digest)
		if err != nil {
			return nil, fmt.Errorf("image index: entry %d: %w", i, err)
		}
		e := bollwerk.Descriptor{MediaType: m.MediaType, Digest: d, Size: m.Size, ArtifactType: m.ArtifactType, Annotations: m.Annotations}
		if m.Platform != nil && m.Platform.OS != "" {
			e.Platform = m.Platform.OS + "/" + m.Platform.Architecture
			if m.Platform.Variant != "" {
				e.Platform += "/" + m.Platform.Variant
			}
		}
		list = append(list, e)
	}
	return list, nil
}

// fallbackTag is the tag that lists the referrers of a digest where the registry
// has no API for them (distribution specification, "referrers tag schema": the
// algorithm cut to 32 and the hash cut to 64 characters).
func fallbackTag(d bollwerk.Digest) string {
	h := d.Hex()
	return d.Algorithm() + "-" + h[:min(len(h), 64)]
}

// readAtMost reads everything or says that there is more than limit bytes.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("larger than the bound of %d bytes", limit)
	}
	return raw, nil
}
