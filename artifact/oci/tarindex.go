package oci

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// tarIndex lists where the members of an image archive are. It is made in one pass
// over the headers.
type tarIndex struct {
	members map[string]member
	order   []string // regular members, in the order of the stream
	// small holds the content of members that may be documents, for archives that
	// can only be read front to back.
	small map[string][]byte
}

type member struct {
	offset int64 // of the content in the tar stream
	size   int64
	link   string // of a symbolic or hard link: the member it stands for
}

const (
	// maxMembers bounds an image archive: three entries per layer and some.
	maxMembers = 100_000
	// maxDocuments bounds the documents kept of a streamed archive, in bytes.
	maxDocuments = 64 << 20
)

// countingReader knows how far it has read.
type countingReader struct {
	r   io.Reader
	off int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.off += int64(n)
	return n, err
}

// indexOnDisk indexes an archive of size bytes; only headers are read.
func indexOnDisk(f io.ReaderAt, size int64) (*tarIndex, error) {
	r := io.NewSectionReader(f, 0, size)
	return indexTar(r, func() int64 { off, _ := r.Seek(0, io.SeekCurrent); return off }, size, 0)
}

// indexStream indexes an archive that is read front to back, and keeps the content
// of members that may be documents, up to keep bytes each.
func indexStream(r io.Reader, keep int64) (*tarIndex, error) {
	c := &countingReader{r: r}
	x, err := indexTar(c, func() int64 { return c.off }, -1, keep)
	if err != nil {
		return nil, err
	}
	// To the end: only then a compressed stream has proved to be whole.
	_, err = io.Copy(io.Discard, c)
	return x, err
}

// indexTar indexes r. size is where it ends, negative when that is not known;
// document is the size up to which members are kept if they look like documents.
func indexTar(r io.Reader, pos func() int64, size, document int64) (*tarIndex, error) {
	x := &tarIndex{members: map[string]member{}, small: map[string][]byte{}}
	tr := tar.NewReader(r)
	var kept int64
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return x, nil
		}
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, fmt.Errorf("truncated archive at byte %d", pos())
			}
			return nil, fmt.Errorf("not a readable tar archive near byte %d: %w", pos(), err)
		}
		if len(x.members) >= maxMembers {
			return nil, &limited{fmt.Sprintf("more than %d members; this is not an image archive", maxMembers)}
		}
		name := memberName(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			m := member{offset: pos(), size: h.Size}
			if size >= 0 && (m.offset > size || h.Size > size-m.offset) {
				return nil, fmt.Errorf("truncated archive: member %s ends behind the end of the file at byte %d", name, size)
			}
			if _, twice := x.members[name]; !twice {
				x.order = append(x.order, name)
			}
			x.members[name] = m
			if document > 0 && h.Size <= document {
				b, err := readIfJSON(tr, h.Size)
				if err != nil {
					return nil, fmt.Errorf("member %s: %w", name, err)
				}
				if b != nil {
					if kept += int64(len(b)); kept > maxDocuments {
						return nil, &limited{fmt.Sprintf("documents of more than %d bytes in an image archive", maxDocuments)}
					}
					x.small[name] = b
				}
			}
		case tar.TypeSymlink:
			x.members[name] = member{link: memberName(path.Join(path.Dir(name), h.Linkname))}
		case tar.TypeLink:
			x.members[name] = member{link: memberName(h.Linkname)}
		}
	}
}

// readIfJSON reads a member if it looks like JSON.
func readIfJSON(r io.Reader, size int64) ([]byte, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(r, first); err != nil {
		if size == 0 {
			return nil, nil
		}
		return nil, err
	}
	if first[0] != '{' && first[0] != '[' {
		return nil, nil
	}
	b := make([]byte, 0, size)
	b = append(b, first[0])
	rest, err := io.ReadAll(io.LimitReader(r, size))
	return append(b, rest...), err
}

func memberName(n string) string { return strings.TrimPrefix(path.Clean("/"+n), "/") }

// find follows links to a regular member.
func (x *tarIndex) find(name string) (string, member, error) {
	name = memberName(name)
	for range 16 {
		m, ok := x.members[name]
		if !ok {
			return "", member{}, fmt.Errorf("%s is missing in the archive", name)
		}
		if m.link == "" {
			return name, m, nil
		}
		name = m.link
	}
	return "", member{}, fmt.Errorf("%s: links in a loop", name)
}
