package rpm

import (
	"encoding/binary"
	"fmt"
	"io"
)

// NDB, rpm's own container (lib/backend/ndb/rpmpkg.c): a table of slots in the
// first pages, blobs in blocks of 16 bytes behind it, little-endian.

const (
	ndbMagic     = 'R' | 'p'<<8 | 'm'<<16 | 'P'<<24
	ndbSlotMagic = 'S' | 'l'<<8 | 'o'<<16 | 't'<<24
	ndbBlobMagic = 'B' | 'l'<<8 | 'b'<<16 | 'S'<<24

	ndbPage  = 4096
	ndbBlock = 16
	ndbSlot  = 16
)

func walkNDB(ra io.ReaderAt, size int64, record func([]byte) error) error {
	bo := binary.LittleEndian
	var head [32]byte
	if _, err := ra.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return err
	}
	if v := bo.Uint32(head[4:]); v != 0 {
		return fmt.Errorf("version %d of NDB: %w", v, errDamaged)
	}
	pages := int64(bo.Uint32(head[12:]))
	if pages <= 0 || pages*ndbPage > size || pages > 1<<16 {
		return fmt.Errorf("%d pages of slots: %w", pages, errDamaged)
	}
	page := make([]byte, ndbPage)
	for n := range pages {
		if _, err := ra.ReadAt(page, n*ndbPage); err != nil && err != io.EOF {
			return err
		}
		first := 0
		if n == 0 {
			first = 2 * ndbSlot // the header takes two slots
		}
		for off := first; off < ndbPage; off += ndbSlot {
			s := page[off:]
			if bo.Uint32(s) != ndbSlotMagic {
				return fmt.Errorf("slot at %d: %w", n*ndbPage+int64(off), errDamaged)
			}
			idx, blk := bo.Uint32(s[4:]), int64(bo.Uint32(s[8:]))
			if idx == 0 || blk == 0 {
				continue // free
			}
			blob, err := ndbBlob(ra, size, blk*ndbBlock, idx)
			if err != nil {
				return err
			}
			if err := record(blob); err != nil {
				return err
			}
		}
	}
	return nil
}

func ndbBlob(ra io.ReaderAt, size, off int64, idx uint32) ([]byte, error) {
	bo := binary.LittleEndian
	var head [16]byte
	if off+16 > size {
		return nil, fmt.Errorf("blob of package %d at %d: %w", idx, off, errDamaged)
	}
	if _, err := ra.ReadAt(head[:], off); err != nil && err != io.EOF {
		return nil, err
	}
	n := int64(bo.Uint32(head[12:]))
	if bo.Uint32(head[:]) != ndbBlobMagic || bo.Uint32(head[4:]) != idx || n > maxHeader || off+16+n > size {
		return nil, fmt.Errorf("blob of package %d at %d: %w", idx, off, errDamaged)
	}
	blob := make([]byte, n)
	if _, err := ra.ReadAt(blob, off+16); err != nil && err != io.EOF {
		return nil, err
	}
	return blob, nil
}
