package artifact

import (
	"context"
	"io"

	"github.com/bollwerk/bollwerk"
)

// Source is one opened artifact.
type Source interface {
	// Artifact describes what was opened. Layers are bottom first and carry Digest,
	// DiffID, CreatedBy and Size as the manifest and the configuration state them;
	// they are verified when a part is read. A directory or file has no layers.
	Artifact() bollwerk.Artifact
	// Parts is the number of parts to read: one per layer of an image, else 1.
	Parts() int
	// ReadPart shows one part to v in one pass. It may be called concurrently for
	// different parts. When the error is nil, the part was read to its end and its
	// digests hold; on an error nothing that v was shown may be relied on.
	ReadPart(ctx context.Context, part int, v Visitor) (PartSummary, error)
	Close() error
}

// Visitor is what a reader shows files to. One visitor serves one part.
type Visitor interface {
	// Wants is asked once for every entry (files, directories, links, devices; not
	// white-outs) in stream order and before its content. It must be cheap and must
	// not keep f. False: the content is skipped.
	Wants(f *bollwerk.File) bool
	// Visit gets the content of a wanted regular file. r is valid during the call
	// only and need not be read to its end. For files on disk r is also an
	// io.ReaderAt and has a Size method (see Sized). An error ends the reading of the part.
	//
	// A path may come twice in one layer: the later visit replaces the earlier.
	Visit(ctx context.Context, f bollwerk.File, r io.Reader) error
}

// Sized is what the reader given to Visit also is for files on disk.
type Sized interface {
	io.ReaderAt
	Size() int64
}

// LinkVisitor is a Visitor that wants to know of further names of a file it was
// shown. A hard link carries no content of its own in a tar stream: without this
// method a wanted link to a file that was visited already is left alone.
type LinkVisitor interface {
	Visitor
	// Linked says that the wanted file f is another name of the visited file target.
	// False: under its new name the file means something else (a package database
	// that was first called notes.txt), and its content is to be shown again.
	Linked(f bollwerk.File, target string) bool
}

// ParallelVisitor is a Visitor whose Wants and Visit may be called from several
// goroutines at once. Readers of directories use it to read files in parallel.
type ParallelVisitor interface {
	Visitor
	// Parallel reports whether concurrent calls are allowed.
	Parallel() bool
}

// PartSummary is what reading a part found out beside the content.
type PartSummary struct {
	Entries  int       `json:"entries"` // everything the part lists
	Files    int       `json:"files"`   // regular files among them
	Bytes    int64     `json:"bytes"`   // of the uncompressed stream, or of the regular files of a directory
	Mask     Mask      `json:"mask"`
	Problems []Problem `json:"problems,omitempty"`
}

// Problem is something that was not read, and why.
type Problem struct {
	// Path is the first path the problem was met at, "" when it concerns the whole part.
	Path  string `json:"path,omitempty"`
	Cause string `json:"cause"`
	// Count is how often the cause was met, 1 or more.
	Count int `json:"count"`
	// Wanted: who scans asked for it (--skip). It is said, and nothing is missing.
	Wanted bool `json:"wanted,omitempty"`
}

// Problems collects problems within bounds: the first few paths of a cause are
// kept one by one, the rest are counted on the last of them. The zero value is
// ready. Not safe for concurrent use.
type Problems struct {
	list  []Problem
	cause map[string]*causeCount
}

type causeCount struct{ seen, last int }

const (
	problemPaths  = 8  // paths kept per cause
	problemCauses = 64 // causes kept one by one; more are counted as "further problems"
)

// Add notes one problem.
func (p *Problems) Add(path, cause string) { p.AddN(path, cause, 1) }

// AddWanted notes what was left out because somebody asked for it.
func (p *Problems) AddWanted(path, cause string) {
	before := len(p.list)
	p.Add(path, cause)
	if len(p.list) > before && p.list[before].Cause == cause { // not one of "other kinds"
		p.list[before].Wanted = true
	}
}

// AddN notes a problem met n times.
func (p *Problems) AddN(path, cause string, n int) {
	if p.cause == nil {
		p.cause = make(map[string]*causeCount)
	}
	c := p.cause[cause]
	if c == nil {
		if len(p.cause) >= problemCauses {
			cause, path = "further problems of other kinds", ""
			c = p.cause[cause]
		}
		if c == nil {
			c = &causeCount{}
			p.cause[cause] = c
		}
	}
	c.seen++
	if c.seen > problemPaths {
		p.list[c.last].Count += n
		return
	}
	if len(path) > 512 { // a hostile name must not fill the report
		path = path[:509] + "…"
	}
	c.last = len(p.list)
	p.list = append(p.list, Problem{Path: path, Cause: cause, Count: n})
}

// List returns what was collected, in the order of first occurrence.
func (p *Problems) List() []Problem { return p.list }
