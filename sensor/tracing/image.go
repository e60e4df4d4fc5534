package tracing

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// image are the folders below the writable layer of a container, the upper ones first, as
// the host sees them: what a file was before the container changed it.
type image struct {
	asked bool
	dirs  []string
}

// imageLayers is how many folders are looked into.
const imageLayers = 128

// before is the mode that a file of a container had in its image, as long as it still is
// that file: overlayfs keeps the number of a file that it copies up where all layers are of
// one file system. Whoever puts another file at its name gets another number, and what that
// one was is not known.
func (r *root) before(name string, inode uint64) (mode uint32, ok bool) {
	if r.pid == 0 {
		return 0, false
	}
	if !r.image.asked {
		r.image.asked = true
		if b, err := os.ReadFile("/proc/" + strconv.Itoa(int(r.pid)) + "/mountinfo"); err == nil && mountNS(r.pid) == r.mountNS {
			r.image.dirs = layers(string(b))
		}
	}
	for _, dir := range r.image.dirs {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		file, err := unix.Openat2(fd, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
		_ = unix.Close(fd)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		err = unix.Fstat(file, &st)
		_ = unix.Close(file)
		// The first layer that has the name is the one that counts.
		return st.Mode, err == nil && st.Ino == inode
	}
	return 0, false
}

// layers reads the folders of the root's overlay from mountinfo (proc(5)). Paths that
// are told relative to nobody knows what are left out.
func layers(mountinfo string) (out []string) {
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 || l[4] != "/" {
			continue
		}
		out = nil // a later mount lies above
		if r[0] != "overlay" {
			continue
		}
		for o := range strings.SplitSeq(r[2], ",") {
			dirs, ok := strings.CutPrefix(o, "lowerdir=")
			if !ok {
				dirs, ok = strings.CutPrefix(o, "lowerdir+=")
			}
			for dir := range strings.SplitSeq(dirs, ":") {
				if ok && strings.HasPrefix(dir, "/") && !strings.Contains(dir, `\`) && len(out) < imageLayers {
					out = append(out, dir)
				}
			}
		}
	}
	return out
}
