package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/google/go-containerregistry/pkg/name"
	"google.golang.org/protobuf/encoding/protowire"
)

// containerdSockets and containerdRoots are where containerd and the Kubernetes
// distributions that bring their own keep it.
var (
	containerdSockets = []string{"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock",
		"/run/k0s/containerd.sock", "/var/snap/microk8s/common/run/containerd.sock"}
	containerdRoots = []string{"/var/lib/containerd", "/var/lib/rancher/k3s/agent/containerd",
		"/var/lib/rancher/rke2/agent/containerd", "/var/lib/k0s/containerd", "/var/snap/microk8s/common/var/lib/containerd"}
)

// OpenContainerd opens an image that containerd knows. The running daemon is asked for
// the name (CONTAINERD_ADDRESS, or the usual sockets); blobs are read from its content
// store on disk when that is readable, else through the daemon. Without a daemon,
// the content store and its database are read from disk (CONTAINERD_ROOT).
//
// The name is looked for in CONTAINERD_NAMESPACE if it is set, else in all namespaces.
func OpenContainerd(ctx context.Context, image string, o Options) (*Image, error) {
	o = o.withDefaults()
	img, err := openContainerd(ctx, image, o)
	if err != nil {
		return nil, fmt.Errorf("containerd:%s: %w", image, err)
	}
	return img, nil
}

func openContainerd(ctx context.Context, image string, o Options) (*Image, error) {
	names, err := containerdNames(image)
	if err != nil {
		return nil, err
	}
	var live *containerdClient
	var unreachable error
	for _, socket := range o.containerdSockets() {
		c := &containerdClient{grpc: newGRPCClient(socket), socket: socket}
		if err := c.probe(ctx); err != nil {
			c.grpc.close()
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if !errors.Is(err, fs.ErrNotExist) || unreachable == nil {
				unreachable = fmt.Errorf("containerd at %s cannot be reached: %w", socket, err)
			}
			continue
		}
		live = c
		break
	}
	var s store
	var target descriptor
	closer := func() error { return nil }
	if live != nil {
		closer = func() error { live.grpc.close(); return nil }
		if target, err = live.find(ctx, names, o.Getenv("CONTAINERD_NAMESPACE")); err != nil {
			closer()
			return nil, err
		}
		s = live
	} else {
		root, found, err := findInStore(names, o)
		if err != nil {
			if errors.Is(unreachable, syscall.EACCES) || errors.Is(unreachable, syscall.EPERM) {
				return nil, fmt.Errorf("%w; run as root", unreachable)
			}
			return nil, fmt.Errorf("%w; and %w", unreachable, err)
		}
		s, target = contentStore{root}, found
	}
	p, err := parsePlatform(o.Platform)
	if err != nil {
		closer()
		return nil, err
	}
	r := &resolver{store: s, limit: o.Limits.MaxManifestBytes, want: p}
	f, err := r.resolve(ctx, target, nil)
	if err == nil {
		var img *Image
		about := bollwerk.Artifact{Ref: string(artifact.SchemeContainerd) + ":" + image, Name: image}
		if img, err = openManifest(ctx, s, f, about, o, closer); err == nil {
			return img, nil
		}
	}
	closer()
	return nil, err
}

func (o Options) containerdSockets() []string {
	if a := o.Getenv("CONTAINERD_ADDRESS"); a != "" {
		return []string{strings.TrimPrefix(a, "unix://")}
	}
	return containerdSockets
}

// containerdNames lists how containerd may know an image: as written, and in the
// long form that its clients store.
func containerdNames(image string) ([]string, error) {
	names := []string{image}
	ref, err := name.ParseReference(image, name.WeakValidation)
	if err != nil {
		return nil, fmt.Errorf("image reference: %w", err)
	}
	repo := strings.Replace(ref.Context().Name(), name.DefaultRegistry, "docker.io", 1)
	sep := ":"
	if _, ok := ref.(name.Digest); ok {
		sep = "@"
	}
	if long := repo + sep + ref.Identifier(); long != image {
		names = append(names, long)
	}
	return names, nil
}

// containerdClient asks a running daemon.
type containerdClient struct {
	grpc      *grpcClient
	socket    string
	namespace string
	// disk is the content store's folder, "" when the daemon does not say or it
	// cannot be read.
	disk string
}

// probe finds out whether a daemon answers, and where its content store is.
func (c *containerdClient) probe(ctx context.Context) error {
	if _, err := os.Stat(c.socket); err != nil {
		return err
	}
	// introspection.proto: PluginsRequest.filters = 1, PluginsResponse.plugins = 1,
	// Plugin.exports = 5 (map: key = 1, value = 2).
	m, err := c.grpc.unary(ctx, "", "containerd.services.introspection.v1.Introspection/Plugins",
		appendString(nil, 1, "type==io.containerd.content.v1"))
	var ge *grpcError
	if errors.As(err, &ge) {
		return nil // there is a daemon; it is old or does not tell
	}
	if err != nil {
		return err
	}
	return fields(m, func(num protowire.Number, plugin []byte, _ uint64) error {
		if num != 1 {
			return nil
		}
		return fields(plugin, func(num protowire.Number, export []byte, _ uint64) error {
			if num != 5 {
				return nil
			}
			key, value, err := mapEntry(export)
			if err == nil && key == "root" {
				if fi, serr := os.Stat(filepath.Join(value, "blobs")); serr == nil && fi.IsDir() {
					c.disk = value
				}
			}
			return err
		})
	})
}

func mapEntry(m []byte) (key, value string, err error) {
	err = fields(m, func(num protowire.Number, b []byte, _ uint64) error {
		switch num {
		case 1:
			key = string(b)
		case 2:
			value = string(b)
		}
		return nil
	})
	return key, value, err
}

// find asks for the image in one namespace or all.
func (c *containerdClient) find(ctx context.Context, names []string, namespace string) (descriptor, error) {
	namespaces := []string{namespace}
	if namespace == "" {
		var err error
		if namespaces, err = c.namespaces(ctx); err != nil {
			return descriptor{}, err
		}
	}
	for _, ns := range namespaces {
		for _, n := range names {
			// images.proto: GetImageRequest.name = 1, GetImageResponse.image = 1, Image.target = 3.
			m, err := c.grpc.unary(ctx, ns, "containerd.services.images.v1.Images/Get", appendString(nil, 1, n))
			var ge *grpcError
			if errors.As(err, &ge) && ge.code == grpcNotFound {
				continue
			}
			if err != nil {
				return descriptor{}, fmt.Errorf("containerd at %s: %w", c.socket, err)
			}
			c.namespace = ns
			return imageTarget(m)
		}
	}
	return descriptor{}, fmt.Errorf("containerd at %s has no such image in the namespaces %s; `ctr -n NAMESPACE images ls` lists what it has", c.socket, strings.Join(namespaces, ", "))
}

// namespaces lists what there is, the usual ones first.
func (c *containerdClient) namespaces(ctx context.Context) ([]string, error) {
	m, err := c.grpc.unary(ctx, "", "containerd.services.namespaces.v1.Namespaces/List", nil)
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", c.socket, err)
	}
	var list []string
	err = fields(m, func(num protowire.Number, ns []byte, _ uint64) error {
		if num != 1 || len(list) >= 1000 {
			return nil
		}
		return fields(ns, func(num protowire.Number, b []byte, _ uint64) error {
			if num == 1 {
				list = append(list, string(b))
			}
			return nil
		})
	})
	sortNamespaces(list)
	return list, err
}

func sortNamespaces(list []string) {
	usual := []string{"default", "k8s.io", "moby"}
	rank := func(s string) int {
		if i := slices.Index(usual, s); i >= 0 {
			return i
		}
		return len(usual)
	}
	slices.SortFunc(list, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}

func imageTarget(m []byte) (descriptor, error) {
	var d descriptor
	err := fields(m, func(num protowire.Number, image []byte, _ uint64) error {
		if num != 1 {
			return nil
		}
		return fields(image, func(num protowire.Number, target []byte, _ uint64) error {
			if num != 3 {
				return nil
			}
			// types/descriptor.proto: media_type = 1, digest = 2, size = 3.
			return fields(target, func(num protowire.Number, b []byte, n uint64) error {
				switch num {
				case 1:
					d.MediaType = string(b)
				case 2:
					d.Digest = bollwerk.Digest(b)
				case 3:
					d.Size = int64(n)
				}
				return nil
			})
		})
	})
	return d, err
}

// open implements store.
func (c *containerdClient) open(ctx context.Context, d descriptor) (io.ReadCloser, error) {
	if c.disk != "" {
		rc, err := contentStore{c.disk}.open(ctx, d)
		if err == nil {
			return rc, nil
		}
	}
	// content.proto: ReadContentRequest.digest = 1, offset = 2, size = 3.
	s, err := c.grpc.call(ctx, c.namespace, "containerd.services.content.v1.Content/Read", appendString(nil, 1, string(d.Digest)))
	if err != nil {
		return nil, err
	}
	r := &contentReader{stream: s}
	// The first message tells whether the blob exists.
	if err := r.fill(); err != nil && err != io.EOF {
		s.close()
		var ge *grpcError
		if errors.As(err, &ge) && ge.code == grpcNotFound {
			return nil, errDiscarded
		}
		return nil, err
	}
	return r, nil
}

var errDiscarded = errors.New("containerd does not keep it: it was fetched for another platform only, or layers are discarded after unpacking (discard_unpacked_layers); `ctr images pull` or a scan from the registry helps")

// contentReader joins the messages of a content read.
type contentReader struct {
	stream *grpcStream
	rest   []byte
	err    error
}

func (r *contentReader) fill() error {
	for len(r.rest) == 0 && r.err == nil {
		m, err := r.stream.next()
		if err != nil {
			r.err = err
			break
		}
		// ReadContentResponse.data = 2.
		r.err = fields(m, func(num protowire.Number, b []byte, _ uint64) error {
			if num == 2 {
				r.rest = b
			}
			return nil
		})
	}
	if len(r.rest) > 0 {
		return nil
	}
	return r.err
}

func (r *contentReader) Read(p []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *contentReader) Close() error { r.stream.close(); return nil }

// contentStore is containerd's content store on disk: blobs are files named by
// their digest. Whatever is read from it is verified, so that nothing has to be believed.
type contentStore struct{ dir string }

func (s contentStore) open(_ context.Context, d descriptor) (io.ReadCloser, error) {
	if _, err := bollwerk.ParseDigest(string(d.Digest)); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(s.dir, filepath.FromSlash(blobPath(d.Digest))))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errDiscarded
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}
