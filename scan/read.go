package scan

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/sbom"
)

// counting counts the entries a collector is shown. It embeds the collector so that
// its other methods (links, parallel visits) stay visible to the reader.
type counting struct {
	*sbom.Collector
	files    *atomic.Int64
	progress func()
}

func (c counting) Wants(f *bollwerk.File) bool {
	if n := c.files.Add(1); n%4096 == 0 {
		c.progress()
	}
	return c.Collector.Wants(f)
}

// part is what is known of one layer, or of the whole of anything else.
type part struct {
	found     sbom.Part
	summary   artifact.PartSummary
	collector *sbom.Collector
	cached    bool
}

// read fills the inventory from the parts of the artifact.
func (s *state) read(ctx context.Context, src artifact.Source) error {
	art := src.Artifact()
	s.result.Target = art
	parts := make([]part, src.Parts())
	budget := sbom.NewBudget(s.options.Memory)
	var files, done atomic.Int64
	report := func() {
		s.options.Progress(Progress{Stage: "reading", Done: int(done.Load()), Total: len(parts), Files: files.Load()})
	}
	report()

	diffID := func(i int) bollwerk.Digest {
		if i < len(art.Layers) {
			return art.Layers[i].DiffID
		}
		return ""
	}
	visit := func(i int) (artifact.Visitor, bool) {
		if id := diffID(i); id != "" {
			if known, ok := s.options.Cache.get(id); ok {
				parts[i] = part{found: known.Part, summary: known.Summary, cached: true}
				done.Add(1)
				report()
				return nil, true
			}
		}
		parts[i].collector = s.options.Extractors.NewCollector(sbom.CollectorOptions{Budget: budget, Workers: 1})
		return counting{parts[i].collector, &files, report}, false
	}
	summaries, readErr := artifact.ReadAll(ctx, src, s.options.Workers, visit)
	// Every collector has to be finished, or its workers stay behind.
	var cacheTrouble error
	for i := range parts {
		p := &parts[i]
		if p.collector == nil {
			continue
		}
		found, err := p.collector.Finish(ctx)
		if readErr != nil {
			continue
		}
		if err != nil {
			readErr = err
			continue
		}
		p.found, p.summary, p.collector = found, summaries[i], nil
		if id := diffID(i); id != "" {
			if err := s.options.Cache.put(id, &cachedPart{Part: p.found, Summary: p.summary}); err != nil {
				cacheTrouble = err
			}
		}
		done.Add(1)
		report()
	}
	if readErr != nil {
		return readErr
	}
	if cacheTrouble != nil {
		s.options.Warn("the next scan will not be faster: " + cacheTrouble.Error())
	}
	// A source that is read front to back knows its layers only now.
	art = src.Artifact()
	s.result.Target = art
	s.recogniseBase()
	s.merge(parts)
	return nil
}

func (s *state) recogniseBase() {
	art := &s.result.Target
	if s.options.Base == nil || len(art.Layers) == 0 {
		return
	}
	ids := make([]bollwerk.Digest, len(art.Layers))
	for i, l := range art.Layers {
		ids[i] = l.DiffID
	}
	base := s.options.Base(ids)
	if base == nil {
		return
	}
	art.BaseImage = base
	for i := range art.Layers {
		art.Layers[i].FromBase = i < len(base.Layers)
	}
}

// merge squashes the parts and books what could not be read.
func (s *state) merge(parts []part) {
	art := &s.result.Target
	found := make([]sbom.Part, len(parts))
	masks := make([]artifact.Mask, len(parts))
	refs := make([]bollwerk.LayerRef, len(art.Layers))
	entries := 0
	var unread []artifact.Problem
	var troubles []sbom.Problem
	for i := range parts {
		found[i], masks[i] = parts[i].found, parts[i].summary.Mask
		entries += parts[i].summary.Entries
		unread = append(unread, parts[i].summary.Problems...)
		troubles = append(troubles, parts[i].found.Problems...)
	}
	for i, l := range art.Layers {
		refs[i] = bollwerk.LayerRef{Index: l.Index, Digest: l.Digest, DiffID: l.DiffID, CreatedBy: l.CreatedBy, FromBase: l.FromBase}
	}
	hides := func(i int, path string) bool {
		for j := i + 1; j < len(masks); j++ {
			if masks[j].Hides(path) {
				return true
			}
		}
		return false
	}
	s.inventory = sbom.Merge(found, refs, hides)
	art.OS = s.inventory.OS

	if len(art.Layers) > 0 {
		s.cover(bollwerk.Coverage{Area: "layers", Verdict: bollwerk.Pass, Checked: len(parts), Total: len(art.Layers)})
	}
	missed := 0
	var examples []string
	cause := ""
	wanted, left := 0, []string(nil)
	for _, p := range unread {
		if p.Wanted {
			wanted += max(p.Count, 1)
			left = append(left, p.Path)
			continue
		}
		missed += max(p.Count, 1)
		examples = append(examples, where(p.Path, p.Cause))
		cause = p.Cause
	}
	row := bollwerk.Coverage{Area: "files", Verdict: bollwerk.Pass, Checked: entries, Total: entries + missed}
	if wanted > 0 { // said, but nobody misses it
		row.Cause, row.Examples = fmt.Sprintf("%d files or folders were left out by --skip", wanted), firstFew(left)
	}
	if missed > 0 {
		row.Verdict, row.Examples = bollwerk.Degraded, firstFew(examples)
		row.Cause = fmt.Sprintf("%d files or folders were not read, e.g. because: %s", missed, cause)
	}
	s.cover(row)
	s.coverExtraction(troubles)
}

// coverExtraction turns what extractors did not understand into one row each.
func (s *state) coverExtraction(troubles []sbom.Problem) {
	byExtractor := map[string]*bollwerk.Coverage{}
	var order []string
	for _, t := range troubles {
		name := t.Extractor
		if name == "" {
			name = "files"
		}
		row := byExtractor[name]
		if row == nil {
			row = &bollwerk.Coverage{Area: "packages:" + name, Verdict: bollwerk.Degraded}
			byExtractor[name] = row
			order = append(order, name)
		}
		row.Total += max(t.Count, 1)
		if len(row.Examples) < 5 {
			row.Examples = append(row.Examples, where(t.Path, t.Cause))
		}
	}
	for _, name := range order {
		row := byExtractor[name]
		row.Cause = fmt.Sprintf("%d files were not understood", row.Total)
		s.cover(*row)
	}
}

func where(path, cause string) string {
	if path == "" {
		return cause
	}
	return path + ": " + cause
}
