package artifact

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Sequencer is a Source that can only be read from front to back (a compressed
// archive, a stream from a daemon): reading it part by part would mean to read it
// as many times as it has parts.
type Sequencer interface {
	Source
	// ReadSequence reads all parts in one pass, in the order in which they come. It
	// asks visit once per part, and returns the summaries by part.
	ReadSequence(ctx context.Context, visit func(part int) (Visitor, bool)) ([]PartSummary, error)
}

// ReadAll reads the parts of src with the given number of workers, largest first.
// visit is asked once for every part, possibly from several goroutines; skip true
// leaves the part unread and its summary zero. The first error cancels the rest and
// is returned; all goroutines have ended by then.
func ReadAll(ctx context.Context, src Source, workers int, visit func(part int) (v Visitor, skip bool)) ([]PartSummary, error) {
	if s, ok := src.(Sequencer); ok {
		return s.ReadSequence(ctx, visit)
	}
	out := make([]PartSummary, src.Parts())
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(workers, 1))
	for _, part := range largestFirst(src) {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			v, skip := visit(part)
			if skip {
				return nil
			}
			s, err := src.ReadPart(gctx, part, v)
			if err != nil {
				return err
			}
			out[part] = s
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil { // the loop may have ended before every part was begun
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// largestFirst orders the parts so that the longest work does not begin last.
func largestFirst(src Source) []int {
	layers := src.Artifact().Layers
	order := make([]int, src.Parts())
	for i := range order {
		order[i] = i
	}
	if len(layers) == len(order) {
		slices.SortStableFunc(order, func(a, b int) int {
			switch sa, sb := layers[a].Size, layers[b].Size; {
			case sa > sb:
				return -1
			case sa < sb:
				return 1
			}
			return 0
		})
	}
	return order
}
