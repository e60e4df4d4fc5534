package vm

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"sort"
	"strings"
)

// File goes into the machine's root.
type File struct {
	Path string      // absolute, inside
	From string      // a file of this machine, or
	Data []byte      // its content, or
	Link string      // where a symbolic link points
	Mode os.FileMode // 0: 0755; with os.ModeDir a folder
}

// archive writes files as a cpio archive in the "newc" format (kernel,
// Documentation/driver-api/early-userspace/buffer-format.rst), with the folders they
// need. It is not compressed: unpacking costs more in an emulated processor than reading.
func archive(out io.Writer, files []File) error {
	w := bufio.NewWriterSize(out, 1<<20)
	a := &cpio{w: w}
	dirs := map[string]bool{"/": true}
	for _, f := range files {
		for d := path.Dir(f.Path); !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
		}
		if f.Mode.IsDir() {
			dirs[f.Path] = true
		}
	}
	sorted := make([]string, 0, len(dirs))
	for d := range dirs {
		sorted = append(sorted, d)
	}
	sort.Strings(sorted)
	for _, d := range sorted {
		if d != "/" {
			a.entry(d, 0o040755, nil, 0)
		}
	}
	for _, f := range files {
		switch {
		case f.Mode.IsDir():
		case f.Link != "":
			a.entry(f.Path, 0o120777, strings.NewReader(f.Link), int64(len(f.Link)))
		case f.From != "":
			if err := a.file(f); err != nil {
				return err
			}
		default:
			a.entry(f.Path, 0o100000|mode(f), strings.NewReader(string(f.Data)), int64(len(f.Data)))
		}
	}
	a.entry("/TRAILER!!!", 0, nil, 0)
	a.pad(512)
	if a.err != nil {
		return a.err
	}
	return w.Flush()
}

func mode(f File) uint32 {
	if f.Mode == 0 {
		return 0o755
	}
	return uint32(f.Mode.Perm())
}

type cpio struct {
	w   io.Writer
	n   int64
	ino uint32
	err error
}

func (a *cpio) file(f File) error {
	in, err := os.Open(f.From)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", f.From)
	}
	a.entry(f.Path, 0o100000|mode(f), in, st.Size())
	return a.err
}

func (a *cpio) entry(name string, mode uint32, data io.Reader, size int64) {
	if a.err != nil {
		return
	}
	a.ino++
	name = strings.TrimPrefix(name, "/") + "\x00"
	// ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
	n, err := fmt.Fprintf(a.w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s",
		a.ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name), 0, name)
	a.n += int64(n)
	a.err = err
	a.pad(4)
	if data != nil && a.err == nil {
		c, err := io.Copy(a.w, io.LimitReader(data, size))
		a.n += c
		if err == nil && c != size {
			err = fmt.Errorf("%s: %d bytes of %d", name[:len(name)-1], c, size)
		}
		a.err = err
		a.pad(4)
	}
}

func (a *cpio) pad(to int64) {
	if rest := a.n % to; rest != 0 && a.err == nil {
		n, err := a.w.Write(make([]byte, to-rest))
		a.n += int64(n)
		a.err = err
	}
}
