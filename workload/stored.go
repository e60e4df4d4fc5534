package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/bollwerk/bollwerk"
)

// Stored reads the layers of a container of containers/storage (Podman, CRI-O), whose folder
// is dir: its record names the folder that is written to, whose file "lower" names those
// below it by links; which layer of an image each is stands in layers.json.
// (github.com/containers/storage, containers.go, layers.go, drivers/overlay.)
type Stored struct {
	mu      sync.Mutex
	digests map[string]bollwerk.Digest // by folder of the layer
}

const (
	maxStored       = 32 << 20
	maxKnownDigests = 16384
)

// Layers of the container id. ErrUnknown as Layered has it.
func (s *Stored) Layers(dir, id string) (Root, error) {
	overlay := filepath.Join(dir, "overlay")
	own := ""
	for _, name := range [...]string{"containers.json", "volatile-containers.json"} {
		// What is not there, or is being written, is asked for again later.
		_ = each(filepath.Join(dir, "overlay-containers", name), func(r struct{ ID, Layer string }) {
			if r.ID == id && ValidID(r.Layer) {
				own = r.Layer
			}
		})
	}
	if own == "" {
		return Root{}, ErrUnknown
	}
	b, err := ReadFile(filepath.Join(overlay, own, "lower"), 64<<10)
	if err != nil {
		if os.IsNotExist(err) {
			err = ErrUnknown
		}
		return Root{}, err
	}
	root := Root{Mount: filepath.Join(overlay, own, "merged")}
	var ids []string
	for link := range strings.SplitSeq(strings.TrimSpace(string(b)), ":") {
		name, ok := strings.CutPrefix(link, "l/")
		if !ok || !ValidID(name) || len(ids) == MaxLayers {
			return Root{}, ErrUnknown
		}
		// "../<id>/diff"; those of another storage are not ours to read.
		to, err := os.Readlink(filepath.Join(overlay, "l", name))
		if err != nil {
			return Root{}, ErrUnknown
		}
		layer, ok := strings.CutPrefix(to, "../")
		layer, ok2 := strings.CutSuffix(layer, "/diff")
		if !ok || !ok2 || !ValidID(layer) {
			return Root{}, ErrUnknown
		}
		ids = append(ids, layer)
	}
	digests, err := s.of(dir, ids)
	if err != nil {
		return Root{}, err
	}
	for i, layer := range ids {
		root.Layers = append(root.Layers, Layer{filepath.Join(overlay, layer, "diff"), digests[i]})
	}
	return root, nil
}

// of are the digests of layers. The lists are read when one is not known yet: they are
// written anew for every container.
func (s *Stored) of(dir string, ids []string) ([]bollwerk.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]bollwerk.Digest, len(ids))
	for fresh := false; ; fresh = true {
		missing := false
		for i, id := range ids {
			out[i] = s.digests[filepath.Join(dir, id)]
			missing = missing || out[i] == ""
		}
		switch {
		case !missing:
			return out, nil
		case fresh:
			return nil, ErrUnknown
		}
		if err := s.read(dir); err != nil {
			return nil, err
		}
	}
}

func (s *Stored) read(dir string) error {
	if s.digests == nil || len(s.digests) > maxKnownDigests {
		s.digests = map[string]bollwerk.Digest{}
	}
	for _, name := range [...]string{"layers.json", "volatile-layers.json"} {
		err := each(filepath.Join(dir, "overlay-layers", name), func(r struct {
			ID     string `json:"id"`
			Digest string `json:"diff-digest"`
		}) {
			if d, err := bollwerk.ParseDigest(r.Digest); err == nil && ValidID(r.ID) && len(s.digests) < 2*maxKnownDigests {
				s.digests[filepath.Join(dir, r.ID)] = d
			}
		})
		if err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// each reads a file with a list in JSON, one member in memory at a time.
func each[T any](path string, fn func(T)) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || st.Size() > maxStored {
		return fmt.Errorf("%s: not a regular file of at most %d bytes", path, maxStored)
	}
	d := json.NewDecoder(io.LimitReader(f, maxStored))
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return fmt.Errorf("%s: %w", path, errors.Join(errors.New("not a list"), err))
	}
	for d.More() {
		var v T
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fn(v)
	}
	return nil
}
