package oci

import (
	"context"
	"fmt"

	"github.com/bollwerk/bollwerk/artifact"
)

// Open opens an image by scheme; rest is the target without its prefix.
func Open(ctx context.Context, scheme artifact.Scheme, rest string, o Options) (artifact.Source, error) {
	switch scheme {
	case artifact.SchemeRegistry:
		return source(OpenRegistry(ctx, rest, o))
	case artifact.SchemeOCI:
		return source(OpenLayout(ctx, rest, o))
	case artifact.SchemeOCIArchive:
		return OpenArchive(ctx, rest, false, o)
	case artifact.SchemeDockerArchive:
		return OpenArchive(ctx, rest, true, o)
	case artifact.SchemeContainerd:
		return source(OpenContainerd(ctx, rest, o))
	case artifact.SchemeDocker, artifact.SchemePodman:
		img, err := openEngine(ctx, scheme, rest, o)
		if err != nil {
			return nil, err
		}
		return img, nil
	}
	return nil, fmt.Errorf("target %s:%s: not an image", scheme, rest)
}

// source keeps a nil pointer from becoming a Source that is not nil.
func source(img *Image, err error) (artifact.Source, error) {
	if err != nil {
		return nil, err
	}
	return img, nil
}
