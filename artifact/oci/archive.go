package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
)

// archive is an image archive: its index, and the way to a member's bytes.
type archive struct {
	index *tarIndex
	// open gives the bytes of a member. For an archive that is a stream this reads
	// the stream anew up to the member.
	member func(ctx context.Context, name string, m member) (io.ReadCloser, error)
}

// open implements store: OCI archives keep blobs where layouts do.
func (a *archive) open(ctx context.Context, d descriptor) (io.ReadCloser, error) {
	if _, err := bollwerk.ParseDigest(string(d.Digest)); err != nil {
		return nil, err
	}
	return a.openMember(ctx, blobPath(d.Digest))
}

func (a *archive) openMember(ctx context.Context, name string) (io.ReadCloser, error) {
	name, m, err := a.index.find(name)
	if err != nil {
		return nil, err
	}
	if b, ok := a.index.small[name]; ok {
		return io.NopCloser(strings.NewReader(string(b))), nil
	}
	return a.member(ctx, name, m)
}

func (a *archive) readSmall(ctx context.Context, name string, limit int64) ([]byte, error) {
	rc, err := a.openMember(ctx, name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, tooLarge(name, int64(len(b)), limit)
	}
	return b, nil
}

// OpenArchive opens what `docker save` wrote, or an OCI layout in a tar file:
// FILE.tar, FILE.tar:NAME. docker says which of the two formats is expected; an archive
// that is only the other one is opened all the same. The file may be compressed.
func OpenArchive(ctx context.Context, target string, docker bool, o Options) (artifact.Source, error) {
	o = o.withDefaults()
	path, want, err := splitPathRef(target)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	src, err := openArchiveFile(ctx, f, path, want, docker, o)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("image archive %s: %w", path, err)
	}
	return src, nil
}

func openArchiveFile(ctx context.Context, f *os.File, path, want string, docker bool, o Options) (artifact.Source, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	scheme := artifact.SchemeOCIArchive
	if docker {
		scheme = artifact.SchemeDockerArchive
	}
	about := bollwerk.Artifact{Ref: withRef(string(scheme)+":"+path, want), Name: withRef(path, want)}
	compressed, err := artifact.Compressed(f)
	if err != nil {
		return nil, err
	}
	if compressed {
		s := &stream{
			open: func(ctx context.Context) (io.ReadCloser, error) {
				// Each pass reads the file by its own position.
				return artifact.Decompress(ctx, io.NewSectionReader(f, 0, fi.Size()), o.Limits)
			},
			closer: f.Close,
		}
		return s.image(ctx, want, docker, about, o)
	}
	index, err := indexOnDisk(f, fi.Size())
	if err != nil {
		return nil, err
	}
	a := &archive{index: index, member: func(_ context.Context, _ string, m member) (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(f, m.offset, m.size)), nil
	}}
	img, _, err := a.image(ctx, want, docker, about, o, f.Close)
	if err != nil {
		return nil, err
	}
	return img, nil
}

// image opens the image that want names. The names of the layers' members are
// returned beside it.
func (a *archive) image(ctx context.Context, want string, docker bool, about bollwerk.Artifact, o Options, closer func() error) (*Image, []string, error) {
	_, hasDocker := a.index.members["manifest.json"]
	_, hasOCI := a.index.members["index.json"]
	switch {
	case !hasDocker && !hasOCI:
		return nil, nil, errors.New("neither manifest.json (docker save) nor index.json (OCI layout) is in it; this is not an image archive")
	case docker && hasDocker || !hasOCI:
		return a.dockerImage(ctx, want, about, o, closer)
	}
	raw, err := a.readSmall(ctx, "index.json", o.Limits.MaxManifestBytes)
	if err != nil {
		return nil, nil, err
	}
	img, err := openIndex(ctx, a, raw, want, about, o, closer)
	if err != nil {
		return nil, nil, err
	}
	var names []string
	for _, b := range img.blobs {
		names = append(names, blobPath(b.Digest))
	}
	return img, names, nil
}

type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// dockerImage opens an image by the manifest.json that `docker save` writes.
func (a *archive) dockerImage(ctx context.Context, want string, about bollwerk.Artifact, o Options, closer func() error) (*Image, []string, error) {
	raw, err := a.readSmall(ctx, "manifest.json", o.Limits.MaxManifestBytes)
	if err != nil {
		return nil, nil, err
	}
	var list []dockerManifest
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, nil, fmt.Errorf("manifest.json: not valid: %w", err)
	}
	m, err := chooseDocker(list, want)
	if err != nil {
		return nil, nil, err
	}
	if len(m.Layers) > o.Limits.MaxLayers {
		return nil, nil, &limited{fmt.Sprintf("manifest.json lists %d layers, limit %d", len(m.Layers), o.Limits.MaxLayers)}
	}
	config, err := a.readSmall(ctx, m.Config, 2*o.Limits.MaxManifestBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("image configuration: %w", err)
	}
	about.ConfigDigest = contentDigest("sha256", config)
	if hex := digestInName(m.Config); hex != "" && hex != about.ConfigDigest.Hex() {
		return nil, nil, &mismatch{fmt.Sprintf("image configuration %s: content has the digest %s", m.Config, about.ConfigDigest)}
	}
	c, err := parseConfig(config, about.ConfigDigest)
	if err != nil {
		return nil, nil, err
	}
	if o.Platform != "" {
		if p, err := parsePlatform(o.Platform); err != nil {
			return nil, nil, err
		} else if c.platform.OS != "" && !c.platform.matches(p) {
			return nil, nil, fmt.Errorf("the image is for platform %s, asked for was %s", c.platform, p)
		}
	}
	if len(m.RepoTags) > 0 && want == "" {
		about.Name = m.RepoTags[0]
	}
	layers := make([]layerBlob, len(m.Layers))
	names := make([]string, len(m.Layers))
	for i, l := range m.Layers {
		name, mem, err := a.index.find(l)
		if err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", i, err)
		}
		names[i] = name
		d := descriptor{Size: mem.size}
		if hex := digestInName(name); hex != "" && strings.HasPrefix(name, "blobs/sha256/") {
			d.Digest = bollwerk.Digest("sha256:" + hex)
		}
		layers[i] = layerBlob{desc: d, open: func(ctx context.Context) (io.ReadCloser, error) { return a.openMember(ctx, name) }}
	}
	img, err := newImage(about, c, layers, o.Limits, closer)
	return img, names, err
}

// digestInName returns the 64 hex digits a member is named by, if it is: the
// configuration as HEX.json, blobs as blobs/sha256/HEX.
func digestInName(name string) string {
	base := strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".json")
	if _, err := bollwerk.ParseDigest("sha256:" + base); err != nil {
		return ""
	}
	return base
}

func chooseDocker(list []dockerManifest, want string) (*dockerManifest, error) {
	if len(list) == 0 {
		return nil, errors.New("manifest.json lists no image")
	}
	names := map[string]bool{}
	for i, m := range list {
		for _, t := range m.RepoTags {
			names[t] = true
		}
		if want != "" && (slices.Contains(m.RepoTags, want) || slices.ContainsFunc(m.RepoTags, func(t string) bool { return sameTag(t, want) })) {
			return &list[i], nil
		}
	}
	if want != "" {
		return nil, fmt.Errorf("no image called %q; there are: %s", want, nameList(names))
	}
	if len(list) > 1 {
		return nil, fmt.Errorf("several images; name one behind a colon: %s", nameList(names))
	}
	return &list[0], nil
}

// sameTag compares names the way Docker shortens them.
func sameTag(a, b string) bool {
	norm := func(s string) string {
		s = strings.TrimPrefix(strings.TrimPrefix(s, "docker.io/"), "library/")
		if !strings.Contains(s[strings.LastIndexByte(s, '/')+1:], ":") {
			s += ":latest"
		}
		return s
	}
	return norm(a) == norm(b)
}
