package rpm

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Berkeley DB 4 and 5, access method "hash", as rpm used it until 4.15. Layout:
// dbinc/db_page.h of Berkeley DB. All pages are walked in order rather than bucket
// by bucket: every record is on some hash page.

const (
	bdbHashMagic = 0x061561

	bdbPageUnsorted = 2  // P_HASH_UNSORTED
	bdbPageOverflow = 7  // P_OVERFLOW
	bdbPageHash     = 13 // P_HASH

	bdbKeyData = 1 // H_KEYDATA: the item is on the page
	bdbOffPage = 3 // H_OFFPAGE: the item is a chain of overflow pages

	bdbPageHeader = 26
)

type bdb struct {
	ra       io.ReaderAt
	bo       binary.ByteOrder
	pageSize int64
	last     uint32
	pageBuf  []byte
}

func walkBDB(ra io.ReaderAt, size int64, head []byte, record func([]byte) error) error {
	d := bdb{ra: ra, bo: binary.LittleEndian}
	if binary.BigEndian.Uint32(head[12:]) == bdbHashMagic {
		d.bo = binary.BigEndian
	}
	d.pageSize = int64(d.bo.Uint32(head[20:]))
	if d.pageSize < 512 || d.pageSize > 64<<10 || d.pageSize&(d.pageSize-1) != 0 {
		return fmt.Errorf("page size %d: %w", d.pageSize, errDamaged)
	}
	if head[24] != 0 {
		return fmt.Errorf("encrypted: %w", errDamaged)
	}
	d.last = d.bo.Uint32(head[32:])
	pages := size / d.pageSize
	truncated := int64(d.last) >= pages
	if truncated {
		d.last = uint32(max(pages-1, 0))
	}
	page := make([]byte, d.pageSize)
	d.pageBuf = make([]byte, d.pageSize)
	for no := uint32(1); no <= d.last && no != 0; no++ {
		if _, err := ra.ReadAt(page, int64(no)*d.pageSize); err != nil && err != io.EOF {
			return err
		}
		if t := page[25]; t != bdbPageHash && t != bdbPageUnsorted {
			continue
		}
		if err := d.hashPage(page, record); err != nil {
			return fmt.Errorf("page %d: %w", no, err)
		}
	}
	if truncated {
		return fmt.Errorf("file ends before its last page: %w", errDamaged)
	}
	return nil
}

// hashPage visits the values, the odd items.
func (d *bdb) hashPage(page []byte, record func([]byte) error) error {
	n := int(d.bo.Uint16(page[20:]))
	if bdbPageHeader+2*n > len(page) {
		return fmt.Errorf("%d items: %w", n, errDamaged)
	}
	at := func(i int) int { return int(d.bo.Uint16(page[bdbPageHeader+2*i:])) }
	for i := 1; i < n; i += 2 {
		off := at(i)
		if off >= len(page) || off < bdbPageHeader {
			return fmt.Errorf("item %d at %d: %w", i, off, errDamaged)
		}
		switch page[off] {
		case bdbKeyData:
			// Items grow down from the end of the page; this one ends where the one
			// before it begins.
			end := at(i - 1)
			if end > len(page) || end <= off {
				return fmt.Errorf("item %d ends at %d: %w", i, end, errDamaged)
			}
			// A record of four bytes is rpm's counter of packages.
			if end-off-1 >= 24 {
				if err := record(page[off+1 : end]); err != nil {
					return err
				}
			}
		case bdbOffPage:
			if off+12 > len(page) {
				return fmt.Errorf("item %d: %w", i, errDamaged)
			}
			blob, err := d.chain(d.bo.Uint32(page[off+4:]), d.bo.Uint32(page[off+8:]))
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

// chain reads an item of length n from overflow pages.
func (d *bdb) chain(no, n uint32) ([]byte, error) {
	if n > maxHeader || int64(n) > (int64(d.last)+1)*d.pageSize {
		return nil, fmt.Errorf("item of %d bytes: %w", n, errDamaged)
	}
	out := make([]byte, 0, n)
	for steps := uint32(0); no != 0 && uint32(len(out)) < n; steps++ {
		if no > d.last || steps > d.last {
			return nil, fmt.Errorf("chain leads to page %d: %w", no, errDamaged)
		}
		if _, err := d.ra.ReadAt(d.pageBuf, int64(no)*d.pageSize); err != nil && err != io.EOF {
			return nil, err
		}
		p := d.pageBuf
		if p[25] != bdbPageOverflow {
			return nil, fmt.Errorf("page %d is no overflow page: %w", no, errDamaged)
		}
		l := int(d.bo.Uint16(p[22:])) // OV_LEN: hf_offset of such a page
		if bdbPageHeader+l > len(p) {
			return nil, fmt.Errorf("page %d holds %d bytes: %w", no, l, errDamaged)
		}
		out = append(out, p[bdbPageHeader:bdbPageHeader+l]...)
		no = d.bo.Uint32(p[16:])
	}
	if uint32(len(out)) < n {
		return nil, fmt.Errorf("chain ends after %d of %d bytes: %w", len(out), n, errDamaged)
	}
	return out[:n], nil
}
