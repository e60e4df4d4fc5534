package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// The messages are those of containerd's api/services/{containers,images,namespaces,
// content}/v1; only the fields used are read, by their numbers.

type container struct {
	id, image string
	labels    map[string]string
	spec      []byte
	created   time.Time
	// snapshotter made the root of the container, which it keeps under this key.
	snapshotter, snapshot string
}

type target struct {
	digest bollwerk.Digest
	media  string
}

const header = "containerd-namespace"

func (st state) namespaces(ctx context.Context) ([]string, error) {
	var out []string
	err := st.socket.Call(ctx, "containerd.services.namespaces.v1.Namespaces/List", nil, func(m []byte) error {
		return fields(m, func(n protowire.Number, v []byte, _ uint64) error {
			if n != 1 {
				return nil
			}
			return fields(v, func(n protowire.Number, v []byte, _ uint64) error {
				if n == 1 && workload.ValidID(string(v)) && len(out) < 256 {
					out = append(out, string(v))
				}
				return nil
			})
		})
	})
	return out, err
}

func (st state) container(ctx context.Context, ns, id string) (container, error) {
	var c container
	err := st.socket.Call(ctx, "containerd.services.containers.v1.Containers/Get", text(1, id), func(m []byte) error {
		return fields(m, func(n protowire.Number, v []byte, _ uint64) (err error) {
			if n == 1 {
				c, err = parseContainer(v)
			}
			return err
		})
	}, header, ns)
	if err == nil && c.id != id {
		err = fmt.Errorf("containerd answered about container %q instead of %q", c.id, id)
	}
	return c, err
}

func (st state) image(ctx context.Context, ns, name string) (target, error) {
	var t target
	err := st.socket.Call(ctx, "containerd.services.images.v1.Images/Get", text(1, name), func(m []byte) error {
		return fields(m, func(n protowire.Number, v []byte, _ uint64) (err error) {
			if n == 1 {
				_, t, err = parseImage(v)
			}
			return err
		})
	}, header, ns)
	return t, err
}

// all lists the containers and images of a namespace.
func (st state) all(ctx context.Context, ns string) (map[string]container, map[string]target, error) {
	cs, is := map[string]container{}, map[string]target{}
	err := st.socket.Call(ctx, "containerd.services.containers.v1.Containers/List", nil, func(m []byte) error {
		return fields(m, func(n protowire.Number, v []byte, _ uint64) error {
			if n != 1 {
				return nil
			}
			c, err := parseContainer(v)
			c.spec = nil // the bundle has it
			cs[c.id] = c
			return err
		})
	}, header, ns)
	if err == nil && len(cs) > 0 {
		err = st.socket.Call(ctx, "containerd.services.images.v1.Images/List", nil, func(m []byte) error {
			return fields(m, func(n protowire.Number, v []byte, _ uint64) error {
				if n != 1 {
					return nil
				}
				name, t, err := parseImage(v)
				is[name] = t
				return err
			})
		}, header, ns)
	}
	return cs, is, err
}

func parseContainer(m []byte) (container, error) {
	var c container
	err := fields(m, func(n protowire.Number, v []byte, _ uint64) error {
		switch n {
		case 1:
			c.id = string(v)
		case 2:
			if c.labels == nil {
				c.labels = map[string]string{}
			}
			k, val, err := entry(v)
			if err == nil && len(c.labels) < 1024 {
				c.labels[k] = val
			}
			return err
		case 3:
			c.image = string(v)
		case 5: // google.protobuf.Any: the OCI specification as JSON
			return fields(v, func(n protowire.Number, v []byte, _ uint64) error {
				if n == 2 {
					c.spec = v
				}
				return nil
			})
		case 6:
			c.snapshotter = string(v)
		case 7:
			c.snapshot = string(v)
		case 8:
			var sec, nano int64
			err := fields(v, func(n protowire.Number, _ []byte, i uint64) error {
				switch n {
				case 1:
					sec = int64(i)
				case 2:
					nano = int64(i)
				}
				return nil
			})
			if sec > 0 {
				c.created = time.Unix(sec, nano)
			}
			return err
		}
		return nil
	})
	return c, err
}

func parseImage(m []byte) (string, target, error) {
	var name string
	var t target
	err := fields(m, func(n protowire.Number, v []byte, _ uint64) error {
		switch n {
		case 1:
			name = string(v)
		case 3:
			return fields(v, func(n protowire.Number, v []byte, _ uint64) error {
				switch n {
				case 1:
					t.media = string(v)
				case 2:
					d, err := bollwerk.ParseDigest(string(v))
					if err == nil {
						t.digest = d
					}
				}
				return nil
			})
		}
		return nil
	})
	return name, t, err
}

// declared returns the ports that an image exposes: what its configuration says.
func (s *Source) declared(ctx context.Context, st state, ns string, t target) []uint16 {
	s.mu.Lock()
	ports, ok := s.ports[t.digest]
	s.mu.Unlock()
	if ok {
		return ports
	}
	image, err := st.settings(ctx, ns, t.digest)
	ports = image.ports
	s.keep(image.layers) // they are asked for as soon as the container's first program runs
	if err != nil && !errors.Is(err, workload.ErrUnknown) {
		return nil
	}
	s.mu.Lock()
	if len(s.ports) > 1024 {
		clear(s.ports)
	}
	s.ports[t.digest] = ports
	s.mu.Unlock()
	return ports
}

// settings of an image.
type settings struct {
	ports  []uint16
	layers []bollwerk.Digest // diff ids, the lowest first
}

// settings reads an image's configuration. Images of several platforms are followed to
// this machine's.
func (st state) settings(ctx context.Context, ns string, d bollwerk.Digest) (settings, error) {
	for range 3 { // index, manifest, configuration
		b, err := st.blob(ctx, ns, d)
		if err != nil {
			return settings{}, err
		}
		var doc struct {
			Manifests []struct {
				Digest   string `json:"digest"`
				Platform struct {
					OS           string `json:"os"`
					Architecture string `json:"architecture"`
				} `json:"platform"`
			} `json:"manifests"`
			Config json.RawMessage `json:"config"`
			Rootfs struct {
				DiffIDs []string `json:"diff_ids"`
			} `json:"rootfs"`
		}
		if err := json.Unmarshal(b, &doc); err != nil {
			return settings{}, err
		}
		var next string
		for _, m := range doc.Manifests {
			if m.Platform.Architecture == runtime.GOARCH && m.Platform.OS == "linux" || len(doc.Manifests) == 1 {
				next = m.Digest
				break
			}
		}
		if next == "" {
			// "config" is a descriptor in a manifest, and the settings in a configuration.
			var c struct {
				Digest       string              `json:"digest"`
				ExposedPorts map[string]struct{} `json:"ExposedPorts"`
			}
			if len(doc.Config) > 0 && json.Unmarshal(doc.Config, &c) != nil {
				return settings{}, nil
			}
			if c.Digest == "" {
				return settings{ports(c.ExposedPorts), diffs(doc.Rootfs.DiffIDs)}, nil
			}
			next = c.Digest
		}
		if d, err = bollwerk.ParseDigest(next); err != nil {
			return settings{}, err
		}
	}
	return settings{}, nil
}

// diffs are the digests of layers, none when one of them is none.
func diffs(list []string) []bollwerk.Digest {
	if len(list) > workload.MaxLayers {
		return nil
	}
	out := make([]bollwerk.Digest, 0, len(list))
	for _, s := range list {
		d, err := bollwerk.ParseDigest(s)
		if err != nil {
			return nil
		}
		out = append(out, d)
	}
	return out
}

const maxBlob = 4 << 20

func (st state) blob(ctx context.Context, ns string, d bollwerk.Digest) ([]byte, error) {
	var out []byte
	err := st.socket.Call(ctx, "containerd.services.content.v1.Content/Read", text(1, string(d)), func(m []byte) error {
		return fields(m, func(n protowire.Number, v []byte, _ uint64) error {
			if n == 2 {
				out = append(out, v...)
			}
			if len(out) > maxBlob {
				return fmt.Errorf("blob %s: more than %d bytes", d, maxBlob)
			}
			return nil
		})
	}, header, ns)
	return out, err
}

// ports of "80/tcp", sorted, each once.
func ports(m map[string]struct{}) []uint16 {
	var out []uint16
	for k := range m {
		p, _, _ := strings.Cut(k, "/")
		if n, err := strconv.ParseUint(p, 10, 16); err == nil && n > 0 && len(out) < 256 {
			out = append(out, uint16(n))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func text(n protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, n, protowire.BytesType), s)
}

func entry(m []byte) (k, v string, err error) {
	err = fields(m, func(n protowire.Number, b []byte, _ uint64) error {
		switch n {
		case 1:
			k = string(b)
		case 2:
			v = string(b)
		}
		return nil
	})
	return k, v, err
}

// fields calls fn for each field of a protobuf message; value is nil for a number.
func fields(m []byte, fn func(n protowire.Number, value []byte, number uint64) error) error {
	for len(m) > 0 {
		num, typ, n := protowire.ConsumeTag(m)
		if n < 0 {
			return fmt.Errorf("answer of containerd: %w", protowire.ParseError(n))
		}
		m = m[n:]
		var value []byte
		var number uint64
		switch typ {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(m)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(m)
		default:
			n = protowire.ConsumeFieldValue(num, typ, m)
		}
		if n < 0 {
			return fmt.Errorf("answer of containerd: %w", protowire.ParseError(n))
		}
		m = m[n:]
		if err := fn(num, value, number); err != nil {
			return err
		}
	}
	return nil
}
