package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/bollwerk/bollwerk"
)

const (
	annotationRefName       = "org.opencontainers.image.ref.name"
	annotationContainerName = "io.containerd.image.name"
	// annotationCosignKind is what `cosign save` puts on the entries of index.json
	// instead of tags: ".../image", ".../sigs", ".../atts".
	annotationCosignKind = "kind"
	cosignKindPrefix     = "dev.cosignproject.cosign/"
	// maxLayoutEntries bounds how many entries of a layout are opened to look for subjects.
	maxLayoutEntries = 1000
)

// NewLayoutRepository opens an OCI image layout, where signatures lie beside the
// image in the same index: under cosign's or the referrers' tag (cosign save,
// regctl), or as untagged manifests with a subject (oras copy -r). target is
// DIR, DIR:TAG or DIR@DIGEST; the second result is what the tag or digest names, or
// the layout's only image. The folder is opened as a root, so a symbolic link
// cannot lead out of it. Call Close.
func NewLayoutRepository(target string) (*LayoutRepository, string, error) {
	dir, reference, err := splitPathRef(target)
	if err != nil {
		return nil, "", fmt.Errorf("oci:%s: %w", target, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", fmt.Errorf("oci:%s: %w", dir, err)
	}
	s := &layoutSource{root: root}
	l := &LayoutRepository{Repository: Repository{name: "oci:" + dir, source: s}, root: root}
	if s.index, err = s.readIndex(); err != nil {
		root.Close()
		return nil, "", fmt.Errorf("oci:%s: %w", dir, err)
	}
	if reference == "" {
		if reference, err = s.onlyImage(); err != nil {
			root.Close()
			return nil, "", fmt.Errorf("oci:%s: %w", dir, err)
		}
	}
	return l, reference, nil
}

// LayoutRepository is a Repository over a folder.
type LayoutRepository struct {
	Repository
	root *os.Root
}

// Close releases the folder.
func (l *LayoutRepository) Close() error { return l.root.Close() }

type layoutSource struct {
	root  *os.Root
	index []bollwerk.Descriptor
}

func (s *layoutSource) readFile(path string, limit int64) ([]byte, error) {
	f, err := s.root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() { // a FIFO would block for ever
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	return readAtMost(f, limit)
}

func (s *layoutSource) readIndex() ([]bollwerk.Descriptor, error) {
	raw, err := s.readFile("index.json", maxReferrerPage)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("not an OCI image layout: %w", err)
		}
		return nil, err
	}
	return parseIndex(raw)
}

// onlyImage picks the image when the user names none: the only entry that is
// neither a signature nor anything else that refers to another manifest.
func (s *layoutSource) onlyImage() (string, error) {
	var images []bollwerk.Descriptor
	for _, d := range s.index {
		kind := d.Annotations[annotationCosignKind]
		if strings.HasPrefix(kind, cosignKindPrefix) {
			if kind == cosignKindPrefix+"image" || kind == cosignKindPrefix+"imageIndex" {
				images = append(images, d)
			}
			continue
		}
		if isBesideTag(d.Annotations[annotationRefName]) || d.ArtifactType != "" {
			continue
		}
		if of, _ := s.refersTo(d); of != "" { // an unreadable one counts as an image: it will be named
			continue
		}
		images = append(images, d)
	}
	switch len(images) {
	case 1:
		return string(images[0].Digest), nil
	case 0:
		return "", errors.New("the layout holds no image")
	}
	names := make([]string, 0, 4)
	for _, d := range images {
		n := d.Annotations[annotationRefName]
		if n == "" {
			n = string(d.Digest)
		}
		if names = append(names, n); len(names) == 4 {
			break
		}
	}
	return "", fmt.Errorf("the layout holds %d images; name one: %s", len(images), strings.Join(names, ", "))
}

// isBesideTag recognises "sha256-<hex>", with or without a suffix such as ".sig".
func isBesideTag(tag string) bool {
	rest, ok := strings.CutPrefix(tag, "sha256-")
	if !ok || len(rest) < 64 {
		return false
	}
	return strings.Trim(rest[:64], "0123456789abcdef") == "" && (len(rest) == 64 || rest[64] == '.')
}

// refersTo returns the subject of an entry's manifest, or "" when it names none.
func (s *layoutSource) refersTo(d bollwerk.Descriptor) (string, error) {
	raw, err := s.blob(context.Background(), d.Digest, maxReferrerPage)
	if err != nil {
		return "", err
	}
	var m struct {
		Subject struct {
			Digest string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return "", err
	}
	return m.Subject.Digest, nil
}

func (s *layoutSource) blob(ctx context.Context, digest bollwerk.Digest, limit int64) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, err := bollwerk.ParseDigest(string(digest)); err != nil {
		return nil, err
	}
	return s.readFile("blobs/"+digest.Algorithm()+"/"+digest.Hex(), limit)
}

func (s *layoutSource) manifest(ctx context.Context, reference string, limit int64) ([]byte, string, error) {
	d, err := s.find(reference)
	if err != nil {
		return nil, "", err
	}
	raw, err := s.blob(ctx, d.Digest, limit)
	if err != nil {
		return nil, "", err
	}
	if got := contentDigest(d.Digest.Algorithm(), raw); got != d.Digest {
		return nil, "", fmt.Errorf("content has digest %s, the layout says %s", got, d.Digest)
	}
	return raw, d.MediaType, nil
}

// find looks a reference up: a digest, a tag, or the full name of an image as
// some tools write it.
func (s *layoutSource) find(reference string) (bollwerk.Descriptor, error) {
	if d, err := bollwerk.ParseDigest(reference); err == nil {
		for _, e := range s.index {
			if e.Digest == d {
				return e, nil
			}
		}
		return bollwerk.Descriptor{Digest: d}, nil // a manifest inside an index
	}
	for _, e := range s.index {
		for _, n := range []string{e.Annotations[annotationRefName], e.Annotations[annotationContainerName]} {
			if n != "" && (n == reference || strings.HasSuffix(n, ":"+reference)) {
				return e, nil
			}
		}
	}
	return bollwerk.Descriptor{}, fmt.Errorf("the layout's index does not name it: %w", fs.ErrNotExist)
}

func (s *layoutSource) referrers(ctx context.Context, digest bollwerk.Digest) ([]bollwerk.Descriptor, error) {
	if len(s.index) > maxLayoutEntries {
		return nil, fmt.Errorf("index.json has %d entries, more than the bound of %d", len(s.index), maxLayoutEntries)
	}
	var list []bollwerk.Descriptor
	for _, d := range s.index {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		kind := d.Annotations[annotationCosignKind]
		if kind == cosignKindPrefix+"sigs" || kind == cosignKindPrefix+"atts" {
			// No tag and no subject: what is inside says what it is for.
			list = append(list, d)
			continue
		}
		if d.Digest == digest {
			continue
		}
		switch of, err := s.refersTo(d); {
		case err == nil && of == string(digest):
			list = append(list, d)
		case err != nil && (d.ArtifactType != "" || !errors.Is(err, fs.ErrNotExist)):
			// It may be a signature; whoever fetches it says why that failed. A
			// plain image that is not there is how sparse layouts look.
			list = append(list, d)
		}
	}
	raw, _, err := s.manifest(ctx, fallbackTag(digest), maxReferrerPage)
	if errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	if err != nil {
		return nil, err
	}
	more, err := parseIndex(raw)
	if err != nil {
		return nil, err
	}
	seen := map[bollwerk.Digest]bool{}
	for _, d := range list {
		seen[d.Digest] = true
	}
	for _, d := range more {
		if !seen[d.Digest] {
			list = append(list, d)
		}
	}
	return list, nil
}
