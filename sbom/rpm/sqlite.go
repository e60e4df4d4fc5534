package rpm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// SQLite 3 (https://www.sqlite.org/fileformat2.html): just enough to find the
// table "Packages" (hnum INTEGER PRIMARY KEY, blob BLOB) and to walk its b-tree.

const (
	sqliteMagic    = "SQLite format 3\x00"
	sqliteLeaf     = 0x0d
	sqliteInterior = 0x05
	sqliteMaxDepth = 24 // a page has at least two children: enough for any file
)

type sqlite struct {
	ra     io.ReaderAt
	page   int64
	usable int64
	pages  int64
	seen   int64 // pages visited, against loops
}

func walkSQLite(ra io.ReaderAt, size int64, record func([]byte) error) error {
	var head [100]byte
	if _, err := ra.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return err
	}
	s := sqlite{ra: ra, page: int64(binary.BigEndian.Uint16(head[16:]))}
	if s.page == 1 {
		s.page = 65536
	}
	s.usable = s.page - int64(head[20])
	if s.page < 512 || s.page&(s.page-1) != 0 || s.usable < 480 {
		return fmt.Errorf("page size %d: %w", s.page, errDamaged)
	}
	s.pages = size / s.page
	var root int64
	err := s.table(1, 0, func(payload []byte) error {
		cols, err := sqliteRecord(payload, 5)
		if err != nil {
			return err
		}
		if string(cols[0]) == "table" && string(cols[1]) == "Packages" {
			for _, b := range cols[3] {
				root = root<<8 | int64(b)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if root <= 0 {
		return fmt.Errorf("no table Packages: %w", errDamaged)
	}
	s.seen = 0
	return s.table(root, 0, func(payload []byte) error {
		cols, err := sqliteRecord(payload, 2)
		if err != nil {
			return err
		}
		if len(cols[1]) == 0 {
			return nil
		}
		return record(cols[1])
	})
}

func (s *sqlite) table(no int64, depth int, row func([]byte) error) error {
	if depth > sqliteMaxDepth || no < 1 || no > s.pages {
		return fmt.Errorf("page %d: %w", no, errDamaged)
	}
	if s.seen++; s.seen > s.pages {
		return fmt.Errorf("pages form a loop: %w", errDamaged)
	}
	page := make([]byte, s.page)
	if _, err := s.ra.ReadAt(page, (no-1)*s.page); err != nil && err != io.EOF {
		return err
	}
	h := page
	if no == 1 {
		h = page[100:]
	}
	kind, cells := h[0], int(binary.BigEndian.Uint16(h[3:]))
	ptrs := h[8:]
	if kind == sqliteInterior {
		ptrs = h[12:]
	} else if kind != sqliteLeaf {
		return fmt.Errorf("page %d has type %d: %w", no, kind, errDamaged)
	}
	if 2*cells > len(ptrs) {
		return fmt.Errorf("page %d has %d cells: %w", no, cells, errDamaged)
	}
	for i := range cells {
		off := int(binary.BigEndian.Uint16(ptrs[2*i:]))
		if off+4 > int(s.usable) {
			return fmt.Errorf("page %d, cell %d: %w", no, i, errDamaged)
		}
		if kind == sqliteInterior {
			if err := s.table(int64(binary.BigEndian.Uint32(page[off:])), depth+1, row); err != nil {
				return err
			}
			continue
		}
		payload, err := s.payload(page[off:s.usable])
		if err != nil {
			return fmt.Errorf("page %d, cell %d: %w", no, i, err)
		}
		if err := row(payload); err != nil {
			return err
		}
	}
	if kind == sqliteInterior {
		return s.table(int64(binary.BigEndian.Uint32(h[8:])), depth+1, row)
	}
	return nil
}

// payload reads a cell of a table leaf, following its overflow pages.
func (s *sqlite) payload(cell []byte) ([]byte, error) {
	n, k := uvarint(cell)
	_, r := uvarint(cell[min(k, len(cell)):])
	if k == 0 || r == 0 || n > maxHeader || int64(n) > s.pages*s.page {
		return nil, errDamaged
	}
	cell = cell[k+r:]
	total := int64(n)
	local := total
	if maxLocal := s.usable - 35; total > maxLocal {
		minLocal := (s.usable-12)*32/255 - 23
		local = minLocal + (total-minLocal)%(s.usable-4)
		if local > maxLocal {
			local = minLocal
		}
	}
	if local > int64(len(cell)) {
		return nil, errDamaged
	}
	if local == total {
		return cell[:total], nil
	}
	if local+4 > int64(len(cell)) {
		return nil, errDamaged
	}
	out := append(make([]byte, 0, total), cell[:local]...)
	next := int64(binary.BigEndian.Uint32(cell[local:]))
	buf := make([]byte, s.usable)
	for int64(len(out)) < total {
		if next < 1 || next > s.pages {
			return nil, errDamaged
		}
		if _, err := s.ra.ReadAt(buf, (next-1)*s.page); err != nil && err != io.EOF {
			return nil, err
		}
		next = int64(binary.BigEndian.Uint32(buf))
		out = append(out, buf[4:4+min(s.usable-4, total-int64(len(out)))]...)
	}
	return out, nil
}

// sqliteRecord returns the first n columns as raw bytes.
func sqliteRecord(b []byte, n int) ([][]byte, error) {
	hl, k := uvarint(b)
	if k == 0 || hl > uint64(len(b)) || hl < uint64(k) {
		return nil, errDamaged
	}
	head, body := b[k:hl], b[hl:]
	cols := make([][]byte, 0, n)
	for len(cols) < n {
		t, k := uvarint(head)
		if k == 0 {
			return nil, errors.Join(fmt.Errorf("record of %d columns, want %d", len(cols), n), errDamaged)
		}
		head = head[k:]
		var l uint64
		switch {
		case t <= 4:
			l = t
		case t == 5:
			l = 6
		case t == 6, t == 7:
			l = 8
		case t >= 12:
			l = (t - 12) / 2
		}
		if l > uint64(len(body)) {
			return nil, errDamaged
		}
		cols = append(cols, body[:l])
		body = body[l:]
	}
	return cols, nil
}

// uvarint reads SQLite's variable-length integer: big-endian, seven bits a byte, at
// most nine bytes of which the last has eight. It returns the bytes used, 0 if b
// ends too early.
func uvarint(b []byte) (uint64, int) {
	var v uint64
	for i := 0; i < len(b) && i < 9; i++ {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i]&0x80 == 0 {
			return v, i + 1
		}
	}
	return 0, 0
}
