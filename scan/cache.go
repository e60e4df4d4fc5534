package scan

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/sbom"
)

// DefaultCacheBytes bounds the layer cache.
const DefaultCacheBytes = 512 << 20

// maxCacheEntry bounds what one cached layer may grow to when it is decompressed:
// a cache folder may have been written by somebody else.
const maxCacheEntry = 256 << 20

// Cache keeps what was found in a layer, keyed by its diff ID and by the version of
// the extractors, so that a layer that was read once is not read again. It is a
// folder of small files, bounded in bytes; the files used longest ago go first.
//
// A file that cannot be read, is truncated, or was made by other extractors is a
// miss, never an error: the layer is read again.
type Cache struct {
	dir   string
	limit int64
	set   string // names the extractors and what they can do
}

// OpenCache returns the cache in dir, made when it is missing. set names the
// extractors; results of another set are not seen. limit 0 means DefaultCacheBytes.
func OpenCache(dir, set string, limit int64) (*Cache, error) {
	if limit <= 0 {
		limit = DefaultCacheBytes
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("layer cache: %w", err)
	}
	// Who may put files there decides what is found in a layer.
	if info, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("layer cache: %w", err)
	} else if info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("layer cache: %s may be written by every user, who could hide packages from you: `chmod o-w %[1]s`", dir)
	}
	sum := sha256.Sum256([]byte(set))
	return &Cache{dir: dir, limit: limit, set: hex.EncodeToString(sum[:6])}, nil
}

// cachedPart is the content of one file of the cache.
type cachedPart struct {
	Part    sbom.Part
	Summary artifact.PartSummary
}

const cacheMagic = "bollwerk-layer-1\n"

func (c *Cache) path(id bollwerk.Digest) string {
	return filepath.Join(c.dir, id.Algorithm()+"-"+id.Hex()+"."+c.set)
}

// get returns what is known of a layer.
func (c *Cache) get(id bollwerk.Digest) (*cachedPart, bool) {
	if c == nil {
		return nil, false
	}
	name := c.path(id)
	b, err := readRegular(name, c.limit)
	if err != nil {
		return nil, false
	}
	p, err := decodePart(b)
	if err != nil {
		return nil, false
	}
	now := time.Now()
	// The time of last use is the order of eviction. Failing to set it (a read-only
	// cache) costs at worst an early eviction.
	if err := os.Chtimes(name, now, now); err != nil && !errors.Is(err, fs.ErrPermission) {
		return p, true
	}
	return p, true
}

// readRegular reads a file of at most limit bytes, and nothing that could block or
// never end.
func readRegular(name string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s: not a file of at most %d bytes", name, limit)
	}
	b := make([]byte, info.Size())
	_, err = io.ReadFull(f, b)
	return b, err
}

// put stores a layer, then makes room. A cache that cannot be written is reported
// to the caller, who says it once; the scan itself does not suffer.
func (c *Cache) put(id bollwerk.Digest, p *cachedPart) error {
	if c == nil {
		return nil
	}
	b, err := encodePart(p)
	if err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	if int64(len(b)) > c.limit/2 {
		return nil // it would drive out everything else
	}
	f, err := os.CreateTemp(c.dir, ".new-*")
	if err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	defer os.Remove(f.Name()) // a no-op once it was renamed
	if _, err := f.Write(b); err != nil {
		f.Close()
		return fmt.Errorf("layer cache: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	if err := os.Rename(f.Name(), c.path(id)); err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	return c.evict()
}

// evict removes the files used longest ago until the cache fits its bound, and
// half-written files that a killed process left behind.
func (c *Cache) evict() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return fmt.Errorf("layer cache: %w", err)
	}
	type file struct {
		name string
		size int64
		used time.Time
	}
	var files []file
	var total int64
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if strings.HasPrefix(e.Name(), ".new-") {
			if time.Since(info.ModTime()) > time.Hour {
				os.Remove(filepath.Join(c.dir, e.Name()))
			}
			continue
		}
		files = append(files, file{e.Name(), info.Size(), info.ModTime()})
		total += info.Size()
	}
	sort.Slice(files, func(i, j int) bool { return files[i].used.Before(files[j].used) })
	for _, f := range files {
		if total <= c.limit {
			break
		}
		if err := os.Remove(filepath.Join(c.dir, f.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("layer cache: %w", err)
		}
		total -= f.size
	}
	return nil
}

// encodePart writes magic, the CRC-32C of the rest, and a zstd stream of gob: gob
// keeps every field, also those that the JSON contract leaves out.
func encodePart(p *cachedPart) ([]byte, error) {
	var body bytes.Buffer
	zw, err := zstd.NewWriter(&body, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	if err := gob.NewEncoder(zw).Encode(p); err != nil {
		return nil, err
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(cacheMagic)+8+body.Len())
	out = append(out, cacheMagic...)
	out = fmt.Appendf(out, "%08x", crc32.Checksum(body.Bytes(), crc32.MakeTable(crc32.Castagnoli)))
	return append(out, body.Bytes()...), nil
}

func decodePart(b []byte) (*cachedPart, error) {
	rest, ok := bytes.CutPrefix(b, []byte(cacheMagic))
	if !ok || len(rest) < 8 {
		return nil, errors.New("not a layer cache file")
	}
	if fmt.Sprintf("%08x", crc32.Checksum(rest[8:], crc32.MakeTable(crc32.Castagnoli))) != string(rest[:8]) {
		return nil, errors.New("layer cache file is damaged")
	}
	zr, err := zstd.NewReader(bytes.NewReader(rest[8:]), zstd.WithDecoderMaxMemory(maxCacheEntry), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer zr.Close()
	p := new(cachedPart)
	if err := gob.NewDecoder(io.LimitReader(zr, maxCacheEntry)).Decode(p); err != nil {
		return nil, err
	}
	return p, nil
}
