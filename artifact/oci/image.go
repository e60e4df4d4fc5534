package oci

import (
	"context"
	"fmt"
	"io"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
)

// Image is an opened image. It is an artifact.Source.
type Image struct {
	about  bollwerk.Artifact
	blobs  []artifact.Blob
	budget *artifact.Budget
	close  func() error
}

// layerBlob is one layer as a manifest names it, with the way to its bytes.
type layerBlob struct {
	desc descriptor // Digest may be empty: docker archives do not name it
	open func(ctx context.Context) (io.ReadCloser, error)
}

// newImage checks manifest and configuration against each other.
func newImage(about bollwerk.Artifact, c *configDoc, layers []layerBlob, limits artifact.Limits, closer func() error) (*Image, error) {
	l := limits.WithDefaults()
	if len(layers) > l.MaxLayers {
		return nil, &limited{fmt.Sprintf("image %s: %d layers, limit %d", about.Name, len(layers), l.MaxLayers)}
	}
	if len(layers) != len(c.RootFS.DiffIDs) {
		return nil, fmt.Errorf("image %s: the manifest has %d layers and the configuration %d diff IDs; one of them is wrong", about.Name, len(layers), len(c.RootFS.DiffIDs))
	}
	about.Kind = bollwerk.KindImage
	about.Created = c.Created
	about.Config = c.imageConfig()
	if c.platform.OS != "" || c.platform.Architecture != "" {
		about.Platform = c.platform.String()
	}
	img := &Image{about: about, budget: artifact.NewBudget(limits), close: closer}
	lines := layerLines(c, len(layers))
	for i, layer := range layers {
		diff := c.RootFS.DiffIDs[i]
		d := layer.desc.Digest
		name := string(d)
		if d == "" {
			name = string(diff)
		} else if _, err := bollwerk.ParseDigest(string(d)); err != nil {
			return nil, fmt.Errorf("image %s: layer %d: %w", about.Name, i, err)
		}
		img.blobs = append(img.blobs, artifact.Blob{
			Name: "layer " + name, Digest: d, DiffID: diff, Size: layer.desc.Size, MediaType: layer.desc.MediaType, Open: layer.open,
		})
		img.about.Layers = append(img.about.Layers, bollwerk.Layer{
			Index: i, Digest: d, DiffID: diff, MediaType: layer.desc.MediaType, Size: max(layer.desc.Size, 0), CreatedBy: lines[i],
		})
	}
	return img, nil
}

// layerLines gives every layer its line of the history. A history that does not
// have one line per layer says nothing reliable, so it gives none.
func layerLines(c *configDoc, layers int) []string {
	var lines []string
	for _, h := range c.History {
		if !h.EmptyLayer {
			lines = append(lines, h.CreatedBy)
		}
	}
	if len(lines) != layers {
		return make([]string, layers)
	}
	return lines
}

// Artifact implements artifact.Source.
func (i *Image) Artifact() bollwerk.Artifact { return i.about }

// Parts implements artifact.Source.
func (i *Image) Parts() int { return len(i.blobs) }

// ReadPart implements artifact.Source.
func (i *Image) ReadPart(ctx context.Context, part int, v artifact.Visitor) (artifact.PartSummary, error) {
	if part < 0 || part >= len(i.blobs) {
		return artifact.PartSummary{}, fmt.Errorf("image %s: no layer %d", i.about.Name, part)
	}
	return artifact.ReadBlob(ctx, i.blobs[part], i.budget, v)
}

// Close implements artifact.Source.
func (i *Image) Close() error {
	if i.close == nil {
		return nil
	}
	return i.close()
}

// openManifest makes an image of a verified manifest whose blobs are in s.
func openManifest(ctx context.Context, s store, f *found, about bollwerk.Artifact, o Options, closer func() error) (*Image, error) {
	limits := o.Limits.WithDefaults()
	if len(f.doc.Layers) > limits.MaxLayers { // before the configuration is fetched
		return nil, &limited{fmt.Sprintf("image %s: manifest %s has %d layers, limit %d", about.Name, f.desc.Digest, len(f.doc.Layers), limits.MaxLayers)}
	}
	raw, err := readDocument(ctx, s, *f.doc.Config, "image configuration", 2*limits.MaxManifestBytes)
	if err != nil {
		return nil, err
	}
	c, err := parseConfig(raw, f.doc.Config.Digest)
	if err != nil {
		return nil, err
	}
	if len(f.doc.Layers) > 0 && len(c.RootFS.DiffIDs) == 0 {
		return nil, fmt.Errorf("image %s: the configuration (media type %s) names no layers; this is an artifact of another kind, not a container image", about.Name, f.doc.Config.MediaType)
	}
	if o.Platform != "" {
		if want, err := parsePlatform(o.Platform); err != nil {
			return nil, err
		} else if c.platform.OS != "" && !c.platform.matches(want) {
			return nil, fmt.Errorf("image %s: is for platform %s, asked for was %s", about.Name, c.platform, want)
		}
	}
	about.Digest = f.desc.Digest
	about.ConfigDigest = f.doc.Config.Digest
	layers := make([]layerBlob, len(f.doc.Layers))
	for i, d := range f.doc.Layers {
		if d.Size < 0 {
			return nil, fmt.Errorf("image %s: layer %s has the size %d", about.Name, d.Digest, d.Size)
		}
		layers[i] = layerBlob{desc: d, open: func(ctx context.Context) (io.ReadCloser, error) { return s.open(ctx, d) }}
	}
	return newImage(about, c, layers, o.Limits, closer)
}
