package vuln

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// The layout of the file is described in docs/database-format.md. In short: a
// header of one page of the processor, sections back to back, and a table with one
// checksum for each 64 KiB of the sections.
const (
	magic       = "bollwerk-advisor" // 16 bytes
	formatMajor = 1                  // a reader refuses another major number
	formatMinor = 0                  // a greater minor number only adds
	headerSize  = 4096
	pageSize    = 64 << 10

	// maxFileSize bounds what is mapped. The whole public OSV export compiles to
	// well under a gigabyte.
	maxFileSize = 8 << 30
	// maxBlock bounds one compressed block of prose after decompression.
	maxBlock = 1 << 20
)

// section names a part of the file.
type section int

const (
	sectionMeta     section = iota // JSON: what the database is
	sectionBlocks                  // zstd blocks of prose, back to back
	sectionBlockTab                // 16 bytes each: offset u64, length u32, raw length u32
	sectionAdvisory                // advisory records, back to back
	sectionAdvTab                  // u64 each: where a record ends
	sectionAdvIndex                // 16 bytes each: hash u64, advisory u32, 0 u32; sorted
	sectionPackage                 // package records, back to back
	sectionPkgTab                  // u64 each: where a record ends
	sectionPkgIndex                // 16 bytes each: hash u64, package u32, 0 u32; sorted
	sectionIssue                   // issue records (a name, KEV, EPSS), back to back
	sectionIssueTab                // u64 each: where a record ends
	sectionIssueIdx                // 16 bytes each: hash u64, issue u32, 0 u32; sorted
	sectionCount
)

var sectionNames = [sectionCount]string{"meta", "prose", "prose table", "advisories", "advisory table", "advisory index",
	"packages", "package table", "package index", "issues", "issue table", "issue index"}

func (s section) String() string { return sectionNames[s] }

// span is a piece of the file, in bytes from its start.
type span struct{ off, len uint64 }

// header is the first page of the file, little endian:
//
//	  0  magic, 16 bytes
//	 16  major u32, minor u32
//	 24  size of the file u64
//	 32  offset u64 and count u64 of the page checksums
//	 48  xxHash64 of the page checksums
//	 56  SHA-256 of everything between header and page checksums, 32 bytes
//	 88  number of sections u32, 0 u32
//	 96  sections: offset u64, length u64 each
//	4088 xxHash64 of the 4088 bytes before
type header struct {
	major, minor uint32
	size         uint64
	sums         span // len counts checksums, not bytes
	sumsHash     uint64
	digest       [32]byte
	sections     [sectionCount]span
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[16:], h.major)
	le.PutUint32(b[20:], h.minor)
	le.PutUint64(b[24:], h.size)
	le.PutUint64(b[32:], h.sums.off)
	le.PutUint64(b[40:], h.sums.len)
	le.PutUint64(b[48:], h.sumsHash)
	copy(b[56:88], h.digest[:])
	le.PutUint32(b[88:], uint32(sectionCount))
	for i, s := range h.sections {
		le.PutUint64(b[96+16*i:], s.off)
		le.PutUint64(b[96+16*i+8:], s.len)
	}
	le.PutUint64(b[headerSize-8:], xxhash.Sum64(b[:headerSize-8]))
	return b
}

// decodeHeader reads and checks a header against the true size of the file. After
// it every section lies inside the file, in front of the checksums.
func decodeHeader(b []byte, fileSize int64) (*header, error) {
	le := binary.LittleEndian
	if len(b) >= 24 && string(b[:16]) == magic {
		// The version comes first: a newer format may have another header.
		if major := le.Uint32(b[16:]); major > formatMajor {
			return nil, fmt.Errorf("format %d is newer than this program reads (%d): %w", major, formatMajor, ErrNewerFormat)
		} else if major < formatMajor {
			return nil, fmt.Errorf("format %d is no longer read, this program reads %d: %w", major, formatMajor, ErrOlderFormat)
		}
	} else if len(b) < 16 || string(b[:16]) != magic {
		return nil, ErrForeign
	}
	if len(b) < headerSize {
		return nil, fmt.Errorf("%d bytes, shorter than its header: %w", fileSize, ErrTruncated)
	}
	if le.Uint64(b[headerSize-8:]) != xxhash.Sum64(b[:headerSize-8]) {
		return nil, fmt.Errorf("header checksum differs: %w", errDamaged)
	}
	h := &header{
		major: le.Uint32(b[16:]), minor: le.Uint32(b[20:]),
		size:     le.Uint64(b[24:]),
		sums:     span{le.Uint64(b[32:]), le.Uint64(b[40:])},
		sumsHash: le.Uint64(b[48:]),
	}
	copy(h.digest[:], b[56:88])
	if h.size > maxFileSize {
		return nil, fmt.Errorf("header says %d bytes, more than the limit of %d: %w", h.size, int64(maxFileSize), errDamaged)
	}
	switch size := uint64(fileSize); {
	case size < h.size:
		return nil, fmt.Errorf("%d of %d bytes: %w", size, h.size, ErrTruncated)
	case size > h.size:
		return nil, fmt.Errorf("%d bytes too many: %w", size-h.size, errDamaged)
	}
	// A minor version may add sections behind those known here, never remove one.
	if n := le.Uint32(b[88:]); n < uint32(sectionCount) || n > (headerSize-8-96)/16 {
		return nil, fmt.Errorf("header says %d sections: %w", n, errDamaged)
	}
	if h.sums.off < headerSize || h.sums.off > h.size ||
		h.sums.len != (h.sums.off-headerSize+pageSize-1)/pageSize || h.size-h.sums.off != h.sums.len*8 {
		return nil, fmt.Errorf("checksum table does not fit the file: %w", errDamaged)
	}
	for i := range h.sections {
		s := span{le.Uint64(b[96+16*i:]), le.Uint64(b[96+16*i+8:])}
		if s.off < headerSize || s.off > h.sums.off || s.len > h.sums.off-s.off {
			return nil, fmt.Errorf("section %s lies outside the file: %w", section(i), errDamaged)
		}
		h.sections[i] = s
	}
	for _, t := range []section{sectionAdvTab, sectionPkgTab, sectionIssueTab} {
		if h.sections[t].len%8 != 0 {
			return nil, fmt.Errorf("section %s has a broken length: %w", t, errDamaged)
		}
	}
	for _, t := range []section{sectionBlockTab, sectionAdvIndex, sectionPkgIndex, sectionIssueIdx} {
		if h.sections[t].len%16 != 0 {
			return nil, fmt.Errorf("section %s has a broken length: %w", t, errDamaged)
		}
	}
	return h, nil
}
