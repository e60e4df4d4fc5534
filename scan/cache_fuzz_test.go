package scan

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"hash/crc32"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/sbom"
)

// FuzzDecodePart bends what lies inside a cache file and mends its checksum: whoever
// can write the folder can do the same. Any answer is right but a panic.
func FuzzDecodePart(f *testing.F) {
	var seed bytes.Buffer
	part := cachedPart{
		Part:    sbom.Part{Files: 3, Inventory: bollwerk.Inventory{Packages: []bollwerk.Package{{Name: "left-pad", Version: "1.0.0", Paths: []string{"a"}}}}},
		Summary: artifact.PartSummary{Entries: 3, Problems: []artifact.Problem{{Path: "b", Cause: "c", Count: 1}}},
	}
	if err := gob.NewEncoder(&seed).Encode(&part); err != nil {
		f.Fatal(err)
	}
	f.Add(seed.Bytes())
	f.Add(seed.Bytes()[:seed.Len()/2])
	f.Add([]byte{})
	zw, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		body := zw.EncodeAll(plain, nil)
		file := fmt.Appendf([]byte(cacheMagic), "%08x", crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
		p, err := decodePart(append(file, body...))
		if err != nil {
			return
		}
		p.Summary.Mask.Hides("usr/bin/env")
		if _, err := encodePart(p); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}
