package sbom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"runtime/debug"
	"sort"
	"strings"
	"sync"

	"github.com/bollwerk/bollwerk"
)

const (
	defaultMaxFile = 256 << 20
	// smallFile is what is read in full at once, whoever wants it: the reader of the
	// layer is free again, and workers do the rest.
	smallFile = 256 << 10
	// maxKept bounds what is held for Gatherers of one part.
	maxKept     = 24 << 20
	maxKeptFile = 4 << 20
	maxProblems = 1000
	maxFacts    = 20000
)

// CollectorOptions bound a collector.
type CollectorOptions struct {
	// Budget is shared by all collectors of a scan. Nil: 96 MiB for this one.
	Budget *Budget
	// MaxFile is the largest file held in memory; larger ones are a Problem unless
	// their extractor streams. 0: 256 MiB.
	MaxFile int64
	// Workers is how many goroutines run extractors on small files beside the one
	// that reads. 0: none, all work is done in Visit.
	Workers int
}

// Collector runs a Set over the files of one part: a layer or a directory. Visit
// must not be called from two goroutines at once; Finish must be called once.
type Collector struct {
	set  *Set
	opts CollectorOptions

	mu       sync.Mutex
	part     Part
	problems map[problemKey]int

	facts []bollwerk.FileFact // only the reading goroutine
	files int

	kept     *keptFiles
	deferred []deferred
	links    map[string][]string // further names of visited files, by the first name

	jobs    chan job
	workers sync.WaitGroup
	pool    sync.Pool
}

type problemKey struct{ path, extractor, cause string }

type deferred struct {
	file bollwerk.File
	id   uint16
}

type job struct {
	ctx  context.Context
	file bollwerk.File
	buf  *[]byte
	c    choice
}

// NewCollector begins a part.
func (s *Set) NewCollector(opts CollectorOptions) *Collector {
	if opts.Budget == nil {
		opts.Budget = NewBudget(96 << 20)
	}
	if opts.MaxFile <= 0 {
		opts.MaxFile = defaultMaxFile
	}
	c := &Collector{set: s, opts: opts, problems: map[problemKey]int{}}
	c.pool.New = func() any { b := make([]byte, 0, 32<<10); return &b }
	if len(s.keeps) > 0 {
		c.kept = &keptFiles{data: map[string][]byte{}}
	}
	if opts.Workers > 0 {
		c.jobs = make(chan job, 4*opts.Workers)
		for range opts.Workers {
			c.workers.Go(c.work)
		}
	}
	return c
}

// Wants reports whether the content of f is needed. It also takes the facts that f
// itself tells, so it must be called for every entry once, of any type.
func (c *Collector) Wants(f *bollwerk.File) bool {
	c.files++
	for _, ff := range c.set.facts {
		c.facts = ff.Facts(f, c.facts)
	}
	if len(c.facts) > maxFacts {
		c.facts = c.facts[:maxFacts]
		c.problem("", "facts", fmt.Sprintf("more than %d remarkable files, the rest is left out", maxFacts))
	}
	if f.Mode&fs.ModeSymlink != 0 {
		c.symlink(f)
	}
	return c.set.Wants(f)
}

// Visit extracts from one file for which Wants was true. The error is that of the
// stream or the context; whatever is wrong with the file is a
// Problem of the part.
func (c *Collector) Visit(ctx context.Context, f bollwerk.File, r io.Reader) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	chosen := c.set.choose(&f)
	keep := c.kept != nil && c.set.kept(&f)
	var direct choice
	n, gathers := 0, false
	for id := range c.ids(chosen) {
		if c.set.gather[id] {
			gathers = true
			c.deferred = append(c.deferred, deferred{f, id})
		} else {
			direct.add(id)
			n++
		}
	}
	if keep || gathers {
		return c.visitKept(ctx, f, r, direct)
	}
	if n == 0 {
		return nil
	}
	if f.Size <= smallFile {
		return c.visitSmall(ctx, f, r, direct)
	}
	src, stream := watch(r)
	var shared []byte
	var held int64
	if n > 1 {
		// Several want a large file: it is held once for all of them. What usually
		// comes here alone (executables) streams.
		if f.Size > c.opts.MaxFile {
			c.problem(f.Path, "", fmt.Sprintf("%d bytes: more than the %d a file may have", f.Size, c.opts.MaxFile))
			return nil
		}
		var err error
		if held, err = c.opts.Budget.acquire(ctx, f.Size); err != nil {
			return err
		}
		defer c.opts.Budget.release(held)
		shared, err = readUpTo(src, f.Size, c.opts.MaxFile)
		if stream.err != nil {
			return stream.err
		}
		if err != nil {
			c.problem(f.Path, "", err.Error())
			return nil
		}
	}
	for id := range c.ids(direct) {
		in := &Input{File: f, Reader: src, ctx: ctx, budget: c.opts.Budget, maxFile: c.opts.MaxFile}
		if shared != nil {
			in.data, in.Reader, in.budget = shared, bytes.NewReader(shared), nil
		}
		c.extract(ctx, id, in)
		in.close()
		if stream.err != nil {
			return stream.err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Collector) visitSmall(ctx context.Context, f bollwerk.File, r io.Reader, chosen choice) error {
	buf := c.pool.Get().(*[]byte)
	data, err := readInto((*buf)[:0], r, smallFile)
	*buf = data
	if err != nil {
		c.pool.Put(buf)
		if errors.Is(err, ErrTooLarge) {
			c.problem(f.Path, "", "content is longer than its header says")
			return nil
		}
		return err
	}
	// A job must run although the reader that queued it has ended by then, and with it
	// the context of the read: whoever skips it here calls the file clean. The queue is
	// short, so that a cancelled scan does not wait for long.
	j := job{context.WithoutCancel(ctx), f, buf, chosen}
	if c.jobs == nil {
		c.run(j)
		return ctx.Err()
	}
	select {
	case c.jobs <- j:
		return nil
	case <-ctx.Done():
		c.pool.Put(buf)
		return ctx.Err()
	}
}

func (c *Collector) visitKept(ctx context.Context, f bollwerk.File, r io.Reader, direct choice) error {
	if f.Size > maxKeptFile || !c.kept.room(f.Size) {
		c.problem(f.Path, "", fmt.Sprintf("%d bytes: too large to be kept beside its siblings", f.Size))
		return nil
	}
	src, stream := watch(r)
	data, err := readUpTo(src, f.Size, maxKeptFile)
	if stream.err != nil {
		return stream.err
	}
	if err != nil {
		c.problem(f.Path, "", err.Error())
		return nil
	}
	c.kept.add(f.Path, data)
	for id := range c.ids(direct) {
		in := &Input{File: f, Reader: bytes.NewReader(data), data: nonNil(data), ctx: ctx, maxFile: c.opts.MaxFile}
		c.extract(ctx, id, in)
	}
	return ctx.Err()
}

func (c *Collector) work() {
	for j := range c.jobs {
		c.run(j)
	}
}

func (c *Collector) run(j job) {
	for id := range c.ids(j.c) {
		in := &Input{File: j.file, Reader: bytes.NewReader(*j.buf), data: nonNil(*j.buf), ctx: j.ctx, maxFile: c.opts.MaxFile}
		c.extract(j.ctx, id, in)
	}
	if cap(*j.buf) <= 2*smallFile {
		c.pool.Put(j.buf)
	}
}

// extract runs one extractor and books what it found. A panic is a problem of the
// file: parsers of other people meet hostile input here.
func (c *Collector) extract(ctx context.Context, id uint16, in *Input) {
	e := c.set.all[id]
	inv, err := guarded(ctx, e, in)
	if err != nil && ctx.Err() == nil {
		c.problem(in.File.Path, e.Name(), err.Error())
	}
	for _, p := range in.problems {
		c.problem(in.File.Path, e.Name(), p)
	}
	if len(inv.Packages) == 0 && len(inv.Secrets) == 0 && len(inv.Facts) == 0 && inv.OS == nil && len(inv.Owned) == 0 {
		return
	}
	for i := range inv.Packages {
		p := &inv.Packages[i]
		if p.Extractor == "" {
			p.Extractor = e.Name()
		}
		if len(p.Paths) == 0 {
			p.Paths = []string{in.File.Path}
		}
	}
	for i := range inv.Secrets {
		if inv.Secrets[i].Path == "" {
			inv.Secrets[i].Path = in.File.Path
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pi := &c.part.Inventory
	pi.Packages = append(pi.Packages, inv.Packages...)
	pi.Secrets = append(pi.Secrets, inv.Secrets...)
	pi.Facts = append(pi.Facts, inv.Facts...)
	pi.Owned = append(pi.Owned, inv.Owned...)
	if inv.OS != nil {
		c.part.Releases = append(c.part.Releases, Release{Path: in.File.Path, OS: *inv.OS})
	}
}

func guarded(ctx context.Context, e Extractor, in *Input) (inv bollwerk.Inventory, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("parser gave up: %v (%s)", r, panicPlace(debug.Stack()))
		}
	}()
	return e.Extract(ctx, in)
}

// panicPlace picks the first line of the stack that names a source file outside of
// the run time, which is what a bug report needs.
func panicPlace(stack []byte) string {
	lines := strings.Split(string(stack), "\n")
	seen := false
	for _, l := range lines {
		if strings.HasPrefix(l, "panic(") {
			seen = true
			continue
		}
		l = strings.TrimSpace(l)
		if seen && strings.Contains(l, ".go:") && !strings.Contains(l, "/runtime/") {
			l, _, _ = strings.Cut(l, " ")
			if i := strings.LastIndexByte(l, '/'); i >= 0 {
				l = l[i+1:]
			}
			return l
		}
	}
	return "unknown place"
}

func (c *Collector) problem(path, extractor, cause string) {
	cause = strings.Join(strings.Fields(strings.ToValidUTF8(cause, "?")), " ") // YAML's errors have several lines
	if len(cause) > 300 {
		cause = strings.ToValidUTF8(cause[:300], "") + "…"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := problemKey{path, extractor, cause}
	if _, ok := c.problems[k]; !ok && len(c.problems) >= maxProblems {
		k = problemKey{"", extractor, "further files could not be read in full"}
	}
	c.problems[k]++
}

func (c *Collector) ids(ch choice) func(func(uint16) bool) {
	return func(yield func(uint16) bool) {
		for w, word := range ch {
			for word != 0 {
				b := bits.TrailingZeros64(word)
				word &^= 1 << b
				if !yield(uint16(w*64 + b)) {
					return
				}
			}
		}
	}
}

// Finish waits for the workers, runs the extractors that needed siblings, and
// returns the part. The collector is of no use afterwards. It must be called even
// when reading failed, or the workers stay.
func (c *Collector) Finish(ctx context.Context) (Part, error) {
	if c.jobs != nil {
		close(c.jobs)
		c.workers.Wait()
		c.jobs = nil
	}
	for _, d := range c.deferred {
		if ctx.Err() != nil {
			break
		}
		data, ok := c.kept.data[d.file.Path]
		if !ok {
			continue // too large; the problem is booked
		}
		in := &Input{File: d.file, Reader: bytes.NewReader(data), data: nonNil(data), Siblings: c.kept, ctx: ctx, maxFile: c.opts.MaxFile}
		c.extract(ctx, d.id, in)
	}
	c.kept, c.deferred = nil, nil
	if err := ctx.Err(); err != nil {
		return Part{}, err
	}
	c.spread()
	p := c.part
	p.Files = c.files
	p.Inventory.Facts = append(p.Inventory.Facts, c.facts...)
	for k, n := range c.problems {
		p.Problems = append(p.Problems, Problem{Path: k.path, Extractor: k.extractor, Cause: k.cause, Count: n})
	}
	p.sort()
	return p, nil
}

func (p *Part) sort() {
	inv := &p.Inventory
	sort.SliceStable(inv.Packages, func(i, j int) bool { return lessPackage(&inv.Packages[i], &inv.Packages[j]) })
	sort.SliceStable(inv.Secrets, func(i, j int) bool {
		a, b := &inv.Secrets[i], &inv.Secrets[j]
		if a.Path != b.Path {
			return a.Path < b.Path
		}
		if a.Offset != b.Offset {
			return a.Offset < b.Offset
		}
		return a.Detector < b.Detector
	})
	sort.SliceStable(inv.Facts, func(i, j int) bool {
		a, b := &inv.Facts[i], &inv.Facts[j]
		if a.Path != b.Path {
			return a.Path < b.Path
		}
		return a.Kind < b.Kind
	})
	sort.SliceStable(inv.Owned, func(i, j int) bool { return inv.Owned[i].List < inv.Owned[j].List })
	sort.SliceStable(p.Releases, func(i, j int) bool { return p.Releases[i].Path < p.Releases[j].Path })
	sort.SliceStable(p.Problems, func(i, j int) bool {
		a, b := p.Problems[i], p.Problems[j]
		if a.Path != b.Path {
			return a.Path < b.Path
		}
		if a.Extractor != b.Extractor {
			return a.Extractor < b.Extractor
		}
		return a.Cause < b.Cause
	})
}

func lessPackage(a, b *bollwerk.Package) bool {
	if a.Ecosystem != b.Ecosystem {
		return a.Ecosystem < b.Ecosystem
	}
	if a.Name != b.Name {
		return a.Name < b.Name
	}
	if a.Version != b.Version {
		return a.Version < b.Version
	}
	if a.Arch != b.Arch {
		return a.Arch < b.Arch
	}
	if ap, bp := firstPath(a), firstPath(b); ap != bp {
		return ap < bp
	}
	return a.Extractor < b.Extractor
}

func firstPath(p *bollwerk.Package) string {
	if len(p.Paths) == 0 {
		return ""
	}
	return p.Paths[0]
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func readInto(buf []byte, r io.Reader, limit int) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > limit {
			return buf, ErrTooLarge
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}
