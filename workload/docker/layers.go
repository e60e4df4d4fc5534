package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// driver is the one storage driver whose folders are known. Where images are kept by
// containerd, that is who knows their layers.
const driver = "overlay2"

const maxChains = 512

// Layers reads the engine's records: which is the highest layer of a container's image, and
// of each layer its digest, its folder and the layer below (moby, layer/filestore.go).
func (s *Source) Layers(_ context.Context, ref workload.Ref, _ bollwerk.Digest) (workload.Root, error) {
	if !validID(ref.ID) {
		return workload.Root{}, workload.ErrUnknown
	}
	for _, data := range s.data {
		db := filepath.Join(data, "image", driver, "layerdb")
		top, err := line(filepath.Join(db, "mounts", ref.ID, "parent"))
		if errors.Is(err, workload.ErrUnknown) {
			continue
		}
		if err != nil {
			return workload.Root{}, err
		}
		mount, err := line(filepath.Join(db, "mounts", ref.ID, "mount-id"))
		if err != nil || !workload.ValidID(mount) {
			return workload.Root{}, errors.Join(err, workload.ErrUnknown)
		}
		layers, err := s.chain(data, top)
		if err != nil {
			return workload.Root{}, err
		}
		return workload.Root{Mount: filepath.Join(data, driver, mount, "merged"), Layers: layers}, nil
	}
	return workload.Root{}, workload.ErrUnknown
}

// chain follows the layers from the highest down.
func (s *Source) chain(data, top string) ([]workload.Layer, error) {
	s.mu.Lock()
	layers, ok := s.chains[data+top]
	s.mu.Unlock()
	if ok {
		return layers, nil
	}
	for id := top; id != ""; {
		chain, err := bollwerk.ParseDigest(id)
		if err != nil || chain.Algorithm() != "sha256" {
			return nil, fmt.Errorf("layer %.80q: not a chain of layers", id)
		}
		if len(layers) == workload.MaxLayers {
			return nil, fmt.Errorf("layer %s: more than %d layers", top, workload.MaxLayers)
		}
		dir := filepath.Join(data, "image", driver, "layerdb", "sha256", chain.Hex())
		diff, err := line(filepath.Join(dir, "diff"))
		if err != nil {
			return nil, err
		}
		folder, err := line(filepath.Join(dir, "cache-id"))
		if err != nil {
			return nil, err
		}
		below, err := line(filepath.Join(dir, "parent"))
		if err != nil && !errors.Is(err, workload.ErrUnknown) {
			return nil, err
		}
		digest, err := bollwerk.ParseDigest(diff)
		if err != nil || !workload.ValidID(folder) {
			return nil, fmt.Errorf("layer %s: its record is damaged", chain)
		}
		// The name of a chain is made of what it holds (OCI image specification, "Layer ChainID").
		if name := diff; below != "" {
			sum := sha256.Sum256([]byte(below + " " + diff))
			if name = "sha256:" + hex.EncodeToString(sum[:]); name != id {
				return nil, fmt.Errorf("layer %s: is not what its record says", chain)
			}
		} else if name != id {
			return nil, fmt.Errorf("layer %s: is not what its record says", chain)
		}
		layers = append(layers, workload.Layer{Dir: filepath.Join(data, driver, folder, "diff"), Digest: digest})
		id = below
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chains == nil || len(s.chains) >= maxChains {
		s.chains = map[string][]workload.Layer{}
	}
	s.chains[data+top] = layers
	return layers, nil
}

// line reads a file of one word, ErrUnknown when there is none.
func line(path string) (string, error) {
	b, err := workload.ReadFile(path, 256)
	if os.IsNotExist(err) {
		err = workload.ErrUnknown
	}
	return strings.TrimSpace(string(b)), err
}
