package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// layoutStore is a directory in the OCI image layout (image-spec image-layout.md).
type layoutStore struct{ root *os.Root }

func blobPath(d bollwerk.Digest) string { return "blobs/" + d.Algorithm() + "/" + d.Hex() }

func (s layoutStore) open(_ context.Context, d descriptor) (io.ReadCloser, error) {
	if _, err := bollwerk.ParseDigest(string(d.Digest)); err != nil {
		return nil, err
	}
	// os.Root keeps symbolic links from leading out of the layout.
	f, err := s.root.Open(blobPath(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("not in the layout: %s is missing", blobPath(d.Digest))
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", blobPath(d.Digest))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// OpenLayout opens an OCI image layout: DIR, DIR:TAG or DIR@sha256:….
func OpenLayout(ctx context.Context, target string, o Options) (*Image, error) {
	o = o.withDefaults()
	dir, want, err := splitPathRef(target)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	img, err := openLayout(ctx, root, dir, want, o)
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("oci layout %s: %w", dir, err)
	}
	return img, nil
}

func openLayout(ctx context.Context, root *os.Root, dir, want string, o Options) (*Image, error) {
	f, err := root.Open("index.json")
	if err != nil {
		return nil, fmt.Errorf("%w; an OCI image layout has the files oci-layout and index.json", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, o.Limits.MaxManifestBytes+1))
	if err != nil {
		return nil, err
	}
	s := layoutStore{root}
	about := bollwerk.Artifact{Ref: withRef("oci:"+dir, want), Name: withRef(dir, want)}
	return openIndex(ctx, s, raw, want, about, o, root.Close)
}

// openIndex opens the image that want (a tag, a digest or "") names in a layout's index.
func openIndex(ctx context.Context, s store, raw []byte, want string, about bollwerk.Artifact, o Options, closer func() error) (*Image, error) {
	if int64(len(raw)) > o.Limits.MaxManifestBytes {
		return nil, tooLarge("index.json", int64(len(raw)), o.Limits.MaxManifestBytes)
	}
	var index manifestDoc
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("index.json: not valid: %w", err)
	}
	p, err := parsePlatform(o.Platform)
	if err != nil {
		return nil, err
	}
	var candidates []descriptor
	names := map[string]bool{}
	for _, d := range index.Manifests {
		if isAttachment(d) {
			continue
		}
		name := d.Annotations["org.opencontainers.image.ref.name"]
		full := d.Annotations["io.containerd.image.name"]
		names[name] = true
		if want == "" || want == name || want == full || want == string(d.Digest) || strings.HasSuffix(full, ":"+want) {
			candidates = append(candidates, d)
		}
	}
	if len(candidates) == 0 && want != "" {
		// A digest inside a nested index is a legitimate wish too.
		if _, err := bollwerk.ParseDigest(want); err == nil {
			candidates = append(candidates, descriptor{Digest: bollwerk.Digest(want)})
		} else {
			return nil, fmt.Errorf("no image called %q; there are: %s", want, nameList(names))
		}
	}
	if len(candidates) == 0 {
		return nil, errors.New("index.json lists no image")
	}
	if want == "" && len(names) > 1 && !names[""] {
		return nil, fmt.Errorf("several images; name one behind a colon: %s", nameList(names))
	}
	r := &resolver{store: s, limit: o.Limits.MaxManifestBytes, want: p}
	var f *found
	if len(candidates) == 1 {
		f, err = r.resolve(ctx, candidates[0], nil)
	} else {
		top, merr := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": candidates})
		if merr != nil {
			return nil, merr
		}
		f, err = r.resolve(ctx, descriptor{Digest: "index.json"}, top)
	}
	if err != nil {
		return nil, err
	}
	return openManifest(ctx, s, f, about, o, closer)
}

func nameList(names map[string]bool) string {
	var list []string
	for n := range names {
		if n == "" {
			n = "(unnamed)"
		}
		list = append(list, n)
	}
	slices.Sort(list)
	if len(list) > 20 {
		list = append(list[:20], fmt.Sprintf("and %d more", len(list)-20))
	}
	return strings.Join(list, ", ")
}

// splitPathRef separates PATH from PATH:REF and PATH@DIGEST. What exists as it is
// written is a path.
func splitPathRef(target string) (path, ref string, err error) {
	_, serr := os.Stat(target)
	if serr == nil {
		return target, "", nil
	}
	for i := 0; i < len(target); i++ {
		if target[i] != ':' && target[i] != '@' || i == 0 {
			continue
		}
		if _, err := os.Stat(target[:i]); err == nil {
			return target[:i], target[i+1:], nil
		}
	}
	return "", "", serr
}

func withRef(s, ref string) string {
	switch {
	case ref == "":
		return s
	case strings.HasPrefix(ref, "sha256:"), strings.HasPrefix(ref, "sha512:"):
		return s + "@" + ref
	}
	return s + ":" + ref
}
