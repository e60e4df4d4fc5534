package scan

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/finding"
	"github.com/bollwerk/bollwerk/internal/bom"
	"github.com/bollwerk/bollwerk/policy"
	"github.com/bollwerk/bollwerk/sbom"
	"github.com/bollwerk/bollwerk/vuln"
)

// ErrNothing is wrapped by the error of a scan that found nothing it could judge: a
// directory without any package, lock file or other file that an extractor knows.
var ErrNothing = errors.New("nothing to scan")

// DefaultDatabaseAge is how old the newest advisory may be before a result is degraded.
const DefaultDatabaseAge = 7 * 24 * time.Hour

// Options says what to scan with. The zero value of a field leaves its part out, and
// the result says so.
type Options struct {
	Version string
	Now     time.Time // zero: time.Now()

	Extractors *sbom.Set
	// Memory bounds what all parts together hold of files while reading. 0: 96 MiB.
	Memory int64
	// Workers read parts at the same time. 0: one per core.
	Workers int
	Cache   *Cache

	Database *vuln.DB
	// DatabaseCause says why Database is nil.
	DatabaseCause  string
	MaxDatabaseAge time.Duration // 0: DefaultDatabaseAge; negative: any age is fine

	// Base recognises the base image by the diff IDs of the layers, bottom first.
	Base func(layers []bollwerk.Digest) *bollwerk.BaseImage

	Engine   *policy.Engine
	Policies []*policy.Policy
	// Disabled are policies that the configuration switched off, with the reason.
	Disabled map[string]string
	Config   *policy.Config
	VEX      []bollwerk.VEXStatement
	// VEXProblems are statements that were not understood.
	VEXProblems []string
	Provenance  *bollwerk.Provenance
	Baseline    *finding.Baseline

	// Secrets looks for credentials in a text of the image configuration; nil: nobody
	// looks, in files neither (Extractors must then hold no extractor for them).
	Secrets func(ctx context.Context, name string, text []byte) []bollwerk.Secret

	// Warn, if set, is told what does not touch the result (a cache that is read-only).
	Warn func(string)
	// Progress, if set, is called now and then, possibly from several goroutines.
	Progress func(Progress)
}

// Progress is a moment of a scan.
type Progress struct {
	Stage       string // "reading", "matching", "judging"
	Done, Total int    // parts, or packages
	Files       int64  // entries seen so far
}

func (o *Options) defaults() {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Memory <= 0 {
		o.Memory = 96 << 20
	}
	if o.MaxDatabaseAge == 0 {
		o.MaxDatabaseAge = DefaultDatabaseAge
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
}

// Artifact scans an opened artifact.
func Artifact(ctx context.Context, src artifact.Source, o Options) (*bollwerk.Result, error) {
	o.defaults()
	if o.Extractors == nil {
		return nil, errors.New("scan: no extractors were given")
	}
	s := newScan(o)
	if err := s.read(ctx, src); err != nil {
		return nil, err
	}
	if err := s.judge(ctx); err != nil {
		return nil, err
	}
	return s.result, nil
}

// SBOM judges what a bill of material says. A document that this program wrote
// carries everything the artifact's own scan knew, and is judged like the artifact.
func SBOM(ctx context.Context, d bom.Document, o Options) (*bollwerk.Result, error) {
	o.defaults()
	s := newScan(o)
	s.result.Target = d.Artifact
	s.inventory = bollwerk.Inventory{Packages: d.Packages, Secrets: d.Secrets, Facts: d.Facts, OS: d.OS}
	s.result.Target.OS = d.OS
	s.options.VEX = append(append([]bollwerk.VEXStatement(nil), o.VEX...), d.Statements...)
	s.document, s.foreign = true, d.Artifact.Kind == bollwerk.KindSBOM
	for _, c := range d.Coverage {
		if c.Area != "database" && c.Area != "standards" && !strings.HasPrefix(c.Area, "advisories:") {
			s.cover(c) // what is judged again is said again; the rest was lost before
		}
	}
	row := bollwerk.Coverage{Area: "sbom", Verdict: bollwerk.Pass, Checked: d.Total - d.Unread, Total: d.Total}
	if len(d.Problems) > 0 {
		row.Verdict = bollwerk.Degraded
		row.Cause = d.Problems[0]
		row.Examples = firstFew(d.Problems)
	}
	s.cover(row)
	if len(d.Packages) == 0 {
		if len(d.Problems) > 0 {
			return nil, fmt.Errorf("%s: nothing of the document was understood: %s", d.Artifact.Name, d.Problems[0])
		}
		return nil, fmt.Errorf("%s: %w: the document lists no package", d.Artifact.Name, ErrNothing)
	}
	if err := s.judge(ctx); err != nil {
		return nil, err
	}
	return s.result, nil
}

// state is one scan on its way.
type state struct {
	options   Options
	started   time.Time
	result    *bollwerk.Result
	inventory bollwerk.Inventory
	// foreign: the inventory comes from a document of another tool, which says
	// nothing of configuration and files.
	foreign bool
	exposed exposure
	// document: the inventory comes from a document, of whatever tool.
	document bool
}

func newScan(o Options) *state {
	return &state{
		options: o,
		started: time.Now(),
		result: &bollwerk.Result{
			Schema:  bollwerk.ResultSchema,
			Tool:    bollwerk.Tool{Name: "bollwerk", Version: o.Version},
			Started: o.Now.UTC().Truncate(time.Second),
		},
	}
}

func (s *state) cover(c bollwerk.Coverage) { s.result.Coverage = append(s.result.Coverage, c) }

// firstFew keeps the examples of a coverage row short.
func firstFew(list []string) []string {
	if len(list) > 5 {
		return list[:5]
	}
	return list
}
