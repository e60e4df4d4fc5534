package scalibr

import (
	"io/fs"
	"time"
)

type fileInfo struct {
	name string
	size int64
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return 0o444 }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return false }
func (i fileInfo) Sys() any           { return nil }

// required is what a foreign extractor's FileRequired looks at.
type required struct {
	path string
	info fileInfo
}

func (r required) Path() string               { return r.path }
func (r required) Stat() (fs.FileInfo, error) { return r.info, nil }
