package vuln

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"github.com/bollwerk/bollwerk"
)

// Verify reads the whole file: every checksum, the digest of the content, the order
// and the targets of every index, and every record. It returns the first fault.
func (db *DB) Verify(ctx context.Context) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.data == nil {
		return fileError(db.path, ErrClosed)
	}
	for _, step := range []func(context.Context) error{db.verifyPages, db.verifyAdvisories, db.verifyPackages, db.verifyIssues, db.verifyBlocks} {
		if err := step(ctx); err != nil {
			return fileError(db.path, err)
		}
	}
	return nil
}

func (db *DB) verifyPages(ctx context.Context) error {
	h := sha256.New()
	for p := uint64(0); p < db.h.sums.len; p++ {
		if p%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := db.checkPage(p); err != nil {
			return err
		}
		start := headerSize + p*pageSize
		_, _ = h.Write(db.data[start:min(start+pageSize, db.h.sums.off)])
	}
	if got := [32]byte(h.Sum(nil)); got != db.h.digest {
		return fmt.Errorf("content digest differs: %w", errDamaged)
	}
	return nil
}

func (db *DB) count(table section) uint64 { return db.h.sections[table].len / 8 }

// verifyTable checks that the ends of a table rise and that the last one is the
// section's.
func (db *DB) verifyTable(data, table section) error {
	b, err := db.part(table, 0, db.h.sections[table].len)
	if err != nil {
		return err
	}
	var last uint64
	for ; len(b) > 0; b = b[8:] {
		end := binary.LittleEndian.Uint64(b)
		if end < last {
			return fmt.Errorf("section %s is out of order: %w", table, errDamaged)
		}
		last = end
	}
	if last != db.h.sections[data].len {
		return fmt.Errorf("section %s ends at %d, its table says %d: %w", data, db.h.sections[data].len, last, errDamaged)
	}
	return nil
}

// verifyIndex checks an index and that hashOf finds its hash for every target.
func (db *DB) verifyIndex(index section, targets uint64, bears func(hash uint64, number uint32) (bool, error)) error {
	b, err := db.part(index, 0, db.h.sections[index].len)
	if err != nil {
		return err
	}
	var last uint64
	for ; len(b) > 0; b = b[16:] {
		hash, number := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])
		if hash < last || uint64(number) >= targets {
			return fmt.Errorf("section %s is out of order: %w", index, errDamaged)
		}
		last = hash
		ok, err := bears(hash, number)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("section %s points at the wrong record %d: %w", index, number, errDamaged)
		}
	}
	return nil
}

func (db *DB) verifyAdvisories(ctx context.Context) error {
	if err := db.verifyTable(sectionAdvisory, sectionAdvTab); err != nil {
		return err
	}
	n := db.count(sectionAdvTab)
	if n != uint64(db.meta.Records) {
		return fmt.Errorf("%d advisories, the description says %d: %w", n, db.meta.Records, errDamaged)
	}
	for i := uint64(0); i < n; i++ {
		if i%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		r, err := db.advisoryAt(i)
		if err != nil {
			return err
		}
		found, err := db.find(sectionAdvIndex, xxhash.Sum64String(r.id), nil)
		if err != nil {
			return err
		}
		if !containsNumber(found, uint32(i)) {
			return fmt.Errorf("advisory %s is not in the index: %w", r.id, errDamaged)
		}
		for _, k := range r.keys {
			b, err := db.findPackage(bollwerk.Ecosystem(k.ecosystem), k.name)
			if err != nil {
				return err
			}
			if b == nil {
				return fmt.Errorf("advisory %s: package %s is missing: %w", r.id, k.name, errDamaged)
			}
		}
	}
	return db.verifyIndex(sectionAdvIndex, n, func(hash uint64, number uint32) (bool, error) {
		r, err := db.advisoryAt(uint64(number))
		if err != nil {
			return false, err
		}
		for _, l := range [][]string{{r.id}, r.aliases, r.upstream, r.related} {
			for _, name := range l {
				if xxhash.Sum64String(name) == hash {
					return true, nil
				}
			}
		}
		return false, nil
	})
}

func (db *DB) advisoryAt(i uint64) (advisoryRecord, error) {
	b, err := db.record(sectionAdvisory, sectionAdvTab, i)
	if err != nil {
		return advisoryRecord{}, err
	}
	r := decodeAdvisory(b)
	return r, r.err
}

func containsNumber(l []uint32, v uint32) bool {
	for _, x := range l {
		if x == v {
			return true
		}
	}
	return false
}

func (db *DB) verifyPackages(ctx context.Context) error {
	if err := db.verifyTable(sectionPackage, sectionPkgTab); err != nil {
		return err
	}
	n, entries := db.count(sectionPkgTab), 0
	var en entry
	for i := uint64(0); i < n; i++ {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		b, err := db.record(sectionPackage, sectionPkgTab, i)
		if err != nil {
			return err
		}
		d := decoder{b: b}
		eco, name := d.string(), d.string()
		issues := d.count()
		for j := 0; j < issues && d.err == nil; j++ {
			if d.uint() >= db.count(sectionIssueTab) {
				d.fail("issue number")
			}
		}
		k := d.count()
		for j := 0; j < k && d.err == nil; j++ {
			if err := errors.Join(en.decode(d.bytes(), issues), en.decodeTail()); err != nil {
				return fmt.Errorf("package %s: %w", name, err)
			}
			if n := en.tail.rest(); n != 0 {
				return fmt.Errorf("package %s: %d bytes too many in an entry: %w", name, n, errDamaged)
			}
			if en.advisory >= db.count(sectionAdvTab) {
				return fmt.Errorf("package %s: no advisory %d: %w", name, en.advisory, errDamaged)
			}
			entries++
		}
		if d.err != nil {
			return fmt.Errorf("package record %d: %w", i, d.err)
		}
		if d.rest() != 0 {
			return fmt.Errorf("package %s: %d bytes too many: %w", name, d.rest(), errDamaged)
		}
		if got, err := db.findPackage(bollwerk.Ecosystem(eco), name); err != nil {
			return err
		} else if got == nil {
			return fmt.Errorf("package %s of %s is not in the index: %w", name, eco, errDamaged)
		}
	}
	if entries != db.meta.Entries {
		return fmt.Errorf("%d affected entries, the description says %d: %w", entries, db.meta.Entries, errDamaged)
	}
	return db.verifyIndex(sectionPkgIndex, n, func(hash uint64, number uint32) (bool, error) {
		b, err := db.record(sectionPackage, sectionPkgTab, uint64(number))
		if err != nil {
			return false, err
		}
		d := decoder{b: b}
		eco, name := d.string(), d.string()
		return packageHash(bollwerk.Ecosystem(eco), name) == hash, d.err
	})
}

func (db *DB) verifyIssues(context.Context) error {
	if err := db.verifyTable(sectionIssue, sectionIssueTab); err != nil {
		return err
	}
	at := func(i uint64) (issueRecord, error) {
		b, err := db.record(sectionIssue, sectionIssueTab, i)
		if err != nil {
			return issueRecord{}, err
		}
		r := decodeIssue(b)
		return r, r.err
	}
	n := db.count(sectionIssueTab)
	for i := uint64(0); i < n; i++ {
		r, err := at(i)
		if err != nil {
			return err
		}
		if _, ok, err := db.issueByName(r.name); err != nil {
			return err
		} else if !ok {
			return fmt.Errorf("issue %s is not in the index: %w", r.name, errDamaged)
		}
	}
	return db.verifyIndex(sectionIssueIdx, n, func(hash uint64, number uint32) (bool, error) {
		r, err := at(uint64(number))
		return err == nil && xxhash.Sum64String(r.name) == hash, err
	})
}

func (db *DB) verifyBlocks(ctx context.Context) error {
	for i := uint64(0); i < db.h.sections[sectionBlockTab].len/16; i++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := db.block(i); err != nil {
			return err
		}
	}
	return nil
}
