package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"
)

// yardstick reads every layer of an OCI layout on all cores, decompresses it with
// the library the product uses and hashes both sides, and does nothing else.
func yardstick(ctx context.Context, layout string) (time.Duration, error) {
	start := time.Now()
	var index struct{ Manifests []struct{ Digest string } }
	if err := readJSON(filepath.Join(layout, "index.json"), &index); err != nil {
		return 0, err
	}
	if len(index.Manifests) != 1 {
		return 0, fmt.Errorf("%s: want one image, found %d", layout, len(index.Manifests))
	}
	type layer struct {
		Digest string
		Size   int64
	}
	var manifest struct{ Layers []layer }
	if err := readJSON(blob(layout, index.Manifests[0].Digest), &manifest); err != nil {
		return 0, err
	}
	sort.Slice(manifest.Layers, func(i, j int) bool { return manifest.Layers[i].Size > manifest.Layers[j].Size })
	g, _ := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for _, l := range manifest.Layers {
		g.Go(func() error { return digestLayer(blob(layout, l.Digest), l.Digest) })
	}
	err := g.Wait()
	return time.Since(start), err
}

func blob(layout, digest string) string {
	return filepath.Join(layout, "blobs", "sha256", digest[len("sha256:"):])
}

func readJSON(file string, v any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

// digestLayer decompresses in one goroutine and hashes the result in another.
func digestLayer(file, want string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	packed := sha256.New()
	zr, err := gzip.NewReader(io.TeeReader(f, packed))
	if err != nil {
		return err
	}
	full, free := make(chan []byte, 4), make(chan []byte, 5)
	for range 5 {
		free <- make([]byte, 256<<10)
	}
	hashed := make(chan []byte, 1)
	go func() {
		plain := sha256.New()
		for b := range full {
			plain.Write(b)
			free <- b[:cap(b)]
		}
		hashed <- plain.Sum(nil)
	}()
	var readErr error
	for {
		b := <-free
		n, err := io.ReadFull(zr, b)
		if n > 0 {
			full <- b[:n]
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			readErr = err
			break
		}
	}
	close(full)
	if sum := <-hashed; readErr == nil && bytes.Equal(sum, make([]byte, len(sum))) {
		readErr = fmt.Errorf("%s: empty hash", file)
	}
	if readErr != nil {
		return readErr
	}
	if _, err := io.Copy(packed, f); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(packed.Sum(nil)); got != want {
		return fmt.Errorf("%s: digest is %s", file, got)
	}
	return nil
}
