// Package cgroup owns the trees of control groups of this host: which of them counts, where
// it is mounted, and how ids and paths of cgroups and the cgroups of processes lead to
// each other. What runs in a cgroup is not its business.
package cgroup

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Hierarchy is how this host groups its processes, and which of its trees counts.
//
// The id of a cgroup is the inode number of its folder. Ids are unique in one tree
// only: on a hybrid host the same number can mean two cgroups, so whoever keeps ids
// of both trees keeps the path beside them.
type Hierarchy struct {
	// Version is "v2", "hybrid" (v1 controllers and an empty v2 tree beside them) or "v1".
	Version string
	// Unified is where the v2 tree is mounted, "" with v1.
	Unified string
	// Legacy is where the v1 tree is mounted that every container joins: memory, or
	// the next best. "" with v2.
	Legacy string
	// LegacyName is how /proc/PID/cgroup calls that tree: "memory", "pids", "name=systemd".
	LegacyName string
	// Proc is where /proc is, usually "/proc".
	Proc string
}

// ErrNone: the host has no cgroup tree that this process can see.
var ErrNone = errors.New("no cgroup file system is mounted; mount the host's /sys/fs/cgroup")

// Detect reads the mounts of this process. proc is "/proc" or where the
// host's is mounted; root is put before the mount points, "" on the host itself.
func Detect(proc, root string) (*Hierarchy, error) {
	if proc == "" {
		proc = "/proc"
	}
	b, err := readFile(filepath.Join(proc, "self/mountinfo"), 8<<20)
	if err != nil {
		return nil, fmt.Errorf("cgroup hierarchy: %w", err)
	}
	h := parseMounts(b, root)
	h.Proc = proc
	switch {
	case h.Unified == "" && h.Legacy == "":
		return nil, ErrNone
	case h.Legacy == "":
		h.Version = "v2"
	case h.Unified == "":
		h.Version = "v1"
	default:
		h.Version = "hybrid"
	}
	return h, nil
}

// legacyOrder says which v1 tree is taken: the memory controller has a cgroup for every
// container of every runtime. Kernel programs can read the first three only
// (enum bw_hierarchy); the others are for hosts without a v2 tree.
var legacyOrder = [...]string{"memory", "pids", "cpu", "devices", "freezer", "name=systemd"}

const kernelReads = 3

func parseMounts(b []byte, root string) *Hierarchy {
	h := &Hierarchy{}
	best := len(legacyOrder)
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(make([]byte, 0, 4096), 64<<10)
	for s.Scan() {
		// 41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
		left, right, ok := strings.Cut(s.Text(), " - ")
		if !ok {
			continue
		}
		l, r := strings.Fields(left), strings.Fields(right)
		if len(l) < 5 || len(r) < 3 {
			continue
		}
		// Only whole trees: a bind mount of one container's cgroup shows the wrong paths.
		if l[3] != "/" && !strings.HasPrefix(l[3], "/..") {
			continue
		}
		at := unoctal(l[4])
		if root != "" {
			// The agent runs in a container: the host's trees are below root, its own are not.
			if !strings.HasPrefix(at, root) {
				continue
			}
		}
		switch r[0] {
		case "cgroup2":
			if h.Unified == "" {
				h.Unified = at
			}
		case "cgroup":
			for i, want := range legacyOrder[:best] {
				for _, o := range strings.Split(r[2], ",") {
					if o == want {
						best, h.Legacy, h.LegacyName = i, at, want
					}
				}
				if best == i {
					break
				}
			}
		}
	}
	if h.Unified != "" && best >= kernelReads {
		h.Legacy, h.LegacyName = "", ""
	}
	return h
}

// unoctal undoes the escapes of mountinfo (proc(5): "\040" is a space).
func unoctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Trees are the mount points that count, the v1 one first where there is one: it is the
// tree the sensor takes ids and paths from, as a runtime on a hybrid host need not join
// the v2 tree, and where it does the paths may differ.
func (h *Hierarchy) Trees() []string {
	var out []string
	for _, t := range [...]string{h.Legacy, h.Unified} {
		if t != "" {
			out = append(out, t)
		}
	}
	return out
}

// ID returns the id of the cgroup at path, in the first tree that has it.
func (h *Hierarchy) ID(path string) (uint64, error) {
	var err error
	for _, t := range h.Trees() {
		var st syscall.Stat_t
		if err = syscall.Lstat(filepath.Join(t, path), &st); err == nil {
			return st.Ino, nil
		}
	}
	if err == nil {
		err = ErrNone
	}
	return 0, fmt.Errorf("cgroup %s: %w", path, err)
}

// Has reports whether the cgroup at path has this id in one of the trees.
func (h *Hierarchy) Has(path string, id uint64) bool {
	return h.Folder(path, id) != ""
}

// Folder is where the cgroup at path is that has this id, "" when there is none.
func (h *Hierarchy) Folder(path string, id uint64) string {
	for _, t := range h.Trees() {
		var st syscall.Stat_t
		dir := filepath.Join(t, path)
		if syscall.Lstat(dir, &st) == nil && st.Ino == id {
			return dir
		}
	}
	return ""
}

// PathOf returns the path of a cgroup known by id alone: the kernel opens it by its
// handle (name_to_handle_at(2), FILEID_KERNFS of include/linux/exportfs.h), without a
// walk. It needs CAP_DAC_READ_SEARCH.
func (h *Hierarchy) PathOf(id uint64) (string, error) {
	var last error = ErrNone
	for _, t := range h.Trees() {
		path, err := pathIn(t, id)
		if err == nil {
			return path, nil
		}
		last = err
	}
	return "", fmt.Errorf("cgroup %d: %w", id, last)
}

func pathIn(tree string, id uint64) (string, error) {
	const fileidKernfs = 0xfe
	dir, err := unix.Open(tree, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	handle := unix.NewFileHandle(fileidKernfs, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(dir, handle, unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	path, ok := strings.CutPrefix(path, tree)
	if !ok {
		return "", errors.New("it is outside of the mounted tree")
	}
	if path == "" {
		path = "/"
	}
	return path, nil
}

// Of returns the cgroup path of a process in the tree that counts for it: the v1 one
// where there is one, unless the runtime did not put it there (then "/" is all v1 says)
// and v2 knows more.
func (h *Hierarchy) Of(pid uint32) (string, error) {
	b, err := readFile(filepath.Join(h.Proc, strconv.FormatUint(uint64(pid), 10), "cgroup"), 64<<10)
	if err != nil {
		return "", err
	}
	path, ok := cgroupLine(b, h.LegacyName)
	if !ok {
		return "", fmt.Errorf("process %d: its cgroup file names no tree that counts", pid)
	}
	return path, nil
}

func cgroupLine(b []byte, legacy string) (string, bool) {
	var v2, v1 string
	for line := range strings.SplitSeq(string(b), "\n") {
		number, rest, _ := strings.Cut(line, ":")
		names, path, ok := strings.Cut(rest, ":")
		if !ok || path == "" {
			continue
		}
		if number == "0" && names == "" {
			v2 = path
			continue
		}
		for name := range strings.SplitSeq(names, ",") {
			if name == legacy && legacy != "" {
				v1 = path
			}
		}
	}
	path := v1
	if (path == "" || path == "/") && v2 != "" {
		path = v2
	}
	// A cgroup that was removed while a dead process still counts in it.
	path = strings.TrimSuffix(path, " (deleted)")
	return path, path != ""
}

// Walk calls fn for every cgroup of the trees that count, parents first, until fn
// returns false. On a hybrid host a path that both trees have is told once, with its
// v1 id. More than limit folders are not looked at: Walk then reports false.
func (h *Hierarchy) Walk(limit int, fn func(path string, id uint64) bool) bool {
	seen := map[string]bool{}
	trees := h.Trees()
	n, full := 0, true
	for i, t := range trees {
		stop := false
		_ = filepath.WalkDir(t, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil // removed meanwhile, or a control file
			}
			path := strings.TrimPrefix(p, t)
			if path == "" {
				path = "/"
			}
			if n++; n > limit {
				full, stop = false, true
				return filepath.SkipAll
			}
			if seen[path] {
				return nil
			}
			if i+1 < len(trees) {
				seen[path] = true
			}
			info, err := d.Info()
			if err != nil {
				return nil
			}
			st, ok := info.Sys().(*syscall.Stat_t)
			if ok && !fn(path, st.Ino) {
				stop = true
				return filepath.SkipAll
			}
			return nil
		})
		if stop {
			break
		}
	}
	return full
}

// readFile reads a file of /proc, of at most limit bytes.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes", path, limit)
	}
	return b, nil
}
