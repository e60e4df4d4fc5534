// Package containerd tells about the containers of containerd: those of Kubernetes
// (CRI), ctr, nerdctl and k3s, from the bundle folders on disk and, for image digest,
// labels and declared ports, from its API.
//
// It does not read containerd's database, which is locked while containerd runs.
package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// Config of the source. The zero value looks in the usual places.
type Config struct {
	// Root is put before the default paths, "" on the host itself.
	Root string
	// States are the state folders, each with its socket "containerd.sock" inside.
	States []string
	// Socket overrides the socket of the first state folder.
	Socket string
}

// States are where containerd, k3s/RKE2, MicroK8s, k0s and Docker's own keep their state.
var states = [...]string{
	"/run/containerd",
	"/run/k3s/containerd",
	"/var/snap/microk8s/common/run",
	"/run/k0s",
	"/run/docker/containerd/daemon",
}

// Source is a workload.Source.
type Source struct {
	root   string
	states []state

	mu    sync.Mutex
	ports map[bollwerk.Digest][]uint16 // declared by images, by digest of the manifest
	// chains of layers: the names of snapshots that containerd unpacked.
	chains map[string]link
}

type state struct {
	dir    string
	socket *workload.Socket
}

// Bundles are in <state>/<one of these>/<namespace>/<id>.
var shims = [...]string{"io.containerd.runtime.v2.task", "io.containerd.runtime.v1.linux"}

// New makes the source; nothing is opened.
func New(c Config) *Source {
	if len(c.States) == 0 {
		for _, s := range states {
			c.States = append(c.States, filepath.Join(c.Root, s))
		}
	}
	s := &Source{root: c.Root, ports: map[bollwerk.Digest][]uint16{}}
	for i, dir := range c.States {
		socket := filepath.Join(dir, "containerd.sock")
		if i == 0 && c.Socket != "" {
			socket = c.Socket
		}
		if strings.HasSuffix(dir, "/run/docker/containerd/daemon") {
			socket = filepath.Join(filepath.Dir(dir), "containerd.sock")
		}
		s.states = append(s.states, state{dir, workload.NewSocket(socket, true)})
	}
	return s
}

// Name is "containerd".
func (s *Source) Name() string { return "containerd" }

// Part is the container.
func (s *Source) Part() workload.Part { return workload.PartContainer }

// Close ends idle connections.
func (s *Source) Close() {
	for _, st := range s.states {
		st.socket.Close()
	}
}

// Local reads the bundle of a container.
func (s *Source) Local(ref workload.Ref) (workload.Found, error) {
	f, _, _, err := s.local(ref)
	return f, err
}

func (s *Source) local(ref workload.Ref) (workload.Found, state, string, error) {
	if !workload.ValidID(ref.ID) {
		return workload.Found{}, state{}, "", workload.ErrUnknown
	}
	for _, st := range s.states {
		for _, shim := range shims {
			dir := filepath.Join(st.dir, shim)
			for _, ns := range namespaces(dir) {
				f, err := bundle(filepath.Join(dir, ns, ref.ID))
				if errors.Is(err, workload.ErrUnknown) {
					continue
				}
				return f, st, ns, err
			}
		}
	}
	return workload.Found{}, state{}, "", workload.ErrUnknown
}

// namespaces are the folders in dir; containerd's own limit of names is 76 letters.
func namespaces(dir string) []string {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(256)
	return slices.DeleteFunc(names, func(n string) bool { return !workload.ValidID(n) })
}

// bundle reads <namespace>/<id>.
func bundle(dir string) (workload.Found, error) {
	spec, err := workload.ReadBundle(dir)
	if err != nil {
		return workload.Found{}, err
	}
	f := spec.Found
	f.Container.ID = filepath.Base(dir)
	f.More = "image digest and labels"
	switch filepath.Base(filepath.Dir(dir)) {
	case "moby":
		f.Container.Runtime, f.More = "docker", "name and image"
	default:
		f.Container.Runtime = "containerd"
		if n := spec.Annotations["nerdctl/name"]; n != "" && f.Container.Name == "" {
			f.Container.Name = n
		}
		if f.Container.Name == "" {
			f.Container.Name = f.Container.ID // ctr: the id is the name
		}
	}
	if st, err := os.Stat(filepath.Join(dir, "init.pid")); err == nil {
		f.Container.Started = st.ModTime()
	}
	return f, nil
}

// Lookup asks containerd for image, digest and labels.
func (s *Source) Lookup(ctx context.Context, ref workload.Ref) (workload.Found, error) {
	f, st, ns, err := s.local(ref)
	if err == nil {
		return s.complete(ctx, st, ns, f)
	}
	// Its bundle is gone, or the state folder is not where we look.
	result := error(workload.ErrAbsent)
	for _, st := range s.states {
		list, err := st.namespaces(ctx)
		if err != nil {
			if !errors.Is(err, workload.ErrAbsent) {
				result = err
			}
			continue
		}
		if errors.Is(result, workload.ErrAbsent) {
			result = workload.ErrUnknown
		}
		for _, ns := range list {
			f := workload.Found{Container: bollwerk.Container{ID: ref.ID, Runtime: "containerd"}}
			f, err := s.complete(ctx, st, ns, f)
			if err == nil {
				return f, nil
			}
			if !errors.Is(err, workload.ErrUnknown) {
				result = err
			}
		}
	}
	return workload.Found{}, result
}

// complete adds to f what the API knows.
func (s *Source) complete(ctx context.Context, st state, ns string, f workload.Found) (workload.Found, error) {
	c, err := st.container(ctx, ns, f.Container.ID)
	if err != nil {
		return f, err
	}
	return s.merge(ctx, st, ns, f, c, nil)
}

// merge joins the bundle with the API's container. images may have the digests of
// images by name; else they are asked for.
func (s *Source) merge(ctx context.Context, st state, ns string, f workload.Found, c container, images map[string]target) (workload.Found, error) {
	if len(c.spec) > 0 && f.CgroupPath == "" && len(c.spec) <= workload.MaxSpec {
		if spec, err := workload.ParseSpec(c.spec); err == nil {
			id := f.Container.ID
			f = spec.Found
			f.Container.ID, f.Container.Runtime = id, "containerd"
		}
	}
	f.More = ""
	if ns == "moby" {
		f.Container.Runtime = "docker"
		return f, nil
	}
	f.Container.Labels = labels(c.labels)
	if f.Container.Image == "" {
		f.Container.Image = c.image
	}
	if n := c.labels["nerdctl/name"]; n != "" {
		f.Container.Name = n
	}
	if f.Container.Name == "" {
		f.Container.Name = f.Container.ID
	}
	if f.Container.Started.IsZero() {
		f.Container.Started = c.created
	}
	if f.Pod == nil {
		f.Pod = podOf(c.labels)
	}
	if c.image == "" {
		return f, nil
	}
	t, ok := images[c.image]
	if !ok {
		var err error
		t, err = st.image(ctx, ns, c.image)
		if err != nil && !errors.Is(err, workload.ErrUnknown) {
			f.More = "image digest"
			return f, nil
		}
		// The name may be gone while its container runs: then nobody knows the digest.
	}
	f.Container.Digest = t.digest
	if t.digest != "" {
		f.Container.Ports = s.declared(ctx, st, ns, t)
	}
	return f, nil
}

// labels without what containerd and the kubelet keep for themselves.
func labels(m map[string]string) map[string]string {
	for k := range m {
		if strings.HasPrefix(k, "containerd.io/") || strings.HasPrefix(k, "io.containerd.") || strings.HasPrefix(k, "io.cri-containerd.") {
			delete(m, k)
		}
	}
	return m
}

// podOf reads the labels that the kubelet gives each container.
func podOf(l map[string]string) *bollwerk.Pod {
	if l["io.kubernetes.pod.uid"] == "" {
		return nil
	}
	p := &bollwerk.Pod{
		Namespace: l["io.kubernetes.pod.namespace"], Name: l["io.kubernetes.pod.name"],
		UID: l["io.kubernetes.pod.uid"], Container: l["io.kubernetes.container.name"],
	}
	if l["io.cri-containerd.kind"] == "sandbox" {
		p.Container, p.Sandbox = "POD", true
	}
	return p
}

// List returns every container with a bundle, with what the API adds in two calls per
// namespace.
func (s *Source) List(ctx context.Context) ([]workload.Found, error) {
	var out []workload.Found
	result := error(workload.ErrAbsent)
	for _, st := range s.states {
		for _, shim := range shims {
			dir := filepath.Join(st.dir, shim)
			for _, ns := range namespaces(dir) {
				result = nil
				apiContainers, images, err := st.all(ctx, ns)
				if err != nil && !errors.Is(err, workload.ErrAbsent) {
					result = err
				}
				for _, id := range namespaces(filepath.Join(dir, ns)) {
					if ctx.Err() != nil && len(out) > 4096 {
						return out, ctx.Err()
					}
					f, err := bundle(filepath.Join(dir, ns, id))
					if err != nil {
						continue
					}
					if c, ok := apiContainers[id]; ok {
						if g, err := s.merge(ctx, st, ns, f, c, images); err == nil {
							f = g
						}
					}
					out = append(out, f)
				}
			}
		}
		if errors.Is(result, workload.ErrAbsent) && st.socket.Present() {
			result = nil
		}
	}
	return out, result
}

// Watch tells of bundles as they are written: before the container's first process.
func (s *Source) Watch(ctx context.Context, fn func(workload.Found)) error {
	w := workload.Folders{File: "config.json",
		Changed: func(dir string) {
			if f, err := bundle(dir); err == nil {
				fn(f)
			}
		},
		Ended: func(dir string) {
			fn(workload.Found{Container: bollwerk.Container{ID: filepath.Base(dir)}, Gone: true})
		},
	}
	for _, st := range s.states {
		for _, shim := range shims {
			w.Patterns = append(w.Patterns, filepath.Join(st.dir, shim, "*", "*"))
		}
	}
	return w.Run(ctx)
}
