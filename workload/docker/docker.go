// Package docker tells about the containers of the Docker engine, from the files it
// keeps per container and, where its data folder is not to be seen, from its API.
//
// Digest is the engine's id of the image: that of the configuration, or of the
// manifest where images are kept by containerd. It is what the engine itself compares.
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// Config of the source. The zero value looks in the usual places.
type Config struct {
	// Root is put before the default paths, "" on the host itself.
	Root string
	// Data are the data folders of engines ("dockerd --data-root").
	Data []string
	// Socket of the engine.
	Socket string
}

// Source is a workload.Source.
type Source struct {
	data   []string
	socket *workload.Socket

	mu     sync.Mutex
	chains map[string][]workload.Layer // by data folder and highest layer
}

// New makes the source; nothing is opened.
func New(c Config) *Source {
	if len(c.Data) == 0 {
		c.Data = []string{filepath.Join(c.Root, "/var/lib/docker"), filepath.Join(c.Root, "/var/snap/docker/common/var-lib-docker")}
	}
	if c.Socket == "" {
		c.Socket = filepath.Join(c.Root, "/run/docker.sock")
	}
	return &Source{data: c.Data, socket: workload.NewSocket(c.Socket, false)}
}

// Name is "docker".
func (s *Source) Name() string { return "docker" }

// Part is the container.
func (s *Source) Part() workload.Part { return workload.PartContainer }

// Close ends idle connections.
func (s *Source) Close() { s.socket.Close() }

// validID: the engine's ids are 64 hexadecimal digits; anything else is not asked for,
// as the API also takes names and beginnings of ids.
func validID(id string) bool {
	if len(id) != 64 {
		return false
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

// Local reads the engine's files.
func (s *Source) Local(ref workload.Ref) (workload.Found, error) {
	if !validID(ref.ID) {
		return workload.Found{}, workload.ErrUnknown
	}
	for _, d := range s.data {
		f, err := read(filepath.Join(d, "containers", ref.ID))
		if !errors.Is(err, workload.ErrUnknown) {
			return f, err
		}
	}
	return workload.Found{}, workload.ErrUnknown
}

// Lookup asks the engine if its files are not to be seen.
func (s *Source) Lookup(ctx context.Context, ref workload.Ref) (workload.Found, error) {
	if f, err := s.Local(ref); err == nil {
		return f, nil
	}
	if !validID(ref.ID) {
		return workload.Found{}, workload.ErrUnknown
	}
	b, err := s.socket.Get(ctx, "/containers/"+url.PathEscape(ref.ID)+"/json")
	if err != nil {
		return workload.Found{}, err
	}
	return parseInspect(b)
}

const maxListed = 4096

// List reads the files of all containers that run, or asks the engine.
func (s *Source) List(ctx context.Context) ([]workload.Found, error) {
	var out []workload.Found
	seen := false
	for _, data := range s.data {
		d, err := os.Open(filepath.Join(data, "containers"))
		if err != nil {
			continue
		}
		seen = true
		names, _ := d.Readdirnames(maxListed)
		d.Close()
		for _, n := range names {
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			if f, err := read(filepath.Join(data, "containers", n)); err == nil && f.Container.PID != 0 {
				out = append(out, f)
			}
		}
	}
	if seen {
		return out, nil
	}
	b, err := s.socket.Get(ctx, "/containers/json")
	if err != nil {
		return nil, err
	}
	var list []struct {
		ID string `json:"Id"`
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("%s: list of containers: %w", s.socket.Path, err)
	}
	for _, c := range list[:min(len(list), maxListed)] {
		f, err := s.Lookup(ctx, workload.Ref{ID: c.ID})
		if err == nil {
			out = append(out, f)
		} else if !errors.Is(err, workload.ErrUnknown) {
			return out, err
		}
	}
	return out, nil
}

// Watch tells of the engine's files as they are written: when a container is made, and
// again when it starts and ends.
func (s *Source) Watch(ctx context.Context, fn func(workload.Found)) error {
	w := workload.Folders{File: "config.v2.json",
		Changed: func(dir string) {
			if f, err := read(dir); err == nil {
				fn(f)
			}
		},
		Ended: func(dir string) {
			fn(workload.Found{Container: bollwerk.Container{ID: filepath.Base(dir)}, Gone: true})
		},
	}
	for _, d := range s.data {
		w.Patterns = append(w.Patterns, filepath.Join(d, "containers", "*"))
	}
	return w.Run(ctx)
}

// settings are as much of config.v2.json (moby, container.Container) and of the API's
// answer about a container as is used; the two use the same words.
type settings struct {
	ID    string
	Name  string // "/web"
	Image string // "sha256:…"
	State struct {
		Pid       uint32
		StartedAt time.Time
	}
	Config struct {
		Image        string
		Labels       map[string]string
		ExposedPorts map[string]struct{}
	}
	Path        string
	Args        []string
	MountPoints map[string]mountPoint // on disk, by target
	Mounts      []mountPoint          // of the API
	HostConfig  *hostSettings         // of the API; on disk in hostconfig.json
}

type mountPoint struct {
	Source, Destination, Type string
	RW                        bool
}

type hostSettings struct {
	Privileged  bool
	PidMode     string
	NetworkMode string
}

const maxFile = 8 << 20

func read(dir string) (workload.Found, error) {
	b, err := workload.ReadFile(filepath.Join(dir, "config.v2.json"), maxFile)
	if err != nil {
		if os.IsNotExist(err) {
			err = workload.ErrUnknown
		}
		return workload.Found{}, err
	}
	var host []byte
	if h, err := workload.ReadFile(filepath.Join(dir, "hostconfig.json"), maxFile); err == nil {
		host = h
	}
	f, err := parseFiles(b, host)
	if err != nil {
		return f, fmt.Errorf("%s: %w", dir, err)
	}
	if f.Container.ID != filepath.Base(dir) {
		return f, fmt.Errorf("%s: is about container %q", dir, f.Container.ID)
	}
	return f, nil
}

func parseFiles(config, host []byte) (workload.Found, error) {
	var s settings
	if err := json.Unmarshal(config, &s); err != nil {
		return workload.Found{}, fmt.Errorf("config.v2.json: %w", err)
	}
	s.HostConfig = nil
	if host != nil {
		var h hostSettings
		if err := json.Unmarshal(host, &h); err != nil {
			return workload.Found{}, fmt.Errorf("hostconfig.json: %w", err)
		}
		s.HostConfig = &h
	}
	return s.found(), nil
}

func parseInspect(b []byte) (workload.Found, error) {
	var s settings
	if err := json.Unmarshal(b, &s); err != nil {
		return workload.Found{}, fmt.Errorf("answer of the engine: %w", err)
	}
	if !validID(s.ID) {
		return workload.Found{}, errors.New("answer of the engine: no container id in it")
	}
	return s.found(), nil
}

func (s *settings) found() workload.Found {
	var f workload.Found
	c := &f.Container
	c.ID, c.Runtime = s.ID, "docker"
	c.Name = strings.TrimPrefix(s.Name, "/")
	c.Image, c.Labels = s.Config.Image, s.Config.Labels
	if d, err := bollwerk.ParseDigest(s.Image); err == nil {
		c.Digest = d
	}
	c.PID = s.State.Pid
	if s.State.StartedAt.Year() > 1970 {
		c.Started = s.State.StartedAt
	}
	if s.Path != "" {
		c.Entrypoint = append([]string{s.Path}, s.Args...)
	}
	for p := range s.Config.ExposedPorts {
		p, _, _ = strings.Cut(p, "/")
		if n, err := strconv.ParseUint(p, 10, 16); err == nil && n > 0 {
			c.Ports = append(c.Ports, uint16(n))
		}
	}
	slices.Sort(c.Ports)
	c.Ports = slices.Compact(c.Ports)
	for target, m := range s.MountPoints {
		if m.Destination == "" {
			m.Destination = target
		}
		s.Mounts = append(s.Mounts, m)
	}
	for _, m := range s.Mounts {
		mount := bollwerk.Mount{Source: m.Source, Target: m.Destination, Type: m.Type}
		if !m.RW {
			mount.Flags = 1 // MS_RDONLY
		}
		c.Mounts = append(c.Mounts, mount)
	}
	slices.SortFunc(c.Mounts, func(a, b bollwerk.Mount) int { return strings.Compare(a.Target, b.Target) })
	if h := s.HostConfig; h != nil {
		c.Privileged = h.Privileged
		c.HostPID = h.PidMode == "host"
		c.HostNetwork = h.NetworkMode == "host"
	}
	// cri-dockerd: pods of Kubernetes on Docker.
	if l := c.Labels; l["io.kubernetes.pod.uid"] != "" {
		f.Pod = &bollwerk.Pod{
			Namespace: l["io.kubernetes.pod.namespace"], Name: l["io.kubernetes.pod.name"], UID: l["io.kubernetes.pod.uid"],
			Container: l["io.kubernetes.container.name"], Sandbox: l["io.kubernetes.docker.type"] == "podsandbox",
		}
	}
	f.Bound()
	return f
}
