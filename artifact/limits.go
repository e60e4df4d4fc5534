package artifact

import (
	"errors"
	"fmt"
	"sync/atomic"
)

// Limits bounds hostile input. A zero field means its default.
type Limits struct {
	// MaxEntries of one part. Each costs 16 bytes in its Mask. Default 3,000,000.
	MaxEntries int
	// MaxFileSize is the size up to which a file's content is shown to a visitor;
	// a greater one becomes a Problem. Holes of sparse files count. Default 4 GiB.
	MaxFileSize int64
	// MaxLayerBytes bounds the uncompressed bytes of one part, and what its visitor
	// reads of it, holes of sparse files included. Default 32 GiB.
	MaxLayerBytes int64
	// MaxTotalBytes bounds the uncompressed bytes of all parts together. Default 128 GiB.
	MaxTotalBytes int64
	// MaxRatio bounds uncompressed to stored bytes, beyond the first 256 MiB of
	// output: deflate cannot exceed 1032:1, real layers stay below 20:1. Default 200.
	MaxRatio int
	// MaxLayers of one image. Container runtimes stop at 127 (overlayfs) or 500. Default 1000.
	MaxLayers int
	// MaxManifestBytes bounds manifests, indexes and image configurations. Registries
	// refuse manifests over 4 MiB. Default 4 MiB; configurations may be twice that.
	MaxManifestBytes int64
	// MaxWindow bounds the window of a zstd stream, which is memory. Default 64 MiB.
	MaxWindow uint64
}

// ratioFree is the output that needs no proportion to the input: a small image with
// one large file of zeros is not an attack.
const ratioFree = 256 << 20

// WithDefaults fills in the fields that are zero.
func (l Limits) WithDefaults() Limits {
	def := func(p *int64, v int64) {
		if *p <= 0 {
			*p = v
		}
	}
	if l.MaxEntries <= 0 {
		l.MaxEntries = 3_000_000
	}
	def(&l.MaxFileSize, 4<<30)
	def(&l.MaxLayerBytes, 32<<30)
	def(&l.MaxTotalBytes, 128<<30)
	if l.MaxRatio <= 0 {
		l.MaxRatio = 200
	}
	if l.MaxLayers <= 0 {
		l.MaxLayers = 1000
	}
	def(&l.MaxManifestBytes, 4<<20)
	if l.MaxWindow == 0 {
		l.MaxWindow = 64 << 20
	}
	return l
}

// ErrLimit is wrapped by every error that says an artifact exceeds Limits.
var ErrLimit = errors.New("limit exceeded")

// ErrDigest is wrapped by every error that says content does not have its digest.
var ErrDigest = errors.New("digest mismatch")

// limitError reads as its message and is ErrLimit.
type limitError struct{ msg string }

func (e *limitError) Error() string        { return e.msg }
func (e *limitError) Is(target error) bool { return target == ErrLimit }

func limitErrorf(format string, args ...any) error {
	return &limitError{fmt.Sprintf(format, args...)}
}

// Budget counts the uncompressed bytes of all parts of one artifact.
type Budget struct {
	limits Limits
	used   atomic.Int64
}

// NewBudget returns a budget of l.MaxTotalBytes.
func NewBudget(l Limits) *Budget { return &Budget{limits: l.WithDefaults()} }

// Limits returns the limits with defaults filled in.
func (b *Budget) Limits() Limits { return b.limits }

// spend takes n bytes.
func (b *Budget) spend(n int64) error {
	if b.used.Add(n) > b.limits.MaxTotalBytes {
		return limitErrorf("the artifact is larger than %d bytes uncompressed in total", b.limits.MaxTotalBytes)
	}
	return nil
}
