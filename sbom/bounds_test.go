package sbom_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/bollwerk/bollwerk/sbom/all"
)

// probe is an extractor that does what a test wants.
type probe struct {
	name string
	do   func(in *sbom.Input) (bollwerk.Inventory, error)
}

func (p probe) Name() string                  { return p.name }
func (p probe) Ecosystem() bollwerk.Ecosystem { return "" }
func (p probe) Wants(f *bollwerk.File) bool   { return true }
func (p probe) Extract(_ context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	return p.do(in)
}

func collector(t *testing.T, opts sbom.CollectorOptions, e ...sbom.Extractor) *sbom.Collector {
	t.Helper()
	set, err := sbom.NewSet(e...)
	if err != nil {
		t.Fatal(err)
	}
	return set.NewCollector(opts)
}

func finish(t *testing.T, c *sbom.Collector) sbom.Part {
	t.Helper()
	p, err := c.Finish(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var errStream = errors.New("truncated gzip stream")

// broken yields n bytes and then fails, as a damaged layer does.
func broken(n int64) io.Reader {
	return io.MultiReader(io.LimitReader(endless{}, n), failing{})
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errStream }

func TestDamagedStreamEndsTheVisit(t *testing.T) {
	swallow := probe{"a/swallow", func(in *sbom.Input) (bollwerk.Inventory, error) {
		_, _ = io.Copy(io.Discard, in.Reader) // an extractor that does not care
		return bollwerk.Inventory{}, nil
	}}
	for _, size := range []int64{1000, 10 << 20} {
		c := collector(t, sbom.CollectorOptions{}, swallow)
		err := c.Visit(context.Background(), bollwerk.File{Path: "f", Size: size}, broken(size/2))
		if !errors.Is(err, errStream) {
			t.Errorf("%d bytes: %v; the layer would count as read", size, err)
		}
		finish(t, c)
	}
}

func TestPanicIsAProblem(t *testing.T) {
	c := collector(t, sbom.CollectorOptions{Workers: 1},
		probe{"a/bad", func(in *sbom.Input) (bollwerk.Inventory, error) { panic("index out of range") }},
		probe{"a/good", func(in *sbom.Input) (bollwerk.Inventory, error) {
			return bollwerk.Inventory{Packages: []bollwerk.Package{{Name: "x", Ecosystem: "npm"}}}, nil
		}})
	if err := c.Visit(context.Background(), bollwerk.File{Path: "f", Size: 1}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	p := finish(t, c)
	if len(p.Inventory.Packages) != 1 || len(p.Problems) != 1 || !strings.Contains(p.Problems[0].Cause, "bounds_test.go") {
		t.Errorf("%+v", p)
	}
}

func TestTooLargeIsAProblem(t *testing.T) {
	hold := func(in *sbom.Input) (bollwerk.Inventory, error) {
		_, err := in.Bytes(1 << 40)
		return bollwerk.Inventory{}, err
	}
	c := collector(t, sbom.CollectorOptions{MaxFile: 1 << 20}, probe{"a/one", hold})
	if err := c.Visit(context.Background(), bollwerk.File{Path: "f", Size: 2 << 20}, io.LimitReader(endless{}, 2<<20)); err != nil {
		t.Fatal(err)
	}
	// The header says less than there is.
	if err := c.Visit(context.Background(), bollwerk.File{Path: "g", Size: 300 << 10}, io.LimitReader(endless{}, 2<<20)); err != nil {
		t.Fatal(err)
	}
	if p := finish(t, c); len(p.Problems) != 2 {
		t.Errorf("%+v", p.Problems)
	}
}

// TestBudget: many collectors, each with files larger than half of the budget, come
// to an end, and never hold more than it.
func TestBudget(t *testing.T) {
	const size, limit = 3 << 20, 4 << 20
	var mu sync.Mutex
	var held, most int
	hold := probe{"a/hold", func(in *sbom.Input) (bollwerk.Inventory, error) {
		b, err := in.Document(1 << 40)
		mu.Lock()
		held += len(b)
		most = max(most, held)
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		held -= len(b)
		mu.Unlock()
		return bollwerk.Inventory{}, err
	}}
	budget := sbom.NewBudget(limit)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			set, err := sbom.NewSet(hold)
			if err != nil {
				t.Error(err)
				return
			}
			c := set.NewCollector(sbom.CollectorOptions{Budget: budget})
			for i := range 10 {
				f := bollwerk.File{Path: fmt.Sprint(i), Size: size}
				if err := c.Visit(context.Background(), f, io.LimitReader(endless{}, size)); err != nil {
					t.Error(err)
				}
			}
			if _, err := c.Finish(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most > limit {
		t.Errorf("%d bytes were held, budget %d", most, limit)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	budget := sbom.NewBudget(1 << 20)
	inside, done := make(chan struct{}), make(chan struct{})
	c1 := collector(t, sbom.CollectorOptions{Budget: budget}, probe{"a/hold", func(in *sbom.Input) (bollwerk.Inventory, error) {
		_, err := in.Bytes(1 << 40)
		close(inside)
		<-done
		return bollwerk.Inventory{}, err
	}})
	go func() {
		_ = c1.Visit(context.Background(), bollwerk.File{Path: "a", Size: 1 << 20}, io.LimitReader(endless{}, 1<<20))
	}()
	<-inside
	c2 := collector(t, sbom.CollectorOptions{Budget: budget}, probe{"a/wait", func(in *sbom.Input) (bollwerk.Inventory, error) {
		cancel() // while the budget is taken
		_, err := in.Bytes(1 << 40)
		return bollwerk.Inventory{}, err
	}})
	err := c2.Visit(ctx, bollwerk.File{Path: "b", Size: 1 << 20}, io.LimitReader(endless{}, 1<<20))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the budget went on after the scan was stopped: %v", err)
	}
	close(done)
}

// lines repeats a text without holding it.
type lines struct {
	text string
	at   int
}

func (l *lines) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], l.text[l.at:])
		n += c
		l.at = (l.at + c) % len(l.text)
	}
	return n, nil
}

// TestEndlessDatabases: package databases of a gigabyte end with a problem, and do
// not take a gigabyte.
func TestEndlessDatabases(t *testing.T) {
	if testing.Short() {
		t.Skip("reads gigabytes")
	}
	set, err := all.Set()
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 30
	for path, text := range map[string]string{
		"var/lib/dpkg/status":       "Package: x\nStatus: install ok not-installed\nVersion: 1\nDescription: " + strings.Repeat("y", 4000) + "\n\n",
		"lib/apk/db/installed":      "P:x\n" + "T:" + strings.Repeat("y", 4000) + "\n",
		"var/lib/dpkg/info/a.list":  strings.Repeat("y", 100_000),
		"srv/app/requirements.txt":  "x==1\n",
		"srv/app/package-lock.json": "[[",
		"srv/app/yarn.lock":         strings.Repeat("y", 100_000),
	} {
		c := set.NewCollector(sbom.CollectorOptions{})
		f := bollwerk.File{Path: path, Size: size, Mode: 0o644}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		if c.Wants(&f) {
			if err := c.Visit(context.Background(), f, io.LimitReader(&lines{text: text}, size)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
		runtime.ReadMemStats(&after)
		p := finish(t, c)
		if len(p.Problems) == 0 {
			t.Errorf("%s: a gigabyte and no complaint", path)
		}
		if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 200<<20 {
			t.Errorf("%s: the heap grew by %d MB", path, grown>>20)
		}
	}
}
