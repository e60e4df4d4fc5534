package tracing

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The format of fanotify(7) records: metadata, then info records with a file handle and,
// for entries of directories, a name. All in the machine's byte order.
const (
	metadataSize = int(unsafe.Sizeof(unix.FanotifyEventMetadata{}))
	// A record with two names is smaller than 1 kB; the rest of a longer one is skipped.
	infoMost = 4
	// MAX_HANDLE_SZ of linux/exportfs.h.
	handleMost = 128
)

// handle names an inode: file system id and file handle as bytes.
type handle string

// info is one info record of an event.
type info struct {
	kind uint8
	id   handle
	name string
}

// notice is one event of fanotify.
type notice struct {
	mask  uint64
	fd    int32
	pid   int32
	infos [infoMost]info
	n     int
}

// find returns the info record of a kind.
func (e *notice) find(kinds ...uint8) (info, bool) {
	for _, k := range kinds {
		for i := range e.n {
			if e.infos[i].kind == k {
				return e.infos[i], true
			}
		}
	}
	return info{}, false
}

// nextNotice reads one event off the front of b. ok is false when b holds no whole one.
func nextNotice(b []byte, e *notice) (rest []byte, ok bool) {
	if len(b) < metadataSize {
		return nil, false
	}
	length := int(binary.NativeEndian.Uint32(b))
	start := int(binary.NativeEndian.Uint16(b[6:]))
	if length < metadataSize || length > len(b) || b[4] != unix.FANOTIFY_METADATA_VERSION || start < metadataSize || start > length {
		return nil, false
	}
	*e = notice{
		mask: binary.NativeEndian.Uint64(b[8:]),
		fd:   int32(binary.NativeEndian.Uint32(b[16:])),
		pid:  int32(binary.NativeEndian.Uint32(b[20:])),
	}
	for rec := b[start:length]; len(rec) >= 4 && e.n < infoMost; {
		size := int(binary.NativeEndian.Uint16(rec[2:]))
		if size < 4 || size > len(rec) {
			break
		}
		if i, ok := parseInfo(rec[:size]); ok {
			e.infos[e.n] = i
			e.n++
		}
		rec = rec[size:]
	}
	return b[length:], true
}

func parseInfo(b []byte) (info, bool) {
	i := info{kind: b[0]}
	switch i.kind {
	case unix.FAN_EVENT_INFO_TYPE_FID, unix.FAN_EVENT_INFO_TYPE_DFID, unix.FAN_EVENT_INFO_TYPE_DFID_NAME,
		unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
	default:
		return i, false
	}
	// header 4, fsid 8, then struct file_handle: length 4, type 4, bytes.
	if len(b) < 20 {
		return i, false
	}
	n := int(binary.NativeEndian.Uint32(b[12:]))
	if n > handleMost || 20+n > len(b) {
		return i, false
	}
	i.id = handle(b[4:12]) + handle(b[16:20+n])
	if i.kind != unix.FAN_EVENT_INFO_TYPE_FID && i.kind != unix.FAN_EVENT_INFO_TYPE_DFID {
		name := b[20+n:]
		for k, c := range name {
			if c == 0 {
				name = name[:k]
				break
			}
		}
		i.name = string(name)
	}
	return i, true
}

// handleOf is the handle that fanotify reports for an open file or directory.
func handleOf(fd int) (handle, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return "", err
	}
	const handleFID = 0x200 // AT_HANDLE_FID, since 6.5: file systems that cannot be exported
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH|handleFID)
	if err != nil {
		if h, _, err = unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH); err != nil {
			return "", err
		}
	}
	b := make([]byte, 12, 12+h.Size())
	binary.NativeEndian.PutUint32(b, uint32(st.Fsid.Val[0]))
	binary.NativeEndian.PutUint32(b[4:], uint32(st.Fsid.Val[1]))
	binary.NativeEndian.PutUint32(b[8:], uint32(h.Type()))
	return handle(append(b, h.Bytes()...)), nil
}
