package sbom

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/bollwerk/bollwerk"
)

// Extractor finds packages, secrets or facts in files of one kind.
//
// An extractor reads what it is given and nothing else: no network, no real file
// system, no process. It may be called from several goroutines at once, and must
// not keep memory of an Input after Extract has returned.
type Extractor interface {
	// Name is "family/format": "deb/dpkg". It is what Package.Extractor says.
	Name() string
	// Ecosystem is what the extractor finds, without a release; "" for several.
	Ecosystem() bollwerk.Ecosystem
	// Wants decides by path, size and mode alone. It is asked for every file of an
	// artifact, so it must not allocate.
	Wants(f *bollwerk.File) bool
	// Extract returns what it found. An error means that the file is of the
	// extractor's kind and could not be understood (in full); what is returned
	// beside it counts nevertheless. A file that turns out to be of another kind is
	// no error. Errors of the stream itself need no care: the collector sees them.
	Extract(ctx context.Context, in *Input) (bollwerk.Inventory, error)
}

// Hints say which files an extractor can want at all, so that a collector asks only
// the extractors that come into question: one map look-up per file instead of one
// call per extractor.
type Hints struct {
	// Bases are whole base names, case-sensitive: "package-lock.json".
	Bases []string
	// Exts are what follows the last dot of the base name, lower case, without the
	// dot: "jar". The base name's extension is compared without regard to case.
	Exts []string
	// Dirs are names of the directory a file is directly in: "status.d".
	Dirs []string
	// Any: the extractor must be asked for every file.
	Any bool
}

// Hinted is an extractor that narrows the files it is asked about. A file may be
// wanted only if one of the hints holds for it.
type Hinted interface {
	Extractor
	Hints() Hints
}

// Gatherer is an extractor that needs other files beside the one it reads: a
// requirements file that includes another, a project file with central versions.
// Its files are kept until the part has been read in full, and Extract sees the
// files for which Keeps holds, and those it Wants, through Input.Siblings.
type Gatherer interface {
	Extractor
	Keeps(f *bollwerk.File) bool
}

// FactFinder finds facts from what the archive says of a file, without content.
type FactFinder interface {
	Extractor
	// Facts appends what is true of f, of any type of file.
	Facts(f *bollwerk.File, to []bollwerk.FileFact) []bollwerk.FileFact
}

// Set is a group of extractors, compiled for quick dispatch. It never changes and
// may be shared.
type Set struct {
	all    []Extractor
	gather []bool // by index in all: needs siblings
	facts  []FactFinder
	keeps  []Gatherer
	base   map[string][]uint16
	ext    map[string][]uint16
	dir    map[string][]uint16
	any    []uint16
	named  choice // those that know their files by name
}

// NewSet compiles extractors. Two of one name are an error.
func NewSet(extractors ...Extractor) (*Set, error) {
	s := &Set{
		base: map[string][]uint16{}, ext: map[string][]uint16{}, dir: map[string][]uint16{},
	}
	seen := map[string]bool{}
	if len(extractors) > maxExtractors {
		return nil, fmt.Errorf("set of %d extractors: at most %d fit", len(extractors), maxExtractors)
	}
	for _, e := range extractors {
		if e.Name() == "" {
			return nil, errors.New("extractor without a name")
		}
		if seen[e.Name()] {
			return nil, fmt.Errorf("extractor %s: listed twice", e.Name())
		}
		seen[e.Name()] = true
		id := uint16(len(s.all))
		s.all = append(s.all, e)
		g, isGatherer := e.(Gatherer)
		s.gather = append(s.gather, isGatherer)
		if isGatherer {
			s.keeps = append(s.keeps, g)
		}
		if f, ok := e.(FactFinder); ok {
			s.facts = append(s.facts, f)
		}
		h, ok := e.(Hinted)
		if !ok {
			s.any = append(s.any, id)
			continue
		}
		hints := h.Hints()
		if hints.Any {
			s.any = append(s.any, id)
			continue
		}
		s.named.add(id)
		for _, b := range hints.Bases {
			s.base[b] = append(s.base[b], id)
		}
		for _, x := range hints.Exts {
			s.ext[x] = append(s.ext[x], id)
		}
		for _, d := range hints.Dirs {
			s.dir[d] = append(s.dir[d], id)
		}
	}
	return s, nil
}

// maxExtractors keeps the choice for a file in one fixed array.
const maxExtractors = 128

// Extractors lists the members in order.
func (s *Set) Extractors() []Extractor { return append([]Extractor(nil), s.all...) }

// choice is the set of extractors that want a file: one bit each.
type choice [maxExtractors / 64]uint64

func (c *choice) add(id uint16)      { c[id/64] |= 1 << (id % 64) }
func (c *choice) has(id uint16) bool { return c[id/64]&(1<<(id%64)) != 0 }
func (c *choice) empty() bool        { return c[0] == 0 && c[1] == 0 }

// choose asks the extractors that come into question. It does not allocate.
func (s *Set) choose(f *bollwerk.File) choice {
	var c choice
	if !f.Mode.IsRegular() {
		return c
	}
	for _, id := range s.any {
		if s.all[id].Wants(f) {
			c.add(id)
		}
	}
	dir, base := "", f.Path
	if i := strings.LastIndexByte(f.Path, '/'); i >= 0 {
		dir, base = f.Path[:i], f.Path[i+1:]
		if j := strings.LastIndexByte(dir, '/'); j >= 0 {
			dir = dir[j+1:]
		}
	}
	s.ask(&c, f, s.base[base])
	if i := strings.LastIndexByte(base, '.'); i >= 0 && len(base)-i-1 <= maxExt {
		var low [maxExt]byte
		ext := low[:0]
		for j := i + 1; j < len(base); j++ {
			b := base[j]
			if b >= 'A' && b <= 'Z' {
				b += 'a' - 'A'
			}
			ext = append(ext, b)
		}
		s.ask(&c, f, s.ext[string(ext)]) // the compiler looks this up without a copy
	}
	if len(s.dir) > 0 && dir != "" {
		s.ask(&c, f, s.dir[dir])
	}
	return c
}

const maxExt = 24

func (s *Set) ask(c *choice, f *bollwerk.File, ids []uint16) {
	for _, id := range ids {
		if !c.has(id) && s.all[id].Wants(f) {
			c.add(id)
		}
	}
}

// Wants reports whether any extractor wants the content of f.
func (s *Set) Wants(f *bollwerk.File) bool {
	c := s.choose(f)
	if !c.empty() {
		return true
	}
	return s.kept(f)
}

func (s *Set) kept(f *bollwerk.File) bool {
	if !f.Mode.IsRegular() {
		return false
	}
	for _, g := range s.keeps {
		if g.Keeps(f) {
			return true
		}
	}
	return false
}
