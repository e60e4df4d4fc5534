// Package crio tells about the containers of CRI-O, from their bundles: CRI-O writes
// everything it knows into the annotations of config.json, so nobody is asked.
package crio

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// Config of the source. The zero value looks in the usual places.
type Config struct {
	// Root is put before the default paths, "" on the host itself.
	Root string
	// Run are the run roots of containers/storage.
	Run []string
	// Storage are its folders, where the layers of images lie.
	Storage []string
}

// Source is a workload.Source.
type Source struct {
	run, storage []string
	stored       workload.Stored
}

// New makes the source; nothing is opened.
func New(c Config) *Source {
	if len(c.Run) == 0 {
		c.Run = []string{filepath.Join(c.Root, "/run/containers/storage")}
	}
	if len(c.Storage) == 0 {
		c.Storage = []string{filepath.Join(c.Root, "/var/lib/containers/storage")}
	}
	return &Source{run: c.Run, storage: c.Storage}
}

// Name is "cri-o".
func (s *Source) Name() string { return "cri-o" }

// Part is the container.
func (s *Source) Part() workload.Part { return workload.PartContainer }

// folders are where the storage drivers keep bundles: "<run>/overlay-containers".
func (s *Source) folders() []string {
	var out []string
	for _, r := range s.run {
		m, _ := filepath.Glob(filepath.Join(r, "*-containers"))
		out = append(out, m...)
	}
	return out
}

// Local reads the bundle.
func (s *Source) Local(ref workload.Ref) (workload.Found, error) {
	if !workload.ValidID(ref.ID) {
		return workload.Found{}, workload.ErrUnknown
	}
	for _, d := range s.folders() {
		f, err := read(filepath.Join(d, ref.ID))
		if !errors.Is(err, workload.ErrUnknown) {
			return f, err
		}
	}
	return workload.Found{}, workload.ErrUnknown
}

// Lookup is Local: there is nobody to ask.
func (s *Source) Lookup(_ context.Context, ref workload.Ref) (workload.Found, error) {
	if len(s.folders()) == 0 {
		return workload.Found{}, workload.ErrAbsent
	}
	return s.Local(ref)
}

// Layers reads the records of the storage.
func (s *Source) Layers(_ context.Context, ref workload.Ref, _ bollwerk.Digest) (workload.Root, error) {
	if _, err := s.Local(ref); err != nil {
		return workload.Root{}, err
	}
	for _, dir := range s.storage {
		if root, err := s.stored.Layers(dir, ref.ID); !errors.Is(err, workload.ErrUnknown) {
			return root, err
		}
	}
	return workload.Root{}, workload.ErrUnknown
}

// List reads all bundles.
func (s *Source) List(ctx context.Context) ([]workload.Found, error) {
	var out []workload.Found
	err := error(workload.ErrAbsent)
	for _, dir := range s.folders() {
		d, e := os.Open(dir)
		if e != nil {
			continue
		}
		names, _ := d.Readdirnames(4096)
		d.Close()
		for _, n := range names {
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			if f, e := read(filepath.Join(dir, n)); e == nil {
				out, err = append(out, f), nil
			}
		}
	}
	return out, err
}

// Watch tells of bundles as they are written: before the container's first process.
func (s *Source) Watch(ctx context.Context, fn func(workload.Found)) error {
	w := workload.Folders{File: "userdata/config.json",
		Changed: func(dir string) {
			if f, err := read(dir); err == nil {
				fn(f)
			}
		},
		Ended: func(dir string) {
			fn(workload.Found{Container: bollwerk.Container{ID: filepath.Base(dir)}, Gone: true})
		},
	}
	for _, r := range s.run {
		w.Patterns = append(w.Patterns, filepath.Join(r, "*-containers", "*"))
	}
	return w.Run(ctx)
}

func read(dir string) (workload.Found, error) {
	spec, err := workload.ReadBundle(filepath.Join(dir, "userdata"))
	if err != nil {
		return workload.Found{}, err
	}
	f, err := parse(spec)
	if err != nil {
		return f, err
	}
	f.Container.ID = filepath.Base(dir)
	f.Container.PID = workload.ReadPID(filepath.Join(dir, "userdata", "pidfile"))
	return f, nil
}

// parse reads the annotations (cri-o, pkg/annotations). A bundle without them is
// Podman's, which shares the folder.
func parse(spec workload.Spec) (workload.Found, error) {
	const crio = "io.kubernetes.cri-o."
	a, f := spec.Annotations, spec.Found
	if a[crio+"ContainerID"] == "" && a[crio+"ContainerType"] == "" {
		return workload.Found{}, workload.ErrUnknown
	}
	f.Container.Runtime = "cri-o"
	// "k8s_app_cart-5d9f7c-x_shop_<uid>_0"; the labels have the parts.
	f.Container.Name = a[crio+"Name"]
	f.Container.Image = first(a[crio+"UserRequestedImage"], a[crio+"ImageName"], a[crio+"Image"])
	// "docker.io/library/nginx@sha256:…", or the id of the image's configuration.
	for _, ref := range [...]string{a[crio+"ImageRef"], a[crio+"ImageName"], a[crio+"Image"]} {
		if i := strings.LastIndexByte(ref, '@'); i >= 0 {
			ref = ref[i+1:]
		} else if len(ref) == 64 {
			ref = "sha256:" + ref
		}
		if d, err := bollwerk.ParseDigest(ref); err == nil {
			f.Container.Digest = d
			break
		}
	}
	var labels map[string]string
	if l := a[crio+"Labels"]; l != "" && len(l) <= 1<<20 {
		_ = json.Unmarshal([]byte(l), &labels)
	}
	f.Container.Labels = labels
	if t, err := time.Parse(time.RFC3339Nano, a[crio+"Created"]); err == nil {
		f.Container.Started = t
	}
	f.Pod = &bollwerk.Pod{
		Namespace: first(labels["io.kubernetes.pod.namespace"], a["io.kubernetes.pod.namespace"], a[crio+"Namespace"]),
		Name:      first(labels["io.kubernetes.pod.name"], a["io.kubernetes.pod.name"]),
		UID:       first(labels["io.kubernetes.pod.uid"], a["io.kubernetes.pod.uid"]),
		Container: first(labels["io.kubernetes.container.name"], a["io.kubernetes.container.name"]),
		Sandbox:   a[crio+"ContainerType"] == "sandbox",
	}
	if f.Pod.Sandbox {
		f.Pod.Container = "POD"
	}
	f.Container.Name = first(f.Pod.Container, f.Container.Name)
	// The word of the engine itself, where it has one.
	if a[crio+"PrivilegedRuntime"] == "true" && !f.Pod.Sandbox {
		f.Container.Privileged = true
	}
	f.Bound()
	return f, nil
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}
