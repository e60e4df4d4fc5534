package oci

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bollwerk/bollwerk"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// findInStore looks an image up in the database of a containerd that is not running.
func findInStore(names []string, o Options) (content string, d descriptor, err error) {
	roots := containerdRoots
	if r := o.Getenv("CONTAINERD_ROOT"); r != "" {
		roots = []string{r}
	}
	var looked []string
	for _, root := range roots {
		db := filepath.Join(root, "io.containerd.metadata.v1.bolt", "meta.db")
		if _, err := os.Stat(db); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return "", descriptor{}, err
		}
		looked = append(looked, root)
		d, err := findInDatabase(db, names, o.Getenv("CONTAINERD_NAMESPACE"))
		if err != nil {
			return "", descriptor{}, err
		}
		if d.Digest != "" {
			return filepath.Join(root, "io.containerd.content.v1.content"), d, nil
		}
	}
	if len(looked) == 0 {
		return "", descriptor{}, fmt.Errorf("no containerd store in %v; set CONTAINERD_ADDRESS or CONTAINERD_ROOT", roots)
	}
	return "", descriptor{}, fmt.Errorf("no such image in %v", looked)
}

// findInDatabase reads v1/NAMESPACE/images/NAME/target (containerd, metadata/buckets.go).
// A running containerd holds the lock on the file; then it is not read, because a
// database that is written to at the same time cannot be read consistently.
func findInDatabase(path string, names []string, namespace string) (d descriptor, err error) {
	defer func() {
		// The library panics on damaged pages.
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: damaged: %v", path, r)
		}
	}()
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if errors.Is(err, berrors.ErrTimeout) {
		return d, fmt.Errorf("%s is locked: containerd is running; set CONTAINERD_ADDRESS to its socket", path)
	}
	if err != nil {
		return d, fmt.Errorf("%s: %w", path, err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		v1 := tx.Bucket([]byte("v1"))
		if v1 == nil {
			return fmt.Errorf("%s: not a containerd database of a known version", path)
		}
		namespaces := []string{namespace}
		if namespace == "" {
			namespaces = nil
			if err := v1.ForEachBucket(func(k []byte) error {
				namespaces = append(namespaces, string(k))
				return nil
			}); err != nil {
				return err
			}
			sortNamespaces(namespaces)
		}
		for _, ns := range namespaces {
			b := v1.Bucket([]byte(ns))
			if b == nil {
				continue
			}
			images := b.Bucket([]byte("images"))
			if images == nil {
				continue
			}
			for _, n := range names {
				image := images.Bucket([]byte(n))
				if image == nil {
					continue
				}
				target := image.Bucket([]byte("target"))
				if target == nil {
					return fmt.Errorf("%s: image %s has no target", path, n)
				}
				d.Digest = bollwerk.Digest(target.Get([]byte("digest")))
				d.MediaType = string(target.Get([]byte("mediatype")))
				d.Size, _ = binary.Varint(target.Get([]byte("size")))
				return nil
			}
		}
		return nil
	})
	return d, err
}
