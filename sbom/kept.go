package sbom

import (
	"bytes"
	"io/fs"
	"path"
	"time"
)

// keptFiles is a flat read-only file system of the files that Gatherers need. It
// has no directories: an extractor asks for a file by its path in the artifact.
type keptFiles struct {
	data map[string][]byte
	size int64
}

func (k *keptFiles) room(n int64) bool { return k.size+n <= maxKept }

func (k *keptFiles) add(name string, data []byte) {
	k.size += int64(len(data)) - int64(len(k.data[name]))
	k.data[name] = data
}

// Open implements fs.FS.
func (k *keptFiles) Open(name string) (fs.File, error) {
	data, ok := k.data[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &keptFile{bytes.NewReader(data), path.Base(name)}, nil
}

// ReadFile implements fs.ReadFileFS without a copy; the result must not be changed.
func (k *keptFiles) ReadFile(name string) ([]byte, error) {
	data, ok := k.data[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return data, nil
}

type keptFile struct {
	*bytes.Reader
	name string
}

func (f *keptFile) Stat() (fs.FileInfo, error) { return keptInfo{f.name, f.Size()}, nil }
func (f *keptFile) Close() error               { return nil }

type keptInfo struct {
	name string
	size int64
}

func (i keptInfo) Name() string       { return i.name }
func (i keptInfo) Size() int64        { return i.size }
func (i keptInfo) Mode() fs.FileMode  { return 0o444 }
func (i keptInfo) ModTime() time.Time { return time.Time{} }
func (i keptInfo) IsDir() bool        { return false }
func (i keptInfo) Sys() any           { return nil }
