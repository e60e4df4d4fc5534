// Package runc tells about containers that were started with runc or crun themselves,
// without an engine above: from their state folders and the bundles these point to.
//
// Containers of an engine leave traces here too. They are named as far as the bundle
// goes, and the engine's own source has the better word.
package runc

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
	// States are the state folders ("runc --root").
	States []string
}

// Source is a workload.Source.
type Source struct{ states []string }

// New makes the source; nothing is opened.
func New(c Config) *Source {
	if len(c.States) == 0 {
		c.States = []string{filepath.Join(c.Root, "/run/runc"), filepath.Join(c.Root, "/run/crun")}
	}
	return &Source{c.States}
}

// Name is "runc".
func (s *Source) Name() string { return "runc" }

// Part is the container.
func (s *Source) Part() workload.Part { return workload.PartContainer }

// Local reads the state and the bundle.
func (s *Source) Local(ref workload.Ref) (workload.Found, error) {
	if !workload.ValidID(ref.ID) {
		return workload.Found{}, workload.ErrUnknown
	}
	for _, dir := range s.states {
		f, err := read(filepath.Join(dir, ref.ID))
		if !errors.Is(err, workload.ErrUnknown) {
			return f, err
		}
	}
	return workload.Found{}, workload.ErrUnknown
}

// Lookup is Local: there is nobody to ask.
func (s *Source) Lookup(_ context.Context, ref workload.Ref) (workload.Found, error) {
	for _, dir := range s.states {
		if _, err := os.Stat(dir); err == nil {
			return s.Local(ref)
		}
	}
	return workload.Found{}, workload.ErrAbsent
}

// List reads all states.
func (s *Source) List(ctx context.Context) ([]workload.Found, error) {
	var out []workload.Found
	err := error(workload.ErrAbsent)
	for _, dir := range s.states {
		d, e := os.Open(dir)
		if e != nil {
			continue
		}
		err = nil
		names, _ := d.Readdirnames(1 << 14)
		d.Close()
		for _, n := range names {
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			if f, e := read(filepath.Join(dir, n)); e == nil {
				out = append(out, f)
			}
		}
	}
	return out, err
}

// Watch tells of states as they are written, which is before the first instruction of
// the container's program.
func (s *Source) Watch(ctx context.Context, fn func(workload.Found)) error {
	changed := func(dir string) {
		if f, err := read(dir); err == nil {
			fn(f)
		}
	}
	ended := func(dir string) {
		fn(workload.Found{Container: bollwerk.Container{ID: filepath.Base(dir)}, Gone: true})
	}
	// Two watches as runc and crun name their file differently; the folders differ too.
	var w workload.Folders
	for _, dir := range s.states {
		w.Patterns = append(w.Patterns, filepath.Join(dir, "*"))
	}
	w.Changed, w.Ended = changed, ended
	w.File = "state.json"
	crun := w
	crun.File = "status"
	done := make(chan error, 1)
	go func() { done <- crun.Run(ctx) }()
	err := w.Run(ctx)
	return errors.Join(err, <-done)
}

// state is as much of runc's state.json (libcontainer.State) and crun's status as is used.
type state struct {
	// runc
	InitPID     uint32            `json:"init_process_pid"`
	Created     json.RawMessage   `json:"created"`
	CgroupPaths map[string]string `json:"cgroup_paths"`
	Config      struct {
		Labels []string `json:"labels"` // "bundle=/path"
	} `json:"config"`
	// crun
	PID        uint32 `json:"pid"`
	CgroupPath string `json:"cgroup-path"`
	Bundle     string `json:"bundle"`
}

const maxState = 4 << 20

func read(dir string) (workload.Found, error) {
	b, err := workload.ReadFile(filepath.Join(dir, "state.json"), maxState)
	runtime := "runc"
	if os.IsNotExist(err) {
		b, err = workload.ReadFile(filepath.Join(dir, "status"), maxState)
		runtime = "crun"
	}
	if os.IsNotExist(err) || errors.Is(err, os.ErrNotExist) {
		return workload.Found{}, workload.ErrUnknown
	}
	if err != nil {
		return workload.Found{}, err
	}
	f, bundle, err := parse(b)
	if err != nil {
		return f, err
	}
	f.Container.ID, f.Container.Name, f.Container.Runtime = filepath.Base(dir), filepath.Base(dir), runtime
	if bundle == "" {
		f.More = "what it was told to run"
		return f, nil
	}
	spec, err := workload.ReadBundle(bundle)
	if err != nil {
		f.More = "what it was told to run"
		return f, nil
	}
	own := f
	f = spec.Found
	f.Container.ID, f.Container.Runtime = own.Container.ID, runtime
	if own.CgroupPath != "" {
		f.CgroupPath = own.CgroupPath
	}
	f.Container.PID, f.Container.Started = own.Container.PID, own.Container.Started
	if f.Container.Name == "" {
		f.Container.Name = own.Container.Name
	}
	switch a := spec.Annotations; {
	case a["io.container.manager"] == "libpod":
		f.Container.Runtime, f.More = "podman", "name and image"
	case a["io.kubernetes.cri-o.ContainerID"] != "":
		f.Container.Runtime, f.More = "cri-o", "name and image"
	}
	return f, nil
}

func parse(b []byte) (workload.Found, string, error) {
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return workload.Found{}, "", err
	}
	var f workload.Found
	f.Container.PID = max(s.InitPID, s.PID)
	var at time.Time
	if json.Unmarshal(s.Created, &at) == nil {
		f.Container.Started = at
	}
	f.CgroupPath = s.CgroupPath
	// By tree: "" is the v2 one, "/sys/fs/cgroup/x" or, on a hybrid host, "/sys/fs/cgroup/unified/x".
	// The order is that in which a host's tree is chosen: the paths may differ, as runc puts
	// a container below the cgroup in which it was started.
	for _, tree := range [...]string{"memory", "pids", "cpu", "", "name=systemd"} {
		p, ok := strings.CutPrefix(s.CgroupPaths[tree], "/sys/fs/cgroup/")
		if !ok {
			continue
		}
		if len(s.CgroupPaths) > 1 {
			_, p, _ = strings.Cut(p, "/")
		}
		if p != "" {
			f.CgroupPath = "/" + p
			break
		}
	}
	f.CgroupPath = strings.TrimSuffix(f.CgroupPath, "/")
	bundle := s.Bundle
	for _, l := range s.Config.Labels {
		if p, ok := strings.CutPrefix(l, "bundle="); ok {
			bundle = p
		}
	}
	if !filepath.IsAbs(bundle) {
		bundle = ""
	}
	f.Bound()
	return f, bundle, nil
}
