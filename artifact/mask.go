package artifact

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// Mask says which files of the layers below a layer hides. The zero value hides
// nothing.
//
// It holds three sets of paths, following the OCI layer specification ("Whiteouts",
// image-spec layer.md) and what overlayfs and containerd's diff applier do:
//
//   - over: entries that are not directories, and white-outs. They hide the same
//     path and everything below it.
//   - opaque: directories with a `.wh..wh..opq` entry. They hide everything below.
//   - dirs: directories. They hide a file of the same path, and nothing below.
//
// A path is kept as the first 128 bits of its SHA-256. A fast hash would be cheaper
// by 10 ms per 100,000 entries, but who builds the upper layer chooses its paths: with
// a hash for which collisions can be made, a harmless new file could hide a vulnerable
// package from the scanner while it stays visible to the runtime. 16 bytes an entry
// keep the mask of a layer of 100,000 files at 1.6 MB.
type Mask struct {
	over, opaque, dirs []pathHash // each sorted, no duplicates
}

type pathHash struct{ hi, lo uint64 }

func hashPath(p string) pathHash {
	var buf [256]byte
	var b []byte
	if len(p) <= len(buf) {
		b = buf[:copy(buf[:], p)] // no allocation for ordinary paths
	} else {
		b = []byte(p)
	}
	sum := sha256.Sum256(b)
	return pathHash{binary.BigEndian.Uint64(sum[0:8]), binary.BigEndian.Uint64(sum[8:16])}
}

func (h pathHash) compare(o pathHash) int {
	switch {
	case h.hi < o.hi:
		return -1
	case h.hi > o.hi:
		return 1
	case h.lo < o.lo:
		return -1
	case h.lo > o.lo:
		return 1
	}
	return 0
}

func hasHash(set []pathHash, h pathHash) bool {
	_, ok := slices.BinarySearchFunc(set, h, pathHash.compare)
	return ok
}

// Hides reports whether a file (anything but a directory) at path, in any layer below
// this one, is not visible above it. path is cleaned and relative, as in bollwerk.File.
func (m *Mask) Hides(path string) bool {
	if m.empty() {
		return false
	}
	h := hashPath(path)
	if hasHash(m.over, h) || hasHash(m.dirs, h) {
		return true
	}
	for i := len(path); ; {
		i = strings.LastIndexByte(path[:i], '/')
		if i < 0 {
			break
		}
		h := hashPath(path[:i])
		if hasHash(m.over, h) || hasHash(m.opaque, h) {
			return true
		}
	}
	return hasHash(m.opaque, hashPath("")) // the root itself is opaque
}

func (m *Mask) empty() bool { return len(m.over) == 0 && len(m.opaque) == 0 && len(m.dirs) == 0 }

// Len is the number of paths the mask holds.
func (m *Mask) Len() int { return len(m.over) + len(m.opaque) + len(m.dirs) }

const maskMagic = "bwmask1\n"

// MarshalBinary writes the mask in a form that UnmarshalBinary of this and later
// versions reads: magic, three lengths (big-endian uint32), the hashes.
func (m Mask) MarshalBinary() ([]byte, error) {
	out := make([]byte, 0, len(maskMagic)+12+16*m.Len())
	out = append(out, maskMagic...)
	for _, set := range [][]pathHash{m.over, m.opaque, m.dirs} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(set)))
	}
	for _, set := range [][]pathHash{m.over, m.opaque, m.dirs} {
		for _, h := range set {
			out = binary.BigEndian.AppendUint64(out, h.hi)
			out = binary.BigEndian.AppendUint64(out, h.lo)
		}
	}
	return out, nil
}

var errMask = errors.New("layer mask: damaged")

// UnmarshalBinary reads what MarshalBinary wrote. Anything else is an error: a mask
// that was read wrongly would hide or show packages.
func (m *Mask) UnmarshalBinary(b []byte) error {
	if len(b) < len(maskMagic)+12 || string(b[:len(maskMagic)]) != maskMagic {
		return errMask
	}
	b = b[len(maskMagic):]
	var n [3]int
	total := 0
	for i := range n {
		n[i] = int(binary.BigEndian.Uint32(b[4*i:]))
		total += n[i]
	}
	b = b[12:]
	if len(b)%16 != 0 || len(b)/16 != total {
		return errMask
	}
	var sets [3][]pathHash
	for i := range sets {
		if n[i] == 0 {
			continue
		}
		sets[i] = make([]pathHash, n[i])
		for j := range sets[i] {
			h := pathHash{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
			b = b[16:]
			if j > 0 && sets[i][j-1].compare(h) >= 0 {
				return errMask
			}
			sets[i][j] = h
		}
	}
	m.over, m.opaque, m.dirs = sets[0], sets[1], sets[2]
	return nil
}

// MarshalText makes the mask a string in JSON (base64 of MarshalBinary).
func (m Mask) MarshalText() ([]byte, error) {
	b, err := m.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText reads what MarshalText wrote.
func (m *Mask) UnmarshalText(t []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, t)
	if err != nil {
		return errMask
	}
	return m.UnmarshalBinary(b)
}

// maskBuilder collects the paths of one layer.
type maskBuilder struct{ m Mask }

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh." // aufs' own files: .wh..wh.plnk, .wh..wh.aufs
	whiteoutOpaque = ".wh..wh..opq"
)

// whiteout notes the entry if it is a white-out and reports whether it is one:
// such an entry is a mark, not a file.
func (b *maskBuilder) whiteout(path string) bool {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	switch {
	case !strings.HasPrefix(name, whiteoutPrefix):
		return false
	case name == whiteoutOpaque:
		b.m.opaque = append(b.m.opaque, hashPath(dir))
	case strings.HasPrefix(name, whiteoutMeta):
		// Neither Docker nor containerd extracts these, and they hide nothing.
	default:
		target := name[len(whiteoutPrefix):]
		if target == "" || target == "." || target == ".." {
			return true // hides nothing that could exist
		}
		if dir != "" {
			target = dir + "/" + target
		}
		b.m.over = append(b.m.over, hashPath(target))
	}
	return true
}

func (b *maskBuilder) directory(path string) { b.m.dirs = append(b.m.dirs, hashPath(path)) }
func (b *maskBuilder) other(path pathHash)   { b.m.over = append(b.m.over, path) }

func (b *maskBuilder) finish() Mask {
	for _, set := range []*[]pathHash{&b.m.over, &b.m.opaque, &b.m.dirs} {
		slices.SortFunc(*set, pathHash.compare)
		*set = slices.Clip(slices.Compact(*set))
	}
	return b.m
}
