// Package image makes real images for tests and benchmarks: OCI layouts and docker
// archives from folders on disk, with the compression asked for. It uses nothing of
// the product, so that it can judge the product.
package image

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"
)

// Layer is one layer to be made: the tree below Dir, or what Write writes.
type Layer struct {
	Dir       string
	Write     func(*tar.Writer) error
	CreatedBy string
	// Compression is "gzip" (default), "zstd" or "none".
	Compression string
}

// Config is the part of the image configuration a test cares about.
type Config struct {
	User        string              `json:"User,omitempty"`
	Env         []string            `json:"Env,omitempty"`
	Entrypoint  []string            `json:"Entrypoint,omitempty"`
	Cmd         []string            `json:"Cmd,omitempty"`
	Labels      map[string]string   `json:"Labels,omitempty"`
	Healthcheck map[string][]string `json:"Healthcheck,omitempty"`
}

// Spec describes an image.
type Spec struct {
	Tag     string
	Created time.Time
	Config  Config
	Layers  []Layer
}

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Platform    map[string]string `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// WriteLayout writes the image into dir as an OCI image layout and returns the
// digest of its manifest.
func WriteLayout(dir string, s Spec) (string, error) {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return "", err
	}
	if s.Created.IsZero() {
		s.Created = time.Now().UTC().Truncate(time.Second)
	}
	type history struct {
		Created   time.Time `json:"created"`
		CreatedBy string    `json:"created_by"`
	}
	var layers []descriptor
	var diffIDs []string
	var lines []history
	for i, l := range s.Layers {
		d, diffID, err := writeLayer(blobs, l)
		if err != nil {
			return "", fmt.Errorf("layer %d: %w", i, err)
		}
		layers = append(layers, d)
		diffIDs = append(diffIDs, diffID)
		lines = append(lines, history{s.Created, l.CreatedBy})
	}
	config := map[string]any{
		"architecture": "amd64", "os": "linux", "created": s.Created, "config": s.Config,
		"rootfs":  map[string]any{"type": "layers", "diff_ids": diffIDs},
		"history": lines,
	}
	cd, err := writeJSON(blobs, "application/vnd.oci.image.config.v1+json", config)
	if err != nil {
		return "", err
	}
	manifest := map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": cd, "layers": layers,
	}
	md, err := writeJSON(blobs, "application/vnd.oci.image.manifest.v1+json", manifest)
	if err != nil {
		return "", err
	}
	md.Platform = map[string]string{"architecture": "amd64", "os": "linux"}
	if s.Tag != "" {
		md.Annotations = map[string]string{"org.opencontainers.image.ref.name": s.Tag}
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []descriptor{md}})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644); err != nil {
		return "", err
	}
	return md.Digest, os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

func writeJSON(blobs, mediaType string, v any) (descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	sum := sha256.Sum256(b)
	name := hex.EncodeToString(sum[:])
	return descriptor{MediaType: mediaType, Digest: "sha256:" + name, Size: int64(len(b))}, os.WriteFile(filepath.Join(blobs, name), b, 0o644)
}

type counter struct {
	w io.Writer
	h hash.Hash
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	c.h.Write(p)
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) digest() string { return "sha256:" + hex.EncodeToString(c.h.Sum(nil)) }

func writeLayer(blobs string, l Layer) (descriptor, string, error) {
	f, err := os.CreateTemp(blobs, ".new-*")
	if err != nil {
		return descriptor{}, "", err
	}
	defer f.Close()
	packed := &counter{w: f, h: sha256.New()}
	mediaType := "application/vnd.oci.image.layer.v1.tar"
	var comp io.WriteCloser
	switch l.Compression {
	case "", "gzip":
		comp, mediaType = gzip.NewWriter(packed), mediaType+"+gzip"
	case "zstd":
		if comp, err = zstd.NewWriter(packed); err != nil {
			return descriptor{}, "", err
		}
		mediaType += "+zstd"
	case "none":
		comp = nopCloser{packed}
	default:
		return descriptor{}, "", fmt.Errorf("compression %q: want gzip, zstd or none", l.Compression)
	}
	plain := &counter{w: comp, h: sha256.New()}
	tw := tar.NewWriter(plain)
	if l.Write != nil {
		err = l.Write(tw)
	} else {
		err = AddTree(tw, l.Dir)
	}
	if err == nil {
		err = tw.Close()
	}
	if err == nil {
		err = comp.Close()
	}
	if err != nil {
		return descriptor{}, "", err
	}
	d := descriptor{MediaType: mediaType, Digest: packed.digest(), Size: packed.n}
	return d, plain.digest(), os.Rename(f.Name(), filepath.Join(blobs, d.Digest[len("sha256:"):]))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// AddTree writes everything below dir into tw, in the order of the walk, with hard
// links kept.
func AddTree(tw *tar.Writer, dir string) error {
	links := map[[2]uint64]string{}
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == "." {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSocket != 0 {
			return nil
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = os.Readlink(p); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		h.Name = filepath.ToSlash(rel)
		if e.IsDir() {
			h.Name += "/"
		}
		h.Uname, h.Gname = "", ""
		if st, ok := info.Sys().(*syscall.Stat_t); ok && info.Mode().IsRegular() && st.Nlink > 1 {
			key := [2]uint64{uint64(st.Dev), st.Ino}
			if first, seen := links[key]; seen {
				h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			} else {
				links[key] = h.Name
			}
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", rel, err)
		}
		if h.Typeflag != tar.TypeReg {
			return nil
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(tw, f)
		return err
	})
}
