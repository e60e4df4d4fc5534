package recorder

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/bollwerk/bollwerk"
)

// Snapshot is what could be seen of the processes around a detection without stopping
// them. Everything is bounded; what was cut or could not be read is said in Missing.
// It holds environments, and so perhaps secrets: files are readable by root alone.
type Snapshot struct {
	ID        string              `json:"id"`
	Time      time.Time           `json:"time"`
	Took      time.Duration       `json:"took"` // nanoseconds
	Detection *bollwerk.Detection `json:"detection,omitempty"`
	Processes []ProcessSnapshot   `json:"processes"`
	// Changed are files of the container's writable layer, newest first.
	Changed []ChangedFile `json:"changed,omitempty"`
	Missing []string      `json:"missing,omitempty"`
}

// ProcessSnapshot is one process as /proc shows it.
type ProcessSnapshot struct {
	PID     int        `json:"pid"`
	Parent  int        `json:"parent"`
	Name    string     `json:"name"`
	State   string     `json:"state,omitempty"`
	Exe     string     `json:"exe,omitempty"`
	Cwd     string     `json:"cwd,omitempty"`
	Root    string     `json:"root,omitempty"`
	Args    []string   `json:"args,omitempty"`
	Env     []string   `json:"env,omitempty"`
	UIDs    string     `json:"uids,omitempty"`
	CapEff  string     `json:"cap_eff,omitempty"`
	Seccomp string     `json:"seccomp,omitempty"`
	Cgroup  string     `json:"cgroup,omitempty"`
	Files   []FileRef  `json:"files,omitempty"`
	Maps    []string   `json:"maps,omitempty"` // executable mappings, as in /proc/PID/maps
	Sockets []SocketAt `json:"sockets,omitempty"`
	// Subject: the process the detection speaks of.
	Subject bool `json:"subject,omitempty"`
}

// FileRef is an open descriptor.
type FileRef struct {
	FD     int    `json:"fd"`
	Target string `json:"target"`
}

// SocketAt is an internet socket of a process, as in /proc/net/tcp.
type SocketAt struct {
	FD       int    `json:"fd"`
	Protocol string `json:"protocol"`
	Local    string `json:"local"`
	Remote   string `json:"remote"`
	State    string `json:"state"`
}

// ChangedFile is a file in the writable layer of a container.
type ChangedFile struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"`
	Mode     string    `json:"mode"`
	Modified time.Time `json:"modified"`
	// Removed: a file of the image that is gone (in the layer a device without a number
	// stands for it).
	Removed bool `json:"removed,omitempty"`
}

// Bounds of a snapshot.
const (
	maxSnapshotProcesses = 64
	maxSnapshotFiles     = 256 // of one process
	maxSnapshotText      = 32 << 10
	maxSnapshotMaps      = 1 << 20 // looked through
	maxSnapshotChanged   = 500
	maxSnapshotWalk      = 50_000
)

// Capture looks at the processes with the given PIDs, the first of which is the
// detection's. It only reads /proc; nothing is stopped or traced. A process that ends
// meanwhile is left as far as it was seen.
func Capture(ctx context.Context, d *bollwerk.Detection, pids []int, now time.Time) *Snapshot {
	s, layer := CaptureProcesses(ctx, d, pids, now)
	s.AddChanged(ctx, layer)
	return s
}

// CaptureProcesses is Capture without the changed files, for processes that are about to
// be ended: it takes a few milliseconds. AddChanged may be called with the folder of the
// container's writable layer ("": there is none) when they are gone.
func CaptureProcesses(ctx context.Context, d *bollwerk.Detection, pids []int, now time.Time) (s *Snapshot, layer string) {
	began := time.Now()
	s = &Snapshot{ID: fmt.Sprintf("%s-%s", now.UTC().Format("20060102T150405.000"), d.ID), Time: now, Detection: d}
	if len(pids) > maxSnapshotProcesses {
		s.missing("%d processes beyond the first %d", len(pids)-maxSnapshotProcesses, maxSnapshotProcesses)
		pids = pids[:maxSnapshotProcesses]
	}
	sockets := map[string]map[string]SocketAt{} // by network namespace, by inode
	for i, pid := range pids {
		if ctx.Err() != nil {
			s.missing("%d processes: out of time", len(pids)-i)
			break
		}
		p, err := s.process(ctx, pid, sockets)
		if err != nil {
			s.missing("process %d: %v", pid, err)
			continue
		}
		p.Subject = i == 0
		s.Processes = append(s.Processes, *p)
	}
	for _, pid := range pids {
		if b, err := readSome(filepath.Join("/proc", strconv.Itoa(pid), "mountinfo")); err == nil {
			layer = upperOf(string(b))
			break
		}
	}
	s.Took = time.Since(began)
	return s, layer
}

func (s *Snapshot) missing(format string, args ...any) {
	if len(s.Missing) < 50 {
		s.Missing = append(s.Missing, fmt.Sprintf(format, args...))
	}
}

func (s *Snapshot) process(ctx context.Context, pid int, sockets map[string]map[string]SocketAt) (*ProcessSnapshot, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := readSome(filepath.Join(dir, "status"))
	if err != nil {
		return nil, errors.New("has ended")
	}
	p := &ProcessSnapshot{PID: pid}
	for line := range strings.Lines(string(status)) {
		k, v, _ := strings.Cut(strings.TrimRight(line, "\n"), ":")
		v = strings.TrimSpace(v)
		switch k {
		case "Name":
			p.Name = v
		case "State":
			p.State = v
		case "PPid":
			p.Parent, _ = strconv.Atoi(v)
		case "Uid":
			p.UIDs = v
		case "CapEff":
			p.CapEff = v
		case "Seccomp":
			p.Seccomp = v
		}
	}
	p.Exe, _ = os.Readlink(filepath.Join(dir, "exe"))
	p.Cwd, _ = os.Readlink(filepath.Join(dir, "cwd"))
	p.Root, _ = os.Readlink(filepath.Join(dir, "root"))
	p.Args = s.strings(pid, "cmdline", maxEmptyEnd)
	p.Env = s.strings(pid, "environ", -1)
	if b, err := readSome(filepath.Join(dir, "cgroup")); err == nil {
		p.Cgroup = strings.TrimSpace(string(b))
	}
	s.maps(p, dir)
	s.files(ctx, p, dir, sockets)
	return p, nil
}

// maxEmptyEnd is how many empty texts an argument list may end with. A program that writes
// a title over its arguments leaves the rest of their room empty.
const maxEmptyEnd = 64

func (s *Snapshot) strings(pid int, name string, empty int) []string {
	b, err := readSome(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		s.missing("process %d: %s: %v", pid, name, err)
		return nil
	}
	if len(b) == maxSnapshotText {
		s.missing("process %d: %s beyond 32 KiB", pid, name)
	}
	return texts(b, empty)
}

// texts splits what ends with a zero byte each. Empty ones at the end are left out when there
// are more of them than this.
func texts(b []byte, empty int) []string {
	if len(b) == 0 {
		return nil
	}
	if text := bytes.TrimRight(b, "\x00"); len(b)-len(text)-1 <= empty {
		b = bytes.TrimSuffix(b, []byte{0}) // the end of the last one
	} else if b = text; len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\x00")
}

// maps keeps the executable mappings, among the first of which a large program has many
// that are not.
func (s *Snapshot) maps(p *ProcessSnapshot, dir string) {
	f, err := os.Open(filepath.Join(dir, "maps"))
	if err != nil {
		s.missing("process %d: mappings: %v", p.PID, err)
		return
	}
	defer f.Close()
	text := &io.LimitedReader{R: f, N: maxSnapshotMaps}
	sc := bufio.NewScanner(text)
	for room := maxSnapshotText; sc.Scan(); {
		if _, rights, _ := strings.Cut(sc.Text(), " "); len(rights) < 4 || rights[2] != 'x' {
			continue
		}
		if room -= len(sc.Text()); room < 0 {
			s.missing("process %d: executable mappings beyond 32 KiB", p.PID)
			return
		}
		p.Maps = append(p.Maps, sc.Text())
	}
	if text.N <= 0 {
		s.missing("process %d: mappings beyond 1 MiB", p.PID)
	}
}

func (s *Snapshot) files(ctx context.Context, p *ProcessSnapshot, dir string, sockets map[string]map[string]SocketAt) {
	d, err := os.Open(filepath.Join(dir, "fd"))
	if err != nil {
		s.missing("process %d: open files: %v", p.PID, err)
		return
	}
	defer d.Close()
	names, err := d.Readdirnames(maxSnapshotFiles + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		s.missing("process %d: open files: %v", p.PID, err)
	}
	if len(names) > maxSnapshotFiles {
		s.missing("process %d: open files beyond the first %d", p.PID, maxSnapshotFiles)
		names = names[:maxSnapshotFiles]
	}
	var of map[string]SocketAt
	for _, n := range names {
		target, err := os.Readlink(filepath.Join(dir, "fd", n))
		if err != nil {
			continue
		}
		fd, _ := strconv.Atoi(n)
		p.Files = append(p.Files, FileRef{FD: fd, Target: target})
		inode, ok := strings.CutPrefix(target, "socket:[")
		if !ok {
			continue
		}
		if of == nil {
			ns, _ := os.Readlink(filepath.Join(dir, "ns", "net"))
			if of = sockets[ns]; of == nil {
				of = socketsOf(ctx, dir)
				sockets[ns] = of
			}
		}
		if so, ok := of[strings.TrimSuffix(inode, "]")]; ok {
			so.FD = fd
			p.Sockets = append(p.Sockets, so)
		}
	}
	sort.Slice(p.Files, func(i, j int) bool { return p.Files[i].FD < p.Files[j].FD })
}

// socketsOf reads the sockets of a process's network namespace, by inode.
func socketsOf(ctx context.Context, dir string) map[string]SocketAt {
	out := map[string]SocketAt{}
	for _, proto := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		f, err := os.Open(filepath.Join(dir, "net", proto))
		if err != nil {
			continue
		}
		sc := bufio.NewScanner(io.LimitReader(f, 8<<20))
		for n := 1; sc.Scan() && len(out) < 65536; n++ {
			if n%256 == 0 && ctx.Err() != nil {
				break
			}
			c := strings.Fields(sc.Text())
			if len(c) < 10 || c[0] == "sl" {
				continue
			}
			out[c[9]] = SocketAt{Protocol: proto, Local: procAddress(c[1]), Remote: procAddress(c[2]), State: procState(proto, c[3])}
		}
		_ = f.Close()
	}
	return out
}

// AddChanged lists what lies in the writable layer of a container.
func (s *Snapshot) AddChanged(ctx context.Context, layer string) {
	if layer == "" {
		return
	}
	began, n := time.Now(), 0
	err := filepath.WalkDir(layer, func(path string, d fs.DirEntry, err error) error {
		if err != nil && path == layer {
			return err // removed with its container, or mounted where nobody else sees it
		}
		if err != nil {
			return nil
		}
		if n++; n > maxSnapshotWalk || ctx.Err() != nil {
			return fs.SkipAll
		}
		if d.IsDir() {
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			return nil
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		s.Changed = append(s.Changed, ChangedFile{Path: strings.TrimPrefix(path, layer), Size: fi.Size(), Mode: fi.Mode().String(), Modified: fi.ModTime(),
			Removed: ok && st.Mode&syscall.S_IFMT == syscall.S_IFCHR && st.Rdev == 0})
		return nil
	})
	if err != nil {
		s.missing("changed files: %v", err)
	}
	if n > maxSnapshotWalk || ctx.Err() != nil {
		s.missing("changed files: more than could be looked at")
	}
	sort.Slice(s.Changed, func(i, j int) bool { return s.Changed[i].Modified.After(s.Changed[j].Modified) })
	if len(s.Changed) > maxSnapshotChanged {
		s.missing("changed files beyond the newest %d", maxSnapshotChanged)
		s.Changed = s.Changed[:maxSnapshotChanged]
	}
	s.Took += time.Since(began)
}

// upperOf finds the writable folder of an overlay root in a mountinfo.
func upperOf(mountinfo string) string {
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || l[4] != "/" || len(r) < 3 || r[0] != "overlay" {
			continue
		}
		for _, o := range strings.Split(r[2], ",") {
			if u, ok := strings.CutPrefix(o, "upperdir="); ok && strings.HasPrefix(u, "/") {
				return u
			}
		}
	}
	return ""
}

func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSnapshotText))
}

const snapshotSuffix = ".json.zst"

// Save writes a snapshot into the folder and deletes the oldest ones beyond keep. It
// returns the name of the file.
func Save(dir string, s *Snapshot, keep int) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10))
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, s.ID+snapshotSuffix)
	tmp := name + ".new"
	if err := os.WriteFile(tmp, enc.EncodeAll(b, nil), 0o600); err != nil {
		_ = os.Remove(tmp)
		return "", err
	}
	if err := os.Rename(tmp, name); err != nil {
		return "", err
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"+snapshotSuffix))
	if err != nil {
		return name, err
	}
	sort.Strings(names) // ids begin with their time
	for len(names) > keep {
		if err := os.Remove(names[0]); err != nil {
			return name, err
		}
		names = names[1:]
	}
	return name, nil
}

// Snapshots are the ids of the snapshots in a folder, oldest first. A folder that is not
// there has none.
func Snapshots(dir string) (ids []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries { // sorted, and ids begin with their time
		if id, ok := strings.CutSuffix(e.Name(), snapshotSuffix); ok && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// SnapshotOf reads the snapshot with an id that Snapshots knows: what else is given names no file.
func SnapshotOf(dir, id string) (*Snapshot, error) {
	ids, err := Snapshots(dir)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(ids, id) {
		return nil, &unknownSnapshot{id, dir, len(ids)}
	}
	return LoadSnapshot(filepath.Join(dir, id+snapshotSuffix))
}

// unknownSnapshot is fs.ErrNotExist with more of a reason.
type unknownSnapshot struct {
	id, dir string
	among   int
}

func (u *unknownSnapshot) Error() string {
	return fmt.Sprintf("no snapshot %.100q among %d in %s", u.id, u.among, u.dir)
}

func (u *unknownSnapshot) Unwrap() error { return fs.ErrNotExist }

// LoadSnapshot reads a snapshot back; at most 64 MiB.
func LoadSnapshot(name string) (*Snapshot, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dec, err := zstd.NewReader(io.LimitReader(f, 64<<20), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	s := &Snapshot{}
	if err := json.NewDecoder(io.LimitReader(dec, 64<<20)).Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return s, nil
}
