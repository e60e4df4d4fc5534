// Package podman tells about the containers of Podman, of root and of other users, from
// the files of containers/storage: Podman has no daemon that could be asked.
//
// Labels given to a single container are in Podman's own database only, and are known
// if its API service is told with Config.Socket. It is not asked unless told: its
// socket would start the service, which takes more memory than this agent.
package podman

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
)

// Config of the source. The zero value looks in the usual places.
type Config struct {
	// Root is put before the default paths, "" on the host itself.
	Root string
	// Storage are the folders of root's storage ("podman --root").
	Storage []string
	// Run are the run roots that belong to Storage ("podman --runroot").
	Run []string
	// Users are other users' storage, for the processes of that user only; nil: the
	// usual folder in the home of every user of /etc/passwd.
	Users []User
	// Socket of the API service, "" for none.
	Socket string
}

// User is the storage of a user that is not root.
type User struct {
	UID          uint32
	Storage, Run string
}

// Source is a workload.Source.
type Source struct {
	config Config
	socket *workload.Socket
	stored workload.Stored
}

// New makes the source; nothing is opened.
func New(c Config) *Source {
	if len(c.Storage) == 0 {
		c.Storage = []string{filepath.Join(c.Root, "/var/lib/containers/storage")}
		c.Run = []string{filepath.Join(c.Root, "/run/containers/storage")}
	}
	s := &Source{config: c}
	if c.Socket != "" {
		s.socket = workload.NewSocket(c.Socket, false)
	}
	return s
}

// Name is "podman".
func (s *Source) Name() string { return "podman" }

// Part is the container.
func (s *Source) Part() workload.Part { return workload.PartContainer }

// Close ends idle connections.
func (s *Source) Close() {
	if s.socket != nil {
		s.socket.Close()
	}
}

// store is one storage folder.
type store struct {
	dir, run, below string
}

func (s *Source) system() []store {
	var out []store
	for i, d := range s.config.Storage {
		st := store{dir: d}
		if i < len(s.config.Run) {
			st.run = s.config.Run[i]
		}
		out = append(out, st)
	}
	return out
}

const (
	maxUsers  = 1024
	maxListed = 4096
)

// users returns the storage of other users; uid -1 for all.
func (s *Source) users(uid int64) []store {
	list := s.config.Users
	if list == nil {
		list = s.homes(uid)
	}
	var out []store
	for _, u := range list {
		if uid >= 0 && int64(u.UID) != uid {
			continue
		}
		var st syscall.Stat_t
		// The folder must be the user's own: else one user would speak for another.
		if syscall.Stat(u.Storage, &st) != nil || st.Uid != u.UID {
			continue
		}
		out = append(out, store{u.Storage, u.Run, fmt.Sprintf("/user.slice/user-%d.slice/", u.UID)})
	}
	return out
}

func (s *Source) homes(uid int64) []User {
	b, err := workload.ReadFile(filepath.Join(s.config.Root, "/etc/passwd"), 4<<20)
	if err != nil {
		return nil
	}
	var out []User
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 7 || !strings.HasPrefix(f[5], "/") || len(out) == maxUsers {
			continue
		}
		n, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil || n == 0 || uid >= 0 && int64(n) != uid {
			continue
		}
		out = append(out, User{UID: uint32(n), Storage: filepath.Join(s.config.Root, f[5], ".local/share/containers/storage"),
			Run: filepath.Join(s.config.Root, "/run/user", f[2], "containers")})
	}
	return out
}

// Local reads the files of a container.
func (s *Source) Local(ref workload.Ref) (workload.Found, error) {
	if !workload.ValidID(ref.ID) {
		return workload.Found{}, workload.ErrUnknown
	}
	for _, st := range s.stores(ref) {
		f, err := s.find(st, ref.ID)
		if !errors.Is(err, workload.ErrUnknown) {
			return f, err
		}
	}
	return workload.Found{}, workload.ErrUnknown
}

// stores are the folders that may have a container: first those of the user it belongs to.
func (s *Source) stores(ref workload.Ref) []store {
	stores := s.system()
	if rest, ok := strings.CutPrefix(ref.Path, "/user.slice/user-"); ok {
		uid, _, _ := strings.Cut(rest, ".slice/")
		if n, err := strconv.ParseUint(uid, 10, 32); err == nil && n > 0 {
			stores = append(s.users(int64(n)), stores...)
		}
	}
	return stores
}

// Layers reads the records of the storage. What a user's storage says of its layers is that
// user's word, as with names.
func (s *Source) Layers(_ context.Context, ref workload.Ref, _ bollwerk.Digest) (workload.Root, error) {
	if !workload.ValidID(ref.ID) {
		return workload.Root{}, workload.ErrUnknown
	}
	for _, st := range s.stores(ref) {
		if root, err := s.stored.Layers(st.dir, ref.ID); !errors.Is(err, workload.ErrUnknown) {
			return root, err
		}
	}
	return workload.Root{}, workload.ErrUnknown
}

func (s *Source) find(st store, id string) (workload.Found, error) {
	dirs, _ := filepath.Glob(filepath.Join(st.dir, "*-containers"))
	for _, d := range dirs {
		bundle := filepath.Join(d, id, "userdata")
		if _, err := os.Lstat(bundle); err != nil {
			continue
		}
		return s.read(st, d, id, containers(d), images(d))
	}
	return workload.Found{}, workload.ErrUnknown
}

// Lookup adds what only the API service knows, if there is to be one.
func (s *Source) Lookup(ctx context.Context, ref workload.Ref) (workload.Found, error) {
	f, err := s.Local(ref)
	if errors.Is(err, workload.ErrUnknown) && !s.present(ref) {
		return f, workload.ErrAbsent
	}
	if err != nil || s.socket == nil || f.Below != "" {
		return f, err
	}
	b, err := s.socket.Get(ctx, "/v4.0.0/libpod/containers/"+ref.ID+"/json")
	if errors.Is(err, workload.ErrAbsent) || errors.Is(err, workload.ErrUnknown) {
		f.More = ""
		return f, nil
	}
	if err != nil {
		return f, err
	}
	var answer struct {
		ID     string `json:"Id"`
		Config struct{ Labels map[string]string }
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return f, fmt.Errorf("%s: answer about a container: %w", s.socket.Path, err)
	}
	if answer.ID == ref.ID {
		f.Container.Labels = answer.Config.Labels
	}
	f.More = ""
	f.Bound()
	return f, nil
}

// present reports whether Podman ever had a container of root here; of users it may.
func (s *Source) present(ref workload.Ref) bool {
	if strings.HasPrefix(ref.Path, "/user.slice/user-") {
		return true
	}
	for _, st := range s.system() {
		if dirs, _ := filepath.Glob(filepath.Join(st.dir, "*-containers")); len(dirs) > 0 {
			return true
		}
	}
	return false
}

// List reads the files of all containers that run.
func (s *Source) List(ctx context.Context) ([]workload.Found, error) {
	var out []workload.Found
	result := error(workload.ErrAbsent)
	for _, st := range append(s.system(), s.users(-1)...) {
		dirs, _ := filepath.Glob(filepath.Join(st.dir, "*-containers"))
		for _, d := range dirs {
			result = nil
			cs, is := containers(d), images(d)
			for id := range cs {
				if ctx.Err() != nil {
					return out, ctx.Err()
				}
				f, err := s.read(st, d, id, cs, is)
				if err == nil && len(out) < maxListed {
					out = append(out, f)
				}
			}
		}
	}
	return out, result
}

// Watch tells of bundles as they are written: before the container's first process.
// Storage of users that appears later is found when one of their processes is seen.
func (s *Source) Watch(ctx context.Context, fn func(workload.Found)) error {
	stores := append(s.system(), s.users(-1)...)
	of := func(dir string) (store, bool) {
		for _, st := range stores {
			if strings.HasPrefix(dir, st.dir+"/") {
				return st, true
			}
		}
		return store{}, false
	}
	w := workload.Folders{File: "userdata/config.json",
		Changed: func(dir string) {
			st, ok := of(dir)
			if !ok {
				return
			}
			d := filepath.Dir(dir)
			if f, err := s.read(st, d, filepath.Base(dir), containers(d), images(d)); err == nil {
				fn(f)
			}
		},
		Ended: func(dir string) {
			if st, ok := of(dir); ok {
				fn(workload.Found{Container: bollwerk.Container{ID: filepath.Base(dir)}, Below: st.below, Gone: true})
			}
		},
	}
	for _, st := range stores {
		w.Patterns = append(w.Patterns, filepath.Join(st.dir, "*-containers", "*"))
	}
	return w.Run(ctx)
}

// record is one entry of containers.json (containers/storage, container).
type record struct {
	ID       string    `json:"id"`
	Names    []string  `json:"names"`
	Image    string    `json:"image"`
	Metadata string    `json:"metadata"`
	Created  time.Time `json:"created"`
}

// image is one entry of images.json.
type image struct {
	ID     string `json:"id"`
	Digest string `json:"digest"`
}

const maxFile = 32 << 20

// containers reads the list of the storage, and that of containers which do not
// survive a reboot.
func containers(dir string) map[string]record {
	out := map[string]record{}
	for _, name := range [...]string{"containers.json", "volatile-containers.json"} {
		b, err := workload.ReadFile(filepath.Join(dir, name), maxFile)
		if err != nil {
			continue
		}
		for _, r := range parseContainers(b) {
			out[r.ID] = r
		}
	}
	return out
}

func parseContainers(b []byte) []record {
	var list []record
	if json.Unmarshal(b, &list) != nil {
		return nil // being written; the next look is right
	}
	return slices.DeleteFunc(list, func(r record) bool { return !workload.ValidID(r.ID) })
}

// images reads the list beside a "<driver>-containers" folder.
func images(containers string) map[string]image {
	b, err := workload.ReadFile(filepath.Join(imagesDir(containers), "images.json"), maxFile)
	if err != nil {
		return nil
	}
	var list []image
	if json.Unmarshal(b, &list) != nil {
		return nil
	}
	out := make(map[string]image, len(list))
	for _, i := range list {
		out[i.ID] = i
	}
	return out
}

func imagesDir(containers string) string {
	return strings.TrimSuffix(containers, "-containers") + "-images"
}

// read joins the bundle, the storage's entry and the image of a container.
func (s *Source) read(st store, dir, id string, cs map[string]record, is map[string]image) (workload.Found, error) {
	spec, err := workload.ReadBundle(filepath.Join(dir, id, "userdata"))
	if err != nil {
		return workload.Found{}, err
	}
	if spec.Annotations["io.container.manager"] != "libpod" {
		return workload.Found{}, workload.ErrUnknown // CRI-O's, which shares the folder
	}
	f := spec.Found
	f.Below = st.below
	c := &f.Container
	c.ID, c.Runtime = id, "podman"
	c.Privileged = c.Privileged || spec.Annotations["io.podman.annotations.privileged"] == "TRUE"
	if r, ok := cs[id]; ok {
		meta(&f, r)
		if i, ok := is[r.Image]; ok && workload.ValidID(r.Image) {
			if d, err := bollwerk.ParseDigest(i.Digest); err == nil {
				c.Digest = d
			}
			settings(&f, filepath.Join(imagesDir(dir), r.Image))
		}
	}
	if st.run != "" {
		run := filepath.Join(st.run, filepath.Base(dir), id, "userdata", "pidfile")
		c.PID = workload.ReadPID(run)
		if i, err := os.Stat(run); err == nil {
			c.Started = i.ModTime()
		}
	}
	if s.socket != nil && st.below == "" {
		f.More = "labels of the container"
	}
	f.Bound()
	return f, nil
}

// meta reads the storage's entry; Podman keeps JSON in a text of it.
func meta(f *workload.Found, r record) {
	var m struct {
		ImageName string `json:"image-name"`
		Name      string `json:"name"`
	}
	_ = json.Unmarshal([]byte(r.Metadata), &m)
	f.Container.Name, f.Container.Image = m.Name, m.ImageName
	if f.Container.Name == "" && len(r.Names) > 0 {
		f.Container.Name = r.Names[0]
	}
	f.Container.Started = r.Created
}

// settings reads the image's configuration: labels and declared ports. The file is
// named by the base64 of its digest (containers/storage, makeBigDataBaseName).
func settings(f *workload.Found, dir string) {
	name := "=" + base64.StdEncoding.EncodeToString([]byte("sha256:"+filepath.Base(dir)))
	b, err := workload.ReadFile(filepath.Join(dir, name), 4<<20)
	if err != nil {
		return
	}
	var c struct {
		Config struct {
			Labels       map[string]string
			ExposedPorts map[string]struct{}
		} `json:"config"`
	}
	if json.Unmarshal(b, &c) != nil {
		return
	}
	f.Container.Labels = c.Config.Labels
	for p := range c.Config.ExposedPorts {
		p, _, _ = strings.Cut(p, "/")
		if n, err := strconv.ParseUint(p, 10, 16); err == nil && n > 0 && len(f.Container.Ports) < 256 {
			f.Container.Ports = append(f.Container.Ports, uint16(n))
		}
	}
	slices.Sort(f.Container.Ports)
	f.Container.Ports = slices.Compact(f.Container.Ports)
}
