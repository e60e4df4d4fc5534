package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// snapshotter is the one whose folders are known: an overlay of folders that hold one layer
// each. What others hand out may be fetched when it is looked at.
const snapshotter = "overlayfs"

const maxChains = 4096

// Layers asks for the snapshots below that of the container, and for its image's
// configuration. containerd names a snapshot that it unpacked from a layer by the digests of
// this layer and all below it; one with another name is not guessed.
func (s *Source) Layers(ctx context.Context, ref workload.Ref, image bollwerk.Digest) (workload.Root, error) {
	_, st, ns, err := s.local(ref)
	if err != nil {
		return workload.Root{}, err
	}
	c, err := st.container(ctx, ns, ref.ID)
	if err != nil {
		return workload.Root{}, err
	}
	if c.snapshotter != snapshotter || c.snapshot == "" {
		return workload.Root{}, workload.ErrUnknown
	}
	dirs, err := st.lowers(ctx, ns, c.snapshot)
	if err != nil {
		return workload.Root{}, err
	}
	top, err := st.below(ctx, ns, c.snapshot)
	if err != nil {
		return workload.Root{}, err
	}
	digests, err := s.digests(ctx, st, ns, c, image, top)
	if err != nil {
		return workload.Root{}, err
	}
	if len(digests) != len(dirs) {
		return workload.Root{}, fmt.Errorf("snapshot %.80q: %d folders for %d layers", c.snapshot, len(dirs), len(digests))
	}
	root := workload.Root{Mount: filepath.Join(st.dir, shims[0], ns, ref.ID, "rootfs")}
	if ns == "moby" {
		root.Mount = "" // the engine mounts it elsewhere
	}
	for i, dir := range dirs {
		// containerd names them as the host does.
		root.Layers = append(root.Layers, workload.Layer{Dir: filepath.Join(s.root, dir), Digest: digests[i]})
	}
	return root, nil
}

// lowers are the folders below the container's own, the highest first.
func (st state) lowers(ctx context.Context, ns, key string) ([]string, error) {
	var dirs []string
	mounts, overlay := 0, false
	err := st.socket.Call(ctx, "containerd.services.snapshots.v1.Snapshots/Mounts", append(text(1, snapshotter), text(2, key)...), func(m []byte) error {
		return fields(m, func(n protowire.Number, v []byte, _ uint64) error {
			if n != 1 {
				return nil
			}
			mounts++
			return fields(v, func(n protowire.Number, v []byte, _ uint64) error {
				switch n {
				case 1:
					overlay = string(v) == "overlay"
				case 4:
					if list, ok := strings.CutPrefix(string(v), "lowerdir="); ok {
						dirs = strings.Split(list, ":")
					}
				}
				return nil
			})
		})
	}, header, ns)
	if err != nil {
		return nil, err
	}
	if mounts != 1 || !overlay || len(dirs) == 0 || len(dirs) > workload.MaxLayers {
		return nil, workload.ErrUnknown
	}
	for _, d := range dirs {
		// A colon of a name is written with a backslash: such a list is not ours to take apart.
		if !filepath.IsAbs(d) || strings.Contains(d, "\\") {
			return nil, workload.ErrUnknown
		}
	}
	return dirs, nil
}

// below is the name of the snapshot that another one was made from, "" for none.
func (st state) below(ctx context.Context, ns, key string) (string, error) {
	name := ""
	err := st.socket.Call(ctx, "containerd.services.snapshots.v1.Snapshots/Stat", append(text(1, snapshotter), text(2, key)...), func(m []byte) error {
		return fields(m, func(n protowire.Number, v []byte, _ uint64) error {
			if n != 1 {
				return nil
			}
			return fields(v, func(n protowire.Number, v []byte, _ uint64) error {
				if n == 2 {
					name = string(v)
				}
				return nil
			})
		})
	}, header, ns)
	return name, err
}

// link is the highest layer of a chain.
type link struct {
	digest bollwerk.Digest
	below  string // the chain without it, "" for none
}

// digests are those of the layers of a chain, the highest first.
func (s *Source) digests(ctx context.Context, st state, ns string, c container, image bollwerk.Digest, top string) ([]bollwerk.Digest, error) {
	if out := s.known(top); out != nil {
		return out, nil
	}
	if c.image != "" && ns != "moby" {
		if t, err := st.image(ctx, ns, c.image); err == nil && t.digest != "" {
			image = t.digest
		} else if err != nil && !errors.Is(err, workload.ErrUnknown) {
			return nil, err
		}
	}
	if image == "" {
		return nil, workload.ErrUnknown
	}
	is, err := st.settings(ctx, ns, image)
	if err != nil {
		return nil, err
	}
	s.keep(is.layers)
	if out := s.known(top); out != nil {
		return out, nil
	}
	return nil, workload.ErrUnknown
}

// keep notes the chains of an image (OCI image specification, "Layer ChainID").
func (s *Source) keep(layers []bollwerk.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chains == nil || len(s.chains) > maxChains {
		s.chains = map[string]link{}
	}
	below := ""
	for _, d := range layers {
		chain := string(d)
		if below != "" {
			sum := sha256.Sum256([]byte(below + " " + chain))
			chain = "sha256:" + hex.EncodeToString(sum[:])
		}
		s.chains[chain] = link{d, below}
		below = chain
	}
}

// known are the digests of a chain, nil when one of them is not known.
func (s *Source) known(chain string) []bollwerk.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []bollwerk.Digest
	for chain != "" {
		l, ok := s.chains[chain]
		if !ok || len(out) == workload.MaxLayers {
			return nil
		}
		out = append(out, l.digest)
		chain = l.below
	}
	return out
}
