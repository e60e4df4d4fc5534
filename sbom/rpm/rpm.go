// Package rpm owns reading the databases of rpm, in all three forms: Berkeley DB
// (Packages), NDB (Packages.db, SUSE) and SQLite (rpmdb.sqlite), and the text
// manifests of distroless images made from rpms.
//
// The three containers are read here, from memory or any io.ReaderAt: the known
// libraries want a file name, and nothing of an artifact is written to disk. Only
// what is needed to walk all records is implemented; nothing is written, locked or
// recovered.
package rpm

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/purl"
	"github.com/bollwerk/bollwerk/sbom"
)

const (
	// maxDatabase: a full desktop has 200 MB.
	maxDatabase = 512 << 20
	// maxHeader is rpm's own limit for a header (rpmlib, headerMaxbytes: 256 MB) cut
	// to what any package has; the kernel's file lists take 2 MB.
	maxHeader   = 32 << 20
	maxPackages = 200_000
)

// Extractor reads rpm databases.
type Extractor struct{}

func (Extractor) Name() string                  { return "rpm/database" }
func (Extractor) Ecosystem() bollwerk.Ecosystem { return sbom.FormatRPM }
func (Extractor) Hints() sbom.Hints {
	return sbom.Hints{Bases: []string{"Packages", "Packages.db", "rpmdb.sqlite", "rpmdb.sqlite-wal", "container-manifest-2"}}
}

// Wants knows var/lib/rpm, its new place usr/lib/sysimage/rpm, and ostree's.
func (Extractor) Wants(f *bollwerk.File) bool {
	i := strings.LastIndexByte(f.Path, '/')
	if i < 0 {
		return false
	}
	d := f.Path[:i]
	if f.Path[i+1:] == "container-manifest-2" {
		return strings.HasSuffix(d, "var/lib/rpmmanifest")
	}
	return strings.HasSuffix(d, "var/lib/rpm") || strings.HasSuffix(d, "usr/lib/sysimage/rpm") || strings.HasSuffix(d, "usr/share/rpm")
}

// errDamaged is the root of every complaint about a container.
var errDamaged = errors.New("damaged database")

// Extract tells the container by its first bytes.
func (Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	switch {
	case strings.HasSuffix(in.File.Path, "-wal"):
		// 32 bytes are the log's header; frames behind it are not in the database yet.
		if in.File.Size > 32 {
			in.Problem("rpm has not closed its database properly: changes in this write-ahead log are not read")
		}
		return inv, nil
	case strings.HasSuffix(in.File.Path, "container-manifest-2"):
		return manifest(ctx, in)
	}
	ra, size, err := in.ReaderAt(maxDatabase)
	if err != nil {
		return inv, err
	}
	if size == 0 {
		return inv, nil
	}
	record := func(blob []byte) error {
		if len(inv.Packages) >= maxPackages {
			return fmt.Errorf("more than %d packages, the rest is ignored", maxPackages)
		}
		p, err := header(blob)
		if err != nil {
			in.Problem("record %d: %v", len(inv.Packages), err)
			return ctx.Err()
		}
		// Keys to check signatures with are kept as packages.
		if p.Name != "gpg-pubkey" {
			inv.Packages = append(inv.Packages, p)
		}
		return ctx.Err()
	}
	return inv, walk(ra, size, record)
}

func walk(ra io.ReaderAt, size int64, record func([]byte) error) error {
	head := make([]byte, 512)
	n, err := ra.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return err
	}
	head = head[:n]
	switch {
	case len(head) >= 100 && string(head[:16]) == sqliteMagic:
		return walkSQLite(ra, size, record)
	case len(head) >= 32 && binary.LittleEndian.Uint32(head) == ndbMagic:
		return walkNDB(ra, size, record)
	case len(head) >= 72 && (binary.LittleEndian.Uint32(head[12:]) == bdbHashMagic || binary.BigEndian.Uint32(head[12:]) == bdbHashMagic):
		return walkBDB(ra, size, head, record)
	}
	return fmt.Errorf("neither Berkeley DB hash, NDB nor SQLite: %w", errDamaged)
}

// Tags of lib/rpmtag.h.
const (
	tagName       = 1000
	tagVersion    = 1001
	tagRelease    = 1002
	tagEpoch      = 1003
	tagVendor     = 1011
	tagLicense    = 1014
	tagArch       = 1022
	tagSourceRPM  = 1044
	tagDirIndexes = 1116
	tagBaseNames  = 1117
	tagDirNames   = 1118
	tagModularity = 5096
	tagSHA256     = 273 // of the header, hex
)

const (
	typeInt32       = 4
	typeString      = 6
	typeStringArray = 8
	typeI18NString  = 9
)

// header decodes a header as the database stores it: counts of index and data,
// the index, the data, all big-endian (rpm's docs/manual/format_header.md, without
// the 8 bytes of magic that package files have).
func header(b []byte) (bollwerk.Package, error) {
	var p bollwerk.Package
	if len(b) < 8 {
		return p, errors.New("header shorter than 8 bytes")
	}
	il, dl := uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
	if il > 1<<16 || 8+16*il+dl > uint64(len(b)) {
		return p, fmt.Errorf("header of %d entries and %d bytes does not fit %d bytes", il, dl, len(b))
	}
	index, data := b[8:8+16*il], b[8+16*il:8+16*il+dl]
	str := func(off uint32) string {
		if uint64(off) >= dl {
			return ""
		}
		s := data[off:]
		for i := range s {
			if s[i] == 0 {
				return string(s[:i])
			}
		}
		return ""
	}
	version, release, epoch := "", "", uint32(0)
	var dirIdx, bases, dirs []byte // index entries
	for e := index; len(e) >= 16; e = e[16:] {
		tag, typ, off := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:]), binary.BigEndian.Uint32(e[8:])
		text := typ == typeString || typ == typeI18NString || typ == typeStringArray
		switch {
		case tag == tagEpoch && typ == typeInt32:
			if uint64(off)+4 <= dl {
				epoch = binary.BigEndian.Uint32(data[off:])
			}
		case tag == tagDirIndexes && typ == typeInt32:
			dirIdx = e[:16]
		case tag == tagBaseNames && typ == typeStringArray:
			bases = e[:16]
		case tag == tagDirNames && typ == typeStringArray:
			dirs = e[:16]
		case !text:
		case tag == tagName:
			p.Name = str(off)
		case tag == tagVersion:
			version = str(off)
		case tag == tagRelease:
			release = str(off)
		case tag == tagArch:
			p.Arch = str(off)
		case tag == tagVendor:
			p.Vendor = vendor(str(off))
		case tag == tagLicense:
			if l := str(off); l != "" {
				p.Licenses = []string{l}
			}
		case tag == tagSourceRPM:
			if s := str(off); s != "" && s != "(none)" {
				p.Source = purl.SourceRPM(s)
			}
		case tag == tagModularity:
			p.Modularity = str(off)
		case tag == tagSHA256:
			if d, err := bollwerk.ParseDigest("sha256:" + str(off)); err == nil {
				p.Hashes = []bollwerk.Digest{d}
			}
		}
	}
	if p.Name == "" || version == "" {
		return p, errors.New("no name or no version")
	}
	p.Ecosystem = sbom.FormatRPM
	p.Version = version
	if release != "" {
		p.Version += "-" + release
	}
	if epoch != 0 {
		p.Version = fmt.Sprintf("%d:%s", epoch, p.Version)
	}
	p.Files = files(data, dirIdx, bases, dirs)
	return p, nil
}

// files joins base names with their directories and keeps what is worth it.
func files(data, dirIdx, bases, dirs []byte) []string {
	if dirIdx == nil || bases == nil || dirs == nil {
		return nil
	}
	entry := func(e []byte) (off, count uint64) {
		return uint64(binary.BigEndian.Uint32(e[8:])), uint64(binary.BigEndian.Uint32(e[12:]))
	}
	off, n := entry(dirs)
	if n > uint64(len(data)) || off > uint64(len(data)) {
		return nil
	}
	names := make([][]byte, 0, n)
	next := func(s []byte) (word, rest []byte, ok bool) {
		for i := range s {
			if s[i] == 0 {
				return s[:i], s[i+1:], true
			}
		}
		return nil, nil, false
	}
	rest := data[off:]
	for range n {
		var w []byte
		var ok bool
		if w, rest, ok = next(rest); !ok {
			return nil
		}
		names = append(names, w)
	}
	idxOff, idxN := entry(dirIdx)
	baseOff, baseN := entry(bases)
	if idxOff+4*idxN > uint64(len(data)) || baseOff > uint64(len(data)) || baseN > idxN {
		return nil
	}
	var out []string
	var path []byte
	rest = data[baseOff:]
	for i := range baseN {
		w, r, ok := next(rest)
		if !ok {
			break
		}
		rest = r
		d := binary.BigEndian.Uint32(data[idxOff+4*i:])
		if uint64(d) >= uint64(len(names)) {
			continue
		}
		path = append(append(path[:0], names[d]...), w...)
		rel := path
		if len(rel) > 0 && rel[0] == '/' {
			rel = rel[1:]
		}
		if sbom.Telling(rel) {
			out = append(out, string(rel))
		}
	}
	return out
}

// distributors are the Vendor tags of distributions themselves, by a word in them.
var distributors = []string{
	"red hat", "fedora", "centos", "almalinux", "rocky", "suse", "oracle", "amazon", "microsoft", "vmware",
	"openeuler", "mageia", "scientific linux", "cloudlinux", "eurolinux", "photon",
}

// vendor returns who published a package if it is not a distribution.
func vendor(s string) string {
	if s == "" || s == "(none)" {
		return ""
	}
	low := strings.ToLower(s)
	for _, d := range distributors {
		if strings.Contains(low, d) {
			return ""
		}
	}
	return s
}

// manifest reads what CBL-Mariner and Azure Linux leave in distroless images: the
// output of rpm -qa with ten columns, separated by tabs: name, version-release,
// install time, build time, vendor, epoch, size, arch, epoch number, source.
func manifest(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	var inv bollwerk.Inventory
	sc := bufio.NewScanner(io.LimitReader(in.Reader, 16<<20))
	for n := 1; sc.Scan(); n++ {
		c := strings.Split(sc.Text(), "\t")
		if len(c) < 10 || c[0] == "" || c[1] == "" {
			if strings.TrimSpace(sc.Text()) != "" {
				in.Problem("line %d does not have ten columns", n)
			}
			continue
		}
		p := bollwerk.Package{Name: c[0], Version: c[1], Arch: c[7], Ecosystem: sbom.FormatRPM, Vendor: vendor(c[4])}
		if e := c[5]; e != "" && e != "0" && e != "(none)" {
			p.Version = e + ":" + p.Version
		}
		if c[9] != "(none)" && c[9] != "" {
			p.Source = purl.SourceRPM(c[9])
		}
		inv.Packages = append(inv.Packages, p)
	}
	if err := sc.Err(); err != nil {
		return inv, err
	}
	return inv, ctx.Err()
}
