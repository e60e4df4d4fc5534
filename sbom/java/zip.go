package java

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/bollwerk/bollwerk/sbom"
)

// A reader of zip directories that keeps nothing: archive/zip builds a header for
// every entry, which for a hostile file of 100 MB is two million headers in half a
// gigabyte of memory. Here entries are visited one by one.
//
// Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT.

var (
	errNoZip = errors.New("not a zip archive")
	errZip   = errors.New("damaged zip archive")
)

type zipDir struct {
	ra         io.ReaderAt
	size       int64
	base       int64 // of the archive in the file: a launcher script may stand in front
	off, bytes int64 // of the directory, absolute
}

type entry struct {
	name   string
	size   uint64 // unpacked, as announced
	packed uint64
	method uint16
	flags  uint16
	off    int64 // of the local header, absolute
	ra     io.ReaderAt
	end    int64
}

func openZip(ra io.ReaderAt, size int64) (*zipDir, error) {
	const eocd = 22
	n := min(size, eocd+64<<10)
	tail := make([]byte, n)
	if _, err := ra.ReadAt(tail, size-n); err != nil && err != io.EOF {
		return nil, err
	}
	i := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	for ; i >= 0; i = bytes.LastIndex(tail[:i], []byte("PK\x05\x06")) {
		if i+eocd <= len(tail) && i+eocd+int(binary.LittleEndian.Uint16(tail[i+20:])) <= len(tail) {
			break
		}
	}
	if i < 0 {
		return nil, errNoZip
	}
	at := size - n + int64(i)
	last := i+eocd+int(binary.LittleEndian.Uint16(tail[i+20:])) == len(tail)
	dirSize, dirOff := int64(binary.LittleEndian.Uint32(tail[i+12:])), int64(binary.LittleEndian.Uint32(tail[i+16:]))
	end := at
	if i >= 20 && (dirOff == 0xffffffff || dirSize == 0xffffffff) && string(tail[i-20:i-16]) == "PK\x06\x07" {
		loc := int64(binary.LittleEndian.Uint64(tail[i-12:]))
		var z [56]byte
		if loc < 0 || loc > size-56 {
			return nil, errZip
		}
		if _, err := ra.ReadAt(z[:], loc); err != nil {
			return nil, errZip
		}
		if string(z[:4]) != "PK\x06\x06" {
			return nil, errZip
		}
		dirSize, dirOff = int64(binary.LittleEndian.Uint64(z[40:])), int64(binary.LittleEndian.Uint64(z[48:]))
		end = loc
	}
	if dirSize < 0 || dirOff < 0 || dirSize > end || dirOff > end {
		return nil, errZip
	}
	d := &zipDir{ra: ra, size: size, off: end - dirSize, bytes: dirSize}
	d.base = d.off - dirOff
	if !last && d.base != 0 {
		// Not at the end, and of an archive that begins elsewhere: the directory of
		// a nested archive, whose outer one is cut short.
		return nil, errZip
	}
	if d.base < 0 {
		d.base, d.off = 0, dirOff
	}
	return d, nil
}

// each visits the entries that are files. The entry is valid during the call.
func (d *zipDir) each(fn func(*entry) error) error {
	const head = 46
	sec := io.NewSectionReader(d.ra, d.off, d.bytes)
	buf := make([]byte, 64<<10)
	have, eof := 0, false
	var e entry
	for {
		p := 0
		for {
			b := buf[p:have]
			if len(b) < head {
				break
			}
			if string(b[:4]) != "PK\x01\x02" {
				return nil // the end of the directory
			}
			nl, xl, cl := int(binary.LittleEndian.Uint16(b[28:])), int(binary.LittleEndian.Uint16(b[30:])), int(binary.LittleEndian.Uint16(b[32:]))
			if len(b) < head+nl+xl+cl {
				if head+nl+xl+cl > len(buf) {
					grown := make([]byte, 256<<10) // three lengths of 65535 at most
					have = copy(grown, b)
					buf, p = grown, 0
				}
				break
			}
			name := b[head : head+nl]
			if wanted(name) {
				e = entry{
					name: string(name), method: binary.LittleEndian.Uint16(b[10:]), flags: binary.LittleEndian.Uint16(b[8:]),
					packed: uint64(binary.LittleEndian.Uint32(b[20:])), size: uint64(binary.LittleEndian.Uint32(b[24:])),
					off: int64(binary.LittleEndian.Uint32(b[42:])), ra: d.ra, end: d.size,
				}
				e.zip64(b[head+nl : head+nl+xl])
				e.off += d.base
				if err := fn(&e); err != nil {
					return err
				}
			}
			p += head + nl + xl + cl
		}
		have = copy(buf, buf[p:have])
		if eof {
			if have > 0 {
				return errZip
			}
			return nil
		}
		n, err := sec.Read(buf[have:])
		have += n
		if err == io.EOF {
			eof = true
		} else if err != nil {
			return err
		}
	}
}

// wanted spares the name of every class file.
func wanted(name []byte) bool {
	if len(name) == 0 || name[len(name)-1] == '/' || bytes.HasSuffix(name, []byte(".class")) {
		return false
	}
	if bytes.HasSuffix(name, []byte("pom.properties")) || bytes.HasPrefix(name, []byte("META-INF/")) || bytes.HasPrefix(name, []byte("meta-inf/")) {
		return true
	}
	i := bytes.LastIndexByte(name, '.')
	return i >= 0 && len(name)-i <= 5
}

func (e *entry) zip64(extra []byte) {
	for len(extra) >= 4 {
		id, n := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if 4+n > len(extra) {
			return
		}
		if id == 1 {
			f := extra[4 : 4+n]
			take := func(v uint64) uint64 {
				if v != 0xffffffff || len(f) < 8 {
					return v
				}
				v = binary.LittleEndian.Uint64(f)
				f = f[8:]
				return v
			}
			e.size = take(e.size)
			e.packed = take(e.packed)
			e.off = int64(take(uint64(e.off)) & (1<<62 - 1))
		}
		extra = extra[4+n:]
	}
}

// data returns the packed bytes.
func (e *entry) data() (*io.SectionReader, error) {
	var h [30]byte
	if e.off < 0 || e.off > e.end-30 {
		return nil, errZip
	}
	if _, err := e.ra.ReadAt(h[:], e.off); err != nil {
		return nil, errZip
	}
	if string(h[:4]) != "PK\x03\x04" {
		return nil, errZip
	}
	at := e.off + 30 + int64(binary.LittleEndian.Uint16(h[26:])) + int64(binary.LittleEndian.Uint16(h[28:]))
	if at > e.end || e.packed > uint64(e.end-at) {
		return nil, errZip
	}
	return io.NewSectionReader(e.ra, at, int64(e.packed)), nil
}

// section is the content of an entry that is stored as it is, else nil.
func (e *entry) section() *io.SectionReader {
	if e.method != 0 || e.flags&1 != 0 || e.size != e.packed {
		return nil
	}
	s, err := e.data()
	if err != nil {
		return nil
	}
	return s
}

// read unpacks at most limit bytes; the announced size is not trusted.
func (e *entry) read(limit int64) ([]byte, error) {
	if e.flags&1 != 0 {
		return nil, errors.New("encrypted")
	}
	sec, err := e.data()
	if err != nil {
		return nil, err
	}
	var r io.Reader
	switch e.method {
	case 0:
		r = sec
	case 8:
		f := flate.NewReader(sec)
		defer f.Close()
		r = f
	default:
		return nil, fmt.Errorf("compression method %d is not known", e.method)
	}
	// Deflate cannot do better than 1032:1, so a larger announcement is a lie that
	// must not decide how much is allocated.
	hint := min(e.size, e.packed*1032+64, uint64(limit))
	buf := bytes.NewBuffer(make([]byte, 0, hint+512))
	n, err := io.Copy(buf, io.LimitReader(r, limit+1))
	if n > limit {
		return buf.Bytes()[:limit], sbom.ErrTooLarge
	}
	if err != nil {
		return buf.Bytes(), fmt.Errorf("%w: %v", errZip, err)
	}
	return buf.Bytes(), nil
}
